//! The event bus.

use aws_sdk_eventbridge::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_events::PutEventsError,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use startup::describe;

use crate::difference::DomainEvent;

/// The event bus of the stack.
#[derive(Clone, Debug)]
pub struct Bus {
    client: Client,
    name: String,
}

/// An event in the form of the bus.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    event: DomainEvent,
    detail: String,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The bus has it.
    Through,
    /// Later is better; the cause.
    Later(String),
    /// One of the events that were put together is to blame: each alone; the cause.
    Alone(String),
    /// The bus will never take it; the cause.
    Never(String),
}

/// The most entries that one PutEvents takes (AWS).
pub(crate) const MOST: usize = 10;
/// The most bytes that the entries of one PutEvents have together (AWS: 256 KB).
pub(crate) const LARGEST: usize = 256 * 1024;
/// Who says so: what rules match by.
const SOURCE: &str = "kingpin";
/// What an entry's time counts (AWS).
const TIME_BYTES: usize = 14;

impl Entry {
    /// The event, written down.
    pub(crate) fn new(event: DomainEvent) -> Self {
        let detail = serde_json::json!(event).to_string();
        Self { event, detail }
    }

    /// What kind of event it is.
    pub(crate) fn name(&self) -> &'static str {
        self.event.name()
    }

    /// Its size in bytes, as the bus counts it.
    pub(crate) fn size(&self) -> usize {
        TIME_BYTES + SOURCE.len() + self.name().len() + self.detail.len()
    }

    #[cfg(test)]
    pub(crate) fn pad(&mut self, with: &str) {
        self.detail.push_str(with);
    }
}

impl Bus {
    /// The bus of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { client, name }
    }

    /// Puts up to [`MOST`] events of up to [`LARGEST`] bytes on the bus, and tells what became of each, in their order.
    pub(crate) async fn put(&self, entries: &[&Entry]) -> Vec<Put> {
        let request = self.client.put_events();
        let request = entries
            .iter()
            .map(|entry| self.request(entry))
            .fold(request, |request, entry| request.entries(entry));
        match request.send().await {
            Ok(answer) => {
                let mut answers = answer.entries.unwrap_or_default().into_iter();
                let became = |_| answers.next().map_or_else(unanswered, |it| of_entry(&it));
                entries.iter().map(became).collect()
            }
            Err(error) => vec![of_request(&error, entries.len()); entries.len()],
        }
    }

    fn request(&self, entry: &Entry) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(entry.name())
            .time(DateTime::from_millis(entry.event.at().0))
            .detail(&entry.detail)
            .build()
    }
}

/// Of the errors that an entry may have, one is about what it holds (AWS). All others pass, or are a person's to mend: the event waits.
fn of_entry(answer: &PutEventsResultEntry) -> Put {
    match answer.error_code() {
        None => Put::Through,
        Some("MalformedDetail") => Put::Never("MalformedDetail".to_owned()),
        Some(code) => {
            let message = answer.error_message().unwrap_or_default();
            Put::Later(format!("{code}: {message}"))
        }
    }
}

/// A request that can't be is its entry's fault if it has one only.
fn of_request(error: &SdkError<PutEventsError>, entries: usize) -> Put {
    let code = error.as_service_error().and_then(|error| error.code());
    match code {
        Some("ValidationException") if entries == 1 => Put::Never(describe(error)),
        Some("ValidationException") => Put::Alone(describe(error)),
        _ => Put::Later(describe(error)),
    }
}

fn unanswered() -> Put {
    Put::Later("the bus answered for fewer events than it was given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_waits_for_whatever_passes() {
        let answer = |code: Option<&str>| {
            let code = code.map(str::to_owned);
            of_entry(&PutEventsResultEntry::builder().set_error_code(code).build())
        };
        assert_eq!(answer(None), Put::Through);
        assert!(matches!(answer(Some("MalformedDetail")), Put::Never(_)));
        for code in [
            "ThrottlingException",
            "InternalFailure",
            "AccessDeniedException",
        ] {
            assert!(matches!(answer(Some(code)), Put::Later(_)), "{code}");
        }
    }
}

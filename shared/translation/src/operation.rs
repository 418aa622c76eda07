//! Write operations, as events and answers tell them.

use catena::{EventName, Instant, OperationLog, ResourceOperation, Status, bearable};
use fleet::Timestamp;
use operations::{Attempt, Candidate, Said, Word};
use serde_json::Value;

use crate::{observer::is_bearable, words::timestamp};

/// What is told of a write operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationTold {
    /// Catena's id of it.
    pub id: String,
    /// When Catena made it.
    pub created_at: Option<Timestamp>,
    /// How it stands.
    pub said: Said,
}

/// What an event tells of a write operation. Its name says how it ended where the record doesn't, or in a word that isn't known.
pub fn operation_of_event(
    name: &EventName,
    told: &ResourceOperation,
    observed: Option<Instant>,
) -> Option<OperationTold> {
    let mut told = operation(told, observed)?;
    if let Word::Other(_) = told.said.word {
        match name {
            EventName::ResourceOperationSucceeded => told.said.word = Word::Success,
            EventName::ResourceOperationFailed => told.said.word = Word::Failed,
            _ => {}
        }
    }
    Some(told)
}

/// What is told of a write operation by an event, or by an answer that held at `observed`. It is timed by its `updated_at`, else by
/// the event's or the answer's own time; without any it still counts against anything that is not over. `None` if its id can't be a
/// key.
pub fn operation(told: &ResourceOperation, observed: Option<Instant>) -> Option<OperationTold> {
    let at = told.updated_at.or(observed).map_or(Timestamp(0), timestamp);
    let id = |id: &Option<String>| id.clone().filter(|id| is_bearable(id));
    let mut attempts: Vec<Attempt> = told.logs.iter().map(attempt).collect();
    attempts.sort();
    let superfluous = attempts.len().saturating_sub(MOST_ATTEMPTS);
    is_bearable(&told.id).then(|| OperationTold {
        id: told.id.clone(),
        created_at: told.created_at.map(timestamp),
        said: Said {
            at,
            word: match &told.status {
                Some(Status::Success) => Word::Success,
                Some(Status::Failed) => Word::Failed,
                Some(Status::Pending) => Word::Pending,
                // As events are called (contract 5.4 notes the difference).
                Some(other) if other.as_str() == "succeeded" => Word::Success,
                Some(other) => Word::Other(bearable(other.as_str())),
                None => Word::Other(String::new()),
            },
            resource_id: id(&told.resource_id),
            source_id: id(&told.source_id),
            attempts: attempts.split_off(superfluous),
        },
    })
}

/// What Catena lists, to be searched.
pub fn candidate(listed: &ResourceOperation) -> Candidate {
    Candidate {
        id: listed.id.clone(),
        connection: listed.connection_id.clone(),
        resource: listed.resource.clone(),
        operation_type: listed.operation_type.clone(),
        created_at: listed.created_at.map(timestamp),
        resource_id: listed.resource_id.clone(),
        payload: match &listed.payload {
            Some(Value::Object(payload)) => Some(payload.clone()),
            _ => None,
        },
    }
}

fn attempt(log: &OperationLog) -> Attempt {
    let headers = log.response_headers.iter().flatten().take(MOST_HEADERS);
    // A request id is long and no secret: it is what the provider's support asks for.
    let cut = |text: &str| {
        text.chars()
            .filter(|it| !it.is_control())
            .take(100)
            .collect::<String>()
    };
    Attempt {
        at: log.created_at.or(log.updated_at).map(timestamp),
        status: log.status.as_ref().map(|status| bearable(status.as_str())),
        error_type: log.error_type.as_deref().map(bearable),
        details: log.error_details.as_deref().map(bearable),
        http_status: log.response_status_code,
        headers: headers
            .map(|(name, value)| (cut(name), cut(value)))
            .collect(),
    }
}

/// The last ones: how often Catena tries is unknown (contract 5.3).
const MOST_ATTEMPTS: usize = 10;
const MOST_HEADERS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> ResourceOperation {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/samples/");
        let text = std::fs::read_to_string(format!("{folder}{name}.json")).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        if let Some(record) = value.get_mut("data") {
            value = record[0].take();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_failure_comes_with_what_the_provider_said_and_without_its_link() {
        let told = operation(&sample("resource_operation.failed"), None).unwrap();
        assert_eq!(told.said.word, Word::Failed);
        assert_eq!(told.said.at.0, 1_777_884_662_079);
        assert_eq!(told.created_at, Some(Timestamp(1_777_884_230_238)));
        let attempt = told.said.error().unwrap();
        assert_eq!(attempt.error_type.as_deref(), Some("auth"));
        assert_eq!(attempt.http_status, Some(401));
        assert_eq!(attempt.headers["X-Request-Id"], "tsp-req-7781");
        assert_eq!(
            attempt.details.as_deref(),
            Some("Client error '401 Unauthorized' for url '...'")
        );
    }

    #[test]
    fn a_sparse_end_is_an_end_whenever_it_was() {
        let told = operation(&sample("_edge.resource_operation.failed.sparse"), None).unwrap();
        assert_eq!((told.said.at.0, &told.said.word), (0, &Word::Failed));
        let later = Instant::from_millis(7);
        let told = operation(
            &sample("_edge.resource_operation.failed.sparse"),
            Some(later),
        )
        .unwrap();
        assert_eq!(told.said.at.0, 7);
    }

    #[test]
    fn an_events_name_says_how_it_ended_where_the_record_does_not() {
        let told = |name: EventName, status: Option<&str>| {
            let mut record = sample("resource_operation.created");
            record.status = status.map(|it| serde_json::from_value(it.into()).unwrap());
            operation_of_event(&name, &record, None).unwrap().said.word
        };
        use EventName as N;
        assert_eq!(told(N::ResourceOperationFailed, None), Word::Failed);
        assert_eq!(
            told(N::ResourceOperationSucceeded, Some("done")),
            Word::Success
        );
        // What the record says is as it was read, however the event is called.
        assert_eq!(
            told(N::ResourceOperationSucceeded, Some("failed")),
            Word::Failed
        );
        assert_eq!(
            told(N::ResourceOperationCreated, Some("succeeded")),
            Word::Success
        );
        assert_eq!(
            told(N::ResourceOperationCreated, None),
            Word::Other(String::new())
        );
    }

    #[test]
    fn success_tells_what_was_made() {
        let told = operation(&sample("api/resource-operation.get.response.success"), None).unwrap();
        assert_eq!(told.said.word, Word::Success);
        assert_eq!(told.said.source_id.as_deref(), Some("98765432"));
        assert!(told.said.resource_id.is_some());
    }
}

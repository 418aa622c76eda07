//! The queue of changes that nobody was told about.

use aws_sdk_sqs::{Client, error::SdkError, operation::send_message::SendMessageError};
use serde::Serialize;

/// The publisher's dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

/// A change that can't be told: where to look, and nothing of what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetter {
    /// Why: `damaged`, `panicked`, `too-large` or `refused`.
    pub(crate) reason: &'static str,
    /// Where it is.
    #[serde(flatten)]
    pub(crate) place: Place,
}

/// Where a change of a record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// The record's partition key.
    pub(crate) pk: String,
    /// The record's sort key.
    pub(crate) sk: &'static str,
    /// The version that was written.
    pub(crate) version: Option<u64>,
    /// The change's place in the stream.
    pub(crate) sequence_number: String,
}

impl DeadLetters {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        let url = url.into();
        Self { client, url }
    }

    /// Returns once the letter is durably queued.
    pub(crate) async fn send(
        &self,
        letter: &DeadLetter,
    ) -> Result<(), Box<SdkError<SendMessageError>>> {
        let send = self.client.send_message().queue_url(&self.url);
        let sent = send.message_body(letter.body()).send().await;
        sent.map(drop).map_err(Box::new)
    }
}

impl DeadLetter {
    /// SQS refuses two characters that JSON allows.
    fn body(&self) -> String {
        let body = serde_json::json!(self).to_string();
        body.replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_can_be_sent_whatever_the_fleet_is_called() {
        let letter = DeadLetter {
            reason: "damaged",
            place: Place {
                pk: "FLEET#\u{ffff}\u{fffe}".to_owned(),
                sk: "RECORD",
                version: Some(3),
                sequence_number: "111".to_owned(),
            },
        };
        let body = letter.body();
        assert!(body.is_ascii(), "{body}");
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read, serde_json::json!(letter));
    }
}

//! Messages that are sent again as they were, and the queue of dead letters that some of them come from.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::SdkError,
    operation::{
        delete_message_batch::DeleteMessageBatchError, receive_message::ReceiveMessageError,
        send_message_batch::SendMessageBatchError,
    },
    types::{
        DeleteMessageBatchRequestEntry, MessageAttributeValue,
        MessageSystemAttributeName as System, SendMessageBatchRequestEntry,
    },
};

use crate::{Delay, EventsQueue, LIMIT, Message, NotDelayed, UnreadableMessage};

/// A message as a queue holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AsItWas {
    /// Its text.
    pub body: String,
    /// What it has besides. Kingpin's messages have none.
    pub attributes: HashMap<String, MessageAttributeValue>,
}

/// Why a message isn't on the queue again. It may be: nobody knows when there was no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSentAgain {
    /// The queue didn't take it and took others.
    #[error("the queue did not take it: {0}")]
    Refused(String),
    /// The queue didn't answer.
    #[error("the queue did not take the messages")]
    Unavailable(#[from] Arc<SdkError<SendMessageBatchError>>),
}

/// A queue of messages that were received too often.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

/// A message of such a queue.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// SQS's id of it.
    pub id: String,
    /// What it is, to be sent again.
    pub message: AsItWas,
    /// When it was first sent, in milliseconds since 1970. It is lost when the queue's retention has passed since then (AWS).
    pub sent_at: Option<i64>,
    /// How often it was received, both before it became a dead letter and since. Approximate (AWS).
    pub received: Option<u32>,
    receipt_handle: String,
}

/// Why dead letters can't be looked at.
#[derive(Debug, thiserror::Error)]
#[error("the queue did not hand over messages")]
pub struct NotReceived(#[from] Box<SdkError<ReceiveMessageError>>);

/// Why dead letters weren't removed.
#[derive(Debug, thiserror::Error)]
#[error("the queue did not remove the messages")]
pub struct NotRemoved(#[from] Box<SdkError<DeleteMessageBatchError>>);

impl EventsQueue {
    /// Sends messages as they are, in as few requests as SQS allows, one after the other. Says of each what came of it, in their
    /// order. After a request that wasn't answered none is made.
    pub async fn send_again(&self, messages: &[AsItWas]) -> Vec<Result<(), NotSentAgain>> {
        let sizes: Vec<usize> = messages.iter().map(AsItWas::size).collect();
        let mut sent = Vec::with_capacity(messages.len());
        for batch in batches(&sizes) {
            let batch = &messages[batch];
            match self.send_batch(batch).await {
                Ok(answers) => sent.extend(answers),
                Err(error) => {
                    let error = NotSentAgain::from(Arc::new(error));
                    sent.resize_with(messages.len(), || Err(error.clone()));
                    break;
                }
            }
        }
        sent
    }

    async fn send_batch(
        &self,
        batch: &[AsItWas],
    ) -> Result<Vec<Result<(), NotSentAgain>>, SdkError<SendMessageBatchError>> {
        let mut request = self.client.send_message_batch().queue_url(&self.url);
        for (index, AsItWas { body, attributes }) in batch.iter().enumerate() {
            let attributes = (!attributes.is_empty()).then(|| attributes.clone());
            let entry = SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(body)
                .set_message_attributes(attributes)
                .build()
                .map_err(SdkError::construction_failure)?;
            request = request.entries(entry);
        }
        let answer = request.send().await?;
        let mut sent =
            vec![Err(NotSentAgain::Refused("it says nothing of it".to_owned())); batch.len()];
        for taken in &answer.successful {
            if let Some(sent) = place(&taken.id).and_then(|place| sent.get_mut(place)) {
                *sent = Ok(());
            }
        }
        for failed in &answer.failed {
            if let Some(sent) = place(&failed.id).and_then(|place| sent.get_mut(place)) {
                let why = failed.message.as_deref().unwrap_or(&failed.code);
                *sent = Err(NotSentAgain::Refused(why.to_owned()));
            }
        }
        Ok(sent)
    }
}

impl AsItWas {
    /// A text without attributes.
    pub fn text(body: impl Into<String>) -> Self {
        let body = body.into();
        Self {
            body,
            attributes: HashMap::new(),
        }
    }

    /// A body that was set aside, as an operator sends it who has looked at it: text for text as it was, unless its age has to be
    /// vouched for. What can't be read is better left where it is.
    pub fn released(body: &str) -> Result<Self, UnreadableMessage> {
        let message = Message::read(body)?;
        let released = message.clone().released();
        Ok(match released == message {
            true => Self::text(body),
            false => Self::text(released.into_body()),
        })
    }

    /// In bytes, as SQS counts them: names, types and values of attributes are part of a message.
    fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| {
            let text = value.string_value.as_deref().map_or(0, str::len);
            let binary = value.binary_value.as_ref();
            let binary = binary.map_or(0, |value| value.as_ref().len());
            name.len() + value.data_type.len() + text + binary
        });
        self.body.len() + attributes.sum::<usize>()
    }
}

impl DeadLetters {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        let url = url.into();
        Self { client, url }
    }

    /// Receives up to ten messages, which nobody else sees for `hidden`, in whole seconds. None may be there although the queue
    /// isn't empty, if all are hidden.
    pub async fn receive(
        &self,
        most: usize,
        hidden: Duration,
    ) -> Result<Vec<DeadLetter>, NotReceived> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(most.clamp(1, MOST_AT_ONCE) as i32)
            .visibility_timeout(hidden.as_secs() as i32)
            // Else only some of SQS's servers are asked (AWS).
            .wait_time_seconds(1)
            .message_system_attribute_names(System::SentTimestamp)
            .message_system_attribute_names(System::ApproximateReceiveCount)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(Box::new)?;
        let letters = answer.messages.unwrap_or_default().into_iter();
        let letters = letters.map(|message| {
            let system = message.attributes.unwrap_or_default();
            let number = |name| system.get(&name).map(String::as_str);
            DeadLetter {
                sent_at: number(System::SentTimestamp).and_then(|at| at.parse().ok()),
                received: number(System::ApproximateReceiveCount).and_then(|it| it.parse().ok()),
                id: message.message_id.unwrap_or_default(),
                receipt_handle: message.receipt_handle.unwrap_or_default(),
                message: AsItWas {
                    body: message.body.unwrap_or_default(),
                    attributes: message.message_attributes.unwrap_or_default(),
                },
            }
        });
        Ok(letters.collect())
    }

    /// Lets others see messages at once that were received, ten per request. Else they see them when their time is over.
    pub async fn give_back(&self, letters: &[DeadLetter]) -> Result<(), NotDelayed> {
        let delays = letters.iter().map(|letter| Delay {
            receipt_handle: letter.receipt_handle.clone(),
            delay: Duration::ZERO,
        });
        let queue = EventsQueue::new(self.client.clone(), &self.url);
        queue.delay(&delays.collect::<Vec<_>>()).await
    }

    /// Removes messages that were received, ten per request. Says how many stayed, to be seen again.
    pub async fn remove(&self, letters: &[&DeadLetter]) -> Result<usize, NotRemoved> {
        let mut stayed = 0;
        for some in letters.chunks(MOST_AT_ONCE) {
            let entries = some.iter().enumerate().filter_map(|(index, letter)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&letter.receipt_handle)
                    .build()
                    .ok()
            });
            let answer = self
                .client
                .delete_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(Box::new)?;
            stayed += answer.failed.len();
        }
        Ok(stayed)
    }
}

/// Which of consecutive messages of these sizes go together: at most ten, and at most [`LIMIT`] bytes in all. One that is larger
/// goes alone.
fn batches(sizes: &[usize]) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut used = 0;
    for (index, size) in sizes.iter().enumerate() {
        match batches.last_mut() {
            Some(batch) if batch.len() < MOST_AT_ONCE && used + size <= LIMIT => {
                batch.end += 1;
                used += size;
            }
            _ => {
                batches.push(index..index + 1);
                used = *size;
            }
        }
    }
    batches
}

fn place(id: &str) -> Option<usize> {
    id.parse().ok()
}

/// AWS.
const MOST_AT_ONCE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_ten_messages_and_a_mebibyte() {
        assert_eq!(batches(&[]), []);
        assert_eq!(batches(&[1; 23]), [0..10, 10..20, 20..23]);
        let half = LIMIT / 2;
        assert_eq!(batches(&[half, half, 1]), [0..2, 2..3]);
        assert_eq!(batches(&[1, LIMIT, 1]), [0..1, 1..2, 2..3]);
        assert_eq!(batches(&[1, LIMIT + 1]), [0..1, 1..2]);
    }

    #[test]
    fn what_is_released_is_vouched_for_or_as_it_was() {
        let body = |v: u32, kind: &str, age: &str| {
            let envelope = r#"{ "event_name": "a.b", "data": [], "webhook_id": "247b2dea-a030-48b7-9a05-ee33c1b6000f" }"#;
            format!(
                r#"{{ "v": {v}, "received_at": "2026-05-04T08:06:12Z", "{kind}": {{ "signed_at": "2026-05-04T08:06:12Z", "age": "{age}", "content": {{ "envelope": {envelope} }} }} }}"#
            )
        };
        let fresh = body(1, "delivery", "fresh");
        assert_eq!(AsItWas::released(&fresh), Ok(AsItWas::text(fresh)));
        let vouched_for = Message::read(&body(4, "released", "future"));
        let released = AsItWas::released(&body(1, "delivery", "future")).unwrap();
        assert_eq!(Message::read(&released.body), vouched_for);
        assert!(AsItWas::released("{}").is_err());
        assert_eq!(
            AsItWas::released(r#"{"v":5}"#),
            Err(UnreadableMessage::Version(5))
        );
    }

    #[test]
    fn attributes_are_part_of_a_messages_size() {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("1234");
        let attributes = [("name".to_owned(), value.build().unwrap())].into();
        let body = "{}".to_owned();
        assert_eq!(AsItWas { body, attributes }.size(), 2 + 4 + 6 + 4);
    }
}

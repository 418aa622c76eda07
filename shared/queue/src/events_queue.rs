//! The queue itself.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    error::SdkError,
    operation::{
        change_message_visibility_batch::ChangeMessageVisibilityBatchError,
        send_message::SendMessageError,
    },
    types::ChangeMessageVisibilityBatchRequestEntry,
};
use futures_util::future;

use crate::{Message, RecordOverLimit};

/// The largest message body that SQS takes, in bytes (AWS: 1 MiB for body and attributes since August 2025).
pub const LIMIT: usize = 1024 * 1024;

/// The events queue.
#[derive(Clone, Debug)]
pub struct EventsQueue {
    pub(crate) client: Client,
    pub(crate) url: String,
}

/// Why a message isn't on the queue. If it had parts, some of them may be: repeats do no harm.
#[derive(Debug, thiserror::Error)]
pub enum NotQueued {
    /// One record of it never will be; the others are.
    #[error(transparent)]
    OverLimit(#[from] RecordOverLimit),
    /// It may be later.
    #[error("the events queue did not take the message")]
    Unavailable(#[from] Box<SdkError<SendMessageError>>),
}

/// Why messages could not be put off.
#[derive(Debug, thiserror::Error)]
#[error("the events queue did not put the messages off")]
pub struct NotDelayed(#[from] Box<SdkError<ChangeMessageVisibilityBatchError>>);

/// A received message that is not to be seen again for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// The receipt of this reception.
    pub receipt_handle: String,
    /// For how long, rounded up to whole seconds, up to the twelve hours that SQS allows.
    pub delay: Duration,
}

impl EventsQueue {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        let url = url.into();
        Self { client, url }
    }

    /// Returns once every part is durably queued, with the number of parts. A record that fits nowhere is an error after
    /// the others are queued.
    pub async fn send(&self, message: Message) -> Result<usize, NotQueued> {
        let (bodies, left_out) = message.into_bodies(LIMIT);
        let parts = bodies.len();
        future::try_join_all(bodies.into_iter().map(async |body| {
            let request = self.client.send_message().queue_url(&self.url);
            request.message_body(body).send().await.map_err(Box::new)
        }))
        .await?;
        match left_out {
            None => Ok(parts),
            Some(left_out) => Err(left_out.into()),
        }
    }

    /// Puts messages off, ten per request. One that is gone by now is no error: it will be seen at its own time.
    pub async fn delay(&self, delays: &[Delay]) -> Result<(), NotDelayed> {
        for batch in delays.chunks(10) {
            let entries = batch.iter().enumerate().filter_map(|(index, delay)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&delay.receipt_handle)
                    .visibility_timeout(delay.delay.as_secs_f64().ceil().min(LONGEST_DELAY) as i32)
                    .build()
                    .ok()
            });
            self.client
                .change_message_visibility_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(Box::new)?;
        }
        Ok(())
    }
}

/// In seconds (AWS).
const LONGEST_DELAY: f64 = 43_200.0;

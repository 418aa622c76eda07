//! The tasks queue: what is to be looked at.

use std::time::Duration;

use aws_sdk_sqs::{
    Client, error::SdkError, operation::send_message_batch::SendMessageBatchError,
    types::SendMessageBatchRequestEntry,
};
use fleet::FleetRef;
use serde::{Deserialize, Serialize};

/// What is to be looked at, in the order in which those of a batch are: first what concerns many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Webhook subscriptions: whether they deliver.
    Subscriptions,
    /// Write operations: whichever are due.
    Operations,
    /// Everything: the next part of the comparison with Catena's lists.
    Compare,
    /// All integration requests, because a provider may have gone live.
    Requests,
    /// What waits under one of Catena's ids, as [`store::Key`](../store/enum.Key.html) shows it.
    Parked(String),
    /// A fleet: whatever its record is due for.
    Fleet(String),
}

impl Task {
    /// A fleet's.
    pub fn fleet(fleet: &FleetRef) -> Self {
        Self::Fleet(fleet.as_str().to_owned())
    }
}

/// A task on the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMessage {
    /// What is to be looked at.
    pub task: Task,
    /// How long it is kept back, rounded up to whole seconds; at most the 15 minutes that SQS allows.
    pub delay: Duration,
}

/// A task that this version can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a task that this version knows")]
pub struct UnreadableTask;

/// Why tasks aren't on the queue. What they are for is still due.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// The queue didn't answer.
    #[error("the tasks queue did not take the tasks")]
    Unavailable(#[from] Box<SdkError<SendMessageBatchError>>),
    /// It took some only.
    #[error("the tasks queue left out {0} tasks")]
    Some(usize),
}

#[derive(Serialize, Deserialize)]
struct Body {
    v: u32,
    task: Task,
}

impl Task {
    /// As a message's body.
    pub fn into_body(self) -> String {
        let body = Body {
            v: VERSION,
            task: self,
        };
        serde_json::to_string(&body).expect("a task is JSON")
    }

    /// Reads a message's body.
    pub fn read(body: &str) -> Result<Self, UnreadableTask> {
        let body: Body = serde_json::from_str(body).map_err(|_| UnreadableTask)?;
        (body.v == VERSION)
            .then_some(body.task)
            .ok_or(UnreadableTask)
    }
}

/// The tasks queue.
#[derive(Clone, Debug)]
pub struct TasksQueue {
    client: Client,
    url: String,
}

impl TasksQueue {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        let url = url.into();
        Self { client, url }
    }

    /// Returns once all are queued, ten per request.
    pub async fn send(&self, tasks: &[TaskMessage]) -> Result<(), NotTold> {
        let mut left_out = 0;
        for some in tasks.chunks(MOST_AT_ONCE) {
            let entries = some.iter().enumerate().filter_map(|(index, it)| {
                let delay = it.delay.as_secs_f64().ceil().clamp(0.0, LONGEST_DELAY);
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(it.task.clone().into_body())
                    .delay_seconds(delay as i32)
                    .build()
                    .ok()
            });
            let answer = self
                .client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(Box::new)?;
            left_out += answer.failed.len();
        }
        match left_out {
            0 => Ok(()),
            some => Err(NotTold::Some(some)),
        }
    }
}

const VERSION: u32 = 1;
/// AWS.
const MOST_AT_ONCE: usize = 10;
/// In seconds (AWS).
const LONGEST_DELAY: f64 = 900.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_tasks_stays() {
        for (task, body) in [
            (
                Task::Fleet("A \"b\"".to_owned()),
                r#"{"v":1,"task":{"fleet":"A \"b\""}}"#,
            ),
            (
                Task::Parked("KEY#connection#C".to_owned()),
                r#"{"v":1,"task":{"parked":"KEY#connection#C"}}"#,
            ),
            (Task::Compare, r#"{"v":1,"task":"compare"}"#),
            (Task::Requests, r#"{"v":1,"task":"requests"}"#),
            (Task::Operations, r#"{"v":1,"task":"operations"}"#),
            (Task::Subscriptions, r#"{"v":1,"task":"subscriptions"}"#),
        ] {
            assert_eq!(task.clone().into_body(), body);
            assert_eq!(Task::read(body), Ok(task));
        }
        for other in [
            "",
            "{}",
            r#"{"v":2,"task":"compare"}"#,
            r#"{"v":1,"task":"dance"}"#,
        ] {
            assert_eq!(Task::read(other), Err(UnreadableTask));
        }
    }
}

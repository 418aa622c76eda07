//! What became of a delivery.

use std::error::Error as _;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::faults::Faults;

/// One delivery, as it went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sent {
    /// The envelope's id.
    pub event_id: Option<Uuid>,
    /// The event's name.
    pub event_name: String,
    /// The subscription.
    pub webhook_id: Uuid,
    /// The fleet concerned, where the simulator knows.
    pub fleet_ref: Option<String>,
    /// The faults asked for.
    pub faults: Faults,
    /// This delivery repeats one sent before.
    pub repeat: bool,
    /// Each attempt, in order; none if the subscription was stale.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub outcome: Outcome,
}

/// One HTTP request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// `X-Catena-Timestamp` as sent; empty when the delivery had none.
    pub timestamp: String,
    /// What came back.
    pub answer: Answer,
    /// How long it took, in milliseconds.
    pub response_ms: f64,
}

/// What came back from the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An HTTP status.
    Status(u16),
    /// Nothing within the time-out.
    TimedOut,
    /// No connection, or it broke.
    Unreachable(String),
}

/// How a delivery ended, as Catena sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered 2xx.
    Accepted,
    /// Answered anything else but 5xx: delivered in Catena's eyes, so never sent again (contract
    /// 6.4).
    Refused,
    /// Every attempt failed, or its subscription was stale: it waits for a replay (contract 6.5, 6.6).
    DeadLetter,
    /// A forged delivery that wasn't taken: nobody sends it again.
    Dropped,
    /// Never sent, and never will be ([`Loss`](crate::Loss)).
    Lost,
}

/// Which dead letters to replay, and how. In JSON all fields are optional.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// One subscription, as Catena's own API has it (contract 6.1), or all of them.
    pub webhook_id: Option<Uuid>,
    /// Which time the replayed deliveries are signed with.
    pub timestamps: Timestamps,
}

/// The header timestamps of a replay: which of these Catena sends is unknown (contract 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timestamps {
    /// The time of the replay.
    #[default]
    Fresh,
    /// The time of the attempt that failed last.
    Original,
}

pub(super) fn outcome(answer: &Answer, forged: bool) -> Outcome {
    match answer {
        Answer::Status(200..300) => Outcome::Accepted,
        Answer::Status(0..500 | 600..) => Outcome::Refused,
        Answer::Status(500..600) | Answer::TimedOut | Answer::Unreachable(_) if forged => {
            Outcome::Dropped
        }
        Answer::Status(500..600) | Answer::TimedOut | Answer::Unreachable(_) => Outcome::DeadLetter,
    }
}

pub(super) fn no_answer(error: &reqwest::Error) -> Answer {
    if error.is_timeout() {
        return Answer::TimedOut;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.source() {
        Some(_) => Answer::Unreachable(cause.to_string()),
        None => Answer::Unreachable(error.to_string()),
    }
}

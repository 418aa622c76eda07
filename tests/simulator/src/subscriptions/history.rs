//! What became of a subscription's deliveries: metrics and logs (contract 6.7).

use std::collections::VecDeque;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    envelope::{Envelope, microsecond_text},
    webhooks::{Answer, Attempt},
};

/// The newest 100,000 attempts and messages.
#[derive(Default)]
pub(crate) struct History {
    attempts: VecDeque<Entry>,
    /// How many attempts were forgotten: places are counted over all.
    forgotten: usize,
    messages: VecDeque<(OffsetDateTime, bool)>,
}

struct Entry {
    at: OffsetDateTime,
    message_id: Option<Uuid>,
    event_name: String,
    answer: Answer,
    response_ms: f64,
}

/// Which entries of a log are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) from: Option<OffsetDateTime>,
    pub(crate) to: Option<OffsetDateTime>,
    /// Whether it was a success.
    pub(crate) success: Option<bool>,
}

impl History {
    pub(super) fn attempted(&mut self, event: &Envelope, attempt: &Attempt, now: OffsetDateTime) {
        if self.attempts.len() == LENGTH {
            self.attempts.pop_front();
            self.forgotten += 1;
        }
        self.attempts.push_back(Entry {
            at: now,
            message_id: event.id,
            event_name: event.event_name.clone(),
            answer: attempt.answer.clone(),
            response_ms: attempt.response_ms,
        });
    }

    /// A message was answered, or given up. Delivered is what Catena doesn't send again (contract 6.4).
    pub(super) fn ended(&mut self, delivered: bool, now: OffsetDateTime) {
        if self.messages.len() == LENGTH {
            self.messages.pop_front();
        }
        self.messages.push_back((now, delivered));
    }

    /// Everything of `GET .../metrics` that follows from attempts and messages.
    pub(super) fn metrics(&self, now: OffsetDateTime) -> Map<String, Value> {
        let mut metrics = Map::new();
        for (window, length) in WINDOWS {
            let since = now - length;
            let attempts = || self.attempts.iter().filter(|entry| entry.at > since);
            let messages = || self.messages.iter().filter(|(at, _)| *at > since);
            let all = attempts().count();
            let successes = attempts().filter(|entry| entry.is_success()).count();
            let message_count = messages().count();
            let delivered = messages().filter(|(_, delivered)| *delivered).count();
            let total: f64 = attempts().map(|entry| entry.response_ms).sum();
            let rate = (message_count >= LEAST_MESSAGES)
                .then(|| 100.0 * number(delivered) / number(message_count));
            for (name, value) in [
                ("http_attempts", json!(all)),
                ("http_success_attempts", json!(successes)),
                ("http_failure_attempts", json!(all - successes)),
                ("message_count", json!(message_count)),
                ("message_success_count", json!(delivered)),
                ("success_rate", json!(rate)),
                (
                    "avg_response_time_ms",
                    json!((all > 0).then(|| (total / number(all)).round())),
                ),
            ] {
                metrics
                    .entry(name)
                    .or_insert_with(|| json!({}))
                    .as_object_mut()
                    .map(|windows| windows.insert(window.to_owned(), value));
            }
        }
        metrics
    }

    /// The entries of the last 14 days, oldest first, each with its place. One entry per attempt: whether Catena has one
    /// per message instead is unknown.
    pub(super) fn log(
        &self,
        webhook_id: Uuid,
        wanted: Wanted,
        now: OffsetDateTime,
    ) -> Vec<(usize, Value)> {
        let since = now - KEPT;
        let fits = |entry: &Entry| {
            entry.at > since
                && wanted.from.is_none_or(|from| entry.at >= from)
                && wanted.to.is_none_or(|to| entry.at <= to)
                && wanted.success.is_none_or(|it| entry.is_success() == it)
        };
        let all = self.attempts.iter().enumerate();
        all.filter(|(_, entry)| fits(entry))
            .map(|(place, entry)| (self.forgotten + place, entry.read(webhook_id)))
            .collect()
    }
}

impl Entry {
    /// Metrics count only a 2xx (contract 6.4).
    fn is_success(&self) -> bool {
        is_success(&self.answer)
    }

    /// What an attempt without an answer has for a status code is unknown: here it is null.
    fn read(&self, webhook_id: Uuid) -> Value {
        let (status_code, error_message) = match &self.answer {
            Answer::Status(status @ 200..300) => (Some(*status), None),
            Answer::Status(status) => {
                let reason = StatusCode::from_u16(*status).ok();
                let reason = reason.and_then(|status| status.canonical_reason());
                (Some(*status), Some(reason.unwrap_or("Error").to_owned()))
            }
            Answer::TimedOut => (None, Some("Request timed out".to_owned())),
            Answer::Unreachable(why) => (None, Some(why.clone())),
        };
        json!({
            "created_at": microsecond_text(self.at),
            "webhook_id": webhook_id,
            "message_id": self.message_id,
            "event_name": self.event_name,
            "status": if self.is_success() { "success" } else { "failed" },
            "status_code": status_code,
            "error_message": error_message,
            "response_time_ms": milliseconds(self.response_ms),
        })
    }
}

pub(super) fn is_success(answer: &Answer) -> bool {
    matches!(answer, Answer::Status(200..300))
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few seconds"
)]
fn milliseconds(time: f64) -> u64 {
    time.round() as u64
}

const WINDOWS: [(&str, Duration); 4] = [
    ("6h", Duration::hours(6)),
    ("24h", Duration::hours(24)),
    ("7d", Duration::days(7)),
    ("14d", KEPT),
];
/// Logs reach back this far (contract 6.1).
const KEPT: Duration = Duration::days(14);
/// A success rate needs so many messages (contract 6.7).
const LEAST_MESSAGES: usize = 200;
const LENGTH: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_rate_needs_two_hundred_messages_of_its_window() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let mut history = History::default();
        for number in 0..150 {
            history.ended(number >= 20, now - Duration::hours(10));
        }
        for _ in 0..50 {
            history.ended(true, now);
        }
        history.ended(false, now - Duration::days(15));
        let metrics = history.metrics(now);
        assert_eq!(
            metrics["success_rate"],
            json!({"6h": null, "24h": 90.0, "7d": 90.0, "14d": 90.0})
        );
        assert_eq!(
            metrics["message_count"],
            json!({"6h": 50, "24h": 200, "7d": 200, "14d": 200})
        );
        assert_eq!(metrics["avg_response_time_ms"]["6h"], Value::Null);
    }
}

//! The comparison of all of Catena's lists with our records: how far it is.

use fleet::{Policy, Stage, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the comparison is, and what it found. Its JSON is in the table, and `kingpin` reads and writes it: it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// When it began.
    pub started: Timestamp,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Which list it is at.
    pub step: Step,
    /// Where in that list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Things that Catena listed.
    pub listed: u64,
    /// Fleets of which something differed, told to their records.
    pub healed: u64,
    /// Fleets that had no record.
    pub imported: u64,
}

/// What is compared, in this order: an invitation must be known before a request that came from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// All invitations.
    Invitations,
    /// All share agreements.
    Agreements,
    /// The fleets that are in a stage by our records, and their connections.
    Fleets(Stage),
    /// All integration requests.
    Requests,
    /// Nothing more.
    Done,
}

impl Comparison {
    /// One that begins now.
    pub fn new(now: Timestamp) -> Self {
        Self {
            started: now,
            finished: None,
            step: Step::Invitations,
            cursor: None,
            listed: 0,
            healed: 0,
            imported: 0,
        }
    }

    /// Reads what is in the table.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As it is in the table.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// When the one after one that ended at `finished` begins.
    pub fn next(finished: Timestamp, policy: &Policy) -> Timestamp {
        finished.plus(policy.wait(EVERY_MS))
    }
}

impl Step {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Invitations => Self::Agreements,
            Self::Agreements => Self::Fleets(Stage::Connected),
            Self::Fleets(Stage::Connected) => Self::Fleets(Stage::Degraded),
            Self::Fleets(Stage::Degraded) => Self::Fleets(Stage::Accepted),
            Self::Fleets(Stage::Accepted) => Self::Fleets(Stage::Requested),
            Self::Fleets(Stage::Requested) => Self::Fleets(Stage::ReconnectReady),
            Self::Fleets(Stage::ReconnectReady) => Self::Fleets(Stage::Disconnected),
            Self::Fleets(_) => Self::Requests,
            Self::Requests | Self::Done => Self::Done,
        }
    }
}

/// From the end of one to the beginning of the next, at the usual pace.
const EVERY_MS: i64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    #[test]
    fn the_format_in_the_table_stays() {
        let begun =
            r#"{"started":1777881600000,"step":"invitations","listed":0,"healed":0,"imported":0}"#;
        assert_eq!(Comparison::new(NOW).text(), begun);
        assert_eq!(Comparison::read(begun), Some(Comparison::new(NOW)));
        let half = Comparison {
            step: Step::Fleets(Stage::ReconnectReady),
            cursor: Some("FLEET-42".to_owned()),
            listed: 7,
            ..Comparison::new(NOW)
        };
        let text = r#"{"started":1777881600000,"step":{"fleets":"reconnect_ready"},"cursor":"FLEET-42","listed":7,"healed":0,"imported":0}"#;
        assert_eq!(half.text(), text);
        assert_eq!(Comparison::read(text), Some(half));
        assert_eq!(Comparison::read("{}"), None);
    }

    #[test]
    fn every_list_is_compared_once_and_requests_come_last() {
        let mut steps = vec![Step::Invitations];
        while let Some(step) = steps.last().filter(|step| **step != Step::Done) {
            let next = step.next();
            assert!(!steps.contains(&next), "{steps:?}");
            steps.push(next);
        }
        assert_eq!(steps.len(), 10);
        assert_eq!(steps[8], Step::Requests);
    }

    #[test]
    fn the_next_one_begins_a_day_after_the_last_at_the_usual_pace() {
        let slow = Policy {
            wait_percent: 200,
            ..Policy::default()
        };
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(Comparison::next(NOW, &Policy::default()), NOW.plus(day));
        assert_eq!(Comparison::next(NOW, &slow), NOW.plus(2 * day));
    }
}

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
    /// Of the healed ones, those whose invitation had been decided for a while, which webhooks always tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unheard: u64,
    /// Lists that Catena doesn't let us read to their end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_up: u32,
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
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
            unheard: 0,
            given_up: 0,
            failures: 0,
        }
    }

    /// Reads what is in the table.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As it is in the table. Where it is in the list of invitations isn't told: that could hold an invitation's id, which opens a
    /// fleet's tokens (contract 3.1). So that list is read from its beginning when it was cut off.
    pub fn text(&self) -> String {
        let mut kept = self.clone();
        kept.cursor = kept.cursor.filter(|_| self.step != Step::Invitations);
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Goes on after a page that was read.
    pub fn turn(&mut self, next: Option<String>, now: Timestamp) {
        self.failures = 0;
        self.cursor = next;
        if self.cursor.is_none() {
            self.step = self.step.next();
        }
        if self.step == Step::Done {
            self.finished = Some(now);
        }
    }

    /// Goes on after a page that Catena will refuse again: with the next list.
    pub fn give_up(&mut self, now: Timestamp) {
        self.given_up = self.given_up.saturating_add(1);
        self.turn(None, now);
    }

    /// How long to wait after a page that Catena may tell of later, in milliseconds: longer each time.
    pub fn put_off(&mut self) -> i64 {
        let wait = FIRST_RETRY_MS << self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        wait.min(LONGEST_RETRY_MS)
    }

    /// How many fleets to ask about at once: fewer after each failure, since so many may be too many for the time that there is.
    pub fn fleets_at_once(&self) -> usize {
        (FLEETS_AT_ONCE >> self.failures.min(10)).max(1)
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

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Catena takes a hundred references in a call (contract 2).
const FLEETS_AT_ONCE: usize = 100;
/// After a page that can't be read now.
const FIRST_RETRY_MS: i64 = 60 * 1000;
/// However often it fails.
const LONGEST_RETRY_MS: i64 = 60 * 60 * 1000;
/// From the end of one to the beginning of the next, at the usual pace.
const EVERY_MS: i64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    #[test]
    fn the_form_in_the_table_stays() {
        let begun = Comparison::new(NOW);
        let mut cut_off = Comparison {
            step: Step::Fleets(Stage::ReconnectReady),
            cursor: Some("FLEET-1".to_owned()),
            listed: 5,
            healed: 2,
            imported: 1,
            ..begun.clone()
        };
        cut_off.put_off();
        let mut over = begun.clone();
        while over.finished.is_none() {
            over.give_up(NOW);
        }
        for (comparison, text) in [
            (
                begun,
                r#"{"started":1777881600000,"step":"invitations","listed":0,"healed":0,"imported":0}"#,
            ),
            (
                cut_off,
                r#"{"started":1777881600000,"step":{"fleets":"reconnect_ready"},"cursor":"FLEET-1","listed":5,"healed":2,"imported":1,"failures":1}"#,
            ),
            (
                over,
                r#"{"started":1777881600000,"finished":1777881600000,"step":"done","listed":0,"healed":0,"imported":0,"given_up":9}"#,
            ),
        ] {
            assert_eq!(comparison.text(), text);
            assert_eq!(Comparison::read(text), Some(comparison));
        }
        assert_eq!(Comparison::read("{}"), None);
    }

    #[test]
    fn every_list_is_compared_and_all_fleets_that_may_have_connections() {
        let mut comparison = Comparison::new(NOW);
        let mut steps = Vec::new();
        while comparison.finished.is_none() {
            steps.push(serde_json::to_string(&comparison.step).unwrap());
            comparison.turn(None, NOW);
        }
        let expected = [
            r#""invitations""#,
            r#""agreements""#,
            r#"{"fleets":"connected"}"#,
            r#"{"fleets":"degraded"}"#,
            r#"{"fleets":"accepted"}"#,
            r#"{"fleets":"requested"}"#,
            r#"{"fleets":"reconnect_ready"}"#,
            r#"{"fleets":"disconnected"}"#,
            r#""requests""#,
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_list_is_read_page_by_page() {
        let mut comparison = Comparison::new(NOW);
        comparison.turn(Some("2".to_owned()), NOW);
        assert_eq!(comparison.step, Step::Invitations);
        assert_eq!(comparison.cursor.as_deref(), Some("2"));
        comparison.turn(None, NOW);
        assert_eq!(
            (comparison.step, comparison.cursor),
            (Step::Agreements, None)
        );
    }

    #[test]
    fn waits_grow_and_pages_shrink_while_catena_fails() {
        let mut comparison = Comparison::new(NOW);
        assert_eq!(comparison.fleets_at_once(), 100);
        let tries = (0..9).map(|_| (comparison.put_off() / 60_000, comparison.fleets_at_once()));
        let tries: Vec<_> = tries.collect();
        assert_eq!(
            tries,
            [
                (1, 50),
                (2, 25),
                (4, 12),
                (8, 6),
                (16, 3),
                (32, 1),
                (60, 1),
                (60, 1),
                (60, 1)
            ]
        );
        comparison.turn(Some("FLEET-1".to_owned()), NOW);
        assert_eq!(
            (comparison.fleets_at_once(), comparison.put_off()),
            (100, 60_000)
        );
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

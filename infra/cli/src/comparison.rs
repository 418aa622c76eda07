//! The comparison of all of Catena's lists with our records, as far as this version can read how far it is.

use fleet::{Policy, Timestamp};
use reconciliation::Comparison;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    readable::plain,
    when::{Span, clock_and_distance, rfc3339, span},
};

/// What is in the table about it.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// How far it is.
    Progress(Progress),
    /// A text of another version, which this one can't read.
    Unreadable,
}

/// What there is to say about it. A newer version may write more, or other steps: neither matters here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Progress {
    started: Timestamp,
    /// `None` while it runs.
    #[serde(default)]
    finished: Option<Timestamp>,
    #[serde(default)]
    step: Value,
    #[serde(default)]
    listed: u64,
    #[serde(default)]
    healed: u64,
    #[serde(default)]
    imported: u64,
}

impl Seen {
    /// Reads what is in the table.
    pub(crate) fn read(text: &str) -> Self {
        serde_json::from_str(text).map_or(Self::Unreadable, Self::Progress)
    }

    /// Whether it goes on, as far as that can be read.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Progress(progress) if progress.finished.is_none())
    }

    /// When the next one begins, if this one is over.
    pub(crate) fn next(&self, policy: &Policy) -> Option<Timestamp> {
        match self {
            Self::Progress(progress) => Some(Comparison::next(progress.finished?, policy)),
            Self::Unreadable => None,
        }
    }

    /// In words, as the end of a sentence.
    pub(crate) fn words(&self, now: Timestamp) -> String {
        match self {
            Self::Progress(progress) => progress.words(now),
            Self::Unreadable => UNREADABLE.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Progress(progress) => progress.json(),
            Self::Unreadable => json!({ "problem": UNREADABLE }),
        }
    }
}

impl Progress {
    fn words(&self, now: Timestamp) -> String {
        let Self {
            listed,
            healed,
            imported,
            ..
        } = self;
        let fleets = if *healed == 1 { "fleet" } else { "fleets" };
        let found = format!("{listed} listed, {healed} {fleets} healed, {imported} imported");
        let at = |at| clock_and_distance(at, now);
        match self.finished {
            // A new stack has nothing to compare.
            Some(finished) if finished == self.started => "none yet".to_owned(),
            Some(finished) => {
                let took = span(Span(finished.0.saturating_sub(self.started.0)));
                format!("ended at {}, after {took}: {found}", at(finished))
            }
            None => format!(
                "running since {}, at {}: {found} so far",
                at(self.started),
                self.list()
            ),
        }
    }

    fn json(&self) -> Value {
        let is_running = self.finished.is_none();
        json!({
            "started": rfc3339(self.started),
            "finished": self.finished.map(rfc3339),
            "list": is_running.then(|| self.list()),
            "listed": self.listed,
            "healed": self.healed,
            "imported": self.imported,
            "problem": null,
        })
    }

    /// The list that it is at.
    fn list(&self) -> String {
        if let Some(stage) = self.step["fleets"].as_str() {
            return format!("fleets that are {}", plain(&stage.replace('_', " ")));
        }
        let step = self.step.as_str().unwrap_or("a list of another version");
        plain(&step.replace('_', " "))
    }
}

/// Said instead of how far it is.
const UNREADABLE: &str = "can't be read: another version wrote it; use the `kingpin` that belongs to the stack's template";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    #[test]
    fn what_this_version_writes_it_reads() {
        let seen = Seen::read(&Comparison::new(NOW).text());
        assert!(seen.is_running());
        assert_eq!(
            seen.words(NOW),
            "running since 2026-05-04 08:00:00 (now), at invitations: 0 listed, 0 fleets healed, 0 imported so far"
        );
        assert_eq!(seen.next(&Policy::default()), None);
    }

    #[test]
    fn what_a_newer_version_writes_is_read_as_far_as_it_can_be() {
        let newer = r#"{"started":1777881600000,"step":{"drivers":3},"pace":9}"#;
        let words = Seen::read(newer).words(NOW);
        assert!(words.contains("a list of another version"), "{words}");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_is_not_none() {
        for text in ["no JSON", "", r#"{"began":"2026-05-04"}"#] {
            let seen = Seen::read(text);
            let words = seen.words(NOW);
            assert!(words.starts_with("can't be read"), "{words}");
            assert_eq!(seen.json()["problem"], words);
            assert!(!seen.is_running());
            assert_eq!(seen.next(&Policy::default()), None);
        }
        let read = Seen::read(&Comparison::new(NOW).text());
        assert_eq!(read.json()["problem"], Value::Null);
    }

    #[test]
    fn a_new_stack_has_compared_nothing() {
        let none = r#"{"started":1777881600000,"finished":1777881600000,"step":"invitations","listed":0,"healed":0,"imported":0}"#;
        let none = Seen::read(none);
        assert_eq!(none.words(NOW), "none yet");
        let day = NOW.plus(24 * 60 * 60 * 1000);
        assert_eq!(none.next(&Policy::default()), Some(day));
    }
}

//! When to look at a fleet: what it is due for, spread over time by how often it was looked at already.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Due, Policy, Timestamp, Why};

/// How often a fleet was looked at, and for what: the scheduler's own notes, no facts. Nothing that follows from a record depends
/// on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Looks so far, by their reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    taken: BTreeMap<Why, Look>,
    /// Looks in a row that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    /// Catena isn't asked before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    /// Somebody is looking, and has until then to say what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leased_until: Option<Timestamp>,
}

/// Looks for one reason. Written as `[since, times, last]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look(Timestamp, u32, Timestamp);

/// What to look for now, and when again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agenda {
    /// What Catena is to be asked about now.
    pub now: Vec<Why>,
    /// When the next look is due: not later than `now` if there is anything in it, or a date passed.
    pub next: Option<Timestamp>,
}

impl Looks {
    /// What is to be looked at, of all that a fleet is due for ([`Standing::due`](crate::Standing) and what else there is).
    pub fn agenda(&self, due: &[Due], policy: &Policy, now: Timestamp) -> Agenda {
        let times = self.times(due, policy);
        let due_now = times
            .iter()
            .filter(|(why, at)| !why.is_date() && **at <= now);
        Agenda {
            now: due_now.map(|(why, _)| *why).collect(),
            next: times.into_values().min(),
        }
    }

    /// When Catena is asked because of what, of all that a fleet is due for; the soonest first.
    pub fn asks(&self, due: &[Due], policy: &Policy) -> Vec<Due> {
        let times = self.times(due, policy).into_iter();
        let asks = times.filter(|(why, _)| !why.is_date());
        let mut asks: Vec<Due> = asks.map(|(why, at)| Due { at, why }).collect();
        asks.sort();
        asks
    }

    /// How many looks in a row failed.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// When each reason is looked at, and each date is.
    fn times(&self, due: &[Due], policy: &Policy) -> BTreeMap<Why, Timestamp> {
        let mut times: BTreeMap<Why, Timestamp> = BTreeMap::new();
        for due in due {
            // Of several for one reason the newest restarts the waits: one look serves all.
            let since = times.entry(due.why).or_insert(due.at);
            *since = match due.why.is_date() {
                true => (*since).min(due.at),
                false => (*since).max(due.at),
            };
        }
        for (why, at) in &mut times {
            if !why.is_date() {
                *at = self.next(*why, *at, policy);
            }
        }
        times
    }

    /// Whether nobody is looking at `now`.
    pub fn are_free(&self, now: Timestamp) -> bool {
        self.leased_until.is_none_or(|until| until <= now)
    }

    /// The same, while somebody looks.
    #[must_use]
    pub fn leased(&self, until: Timestamp) -> Self {
        Self {
            leased_until: Some(until),
            ..self.clone()
        }
    }

    /// The same after Catena answered, when the fleet was due for `due` and looked at because of `why`.
    #[must_use]
    pub fn answered(mut self, due: &[Due], why: &[Why], now: Timestamp) -> Self {
        for why in why {
            let since = due.iter().filter(|due| due.why == *why).map(|due| due.at);
            let Some(since) = since.max() else { continue };
            let before = self.taken.get(why).filter(|look| look.0 == since);
            let times = before.map_or(0, |look| look.1).saturating_add(1);
            self.taken.insert(*why, Look(since, times, now));
        }
        // What the fleet isn't due for any more begins anew when it is again.
        self.taken
            .retain(|why, _| due.iter().any(|due| due.why == *why));
        Self {
            failures: 0,
            not_before: None,
            leased_until: None,
            ..self
        }
    }

    /// The same after Catena didn't answer: it is asked again later, and later each time, but not before `not_before`.
    #[must_use]
    pub fn failed(
        mut self,
        not_before: Option<Timestamp>,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
        let wait = FIRST_RETRY_MS.saturating_mul(1 << self.failures.min(10));
        let again = now.plus(policy.wait(wait.min(LONGEST_RETRY_MS)));
        self.failures = self.failures.saturating_add(1);
        self.not_before = not_before.max(Some(again));
        self.leased_until = None;
        self
    }

    fn next(&self, why: Why, since: Timestamp, policy: &Policy) -> Timestamp {
        let taken = self.taken.get(&why).filter(|look| look.0 == since);
        let (from, times) = taken.map_or((since, 0), |look| (look.2, look.1));
        let waits = why.waits();
        let wait = waits.get(times as usize).or(waits.last());
        let wait = wait.map_or(0, |seconds| policy.wait(seconds * 1000));
        let held = self.not_before.max(self.leased_until);
        from.plus(wait).max(held.unwrap_or(Timestamp(i64::MIN)))
    }
}

impl Why {
    /// Whether it is a date: something changes then by time alone, and nobody needs to be asked.
    pub const fn is_date(self) -> bool {
        matches!(
            self,
            Self::InvitationEnds
                | Self::AgreementStarts
                | Self::AgreementEnds
                | Self::AdmissionEnds
                | Self::OverrideEnds
        )
    }

    /// Seconds before the first look and between the following ones; the last repeats. Recovery and going live are announced
    /// by nobody (contract 6.10, 3.6), rate limits are unknown (contract 7, 29): often at first, when somebody waits at a screen,
    /// and seldom after.
    const fn waits(self) -> &'static [i64] {
        match self {
            Self::RequestUnconfirmed => &[0, 5, 30, 5 * MINUTE, HOUR, DAY],
            Self::AgreementUnknown => &[5, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, DAY],
            // An ordinary fleet connects within a minute of accepting.
            Self::ConnectionMissing => &[MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, DAY],
            Self::ConnectionBroken => &[5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, DAY],
            Self::ScheduleStopped => &[15 * MINUTE, HOUR, 4 * HOUR, DAY],
            Self::AgreementHalted => &[HOUR, 4 * HOUR, DAY],
            Self::RequestPending => &[15 * MINUTE, HOUR, 4 * HOUR],
            Self::ProviderLive => &[HOUR, 4 * HOUR, DAY],
            Self::Hint | Self::ReadBack => &[0, MINUTE, 15 * MINUTE, HOUR],
            Self::InvitationEnds
            | Self::AgreementStarts
            | Self::AgreementEnds
            | Self::AdmissionEnds
            | Self::OverrideEnds => &[0],
        }
    }
}

const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const FIRST_RETRY_MS: i64 = 30 * 1000;
const LONGEST_RETRY_MS: i64 = 15 * MINUTE * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    fn due(why: Why, at: Timestamp) -> Due {
        Due { at, why }
    }

    /// When looks happen if each is taken as soon as it is due and nothing changes.
    fn looks_at(why: Why, policy: &Policy, count: usize) -> Vec<i64> {
        let due = [due(why, NOW)];
        let mut looks = Looks::default();
        let mut now = NOW;
        let mut times = Vec::new();
        while times.len() < count {
            let agenda = looks.agenda(&due, policy, now);
            if agenda.now.is_empty() {
                now = agenda.next.unwrap();
                continue;
            }
            times.push((now.0 - NOW.0) / 1000);
            looks = looks.answered(&due, &agenda.now, now);
        }
        times
    }

    #[test]
    fn an_unconfirmed_request_is_asked_for_at_once_and_then_ever_less_often() {
        let times = looks_at(Why::RequestUnconfirmed, &Policy::default(), 7);
        assert_eq!(times, [0, 5, 35, 335, 3_935, 90_335, 176_735]);
    }

    #[test]
    fn waits_are_stretched_by_policy() {
        let policy = Policy {
            wait_percent: 10,
            ..Policy::default()
        };
        let times = looks_at(Why::ConnectionMissing, &policy, 3);
        assert_eq!(times, [6, 36, 126]);
    }

    #[test]
    fn newer_trouble_is_looked_at_as_if_there_had_been_none() {
        let (policy, minute) = (Policy::default(), 60_000);
        let old = [due(Why::ConnectionBroken, NOW)];
        let mut looks = Looks::default();
        for _ in 0..4 {
            let next = looks.agenda(&old, &policy, NOW).next.unwrap();
            looks = looks.answered(&old, &[Why::ConnectionBroken], next);
        }
        let both = [old[0], due(Why::ConnectionBroken, NOW.plus(90 * minute))];
        let next = looks.agenda(&both, &policy, NOW.plus(90 * minute)).next;
        assert_eq!(next, Some(NOW.plus(95 * minute)));
    }

    #[test]
    fn while_somebody_looks_or_catena_is_down_only_dates_are_due() {
        let policy = Policy::default();
        let ends = NOW.plus(20_000);
        let due = [
            due(Why::RequestUnconfirmed, NOW),
            due(Why::AdmissionEnds, ends),
        ];
        let leased = Looks::default().leased(NOW.plus(60_000));
        assert!(!leased.are_free(NOW) && leased.are_free(NOW.plus(60_000)));
        let agenda = leased.agenda(&due, &policy, NOW);
        assert_eq!((agenda.now, agenda.next), (Vec::new(), Some(ends)));

        let failed = leased.failed(None, &policy, NOW);
        assert!(failed.are_free(NOW));
        let agenda = failed.agenda(&due[..1], &policy, NOW);
        assert_eq!(agenda.next, Some(NOW.plus(30_000)));
        let told = Some(NOW.plus(500_000));
        let failed = failed.failed(told, &policy, NOW);
        assert_eq!(failed.agenda(&due[..1], &policy, NOW).next, told);
        let mut failing = failed;
        for _ in 0..40 {
            failing = failing.failed(None, &policy, NOW);
        }
        let next = failing.agenda(&due[..1], &policy, NOW).next;
        assert_eq!(next, Some(NOW.plus(900_000)));
        let answered = failing.answered(&due, &[Why::RequestUnconfirmed], NOW);
        assert_eq!(
            answered.agenda(&due[..1], &policy, NOW).next,
            Some(NOW.plus(5_000))
        );
    }

    #[test]
    fn it_is_told_when_catena_is_asked_and_that_looks_failed() {
        let policy = Policy::default();
        let due = [
            due(Why::AdmissionEnds, NOW),
            due(Why::ConnectionBroken, NOW),
            due(Why::ConnectionMissing, NOW),
        ];
        let looks = Looks::default();
        let asks = [
            Due {
                at: NOW.plus(60_000),
                why: Why::ConnectionMissing,
            },
            Due {
                at: NOW.plus(300_000),
                why: Why::ConnectionBroken,
            },
        ];
        assert_eq!(looks.asks(&due, &policy), asks);
        assert_eq!(looks.failures(), 0);
        let failed = looks.failed(None, &policy, NOW);
        assert_eq!(failed.failures(), 1);
        assert_eq!(failed.answered(&due, &[], NOW).failures(), 0);
    }

    #[test]
    fn notes_are_small_and_vanish_with_their_reason() {
        let waits = [due(Why::RequestUnconfirmed, NOW)];
        let looks = Looks::default().answered(&waits, &[Why::RequestUnconfirmed], NOW.plus(7));
        let text = serde_json::to_string(&looks).unwrap();
        assert_eq!(
            text,
            r#"{"taken":{"request_unconfirmed":[1777881600000,1,1777881600007]}}"#
        );
        assert_eq!(serde_json::from_str::<Looks>(&text).unwrap(), looks);
        assert_eq!(looks.answered(&[], &[], NOW), Looks::default());
    }
}

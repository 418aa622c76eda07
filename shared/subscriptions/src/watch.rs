//! Which subscriptions stopped, and what to do about it.
//!
//! Catena's circuit breaker stops a subscription after ten failures in a row, and never brings it back by itself (contract 6.6). What
//! stopped is activated and replayed, at once and then at growing intervals; after that it is a person's.

use std::collections::{BTreeMap, BTreeSet};

use catena::{Status, Subscription, SubscriptionFilters};
use fleet::{Policy, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Ledger, is_wanted, shows_host};

/// What is remembered from one look at the subscriptions to the next. Its JSON is in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// When Catena's list was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
    /// When the dead letters of all were counted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<Timestamp>,
    /// When lasting states were told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at: Option<Timestamp>,
    /// Those that aren't well, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ailing: BTreeMap<String, Ailing>,
}

/// A subscription that isn't well, or hasn't been for long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ailing {
    since: Timestamp,
    /// How often it was cured since.
    cures: u32,
    last: Timestamp,
    /// Since when it has been well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    well_since: Option<Timestamp>,
}

/// What was found about a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It stopped, or holds dead letters: activate it if it is stale, and have them replayed.
    Cure {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// It stopped.
        stale: bool,
        /// How often it was cured before, in the same illness.
        before: u32,
    },
    /// It was cured as often as makes sense: a person's.
    GivenUp {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// Since when it isn't well.
        since: Timestamp,
    },
    /// Somebody paused it, or it is in a state that nobody knows: what happens meanwhile isn't delivered.
    Paused {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// What Catena says.
        status: Status,
    },
    /// It is gone at Catena.
    Gone {
        /// The subscription.
        id: String,
        /// What it was for.
        event_name: String,
    },
    /// It delivers to our host, and nobody wrote it down: what it delivers can't be proved.
    Unknown {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// One of ours is for the same, or it is for some fleets alone: then nothing is lost by it.
        beside_ours: bool,
    },
    /// It is well again.
    Recovered {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// Since when it wasn't.
        since: Timestamp,
    },
}

impl Watch {
    /// Reads what is in the table. What can't be read, because another version wrote it, counts as nothing: then cures are counted anew.
    pub fn read(text: Option<&str>) -> Self {
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    }

    /// As it is in the table.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Which subscriptions' dead letters are to be counted now: those that don't deliver or were ill lately, and all that are ours every
    /// hour and while one of them is being cured. What made that one ill has failed others, too, perhaps not often enough to stop them.
    pub fn to_count<'a>(
        &self,
        ledger: &'a Ledger,
        listed: &[Subscription],
        policy: &Policy,
        now: Timestamp,
    ) -> BTreeSet<&'a str> {
        let in_cure = |it: &Ailing| it.well_since.is_none() && (it.cures as usize) < WAITS_MS.len();
        let all = is_due(self.counted_at, policy, now) || self.ailing.values().any(in_cure);
        let active = listed.iter().filter(|it| it.status == Some(Status::Active));
        let active: BTreeSet<&str> = active.map(|it| it.id.as_str()).collect();
        let there: BTreeSet<&str> = listed.iter().map(|it| it.id.as_str()).collect();
        let ours = ledger.ours.keys().map(String::as_str);
        let ours = ours.filter(|id| there.contains(id));
        ours.filter(|id| all || !active.contains(id) || self.ailing.contains_key(*id))
            .collect()
    }

    /// What to do about what Catena lists, and what a person should know. Remembers it; a cure counts as done once it is found here, so
    /// that one that is cut off isn't tried without end.
    pub fn examine(
        &mut self,
        ledger: &Ledger,
        listed: &[Subscription],
        dead_letters: &BTreeMap<String, u64>,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<Finding> {
        let hourly = is_due(self.told_at, policy, now);
        let counts_all = is_due(self.counted_at, policy, now);
        let there: BTreeMap<&str, &Subscription> =
            listed.iter().map(|it| (it.id.as_str(), it)).collect();
        let mut findings = Vec::new();
        for (id, ours) in &ledger.ours {
            let (id, event_name) = (id.clone(), ours.event_name.clone());
            let status = there.get(id.as_str()).map(|it| it.status.clone());
            let waiting = dead_letters.get(&id).copied().unwrap_or_default();
            match status {
                None | Some(Some(Status::Deleted)) => {
                    self.ailing.remove(&id);
                    findings.extend(hourly.then_some(Finding::Gone { id, event_name }));
                }
                Some(Some(Status::Stale)) => {
                    findings.extend(self.ill(id, event_name, true, policy, now));
                }
                Some(Some(status)) if status != Status::Active => {
                    findings.extend(hourly.then_some(Finding::Paused {
                        id,
                        event_name,
                        status,
                    }));
                }
                Some(_) if waiting > 0 => {
                    findings.extend(self.ill(id, event_name, false, policy, now));
                }
                // Without a count nothing is known of its dead letters.
                Some(_) if dead_letters.contains_key(&id) => {
                    findings.extend(self.well(id, event_name, policy, now));
                }
                Some(_) => {}
            }
        }
        self.ailing.retain(|id, _| ledger.ours.contains_key(id));
        findings.extend(strangers(ledger, listed).filter(|_| hourly));
        self.seen_at = Some(now);
        if hourly {
            self.told_at = Some(now);
        }
        let ours_there = ledger
            .ours
            .keys()
            .filter(|id| there.contains_key(id.as_str()));
        if counts_all && ours_there.clone().all(|id| dead_letters.contains_key(id)) {
            self.counted_at = Some(now);
        }
        findings
    }

    /// A cure that was found wasn't tried: it doesn't count.
    pub fn give_back(&mut self, id: &str) {
        if let Some(ailing) = self.ailing.get_mut(id) {
            ailing.cures = ailing.cures.saturating_sub(1);
        }
    }

    /// Whether all that ailed are well now, as far as that is known.
    pub fn is_well(&self) -> bool {
        self.ailing.values().all(|it| it.well_since.is_some())
    }

    /// Since when the first of those that aren't well hasn't been, if there is one, or was lately.
    pub fn ailing_since(&self) -> Option<Timestamp> {
        self.ailing.values().map(|it| it.since).min()
    }

    /// How often a subscription was cured since it fell ill, and when last.
    pub fn cures(&self, id: &str) -> Option<(u32, Timestamp)> {
        self.ailing.get(id).map(|it| (it.cures, it.last))
    }

    fn ill(
        &mut self,
        id: String,
        event_name: String,
        stale: bool,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Finding> {
        let ailing = self.ailing.entry(id.clone()).or_insert(Ailing {
            since: now,
            cures: 0,
            last: now,
            well_since: None,
        });
        // One that was well for longer than the next cure would wait is ill anew; one that stops again and again isn't.
        let next = WAITS_MS
            .get(ailing.cures as usize)
            .unwrap_or(&WELL_AFTER_MS);
        let well_for = ailing.well_since.map(|since| now.0.saturating_sub(since.0));
        if well_for.is_some_and(|well_for| well_for >= policy.wait((*next).max(HOUR))) {
            (ailing.since, ailing.cures) = (now, 0);
        }
        ailing.well_since = None;
        let before = ailing.cures;
        let Some(wait) = WAITS_MS.get(before as usize) else {
            let since = ailing.since;
            // As often as lasting states are told.
            let told = ailing.last.plus(policy.wait(EVERY_MS)) <= now;
            return told.then(|| {
                ailing.last = now;
                Finding::GivenUp {
                    id,
                    event_name,
                    since,
                }
            });
        };
        if ailing.last.plus(policy.wait(*wait)) > now {
            return None;
        }
        ailing.cures += 1;
        ailing.last = now;
        Some(Finding::Cure {
            id,
            event_name,
            stale,
            before,
        })
    }

    fn well(
        &mut self,
        id: String,
        event_name: String,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Finding> {
        let ailing = self.ailing.get_mut(&id)?;
        let Some(well_since) = ailing.well_since else {
            ailing.well_since = Some(now);
            let since = ailing.since;
            return Some(Finding::Recovered {
                id,
                event_name,
                since,
            });
        };
        // One that stops again and again is one illness.
        if well_since.plus(policy.wait(WELL_AFTER_MS)) <= now {
            self.ailing.remove(&id);
        }
        None
    }
}

/// Subscriptions that deliver to our host and that nobody wrote down.
fn strangers<'a>(
    ledger: &'a Ledger,
    listed: &'a [Subscription],
) -> impl Iterator<Item = Finding> + 'a {
    let url = ledger.ours.values().find_map(|ours| ours.url.as_deref());
    let strangers = listed.iter().filter(move |it| {
        let active = it.status == Some(Status::Active);
        let here = url.is_some_and(|url| shows_host(it.shown_url(), url));
        active && here && !ledger.ours.contains_key(&it.id)
    });
    strangers.filter_map(|it| {
        let event_name = it.event_name.clone()?;
        let whole = it
            .filters
            .as_ref()
            .is_none_or(SubscriptionFilters::is_empty);
        let known = ledger
            .ours
            .values()
            .any(|ours| ours.event_name == event_name);
        is_wanted(&event_name).then(|| Finding::Unknown {
            id: it.id.clone(),
            event_name,
            beside_ours: known || !whole,
        })
    })
}

/// Whether an hour is over since a moment.
fn is_due(at: Option<Timestamp>, policy: &Policy, now: Timestamp) -> bool {
    at.is_none_or(|at| at.plus(policy.wait(EVERY_MS)) <= now)
}

/// Before each cure, from the one before: together two days.
const WAITS_MS: [i64; 8] = [
    0,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
    4 * HOUR,
    12 * HOUR,
    24 * HOUR,
];
/// Counting is a call for each of ours, and lasting states are told as often.
const EVERY_MS: i64 = HOUR;
/// Longer than the breaker's grace and the longest wait.
const WELL_AFTER_MS: i64 = 24 * HOUR;
const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ours;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    fn listed(id: &str, status: Status) -> Subscription {
        Subscription {
            id: id.to_owned(),
            event_name: Some("tsp.created".to_owned()),
            status: Some(status),
            url: Some("https://hooks.example.com/*****".into()),
            filters: None,
            created_at: None,
            updated_at: None,
        }
    }

    fn ledger(ids: &[&str]) -> Ledger {
        let ours = |id: &&str| {
            let ours = Ours {
                event_name: "tsp.created".to_owned(),
                key: None,
                key_since: None,
                url: Some("https://hooks.example.com/webhooks/catena".to_owned()),
            };
            ((*id).to_owned(), ours)
        };
        Ledger {
            ours: ids.iter().map(ours).collect(),
            ..Ledger::default()
        }
    }

    struct Story {
        watch: Watch,
        now: Timestamp,
    }

    impl Story {
        fn new() -> Self {
            let (watch, now) = (Watch::default(), NOW);
            Self { watch, now }
        }

        fn look(&mut self, status: Status, dead_letters: u64) -> Vec<Finding> {
            let dead_letters = BTreeMap::from([("W".to_owned(), dead_letters)]);
            let listed = [listed("W", status)];
            let policy = Policy::default();
            // What is written is read alike.
            self.watch = Watch::read(Some(&self.watch.text()));
            self.watch
                .examine(&ledger(&["W"]), &listed, &dead_letters, &policy, self.now)
        }
    }

    fn cure(stale: bool, before: u32) -> Finding {
        Finding::Cure {
            id: "W".to_owned(),
            event_name: "tsp.created".to_owned(),
            stale,
            before,
        }
    }

    #[test]
    fn what_stopped_is_cured_at_once_and_told_when_it_is_well() {
        let mut story = Story::new();
        assert_eq!(story.look(Status::Active, 0), []);
        story.now = story.now.plus(MINUTE);
        assert_eq!(story.look(Status::Stale, 12), [cure(true, 0)]);
        assert_eq!(story.watch.ailing_since(), Some(story.now));
        let fell_ill = story.now;
        story.now = story.now.plus(MINUTE / 2);
        // What is replayed takes a while.
        assert_eq!(story.look(Status::Active, 3), []);
        story.now = story.now.plus(MINUTE);
        let recovered = Finding::Recovered {
            id: "W".to_owned(),
            event_name: "tsp.created".to_owned(),
            since: fell_ill,
        };
        assert_eq!(story.look(Status::Active, 0), [recovered]);
        story.now = story.now.plus(WELL_AFTER_MS);
        assert_eq!(story.look(Status::Active, 0), []);
        assert_eq!(story.watch.ailing_since(), None);
    }

    #[test]
    fn dead_letters_of_one_that_delivers_are_replayed() {
        assert_eq!(Story::new().look(Status::Active, 1), [cure(false, 0)]);
    }

    #[test]
    fn what_stops_again_and_again_is_a_persons_after_some_cures() {
        let mut story = Story::new();
        let (mut cures, mut given_up, mut first) = (0, 0, None);
        for minute in 0..6 * 24 * 60 {
            story.now = NOW.plus(minute * MINUTE);
            // Well for most of the time: it stops again within the hour.
            let status = if minute % 45 == 0 {
                Status::Stale
            } else {
                Status::Active
            };
            for finding in story.look(status, 0) {
                match finding {
                    Finding::Cure { .. } => cures += 1,
                    Finding::GivenUp { .. } => {
                        given_up += 1;
                        first = first.or(Some(minute));
                    }
                    Finding::Recovered { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(cures, WAITS_MS.len());
        // Told now and then, and not with each look.
        assert!((60..100).contains(&given_up), "{given_up}");
        assert!(first.unwrap() > 40 * 60, "{first:?}");
    }

    #[test]
    fn one_that_stops_now_and_then_is_ill_anew_each_time_and_what_is_not_tried_does_not_count() {
        let mut story = Story::new();
        for day in 0..30 {
            story.now = NOW.plus(day * 24 * HOUR);
            assert_eq!(story.look(Status::Stale, 0), [cure(true, 0)], "day {day}");
            story.now = story.now.plus(2 * MINUTE);
            assert!(!story.watch.is_well());
            story.look(Status::Active, 0);
            assert!(story.watch.is_well());
        }
        let mut story = Story::new();
        for _ in 0..30 {
            assert_eq!(story.look(Status::Stale, 0), [cure(true, 0)]);
            story.watch.give_back("W");
            story.now = story.now.plus(MINUTE);
        }
    }

    #[test]
    fn what_is_not_counted_is_counted_at_the_next_look() {
        let (policy, ledger) = (Policy::default(), ledger(&["A", "B"]));
        let all = [listed("A", Status::Active), listed("B", Status::Active)];
        let mut watch = Watch::default();
        let some = BTreeMap::from([("A".to_owned(), 0)]);
        watch.examine(&ledger, &all, &some, &policy, NOW);
        assert_eq!(watch.to_count(&ledger, &all, &policy, NOW).len(), 2);
        let both = BTreeMap::from([("A".to_owned(), 0), ("B".to_owned(), 0)]);
        watch.examine(&ledger, &all, &both, &policy, NOW);
        assert_eq!(watch.to_count(&ledger, &all, &policy, NOW).len(), 0);
    }

    #[test]
    fn what_only_a_person_can_judge_is_told_every_hour() {
        let policy = Policy::default();
        let mut watch = Watch::default();
        let listed = [listed("P", Status::Paused), listed("U", Status::Active)];
        let mut told = Vec::new();
        for minute in 0..120 {
            let now = NOW.plus(minute * MINUTE);
            let examined = watch.examine(
                &ledger(&["G", "P"]),
                &listed,
                &BTreeMap::new(),
                &policy,
                now,
            );
            told.extend(examined);
        }
        let event_name = || "tsp.created".to_owned();
        let once = [
            Finding::Gone {
                id: "G".to_owned(),
                event_name: event_name(),
            },
            Finding::Paused {
                id: "P".to_owned(),
                event_name: event_name(),
                status: Status::Paused,
            },
            Finding::Unknown {
                id: "U".to_owned(),
                event_name: event_name(),
                beside_ours: true,
            },
        ];
        assert_eq!(told, [once.clone(), once].concat());
    }

    #[test]
    fn all_are_counted_every_hour_and_while_one_is_cured_and_else_those_that_are_not_well() {
        let policy = Policy::default();
        let ledger = ledger(&["A", "S", "G"]);
        let well = [listed("A", Status::Active), listed("S", Status::Active)];
        let ill = [listed("A", Status::Active), listed("S", Status::Stale)];
        let mut watch = Watch::default();
        let at = |minutes: i64| NOW.plus(minutes * MINUTE);
        let count = |watch: &Watch, all: &[Subscription], minutes| {
            let ids = watch.to_count(&ledger, all, &policy, at(minutes));
            ids.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let none = BTreeMap::from([("A".to_owned(), 0), ("S".to_owned(), 0)]);
        assert_eq!(count(&watch, &well, 0), ["A", "S"]);
        watch.examine(&ledger, &well, &none, &policy, at(0));
        assert_eq!(count(&watch, &ill, 5), ["S"]);
        watch.examine(&ledger, &ill, &none, &policy, at(5));
        // Until it is well the same may have failed others.
        assert_eq!(count(&watch, &well, 6), ["A", "S"]);
        watch.examine(&ledger, &well, &none, &policy, at(6));
        assert_eq!(count(&watch, &well, 10), ["S"]);
        assert_eq!(count(&watch, &well, 60), ["A", "S"]);
    }
}

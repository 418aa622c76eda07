//! Events that wait because nobody knows whose they are: Catena does.

use std::collections::BTreeSet;

use catena::{Instant, ShareAgreement, Status};
use catena_client::{AgreementFilter, CatenaError};
use fleet::{At, Fact, FleetRef, InvitationFact, Observation, Policy, Timestamp};
use store::{Key, KeyRecord, Parked, timestamp};
use tracing::{info, warn};

use crate::{
    Reconciler,
    ask::TIME_FOR_ALL,
    look::ANSWER,
    reconciler::{Clock, Undone},
};

impl Reconciler {
    /// Finds out to which fleets a key belongs, and tells them, which sets free what waits under it.
    pub(crate) async fn resolve(&self, key: &Key, now: Clock) -> Result<(), Undone> {
        let waiting = self.table.parked(key).await?;
        let at = timestamp(now());
        if waiting.is_empty() {
            return Ok(());
        }
        let since = waiting.iter().filter_map(|it| it.since).min();
        // Those that an older program parked are old.
        let age_ms = since.map_or(LONGEST_MS, |since| at.0.saturating_sub(since.0));
        let (key_name, age_seconds, count) = (key.to_string(), age_ms / 1000, waiting.len());
        let policy = &self.settings.policy;
        let owners = match self.owners(key, at).await {
            Ok(owners) => owners,
            Err(Unresolved::Undone(error)) => return Err(error),
            Err(Unresolved::Catena(failure)) => {
                warn!(outcome = "parked-unresolved", key = key_name, parked_age_seconds = age_seconds, parked_count = count, cause = %failure, "parked events wait: Catena doesn't tell whose they are");
                if let CatenaError::RateLimited { retry_after } = failure {
                    self.pause(retry_after, at).await;
                }
                return self.put_off(&waiting, next(None, policy, at)).await;
            }
        };
        for fleet in &owners.fleets {
            self.tell(fleet, ANSWER, owners.told.clone(), now).await?;
        }
        match owners.fleets.first() {
            Some(fleet) => {
                info!(fleet.ref = %fleet, outcome = "parked-resolved", key = key_name, parked_age_seconds = age_seconds, parked_count = count, "fleet {fleet}: parked events are its own");
            }
            None => warn!(
                outcome = "parked-unresolved",
                key = key_name,
                parked_age_seconds = age_seconds,
                parked_count = count,
                "parked events wait: Catena doesn't know whose they are"
            ),
        }
        // Also what is resolved: should it not be set free, it isn't asked for ever again at once.
        self.put_off(&waiting, next(Some(age_ms), policy, at)).await
    }

    /// The fleets that a key belongs to, by the table or else by Catena, and what to tell them.
    async fn owners(&self, key: &Key, now: Timestamp) -> Result<Owners, Unresolved> {
        let found = self
            .table
            .look_up(&[key.clone()].into(), &BTreeSet::new())
            .await;
        let found = found.map_err(Undone::from)?.keys;
        let known = found.into_values().next().unwrap_or_default();
        let told = reminder(key, &known, now);
        if !known.fleets.is_empty() && !told.is_empty() {
            let fleets = known.fleets;
            return Ok(Owners { fleets, told });
        }
        let calls = self.catena.within(TIME_FOR_ALL);
        let (named, told) = match key {
            Key::CatenaFleet(id) => {
                let filter = AgreementFilter {
                    fleet_id: Some(id.clone()),
                    ..AgreementFilter::default()
                };
                let agreements = calls.share_agreements(&filter).collect(MOST).await?;
                let agreements = agreements.value.items.into_iter();
                let ours = agreements.filter(|it| it.fleet_id == *id && it.fleet_ref.is_some());
                // A fleet that came again under another reference isn't the one that it was.
                let active = |it: &ShareAgreement| it.status == Some(Status::Active);
                let newest = ours.max_by_key(|it| (active(it), Instant::of_id(&it.id)));
                let mut named: Vec<String> =
                    newest.and_then(|it| it.fleet_ref).into_iter().collect();
                if named.is_empty() {
                    let fleet = found_at_all(calls.fleet(id).await)?;
                    named.extend(fleet.and_then(|it| it.value.fleet_ref));
                }
                (named, told)
            }
            Key::Connection(id) => {
                let Some(answer) = found_at_all(calls.connection(id).await)? else {
                    return Ok(Owners::default());
                };
                let (connection, observed) = (answer.value, answer.observed.at());
                let told = translation::answer::connection(&connection, observed);
                (connection.fleet_ref.into_iter().collect(), told)
            }
            // Its id is told by nothing but the daily comparison.
            Key::Invitation(_) => (Vec::new(), told),
        };
        let named = named.iter().filter_map(|it| FleetRef::parse(it));
        let fleets = named.chain(known.fleets).collect();
        Ok(Owners { fleets, told })
    }

    async fn put_off(&self, waiting: &[Parked], until: Timestamp) -> Result<(), Undone> {
        for parked in waiting {
            self.table.put_off(parked, until).await?;
        }
        Ok(())
    }
}

/// To which fleets a key belongs.
#[derive(Default)]
struct Owners {
    fleets: BTreeSet<FleetRef>,
    /// Leads them to what waits under the key.
    told: Vec<Observation>,
}

/// What can be told of a key to a fleet that it belongs to and changes nothing that is known: it only leads there. A link to a
/// connection would make a broken one pass for mended.
fn reminder(key: &Key, known: &KeyRecord, now: Timestamp) -> Vec<Observation> {
    match key {
        // Long ago, so that it overrules no id that the fleet has had since.
        Key::CatenaFleet(id) => vec![Observation {
            at: At(Timestamp(0), 0),
            fact: Fact::CatenaFleet(id.clone()),
        }],
        Key::Connection(id) => known.connection.observations(id),
        // Just now: when it was made is the earliest moment that is known.
        Key::Invitation(hash) => vec![Observation {
            at: At(now, 0),
            fact: Fact::Invitation {
                invitation: hash.clone(),
                was: InvitationFact::Created,
            },
        }],
    }
}

/// When to look again at events that wait for so many milliseconds: soon at first, then as long again as they wait already. `None`
/// if nobody knows how they fare.
fn next(age_ms: Option<i64>, policy: &Policy, now: Timestamp) -> Timestamp {
    let retry = policy.wait(RETRY_MS);
    let wait = age_ms.map_or(retry, |age| age.min(LONGEST_MS).max(retry));
    now.plus(wait)
}

/// Why nobody knows whose a key is.
enum Unresolved {
    Undone(Undone),
    Catena(CatenaError),
}

impl From<Undone> for Unresolved {
    fn from(error: Undone) -> Self {
        Self::Undone(error)
    }
}

impl From<CatenaError> for Unresolved {
    fn from(error: CatenaError) -> Self {
        Self::Catena(error)
    }
}

fn found_at_all<T>(answer: Result<T, CatenaError>) -> Result<Option<T>, CatenaError> {
    match answer {
        Err(CatenaError::NotFound) => Ok(None),
        answer => answer.map(Some),
    }
}

/// Agreements of one fleet: far more than it has.
const MOST: usize = 100;
/// Before Catena is asked again.
const RETRY_MS: i64 = 15 * 60 * 1000;
/// However long it waits, it is asked for once a day.
const LONGEST_MS: i64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use fleet::{ConnectionFact, ConnectionState, Facts};

    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);
    const MINUTE: i64 = 60 * 1000;

    fn observation(at: i64, fact: Fact) -> Observation {
        let at = At(NOW.plus(at), 0);
        Observation { at, fact }
    }

    fn facts(told: &[Observation]) -> Facts {
        let told = told.iter();
        told.fold(Facts::default(), |facts, told| facts.fold(told))
    }

    #[test]
    fn what_leads_to_parked_events_changes_nothing_that_is_known() {
        let stale = ConnectionFact::State(ConnectionState::Stale);
        let mut key_of_connection = KeyRecord::default();
        key_of_connection.connection.observe(At(NOW, 0), &stale);
        let known = facts(&[
            observation(-2, Fact::CatenaFleet("G".to_owned())),
            observation(
                -2,
                Fact::Invitation {
                    invitation: "I".to_owned(),
                    was: InvitationFact::Viewed,
                },
            ),
            observation(
                -1,
                Fact::Linked {
                    connection: "C".to_owned(),
                },
            ),
            observation(
                0,
                Fact::Connection {
                    connection: "C".to_owned(),
                    was: stale,
                },
            ),
        ]);
        let nothing = KeyRecord::default();
        for (key, about) in [
            (Key::CatenaFleet("F".to_owned()), &nothing),
            (Key::Invitation("I".to_owned()), &nothing),
            (Key::Connection("C".to_owned()), &key_of_connection),
        ] {
            let told = reminder(&key, about, NOW.plus(MINUTE));
            assert!(!told.is_empty(), "{key}");
            let after = told.iter().fold(known.clone(), Facts::fold);
            assert_eq!(after, known, "{key}");
            assert!(!after.connections["C"].is_live());
        }
        // Nothing is known of it: Catena is to be asked.
        let connection = Key::Connection("C".to_owned());
        assert_eq!(reminder(&connection, &nothing, NOW), []);
    }

    #[test]
    fn events_that_wait_longer_are_looked_at_less_often() {
        let policy = Policy::default();
        let (mut age, mut waits) = (15 * MINUTE, Vec::new());
        for _ in 0..9 {
            let wait = next(Some(age), &policy, NOW).0 - NOW.0;
            waits.push(wait / MINUTE);
            age += wait;
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 1440, 1440]);
        assert_eq!(next(None, &policy, NOW), NOW.plus(15 * MINUTE));
    }

    #[test]
    fn however_patient_a_policy_is_there_is_a_next_time() {
        let policy = Policy {
            wait_percent: 20_000,
            ..Policy::default()
        };
        for age in [None, Some(0), Some(i64::MAX), Some(-MINUTE)] {
            assert_eq!(next(age, &policy, NOW), NOW.plus(50 * 60 * MINUTE));
        }
    }
}

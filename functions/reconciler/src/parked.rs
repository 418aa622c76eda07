//! Events that wait because nobody knows whose they are: Catena does.

use catena::Instant;
use catena_client::{AgreementFilter, CatenaError};
use fleet::{At, Fact, FleetRef, Observation, Timestamp};
use store::{Key, Parked, timestamp};
use tracing::{info, warn};

use crate::{
    Reconciler,
    ask::{LEEWAY, TIME_FOR_ALL},
    look::ANSWER,
    reconciler::{Clock, Undone},
};

impl Reconciler {
    /// Finds out to which fleets a key belongs, and tells them, which sets free what waits under it.
    pub(crate) async fn resolve(&self, key: &Key, now: Clock) -> Result<(), Undone> {
        let waiting = self.table.parked(key).await?;
        let at = timestamp(now());
        let Some(first) = waiting.first() else {
            return Ok(());
        };
        let since = waiting.iter().filter_map(|it| it.since).min();
        let age_ms = since.map_or(0, |since| at.0.saturating_sub(since.0));
        let (key_name, age_seconds, count) = (key.to_string(), age_ms / 1000, waiting.len());
        let owners = match self.owners(key).await {
            Ok(owners) => owners,
            Err(Unresolved::Undone(error)) => return Err(error),
            Err(Unresolved::Catena(failure)) => {
                warn!(outcome = "parked-unresolved", key = key_name, parked_age_seconds = age_seconds, parked_count = count, cause = %failure, "parked events wait: Catena doesn't tell whose they are");
                if let CatenaError::RateLimited { retry_after } = failure {
                    self.pause(retry_after, at).await;
                }
                return self
                    .put_off(&waiting, at.plus(self.settings.policy.wait(RETRY_MS)))
                    .await;
            }
        };
        let observed = Instant::from(now() - LEEWAY);
        let about = |fact| {
            let at = At(Timestamp(observed.millis()), 0);
            vec![Observation { at, fact }]
        };
        for fleet in &owners {
            let fact = match key {
                Key::CatenaFleet(id) => Fact::CatenaFleet(id.clone()),
                Key::Connection(id) => Fact::Linked {
                    connection: id.clone(),
                },
                Key::Invitation(hash) => Fact::Invitation {
                    invitation: hash.clone(),
                    was: fleet::InvitationFact::Created,
                },
            };
            self.tell(fleet, ANSWER, about(fact), now).await?;
        }
        match owners.first() {
            Some(fleet) => {
                info!(fleet.ref = %fleet, outcome = "parked-resolved", key = key_name, parked_age_seconds = age_seconds, parked_count = count, "fleet {fleet}: parked events are its own");
                Ok(())
            }
            None => {
                let wait = match first.since {
                    // Soon at first, then as long again as it waits already.
                    Some(_) => age_ms.clamp(self.settings.policy.wait(RETRY_MS), LONGEST_MS),
                    None => LONGEST_MS,
                };
                warn!(
                    outcome = "parked-unresolved",
                    key = key_name,
                    parked_age_seconds = age_seconds,
                    parked_count = count,
                    "parked events wait: Catena doesn't know whose they are"
                );
                self.put_off(&waiting, at.plus(wait)).await
            }
        }
    }

    /// The fleets that a key belongs to: by the table, or else by Catena.
    async fn owners(&self, key: &Key) -> Result<Vec<FleetRef>, Unresolved> {
        let keys = [key.clone()].into();
        let found = self
            .table
            .look_up(&keys, &std::collections::BTreeSet::new())
            .await;
        let found = found.map_err(Undone::from)?.keys;
        let known = found.into_values().flat_map(|it| it.fleets);
        let known: Vec<FleetRef> = known.collect();
        if !known.is_empty() {
            return Ok(known);
        }
        let calls = self.catena.within(TIME_FOR_ALL);
        let mut named = Vec::new();
        match key {
            Key::CatenaFleet(id) => {
                let filter = AgreementFilter {
                    fleet_id: Some(id.clone()),
                    ..AgreementFilter::default()
                };
                let agreements = calls.share_agreements(&filter).collect(MOST).await?;
                let ours = agreements
                    .value
                    .items
                    .into_iter()
                    .filter(|it| it.fleet_id == *id);
                named.extend(ours.filter_map(|it| it.fleet_ref));
                if named.is_empty() {
                    let fleet = found_at_all(calls.fleet(id).await)?;
                    named.extend(fleet.and_then(|it| it.value.fleet_ref));
                }
            }
            Key::Connection(id) => {
                let connection = found_at_all(calls.connection(id).await)?;
                named.extend(connection.and_then(|it| it.value.fleet_ref));
            }
            // Its id is told by nothing but the daily comparison.
            Key::Invitation(_) => {}
        }
        named.sort();
        named.dedup();
        Ok(named.iter().filter_map(|it| FleetRef::parse(it)).collect())
    }

    async fn put_off(&self, waiting: &[Parked], until: Timestamp) -> Result<(), Undone> {
        for parked in waiting {
            self.table.put_off(parked, until).await?;
        }
        Ok(())
    }
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

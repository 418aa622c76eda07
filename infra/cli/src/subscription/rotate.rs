//! `subscription rotate`: a new key beside the old one, given to each subscription, proved by what each delivers, and then alone.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use catena::{Instant, Status};
use fleet::Timestamp;
use subscriptions::{KeyName, Note, Step};
use tokio::time::{Instant as Moment, sleep};

use super::{
    apply::{Applied, Which, is_unsure},
    desk::{Desk, failed, timestamp},
    new_key,
};

/// How a rotation is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// How long to wait for deliveries that prove the new key.
    pub(crate) wait: Duration,
    /// Retire the old key although some subscriptions delivered nothing since.
    pub(crate) even_if_silent: bool,
}

/// How far a rotation is.
#[derive(Clone, Debug)]
pub(crate) struct Rotated {
    /// A new key was made; otherwise one goes on that was begun before.
    pub(crate) begun: bool,
    /// The key that all sign with.
    pub(crate) key: Option<KeyName>,
    pub(crate) applied: Applied,
    /// What each subscription showed since it has the new key.
    pub(crate) proofs: BTreeMap<String, Proof>,
    /// The old keys are gone.
    pub(crate) retired: bool,
}

/// What a subscription showed of its new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It delivered.
    Delivered,
    /// Its deliveries fail.
    Fails,
    /// Dead letters wait for a replay, perhaps signed with the old key.
    DeadLetters(u64),
    /// It had nothing to deliver, or Catena doesn't tell.
    Silent,
}

impl Rotated {
    /// Others that may deliver here with the old key: it can't be retired while there are any.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &Note> {
        self.applied.notes.iter().filter(|note| {
            let here = matches!(
                note,
                Note::Duplicate { .. } | Note::Unknown { .. } | Note::Scoped { .. }
            );
            here || is_unsure(note)
        })
    }
}

impl Desk<'_> {
    /// Goes on with a rotation, or begins one. May be cut off anywhere: until the old key is retired both are taken.
    pub(crate) async fn rotate(
        &mut self,
        wanted: Wanted,
        progress: impl Fn(&Step),
        waiting: impl Fn(&BTreeMap<String, Proof>),
    ) -> Result<Rotated> {
        let begun = self.keyring().await?.names().len() < 2;
        if begun {
            let key = new_key()?;
            self.change_keyring(|keyring| keyring.add(&key)).await?;
        }
        let applied = self.apply(Which::Keys, progress).await?;
        let key = self.keyring().await?.current_name();
        let given = key.as_ref().and_then(|key| self.ledger.all_sign_with(key));
        let mut rotated = Rotated {
            begun,
            key,
            applied,
            proofs: BTreeMap::new(),
            retired: false,
        };
        let complete = rotated.applied.refused.is_empty() && rotated.applied.left.is_empty();
        let Some(given) = given.filter(|_| complete && rotated.strangers().next().is_none()) else {
            return Ok(rotated);
        };
        // What left just before the change is over by then, with its retries.
        let settled = given.plus(SETTLES_MS);
        let mut replays = Replays::default();
        let until = Moment::now() + wanted.wait;
        let is_proved = |proof: &Proof| match proof {
            Proof::Delivered => true,
            Proof::Silent => wanted.even_if_silent,
            Proof::Fails | Proof::DeadLetters(_) => false,
        };
        loop {
            let now = self.prove(&mut rotated.proofs, &mut replays).await?;
            waiting(&rotated.proofs);
            let left = settled.0.saturating_sub(now.0).clamp(0, SETTLES_MS);
            if rotated.proofs.values().all(is_proved) {
                if left == 0 {
                    break;
                }
                // What dies while it settles would be dead for good without its key, so all are looked at again.
                sleep(Duration::from_millis(left.unsigned_abs())).await;
                continue;
            }
            if Moment::now() + LOOKS_EVERY > until {
                return Ok(rotated);
            }
            sleep(LOOKS_EVERY).await;
        }
        let ours: Vec<String> = self.ledger.ours.keys().cloned().collect();
        self.change_keyring(|keyring| keyring.retire(ours.iter().map(String::as_str)))
            .await?;
        rotated.retired = true;
        Ok(rotated)
    }

    /// Looks at what each subscription showed. Dead letters are replayed while the old key is still taken, and what comes of that proves
    /// nothing: they may be signed with either. Tells when it began, by Catena's clock.
    async fn prove(
        &self,
        proofs: &mut BTreeMap<String, Proof>,
        replays: &mut Replays,
    ) -> Result<Timestamp> {
        let mut began = None;
        for (id, ours) in &self.ledger.ours {
            let tried = || format!("read how the subscription of {} does", ours.event_name);
            let metrics = self.calls().subscription_metrics(id).await;
            let metrics = metrics.map_err(|error| failed(&tried(), &error))?;
            let now = timestamp(metrics.observed.at());
            began.get_or_insert(now);
            let proof = match metrics.value.dlq_count {
                Some(0) if proofs.get(id) == Some(&Proof::Delivered) => Proof::Delivered,
                Some(0) => {
                    let since = ours.key_since.unwrap_or(Timestamp(0)).plus(SETTLES_MS);
                    let since = since.max(replays.counts_from(id));
                    self.delivered(id, since, tried).await?
                }
                Some(waiting) => {
                    if replays.may_start(id, now.0) {
                        let replayed = self.calls().replay_subscription(id).await;
                        replayed.map_err(|error| failed(&tried(), &error))?;
                    }
                    Proof::DeadLetters(waiting)
                }
                None => Proof::Silent,
            };
            proofs.insert(id.clone(), proof);
        }
        Ok(began.unwrap_or(Timestamp(0)))
    }

    /// What a subscription's log says of the time since a moment, by Catena's clock.
    async fn delivered(
        &self,
        id: &str,
        since: Timestamp,
        tried: impl Fn() -> String,
    ) -> Result<Proof> {
        let since = Instant::from_millis(since.0);
        let pages = self.calls().subscription_logs(id, since, None);
        let newest = async { pages?.collect(MOST_LOGGED).await };
        let logged = newest.await.map_err(|error| failed(&tried(), &error))?;
        let mut logged = logged.value.items;
        logged.retain(|it| it.created_at.is_some_and(|at| at > since));
        let delivered = |status: &Option<Status>| *status == Some(Status::Success);
        Ok(match logged.iter().any(|it| delivered(&it.status)) {
            true => Proof::Delivered,
            false if logged.is_empty() => Proof::Silent,
            false => Proof::Fails,
        })
    }
}

/// When each subscription's dead letters were replayed last, in milliseconds by Catena's clock.
#[derive(Debug, Default)]
struct Replays(BTreeMap<String, i64>);

impl Replays {
    /// Whether another replay makes sense. Then it counts as begun.
    fn may_start(&mut self, id: &str, now: i64) -> bool {
        let last = self.0.get(id);
        let may = last.is_none_or(|at| at + REPLAY_TAKES_MS <= now);
        if may {
            self.0.insert(id.to_owned(), now);
        }
        may
    }

    /// From when what is delivered isn't one of a replay's.
    fn counts_from(&self, id: &str) -> Timestamp {
        let last = self.0.get(id);
        Timestamp(last.map_or(0, |at| at + REPLAY_TAKES_MS))
    }
}

/// Catena retries within 5 s, and waits 3 s for each answer (contract 6.4, 6.5).
const SETTLES_MS: i64 = 15_000;
/// Longer than a replay of what an ordinary outage leaves.
const REPLAY_TAKES_MS: i64 = 60_000;
const LOOKS_EVERY: Duration = Duration::from_secs(10);
/// Of a subscription's log, since its key changed.
const MOST_LOGGED: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replay_delivers_proves_nothing() {
        let mut replays = Replays::default();
        assert_eq!(replays.counts_from("W"), Timestamp(0));
        assert!(replays.may_start("W", 1_000));
        assert!(!replays.may_start("W", 60_999));
        assert_eq!(replays.counts_from("W"), Timestamp(61_000));
        assert!(replays.may_start("W", 61_000));
        assert!(replays.may_start("V", 61_001));
    }
}

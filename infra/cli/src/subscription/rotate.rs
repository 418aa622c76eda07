//! `subscription rotate`: a new key beside the old one, given to each subscription, proved by what each delivers, and then alone.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use catena::{Instant, Status};
use fleet::Timestamp;
use subscriptions::{KeyName, Step};
use time::OffsetDateTime;

use super::{
    apply::Applied,
    desk::{Desk, failed},
    new_key,
};
use crate::when;

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
    /// It had nothing to deliver.
    Silent,
}

impl Rotated {
    /// Whether nothing is left to do.
    pub(crate) fn is_complete(&self) -> bool {
        self.retired && self.applied.is_complete()
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
        let keyring = self.keyring().await?;
        let begun = keyring.names().len() < 2;
        if begun {
            let key = new_key()?;
            self.change_keyring(|keyring| keyring.add(&key)).await?;
        }
        let applied = self.apply(progress).await?;
        let key = self.keyring().await?.current_name();
        let mut rotated = Rotated {
            begun,
            key,
            applied,
            proofs: BTreeMap::new(),
            retired: false,
        };
        let Some(given) = rotated
            .key
            .as_ref()
            .and_then(|key| self.ledger.all_sign_with(key))
        else {
            return Ok(rotated);
        };
        // What left just before the change, and its retries, are over by then (contract 6.5).
        let settled = given.plus(SETTLES_MS);
        let until = tokio::time::Instant::now() + wanted.wait;
        loop {
            self.prove(&mut rotated.proofs).await?;
            waiting(&rotated.proofs);
            let proved = |proof: &Proof| match proof {
                Proof::Delivered => true,
                Proof::Silent => wanted.even_if_silent,
                Proof::Fails | Proof::DeadLetters(_) => false,
            };
            if rotated.proofs.values().all(proved) {
                break;
            }
            if tokio::time::Instant::now() + LOOKS_EVERY > until {
                return Ok(rotated);
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
        let left = settled.0.saturating_sub(now().0).clamp(0, SETTLES_MS);
        tokio::time::sleep(Duration::from_millis(left.unsigned_abs())).await;
        let ours: Vec<String> = self.ledger.ours.keys().cloned().collect();
        self.change_keyring(|keyring| keyring.retire(ours.iter().map(String::as_str)))
            .await?;
        rotated.retired = true;
        Ok(rotated)
    }

    /// Looks at what isn't proved yet. Dead letters are replayed, while the old key is still taken.
    async fn prove(&self, proofs: &mut BTreeMap<String, Proof>) -> Result<()> {
        for (id, ours) in &self.ledger.ours {
            if proofs.get(id) == Some(&Proof::Delivered) {
                continue;
            }
            let since = ours.key_since.unwrap_or(Timestamp(0));
            let tried = || format!("read how the subscription of {} does", ours.event_name);
            let metrics = self.calls().subscription_metrics(id).await;
            let metrics = metrics.map_err(|error| failed(&tried(), &error))?;
            let waiting = metrics.value.dlq_count.unwrap_or_default();
            let proof = if waiting > 0 {
                let replayed = self.calls().replay_subscription(id).await;
                replayed.map_err(|error| failed(&tried(), &error))?;
                Proof::DeadLetters(waiting)
            } else {
                let since = Instant::from_millis(since.0);
                let pages = self.calls().subscription_logs(id, since, None);
                let newest = async { pages?.collect(MOST_LOGGED).await };
                let logged = newest.await.map_err(|error| failed(&tried(), &error))?;
                let mut logged = logged.value.items;
                logged.retain(|it| it.created_at.is_none_or(|at| at > since));
                let delivered = |status: &Option<Status>| *status == Some(Status::Success);
                match logged.iter().any(|it| delivered(&it.status)) {
                    true => Proof::Delivered,
                    false if logged.is_empty() => Proof::Silent,
                    false => Proof::Fails,
                }
            };
            proofs.insert(id.clone(), proof);
        }
        Ok(())
    }
}

fn now() -> Timestamp {
    when::timestamp(OffsetDateTime::now_utc())
}

/// Catena retries within 5 s, and asks for an answer within 3 s (contract 6.4, 6.5).
const SETTLES_MS: i64 = 20_000;
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// Of a subscription's log, since its key changed.
const MOST_LOGGED: usize = 300;

//! `subscription apply`: one step after the other, each written down before the next.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use catena::Subscription;
use catena_client::{CatenaError, NewSubscription, SubscriptionChange};
use fleet::Timestamp;
use subscriptions::{Asked, KeyName, KeyringDocument, Note, Step};
use time::OffsetDateTime;

use super::{
    desk::{Desk, Seen, failed, timestamp},
    new_key,
};
use crate::{trouble::Trouble, when};

/// What came of applying.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// What was done, in this order.
    pub(crate) done: Vec<Step>,
    /// Names that Catena refuses, though they are needed, and why.
    pub(crate) refused: Vec<(String, String)>,
    /// What is left to do, if it couldn't be done.
    pub(crate) left: Vec<Step>,
    /// What a person should know.
    pub(crate) notes: Vec<Note>,
    /// Subscriptions of ours, now.
    pub(crate) ours: usize,
}

impl Applied {
    /// Whether all is as it should be.
    pub(crate) fn is_complete(&self) -> bool {
        let unsure = |note: &Note| matches!(note, Note::Ambiguous { .. } | Note::Unlisted { .. });
        self.refused.is_empty() && self.left.is_empty() && !self.notes.iter().any(unsure)
    }
}

impl Desk<'_> {
    /// Does what is planned, and plans again until nothing is left. May be cut off anywhere: the next run finishes it.
    pub(crate) async fn apply(&mut self, progress: impl Fn(&Step)) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut exists = BTreeSet::new();
        for _round in 0..ROUNDS {
            let seen = self.list().await?;
            let keyring = self.keyring().await?;
            let plan = self.plan(&seen, &keyring, &exists);
            let refused = |step: &Step| match step {
                Step::Create { event_name, .. } => {
                    let mut refused = applied.refused.iter();
                    refused.any(|(name, _)| name == event_name)
                }
                _ => false,
            };
            let steps: Vec<Step> = plan.steps.into_iter().filter(|it| !refused(it)).collect();
            applied.notes = plan.notes;
            applied.ours = self.ledger.ours.len();
            let is_stuck = !steps.is_empty() && steps == applied.left;
            applied.left.clone_from(&steps);
            if is_stuck {
                return Ok(applied);
            }
            if steps.is_empty() {
                if self.ledger.asked.take().is_some() {
                    self.write().await?;
                }
                return Ok(applied);
            }
            for step in steps {
                progress(&step);
                if self
                    .take(&step, &seen, &mut exists, &mut applied.refused)
                    .await?
                {
                    applied.done.push(step);
                }
            }
        }
        Ok(applied)
    }

    /// Does one step. `false` if that turned out to be impossible for now.
    async fn take(
        &mut self,
        step: &Step,
        seen: &Seen,
        exists: &mut BTreeSet<String>,
        refused: &mut Vec<(String, String)>,
    ) -> Result<bool> {
        match step {
            Step::AddKey => {
                let key = new_key()?;
                self.change_keyring(|keyring| {
                    if keyring.current().is_none() {
                        keyring.add(&key);
                    }
                })
                .await?;
            }
            Step::Adopt { id, event_name } => {
                let made_at = made_at(&seen.all, id);
                self.ledger.adopt(id, event_name, made_at);
                self.write().await?;
            }
            Step::Update { id, event_name, .. } => return self.update(id, event_name).await,
            Step::Activate { id, event_name, .. } => {
                return self.activate(id, event_name).await;
            }
            Step::Create {
                event_name,
                may_be_refused,
            } => {
                let keyring = self.keyring().await?;
                match self.create(event_name, seen.at, &keyring).await? {
                    Creation::Made => {}
                    Creation::Exists => {
                        exists.insert(event_name.clone());
                        return Ok(false);
                    }
                    Creation::Refused(_) if *may_be_refused => {
                        self.ledger.refused(now());
                        self.write().await?;
                        return Ok(false);
                    }
                    Creation::Refused(why) => {
                        refused.push((event_name.clone(), why));
                        self.ledger.asked = None;
                        self.write().await?;
                        return Ok(false);
                    }
                }
            }
            Step::Name { ids } => {
                self.change_keyring(|keyring| keyring.name(ids.iter().map(String::as_str)))
                    .await?;
            }
            Step::Forget { id, .. } => {
                // First, because nobody would know of it afterwards.
                self.change_keyring(|keyring| keyring.forget([id.as_str()]))
                    .await?;
                self.ledger.ours.remove(id);
                self.write().await?;
            }
        }
        Ok(true)
    }

    /// Gives a subscription our URL and the current key, which is in the keyring already. `false` if it is gone, or if another one has its
    /// event and our URL already, which is a note of the plan.
    pub(crate) async fn update(&mut self, id: &str, event_name: &str) -> Result<bool> {
        let keyring = self.keyring().await?;
        let Some(key) = keyring.current() else {
            return Ok(false);
        };
        let change = SubscriptionChange {
            url: Some(self.url.clone()),
            secret: Some(key.to_owned()),
        };
        let changed = match self.calls().change_subscription(id, &change).await {
            Ok(changed) => changed,
            Err(CatenaError::NotFound) => return Ok(false),
            Err(CatenaError::Refused(refusal)) if refusal.status == CONFLICT => return Ok(false),
            Err(error) => {
                let tried = format!("change the subscription of {event_name}");
                return Err(failed(&tried, &error));
            }
        };
        let at = timestamp(changed.observed.latest());
        self.ledger.updated(id, KeyName::of(key), &self.url, at);
        self.write().await?;
        Ok(true)
    }

    /// Has a subscription deliver again, and what waited for that replayed. `false` if it is gone.
    async fn activate(&self, id: &str, event_name: &str) -> Result<bool> {
        let activated = async {
            self.calls().activate_subscription(id).await?;
            self.calls().replay_subscription(id).await
        };
        match activated.await {
            Ok(_) => Ok(true),
            Err(CatenaError::NotFound) => Ok(false),
            Err(error) => {
                let tried = format!("activate the subscription of {event_name}");
                Err(failed(&tried, &error))
            }
        }
    }

    /// Asks Catena for a subscription, and writes down that it was asked before, and what came of it after.
    async fn create(
        &mut self,
        event_name: &str,
        at: Timestamp,
        keyring: &KeyringDocument,
    ) -> Result<Creation> {
        let Some(key) = keyring.current() else {
            bail!("the keyring lost its key meanwhile: run this again");
        };
        self.ledger.asked = Some(Asked {
            event_name: event_name.to_owned(),
            key: KeyName::of(key),
            url: self.url.clone(),
            at,
        });
        self.write().await?;
        let new = NewSubscription {
            url: self.url.clone(),
            event_name: event_name.to_owned(),
            secret: key.to_owned(),
        };
        match self.calls().create_subscription(&new).await {
            Ok(made) => {
                self.ledger
                    .made(&made.value, timestamp(made.observed.latest()));
                self.write().await?;
                Ok(Creation::Made)
            }
            Err(CatenaError::Refused(refusal)) if refusal.status == CONFLICT => {
                self.ledger.exists();
                self.write().await?;
                Ok(Creation::Exists)
            }
            Err(error @ (CatenaError::Refused(_) | CatenaError::NotFound)) => {
                Ok(Creation::Refused(Trouble::of(&error).what))
            }
            Err(error) => Err(failed(&format!("subscribe {event_name}"), &error)),
        }
    }
}

/// What came of asking for a subscription.
enum Creation {
    Made,
    /// One is there already.
    Exists,
    /// Catena doesn't take it, in its words.
    Refused(String),
}

/// When a subscription was made.
pub(crate) fn made_at(all: &[Subscription], id: &str) -> Option<Timestamp> {
    let found = all.iter().find(|it| it.id == id);
    found.and_then(|it| it.created_at).map(timestamp)
}

fn now() -> Timestamp {
    when::timestamp(OffsetDateTime::now_utc())
}

/// Each makes what Catena's answers to the one before left open.
const ROUNDS: usize = 8;
const CONFLICT: u16 = 409;

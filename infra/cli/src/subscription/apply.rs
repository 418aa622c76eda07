//! `subscription apply`: one step after the other, each written down before the next.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use catena::SHORTEST_KEY;
use catena_client::{CatenaError, NewSubscription, SubscriptionChange};
use fleet::Timestamp;
use subscriptions::{Asked, KeyName, KeyringDocument, Note, Step};
use time::OffsetDateTime;

use super::{
    desk::{Desk, Seen, failed, timestamp},
    new_key,
};
use crate::{trouble::Trouble, when};

/// Which steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those that give ours the current key and URL.
    Keys,
}

impl Which {
    fn includes(self, step: &Step) -> bool {
        let keys = matches!(step, Step::AddKey | Step::Update { .. } | Step::Name { .. });
        self == Self::All || keys
    }
}

/// What came of applying.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// What was done, in this order.
    pub(crate) done: Vec<Step>,
    /// What Catena refuses, though it is needed, and why.
    pub(crate) refused: Vec<(Step, String)>,
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
        self.refused.is_empty() && self.left.is_empty() && !self.notes.iter().any(is_unsure)
    }
}

/// Whether it isn't known if Catena delivers something.
pub(crate) fn is_unsure(note: &Note) -> bool {
    matches!(note, Note::Ambiguous { .. } | Note::Unlisted { .. })
}

impl Desk<'_> {
    /// Does what is planned, and plans again until nothing is left. May be cut off anywhere: the next run finishes it.
    pub(crate) async fn apply(
        &mut self,
        which: Which,
        progress: impl Fn(&Step),
    ) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut exists = BTreeSet::new();
        for _round in 0..ROUNDS {
            let seen = self.list().await?;
            let keyring = self.keyring().await?;
            if keyring.shorter_than(SHORTEST_KEY) > 0 {
                bail!(
                    "the keyring holds a key of less than {SHORTEST_KEY} characters, so webhook-ingest takes none of it\n\
                     Replace it: README, \"Signing keys\"."
                );
            }
            let plan = self.plan(&seen, &keyring, &exists);
            let open = |step: &Step| {
                let refused = applied.refused.iter().any(|(refused, _)| refused == step);
                which.includes(step) && !refused
            };
            let steps: Vec<Step> = plan.steps.into_iter().filter(open).collect();
            applied.notes = plan.notes;
            applied.ours = self.ledger.ours.len();
            let is_stuck = !steps.is_empty() && steps == applied.left;
            applied.left.clone_from(&steps);
            if is_stuck {
                return Ok(applied);
            }
            if steps.is_empty() {
                let settled = which == Which::All && applied.refused.is_empty();
                if settled && self.ledger.asked.take().is_some() {
                    self.write().await?;
                }
                return Ok(applied);
            }
            for step in steps {
                progress(&step);
                match self.take(&step, &seen, &mut exists).await? {
                    Taken::Done => applied.done.push(step),
                    Taken::Open => {}
                    Taken::Refused(why) => applied.refused.push((step, why)),
                }
            }
        }
        Ok(applied)
    }

    async fn take(
        &mut self,
        step: &Step,
        seen: &Seen,
        exists: &mut BTreeSet<String>,
    ) -> Result<Taken> {
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
                self.ledger.adopt(id, event_name);
                self.write().await?;
            }
            Step::Update { id, event_name, .. } => return self.update(id, event_name).await,
            Step::Activate { id, event_name, .. } => {
                return self.activate(id, event_name).await;
            }
            Step::Create {
                event_name,
                may_be_refused,
                ..
            } => {
                let keyring = self.keyring().await?;
                match self.create(event_name, seen.at, &keyring).await? {
                    Creation::Made => {}
                    Creation::Exists => {
                        exists.insert(event_name.clone());
                        return Ok(Taken::Open);
                    }
                    Creation::Refused(_) if *may_be_refused => {
                        self.ledger.refused(now());
                        self.write().await?;
                        return Ok(Taken::Open);
                    }
                    Creation::Refused(why) => {
                        self.ledger.asked = None;
                        self.write().await?;
                        return Ok(Taken::Refused(why));
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
        Ok(Taken::Done)
    }

    /// Gives a subscription our URL and the current key, which is in the keyring already.
    async fn update(&mut self, id: &str, event_name: &str) -> Result<Taken> {
        let keyring = self.keyring().await?;
        let Some(key) = keyring.current() else {
            return Ok(Taken::Open);
        };
        let change = SubscriptionChange {
            url: Some(self.url.clone()),
            secret: Some(key.to_owned()),
        };
        let changed = match self.calls().change_subscription(id, &change).await {
            Ok(changed) => changed,
            // Gone meanwhile, or another one has its event and our URL, which is a note of the plan.
            Err(CatenaError::NotFound) => return Ok(Taken::Open),
            Err(CatenaError::Refused(refusal)) if refusal.status == CONFLICT => {
                return Ok(Taken::Open);
            }
            Err(error @ CatenaError::Refused(_)) => {
                return Ok(Taken::Refused(Trouble::of(&error).what));
            }
            Err(error) => {
                let tried = format!("change the subscription of {event_name}");
                return Err(failed(&tried, &error));
            }
        };
        let at = timestamp(changed.observed.latest());
        self.ledger.updated(id, KeyName::of(key), &self.url, at);
        self.write().await?;
        Ok(Taken::Done)
    }

    /// Has a subscription deliver again, and what waited for that replayed.
    async fn activate(&self, id: &str, event_name: &str) -> Result<Taken> {
        let tried = format!("activate the subscription of {event_name}");
        match self.calls().activate_subscription(id).await {
            Ok(_) => {}
            // Gone meanwhile.
            Err(CatenaError::NotFound) => return Ok(Taken::Open),
            Err(error @ CatenaError::Refused(_)) => {
                return Ok(Taken::Refused(Trouble::of(&error).what));
            }
            Err(error) => return Err(failed(&tried, &error)),
        }
        match self.calls().replay_subscription(id).await {
            // It has no dead letters, says a 404; what waits in spite of a refusal the reconciler has replayed.
            Ok(_) | Err(CatenaError::NotFound | CatenaError::Refused(_)) => Ok(Taken::Done),
            Err(error) => Err(failed(&tried, &error)),
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
            Ok(made) if made.value.is_empty() => bail!(
                "Catena answers that it subscribed {event_name}, and with no subscription: run this again, which looks for it"
            ),
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

/// What came of a step.
enum Taken {
    Done,
    /// It couldn't be done now, and the next plan says what to do instead.
    Open,
    /// Catena doesn't take it, in its words.
    Refused(String),
}

/// What came of asking for a subscription.
enum Creation {
    Made,
    /// One is there already.
    Exists,
    /// Catena doesn't take it, in its words.
    Refused(String),
}

fn now() -> Timestamp {
    when::timestamp(OffsetDateTime::now_utc())
}

/// Each makes what Catena's answers to the one before left open.
const ROUNDS: usize = 8;
const CONFLICT: u16 = 409;

//! Subscriptions with all that they are seen and changed by: Catena's API, the ledger in the table, and the keyring's secret.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, anyhow, bail};
use catena::{Instant, Subscription};
use catena_client::{Calls, CatenaError, Client};
use fleet::Timestamp;
use secrets::{Secret, SecretError};
use store::SubscriptionsText;
use subscriptions::{KEYRING_LEASE_MS, KeyringDocument, Ledger, Plan, Watch, World, plan};
use time::OffsetDateTime;

use crate::{
    catena::{catena, keyring_secret},
    source::{Found, Source},
    trouble::Trouble,
    when,
};

/// Where subscriptions are seen and changed.
pub(crate) struct Desk<'a> {
    pub(crate) source: &'a Source,
    catena: Client,
    secret: Secret,
    /// Where Catena is to deliver to.
    pub(crate) url: String,
    pub(crate) ledger: Ledger,
    /// The ledger as it is in the table.
    written: Option<String>,
}

/// What Catena lists, and when by its own clock.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) all: Vec<Subscription>,
    pub(crate) at: Timestamp,
}

impl<'a> Desk<'a> {
    pub(crate) async fn open(found: &Found, source: &'a Source) -> Result<Self> {
        let mut desk = Self {
            source,
            catena: catena(found)?,
            secret: keyring_secret(found)?,
            url: found.output("WebhookUrl")?,
            ledger: Ledger::default(),
            written: None,
        };
        desk.read().await?;
        Ok(desk)
    }

    /// Calls of Catena's API, each of which may take this long.
    pub(crate) fn calls(&self) -> Calls<'_> {
        self.catena.within(PATIENCE)
    }

    /// Reads the ledger anew.
    async fn read(&mut self) -> Result<()> {
        let read = self
            .source
            .table
            .subscriptions_text(SubscriptionsText::Ledger);
        let text = read.await.map_err(|error| {
            self.source
                .table_failed("read what is known of subscriptions from", error)
        })?;
        self.ledger = Ledger::read(text.as_deref())
            .map_err(|error| anyhow!("{error}; use the `kingpin` of the version that wrote it"))?;
        self.written = text;
        Ok(())
    }

    /// Writes the ledger, if nobody else did since it was read.
    pub(crate) async fn write(&mut self) -> Result<()> {
        let text = self.ledger.text();
        let (which, before) = (SubscriptionsText::Ledger, self.written.as_deref());
        let table = &self.source.table;
        let written = table.replace_subscriptions_text(which, before, &text).await;
        let written = written.map_err(|error| {
            self.source
                .table_failed("write what is known of subscriptions to", error)
        })?;
        if !written {
            bail!(
                "somebody else changes the subscriptions of {} at this moment: see by `kingpin subscription plan` what is left, and \
                 run this again",
                self.source.place
            );
        }
        self.written = Some(text);
        Ok(())
    }

    /// What the reconciler remembers.
    pub(crate) async fn watch(&self) -> Result<Watch> {
        let read = self
            .source
            .table
            .subscriptions_text(SubscriptionsText::Watch)
            .await;
        let text = read.map_err(|error| {
            self.source
                .table_failed("read how subscriptions do from", error)
        })?;
        Ok(Watch::read(text.as_deref()))
    }

    /// All subscriptions at Catena.
    pub(crate) async fn list(&self) -> Result<Seen> {
        let listed = self.calls().subscriptions(None).collect(MOST).await;
        let listed = listed.map_err(|error| failed("list the subscriptions", &error))?;
        let at = timestamp(listed.observed.at());
        let mut all = listed.value.items;
        // A list may lag, and what seems gone would be made a second time.
        for id in self.ledger.ours.keys() {
            if all.iter().all(|it| it.id != *id) {
                match self.calls().subscription(id).await {
                    Ok(found) => all.push(found.value),
                    Err(CatenaError::NotFound) => {}
                    Err(error) => return Err(failed("read a subscription", &error)),
                }
            }
        }
        Ok(Seen { all, at })
    }

    /// The keys.
    pub(crate) async fn keyring(&self) -> Result<KeyringDocument> {
        let text = match self.secret.read().await {
            Ok(text) => text,
            // Nothing was put into it yet, or there is no such secret: writing tells which.
            Err(SecretError::Missing(_)) => String::new(),
            Err(error) => return Err(error.into()),
        };
        KeyringDocument::read(&text).map_err(|error| {
            anyhow!(
                "secret {} can't be used: {error}\nREADME, \"Signing keys\", says what it must hold.",
                self.secret.id()
            )
        })
    }

    /// Changes the keyring while nobody else does. `change` may be done again.
    pub(crate) async fn change_keyring(
        &mut self,
        change: impl Fn(&mut KeyringDocument),
    ) -> Result<KeyringDocument> {
        loop {
            let until = self.lease_keyring().await?;
            let before = self.keyring().await?;
            let mut after = before.clone();
            change(&mut after);
            // A machine that slept meanwhile mustn't write what it read before.
            let in_time = now().plus(KEYRING_LEASE_MS / 2) < until;
            if after != before && in_time {
                self.secret.write(&after.text()).await?;
            }
            self.ledger.keyring_leased_until = None;
            self.write().await?;
            if after == before || in_time {
                return Ok(after);
            }
        }
    }

    /// Waits until nobody has the keyring, and takes it. Whoever was killed with it has it for some seconds more.
    async fn lease_keyring(&mut self) -> Result<Timestamp> {
        loop {
            let now = now();
            let taken = self
                .ledger
                .keyring_leased_until
                .filter(|until| now < *until);
            let Some(until) = taken else {
                let until = now.plus(KEYRING_LEASE_MS);
                self.ledger.keyring_leased_until = Some(until);
                self.write().await?;
                return Ok(until);
            };
            // A clock that is far ahead mustn't stop everybody.
            let left = (until.0 - now.0).clamp(0, KEYRING_LEASE_MS).unsigned_abs();
            tokio::time::sleep(Duration::from_millis(left)).await;
            let unchanged = self.written.clone();
            self.read().await?;
            if self.written == unchanged {
                self.ledger.keyring_leased_until = None;
            }
        }
    }

    pub(crate) fn plan(
        &self,
        seen: &Seen,
        keyring: &KeyringDocument,
        exists: &BTreeSet<String>,
    ) -> Plan {
        plan(World {
            url: &self.url,
            ledger: &self.ledger,
            keyring,
            listed: &seen.all,
            exists,
        })
    }
}

/// What came of a call of Catena's API that failed, and what to do.
pub(crate) fn failed(tried: &str, error: &CatenaError) -> anyhow::Error {
    let Trouble { what, remedy } = Trouble::of(error);
    anyhow!("could not {tried} at Catena: {what}\n{remedy}")
}

fn now() -> Timestamp {
    when::timestamp(OffsetDateTime::now_utc())
}

pub(crate) fn timestamp(at: Instant) -> Timestamp {
    Timestamp(at.millis())
}

/// Of a call, with all that is tried again in it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Subscriptions; there are some thirty.
const MOST: usize = 10_000;

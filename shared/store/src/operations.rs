//! The one way into write operations, whoever brings news of them: what Catena says is a join, and each write is on a condition.

use std::collections::BTreeMap;

use ::operations::{Heard, Operation, Status};
use fleet::{FleetRef, Policy, Timestamp};
use futures_util::{StreamExt, stream};
use tracing::{info, warn};

use crate::{
    COMMIT_ATTEMPTS, Commit, HistoryDays, Remote, StoreError, StoredOperation, Table,
    batch::CONCURRENCY, due, pause,
};

/// What became of a change of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationChanged {
    /// Where it stood before.
    pub before: Status,
    /// Where it stands.
    pub after: Status,
    /// It, as it is written.
    pub stored: StoredOperation,
    /// Whether Catena has told two different ends of it since.
    pub contradicted: bool,
    /// Whether it failed since for its connection's credentials, so that the connection should be looked at.
    pub unauthorised: bool,
}

/// What became of what Catena said of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum TakenIn {
    /// It changed the operation.
    News(Box<OperationChanged>),
    /// It is known.
    NoNews,
    /// Nobody knows whose it is: it is kept for a while, in case that becomes known.
    Foreign,
}

/// Changes operations: the one way, whoever brings news. What Catena says is a join and each write is on a condition, so it doesn't
/// matter who brings it first, or twice.
#[derive(Clone, Copy, Debug)]
pub struct Operations<'a> {
    /// Where they are.
    pub table: &'a Table,
    /// When they are looked at.
    pub policy: &'a Policy,
    /// How long they are kept.
    pub history_days: HistoryDays,
    /// The wall clock.
    pub now: fn() -> time::OffsetDateTime,
}

impl Operations<'_> {
    /// Writes an operation if its version is still `stored.version`; the written one has the next.
    pub async fn keep(
        self,
        stored: &StoredOperation,
    ) -> Result<Commit<StoredOperation>, StoreError> {
        let now = due::timestamp((self.now)());
        let due = stored.operation.due(self.policy);
        let status = stored.operation.status(now);
        let days = self.history_days;
        self.table
            .keep_operation(stored, status, due, days, now)
            .await
    }

    /// Changes an operation and writes it. `None` if there is none, or nothing changed.
    pub async fn change(
        self,
        id: &str,
        known: Option<StoredOperation>,
        change: impl Fn(&mut Operation),
    ) -> Result<Option<OperationChanged>, StoreError> {
        let mut known = known;
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
            }
            let stored = match known.take() {
                Some(stored) => Some(stored),
                None => self.table.operation(id).await?,
            };
            let Some(stored) = stored else {
                return Ok(None);
            };
            let mut next = stored.clone();
            change(&mut next.operation);
            if next.operation == stored.operation {
                return Ok(None);
            }
            if let Commit::Written(written) = self.keep(&next).await? {
                let now = due::timestamp((self.now)());
                return Ok(Some(changed(&stored.operation, written, now)));
            }
        }
        Err(StoreError::Unavailable {
            operation: "write an operation",
            source: "conflicts in a row".into(),
        })
    }

    /// Gives an operation Catena's id of it, with what was heard under that. `None` if it belongs to another operation, which is told.
    pub async fn accept(
        self,
        stored: StoredOperation,
        catena_id: &str,
        created_at: Option<Timestamp>,
        said: Heard,
    ) -> Result<Result<Option<OperationChanged>, String>, StoreError> {
        let id = stored.operation.id.clone();
        // As long as the operation itself: a webhook that comes late still finds it.
        let expires_at = self.history_days.end(stored.operation.called_at);
        let heard = match self.table.claim(catena_id, &id, expires_at).await? {
            Ok(heard) => heard.join(said),
            Err(owner) => return Ok(Err(owner)),
        };
        let accept = |operation: &mut Operation| {
            let now = due::timestamp((self.now)());
            operation.accept(catena_id, created_at, heard.clone(), now);
        };
        Ok(Ok(self.change(&id, Some(stored), accept).await?))
    }

    /// Takes in what Catena said of operations, by Catena's ids: two reads for all, and one write for each that is news.
    pub async fn take_in(
        self,
        told: &BTreeMap<String, (Option<Timestamp>, Heard)>,
    ) -> Result<BTreeMap<String, Result<TakenIn, StoreError>>, StoreError> {
        let remotes = self.table.remotes(told.keys()).await?;
        let ours = remotes.values().filter_map(|it| it.operation.clone());
        let mut known = self.table.operations(&ours.collect()).await?;
        let works = told.iter().map(|(catena_id, (created_at, heard))| {
            let remote = remotes.get(catena_id).cloned().unwrap_or_default();
            let stored = remote.operation.as_ref().and_then(|id| known.remove(id));
            async move {
                let taken = self
                    .take_in_one(catena_id, *created_at, heard, remote, stored)
                    .await;
                (catena_id.clone(), taken)
            }
        });
        let works: Vec<_> = works.collect();
        Ok(stream::iter(works)
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await)
    }

    /// Writes down what a change means to people, and makes the fleet due for a look at its connections if their credentials are to blame:
    /// then it is told, so that the look needn't wait for the next sweep.
    pub async fn follow(self, changed: &OperationChanged) -> Option<FleetRef> {
        changed.log();
        if !changed.unauthorised {
            return None;
        }
        let fleet = &changed.stored.operation.asked.fleet;
        match self.recheck(fleet).await {
            Ok(due) => due.then(|| fleet.clone()),
            Err(error) => {
                let cause = error.to_string();
                warn!(fleet.ref = %fleet, cause, "fleet {fleet}: it isn't looked at because of its connection's credentials");
                None
            }
        }
    }

    /// Makes a fleet due now, unless it is already: many writes may fail for one reason.
    async fn recheck(self, fleet: &FleetRef) -> Result<bool, StoreError> {
        let now = due::timestamp((self.now)());
        let stored = self.table.record(fleet).await?;
        if stored.look.is_some_and(|look| look.at <= now) {
            return Ok(false);
        }
        self.table.recheck(fleet, now).await
    }

    async fn take_in_one(
        self,
        catena_id: &str,
        created_at: Option<Timestamp>,
        heard: &Heard,
        mut remote: Remote,
        mut stored: Option<Result<StoredOperation, StoreError>>,
    ) -> Result<TakenIn, StoreError> {
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
            }
            if let Some(id) = &remote.operation {
                // With what was heard before it was claimed, should its claimant have ended before it could take that over.
                let heard = remote.heard.clone().join(heard.clone());
                let hear = |operation: &mut Operation| {
                    let now = due::timestamp((self.now)());
                    operation.accept(catena_id, created_at, heard.clone(), now);
                };
                let stored = stored.take().transpose()?;
                let changed = self.change(id, stored, hear).await?;
                return Ok(changed.map_or(TakenIn::NoNews, |it| TakenIn::News(Box::new(it))));
            }
            let all = remote.heard.clone().join(heard.clone());
            if all == remote.heard {
                return Ok(TakenIn::Foreign);
            }
            let now = due::timestamp((self.now)());
            match self
                .table
                .hear(catena_id, &all, remote.version, now)
                .await?
            {
                Commit::Written(after) if after.operation.is_none() => return Ok(TakenIn::Foreign),
                // Claimed meanwhile.
                Commit::Written(after) => remote = after,
                Commit::Conflict => {
                    let again = self.table.remotes([catena_id]).await?;
                    remote = again.into_values().next().unwrap_or_default();
                }
            }
        }
        Err(StoreError::Unavailable {
            operation: "take in what was said of an operation",
            source: "conflicts in a row".into(),
        })
    }
}

impl OperationChanged {
    /// One line, in the log of whoever brought the news.
    fn log(&self) {
        let Operation {
            id,
            asked,
            catena_id,
            heard,
            ..
        } = &self.stored.operation;
        let (fleet, resource, catena_id) = (&asked.fleet, &asked.resource, catena_id.as_deref());
        let (before, after) = (self.before.as_str(), self.after.as_str());
        let error_type = heard.error_type();
        if self.contradicted {
            warn!(fleet.ref = %fleet, operation.id = id, catena.operation = catena_id, before, after, outcome = "operation-contradicted", "fleet {fleet}: Catena told two ends of a write of {resource}; the newer one counts, which is {after}");
        } else if self.after == Status::Unknown && self.before != self.after {
            // The publisher tells a person: it hears of each, whatever became of who wrote it.
            let why = self.stored.operation.why();
            warn!(fleet.ref = %fleet, operation.id = id, catena.operation = catena_id, before, why, outcome = "operation-changed", "fleet {fleet}: nobody can tell whether a write of {resource} was done");
        } else if self.before != self.after {
            info!(fleet.ref = %fleet, operation.id = id, catena.operation = catena_id, before, error_type, outcome = "operation-changed", "fleet {fleet}: a write of {resource} is {after}");
        }
    }
}

fn changed(before: &Operation, stored: StoredOperation, now: Timestamp) -> OperationChanged {
    let after = &stored.operation;
    let (was, is) = (&before.heard, &after.heard);
    OperationChanged {
        before: before.status(now),
        after: after.status(now),
        contradicted: is.is_contradictory() && !was.is_contradictory(),
        unauthorised: is.error_type() == Some("auth") && was.error_type() != Some("auth"),
        stored,
    }
}

//! The sweep: what is due is leased, and a task queued for each.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream};
use lambda_runtime::Error;
use queue::{Task, TaskMessage};
use serde::Serialize;
use startup::describe;
use store::{DueItem, SHARDS, timestamp};
use tracing::{info, warn};

use crate::{
    Reconciler,
    reconciler::{Clock, SHORTEST_LEASE_MS},
};

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Items that were due.
    pub due: usize,
    /// Tasks that were queued.
    pub tasks: usize,
    /// For how long the first of them, or the first write operation, has been due, in milliseconds.
    pub oldest_ms: i64,
    /// Whether at least as many were due as a sweep takes, so that there may be more.
    pub more: bool,
}

impl Reconciler {
    /// Finds what is due, leases each, and queues a task for each. With nothing due it makes one request per shard of the index, and
    /// two more.
    pub async fn sweep(&self, now: Clock) -> Result<Swept, Error> {
        let at = timestamp(now());
        let shared = self.table.shared().await?;
        let found = self.table.due(now(), MOST_PER_SHARD).await?;
        // Before the leases: nobody would come back for them if it failed after.
        let compare = self.comparison_is_due(&shared, at).await?;
        let subscriptions = self.subscriptions_are_due(&shared, at).await?;
        let operations = self.operations_due_since(&shared, at).await?;
        let until = at.plus(
            self.settings
                .policy
                .wait(LEASE_MS)
                .clamp(SHORTEST_LEASE_MS, LEASE_MS),
        );
        let mut swept = Swept {
            due: found.len(),
            oldest_ms: found
                .first()
                .map(|(due, _)| *due)
                .into_iter()
                .chain(operations)
                .min()
                .map_or(0, |due| at.0.saturating_sub(due)),
            more: found.len() >= MOST_PER_SHARD * SHARDS as usize,
            ..Swept::default()
        };
        let leases = found.iter().map(|(seen, item)| async move {
            match self.table.lease(item, *seen, until).await {
                Ok(leased) => leased.then_some(item),
                Err(error) => {
                    warn!(
                        cause = describe(&error),
                        "a due item waits for the next sweep"
                    );
                    None
                }
            }
        });
        let leases: Vec<_> = leases.collect();
        let leased: Vec<_> = stream::iter(leases)
            .buffer_unordered(LEASES_AT_ONCE)
            .collect()
            .await;
        let mut tasks: BTreeSet<Task> = leased
            .into_iter()
            .flatten()
            .map(|item| match item {
                DueItem::Fleet(fleet) => Task::fleet(fleet),
                DueItem::Parked { key, .. } => Task::Parked(key.to_string()),
            })
            .collect();
        tasks.extend(compare.then_some(Task::Compare));
        tasks.extend(subscriptions.then_some(Task::Subscriptions));
        tasks.extend(operations.map(|_| Task::Operations));
        let messages = tasks.into_iter().map(|task| TaskMessage {
            task,
            delay: Duration::ZERO,
        });
        let messages: Vec<_> = messages.collect();
        swept.tasks = messages.len();
        // What isn't queued is due again when its lease ends.
        self.tasks.send(&messages).await?;
        info!(
            outcome = "swept",
            due = swept.due,
            tasks = swept.tasks,
            oldest_ms = swept.oldest_ms,
            more = swept.more,
            "swept: {} due, {} tasks",
            swept.due,
            swept.tasks
        );
        Ok(swept)
    }
}

/// Items of one shard of the index that a sweep takes; the others wait for the next one.
const MOST_PER_SHARD: usize = 250;
/// Requests at a time.
const LEASES_AT_ONCE: usize = 16;
/// A task that is lost is queued again after this.
const LEASE_MS: i64 = 5 * 60 * 1000;

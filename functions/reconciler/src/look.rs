//! A look at one fleet.

use std::time::Duration;

use catena_client::CatenaError;
use fleet::{Due, FleetRef, Policy, Timestamp, Why};
use queue::{Task, TaskMessage};
use reconciliation::Questions;
use startup::describe;
use store::{
    COMMIT_ATTEMPTS, Commit, NUDGED_WITHIN_MS, StoreError, StoredRecord, pause, timestamp,
};
use tracing::{info, warn};

use crate::{
    Reconciler,
    reconciler::{Clock, Undone},
};

impl Reconciler {
    /// Looks at a fleet for what it is due for now. While `paused`, dates that passed are told and Catena isn't asked.
    pub(crate) async fn look(
        &self,
        mut stored: StoredRecord,
        paused: bool,
        now: Clock,
    ) -> Result<(), Undone> {
        if stored.version == 0 {
            return Ok(());
        }
        let policy = &self.settings.policy;
        if !stored.passed(policy, timestamp(now())).is_empty() {
            // The record is written anew, and with it all that is due.
            self.tell(&stored.fleet, DATE, Vec::new(), now).await?;
        }
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
                stored = self.table.record(&stored.fleet).await?;
            }
            let at = timestamp(now());
            let due = due(&stored, policy, at);
            let agenda = stored.looks.agenda(&due, policy, at);
            if agenda.now.is_empty() {
                return self.put_right(&stored, agenda.next, at).await;
            }
            if paused || !stored.looks.are_free(at) {
                return Ok(());
            }
            let until = at.plus(policy.wait(LEASE_MS));
            let leased = StoredRecord {
                looks: stored.looks.leased(until),
                ..stored.clone()
            };
            if let Commit::Written(()) = self.table.note(&leased, Some(until)).await? {
                let leased = StoredRecord {
                    version: stored.version + 1,
                    ..leased
                };
                return self.asked_about(leased, &agenda.now, now).await;
            }
        }
        Ok(())
    }

    /// What was asked for and isn't due any more is put where it belongs in the index, unless it is there.
    async fn put_right(
        &self,
        stored: &StoredRecord,
        next: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Undone> {
        let nudged = next.map(|next| next.plus(NUDGED_WITHIN_MS));
        let there = stored.due_at == next || stored.due_at == nudged;
        if !there && stored.passed(&self.settings.policy, now).is_empty() {
            // Whoever wrote it meanwhile put it where it belongs.
            let _ = self.table.note(stored, next).await?;
        }
        Ok(())
    }

    /// Asks Catena because of `why`, with the lease held, tells what it answered, and gives the lease back.
    async fn asked_about(
        &self,
        leased: StoredRecord,
        why: &[Why],
        now: Clock,
    ) -> Result<(), Undone> {
        let fleet = &leased.fleet;
        let questions = Questions::of(&leased.record, why);
        let asked = self.ask(fleet, &leased.record, &questions, now).await;
        let differences = asked.answers.differences(fleet, &leased.record);
        let count = differences.len();
        if !differences.is_empty() {
            self.tell(fleet, ANSWER, differences, now).await?;
        }
        let names: Vec<_> = why.iter().map(|why| why.as_str()).collect();
        let names = names.join(",");
        match &asked.failure {
            None => {
                info!(fleet.ref = %fleet, outcome = "looked", why = names, differences = count, "fleet {fleet}: looked at");
            }
            Some(failure) => {
                warn!(fleet.ref = %fleet, outcome = "look-failed", why = names, differences = count, cause = describe(failure), "fleet {fleet}: is looked at again");
            }
        }
        self.give_back(leased.clone(), why, asked.failure, now)
            .await?;
        Ok(())
    }

    /// Notes what came of a look, and gives the lease back, if it is still held.
    async fn give_back(
        &self,
        mut stored: StoredRecord,
        why: &[Why],
        failure: Option<CatenaError>,
        now: Clock,
    ) -> Result<(), StoreError> {
        let policy = &self.settings.policy;
        let held = stored.looks.clone();
        let not_before = match &failure {
            Some(CatenaError::RateLimited { retry_after }) => {
                Some(self.pause(*retry_after, timestamp(now())).await)
            }
            _ => None,
        };
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
                stored = self.table.record(&stored.fleet).await?;
                if stored.looks != held {
                    return Ok(());
                }
            }
            let at = timestamp(now());
            let due = due(&stored, policy, at);
            stored.looks = match &failure {
                None => held.clone().answered(&due, why, at),
                Some(_) => held.clone().failed(not_before, policy, at),
            };
            let is_done =
                |look: &Due| failure.is_none() && look.at <= at && why.contains(&look.why);
            stored.look = stored.look.filter(|look| !is_done(look));
            let next = stored
                .looks
                .agenda(&self::due(&stored, policy, at), policy, at)
                .next;
            let soon = next.filter(|next| *next <= at.plus(NUDGED_WITHIN_MS));
            // A nudge may get lost: then the sweep finds it.
            let due_at = soon.map(|soon| soon.plus(NUDGED_WITHIN_MS)).or(next);
            if let Commit::Written(()) = self.table.note(&stored, due_at).await? {
                if let Some(soon) = soon {
                    self.nudge(&stored.fleet, soon, at).await;
                }
                return Ok(());
            }
        }
        // It ends by itself.
        Ok(())
    }
}

impl Reconciler {
    /// Has a fleet looked at again too soon for a sweep. Only who held the lease does so, so there is one nudge per look.
    async fn nudge(&self, fleet: &FleetRef, at: Timestamp, now: Timestamp) {
        let delay = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or_default();
        let task = TaskMessage {
            task: Task::fleet(fleet),
            delay: Duration::from_millis(delay),
        };
        if let Err(error) = self.tasks.send(&[task]).await {
            warn!(cause = describe(&error), "what is due waits for the sweep");
        }
    }
}

fn due(stored: &StoredRecord, policy: &Policy, now: Timestamp) -> Vec<Due> {
    stored.all_due(&stored.record.standing(policy, now))
}

/// What a history calls a date that passed, and an answer of Catena's.
const DATE: &str = "date.passed";
pub(crate) const ANSWER: &str = "catena.answer";
/// For all questions about a fleet, and telling what was answered: longer than a task may take.
const LEASE_MS: i64 = 2 * 60 * 1000;

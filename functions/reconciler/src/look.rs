//! A look at one fleet.

use std::time::Duration;

use catena_client::CatenaError;
use fleet::{Due, FleetRef, Looks, Policy, Timestamp, Why};
use queue::{Task, TaskMessage};
use reconciliation::Questions;
use startup::describe;
use store::{
    COMMIT_ATTEMPTS, Commit, NUDGED_WITHIN_MS, StoreError, StoredRecord, pause, timestamp,
};
use tracing::{info, warn};

use crate::{
    Reconciler,
    ask::is_lasting,
    reconciler::{Clock, SHORTEST_LEASE_MS, Undone},
};

impl Reconciler {
    /// Looks at a fleet for what it is due for now. While Catena asks to be left alone, dates that passed are told and it isn't asked.
    pub(crate) async fn look(&self, mut stored: StoredRecord, now: Clock) -> Result<(), Undone> {
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
            // The lease of the sweep ends, and then it is due again.
            if !stored.looks.are_free(at) || self.is_paused(now).await? {
                return Ok(());
            }
            let (leased, lease) = lease(&stored, agenda.now, policy, at);
            if let Commit::Written(()) = self.table.note(&leased, Some(lease.until)).await? {
                let leased = StoredRecord {
                    version: stored.version + 1,
                    ..leased
                };
                return self.asked_about(leased, lease, now).await;
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

    /// Asks Catena, with the lease held, tells what it answered, and gives the lease back.
    async fn asked_about(
        &self,
        leased: StoredRecord,
        lease: Lease,
        now: Clock,
    ) -> Result<(), Undone> {
        let fleet = &leased.fleet;
        let questions = Questions::of(&leased.record, &lease.why);
        let asked = self.ask(fleet, &leased.record, &questions, now).await;
        let differences = asked.answers.differences(fleet, &leased.record);
        let count = differences.len();
        if !differences.is_empty() {
            self.tell(fleet, ANSWER, differences, now).await?;
        }
        let names: Vec<_> = lease.why.iter().map(|why| why.as_str()).collect();
        let names = names.join(",");
        match &asked.failure {
            None => {
                info!(fleet.ref = %fleet, outcome = "looked", why = names, differences = count, "fleet {fleet}: looked at");
            }
            Some(failure) => {
                warn!(fleet.ref = %fleet, outcome = "look-failed", why = names, differences = count, cause = describe(failure), "fleet {fleet}: is looked at again");
            }
        }
        self.give_back(leased, &lease, asked.failure, now).await?;
        Ok(())
    }

    /// Notes what came of a look, and gives the lease back, if it is still held.
    async fn give_back(
        &self,
        mut stored: StoredRecord,
        lease: &Lease,
        failure: Option<CatenaError>,
        now: Clock,
    ) -> Result<(), StoreError> {
        let policy = &self.settings.policy;
        let outcome = match &failure {
            None => Outcome::Answered,
            Some(CatenaError::RateLimited { retry_after }) => {
                let until = self.pause(*retry_after, timestamp(now())).await;
                Outcome::Failed(Some(until))
            }
            // Asked again soon it would be refused again: so it waits as long as what was answered.
            Some(failure) if is_lasting(failure) => Outcome::Answered,
            Some(_) => Outcome::Failed(None),
        };
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
                stored = self.table.record(&stored.fleet).await?;
                if stored.looks != lease.held {
                    return Ok(());
                }
            }
            let at = timestamp(now());
            stored = lease.given_back(stored, outcome, policy, at);
            let next = next(&stored, &stored.looks, policy, at);
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

/// The right to look at a fleet.
struct Lease {
    /// Since when.
    since: Timestamp,
    /// Until when.
    until: Timestamp,
    /// What is looked for.
    why: Vec<Why>,
    /// The notes while it is held.
    held: Looks,
    /// What was asked for beyond what follows from the record, if that is looked for.
    asked: Option<Due>,
}

/// What came of a look.
#[derive(Clone, Copy)]
enum Outcome {
    Answered,
    /// Not all was answered, which may pass; Catena isn't to be asked before this, if it said so.
    Failed(Option<Timestamp>),
}

/// A record with a lease in it. What was asked for and is looked for now is put off to the lease's end, when it is due if nobody gives
/// the lease back: so what is asked for meanwhile is sooner, stays, and isn't taken for answered.
fn lease(
    stored: &StoredRecord,
    why: Vec<Why>,
    policy: &Policy,
    now: Timestamp,
) -> (StoredRecord, Lease) {
    let until = now.plus(policy.wait(LEASE_MS).clamp(SHORTEST_LEASE_MS, LEASE_MS));
    let asked = stored.look.filter(|look| why.contains(&look.why));
    let put_off = asked.map(|look| Due { at: until, ..look });
    let held = stored.looks.leased(until);
    let leased = StoredRecord {
        look: put_off.or(stored.look),
        looks: held.clone(),
        ..stored.clone()
    };
    let lease = Lease {
        since: now,
        until,
        why,
        held,
        asked,
    };
    (leased, lease)
}

impl Lease {
    /// The record as it is by now, without the lease.
    fn given_back(
        &self,
        mut stored: StoredRecord,
        outcome: Outcome,
        policy: &Policy,
        now: Timestamp,
    ) -> StoredRecord {
        let until = self.until;
        let put_off = self.asked.map(|look| Due { at: until, ..look });
        let mine = put_off.is_some() && stored.look == put_off;
        stored.look = match outcome {
            Outcome::Answered => stored.look.filter(|_| !mine),
            Outcome::Failed(_) => self.asked.filter(|_| mine).or(stored.look),
        };
        let looks = self.held.clone();
        stored.looks = match outcome {
            Outcome::Answered => {
                // Trouble that began since isn't looked at yet.
                let mut due = due(&stored, policy, now);
                due.retain(|due| due.at <= self.since || !self.why.contains(&due.why));
                looks.answered(&due, &self.why, now)
            }
            Outcome::Failed(not_before) => looks.failed(not_before, policy, now),
        };
        stored
    }
}

fn due(stored: &StoredRecord, policy: &Policy, now: Timestamp) -> Vec<Due> {
    stored.all_due(&stored.record.standing(policy, now))
}

fn next(
    stored: &StoredRecord,
    looks: &Looks,
    policy: &Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    looks.agenda(&due(stored, policy, now), policy, now).next
}

/// What a history calls a date that passed, and an answer of Catena's.
const DATE: &str = "date.passed";
pub(crate) const ANSWER: &str = "catena.answer";
/// For all questions about a fleet, and telling what was answered: longer than a task may take.
const LEASE_MS: i64 = 2 * 60 * 1000;

#[cfg(test)]
mod tests {
    use fleet::{
        Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Fact, Observation, Record,
    };

    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);
    const SECOND: i64 = 1000;
    const MINUTE: i64 = 60 * SECOND;

    fn policy() -> Policy {
        Policy::default()
    }

    fn told(record: Record, at: Timestamp, fact: Fact) -> Record {
        let at = At(at, 0);
        record.fold(&Observation { at, fact })
    }

    fn state(connection: &str, state: ConnectionState) -> Fact {
        Fact::Connection {
            connection: connection.to_owned(),
            was: ConnectionFact::State(state),
        }
    }

    /// A fleet whose connection broke at a moment.
    fn broken(at: Timestamp) -> StoredRecord {
        let linked = Fact::Linked {
            connection: "C".to_owned(),
        };
        let agreed = Fact::Agreement {
            id: "A".to_owned(),
            made: None,
            agreement: Agreement {
                status: AgreementStatus::Active,
                scopes: None,
                effective: None,
                ends: None,
            },
        };
        let record = told(Record::default(), at.plus(-MINUTE), linked);
        let record = told(record, at.plus(-MINUTE), agreed);
        StoredRecord {
            record: told(record, at, state("C", ConnectionState::Stale)),
            version: 1,
            ..StoredRecord::new(FleetRef::parse("FLEET-1").unwrap())
        }
    }

    fn asked_for(at: Timestamp) -> StoredRecord {
        StoredRecord {
            look: Some(Due {
                at,
                why: Why::ReadBack,
            }),
            ..broken(NOW)
        }
    }

    /// As the processor asks for a look after news (`store::Records`).
    fn news(stored: &mut StoredRecord, at: Timestamp) {
        let asked = Due {
            at: at.plus(30 * SECOND),
            why: Why::ReadBack,
        };
        stored.look = stored.look.into_iter().chain([asked]).min();
    }

    fn due_now(stored: &StoredRecord, at: Timestamp) -> Vec<Why> {
        let due = due(stored, &policy(), at);
        stored.looks.agenda(&due, &policy(), at).now
    }

    #[test]
    fn a_look_that_was_asked_for_is_done_once() {
        let at = NOW.plus(30 * SECOND);
        let stored = asked_for(at);
        let (leased, lease) = lease(&stored, due_now(&stored, at), &policy(), at);
        assert_eq!(due_now(&leased, lease.until.plus(-1)), []);
        let after = at.plus(SECOND);
        let done = lease.given_back(leased, Outcome::Answered, &policy(), after);
        assert_eq!((done.look, due_now(&done, after)), (None, vec![]));
        assert!(done.looks.are_free(after));
        assert_eq!(done.looks, Looks::default());
    }

    #[test]
    fn what_is_asked_for_during_a_look_is_not_taken_for_answered() {
        let at = NOW.plus(30 * SECOND);
        let stored = asked_for(at);
        let (mut leased, lease) = lease(&stored, due_now(&stored, at), &policy(), at);
        news(&mut leased, at.plus(SECOND));
        let done = lease.given_back(leased, Outcome::Answered, &policy(), at.plus(2 * SECOND));
        assert_eq!(due_now(&done, at.plus(30 * SECOND)), []);
        assert_eq!(due_now(&done, at.plus(31 * SECOND)), [Why::ReadBack]);
    }

    #[test]
    fn a_look_that_failed_or_was_never_noted_is_due_again() {
        let at = NOW.plus(30 * SECOND);
        let stored = asked_for(at);
        let (leased, lease) = lease(&stored, due_now(&stored, at), &policy(), at);
        // Lost.
        assert_eq!(due_now(&leased, lease.until), [Why::ReadBack]);
        // Failed: later each time.
        let mut stored = lease.given_back(leased, Outcome::Failed(None), &policy(), at);
        let mut waits = Vec::new();
        let mut from = at;
        for _ in 0..7 {
            let next = next(&stored, &stored.looks, &policy(), from).unwrap();
            waits.push((next.0 - from.0) / SECOND);
            let why = due_now(&stored, next);
            let (leased, lease) = super::lease(&stored, why, &policy(), next);
            stored = lease.given_back(leased, Outcome::Failed(None), &policy(), next);
            from = next;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(stored.look, asked_for(at).look);
    }

    #[test]
    fn a_look_that_changes_nothing_is_not_due_again_at_once_and_waits_grow() {
        let mut stored = broken(NOW);
        let (mut at, mut waits) = (NOW, Vec::new());
        for _ in 0..6 {
            let next = next(&stored, &stored.looks, &policy(), at).unwrap();
            waits.push((next.0 - at.0) / MINUTE);
            let why = due_now(&stored, next);
            let (leased, lease) = lease(&stored, why, &policy(), next);
            stored = lease.given_back(leased, Outcome::Answered, &policy(), next);
            at = next;
        }
        assert!(waits.is_sorted() && waits[0] >= 1, "{waits:?}");
        assert_eq!(waits.last(), Some(&(24 * 60)));
    }

    #[test]
    fn trouble_that_begins_during_a_look_is_looked_at_as_new() {
        let (mut stored, mut at) = (broken(NOW), NOW);
        for _ in 0..4 {
            at = next(&stored, &stored.looks, &policy(), at).unwrap();
            let (leased, lease) = lease(&stored, due_now(&stored, at), &policy(), at);
            stored = lease.given_back(leased, Outcome::Answered, &policy(), at);
        }
        at = at.plus(24 * 60 * MINUTE);
        let (mut leased, lease) = lease(&stored, vec![Why::ConnectionBroken], &policy(), at);
        let breaks = at.plus(SECOND);
        leased.record = told(leased.record, breaks, state("C", ConnectionState::Failed));
        let done = lease.given_back(leased, Outcome::Answered, &policy(), at.plus(2 * SECOND));
        let due = due(&done, &policy(), breaks);
        let broken: Vec<_> = due
            .into_iter()
            .filter(|due| due.why == Why::ConnectionBroken)
            .collect();
        let next = done.looks.agenda(&broken, &policy(), breaks).next;
        assert_eq!(next, Some(breaks.plus(5 * MINUTE)));
    }
}

//! Sends writes to Catena: each key once.
//!
//! The operation is written before the call, so that whatever happens then is known of. Only an operation that Catena has nothing of is
//! ever sent again. See the crate `operations` for what is promised.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use catena_client::{CatenaError, Client};
use fleet::{FleetRef, Policy, Timestamp};
use operations::{Asked, Course, Heard, Operation, Refused, Status};
use queue::{Task, TaskMessage, TasksQueue};
use startup::describe;
use store::{Commit, Guard, HistoryDays, Operations, StoreError, StoredOperation, Table};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, warn};
use translation::OperationTold;

use crate::{
    refusal::{Kind, Refusal},
    wanted::{Wanted, wait_for},
};

/// Sends writes, and tells what became of them.
#[derive(Debug)]
pub(crate) struct Writes {
    pub(crate) table: Table,
    pub(crate) catena: Client,
    pub(crate) tasks: TasksQueue,
    pub(crate) policy: Policy,
    pub(crate) history_days: HistoryDays,
    pub(crate) now: fn() -> OffsetDateTime,
}

/// What became of a request to write.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) stored: StoredOperation,
    /// Whether this request sent it, rather than one before it.
    pub(crate) sent: bool,
}

/// Whose write it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submitter<'a> {
    pub(crate) fleet: &'a FleetRef,
    /// The caller's key.
    pub(crate) key: &'a str,
    /// An IAM principal.
    pub(crate) by: &'a str,
}

impl Writes {
    /// Sends a write, unless its key was sent before and Catena may have something of it.
    pub(crate) async fn submit(
        &self,
        submitter: Submitter<'_>,
        wanted: &Wanted,
    ) -> Result<Submitted, Refusal> {
        let started = Instant::now();
        let fleet = submitter.fleet;
        let id = operations::operation_id(fleet.as_str(), submitter.key);
        for _ in 0..ROUNDS {
            let (record, known) = self.table.asked(fleet, &id).await.map_err(unsent)?;
            if record.version == 0 {
                return Err(Refusal::unknown(fleet.as_str()));
            }
            let now = self.now();
            if let Some(stored) = &known {
                if stored.operation.asked.digest != wanted.digest() {
                    return Err(key_reused(&id));
                }
                if stored.operation.status(now) != Status::Refused {
                    let (stored, sent) = (stored.clone(), false);
                    return Ok(Submitted { stored, sent });
                }
            }
            let connection = wanted.connection(fleet, &record.record)?;
            let standing = record.record.standing(&self.policy, now);
            wanted.allowed_by(fleet, &standing.data_scopes)?;
            let turn = wanted.guard_digest(&connection);
            if !self.take_turn(&turn, &id, known.as_ref()).await? {
                continue;
            }
            if started.elapsed() > LATEST_START {
                return Err(Refusal::new(
                    Kind::OutOfTime,
                    "The table was too slow, so nothing was sent to Catena. The same key may be sent again.",
                ));
            }
            let Some(mut next) = self.about_to_call(submitter, wanted, &connection, known) else {
                continue;
            };
            next.operation.caller_mark = Some(mark()?);
            if let Some(stored) = self.keep(next).await? {
                let time = MOST_TIME.min(LATEST_END.saturating_sub(started.elapsed()));
                let stored = self.call(stored, wanted, &connection, time).await?;
                return Ok(Submitted { stored, sent: true });
            }
        }
        Err(Refusal::new(
            Kind::Busy,
            "Other calls write the same at this moment. Nothing was sent by this one; the same key tells what became of the others.",
        ))
    }

    /// Takes the turn to write such a payload; `false` if somebody else was faster. An equal write that nobody knows the fate of is waited for,
    /// because a search couldn't tell the two apart.
    async fn take_turn(
        &self,
        digest: &str,
        id: &str,
        known: Option<&StoredOperation>,
    ) -> Result<bool, Refusal> {
        let before = self.table.guard(digest).await.map_err(unsent)?;
        let before = before.filter(|guard| guard.operation != id);
        if let Some(guard) = &before {
            let holder = self.table.operation(&guard.operation).await;
            let holder = holder.map_err(unsent)?;
            let holder = holder.as_ref().map(|it| &it.operation);
            if let Some(seconds) = wait_for(guard, holder, &self.policy, self.now()) {
                return Err(equal_write_unclear(&guard.operation, seconds));
            }
        }
        // Who sees the turn has to see that it is newer than the refusal, whatever the clocks say.
        let refused_at = known.and_then(|it| it.operation.settled_at());
        let since = refused_at.map_or(self.now(), |at| self.now().max(at.plus(1)));
        let guard = Guard {
            operation: id.to_owned(),
            since,
        };
        let taken = self.table.take_guard(digest, &guard, before.as_ref()).await;
        taken.map_err(unsent)
    }

    /// The operation as it is to be written before the call; `None` if it can't be sent any more.
    fn about_to_call(
        &self,
        submitter: Submitter<'_>,
        wanted: &Wanted,
        connection: &str,
        known: Option<StoredOperation>,
    ) -> Option<StoredOperation> {
        let (now, payload) = (self.now(), wanted.kept_payload());
        if let Some(mut stored) = known {
            let operation = &mut stored.operation;
            let again = operation.call_again(payload, submitter.by, connection, now);
            return again.then_some(stored);
        }
        let asked = Asked {
            fleet: submitter.fleet.clone(),
            key: submitter.key.to_owned(),
            by: submitter.by.to_owned(),
            resource: wanted.write.resource.to_owned(),
            kind: wanted.write.kind,
            target: wanted.target.clone(),
            connection: connection.to_owned(),
            digest: wanted.digest(),
        };
        let id = operations::operation_id(submitter.fleet.as_str(), submitter.key);
        let operation = Operation::new(id, asked, payload, now);
        Some(StoredOperation::new(operation))
    }

    /// Writes an operation that is about to be sent; `None` if somebody else with the same key was faster. A write may get through though its
    /// answer doesn't: so what the table has then is looked at.
    async fn keep(&self, next: StoredOperation) -> Result<Option<StoredOperation>, Refusal> {
        let failed = match self.operations().keep(&next).await {
            Ok(Commit::Written(stored)) => return Ok(Some(stored)),
            Ok(Commit::Conflict) => None,
            Err(error @ StoreError::Unavailable { .. }) => Some(error),
            Err(error) => return Err(unsent(error)),
        };
        let found = self.table.operation(&next.operation.id).await;
        let mark = &next.operation.caller_mark;
        let own = found
            .map_err(unsent)?
            .filter(|it| it.operation.caller_mark == *mark && it.operation.is_calling());
        match (own, failed) {
            (None, Some(error)) => Err(unsent(error)),
            (own, _) => Ok(own),
        }
    }

    /// The one call, and what it came to.
    async fn call(
        &self,
        stored: StoredOperation,
        wanted: &Wanted,
        connection: &str,
        time: Duration,
    ) -> Result<StoredOperation, Refusal> {
        let (path, target) = (wanted.write.path, wanted.target.as_deref());
        let body = wanted.body(connection);
        match self.catena.within(time).write(path, target, &body).await {
            Ok(answer) => {
                let told = translation::operation(&answer.value, Some(answer.observed.at()));
                match told {
                    Some(told) => self.accepted(stored, told).await,
                    None => self.unclear(stored, "Catena's answer names no id").await,
                }
            }
            Err(error) if error.is_ambiguous() => self.unclear(stored, &words(&error)).await,
            Err(error) => Err(self.refused(stored, wanted, error).await),
        }
    }

    async fn accepted(
        &self,
        stored: StoredOperation,
        told: OperationTold,
    ) -> Result<StoredOperation, Refusal> {
        let id = stored.operation.id.clone();
        let heard = Heard::default().fold(told.said);
        let accepted = self
            .operations()
            .accept(stored.clone(), &told.id, told.created_at, heard)
            .await;
        match accepted.map_err(sent)? {
            Ok(Some(changed)) => {
                if let Some(fleet) = self.operations().follow(&changed).await {
                    self.nudge(&id, Task::fleet(&fleet), Duration::ZERO).await;
                }
                Ok(changed.stored)
            }
            Ok(None) => self.as_it_is(&id).await,
            Err(owner) => {
                error!(
                    operation.id = id,
                    owner, "operation {id}: Catena answered with the id of another operation"
                );
                let why = "Catena answered with the id of another operation";
                self.unclear(stored, why).await
            }
        }
    }

    /// Notes that nobody knows whether Catena has it, and has it searched for soon.
    async fn unclear(
        &self,
        stored: StoredOperation,
        why: &str,
    ) -> Result<StoredOperation, Refusal> {
        let id = stored.operation.id.clone();
        let now = self.now();
        let lose = |operation: &mut Operation| operation.lose_answer(why, now);
        let changed = self.operations().change(&id, Some(stored), lose).await;
        let stored = match changed.map_err(sent)? {
            Some(changed) => {
                self.operations().follow(&changed).await;
                changed.stored
            }
            None => self.as_it_is(&id).await?,
        };
        let wait = u64::try_from(self.policy.wait(FIRST_SEARCH_MS)).unwrap_or_default();
        let delay = Duration::from_millis(wait);
        self.nudge(&id, Task::Operations, delay).await;
        Ok(stored)
    }

    /// Has something looked at sooner than by the next sweep.
    async fn nudge(&self, id: &str, task: Task, delay: Duration) {
        if let Err(error) = self.tasks.send(&[TaskMessage { task, delay }]).await {
            warn!(
                operation.id = id,
                cause = describe(&error),
                "operation {id}: it is looked at by the next sweep only"
            );
        }
    }

    /// Notes that Catena has nothing of it.
    async fn refused(
        &self,
        stored: StoredOperation,
        wanted: &Wanted,
        error: CatenaError,
    ) -> Refusal {
        let id = stored.operation.id.clone();
        let refused = Refused {
            at: self.now().max(since(&stored.operation)),
            why: words(&error),
            // What the API alone answers: the token endpoint refuses our credentials and limits calls in the same words as the API, and after
            // that the write itself never left.
            by_catena: matches!(
                error,
                CatenaError::Refused(_) | CatenaError::NotFound | CatenaError::Forbidden(_)
            ),
        };
        let refuse = |operation: &mut Operation| operation.refuse(refused.clone());
        let changed = self.operations().change(&id, Some(stored), refuse).await;
        if let CatenaError::RateLimited { retry_after } = &error {
            self.share_pause(*retry_after).await;
        }
        match changed {
            Ok(_) => not_written(error, wanted),
            Err(store) => Refusal::of_table(
                store,
                &format!(
                    "Nothing was written ({}), but that could not be noted: the same key is answered with an operation that counts as \
                     unclear, and then as unknown. Send it under a new key once it is unknown.",
                    refused.why
                ),
            ),
        }
    }

    /// Has `reconciler` leave Catena alone, too, for as long as Catena asks to be left. Writes themselves don't look at what it noted,
    /// because somebody waits for them.
    async fn share_pause(&self, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or(PAUSE).min(LONGEST_PAUSE);
        let until = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        if let Err(error) = self.table.pause_until(self.now().plus(until)).await {
            warn!(
                cause = describe(&error),
                "others don't know that Catena asks to be left alone"
            );
        }
    }

    async fn as_it_is(&self, id: &str) -> Result<StoredOperation, Refusal> {
        let stored = self.table.operation(id).await.map_err(sent)?;
        stored.ok_or_else(|| Refusal::new(Kind::Broken, format!("Operation {id} vanished. {SENT}")))
    }

    pub(crate) fn operations(&self) -> Operations<'_> {
        Operations {
            table: &self.table,
            policy: &self.policy,
            history_days: self.history_days,
            now: self.now,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        api::Moment::from((self.now)()).0
    }
}

/// See [`Operation::caller_mark`].
fn mark() -> Result<String, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let detail =
            "The system has no random numbers. Nothing was sent; the same key may be sent again.";
        Refusal::new(Kind::Broken, detail).because(&error)
    })?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// When the call of an operation began.
fn since(operation: &Operation) -> Timestamp {
    match operation.course {
        Course::Calling { since, .. } => since,
        _ => operation.submitted_at,
    }
}

/// Why a call has no answer, or which. [`CatenaError`] holds no secrets, and what is below the names of servers at most, which tell callers
/// nothing.
fn words(error: &CatenaError) -> String {
    match error {
        CatenaError::Unavailable { source, .. } => format!("Catena is unavailable: {source}"),
        CatenaError::Unclear(last) => {
            format!("an attempt was not answered, and then: {}", words(last))
        }
        other => other.to_string(),
    }
}

fn unsent(error: StoreError) -> Refusal {
    Refusal::of_table(
        error,
        "Nothing was sent to Catena by this call. The same key may be sent again; should the table have kept the operation all the \
         same, it is answered as it stands, and ends as unknown.",
    )
}

fn sent(error: StoreError) -> Refusal {
    Refusal::of_table(error, SENT)
}

/// What Catena has nothing of.
fn not_written(error: CatenaError, wanted: &Wanted) -> Refusal {
    const AGAIN: &str = "Nothing was written, and the same key may be sent again";
    const MENDED: &str = "Nothing was written. A mended body needs a new key; the same body may be sent again under the same key";
    let resource = wanted.write.resource;
    match &error {
        CatenaError::NotFound if wanted.target.is_some() => {
            let problem = "Catena knows nothing with this id, or doesn't let us change it";
            Refusal::from_catena(
                Kind::CatenaRefused,
                format!("Catena knows no such {resource}. {MENDED}."),
                vec![api::FieldProblem::new("resource_id", problem)],
                &error,
            )
        }
        CatenaError::Forbidden(refusal) => Refusal::from_catena(
            Kind::CatenaRefusesUs,
            format!(
                "Catena forbids this write: {refusal}. Either the fleet doesn't share read_write on {resource} any more, or the stack's \
                 credentials lack the permission to write it: ask Catena for that. {AGAIN}."
            ),
            Vec::new(),
            &error,
        ),
        CatenaError::Unavailable { .. } => Refusal::from_catena(
            Kind::CatenaUnavailable,
            format!("Catena can't be reached, so nothing left for it. {AGAIN}."),
            Vec::new(),
            &error,
        ),
        _ => {
            let mut refusal = Refusal::from(error);
            let problem = &mut refusal.problem;
            let what_now = match problem.status {
                422 => MENDED,
                _ => AGAIN,
            };
            problem.detail = format!("{} {what_now}.", problem.detail);
            refusal
        }
    }
}

fn key_reused(id: &str) -> Refusal {
    Refusal::new(
        Kind::KeyReused,
        format!(
            "This key was sent with another body before: it stands for operation {id}, which is as it was. Nothing was sent now. Write \
             something else under another key."
        ),
    )
}

fn equal_write_unclear(other: &str, seconds: u64) -> Refusal {
    let refusal = Refusal::new(
        Kind::EqualWriteUnclear,
        format!(
            "Nobody knows yet whether Catena has operation {other}, which writes the same by the same connection; if this one were sent \
             now, the two could not be told apart. Nothing was sent. Ask for {other}, or send this key again in {seconds} s."
        ),
    );
    refusal.after(seconds)
}

const SENT: &str = "The write was sent to Catena, or may have been. The same key tells what became of it, and sends nothing again.";
/// Somebody else was faster so many times.
const ROUNDS: usize = 4;
/// Of the 28 s that a request has: later nothing is sent.
const LATEST_START: Duration = Duration::from_secs(8);
/// By then the call to Catena is over, so that what came of it can be noted.
const LATEST_END: Duration = Duration::from_secs(23);
/// For the call to Catena: a token, pauses and attempts that didn't leave included.
const MOST_TIME: Duration = Duration::from_secs(15);
/// The age at which the first search is due.
const FIRST_SEARCH_MS: i64 = 10 * 1000;
/// After a 429 that doesn't say how long to wait: as `reconciler` does.
const PAUSE: Duration = Duration::from_secs(30);
/// Against an answer that is wrong about the wait: as `reconciler` has it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

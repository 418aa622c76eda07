//! Write operations: those of which no webhook told the end are asked about, many by one call where that is possible; those whose answer
//! was lost are searched for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use ::operations::{Candidate, Found, Heard, Looked, Question, Search, questions};
use catena::{Instant, ResourceOperation};
use catena_client::{CatenaError, OperationFilter};
use fleet::{FleetRef, Timestamp};
use futures_util::{StreamExt, stream};
use queue::{Task, TaskMessage};
use startup::describe;
use store::{OperationChanged, Operations, Shared, StoreError, StoredOperation, timestamp};
use tracing::{error, info, warn};
use translation::OperationTold;

use crate::{
    Reconciler,
    ask::{TIME_FOR_ALL, is_lasting},
    reconciler::{Clock, Undone},
};

/// What came of looks.
#[derive(Default)]
struct Seen {
    /// Operations that were looked at.
    looked: AtomicUsize,
    /// Those that came to an end by that.
    settled: AtomicUsize,
    /// Calls of Catena; of lists, pages.
    calls: AtomicUsize,
    /// Calls in a row that weren't answered.
    failures: AtomicUsize,
    /// No more is begun.
    stopped: AtomicBool,
}

/// Why no more is asked.
enum Stop {
    Store(StoreError),
    /// The next question would be refused like the last.
    Catena(CatenaError),
    /// No time is left.
    Time,
    /// Catena asked somebody else to be left alone for a while.
    Paused,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Looks at operations that are due.
struct Looks<'a> {
    reconciler: &'a Reconciler,
    to: Operations<'a>,
    now: Clock,
    deadline: tokio::time::Instant,
    seen: Seen,
}

impl Reconciler {
    /// Since when a write operation is due, if nobody looks.
    pub(crate) async fn operations_due_since(
        &self,
        shared: &Shared,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let busy = |until: Option<Timestamp>| until.is_some_and(|until| now < until);
        if busy(shared.not_before) || busy(shared.operations_leased_until) {
            return Ok(None);
        }
        let first = self.table.due_operations(now, 1).await?.into_iter().next();
        Ok(first.map(|(due, _)| due))
    }

    /// Looks at all write operations that are due, as far as there is time; the next sweep goes on.
    pub(crate) async fn look_at_operations(
        &self,
        now: Clock,
        deadline: tokio::time::Instant,
    ) -> Result<(), Undone> {
        let began = timestamp(now());
        let until = began.plus(LEASE_MS);
        if !self.table.lease_operations(began, until).await? {
            return Ok(());
        }
        let looks = Looks {
            reconciler: self,
            to: Operations {
                table: &self.table,
                policy: &self.settings.policy,
                history_days: self.settings.history_days,
                now,
            },
            now,
            deadline,
            seen: Seen::default(),
        };
        let mut stopped = looks.all().await.err();
        // A pause is over soon: then the last question can be asked.
        if let Some(Stop::Catena(failure)) = &stopped
            && !matches!(failure, CatenaError::RateLimited { .. })
            && let Err(error) = looks.give_up_overdue(failure).await
        {
            stopped = Some(Stop::Store(error));
        }
        let Seen {
            looked,
            settled,
            calls,
            ..
        } = &looks.seen;
        let [looked, settled, calls] =
            [looked, settled, calls].map(|it| it.load(Ordering::Relaxed));
        if looked > 0 {
            info!(
                outcome = "operations-looked-at",
                looked,
                settled,
                calls,
                "{looked} write operations looked at by {calls} calls: {settled} settled"
            );
        }
        // Should this fail the lease ends by itself.
        let ended = self.table.end_operations(until).await;
        match stopped {
            Some(Stop::Store(error)) => return Err(error.into()),
            Some(Stop::Catena(CatenaError::RateLimited { retry_after })) => {
                self.pause(retry_after, timestamp(now())).await;
            }
            Some(Stop::Catena(
                failure @ (CatenaError::Unauthorised { .. } | CatenaError::Credentials(_)),
            )) => {
                error!(
                    outcome = "refused-by-catena",
                    cause = describe(&failure),
                    "Catena refuses our credentials, so write operations can't be looked at"
                );
            }
            Some(Stop::Catena(failure)) => {
                warn!(
                    outcome = "operations-failed",
                    cause = describe(&failure),
                    "write operations can't be looked at now"
                );
            }
            Some(Stop::Time | Stop::Paused) | None => {}
        }
        Ok(ended?)
    }
}

impl Looks<'_> {
    /// Returns once none is due, or says why there is more. Searches come first: they are few, and somebody waits for them.
    async fn all(&self) -> Result<(), Stop> {
        loop {
            self.has_time()?;
            let due = self
                .to
                .table
                .due_operations(self.at(), MOST_AT_ONCE)
                .await?;
            let more = due.len() == MOST_AT_ONCE;
            let mut found = false;
            let mut known = Vec::new();
            // What is searched for comes with its payload: not too many of those at a time.
            for some in due.chunks(MOST_READ) {
                let mut lost = Vec::new();
                for stored in self.read(some).await? {
                    found = true;
                    match stored.operation.catena_id {
                        Some(_) => known.push(stored),
                        None => lost.push(stored),
                    }
                }
                self.search(&lost).await?;
            }
            self.poll(&known).await?;
            if !found || !more {
                return Ok(());
            }
        }
    }

    /// Those that really are due: the index is a moment behind, and another policy may look later. What isn't due, or can't be read, is put off,
    /// so that it stands in nobody's way.
    async fn read(&self, due: &[(i64, String)]) -> Result<Vec<StoredOperation>, Stop> {
        let ids: BTreeSet<String> = due.iter().map(|(_, id)| id.clone()).collect();
        let mut found = self.to.table.operations(&ids).await?;
        let mut read = Vec::new();
        for (seen, id) in due {
            match found.remove(id) {
                Some(Ok(stored)) => match stored.operation.due(self.to.policy) {
                    Some(due) if due <= self.at() => read.push(stored),
                    Some(later) => self.to.table.put_off_operation(id, *seen, later).await?,
                    None => {}
                },
                Some(Err(error)) => {
                    let cause = describe(&error);
                    error!(
                        operation.id = id,
                        cause,
                        outcome = "operation-unreadable",
                        "a write operation can't be read, so nobody looks at it for an hour"
                    );
                    self.put_off(id, *seen).await?;
                }
                None => {}
            }
        }
        Ok(read)
    }

    async fn put_off(&self, id: &str, seen: i64) -> Result<(), Stop> {
        let until = self.at().plus(PUT_OFF_MS);
        self.to.table.put_off_operation(id, seen, until).await?;
        Ok(())
    }

    /// Those whose time is over end as unknown, though Catena can't be asked. The others stay due.
    async fn give_up_overdue(&self, failure: &CatenaError) -> Result<(), StoreError> {
        let due = self
            .to
            .table
            .due_operations(self.at(), MOST_AT_ONCE)
            .await?;
        for some in due.chunks(MOST_READ) {
            let due = match self.read(some).await {
                Err(Stop::Store(error)) => return Err(error),
                due => due.unwrap_or_default(),
            };
            let overdue = due
                .iter()
                .filter(|it| it.operation.deadline(self.to.policy) <= self.at());
            for stored in overdue {
                let noted = self.note(stored, Looked::Failed(failure.to_string())).await;
                if let Err(Stop::Store(error)) = noted {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Asks how operations stand whose ids are known.
    async fn poll(&self, due: &[StoredOperation]) -> Result<(), Stop> {
        let by_id: BTreeMap<&str, &StoredOperation> = due
            .iter()
            .filter_map(|it| Some((it.operation.catena_id.as_deref()?, it)))
            .collect();
        let asked = by_id.iter().map(|(id, it)| {
            let Asked {
                fleet,
                connection,
                at,
            } = Asked::of(it);
            (fleet, connection, *id, at)
        });
        let works = questions(asked.collect()).into_iter().map(|question| {
            let by_id = &by_id;
            async move {
                self.may_ask().await?;
                match question {
                    Question::One { connection, id } => {
                        self.poll_one(connection, id, by_id[id]).await
                    }
                    Question::Many {
                        fleets,
                        from,
                        to,
                        ids,
                    } => {
                        let left = self.poll_many(&fleets, from, to, &ids, by_id).await?;
                        for id in left {
                            self.may_ask().await?;
                            let stored = by_id[id];
                            self.poll_one(&stored.operation.asked.connection, id, stored)
                                .await?;
                        }
                        Ok(())
                    }
                }
            }
        });
        self.in_turn(works.collect()).await
    }

    async fn poll_one(
        &self,
        connection: &str,
        id: &str,
        stored: &StoredOperation,
    ) -> Result<(), Stop> {
        self.called();
        let calls = self.reconciler.catena.within(TIME_FOR_ONE);
        match calls.operation(connection, id).await {
            Ok(answer) => {
                self.answered();
                let observed = Instant::from_millis(answer.observed.at().millis());
                match translation::operation(&answer.value, Some(observed)) {
                    Some(told) if told.id == id => self.tell(stored, &told).await,
                    _ => self.note(stored, Looked::Answered).await,
                }
            }
            // Catena's reads may lag behind its answers.
            Err(CatenaError::NotFound) => self.note(stored, Looked::Answered).await,
            Err(failure) if is_lasting(&failure) => {
                warn!(
                    operation.id = stored.operation.id,
                    cause = describe(&failure),
                    outcome = "operation-not-told",
                    "Catena refuses to tell how a write operation stands"
                );
                self.note(stored, Looked::Refused(failure.to_string()))
                    .await
            }
            Err(failure) => self.failed(stored, failure).await,
        }
    }

    /// Catena didn't answer about one: that may be about this one alone. Several in a row are about all.
    async fn failed(&self, stored: &StoredOperation, failure: CatenaError) -> Result<(), Stop> {
        self.is_for_all(&failure)?;
        self.note(stored, Looked::Failed(failure.to_string())).await
    }

    fn is_for_all(&self, failure: &CatenaError) -> Result<(), Stop> {
        let of_all = matches!(
            failure,
            CatenaError::RateLimited { .. }
                | CatenaError::Unauthorised { .. }
                | CatenaError::Credentials(_)
        );
        let failures = self.seen.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if of_all || failures >= MOST_FAILURES {
            return Err(Stop::Catena(failure.clone()));
        }
        Ok(())
    }

    fn answered(&self) {
        self.seen.failures.store(0, Ordering::Relaxed);
    }

    /// Asks for a list, and returns the ids that it lacks. It is read no further than a third of what asking for each would cost.
    async fn poll_many<'i>(
        &self,
        fleets: &[&str],
        from: Timestamp,
        to: Timestamp,
        ids: &[&'i str],
        by_id: &BTreeMap<&str, &StoredOperation>,
    ) -> Result<Vec<&'i str>, Stop> {
        // By Catena's own clock the list begins with one that is asked about: so each page that is read before Catena asks for a pause leaves
        // fewer to ask about, however short its limit is.
        let of_catena = |id: &&str| by_id[id].operation.created_at.is_some();
        let margin = match ids.iter().all(of_catena) {
            true => SHORTEST_MARGIN_MS,
            false => MARGIN_MS,
        };
        let filter = OperationFilter {
            fleet_refs: fleets.iter().map(|it| (*it).to_owned()).collect(),
            from: Some(Instant::from_millis(from.0 - margin)),
            to: Some(Instant::from_millis((to.0 + margin).min(self.at().0))),
            ..OperationFilter::default()
        };
        let mut left: BTreeSet<&str> = ids.iter().copied().collect();
        let mut pages = self
            .reconciler
            .catena
            .within(TIME_FOR_ALL)
            .operations(&filter);
        for _ in 0..ids.len().div_ceil(3) {
            if left.is_empty() || self.has_time().is_err() {
                break;
            }
            self.may_ask().await?;
            self.called();
            let page = match pages.next().await {
                None => break,
                Some(Ok(page)) => page,
                // Each for itself, then: perhaps one record can't be read, or the list is too much.
                Some(Err(failure)) if is_lasting(&failure) => break,
                Some(Err(failure)) => {
                    self.is_for_all(&failure)?;
                    break;
                }
            };
            self.answered();
            let told = page.value.iter().filter_map(|it| {
                let told = translation::operation(it, Some(page.observed.at()))?;
                let stored = by_id
                    .get(told.id.as_str())
                    .filter(|_| left.contains(told.id.as_str()))?;
                Some((*stored, told))
            });
            let told: Vec<_> = told.collect();
            for (_, told) in &told {
                left.remove(told.id.as_str());
            }
            let works = told.iter().map(|(stored, told)| self.tell(stored, told));
            self.in_turn_of(works.collect(), WRITES_AT_ONCE).await?;
        }
        Ok(ids.iter().copied().filter(|id| left.contains(id)).collect())
    }

    /// Searches for operations whose answer was lost.
    async fn search(&self, lost: &[StoredOperation]) -> Result<(), Stop> {
        let works = lost.iter().map(|stored| async move {
            self.may_ask().await?;
            match self.search_one(stored).await {
                // Of what is kept of one of those that Catena lists: nobody else has to wait for that.
                Err(Stop::Store(error)) if error.is_lasting() => {
                    let (id, cause) = (&stored.operation.id, describe(&error));
                    error!(
                        operation.id = id,
                        cause,
                        outcome = "operation-unreadable",
                        "what is kept of one of Catena's write operations can't be read"
                    );
                    let why = "what is kept of one that it may be can't be read".to_owned();
                    self.note(stored, Looked::Refused(why)).await
                }
                // Of a newer program, after a roll-back.
                Err(Stop::Store(StoreError::NewerSchema { .. })) => {
                    match stored.operation.due(self.to.policy) {
                        Some(due) => self.put_off(&stored.operation.id, due.0).await,
                        None => Ok(()),
                    }
                }
                searched => searched,
            }
        });
        self.in_turn(works.collect()).await
    }

    async fn search_one(&self, stored: &StoredOperation) -> Result<(), Stop> {
        let margin = self
            .to
            .policy
            .wait(MARGIN_MS)
            .clamp(SHORTEST_MARGIN_MS, MARGIN_MS);
        let Some(search) = Search::of(&stored.operation, margin) else {
            return self.note(stored, Looked::Answered).await;
        };
        let filter = OperationFilter {
            resource: Some(search.resource().to_owned()),
            connection_id: Some(search.connection().to_owned()),
            fleet_refs: Vec::new(),
            from: Some(Instant::from_millis(search.from.0)),
            // Whether Catena takes a moment that lies ahead is unknown; what it made since is found by the next search.
            to: Some(Instant::from_millis(search.to.0.min(self.at().0))),
        };
        self.called();
        let calls = self.reconciler.catena.within(TIME_FOR_ALL);
        let listed = match calls.operations(&filter).collect(MOST_LISTED).await {
            // It can't be told from those that weren't read.
            Ok(listed) if listed.value.more => {
                let why = "its connection writes too much to find it".to_owned();
                return self.note(stored, Looked::Refused(why)).await;
            }
            Ok(listed) => listed,
            Err(failure) if is_lasting(&failure) || matches!(failure, CatenaError::NotFound) => {
                warn!(
                    operation.id = stored.operation.id,
                    cause = describe(&failure),
                    outcome = "operation-not-told",
                    "Catena refuses to list write operations"
                );
                return self
                    .note(stored, Looked::Refused(failure.to_string()))
                    .await;
            }
            Err(failure) => return self.failed(stored, failure).await,
        };
        self.answered();
        let records: &[ResourceOperation] = &listed.value.items;
        let candidates: Vec<Candidate> = records.iter().map(translation::candidate).collect();
        let claimed = self.claimed(search.possible(&candidates)).await?;
        let mut found = search.find(&candidates, &claimed, &stored.operation.id);
        if !matches!(found, Found::One(_)) {
            // It may have been claimed by its answer, before its program ended, however its payload looks at Catena.
            let listed = candidates.iter().map(|it| it.id.clone());
            let claimed = self.claimed(listed.collect()).await?;
            let own = claimed
                .into_iter()
                .find(|(_, owner)| *owner == stored.operation.id);
            found = own.map_or(found, |(id, _)| Found::One(id));
        }
        let id = match found {
            Found::One(id) => id,
            Found::None => return self.note(stored, Looked::Answered).await,
            Found::Several(count) => {
                warn!(
                    operation.id = stored.operation.id,
                    count,
                    outcome = "operation-ambiguous",
                    "Catena lists {count} writes that could each be one whose answer was lost"
                );
                return self.note(stored, Looked::Answered).await;
            }
        };
        let told = records.iter().find(|it| it.id == id);
        let told = told.and_then(|it| translation::operation(it, Some(listed.observed.at())));
        let Some(told) = told else {
            return self.note(stored, Looked::Answered).await;
        };
        let heard = Heard::default().fold(told.said);
        match self
            .to
            .accept(stored.clone(), &id, told.created_at, heard)
            .await?
        {
            Ok(changed) => {
                let fleet = &stored.operation.asked.fleet;
                info!(fleet.ref = %fleet, operation.id = stored.operation.id, catena.operation = id, outcome = "operation-found", "fleet {fleet}: a write whose answer was lost is found at Catena");
                self.followed(changed).await;
                Ok(())
            }
            // Somebody else's meanwhile.
            Err(_owner) => self.note(stored, Looked::Answered).await,
        }
    }

    /// Whose those of Catena's are that somebody claimed.
    async fn claimed(&self, ids: Vec<String>) -> Result<BTreeMap<String, String>, StoreError> {
        let remotes = self.to.table.remotes(ids).await?.into_iter();
        Ok(remotes
            .filter_map(|(id, it)| Some((id, it.operation?)))
            .collect())
    }

    /// Takes in how an operation stands, and that it was looked at.
    async fn tell(&self, stored: &StoredOperation, told: &OperationTold) -> Result<(), Stop> {
        let heard = Heard::default().fold(told.said.clone());
        let change = |operation: &mut ::operations::Operation| {
            let now = self.at();
            operation.accept(&told.id, told.created_at, heard.clone(), now);
            operation.note(&Looked::Answered, self.to.policy, now);
        };
        self.change(stored, change).await
    }

    async fn note(&self, stored: &StoredOperation, looked: Looked) -> Result<(), Stop> {
        let change = |operation: &mut ::operations::Operation| {
            operation.note(&looked, self.to.policy, self.at());
        };
        self.change(stored, change).await
    }

    async fn change(
        &self,
        stored: &StoredOperation,
        change: impl Fn(&mut ::operations::Operation),
    ) -> Result<(), Stop> {
        let id = &stored.operation.id;
        let changed = self.to.change(id, Some(stored.clone()), change).await;
        match changed {
            Ok(changed) => self.followed(changed).await,
            Err(error) if error.is_lasting() => {
                error!(
                    operation.id = id,
                    cause = describe(&error),
                    outcome = "operation-unwritable",
                    "a write operation can't be written, so nobody looks at it for an hour"
                );
                if let Some(due) = stored.operation.due(self.to.policy) {
                    self.put_off(id, due.0).await?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn followed(&self, changed: Option<OperationChanged>) {
        self.seen.looked.fetch_add(1, Ordering::Relaxed);
        let Some(changed) = changed else {
            return;
        };
        if changed.before != changed.after && !changed.after.is_open() {
            self.seen.settled.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(fleet) = self.to.follow(&changed).await {
            self.nudge(&fleet).await;
        }
    }

    /// Has a fleet looked at whose connection's credentials failed.
    async fn nudge(&self, fleet: &FleetRef) {
        let task = TaskMessage {
            task: Task::fleet(fleet),
            delay: Duration::ZERO,
        };
        if let Err(error) = self.reconciler.tasks.send(&[task]).await {
            warn!(cause = describe(&error), "what is due waits for the sweep");
        }
    }

    /// A few questions at a time.
    async fn in_turn<F: Future<Output = Result<(), Stop>>>(
        &self,
        works: Vec<F>,
    ) -> Result<(), Stop> {
        self.in_turn_of(works, QUESTIONS_AT_ONCE).await
    }

    /// Some at a time, until one says stop: then no other begins, and those that did come to their end, so that no answer is asked for in vain.
    async fn in_turn_of<F: Future<Output = Result<(), Stop>>>(
        &self,
        works: Vec<F>,
        at_once: usize,
    ) -> Result<(), Stop> {
        let mut works = stream::iter(works).buffer_unordered(at_once);
        let mut stop = Ok(());
        while let Some(done) = works.next().await {
            if let Err(stopped) = done {
                self.seen.stopped.store(true, Ordering::Relaxed);
                stop = stop.and(Err(stopped));
            }
        }
        stop
    }

    fn called(&self) {
        self.seen.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn at(&self) -> Timestamp {
        timestamp((self.now)())
    }

    /// Looks last long, and others look at fleets meanwhile: what those are told about pauses counts here, too.
    async fn may_ask(&self) -> Result<(), Stop> {
        self.has_time()?;
        match self.reconciler.is_paused(self.now).await? {
            true => Err(Stop::Paused),
            false => Ok(()),
        }
    }

    fn has_time(&self) -> Result<(), Stop> {
        let left = self
            .deadline
            .saturating_duration_since(tokio::time::Instant::now());
        let goes_on = !self.seen.stopped.load(Ordering::Relaxed) && left > TIME_FOR_ALL;
        goes_on.then_some(()).ok_or(Stop::Time)
    }
}

/// What a question about an operation needs.
struct Asked<'a> {
    fleet: &'a str,
    connection: &'a str,
    /// When Catena made it, as far as it told.
    at: Timestamp,
}

impl<'a> Asked<'a> {
    fn of(stored: &'a StoredOperation) -> Self {
        let operation = &stored.operation;
        Self {
            fleet: operation.asked.fleet.as_str(),
            connection: &operation.asked.connection,
            at: operation.created_at.unwrap_or(operation.called_at),
        }
    }
}

/// Operations that are looked at together, so that lists are worth their pages.
const MOST_AT_ONCE: usize = 1_000;
/// Operations that are read at a time.
const MOST_READ: usize = 100;
/// Calls in a row that weren't answered: the next ones wouldn't be either.
const MOST_FAILURES: usize = 4;
/// For one call and another attempt.
const TIME_FOR_ONE: Duration = Duration::from_secs(13);
/// What can't be read or written is tried again after this.
const PUT_OFF_MS: i64 = 60 * 60 * 1000;
/// Rate limits are unknown, so concurrency is modest (contract 7, 29).
const QUESTIONS_AT_ONCE: usize = 4;
/// Of the table.
const WRITES_AT_ONCE: usize = 16;
/// Operations of one connection and resource in the minutes of a search: more are no list to find anything in.
const MOST_LISTED: usize = 1_500;
/// How far Catena's clock may be from ours.
const MARGIN_MS: i64 = 60 * 1000;
/// However short a policy's waits are, and where the moments are Catena's.
const SHORTEST_MARGIN_MS: i64 = 1_000;
/// As long as the function may run (template): a lease bounds a crash and nothing else.
const LEASE_MS: i64 = 90 * 1000;

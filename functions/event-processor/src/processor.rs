//! A batch of messages becomes writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use catena::{Envelope, Event};
use fleet::{FleetRef, Timestamp};
use futures_util::{StreamExt, stream};
use queue::{Delay, EventsQueue};
use startup::{Env, SettingError};
use store::{Commit, StoreError, StoredRecord, Table};
use time::OffsetDateTime;
use tracing::{error, info, warn};

use crate::{
    Translation,
    batch::{self, Outcome, Progress, Received, Work},
    guard::{Panicked, guarded, guarded_async},
    routing::{self, CONCURRENCY, Routed},
    translate,
};

/// Turns one record of an event into what it says.
pub type Translate = fn(&Event, &Envelope, usize) -> Translation;

/// What a processor can be told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a message waits after its first failure; it doubles from there.
    pub backoff: Duration,
    /// How long it waits at most.
    pub longest_backoff: Duration,
    /// How long a message that can't be processed is kept.
    pub quarantine_days: u32,
    /// After this long a batch's unfinished messages are given back, before Lambda ends the function.
    pub deadline: Duration,
}

impl Settings {
    /// Reads `BACKOFF_BASE_SECONDS` (2), `BACKOFF_MAX_SECONDS` (300), `QUARANTINE_DAYS` (30) and `DEADLINE_SECONDS` (25).
    pub fn read(env: &Env) -> Result<Self, SettingError> {
        let seconds = |key, default| {
            let seconds = env.or(key, default, "a number of seconds")?;
            Ok(Duration::from_secs(seconds))
        };
        Ok(Self {
            backoff: seconds("BACKOFF_BASE_SECONDS", 2)?,
            longest_backoff: seconds("BACKOFF_MAX_SECONDS", 300)?,
            quarantine_days: env.or("QUARANTINE_DAYS", 30, "a number of days")?,
            deadline: seconds("DEADLINE_SECONDS", 25)?,
        })
    }
}

/// Processes batches of the events queue.
#[derive(Clone, Debug)]
pub struct Processor {
    table: Table,
    queue: EventsQueue,
    settings: Settings,
    translate: Translate,
}

impl Processor {
    /// A processor for a table and the queue whose batches it gets.
    pub fn new(table: Table, queue: EventsQueue, settings: Settings) -> Self {
        Self {
            table,
            queue,
            settings,
            translate,
        }
    }

    /// The same with another translation. For tests of what a failing one harms.
    #[must_use]
    pub fn with_translation(self, translate: Translate) -> Self {
        Self { translate, ..self }
    }

    /// Processes a batch and reports the messages that have to come again, put off by how often they came already.
    pub async fn handle(&self, event: SqsEvent, now: fn() -> OffsetDateTime) -> SqsBatchResponse {
        let messages: Vec<Received> = event
            .records
            .into_iter()
            .filter_map(Received::new)
            .collect();
        let mut progress: Vec<Progress> = messages.iter().map(|_| Progress::default()).collect();
        let deadline = tokio::time::Instant::now() + self.settings.deadline;
        for batch in batches(&messages) {
            let process = self.process(&messages, &batch, &mut progress, now);
            let process = tokio::time::timeout_at(deadline, process);
            let unfinished = match guarded_async(process).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => describe(&error),
                Ok(Err(_elapsed)) => "the function's deadline was reached".to_owned(),
                Err(panicked) => panicked.to_string(),
            };
            for index in batch {
                if !progress[index].settled {
                    progress[index].retry(unfinished.clone());
                }
            }
        }
        for (message, progress) in messages.iter().zip(&progress) {
            log(message, progress, now());
        }
        self.give_back(&messages, &progress).await
    }

    /// Processes messages together. What isn't settled when it returns an error has to come again.
    async fn process(
        &self,
        messages: &[Received],
        batch: &[usize],
        progress: &mut [Progress],
        now: fn() -> OffsetDateTime,
    ) -> Result<(), StoreError> {
        let mut works = Vec::new();
        let mut aside = Vec::new();
        for &index in batch {
            let body = &messages[index].body;
            let progress = &mut progress[index];
            match guarded(|| batch::read(index, body, self.translate, progress)) {
                Ok(Ok(contents)) => {
                    works.extend(contents.works);
                    aside.extend(contents.quarantined.into_iter().map(|it| (index, it)));
                }
                Ok(Err(later)) => progress.retry(later.to_string()),
                Err(panicked) => aside.push((index, panicked_on(body, panicked))),
            }
        }

        let redelivered = |owner: usize| messages[owner].times > 1;
        let Routed {
            to_fleets,
            parked,
            refused,
            unreadable,
        } = routing::route(&self.table, works, redelivered, self.translate).await?;
        for owner in unreadable {
            progress[owner].retry("a parked event that it set free can't be read");
        }
        for work in parked {
            progress[work.owner].worsen(Outcome::Parked);
        }
        for (work, reason) in &refused {
            let quarantined = store::Quarantined {
                digest: work.digest.clone(),
                reason: (*reason).to_owned(),
                event_name: None,
                body: Some(work.body.clone()),
            };
            aside.push((work.owner, quarantined));
        }

        aside.extend(self.write(&to_fleets, progress, now).await?);
        self.quarantine(aside, progress, now()).await;
        let refused = refused.iter().map(|(work, _)| work);
        let settled = to_fleets.iter().map(|(work, _)| work).chain(refused);
        self.unpark(settled, progress).await;
        for &index in batch {
            progress[index].settled = progress[index].outcome != Outcome::Retried;
        }
        Ok(())
    }

    /// Folds each fleet's works into its record: one read for all, one write per fleet with news. Returns what panicked.
    async fn write(
        &self,
        works: &[(Work, BTreeSet<FleetRef>)],
        progress: &mut [Progress],
        now: fn() -> OffsetDateTime,
    ) -> Result<Vec<(usize, store::Quarantined)>, StoreError> {
        let mut aside = Vec::new();
        let mut by_fleet: BTreeMap<FleetRef, Vec<&Work>> = BTreeMap::new();
        for (work, fleets) in works {
            for fleet in fleets {
                by_fleet.entry(fleet.clone()).or_default().push(work);
            }
        }
        let fleets = by_fleet.keys().cloned().collect();
        let mut records = self.table.records(&fleets).await?;
        let folds = by_fleet.iter().map(|(fleet, works)| {
            let record = records.remove(fleet);
            async move {
                let folded = self.fold_and_commit(fleet, works, record, now).await;
                (fleet, works, folded)
            }
        });
        let folds: Vec<_> = folds.collect();
        let mut folded = stream::iter(folds).buffer_unordered(CONCURRENCY);
        while let Some((fleet, works, folded)) = folded.next().await {
            match folded {
                Ok(news) => {
                    for (work, news) in works.iter().zip(news) {
                        let progress = &mut progress[work.owner];
                        if work.parked.is_some() {
                            info!(fleet.ref = %fleet, outcome = "unparked", "fleet {fleet}: a parked event found its fleet");
                        } else {
                            progress.fleet = Some(fleet.clone());
                        }
                        match news {
                            Ok(true) => progress.worsen(Outcome::Applied),
                            Ok(false) => {}
                            Err(panicked) => {
                                aside.push((work.owner, panicked_on(&work.body, panicked)));
                            }
                        }
                    }
                }
                Err(error) => {
                    let reason = describe(&error);
                    for work in works {
                        progress[work.owner].retry(reason.clone());
                    }
                }
            }
        }
        Ok(aside)
    }

    /// Returns for each work whether it was news.
    async fn fold_and_commit(
        &self,
        fleet: &FleetRef,
        works: &[&Work],
        mut record: Option<Result<StoredRecord, StoreError>>,
        now: fn() -> OffsetDateTime,
    ) -> Result<Vec<Result<bool, Panicked>>, StoreError> {
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                let pause = fastrand::u64(0..(10 << attempt.min(5)));
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let again = self.table.records(&BTreeSet::from([fleet.clone()])).await?;
                record = again.into_values().next();
            }
            let mut record = match record.take() {
                Some(record) => record?,
                None => StoredRecord::new(fleet.clone()),
            };
            let mut any = false;
            let mut news = Vec::with_capacity(works.len());
            for work in works {
                let before = record.facts.clone();
                let observations = &work.translation.observations;
                let fold = || {
                    let facts = before.clone();
                    observations.iter().fold(facts, |facts, it| facts.fold(it))
                };
                news.push(guarded(fold).map(|after| {
                    let changed = after != before;
                    record.facts = after;
                    any |= changed;
                    changed
                }));
            }
            if !any {
                return Ok(news);
            }
            let stage = record.facts.stage(Timestamp(millis(now())));
            match self.table.commit(&record, stage).await? {
                Commit::Written => return Ok(news),
                Commit::Conflict => {}
            }
        }
        Err(StoreError::Unavailable {
            operation: "write a record",
            source: format!("{COMMIT_ATTEMPTS} conflicts in a row").into(),
        })
    }

    /// Removes what was parked and is in its records, or quarantined, now. Left behind by a failure, it is found again by the message
    /// that freed it, which comes again.
    async fn unpark<'a>(&self, works: impl Iterator<Item = &'a Work>, progress: &mut [Progress]) {
        for work in works {
            if let Some(parked) = &work.parked
                && progress[work.owner].outcome != Outcome::Retried
                && let Err(error) = self.table.unpark(parked).await
            {
                progress[work.owner].retry(describe(&error));
            }
        }
    }

    /// Keeps what can't be processed. What is too large for that comes again until it rests in the dead-letter queue.
    async fn quarantine(
        &self,
        aside: Vec<(usize, store::Quarantined)>,
        progress: &mut [Progress],
        now: OffsetDateTime,
    ) {
        let days = self.settings.quarantine_days;
        let puts = aside.into_iter().map(|(owner, it)| async move {
            let longest = store::Quarantined::LONGEST_BODY;
            if it.body.as_ref().is_some_and(|body| body.len() > longest) {
                return (
                    owner,
                    Err(format!("{}; too large to be quarantined", it.reason)),
                );
            }
            let put = self.table.quarantine(&it, now, days).await;
            (
                owner,
                put.map(|()| it.reason).map_err(|error| describe(&error)),
            )
        });
        let mut puts = stream::iter(puts).buffer_unordered(CONCURRENCY);
        while let Some((owner, put)) = puts.next().await {
            match put {
                Ok(reason) => {
                    progress[owner].worsen(Outcome::Quarantined);
                    progress[owner].reason = Some(reason);
                }
                Err(reason) => progress[owner].retry(reason),
            }
        }
    }

    /// Reports the messages that have to come again, and puts them off.
    async fn give_back(&self, messages: &[Received], progress: &[Progress]) -> SqsBatchResponse {
        let unsettled = messages.iter().zip(progress);
        let unsettled: Vec<_> = unsettled.filter(|(_, it)| !it.settled).collect();
        let delays: Vec<Delay> = unsettled
            .iter()
            .map(|(message, _)| Delay {
                receipt_handle: message.receipt_handle.clone(),
                delay: self.settings.backoff_after(message.times),
            })
            .collect();
        // Else they come again at the queue's own pace.
        match tokio::time::timeout(PUT_OFF_WITHIN, self.queue.delay(&delays)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(cause = describe(&error), "messages were not put off"),
            Err(_elapsed) => warn!("messages were not put off in time"),
        }
        let failures = unsettled.into_iter().map(|(message, _)| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier.clone_from(&message.id);
            failure
        });
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures.collect();
        response
    }
}

impl Settings {
    /// Doubles with each reception, less up to a quarter so that a batch doesn't come back as one.
    fn backoff_after(&self, times: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << (times - 1).min(20));
        doubled
            .min(self.longest_backoff)
            .mul_f64(1.0 - 0.25 * fastrand::f64())
    }
}

/// Messages that came often run alone, each after the others: one that kills or stalls the program takes nobody along.
fn batches(messages: &[Received]) -> Vec<Vec<usize>> {
    let (alone, together): (Vec<usize>, Vec<usize>) =
        (0..messages.len()).partition(|index| messages[*index].times > TOGETHER_UNTIL);
    let alone = alone.into_iter().map(|index| vec![index]);
    std::iter::once(together).chain(alone).collect()
}

fn panicked_on(body: &str, panicked: Panicked) -> store::Quarantined {
    store::Quarantined {
        digest: batch::digest(&[body]),
        reason: panicked.to_string(),
        event_name: None,
        body: Some(body.to_owned()),
    }
}

fn log(message: &Received, progress: &Progress, now: OffsetDateTime) {
    let latency_ms = progress
        .received_at_millis
        .map(|received| millis(now) - received);
    let name = &progress.event_name;
    let outcome = progress.outcome.as_str();
    let fleet = progress.fleet.as_ref().map(FleetRef::as_str);
    let id = progress.delivery_id.as_deref();
    let reason = progress.reason.as_deref();
    let (times, late) = (message.times, progress.late);
    match progress.outcome {
        Outcome::NoNews | Outcome::Ignored | Outcome::Applied | Outcome::Parked => info!(
            outcome, event.name = name, delivery.id = id, fleet.ref = fleet, latency_ms, late, message.times = times,
            "{name}: {outcome}"
        ),
        Outcome::Retried => warn!(
            outcome, event.name = name, delivery.id = id, fleet.ref = fleet, reason, late, message.times = times,
            "{name}: comes again"
        ),
        Outcome::Quarantined => error!(
            outcome, event.name = name, delivery.id = id, fleet.ref = fleet, reason, late, message.times = times,
            "{name}: quarantined, look at it and release or drop it"
        ),
    }
}

/// An error and its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn millis(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1_000_000) as i64
}

/// Conflicts in a row until a fleet's messages come again. At eight writers at a time each of them gets through in fewer.
const COMMIT_ATTEMPTS: u32 = 12;
/// With the batch's own deadline, less than Lambda's time-out.
const PUT_OFF_WITHIN: Duration = Duration::from_secs(3);
/// Receptions that a message shares with others.
const TOGETHER_UNTIL: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        backoff: Duration::from_secs(2),
        longest_backoff: Duration::from_secs(300),
        quarantine_days: 30,
        deadline: Duration::from_secs(25),
    };

    fn received(times: u32) -> Received {
        Received {
            id: String::new(),
            receipt_handle: String::new(),
            body: String::new(),
            times,
        }
    }

    #[test]
    fn twenty_receptions_outlast_an_outage_of_three_quarters_of_an_hour() {
        let shortest: Duration = (1..20).map(|times| SETTINGS.backoff_after(times)).sum();
        assert!(shortest > Duration::from_secs(45 * 60), "{shortest:?}");
        assert!((1..100).all(|times| SETTINGS.backoff_after(times) <= SETTINGS.longest_backoff));
        assert!(SETTINGS.backoff_after(1) <= Duration::from_secs(2));
    }

    #[test]
    fn messages_that_came_often_run_alone() {
        let messages = [received(1), received(5), received(4), received(9)];
        assert_eq!(batches(&messages), [vec![0, 2], vec![1], vec![3]]);
        assert_eq!(batches(&[]), [vec![]; 1] as [Vec<usize>; 1]);
    }
}

//! A batch of messages becomes writes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use catena::{Envelope, Event};
use fleet::{FleetRef, Policy, Timestamp};
use futures_util::{StreamExt, stream};
use guard::{Panicked, guarded, guarded_async};
use queue::{Delay, EventsQueue, Task, TaskMessage, TasksQueue};
use startup::{Env, SettingError, describe};
use store::{HistoryDays, KeyChange, Operations, Records, StoreError, Table, Taken, TakenIn};
use time::OffsetDateTime;
use tracing::{error, info, warn};
use translation::{Translation, translate};

use crate::{
    batch::{self, Heard, Outcome, Progress, Received, Work},
    routing::{self, CONCURRENCY, Routed, Share},
};

/// Turns one record of an event into what it says.
pub type Translate = fn(&Event, &Envelope, usize) -> Translation;

/// What a processor can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a message waits after its first failure; it doubles from there.
    pub backoff: Duration,
    /// How long it waits at most.
    pub longest_backoff: Duration,
    /// How long a message that can't be processed is kept.
    pub quarantine_days: u32,
    /// How long what led to a record is kept.
    pub history_days: HistoryDays,
    /// The partner's rules.
    pub policy: Policy,
    /// After this long a batch's unfinished messages are given back, before Lambda ends the function.
    pub deadline: Duration,
}

impl Settings {
    /// Reads `BACKOFF_BASE_SECONDS` (2), `BACKOFF_MAX_SECONDS` (300), `QUARANTINE_DAYS` (30), `HISTORY_DAYS` (90),
    /// `DEADLINE_SECONDS` (25) and `POLICY` (a [`Policy`] as JSON).
    pub fn read(env: &Env) -> Result<Self, SettingError> {
        let seconds = |key, default| {
            let seconds = env.or(key, default, "a number of seconds")?;
            Ok(Duration::from_secs(seconds))
        };
        Ok(Self {
            history_days: env.or(
                "HISTORY_DAYS",
                HistoryDays::default(),
                HistoryDays::EXPECTED,
            )?,
            policy: env.json("POLICY", "a policy in JSON")?,
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
    tasks: TasksQueue,
    settings: Settings,
    translate: Translate,
}

impl Processor {
    /// A processor for a table and the queue whose batches it gets, which tells another queue what is to be looked at soon.
    pub fn new(table: Table, queue: EventsQueue, tasks: TasksQueue, settings: Settings) -> Self {
        Self {
            table,
            queue,
            tasks,
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
        let mut batches = batches(&messages);
        while let Some(batch) = batches.pop_front() {
            // Boxed, because the compiler gives up on futures that are nested deeper.
            let process = Box::pin(self.process(&messages, &batch, &mut progress, now));
            let process = tokio::time::timeout_at(deadline, process);
            let unfinished = match guarded_async(process).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) if error.is_lasting() && batch.len() > 1 => {
                    // One of them is to blame: each alone, so that it harms no other.
                    batches.extend(batch.into_iter().map(|index| vec![index]));
                    continue;
                }
                Ok(Ok(Err(error))) if error.is_lasting() => {
                    self.quarantine_whole(
                        &messages,
                        batch,
                        &describe(&error),
                        &mut progress,
                        now(),
                    )
                    .await;
                    continue;
                }
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
        let mut heard = Vec::new();
        let mut aside = Vec::new();
        let mut looks = BTreeSet::new();
        for &index in batch {
            let body = &messages[index].body;
            let progress = &mut progress[index];
            match guarded(|| batch::read(index, body, self.translate, progress)) {
                Ok(Ok(contents)) => {
                    looks.extend(contents.looks);
                    works.extend(contents.works);
                    heard.extend(contents.heard);
                    aside.extend(contents.quarantined.into_iter().map(|it| (index, it)));
                }
                Ok(Err(later)) => progress.retry(later.to_string()),
                Err(panicked) => aside.push((index, panicked_on(body, panicked))),
            }
        }

        let looks = looks.into_iter().map(|task| TaskMessage {
            task,
            delay: Duration::ZERO,
        });
        let mut tasks: Vec<TaskMessage> = looks.collect();

        let redelivered = |owner: usize| messages[owner].times > 1;
        let mut routed =
            routing::route(&self.table, works, redelivered, self.translate, now()).await?;
        for &owner in &routed.parked {
            progress[owner].worsen(Outcome::Parked);
        }
        for &owner in &routed.told {
            progress[owner].worsen(Outcome::Applied);
        }
        for (work, reason) in &routed.refused {
            aside.push((work.owner, quarantined(work, (*reason).to_owned())));
        }
        aside.extend(self.write(&mut routed, progress, &mut tasks, now()).await?);
        aside.extend(self.hear(heard, progress, &mut tasks, now).await?);
        self.nudge(&tasks).await;
        self.quarantine(aside, progress, now()).await;
        self.unpark(routed, progress).await;
        for &index in batch {
            progress[index].settled = progress[index].outcome != Outcome::Retried;
        }
        Ok(())
    }

    /// Folds each fleet's shares into its record. Returns what can't be.
    async fn write(
        &self,
        routed: &mut Routed,
        progress: &mut [Progress],
        tasks: &mut Vec<TaskMessage>,
        now: OffsetDateTime,
    ) -> Result<Vec<(usize, store::Quarantined)>, StoreError> {
        let to = Records {
            table: &self.table,
            policy: &self.settings.policy,
            history_days: self.settings.history_days,
            now,
        };
        let records = std::mem::take(&mut routed.records);
        let told = routed.shares.iter().map(|(fleet, shares)| {
            let shares: Vec<_> = shares.iter().map(Share::told).collect();
            (fleet.clone(), shares)
        });
        let mut aside = Vec::new();
        for (fleet, folded) in to.take_in(&told.collect(), records).await? {
            let shares = &routed.shares[&fleet];
            let news = match folded {
                Ok(done) => {
                    tasks.extend(done.nudge.map(|at| {
                        let delay =
                            Duration::from_millis(at.0.saturating_sub(millis(now)).max(0) as u64);
                        let task = Task::fleet(&fleet);
                        TaskMessage { task, delay }
                    }));
                    done.news
                }
                Err(error) => {
                    for Share { work, .. } in shares {
                        if error.is_lasting() {
                            aside.push((work.owner, quarantined(work, describe(&error))));
                        } else {
                            progress[work.owner].retry(describe(&error));
                        }
                    }
                    continue;
                }
            };
            for (
                Share {
                    work, known_before, ..
                },
                news,
            ) in shares.iter().zip(news)
            {
                let progress = &mut progress[work.owner];
                if !known_before && work.parked.is_some() {
                    info!(fleet.ref = %fleet, outcome = "unparked", "fleet {fleet}: a parked event found its fleet");
                } else if !known_before {
                    progress.fleet = Some(fleet.clone());
                }
                match news {
                    Ok(Taken::News) => progress.worsen(Outcome::Applied),
                    Ok(Taken::Ignored) => progress.worsen(Outcome::Ignored),
                    Ok(Taken::NoNews) => {}
                    Err(error) => aside.push((work.owner, quarantined(work, describe(&error)))),
                }
            }
        }
        Ok(aside)
    }

    /// Takes in what is said of write operations. Returns what can't be.
    async fn hear(
        &self,
        heard: Vec<Heard>,
        progress: &mut [Progress],
        tasks: &mut Vec<TaskMessage>,
        now: fn() -> OffsetDateTime,
    ) -> Result<Vec<(usize, store::Quarantined)>, StoreError> {
        if heard.is_empty() {
            return Ok(Vec::new());
        }
        let mut told: BTreeMap<String, (Option<Timestamp>, operations::Heard)> = BTreeMap::new();
        for Heard { told: one, .. } in &heard {
            let (created_at, all) = told.entry(one.id.clone()).or_default();
            *created_at = created_at.or(one.created_at);
            *all = std::mem::take(all).fold(one.said.clone());
        }
        let to = Operations {
            table: &self.table,
            policy: &self.settings.policy,
            history_days: self.settings.history_days,
            now,
        };
        let taken = to.take_in(&told).await?;
        for changed in taken.values() {
            if let Ok(TakenIn::News(changed)) = changed {
                let look = to.follow(changed).await.map(|fleet| TaskMessage {
                    task: Task::fleet(&fleet),
                    delay: Duration::ZERO,
                });
                tasks.extend(look);
            }
        }
        let mut aside = Vec::new();
        for Heard {
            owner,
            told,
            source,
            digest,
        } in heard
        {
            let progress = &mut progress[owner];
            match &taken[&told.id] {
                Ok(TakenIn::News(changed)) => {
                    progress.worsen(Outcome::Applied);
                    progress.fleet = Some(changed.stored.operation.asked.fleet.clone());
                }
                Ok(TakenIn::NoNews) => {}
                Ok(TakenIn::Foreign) => progress.worsen(Outcome::Ignored),
                Err(error) if error.is_lasting() => {
                    let quarantined = store::Quarantined {
                        digest,
                        reason: describe(error),
                        event_name: Some(source.event_name().to_owned()),
                        body: Some(source.body()),
                    };
                    aside.push((owner, quarantined));
                }
                Err(error) => progress.retry(describe(error)),
            }
        }
        Ok(aside)
    }

    /// Has looked at soon what is due soon. A nudge that is lost is healed by the sweep.
    async fn nudge(&self, tasks: &[TaskMessage]) {
        if tasks.is_empty() {
            return;
        }
        match tokio::time::timeout(NUDGE_WITHIN, self.tasks.send(tasks)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(cause = describe(&error), "what is due waits for the sweep"),
            Err(_elapsed) => warn!("what is due waits for the sweep: the tasks queue is slow"),
        }
    }

    /// Removes what was parked and is in its records, or quarantined, now. Left behind by a failure, it is found again under
    /// its key.
    async fn unpark(&self, routed: Routed, progress: &mut [Progress]) {
        let mut emptied = routed.emptied;
        let (done, left): (Vec<_>, Vec<_>) = routed
            .freed
            .iter()
            .partition(|(owner, _)| progress[*owner].outcome != Outcome::Retried);
        for (_, parked) in left {
            emptied.remove(&parked.key);
        }
        let parked: Vec<_> = done.iter().map(|(_, parked)| parked).collect();
        if parked.is_empty() && emptied.is_empty() {
            return;
        }
        if let Err(error) = self.table.unpark(&parked).await {
            for (owner, _) in done {
                progress[*owner].retry(describe(&error));
            }
            return;
        }
        for key in emptied {
            let waiting = Some(false);
            let change = KeyChange {
                waiting,
                ..KeyChange::default()
            };
            if let Err(error) = self.table.change(&key, &change).await {
                warn!(
                    cause = describe(&error),
                    "a key is looked at once more, because what it says of waiting events stays"
                );
            }
        }
    }

    /// Keeps messages that the table will never take apart.
    async fn quarantine_whole(
        &self,
        messages: &[Received],
        batch: Vec<usize>,
        reason: &str,
        progress: &mut [Progress],
        now: OffsetDateTime,
    ) {
        let aside = batch.iter().map(|&index| {
            let body = messages[index].body.as_str();
            let quarantined = store::Quarantined {
                digest: batch::digest(&[body]),
                reason: reason.to_owned(),
                event_name: Some(progress[index].event_name.clone()),
                body: Some(body.to_owned()),
            };
            (index, quarantined)
        });
        self.quarantine(aside.collect(), progress, now).await;
        for index in batch {
            progress[index].settled = progress[index].outcome != Outcome::Retried;
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
fn batches(messages: &[Received]) -> VecDeque<Vec<usize>> {
    let (alone, together): (Vec<usize>, Vec<usize>) =
        (0..messages.len()).partition(|index| messages[*index].times > TOGETHER_UNTIL);
    let alone = alone.into_iter().map(|index| vec![index]);
    std::iter::once(together).chain(alone).collect()
}

fn quarantined(work: &Work, reason: String) -> store::Quarantined {
    store::Quarantined {
        digest: work.digest.clone(),
        reason,
        event_name: Some(work.source.event_name().to_owned()),
        body: Some(work.source.body()),
    }
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

fn millis(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1_000_000) as i64
}

/// So short that what was written is reported in time.
const NUDGE_WITHIN: Duration = Duration::from_secs(2);
/// With the batch's own deadline, less than Lambda's time-out.
const PUT_OFF_WITHIN: Duration = Duration::from_secs(3);
/// Receptions that a message shares with others.
const TOGETHER_UNTIL: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> Result<Settings, SettingError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::read(&Env::from_vars(vars.iter().map(owned)))
    }

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
        let settings = settings(&[]).unwrap();
        let shortest: Duration = (1..20).map(|times| settings.backoff_after(times)).sum();
        assert!(shortest > Duration::from_secs(45 * 60), "{shortest:?}");
        assert!((1..100).all(|times| settings.backoff_after(times) <= settings.longest_backoff));
        assert!(settings.backoff_after(1) <= Duration::from_secs(2));
    }

    #[test]
    fn settings_that_would_lose_something_are_refused() {
        for (key, value) in [
            ("HISTORY_DAYS", "14"),
            ("POLICY", "{"),
            ("POLICY", r#"{"provisional":1}"#),
        ] {
            let error = settings(&[(key, value)]).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        let policy = settings(&[("POLICY", r#"{"provisional_days":30}"#)]);
        let days = policy.unwrap().policy.provisional_days;
        assert_eq!(days, fleet::Days::new(30));
    }

    #[test]
    fn messages_that_came_often_run_alone() {
        let messages = [received(1), received(5), received(4), received(9)];
        assert_eq!(batches(&messages), [vec![0, 2], vec![1], vec![3]]);
        assert_eq!(batches(&[]), [Vec::<usize>::new()]);
    }
}

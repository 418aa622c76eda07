//! What invokes the function, and what it has at hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use catena::Instant;
use catena_client::Client;
use fleet::{FleetRef, Observation, Policy, Timestamp};
use futures_util::{StreamExt, stream};
use lambda_runtime::Error;
use queue::{EventsQueue, LONGEST_TOLD, Message, NotQueued, Task, TasksQueue, Told};
use serde_json::{Value, json};
use startup::{Env, SettingError, describe};
use store::{HistoryDays, Key, StoreError, Table, timestamp};
use time::OffsetDateTime;
use tracing::{error, warn};

use crate::ask::TIME_FOR_ALL;

/// What a reconciler can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The partner's rules.
    pub policy: Policy,
    /// How long write operations are kept.
    pub history_days: HistoryDays,
    /// After this long a batch's unfinished tasks are left to the next sweep, before Lambda ends the function.
    pub deadline: Duration,
}

impl Settings {
    /// Reads `POLICY` (a [`Policy`] as JSON), `HISTORY_DAYS` (90) and `TASKS_DEADLINE_SECONDS` (50).
    pub fn read(env: &Env) -> Result<Self, SettingError> {
        let deadline = env.or("TASKS_DEADLINE_SECONDS", 50, "a number of seconds")?;
        Ok(Self {
            policy: env.json("POLICY", "a policy in JSON")?,
            history_days: env.or(
                "HISTORY_DAYS",
                HistoryDays::default(),
                HistoryDays::EXPECTED,
            )?,
            deadline: Duration::from_secs(deadline),
        })
    }
}

/// Looks at Catena.
#[derive(Clone, Debug)]
pub struct Reconciler {
    pub(crate) table: Table,
    pub(crate) catena: Client,
    events: EventsQueue,
    pub(crate) tasks: TasksQueue,
    pub(crate) settings: Settings,
}

/// Why a task isn't done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undone {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotQueued(#[from] NotQueued),
}

/// The wall clock.
pub(crate) type Clock = fn() -> OffsetDateTime;

impl Reconciler {
    /// A reconciler for a table, with what it asks and tells.
    pub fn new(
        table: Table,
        catena: Client,
        events: EventsQueue,
        tasks: TasksQueue,
        settings: Settings,
    ) -> Self {
        Self {
            table,
            catena,
            events,
            tasks,
            settings,
        }
    }

    /// Works off a batch of the tasks queue; anything else that invokes the function is the schedule, and asks for a sweep.
    pub async fn handle(&self, event: Value, now: Clock) -> Result<Value, Error> {
        if event.get("Records").is_none() {
            return Ok(json!(self.sweep(now).await?));
        }
        let batch: SqsEvent = serde_json::from_value(event)?;
        Ok(serde_json::to_value(self.work(batch, now).await)?)
    }

    /// Works off a batch of tasks, a few at a time, and reports those that have to come again: they couldn't be read, or neither
    /// read nor written down what they are about. A task whose fleet Catena didn't tell of is done: the fleet is due again later.
    pub async fn work(&self, batch: SqsEvent, now: Clock) -> SqsBatchResponse {
        let (mut messages, mut failed) = read(batch.records);
        let tasks: Vec<Task> = messages.keys().cloned().collect();
        let deadline = tokio::time::Instant::now() + self.settings.deadline;
        for task in self.undone(tasks, now, deadline).await {
            failed.extend(messages.remove(&task).into_iter().flatten());
        }
        let failures = failed.into_iter().map(|id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        });
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures.collect();
        response
    }

    /// Works off tasks; returns those that couldn't be.
    async fn undone(
        &self,
        tasks: Vec<Task>,
        now: Clock,
        deadline: tokio::time::Instant,
    ) -> Vec<Task> {
        let fleets = tasks.iter().filter_map(|task| match task {
            Task::Fleet(fleet) => FleetRef::parse(fleet),
            _ => None,
        });
        let fleets: BTreeSet<FleetRef> = fleets.collect();
        let found = match fleets.is_empty() {
            true => Ok(store::Found::default()),
            false => self.table.look_up(&BTreeSet::new(), &fleets).await,
        };
        let mut records = match found {
            Ok(found) => found.records,
            Err(error) => {
                warn!(
                    outcome = "tasks-retried",
                    cause = describe(&error),
                    "tasks come again"
                );
                return tasks;
            }
        };
        let works = tasks.into_iter().map(|task| {
            let record = match &task {
                Task::Fleet(fleet) => FleetRef::parse(fleet).and_then(|it| records.remove(&it)),
                _ => None,
            };
            let work = async move {
                if deadline.saturating_duration_since(tokio::time::Instant::now()) < TIME_FOR_ALL {
                    // It stays due, and the next sweep finds it.
                    return Ok(());
                }
                match &task {
                    Task::Fleet(_) => match record {
                        Some(Ok(stored)) => self.look(stored, now).await,
                        Some(Err(error)) => Err(error.into()),
                        None => Ok(()),
                    },
                    // What they are for is due again: with the next sweep, and integration requests with the next poll of a fleet.
                    _ if self.is_paused(now).await.unwrap_or(true) => Ok(()),
                    Task::Parked(key) => match Key::parse(key) {
                        Some(key) => self.resolve(&key, now).await,
                        None => Ok(()),
                    },
                    Task::Compare => self.compare(now, deadline).await,
                    Task::Requests => self.look_at_requests(now).await,
                    Task::Operations => self.look_at_operations(now, deadline).await,
                    Task::Subscriptions => self.look_at_subscriptions(now, deadline).await,
                }
                .map_err(|error| (task, error))
            };
            tokio::time::timeout_at(deadline, work)
        });
        // Collected first, so that the closures' borrows end.
        let works: Vec<_> = works.collect();
        let done: Vec<_> = stream::iter(works)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut undone = Vec::new();
        for done in done {
            match done {
                Ok(Ok(())) => {}
                Ok(Err((task, error))) => {
                    warn!(
                        outcome = "task-retried",
                        ?task,
                        cause = describe(&error),
                        "a task comes again"
                    );
                    undone.push(task);
                }
                // Its lease ends, and the next sweep finds it.
                Err(_elapsed) => warn!(
                    outcome = "task-cut-off",
                    "a task was cut off by the deadline"
                ),
            }
        }
        undone
    }

    /// Whether Catena asks to be left alone, whoever was told.
    pub(crate) async fn is_paused(&self, now: Clock) -> Result<bool, StoreError> {
        let not_before = self.table.shared().await?.not_before;
        Ok(not_before.is_some_and(|at| timestamp(now()) < at))
    }

    /// Queues what Catena answered about a fleet. Nothing said means that a date passed.
    pub(crate) async fn tell(
        &self,
        fleet: &FleetRef,
        event: &str,
        observations: Vec<Observation>,
        now: Clock,
    ) -> Result<(), NotQueued> {
        let received_at = Instant::from(now());
        for observations in parts(observations, MOST_TOLD) {
            let answered = Told {
                fleet: fleet.clone(),
                event: event.to_owned(),
                observations,
            };
            match self
                .events
                .send(Message::answered(received_at, answered))
                .await
            {
                Ok(_) => {}
                // It never will fit: the rest doesn't wait for it.
                Err(NotQueued::OverLimit(over)) => {
                    error!(fleet.ref = %fleet, outcome = "answer-too-large", cause = %over, "fleet {fleet}: something that Catena says of it is too large");
                }
                Err(unavailable) => return Err(unavailable),
            }
        }
        Ok(())
    }

    /// Leaves Catena alone for as long as it asks to be left, whoever looks.
    pub(crate) async fn pause(&self, retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
        let asked = retry_after.unwrap_or(PAUSE).as_millis();
        let until = now.plus(
            i64::try_from(asked)
                .unwrap_or(i64::MAX)
                .min(LONGEST_PAUSE_MS),
        );
        warn!(
            outcome = "rate-limited",
            pause.seconds = (until.0 - now.0) / 1000,
            "Catena asks to be left alone for a while"
        );
        if let Err(error) = self.table.pause_until(until).await {
            warn!(
                cause = describe(&error),
                "others don't know that Catena asks to be left alone"
            );
        }
        until
    }
}

/// The tasks in a batch, each with the messages that ask for it, and the messages that can't be read.
fn read(batch: Vec<SqsMessage>) -> (BTreeMap<Task, Vec<String>>, Vec<String>) {
    let mut messages: BTreeMap<Task, Vec<String>> = BTreeMap::new();
    let mut failed = Vec::new();
    for message in batch {
        let SqsMessage {
            message_id: Some(id),
            body,
            ..
        } = message
        else {
            continue;
        };
        match Task::read(body.as_deref().unwrap_or_default()) {
            Ok(task) => messages.entry(task).or_default().push(id),
            Err(unreadable) => {
                error!(outcome = "unreadable-task", message.id = id, "{unreadable}");
                failed.push(id);
            }
        }
    }
    (messages, failed)
}

/// What is said in parts of about `limit` bytes, in its order; one part at least.
fn parts(observations: Vec<Observation>, limit: usize) -> Vec<Vec<Observation>> {
    let mut parts = vec![Vec::new()];
    let mut filled = 0;
    for said in observations {
        let bytes = serde_json::to_string(&said).map_or(0, |text| text.len());
        if filled > 0 && filled + bytes > limit {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(said);
        }
    }
    parts
}

/// Bytes of observations in a message, less than any message may have.
const MOST_TOLD: usize = LONGEST_TOLD / 2;
/// A lease bounds a crash and nothing else, so it is no longer where looks wait for longer; where they wait for less, as in tests, it still
/// outlasts a look.
pub(crate) const SHORTEST_LEASE_MS: i64 = 25 * 1000;
/// Tasks at a time. Rate limits are unknown, so concurrency is modest (contract 7, 29).
const AT_ONCE: usize = 4;
/// After a 429 that doesn't say how long.
const PAUSE: Duration = Duration::from_secs(30);
/// However long Catena asks for: a mistake there must not stop everything for days.
const LONGEST_PAUSE_MS: i64 = 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use fleet::{At, Fact};

    use super::*;

    #[test]
    fn what_is_said_is_told_in_parts_that_fit() {
        let names = |lengths: &[usize]| -> Vec<Observation> {
            let name = |length: &usize| Observation {
                at: At(Timestamp(0), 0),
                fact: Fact::Name("x".repeat(*length)),
            };
            lengths.iter().map(name).collect()
        };
        let lengths =
            |all: Vec<Vec<Observation>>| -> Vec<usize> { all.iter().map(Vec::len).collect() };
        // A date that passed is told without observations.
        assert_eq!(parts(Vec::new(), 100), [vec![]]);
        assert_eq!(lengths(parts(names(&[10, 10, 10]), 1000)), [3]);
        assert_eq!(lengths(parts(names(&[110, 10, 10, 10]), 140)), [1, 3]);
        // One that fits nowhere is alone.
        assert_eq!(lengths(parts(names(&[10, 500, 10]), 100)), [1, 1, 1]);
        let many = names(&[50; 200]);
        assert_eq!(parts(many.clone(), 300).concat(), many);
        let whole = names(&[500; 1000]);
        for part in parts(whole, MOST_TOLD) {
            let told = Told {
                fleet: FleetRef::parse("FLEET-1").unwrap(),
                event: "catena.comparison".to_owned(),
                observations: part,
            };
            let message = Message::answered(Instant::from_millis(0), told);
            assert!(message.into_body().len() <= LONGEST_TOLD);
        }
    }

    #[test]
    fn a_task_that_is_there_twice_is_done_once() {
        let message = |id: &str, task: Task| {
            let mut message = SqsMessage::default();
            message.message_id = Some(id.to_owned());
            message.body = Some(task.into_body());
            message
        };
        let mut unreadable = SqsMessage::default();
        unreadable.message_id = Some("4".to_owned());
        unreadable.body = Some("{}".to_owned());
        let fleet = || Task::Fleet("FLEET-1".to_owned());
        let batch = vec![
            message("1", fleet()),
            message("2", Task::Compare),
            message("3", fleet()),
            unreadable,
            SqsMessage::default(),
        ];
        let (tasks, failed) = read(batch);
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|(task, ids)| (task, ids.join(",")))
            .collect();
        assert_eq!(
            tasks,
            [(Task::Compare, "2".to_owned()), (fleet(), "1,3".to_owned())]
        );
        assert_eq!(failed, ["4"]);
    }
}

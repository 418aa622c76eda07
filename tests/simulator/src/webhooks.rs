//! Catena's notification service: one subscription per event name, attempts, retries, dead letters,
//! replay.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    error::Error as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    delivery::Delivery,
    envelope::{Envelope, timestamp_text},
    faults::Faults,
    loss::{Loss, Losses},
    retry::RetryPolicy,
};

/// One delivery, as it went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sent {
    /// The envelope's id.
    pub event_id: Option<Uuid>,
    /// The event's name.
    pub event_name: String,
    /// The subscription.
    pub webhook_id: Uuid,
    /// The fleet concerned, where the simulator knows.
    pub fleet_ref: Option<String>,
    /// The faults asked for.
    pub faults: Faults,
    /// This delivery repeats one sent before.
    pub repeat: bool,
    /// Each attempt, in order.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub outcome: Outcome,
}

/// One HTTP request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// `X-Catena-Timestamp` as sent; empty when the delivery had none.
    pub timestamp: String,
    /// What came back.
    pub answer: Answer,
    /// How long it took, in milliseconds.
    pub response_ms: f64,
}

/// What came back from the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An HTTP status.
    Status(u16),
    /// Nothing within the time-out.
    TimedOut,
    /// No connection, or it broke.
    Unreachable(String),
}

/// How a delivery ended, as Catena sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered 2xx.
    Accepted,
    /// Answered anything else but 5xx: delivered in Catena's eyes, so never sent again (contract
    /// 6.4).
    Refused,
    /// Every attempt failed: it waits for a replay (contract 6.5).
    DeadLetter,
    /// A forged delivery that wasn't taken: nobody sends it again.
    Dropped,
    /// Never sent, and never will be ([`Loss`]).
    Lost,
}

/// Which dead letters to replay, and how. In JSON all fields are optional.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// One subscription, as Catena's own API has it (contract 6.1), or all of them.
    pub webhook_id: Option<Uuid>,
    /// Which time the replayed deliveries are signed with.
    pub timestamps: Timestamps,
}

/// The header timestamps of a replay: which of these Catena sends is unknown (contract 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timestamps {
    /// The time of the replay.
    #[default]
    Fresh,
    /// The time of the attempt that failed last.
    Original,
}

pub(crate) struct Webhooks {
    url: reqwest::Url,
    client: reqwest::Client,
    state: Mutex<State>,
}

struct State {
    retry: RetryPolicy,
    shared_key: String,
    keys: HashMap<Uuid, String>,
    dead_letters: BTreeMap<Uuid, Vec<DeadLetter>>,
    log: VecDeque<Sent>,
    losses: Losses,
}

struct DeadLetter {
    envelope: Envelope,
    timestamp: String,
}

impl Webhooks {
    pub(crate) fn new(url: reqwest::Url, client: reqwest::Client, key: String) -> Self {
        let state = State {
            retry: RetryPolicy::default(),
            shared_key: key,
            keys: HashMap::new(),
            dead_letters: BTreeMap::new(),
            log: VecDeque::new(),
            losses: Losses::default(),
        };
        Self {
            url,
            client,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn set_key(&self, webhook_id: Option<Uuid>, key: String) {
        let mut state = self.state();
        match webhook_id {
            Some(webhook_id) => {
                state.keys.insert(webhook_id, key);
            }
            None => {
                state.keys.clear();
                state.shared_key = key;
            }
        }
    }

    pub(crate) fn set_retry(&self, retry: RetryPolicy) {
        self.state().retry = retry;
    }

    pub(crate) fn set_loss(&self, loss: Loss) {
        self.state().losses.loss = loss;
    }

    pub(crate) fn lost(&self) -> BTreeMap<String, usize> {
        self.state().losses.by_name()
    }

    pub(crate) fn log(&self) -> Vec<Sent> {
        self.state().log.iter().cloned().collect()
    }

    pub(crate) fn dead_letters(&self) -> BTreeMap<Uuid, Vec<Envelope>> {
        let envelopes = |letters: &Vec<DeadLetter>| {
            letters
                .iter()
                .map(|letter| letter.envelope.clone())
                .collect()
        };
        self.state()
            .dead_letters
            .iter()
            .map(|(&id, letters)| (id, envelopes(letters)))
            .collect()
    }

    /// Delivers one event with its faults: two deliveries if one of them is `repeat`.
    pub(crate) async fn deliver(&self, envelope: &Envelope, faults: Faults) -> Vec<Sent> {
        let mut sent = vec![self.deliver_once(envelope, faults, false).await];
        if faults.repeat {
            let faults = Faults {
                delay: std::time::Duration::ZERO,
                corrupt: false,
                ..faults
            };
            sent.push(self.deliver_once(envelope, faults, true).await);
        }
        sent
    }

    pub(crate) async fn deliver_once(
        &self,
        envelope: &Envelope,
        faults: Faults,
        repeat: bool,
    ) -> Sent {
        if !faults.forged && self.state().losses.take(envelope) {
            return self.end(envelope, faults, repeat, Vec::new(), Outcome::Lost);
        }
        tokio::time::sleep(faults.delay).await;
        self.until_delivered(envelope, faults, repeat, None).await
    }

    pub(crate) async fn replay(&self, replay: Replay) -> Vec<Sent> {
        let letters: Vec<_> = {
            let mut state = self.state();
            match replay.webhook_id {
                Some(id) => state.dead_letters.remove(&id).unwrap_or_default(),
                None => std::mem::take(&mut state.dead_letters)
                    .into_values()
                    .flatten()
                    .collect(),
            }
        };
        let again = |letter: DeadLetter| async move {
            let timestamp = (replay.timestamps == Timestamps::Original).then_some(letter.timestamp);
            self.until_delivered(&letter.envelope, Faults::default(), true, timestamp)
                .await
        };
        stream::iter(letters)
            .map(again)
            .buffered(REPLAYS_AT_ONCE)
            .collect()
            .await
    }

    /// One request, no retries.
    pub(crate) async fn send(&self, delivery: Delivery) -> Attempt {
        let timestamp = delivery
            .headers
            .get("x-catena-timestamp")
            .and_then(|text| text.to_str().ok());
        let timestamp = timestamp.unwrap_or_default().to_owned();
        let timeout = self.state().retry.timeout;
        let request = self.client.post(self.url.clone()).timeout(timeout);
        let started = Instant::now();
        let answer = async {
            let response = request
                .headers(delivery.headers)
                .body(delivery.body)
                .send()
                .await?;
            let status = response.status().as_u16();
            response.bytes().await?;
            Ok(status)
        };
        let answer = match answer.await {
            Ok(status) => Answer::Status(status),
            Err(error) => no_answer(&error),
        };
        Attempt {
            timestamp,
            answer,
            response_ms: started.elapsed().as_secs_f64() * 1000.0,
        }
    }

    async fn until_delivered(
        &self,
        envelope: &Envelope,
        faults: Faults,
        repeat: bool,
        timestamp: Option<String>,
    ) -> Sent {
        let started = Instant::now();
        let mut attempts: Vec<Attempt> = Vec::new();
        let outcome = loop {
            let number = u32::try_from(attempts.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let timestamp = timestamp.clone().unwrap_or_else(|| {
                timestamp_text(OffsetDateTime::now_utc() - faults.late + faults.early)
            });
            let attempt = self
                .send(self.signed(&envelope.attempt(number), faults, &timestamp))
                .await;
            let outcome = outcome(&attempt.answer, faults.forged);
            attempts.push(attempt);
            if outcome != Outcome::DeadLetter {
                break outcome;
            }
            let retry = self.state().retry;
            match retry.wait(number, started.elapsed()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    self.bury(envelope, timestamp);
                    break outcome;
                }
            }
        };
        self.end(envelope, faults, repeat, attempts, outcome)
    }

    fn end(
        &self,
        envelope: &Envelope,
        faults: Faults,
        repeat: bool,
        attempts: Vec<Attempt>,
        outcome: Outcome,
    ) -> Sent {
        let sent = Sent {
            event_id: envelope.id,
            event_name: envelope.event_name.clone(),
            webhook_id: envelope.webhook_id,
            fleet_ref: envelope.fleet_ref.clone(),
            faults,
            repeat,
            attempts,
            outcome,
        };
        self.remember(sent.clone());
        sent
    }

    fn signed(&self, envelope: &Envelope, faults: Faults, timestamp: &str) -> Delivery {
        let key = self.key(envelope.webhook_id);
        match (
            faults.forged,
            faults.corrupt && envelope.delivery_attempt == 1,
        ) {
            (true, _) => Delivery::new(envelope, FOREIGN_KEY, timestamp),
            (false, true) => Delivery::corrupted(envelope, &key, timestamp),
            (false, false) => Delivery::new(envelope, &key, timestamp),
        }
    }

    fn key(&self, webhook_id: Uuid) -> String {
        let state = self.state();
        state
            .keys
            .get(&webhook_id)
            .unwrap_or(&state.shared_key)
            .clone()
    }

    fn bury(&self, envelope: &Envelope, timestamp: String) {
        let letter = DeadLetter {
            envelope: envelope.clone(),
            timestamp,
        };
        self.state()
            .dead_letters
            .entry(envelope.webhook_id)
            .or_default()
            .push(letter);
    }

    fn remember(&self, sent: Sent) {
        let log = &mut self.state().log;
        if log.len() == LOG_LENGTH {
            log.pop_front();
        }
        log.push_back(sent);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome(answer: &Answer, forged: bool) -> Outcome {
    match answer {
        Answer::Status(200..300) => Outcome::Accepted,
        Answer::Status(0..500 | 600..) => Outcome::Refused,
        Answer::Status(500..600) | Answer::TimedOut | Answer::Unreachable(_) if forged => {
            Outcome::Dropped
        }
        Answer::Status(500..600) | Answer::TimedOut | Answer::Unreachable(_) => Outcome::DeadLetter,
    }
}

fn no_answer(error: &reqwest::Error) -> Answer {
    if error.is_timeout() {
        return Answer::TimedOut;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.source() {
        Some(_) => Answer::Unreachable(cause.to_string()),
        None => Answer::Unreachable(error.to_string()),
    }
}

/// Not the key of any subscription.
const FOREIGN_KEY: &str = "a-key-that-nobody-gave-to-catena";
const REPLAYS_AT_ONCE: usize = 8;
/// The newest deliveries are kept, so that a long-running simulator stays small.
const LOG_LENGTH: usize = 100_000;

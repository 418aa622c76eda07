//! Catena's notification service: which subscriptions get an event, attempts, retries, dead letters,
//! replay.
//!
//! Until it is cleared, there is a standing subscription per event name: to the configured URL, unfiltered, without a
//! breaker, and unknown to the API.

mod outcome;
mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::{StreamExt as _, future::join_all, stream};
use reqwest::Url;
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::outcome::{Answer, Attempt, Outcome, Replay, Sent, Timestamps};
use self::{
    outcome::{no_answer, outcome},
    state::{DeadLetter, State, Target},
};
use crate::{
    announcer::Announcer,
    delivery::Delivery,
    envelope::{Envelope, timestamp_text},
    faults::Faults,
    loss::Loss,
    retry::RetryPolicy,
    subscriptions::{
        Filters, NewSubscription, SubscriptionError, SubscriptionStatus, SubscriptionTruth,
        Subscriptions,
    },
};

pub(crate) struct Webhooks {
    url: Url,
    client: reqwest::Client,
    pub(crate) announcer: Announcer,
    state: Mutex<State>,
}

impl Webhooks {
    /// Needs a Tokio runtime.
    pub(crate) fn new(url: Url, client: reqwest::Client, key: String) -> Self {
        Self {
            url,
            client,
            announcer: Announcer::new(),
            state: Mutex::new(State::new(key)),
        }
    }

    pub(crate) fn set_key(&self, webhook_id: Option<Uuid>, key: String) {
        let mut state = self.state();
        match webhook_id {
            Some(webhook_id) if state.subscriptions.set_secret(webhook_id, &key) => {}
            Some(webhook_id) => {
                state.keys.insert(webhook_id, key);
            }
            None => {
                state.subscriptions.set_all_secrets(&key);
                state.keys.clear();
                state.shared_key = key;
            }
        }
    }

    /// Reads or changes what was made.
    pub(crate) fn subscriptions<T>(&self, act: impl FnOnce(&mut Subscriptions) -> T) -> T {
        act(&mut self.state().subscriptions)
    }

    pub(crate) fn clear_standing(&self) {
        self.state().standing = false;
    }

    pub(crate) fn set_route(&self, from: &str, to: &str) {
        self.state().routes.insert(from.to_owned(), to.to_owned());
    }

    pub(crate) fn set_replay_timestamps(&self, timestamps: Timestamps) {
        self.state().replay_timestamps = timestamps;
    }

    pub(crate) fn truths(&self) -> Vec<SubscriptionTruth> {
        let state = self.state();
        let truths = state.subscriptions.all();
        truths.map(|it| it.truth(state.waiting(it.id))).collect()
    }

    /// How many dead letters a subscription has.
    pub(crate) fn waiting(&self, webhook_id: Uuid) -> usize {
        self.state().waiting(webhook_id)
    }

    /// What a deleted subscription had is gone.
    pub(crate) fn drop_dead_letters(&self, webhook_id: Uuid) {
        self.state().dead_letters.remove(&webhook_id);
    }

    /// A subscription that somebody else made, past the API. Emits nothing.
    pub(crate) fn create_elsewhere(
        &self,
        event_name: &str,
        url: &str,
        filters: Filters,
    ) -> Result<Uuid, SubscriptionError> {
        let parsed = Url::parse(url).ok();
        let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https"));
        let new = NewSubscription {
            event_name: event_name.to_owned(),
            url: parsed.ok_or_else(|| SubscriptionError::Url(url.to_owned()))?,
            filters,
            secret: None,
        };
        let now = OffsetDateTime::now_utc();
        Ok(self.subscriptions(|subscriptions| subscriptions.add(new, now).id))
    }

    /// What was made is what it was once.
    pub(crate) fn restore(&self, truths: &[SubscriptionTruth]) -> Result<(), SubscriptionError> {
        let mut state = self.state();
        state.subscriptions.restore(truths)?;
        state.dead_letters.clear();
        Ok(())
    }

    /// As if the breaker had tripped, or somebody else had called the API.
    pub(crate) fn become_status(
        self: &Arc<Self>,
        id: Uuid,
        status: SubscriptionStatus,
    ) -> Result<(), SubscriptionError> {
        let now = OffsetDateTime::now_utc();
        let event = self.subscriptions(|subscriptions| {
            let (_, event) = subscriptions.become_status(id, status, now)?;
            Some(event)
        });
        let event = event.ok_or(SubscriptionError::Unknown(id))?;
        self.announce(event.into_iter().collect());
        Ok(())
    }

    /// Delivers events in their order, in the background, unless they are held or none are emitted.
    pub(crate) fn announce(self: &Arc<Self>, events: Vec<Envelope>) {
        let events = self.announcer.admit(events);
        self.deliver_in_background(events);
    }

    /// Delivers what was held, and holds no more.
    pub(crate) fn release(self: &Arc<Self>) {
        let events = self.announcer.release();
        self.deliver_in_background(events);
    }

    fn deliver_in_background(self: &Arc<Self>, events: Vec<Envelope>) {
        if events.is_empty() {
            return;
        }
        let webhooks = Arc::clone(self);
        self.announcer.spawn(async move {
            for event in events {
                event.due().await;
                webhooks.deliver(&event, Faults::default()).await;
            }
        });
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

    /// Delivers one event with its faults to whoever gets it: two deliveries each if one of them is `repeat`.
    pub(crate) async fn deliver(
        self: &Arc<Self>,
        envelope: &Envelope,
        faults: Faults,
    ) -> Vec<Sent> {
        let mut sent = self.deliver_once(envelope, faults, false).await;
        if faults.repeat {
            let faults = Faults {
                delay: std::time::Duration::ZERO,
                corrupt: false,
                ..faults
            };
            sent.extend(self.deliver_once(envelope, faults, true).await);
        }
        sent
    }

    /// One delivery per subscription, all at the same time. The event has the same id in each: whether it has at Catena is
    /// unknown (contract 6.5).
    pub(crate) async fn deliver_once(
        self: &Arc<Self>,
        envelope: &Envelope,
        faults: Faults,
        repeat: bool,
    ) -> Vec<Sent> {
        if !faults.forged
            && let Some(lost) = self.lose(envelope, faults, repeat)
        {
            return lost;
        }
        tokio::time::sleep(faults.delay).await;
        let targets = self.state().targets(envelope);
        let deliveries = targets
            .into_iter()
            .map(|target| self.until_delivered(target, envelope, faults, repeat, None));
        join_all(deliveries).await
    }

    /// The deliveries that aren't made, if this event is lost.
    fn lose(&self, envelope: &Envelope, faults: Faults, repeat: bool) -> Option<Vec<Sent>> {
        let targets = {
            let mut state = self.state();
            let targets = state.targets(envelope);
            if targets.is_empty() || !state.losses.take(envelope) {
                return None;
            }
            targets
        };
        let lost = |target: Target| {
            let envelope = envelope.through(target.id());
            self.end(&envelope, faults, repeat, Vec::new(), Outcome::Lost)
        };
        Some(targets.into_iter().map(lost).collect())
    }

    pub(crate) async fn replay(self: &Arc<Self>, replay: Replay) -> Vec<Sent> {
        let letters = self.state().take_letters(replay.webhook_id);
        self.send_again(letters, replay.timestamps).await
    }

    /// Takes the dead letters at once, and sends them again in the background.
    pub(crate) fn replay_in_background(self: &Arc<Self>, webhook_id: Uuid) {
        let (letters, timestamps) = {
            let mut state = self.state();
            (
                state.take_letters(Some(webhook_id)),
                state.replay_timestamps,
            )
        };
        let webhooks = Arc::clone(self);
        self.announcer.spawn(async move {
            webhooks.send_again(letters, timestamps).await;
        });
    }

    async fn send_again(
        self: &Arc<Self>,
        letters: Vec<DeadLetter>,
        timestamps: Timestamps,
    ) -> Vec<Sent> {
        let again = |letter: DeadLetter| async move {
            let DeadLetter {
                envelope,
                timestamp,
            } = letter;
            let timestamp = (timestamps == Timestamps::Original).then_some(timestamp);
            let target = self.state().target(envelope.webhook_id);
            self.until_delivered(target, &envelope, Faults::default(), true, timestamp)
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
        self.post(self.url.clone(), delivery).await
    }

    async fn post(&self, url: Url, delivery: Delivery) -> Attempt {
        let timestamp = delivery
            .headers
            .get("x-catena-timestamp")
            .and_then(|text| text.to_str().ok());
        let timestamp = timestamp.unwrap_or_default().to_owned();
        let timeout = self.state().retry.timeout;
        let request = self.client.post(url).timeout(timeout);
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
        self: &Arc<Self>,
        target: Target,
        envelope: &Envelope,
        faults: Faults,
        repeat: bool,
        timestamp: Option<String>,
    ) -> Sent {
        let envelope = &envelope.through(target.id());
        let started = Instant::now();
        let mut attempts: Vec<Attempt> = Vec::new();
        let outcome = loop {
            let number = u32::try_from(attempts.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let timestamp = timestamp.clone().unwrap_or_else(|| {
                timestamp_text(OffsetDateTime::now_utc() - faults.late + faults.early)
            });
            // It may have gone stale since the last attempt, by another event.
            if self.is_stale(target) {
                if faults.forged {
                    break Outcome::Dropped;
                }
                self.bury(target, envelope, timestamp);
                break Outcome::DeadLetter;
            }
            let (url, key) = self.state().endpoint(target, &self.url);
            let delivery = signed(&envelope.attempt(number), faults, &key, &timestamp);
            let attempt = self.post(url, delivery).await;
            let outcome = outcome(&attempt.answer, faults.forged);
            if !faults.forged {
                self.note_attempt(target, envelope, &attempt);
            }
            attempts.push(attempt);
            if outcome != Outcome::DeadLetter {
                break outcome;
            }
            let retry = self.state().retry;
            let wait = retry.wait(number, started.elapsed());
            match wait.filter(|_| !self.is_stale(target)) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    self.bury(target, envelope, timestamp);
                    break outcome;
                }
            }
        };
        if !faults.forged && !attempts.is_empty() {
            self.note_end(target, outcome);
        }
        self.end(envelope, faults, repeat, attempts, outcome)
    }

    fn note_attempt(self: &Arc<Self>, target: Target, envelope: &Envelope, attempt: &Attempt) {
        if let Target::Made(id) = target {
            let now = OffsetDateTime::now_utc();
            let staled = self.subscriptions(|it| it.attempted(id, envelope, attempt, now));
            self.announce(staled.into_iter().collect());
        }
    }

    fn note_end(self: &Arc<Self>, target: Target, outcome: Outcome) {
        if let Target::Made(id) = target {
            let now = OffsetDateTime::now_utc();
            let success = outcome == Outcome::Accepted;
            let delivered = success || outcome == Outcome::Refused;
            let staled = self.subscriptions(|it| it.ended(id, success, delivered, now));
            self.announce(staled.into_iter().collect());
        }
    }

    fn is_stale(&self, target: Target) -> bool {
        match target {
            Target::Standing(_) => false,
            Target::Made(id) => self.subscriptions(|it| {
                let found = it.get(id);
                found.is_some_and(|found| found.status == SubscriptionStatus::Stale)
            }),
        }
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

    /// What a deleted subscription couldn't deliver is gone.
    fn bury(&self, target: Target, envelope: &Envelope, timestamp: String) {
        let mut state = self.state();
        if let Target::Made(id) = target
            && state.subscriptions.get(id).is_none()
        {
            return;
        }
        let letter = DeadLetter {
            envelope: envelope.clone(),
            timestamp,
        };
        let letters = state.dead_letters.entry(target.id()).or_default();
        letters.push(letter);
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

fn signed(envelope: &Envelope, faults: Faults, key: &str, timestamp: &str) -> Delivery {
    match (
        faults.forged,
        faults.corrupt && envelope.delivery_attempt == 1,
    ) {
        (true, _) => Delivery::new(envelope, FOREIGN_KEY, timestamp),
        (false, true) => Delivery::corrupted(envelope, key, timestamp),
        (false, false) => Delivery::new(envelope, key, timestamp),
    }
}

/// Not the key of any subscription.
const FOREIGN_KEY: &str = "a-key-that-nobody-gave-to-catena";
const REPLAYS_AT_ONCE: usize = 8;
/// The newest deliveries are kept, so that a long-running simulator stays small.
const LOG_LENGTH: usize = 100_000;

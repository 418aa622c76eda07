//! Webhook subscriptions (contract 6.1): what each has, and what changes it.

mod breaker;
mod catalogue;
mod filters;
mod history;
mod schemas;

use std::collections::{BTreeSet, HashMap};

use reqwest::Url;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use self::{breaker::Health, history::History};
pub use self::{
    breaker::{Breaker, BreakerRules, Counted},
    filters::Filters,
};
pub(crate) use self::{
    catalogue::{expand, is_known},
    history::Wanted,
    schemas::Schemas,
};
use crate::{
    envelope::{Envelope, envelope, microsecond_text, uuid_v4, uuid_v7},
    webhooks::Attempt,
};

/// What the API does about subscriptions where the contract leaves it open. In JSON all fields are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriptionRules {
    /// Names of events that are refused although they exist, with a 422; a catch-all goes without them. The real API may
    /// refuse `tsp.requested` (contract 8).
    pub refused_events: BTreeSet<String>,
    /// What comes of a catch-all if some of its subscriptions exist.
    pub wildcard_duplicate: WildcardDuplicate,
    /// Whether a URL must be HTTPS, as the contract has it. Not unless told, because the simulator speaks no TLS (but see
    /// [`Simulator::set_route`](crate::Simulator::set_route)).
    pub https_only: bool,
}

/// What comes of a catch-all if some of its subscriptions exist: unknown of Catena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WildcardDuplicate {
    /// 409, and nothing is created.
    #[default]
    RefuseAll,
    /// Those that are missing are created, and only they are answered; 409 if none is missing.
    CreateMissing,
}

/// A subscription's status (contract 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Events are delivered.
    Active,
    /// Events aren't delivered, and lost: whether they can be had later is unknown.
    Paused,
    /// The breaker stopped it. Events wait among the dead letters (contract 6.6).
    Stale,
    /// The API doesn't know it any more.
    Deleted,
}

impl SubscriptionStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Stale => "stale",
            Self::Deleted => "deleted",
        }
    }
}

/// A subscription as it is stored, nothing masked. Its `Debug` shows the secret: it is for tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionTruth {
    /// `X-Webhook-ID`, and `webhook_id` of its envelopes.
    pub id: Uuid,
    /// The event.
    pub event_name: String,
    /// Where it delivers to.
    pub url: String,
    /// Whose events it gets.
    pub filters: Filters,
    /// What it signs with.
    pub secret: String,
    /// Its status, `deleted` included.
    pub status: SubscriptionStatus,
    /// What waits for a replay.
    pub dead_letters: usize,
    /// When it was created.
    #[serde(serialize_with = "as_text")]
    pub created_at: OffsetDateTime,
}

/// Why nothing happens to a subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Never made, or deleted.
    #[error("subscription {0}: unknown")]
    Unknown(Uuid),
    /// Nothing can be sent there.
    #[error("URL `{0}`: give one that starts with http:// or https://")]
    Url(String),
}

/// There is such a subscription already (contract 6.1: "unique by (event, url, filters)").
#[derive(Debug)]
pub(crate) struct Duplicate;

/// What the partner asks for.
pub(crate) struct NewSubscription {
    pub(crate) event_name: String,
    pub(crate) url: Url,
    pub(crate) filters: Filters,
    /// Generated if there is none.
    pub(crate) secret: Option<String>,
}

/// What changes about a subscription; `None` stays as it is.
#[derive(Default)]
pub(crate) struct SubscriptionChange {
    pub(crate) url: Option<Url>,
    pub(crate) filters: Option<Filters>,
    pub(crate) secret: Option<String>,
}

/// All subscriptions that were made, in the order of their creation: their places make the pages.
#[derive(Default)]
pub(crate) struct Subscriptions {
    pub(crate) rules: SubscriptionRules,
    pub(crate) breaker: BreakerRules,
    pub(crate) schemas: Schemas,
    all: Vec<Subscription>,
    by_id: HashMap<Uuid, usize>,
}

pub(crate) struct Subscription {
    pub(crate) id: Uuid,
    pub(crate) event_name: String,
    pub(crate) url: Url,
    filters: Filters,
    pub(crate) secret: String,
    pub(crate) status: SubscriptionStatus,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    health: Health,
    history: History,
}

impl Subscriptions {
    /// One subscription, whatever others there are.
    pub(crate) fn add(&mut self, new: NewSubscription, now: OffsetDateTime) -> &Subscription {
        let NewSubscription {
            event_name,
            url,
            filters,
            secret,
        } = new;
        let id = uuid_v7(now);
        let place = self.all.len();
        self.by_id.insert(id, place);
        self.all.push(Subscription {
            id,
            event_name,
            url,
            filters: filters.normal(),
            secret: secret.unwrap_or_else(generated),
            status: SubscriptionStatus::Active,
            created_at: now,
            updated_at: now,
            health: Health::new(now),
            history: History::default(),
        });
        &self.all[place]
    }

    /// Makes them exactly these, with nothing noted yet; rules and schemas stay.
    pub(crate) fn restore(
        &mut self,
        truths: &[SubscriptionTruth],
    ) -> Result<(), SubscriptionError> {
        let restored = truths.iter().map(Subscription::of);
        self.all = restored.collect::<Result<_, _>>()?;
        let ids = self.all.iter().map(|it| it.id);
        self.by_id = ids.enumerate().map(|(place, id)| (id, place)).collect();
        Ok(())
    }

    /// Whether one that isn't deleted has this event, URL and filters.
    pub(crate) fn has(&self, event_name: &str, url: &Url, filters: &Filters) -> bool {
        let filters = filters.clone().normal();
        let mut others = self.undeleted();
        others.any(|(_, it)| it.event_name == event_name && it.url == *url && it.filters == filters)
    }

    /// Those that the API knows, each with its place.
    pub(crate) fn undeleted(&self) -> impl Iterator<Item = (usize, &Subscription)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, it)| it.status != SubscriptionStatus::Deleted)
    }

    /// All, deleted ones included.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.all.iter()
    }

    /// One that the API knows.
    pub(crate) fn get(&self, id: Uuid) -> Option<&Subscription> {
        let found = &self.all[*self.by_id.get(&id)?];
        (found.status != SubscriptionStatus::Deleted).then_some(found)
    }

    fn get_mut(&mut self, id: Uuid) -> Option<&mut Subscription> {
        let found = &mut self.all[*self.by_id.get(&id)?];
        (found.status != SubscriptionStatus::Deleted).then_some(found)
    }

    /// The same, even if it is deleted by now.
    pub(crate) fn ever(&self, id: Uuid) -> Option<&Subscription> {
        self.by_id.get(&id).map(|&place| &self.all[place])
    }

    /// Those that get this event: active ones, and stale ones, whose events wait.
    pub(crate) fn of(&self, event: &Envelope) -> impl Iterator<Item = Uuid> {
        let gets = |it: &&Subscription| {
            matches!(
                it.status,
                SubscriptionStatus::Active | SubscriptionStatus::Stale
            ) && it.event_name == event.event_name
                && it.filters.admit(event)
        };
        self.all.iter().filter(gets).map(|it| it.id)
    }

    /// Changes at once what the change has. Answers none if there is no such subscription.
    ///
    /// # Errors
    ///
    /// If another one has this event, URL and filters.
    pub(crate) fn change(
        &mut self,
        id: Uuid,
        change: SubscriptionChange,
        now: OffsetDateTime,
    ) -> Result<Option<&Subscription>, Duplicate> {
        let Some(found) = self.get(id) else {
            return Ok(None);
        };
        let url = change.url.unwrap_or_else(|| found.url.clone());
        let filters = change.filters.unwrap_or_else(|| found.filters.clone());
        let filters = filters.normal();
        let moves = url != found.url || filters != found.filters;
        if moves && self.has(&found.event_name, &url, &filters) {
            return Err(Duplicate);
        }
        let Some(found) = self.get_mut(id) else {
            return Ok(None);
        };
        found.url = url;
        found.filters = filters;
        if let Some(secret) = change.secret {
            found.secret = secret;
        }
        found.updated_at = now;
        found.health.grant_grace(now);
        Ok(Some(found))
    }

    /// Answers the subscription and, if it had another status before, the event.
    pub(crate) fn become_status(
        &mut self,
        id: Uuid,
        status: SubscriptionStatus,
        now: OffsetDateTime,
    ) -> Option<(&Subscription, Option<Envelope>)> {
        let found = self.get_mut(id)?;
        let changes = found.status != status;
        if changes {
            found.become_status(status, now);
        }
        let event = changes.then(|| found.event(status.event_name(), now));
        Some((found, event))
    }

    pub(crate) fn set_secret(&mut self, id: Uuid, secret: &str) -> bool {
        let found = self.get_mut(id);
        found.is_some_and(|found| {
            secret.clone_into(&mut found.secret);
            true
        })
    }

    pub(crate) fn set_all_secrets(&mut self, secret: &str) {
        for subscription in &mut self.all {
            secret.clone_into(&mut subscription.secret);
        }
    }

    /// Notes an attempt. Answers `webhook.staled` if the breaker trips.
    pub(crate) fn attempted(
        &mut self,
        id: Uuid,
        event: &Envelope,
        attempt: &Attempt,
        now: OffsetDateTime,
    ) -> Option<Envelope> {
        let rules = self.breaker;
        let found = self.get_mut(id)?;
        found.history.attempted(event, attempt, now);
        let success = history::is_success(&attempt.answer);
        (rules.counted == Counted::Attempts)
            .then(|| found.count(&rules, success, now))
            .flatten()
    }

    /// Notes how a message ended: answered with success, delivered in Catena's eyes. Answers `webhook.staled` if the breaker
    /// trips.
    pub(crate) fn ended(
        &mut self,
        id: Uuid,
        success: bool,
        delivered: bool,
        now: OffsetDateTime,
    ) -> Option<Envelope> {
        let rules = self.breaker;
        let found = self.get_mut(id)?;
        found.history.ended(delivered, now);
        (rules.counted == Counted::Messages)
            .then(|| found.count(&rules, success, now))
            .flatten()
    }
}

impl Subscription {
    fn of(truth: &SubscriptionTruth) -> Result<Self, SubscriptionError> {
        let url = Url::parse(&truth.url).map_err(|_| SubscriptionError::Url(truth.url.clone()))?;
        Ok(Self {
            id: truth.id,
            event_name: truth.event_name.clone(),
            url,
            filters: truth.filters.clone().normal(),
            secret: truth.secret.clone(),
            status: truth.status,
            created_at: truth.created_at,
            updated_at: truth.created_at,
            health: Health::new(truth.created_at),
            history: History::default(),
        })
    }

    /// `WebhookRead`, masked.
    pub(crate) fn read(&self) -> Value {
        json!({
            "url": self.masked_url(),
            "filters": self.filters.read(),
            "secret": MASK,
            "created_at": microsecond_text(self.created_at),
            "updated_at": microsecond_text(self.updated_at),
            "id": self.id,
            "status": self.status.name(),
            "event_name": self.event_name,
        })
    }

    /// `Webhook`: the one time that the secret is shown.
    pub(crate) fn read_with_secret(&self, partner_id: Uuid) -> Value {
        let mut read = self.read();
        read["secret"] = self.secret.as_str().into();
        read["partner_id"] = json!(partner_id);
        read["deleted_at"] = Value::Null;
        read
    }

    /// `GET .../metrics`.
    pub(crate) fn metrics(&self, dead_letters: usize, now: OffsetDateTime) -> Value {
        let mut metrics = Map::from_iter([("webhook_id".to_owned(), json!(self.id))]);
        metrics.extend(self.history.metrics(now));
        metrics.insert("ewma_success_rate".to_owned(), json!(self.health.average()));
        metrics.insert("dlq_count".to_owned(), json!(dead_letters));
        metrics.into()
    }

    /// `GET .../logs`, each entry with its place.
    pub(crate) fn log(&self, wanted: Wanted, now: OffsetDateTime) -> Vec<(usize, Value)> {
        self.history.log(self.id, wanted, now)
    }

    pub(crate) fn truth(&self, dead_letters: usize) -> SubscriptionTruth {
        SubscriptionTruth {
            id: self.id,
            event_name: self.event_name.clone(),
            url: self.url.to_string(),
            filters: self.filters.clone(),
            secret: self.secret.clone(),
            status: self.status,
            dead_letters,
            created_at: self.created_at,
        }
    }

    /// The record of a `webhook.*` event about it (contract 6.10).
    pub(crate) fn event(&self, event_name: &str, now: OffsetDateTime) -> Envelope {
        let record = json!({
            "id": self.id,
            "url": self.masked_url(),
            "event_name": self.event_name,
            "filters": self.filters.read(),
            "status": self.status.name(),
        });
        envelope(event_name, vec![record], now).dispatched(now)
    }

    /// An activation begins counting anew: else what tripped the breaker would trip it again at once.
    fn become_status(&mut self, status: SubscriptionStatus, now: OffsetDateTime) {
        self.status = status;
        self.updated_at = now;
        if status == SubscriptionStatus::Active {
            self.health = Health::new(now);
        }
    }

    fn count(
        &mut self,
        rules: &BreakerRules,
        success: bool,
        now: OffsetDateTime,
    ) -> Option<Envelope> {
        let trips = self.health.count(rules, success, now);
        if !trips || self.status != SubscriptionStatus::Active {
            return None;
        }
        self.become_status(SubscriptionStatus::Stale, now);
        Some(self.event("webhook.staled", now))
    }

    /// As the samples have it: the host, nothing of the path.
    fn masked_url(&self) -> String {
        format!("{}/{MASK}", self.url.origin().ascii_serialization())
    }
}

impl SubscriptionStatus {
    /// What tells that a subscription has this status now.
    fn event_name(self) -> &'static str {
        match self {
            Self::Active => "webhook.activated",
            Self::Paused => "webhook.paused",
            Self::Stale => "webhook.staled",
            Self::Deleted => "webhook.deleted",
        }
    }
}

/// 16 characters (contract 6.1: "example length 16").
fn generated() -> String {
    let mut secret = uuid_v4().simple().to_string();
    secret.truncate(16);
    secret
}

fn as_text<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&microsecond_text(*at))
}

const MASK: &str = "*****";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{events, fleet::Fleet, webhooks::Answer};

    #[test]
    fn update_begins_the_grace_and_what_trips_is_told_once() {
        let start = OffsetDateTime::UNIX_EPOCH;
        let minutes = |minutes| start + time::Duration::minutes(minutes);
        let mut subscriptions = Subscriptions::default();
        let new = NewSubscription {
            event_name: "invitation.created".to_owned(),
            url: Url::parse("https://hooks.example.com/webhooks/catena").unwrap(),
            filters: Filters::default(),
            secret: None,
        };
        let id = subscriptions.add(new, start).id;
        let event = events::invitation_created(&Fleet::new("FLEET-42", start), start);
        let failure = Attempt {
            timestamp: String::new(),
            answer: Answer::TimedOut,
            response_ms: 3000.0,
        };
        let fail_at = |subscriptions: &mut Subscriptions, at| {
            let staled = subscriptions.attempted(id, &event, &failure, at);
            staled.map(|event| event.event_name)
        };
        for _ in 0..12 {
            assert_eq!(fail_at(&mut subscriptions, minutes(14)), None);
        }
        let nothing = SubscriptionChange::default();
        let changed = subscriptions.change(id, nothing, minutes(14)).unwrap();
        assert!(changed.is_some());
        assert_eq!(fail_at(&mut subscriptions, minutes(28)), None);
        let staled = Some("webhook.staled".to_owned());
        assert_eq!(fail_at(&mut subscriptions, minutes(29)), staled);
        assert_eq!(fail_at(&mut subscriptions, minutes(29)), None);
        let status = subscriptions.get(id).unwrap().status;
        assert_eq!(status, SubscriptionStatus::Stale);
    }
}

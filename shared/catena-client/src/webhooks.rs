//! Webhook subscriptions and the schemas of events (contract 6.1, 6.7), one function each.

use std::{collections::BTreeMap, fmt};

use catena::{Instant, Status, Subscription};
use fetch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Answer, Calls, CatenaError, Pages,
    call::{Call, below, encoded, given, typed},
};

/// A subscription to make. Without filters, as contract 7 (30) has it.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct NewSubscription {
    /// Where Catena delivers to; at most 2083 characters.
    pub url: String,
    /// An event's name, or a catch-all such as `invitation.*`, which becomes one subscription per action.
    pub event_name: String,
    /// What deliveries are signed with: 12 characters at least, better 32 random ones.
    pub secret: String,
}

/// Without the secret.
impl fmt::Debug for NewSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSubscription")
            .field("url", &self.url)
            .field("event_name", &self.event_name)
            .finish_non_exhaustive()
    }
}

/// What to change of a subscription; what is absent stays. Its event can't be changed.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct SubscriptionChange {
    /// Where Catena delivers to from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What deliveries are signed with from now on: it takes effect at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Without the secret.
impl fmt::Debug for SubscriptionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionChange")
            .field("url", &self.url)
            .field("secret", &self.secret.as_ref().map(|_| ".."))
            .finish()
    }
}

/// How a subscription's deliveries went (contract 6.7). Windows are called `6h`, `24h`, `7d`, `14d`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SubscriptionMetrics {
    /// Requests.
    pub http_attempts: BTreeMap<String, Option<f64>>,
    /// Requests that failed.
    pub http_failure_attempts: BTreeMap<String, Option<f64>>,
    /// Events.
    pub message_count: BTreeMap<String, Option<f64>>,
    /// Events that were delivered.
    pub message_success_count: BTreeMap<String, Option<f64>>,
    /// 0 to 1: what the circuit breaker looks at (contract 6.6).
    pub ewma_success_rate: Option<f64>,
    /// Events that wait for a replay, for 14 days.
    pub dlq_count: Option<u64>,
}

/// One delivery, in Catena's log of the last 14 days (contract 6.7).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SubscriptionLog {
    /// When.
    pub created_at: Option<Instant>,
    /// Of what.
    pub event_name: Option<String>,
    /// `success`, `failed`.
    pub status: Option<Status>,
    /// What was answered.
    pub status_code: Option<i64>,
}

/// What an event's payload looks like (contract 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EventSchema {
    /// The event.
    pub event_name: String,
    /// The schema's version.
    pub version: String,
    /// An OpenAPI document, as JSON text.
    pub openapi_schema: String,
    /// What changed since the version before.
    pub changelog: Option<String>,
}

/// Webhook subscriptions.
impl<'a> Calls<'a> {
    /// Makes a subscription, or several of a catch-all. Sent once: after an ambiguous failure the list tells what came of it. One
    /// that exists already is refused, presumably with 409.
    pub async fn create_subscription(
        self,
        new: &NewSubscription,
    ) -> Result<Answer<Vec<Subscription>>, CatenaError> {
        let call = Call::new("create subscription", Method::POST, WEBHOOKS.to_owned());
        let reply = self.send(&call.with_body(new).once().of_many()).await?;
        match reply.json()? {
            Value::Array(_) => reply.array(typed),
            _ => {
                let Answer { value, observed } = reply.one(typed)?;
                let value = vec![value];
                Ok(Answer { value, observed })
            }
        }
    }

    /// All subscriptions, or those with a status.
    pub fn subscriptions(self, status: Option<&Status>) -> Pages<'a, Subscription> {
        let query = given(WEBHOOKS, &[("status", status.map(Status::as_str))]);
        Pages::new(self, "list subscriptions", [query], typed)
    }

    /// One of them.
    pub async fn subscription(self, id: &str) -> Result<Answer<Subscription>, CatenaError> {
        let call = Call::get("get subscription", below(WEBHOOKS, id)?);
        self.send(&call).await?.one(typed)
    }

    /// Changes where a subscription delivers to, or what it signs with.
    pub async fn change_subscription(
        self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<Answer<Subscription>, CatenaError> {
        let path = below(WEBHOOKS, id)?;
        let call = Call::new("change subscription", Method::PATCH, path).with_body(change);
        self.send(&call).await?.one(typed)
    }

    /// Ends a subscription.
    pub async fn delete_subscription(self, id: &str) -> Result<Answer<()>, CatenaError> {
        let path = below(WEBHOOKS, id)?;
        let call = Call::new("delete subscription", Method::DELETE, path);
        Ok(self.send(&call).await?.answer(()))
    }

    /// Has a paused or stale subscription deliver again. What waits isn't sent by that: replay it.
    pub async fn activate_subscription(
        self,
        id: &str,
    ) -> Result<Answer<Subscription>, CatenaError> {
        let path = format!("{}/activate", below(WEBHOOKS, id)?);
        let call = Call::new("activate subscription", Method::POST, path);
        self.send(&call).await?.one(typed)
    }

    /// Has all of a subscription's dead letters delivered again.
    pub async fn replay_subscription(self, id: &str) -> Result<Answer<()>, CatenaError> {
        let path = format!("{}/replay", below(WEBHOOKS, id)?);
        let call = Call::new("replay subscription", Method::POST, path);
        Ok(self.send(&call).await?.answer(()))
    }

    /// How a subscription's deliveries went.
    pub async fn subscription_metrics(
        self,
        id: &str,
    ) -> Result<Answer<SubscriptionMetrics>, CatenaError> {
        let path = format!("{}/metrics", below(WEBHOOKS, id)?);
        let call = Call::get("get subscription metrics", path);
        self.send(&call).await?.one(typed)
    }

    /// A subscription's deliveries since a moment, at most 14 days ago, all or those with a status.
    pub fn subscription_logs(
        self,
        id: &str,
        since: Instant,
        status: Option<&Status>,
    ) -> Result<Pages<'a, SubscriptionLog>, CatenaError> {
        let since = since.to_string();
        let parameters = [
            ("start_date", Some(since.as_str())),
            ("status", status.map(Status::as_str)),
        ];
        let query = given(&format!("{}/logs", below(WEBHOOKS, id)?), &parameters);
        Ok(Pages::new(self, "list subscription logs", [query], typed))
    }

    /// The newest schema of an event's payload.
    pub async fn event_schema(self, event_name: &str) -> Result<Answer<EventSchema>, CatenaError> {
        let name: String = encoded(event_name).collect();
        let call = Call::get("get event schema", format!("{SCHEMAS}/{name}")).of_many();
        self.send(&call).await?.one(typed)
    }
}

const WEBHOOKS: &str = "/v2/notifications/webhooks";
const SCHEMAS: &str = "/v2/notifications/schemas";

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sample-secret-at-least-12-chars";

    fn sample(name: &str) -> Value {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/samples/api/"
        );
        serde_json::from_slice(&std::fs::read(format!("{folder}{name}.json")).unwrap()).unwrap()
    }

    #[test]
    fn requests_are_the_samples_and_show_no_secret() {
        let new = NewSubscription {
            url: "https://hooks.example.com/webhooks/catena".to_owned(),
            event_name: "invitation.*".to_owned(),
            secret: SECRET.to_owned(),
        };
        let sent = serde_json::to_value(&new).unwrap();
        assert_eq!(sent, sample("webhook.create.request.wildcard"));
        let change = SubscriptionChange {
            secret: Some("rotated-secret-at-least-12-chars".to_owned()),
            ..SubscriptionChange::default()
        };
        let sent = serde_json::to_value(&change).unwrap();
        assert_eq!(sent, sample("webhook.update.request"));
        let shown = format!("{new:?} {change:?}");
        assert!(!shown.contains("secret-at-least"), "{shown}");
    }

    #[test]
    fn what_catena_shows_is_read_without_its_secret() {
        let made = sample("webhook.create.response.200-wildcard");
        let made: Vec<Subscription> = serde_json::from_value(made).unwrap();
        assert_eq!(made.len(), 7);
        assert!(!format!("{made:?}").contains("secret-at-least"));
        let read: Subscription = typed(sample("webhook.get.response.200")).unwrap();
        assert_eq!(read.status, Some(Status::Active));
        assert_eq!(read.url, Some("https://hooks.example.com/*****".into()));
        let metrics: SubscriptionMetrics = typed(sample("webhook.metrics.response.200")).unwrap();
        assert_eq!(metrics.dlq_count, Some(5));
        assert_eq!(metrics.message_count["24h"], Some(400.0));
        let logs = sample("webhook.logs.response.200");
        let logs: Vec<SubscriptionLog> = serde_json::from_value(logs["items"].clone()).unwrap();
        assert_eq!(logs[0].status, Some(Status::Failed));
        let schema: EventSchema = typed(sample("event-schema.response.200")).unwrap();
        assert_eq!(schema.event_name, "tsp.created");
    }
}

//! The notification API: subscriptions, and what they do to deliveries.

mod breaker;
mod changes;
mod control;
mod creation;
mod deliveries;
mod endpoint;
mod history;
mod reads;
mod schemas;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::partner::{Answer, Partner, WEBHOOKS, start};

/// A partner without standing subscriptions.
async fn bare() -> Partner {
    let partner = start().await;
    partner.catena.clear_subscriptions();
    partner
}

impl Partner {
    async fn subscribe(&self, subscription: Value) -> Answer {
        self.call(Method::POST, WEBHOOKS, Some(subscription)).await
    }

    /// The id of a new subscription.
    async fn subscribed(&self, event_name: &str, url: &str) -> Uuid {
        let asked = json!({"event_name": event_name, "url": url, "secret": SECRET});
        let answer = self.subscribe(asked).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        id(&answer.json())
    }

    /// `POST .../{id}/activate` and the like.
    async fn act(&self, id: Uuid, act: &str) -> Answer {
        let path = format!("{WEBHOOKS}/{id}/{act}");
        self.call(Method::POST, &path, None).await
    }

    async fn about(&self, id: Uuid, what: &str) -> Value {
        let answer = self.get(&format!("{WEBHOOKS}/{id}{what}")).await;
        assert_eq!(answer.status, 200);
        answer.json()
    }
}

fn id(subscription: &Value) -> Uuid {
    Uuid::parse_str(subscription["id"].as_str().unwrap()).unwrap()
}

/// One field of each item, or of each element of an array.
fn each<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    let items = list.get("items").unwrap_or(list).as_array().unwrap();
    items.iter().map(|it| it[name].as_str().unwrap()).collect()
}

const URL: &str = "https://hooks.example.com/webhooks/catena";
const SECRET: &str = "sample-secret-at-least-12-chars";

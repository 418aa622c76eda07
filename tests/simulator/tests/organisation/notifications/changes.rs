//! `PATCH /v2/notifications/webhooks/{id}`.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{SECRET, URL, bare, endpoint::Endpoint};
use crate::partner::{Answer, Partner, WEBHOOKS, sample, shape};

impl Partner {
    async fn update(&self, id: Uuid, change: Value) -> Answer {
        let path = format!("{WEBHOOKS}/{id}");
        self.call(Method::PATCH, &path, Some(change)).await
    }
}

#[tokio::test]
async fn new_secret_counts_at_once() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let id = partner
        .subscribed("invitation.created", &endpoint.at("/"))
        .await;
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    let answer = partner.update(id, sample("webhook.update.request")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        shape(&answer.json()),
        shape(&sample("webhook.get.response.200"))
    );
    assert_eq!(answer.json()["secret"], "*****");
    partner.invite("FLEET-43").await;
    partner.catena.idle().await;
    let received = endpoint.received("/");
    let rotated = "rotated-secret-at-least-12-chars";
    for secret in [SECRET, rotated] {
        let signed = received.iter().map(|it| it.is_signed_with(secret));
        assert_eq!(
            signed.collect::<Vec<_>>(),
            [secret == SECRET, secret == rotated]
        );
    }
}

#[tokio::test]
async fn url_and_filters_change_and_what_is_left_out_stays() {
    let partner = bare().await;
    let id = partner.subscribed("invitation.created", URL).await;
    let filters = json!({"fleet_ids": null, "fleet_refs": ["FLEET-42"]});
    let truth = || partner.catena.subscriptions().remove(0);
    let created = partner.about(id, "").await;
    let changed = partner.update(id, json!({"filters": filters})).await.json();
    assert_eq!(changed["filters"], filters);
    assert_eq!(changed["created_at"], created["created_at"]);
    assert_ne!(changed["updated_at"], created["updated_at"]);
    assert_eq!(
        (truth().url.as_str(), truth().secret.as_str()),
        (URL, SECRET)
    );
    let moved = json!({"url": "https://other.example.com/x", "secret": null});
    let changed = partner.update(id, moved).await.json();
    assert_eq!(
        (&changed["url"], &changed["filters"]),
        (&json!("https://other.example.com/*****"), &filters)
    );
    let changed = partner
        .update(id, json!({"filters": null, "url": null}))
        .await
        .json();
    assert_eq!(
        (&changed["url"], &changed["filters"]),
        (&json!("https://other.example.com/*****"), &Value::Null)
    );
    for nothing in [
        json!({}),
        json!({"event_name": "invitation.viewed", "status": "paused"}),
    ] {
        let unchanged = partner.update(id, nothing).await.json();
        assert_eq!(
            (&unchanged["event_name"], &unchanged["status"]),
            (&json!("invitation.created"), &json!("active"))
        );
    }
}

#[tokio::test]
async fn update_that_breaks_a_rule_changes_nothing() {
    let partner = bare().await;
    let id = partner.subscribed("invitation.created", URL).await;
    let other = "https://hooks.example.com/other";
    partner.subscribed("invitation.created", other).await;
    for (change, status) in [
        (
            json!({"secret": "11 letters.", "filters": {"fleet_refs": ["A"]}}),
            422,
        ),
        (json!({"url": "nowhere"}), 422),
        (json!({"filters": {"fleet_ids": ["A"]}}), 422),
        (
            json!({"url": other, "secret": "a-secret-that-must-not-hold"}),
            409,
        ),
        (json!([]), 422),
    ] {
        let answer = partner.update(id, change.clone()).await;
        assert_eq!(answer.status, status, "{change}");
    }
    let truth = partner.catena.subscriptions().remove(0);
    assert_eq!((truth.url.as_str(), truth.secret.as_str()), (URL, SECRET));
    let same = json!({"url": URL, "filters": {}});
    assert_eq!(
        partner.update(id, same).await.status,
        200,
        "it isn't its own duplicate"
    );
}

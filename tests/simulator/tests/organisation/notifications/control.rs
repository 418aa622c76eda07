//! The same from other processes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{URL, each, endpoint::Endpoint};
use crate::partner::{Answer, start};

#[tokio::test]
async fn subscriptions_are_there_for_other_processes() {
    let partner = start().await;
    let endpoint = Endpoint::start().await;
    let control = async |method: Method, path: &str, body: Value| {
        let request = partner.http.request(method, partner.url(path));
        Answer::of(request.body(body.to_string())).await.unwrap()
    };
    let done = async |method: Method, path: &str, body: Value| {
        let answer = control(method, path, body).await;
        assert_eq!(
            answer.status,
            204,
            "{path}: {:?}",
            String::from_utf8(answer.body)
        );
    };
    done(Method::DELETE, "/subscriptions", json!({})).await;
    let elsewhere = json!({"event_name": "invitation.created", "url": URL, "filters": {"fleet_refs": ["FLEET-42"]}});
    let made = control(Method::POST, "/subscriptions", elsewhere)
        .await
        .json();
    let route = json!({"from": "https://hooks.example.com", "to": endpoint.url});
    done(Method::PUT, "/routes", route).await;
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/webhooks/catena"), ["invitation.created"]);
    let stale = format!("/subscriptions/{}/stale", made["id"].as_str().unwrap());
    done(Method::POST, &stale, json!({})).await;
    let truths = control(Method::GET, "/subscriptions", json!({}))
        .await
        .json();
    assert_eq!(each(&truths, "status"), ["stale"]);
    assert_eq!(each(&truths, "url"), [URL]);
    let unknown = "/subscriptions/00000000-0000-0000-0000-000000000000/stale";
    assert_eq!(control(Method::POST, unknown, json!({})).await.status, 400);
    let settings = json!({
        "breaker": {"variant": "six_hours", "grace": 0, "counted": "messages", "least": 1},
        "subscriptions": {"refused_events": ["tsp.requested"], "wildcard_duplicate": "create_missing"},
        "replay_timestamps": "original",
    });
    done(Method::PUT, "/settings", settings).await;
    let refused = partner
        .subscribe(json!({"event_name": "tsp.requested", "url": URL}))
        .await;
    assert_eq!(refused.status, 422);
    let id = partner
        .subscribed("invitation.viewed", &endpoint.at("/viewed"))
        .await;
    endpoint.answers("/viewed", 503);
    partner.catena.view_invitation("FLEET-42").unwrap();
    partner.catena.idle().await;
    assert_eq!(
        partner.about(id, "").await["status"],
        "stale",
        "one message, no grace"
    );
    let schema = json!({"openapi": "3.0.0"});
    done(Method::PUT, "/event-schemas/tsp.requested", schema.clone()).await;
    let told = partner
        .get("/v2/notifications/schemas/tsp.requested")
        .await
        .json();
    assert_eq!(told["openapi_schema"], schema.to_string());
    let unusable = json!({"event_name": "x", "url": "nowhere"});
    assert_eq!(
        control(Method::POST, "/subscriptions", unusable)
            .await
            .status,
        400
    );
}

//! The same from other processes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{OPERATIONS, connected};
use crate::partner::Answer;

#[tokio::test]
async fn writes_are_steered_and_read_by_other_processes() {
    let (partner, connection_id) = connected().await;
    let call = async |method: Method, path: &str, body: Value| {
        let request = partner.http.request(method, partner.url(path));
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        Answer::of(request.body(body)).await.unwrap()
    };
    let nothing = || Value::Null;
    let rule = json!({
        "fleet_ref": "FLEET-42",
        "resource": "message",
        "containing": "Yard",
        "times": 1,
        "announce_created": "lost",
        "steps": [{"outcome": "failed", "error_type": "auth", "announce": "twice"}],
    });
    let added = call(Method::POST, "/operation-rules", rule.clone()).await;
    assert_eq!(added.status, 204);
    for wrong in [
        json!({"step": []}),
        json!({"steps": [{"outcome": "odd"}]}),
        json!({"announce_created": "thrice"}),
    ] {
        let refused = call(Method::POST, "/operation-rules", wrong.clone()).await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
    let listed = call(Method::GET, "/operation-rules", nothing())
        .await
        .json();
    let [listed] = &listed.as_array().unwrap()[..] else {
        panic!("one rule: {listed}")
    };
    for name in [
        "fleet_ref",
        "resource",
        "containing",
        "times",
        "announce_created",
    ] {
        assert_eq!(listed[name], rule[name], "{name}");
    }
    let accepted = partner.message(connection_id, "Yard").await;
    partner
        .catena
        .add_operation_rule(serde_json::from_value(rule).unwrap());
    let cleared = call(Method::DELETE, "/operation-rules", nothing()).await;
    assert_eq!(cleared.status, 204);
    assert!(partner.catena.operation_rules().is_empty());

    assert_eq!(call(Method::GET, "/idle", nothing()).await.status, 204);
    let writes = call(Method::GET, "/writes", nothing()).await.json();
    let write = &writes[0];
    for (name, expected) in [
        ("operation_id", accepted["id"].clone()),
        ("resource", json!("message")),
        ("operation_type", json!("create")),
        ("connection_id", json!(connection_id)),
        ("fleet_ref", json!("FLEET-42")),
        ("status", json!("failed")),
        ("error_type", json!("auth")),
        ("created_at", accepted["created_at"].clone()),
        ("updated_at", accepted["created_at"].clone()),
        ("accepted", json!(true)),
    ] {
        assert_eq!(write[name], expected, "{name}");
    }
    assert_eq!(write["sent"]["message_text"], "Yard");

    let lags = json!({"operation_list_lag": 3600, "operation_read_lag": 3600});
    assert_eq!(call(Method::PUT, "/settings", lags).await.status, 204);
    assert_eq!(partner.get(OPERATIONS).await.json()["items"], json!([]));
    let read = partner.operation(connection_id, &accepted["id"]).await;
    assert_eq!(read.status, 404);
    let lags = json!({"operation_list_lag": -1});
    assert_eq!(call(Method::PUT, "/settings", lags).await.status, 400);
    assert_eq!(call(Method::DELETE, "/writes", nothing()).await.status, 204);
    let writes = call(Method::GET, "/writes", nothing()).await.json();
    assert_eq!(writes, json!([]));
}

//! What can be written, and what is refused.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Map, Value, json};
use simulator::{
    AgreementChange, AgreementStatus, OperationRule, OperationStep, RateLimit, Telling,
};
use uuid::Uuid;

use super::{MESSAGES, connected, message, names};
use crate::partner::{Answer, INVITATIONS, object, sample, shape};

const GROUP_MESSAGES: &str = "/v2/telematics/group-messages";

/// Method, path, resource and whether something is made or changed.
const WRITES: [(Method, &str, &str, &str); 10] = [
    (Method::POST, "vehicles", "vehicle", "create"),
    (Method::PATCH, "vehicles/{id}", "vehicle", "update"),
    (Method::POST, "trailers", "trailer", "create"),
    (Method::PATCH, "trailers/{id}", "trailer", "update"),
    (Method::POST, "users", "user", "create"),
    (Method::PATCH, "users/{id}", "user", "update"),
    (Method::POST, "messages", "message", "create"),
    (Method::POST, "group-messages", "group_message", "create"),
    (
        Method::POST,
        "fuel-transactions",
        "fuel_transaction",
        "create",
    ),
    (Method::POST, "dvir-logs", "dvir_log", "create"),
];

/// A body that any write takes.
fn anything(connection_id: Uuid) -> Value {
    json!({
        "connection_id": connection_id,
        "sender_id": Uuid::from_u128(1),
        "recipient_id": Uuid::from_u128(2),
        "recipient_ids": [Uuid::from_u128(2), Uuid::from_u128(3)],
        "something_else": {"a": 1},
    })
}

#[tokio::test]
async fn every_write_becomes_an_operation() {
    let (partner, connection_id) = connected().await;
    let changed = Uuid::from_u128(7);
    let mut accepted = Vec::new();
    for (method, path, resource, operation_type) in WRITES {
        let path = path.replace("{id}", &changed.to_string());
        let path = format!("/v2/telematics/{path}");
        let body = Some(anything(connection_id));
        let answer = partner.call(method, &path, body).await;
        assert_eq!(answer.status, 202, "{path}");
        let operation = answer.json();
        assert_eq!(operation["resource"], resource);
        assert_eq!(operation["operation_type"], operation_type);
        assert_eq!(operation["status"], "pending");
        assert_eq!(operation["resource_id"], Value::Null);
        assert_eq!(operation["source_id"], Value::Null);
        assert_eq!(operation["fleet_ref"], "FLEET-42");
        assert_eq!(operation["connection_id"], json!(connection_id));
        accepted.push(operation);
    }
    partner.catena.idle().await;
    for operation in accepted {
        let done = partner.operation(connection_id, &operation["id"]).await;
        let done = done.json();
        assert_eq!(done["status"], "success");
        let source_id = done["source_id"].as_str().unwrap();
        assert!(source_id.parse::<u64>().is_ok(), "{source_id}");
        let is_changed = done["resource_id"] == json!(changed);
        assert!(done["resource_id"].is_string());
        assert_eq!(is_changed, done["operation_type"] == "update");
    }
    let writes = partner.catena.writes();
    let written: Vec<_> = writes
        .iter()
        .map(|write| (write.resource, write.operation_type))
        .collect();
    assert_eq!(
        written,
        WRITES.map(|(_, _, resource, operation_type)| (resource, operation_type))
    );
    assert!(writes.iter().all(|it| it.sent == anything(connection_id)));
}

#[tokio::test]
async fn payloads_tell_the_fields_and_the_providers_ids() {
    let (partner, connection_id) = connected().await;
    let payload = async |path: &str, body: Value| {
        let answer = partner.write(path, body).await.json();
        object(answer["payload"].clone())
    };
    let keys = |payload: &Map<String, Value>| {
        let mut keys: Vec<_> = payload.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let message = payload(MESSAGES, anything(connection_id)).await;
    let expected = sample("message.create.response.202-newer");
    assert_eq!(keys(&message), keys(&object(expected["payload"].clone())));
    for name in [
        "message_text",
        "priority",
        "reply_to_message_id",
        "source_reply_to_message_id",
    ] {
        assert_eq!(message[name], Value::Null, "{name}");
    }
    let group = payload(GROUP_MESSAGES, anything(connection_id)).await;
    assert_eq!(group["source_sender_id"], message["source_sender_id"]);
    assert_eq!(
        group["source_recipient_ids"][0],
        message["source_recipient_id"]
    );
    assert_ne!(
        group["source_recipient_ids"][0],
        group["source_recipient_ids"][1]
    );
    let fields = [
        "connection_id",
        "message_text",
        "priority",
        "recipient_ids",
        "sender_id",
        "source_recipient_ids",
        "source_sender_id",
    ];
    assert_eq!(keys(&group), fields);

    let mut vehicle = anything(connection_id);
    vehicle["driver_id"] = Value::Null;
    vehicle["external_id"] = json!("not a UUID");
    let mut told = payload("/v2/telematics/vehicles", vehicle.clone()).await;
    assert_eq!(told.remove("source_driver_id"), Some(Value::Null));
    for name in ["sender_id", "recipient_id", "recipient_ids"] {
        assert!(told.remove(&format!("source_{name}")).is_some(), "{name}");
    }
    assert_eq!(Value::from(told), vehicle);
}

#[tokio::test]
async fn fields_that_break_rules_are_named() {
    let (partner, connection_id) = connected().await;
    let changed = |changes: Value| {
        let mut body = object(anything(connection_id));
        for (name, value) in object(changes) {
            match value {
                // What JSON has no word for.
                Value::String(text) if text == "left out" => body.remove(&name),
                value => body.insert(name, value),
            };
        }
        Value::from(body)
    };
    for (path, changes, complaint, error_type) in [
        (
            "messages",
            json!({"connection_id": "left out"}),
            "connection_id",
            "missing",
        ),
        (
            "messages",
            json!({"connection_id": null}),
            "connection_id",
            "uuid_type",
        ),
        (
            "messages",
            json!({"connection_id": "42"}),
            "connection_id",
            "uuid_parsing",
        ),
        (
            "messages",
            json!({"sender_id": "left out"}),
            "sender_id",
            "missing",
        ),
        (
            "messages",
            json!({"recipient_id": "left out"}),
            "recipient_id",
            "missing",
        ),
        (
            "messages",
            json!({"recipient_id": "x"}),
            "recipient_id",
            "uuid_parsing",
        ),
        (
            "messages",
            json!({"message_text": 1}),
            "message_text",
            "string_type",
        ),
        (
            "messages",
            json!({"priority": "urgent"}),
            "priority",
            "enum",
        ),
        ("messages", json!({"priority": 1}), "priority", "enum"),
        (
            "messages",
            json!({"reply_to_message_id": "x"}),
            "reply_to_message_id",
            "uuid_parsing",
        ),
        (
            "group-messages",
            json!({"connection_id": "left out"}),
            "connection_id",
            "missing",
        ),
        (
            "group-messages",
            json!({"sender_id": null}),
            "sender_id",
            "uuid_type",
        ),
        (
            "group-messages",
            json!({"recipient_ids": "left out"}),
            "recipient_ids",
            "missing",
        ),
        (
            "group-messages",
            json!({"recipient_ids": "x"}),
            "recipient_ids",
            "list_type",
        ),
        (
            "group-messages",
            json!({"recipient_ids": [Uuid::nil(), "x"]}),
            "recipient_ids.1",
            "uuid_parsing",
        ),
        (
            "group-messages",
            json!({"priority": "urgent"}),
            "priority",
            "enum",
        ),
        (
            "vehicles",
            json!({"connection_id": "left out"}),
            "connection_id",
            "missing",
        ),
        (
            "trailers",
            json!({"connection_id": 1}),
            "connection_id",
            "uuid_type",
        ),
        (
            "users",
            json!({"connection_id": "x"}),
            "connection_id",
            "uuid_parsing",
        ),
        (
            "fuel-transactions",
            json!({"connection_id": "left out"}),
            "connection_id",
            "missing",
        ),
        (
            "dvir-logs",
            json!({"connection_id": "left out"}),
            "connection_id",
            "missing",
        ),
    ] {
        let path = format!("/v2/telematics/{path}");
        let answer = partner.write(&path, changed(changes.clone())).await;
        assert_eq!(answer.status, 422, "{path} {changes}");
        let refusal = answer.json();
        assert_eq!(shape(&refusal), shape(&sample("error.422")));
        let detail = &refusal["detail"][0];
        let expected = (json!(format!("body.{complaint}")), json!(error_type));
        assert_eq!(
            (detail["path"].clone(), detail["error_type"].clone()),
            expected,
            "{path} {changes}"
        );
    }
    for fine in [
        json!({"priority": null, "message_text": null, "reply_to_message_id": null}),
        json!({"priority": "high", "message_text": "", "reply_to_message_id": Uuid::nil()}),
    ] {
        let answer = partner.write(MESSAGES, changed(fine)).await;
        assert_eq!(answer.status, 202);
    }
    let body = || Some(anything(connection_id));
    for (method, path, complaint) in [
        (Method::POST, "messages?is_sync=maybe", "query.is_sync"),
        (Method::PATCH, "vehicles/1", "path.vehicle_id"),
    ] {
        let path = format!("/v2/telematics/{path}");
        let answer = partner.call(method, &path, body()).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["detail"][0]["path"], complaint);
    }
    let text = partner.http.post(partner.url(MESSAGES)).body("{");
    let text = text.bearer_auth(&partner.token);
    let broken = text.try_clone().unwrap();
    let broken = broken.header("content-type", "application/json");
    assert_eq!(Answer::of(broken).await.unwrap().status, 400);
    assert_eq!(Answer::of(text).await.unwrap().status, 422);
    let list = partner.write(MESSAGES, json!([])).await;
    assert_eq!(list.status, 422);
    partner.refused(Method::GET, MESSAGES, "error.405").await;
    assert_eq!(partner.catena.writes().len(), 2, "only those accepted");
}

#[tokio::test]
async fn connections_that_are_not_shared_do_not_exist() {
    let (partner, connection_id) = connected().await;
    let status = async |connection_id| {
        let message = message(connection_id, "Hello");
        partner.write(MESSAGES, message).await.status
    };
    assert_eq!(status(Uuid::nil()).await, 404);
    for (agreement, expected) in [
        (AgreementStatus::Paused, 404),
        (AgreementStatus::Active, 202),
        (AgreementStatus::Deleted, 404),
    ] {
        let change = AgreementChange {
            status: Some(agreement),
            ..AgreementChange::default()
        };
        let catena = &partner.catena;
        catena
            .agreement_changes("FLEET-42", change, Telling::Silent)
            .unwrap();
        assert_eq!(status(connection_id).await, expected, "{agreement:?}");
    }
    let other = partner.connect("FLEET-43").await;
    assert_eq!(status(other).await, 202);
    partner.catena.connection_vanishes(other).unwrap();
    assert_eq!(status(other).await, 404);
}

#[tokio::test]
async fn writes_need_a_share_level_and_no_permission() {
    let (mut partner, _) = connected().await;
    let permissions = json!({"message": "read_write", "vehicle": "read"});
    let invitation = json!({"fleet_ref": "FLEET-43", "permissions": permissions});
    partner
        .call(Method::POST, INVITATIONS, Some(invitation))
        .await;
    let connection_id = partner.onboard("FLEET-43").await;
    for (path, expected) in [("messages", 202), ("vehicles", 403), ("users", 403)] {
        let path = format!("/v2/telematics/{path}");
        let answer = partner.write(&path, anything(connection_id)).await;
        assert_eq!(answer.status, expected, "{path}");
        if expected == 403 {
            assert_eq!(answer.json(), sample("error.403"));
        }
    }
    partner.token = partner.catena.issue_token(&[]);
    for (method, path, _, _) in WRITES {
        let path = format!(
            "/v2/telematics/{}",
            path.replace("{id}", &Uuid::nil().to_string())
        );
        let answer = partner.call(method.clone(), &path, Some(json!({}))).await;
        assert_eq!(answer.status, 422, "{path}");
        let token = std::mem::replace(&mut partner.token, "none".to_owned());
        partner.refused(method, &path, "error.401").await;
        partner.token = token;
    }
}

#[tokio::test]
async fn sync_writes_are_answered_when_they_are_decided() {
    let (partner, connection_id) = connected().await;
    let path = format!("{MESSAGES}?is_sync=true");
    let after = Duration::from_millis(150);
    let failed: OperationStep = serde_json::from_value(json!({
        "after": after.as_secs_f64(),
        "outcome": "failed",
        "error_type": "auth",
        "error_details": "Client error '401 Unauthorized'",
        "response_status_code": 401,
        "response_headers": {"X-Request-Id": "tsp-req-7781"},
    }))
    .unwrap();
    let never = OperationStep::success(2 * after);
    let failing = OperationRule::new([failed, never]).containing("Fail");
    partner.catena.add_operation_rule(failing);
    let known = partner.received().await.len();
    let write = async |text: &str| {
        let started = Instant::now();
        let answer = partner.write(&path, message(connection_id, text)).await;
        (answer, started.elapsed())
    };

    let (answer, took) = write("Hello").await;
    assert_eq!(answer.status, 200);
    let done = answer.json();
    assert_eq!(
        shape(&done),
        shape(&sample("message.create.sync.response.200"))
    );
    assert!(took >= Duration::from_millis(200), "{took:?}");
    let told = partner.told(&done["id"]).await;
    assert_eq!(names(&told), ["created", "succeeded"]);
    let (read, mut answered) = (
        partner.operation(connection_id, &done["id"]).await.json(),
        object(done),
    );
    answered.remove("deleted_at");
    assert_eq!(read, Value::from(answered));
    assert_eq!(partner.received().await.len(), known + 2);

    let (answer, took) = write("Fail").await;
    assert_eq!(answer.status, 502);
    let failed = answer.json();
    assert_eq!(
        shape(&failed),
        shape(&sample("message.create.sync.response.502"))
    );
    assert_eq!(failed["logs"].as_array().unwrap().len(), 1);
    assert!(took >= after, "{took:?}");
    let told = partner.told(&failed["id"]).await;
    assert!(told.is_empty(), "no webhook: {told:?}");
    let read = partner.operation(connection_id, &failed["id"]).await;
    assert_eq!(read.json()["status"], "failed", "and no other step");

    let silent = OperationRule::new([]).containing("Silent");
    partner.catena.add_operation_rule(silent);
    let body = Some(message(connection_id, "Silent"));
    let request = partner.request(Method::POST, &path, body);
    let stalled = request.timeout(Duration::from_millis(300)).send().await;
    assert!(stalled.unwrap_err().is_timeout());
    let writes = partner.catena.writes();
    let accepted: Vec<_> = writes.iter().map(|write| write.accepted).collect();
    assert_eq!(accepted, [true, false, false]);
    let errors: Vec<_> = writes.iter().map(|it| it.error_type.as_deref()).collect();
    assert_eq!(errors, [None, Some("auth"), None]);
}

#[tokio::test]
async fn sync_is_a_boolean_and_off_unless_told() {
    let (partner, connection_id) = connected().await;
    for (query, expected) in [
        ("", 202),
        ("?is_sync=false", 202),
        ("?is_sync=0", 202),
        ("?is_sync=True", 200),
        ("?is_sync=1", 200),
    ] {
        let body = message(connection_id, "Hello");
        let answer = partner.write(&format!("{MESSAGES}{query}"), body).await;
        assert_eq!(answer.status, expected, "{query}");
    }
}

#[tokio::test]
async fn writes_count_for_the_rate_limit() {
    let (partner, connection_id) = connected().await;
    let window = Duration::from_mins(1);
    let limit = RateLimit { calls: 2, window };
    partner.catena.set_rate_limit(Some(limit));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let body = message(connection_id, "Hello");
        statuses.push(partner.write(MESSAGES, body).await.status);
    }
    assert_eq!(statuses, [202, 202, 429, 429]);
    assert_eq!(partner.catena.writes().len(), 2);
    assert_eq!(partner.catena.rate_report().refused, 2);
}

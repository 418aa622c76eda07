//! Write operations by the partner API on the deployed template: what Catena is asked once, and what the partner is told of it.

use std::{collections::BTreeSet, time::Duration};

use axum::http::Method;
use futures_util::future::join_all;
use local::wire::Fault;
use serde_json::{Value, json};
use simulator::{
    Announce, ApiFault, ApiFaultKind, ConnectionStatus, OperationRule, OperationStep, Scenario,
    Telling,
};
use store::timestamp;
use time::OffsetDateTime;

use crate::{
    partner::{Partner, kind, told},
    reconciling::within,
    stack::Running,
};

const MESSAGES: &str = "/v2/telematics/messages";
const SEND: &str = "POST /v2/telematics/messages";

/// A fleet that shares messages for writing and vehicles for reading, and whose provider is connected.
pub(crate) async fn connected(partner: &Partner, fleet: &str) {
    let permissions = json!({ "message": "read_write", "vehicle": "read" });
    connected_sharing(partner, fleet, permissions).await;
}

async fn connected_sharing(partner: &Partner, fleet: &str, permissions: Value) {
    let body = json!({ "permissions": permissions });
    let (status, invited) = partner.put(fleet, "", body).await;
    assert_eq!(status, 201, "{invited}");
    let scenario = Scenario::invited([fleet]);
    partner.simulator().try_run(&scenario).await.unwrap();
    let live = async || {
        let (_, fleet) = partner.get(&format!("/fleets/{fleet}")).await;
        fleet["stage"] == "connected"
    };
    within(Duration::from_secs(30), live).await;
    partner.asked();
}

pub(crate) fn message(text: &str) -> Value {
    json!({
        "resource": "message",
        "operation": "create",
        "payload": {
            "sender_id": "6f1c1a52-8a4c-4a3c-9f52-3f0d7c1b2a10",
            "recipient_id": "0b7d3c1e-52f1-4c0a-8a55-9d8f6e2b7c41",
            "message_text": text,
        },
    })
}

pub(crate) async fn submit(partner: &Partner, fleet: &str, key: &str, body: Value) -> (u16, Value) {
    let path = format!("/fleets/{fleet}/operations");
    let mut request = partner
        .api
        .unsigned(Method::POST, &path, Some(body))
        .unwrap();
    request
        .headers
        .insert("idempotency-key", key.parse().unwrap());
    let signed = partner.api.sign(request).unwrap();
    told(&partner.api.deliver(signed).await.unwrap())
}

/// One whose waits are a hundredth of what is usual.
async fn hasty() -> Partner {
    let haste = [("Sweep", "DISABLED"), ("WaitPercent", "1")];
    Partner::of(Running::with_parameters(&haste, &[]).await)
}

/// What Catena processed, by the texts of messages.
fn written(partner: &Partner) -> Vec<String> {
    let writes = partner.simulator().writes();
    let texts = writes.iter().map(|it| it.sent["message_text"].as_str());
    texts.map(|it| it.unwrap_or_default().to_owned()).collect()
}

/// Catena does the next write, and its answer is lost.
pub(crate) fn cut_off_writes(partner: &Partner) {
    breaks(partner, ApiFaultKind::CutAfter);
}

fn breaks(partner: &Partner, kind: ApiFaultKind) {
    let fault = ApiFault::new(kind).on("POST", MESSAGES);
    partner.simulator().add_api_fault(fault);
}

async fn ends(partner: &Partner, operation: &Value, status: &str) -> Value {
    let path = format!("/operations/{}", operation["id"].as_str().unwrap());
    let ended = async || partner.get(&path).await.1["status"] == status;
    within(Duration::from_secs(30), ended).await;
    partner.get(&path).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_is_updated_by_its_id_and_found_again_when_the_answer_is_lost() {
    let partner = hasty().await;
    connected_sharing(&partner, "FLEET-1", json!({ "vehicle": "read_write" })).await;
    let vehicle = "5b2d1c9e-7f3a-5c41-9d10-2a6b8e4f7c33";
    let rename = |name: &str| {
        json!({
            "resource": "vehicle", "operation": "update", "resource_id": vehicle,
            "payload": { "name": name },
        })
    };
    let (status, sent) = submit(&partner, "FLEET-1", "key-1", rename("Truck 7")).await;
    assert_eq!(
        (status, &sent["operation"]),
        (202, &json!("update")),
        "{sent}"
    );
    assert_eq!(sent["resource_id"], vehicle);
    assert_eq!(partner.asked(), ["PATCH /v2/telematics/vehicles/{id}"]);
    ends(&partner, &sent, "success").await;

    let lost = ApiFault::new(ApiFaultKind::CutAfter).on("PATCH", "/v2/telematics/vehicles");
    partner.simulator().add_api_fault(lost);
    let (status, sent) = submit(&partner, "FLEET-1", "key-2", rename("Truck 8")).await;
    assert_eq!(status, 202, "{sent}");
    ends(&partner, &sent, "success").await;
    let names = partner.simulator().writes();
    let names: Vec<_> = names.iter().map(|it| it.sent["name"].as_str()).collect();
    assert_eq!(names, [Some("Truck 7"), Some("Truck 8")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_once_and_its_end_is_told() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    let slow = OperationStep::success(Duration::from_secs(2));
    partner
        .simulator()
        .add_operation_rule(OperationRule::new([slow]));

    let (status, sent) = submit(&partner, "FLEET-1", "key-1", message("Hello")).await;
    assert_eq!(
        (status, &sent["status"]),
        (202, &json!("pending")),
        "{sent}"
    );
    assert_eq!(
        (&sent["calls"], &sent["resource"]),
        (&json!(1), &json!("message"))
    );
    assert!(sent["catena_operation_id"].is_string(), "{sent}");
    assert_eq!(partner.asked(), [SEND]);

    // The same key is answered without a call, also by many at once.
    let same = (0..10).map(|_| submit(&partner, "FLEET-1", "key-1", message("Hello")));
    for (status, again) in join_all(same).await {
        assert_eq!((status, &again["id"]), (200, &sent["id"]), "{again}");
    }
    let done = ends(&partner, &sent, "success").await;
    assert!(
        done["source_id"].is_string() && done["resource_id"].is_string(),
        "{done}"
    );
    let (status, again) = submit(&partner, "FLEET-1", "key-1", message("Hello")).await;
    assert_eq!((status, &again), (200, &done));
    assert_eq!(partner.asked(), [] as [&str; 0]);
    assert_eq!(written(&partner), ["Hello"]);

    // Another body under the key is refused; under another key it is another message, though it is equal: the first one's fate is known.
    let (status, problem) = submit(&partner, "FLEET-1", "key-1", message("Bye")).await;
    assert_eq!((status, kind(&problem)), (409, "key-reused"), "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains(sent["id"].as_str().unwrap())
    );
    let (status, second) = submit(&partner, "FLEET-1", "key-2", message("Hello")).await;
    assert_eq!(status, 202, "{second}");
    assert_ne!(second["catena_operation_id"], sent["catena_operation_id"]);
    // A key is a fleet's own.
    connected(&partner, "FLEET-2").await;
    let (status, other) = submit(&partner, "FLEET-2", "key-1", message("Hello")).await;
    assert_eq!(
        (status, &other["fleet_ref"]),
        (202, &json!("FLEET-2")),
        "{other}"
    );
    assert_eq!(written(&partner), ["Hello", "Hello", "Hello"]);

    // Lists, page by page.
    let (_, page) = partner.get("/operations?fleet_ref=FLEET-1&size=1").await;
    assert_eq!(page["operations"][0]["id"], second["id"], "{page}");
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = format!("/operations?fleet_ref=FLEET-1&size=1&cursor={cursor}");
    let (_, page) = partner.get(&next).await;
    assert_eq!(page["operations"][0]["id"], sent["id"], "{page}");
    let strange = format!("/operations?fleet_ref=FLEET-2&cursor={cursor}");
    let (status, problem) = partner.get(&strange).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("cursor"))
    );
    let (_, all) = partner.get("/operations").await;
    assert_eq!(all["operations"].as_array().unwrap().len(), 3, "{all}");
    let at = sent["submitted_at"].as_str().unwrap();
    for (query, count) in [
        ("resource=vehicle".to_owned(), 0),
        ("resource=message&status=unknown".to_owned(), 0),
        ("fleet_ref=FLEET-1&status=refused".to_owned(), 0),
        (format!("fleet_ref=FLEET-1&from={at}"), 2),
        (format!("fleet_ref=FLEET-1&to={at}"), 0),
        (format!("to={at}"), 0),
    ] {
        let (status, page) = partner.get(&format!("/operations?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        assert_eq!(
            page["operations"].as_array().unwrap().len(),
            count,
            "{query}: {page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_all_fleets_goes_on_after_pages_of_operations_that_are_not_asked_for() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    let mut sent = Vec::new();
    for number in 0..9 {
        let (key, text) = (format!("key-{number}"), format!("Text {number}"));
        let (status, operation) = submit(&partner, "FLEET-1", &key, message(&text)).await;
        assert_eq!(status, 202, "{operation}");
        sent.push(operation);
    }
    let at = |number: usize| sent[number]["submitted_at"].as_str().unwrap();
    // More lie outside than one answer looks at, whichever way the index is read.
    for (query, expected) in [
        (format!("from={}", at(7)), &sent[7..]),
        (format!("to={}", at(2)), &sent[..2]),
        (format!("fleet_ref=FLEET-1&from={}", at(7)), &sent[7..]),
    ] {
        let (mut found, mut next) = (BTreeSet::new(), String::new());
        for _ in 0..20 {
            let (status, page) = partner
                .get(&format!("/operations?size=1&{query}{next}"))
                .await;
            assert_eq!(status, 200, "{query}{next}: {page}");
            let operations = page["operations"].as_array().unwrap();
            found.extend(operations.iter().map(|it| it["id"].to_string()));
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        let expected: BTreeSet<String> = expected.iter().map(|it| it["id"].to_string()).collect();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_equal_calls_at_once_one_is_sent() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    let slow = ApiFaultKind::Slow {
        by: Duration::from_millis(500),
    };
    breaks(&partner, slow);
    let same = (0..50).map(|_| submit(&partner, "FLEET-1", "key", message("Once")));
    let answers = join_all(same).await;
    let count = |wanted: u16| {
        answers
            .iter()
            .filter(|(status, _)| *status == wanted)
            .count()
    };
    assert_eq!((count(202), count(200)), (1, 49), "{answers:?}");
    assert_eq!(written(&partner), ["Once"]);

    // Under different keys one is sent, and the others wait for it.
    let slow = ApiFaultKind::Slow {
        by: Duration::from_secs(3),
    };
    breaks(&partner, slow);
    let keys: Vec<String> = (0..20).map(|number| format!("other-{number}")).collect();
    let others = keys
        .iter()
        .map(|key| submit(&partner, "FLEET-1", key, message("Equal")));
    let answers = join_all(others).await;
    let sent = answers.iter().filter(|(status, _)| *status == 202).count();
    let waiting = answers
        .iter()
        .filter(|(status, problem)| *status == 409 && kind(problem) == "equal-write-unclear")
        .count();
    assert!(sent >= 1 && sent + waiting == 20, "{answers:?}");
    let equal = written(&partner).into_iter().filter(|it| it == "Equal");
    assert_eq!(equal.count(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_named_and_nothing_is_sent() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    let (_, fleet) = partner.get("/fleets/FLEET-1").await;
    let connection = fleet["connections"][0]["id"].as_str().unwrap().to_owned();
    let with = |name: &str, value: Value| {
        let mut body = message("Hello");
        body[name] = value;
        body
    };
    let mut other_connection = message("Hello");
    other_connection["payload"]["connection_id"] = json!("other");
    for (key, body, field) in [
        ("", message("Hello"), "Idempotency-Key"),
        ("with space", message("Hello"), "Idempotency-Key"),
        (&*"k".repeat(256), message("Hello"), "Idempotency-Key"),
        ("k", with("resource", json!("dock")), "resource"),
        ("k", with("operation", json!("update")), "operation"),
        ("k", with("operation", json!("delete")), "operation"),
        ("k", with("resource_id", json!("4711")), "resource_id"),
        ("k", with("connection_id", json!("../x")), "connection_id"),
        ("k", with("connection_id", json!("4711")), "connection_id"),
        ("k", with("payload", json!([])), "payload"),
        ("k", with("paylaod", json!({})), "paylaod"),
        ("k", other_connection, "payload.connection_id"),
        (
            "k",
            json!({ "resource": "vehicle", "operation": "update", "payload": {} }),
            "resource_id",
        ),
    ] {
        let (status, problem) = submit(&partner, "FLEET-1", key, body.clone()).await;
        let named = problem["errors"].as_array().into_iter().flatten();
        let named: Vec<&str> = named.filter_map(|it| it["field"].as_str()).collect();
        assert!(
            status == 422 && named.contains(&field),
            "{key} {body}: {problem}"
        );
    }
    let (status, problem) = submit(&partner, "NOBODY", "k", message("Hello")).await;
    assert_eq!(
        (status, kind(&problem)),
        (404, "unknown-fleet"),
        "{problem}"
    );

    // The fleet shares vehicles for reading, trailers not at all.
    for (resource, shares) in [("vehicle", "shares read"), ("trailer", "shares nothing")] {
        let body = json!({ "resource": resource, "operation": "create", "payload": {} });
        let (status, problem) = submit(&partner, "FLEET-1", "k", body).await;
        assert_eq!(
            (status, kind(&problem)),
            (403, "scope-missing"),
            "{problem}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("read_write on {resource}")),
            "{detail}"
        );
        assert!(detail.contains(shares), "{detail}");
    }

    // A fleet that is invited only, and one whose connection broke.
    partner.put("INVITED", "", json!({})).await;
    let (status, problem) = submit(&partner, "INVITED", "k", message("Hello")).await;
    assert_eq!(
        (status, kind(&problem)),
        (409, "no-live-connection"),
        "{problem}"
    );
    partner
        .simulator()
        .connection_becomes(
            connection.parse().unwrap(),
            ConnectionStatus::Stale,
            Telling::Announced,
        )
        .unwrap();
    let path = "/fleets/FLEET-1";
    let broken = async || partner.get(path).await.1["connections"][0]["live"] == false;
    within(Duration::from_secs(30), broken).await;
    let (status, problem) = submit(&partner, "FLEET-1", "k", message("Hello")).await;
    assert_eq!(
        (status, kind(&problem)),
        (409, "no-live-connection"),
        "{problem}"
    );
    let given = with("connection_id", json!(connection));
    let (status, problem) = submit(&partner, "FLEET-1", "k", given).await;
    assert_eq!(status, 422, "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("stale"),
        "{problem}"
    );

    assert_eq!(written(&partner), [] as [&str; 0]);
    for path in [
        "/operations/0",
        "/operations/00000000000000000000000000000000",
        "/operations/0000000000000000000000000000000A",
    ] {
        let (status, problem) = partner.get(path).await;
        assert_eq!(
            (status, kind(&problem)),
            (404, "unknown-operation"),
            "{path}"
        );
    }
    for (query, field) in [
        ("status=lost", "status"),
        ("resource=dock", "resource"),
        ("from=yesterday", "from"),
        ("from=2026-05-04T08:00:00Z&to=2026-05-04T08:00:00Z", "to"),
        ("to=1969-05-04T08:00:00Z", "to"),
        ("cursor=AAAA", "cursor"),
        ("size=0", "size"),
        ("fleet=FLEET-1", "fleet"),
    ] {
        let (status, problem) = partner.get(&format!("/operations?{query}")).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (422, &json!(field)),
            "{query}: {problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_catena_refused_is_sent_again_under_the_same_key() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    // Whether it is the write that is refused.
    let refusals = [
        (
            ApiFaultKind::Status { status: 422 },
            422,
            "catena-refused",
            true,
        ),
        (
            ApiFaultKind::Status { status: 403 },
            502,
            "catena-refuses-us",
            true,
        ),
        (
            ApiFaultKind::Status { status: 404 },
            502,
            "catena-unreadable",
            true,
        ),
        (ApiFaultKind::Unauthorized, 502, "catena-refuses-us", false),
        (
            ApiFaultKind::TooManyRequests {
                retry_after_seconds: Some(60),
                retry_after: None,
            },
            503,
            "catena-unavailable",
            false,
        ),
    ];
    let mut sent = Value::Null;
    for (number, (fault, expected, name, by_catena)) in refusals.into_iter().enumerate() {
        // A token that is refused is renewed once.
        if fault == ApiFaultKind::Unauthorized {
            breaks(&partner, fault.clone());
        }
        breaks(&partner, fault);
        let (status, problem) = submit(&partner, "FLEET-1", "key", message("Hello")).await;
        assert_eq!((status, kind(&problem)), (expected, name), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("Nothing was written"), "{detail}");
        let mended = detail.contains("A mended body needs a new key");
        assert_eq!(mended, expected == 422, "{detail}");
        let (_, page) = partner.get("/operations?status=refused").await;
        sent = page["operations"][0].clone();
        assert_eq!(sent["calls"], json!(number + 1), "{page}");
        let advice = sent["advice"].as_str().unwrap();
        assert_eq!(advice.contains("new key"), by_catena, "{name}: {advice}");
    }
    // The reconciler leaves Catena alone, too.
    let shared = partner.running.table().await.shared().await.unwrap();
    let left = shared.not_before.unwrap().0 - timestamp(OffsetDateTime::now_utc()).0;
    assert!((30_000..=60_000).contains(&left), "{left}");
    // Another body is another write.
    let (status, problem) = submit(&partner, "FLEET-1", "key", message("Bye")).await;
    assert_eq!((status, kind(&problem)), (409, "key-reused"));
    assert_eq!(written(&partner), [] as [&str; 0]);
    // The pause that Catena asked for is kept by all who call: nothing is sent before it is over.
    let (status, problem) = submit(&partner, "FLEET-1", "key", message("Hello")).await;
    assert_eq!(
        (status, kind(&problem)),
        (503, "catena-unavailable"),
        "{problem}"
    );
    assert!(
        problem["retry_after_seconds"].as_u64().unwrap() > 30,
        "{problem}"
    );
    assert!(
        sent["explanation"]
            .as_str()
            .unwrap()
            .contains("nothing was written")
    );

    // A fresh function knows of no pause.
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    breaks(&partner, ApiFaultKind::Status { status: 422 });
    let (status, _) = submit(&partner, "FLEET-1", "key", message("Hello")).await;
    assert_eq!(status, 422);
    let again = (0..10).map(|_| submit(&partner, "FLEET-1", "key", message("Hello")));
    let answers = join_all(again).await;
    let count = |wanted: u16| {
        answers
            .iter()
            .filter(|(status, _)| *status == wanted)
            .count()
    };
    assert_eq!((count(202), count(200)), (1, 9), "{answers:?}");
    let (_, sent) = answers.iter().find(|(status, _)| *status == 202).unwrap();
    assert_eq!(sent["calls"], 2);
    let done = ends(&partner, sent, "success").await;
    assert_eq!(done["calls"], 2);
    assert_eq!(written(&partner), ["Hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_said_to_be_unclear_and_an_equal_write_waits_until_it_is_found() {
    let partner = hasty().await;
    connected(&partner, "FLEET-1").await;
    // Nobody searches for it for now.
    partner.running.work_off_tasks(false).await;
    let silent = OperationStep::success(Duration::ZERO).announced(Announce::Lost);
    let silent = OperationRule {
        announce_created: Announce::Lost,
        ..OperationRule::new([silent])
    };
    partner.simulator().add_operation_rule(silent);
    cut_off_writes(&partner);
    let (status, lost) = submit(&partner, "FLEET-1", "key-1", message("Hello")).await;
    assert_eq!(
        (status, &lost["status"]),
        (202, &json!("unclear")),
        "{lost}"
    );
    assert!(lost["advice"].as_str().unwrap().contains("wait"), "{lost}");
    let (status, same) = submit(&partner, "FLEET-1", "key-1", message("Hello")).await;
    assert_eq!((status, &same["id"]), (200, &lost["id"]), "{same}");
    let (status, problem) = submit(&partner, "FLEET-1", "key-2", message("Hello")).await;
    assert_eq!(
        (status, kind(&problem)),
        (409, "equal-write-unclear"),
        "{problem}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(lost["id"].as_str().unwrap()), "{detail}");
    let seconds = problem["retry_after_seconds"].as_u64();
    assert!(seconds.unwrap() >= 5, "{problem}");
    let (status, other) = submit(&partner, "FLEET-1", "key-3", message("Other")).await;
    assert_eq!(status, 202, "another payload needn't wait: {other}");
    partner.running.work_off_tasks(true).await;
    let found = ends(&partner, &lost, "success").await;
    assert_eq!(
        (&found["calls"], found["catena_operation_id"].is_string()),
        (&json!(1), true)
    );
    assert_eq!(written(&partner), ["Hello", "Other"]);
    let (status, _) = submit(&partner, "FLEET-1", "key-2", message("Hello")).await;
    assert_eq!(status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_reaches_catena_and_never_the_table_and_its_write_is_found_again() {
    let partner = hasty().await;
    connected_sharing(&partner, "FLEET-1", json!({ "user": "read_write" })).await;
    partner.running.work_off_tasks(false).await;
    let cut_off = ApiFault::new(ApiFaultKind::CutAfter).on("POST", "/v2/telematics/users");
    partner.simulator().add_api_fault(cut_off);
    let body = json!({
        "resource": "user",
        "operation": "create",
        "payload": { "name": "Ada", "password": "hush-4711", "login": { "api_token": "hush-4711" } },
    });
    let (status, lost) = submit(&partner, "FLEET-1", "key", body).await;
    assert_eq!(
        (status, &lost["status"]),
        (202, &json!("unclear")),
        "{lost}"
    );
    let writes = partner.simulator().writes();
    assert_eq!(writes[0].sent["password"], "hush-4711");
    let kept = async || json!(partner.running.items().await).to_string();
    let while_unclear = kept().await;
    assert!(while_unclear.contains("Ada"), "{while_unclear}");
    assert!(!while_unclear.contains("hush-4711"), "{while_unclear}");

    partner.running.work_off_tasks(true).await;
    let found = ends(&partner, &lost, "success").await;
    assert_eq!(found["calls"], 1);
    let afterwards = kept().await;
    assert!(!afterwards.contains("hush-4711"), "{afterwards}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_twice_whatever_catena_does_with_the_call() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    for (number, (fault, processed)) in [
        (ApiFaultKind::Status { status: 500 }, 0),
        (ApiFaultKind::Status { status: 503 }, 0),
        (ApiFaultKind::StatusAfter { status: 504 }, 1),
        (ApiFaultKind::CutBefore, 0),
        (ApiFaultKind::Truncated, 1),
        (ApiFaultKind::Html, 1),
        (ApiFaultKind::Empty, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let (key, text) = (format!("key-{number}"), format!("Text {number}"));
        breaks(&partner, fault.clone());
        let (status, lost) = submit(&partner, "FLEET-1", &key, message(&text)).await;
        assert_eq!(
            (status, &lost["status"]),
            (202, &json!("unclear")),
            "{fault:?}: {lost}"
        );
        let (status, same) = submit(&partner, "FLEET-1", &key, message(&text)).await;
        assert_eq!((status, &same["id"]), (200, &lost["id"]), "{fault:?}");
        let writes = written(&partner).into_iter().filter(|it| *it == text);
        assert!(writes.count() <= processed, "{fault:?}");
    }
    let calls = partner.asked().into_iter().filter(|it| it == SEND).count();
    assert_eq!(calls, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_swallows_answers_makes_nothing_be_sent_twice_and_the_answer_says_so() {
    let partner = Partner::start().await;
    connected(&partner, "FLEET-1").await;
    let wire = &partner.running.stack.wire;
    // The turn is taken; that the operation is written is learnt by reading; that Catena accepted can't be written for sure.
    wire.fault_after(1, "partner-api", "dynamodb:UpdateItem", Fault::LoseAnswer);
    let (status, problem) = submit(&partner, "FLEET-1", "key", message("Hello")).await;
    assert_eq!(
        (status, kind(&problem)),
        (503, "table-unavailable"),
        "{problem}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("The write was sent to Catena"), "{detail}");
    assert_eq!(written(&partner), ["Hello"]);
    wire.heal();
    let (status, same) = submit(&partner, "FLEET-1", "key", message("Hello")).await;
    assert_eq!((status, &same["calls"]), (200, &json!(1)), "{same}");

    // While nothing can be written, nothing is sent.
    let down = || Fault::error(500, "InternalServerError");
    wire.fault("partner-api", "dynamodb:UpdateItem", down());
    let (status, problem) = submit(&partner, "FLEET-1", "other", message("Other")).await;
    assert_eq!(
        (status, kind(&problem)),
        (503, "table-unavailable"),
        "{problem}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("Nothing was sent to Catena"), "{detail}");
    wire.heal();
    assert_eq!(written(&partner), ["Hello"]);
    let (status, sent) = submit(&partner, "FLEET-1", "other", message("Other")).await;
    assert_eq!(
        (status, &sent["status"]),
        (202, &json!("pending")),
        "{sent}"
    );

    // A lost answer of the first write alone is no hindrance.
    wire.fault_times(1, "partner-api", "dynamodb:UpdateItem", Fault::LoseAnswer);
    let (status, sent) = submit(&partner, "FLEET-1", "third", message("Third")).await;
    assert_eq!(
        (status, &sent["status"]),
        (202, &json!("pending")),
        "{sent}"
    );
    assert_eq!(written(&partner), ["Hello", "Other", "Third"]);
}

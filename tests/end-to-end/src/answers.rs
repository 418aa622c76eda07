//! Every row of the answer table, against the real binary with API Gateway's events.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use local::{runtime_api::Function, wire::Fault};
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::backend::{Backend, KEY, delivery, delivery_of, outcomes, request, status};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn fleet() -> Fleet {
    Fleet::new("FLEET-1", OffsetDateTime::now_utc())
}

fn viewed() -> Envelope {
    events::invitation_viewed(&fleet(), OffsetDateTime::now_utc())
}

/// A plain body with signature headers.
fn signed(key: &str, timestamp: &str, body: &[u8]) -> HeaderMap {
    let headers = [
        ("content-type", "application/json"),
        ("x-catena-timestamp", timestamp),
        ("x-catena-signature", &simulator::sign(key, timestamp, body)),
    ];
    let headers = headers.map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    });
    headers.into_iter().collect()
}

fn now_text() -> String {
    simulator::timestamp_text(OffsetDateTime::now_utc())
}

async fn answered(function: &Function, event: &Value) -> u64 {
    status(&function.invoke(event).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_delivery_is_queued_once_however_its_body_travels() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    let envelope = viewed();
    let body = envelope.bytes();
    let text = request(&signed(KEY, &now_text(), &body), &body);
    assert_eq!(text["isBase64Encoded"], false);
    let gzip = delivery(&envelope, KEY);
    assert_eq!(gzip["isBase64Encoded"], true);
    let mut headers = signed(KEY, &now_text(), &body);
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let inflated_on_the_way = request(&headers, &body);
    for event in [text, gzip, inflated_on_the_way] {
        assert_eq!(answered(&ingest, &event).await, 202);
        let queued = backend.drain().await;
        assert_eq!(queued.len(), 1);
        let content = &queued[0]["delivery"]["content"]["envelope"];
        assert_eq!(content["event_name"], "invitation.viewed");
        assert_eq!(content["data"][0]["fleet_ref"], "FLEET-1");
        assert_eq!(queued[0]["delivery"]["age"], "fresh");
    }
    assert_eq!(backend.wire.count("function", "sqs:SendMessage"), 3);
    assert_eq!(
        backend
            .wire
            .count("function", "secretsmanager:GetSecretValue"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn late_early_and_unreadable_deliveries_are_queued_and_marked() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    for (ago, age) in [(4 * DAY, "late"), (14 * DAY, "late"), (16 * DAY, "too-old")] {
        let event = delivery_of(&viewed(), KEY, ago);
        assert_eq!(answered(&ingest, &event).await, 202);
        assert_eq!(backend.drain().await[0]["delivery"]["age"], age);
    }
    let ahead = simulator::timestamp_text(OffsetDateTime::now_utc() + 2 * DAY);
    let body = viewed().bytes();
    let event = request(&signed(KEY, &ahead, &body), &body);
    assert_eq!(answered(&ingest, &event).await, 202);
    assert_eq!(backend.drain().await[0]["delivery"]["age"], "future");
    for body in ["", "hunter2", "[]", r#"{"data":"hunter2"}"#] {
        let event = request(&signed(KEY, &now_text(), body.as_bytes()), body.as_bytes());
        assert_eq!(answered(&ingest, &event).await, 202);
        let queued = backend.drain().await;
        let unreadable = &queued[0]["delivery"]["content"]["unreadable"];
        assert_eq!(unreadable["length"], body.len());
        assert!(!queued[0].to_string().contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_signature_headers_are_401() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    let body = viewed().bytes();
    let good = || signed(KEY, &now_text(), &body);
    let mut events = Vec::new();
    for name in ["x-catena-signature", "x-catena-timestamp"] {
        let mut absent = good();
        absent.remove(name);
        let mut empty = good();
        empty.insert(name, HeaderValue::from_static(""));
        let mut repeated = good();
        repeated.append(name, repeated[name].clone());
        let mut malformed = good();
        malformed.insert(name, HeaderValue::from_static("1777881972"));
        events.extend([absent, empty, repeated, malformed].map(|headers| request(&headers, &body)));
    }
    for event in &events {
        let answer = ingest.invoke(event).await.unwrap();
        assert_eq!(status(&answer), 401, "{event}");
        let text: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert!(
            text["error"]
                .as_str()
                .unwrap()
                .starts_with("header x-catena-"),
            "{text}"
        );
    }
    assert_eq!(outcomes(&ingest), vec!["malformed"; 8]);
    assert_eq!(backend.drain().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_byte_of_a_delivery_is_refused() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    let mut envelope = viewed();
    envelope.data[0]["padding"] = json!("");
    let padding = 1024 - envelope.bytes().len();
    envelope.data[0]["padding"] = json!("x".repeat(padding));
    let body = envelope.bytes();
    assert_eq!(body.len(), 1024);
    let headers = signed(KEY, &now_text(), &body);
    for index in 0..body.len() {
        let mut changed = body.clone();
        changed[index] ^= 1;
        assert_eq!(
            answered(&ingest, &request(&headers, &changed)).await,
            503,
            "byte {index}"
        );
    }
    assert_eq!(backend.drain().await, [] as [Value; 0]);
    assert_eq!(answered(&ingest, &request(&headers, &body)).await, 202);
    assert_eq!(backend.drain().await.len(), 1);
    let reads = backend
        .wire
        .count("function", "secretsmanager:GetSecretValue");
    assert!(reads < 10, "{reads} reads of the keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_are_503_and_counted_by_whether_the_subscription_is_ours() {
    let backend = Backend::start().await;
    let envelope = viewed();
    let (ours, other) = (envelope.webhook_id, Uuid::from_u128(1));
    let keyring =
        json!({ "version": 1, "by_webhook_id": { ours.to_string(): "key-of-our-subscription" } });
    backend.put_keyring(&keyring).await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    let foreign = "a-key-that-nobody-gave-us";
    assert_eq!(answered(&ingest, &delivery(&envelope, foreign)).await, 503);
    let stranger = Envelope {
        webhook_id: other,
        ..envelope.clone()
    };
    assert_eq!(answered(&ingest, &delivery(&stranger, foreign)).await, 503);
    assert_eq!(
        answered(&ingest, &delivery(&stranger, "key-of-our-subscription")).await,
        503
    );
    assert_eq!(
        outcomes(&ingest),
        ["unmatched-known", "unmatched", "unmatched"]
    );
    assert_eq!(backend.drain().await, [] as [Value; 0]);

    // The header may lie: the body's subscription decides, whatever the header chose to try.
    let mut lying = delivery(&envelope, "key-of-our-subscription");
    lying["headers"]["x-webhook-id"] = json!(other.to_string());
    assert_eq!(answered(&ingest, &lying).await, 202);
    assert_eq!(backend.drain().await.len(), 1);
    let mut lying = delivery(&stranger, "key-of-our-subscription");
    lying["headers"]["x-webhook-id"] = json!(ours.to_string());
    assert_eq!(answered(&ingest, &lying).await, 503);
    assert_eq!(backend.drain().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_size_is_413_and_a_bomb_takes_bounded_memory() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    assert_eq!(answered(&ingest, &delivery(&viewed(), KEY)).await, 202);
    let before = ingest.peak_memory().unwrap();

    let zeros = vec![0; 64 * 1024 * 1024];
    let mut headers = signed(KEY, &now_text(), &zeros);
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let bomb = simulator::gzip(&zeros);
    assert!(bomb.len() < 100_000);
    assert_eq!(answered(&ingest, &request(&headers, &bomb)).await, 413);
    let grown = ingest.peak_memory().unwrap() - before;
    assert!(
        grown < 32 * 1024 * 1024,
        "{grown} bytes for a bomb of 64 MiB"
    );

    let wire = vec![b' '; 4 * 1024 * 1024 + 1];
    let headers = signed(KEY, &now_text(), &wire);
    assert_eq!(answered(&ingest, &request(&headers, &wire)).await, 413);
    assert_eq!(outcomes(&ingest), ["queued", "oversize", "oversize"]);
    assert_eq!(backend.drain().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_gzip_is_503() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    let envelope = viewed();
    let whole = simulator::gzip(&envelope.bytes());
    let mut headers = signed(KEY, &now_text(), &envelope.bytes());
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let event = request(&headers, &whole[..whole.len() / 2]);
    assert_eq!(answered(&ingest, &event).await, 503);
    // Bytes after the last member prove nothing and harm nothing.
    let event = request(&headers, &[whole.as_slice(), b"\0\0\0"].concat());
    assert_eq!(answered(&ingest, &event).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_out_of_order_is_503_within_the_deadline() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    assert_eq!(answered(&ingest, &delivery(&viewed(), KEY)).await, 202);
    backend.drain().await;
    for fault in [
        Fault::Refuse,
        Fault::error(500, "InternalFailure"),
        Fault::error(403, "AccessDenied"),
        Fault::Hang,
        Fault::Delay(Duration::from_secs(5)),
    ] {
        backend.wire.fault("*", "sqs:SendMessage", fault.clone());
        let start = Instant::now();
        assert_eq!(
            answered(&ingest, &delivery(&viewed(), KEY)).await,
            503,
            "{fault:?}"
        );
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2200), "{fault:?}: {took:?}");
        backend.wire.heal();
        assert_eq!(
            answered(&ingest, &delivery(&viewed(), KEY)).await,
            202,
            "{fault:?}"
        );
    }
    // An answer that got lost is asked for again: twice in the queue does no harm, not at all would.
    backend.drain().await;
    backend
        .wire
        .fault_times(1, "*", "sqs:SendMessage", Fault::LoseAnswer);
    assert_eq!(answered(&ingest, &delivery(&viewed(), KEY)).await, 202);
    assert!(!backend.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_over_the_queues_limit_travels_in_parts() {
    let backend = Backend::start().await;
    let ingest = backend.function("webhook-ingest", &[]).await;
    let mut envelope = viewed();
    let record = |index: usize| {
        let mut record = envelope.data[0].clone();
        record["index"] = json!(index);
        record["padding"] = json!("x".repeat(100_000));
        record
    };
    let records: Vec<Value> = (0..30).map(record).collect();
    envelope.data = records;
    let start = Instant::now();
    assert_eq!(answered(&ingest, &delivery(&envelope, KEY)).await, 202);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let mut found = Vec::new();
    let parts = backend.drain().await;
    assert!(parts.len() > 2, "{} parts", parts.len());
    for part in parts {
        assert!(part.to_string().len() <= queue::LIMIT);
        let envelope = &part["delivery"]["content"]["envelope"];
        let first = envelope["first_index"].as_u64().unwrap_or_default();
        for (offset, record) in (0..).zip(envelope["data"].as_array().unwrap()) {
            assert_eq!(record["index"], first + offset);
            found.push(first + offset);
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..30).collect::<Vec<_>>());

    // One part that is not kept, and nothing is taken.
    backend
        .wire
        .fault_times(2, "*", "sqs:SendMessage", Fault::error(403, "AccessDenied"));
    assert_eq!(answered(&ingest, &delivery(&envelope, KEY)).await, 503);
    backend.wire.heal();
    backend.drain().await;

    // One record that fits nowhere is a declared loss, the others are not. What the delivery before had already sent may
    // still arrive, so this one has an id of its own.
    let id = Uuid::from_u128(29);
    envelope.id = Some(id);
    envelope.data[7]["padding"] = json!("x".repeat(queue::LIMIT));
    assert_eq!(answered(&ingest, &delivery(&envelope, KEY)).await, 413);
    let records = |part: &Value| {
        part["delivery"]["content"]["envelope"]["data"]
            .as_array()
            .unwrap()
            .len()
    };
    let parts = backend.drain().await;
    let ours = |part: &&Value| part["delivery"]["content"]["envelope"]["id"] == id.to_string();
    let queued: usize = parts.iter().filter(ours).map(records).sum();
    assert_eq!(queued, 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_queued_or_printed() {
    let backend = Backend::start().await;
    let ingest = backend
        .function("webhook-ingest", &[("LOG_LEVEL", "trace")])
        .await;
    let fleet = fleet();
    let mut secrets = vec![
        KEY.to_owned(),
        simulator::TOKEN_PREFIX.to_owned(),
        fleet.magic_link(),
        "?invite=".to_owned(),
        "redirect_url".to_owned(),
        "callback_url".to_owned(),
        fleet.invitation_id.to_string(),
    ];
    let mut sent = 0;
    for envelope in events::all(&fleet, OffsetDateTime::now_utc()) {
        for key in [KEY, "a-key-that-nobody-gave-us"] {
            let event = delivery(&envelope, key);
            let signature = event["headers"]["x-catena-signature"].as_str().unwrap();
            secrets.push(signature.to_owned());
            let expected = if key == KEY { 202 } else { 503 };
            assert_eq!(answered(&ingest, &event).await, expected);
            sent += u64::from(expected == 202);
        }
    }
    let queued = backend.drain().await;
    assert_eq!(queued.len() as u64, sent);
    let queued = json!(queued).to_string();
    for secret in secrets {
        assert!(!ingest.output().contains(&secret), "{secret} was printed");
        assert!(!queued.contains(&secret), "{secret} was queued");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_endpoint_out_of_reach_is_an_answer_and_no_panic() {
    let backend = Backend::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("https://{port}");
    let ingest = backend
        .function("webhook-ingest", &[("AWS_ENDPOINT_URL_SQS", &nobody)])
        .await;
    assert_eq!(answered(&ingest, &delivery(&viewed(), KEY)).await, 503);
    assert!(!ingest.output().contains("panicked"), "{}", ingest.output());
}

//! Signing keys: missing, changing, out of reach.

use std::time::{Duration, Instant};

use local::{runtime_api::Function, wire::Fault};
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use time::OffsetDateTime;

use crate::backend::{Backend, KEY, SECRET, delivery, status};

const GET: &str = "secretsmanager:GetSecretValue";

fn viewed() -> Envelope {
    let now = OffsetDateTime::now_utc();
    events::invitation_viewed(&Fleet::new("FLEET-1", now), now)
}

async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..100 {
        if let Some(found) = check().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within 10 s: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_keyring_deliveries_are_503_and_the_log_names_the_missing_step() {
    let backend = Backend::start().await;
    for (keyring, step) in [
        (json!("not a document"), "put a keyring document into it"),
        (json!({ "version": 1 }), "put a keyring document into it"),
        (
            json!({ "version": 1, "shared": "" }),
            "shorter than 12 characters",
        ),
        (json!({ "version": 9 }), "keyring version 9 is not known"),
    ] {
        backend.put_keyring(&keyring).await;
        let ingest = backend.function("webhook-ingest", &[]).await;
        let answer = ingest.invoke(&delivery(&viewed(), KEY)).await.unwrap();
        assert_eq!(status(&answer), 503, "{keyring}");
        assert!(ingest.output().contains(step), "{}", ingest.output());

        // Put right, it is found without a restart.
        backend
            .put_keyring(&json!({ "version": 1, "shared": [KEY] }))
            .await;
        until("the keyring is found", async || {
            let answer = ingest.invoke(&delivery(&viewed(), KEY)).await.unwrap();
            (status(&answer) == 202).then_some(())
        })
        .await;
    }
    let gone = json!({ "SecretId": SECRET, "ForceDeleteWithoutRecovery": true });
    backend
        .aws
        .secrets_manager("DeleteSecret", gone)
        .await
        .unwrap();
    let ingest = backend.function("webhook-ingest", &[]).await;
    let answer = ingest.invoke(&delivery(&viewed(), KEY)).await.unwrap();
    assert_eq!(status(&answer), 503);
    assert!(
        ingest.output().contains("deploy the template"),
        "{}",
        ingest.output()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_at_a_set_pace_when_nothing_matches() {
    let backend = Backend::start().await;
    let ingest = backend
        .function("webhook-ingest", &[("KEYRING_REREAD_SECONDS", "2")])
        .await;
    let answer = async |key: &str| status(&ingest.invoke(&delivery(&viewed(), key)).await.unwrap());
    assert_eq!(answer(KEY).await, 202);
    let new = "the-key-that-comes-next";
    for _ in 0..50 {
        assert_eq!(answer(new).await, 503);
    }
    let reads = backend.wire.count("function", GET);
    assert!(reads <= 3, "{reads} reads");
    backend
        .put_keyring(&json!({ "version": 1, "shared": [new, KEY] }))
        .await;
    until("the new key is found", async || {
        (answer(new).await == 202).then_some(())
    })
    .await;
    assert_eq!(answer(KEY).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_keys_serve_while_their_store_is_down() {
    let backend = Backend::start().await;
    let settings = [
        ("KEYRING_TTL_SECONDS", "0"),
        ("KEYRING_REREAD_SECONDS", "0"),
    ];
    let ingest = backend.function("webhook-ingest", &settings).await;
    let answer = async |key: &str| status(&ingest.invoke(&delivery(&viewed(), key)).await.unwrap());
    assert_eq!(answer(KEY).await, 202);
    for fault in [Fault::Refuse, Fault::error(500, "InternalServiceError")] {
        backend.wire.fault("*", GET, fault);
        let before = backend.wire.count("function", GET);
        assert_eq!(answer(KEY).await, 202);
        assert!(backend.wire.count("function", GET) > before);
        assert_eq!(answer("a-key-that-nobody-gave-us").await, 503);
        backend.wire.heal();
    }
    // A damaged document is no reason to forget good keys either.
    backend.put_keyring(&Value::Null).await;
    assert_eq!(answer(KEY).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_costs_time_within_the_deadline_and_no_delivery_if_keys_are_at_hand() {
    let backend = Backend::start().await;
    let settings = [
        ("KEYRING_TTL_SECONDS", "0"),
        ("KEYRING_REREAD_SECONDS", "0"),
    ];
    let ingest = backend.function("webhook-ingest", &settings).await;
    let answer = async |ingest: &Function, key: &str| {
        let start = Instant::now();
        let answer = ingest.invoke(&delivery(&viewed(), key)).await.unwrap();
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2200), "{took:?}");
        status(&answer)
    };
    assert_eq!(answer(&ingest, KEY).await, 202);
    backend.wire.fault("*", GET, Fault::Hang);
    assert_eq!(answer(&ingest, KEY).await, 202);
    assert_eq!(answer(&ingest, "a-key-that-nobody-gave-us").await, 503);
    let without_keys = backend.function("webhook-ingest", &[]).await;
    assert_eq!(answer(&without_keys, KEY).await, 503);
}

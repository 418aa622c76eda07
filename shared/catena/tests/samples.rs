//! Every sample: deliveries typed and snapshotted, API bodies scrubbed, nothing secret left in either.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use catena::{Content, Delivery, Event, Instant, Keyring, Resource, Scrubbed, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "sample-secret-at-least-12-chars";
/// The id of the invitation in all samples.
const INVITATION_ID: &str = "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3";

#[test]
fn every_delivery_parses_as_its_type() {
    let mut deliveries = 0;
    for (name, body) in fixtures("samples") {
        // The two files that aren't deliveries.
        if matches!(name.as_str(), "http-request-headers" | "redirects") {
            continue;
        }
        deliveries += 1;
        let scrubbed = scrub(&body);
        let Content::Envelope(envelope) = &scrubbed.content else {
            panic!("{name}: not an envelope");
        };
        let events: Vec<Value> = envelope
            .events()
            .map(|(index, event)| {
                let Event {
                    name: kind,
                    resource,
                } = event.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(kind.as_str(), envelope.event_name);
                json!({ "index": index, "resource": typed(&resource) })
            })
            .collect();
        assert_clean(&name, &serde_json::to_string(&scrubbed).unwrap());
        insta::assert_json_snapshot!(
            name.as_str(),
            json!({ "id_time": envelope.id_time(), "events": events })
        );
    }
    assert_eq!(deliveries, 38);
}

#[test]
fn the_documented_headers_are_read() {
    let sample = fs::read(fixture("samples/http-request-headers.json")).unwrap();
    let sample: Value = serde_json::from_slice(&sample).unwrap();
    let body = fs::read(fixture("samples/invitation.accepted.json")).unwrap();
    let timestamp = sample["headers"]["X-Catena-Timestamp"].as_str().unwrap();
    let signature = sign(timestamp, &body);
    let headers = sample["headers"].as_object().unwrap().iter();
    let headers = headers.map(|(name, value)| match name.as_str() {
        "X-Catena-Signature" => (name.as_str(), signature.as_bytes()),
        _ => (name.as_str(), value.as_str().unwrap().as_bytes()),
    });
    let delivery = Delivery::parse(headers, &body).unwrap();
    let label = serde_json::to_value(delivery.label()).unwrap();
    for (field, header) in [
        ("event_type", "X-Event-Type"),
        ("webhook_id", "X-Webhook-ID"),
        ("request_id", "X-Request-ID"),
        ("schema_version", "X-Schema-Version"),
    ] {
        assert_eq!(label[field], sample["headers"][header], "{header}");
    }
    let keyring = Keyring::shared(SigningKey::new(SECRET));
    let now = Instant::parse_rfc3339(timestamp).unwrap();
    assert!(delivery.verify(&keyring, now).is_ok());
}

#[test]
fn only_the_unknown_event_is_unknown() {
    for (name, body) in fixtures("samples") {
        let Content::Envelope(envelope) = scrub(&body).content else {
            continue;
        };
        for (_, event) in envelope.events() {
            let unknown = matches!(event.unwrap().resource, Resource::Unknown(_));
            assert_eq!(unknown, name == "_edge.unknown-event", "{name}");
        }
    }
}

#[test]
fn what_was_scrubbed_reads_back_the_same() {
    for (_, body) in fixtures("samples") {
        let scrubbed = scrub(&body);
        let written = serde_json::to_string(&scrubbed).unwrap();
        assert_eq!(
            serde_json::from_str::<Scrubbed>(&written).unwrap(),
            scrubbed
        );
    }
}

#[test]
fn api_bodies_hold_nothing_secret_after_scrubbing() {
    let mut bodies = 0;
    for (name, body) in fixtures("samples/api") {
        bodies += 1;
        let record: Value = serde_json::from_slice(&body).unwrap();
        // As if Catena delivered them by webhook, under the family that has the strictest rules.
        let family = if name.starts_with("invitation") {
            "invitation.created"
        } else {
            "new.event"
        };
        let delivery =
            json!({ "version": "1.0", "event_name": family, "data": [record], "webhook_id": "x" });
        let scrubbed = scrub(&serde_json::to_vec(&delivery).unwrap());
        assert_clean(&name, &serde_json::to_string(&scrubbed).unwrap());
    }
    assert_eq!(bodies, 50);
}

#[test]
fn api_bodies_read_as_the_types_of_events() {
    let item = |name: &str| -> Value {
        let body = fs::read(fixture(&format!("samples/api/{name}.json"))).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        body.pointer("/items/0").unwrap_or(&body).clone()
    };
    let read = |event: &str, name: &str| {
        let mut item = item(name);
        if let Some(id) = item
            .as_object_mut()
            .filter(|_| event.starts_with("invitation"))
        {
            id.insert("invitation_hash".to_owned(), json!("hash"));
        }
        Event::parse(event.to_owned().into(), &item)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for (event, name) in [
        ("invitation.accepted", "invitation.get.response.accepted"),
        ("invitation.created", "invitation.create.response.201"),
        (
            "share_agreement.updated",
            "share-agreements.list.response.200",
        ),
        ("connection.created", "connections.list.response.200"),
        ("execution.failed", "executions.list.response.200"),
        ("schedule.deactivated", "schedules.list.response.200"),
        (
            "resource_operation.created",
            "resource-operation.get.response.pending",
        ),
        (
            "resource_operation.failed",
            "resource-operation.get.response.failed",
        ),
        (
            "resource_operation.succeeded",
            "resource-operations.list.response.200",
        ),
        ("webhook.created", "webhook.get.response.200"),
        ("tsp.created", "tsp.get.response.integration-live"),
    ] {
        let event = read(event, name);
        assert!(!matches!(event.resource, Resource::Unknown(_)), "{name}");
    }
}

#[test]
fn a_record_of_another_form_names_its_field_and_not_its_value() {
    let problem = |record: Value| {
        Event::parse("share_agreement.created".to_owned().into(), &record)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        problem(json!({ "id": "1", "fleet_id": "2", "effective_date": "hunter2" })),
        "share_agreement.created: field effective_date has another form than documented"
    );
    assert_eq!(
        problem(json!({ "id": "hunter2" })),
        "share_agreement.created: field fleet_id is missing"
    );
    assert_eq!(
        problem(json!("hunter2")),
        "share_agreement.created: the record is not an object"
    );
}

#[test]
fn bodies_that_are_no_envelope_leave_a_hash_only() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        "{\"data\":[],",
        "secret",
    ] {
        let Content::Unreadable(unreadable) = scrub(body.as_bytes()).content else {
            panic!("{body:?} is an envelope");
        };
        assert_eq!(unreadable.length, body.len());
        assert_eq!(unreadable.sha256.len(), 64);
    }
}

#[test]
fn placeholder_names_and_nested_ids_are_scrubbed_too() {
    let body = json!({
        "event_name": "invitation.accepted",
        "webhook_id": "247b2dea-a030-48b7-9a05-ee33c1b60004",
        "data": [{
            "id": INVITATION_ID,
            "partner_provided_fleet_name": format!("Fleet {INVITATION_ID}"),
            "future": { "pre_registration_secret": "SAMPLE-NOT-A-REAL", "list": [{ "invitation_id": INVITATION_ID }] },
            "token": "SAMPLE-NOT-A-REAL",
        }, {
            "id": "1",
            "invitation": { "id": INVITATION_ID },
            "name": format!("Fleet {}", INVITATION_ID.to_uppercase()),
        }, {
            "id": "2",
            "invitation_ids": [INVITATION_ID],
        }, {
            "id": "3",
            "link": format!("https://connect.example.com/?invite={INVITATION_ID}&x=1"),
        }],
    });
    let scrubbed = scrub(&serde_json::to_vec(&body).unwrap());
    let written = serde_json::to_string(&scrubbed).unwrap();
    let written = written.replace("?invite=(invitation)", "");
    assert_clean("placeholder", &written);
    assert!(!written.to_lowercase().contains(INVITATION_ID));
    assert_eq!(written.matches("Fleet (invitation)").count(), 2);
}

#[test]
fn only_data_and_webhook_id_are_needed_to_keep_an_event() {
    for odd in [
        json!({ "version": 1.0 }),
        json!({ "event_name": null }),
        json!({ "delivery_attempt": "1" }),
        json!({ "timestamp": 1_777_881_972 }),
        json!({ "id": 7 }),
        json!({}),
    ] {
        let mut body = json!({ "webhook_id": "x", "data": [{ "id": "1" }] });
        body.as_object_mut()
            .unwrap()
            .extend(odd.as_object().unwrap().clone());
        let Content::Envelope(envelope) = scrub(&serde_json::to_vec(&body).unwrap()).content else {
            panic!("unreadable: {odd}");
        };
        assert_eq!(envelope.data, [json!({ "id": "1" })]);
    }
}

fn assert_clean(name: &str, written: &str) {
    for secret in [
        "SAMPLE-NOT-A-REAL",
        "pre_registration",
        "?invite=",
        "magic_link",
        INVITATION_ID,
    ] {
        assert!(!written.contains(secret), "{name}: {secret} in {written}");
    }
}

fn typed(resource: &Resource) -> Value {
    let value = match resource {
        Resource::Invitation(it) => serde_json::to_value(it),
        Resource::ShareAgreement(it) => serde_json::to_value(it),
        Resource::Connection(it) => serde_json::to_value(it),
        Resource::FleetConnection(it) => serde_json::to_value(it),
        Resource::Execution(it) => serde_json::to_value(it),
        Resource::Schedule(it) => serde_json::to_value(it),
        Resource::ResourceOperation(it) => serde_json::to_value(it),
        Resource::Message(it) => serde_json::to_value(it),
        Resource::Tsp(it) => serde_json::to_value(it),
        Resource::Subscription(it) => serde_json::to_value(it),
        Resource::Unknown(it) => Ok(it.clone()),
    };
    value.unwrap()
}

fn scrub(body: &[u8]) -> Scrubbed {
    let timestamp = "2026-05-04T08:06:12+00:00";
    let signature = sign(timestamp, body);
    let headers = [
        ("x-catena-signature", signature.as_bytes()),
        ("x-catena-timestamp", timestamp.as_bytes()),
    ];
    Delivery::parse(headers, body)
        .unwrap()
        .verify(
            &Keyring::shared(SigningKey::new(SECRET)),
            Instant::parse_rfc3339(timestamp).unwrap(),
        )
        .unwrap()
        .scrub()
}

fn sign(timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(path)
}

fn fixtures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(fixture(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

//! The 28 signature vectors, and every single-byte change of a delivery.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

use base64::{Engine, engine::general_purpose::STANDARD};
use catena::{
    Age, Delivery, Instant, Keyring, Malformed, MalformedHeader, NoKeyMatches, Refused, SigningKey,
};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secrets: Vec<String>,
    timestamp: String,
    now: String,
    wire_body_base64: String,
    signature: String,
    expect: String,
    reason: String,
}

#[test]
fn every_vector_gets_its_verdict() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/signature-vectors.json"
    );
    let Vectors { vectors } =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(vectors.len(), 28);
    for vector in vectors {
        let body = STANDARD.decode(&vector.wire_body_base64).unwrap();
        let keyring = Keyring::shared(vector.secrets.iter().filter_map(|s| SigningKey::new(s)));
        let now = Instant::parse_rfc3339(&vector.now).unwrap();
        let headers = [
            ("X-Catena-Signature", vector.signature.as_bytes()),
            ("X-Catena-Timestamp", vector.timestamp.as_bytes()),
        ];
        let verdict = verdict(headers, &body, &keyring, now);
        assert_eq!(verdict, vector.reason, "{}", vector.name);
        assert_eq!(
            verdict == "valid",
            vector.expect == "accept",
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_single_byte_change_of_a_delivery_is_refused() {
    let secret = "sample-secret-at-least-12-chars";
    let keyring = Keyring::shared(SigningKey::new(secret));
    let timestamp = "2026-05-04T08:06:12+00:00";
    let now = Instant::parse_rfc3339(timestamp).unwrap();
    let mut body =
        br#"{"version":"1.0","event_name":"invitation.accepted","data":[{"text":""#.to_vec();
    body.resize(1024 - 3, b'x');
    body.extend(b"\"}]}".get(..3).unwrap());
    assert_eq!(body.len(), 1024);
    let signature = sign(secret, timestamp, &body);
    let accepted = |signature: &[u8], timestamp: &[u8], body: &[u8]| {
        let headers = [
            ("x-catena-signature", signature),
            ("x-catena-timestamp", timestamp),
        ];
        verdict(headers, body, &keyring, now) == "valid"
    };
    assert!(accepted(signature.as_bytes(), timestamp.as_bytes(), &body));
    let mut refused = 0;
    for index in 0..body.len() {
        for flip in 1..=u8::MAX {
            let mut changed = body.clone();
            changed[index] ^= flip;
            assert!(!accepted(
                signature.as_bytes(),
                timestamp.as_bytes(),
                &changed
            ));
            refused += 1;
        }
    }
    for index in 0..timestamp.len() {
        for flip in 1..=u8::MAX {
            let mut changed = timestamp.as_bytes().to_vec();
            changed[index] ^= flip;
            assert!(!accepted(signature.as_bytes(), &changed, &body));
            refused += 1;
        }
    }
    for index in 0..signature.len() {
        for flip in 1..=u8::MAX {
            let mut changed = signature.as_bytes().to_vec();
            changed[index] ^= flip;
            assert!(!accepted(&changed, timestamp.as_bytes(), &body));
            refused += 1;
        }
    }
    assert_eq!(refused, (1024 + 25 + 44) * 255);
}

#[test]
fn absent_empty_and_repeated_headers_are_malformed() {
    let signature = STANDARD.encode([0; 32]);
    let good = [
        ("x-catena-signature", signature.as_str()),
        ("x-catena-timestamp", "2026-05-04T08:06:12Z"),
    ];
    let malformed = |headers: &[(&str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        match Delivery::parse(headers, b"") {
            Err(Refused::Malformed(Malformed { header, problem })) => Some((header, problem)),
            _ => None,
        }
    };
    assert_eq!(malformed(&good), None);
    for (index, (name, value)) in good.into_iter().enumerate() {
        let other = good[1 - index];
        assert_eq!(malformed(&[other]), Some((name, MalformedHeader::Absent)));
        assert_eq!(
            malformed(&[other, (name, "")]),
            Some((name, MalformedHeader::Empty))
        );
        let upper = name.to_uppercase();
        assert_eq!(
            malformed(&[other, (name, value), (&upper, value)]),
            Some((name, MalformedHeader::Repeated))
        );
        let joined = format!("{value},{value}");
        assert!(malformed(&[other, (name, &joined)]).is_some());
    }
}

#[test]
fn age_is_judged_on_both_sides() {
    let now = Instant::parse_rfc3339("2026-05-04T08:06:12Z").unwrap();
    let age = |seconds: i64| Age::of(Instant::from_millis(now.millis() - seconds * 1000), now);
    let days = 24 * 60 * 60;
    assert_eq!([age(0), age(300), age(-300)], [Age::Fresh; 3]);
    assert_eq!([age(301), age(15 * days)], [Age::Late; 2]);
    assert_eq!([age(15 * days + 1), age(900 * days)], [Age::TooOld; 2]);
    assert_eq!([age(-301), age(-900 * days)], [Age::Future; 2]);
}

const A: &str = "247b2dea-a030-48b7-9a05-ee33c1b60001";
const B: &str = "247b2dea-a030-48b7-9a05-ee33c1b60002";

#[test]
fn the_body_decides_which_subscription_signed() {
    let keyring = Keyring::parse(&format!(
        r#"{{"version":1,"shared":"shared-secret","by_webhook_id":{{"{A}":"secret-of-a-1","{B}":"secret-of-b-1"}}}}"#
    ))
    .unwrap();
    let verified = |header: Option<&str>, body: &str, secret: &str| {
        let body = format!(r#"{{"version":"1.0","data":[],"webhook_id":"{body}"}}"#);
        let timestamp = "2026-05-04T08:06:12Z";
        let signature = sign(secret, timestamp, body.as_bytes());
        let mut headers = vec![
            ("x-catena-signature", signature.as_bytes()),
            ("x-catena-timestamp", timestamp.as_bytes()),
        ];
        headers.extend(header.map(|id| ("x-webhook-id", id.as_bytes())));
        let delivery = Delivery::parse(headers, body.as_bytes()).unwrap();
        let now = Instant::parse_rfc3339(timestamp).unwrap();
        delivery.verify(&keyring, now).map(|_| ())
    };
    for header in [None, Some(A), Some(B), Some("not a uuid")] {
        assert_eq!(verified(header, B, "secret-of-b-1"), Ok(()), "{header:?}");
        assert_eq!(verified(header, B, "shared-secret"), Ok(()), "{header:?}");
        assert_eq!(
            verified(header, B, "secret-of-a-1"),
            Err(NoKeyMatches {
                webhook_id: Some(B.parse().unwrap()),
                known: true
            }),
            "{header:?}"
        );
    }
}

fn verdict<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
    keyring: &Keyring,
    now: Instant,
) -> &'static str {
    let delivery = match Delivery::parse(headers, body) {
        Ok(delivery) => delivery,
        Err(Refused::Malformed(Malformed { header, problem })) => {
            return match (header, problem) {
                (
                    "x-catena-signature",
                    MalformedHeader::Absent | MalformedHeader::Empty | MalformedHeader::Repeated,
                ) => "signature_missing",
                ("x-catena-signature", _) => "signature_malformed",
                _ => "timestamp_malformed",
            };
        }
        Err(Refused::Oversize | Refused::Inflate(_)) => return "body",
    };
    match delivery.verify(keyring, now) {
        Err(NoKeyMatches { .. }) => "signature_mismatch",
        Ok(verified) => match verified.age() {
            Age::Fresh => "valid",
            Age::Late | Age::TooOld => "timestamp_too_old",
            Age::Future => "timestamp_in_future",
        },
    }
}

fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

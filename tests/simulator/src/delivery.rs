//! How an envelope travels: signed, compressed, with headers.

use std::io::Write as _;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::envelope::{Envelope, uuid_v4};

/// One HTTP request as it goes over the wire. Alter it at will before sending.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// All headers of contract 6.2. Names are lower case here and in title case on the wire;
    /// receivers ignore case.
    pub headers: HeaderMap,
    /// The compressed body.
    pub body: Bytes,
}

impl Delivery {
    /// The envelope, signed and compressed as Catena does it (contract 6.2, 6.3).
    pub fn new(envelope: &Envelope, key: &str, timestamp_text: &str) -> Self {
        let body = envelope.bytes();
        let signature = sign(key, timestamp_text, &body);
        Self {
            headers: headers(envelope, timestamp_text, &signature),
            body: gzip(&body).into(),
        }
    }

    /// The same with one bit of the body flipped after signing. The compression is intact: only the
    /// signature tells.
    pub fn corrupted(envelope: &Envelope, key: &str, timestamp_text: &str) -> Self {
        let mut body = envelope.bytes();
        let signature = sign(key, timestamp_text, &body);
        let middle = body.len() / 2;
        body[middle] ^= 1;
        Self {
            headers: headers(envelope, timestamp_text, &signature),
            body: gzip(&body).into(),
        }
    }
}

/// `X-Catena-Signature`: base64 of HMAC-SHA256 over the header's timestamp text, a dot and the
/// uncompressed body (contract 6.3).
pub fn sign(key: &str, timestamp_text: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp_text.as_bytes());
    mac.update(b".");
    mac.update(body);
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// The headers of one attempt (contract 6.2); `X-Request-ID` is new with each call.
///
/// # Panics
///
/// If the event name, the version, the timestamp or the signature holds a control character.
pub fn headers(envelope: &Envelope, timestamp_text: &str, signature: &str) -> HeaderMap {
    let value = |text: &str| {
        HeaderValue::from_str(text).expect("a header value without control characters")
    };
    let fixed = |name, text| (name, HeaderValue::from_static(text));
    let catena = |name, text: &str| (HeaderName::from_static(name), value(text));
    HeaderMap::from_iter([
        fixed(header::CONTENT_TYPE, "application/json"),
        fixed(header::CONTENT_ENCODING, "gzip"),
        fixed(header::USER_AGENT, "Catena-Webhook"),
        fixed(header::ACCEPT, "application/json"),
        catena("x-catena-signature", signature),
        catena("x-catena-timestamp", timestamp_text),
        catena("x-event-type", &envelope.event_name),
        catena("x-webhook-id", &envelope.webhook_id.to_string()),
        catena("x-request-id", &uuid_v4().to_string()),
        catena("x-schema-version", &envelope.version),
        catena("x-source", "catena-notifications"),
        catena("x-delivery-attempt", &envelope.delivery_attempt.to_string()),
    ])
}

/// Compresses a body (contract 6.2).
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory succeeds")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn signatures_equal_the_vectors() {
        let vectors = include_str!("../../fixtures/signature-vectors.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        for vector in vectors {
            let body = BASE64_STANDARD
                .decode(vector["payload_base64"].as_str().unwrap())
                .unwrap();
            let timestamp = vector["timestamp"].as_str().unwrap();
            let secrets = vector["secrets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s.as_str().unwrap());
            let ours = secrets
                .map(|secret| sign(secret, timestamp, &body))
                .collect::<Vec<_>>();
            let theirs = vector["signature"].as_str().unwrap().to_owned();
            // Everything that is refused for its time alone is signed correctly.
            let reason = vector["reason"].as_str().unwrap();
            let genuine = reason == "valid" || reason.starts_with("timestamp_");
            assert_eq!(
                ours.contains(&theirs),
                genuine,
                "{}: {reason}",
                vector["name"]
            );
        }
        assert_eq!(vectors.len(), 28);
    }
}

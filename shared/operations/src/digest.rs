//! What tells requests and payloads apart: 128 bits of SHA-256 in hexadecimal digits.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::Kind;

/// Our id of the operation that a key stands for: the same key of a fleet is the same operation.
pub fn operation_id(fleet_ref: &str, idempotency_key: &str) -> String {
    digest(&["operation", fleet_ref, idempotency_key])
}

/// What a request asks for: a repeated key must come with the same. As it was written, so the connection is left out where the
/// caller left it out.
pub fn request_digest(
    resource: &str,
    kind: Kind,
    target: Option<&str>,
    connection: Option<&str>,
    payload: &Map<String, Value>,
) -> String {
    digest(&[
        "request",
        resource,
        kind.as_str(),
        target.unwrap_or_default(),
        connection.unwrap_or_default(),
        &canonical(payload),
    ])
}

/// What two writes share that a search couldn't tell apart: see [`Search`](crate::Search). What Catena adds to a payload is left out,
/// and what an update changes, because Catena may show that only after success.
pub fn guard_digest(
    connection: &str,
    resource: &str,
    kind: Kind,
    payload: &Map<String, Value>,
) -> String {
    let essential = payload
        .iter()
        .filter(|(name, value)| !is_added(name) && !value.is_null() && *name != CONNECTION)
        .map(|(name, value)| (name.clone(), coarse(value)))
        .collect();
    let essential = canonical(&essential).to_lowercase();
    digest(&[
        "payload",
        &connection.to_lowercase(),
        resource,
        kind.as_str(),
        &essential,
    ])
}

/// Whether a field of a payload may be one that Catena adds: what it resolved an id of ours to (contract 5.4).
pub(crate) fn is_added(name: &str) -> bool {
    name.starts_with("source_")
}

/// In every write's body (contract 5.3).
pub(crate) const CONNECTION: &str = "connection_id";

/// Its keys in their order, without spaces: `serde_json`'s maps are sorted.
fn canonical(payload: &Map<String, Value>) -> String {
    let sorted: std::collections::BTreeMap<&String, Value> = payload
        .iter()
        .map(|(name, value)| (name, plain(value)))
        .collect();
    serde_json::to_string(&sorted).unwrap_or_default()
}

/// Numbers that are equal are written alike.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(whole)
                if number.as_i64().is_none() && whole.fract() == 0.0 && whole.abs() < 9e15 =>
            {
                Value::from(whole as i64)
            }
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// What is equal to a search is written alike: nulls inside as if they weren't there, and numbers as far as they differ there.
fn coarse(value: &Value) -> Value {
    match value {
        // Minus nothing is nothing.
        Value::Number(number) => number
            .as_f64()
            .map_or(Value::Null, |number| Value::from(number + 0.0)),
        Value::Array(items) => Value::Array(items.iter().map(coarse).collect()),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            let said = said.map(|(name, value)| (name.clone(), coarse(value)));
            Value::Object(said.collect())
        }
        other => other.clone(),
    }
}

/// Each part with its length before it, so that none can pass for another.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let bytes = hash.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

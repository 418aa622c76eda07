//! The content of a delivery, and taking out of it what must not rest anywhere.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use uuid::Uuid;

use crate::{Age, Event, EventName, Instant, InvalidRecord, lenient::lenient};

/// SHA-256 of an invitation's id. The id itself opens the fleet's tokens without authentication (contract 0.2), so it is
/// never written where the hash will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InvitationHash(String);

impl InvitationHash {
    /// Hashes an invitation's id, in whichever case it is written.
    pub fn of(invitation_id: &str) -> Self {
        Self(sha256_hex(
            invitation_id.trim().to_ascii_lowercase().as_bytes(),
        ))
    }

    /// 64 lower-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvitationHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be written: a proved delivery without tokens, magic links, redirect URLs and raw invitation ids.
///
/// Reading one back from where it was written is the other way to get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// The time in the signature header of this attempt. It doesn't order anything.
    pub signed_at: Instant,
    /// How old the delivery was when it arrived.
    pub age: Age,
    /// What it says.
    pub content: Content,
}

/// A proved body, readable or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// An envelope as contract 6.8 describes it.
    Envelope(Envelope),
    /// Anything else.
    Unreadable(Unreadable),
}

/// The envelope of contract 6.8. Only `data` and `webhook_id` are needed to read one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Envelope {
    /// The payload's version. Not to be branched on.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub version: Option<String>,
    /// The event's name; empty if there is none.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub event_name: String,
    /// One, several or no records.
    pub data: Vec<Value>,
    /// The index in the delivery of the first record here: a delivery over the queue's limit travels in parts.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub first_index: usize,
    /// The subscription.
    pub webhook_id: String,
    /// "Occurred" or "dispatched", depending on the source (contract 6.8): never an ordering key.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub timestamp: Option<String>,
    /// This event instance, the same in each attempt (inferred, contract 6.5). A UUIDv7 when it is there.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub id: Option<String>,
    /// Informational.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub delivery_attempt: Option<i64>,
}

impl Envelope {
    /// The event's name as a type.
    pub fn name(&self) -> EventName {
        EventName::from(self.event_name.clone())
    }

    /// The records with their index in the delivery, each typed or with the reason why it isn't.
    pub fn events(&self) -> impl Iterator<Item = (usize, Result<Event, InvalidRecord>)> {
        let name = self.name();
        self.data.iter().enumerate().map(move |(index, record)| {
            (self.first_index + index, Event::parse(name.clone(), record))
        })
    }

    /// The time inside the envelope's id, if that is a plausible UUIDv7.
    pub fn id_time(&self) -> Option<Instant> {
        Instant::of_id(self.id.as_deref()?)
    }
}

/// A proved body that is no envelope. It can't be scrubbed, so nothing of its text is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// SHA-256 of the inflated body, in hexadecimal digits.
    pub sha256: String,
    /// Length of the inflated body in bytes.
    pub length: usize,
    /// What the headers said.
    pub label: Label,
}

/// What the headers outside the MAC say, cut to a bearable length. Never the signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// `X-Event-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// `X-Webhook-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// `X-Request-ID`: another one for each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `X-Schema-Version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
}

impl Label {
    const LONGEST: usize = 100;

    pub(crate) fn offer(&mut self, name: &str, value: &[u8]) {
        let field = match name {
            _ if name.eq_ignore_ascii_case("x-event-type") => &mut self.event_type,
            _ if name.eq_ignore_ascii_case("x-webhook-id") => &mut self.webhook_id,
            _ if name.eq_ignore_ascii_case("x-request-id") => &mut self.request_id,
            _ if name.eq_ignore_ascii_case("x-schema-version") => &mut self.schema_version,
            _ => return,
        };
        let printable = value.iter().filter(|byte| (b' '..=b'~').contains(byte));
        *field = Some(
            printable
                .take(Self::LONGEST)
                .map(|byte| char::from(*byte))
                .collect(),
        );
    }

    pub(crate) fn webhook_id(&self) -> Option<Uuid> {
        self.webhook_id.as_deref()?.parse().ok()
    }
}

/// A proved body before scrubbing.
#[derive(Debug)]
pub(crate) enum RawContent {
    Envelope(Envelope),
    Unreadable { sha256: String, length: usize },
}

impl RawContent {
    /// The one JSON pass over a body.
    pub(crate) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Envelope>(body) {
            Ok(envelope) => Self::Envelope(Envelope {
                first_index: 0,
                ..envelope
            }),
            Err(_) => Self::Unreadable {
                sha256: sha256_hex(body),
                length: body.len(),
            },
        }
    }

    pub(crate) fn webhook_id(&self) -> Option<Uuid> {
        match self {
            Self::Envelope(envelope) => envelope.webhook_id.parse().ok(),
            Self::Unreadable { .. } => None,
        }
    }

    pub(crate) fn scrub(self, label: Label) -> Content {
        match self {
            Self::Envelope(mut envelope) => {
                scrub(&envelope.event_name, &mut envelope.data);
                Content::Envelope(envelope)
            }
            Self::Unreadable { sha256, length } => Content::Unreadable(Unreadable {
                sha256,
                length,
                label,
            }),
        }
    }
}

/// The subscription that an unproved body names: good only for choosing which keys to try.
pub(crate) fn peek_webhook_id(body: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Peek {
        webhook_id: Uuid,
    }
    serde_json::from_slice::<Peek>(body)
        .ok()
        .map(|peek| peek.webhook_id)
}

/// Takes tokens, magic links and redirect URLs (they carry our own return tokens) out of the records at any depth, and
/// puts hashes where raw invitation ids stand, placeholder names such as `Fleet <invitation id>` included.
fn scrub(event_name: &str, data: &mut [Value]) {
    let is_invitation = event_name.split('.').next() == Some("invitation");
    for record in data {
        scrub_record(record, is_invitation);
    }
}

/// Scrubs one record of Catena's API in the way of an event's: of an invitation (`is_invitation`) the own `id` becomes
/// `invitation_hash` too.
pub fn scrub_record(record: &mut Value, is_invitation: bool) {
    let mut raw_ids = Vec::new();
    if is_invitation && let Value::Object(fields) = record {
        raw_ids.extend(fields.get("id").and_then(Value::as_str).map(str::to_owned));
        replace_by_hash(fields, "id");
    }
    collect_invitation_ids(record, false, &mut raw_ids);
    raw_ids.retain(|id| !id.is_empty());
    raw_ids.sort_unstable();
    raw_ids.dedup();
    clean(record, &raw_ids);
}

/// Finds ids by what holds them, and in any link that invites. `is_id`: the texts in `value` are such ids.
fn collect_invitation_ids(value: &Value, is_id: bool, raw_ids: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_id = matches!(name.as_str(), INVITATION_ID | "invitation_ids");
                collect_invitation_ids(value, is_id, raw_ids);
                if name == "invitation" {
                    raw_ids.extend(value.get("id").and_then(Value::as_str).map(str::to_owned));
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                collect_invitation_ids(value, is_id, raw_ids);
            }
        }
        Value::String(text) if is_id => raw_ids.push(text.clone()),
        Value::String(text) => raw_ids.extend(invite_parameter(text)),
        _ => {}
    }
}

/// The id in `…/?invite=<invitation id>` (contract 3.1).
fn invite_parameter(link: &str) -> Option<String> {
    let (_, rest) = link.split_once("invite=")?;
    let id = rest.split(['&', '#']).next()?;
    Some(id.to_owned())
}

fn clean(value: &mut Value, raw_ids: &[String]) {
    match value {
        Value::Object(fields) => {
            replace_by_hash(fields, INVITATION_ID);
            fields.retain(|name, _| !must_not_rest(name));
            for value in fields.values_mut() {
                clean(value, raw_ids);
            }
        }
        Value::Array(values) => {
            for value in values {
                clean(value, raw_ids);
            }
        }
        Value::String(text) => {
            for id in raw_ids {
                if let Some(cleaned) = without(text, id) {
                    *text = cleaned;
                }
            }
        }
        _ => {}
    }
}

/// The text without an id, in whichever case it stands there. `None` if it doesn't.
fn without(text: &str, id: &str) -> Option<String> {
    let (lower, id) = (text.to_ascii_lowercase(), id.to_ascii_lowercase());
    let mut cleaned = String::new();
    let mut rest = 0;
    for (found, _) in lower.match_indices(&id) {
        cleaned += &text[rest..found];
        cleaned += "(invitation)";
        rest = found + id.len();
    }
    (rest > 0).then(|| cleaned + &text[rest..])
}

fn replace_by_hash(fields: &mut Map<String, Value>, name: &str) {
    if let Some(value) = fields.remove(name)
        && let Value::String(id) = value
    {
        let hash = InvitationHash::of(&id).0;
        fields.insert(INVITATION_HASH.to_owned(), Value::String(hash));
    }
}

fn must_not_rest(name: &str) -> bool {
    name.starts_with("pre_registration_")
        || name.ends_with("_token")
        || matches!(
            name,
            "magic_link"
                | "success_redirect_url"
                | "failure_redirect_url"
                | "callback_url"
                | "authorization"
                | "credentials"
                | "password"
                | "secret"
                | "token"
                | "tokens"
        )
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(index: &usize) -> bool {
    *index == 0
}

fn sha256_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

const INVITATION_ID: &str = "invitation_id";
const INVITATION_HASH: &str = "invitation_hash";

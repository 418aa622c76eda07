//! What a delivery says: the envelope around an event's records.

use rand::RngExt as _;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime, UtcDateTime};
use uuid::{Builder, Uuid};

/// One event as Catena wraps it for one subscription (contract 6.8). All fields are public, so that
/// a test can build what Catena never would.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Envelope {
    /// The payload schema's version.
    pub version: String,
    /// The event's name.
    pub event_name: String,
    /// The event's records: usually one.
    pub data: Vec<Value>,
    /// The subscription.
    pub webhook_id: Uuid,
    /// When Catena dispatched the event: some hundred milliseconds after it occurred (contract
    /// 6.5).
    pub timestamp: Option<String>,
    /// This instance of the event: a UUIDv7 that retries and repeats keep (contract 6.5).
    pub id: Option<Uuid>,
    /// Counts from 1 in the header (contract 6.2); the body follows it (contract 6.8).
    pub delivery_attempt: u32,
    /// The fleet concerned, for the simulator's own log: never sent.
    #[serde(skip)]
    pub fleet_ref: Option<String>,
}

/// An event that happened at `occurred_at`, as its subscription gets it.
pub fn envelope(event_name: &str, data: Vec<Value>, occurred_at: OffsetDateTime) -> Envelope {
    let dispatched_at = occurred_at + LATENCY;
    let text = |field: &str| data.first()?.get(field)?.as_str().map(str::to_owned);
    Envelope {
        version: "1.0".to_owned(),
        event_name: event_name.to_owned(),
        webhook_id: webhook_id(event_name),
        timestamp: Some(millisecond_text(dispatched_at)),
        id: Some(uuid_v7(dispatched_at)),
        delivery_attempt: 1,
        fleet_ref: text("fleet_ref"),
        data,
    }
}

impl Envelope {
    /// The body before compression: what is signed.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope is plain JSON")
    }

    /// The same event in its n-th delivery attempt: other bytes, and so another signature (contract
    /// 6.8).
    #[must_use]
    pub fn attempt(&self, attempt: u32) -> Self {
        Self {
            delivery_attempt: attempt,
            ..self.clone()
        }
    }

    /// The same event through this subscription.
    pub(crate) fn through(&self, webhook_id: Uuid) -> Self {
        Self {
            webhook_id,
            ..self.clone()
        }
    }

    /// Sent at that very time: of events that aren't made up beforehand, so that none comes from the future.
    pub(crate) fn dispatched(self, at: OffsetDateTime) -> Self {
        Self {
            timestamp: Some(millisecond_text(at)),
            id: Some(uuid_v7(at)),
            ..self
        }
    }

    /// Waits until the time of its id is over: some milliseconds, of an event that is the last of several at once.
    pub(crate) async fn due(&self) {
        let milliseconds = self.id.map_or(0, |id| id.as_u128() >> 80);
        let at = std::time::UNIX_EPOCH
            + std::time::Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default() + 1);
        if let Ok(wait) = at.duration_since(std::time::SystemTime::now()) {
            tokio::time::sleep(wait).await;
        }
    }

    /// The record's fields take the values that the stored resource has for them.
    pub(crate) fn saying(mut self, stored: &Value) -> Self {
        let fields = self.data.iter_mut().filter_map(Value::as_object_mut);
        for (name, value) in fields.flatten() {
            if let Some(stored) = stored.get(name) {
                *value = stored.clone();
            }
        }
        self
    }

    pub(crate) fn about(self, fleet_ref: &str) -> Self {
        Self {
            fleet_ref: Some(fleet_ref.to_owned()),
            ..self
        }
    }
}

/// The standing subscription of an event name, until [`Simulator::clear_subscriptions`](crate::Simulator::clear_subscriptions).
/// There is one per name, because a wildcard expands into one per action (contract 6.1). The id follows from the name, so every simulator has the same ones.
pub fn webhook_id(event_name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(event_name)[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

/// A time as the header has it: whole seconds, `+00:00` (contract 6.2).
pub fn timestamp_text(at: OffsetDateTime) -> String {
    format!("{}+00:00", second_text(at))
}

/// A time as records have it: microseconds and `Z` (contract 2).
pub(crate) fn microsecond_text(at: OffsetDateTime) -> String {
    format!("{}.{:06}Z", second_text(at), at.microsecond())
}

fn millisecond_text(at: OffsetDateTime) -> String {
    format!("{}.{:03}Z", second_text(at), at.millisecond())
}

fn second_text(at: OffsetDateTime) -> String {
    let at = UtcDateTime::from(at);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.as_hms();
    format!(
        "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}",
        u8::from(month)
    )
}

/// New identifiers are version 7 (contract 2), so they sort by their time.
pub(crate) fn uuid_v7(at: OffsetDateTime) -> Uuid {
    let milliseconds = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(milliseconds, &rand::rng().random()).into_uuid()
}

pub(crate) fn uuid_v4() -> Uuid {
    Builder::from_random_bytes(rand::rng().random()).into_uuid()
}

/// Typical latency is 200 to 500 ms after the cause (contract 6.5).
const LATENCY: Duration = Duration::milliseconds(300);

//! What an event looks like, as Catena tells it (contract 6.1: "the way to learn an undocumented payload").

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use self::{
    Kind::{Boolean, Id, Integer, Object, Objects, OneOf, Text, Texted, Texts, Time},
    Presence::{Nullable, Optional, Required},
};
use super::catalogue::is_known;
use crate::envelope::microsecond_text;

/// Schemas that were replaced; of all other events, the contract's.
#[derive(Default)]
pub(crate) struct Schemas(HashMap<String, Vec<Replaced>>);

struct Replaced {
    document: Value,
    at: OffsetDateTime,
}

impl Schemas {
    /// The event has this schema from now on: a new version.
    pub(crate) fn set(&mut self, event_name: &str, document: Value, now: OffsetDateTime) {
        let replaced = self.0.entry(event_name.to_owned()).or_default();
        replaced.push(Replaced { document, at: now });
    }

    /// `EventSchema` of the newest version.
    pub(crate) fn newest(&self, event_name: &str) -> Option<Value> {
        self.versions(event_name).pop()
    }

    /// `EventSchema` of one version.
    pub(crate) fn version(&self, event_name: &str, version: &str) -> Option<Value> {
        let mut versions = self.versions(event_name).into_iter();
        versions.find(|read| read["version"] == version)
    }

    fn versions(&self, event_name: &str) -> Vec<Value> {
        let first = document(event_name).map(|document| (document, FIRST.to_owned()));
        let replaced = self.0.get(event_name).into_iter().flatten();
        let replaced = replaced.map(|it| (it.document.clone(), microsecond_text(it.at)));
        let versions = first.into_iter().chain(replaced).enumerate();
        let read = |(minor, (document, created_at)): (usize, (Value, String))| {
            let changelog = match minor {
                0 => "Initial schema version",
                _ => "Replaced by a test",
            };
            json!({
                "event_name": event_name,
                "version": format!("1.{minor}"),
                "created_at": created_at,
                "openapi_schema": document.to_string(),
                "changelog": changelog,
            })
        };
        versions.map(read).collect()
    }
}

/// The OpenAPI document of an event. `tsp.requested` has none: its payload is unknown. Records that the contract doesn't
/// describe are objects, no more is said of them.
fn document(event_name: &str) -> Option<Value> {
    if !is_known(event_name) || event_name == "tsp.requested" {
        return None;
    }
    let family = event_name.split('.').next().unwrap_or_default();
    let fields = fields(event_name);
    let name = format!("{}Record", camel_case(family));
    let envelope = with_properties(&[
        ("version", Text, Required),
        ("event_name", Text, Optional),
        ("webhook_id", Id, Required),
        ("timestamp", Time, Nullable),
        ("id", Id, Nullable),
        ("delivery_attempt", Integer, Optional),
    ]);
    let mut envelope = envelope;
    let record = format!("#/components/schemas/{name}");
    envelope["properties"]["data"] = json!({"type": "array", "items": {"$ref": record}});
    if let Some(required) = envelope["required"].as_array_mut() {
        required.push("data".into());
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": event_name, "version": "1.0"},
        "paths": {},
        "components": {"schemas": {"Envelope": envelope, name: with_properties(fields)}},
    }))
}

fn with_properties(fields: &[Field]) -> Value {
    let property = |&(name, kind, presence): &Field| {
        let mut schema = kind.schema();
        if presence == Nullable {
            schema["nullable"] = true.into();
        }
        (name.to_owned(), schema)
    };
    let required = fields
        .iter()
        .filter(|(_, _, presence)| *presence == Required)
        .map(|(name, ..)| *name);
    let mut schema = json!({
        "type": "object",
        "properties": fields.iter().map(property).collect::<Map<_, _>>(),
    });
    let required: Vec<_> = required.collect();
    // OpenAPI 3.0 allows no empty list here.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn camel_case(family: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    family.split('_').map(word).collect()
}

type Field = (&'static str, Kind, Presence);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    /// May be left out, and may be null.
    Nullable,
    /// May be left out.
    Optional,
}

#[derive(Clone, Copy)]
enum Kind {
    Id,
    Text,
    Time,
    Integer,
    Boolean,
    Texts,
    /// Texts by name.
    Texted,
    Object,
    Objects,
    OneOf(&'static [&'static str]),
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Id => json!({"type": "string", "format": "uuid"}),
            Self::Text => json!({"type": "string"}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Integer => json!({"type": "integer"}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Texted => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            Self::Object => json!({"type": "object"}),
            Self::Objects => json!({"type": "array", "items": {"type": "object"}}),
            Self::OneOf(values) => json!({"type": "string", "enum": values}),
        }
    }
}

/// The table of contract 6.10.
fn fields(event_name: &str) -> &'static [Field] {
    // Named, but no payload is documented.
    if event_name == "execution.created" {
        return &[];
    }
    match event_name.split('.').next() {
        Some("invitation") => INVITATION,
        Some("share_agreement") => SHARE_AGREEMENT,
        Some("connection") => CONNECTION,
        Some("fleet_connection") => FLEET_CONNECTION,
        Some("execution") => EXECUTION,
        Some("schedule") => SCHEDULE,
        Some("resource_operation") => RESOURCE_OPERATION,
        Some("tsp") => TSP,
        Some("webhook") => WEBHOOK,
        Some("message") => MESSAGE,
        _ => &[],
    }
}

const INVITATION: &[Field] = &[
    ("id", Id, Required),
    ("created_at", Time, Required),
    ("magic_link", Text, Required),
    ("expires_at", Time, Required),
    ("expires_in_hours", Integer, Required),
    ("status", OneOf(STATUSES), Required),
    ("partner_provided_fleet_name", Text, Nullable),
    ("accepted_at", Time, Nullable),
    ("pre_registration_access_token", Text, Nullable),
    ("pre_registration_refresh_token", Text, Nullable),
    ("success_redirect_url", Text, Nullable),
    ("failure_redirect_url", Text, Nullable),
    ("callback_url", Text, Nullable),
    ("limit_tsps", Texts, Nullable),
    ("fleet_id", Id, Nullable),
    ("partner_slug", Text, Nullable),
    ("partner_id", Id, Nullable),
    ("decline_reason", Text, Nullable),
    ("declined_at", Time, Nullable),
    ("fleet_ref", Text, Nullable),
];
const SHARE_AGREEMENT: &[Field] = &[
    ("id", Id, Required),
    ("fleet_id", Id, Required),
    ("partner_id", Id, Required),
    ("status", OneOf(STATUSES), Required),
    ("scopes", Texted, Required),
    ("fleet_ref", Text, Nullable),
    ("effective_date", Time, Nullable),
    ("expiration_date", Time, Nullable),
];
const CONNECTION: &[Field] = &[
    ("id", Id, Required),
    ("source_name", Text, Required),
    ("fleet_id", Id, Required),
    ("tsp_id", Id, Required),
    ("status", OneOf(STATUSES), Required),
];
const FLEET_CONNECTION: &[Field] = &[
    ("id", Id, Required),
    ("fleet_id", Id, Required),
    ("connection_id", Id, Required),
];
const EXECUTION: &[Field] = &[
    ("id", Id, Required),
    ("created_at", Time, Required),
    ("updated_at", Time, Required),
    ("schedule_id", Id, Required),
    ("connection_id", Id, Required),
    ("fleet_id", Id, Required),
    ("status", OneOf(STATUSES), Required),
    ("source_name", Text, Required),
    ("resource", Text, Required),
];
const SCHEDULE: &[Field] = &[
    ("id", Id, Required),
    ("connection_id", Id, Required),
    ("resource", Text, Required),
    ("execution_interval_seconds", Integer, Required),
    ("status", OneOf(STATUSES), Required),
    ("consecutive_error_threshold", Integer, Required),
    ("max_concurrent_executions", Integer, Required),
];
/// Contract 5.4. Guide and schema disagree about what is required (contract 7, row 22): these are the schema's.
const RESOURCE_OPERATION: &[Field] = &[
    ("id", Id, Required),
    ("created_at", Time, Required),
    ("updated_at", Time, Required),
    ("partner_id", Id, Required),
    ("connection_id", Id, Required),
    ("fleet_ref", Text, Nullable),
    ("source_name", Text, Required),
    ("resource", Text, Required),
    ("resource_id", Id, Nullable),
    ("source_id", Text, Nullable),
    ("operation_type", OneOf(&["create", "update"]), Required),
    ("status", OneOf(&["pending", "success", "failed"]), Required),
    ("payload", Object, Required),
    ("logs", Objects, Required),
];
const TSP: &[Field] = &[("id", Id, Required), ("name", Text, Required)];
const WEBHOOK: &[Field] = &[
    ("id", Id, Required),
    ("url", Text, Required),
    ("event_name", Text, Required),
    (
        "status",
        OneOf(&["active", "paused", "stale", "deleted"]),
        Required,
    ),
    ("filters", Object, Nullable),
];
/// What the sample has; what is required of it isn't documented, but no record goes without an id.
const MESSAGE: &[Field] = &[
    ("id", Id, Required),
    ("fleet_id", Id, Nullable),
    ("fleet_ref", Text, Nullable),
    ("tsp_id", Id, Nullable),
    ("tsp_slug", Text, Nullable),
    ("source_name", Text, Nullable),
    ("connection_id", Id, Nullable),
    ("source_id", Text, Nullable),
    ("created_at", Time, Nullable),
    ("updated_at", Time, Nullable),
    ("deleted_at", Time, Nullable),
    ("occurred_at", Time, Nullable),
    ("execution_id", Id, Nullable),
    ("schedule_id", Id, Nullable),
    ("extras", Object, Nullable),
    ("source_sender_id", Text, Nullable),
    ("source_recipient_id", Text, Nullable),
    ("sender_id", Id, Nullable),
    ("recipient_id", Id, Nullable),
    ("message_text", Text, Nullable),
    ("message_hash", Text, Nullable),
    (
        "status",
        OneOf(&["read", "sent", "delivered", "pending"]),
        Nullable,
    ),
    ("delivered_at", Time, Nullable),
    ("read_at", Time, Nullable),
    ("sent_by_driver", Boolean, Nullable),
    ("sender_name", Text, Nullable),
    ("recipient_name", Text, Nullable),
    ("source_thread_id", Text, Nullable),
    ("source_reply_to_message_id", Text, Nullable),
];
/// Of all organisational records (contract 6.10).
const STATUSES: &[&str] = &[
    "active",
    "inactive",
    "paused",
    "expired",
    "cancelled",
    "pending",
    "deleted",
    "stale",
    "success",
    "failed",
    "scheduled",
    "accepted",
    "declined",
];
const FIRST: &str = "2026-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{events, fleet::Fleet};

    #[test]
    fn every_event_is_as_its_schema_says() {
        let now = OffsetDateTime::now_utc();
        for event in events::all(&Fleet::new("FLEET-42", now), now) {
            if event.event_name == "tsp.requested" {
                continue;
            }
            let document = document(&event.event_name).unwrap();
            let schemas = &document["components"]["schemas"];
            let sent = serde_json::to_value(&event).unwrap();
            check(&sent, &schemas["Envelope"], &event.event_name);
            let name = schemas["Envelope"]["properties"]["data"]["items"]["$ref"].as_str();
            let name = name.unwrap().strip_prefix("#/components/schemas/").unwrap();
            check(&sent["data"][0], &schemas[name], &event.event_name);
        }
    }

    /// All fields are described, and those that are required are there.
    fn check(value: &Value, schema: &Value, event_name: &str) {
        let fields = value.as_object().unwrap();
        for name in schema["required"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert!(
                !fields.get(name).unwrap().is_null(),
                "{event_name}: `{name}`"
            );
        }
        for (name, value) in fields {
            let property = &schema["properties"][name];
            let fits = match value {
                Value::Null => property["nullable"] == true,
                Value::Bool(_) => property["type"] == "boolean",
                Value::Number(_) => property["type"] == "integer",
                Value::String(text) => {
                    let values = property["enum"].as_array();
                    property["type"] == "string"
                        && values.is_none_or(|values| values.contains(&text.as_str().into()))
                }
                Value::Array(_) => property["type"] == "array",
                Value::Object(_) => property["type"] == "object",
            };
            assert!(fits, "{event_name}: `{name}` is {value}, not {property}");
        }
    }

    #[test]
    fn what_is_not_described_is_not_made_up() {
        for name in ["tsp.requested", "integration_request.created", "tsp", ""] {
            assert_eq!(document(name), None, "{name}");
        }
        let undescribed = document("execution.created").unwrap();
        let record = &undescribed["components"]["schemas"]["ExecutionRecord"];
        assert_eq!(*record, json!({"type": "object", "properties": {}}));
    }
}

//! Writes to telematics providers (contract 5.3), and the resource operations that come of them (contract 5.4).

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    errors::{Refusal, Reply},
    operations::Call,
    request::{self, Reader},
    resource_operations::{NewOperation, OperationFilter, source_id},
    routes,
    state::State,
};
use crate::{envelope::microsecond_text, fleet::Fleet};

/// What a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Create(Resource),
    Update(Resource),
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Vehicle,
    Trailer,
    User,
    Message,
    GroupMessage,
    FuelTransaction,
    DvirLog,
}

impl Resource {
    /// As operations and scopes name it.
    fn name(self) -> &'static str {
        match self {
            Self::Vehicle => "vehicle",
            Self::Trailer => "trailer",
            Self::User => "user",
            Self::Message => "message",
            Self::GroupMessage => "group_message",
            Self::FuelTransaction => "fuel_transaction",
            Self::DvirLog => "dvir_log",
        }
    }
}

impl Call<'_> {
    /// 202 at once, or the answer that waits for the operation (contract 5.3).
    pub(super) fn write(
        &self,
        write: Write,
        state: &mut State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let (resource, updates) = match write {
            Write::Create(resource) => (resource, None),
            Write::Update(resource) => (resource, Some(self.uuid(&path_name(resource))?)),
        };
        let is_sync = self.flag("is_sync")?;
        let sent = request::object(self.content_type, self.body)?;
        let (connection_id, payload) = payload(resource, &sent)?;
        let connection = state.connection(connection_id)?;
        let scopes = state.shared_scopes(&connection.fleet);
        let scopes = scopes.ok_or(Refusal::NotFound)?;
        // INFERRED (contract 5.3): nobody says which share level a write needs, or how its absence is refused.
        if scopes.get(resource.name()).map(String::as_str) != Some("read_write") {
            return Err(Refusal::Forbidden);
        }
        let new = NewOperation {
            fleet: &connection.fleet.clone(),
            resource: resource.name(),
            updates,
            sent: sent.into(),
            payload,
            is_sync,
        };
        let body = String::from_utf8_lossy(self.body);
        let underway = || self.webhooks.announcer.begin();
        let (operation, events) = state.resource_operations.add(new, &body, now, underway);
        let reply = Reply::json(StatusCode::ACCEPTED, &operation.answer());
        let reply = reply.of_operation(operation.id(), is_sync);
        state.outbox.extend(events);
        Ok(reply)
    }

    pub(super) fn resource_operation(
        &self,
        state: &State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let connection_id = self.uuid("connection_id")?;
        let text = self.ids.get(1).copied().unwrap_or_default();
        let id = routes::uuid("path.resource_operation_id", text)?;
        let found = state.resource_operations.find(id, now);
        let found = found.filter(|it| it.connection_id == connection_id);
        Ok(Reply::ok(&found.ok_or(Refusal::NotFound)?.read()))
    }

    /// In which order is unknown: here the oldest comes first. A span that ends before it begins has nothing in it.
    pub(super) fn resource_operations(
        &self,
        state: &State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let filter = self.operation_filter(now)?;
        self.bare_page_of(
            || state.resource_operations.list(&filter, now),
            |operation| operation.read(),
        )
    }

    fn operation_filter(&self, now: OffsetDateTime) -> Result<OperationFilter<'_>, Refusal> {
        let operation = self.query.one("operation");
        if let Some(other) = operation.filter(|it| !["create", "update"].contains(it)) {
            let message = "Input should be 'create' or 'update'";
            return Err(Refusal::invalid("query.operation", other, message, "enum"));
        }
        let resource = self.query.one("resource");
        let source_id = self.query.one("source_id");
        if let Some(source_id) = source_id.filter(|_| resource.is_none()) {
            let message = "Value error, resource is required when source_id is set";
            let path = "query.source_id";
            return Err(Refusal::invalid(path, source_id, message, "value_error"));
        }
        let from = self.query_time("from_datetime")?;
        let (from, to) = span(from, self.query_time("to_datetime")?, now)?;
        Ok(OperationFilter {
            resource,
            connection_id: self.query_uuid("connection_id")?,
            source_name: self.query.one("source_name"),
            fleet_refs: self.several("fleet_refs")?,
            operation,
            source_id,
            from,
            to,
        })
    }

    /// A boolean in the query that can be left out: false.
    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        let Some(text) = self.query.one(name) else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
            _ => {
                let message = "Input should be a valid boolean, unable to interpret input";
                let path = format!("query.{name}");
                Err(Refusal::invalid(&path, text, message, "bool_parsing"))
            }
        }
    }
}

impl State {
    /// How much a fleet shares of each resource, if it shares anything.
    fn shared_scopes(&self, fleet: &Fleet) -> Option<&BTreeMap<String, String>> {
        let agreement = self.agreement_of(fleet.fleet_id);
        let agreement = agreement.filter(|agreement| agreement.is_active());
        agreement.map(|agreement| &agreement.scopes)
    }
}

/// The span of a list, by the given dates.
fn span(
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<(OffsetDateTime, OffsetDateTime), Refusal> {
    let (from, to) = (from.unwrap_or(now - DEFAULT_SPAN), to.unwrap_or(now));
    if to - from > LONGEST_SPAN {
        let message = "Value error, the span is at most 45 days";
        let (path, input) = ("query.from_datetime", microsecond_text(from));
        return Err(Refusal::invalid(path, &input, message, "value_error"));
    }
    Ok((from, to))
}

fn path_name(resource: Resource) -> String {
    format!("{}_id", resource.name())
}

/// The connection, and what the operation tells of the body: its fields, and the provider's ids of what they name.
fn payload(
    resource: Resource,
    sent: &Map<String, Value>,
) -> Result<(Uuid, Map<String, Value>), Refusal> {
    let mut reader = Reader::new(sent);
    let connection_id = reader.required_uuid("connection_id");
    let fields = match resource {
        Resource::Message => {
            reader.required_uuid("sender_id");
            reader.required_uuid("recipient_id");
            reader.optional_uuid("reply_to_message_id");
            Some(&MESSAGE[..])
        }
        Resource::GroupMessage => {
            reader.required_uuid("sender_id");
            reader.required_uuids("recipient_ids");
            Some(&GROUP_MESSAGE[..])
        }
        // Their bodies weren't collected: anything goes.
        Resource::Vehicle
        | Resource::Trailer
        | Resource::User
        | Resource::FuelTransaction
        | Resource::DvirLog => None,
    };
    if fields.is_some() {
        reader.text("message_text", request::any);
        reader.one_of("priority", &["low", "medium", "high"]);
    }
    let connection_id = reader.finish(connection_id)?;
    let mut payload = match fields {
        // Those that were left out are null, as in the sample; others are ignored.
        Some(names) => {
            let field = |&name: &&str| {
                let value = sent.get(name).cloned().unwrap_or_default();
                (name.to_owned(), value)
            };
            names.iter().map(field).collect()
        }
        None => sent.clone(),
    };
    let mut resolved: Map<_, _> = payload
        .iter()
        .filter_map(|(name, value)| resolved(name, value))
        .collect();
    payload.append(&mut resolved);
    Ok((connection_id, payload))
}

/// The field with the provider's id for what this field names. Every id is known.
fn resolved(name: &str, value: &Value) -> Option<(String, Value)> {
    let number = |value: &Value| {
        let id = Uuid::try_parse(value.as_str()?).ok()?;
        Some(Value::from(source_id(id)))
    };
    let source = match value {
        _ if name == "connection_id" => return None,
        Value::Array(ids) if name.ends_with("_ids") => {
            ids.iter().map(number).collect::<Option<Value>>()?
        }
        Value::Null if name.ends_with("_id") => Value::Null,
        value if name.ends_with("_id") => number(value)?,
        _ => return None,
    };
    Some((format!("source_{name}"), source))
}

const MESSAGE: [&str; 6] = [
    "connection_id",
    "sender_id",
    "recipient_id",
    "message_text",
    "priority",
    "reply_to_message_id",
];
const GROUP_MESSAGE: [&str; 5] = [
    "connection_id",
    "sender_id",
    "recipient_ids",
    "message_text",
    "priority",
];
/// Contract 5.4: "without dates the list covers the last day only".
const DEFAULT_SPAN: Duration = Duration::days(1);
/// Contract 5.4.
const LONGEST_SPAN: Duration = Duration::days(45);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_cover_the_last_day_or_up_to_45_days() {
        let now = OffsetDateTime::now_utc();
        let ago = |days| Some(now - Duration::days(days));
        let days = |from, to| {
            let (from, to) = span(from, to, now).ok()?;
            Some(((now - from).whole_days(), (now - to).whole_days()))
        };
        assert_eq!(days(None, None), Some((1, 0)));
        assert_eq!(days(ago(45), None), Some((45, 0)));
        assert_eq!(days(ago(90), ago(45)), Some((90, 45)));
        assert_eq!(days(None, ago(3)), Some((1, 3)));
        assert_eq!(days(ago(46), None), None);
        let longer = ago(45).map(|from| from - Duration::microseconds(1));
        assert_eq!(days(longer, None), None);
    }

    #[test]
    fn ids_are_resolved_to_the_providers() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(90_000_001));
        let id = json!(one);
        for (name, value, expected) in [
            ("driver_id", json!(one), json!("10000001")),
            ("driver_id", json!(other), json!("10000001")),
            ("trailer_ids", json!([id]), json!(["10000001"])),
            ("trailer_ids", json!([]), json!([])),
            ("driver_id", Value::Null, Value::Null),
        ] {
            let expected = (format!("source_{name}"), expected);
            assert_eq!(resolved(name, &value), Some(expected), "{name} {value}");
        }
        for (name, value) in [
            ("connection_id", json!(one)),
            ("driver_id", json!("D-1")),
            ("driver_id", json!(1)),
            ("trailer_ids", json!(["T-1"])),
            ("driver", json!(one)),
            ("drivers", json!([one])),
            ("note", Value::Null),
        ] {
            assert_eq!(resolved(name, &value), None, "{name} {value}");
        }
    }
}

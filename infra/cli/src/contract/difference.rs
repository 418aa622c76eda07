//! What differs between what Catena says that it sends, and what is read here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    found::Found,
    shape::{Field, Kind, Shape},
};

/// What a difference does, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Events may go into quarantine by it.
    Breaking,
    /// Something isn't learned any more.
    Degrading,
    /// Good to know.
    Information,
}

impl Weight {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Breaking => "breaking",
            Self::Degrading => "degrading",
            Self::Information => "information",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) weight: Weight,
    /// Where in the record, as Catena calls it: `logs[].status`; in the envelope: `(envelope).version`.
    pub(crate) field: String,
    /// What is different, as the end of a sentence about the field.
    pub(crate) what: String,
}

/// All differences of an event, the worst first. `ours` is the schema of what is read of its records
/// ([`catena::schema::record`]), `None` if they are read as they come.
pub(crate) fn differences(event: &str, ours: Option<&Value>, theirs: &Found) -> Vec<Difference> {
    let mut differences = Vec::new();
    if let Some(ours) = ours {
        let theirs = scrubbed(event, theirs.record.clone());
        let ours = Shape::read(ours, ours);
        fields("", &ours, &theirs, &mut differences);
    }
    if let Some(envelope) = &theirs.envelope {
        let ours = catena::schema::envelope();
        let ours = Shape::read(&ours, &ours);
        let envelope = named(envelope.clone());
        fields("(envelope).", &ours, &envelope, &mut differences);
    }
    differences.sort();
    differences
}

/// The names by which an event's fields may be told: ours, as Catena calls them.
pub(crate) fn expected(event: &str, ours: &Value) -> Vec<String> {
    let ours = Shape::read(ours, ours);
    let names = ours.fields.into_keys();
    names
        .map(|name| match name.as_str() {
            HASH if is_invitation(event) => "id".to_owned(),
            HASH => "invitation_id".to_owned(),
            _ => name,
        })
        .collect()
}

/// A shape whose fields are known by Catena's names and by ours.
struct Scrubbed {
    /// By our names: Catena's name, and the field.
    fields: BTreeMap<String, (String, Field)>,
}

fn named(shape: Shape) -> Scrubbed {
    let fields = shape.fields.into_iter();
    Scrubbed {
        fields: fields
            .map(|(name, field)| (name.clone(), (name, field)))
            .collect(),
    }
}

/// What scrubbing leaves of a record, by doing it: a record with each field alone is scrubbed, which tells under which name the
/// field is found afterwards, if at all.
fn scrubbed(event: &str, record: Shape) -> Scrubbed {
    let fields = record.fields.into_iter().filter_map(|(name, field)| {
        let mut alone = Map::new();
        alone.insert(name.clone(), json!("x"));
        let mut alone = Value::Object(alone);
        catena::scrub_record(&mut alone, is_invitation(event));
        let kept = alone.as_object()?.keys().next()?.clone();
        Some((kept, (name, field)))
    });
    Scrubbed {
        fields: fields.collect(),
    }
}

fn is_invitation(event: &str) -> bool {
    event.split('.').next() == Some("invitation")
}

fn fields(place: &str, ours: &Shape, theirs: &Scrubbed, differences: &mut Vec<Difference>) {
    for (name, our) in &ours.fields {
        match theirs.fields.get(name) {
            Some((shown, their)) => {
                field(&format!("{place}{shown}"), our, their, differences);
            }
            None if our.not_in_events => {}
            None => differences.push(Difference {
                weight: match our.required {
                    true => Weight::Breaking,
                    false => Weight::Degrading,
                },
                field: format!("{place}{name}"),
                what: match our.required {
                    true => "isn't in it, and no record can be read without",
                    false => "is read and isn't in it",
                }
                .to_owned(),
            }),
        }
    }
    for (name, (shown, _)) in &theirs.fields {
        if !ours.fields.contains_key(name) {
            differences.push(Difference {
                weight: Weight::Information,
                field: format!("{place}{shown}"),
                what: NOT_READ.to_owned(),
            });
        }
    }
}

fn field(place: &str, ours: &Field, theirs: &Field, differences: &mut Vec<Difference>) {
    let mut differs = |weight, what: &str| {
        differences.push(Difference {
            weight,
            field: place.to_owned(),
            what: what.to_owned(),
        });
    };
    if ours.required && !theirs.required {
        let what = "may be left out, and no record can be read without";
        differs(Weight::Breaking, what);
    }
    let mut inner = Vec::new();
    values(place, &ours.shape, &theirs.shape, &mut inner);
    for difference in inner {
        // A value that counts as absent costs nothing but itself.
        let weight = match difference.weight {
            Weight::Breaking if ours.lenient => Weight::Degrading,
            weight => weight,
        };
        differences.push(Difference {
            weight,
            ..difference
        });
    }
}

fn values(place: &str, ours: &Shape, theirs: &Shape, differences: &mut Vec<Difference>) {
    let mut differs = |weight, what: String| {
        differences.push(Difference {
            weight,
            field: place.to_owned(),
            what,
        });
    };
    // Whatever it is, it is read as it comes.
    if ours.kinds.is_empty() {
        return;
    }
    if theirs.nullable && !ours.nullable {
        differs(Weight::Breaking, "may be null, which isn't read".to_owned());
    }
    let read = |kind: &Kind| {
        ours.kinds.contains(kind) || *kind == Kind::Integer && ours.kinds.contains(&Kind::Number)
    };
    let unread: Vec<&str> = theirs
        .kinds
        .iter()
        .filter(|kind| !read(kind))
        .map(|kind| kind.words())
        .collect();
    if !unread.is_empty() {
        let all = unread.len() == theirs.kinds.len();
        let verb = if all { "is" } else { "may be" };
        let read: Vec<&str> = ours.kinds.iter().map(|kind| kind.words()).collect();
        let what = format!(
            "{verb} {}; {} is read",
            unread.join(" or "),
            read.join(" or ")
        );
        differs(Weight::Breaking, what);
        if all {
            return;
        }
    }
    if ours.format.as_deref() == Some(TIME)
        && let Some(format) = theirs.format.as_deref()
        && !READ_AS_TIME.contains(&format)
    {
        let what = format!("has the format {format}; a time is read");
        differs(Weight::Breaking, what);
    }
    if !ours.listed.is_empty() {
        let new: Vec<&str> = theirs
            .listed
            .difference(&ours.listed)
            .map(|it| &**it)
            .collect();
        if !new.is_empty() {
            let what = format!(
                "may be {}, which this version doesn't know and keeps as it is",
                new.join(", ")
            );
            differs(Weight::Information, what);
        }
    }
    if let (Some(ours), Some(theirs)) = (&ours.items, &theirs.items) {
        values(&format!("{place}[]"), ours, theirs, differences);
    }
    if !ours.fields.is_empty() && !theirs.fields.is_empty() {
        fields(
            &format!("{place}."),
            ours,
            &named(theirs.clone()),
            differences,
        );
    }
    if let Some(ours) = &ours.others {
        if let Some(theirs) = &theirs.others {
            values(&format!("{place}.*"), ours, theirs, differences);
        }
        for (name, their) in &theirs.fields {
            values(&format!("{place}.{name}"), ours, &their.shape, differences);
        }
    }
}

/// What is said of a field that isn't read.
pub(crate) const NOT_READ: &str = "isn't read";
/// How scrubbing calls what it makes of an invitation's id.
const HASH: &str = "invitation_hash";
const TIME: &str = "date-time";
const READ_AS_TIME: [&str; 2] = [TIME, "date"];

#[cfg(test)]
mod tests {
    use catena::EventName;

    use super::{super::found::find, *};

    fn text() -> Value {
        json!({ "type": "string" })
    }

    fn optional(schema: Value) -> Value {
        json!({ "anyOf": [schema, { "type": "null" }] })
    }

    /// What contract 6.10 says of agreements.
    fn agreement() -> Value {
        let status = json!({ "type": "string", "enum": ["active", "paused"] });
        let date = json!({ "type": "string", "format": "date-time" });
        let scopes = json!({ "type": "object", "additionalProperties": text() });
        json!({
            "type": "object",
            "properties": {
                "id": text(), "fleet_id": text(), "partner_id": text(), "fleet_ref": optional(text()),
                "status": status, "scopes": scopes,
                "effective_date": optional(date.clone()), "expiration_date": optional(date),
            },
            "required": ["id", "fleet_id", "partner_id", "status", "scopes"],
        })
    }

    fn compared(event: &str, record: &Value) -> Vec<String> {
        let ours = catena::schema::record(&EventName::from(event.to_owned())).unwrap();
        let found = find(&record.to_string(), event, &expected(event, &ours)).unwrap();
        let told = differences(event, Some(&ours), &found).into_iter();
        told.map(|it| format!("{} {} {}", it.weight.as_str(), it.field, it.what))
            .collect()
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut record = agreement();
        change(&mut record);
        compared("share_agreement.created", &record)
    }

    #[test]
    fn what_the_contract_says_is_what_is_read() {
        assert_eq!(changed(|_| {}), [] as [&str; 0]);
    }

    #[test]
    fn what_reading_needs_must_be_there() {
        let gone = changed(|record| {
            drop(
                record["properties"]
                    .as_object_mut()
                    .unwrap()
                    .remove("fleet_id"),
            )
        });
        assert_eq!(
            gone,
            ["breaking fleet_id isn't in it, and no record can be read without"]
        );
        let optional = changed(|record| record["required"] = json!(["id"]));
        assert_eq!(
            optional,
            ["breaking fleet_id may be left out, and no record can be read without"]
        );
        let nullable = changed(|record| record["properties"]["fleet_id"]["nullable"] = json!(true));
        assert_eq!(
            nullable,
            ["breaking fleet_id may be null, which isn't read"]
        );
    }

    #[test]
    fn what_is_read_and_gone_costs_only_itself() {
        let gone = changed(|record| {
            drop(
                record["properties"]
                    .as_object_mut()
                    .unwrap()
                    .remove("scopes"),
            )
        });
        assert_eq!(gone, ["degrading scopes is read and isn't in it"]);
    }

    #[test]
    fn another_type_breaks() {
        let other = changed(|record| record["properties"]["status"] = json!({ "type": "integer" }));
        assert_eq!(other, ["breaking status is an integer; a text is read"]);
        let some = changed(|record| {
            record["properties"]["status"] = json!({ "type": ["integer", "string"] })
        });
        assert_eq!(some, ["breaking status may be an integer; a text is read"]);
        let inner = changed(|record| {
            record["properties"]["scopes"]["additionalProperties"] = json!({ "type": "object" })
        });
        assert_eq!(inner, ["breaking scopes.* is an object; a text is read"]);
        let named = changed(|record| {
            record["properties"]["scopes"] =
                json!({ "properties": { "vehicle": { "type": "array" } } })
        });
        assert_eq!(named, ["breaking scopes.vehicle is a list; a text is read"]);
        let format = changed(|record| {
            record["properties"]["effective_date"] = json!({ "type": "string", "format": "time" })
        });
        assert_eq!(
            format,
            ["breaking effective_date has the format time; a time is read"]
        );
        let date = changed(|record| {
            record["properties"]["effective_date"] = json!({ "type": "string", "format": "date" })
        });
        assert_eq!(date, [] as [&str; 0]);
    }

    #[test]
    fn news_is_told_and_breaks_nothing() {
        let news = changed(|record| {
            record["properties"]["status"]["enum"] = json!(["active", "renewed"]);
            record["properties"]["colour"] = text();
        });
        assert_eq!(
            news,
            [
                "information colour isn't read",
                "information status may be renewed, which this version doesn't know and keeps as it is",
            ]
        );
    }

    #[test]
    fn an_invitations_fields_are_compared_as_scrubbing_leaves_them() {
        let mut record = json!({
            "type": "object",
            "properties": {
                "id": text(), "magic_link": text(), "success_redirect_url": text(), "pre_registration_access_token": text(),
                "created_at": text(), "expires_at": text(), "expires_in_hours": { "type": "integer" }, "status": text(),
                "partner_provided_fleet_name": text(), "accepted_at": text(), "declined_at": text(), "decline_reason": text(),
                "fleet_id": text(), "fleet_ref": text(), "partner_id": text(), "partner_slug": text(),
                "limit_tsps": { "type": "array", "items": text() },
            },
            "required": ["id", "magic_link"],
        });
        let same: [&str; 0] = [];
        assert_eq!(compared("invitation.created", &record), same);
        record["required"] = json!([]);
        assert_eq!(
            compared("invitation.created", &record),
            ["breaking id may be left out, and no record can be read without"]
        );
    }

    #[test]
    fn lists_of_objects_are_compared_within() {
        let mut record = json!({ "type": "object", "required": ["id"], "properties": {
            "id": text(), "created_at": text(), "updated_at": text(), "connection_id": text(), "fleet_ref": text(),
            "source_name": text(), "resource": text(), "operation_type": text(), "resource_id": text(), "source_id": text(),
            "status": text(), "payload": { "type": "object" },
            "logs": { "type": "array", "items": { "$ref": "#/log" } },
        } });
        record["log"] = json!({ "type": "object", "properties": {
            "id": text(), "created_at": text(), "updated_at": text(), "status": text(), "error_type": text(),
            "error_details": text(), "response_status_code": text(),
            "response_headers": { "type": "object", "additionalProperties": text() },
        } });
        assert_eq!(
            compared("resource_operation.failed", &record),
            ["degrading logs[].response_status_code is a text; an integer is read"]
        );
        record["properties"]["logs"]["nullable"] = json!(true);
        assert!(
            compared("resource_operation.failed", &record)
                .contains(&"degrading logs may be null, which isn't read".to_owned())
        );
    }

    #[test]
    fn the_envelope_is_compared_where_it_is_described() {
        let envelope = |properties: Value, required: &[&str]| {
            let mut properties = properties;
            properties["data"] = json!({ "type": "array", "items": agreement() });
            properties["webhook_id"] = text();
            for name in ["event_name", "timestamp", "id"] {
                properties[name] = text();
            }
            properties["delivery_attempt"] = json!({ "type": "integer" });
            json!({ "type": "object", "properties": properties, "required": required })
        };
        let good = envelope(json!({ "version": text() }), &["data", "webhook_id"]);
        assert_eq!(compared("share_agreement.created", &good), [] as [&str; 0]);
        let other = envelope(json!({ "version": { "type": "number" } }), &["data"]);
        assert_eq!(
            compared("share_agreement.created", &other),
            [
                "breaking (envelope).webhook_id may be left out, and no record can be read without",
                "degrading (envelope).version is a number; a text is read",
            ]
        );
    }
}

//! Where an event's record is described in Catena's document. Its layout is unknown (contract 6.1), so it is looked for.

use serde_json::Value;

use super::shape::{Kind, Shape};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The record, before scrubbing.
    pub(crate) record: Shape,
    /// What it comes in, if the document says that.
    pub(crate) envelope: Option<Shape>,
}

/// A schema that may be the right one.
struct Candidate {
    found: Found,
    /// How well it fits, the best last.
    fit: (bool, usize, bool),
}

/// Looks for the record of an event. `expected` has the names of its fields, as far as they are known: the one that has most of
/// them counts, unless a schema names the event itself. An error says why nothing was found.
pub(crate) fn find(
    document: &str,
    event: &str,
    expected: &[String],
) -> Result<Found, &'static str> {
    let document: Value = serde_json::from_str(document).map_err(|_| "it isn't JSON")?;
    let mut schemas: Vec<(&str, &Value)> = Vec::new();
    // What is said to be sent comes first, and of equals the first one counts.
    for place in ["webhooks", "paths"] {
        bodies(&document[place], &mut schemas);
    }
    for place in ["/components/schemas", "/definitions", "/$defs"] {
        let named = document.pointer(place).and_then(Value::as_object);
        schemas.extend(named.into_iter().flatten().map(|(name, it)| (&**name, it)));
    }
    schemas.push(("", &document["schema"]));
    schemas.push(("", &document));
    let candidates = schemas.into_iter().filter_map(|(name, schema)| {
        let shape = Shape::read(schema, &document);
        candidate(name, shape, event, expected)
    });
    // The last of equals would count.
    let candidates: Vec<Candidate> = candidates.collect();
    let best = candidates.into_iter().rev().max_by_key(|it| it.fit);
    let best = best.ok_or("it describes no object")?;
    // A record that nobody knows can't be told from others by its fields.
    let (names_it, known, _) = best.fit;
    let is_it = names_it || known >= 2.min(expected.len()) && known > 0 || expected.is_empty();
    is_it
        .then_some(best.found)
        .ok_or("nothing in it looks like this event's record")
}

fn candidate(name: &str, shape: Shape, event: &str, expected: &[String]) -> Option<Candidate> {
    if !shape.kinds.contains(&Kind::Object) || shape.fields.is_empty() {
        return None;
    }
    let named = plain(name) == plain(event) || {
        let event_name = shape.fields.get("event_name");
        event_name.is_some_and(|field| field.shape.listed.contains(event))
    };
    let is_envelope = ENVELOPE.iter().any(|name| shape.fields.contains_key(*name));
    let data = shape.fields.get("data").filter(|_| is_envelope);
    let record = data.map(|data| {
        let items = data.shape.items.as_deref();
        items.unwrap_or(&data.shape).clone()
    });
    let found = match record {
        // Of no form: the record may be described elsewhere.
        Some(record) if record.fields.is_empty() => return None,
        Some(record) => Found {
            record,
            envelope: Some(shape),
        },
        None => Found {
            record: shape,
            envelope: None,
        },
    };
    let known = |name: &&String| found.record.fields.contains_key(*name);
    let fit = (
        named,
        expected.iter().filter(known).count(),
        found.envelope.is_some(),
    );
    Some(Candidate { found, fit })
}

/// The schemas of all bodies below a place, responses left out: those are ours.
fn bodies<'a>(value: &'a Value, schemas: &mut Vec<(&'a str, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "responses" => {}
                    "schema" => schemas.push(("", value)),
                    _ => bodies(value, schemas),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| bodies(value, schemas)),
        _ => {}
    }
}

/// `FleetConnectionCreated` and `fleet_connection.created` alike.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_ascii_alphanumeric());
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// What tells an envelope from a record with a field `data` (contract 6.8).
const ENVELOPE: [&str; 2] = ["webhook_id", "event_name"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "type": "object",
            "properties": { "id": { "type": "string" }, "fleet_id": { "type": "string" } },
        })
    }

    fn fields(document: &Value) -> Result<(Vec<String>, bool), &'static str> {
        let expected = ["id", "fleet_id", "connection_id"].map(str::to_owned);
        let found = find(&document.to_string(), "fleet_connection.created", &expected)?;
        let names = found.record.fields.into_keys().collect();
        Ok((names, found.envelope.is_some()))
    }

    #[test]
    fn a_record_is_found_wherever_it_stands() {
        let names = || vec!["fleet_id".to_owned(), "id".to_owned()];
        let error =
            json!({ "type": "object", "properties": { "id": {}, "code": {}, "detail": {} } });
        for document in [
            record(),
            json!({ "schema": record() }),
            json!({ "components": { "schemas": { "Error": error, "X": record() } } }),
            json!({ "components": { "schemas": { "FleetConnectionCreated": record(), "Error": error } } }),
        ] {
            assert_eq!(fields(&document), Ok((names(), false)), "{document}");
        }
        for data in [
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/R" } }),
            json!({ "type": "array", "items": { "anyOf": [{ "$ref": "#/components/schemas/R" }] } }),
            json!({ "anyOf": [{ "type": "array", "items": record() }, { "type": "null" }] }),
            record(),
        ] {
            let envelope = json!({ "properties": { "webhook_id": {}, "data": data } });
            let body = json!({ "content": { "application/json": { "schema": envelope } } });
            let document = json!({
                "openapi": "3.1.0",
                "paths": { "/": { "post": { "requestBody": body, "responses": { "200": {
                    "content": { "application/json": { "schema": { "properties": { "id": {}, "fleet_id": {}, "connection_id": {} } } } }
                } } } } },
                "components": { "schemas": { "R": record() } },
            });
            assert_eq!(fields(&document), Ok((names(), true)), "{document}");
        }
    }

    #[test]
    fn an_envelope_of_anything_leaves_the_record_to_be_found_elsewhere() {
        let document = json!({ "components": { "schemas": {
            "Envelope": { "properties": { "webhook_id": {}, "data": { "type": "array", "items": {} } } },
            "R": record(),
        } } });
        let names = vec!["fleet_id".to_owned(), "id".to_owned()];
        assert_eq!(fields(&document), Ok((names, false)));
    }

    #[test]
    fn what_is_not_there_is_not_guessed() {
        assert!(fields(&json!({ "openapi": "3.0.0" })).is_err());
        let other =
            json!({ "components": { "schemas": { "Error": { "properties": { "code": {} } } } } });
        assert!(fields(&other).is_err());
        assert!(find("no JSON", "a.b", &[]).is_err());
        assert!(find("[]", "a.b", &[]).is_err());
    }
}

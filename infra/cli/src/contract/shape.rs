//! What a JSON Schema allows, read leniently: ours (JSON Schema 2020-12) and theirs (OpenAPI 3.0 or 3.1) alike.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a value may be. Empty `kinds`: the schema doesn't say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) nullable: bool,
    /// `date-time`, `uuid`, …
    pub(crate) format: Option<String>,
    /// Texts that are listed.
    pub(crate) listed: BTreeSet<String>,
    /// Of an object.
    pub(crate) fields: BTreeMap<String, Field>,
    /// Of an object, the values under any other name.
    pub(crate) others: Option<Box<Shape>>,
    /// Of an array.
    pub(crate) items: Option<Box<Shape>>,
}

/// A field of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    /// Ours: events aren't known to carry it.
    pub(crate) not_in_events: bool,
    /// Ours: a value of another form counts as absent.
    pub(crate) lenient: bool,
}

/// JSON's types, without null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Object,
    Array,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::Text,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "object" => Self::Object,
            "array" => Self::Array,
            _ => return None,
        })
    }

    /// With its article.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Object => "an object",
            Self::Array => "a list",
        }
    }
}

impl Shape {
    /// Reads a schema that stands in `document`, where its references lead. What can't be read counts as not said.
    pub(crate) fn read(schema: &Value, document: &Value) -> Self {
        read(schema, document, DEEPEST)
    }

    fn is(kind: Kind) -> Self {
        Self {
            kinds: BTreeSet::from([kind]),
            ..Self::default()
        }
    }

    /// Either of them.
    fn or(mut self, other: Self) -> Self {
        // One that says nothing allows everything.
        if self.kinds.is_empty() || other.kinds.is_empty() {
            self.kinds.clear();
        } else {
            self.kinds.extend(other.kinds);
        }
        self.nullable |= other.nullable;
        if self.format != other.format {
            self.format = None;
        }
        self.listed.extend(other.listed);
        let mut others = other.fields;
        for (name, field) in &mut self.fields {
            match others.remove(name) {
                Some(theirs) => {
                    field.required &= theirs.required;
                    field.shape = std::mem::take(&mut field.shape).or(theirs.shape);
                }
                None => field.required = false,
            }
        }
        let optional = |field| Field {
            required: false,
            ..field
        };
        let others = others.into_iter();
        self.fields
            .extend(others.map(|(name, field)| (name, optional(field))));
        self.others = self.others.or(other.others);
        self.items = self.items.or(other.items);
        self
    }

    /// Both of them.
    fn and(mut self, other: Self) -> Self {
        if self.kinds.is_empty() {
            self.kinds = other.kinds;
        } else if !other.kinds.is_empty() {
            self.kinds.retain(|kind| other.kinds.contains(kind));
        }
        self.format = self.format.or(other.format);
        self.listed.extend(other.listed);
        for (name, theirs) in other.fields {
            let field = self.fields.remove(&name);
            let field = match field {
                Some(ours) => Field {
                    required: ours.required || theirs.required,
                    shape: ours.shape.and(theirs.shape),
                    ..ours
                },
                None => theirs,
            };
            self.fields.insert(name, field);
        }
        self.others = self.others.or(other.others);
        self.items = self.items.or(other.items);
        self
    }
}

fn read(schema: &Value, document: &Value, depth: usize) -> Shape {
    // A tree may hold itself, and some documents do.
    if depth == 0 {
        return Shape::default();
    }
    let read = |schema: &Value| read(schema, document, depth - 1);
    let mut shape = own(schema, &read);
    let required: Vec<&str> = texts(&schema["required"]).collect();
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference
            .strip_prefix('#')
            .and_then(|path| document.pointer(path));
        let referred = target.map(&read).unwrap_or_default();
        shape.nullable |= referred.nullable;
        shape = shape.and(referred);
    }
    let all = schema["allOf"].as_array().filter(|all| !all.is_empty());
    if let Some(all) = all {
        let all: Vec<Shape> = all.iter().map(&read).collect();
        shape.nullable |= all.iter().all(|it| it.nullable);
        shape = all.into_iter().fold(shape, Shape::and);
    }
    for key in ["anyOf", "oneOf"] {
        let Some(any) = schema[key].as_array() else {
            continue;
        };
        let is_null = |schema: &&Value| schema["type"] == "null";
        shape.nullable |= any.iter().any(|it| is_null(&it));
        let some = any.iter().filter(|it| !is_null(it)).map(&read);
        if let Some(any) = some.reduce(Shape::or) {
            shape.nullable |= any.nullable;
            shape = shape.and(any);
        }
    }
    // It may stand beside what brings the fields.
    for name in required {
        if let Some(field) = shape.fields.get_mut(name) {
            field.required = true;
        }
    }
    shape
}

/// What a schema says itself.
fn own(schema: &Value, read: &impl Fn(&Value) -> Shape) -> Shape {
    let mut shape = Shape::default();
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        many => texts(many).collect(),
    };
    shape.nullable = schema["nullable"] == true || types.contains(&"null");
    shape.kinds.extend(types.into_iter().filter_map(Kind::of));
    shape.format = schema["format"].as_str().map(str::to_owned);
    let constant = schema.get("const").into_iter();
    let listed = schema["enum"].as_array().into_iter().flatten();
    for value in listed.chain(constant) {
        match value {
            Value::Null => shape.nullable = true,
            Value::String(text) => {
                shape.listed.insert(text.clone());
                shape = shape.and(Shape::is(Kind::Text));
            }
            _ => {}
        }
    }
    if let Some(fields) = schema["properties"].as_object() {
        shape = shape.and(Shape::is(Kind::Object));
        let field = |(name, schema): (&String, &Value)| {
            let field = Field {
                shape: read(schema),
                required: false,
                not_in_events: schema["x-not-in-events"] == true,
                lenient: schema["x-lenient"] == true,
            };
            (name.clone(), field)
        };
        shape.fields = fields.iter().map(field).collect();
    }
    let part = |key: &str| {
        let part = schema.get(key).filter(|it| it.is_object());
        part.map(|part| Box::new(read(part)))
    };
    shape.others = part("additionalProperties");
    shape.items = part("items");
    shape
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
}

/// Of schemas within each other, references included.
const DEEPEST: usize = 24;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(schema: &Value) -> Shape {
        Shape::read(schema, schema)
    }

    #[test]
    fn null_is_read_in_each_of_its_spellings() {
        let text = |nullable| Shape {
            nullable,
            ..Shape::is(Kind::Text)
        };
        assert_eq!(shape(&json!({ "type": "string" })), text(false));
        for spelling in [
            json!({ "type": ["string", "null"] }),
            json!({ "type": "string", "nullable": true }),
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
            json!({ "oneOf": [{ "type": "null" }, { "type": "string" }] }),
            json!({ "allOf": [{ "type": "string" }], "nullable": true }),
            json!({ "$ref": "#/x", "x": { "type": "string", "nullable": true } }),
            json!({ "$ref": "#/x", "nullable": true, "x": { "type": "string" } }),
        ] {
            assert_eq!(shape(&spelling), text(true), "{spelling}");
        }
    }

    #[test]
    fn parts_of_a_whole_are_put_together() {
        let whole = shape(&json!({
            "allOf": [{ "$ref": "#/base" }, { "properties": { "b": { "type": "integer" } } }],
            "required": ["b"],
            "base": { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
        }));
        assert_eq!(whole.kinds, BTreeSet::from([Kind::Object]));
        assert!(whole.fields["a"].required && whole.fields["b"].required);
    }

    #[test]
    fn what_only_one_of_several_has_may_be_missing() {
        let any = shape(&json!({ "oneOf": [
            { "properties": { "a": { "type": "string" }, "b": {} }, "required": ["a", "b"] },
            { "properties": { "a": { "type": "integer" } }, "required": ["a"] },
        ] }));
        assert!(any.fields["a"].required && !any.fields["b"].required);
        let kinds = BTreeSet::from([Kind::Text, Kind::Integer]);
        assert_eq!(any.fields["a"].shape.kinds, kinds);
    }

    #[test]
    fn a_schema_within_itself_ends() {
        let endless = shape(&json!({
            "$ref": "#/x",
            "x": { "properties": { "again": { "$ref": "#/x" } } },
        }));
        assert!(endless.fields.contains_key("again"));
        assert_eq!(shape(&json!({ "$ref": "#" })), Shape::default());
        assert_eq!(shape(&json!("nothing")), Shape::default());
    }
}

//! The rules of a request for an invitation (the table in contract 3.1), and how requests are read.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::errors::{Complaint, Refusal};

/// What the partner asks for, with every rule kept. What is null counts as omitted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Request {
    pub(super) fleet_ref: String,
    /// The fields of [`TEXTS`] that are given.
    pub(super) texts: BTreeMap<&'static str, String>,
    pub(super) limit_tsps: Option<Vec<String>>,
    /// Levels by resource. Resources are an open set.
    pub(super) permissions: Option<BTreeMap<String, String>>,
    pub(super) expires_in_hours: Option<u16>,
}

/// JSON of a request, whose content type must say so.
pub(super) fn object(content_type: &str, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let not_an_object = |input: &str| {
        let message = "Input should be a valid dictionary or object to extract fields from";
        Refusal::invalid("body", input, message, "model_attributes_type")
    };
    if !content_type.starts_with("application/json") {
        return Err(not_an_object(&String::from_utf8_lossy(body)));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(not_an_object(&other.to_string())),
        Err(error) => Err(Refusal::BadRequest(format!("JSON decode error: {error}"))),
    }
}

impl Request {
    /// # Errors
    ///
    /// 422 with a complaint for each field that breaks a rule.
    pub(super) fn read(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut reader = Reader::new(fields);
        let request = Self {
            fleet_ref: reader.required("fleet_ref"),
            texts: TEXTS
                .iter()
                .filter_map(|&(name, rule)| Some((name, reader.text(name, rule)?)))
                .collect(),
            limit_tsps: reader.names("limit_tsps"),
            permissions: reader.permissions(),
            expires_in_hours: reader.hours(),
        };
        let given = |name| request.texts.contains_key(name);
        if given("fleet_regulatory_id") && fields.get(TYPE).is_none_or(Value::is_null) {
            let message = "Value error, required when fleet_regulatory_id is set";
            reader.complain(TYPE, &Value::Null, message, "value_error");
        }
        reader.finish(request)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }
}

/// Reads fields, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    fields: &'a Map<String, Value>,
    complaints: Vec<Complaint>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(fields: &'a Map<String, Value>) -> Self {
        Self {
            fields,
            complaints: Vec::new(),
        }
    }

    /// What was read, if nothing is wrong.
    pub(super) fn finish<T>(self, read: T) -> Result<T, Refusal> {
        match self.complaints.is_empty() {
            true => Ok(read),
            false => Err(self.refusal()),
        }
    }

    pub(super) fn refusal(self) -> Refusal {
        Refusal::Invalid(self.complaints)
    }

    pub(super) fn given(&self, name: &str) -> Option<Value> {
        self.fields
            .get(name)
            .filter(|value| !value.is_null())
            .cloned()
    }

    pub(super) fn complain(
        &mut self,
        path: &str,
        input: &Value,
        message: &str,
        error_type: &'static str,
    ) {
        let path = format!("body.{path}");
        self.complaints
            .push(Complaint::new(&path, input, message, error_type));
    }

    /// A text that can't be left out.
    pub(super) fn required(&mut self, name: &str) -> String {
        match self.fields.get(name) {
            Some(Value::String(text)) => return text.clone(),
            Some(other) => self.complain(name, other, NOT_TEXT, "string_type"),
            None => self.complain(name, &Value::Null, MISSING, "missing"),
        }
        String::new()
    }

    /// A text that can be left out or null.
    pub(super) fn text(&mut self, name: &str, rule: Rule) -> Option<String> {
        let value = self.given(name)?;
        let Value::String(text) = &value else {
            self.complain(name, &value, NOT_TEXT, "string_type");
            return None;
        };
        match rule(text) {
            Ok(()) => Some(text.clone()),
            Err((message, error_type)) => {
                self.complain(name, &value, message, error_type);
                None
            }
        }
    }

    pub(super) fn required_uuid(&mut self, name: &str) -> Uuid {
        match self.fields.get(name) {
            Some(value) => self.uuid(name, value).unwrap_or_default(),
            None => {
                self.complain(name, &Value::Null, MISSING, "missing");
                Uuid::nil()
            }
        }
    }

    /// An identifier that can be left out or null.
    pub(super) fn optional_uuid(&mut self, name: &str) -> Option<Uuid> {
        let value = self.given(name)?;
        self.uuid(name, &value)
    }

    /// A list of identifiers that can't be left out.
    pub(super) fn required_uuids(&mut self, name: &str) {
        match self.fields.get(name) {
            Some(Value::Array(values)) => {
                for (place, value) in values.iter().enumerate() {
                    self.uuid(&format!("{name}.{place}"), value);
                }
            }
            Some(other) => self.complain(name, other, "Input should be a valid list", "list_type"),
            None => self.complain(name, &Value::Null, MISSING, "missing"),
        }
    }

    fn uuid(&mut self, path: &str, value: &Value) -> Option<Uuid> {
        let Value::String(text) = value else {
            let message = "UUID input should be a string, bytes or UUID object";
            self.complain(path, value, message, "uuid_type");
            return None;
        };
        let id = Uuid::try_parse(text).ok();
        if id.is_none() {
            self.complain(path, value, "Input should be a valid UUID", "uuid_parsing");
        }
        id
    }

    /// One of these words, which can be left out or null.
    pub(super) fn one_of(&mut self, name: &str, words: &[&str]) {
        let Some(value) = self.given(name) else {
            return;
        };
        if !value.as_str().is_some_and(|word| words.contains(&word)) {
            let message = format!("Input should be one of {}", words.join(", "));
            self.complain(name, &value, &message, "enum");
        }
    }

    fn names(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.given(name)?;
        let names = serde_json::from_value(value.clone()).ok();
        if names.is_none() {
            self.complain(
                name,
                &value,
                "Input should be a valid list of strings",
                "list_type",
            );
        }
        names
    }

    fn permissions(&mut self) -> Option<BTreeMap<String, String>> {
        let value = self.given("permissions")?;
        let Value::Object(levels) = &value else {
            let message = "Input should be a valid dictionary";
            self.complain("permissions", &value, message, "dict_type");
            return None;
        };
        let mut permissions = BTreeMap::new();
        for (resource, level) in levels {
            match level.as_str() {
                Some(level @ ("read" | "read_write")) => {
                    permissions.insert(resource.clone(), level.to_owned());
                }
                _ => {
                    let message = "Input should be 'read' or 'read_write'";
                    self.complain(&format!("permissions.{resource}"), level, message, "enum");
                }
            }
        }
        Some(permissions)
    }

    /// Unlike the other optional fields, this one isn't nullable.
    fn hours(&mut self) -> Option<u16> {
        let value = self.fields.get("expires_in_hours")?;
        let (message, error_type) = match value.as_i64() {
            None => ("Input should be a valid integer", "int_type"),
            Some(..1) => (
                "Input should be greater than or equal to 1",
                "greater_than_equal",
            ),
            Some(673..) => (
                "Input should be less than or equal to 672",
                "less_than_equal",
            ),
            Some(hours) => return u16::try_from(hours).ok(),
        };
        self.complain("expires_in_hours", &value.clone(), message, error_type);
        None
    }
}

pub(super) type Rule = fn(&str) -> Result<(), (&'static str, &'static str)>;

/// The optional fields that hold text, and the rule of each.
#[rustfmt::skip]
pub(super) const TEXTS: [(&str, Rule); 10] = [
    ("fleet_name", name),
    ("fleet_email", email),
    ("fleet_regulatory_id", any),
    (TYPE, any),
    ("fleet_phone", phone),
    ("fleet_website", uri),
    ("fleet_country_code", country),
    ("success_redirect_url", uri),
    ("failure_redirect_url", uri),
    ("callback_url", https),
];

pub(super) fn any(_: &str) -> Result<(), (&'static str, &'static str)> {
    Ok(())
}

fn name(text: &str) -> Result<(), (&'static str, &'static str)> {
    let fits = |c: char| c.is_alphanumeric() || c == ' ';
    check(
        text.chars().all(fits),
        "Value error, only letters, numbers and spaces are allowed",
        "value_error",
    )
}

fn email(text: &str) -> Result<(), (&'static str, &'static str)> {
    let fits = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && !host.contains('@')
            && host
                .split_once('.')
                .is_some_and(|(name, rest)| !name.is_empty() && !rest.is_empty())
    });
    check(
        fits && !text.contains(char::is_whitespace),
        "value is not a valid email address",
        "value_error",
    )
}

/// The exact format is unknown: this refuses what can't be a telephone number.
fn phone(text: &str) -> Result<(), (&'static str, &'static str)> {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let number = text.strip_prefix('+').unwrap_or(text);
    let fits = number
        .chars()
        .all(|c| c.is_ascii_digit() || " -().".contains(c));
    check(
        fits && (7..=15).contains(&digits),
        "value is not a valid phone number",
        "value_error",
    )
}

fn country(text: &str) -> Result<(), (&'static str, &'static str)> {
    let fits = |c: char| c.is_alphanumeric() || c == '_';
    check(
        text.chars().count() == 3 && text.chars().all(fits),
        r"String should match pattern '^\w{3}$'",
        "string_pattern_mismatch",
    )
}

pub(super) fn uri(text: &str) -> Result<(), (&'static str, &'static str)> {
    let length = text.chars().count();
    check(
        length <= 2083,
        "URL should have at most 2083 characters",
        "url_too_long",
    )?;
    let parsed = reqwest::Url::parse(text);
    let fits = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    check(fits, "Input should be a valid URL", "url_parsing")
}

pub(super) fn https(text: &str) -> Result<(), (&'static str, &'static str)> {
    uri(text)?;
    check(
        text.to_ascii_lowercase().starts_with("https://"),
        "URL scheme should be 'https'",
        "url_scheme",
    )
}

fn check(
    fits: bool,
    message: &'static str,
    error_type: &'static str,
) -> Result<(), (&'static str, &'static str)> {
    fits.then_some(()).ok_or((message, error_type))
}

const TYPE: &str = "fleet_regulatory_id_type";
const MISSING: &str = "Field required";
const NOT_TEXT: &str = "Input should be a valid string";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The paths and types of the complaints about a request with this on top of its `fleet_ref`.
    fn complaints(fields: &Value) -> Vec<(String, String)> {
        let mut all = json!({"fleet_ref": "FLEET-42"});
        let more = fields.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        let complaints = match Request::read(all.as_object().unwrap()) {
            Ok(_) => return Vec::new(),
            Err(Refusal::Invalid(complaints)) => serde_json::to_value(complaints).unwrap(),
            Err(other) => panic!("{other:?}"),
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let complaints = complaints.as_array().unwrap().iter();
        complaints
            .map(|complaint| (text(&complaint["path"]), text(&complaint["error_type"])))
            .collect()
    }

    #[test]
    fn requests_that_keep_the_rules_pass() {
        for fields in [
            json!({}),
            json!({"fleet_name": "Älteste Spedition 2", "fleet_email": "ops@acme.example"}),
            json!({"fleet_regulatory_id": "1234567", "fleet_regulatory_id_type": "DOT"}),
            json!({"fleet_regulatory_id_type": "DOT"}),
            json!({"fleet_phone": "+15550100200", "fleet_country_code": "USA"}),
            json!({"fleet_website": "http://acme.example", "success_redirect_url": "https://a.example/b?c=d"}),
            json!({"callback_url": "https://hooks.example/x", "limit_tsps": ["samsara"]}),
            json!({"permissions": {"vehicle": "read", "something_new": "read_write"}}),
            json!({"permissions": {}, "limit_tsps": []}),
            json!({"expires_in_hours": 1}),
            json!({"expires_in_hours": 672}),
            json!({"fleet_name": null, "fleet_website": null, "permissions": null, "limit_tsps": null}),
            json!({"unknown": 1, "partner_provided_fleet_name": "!"}),
        ] {
            assert_eq!(complaints(&fields), [], "{fields}");
        }
    }

    #[test]
    fn every_broken_rule_is_named() {
        let long = format!("https://a.example/{}", "x".repeat(2083));
        for (fields, path, error_type) in [
            (json!({"fleet_ref": null}), "fleet_ref", "string_type"),
            (json!({"fleet_ref": 42}), "fleet_ref", "string_type"),
            (
                json!({"fleet_name": "Acme & Sons"}),
                "fleet_name",
                "value_error",
            ),
            (json!({"fleet_name": 1}), "fleet_name", "string_type"),
            (
                json!({"fleet_email": "acme.example"}),
                "fleet_email",
                "value_error",
            ),
            (
                json!({"fleet_email": "a@b@c.example"}),
                "fleet_email",
                "value_error",
            ),
            (
                json!({"fleet_regulatory_id": "1"}),
                "fleet_regulatory_id_type",
                "value_error",
            ),
            (
                json!({"fleet_phone": "call me"}),
                "fleet_phone",
                "value_error",
            ),
            (json!({"fleet_website": ""}), "fleet_website", "url_parsing"),
            (
                json!({"fleet_website": "acme"}),
                "fleet_website",
                "url_parsing",
            ),
            (
                json!({"fleet_country_code": "US"}),
                "fleet_country_code",
                "string_pattern_mismatch",
            ),
            (
                json!({"fleet_country_code": "U-A"}),
                "fleet_country_code",
                "string_pattern_mismatch",
            ),
            (
                json!({"success_redirect_url": long}),
                "success_redirect_url",
                "url_too_long",
            ),
            (
                json!({"failure_redirect_url": "ftp://a.example"}),
                "failure_redirect_url",
                "url_parsing",
            ),
            (
                json!({"callback_url": "http://a.example"}),
                "callback_url",
                "url_scheme",
            ),
            (json!({"limit_tsps": "samsara"}), "limit_tsps", "list_type"),
            (
                json!({"permissions": {"user": "write"}}),
                "permissions.user",
                "enum",
            ),
            (json!({"permissions": []}), "permissions", "dict_type"),
            (
                json!({"expires_in_hours": 0}),
                "expires_in_hours",
                "greater_than_equal",
            ),
            (
                json!({"expires_in_hours": 673}),
                "expires_in_hours",
                "less_than_equal",
            ),
            (
                json!({"expires_in_hours": null}),
                "expires_in_hours",
                "int_type",
            ),
            (
                json!({"expires_in_hours": 1.5}),
                "expires_in_hours",
                "int_type",
            ),
        ] {
            let expected = [(format!("body.{path}"), error_type.to_owned())];
            assert_eq!(complaints(&fields), expected, "{fields}");
        }
        let Err(Refusal::Invalid(missing)) = Request::read(&Map::new()) else {
            panic!("a request without fleet_ref passes")
        };
        assert_eq!(
            missing,
            [Complaint::new(
                "body.fleet_ref",
                &Value::Null,
                "Field required",
                "missing"
            )]
        );
        let several = json!({"fleet_name": "!", "expires_in_hours": 0, "fleet_website": "x"});
        assert_eq!(complaints(&several).len(), 3);
    }
}

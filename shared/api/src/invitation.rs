//! Inviting a fleet.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FieldProblem, Moment, Scopes};

/// What a fleet is invited with, in Catena's words. What is left out is left to the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InvitationRequest {
    /// The fleet's name. Catena takes letters, numbers and spaces; other characters are left out on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub fleet_name: Option<String>,
    /// Where Catena may write to the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 254),
        regex(pattern = r"^[!-?A-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
    )]
    pub fleet_email: Option<String>,
    /// The fleet's number at a regulator; needs `fleet_regulatory_id_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[!-~]+$"))]
    pub fleet_regulatory_id: Option<String>,
    /// Which regulator: `DOT`, `MC`, `EASA`, …; needs `fleet_regulatory_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[A-Za-z0-9_]+$"))]
    pub fleet_regulatory_id_type: Option<String>,
    /// E.164, such as `+15125550100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\+[1-9][0-9]{1,14}$"))]
    pub fleet_phone: Option<String>,
    /// The fleet's own pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2083), regex(pattern = r"^https?://[!-~]+$"))]
    pub fleet_website: Option<String>,
    /// ISO 3166-1 alpha-3, such as `USA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Z]{3}$"))]
    pub fleet_country_code: Option<String>,
    /// The providers that the fleet may choose from, by source name; left out: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 100),
        inner(regex(pattern = r"^[a-z0-9_-]{1,64}$"))
    )]
    pub limit_tsps: Option<Vec<String>>,
    /// What is asked of the fleet: resource to level. Left out: what the stack asks of every fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 100, "propertyNames" = { "pattern": "^[a-z][a-z0-9_]{0,63}$" }))]
    pub permissions: Option<BTreeMap<String, Level>>,
}

/// How far a resource is opened.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Level {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

impl Level {
    /// As Catena writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "read_write",
        }
    }
}

impl InvitationRequest {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let mut check = |field: &str, good: bool, expected: &str| {
            if !good {
                problems.push(FieldProblem::new(field, expected));
            }
        };
        let all = |text: &Option<String>, good: fn(&str) -> bool| text.as_deref().is_none_or(good);
        check(
            "fleet_name",
            all(&self.fleet_name, |it| {
                (1..=200).contains(&it.chars().count())
            }),
            "write 1 to 200 characters, or leave it out",
        );
        check(
            "fleet_email",
            all(&self.fleet_email, is_email),
            "write an e-mail address, such as ops@acme.example, of at most 254 characters",
        );
        check(
            "fleet_regulatory_id",
            all(&self.fleet_regulatory_id, |it| is_graphic(it, 64)),
            "write 1 to 64 characters without spaces",
        );
        check(
            "fleet_regulatory_id_type",
            all(&self.fleet_regulatory_id_type, is_type),
            "write letters and digits, such as DOT, at most 32",
        );
        check(
            "fleet_regulatory_id_type",
            self.fleet_regulatory_id.is_none() || self.fleet_regulatory_id_type.is_some(),
            "is needed with fleet_regulatory_id: DOT, MC, EASA, …",
        );
        check(
            "fleet_regulatory_id",
            self.fleet_regulatory_id_type.is_none() || self.fleet_regulatory_id.is_some(),
            "is needed with fleet_regulatory_id_type",
        );
        check(
            "fleet_phone",
            all(&self.fleet_phone, is_phone),
            "write it in E.164: + and 2 to 15 digits, such as +15125550100",
        );
        check(
            "fleet_website",
            all(&self.fleet_website, is_url),
            "write a URL that begins with https:// or http://, of at most 2083 characters",
        );
        check(
            "fleet_country_code",
            all(&self.fleet_country_code, is_country),
            "write three capital letters (ISO 3166-1 alpha-3), such as USA",
        );
        let limits = self.limit_tsps.iter().flatten();
        check(
            "limit_tsps",
            limits.clone().all(|it| is_source(it))
                && self
                    .limit_tsps
                    .as_ref()
                    .is_none_or(|it| (1..=100).contains(&it.len())),
            "write 1 to 100 source names, such as samsara, or leave it out",
        );
        let permissions = self.permissions.as_ref();
        check(
            "permissions",
            permissions.is_none_or(|it| (1..=100).contains(&it.len())),
            "write 1 to 100 resources, or leave it out",
        );
        for resource in permissions.into_iter().flat_map(BTreeMap::keys) {
            check(
                &format!("permissions.{resource}"),
                is_resource(resource),
                "write Catena's name of a resource, such as vehicle_location: small letters, digits and _",
            );
        }
        problems
    }
}

fn is_graphic(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic())
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let label = |it: &str| {
        !it.is_empty()
            && it
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    text.len() <= 254
        && is_graphic(local, 254)
        && domain.contains('.')
        && domain.split('.').all(label)
}

fn is_type(text: &str) -> bool {
    let good = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(good)
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (2..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|it| it.is_ascii_digit())
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    text.len() <= 2083 && rest.is_some_and(|rest| is_graphic(rest, 2083))
}

fn is_country(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|it| it.is_ascii_uppercase())
}

fn is_source(text: &str) -> bool {
    let good = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_-".contains(&it);
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}

fn is_resource(text: &str) -> bool {
    let good = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    (1..=64).contains(&text.len())
        && text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.bytes().all(good)
}

/// What inviting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Outcome {
    /// Catena made an invitation.
    Created,
    /// Catena refreshed the one that it had.
    Refreshed,
    /// Catena has all that is asked for already, as after a call that was cut off: nothing was refreshed.
    Adopted,
    /// It was as asked, and Catena wasn't called.
    Unchanged,
}

/// An invitation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The fleet.
    pub fleet_ref: String,
    /// What asking came to.
    pub outcome: Outcome,
    /// How it stands.
    #[serde(flatten)]
    pub summary: InvitationSummary,
}

/// How an invitation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationSummary {
    /// `open`, `accepted`, `declined`, `expired` or `deleted`.
    pub status: String,
    /// When the fleet's invitation at Catena ends. The link outlives it: it leads to whichever invitation the fleet has.
    pub ends: Option<Moment>,
    /// The fleet's own link, to be given to the fleet alone. Null if it was taken back, or if Kingpin never invited it.
    pub link: Option<Link>,
    /// What was asked for; null if Kingpin never invited it.
    pub asked: Option<InvitationRequest>,
    /// What Catena lets the fleet decide about: resource to `read` or `read_write`; null if Kingpin never invited it.
    pub granted: Option<Scopes>,
}

/// A fleet's own link. It stays the same while its invitations come and go, until it is replaced or taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Where it leads.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// The first moment without it.
    pub ends: Moment,
}

/// A fleet and its own link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetLink {
    /// The fleet.
    pub fleet_ref: String,
    /// Its link, to be given to the fleet alone.
    pub link: Link,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(body: serde_json::Value) -> Vec<String> {
        let request: InvitationRequest = serde_json::from_value(body).unwrap();
        request.problems().into_iter().map(|it| it.field).collect()
    }

    #[test]
    fn what_catena_would_refuse_is_named_by_its_field() {
        let good = json!({
            "fleet_name": "Acme & Söhne", "fleet_email": "ops@acme.example", "fleet_regulatory_id": "1234567",
            "fleet_regulatory_id_type": "DOT", "fleet_phone": "+15125550100", "fleet_website": "https://acme.example/x",
            "fleet_country_code": "USA", "limit_tsps": ["samsara"],
            "permissions": { "vehicle": "read", "message": "read_write" },
        });
        assert_eq!(problems(good), [] as [&str; 0]);
        assert_eq!(problems(json!({})), [] as [&str; 0]);
        for (body, field) in [
            (json!({ "fleet_name": "" }), "fleet_name"),
            (json!({ "fleet_email": "ops" }), "fleet_email"),
            (json!({ "fleet_email": "a@b" }), "fleet_email"),
            (
                json!({ "fleet_regulatory_id": "7" }),
                "fleet_regulatory_id_type",
            ),
            (
                json!({ "fleet_regulatory_id_type": "DOT" }),
                "fleet_regulatory_id",
            ),
            (json!({ "fleet_phone": "5125550100" }), "fleet_phone"),
            (json!({ "fleet_phone": "+0" }), "fleet_phone"),
            (json!({ "fleet_website": "acme.example" }), "fleet_website"),
            (json!({ "fleet_country_code": "us" }), "fleet_country_code"),
            (json!({ "limit_tsps": [] }), "limit_tsps"),
            (json!({ "permissions": {} }), "permissions"),
            (
                json!({ "permissions": { "Vehicle": "read" } }),
                "permissions.Vehicle",
            ),
        ] {
            assert_eq!(problems(body.clone()), [field], "{body}");
        }
    }
}

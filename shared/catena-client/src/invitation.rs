//! Invitations, with their secrets kept apart (contract 3.1).

use std::{collections::BTreeMap, fmt};

use catena::{Invitation, Level, scrub_record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::typed;

/// An invitation to make, or to refresh: Catena keeps one per `fleet_ref`. It has no `callback_url`, which would duplicate
/// events with signatures that nobody can check (contract 6.9).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct NewInvitation {
    /// Our own reference.
    pub fleet_ref: String,
    /// Letters, numbers and spaces only; the fleet may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_name: Option<String>,
    /// Where Catena writes to, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_email: Option<String>,
    /// The fleet's number with an authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_regulatory_id: Option<String>,
    /// `DOT`, `EASA`, `MC`, …; required with the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_regulatory_id_type: Option<String>,
    /// In the form of E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_phone: Option<String>,
    /// A URI of at most 2083 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_website: Option<String>,
    /// ISO 3166-1 alpha-3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_country_code: Option<String>,
    /// Where the fleet's browser goes afterwards; at most 2083 characters. It may carry a token of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_redirect_url: Option<String>,
    /// Where it goes otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_redirect_url: Option<String>,
    /// The providers that the fleet may choose from; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_tsps: Option<Vec<String>>,
    /// Resource to level. Always sent: sources disagree on the default (contract 7, 4).
    pub permissions: BTreeMap<String, Level>,
    /// 1 to 672.
    pub expires_in_hours: u16,
}

impl NewInvitation {
    /// One with nothing but what every invitation must have.
    pub fn new(
        fleet_ref: impl Into<String>,
        permissions: BTreeMap<String, Level>,
        expires_in_hours: u16,
    ) -> Self {
        Self {
            fleet_ref: fleet_ref.into(),
            fleet_name: None,
            fleet_email: None,
            fleet_regulatory_id: None,
            fleet_regulatory_id_type: None,
            fleet_phone: None,
            fleet_website: None,
            fleet_country_code: None,
            success_redirect_url: None,
            failure_redirect_url: None,
            limit_tsps: None,
            permissions,
            expires_in_hours,
        }
    }
}

/// Without redirect URLs, which carry return tokens, and without the fleet's contacts.
impl fmt::Debug for NewInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewInvitation")
            .field("fleet_ref", &self.fleet_ref)
            .field("permissions", &self.permissions)
            .field("expires_in_hours", &self.expires_in_hours)
            .finish_non_exhaustive()
    }
}

/// What was made of a [`NewInvitation`].
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// Whether it is a new one; else an active, accepted or declined one was refreshed.
    pub new: bool,
    /// As it is now.
    pub invitation: InvitationRead,
}

/// An invitation as the API shows it, without its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct InvitationRead {
    /// What opens it: for one attribute of one record, and the fleet's browser.
    pub secret: InvitationSecret,
    /// Everything that may be written anywhere.
    pub invitation: Invitation,
    /// Resource to level: what the fleet was asked for. Absent differs from empty.
    pub permissions: Option<BTreeMap<String, Level>>,
    /// What Catena knows of the fleet's address.
    pub fleet_email: Option<String>,
    /// ISO 3166-1 alpha-3.
    pub fleet_country_code: Option<String>,
    given: Given,
}

/// What an invitation was made with, as far as a [`NewInvitation`] says it. Redirect URLs may carry tokens, so it isn't shown.
#[derive(Clone, PartialEq)]
struct Given(Map<String, Value>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(..)")
    }
}

/// What opens an invitation: whoever has its id can read the fleet's tokens without authentication (contract 0.2). It isn't
/// shown, and is serialised only to rest in the one attribute that is for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationSecret {
    /// The raw id.
    pub id: String,
    /// The link for the fleet's browser, as Catena gave it.
    pub magic_link: Option<String>,
}

impl fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationSecret(..)")
    }
}

impl InvitationRead {
    /// Reads a record, and forgets its tokens.
    pub(crate) fn read(mut record: Value) -> Result<Self, String> {
        let secret = InvitationSecret {
            id: text(&record, "id").ok_or("field id is missing")?,
            magic_link: text(&record, "magic_link"),
        };
        let given = GIVEN.iter().filter_map(|name| {
            let value = record.get(*name).filter(|value| !value.is_null())?;
            Some(((*name).to_owned(), value.clone()))
        });
        let given = Given(given.collect());
        scrub_record(&mut record, true);
        let permissions = typed::<Permissions>(record.clone())?.permissions;
        Ok(Self {
            secret,
            permissions,
            fleet_email: text(&record, "fleet_email"),
            fleet_country_code: text(&record, "fleet_country_code"),
            invitation: typed(record)?,
            given,
        })
    }

    /// Whether the fleet comes back from it to where it would from another.
    pub fn returns_as(&self, new: &NewInvitation) -> bool {
        let urls = [
            (&new.success_redirect_url, "success_redirect_url"),
            (&new.failure_redirect_url, "failure_redirect_url"),
        ];
        urls.into_iter().all(|(wanted, name)| {
            let given = self.given.0.get(name).and_then(Value::as_str);
            given == wanted.as_deref()
        })
    }

    /// Whether it has all that another would be made with, so that asking for that would change nothing but its end. What the
    /// other leaves out doesn't count, but for the choice of providers: leaving that out means all of them.
    pub fn has_all_of(&self, new: &NewInvitation) -> bool {
        let Ok(Value::Object(wanted)) = serde_json::to_value(new) else {
            return false;
        };
        GIVEN.iter().all(|name| match wanted.get(*name) {
            Some(value) => self.given.0.get(*name) == Some(value),
            None => *name != LIMIT_TSPS || !self.given.0.contains_key(*name),
        })
    }
}

const LIMIT_TSPS: &str = "limit_tsps";
/// What a [`NewInvitation`] says and an invitation shows again.
const GIVEN: [&str; 12] = [
    "fleet_ref",
    "fleet_name",
    "fleet_email",
    "fleet_regulatory_id",
    "fleet_regulatory_id_type",
    "fleet_phone",
    "fleet_website",
    "fleet_country_code",
    "success_redirect_url",
    "failure_redirect_url",
    LIMIT_TSPS,
    "permissions",
];

#[derive(Deserialize)]
struct Permissions {
    permissions: Option<BTreeMap<String, Level>>,
}

fn text(record: &Value, name: &str) -> Option<String> {
    let text = record.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_invitation_is_compared_in_all_that_was_asked_for() {
        let read = |extra: Value| {
            let mut record = json!({
                "id": "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3", "fleet_ref": "FLEET-42", "fleet_name": "Acme",
                "permissions": { "vehicle": "read" }, "success_redirect_url": "https://a.example/token",
                "limit_tsps": null, "fleet_phone": null,
            });
            let fields = record.as_object_mut().unwrap();
            fields.extend(extra.as_object().unwrap().clone());
            InvitationRead::read(record).unwrap()
        };
        let permissions = BTreeMap::from([("vehicle".to_owned(), Level::Read)]);
        let wanted = NewInvitation {
            fleet_name: Some("Acme".to_owned()),
            success_redirect_url: Some("https://a.example/token".to_owned()),
            ..NewInvitation::new("FLEET-42", permissions, 672)
        };
        assert!(read(json!({})).has_all_of(&wanted));
        assert!(read(json!({ "fleet_phone": "+15125550100" })).has_all_of(&wanted));
        for other in [
            json!({ "fleet_ref": "FLEET-43" }),
            json!({ "fleet_name": null }),
            json!({ "limit_tsps": ["samsara"] }),
            json!({ "permissions": { "vehicle": "read_write" } }),
            json!({ "permissions": { "vehicle": "read", "user": "read" } }),
            json!({ "success_redirect_url": "https://b.example/" }),
        ] {
            assert!(!read(other.clone()).has_all_of(&wanted), "{other}");
        }
        let limited = NewInvitation {
            limit_tsps: Some(vec!["samsara".to_owned()]),
            ..wanted
        };
        assert!(!read(json!({})).has_all_of(&limited));
        assert!(!format!("{:?}", read(json!({}))).contains("a.example"));
    }
}

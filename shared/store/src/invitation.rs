//! What is kept of a fleet's invitation besides the facts about it, and the durable links that lead to it.
//!
//! An item of its own beside the record: the secret in it isn't read, carried or written by whoever folds events, and an
//! invitation that is being made doesn't get in their way.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use fleet::{FleetRef, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::Duration;

use crate::{
    Commit, StoreError, StoredRecord, Table,
    batch::{Item, damaged, key, number, text},
    record::{self, RECORD, on_condition, pk},
};

/// What opens a fleet's tokens at Catena: an invitation's id and magic link. It is kept in one attribute of one item and shown
/// nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(String);

impl Sealed {
    /// Seals a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn open(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// What is kept of a fleet's invitation besides the facts about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredInvitation {
    /// Raised by one with each write; 0 if nothing is kept.
    pub version: u64,
    /// What opens it.
    pub secret: Option<Sealed>,
    /// What isn't secret.
    pub open: OpenPart,
}

/// What isn't secret of what is kept of a fleet's invitation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenPart {
    /// The invitation's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What was last asked for, as the caller writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
    /// What Catena granted, as the caller writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Value>,
    /// When Catena was last asked with success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Where the fleet comes back to, as Catena was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_to: Option<String>,
    /// The fleet's durable link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What the URLs that the fleet comes back to name the invitation by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
    /// When the fleet itself last made us ask Catena, by its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// What is being asked for; without a lease: what was asked for without learning the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asking: Option<Value>,
    /// Who is asking Catena now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

/// What the URLs that a fleet comes back to name its invitation by, because they are fixed before Catena gives it an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// A random name.
    pub name: String,
    /// The first moment without it.
    pub ends: Timestamp,
}

impl OpenPart {
    /// The fleet's link, if it leads somewhere.
    pub fn live_link(&self, now: Timestamp) -> Option<&Link> {
        self.link.as_ref().filter(|link| now < link.ends)
    }

    /// Whether somebody asks Catena about the fleet now.
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.lease.is_some_and(|lease| now < lease.ends)
    }
}

/// A right to ask Catena about one fleet, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The first moment without it.
    pub ends: Timestamp,
}

/// A fleet's durable link: a random id that leads to whichever invitation the fleet has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The id.
    pub id: String,
    /// The first moment without it.
    pub ends: Timestamp,
}

impl Table {
    /// A fleet's record and what is kept of its invitation, each with version 0 if there is none: strongly consistent, one
    /// request.
    pub async fn invited(
        &self,
        fleet: &FleetRef,
    ) -> Result<(StoredRecord, StoredInvitation), StoreError> {
        let keys = [RECORD, INVITATION].map(|sk| key(pk(fleet), sk));
        let found = self.get_chunk("read a fleet", keys.to_vec()).await?;
        both(fleet, &found)
    }

    /// The same for who shows pages: without what opens the invitation, which isn't even read.
    pub async fn shown(&self, fleet: &FleetRef) -> Result<(StoredRecord, OpenPart), StoreError> {
        let keys = [RECORD, INVITATION].map(|sk| key(pk(fleet), sk));
        let found = self.get_attributes("read a fleet", keys.to_vec(), &SHOWN);
        let (stored, invitation) = both(fleet, &found.await?)?;
        Ok((stored, invitation.open))
    }

    /// The fleet that a durable link was made for: whether it still leads anywhere, only [`OpenPart::link`] says.
    pub async fn linked(&self, link: &str) -> Result<Option<FleetRef>, StoreError> {
        if !Link::is_id(link) {
            return Ok(None);
        }
        let keys = vec![key(format!("LINK#{link}"), LINK)];
        let found = self.get_attributes("read a link", keys, &LINKED).await?;
        let Some(item) = found.first() else {
            return Ok(None);
        };
        let fleet = text(item, "fleet_ref").ok().and_then(FleetRef::parse);
        // Without its key, which opens the fleet's invitation.
        let unreadable = || damaged(&key("LINK#…", LINK), "no readable fleet_ref".to_owned());
        fleet.map(Some).ok_or_else(unreadable)
    }

    /// Writes what is kept of a fleet's invitation if its version is still `stored.version`, and returns the written one's. What
    /// is empty is removed.
    pub async fn keep_invitation(
        &self,
        fleet: &FleetRef,
        stored: &StoredInvitation,
    ) -> Result<Commit<u64>, StoreError> {
        if stored.secret.is_none() && stored.open == OpenPart::default() {
            return self.remove_invitation(fleet, stored.version).await;
        }
        let place = key(pk(fleet), INVITATION);
        let open = serde_json::to_string(&stored.open)
            .map_err(|error| damaged(&place, error.to_string()))?;
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(place))
            .item("schema", AttributeValue::N(SCHEMA.to_string()))
            .item(
                "version",
                AttributeValue::N((stored.version + 1).to_string()),
            )
            .item("invitation", AttributeValue::S(open));
        if let Some(secret) = &stored.secret {
            put = put.item("secret", AttributeValue::S(secret.0.clone()));
        }
        put = if stored.version == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            let version = AttributeValue::N(stored.version.to_string());
            put.condition_expression("version = :version")
                .expression_attribute_values(":version", version)
        };
        let written = on_condition("keep an invitation", put.send().await)?;
        Ok(written.map(|_| stored.version + 1))
    }

    async fn remove_invitation(
        &self,
        fleet: &FleetRef,
        version: u64,
    ) -> Result<Commit<u64>, StoreError> {
        let condition = AttributeValue::N(version.to_string());
        let delete = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(pk(fleet), INVITATION)))
            .condition_expression("version = :version")
            .expression_attribute_values(":version", condition);
        let removed = on_condition("remove an invitation", delete.send().await)?;
        Ok(removed.map(|_| 0))
    }

    /// Writes down whose a durable link is. Whether it still leads anywhere, and until when, only the fleet's invitation says
    /// ([`OpenPart::link`]), which is written on a condition: a link that is not named there has ended, and is remembered for
    /// [`Link::REMEMBERED`] longer, so that a page can tell the fleet whom to ask.
    pub async fn keep_link(&self, fleet: &FleetRef, link: &Link) -> Result<(), StoreError> {
        let expires_at = (link.ends.0 + Link::REMEMBERED.whole_milliseconds() as i64) / 1000;
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(key(format!("LINK#{}", link.id), LINK)))
            .item("fleet_ref", AttributeValue::S(fleet.as_str().to_owned()))
            .item("expires_at", AttributeValue::N(expires_at.to_string()))
            .send()
            .await
            .map(drop)
            .map_err(StoreError::of("keep a link"))
    }
}

impl Link {
    /// Whether a text may be the id of a link: 128 bits in Base64's URL-safe characters. Others needn't be looked up.
    pub fn is_id(text: &str) -> bool {
        let good = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
        text.len() == 22 && text.bytes().all(good)
    }

    /// How long an ended link is kept.
    pub const REMEMBERED: Duration = Duration::days(365);
}

fn both(fleet: &FleetRef, found: &[Item]) -> Result<(StoredRecord, StoredInvitation), StoreError> {
    let mut stored = StoredRecord::new(fleet.clone());
    let mut invitation = StoredInvitation::default();
    for item in found {
        match text(item, "sk")? {
            RECORD => stored = record::read(fleet.clone(), item)?,
            _ => invitation = read(item)?,
        }
    }
    Ok((stored, invitation))
}

fn read(item: &Item) -> Result<StoredInvitation, StoreError> {
    let schema: u32 = number(item, "schema")?;
    if schema > SCHEMA {
        let item = format!("invitation of {}", text(item, "pk")?);
        return Err(StoreError::NewerSchema {
            item,
            schema,
            known: SCHEMA,
        });
    }
    let open = serde_json::from_str(text(item, "invitation")?)
        .map_err(|error| damaged(item, format!("invitation: {error}")))?;
    let secret = item
        .get("secret")
        .map(|_| text(item, "secret"))
        .transpose()?;
    Ok(StoredInvitation {
        version: number(item, "version")?,
        secret: secret.map(Sealed::new),
        open,
    })
}

/// The form of the item that this version writes: 2 since it names what the fleet comes back by.
const SCHEMA: u32 = 2;
const INVITATION: &str = "INVITATION";
const LINK: &str = "LINK";
/// The attributes that [`Table::shown`] reads: the template lets the function that shows pages read these and [`LINKED`] alone.
pub const SHOWN: [&str; 8] = [
    "pk",
    "sk",
    "schema",
    "version",
    "facts",
    "decisions",
    "look",
    "invitation",
];
/// The attributes that [`Table::linked`] reads.
pub const LINKED: [&str; 3] = ["pk", "sk", "fleet_ref"];

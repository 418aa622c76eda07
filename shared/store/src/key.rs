//! Catena's ids that an event can be routed by, and what is kept under each.
//!
//! One item per id holds the fleets that it belongs to, whether events wait for that to be known, and, under a connection's
//! id, what is known about the connection. Each change answers with the item as it is afterwards, so of two changes that
//! race the second sees the first: who links a fleet sees what waits and how the connection stands, who parks an event or
//! changes a connection sees the fleets. That takes no transaction and no second read.

use std::{collections::BTreeSet, fmt};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use fleet::{ConnectionFacts, FleetRef, SCHEMA};

use crate::{
    Commit, StoreError, Table,
    batch::{Item, damaged, key, number, text},
    record::on_condition,
};

/// One of Catena's ids that belongs to a fleet, or to several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Catena's id of a fleet.
    CatenaFleet(String),
    /// A connection. It may serve several fleets.
    Connection(String),
    /// SHA-256 of an invitation's id.
    Invitation(String),
}

impl Key {
    /// The key that is shown so.
    pub fn parse(pk: &str) -> Option<Self> {
        let (kind, id) = pk.strip_prefix("KEY#")?.split_once('#')?;
        let id = id.to_owned();
        match kind {
            "catena-fleet" => Some(Self::CatenaFleet(id)),
            "connection" => Some(Self::Connection(id)),
            "invitation" => Some(Self::Invitation(id)),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    /// As it stands in the table's partition key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::CatenaFleet(id) => ("catena-fleet", id),
            Self::Connection(id) => ("connection", id),
            Self::Invitation(hash) => ("invitation", hash),
        };
        write!(f, "KEY#{kind}#{id}")
    }
}

/// What is kept under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRecord {
    /// The fleets that it belongs to. Only added to.
    pub fleets: BTreeSet<FleetRef>,
    /// Events may wait under it.
    pub waiting: bool,
    /// Under a connection's id: what is known about the connection.
    pub connection: ConnectionFacts,
    /// Raised with each change of `connection`; 0 while nothing is known.
    pub version: u64,
}

/// A change of what is kept under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Fleets that it belongs to as well.
    pub link: BTreeSet<FleetRef>,
    /// What is known about the connection by now, and the version that this was folded from.
    pub connection: Option<(ConnectionFacts, u64)>,
    /// Whether events wait under it.
    pub waiting: Option<bool>,
}

impl Table {
    /// Changes what is kept under a key and returns it as it is afterwards. [`Commit::Conflict`] if the connection's
    /// version isn't the given one any more.
    pub async fn change(
        &self,
        at: &Key,
        change: &KeyChange,
    ) -> Result<Commit<KeyRecord>, StoreError> {
        let mut add = Vec::new();
        let mut set = Vec::new();
        let mut remove = "";
        let mut update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(at.to_string(), LINKS)))
            .return_values(ReturnValue::AllNew);
        if !change.link.is_empty() {
            let fleets = change.link.iter().map(|fleet| fleet.as_str().to_owned());
            add.push("fleet_refs :fleets");
            update =
                update.expression_attribute_values(":fleets", AttributeValue::Ss(fleets.collect()));
        }
        if let Some((facts, version)) = &change.connection {
            let pk = || key(at.to_string(), LINKS);
            let facts =
                serde_json::to_string(facts).map_err(|error| damaged(&pk(), error.to_string()))?;
            set.push("connection_facts = :connection_facts");
            set.push("facts_schema = :schema");
            add.push("version :one");
            update = update
                .expression_attribute_values(":connection_facts", AttributeValue::S(facts))
                .expression_attribute_values(":schema", AttributeValue::N(SCHEMA.to_string()))
                .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
            update = if *version == 0 {
                update.condition_expression("attribute_not_exists(version)")
            } else {
                let version = AttributeValue::N(version.to_string());
                update
                    .condition_expression("version = :version")
                    .expression_attribute_values(":version", version)
            };
        }
        match change.waiting {
            Some(true) => {
                set.push("waiting = :waiting");
                update = update.expression_attribute_values(":waiting", AttributeValue::Bool(true));
            }
            Some(false) => remove = "REMOVE waiting",
            None => {}
        }
        let clause = |verb: &str, parts: &[&str]| match parts {
            [] => String::new(),
            parts => format!("{verb} {}", parts.join(", ")),
        };
        let expression = [clause("ADD", &add), clause("SET", &set), remove.to_owned()];
        let expression = expression.join(" ");
        let answer = update.update_expression(expression.trim()).send().await;
        match on_condition("change what is kept under a key", answer)? {
            Commit::Written(answer) => {
                let item = answer.attributes.unwrap_or_default();
                Ok(Commit::Written(read(&item)?))
            }
            Commit::Conflict => Ok(Commit::Conflict),
        }
    }
}

pub(crate) fn read(item: &Item) -> Result<KeyRecord, StoreError> {
    let fleets = item.get("fleet_refs").and_then(|refs| refs.as_ss().ok());
    let fleets = fleets.into_iter().flatten();
    let (connection, version) = match item.get("connection_facts") {
        None => (ConnectionFacts::default(), 0),
        Some(AttributeValue::S(facts)) => {
            let schema: u32 = number(item, "facts_schema")?;
            if schema > SCHEMA {
                let item = text(item, "pk").unwrap_or_default().to_owned();
                return Err(StoreError::NewerSchema {
                    item,
                    schema,
                    known: SCHEMA,
                });
            }
            let facts = serde_json::from_str(facts)
                .map_err(|error| damaged(item, format!("connection_facts: {error}")))?;
            (facts, number(item, "version")?)
        }
        Some(_) => return Err(damaged(item, "connection_facts is no text".to_owned())),
    };
    Ok(KeyRecord {
        fleets: fleets.filter_map(|text| FleetRef::parse(text)).collect(),
        waiting: item.contains_key("waiting"),
        connection,
        version,
    })
}

pub(crate) const LINKS: &str = "LINKS";

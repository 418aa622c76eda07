//! Fleet records.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::AttributeValue};
use fleet::{Facts, FleetRef, SCHEMA, Stage};

use crate::{
    StoreError, Table,
    batch::{Item, damaged, key, number, text},
};

/// A fleet's record as it stands in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// The fleet.
    pub fleet: FleetRef,
    /// What is known about it.
    pub facts: Facts,
    /// Raised by one with each write; 0 if there is no record yet.
    pub version: u64,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The record is written.
    Written,
    /// Somebody else wrote first: read, fold and try again.
    Conflict,
}

impl StoredRecord {
    /// The record of a fleet that has none.
    pub fn new(fleet: FleetRef) -> Self {
        Self {
            fleet,
            facts: Facts::default(),
            version: 0,
        }
    }
}

impl Table {
    /// The records of the fleets that have one. One request per hundred fleets. A record that can't be read is an error
    /// of its fleet alone.
    pub async fn records(
        &self,
        fleets: &BTreeSet<FleetRef>,
    ) -> Result<BTreeMap<FleetRef, Result<StoredRecord, StoreError>>, StoreError> {
        if fleets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let keys = fleets.iter().map(|fleet| key(pk(fleet), RECORD)).collect();
        let mut records = BTreeMap::new();
        for item in self.get_all("read records", keys).await? {
            let fleet = text(&item, "fleet_ref")?;
            let fleet = FleetRef::parse(fleet)
                .ok_or_else(|| damaged(&item, "fleet_ref is none".to_owned()))?;
            records.insert(fleet.clone(), read(fleet, &item));
        }
        Ok(records)
    }

    /// Writes a record if its version is still `record.version`; the written one has the next.
    pub async fn commit(&self, record: &StoredRecord, stage: Stage) -> Result<Commit, StoreError> {
        let facts = serde_json::to_string(&record.facts)
            .map_err(|error| damaged(&key(pk(&record.fleet), RECORD), error.to_string()))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(key(pk(&record.fleet), RECORD)))
            .item(
                "fleet_ref",
                AttributeValue::S(record.fleet.as_str().to_owned()),
            )
            .item("schema", AttributeValue::N(SCHEMA.to_string()))
            .item(
                "version",
                AttributeValue::N((record.version + 1).to_string()),
            )
            .item("stage", AttributeValue::S(stage.as_str().to_owned()))
            .item("facts", AttributeValue::S(facts));
        let put = if record.version == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("version = :version")
                .expression_attribute_values(
                    ":version",
                    AttributeValue::N(record.version.to_string()),
                )
        };
        match put.send().await {
            Ok(_) => Ok(Commit::Written),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(Commit::Conflict)
            }
            Err(error) => Err(StoreError::unavailable("write a record")(error)),
        }
    }
}

fn read(fleet: FleetRef, item: &Item) -> Result<StoredRecord, StoreError> {
    let schema: u32 = number(item, "schema")?;
    if schema > SCHEMA {
        return Err(StoreError::NewerSchema {
            fleet: fleet.as_str().to_owned(),
            schema,
        });
    }
    let facts = serde_json::from_str(text(item, "facts")?)
        .map_err(|error| damaged(item, format!("facts: {error}")))?;
    Ok(StoredRecord {
        fleet,
        facts,
        version: number(item, "version")?,
    })
}

fn pk(fleet: &FleetRef) -> String {
    format!("FLEET#{fleet}")
}

const RECORD: &str = "RECORD";

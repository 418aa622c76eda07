//! Many items in few requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, WriteRequest};
use fleet::FleetRef;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    Key, KeyRecord, StoreError, StoredRecord, Table,
    key::LINKS,
    record::{self, RECORD},
};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The most items that one BatchGetItem reads (AWS).
const MOST: usize = 100;
/// The most items that one BatchWriteItem writes (AWS).
const MOST_WRITES: usize = 25;
/// What a batch request leaves over (too much data, throttled) is asked for again this often.
const ROUNDS: usize = 5;
/// Requests at a time.
pub(crate) const CONCURRENCY: usize = 8;

/// What was found about keys and fleets.
#[derive(Debug, Default)]
pub struct Found {
    /// What is kept under each key that anything is kept under.
    pub keys: BTreeMap<Key, KeyRecord>,
    /// The record of each fleet that was asked for, with version 0 if it has none. One that can't be read is an error of its
    /// fleet alone.
    pub records: BTreeMap<FleetRef, Result<StoredRecord, StoreError>>,
}

impl Table {
    /// What is kept under keys, and the records of fleets: strongly consistent, one request for all up to a hundred.
    pub async fn look_up(
        &self,
        keys: &BTreeSet<Key>,
        fleets: &BTreeSet<FleetRef>,
    ) -> Result<Found, StoreError> {
        let keys = keys.iter().map(|at| key(at.to_string(), LINKS));
        let records = fleets.iter().map(|fleet| key(record::pk(fleet), RECORD));
        let wanted: Vec<Item> = keys.chain(records).collect();
        let chunks: Vec<_> = wanted.chunks(MOST).map(<[Item]>::to_vec).collect();
        let items: Vec<Vec<Item>> = stream::iter(chunks)
            .map(|chunk| self.get_chunk("read", chunk))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let new = |fleet: &FleetRef| (fleet.clone(), Ok(StoredRecord::new(fleet.clone())));
        let mut found = Found {
            records: fleets.iter().map(new).collect(),
            ..Found::default()
        };
        for item in items.iter().flatten() {
            let pk = text(item, "pk")?;
            if let Some(at) = Key::parse(pk) {
                found.keys.insert(at, crate::key::read(item)?);
            } else if let Some(fleet) = record::fleet_of(pk) {
                let read = record::read(fleet.clone(), item);
                found.records.insert(fleet, read);
            }
        }
        Ok(found)
    }

    /// A fleet's record, with version 0 if it has none: strongly consistent.
    pub async fn record(&self, fleet: &FleetRef) -> Result<StoredRecord, StoreError> {
        let fleets = BTreeSet::from([fleet.clone()]);
        let found = self.look_up(&BTreeSet::new(), &fleets).await?;
        let record = found.records.into_values().next();
        record.unwrap_or_else(|| Ok(StoredRecord::new(fleet.clone())))
    }

    /// All items of a partition whose sort key begins so, in its order: strongly consistent.
    pub(crate) async fn items_under(
        &self,
        operation: &'static str,
        pk: String,
        prefix: &str,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.name)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                .expression_attribute_values(":pk", AttributeValue::S(pk.clone()))
                .expression_attribute_values(":sk", AttributeValue::S(prefix.to_owned()))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(StoreError::of(operation))?;
            items.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// Writes and deletes of whole items, without conditions: one request for up to 25. Keys must differ.
    pub(crate) async fn write_all(
        &self,
        operation: &'static str,
        requests: Vec<WriteRequest>,
    ) -> Result<(), StoreError> {
        let chunks: Vec<_> = requests.chunks(MOST_WRITES).map(<[_]>::to_vec).collect();
        stream::iter(chunks)
            .map(|chunk| self.write_chunk(operation, chunk))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    async fn write_chunk(
        &self,
        operation: &'static str,
        mut left: Vec<WriteRequest>,
    ) -> Result<(), StoreError> {
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(25 << round)).await;
            }
            let answer = self
                .client
                .batch_write_item()
                .request_items(&self.name, left)
                .send()
                .await
                .map_err(StoreError::of(operation))?;
            let unprocessed = answer.unprocessed_items.into_iter().flatten();
            left = unprocessed.flat_map(|(_, requests)| requests).collect();
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable {
            operation,
            source: "some items were left unwritten after several requests".into(),
        })
    }

    pub(crate) async fn get_chunk(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
    ) -> Result<Vec<Item>, StoreError> {
        self.get_attributes(operation, keys, &[]).await
    }

    /// The same, but these attributes alone are read; all if none is named.
    pub(crate) async fn get_attributes(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
        attributes: &[&str],
    ) -> Result<Vec<Item>, StoreError> {
        // By other names, because some of ours are words that DynamoDB keeps for itself.
        let names = attributes.iter().enumerate();
        let names: HashMap<String, String> = names
            .map(|(place, name)| (format!("#a{place}"), (*name).to_owned()))
            .collect();
        let projection: Vec<&str> = names.keys().map(String::as_str).collect();
        let projection = (!projection.is_empty()).then(|| projection.join(", "));
        let names = (!names.is_empty()).then_some(names);
        let mut found = Vec::with_capacity(keys.len());
        let mut left = Some(keys);
        for round in 0..ROUNDS {
            let Some(keys) = left.take() else {
                return Ok(found);
            };
            if round > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(25 << round)).await;
            }
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .set_projection_expression(projection.clone())
                .set_expression_attribute_names(names.clone())
                .build()
                .map_err(StoreError::unbuilt(operation))?;
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.name, request)
                .send()
                .await
                .map_err(StoreError::of(operation))?;
            found.extend(
                answer
                    .responses
                    .into_iter()
                    .flatten()
                    .flat_map(|(_, items)| items),
            );
            left = answer
                .unprocessed_keys
                .into_iter()
                .flatten()
                .map(|(_, keys)| keys.keys)
                .next()
                .filter(|keys| !keys.is_empty());
        }
        match left {
            None => Ok(found),
            Some(_) => Err(StoreError::Unavailable {
                operation,
                source: "some items were left unread after several requests".into(),
            }),
        }
    }
}

pub(crate) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk.into())),
        ("sk".to_owned(), AttributeValue::S(sk.into())),
    ])
}

/// A text attribute that this program always writes.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, StoreError> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value
        .map(String::as_str)
        .ok_or_else(|| damaged(item, format!("no text {name}")))
}

/// A number attribute that this program always writes.
pub(crate) fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, StoreError> {
    let value = item.get(name).and_then(|value| value.as_n().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| damaged(item, format!("no number {name}")))
}

pub(crate) fn damaged(item: &Item, problem: String) -> StoreError {
    let part = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => text.clone(),
        _ => String::new(),
    };
    StoreError::Damaged {
        pk: part("pk"),
        sk: part("sk"),
        problem,
    }
}

//! Many items in few requests.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{StoreError, Table};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The most items that one BatchGetItem reads (AWS).
const MOST: usize = 100;
/// What one BatchGetItem leaves over (too much data, throttled) is asked for again this often.
const ROUNDS: usize = 5;
/// Requests at a time.
const CONCURRENCY: usize = 8;

impl Table {
    /// Strongly consistent reads of whole items; those that don't exist are left out. Keys must differ.
    pub(crate) async fn get_all(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
    ) -> Result<Vec<Item>, StoreError> {
        let chunks: Vec<_> = keys.chunks(MOST).map(<[Item]>::to_vec).collect();
        let found: Vec<Vec<Item>> = stream::iter(chunks)
            .map(|chunk| self.get_chunk(operation, chunk))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn get_chunk(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
    ) -> Result<Vec<Item>, StoreError> {
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
                .build()
                .map_err(|error| StoreError::Unavailable {
                    operation,
                    source: Box::new(error),
                })?;
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.name, request)
                .send()
                .await
                .map_err(StoreError::unavailable(operation))?;
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

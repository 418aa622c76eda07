//! The indexes: what is due, and which fleets are where. Both only point at items, and are a moment behind the table.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use fleet::{FleetRef, Stage, Timestamp};
use futures_util::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;

use crate::{
    Key, StoreError, Table,
    batch::{Item, number, text},
    parked::PARKED,
    record,
};

/// What a due item is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueItem {
    /// A fleet's record.
    Fleet(FleetRef),
    /// An event that waits.
    Parked {
        /// Under which key.
        key: Key,
        /// Tells it from others there.
        digest: String,
    },
}

/// Partitions of the due index. A minute's worth of due items of many fleets would be too much for one (AWS: 1,000 write
/// units a second and partition).
pub const SHARDS: u32 = 8;

impl Table {
    /// What is due until `until`, the soonest first, each with its time in milliseconds; at most `limit` per shard.
    pub async fn due(
        &self,
        until: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<(i64, DueItem)>, StoreError> {
        let shards = (0..SHARDS).map(|shard| {
            let condition = "due_shard = :key AND due_at <= :until";
            let until = AttributeValue::N(timestamp(until).0.to_string());
            let values = BTreeMap::from([
                (":key", AttributeValue::S(shard.to_string())),
                (":until", until),
            ]);
            self.index("due", condition, values, limit)
        });
        let shards: Vec<_> = shards.collect();
        let found: Vec<Vec<Item>> = stream::iter(shards)
            .buffer_unordered(SHARDS as usize)
            .try_collect()
            .await?;
        let mut due = Vec::new();
        for item in found.iter().flatten() {
            let (pk, sk) = (text(item, "pk")?, text(item, "sk")?);
            let about = match Key::parse(pk).zip(sk.strip_prefix(PARKED)) {
                Some((key, digest)) => DueItem::Parked {
                    key,
                    digest: digest.to_owned(),
                },
                None => match record::fleet_of(pk) {
                    Some(fleet) => DueItem::Fleet(fleet),
                    None => continue,
                },
            };
            due.push((number(item, AT)?, about));
        }
        due.sort();
        Ok(due)
    }

    /// Fleets that were in a stage when their record was last written, at most `limit`, in the order of their references and
    /// from the one `after` on. Some stages end by time alone: compute the stage from the record.
    pub async fn fleets_in(
        &self,
        stage: Stage,
        after: Option<&FleetRef>,
        limit: usize,
    ) -> Result<Vec<FleetRef>, StoreError> {
        let stage = AttributeValue::S(stage.as_str().to_owned());
        let mut values = BTreeMap::from([(":key", stage)]);
        let mut condition = "stage = :key";
        if let Some(after) = after {
            condition = "stage = :key AND fleet_ref > :after";
            values.insert(":after", AttributeValue::S(after.as_str().to_owned()));
        }
        let found = self.index("stage", condition, values, limit).await?;
        let refs = found.iter().map(|item| text(item, "fleet_ref"));
        let refs = refs.map(|text| text.map(FleetRef::parse));
        refs.filter_map(Result::transpose).collect()
    }

    pub(crate) async fn index(
        &self,
        index: &'static str,
        condition: &'static str,
        values: BTreeMap<&'static str, AttributeValue>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&self.name)
                .index_name(index)
                .key_condition_expression(condition)
                .set_limit(i32::try_from(limit).ok().filter(|limit| *limit > 0))
                .set_exclusive_start_key(from);
            for (name, value) in &values {
                query = query.expression_attribute_values(*name, value.clone());
            }
            let page = query
                .send()
                .await
                .map_err(StoreError::of("read an index"))?;
            items.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }
}

/// The shard of an item, the same in every version (FNV-1a).
pub(crate) fn shard(pk: &str) -> AttributeValue {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = pk.bytes().fold(0x811c_9dc5, mix);
    AttributeValue::S((hash % SHARDS).to_string())
}

/// A moment of the clock's, as records have it.
pub fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp((time.unix_timestamp_nanos() / 1_000_000) as i64)
}

pub(crate) const SHARD: &str = "due_shard";
pub(crate) const AT: &str = "due_at";

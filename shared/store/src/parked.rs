//! Events whose fleet isn't known yet.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use fleet::Timestamp;
use time::{Duration, OffsetDateTime};

use crate::{
    Key, StoreError, Table,
    batch::{key, number, text},
    due::{self, timestamp},
};

/// An event that waits under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Where it waits.
    pub key: Key,
    /// Tells it from others there; the same event has the same digest.
    pub digest: String,
    /// The event, as the caller wrote it.
    pub body: String,
    /// Since when it waits; `None` if an older program parked it.
    pub since: Option<Timestamp>,
}

impl Parked {
    /// The longest body that can be parked, in bytes: an item holds 400 KB (AWS).
    pub const LONGEST_BODY: usize = 350 * 1024;
    /// After so long nobody will set it free by chance: it is due to be looked at.
    pub const PATIENCE: Duration = Duration::minutes(15);
}

impl Table {
    /// Puts an event under its key. Again is the same as once. Who parks then says so with a
    /// [`KeyChange`](crate::KeyChange), and so sees a link that came meanwhile.
    pub async fn park(&self, parked: &Parked, now: OffsetDateTime) -> Result<(), StoreError> {
        let pk = parked.key.to_string();
        let due_at = timestamp(now + Parked::PATIENCE).0;
        let number = |at: i64| AttributeValue::N(at.to_string());
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, format!("{PARKED}{}", parked.digest))))
            // What comes again waits since it came first.
            .update_expression(
                "SET body = :body, due_shard = :shard, due_at = if_not_exists(due_at, :due_at), \
                 parked_at = if_not_exists(parked_at, :now)",
            )
            .expression_attribute_values(":body", AttributeValue::S(parked.body.clone()))
            .expression_attribute_values(":shard", due::shard(&pk))
            .expression_attribute_values(":due_at", number(due_at))
            .expression_attribute_values(":now", number(timestamp(now).0))
            .send()
            .await
            .map_err(StoreError::of("park an event"))?;
        Ok(())
    }

    /// All that waits under a key.
    pub async fn parked(&self, under: &Key) -> Result<Vec<Parked>, StoreError> {
        let pk = under.to_string();
        let items = self.items_under("read parked events", pk, PARKED).await?;
        let parked = items.iter().map(|item| {
            let sk = text(item, "sk")?;
            Ok(Parked {
                key: under.clone(),
                digest: sk.trim_start_matches(PARKED).to_owned(),
                body: text(item, "body")?.to_owned(),
                since: match item.get(SINCE) {
                    Some(_) => Some(Timestamp(number(item, SINCE)?)),
                    None => None,
                },
            })
        });
        parked.collect()
    }

    /// Takes events away once they are in their records. Again is the same as once.
    pub async fn unpark(&self, parked: &[&Parked]) -> Result<(), StoreError> {
        let places = parked.iter().map(|it| (it.key.to_string(), &it.digest));
        // One request must not name an item twice (AWS).
        let places: BTreeSet<_> = places.collect();
        let mut requests = Vec::with_capacity(places.len());
        for (pk, digest) in places {
            let item = key(pk, format!("{PARKED}{digest}"));
            let delete = DeleteRequest::builder().set_key(Some(item)).build();
            let delete = delete.map_err(StoreError::unbuilt(UNPARK))?;
            requests.push(WriteRequest::builder().delete_request(delete).build());
        }
        self.write_all(UNPARK, requests).await
    }
}

pub(crate) const PARKED: &str = "PARKED#";
const SINCE: &str = "parked_at";
const UNPARK: &str = "remove parked events";

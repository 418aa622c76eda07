//! Which fleets an id belongs to, and what waits until that is known.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use fleet::FleetRef;

use crate::{
    Key, StoreError, Table,
    batch::{damaged, key, text},
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
}

impl Parked {
    /// The longest body that can be parked, in bytes: an item holds 400 KB (AWS).
    pub const LONGEST_BODY: usize = 350 * 1024;
}

impl Table {
    /// The fleets of each key that has any. One request per hundred keys.
    pub async fn links(
        &self,
        keys: &BTreeSet<Key>,
    ) -> Result<BTreeMap<Key, BTreeSet<FleetRef>>, StoreError> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let by_pk: BTreeMap<String, &Key> = keys.iter().map(|key| (key.to_string(), key)).collect();
        let wanted = by_pk.keys().map(|pk| key(pk, LINKS)).collect();
        let mut links = BTreeMap::new();
        for item in self.get_all("read links", wanted).await? {
            let Some(key) = by_pk.get(text(&item, "pk")?) else {
                continue;
            };
            let refs = item.get(FLEET_REFS).and_then(|refs| refs.as_ss().ok());
            let refs = refs.ok_or_else(|| damaged(&item, format!("no text set {FLEET_REFS}")))?;
            let refs = refs.iter().filter_map(|text| FleetRef::parse(text));
            links.insert((*key).clone(), refs.collect());
        }
        Ok(links)
    }

    /// Adds a fleet to a key's. Links are never taken away.
    pub async fn link(&self, to: &Key, fleet: &FleetRef) -> Result<(), StoreError> {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(to.to_string(), LINKS)))
            .update_expression("ADD fleet_refs :fleet")
            .expression_attribute_values(
                ":fleet",
                AttributeValue::Ss(vec![fleet.as_str().to_owned()]),
            )
            .send()
            .await
            .map_err(StoreError::unavailable("add a link"))?;
        Ok(())
    }

    /// Puts an event under its key. Again is the same as once.
    pub async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        let item = key(parked.key.to_string(), format!("{PARKED}{}", parked.digest));
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .item("body", AttributeValue::S(parked.body.clone()))
            .send()
            .await
            .map_err(StoreError::unavailable("park an event"))?;
        Ok(())
    }

    /// All that waits under a key.
    pub async fn parked(&self, under: &Key) -> Result<Vec<Parked>, StoreError> {
        let mut parked = Vec::new();
        let mut from = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.name)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                .expression_attribute_values(":pk", AttributeValue::S(under.to_string()))
                .expression_attribute_values(":sk", AttributeValue::S(PARKED.to_owned()))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(StoreError::unavailable("read parked events"))?;
            for item in page.items() {
                let sk = text(item, "sk")?;
                parked.push(Parked {
                    key: under.clone(),
                    digest: sk.trim_start_matches(PARKED).to_owned(),
                    body: text(item, "body")?.to_owned(),
                });
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(parked);
            }
        }
    }

    /// Takes an event away once it is in its records. Again is the same as once.
    pub async fn unpark(&self, parked: &Parked) -> Result<(), StoreError> {
        let item = key(parked.key.to_string(), format!("{PARKED}{}", parked.digest));
        self.client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(item))
            .send()
            .await
            .map_err(StoreError::unavailable("remove a parked event"))?;
        Ok(())
    }
}

const LINKS: &str = "LINKS";
const PARKED: &str = "PARKED#";
const FLEET_REFS: &str = "fleet_refs";

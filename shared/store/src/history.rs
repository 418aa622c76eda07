//! What led to a record: every observation that was news to it, kept for a while.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use fleet::{FleetRef, Observation, Timestamp};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{
    StoreError, Table,
    batch::{damaged, key, text},
    due::millis,
    record::pk,
};

/// News that one event brought. Written as `[event, id, received, news]`: a history is what a record costs most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct HistoryEntry {
    /// The event's name, or what else told it.
    pub event: String,
    /// The event's id at Catena.
    pub id: Option<String>,
    /// When it came.
    pub received: Timestamp,
    /// What it said that wasn't known.
    pub news: Vec<Observation>,
}

/// A [`HistoryEntry`] as it is written.
type Written = (String, Option<String>, Timestamp, Vec<Observation>);

impl From<Written> for HistoryEntry {
    fn from((event, id, received, news): Written) -> Self {
        Self {
            event,
            id,
            received,
            news,
        }
    }
}

impl From<HistoryEntry> for Written {
    fn from(entry: HistoryEntry) -> Self {
        (entry.event, entry.id, entry.received, entry.news)
    }
}

impl Table {
    /// Adds entries to fleets' histories, kept for `days`: one item per fleet. It goes before the record, so that no record
    /// holds what its history doesn't; what is written twice because of a crash between the two is read back once.
    pub async fn remember(
        &self,
        news: &[(&FleetRef, &[HistoryEntry])],
        now: OffsetDateTime,
        days: u32,
    ) -> Result<(), StoreError> {
        let expires_at = now + Duration::days(i64::from(days));
        let mut requests = Vec::new();
        for (fleet, entries) in news {
            let sk = format!("{HISTORY}{:013}#{:08x}", millis(now), fastrand::u32(..));
            let entries = serde_json::to_string(entries)
                .map_err(|error| damaged(&key(pk(fleet), &sk), error.to_string()))?;
            let mut item = key(pk(fleet), sk);
            item.insert("entries".to_owned(), AttributeValue::S(entries));
            let expires_at = AttributeValue::N(expires_at.unix_timestamp().to_string());
            item.insert("expires_at".to_owned(), expires_at);
            let put = PutRequest::builder().set_item(Some(item)).build();
            let put = put.map_err(StoreError::unbuilt(REMEMBER))?;
            requests.push(WriteRequest::builder().put_request(put).build());
        }
        self.write_all(REMEMBER, requests).await
    }

    /// A fleet's history, each observation once, in the order in which things happened.
    pub async fn history(&self, fleet: &FleetRef) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut seen = BTreeSet::new();
        let mut history: Vec<HistoryEntry> = Vec::new();
        for item in self
            .items_under("read a history", pk(fleet), HISTORY)
            .await?
        {
            let entries: Vec<HistoryEntry> = serde_json::from_str(text(&item, "entries")?)
                .map_err(|error| damaged(&item, format!("entries: {error}")))?;
            for mut entry in entries {
                entry.news.retain(|news| seen.insert(news.clone()));
                if !entry.news.is_empty() {
                    history.push(entry);
                }
            }
        }
        history.sort_by_key(|entry| entry.news.iter().map(|news| news.at).max());
        Ok(history)
    }
}

const HISTORY: &str = "HISTORY#";
const REMEMBER: &str = "write a history";

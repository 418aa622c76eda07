//! What led to a record: every observation that was news to it, kept for a while.

use std::{collections::BTreeSet, str::FromStr};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use fleet::{At, Due, FleetRef, Observation, Override, OverrideKind, Timestamp};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{
    StoreError, Table,
    batch::{Item, damaged, key, text},
    due::timestamp,
    record::pk,
};

/// Days that a history is kept: as long as anything may be delivered again at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryDays(u32);

impl HistoryDays {
    /// When what happened at a moment is forgotten, in seconds since 1970 as TTL has it.
    pub(crate) fn end(self, at: Timestamp) -> i64 {
        at.0 / 1000 + i64::from(self.0) * 24 * 60 * 60
    }

    /// What a setting of it should be.
    pub const EXPECTED: &str = "a number of days, 15 or more: a replay reaches as far back";
    const SHORTEST: u32 = 15;
}

impl Default for HistoryDays {
    fn default() -> Self {
        Self(90)
    }
}

impl FromStr for HistoryDays {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let days = text.parse().ok().filter(|days| *days >= Self::SHORTEST);
        days.map(Self).ok_or(())
    }
}

impl From<HistoryDays> for u32 {
    fn from(days: HistoryDays) -> Self {
        days.0
    }
}

/// News that one event brought, what an operator decided, or dates that passed. Written as `[event, id, received, news]`, with the
/// decision or the dates as a fifth part: a history is what a record costs most.
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
    /// What was decided.
    pub decided: Option<Decided>,
    /// Dates that passed.
    pub passed: Vec<Due>,
}

/// An operator's decision about a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Which way.
    pub kind: OverrideKind,
    /// Who.
    pub by: String,
    /// What; `None` lifts what was decided before.
    pub decided: Option<Override>,
}

impl Decided {
    /// Its entry in a history.
    pub(crate) fn entry(&self, now: Timestamp) -> HistoryEntry {
        HistoryEntry {
            event: OVERRIDE.to_owned(),
            id: None,
            received: now,
            news: Vec::new(),
            decided: Some(self.clone()),
            passed: Vec::new(),
        }
    }
}

impl HistoryEntry {
    /// Dates that passed until `now`.
    pub(crate) fn of_dates(passed: Vec<Due>, now: Timestamp) -> Self {
        Self {
            event: DATE.to_owned(),
            id: None,
            received: now,
            news: Vec::new(),
            decided: None,
            passed,
        }
    }

    /// Without what was seen before: a crash or a conflict between a history and its record writes things twice.
    fn once(mut self, seen: &mut Seen) -> Option<Self> {
        self.news.retain(|news| seen.news.insert(news.clone()));
        self.passed.retain(|date| seen.passed.insert(*date));
        let any = !self.news.is_empty() || self.decided.is_some() || !self.passed.is_empty();
        any.then_some(self)
    }

    /// When it happened.
    pub fn at(&self) -> At {
        let news = self.news.iter().map(|news| news.at);
        let passed = self.passed.iter().map(|date| At(date.at, 0));
        news.chain(passed).max().unwrap_or(At(self.received, 0))
    }
}

/// A [`HistoryEntry`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Told(String, Option<String>, Timestamp, Vec<Observation>),
    Decided(String, Option<String>, Timestamp, Vec<Observation>, Decided),
    Passed(
        String,
        Option<String>,
        Timestamp,
        Vec<Observation>,
        Vec<Due>,
    ),
}

/// What was read of a history so far.
#[derive(Default)]
struct Seen {
    news: BTreeSet<Observation>,
    passed: BTreeSet<Due>,
}

impl From<Written> for HistoryEntry {
    fn from(written: Written) -> Self {
        let none = Vec::new();
        let (event, id, received, news, decided, passed) = match written {
            Written::Told(event, id, received, news) => (event, id, received, news, None, none),
            Written::Decided(event, id, received, news, decided) => {
                (event, id, received, news, Some(decided), none)
            }
            Written::Passed(event, id, received, news, passed) => {
                (event, id, received, news, None, passed)
            }
        };
        Self {
            event,
            id,
            received,
            news,
            decided,
            passed,
        }
    }
}

impl From<HistoryEntry> for Written {
    fn from(entry: HistoryEntry) -> Self {
        let HistoryEntry {
            event,
            id,
            received,
            news,
            decided,
            passed,
        } = entry;
        match decided {
            None if passed.is_empty() => Self::Told(event, id, received, news),
            None => Self::Passed(event, id, received, news, passed),
            Some(decided) => Self::Decided(event, id, received, news, decided),
        }
    }
}

/// A part of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The latest written first.
    pub entries: Vec<HistoryEntry>,
    /// Where the next page begins, if there is one.
    pub next: Option<HistoryCursor>,
}

/// Where a page of a history ended. Digits, `#` and letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryCursor(String);

impl HistoryCursor {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('#')?;
        let good = time.len() == 13
            && random.len() == 8
            && time.bytes().all(|it| it.is_ascii_digit())
            && random.bytes().all(|it| it.is_ascii_hexdigit());
        good.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
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
            let sk = format!(
                "{HISTORY}{:013}#{:08x}",
                timestamp(now).0,
                fastrand::u32(..)
            );
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

    /// A page of a fleet's history, the latest written first and each observation once: that of at most `limit` writes, which came
    /// before the one where another page ended.
    pub async fn history_page(
        &self,
        fleet: &FleetRef,
        after: Option<&HistoryCursor>,
        limit: i32,
    ) -> Result<HistoryPage, StoreError> {
        let from = after.map(|it| key(pk(fleet), format!("{HISTORY}{}", it.0)));
        let page = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(limit)
            .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
            .expression_attribute_values(":pk", AttributeValue::S(pk(fleet)))
            .expression_attribute_values(":sk", AttributeValue::S(HISTORY.to_owned()))
            .set_exclusive_start_key(from)
            .send()
            .await
            .map_err(StoreError::of("read a history"))?;
        let mut seen = Seen::default();
        let mut entries = Vec::new();
        for item in page.items.iter().flatten() {
            let once = read(item)?.into_iter().rev();
            entries.extend(once.filter_map(|entry| entry.once(&mut seen)));
        }
        let next = match &page.last_evaluated_key {
            Some(last) => HistoryCursor::parse(text(last, "sk")?.trim_start_matches(HISTORY)),
            None => None,
        };
        Ok(HistoryPage { entries, next })
    }

    /// A fleet's history, each observation once, in the order in which things happened.
    pub async fn history(&self, fleet: &FleetRef) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut seen = Seen::default();
        let mut history: Vec<HistoryEntry> = Vec::new();
        for item in self
            .items_under("read a history", pk(fleet), HISTORY)
            .await?
        {
            let entries = read(&item)?.into_iter();
            history.extend(entries.filter_map(|entry| entry.once(&mut seen)));
        }
        history.sort_by_key(HistoryEntry::at);
        Ok(history)
    }
}

fn read(item: &Item) -> Result<Vec<HistoryEntry>, StoreError> {
    serde_json::from_str(text(item, "entries")?)
        .map_err(|error| damaged(item, format!("entries: {error}")))
}

const HISTORY: &str = "HISTORY#";
const DATE: &str = "date.passed";
const OVERRIDE: &str = "override";
const REMEMBER: &str = "write a history";

//! Works become writes: each fleet's shares are folded into its record, the news go into its history, and then the record is
//! written if nobody else wrote it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Due, Fact, FleetRef, Observation, Policy, Record, Standing, Timestamp, Why};
use futures_util::{StreamExt, stream};
use store::{Commit, HistoryEntry, StoreError, StoredRecord, Table};
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::{
    guard::guarded,
    processor::describe,
    routing::{COMMIT_ATTEMPTS, CONCURRENCY, Share, pause},
};

/// What became of a fleet's shares, in their order: whether each was news, or why it never can be.
pub(crate) type Folded = Result<News, StoreError>;
type News = Vec<Result<bool, String>>;

/// Writes records.
#[derive(Clone, Copy)]
pub(crate) struct Commits<'a> {
    pub(crate) table: &'a Table,
    pub(crate) policy: &'a Policy,
    pub(crate) history_days: u32,
    pub(crate) now: OffsetDateTime,
}

/// A record with a fleet's shares in it, not yet written.
struct Draft {
    stored: StoredRecord,
    standing: Standing,
    news: News,
    entries: Vec<HistoryEntry>,
}

impl Commits<'_> {
    /// Writes each fleet's shares: one read for all records that weren't read on the way, one write of all histories, one
    /// write per record with news.
    pub(crate) async fn write(
        self,
        shares: &BTreeMap<FleetRef, Vec<Share>>,
        mut records: BTreeMap<FleetRef, Result<StoredRecord, StoreError>>,
    ) -> Result<Vec<(FleetRef, Folded)>, StoreError> {
        let unread = shares.keys().filter(|fleet| !records.contains_key(fleet));
        let unread: BTreeSet<FleetRef> = unread.cloned().collect();
        if !unread.is_empty() {
            let found = self.table.look_up(&BTreeSet::new(), &unread).await?;
            records.extend(found.records);
        }
        let mut done = Vec::new();
        let mut drafts = Vec::new();
        for (fleet, shares) in shares {
            let stored = match records.remove(fleet) {
                None => StoredRecord::new(fleet.clone()),
                Some(Ok(stored)) => stored,
                Some(Err(error)) => {
                    done.push((fleet.clone(), Err(error)));
                    continue;
                }
            };
            match self.draft(stored, shares) {
                Ok(draft) => drafts.push((fleet, shares, draft)),
                Err(none) => done.push((fleet.clone(), Ok(none))),
            }
        }
        let news = drafts.iter();
        let news = news.map(|(fleet, _, draft)| (*fleet, draft.entries.as_slice()));
        let remembered = match self.remember(news.collect()).await {
            Ok(()) => true,
            // One of them can't be written: then each on its own, so that it harms no other.
            Err(error) if error.is_lasting() => false,
            Err(error) => return Err(error),
        };
        let writes = drafts.into_iter().map(|(fleet, shares, draft)| async move {
            let committed = match self.commit(fleet, shares, draft, remembered).await {
                Err(error) if error.is_lasting() => self.one_by_one(fleet, shares).await,
                committed => committed,
            };
            (fleet.clone(), committed)
        });
        let writes: Vec<_> = writes.collect();
        let written: Vec<_> = stream::iter(writes)
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        done.extend(written);
        Ok(done)
    }

    /// Writes a draft, or what becomes of it after conflicts; `remembered` tells whether it is in its history already.
    async fn commit(
        self,
        fleet: &FleetRef,
        shares: &[Share],
        mut draft: Draft,
        mut remembered: bool,
    ) -> Folded {
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
                let again = match self.draft(self.table.record(fleet).await?, shares) {
                    Ok(again) => again,
                    Err(none) => return Ok(none),
                };
                remembered &= again.entries == draft.entries;
                draft = again;
            }
            if !remembered {
                self.remember(vec![(fleet, &draft.entries)]).await?;
                remembered = true;
            }
            let committed = self.table.commit(&draft.stored, &draft.standing).await?;
            if let Commit::Written(bytes) = committed {
                if bytes > LARGE {
                    warn!(fleet.ref = %fleet, record.bytes = bytes, outcome = "large-record", "fleet {fleet}: its record has {bytes} bytes");
                }
                if attempt > 0 {
                    info!(fleet.ref = %fleet, conflicts = attempt, "fleet {fleet}: written after conflicts");
                }
                return Ok(draft.news);
            }
        }
        Err(StoreError::Unavailable {
            operation: "write a record",
            source: format!("{COMMIT_ATTEMPTS} conflicts in a row").into(),
        })
    }

    /// Writes shares each on its own, after they couldn't be written together: one that can't be harms no other.
    async fn one_by_one(self, fleet: &FleetRef, shares: &[Share]) -> Folded {
        let mut all = Vec::with_capacity(shares.len());
        for share in shares {
            let share = std::slice::from_ref(share);
            let one = match self.draft(self.table.record(fleet).await?, share) {
                Ok(draft) => self.commit(fleet, share, draft, false).await,
                Err(none) => Ok(none),
            };
            match one {
                Ok(news) => all.extend(news),
                Err(error) if error.is_lasting() => all.extend(refused(share, &error)),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn remember(self, mut news: Vec<(&FleetRef, &[HistoryEntry])>) -> Result<(), StoreError> {
        news.retain(|(_, entries)| !entries.is_empty());
        if news.is_empty() {
            return Ok(());
        }
        self.table
            .remember(&news, self.now, self.history_days)
            .await
    }

    /// Folds shares into a record, and draws what follows from the news. The error says that there is nothing to write.
    fn draft(self, stored: StoredRecord, shares: &[Share]) -> Result<Draft, News> {
        guarded(|| self.unguarded_draft(stored, shares))
            .unwrap_or_else(|panicked| Err(refused(shares, &panicked)))
    }

    fn unguarded_draft(self, mut stored: StoredRecord, shares: &[Share]) -> Result<Draft, News> {
        let now = self.timestamp();
        let mut news = Vec::with_capacity(shares.len());
        let mut entries = Vec::new();
        for share in shares {
            let folded = guarded(|| fold(&stored.record, &share.observations));
            let folded = folded.map(|(record, new)| {
                let mut any = !new.is_empty();
                if new.iter().any(|news| news.fact.touches_rights()) {
                    let at = now.plus(READ_BACK_AFTER_MS);
                    let why = Why::ReadBack;
                    stored.look = stored.look.into_iter().chain([Due { at, why }]).min();
                }
                if any {
                    stored.record = record;
                    entries.push(entry(share, new));
                }
                if share.work.translation.hint && stored.look.is_none_or(|look| look.at > now) {
                    let why = Why::Hint;
                    stored.look = Some(Due { at: now, why });
                    any = true;
                }
                any
            });
            news.push(folded.map_err(|panicked| panicked.to_string()));
        }
        if !news.contains(&Ok(true)) {
            return Err(news);
        }
        stored.record.settle(self.policy, now);
        if stored.record.facts.len() > CROWDED {
            let horizon = now.plus(-KEPT_MS);
            stored.record.facts = stored.record.facts.compacted(horizon);
        }
        Ok(Draft {
            standing: stored.record.standing(self.policy, now),
            stored,
            news,
            entries,
        })
    }

    fn timestamp(self) -> Timestamp {
        Timestamp((self.now.unix_timestamp_nanos() / 1_000_000) as i64)
    }
}

/// Shares that can't be written, ever.
fn refused(shares: &[Share], reason: &dyn std::error::Error) -> News {
    shares.iter().map(|_| Err(describe(reason))).collect()
}

/// The record with observations in it, and those that were news.
fn fold(record: &Record, observations: &[Observation]) -> (Record, Vec<Observation>) {
    let mut record = record.clone();
    let mut news = Vec::new();
    for observation in observations {
        let before = record.facts.clone();
        record = record.fold(observation);
        if record.facts != before {
            news.push(observation.clone());
        }
    }
    (record, news)
}

fn entry(share: &Share, news: Vec<Observation>) -> HistoryEntry {
    let source = &share.work.source;
    let connection = news.iter().find_map(|news| match &news.fact {
        Fact::Connection { connection, .. } => Some(connection),
        _ => None,
    });
    HistoryEntry {
        event: match connection.filter(|_| share.known_before) {
            Some(connection) => format!("(known of connection {connection})"),
            None => source.event_name().to_owned(),
        },
        id: source.event_id().map(str::to_owned),
        received: Timestamp(source.received_at_millis()),
        news,
    }
}

/// News about rights are compared with what Catena holds so soon.
const READ_BACK_AFTER_MS: i64 = 60 * 1000;
/// A record of so many bytes is one to look at: an ordinary one has less than 2 KB.
const LARGE: usize = 32 * 1024;
/// Invitations, agreements, requests, connections and schedules of a fleet until those that don't count any more are dropped.
const CROWDED: usize = 40;
/// What doesn't count any more is kept for so long at least: six times as long as anything is delivered again (15 days), and as long as
/// the history by default.
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

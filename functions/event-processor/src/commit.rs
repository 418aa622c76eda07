//! Works become writes: each fleet's shares are folded into its record, the news go into its history, and then the record is
//! written if nobody else wrote it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Due, Fact, FleetRef, Observation, Policy, Record, Timestamp, Why};
use futures_util::{StreamExt, stream};
use store::{Commit, HistoryEntry, StoreError, StoredRecord, Table};
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::{
    guard::{Panicked, guarded},
    routing::{COMMIT_ATTEMPTS, CONCURRENCY, Share, pause},
};

/// What became of a fleet's shares, in their order: whether each was news.
pub(crate) type Folded = Result<Vec<Result<bool, Panicked>>, StoreError>;

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
    news: Vec<Result<bool, Panicked>>,
    entries: Vec<HistoryEntry>,
    changed: bool,
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
            let draft = self.draft(stored, shares);
            if draft.changed {
                drafts.push((fleet, shares, draft));
            } else {
                done.push((fleet.clone(), Ok(draft.news)));
            }
        }
        let news = drafts
            .iter()
            .map(|(fleet, _, draft)| (*fleet, draft.entries.clone()));
        let remembered = match self.remember(news.collect()).await {
            Ok(()) => true,
            // One of them can't be written: then each on its own, so that it harms no other.
            Err(error) if error.is_lasting() => false,
            Err(error) => return Err(error),
        };
        let writes = drafts.into_iter().map(|(fleet, shares, draft)| async move {
            let remembered = remembered.then(|| draft.entries.clone());
            let committed = self.commit(fleet, shares, draft, remembered).await;
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

    /// Writes a draft, or what becomes of it after conflicts; `remembered` is what its history has already.
    async fn commit(
        self,
        fleet: &FleetRef,
        shares: &[Share],
        mut draft: Draft,
        mut remembered: Option<Vec<HistoryEntry>>,
    ) -> Folded {
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
                draft = self.draft(self.table.record(fleet).await?, shares);
                if !draft.changed {
                    return Ok(draft.news);
                }
            }
            if remembered.as_ref() != Some(&draft.entries) {
                self.remember(vec![(fleet, draft.entries.clone())]).await?;
                remembered = Some(draft.entries.clone());
            }
            let now = self.timestamp();
            let standing = draft.stored.record.standing(self.policy, now);
            if let Commit::Written(bytes) = self.table.commit(&draft.stored, &standing).await? {
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

    async fn remember(
        self,
        mut news: Vec<(&FleetRef, Vec<HistoryEntry>)>,
    ) -> Result<(), StoreError> {
        news.retain(|(_, entries)| !entries.is_empty());
        if news.is_empty() {
            return Ok(());
        }
        self.table
            .remember(&news, self.now, self.history_days)
            .await
    }

    /// Folds shares into a record, and draws what follows from the news.
    fn draft(self, mut stored: StoredRecord, shares: &[Share]) -> Draft {
        let now = self.timestamp();
        let mut news = Vec::with_capacity(shares.len());
        let mut entries = Vec::new();
        let mut look = stored.look;
        for share in shares {
            let folded = guarded(|| fold(&stored.record, &share.observations));
            let folded = folded.map(|(record, new)| {
                if new.iter().any(|news| news.fact.touches_rights()) {
                    let at = now.plus(READ_BACK_AFTER_MS);
                    let why = Why::ReadBack;
                    look = look.into_iter().chain([Due { at, why }]).min();
                }
                let mut any = !new.is_empty();
                if any {
                    stored.record = record;
                    entries.push(entry(share, new));
                }
                if share.work.translation.is_hint() && look.is_none_or(|look| look.at > now) {
                    look = Some(Due {
                        at: now,
                        why: Why::Hint,
                    });
                    any = true;
                }
                any
            });
            news.push(folded);
        }
        let changed = news.contains(&Ok(true));
        stored.look = look;
        if changed {
            stored.record.settle(self.policy);
            if stored.record.facts.len() > CROWDED {
                let horizon = now.plus(-KEPT_MS);
                stored.record.facts = stored.record.facts.compacted(horizon);
            }
        }
        Draft {
            stored,
            news,
            entries,
            changed,
        }
    }

    fn timestamp(self) -> Timestamp {
        Timestamp((self.now.unix_timestamp_nanos() / 1_000_000) as i64)
    }
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
/// Invitations, agreements, connections and schedules of a fleet until those that are over are dropped.
const CROWDED: usize = 40;
/// What is over is kept for so long at least: six times as long as anything is delivered again (15 days), and as long as
/// the history by default.
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

//! The one way into a fleet's record: what is told about it is folded in, the news go into its history, and then the record is
//! written if nobody else wrote it meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fleet::{
    At, Due, Fact, FleetRef, InvitationFact, Observation, OverrideKind, Policy, Record, Register,
    Standing, Timestamp, Why,
};
use futures_util::{StreamExt, stream};
use guard::guarded;
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::{
    Commit, Decided, HistoryDays, HistoryEntry, StoreError, StoredRecord, Table,
    batch::CONCURRENCY, due::timestamp,
};

/// What is told about a fleet at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The event's name, or what else told it.
    pub event: String,
    /// The event's id at Catena.
    pub id: Option<String>,
    /// When it came.
    pub received: Timestamp,
    /// What was observed.
    pub observations: Vec<Observation>,
    /// Something was observed that can't be ordered: the fleet is to be looked at.
    pub hint: bool,
    /// Catena answered it just now: there is nothing to compare it with.
    pub answered: bool,
}

/// What became of what was told about a fleet, or why none of it can be in a record.
pub type Folded = Result<Done, StoreError>;
type News = Vec<Result<Taken, StoreError>>;

/// What became of what was told about a fleet.
#[derive(Debug)]
pub struct Done {
    /// What became of each share, in their order, or why it never can be in a record.
    pub news: News,
    /// When to look at the fleet, if that is too soon for a sweep that comes every minute and wasn't asked for before.
    pub nudge: Option<Timestamp>,
}

/// What became of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It changed the record, or when the fleet is looked at; or a date had passed.
    News,
    /// All of it is known.
    NoNews,
    /// Nobody vouches for a part of it, and that is about something that the record doesn't know; the rest is known.
    Ignored,
}

/// Changes records.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    /// Where they are.
    pub table: &'a Table,
    /// What is granted.
    pub policy: &'a Policy,
    /// How long a history is kept.
    pub history_days: HistoryDays,
    /// The time.
    pub now: OffsetDateTime,
}

/// A record with a fleet's shares in it, not yet written.
struct Draft {
    stored: StoredRecord,
    standing: Standing,
    due_at: Option<Timestamp>,
    now: Timestamp,
    done: Done,
    entries: Vec<HistoryEntry>,
}

impl Records<'_> {
    /// Takes in each fleet's shares: one read for all records that weren't read on the way, one write of all histories, one
    /// write per record with news. `records` are those that were read on the way.
    pub async fn take_in(
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
                Err(none) => done.push((fleet.clone(), Ok(none.into()))),
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

    /// Takes in what is told about one fleet, and tells whether it was news.
    pub async fn take_in_one(self, fleet: &FleetRef, share: Share) -> Result<bool, StoreError> {
        let share = std::slice::from_ref(&share);
        match self.draft(self.table.record(fleet).await?, share) {
            Ok(draft) => self.commit(fleet, share, draft, false).await?,
            Err(none) => none.into(),
        }
        .news
        .into_iter()
        .try_fold(false, |any, taken| Ok(any | (taken? == Taken::News)))
    }

    /// Writes an operator's decision about a fleet down, in its history first; a `decided` without an override lifts what was
    /// decided before. `None` if there is no such fleet.
    pub async fn decide(
        self,
        fleet: &FleetRef,
        decided: &[Decided],
    ) -> Result<Option<StoredRecord>, StoreError> {
        let now = self.timestamp();
        let mut remembered = false;
        for attempt in 0..COMMIT_ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
            }
            let mut stored = self.table.record(fleet).await?;
            if stored.version == 0 {
                return Ok(None);
            }
            let now = now.max(stored.written_at.unwrap_or(now));
            let passed = stored.passed(self.policy, now);
            for it in decided {
                let at = after(&stored.record, it.kind, now);
                stored.record.decide(at, it.kind, it.decided.clone());
            }
            stored.record.settle(self.policy, now);
            if !remembered {
                let mut entries: Vec<_> = decided.iter().map(|it| it.entry(now)).collect();
                if !passed.is_empty() {
                    entries.push(HistoryEntry::of_dates(passed, now));
                }
                self.remember(vec![(fleet, &entries)]).await?;
                remembered = true;
            }
            let standing = stored.record.standing(self.policy, now);
            let due_at = stored.agenda(&standing, self.policy, now).next;
            let committed = self.table.commit(&stored, &standing, due_at, now);
            if let Commit::Written(_) = committed.await? {
                stored.version += 1;
                stored.written_at = Some(now);
                return Ok(Some(stored));
            }
        }
        Err(conflicts())
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
                    Err(none) => return Ok(none.into()),
                };
                remembered &= again.entries == draft.entries;
                draft = again;
            }
            if !remembered {
                self.remember(vec![(fleet, &draft.entries)]).await?;
                remembered = true;
            }
            let (stored, standing) = (&draft.stored, &draft.standing);
            let committed = self.table.commit(stored, standing, draft.due_at, draft.now);
            if let Commit::Written(bytes) = committed.await? {
                if bytes > LARGE {
                    warn!(fleet.ref = %fleet, record.bytes = bytes, outcome = "large-record", "fleet {fleet}: its record has {bytes} bytes");
                }
                if attempt > 0 {
                    info!(fleet.ref = %fleet, conflicts = attempt, "fleet {fleet}: written after conflicts");
                }
                return Ok(draft.done);
            }
        }
        Err(conflicts())
    }

    /// Writes shares each on its own, after they couldn't be written together: one that can't be harms no other.
    async fn one_by_one(self, fleet: &FleetRef, shares: &[Share]) -> Folded {
        let mut all = Done::from(Vec::with_capacity(shares.len()));
        for share in shares {
            let share = std::slice::from_ref(share);
            let one = match self.draft(self.table.record(fleet).await?, share) {
                Ok(draft) => self.commit(fleet, share, draft, false).await,
                Err(none) => Ok(none.into()),
            };
            match one {
                Ok(done) => {
                    all.news.extend(done.news);
                    all.nudge = all.nudge.into_iter().chain(done.nudge).min();
                }
                Err(error) if error.is_lasting() => all.news.push(Err(error)),
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
            .remember(&news, self.now, self.history_days.into())
            .await
    }

    /// Folds shares into a record, and draws what follows from the news. The error says that there is nothing to write.
    fn draft(self, stored: StoredRecord, shares: &[Share]) -> Result<Draft, News> {
        guarded(|| self.unguarded_draft(stored, shares))
            .unwrap_or_else(|panicked| Err(shares.iter().map(|_| Err(panicked.into())).collect()))
    }

    fn unguarded_draft(self, mut stored: StoredRecord, shares: &[Share]) -> Result<Draft, News> {
        // Two clocks differ, and what was told at a moment isn't taken back for an earlier one.
        let now = self
            .timestamp()
            .max(stored.written_at.unwrap_or(Timestamp(i64::MIN)));
        let before = stored.record.standing(self.policy, now);
        let before = stored
            .agenda(&before, self.policy, now)
            .next
            .filter(|_| stored.version > 0);
        let passed = stored.passed(self.policy, now);
        let mut news = Vec::with_capacity(shares.len());
        let mut entries = Vec::new();
        if !passed.is_empty() {
            entries.push(HistoryEntry::of_dates(passed, now));
        }
        for share in shares {
            let folded = guarded(|| fold(&stored.record, &share.observations));
            let folded = folded.map(|(record, new, ignored)| {
                let mut any = !new.is_empty();
                if !share.answered && new.iter().any(|news| news.fact.touches_rights()) {
                    let at = now.plus(self.policy.wait(READ_BACK_AFTER_MS));
                    let why = Why::ReadBack;
                    stored.look = stored.look.into_iter().chain([Due { at, why }]).min();
                }
                if any {
                    stored.record = record;
                    entries.push(entry(share, new));
                }
                if share.hint && stored.look.is_none_or(|look| look.at > now) {
                    let why = Why::Hint;
                    stored.look = Some(Due { at: now, why });
                    any = true;
                }
                match (any, ignored) {
                    (true, _) => Taken::News,
                    (false, true) => Taken::Ignored,
                    (false, false) => Taken::NoNews,
                }
            });
            news.push(folded.map_err(StoreError::from));
        }
        let changed = news.iter().any(|news| matches!(news, Ok(Taken::News)));
        let settled = stored.record.settle(self.policy, now);
        if !changed && !settled && entries.is_empty() {
            return Err(news);
        }
        if let Some(last @ Ok(Taken::NoNews)) = news.last_mut().filter(|_| !changed) {
            *last = Ok(Taken::News);
        }
        if stored.record.facts.len() > CROWDED {
            let horizon = now.plus(-KEPT_MS);
            stored.record.facts = stored.record.facts.compacted(horizon);
        }
        let standing = stored.record.standing(self.policy, now);
        let next = stored.agenda(&standing, self.policy, now).next;
        let soon = next.filter(|next| *next <= now.plus(NUDGED_WITHIN_MS));
        // What was due at the same time before is asked for already.
        let nudge = soon.filter(|_| next != before);
        let asked_for = stored.due_at.filter(|_| soon.is_some());
        Ok(Draft {
            due_at: match nudge {
                // A nudge may get lost: then the sweep finds it.
                Some(soon) => Some(soon.plus(NUDGED_WITHIN_MS)),
                None => asked_for.or(next),
            },
            done: Done { news, nudge },
            stored,
            standing,
            now,
            entries,
        })
    }

    fn timestamp(self) -> Timestamp {
        timestamp(self.now)
    }
}

impl From<News> for Done {
    fn from(news: News) -> Self {
        Self { news, nudge: None }
    }
}

fn conflicts() -> StoreError {
    StoreError::Unavailable {
        operation: "write a record",
        source: format!("{COMMIT_ATTEMPTS} conflicts in a row").into(),
    }
}

/// The moment of a decision made now: after the one before it, so that of two within a millisecond the second holds.
fn after(record: &Record, kind: OverrideKind, now: Timestamp) -> At {
    let decisions = &record.decisions;
    let before = match kind {
        OverrideKind::Block => decisions.block.as_ref().map(Register::at),
        OverrideKind::Grant => decisions.pass.as_ref().map(Register::at),
    };
    let next = before.map(|At(time, index)| At(time, index.saturating_add(1)));
    next.max(Some(At(now, 0))).unwrap_or(At(now, 0))
}

/// The record with observations in it, those that were news, and whether any was ignored: what a browser claims is unsigned, so it
/// makes no record, nor an invitation in one.
fn fold(record: &Record, observations: &[Observation]) -> (Record, Vec<Observation>, bool) {
    let mut record = record.clone();
    let mut news = Vec::new();
    let mut ignored = false;
    for observation in observations {
        if let Fact::Invitation {
            invitation,
            was: InvitationFact::Claim(_),
        } = &observation.fact
            && !record.facts.invitations.contains_key(invitation)
        {
            ignored = true;
            continue;
        }
        let before = record.facts.clone();
        record = record.fold(observation);
        if record.facts != before {
            news.push(observation.clone());
        }
    }
    (record, news, ignored)
}

fn entry(share: &Share, news: Vec<Observation>) -> HistoryEntry {
    HistoryEntry {
        event: share.event.clone(),
        id: share.id.clone(),
        received: share.received,
        news,
        decided: None,
        passed: Vec::new(),
    }
}

/// Waits a moment before the next attempt, so that writers don't meet again.
pub async fn pause(attempt: u32) {
    let pause = fastrand::u64(0..(10 << attempt.min(5)));
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

/// Conflicts in a row until somebody else has to try again. At eight writers at a time each of them gets through in fewer.
pub const COMMIT_ATTEMPTS: u32 = 12;
/// News about rights are compared with what Catena holds so soon: late enough for those that come together, and done within a
/// minute.
const READ_BACK_AFTER_MS: i64 = 30 * 1000;
/// What is due within this time is too soon for a sweep every minute: somebody is told at once.
pub const NUDGED_WITHIN_MS: i64 = 60 * 1000;
/// A record of so many bytes is one to look at: an ordinary one has less than 2 KB.
const LARGE: usize = 32 * 1024;
/// Invitations, agreements, requests, connections and schedules of a fleet until those that don't count any more are dropped.
const CROWDED: usize = 40;
/// What doesn't count any more is kept for so long at least: six times as long as anything is delivered again (15 days), and as long as
/// the history by default.
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

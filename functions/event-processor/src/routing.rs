//! From an event to its fleets: by the reference that it names, else by what was learned of Catena's ids.
//!
//! An event whose fleet isn't known is parked under its key. What an event says about a connection is kept under the
//! connection's key, and goes from there to every fleet that the connection serves, now or later. Both are safe without
//! transactions because each change of a key answers with all that is kept under it (see [`store::Key`]): who learns a link
//! changes the key first and reads what waits there afterwards; who parks an event puts it first and says so under the key
//! afterwards. Whichever comes second sees the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fleet::{Fact, FleetRef, Observation, Timestamp};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{
    COMMIT_ATTEMPTS, Commit, Key, KeyChange, KeyRecord, Parked, StoreError, StoredRecord, Table,
    pause,
};
use time::OffsetDateTime;
use tracing::error;

use crate::{
    Translate,
    batch::{self, Work},
};

/// Requests at a time.
pub(crate) const CONCURRENCY: usize = 8;

/// Where the works of a batch go.
#[derive(Default)]
pub(crate) struct Routed {
    /// What each fleet takes in.
    pub(crate) shares: BTreeMap<FleetRef, Vec<Share>>,
    /// The records that were read on the way.
    pub(crate) records: BTreeMap<FleetRef, Result<StoredRecord, StoreError>>,
    /// Messages that told something new about a connection.
    pub(crate) told: BTreeSet<usize>,
    /// Messages of which a part is parked.
    pub(crate) parked: BTreeSet<usize>,
    /// Works that go nowhere, for a reason that time doesn't change.
    pub(crate) refused: Vec<(Arc<Work>, &'static str)>,
    /// What was parked and isn't needed any more when its message is done.
    pub(crate) freed: Vec<(usize, Parked)>,
    /// Keys under which nothing waits any more after that.
    pub(crate) emptied: BTreeSet<Key>,
}

/// What one fleet takes in of a work.
pub(crate) struct Share {
    pub(crate) work: Arc<Work>,
    pub(crate) observations: Vec<Observation>,
    /// Other events told it before; the work only led there.
    pub(crate) known_before: bool,
}

impl Share {
    /// As its record takes it in.
    pub(crate) fn told(&self) -> store::Share {
        let source = &self.work.source;
        let connection = self.work.translation.connection.as_ref();
        store::Share {
            event: match connection.filter(|_| self.known_before) {
                Some(connection) => format!("(known of connection {connection})"),
                None => source.event_name().to_owned(),
            },
            id: source.event_id().map(str::to_owned),
            received: Timestamp(source.received_at_millis()),
            observations: self.observations.clone(),
            hint: self.work.translation.hint,
            answered: source.is_answer(),
        }
    }
}

type Links = BTreeMap<Key, BTreeSet<FleetRef>>;

impl Work {
    /// All of Catena's ids in it.
    fn keys(&self) -> impl Iterator<Item = Key> {
        let invitation = self.translation.invitation.clone().map(Key::Invitation);
        let catena_fleet = self.translation.catena_fleet.clone().map(Key::CatenaFleet);
        let connection = self.translation.connection.clone().map(Key::Connection);
        invitation.into_iter().chain(catena_fleet).chain(connection)
    }

    /// The one key to find its fleets by, and to wait under, unless it names its fleet itself. An invitation belongs to one
    /// fleet; a connection may serve others than the fleet that the event is about, so it counts only if that isn't named.
    fn key(&self) -> Option<Key> {
        self.keys().next()
    }

    /// Its fleets, and the keys that are known to belong to them by this event.
    fn resolve(&self, links: &Links) -> Option<(BTreeSet<FleetRef>, Vec<Key>)> {
        if let Some(fleet) = &self.translation.fleet {
            return Some((BTreeSet::from([fleet.clone()]), self.keys().collect()));
        }
        if self.translation.is_about_a_connection_alone() {
            return Some((BTreeSet::new(), Vec::new()));
        }
        let key = self.key()?;
        let fleets = links.get(&key).filter(|fleets| !fleets.is_empty())?.clone();
        let teaches = match key {
            Key::Invitation(_) => self.translation.catena_fleet.clone().map(Key::CatenaFleet),
            Key::CatenaFleet(_) => self.translation.connection.clone().map(Key::Connection),
            Key::Connection(_) => None,
        };
        Some((fleets, teaches.into_iter().collect()))
    }

    /// What it says about its connection.
    fn about_connection(&self) -> impl Iterator<Item = &Observation> {
        let about = |it: &&Observation| matches!(it.fact, Fact::Connection { .. });
        self.translation.observations.iter().filter(about)
    }
}

/// Routes works. `redelivered` names the messages that were received before, and may have left something parked.
pub(crate) async fn route(
    table: &Table,
    works: Vec<Work>,
    redelivered: impl Fn(usize) -> bool,
    translate: Translate,
    now: OffsetDateTime,
) -> Result<Routed, StoreError> {
    let mut routed = Routed::default();
    let mut waiting: Vec<Arc<Work>> = works.into_iter().map(Arc::new).collect();
    let named = waiting
        .iter()
        .filter_map(|work| work.translation.fleet.clone());
    let found = table.look_up(&keys_of(&waiting), &named.collect()).await?;
    routed.records = found.records;
    let mut keys = found.keys;
    let mut owners: BTreeMap<Key, usize> = BTreeMap::new();
    let mut told: Vec<Arc<Work>> = Vec::new();
    let mut resolved: Vec<(Arc<Work>, BTreeSet<FleetRef>)> = Vec::new();
    let mut looked_at = BTreeSet::new();
    let mut fresh = waiting.clone();
    loop {
        let mut changes: BTreeMap<Key, Pending> = BTreeMap::new();
        for work in std::mem::take(&mut fresh) {
            for key in work.keys() {
                owners.entry(key).or_insert(work.owner);
            }
            if let Some(connection) = &work.translation.connection
                && work.about_connection().next().is_some()
            {
                let key = Key::Connection(connection.clone());
                changes.entry(key).or_default().tell(&work);
                told.push(work);
            }
        }
        settle(&mut waiting, &keys, &mut changes, |work, fleets| {
            if work.translation.one_fleet_only && fleets.len() > 1 {
                routed.refused.push((work, SEVERAL_FLEETS));
            } else {
                resolved.push((work, fleets));
            }
        });
        for (key, record, news) in apply(table, &keys, changes).await? {
            routed.told.extend(news);
            keys.insert(key, record);
        }
        let leads = |(key, record): &(&Key, &KeyRecord)| {
            record.waiting && !record.fleets.is_empty() && looked_at.insert(Key::clone(key))
        };
        let leads: Vec<Key> = keys
            .iter()
            .filter(leads)
            .map(|(key, _)| key.clone())
            .collect();
        for (key, parked) in read_parked(table, leads).await? {
            routed.emptied.insert(key.clone());
            let owner = owners.get(&key).copied().unwrap_or_default();
            for parked in parked {
                let digest = parked.digest.clone();
                match batch::read_parked(owner, parked, translate) {
                    Some((_, Some(work))) => fresh.push(Arc::new(work)),
                    Some((parked, None)) => routed.freed.push((owner, parked)),
                    None => {
                        // It stays, and so does the mark: a version that can read it finds it by the key's next event.
                        error!(outcome = "unreadable-parked", key = %key, digest, "a parked event can't be read: bring back the newer version");
                        routed.emptied.remove(&key);
                    }
                }
            }
        }
        if fresh.is_empty() {
            let (known, unknown) =
                park(table, std::mem::take(&mut waiting), &mut keys, now).await?;
            for work in unknown {
                if work.parked.is_some() {
                    routed.parked.insert(work.owner);
                } else {
                    routed.refused.push((work, TOO_LARGE));
                }
            }
            if known.is_empty() {
                break;
            }
            waiting = known;
            continue;
        }
        let unknown = keys_of(&fresh)
            .into_iter()
            .filter(|key| !keys.contains_key(key));
        let found = table.look_up(&unknown.collect(), &BTreeSet::new()).await?;
        keys.extend(found.keys);
        waiting.extend(fresh.iter().cloned());
    }
    for (work, _) in &resolved {
        let left = || {
            let key = work.key().filter(|_| work.translation.fleet.is_none())?;
            let digest = work.digest.clone();
            redelivered(work.owner).then(|| Parked {
                key,
                digest,
                body: String::new(),
                since: None,
            })
        };
        let parked = work.parked.clone().or_else(left);
        routed
            .freed
            .extend(parked.map(|parked| (work.owner, parked)));
    }
    for (work, _) in &routed.refused {
        let parked = work.parked.clone();
        routed
            .freed
            .extend(parked.map(|parked| (work.owner, parked)));
    }
    routed.shares = share(resolved, told, &keys);
    Ok(routed)
}

/// What a batch has to say under a key.
#[derive(Default)]
struct Pending {
    link: BTreeMap<FleetRef, usize>,
    about: Vec<(usize, Observation)>,
}

impl Pending {
    fn tell(&mut self, work: &Work) {
        let about = work.about_connection().cloned();
        self.about
            .extend(about.map(|observation| (work.owner, observation)));
    }
}

/// Resolves as far as the links go, which each resolved work may extend.
fn settle(
    waiting: &mut Vec<Arc<Work>>,
    keys: &BTreeMap<Key, KeyRecord>,
    changes: &mut BTreeMap<Key, Pending>,
    mut resolved: impl FnMut(Arc<Work>, BTreeSet<FleetRef>),
) {
    let links = keys.iter();
    let mut links: Links = links
        .map(|(key, it)| (key.clone(), it.fleets.clone()))
        .collect();
    loop {
        let before = waiting.len();
        for work in std::mem::take(waiting) {
            let Some((fleets, teaches)) = work.resolve(&links) else {
                waiting.push(work);
                continue;
            };
            for key in teaches {
                let known = links.entry(key.clone()).or_default();
                for fleet in &fleets {
                    if known.insert(fleet.clone()) {
                        let change = changes.entry(key.clone()).or_default();
                        change.link.insert(fleet.clone(), work.owner);
                    }
                }
            }
            resolved(work, fleets);
        }
        if waiting.len() == before {
            return;
        }
    }
}

/// Changes what is kept under keys; returns what is kept then, and the messages that told something new about a connection.
async fn apply(
    table: &Table,
    keys: &BTreeMap<Key, KeyRecord>,
    changes: BTreeMap<Key, Pending>,
) -> Result<Vec<(Key, KeyRecord, BTreeSet<usize>)>, StoreError> {
    let changes = changes.into_iter().map(|(key, pending)| {
        let known = keys.get(&key).cloned().unwrap_or_default();
        change(table, key, known, pending)
    });
    let changes: Vec<_> = changes.collect();
    stream::iter(changes)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

async fn change(
    table: &Table,
    key: Key,
    mut known: KeyRecord,
    pending: Pending,
) -> Result<(Key, KeyRecord, BTreeSet<usize>), StoreError> {
    for attempt in 0..COMMIT_ATTEMPTS {
        if attempt > 0 {
            pause(attempt).await;
            let again = BTreeSet::from([key.clone()]);
            let found = table.look_up(&again, &BTreeSet::new()).await?;
            known = found.keys.into_values().next().unwrap_or_default();
        }
        let mut facts = known.connection.clone();
        let mut news = BTreeSet::new();
        for (owner, observation) in &pending.about {
            let before = facts.clone();
            if let Fact::Connection { was, .. } = &observation.fact {
                facts.observe(observation.at, was);
            }
            if facts != before {
                news.insert(*owner);
            }
        }
        let link = pending
            .link
            .keys()
            .filter(|fleet| !known.fleets.contains(fleet));
        let link: BTreeSet<FleetRef> = link.cloned().collect();
        if news.is_empty() && link.is_empty() {
            return Ok((key, known, news));
        }
        let change = KeyChange {
            connection: (!news.is_empty()).then_some((facts, known.version)),
            waiting: None,
            link,
        };
        if let Commit::Written(now) = table.change(&key, &change).await? {
            if matches!(key, Key::CatenaFleet(_)) && now.fleets.len() > 1 && !change.link.is_empty()
            {
                for fleet in &change.link {
                    error!(fleet.ref = %fleet, outcome = "ambiguous-fleet", "fleet {fleet}: its fleet at Catena belongs to another reference too");
                }
            }
            return Ok((key, now, news));
        }
    }
    Err(StoreError::Unavailable {
        operation: "change what is kept under a key",
        source: format!("{COMMIT_ATTEMPTS} conflicts in a row").into(),
    })
}

/// What is parked under keys.
async fn read_parked(table: &Table, keys: Vec<Key>) -> Result<Vec<(Key, Vec<Parked>)>, StoreError> {
    let read = async |key: Key| {
        let parked = table.parked(&key).await?;
        Ok::<_, StoreError>((key, parked))
    };
    stream::iter(keys.into_iter().map(read))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// Parks works. Returns those whose fleet is known by now, and the others; what is too large for it is not marked as parked.
async fn park(
    table: &Table,
    works: Vec<Arc<Work>>,
    keys: &mut BTreeMap<Key, KeyRecord>,
    now: OffsetDateTime,
) -> Result<(Vec<Arc<Work>>, Vec<Arc<Work>>), StoreError> {
    let parked = works.into_iter().map(|work| {
        let body = work.source.body();
        let fits = body.len() <= Parked::LONGEST_BODY;
        let parked = work.key().filter(|_| fits).map(|key| Parked {
            key,
            digest: work.digest.clone(),
            body,
            since: None,
        });
        Arc::new(Work {
            parked,
            ..Work::clone(&work)
        })
    });
    let works: Vec<Arc<Work>> = parked.collect();
    let parked = works.iter().filter_map(|work| work.parked.as_ref());
    let put: Vec<_> = parked.map(|parked| table.park(parked, now)).collect();
    let () = stream::iter(put)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let parked = works.iter().filter_map(|work| work.parked.as_ref());
    let under: BTreeSet<Key> = parked.map(|parked| parked.key.clone()).collect();
    let mark = async |key: Key| {
        let waiting = Some(true);
        let change = KeyChange {
            waiting,
            ..KeyChange::default()
        };
        let changed = table.change(&key, &change).await?;
        Ok::<_, StoreError>((key, changed))
    };
    let marked: Vec<(Key, Commit<KeyRecord>)> = stream::iter(under.into_iter().map(mark))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    for (key, changed) in marked {
        if let Commit::Written(record) = changed {
            keys.insert(key, record);
        }
    }
    Ok(works.into_iter().partition(|work| {
        let key = work.parked.as_ref().map(|parked| &parked.key);
        key.and_then(|key| keys.get(key))
            .is_some_and(|it| !it.fleets.is_empty())
    }))
}

/// What each fleet takes in: what is about it, what is told about its connections, and what was known of a connection before
/// it was linked.
fn share(
    resolved: Vec<(Arc<Work>, BTreeSet<FleetRef>)>,
    told: Vec<Arc<Work>>,
    keys: &BTreeMap<Key, KeyRecord>,
) -> BTreeMap<FleetRef, Vec<Share>> {
    let mut shares: BTreeMap<FleetRef, Vec<Share>> = BTreeMap::new();
    let mut add = |fleet: &FleetRef, work: &Arc<Work>, observations, known_before| {
        shares.entry(fleet.clone()).or_default().push(Share {
            work: Arc::clone(work),
            observations,
            known_before,
        });
    };
    let connection_of = |work: &Work| {
        let key = Key::Connection(work.translation.connection.clone()?);
        Some((work.translation.connection.clone()?, keys.get(&key)?))
    };
    for (work, fleets) in &resolved {
        // What an event says about its connection goes by way of the connection, to all whom it serves.
        let connection = work.translation.connection.is_some();
        let own = |it: &&Observation| !connection || !matches!(it.fact, Fact::Connection { .. });
        let own: Vec<_> = work
            .translation
            .observations
            .iter()
            .filter(own)
            .cloned()
            .collect();
        for fleet in fleets
            .iter()
            .filter(|_| !own.is_empty() || work.translation.hint || says_that_a_date_passed(work))
        {
            add(fleet, work, own.clone(), false);
        }
    }
    for work in &told {
        let about: Vec<_> = work.about_connection().cloned().collect();
        for fleet in connection_of(work)
            .into_iter()
            .flat_map(|(_, it)| &it.fleets)
        {
            add(fleet, work, about.clone(), false);
        }
    }
    for (work, fleets) in &resolved {
        let Some((id, known)) = connection_of(work) else {
            continue;
        };
        let known = known.connection.observations(&id);
        for fleet in fleets.iter().filter(|_| !known.is_empty()) {
            add(fleet, work, known.clone(), true);
        }
    }
    // What nobody vouches for counts only if the record knows what it is about, perhaps by this very batch.
    for shares in shares.values_mut() {
        shares.sort_by_key(|share| share.work.source.is_told_otherwise());
    }
    shares
}

/// An answer without an observation says no more than that.
fn says_that_a_date_passed(work: &Work) -> bool {
    work.source.is_answer() && work.translation.observations.is_empty()
}

fn keys_of(works: &[Arc<Work>]) -> BTreeSet<Key> {
    works.iter().flat_map(|work| work.keys()).collect()
}

const SEVERAL_FLEETS: &str =
    "it can concern one fleet only, but Catena's fleet id belongs to several";
const TOO_LARGE: &str = "its fleet isn't known and it is too large to be parked";

//! From an event to its fleets: by the reference that it names, else by what was learned of Catena's ids.
//!
//! An event whose fleet isn't known is parked under its key. The order of writes makes that safe without transactions:
//! who learns a link adds it first and reads what is parked afterwards; who parks does that first and looks at the links
//! again afterwards. Whichever comes second sees the other.

use std::collections::{BTreeMap, BTreeSet};

use fleet::FleetRef;
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{Key, Parked, StoreError, Table};
use tracing::error;

use crate::{
    Translate, Translation,
    batch::{self, Work},
};

/// Requests at a time.
pub(crate) const CONCURRENCY: usize = 8;

/// Where the works of a batch go.
#[derive(Default)]
pub(crate) struct Routed {
    /// To these fleets.
    pub(crate) to_fleets: Vec<(Work, BTreeSet<FleetRef>)>,
    /// Parked for now.
    pub(crate) parked: Vec<Work>,
    /// Nowhere, for a reason that time doesn't change.
    pub(crate) refused: Vec<(Work, &'static str)>,
    /// Messages that set something free which this version can't read.
    pub(crate) unreadable: Vec<usize>,
}

type Links = BTreeMap<Key, BTreeSet<FleetRef>>;

impl Translation {
    /// All of Catena's ids in it.
    fn keys(&self) -> impl Iterator<Item = Key> {
        let invitation = self.invitation.clone().map(Key::Invitation);
        let catena_fleet = self.catena_fleet.clone().map(Key::CatenaFleet);
        let connection = self.connection.clone().map(Key::Connection);
        invitation.into_iter().chain(catena_fleet).chain(connection)
    }

    /// The one key to find its fleets by, and to wait under, unless it names its fleet itself. An invitation belongs to one
    /// fleet; a connection may serve others than the fleet that the event is about, so it counts only if that isn't named.
    fn key(&self) -> Option<Key> {
        self.keys().next()
    }

    /// Its fleets, and the keys that are known to belong to them by this event.
    fn resolve(&self, links: &Links) -> Option<(BTreeSet<FleetRef>, Vec<Key>)> {
        if let Some(fleet) = &self.fleet {
            return Some((BTreeSet::from([fleet.clone()]), self.keys().collect()));
        }
        let key = self.key()?;
        let fleets = links.get(&key)?.clone();
        let teaches = match key {
            Key::Invitation(_) => self.catena_fleet.clone().map(Key::CatenaFleet),
            Key::CatenaFleet(_) => self.connection.clone().map(Key::Connection),
            Key::Connection(_) => None,
        };
        Some((fleets, teaches.into_iter().collect()))
    }
}

/// Routes works. `redelivered` names the messages that were received before: a crash may have come between adding their
/// links and reading what was parked, so that is read again for them.
pub(crate) async fn route(
    table: &Table,
    works: Vec<Work>,
    redelivered: impl Fn(usize) -> bool,
    translate: Translate,
) -> Result<Routed, StoreError> {
    let mut routed = Routed::default();
    let mut waiting = works;
    let mut links = table.links(&keys_of(&waiting)).await?;
    let mut looked_at = BTreeSet::new();
    loop {
        let mut learned = BTreeMap::new();
        let mut free = BTreeMap::new();
        settle(&mut waiting, &mut links, &mut learned, |work, fleets| {
            if redelivered(work.owner) {
                free.extend(work.translation.keys().map(|key| (key, work.owner)));
            }
            if work.translation.one_fleet_only && fleets.len() > 1 {
                routed.refused.push((work, SEVERAL_FLEETS));
            } else {
                routed.to_fleets.push((work, fleets));
            }
        });
        add(table, learned.keys()).await?;
        for (key, fleet) in learned.keys() {
            if matches!(key, Key::CatenaFleet(_)) && links[key].len() > 1 {
                error!(fleet.ref = %fleet, "fleet {fleet}: its fleet at Catena belongs to another reference too");
            }
        }
        free.extend(learned.into_iter().map(|((key, _), owner)| (key, owner)));
        free.retain(|key, _| looked_at.insert(key.clone()));
        let mut freed = Vec::new();
        for (parked, owner) in read_parked(table, &free).await? {
            match batch::read_parked(owner, parked, translate) {
                Some(work) => freed.push(work),
                None => routed.unreadable.push(owner),
            }
        }
        if freed.is_empty() {
            let too_large = |work: &mut Work| work.body.len() > Parked::LONGEST_BODY;
            let too_large = waiting.extract_if(.., too_large);
            routed
                .refused
                .extend(too_large.map(|work| (work, TOO_LARGE)));
            let parked = park(table, &mut waiting).await?;
            if waiting.is_empty() {
                routed.parked.extend(parked);
                return Ok(routed);
            }
            // Links that came between the first look and the parking.
            freed = std::mem::take(&mut waiting);
            routed.parked.extend(parked);
        }
        let unknown = keys_of(&freed);
        links.extend(table.links(&unknown).await?);
        waiting.extend(freed);
    }
}

/// Resolves as far as the links go, which each resolved work may extend.
fn settle(
    waiting: &mut Vec<Work>,
    links: &mut Links,
    learned: &mut BTreeMap<(Key, FleetRef), usize>,
    mut resolved: impl FnMut(Work, BTreeSet<FleetRef>),
) {
    loop {
        let before = waiting.len();
        for work in std::mem::take(waiting) {
            let Some((fleets, teaches)) = work.translation.resolve(links) else {
                waiting.push(work);
                continue;
            };
            for key in teaches {
                let known = links.entry(key.clone()).or_default();
                for fleet in &fleets {
                    if known.insert(fleet.clone()) {
                        learned.insert((key.clone(), fleet.clone()), work.owner);
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

async fn add<'a>(
    table: &Table,
    links: impl Iterator<Item = &'a (Key, FleetRef)>,
) -> Result<(), StoreError> {
    stream::iter(links.map(|(key, fleet)| table.link(key, fleet)))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// What is parked under keys, each with the message that set it free.
async fn read_parked(
    table: &Table,
    keys: &BTreeMap<Key, usize>,
) -> Result<Vec<(Parked, usize)>, StoreError> {
    let read = async |(key, owner): (&Key, &usize)| {
        let parked: Vec<Parked> = table.parked(key).await?;
        Ok::<_, StoreError>((parked, *owner))
    };
    let found: Vec<_> = stream::iter(keys.iter().map(read))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let each = found
        .into_iter()
        .flat_map(|(parked, owner)| parked.into_iter().map(move |parked| (parked, owner)));
    Ok(each.collect())
}

/// Parks what waits and returns it; what has a link by now stays in `waiting`.
async fn park(table: &Table, waiting: &mut Vec<Work>) -> Result<Vec<Work>, StoreError> {
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    for work in waiting.iter_mut() {
        let key = work.translation.key();
        work.parked = key.map(|key| Parked {
            key,
            digest: work.digest.clone(),
            body: work.body.clone(),
        });
    }
    let parked = waiting.iter().filter_map(|work| work.parked.as_ref());
    let put: Vec<_> = parked.map(|parked| table.park(parked)).collect();
    let () = stream::iter(put)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let links = table.links(&keys_of(waiting)).await?;
    let (known, unknown) = std::mem::take(waiting)
        .into_iter()
        .partition(|work| work.translation.resolve(&links).is_some());
    *waiting = known;
    Ok(unknown)
}

fn keys_of(works: &[Work]) -> BTreeSet<Key> {
    works
        .iter()
        .flat_map(|work| work.translation.keys())
        .collect()
}

const SEVERAL_FLEETS: &str =
    "it can concern one fleet only, but Catena's fleet id belongs to several";
const TOO_LARGE: &str = "its fleet isn't known and it is too large to be parked";

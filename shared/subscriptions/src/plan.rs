//! What to do so that Catena delivers what Kingpin needs, signed with a key that is in the keyring.

use std::collections::{BTreeMap, BTreeSet};

use catena::{Status, Subscription};
use fleet::Timestamp;

use crate::{ACTIONS, KeyringDocument, Ledger, Ours, WANTED, covers, is_wanted, shows, shows_host};

/// Everything that a plan follows from.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Where Catena is to deliver to.
    pub url: &'a str,
    /// What is written down.
    pub ledger: &'a Ledger,
    /// The keys.
    pub keyring: &'a KeyringDocument,
    /// All subscriptions that Catena lists.
    pub listed: &'a [Subscription],
    /// Names of which Catena just said that a subscription of ours exists (409), though none is written down.
    pub exists: &'a BTreeSet<String>,
}

/// What to do, in this order, and what a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One call or one write each. Nothing is lost if only some of them are done.
    pub steps: Vec<Step>,
    /// What isn't as it might be, and isn't mended.
    pub notes: Vec<Note>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The keyring has no key for all subscriptions: make one.
    AddKey,
    /// A subscription that must have come of a call whose answer was lost: write down that it is ours.
    Adopt {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
    },
    /// Give it the current key, our URL, or both.
    Update {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// It signs with another key, or with nobody knows which.
        key: bool,
        /// It delivers elsewhere, or nobody knows where.
        url: bool,
    },
    /// It doesn't deliver: activate it, and have what it missed delivered.
    Activate {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// `paused`, `stale`, or what else Catena says.
        status: Status,
    },
    /// Make it.
    Create {
        /// A name, or a catch-all.
        event_name: String,
        /// Catena may refuse it.
        may_be_refused: bool,
        /// There was one, which is gone at Catena.
        again: bool,
    },
    /// Name it in the keyring, so that an alarm knows it as ours.
    Name {
        /// The subscriptions.
        ids: Vec<String>,
    },
    /// It is gone at Catena, and replaced: forget it.
    Forget {
        /// The subscription.
        id: String,
        /// What it was for.
        event_name: String,
    },
}

/// Something that is not as it might be, which only a person can judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It is for the same event as one of ours and may deliver to us, too: each event would come twice, which does no harm.
    Duplicate {
        /// The other one.
        id: String,
        /// What both are for.
        event_name: String,
    },
    /// Several that nobody wrote down could be the one that Catena says is ours.
    Ambiguous {
        /// What they are for.
        event_name: String,
        /// All of them.
        ids: Vec<String>,
    },
    /// It may deliver to us, and isn't ours: its deliveries can't be proved.
    Unknown {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
    },
    /// It is for some fleets only, as those are that Catena makes for an invitation's `callback_url` (contract 6.9). Nobody is told
    /// their secret.
    Scoped {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// Our references, or Catena's ids.
        fleets: Vec<String>,
    },
    /// It delivers elsewhere: another stack's, or another program's.
    Foreign {
        /// The subscription.
        id: String,
        /// What it is for.
        event_name: String,
        /// As Catena shows it.
        url: Option<String>,
    },
    /// Catena says that one of ours exists, and lists none.
    Unlisted {
        /// What it is for.
        event_name: String,
    },
    /// Catena refused this name.
    Refused {
        /// The name.
        event_name: String,
        /// It tells what nothing else tells at once.
        telling: bool,
        /// When.
        at: Timestamp,
    },
}

impl Note {
    fn is_ambiguous_about(&self, name: &str) -> bool {
        matches!(self, Self::Ambiguous { event_name, .. } if event_name == name)
    }
}

/// What to do.
pub fn plan(world: World<'_>) -> Plan {
    let View {
        alive,
        gone,
        others,
    } = View::of(world);
    let mut plan = Plan::default();
    let current = world.keyring.current_name();
    if current.is_none() {
        plan.steps.push(Step::AddKey);
    }

    let (adopted, mut notes) = adoptions(world, &alive, &others);
    let adopts = adopted.iter().map(|(event_name, id)| Step::Adopt {
        id: (*id).to_owned(),
        event_name: (*event_name).to_owned(),
    });
    plan.steps.extend(adopts);

    for (id, (ours, listed)) in &alive {
        let key = current.is_none() || ours.key != current;
        let url = ours.url.as_deref() != Some(world.url);
        if key || url {
            let (id, event_name) = ((*id).to_owned(), ours.event_name.clone());
            plan.steps.push(Step::Update {
                id,
                event_name,
                key,
                url,
            });
        }
        if let Some(status) = listed.status.clone().filter(|it| *it != Status::Active) {
            let (id, event_name) = ((*id).to_owned(), ours.event_name.clone());
            plan.steps.push(Step::Activate {
                id,
                event_name,
                status,
            });
        }
    }

    let is_there = |name: &str| {
        // One for some fleets alone is no substitute.
        let whole = alive
            .values()
            .filter(|(_, listed)| fleets(listed).is_empty());
        let mut names = whole.map(|(ours, _)| ours.event_name.as_str());
        names.any(|it| it == name) || adopted.contains_key(name)
    };
    for name in missing(world, &gone, &others, is_there) {
        let ambiguous = notes.iter().any(|note| note.is_ambiguous_about(&name));
        match world.ledger.refused.get(&name) {
            _ if ambiguous => {}
            _ if world.exists.contains(&name) => notes.push(Note::Unlisted { event_name: name }),
            Some(at) => notes.push(Note::Refused {
                telling: !WANTED
                    .iter()
                    .any(|it| it.may_be_refused && it.event_name == name),
                event_name: name,
                at: *at,
            }),
            None => plan.steps.push(Step::Create {
                may_be_refused: !is_needed(&name),
                again: gone.values().any(|ours| covers(&name, &ours.event_name)),
                event_name: name,
            }),
        }
    }

    let unnamed = alive
        .keys()
        .filter(|id| !world.keyring.names_subscription(id));
    let unnamed: Vec<String> = unnamed.map(|id| (*id).to_owned()).collect();
    if !unnamed.is_empty() {
        plan.steps.push(Step::Name { ids: unnamed });
    }
    // What isn't replaced yet stays written down, or nobody would know that it is missing.
    let replaced = gone
        .into_iter()
        .filter(|(_, ours)| is_there(&ours.event_name) || !is_wanted(&ours.event_name));
    plan.steps.extend(replaced.map(|(id, ours)| Step::Forget {
        id: id.to_owned(),
        event_name: ours.event_name.clone(),
    }));

    for other in others {
        let event_name = other.event_name.clone().unwrap_or_default();
        let id = other.id.clone();
        if adopted.values().any(|it| *it == id) {
            continue;
        }
        let ambiguous = notes.iter().any(|note| match note {
            Note::Ambiguous { ids, .. } => ids.contains(&id),
            _ => false,
        });
        let may_be_ours = shows(other.shown_url(), world.url);
        notes.extend(match () {
            () if ambiguous => None,
            () if !may_be_ours => Some(Note::Foreign {
                id,
                event_name,
                url: other.shown_url().map(str::to_owned),
            }),
            () if !fleets(other).is_empty() => Some(Note::Scoped {
                id,
                event_name,
                fleets: fleets(other),
            }),
            () if is_there(&event_name) => Some(Note::Duplicate { id, event_name }),
            () => Some(Note::Unknown { id, event_name }),
        });
    }
    plan.notes = notes;
    plan
}

/// What Catena lists, by what we know of it.
struct View<'a> {
    /// Ours that exist.
    alive: BTreeMap<&'a str, (&'a Ours, &'a Subscription)>,
    /// Ours that don't.
    gone: BTreeMap<&'a str, &'a Ours>,
    /// All others.
    others: Vec<&'a Subscription>,
}

impl<'a> View<'a> {
    fn of(world: World<'a>) -> Self {
        let exists = |it: &&Subscription| it.status != Some(Status::Deleted);
        let listed = world.listed.iter().filter(exists);
        let listed: BTreeMap<&str, &Subscription> = listed.map(|it| (it.id.as_str(), it)).collect();
        let mut view = Self {
            alive: BTreeMap::new(),
            gone: BTreeMap::new(),
            others: Vec::new(),
        };
        for (id, ours) in &world.ledger.ours {
            match listed.get(id.as_str()) {
                Some(it) => {
                    view.alive.insert(id, (ours, it));
                }
                None => {
                    view.gone.insert(id, ours);
                }
            }
        }
        let others = listed.into_iter();
        let others = others.filter(|(id, _)| !view.alive.contains_key(id));
        view.others = others.map(|(_, it)| it).collect();
        view
    }
}

/// Which of those that nobody wrote down must be ours, by what they are for; and where that can't be told.
fn adoptions<'a>(
    world: World<'a>,
    alive: &BTreeMap<&str, (&Ours, &Subscription)>,
    others: &[&'a Subscription],
) -> (BTreeMap<&'a str, &'a str>, Vec<Note>) {
    let mut candidates: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for other in others {
        let Some(event_name) = other.event_name.as_deref() else {
            continue;
        };
        let made_at = other.created_at.map(|at| Timestamp(at.millis()));
        let asked_for = world.ledger.asked.as_ref();
        let asked_for = asked_for.is_some_and(|asked| {
            asked.explains(event_name, made_at) && shows(other.shown_url(), &asked.url)
        });
        // It exists, says Catena, at our URL: so it is one of these, whenever it was made.
        let exists = world.exists.iter().any(|name| covers(name, event_name));
        let exists = exists && shows_host(other.shown_url(), world.url);
        let is_there = alive
            .values()
            .any(|(ours, listed)| ours.event_name == event_name && fleets(listed).is_empty());
        if (asked_for || exists) && !is_there && fleets(other).is_empty() && is_wanted(event_name) {
            candidates.entry(event_name).or_default().push(&other.id);
        }
    }
    let (mut adopted, mut notes) = (BTreeMap::new(), Vec::new());
    for (event_name, ids) in candidates {
        match ids[..] {
            [id] => {
                adopted.insert(event_name, id);
            }
            _ => notes.push(Note::Ambiguous {
                event_name: event_name.to_owned(),
                ids: ids.into_iter().map(str::to_owned).collect(),
            }),
        }
    }
    (adopted, notes)
}

/// Whether Catena takes a name for all that is known. The actions of a catch-all are known from their payloads alone.
fn is_needed(name: &str) -> bool {
    WANTED
        .iter()
        .any(|it| it.event_name == name && !it.may_be_refused)
}

/// The names to subscribe. A catch-all is subscribed as such if nothing of it is there, and else name by name: what it was made into
/// once, what is known of it if Catena refused it as such, and what somebody else has that may be at our URL. Catena tells by a 409
/// whether it is (contract 6.1), and may have left it out of the answer to the catch-all for that.
fn missing(
    world: World<'_>,
    gone: &BTreeMap<&str, &Ours>,
    others: &[&Subscription],
    is_there: impl Fn(&str) -> bool,
) -> Vec<String> {
    let known = |wanted: &str| -> BTreeSet<&str> {
        let by_name = world.ledger.by_name.contains(wanted);
        let actions = ACTIONS.into_iter().filter(|_| by_name);
        let gone = gone.values().map(|ours| ours.event_name.as_str());
        let others = others.iter();
        let others = others.filter(|it| fleets(it).is_empty() && shows(it.shown_url(), world.url));
        let others = others.filter_map(|it| it.event_name.as_deref());
        let names = actions.chain(gone).chain(others);
        names.filter(|name| covers(wanted, name)).collect()
    };
    let mut missing = Vec::new();
    for wanted in WANTED.map(|it| it.event_name) {
        let is_catch_all = wanted.ends_with('*');
        let some = world.ledger.by_name.contains(wanted)
            || ACTIONS
                .into_iter()
                .chain(world.ledger.ours.values().map(|it| it.event_name.as_str()))
                .chain(
                    world
                        .listed
                        .iter()
                        .filter_map(|it| it.event_name.as_deref()),
                )
                .any(|name| covers(wanted, name) && is_there(name));
        if is_catch_all && some {
            let names = known(wanted).into_iter().filter(|name| !is_there(name));
            missing.extend(names.map(str::to_owned));
        } else if !is_there(wanted) {
            missing.push(wanted.to_owned());
        }
    }
    missing
}

fn fleets(subscription: &Subscription) -> Vec<String> {
    let filters = subscription.filters.iter();
    let fleets = filters.flat_map(|it| [&it.fleet_refs, &it.fleet_ids]);
    fleets.flatten().flatten().cloned().collect()
}

#[cfg(test)]
mod tests;

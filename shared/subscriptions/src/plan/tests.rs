//! Examples, and a Catena in a few lines against which runs are cut off anywhere.

use std::collections::{BTreeMap, BTreeSet};

use catena::Instant;
use serde_json::json;

use super::*;
use crate::{Asked, KeyName};

const URL: &str = "https://hooks.example.com/webhooks/catena";
const KEY: &str = "first-key-of-32-characters-or-more";
const NEXT: &str = "second-key-of-32-characters-or-more";

fn listed(id: &str, event_name: &str) -> Subscription {
    Subscription {
        id: id.to_owned(),
        event_name: Some(event_name.to_owned()),
        status: Some(Status::Active),
        url: Some("https://hooks.example.com/*****".into()),
        filters: None,
        created_at: Some(Instant::from_millis(1000)),
        updated_at: None,
    }
}

fn keyring(keys: &[&str]) -> KeyringDocument {
    let mut keyring = KeyringDocument::new();
    for key in keys {
        keyring.add(key);
    }
    keyring
}

/// All that is wanted is there, written down and named.
fn settled() -> (Ledger, KeyringDocument, Vec<Subscription>) {
    let singles = WANTED.map(|it| it.event_name);
    let singles = singles.into_iter().filter(|it| !it.ends_with('*'));
    let names: Vec<&str> = ACTIONS.into_iter().chain(singles).collect();
    let all: Vec<_> = names
        .iter()
        .map(|name| listed(&format!("W-{name}"), name))
        .collect();
    let mut ledger = Ledger::default();
    for it in &all {
        let ours = Ours {
            event_name: it.event_name.clone().unwrap(),
            key: Some(KeyName::of(KEY)),
            key_since: Some(Timestamp(1000)),
            url: Some(URL.to_owned()),
        };
        ledger.ours.insert(it.id.clone(), ours);
    }
    let mut keyring = keyring(&[KEY]);
    keyring.name(all.iter().map(|it| it.id.as_str()));
    (ledger, keyring, all)
}

fn planned(ledger: &Ledger, keyring: &KeyringDocument, listed: &[Subscription]) -> Plan {
    let exists = &BTreeSet::new();
    plan(World {
        url: URL,
        ledger,
        keyring,
        listed,
        exists,
    })
}

#[test]
fn nothing_is_to_do_in_a_settled_world() {
    let (ledger, keyring, all) = settled();
    assert_eq!(planned(&ledger, &keyring, &all), Plan::default());
}

#[test]
fn a_new_stack_subscribes_catch_alls_and_single_names() {
    let plan = planned(&Ledger::default(), &KeyringDocument::new(), &[]);
    let created = WANTED.map(|it| Step::Create {
        event_name: it.event_name.to_owned(),
        may_be_refused: it.event_name == "tsp.requested",
        again: false,
    });
    let expected: Vec<_> = [Step::AddKey].into_iter().chain(created).collect();
    assert_eq!(plan.steps, expected);
}

#[test]
fn what_was_deleted_paused_or_staled_is_named_and_mended() {
    let (ledger, keyring, mut all) = settled();
    all.retain(|it| it.id != "W-invitation.sent");
    for it in &mut all {
        match it.id.as_str() {
            "W-tsp.created" => it.status = Some(Status::Paused),
            "W-connection.staled" => it.status = Some(Status::Stale),
            "W-execution.failed" => it.status = Some(Status::Deleted),
            _ => {}
        }
    }
    let (create, activate) = (
        |name: &str| Step::Create {
            event_name: name.to_owned(),
            may_be_refused: false,
            again: true,
        },
        |name: &str, status| Step::Activate {
            id: format!("W-{name}"),
            event_name: name.to_owned(),
            status,
        },
    );
    let action = |name: &str| Step::Create {
        event_name: name.to_owned(),
        may_be_refused: true,
        again: true,
    };
    let forget = |name: &str| Step::Forget {
        id: format!("W-{name}"),
        event_name: name.to_owned(),
    };
    let plan = planned(&ledger, &keyring, &all);
    assert_eq!(
        plan.steps,
        [
            activate("connection.staled", Status::Stale),
            activate("tsp.created", Status::Paused),
            action("invitation.sent"),
            create("execution.failed"),
        ]
    );
    // Once they are replaced, the old ones are forgotten.
    let mut replaced = ledger.clone();
    for name in ["execution.failed", "invitation.sent"] {
        let ours = replaced.ours[&format!("W-{name}")].clone();
        replaced.ours.insert(format!("N-{name}"), ours);
        all.push(listed(&format!("N-{name}"), name));
    }
    let steps = planned(&replaced, &keyring, &all).steps;
    for name in ["execution.failed", "invitation.sent"] {
        assert!(steps.contains(&forget(name)), "{steps:?}");
    }
    all.retain(|it| !it.id.starts_with("N-"));
    // A family of which nothing is left is a catch-all again.
    all.retain(|it| !covers("invitation.*", it.event_name.as_deref().unwrap()));
    let plan = planned(&ledger, &keyring, &all);
    assert!(plan.steps.contains(&create("invitation.*")), "{plan:?}");
}

#[test]
fn what_is_not_ours_is_told_apart_and_left_alone() {
    let (ledger, keyring, mut all) = settled();
    let mut elsewhere = listed("E", "invitation.created");
    elsewhere.url = Some("https://other.example.com/*****".into());
    let mut scoped = listed("S", "invitation.created");
    scoped.filters = serde_json::from_value(json!({ "fleet_refs": ["FLEET-42"] })).unwrap();
    all.extend([
        elsewhere,
        scoped,
        listed("D", "invitation.created"),
        listed("U", "vehicle.added"),
    ]);
    let plan = planned(&ledger, &keyring, &all);
    assert!(plan.steps.is_empty(), "{plan:?}");
    let created = || "invitation.created".to_owned();
    assert_eq!(
        plan.notes,
        [
            Note::Duplicate {
                id: "D".to_owned(),
                event_name: created()
            },
            Note::Foreign {
                id: "E".to_owned(),
                event_name: created(),
                url: Some("https://other.example.com/*****".to_owned())
            },
            Note::Scoped {
                id: "S".to_owned(),
                event_name: created(),
                fleets: vec!["FLEET-42".to_owned()]
            },
            Note::Unknown {
                id: "U".to_owned(),
                event_name: "vehicle.added".to_owned()
            },
        ]
    );
}

#[test]
fn one_of_ours_for_some_fleets_alone_is_no_substitute() {
    let (ledger, keyring, mut all) = settled();
    let scoped = json!({ "fleet_refs": ["FLEET-42"] });
    for it in &mut all {
        if it.id == "W-tsp.created" {
            it.filters = serde_json::from_value(scoped.clone()).unwrap();
        }
    }
    let plan = planned(&ledger, &keyring, &all);
    assert!(
        matches!(&plan.steps[..], [Step::Create { event_name, .. }] if event_name == "tsp.created"),
        "{plan:?}"
    );
}

#[test]
fn one_that_catena_says_exists_is_adopted_if_it_can_be_told() {
    let (mut ledger, keyring, mut all) = settled();
    ledger.ours.remove("W-tsp.created");
    // Nobody wrote it down, and by its masked URL it may be anybody's: so it is asked for.
    let plan = planned(&ledger, &keyring, &all);
    assert!(
        matches!(&plan.steps[..], [Step::Create { event_name, .. }] if event_name == "tsp.created")
    );
    let exists = BTreeSet::from(["tsp.created".to_owned()]);
    let known = |all: &[Subscription]| {
        super::plan(World {
            url: URL,
            ledger: &ledger,
            keyring: &keyring,
            listed: all,
            exists: &exists,
        })
    };
    let adopt = Step::Adopt {
        id: "W-tsp.created".to_owned(),
        event_name: "tsp.created".to_owned(),
    };
    assert_eq!(known(&all).steps, [adopt]);
    all.push(listed("X", "tsp.created"));
    let plan = known(&all);
    assert!(
        matches!(&plan.notes[..], [Note::Ambiguous { ids, .. }] if ids.len() == 2),
        "{plan:?}"
    );
}

#[test]
fn what_catena_left_out_of_a_catch_all_because_it_exists_is_asked_for_by_name() {
    let (mut ledger, keyring, mut all) = settled();
    ledger.ours.remove("W-connection.staled");
    let mut scoped = listed("S", "invitation.updated");
    scoped.filters = serde_json::from_value(json!({ "fleet_refs": ["FLEET-42"] })).unwrap();
    all.push(scoped);
    let created = |all: &[Subscription]| -> Vec<String> {
        let steps = planned(&ledger, &keyring, all).steps.into_iter();
        let names = steps.filter_map(|step| match step {
            Step::Create { event_name, .. } => Some(event_name),
            _ => None,
        });
        names.collect()
    };
    assert_eq!(created(&all), ["connection.staled"]);
    // One that delivers elsewhere is no reason to ask.
    for it in &mut all {
        if it.id == "W-connection.staled" {
            it.url = Some("https://other.example.com/*****".into());
        }
    }
    assert_eq!(created(&all), [] as [String; 0]);
}

#[test]
fn another_key_or_url_is_given_to_each() {
    let (ledger, mut keyring, all) = settled();
    keyring.add(NEXT);
    let plan = planned(&ledger, &keyring, &all);
    assert_eq!(plan.steps.len(), all.len());
    let all_keys = |it: &Step| {
        matches!(
            it,
            Step::Update {
                key: true,
                url: false,
                ..
            }
        )
    };
    assert!(plan.steps.iter().all(all_keys), "{plan:?}");
    let (ledger, keyring, all) = settled();
    let exists = &BTreeSet::new();
    let plan = super::plan(World {
        url: "https://new.example.com/webhooks/catena",
        ledger: &ledger,
        keyring: &keyring,
        listed: &all,
        exists,
    });
    let all_urls = |it: &Step| {
        matches!(
            it,
            Step::Update {
                key: false,
                url: true,
                ..
            }
        )
    };
    assert!(plan.steps.iter().all(all_urls), "{plan:?}");
}

#[test]
fn a_name_that_is_refused_is_told_and_not_asked_for_again() {
    let (mut ledger, keyring, mut all) = settled();
    all.retain(|it| it.id != "W-tsp.requested");
    ledger.ours.remove("W-tsp.requested");
    ledger
        .refused
        .insert("tsp.requested".to_owned(), Timestamp(5));
    let plan = planned(&ledger, &keyring, &all);
    assert!(plan.steps.is_empty(), "{plan:?}");
    let note = Note::Refused {
        event_name: "tsp.requested".to_owned(),
        telling: false,
        at: Timestamp(5),
    };
    assert_eq!(plan.notes, [note]);
}

#[test]
fn masked_urls_are_compared_as_far_as_they_can_be_seen() {
    for (shown, expected) in [
        (None, true),
        (Some(URL), true),
        (Some("https://hooks.example.com/*****"), true),
        (Some("*****"), true),
        (Some("https://hooks.example.com/webhooks"), false),
        (Some("https://hooks.example.org/*****"), false),
    ] {
        assert_eq!(shows(shown, URL), expected, "{shown:?}");
    }
}

/// Catena, and what is written down, under runs that may be cut off before or after each call and each write.
struct Model {
    catena: BTreeMap<String, (Subscription, String, String)>,
    ledger: Ledger,
    keyring: KeyringDocument,
    next: u32,
    now: i64,
    /// Calls and writes that are left until the run is cut off.
    left: u32,
    keys: u32,
    catena_is: CatenaIs,
}

/// What Catena does about what exists, which isn't known (contract 6.1).
#[derive(Clone, Copy, Debug, PartialEq)]
enum CatenaIs {
    /// It refuses a name, and a catch-all of which some exists.
    Strict,
    /// It takes no catch-all at all.
    Narrow,
    /// It makes what is missing, and answers with all, whose keys stay as they are.
    Generous,
}

/// The run was cut off.
#[derive(Debug)]
struct CutOff;

impl Model {
    fn new(catena_is: CatenaIs) -> Self {
        Self {
            catena: BTreeMap::new(),
            ledger: Ledger::default(),
            keyring: KeyringDocument::new(),
            next: 0,
            now: 1_000,
            left: u32::MAX,
            keys: 0,
            catena_is,
        }
    }

    fn tick(&mut self) -> Result<(), CutOff> {
        self.now += 10;
        self.left = self.left.checked_sub(1).ok_or(CutOff)?;
        Ok(())
    }

    fn list(&self) -> Vec<Subscription> {
        self.catena.values().map(|(it, ..)| it.clone()).collect()
    }

    /// 409 if one exists with this event and URL.
    fn create(&mut self, name: &str, url: &str, secret: &str) -> Result<Vec<Subscription>, ()> {
        let actions = ACTIONS.into_iter().filter(|it| covers(name, it));
        let names: Vec<&str> = match name.ends_with('*') {
            true => actions.collect(),
            false => vec![name],
        };
        let exists = |name: &str| {
            let mut all = self.catena.values();
            all.any(|(it, at, _)| it.event_name.as_deref() == Some(name) && at == url)
        };
        let mut made = Vec::new();
        if self.catena_is == CatenaIs::Generous {
            let known = self.catena.values();
            let known = known
                .filter(|(it, at, _)| covers(name, it.event_name.as_deref().unwrap()) && at == url);
            made.extend(known.map(|(it, ..)| it.clone()));
        } else if names.iter().any(|it| exists(it)) {
            return Err(());
        }
        let missing: Vec<&str> = names.into_iter().filter(|it| !exists(it)).collect();
        for name in missing {
            self.next += 1;
            let mut it = listed(&format!("W{:04}", self.next), name);
            it.created_at = Some(Instant::from_millis(self.now));
            made.push(it.clone());
            let kept = (it.clone(), url.to_owned(), secret.to_owned());
            self.catena.insert(it.id, kept);
        }
        Ok(made)
    }

    fn run(&mut self) -> Result<(), CutOff> {
        let mut exists = BTreeSet::new();
        for _round in 0..8 {
            let all = self.list();
            let plan = plan(World {
                url: URL,
                ledger: &self.ledger,
                keyring: &self.keyring,
                listed: &all,
                exists: &exists,
            });
            if plan.steps.is_empty() {
                self.ledger.asked = None;
                return Ok(());
            }
            for step in plan.steps {
                self.take(step, &mut exists)?;
            }
        }
        panic!("it doesn't come to an end: {:?}", self.ledger);
    }

    fn take(&mut self, step: Step, exists: &mut BTreeSet<String>) -> Result<(), CutOff> {
        let key = self.keyring.current().unwrap_or_default().to_owned();
        self.tick()?;
        match step {
            Step::AddKey => {
                self.keys += 1;
                self.keyring
                    .add(&format!("key-{}-of-32-characters-or-more", self.keys));
            }
            Step::Adopt { id, event_name } => {
                self.ledger.adopt(&id, &event_name);
            }
            Step::Update { id, .. } => {
                let (_, url, secret) = self.catena.get_mut(&id).unwrap();
                (*url, *secret) = (URL.to_owned(), key.clone());
                self.tick()?;
                self.ledger
                    .updated(&id, KeyName::of(&key), URL, Timestamp(self.now));
            }
            Step::Activate { id, .. } => {
                self.catena.get_mut(&id).unwrap().0.status = Some(Status::Active);
            }
            Step::Create { event_name, .. } => {
                self.ledger.asked = Some(Asked {
                    event_name: event_name.clone(),
                    key: KeyName::of(&key),
                    url: URL.to_owned(),
                    at: Timestamp(self.now),
                });
                self.tick()?;
                let refused = self.catena_is == CatenaIs::Narrow && event_name.ends_with('*');
                let made = match refused {
                    true => Err(()),
                    false => self.create(&event_name, URL, &key),
                };
                self.tick()?;
                match made {
                    Ok(made) => self.ledger.made(&made, Timestamp(self.now)),
                    Err(()) => {
                        self.ledger.exists();
                        exists.insert(event_name);
                    }
                }
            }
            Step::Name { ids } => self.keyring.name(ids.iter().map(String::as_str)),
            Step::Forget { id, .. } => {
                self.ledger.ours.remove(&id);
            }
        }
        Ok(())
    }

    /// One for each event, all ours, to our URL, with a key of the keyring.
    fn assert_settled(&self, events: usize) {
        let names: BTreeSet<_> = self
            .catena
            .values()
            .map(|(it, ..)| &it.event_name)
            .collect();
        assert_eq!(names.len(), events);
        assert_eq!(self.catena.len(), events, "duplicates");
        for (id, (it, url, secret)) in &self.catena {
            assert_eq!(it.status, Some(Status::Active));
            assert_eq!(url, URL);
            assert_eq!(Some(secret.as_str()), self.keyring.current(), "{id}");
            assert_eq!(self.ledger.ours[id].key, Some(KeyName::of(secret)));
            assert!(self.keyring.names_subscription(id));
        }
        assert_eq!(self.ledger.ours.len(), events);
    }
}

const EVENTS: usize = ACTIONS.len() + 5;

#[test]
fn a_run_that_is_cut_off_anywhere_is_finished_by_the_next() {
    for catena_is in [CatenaIs::Strict, CatenaIs::Narrow, CatenaIs::Generous] {
        let mut cut_off = 0;
        for left in 0..200 {
            let mut model = Model::new(catena_is);
            model.left = left;
            cut_off += u32::from(model.run().is_err());
            model.left = u32::MAX;
            model.run().unwrap();
            model.assert_settled(EVENTS);
            let calls = model.next;
            model.run().unwrap();
            assert_eq!(model.next, calls);
        }
        assert!(cut_off > 30, "{cut_off}");
    }
}

#[test]
fn whatever_happens_in_between_many_runs_that_are_cut_off_settle() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let mut model = Model::new(
            *random
                .choice(&[CatenaIs::Strict, CatenaIs::Narrow, CatenaIs::Generous])
                .unwrap(),
        );
        for _ in 0..random.usize(1..6) {
            model.left = random.u32(0..60);
            let _ = model.run();
            let ids: Vec<String> = model.catena.keys().cloned().collect();
            for id in ids {
                match random.u32(0..20) {
                    0 => drop(model.catena.remove(&id)),
                    1 => model.catena.get_mut(&id).unwrap().0.status = Some(Status::Stale),
                    2 => model.catena.get_mut(&id).unwrap().0.status = Some(Status::Paused),
                    _ => {}
                }
            }
            match random.u32(0..6) {
                0 => model
                    .keyring
                    .add(&format!("added-key-{}-of-32-characters", random.u32(..))),
                // The table was lost.
                1 => model.ledger = Ledger::default(),
                _ => {}
            }
        }
        model.left = u32::MAX;
        model.run().unwrap();
        let names: BTreeSet<_> = model
            .catena
            .values()
            .map(|(it, ..)| &it.event_name)
            .collect();
        for wanted in WANTED {
            let covered =
                |name: &Option<String>| covers(wanted.event_name, name.as_deref().unwrap());
            assert!(names.iter().any(|name| covered(name)), "{wanted:?}");
        }
        model.assert_settled(names.len());
    }
}

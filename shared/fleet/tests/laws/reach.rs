//! The histories are worth running laws over: they reach all that a record can come to.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use fleet::{Stage, Why};

use crate::{history::History, runner::first_seed, shell::lived};

#[test]
fn histories_reach_every_stage_admission_reason_and_due() {
    let (mut stages, mut admissions) = (BTreeMap::new(), BTreeMap::new());
    let (mut codes, mut due) = (BTreeMap::new(), BTreeMap::new());
    let (mut scopes, mut fleets, mut connections) = (0, BTreeSet::new(), BTreeSet::new());
    for seed in (first_seed()..).take(COUNT) {
        let mut rng = Rng::with_seed(seed);
        let history = History::of(&mut rng);
        let record = lived(&history, &mut rng);
        let policy = &history.policies[0];
        for now in history.moments(&mut rng, 2) {
            let standing = record.standing(policy, now);
            *stages.entry(standing.stage.as_str()).or_insert(0) += 1;
            *admissions.entry(standing.admission.as_str()).or_insert(0) += 1;
            for reason in standing.reasons {
                *codes.entry(reason.code.as_str()).or_insert(0) += 1;
            }
            for look in standing.due {
                *due.entry(look.why.as_str()).or_insert(0) += 1;
            }
            scopes += usize::from(!standing.data_scopes.is_empty());
        }
        fleets.insert(history.observations(1).is_empty());
        connections.insert(record.facts.connections.len());
    }
    println!(
        "of {} standings:\n{stages:?}\n{admissions:?}\n{codes:?}\n{due:?}",
        2 * COUNT
    );
    println!("data scopes in {scopes}; connections {connections:?}");
    let rare = 2 * COUNT / 500;
    assert!(stages.len() == Stage::ALL.len() && stages.values().all(|count| *count > rare));
    assert!(admissions.len() == 5 && admissions.values().all(|count| *count > rare));
    assert_eq!(codes.len(), 27, "{codes:?}");
    assert!(codes.values().all(|count| *count > rare), "{codes:?}");
    // All but those that whoever keeps the record adds.
    let added = [Why::Hint, Why::ReadBack].map(Why::as_str);
    assert!(added.iter().all(|why| !due.contains_key(why)));
    assert_eq!(due.len(), 13, "{due:?}");
    assert!(due.values().all(|count| *count > rare), "{due:?}");
    assert!(fleets.len() == 2 && connections.is_superset(&[0, 1, 2, 3].into()));
    assert!(scopes > COUNT / 10);
}

const COUNT: usize = 5_000;

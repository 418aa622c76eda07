//! Laws over made-up records and truths. Each case has a seed of its own.

use fastrand::Rng;
use fleet::{Admission, Fact, Observation, Policy, Record, Timestamp};
use reconciliation::{Answers, Listed};

use crate::{
    world::{PAST, World, wild},
    written::{OBSERVED, at, fleet},
};

/// Each law holds for so many cases.
const CASES: u64 = 3_000;

/// Checks a law, and says which seed breaks it.
fn holds(law: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    for seed in 0..CASES {
        let checked = std::panic::catch_unwind(|| law(&mut Rng::with_seed(seed)));
        assert!(checked.is_ok(), "broken by seed {seed}");
    }
}

fn folded(record: Record, told: &[Observation]) -> Record {
    told.iter().fold(record, |record, told| record.fold(told))
}

/// What a look finds out.
fn look(world: &World, record: &Record, seconds: i64) -> Vec<Observation> {
    world.answers(record, seconds).differences(&fleet(), record)
}

#[test]
fn a_second_look_at_the_same_finds_nothing() {
    holds(|rng| {
        let world = World::any(rng);
        // Some of it was heard of after the answers were given.
        let record = wild(rng, OBSERVED + 5_000);
        let news = look(&world, &record, OBSERVED);
        let record = folded(record, &news);
        assert_eq!(look(&world, &record, OBSERVED), [], "after {news:#?}");
    });
}

#[test]
fn a_later_look_at_what_did_not_change_finds_nothing() {
    holds(|rng| {
        let world = World::any(rng);
        let record = wild(rng, PAST);
        let news = look(&world, &record, OBSERVED);
        let record = folded(record, &news);
        for later in [1, 60, 3_600] {
            assert_eq!(
                look(&world, &record, OBSERVED + later),
                [],
                "after {news:#?}"
            );
        }
    });
}

/// The same answers, one list at a time and the longer ones in pages, as the daily comparison reads them.
fn list_by_list(all: &Answers) -> Vec<Answers> {
    fn pages<T: Clone>(list: Option<&Listed<T>>) -> Vec<Option<Listed<T>>> {
        let chunks = list.into_iter().flat_map(|list| {
            let page = |items: &[T]| Listed {
                items: items.to_vec(),
                ..list.clone()
            };
            list.items.chunks(2).map(page).collect::<Vec<_>>()
        });
        chunks.map(Some).collect()
    }
    let mut parts = Vec::new();
    for invitations in pages(all.invitations.as_ref()) {
        parts.push(Answers {
            invitations,
            ..Answers::default()
        });
    }
    for agreements in pages(all.agreements.as_ref()) {
        parts.push(Answers {
            agreements,
            ..Answers::default()
        });
    }
    parts.push(Answers {
        fleet: all.fleet.clone(),
        connections: all.connections.clone(),
        ..Answers::default()
    });
    parts.push(Answers {
        requests: all.requests.clone(),
        ..Answers::default()
    });
    parts
}

#[test]
fn a_comparison_list_by_list_comes_to_rest() {
    holds(|rng| {
        let world = World::any(rng);
        let mut record = wild(rng, PAST);
        let mut days = Vec::new();
        for day in 0..3 {
            let mut said = 0;
            let all = world.answers(&record, OBSERVED + day * 60);
            for part in list_by_list(&all) {
                let news = part.differences(&fleet(), &record);
                said += news.len();
                record = folded(record, &news);
            }
            days.push(said);
        }
        assert_eq!(days[2], 0, "{days:?}");
    });
}

#[test]
fn whoever_heard_all_webhooks_learns_nothing() {
    holds(|rng| {
        let world = World::any(rng);
        let mut webhooks = world.webhooks(rng);
        rng.shuffle(&mut webhooks);
        let record = folded(Record::default(), &webhooks);
        assert_eq!(look(&world, &record, OBSERVED), [], "after {webhooks:#?}");
    });
}

/// Stage, data scopes and the kind of admission: how long it lasts depends on when we heard of what it rests on.
fn rights(mut record: Record) -> String {
    let (policy, now) = (Policy::default(), at(OBSERVED + 5));
    record.settle(&policy, now);
    let standing = record.standing(&policy, now);
    let admission = match standing.admission {
        Admission::Grace { .. } => Admission::Grace {
            until: Timestamp(0),
        },
        other => other,
    };
    format!(
        "{:?} {admission:?} {:?}",
        standing.stage, standing.data_scopes
    )
}

#[test]
fn after_a_look_a_fleet_may_what_the_truth_alone_allows() {
    holds(|rng| {
        let world = World::plain(rng);
        let mut heard = world.webhooks(rng);
        heard.retain(|_| rng.bool());
        heard.extend(world.outdated(rng));
        rng.shuffle(&mut heard);
        let record = folded(Record::default(), &heard);
        let news = look(&world, &record, OBSERVED);
        let healed = folded(record, &news);
        let alone = look(&world, &Record::default(), OBSERVED);
        let alone = folded(Record::default(), &alone);
        assert_eq!(rights(healed), rights(alone), "{world:#?} {news:#?}");
    });
}

#[test]
fn what_a_look_finds_may_come_in_any_order_among_late_webhooks() {
    holds(|rng| {
        let world = World::any(rng);
        let mut heard = world.webhooks(rng);
        heard.retain(|_| rng.u8(..3) > 0);
        let record = folded(Record::default(), &heard);
        let mut told = look(&world, &record, OBSERVED);
        told.extend(world.outdated(rng));
        let in_order = folded(record.clone(), &told);
        for _ in 0..3 {
            rng.shuffle(&mut told);
            assert_eq!(folded(record.clone(), &told), in_order);
        }
    });
}

#[test]
fn what_was_not_asked_for_stays() {
    holds(|rng| {
        let world = World::any(rng);
        let record = wild(rng, PAST);
        let all = world.answers(&record, OBSERVED);
        let mut answers = all.clone();
        let mut asked = |keep: bool| !keep || rng.bool();
        if asked(true) {
            (answers.invitations, answers.all_invitations) = (None, false);
        }
        if asked(true) {
            answers.agreements = None;
        }
        if asked(true) {
            answers.fleet = None;
        }
        if asked(true) {
            answers.connections = None;
            answers.schedules.clear();
        }
        if asked(true) {
            (answers.requests, answers.requests_refused) = (None, None);
        }
        answers.gone.clear();
        for told in answers.differences(&fleet(), &record) {
            let was_asked = match &told.fact {
                Fact::Name(_) => answers.invitations.is_some() || answers.fleet.is_some(),
                Fact::CatenaFleet(_) => {
                    let named = answers.invitations.is_some() || answers.agreements.is_some();
                    named || answers.fleet.is_some()
                }
                Fact::Regulatory(_) => answers.fleet.is_some(),
                Fact::Invitation { .. } => answers.invitations.is_some(),
                Fact::Agreement { id, .. } => {
                    let listed = answers.agreements.as_ref();
                    listed.is_some_and(|it| it.items.iter().any(|it| it.id == *id))
                }
                Fact::Connection { connection, .. } | Fact::Linked { connection } => {
                    let listed = answers.connections.as_ref();
                    listed.is_some_and(|it| it.items.iter().any(|it| it.id == *connection))
                }
                Fact::Request { id, .. } => {
                    let listed = answers.requests.as_ref();
                    listed.is_some_and(|it| it.items.iter().any(|it| it.id == *id))
                }
                Fact::RequestsRefused(_) => {
                    answers.requests.is_some() || answers.requests_refused.is_some()
                }
            };
            assert!(was_asked, "{told:?}");
        }
    });
}

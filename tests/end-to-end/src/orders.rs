//! Every order of an onboarding's events gives the same record.

use std::time::{Duration, Instant};

use fleet::{Observation, Policy, Record, Timestamp};
use simulator::{Fleet, events};
use time::OffsetDateTime;

use crate::oracle;

/// All that must be the same: the facts byte by byte, stage, admission and data scopes.
#[derive(Debug, PartialEq)]
struct Outcome {
    facts: String,
    standing: String,
}

fn outcome(record: &Record, now: Timestamp) -> Outcome {
    let standing = record.standing(&Policy::default(), now);
    Outcome {
        facts: serde_json::to_string(&record.facts).unwrap(),
        standing: serde_json::to_string(&(
            standing.stage,
            standing.admission,
            standing.data_scopes,
        ))
        .unwrap(),
    }
}

/// What each of the nine events of CONTRACT's nominal sequence with a decline and a reopening says.
fn nine() -> Vec<Vec<Observation>> {
    let invited_at = OffsetDateTime::now_utc() - Duration::from_secs(600);
    let events = events::onboarding_on_second_thoughts(&Fleet::new("FLEET-1", invited_at));
    let observations = |envelope| {
        let translations = oracle::translations(envelope).into_iter();
        translations.flat_map(|it| it.observations).collect()
    };
    events.iter().map(observations).collect()
}

/// Goes through the orders of `left` that begin with what `record` holds; `check` gets each record at the end of its order.
fn orders(record: &Record, left: &[&[Observation]], check: &mut impl FnMut(&Record)) {
    if left.is_empty() {
        return check(record);
    }
    for (place, event) in left.iter().enumerate() {
        let record = event
            .iter()
            .fold(record.clone(), |record, it| record.fold(it));
        let rest = [&left[..place], &left[place + 1..]].concat();
        orders(&record, &rest, check);
    }
}

/// With `KINGPIN_EXHAUSTIVE` set all 362,880 orders (`cargo xtask test --exhaustive`), else those that begin or end alike.
#[test]
fn every_order_of_nine_events_gives_one_record() {
    let events = nine();
    assert_eq!(events.len(), 9);
    let events: Vec<&[Observation]> = events.iter().map(Vec::as_slice).collect();
    let now = Timestamp(OffsetDateTime::now_utc().unix_timestamp() * 1000);
    let in_order = events.iter().copied().flatten();
    let in_order = in_order.fold(Record::default(), |record, it| record.fold(it));
    let expected = outcome(&in_order, now);
    assert!(
        expected
            .standing
            .starts_with(r#"["connected",{"kind":"full"},{"message":"read_write""#)
    );

    let exhaustive = std::env::var_os("KINGPIN_EXHAUSTIVE").is_some();
    let fixed = if exhaustive { 1 } else { 3 };
    let start = Instant::now();
    let count = |first: &[usize]| {
        let record = first.iter().flat_map(|index| events[*index]);
        let record = record.fold(Record::default(), |record, it| record.fold(it));
        let left = (0..9).filter(|index| !first.contains(index));
        let left: Vec<_> = left.map(|index| events[index]).collect();
        let mut count = 0;
        orders(&record, &left, &mut |record| {
            count += 1;
            assert_eq!(outcome(record, now), expected, "beginning with {first:?}");
        });
        count
    };
    let firsts: Vec<Vec<usize>> = (0..9)
        .map(|first| (0..fixed).map(|step| (first + 4 * step) % 9).collect())
        .collect();
    let checked: u32 = std::thread::scope(|scope| {
        let count = &count;
        let threads: Vec<_> = firsts
            .iter()
            .map(|first| scope.spawn(move || count(first)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    println!(
        "{checked} orders of nine events in {:.1} s: one record",
        start.elapsed().as_secs_f64()
    );
    assert_eq!(checked, if exhaustive { 362_880 } else { 9 * 720 });
}

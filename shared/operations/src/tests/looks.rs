//! When an operation is looked at, and when that ends.

use fleet::{Policy, Timestamp};
use serde_json::json;

use super::some::{
    HOUR, MINUTE, SECOND, START, for_many, map, operation, pending, policies, policy,
};
use crate::{Course, Heard, Looked, Operation, Refused, Status};

const DAY: i64 = 24 * HOUR;

fn accepted() -> Operation {
    let mut operation = operation(map(json!({ "text": "hello" })));
    operation.accept("catena-1", None, Heard::default().fold(pending(1)), START);
    operation
}

fn unclear() -> Operation {
    let mut operation = operation(map(json!({ "text": "hello" })));
    operation.lose_answer("no answer", START);
    operation
}

/// Looks at each due time until nothing is expected; when that was.
fn looks(operation: &mut Operation, looked: &Looked, policy: &Policy) -> Vec<Timestamp> {
    let mut times = Vec::new();
    while let Some(due) = operation.due(policy) {
        assert!(times.last().is_none_or(|last| *last < due), "{operation:?}");
        operation.note(looked, policy, due);
        times.push(due);
        assert!(times.len() < 50_000, "{operation:?}");
    }
    times
}

#[test]
fn looks_that_bring_nothing_end_by_the_deadline_and_one_more() {
    for policy in policies() {
        let calling = operation(map(json!({})));
        for start in [accepted(), unclear(), calling] {
            for looked in [
                Looked::Answered,
                Looked::Refused("403".to_owned()),
                Looked::Failed("503".to_owned()),
            ] {
                let mut operation = start.clone();
                let times = looks(&mut operation, &looked, &policy);
                let last = *times.last().unwrap();
                assert_eq!(operation.status(last), Status::Unknown, "{operation:?}");
                let latest = operation.deadline(&policy).max(START.plus(40 * SECOND));
                let latest = latest.plus(policy.wait(HOUR));
                assert!(last <= latest, "{operation:?} {policy:?}");
                assert!(operation.payload.is_none());
            }
        }
    }
}

#[test]
fn what_catena_has_is_polled_ever_less_often() {
    let ages = |policy: &Policy| {
        let times = looks(&mut accepted(), &Looked::Answered, policy);
        let age = times.into_iter().map(|at| at.0 - START.0);
        age.collect::<Vec<_>>()
    };
    let usual = ages(&policy(100, 0.1));
    let expected = [
        30 * SECOND,
        2 * MINUTE,
        10 * MINUTE,
        30 * MINUTE,
        90 * MINUTE,
        144 * MINUTE,
    ];
    assert_eq!(usual, expected);
    let patient = ages(&policy(200, 0.2));
    assert_eq!(patient, expected.map(|age| age * 2));
    // Hourly up to the deadline, which is looked at itself.
    let day = ages(&policy(100, 1.0));
    assert_eq!(day.len(), 4 + 24);
    assert_eq!(day.last(), Some(&DAY));
}

#[test]
fn an_unclear_one_is_unknown_after_ten_minutes_of_searches_or_at_the_deadline() {
    let searched = looks(&mut unclear(), &Looked::Answered, &Policy::default());
    let ages: Vec<_> = searched.iter().map(|at| at.0 - START.0).collect();
    let expected = [10 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE];
    assert_eq!(ages, expected);
    for_many(2000, |rng| {
        let policy = policy(*rng.choice(&[1, 100, 300]).unwrap(), 0.1);
        let (mut operation, mut now) = (unclear(), START);
        while operation.status(now).is_open() {
            now = now.plus(rng.i64(1..20 * MINUTE));
            let looked = match rng.u8(0..4) {
                0 => Looked::Answered,
                // It would refuse for ever.
                1 => Looked::Refused("403".to_owned()),
                _ => Looked::Failed("503".to_owned()),
            };
            operation.note(&looked, &policy, now);
            let enough = START.plus(policy.wait(10 * MINUTE));
            let over = now >= operation.deadline(&policy)
                || !matches!(looked, Looked::Failed(_)) && now >= enough;
            let lost = matches!(operation.course, Course::Lost { .. });
            assert_eq!(lost, over, "{operation:?}");
        }
    });
}

#[test]
fn a_refused_one_that_is_sent_again_later_is_waited_for_as_long_as_a_new_one() {
    let policy = Policy::default();
    let later = START.plus(3 * DAY);
    let mut operation = operation(map(json!({ "text": "hello" })));
    operation.refuse(Refused {
        at: START,
        why: "422".to_owned(),
        by_catena: true,
    });
    let again = map(json!({ "text": "mended" }));
    assert!(operation.call_again(again, "ada", "C", later));
    assert_eq!(operation.submitted_at, START);
    let mut lost = operation.clone();
    operation.accept("catena-1", None, Heard::default(), later);
    let polled = looks(&mut operation, &Looked::Answered, &policy);
    assert_eq!(polled.last(), Some(&later.plus(DAY)));
    lost.lose_answer("no answer", later);
    let searched = looks(&mut lost, &Looked::Answered, &policy);
    assert_eq!(searched.last(), Some(&later.plus(10 * MINUTE)));
}

#[test]
fn a_policy_that_becomes_shorter_ends_an_operation_at_its_next_look() {
    let (long, short) = (policy(100, 14.0), policy(100, 0.01));
    let mut operation = accepted();
    operation.note(&Looked::Answered, &long, START.plus(2 * DAY));
    let due = operation.due(&short).unwrap();
    assert_eq!(due, START.plus(2 * DAY + HOUR));
    operation.note(&Looked::Answered, &short, due);
    assert_eq!(operation.status(due), Status::Unknown);
}

#[test]
fn an_end_that_comes_late_counts_all_the_same() {
    let mut operation = accepted();
    looks(&mut operation, &Looked::Answered, &Policy::default());
    assert!(
        operation
            .why()
            .unwrap()
            .contains("no end of it was told in time")
    );
    let done = super::some::word(2, crate::Word::Success);
    operation.accept("catena-1", None, Heard::default().fold(done), START);
    assert_eq!(operation.status(START.plus(9 * DAY)), Status::Success);
    assert_eq!(operation.due(&Policy::default()), None);
}

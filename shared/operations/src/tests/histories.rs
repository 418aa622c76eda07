//! Whatever happens to an operation in whatever order.

use fastrand::Rng;
use fleet::{Policy, Timestamp};
use serde_json::json;

use super::some::{HOUR, MINUTE, SECOND, START, for_many, heard, map, operation, policies, said};
use crate::{Course, Looked, Operation, Refused, Status};

/// One thing that happens.
fn step(operation: &mut Operation, rng: &mut Rng, policy: &Policy, now: Timestamp) {
    match rng.u8(0..8) {
        0 => {
            let id = rng.choice(["catena-1", "catena-2"]).unwrap();
            operation.accept(id, rng.bool().then_some(now), heard(rng), now);
        }
        1 => operation.refuse(Refused {
            at: now,
            why: "422".to_owned(),
            by_catena: true,
        }),
        2 => operation.lose_answer("no answer", now),
        3 => operation.note(&Looked::Answered, policy, now),
        4 => operation.note(&Looked::Failed("503".to_owned()), policy, now),
        5 => operation.hear(said(rng)),
        6 => operation.note(&Looked::Refused("403".to_owned()), policy, now),
        _ => {
            let may =
                matches!(operation.course, Course::Refused(_)) && operation.catena_id.is_none();
            let (before, payload) = (operation.clone(), map(json!({ "text": "again" })));
            let called = operation.call_again(payload, "somebody", "another", now);
            assert_eq!(called, may);
            let more = u32::from(called);
            assert_eq!(operation.calls, before.calls + more);
            assert!(called || *operation == before);
        }
    }
}

fn over(status: Status) -> bool {
    matches!(status, Status::Success | Status::Failed)
}

#[test]
fn whatever_happens_an_operation_keeps_its_id_its_end_and_its_time_to_be_looked_at() {
    let policies = policies();
    for_many(4000, |rng| {
        let policy = rng.choice(&policies).unwrap();
        let mut operation = operation(map(json!({ "text": "hello" })));
        let mut now = START;
        for _ in 0..rng.usize(1..30) {
            let unit = *rng.choice(&[1, SECOND, MINUTE, HOUR, 24 * HOUR]).unwrap();
            now = now.plus(rng.i64(0..30) * unit);
            let before = operation.clone();
            step(&mut operation, rng, policy, now);
            let status = operation.status(now);

            if before.catena_id.is_some() {
                assert_eq!(operation.catena_id, before.catena_id);
            }
            assert!(!over(before.status(now)) || over(status), "{operation:?}");
            let due = operation.due(policy);
            assert_eq!(due.is_some(), status.is_open(), "{operation:?}");
            // What a person wrote is kept no longer than it is searched for.
            let searched = matches!(
                operation.course,
                Course::Calling { .. } | Course::Unclear { .. }
            );
            assert_eq!(operation.payload.is_some(), searched, "{operation:?}");
            assert!(!searched || operation.catena_id.is_none(), "{operation:?}");

            let last = match &operation.course {
                Course::Accepted { at, looked_at } => looked_at.unwrap_or(*at),
                Course::Unclear {
                    until, searched_at, ..
                } => searched_at.unwrap_or(*until),
                _ => continue,
            };
            if let Some(due) = due {
                assert!(last < due, "{operation:?} due {due:?}");
                assert!(due <= last.plus(policy.wait(HOUR)), "{operation:?}");
            }
        }
    });
}

#[test]
fn only_what_catena_has_nothing_of_is_sent_again() {
    let payload = || map(json!({ "text": "again" }));
    let refused = |operation: &mut Operation| {
        operation.refuse(Refused {
            at: START,
            why: "nothing left".to_owned(),
            by_catena: false,
        });
    };
    let mut calling = operation(payload());
    assert!(!calling.call_again(payload(), "ada", "C", START));
    refused(&mut calling);
    assert!(calling.call_again(payload(), "ada", "C", START.plus(5)));
    assert_eq!((calling.calls, &*calling.asked.connection), (2, "C"));
    // Found meanwhile: a webhook or the search knew more than the refusal.
    refused(&mut calling);
    calling.accept("catena-1", None, crate::Heard::default(), START.plus(9));
    assert!(!calling.call_again(payload(), "ada", "C", START.plus(10)));
    assert_eq!(calling.status(START.plus(10)), Status::Pending);
}

#[test]
fn a_call_whose_program_ended_is_unclear_after_its_time() {
    let operation = operation(map(json!({})));
    let policy = Policy::default();
    let due = operation.due(&policy).unwrap();
    assert_eq!(due, START.plus(40 * SECOND));
    assert_eq!(operation.status(due.plus(-1)), Status::Submitting);
    assert_eq!(operation.status(due), Status::Unclear);
}

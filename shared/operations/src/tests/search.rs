//! Finding an operation again, and that no other can be taken for it.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::some::{CONNECTION, MINUTE, START, asked, for_many, map, operation};
use crate::{
    Candidate, Found, Heard, Kind, Operation, Search, guard_digest, operation_id, request_digest,
};

const MARGIN: i64 = 2 * MINUTE;
/// A request may be held up so long after its caller gave up, and for the margin of clocks.
const HELD_UP: i64 = 10 * MINUTE + MARGIN;
const DRIVER: &str = "7d3f1c2e-aaaa-4bbb-8ccc-0123456789ab";

fn sent() -> Map<String, Value> {
    map(json!({ "driver_id": DRIVER, "text": "Call home", "priority": 2, "note": null }))
}

fn search() -> Search {
    let mut operation = operation(sent());
    operation.lose_answer("no answer", START.plus(900));
    Search::of(&operation, MARGIN).unwrap()
}

fn candidate(id: &str, payload: Value) -> Candidate {
    Candidate {
        id: id.to_owned(),
        connection: Some(CONNECTION.to_uppercase()),
        resource: Some("message".to_owned()),
        operation_type: Some("create".to_owned()),
        created_at: Some(START.plus(400)),
        resource_id: None,
        payload: Some(map(payload)),
    }
}

/// What Catena makes of the payload that [`sent`] is.
fn there() -> Value {
    json!({
        "connection_id": CONNECTION,
        "driver_id": DRIVER.to_uppercase(),
        "source_driver_id": "4711",
        "text": "Call home",
        "priority": 2.0,
        "vehicle_id": null,
    })
}

fn found(listed: &[Candidate], claimed: &[(&str, &str)]) -> Found {
    let claimed = claimed
        .iter()
        .map(|(id, owner)| ((*id).to_owned(), (*owner).to_owned()));
    let claimed: BTreeMap<String, String> = claimed.collect();
    search().find(listed, &claimed, "op-1")
}

fn one(id: &str) -> Found {
    Found::One(id.to_owned())
}

#[test]
fn the_only_one_that_fits_is_it() {
    let two = [candidate("a", there()), candidate("b", there())];
    assert_eq!(found(&[], &[]), Found::None);
    assert_eq!(found(&two[..1], &[]), one("a"));
    assert_eq!(found(&two, &[]), Found::Several(2));
    assert_eq!(search().possible(&two), ["a", "b"]);
    // Listed on two pages.
    let twice = [two[0].clone(), two[0].clone()];
    assert_eq!(found(&twice, &[]), one("a"));
}

#[test]
fn those_of_others_are_not_it_and_an_own_claim_is() {
    let two = [candidate("a", there()), candidate("b", there())];
    assert_eq!(found(&two, &[("a", "op-2")]), one("b"));
    assert_eq!(found(&two, &[("b", "op-1")]), one("b"));
    let both = [("a", "op-2"), ("b", "op-3")];
    assert_eq!(found(&two, &both), Found::None);
}

#[test]
fn what_differs_excludes() {
    type Change = fn(&mut Candidate);
    let changes: [(&str, Change); 12] = [
        ("no connection", |it| it.connection = None),
        ("another connection", |it| {
            it.connection = Some("other".to_owned());
        }),
        ("another resource", |it| {
            it.resource = Some("group_message".to_owned());
        }),
        ("another kind", |it| {
            it.operation_type = Some("update".to_owned());
        }),
        ("no time", |it| it.created_at = None),
        ("too early", |it| {
            it.created_at = Some(START.plus(-MARGIN - 1));
        }),
        ("too late", |it| {
            it.created_at = Some(START.plus(900 + HELD_UP + 1));
        }),
        ("no payload", |it| it.payload = None),
        ("another text", |it| set(it, "text", json!("call home"))),
        ("another number", |it| set(it, "priority", json!(3))),
        ("one more field", |it| set(it, "subject", json!("Hi"))),
        ("one less", |it| set(it, "text", Value::Null)),
    ];
    for (what, change) in changes {
        let mut other = candidate("a", there());
        change(&mut other);
        assert_eq!(found(&[other], &[]), Found::None, "{what}");
    }
}

fn set(candidate: &mut Candidate, name: &str, value: Value) {
    let payload = candidate.payload.as_mut().unwrap();
    payload.insert(name.to_owned(), value);
}

#[test]
fn its_time_reaches_to_the_margin_on_both_sides() {
    for at in [-MARGIN, 900 + HELD_UP] {
        let mut edge = candidate("a", there());
        edge.created_at = Some(START.plus(at));
        assert_eq!(found(&[edge], &[]), one("a"));
    }
}

#[test]
fn an_update_is_of_its_target_where_catena_tells_that() {
    let mut update = Operation::new(
        "op-1".to_owned(),
        asked(Kind::Update, Some("vehicle-1")),
        map(json!({ "name": "Truck" })),
        START,
    );
    update.lose_answer("no answer", START);
    let search = Search::of(&update, MARGIN).unwrap();
    for (resource_id, fits) in [
        (None, true),
        (Some("VEHICLE-1"), true),
        (Some("vehicle-2"), false),
    ] {
        let mut other = candidate("a", json!({ "name": "Truck" }));
        other.operation_type = Some("update".to_owned());
        other.resource_id = resource_id.map(str::to_owned);
        assert_eq!(
            !search.possible([&other]).is_empty(),
            fits,
            "{resource_id:?}"
        );
    }
}

#[test]
fn only_one_that_may_have_got_through_is_searched_for() {
    let mut operation = operation(sent());
    assert!(Search::of(&operation, MARGIN).is_some());
    operation.accept("catena-1", None, Heard::default(), START);
    assert_eq!(Search::of(&operation, MARGIN), None);
}

/// A small value, so that equal ones are frequent: nulls at every depth, numbers in both writings, ids in both cases.
fn value(rng: &mut Rng, depth: u8) -> Value {
    match rng.u8(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => rng
            .choice([
                json!(1),
                json!(1.0),
                json!(0),
                json!(-0.0),
                json!(1.5),
                json!(10_000_000_000_000_000_u64),
                json!(1e16),
                json!(9_007_199_254_740_992_i64),
                json!(9_007_199_254_740_993_i64),
            ])
            .unwrap(),
        3 => json!(rng.choice(["a", "A", ""]).unwrap()),
        4 => json!(DRIVER),
        5 => json!(DRIVER.to_uppercase()),
        6 => (0..rng.usize(0..3))
            .map(|_| value(rng, depth - 1))
            .collect(),
        _ => Value::Object(payload(rng, depth - 1)),
    }
}

fn payload(rng: &mut Rng, depth: u8) -> Map<String, Value> {
    let names = ["a", "b", "source_a"];
    let names = names.into_iter().filter(|_| rng.bool()).collect::<Vec<_>>();
    let fields = names
        .into_iter()
        .map(|name| (name.to_owned(), value(rng, depth)));
    fields.collect()
}

/// A payload as Catena may show it.
fn shown(rng: &mut Rng, sent: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = sent.clone();
    shown.insert("connection_id".to_owned(), json!(CONNECTION));
    for name in ["source_a", "source_c"] {
        if rng.bool() && shown.get(name).is_none_or(Value::is_null) {
            shown.insert(name.to_owned(), json!("4711"));
        }
    }
    for name in ["a", "b", "c"] {
        if rng.bool() {
            shown.entry(name).or_insert(Value::Null);
        }
        if rng.bool() && shown.get(name).is_some_and(Value::is_null) {
            shown.remove(name);
        }
    }
    shown
}

fn search_for(payload: &Map<String, Value>) -> Search {
    let mut operation = operation(payload.clone());
    operation.lose_answer("no answer", START.plus(900));
    Search::of(&operation, MARGIN).unwrap()
}

fn guard(payload: &Map<String, Value>) -> String {
    guard_digest(CONNECTION, "message", Kind::Create, payload)
}

#[test]
fn whatever_could_be_taken_for_another_waits_for_it() {
    for_many(60_000, |rng| {
        let (one, other) = (payload(rng, 2), payload(rng, 2));
        let at_catena = Value::Object(shown(rng, &one));
        let listed = candidate("a", at_catena.clone());
        let is_taken = !search_for(&other).possible([&listed]).is_empty();
        assert!(
            !is_taken || guard(&one) == guard(&other),
            "{at_catena} passes for {other:?}, which doesn't wait for {one:?}"
        );
        // And each finds itself.
        assert_eq!(
            search_for(&one).possible([&listed]),
            ["a"],
            "{one:?} {at_catena}"
        );
    });
}

#[test]
fn equal_payloads_wait_for_each_other_however_they_are_written() {
    for_many(5000, |rng| {
        let one = payload(rng, 2);
        let mut other = shown(rng, &one);
        for value in other.values_mut() {
            if let Value::String(text) = value {
                *text = text.to_uppercase();
            }
        }
        assert_eq!(guard(&one), guard(&other), "{one:?} {other:?}");
    });
    let text = |text: &str| guard(&map(json!({ "text": text })));
    assert_ne!(text("Call home"), text("Call me"));
    let elsewhere = |connection, resource, kind| guard_digest(connection, resource, kind, &sent());
    let digests = [
        elsewhere(CONNECTION, "message", Kind::Create),
        elsewhere("other", "message", Kind::Create),
        elsewhere(CONNECTION, "group_message", Kind::Create),
        elsewhere(CONNECTION, "message", Kind::Update),
    ];
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn keys_and_requests_are_told_apart() {
    assert_eq!(operation_id("F", "k").len(), 32);
    assert_ne!(operation_id("F", "k"), operation_id("Fk", ""));
    assert_ne!(operation_id("F", "k"), operation_id("F", "K"));
    let request =
        |payload: Value| request_digest("message", Kind::Create, None, None, &map(payload));
    let numbers = request(json!({ "a": 1, "b": 2 }));
    assert_eq!(numbers, request(json!({ "b": 2.0, "a": 1 })));
    assert_ne!(numbers, request(json!({ "a": 1, "b": 3 })));
    // As it was written: the guard is coarser.
    let big = |number: i64| request(json!({ "a": number }));
    assert_ne!(big(9_007_199_254_740_992), big(9_007_199_254_740_993));
    assert_ne!(request(json!({ "a": "x" })), request(json!({ "a": "X" })));
}

//! What the commands print of operations, as a whole: read it as an operator would.

use fleet::{FleetRef, Policy, Timestamp};
use operations::{
    Asked, Attempt, Heard, Kind, Looked, Operation, Refused, Said, Word, operation_id,
};
use serde_json::{Map, Value};
use store::StoredOperation;

use super::{Listing, Which, explain, list, show, unknown};
use crate::when::parse_moment;

const NOW: &str = "2026-05-12T09:00:00Z";
const CATENA_ID: &str = "019df200-5000-7a01-8001-abcdef000001";

fn at(text: &str) -> Timestamp {
    parse_moment(text).unwrap().from(Timestamp(0))
}

fn asked(key: &str, by: &str, time: &str) -> Operation {
    asked_for(key, by, time, "message", None)
}

fn asked_for(key: &str, by: &str, time: &str, resource: &str, target: Option<&str>) -> Operation {
    let asked = Asked {
        fleet: FleetRef::parse("FLEET-42").unwrap(),
        key: key.to_owned(),
        by: format!("arn:aws:iam::111122223333:{by}"),
        resource: resource.to_owned(),
        kind: target.map_or(Kind::Create, |_| Kind::Update),
        target: target.map(str::to_owned),
        connection: "0b9e4c5d-26b3-4d0c-8b7a-6a6f1f2c3d4e".to_owned(),
        digest: "d1".to_owned(),
    };
    let payload = Map::from_iter([("message_text".to_owned(), Value::from("Call home"))]);
    Operation::new(operation_id("FLEET-42", key), asked, payload, at(time))
}

fn said(time: &str, word: Word) -> Said {
    Said {
        at: at(time),
        word,
        resource_id: None,
        source_id: None,
        attempts: Vec::new(),
    }
}

fn submitting() -> Operation {
    asked("order-1", "role/dispatch", "2026-05-12T08:59:58Z")
}

fn cut_off() -> Operation {
    asked("order-2", "role/dispatch", "2026-05-12T08:59:10Z")
}

fn unclear() -> Operation {
    let mut operation = asked("order-3", "role/dispatch", "2026-05-12T08:58:00Z");
    let lost = "Catena didn't answer within 20 s\u{1b}[2J";
    operation.lose_answer(lost, at("2026-05-12T08:58:20Z"));
    operation.note(
        &Looked::Answered,
        &Policy::default(),
        at("2026-05-12T08:58:30Z"),
    );
    operation
}

fn pending() -> Operation {
    let mut operation = asked("order-4", "role/dispatch", "2026-05-12T08:57:00Z");
    let heard = Heard::default().fold(said("2026-05-12T08:57:01Z", Word::Pending));
    let created = Some(at("2026-05-12T08:57:01Z"));
    operation.accept(CATENA_ID, created, heard, at("2026-05-12T08:57:02Z"));
    operation.note(
        &Looked::Answered,
        &Policy::default(),
        at("2026-05-12T08:57:32Z"),
    );
    operation
}

fn done() -> Operation {
    let mut operation = asked_for(
        "order-5",
        "role/dispatch",
        "2026-05-12T08:00:00Z",
        "vehicle",
        Some("019df200-5000-7a01-8001-abcdef00beef"),
    );
    // The answer was lost; the search found it after two minutes.
    operation.lose_answer("the connection broke", at("2026-05-12T08:00:05Z"));
    let success = Said {
        resource_id: Some("019df200-5000-7a01-8001-abcdef00beef".to_owned()),
        source_id: Some("281474977".to_owned()),
        attempts: vec![Attempt {
            at: Some(at("2026-05-12T08:00:31Z")),
            status: Some("success".to_owned()),
            http_status: Some(200),
            ..Attempt::default()
        }],
        ..said("2026-05-12T08:00:32Z", Word::Success)
    };
    operation.accept(
        CATENA_ID,
        Some(at("2026-05-12T08:00:01Z")),
        Heard::default().fold(success),
        at("2026-05-12T08:02:05Z"),
    );
    operation
}

/// Refused, mended, sent again, and failed, though Catena had told that it succeeded.
fn failed() -> Operation {
    let mut operation = asked("order-6", "role/dispatch", "2026-05-11T15:00:00Z");
    operation.refuse(refused("2026-05-11T15:00:01Z", true));
    let payload = Map::new();
    let again = operation.call_again(
        payload,
        "arn:aws:iam::111122223333:user/dana",
        "0b9e4c5d-26b3-4d0c-8b7a-6a6f1f2c3d4f",
        at("2026-05-12T07:00:00Z"),
    );
    assert!(again);
    let attempt = |time: &str, error_type: &str, http_status: i64, request: &str| Attempt {
        at: Some(at(time)),
        status: Some("failed".to_owned()),
        error_type: Some(error_type.to_owned()),
        details: Some("Session\u{7} expired".to_owned()),
        http_status: Some(http_status),
        headers: [("x-request-id".to_owned(), request.to_owned())].into(),
    };
    let failed = Said {
        attempts: vec![
            attempt("2026-05-12T07:00:04Z", "tsp", 503, "req-1"),
            attempt("2026-05-12T07:01:04Z", "auth", 401, "req-2"),
        ],
        ..said("2026-05-12T07:01:05Z", Word::Failed)
    };
    let heard = Heard::default()
        .fold(failed)
        .fold(said("2026-05-12T07:00:30Z", Word::Success))
        .fold(said("2026-05-12T07:00:02Z", Word::Other("queued".into())));
    operation.accept(CATENA_ID, None, heard, at("2026-05-12T07:00:01Z"));
    operation
}

fn refused(time: &str, by_catena: bool) -> Refused {
    let why = match by_catena {
        true => "422: message_text: Field required",
        false => "Catena couldn't be reached",
    };
    Refused {
        at: at(time),
        why: why.to_owned(),
        by_catena,
    }
}

fn never_left() -> Operation {
    let mut operation = asked("order-7", "role/dispatch", "2026-05-12T08:50:00Z");
    operation.refuse(refused("2026-05-12T08:50:03Z", false));
    operation
}

fn lost() -> Operation {
    let mut operation = asked("order-8", "role/dispatch", "2026-05-12T06:00:00Z");
    operation.lose_answer(
        "Catena answered 502 after all of it was sent, and nobody knows",
        at("2026-05-12T06:00:10Z"),
    );
    operation.note(
        &Looked::Answered,
        &Policy::default(),
        at("2026-05-12T06:10:10Z"),
    );
    operation
}

fn all() -> Vec<StoredOperation> {
    let all = [
        submitting(),
        cut_off(),
        unclear(),
        pending(),
        never_left(),
        done(),
        failed(),
        lost(),
    ];
    all.into_iter().map(stored).collect()
}

fn stored(operation: Operation) -> StoredOperation {
    StoredOperation {
        operation,
        version: 3,
        written_at: at(NOW),
    }
}

#[test]
fn explanations() {
    let explained = all().into_iter();
    let explained = explained.map(|it| explain::page(&it, &Policy::default(), at(NOW)).text);
    insta::assert_snapshot!(
        "operation-explain",
        explained.collect::<Vec<_>>().join("---\n")
    );
    let json = explain::page(&stored(failed()), &Policy::default(), at(NOW)).json;
    insta::assert_json_snapshot!("operation-explain-json", json);
}

#[test]
fn one_that_should_have_been_looked_at_says_since_when() {
    let later = at("2026-05-12T10:00:00Z");
    let page = explain::page(&stored(pending()), &Policy::default(), later);
    let told = "since 2026-05-12 08:59:02 (60 minutes ago): Catena is asked about it";
    assert!(page.text.contains(told), "{}", page.text);
    assert_eq!(page.json["next_look"], "2026-05-12T08:59:02Z");
    assert_eq!(page.json["deadline"], "2026-05-13T08:57:00Z");
}

#[test]
fn shown() {
    let shown = [pending(), done(), failed()].map(stored);
    let shown = shown.map(|it| show::page(&it, &Policy::default(), at(NOW)));
    let texts = shown.each_ref().map(|page| page.text.as_str());
    insta::assert_snapshot!("operation-show", texts.join("---\n"));
    insta::assert_json_snapshot!("operation-show-json", shown[2].json);
}

#[test]
fn lists() {
    let page = |listing: &Listing| list::page(listing, at(NOW));
    let mut listing = Listing::default();
    let nothing = page(&listing);
    listing.found = all();
    listing.more = true;
    listing.unreadable = vec![("5f0c".to_owned(), "schema 9 is newer".to_owned())];
    let some = page(&listing);
    insta::assert_snapshot!(
        "operation-list",
        format!("{}---\n{}", nothing.text, some.text)
    );
    listing.found.truncate(1);
    insta::assert_json_snapshot!("operation-list-json", page(&listing).json);
}

#[test]
fn one_that_is_not_known() {
    let by_key = Which {
        id: None,
        fleet: FleetRef::parse("FLEET-42"),
        key: Some("order-9".to_owned()),
    };
    let by_id = Which {
        id: Some(by_key.id()),
        fleet: None,
        key: None,
    };
    let place = "stack kingpin in eu-central-1";
    let told = [by_key, by_id].map(|which| format!("error: {:#}\n", unknown(&which, place)));
    insta::assert_snapshot!("operation-unknown", told.join("\n"));
}

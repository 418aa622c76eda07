//! What the commands print, as a whole: read it as an operator would.

use std::collections::BTreeMap;

use catena::Status as State;
use catena_client::SubscriptionMetrics;
use fleet::Timestamp;
use subscriptions::{KeyName, Ledger, Note, Ours, Plan, Step};

use super::{
    apply::Applied,
    page::{self, Row, Status},
    rotate::{Proof, Rotated},
};
use crate::readable::Page;

const PLACE: &str = "stack kingpin in us-east-1";
const URL: &str = "https://hooks.example.com/webhooks/catena";
/// 2026-05-20T12:00:00Z.
const NOW: Timestamp = Timestamp(1_779_278_400_000);

fn id(number: usize) -> String {
    format!("0196ed2c-1f00-7a01-8001-abcdef0000{number:02x}")
}

fn steps() -> Vec<Step> {
    let name = str::to_owned;
    let update = |number, event_name: &str, key, url| Step::Update {
        id: id(number),
        event_name: event_name.to_owned(),
        key,
        url,
    };
    vec![
        Step::AddKey,
        Step::Adopt {
            id: id(1),
            event_name: name("tsp.created"),
        },
        update(2, "invitation.created", true, true),
        update(3, "invitation.viewed", true, false),
        update(4, "invitation.sent", false, true),
        Step::Activate {
            id: id(5),
            event_name: name("connection.staled"),
            status: State::Stale,
        },
        Step::Create {
            event_name: name("webhook.*"),
            may_be_refused: false,
            again: false,
        },
        Step::Create {
            event_name: name("tsp.requested"),
            may_be_refused: true,
            again: false,
        },
        Step::Name { ids: vec![id(6)] },
        Step::Name {
            ids: vec![id(6), id(7)],
        },
        Step::Forget {
            id: id(8),
            event_name: name("schedule.deactivated"),
        },
    ]
}

fn notes() -> Vec<Note> {
    let name = str::to_owned;
    vec![
        Note::Duplicate {
            id: id(16),
            event_name: name("connection.staled"),
        },
        Note::Ambiguous {
            event_name: name("tsp.created"),
            ids: vec![id(17), id(18)],
        },
        Note::Unlisted {
            event_name: name("execution.failed"),
        },
        Note::Unknown {
            id: id(19),
            event_name: name("vehicle.added"),
        },
        Note::Scoped {
            id: id(20),
            event_name: name("invitation.created"),
            fleets: vec![name("FLEET-9")],
        },
        Note::Foreign {
            id: id(21),
            event_name: name("connection.staled"),
            url: Some(name("https://other.example.com/*****")),
        },
        Note::Foreign {
            id: id(22),
            event_name: name("connection.staled"),
            url: None,
        },
        Note::Refused {
            event_name: name("invitation.sent"),
            telling: true,
            at: Timestamp(NOW.0 - 86_400_000),
        },
        Note::Refused {
            event_name: name("tsp.requested"),
            telling: false,
            at: Timestamp(NOW.0 - 86_400_000),
        },
    ]
}

fn creation(event_name: &str) -> Step {
    Step::Create {
        event_name: event_name.to_owned(),
        may_be_refused: false,
        again: false,
    }
}

fn key(number: usize) -> KeyName {
    KeyName::of(&format!("key-of-32-characters-or-even-more-{number}"))
}

fn ledger() -> Ledger {
    let names = ["connection.staled", "invitation.created", "tsp.created"];
    let ours = names.into_iter().enumerate().map(|(number, name)| {
        let ours = Ours {
            event_name: name.to_owned(),
            key: Some(key(2)),
            key_since: Some(NOW),
            url: Some(URL.to_owned()),
        };
        (id(number), ours)
    });
    Ledger {
        ours: ours.collect(),
        ..Ledger::default()
    }
}

/// Each page as a person sees it, and as a program does.
macro_rules! golden {
    ($name:literal, $pages:expr) => {
        let pages: Vec<Page> = $pages;
        let texts: Vec<&str> = pages.iter().map(|page| page.text.as_str()).collect();
        insta::assert_snapshot!($name, texts.join("---\n"));
        let all: Vec<_> = pages.iter().map(|page| &page.json).collect();
        insta::assert_json_snapshot!(concat!($name, "-json"), all);
    };
}

#[test]
fn plans() {
    let nothing = page::plan(&Plan::default(), PLACE);
    let much = Plan {
        steps: steps(),
        notes: notes(),
    };
    golden!("plan", vec![nothing, page::plan(&much, PLACE)]);
}

#[test]
fn what_was_applied() {
    let settled = Applied {
        ours: 27,
        ..Applied::default()
    };
    let done = Applied {
        done: steps(),
        ours: 27,
        ..Applied::default()
    };
    let refused = "refused by Catena: 422 Unprocessable Entity: no such event".to_owned();
    let unfinished = Applied {
        done: steps()[..2].to_vec(),
        refused: vec![(creation("tsp.created"), refused)],
        left: steps()[5..7].to_vec(),
        notes: notes()[..1].to_vec(),
        ours: 20,
    };
    let all = [settled, done, unfinished];
    let complete = all.each_ref().map(Applied::is_complete);
    assert_eq!(complete, [true, true, false]);
    golden!(
        "apply",
        all.iter().map(|it| page::applied(it, PLACE)).collect()
    );
}

#[test]
fn statuses() {
    let day = |count: Option<f64>| BTreeMap::from([("24h".to_owned(), count)]);
    let metrics = |dead, sent, failed| SubscriptionMetrics {
        dlq_count: dead,
        message_count: day(sent),
        http_failure_attempts: day(failed),
        ..SubscriptionMetrics::default()
    };
    let row = |number: usize, name: &str, status| Row {
        id: id(number),
        event_name: name.to_owned(),
        status,
        is_there: true,
        has_current_key: true,
        metrics: Some(metrics(Some(0), Some(12.0), Some(0.0))),
        cures: None,
    };
    let rows = vec![
        Row {
            has_current_key: false,
            ..row(0, "connection.created", Some(State::Active))
        },
        Row {
            metrics: Some(metrics(Some(3), Some(40.0), None)),
            cures: Some((2, Timestamp(NOW.0 - 3_600_000))),
            ..row(1, "connection.staled", Some(State::Stale))
        },
        Row {
            metrics: None,
            ..row(2, "tsp.created", None)
        },
        Row {
            is_there: false,
            metrics: None,
            ..row(3, "webhook.staled", None)
        },
    ];
    let full = Status {
        place: PLACE.to_owned(),
        url: URL.to_owned(),
        rows,
        plan: Plan {
            steps: steps()[5..6].to_vec(),
            notes: notes()[..1].to_vec(),
        },
        keys: vec![key(1), key(2)],
        seen_at: Some(Timestamp(NOW.0 - 120_000)),
    };
    let empty = Status {
        rows: Vec::new(),
        plan: Plan::default(),
        keys: Vec::new(),
        seen_at: None,
        ..full.clone()
    };
    let pages = [full, empty].map(|it| page::status(&it, NOW));
    golden!("status", pages.into());
}

#[test]
fn rotations() {
    let proofs = |all: [Proof; 3]| {
        let all = all.into_iter().enumerate();
        all.map(|(number, proof)| (id(number), proof)).collect()
    };
    let begun = Rotated {
        begun: true,
        key: Some(key(2)),
        applied: Applied::default(),
        proofs: proofs([Proof::Silent, Proof::Fails, Proof::DeadLetters(3)]),
        retired: false,
    };
    let retired = Rotated {
        begun: false,
        proofs: proofs([Proof::Delivered; 3]),
        retired: true,
        ..begun.clone()
    };
    let stopped = Rotated {
        applied: Applied {
            refused: vec![(creation("tsp.created"), "refused by Catena".to_owned())],
            left: steps()[2..3].to_vec(),
            ..Applied::default()
        },
        proofs: BTreeMap::new(),
        ..begun.clone()
    };
    let pages = [begun, retired, stopped].map(|it| page::rotated(&it, &ledger(), PLACE));
    golden!("rotate", pages.into());
}

#[test]
fn what_was_replayed_and_deleted() {
    let waiting = BTreeMap::from([(id(0), Some(3)), (id(2), None), (id(9), Some(7))]);
    let replayed = |waiting, dry_run| page::replayed(waiting, &ledger(), dry_run);
    golden!(
        "replay",
        vec![
            replayed(&BTreeMap::new(), false),
            replayed(&waiting, true),
            replayed(&waiting, false)
        ]
    );
    let gone = [
        (id(0), "connection.staled".to_owned()),
        (id(1), "tsp.created".to_owned()),
    ];
    golden!(
        "delete",
        vec![page::deleted(&[], PLACE), page::deleted(&gone, PLACE)]
    );
}

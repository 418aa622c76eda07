//! Random and plain inputs.

use fastrand::Rng;
use fleet::{FleetRef, Policy, Timestamp};
use serde_json::{Map, Value, json};

use crate::{Asked, Attempt, Heard, Kind, Operation, Said, Word};

/// When operations are first asked for.
pub(super) const START: Timestamp = Timestamp(1_763_700_000_000);
pub(super) const SECOND: i64 = 1000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const CONNECTION: &str = "0b9e4c5d-26b3-4d0c-8b7a-6a6f1f2c3d4e";

/// Runs a law over many inputs; the number of the one that breaks it is told.
pub(super) fn for_many(runs: u64, law: impl Fn(&mut Rng)) {
    for seed in 0..runs {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            law(&mut Rng::with_seed(seed));
        }));
        if let Err(broken) = told {
            eprintln!("broken by seed {seed}");
            std::panic::resume_unwind(broken);
        }
    }
}

pub(super) fn policy(wait_percent: u32, operation_days: f64) -> Policy {
    let policy = json!({ "wait_percent": wait_percent, "operation_days": operation_days });
    serde_json::from_value(policy).unwrap()
}

/// Policies from the hastiest to the most patient.
pub(super) fn policies() -> Vec<Policy> {
    let percents = [1, 100, 10_000];
    let days = [0.01, 0.1, 1.0, 14.0];
    let of = |percent| days.map(|days| policy(percent, days));
    percents.into_iter().flat_map(of).collect()
}

pub(super) fn asked(kind: Kind, target: Option<&str>) -> Asked {
    Asked {
        fleet: FleetRef::parse("FLEET-42").unwrap(),
        key: "order-7".to_owned(),
        by: "arn:aws:iam::123456789012:user/ada".to_owned(),
        resource: "message".to_owned(),
        kind,
        target: target.map(str::to_owned),
        connection: CONNECTION.to_owned(),
        digest: "digest".to_owned(),
    }
}

pub(super) fn operation(payload: Map<String, Value>) -> Operation {
    Operation::new("op-1".to_owned(), asked(Kind::Create, None), payload, START)
}

/// Something that Catena may say, with many ties.
pub(super) fn said(rng: &mut Rng) -> Said {
    let text = |rng: &mut Rng| {
        rng.bool()
            .then(|| rng.choice(["a", "b"]).unwrap().to_owned())
    };
    let attempt = |rng: &mut Rng| Attempt {
        at: rng.bool().then(|| START.plus(rng.i64(0..3))),
        error_type: text(rng),
        http_status: rng.bool().then(|| rng.i64(400..402)),
        ..Attempt::default()
    };
    Said {
        at: Timestamp(rng.i64(0..4)),
        word: match rng.u8(0..4) {
            0 => Word::Pending,
            1 => Word::Success,
            2 => Word::Failed,
            _ => Word::Other("queued".to_owned()),
        },
        resource_id: text(rng),
        source_id: text(rng),
        attempts: (0..rng.usize(0..3)).map(|_| attempt(rng)).collect(),
    }
}

pub(super) fn heard(rng: &mut Rng) -> Heard {
    let count = rng.usize(0..5);
    (0..count).fold(Heard::default(), |heard, _| heard.fold(said(rng)))
}

/// One that says no end.
pub(super) fn pending(at: i64) -> Said {
    word(at, Word::Pending)
}

pub(super) fn word(at: i64, word: Word) -> Said {
    Said {
        at: Timestamp(at),
        word,
        resource_id: None,
        source_id: None,
        attempts: Vec::new(),
    }
}

pub(super) fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

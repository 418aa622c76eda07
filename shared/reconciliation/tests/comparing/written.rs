//! Facts and answers, written shortly. Times are seconds after an arbitrary moment; answers were given at [`OBSERVED`].

use std::collections::BTreeMap;

use catena::Instant;
use fleet::{
    Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Decision, Fact, FleetRef,
    IntegrationRequest, InvitationFact, Level, Observation, Record, RegulatoryId, Schedule,
    Timestamp,
};
use reconciliation::{Answers, Listed};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// When answers were given.
pub(crate) const OBSERVED: i64 = 100_000;

/// The fleet.
pub(crate) fn fleet() -> FleetRef {
    FleetRef::parse("FLEET-1").expect("a reference")
}

/// So many seconds after the arbitrary moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp(1_777_881_600_000 + seconds * 1000)
}

/// The same as Catena writes it.
pub(crate) fn instant(seconds: i64) -> Instant {
    Instant::from_millis(at(seconds).0)
}

/// A record of what was observed, each as `<second> <what>`.
pub(crate) fn record(told: &[&str]) -> Record {
    let told = told.iter().map(|told| observation(told));
    told.fold(Record::default(), |record, told| record.fold(&told))
}

/// What is written as `<second> <what>`. A second with a `~` is one that an answer's time cut off.
pub(crate) fn observation(text: &str) -> Observation {
    let words: Vec<&str> = text.split_whitespace().collect();
    let owned = |place: usize| words[place].to_owned();
    let after = |word: &str| words.iter().position(|it| *it == word).map(|it| it + 1);
    let cut_off = words[0].ends_with('~');
    let second = |place: usize| {
        at(words[place]
            .trim_end_matches('~')
            .parse()
            .expect("a second"))
    };
    let invitation = |was| Fact::Invitation {
        invitation: owned(2),
        was,
    };
    let connection = |was| Fact::Connection {
        connection: owned(2),
        was,
    };
    let fact = match words[1] {
        "name" => Fact::Name(owned(2)),
        "catena" => Fact::CatenaFleet(owned(2)),
        "number" => Fact::Regulatory(RegulatoryId {
            kind: Some(owned(2)),
            id: owned(3),
        }),
        "created" => invitation(InvitationFact::Created),
        "ends" => invitation(InvitationFact::Ends(second(3))),
        "open" => invitation(InvitationFact::Decision(Decision::Open)),
        "accepted" => invitation(InvitationFact::Decision(Decision::Accepted)),
        "declined" => invitation(InvitationFact::Decision(Decision::Declined(None))),
        "expired" => invitation(InvitationFact::Decision(Decision::Expired)),
        "deleted" => invitation(InvitationFact::Decision(Decision::Deleted)),
        "agreement" => Fact::Agreement {
            id: owned(2),
            made: after("made").map(second),
            agreement: Agreement {
                status: match words[3] {
                    "active" => AgreementStatus::Active,
                    "paused" => AgreementStatus::Paused,
                    "cancelled" => AgreementStatus::Cancelled,
                    "deleted" => AgreementStatus::Deleted,
                    other => AgreementStatus::Unknown(other.to_owned()),
                },
                scopes: Some(match words.contains(&"writing") {
                    true => BTreeMap::from([("vehicle".to_owned(), Level::ReadWrite)]),
                    false => BTreeMap::from([("vehicle".to_owned(), Level::Read)]),
                }),
                effective: Some(at(300)),
                ends: after("until").map(second),
            },
        },
        "linked" => Fact::Linked {
            connection: owned(2),
        },
        "source" => connection(ConnectionFact::Source(owned(3))),
        "state" => connection(ConnectionFact::State(match words[3] {
            "active" => ConnectionState::Active,
            "paused" => ConnectionState::Paused,
            "stale" => ConnectionState::Stale,
            "failed" => ConnectionState::Failed,
            "cancelled" => ConnectionState::Cancelled,
            "deleted" => ConnectionState::Deleted,
            other => ConnectionState::Unknown(other.to_owned()),
        })),
        "schedule" => connection(ConnectionFact::Schedule {
            id: owned(3),
            schedule: Schedule {
                stopped: words[4] == "stopped",
                resource: Some("vehicle".to_owned()),
            },
        }),
        "request" => Fact::Request {
            id: owned(2),
            request: IntegrationRequest {
                created: at(500),
                provider: "Nomad".to_owned(),
                provider_id: "X".to_owned(),
                invitation: Some(owned(3)),
                live_as: words[4..].iter().map(|id| (*id).to_owned()).collect(),
            },
        },
        "refused" => Fact::RequestsRefused(true),
        "served" => Fact::RequestsRefused(false),
        other => panic!("{other}?"),
    };
    let index = if cut_off { u32::MAX } else { 0 };
    Observation {
        at: At(second(0), index),
        fact,
    }
}

/// What all this is.
pub(crate) fn observations(told: &[&str]) -> Vec<Observation> {
    told.iter().map(|told| observation(told)).collect()
}

/// A list of these.
pub(crate) fn listed<T: DeserializeOwned>(
    items: impl IntoIterator<Item = Value>,
) -> Option<Listed<T>> {
    listed_at(OBSERVED, items)
}

/// The same, answered at another time.
pub(crate) fn listed_at<T: DeserializeOwned>(
    seconds: i64,
    items: impl IntoIterator<Item = Value>,
) -> Option<Listed<T>> {
    let items = items.into_iter();
    let items = items.map(|it| serde_json::from_value(it).expect("an item"));
    Some(Listed {
        items: items.collect(),
        observed: instant(seconds),
        latest: instant(seconds + 2),
    })
}

/// The invitation `I`, made at 100 and open until long after answers were given, changed by `extra`.
pub(crate) fn invitation(extra: Value) -> Value {
    let hours = 100;
    let invitation = json!({
        "invitation_hash": "I", "fleet_ref": "FLEET-1", "partner_id": "us", "status": "active",
        "created_at": instant(100), "expires_at": instant(100 + hours * 3600), "expires_in_hours": hours,
    });
    changed(invitation, extra)
}

/// When [`invitation`] ends.
pub(crate) const ENDS: i64 = 100 + 100 * 3600;

/// The agreement `A`, changed by `extra`.
pub(crate) fn agreement(extra: Value) -> Value {
    let agreement = json!({
        "id": "A", "fleet_id": "F", "fleet_ref": "FLEET-1", "partner_id": "us", "status": "active",
        "effective_date": instant(300), "scopes": { "vehicle": "read" },
    });
    changed(agreement, extra)
}

/// The fleet itself, changed by `extra`.
pub(crate) fn itself(extra: Value) -> Value {
    let fleet = json!({
        "id": "F", "fleet_ref": "FLEET-1", "created_at": instant(200), "updated_at": instant(200),
    });
    changed(fleet, extra)
}

/// The connection `C`, changed by `extra`.
pub(crate) fn connection(extra: Value) -> Value {
    let connection = json!({
        "id": "C", "fleet_id": "F", "fleet_ref": "FLEET-1", "status": "active",
        "created_at": instant(400), "updated_at": instant(400),
    });
    changed(connection, extra)
}

/// The schedule `S` of `C` in a status.
pub(crate) fn schedule(status: &str) -> Value {
    json!({ "id": "S", "connection_id": "C", "resource": "vehicle", "status": status })
}

/// The integration request `R` of the invitation `I`, made at 500, changed by `extra`.
pub(crate) fn request(extra: Value) -> Value {
    let request = json!({
        "id": "R", "fleet_ref": "FLEET-1", "fleet_id": "F", "partner_id": "us", "invitation_hash": "I",
        "ext_tsp_id": "X", "ext_tsp_name": "Nomad", "integrated_tsp_ids": [],
        "created_at": instant(500), "updated_at": instant(500),
    });
    changed(request, extra)
}

fn changed(mut it: Value, extra: Value) -> Value {
    let fields = it.as_object_mut().expect("an object");
    fields.extend(extra.as_object().expect("an object").clone());
    it
}

/// Holds that answers say just this that a record doesn't.
#[track_caller]
pub(crate) fn says(known: &[&str], answers: &Answers, expected: &[&str]) {
    let said = answers.differences(&fleet(), &record(known));
    assert_eq!(said, observations(expected), "{known:?}");
}

use std::collections::BTreeSet;

use fleet::{
    Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Decision, Fact,
    IntegrationRequest, InvitationFact, Level, Observation, Override, OverrideKind,
};
use operations::{Asked, Heard, Kind, Operation, Said, Word};
use serde_json::{Value, json};

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;
const HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// The versions of a fleet's record.
struct Versions(Vec<StoredRecord>);

impl Versions {
    fn new() -> Self {
        let fleet = FleetRef::parse("FLEET-1").unwrap();
        Self(vec![StoredRecord::new(fleet)])
    }

    fn last(&self) -> &StoredRecord {
        self.0.last().unwrap()
    }

    /// Writes a version on a day, with what became known by then, and tells its difference.
    fn write(&mut self, day: i64, facts: &[Fact]) -> Vec<DomainEvent> {
        self.decide(day, facts, |_| ())
    }

    fn decide(
        &mut self,
        day: i64,
        facts: &[Fact],
        decide: impl FnOnce(&mut fleet::Record),
    ) -> Vec<DomainEvent> {
        let now = Timestamp(day * DAY);
        let mut stored = self.last().clone();
        for (index, fact) in facts.iter().enumerate() {
            let at = At(now, u32::try_from(index).unwrap());
            let fact = fact.clone();
            stored.record = stored.record.fold(&Observation { at, fact });
        }
        decide(&mut stored.record);
        stored.record.settle(&Policy::default(), now);
        stored.version += 1;
        stored.written_at = Some(now);
        self.0.push(stored);
        self.told(self.0.len() - 1)
    }

    /// The difference of a version and the one before it.
    fn told(&self, version: usize) -> Vec<DomainEvent> {
        let old = Some(&self.0[version - 1]).filter(|old| old.version > 0);
        let new = &self.0[version];
        difference(old, new, new.written_at.unwrap(), &Policy::default())
    }
}

fn names(events: &[DomainEvent]) -> Vec<&str> {
    events.iter().map(DomainEvent::name).collect()
}

/// What an event says besides what all of them say.
fn detail(events: &[DomainEvent], name: &str) -> Value {
    let event = events.iter().find(|event| event.name() == name).unwrap();
    let mut detail = json!(event);
    for common in ["schema", "id", "fleet_ref", "version", "occurred_at"] {
        detail.as_object_mut().unwrap().remove(common).unwrap();
    }
    detail
}

fn decision(decision: Decision) -> Fact {
    Fact::Invitation {
        invitation: HASH.to_owned(),
        was: InvitationFact::Decision(decision),
    }
}

fn agreement(status: AgreementStatus, scopes: &[(&str, Level)]) -> Fact {
    let scope = |(resource, level): &(&str, Level)| ((*resource).to_owned(), level.clone());
    Fact::Agreement {
        id: "agreement".to_owned(),
        made: None,
        agreement: Agreement {
            status,
            scopes: Some(scopes.iter().map(scope).collect()),
            effective: None,
            ends: None,
        },
    }
}

fn state(state: ConnectionState) -> Fact {
    Fact::Connection {
        connection: "connection".to_owned(),
        was: ConnectionFact::State(state),
    }
}

fn source() -> Fact {
    Fact::Connection {
        connection: "connection".to_owned(),
        was: ConnectionFact::Source("samsara".to_owned()),
    }
}

fn linked() -> Fact {
    Fact::Linked {
        connection: "connection".to_owned(),
    }
}

fn request(id: &str, live_as: &[&str]) -> Fact {
    Fact::Request {
        id: id.to_owned(),
        request: IntegrationRequest {
            created: Timestamp(2 * DAY),
            provider: "Some Telematics".to_owned(),
            provider_id: "provider".to_owned(),
            invitation: Some(HASH.to_owned()),
            live_as: live_as.iter().map(|&it| it.to_owned()).collect(),
        },
    }
}

fn vehicles() -> Fact {
    agreement(AgreementStatus::Active, &[("vehicle", Level::Read)])
}

/// A fleet that is connected since the third day.
fn connected() -> Versions {
    let mut versions = Versions::new();
    versions.write(1, &[decision(Decision::Open)]);
    versions.write(2, &[decision(Decision::Accepted)]);
    versions.write(3, &[vehicles(), source(), linked()]);
    versions
}

#[test]
fn a_fleet_that_becomes_known_came_from_nowhere() {
    let told = Versions::new().write(1, &[decision(Decision::Open)]);
    assert_eq!(names(&told), ["fleet.stage_changed"]);
    let since = json!("1970-01-02T00:00:00Z");
    let reasons = json!([{ "code": "invitation_open", "since": since }]);
    let expected = json!({ "from": null, "to": "invited", "reasons": reasons });
    assert_eq!(detail(&told, "fleet.stage_changed"), expected);
}

#[test]
fn a_fleet_that_connects_changes_its_stage_its_admission_and_its_scopes() {
    let mut versions = connected();
    let told = versions.told(3);
    let expected = [
        "fleet.stage_changed",
        "fleet.admission_changed",
        "fleet.data_scopes_changed",
    ];
    // A first link is no recovery.
    assert_eq!(names(&told), expected);
    let admission = detail(&told, "fleet.admission_changed");
    assert_eq!(admission["from"], json!({ "kind": "none" }));
    assert_eq!(admission["to"], json!({ "kind": "full" }));
    let codes = admission["reasons"].as_array().unwrap().iter();
    let codes: Vec<_> = codes.map(|reason| reason["code"].clone()).collect();
    assert_eq!(codes, ["agreement_in_force", "connection_live"]);
    let scopes = detail(&told, "fleet.data_scopes_changed");
    assert_eq!(scopes, json!({ "from": {}, "to": { "vehicle": "read" } }));

    let wider = agreement(AgreementStatus::Active, &[("vehicle", Level::ReadWrite)]);
    let told = versions.write(4, &[wider]);
    assert_eq!(names(&told), ["fleet.data_scopes_changed"]);
    let expected = json!({ "from": { "vehicle": "read" }, "to": { "vehicle": "read_write" } });
    assert_eq!(detail(&told, "fleet.data_scopes_changed"), expected);
}

#[test]
fn a_version_that_changes_nothing_of_the_standing_tells_nothing() {
    let mut versions = connected();
    assert_eq!(versions.write(4, &[Fact::Name("Alpha".to_owned())]), []);
    assert_eq!(versions.write(5, &[]), []);
}

#[test]
fn a_connection_that_breaks_and_is_linked_again_degrades_and_recovers() {
    let mut versions = connected();
    let told = versions.write(4, &[state(ConnectionState::Stale)]);
    let expected = [
        "fleet.stage_changed",
        "fleet.admission_changed",
        "connection.degraded",
    ];
    assert_eq!(names(&told), expected);
    let connection = &detail(&told, "connection.degraded")["connection"];
    let expected = json!({
        "id": "connection",
        "source": "samsara",
        "state": "stale",
        "live": false,
        "linked_at": "1970-01-04T00:00:00Z",
    });
    assert_eq!(*connection, expected);
    let admission = &detail(&told, "fleet.admission_changed")["to"];
    let expected = json!({ "kind": "grace", "until": "1970-01-08T00:00:00Z" });
    assert_eq!(*admission, expected);

    // The same trouble in other words is none of its own.
    assert_eq!(versions.write(5, &[state(ConnectionState::Failed)]), []);

    let told = versions.write(6, &[linked()]);
    assert_eq!(names(&told)[2..], ["connection.recovered"]);
    let connection = &detail(&told, "connection.recovered")["connection"];
    assert_eq!(
        (&connection["state"], &connection["live"]),
        (&json!(null), &json!(true))
    );
}

#[test]
fn a_connection_that_is_over_is_degraded_too() {
    let told = connected().write(4, &[state(ConnectionState::Deleted)]);
    assert!(names(&told).contains(&"connection.degraded"), "{told:?}");
}

#[test]
fn a_requested_provider_is_confirmed_once_and_told_when_it_is_live() {
    let mut versions = Versions::new();
    versions.write(1, &[decision(Decision::Accepted)]);
    let told = versions.write(3, &[request("request", &[])]);
    let expected = [
        "fleet.stage_changed",
        "fleet.admission_changed",
        "integration_request.confirmed",
    ];
    assert_eq!(names(&told), expected);
    let mut confirmed = json!({
        "id": "request",
        "provider": "Some Telematics",
        "created": "1970-01-03T00:00:00Z",
        "live_as": [],
    });
    let request_of = |told| detail(told, "integration_request.confirmed")["request"].clone();
    assert_eq!(request_of(&told), confirmed);

    let told = versions.write(4, &[request("request", &["some"])]);
    assert_eq!(
        names(&told),
        ["fleet.stage_changed", "fleet.reconnect_ready"]
    );
    confirmed["live_as"] = json!(["some"]);
    let ready = detail(&told, "fleet.reconnect_ready");
    assert_eq!(ready, json!({ "requests": [confirmed] }));
    assert_eq!(
        versions.write(5, &[request("request", &["some", "more"])]),
        []
    );
}

#[test]
fn two_requests_of_one_version_are_two_events() {
    let mut versions = Versions::new();
    versions.write(1, &[decision(Decision::Accepted)]);
    let told = versions.write(3, &[request("a", &[]), request("b", &[])]);
    assert_eq!(names(&told)[2..], ["integration_request.confirmed"; 2]);
    let ids: BTreeSet<_> = told.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), told.len());
}

#[test]
fn what_ends_by_time_alone_shows_in_the_next_version() {
    let mut versions = connected();
    versions.write(4, &[state(ConnectionState::Stale)]);
    let told = versions.write(60, &[]);
    assert_eq!(names(&told), ["fleet.admission_changed"]);
    let admission = detail(&told, "fleet.admission_changed");
    assert_eq!(admission["from"]["kind"], "grace");
    assert_eq!(admission["to"], json!({ "kind": "none" }));
}

#[test]
fn an_operators_block_is_told_with_its_reason() {
    let block = Override::new(OverrideKind::Block, "somebody", "unpaid", None).unwrap();
    let told = connected().decide(5, &[], |record| {
        record.decide(At(Timestamp(5 * DAY), 0), OverrideKind::Block, Some(block));
    });
    assert_eq!(names(&told), ["fleet.admission_changed"]);
    let admission = detail(&told, "fleet.admission_changed");
    assert_eq!(admission["to"], json!({ "kind": "blocked" }));
    let first = json!({ "code": "blocked_by_operator", "about": "somebody", "detail": "unpaid" });
    assert_eq!(admission["reasons"][0], first);
}

#[test]
fn a_version_of_unknown_age_is_judged_at_the_later_ones_moment() {
    let mut versions = connected();
    versions.write(4, &[state(ConnectionState::Stale)]);
    versions.0.last_mut().unwrap().written_at = None;
    // By then its grace is over in both.
    assert_eq!(versions.write(60, &[]), []);
}

#[test]
fn an_id_is_the_same_whenever_it_is_told_and_another_for_each_event() {
    let mut versions = connected();
    for day in 4..20 {
        let facts = if day % 2 == 0 {
            vec![state(ConnectionState::Stale)]
        } else {
            vec![linked()]
        };
        versions.write(day, &facts);
    }
    let all = || (1..versions.0.len()).flat_map(|version| versions.told(version));
    assert!(all().eq(all()));
    let ids: BTreeSet<String> = all().map(|event| event.id).collect();
    assert_eq!(ids.len(), all().count());
    let plain = |id: &String| id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit());
    assert!(ids.iter().all(plain), "{ids:?}");
    // Written down once: consumers remember ids.
    let first = all().next().unwrap();
    assert_eq!(first.id, FIRST_ID);
}

#[test]
fn an_event_says_whose_which_and_when() {
    let told = connected().told(3);
    let mut event = json!(told[0]);
    let event = event.as_object_mut().unwrap();
    event.retain(|name, _| !["from", "to", "reasons"].contains(&name.as_str()));
    let expected = json!({
        "schema": 1,
        "id": told[0].id,
        "fleet_ref": "FLEET-1",
        "version": 3,
        "occurred_at": "1970-01-04T00:00:00Z",
    });
    assert_eq!(json!(event), expected);
}

#[test]
fn no_event_holds_what_opens_an_invitation_or_its_hash() {
    for versions in histories() {
        for version in 1..versions.0.len() {
            let text = json!(versions.told(version)).to_string();
            assert!(!text.contains(&HASH[..8]), "{text}");
        }
    }
}

#[test]
fn no_event_is_larger_than_the_bus_takes_however_many_connections_there_are() {
    let mut versions = connected();
    let many = (0..2000).map(|n| Fact::Linked {
        connection: format!("connection-{n}-with-a-long-name-{}", "x".repeat(100)),
    });
    let many: Vec<Fact> = many.collect();
    versions.write(4, &many);
    let told = versions.write(5, &[agreement(AgreementStatus::Paused, &[])]);
    assert!(names(&told).contains(&"fleet.stage_changed"), "{told:?}");
    for event in told {
        let bytes = json!(event).to_string().len();
        assert!(bytes < 16 * 1024, "{bytes}");
    }
}

/// What made-up histories lead to is what the README's table names.
#[test]
fn every_event_is_documented_and_happens() {
    let readme = include_str!("../../../../README.md");
    let (_, table) = readme.split_once("| `detail-type` |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .filter_map(|row| row.split('`').nth(1));
    let documented: BTreeSet<&str> = rows.collect();
    let mut happened = BTreeSet::new();
    for versions in histories() {
        for version in 1..versions.0.len() {
            happened.extend(
                names(&versions.told(version))
                    .iter()
                    .map(|it| it.to_string()),
            );
        }
    }
    for versions in operation_histories() {
        happened.extend(told_of(&versions).iter().map(|it| it.name().to_owned()));
    }
    assert!(
        happened.iter().eq(&documented),
        "{happened:?} {documented:?}"
    );
}

/// Versions of write operations, one after the other: one that ends, then otherwise; one that is lost and then found done all the same.
fn operation_histories() -> [Vec<StoredOperation>; 2] {
    let now = Timestamp(1_777_881_600_000);
    let said = |at: i64, word: Word| Said {
        at: now.plus(at),
        word,
        resource_id: None,
        source_id: None,
        attempts: Vec::new(),
    };
    let asked = Asked {
        fleet: FleetRef::parse("FLEET-1").unwrap(),
        key: "key".to_owned(),
        by: "arn:aws:iam::123456789012:user/partner".to_owned(),
        resource: "message".to_owned(),
        kind: Kind::Create,
        target: None,
        connection: "connection".to_owned(),
        digest: "digest".to_owned(),
    };
    let id = operations::operation_id("FLEET-1", "key");
    let called = Operation::new(id, asked, serde_json::Map::new(), now);
    let accepted = |operation: &Operation, said| {
        let mut operation = operation.clone();
        let heard = Heard::default().fold(said);
        operation.accept("catena", None, heard, now);
        operation
    };
    let pending = accepted(&called, said(1, Word::Pending));
    let failed = accepted(&pending, said(2, Word::Failed));
    let late = accepted(&failed, said(1, Word::Success));
    let done = accepted(&late, said(3, Word::Success));
    let mut unclear = called.clone();
    unclear.lose_answer("the connection broke", now);
    let mut lost = unclear.clone();
    let ages = now.plus(60 * 60 * 1000);
    lost.note(&operations::Looked::Answered, &Policy::default(), ages);
    let found = accepted(&lost, said(4, Word::Success));
    let versions = |all: Vec<Operation>| {
        let version = |(place, operation): (usize, Operation)| StoredOperation {
            operation,
            version: place as u64 + 1,
            written_at: now.plus(place as i64 * 1000),
        };
        all.into_iter().enumerate().map(version).collect()
    };
    [
        versions(vec![
            called.clone(),
            pending,
            failed,
            late,
            done.clone(),
            done,
        ]),
        versions(vec![called, unclear, lost, found]),
    ]
}

fn told_of(versions: &[StoredOperation]) -> Vec<DomainEvent> {
    let first = std::iter::once(None).chain(versions.iter().map(Some));
    let pairs = first.zip(versions);
    pairs
        .filter_map(|(old, new)| end_of_operation(old, new, new.written_at))
        .collect()
}

#[test]
fn each_end_of_an_operation_is_told_once_and_another_end_is_told_again() {
    let [contradicted, lost] = operation_histories();
    let told = |versions: &[StoredOperation]| {
        let told = told_of(versions).into_iter();
        told.map(|it| (it.name(), json!(it)["version"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&contradicted),
        [("operation.failed", 3), ("operation.succeeded", 5)]
    );
    assert_eq!(
        told(&lost),
        [("operation.unknown", 3), ("operation.succeeded", 4)]
    );
    let event = json!(told_of(&contradicted)[1]);
    assert_eq!(event["fleet_ref"], "FLEET-1");
    assert_eq!(event["operation"]["idempotency_key"], "key");
    assert_eq!(event["operation"]["contradicted"], true);
    assert_eq!(event["operation"]["status"], "success");
    // Told again it has the same id, and no other event has it.
    let ids: BTreeSet<String> = operation_histories()
        .iter()
        .flat_map(|versions| told_of(versions))
        .map(|it| it.id)
        .collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.contains(&told_of(&contradicted)[0].id));
}

/// The events of all versions add up: what one ends with, the next begins with, and the last is how the record stood when it was
/// last written.
#[test]
fn the_differences_of_all_versions_add_up() {
    let mut told = 0;
    for versions in histories() {
        let mut stage = json!(null);
        let mut admission = json!({ "kind": "none" });
        let mut data_scopes = json!({});
        let mut live = BTreeSet::new();
        for version in 1..versions.0.len() {
            for event in versions.told(version) {
                told += 1;
                let name = event.name();
                let event = json!(event);
                let place = match name {
                    "fleet.stage_changed" => &mut stage,
                    "fleet.admission_changed" => &mut admission,
                    "fleet.data_scopes_changed" => &mut data_scopes,
                    "connection.degraded" => {
                        let id = event["connection"]["id"].to_string();
                        assert!(live.remove(&id), "{id} wasn't live");
                        continue;
                    }
                    "connection.recovered" => {
                        let id = event["connection"]["id"].to_string();
                        assert!(live.insert(id), "it was live");
                        continue;
                    }
                    _ => continue,
                };
                assert_eq!(*place, event["from"], "{name} of version {version}");
                assert_ne!(*place, event["to"], "{name} of version {version}");
                *place = event["to"].clone();
            }
            // First links aren't told one by one.
            let known = Connection::all(&versions.0[version - 1].record);
            let new = Connection::all(&versions.0[version].record).into_iter();
            let new = new.filter(|it| it.live);
            let linked = |id: &str| known.iter().any(|it| it.id == id && it.linked_at.is_some());
            live.extend(
                new.filter(|it| !linked(&it.id))
                    .map(|it| json!(it.id).to_string()),
            );
        }
        let last = versions.last();
        let standing = last
            .record
            .standing(&Policy::default(), last.written_at.unwrap());
        assert_eq!(stage, json!(standing.stage.as_str()));
        assert_eq!(admission, json!(Admission::from(standing.admission)));
        assert_eq!(data_scopes, json!(scopes(&standing.data_scopes)));
    }
    assert!(told > 1000, "{told}");
}

/// Made-up records of some versions each.
fn histories() -> impl Iterator<Item = Versions> {
    let mut rng = fastrand::Rng::with_seed(17);
    (0..300).map(move |_| {
        let mut versions = Versions::new();
        let mut day = 0;
        for _ in 0..rng.usize(1..12) {
            // Clocks of functions differ: now and then one lies behind.
            day = (day + rng.i64(-1..6)).max(0);
            let facts: Vec<Fact> = (0..rng.usize(0..4)).map(|_| fact(&mut rng)).collect();
            versions.write(day, &facts);
        }
        versions
    })
}

fn fact(rng: &mut fastrand::Rng) -> Fact {
    let decisions = [
        Decision::Open,
        Decision::Accepted,
        Decision::Accepted,
        Decision::Declined(None),
        Decision::Deleted,
    ];
    let states = [
        ConnectionState::Active,
        ConnectionState::Paused,
        ConnectionState::Stale,
        ConnectionState::Deleted,
    ];
    let statuses = [
        AgreementStatus::Active,
        AgreementStatus::Active,
        AgreementStatus::Paused,
        AgreementStatus::Cancelled,
    ];
    match rng.u8(0..6) {
        0 => decision(decisions[rng.usize(..decisions.len())].clone()),
        1 => state(states[rng.usize(..states.len())].clone()),
        2 => {
            let level = [Level::Read, Level::ReadWrite][rng.usize(..2)].clone();
            let status = statuses[rng.usize(..statuses.len())].clone();
            agreement(status, &[("vehicle", level)])
        }
        3 => request("request", [&[][..], &["some"]][rng.usize(..2)]),
        _ => linked(),
    }
}

const FIRST_ID: &str = "6284408eee080e99d3abae25f556993d";

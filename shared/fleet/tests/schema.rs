//! The form that records are kept in. `fixtures/record-schema-N.json` is a record of form N with all in it that can be.
//!
//! A fixture is never edited. Whoever changes the form, be it by a field that may be absent, raises `SCHEMA` and adds a
//! fixture; records of the forms before it are read ever after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use fleet::{
    Admission, Agreement, AgreementFacts, AgreementStatus, At, Claim, ConnectionFact,
    ConnectionFacts, ConnectionState, Days, Decision, Decisions, Fact, Facts, Grant,
    IntegrationRequest, InvitationFact, InvitationFacts, Level, LinkFacts, Observation, Override,
    OverrideKind, Policy, Record, RegulatoryId, RequestFacts, SCHEMA, Schedule, Stage, Timestamp,
};

#[test]
fn the_form_of_this_schema_is_read_and_written_as_it_was() {
    let written = fixture(SCHEMA);
    let now = serde_json::to_string_pretty(&everything()).unwrap() + "\n";
    assert!(
        now == written,
        "the form has changed, and SCHEMA is still {SCHEMA}:\n{now}"
    );
    let read: Record = serde_json::from_str(&written).unwrap();
    assert_eq!(read, everything());
}

#[test]
fn records_of_every_schema_so_far_mean_what_they_meant() {
    for schema in 1..=SCHEMA {
        let record: Record = serde_json::from_str(&fixture(schema)).unwrap();
        let stood = record.standing(&Policy::default(), day(60));
        assert_eq!(stood.stage, Stage::Connected);
        assert_eq!(stood.admission, Admission::Full);
        let scopes = serde_json::to_string(&stood.data_scopes).unwrap();
        assert_eq!(scopes, r#"{"driver":"read_write","vehicle":"read"}"#);
        let reasons: Vec<_> = stood.reasons.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "agreement_in_force",
                "connection_live",
                "schedule_stopped",
                "connection_broken",
                "connection_broken",
                "connection_broken",
                "connection_over",
                "connection_over",
                "request_pending",
            ]
        );
        let due = stood.due.iter();
        let due: Vec<_> = due
            .map(|due| ((due.at.0 - day(0).0) / DAY, due.why.as_str()))
            .collect();
        assert_eq!(
            due,
            [
                (4, "request_pending"),
                (32, "connection_broken"),
                (33, "connection_broken"),
                (34, "connection_broken"),
                (40, "schedule_stopped"),
                (80, "invitation_ends"),
                (205, "agreement_ends"),
            ]
        );
        let early = |now| record.standing(&Policy::default(), now).admission;
        assert_eq!(early(day(9).plus(-1)), Admission::Blocked);
        assert_eq!(early(day(9)), Admission::Full);
    }
}

/// What doesn't compile here any more, or fails, is a change of the form.
#[test]
fn the_fixture_holds_every_field_and_every_value() {
    let Record { facts, decisions } = everything();
    let Facts {
        name,
        catena_fleet,
        invitations,
        agreements,
        connections,
        requests,
        requests_refused,
        regulatory,
    } = facts;
    assert!(name.is_some() && catena_fleet.is_some() && requests_refused.is_some());
    let RegulatoryId { kind, id } = regulatory.unwrap().value().clone();
    assert!(kind.is_some() && !id.is_empty());
    let mut seen = BTreeSet::new();

    for known in invitations.into_values() {
        let InvitationFacts {
            first,
            decision,
            viewed,
            sent,
            ends,
            invited_as,
            claim,
            claimed_request,
        } = known;
        seen.extend(invited_as.map(|number| match number.value().kind {
            Some(_) => "invited as a number of some kind",
            None => "invited as a number",
        }));
        assert!(first.is_some() && viewed.is_some() && sent.is_some() && ends.is_some());
        seen.extend(claimed_request.map(|_| "claimed request"));
        seen.insert(match decision.unwrap().value() {
            Decision::Open => "open",
            Decision::Accepted => "accepted",
            Decision::Expired => "expired",
            Decision::Declined(None) => "declined",
            Decision::Declined(Some(_)) => "declined with a reason",
            Decision::Deleted => "deleted",
        });
        seen.insert(match claim.unwrap().value() {
            Claim::Connected => "claimed a connection",
            Claim::Requested(None) => "claimed a request",
            Claim::Requested(Some(_)) => "claimed a request by its id",
            Claim::Failed => "claimed a failure",
            Claim::Unclear => "claimed nothing",
        });
    }
    for known in agreements.into_values() {
        let AgreementFacts { first: _, current } = known;
        let Agreement {
            status,
            scopes,
            effective,
            ends,
        } = current.value();
        seen.extend(effective.map(|_| "effective"));
        seen.extend(ends.map(|_| "ends"));
        seen.insert(match status {
            AgreementStatus::Active => "agreement active",
            AgreementStatus::Paused => "agreement paused",
            AgreementStatus::Expired => "agreement expired",
            AgreementStatus::Cancelled => "agreement cancelled",
            AgreementStatus::Deleted => "agreement deleted",
            AgreementStatus::Unknown(_) => "agreement unknown",
        });
        seen.insert(match scopes {
            None => "no scopes",
            Some(scopes) if scopes.is_empty() => "empty scopes",
            Some(_) => "scopes",
        });
        seen.extend(scopes.iter().flatten().map(|(_, level)| match level {
            Level::ReadWrite => "read and write",
            Level::Read => "read",
            Level::Unknown(_) => "unknown level",
        }));
    }
    for known in connections.into_values() {
        let LinkFacts { linked, connection } = known;
        let ConnectionFacts {
            state,
            source,
            schedules,
        } = connection;
        seen.insert(linked.map_or("not linked", |_| "linked"));
        seen.extend(source.map(|_| "source"));
        seen.insert(match state.unwrap().value() {
            ConnectionState::Active => "connection active",
            ConnectionState::Paused => "connection paused",
            ConnectionState::Stale => "connection stale",
            ConnectionState::Failed => "connection failed",
            ConnectionState::Cancelled => "connection cancelled",
            ConnectionState::Deleted => "connection deleted",
            ConnectionState::Unknown(_) => "connection unknown",
        });
        for schedule in schedules.values() {
            let Schedule { stopped, resource } = schedule.value();
            seen.insert(if *stopped { "stopped" } else { "running" });
            seen.extend(resource.as_ref().map(|_| "schedule's resource"));
        }
    }
    for known in requests.into_values() {
        let RequestFacts { current, live } = known;
        let IntegrationRequest {
            created: _,
            provider,
            provider_id,
            invitation,
            live_as,
        } = current.value();
        assert!(!provider.is_empty() && !provider_id.is_empty());
        seen.extend(live.map(|_| "request live"));
        seen.extend(invitation.as_ref().map(|_| "request's invitation"));
        seen.extend((!live_as.is_empty()).then_some("request live as"));
    }
    let Decisions {
        grants,
        block,
        pass,
        broken_since,
    } = decisions;
    assert!(broken_since.is_some());
    for Grant { starts, ends } in grants.values() {
        assert!(starts < ends);
        seen.insert("grant");
    }
    let block = block.unwrap().value().clone().unwrap();
    assert!(block.ends().is_some() && block.author() == "ann" && block.reason() == "unpaid");
    assert!(pass.unwrap().value().0.is_none());
    assert_eq!(seen.len(), 45, "{seen:#?}");
}

/// A record in which every field and every value occurs.
fn everything() -> Record {
    let mut news = vec![
        (0, Fact::Name("Ünal \"Trucking\" 🚚".to_owned())),
        (0, Fact::CatenaFleet("fleet-1".to_owned())),
        (4, Fact::RequestsRefused(false)),
        (4, Fact::Regulatory(number(Some("DOT"), "1234567"))),
    ];
    news.extend(invitations());
    news.extend(agreements());
    news.extend(connections());
    news.extend(requests());
    let said = news.into_iter().zip(0..).map(|((on, fact), nth)| {
        let at = At(day(on).plus(1000 * i64::from(nth)), nth % 3);
        Observation { at, fact }
    });
    let mut record = said.fold(Record::default(), |record, said| record.fold(&said));

    let policy = Policy {
        provisional_days_in_all: Days::new(20),
        ..Policy::default()
    };
    assert!(record.settle(&policy, day(4)));
    let block = Override::new(OverrideKind::Block, "ann", "unpaid", Some(day(9)));
    record.decide(At(day(6), 0), OverrideKind::Block, block.ok());
    record.decide(At(day(6), 1), OverrideKind::Grant, None);
    // Settling would take it back, because a connection works.
    record.decisions.broken_since = Some(day(12));
    record
}

fn invitations() -> Vec<(i64, Fact)> {
    let mut news = Vec::new();
    for (nth, id, decision, claim) in [
        (
            0,
            "a",
            Decision::Accepted,
            Claim::Requested(Some("request-1".to_owned())),
        ),
        (1, "b", Decision::Expired, Claim::Requested(None)),
        (2, "c", Decision::Declined(None), Claim::Failed),
        (
            3,
            "d",
            Decision::Declined(Some("too dear".to_owned())),
            Claim::Unclear,
        ),
        (4, "e", Decision::Deleted, Claim::Connected),
        (5, "f", Decision::Open, Claim::Connected),
    ] {
        let start = 10 * nth;
        for (on, was) in [
            (start, InvitationFact::Ends(day(start + 30))),
            (start, InvitationFact::Sent),
            (start + 1, InvitationFact::Viewed),
            (start + 2, InvitationFact::Claim(claim)),
            (start + 2, InvitationFact::Decision(decision)),
        ] {
            let invitation = id.repeat(8);
            news.push((on, Fact::Invitation { invitation, was }));
        }
    }
    for (invitation, kind) in [("e", Some("MC")), ("f", None)] {
        let was = InvitationFact::InvitedAs(number(kind, "0123-4567"));
        let invitation = invitation.repeat(8);
        news.push((50, Fact::Invitation { invitation, was }));
    }
    news
}

fn number(kind: Option<&str>, id: &str) -> RegulatoryId {
    RegulatoryId {
        kind: kind.map(str::to_owned),
        id: id.to_owned(),
    }
}

fn agreements() -> Vec<(i64, Fact)> {
    let scopes = || {
        let unknown = Level::Unknown("write".to_owned());
        let levels = [
            ("driver", Level::ReadWrite),
            ("trailer", unknown),
            ("vehicle", Level::Read),
        ];
        let owned = |(resource, level): (&str, _)| (resource.to_owned(), level);
        Some(levels.map(owned).into())
    };
    let dates = |from, until| (Some(day(from)), Some(day(until)));
    let mut news = Vec::new();
    for (nth, status, scopes, (effective, ends)) in [
        (1, AgreementStatus::Paused, None, (None, None)),
        (
            2,
            AgreementStatus::Expired,
            Some(BTreeMap::new()),
            dates(4, 201),
        ),
        (3, AgreementStatus::Cancelled, scopes(), dates(5, 202)),
        (4, AgreementStatus::Deleted, scopes(), dates(6, 203)),
        (
            5,
            AgreementStatus::Unknown("suspended".to_owned()),
            scopes(),
            dates(7, 204),
        ),
        (6, AgreementStatus::Active, scopes(), dates(8, 205)),
    ] {
        for (on, status) in [(2 + nth, AgreementStatus::Active), (20 + nth, status)] {
            let agreement = Agreement {
                status,
                scopes: scopes.clone(),
                effective,
                ends,
            };
            let id = format!("agreement-{nth}");
            let made = (nth > 3).then(|| day(nth));
            let fact = Fact::Agreement {
                id,
                made,
                agreement,
            };
            news.push((on, fact));
        }
    }
    news
}

fn connections() -> Vec<(i64, Fact)> {
    let mut news = Vec::new();
    for (nth, state) in [
        (1, ConnectionState::Active),
        (2, ConnectionState::Paused),
        (3, ConnectionState::Stale),
        (4, ConnectionState::Failed),
        (5, ConnectionState::Cancelled),
        (6, ConnectionState::Deleted),
    ] {
        let connection = format!("connection-{nth}");
        news.push((
            5,
            Fact::Linked {
                connection: connection.clone(),
            },
        ));
        let was = ConnectionFact::State(state);
        news.push((30 + nth, Fact::Connection { connection, was }));
    }
    let schedule = |id: &str, stopped, resource: Option<&str>| ConnectionFact::Schedule {
        id: id.to_owned(),
        schedule: Schedule {
            stopped,
            resource: resource.map(str::to_owned),
        },
    };
    let limbo = ConnectionState::Unknown("limbo".to_owned());
    for (id, was) in [
        ("connection-7", ConnectionFact::State(limbo)),
        ("connection-1", ConnectionFact::Source("samsara".to_owned())),
        (
            "connection-1",
            schedule("schedule-1", true, Some("vehicle")),
        ),
        ("connection-1", schedule("schedule-2", false, None)),
    ] {
        let connection = id.to_owned();
        news.push((40, Fact::Connection { connection, was }));
    }
    news
}

fn requests() -> [(i64, Fact); 2] {
    let request = |id: &str, invitation, live_as: &[&str]| Fact::Request {
        id: id.to_owned(),
        request: IntegrationRequest {
            created: day(2),
            provider: "Rare Telematics".to_owned(),
            provider_id: "unsupported-7".to_owned(),
            invitation,
            live_as: live_as.iter().map(|it| (*it).to_owned()).collect(),
        },
    };
    [
        (
            4,
            request("request-1", Some("a".repeat(8)), &["rare", "rarer"]),
        ),
        (4, request("request-2", None, &[])),
    ]
}

fn fixture(schema: u32) -> String {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let path = format!("{manifest}/tests/fixtures/record-schema-{schema}.json");
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// Days after 2026-01-01.
fn day(day: i64) -> Timestamp {
    Timestamp(1_767_225_600_000 + day * DAY)
}

const DAY: i64 = 24 * 60 * 60 * 1000;

//! Whether the records say what holds at Catena. What a record should say is found here from the simulator's truth by plain rules, not
//! by the project's own derivations.

use std::collections::{BTreeMap, BTreeSet};

use catena::InvitationHash;
use fleet::{Facts, FleetRef, Policy, Register, Stage};
use serde_json::json;
use simulator::{
    AgreementStatus, AgreementTruth, ConnectionStatus, InvitationStatus, ScheduleStatus, Simulator,
    Truth,
};
use store::{StoredRecord, Table, timestamp};
use time::OffsetDateTime;

/// What counts about a fleet.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    stage: String,
    admission: &'static str,
    data_scopes: BTreeMap<String, String>,
    invitation: Option<(String, &'static str)>,
    agreement: Option<Agreed>,
    /// How each of its connections counts, by id.
    connections: BTreeMap<String, String>,
    catena_fleet: Option<String>,
}

/// What counts about a share agreement; dates in milliseconds.
#[derive(Debug, PartialEq)]
struct Agreed {
    id: String,
    status: String,
    scopes: BTreeMap<String, String>,
    effective: Option<i64>,
    ends: Option<i64>,
}

/// Fleets whose record doesn't say what holds at Catena: what it says, and what it should.
pub(crate) async fn differing(
    simulator: &Simulator,
    table: &Table,
    policy: &Policy,
) -> BTreeMap<String, (Said, Said)> {
    let fleets = simulator.fleet_refs();
    let wanted = fleets.iter().map(|fleet| FleetRef::parse(fleet).unwrap());
    let wanted = wanted.collect();
    let found = table.look_up(&BTreeSet::new(), &wanted).await.unwrap();
    let mut records = found.records;
    let mut differing = BTreeMap::new();
    for fleet in fleets {
        let record = records.remove(&FleetRef::parse(&fleet).unwrap());
        let record = record.unwrap().unwrap();
        let truth = simulator.truth(&fleet).unwrap();
        let facts = &record.record.facts;
        let expected = expected(&truth, facts);
        let found = found_in(&record, policy);
        if found != expected || record.version == 0 {
            differing.insert(fleet, (found, expected));
        }
    }
    differing
}

/// What a record says.
fn found_in(stored: &StoredRecord, policy: &Policy) -> Said {
    let facts = &stored.record.facts;
    let now = timestamp(OffsetDateTime::now_utc());
    let standing = stored.record.standing(policy, now);
    let invitation = facts.newest_invitation_by_hash();
    let invitation = invitation.map(|(hash, known)| {
        let decision = match known.stands(now) {
            fleet::Decision::Open => "active",
            fleet::Decision::Accepted => "accepted",
            fleet::Decision::Expired => "expired",
            fleet::Decision::Declined(_) => "declined",
            fleet::Decision::Deleted => "deleted",
        };
        (hash.to_owned(), decision)
    });
    let agreement = facts.newest_agreement().map(|(id, known)| {
        let current = known.current.value();
        Agreed {
            id: id.to_owned(),
            status: current.status.as_str().to_owned(),
            scopes: words(&json!(current.scopes)),
            effective: current.effective.map(|at| at.0),
            ends: current.ends.map(|at| at.0),
        }
    });
    let linked = facts.connections.iter();
    let linked = linked.filter(|(_, link)| link.linked.is_some());
    let connections = linked.map(|(id, link)| {
        let state = link
            .state()
            .map_or("active", |state| state.value().as_str());
        (id.clone(), state.to_owned())
    });
    Said {
        stage: match standing.stage {
            // No answer of Catena's tells whether an invitation was opened.
            Stage::Viewed => Stage::Invited.as_str().to_owned(),
            stage => stage.as_str().to_owned(),
        },
        admission: standing.admission.as_str(),
        data_scopes: words(&json!(standing.data_scopes)),
        invitation,
        agreement,
        connections: connections.collect(),
        catena_fleet: facts.catena_fleet.as_ref().map(|it| it.value().clone()),
    }
}

/// What a record should say. Connections that are over count if they were ever heard of, which depends on what got lost.
fn expected(truth: &Truth, heard: &Facts) -> Said {
    let heard = heard.connections.iter();
    let heard = heard.filter(|(_, link)| link.linked.is_some());
    let heard: BTreeSet<&String> = heard.map(|(id, _)| id).collect();
    // What vanished is over as well.
    let mut connections: BTreeMap<String, String> = heard
        .iter()
        .map(|id| ((*id).clone(), "deleted".to_owned()))
        .collect();
    for connection in &truth.connections {
        let id = connection.id.to_string();
        let state = words_of(&json!(connection.status));
        if !is_over(connection.status) || heard.contains(&id) {
            connections.insert(id, state);
        }
    }
    let live = connections.values().any(|state| state == "active");
    let over = ["deleted", "cancelled"];
    let mendable = connections.values().any(|it| !over.contains(&it.as_str()));

    let agreement = truth.agreement.as_ref();
    let holds = agreement.is_some_and(in_force);
    let ended = agreement.is_some_and(|agreement| {
        let over = agreement.expiration_date;
        let over = over.is_some_and(|ends| ends <= OffsetDateTime::now_utc());
        over || !matches!(
            agreement.status,
            AgreementStatus::Active | AgreementStatus::Paused
        )
    });
    let requested = !truth.integration_requests.is_empty();
    let can_connect = truth.integration_requests.iter().any(|it| it.live);
    let (stage, admission) = match truth.invitation_status {
        InvitationStatus::Active => ("invited", "none"),
        InvitationStatus::Declined => ("declined", "none"),
        InvitationStatus::Expired | InvitationStatus::Deleted => ("expired", "none"),
        InvitationStatus::Accepted if ended => ("disconnected", "none"),
        InvitationStatus::Accepted if !connections.is_empty() => match (live, mendable, holds) {
            (_, false, _) => ("disconnected", "none"),
            (_, true, false) => ("degraded", "none"),
            (true, true, true) => ("connected", "full"),
            (false, true, true) => ("degraded", "grace"),
        },
        InvitationStatus::Accepted => match (requested, can_connect, holds) {
            (true, true, true) => ("reconnect_ready", "provisional"),
            (true, true, false) => ("reconnect_ready", "none"),
            (true, false, true) => ("requested", "provisional"),
            (true, false, false) => ("requested", "none"),
            (false, ..) => ("accepted", "none"),
        },
    };
    let hash = InvitationHash::of(&truth.invitation_id.to_string());
    Said {
        stage: stage.to_owned(),
        admission,
        data_scopes: match agreement.filter(|_| holds) {
            Some(agreement) => agreement.scopes.clone(),
            None => BTreeMap::new(),
        },
        invitation: Some((
            hash.as_str().to_owned(),
            match truth.invitation_status {
                InvitationStatus::Active => "active",
                InvitationStatus::Accepted => "accepted",
                InvitationStatus::Declined => "declined",
                InvitationStatus::Expired => "expired",
                InvitationStatus::Deleted => "deleted",
            },
        )),
        agreement: agreement.map(|agreement| Agreed {
            id: agreement.id.to_string(),
            status: words_of(&json!(agreement.status)),
            scopes: agreement.scopes.clone(),
            effective: Some(timestamp(agreement.effective_date).0),
            ends: agreement.expiration_date.map(|ends| timestamp(ends).0),
        }),
        connections,
        catena_fleet: truth.fleet_id.map(|id| id.to_string()),
    }
}

fn in_force(agreement: &AgreementTruth) -> bool {
    let now = OffsetDateTime::now_utc();
    agreement.status == AgreementStatus::Active
        && agreement.effective_date <= now
        && agreement.expiration_date.is_none_or(|ends| now < ends)
}

fn is_over(status: ConnectionStatus) -> bool {
    matches!(
        status,
        ConnectionStatus::Deleted | ConnectionStatus::Cancelled
    )
}

fn words(map: &serde_json::Value) -> BTreeMap<String, String> {
    serde_json::from_value(map.clone()).unwrap_or_default()
}

fn words_of(word: &serde_json::Value) -> String {
    word.as_str().unwrap_or_default().to_owned()
}

/// Schedules that a record calls stopped and that run at Catena: nobody announces that they run again.
pub(crate) fn wrongly_stopped(truth: &Truth, facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    for connection in &truth.connections {
        let id = connection.id.to_string();
        let Some(link) = facts.connections.get(&id) else {
            continue;
        };
        let stopped = link.connection.schedules.values();
        let stopped = stopped.filter(|it| it.value().stopped && Some(it.at()) >= link.linked);
        for schedule in stopped.map(Register::value) {
            let resource = schedule.resource.clone().unwrap_or_default();
            if connection.schedules.get(&resource) == Some(&ScheduleStatus::Active) {
                wrong.push(format!("{id}: {resource}"));
            }
        }
    }
    wrong
}

//! Made-up truths: what Catena holds of a fleet, what webhooks told of it, and what they told of times before.

use std::collections::{BTreeMap, BTreeSet};

use catena::Instant;
use fastrand::Rng;
use fleet::{Fact, Observation, Record};
use reconciliation::Answers;
use serde_json::{Value, json};

use crate::written::{OBSERVED, at, fleet, instant, listed_at, observation};

/// What Catena holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    invitations: Vec<Value>,
    agreements: Vec<Value>,
    fleets: Vec<Value>,
    connections: Vec<Value>,
    schedules: Vec<Value>,
    requests: Vec<Value>,
    refuses_requests: bool,
}

impl World {
    /// Anything.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let mut world = Self {
            refuses_requests: rng.u8(..10) == 0,
            ..Self::default()
        };
        for nth in 0..rng.usize(..4) {
            let status = pick(
                rng,
                &["active", "accepted", "declined", "expired", "deleted"],
            );
            world.invitations.push(invitation(rng, nth, status));
        }
        for nth in 0..rng.usize(..4) {
            let status = pick(rng, &AGREEMENTS);
            world.agreements.push(agreement(rng, nth, status));
        }
        // Catena lists those with an active agreement (contract 3.2).
        let active = world
            .agreements
            .iter()
            .filter(|it| it["status"] == "active");
        let fleets: BTreeSet<&str> = active.filter_map(|it| it["fleet_id"].as_str()).collect();
        world.fleets = fleets.iter().map(|id| itself(rng, id)).collect();
        for nth in 0..rng.usize(..4) {
            let status = pick(rng, &CONNECTIONS);
            world.connections.push(connection(rng, nth, status));
            let status = pick(rng, &["active", "inactive", "stale", "deleted", "resting"]);
            world.schedules.push(json!({
                "id": format!("S{nth}"), "connection_id": format!("C{nth}"), "resource": "vehicle",
                "status": status,
            }));
        }
        for nth in 0..rng.usize(..3) {
            world.requests.push(request(rng, nth));
        }
        world
    }

    /// One whose rights don't depend on when we heard of it: one invitation, accepted before all else if there is anything else, and
    /// nothing that is over, except for agreements before the newest.
    pub(crate) fn plain(rng: &mut Rng) -> Self {
        let mut world = Self::default();
        if rng.bool() {
            let status = pick(rng, &["active", "declined", "expired"]);
            world.invitations.push(invitation(rng, 0, status));
            return world;
        }
        let accepted = json!({
            "created_at": instant(100), "expires_at": instant(OBSERVED * 2), "expires_in_hours": null,
            "accepted_at": instant(200), "partner_id": "us",
        });
        let mut accepted_one = invitation(rng, 0, "accepted");
        change(&mut accepted_one, &accepted);
        world.invitations.push(accepted_one);
        for nth in 0..rng.usize(1..4) {
            let status = match world.agreements.is_empty() {
                true => pick(rng, &["active", "active", "paused", "dormant"]),
                false => pick(rng, &AGREEMENTS),
            };
            // The newest one is the first.
            world.agreements.push(agreement(rng, 9 - nth, status));
        }
        if rng.bool() {
            world.requests.push(request(rng, 0));
            let ours = json!({ "partner_id": "us", "invitation_hash": "I0" });
            world.requests.iter_mut().for_each(|it| change(it, &ours));
        } else {
            for nth in 0..rng.usize(..3) {
                let status = pick(rng, &["active", "stale", "failed", "paused"]);
                world.connections.push(connection(rng, nth, status));
            }
        }
        world
    }

    /// Everything, as it is answered at a moment; what a record has and there isn't is gone.
    pub(crate) fn answers(&self, record: &Record, seconds: i64) -> Answers {
        let mut schedules: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for it in &self.schedules {
            let connection = it["connection_id"].as_str().expect("an id");
            schedules
                .entry(connection.to_owned())
                .or_default()
                .push(it.clone());
        }
        let schedules = schedules.into_iter();
        let schedules = schedules.filter_map(|(id, all)| Some((id, listed_at(seconds, all)?)));
        let served = Some(&self.requests).filter(|_| !self.refuses_requests);
        let mut answers = Answers {
            invitations: listed_at(seconds, self.invitations.clone()),
            all_invitations: true,
            agreements: listed_at(seconds, self.agreements.clone()),
            fleet: listed_at(seconds, self.fleets.clone()),
            connections: listed_at(seconds, self.connections.clone()),
            requests: served.and_then(|all| listed_at(seconds, all.clone())),
            requests_refused: self.refuses_requests.then(|| instant(seconds)),
            schedules: schedules.collect(),
            gone: BTreeMap::new(),
        };
        let gone = answers.missing_agreements(record).into_iter();
        let gone = gone.chain(answers.missing_connections(record));
        answers.gone = gone.map(|id| (id, instant(seconds))).collect();
        answers
    }

    /// What webhooks told of it, all of it.
    pub(crate) fn webhooks(&self, rng: &mut Rng) -> Vec<Observation> {
        let whole = self.answers(&Record::default(), OBSERVED);
        let told = whole.differences(&fleet(), &Record::default());
        let mut webhooks = Vec::new();
        for (nth, mut told) in (0..).zip(told) {
            if told.at.time() == at(OBSERVED) {
                told.at.0 = match told.fact {
                    // Of one fact only the last is so.
                    Fact::Name(_) | Fact::CatenaFleet(_) | Fact::Regulatory(_) => at(PAST + nth),
                    _ => at(rng.i64(60_000..PAST)),
                };
            }
            webhooks.push(told);
        }
        // A fleet is linked before its connection is said to stand in any way.
        let first = at(40_000);
        for told in &mut webhooks {
            if matches!(told.fact, Fact::Linked { .. }) {
                told.at.0 = first;
            }
        }
        webhooks
    }

    /// What isn't so of the same things any more.
    pub(crate) fn outdated(&self, rng: &mut Rng) -> Vec<Observation> {
        let mut outdated = Vec::new();
        for it in &self.agreements {
            let status = pick(rng, &["active", "paused", "cancelled"]);
            let id = it["id"].as_str().expect("an id");
            let when = rng.i64(50_000..60_000);
            // Made when its id says, as in every webhook.
            let made = (Instant::of_id(id).expect("a UUIDv7").millis() - at(0).0) / 1000;
            outdated.push(observation(&format!(
                "{when} agreement {id} {status} made {made}"
            )));
        }
        for it in &self.connections {
            let status = pick(rng, &["active", "stale", "failed"]);
            let id = it["id"].as_str().expect("an id");
            // Also after the time that Catena gives what is so now.
            let when = rng.i64(40_001..PAST);
            outdated.push(observation(&format!("40000 linked {id}")));
            outdated.push(observation(&format!("{when} state {id} {status}")));
        }
        outdated
    }
}

/// A record of anything about the things of any world, and of others.
pub(crate) fn wild(rng: &mut Rng, until: i64) -> Record {
    let mut record = Record::default();
    for _ in 0..rng.usize(..25) {
        let when = rng.i64(0..until);
        let nth = rng.usize(..5);
        let agreement = agreement_id(nth);
        let text = match rng.u8(..20) {
            0 => format!("{when} name N{nth}"),
            1 => format!("{when} catena F{nth}"),
            2 => format!("{when} number DOT {nth}"),
            3 => format!("{when} created I{nth}"),
            4 => format!("{when} ends I{nth} {}", rng.i64(0..2 * OBSERVED)),
            5 => format!("{when} open I{nth}"),
            6 => format!("{when} accepted I{nth}"),
            7 => format!("{when} declined I{nth}"),
            8 => format!("{when} expired I{nth}"),
            9 => format!("{when} deleted I{nth}"),
            10 | 11 => format!("{when} agreement {agreement} {}", pick(rng, &AGREEMENTS)),
            12 | 13 => format!("{when} linked C{nth}"),
            14 | 15 => format!("{when} state C{nth} {}", pick(rng, &CONNECTIONS)),
            16 => format!(
                "{when} schedule C{nth} S{nth} {}",
                pick(rng, &["stopped", "runs"])
            ),
            17 => format!("{when} request R{nth} I{nth}"),
            18 => format!("{when} request R{nth} I{nth} P"),
            _ => format!("{when} {}", pick(rng, &["refused", "served"])),
        };
        record = record.fold(&observation(&text));
    }
    record
}

/// So long before answers were given that no list may lag.
pub(crate) const PAST: i64 = OBSERVED - 7_200;

const AGREEMENTS: [&str; 6] = [
    "active",
    "active",
    "paused",
    "cancelled",
    "deleted",
    "dormant",
];
const CONNECTIONS: [&str; 7] = [
    "active",
    "stale",
    "failed",
    "paused",
    "cancelled",
    "deleted",
    "resting",
];

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

fn change(it: &mut Value, by: &Value) {
    let fields = it.as_object_mut().expect("an object");
    fields.extend(by.as_object().expect("an object").clone());
}

/// Sometimes nothing.
fn perhaps(rng: &mut Rng, it: impl Into<Value>) -> Value {
    match rng.u8(..4) {
        0 => Value::Null,
        _ => it.into(),
    }
}

fn moment(rng: &mut Rng, from: i64, until: i64) -> Value {
    json!(instant(rng.i64(from..until)))
}

fn invitation(rng: &mut Rng, nth: usize, status: &str) -> Value {
    let hours = rng.i64(1..8);
    let opened = rng.i64(100..60_000);
    let (accepted, declined) = (moment(rng, opened, PAST), moment(rng, opened, PAST));
    let of = |it: &str, moment: Value| Some(moment).filter(|_| it == status);
    let (created, name) = (rng.i64(50..=opened), format!("Invited{}", rng.u8(..3)));
    json!({
        "invitation_hash": format!("I{nth}"), "fleet_ref": "FLEET-1", "status": status,
        "partner_id": "us", "created_at": instant(created), "expires_in_hours": hours,
        "expires_at": instant(opened + hours * 3600), "fleet_name": perhaps(rng, name),
        "accepted_at": of("accepted", accepted), "declined_at": of("declined", declined),
        "fleet_id": perhaps(rng, format!("F{nth}")),
    })
}

/// The id of an agreement that was made the later the greater its number.
fn agreement_id(nth: usize) -> String {
    let millis = at(300 + nth as i64 * 10).0;
    let (high, low) = (millis >> 16, millis & 0xffff);
    format!("{high:08x}-{low:04x}-7000-8000-{nth:012x}")
}

fn agreement(rng: &mut Rng, nth: usize, status: &str) -> Value {
    let resource = pick(rng, &["vehicle", "user"]);
    json!({
        "id": agreement_id(nth), "fleet_id": format!("F{}", rng.u8(..2)), "fleet_ref": "FLEET-1",
        "partner_id": "us", "status": status, "scopes": { resource: pick(rng, &["read", "read_write"]) },
        "effective_date": match rng.u8(..5) {
            0 => moment(rng, OBSERVED + 10_000, OBSERVED + 15_000),
            _ => moment(rng, 300, PAST),
        },
        "expiration_date": match rng.bool() {
            true => Value::Null,
            false => moment(rng, OBSERVED + 20_000, OBSERVED + 50_000),
        },
    })
}

fn itself(rng: &mut Rng, id: &str) -> Value {
    let (name, number) = (format!("Named{}", rng.u8(..3)), format!("{}", rng.u8(..3)));
    json!({
        "id": id, "fleet_ref": "FLEET-1", "name": perhaps(rng, name),
        "regulatory_id": perhaps(rng, number), "regulatory_id_type": "DOT",
        "created_at": moment(rng, 100, 60_000),
        "updated_at": match rng.bool() { true => Value::Null, false => moment(rng, 100, PAST) },
    })
}

fn connection(rng: &mut Rng, nth: usize, status: &str) -> Value {
    let updated = match rng.u8(..4) {
        0 => Value::Null,
        // Another clock.
        1 => moment(rng, PAST, 2 * OBSERVED),
        _ => moment(rng, 60_000, PAST),
    };
    json!({
        "id": format!("C{nth}"), "fleet_id": "F0", "fleet_ref": perhaps(rng, "FLEET-1"), "status": status,
        "source_name": perhaps(rng, "samsara"), "updated_at": updated,
    })
}

fn request(rng: &mut Rng, nth: usize) -> Value {
    let created = rng.i64(500..60_000);
    let updated = moment(rng, created, PAST);
    json!({
        "id": format!("R{nth}"), "fleet_ref": "FLEET-1", "partner_id": pick(rng, &["us", "them"]),
        "invitation_hash": format!("I{}", rng.u8(..4)), "ext_tsp_name": "Nomad",
        "integrated_tsp_ids": match rng.bool() { true => json!([]), false => json!(["P"]) },
        "created_at": instant(created), "updated_at": perhaps(rng, updated),
    })
}

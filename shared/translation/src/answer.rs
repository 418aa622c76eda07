//! What an answer of Catena's API says.
//!
//! Who asked knows the fleet, so all but [`translate_answer`] tell observations alone, without those that have an id that is empty
//! or longer than any of Catena's.

use catena::{
    Connection, EventName, Fleet, Instant, IntegrationRequest, Invitation, Schedule, ShareAgreement,
};
use fleet::{Fact, Observation, RegulatoryId};

use crate::{
    Translation,
    observer::Observer,
    resource::{of_agreement, of_connection, of_invitation, of_schedule},
    words::{bounded, is_stopped, timestamp},
};

/// Translates what Catena's API answered about an invitation. What has no business time of its own was so at `observed`, and
/// nothing in the answer happened after `latest`.
pub fn translate_answer(
    invitation: &Invitation,
    observed: Instant,
    latest: Instant,
) -> Translation {
    let mut observer = Observer::of_answer(observed, latest);
    let mut translation = of_invitation(&no_event(), invitation, &mut observer);
    translation.observations = observer.observations;
    translation
}

/// What a share agreement says, as observations: itself and Catena's id of the fleet, both so at `observed`, since it has no
/// business time of its own (contract 3.3).
pub fn share_agreement(answer: &ShareAgreement, observed: Instant) -> Vec<Observation> {
    let mut observer = Observer::of_answer(observed, observed);
    of_agreement(&no_event(), answer, &mut observer);
    observer.bearable()
}

/// What a connection says, as observations: its state and its source, at its `updated_at` or else at `observed`. Not that a
/// fleet's data flows through it, for which `fleet_connection.created` is to be relied on (contract 5.1).
pub fn connection(answer: &Connection, observed: Instant) -> Vec<Observation> {
    let mut observer = Observer::of_answer(observed, observed);
    of_connection(&no_event(), answer, &mut observer);
    observer.bearable()
}

/// What a schedule of a connection says, as observations: whether it stopped, at `observed`, since no schedule says when it last
/// changed (contract 5.2). A schedule with no status says nothing; one with a status that isn't known has stopped, because
/// nothing proves that it runs.
pub fn schedule(connection: &str, answer: &Schedule, observed: Instant) -> Vec<Observation> {
    let mut observer = Observer::of_answer(observed, observed);
    if let Some(status) = &answer.status {
        of_schedule(connection, answer, is_stopped(status), &mut observer);
    }
    observer.bearable()
}

/// What an integration request says, as observations: itself, at its `updated_at` or else at `observed`. Nothing if it doesn't
/// say when it was made: provisional access counts from then. Whether it is a request to us, its `partner_id` and
/// `invitation_hash` say, which are for the caller to check (contract 4.3).
pub fn integration_request(answer: &IntegrationRequest, observed: Instant) -> Vec<Observation> {
    let Some(created) = answer.created_at else {
        return Vec::new();
    };
    let provider = answer.ext_tsp_name.as_ref();
    let invitation = answer.invitation_hash.as_ref();
    let live_as = answer.integrated_tsp_ids.iter().flatten().cloned();
    let request = fleet::IntegrationRequest {
        created: timestamp(created),
        provider: provider.map(bounded).unwrap_or_default(),
        provider_id: answer.ext_tsp_id.clone().unwrap_or_default(),
        invitation: invitation.map(|hash| hash.as_str().to_owned()),
        live_as: live_as.collect(),
    };
    let id = answer.id.clone();
    let mut observer = Observer::of_answer(observed, observed);
    observer.observe(answer.updated_at, Fact::Request { id, request });
    observer.bearable()
}

/// What a fleet says, as observations: Catena's id of it, its name and its regulatory id, at its `updated_at` or else at `observed`. Catena's
/// placeholder for a fleet without a name is no name (contract 3.2).
pub fn fleet(answer: &Fleet, observed: Instant) -> Vec<Observation> {
    let mut observer = Observer::of_answer(observed, observed);
    let mut observe = |fact| observer.observe(answer.updated_at, fact);
    observe(Fact::CatenaFleet(answer.id.clone()));
    if let Some(name) = answer.shown_name() {
        observe(Fact::Name(bounded(name)));
    }
    let number = answer.regulatory_id.as_ref();
    if let Some(id) = number.filter(|id| !id.trim().is_empty()) {
        observe(Fact::Regulatory(RegulatoryId {
            kind: answer.regulatory_id_type.as_ref().map(bounded),
            id: bounded(id),
        }));
    }
    observer.bearable()
}

fn no_event() -> EventName {
    EventName::from(String::new())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use catena::scrub_record;
    use fleet::{
        Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Decision, FleetRef, Level,
        Timestamp,
    };
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::samples::{decision, invitation, millis};

    /// An item of a list as Catena answers it, changed by `extra` and scrubbed.
    fn read<T: DeserializeOwned>(list: &str, extra: Value) -> T {
        let list: Value = serde_json::from_str(list).unwrap();
        let items = list.get("items").unwrap_or(&list);
        let mut record = items[0].clone();
        let fields = record.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        scrub_record(&mut record, false);
        serde_json::from_value(record).unwrap()
    }

    fn observed() -> Instant {
        Instant::parse_rfc3339(OBSERVED).unwrap()
    }

    fn at(text: &str, fact: Fact) -> Observation {
        let at = At(Timestamp(millis(text)), 0);
        Observation { at, fact }
    }

    fn of_the_connection(was: ConnectionFact) -> Fact {
        let connection = CONNECTION.to_owned();
        Fact::Connection { connection, was }
    }

    /// Ids that no key can be made of.
    fn unbearable() -> [String; 2] {
        [String::new(), "x".repeat(257)]
    }

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../../tests/fixtures/samples/api/", $name))
        };
    }

    const OBSERVED: &str = "2026-05-05T00:00:00Z";
    const CONNECTION: &str = "019ddd87-eedd-710f-967c-1c6cc72ac985";
    const FLEET: &str = "3f0c2a7e-6a3b-4c55-9d0e-5b1f7a2c4d10";
    const INVITATION: &str = "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3";
    const AGREEMENTS: &str = sample!("share-agreements.list.response.200.json");
    const CONNECTIONS: &str = sample!("connections.list.response.200.json");
    const SCHEDULES: &str = sample!("schedules.list.response.200.json");
    const PENDING: &str = sample!("integration-requests.list.response.pending.json");
    const LIVE: &str = sample!("integration-requests.list.response.live.json");
    const FLEETS: &str = sample!("fleets.list.response.200.json");

    #[test]
    fn an_agreement_was_so_when_it_was_read() {
        let id = "019df1a6-91c4-7d02-a1b8-7f3e5c2d9a64";
        let levels = [
            ("user", Level::Read),
            ("vehicle", Level::Read),
            ("vehicle_location", Level::Read),
            ("message", Level::ReadWrite),
        ];
        let scopes = levels.map(|(resource, level)| (resource.to_owned(), level));
        let agreement = Agreement {
            status: AgreementStatus::Active,
            scopes: Some(BTreeMap::from(scopes)),
            effective: Some(Timestamp(millis("2026-05-04T08:06:11.7Z"))),
            ends: None,
        };
        let made = Instant::of_id(id).map(timestamp);
        assert!(made.is_some());
        let fact = |agreement| Fact::Agreement {
            id: id.to_owned(),
            made,
            agreement,
        };
        let known = Fact::CatenaFleet(FLEET.to_owned());
        assert_eq!(
            share_agreement(&read(AGREEMENTS, json!({})), observed()),
            [
                at(OBSERVED, fact(agreement.clone())),
                at(OBSERVED, known.clone())
            ]
        );
        for (status, expected) in [
            ("paused", AgreementStatus::Paused),
            ("expired", AgreementStatus::Expired),
            ("cancelled", AgreementStatus::Cancelled),
            ("deleted", AgreementStatus::Deleted),
            (
                "suspended",
                AgreementStatus::Unknown("suspended".to_owned()),
            ),
        ] {
            let read = read(AGREEMENTS, json!({ "status": status }));
            let status = expected;
            let agreement = Agreement {
                status,
                ..agreement.clone()
            };
            let told = share_agreement(&read, observed());
            assert_eq!(
                told,
                [at(OBSERVED, fact(agreement)), at(OBSERVED, known.clone())]
            );
        }
    }

    #[test]
    fn a_connection_is_timed_by_itself_and_links_nothing() {
        for (extra, when, state) in [
            (json!({}), "2026-05-04T08:09:40Z", ConnectionState::Active),
            (
                json!({ "status": "stale", "updated_at": "2026-05-04T09:00:00Z" }),
                "2026-05-04T09:00:00Z",
                ConnectionState::Stale,
            ),
            (
                json!({ "updated_at": null, "status": "resting" }),
                OBSERVED,
                ConnectionState::Unknown("resting".to_owned()),
            ),
        ] {
            let state = of_the_connection(ConnectionFact::State(state));
            let source = of_the_connection(ConnectionFact::Source("samsara".to_owned()));
            assert_eq!(
                connection(&read(CONNECTIONS, extra), observed()),
                [at(when, state), at(when, source)]
            );
        }
    }

    #[test]
    fn a_schedule_runs_only_if_its_status_says_so() {
        for (status, stopped) in [
            ("active", false),
            ("inactive", true),
            ("paused", true),
            ("stale", true),
            ("deleted", true),
            ("cancelled", true),
            ("cancelled_insufficient_scope", true),
            ("resting", true),
        ] {
            let read = read(SCHEDULES, json!({ "status": status }));
            let was = ConnectionFact::Schedule {
                id: "019df1a8-5a10-7c4e-b5a2-9e8d7c6b5a43".to_owned(),
                schedule: fleet::Schedule {
                    stopped,
                    resource: Some("vehicle_location".to_owned()),
                },
            };
            assert_eq!(
                schedule(CONNECTION, &read, observed()),
                [at(OBSERVED, of_the_connection(was))],
                "{status}"
            );
        }
        let silent = read(SCHEDULES, json!({ "status": null }));
        assert_eq!(schedule(CONNECTION, &silent, observed()), []);
    }

    #[test]
    fn a_request_is_known_by_its_invitations_hash_and_timed_by_itself() {
        let pending = fleet::IntegrationRequest {
            created: Timestamp(millis("2026-05-04T08:08:30Z")),
            provider: "Nomad ELD".to_owned(),
            provider_id: "019d6a63-e072-7bcf-a03b-e51a72a4c855".to_owned(),
            invitation: Some(
                "ddafb3f1b1ace8f5b05bba6e39e4e53ceb0e5ac177185b53cb8a2fe45eb99ba0".to_owned(),
            ),
            live_as: BTreeSet::new(),
        };
        let live = fleet::IntegrationRequest {
            live_as: BTreeSet::from(["7e1d2c3b-4a59-4687-9687-a5b4c3d2e1f0".to_owned()]),
            ..pending.clone()
        };
        for (sample, extra, when, request) in [
            (PENDING, json!({}), "2026-05-04T08:08:30Z", &pending),
            (LIVE, json!({}), "2026-07-15T12:00:00Z", &live),
            (PENDING, json!({ "updated_at": null }), OBSERVED, &pending),
        ] {
            let told = integration_request(&read(sample, extra), observed());
            let id = "5c06372b-5b5a-4477-88ee-6cd8d3b55efb".to_owned();
            let request = request.clone();
            assert_eq!(told, [at(when, Fact::Request { id, request })]);
            assert!(!format!("{told:?}").contains(INVITATION));
        }
    }

    #[test]
    fn a_request_that_was_made_at_no_time_says_nothing() {
        let timeless = read(PENDING, json!({ "created_at": null }));
        assert_eq!(integration_request(&timeless, observed()), []);
    }

    #[test]
    fn a_fleet_has_the_name_that_it_gave_itself() {
        let placeholder = format!("Fleet {INVITATION}");
        let long = "ö".repeat(501);
        for (extra, when, name) in [
            (json!({}), "2026-05-04T08:06:10Z", Some("Acme Trucking")),
            (
                json!({ "display_name": "Acme" }),
                "2026-05-04T08:06:10Z",
                Some("Acme"),
            ),
            (
                json!({ "display_name": " " }),
                "2026-05-04T08:06:10Z",
                Some("Acme Trucking"),
            ),
            (
                json!({ "updated_at": null }),
                OBSERVED,
                Some("Acme Trucking"),
            ),
            (json!({ "name": placeholder }), "2026-05-04T08:06:10Z", None),
            (json!({ "name": "" }), "2026-05-04T08:06:10Z", None),
            (
                json!({ "name": long }),
                "2026-05-04T08:06:10Z",
                Some(&long[2..]),
            ),
        ] {
            let told = fleet(&read(FLEETS, extra.clone()), observed());
            let id = at(when, Fact::CatenaFleet(FLEET.to_owned()));
            let name = name.map(|name| at(when, Fact::Name(name.to_owned())));
            let number = at(when, Fact::Regulatory(number()));
            let expected: Vec<_> = [id].into_iter().chain(name).chain([number]).collect();
            assert_eq!(told, expected, "{extra}");
        }
        for none in [json!(null), json!(" ")] {
            let told = fleet(&read(FLEETS, json!({ "regulatory_id": none })), observed());
            assert!(!told.iter().any(|it| matches!(it.fact, Fact::Regulatory(_))));
        }
    }

    /// That of the fleet in the sample.
    fn number() -> RegulatoryId {
        RegulatoryId {
            kind: Some("DOT".to_owned()),
            id: "1234567".to_owned(),
        }
    }

    #[test]
    fn what_no_key_can_be_made_of_is_left_out() {
        for id in unbearable() {
            let this = json!({ "id": id });
            let told = share_agreement(&read(AGREEMENTS, this.clone()), observed());
            assert_eq!(told, [at(OBSERVED, Fact::CatenaFleet(FLEET.to_owned()))]);
            let told = share_agreement(&read(AGREEMENTS, json!({ "fleet_id": id })), observed());
            assert!(matches!(&told[..], [it] if matches!(it.fact, Fact::Agreement { .. })));
            assert_eq!(connection(&read(CONNECTIONS, this.clone()), observed()), []);
            let told = schedule(CONNECTION, &read(SCHEDULES, this.clone()), observed());
            assert_eq!(told, []);
            assert_eq!(schedule(&id, &read(SCHEDULES, json!({})), observed()), []);
            let live_as = json!({ "integrated_tsp_ids": [id] });
            for extra in [this.clone(), live_as] {
                let told = integration_request(&read(PENDING, extra.clone()), observed());
                assert_eq!(told, [], "{extra}");
            }
            let told = fleet(&read(FLEETS, this), observed());
            assert!(matches!(
                &told[..],
                [name, number] if matches!(name.fact, Fact::Name(_))
                    && matches!(number.fact, Fact::Regulatory(_))
            ));
        }
        let [_, long] = unbearable();
        let long = read(PENDING, json!({ "ext_tsp_id": long }));
        assert_eq!(integration_request(&long, observed()), []);
    }

    #[test]
    fn an_answer_is_timed_by_the_record_and_else_by_when_it_was_given() {
        let observed = Instant::parse_rfc3339("2026-05-05T00:00:00Z").unwrap();
        let latest = Instant::parse_rfc3339("2026-05-05T00:00:02Z").unwrap();
        for (extra, at, expected) in [
            (json!({}), "2026-05-04T08:00:00Z", Decision::Open),
            (
                json!({ "status": "accepted", "accepted_at": "2026-05-04T08:06:11Z" }),
                "2026-05-04T08:06:11Z",
                Decision::Accepted,
            ),
            (
                json!({ "status": "accepted" }),
                "2026-05-05T00:00:00Z",
                Decision::Accepted,
            ),
            (
                json!({ "status": "deleted" }),
                "2026-05-05T00:00:00Z",
                Decision::Deleted,
            ),
            // Refreshed: the end is the hours from the refresh, which can't be later than the answer.
            (
                json!({ "expires_at": "2026-05-12T00:00:01Z" }),
                "2026-05-05T00:00:01Z",
                Decision::Open,
            ),
            (
                json!({ "expires_at": "2026-05-13T00:00:01Z" }),
                "2026-05-05T00:00:02Z",
                Decision::Open,
            ),
        ] {
            let read: Invitation = serde_json::from_value(invitation(extra.clone())).unwrap();
            let translation = translate_answer(&read, observed, latest);
            assert_eq!(
                decision(&translation),
                Some((millis(at), expected)),
                "{extra}"
            );
            assert_eq!(translation.fleet, FleetRef::parse("FLEET-42"));
        }
    }
}

//! What an event says.

use catena::{Envelope, Event, Resource};
use fleet::Fact;

use crate::{
    Translation,
    observer::{Observer, has_bearable_id, is_bearable},
    resource::{of_agreement, of_connection, of_invitation, of_schedule},
};

/// Translates one record. `index` is its place in the delivery, `envelope` the delivery's.
///
/// Each fact is timed by the record's own business time, or else by the envelope's id. Without either it is a hint: what can't
/// be ordered must not overwrite what can. What no fact is kept of is the default translation.
pub fn translate(event: &Event, envelope: &Envelope, index: usize) -> Translation {
    let mut observer = Observer::of_event(envelope, index);
    let mut translation = match &event.resource {
        Resource::Invitation(invitation) => of_invitation(&event.name, invitation, &mut observer),
        Resource::ShareAgreement(agreement) => of_agreement(&event.name, agreement, &mut observer),
        Resource::Connection(connection) => of_connection(&event.name, connection, &mut observer),
        Resource::FleetConnection(link) => {
            let connection = link.connection_id.clone();
            observer.observe(None, Fact::Linked { connection });
            Translation {
                catena_fleet: Some(link.fleet_id.clone()),
                connection: Some(link.connection_id.clone()),
                one_fleet_only: true,
                ..Translation::default()
            }
        }
        Resource::Schedule(schedule) => {
            of_schedule(&schedule.connection_id, schedule, true, &mut observer);
            Translation {
                connection: Some(schedule.connection_id.clone()),
                ..Translation::default()
            }
        }
        // One failed attempt changes nothing, an operation has an item of its own (`crate::operation`), and the rest concerns no
        // fleet.
        Resource::Execution(_)
        | Resource::ResourceOperation(_)
        | Resource::Message(_)
        | Resource::Tsp(_)
        | Resource::Subscription(_)
        | Resource::Unknown(_) => return Translation::default(),
    };
    translation.observations = observer.observations;
    translation.hint = observer.hint;
    if translation.unusable.is_none() && !has_bearable_ids(&translation) {
        translation.unusable = Some("an id is empty or longer than any of Catena's");
    }
    translation
}

/// Whether a translation's ids fit the table's keys.
fn has_bearable_ids(translation: &Translation) -> bool {
    let ids = [
        &translation.catena_fleet,
        &translation.connection,
        &translation.invitation,
    ];
    let about = ids.into_iter().flatten().all(|id| is_bearable(id));
    about && translation.observations.iter().all(has_bearable_id)
}

#[cfg(test)]
mod tests {
    use fleet::{AgreementStatus, Decision, FleetRef, Level};
    use serde_json::{Value, json};

    use super::*;
    use crate::samples::{decision, invitation, millis};

    fn translated(event_name: &str, id: Option<&str>, record: Value) -> Translation {
        let envelope: Envelope = serde_json::from_value(json!({
            "event_name": event_name, "id": id, "webhook_id": "x", "data": [record],
        }))
        .unwrap();
        let (index, event) = envelope.events().next().unwrap();
        translate(&event.unwrap(), &envelope, index)
    }

    /// 2026-05-04T08:00:00Z as a UUIDv7.
    const ID: &str = "019df200-5000-7a01-8001-abcdef000001";
    const ID_TIME: i64 = 1_777_881_600_000;

    #[test]
    fn decisions_are_timed_by_the_record_and_else_by_the_id() {
        let accepted = json!({ "accepted_at": "2026-05-04T08:06:11Z" });
        let declined = json!({ "declined_at": "2026-05-04T08:07:00Z", "decline_reason": "no" });
        let no = || Decision::Declined(Some("no".to_owned()));
        for (name, extra, expected) in [
            (
                "created",
                json!({}),
                Some(("2026-05-04T08:00:00Z", Decision::Open)),
            ),
            (
                "accepted",
                accepted,
                Some(("2026-05-04T08:06:11Z", Decision::Accepted)),
            ),
            (
                "declined",
                declined.clone(),
                Some(("2026-05-04T08:07:00Z", no())),
            ),
            ("rejected", declined, Some(("2026-05-04T08:07:00Z", no()))),
            (
                "expired",
                json!({}),
                Some(("2026-05-11T08:00:00Z", Decision::Expired)),
            ),
            // Whatever happened, the record says how the invitation stands.
            (
                "viewed",
                json!({}),
                Some(("2026-05-04T08:00:00Z", Decision::Open)),
            ),
            ("sent", json!({ "status": "deleted" }), None),
        ] {
            let name = format!("invitation.{name}");
            let translation = translated(&name, Some(ID), invitation(extra));
            let expected = expected.map(|(at, decision)| (millis(at), decision));
            assert_eq!(decision(&translation), expected, "{name}");
            assert_eq!(translation.fleet, FleetRef::parse("FLEET-42"));
        }
        let deleted = translated("invitation.deleted", Some(ID), invitation(json!({})));
        assert_eq!(decision(&deleted), Some((ID_TIME, Decision::Deleted)));
    }

    #[test]
    fn a_refresh_opens_an_invitation_later_than_it_was_created() {
        let refreshed = json!({ "expires_at": "2026-05-20T10:00:00Z" });
        let translation = translated("invitation.created", None, invitation(refreshed));
        let opened = millis("2026-05-13T10:00:00Z");
        assert_eq!(decision(&translation), Some((opened, Decision::Open)));
    }

    #[test]
    fn a_refresh_keeps_what_the_fleet_decided_and_never_lies_in_the_future() {
        let refreshed = json!({
            "status": "accepted", "accepted_at": "2026-05-04T08:06:11Z", "expires_at": "2026-05-20T10:00:00Z",
        });
        let translation = translated("invitation.created", Some(ID), invitation(refreshed));
        let accepted = millis("2026-05-04T08:06:11Z");
        assert_eq!(decision(&translation), Some((accepted, Decision::Accepted)));
        let counted_otherwise = json!({ "expires_at": "2026-05-20T10:00:00Z" });
        let translation = translated(
            "invitation.created",
            Some(ID),
            invitation(counted_otherwise),
        );
        assert_eq!(decision(&translation), Some((ID_TIME, Decision::Open)));
    }

    #[test]
    fn what_has_no_time_of_its_own_and_no_id_says_nothing() {
        let connection = json!({ "id": "c", "fleet_id": "f", "status": "active" });
        let timeless = translated("connection.created", None, connection.clone());
        assert_eq!(timeless.observations, []);
        let random_id = Some("7c9e6679-7425-40de-944b-e07fc1f90ae7");
        let timeless = translated("connection.created", random_id, connection.clone());
        assert_eq!(timeless.observations, []);
        assert!(timeless.hint);
        let timed = translated("connection.created", Some(ID), connection);
        assert_eq!(timed.observations.len(), 1);
        assert!(!timed.hint);
    }

    #[test]
    fn what_cannot_be_ordered_is_hinted_at_beside_what_can() {
        let deleted = translated("invitation.deleted", None, invitation(json!({})));
        assert!(deleted.hint);
        assert_eq!(decision(&deleted).map(|it| it.1), Some(Decision::Open));
    }

    #[test]
    fn an_unusable_reference_is_not_taken_for_none() {
        for fleet_ref in ["", "a\nb", &"x".repeat(257)] {
            let record = invitation(json!({ "fleet_ref": fleet_ref }));
            let translation = translated("invitation.created", Some(ID), record);
            assert!(translation.unusable.is_some(), "{fleet_ref:?}");
        }
        let nameless = invitation(json!({ "fleet_ref": null }));
        let translation = translated("invitation.created", Some(ID), nameless);
        assert_eq!((translation.fleet, translation.unusable), (None, None));
    }

    #[test]
    fn an_unknown_status_gives_no_rights() {
        let record = json!({ "id": "a", "fleet_id": "f", "status": "suspended", "scopes": { "x": "admin" } });
        let translation = translated("share_agreement.updated", Some(ID), record);
        let Fact::Agreement { agreement, .. } = &translation.observations[0].fact else {
            panic!("no agreement");
        };
        assert_eq!(
            agreement.status,
            AgreementStatus::Unknown("suspended".to_owned())
        );
        let scopes = agreement.scopes.as_ref().unwrap();
        assert_eq!(scopes["x"], Level::Unknown("admin".to_owned()));
    }

    #[test]
    fn a_deleted_agreement_is_deleted_whatever_its_status_says() {
        let record = json!({ "id": "a", "fleet_id": "f", "status": "active" });
        let translation = translated("share_agreement.deleted", Some(ID), record);
        let Fact::Agreement { agreement, .. } = &translation.observations[0].fact else {
            panic!("no agreement");
        };
        assert_eq!(agreement.status, AgreementStatus::Deleted);
    }

    #[test]
    fn placeholder_names_are_not_taken() {
        let name = |name: &str| {
            let named = json!({ "partner_provided_fleet_name": name });
            let translation = translated("invitation.created", Some(ID), invitation(named));
            translation
                .observations
                .into_iter()
                .find_map(|it| match it.fact {
                    Fact::Name(name) => Some(name),
                    _ => None,
                })
        };
        assert_eq!(name("Acme Trucking"), Some("Acme Trucking".to_owned()));
        assert_eq!(name("Fleet (invitation)"), None);
    }
}

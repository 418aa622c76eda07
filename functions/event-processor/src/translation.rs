//! Catena's words into the fleet record's facts: the only place where the two meet.

use catena::{Connection, Envelope, Event, EventName, Instant, Invitation, Resource, Status};
use fleet::{
    Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Decision, Fact, FleetRef,
    InvitationFact, Level, Observation, Schedule, Timestamp,
};

/// What one record of an event says, about whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The fleet, if the event names it.
    pub fleet: Option<FleetRef>,
    /// Catena's id of the fleet.
    pub catena_fleet: Option<String>,
    /// The connection.
    pub connection: Option<String>,
    /// The invitation's hash.
    pub invitation: Option<String>,
    /// It can't concern several fleets: an agreement or an invitation is never broadcast.
    pub one_fleet_only: bool,
    /// What was observed. Nothing, although ids are there: it can't be ordered, and says no more than that its fleets are to
    /// be looked at.
    pub observations: Vec<Observation>,
}

impl Translation {
    /// Whether its ids fit the table's keys. Catena's are UUIDs of 36 characters.
    pub(crate) fn has_bearable_ids(&self) -> bool {
        let ids = [&self.catena_fleet, &self.connection, &self.invitation];
        ids.into_iter().flatten().all(|id| id.len() <= LONGEST_ID)
    }

    /// Whether it only says that its fleets are to be looked at.
    pub(crate) fn is_hint(&self) -> bool {
        self.observations.is_empty()
    }

    /// Whether all that it says is about a connection, wherever that leads.
    pub(crate) fn is_about_a_connection_alone(&self) -> bool {
        let about = |it: &Observation| matches!(it.fact, Fact::Connection { .. });
        self.fleet.is_none()
            && self.catena_fleet.is_none()
            && !self.is_hint()
            && self.observations.iter().all(about)
    }
}

/// Translates one record. `index` is its place in the delivery, `envelope` the delivery's.
///
/// Each fact is timed by the record's own business time, or else by the envelope's id. Without either it is a hint, which
/// observes nothing: an event that can't be ordered must not overwrite one that can. What no fact is kept of is the default
/// translation.
pub fn translate(event: &Event, envelope: &Envelope, index: usize) -> Translation {
    let moment = Moment {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        id_time: envelope.id_time(),
    };
    match &event.resource {
        Resource::Invitation(invitation) => of_invitation(&event.name, invitation, moment),
        Resource::ShareAgreement(agreement) => {
            let fact = Fact::Agreement {
                id: agreement.id.clone(),
                agreement: Agreement {
                    status: agreement_status(&event.name, agreement.status.as_ref()),
                    scopes: agreement.scopes.as_ref().map(|scopes| {
                        let level = |(resource, granted)| (String::clone(resource), level(granted));
                        scopes.iter().map(level).collect()
                    }),
                    effective: agreement.effective_date.map(timestamp),
                    ends: agreement.expiration_date.map(timestamp),
                },
            };
            let fleet_id = Fact::CatenaFleet(agreement.fleet_id.clone());
            Translation {
                fleet: fleet(agreement.fleet_ref.as_deref()),
                catena_fleet: Some(agreement.fleet_id.clone()),
                one_fleet_only: true,
                observations: moment.observe(None, [fleet_id, fact]),
                ..Translation::default()
            }
        }
        Resource::Connection(connection) => of_connection(&event.name, connection, moment),
        Resource::FleetConnection(link) => Translation {
            catena_fleet: Some(link.fleet_id.clone()),
            connection: Some(link.connection_id.clone()),
            observations: moment.observe(
                None,
                [Fact::Linked {
                    connection: link.connection_id.clone(),
                }],
            ),
            ..Translation::default()
        },
        Resource::Schedule(schedule) => Translation {
            connection: Some(schedule.connection_id.clone()),
            observations: moment.observe(
                None,
                [Fact::Connection {
                    connection: schedule.connection_id.clone(),
                    was: ConnectionFact::Schedule {
                        id: schedule.id.clone(),
                        schedule: Schedule {
                            stopped: true,
                            resource: schedule.resource.clone(),
                        },
                    },
                }],
            ),
            ..Translation::default()
        },
        // One failed attempt changes nothing, operations have no record yet, and the rest concerns no fleet.
        Resource::Execution(_)
        | Resource::ResourceOperation(_)
        | Resource::Message(_)
        | Resource::Tsp(_)
        | Resource::Subscription(_)
        | Resource::Unknown(_) => Translation::default(),
    }
}

fn of_invitation(name: &EventName, invitation: &Invitation, moment: Moment) -> Translation {
    let hash = || invitation.invitation_hash.as_str().to_owned();
    let opened = opened_at(invitation, moment);
    let fact = |was| Fact::Invitation {
        invitation: hash(),
        was,
    };
    let decided = |at, decision| moment.observe(at, [fact(InvitationFact::Decision(decision))]);
    let declined = || Decision::Declined(invitation.decline_reason.clone());
    let mut observations = match name {
        // A refreshed invitation may be announced as created again, and keeps what the fleet decided (contract 3.1).
        EventName::InvitationCreated => match invitation.status {
            Some(Status::Accepted) => decided(invitation.accepted_at, Decision::Accepted),
            Some(Status::Declined) => decided(invitation.declined_at, declined()),
            _ => decided(opened, Decision::Open),
        },
        EventName::InvitationSent => moment.observe(None, [fact(InvitationFact::Sent)]),
        EventName::InvitationViewed => moment.observe(None, [fact(InvitationFact::Viewed)]),
        EventName::InvitationAccepted => decided(invitation.accepted_at, Decision::Accepted),
        EventName::InvitationDeclined | EventName::InvitationRejected => {
            decided(invitation.declined_at, declined())
        }
        EventName::InvitationExpired => decided(invitation.expires_at, Decision::Expired),
        EventName::InvitationDeleted => decided(None, Decision::Deleted),
        _ => Vec::new(),
    };
    let ends = invitation.expires_at.map(timestamp);
    let ends = ends.map(|ends| fact(InvitationFact::Ends(ends)));
    let name = invitation.partner_provided_fleet_name.as_ref();
    let name = name.or(invitation.fleet_name.as_ref()).cloned();
    // Catena's placeholder for a fleet without a name held the invitation's id (contract 3.2).
    let name = name
        .filter(|name| !name.contains("(invitation)"))
        .map(Fact::Name);
    let fleet_id = invitation.fleet_id.clone().map(Fact::CatenaFleet);
    if let Some(opened) = opened {
        let described = ends.into_iter().chain(name).chain(fleet_id);
        observations.extend(moment.observe(Some(opened), described));
    }
    Translation {
        fleet: fleet(invitation.fleet_ref.as_deref()),
        catena_fleet: invitation.fleet_id.clone(),
        invitation: Some(hash()),
        one_fleet_only: true,
        observations,
        ..Translation::default()
    }
}

/// When an invitation was last opened to the fleet: created, or refreshed since. A refresh extends its end and leaves
/// `created_at` as it is (contract 3.1), so the end less the hours that it was given is the time of the refresh. If Catena
/// counts them from elsewhere, the event's own time bounds what would lie in the future.
fn opened_at(invitation: &Invitation, moment: Moment) -> Option<Instant> {
    let refreshed = invitation.expires_at.zip(invitation.expires_in_hours);
    let refreshed = refreshed.map(|(end, hours)| {
        Instant::from_millis(end.millis().saturating_sub(hours.saturating_mul(3_600_000)))
    });
    let refreshed = match (refreshed, moment.id_time) {
        (Some(refreshed), Some(bound)) => Some(refreshed.min(bound)),
        (refreshed, _) => refreshed,
    };
    invitation.created_at.max(refreshed)
}

fn of_connection(name: &EventName, connection: &Connection, moment: Moment) -> Translation {
    let fact = |was| Fact::Connection {
        connection: connection.id.clone(),
        was,
    };
    let state = connection_state(name, connection.status.as_ref());
    let state = fact(ConnectionFact::State(state));
    let source = connection.source_name.clone();
    let source = source.map(|source| fact(ConnectionFact::Source(source)));
    Translation {
        fleet: fleet(connection.fleet_ref.as_deref()),
        catena_fleet: connection.fleet_id.clone(),
        connection: Some(connection.id.clone()),
        observations: moment.observe(None, [state].into_iter().chain(source)),
        ..Translation::default()
    }
}

/// Where a record's facts get their time from.
#[derive(Clone, Copy)]
struct Moment {
    index: u32,
    id_time: Option<Instant>,
}

impl Moment {
    fn observe(
        self,
        business_time: Option<Instant>,
        facts: impl IntoIterator<Item = Fact>,
    ) -> Vec<Observation> {
        let Some(time) = business_time.or(self.id_time) else {
            return Vec::new();
        };
        let at = At(timestamp(time), self.index);
        let observe = |fact| Observation { at, fact };
        facts.into_iter().map(observe).collect()
    }
}

/// Bytes of one of Catena's ids. DynamoDB's partition keys end at 2,048.
const LONGEST_ID: usize = 256;

fn fleet(fleet_ref: Option<&str>) -> Option<FleetRef> {
    FleetRef::parse(fleet_ref?)
}

fn timestamp(instant: Instant) -> Timestamp {
    Timestamp(instant.millis())
}

fn agreement_status(name: &EventName, status: Option<&Status>) -> AgreementStatus {
    match (status, name) {
        (_, EventName::ShareAgreementDeleted) | (Some(Status::Deleted), _) => {
            AgreementStatus::Deleted
        }
        (Some(Status::Active), _) | (None, EventName::ShareAgreementCreated) => {
            AgreementStatus::Active
        }
        (Some(Status::Paused), _) => AgreementStatus::Paused,
        (Some(Status::Expired), _) => AgreementStatus::Expired,
        (Some(Status::Cancelled), _) => AgreementStatus::Cancelled,
        (Some(other), _) => AgreementStatus::Unknown(other.as_str().to_owned()),
        (None, _) => AgreementStatus::Unknown(String::new()),
    }
}

fn connection_state(name: &EventName, status: Option<&Status>) -> ConnectionState {
    match (status, name) {
        (Some(Status::Active), EventName::ConnectionStaled) => ConnectionState::Stale,
        (Some(Status::Active), _) => ConnectionState::Active,
        (Some(Status::Paused), _) => ConnectionState::Paused,
        (Some(Status::Stale), _) | (None, EventName::ConnectionStaled) => ConnectionState::Stale,
        (Some(Status::Failed), _) => ConnectionState::Failed,
        (Some(Status::Cancelled), _) => ConnectionState::Cancelled,
        (Some(Status::Deleted), _) => ConnectionState::Deleted,
        (Some(other), _) => ConnectionState::Unknown(other.as_str().to_owned()),
        (None, _) => ConnectionState::Active,
    }
}

fn level(level: &catena::Level) -> Level {
    match level {
        catena::Level::ReadWrite => Level::ReadWrite,
        catena::Level::Read => Level::Read,
        catena::Level::Unknown(other) => Level::Unknown(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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

    fn invitation(extra: Value) -> Value {
        let mut record = json!({
            "invitation_hash": "hash", "fleet_ref": "FLEET-42", "status": "active",
            "created_at": "2026-05-04T08:00:00Z", "expires_at": "2026-05-11T08:00:00Z",
            "expires_in_hours": 168,
        });
        let fields = record.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        record
    }

    fn decision(translation: &Translation) -> Option<(i64, Decision)> {
        translation.observations.iter().find_map(|observation| {
            let Fact::Invitation {
                was: InvitationFact::Decision(decision),
                ..
            } = &observation.fact
            else {
                return None;
            };
            Some((observation.at.0.0, decision.clone()))
        })
    }

    fn millis(text: &str) -> i64 {
        Instant::parse_rfc3339(text).unwrap().millis()
    }

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
            ("viewed", json!({}), None),
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
        let timed = translated("connection.created", Some(ID), connection);
        assert_eq!(timed.observations.len(), 1);
    }

    #[test]
    fn an_unknown_status_gives_no_rights() {
        let record = json!({ "id": "a", "fleet_id": "f", "status": "suspended", "scopes": { "x": "admin" } });
        let translation = translated("share_agreement.updated", Some(ID), record);
        let Fact::Agreement { agreement, .. } = &translation.observations[1].fact else {
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
        let Fact::Agreement { agreement, .. } = &translation.observations[1].fact else {
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

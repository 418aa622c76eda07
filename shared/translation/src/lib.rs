//! Catena's words into the fleet record's facts: the only place where the two meet.
//!
//! Catena tells things by events ([`translate`]) and by answers of its API ([`translate_answer`]).

use catena::{
    Connection, Envelope, Event, EventName, Instant, Invitation, Resource, ShareAgreement, Status,
};
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
    /// It can't concern several fleets: an agreement, an invitation or a link to a connection is never broadcast.
    pub one_fleet_only: bool,
    /// What was observed.
    pub observations: Vec<Observation>,
    /// Something was observed that has no time of its own, so that it can't be ordered: its fleets are to be looked at.
    pub hint: bool,
    /// Why nothing can be made of it, ever.
    pub unusable: Option<&'static str>,
}

impl Translation {
    /// Whether all that it says is about a connection, wherever that leads.
    pub fn is_about_a_connection_alone(&self) -> bool {
        let about = |it: &Observation| matches!(it.fact, Fact::Connection { .. });
        let names_a_fleet = self.fleet.is_some() || self.catena_fleet.is_some();
        !names_a_fleet && !self.hint && self.observations.iter().all(about)
    }
}

/// Translates one record. `index` is its place in the delivery, `envelope` the delivery's.
///
/// Each fact is timed by the record's own business time, or else by the envelope's id. Without either it is a hint: what can't
/// be ordered must not overwrite what can. What no fact is kept of is the default translation.
pub fn translate(event: &Event, envelope: &Envelope, index: usize) -> Translation {
    let mut observer = Observer {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        observed: envelope.id_time(),
        stands: None,
        latest: envelope.id_time(),
        observations: Vec::new(),
        hint: false,
    };
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
            let id = schedule.id.clone();
            let resource = schedule.resource.as_deref().map(bounded);
            let schedule_now = Schedule {
                stopped: true,
                resource,
            };
            observer.observe(
                None,
                Fact::Connection {
                    connection: schedule.connection_id.clone(),
                    was: ConnectionFact::Schedule {
                        id,
                        schedule: schedule_now,
                    },
                },
            );
            Translation {
                connection: Some(schedule.connection_id.clone()),
                ..Translation::default()
            }
        }
        // One failed attempt changes nothing, operations have no record yet, and the rest concerns no fleet.
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

/// Translates what Catena's API answered about an invitation. What has no business time of its own was so at `observed`, and
/// nothing in the answer happened after `latest`.
pub fn translate_answer(
    invitation: &Invitation,
    observed: Instant,
    latest: Instant,
) -> Translation {
    let mut observer = Observer {
        index: 0,
        observed: Some(observed),
        stands: Some(observed),
        latest: Some(latest),
        observations: Vec::new(),
        hint: false,
    };
    let no_event = EventName::from(String::new());
    let mut translation = of_invitation(&no_event, invitation, &mut observer);
    translation.observations = observer.observations;
    translation
}

fn of_invitation(
    name: &EventName,
    invitation: &Invitation,
    observer: &mut Observer,
) -> Translation {
    let hash = || invitation.invitation_hash.as_str().to_owned();
    let opened = opened_at(invitation, observer.latest);
    let fact = |was| Fact::Invitation {
        invitation: hash(),
        was,
    };
    let decision = |decision| fact(InvitationFact::Decision(decision));
    let declined = || {
        let reason = invitation.decline_reason.as_deref();
        decision(Decision::Declined(reason.map(bounded)))
    };
    match name {
        EventName::InvitationSent => observer.observe(None, fact(InvitationFact::Sent)),
        EventName::InvitationViewed => observer.observe(None, fact(InvitationFact::Viewed)),
        EventName::InvitationAccepted => {
            observer.observe(invitation.accepted_at, decision(Decision::Accepted));
        }
        EventName::InvitationDeclined | EventName::InvitationRejected => {
            observer.observe(invitation.declined_at, declined());
        }
        EventName::InvitationExpired => {
            observer.observe(invitation.expires_at, decision(Decision::Expired));
        }
        EventName::InvitationDeleted => observer.observe(None, decision(Decision::Deleted)),
        _ => {}
    }
    // Whatever happened: how the invitation stands is in its record, too. So a refresh is noticed by the next event, should it
    // have none of its own, and one that is announced as created keeps what the fleet decided (contract 3.1).
    let (at, stands) = match &invitation.status {
        Some(Status::Active) => (opened, Some(decision(Decision::Open))),
        Some(Status::Accepted) => (invitation.accepted_at, Some(decision(Decision::Accepted))),
        Some(Status::Declined) => (invitation.declined_at, Some(declined())),
        Some(Status::Expired) => (invitation.expires_at, Some(decision(Decision::Expired))),
        Some(Status::Deleted) => (None, Some(decision(Decision::Deleted))),
        _ => (None, None),
    };
    observer.observe_if(at.or(observer.stands), stands);
    observer.observe_if(invitation.created_at, Some(fact(InvitationFact::Created)));
    let ends = invitation.expires_at.map(timestamp);
    observer.observe_if(opened, ends.map(|ends| fact(InvitationFact::Ends(ends))));
    let named = invitation.partner_provided_fleet_name.as_ref();
    let named = named.or(invitation.fleet_name.as_ref());
    // Catena's placeholder for a fleet without a name held the invitation's id (contract 3.2).
    let named = named.filter(|name| !name.contains("(invitation)"));
    observer.observe_if(opened, named.map(|name| Fact::Name(bounded(name))));
    let fleet_id = invitation.fleet_id.clone();
    observer.observe_if(opened, fleet_id.clone().map(Fact::CatenaFleet));
    Translation {
        catena_fleet: fleet_id,
        invitation: Some(hash()),
        one_fleet_only: true,
        ..of_fleet(invitation.fleet_ref.as_deref())
    }
}

/// When an invitation was last opened to the fleet: created, or refreshed since. A refresh extends its end and leaves
/// `created_at` as it is (contract 3.1), so the end less the hours that it was given is the time of the refresh. If Catena
/// counts them from elsewhere, the time of the event or the answer bounds what would lie in the future.
fn opened_at(invitation: &Invitation, latest: Option<Instant>) -> Option<Instant> {
    let refreshed = invitation.expires_at.zip(invitation.expires_in_hours);
    let refreshed = refreshed.map(|(end, hours)| {
        Instant::from_millis(end.millis().saturating_sub(hours.saturating_mul(3_600_000)))
    });
    let refreshed = match (refreshed, latest) {
        (Some(refreshed), Some(bound)) => Some(refreshed.min(bound)),
        (refreshed, _) => refreshed,
    };
    invitation.created_at.max(refreshed)
}

fn of_agreement(
    name: &EventName,
    agreement: &ShareAgreement,
    observer: &mut Observer,
) -> Translation {
    let level = |(resource, granted)| (bounded(resource), level(granted));
    let scopes = agreement.scopes.as_ref();
    let now = Agreement {
        status: agreement_status(name, agreement.status.as_ref()),
        scopes: scopes.map(|scopes| scopes.iter().map(level).collect()),
        effective: agreement.effective_date.map(timestamp),
        ends: agreement.expiration_date.map(timestamp),
    };
    observer.observe(
        None,
        Fact::Agreement {
            id: agreement.id.clone(),
            made: Instant::of_id(&agreement.id).map(timestamp),
            agreement: now,
        },
    );
    observer.observe(None, Fact::CatenaFleet(agreement.fleet_id.clone()));
    Translation {
        catena_fleet: Some(agreement.fleet_id.clone()),
        one_fleet_only: true,
        ..of_fleet(agreement.fleet_ref.as_deref())
    }
}

fn of_connection(
    name: &EventName,
    connection: &Connection,
    observer: &mut Observer,
) -> Translation {
    let fact = |was| Fact::Connection {
        connection: connection.id.clone(),
        was,
    };
    let state = connection_state(name, connection.status.as_ref());
    observer.observe(connection.updated_at, fact(ConnectionFact::State(state)));
    if let Some(source) = &connection.source_name {
        let source = ConnectionFact::Source(bounded(source));
        observer.observe(connection.updated_at, fact(source));
    }
    Translation {
        catena_fleet: connection.fleet_id.clone(),
        connection: Some(connection.id.clone()),
        ..of_fleet(connection.fleet_ref.as_deref())
    }
}

/// A translation about the fleet that an event names.
fn of_fleet(fleet_ref: Option<&str>) -> Translation {
    let fleet = fleet_ref.and_then(FleetRef::parse);
    let unusable = fleet_ref.is_some() && fleet.is_none();
    Translation {
        unusable: unusable.then_some("its fleet_ref is empty, over-long or has control characters"),
        fleet,
        ..Translation::default()
    }
}

/// Collects what is observed, and gives each fact its time.
struct Observer {
    index: u32,
    /// When that was so which has no business time of its own.
    observed: Option<Instant>,
    /// When that was so which only the invitation's status says: an event says it better.
    stands: Option<Instant>,
    /// Nothing that is told happened later.
    latest: Option<Instant>,
    observations: Vec<Observation>,
    hint: bool,
}

impl Observer {
    /// A fact at its business time, or else at the time of the event or the answer.
    fn observe(&mut self, business_time: Option<Instant>, fact: Fact) {
        let at = business_time.or(self.observed);
        self.hint |= at.is_none();
        self.observe_if(at, Some(fact));
    }

    /// A fact at exactly this time, if both are there.
    fn observe_if(&mut self, at: Option<Instant>, fact: Option<Fact>) {
        let Some((at, fact)) = at.zip(fact) else {
            return;
        };
        let at = At(timestamp(at), self.index);
        let observation = Observation { at, fact };
        if !self.observations.contains(&observation) {
            self.observations.push(observation);
        }
    }
}

/// Whether a translation's ids fit the table's keys. Catena's are UUIDs of 36 characters.
fn has_bearable_ids(translation: &Translation) -> bool {
    let ids = [
        &translation.catena_fleet,
        &translation.connection,
        &translation.invitation,
    ];
    let more = translation.observations.iter().map(|it| match &it.fact {
        Fact::Agreement { id, .. } => Some(id),
        Fact::Connection {
            was: ConnectionFact::Schedule { id, .. },
            ..
        } => Some(id),
        _ => None,
    });
    let ids = ids.into_iter().map(Option::as_ref).chain(more);
    ids.flatten().all(|id| (1..=LONGEST_ID).contains(&id.len()))
}

/// Bytes of one of Catena's ids. DynamoDB's partition keys end at 2,048.
const LONGEST_ID: usize = 256;

/// At most 500 characters of a text that somebody else chose, so that none outgrows a record.
fn bounded(text: impl AsRef<str>) -> String {
    text.as_ref().chars().take(500).collect()
}

fn timestamp(instant: Instant) -> Timestamp {
    Timestamp(instant.millis())
}

fn agreement_status(name: &EventName, status: Option<&Status>) -> AgreementStatus {
    match (status, name) {
        (_, EventName::ShareAgreementDeleted) | (Some(Status::Deleted), _) => {
            AgreementStatus::Deleted
        }
        (Some(Status::Active), _) => AgreementStatus::Active,
        (Some(Status::Paused), _) => AgreementStatus::Paused,
        (Some(Status::Expired), _) => AgreementStatus::Expired,
        (Some(Status::Cancelled), _) => AgreementStatus::Cancelled,
        (Some(other), _) => AgreementStatus::Unknown(bounded(other.as_str())),
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
        (Some(other), _) => ConnectionState::Unknown(bounded(other.as_str())),
        (None, _) => ConnectionState::Unknown(String::new()),
    }
}

fn level(level: &catena::Level) -> Level {
    match level {
        catena::Level::ReadWrite => Level::ReadWrite,
        catena::Level::Read => Level::Read,
        catena::Level::Unknown(other) => Level::Unknown(bounded(other)),
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

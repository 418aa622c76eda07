//! What Catena's resources say, whether an event or an answer of the API brings them.

use catena::{Connection, EventName, Instant, Invitation, ShareAgreement, Status};
use fleet::{Agreement, ConnectionFact, Decision, Fact, FleetRef, InvitationFact, Schedule};

use crate::{
    Translation,
    observer::Observer,
    words::{agreement_status, bounded, connection_state, level, timestamp},
};

pub(crate) fn of_invitation(
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

pub(crate) fn of_agreement(
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

pub(crate) fn of_connection(
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

pub(crate) fn of_schedule(
    connection: &str,
    schedule: &catena::Schedule,
    stopped: bool,
    observer: &mut Observer,
) {
    let was = ConnectionFact::Schedule {
        id: schedule.id.clone(),
        schedule: Schedule {
            stopped,
            resource: schedule.resource.as_deref().map(bounded),
        },
    };
    let connection = connection.to_owned();
    observer.observe(None, Fact::Connection { connection, was });
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

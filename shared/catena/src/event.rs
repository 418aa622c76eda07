//! Typed events, one per record of an envelope (contract 6.10).

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    open_enum::open_enum,
    resource::{
        Connection, Execution, FleetConnection, Invitation, Message, ResourceOperation, Schedule,
        ShareAgreement, Subscription, Tsp,
    },
};

open_enum! {
    /// The events that concern onboarding, operations, write operations, providers and subscriptions (contract 6.10).
    EventName {
        InvitationCreated = "invitation.created",
        InvitationSent = "invitation.sent",
        InvitationViewed = "invitation.viewed",
        InvitationAccepted = "invitation.accepted",
        InvitationDeclined = "invitation.declined",
        /// Deprecated by Catena since 2.0.0 for `invitation.declined`.
        InvitationRejected = "invitation.rejected",
        InvitationExpired = "invitation.expired",
        InvitationDeleted = "invitation.deleted",
        ShareAgreementCreated = "share_agreement.created",
        ShareAgreementUpdated = "share_agreement.updated",
        ShareAgreementDeleted = "share_agreement.deleted",
        ConnectionCreated = "connection.created",
        ConnectionStaled = "connection.staled",
        FleetConnectionCreated = "fleet_connection.created",
        /// Named by Catena, but no payload is documented.
        ExecutionCreated = "execution.created",
        ExecutionFailed = "execution.failed",
        ExecutionStaled = "execution.staled",
        ScheduleDeactivated = "schedule.deactivated",
        ResourceOperationCreated = "resource_operation.created",
        ResourceOperationSucceeded = "resource_operation.succeeded",
        ResourceOperationFailed = "resource_operation.failed",
        MessageAdded = "message.added",
        MessageModified = "message.modified",
        TspCreated = "tsp.created",
        /// Named by Catena, but no payload is documented (contract 6.11).
        TspRequested = "tsp.requested",
        WebhookCreated = "webhook.created",
        WebhookUpdated = "webhook.updated",
        WebhookDeleted = "webhook.deleted",
        WebhookStaled = "webhook.staled",
        WebhookActivated = "webhook.activated",
        WebhookPaused = "webhook.paused",
    }
}

/// One record of a delivery, typed by the event's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub name: EventName,
    /// To what.
    pub resource: Resource,
}

/// The record of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// `invitation.*`
    Invitation(Box<Invitation>),
    /// `share_agreement.*`
    ShareAgreement(ShareAgreement),
    /// `connection.*`
    Connection(Connection),
    /// `fleet_connection.*`
    FleetConnection(FleetConnection),
    /// `execution.*`
    Execution(Execution),
    /// `schedule.*`
    Schedule(Schedule),
    /// `resource_operation.*`
    ResourceOperation(Box<ResourceOperation>),
    /// `message.*`
    Message(Box<Message>),
    /// `tsp.*`
    Tsp(Tsp),
    /// `webhook.*`
    Subscription(Subscription),
    /// A record of an event whose name we don't know, as it was received.
    Unknown(Value),
}

/// A record that isn't what its event's name promises. The same in each attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct InvalidRecord {
    /// The event's name.
    pub name: EventName,
    /// Which field is wrong, without its value.
    pub problem: String,
}

impl Event {
    /// Types one record. An unknown name never fails.
    pub fn parse(name: EventName, record: &Value) -> Result<Self, InvalidRecord> {
        use EventName as N;
        let resource = match name {
            N::InvitationCreated
            | N::InvitationSent
            | N::InvitationViewed
            | N::InvitationAccepted
            | N::InvitationDeclined
            | N::InvitationRejected
            | N::InvitationExpired
            | N::InvitationDeleted => read(record).map(Box::new).map(Resource::Invitation),
            N::ShareAgreementCreated | N::ShareAgreementUpdated | N::ShareAgreementDeleted => {
                read(record).map(Resource::ShareAgreement)
            }
            N::ConnectionCreated | N::ConnectionStaled => read(record).map(Resource::Connection),
            N::FleetConnectionCreated => read(record).map(Resource::FleetConnection),
            N::ExecutionCreated | N::ExecutionFailed | N::ExecutionStaled => {
                read(record).map(Resource::Execution)
            }
            N::ScheduleDeactivated => read(record).map(Resource::Schedule),
            N::ResourceOperationCreated
            | N::ResourceOperationSucceeded
            | N::ResourceOperationFailed => {
                read(record).map(Box::new).map(Resource::ResourceOperation)
            }
            N::MessageAdded | N::MessageModified => {
                read(record).map(Box::new).map(Resource::Message)
            }
            N::TspCreated | N::TspRequested => read(record).map(Resource::Tsp),
            N::WebhookCreated
            | N::WebhookUpdated
            | N::WebhookDeleted
            | N::WebhookStaled
            | N::WebhookActivated
            | N::WebhookPaused => read(record).map(Resource::Subscription),
            N::Unknown(_) => Ok(Resource::Unknown(record.clone())),
        };
        match resource {
            Ok(resource) => Ok(Self { name, resource }),
            Err(problem) => Err(InvalidRecord { name, problem }),
        }
    }
}

fn read<T: DeserializeOwned>(record: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(record).map_err(|error| describe(&error))
}

/// Names the field, without serde_json's words: those may quote the value, which belongs in no log.
fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let inner = error.inner().to_string();
    match inner.split_once('`') {
        Some(("missing field ", field)) => {
            format!("field {} is missing", field.trim_end_matches('`'))
        }
        _ if error.path().iter().next().is_none() => "the record is not an object".to_owned(),
        _ => format!("field {} has another form than documented", error.path()),
    }
}

//! What is read of Catena's events, as JSON Schemas of the types themselves: to be held against what Catena says of its own
//! events (contract 6.1).
//!
//! Two marks are ours. `x-not-in-events`: events aren't known to carry the field; the API does, or nobody knows. `x-lenient`: a
//! value of another form counts as absent.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::{
    Connection, Envelope, EventName, Execution, FleetConnection, Invitation, Message,
    ResourceOperation, Schedule, ShareAgreement, Subscription, Tsp,
};

/// The record of an event as it is read after scrubbing ([`crate::scrub_record`]). `None` for a name that this version doesn't know,
/// whose records are read as they come.
pub fn record(name: &EventName) -> Option<Value> {
    use EventName as N;
    Some(match name {
        N::InvitationCreated
        | N::InvitationSent
        | N::InvitationViewed
        | N::InvitationAccepted
        | N::InvitationDeclined
        | N::InvitationRejected
        | N::InvitationExpired
        | N::InvitationDeleted => schema::<Invitation>(),
        N::ShareAgreementCreated | N::ShareAgreementUpdated | N::ShareAgreementDeleted => {
            schema::<ShareAgreement>()
        }
        N::ConnectionCreated | N::ConnectionStaled => schema::<Connection>(),
        N::FleetConnectionCreated => schema::<FleetConnection>(),
        N::ExecutionCreated | N::ExecutionFailed | N::ExecutionStaled => schema::<Execution>(),
        N::ScheduleDeactivated => schema::<Schedule>(),
        N::ResourceOperationCreated
        | N::ResourceOperationSucceeded
        | N::ResourceOperationFailed => schema::<ResourceOperation>(),
        N::MessageAdded | N::MessageModified => schema::<Message>(),
        N::TspCreated | N::TspRequested => schema::<Tsp>(),
        N::WebhookCreated
        | N::WebhookUpdated
        | N::WebhookDeleted
        | N::WebhookStaled
        | N::WebhookActivated
        | N::WebhookPaused => schema::<Subscription>(),
        N::Unknown(_) => return None,
    })
}

/// The envelope of a delivery.
pub fn envelope() -> Value {
    schema::<Envelope>()
}

/// Without references to elsewhere.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::{Event, Resource, Status};

    /// All that this version knows.
    const NAMES: [&str; 31] = [
        "invitation.created",
        "invitation.sent",
        "invitation.viewed",
        "invitation.accepted",
        "invitation.declined",
        "invitation.rejected",
        "invitation.expired",
        "invitation.deleted",
        "share_agreement.created",
        "share_agreement.updated",
        "share_agreement.deleted",
        "connection.created",
        "connection.staled",
        "fleet_connection.created",
        "execution.created",
        "execution.failed",
        "execution.staled",
        "schedule.deactivated",
        "resource_operation.created",
        "resource_operation.succeeded",
        "resource_operation.failed",
        "message.added",
        "message.modified",
        "tsp.created",
        "tsp.requested",
        "webhook.created",
        "webhook.updated",
        "webhook.deleted",
        "webhook.staled",
        "webhook.activated",
        "webhook.paused",
    ];

    fn title(resource: &Resource) -> &'static str {
        match resource {
            Resource::Invitation(_) => "Invitation",
            Resource::ShareAgreement(_) => "ShareAgreement",
            Resource::Connection(_) => "Connection",
            Resource::FleetConnection(_) => "FleetConnection",
            Resource::Execution(_) => "Execution",
            Resource::Schedule(_) => "Schedule",
            Resource::ResourceOperation(_) => "ResourceOperation",
            Resource::Message(_) => "Message",
            Resource::Tsp(_) => "Tsp",
            Resource::Subscription(_) => "Subscription",
            Resource::Unknown(_) => "Unknown",
        }
    }

    #[test]
    fn what_a_schema_requires_is_what_reading_needs() {
        for name in NAMES {
            let name = EventName::from(name.to_owned());
            let schema = record(&name).unwrap();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let required: Vec<&str> = required.iter().map(|it| it.as_str().unwrap()).collect();
            let least: Map<_, _> = required
                .iter()
                .map(|field| ((*field).to_owned(), json!("x")))
                .collect();
            let parse = |record: &Map<_, _>| Event::parse(name.clone(), &json!(record));
            let event = parse(&least).unwrap();
            assert_eq!(schema["title"], title(&event.resource), "{name}");
            for field in required {
                let mut without = least.clone();
                without.remove(field);
                assert!(parse(&without).is_err(), "{name} without {field}");
            }
        }
        assert_eq!(
            record(&EventName::from("fleet_info.modified".to_owned())),
            None
        );
    }

    #[test]
    fn enumerations_are_open_and_tell_what_is_known() {
        let schema = record(&EventName::ConnectionCreated).unwrap();
        let text = schema["properties"]["status"].to_string();
        assert!(text.contains(Status::Stale.as_str()), "{text}");
        assert!(text.contains(r#"{"type":"string"}"#), "{text}");
        assert_eq!(schema["properties"]["fleet_ref"]["x-not-in-events"], true);
        let envelope = envelope();
        assert_eq!(envelope["required"], json!(["data", "webhook_id"]));
        assert_eq!(envelope["properties"]["version"]["x-lenient"], true);
    }
}

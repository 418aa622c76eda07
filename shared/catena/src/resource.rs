//! The resources that events are about. The same shapes come back from Catena's API.
//!
//! Identifiers of ours to look things up by are required, every other field is optional: sources disagree on what is
//! always there (contract 7), and a missing description must not cost an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Instant, InvitationHash,
    lenient::{lenient, lenient_objects, lenient_texts},
    open_enum::open_enum,
};

open_enum! {
    /// The status of anything in an organisational event, a subscription, an operation (contract 6.10) or a schedule (5.2).
    Status {
        Active = "active",
        Inactive = "inactive",
        Paused = "paused",
        Expired = "expired",
        Cancelled = "cancelled",
        /// Of a schedule: the provider's credentials don't reach what it fetches (contract 5.2).
        CancelledInsufficientScope = "cancelled_insufficient_scope",
        Pending = "pending",
        Deleted = "deleted",
        Stale = "stale",
        Success = "success",
        Failed = "failed",
        Scheduled = "scheduled",
        Accepted = "accepted",
        Declined = "declined",
    }
}

open_enum! {
    /// How far a share agreement opens a resource (contract 3.3).
    Level {
        Read = "read",
        ReadWrite = "read_write",
    }
}

/// An invitation, scrubbed: its id is a hash, its magic link, tokens and redirect URLs are gone (contract 3.1, 6.10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Invitation {
    /// SHA-256 of the invitation's id.
    pub invitation_hash: InvitationHash,
    /// When it was created; a refresh keeps it.
    pub created_at: Option<Instant>,
    /// When its link stops working.
    pub expires_at: Option<Instant>,
    /// 1 to 672.
    pub expires_in_hours: Option<i64>,
    /// `active`, `accepted`, `declined`, `expired`, `deleted`.
    pub status: Option<Status>,
    /// The name that we gave, as events call it.
    pub partner_provided_fleet_name: Option<String>,
    /// The name, as the API calls it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub fleet_name: Option<String>,
    /// The fleet's number with an authority; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub fleet_regulatory_id: Option<String>,
    /// Which authority: `DOT`, `EASA`, `MC`, …; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub fleet_regulatory_id_type: Option<String>,
    /// When the fleet accepted.
    pub accepted_at: Option<Instant>,
    /// When the fleet declined.
    pub declined_at: Option<Instant>,
    /// The fleet's words.
    pub decline_reason: Option<String>,
    /// Catena's fleet, known once accepted.
    pub fleet_id: Option<String>,
    /// Our own reference.
    pub fleet_ref: Option<String>,
    /// Us.
    pub partner_id: Option<String>,
    /// Us, readable.
    pub partner_slug: Option<String>,
    /// The providers that the fleet may choose from.
    pub limit_tsps: Option<Vec<String>>,
}

/// What a fleet lets us see: the bridge between Catena's fleet id and our `fleet_ref` (contract 3.3, 6.10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShareAgreement {
    /// The agreement.
    pub id: String,
    /// Catena's fleet.
    pub fleet_id: String,
    /// Us.
    pub partner_id: Option<String>,
    /// Our own reference.
    pub fleet_ref: Option<String>,
    /// `active`, `paused`, `cancelled`, `deleted`, `expired`.
    pub status: Option<Status>,
    /// From when it holds.
    pub effective_date: Option<Instant>,
    /// Until when it holds.
    pub expiration_date: Option<Instant>,
    /// Resource to level; absent differs from empty.
    pub scopes: Option<BTreeMap<String, Level>>,
}

/// A fleet's account at a provider. One may serve several fleets (contract 5.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Connection {
    /// The connection.
    pub id: String,
    /// Catena's fleet.
    pub fleet_id: Option<String>,
    /// Our own reference; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub fleet_ref: Option<String>,
    /// The provider. Several share one `source_name`.
    pub tsp_id: Option<String>,
    /// The provider's source.
    pub source_name: Option<String>,
    /// `active`, `failed`, `cancelled`, `paused`, `stale`, `deleted`.
    pub status: Option<Status>,
    /// When it was made; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub created_at: Option<Instant>,
    /// When it last changed; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub updated_at: Option<Instant>,
}

/// That a fleet's data flows through a connection: the event to rely on (contract 5.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FleetConnection {
    /// The relation.
    pub id: String,
    /// Catena's fleet.
    pub fleet_id: String,
    /// The connection.
    pub connection_id: String,
}

/// One attempt to fetch a resource (contract 5.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Execution {
    /// The attempt.
    pub id: String,
    /// When it was planned.
    pub created_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Option<Instant>,
    /// The schedule that it belongs to.
    pub schedule_id: Option<String>,
    /// The connection.
    pub connection_id: String,
    /// Catena's fleet.
    pub fleet_id: Option<String>,
    /// `failed`, `pending`, `scheduled`, `success`.
    pub status: Option<Status>,
    /// The provider's source.
    pub source_name: Option<String>,
    /// What was to be fetched.
    pub resource: Option<String>,
}

/// The repeated fetching of one resource through a connection (contract 5.2). Events carry no fleet, and neither events nor the
/// API say when it last changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Schedule {
    /// The schedule.
    pub id: String,
    /// The connection.
    pub connection_id: String,
    /// What is fetched.
    pub resource: Option<String>,
    /// `inactive`, `active`, `paused`, `stale`, `deleted`, `cancelled`, `cancelled_insufficient_scope`.
    pub status: Option<Status>,
    /// Seconds between attempts.
    pub execution_interval_seconds: Option<i64>,
    /// Errors in a row until it stops.
    pub consecutive_error_threshold: Option<i64>,
    /// Attempts at a time.
    pub max_concurrent_executions: Option<i64>,
}

/// An asynchronous write and how it went (contract 5.4). The endpoint is provisional, so all but the id is read leniently (contract 7,
/// 22): most of it is for people, and a list is searched whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResourceOperation {
    /// The operation.
    pub id: String,
    /// When it was asked for.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub created_at: Option<Instant>,
    /// When it last changed.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub updated_at: Option<Instant>,
    /// The connection.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub connection_id: Option<String>,
    /// Our own reference.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub fleet_ref: Option<String>,
    /// The provider's source.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub source_name: Option<String>,
    /// What was written.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub resource: Option<String>,
    /// `create` or `update`.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub operation_type: Option<String>,
    /// Catena's id of what was written; absent until success.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub resource_id: Option<String>,
    /// The provider's id of what was written; absent until success.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub source_id: Option<String>,
    /// `pending`, `success`, `failed`. The event's name says `succeeded`, the status `success`.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub status: Option<Status>,
    /// What was asked for, with the provider's ids.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub payload: Option<Value>,
    /// The attempts.
    #[serde(default, deserialize_with = "lenient_objects")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub logs: Vec<OperationLog>,
}

/// One attempt of an asynchronous write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationLog {
    /// The entry.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub id: Option<String>,
    /// When the attempt was made.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub created_at: Option<Instant>,
    /// When the entry last changed.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub updated_at: Option<Instant>,
    /// `success` or `failed`.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub status: Option<Status>,
    /// `auth`, `validation`, `network`, `tsp`.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub error_type: Option<String>,
    /// The provider's words.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub error_details: Option<String>,
    /// The provider's HTTP status.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub response_status_code: Option<i64>,
    /// Rate limits and request ids; the rest is redacted by Catena.
    #[serde(default, deserialize_with = "lenient_texts")]
    #[cfg_attr(feature = "schema", schemars(extend("x-lenient" = true)))]
    pub response_headers: Option<BTreeMap<String, String>>,
}

/// A message between a dispatcher and a driver, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Message {
    /// The message.
    pub id: String,
    /// Catena's fleet.
    pub fleet_id: Option<String>,
    /// Our own reference.
    pub fleet_ref: Option<String>,
    /// The connection.
    pub connection_id: Option<String>,
    /// When it was stored.
    pub created_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Option<Instant>,
    /// When it happened.
    pub occurred_at: Option<Instant>,
    /// `read`, `sent`, `delivered`, `pending`.
    pub status: Option<Status>,
}

/// A telematics provider, or a fleet's request for one: `tsp.requested` has no documented payload, so any of the ids of
/// contract 6.11 may be here and none proves anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tsp {
    /// The provider, or the request.
    pub id: Option<String>,
    /// The provider's name.
    pub name: Option<String>,
    /// The request.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub integration_request_id: Option<String>,
    /// The provider in Catena's registry of providers that it doesn't support yet.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub ext_tsp_id: Option<String>,
    /// That provider's name.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub ext_tsp_name: Option<String>,
    /// Catena's fleet.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub fleet_id: Option<String>,
    /// Our own reference.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub fleet_ref: Option<String>,
    /// SHA-256 of the invitation's id.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub invitation_hash: Option<InvitationHash>,
    /// Not empty: the provider is live (contract 3.6).
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub integrated_tsp_ids: Option<Vec<String>>,
    /// When it was requested.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub created_at: Option<Instant>,
    /// When it last changed.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub updated_at: Option<Instant>,
}

/// A webhook subscription; Catena masks its URL, and its secret isn't read at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subscription {
    /// The subscription.
    pub id: String,
    /// What it is for.
    pub event_name: Option<String>,
    /// `active`, `paused`, `stale`, `deleted`.
    pub status: Option<Status>,
    /// Where it delivers to, partly masked. The contract leaves its type open.
    pub url: Option<Value>,
    /// Which fleets alone it is for.
    pub filters: Option<SubscriptionFilters>,
    /// When it was made; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub created_at: Option<Instant>,
    /// When it last changed; only the API has it.
    #[cfg_attr(feature = "schema", schemars(extend("x-not-in-events" = true)))]
    pub updated_at: Option<Instant>,
}

impl Subscription {
    /// Its URL, as far as Catena shows it.
    pub fn shown_url(&self) -> Option<&str> {
        self.url.as_ref()?.as_str()
    }
}

/// Which fleets a subscription is for; all if nothing is named (contract 6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SubscriptionFilters {
    /// By Catena's ids.
    pub fleet_ids: Option<Vec<String>>,
    /// By our own references.
    pub fleet_refs: Option<Vec<String>>,
}

impl SubscriptionFilters {
    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        let none = |some: &Option<Vec<String>>| some.as_ref().is_none_or(Vec::is_empty);
        none(&self.fleet_ids) && none(&self.fleet_refs)
    }
}

/// A fleet that shares with us (contract 3.2). Only the API has it. Its made-up website and its contacts are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fleet {
    /// Catena's fleet.
    pub id: String,
    /// Our own reference.
    pub fleet_ref: Option<String>,
    /// Its name. May be a placeholder, `Fleet <invitation id>`, which is never to be shown: [`Fleet::shown_name`].
    pub name: Option<String>,
    /// The name to show, if the fleet has another.
    pub display_name: Option<String>,
    /// The name in its papers.
    pub legal_name: Option<String>,
    /// SHA-256 of the invitation's id.
    pub invitation_hash: Option<InvitationHash>,
    /// Its number with an authority.
    pub regulatory_id: Option<String>,
    /// `DOT`, `EASA`, `MC`, …
    pub regulatory_id_type: Option<String>,
    /// ISO 3166-1 alpha-3.
    pub country_code: Option<String>,
    /// When it was created.
    pub created_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Option<Instant>,
}

impl Fleet {
    /// The name that the fleet has given itself: not the placeholder of one that was onboarded without (contract 3.2).
    pub fn shown_name(&self) -> Option<&str> {
        let names = [self.display_name.as_deref(), self.name.as_deref()];
        let mut names = names.into_iter().flatten();
        let name = names.find(|name| !name.trim().is_empty())?;
        let placeholder = name.strip_prefix("Fleet ").is_some_and(|rest| {
            // What scrubbing leaves of it, or an id that nothing said to be an invitation's.
            rest.starts_with("(invitation)") || rest.parse::<uuid::Uuid>().is_ok()
        });
        (!placeholder).then_some(name)
    }
}

/// A provider that Catena supports (contract 3.5). Only the API has it. Several share one `source_name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Provider {
    /// The provider.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its readable id.
    pub slug: Option<String>,
    /// Its source, shared by white labels.
    pub source_name: Option<String>,
    /// How a fleet connects; open.
    pub conn_type: Option<String>,
    /// `active`, `inactive`, `deleted`.
    pub status: Option<Status>,
    /// Whether it is for trying things out.
    pub is_sandbox: Option<bool>,
    /// What it was in the registry of providers that aren't supported yet.
    pub ext_tsp_id: Option<String>,
    /// The authority that lists it.
    pub registry: Option<String>,
    /// `compliant`, `non_compliant`, `unknown`; open.
    pub compliance_status: Option<String>,
    /// When it was created.
    pub created_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Option<Instant>,
}

/// A fleet's request for a provider that Catena doesn't support yet (contract 3.6). Only the API has it. The fleet's contact
/// is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IntegrationRequest {
    /// The request.
    pub id: String,
    /// The provider in Catena's registry.
    pub ext_tsp_id: Option<String>,
    /// That provider's name.
    pub ext_tsp_name: Option<String>,
    /// `compliant`, `non_compliant`, `unknown`; open.
    pub ext_tsp_compliance_status: Option<String>,
    /// Catena's fleet.
    pub fleet_id: Option<String>,
    /// Our own reference.
    pub fleet_ref: Option<String>,
    /// Us.
    pub partner_id: Option<String>,
    /// SHA-256 of the invitation's id.
    pub invitation_hash: Option<InvitationHash>,
    /// The providers that it has become.
    #[serde(default)]
    pub integrated_tsp_ids: Option<Vec<String>>,
    /// When it was requested.
    pub created_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Option<Instant>,
}

impl IntegrationRequest {
    /// Whether the provider is live. There is no status field (contract 3.6).
    pub fn is_live(&self) -> bool {
        self.integrated_tsp_ids
            .as_ref()
            .is_some_and(|ids| !ids.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// All fields of contract 5.4.
    fn documented() -> Value {
        json!({
            "id": "operation",
            "created_at": "2026-05-04T08:00:00Z",
            "updated_at": "2026-05-04T08:00:01Z",
            "connection_id": "connection",
            "fleet_ref": "FLEET-42",
            "source_name": "source",
            "resource": "message",
            "operation_type": "create",
            "resource_id": "resource",
            "source_id": "7",
            "status": "failed",
            "payload": { "message_text": "Hello" },
            "logs": [{
                "id": "log",
                "created_at": "2026-05-04T08:00:01Z",
                "updated_at": "2026-05-04T08:00:01Z",
                "status": "failed",
                "error_type": "auth",
                "error_details": "no",
                "response_status_code": 401,
                "response_headers": { "x-request-id": "r-1" },
            }],
        })
    }

    fn read(value: &Value) -> ResourceOperation {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn an_odd_field_of_an_operation_costs_itself_alone() {
        let whole = json!(read(&documented()));
        let fields = whole.as_object().unwrap().keys();
        let entrys = whole["logs"][0].as_object().unwrap().keys();
        let fields = fields
            .filter(|field| *field != "id")
            .map(|field| format!("/{field}"));
        let fields = fields.chain(entrys.map(|field| format!("/logs/0/{field}")));
        for field in fields {
            let not_a_text = ["_at", "/logs", "_code", "_headers"];
            let text = not_a_text.iter().any(|it| field.ends_with(it));
            let odd = [json!(null), json!(true), json!([[]])].into_iter();
            for odd in odd.chain(text.then(|| json!("?"))) {
                let (mut record, mut expected) = (documented(), whole.clone());
                *record.pointer_mut(&field).unwrap() = odd.clone();
                *expected.pointer_mut(&field).unwrap() = match &*field {
                    "/logs" => json!([]),
                    "/payload" => odd.clone(),
                    _ => Value::Null,
                };
                assert_eq!(json!(read(&record)), expected, "{field}: {odd}");
            }
        }
    }

    #[test]
    fn what_is_no_entry_of_a_log_and_no_header_is_left_out() {
        let mut record = documented();
        let entry = record["logs"][0].take();
        record["logs"] = json!([null, "x", [], ["log"], entry, {}]);
        record["logs"][4]["response_headers"] =
            json!({ "x-request-id": "r-1", "x-rate-limit": 7, "x-null": null, "x-list": [] });
        let logs = read(&record).logs;
        assert_eq!(logs.len(), 2);
        assert_eq!(logs[0].error_type.as_deref(), Some("auth"));
        let headers = [("x-rate-limit", "7"), ("x-request-id", "r-1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(logs[0].response_headers, Some(BTreeMap::from(headers)));
    }

    #[test]
    fn an_operation_without_an_id_is_none() {
        for id in [json!(null), json!(7)] {
            let mut record = documented();
            record["id"] = id;
            assert!(serde_json::from_value::<ResourceOperation>(record).is_err());
        }
    }
}

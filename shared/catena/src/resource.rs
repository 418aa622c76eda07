//! The resources that events are about. The same shapes come back from Catena's API.
//!
//! Identifiers of ours to look things up by are required, every other field is optional: sources disagree on what is
//! always there (contract 7), and a missing description must not cost an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Instant, InvitationHash, open_enum::open_enum};

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

/// An asynchronous write and how it went (contract 5.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResourceOperation {
    /// The operation.
    pub id: String,
    /// When it was asked for.
    pub created_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Option<Instant>,
    /// The connection.
    pub connection_id: Option<String>,
    /// Our own reference.
    pub fleet_ref: Option<String>,
    /// The provider's source.
    pub source_name: Option<String>,
    /// What was written.
    pub resource: Option<String>,
    /// `create` or `update`.
    pub operation_type: Option<String>,
    /// Catena's id of what was written; absent until success.
    pub resource_id: Option<String>,
    /// The provider's id of what was written; absent until success.
    pub source_id: Option<String>,
    /// `pending`, `success`, `failed`. The event's name says `succeeded`, the status `success`.
    pub status: Option<Status>,
    /// What was asked for, with the provider's ids.
    pub payload: Option<Value>,
    /// The attempts.
    #[serde(default)]
    pub logs: Vec<OperationLog>,
}

/// One attempt of an asynchronous write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationLog {
    /// The entry.
    pub id: Option<String>,
    /// When the attempt was made.
    pub created_at: Option<Instant>,
    /// When the entry last changed.
    pub updated_at: Option<Instant>,
    /// `success` or `failed`.
    pub status: Option<Status>,
    /// `auth`, `validation`, `network`, `tsp`.
    pub error_type: Option<String>,
    /// The provider's words.
    pub error_details: Option<String>,
    /// The provider's HTTP status.
    pub response_status_code: Option<i64>,
    /// Rate limits and request ids; the rest is redacted by Catena.
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

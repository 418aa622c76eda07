//! Catena's token endpoint, organisation API (contract 1 to 3), its connections (contract 5.1, 5.2), writes and resource
//! operations (contract 5.3, 5.4), and its notification API (contract 6.1).
//!
//! Where the contract leaves something open, the choice is said where it is made; what matters to a client can be
//! switched ([`Settings`]).

mod agreements;
mod calls;
mod connect;
mod connections;
mod errors;
mod faults;
mod http;
mod integration_requests;
mod invitations;
mod notifications;
mod operation_rules;
mod operations;
mod pages;
mod query;
mod rate_limit;
mod request;
mod resource_operations;
mod routes;
mod state;
mod token;
mod truth;
mod tsps;
mod world;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use self::http::router;
pub use self::{
    agreements::Status as AgreementStatus,
    calls::ApiCall,
    connect::{Mixed, RedirectParameters},
    connections::{ConnectionStatus, ScheduleStatus},
    faults::{ApiFault, ApiFaultKind},
    invitations::{Level, Refresh, Status as InvitationStatus},
    operation_rules::{Announce, OperationRule, OperationStep, StepOutcome},
    rate_limit::{EarlyCall, RateLimit, RateReport},
    resource_operations::{OperationStatus, WriteTruth},
    token::{CLIENT_ID, CLIENT_SECRET, TOKEN_PATH},
    truth::{AgreementTruth, ConnectionTruth, IntegrationRequestTruth, Truth},
    world::{AgreementChange, Telling, WorldError},
};
use self::{
    calls::Calls, faults::FaultQueue, invitations::Regulatory, rate_limit::RateLimiter,
    resource_operations::ResourceOperation, state::State,
};
use crate::{envelope::Envelope, fleet::Fleet, webhooks::Webhooks};

/// How the organisation behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) refresh: Refresh,
    pub(crate) default_permissions: Level,
    /// What magic links begin with.
    connect_url: String,
    pub(crate) redirects: RedirectParameters,
    pub(crate) mixed: Mixed,
    /// From the making of an integration request to its being listed.
    pub(crate) request_lag: Duration,
    pub(crate) hidden_endpoints: HiddenEndpoints,
}

/// What comes of calls of the endpoints that the specification hides: the registry of providers and the list of
/// integration requests (contract 3.6). Whether Catena serves them to a partner is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenEndpoints {
    /// They work.
    #[default]
    Served,
    /// 403.
    Forbidden,
    /// 404.
    Missing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refresh: Refresh::default(),
            default_permissions: Level::default(),
            connect_url: String::new(),
            redirects: RedirectParameters::default(),
            mixed: Mixed::default(),
            request_lag: Duration::ZERO,
            hidden_endpoints: HiddenEndpoints::default(),
        }
    }
}

/// An invitation as it is stored: the newest of its fleet.
#[derive(Clone, Debug)]
pub struct StoredInvitation {
    /// The invitation's id.
    pub id: Uuid,
    /// The partner's name for the fleet.
    pub fleet_ref: String,
    /// `active`, `accepted`, `declined`, `expired` or `deleted`.
    pub status: &'static str,
    /// What the fleet is asked to share: `read` or `read_write` by resource.
    pub permissions: BTreeMap<String, String>,
    /// When it expires, or expired.
    pub expires_at: OffsetDateTime,
    /// All identifiers that the fleet has or will have, to make further events with.
    pub fleet: Fleet,
    /// As the API answers it (`InvitationRead`).
    pub read: Value,
    /// The fleet once for each connection that it ever made, with that connection's identifiers, to make further events
    /// with. The identifiers of the first are those of `fleet`.
    pub connections: Vec<Fleet>,
}

/// Why a fleet can't do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// It was neither invited through the API nor made up by a scenario.
    #[error("fleet `{0}`: not invited")]
    Unknown(String),
    /// Its newest invitation can't be answered any more.
    #[error("fleet `{fleet_ref}`: its invitation is {status}, not active")]
    NotActive {
        /// The fleet.
        fleet_ref: String,
        /// The invitation's status.
        status: &'static str,
    },
    /// A scenario names it twice.
    #[error("fleet `{0}`: named twice")]
    Repeated(String),
}

/// The other side of the API.
pub(crate) struct Organisation {
    /// Its own Connect, where magic links lead unless told.
    connect_url: String,
    webhooks: Arc<Webhooks>,
    state: Mutex<State>,
    calls: Calls,
    faults: FaultQueue,
    rate_limiter: RateLimiter,
}

impl Organisation {
    pub(crate) fn new(webhooks: Arc<Webhooks>, url: &str) -> Self {
        let connect_url = format!("{url}{}", connect::PATH);
        let mut state = State::default();
        state.set_connect_url(&connect_url);
        Self {
            connect_url,
            webhooks,
            state: Mutex::new(state),
            calls: Calls::default(),
            faults: FaultQueue::default(),
            rate_limiter: RateLimiter::default(),
        }
    }

    pub(crate) fn invitation(&self, fleet_ref: &str) -> Option<StoredInvitation> {
        self.act(|state, _| {
            let invitation = state.of(fleet_ref)?;
            Some(StoredInvitation {
                id: invitation.fleet.invitation_id,
                fleet_ref: fleet_ref.to_owned(),
                status: invitation.status.name(),
                permissions: invitation.permissions.clone(),
                expires_at: invitation.expires_at,
                fleet: invitation.fleet.clone(),
                read: invitation.read(),
                connections: invitation.connections.clone(),
            })
        })
    }

    pub(crate) fn fleet_acts(&self, fleet_ref: &str, act: &Act) -> Result<(), FleetError> {
        self.act(|state, now| {
            let place = state.open_of(fleet_ref)?;
            match act {
                Act::View => {
                    let event = state.view(place, now);
                    state.outbox.push(event);
                }
                Act::Accept => {
                    let events = state.accept(place, now);
                    state.outbox.extend(events);
                }
                Act::Decline { decline_reason } => {
                    let event = state.decline(place, decline_reason.as_deref(), now);
                    state.outbox.push(event);
                }
                Act::Expire => {
                    let event = state.expire(place, now);
                    state.outbox.push(event);
                }
            }
            Ok(())
        })
    }

    /// The rest of onboarding for each of these fleets, at once in the state and as events that are still to be sent.
    pub(crate) fn carry_on(
        &self,
        fleet_refs: &[String],
    ) -> Result<Vec<(Fleet, Vec<Envelope>)>, FleetError> {
        self.act(|state, now| {
            let mut places = Vec::new();
            for fleet_ref in fleet_refs {
                let place = state.open_of(fleet_ref)?;
                if places.contains(&place) {
                    return Err(FleetError::Repeated(fleet_ref.clone()));
                }
                places.push(place);
            }
            let carried_on = places.into_iter().map(|place| {
                let events = state.carry_on(place, now);
                (state.at(place).fleet.clone(), events)
            });
            Ok(carried_on.collect())
        })
    }

    /// These made-up fleets have been through onboarding.
    pub(crate) fn adopt<'a>(&self, fleets: impl IntoIterator<Item = &'a Fleet>) {
        self.act(|state, _| fleets.into_iter().for_each(|fleet| state.adopt(fleet)));
    }

    pub(crate) fn put_integration_request(
        &self,
        fields: Map<String, Value>,
    ) -> Result<Value, FleetError> {
        self.act(|state, now| state.put_integration_request(fields, now))
    }

    pub(crate) fn connection_becomes(
        &self,
        id: Uuid,
        status: ConnectionStatus,
        telling: Telling,
    ) -> Result<(), WorldError> {
        self.act(|state, now| state.connection_becomes(id, status, telling, now))
    }

    pub(crate) fn connection_vanishes(&self, id: Uuid) -> Result<(), WorldError> {
        self.act(|state, _| state.connection_vanishes(id))
    }

    pub(crate) fn schedules_become(
        &self,
        connection_id: Uuid,
        resource: Option<&str>,
        status: ScheduleStatus,
        telling: Telling,
    ) -> Result<(), WorldError> {
        self.act(|state, now| state.schedules_become(connection_id, resource, status, telling, now))
    }

    pub(crate) fn agreement_changes(
        &self,
        fleet_ref: &str,
        change: AgreementChange,
        telling: Telling,
    ) -> Result<(), WorldError> {
        self.act(|state, now| state.agreement_changes(fleet_ref, change, telling, now))
    }

    pub(crate) fn provider_goes_live(
        &self,
        provider: &str,
        telling: Telling,
    ) -> Result<Uuid, WorldError> {
        self.act(|state, now| state.provider_goes_live(provider, telling, now))
    }

    pub(crate) fn set_regulatory_id(
        &self,
        fleet_ref: &str,
        id: Option<String>,
        kind: Option<String>,
    ) -> Result<(), WorldError> {
        self.act(|state, now| {
            let place = state.place_of(fleet_ref);
            let place = place.ok_or_else(|| WorldError::Fleet(fleet_ref.to_owned()))?;
            state
                .at_mut(place)
                .set_regulatory(Regulatory { id, kind }, now);
            Ok(())
        })
    }

    pub(crate) fn truth(&self, fleet_ref: &str) -> Option<Truth> {
        self.act(|state, _| state.truth(fleet_ref))
    }

    pub(crate) fn fleet_refs(&self) -> Vec<String> {
        self.state().fleet_refs()
    }

    pub(crate) fn set_rate_limit(&self, limit: Option<RateLimit>) {
        self.rate_limiter.set(limit);
    }

    pub(crate) fn rate_report(&self) -> RateReport {
        self.rate_limiter.report()
    }

    pub(crate) fn calls(&self) -> Vec<ApiCall> {
        self.calls.list()
    }

    pub(crate) fn clear_calls(&self) {
        self.calls.clear();
    }

    pub(crate) fn most_calls_in_flight(&self) -> usize {
        self.calls.most_in_flight()
    }

    pub(crate) fn add_fault(&self, fault: ApiFault) {
        self.faults.add(fault);
    }

    pub(crate) fn faults(&self) -> Vec<ApiFault> {
        self.faults.list()
    }

    pub(crate) fn clear_faults(&self) {
        self.faults.clear();
    }

    pub(crate) fn add_operation_rule(&self, rule: OperationRule) {
        self.state().resource_operations.rules.add(rule);
    }

    pub(crate) fn operation_rules(&self) -> Vec<OperationRule> {
        self.state().resource_operations.rules.list()
    }

    pub(crate) fn clear_operation_rules(&self) {
        self.state().resource_operations.rules.clear();
    }

    pub(crate) fn set_operation_list_lag(&self, lag: Duration) {
        self.state().resource_operations.list_lag = lag;
    }

    pub(crate) fn set_operation_read_lag(&self, lag: Duration) {
        self.state().resource_operations.read_lag = lag;
    }

    pub(crate) fn writes(&self) -> Vec<WriteTruth> {
        self.act(|state, _| state.resource_operations.truths())
    }

    pub(crate) fn clear_writes(&self) {
        self.act(|state, _| state.resource_operations.clear());
    }

    fn note_answer(&self, operation: Uuid) {
        self.state().resource_operations.note_answer(operation);
    }

    /// Lets happen what is to happen to resource operations, for ever.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        let sooner = Arc::clone(&self.state().resource_operations.sooner);
        loop {
            let next_at = self.act(|state, _| state.resource_operations.next_at());
            match next_at {
                None => sooner.notified().await,
                // Whether it is time, or something else comes first: the next round knows.
                Some(at) => {
                    let _ = tokio::time::timeout(until(at), sooner.notified()).await;
                }
            }
        }
    }

    /// The answer to a sync write: none ever, if nothing happens to its operation.
    async fn decision(&self, operation: Uuid) -> (StatusCode, Value) {
        loop {
            let (decision, next_at) = self.act(|state, _| {
                let found = state.resource_operations.get(operation);
                let decision = found.and_then(ResourceOperation::decision);
                (decision, found.and_then(|it| it.decided_at))
            });
            match (decision, next_at) {
                (Some(decision), _) => return decision,
                (None, Some(at)) => tokio::time::sleep(until(at)).await,
                (None, None) => std::future::pending().await,
            }
        }
    }

    pub(crate) fn revoke_tokens(&self) {
        self.state().tokens.revoke();
    }

    pub(crate) fn set_token_lifetime(&self, lifetime: Duration) {
        self.state().tokens.lifetime = lifetime;
    }

    pub(crate) fn set_token_permissions(&self, permissions: BTreeSet<String>) {
        self.state().tokens.permissions = permissions;
    }

    pub(crate) fn issue_token(&self, permissions: BTreeSet<String>) -> String {
        self.state().tokens.give(permissions)
    }

    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    pub(crate) fn set_connect_url(&self, connect_url: Option<&str>) {
        let connect_url = connect_url.unwrap_or(&self.connect_url);
        self.state().set_connect_url(connect_url);
    }

    /// One change at a time; what it emits goes out when it is over.
    fn act<T>(&self, act: impl FnOnce(&mut State, OffsetDateTime) -> T) -> T {
        let mut state = self.state();
        let now = OffsetDateTime::now_utc();
        state.pass_time(now);
        let result = act(&mut state, now);
        for callback in std::mem::take(&mut state.callbacks) {
            callback.subscribe(&self.webhooks);
        }
        // Still locked, so that events of two changes keep their order.
        self.webhooks.announce(std::mem::take(&mut state.outbox));
        state.resource_operations.settle();
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Organisation {
    /// What is being delivered ends with the organisation.
    fn drop(&mut self) {
        self.webhooks.announcer.stop();
    }
}

/// How long it takes until that moment: a millisecond at least, so that nobody waits in a busy loop.
fn until(at: OffsetDateTime) -> Duration {
    let wait = at - OffsetDateTime::now_utc();
    let wait = Duration::try_from(wait).unwrap_or_default();
    wait.max(Duration::from_millis(1))
}

/// What a fleet does about its invitation, and what time does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    View,
    Accept,
    Decline { decline_reason: Option<String> },
    Expire,
}

//! Catena's token endpoint and organisation API (contract 1 to 3).
//!
//! Where the contract leaves something open, the choice is said where it is made; what matters to a client can be
//! switched ([`Settings`]).

mod agreements;
mod calls;
mod connect;
mod errors;
mod faults;
mod invitations;
mod operations;
mod pages;
mod query;
mod request;
mod routes;
mod state;
mod token;
mod tsps;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State as Shared},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
    routing::any,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};
use uuid::Uuid;

pub use self::{
    calls::ApiCall,
    connect::{Mixed, RedirectParameters},
    faults::{ApiFault, ApiFaultKind},
    invitations::{Level, Refresh},
    token::{CLIENT_ID, CLIENT_SECRET, TOKEN_PATH},
};
use self::{
    calls::Calls,
    errors::{Refusal, Reply},
    faults::FaultQueue,
    operations::Call,
    query::Query,
    routes::Found,
    state::State,
};
use crate::{envelope::Envelope, faults::Faults, fleet::Fleet, webhooks::Webhooks, wire::Wire};

/// How the organisation behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether changes emit their events.
    pub(crate) events: bool,
    pub(crate) refresh: Refresh,
    pub(crate) default_permissions: Level,
    /// What magic links begin with.
    connect_url: String,
    pub(crate) redirects: RedirectParameters,
    pub(crate) mixed: Mixed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            events: true,
            refresh: Refresh::default(),
            default_permissions: Level::default(),
            connect_url: String::new(),
            redirects: RedirectParameters::default(),
            mixed: Mixed::default(),
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
    /// The fleet once for each connected provider, with that connection's identifiers, to make further events with. The
    /// identifiers of the first are those of `fleet`.
    pub connections: Vec<Fleet>,
}

/// Why a fleet can't do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// It was never invited through the API.
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
    runtime: Handle,
    /// Sequences of events that are being delivered. They end with the organisation.
    deliveries: Mutex<JoinSet<()>>,
    underway: watch::Sender<usize>,
}

impl Organisation {
    /// Needs a Tokio runtime, as background deliveries do.
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
            runtime: Handle::current(),
            deliveries: Mutex::default(),
            underway: watch::Sender::new(0),
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

    pub(crate) fn put_integration_request(
        &self,
        fields: Map<String, Value>,
    ) -> Result<Value, FleetError> {
        self.act(|state, now| state.put_integration_request(fields, now))
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

    pub(crate) fn hold_events(&self) {
        self.state().held.get_or_insert_default();
    }

    pub(crate) fn release_events(&self) {
        let mut state = self.state();
        let events = state.held.take().unwrap_or_default();
        if !events.is_empty() {
            self.emit(events);
        }
    }

    /// Waits until no event is being delivered.
    pub(crate) async fn idle(&self) {
        let mut underway = self.underway.subscribe();
        // The sender lives as long as `self`.
        let _ = underway.wait_for(|&count| count == 0).await;
    }

    /// One change at a time; what it emits goes out when it is over.
    fn act<T>(&self, act: impl FnOnce(&mut State, OffsetDateTime) -> T) -> T {
        let mut state = self.state();
        let now = OffsetDateTime::now_utc();
        state.pass_time(now);
        let result = act(&mut state, now);
        let events = std::mem::take(&mut state.outbox);
        if state.settings.events && !events.is_empty() {
            match &mut state.held {
                Some(held) => held.extend(events),
                None => self.emit(events),
            }
        }
        result
    }

    /// Delivers events of one change in their order, in the background.
    fn emit(&self, events: Vec<Envelope>) {
        let webhooks = Arc::clone(&self.webhooks);
        self.underway.send_modify(|count| *count += 1);
        let done = Underway(self.underway.clone());
        let mut deliveries = self
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while deliveries.try_join_next().is_some() {}
        let deliver = async move {
            let _done = done;
            for event in events {
                event.due().await;
                webhooks.deliver(&event, Faults::default()).await;
            }
        };
        deliveries.spawn_on(deliver, &self.runtime);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one call, with the fault that waits for it.
    async fn answer(&self, request: Request, wire: &Wire) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, LONGEST_BODY)
            .await
            .unwrap_or_default();
        let found = routes::find(parts.method.as_str(), parts.uri.path());
        let template = match &found {
            Found::Here(route, _) => route.template,
            Found::OtherMethods(template) => template,
            Found::Nothing => parts.uri.path(),
        };
        let call = self.calls.begin(parts.method.as_str(), template);
        let process = || self.process(&found, &parts, &body);
        let fault = self.faults.take(parts.method.as_str(), template);
        let reply = match &fault {
            None | Some(ApiFaultKind::Truncated) => process(),
            Some(ApiFaultKind::TooManyRequests {
                retry_after_seconds,
                retry_after,
            }) => too_many(*retry_after_seconds, retry_after.as_deref()),
            Some(ApiFaultKind::Status { status }) => error_status(*status),
            Some(ApiFaultKind::Unauthorized) => Refusal::Unauthorized.reply(),
            Some(ApiFaultKind::Slow { by }) => {
                tokio::time::sleep(*by).await;
                process()
            }
            Some(ApiFaultKind::Stall) => pending().await,
            Some(ApiFaultKind::CutBefore) => {
                wire.cut();
                return Response::default();
            }
            Some(ApiFaultKind::CutAfter) => {
                process();
                wire.cut();
                return Response::default();
            }
            Some(ApiFaultKind::Html) => Reply::html(StatusCode::OK),
            Some(ApiFaultKind::Oversized { mebibytes }) => {
                call.answered(200);
                return oversized(*mebibytes);
            }
            Some(ApiFaultKind::Empty) => {
                process();
                Reply::empty(StatusCode::OK)
            }
            Some(ApiFaultKind::WrongContentType) => Reply {
                content_type: Some("text/plain"),
                ..process()
            },
        };
        call.answered(reply.status.as_u16());
        respond(reply, fault == Some(ApiFaultKind::Truncated))
    }

    fn process(&self, found: &Found<'_>, parts: &Parts, body: &[u8]) -> Reply {
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let serve = |state: &mut State, now| {
            let (route, id) = match found {
                Found::Here(route, id) => (route, id),
                Found::OtherMethods(_) => return Err(Refusal::MethodNotAllowed),
                Found::Nothing => return Err(Refusal::NotFound),
            };
            state
                .tokens
                .admit(route.access, header(header::AUTHORIZATION))?;
            let call = Call {
                operation: route.operation,
                id,
                query: Query::parse(parts.uri.query().unwrap_or_default()),
                content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
                body,
            };
            call.serve(state, now)
        };
        self.act(serve).unwrap_or_else(|refusal| refusal.reply())
    }
}

/// What a fleet does about its invitation, and what time does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    View,
    Accept,
    Decline { decline_reason: Option<String> },
    Expire,
}

/// Counts one sequence of events down when it ends, aborted or not.
struct Underway(watch::Sender<usize>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The API's paths; [`Wire`]s come from the server.
pub(crate) fn router(organisation: Arc<Organisation>) -> Router {
    Router::new()
        .route("/realms/{*path}", any(answer))
        .route("/v2/{*path}", any(answer))
        .route(connect::PATH, any(connect))
        .route("/connect/{*path}", any(connect))
        .with_state(organisation)
}

async fn answer(
    Shared(organisation): Shared<Arc<Organisation>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    organisation.answer(request, &wire).await
}

async fn connect(Shared(organisation): Shared<Arc<Organisation>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST_BODY).await;
    let body = body.unwrap_or_default();
    respond(
        organisation.act(|state, now| connect::serve(state, &parts, &body, now)),
        false,
    )
}

fn too_many(retry_after_seconds: Option<u64>, retry_after: Option<&str>) -> Reply {
    let reply = Reply::too_many(retry_after_seconds);
    match retry_after.and_then(|text| HeaderValue::from_str(text).ok()) {
        Some(value) => reply.with(header::RETRY_AFTER, value),
        None => reply,
    }
}

fn error_status(status: u16) -> Reply {
    match StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR) {
        StatusCode::INTERNAL_SERVER_ERROR => Reply::broken(),
        status @ (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE) => Reply::html(status),
        StatusCode::TOO_MANY_REQUESTS => Reply::too_many(None),
        status => Reply::plain(status, None),
    }
}

fn respond(reply: Reply, truncated: bool) -> Response {
    let Reply {
        status,
        content_type,
        headers,
        body,
    } = reply;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(content_type) = content_type {
        let value = HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    if truncated {
        let whole = body.len() + 1;
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, whole.into());
        *response.body_mut() = cut_short(body);
    } else {
        *response.body_mut() = body.into();
    }
    response
}

/// The first half, then the connection breaks.
fn cut_short(mut body: Vec<u8>) -> Body {
    body.truncate(body.len() / 2);
    let half = stream::once(async { Ok(Bytes::from(body)) });
    let end = stream::once(async {
        // What was given so far is sent before the server asks for more.
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(half.chain(end))
}

/// A page without items, and with much else.
fn oversized(mebibytes: usize) -> Response {
    let start =
        Bytes::from_static(b"{\"items\": [], \"total\": 0, \"next_page\": null, \"padding\": \"");
    let padding = Bytes::from(vec![b'x'; 1 << 20]);
    let padding = std::iter::repeat_n(padding, mebibytes);
    let end = Bytes::from_static(b"\"}");
    let chunks = std::iter::once(start)
        .chain(padding)
        .chain(std::iter::once(end));
    let mut response = Response::new(Body::from_stream(
        stream::iter(chunks).map(Ok::<_, Infallible>),
    ));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

const LONGEST_BODY: usize = 4 << 20;

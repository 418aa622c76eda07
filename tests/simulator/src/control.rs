//! The simulator over HTTP, for people and for tests in other processes.

mod settings;
mod subscriptions;
mod world;
mod writes;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    envelope::envelope,
    events,
    faults::Faults,
    fleet::Fleet,
    organisation::{Act, ApiFault, CLIENT_ID, CLIENT_SECRET, FleetError, Organisation, WorldError},
    scenario,
    subscriptions::SubscriptionError,
    webhooks::{Outcome, Webhooks},
};

/// What the handlers share.
struct Control {
    webhooks: Arc<Webhooks>,
    organisation: Arc<Organisation>,
    /// Made-up fleets by `fleet_ref`, so that single events of one fleet belong together.
    fleets: Mutex<HashMap<String, Fleet>>,
}

type Shared = State<Arc<Control>>;

pub(crate) fn router(
    webhooks: Arc<Webhooks>,
    organisation: Arc<Organisation>,
    url: &str,
) -> Router {
    let help = HELP
        .replace("{url}", url)
        .replace("{client_id}", CLIENT_ID)
        .replace("{client_secret}", CLIENT_SECRET);
    Router::new()
        .route("/", get(async || help))
        .route("/scenarios", post(run_scenario))
        .route("/deliveries", get(deliveries).post(deliver))
        .route("/dead-letters", get(dead_letters))
        .route("/replay", post(replay))
        .route("/signing-key", put(set_key))
        .route("/idle", get(idle))
        .route("/events/hold", post(hold_events))
        .route("/events/release", post(release_events))
        .route("/invitations/{fleet_ref}", get(invitation))
        .route("/invitations/{fleet_ref}/{act}", post(fleet_acts))
        .route("/integration-requests", put(put_integration_request))
        .route("/api-calls", get(api_calls).delete(clear_api_calls))
        .route(
            "/api-faults",
            get(api_faults).post(add_api_fault).delete(clear_api_faults),
        )
        .route("/tokens", delete(revoke_tokens))
        .route("/settings", put(settings::change))
        .route("/lost-webhooks", get(lost_webhooks))
        .route("/rate-limit", get(rate_report))
        .merge(subscriptions::routes())
        .merge(world::routes())
        .merge(writes::routes())
        .with_state(Arc::new(Control {
            webhooks,
            organisation,
            fleets: Mutex::default(),
        }))
}

async fn run_scenario(State(control): Shared, body: Bytes) -> Result<Response, Unusable> {
    let scenario = read(&body)?;
    let report = scenario::run(&control.webhooks, &control.organisation, &scenario).await;
    Ok(answer(&report?))
}

async fn deliver(State(control): Shared, body: Bytes) -> Result<Response, Unusable> {
    let EventToSend {
        event_name,
        data,
        fleet_ref,
        faults,
    } = read(&body)?;
    if event_name.chars().any(char::is_control) {
        return Err(Unusable(
            "event_name: a header carries it, so it can't hold control characters".to_owned(),
        ));
    }
    let now = OffsetDateTime::now_utc();
    let event = match data {
        Some(data) => envelope(&event_name, data, now),
        None => events::all(&control.fleet(fleet_ref, now), now)
            .into_iter()
            .find(|event| event.event_name == event_name)
            .ok_or_else(|| {
                Unusable(format!(
                    "data: missing, and there is no example for `{event_name}`"
                ))
            })?,
    };
    Ok(answer(&control.webhooks.deliver(&event, faults).await))
}

impl Control {
    fn fleet(&self, fleet_ref: String, now: OffsetDateTime) -> Fleet {
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Fleet::new(&fleet_ref, now - Duration::minutes(1));
        fleets.entry(fleet_ref).or_insert(new).clone()
    }
}

async fn deliveries(State(control): Shared) -> Response {
    answer(&control.webhooks.log())
}

async fn dead_letters(State(control): Shared) -> Response {
    answer(&control.webhooks.dead_letters())
}

async fn lost_webhooks(State(control): Shared) -> Response {
    answer(&control.webhooks.lost())
}

async fn rate_report(State(control): Shared) -> Response {
    answer(&control.organisation.rate_report())
}

async fn replay(State(control): Shared, body: Bytes) -> Result<Response, Unusable> {
    let sent = control.webhooks.replay(read(&body)?).await;
    let ended = |outcome| sent.iter().filter(|sent| sent.outcome == outcome).count();
    Ok(answer(&json!({
        "replayed": sent.len(),
        "accepted": ended(Outcome::Accepted),
        "refused": ended(Outcome::Refused),
        "dead_letters": ended(Outcome::DeadLetter),
    })))
}

async fn set_key(State(control): Shared, body: Bytes) -> Result<StatusCode, Unusable> {
    let NewKey { key, webhook_id } = read(&body)?;
    control.webhooks.set_key(webhook_id, key);
    Ok(StatusCode::NO_CONTENT)
}

async fn idle(State(control): Shared) -> StatusCode {
    control.webhooks.announcer.idle().await;
    StatusCode::NO_CONTENT
}

async fn hold_events(State(control): Shared) -> StatusCode {
    control.webhooks.announcer.hold();
    StatusCode::NO_CONTENT
}

async fn release_events(State(control): Shared) -> StatusCode {
    control.webhooks.release();
    StatusCode::NO_CONTENT
}

async fn invitation(
    State(control): Shared,
    Path(fleet_ref): Path<String>,
) -> Result<Response, Unusable> {
    let found = control.organisation.invitation(&fleet_ref);
    let found = found.ok_or(FleetError::Unknown(fleet_ref))?;
    Ok(answer(&found.read))
}

async fn fleet_acts(
    State(control): Shared,
    Path((fleet_ref, act)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Unusable> {
    let act = match act.as_str() {
        "view" => Act::View,
        "accept" => Act::Accept,
        "decline" => {
            let Declined { decline_reason } = read(&body)?;
            Act::Decline { decline_reason }
        }
        "expire" => Act::Expire,
        other => {
            return Err(Unusable(format!(
                "{other}: a fleet can `view`, `accept` or `decline`, time can `expire`"
            )));
        }
    };
    control.organisation.fleet_acts(&fleet_ref, &act)?;
    invitation(State(control), Path(fleet_ref)).await
}

async fn put_integration_request(
    State(control): Shared,
    body: Bytes,
) -> Result<Response, Unusable> {
    let request = control.organisation.put_integration_request(read(&body)?)?;
    Ok(answer(&request))
}

async fn api_calls(State(control): Shared) -> Response {
    answer(&json!({
        "calls": control.organisation.calls(),
        "most_in_flight": control.organisation.most_calls_in_flight(),
    }))
}

async fn clear_api_calls(State(control): Shared) -> StatusCode {
    control.organisation.clear_calls();
    StatusCode::NO_CONTENT
}

async fn api_faults(State(control): Shared) -> Response {
    answer(&control.organisation.faults())
}

async fn add_api_fault(State(control): Shared, body: Bytes) -> Result<StatusCode, Unusable> {
    control.organisation.add_fault(read::<ApiFault>(&body)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_api_faults(State(control): Shared) -> StatusCode {
    control.organisation.clear_faults();
    StatusCode::NO_CONTENT
}

async fn revoke_tokens(State(control): Shared) -> StatusCode {
    control.organisation.revoke_tokens();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declined {
    decline_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventToSend {
    event_name: String,
    #[serde(default)]
    data: Option<Vec<Value>>,
    #[serde(default = "example_fleet")]
    fleet_ref: String,
    #[serde(default)]
    faults: Faults,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    key: String,
    #[serde(default)]
    webhook_id: Option<Uuid>,
}

fn example_fleet() -> String {
    "FLEET-42".to_owned()
}

/// JSON whatever the content type says, so that `curl -d` just works; nothing means `{}`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unusable> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Unusable(error.to_string()))
}

/// Tells null from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// What is wrong with a request to the control API.
struct Unusable(String);

impl From<FleetError> for Unusable {
    fn from(error: FleetError) -> Self {
        Self(error.to_string())
    }
}

impl From<WorldError> for Unusable {
    fn from(error: WorldError) -> Self {
        Self(error.to_string())
    }
}

impl From<SubscriptionError> for Unusable {
    fn from(error: SubscriptionError) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Unusable {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.0 + "\n").into_response()
    }
}

fn answer(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

const HELP: &str = include_str!("help.txt");

//! The simulator over HTTP, for people and for tests in other processes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    envelope::envelope,
    events,
    faults::Faults,
    fleet::Fleet,
    scenario,
    webhooks::{Outcome, Webhooks},
};

/// What the handlers share.
struct Control {
    webhooks: Arc<Webhooks>,
    /// Made-up fleets by `fleet_ref`, so that single events of one fleet belong together.
    fleets: Mutex<HashMap<String, Fleet>>,
}

type Shared = State<Arc<Control>>;

pub(crate) fn router(webhooks: Arc<Webhooks>, url: &str) -> Router {
    let help = HELP.replace("{url}", url);
    Router::new()
        .route("/", get(async || help))
        .route("/scenarios", post(run_scenario))
        .route("/deliveries", get(deliveries).post(deliver))
        .route("/dead-letters", get(dead_letters))
        .route("/replay", post(replay))
        .route("/signing-key", put(set_key))
        .with_state(Arc::new(Control {
            webhooks,
            fleets: Mutex::default(),
        }))
}

async fn run_scenario(State(control): Shared, body: Bytes) -> Result<Response, Unusable> {
    Ok(answer(
        &scenario::run(&control.webhooks, &read(&body)?).await,
    ))
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

/// What is wrong with a request to the control API.
struct Unusable(String);

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

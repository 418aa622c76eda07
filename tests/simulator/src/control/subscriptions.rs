//! Webhook subscriptions, past Catena's API.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Control, Shared, Unusable, answer, read};
use crate::subscriptions::{Filters, SubscriptionStatus};

pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/subscriptions", get(list).post(create).delete(clear))
        .route("/subscriptions/{id}/stale", post(make_stale))
        .route("/routes", put(set_route))
        .route("/event-schemas/{event_name}", put(set_schema))
}

async fn list(State(control): Shared) -> Response {
    answer(&control.webhooks.truths())
}

async fn create(State(control): Shared, body: Bytes) -> Result<Response, Unusable> {
    let Elsewhere {
        event_name,
        url,
        filters,
    } = read(&body)?;
    let id = control
        .webhooks
        .create_elsewhere(&event_name, &url, filters)?;
    Ok(answer(&json!({ "id": id })))
}

async fn clear(State(control): Shared) -> StatusCode {
    control.webhooks.clear_standing();
    StatusCode::NO_CONTENT
}

async fn make_stale(State(control): Shared, Path(id): Path<Uuid>) -> Result<StatusCode, Unusable> {
    control
        .webhooks
        .become_status(id, SubscriptionStatus::Stale)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_route(State(control): Shared, body: Bytes) -> Result<StatusCode, Unusable> {
    let Route { from, to } = read(&body)?;
    control.webhooks.set_route(&from, &to);
    Ok(StatusCode::NO_CONTENT)
}

async fn set_schema(
    State(control): Shared,
    Path(event_name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Unusable> {
    let (schema, now) = (read::<Value>(&body)?, OffsetDateTime::now_utc());
    control
        .webhooks
        .subscriptions(|all| all.schemas.set(&event_name, schema, now));
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Elsewhere {
    event_name: String,
    url: String,
    #[serde(default)]
    filters: Filters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    from: String,
    to: String,
}

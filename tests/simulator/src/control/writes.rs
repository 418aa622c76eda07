//! Writes, and what becomes of them.

use std::sync::Arc;

use axum::{
    Router, body::Bytes, extract::State, http::StatusCode, response::Response, routing::get,
};

use super::{Control, Shared, Unusable, answer, read};
use crate::organisation::OperationRule;

pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route(
            "/operation-rules",
            get(rules).post(add_rule).delete(clear_rules),
        )
        .route("/writes", get(list).delete(clear))
}

async fn rules(State(control): Shared) -> Response {
    answer(&control.organisation.operation_rules())
}

async fn add_rule(State(control): Shared, body: Bytes) -> Result<StatusCode, Unusable> {
    let rule = read::<OperationRule>(&body)?;
    control.organisation.add_operation_rule(rule);
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_rules(State(control): Shared) -> StatusCode {
    control.organisation.clear_operation_rules();
    StatusCode::NO_CONTENT
}

async fn list(State(control): Shared) -> Response {
    answer(&control.organisation.writes())
}

async fn clear(State(control): Shared) -> StatusCode {
    control.organisation.clear_writes();
    StatusCode::NO_CONTENT
}

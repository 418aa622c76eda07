//! What happens at Catena by itself, and what holds there.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{Control, Shared, Unusable, answer, given, read};
use crate::organisation::{
    AgreementChange, AgreementStatus, ConnectionStatus, ScheduleStatus, Telling, WorldError,
};

pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/fleets", get(fleet_refs))
        .route("/truth/{fleet_ref}", get(truth))
        .route("/fleets/{fleet_ref}/regulatory-id", put(set_regulatory_id))
        .route("/fleets/{fleet_ref}/agreement", put(change_agreement))
        .route(
            "/connections/{id}",
            put(change_connection).delete(remove_connection),
        )
        .route("/connections/{id}/schedules", put(change_schedules))
        .route("/providers/{provider}/live", post(go_live))
}

async fn fleet_refs(State(control): Shared) -> Response {
    answer(&control.organisation.fleet_refs())
}

async fn truth(
    State(control): Shared,
    Path(fleet_ref): Path<String>,
) -> Result<Response, Unusable> {
    let truth = control.organisation.truth(&fleet_ref);
    let truth = truth.ok_or(WorldError::Fleet(fleet_ref))?;
    Ok(answer(&truth))
}

async fn set_regulatory_id(
    State(control): Shared,
    Path(fleet_ref): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Unusable> {
    let NewRegulatoryId { id, id_type } = read(&body)?;
    control
        .organisation
        .set_regulatory_id(&fleet_ref, id, id_type)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change_agreement(
    State(control): Shared,
    Path(fleet_ref): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Unusable> {
    let NewAgreement {
        status,
        scopes,
        effective_date,
        expiration_date,
        silent,
    } = read(&body)?;
    let effective_date = effective_date.map(|text| date("effective_date", &text));
    let expiration_date =
        expiration_date.map(|text| text.map(|text| date("expiration_date", &text)).transpose());
    let change = AgreementChange {
        status,
        scopes,
        effective_date: effective_date.transpose()?,
        expiration_date: expiration_date.transpose()?,
    };
    control
        .organisation
        .agreement_changes(&fleet_ref, change, telling(silent))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change_connection(
    State(control): Shared,
    Path(id): Path<Uuid>,
    body: Bytes,
) -> Result<StatusCode, Unusable> {
    let NewConnection { status, silent } = read(&body)?;
    control
        .organisation
        .connection_becomes(id, status, telling(silent))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_connection(
    State(control): Shared,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Unusable> {
    control.organisation.connection_vanishes(id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change_schedules(
    State(control): Shared,
    Path(id): Path<Uuid>,
    body: Bytes,
) -> Result<StatusCode, Unusable> {
    let NewSchedules {
        status,
        resource,
        silent,
    } = read(&body)?;
    let resource = resource.as_deref();
    control
        .organisation
        .schedules_become(id, resource, status, telling(silent))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn go_live(
    State(control): Shared,
    Path(provider): Path<String>,
    body: Bytes,
) -> Result<Response, Unusable> {
    let Live { silent } = read(&body)?;
    let tsp_id = control
        .organisation
        .provider_goes_live(&provider, telling(silent))?;
    Ok(answer(&json!({ "tsp_id": tsp_id })))
}

fn telling(silent: bool) -> Telling {
    match silent {
        true => Telling::Silent,
        false => Telling::Announced,
    }
}

fn date(name: &str, text: &str) -> Result<OffsetDateTime, Unusable> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| Unusable(format!("{name}: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRegulatoryId {
    id: Option<String>,
    #[serde(rename = "type")]
    id_type: Option<String>,
}

/// What is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAgreement {
    status: Option<AgreementStatus>,
    scopes: Option<BTreeMap<String, String>>,
    effective_date: Option<String>,
    /// Null: never.
    #[serde(default, deserialize_with = "given")]
    expiration_date: Option<Option<String>>,
    #[serde(default)]
    silent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConnection {
    status: ConnectionStatus,
    #[serde(default)]
    silent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSchedules {
    status: ScheduleStatus,
    /// All, if left out.
    resource: Option<String>,
    #[serde(default)]
    silent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    #[serde(default)]
    silent: bool,
}

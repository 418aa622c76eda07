//! Write operations.

use operations::{Kind, Outcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::Moment;

/// A write by a fleet's provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRequest {
    /// What is written: `message`, `group_message`, `vehicle`, `trailer`, `user`, `fuel_transaction`, `dvir_log`.
    #[schemars(length(min = 1, max = 64))]
    pub resource: String,
    /// Whether it is new.
    pub operation: WriteKind,
    /// Catena's id of what is updated; only with `update`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,100}$"))]
    pub resource_id: Option<String>,
    /// The connection to write by; may be left out if the fleet has one live connection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,100}$"))]
    pub connection_id: Option<String>,
    /// What Catena's endpoint takes, passed through; `connection_id` is added. Numbers are read as 64-bit integers or floating-point
    /// numbers, so longer ones are rounded.
    pub payload: Map<String, Value>,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WriteKind {
    /// Something new.
    Create,
    /// Something that there is.
    Update,
}

impl From<WriteKind> for Kind {
    fn from(kind: WriteKind) -> Self {
        match kind {
            WriteKind::Create => Self::Create,
            WriteKind::Update => Self::Update,
        }
    }
}

/// A write by a fleet's provider, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its id: the same for the same key of the same fleet.
    pub id: String,
    /// The fleet.
    pub fleet_ref: String,
    /// The key that it was sent under.
    pub idempotency_key: String,
    /// What is written.
    pub resource: String,
    /// `create` or `update`.
    pub operation: String,
    /// The connection that it is written by.
    pub connection_id: String,
    /// Where it stands: `submitting`, `unclear`, `pending`, `success`, `failed`, `refused` or `unknown`.
    pub status: String,
    /// The same in a sentence.
    pub explanation: String,
    /// What to do, if anything.
    pub advice: Option<String>,
    /// Why it failed, as Catena tells it.
    pub error: Option<OperationError>,
    /// Catena's id of the operation, once it is known.
    pub catena_operation_id: Option<String>,
    /// Catena's id of what was written or is to be updated.
    pub resource_id: Option<String>,
    /// The provider's id of what was written.
    pub source_id: Option<String>,
    /// Catena's attempts at the provider, as far as it tells them.
    pub attempts: Vec<OperationAttempt>,
    /// Catena told two different ends. The newer one counts.
    pub contradicted: bool,
    /// When it was first asked for.
    pub submitted_at: Moment,
    /// When it came to its end, or nothing more was expected.
    pub settled_at: Option<Moment>,
    /// By whom it was last asked for: an ARN.
    pub submitted_by: String,
    /// Calls to Catena that may have left. More than one only after Catena had refused, or nothing had left.
    pub calls: u32,
    /// Raised by one with each change.
    pub version: u64,
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationError {
    /// `auth`, `validation`, `network`, `tsp`; others may come.
    #[serde(rename = "type")]
    pub error_type: String,
    /// What that means.
    pub meaning: String,
    /// The provider's words, cut, without ids and links.
    pub details: Option<String>,
    /// The provider's HTTP status.
    pub http_status: Option<i64>,
}

/// One of Catena's attempts at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationAttempt {
    /// When.
    pub at: Option<Moment>,
    /// `success` or `failed`.
    pub status: Option<String>,
    /// What kind of error.
    pub error_type: Option<String>,
    /// The provider's words.
    pub details: Option<String>,
    /// The provider's HTTP status.
    pub http_status: Option<i64>,
    /// What the provider calls the request, for its support.
    pub headers: BTreeMap<String, String>,
}

/// Some of the operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationPage {
    /// The moment that this is about.
    pub as_of: Moment,
    /// Of one fleet, the latest first; of all fleets, in no order of time. A page may be empty though another follows.
    pub operations: Vec<Operation>,
    /// To be given as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl Operation {
    /// What is known of an operation in this version at a moment.
    pub fn new(operation: &operations::Operation, version: u64, now: fleet::Timestamp) -> Self {
        let status = operation.status(now);
        let (asked, said) = (&operation.asked, operation.heard.newest());
        let failed = operation.heard.outcome() == Some(Outcome::Failed);
        let failure = said.filter(|_| failed).and_then(operations::Said::error);
        let error = failure.zip(operation.heard.error_type());
        let attempts = said.map(|it| it.attempts.as_slice()).unwrap_or_default();
        let written =
            |id: fn(&operations::Said) -> &Option<String>| said.and_then(|it| id(it).clone());
        Self {
            id: operation.id.clone(),
            fleet_ref: asked.fleet.as_str().to_owned(),
            idempotency_key: asked.key.clone(),
            resource: asked.resource.clone(),
            operation: asked.kind.as_str().to_owned(),
            connection_id: asked.connection.clone(),
            status: status.as_str().to_owned(),
            explanation: operation.sentence(status),
            advice: operations::advice(operation, status).map(str::to_owned),
            error: error.map(|(attempt, error_type)| OperationError {
                error_type: error_type.to_owned(),
                meaning: operations::meaning(error_type).to_owned(),
                details: attempt.details.clone(),
                http_status: attempt.http_status,
            }),
            catena_operation_id: operation.catena_id.clone(),
            resource_id: written(|it| &it.resource_id).or_else(|| asked.target.clone()),
            source_id: written(|it| &it.source_id),
            attempts: attempts.iter().map(OperationAttempt::from).collect(),
            contradicted: operation.heard.is_contradictory(),
            submitted_at: Moment(operation.submitted_at),
            settled_at: operation.settled_at().map(Moment),
            submitted_by: asked.by.clone(),
            calls: operation.calls,
            version,
        }
    }
}

impl From<&operations::Attempt> for OperationAttempt {
    fn from(attempt: &operations::Attempt) -> Self {
        Self {
            at: attempt.at.map(Moment),
            status: attempt.status.clone(),
            error_type: attempt.error_type.clone(),
            details: attempt.details.clone(),
            http_status: attempt.http_status,
            headers: attempt.headers.clone(),
        }
    }
}

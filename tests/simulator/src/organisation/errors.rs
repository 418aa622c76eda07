//! Answers of the organisation API, the refusals among them (contract 2).

use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// An answer before it travels, so that faults can still alter it.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<&'static str>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The resource operation that it tells.
    pub(super) operation: Option<Told>,
}

/// A resource operation in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) id: Uuid,
    /// The answer waits until the operation is decided.
    pub(super) when_decided: bool,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status,
            content_type: Some("application/json"),
            headers: HeaderMap::new(),
            body: serde_json::to_vec(body).expect("answers are plain JSON"),
            operation: None,
        }
    }

    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// No content type and no content.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            operation: None,
        }
    }

    pub(super) fn html(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        let body = format!("<html><head><title>{title}</title></head><body>{title}</body></html>");
        Self {
            content_type: Some("text/html"),
            body: body.into_bytes(),
            ..Self::empty(status)
        }
    }

    /// The shape of 400, 401, 403, 404, 405, 409 and 504.
    pub(super) fn plain(status: StatusCode, detail: Option<&str>) -> Self {
        let message = status.canonical_reason().unwrap_or_default();
        Self::json(
            status,
            &json!({"code": status.as_u16(), "message": message, "detail": detail}),
        )
    }

    /// The shape of 429.
    pub(super) fn too_many(retry_after_seconds: Option<u64>) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let detail = retry_after_seconds.map(
            |seconds| json!({"retry_after_seconds": seconds, "message": "Rate limit exceeded"}),
        );
        let message = "Too Many Requests";
        Self::json(
            status,
            &json!({"code": 429, "message": message, "detail": detail}),
        )
    }

    /// The shape of 500.
    pub(super) fn broken() -> Self {
        let body = json!({"message": "Internal Server Error"});
        Self::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
    }

    pub(super) fn of_operation(self, id: Uuid, when_decided: bool) -> Self {
        Self {
            operation: Some(Told { id, when_decided }),
            ..self
        }
    }

    pub(super) fn with(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Why a request isn't served.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// The body isn't JSON. Whether Catena answers 400 or 422 here is unknown.
    BadRequest(String),
    /// No token, or none that is valid.
    Unauthorized,
    /// The token lacks the endpoint's permission.
    Forbidden,
    /// No such path, or no such thing.
    NotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// The thing is in a state that doesn't allow this.
    Conflict(String),
    /// Some fields break their rules.
    Invalid(Vec<Complaint>),
}

/// One entry of a 422's `detail`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Complaint {
    path: String,
    input: String,
    message: String,
    error_type: &'static str,
}

impl Complaint {
    /// `path` as in the sample, `body.expires_in_hours`; `input` as it came.
    pub(super) fn new(path: &str, input: &Value, message: &str, error_type: &'static str) -> Self {
        let input = match input {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self {
            path: path.to_owned(),
            input,
            message: message.to_owned(),
            error_type,
        }
    }
}

impl Refusal {
    pub(super) fn invalid(
        path: &str,
        input: &str,
        message: &str,
        error_type: &'static str,
    ) -> Self {
        Self::Invalid(vec![Complaint::new(
            path,
            &input.into(),
            message,
            error_type,
        )])
    }

    pub(super) fn reply(&self) -> Reply {
        match self {
            Self::BadRequest(detail) => Reply::plain(StatusCode::BAD_REQUEST, Some(detail)),
            Self::Unauthorized => Reply::plain(StatusCode::UNAUTHORIZED, None),
            Self::Forbidden => Reply::plain(StatusCode::FORBIDDEN, None),
            Self::NotFound => Reply::plain(StatusCode::NOT_FOUND, None),
            Self::MethodNotAllowed => Reply::plain(StatusCode::METHOD_NOT_ALLOWED, None),
            Self::Conflict(detail) => Reply::plain(StatusCode::CONFLICT, Some(detail)),
            Self::Invalid(complaints) => Reply::json(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({"code": 422, "message": "Invalid Request Body", "detail": complaints}),
            ),
        }
    }
}

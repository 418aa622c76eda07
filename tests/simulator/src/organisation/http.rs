//! The organisation on the wire: which call gets which answer, with the fault that waits for it.

use std::{convert::Infallible, future::pending, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State as Shared},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
    routing::any,
};
use futures_util::{StreamExt as _, stream};

use time::OffsetDateTime;

use super::{
    HiddenEndpoints, Organisation, TOKEN_PATH, connect,
    errors::{Refusal, Reply, Told},
    faults::ApiFaultKind,
    operations::Call,
    query::Query,
    routes::{self, Found},
    state::State,
};
use crate::wire::Wire;

/// The API's paths; [`Wire`]s come from the server.
pub(crate) fn router(organisation: Arc<Organisation>) -> Router {
    Router::new()
        .route("/realms/{*path}", any(answer))
        .route("/v2/{*path}", any(answer))
        .route(connect::PATH, any(connect))
        .route("/connect/{*path}", any(connect))
        .with_state(organisation)
}

impl Organisation {
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
        if let Some(seconds) = self.limited(parts.method.as_str(), template) {
            let reply = Reply::too_many(Some(seconds));
            call.answered(reply.status.as_u16());
            return respond(reply, false);
        }
        let process = || self.process(&found, &parts, &body);
        let fault = self.faults.take(parts.method.as_str(), template, &body);
        let reply = match &fault {
            None | Some(ApiFaultKind::Truncated) => process(),
            Some(ApiFaultKind::TooManyRequests {
                retry_after_seconds,
                retry_after,
            }) => {
                if let Some(seconds) = retry_after_seconds {
                    self.rate_limiter.tell(*seconds, OffsetDateTime::now_utc());
                }
                too_many(*retry_after_seconds, retry_after.as_deref())
            }
            Some(ApiFaultKind::Status { status }) => error_status(*status),
            Some(ApiFaultKind::Unauthorized) => Refusal::Unauthorized.reply(),
            Some(ApiFaultKind::Slow { by }) => {
                tokio::time::sleep(*by).await;
                process()
            }
            Some(ApiFaultKind::AnswerLate { by }) => {
                let reply = process();
                tokio::time::sleep(*by).await;
                reply
            }
            Some(ApiFaultKind::StatusAfter { status }) => {
                process();
                error_status(*status)
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
        let truncated = fault == Some(ApiFaultKind::Truncated);
        let reply = self.decided(reply).await;
        if let Some(operation) = reply.operation
            && reply.status.is_success()
            && !truncated
        {
            self.note_answer(operation.id);
        }
        call.answered(reply.status.as_u16());
        respond(reply, truncated)
    }

    /// The answer to a sync write waits until there is one (contract 5.3).
    async fn decided(&self, reply: Reply) -> Reply {
        let Some(Told {
            id,
            when_decided: true,
        }) = reply.operation
        else {
            return reply;
        };
        let (status, operation) = self.decision(id).await;
        Reply {
            content_type: reply.content_type,
            operation: reply.operation,
            ..Reply::json(status, &operation)
        }
    }

    /// After how many seconds a call may come again that is beyond the rate limit. The token endpoint has none.
    fn limited(&self, method: &str, template: &str) -> Option<u64> {
        if template == TOKEN_PATH {
            return None;
        }
        let now = OffsetDateTime::now_utc();
        self.rate_limiter.arrive(method, template, now)
    }

    fn process(&self, found: &Found<'_>, parts: &Parts, body: &[u8]) -> Reply {
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let serve = |state: &mut State, now| {
            let (route, ids) = match found {
                Found::Here(route, ids) => (route, ids),
                Found::OtherMethods(_) => return Err(Refusal::MethodNotAllowed),
                Found::Nothing => return Err(Refusal::NotFound),
            };
            state
                .tokens
                .admit(route.access, header(header::AUTHORIZATION))?;
            match state.settings.hidden_endpoints {
                HiddenEndpoints::Forbidden if route.is_hidden() => return Err(Refusal::Forbidden),
                HiddenEndpoints::Missing if route.is_hidden() => return Err(Refusal::NotFound),
                HiddenEndpoints::Served | HiddenEndpoints::Forbidden | HiddenEndpoints::Missing => {
                }
            }
            let call = Call {
                operation: route.operation,
                ids,
                query: Query::parse(parts.uri.query().unwrap_or_default()),
                content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
                body,
                webhooks: &self.webhooks,
            };
            call.serve(state, now)
        };
        self.act(serve).unwrap_or_else(|refusal| refusal.reply())
    }
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
        operation: _,
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

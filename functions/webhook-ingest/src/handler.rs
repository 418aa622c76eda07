//! What Catena is answered. Anything but a 5xx counts as delivered there (contract 6.4), so 202 means durable and whatever
//! might be genuine but can't be kept is a 5xx.

use std::time::Duration;

use catena::{
    Age, Content, Delivery, InflateError, Instant, Keyring, Malformed, NoKeyMatches, Refused,
    Verified,
};
use lambda_http::{Body, Request, Response, http::StatusCode};
use queue::{EventsQueue, Message, NotQueued, RecordOverLimit};
use secrets::Cached;
use time::OffsetDateTime;
use tracing::{error, info, warn};

/// Takes deliveries in.
#[derive(Debug)]
pub(crate) struct Ingest {
    keys: Cached<Keyring>,
    queue: EventsQueue,
}

/// A delivery that rests in the queue.
struct Queued {
    event_name: String,
    webhook_id: Option<String>,
    age: Age,
    parts: usize,
}

/// Why a delivery isn't in the queue.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    /// Never Catena's. The delivery is lost, since it never was one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// May be Catena's, signed with a key that we don't have yet.
    #[error(transparent)]
    Unmatched(#[from] NoKeyMatches),
    /// May be Catena's, damaged on the way.
    #[error(transparent)]
    Damaged(InflateError),
    /// Too large to be kept, now or later: a declared loss.
    #[error("{0}")]
    Oversize(String),
    /// We can't keep it now.
    #[error("{0}")]
    Unavailable(String),
}

impl Ingest {
    pub(crate) fn new(keys: Cached<Keyring>, queue: EventsQueue) -> Self {
        Self { keys, queue }
    }

    /// Answers within [`DEADLINE`].
    pub(crate) async fn handle(
        &self,
        request: Request,
        now: fn() -> OffsetDateTime,
    ) -> Response<Body> {
        let taken = self.take(&request, now());
        let taken = tokio::time::timeout(DEADLINE, taken).await;
        let taken = taken.unwrap_or_else(|_| {
            let late = format!("not done within {} ms", DEADLINE.as_millis());
            Err(NotTaken::Unavailable(late))
        });
        log(&request, &taken);
        match taken {
            Ok(_) => answer(StatusCode::ACCEPTED, "queued"),
            Err(refusal) => answer(refusal.status(), &refusal.to_string()),
        }
    }

    async fn take(&self, request: &Request, now: OffsetDateTime) -> Result<Queued, NotTaken> {
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let delivery = Delivery::parse(headers, request.body())?;
        let delivery = self.verify(&delivery, now).await?.scrub();
        let (event_name, webhook_id) = match &delivery.content {
            Content::Envelope(it) => (it.event_name.clone(), Some(it.webhook_id.clone())),
            Content::Unreadable(it) => ("(unreadable)".to_owned(), it.label.webhook_id.clone()),
        };
        let age = delivery.age;
        let message = Message::delivered(Instant::from(now), delivery);
        let parts = self.queue.send(message).await?;
        Ok(Queued {
            event_name,
            webhook_id,
            age,
            parts,
        })
    }

    /// Tries the keys that we have, then those that we would have if we read them again.
    async fn verify(
        &self,
        delivery: &Delivery<'_>,
        now: OffsetDateTime,
    ) -> Result<Verified, NotTaken> {
        let instant = Instant::from(now);
        let Some(keys) = self.keys.current(now).await else {
            let missing = "no keyring yet: see the function's log for the missing step";
            return Err(NotTaken::Unavailable(missing.to_owned()));
        };
        let unmatched = match delivery.verify(&keys, instant) {
            Ok(verified) => return Ok(verified),
            Err(unmatched) => unmatched,
        };
        match self.keys.newer(now).await {
            Some(keys) => Ok(delivery.verify(&keys, instant)?),
            None => Err(unmatched.into()),
        }
    }
}

impl NotTaken {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::UNAUTHORIZED,
            Self::Oversize(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unmatched(_) | Self::Damaged(_) | Self::Unavailable(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Alarms count by these words.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unmatched(NoKeyMatches { known: true, .. }) => "unmatched-known",
            Self::Unmatched(_) | Self::Damaged(_) => "unmatched",
            Self::Oversize(_) => "oversize",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(malformed) => malformed.into(),
            Refused::Oversize | Refused::Inflate(InflateError::Oversize) => {
                Self::Oversize(refused.to_string())
            }
            Refused::Inflate(broken @ InflateError::Broken) => Self::Damaged(broken),
        }
    }
}

impl From<NotQueued> for NotTaken {
    fn from(not_queued: NotQueued) -> Self {
        match not_queued {
            NotQueued::OverLimit(over @ RecordOverLimit { .. }) => Self::Oversize(over.to_string()),
            NotQueued::Unavailable(ref cause) => {
                // The kind of failure only: a service's own words belong in no answer.
                let kind = match &**cause {
                    error if error.as_service_error().is_some() => "it answered an error",
                    _ => "it gave no answer",
                };
                Self::Unavailable(format!("{not_queued}: {kind}"))
            }
        }
    }
}

/// One line per request. What it names of the headers is unproved unless it was queued.
fn log(request: &Request, taken: &Result<Queued, NotTaken>) {
    let bytes = request.body().len();
    match taken {
        Ok(Queued {
            event_name,
            webhook_id,
            age,
            parts,
        }) => {
            let late = *age != Age::Fresh;
            info!(
                outcome = "queued", status = 202, event.name = event_name, webhook.id = webhook_id,
                late, age = ?age, parts, bytes, "{event_name}: queued"
            );
        }
        Err(refusal) => {
            let outcome = refusal.outcome();
            let status = refusal.status().as_u16();
            let webhook = match refusal {
                NotTaken::Unmatched(NoKeyMatches { webhook_id, .. }) => webhook_id.as_ref(),
                _ => None,
            };
            let webhook = webhook.map(ToString::to_string);
            if matches!(refusal, NotTaken::Malformed(_)) {
                warn!(outcome, status, bytes, "refused: {refusal}");
            } else {
                error!(
                    outcome,
                    status,
                    webhook.id = webhook,
                    bytes,
                    "not taken: {refusal}"
                );
            }
        }
    }
}

fn answer(status: StatusCode, text: &str) -> Response<Body> {
    let key = if status.is_success() {
        "outcome"
    } else {
        "error"
    };
    let body = serde_json::json!({ key: text }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = lambda_http::http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}

/// Catena waits three seconds (contract 6.4), and so does Lambda for this function.
const DEADLINE: Duration = Duration::from_secs(2);

//! A signed delivery of our own to the webhook's URL, which changes nothing: it holds no record, so event-processor's outcome is
//! `no-news`. It is signed by what the README says of signatures, and not by the crate that checks them.

use std::{fmt, io::Write, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use fetch::{
    Bytes, Fetch, FetchError, Limits,
    http::{Method, Request, StatusCode, header},
};
use flate2::{Compression, write::GzEncoder};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{doctor::Check, readable::plain, trouble::causes};

/// Who signs: a key that is valid for any subscription, also for one that there isn't.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signer {
    key: String,
}

impl Signer {
    /// One with this key.
    pub(crate) fn new(key: impl Into<String>) -> Self {
        Self { key: key.into() }
    }
}

/// Without the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Probed {
    /// There was an answer.
    Answered(Answered),
    /// There was none.
    Unanswered(FetchError),
    /// It couldn't be made.
    Unusable(String),
}

/// The webhook's answer.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    /// What the body says.
    pub(crate) said: Option<String>,
    pub(crate) elapsed: Duration,
    /// The answer's `Date`, cut to a second.
    pub(crate) date: Option<OffsetDateTime>,
    /// When it was asked, by our clock.
    pub(crate) asked: OffsetDateTime,
    /// When the answer was whole, by our clock.
    pub(crate) at: OffsetDateTime,
}

/// Sends one delivery, signed at `now`. It is over within ten seconds.
pub(crate) async fn send(url: &str, signer: &Signer, now: OffsetDateTime) -> Probed {
    let request = match request(url, signer, now) {
        Ok(request) => request,
        Err(why) => return Probed::Unusable(why),
    };
    let asked = OffsetDateTime::now_utc();
    let fetched = match Fetch::new().send(request, LIMITS).await {
        Ok(fetched) => fetched,
        Err(error) => return Probed::Unanswered(error),
    };
    let date = fetched.headers.get(header::DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Probed::Answered(Answered {
        status: fetched.status,
        said: said(&fetched.body),
        elapsed: fetched.elapsed,
        date: date.map(OffsetDateTime::from),
        asked,
        at: OffsetDateTime::now_utc(),
    })
}

impl Probed {
    /// The answer, if there was one.
    pub(crate) fn answered(&self) -> Option<&Answered> {
        match self {
            Self::Answered(answered) => Some(answered),
            Self::Unanswered(_) | Self::Unusable(_) => None,
        }
    }

    /// What that means, and what to do.
    pub(crate) fn check(&self) -> Check {
        match self {
            Self::Answered(answered) => answered.check(),
            Self::Unanswered(error) => {
                let found = format!("no answer: {}", causes(error));
                Check::fail(NAME, found, unanswered(error))
            }
            Self::Unusable(why) => {
                Check::fail(NAME, why, "Compare output WebhookUrl with the template.")
            }
        }
    }
}

impl Answered {
    fn check(&self) -> Check {
        let millis = self.elapsed.as_millis();
        let said = self.said.as_ref();
        let said = said.map_or(String::new(), |said| format!(" ({said})"));
        let found = format!(
            "a signed delivery was answered {} after {millis} ms{said}",
            self.status.as_u16()
        );
        if self.status != StatusCode::ACCEPTED {
            return Check::fail(NAME, found, remedy(self.status));
        }
        if self.elapsed > PATIENCE {
            return Check::fail(
                NAME,
                found,
                "Catena waits 3 s, then tries again, and stops the subscription after some failures in a row. Try again: a first request \
                 starts the function. If it stays slow, look at webhook-ingest's duration and at the network between.",
            );
        }
        if self.elapsed > SLOW {
            return Check::warn(
                NAME,
                found,
                "Catena waits 3 s. Try again: a first request starts the function. If it stays slow, look at webhook-ingest's duration.",
            );
        }
        Check::ok(NAME, found)
    }
}

fn request(url: &str, signer: &Signer, now: OffsetDateTime) -> Result<Request<Bytes>, String> {
    let at = now.format(&Rfc3339).map_err(|error| error.to_string())?;
    let body = envelope(&at).to_string();
    let signature = signature(&signer.key, &at, body.as_bytes())
        .ok_or_else(|| "a key can't be used to sign with".to_owned())?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let body = gzip
        .write_all(body.as_bytes())
        .and_then(|()| gzip.finish())
        .map_err(|error| error.to_string())?;
    Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip")
        .header(header::USER_AGENT, "kingpin")
        .header("x-catena-timestamp", at)
        .header("x-catena-signature", signature)
        .body(Bytes::from(body))
        .map_err(|_| format!("output WebhookUrl is no URL: {url}"))
}

/// An event without a record (contract 6.8: `data` may be empty), of a name whose records say nothing of fleets. No subscription is
/// called so, so that not even a refusal looks like one of ours.
fn envelope(at: &str) -> Value {
    json!({
        "version": "1.0",
        "event_name": "webhook.updated",
        "data": [],
        "webhook_id": Uuid::nil(),
        "timestamp": at,
        "delivery_attempt": 0,
    })
}

/// Contract 6.3.
fn signature(key: &str, at: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(STANDARD.encode(mac.finalize().into_bytes()))
}

/// The function's own words, or API Gateway's.
fn said(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let said = ["error", "message", "Message"]
        .iter()
        .find_map(|key| body[key].as_str())?;
    Some(plain(said).chars().take(LONGEST).collect())
}

fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => {
            "The signature's headers didn't arrive as they were sent: look at what stands before the stack's API. Catena takes a 401 as \
             delivered, so its events are lost."
        }
        403 => {
            "Something before the function refuses it: no WAF, no authorizer and no policy belongs there. Catena takes a 403 as delivered, \
             so its events are lost."
        }
        404 | 405 => {
            "Nothing is there: is the stack whole, and output WebhookUrl its webhook's URL? Catena takes this as delivered, so its events \
             are lost."
        }
        413 => {
            "Something before the function takes small bodies only: Catena's deliveries may have 4 MiB, and are lost by this."
        }
        429 => {
            "API Gateway or Lambda takes no more requests of this account: raise its limits, and put no throttle on this route. Catena takes \
             a 429 as delivered, so its events are lost."
        }
        503 => {
            "No key matches, or the queue or the secret can't be reached: the answer and webhook-ingest's log say which. If no key matches, \
             compare the keyring with what the function reads (variable KEYRING_SECRET_ID). Catena tries again, and then keeps events for \
             14 days until they are replayed."
        }
        500..=599 => {
            "The function failed or ran out of time: see webhook-ingest's log. Catena tries again, and then keeps events for 14 days until \
             they are replayed."
        }
        300..=399 => "Redirects aren't followed: give Catena the URL that answers itself.",
        _ => "Only 202 means that it is kept: is output WebhookUrl this stack's webhook?",
    }
}

fn unanswered(error: &FetchError) -> &'static str {
    match error {
        FetchError::TimedOut { sent: true } => {
            "Catena waits 3 s, then tries again, and stops the subscription after some failures in a row. See webhook-ingest's log for \
             time-outs."
        }
        FetchError::TimedOut { sent: false } | FetchError::NotSent(_) => {
            "Check the network, the name's DNS entry and its certificate: Catena has to get there as well, and TLS must be valid for it."
        }
        FetchError::NotAllowed(_) => "The webhook's URL must be https.",
        FetchError::Broken { .. } | FetchError::TooLarge { .. } => {
            "Something else than the stack's webhook answers there: look at what stands before it."
        }
    }
}

const NAME: &str = "webhook";
/// As long as Catena waits (contract 6.4).
const PATIENCE: Duration = Duration::from_secs(3);
/// Half of it.
const SLOW: Duration = Duration::from_millis(1_500);
/// Longer than Catena's, to tell how long it takes.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(4),
    total: Duration::from_secs(8),
    largest: 64 * 1024,
};
/// In characters.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use catena::{Content, Delivery, Instant, Keyring};
    use time::macros::datetime;

    use super::*;
    use crate::doctor::Verdict;

    const KEY: &str = "canary-canary-canary-canary-canary";
    const NOW: OffsetDateTime = datetime!(2026-05-04 08:00:00.25 UTC);

    #[test]
    fn the_webhook_takes_what_is_sent_and_finds_no_record_in_it() {
        let signer = Signer::new(KEY);
        let request = request("https://hooks.example.com/webhooks/catena", &signer, NOW).unwrap();
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let delivery = Delivery::parse(headers, request.body()).unwrap();
        let keyring = format!(r#"{{"version":1,"shared":"{KEY}"}}"#);
        let keyring = Keyring::parse(&keyring).unwrap();
        let proved = delivery
            .verify(&keyring, Instant::from(NOW))
            .unwrap()
            .scrub();
        let Content::Envelope(envelope) = proved.content else {
            panic!("no envelope");
        };
        assert_eq!(envelope.events().count(), 0);
        assert_eq!(envelope.event_name, "webhook.updated");
        let other = Keyring::parse(r#"{"version":1,"shared":"another-key-of-another"}"#).unwrap();
        assert!(delivery.verify(&other, Instant::from(NOW)).is_err());
    }

    fn answered(status: u16, millis: u64) -> Probed {
        Probed::Answered(Answered {
            status: StatusCode::from_u16(status).unwrap(),
            said: said(br#"{"error":"no signing key\u001b[2J matches"}"#),
            elapsed: Duration::from_millis(millis),
            date: None,
            asked: NOW,
            at: NOW,
        })
    }

    #[test]
    fn only_a_202_in_time_is_good() {
        assert_eq!(answered(202, 90).check().verdict, Verdict::Ok);
        assert_eq!(answered(202, 1_501).check().verdict, Verdict::Warn);
        assert_eq!(answered(202, 3_001).check().verdict, Verdict::Fail);
        for status in [
            200, 204, 301, 400, 401, 403, 404, 413, 429, 500, 502, 503, 504,
        ] {
            assert_eq!(
                answered(status, 90).check().verdict,
                Verdict::Fail,
                "{status}"
            );
        }
    }

    #[test]
    fn every_answer_says_what_to_do() {
        let mut text = String::new();
        let timed_out = |sent| Probed::Unanswered(FetchError::TimedOut { sent });
        let no_tls = FetchError::NotSent("invalid peer certificate: Expired".into());
        let probed =
            [202, 301, 401, 403, 404, 413, 429, 500, 503].map(|status| answered(status, 90));
        let others = [
            timed_out(true),
            timed_out(false),
            Probed::Unanswered(no_tls),
            Probed::Unanswered(FetchError::NotAllowed("plain HTTP to another machine")),
        ];
        for probed in probed.into_iter().chain(others) {
            let check = probed.check();
            text += &format!(
                "{}: {}\n  {}\n",
                check.verdict.as_str(),
                check.found,
                check.remedy.unwrap_or_default()
            );
        }
        insta::assert_snapshot!("probe", text);
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_told_and_no_key_with_it() {
        let signer = Signer::new(KEY);
        for url in ["", "not a url", "http://example.com/webhooks/catena"] {
            let probed = send(url, &signer, NOW).await;
            assert_eq!(probed.check().verdict, Verdict::Fail, "{url}");
            let told = format!("{probed:?} {signer:?} {:?}", probed.check());
            assert!(!told.contains("canary"), "{told}");
        }
    }
}

//! The wire between a function and AWS: a reverse proxy that counts the calls of each function
//! and, on demand, breaks them or counts what they consume.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Bytes;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::aws::{self, Aws};
use crate::capacity::{Meter, Units};

/// A proxy in front of one AWS, with a listener ("lane") per function. Cheap to clone; ends when
/// the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Inner>);

/// What happens to a call instead of reaching AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// AWS answers with an error, e.g. 500 and `InternalServerError`.
    Error {
        /// The HTTP status.
        status: u16,
        /// The error's name.
        code: String,
    },
    /// The connection is closed without an answer.
    Refuse,
    /// There is no answer, ever.
    Hang,
    /// The call goes through, but there is no answer, ever.
    HangAfter,
    /// The call goes through, but late.
    Delay(Duration),
    /// The call goes through, but its answer is lost: the connection is closed instead.
    LoseAnswer,
}

impl Fault {
    /// An error that AWS answers with.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Error {
            status,
            code: code.to_owned(),
        }
    }
}

/// How many bytes went over the wire, bodies only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of requests.
    pub sent: u64,
    /// Bytes of answers.
    pub received: u64,
}

#[derive(Debug)]
struct Inner {
    upstream: String,
    keeps_host: bool,
    http: reqwest::Client,
    state: Mutex<Recorded>,
    meter: OnceLock<Meter>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Recorded {
    calls: BTreeMap<(String, String), u64>,
    traffic: Traffic,
    units: BTreeMap<String, Units>,
    hung: BTreeMap<String, u64>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    lane: String,
    action: String,
    fault: Fault,
    /// How many calls still pass before it concerns any.
    spared: u64,
    /// How many calls it still concerns; `None` is all.
    left: Option<u64>,
}

impl Wire {
    /// A wire to the AWS at this URL, without lanes yet.
    pub fn new(upstream: impl Into<String>) -> Result<Self> {
        Self::with_host(upstream, false)
    }

    /// A wire that leaves the `Host` header as the caller wrote it, because signatures for API Gateway are made over it.
    pub fn keeping_host(upstream: impl Into<String>) -> Result<Self> {
        Self::with_host(upstream, true)
    }

    fn with_host(upstream: impl Into<String>, keeps_host: bool) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            upstream: upstream.into(),
            keeps_host,
            http: aws::client()?,
            state: Mutex::default(),
            meter: OnceLock::new(),
            listeners: Mutex::default(),
        })))
    }

    /// Opens a lane and returns its URL, to be given to a function as `AWS_ENDPOINT_URL_SQS` and
    /// the like.
    pub async fn lane(&self, name: &str) -> Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port for a lane of the wire")?;
        let url = format!("http://{}", listener.local_addr()?);
        // Weak, so that the listener doesn't keep alive what aborts it.
        let (inner, lane) = (Arc::downgrade(&self.0), name.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (inner, lane) = (inner.clone(), lane.clone());
                let service = service_fn(move |request| {
                    let (inner, lane) = (inner.upgrade(), lane.clone());
                    // An error closes the connection.
                    async move { inner.ok_or(Closed)?.pass(&lane, request).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        lock(&self.0.listeners).push(task);
        Ok(url)
    }

    /// The environment that leads a function's calls through a lane.
    pub fn environment(lane_url: &str) -> BTreeMap<String, String> {
        SERVICES
            .iter()
            .map(|service| (format!("AWS_ENDPOINT_URL_{service}"), lane_url.to_owned()))
            .collect()
    }

    /// How often each lane called each action (`sqs:SendMessage`), the broken calls included.
    pub fn calls(&self) -> BTreeMap<(String, String), u64> {
        lock(&self.0.state).calls.clone()
    }

    /// The number of calls of one action by one lane.
    pub fn count(&self, lane: &str, action: &str) -> u64 {
        let key = (lane.to_owned(), action.to_owned());
        lock(&self.0.state)
            .calls
            .get(&key)
            .copied()
            .unwrap_or_default()
    }

    /// The number of calls by one lane.
    pub fn count_all(&self, lane: &str) -> u64 {
        let state = lock(&self.0.state);
        let calls = state.calls.iter().filter(|((of, _), _)| of == lane);
        calls.map(|(_, count)| count).sum()
    }

    /// How many of a lane's calls hang for ever ([`Fault::Hang`]), or did until their caller went away. Those of
    /// [`Fault::HangAfter`] are through by then.
    pub fn hung(&self, lane: &str) -> u64 {
        let state = lock(&self.0.state);
        state.hung.get(lane).copied().unwrap_or_default()
    }

    /// Takes a lane's faults back.
    pub fn heal_lane(&self, lane: &str) {
        lock(&self.0.state).rules.retain(|rule| rule.lane != lane);
    }

    /// How many bytes went through.
    pub fn traffic(&self) -> Traffic {
        lock(&self.0.state).traffic
    }

    /// Counts DynamoDB's capacity units from now on. Each call that writes then waits for the one before it and takes
    /// longer, so this isn't for tests of haste.
    pub fn meter(&self) -> Result<()> {
        let meter = Meter::new(Aws::new(&self.0.upstream)?);
        self.0.meter.get_or_init(|| meter);
        Ok(())
    }

    /// The capacity units that a lane's calls consumed since [`Wire::meter`].
    pub fn units(&self, lane: &str) -> Units {
        let state = lock(&self.0.state);
        state.units.get(lane).cloned().unwrap_or_default()
    }

    /// Forgets counts, traffic and units.
    pub fn reset(&self) {
        let mut state = lock(&self.0.state);
        state.calls.clear();
        state.units.clear();
        state.traffic = Traffic::default();
    }

    /// Breaks calls until [`Wire::heal`]. `lane` and `action` may end in `*` (`dynamodb:*`). If
    /// several faults concern a call, the one added last counts.
    pub fn fault(&self, lane: &str, action: &str, fault: Fault) {
        self.add(lane, action, fault, 0, None);
    }

    /// Lets some calls pass and breaks those after them until [`Wire::heal`].
    pub fn fault_after(&self, spared: u64, lane: &str, action: &str, fault: Fault) {
        self.add(lane, action, fault, spared, None);
    }

    /// Breaks the next `times` calls.
    pub fn fault_times(&self, times: u64, lane: &str, action: &str, fault: Fault) {
        self.add(lane, action, fault, 0, Some(times));
    }

    /// Takes all faults back. Calls that hang stay hanging.
    pub fn heal(&self) {
        lock(&self.0.state).rules.clear();
    }

    fn add(&self, lane: &str, action: &str, fault: Fault, spared: u64, left: Option<u64>) {
        lock(&self.0.state).rules.push(Rule {
            lane: lane.to_owned(),
            action: action.to_owned(),
            fault,
            spared,
            left,
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for listener in lock(&self.listeners).drain(..) {
            listener.abort();
        }
    }
}

/// The connection is to be closed.
#[derive(Debug, thiserror::Error)]
#[error("connection closed on purpose")]
struct Closed;

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Inner {
    async fn pass(
        &self,
        lane: &str,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Full<Bytes>>, Closed> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let action = action(&head.headers);
        let fault = lock(&self.state).record(lane, &action, body.len());
        match &fault {
            Some(Fault::Refuse) => return Err(Closed),
            Some(Fault::Hang) => self.hang(lane).await,
            Some(Fault::Error { status, code }) => return Ok(error(*status, code)),
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            Some(Fault::LoseAnswer | Fault::HangAfter) | None => {}
        }
        let metered = self.meter.get().zip(action.strip_prefix("dynamodb:"));
        let watched = match metered {
            Some((meter, action)) => Some(meter.watch(action, &body).await),
            None => None,
        };
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = head.headers;
        drop_hop_by_hop(&mut headers);
        if !self.keeps_host {
            headers.remove(HOST);
        }
        let answer = self
            .http
            .request(head.method, format!("{}{path}", self.upstream))
            .headers(headers)
            .body(body)
            .send()
            .await
            .map_err(|_| Closed)?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.map_err(|_| Closed)?;
        lock(&self.state).traffic.received += bytes.len() as u64;
        if let Some(watched) = watched {
            let units = watched.ended(status.is_success(), &bytes).await;
            let mut state = lock(&self.state);
            state.units.entry(lane.to_owned()).or_default().add(units);
        }
        match fault {
            Some(Fault::LoseAnswer) => return Err(Closed),
            Some(Fault::HangAfter) => self.hang(lane).await,
            _ => {}
        }
        drop_hop_by_hop(&mut headers);
        let mut response = hyper::Response::new(Full::new(bytes));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn hang<T>(&self, lane: &str) -> T {
        *lock(&self.state).hung.entry(lane.to_owned()).or_default() += 1;
        std::future::pending().await
    }
}

impl Recorded {
    fn record(&mut self, lane: &str, action: &str, size: usize) -> Option<Fault> {
        *self
            .calls
            .entry((lane.to_owned(), action.to_owned()))
            .or_default() += 1;
        self.traffic.sent += size as u64;
        let rule = self.rules.iter_mut().rev().find(|rule| {
            rule.left != Some(0) && matches(&rule.lane, lane) && matches(&rule.action, action)
        })?;
        if rule.spared > 0 {
            rule.spared -= 1;
            return None;
        }
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        Some(rule.fault.clone())
    }
}

/// `AmazonSQS.SendMessage` → `sqs:SendMessage`, `DynamoDB_20120810.Query` → `dynamodb:Query`: the
/// names that IAM uses.
fn action(headers: &HeaderMap) -> String {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let Some((service, action)) = target.and_then(|target| target.split_once('.')) else {
        return "unknown".to_owned();
    };
    let service = service
        .split('_')
        .next()
        .unwrap_or(service)
        .to_ascii_lowercase();
    let service = match service.as_str() {
        "amazonsqs" => "sqs",
        "awsevents" => "events",
        other => other,
    };
    format!("{service}:{action}")
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

fn error(status: u16, code: &str) -> hyper::Response<Full<Bytes>> {
    let body = json!({"__type": code, "message": "a fault of the wire"}).to_string();
    let mut response = hyper::Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// A panic elsewhere leaves counts and rules as they are.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The services that functions call, as the SDK's environment variables name them.
const SERVICES: &[&str] = &["DYNAMODB", "EVENTBRIDGE", "SECRETS_MANAGER", "SQS"];

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;

    use super::*;

    async fn upstream() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(|body: String| async move { body }));
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        url
    }

    async fn call(url: &str, target: &str) -> Result<(u16, String), reqwest::Error> {
        let request = aws::client()
            .unwrap()
            .post(url)
            .header("x-amz-target", target);
        let answer = request
            .timeout(Duration::from_millis(500))
            .body("hello")
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    #[tokio::test]
    async fn calls_go_through_and_are_counted_by_lane() {
        let wire = Wire::new(upstream().await).unwrap();
        let (a, b) = (wire.lane("a").await.unwrap(), wire.lane("b").await.unwrap());
        for url in [&a, &a, &b] {
            let answer = call(url, "AmazonSQS.SendMessage").await.unwrap();
            assert_eq!(answer, (200, "hello".to_owned()));
        }
        assert_eq!(wire.count("a", "sqs:SendMessage"), 2);
        assert_eq!(wire.count("b", "sqs:SendMessage"), 1);
        assert_eq!(wire.calls().len(), 2);
        assert_eq!(
            wire.traffic(),
            Traffic {
                sent: 15,
                received: 15
            }
        );
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_counted_as_soon_as_it_does() {
        let wire = Wire::new(upstream().await).unwrap();
        let url = wire.lane("a").await.unwrap();
        for (fault, hung) in [(Fault::Hang, 1), (Fault::HangAfter, 2)] {
            wire.fault("a", "*", fault);
            assert!(call(&url, "AmazonSQS.SendMessage").await.is_err());
            assert_eq!(wire.hung("a"), hung);
        }
        assert_eq!(wire.hung("b"), 0);
    }

    #[tokio::test]
    async fn the_callers_host_goes_through_if_it_is_to() {
        let host = |headers: HeaderMap| async move { format!("{:?}", headers.get(HOST)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(host));
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let kept = Wire::keeping_host(&upstream).unwrap();
        let kept = kept.lane("a").await.map(|url| (kept, url)).unwrap();
        let other = Wire::new(&upstream).unwrap();
        let other = other.lane("a").await.map(|url| (other, url)).unwrap();
        for ((_wire, url), keeps) in [(kept, true), (other, false)] {
            let (_, told) = call(&url, "AmazonSQS.SendMessage").await.unwrap();
            let address = url.trim_start_matches("http://");
            assert_eq!(told.contains(address), keeps, "{told}");
        }
    }

    #[tokio::test]
    async fn faults_concern_what_they_name_until_healed() {
        let wire = Wire::new(upstream().await).unwrap();
        let url = wire.lane("a").await.unwrap();
        let query = "DynamoDB_20120810.Query";
        wire.fault("b", "*", Fault::Refuse);
        wire.fault("*", "dynamodb:*", Fault::error(500, "InternalServerError"));
        wire.fault_times(1, "a", "dynamodb:Query", Fault::Refuse);
        assert!(call(&url, query).await.is_err());
        let (status, body) = call(&url, query).await.unwrap();
        assert_eq!(status, 500);
        assert!(body.contains("InternalServerError"));
        assert_eq!(call(&url, "AmazonSQS.SendMessage").await.unwrap().0, 200);
        wire.heal();
        assert_eq!(call(&url, query).await.unwrap().0, 200);
        wire.fault("a", "*", Fault::Hang);
        assert!(call(&url, query).await.unwrap_err().is_timeout());
        wire.heal();
        wire.fault_after(1, "a", "*", Fault::Refuse);
        assert!(call(&url, query).await.is_ok());
        assert!(call(&url, query).await.is_err());
        wire.heal();
        wire.fault("a", "*", Fault::LoseAnswer);
        assert!(call(&url, query).await.is_err());
    }
}

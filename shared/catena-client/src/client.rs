//! One call with all its attempts.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fetch::{
    Bytes, Fetch, FetchError, Fetched, Limits,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
};
use futures_util::{FutureExt, future::BoxFuture};
use time::OffsetDateTime;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tracing::debug;

use crate::{
    CatenaError, Credentials, Endpoints, Observed, Outage, Refusal, SourceError,
    call::{Call, Reply},
    refusal::retry_after,
    token::{Token, Tokens},
};

/// Catena's API, with one token, one pool of connections and one pause after a 429 for all of its clones.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// How long to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one attempt, its connection included.
    pub attempt: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// The longest pause after the first attempt; it doubles from there.
    pub pause: Duration,
    /// The longest pause after a 429 that a call waits for. After a longer one it fails at once, without being sent.
    pub longest_wait: Duration,
}

/// Calls that are over, one way or another, within a time. A token, pauses and repeated attempts are included in it; of
/// several pages, all.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    inner: &'a Arc<Inner>,
    deadline: Instant,
}

/// What a client and its renewals share.
pub(crate) struct Inner {
    pub(crate) fetch: Fetch,
    pub(crate) endpoints: Endpoints,
    pub(crate) patience: Patience,
    pub(crate) source: Source,
    clock: Box<dyn Fn() -> OffsetDateTime + Send + Sync>,
    tokens: Mutex<Tokens>,
    /// Since when, and until when, nothing is sent.
    pause: Mutex<Option<(OffsetDateTime, OffsetDateTime)>>,
    /// Rate limits are unknown, so concurrency is modest (contract 7, 29).
    at_once: Semaphore,
}

type Source = Box<dyn Fn() -> BoxFuture<'static, Result<Credentials, SourceError>> + Send + Sync>;

impl Client {
    /// A client that asks `credentials` for them when it needs its first token, and again when they are refused, at most every
    /// five seconds. `now` is the wall clock.
    pub fn new<S, F>(
        endpoints: Endpoints,
        patience: Patience,
        credentials: S,
        now: impl Fn() -> OffsetDateTime + Send + Sync + 'static,
    ) -> Self
    where
        S: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Credentials, SourceError>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            fetch: Fetch::new(),
            endpoints,
            patience,
            source: Box::new(move || credentials().boxed()),
            clock: Box::new(now),
            tokens: Mutex::default(),
            pause: Mutex::default(),
            at_once: Semaphore::new(MOST_AT_ONCE),
        }))
    }

    /// Calls that are over within `time` from now.
    pub fn within(&self, time: Duration) -> Calls<'_> {
        Calls {
            inner: &self.0,
            deadline: Instant::now() + time,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.0.endpoints)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Calls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Default for Patience {
    /// 2 s for a connection, 5 s for an attempt, 4 attempts with pauses of up to 100, 200 and 400 ms, and every pause that Catena asks for.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            attempt: Duration::from_secs(5),
            attempts: 4,
            pause: Duration::from_millis(100),
            longest_wait: Duration::MAX,
        }
    }
}

/// What to do after an attempt that failed.
enum Next {
    /// Nothing.
    GiveUp,
    /// Try with another token than this one.
    Renew(Arc<Token>),
    /// Try after a pause of our choice.
    Again,
    /// Try after the pause that Catena asks for.
    After(Option<Duration>),
}

/// An attempt that failed.
struct Failure {
    error: CatenaError,
    next: Next,
}

/// How a call went so far.
struct Course {
    attempt: u32,
    /// Whether Catena may have received an attempt whose answer didn't come.
    sent: bool,
    /// Whether a token was refused.
    token_refused: bool,
}

impl Calls<'_> {
    /// Sends a call until it succeeds, later won't help, or the time is over.
    pub(crate) async fn send(self, call: &Call) -> Result<Reply, CatenaError> {
        let mut course = Course {
            attempt: 1,
            sent: false,
            token_refused: false,
        };
        self.attempts(call, &mut course).await.map_err(|error| {
            if let CatenaError::Unavailable { source, .. } = error {
                let sent = course.sent;
                CatenaError::Unavailable { sent, source }
            } else if call.is_write() && course.sent && !error.is_ambiguous() {
                CatenaError::Unclear(Box::new(error))
            } else {
                error
            }
        })
    }

    async fn attempts(self, call: &Call, course: &mut Course) -> Result<Reply, CatenaError> {
        loop {
            let Failure { error, next } = match self.attempt(call, course).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            course.sent |= error.is_ambiguous();
            match next {
                Next::GiveUp => return Err(error),
                Next::Renew(token) => {
                    self.inner.refused(&token);
                    if course.token_refused {
                        return Err(error);
                    }
                    course.token_refused = true;
                    continue;
                }
                Next::Again => {
                    let pause = full_jitter(self.inner.patience.pause, course.attempt);
                    if !self.goes_on(course) || pause >= self.left() {
                        return Err(error);
                    }
                    sleep(pause).await;
                }
                Next::After(asked_for) => {
                    let own = || full_jitter(self.inner.patience.pause, course.attempt);
                    let pause = asked_for.unwrap_or_else(own);
                    self.inner.pause(pause);
                    if !self.goes_on(course) || !self.waits_for(pause) {
                        return Err(error);
                    }
                }
            }
            course.attempt += 1;
        }
    }

    async fn attempt(self, call: &Call, course: &Course) -> Result<Reply, Failure> {
        let _place = timeout_at(self.deadline, self.inner.at_once.acquire())
            .await
            .map_err(|_| Failure::out_of_time())?;
        // Only now: Catena may have asked for a pause while this call waited for its place.
        self.until_allowed().await?;
        let token = if call.authorised {
            Some(self.token().await?)
        } else {
            None
        };
        let request = self.inner.request(call, token.as_deref());
        let usual = call.attempt.unwrap_or(self.inner.patience.attempt);
        let limits = Limits {
            connect: self.inner.patience.connect,
            total: usual.min(self.left()),
            largest: call.largest,
        };
        if limits.total.is_zero() {
            return Err(Failure::out_of_time());
        }
        let asked = self.inner.now();
        let fetched = self.inner.fetch.send(request, limits).await;
        log(call, course, &fetched);
        match fetched {
            Ok(fetched) => self.judged(call, course, token, asked, fetched),
            Err(error) => Err(Failure::of_fetch(call, error)),
        }
    }

    fn judged(
        self,
        call: &Call,
        course: &Course,
        token: Option<Arc<Token>>,
        asked: OffsetDateTime,
        fetched: Fetched,
    ) -> Result<Reply, Failure> {
        let (status, now) = (fetched.status, self.inner.now());
        // Gone, as it was to be: perhaps by an earlier attempt of this call.
        let gone = status == StatusCode::NOT_FOUND && call.is_deletion() && course.sent;
        if status.is_success() || gone {
            return Ok(Reply {
                status,
                observed: Observed::new(&fetched.headers, asked, now, fetched.elapsed),
                body: fetched.body.into(),
            });
        }
        Err(Failure::of_answer(
            call,
            token,
            status,
            &fetched.headers,
            &fetched.body,
            now,
        ))
    }

    /// Our token. The renewal goes on for others when this caller's time is over.
    async fn token(self) -> Result<Arc<Token>, Failure> {
        let token = timeout_at(self.deadline, self.inner.token()).await;
        let token = token.map_err(|_| Failure::out_of_time())?;
        token.map_err(|error| Failure {
            next: match &error {
                CatenaError::RateLimited { retry_after } => Next::After(*retry_after),
                _ => Next::GiveUp,
            },
            error,
        })
    }

    /// Waits while Catena wants nothing from us, if that is over in time.
    async fn until_allowed(self) -> Result<(), Failure> {
        let mut waited_for = None;
        loop {
            let now = self.inner.now();
            let Some(until) = self
                .inner
                .paused_until(now)
                .filter(|at| waited_for < Some(*at))
            else {
                return Ok(());
            };
            let pause = Duration::try_from(until - now).unwrap_or_default();
            if !self.waits_for(pause) {
                let retry_after = Some(pause);
                return Err(Failure {
                    error: CatenaError::RateLimited { retry_after },
                    next: Next::GiveUp,
                });
            }
            // A little later, lest everybody come at once.
            let spread = SPREAD.min(pause / 4).min(self.left() - pause);
            sleep(pause + spread.mul_f64(fastrand::f64())).await;
            waited_for = Some(until);
        }
    }

    /// What our token says that it allows, such as `invitation:read` (contract 1). `None` if it doesn't say.
    pub async fn permissions(self) -> Result<Option<Vec<String>>, CatenaError> {
        let token = self.token().await.map_err(|failure| failure.error)?;
        Ok(token.permissions.clone())
    }

    /// For a list of nothing, which nobody was asked for.
    pub(crate) fn observed_nothing(self) -> Observed {
        let now = self.inner.now();
        Observed::new(&HeaderMap::new(), now, now, Duration::ZERO)
    }

    fn goes_on(self, course: &Course) -> bool {
        course.attempt < self.inner.patience.attempts
    }

    /// Whether a pause that Catena asks for is one to wait for.
    fn waits_for(self, pause: Duration) -> bool {
        pause < self.left() && pause <= self.inner.patience.longest_wait
    }

    fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Inner {
    pub(crate) fn now(&self) -> OffsetDateTime {
        (self.clock)()
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, call: &Call, token: Option<&Token>) -> Request<Bytes> {
        let url = format!("{}{}", self.endpoints.api, call.target);
        let body = call.body.clone().unwrap_or_default();
        let mut request = request(call.method.clone(), &url, body);
        let headers = request.headers_mut();
        if call.body.is_some() {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.header.clone());
        }
        request
    }

    /// Holds all callers back for a time.
    fn pause(&self, time: Duration) {
        let now = self.now();
        let until = now + time.min(LONGEST_PAUSE);
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.is_none_or(|(_, known)| known < until) {
            *pause = Some((now, until));
        }
    }

    fn paused_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let pause = *self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        // A pause that begins in the future is that of a clock which has been put right.
        pause
            .filter(|(since, until)| *since <= now && now < *until)
            .map(|(_, until)| until)
    }
}

impl Failure {
    fn out_of_time() -> Self {
        let (sent, source) = (false, Outage::OutOfTime);
        Self {
            error: CatenaError::Unavailable { sent, source },
            next: Next::GiveUp,
        }
    }

    fn of_fetch(call: &Call, error: FetchError) -> Self {
        let (sent, status) = (error.sent(), error.status());
        let timed_out = matches!(error, FetchError::TimedOut { .. });
        let too_large = matches!(error, FetchError::TooLarge { .. });
        match status {
            // What it says is lost, but not its status.
            Some(status) if !status.is_success() => {
                let (none, now) = (HeaderMap::new(), OffsetDateTime::UNIX_EPOCH);
                Self::of_answer(call, None, status, &none, &[], now)
            }
            Some(_) | None if too_large => Self {
                error: CatenaError::unreadable(status.map_or(0, |it| it.as_u16()), "too large"),
                next: Next::GiveUp,
            },
            Some(status) if !timed_out => Self {
                error: CatenaError::unreadable(status.as_u16(), "truncated"),
                next: Next::again_if(call.idempotent),
            },
            _ => Self {
                error: CatenaError::from_fetch(error),
                next: Next::again_if(call.idempotent || !sent),
            },
        }
    }

    fn of_answer(
        call: &Call,
        token: Option<Arc<Token>>,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Self {
        let (error, next) = match status {
            StatusCode::UNAUTHORIZED => {
                let why = match token {
                    Some(_) => "the API refuses our token",
                    None => "the API wants a token",
                };
                let why = why.to_owned();
                let next = token.map_or(Next::GiveUp, Next::Renew);
                (CatenaError::Unauthorised { why }, next)
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = retry_after(headers, body, now);
                (
                    CatenaError::RateLimited { retry_after },
                    Next::After(retry_after),
                )
            }
            status => {
                let error = CatenaError::of_status(status, body);
                let unavailable = matches!(error, CatenaError::Unavailable { .. });
                (error, Next::again_if(unavailable && call.idempotent))
            }
        };
        Self { error, next }
    }
}

impl Next {
    fn again_if(may_be_repeated: bool) -> Self {
        if may_be_repeated {
            Self::Again
        } else {
            Self::GiveUp
        }
    }
}

impl CatenaError {
    pub(crate) fn from_fetch(error: FetchError) -> Self {
        Self::Unavailable {
            sent: error.sent(),
            source: Outage::Fetch(Arc::new(error)),
        }
    }

    /// What a status other than of success means, where it means the same for all: not a 401, not a 429.
    pub(crate) fn of_status(status: StatusCode, body: &[u8]) -> Self {
        let code = status.as_u16();
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::FORBIDDEN => Self::Forbidden(Refusal::read(code, body)),
            StatusCode::REQUEST_TIMEOUT => Self::outage(code),
            _ if status.is_server_error() => Self::outage(code),
            _ if status.is_client_error() => Self::Refused(Refusal::read(code, body)),
            _ if status.is_redirection() => Self::unreadable(code, "a redirect, not followed"),
            _ => Self::unreadable(code, "a status that means nothing here"),
        }
    }

    fn outage(status: u16) -> Self {
        Self::Unavailable {
            sent: true,
            source: Outage::Status(status),
        }
    }
}

/// A request with the headers that all have. A base that is a URI, and a target of encoded parts, make a URI; if not, the
/// default is one that nothing is sent to.
pub(crate) fn request(method: Method, url: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, JSON);
    headers.insert(header::USER_AGENT, USER_AGENT);
    request
}

fn log(call: &Call, course: &Course, fetched: &Result<Fetched, FetchError>) {
    let (operation, attempt) = (call.operation, course.attempt);
    match fetched {
        Ok(fetched) => debug!(
            catena.operation = operation,
            http.status = fetched.status.as_u16(),
            elapsed_ms = fetched.elapsed.as_millis() as u64,
            attempt,
            "catena: {operation}"
        ),
        Err(error) => debug!(
            catena.operation = operation,
            error = %error,
            attempt,
            "catena: {operation} failed"
        ),
    }
}

/// Up to `pause`, doubled for each attempt after the first.
pub(crate) fn full_jitter(pause: Duration, attempt: u32) -> Duration {
    let longest = pause.saturating_mul(1 << (attempt - 1).min(10));
    longest.mul_f64(fastrand::f64())
}

/// The time since `then`; `None` if the clock went backwards.
pub(crate) fn since(then: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
    (now - then).try_into().ok()
}

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("kingpin/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const MOST_AT_ONCE: usize = 16;
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
const SPREAD: Duration = Duration::from_secs(1);

//! One token for all callers (contract 1).

use std::{sync::Arc, time::Duration};

use fetch::{
    Bytes, Limits,
    http::{HeaderValue, Method, Request, StatusCode, header},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, WeakShared},
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    CatenaError, Credentials, Outage,
    call::encoded,
    client::{Inner, full_jitter, request, since},
    refusal::{oauth_error, retry_after},
};

type Renewal = BoxFuture<'static, Result<Arc<Token>, CatenaError>>;

/// What is known about our token. Times are those of the wall clock: a function's monotonic clock stands still while it is
/// frozen, and tokens grow old all the same.
#[derive(Default)]
pub(crate) struct Tokens {
    token: Option<Arc<Token>>,
    /// When to look for another one, before its end.
    renew_at: Option<OffsetDateTime>,
    /// The renewal under way, if anybody still waits for it.
    renewal: Option<WeakShared<Renewal>>,
    /// What was read from the source, and when.
    credentials: Option<(Credentials, OffsetDateTime)>,
    /// The last word of the token endpoint, if that was a refusal.
    refusal: Option<(CatenaError, OffsetDateTime)>,
}

pub(crate) struct Token {
    /// `Bearer …`, marked as sensitive.
    pub(crate) header: HeaderValue,
    /// What it says that it allows.
    pub(crate) permissions: Option<Vec<String>>,
    ends_at: OffsetDateTime,
    renew_at: OffsetDateTime,
}

impl Inner {
    /// A token that isn't near its end. Any number of callers cause one renewal, and share what comes of it. A token that is
    /// still good serves when its renewal fails.
    pub(crate) async fn token(self: &Arc<Self>) -> Result<Arc<Token>, CatenaError> {
        let (renewal, still_good) = {
            let now = self.now();
            let mut tokens = self.tokens();
            let still_good = tokens.token.clone().filter(|token| now < token.ends_at);
            if let Some(token) = &still_good
                && tokens.renew_at.is_some_and(|renew_at| now < renew_at)
            {
                return Ok(Arc::clone(token));
            }
            if let Some((refusal, at)) = &tokens.refusal
                && since(*at, now).is_some_and(|since| since < REREAD)
            {
                return Err(refusal.clone());
            }
            let under_way = tokens.renewal.as_ref().and_then(WeakShared::upgrade);
            let renewal = under_way.unwrap_or_else(|| Arc::clone(self).renew().boxed().shared());
            tokens.renewal = renewal.downgrade();
            (renewal, still_good)
        };
        renewal.await.or_else(|error| still_good.ok_or(error))
    }

    /// Drops a token that the API refused, unless there is another one already.
    pub(crate) fn refused(&self, token: &Arc<Token>) {
        let mut tokens = self.tokens();
        if tokens
            .token
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, token))
        {
            tokens.token = None;
        }
    }

    async fn renew(self: Arc<Self>) -> Result<Arc<Token>, CatenaError> {
        let outcome = self.obtain().await;
        let now = self.now();
        let mut tokens = self.tokens();
        tokens.renewal = None;
        match &outcome {
            Ok(token) => {
                tokens.renew_at = Some(token.renew_at);
                tokens.token = Some(Arc::clone(token));
                tokens.refusal = None;
            }
            Err(error) => {
                tokens.renew_at = Some(now + REREAD);
                if matches!(error, CatenaError::Unauthorised { .. }) {
                    tokens.refusal = Some((error.clone(), now));
                    tokens.credentials = None;
                }
            }
        }
        outcome
    }

    /// A new token, with the credentials that were read last. If those are refused, they may have been replaced: they are read
    /// again, unless that was just done.
    async fn obtain(&self) -> Result<Arc<Token>, CatenaError> {
        let known = self.tokens().credentials.clone();
        let (credentials, read_at) = match known {
            Some(known) => known,
            None => self.read_credentials().await?,
        };
        let outcome = self.ask(&credentials).await;
        let just_read = since(read_at, self.now()).is_some_and(|since| since < REREAD);
        if just_read || !matches!(outcome, Err(CatenaError::Unauthorised { .. })) {
            return outcome;
        }
        let (replaced, _) = self.read_credentials().await?;
        if replaced == credentials {
            return outcome;
        }
        self.ask(&replaced).await
    }

    async fn read_credentials(&self) -> Result<(Credentials, OffsetDateTime), CatenaError> {
        let read = (self.source)().await;
        let read = read.map_err(|error| CatenaError::Credentials(error.into()))?;
        let known = (read, self.now());
        self.tokens().credentials = Some(known.clone());
        Ok(known)
    }

    /// Asks the token endpoint, again if it is unavailable.
    async fn ask(&self, credentials: &Credentials) -> Result<Arc<Token>, CatenaError> {
        let mut attempt = 1;
        loop {
            let outcome = self.ask_once(credentials).await;
            let unavailable = matches!(outcome, Err(CatenaError::Unavailable { .. }));
            tracing::debug!(
                catena.operation = "token",
                attempt,
                outcome = if outcome.is_ok() { "good" } else { "failed" },
                "catena: token"
            );
            if !unavailable || attempt >= self.patience.attempts {
                return outcome.map(Arc::new);
            }
            tokio::time::sleep(full_jitter(self.patience.pause, attempt)).await;
            attempt += 1;
        }
    }

    /// Whatever goes wrong here, the request that needs the token hasn't left.
    async fn ask_once(&self, credentials: &Credentials) -> Result<Token, CatenaError> {
        let asked = self.now();
        let limits = Limits {
            connect: self.patience.connect,
            total: self.patience.attempt,
            largest: LARGEST_TOKEN,
        };
        let answer = self
            .fetch
            .send(self.token_request(credentials), limits)
            .await;
        let answer = answer.map_err(|error| unavailable(Outage::Fetch(Arc::new(error))))?;
        let status = answer.status.as_u16();
        match answer.status {
            good if good.is_success() => Token::read(&answer.body, asked)
                .map_err(|why| unavailable(Outage::Token { status, why })),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let code = oauth_error(&answer.body).unwrap_or_else(|| status.to_string());
                let why = format!("the token endpoint refuses our credentials ({code})");
                Err(CatenaError::Unauthorised { why })
            }
            StatusCode::TOO_MANY_REQUESTS => Err(CatenaError::RateLimited {
                retry_after: retry_after(&answer.headers, &answer.body, self.now()),
            }),
            _ => Err(unavailable(Outage::Token {
                status,
                why: "no token",
            })),
        }
    }

    fn token_request(&self, credentials: &Credentials) -> Request<Bytes> {
        let mut form = "grant_type=client_credentials&scope=organization&client_id=".to_owned();
        form.extend(encoded(&credentials.client_id));
        form.push_str("&client_secret=");
        form.extend(encoded(&credentials.client_secret));
        let mut request = request(Method::POST, self.endpoints.token.as_str(), form);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, form);
        request
    }
}

fn unavailable(source: Outage) -> CatenaError {
    let sent = false;
    CatenaError::Unavailable { sent, source }
}

impl Token {
    /// Its life is counted from before it was asked for.
    fn read(body: &[u8], asked: OffsetDateTime) -> Result<Self, &'static str> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "the token isn't JSON")?;
        let token = body["access_token"]
            .as_str()
            .filter(|token| !token.is_empty());
        let token = token.ok_or("there is no access_token")?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the access_token can't be a header")?;
        header.set_sensitive(true);
        let lifetime = body["expires_in"]
            .as_u64()
            .ok_or("there is no expires_in")?;
        let lifetime = Duration::from_secs(lifetime).min(LONGEST_LIFE);
        let margin = LONGEST_MARGIN.min(lifetime / 10);
        let permissions = body["scope"].as_str();
        let permissions =
            permissions.map(|text| text.split_whitespace().map(str::to_owned).collect());
        Ok(Self {
            header,
            permissions,
            ends_at: asked + lifetime,
            renew_at: asked + lifetime - margin,
        })
    }
}

/// How soon after a refusal the credentials are read again and tried, and how soon after a failure a token that is still
/// good is tried to be renewed.
const REREAD: Duration = Duration::from_secs(5);
/// A token is renewed so long before its end, or a tenth of a short life.
const LONGEST_MARGIN: Duration = Duration::from_secs(30);
/// Only against overflow.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
const LARGEST_TOKEN: usize = 64 * 1024;

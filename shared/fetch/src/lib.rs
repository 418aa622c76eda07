//! One HTTP request done carefully, for Catena's API and the operator's command line.
//!
//! HTTP/1.1 over TLS by rustls on `ring` with compiled-in roots; plain HTTP only to this machine. Connections are kept and
//! used again. Redirects are never followed, so that a credential goes where it was meant to go; proxies of the environment
//! are ignored. Time and size are limited, and an error says whether the request may have left: a write may be repeated only
//! if it didn't, or if it is idempotent.

mod error;
mod pool;

use std::{fmt, pin::pin, time::Duration};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::{Body, Incoming},
    http::uri::Scheme,
};
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::{Instant, timeout, timeout_at};

pub use error::FetchError;
pub use hyper::{body::Bytes, http};

use pool::Pool;

/// How much time and space one exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection: name, TCP and TLS together.
    pub connect: Duration,
    /// For the whole exchange, from the connection to the answer's last byte.
    pub total: Duration,
    /// For the answer's body, in bytes; judged while reading. Its headers may have a hundred lines, and 64 KiB or, depending on
    /// how they arrive, up to twice that.
    pub largest: usize,
}

/// A whole answer, whatever its status.
#[derive(Clone)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// From before the connection until after the last byte, by the monotonic clock.
    pub elapsed: Duration,
}

/// Sends requests. It keeps connections for the next ones, so there should be one of it.
pub struct Fetch {
    pool: Pool,
}

impl Fetch {
    /// With no connection yet.
    pub fn new() -> Self {
        Self::with_idle(IDLE)
    }

    /// One that uses a connection again only within `idle` of the last exchange, by the wall clock: a frozen Lambda function
    /// wakes up with connections that are long dead, and its monotonic clock didn't notice.
    pub fn with_idle(idle: Duration) -> Self {
        Self {
            pool: Pool::new(idle),
        }
    }

    /// One exchange. The request needs an absolute URI; any status is an answer.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Fetched, FetchError> {
        permitted(request.uri())?;
        let started = Instant::now();
        let answer = self.answer(request, limits, started).await;
        self.pool.used();
        let (parts, body) = answer?.into_parts();
        let status = parts.status;
        let reading = read(status, body, limits.largest);
        let body = timeout_at(started + limits.total, reading)
            .await
            .map_err(|_| FetchError::TimedOut { sent: true })??;
        self.pool.used();
        Ok(Fetched {
            status,
            headers: parts.headers,
            body,
            elapsed: started.elapsed(),
        })
    }

    /// The answer up to its body. A request counts as sent as soon as it has a connection to leave by.
    async fn answer(
        &self,
        request: Request<Bytes>,
        limits: Limits,
        started: Instant,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut request = request.map(http_body_util::Full::new);
        let mut connection = capture_connection(&mut request);
        let mut sending = pin!(self.pool.client().request(request));
        let connecting = timeout(
            limits.connect.min(limits.total),
            connection.wait_for_connection_metadata(),
        );
        // Biased: what the request itself has to say counts before the time-out.
        let early = tokio::select! {
            biased;
            answer = &mut sending => Some(answer),
            connected = connecting => {
                connected.map_err(|_| FetchError::TimedOut { sent: false })?;
                None
            }
        };
        let answer = match early {
            Some(answer) => answer,
            None => timeout_at(started + limits.total, sending)
                .await
                .map_err(|_| FetchError::TimedOut { sent: true })?,
        };
        answer.map_err(FetchError::from_client)
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetch(..)")
    }
}

/// Bodies and headers can hold anything, so they aren't shown.
impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("status", &self.status)
            .field("length", &self.body.len())
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}

/// Whether what is sent to this host stays on this machine: a loopback address or `localhost`. IPv6 addresses may be in
/// brackets, as in a URI.
pub fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn permitted(uri: &Uri) -> Result<(), FetchError> {
    let host = uri.host().filter(|host| !host.is_empty());
    match (uri.scheme(), host) {
        (Some(scheme), Some(_)) if *scheme == Scheme::HTTPS => Ok(()),
        (Some(scheme), Some(host)) if *scheme == Scheme::HTTP && is_loopback(host) => Ok(()),
        (Some(scheme), Some(_)) if *scheme == Scheme::HTTP => {
            Err(FetchError::NotAllowed("plain HTTP to another machine"))
        }
        _ => Err(FetchError::NotAllowed("a URI that is not http(s)://host/…")),
    }
}

async fn read(status: StatusCode, body: Incoming, largest: usize) -> Result<Bytes, FetchError> {
    let too_large = FetchError::TooLarge {
        status: Some(status),
    };
    if body.size_hint().lower() > largest as u64 {
        return Err(too_large);
    }
    match Limited::new(body, largest).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large),
        Err(source) => Err(FetchError::Broken {
            status: Some(status),
            source,
        }),
    }
}

/// Below the keep-alive of any usual load balancer.
const IDLE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in [
            "https://api.example.com/a",
            "http://127.0.0.1:8080/a",
            "http://127.9.9.9/a",
            "http://[::1]:8080/a",
            "http://LocalHost:1/",
        ] {
            assert!(permitted(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in [
            "http://api.example.com/a",
            "http://localhost.example.com/",
            "http://128.0.0.1/",
            "http://[::2]/",
            "http://0.0.0.0/",
            "ftp://127.0.0.1/",
            "/path",
            "127.0.0.1:80",
        ] {
            let refused = permitted(&bad.parse().unwrap());
            assert!(matches!(refused, Err(FetchError::NotAllowed(_))), "{bad}");
        }
    }
}

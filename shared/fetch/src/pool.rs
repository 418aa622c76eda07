//! Connections that are used again, but not after they may have died unnoticed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

type Connector = HttpsConnector<HttpConnector>;
type Connections = Client<Connector, Full<Bytes>>;

pub(crate) struct Pool {
    connector: Connector,
    idle: Duration,
    state: Mutex<State>,
}

struct State {
    connections: Connections,
    used: SystemTime,
}

impl Pool {
    /// Trusts Mozilla's roots, compiled in, because reading the system's costs milliseconds of every cold start.
    pub(crate) fn new(idle: Duration) -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        Self::trusting(RootCertStore { roots }, idle)
    }

    fn trusting(roots: RootCertStore, idle: Duration) -> Self {
        let connector = connector(roots);
        let state = Mutex::new(State {
            connections: connections(&connector, idle),
            used: SystemTime::now(),
        });
        Self {
            connector,
            idle,
            state,
        }
    }

    /// The connections at hand, or none after a pause. A wall clock that went backwards proves nothing, so that counts too.
    pub(crate) fn client(&self) -> Connections {
        let now = SystemTime::now();
        let mut state = self.state();
        let paused = now.duration_since(state.used);
        if paused.map_or(true, |paused| paused >= self.idle) {
            state.connections = connections(&self.connector, self.idle);
        }
        state.used = now;
        state.connections.clone()
    }

    /// Notes that something was just heard.
    pub(crate) fn used(&self) {
        self.state().used = SystemTime::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connections(connector: &Connector, idle: Duration) -> Connections {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(HEADERS)
        .build(connector.clone())
}

/// TLS on `ring`, because aws-lc gathers 20 ms of CPU jitter at its first random number.
fn connector(roots: RootCertStore) -> Connector {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build()
}

const IDLE_CONNECTIONS: usize = 16;
/// Also the size that the buffer for reading grows to.
const HEADERS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use crate::{Bytes, Fetch, FetchError, Fetched, Limits, http::Request};

    use super::*;

    /// Made for this test, for `localhost`; nobody else trusts it.
    const CERTIFICATE: &[u8] = include_bytes!("../tests/tls/certificate.der");
    const KEY: &[u8] = include_bytes!("../tests/tls/key.der");

    /// Answers one request over TLS, and says what it was.
    async fn exchange(pool: Pool, name: &str) -> (Result<Fetched, FetchError>, String) {
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivatePkcs8KeyDer::from(KEY).into(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(tls)).accept(stream).await else {
                return String::new();
            };
            let mut request = vec![0; 1_000];
            let length = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let limits = Limits {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
            largest: 100,
        };
        let uri = format!("https://{name}:{port}/path");
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        let fetch = Fetch { pool };
        tokio::join!(fetch.send(request, limits), server)
    }

    fn trusting_the_test() -> Pool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(CERTIFICATE)).unwrap();
        Pool::trusting(roots, Duration::from_secs(20))
    }

    #[tokio::test]
    async fn a_trusted_server_is_spoken_to_over_tls() {
        let (fetched, request) = exchange(trusting_the_test(), "localhost").await;
        assert_eq!(&fetched.unwrap().body[..], b"good");
        assert!(request.starts_with("GET /path HTTP/1.1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn nothing_is_sent_to_a_server_that_is_not_trusted() {
        let pool = Pool::new(Duration::from_secs(20));
        let (fetched, request) = exchange(pool, "localhost").await;
        let error = fetched.unwrap_err();
        assert!(matches!(error, FetchError::NotSent(_)), "{error:?}");
        assert_eq!(request, "");
    }

    #[tokio::test]
    async fn a_pause_that_only_the_wall_clock_saw_ends_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        // Each connection answers with its number, as often as it is asked.
        tokio::spawn(async move {
            for number in 0..10 {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = [0; 1_000];
                    while stream.read(&mut request).await.unwrap() > 0 {
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        let fetch = Fetch::new();
        let limits = Limits {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
            largest: 100,
        };
        for (pause, expected) in [(0, "0"), (1, "0"), (60, "1"), (1, "1")] {
            fetch.pool.state().used -= Duration::from_secs(pause);
            let request = Request::get(&uri).body(Bytes::new()).unwrap();
            let fetched = fetch.send(request, limits).await.unwrap();
            assert_eq!(fetched.body, expected, "after {pause} s");
        }
    }
}

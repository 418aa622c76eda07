//! Exchanges with servers that misbehave, over real connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fetch::{
    Bytes, Fetch, FetchError, Fetched, Limits,
    http::{Request, StatusCode},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    total: Duration::from_secs(10),
    largest: 1_000,
};
const SHORT: Duration = Duration::from_millis(200);

/// What a server does with each request that it has read.
#[derive(Clone)]
enum Does {
    /// Sends this, and reads the next.
    Answers(String),
    /// Sends this, and ends the connection.
    Ends(String),
    /// Sends this, and then nothing more.
    Stalls(String),
    /// Sends a body without end, slowly.
    Drips,
}

struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn that(does: Does) -> Self {
        let listener = listener().await;
        let address = listener.local_addr().expect("it is bound").to_string();
        let (connections, requests) = (Arc::default(), Arc::default());
        let server = Self {
            address,
            connections,
            requests,
        };
        let (connections, requests) = (server.connections.clone(), server.requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, does.clone(), requests.clone()));
            }
        });
        server
    }

    async fn asked(&self, fetch: &Fetch, limits: Limits) -> Result<Fetched, FetchError> {
        send(fetch, &format!("http://{}/a?b=c", self.address), limits).await
    }

    fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.connections), count(&self.requests))
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free")
}

/// Reads requests without bodies.
async fn serve(stream: TcpStream, does: Does, requests: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            match stream.read_line(&mut line).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        requests.fetch_add(1, Ordering::SeqCst);
        let (Does::Answers(text) | Does::Ends(text) | Does::Stalls(text)) = &does else {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        };
        let _ = stream.write_all(text.as_bytes()).await;
        match does {
            Does::Ends(_) => return,
            Does::Stalls(_) => std::future::pending::<()>().await,
            _ => {}
        }
    }
}

async fn send(fetch: &Fetch, uri: &str, limits: Limits) -> Result<Fetched, FetchError> {
    let request = Request::get(uri).body(Bytes::new()).expect("it is a URI");
    fetch.send(request, limits).await
}

async fn outcome(does: Does, limits: Limits) -> Result<Fetched, FetchError> {
    Server::that(does).await.asked(&Fetch::new(), limits).await
}

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn short_total() -> Limits {
    Limits {
        total: SHORT,
        ..LIMITS
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::that(Does::Answers(answer("good"))).await;
    let fetch = Fetch::new();
    for _ in 0..3 {
        let fetched = server.asked(&fetch, LIMITS).await.unwrap();
        assert_eq!(
            (fetched.status, &fetched.body[..]),
            (StatusCode::OK, &b"good"[..])
        );
    }
    assert_eq!(server.counts(), (1, 3));
}

#[tokio::test]
async fn a_connection_that_may_have_died_is_not_used_again() {
    let server = Server::that(Does::Answers(answer("good"))).await;
    let fetch = Fetch::with_idle(Duration::ZERO);
    for _ in 0..3 {
        server.asked(&fetch, LIMITS).await.unwrap();
    }
    assert_eq!(server.counts(), (3, 3));
}

#[tokio::test]
async fn a_connection_that_ended_is_replaced() {
    let server = Server::that(Does::Ends(answer("good"))).await;
    let fetch = Fetch::new();
    for _ in 0..20 {
        match server.asked(&fetch, LIMITS).await {
            Ok(fetched) => assert_eq!(&fetched.body[..], b"good"),
            // The request was on its way already when the end came.
            Err(error) => assert!(error.sent(), "{error:?}"),
        }
    }
    let (connections, requests) = server.counts();
    assert_eq!(connections, requests);
    assert!(requests >= 15, "{requests}");
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent() {
    let closed = listener().await.local_addr().unwrap();
    for uri in [
        format!("http://{closed}/"),
        format!("https://{closed}/"),
        "https://nowhere.invalid/".to_owned(),
    ] {
        let error = send(&Fetch::new(), &uri, LIMITS).await.unwrap_err();
        assert!(
            !error.sent() && !matches!(error, FetchError::NotAllowed(_)),
            "{uri}: {error:?}"
        );
    }
    let error = send(&Fetch::new(), &format!("http://{closed}/"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::NotSent(_)), "{error:?}");
}

#[tokio::test]
async fn plain_http_goes_to_no_other_machine() {
    let outcome = send(&Fetch::new(), "http://192.0.2.1/", short_total()).await;
    assert!(
        matches!(outcome, Err(FetchError::NotAllowed(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn without_tls_nothing_is_sent() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 No TLS here\r\n\r\n")
            .await
            .unwrap();
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        received
    });
    let uri = format!("https://{address}/path?secret");
    let error = send(&Fetch::new(), &uri, LIMITS).await.unwrap_err();
    assert!(matches!(error, FetchError::NotSent(_)), "{error:?}");
    let received = String::from_utf8_lossy(&server.await.unwrap()).into_owned();
    assert!(
        !received.is_empty() && !received.contains("secret"),
        "{received}"
    );
}

#[tokio::test]
async fn a_connection_has_its_own_limit_and_leaves_nothing_sent() {
    // It accepts, and never answers the TLS greeting.
    let listener = listener().await;
    let uri = format!("https://{}/", listener.local_addr().unwrap());
    let started = Instant::now();
    for limits in [
        Limits {
            connect: SHORT,
            ..LIMITS
        },
        short_total(),
    ] {
        let error = send(&Fetch::new(), &uri, limits).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TimedOut { sent: false }),
            "{error:?}"
        );
    }
    assert!(started.elapsed() < LIMITS.connect);
}

#[tokio::test]
async fn a_slow_answer_may_have_been_sent_for() {
    let started = Instant::now();
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned();
    for does in [
        Does::Stalls(String::new()),
        Does::Stalls(begun),
        Does::Drips,
    ] {
        let error = outcome(does, short_total()).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TimedOut { sent: true }),
            "{error:?}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_limit_on_connecting_is_none_on_answering() {
    let server = Server::that(Does::Drips).await;
    let limits = Limits {
        connect: SHORT,
        total: 3 * SHORT,
        ..LIMITS
    };
    let started = Instant::now();
    server.asked(&Fetch::new(), limits).await.unwrap_err();
    assert!(started.elapsed() >= 3 * SHORT);
}

#[tokio::test]
async fn a_connection_that_breaks_may_have_carried_the_request() {
    let cases = [
        ("", None),
        ("HTTP/1.1 200 OK\r\nconte", None),
        ("nonsense\r\n\r\n", None),
        ("HTTP/1.1 201 X\r\ncontent-length: 9\r\n\r\nhalf", Some(201)),
        (
            "HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            Some(500),
        ),
    ];
    for (text, expected) in cases {
        let error = outcome(Does::Ends(text.to_owned()), LIMITS)
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Broken { .. }),
            "{text}: {error:?}"
        );
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            expected,
            "{text}"
        );
        assert!(error.sent());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read() {
    let (just, over) = ("x".repeat(1_000), "x".repeat(1_001));
    let fetched = outcome(Does::Answers(answer(&just)), LIMITS).await.unwrap();
    assert_eq!(fetched.body.len(), 1_000);
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned();
    let bodies = [
        Does::Answers(answer(&over)),
        Does::Ends(format!("HTTP/1.1 200 OK\r\n\r\n{over}")),
        Does::Stalls(announced),
        Does::Stalls(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{over}\r\n"
        )),
    ];
    for does in bodies {
        let error = outcome(does, LIMITS).await.unwrap_err();
        assert!(
            matches!(
                error,
                FetchError::TooLarge {
                    status: Some(StatusCode::OK)
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_not_read() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(300_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(150));
    for text in [long, many] {
        let error = outcome(Does::Stalls(text), LIMITS).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge { status: None }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let other = Server::that(Does::Answers(answer("other"))).await;
    let text = format!(
        "HTTP/1.1 302 X\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        other.address
    );
    let fetched = outcome(Does::Answers(text), LIMITS).await.unwrap();
    assert_eq!(fetched.status, StatusCode::FOUND);
    assert_eq!(other.counts(), (0, 0));
}

#[tokio::test]
async fn nothing_that_was_said_is_shown() {
    let text = "HTTP/1.1 200 OK\r\nset-cookie: hush\r\ncontent-length: 4\r\n\r\nhush".to_owned();
    let fetched = outcome(Does::Answers(text), LIMITS).await.unwrap();
    assert!(!format!("{fetched:?}").contains("hush"));
    let error = outcome(Does::Ends("hush\r\n\r\n".to_owned()), LIMITS)
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"));
}

//! Where subscriptions of the tests deliver to.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use flate2::read::GzDecoder;
use serde_json::Value;
use simulator::sign;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::net::TcpListener;

/// Answers 202 on every path, unless told.
#[derive(Clone, Default)]
pub(super) struct Endpoint {
    pub(super) url: String,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    statuses: HashMap<String, u16>,
    received: Vec<Received>,
}

#[derive(Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Endpoint {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        };
        let router = Router::new().fallback(receive).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// This path answers so from now on.
    pub(super) fn answers(&self, path: &str, status: u16) {
        let mut inside = self.inside.lock().unwrap();
        inside.statuses.insert(path.to_owned(), status);
    }

    pub(super) fn received(&self, path: &str) -> Vec<Received> {
        let inside = self.inside.lock().unwrap();
        let received = inside.received.iter().filter(|it| it.path == path);
        received.cloned().collect()
    }

    /// The names of what came there, in their order.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let received = self.received(path);
        let name = |it: &Received| it.header("x-event-type").to_owned();
        received.iter().map(name).collect()
    }
}

impl Received {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn is_signed_with(&self, key: &str) -> bool {
        let expected = sign(key, self.header("x-catena-timestamp"), &self.body);
        self.header("x-catena-signature") == expected
    }

    pub(super) fn sent_at(&self) -> OffsetDateTime {
        OffsetDateTime::parse(self.header("x-catena-timestamp"), &Rfc3339).unwrap()
    }
}

async fn receive(
    State(endpoint): State<Endpoint>,
    uri: Uri,
    headers: HeaderMap,
    compressed: Bytes,
) -> StatusCode {
    let mut body = Vec::new();
    GzDecoder::new(&compressed[..])
        .read_to_end(&mut body)
        .unwrap();
    let path = uri.path().to_owned();
    let mut inside = endpoint.inside.lock().unwrap();
    let status = inside.statuses.get(&path).copied().unwrap_or(202);
    inside.received.push(Received {
        path,
        headers,
        body,
    });
    StatusCode::from_u16(status).unwrap()
}

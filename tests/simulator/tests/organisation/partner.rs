//! A partner of the simulator, and what it compares answers with.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use flate2::read::GzDecoder;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Map, Value, json};
use simulator::{CLIENT_ID, CLIENT_SECRET, Config, RetryPolicy, Simulator, TOKEN_PATH};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::net::TcpListener;

/// A simulator, an endpoint for its webhooks, and a partner with a token.
pub(crate) struct Partner {
    pub(crate) catena: Simulator,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    received: Arc<Mutex<Vec<Arrival>>>,
}

/// An event and when it came.
type Arrival = (Value, OffsetDateTime);

pub(crate) async fn start() -> Partner {
    let received = Arc::<Mutex<Vec<Arrival>>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/", post(receive))
        .with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Partner::of(&url, received).await
}

async fn receive(
    State(received): State<Arc<Mutex<Vec<Arrival>>>>,
    compressed: Bytes,
) -> StatusCode {
    let event = serde_json::from_reader(GzDecoder::new(&compressed[..]).take(1 << 20)).unwrap();
    received
        .lock()
        .unwrap()
        .push((event, OffsetDateTime::now_utc()));
    StatusCode::ACCEPTED
}

impl Partner {
    pub(crate) async fn of(webhook_url: &str, received: Arc<Mutex<Vec<Arrival>>>) -> Self {
        let config = Config {
            listen: None,
            webhook_url: webhook_url.to_owned(),
            signing_key: "the-key-of-every-subscription-here".to_owned(),
        };
        let catena = Simulator::start(config).await.unwrap();
        catena.set_retry(RetryPolicy {
            backoff: Duration::from_millis(1),
            ..RetryPolicy::default()
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut partner = Self {
            catena,
            http,
            token: String::new(),
            received,
        };
        partner.token = partner.fresh_token().await;
        partner.catena.clear_api_calls();
        partner
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.catena.url())
    }

    /// The documented request, with some fields changed or left out.
    pub(crate) async fn token_request(&self, changes: &[(&str, Option<&str>)]) -> Answer {
        let mut form = HashMap::from([
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("scope", "organization"),
        ]);
        for (name, value) in changes {
            match value {
                Some(value) => form.insert(name, value),
                None => form.remove(name),
            };
        }
        let form: Vec<_> = form
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self.http.post(self.url(TOKEN_PATH)).body(form.join("&"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        Answer::of(request).await.unwrap()
    }

    pub(crate) async fn fresh_token(&self) -> String {
        let answer = self.token_request(&[]).await.json();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, self.url(path))
            .bearer_auth(&self.token);
        match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.to_string()),
            None => request,
        }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        Answer::of(self.request(method, path, body)).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, invitation: Value) -> Answer {
        self.call(Method::POST, INVITATIONS, Some(invitation)).await
    }

    /// The id of a new or refreshed invitation.
    pub(crate) async fn invite(&self, fleet_ref: &str) -> String {
        let answer = self.post(json!({"fleet_ref": fleet_ref})).await;
        assert!(answer.status == 200 || answer.status == 201);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The fleet's magic link.
    pub(crate) fn link(&self, fleet_ref: &str) -> String {
        let read = self.catena.invitation(fleet_ref).unwrap().read;
        read["magic_link"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn agreement(&self, fleet_ref: &str) -> Value {
        let page = self
            .get(&format!("{AGREEMENTS}?fleet_ref={fleet_ref}"))
            .await;
        page.json()["items"][0].clone()
    }

    /// The answer is exactly the sample's.
    pub(crate) async fn refused(&self, method: Method, path: &str, expected: &str) {
        let answer = self.call(method, path, None).await;
        let expected = sample(expected);
        let status = expected["code"].as_u64().unwrap_or(500);
        assert_eq!(
            (u64::from(answer.status), answer.json()),
            (status, expected),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.headers.contains_key("date"));
    }

    /// All events so far, in the order in which they came: none before its time.
    pub(crate) async fn received(&self) -> Vec<Value> {
        self.catena.idle().await;
        let received = self.received.lock().unwrap();
        for (event, arrived_at) in received.iter() {
            assert!(
                at(&event["timestamp"]) <= *arrived_at,
                "from the future: {event}"
            );
        }
        received.iter().map(|(event, _)| event.clone()).collect()
    }

    /// Their names, sorted.
    pub(crate) async fn events(&self) -> Vec<String> {
        let events = self.received().await;
        let names = events
            .iter()
            .map(|event| event["event_name"].as_str().unwrap().to_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.into(),
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn sample(name: &str) -> Value {
    read(&format!("api/{name}.json"))
}

pub(crate) fn event_sample(name: &str) -> Value {
    read(&format!("{name}.json"))
}

fn read(path: &str) -> Value {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/samples");
    serde_json::from_slice(&std::fs::read(samples.join(path)).unwrap()).unwrap()
}

/// Keys and JSON types.
pub(crate) fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => {
            let shapes = fields
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)));
            shapes.collect::<Map<_, _>>().into()
        }
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    }
}

pub(crate) fn at(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

pub(crate) fn encoded(cursor: &str) -> String {
    cursor
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

pub(crate) const INVITATIONS: &str = "/v2/orgs/invitations";
pub(crate) const FLEETS: &str = "/v2/orgs/fleets";
pub(crate) const AGREEMENTS: &str = "/v2/orgs/share-agreements";
pub(crate) const REQUESTS: &str = "/v2/orgs/external-tsps/integration-requests";
pub(crate) const CONNECTIONS: &str = "/v2/integrations/connections";
pub(crate) const WEBHOOKS: &str = "/v2/notifications/webhooks";
pub(crate) const PERMISSIONS: [&str; 14] = [
    "connection:read",
    "fleet:read",
    "invitation:create",
    "invitation:delete",
    "invitation:read",
    "resource_operation:read",
    "schedule:read",
    "share-agreement:delete",
    "share-agreement:read",
    "share-agreement:update",
    "webhook:create",
    "webhook:delete",
    "webhook:read",
    "webhook:update",
];

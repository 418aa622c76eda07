//! Deliveries against a small receiver of the test's own.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::{
    collections::{HashMap, HashSet},
    io::Read as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use flate2::read::GzDecoder;
use serde_json::Value;
use simulator::{
    Answer, Config, Delivery, Faults, Fleet, Outcome, Replay, RetryPolicy, Scenario, Sent,
    Simulator, Timestamps, events, sign, webhook_id,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::net::TcpListener;

#[tokio::test]
async fn delivery_is_signed_compressed_and_described_by_its_headers() {
    let (catena, endpoint) = start(&[202]).await;
    let sent = one(&catena, Faults::default()).await;
    let [received] = &endpoint.received()[..] else {
        panic!("one request")
    };

    assert_eq!(sent.outcome, Outcome::Accepted);
    assert!(received.is_signed_with(KEY));
    assert_eq!(received.json()["event_name"], "invitation.accepted");
    assert_eq!(received.json()["delivery_attempt"], 1);
    assert_eq!(
        received.json()["webhook_id"],
        received.header("x-webhook-id")
    );
    let fixed = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("user-agent", "Catena-Webhook"),
        ("accept", "application/json"),
        ("x-event-type", "invitation.accepted"),
        ("x-schema-version", "1.0"),
        ("x-source", "catena-notifications"),
        ("x-delivery-attempt", "1"),
    ];
    for (name, value) in fixed {
        assert_eq!(received.header(name), value, "{name}");
    }
    assert!(received.header("x-catena-timestamp").ends_with("+00:00"));
    assert!(received.age() < Duration::from_secs(5));
}

#[tokio::test]
async fn server_error_is_retried_with_a_new_attempt_signature_and_request_id() {
    let (catena, endpoint) = start(&[503, 500, 202]).await;
    let sent = one(&catena, Faults::default()).await;
    let received = endpoint.received();

    assert_eq!((sent.outcome, sent.attempts.len()), (Outcome::Accepted, 3));
    let attempts = received.iter().map(|r| {
        (
            r.json()["delivery_attempt"].as_u64(),
            r.header("x-delivery-attempt"),
        )
    });
    assert_eq!(
        attempts.collect::<Vec<_>>(),
        [(Some(1), "1"), (Some(2), "2"), (Some(3), "3")]
    );
    assert!(received.iter().all(|r| r.is_signed_with(KEY)));
    assert_eq!(
        received
            .iter()
            .map(|r| r.header("x-request-id"))
            .collect::<HashSet<_>>()
            .len(),
        3
    );
    assert_eq!(
        received
            .iter()
            .map(|r| r.json()["id"].to_string())
            .collect::<HashSet<_>>()
            .len(),
        1
    );
    assert!(catena.dead_letters().is_empty());
}

#[tokio::test]
async fn silent_endpoint_is_retried() {
    let (catena, endpoint) = start(&[SILENCE, 202]).await;
    catena.set_retry(RetryPolicy {
        timeout: Duration::from_millis(100),
        ..QUICK
    });
    let sent = one(&catena, Faults::default()).await;

    let answers = sent
        .attempts
        .iter()
        .map(|attempt| attempt.answer.clone())
        .collect::<Vec<_>>();
    assert_eq!(answers, [Answer::TimedOut, Answer::Status(202)]);
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test]
async fn client_error_is_final() {
    let (catena, endpoint) = start(&[401]).await;
    let sent = one(&catena, Faults::default()).await;

    assert_eq!(sent.outcome, Outcome::Refused);
    assert_eq!(endpoint.received().len(), 1);
    assert!(catena.dead_letters().is_empty());
}

#[tokio::test]
async fn what_fails_four_times_is_a_dead_letter_until_replayed() {
    let (catena, endpoint) = start(&[503, 503, 503, 503, 503, 503, 503, 503, 202]).await;
    let sent = one(&catena, Faults::default()).await;
    assert_eq!(
        (sent.outcome, sent.attempts.len()),
        (Outcome::DeadLetter, 4)
    );
    let letters = catena.dead_letters();
    assert_eq!(
        letters[&webhook_id("invitation.accepted")][0].id,
        sent.event_id
    );

    let elsewhere = Replay {
        webhook_id: Some(webhook_id("invitation.created")),
        ..Replay::default()
    };
    assert_eq!(catena.replay(elsewhere).await, []);
    assert_eq!(
        catena.replay(Replay::default()).await[0].outcome,
        Outcome::DeadLetter
    );
    assert_eq!(catena.dead_letters().len(), 1);

    let again = catena.replay(Replay::default()).await;
    assert_eq!(
        (again[0].outcome, again[0].event_id),
        (Outcome::Accepted, sent.event_id)
    );
    assert!(catena.dead_letters().is_empty());
    assert!(endpoint.received().last().unwrap().is_signed_with(KEY));
}

#[tokio::test]
async fn replay_can_keep_the_original_timestamp() {
    let (catena, endpoint) = start(&[503, 503, 503, 503, 202]).await;
    let late = Faults {
        late: Duration::from_hours(72),
        ..Faults::default()
    };
    let sent = one(&catena, late).await;
    let again = catena
        .replay(Replay {
            timestamps: Timestamps::Original,
            ..Replay::default()
        })
        .await;

    assert_eq!(again[0].attempts[0].timestamp, sent.attempts[3].timestamp);
    assert!(endpoint.received()[4].is_signed_with(KEY));
    assert!(endpoint.received()[4].age() > Duration::from_hours(71));
}

#[tokio::test]
async fn unreachable_endpoint_is_retried_too() {
    let catena = Simulator::start(config("http://127.0.0.1:1/"))
        .await
        .unwrap();
    catena.set_retry(QUICK);
    let sent = one(&catena, Faults::default()).await;

    assert_eq!(
        (sent.outcome, sent.attempts.len()),
        (Outcome::DeadLetter, 4)
    );
    assert!(
        matches!(sent.attempts[0].answer, Answer::Unreachable(_)),
        "{:?}",
        sent.attempts[0]
    );
}

#[tokio::test]
async fn repeat_differs_only_in_its_headers() {
    let (catena, endpoint) = start(&[202]).await;
    let fleet = fleet();
    let event = events::connection_created(&fleet, fleet.invited_at);
    catena
        .deliver(
            &event,
            Faults {
                repeat: true,
                ..Faults::default()
            },
        )
        .await;

    let [first, second] = &endpoint.received()[..] else {
        panic!("two requests")
    };
    assert_eq!(first.body, second.body);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn corrupt_delivery_has_one_wrong_byte_and_its_retry_is_whole() {
    let (catena, endpoint) = start(&[503, 202]).await;
    one(
        &catena,
        Faults {
            corrupt: true,
            ..Faults::default()
        },
    )
    .await;

    let [damaged, whole] = &endpoint.received()[..] else {
        panic!("two requests")
    };
    assert!(!damaged.is_signed_with(KEY));
    assert!(whole.is_signed_with(KEY));
    let differences = damaged
        .body
        .iter()
        .zip(&whole.body)
        .filter(|(a, b)| a != b)
        .count();
    assert_eq!(
        (damaged.body.len(), differences),
        (whole.body.len(), 2),
        "the damage and the attempt's number"
    );
}

#[tokio::test]
async fn late_delivery_is_signed_correctly_with_an_old_time() {
    let (catena, endpoint) = start(&[202]).await;
    one(
        &catena,
        Faults {
            late: Duration::from_hours(72),
            ..Faults::default()
        },
    )
    .await;

    let [received] = &endpoint.received()[..] else {
        panic!("one request")
    };
    assert!(received.is_signed_with(KEY));
    assert!(received.age() > Duration::from_hours(71));
}

#[tokio::test]
async fn forged_delivery_is_signed_with_a_foreign_key_and_sent_once() {
    let (catena, endpoint) = start(&[503]).await;
    let sent = one(
        &catena,
        Faults {
            forged: true,
            ..Faults::default()
        },
    )
    .await;

    let [received] = &endpoint.received()[..] else {
        panic!("one request")
    };
    assert!(!received.is_signed_with(KEY));
    assert_eq!(sent.outcome, Outcome::Dropped);
    assert!(catena.dead_letters().is_empty());
}

#[tokio::test]
async fn keys_change_for_one_subscription_or_all() {
    let (catena, endpoint) = start(&[202]).await;
    let fleet = fleet();
    let accepted = events::invitation_accepted(&fleet, fleet.invited_at);
    let viewed = events::invitation_viewed(&fleet, fleet.invited_at);
    catena.set_key(Some(accepted.webhook_id), "one");
    catena.deliver(&accepted, Faults::default()).await;
    catena.deliver(&viewed, Faults::default()).await;
    catena.set_key(None, "all");
    catena.deliver(&accepted, Faults::default()).await;

    let received = endpoint.received();
    assert!(received[0].is_signed_with("one"));
    assert!(received[1].is_signed_with(KEY));
    assert!(received[2].is_signed_with("all"));
}

#[tokio::test]
async fn hand_made_request_is_sent_as_it_is() {
    let (catena, endpoint) = start(&[503]).await;
    let fleet = fleet();
    let event = events::invitation_created(&fleet, fleet.invited_at);
    let mut delivery = Delivery::new(&event, KEY, "2026-05-04T08:06:12+00:00");
    delivery.headers.remove("x-catena-signature");
    let attempt = catena.send(delivery).await;

    assert_eq!(attempt.answer, Answer::Status(503));
    assert_eq!(attempt.timestamp, "2026-05-04T08:06:12+00:00");
    let [received] = &endpoint.received()[..] else {
        panic!("one request")
    };
    assert!(!received.headers.contains_key("x-catena-signature"));
}

#[tokio::test]
async fn scenario_repeats_and_overtakes_as_much_as_asked() {
    let (catena, endpoint) = start(&[202]).await;
    let report = catena
        .run(&Scenario::onboarding(20).repeat(0.10).overtake(0.10).seed(7))
        .await;

    assert_eq!(
        (report.events, report.repeated, report.deliveries),
        (120, 12, 132)
    );
    assert_eq!(
        (report.accepted, report.refused, report.dead_letters),
        (132, 0, 0)
    );
    assert_eq!(report.statuses.get(&202), Some(&132));
    assert!(report.response_ms.p50 <= report.response_ms.p99);

    // As received: an event is overtaken if a later one of its fleet came first; ids grow with
    // business time.
    let fleet_of: HashMap<_, _> = report
        .sent
        .iter()
        .map(|s| {
            (
                s.event_id.unwrap().to_string(),
                s.fleet_ref.clone().unwrap(),
            )
        })
        .collect();
    let mut seen = HashSet::new();
    let mut newest: HashMap<&str, String> = HashMap::new();
    let (mut repeated, mut overtaken) = (0, 0);
    for received in endpoint.received() {
        let id = received.json()["id"].as_str().unwrap().to_owned();
        if !seen.insert(id.clone()) {
            repeated += 1;
            continue;
        }
        let newest = newest.entry(&fleet_of[&id]).or_default();
        overtaken += usize::from(*newest > id);
        *newest = newest.clone().max(id);
    }
    assert_eq!((repeated, overtaken), (report.repeated, report.overtaken));
    assert!(overtaken >= 12);
}

#[tokio::test]
async fn scenario_with_every_fault_reaches_a_healthy_endpoint() {
    let (catena, endpoint) = start(&[CHECK]).await;
    let scenario = Scenario::onboarding(10)
        .repeat(0.1)
        .overtake(0.1)
        .corrupt(0.1)
        .forged(0.1)
        .delay(0.1, Duration::from_millis(20))
        .late(0.1, Duration::from_hours(1));
    let report = catena.run(&scenario).await;

    assert_eq!(
        (report.corrupted, report.forged, report.delayed, report.late),
        (6, 6, 6, 6)
    );
    assert_eq!((report.deliveries, report.accepted), (66, 66));
    assert_eq!((report.statuses[&202], report.statuses[&503]), (66, 12));
    assert_eq!(endpoint.received().len(), report.attempts);
}

#[tokio::test]
async fn control_api_does_the_same() {
    let (catena, endpoint) = start(&[CHECK]).await;
    let http = reqwest::Client::new();
    let call = async |method: &str, path: &str, body: &'static str| {
        let url = format!("{}{path}", catena.url());
        let response = http
            .request(method.parse().unwrap(), url)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            status,
            serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text)),
        )
    };

    let (status, report) = call(
        "POST",
        "/scenarios",
        r#"{"fleets": 2, "repeat": 0.5, "seed": 3}"#,
    )
    .await;
    assert_eq!(
        (status, &report["accepted"], &report["seed"]),
        (200, &18.into(), &3.into())
    );
    assert!(
        report["fleets"][1]["fleet_ref"]
            .as_str()
            .unwrap()
            .starts_with("FLEET-")
    );

    let event =
        r#"{"event_name": "connection.staled", "fleet_ref": "F-1", "faults": {"late": 60}}"#;
    let (status, sent) = call("POST", "/deliveries", event).await;
    assert_eq!(
        (status, &sent[0]["attempts"][0]["answer"]["status"]),
        (200, &202.into())
    );
    assert_eq!(
        (&sent[0]["fleet_ref"], &sent[0]["outcome"]),
        (&"F-1".into(), &"accepted".into())
    );

    let next = r#"{"event_name": "fleet_connection.created", "fleet_ref": "F-1"}"#;
    call("POST", "/deliveries", next).await;
    let received = endpoint.received();
    let [staled, created] = received.last_chunk().unwrap();
    assert_eq!(
        staled.json()["data"][0]["fleet_id"],
        created.json()["data"][0]["fleet_id"]
    );

    assert_eq!(
        call(
            "PUT",
            "/signing-key",
            r#"{"key": "not the one that is checked"}"#
        )
        .await
        .0,
        204
    );
    let own = r#"{"event_name": "mine.own", "data": [{"id": 1}]}"#;
    assert_eq!(
        call("POST", "/deliveries", own).await.1[0]["outcome"],
        "dead_letter"
    );
    let (_, letters) = call("GET", "/dead-letters", "").await;
    assert_eq!(
        letters[webhook_id("mine.own").to_string()][0]["data"][0]["id"],
        1
    );
    catena.set_key(None, KEY);
    assert_eq!(call("POST", "/replay", "").await.1["accepted"], 1);
    assert_eq!(
        call("GET", "/deliveries", "")
            .await
            .1
            .as_array()
            .unwrap()
            .len(),
        18 + 2 + 2
    );

    for (path, body, complaint) in [
        ("/scenarios", r#"{"repeat": 10}"#, "10 isn't a fraction"),
        ("/scenarios", r#"{"flets": 10}"#, "unknown field `flets`"),
        (
            "/deliveries",
            r#"{"event_name": "mine.own"}"#,
            "data: missing",
        ),
    ] {
        let (status, text) = call("POST", path, body).await;
        assert_eq!(status, 400);
        assert!(text.as_str().unwrap().contains(complaint), "{text}");
    }
    let (status, help) = call("GET", "/", "").await;
    assert!(
        status == 200
            && help
                .as_str()
                .unwrap()
                .contains(&format!("curl {}/scenarios", catena.url()))
    );
}

#[tokio::test]
async fn start_says_what_is_wrong() {
    let error = Simulator::start(config("https://example.com"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "webhook URL `https://example.com`: give one that starts with http://"
    );
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        listen: taken.local_addr().ok(),
        ..config("http://127.0.0.1:1/")
    };
    let error = Simulator::start(config).await.unwrap_err();
    assert!(
        error.to_string().ends_with("give another address or none"),
        "{error}"
    );
}

/// Delivers `invitation.accepted` of some fleet.
async fn one(catena: &Simulator, faults: Faults) -> Sent {
    let fleet = fleet();
    let event = events::invitation_accepted(&fleet, fleet.invited_at + Duration::from_secs(30));
    catena.deliver(&event, faults).await.remove(0)
}

fn fleet() -> Fleet {
    Fleet::new(
        "FLEET-42",
        OffsetDateTime::now_utc() - Duration::from_mins(1),
    )
}

/// A simulator with quick retries, and an endpoint that answers with these statuses, the last one
/// for ever.
async fn start(statuses: &[u16]) -> (Simulator, Endpoint) {
    let endpoint = Endpoint {
        statuses: statuses.into(),
        received: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/catena", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/webhooks/catena", post(answer))
        .with_state(endpoint.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let catena = Simulator::start(config(&url)).await.unwrap();
    catena.set_retry(QUICK);
    (catena, endpoint)
}

fn config(webhook_url: &str) -> Config {
    Config {
        listen: None,
        webhook_url: webhook_url.to_owned(),
        signing_key: KEY.to_owned(),
    }
}

#[derive(Clone)]
struct Endpoint {
    statuses: Arc<[u16]>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Endpoint {
    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Received {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn is_signed_with(&self, key: &str) -> bool {
        let signature = self.headers.get("x-catena-signature");
        signature.is_some_and(|s| *s == sign(key, self.header("x-catena-timestamp"), &self.body))
    }

    fn age(&self) -> Duration {
        let at = OffsetDateTime::parse(self.header("x-catena-timestamp"), &Rfc3339).unwrap();
        (OffsetDateTime::now_utc() - at).unsigned_abs()
    }
}

async fn answer(
    State(endpoint): State<Endpoint>,
    headers: HeaderMap,
    compressed: Bytes,
) -> StatusCode {
    let mut body = Vec::new();
    GzDecoder::new(&compressed[..])
        .read_to_end(&mut body)
        .unwrap();
    let received = Received { headers, body };
    let genuine = received.is_signed_with(KEY);
    let status = {
        let mut all = endpoint.received.lock().unwrap();
        all.push(received);
        endpoint.statuses[(all.len() - 1).min(endpoint.statuses.len() - 1)]
    };
    match status {
        CHECK if genuine => StatusCode::ACCEPTED,
        CHECK => StatusCode::SERVICE_UNAVAILABLE,
        SILENCE => std::future::pending().await,
        status => StatusCode::from_u16(status).unwrap(),
    }
}

const KEY: &str = "the-key-of-every-subscription-here";
/// Answers 202 to what is signed with [`KEY`], else 503.
const CHECK: u16 = 0;
/// Never answers.
const SILENCE: u16 = 1;
const QUICK: RetryPolicy = RetryPolicy {
    timeout: Duration::from_secs(3),
    retries: 3,
    backoff: Duration::from_millis(1),
    window: Duration::from_secs(5),
};

//! What the partner is told on the event bus: by the deployed template, and by the publisher's binary run by hand where the local
//! AWS doesn't do as Lambda does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, http::Method, routing::post};
use fleet::{At, ConnectionState, Fact, FleetRef, Observation};
use local::{
    aws::Aws,
    runtime_api::Function,
    wire::{Fault, Wire},
};
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::{
    backend::{Backend, depth, now, tell},
    stack::{Running, assert_roles_allow_what_is_called_and_no_more, fleets},
};

/// A queue that gets what a bus tells.
pub(crate) struct Subscriber<'a> {
    aws: &'a Aws,
    url: String,
}

impl<'a> Subscriber<'a> {
    /// By a rule as a partner would write it.
    pub(crate) async fn of(aws: &'a Aws, bus: &str) -> Self {
        let made = aws.sqs("CreateQueue", json!({ "QueueName": "subscriber" }));
        let url = made.await.unwrap()["QueueUrl"].as_str().unwrap().to_owned();
        let ask = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let found = aws.sqs("GetQueueAttributes", ask).await.unwrap();
        let pattern = json!({ "source": ["kingpin"] }).to_string();
        let rule = json!({ "Name": "all", "EventBusName": bus, "EventPattern": pattern });
        aws.event_bridge("PutRule", rule).await.unwrap();
        let target = json!({ "Id": "queue", "Arn": found["Attributes"]["QueueArn"] });
        let targets = json!({ "Rule": "all", "EventBusName": bus, "Targets": [target] });
        aws.event_bridge("PutTargets", targets).await.unwrap();
        Self { aws, url }
    }

    /// What it got since the last time, in its order.
    pub(crate) async fn got(&self) -> Vec<Value> {
        let mut events = Vec::new();
        for body in bodies(self.aws, &self.url).await {
            events.push(serde_json::from_str(&body).unwrap());
        }
        events
    }
}

/// Takes all messages off a queue.
async fn bodies(aws: &Aws, url: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10 });
        let received = aws.sqs("ReceiveMessage", receive).await.unwrap();
        let Some(messages) = received["Messages"].as_array().filter(|it| !it.is_empty()) else {
            return bodies;
        };
        for message in messages {
            bodies.push(message["Body"].as_str().unwrap().to_owned());
            let delete = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
            aws.sqs("DeleteMessage", delete).await.unwrap();
        }
    }
}

/// Waits until the newest version of each record was dealt with by the publisher.
async fn told(running: &Running) {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let lines = running.stack.log_records("publisher").into_iter();
        let lines = lines.filter(|line| line["outcome"] != "retried");
        let dealt_with: BTreeSet<(String, String)> = lines
            .filter_map(|line| {
                let fleet = line["fleet.ref"].as_str()?.to_owned();
                Some((fleet, line["record.version"].to_string()))
            })
            .collect();
        let items = running.items().await;
        let records = items.iter().filter(|item| item["sk"]["S"] == "RECORD");
        let version = |item: &Value| {
            let fleet = item["pk"]["S"].as_str()?.strip_prefix("FLEET#")?;
            Some((fleet.to_owned(), item["version"]["N"].as_str()?.to_owned()))
        };
        let left: Vec<_> = records
            .filter_map(version)
            .filter(|it| !dealt_with.contains(it))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < give_up, "never told: {left:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn ids(events: &[Value]) -> Vec<&str> {
    let ids = events
        .iter()
        .map(|event| event["detail"]["id"].as_str().unwrap());
    ids.collect()
}

/// Each fleet's events add up to a connected fleet, from nothing on, in the order of versions.
fn assert_add_up_to_connected(events: &[Value], fleets: &[Fleet]) {
    let mut stages: BTreeMap<&str, Value> = BTreeMap::new();
    let mut admissions: BTreeMap<&str, Value> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| event["detail"]["version"].as_u64());
    for event in events {
        assert_eq!(event["source"], "kingpin");
        let detail = &event["detail"];
        assert_eq!(detail["schema"], 1);
        if !seen.insert(detail["id"].as_str().unwrap()) {
            continue;
        }
        let fleet = detail["fleet_ref"].as_str().unwrap();
        let (known, nothing) = match event["detail-type"].as_str().unwrap() {
            "fleet.stage_changed" => (&mut stages, json!(null)),
            "fleet.admission_changed" => (&mut admissions, json!({ "kind": "none" })),
            _ => continue,
        };
        let known = known.entry(fleet).or_insert(nothing);
        assert_eq!(*known, detail["from"], "{event}");
        *known = detail["to"].clone();
    }
    for fleet in fleets {
        let fleet = fleet.fleet_ref.as_str();
        assert_eq!(stages.get(fleet), Some(&json!("connected")), "{fleet}");
        let full = json!({ "kind": "full" });
        assert_eq!(admissions.get(fleet), Some(&full), "{fleet}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_fleets_is_told_once_and_holds_no_secret() {
    let running = Running::start(&[]).await;
    let aws = &running.stack.aws;
    let bus = running.stack.deployment.output("EventBusName").unwrap();
    let subscriber = Subscriber::of(aws, bus).await;

    // Two that the partner invites, so that there are secrets to look for; their events of Catena's are their own.
    let partner = running.partner();
    for fleet in ["INVITED-1", "INVITED-2"] {
        let path = format!("/fleets/{fleet}/invitation");
        let body = json!({ "fleet_name": "Alpha" });
        let invited = partner.send(Method::PUT, &path, Some(body));
        assert!(invited.await.unwrap().status < 300);
    }
    let fleets = fleets(20);
    let events: Vec<Envelope> = fleets.iter().flat_map(events::onboarding).collect();
    running.deliver(&events, true).await;
    running.stack.simulator.idle().await;
    running.settled(Duration::from_secs(60)).await;

    // A record that nobody can read, written between two others.
    let damaged = json!({
        "pk": { "S": "FLEET#DAMAGED" },
        "sk": { "S": "RECORD" },
        "schema": { "N": "1" },
        "version": { "N": "7" },
        "facts": { "S": "{\"name\":\"private words\"}" },
    });
    let table = running.stack.table().unwrap();
    let put = json!({ "TableName": table, "Item": damaged });
    aws.dynamodb("PutItem", put).await.unwrap();
    let staled = events::connection_staled(&fleets[0], OffsetDateTime::now_utc());
    running.deliver(&[staled], false).await;
    running.settled(Duration::from_secs(60)).await;
    told(&running).await;

    let got = subscriber.got().await;
    let distinct: BTreeSet<_> = ids(&got).into_iter().collect();
    assert_eq!(distinct.len(), got.len(), "something was told twice");
    let degraded = got.iter().filter(|event| {
        let detail = &event["detail"];
        event["detail-type"] == "connection.degraded" && detail["connection"]["state"] == "stale"
    });
    let degraded: Vec<_> = degraded
        .map(|event| event["detail"]["fleet_ref"].clone())
        .collect();
    assert_eq!(degraded, [fleets[0].fleet_ref.as_str()]);
    assert_add_up_to_connected(&got, &fleets[1..]);
    let invited = got.iter().filter(|event| {
        event["detail-type"] == "fleet.stage_changed" && event["detail"]["to"] == "invited"
    });
    let invited = invited.filter_map(|event| event["detail"]["fleet_ref"].as_str());
    let invited: BTreeSet<_> = invited.collect();
    assert!(invited.contains("INVITED-1") && invited.contains("INVITED-2"));

    let letters = running
        .stack
        .deployment
        .output("PublisherDeadLetterQueueUrl");
    let letters = bodies(aws, letters.unwrap()).await;
    let [letter] = letters.as_slice() else {
        panic!("not one letter: {letters:?}");
    };
    let read: Value = serde_json::from_str(letter).unwrap();
    assert_eq!(
        (&read["pk"], &read["version"], &read["reason"]),
        (&json!("FLEET#DAMAGED"), &json!(7), &json!("damaged"))
    );

    let roles = [("publisher", "PublisherRole")];
    assert_roles_allow_what_is_called_and_no_more(&running.stack, &roles);
    let output = running.stack.logs("publisher").join("\n");
    assert!(output.len() > 1000, "nothing to look at");
    let places = [
        ("the bus", json!(got).to_string()),
        ("the publisher's output", output),
        ("the dead letters", letter.clone()),
    ];
    let items = running.items().await;
    let sealed = items.iter().filter(|item| item["secret"]["S"].is_string());
    assert_eq!(sealed.count(), 2);
    let secrets = secrets(&items, &fleets);
    for (place, text) in places {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {place}");
        }
    }
}

/// What must not leave the table: each text in an invitation's secret, invitation ids, their hashes, and what a damaged record says.
fn secrets(items: &[Value], fleets: &[Fleet]) -> BTreeSet<String> {
    let mut secrets = BTreeSet::from(["private words".to_owned(), "?invite=".to_owned()]);
    secrets.insert(simulator::TOKEN_PREFIX.to_owned());
    secrets.extend(fleets.iter().map(|fleet| fleet.invitation_id.to_string()));
    for item in items {
        if let Some(secret) = item["secret"]["S"].as_str() {
            secrets.insert(secret.to_owned());
            let words = secret.split('"').filter(|word| word.len() >= 20);
            secrets.extend(words.map(str::to_owned));
        }
        let facts = item["facts"]["S"].as_str().unwrap_or("null");
        let facts: Value = serde_json::from_str(facts).unwrap();
        let hashes = facts["invitations"].as_object().into_iter().flatten();
        secrets.extend(hashes.map(|(hash, _)| hash.clone()));
    }
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_fails_for_a_while_costs_time_and_no_event() {
    let running = Running::start(&[("DEADLINE_SECONDS", "2")]).await;
    let bus = running.stack.deployment.output("EventBusName").unwrap();
    let subscriber = Subscriber::of(&running.stack.aws, bus).await;
    let fleets = fleets(5);
    let events: Vec<Envelope> = fleets.iter().flat_map(events::onboarding).collect();
    let down = Fault::error(500, "InternalException");
    running
        .stack
        .wire
        .fault("publisher", "events:PutEvents", down);
    running.deliver(&events, false).await;
    let retried = || running.outcomes("publisher").contains_key("retried");
    let give_up = Instant::now() + Duration::from_secs(30);
    while !retried() {
        assert!(Instant::now() < give_up, "it doesn't fail");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(subscriber.got().await, Vec::<Value>::new());

    running.stack.wire.heal();
    running.settled(Duration::from_secs(60)).await;
    told(&running).await;
    assert_add_up_to_connected(&subscriber.got().await, &fleets);
    let letters = running
        .stack
        .deployment
        .output("PublisherDeadLetterQueueUrl");
    assert_eq!(depth(&running.stack.aws, letters.unwrap()).await, 0);
}

/// The publisher's binary, with a bus and a queue of its own.
async fn publisher(backend: &Backend) -> Function {
    publisher_on(backend, &[]).await
}

async fn publisher_on(backend: &Backend, more: &[(&str, &str)]) -> Function {
    let bus = json!({ "Name": "bus" });
    let made = backend.aws.event_bridge("CreateEventBus", bus).await;
    made.unwrap();
    let queue = json!({ "QueueName": "publisher-dead-letters" });
    let queue = backend.aws.sqs("CreateQueue", queue).await.unwrap();
    let mut settings = vec![
        ("EVENT_BUS_NAME", "bus"),
        (
            "PUBLISHER_DEAD_LETTER_QUEUE_URL",
            queue["QueueUrl"].as_str().unwrap(),
        ),
        ("DEADLINE_SECONDS", "5"),
    ];
    // Of two settings of one name the last counts.
    let lane = backend.wire.lane("publisher").await.unwrap();
    let lane = Wire::environment(&lane);
    settings.extend(
        lane.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    settings.extend(more);
    backend.function("publisher", &settings).await
}

/// A fleet's changes as Lambda hands them over: it is connected, and then its connection breaks and is linked again by turns.
async fn changes(backend: &Backend, name: &str, count: usize) -> Vec<Value> {
    let fleet = FleetRef::parse(name).unwrap();
    let table = backend.table().await;
    let mut changes: Vec<Value> = Vec::new();
    let start = now();
    for n in 0..count {
        let connection = "connection".to_owned();
        let fact = match n % 2 {
            0 => Fact::Linked { connection },
            _ => Fact::Connection {
                connection,
                was: fleet::ConnectionFact::State(ConnectionState::Stale),
            },
        };
        let at = At(start.plus(i64::try_from(n).unwrap()), 0);
        tell(&table, &fleet, vec![Observation { at, fact }]).await;
        let items = backend.items().await;
        let pk = format!("FLEET#{name}");
        let record = items
            .iter()
            .find(|item| item["pk"]["S"] == pk.as_str() && item["sk"]["S"] == "RECORD");
        let mut change = json!({
            "ApproximateCreationDateTime": 1_760_000_000,
            "Keys": { "pk": { "S": pk }, "sk": { "S": "RECORD" } },
            "NewImage": record.unwrap(),
            "SequenceNumber": format!("{name}-{}", n + 1),
        });
        if let Some(last) = changes.last() {
            change["OldImage"] = last["dynamodb"]["NewImage"].clone();
        }
        changes.push(json!({
            "eventName": if n == 0 { "INSERT" } else { "MODIFY" },
            "eventSource": "aws:dynamodb",
            "dynamodb": change,
        }));
    }
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_again_has_the_same_ids_and_an_invitation_is_not_looked_at() {
    let backend = Backend::start().await;
    let function = publisher(&backend).await;
    let subscriber = Subscriber::of(&backend.aws, "bus").await;
    let mut records = changes(&backend, "A", 3).await;
    // The mapping's filter keeps it away; should that ever fail, the function does.
    let mut invitation = records[2].clone();
    invitation["dynamodb"]["Keys"]["sk"]["S"] = json!("INVITATION");
    invitation["dynamodb"]["NewImage"]["secret"] = json!({ "S": "the-secret-of-an-invitation" });
    records.insert(1, invitation);
    let batch = json!({ "Records": records });
    let done = json!({ "batchItemFailures": [] });

    assert_eq!(function.invoke(&batch).await.unwrap(), done);
    let first = subscriber.got().await;
    assert_eq!(function.invoke(&batch).await.unwrap(), done);
    let second = subscriber.got().await;
    let names = first.iter().map(|event| &event["detail-type"]);
    let names: Vec<_> = names
        .filter(|name| **name != "fleet.stage_changed")
        .collect();
    assert_eq!(names, ["connection.degraded", "connection.recovered"]);
    assert_eq!(ids(&first), ids(&second));
    let details = |events: &[Value]| events.iter().map(|it| it["detail"].clone()).collect();
    let (first, second): (Vec<Value>, Vec<Value>) = (details(&first), details(&second));
    assert_eq!(first, second);
    assert!(!json!(first).to_string().contains("the-secret"));
    assert!(!function.output().contains("the-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_through_comes_again_from_its_first_change_on_and_in_order() {
    let backend = Backend::start().await;
    let function = publisher(&backend).await;
    let subscriber = Subscriber::of(&backend.aws, "bus").await;
    let records = changes(&backend, "A", 6).await;
    // Two versions get through, one a request.
    let down = || Fault::error(400, "ThrottlingException");
    let wire = &backend.wire;
    wire.fault_after(2, "publisher", "events:PutEvents", down());
    let answer = function.invoke(&json!({ "Records": records })).await;
    let failures = answer.unwrap()["batchItemFailures"].clone();
    assert_eq!(failures, json!([{ "itemIdentifier": "A-3" }]));
    let mut got = subscriber.got().await;

    wire.heal();
    let again = json!({ "Records": records[2..] });
    let answer = function.invoke(&again).await.unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    got.extend(subscriber.got().await);
    let versions = got.iter().map(|it| it["detail"]["version"].as_u64());
    let versions: Vec<u64> = versions.map(Option::unwrap).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    let distinct: BTreeSet<_> = versions.iter().copied().collect();
    assert_eq!(distinct, (1..=6).collect());
    assert_eq!(
        ids(&got).len(),
        ids(&got).iter().collect::<BTreeSet<_>>().len()
    );
}

/// A bus that takes some entries of a request and not the others, as EventBridge may and the local one doesn't.
#[derive(Debug, Default)]
struct Choosy {
    calls: usize,
    /// Details of what it took, in its order.
    taken: Vec<Value>,
    /// The version whose stage it calls malformed.
    malformed: Option<u64>,
}

impl Choosy {
    fn put(&mut self, request: &Value) -> Value {
        self.calls += 1;
        let entries = request["Entries"].as_array().unwrap();
        assert!((1..=10).contains(&entries.len()), "{}", entries.len());
        let mut answers = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
            let code = if self.malformed.is_some() && detail["version"].as_u64() == self.malformed {
                "MalformedDetail"
            } else if (self.calls + place).is_multiple_of(3) {
                "ThrottlingException"
            } else {
                assert_eq!(entry["EventBusName"], "bus");
                self.taken.push(detail);
                answers.push(json!({ "EventId": "id" }));
                continue;
            };
            answers.push(json!({ "ErrorCode": code, "ErrorMessage": "no" }));
        }
        let failed = answers.iter().filter(|it| !it["ErrorCode"].is_null());
        json!({ "FailedEntryCount": failed.count(), "Entries": answers })
    }

    /// Listens, and tells where.
    async fn listen(choosy: &Arc<Mutex<Self>>) -> String {
        let choosy = Arc::clone(choosy);
        let put = async move |body: String| {
            let request = serde_json::from_str(&body).unwrap();
            choosy.lock().unwrap().put(&request).to_string()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(put));
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        url
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_that_is_taken_in_part_the_rest_is_sent_again_in_order() {
    let backend = Backend::start().await;
    let choosy = Arc::default();
    let url = Choosy::listen(&choosy).await;
    let function = publisher_on(&backend, &[("AWS_ENDPOINT_URL_EVENTBRIDGE", &url)]).await;
    let mut records = Vec::new();
    for name in ["A", "B", "C", "D"] {
        records.extend(changes(&backend, name, 4).await);
    }
    let batch = json!({ "Records": records });
    let done = json!({ "batchItemFailures": [] });
    assert_eq!(function.invoke(&batch).await.unwrap(), done);
    let taken = std::mem::take(&mut choosy.lock().unwrap().taken);
    for name in ["A", "B", "C", "D"] {
        let events = taken.iter().filter(|event| event["fleet_ref"] == name);
        let versions: Vec<_> = events
            .filter_map(|event| event["version"].as_u64())
            .collect();
        assert!(versions.is_sorted(), "{name}: {versions:?}");
        let distinct: BTreeSet<_> = versions.into_iter().collect();
        assert_eq!(distinct, (1..=4).collect(), "{name}");
    }
    let ids: BTreeSet<_> = taken.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), taken.len(), "something was told twice");

    choosy.lock().unwrap().malformed = Some(3);
    assert_eq!(function.invoke(&batch).await.unwrap(), done);
    let refused = taken.iter().filter(|event| event["version"] == 3).count();
    assert_eq!(choosy.lock().unwrap().taken.len(), taken.len() - refused);
    let ask = json!({ "QueueName": "publisher-dead-letters" });
    let queue = backend.aws.sqs("GetQueueUrl", ask).await.unwrap();
    let letters = bodies(&backend.aws, queue["QueueUrl"].as_str().unwrap()).await;
    let letters: BTreeSet<_> = letters
        .iter()
        .map(|letter| {
            let letter: Value = serde_json::from_str(letter).unwrap();
            assert_eq!(
                (&letter["reason"], &letter["version"]),
                (&json!("refused"), &json!(3))
            );
            letter["pk"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected = ["A", "B", "C", "D"].map(|name| format!("FLEET#{name}"));
    assert_eq!(letters, BTreeSet::from(expected));
}

/// What a newer program wrote waits for that program; what was before it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_a_newer_program_holds_up_what_comes_after_it() {
    let backend = Backend::start().await;
    let function = publisher(&backend).await;
    let subscriber = Subscriber::of(&backend.aws, "bus").await;
    let mut records = changes(&backend, "A", 3).await;
    records[1]["dynamodb"]["NewImage"]["schema"] = json!({ "N": "99" });
    let answer = function.invoke(&json!({ "Records": records })).await;
    let failures = answer.unwrap()["batchItemFailures"].clone();
    assert_eq!(failures, json!([{ "itemIdentifier": "A-2" }]));
    let got = subscriber.got().await;
    assert!(!got.is_empty());
    assert!(got.iter().all(|event| event["detail"]["version"] == 1));
}

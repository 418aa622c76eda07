//! The drill of processes that are killed: the event processor, the reconciler and the publisher, each before and after its n-th call
//! of AWS, while webhooks get lost. Afterwards every record says what holds at Catena, and all that changed in it on the way was told,
//! under one id each. The test stands in for Lambda: it takes from queues and the stream, and gives back what isn't done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use fleet::Policy;
use local::{runtime_api::Function, wire::Fault};
use publisher::difference;
use serde_json::{Value, json};
use simulator::{Config, ConnectionStatus, Loss, Simulator, Telling};
use store::{RecordChange, Table};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::{
    backend::{Backend, KEY, TABLE, depth, request, status},
    bus::Subscriber,
    drills::VISIBILITY,
    fates::{Act, befall, happen},
    losses::{begin_comparison, is_compared},
    truth::differing,
};

/// What came of it for so many fleets, each of the three killed so often at least.
pub(crate) async fn run(count: usize, wanted: usize) -> String {
    let backend = &Backend::start().await;
    let start = Instant::now();
    stream(backend).await;
    let simulator = &catena(backend).await;
    let policy = Policy {
        wait_percent: 1,
        ..Policy::default()
    };
    let letters = [
        backend.dead_letter_queue(20, VISIBILITY).await,
        backend
            .dead_letters_of(&backend.tasks_url, "tasks-dead-letters", 20, VISIBILITY)
            .await,
        publishers(backend).await,
    ];
    let subscriber = Subscriber::of(&backend.aws, BUS).await;
    let settings = settings(simulator, &policy, &letters[2]);
    let table = &backend.table().await;
    let done = &AtomicBool::new(false);
    let mut processor = Victim::start(backend, "event-processor", &settings, wanted).await;
    let mut reconciler = Victim::start(backend, "reconciler", &settings, wanted).await;
    let mut publisher = Victim::start(backend, "publisher", &settings, wanted).await;
    let enough = [
        Arc::clone(&processor.enough),
        Arc::clone(&reconciler.enough),
        Arc::clone(&publisher.enough),
    ];

    let story = async {
        simulator.set_webhook_loss(Loss {
            share: 0.3,
            seed: 5,
        });
        befall(simulator, None, count).await;
        // The first fleet is connected, and its connection breaks and recovers until everybody was killed often enough.
        let give_up = Instant::now() + LIMIT;
        while !enough.iter().all(|it| it.load(Ordering::Relaxed)) {
            assert!(Instant::now() < give_up, "too few kills: {enough:?}");
            let statuses = [ConnectionStatus::Stale, ConnectionStatus::Active];
            for status in statuses {
                let act = Act::Becomes(status, Telling::Announced);
                happen(simulator, "FLEET-001", act).await;
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
        }
        simulator.set_webhook_loss(Loss::default());
        simulator.idle().await;
        tokio::time::sleep(LEEWAY).await;
        begin_comparison(table).await;
        let give_up = Instant::now() + LIMIT;
        loop {
            let ill = differing(simulator, table, &policy).await;
            if ill.is_empty() && is_compared(table).await && is_quiet(backend, table).await {
                break;
            }
            assert!(Instant::now() < give_up, "not healed: {ill:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        story,
        process(backend, &mut processor, done),
        reconcile(backend, &mut reconciler, done),
        publish(backend, &mut publisher, done),
    );

    let ill = differing(simulator, table, &policy).await;
    assert!(ill.is_empty(), "{ill:#?}");
    for url in letters {
        assert_eq!(depth(&backend.aws, &url).await, 0, "{url}");
    }
    let changes = all_changes(backend).await;
    let got = subscriber.got().await;
    let (told, stages) = assert_told(&changes, &got, &policy);
    let killed = [&processor, &reconciler, &publisher].map(|victim| {
        let kills: usize = victim.kills.values().sum();
        assert!(
            kills >= wanted,
            "{} was killed {kills} times only",
            victim.package
        );
        format!("{} {kills} {:?}", victim.package, victim.kills)
    });
    format!(
        "{count} fleets, {} webhooks lost; killed {}; every record says what holds at Catena; {} versions of records changed stages \
         {stages} times and gave {told} events, each of them on the bus under one id, {} of {} told again; no dead letters; {:.0} s",
        simulator.lost_webhooks().values().sum::<usize>(),
        killed.join(", "),
        changes.len(),
        got.len() - told,
        got.len(),
        start.elapsed().as_secs_f64()
    )
}

/// A function whose process is killed.
struct Victim<'a> {
    backend: &'a Backend,
    package: &'static str,
    settings: &'a [(String, String)],
    function: Function,
    lane: String,
    life: u32,
    wanted: usize,
    turn: u64,
    /// The place of the next kill: before the first call, after it, before the second one, and so on.
    point: u64,
    kills: BTreeMap<String, usize>,
    enough: Arc<AtomicBool>,
}

impl<'a> Victim<'a> {
    async fn start(
        backend: &'a Backend,
        package: &'static str,
        settings: &'a [(String, String)],
        wanted: usize,
    ) -> Self {
        let lane = format!("{package}-0");
        Self {
            function: spawn(backend, &lane, package, settings).await,
            backend,
            package,
            settings,
            lane,
            life: 0,
            wanted,
            turn: 0,
            point: 0,
            kills: BTreeMap::new(),
            enough: Arc::default(),
        }
    }

    /// Invokes it; `None` if it was killed meanwhile, which every second invocation is that makes enough calls.
    async fn invoke(&mut self, event: &Value) -> Option<Value> {
        self.turn += 1;
        let spared = self.turn.is_multiple_of(2) || self.enough.load(Ordering::Relaxed);
        if spared {
            return Some(self.function.invoke(event).await.unwrap());
        }
        let (call, after) = (self.point / 2, !self.point.is_multiple_of(2));
        let wire = &self.backend.wire;
        let before = wire.count_all(&self.lane);
        let fault = if after { Fault::HangAfter } else { Fault::Hang };
        wire.fault_after(call, &self.lane, "*", fault);
        let reached = async {
            while wire.count_all(&self.lane) <= before + call {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // So that what goes through is through.
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        let answer = tokio::select! {
            biased;
            answer = self.function.invoke(event) => Some(answer.unwrap()),
            () = reached => None,
        };
        wire.heal_lane(&self.lane);
        if answer.is_some() {
            if wire.count_all(&self.lane) > before {
                // It makes no more calls than that.
                self.point = 0;
            }
            return answer;
        }
        self.point += 1;
        let place = format!(
            "{} call {}",
            if after { "after" } else { "before" },
            call + 1
        );
        *self.kills.entry(place).or_default() += 1;
        let kills: usize = self.kills.values().sum();
        self.enough.store(kills >= self.wanted, Ordering::Relaxed);
        self.life += 1;
        self.lane = format!("{}-{}", self.package, self.life);
        self.function = spawn(self.backend, &self.lane, self.package, self.settings).await;
        None
    }
}

async fn spawn(
    backend: &Backend,
    lane: &str,
    package: &str,
    settings: &[(String, String)],
) -> Function {
    let settings = settings.iter();
    let settings = settings.map(|(name, value)| (name.as_str(), value.as_str()));
    backend
        .function_on(lane, package, &settings.collect::<Vec<_>>())
        .await
}

/// Hands the events queue to the processor.
async fn process(backend: &Backend, victim: &mut Victim<'_>, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        work_off(backend, &backend.queue_url, victim).await;
    }
}

/// Hands the tasks queue to the reconciler, and asks for a sweep every minute, which is a hundredth here.
async fn reconcile(backend: &Backend, victim: &mut Victim<'_>, done: &AtomicBool) {
    let mut swept = Instant::now();
    while !done.load(Ordering::Relaxed) {
        if swept.elapsed() > Duration::from_millis(600) {
            victim.invoke(&json!({ "sweep": true })).await;
            swept = Instant::now();
        }
        work_off(backend, &backend.tasks_url, victim).await;
    }
}

async fn work_off(backend: &Backend, url: &str, victim: &mut Victim<'_>) {
    let messages = backend.receive_from(url).await;
    if messages.is_empty() {
        return tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let Some(answer) = victim.invoke(&json!({ "Records": messages })).await else {
        return;
    };
    let failed = answer["batchItemFailures"].as_array().unwrap();
    let failed: Vec<&Value> = failed.iter().map(|it| &it["itemIdentifier"]).collect();
    let succeeded = messages.iter();
    let succeeded = succeeded.filter(|it| !failed.contains(&&it["messageId"]));
    backend.delete_from(url, succeeded).await;
}

/// Hands the table's stream to the publisher, from its beginning on and in its order. What isn't through comes again.
async fn publish(backend: &Backend, victim: &mut Victim<'_>, done: &AtomicBool) {
    let mut iterator = beginning(backend).await;
    loop {
        // First, so that what was written until then is told.
        let last = done.load(Ordering::Relaxed);
        let (mut changes, next) = changes(backend, &iterator, 10).await;
        iterator = next;
        if changes.is_empty() {
            if last {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while !changes.is_empty() {
            let Some(answer) = victim.invoke(&json!({ "Records": changes })).await else {
                continue;
            };
            let first = &answer["batchItemFailures"][0]["itemIdentifier"];
            let left = |change: &Value| change["dynamodb"]["SequenceNumber"] == *first;
            let left = changes.iter().position(left);
            changes.drain(..left.unwrap_or(changes.len()));
        }
    }
}

/// Each event that follows from the changes is on the bus, all of its copies alike, and nothing else. Returns how many they are, and
/// how many of them are changes of stages.
fn assert_told(changes: &[Value], got: &[Value], policy: &Policy) -> (usize, usize) {
    let mut copies: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in got {
        let id = event["detail"]["id"].as_str().unwrap();
        copies.entry(id).or_default().push(event);
    }
    for (id, copies) in &copies {
        let same = |event: &&Value| {
            event["detail"] == copies[0]["detail"]
                && event["detail-type"] == copies[0]["detail-type"]
        };
        assert!(
            copies.iter().all(same),
            "{id} is of two events: {copies:#?}"
        );
    }

    let mut expected = BTreeMap::new();
    for change in changes.iter().filter_map(RecordChange::of) {
        let (new, at) = change.after().unwrap();
        let old = change.before().unwrap();
        for event in difference(old.as_ref(), &new, at, policy) {
            let detail = json!(event);
            let id = detail["id"].as_str().unwrap().to_owned();
            let twice = expected.insert(id, (event.name(), detail));
            assert_eq!(twice, None, "two events have one id");
        }
    }
    for (id, (name, detail)) in &expected {
        let copy = copies.get(id.as_str()).map(|copies| copies[0]);
        let copy = copy.unwrap_or_else(|| panic!("never told: {name} {detail}"));
        assert_eq!(
            (&copy["detail-type"], &copy["detail"]),
            (&json!(name), detail)
        );
    }
    let ids: BTreeSet<&str> = expected.keys().map(String::as_str).collect();
    let strange = copies.keys().find(|id| !ids.contains(**id));
    assert_eq!(strange, None, "told of nothing that changed");

    // The same of stages, without the publisher's own words: by what is written in successive versions.
    let mut stages: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    let mut changed = 0;
    for written in changes {
        let change = RecordChange::of(written).unwrap();
        let fleet = change.fleet().as_str().to_owned();
        let version = change.version().unwrap();
        let stage = written["dynamodb"]["NewImage"]["stage"]["S"].clone();
        let (before, from) = stages.remove(&fleet).unwrap_or((0, Value::Null));
        // In between are only notes of when it was looked at, which change nothing: nothing is missing.
        let old = &written["dynamodb"]["OldImage"]["stage"]["S"];
        assert!(
            version > before && *old == from,
            "{fleet}: version {version} comes after {before}"
        );
        if stage != from {
            changed += 1;
            let told = got.iter().any(|event| {
                let detail = &event["detail"];
                event["detail-type"] == "fleet.stage_changed"
                    && detail["fleet_ref"] == fleet
                    && detail["version"] == version
                    && detail["from"] == from
                    && detail["to"] == stage
            });
            assert!(told, "{fleet}, version {version}: {from} to {stage}");
        }
        stages.insert(fleet, (version, stage));
    }
    (expected.len(), changed)
}

/// Whether no message waits and nothing is due.
async fn is_quiet(backend: &Backend, table: &Table) -> bool {
    let queues = [&backend.queue_url, &backend.tasks_url];
    for url in queues {
        if depth(&backend.aws, url).await > 0 {
            return false;
        }
    }
    let due = table.due(OffsetDateTime::now_utc(), 1).await;
    due.unwrap().is_empty()
}

/// Catena, whose webhooks reach the real ingest.
async fn catena(backend: &Backend) -> Simulator {
    let ingest = Arc::new(backend.function("webhook-ingest", &[]).await);
    let take = async move |headers: HeaderMap, body: Bytes| {
        let answer = ingest.invoke(&request(&headers, &body)).await.unwrap();
        StatusCode::from_u16(u16::try_from(status(&answer)).unwrap()).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook_url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(take));
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    let config = Config {
        listen: None,
        webhook_url,
        signing_key: KEY.to_owned(),
    };
    Simulator::start(config).await.unwrap()
}

/// Settings of all three.
fn settings(simulator: &Simulator, policy: &Policy, letters: &str) -> Vec<(String, String)> {
    let url = simulator.url();
    let settings = [
        ("POLICY", json!(policy).to_string()),
        ("BACKOFF_BASE_SECONDS", "1".to_owned()),
        ("BACKOFF_MAX_SECONDS", "3".to_owned()),
        ("CATENA_API_URL", url.to_owned()),
        (
            "CATENA_TOKEN_URL",
            format!("{url}{}", simulator::TOKEN_PATH),
        ),
        ("CATENA_SECRET_ID", "catena".to_owned()),
        ("EVENT_BUS_NAME", BUS.to_owned()),
        ("PUBLISHER_DEAD_LETTER_QUEUE_URL", letters.to_owned()),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// Makes the publisher's bus and its queue for what can't be told.
async fn publishers(backend: &Backend) -> String {
    let bus = json!({ "Name": BUS });
    let made = backend.aws.event_bridge("CreateEventBus", bus).await;
    made.unwrap();
    let queue = json!({ "QueueName": "publisher-dead-letters" });
    let queue = backend.aws.sqs("CreateQueue", queue).await.unwrap();
    queue["QueueUrl"].as_str().unwrap().to_owned()
}

/// Turns the table's stream on.
async fn stream(backend: &Backend) {
    let wanted = json!({ "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" });
    let update = json!({ "TableName": TABLE, "StreamSpecification": wanted });
    backend.aws.dynamodb("UpdateTable", update).await.unwrap();
}

/// Where the stream begins.
async fn beginning(backend: &Backend) -> Value {
    let table = json!({ "TableName": TABLE });
    let found = backend.aws.dynamodb("DescribeTable", table).await.unwrap();
    let arn = &found["Table"]["LatestStreamArn"];
    let ask = json!({ "StreamArn": arn });
    let streams = &backend.aws;
    let found = streams.dynamodb_streams("DescribeStream", ask).await;
    let shard = found.unwrap()["StreamDescription"]["Shards"][0]["ShardId"].clone();
    let ask = json!({ "StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
    let found = streams.dynamodb_streams("GetShardIterator", ask).await;
    found.unwrap()["ShardIterator"].clone()
}

/// The next changes of records, and where it goes on.
async fn changes(backend: &Backend, iterator: &Value, limit: usize) -> (Vec<Value>, Value) {
    let ask = json!({ "ShardIterator": iterator, "Limit": limit });
    let found = backend.aws.dynamodb_streams("GetRecords", ask).await;
    let mut found = found.unwrap();
    let changes: Vec<Value> = serde_json::from_value(found["Records"].take()).unwrap();
    (changes, found["NextShardIterator"].take())
}

async fn all_changes(backend: &Backend) -> Vec<Value> {
    let mut iterator = beginning(backend).await;
    let mut all = Vec::new();
    loop {
        let (found, next) = changes(backend, &iterator, 1000).await;
        if found.is_empty() {
            all.retain(|change| RecordChange::of(change).is_some());
            return all;
        }
        all.extend(found);
        iterator = next;
    }
}

const BUS: &str = "bus";
/// What Catena answers is timed so far back.
const LEEWAY: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(200);

//! What was set aside is released, and dead letters are moved back: as if they had never been away.

use std::{collections::BTreeMap, path::Path, process::Output, time::Duration};

use futures_util::{StreamExt, stream};
use local::wire::Fault;
use serde_json::{Value, json};
use simulator::{Envelope, Faults, Fleet, Outcome, events};
use store::HistoryEntry;
use time::OffsetDateTime;

use crate::{
    cli::{Described, failure, kingpin, printed, read},
    drills::eventful,
    stack::Running,
};

/// A stack whose operator's calls go by a lane of the wire, called `kingpin`.
struct Operated {
    running: Running,
    folder: tempfile::TempDir,
}

impl Operated {
    async fn start() -> Self {
        let settings = [("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "5")];
        let running = Running::start(&settings).await;
        let folder = tempfile::tempdir().unwrap();
        let described = std::fs::read(running.stack.stack_json()).unwrap();
        let mut described: Value = serde_json::from_slice(&described).unwrap();
        described["aws_endpoint_url"] = json!(running.stack.wire.lane("kingpin").await.unwrap());
        std::fs::write(folder.path().join("stack.json"), described.to_string()).unwrap();
        Self { running, folder }
    }

    fn ask(&self, arguments: &str) -> Output {
        let file = self.folder.path().join("stack.json");
        let local = ["--local", file.to_str().unwrap()];
        let arguments: Vec<&str> = local.into_iter().chain(arguments.split(' ')).collect();
        kingpin(Path::new("/"), &[], &arguments)
    }

    fn json(&self, arguments: &str) -> Value {
        read(&self.ask(&format!("--json {arguments}")))
    }

    async fn deliver(&self, envelopes: &[Envelope], faults: Faults) {
        let simulator = &self.running.stack.simulator;
        let sent = envelopes.iter().map(|it| simulator.deliver(it, faults));
        let sent: Vec<_> = stream::iter(sent).buffer_unordered(8).collect().await;
        for sent in sent.into_iter().flatten() {
            assert_eq!(sent.outcome, Outcome::Accepted, "{sent:?}");
        }
    }

    /// When each thing in quarantine was set aside.
    async fn set_aside(&self) -> BTreeMap<String, i64> {
        let items = self.running.items().await.into_iter();
        let items = items.filter_map(|item| {
            let day = item["pk"]["S"].as_str()?.strip_prefix("QUARANTINE#")?;
            let at = item["quarantined_at"]["N"].as_str()?.parse().ok()?;
            Some((format!("{day}/{}", item["sk"]["S"].as_str()?), at))
        });
        items.collect()
    }
}

fn stopped(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_quarantined_deliveries_are_released_as_if_they_had_come_in_order() {
    let operated = &Operated::start().await;
    let Operated { running, .. } = operated;
    let start = std::time::Instant::now();
    let (fleets, events) = eventful(100);
    let mut all: Vec<Envelope> = events.concat();
    let count = all.len();
    assert!(count >= 1000, "{count} deliveries only");
    fastrand::Rng::with_seed(42).shuffle(&mut all);

    // Catena's clock is an hour fast for some of them; the others were kept for 20 days before they were replayed.
    let (fast, old) = all.split_at(count / 2);
    let early = Faults {
        early: Duration::from_secs(3600),
        ..Faults::default()
    };
    operated.deliver(fast, early).await;
    let late = Faults {
        late: Duration::from_secs(20 * 24 * 60 * 60),
        ..Faults::default()
    };
    operated.deliver(old, late).await;
    // Some that no release helps: one of a name that nobody knows, and one that isn't a message.
    let mut unknown = events::invitation_created(&fleets[0], OffsetDateTime::now_utc());
    unknown.event_name = "fleet_info.modified".to_owned();
    operated.deliver(&[unknown], Faults::default()).await;
    let url = running.stack.deployment.output("EventsQueueUrl").unwrap();
    let damaged = json!({ "QueueUrl": url, "MessageBody": "hunter2" });
    running.stack.aws.sqs("SendMessage", damaged).await.unwrap();
    let outcomes = running.settled(Duration::from_secs(300)).await;
    let all_aside = count + 2;
    assert_eq!(outcomes, [("quarantined".to_owned(), all_aside)].into());
    let before = operated.set_aside().await;
    assert_eq!(before.len(), all_aside);
    let quarantined_in = start.elapsed();

    let listed = operated.json("quarantine list --since 1d");
    assert_eq!(listed["total"], all_aside);
    assert_eq!(listed["events"].as_array().unwrap().len(), 100);
    let reasons = &listed["reasons"];
    assert_eq!(reasons["signed in the future"], count / 2);
    assert_eq!(
        reasons["signed longer ago than any replay"],
        count - count / 2
    );
    let dry_run = operated.json("quarantine release --all --dry-run");
    assert_eq!(
        (&dry_run["would_be"], &dry_run["released"]),
        (&json!(count + 1), &json!(0))
    );
    let unasked = operated.ask("quarantine release --all");
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    assert!(String::from_utf8(unasked.stderr).unwrap().contains("--yes"));
    assert_eq!(operated.set_aside().await, before);

    // The first release breaks off in the middle: some are sent and not removed, and so sent twice.
    let releasing = OffsetDateTime::now_utc();
    let fault = Fault::error(500, "InternalServerError");
    running
        .stack
        .wire
        .fault_after(300, "kingpin", "dynamodb:DeleteItem", fault);
    let release = "--json quarantine release --all --reason signed --per-second 400 --yes";
    let broken_off = stopped(&operated.ask(release));
    running.stack.wire.heal();
    let first = broken_off["released"].as_u64().unwrap() as usize;
    assert!((300..count).contains(&first), "{broken_off}");
    assert!(broken_off["stopped"].as_str().unwrap().contains("no harm"));
    let second = read(&operated.ask(release));
    let second = second["released"].as_u64().unwrap() as usize;
    assert!(first + second >= count, "{first} and {second}");
    running.settled(Duration::from_secs(300)).await;
    running.assert_equal_to_oracle(&fleets, &all).await;
    assert_eq!(running.dead_letters().await, 0);
    assert_eq!(operated.set_aside().await.len(), 2);
    assert_all_were_heard_of_before(running, releasing).await;

    // What can't be processed still is set aside anew, and releasing it doesn't remove that.
    let still = operated.set_aside().await;
    let output = operated.ask("--json quarantine release --all --yes");
    let left = stopped(&output);
    assert_eq!(
        (&left["released"], &left["stopped"]),
        (&json!(1), &Value::Null)
    );
    assert!(
        left["left"][0]["why"]
            .as_str()
            .unwrap()
            .contains("no content")
    );
    running.settled(Duration::from_secs(60)).await;
    let again = operated.set_aside().await;
    let changed = again.iter().filter(|(id, at)| still[*id] < **at);
    assert_eq!((again.len(), changed.count()), (2, 1));

    // One by the beginning of its id, the other with the rest.
    let id = left["left"][0]["id"].as_str().unwrap();
    let shown = printed(&operated.ask(&format!("quarantine show {}", &id[..19])));
    assert!(shown.contains(id) && !shown.contains("hunter2"), "{shown}");
    assert_eq!(
        operated.json(&format!("quarantine drop {id} --yes"))["dropped"],
        1
    );
    let gone = failure(&operated.ask(&format!("quarantine show {id}")));
    assert!(gone.contains("nothing like"), "{gone}");
    assert_eq!(operated.json("quarantine drop --all --yes")["dropped"], 1);
    assert!(operated.set_aside().await.is_empty());
    println!(
        "{count} deliveries quarantined in {:.0} s and released, {} of them twice: every record and history equals the oracle's; {:.0} s",
        quarantined_in.as_secs_f64(),
        first + second - count,
        start.elapsed().as_secs_f64()
    );
}

/// When an event arrived stays when it arrived, also if it was set aside.
async fn assert_all_were_heard_of_before(running: &Running, moment: OffsetDateTime) {
    let moment = store::timestamp(moment);
    let items = running.items().await;
    let entries = items
        .iter()
        .filter_map(|item| item["entries"]["S"].as_str());
    let entries: Vec<HistoryEntry> = entries
        .flat_map(|it| serde_json::from_str::<Vec<HistoryEntry>>(it).unwrap())
        .collect();
    assert!(!entries.is_empty());
    let late = entries.iter().find(|entry| entry.received >= moment);
    assert_eq!(late, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_moved_back_as_they_are() {
    let described = &Described::with_dead_letters(1, Duration::from_secs(1)).await;
    let backend = &described.backend;
    let invited_at = OffsetDateTime::now_utc() - Duration::from_secs(600);
    let all = events::onboarding(&Fleet::new("FLEET-42", invited_at));
    let bodies: Vec<String> = all.iter().map(crate::drills::body).collect();
    let attribute = json!({ "trace": { "DataType": "String", "StringValue": "abc" } });
    for body in &bodies {
        let send = json!({ "QueueUrl": backend.queue_url, "MessageBody": body, "MessageAttributes": attribute });
        backend.aws.sqs("SendMessage", send).await.unwrap();
    }
    // Received and never deleted.
    while !backend.receive().await.is_empty() {}
    tokio::time::sleep(Duration::from_millis(1500)).await;
    while !backend.receive().await.is_empty() {}
    assert_eq!(backend.depth(&backend.queue_url).await, 0);

    let listed = described.json(&["dlq", "list", "--limit", "3"]);
    assert_eq!(listed["waiting"], bodies.len());
    let messages = listed["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert!(
        messages
            .iter()
            .all(|it| it["what"].is_string() && it["sent"].is_string())
    );
    let text = described.text(&["dlq", "list"]);
    for name in ["invitation.accepted", "FLEET-42"] {
        assert!(text.contains(name), "{text}");
    }
    let would_be = described.json(&["dlq", "redrive", "--dry-run", "--limit", "2"]);
    assert_eq!(would_be["would_be"], 2);
    assert_eq!(backend.depth(&backend.queue_url).await, 0);
    let unasked = described.ask(&["dlq", "redrive"]);
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");

    let two = described.json(&["dlq", "redrive", "--limit", "2", "--yes"]);
    assert_eq!(two["moved"], 2);
    assert_eq!(backend.depth(&backend.queue_url).await, 2);
    let rest = described.json(&["dlq", "redrive", "--yes", "--per-second", "100"]);
    assert_eq!(rest["moved"], bodies.len() - 2);
    let mut moved = Vec::new();
    loop {
        let receive = json!({ "QueueUrl": backend.queue_url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"] });
        let received = backend.aws.sqs("ReceiveMessage", receive).await.unwrap();
        let Some(messages) = received["Messages"].as_array().filter(|it| !it.is_empty()) else {
            break;
        };
        for message in messages {
            assert_eq!(message["MessageAttributes"], attribute);
            moved.push(message["Body"].as_str().unwrap().to_owned());
        }
    }
    moved.sort();
    let mut sent = bodies;
    sent.sort();
    assert_eq!(moved, sent);
}

//! What webhooks say of write operations, in any order, before and after anybody knows whose they are, and what is said of those that are searched
//! for in vain: the real binaries of the event processor and the reconciler against the table.

use std::{collections::BTreeSet, time::Duration};

use fleet::{FleetRef, Policy, Timestamp};
use local::runtime_api::Function;
use operations::{Asked, Course, Heard, Kind, Operation, Status};
use serde_json::{Map, Value, json};
use simulator::{Config, Envelope, Fleet, Simulator, events};
use store::{Commit, HistoryDays, Operations, StoredOperation, Table, timestamp};
use time::OffsetDateTime;

use crate::{
    backend::{Backend, KEY, outcomes},
    batches::{batch, bodies, failed},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn fleet(name: &str) -> Fleet {
    let invited_at = OffsetDateTime::now_utc() - Duration::from_secs(600);
    Fleet::new(name, invited_at)
}

fn policy() -> Policy {
    Policy::default()
}

fn operations<'a>(table: &'a Table, policy: &'a Policy) -> Operations<'a> {
    Operations {
        table,
        policy,
        history_days: HistoryDays::default(),
        now: OffsetDateTime::now_utc,
    }
}

/// An operation whose call is under way.
async fn called(to: Operations<'_>, fleet: &Fleet) -> StoredOperation {
    let asked = Asked {
        fleet: FleetRef::parse(&fleet.fleet_ref).unwrap(),
        key: "key".to_owned(),
        by: "arn:aws:iam::123456789012:user/partner".to_owned(),
        resource: "message".to_owned(),
        kind: Kind::Create,
        target: None,
        connection: fleet.connection_id.to_string(),
        digest: "digest".to_owned(),
    };
    let id = operations::operation_id(&fleet.fleet_ref, "key");
    let payload: Map<String, Value> =
        serde_json::from_value(json!({ "message_text": "hunter2" })).unwrap();
    let now = timestamp(OffsetDateTime::now_utc());
    let new = StoredOperation::new(Operation::new(id, asked, payload, now));
    match to.keep(&new).await.unwrap() {
        Commit::Written(stored) => stored,
        Commit::Conflict => panic!("there is one already"),
    }
}

async fn claimed(to: Operations<'_>, stored: StoredOperation, fleet: &Fleet) {
    let id = fleet.operation_id.to_string();
    let accepted = to.accept(stored, &id, None, Heard::default()).await;
    accepted.unwrap().unwrap();
}

/// In the order of what happened: created, done, and then failed all the same.
fn told(fleet: &Fleet) -> [Envelope; 3] {
    let now = OffsetDateTime::now_utc();
    [
        events::resource_operation_created(fleet, now - Duration::from_secs(3)),
        events::resource_operation_succeeded(fleet, now - Duration::from_secs(2)),
        events::resource_operation_failed(fleet, now - Duration::from_secs(1)),
    ]
}

async fn handle(processor: &Function, body: &str) {
    let failed = failed(processor, &batch([body])).await;
    assert_eq!(failed, [] as [String; 0], "{}", processor.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_any_order_whoever_comes_first_leads_to_the_same_end() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let policy = policy();
    let to = operations(&table, &policy);
    let processor = backend.function("event-processor", &[]).await;
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let mut ends = BTreeSet::new();
    for (number, order) in orders.into_iter().enumerate() {
        // The answer with Catena's id comes before all of it, after it, or in between; what came before comes once more.
        for claim in 0..=3 {
            let fleet = fleet(&format!("FLEET-{number}-{claim}"));
            let bodies = bodies(&backend, &told(&fleet), Duration::ZERO).await;
            let mut stored = Some(called(to, &fleet).await);
            for (place, which) in order.into_iter().enumerate() {
                if place == claim {
                    claimed(to, stored.take().unwrap(), &fleet).await;
                }
                handle(&processor, &bodies[which]).await;
                handle(&processor, &bodies[order[0]]).await;
            }
            if let Some(stored) = stored {
                claimed(to, stored, &fleet).await;
            }
            let id = operations::operation_id(&fleet.fleet_ref, "key");
            let found = table.operation(&id).await.unwrap().unwrap();
            let now = timestamp(OffsetDateTime::now_utc());
            let operation = found.operation;
            assert_eq!(operation.status(now), Status::Failed, "{order:?} {claim}");
            assert_eq!(operation.catena_id, Some(fleet.operation_id.to_string()));
            assert!(operation.heard.is_contradictory());
            assert_eq!(operation.payload, None, "kept for nothing");
            assert_eq!(operation.due(&policy), None);
            // The times of events are their own fleets', but each says the same of its own.
            let words = [
                &operation.heard.pending,
                &operation.heard.success,
                &operation.heard.failed,
            ];
            let words = words.map(|said| said.as_ref().map(|it| it.word.clone()));
            ends.insert(format!("{words:?}"));
        }
    }
    assert_eq!(ends.len(), 1, "{ends:?}");
    let all: BTreeSet<_> = outcomes(&processor).into_iter().collect();
    let said = ["applied", "ignored", "no-news"];
    let followed = ["operation-changed", "operation-contradicted"];
    let expected = said.into_iter().chain(followed).map(str::to_owned);
    assert_eq!(all, expected.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_here_wrote_is_ignored_and_forgotten() {
    let backend = Backend::start().await;
    let processor = backend.function("event-processor", &[]).await;
    let fleet = fleet("FLEET-1");
    for body in bodies(&backend, &told(&fleet), Duration::ZERO).await {
        handle(&processor, &body).await;
    }
    assert_eq!(outcomes(&processor), ["ignored"; 3]);
    let items = backend.items().await;
    let [item] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(item["pk"]["S"], format!("REMOTE#{}", fleet.operation_id));
    let expires: i64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
    let days = (expires - OffsetDateTime::now_utc().unix_timestamp()) / DAY.as_secs() as i64;
    assert!((15..=16).contains(&days), "{days}");
    assert!(!item.to_string().contains("payload") && !item.to_string().contains("message_text"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_failed_for_credentials_has_its_fleet_looked_at() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let policy = policy();
    let to = operations(&table, &policy);
    let processor = backend.function("event-processor", &[]).await;
    let fleet = fleet("FLEET-1");
    let fleet_ref = FleetRef::parse(&fleet.fleet_ref).unwrap();
    let connected = events::onboarding(&fleet);
    for body in bodies(&backend, &connected, Duration::ZERO).await {
        handle(&processor, &body).await;
    }
    empty_tasks(&backend).await;
    let stored = called(to, &fleet).await;
    claimed(to, stored, &fleet).await;
    let [created, _, refused] = told(&fleet);
    let bodies = bodies(&backend, &[created, refused], Duration::ZERO).await;
    handle(&processor, &bodies[0]).await;
    let before = table.record(&fleet_ref).await.unwrap();
    let now = timestamp(OffsetDateTime::now_utc());
    assert!(before.look.is_none_or(|look| look.at > now), "{before:?}");
    handle(&processor, &bodies[1]).await;
    let after = table.record(&fleet_ref).await.unwrap();
    let now: Timestamp = timestamp(OffsetDateTime::now_utc());
    assert!(after.look.is_some_and(|look| look.at <= now), "{after:?}");
    assert!(after.due_at.is_some_and(|at| at <= now), "{after:?}");
    let tasks = backend.receive_from(&backend.tasks_url).await;
    let tasks: Vec<&str> = tasks.iter().filter_map(|it| it["body"].as_str()).collect();
    assert!(
        tasks.contains(&r#"{"v":1,"task":{"fleet":"FLEET-1"}}"#),
        "{tasks:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_searched_for_in_vain_is_unknown_and_not_asked_about_again() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let policy = policy();
    let to = operations(&table, &policy);
    let catena = Simulator::start(Config {
        listen: None,
        webhook_url: "http://127.0.0.1:9/webhooks/catena".to_owned(),
        signing_key: KEY.to_owned(),
    });
    let catena = catena.await.unwrap();
    let reconciler = backend.reconciler(catena.url(), &[]).await;
    let fleet = fleet("FLEET-1");
    let mut stored = called(to, &fleet).await;
    let ago = |minutes: i64| timestamp(OffsetDateTime::now_utc()).plus(-minutes * 60 * 1000);
    stored.operation.course = Course::Unclear {
        since: ago(12),
        until: ago(11),
        searched_at: Some(ago(5)),
        why: "the connection broke".to_owned(),
    };
    let Commit::Written(_) = to.keep(&stored).await.unwrap() else {
        panic!("somebody else wrote it");
    };
    // The sweep finds it, and a task looks.
    reconciler.invoke(&json!({ "sweep": true })).await.unwrap();
    let tasks = backend.receive_from(&backend.tasks_url).await;
    let tasks: Vec<&str> = tasks.iter().filter_map(|it| it["body"].as_str()).collect();
    assert!(
        tasks.contains(&r#"{"v":1,"task":"operations"}"#),
        "{tasks:?}"
    );
    let again = json!({ "Records": [
        { "messageId": "1", "receiptHandle": "1", "body": r#"{"v":1,"task":"operations"}"#, "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs" },
    ] });
    for _ in 0..2 {
        let answer = reconciler.invoke(&again).await.unwrap();
        assert_eq!(
            answer["batchItemFailures"],
            json!([]),
            "{}",
            reconciler.output()
        );
    }
    let found = table
        .operation(&stored.operation.id)
        .await
        .unwrap()
        .unwrap();
    let now = timestamp(OffsetDateTime::now_utc());
    assert_eq!(found.operation.status(now), Status::Unknown);
    assert_eq!(found.operation.payload, None);
    let why = "the connection broke; Catena lists none that can only be this one";
    assert_eq!(found.operation.why(), Some(why));
    let calls = catena.api_calls();
    let lists = calls
        .iter()
        .filter(|it| it.path.ends_with("/resource-operations"));
    assert_eq!(lists.count(), 1, "what is over isn't asked about");
}

/// Takes off the tasks queue what connecting put there.
async fn empty_tasks(backend: &Backend) {
    loop {
        let tasks = backend.receive_from(&backend.tasks_url).await;
        if tasks.is_empty() {
            return;
        }
        backend.delete_from(&backend.tasks_url, tasks.iter()).await;
    }
}

//! What the reconciler does about write operations that something is wrong with: none of them stands in another's way, and none is taken for
//! another. The deployed reconciler, by sweeps that the tests ask for.

use std::time::Duration;

use ::operations::{Course, Heard, Operation, Status, operation_id};
use serde_json::json;
use simulator::{
    Announce, ApiFault, ApiFaultKind, OperationRule, OperationStep, RateLimit, Scenario,
};
use store::{Commit, HistoryDays, Operations, StoredOperation, Table};
use time::OffsetDateTime;

use crate::{
    backend::now,
    catena::{TIME, client},
    reconciling::{Watched, within},
    silence::{MESSAGES, ONE, asked, message},
};

/// A fleet whose writes nobody announces.
struct Silent<'a> {
    watched: &'a Watched,
    table: &'a Table,
    fleet: String,
    connection: String,
}

impl<'a> Silent<'a> {
    async fn start(watched: &'a Watched, table: &'a Table) -> Self {
        let report = watched.simulator().run(&Scenario::onboarding(1)).await;
        watched.settled().await;
        let done = OperationStep::success(Duration::ZERO).announced(Announce::Lost);
        let rule = OperationRule::new([done]).created(Announce::Lost);
        watched.simulator().add_operation_rule(rule);
        Self {
            watched,
            table,
            fleet: report.fleets[0].fleet_ref.clone(),
            connection: report.fleets[0].connection_id.to_string(),
        }
    }

    fn to(&self) -> Operations<'_> {
        Operations {
            table: self.table,
            policy: &self.watched.policy,
            history_days: HistoryDays::default(),
            now: OffsetDateTime::now_utc,
        }
    }

    /// An operation, as it is written before its call.
    async fn called(&self, text: &str) -> StoredOperation {
        let asked = asked(&self.fleet, &self.connection, text);
        let id = operation_id(&self.fleet, &asked.key);
        let operation = Operation::new(id, asked, message(text), now());
        self.keep(StoredOperation::new(operation)).await
    }

    async fn keep(&self, stored: StoredOperation) -> StoredOperation {
        match self.to().keep(&stored).await.unwrap() {
            Commit::Written(stored) => stored,
            Commit::Conflict => panic!("somebody else wrote {stored:?}"),
        }
    }

    /// Its call is over, and nobody knows what came of it.
    async fn lost(&self, text: &str) -> StoredOperation {
        let mut stored = self.called(text).await;
        stored.operation.lose_answer("the connection broke", now());
        self.keep(stored).await
    }

    /// Writes at Catena; its id of that.
    async fn write(&self, text: &str) -> String {
        let mut body = message(text);
        body.insert("connection_id".to_owned(), json!(self.connection));
        let catena = client(self.watched.simulator());
        let answer = catena.within(TIME).write(MESSAGES, None, &body).await;
        answer.unwrap().value.id
    }

    /// Catena has it under this id, and that is known.
    async fn accepted(&self, stored: StoredOperation, catena_id: &str) {
        let accepted = self.to().accept(stored, catena_id, None, Heard::default());
        accepted.await.unwrap().unwrap();
    }

    async fn status(&self, text: &str) -> Status {
        let id = operation_id(&self.fleet, text);
        let stored = self.table.operation(&id).await.unwrap().unwrap();
        stored.operation.status(now())
    }

    async fn becomes(&self, text: &str, status: Status) {
        let is = async || self.status(text).await == status;
        self.watched.sweep_until(Duration::from_secs(60), is).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ails_one_write_stops_no_other() {
    let watched = &Watched::start(&[]).await;
    let table = &watched.running.table().await;
    let silent = &Silent::start(watched, table).await;
    let catena = watched.simulator();

    // Catena fails whenever it is asked about one; another is searched for all the same.
    let ailing = silent.called("ailing").await;
    let id = silent.write("ailing").await;
    silent.accepted(ailing, &id).await;
    catena.add_api_fault(
        ApiFault::new(ApiFaultKind::Status { status: 500 })
            .on("GET", ONE)
            .until_cleared(),
    );
    let lost = silent.lost("lost").await;
    let found = silent.write("lost").await;
    silent.becomes("lost", Status::Success).await;
    assert_eq!(silent.status("ailing").await, Status::Pending);
    let stored = table.operation(&lost.operation.id).await.unwrap().unwrap();
    assert_eq!(stored.operation.catena_id, Some(found));
    catena.clear_api_faults();
    silent.becomes("ailing", Status::Success).await;

    // One that can't be read is put off, and others are looked at.
    let damaged = silent.lost("damaged").await;
    let key = json!({ "pk": { "S": format!("OPERATION#{}", damaged.operation.id) }, "sk": { "S": "OPERATION" } });
    let name = watched.running.stack.table().unwrap();
    let damage = json!({
        "TableName": name,
        "Key": key,
        "UpdateExpression": "SET #o = :broken",
        "ExpressionAttributeNames": { "#o": "operation" },
        "ExpressionAttributeValues": { ":broken": { "S": "{" } },
    });
    let aws = &watched.running.stack.aws;
    aws.dynamodb("UpdateItem", damage).await.unwrap();
    silent.lost("after it").await;
    silent.write("after it").await;
    silent.becomes("after it", Status::Success).await;
    let due = table.due_operations(now(), 10).await.unwrap();
    assert_eq!(due, [], "it stands in the way of others");
    assert!(watched.outcomes().contains_key("operation-unreadable"));

    // A 429 is waited for, and breaks nothing.
    catena.set_rate_limit(Some(RateLimit {
        calls: 1,
        window: Duration::from_secs(2),
    }));
    for text in ["one", "two", "three"] {
        silent.lost(text).await;
    }
    catena.set_rate_limit(None);
    for text in ["one", "two", "three"] {
        silent.write(text).await;
    }
    catena.set_rate_limit(Some(RateLimit {
        calls: 1,
        window: Duration::from_secs(2),
    }));
    for text in ["one", "two", "three"] {
        silent.becomes(text, Status::Success).await;
    }
    catena.set_rate_limit(None);
    assert_eq!(watched.dead_tasks().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_taken_for_another_and_a_claim_outlives_its_program() {
    let watched = &Watched::start(&[]).await;
    let table = &watched.running.table().await;
    let silent = &Silent::start(watched, table).await;

    // Two at Catena that it could be: neither is.
    let twice = silent.lost("twice").await;
    for _ in 0..2 {
        silent.write("twice").await;
    }
    silent.becomes("twice", Status::Unknown).await;
    let stored = table.operation(&twice.operation.id).await.unwrap().unwrap();
    assert_eq!(stored.operation.catena_id, None);
    assert!(watched.outcomes().contains_key("operation-ambiguous"));
    let told = async || {
        let told = watched.running.outcomes("publisher");
        told.contains_key("operation-unknown")
    };
    within(Duration::from_secs(30), told).await;

    // Of two at Catena one belongs to another operation: so it is the other one.
    let first = silent.called("equal").await;
    let id = silent.write("equal").await;
    silent.accepted(first, &id).await;
    let mut second = asked(&silent.fleet, &silent.connection, "equal");
    second.key = "equal, by another key".to_owned();
    let key = operation_id(&silent.fleet, &second.key);
    let mut second = Operation::new(key.clone(), second, message("equal"), now());
    second.lose_answer("the connection broke", now());
    silent.keep(StoredOperation::new(second)).await;
    let other = silent.write("equal").await;
    silent
        .becomes("equal, by another key", Status::Success)
        .await;
    let stored = table.operation(&key).await.unwrap().unwrap();
    assert_eq!(stored.operation.catena_id, Some(other));

    // Its answer came and was claimed, then its program ended; at Catena it looks otherwise than it was sent.
    let mut claimed = silent.called("claimed").await;
    let id = silent.write("Claimed, as Catena writes it").await;
    let claim = json!({
        "TableName": watched.running.stack.table().unwrap(),
        "Item": {
            "pk": { "S": format!("REMOTE#{id}") },
            "sk": { "S": "REMOTE" },
            "operation": { "S": claimed.operation.id },
        },
    });
    let aws = &watched.running.stack.aws;
    aws.dynamodb("PutItem", claim).await.unwrap();
    if let Course::Calling { until, .. } = &mut claimed.operation.course {
        *until = now();
    }
    silent.keep(claimed).await;
    silent.becomes("claimed", Status::Success).await;
    assert_eq!(watched.dead_tasks().await, 0);
}

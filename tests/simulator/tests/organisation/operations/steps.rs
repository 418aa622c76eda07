//! What becomes of operations.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use simulator::{
    Announce, Loss, OperationRule, OperationStatus, OperationStep, StepOutcome, WriteTruth,
};

use super::{OPERATIONS, connected, message, names};
use crate::partner::{Partner, at, event_sample, sample, shape};

const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(120);

impl Partner {
    /// What holds of the newest write.
    fn newest(&self) -> WriteTruth {
        self.catena.writes().pop().unwrap()
    }
}

#[tokio::test]
async fn failures_are_logged_with_what_the_provider_said() {
    let (partner, connection_id) = connected().await;
    let step: OperationStep = serde_json::from_value(json!({
        "after": 0.05,
        "outcome": "failed",
        "error_type": "auth",
        "error_details": "Client error '401 Unauthorized' for url '...'",
        "response_status_code": 401,
        "response_headers": {"X-Request-Id": "tsp-req-7781"},
    }))
    .unwrap();
    let bare = OperationStep::failed(LATER, "something new");
    partner
        .catena
        .add_operation_rule(OperationRule::new([step, bare]));
    let id = partner.message(connection_id, "Hello").await["id"].clone();
    let told = partner.told(&id).await;
    assert_eq!(names(&told), ["created", "failed", "failed"]);
    let failed = &told[1].1;
    let expected = sample("resource-operation.get.response.failed");
    assert_eq!(shape(failed), shape(&expected));
    let event = event_sample("resource_operation.failed");
    assert_eq!(shape(failed), shape(&event["data"][0]));
    let (log, expected) = (&failed["logs"][0], &expected["logs"][0]);
    for name in [
        "status",
        "error_type",
        "error_details",
        "response_status_code",
        "response_headers",
    ] {
        assert_eq!(log[name], expected[name], "{name}");
    }
    assert_eq!(log["resource_operation_id"], id);
    assert_eq!(log["created_at"], failed["updated_at"]);

    let read = partner.operation(connection_id, &id).await.json();
    assert_eq!(read, told[2].1);
    assert_eq!(read["logs"][0], *log, "the first failure stays");
    assert_eq!(read["logs"][1]["error_type"], "something new");
    for name in ["error_details", "response_status_code", "response_headers"] {
        assert_eq!(read["logs"][1][name], Value::Null, "{name}");
    }
    let truth = partner.newest();
    assert_eq!(truth.error_type.as_deref(), Some("something new"));
    assert_eq!(truth.status, OperationStatus::Failed);
}

#[tokio::test]
async fn steps_happen_when_they_are_told_to() {
    let (partner, connection_id) = connected().await;
    let rule = OperationRule::new([
        OperationStep::failed(LATER, "tsp"),
        OperationStep::success(SOON),
    ]);
    partner.catena.add_operation_rule(rule);
    let started = Instant::now();
    let accepted = partner.message(connection_id, "Hello").await;
    let told = partner.told(&accepted["id"]).await;
    assert!(started.elapsed() >= LATER, "idle waits for all steps");
    assert_eq!(names(&told), ["created", "succeeded", "failed"]);
    let created_at = at(&accepted["created_at"]);
    for ((_, record), after) in told.iter().zip([Duration::ZERO, SOON, LATER]) {
        assert_eq!(at(&record["created_at"]), created_at);
        assert_eq!(at(&record["updated_at"]), created_at + after);
    }
}

#[tokio::test]
async fn contradictions_are_told_and_the_newest_is_stored() {
    let (partner, connection_id) = connected().await;
    let success = OperationStep::success;
    let failed = |after| OperationStep::failed(after, "network");
    for (first, second, events, stored) in [
        (
            success(SOON),
            failed(LATER),
            ["succeeded", "failed"],
            "failed",
        ),
        (
            failed(SOON),
            success(LATER),
            ["failed", "succeeded"],
            "success",
        ),
        // The second one is older than the first, by its own time.
        (
            success(SOON),
            failed(LATER).shifted(-110),
            ["succeeded", "failed"],
            "success",
        ),
        (
            failed(SOON).shifted(110),
            success(LATER),
            ["failed", "succeeded"],
            "failed",
        ),
        // Of the same time: the later step counts.
        (
            success(SOON),
            failed(LATER).shifted(-100),
            ["succeeded", "failed"],
            "failed",
        ),
        // Older than the creation: decided all the same.
        (
            success(SOON).shifted(-10_000),
            failed(LATER).shifted(-20_000),
            ["succeeded", "failed"],
            "success",
        ),
    ] {
        let steps = [first.clone(), second.clone()];
        let case = format!("{steps:?}");
        partner.catena.clear_operation_rules();
        partner.catena.add_operation_rule(OperationRule::new(steps));
        let accepted = partner.message(connection_id, "Hello").await;
        let told = partner.told(&accepted["id"]).await;
        assert_eq!(names(&told)[1..], events, "{case}");
        for ((name, record), step) in told[1..].iter().zip([&first, &second]) {
            let succeeded = name == "succeeded";
            let status = if succeeded { "success" } else { "failed" };
            assert_eq!(record["status"], status, "{case}");
            assert_eq!(record["resource_id"].is_string(), succeeded, "{case}");
            assert_eq!(record["source_id"].is_string(), succeeded, "{case}");
            let shift = time::Duration::milliseconds(step.updated_at_shift_ms);
            let expected = at(&accepted["created_at"]) + step.after + shift;
            assert_eq!(at(&record["updated_at"]), expected, "{case}");
        }
        let read = partner.operation(connection_id, &accepted["id"]).await;
        let read = read.json();
        assert_eq!(read["status"], stored, "{case}");
        let its = told[1..].iter().find(|(_, it)| it["status"] == stored);
        assert_eq!(read["updated_at"], its.unwrap().1["updated_at"], "{case}");
        assert_eq!(read["logs"].as_array().unwrap().len(), 1, "{case}");
        let truth = partner.newest();
        assert_eq!(json!(truth.status), stored);
        assert_eq!(truth.error_type.as_deref(), Some("network"));
    }
}

#[tokio::test]
async fn events_are_lost_or_told_twice() {
    let (partner, connection_id) = connected().await;
    let (lost, twice) = (Announce::Lost, Announce::Twice);
    let failed = OperationStep::failed(SOON, "tsp");
    for (created, step, expected) in [
        (lost, OperationStep::success(SOON).announced(lost), &[][..]),
        (lost, failed.clone().announced(lost), &[]),
        (lost, failed.clone(), &["failed"]),
        (
            twice,
            OperationStep::success(SOON).announced(lost),
            &["created", "created"],
        ),
        (
            Announce::Told,
            OperationStep::success(SOON).announced(twice),
            &["created", "succeeded", "succeeded"],
        ),
        (lost, failed.announced(twice), &["failed", "failed"]),
    ] {
        let status = match step.outcome {
            StepOutcome::Success => "success",
            StepOutcome::Failed { .. } => "failed",
        };
        partner.catena.clear_operation_rules();
        let rule = OperationRule::new([step]).created(created);
        partner.catena.add_operation_rule(rule);
        let known = partner.received().await.len();
        let id = partner.message(connection_id, "Hello").await["id"].clone();
        let told = partner.told(&id).await;
        assert_eq!(names(&told), expected);
        let read = partner.operation(connection_id, &id).await.json();
        assert_eq!(read["status"], status);
        let events = &partner.received().await[known..];
        assert_eq!(events.len(), expected.len());
        let distinct = |field: &str| -> HashSet<_> {
            events
                .iter()
                .map(|event| event[field].to_string())
                .collect()
        };
        let (ids, names) = (distinct("id"), distinct("event_name"));
        assert_eq!(ids.len(), names.len(), "the same event twice");
    }
    assert!(partner.catena.lost_webhooks().is_empty());
}

#[tokio::test]
async fn without_steps_an_operation_is_pending_for_ever() {
    let (partner, connection_id) = connected().await;
    partner.catena.add_operation_rule(OperationRule::new([]));
    let beyond = OperationStep::success(Duration::MAX);
    let never = OperationRule::new([beyond]).containing("Never");
    for text in ["Hello", "Never"] {
        let id = partner.message(connection_id, text).await["id"].clone();
        let told = partner.told(&id).await;
        assert_eq!(names(&told), ["created"]);
        assert_eq!(partner.newest().status, OperationStatus::Pending);
        partner.catena.clear_operation_rules();
        partner.catena.add_operation_rule(never.clone());
    }
}

#[tokio::test]
async fn rules_are_for_some_writes_only() {
    let (partner, connection_id) = connected().await;
    let other = partner.connect("FLEET-43").await;
    let fails = |why| OperationRule::new([OperationStep::failed(Duration::ZERO, why)]);
    for rule in [
        fails("text").containing("Yard").times(1),
        fails("fleet").of("FLEET-43"),
        fails("resource").on("user"),
    ] {
        partner.catena.add_operation_rule(rule);
    }
    let users = "/v2/telematics/users";
    for (path, connection_id, text, expected) in [
        (super::MESSAGES, connection_id, "Yard closes", Some("text")),
        (super::MESSAGES, connection_id, "Yard closes", None),
        (super::MESSAGES, other, "Yard closes", Some("fleet")),
        (users, other, "Hello", Some("fleet")),
        (users, connection_id, "Hello", Some("resource")),
        (super::MESSAGES, connection_id, "Hello", None),
    ] {
        partner.write(path, message(connection_id, text)).await;
        partner.catena.idle().await;
        let truth = partner.newest();
        assert_eq!(truth.error_type.as_deref(), expected, "{path} {text}");
        assert_eq!(truth.status == OperationStatus::Success, expected.is_none());
    }
    assert_eq!(partner.catena.operation_rules().len(), 2);
    partner.catena.clear_operation_rules();
    partner.message(other, "Hello").await;
    partner.catena.idle().await;
    assert_eq!(partner.newest().status, OperationStatus::Success);
}

#[tokio::test]
async fn events_of_operations_are_held_lost_and_switched_off_like_others() {
    let (partner, connection_id) = connected().await;
    let quick = OperationRule::new([OperationStep::success(SOON)]);
    partner.catena.add_operation_rule(quick);
    let status = async |id: &Value| {
        let answer = partner.operation(connection_id, id).await;
        answer.json()["status"].as_str().unwrap().to_owned()
    };
    partner.catena.hold_events();
    let held = partner.message(connection_id, "Held").await["id"].clone();
    assert!(partner.told(&held).await.is_empty());
    assert_eq!(status(&held).await, "success");
    partner.catena.release_events();
    assert_eq!(names(&partner.told(&held).await), ["created", "succeeded"]);

    partner.catena.set_webhook_loss(Loss {
        share: 1.0,
        seed: 1,
    });
    let lost = partner.message(connection_id, "Lost").await["id"].clone();
    assert!(partner.told(&lost).await.is_empty());
    assert_eq!(status(&lost).await, "success");
    assert_eq!(
        partner.catena.lost_webhooks()["resource_operation.succeeded"],
        1
    );

    partner.catena.set_webhook_loss(Loss::default());
    partner.catena.set_events(false);
    let silent = partner.message(connection_id, "Silent").await["id"].clone();
    assert!(partner.told(&silent).await.is_empty());
    assert_eq!(status(&silent).await, "success");
}

#[tokio::test]
async fn what_is_forgotten_does_not_happen() {
    let (partner, connection_id) = connected().await;
    let late = OperationRule::new([OperationStep::success(Duration::from_secs(3600))]);
    partner.catena.add_operation_rule(late.times(1));
    let id = partner.message(connection_id, "Forget").await["id"].clone();
    assert_eq!(partner.newest().status, OperationStatus::Pending);
    partner.catena.clear_writes();
    assert_eq!(names(&partner.told(&id).await), ["created"], "idle is over");
    assert_eq!(partner.operation(connection_id, &id).await.status, 404);
    assert_eq!(partner.catena.writes(), []);
    let id = partner.message(connection_id, "Anew").await["id"].clone();
    assert_eq!(names(&partner.told(&id).await), ["created", "succeeded"]);
    let list = partner.get(OPERATIONS).await.json();
    assert_eq!(list["items"][0]["id"], id);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

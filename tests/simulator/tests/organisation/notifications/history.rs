//! Metrics and logs.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{bare, each, endpoint::Endpoint};
use crate::partner::{Partner, WEBHOOKS, encoded, sample, shape};

/// Five attempts: four of a dead letter, one accepted.
async fn used() -> (Partner, Uuid) {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let id = partner
        .subscribed("invitation.created", &endpoint.at("/"))
        .await;
    endpoint.answers("/", 503);
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    endpoint.answers("/", 202);
    partner.invite("FLEET-43").await;
    partner.catena.idle().await;
    (partner, id)
}

fn windows(value: &Value) -> Value {
    json!({"6h": value, "24h": value, "7d": value, "14d": value})
}

#[tokio::test]
async fn metrics_tell_what_was_attempted() {
    let (partner, id) = used().await;
    let metrics = partner.about(id, "/metrics").await;
    let sample = sample("webhook.metrics.response.200");
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&metrics), keys(&sample));
    for (name, value) in [
        ("http_attempts", json!(5)),
        ("http_success_attempts", json!(1)),
        ("http_failure_attempts", json!(4)),
        ("message_count", json!(2)),
        ("message_success_count", json!(1)),
        ("success_rate", Value::Null),
    ] {
        assert_eq!(metrics[name], windows(&value), "{name}");
        assert_eq!(keys(&metrics[name]), keys(&sample[name]));
    }
    assert!(metrics["avg_response_time_ms"]["6h"].is_number());
    assert!((metrics["ewma_success_rate"].as_f64().unwrap() - 0.2).abs() < 1e-9);
    assert_eq!(
        (&metrics["dlq_count"], &metrics["webhook_id"]),
        (&json!(1), &json!(id))
    );
    let fresh = partner
        .subscribed("tsp.created", "http://127.0.0.1:1/")
        .await;
    let metrics = partner.about(fresh, "/metrics").await;
    assert_eq!(metrics["ewma_success_rate"], Value::Null);
    assert_eq!(metrics["avg_response_time_ms"], windows(&Value::Null));
}

#[tokio::test]
async fn success_rate_is_a_percentage_once_there_are_enough_messages() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let id = partner
        .subscribed("fleet_connection.created", &endpoint.at("/"))
        .await;
    endpoint.answers("/", 503);
    let ten = simulator::Scenario::onboarding(10);
    partner.catena.run(&ten).await;
    endpoint.answers("/", 202);
    let more = simulator::Scenario::onboarding(190);
    partner.catena.run(&more).await;
    let metrics = partner.about(id, "/metrics").await;
    assert_eq!(metrics["success_rate"], windows(&json!(95.0)));
}

#[tokio::test]
async fn logs_have_filters_and_pages() {
    let (partner, id) = used().await;
    let logs = partner.about(id, "/logs").await;
    let sample = sample("webhook.logs.response.200");
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&logs), keys(&sample));
    let entry = &logs["items"][0];
    assert_eq!(shape(entry), shape(&sample["items"][0]));
    assert_eq!(
        (&entry["status_code"], &entry["error_message"]),
        (&json!(503), &json!("Service Unavailable"))
    );
    let letter = partner.catena.dead_letters()[&id][0].clone();
    assert_eq!(
        (&entry["message_id"], &entry["webhook_id"]),
        (&json!(letter.id), &json!(id))
    );
    assert_eq!(
        each(&logs, "status"),
        ["failed", "failed", "failed", "failed", "success"]
    );
    assert_eq!(logs["items"][4]["error_message"], Value::Null);

    let statuses = async |query: &str| {
        let page = partner.about(id, &format!("/logs?{query}")).await;
        each(&page, "status").len()
    };
    assert_eq!(statuses("status=failed").await, 4);
    assert_eq!(statuses("status=success").await, 1);
    let time = |at: OffsetDateTime| simulator::timestamp_text(at).replace('+', "%2B");
    let (hour_ago, soon) = (
        OffsetDateTime::now_utc() - Duration::HOUR,
        OffsetDateTime::now_utc() + Duration::MINUTE,
    );
    assert_eq!(
        statuses(&format!(
            "start_date={}&end_date={}",
            time(hour_ago),
            time(soon)
        ))
        .await,
        5
    );
    assert_eq!(statuses(&format!("end_date={}", time(hour_ago))).await, 0);
    assert_eq!(statuses(&format!("start_date={}", time(soon))).await, 0);
    let page = partner.about(id, "/logs?size=3").await;
    let next = encoded(page["next_page"].as_str().unwrap());
    assert_eq!(statuses(&format!("size=3&cursor={next}")).await, 2);
    for query in [
        "status=pending",
        "start_date=yesterday",
        "end_date=",
        "size=0",
    ] {
        let answer = partner.get(&format!("{WEBHOOKS}/{id}/logs?{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
    }
}

#[tokio::test]
async fn attempts_without_an_answer_are_failures_without_a_status() {
    let partner = bare().await;
    let id = partner
        .subscribed("invitation.created", "http://127.0.0.1:1/")
        .await;
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    let entry = &partner.about(id, "/logs").await["items"][3];
    assert_eq!(
        (&entry["status"], &entry["status_code"]),
        (&json!("failed"), &Value::Null)
    );
    assert!(!entry["error_message"].as_str().unwrap().is_empty());
}

//! One figure of CloudWatch's. Its SDK isn't used: it would bring sixteen crates for one call.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use aws_credential_types::provider::ProvideCredentials;
use fetch::{
    Bytes, Fetch, Limits,
    http::{Method, Request, header},
};
use serde_json::{Value, json};

use crate::{signature::signed, source::Found};

/// For how many seconds the oldest message of a queue had waited when CloudWatch was told last, within a quarter of an hour.
pub(crate) async fn oldest_message_age(found: &Found, queue_url: &str) -> Result<Option<f64>> {
    let now = SystemTime::now();
    let body = json!({
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{ "Name": "QueueName", "Value": queue_url.rsplit('/').next() }],
        "StartTime": seconds(now - LOOKS_BACK),
        "EndTime": seconds(now),
        "Period": 60,
        "Statistics": ["Maximum"],
    });
    let region = found.config.region().context("no AWS region is known")?;
    let endpoint = found.config.endpoint_url().map(str::to_owned);
    let url = endpoint.unwrap_or_else(|| format!("https://monitoring.{region}.amazonaws.com"));
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/", url.trim_end_matches('/')))
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
        .header(
            "x-amz-target",
            "GraniteServiceVersion20100801.GetMetricStatistics",
        )
        .body(Bytes::from(body.to_string()))?;
    let credentials = found.config.credentials_provider();
    let credentials = credentials.context("no AWS credentials are known")?;
    let credentials = credentials.provide_credentials().await?;
    let request = signed(request, "monitoring", region.as_ref(), credentials, now)?;
    let answer = Fetch::new().send(request, LIMITS).await?;
    if !answer.status.is_success() {
        bail!(
            "cloudwatch:GetMetricStatistics was answered {}",
            answer.status
        );
    }
    let answer: Value = serde_json::from_slice(&answer.body)?;
    Ok(newest(&answer))
}

/// The newest of the figures.
fn newest(answer: &Value) -> Option<f64> {
    let points = answer["Datapoints"].as_array()?.iter();
    let points = points.filter_map(|it| Some((it["Timestamp"].as_f64()?, it["Maximum"].as_f64()?)));
    let newest = points.max_by(|one, other| one.0.total_cmp(&other.0));
    newest.map(|(_, age)| age)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// CloudWatch is told every minute, some minutes late.
const LOOKS_BACK: Duration = Duration::from_secs(15 * 60);
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(3),
    total: Duration::from_secs(8),
    largest: 1024 * 1024,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_figure_counts() {
        let point =
            |at: f64, age: f64| json!({ "Timestamp": at, "Maximum": age, "Unit": "Seconds" });
        let points = [point(120.0, 7.0), point(180.0, 42.5), point(60.0, 900.0)];
        assert_eq!(
            newest(&json!({ "Label": "x", "Datapoints": points })),
            Some(42.5)
        );
        assert_eq!(newest(&json!({ "Datapoints": [] })), None);
        assert_eq!(newest(&json!({})), None);
    }
}

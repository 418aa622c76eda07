//! The demonstration: fleets are invited by the partner API and walk from there to flowing data,
//! and what became of every delivery is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local::Stack;
use local::authorization::USERS;
use local::signed::Signed;
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Outcome, Report, ResponseTimes, Scenario};
use uuid::Uuid;

use crate::shown;

/// Walks the fleets and tells the story. Fails with a sentence unless every fleet is connected and
/// nothing is left behind.
pub(crate) async fn run(stack: &Stack, fleets: usize) -> Result<()> {
    println!(
        "\n{fleets} fleets: invited, viewed, accepted, share agreement, connection, fleet connection;"
    );
    println!("10 % of the deliveries repeated, 10 % of the events overtaken\n");
    // Signed by AWS's own signer, as a partner's platform signs its calls.
    let partner = Signed::user(stack.url(""), &USERS[0])?;
    let start = Instant::now();
    let invited = invite(&partner, fleets).await?;
    stack.simulator.idle().await;
    let told = stack.simulator.deliveries();
    let told = told
        .iter()
        .filter(|it| it.outcome == Outcome::Accepted)
        .count();
    anyhow::ensure!(
        told == fleets,
        "{told} of {fleets} invitations were told by webhook"
    );
    println!(
        "{:.<44} {:>8}",
        "invite by the partner API",
        shown(start.elapsed())
    );
    let start = Instant::now();
    let scenario = Scenario::invited(invited.clone())
        .repeat(0.10)
        .overtake(0.10);
    let report = stack.simulator.try_run(&scenario).await?;
    println!("{:.<44} {:>8}", "deliver", shown(start.elapsed()));
    let start = Instant::now();
    let settled = settle(stack, &report).await?;
    println!("{:.<44} {:>8}", "process the rest", shown(start.elapsed()));

    let items = items(stack).await?;
    let counts = Counts::read(stack, &report, told, &items).await?;
    print!("\n{}", table(&access(&partner, &invited).await?, &items));
    print!("\n{}", counts.told());
    settled?;
    counts.verdict(&report, &items, &stack.last_logs_folder())
}

/// Invites fleets, each once more than needed: that costs no call to Catena.
async fn invite(partner: &Signed, fleets: usize) -> Result<Vec<String>> {
    let run = Uuid::new_v4().simple().to_string();
    let mut invited = Vec::new();
    for number in 1..=fleets {
        let fleet = format!("FLEET-{}-{number:03}", &run[..8]);
        let path = format!("/fleets/{fleet}/invitation");
        for expected in ["created", "unchanged"] {
            let body = json!({"fleet_name": format!("Demo fleet {number}")});
            let answer = partner.send(Method::PUT, &path, Some(body)).await?;
            let answer = answer.json()?;
            anyhow::ensure!(
                answer["outcome"] == expected,
                "fleet {fleet} should be {expected}, but the partner API answered {answer}"
            );
        }
        invited.push(fleet);
    }
    Ok(invited)
}

/// What the partner API says of some fleets.
async fn access(partner: &Signed, fleets: &[String]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for some in fleets.chunks(100) {
        let body = json!({ "fleet_refs": some });
        let answer = partner
            .send(Method::POST, "/access/batch", Some(body))
            .await?;
        let answer = answer.json()?;
        let found = answer["fleets"].as_array();
        all.extend(
            found
                .with_context(|| format!("no fleets in {answer}"))?
                .clone(),
        );
    }
    Ok(all)
}

/// Waits until every accepted delivery has an outcome and the queue is empty. The inner result is
/// about the wait; the summary is worth printing even if it was in vain.
async fn settle(stack: &Stack, report: &Report) -> Result<Result<()>> {
    let start = Instant::now();
    let progress = std::io::stdout().is_terminal();
    loop {
        let waiting = messages(stack, "EventsQueueUrl").await?;
        let ingest = outcomes(stack, "webhook-ingest");
        let processor = outcomes(stack, "event-processor");
        let queued = ingest.get("queued").copied().unwrap_or_default();
        let done: u64 = SETTLED
            .iter()
            .filter_map(|outcome| processor.get(*outcome))
            .sum();
        let seen = queued >= (report.accepted + report.fleets.len()) as u64;
        if progress {
            print!("\r{done} of {queued} processed, {waiting} in the queue   ");
            let _ = std::io::stdout().flush();
        }
        let over = seen && done >= queued && waiting == 0;
        if over || start.elapsed() > SETTLED_WITHIN {
            if progress {
                print!("\r{:60}\r", "");
            }
            return Ok(if over {
                Ok(())
            } else {
                Err(anyhow::anyhow!(
                    "after {} s only {done} of {} accepted deliveries have an outcome and {waiting} \
                     messages are in the queue: see the functions' logs in {}",
                    SETTLED_WITHIN.as_secs(),
                    report.accepted,
                    stack.last_logs_folder().display(),
                ))
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What became of everything.
struct Counts {
    ingest: BTreeMap<String, u64>,
    processor: BTreeMap<String, u64>,
    accepted: u64,
    delivered: u64,
    repeated: u64,
    overtaken: u64,
    refused: u64,
    catena_dead_letters: u64,
    dead_letters: u64,
    answered: ResponseTimes,
    latencies: Vec<u64>,
}

impl Counts {
    /// `invited` deliveries told of the invitations, before the scenario.
    async fn read(stack: &Stack, report: &Report, invited: usize, items: &[Item]) -> Result<Self> {
        let mut latencies: Vec<u64> = stack
            .log_records("event-processor")
            .iter()
            .filter_map(|record| record["latency_ms"].as_u64())
            .collect();
        latencies.sort_unstable();
        let mut processor = outcomes(stack, "event-processor");
        let left_parked = items
            .iter()
            .filter(|item| item.sk.starts_with("PARKED#"))
            .count();
        processor.insert(LEFT_PARKED.to_owned(), left_parked as u64);
        Ok(Self {
            ingest: outcomes(stack, "webhook-ingest"),
            processor,
            delivered: (report.deliveries + invited) as u64,
            accepted: (report.accepted + invited) as u64,
            repeated: report.repeated as u64,
            overtaken: report.overtaken as u64,
            refused: report.refused as u64,
            catena_dead_letters: report.dead_letters as u64,
            dead_letters: messages(stack, "EventsDeadLetterQueueUrl").await?,
            answered: report.response_ms,
            latencies,
        })
    }

    fn outcome(&self, name: &str) -> u64 {
        self.processor.get(name).copied().unwrap_or_default()
    }

    fn told(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, count: u64, note: &str| {
            let gap = if note.is_empty() { "" } else { "  " };
            // Writing to a string succeeds.
            let _ = writeln!(text, "{name:<14}{count:>7}{gap}{note}");
        };
        let note = format!("{} repeated, {} overtaken", self.repeated, self.overtaken);
        line("delivered", self.delivered, &note);
        line("accepted", self.accepted, "answered 2xx");
        for (outcome, count) in &self.ingest {
            line(outcome, *count, "by webhook-ingest");
        }
        line("applied", self.outcome("applied"), "changed a record");
        line("no news", self.outcome("no-news"), "said what was known");
        line(
            "ignored",
            self.outcome("ignored"),
            "about nothing that is kept",
        );
        let note = format!(
            "came before what they belong to; {} left",
            self.outcome(LEFT_PARKED)
        );
        line("parked", self.outcome("parked"), &note);
        line("quarantined", self.outcome("quarantined"), "");
        line(
            "failed",
            self.outcome("retried"),
            "attempts that had to be retried",
        );
        let note = format!("and {} at Catena", self.catena_dead_letters);
        line("dead letters", self.dead_letters, &note);
        let at = |percent| {
            percentile(&self.latencies, percent)
                .map_or_else(|| "?".to_owned(), |ms| shown(Duration::from_millis(ms)))
        };
        let _ = writeln!(
            text,
            "\nanswered within          p50 {:.0} ms, p99 {:.0} ms\n\
             from delivery to record  p50 {}, p99 {}",
            self.answered.p50,
            self.answered.p99,
            at(50),
            at(99)
        );
        text
    }

    fn verdict(&self, report: &Report, items: &[Item], logs: &Path) -> Result<()> {
        let mut wrong = Vec::new();
        let mut check = |count: u64, what: &str| {
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        };
        let not_connected = report
            .fleets
            .iter()
            .filter(|fleet| {
                record(items, &fleet.fleet_ref).is_none_or(|item| item.text("stage") != "connected")
            })
            .count();
        check(not_connected as u64, "fleets are not connected");
        check(
            self.delivered - self.accepted,
            "deliveries were not accepted",
        );
        check(
            self.refused,
            "deliveries were refused, which Catena takes as delivered",
        );
        check(self.outcome("quarantined"), "events are in quarantine");
        check(self.outcome("retried"), "attempts failed");
        check(self.outcome(LEFT_PARKED), "events are still parked");
        check(self.dead_letters, "messages are in the dead-letter queue");
        check(
            self.catena_dead_letters,
            "deliveries are dead letters at Catena",
        );
        if wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "{}: see the functions' logs in {}, or run it again with --keep and look around",
            wrong.join(", "),
            logs.display()
        )
    }
}

/// An item of the table.
struct Item {
    pk: String,
    sk: String,
    attributes: Value,
}

impl Item {
    fn text(&self, name: &str) -> &str {
        let attribute = &self.attributes[name];
        attribute["S"]
            .as_str()
            .or(attribute["N"].as_str())
            .unwrap_or("?")
    }

    fn facts(&self) -> Value {
        serde_json::from_str(self.text("facts")).unwrap_or_default()
    }
}

async fn items(stack: &Stack) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut input = json!({"TableName": stack.table()?, "ConsistentRead": true});
    loop {
        let answer = stack.aws.dynamodb("Scan", input.clone()).await?;
        for item in answer["Items"].as_array().into_iter().flatten() {
            let key = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
            items.push(Item {
                pk: key("pk"),
                sk: key("sk"),
                attributes: item.clone(),
            });
        }
        match answer.get("LastEvaluatedKey") {
            Some(key) if !key.is_null() => input["ExclusiveStartKey"] = key.clone(),
            _ => return Ok(items),
        }
    }
}

fn record<'a>(items: &'a [Item], fleet_ref: &str) -> Option<&'a Item> {
    items
        .iter()
        .find(|item| item.sk == "RECORD" && item.pk.strip_prefix("FLEET#") == Some(fleet_ref))
}

fn table(fleets: &[Value], items: &[Item]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let width = fleets.iter().map(|fleet| text(&fleet["fleet_ref"]).len());
    let width = width.max().unwrap_or(5);
    let mut table = format!(
        "{:<width$}  {:<13}{:<11}{:>7}  {:>11}\n",
        "fleet", "stage", "admission", "version", "connections"
    );
    for fleet in fleets {
        let name = text(&fleet["fleet_ref"]);
        let item = record(items, &name);
        let connections = item.map(Item::facts);
        let connections =
            connections.and_then(|facts| Some(facts["connections"].as_object()?.len()));
        let _ = writeln!(
            table,
            "{name:<width$}  {:<13}{:<11}{:>7}  {:>11}",
            text(&fleet["stage"]),
            text(&fleet["admission"]["kind"]),
            item.map_or("?", |item| item.text("version")),
            connections.unwrap_or_default(),
        );
    }
    table
}

fn outcomes(stack: &Stack, package: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in stack.log_records(package) {
        if let Some(outcome) = record["outcome"].as_str() {
            *counts.entry(outcome.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The messages in a queue, those being processed included.
async fn messages(stack: &Stack, output: &str) -> Result<u64> {
    let url = stack.deployment.output(output)?;
    let input = json!({"QueueUrl": url, "AttributeNames": ["All"]});
    let found = stack.aws.sqs("GetQueueAttributes", input).await?;
    let attributes =
        ["", "NotVisible", "Delayed"].map(|kind| format!("ApproximateNumberOfMessages{kind}"));
    let mut sum = 0;
    for name in attributes {
        let text = found["Attributes"][&name].as_str().unwrap_or("0");
        sum += text
            .parse::<u64>()
            .with_context(|| format!("{name} is `{text}`"))?;
    }
    Ok(sum)
}

/// The value that `percent` of the sorted values don't exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// What `event-processor` says of a message that it won't see again.
const SETTLED: &[&str] = &["applied", "ignored", "no-news", "parked", "quarantined"];
const LEFT_PARKED: &str = "left parked";
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50), Some(100));
        assert_eq!(percentile(&values, 99), Some(198));
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 99), None);
    }
}

//! What became of everything: counted from what the simulator sent and what the functions logged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use local::Stack;
use serde_json::{Value, json};
use simulator::{Answer, Outcome, Sent};

use super::Item;
use crate::shown;

/// Waits until everything that was queued, accepted deliveries and what browsers claim, has an
/// outcome and the queue is empty. The inner result is about the wait; the summary is worth
/// printing even if it was in vain.
pub(super) async fn settle(stack: &Stack) -> Result<Result<()>> {
    let start = Instant::now();
    let progress = std::io::stdout().is_terminal();
    let deliveries = stack.simulator.deliveries();
    let accepted = ended(&deliveries, Outcome::Accepted);
    loop {
        let waiting = messages(stack, "EventsQueueUrl").await?;
        let processor = outcomes_of(told_by_others(stack));
        let delivered = count(&outcomes(stack, "webhook-ingest"), "queued");
        let queued = delivered + count(&outcomes(stack, "redirect"), "claimed");
        let done: u64 = SETTLED.iter().map(|name| count(&processor, name)).sum();
        let seen = delivered >= accepted;
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
                    "after {} s only {done} of {queued} queued messages have an outcome and {waiting} \
                     are in the queue: see the functions' logs in {}",
                    SETTLED_WITHIN.as_secs(),
                    stack.last_logs_folder().display(),
                ))
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What became of everything.
#[derive(Debug)]
pub(super) struct Counts {
    ingest: BTreeMap<String, u64>,
    processor: BTreeMap<String, u64>,
    redirect: BTreeMap<String, u64>,
    reconciler: BTreeMap<String, u64>,
    publisher: BTreeMap<String, u64>,
    /// Messages of the reconciler's that changed a record.
    answers_applied: u64,
    delivered: u64,
    accepted: u64,
    refused: u64,
    repeated: u64,
    overtaken: u64,
    left_parked: u64,
    catena_dead_letters: u64,
    dead_letters: u64,
    /// In milliseconds, sorted.
    answered: Vec<f64>,
    /// In milliseconds, sorted.
    latencies: Vec<u64>,
}

impl Counts {
    /// `overtaken` events of the scenario.
    pub(super) async fn read(stack: &Stack, overtaken: usize, items: &[Item]) -> Result<Self> {
        let deliveries = stack.simulator.deliveries();
        let attempts = deliveries.iter().flat_map(|sent| &sent.attempts);
        let answered = attempts.filter(|it| matches!(it.answer, Answer::Status(_)));
        let mut answered: Vec<f64> = answered.map(|it| it.response_ms).collect();
        answered.sort_by(f64::total_cmp);
        let records = told_by_others(stack).into_iter();
        let records = records.filter(|record| record["event.name"] != CLAIM);
        let latencies = records.filter_map(|record| record["latency_ms"].as_u64());
        let mut latencies: Vec<u64> = latencies.collect();
        latencies.sort_unstable();
        let parked = items.iter().filter(|it| it.sk.starts_with("PARKED#"));
        Ok(Self {
            ingest: outcomes(stack, "webhook-ingest"),
            processor: outcomes_of(told_by_others(stack)),
            redirect: outcomes(stack, "redirect"),
            reconciler: outcomes(stack, "reconciler"),
            publisher: outcomes(stack, "publisher"),
            answers_applied: count(&outcomes_of(told_by_reconciler(stack)), "applied"),
            delivered: deliveries.len() as u64,
            accepted: ended(&deliveries, Outcome::Accepted),
            refused: ended(&deliveries, Outcome::Refused),
            repeated: deliveries.iter().filter(|it| it.repeat).count() as u64,
            overtaken: overtaken as u64,
            left_parked: parked.count() as u64,
            catena_dead_letters: ended(&deliveries, Outcome::DeadLetter),
            dead_letters: messages(stack, "EventsDeadLetterQueueUrl").await?,
            answered,
            latencies,
        })
    }

    pub(super) fn told(&self) -> String {
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
            let note = match outcome.as_str() {
                "queued" => "by webhook-ingest, a delivery of kingpin's own among them",
                _ => "by webhook-ingest",
            };
            line(outcome, *count, note);
        }
        let redirect = |name| count(&self.redirect, name);
        let note = format!(
            "by browsers, queued by redirect; {} more known already or too soon",
            redirect("claim-known")
        );
        line("claimed", redirect("claimed"), &note);
        let outcome = |name| count(&self.processor, name);
        line("applied", outcome("applied"), "changed a record");
        line("no news", outcome("no-news"), "said what was known");
        line("ignored", outcome("ignored"), "about nothing that is kept");
        let note = format!("came before what they belong to; {} left", self.left_parked);
        line("parked", outcome("parked"), &note);
        line("quarantined", outcome("quarantined"), "");
        line(
            "failed",
            outcome("retried"),
            "attempts that had to be retried",
        );
        let note = format!("and {} at Catena", self.catena_dead_letters);
        line("dead letters", self.dead_letters, &note);
        let note = format!(
            "at a fleet at Catena, by reconciler; {} answers changed a record",
            self.answers_applied
        );
        line("looked", count(&self.reconciler, "looked"), &note);
        let published = count(&self.publisher, "published");
        line(
            "published",
            published,
            "changes told on the bus, by publisher",
        );
        let answered = |percent| percentile(&self.answered, percent).unwrap_or_default();
        let at = |percent| {
            percentile(&self.latencies, percent)
                .map_or_else(|| "?".to_owned(), |ms| shown(Duration::from_millis(ms)))
        };
        let _ = writeln!(
            text,
            "\nanswered within          p50 {:.0} ms, p99 {:.0} ms\n\
             from delivery to record  p50 {}, p99 {}",
            answered(50),
            answered(99),
            at(50),
            at(99)
        );
        text
    }

    /// What shouldn't be, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let outcome = |name| count(&self.processor, name);
        let lost = count(&self.redirect, "claim-lost");
        let looks_failed = [
            "look-failed",
            "task-retried",
            "task-cut-off",
            "unreadable-task",
        ];
        let looks_failed = looks_failed.map(|name| count(&self.reconciler, name));
        let untold = count(&self.publisher, "dead-lettered");
        let wrong = [
            (
                self.delivered - self.accepted,
                "deliveries were not accepted",
            ),
            (
                self.refused,
                "deliveries were refused, which Catena takes as delivered",
            ),
            (lost, "claims of browsers were lost"),
            (outcome("quarantined"), "events are in quarantine"),
            (outcome("retried"), "attempts failed"),
            (self.left_parked, "events are still parked"),
            (self.dead_letters, "messages are in the dead-letter queue"),
            (
                self.catena_dead_letters,
                "deliveries are dead letters at Catena",
            ),
            (looks_failed.iter().sum(), "looks at Catena failed"),
            (untold, "changes can't be told on the bus"),
        ];
        let wrong = wrong.iter().filter(|(count, _)| *count > 0);
        wrong
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}

fn ended(deliveries: &[Sent], outcome: Outcome) -> u64 {
    let ended = deliveries.iter().filter(|it| it.outcome == outcome);
    ended.count() as u64
}

fn count(outcomes: &BTreeMap<String, u64>, name: &str) -> u64 {
    outcomes.get(name).copied().unwrap_or_default()
}

fn outcomes(stack: &Stack, package: &str) -> BTreeMap<String, u64> {
    outcomes_of(stack.log_records(package))
}

fn outcomes_of(records: Vec<Value>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        if let Some(outcome) = record["outcome"].as_str() {
            *counts.entry(outcome.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// What `event-processor` says of what webhooks and browsers brought.
fn told_by_others(stack: &Stack) -> Vec<Value> {
    let mut records = stack.log_records("event-processor");
    records.retain(|record| !is_by_reconciler(record));
    records
}

/// What it says of the rest.
fn told_by_reconciler(stack: &Stack) -> Vec<Value> {
    let mut records = stack.log_records("event-processor");
    records.retain(is_by_reconciler);
    records
}

fn is_by_reconciler(record: &Value) -> bool {
    let name = record["event.name"].as_str();
    name.is_some_and(|name| BY_RECONCILER.contains(&name))
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
fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// What `event-processor` says of a message that it won't see again.
const SETTLED: &[&str] = &["applied", "ignored", "no-news", "parked", "quarantined"];
/// The event that a browser which came back is told as.
const CLAIM: &str = "browser.return";
/// What the reconciler tells: Catena's answers, what its lists said, and dates.
const BY_RECONCILER: [&str; 3] = ["catena.answer", "catena.comparison", "date.passed"];
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
        assert_eq!(percentile::<u64>(&[], 99), None);
    }
}

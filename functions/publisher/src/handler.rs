//! A batch of the table's stream becomes events on the bus.

use std::{collections::HashSet, time::Duration};

use fleet::{FleetRef, Policy, Timestamp};
use guard::guarded;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use startup::describe;
use store::{OperationChange, RecordChange, StoreError, timestamp};
use time::OffsetDateTime;
use tracing::{error, info, warn};

use crate::{
    bus::{Bus, Entry, LARGEST, MOST, Put},
    dead_letters::{DeadLetter, DeadLetters, Place},
    difference::{difference, end_of_operation},
};

/// Publishes what changes of records mean.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Where the partner hears of them.
    pub bus: Bus,
    /// Where what can't be told goes.
    pub dead_letters: DeadLetters,
    /// The partner's rules.
    pub policy: Policy,
    /// After this long what isn't told yet is given back, before Lambda ends the function.
    pub deadline: Duration,
    /// The wall clock.
    pub now: fn() -> OffsetDateTime,
}

/// Changes of the table, in the order of each of its items.
#[derive(Deserialize)]
pub struct StreamBatch {
    #[serde(rename = "Records")]
    records: Vec<Value>,
}

/// Where Lambda goes on (AWS): from the first of these, with all that comes after it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamAnswer {
    batch_item_failures: Vec<Unfinished>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unfinished {
    item_identifier: String,
}

/// A change that may be told.
enum Change<'a> {
    Record(RecordChange<'a>),
    Operation(OperationChange<'a>),
}

/// A change on its way.
struct Work {
    /// Known of records, and of operations that can be read.
    fleet: Option<FleetRef>,
    place: Place,
    /// When it was written.
    at: Option<Timestamp>,
    /// The names of all of its events.
    names: Vec<&'static str>,
    /// Events that aren't on the bus yet.
    left: Vec<Entry>,
    /// Why something of it can't be told.
    lost: Option<Lost>,
    /// Whether that isn't in the dead-letter queue yet.
    owes_letter: bool,
}

/// Why something can't be told: a code, and what the bus says about it.
struct Lost {
    reason: &'static str,
    cause: Option<String>,
}

impl Publisher {
    /// Publishes a batch, and tells where it has to come again from. What is told twice has the same id.
    pub async fn handle(&self, batch: StreamBatch) -> Result<StreamAnswer, Error> {
        let mut works = Vec::new();
        let mut resume = None;
        for record in &batch.records {
            let Some(change) = Change::of(record) else {
                continue;
            };
            // Without it nothing could be reported: the whole batch comes again.
            let sequence_number = record["dynamodb"]["SequenceNumber"].as_str();
            let sequence_number = sequence_number.ok_or("a change without a sequence number")?;
            match self.read(&change, sequence_number) {
                Ok(work) => works.push(work),
                Err(error) => {
                    let ((pk, _), cause) = (change.keys(), describe(&error));
                    warn!(
                        item = pk,
                        record.version = change.version(),
                        cause,
                        outcome = "retried",
                        "{pk}: this program can't read its change"
                    );
                    resume = Some(sequence_number.to_owned());
                    // What comes after it comes again with it.
                    break;
                }
            }
        }
        let mut cause = "the function's deadline was reached".to_owned();
        let publish = self.publish(&mut works, &mut cause);
        // The works tell what isn't through by then.
        let _ = tokio::time::timeout(self.deadline, publish).await;
        for work in works.iter().filter(|work| work.is_done()) {
            self.log(work);
        }
        let left: Vec<&Work> = works.iter().filter(|work| !work.is_done()).collect();
        if let Some(first) = left.first() {
            let (item, changes) = (&first.place.pk, left.len());
            warn!(
                item,
                record.version = first.place.version,
                changes,
                cause,
                outcome = "retried",
                "{item}: this change and those after it come again"
            );
            resume = Some(first.place.sequence_number.clone());
        }
        let resume = resume.into_iter();
        let resume = resume.map(|item_identifier| Unfinished { item_identifier });
        Ok(StreamAnswer {
            batch_item_failures: resume.collect(),
        })
    }

    /// What a change means. The error is one that passes: a newer program wrote it.
    fn read(&self, change: &Change<'_>, sequence_number: &str) -> Result<Work, StoreError> {
        let (pk, sk) = change.keys();
        let mut work = Work {
            fleet: change.fleet(),
            place: Place {
                pk,
                sk,
                version: change.version(),
                sequence_number: sequence_number.to_owned(),
            },
            at: None,
            names: Vec::new(),
            left: Vec::new(),
            lost: None,
            owes_letter: false,
        };
        match guarded(|| self.entries(change)) {
            Ok(Ok((fleet, at, entries))) => {
                work.fleet = Some(fleet);
                work.at = Some(at);
                work.names = entries.iter().map(Entry::name).collect();
                let (fit, too_large) = entries
                    .into_iter()
                    .partition::<Vec<_>, _>(|entry| entry.size() <= LARGEST);
                work.left = fit;
                if !too_large.is_empty() {
                    work.give_up("too-large", None);
                }
            }
            // The cause could quote the record.
            Ok(Err(error)) if error.is_lasting() => work.give_up("damaged", None),
            Ok(Err(error)) => return Err(error),
            Err(_panicked) => work.give_up("panicked", None),
        }
        Ok(work)
    }

    fn entries(
        &self,
        change: &Change<'_>,
    ) -> Result<(FleetRef, Timestamp, Vec<Entry>), StoreError> {
        match change {
            Change::Record(change) => {
                let (new, at) = change.after()?;
                let old = change.before()?;
                let events = difference(old.as_ref(), &new, at, &self.policy);
                Ok((new.fleet, at, events.into_iter().map(Entry::new).collect()))
            }
            Change::Operation(change) => {
                let new = change.after()?;
                let old = change.before()?;
                let event = end_of_operation(old.as_ref(), &new, new.written_at);
                let entries = event.into_iter().map(Entry::new).collect();
                Ok((new.operation.asked.fleet, new.written_at, entries))
            }
        }
    }

    /// Returns when nothing is left to tell. Of each item one version is on its way at a time, so that the bus gets the
    /// events of a fleet, or of an operation, in their order.
    async fn publish(&self, works: &mut [Work], cause: &mut String) {
        let mut failures = 0;
        let mut most = MOST;
        while works.iter().any(|work| !work.is_done()) {
            let mut failed = self.send_letters(works, cause).await;
            let chosen = choose(works, most);
            let entries: Vec<&Entry> = chosen.iter().map(|at| &works[at.0].left[at.1]).collect();
            let became = match entries.is_empty() {
                true => Vec::new(),
                false => self.bus.put(&entries).await,
            };
            // From the back, so that the places of those before stay.
            for (&(work, place), put) in chosen.iter().zip(became).rev() {
                let work = &mut works[work];
                match put {
                    Put::Through => drop(work.left.remove(place)),
                    Put::Never(why) => {
                        work.left.remove(place);
                        work.give_up("refused", Some(why));
                    }
                    Put::Alone(why) => {
                        *cause = why;
                        most = 1;
                    }
                    Put::Later(why) => {
                        *cause = why;
                        failed = true;
                    }
                }
            }
            if failed {
                failures += 1;
                pause(failures).await;
            } else {
                failures = 0;
            }
        }
    }

    /// Puts what can't be told into the dead-letter queue, and tells whether that failed.
    async fn send_letters(&self, works: &mut [Work], cause: &mut String) -> bool {
        let mut failed = false;
        for work in works {
            let Some(letter) = work.letter() else {
                continue;
            };
            match self.dead_letters.send(&letter).await {
                Ok(()) => work.owes_letter = false,
                Err(error) => {
                    *cause = describe(&error);
                    failed = true;
                }
            }
        }
        failed
    }

    fn log(&self, work: &Work) {
        let (item, version) = (&work.place.pk, work.place.version);
        let fleet = work.fleet.as_ref().map(FleetRef::as_str);
        if let Some(Lost { reason, cause }) = &work.lost {
            let place = &work.place.sequence_number;
            error!(item, fleet.ref = fleet, record.version = version, sequence.number = place, reason, cause, outcome = "dead-lettered", "{item}: a change of it can't be told");
            return;
        }
        if work.names.is_empty() {
            info!(item, fleet.ref = fleet, record.version = version, outcome = "no-news", "{item}: nothing to tell");
            return;
        }
        if work.names.contains(&"operation.unknown") {
            warn!(
                item,
                fleet.ref = fleet,
                record.version = version,
                outcome = "operation-unknown",
                "{item}: nobody can tell whether this write was done: see `kingpin operation explain`"
            );
        }
        let events = work.names.join(" ");
        let now = timestamp((self.now)());
        let latency_ms = work.at.map(|at| now.0.saturating_sub(at.0));
        info!(item, fleet.ref = fleet, record.version = version, events, latency_ms, outcome = "published", "{item}: {events}");
    }
}

impl<'a> Change<'a> {
    /// `None` for what isn't told: see [`RecordChange::of`].
    fn of(stream_record: &'a Value) -> Option<Self> {
        let record = RecordChange::of(stream_record).map(Self::Record);
        record.or_else(|| OperationChange::of(stream_record).map(Self::Operation))
    }

    fn keys(&self) -> (String, &'static str) {
        match self {
            Self::Record(change) => change.keys(),
            Self::Operation(change) => change.keys(),
        }
    }

    fn version(&self) -> Option<u64> {
        match self {
            Self::Record(change) => change.version(),
            Self::Operation(change) => change.version(),
        }
    }

    fn fleet(&self) -> Option<FleetRef> {
        match self {
            Self::Record(change) => Some(change.fleet().clone()),
            Self::Operation(_) => None,
        }
    }
}

impl Work {
    fn is_done(&self) -> bool {
        self.left.is_empty() && !self.owes_letter
    }

    fn give_up(&mut self, reason: &'static str, cause: Option<String>) {
        self.lost = Some(Lost { reason, cause });
        self.owes_letter = true;
    }

    /// What is to be put into the dead-letter queue.
    fn letter(&self) -> Option<DeadLetter> {
        let lost = self.lost.as_ref().filter(|_| self.owes_letter)?;
        Some(DeadLetter {
            reason: lost.reason,
            place: self.place.clone(),
        })
    }
}

/// What the bus is given next, by work and place in what is left of it: of each item the oldest version alone, and no more than one
/// request takes.
fn choose(works: &[Work], most: usize) -> Vec<(usize, usize)> {
    let mut chosen = Vec::new();
    let mut items = HashSet::new();
    let mut size = 0;
    for (index, work) in works.iter().enumerate() {
        if work.is_done() || !items.insert(&work.place.pk) {
            continue;
        }
        for (place, entry) in work.left.iter().enumerate() {
            size += entry.size();
            if chosen.len() == most || size > LARGEST {
                return chosen;
            }
            chosen.push((index, place));
        }
    }
    chosen
}

/// Waits a moment after failures in a row, so that functions don't meet again.
async fn pause(failures: u32) {
    let longest = FIRST_PAUSE_MS << failures.min(6);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..longest))).await;
}

/// The longest pause after the first failure is twice this; it doubles from there up to 3.2 s.
const FIRST_PAUSE_MS: u64 = 50;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn publisher() -> Publisher {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .build();
        let dead_letters = aws_sdk_sqs::Client::from_conf(config);
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(aws_sdk_eventbridge::config::BehaviorVersion::latest())
            .build();
        Publisher {
            bus: Bus::new(aws_sdk_eventbridge::Client::from_conf(config), "bus"),
            dead_letters: DeadLetters::new(dead_letters, "queue"),
            policy: Policy::default(),
            deadline: Duration::ZERO,
            now: || OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn image(fleet: &str, version: u64, facts: &str) -> Value {
        json!({
            "pk": { "S": format!("FLEET#{fleet}") },
            "sk": { "S": "RECORD" },
            "schema": { "N": "1" },
            "version": { "N": version.to_string() },
            "facts": { "S": facts },
            "written_at": { "N": "1760000000000" },
        })
    }

    fn change(fleet: &str, version: u64, facts: &str) -> Value {
        json!({
            "eventName": "INSERT",
            "dynamodb": {
                "Keys": { "pk": { "S": format!("FLEET#{fleet}") }, "sk": { "S": "RECORD" } },
                "NewImage": image(fleet, version, facts),
                "SequenceNumber": format!("{fleet}-{version}"),
            },
        })
    }

    fn work(fleet: &str, version: u64) -> Work {
        let change = change(fleet, version, "{}");
        let read = publisher().read(&Change::of(&change).unwrap(), "1");
        read.unwrap()
    }

    #[test]
    fn of_each_fleet_one_version_is_on_its_way() {
        let works = [work("A", 1), work("B", 1), work("A", 2), work("C", 1)];
        assert_eq!(choose(&works, MOST), [(0, 0), (1, 0), (3, 0)]);
        assert_eq!(choose(&works, 2), [(0, 0), (1, 0)]);
    }

    #[test]
    fn a_request_is_no_larger_than_the_bus_takes() {
        let mut works: Vec<Work> = (0..3).map(|n| work(&format!("F{n}"), 1)).collect();
        let half = "x".repeat(LARGEST / 2);
        for work in &mut works {
            work.left[0].pad(&half);
        }
        assert_eq!(choose(&works, MOST), [(0, 0)]);
    }

    #[test]
    fn what_can_never_be_told_is_owed_a_letter_without_its_content() {
        let told = change("A", 7, r#"{"name":"not a register"}"#);
        let work = publisher().read(&Change::of(&told).unwrap(), "42");
        let letter = json!(work.unwrap().letter().unwrap());
        let expected = json!({
            "reason": "damaged",
            "pk": "FLEET#A",
            "sk": "RECORD",
            "version": 7,
            "sequence_number": "42",
        });
        assert_eq!(letter, expected);
    }

    #[test]
    fn what_a_newer_program_wrote_comes_again() {
        let mut told = change("A", 7, "{}");
        told["dynamodb"]["NewImage"]["schema"]["N"] = json!("99");
        let read = publisher().read(&Change::of(&told).unwrap(), "42");
        assert!(matches!(read, Err(StoreError::NewerSchema { .. })));
    }

    #[tokio::test]
    async fn what_is_not_through_in_time_is_told_by_its_first_change() {
        let secret = json!({
            "eventName": "MODIFY",
            "dynamodb": {
                "Keys": { "pk": { "S": "FLEET#A" }, "sk": { "S": "INVITATION" } },
                "NewImage": { "secret": { "S": "a secret" } },
                "SequenceNumber": "0",
            },
        });
        let records = vec![secret, change("A", 1, "{}"), change("B", 1, "{}")];
        let answer = publisher().handle(StreamBatch { records }).await.unwrap();
        let answer = json!(answer);
        let expected = json!({ "batchItemFailures": [{ "itemIdentifier": "A-1" }] });
        assert_eq!(answer, expected);
    }
}

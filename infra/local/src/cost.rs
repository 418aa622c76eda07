//! What processing costs: batches go through event-processor's real binary, and the wire counts what it asks of DynamoDB
//! and SQS.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::slice;

use anyhow::{Context, Result, ensure};
use axum::http::Method;
use local::Options;
use local::aws::Aws;
use local::capacity::{Units, Write};
use local::event::{Request, event};
use local::ministack::MiniStack;
use local::runtime_api::Function;
use local::template::Template;
use local::wire::Wire;
use serde_json::{Value, json};
use simulator::{Delivery, Envelope, Fleet, events, timestamp_text};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// Measures, prints the figures and whether they reach their aims. Fails if they can't be trusted, or if repeats write.
pub(crate) async fn run(options: &Options, as_json: bool) -> Result<()> {
    let bench = Bench::start(options).await?;
    let (costs, sends) = measure(&bench).await?;
    let aims = aims(&costs);
    if as_json {
        println!("{:#}", described(&costs, sends, &aims));
    } else {
        print!("{}", table(&costs, sends));
        print!("\n{}", details(&costs));
        print!("\n{}", verdicts(&aims));
    }
    verdict(&costs)
}

/// Whether the figures can be trusted, and repeats write nothing. A missed aim is no failure.
fn verdict(costs: &[Cost]) -> Result<()> {
    let untold: Vec<&String> = costs.iter().flat_map(|cost| &cost.units.untold).collect();
    ensure!(
        untold.is_empty(),
        "the figures are too low: nobody knows the units of {untold:?}; teach infra/local/src/capacity.rs to"
    );
    let repeats = costs.iter().filter(|cost| cost.name.starts_with(REPEATS));
    let written: u64 = repeats.map(|cost| cost.units.written()).sum();
    ensure!(
        written == 0,
        "repeats consumed {written} write units: news are found where there are none"
    );
    Ok(())
}

/// What some batches cost.
struct Cost {
    name: &'static str,
    events: usize,
    batches: usize,
    /// The function's calls, by action (`dynamodb:PutItem`).
    calls: BTreeMap<String, u64>,
    units: Units,
}

impl Cost {
    fn per_event(&self, count: f64) -> f64 {
        count / self.events as f64
    }

    fn calls_of(&self, service: &str) -> f64 {
        let calls = self.calls.iter();
        let calls = calls.filter(|(action, _)| action.starts_with(service));
        self.per_event(calls.map(|(_, count)| *count).sum::<u64>() as f64)
    }

    fn write_units(&self) -> f64 {
        self.per_event(self.units.written() as f64)
    }

    fn read_units(&self) -> f64 {
        self.per_event(self.units.read)
    }

    /// SQS requests of the whole way: webhook-ingest's, the poller's by rule, the function's.
    fn sqs_in_all(&self, sends: f64) -> f64 {
        let polls = (POLLS_PER_BATCH * self.batches) as f64;
        sends + self.per_event(polls) + self.calls_of("sqs:")
    }

    /// The items that were written, by their kind: the first part of the sort key.
    fn written(&self) -> BTreeMap<&str, Vec<&Write>> {
        let mut kinds: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
        for write in &self.units.writes {
            let sk = write.key["sk"]["S"].as_str().unwrap_or_default();
            let kind = sk.split('#').next().unwrap_or_default();
            kinds.entry(kind).or_default().push(write);
        }
        kinds
    }
}

/// Goes through all scenarios. Returns their costs, and how often webhook-ingest called SQS for each event.
async fn measure(bench: &Bench) -> Result<(Vec<Cost>, f64)> {
    let fleets: Vec<Fleet> = (1..=14).map(fleet).collect();
    let singles = bench.bodies(&onboarding(&fleets[0])).await?;
    let whole = bench.bodies(&onboarding(&fleets[1])).await?;
    let early = bench.bodies(&early(&fleets[2])).await?;
    let before = bench.bodies(&onboarding(&fleets[3])).await?;
    let steady = bench.bodies(&steady(&fleets[3])).await?;
    let mut abreast = vec![Vec::new(); whole.len()];
    for fleet in &fleets[4..] {
        let bodies = bench.bodies(&onboarding(fleet)).await?;
        for (batch, body) in abreast.iter_mut().zip(bodies) {
            batch.push(body);
        }
    }
    let sends = bench.sends_per_event()?;

    let one_by_one = |bodies: &[String]| -> Vec<Vec<String>> {
        bodies.iter().map(|body| vec![body.clone()]).collect()
    };
    let (singles, early) = (one_by_one(&singles), one_by_one(&early));
    bench.cost("", &[before]).await?;
    let mut costs = Vec::new();
    for (name, batches) in [
        (SINGLES, &singles[..]),
        (ONE_FLEET, slice::from_ref(&whole)),
        (TEN_FLEETS, &abreast),
        ("repeats: one fleet, batches of 1", &singles),
        ("repeats: one fleet, batch of 10", slice::from_ref(&whole)),
        ("parked: fleet connection before all", &early[..1]),
        ("parked: connection before agreement", &early[1..2]),
        ("the agreement that frees these two", &early[2..]),
        ("onboarded fleet, batch of 10", slice::from_ref(&steady)),
    ] {
        costs.push(bench.cost(name, batches).await?);
    }
    Ok((costs, sends))
}

/// A local AWS with what the functions need, and both of them, run by hand.
struct Bench {
    aws: Aws,
    wire: Wire,
    queue_url: String,
    ingest: Function,
    processor: Function,
    _ministack: MiniStack,
    _folder: TempDir,
}

impl Bench {
    async fn start(options: &Options) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ministack = MiniStack::start(&options.tools, folder.path(), options.aws_port).await?;
        let aws = ministack.aws()?;
        let queue = aws.sqs("CreateQueue", json!({"QueueName": "events"}));
        let queue_url = text(&queue.await?, "QueueUrl")?;
        let template = Template::read(&options.template)?;
        let properties = &template.json()["Resources"]["Table"]["Properties"];
        let mut table = json!({"TableName": TABLE});
        for name in TABLE_PROPERTIES {
            table[name] = properties[name].clone();
        }
        aws.dynamodb("CreateTable", table).await?;
        let keyring = json!({"version": 1, "shared": KEY}).to_string();
        let secret = json!({"Name": KEYRING, "SecretString": keyring});
        aws.secrets_manager("CreateSecret", secret).await?;

        let wire = Wire::new(ministack.url())?;
        wire.meter()?;
        let function = async |package: &str| -> Result<Function> {
            let mut settings = Wire::environment(&wire.lane(package).await?);
            for (name, value) in [
                ("EVENTS_QUEUE_URL", queue_url.as_str()),
                // Of nudges: what is measured is the table's traffic.
                ("TASKS_QUEUE_URL", queue_url.as_str()),
                ("KEYRING_SECRET_ID", KEYRING),
                ("TABLE_NAME", TABLE),
            ] {
                settings.insert(name.to_owned(), value.to_owned());
            }
            let settings: Vec<_> = settings.into_iter().collect();
            Function::spawn(&options.binaries.join(package), &settings).await
        };
        Ok(Self {
            ingest: function(INGEST).await?,
            processor: function(PROCESSOR).await?,
            aws,
            wire,
            queue_url,
            _ministack: ministack,
            _folder: folder,
        })
    }

    /// The message bodies that webhook-ingest makes of events.
    async fn bodies(&self, envelopes: &[Envelope]) -> Result<Vec<String>> {
        let mut bodies = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            let now = OffsetDateTime::now_utc();
            let delivery = Delivery::new(envelope, KEY, &timestamp_text(now));
            let request = Request {
                method: &Method::POST,
                path: "/webhooks/catena",
                query: "",
                headers: &delivery.headers,
                body: &delivery.body,
                source_ip: "192.0.2.1",
            };
            let event = event(&request, "POST /webhooks/catena", &[], "request", now);
            let answer = self.ingest.invoke(&event).await?;
            ensure!(answer["statusCode"] == 202, "{INGEST} answered {answer}");
            let receive = json!({"QueueUrl": self.queue_url});
            let received = self.aws.sqs("ReceiveMessage", receive).await?;
            let message = &received["Messages"][0];
            bodies.push(text(message, "Body")?);
            let receipt = text(message, "ReceiptHandle")?;
            let delete = json!({"QueueUrl": self.queue_url, "ReceiptHandle": receipt});
            self.aws.sqs("DeleteMessage", delete).await?;
        }
        Ok(bodies)
    }

    /// How often webhook-ingest called SQS for each event so far.
    fn sends_per_event(&self) -> Result<f64> {
        let calls = self.wire.calls();
        let sends = calls.iter().filter(|((lane, _), _)| lane == INGEST);
        let sends = sends.filter(|((_, action), _)| action.starts_with("sqs:"));
        let sends: u64 = sends.map(|(_, count)| *count).sum();
        let queued = self
            .ingest
            .output()
            .matches(r#""outcome":"queued""#)
            .count();
        ensure!(queued > 0, "{INGEST} says of no event that it is queued");
        Ok(sends as f64 / queued as f64)
    }

    /// Has batches processed, one after the other.
    async fn cost(&self, name: &'static str, batches: &[Vec<String>]) -> Result<Cost> {
        let printed = self.processor.output().len();
        self.wire.reset();
        for batch in batches {
            let answer = self.processor.invoke(&message_batch(batch)).await?;
            let failures = answer["batchItemFailures"].as_array();
            ensure!(
                failures.is_some_and(Vec::is_empty),
                "{name}: {PROCESSOR} answered {answer} and printed:\n{}",
                self.processor.output()
            );
        }
        let output = self.processor.output();
        for line in output[printed..].lines() {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            let outcome = record["outcome"].as_str().unwrap_or_default();
            ensure!(!UNWANTED.contains(&outcome), "{name}: {line}");
        }
        let calls = self.wire.calls().into_iter();
        let calls = calls.filter(|((lane, _), _)| lane == PROCESSOR);
        Ok(Cost {
            name,
            events: batches.iter().map(Vec::len).sum(),
            batches: batches.len(),
            calls: calls.map(|((_, action), count)| (action, count)).collect(),
            units: self.wire.units(PROCESSOR),
        })
    }
}

/// A batch as Lambda's poller hands it over.
fn message_batch(bodies: &[String]) -> Value {
    let record = |(index, body): (usize, &String)| {
        json!({
            "messageId": format!("message-{index}"),
            "receiptHandle": format!("receipt-{index}"),
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        })
    };
    let records: Vec<Value> = bodies.iter().enumerate().map(record).collect();
    json!({"Records": records})
}

fn fleet(n: usize) -> Fleet {
    let invited_at = OffsetDateTime::now_utc() - Duration::minutes(10);
    Fleet::new(&format!("FLEET-{n}"), invited_at)
}

/// A fleet's way from an invitation to flowing data, which it declines and is offered again in between.
fn onboarding(fleet: &Fleet) -> [Envelope; 10] {
    let after = |seconds| fleet.invited_at + Duration::seconds(seconds);
    // A refresh moves the end of an invitation, and nothing else.
    let refreshed = |mut envelope: Envelope| {
        let anew = Fleet {
            invited_at: after(25),
            ..fleet.clone()
        };
        let anew = events::invitation_created(&anew, after(25));
        envelope.data[0]["expires_at"] = anew.data[0]["expires_at"].clone();
        envelope
    };
    [
        events::invitation_created(fleet, after(0)),
        events::invitation_sent(fleet, after(1)),
        events::invitation_viewed(fleet, after(12)),
        events::invitation_declined(fleet, after(20)),
        refreshed(events::invitation_created(fleet, after(25))),
        refreshed(events::invitation_viewed(fleet, after(27))),
        refreshed(events::invitation_accepted(fleet, after(30))),
        events::share_agreement_created(fleet, after(31)),
        events::connection_created(fleet, after(48)),
        events::fleet_connection_created(fleet, after(49)),
    ]
}

/// Events that come before what tells whose they are.
fn early(fleet: &Fleet) -> [Envelope; 3] {
    let after = |seconds| fleet.invited_at + Duration::seconds(seconds);
    [
        events::fleet_connection_created(fleet, after(49)),
        events::connection_created(fleet, after(48)),
        events::share_agreement_created(fleet, after(31)),
    ]
}

/// What happens to a fleet for years: nothing here tells a new id.
fn steady(fleet: &Fleet) -> [Envelope; 10] {
    let after = |seconds| fleet.invited_at + Duration::seconds(seconds);
    let resumed = |seconds| {
        let mut resumed = events::share_agreement_updated(fleet, after(seconds));
        resumed.data[0]["status"] = json!("active");
        resumed
    };
    [
        events::share_agreement_updated(fleet, after(100)),
        resumed(110),
        events::connection_staled(fleet, after(120)),
        // A recovery is told by linking again.
        events::fleet_connection_created(fleet, after(130)),
        events::schedule_deactivated(fleet, after(140)),
        events::share_agreement_updated(fleet, after(150)),
        resumed(160),
        events::connection_staled(fleet, after(170)),
        events::fleet_connection_created(fleet, after(180)),
        events::schedule_deactivated(fleet, after(190)),
    ]
}

/// A figure that isn't to be exceeded.
struct Aim {
    of: &'static str,
    what: &'static str,
    measured: f64,
    at_most: f64,
}

impl Aim {
    fn is_met(&self) -> bool {
        self.measured <= self.at_most
    }
}

fn aims(costs: &[Cost]) -> Vec<Aim> {
    let mut aims = Vec::new();
    for cost in costs {
        let (calls, units) = (cost.calls_of("dynamodb:"), cost.write_units());
        let limits = match cost.name {
            ONE_FLEET => (Some(0.4), Some(1.0)),
            TEN_FLEETS => (Some(1.4), Some(7.0)),
            name if name.starts_with(REPEATS) => (None, Some(0.0)),
            _ => (None, None),
        };
        for (what, measured, limit) in [
            ("DynamoDB calls", calls, limits.0),
            ("write units", units, limits.1),
        ] {
            aims.extend(limit.map(|at_most| Aim {
                of: cost.name,
                what,
                measured,
                at_most,
            }));
        }
    }
    aims
}

fn table(costs: &[Cost], sends: f64) -> String {
    let mut text = String::from(
        "\
What an event costs in DynamoDB requests, capacity units and SQS requests

                                              DynamoDB   write    read   SQS by  SQS in
                                      events     calls   units   units function     all
",
    );
    for cost in costs {
        // Writing to a string succeeds.
        let _ = writeln!(
            text,
            "{:<37}{:>7}{:>10.2}{:>8.2}{:>8.2}{:>9.2}{:>8.2}",
            cost.name,
            cost.events,
            cost.calls_of("dynamodb:"),
            cost.write_units(),
            cost.read_units(),
            cost.calls_of("sqs:"),
            cost.sqs_in_all(sends),
        );
    }
    let _ = write!(
        text,
        "
{HOW}
SQS in all: {sends:.2} by {INGEST} (measured), the function's (measured), and {POLLS_PER_BATCH} per batch (by rule): Lambda's
poller receives it and deletes it. What the poller asks an empty queue is left out.
"
    );
    text
}

fn details(costs: &[Cost]) -> String {
    let mut text = String::new();
    for cost in costs {
        let calls = cost.calls.iter();
        let calls = calls.map(|(action, count)| format!("{count} {action}"));
        let calls: Vec<String> = calls.collect();
        let _ = writeln!(text, "{}: {}", cost.name, calls.join(", "));
        for (kind, writes) in cost.written() {
            let units = table_units(&writes);
            let bytes = match bytes(&writes) {
                (least, most) if least == most => most.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            let indexes = index_units(&writes).into_iter();
            let indexes = indexes.map(|(name, units)| format!(", index {name} {units}"));
            let _ = writeln!(
                text,
                "  {kind:<9}{:>3} of {bytes} bytes: {units} units{}",
                writes.len(),
                indexes.collect::<String>()
            );
        }
    }
    text
}

fn verdicts(aims: &[Aim]) -> String {
    let mut text = String::new();
    for aim in aims {
        let met = if aim.is_met() { "yes" } else { "NO" };
        let _ = writeln!(
            text,
            "{:<37}{:<15}{:>6.2}  aim: at most {:<4} {met}",
            aim.of, aim.what, aim.measured, aim.at_most
        );
    }
    text
}

fn described(costs: &[Cost], sends: f64, aims: &[Aim]) -> Value {
    let scenario = |cost: &Cost| {
        let written = cost.written().into_iter().map(|(kind, writes)| {
            let described = json!({
                "items": writes.len(),
                "bytes": bytes(&writes),
                "units": table_units(&writes),
                "index_units": index_units(&writes),
            });
            (kind.to_owned(), described)
        });
        json!({
            "name": cost.name,
            "events": cost.events,
            "batches": cost.batches,
            "per_event": {
                "dynamodb_calls": cost.calls_of("dynamodb:"),
                "write_units": cost.write_units(),
                "read_units": cost.read_units(),
                "sqs_calls_by_function": cost.calls_of("sqs:"),
                "sqs_calls_in_all": cost.sqs_in_all(sends),
            },
            "calls": cost.calls,
            "written": written.collect::<serde_json::Map<_, _>>(),
        })
    };
    let aim = |aim: &Aim| {
        json!({
            "scenario": aim.of,
            "what": aim.what,
            "measured": aim.measured,
            "at_most": aim.at_most,
            "met": aim.is_met(),
        })
    };
    json!({
        "how": HOW,
        "scenarios": costs.iter().map(scenario).collect::<Vec<_>>(),
        "aims": aims.iter().map(aim).collect::<Vec<_>>(),
    })
}

/// The smallest and the largest of them.
fn bytes(writes: &[&Write]) -> (usize, usize) {
    let sizes: BTreeSet<usize> = writes.iter().map(|write| write.bytes).collect();
    let bounds = sizes.first().copied().zip(sizes.last().copied());
    bounds.unwrap_or_default()
}

fn table_units(writes: &[&Write]) -> u64 {
    writes.iter().map(|write| write.table).sum()
}

fn index_units(writes: &[&Write]) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (name, units) in writes.iter().flat_map(|write| &write.indexes) {
        *sum.entry(name.clone()).or_default() += units;
    }
    sum
}

fn text(answer: &Value, name: &str) -> Result<String> {
    let found = answer[name].as_str();
    let found = found.with_context(|| format!("no {name} in {answer}"))?;
    Ok(found.to_owned())
}

const INGEST: &str = "webhook-ingest";
const PROCESSOR: &str = "event-processor";
const KEY: &str = "local-signing-key-of-the-costs";
const KEYRING: &str = "keyring";
const TABLE: &str = "table";
const TABLE_PROPERTIES: [&str; 4] = [
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "BillingMode",
];

const SINGLES: &str = "one fleet, batches of 1";
const ONE_FLEET: &str = "one fleet, batch of 10";
const TEN_FLEETS: &str = "ten fleets, batches of 10";
const REPEATS: &str = "repeats";
/// Outcomes of events that none of these are.
const UNWANTED: [&str; 3] = ["ignored", "quarantined", "retried"];
/// Lambda's poller calls ReceiveMessage and DeleteMessageBatch.
const POLLS_PER_BATCH: usize = 2;
const HOW: &str = "\
Calls are counted on the wire. Units are computed there by AWS's documented rules from each request, its
answer, and the item before and after (infra/local/src/capacity.rs), because the local DynamoDB counts
every read as one unit and no failed condition. Writes to both indexes are in the write units.";

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(name: &'static str, written: u64) -> Cost {
        let write = Write {
            key: serde_json::Map::new(),
            bytes: 0,
            table: written,
            indexes: BTreeMap::new(),
        };
        Cost {
            name,
            events: 10,
            batches: 1,
            calls: BTreeMap::from([("dynamodb:PutItem".to_owned(), 9)]),
            units: Units {
                writes: vec![write],
                ..Units::default()
            },
        }
    }

    #[test]
    fn only_repeats_that_write_fail() {
        let missed = cost(ONE_FLEET, 20);
        assert!(
            aims(slice::from_ref(&missed))
                .iter()
                .all(|aim| !aim.is_met())
        );
        assert!(verdict(&[missed, cost("repeats: one", 0)]).is_ok());
        let error = verdict(&[cost("repeats: one", 1)]).unwrap_err().to_string();
        assert!(
            error.starts_with("repeats consumed 1 write units"),
            "{error}"
        );
    }

    #[test]
    fn figures_that_are_too_low_fail() {
        let mut cost = cost(ONE_FLEET, 0);
        cost.units.untold.push("Scan".to_owned());
        let error = verdict(&[cost]).unwrap_err().to_string();
        assert!(error.contains("Scan"), "{error}");
    }
}

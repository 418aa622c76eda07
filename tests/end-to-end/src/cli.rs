//! The operator's command line as a program: against a table that the functions filled, and against a deployed stack.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use fleet::{FleetRef, Policy, Timestamp};
use local::{Options, Stack, aws};
use operations::{Asked, Kind, Operation, Refused, operation_id};
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use store::{Commit, HistoryDays, Operations, StoredOperation};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::{
    backend::{Backend, KEY, TABLE, delivery, status},
    stack::Running,
};

/// A backend, and the description of it that `kingpin --local` takes.
pub(crate) struct Described {
    pub(crate) backend: Backend,
    folder: TempDir,
}

impl Described {
    async fn start() -> Self {
        Self::with_dead_letters(20, Duration::from_secs(30)).await
    }

    /// One whose messages are dead letters after so many receptions.
    pub(crate) async fn with_dead_letters(receptions: u32, visibility: Duration) -> Self {
        let backend = Backend::start().await;
        let dead_letters = backend.dead_letter_queue(receptions, visibility).await;
        let folder = tempfile::tempdir().unwrap();
        let described = Self { backend, folder };
        described.describe(TABLE, &dead_letters);
        described
    }

    fn describe(&self, table: &str, dead_letters: &str) {
        let described = json!({
            "aws_endpoint_url": self.backend.aws.endpoint(),
            "region": aws::REGION,
            "stack_name": "by-hand",
            "table_name": table,
            "policy": { "broken_days": 3 },
            "events_queue_url": self.backend.queue_url,
            "events_dlq_url": dead_letters,
        });
        std::fs::write(self.file(), described.to_string()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("stack.json")
    }

    /// Sends events the whole way, one delivery each and all in one batch.
    async fn deliver(&self, envelopes: &[Envelope]) {
        let ingest = self.backend.function("webhook-ingest", &[]).await;
        for envelope in envelopes {
            let answer = ingest.invoke(&delivery(envelope, KEY)).await.unwrap();
            assert_eq!(status(&answer), 202);
        }
        let record = |(index, body): (usize, Value)| {
            json!({
                "messageId": index.to_string(),
                "receiptHandle": index.to_string(),
                "body": body.to_string(),
                "attributes": { "ApproximateReceiveCount": "1" },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
            })
        };
        let records = self.backend.drain().await.into_iter().enumerate();
        let records: Vec<Value> = records.map(record).collect();
        assert_eq!(records.len(), envelopes.len());
        let processor = self.backend.function("event-processor", &[]).await;
        let answer = processor.invoke(&json!({ "Records": records })).await;
        assert_eq!(answer.unwrap()["batchItemFailures"], json!([]));
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let file = self.file();
        let local = ["--local", file.to_str().unwrap()];
        kingpin(self.folder.path(), &[], &[&local, arguments].concat())
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        read(&self.ask(&[&["--json"], arguments].concat()))
    }

    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        printed(&self.ask(arguments))
    }

    /// What is said about a failure.
    fn failure(&self, arguments: &[&str]) -> String {
        failure(&self.ask(arguments))
    }
}

/// Runs the program with nothing in its environment but what is given.
pub(crate) fn kingpin(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = command(folder, environment, arguments);
    // It blocks a thread of the test while the local AWS, another process, answers.
    tokio::task::block_in_place(|| command.output())
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
}

/// The program, ready to run.
pub(crate) fn command(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(Options::default().binaries.join("kingpin"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(environment.iter().copied());
    command
}

pub(crate) fn printed(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert_eq!(error, "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn read(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).unwrap()
}

pub(crate) fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn fleet(n: usize) -> Fleet {
    let invited_at = OffsetDateTime::now_utc() - Duration::from_secs(600);
    Fleet::new(&format!("FLEET-{n}"), invited_at)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_what_the_functions_keep() {
    let described = Described::start().await;
    let (good, broken, stranger) = (fleet(1), fleet(2), fleet(3));
    let now = OffsetDateTime::now_utc();
    let mut envelopes = events::onboarding(&good);
    envelopes.extend(events::onboarding(&broken));
    let stale_since = now - Duration::from_secs(300);
    envelopes.push(events::connection_staled(&broken, stale_since));
    // One waits for its fleet, one has a name that nobody knows.
    envelopes.push(events::fleet_connection_created(&stranger, now));
    let mut unknown = events::invitation_created(&good, now);
    unknown.event_name = "fleet_info.modified".to_owned();
    envelopes.push(unknown);
    described.deliver(&envelopes).await;

    let shown = described.json(&["fleet", "show", "FLEET-1"]);
    for key in [
        "fleet_ref",
        "name",
        "catena_fleet",
        "stage",
        "admission",
        "data_scopes",
        "reasons",
        "due",
        "version",
        "schema",
        "as_of",
    ] {
        assert!(!shown[key].is_null(), "{key} of {shown}");
    }
    assert_eq!(shown["fleet_ref"], "FLEET-1");
    assert_eq!(shown["stage"], "connected");
    assert_eq!(shown["admission"], json!({ "kind": "full" }));
    assert_eq!(shown["data_scopes"]["message"], "read_write");
    assert_eq!(shown["reasons"][0]["code"], "agreement_in_force");
    assert!(shown["due"][0]["at"].as_str().unwrap().ends_with('Z'));

    let explained = described.json(&["fleet", "explain", "FLEET-2"]);
    assert_eq!(explained["stage"], "degraded");
    assert_eq!(explained["admission"]["kind"], "grace");
    assert_eq!(explained["due"][0]["why"], "connection_broken");
    let told = explained["observations"].as_array().unwrap().iter();
    let told: Vec<&str> = told.map(|it| it["event"].as_str().unwrap()).collect();
    assert_eq!(told.first(), Some(&"invitation.created"));
    assert_eq!(told.last(), Some(&"connection.staled"));
    let text = described.text(&["fleet", "explain", "FLEET-2"]);
    let words = format!("The {} connection …", broken.source_name);
    assert!(text.contains(&words), "{text}");

    // Before the connection went stale; the history of today's facts is whole.
    let before = described.json(&["fleet", "explain", "FLEET-2", "--at", "-6m"]);
    assert_eq!(before["stage"], "connected");
    assert_eq!(before["notes"].as_array().unwrap().len(), 1, "{before}");
    let after = described.json(&["fleet", "explain", "FLEET-2", "--at", "+7d"]);
    assert_eq!(after["admission"]["kind"], "none");

    let history = described.json(&["fleet", "history", "FLEET-1"]);
    let entries = history["entries"].as_array().unwrap();
    assert!(entries.len() >= 6, "{history}");
    for key in ["at", "event", "id", "received", "news"] {
        assert!(!entries[0][key].is_null(), "{key} of {history}");
    }

    let listed = |arguments: &[&str]| {
        let listed = described.json(&[&["fleet", "list"], arguments].concat());
        let fleets = listed["fleets"].as_array().unwrap().iter();
        fleets
            .map(|fleet| fleet["fleet_ref"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), ["FLEET-1", "FLEET-2"]);
    assert_eq!(listed(&["--stage", "degraded"]), ["FLEET-2"]);
    assert_eq!(listed(&["--stuck", "1m"]), ["FLEET-2"]);
    assert_eq!(listed(&["--stuck"]), [] as [&str; 0]);
    assert_eq!(listed(&["--ending-within", "7d"]), ["FLEET-2"]);
    assert_eq!(listed(&["--limit", "1"]), ["FLEET-1"]);

    let status = described.json(&["status"]);
    let by_stage = json!({ "connected": 1, "degraded": 1 });
    assert_eq!(status["fleets"]["by_stage"], by_stage);
    assert_eq!(status["parked"]["count"], 1);
    // The broken connection is looked at in some minutes.
    assert_eq!(status["due"]["count"], 0, "{status}");
    assert_eq!(status["quarantined"]["today"], 1);
    assert_eq!(status["quarantined"]["last_30_days"], 1);
    let empty = json!({ "waiting": 0, "in_work": 0, "delayed": 0 });
    assert_eq!(status["queues"]["dead_letters"], empty);

    // Whatever is printed opens nothing.
    let hashes = described.backend.items().await;
    let hashes = hashes
        .iter()
        .filter_map(|item| item["pk"]["S"].as_str()?.strip_prefix("KEY#invitation#"));
    let secrets: Vec<String> = hashes
        .map(|hash| hash[..9].to_owned())
        .chain([&good, &broken].map(|fleet| fleet.invitation_id.to_string()))
        .collect();
    assert_eq!(secrets.len(), 4);
    for command in ["show", "explain", "history"] {
        let arguments = ["fleet", command, "FLEET-2"];
        let all = described.text(&arguments) + &described.json(&arguments).to_string();
        for secret in &secrets {
            assert!(!all.contains(secret), "{command} prints {secret}");
        }
    }
}

/// A message of a fleet's that was asked for so many minutes ago, and Catena refused if it is of an even number.
fn message(fleet: &str, number: i64) -> Operation {
    let key = format!("order-{number}");
    let id = operation_id(fleet, &key);
    let asked = Asked {
        fleet: FleetRef::parse(fleet).unwrap(),
        key,
        by: "arn:aws:iam::000000000000:user/dana".to_owned(),
        resource: "message".to_owned(),
        kind: Kind::Create,
        target: None,
        connection: "C-1".to_owned(),
        digest: "d".to_owned(),
    };
    let now = OffsetDateTime::now_utc().unix_timestamp() * 1000;
    let at = Timestamp(now - number * 60 * 1000);
    let mut operation = Operation::new(id, asked, serde_json::Map::new(), at);
    if number % 2 == 0 {
        operation.refuse(Refused {
            at,
            why: "422: message_text: Field required".to_owned(),
            by_catena: true,
        });
    }
    operation
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_listed_shown_and_explained() {
    let described = Described::start().await;
    let table = described.backend.table().await;
    let writes = Operations {
        table: &table,
        policy: &Policy::default(),
        history_days: HistoryDays::default(),
        now: OffsetDateTime::now_utc,
    };
    // In no order.
    for number in [7, 2, 5, 4, 1, 3, 6, 8] {
        let fleet = if number > 6 { "FLEET-2" } else { "FLEET-1" };
        let stored = StoredOperation::new(message(fleet, number));
        let written = writes.keep(&stored).await.unwrap();
        assert!(matches!(written, Commit::Written(_)));
    }

    let keys = |arguments: &[&str]| {
        let listed = described.json(&[&["operation", "list"], arguments].concat());
        let operations = listed["operations"].as_array().unwrap().iter();
        let keys = operations.map(|it| it["idempotency_key"].as_str().unwrap().to_owned());
        let keys: Vec<String> = keys.collect();
        (keys.join(" ").replace("order-", ""), listed["more"] == true)
    };
    let all = |keys: &str| (keys.to_owned(), false);
    assert_eq!(keys(&[]), all("1 2 3 4 5 6 7 8"));
    assert_eq!(keys(&["--limit", "3"]), ("1 2 3".to_owned(), true));
    assert_eq!(keys(&["--limit", "8"]), all("1 2 3 4 5 6 7 8"));
    assert_eq!(keys(&["--fleet", "FLEET-2"]), all("7 8"));
    assert_eq!(
        keys(&["--fleet", "FLEET-1", "--status", "refused"]),
        all("2 4 6")
    );
    assert_eq!(
        keys(&["--status", "refused", "--limit", "1"]),
        ("2".to_owned(), true)
    );
    assert_eq!(keys(&["--since", "210s"]), all("1 2 3"));
    assert_eq!(keys(&["--since", "330s", "--until", "-150s"]), all("3 4 5"));
    assert_eq!(keys(&["--resource", "vehicle"]), all(""));

    let by_key = [
        "operation",
        "show",
        "--fleet",
        "FLEET-1",
        "--key",
        "order-2",
    ];
    let shown = described.json(&by_key);
    let id = shown["id"].as_str().unwrap();
    assert_eq!(shown["status"], "refused", "{shown}");
    let explained = described.text(&["operation", "explain", id]);
    assert!(
        explained.contains("Catena refused it: 422: message_text: Field required"),
        "{explained}"
    );
    let told = described.failure(&["operation", "show", &id.replace('0', "1")]);
    assert!(told.contains("kingpin operation list"), "{told}");
    // Those that were cut off are all to be searched for since.
    let status = described.json(&["status"]);
    assert_eq!(status["operations"]["open"], 4, "{status}");
    assert_eq!(status["operations"]["due"]["count"], 4, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_what_to_do() {
    let described = Described::start().await;
    let onboarded = fleet(1);
    described.deliver(&events::onboarding(&onboarded)).await;

    let told = described.failure(&["fleet", "show", "FLEET-99"]);
    assert!(
        told.contains("FLEET-99") && told.contains("kingpin fleet list"),
        "{told}"
    );
    let usage = described.ask(&["fleet", "list", "--stage", "lost"]);
    assert_eq!(usage.status.code(), Some(2));

    let newer = json!({
        "TableName": TABLE,
        "Key": { "pk": { "S": "FLEET#FLEET-1" }, "sk": { "S": "RECORD" } },
        "UpdateExpression": "SET #schema = :schema",
        "ExpressionAttributeNames": { "#schema": "schema" },
        "ExpressionAttributeValues": { ":schema": { "N": (fleet::SCHEMA + 1).to_string() } },
    });
    let aws = &described.backend.aws;
    aws.dynamodb("UpdateItem", newer).await.unwrap();
    let told = described.failure(&["fleet", "explain", "FLEET-1"]);
    assert!(
        told.contains(&format!("schema {}", fleet::SCHEMA + 1)),
        "{told}"
    );
    let listed = described.json(&["fleet", "list"]);
    assert_eq!(listed["unreadable"][0]["fleet_ref"], "FLEET-1");

    described.describe("elsewhere", &described.backend.queue_url);
    let told = described.failure(&["status"]);
    assert!(
        told.contains("table elsewhere of local stack by-hand"),
        "{told}"
    );
    assert!(told.contains("cargo xtask up"), "{told}");

    let told = failure(&kingpin(described.folder.path(), &[], &["status"]));
    assert!(
        told.contains("--stack") && told.contains("--local"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_found_by_its_description_and_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        // Where it is looked for.
        folder: folder.path().join("target/local"),
        ..Options::default()
    };
    let stack = Stack::start(options).await.unwrap();
    let below = folder.path().join("functions");
    std::fs::create_dir(&below).unwrap();
    let found = read(&kingpin(&below, &[], &["--json", "status"]));
    assert_eq!(found["fleets"]["total"], 0);

    let [id, secret] = aws::CREDENTIALS;
    let deployed = [
        id,
        secret,
        ("AWS_ENDPOINT_URL", stack.aws.endpoint()),
        ("AWS_REGION", aws::REGION),
    ];
    let ask = |arguments: &[&str]| kingpin(&below, &deployed, arguments);
    let named = read(&ask(&["--stack", "kingpin", "status", "--json"]));
    assert_eq!(named["stack"], "stack kingpin in us-east-1");
    assert_eq!(named["queues"], found["queues"]);
    let told = failure(&ask(&["--stack", "queenpin", "status"]));
    assert!(
        told.contains("could not look up stack queenpin in us-east-1"),
        "{told}"
    );
    assert!(told.contains("Check the stack's name"), "{told}");

    // By a variable, in a region that an option names, with credentials that nobody gave.
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", stack.aws.endpoint()),
        ("KINGPIN_STACK", "kingpin"),
    ];
    let told = failure(&kingpin(
        &below,
        &variables,
        &["status", "--region", "eu-central-1"],
    ));
    assert!(told.contains("stack kingpin in eu-central-1"), "{told}");
    assert!(told.contains("Check the credentials"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_invites_looks_at_access_and_overrides_it() {
    let running = Running::start(&[]).await;
    let stack_json = running.stack.stack_json();
    let folder = stack_json.parent().unwrap();
    let local = ["--local", stack_json.to_str().unwrap()];
    let ask = |arguments: &[&str]| kingpin(folder, &[], &[&local, arguments].concat());

    let invite = [
        "invite",
        "FLEET-1",
        "--name",
        "Acme & Sons",
        "--permission",
        "vehicle=read",
    ];
    let invited = printed(&ask(&invite));
    let link = running.stack.url("/connect/");
    assert!(invited.contains(&link), "{invited}");
    let again = read(&ask(&[&["--json"], &invite[..]].concat()));
    assert_eq!(again["outcome"], "unchanged", "{again}");
    assert_eq!(again["granted"], json!({ "vehicle": "read" }));

    let rotate = ["link", "rotate", "FLEET-1"];
    let rotated = printed(&ask(&rotate));
    assert!(
        rotated.contains(&link) && rotated.contains("The old one leads nowhere now"),
        "{rotated}"
    );
    let old = again["link"]["url"].as_str().unwrap();
    assert!(!rotated.contains(old), "{rotated}");
    let rotated = read(&ask(&[&["--json"], &rotate[..]].concat()));
    assert_eq!(rotated["fleet_ref"], "FLEET-1");
    let again = read(&ask(&[&["--json"], &invite[..]].concat()));
    assert_eq!(again["link"], rotated["link"]);
    let nobody = failure(&ask(&["link", "rotate", "NOBODY"]));
    assert!(
        nobody.contains("NOBODY has no link") && nobody.contains("invite it"),
        "{nobody}"
    );

    let access = read(&ask(&["--json", "fleet", "access", "FLEET-1"]));
    assert_eq!(access["admission"]["kind"], "none");
    let block = [
        "fleet",
        "override",
        "FLEET-1",
        "--block",
        "--reason",
        "fraud suspected",
    ];
    let blocked = printed(&ask(&block));
    assert!(blocked.contains("fraud suspected"), "{blocked}");
    let history = printed(&ask(&["fleet", "history", "FLEET-1"]));
    assert!(
        history.contains("fraud suspected") && history.contains("user/test"),
        "{history}"
    );
    let lifted = read(&ask(&["--json", "fleet", "override", "FLEET-1", "--lift"]));
    assert_eq!(lifted["admission"]["kind"], "none");

    let wrong = failure(&ask(&["invite", "FLEET-1", "--country", "us"]));
    assert!(wrong.contains("--country"), "{wrong}");
    let unknown = failure(&ask(&["fleet", "access", "NOBODY"]));
    assert!(unknown.contains("NOBODY"), "{unknown}");
    printed(&ask(&["uninvite", "FLEET-1"]));
    let none = failure(&ask(&rotate));
    assert!(none.contains("taken back"), "{none}");
    let gone = running.stack.simulator.invitation("FLEET-1").unwrap();
    assert_eq!(gone.status, "deleted");
}

//! `kingpin doctor` and `kingpin contract check` against a stack, whole and with one thing broken after the other.

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};
use local::Options;
use serde_json::{Value, json};
use simulator::HiddenEndpoints;

use crate::{reconciling::Watched, stack::Running};

/// What the program found, by check.
struct Found(Value, Output);

impl Found {
    /// The code of what came of a check.
    fn result(&self, check: &str) -> &str {
        self.check(check)["result"].as_str().unwrap()
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        let found = checks.iter().find(|it| it["check"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#}", self.0))
    }

    /// All that aren't as they should be, but for those that need what this simulator may not serve.
    fn wrong(&self) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap().iter();
        let wrong = checks.filter(|it| ["fail", "warn"].contains(&it["result"].as_str().unwrap()));
        let names = wrong.map(|it| it["check"].as_str().unwrap());
        names.filter(|name| !NOTIFICATIONS.contains(name)).collect()
    }
}

fn run(running: &Running, arguments: &[&str]) -> Output {
    let stack_json = running.stack.stack_json();
    kingpin(stack_json, arguments)
}

fn kingpin(stack_json: &std::path::Path, arguments: &[&str]) -> Output {
    let program = Options::default().binaries.join("kingpin");
    let mut command = Command::new(&program);
    command
        .args(["--local", stack_json.to_str().unwrap()])
        .args(arguments)
        .env_clear();
    // It blocks a thread of the test while the stack answers.
    let output = tokio::task::block_in_place(|| command.output());
    output.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn examine(running: &Running, options: &[&str]) -> Found {
    let output = run(running, &[&["--json", "doctor"], options].concat());
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for secret in [&*running.stack.signing_key, simulator::CLIENT_SECRET, WRONG] {
        assert!(!printed.contains(secret), "a secret is printed");
    }
    let found: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{printed}"));
    let failed = found["failed"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{printed}");
    Found(found, output)
}

async fn put(running: &Running, output: &str, text: &str) {
    let secret = running.stack.deployment.output(output).unwrap();
    let put = json!({ "SecretId": secret, "SecretString": text });
    let put = running
        .stack
        .aws
        .secrets_manager("PutSecretValue", put)
        .await;
    put.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_stack_is_found_whole_and_the_probe_leaves_nothing_behind() {
    let watched = Watched::start(&[]).await;
    let running = &watched.running;
    // The first of a new stack begins its first comparison.
    watched.sweep().await;
    let found = examine(running, &[]);
    assert_eq!(found.wrong(), [] as [&str; 0], "{:#}", found.0);
    for check in [
        "stack",
        "outputs",
        "credentials",
        "token",
        "integration_requests",
        "api",
        "clock",
        "keyring",
        "rotation",
        "webhook",
        "clock_aws",
        "events_queue",
        "tasks_queue",
        "dead_letters",
        "tasks_dead_letters",
        "publisher_dead_letters",
        "parked",
        "due",
        "quarantine",
        "comparison",
        "pause",
    ] {
        assert_eq!(found.result(check), "ok", "{check} of {:#}", found.0);
    }
    let text = String::from_utf8(run(running, &["doctor"]).stdout).unwrap();
    assert!(
        text.contains("a signed delivery was answered 202"),
        "{text}"
    );

    let outcomes = running.settled(Duration::from_secs(30)).await;
    let names: Vec<&String> = outcomes.keys().collect();
    assert_eq!(names, ["no-news"]);
    assert_eq!(
        examine(running, &["--no-probe"]).result("webhook"),
        "skipped"
    );
    assert_eq!(found.1.stderr, b"");
    // An alarm counts lines of this level.
    for package in ["webhook-ingest", "event-processor"] {
        let lines = running.stack.log_records(package);
        let loud = lines.iter().find(|line| line["level"] == "ERROR");
        assert_eq!(loud, None, "{package}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_the_check_that_fails() {
    // Ingest reads the keyring once, so that it can be changed under it.
    let environment = [
        ("KEYRING_TTL_SECONDS", "3600"),
        ("KEYRING_REREAD_SECONDS", "3600"),
    ];
    let running = Running::start(&environment).await;
    // Sweeps are off.
    assert_eq!(examine(&running, &[]).wrong(), ["comparison"]);
    let good = json!({ "version": 1, "shared": running.stack.signing_key }).to_string();

    // A key that the function doesn't know.
    put(
        &running,
        "KeyringSecretId",
        &json!({ "version": 1, "shared": WRONG }).to_string(),
    )
    .await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["webhook", "comparison"]);
    let told = found.check("webhook").to_string();
    assert!(
        told.contains("503") && told.contains("no signing key matches"),
        "{told}"
    );
    // Two of them: a rotation that isn't finished.
    let two = json!({ "version": 1, "shared": [running.stack.signing_key, WRONG] }).to_string();
    put(&running, "KeyringSecretId", &two).await;
    assert_eq!(examine(&running, &[]).wrong(), ["rotation", "comparison"]);
    // None that can be read.
    put(&running, "KeyringSecretId", WRONG).await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["keyring", "comparison"]);
    assert_eq!(found.result("webhook"), "skipped");
    put(&running, "KeyringSecretId", &good).await;

    running
        .stack
        .simulator
        .set_hidden_endpoints(HiddenEndpoints::Forbidden);
    let found = examine(&running, &[]);
    assert_eq!(found.result("integration_requests"), "warn");
    running
        .stack
        .simulator
        .set_hidden_endpoints(HiddenEndpoints::Served);
    running
        .stack
        .simulator
        .set_token_permissions(&["invitation:read"]);
    let told = examine(&running, &[]).check("permissions").clone();
    assert_eq!(told["result"], "fail");
    assert!(
        told["found"]
            .as_str()
            .unwrap()
            .contains("invitation:create"),
        "{told}"
    );

    // Without Catena's credentials the rest is still looked at.
    let wrong = json!({ "client_id": "nobody", "client_secret": WRONG }).to_string();
    put(&running, "CatenaSecretId", &wrong).await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["token", "comparison"]);
    put(&running, "CatenaSecretId", "not yet").await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["credentials", "comparison"]);
    for check in [
        "token",
        "permissions",
        "integration_requests",
        "api",
        "clock",
        "subscriptions",
    ] {
        assert_eq!(found.result(check), "skipped", "{check}");
    }
    assert_eq!(found.result("webhook"), "ok");
    let strict = run(&running, &["contract", "check"]);
    assert_eq!(strict.status.code(), Some(1));
    let told = String::from_utf8(strict.stderr).unwrap();
    assert!(
        told.contains("could not ask Catena for its schemas"),
        "{told}"
    );
    assert!(told.contains("CatenaSecretId"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_told_with_their_age_and_stay() {
    let running = Running::start(&[]).await;
    let url = running
        .stack
        .deployment
        .output("EventsDeadLetterQueueUrl")
        .unwrap();
    let send = json!({ "QueueUrl": url, "MessageBody": "canary" });
    running.stack.aws.sqs("SendMessage", send).await.unwrap();
    let found = examine(&running, &["--no-probe"]);
    let told = found.check("dead_letters");
    assert_eq!(told["result"], "fail");
    let text = told["found"].as_str().unwrap();
    assert!(
        text.starts_with("1, the oldest of those looked at first sent"),
        "{text}"
    );
    assert!(!found.0.to_string().contains("canary"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(running.dead_letters().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_does_not_answer_is_told_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stack.json");
    let nowhere = "http://127.0.0.1:9";
    let described = json!({
        "aws_endpoint_url": nowhere, "region": "us-east-1", "stack_name": "gone", "table_name": "t", "policy": {},
        "events_queue_url": nowhere, "events_dlq_url": nowhere, "tasks_queue_url": nowhere, "tasks_dlq_url": nowhere,
        "publisher_dlq_url": nowhere, "webhook_url": nowhere, "keyring_secret_id": "k", "catena_secret_id": "c",
        "catena_api_url": nowhere, "catena_token_url": nowhere, "partner_api_url": nowhere,
    });
    std::fs::write(&file, described.to_string()).unwrap();
    let started = std::time::Instant::now();
    let output = kingpin(&file, &["--json", "doctor"]);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(output.status.code(), Some(1));
    let found = Found(serde_json::from_slice(&output.stdout).unwrap(), output);
    assert_eq!(found.result("outputs"), "ok");
    let wrong = [
        "credentials",
        "keyring",
        "queues",
        "parked",
        "quarantine",
        "comparison",
    ];
    assert_eq!(found.wrong(), wrong, "{:#}", found.0);
}

/// A Catena that gives tokens and the schema of one event, in a version that can be changed.
async fn catena(version: Arc<AtomicU32>) -> String {
    let record = json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" }, "fleet_id": { "type": "string" }, "tsp_id": { "type": "string" },
            "source_name": { "type": "integer" }, "status": { "type": "string", "enum": ["active", "dormant"] },
        },
        "required": ["id"],
    });
    let envelope = json!({
        "type": "object",
        "properties": {
            "webhook_id": { "type": "string" }, "event_name": { "type": "string" }, "version": { "type": "string" },
            "timestamp": { "type": "string" }, "id": { "type": "string" }, "delivery_attempt": { "type": "integer" },
            "data": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } },
        },
        "required": ["webhook_id", "data"],
    });
    let schemas = json!({ "Record": record, "Envelope": envelope });
    let document = json!({ "openapi": "3.1.0", "components": { "schemas": schemas } }).to_string();
    let schema = async move |Path(event): Path<String>| {
        let version = format!("1.{}", version.load(Ordering::SeqCst));
        let schema = json!({
            "event_name": event, "version": version, "created_at": "2026-01-01T00:00:00Z", "openapi_schema": document,
            "changelog": "Something else",
        });
        match event.as_str() {
            "connection.created" => (StatusCode::OK, schema.to_string()),
            "tsp.requested" => (
                StatusCode::FORBIDDEN,
                json!({ "code": 403, "message": "Forbidden" }).to_string(),
            ),
            _ => (
                StatusCode::NOT_FOUND,
                json!({ "code": 404, "message": "Not Found" }).to_string(),
            ),
        }
    };
    let token = async || {
        json!({ "access_token": "x", "expires_in": 300, "token_type": "Bearer" }).to_string()
    };
    let routes = Router::new()
        .route("/token", post(token))
        .route("/v2/notifications/schemas/{event}", get(schema));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn catenas_schemas_are_held_against_what_is_read() {
    let running = Running::start(&[]).await;
    let version = Arc::new(AtomicU32::new(2));
    let catena = catena(Arc::clone(&version)).await;
    let text = std::fs::read_to_string(running.stack.stack_json()).unwrap();
    let mut described: Value = serde_json::from_str(&text).unwrap();
    described["catena_token_url"] = json!(format!("{catena}/token"));
    described["catena_api_url"] = json!(catena);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stack.json");
    std::fs::write(&file, described.to_string()).unwrap();

    let check = ["--json", "contract", "check"];
    let output = kingpin(&file, &check);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = all["events"].as_array().unwrap();
    assert_eq!(events.len(), 27);
    let of = |name: &str| events.iter().find(|it| it["event"] == name).unwrap();
    let connection = of("connection.created");
    assert_eq!(connection["result"], "breaking");
    let told = connection["differences"].to_string();
    assert!(
        told.contains("an integer; a text is read") && told.contains("dormant"),
        "{told}"
    );
    assert_eq!(
        connection["differences"].as_array().unwrap().len(),
        2,
        "{told}"
    );
    for (event, words) in [("tsp.requested", "forbidden"), ("tsp.created", "not found")] {
        assert_eq!(of(event)["result"], "not_shown");
        assert!(
            of(event)["problem"].as_str().unwrap().contains(words),
            "{event}"
        );
    }

    let known = folder.path().join("known.json");
    std::fs::write(&known, &output.stdout).unwrap();
    let since = [
        "contract",
        "check",
        "--event",
        "connection.created",
        "--since",
        known.to_str().unwrap(),
    ];
    let told = |output: Output| String::from_utf8(output.stdout).unwrap();
    let same = told(kingpin(&file, &since));
    assert!(!same.contains("new version"), "{same}");
    version.store(3, Ordering::SeqCst);
    let newer = told(kingpin(&file, &since));
    assert!(
        newer.contains("new version: 1.2 before, 1.3 now: Something else"),
        "{newer}"
    );
}

/// What needs Catena's notification API, or permissions for it.
const NOTIFICATIONS: [&str; 2] = ["permissions", "subscriptions"];
/// A key, and a secret, of nobody.
const WRONG: &str = "canary-key-that-nobody-signs-with";

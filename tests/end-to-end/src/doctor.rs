//! `kingpin doctor` and `kingpin contract check` against a stack, whole and with one thing broken after the other.

use std::{
    process::{Command, Output},
    time::Duration,
};

use local::{CREDENTIALS_JSON, Options};
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{HiddenEndpoints, SubscriptionTruth};

use crate::{catena::client, reconciling::Watched, stack::Running};

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

    /// All that aren't as they should be.
    fn wrong(&self) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap().iter();
        let wrong = checks.filter(|it| ["fail", "warn"].contains(&it["result"].as_str().unwrap()));
        wrong.map(|it| it["check"].as_str().unwrap()).collect()
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

/// The keyring document.
async fn keyring(running: &Running) -> Value {
    let secret = running.stack.deployment.output("KeyringSecretId").unwrap();
    let get = json!({ "SecretId": secret });
    let aws = &running.stack.aws;
    let got = aws.secrets_manager("GetSecretValue", get).await.unwrap();
    serde_json::from_str(got["SecretString"].as_str().unwrap()).unwrap()
}

/// Has `kingpin` do what its subscriptions need.
async fn subscribe(running: &Running) {
    running.stack.simulator.clear_subscriptions();
    let applied = run(running, &["subscription", "apply"]);
    assert!(applied.status.success(), "{applied:?}");
    running.stack.simulator.idle().await;
}

/// A call of Catena's API by somebody else, past `kingpin`.
async fn call(running: &Running, method: Method, path: &str) {
    let (http, url) = (reqwest::Client::new(), running.stack.simulator.url());
    let form = format!(
        "grant_type=client_credentials&scope=organization&client_id={}&client_secret={}",
        simulator::CLIENT_ID,
        simulator::CLIENT_SECRET
    );
    let token = http
        .post(format!("{url}{}", simulator::TOKEN_PATH))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let token = token.send().await.unwrap().text().await.unwrap();
    let token: Value = serde_json::from_str(&token).unwrap();
    let called = http
        .request(method, format!("{url}{path}"))
        .bearer_auth(token["access_token"].as_str().unwrap());
    let answer = called.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

fn subscription(running: &Running, event: &str) -> SubscriptionTruth {
    let all = running.stack.simulator.subscriptions().into_iter();
    let mut of_it = all.filter(|it| it.event_name == event);
    of_it.next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_first_deployment_lacks_is_told_until_it_is_set_up() {
    let running = Running::fresh().await;
    let found = examine(&running, &[]);
    // Sweeps are off.
    assert_eq!(found.wrong(), ["credentials", "comparison"]);
    let remedy = found.check("credentials")["remedy"].as_str().unwrap();
    assert!(remedy.contains("kingpin setup --credentials"), "{remedy}");
    assert_eq!(found.result("subscriptions"), "skipped");
    assert_eq!(found.result("webhook"), "ok");

    let file = running.stack.stack_json().with_file_name(CREDENTIALS_JSON);
    put(
        &running,
        "CatenaSecretId",
        &std::fs::read_to_string(&file).unwrap(),
    )
    .await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["subscriptions", "comparison"]);
    let told = found.check("subscriptions");
    assert_eq!(told["result"], "fail");
    assert!(
        told["remedy"]
            .as_str()
            .unwrap()
            .contains("kingpin subscription apply"),
        "{told}"
    );
    assert!(
        told["found"]
            .as_str()
            .unwrap()
            .contains("subscribe invitation.*"),
        "{told}"
    );

    let credentials = ["setup", "--credentials", file.to_str().unwrap()];
    let set_up = run(&running, &credentials);
    assert!(set_up.status.success(), "{set_up:?}");
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["comparison"], "{:#}", found.0);
    assert_eq!(found.result("permissions"), "ok");
    let told = found.check("subscriptions")["found"].as_str().unwrap();
    assert!(told.ends_with("are ours, and all are active"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_does_not_deliver_is_named() {
    let running = Running::start(&[]).await;
    subscribe(&running).await;
    assert_eq!(examine(&running, &[]).wrong(), ["comparison"]);
    // Nobody else is told by a webhook, so that the reconciler doesn't mend it meanwhile.
    let stale = subscription(&running, "webhook.staled");
    let simulator = &running.stack.simulator;
    simulator.make_subscription_stale(stale.id).unwrap();
    let named = |words: &str| {
        let found = examine(&running, &[]);
        assert_eq!(found.wrong(), ["subscriptions", "comparison"]);
        let told = found.check("subscriptions");
        assert_eq!(told["result"], "fail");
        assert!(told["found"].as_str().unwrap().contains(words), "{told}");
    };
    named("activate webhook.staled, which is stale");
    subscribe(&running).await;
    assert_eq!(examine(&running, &[]).wrong(), ["comparison"]);

    let path = |event| {
        format!(
            "/v2/notifications/webhooks/{}",
            subscription(&running, event).id
        )
    };
    let pause = path("connection.staled") + "/pause";
    call(&running, Method::POST, &pause).await;
    named("activate connection.staled, which is paused");
    subscribe(&running).await;
    call(&running, Method::DELETE, &path("tsp.created")).await;
    named("subscribe tsp.created");
    subscribe(&running).await;
    assert_eq!(examine(&running, &[]).wrong(), ["comparison"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_stack_is_found_whole_and_the_probe_leaves_nothing_behind() {
    let watched = Watched::start(&[]).await;
    let running = &watched.running;
    subscribe(running).await;
    // The first of a new stack begins its first comparison.
    watched.sweep().await;
    let before = running.settled(Duration::from_secs(30)).await;
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
        "permissions",
        "subscriptions",
    ] {
        assert_eq!(found.result(check), "ok", "{check} of {:#}", found.0);
    }
    let text = String::from_utf8(run(running, &["doctor"]).stdout).unwrap();
    assert!(
        text.contains("a signed delivery was answered 202"),
        "{text}"
    );

    let mut after = running.settled(Duration::from_secs(30)).await;
    // That of the text, and that of the JSON.
    *after.entry("no-news".to_owned()).or_default() -= 2;
    after.retain(|_, count| *count > 0);
    assert_eq!(after, before);
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
    subscribe(&running).await;
    // Sweeps are off.
    assert_eq!(examine(&running, &[]).wrong(), ["comparison"]);
    let good = keyring(&running).await;
    let with_keys = |keys: &[&str]| {
        let mut keyring = good.clone();
        keyring["shared"] = json!(keys);
        keyring.to_string()
    };

    // A key that the function doesn't know, nor the subscriptions.
    put(&running, "KeyringSecretId", &with_keys(&[WRONG])).await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["subscriptions", "webhook", "comparison"]);
    let told = found.check("webhook").to_string();
    assert!(
        told.contains("503") && told.contains("no signing key matches"),
        "{told}"
    );
    // Two of them: a rotation that isn't finished. It is signed with the newer one.
    let two = with_keys(&[WRONG, &running.stack.signing_key]);
    put(&running, "KeyringSecretId", &two).await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["rotation", "comparison"]);
    let remedy = found.check("rotation")["remedy"].as_str().unwrap();
    assert!(remedy.contains("kingpin subscription rotate"), "{remedy}");
    // None that can be read.
    put(&running, "KeyringSecretId", WRONG).await;
    let found = examine(&running, &[]);
    assert_eq!(found.wrong(), ["subscriptions", "keyring", "comparison"]);
    assert_eq!(found.result("webhook"), "skipped");
    put(&running, "KeyringSecretId", &good.to_string()).await;
    assert_eq!(examine(&running, &[]).wrong(), ["comparison"]);

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

/// What came of comparing schemas: the exit code, and what was printed.
fn compare(running: &Running, options: &[&str]) -> (i32, Value) {
    let output = run(
        running,
        &[&["--json", "contract", "check"], options].concat(),
    );
    let printed = serde_json::from_slice(&output.stdout);
    let printed: Value = printed.unwrap_or_else(|_| panic!("{output:?}"));
    let code = output.status.code().unwrap();
    assert_eq!(printed["failed"], code == 1, "{printed:#}");
    (code, printed)
}

fn compared<'a>(printed: &'a Value, event: &str) -> &'a Value {
    let events = printed["events"].as_array().unwrap();
    let found = events.iter().find(|it| it["event"] == event);
    found.unwrap_or_else(|| panic!("no {event} in {printed:#}"))
}

/// Replaces an event's schema by the same with its record changed.
async fn change(running: &Running, event: &str, change: impl FnOnce(&mut Value)) {
    let simulator = &running.stack.simulator;
    let client = client(simulator);
    let schema = client.within(Duration::from_secs(5)).event_schema(event);
    let schema = schema.await.unwrap().value;
    let mut document: Value = serde_json::from_str(&schema.openapi_schema).unwrap();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    let record = schemas.iter_mut().find(|(name, _)| *name != "Envelope");
    change(record.unwrap().1);
    simulator.set_event_schema(event, document);
}

#[tokio::test(flavor = "multi_thread")]
async fn catenas_schemas_are_held_against_what_is_read() {
    let running = Running::start(&[]).await;
    let (code, known) = compare(&running, &[]);
    assert_eq!(code, 0, "{known:#}");
    let events = known["events"].as_array().unwrap();
    assert_eq!(events.len(), 27);
    for event in events {
        let expected: &[&str] = match event["event"].as_str() {
            // Nobody knows what it holds.
            Some("tsp.requested") => &["not_shown"],
            _ => &["same", "information"],
        };
        assert!(
            expected.contains(&event["result"].as_str().unwrap()),
            "{event:#}"
        );
    }
    let asked = compared(&known, "tsp.requested");
    assert!(asked["problem"].as_str().unwrap().contains("not found"));

    // A field that reading needs is gone, another has another name, and a third is no text any more.
    change(&running, "connection.created", |record| {
        record["properties"].as_object_mut().unwrap().remove("id");
        record["required"] = json!(["source_name"]);
    })
    .await;
    change(&running, "share_agreement.updated", |record| {
        let fields = record["properties"].as_object_mut().unwrap();
        let field = fields.remove("fleet_id").unwrap();
        fields.insert("fleet_uuid".to_owned(), field);
        record["required"] = json!(["id", "fleet_uuid"]);
    })
    .await;
    change(&running, "fleet_connection.created", |record| {
        record["properties"]["connection_id"] = json!({ "type": "integer" });
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known.json");
    std::fs::write(&file, known.to_string()).unwrap();
    let since = ["--since", file.to_str().unwrap()];
    let (code, found) = compare(&running, &since);
    assert_eq!(code, 1);
    for (event, field, words) in [
        ("connection.created", "id", "isn't in it"),
        ("share_agreement.updated", "fleet_id", "isn't in it"),
        (
            "fleet_connection.created",
            "connection_id",
            "is an integer; a text is read",
        ),
    ] {
        let found = compared(&found, event);
        assert_eq!(found["result"], "breaking", "{found:#}");
        assert_eq!(
            (&found["version_before"], &found["version"]),
            (&json!("1.0"), &json!("1.1"))
        );
        let differences = found["differences"].as_array().unwrap().iter();
        let breaking: Vec<_> = differences
            .filter(|it| it["weight"] == "breaking")
            .collect();
        assert_eq!(breaking.len(), 1, "{found:#}");
        assert_eq!(breaking[0]["field"], field);
        let what = breaking[0]["what"].as_str().unwrap();
        assert!(what.starts_with(words), "{what}");
    }
    let breaks = found["events"].as_array().unwrap().iter();
    assert_eq!(
        breaks.filter(|it| it["result"] == "breaking").count(),
        3,
        "{found:#}"
    );
    let only = ["--event", "invitation.created"];
    assert_eq!(compare(&running, &only).0, 0);
    let text = run(&running, &[&["contract", "check"], &since[..]].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("new version: 1.0 before, 1.1 now: Replaced by a test"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_an_event_that_nobody_knew_is_news() {
    let running = Running::start(&[]).await;
    let fields =
        json!({ "request": { "type": "string", "format": "uuid" }, "eld": { "type": "string" } });
    let record = json!({ "type": "object", "properties": fields, "required": ["request"] });
    let document =
        json!({ "openapi": "3.0.0", "components": { "schemas": { "TspRequested": record } } });
    let simulator = &running.stack.simulator;
    simulator.set_event_schema("tsp.requested", document.clone());
    let only = ["--event", "tsp.requested"];
    let (code, found) = compare(&running, &only);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(compared(&found, "tsp.requested")["document"], document);
    let text = run(&running, &[&["contract", "check"], &only[..]].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("NEWS") && text.contains("request: a text (uuid)"),
        "{text}"
    );
}

/// A key, and a secret, of nobody.
const WRONG: &str = "canary-key-that-nobody-signs-with";

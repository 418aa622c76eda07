//! The deployed template: from a signed webhook to a fleet record, under repeats, disorder, outages and rotation.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::http::Method;
use fleet::{Facts, Policy};
use futures_util::{StreamExt, stream};
use local::{
    Options, Stack, authorization::USERS, signed::Signed, template::Template, wire::Fault,
};
use serde_json::{Value, json};
use simulator::{Envelope, Faults, Fleet, Outcome, Scenario, events};
use store::{HistoryEntry, Table};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::{
    backend::{clients, depth, items, kinds},
    oracle::oracle,
};

/// A stack and the folder of its `stack.json`.
pub(crate) struct Running {
    pub(crate) stack: Stack,
    _folder: TempDir,
}

impl Running {
    /// One in which nobody asks Catena: most events in tests are made up, and the simulator knows nothing of their fleets.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let seldom = [("Sweep", "DISABLED"), ("WaitPercent", "10000")];
        Self::with_parameters(&seldom, environment).await
    }

    pub(crate) async fn with_parameters(
        parameters: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::of(parameters, environment, false).await
    }

    /// One that `kingpin setup` is for: nothing is subscribed, and Catena's credentials are in a file. Nobody asks Catena here either.
    pub(crate) async fn fresh() -> Self {
        let seldom = [("Sweep", "DISABLED"), ("WaitPercent", "10000")];
        Self::of(&seldom, &[], true).await
    }

    async fn of(parameters: &[(&str, &str)], environment: &[(&str, &str)], fresh: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options = Options {
            folder: folder.path().to_owned(),
            parameters: parameters.iter().map(owned).collect(),
            environment: environment.iter().map(owned).collect(),
            fresh,
            ..Options::default()
        };
        let stack = Stack::start(options).await.unwrap();
        Self {
            stack,
            _folder: folder,
        }
    }

    /// The partner API, as the partner's platform calls it.
    pub(crate) fn partner(&self) -> Signed {
        Signed::user(self.stack.url(""), &USERS[0]).unwrap()
    }

    /// The table, for code that runs within a test.
    pub(crate) async fn table(&self) -> Table {
        Table::new(
            clients(&self.stack.aws).await.0,
            self.stack.table().unwrap(),
        )
    }

    pub(crate) async fn items(&self) -> Vec<Value> {
        items(&self.stack.aws, self.stack.table().unwrap()).await
    }

    /// Whether tasks reach `reconciler`, from now on.
    pub(crate) async fn work_off_tasks(&self, enabled: bool) {
        let aws = &self.stack.aws;
        let name = &self.stack.deployment.functions["reconciler"].name;
        let mappings = "/2015-03-31/event-source-mappings";
        let path = format!("{mappings}?FunctionName={name}");
        let found = aws.rest("lambda", Method::GET, &path, None).await.unwrap();
        let path = format!(
            "{mappings}/{}",
            found["EventSourceMappings"][0]["UUID"].as_str().unwrap()
        );
        let change = Some(json!({ "Enabled": enabled }));
        let changed = aws.rest("lambda", Method::PUT, &path, change).await;
        changed.unwrap();
    }

    pub(crate) fn outcomes(&self, package: &str) -> BTreeMap<String, usize> {
        let mut outcomes = BTreeMap::new();
        for line in self.stack.log_records(package) {
            if let Some(outcome) = line["outcome"].as_str() {
                *outcomes.entry(outcome.to_owned()).or_default() += 1;
            }
        }
        outcomes
    }

    /// Waits until everything that ingest queued has its final outcome.
    pub(crate) async fn settled(&self, limit: Duration) -> BTreeMap<String, usize> {
        let give_up = std::time::Instant::now() + limit;
        loop {
            let queued = self.outcomes("webhook-ingest").get("queued").copied();
            let outcomes = self.outcomes("event-processor");
            let finals = outcomes
                .iter()
                .filter(|(name, _)| !["retried", "unparked"].contains(&name.as_str()));
            let done: usize = finals.map(|(_, count)| count).sum();
            // A message that came twice is counted twice, so the queue has to be empty as well.
            if done >= queued.unwrap_or_default() && self.queued().await == 0 {
                return outcomes;
            }
            assert!(
                std::time::Instant::now() < give_up,
                "{queued:?} queued, but {outcomes:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn queued(&self) -> usize {
        let url = self.stack.deployment.output("EventsQueueUrl").unwrap();
        depth(&self.stack.aws, url).await
    }

    pub(crate) async fn dead_letters(&self) -> usize {
        let url = self
            .stack
            .deployment
            .output("EventsDeadLetterQueueUrl")
            .unwrap();
        depth(&self.stack.aws, url).await
    }

    /// Every fleet's facts in the table equal those that the same events give without any of this, and follow from its
    /// history.
    pub(crate) async fn assert_equal_to_oracle(&self, fleets: &[Fleet], envelopes: &[Envelope]) {
        assert_equal_to_oracle(&self.items().await, fleets, envelopes);
    }

    pub(crate) async fn deliver(&self, envelopes: &[Envelope], repeat: bool) {
        let faults = Faults {
            repeat,
            ..Faults::default()
        };
        let sent = envelopes
            .iter()
            .map(|envelope| self.stack.simulator.deliver(envelope, faults));
        let sent: Vec<_> = stream::iter(sent).buffer_unordered(8).collect().await;
        for sent in sent.into_iter().flatten() {
            assert_eq!(sent.outcome, Outcome::Accepted, "{sent:?}");
        }
    }
}

/// See [`Running::assert_equal_to_oracle`].
pub(crate) fn assert_equal_to_oracle(items: &[Value], fleets: &[Fleet], envelopes: &[Envelope]) {
    assert!(!kinds(items).contains("PARKED"), "something is left parked");
    let waiting = items.iter().find(|item| !item["waiting"].is_null());
    assert_eq!(waiting, None, "something is said to wait");
    let expected = oracle(envelopes);
    let mut records = BTreeMap::new();
    let mut histories: BTreeMap<&str, Facts> = BTreeMap::new();
    for item in items {
        let (pk, sk) = (
            item["pk"]["S"].as_str().unwrap(),
            item["sk"]["S"].as_str().unwrap(),
        );
        if sk == "RECORD" {
            records.insert(pk, item["facts"]["S"].as_str().unwrap());
        } else if sk.starts_with("HISTORY#") {
            let entries = item["entries"]["S"].as_str().unwrap();
            let entries: Vec<HistoryEntry> = serde_json::from_str(entries).unwrap();
            let news = entries.iter().flat_map(|entry| &entry.news);
            let known = histories.remove(pk).unwrap_or_default();
            histories.insert(pk, news.fold(known, |facts, news| facts.fold(news)));
        }
    }
    let known = fleets
        .iter()
        .map(|fleet| format!("FLEET#{}", fleet.fleet_ref));
    let known: BTreeSet<String> = known.collect();
    let strange = records.keys().find(|pk| !known.contains(**pk));
    assert_eq!(strange, None, "a record of nobody");
    for fleet in fleets {
        let pk = format!("FLEET#{}", fleet.fleet_ref);
        let expected = serde_json::to_string(&expected[&fleet.fleet_ref]).unwrap();
        assert_eq!(records.get(pk.as_str()), Some(&expected.as_str()), "{pk}");
        let told = serde_json::to_string(&histories[pk.as_str()]).unwrap();
        assert_eq!(told, expected, "the history of {pk}");
    }
}

pub(crate) fn fleets(count: usize) -> Vec<Fleet> {
    let invited_at = OffsetDateTime::now_utc() - Duration::from_secs(600);
    (1..=count)
        .map(|n| Fleet::new(&format!("FLEET-{n:03}"), invited_at))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_and_repeated_events_give_the_oracles_records_and_leak_nothing() {
    let running =
        Running::start(&[("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "1")]).await;
    let fleets = fleets(40);
    let events: Vec<Envelope> = fleets.iter().flat_map(events::onboarding).collect();
    let mut shuffled = events.clone();
    fastrand::Rng::with_seed(7).shuffle(&mut shuffled);
    running.deliver(&shuffled, false).await;
    running.deliver(&shuffled[..events.len() / 5], true).await;
    running.settled(Duration::from_secs(60)).await;
    running.assert_equal_to_oracle(&fleets, &events).await;

    // What else a role is for: something to quarantine, something to retry.
    running.stack.wire.fault_times(
        4,
        "event-processor",
        "dynamodb:BatchGetItem",
        Fault::error(500, "InternalServerError"),
    );
    let mut unknown = events[0].clone();
    unknown.event_name = "fleet_info.modified".to_owned();
    running.deliver(&[events[1].clone(), unknown], false).await;
    let outcomes = running.settled(Duration::from_secs(60)).await;
    assert_eq!(outcomes.get("quarantined"), Some(&1), "{outcomes:?}");
    assert!(
        outcomes.contains_key("parked") && outcomes.contains_key("retried"),
        "{outcomes:?}"
    );
    assert_eq!(running.dead_letters().await, 0);

    let roles = [
        ("webhook-ingest", "WebhookIngestRole"),
        ("event-processor", "EventProcessorRole"),
    ];
    assert_roles_allow_what_is_called_and_no_more(&running.stack, &roles);
    assert_nothing_secret_rests(&running, &fleets).await;
}

/// Some actions of a role are called by Lambda itself: polling the queue, reading the stream and writing logs.
pub(crate) fn assert_roles_allow_what_is_called_and_no_more(stack: &Stack, roles: &[(&str, &str)]) {
    let lambda = [
        "dynamodb:DescribeStream",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    ];
    let template = Template::read(&Options::default().template).unwrap();
    for (package, role) in roles {
        let policies = &template.json()["Resources"][*role]["Properties"]["Policies"];
        let statements = policies
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
        let allowed: BTreeSet<String> = statements
            .flat_map(|statement| match &statement["Action"] {
                Value::Array(actions) => actions.clone(),
                action => vec![action.clone()],
            })
            .map(|action| action.as_str().unwrap().to_owned())
            .filter(|action| !lambda.contains(&action.as_str()))
            .collect();
        let calls = stack
            .wire
            .calls()
            .into_keys()
            .filter(|(lane, _)| lane == package);
        // The batch form of an SQS action needs the permission of the plain one (AWS).
        let called: BTreeSet<String> = calls
            .map(|(_, action)| match action.strip_suffix("Batch") {
                Some(plain) if action.starts_with("sqs:") => plain.to_owned(),
                _ => action,
            })
            .collect();
        assert_eq!(allowed, called, "{role}");
    }
}

async fn assert_nothing_secret_rests(running: &Running, fleets: &[Fleet]) {
    let table = json!(running.items().await).to_string();
    let places = [
        ("the table", table),
        (
            "webhook-ingest's output",
            running.stack.logs("webhook-ingest").join("\n"),
        ),
        (
            "event-processor's output",
            running.stack.logs("event-processor").join("\n"),
        ),
    ];
    let mut secrets = vec![
        running.stack.signing_key.clone(),
        simulator::TOKEN_PREFIX.to_owned(),
        "?invite=".to_owned(),
        "magic_link".to_owned(),
        "redirect_url".to_owned(),
    ];
    secrets.extend(fleets.iter().map(|fleet| fleet.invitation_id.to_string()));
    for (place, text) in places {
        assert!(text.len() > 1000, "{place} holds nothing to look at");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} rests in {place}");
        }
        let word = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        let signature = text
            .split(|c| !word(c))
            .find(|word| word.len() == 44 && word.ends_with('='));
        assert_eq!(signature, None, "a signature rests in {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_down_for_a_moment_costs_a_retry_and_no_event() {
    let running = Running::start(&[]).await;
    let fleets = fleets(1);
    let events = events::onboarding(&fleets[0]);
    running.deliver(&events[..5], false).await;
    // The SDK tries twice for each delivery.
    running
        .stack
        .wire
        .fault_times(4, "webhook-ingest", "sqs:SendMessage", Fault::Refuse);
    let sent = running
        .stack
        .simulator
        .deliver(&events[5], Faults::default())
        .await;
    assert_eq!(sent[0].outcome, Outcome::Accepted);
    assert!(sent[0].attempts.len() > 1, "{sent:?}");
    running.settled(Duration::from_secs(30)).await;
    running.assert_equal_to_oracle(&fleets, &events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_forged_and_late_deliveries_end_as_they_should() {
    let running = Running::start(&[]).await;
    let fleets = fleets(1);
    let events = events::onboarding(&fleets[0]);
    let deliver = async |faults: Faults| running.stack.simulator.deliver(&events[0], faults).await;
    let corrupt = deliver(Faults {
        corrupt: true,
        ..Faults::default()
    })
    .await;
    assert_eq!(corrupt[0].outcome, Outcome::Accepted);
    assert_eq!(corrupt[0].attempts.len(), 2);
    let forged = deliver(Faults {
        forged: true,
        ..Faults::default()
    })
    .await;
    assert_eq!(forged[0].outcome, Outcome::Dropped);
    let late = Duration::from_secs(3 * 24 * 60 * 60);
    let late = deliver(Faults {
        late,
        ..Faults::default()
    })
    .await;
    assert_eq!(late[0].outcome, Outcome::Accepted);
    let outcomes = running.settled(Duration::from_secs(30)).await;
    assert_eq!(outcomes.get("applied"), Some(&1), "{outcomes:?}");
    assert_eq!(outcomes.get("no-news"), Some(&1), "{outcomes:?}");
    let unmatched = running.outcomes("webhook-ingest")["unmatched"];
    assert_eq!(unmatched, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_deliveries_across_a_rotation_lose_none() {
    let running = Running::start(&[]).await;
    let stack = &running.stack;
    let secret = stack.deployment.output("KeyringSecretId").unwrap();
    let put = async |keys: Value| {
        let document = json!({ "version": 1, "shared": keys }).to_string();
        let input = json!({ "SecretId": secret, "SecretString": document });
        stack
            .aws
            .secrets_manager("PutSecretValue", input)
            .await
            .unwrap();
    };
    let (old, new) = (
        stack.signing_key.as_str(),
        "the-key-that-comes-next-0123456789",
    );
    let scenario = Scenario::onboarding(334).seed(1);
    let rotation = async {
        let queued = async |at_least: usize| {
            while running
                .outcomes("webhook-ingest")
                .get("queued")
                .copied()
                .unwrap_or(0)
                < at_least
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // First the keyring knows both, then Catena signs with the new one, then the old one goes.
        queued(700).await;
        put(json!([new, old])).await;
        stack.simulator.set_key(None, new);
        queued(1400).await;
        put(json!([new])).await;
    };
    let (report, ()) = tokio::join!(stack.simulator.run(&scenario), rotation);
    assert_eq!(
        (report.deliveries, report.accepted),
        (2004, 2004),
        "{:?}",
        report.statuses
    );
    assert_eq!((report.refused, report.dead_letters), (0, 0));
    let outcomes = running.settled(Duration::from_secs(60)).await;
    let queued = running.outcomes("webhook-ingest")["queued"];
    assert_eq!(queued, 2004, "{outcomes:?}");
    let records = running.items().await;
    let connected = records
        .iter()
        .filter(|item| item["stage"]["S"] == "connected")
        .count();
    assert_eq!(connected, 334);
}

/// Ten minutes of outage at a back-off of 2 s up to 5 min, at a twentieth of the time: 30 s at 1 s up to 15 s.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_table_leaves_the_dead_letter_queue_empty() {
    let settings = [
        ("BACKOFF_BASE_SECONDS", "1"),
        ("BACKOFF_MAX_SECONDS", "15"),
        ("DEADLINE_SECONDS", "5"),
    ];
    let running = Running::start(&settings).await;
    let fleets = fleets(5);
    let events: Vec<Envelope> = fleets.iter().flat_map(events::onboarding).collect();
    running.stack.wire.fault(
        "event-processor",
        "dynamodb:*",
        Fault::error(500, "InternalServerError"),
    );
    running.deliver(&events, false).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let during = running.outcomes("event-processor");
    assert_eq!(during.keys().collect::<Vec<_>>(), ["retried"]);
    running.stack.wire.heal();
    running.settled(Duration::from_secs(60)).await;
    assert_eq!(running.dead_letters().await, 0);
    running.assert_equal_to_oracle(&fleets, &events).await;
}

#[test]
fn metric_filters_count_outcomes_that_exist() {
    let template = Template::read(&Options::default().template).unwrap();
    let resources = template.json()["Resources"].as_object().unwrap();
    let patterns = resources
        .values()
        .filter_map(|resource| resource["Properties"]["FilterPattern"].as_str());
    let outcomes: BTreeSet<&str> = patterns
        .flat_map(|pattern| pattern.split("$.outcome = \"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    // Each of these words but `swept` is asserted in the functions' output by another test.
    let printed = [
        "applied",
        "large-record",
        "operation-unknown",
        "oversize",
        "parked-unresolved",
        "quarantined",
        "subscription-given-up",
        "subscription-gone",
        "subscription-paused",
        "subscription-unknown",
        "swept",
        "unmatched-known",
        "webhooks-silent",
    ];
    assert_eq!(outcomes, BTreeSet::from(printed));
}

#[test]
fn functions_and_operators_compute_by_one_policy_whose_defaults_are_the_codes() {
    let template = Template::read(&Options::default().template).unwrap();
    let template = template.json();
    let output = &template["Outputs"]["Policy"]["Value"];
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let policy = &resource["Properties"]["Environment"]["Variables"]["POLICY"];
        assert!(policy.is_null() || policy == output, "{name}");
    }
    let mut text = output["Fn::Sub"].as_str().unwrap().to_owned();
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        let default = &parameter["Default"];
        let default = default.as_str().map_or(default.to_string(), str::to_owned);
        text = text.replace(&format!("${{{name}}}"), &default);
    }
    let policy: Policy = serde_json::from_str(&text).unwrap();
    assert_eq!(policy, Policy::default());
    let keys = |policy: &Value| policy.as_object().unwrap().keys().cloned().collect();
    let (of_code, of_template): (BTreeSet<String>, BTreeSet<String>) = (
        keys(&serde_json::to_value(policy).unwrap()),
        keys(&serde_json::from_str(&text).unwrap()),
    );
    assert_eq!(of_code, of_template);
}

/// Functions are built on their first event, which takes too long here; that they get their settings doesn't.
#[tokio::test(flavor = "multi_thread")]
async fn cargo_lambda_watch_takes_the_settings_of_all_functions() {
    let options = Options::default();
    if !options.tools.join("package/bin/cargo-lambda").exists() {
        let required = std::env::var_os("CI").is_some();
        assert!(
            !required,
            "cargo-lambda is missing: `cargo xtask package` installs it"
        );
        eprintln!(
            "SKIPPED: cargo-lambda isn't there; `cargo xtask dev` installs it below target/tools/package"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(Options {
        folder: folder.path().to_owned(),
        watch: true,
        ..options
    });
    let stack = stack.await.unwrap();
    assert!(stack.stack_json().exists());
}

//! From a fresh deployment to a connected fleet, and all that happens to subscriptions afterwards: the operator's program against the
//! simulator's notification API.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use local::{CREDENTIALS_JSON, Options, wire::Wire};
use serde_json::{Value, json};
use simulator::{
    CLIENT_SECRET, Faults, Filters, Fleet, Scenario, SubscriptionRules, SubscriptionStatus,
    SubscriptionTruth, WildcardDuplicate, events,
};
use store::timestamp;
use subscriptions::{KEYRING_LEASE_MS, KeyName, Ledger};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::{cli::printed, stack::Running};

/// A fresh stack, and its operator, whose calls go by lanes of wires: to AWS, to Catena, and to the partner API. Nothing that the
/// program prints may hold a secret.
pub(crate) struct Operator {
    pub(crate) running: Running,
    /// To AWS, to Catena and to the partner API.
    pub(crate) wires: [Wire; 3],
    folder: TempDir,
    secrets: Mutex<BTreeSet<String>>,
}

/// All that subscriptions are made of: what Catena has, and what is written down here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) at_catena: Vec<SubscriptionTruth>,
    pub(crate) ledger: Option<String>,
    pub(crate) keyring: String,
}

impl Operator {
    pub(crate) async fn fresh() -> Self {
        let running = Running::fresh().await;
        let stack = &running.stack;
        let wires = [
            Wire::new(stack.aws.endpoint()).unwrap(),
            Wire::new(stack.simulator.url()).unwrap(),
            Wire::keeping_host(stack.url("").trim_end_matches('/')).unwrap(),
        ];
        let [aws, catena, partner] = [&wires[0], &wires[1], &wires[2]].map(|it| it.lane(LANE));
        let [aws, catena, partner] = [aws.await, catena.await, partner.await].map(Result::unwrap);
        let described = std::fs::read(stack.stack_json()).unwrap();
        let mut described: Value = serde_json::from_slice(&described).unwrap();
        described["aws_endpoint_url"] = json!(aws);
        described["catena_token_url"] = json!(catena.clone() + simulator::TOKEN_PATH);
        described["catena_api_url"] = json!(catena);
        described["partner_api_url"] = json!(partner);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stack.json"), described.to_string()).unwrap();
        let secrets = Mutex::new(BTreeSet::from([CLIENT_SECRET.to_owned()]));
        Self {
            running,
            wires,
            folder,
            secrets,
        }
    }

    /// The file with Catena's credentials.
    pub(crate) fn credentials(&self) -> String {
        let file = self.running.stack.stack_json();
        let file = file.with_file_name(CREDENTIALS_JSON);
        file.to_str().unwrap().to_owned()
    }

    /// The program with these arguments, to be started; nobody is there to be asked.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let program = Options::default().binaries.join("kingpin");
        let mut command = Command::new(program);
        command
            .arg("--local")
            .arg(self.path("stack.json"))
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// What the program prints and how it ends, without any secret.
    pub(crate) async fn ask(&self, arguments: &str) -> Output {
        let mut command = self.command(arguments);
        let output = tokio::task::block_in_place(|| command.output()).unwrap();
        self.assert_tells_no_secret(&output).await;
        output
    }

    /// What it prints as JSON, having done all.
    pub(crate) async fn json(&self, arguments: &str) -> Value {
        let output = self.ask(&format!("--json {arguments}")).await;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told} {output:?}");
        serde_json::from_str(&printed(&output)).unwrap()
    }

    /// What it prints as JSON, having left something.
    async fn left(&self, arguments: &str) -> Value {
        let output = self.ask(&format!("--json {arguments}")).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    async fn text(&self, arguments: &str) -> String {
        printed(&self.ask(arguments).await)
    }

    /// Those that were keys at any time are secrets still.
    pub(crate) async fn assert_tells_no_secret(&self, output: &Output) {
        let world = self.world().await;
        let mut secrets = self.secrets.lock().unwrap();
        secrets.extend(keys(&world.keyring));
        secrets.extend(world.at_catena.into_iter().map(|it| it.secret));
        for told in [&output.stdout, &output.stderr] {
            let told = String::from_utf8_lossy(told);
            let secret = secrets.iter().find(|secret| told.contains(*secret));
            assert_eq!(secret, None, "{told}");
        }
    }

    /// What there is now.
    pub(crate) async fn world(&self) -> World {
        let stack = &self.running.stack;
        let get = json!({ "TableName": stack.table().unwrap(), "Key": ledger_key(), "ConsistentRead": true });
        let found = stack.aws.dynamodb("GetItem", get).await.unwrap();
        let ledger = found["Item"]["document"]["S"].as_str();
        let mut at_catena = stack.simulator.subscriptions();
        at_catena.retain(|it| it.status != SubscriptionStatus::Deleted);
        World {
            at_catena,
            ledger: ledger.map(str::to_owned),
            keyring: self.keyring().await,
        }
    }

    async fn keyring(&self) -> String {
        let get = json!({ "SecretId": self.output("KeyringSecretId") });
        let aws = &self.running.stack.aws;
        let found = aws.secrets_manager("GetSecretValue", get).await.unwrap();
        found["SecretString"].as_str().unwrap().to_owned()
    }

    /// Makes all as it was once.
    pub(crate) async fn restore(&self, world: &World) {
        let stack = &self.running.stack;
        stack
            .simulator
            .restore_subscriptions(&world.at_catena)
            .unwrap();
        self.write_ledger(world.ledger.as_deref()).await;
        self.put("KeyringSecretId", &world.keyring).await;
    }

    async fn write_ledger(&self, ledger: Option<&str>) {
        let stack = &self.running.stack;
        let table = stack.table().unwrap();
        match ledger {
            Some(ledger) => {
                let mut item = ledger_key();
                item["document"] = json!({ "S": ledger });
                let put = json!({ "TableName": table, "Item": item });
                stack.aws.dynamodb("PutItem", put).await.unwrap();
            }
            None => {
                let delete = json!({ "TableName": table, "Key": ledger_key() });
                stack.aws.dynamodb("DeleteItem", delete).await.unwrap();
            }
        }
    }

    /// Takes Catena's credentials back.
    pub(crate) async fn forget_credentials(&self) {
        self.put("CatenaSecretId", "{}").await;
    }

    async fn put(&self, secret: &str, text: &str) {
        let put = json!({ "SecretId": self.output(secret), "SecretString": text });
        let aws = &self.running.stack.aws;
        aws.secrets_manager("PutSecretValue", put).await.unwrap();
    }

    fn output(&self, name: &str) -> &str {
        self.running.stack.deployment.output(name).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// There is one subscription per event, for all fleets, active, to this stack, signed with the current key, and written down, and
    /// the keyring names it. `others` are somebody else's.
    pub(crate) fn assert_settled(&self, world: &World, others: &BTreeSet<uuid::Uuid>) {
        let ours: Vec<&SubscriptionTruth> = world
            .at_catena
            .iter()
            .filter(|it| !others.contains(&it.id))
            .collect();
        let all_keys = keys(&world.keyring);
        let document: Value = serde_json::from_str(&world.keyring).unwrap();
        let current = match &document["shared"] {
            Value::Array(keys) => keys.last().unwrap().as_str().unwrap(),
            key => key.as_str().unwrap(),
        };
        for it in &ours {
            assert_eq!(it.url, self.running.stack.webhook_url(), "{it:?}");
            assert_eq!(it.filters, Filters::default(), "{it:?}");
            assert_eq!(it.status, SubscriptionStatus::Active, "{it:?}");
            assert_eq!(it.secret, current, "{it:?} {all_keys:?}");
            let own = &document["by_webhook_id"][it.id.to_string()];
            assert!(own.is_array(), "the keyring doesn't name {it:?}");
        }
        let names: BTreeSet<&str> = ours.iter().map(|it| it.event_name.as_str()).collect();
        assert_eq!(names.len(), ours.len(), "something is there twice");
        for name in DOCUMENTED {
            assert!(names.contains(name), "{name} isn't subscribed");
        }
        let ledger = Ledger::read(world.ledger.as_deref()).unwrap();
        let written = ledger.ours.iter();
        let written: BTreeMap<String, (&str, Option<KeyName>, Option<&str>)> = written
            .map(|(id, it)| {
                (
                    id.clone(),
                    (it.event_name.as_str(), it.key.clone(), it.url.as_deref()),
                )
            })
            .collect();
        let expected = ours.iter().map(|it| {
            let is = (
                it.event_name.as_str(),
                Some(KeyName::of(&it.secret)),
                Some(it.url.as_str()),
            );
            (it.id.to_string(), is)
        });
        assert_eq!(written, expected.collect());
        assert_eq!(ledger.asked, None);
        assert!(!is_leased(&ledger), "the keyring is leased for long");
    }

    /// As [`Operator::assert_settled`], now, and nothing is to do.
    async fn assert_all_is_well(&self, others: &[uuid::Uuid]) {
        let world = self.world().await;
        self.assert_settled(&world, &others.iter().copied().collect());
        let plan = self.json("subscription plan").await;
        assert_eq!(plan["steps"], json!([]), "{plan}");
        assert_eq!(self.world().await, world);
    }
}

/// All keys of a keyring.
pub(crate) fn keys(keyring: &str) -> BTreeSet<String> {
    fn texts(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                into.insert(text.clone());
            }
            Value::Array(all) => all.iter().for_each(|it| texts(it, into)),
            Value::Object(all) => all.values().for_each(|it| texts(it, into)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    texts(&serde_json::from_str(keyring).unwrap(), &mut all);
    all
}

/// Whether nobody may change the keyring for longer than a lease lasts. Whoever was killed after the change leaves what is left of theirs.
fn is_leased(ledger: &Ledger) -> bool {
    let longest = timestamp(OffsetDateTime::now_utc()).plus(KEYRING_LEASE_MS);
    let until = ledger.keyring_leased_until;
    until.is_some_and(|until| until > longest)
}

fn ledger_key() -> Value {
    json!({ "pk": { "S": "SUBSCRIPTIONS" }, "sk": { "S": "LEDGER" } })
}

/// What a check, a note or a step is about: by the name of its kind and the event's.
fn named(all: &Value, kind: &str) -> BTreeSet<(String, String)> {
    let all = all.as_array().unwrap().iter();
    all.map(|it| {
        let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
        (text(kind), text("event_name"))
    })
    .collect()
}

fn pairs(all: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    let all = all.iter();
    all.map(|(one, other)| ((*one).to_owned(), (*other).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_stack_is_set_up_by_one_command_and_its_first_fleet_gets_connected() {
    let operator = &Operator::fresh().await;
    let simulator = &operator.running.stack.simulator;
    // Nothing is there, and both say so.
    let plan = operator.ask("subscription plan").await;
    assert_eq!(plan.status.code(), Some(1), "{plan:?}");
    let told = String::from_utf8_lossy(&plan.stderr).into_owned();
    assert!(told.contains("no credentials for Catena"), "{told}");
    let stopped = operator.left("setup --invite FLEET-1").await;
    assert_eq!(stopped["complete"], false, "{stopped}");
    assert!(simulator.invitation("FLEET-1").is_none());

    let setup = format!(
        "setup --credentials {} --invite FLEET-1",
        operator.credentials()
    );
    let start = Instant::now();
    let set_up = operator.json(&setup).await;
    println!("setup: {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(set_up["complete"], true, "{set_up:#}");
    assert_eq!(set_up["counts"]["fail"], 0, "{set_up:#}");
    assert_eq!(set_up["invitation"]["outcome"], "created", "{set_up:#}");
    assert!(simulator.invitation("FLEET-1").is_some());
    operator.assert_all_is_well(&[]).await;

    // By webhooks of these subscriptions alone.
    let report = simulator.run(&Scenario::invited(["FLEET-1"])).await;
    simulator.idle().await;
    assert!(report.deliveries >= 5, "{report:?}");
    assert_eq!(report.accepted, report.deliveries, "{report:?}");
    operator.running.settled(Duration::from_secs(60)).await;
    let ids = operator.world().await.at_catena;
    let ids: BTreeSet<_> = ids.into_iter().map(|it| it.id).collect();
    let sent = simulator.deliveries();
    assert!(sent.iter().all(|it| ids.contains(&it.webhook_id)));
    let shown = operator.json("fleet show FLEET-1").await;
    assert_eq!(shown["stage"], "connected", "{shown}");
    assert_eq!(shown["admission"]["kind"], "full", "{shown}");

    let before = operator.world().await;
    let again = operator.json(&setup).await;
    assert_eq!(again["complete"], true, "{again:#}");
    assert_eq!(again["invitation"]["outcome"], "unchanged", "{again:#}");
    assert_eq!(operator.world().await, before);
    let text = operator.text(&setup).await;
    assert!(text.contains("All is set up."), "{text}");

    let doctor = operator.json("doctor").await;
    assert_eq!(doctor["counts"]["fail"], 0, "{doctor:#}");
    let status = operator.json("subscription status").await;
    let rows = status["subscriptions"].as_array().unwrap();
    assert_eq!(rows.len(), ids.len());
    for row in rows {
        assert_eq!(
            (&row["state"], &row["has_current_key"]),
            (&json!("active"), &json!(true))
        );
    }
    let sent: f64 = rows.iter().map(|it| it["sent_24h"].as_f64().unwrap()).sum();
    assert!(sent >= 5.0, "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_subscriptions_is_named_and_what_is_ours_is_mended() {
    let operator = &Operator::fresh().await;
    let simulator = &operator.running.stack.simulator;
    operator
        .json(&format!("setup --credentials {}", operator.credentials()))
        .await;
    operator.assert_all_is_well(&[]).await;
    let text = operator.text("subscription plan").await;
    assert!(text.starts_with("Nothing is to do"), "{text}");
    let plan = operator.json("subscription plan").await;
    assert_eq!((&plan["steps"], &plan["notes"]), (&json!([]), &json!([])));
    let ours = operator.world().await;

    let mut disturbed = ours.clone();
    disturbed
        .at_catena
        .retain(|it| it.event_name != "schedule.deactivated");
    let of = |name: &str| {
        ours.at_catena
            .iter()
            .find(|it| it.event_name == name)
            .unwrap()
    };
    for it in &mut disturbed.at_catena {
        if it.event_name == "execution.failed" {
            it.status = SubscriptionStatus::Paused;
        }
    }
    operator.restore(&disturbed).await;
    // Without a word, or the reconciler would mend it at once.
    simulator.set_events(false);
    simulator
        .make_subscription_stale(of("tsp.created").id)
        .unwrap();
    simulator.set_events(true);
    let url = operator.running.stack.webhook_url();
    let elsewhere = |name, url, filters| {
        let made = simulator.create_subscription_elsewhere(name, url, filters);
        made.unwrap()
    };
    let none = Filters::default;
    let others = [
        elsewhere(
            "connection.staled",
            "https://other.example.com/hook",
            none(),
        ),
        elsewhere("connection.staled", url, none()),
        elsewhere("invitation.created", url, Filters::of_fleet("FLEET-9")),
        elsewhere("vehicle.added", url, none()),
    ];
    let duplicate = others[1];
    // It waits for the stale one.
    let invited_at = OffsetDateTime::now_utc();
    let event = events::tsp_created(&Fleet::new("FLEET-2", invited_at), invited_at);
    simulator.deliver(&event, Faults::default()).await;
    let truths = |world: &World| -> Vec<SubscriptionTruth> {
        let all = world.at_catena.iter();
        all.filter(|it| others.contains(&it.id)).cloned().collect()
    };
    let before = operator.world().await;

    let plan = operator.json("subscription plan").await;
    let steps = pairs(&[
        ("activate", "execution.failed"),
        ("activate", "tsp.created"),
        ("create", "schedule.deactivated"),
    ]);
    assert_eq!(named(&plan["steps"], "step"), steps, "{plan:#}");
    let notes = pairs(&[
        ("foreign", "connection.staled"),
        ("duplicate", "connection.staled"),
        ("scoped", "invitation.created"),
        ("unknown", "vehicle.added"),
    ]);
    assert_eq!(named(&plan["notes"], "note"), notes, "{plan:#}");
    let text = operator.text("subscription plan").await;
    for words in [
        "which is paused",
        "which is stale",
        "was deleted",
        "other.example.com",
        "FLEET-9",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let status = operator.json("subscription status").await;
    let row = status["subscriptions"].as_array().unwrap().iter();
    let states: BTreeMap<&str, (&str, &Value)> = row
        .map(|it| {
            (
                it["event_name"].as_str().unwrap(),
                (it["state"].as_str().unwrap(), &it["dead_letters"]),
            )
        })
        .collect();
    assert_eq!(states["schedule.deactivated"], ("gone", &Value::Null));
    assert_eq!(states["execution.failed"], ("paused", &json!(0)));
    assert_eq!(states["tsp.created"], ("stale", &json!(1)));
    let doctor = operator.left("doctor").await;
    let checks = doctor["checks"].as_array().unwrap().iter();
    let failed: Vec<&Value> = checks
        .filter(|it| it["result"] == "fail")
        .map(|it| &it["check"])
        .collect();
    assert_eq!(failed, ["subscriptions"], "{doctor:#}");
    assert_eq!(operator.world().await, before);

    // Dead letters are replayed, and wait again as long as it is stale.
    let dry_run = operator.json("subscription replay --dry-run").await;
    assert_eq!(
        named(&dry_run["subscriptions"], "event_name"),
        pairs(&[("tsp.created", "tsp.created")])
    );
    let applied = operator.json("subscription apply").await;
    let mut done = named(&applied["done"], "step");
    assert!(done.remove(&("name".to_owned(), String::new())));
    // What was deleted is forgotten once there is another one.
    assert!(done.remove(&("forget".to_owned(), "schedule.deactivated".to_owned())));
    assert_eq!(done, steps, "{applied:#}");
    simulator.idle().await;
    let after = operator.world().await;
    assert_eq!(truths(&after), truths(&before));
    assert!(after.at_catena.iter().all(|it| it.dead_letters == 0));
    operator.assert_all_is_well(&others).await;
    let replayed = operator.text("subscription replay").await;
    assert!(
        replayed.starts_with("There are no dead letters"),
        "{replayed}"
    );

    // Another URL than the ledger knows, as after the domain changed.
    let mut moved = after.clone();
    moved.ledger = after
        .ledger
        .as_ref()
        .map(|it| it.replace("/webhooks/catena", "/before"));
    for it in &mut moved.at_catena {
        if !others.contains(&it.id) {
            it.url = it.url.replace("/webhooks/catena", "/before");
        }
    }
    operator.restore(&moved).await;
    // One can't move to where somebody else's is, and is left until that is gone. All the others are moved.
    let applied = operator.left("subscription apply").await;
    let left = pairs(&[("update", "connection.staled")]);
    assert_eq!(named(&applied["left"], "step"), left, "{applied:#}");
    let count = after.at_catena.len() - others.len();
    assert_eq!(applied["done"].as_array().unwrap().len(), count - 1);
    let others = [others[0], others[2], others[3]];
    let duplicate = format!("subscription delete {duplicate} --yes");
    let deleted = operator.json(&duplicate).await;
    assert_eq!(deleted["deleted"][0]["event_name"], "connection.staled");
    operator.json("subscription apply").await;
    operator.assert_all_is_well(&others).await;
    let unknown = operator.ask(&duplicate).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");

    let unasked = operator
        .ask(&format!("subscription adopt {}", others[2]))
        .await;
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    let adopt = format!("subscription adopt {} --yes", others[2]);
    operator.json(&adopt).await;
    operator.assert_all_is_well(&others[..2]).await;
    let twice = operator.ask(&adopt).await;
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");

    operator.json("subscription delete --all --yes").await;
    let left = operator.world().await;
    let mut expected = truths(&before);
    expected.retain(|it| others[..2].contains(&it.id));
    assert_eq!(left.at_catena, expected);
    let ledger = Ledger::read(left.ledger.as_deref()).unwrap();
    assert_eq!(ledger, Ledger::default());
    // Keys stay in their secret, and no subscription is named.
    assert_eq!(keys(&left.keyring), keys(&ours.keyring));
    let document: Value = serde_json::from_str(&left.keyring).unwrap();
    assert_eq!(document["by_webhook_id"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_catena_refuses_or_has_already_is_told_and_never_made_twice() {
    let operator = &Operator::fresh().await;
    let simulator = &operator.running.stack.simulator;
    operator
        .json(&format!("setup --credentials {}", operator.credentials()))
        .await;
    let settled = operator.world().await;
    let nothing = &World {
        at_catena: Vec::new(),
        ledger: None,
        ..settled.clone()
    };
    let refusing = |names: &[&str]| {
        simulator.set_subscription_rules(SubscriptionRules {
            refused_events: names.iter().map(|it| (*it).to_owned()).collect(),
            ..SubscriptionRules::default()
        });
    };
    // Refused and not needed: told, and not asked for again.
    operator.restore(nothing).await;
    refusing(&["tsp.requested"]);
    let applied = operator.json("subscription apply").await;
    assert_eq!(
        named(&applied["notes"], "note"),
        pairs(&[("refused", "tsp.requested")])
    );
    let text = operator.text("subscription plan").await;
    assert!(
        text.contains("refused to subscribe tsp.requested"),
        "{text}"
    );
    simulator.clear_api_calls();
    operator.json("subscription apply").await;
    let posts = simulator.api_calls();
    let posts = posts
        .iter()
        .filter(|it| it.method == "POST" && it.path.contains("/webhooks"));
    assert_eq!(posts.count(), 0);
    let doctor = operator.json("doctor").await;
    assert_eq!(doctor["counts"]["fail"], 0, "{doctor:#}");

    // Refused and needed.
    operator.restore(nothing).await;
    refusing(&["tsp.created"]);
    let applied = operator.left("subscription apply").await;
    assert_eq!(
        applied["refused"][0]["step"]["event_name"], "tsp.created",
        "{applied:#}"
    );
    assert_eq!(applied["refused"].as_array().unwrap().len(), 1);
    refusing(&[]);
    operator.json("subscription apply").await;
    operator.assert_all_is_well(&[]).await;

    // One of a catch-all's is there, made with our URL by hand.
    for wildcard_duplicate in [
        WildcardDuplicate::RefuseAll,
        WildcardDuplicate::CreateMissing,
    ] {
        operator.restore(nothing).await;
        simulator.set_subscription_rules(SubscriptionRules {
            wildcard_duplicate,
            ..SubscriptionRules::default()
        });
        let url = operator.running.stack.webhook_url();
        let other =
            simulator.create_subscription_elsewhere("connection.staled", url, Filters::default());
        other.unwrap();
        let applied = operator.json("subscription apply").await;
        println!(
            "{wildcard_duplicate:?}: {} steps",
            applied["done"].as_array().unwrap().len()
        );
        operator.assert_all_is_well(&[]).await;
    }

    // The table lost what was written down.
    for wildcard_duplicate in [
        WildcardDuplicate::RefuseAll,
        WildcardDuplicate::CreateMissing,
    ] {
        simulator.set_subscription_rules(SubscriptionRules {
            wildcard_duplicate,
            ..SubscriptionRules::default()
        });
        operator
            .restore(&World {
                ledger: None,
                ..settled.clone()
            })
            .await;
        operator.json("subscription apply").await;
        operator.assert_all_is_well(&[]).await;
        let ids =
            |world: &World| -> BTreeSet<_> { world.at_catena.iter().map(|it| it.id).collect() };
        assert_eq!(ids(&operator.world().await), ids(&settled));
    }

    // Two of them could be the one.
    operator
        .restore(&World {
            ledger: None,
            ..settled.clone()
        })
        .await;
    let url = operator.running.stack.webhook_url();
    let other = simulator.create_subscription_elsewhere(
        "tsp.created",
        &url.replace("catena", "other"),
        Filters::default(),
    );
    let other = other.unwrap();
    let applied = operator.left("subscription apply").await;
    assert!(
        named(&applied["notes"], "note")
            .contains(&("ambiguous".to_owned(), "tsp.created".to_owned())),
        "{applied:#}"
    );
    let right = settled
        .at_catena
        .iter()
        .find(|it| it.event_name == "tsp.created")
        .unwrap();
    operator
        .json(&format!("subscription adopt {} --yes", right.id))
        .await;
    operator.assert_all_is_well(&[other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_loses_no_webhook_and_retires_the_old_key_once_the_new_one_is_proved() {
    let operator = &Operator::fresh().await;
    let simulator = &operator.running.stack.simulator;
    operator
        .json(&format!("setup --credentials {}", operator.credentials()))
        .await;
    let old = keys(&operator.world().await.keyring);
    let proof = |rotated: &Value, name: &str| -> String {
        let mut all = rotated["subscriptions"].as_array().unwrap().iter();
        let found = all.find(|it| it["event_name"] == name);
        let found = found.unwrap_or_else(|| panic!("{name}: {rotated}"));
        found["proof"].as_str().unwrap().to_owned()
    };
    let onboard = async |fleet: &str| {
        operator.json(&format!("invite {fleet}")).await;
        let report = simulator.run(&Scenario::invited([fleet])).await;
        simulator.idle().await;
        assert_eq!(report.accepted, report.deliveries, "{report:?}");
        operator.running.settled(Duration::from_secs(60)).await;
        let shown = operator.json(&format!("fleet show {fleet}")).await;
        assert_eq!(shown["stage"], "connected", "{shown}");
    };

    let rotated = operator.left("subscription rotate --wait 0s").await;
    assert_eq!(
        (&rotated["begun"], &rotated["retired"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(proof(&rotated, "connection.created"), "silent");
    let both = keys(&operator.world().await.keyring);
    assert!(both.len() == 2 && both.is_superset(&old));
    operator.assert_all_is_well(&[]).await;
    // As if it had been given a while ago: what left before the change proves nothing.
    let later = operator.world().await;
    let mut ledger = Ledger::read(later.ledger.as_deref()).unwrap();
    for ours in ledger.ours.values_mut() {
        ours.key_since = ours.key_since.map(|at| at.plus(-60_000));
    }
    operator.write_ledger(Some(&ledger.text())).await;
    onboard("FLEET-1").await;

    // One signs with a key that nobody knows: its deliveries are dead letters, and the old key stays.
    let world = operator.world().await;
    let mut one = world.at_catena.iter();
    let one = one.find(|it| it.event_name == "tsp.created").unwrap();
    simulator.set_key(Some(one.id), "somebody-elses-key-of-32-characters");
    let at = OffsetDateTime::now_utc();
    let event = events::tsp_created(&Fleet::new("FLEET-2", at), at);
    simulator.deliver(&event, Faults::default()).await;
    let retire = "subscription rotate --wait 0s --even-if-silent";
    let rotated = operator.left(retire).await;
    assert_eq!(
        (&rotated["begun"], &rotated["retired"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(proof(&rotated, "tsp.created"), "dead_letters");
    assert_eq!(proof(&rotated, "invitation.accepted"), "delivered");
    assert_eq!(proof(&rotated, "execution.failed"), "silent");
    simulator.idle().await;
    assert_eq!(keys(&operator.world().await.keyring), both);
    simulator.set_key(Some(one.id), &one.secret);
    operator.json("subscription replay").await;
    simulator.idle().await;

    let rotated = operator.json(retire).await;
    assert_eq!(rotated["retired"], true, "{rotated:#}");
    assert_eq!(proof(&rotated, "tsp.created"), "delivered");
    let new = keys(&operator.world().await.keyring);
    assert_eq!(new, both.difference(&old).cloned().collect());
    operator.assert_all_is_well(&[]).await;
    onboard("FLEET-3").await;
}

/// What Kingpin needs and the contract documents (contract 6.10, 8).
const DOCUMENTED: [&str; 23] = [
    "invitation.created",
    "invitation.viewed",
    "invitation.sent",
    "invitation.accepted",
    "invitation.declined",
    "invitation.expired",
    "invitation.deleted",
    "share_agreement.created",
    "share_agreement.updated",
    "share_agreement.deleted",
    "connection.created",
    "connection.staled",
    "fleet_connection.created",
    "resource_operation.created",
    "resource_operation.succeeded",
    "resource_operation.failed",
    "webhook.staled",
    "webhook.deleted",
    "execution.failed",
    "execution.staled",
    "schedule.deactivated",
    "tsp.created",
    "webhook.created",
];
/// The operator's, on each wire.
pub(crate) const LANE: &str = "kingpin";

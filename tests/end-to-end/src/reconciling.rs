//! What no webhook tells: the deployed reconciler asks the simulator of Catena.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use axum::http::Method;
use fleet::{FleetRef, Policy, Standing};
use serde_json::{Value, json};
use simulator::Scenario;
use store::{StoredRecord, timestamp};
use time::OffsetDateTime;

use crate::{backend::depth, stack::Running};

/// A stack whose waits are a hundredth of what is usual, and whose sweeps the test asks for.
pub(crate) struct Watched {
    pub(crate) running: Running,
    pub(crate) policy: Policy,
}

impl Watched {
    pub(crate) async fn start(parameters: &[(&str, &str)]) -> Self {
        let mut all = vec![("Sweep", "DISABLED"), ("WaitPercent", "1")];
        all.extend(parameters);
        let environment = [("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "5")];
        let running = Running::with_parameters(&all, &environment).await;
        let policy = running.stack.deployment.output("Policy").unwrap();
        let policy = serde_json::from_str(policy).unwrap();
        Self { running, policy }
    }

    /// Invokes the function as the schedule does; what the sweep found.
    pub(crate) async fn sweep(&self) -> Value {
        let name = self.running.stack.deployment.functions["reconciler"]
            .name
            .clone();
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let aws = &self.running.stack.aws;
        let input = Some(json!({ "sweep": true }));
        aws.rest("lambda", Method::POST, &path, input)
            .await
            .unwrap()
    }

    /// Whether there is nothing to look at now, nor by a task that is put off.
    pub(crate) async fn is_quiet(&self) -> bool {
        let stack = &self.running.stack;
        for queue in ["TasksQueueUrl", "EventsQueueUrl"] {
            let url = stack.deployment.output(queue).unwrap();
            if depth(&stack.aws, url).await > 0 {
                return false;
            }
        }
        let now = OffsetDateTime::now_utc();
        self.running
            .table()
            .await
            .due(now, 1)
            .await
            .unwrap()
            .is_empty()
    }

    /// Whether tasks reach the function, from now on.
    pub(crate) async fn work_off_tasks(&self, enabled: bool) {
        let aws = &self.running.stack.aws;
        let name = &self.running.stack.deployment.functions["reconciler"].name;
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

    /// Sweeps once a second until `done` holds.
    pub(crate) async fn sweep_until(&self, limit: Duration, done: impl AsyncFn() -> bool) {
        let give_up = Instant::now() + limit;
        while !done().await {
            assert!(
                Instant::now() < give_up,
                "it never came to that: {:?}",
                self.outcomes()
            );
            self.sweep().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    pub(crate) async fn record(&self, fleet: &str) -> StoredRecord {
        let table = self.running.table().await;
        table
            .record(&FleetRef::parse(fleet).unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn standing(&self, fleet: &str) -> Standing {
        let now = timestamp(OffsetDateTime::now_utc());
        self.record(fleet).await.record.standing(&self.policy, now)
    }

    /// What the reconciler did, by outcome.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, usize> {
        self.running.outcomes("reconciler")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_webhooks_are_all_lost_is_found_connected() {
    let watched = Watched::start(&[]).await;
    let simulator = &watched.running.stack.simulator;
    let report = simulator.run(&Scenario::onboarding(3)).await;
    println!("{report:?}");
    watched.running.settled(Duration::from_secs(30)).await;
    println!("{}", watched.sweep().await);
    for fleet in simulator.fleet_refs() {
        println!(
            "{fleet}: {:?}\n{:?}",
            watched.standing(&fleet).await.stage,
            simulator.truth(&fleet)
        );
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{:?}", watched.outcomes());
    for line in watched.running.stack.logs("reconciler") {
        println!("{line}");
    }
}

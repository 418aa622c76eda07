//! What no webhook tells: the deployed reconciler asks the simulator of Catena.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::http::Method;
use fleet::{
    Admission, Agreement, AgreementStatus, At, Claim, Code, Decision, Fact, FleetRef,
    InvitationFact, Level, Observation, Policy, Stage, Standing, Timestamp, Why,
};
use futures_util::{StreamExt, stream};
use queue::{EventsQueue, Message, Task, TaskMessage, TasksQueue, Told};
use reconciliation::Comparison;
use serde_json::{Value, json};
use simulator::{
    ApiFault, ApiFaultKind, ConnectionStatus, Fleet, HiddenEndpoints, Loss, RateLimit, Scenario,
    ScheduleStatus, Simulator, Telling, events,
};
use store::{Key, StoredRecord, timestamp};
use time::OffsetDateTime;

use crate::{
    backend::{Backend, clients, depth},
    catena::silent,
    drills::scale,
    stack::Running,
};

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
        self.running.work_off_tasks(enabled).await;
    }

    /// Sweeps once a second until `done` holds.
    pub(crate) async fn sweep_until(&self, limit: Duration, done: impl AsyncFn() -> bool) {
        let give_up = Instant::now() + limit;
        while !done().await {
            if Instant::now() > give_up {
                let told = self.running.stack.logs("reconciler").join("\n");
                panic!("it never came to that: {:?}\n{told}", self.outcomes());
            }
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

    pub(crate) fn simulator(&self) -> &Simulator {
        &self.running.stack.simulator
    }

    async fn invited(&self, fleet: &str, body: Value) {
        let path = format!("/fleets/{fleet}/invitation");
        let invited = self
            .running
            .partner()
            .send(Method::PUT, &path, Some(body))
            .await;
        assert_eq!(invited.unwrap().status, 201);
        self.simulator().idle().await;
    }

    /// A fleet that was invited by the partner API and accepted.
    pub(crate) async fn accepted(&self, fleet: &str) {
        self.invited(fleet, json!({ "fleet_name": "Example Trucking" }))
            .await;
        self.simulator().accept_invitation(fleet).unwrap();
        self.simulator().idle().await;
        let accepted = async || self.standing(fleet).await.stage == Stage::Accepted;
        within(Duration::from_secs(30), accepted).await;
    }

    /// A fleet asks Catena for a provider; the request's id.
    pub(crate) fn requests(&self, fleet: &str, provider: &str) -> String {
        let fields = json!({ "fleet_ref": fleet, "ext_tsp_id": external(provider), "ext_tsp_name": provider });
        let fields = fields.as_object().unwrap().clone();
        let request = self.simulator().put_integration_request(fields).unwrap();
        request["id"].as_str().unwrap().to_owned()
    }

    /// Queues what a browser says that came back from Connect, as `redirect` does.
    pub(crate) async fn claim(&self, fleet: &str, claim: Claim) {
        let record = self.record(fleet).await.record;
        let (hash, _) = record.facts.newest_invitation_by_hash().unwrap();
        let now = OffsetDateTime::now_utc();
        let claim = Observation {
            at: At(timestamp(now), 0),
            fact: Fact::Invitation {
                invitation: hash.to_owned(),
                was: InvitationFact::Claim(claim),
            },
        };
        let told = Told {
            fleet: FleetRef::parse(fleet).unwrap(),
            event: "browser.return".to_owned(),
            observations: vec![claim],
        };
        let (_, sqs) = clients(&self.running.stack.aws).await;
        let url = self
            .running
            .stack
            .deployment
            .output("EventsQueueUrl")
            .unwrap();
        let message = Message::told(now.into(), told);
        EventsQueue::new(sqs, url).send(message).await.unwrap();
    }

    pub(crate) async fn tasks(&self) -> TasksQueue {
        let (_, sqs) = clients(&self.running.stack.aws).await;
        TasksQueue::new(
            sqs,
            self.running
                .stack
                .deployment
                .output("TasksQueueUrl")
                .unwrap(),
        )
    }

    async fn tasks_are_done(&self) {
        let url = self
            .running
            .stack
            .deployment
            .output("TasksQueueUrl")
            .unwrap();
        let done = async || depth(&self.running.stack.aws, url).await == 0;
        within(Duration::from_secs(60), done).await;
    }

    pub(crate) async fn dead_tasks(&self) -> usize {
        let url = self
            .running
            .stack
            .deployment
            .output("TasksDeadLetterQueueUrl")
            .unwrap();
        depth(&self.running.stack.aws, url).await
    }

    /// Compares all of Catena's lists with the records, as happens every day, and waits until that is done.
    pub(crate) async fn compare_all(&self) {
        let table = self.running.table().await;
        let shared = table.shared().await.unwrap();
        let anew = Comparison::new(timestamp(OffsetDateTime::now_utc())).text();
        assert!(table.compare(&shared, &anew, None).await.unwrap());
        let done = async || !self.compared().await["finished"].is_null();
        self.sweep_until(Duration::from_secs(60), done).await;
        self.settled().await;
    }

    /// Waits until all that was queued is in its record.
    pub(crate) async fn settled(&self) {
        let urls = ["TasksQueueUrl", "EventsQueueUrl"];
        for _ in 0..2 {
            for url in urls {
                let url = self.running.stack.deployment.output(url).unwrap();
                let done = async || depth(&self.running.stack.aws, url).await == 0;
                within(Duration::from_secs(120), done).await;
            }
        }
    }

    /// What the last comparison found.
    pub(crate) async fn compared(&self) -> Value {
        let shared = self.running.table().await.shared().await.unwrap();
        serde_json::from_str(shared.comparison.as_deref().unwrap_or("{}")).unwrap()
    }

    /// What the reconciler did, by outcome.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, usize> {
        self.running.outcomes("reconciler")
    }
}

/// Waits until something holds.
pub(crate) async fn within(limit: Duration, holds: impl AsyncFn() -> bool) {
    let give_up = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < give_up, "it never came to that");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Of a provider in the external registry.
fn external(provider: &str) -> &'static str {
    match provider {
        "prairie-logs" => "019d6a63-e072-7bcf-a03b-e51a72a4c856",
        other => panic!("no such provider: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fleets_of_which_no_webhook_ever_came_are_imported() {
    let watched = Watched::start(&[]).await;
    let simulator = watched.simulator();
    simulator.set_webhook_loss(Loss {
        share: 1.0,
        seed: 1,
    });
    let report = simulator.run(&Scenario::onboarding(5)).await;
    assert_eq!(report.lost, 30);
    watched.compare_all().await;
    for fleet in simulator.fleet_refs() {
        let standing = watched.standing(&fleet).await;
        assert_eq!(
            (standing.stage, standing.admission),
            (Stage::Connected, Admission::Full)
        );
        assert_eq!(standing.data_scopes.len(), 4);
    }
    let compared = watched.compared().await;
    assert_eq!(
        (
            compared["listed"].as_u64() >= Some(15),
            compared["imported"].as_u64()
        ),
        (true, Some(5)),
        "{compared}"
    );
    // Nothing differs any more.
    watched.compare_all().await;
    let compared = watched.compared().await;
    assert_eq!(
        (compared["healed"].as_u64(), compared["imported"].as_u64()),
        (Some(0), Some(0)),
        "{compared}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_recovers_stops_or_vanishes_without_a_word_is_found() {
    let watched = Watched::start(&[("BrokenDays", "1")]).await;
    let simulator = watched.simulator();
    let report = simulator.run(&Scenario::onboarding(4)).await;
    watched.running.settled(Duration::from_secs(30)).await;
    let fleets: Vec<String> = report
        .fleets
        .iter()
        .map(|it| it.fleet_ref.clone())
        .collect();
    let connection = |n: usize| report.fleets[n].connection_id;
    for n in 0..3 {
        let stale = simulator.connection_becomes(
            connection(n),
            ConnectionStatus::Stale,
            Telling::Announced,
        );
        stale.unwrap();
    }
    let stopped = simulator.schedules_become(
        connection(3),
        Some("vehicle"),
        ScheduleStatus::Inactive,
        Telling::Announced,
    );
    stopped.unwrap();
    simulator.idle().await;
    watched.running.settled(Duration::from_secs(30)).await;
    for fleet in &fleets[..3] {
        assert_eq!(watched.standing(fleet).await.stage, Stage::Degraded);
    }

    let silent = Telling::Silent;
    simulator
        .connection_becomes(connection(0), ConnectionStatus::Active, silent)
        .unwrap();
    simulator
        .connection_becomes(connection(1), ConnectionStatus::Deleted, silent)
        .unwrap();
    simulator.connection_vanishes(connection(2)).unwrap();
    simulator
        .schedules_become(connection(3), None, ScheduleStatus::Active, silent)
        .unwrap();
    let is = async |n: usize, stage: Stage| watched.standing(&fleets[n]).await.stage == stage;
    let runs = async || {
        let due = watched.standing(&fleets[3]).await.due;
        !due.iter().any(|due| due.why == Why::ScheduleStopped)
    };
    let all = async || {
        is(0, Stage::Connected).await
            && is(1, Stage::Disconnected).await
            && is(2, Stage::Disconnected).await
            && runs().await
    };
    watched.sweep_until(Duration::from_secs(90), all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_confirmed_lives_and_ends_as_policy_says() {
    // A day is 86 s / 0.0001.
    let watched = Watched::start(&[("ProvisionalDays", "1"), ("ReconnectDays", "1")]).await;
    let fleet = "REQUESTING";
    watched.accepted(fleet).await;
    let request = watched.requests(fleet, "prairie-logs");
    let provisional = async || {
        let admission = watched.standing(fleet).await.admission;
        matches!(admission, Admission::Provisional { .. })
    };
    watched
        .sweep_until(Duration::from_secs(60), provisional)
        .await;
    let standing = watched.standing(fleet).await;
    assert_eq!(standing.stage, Stage::Requested);
    let record = watched.record(fleet).await.record;
    let grant = record.decisions.grants[&request];
    assert_eq!(grant.ends.0 - grant.starts.0, 86_400_000);

    let simulator = watched.simulator();
    simulator
        .provider_goes_live("prairie-logs", Telling::Silent)
        .unwrap();
    let ready = async || watched.standing(fleet).await.stage == Stage::ReconnectReady;
    watched.sweep_until(Duration::from_secs(60), ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_refused_slow_limited_or_down_grants_nothing_and_loses_nothing() {
    for (confirmation, granted) in [("confirmed", false), ("link", true)] {
        let watched = Watched::start(&[("RequestConfirmation", confirmation)]).await;
        let simulator = watched.simulator();
        for hidden in [HiddenEndpoints::Forbidden, HiddenEndpoints::Missing] {
            simulator.set_hidden_endpoints(hidden);
            let fleet = format!("REFUSED-{hidden:?}-{confirmation}").to_uppercase();
            watched.accepted(&fleet).await;
            watched.requests(&fleet, "prairie-logs");
            watched.claim(&fleet, Claim::Requested(None)).await;
            let refused = async || {
                let refused = watched.record(&fleet).await.record.facts.requests_refused;
                refused.is_some_and(|it| it.value().0)
            };
            watched.sweep_until(Duration::from_secs(60), refused).await;
            let admission = watched.standing(&fleet).await.admission;
            let is_granted = matches!(admission, Admission::Provisional { .. });
            assert_eq!(is_granted, granted, "{confirmation}: {admission:?}");
            // Served again, it is confirmed without help.
            simulator.set_hidden_endpoints(HiddenEndpoints::Served);
            let confirmed = async || {
                !watched
                    .record(&fleet)
                    .await
                    .record
                    .facts
                    .requests
                    .is_empty()
            };
            watched
                .sweep_until(Duration::from_secs(120), confirmed)
                .await;
            let grants = watched.record(&fleet).await.record.decisions.grants;
            assert_eq!(grants.len(), 1, "one request, one grant: {grants:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_catena_is_down_or_slow_for_ten_sweeps_nothing_is_granted_and_no_task_is_lost() {
    let watched = Watched::start(&[]).await;
    let simulator = watched.simulator();
    let fleets: Vec<String> = (0..6).map(|n| format!("DOWN-{n}")).collect();
    for fleet in &fleets {
        watched.accepted(fleet).await;
    }
    simulator.clear_api_calls();
    for (kind, sweeps) in [
        (ApiFaultKind::Status { status: 503 }, 5),
        (ApiFaultKind::CutBefore, 5),
        // Slower than is waited for.
        (
            ApiFaultKind::Slow {
                by: Duration::from_secs(8),
            },
            2,
        ),
    ] {
        simulator.clear_api_faults();
        simulator.add_api_fault(ApiFault {
            times: None,
            ..ApiFault::new(kind)
        });
        for fleet in &fleets {
            watched.requests(fleet, "prairie-logs");
            watched.claim(fleet, Claim::Requested(None)).await;
        }
        for _ in 0..sweeps {
            watched.sweep().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let calls = simulator.api_calls().len();
    for fleet in &fleets {
        assert_eq!(watched.standing(fleet).await.admission, Admission::None);
    }
    assert!(
        watched
            .outcomes()
            .get("look-failed")
            .is_some_and(|count| *count > 5),
        "{:?}",
        watched.outcomes()
    );
    simulator.clear_api_faults();
    let all = async || {
        for fleet in &fleets {
            if !matches!(
                watched.standing(fleet).await.admission,
                Admission::Provisional { .. }
            ) {
                return false;
            }
        }
        true
    };
    watched.sweep_until(Duration::from_secs(120), all).await;
    assert_eq!(watched.dead_tasks().await, 0);
    println!(
        "down for ten sweeps: {} fleets, {calls} calls meanwhile, all provisional after; {:?}",
        fleets.len(),
        watched.outcomes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_kept_to_by_all_who_look() {
    let watched = Watched::start(&[]).await;
    let simulator = watched.simulator();
    let fleets: Vec<String> = (0..12).map(|n| format!("LIMITED-{n}")).collect();
    for fleet in &fleets {
        watched.accepted(fleet).await;
        watched.requests(fleet, "prairie-logs");
    }
    watched.running.settled(Duration::from_secs(30)).await;
    let window = Duration::from_secs(3);
    simulator.set_rate_limit(Some(RateLimit { calls: 6, window }));
    for fleet in &fleets {
        watched.claim(fleet, Claim::Requested(None)).await;
    }
    let all = async || {
        for fleet in &fleets {
            if watched
                .record(fleet)
                .await
                .record
                .decisions
                .grants
                .is_empty()
            {
                return false;
            }
        }
        true
    };
    watched.sweep_until(Duration::from_secs(240), all).await;
    let report = simulator.rate_report();
    assert!(report.refused > 0, "the limit was never met");
    // What was on its way when another was told to wait may still arrive, and both of two batches have to be told.
    let on_its_way = time::Duration::SECOND;
    let early = report
        .early
        .iter()
        .filter(|it| it.at - it.told_at > on_its_way && it.until - it.at > on_its_way / 2);
    let early: Vec<_> = early.collect();
    assert!(early.is_empty(), "{early:#?}");
    assert!(report.most_in_window <= 6 + 2 * 4, "{report:?}");
    assert_eq!(watched.dead_tasks().await, 0);
    println!(
        "rate limit of 6 calls in 3 s: {} fleets, {} refused, none came early, {} at most in a window",
        fleets.len(),
        report.refused,
        report.most_in_window
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_another_number_than_invited_is_held_back_until_an_operator_lets_it_in() {
    let watched = Watched::start(&[]).await;
    let fleet = "NUMBERED";
    let body = json!({ "fleet_regulatory_id": "1234567", "fleet_regulatory_id_type": "DOT" });
    watched.invited(fleet, body).await;
    let scenario = Scenario::invited([fleet]);
    watched.simulator().try_run(&scenario).await.unwrap();
    let full = async || watched.standing(fleet).await.admission == Admission::Full;
    within(Duration::from_secs(30), full).await;

    watched
        .simulator()
        .set_regulatory_id(fleet, Some("7654321"), Some("DOT"))
        .unwrap();
    watched.compare_all().await;
    let standing = watched.standing(fleet).await;
    assert_eq!(
        (standing.stage, standing.admission),
        (Stage::Connected, Admission::None)
    );
    let why = standing
        .reasons
        .iter()
        .find(|it| it.code == Code::RegulatoryIdDiffers);
    assert_eq!(
        why.unwrap().detail.as_deref(),
        Some("DOT 7654321, invited as DOT 1234567")
    );
    assert!(
        !standing.data_scopes.is_empty(),
        "what the fleet shares is still shared"
    );

    watched
        .simulator()
        .set_regulatory_id(fleet, Some("01234567"), Some("dot"))
        .unwrap();
    watched.compare_all().await;
    assert!(full().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_for_its_fleet_is_led_there_by_catena() {
    let watched = Watched::start(&[]).await;
    let simulator = watched.simulator();
    // Of its onboarding nothing comes but that it is linked, which names it by Catena's id alone.
    simulator.set_webhook_loss(Loss {
        share: 1.0,
        seed: 1,
    });
    let report = simulator.run(&Scenario::onboarding(1)).await;
    simulator.set_webhook_loss(Loss::default());
    let fleet = &report.fleets[0];
    let mut made_up = Fleet::new(&fleet.fleet_ref, OffsetDateTime::now_utc());
    made_up.fleet_id = fleet.fleet_id;
    made_up.connection_id = fleet.connection_id;
    let linked = events::fleet_connection_created(&made_up, OffsetDateTime::now_utc());
    watched.running.deliver(&[linked], false).await;
    let outcomes = watched.running.settled(Duration::from_secs(30)).await;
    assert_eq!(outcomes.get("parked"), Some(&1), "{outcomes:?}");
    let key = Key::CatenaFleet(fleet.fleet_id.to_string());
    let table = watched.running.table().await;
    let parked = table.parked(&key).await.unwrap();
    assert!(parked[0].since.is_some());
    // A quarter of an hour later.
    table
        .put_off(&parked[0], timestamp(OffsetDateTime::now_utc()))
        .await
        .unwrap();
    let connected = async || watched.standing(&fleet.fleet_ref).await.stage == Stage::Connected;
    watched
        .sweep_until(Duration::from_secs(60), connected)
        .await;
    assert!(table.parked(&key).await.unwrap().is_empty());

    // What nobody knows of waits on, and is asked for ever less often.
    let stranger = Fleet::new("STRANGER", OffsetDateTime::now_utc());
    let linked = events::fleet_connection_created(&stranger, OffsetDateTime::now_utc());
    watched.running.deliver(&[linked], false).await;
    watched.running.settled(Duration::from_secs(30)).await;
    let key = Key::CatenaFleet(stranger.fleet_id.to_string());
    let parked = table.parked(&key).await.unwrap();
    table
        .put_off(&parked[0], timestamp(OffsetDateTime::now_utc()))
        .await
        .unwrap();
    let unresolved = async || watched.outcomes().contains_key("parked-unresolved");
    watched
        .sweep_until(Duration::from_secs(30), unresolved)
        .await;
    assert_eq!(table.parked(&key).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_ids_and_many_tasks_grant_no_more_than_the_requests_that_there_are() {
    let watched = Watched::start(&[("ProvisionalDaysInAll", "30")]).await;
    let fleet = "MANY";
    watched.accepted(fleet).await;
    let simulator = watched.simulator();
    let claims: Vec<_> = (0..1000)
        .map(|_| Claim::Requested(Some(uuid::Uuid::new_v4().to_string())))
        .collect();
    for claim in claims {
        watched.claim(fleet, claim).await;
    }
    for n in 0..10 {
        let fields = json!({ "id": uuid::Uuid::new_v4(), "fleet_ref": fleet, "ext_tsp_name": format!("Provider {n}") });
        simulator
            .put_integration_request(fields.as_object().unwrap().clone())
            .unwrap();
    }
    let tasks: Vec<_> = (0..100)
        .map(|_| TaskMessage {
            task: Task::Fleet(fleet.to_owned()),
            delay: Duration::ZERO,
        })
        .collect();
    watched.tasks().await.send(&tasks).await.unwrap();
    let known = async || watched.record(fleet).await.record.facts.requests.len() == 10;
    watched.sweep_until(Duration::from_secs(120), known).await;
    simulator.clear_api_calls();
    let before = watched.record(fleet).await.record;
    watched.tasks().await.send(&tasks).await.unwrap();
    watched.tasks_are_done().await;
    let calls = simulator.api_calls().len();
    let record = watched.record(fleet).await.record;
    assert_eq!(
        record.decisions.grants, before.decisions.grants,
        "a grant is frozen"
    );
    let ids: BTreeSet<_> = record.decisions.grants.keys().collect();
    assert!(
        ids.iter().all(|id| record.facts.requests.contains_key(*id)),
        "{ids:?}"
    );
    let days: i64 = record
        .decisions
        .grants
        .values()
        .map(|it| it.ends.0 - it.starts.0)
        .sum();
    assert!(days <= 30 * 86_400_000, "{days} ms");
    assert_eq!(
        record
            .facts
            .invitations
            .values()
            .filter(|it| it.claim.is_some())
            .count(),
        1
    );
    println!(
        "1000 invented ids, 10 requests: {} grants of {:.1} days in all (cap 30); 100 tasks more: {calls} calls",
        ids.len(),
        days as f64 / 86_400_000.0
    );
    assert!(calls <= 6, "{calls} calls for one fleet");
}

/// A sweep over healthy fleets costs a request per shard, one for write operations, and one more.
pub(crate) async fn idle() -> String {
    let count = scale(1_000, 10_000);
    let backend = Backend::start().await;
    let table = backend.table().await;
    let simulator = silent().await;
    let now = timestamp(OffsetDateTime::now_utc());
    let policy = Policy::default();
    let healthy = (0..count).map(|n| healthy(n, now));
    let writes = healthy.map(|stored| {
        let (table, policy) = (&table, &policy);
        async move {
            let standing = stored.record.standing(policy, now);
            assert_eq!(standing.stage, Stage::Connected);
            let due_at = stored.agenda(&standing, policy, now).next;
            assert_eq!(due_at, None, "{:?}", standing.due);
            table.commit(&stored, &standing, due_at, now).await.unwrap();
        }
    });
    let writes: Vec<_> = writes.collect();
    stream::iter(writes)
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    let reconciler = backend.reconciler(simulator.url(), &[]).await;
    // The first sweep of a stack notes that there is nothing to compare yet, and has subscriptions looked at.
    reconciler.invoke(&json!({ "sweep": true })).await.unwrap();
    let before = backend.wire.count_all("reconciler");
    let swept = reconciler.invoke(&json!({ "sweep": true })).await.unwrap();
    let requests = backend.wire.count_all("reconciler") - before;
    assert_eq!(swept["due"], 0);
    assert!(
        requests <= u64::from(store::SHARDS) + 2,
        "{requests} requests"
    );
    // Once in five minutes it has subscriptions looked at besides.
    let shared = table.shared().await.unwrap();
    let taken = table.take_subscriptions_look(&shared, Timestamp(0)).await;
    assert!(taken.unwrap(), "somebody else sweeps");
    let before = backend.wire.count_all("reconciler");
    let swept = reconciler.invoke(&json!({ "sweep": true })).await.unwrap();
    let looking = backend.wire.count_all("reconciler") - before;
    assert_eq!(swept["tasks"], 1);
    assert_eq!(looking, requests + 2);
    assert!(simulator.api_calls().is_empty());
    format!(
        "{count} healthy fleets: a sweep makes {requests} requests to DynamoDB ({} shards) and no call to Catena; once in five minutes {} \
         more, which have subscriptions looked at",
        store::SHARDS,
        looking - requests
    )
}

/// A fleet that is connected, under an agreement without an end.
fn healthy(n: usize, now: Timestamp) -> StoredRecord {
    let mut stored = StoredRecord::new(FleetRef::parse(&format!("HEALTHY-{n}")).unwrap());
    let agreement = Agreement {
        status: AgreementStatus::Active,
        scopes: Some([("vehicle".to_owned(), Level::Read)].into()),
        effective: None,
        ends: None,
    };
    for fact in [
        Fact::Invitation {
            invitation: format!("hash-{n}"),
            was: InvitationFact::Decision(Decision::Accepted),
        },
        Fact::Agreement {
            id: format!("agreement-{n}"),
            made: None,
            agreement,
        },
        Fact::Linked {
            connection: format!("connection-{n}"),
        },
    ] {
        let at = At(now.plus(-3_600_000), 0);
        stored.record = stored.record.fold(&Observation { at, fact });
    }
    stored
}

//! The drill of Catena's circuit breaker: ingestion fails for a while, subscriptions stop, and nobody but the reconciler brings them back.
//! Besides, what it tells of subscriptions that only a person can judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future, stream};
use local::{Stack, wire::Fault};
use serde_json::Value;
use simulator::{
    AgreementStatus, ApiFault, ApiFaultKind, Breaker, BreakerRules, ConnectionStatus, Filters,
    Loss, Outcome, RetryPolicy, Scenario, SubscriptionStatus, Telling, Timestamps,
};
use store::Table;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    catena::client,
    fates::{Act, happen},
    reconciling::{Watched, within},
    subscribed::{age, ask, calls, status, subscribe, subscription, watch},
    truth::differing,
};

/// What came of it for so many fleets, by each of Catena's two rules, and with each way of dating what is replayed.
pub(crate) async fn run(count: usize, outage: Duration) -> String {
    let tiers = outage_of(count, outage, Breaker::Tiers, Timestamps::Fresh);
    let six_hours = outage_of(count, outage, Breaker::SixHours, Timestamps::Original);
    let (tiers, six_hours) = tokio::join!(tiers, six_hours);
    format!("{tiers}\n  {six_hours}")
}

/// One outage. `lasting` is how long it goes on after subscriptions stopped.
async fn outage_of(
    count: usize,
    lasting: Duration,
    variant: Breaker,
    timestamps: Timestamps,
) -> String {
    let watched = Watched::start(&[]).await;
    let start = Instant::now();
    let (stack, simulator) = (&watched.running.stack, watched.simulator());
    let table = &watched.running.table().await;
    let differing = async || differing(simulator, table, &watched.policy).await;
    subscribe(stack);
    simulator.set_replay_timestamps(timestamps);
    simulator.set_breaker(BreakerRules {
        variant,
        grace: Duration::ZERO,
        ..BreakerRules::default()
    });
    // Shorter than Catena's, so that what fails is given up sooner.
    simulator.set_retry(RetryPolicy {
        backoff: Duration::from_millis(150),
        ..RetryPolicy::default()
    });
    let calm = simulator
        .run(&Scenario::onboarding(count.div_ceil(4)))
        .await;
    assert_eq!(calm.accepted, calm.deliveries);
    watched.sweep().await;
    watched.running.settled(Duration::from_secs(60)).await;
    watched.settled().await;
    assert_eq!(ailing(table).await, BTreeMap::new());
    simulator.clear_api_calls();

    let down = Instant::now();
    let error = Fault::error(503, "ServiceUnavailable");
    stack.wire.fault("webhook-ingest", "sqs:*", error);
    story(&watched, count).await;
    for event_name in ONBOARDING {
        let found = subscription(stack, event_name).status;
        assert_eq!(found, SubscriptionStatus::Stale, "{event_name}");
    }

    // From here on nobody does anything but what would happen anyway.
    let sweeping = async {
        loop {
            watched.sweep().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let recovery = async {
        let stopped = Instant::now();
        // More happens; some of it is replayed with a time that is hours and days old, if replays keep their times.
        let more = LATE.map(async |late| {
            let more = Scenario::onboarding(2).late(1.0, late);
            let report = simulator.run(&more).await;
            assert_eq!(report.accepted, 0, "{report:?}");
        });
        future::join_all(more).await;
        tokio::time::sleep(lasting.saturating_sub(stopped.elapsed())).await;
        let cures = ailing(table).await;
        let activations = calls(stack, "POST", "/activate");
        assert_bounded(&cures, activations, stopped.elapsed());
        let waiting: usize = simulator.dead_letters().values().map(Vec::len).sum();
        assert!(waiting >= ONBOARDING.len() * count, "{waiting}");

        stack.wire.heal();
        let (out, back) = (down.elapsed(), Instant::now());
        let healed_at = OffsetDateTime::now_utc();
        loop {
            // What is being replayed is no dead letter, unless it fails again.
            simulator.idle().await;
            let well = are_all_well(stack) && is_compared_since(&watched, healed_at).await;
            if well && differing().await.is_empty() {
                break;
            }
            assert!(
                back.elapsed() < LIMIT,
                "{:#?}\n{:#}\n{:?}",
                differing().await,
                watch(table).await,
                watched.outcomes()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (out, back.elapsed(), activations, waiting)
    };
    let (out, took, activations, waiting) = tokio::select! {
        never = sweeping => never,
        recovered = recovery => recovered,
    };

    simulator.idle().await;
    watched.running.settled(Duration::from_secs(60)).await;
    let ill = differing().await;
    assert!(ill.is_empty(), "{ill:#?}");
    assert_eq!(watched.running.dead_letters().await, 0);
    let replayed = assert_all_accepted(stack, timestamps);
    let outcomes = watched.outcomes();
    for outcome in ["subscription-given-up", "webhooks-silent"] {
        assert_eq!(outcomes.get(outcome), None, "{outcomes:?}");
    }
    let trips = named(stack, "webhook.staled");
    format!(
        "breaker {variant:?}, replays with {timestamps:?} times: {} fleets; ingestion down for {:.1} s; {trips} trips of {} \
         subscriptions; {activations} activations while it was down, {} in all; {waiting} dead letters when it was back, {replayed} \
         replayed; all active, replayed and every record right {:.1} s later, at a hundredth of the usual waits; {:.0} s",
        simulator.fleet_refs().len(),
        out.as_secs_f64(),
        outcomes_by_subscription(&watched).len(),
        calls(stack, "POST", "/activate"),
        took.as_secs_f64(),
        start.elapsed().as_secs_f64()
    )
}

/// Fleets onboard by Catena's API, and then something happens to each.
async fn story(watched: &Watched, count: usize) {
    let then = [
        None,
        Some(Act::Becomes(ConnectionStatus::Stale, Telling::Announced)),
        Some(Act::Agreement(AgreementStatus::Paused, Telling::Announced)),
        Some(Act::LessShared(Telling::Announced)),
    ];
    let simulator = watched.simulator();
    let fleets: Vec<String> = (1..=count).map(|n| format!("STORM-{n:03}")).collect();
    let all = [
        Act::InvitedAgain,
        Act::View,
        Act::Accept,
        Act::Connect("samsara"),
    ];
    let last = fleets.iter().zip(then.into_iter().cycle());
    let last: Vec<_> = last
        .filter_map(|(fleet, act)| Some((fleet, act?)))
        .collect();
    let rounds = all.map(|act| fleets.iter().map(|fleet| (fleet, act)).collect());
    for round in rounds.into_iter().chain([last]) {
        let acts = round.into_iter();
        let acts = acts.map(|(fleet, act)| happen(simulator, fleet, act));
        let acts: Vec<_> = acts.collect();
        let acts = stream::iter(acts).buffer_unordered(8);
        acts.collect::<Vec<()>>().await;
        simulator.idle().await;
    }
}

/// How often each subscription was activated since it fell ill.
async fn ailing(table: &Table) -> BTreeMap<String, u64> {
    let watch = watch(table).await;
    let ailing = watch["ailing"].as_object().into_iter().flatten();
    ailing
        .map(|(id, it)| (id.clone(), it["cures"].as_u64().unwrap()))
        .collect()
}

/// At growing intervals, so that an outage isn't stormed. The intervals are a hundredth of a minute, five and fifteen minutes, and an
/// hour.
fn assert_bounded(cures: &BTreeMap<String, u64>, activations: usize, elapsed: Duration) {
    let waits = [0.0, 0.6, 3.0, 9.0, 36.0, 144.0];
    let mut passed = 0.0;
    let most = waits.iter().take_while(|wait| {
        passed += **wait;
        passed <= elapsed.as_secs_f64()
    });
    let most = most.count() as u64;
    assert!(!cures.is_empty(), "nobody looked");
    assert!(
        cures.values().all(|cures| (1..=most).contains(cures)),
        "more than {most} each after {elapsed:?}: {cures:?}"
    );
    let all: u64 = cures.values().sum();
    assert!(
        activations as u64 <= all,
        "{activations} activations, {cures:?}"
    );
}

fn are_all_well(stack: &Stack) -> bool {
    let all = stack.simulator.subscriptions();
    all.iter()
        .all(|it| it.status == SubscriptionStatus::Active && it.dead_letters == 0)
}

async fn is_compared_since(watched: &Watched, at: OffsetDateTime) -> bool {
    let compared = watched.compared().await;
    let at = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap();
    compared["started"].as_i64().unwrap() >= at && !compared["finished"].is_null()
}

/// Every event was accepted at last by each subscription that got it. Returns how many only by a replay.
fn assert_all_accepted(stack: &Stack, timestamps: Timestamps) -> usize {
    let sent = stack.simulator.deliveries();
    let key = |sent: &simulator::Sent| (sent.webhook_id, sent.event_id.unwrap());
    let accepted = sent.iter().filter(|it| it.outcome == Outcome::Accepted);
    let accepted: BTreeSet<_> = accepted.map(key).collect();
    let never = sent.iter().find(|it| !accepted.contains(&key(it)));
    assert_eq!(never, None, "it was never accepted");
    let replayed = sent
        .iter()
        .filter(|it| it.repeat && it.outcome == Outcome::Accepted);
    let replayed: BTreeSet<_> = replayed.map(key).collect();
    let lines = stack.log_records("webhook-ingest");
    let late = lines.iter().filter(|line| line["late"] == true).count();
    match timestamps {
        Timestamps::Original => assert!(late >= LATE.len() * 2 * ONBOARDING.len(), "{late}"),
        Timestamps::Fresh => assert_eq!(late, 0),
    }
    replayed.len()
}

/// How many events of a name there were.
fn named(stack: &Stack, event_name: &str) -> usize {
    let sent = stack.simulator.deliveries();
    let sent = sent.iter().filter(|it| it.event_name == event_name);
    let ids: BTreeSet<_> = sent.map(|it| it.event_id).collect();
    ids.len()
}

/// What the reconciler told of each subscription, in its order.
fn outcomes_by_subscription(watched: &Watched) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in watched.running.stack.log_records("reconciler") {
        if let (Some(id), Some(outcome)) = (line["webhook.id"].as_str(), line["outcome"].as_str()) {
            let of = told.entry(id.to_owned()).or_default();
            of.push(outcome.to_owned());
        }
    }
    told
}

/// The lines with an outcome.
fn told(watched: &Watched, outcome: &str) -> Vec<Value> {
    let mut lines = watched.running.stack.log_records("reconciler");
    lines.retain(|line| line["outcome"] == outcome);
    lines
}

/// As if an hour had gone by, at a hundredth of the usual waits.
async fn an_hour_later(watched: &Watched) {
    age(&watched.running.table().await, HOUR / 100).await;
}

/// Sweeps until subscriptions were looked at once more.
async fn looked_at(watched: &Watched) {
    let table = &watched.running.table().await;
    let before = watch(table).await["seen_at"].clone();
    let looked = async || watch(table).await["seen_at"] != before;
    watched.sweep_until(Duration::from_secs(30), looked).await;
    watched.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_person_can_judge_is_told_every_hour_and_left_alone() {
    let watched = Watched::start(&[]).await;
    let (stack, simulator) = (&watched.running.stack, watched.simulator());
    subscribe(stack);
    looked_at(&watched).await;
    assert_eq!(outcomes_by_subscription(&watched), BTreeMap::new());

    let paused = subscription(stack, "connection.staled").id;
    simulator.pause_subscription(paused).unwrap();
    let gone = subscription(stack, "execution.failed").id;
    let client = client(simulator);
    let gone_id = gone.to_string();
    let deleted = client.within(TIME).delete_subscription(&gone_id);
    deleted.await.unwrap();
    let url = stack.webhook_url();
    let unknown =
        simulator.create_subscription_elsewhere("invitation.viewed", url, Filters::default());
    let unknown = unknown.unwrap();
    // For what none of ours is for: a name that Catena has no more (contract 6.10).
    let stranger =
        simulator.create_subscription_elsewhere("invitation.rejected", url, Filters::default());
    let stranger = stranger.unwrap();
    simulator.clear_api_calls();

    // What it delivers can't be proved, and might be genuine.
    simulator.set_retry(RetryPolicy {
        backoff: Duration::from_millis(100),
        ..RetryPolicy::default()
    });
    let report = simulator.run(&Scenario::onboarding(1)).await;
    assert_eq!(
        (report.deliveries, report.accepted, report.dead_letters),
        (7, 6, 1)
    );
    let lines = stack.log_records("webhook-ingest");
    let unmatched = lines.iter().find(|line| line["outcome"] == "unmatched");
    let unmatched = unmatched.unwrap();
    assert_eq!(
        (&unmatched["webhook.id"], &unmatched["level"]),
        (&unknown.to_string().into(), &"ERROR".into())
    );

    an_hour_later(&watched).await;
    looked_at(&watched).await;
    let all = [
        (paused, "subscription-paused"),
        (gone, "subscription-gone"),
        (unknown, "subscription-beside-ours"),
        (stranger, "subscription-unknown"),
    ];
    let expected = |times: usize| -> BTreeMap<String, Vec<String>> {
        let told = |(id, outcome): (Uuid, &str)| (id.to_string(), vec![outcome.to_owned(); times]);
        all.map(told).into()
    };
    assert_eq!(outcomes_by_subscription(&watched), expected(1));
    let levels = all.map(|(_, outcome)| told(&watched, outcome)[0]["level"].clone());
    assert_eq!(levels, ["ERROR", "ERROR", "WARN", "ERROR"]);
    // Once in an hour.
    looked_at(&watched).await;
    assert_eq!(outcomes_by_subscription(&watched), expected(1));
    an_hour_later(&watched).await;
    looked_at(&watched).await;
    assert_eq!(outcomes_by_subscription(&watched), expected(2));
    assert_eq!(status(stack, paused), SubscriptionStatus::Paused);
    for change in ["/activate", "/replay", "/webhooks"] {
        assert_eq!(calls(stack, "POST", change), 0, "{change}");
    }

    // A person sees to it.
    let applied = ask(stack, &["subscription", "apply"]);
    assert!(applied.status.success(), "{applied:?}");
    let id = unknown.to_string();
    let adopted = ask(stack, &["subscription", "adopt", &id, "--yes"]);
    assert!(adopted.status.success(), "{adopted:?}");
    let id = stranger.to_string();
    let deleted = ask(stack, &["subscription", "delete", &id, "--yes"]);
    assert!(deleted.status.success(), "{deleted:?}");
    an_hour_later(&watched).await;
    looked_at(&watched).await;
    within(Duration::from_secs(30), async || {
        simulator.dead_letters().values().all(Vec::is_empty)
    })
    .await;
    for (_, outcome) in all {
        assert_eq!(told(&watched, outcome).len(), 2, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catena_that_refuses_or_is_down_costs_a_look_and_nothing_else() {
    let watched = Watched::start(&[]).await;
    let (stack, simulator) = (&watched.running.stack, watched.simulator());
    let table = &watched.running.table().await;
    subscribe(stack);
    looked_at(&watched).await;
    let stale = subscription(stack, "tsp.created").id;
    // Without a word, so that no hint comes.
    simulator.set_events(false);
    simulator.make_subscription_stale(stale).unwrap();
    let before = watch(table).await;
    let forbidden = ApiFaultKind::Status { status: 403 };
    let down = ApiFaultKind::Status { status: 500 };
    let cases = [
        (forbidden, "refused-by-catena", "ERROR"),
        (down, "subscriptions-failed", "WARN"),
        (ApiFaultKind::CutBefore, "subscriptions-failed", "WARN"),
    ];
    for (kind, outcome, level) in cases {
        let fault = ApiFault {
            path: Some("/v2/notifications".to_owned()),
            ..ApiFault::new(kind).until_cleared()
        };
        simulator.add_api_fault(fault);
        let already = told(&watched, outcome).len();
        let failed = async || told(&watched, outcome).len() > already;
        watched.sweep_until(Duration::from_secs(60), failed).await;
        watched.settled().await;
        assert_eq!(told(&watched, outcome)[already]["level"], level);
        assert_eq!(watch(table).await, before);
        simulator.clear_api_faults();
    }
    assert_eq!(status(stack, stale), SubscriptionStatus::Stale);
    let active = async || status(stack, stale) == SubscriptionStatus::Active;
    watched.sweep_until(Duration::from_secs(30), active).await;
    assert_eq!(watched.dead_tasks().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_again_and_again_is_brought_back_at_a_hint_and_given_up_after_eight_times() {
    let watched = Watched::start(&[]).await;
    let (stack, simulator) = (&watched.running.stack, watched.simulator());
    let table = &watched.running.table().await;
    subscribe(stack);
    looked_at(&watched).await;
    simulator.clear_api_calls();
    let id = subscription(stack, "invitation.created").id;
    let activations = || calls(stack, "POST", "/activate");
    for time in 1..=8 {
        // Nobody sweeps: `webhook.staled` makes the reconciler look.
        simulator.make_subscription_stale(id).unwrap();
        let hinted = Instant::now();
        let again = async || activations() == time;
        within(Duration::from_secs(20), again).await;
        assert!(hinted.elapsed() < Duration::from_secs(10));
        simulator.idle().await;
        watched.running.settled(Duration::from_secs(30)).await;
        watched.settled().await;
        age(table, DAY / 100).await;
    }
    let cures = told(&watched, "subscription-activated");
    let levels: Vec<_> = cures.iter().map(|line| line["level"].as_str()).collect();
    let (warn, error) = (Some("WARN"), Some("ERROR"));
    assert_eq!(
        levels,
        [warn, warn, error, error, error, error, error, error]
    );

    simulator.make_subscription_stale(id).unwrap();
    let given_up = async || !told(&watched, "subscription-given-up").is_empty();
    within(Duration::from_secs(20), given_up).await;
    let line = &told(&watched, "subscription-given-up")[0];
    assert_eq!(
        (&line["webhook.id"], &line["level"]),
        (&id.to_string().into(), &"ERROR".into())
    );
    looked_at(&watched).await;
    assert_eq!(activations(), 8);
    assert_eq!(status(stack, id), SubscriptionStatus::Stale);

    // A person sees to it, and it is well.
    let applied = ask(stack, &["subscription", "apply"]);
    assert!(applied.status.success(), "{applied:?}");
    let well = async || !told(&watched, "subscription-recovered").is_empty();
    watched.sweep_until(Duration::from_secs(30), well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_get_lost_although_all_subscriptions_are_well_are_told() {
    let watched = Watched::start(&[]).await;
    let (stack, simulator) = (&watched.running.stack, watched.simulator());
    subscribe(stack);
    let accept_unheard = async |name: &str| {
        let fleets: Vec<String> = (0..4).map(|number| format!("{name}-{number}")).collect();
        for fleet in &fleets {
            let invited = ask(stack, &["invite", fleet]);
            assert!(invited.status.success(), "{invited:?}");
        }
        simulator.idle().await;
        watched.running.settled(Duration::from_secs(30)).await;
        simulator.set_webhook_loss(Loss {
            share: 1.0,
            seed: 1,
        });
        for fleet in &fleets {
            simulator.accept_invitation(fleet).unwrap();
        }
        simulator.idle().await;
        simulator.set_webhook_loss(Loss::default());
        // A hundredth of the quarter of an hour within which news may be on its way.
        tokio::time::sleep(Duration::from_secs(11)).await;
    };
    let silent = || told(&watched, "webhooks-silent");

    accept_unheard("UNHEARD").await;
    watched.compare_all().await;
    assert_eq!(watched.compared().await["unheard"], 4);
    let lines = silent();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["fleets"]),
        (&"ERROR".into(), &4.into())
    );

    // The same, while a subscription isn't well: that explains it.
    let id = subscription(stack, "share_agreement.updated").id;
    simulator.make_subscription_stale(id).unwrap();
    let recovered = async || !told(&watched, "subscription-recovered").is_empty();
    watched
        .sweep_until(Duration::from_secs(30), recovered)
        .await;
    let compared = async || !watched.compared().await["finished"].is_null();
    watched.sweep_until(Duration::from_secs(30), compared).await;
    accept_unheard("EXPLAINED").await;
    watched.compare_all().await;
    assert_eq!(watched.compared().await["unheard"], 4);
    assert_eq!(silent().len(), 1);
}

/// What each fleet's onboarding is told by.
const ONBOARDING: [&str; 6] = [
    "invitation.created",
    "invitation.viewed",
    "invitation.accepted",
    "share_agreement.created",
    "connection.created",
    "fleet_connection.created",
];
/// How old the signed times are of some deliveries that fail: older than the five minutes that Catena's documents have, up to as long as
/// dead letters are kept.
const LATE: [Duration; 3] = [
    Duration::from_secs(6 * 60),
    Duration::from_secs(5 * 60 * 60),
    Duration::from_secs(14 * 24 * 60 * 60 - 3600),
];
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
const TIME: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(180);

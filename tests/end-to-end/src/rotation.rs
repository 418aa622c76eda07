//! The drill of a new signing key: `kingpin subscription rotate` under traffic, with forged deliveries beside it, and killed in its midst.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Output, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future, stream};
use local::Stack;
use serde_json::{Value, json};
use simulator::{Answer, Envelope, Faults, Fleet, Outcome, Replay, events};
use tokio::sync::{Mutex, Notify};

use crate::{
    cli::read,
    stack::{Running, fleets},
    subscribed::{ask, command, subscribe},
};

/// What came of at least so many deliveries. If it `begins_calmly`, one rotation before isn't disturbed.
pub(crate) async fn run(count: usize, begins_calmly: bool) -> String {
    let backoff = [("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "5")];
    let running = Running::start(&backoff).await;
    let start = Instant::now();
    let (stack, simulator) = (&running.stack, &running.stack.simulator);
    subscribe(stack);
    // They tell of themselves, while the first functions start.
    simulator.idle().await;
    simulator.replay(Replay::default()).await;
    let warm = simulator.deliveries().len();
    let names = simulator.subscriptions();
    let names: BTreeSet<String> = names.into_iter().map(|it| it.event_name).collect();
    let fleets = fleets(MOST_FLEETS);
    let (traffic, forging) = (Traffic::new(&fleets, &names), Notify::new());

    let rotations = async {
        let mut took = Vec::new();
        traffic.reaches(count / 10).await;
        if begins_calmly {
            let (before, began) = (keys(stack).await, Instant::now());
            let rotated = rotate(stack).await;
            assert_eq!(rotated["begun"], true);
            assert_rotated(stack, &before, &rotated).await;
            took.push(format!("{:.1} s", began.elapsed().as_secs_f64()));
            traffic.reaches(count / 2).await;
        }
        forging.notify_one();
        let (before, began) = (keys(stack).await, Instant::now());
        let kills = kill(stack).await;
        let rotated = rotate(stack).await;
        assert_eq!(rotated["begun"], false);
        assert_rotated(stack, &before, &rotated).await;
        let seconds = began.elapsed().as_secs_f64();
        took.push(format!(
            "{seconds:.1} s with forged deliveries and {kills} kills"
        ));
        // What comes now is signed with the new key, and no other is taken.
        let more = traffic.count.load(Ordering::Relaxed) + 2 * names.len();
        traffic.reaches(count.max(more)).await;
        traffic.over.store(true, Ordering::Relaxed);
        took
    };
    let forged = Faults {
        forged: true,
        ..Faults::default()
    };
    let forgeries = async {
        forging.notified().await;
        traffic.flow(stack, FORGED_PER_SECOND, forged).await
    };
    let genuine = traffic.flow(stack, PER_SECOND, Faults::default());
    let (took, sent, forged) = tokio::join!(rotations, genuine, forgeries);
    simulator.idle().await;
    let flowed = start.elapsed();

    let (forgeries, deliveries): (Vec<_>, Vec<_>) = simulator
        .deliveries()
        .into_iter()
        .skip(warm)
        .partition(|it| it.faults.forged);
    let taken = forgeries.iter().find(|it| it.outcome != Outcome::Dropped);
    assert_eq!(taken, None, "a forged delivery was taken");
    let lost = deliveries.iter().find(|it| it.outcome != Outcome::Accepted);
    assert_eq!(lost, None, "it was refused for good, or given up");
    assert!(deliveries.len() >= count, "{}", deliveries.len());
    assert!(simulator.dead_letters().values().all(Vec::is_empty));
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for attempt in deliveries.iter().flat_map(|it| &it.attempts) {
        let answer = match &attempt.answer {
            Answer::Status(status) => status.to_string(),
            Answer::TimedOut => "too late".to_owned(),
            Answer::Unreachable(why) => why.clone(),
        };
        *answers.entry(answer).or_default() += 1;
    }

    running.settled(Duration::from_secs(300)).await;
    assert_eq!(running.dead_letters().await, 0);
    let of: BTreeSet<_> = sent.iter().filter_map(|it| it.fleet_ref.clone()).collect();
    let fleets: Vec<Fleet> = fleets
        .into_iter()
        .filter(|fleet| of.contains(&fleet.fleet_ref))
        .collect();
    running.assert_equal_to_oracle(&fleets, &sent).await;
    format!(
        "{} deliveries, {:.0} a second, by {} subscriptions, and {} forged ones; rotated in {}; none lost, none refused for good: \
         answered {answers:?}; every record of {} fleets equals the oracle's; {:.0} s",
        deliveries.len(),
        deliveries.len() as f64 / flowed.as_secs_f64(),
        names.len(),
        forged.len(),
        took.join(", then "),
        fleets.len(),
        start.elapsed().as_secs_f64(),
    )
}

/// Events of fleets, until it is over.
struct Traffic<'a> {
    fleets: &'a [Fleet],
    /// Of events that are subscribed.
    names: &'a BTreeSet<String>,
    /// Genuine deliveries that have begun.
    count: AtomicUsize,
    over: AtomicBool,
}

impl<'a> Traffic<'a> {
    fn new(fleets: &'a [Fleet], names: &'a BTreeSet<String>) -> Self {
        Self {
            fleets,
            names,
            count: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    async fn reaches(&self, count: usize) {
        while self.count.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One event of each name, fleet by fleet and at a steady pace. Returns them when each was accepted or given up.
    async fn flow(&self, stack: &Stack, per_second: u32, faults: Faults) -> Vec<Envelope> {
        let pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        let pace = &Mutex::new(pace);
        let events = self.fleets.iter().flat_map(|fleet| {
            let mut events = events::all(fleet, fleet.invited_at);
            events.retain(|it| self.names.contains(&it.event_name));
            events.into_iter().enumerate()
        });
        // Each fleet's are sent to their end.
        let goes_on =
            |(place, _): &(usize, Envelope)| *place > 0 || !self.over.load(Ordering::Relaxed);
        let events = stream::iter(events).take_while(move |it| future::ready(goes_on(it)));
        let paced = events.then(|(_, envelope)| async move {
            pace.lock().await.tick().await;
            envelope
        });
        let sent = paced.map(|envelope| async move {
            if !faults.forged {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            let sent = stack.simulator.deliver(&envelope, faults).await;
            assert_eq!(sent.len(), 1, "{}", envelope.event_name);
            envelope
        });
        sent.buffer_unordered(MOST_AT_ONCE).collect().await
    }
}

/// The keys that ingest takes of every subscription.
async fn keys(stack: &Stack) -> Vec<String> {
    let secret = stack.deployment.output("KeyringSecretId").unwrap();
    let ask = json!({ "SecretId": secret });
    let found = stack.aws.secrets_manager("GetSecretValue", ask).await;
    let keyring = found.unwrap()["SecretString"].take();
    let mut keyring: Value = serde_json::from_str(keyring.as_str().unwrap()).unwrap();
    match keyring["shared"].take() {
        Value::String(key) => vec![key],
        keys => serde_json::from_value(keys).unwrap(),
    }
}

/// Runs `kingpin subscription rotate` to its end, beside what else goes on.
async fn rotate(stack: &Stack) -> Value {
    let mut rotate = command(stack, &ROTATE);
    let rotated = tokio::task::spawn_blocking(move || rotate.output());
    let rotated: Output = rotated.await.unwrap().unwrap();
    read(&rotated)
}

/// The old key is gone, and a new one is everybody's.
async fn assert_rotated(stack: &Stack, before: &[String], rotated: &Value) {
    assert_eq!(rotated["retired"], true, "{rotated:#}");
    let after = keys(stack).await;
    assert_eq!(after.len(), 1);
    assert!(!before.contains(&after[0]), "it is the old one");
    let all = stack.simulator.subscriptions();
    assert!(all.iter().all(|it| it.secret == after[0]));
    let status = read(&ask(stack, &["subscription", "status"]));
    for subscription in status["subscriptions"].as_array().unwrap() {
        assert_eq!(subscription["has_current_key"], true, "{subscription}");
    }
    assert_eq!(status["keys"].as_array().map(Vec::len), Some(1));
}

/// Kills rotations: once there is a new key, and once this and that many subscriptions sign with it. Returns how often.
async fn kill(stack: &Stack) -> usize {
    let old = keys(stack).await;
    let all = stack.simulator.subscriptions().len();
    let points = [0, 1, all / 3, all - 1, all];
    for given in points {
        let mut child = command(stack, &ROTATE)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while keys(stack).await == old || with_new_key(stack, &old) < given {
            let ended = child.try_wait().unwrap();
            assert_eq!(ended, None, "it ended before {given} had the new key");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), None, "it ended by itself");
        assert_eq!(keys(stack).await.len(), 2);
    }
    points.len()
}

fn with_new_key(stack: &Stack, old: &[String]) -> usize {
    let all = stack.simulator.subscriptions();
    all.iter().filter(|it| !old.contains(&it.secret)).count()
}

const ROTATE: [&str; 4] = ["subscription", "rotate", "--wait", "5m"];
const PER_SECOND: u32 = 20;
const FORGED_PER_SECOND: u32 = 3;
const MOST_AT_ONCE: usize = 200;
const MOST_FLEETS: usize = 1_000;

//! Drills: disorder, crashes and conflicts on a large scale. Short with the other tests, long by `cargo xtask drill NAME`,
//! each ending with its figures.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use catena::Instant as CatenaInstant;
use local::wire::Fault;
use queue::Message;
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use time::OffsetDateTime;

use crate::{
    backend::Backend,
    oracle,
    stack::{Running, assert_equal_to_oracle, fleets},
};

/// The short figure, or the long one for `cargo xtask drill`.
fn scale(short: usize, long: usize) -> usize {
    let long_wanted = std::env::var_os("KINGPIN_DRILL").is_some_and(|form| form == "long");
    if long_wanted { long } else { short }
}

/// Fleets of which every third shares its predecessor's connection, and all that happens to them: a change of mind, a
/// schedule that stops, a connection that goes stale and is linked again, an agreement that is paused and holds again.
fn eventful(count: usize) -> (Vec<Fleet>, Vec<Vec<Envelope>>) {
    let mut fleets = fleets(count);
    for index in (2..count).step_by(3) {
        fleets[index].connection_id = fleets[index - 1].connection_id;
    }
    let events = fleets.iter().enumerate().map(|(index, fleet)| {
        let after = |seconds| fleet.invited_at + Duration::from_secs(seconds);
        let mut events = events::onboarding_on_second_thoughts(fleet);
        events.push(events::schedule_deactivated(fleet, after(100)));
        if index % 2 == 0 {
            events.push(events::connection_staled(fleet, after(110)));
            events.push(events::fleet_connection_created(fleet, after(120)));
        }
        if index % 5 == 0 {
            let mut resumed = events::share_agreement_updated(fleet, after(140));
            resumed.data[0]["status"] = json!("active");
            events.push(events::share_agreement_updated(fleet, after(130)));
            events.push(resumed);
        }
        events
    });
    let events = events.collect();
    (fleets, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffle() {
    let running =
        Running::start(&[("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "5")]).await;
    let start = Instant::now();
    let (fleets, events) = eventful(scale(60, 300));
    let all: Vec<Envelope> = events.concat();
    let mut random = fastrand::Rng::with_seed(11);

    // Of a tenth, everything about connections comes first, schedules before their connections, and nobody knows whose.
    let tenth = events
        .iter()
        .take(fleets.len() / 10)
        .flatten()
        .rev()
        .cloned();
    let names_a_connection = |it: &Envelope| {
        !it.data[0]["connection_id"].is_null() || it.event_name.starts_with("connection.")
    };
    let (children, parents): (Vec<_>, Vec<_>) = tenth.partition(names_a_connection);
    running.deliver(&children, false).await;
    let outcomes = running.settled(Duration::from_secs(120)).await;
    assert!(
        outcomes.contains_key("parked"),
        "nothing ever waited: {outcomes:?}"
    );
    running.deliver(&parents, false).await;
    // The rest in any order, but the second fleets of shared connections last.
    let rest = events.iter().enumerate().skip(fleets.len() / 10);
    let (late, early): (Vec<_>, Vec<_>) = rest.partition(|(index, _)| index % 3 == 2);
    let mut repeats = 0;
    for part in [early, late] {
        let mut part: Vec<Envelope> = part
            .into_iter()
            .flat_map(|(_, events)| events.clone())
            .collect();
        random.shuffle(&mut part);
        let repeated = part.len() / 5;
        repeats += repeated;
        part.extend_from_within(..repeated);
        random.shuffle(&mut part);
        running.deliver(&part, false).await;
    }
    let outcomes = running.settled(Duration::from_secs(400)).await;
    running.assert_equal_to_oracle(&fleets, &all).await;
    assert_eq!(running.dead_letters().await, 0);

    // One event more, a thousand times at once.
    let fleet = &fleets[0];
    let version = async || {
        let items = running.items().await;
        let pk = format!("FLEET#{}", fleet.fleet_ref);
        let record = |item: &&Value| item["pk"]["S"] == *pk && item["sk"]["S"] == "RECORD";
        let version = items.iter().find(record).unwrap()["version"]["N"].as_str();
        version.unwrap().parse::<u64>().unwrap()
    };
    let before = version().await;
    let viewed = events::invitation_viewed(fleet, OffsetDateTime::now_utc());
    let times = scale(200, 1000);
    running.deliver(&vec![viewed.clone(); times], false).await;
    running.settled(Duration::from_secs(200)).await;
    assert_eq!(version().await, before + 1);
    running
        .assert_equal_to_oracle(&fleets, &[all.clone(), vec![viewed]].concat())
        .await;
    println!(
        "shuffle: {} fleets, {} events, {repeats} repeated: every record and history equals the oracle's, nothing is parked; \
         {outcomes:?}; one event {times} times at once: one write; {:.0} s",
        fleets.len(),
        all.len(),
        start.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts() {
    let running =
        Running::start(&[("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "5")]).await;
    let start = Instant::now();
    let (hot, others) = (scale(200, 1000), scale(40, 200));
    let fleets = fleets(others + 1);
    let now = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    // Nearly each of them is news when it comes.
    let viewed = (0..hot)
        .map(|n| events::invitation_viewed(&fleets[0], now + Duration::from_secs(n as u64)));
    let mut all: Vec<Envelope> = viewed.collect();
    let onboarding: Vec<Envelope> = fleets[1..].iter().flat_map(events::onboarding).collect();
    // Evenly among the others.
    let every = (onboarding.len() / hot).max(1);
    let mut mixed = Vec::new();
    let mut hot_events = all.iter().cloned();
    for (index, event) in onboarding.iter().enumerate() {
        mixed.push(event.clone());
        if index % every == 0 {
            mixed.extend(hot_events.next());
        }
    }
    mixed.extend(hot_events);
    all.extend(onboarding);
    running.deliver(&mixed, false).await;
    let outcomes = running.settled(Duration::from_secs(400)).await;
    running.assert_equal_to_oracle(&fleets, &all).await;
    assert_eq!(running.dead_letters().await, 0);

    let lines = running.stack.log_records("event-processor");
    let conflicts: u64 = lines
        .iter()
        .filter_map(|line| line["conflicts"].as_u64())
        .sum();
    let times = lines.iter().filter_map(|line| {
        line["message"]["times"]
            .as_u64()
            .or(line["message.times"].as_u64())
    });
    let most = times.max().unwrap_or_default();
    let latency = |hot: bool| {
        let of = |line: &&Value| (line["fleet.ref"] == *fleets[0].fleet_ref) == hot;
        let latencies = lines
            .iter()
            .filter(|line| line["outcome"] == "applied")
            .filter(of);
        let mut latencies: Vec<i64> = latencies
            .filter_map(|line| line["latency_ms"].as_i64())
            .collect();
        latencies.sort_unstable();
        latencies.last().copied().unwrap_or_default()
    };
    assert!(most < 20, "a message was received {most} times");
    assert!(conflicts > 0 || hot < 1000, "nobody ever was in conflict");
    println!(
        "conflicts: {hot} events of one fleet among {others} others' onboardings: every record equals the oracle's, no dead \
         letters; {conflicts} conflicts, {} retries, a message was received {most} times at most; slowest event of the one \
         fleet {} ms, of the others {} ms; {:.0} s",
        outcomes.get("retried").unwrap_or(&0),
        latency(true),
        latency(false),
        start.elapsed().as_secs_f64()
    );
}

/// The event processor behind a queue as Lambda would run it, except that its processes are killed at random moments.
#[tokio::test(flavor = "multi_thread")]
async fn crashes() {
    let backend = Backend::start().await;
    let start = Instant::now();
    let dead_letters = backend.dead_letter_queue(20, VISIBILITY).await;
    let (fleets, events) = eventful(scale(60, 500));
    let mut all: Vec<Envelope> = events.concat();
    let wanted = scale(4, 50);
    fastrand::Rng::with_seed(5).shuffle(&mut all);
    let bodies = all.iter().map(body).collect();
    backend.send(bodies).await;

    // Half of the kills come before or after the answer of the n-th call, half at any moment.
    let points = Mutex::new(BTreeMap::<String, usize>::new());
    let invocations = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let worker = async |number: u64| {
        let mut random = fastrand::Rng::with_seed(number);
        let settings = [("BACKOFF_BASE_SECONDS", "1"), ("BACKOFF_MAX_SECONDS", "3")];
        let start = async |life: u64| {
            let lane = format!("worker-{number}-{life}");
            let function = backend
                .function_on(&lane, "event-processor", &settings)
                .await;
            (lane, function)
        };
        let mut life = 0;
        let (mut lane, mut function) = start(life).await;
        while !done.load(Ordering::Relaxed) {
            let messages = backend.receive().await;
            if messages.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            let batch = json!({ "Records": messages });
            let before = backend.wire.count_all(&lane);
            let call = random.u64(..8);
            let at_a_call = async |fault| {
                backend.wire.fault_after(call, &lane, "*", fault);
                while backend.wire.count_all(&lane) <= before + call {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let moment = random.u64(1_000..40_000);
            let kind = random.u8(..16);
            let dies = async {
                match kind {
                    0 => at_a_call(Fault::Hang).await,
                    1 => at_a_call(Fault::HangAfter).await,
                    2 | 3 => tokio::time::sleep(Duration::from_micros(moment)).await,
                    _ => std::future::pending().await,
                }
            };
            invocations.fetch_add(1, Ordering::Relaxed);
            let answer = tokio::select! {
                biased;
                answer = function.invoke(&batch) => Some(answer.unwrap()),
                () = dies => None,
            };
            backend.wire.heal_lane(&lane);
            match answer {
                Some(answer) => {
                    let failed = answer["batchItemFailures"].as_array().unwrap();
                    let failed: Vec<&Value> =
                        failed.iter().map(|it| &it["itemIdentifier"]).collect();
                    let succeeded = messages.iter();
                    let succeeded = succeeded.filter(|it| !failed.contains(&&it["messageId"]));
                    backend.delete(succeeded).await;
                }
                None => {
                    let point = match kind {
                        0 => format!("before call {}", call + 1),
                        1 => format!("after call {}", call + 1),
                        _ => "any moment".to_owned(),
                    };
                    *points.lock().unwrap().entry(point).or_default() += 1;
                    life += 1;
                    (lane, function) = start(life).await;
                }
            }
        }
    };
    let watch = async {
        let give_up = Instant::now() + Duration::from_secs(600);
        while backend.depth(&backend.queue_url).await > 0 {
            assert!(Instant::now() < give_up, "the queue isn't empty");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let workers = (0..4).map(worker);
    tokio::join!(futures_util::future::join_all(workers), watch);

    assert_equal_to_oracle(&backend.items().await, &fleets, &all);
    assert_eq!(backend.depth(&dead_letters).await, 0);
    let points = points.into_inner().unwrap();
    let kills: usize = points.values().sum();
    assert!(kills >= wanted, "{kills} kills only: {points:?}");
    println!(
        "crashes: {} fleets, {} events, {} invocations, {kills} of them killed: every record and every history equals the \
         oracle's, nothing is parked, no dead letters; killed {points:?}; {:.0} s",
        fleets.len(),
        all.len(),
        invocations.into_inner(),
        start.elapsed().as_secs_f64()
    );
}

/// The message that ingest makes of an envelope.
fn body(envelope: &Envelope) -> String {
    let message = Message {
        received_at: CatenaInstant::from(OffsetDateTime::now_utc()),
        delivery: oracle::scrubbed(envelope),
    };
    message.into_body()
}

/// Less than Lambda's, so that the drill doesn't wait for what was killed.
const VISIBILITY: Duration = Duration::from_secs(8);

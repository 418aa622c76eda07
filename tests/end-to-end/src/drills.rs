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

use axum::http::Method;
use catena::Instant as CatenaInstant;
use futures_util::{StreamExt, stream};
use local::wire::Fault;
use queue::Message;
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use time::OffsetDateTime;

use crate::{
    backend::Backend,
    catena::silent,
    oracle,
    partner::invitation_of,
    stack::{Running, assert_equal_to_oracle, fleets},
};

/// The short figure, or the long one for `cargo xtask drill`.
pub(crate) fn scale(short: usize, long: usize) -> usize {
    let long_wanted = std::env::var_os("KINGPIN_DRILL").is_some_and(|form| form == "long");
    if long_wanted { long } else { short }
}

/// Fleets of which every third shares its predecessor's connection, and all that happens to them: a change of mind, a
/// schedule that stops, a connection that goes stale and is linked again, an agreement that is paused and holds again.
pub(crate) fn eventful(count: usize) -> (Vec<Fleet>, Vec<Vec<Envelope>>) {
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
pub(crate) fn body(envelope: &Envelope) -> String {
    let now = CatenaInstant::from(OffsetDateTime::now_utc());
    Message::delivered(now, oracle::scrubbed(envelope)).into_body()
}

/// Less than Lambda's, so that the drill doesn't wait for what was killed.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(8);

/// The partner API is killed before and after the answer of each of its calls to AWS while it invites a fleet; so Catena may
/// have answered or not, and any part of that may have been written down.
#[tokio::test(flavor = "multi_thread")]
async fn invitations() {
    let backend = &Backend::start().await;
    let start = Instant::now();
    let catena = &silent().await;
    let status = |answer: &Value| answer["statusCode"].as_u64().unwrap();

    // How many calls an invitation takes when nothing goes wrong.
    let function = backend.partner_api(catena.url(), &[("LANE", "calm")]).await;
    let calm = function.invoke(&invitation_of("CALM")).await.unwrap();
    assert_eq!(status(&calm), 201, "{calm}");
    let calls = backend.wire.count_all("calm");

    let crash = async |(call, after): (u64, bool)| {
        let fleet = format!("FLEET-{call}-{after}");
        let lane = format!("crash-{call}-{after}");
        let settings = [("LANE", lane.as_str())];
        let function = backend.partner_api(catena.url(), &settings).await;
        let fault = if after { Fault::HangAfter } else { Fault::Hang };
        backend.wire.fault_after(call, &lane, "*", fault);
        let reached = async {
            while backend.wire.count_all(&lane) <= call {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let event = invitation_of(&fleet);
        tokio::select! {
            answer = function.invoke(&event) => panic!("call {call} didn't hang: {answer:?}"),
            () = reached => {}
        }
        drop(function);
        backend.wire.heal_lane(&lane);
        let function = backend.partner_api(catena.url(), &settings).await;
        let healed = function.invoke(&event).await.unwrap();
        let again = function.invoke(&event).await.unwrap();
        let body: Value = serde_json::from_str(healed["body"].as_str().unwrap()).unwrap();
        assert!([200, 201].contains(&status(&healed)), "{fleet}: {healed}");
        assert_eq!(status(&again), 200, "{fleet}: {again}");
        body["outcome"].as_str().unwrap().to_owned()
    };
    let points = (0..calls).flat_map(|call| [(call, false), (call, true)]);
    let crashes: Vec<_> = points.map(crash).collect();
    let kills = crashes.len();
    let outcomes: Vec<String> = stream::iter(crashes).buffer_unordered(6).collect().await;
    let posts = catena.api_calls();
    let posts = posts
        .iter()
        .filter(|it| it.method == "POST" && it.path != simulator::TOKEN_PATH);
    assert_eq!(posts.count(), kills + 1, "some fleet was invited twice");
    let mut counts = BTreeMap::<String, usize>::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_default() += 1;
    }
    assert!(
        counts.contains_key("adopted") && counts.contains_key("created"),
        "{counts:?}"
    );
    println!(
        "invitations: {kills} kills, before and after the answer of each of {calls} calls: each fleet was invited by one call to \
         Catena, and the next PUT found it: {counts:?}; {:.0} s",
        start.elapsed().as_secs_f64()
    );
}

/// `access` under load, next to a bare `GetItem` of the same records under the same load.
#[tokio::test(flavor = "multi_thread")]
async fn access() {
    let running = Running::start(&[]).await;
    let start = Instant::now();
    let fleets = fleets(scale(20, 100));
    let events: Vec<Envelope> = fleets.iter().flat_map(events::onboarding).collect();
    running.deliver(&events, false).await;
    running.settled(Duration::from_secs(120)).await;

    let partner = running.partner();
    let table = running.stack.table().unwrap();
    let calls = scale(200, 2_000);
    let fleet = |call: usize| fleets[call % fleets.len()].fleet_ref.as_str();
    let access = async |call: usize| {
        let path = format!("/fleets/{}/access", fleet(call));
        let answer = partner.send(Method::GET, &path, None).await.unwrap();
        assert_eq!(answer.json().unwrap()["stage"], "connected");
    };
    let get = async |call: usize| {
        let pk = format!("FLEET#{}", fleet(call));
        let key = json!({ "pk": { "S": pk }, "sk": { "S": "RECORD" } });
        let get = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
        let found = running.stack.aws.dynamodb("GetItem", get).await.unwrap();
        assert_eq!(found["Item"]["stage"]["S"], "connected");
    };
    // Both once before, so that neither pays for a cold start.
    access(0).await;
    get(0).await;
    let lane = || running.stack.wire.count_all("partner-api");
    let before = lane();
    let access = latencies(calls, access).await;
    let requests = lane() - before;
    let get = latencies(calls, get).await;
    // One strong read each, and nothing else: the SDK may repeat one that was slow.
    assert!(
        (calls as u64..calls as u64 + 10).contains(&requests),
        "{calls} calls made {requests} requests"
    );
    let at =
        |sorted: &[Duration], percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let told = |name: &str, percent: usize| {
        let (access, get) = (at(&access, percent), at(&get, percent));
        let ratio = access.as_secs_f64() / get.as_secs_f64();
        format!(
            "{name} {:.1} ms to {:.1} ms: {ratio:.1} times",
            ms(access),
            ms(get)
        )
    };
    println!(
        "access: {calls} calls, {LOAD} at once, next to as many bare GetItems; {}; {}; {requests} requests to DynamoDB; {:.0} s",
        told("p50", 50),
        told("p99", 99),
        start.elapsed().as_secs_f64()
    );
}

/// The partner API against its OpenAPI document.
#[tokio::test(flavor = "multi_thread")]
async fn openapi() {
    match crate::openapi::run().await {
        Some(told) => println!("openapi: {told}"),
        None => eprintln!(
            "SKIPPED: schemathesis isn't there; `cargo xtask test` installs it below target/tools/api"
        ),
    }
}

/// Processor, reconciler and publisher are killed before and after their calls of AWS, in turn.
#[tokio::test(flavor = "multi_thread")]
async fn kills() {
    println!(
        "kills: {}",
        crate::kills::run(scale(35, 105), scale(3, 20)).await
    );
}

/// `kingpin setup` and `kingpin subscription` are killed before and after their calls of AWS, Catena and the partner API.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions() {
    let every = scale(17, 1) as u64;
    let tell = |story: &str| println!("subscriptions: {story}");
    let told = crate::cut_off::run(every, tell).await;
    println!("subscriptions: {told}");
}

/// What a sweep over fleets of which nothing is missing asks for.
#[tokio::test(flavor = "multi_thread")]
async fn idle() {
    println!("idle: {}", crate::reconciling::idle().await);
}

/// Three of ten webhooks get lost for good, and other things happen without one: what the reconciler makes of it.
#[tokio::test(flavor = "multi_thread")]
async fn losses() {
    println!("losses: {}", crate::losses::run(scale(30, 200)).await);
}

/// Ingestion fails for a while, Catena stops its subscriptions, and nobody but the reconciler brings them back.
#[tokio::test(flavor = "multi_thread")]
async fn breaker() {
    let lasting = Duration::from_secs(scale(4, 20) as u64);
    let told = crate::breaker::run(scale(10, 60), lasting).await;
    println!("breaker: {told}");
}

/// A new signing key, under traffic.
#[tokio::test(flavor = "multi_thread")]
async fn rotation() {
    let is_long = scale(0, 1) == 1;
    let told = crate::rotation::run(scale(600, 5_000), is_long).await;
    println!("rotation: {told}");
}

/// Writes, and everything that can get lost on the way, come twice, or contradict itself.
#[tokio::test(flavor = "multi_thread")]
async fn writes() {
    println!("writes: {}", crate::writes::run(scale(4, 100)).await);
}

/// Writes of which no webhook ever comes.
#[tokio::test(flavor = "multi_thread")]
async fn polls() {
    println!("polls: {}", crate::silence::run(scale(1_000, 10_000)).await);
}

/// Fleets in a browser, from their links through Connect and back.
#[tokio::test(flavor = "multi_thread")]
async fn journeys() {
    // Skipped loudly where there is no browser.
    if let Some(told) = crate::journeys::walk(scale(3, 12)).await {
        println!("journeys: {told}");
    }
}

/// How long each of some calls took, sorted.
async fn latencies(calls: usize, call: impl AsyncFn(usize)) -> Vec<Duration> {
    let timed = async |number| {
        let start = Instant::now();
        call(number).await;
        start.elapsed()
    };
    let timed = (0..calls).map(timed);
    let mut latencies: Vec<_> = stream::iter(timed).buffer_unordered(LOAD).collect().await;
    latencies.sort_unstable();
    latencies
}

/// Calls at once.
const LOAD: usize = 8;

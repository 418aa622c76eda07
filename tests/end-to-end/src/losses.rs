//! The drill of webhooks that get lost for good: afterwards every record says what holds at Catena, and that cost few calls.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use reconciliation::Comparison;
use simulator::{Loss, Simulator};
use store::{Table, timestamp};
use time::OffsetDateTime;

use crate::{
    drills::scale,
    fates::befall,
    reconciling::Watched,
    truth::{differing, wrongly_stopped},
};

/// What came of it for so many fleets.
pub(crate) async fn run(count: usize) -> String {
    let watched = Watched::start(&[]).await;
    let start = Instant::now();
    let simulator = &watched.running.stack.simulator;
    let table = &watched.running.table().await;
    let differing = async || differing(simulator, table, &watched.policy).await;

    simulator.set_webhook_loss(Loss {
        share: 0.3,
        seed: 3,
    });
    // All of it is found out about afterwards, or else the reconciler would be through with most of it before.
    watched.work_off_tasks(false).await;
    let imported = befall(simulator, Some(&watched.running.partner()), count).await;
    simulator.set_webhook_loss(Loss::default());
    let lost = simulator.lost_webhooks();
    watched.running.settled(Duration::from_secs(120)).await;
    let ill = differing().await.len();
    // What is answered is timed some seconds back, and no wait of these is that short where it isn't a hundredth of what is usual.
    tokio::time::sleep(LEEWAY).await;
    simulator.clear_api_calls();
    let healing = Instant::now();
    watched.work_off_tasks(true).await;

    let sweeps = AtomicUsize::new(0);
    let sweep = async || {
        sweeps.fetch_add(1, Ordering::Relaxed);
        watched.sweep().await;
        tokio::time::sleep(PACE).await;
    };
    let give_up = Instant::now() + LIMIT;
    while !watched.is_quiet().await && !differing().await.is_empty() {
        assert!(Instant::now() < give_up, "{:?}", watched.outcomes());
        sweep().await;
    }
    let looked = calls(simulator);
    let left = differing().await.len();

    begin_comparison(table).await;
    loop {
        let ill = differing().await;
        if ill.is_empty() && is_compared(table).await {
            break;
        }
        assert!(
            Instant::now() < give_up,
            "not healed: {ill:#?}\n{:?}\n{:?}",
            watched.outcomes(),
            lost
        );
        sweep().await;
    }
    let calls = calls(simulator);
    let took = healing.elapsed();

    // What was noticed to stop and runs again is known to run, and nothing of the rest comes back.
    while !watched.is_quiet().await || is_wrongly_stopped(&watched).await {
        assert!(
            Instant::now() < give_up,
            "a schedule that runs is called stopped"
        );
        sweep().await;
    }
    let again = differing().await;
    assert!(again.is_empty(), "{again:#?}");
    assert_eq!(watched.running.dead_letters().await, 0);
    assert_eq!(simulator.lost_webhooks(), lost);
    let dropped: usize = lost.values().sum();
    let per_fleet = calls as f64 / ill as f64;
    assert!(
        per_fleet <= most_calls(),
        "{calls} calls for {ill} healed fleets, {looked} of them before the comparison: {per_fleet:.1} each"
    );
    format!(
        "{count} fleets, {imported} of them at Catena alone; {dropped} webhooks dropped: {lost:?}; {ill} fleets differed from the truth, \
         {left} of them after {looked} calls of looks, none after the comparison: {calls} calls in all, {per_fleet:.1} per healed fleet; \
         {} sweeps; healed in {:.0} s at a hundredth of the usual waits; {:.0} s",
        sweeps.into_inner(),
        took.as_secs_f64(),
        start.elapsed().as_secs_f64()
    )
}

/// Calls of the API, without those for tokens.
pub(crate) fn calls(simulator: &Simulator) -> usize {
    let calls = simulator.api_calls();
    let calls = calls.iter();
    calls
        .filter(|call| call.path != simulator::TOKEN_PATH)
        .count()
}

/// Makes the daily comparison due.
pub(crate) async fn begin_comparison(table: &Table) {
    let shared = table.shared().await.unwrap();
    let begun = Comparison::new(timestamp(OffsetDateTime::now_utc()));
    let begun = table.compare(&shared, &begun.text(), None).await;
    assert!(begun.unwrap(), "somebody else compares");
}

pub(crate) async fn is_compared(table: &Table) -> bool {
    let shared = table.shared().await.unwrap();
    shared
        .comparison
        .and_then(|text| Comparison::read(&text))
        .is_some_and(|it| it.finished.is_some())
}

async fn is_wrongly_stopped(watched: &Watched) -> bool {
    let simulator = &watched.running.stack.simulator;
    for fleet in simulator.fleet_refs() {
        let record = watched.record(&fleet).await;
        let truth = simulator.truth(&fleet).unwrap();
        if !wrongly_stopped(&truth, &record.record.facts).is_empty() {
            return true;
        }
    }
    false
}

/// Calls of Catena per fleet that was healed, at most. What doesn't depend on how many there are weighs on a few.
fn most_calls() -> f64 {
    if scale(0, 1) == 1 { 6.0 } else { 8.0 }
}

/// The schedule's minute, at a hundredth.
const PACE: Duration = Duration::from_millis(600);
const LEEWAY: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(240);

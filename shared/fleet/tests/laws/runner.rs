//! Runs a law over many histories, and makes the history that breaks it small.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use fastrand::Rng;

use crate::history::{History, Step};

/// What a law says about a history: nothing, or how it is broken.
pub(crate) type Verdict = Result<(), String>;

/// Checks a law over at least [`HISTORIES`] histories.
pub(crate) fn holds(law: &str, check: impl Fn(&History, &mut Rng) -> Verdict + Sync) {
    holds_for(law, History::of, check);
}

/// The same for histories of another kind.
pub(crate) fn holds_for(
    law: &str,
    history: fn(&mut Rng) -> History,
    check: impl Fn(&History, &mut Rng) -> Verdict + Sync,
) {
    let (started, first) = (Instant::now(), first_seed());
    let (ran, stop, broken) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let work = |nth: u64| {
        let mut seeds = (first + nth..first + HISTORIES).step_by(threads as usize);
        while let Some(seed) = seeds.next().filter(|_| !stop.load(Relaxed)) {
            let mut rng = Rng::with_seed(seed);
            let history = history(&mut rng);
            if let Err(why) = verdict(&check, &history, &mut rng) {
                stop.store(true, Relaxed);
                *broken.lock().expect("no thread panics") = Some((seed, history, why));
            }
            ran.fetch_add(1, Relaxed);
        }
    };
    thread::scope(|scope| {
        for nth in 0..threads {
            let work = &work;
            scope.spawn(move || work(nth));
        }
    });
    if let Some((seed, history, why)) = broken.into_inner().expect("no thread panics") {
        let (history, why) = shrunk(&check, history, why);
        panic!(
            "{law}: broken by seed {seed}, shrunk to\n{}\n{why}",
            shown(&history)
        );
    }
    let ran = ran.into_inner();
    let seconds = started.elapsed().as_secs_f64();
    println!("{law}: {ran} histories in {seconds:.1} s");
    assert!(ran >= HISTORIES);
}

/// After how many histories a check that should fail does so, if it does soon.
pub(crate) fn caught_after(check: impl Fn(&History, &mut Rng) -> Verdict) -> Option<u64> {
    (0..SOON).find_map(|nth| {
        let mut rng = Rng::with_seed(first_seed() + nth);
        let history = History::of(&mut rng);
        check(&history, &mut rng).is_err().then_some(nth + 1)
    })
}

/// The first of the seeds: always the same, unless `LAWS_SEED` says otherwise.
pub(crate) fn first_seed() -> u64 {
    let seed = std::env::var("LAWS_SEED").ok();
    seed.map_or(20_260_101, |seed| seed.parse().expect("a number"))
}

/// Panics are broken laws, too.
fn verdict(
    check: &impl Fn(&History, &mut Rng) -> Verdict,
    history: &History,
    rng: &mut Rng,
) -> Verdict {
    let result = catch_unwind(AssertUnwindSafe(|| check(history, rng)));
    result.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Leaves out what isn't needed to break the law.
fn shrunk(
    check: &impl Fn(&History, &mut Rng) -> Verdict,
    mut history: History,
    mut why: String,
) -> (History, String) {
    let breaks = |history: &History| {
        let mut tries = (0..200).map(Rng::with_seed);
        tries.find_map(|mut rng| verdict(check, history, &mut rng).err())
    };
    let mut smaller = true;
    while smaller {
        smaller = false;
        for nth in (0..history.steps.len()).rev() {
            let mut without = history.clone();
            without.steps.remove(nth);
            if let Some(still) = breaks(&without) {
                (history, why, smaller) = (without, still, true);
            }
        }
        while history.policies.len() > 1 {
            let mut without = history.clone();
            without.policies.pop();
            let Some(still) = breaks(&without) else { break };
            (history, why) = (without, still);
        }
    }
    (history, why)
}

fn shown(history: &History) -> String {
    let step = |step: &Step| match step {
        Step::Fleet(fleet, said) => {
            let said = serde_json::to_string(said).expect("observations are JSON");
            format!("  fleet {fleet}: {said}\n")
        }
        Step::Connection(said) => {
            let said = serde_json::to_string(said).expect("observations are JSON");
            format!("  {said}\n")
        }
        Step::Decided(at, kind, decided) => format!("  {at:?} {kind:?}: {decided:?}\n"),
    };
    let steps: String = history.steps.iter().map(step).collect();
    format!("  {:?}\n{steps}", history.policies)
}

/// How many histories each law is checked over.
const HISTORIES: u64 = 100_000;

/// How many histories may pass until a broken merge is noticed. One in a thousand is enough for the rarest.
const SOON: u64 = 20_000;

//! The first fleet's record, as whoever keeps it brings it through a history.

use fastrand::Rng;
use fleet::{Fact, Observation, Policy, Record, Timestamp};

use crate::history::{DAY, History, Step, arrivals};

/// The first fleet's record after all of a history arrived, with what was granted on the way.
pub(crate) fn lived(history: &History, rng: &mut Rng) -> Record {
    lived_until(history, rng).0
}

/// The same, and what time it is by then.
pub(crate) fn lived_until(history: &History, rng: &mut Rng) -> (Record, Timestamp) {
    let mut record = Record::default();
    let mut now = Timestamp(i64::MIN);
    for (step, policy) in arriving(history, rng) {
        record = taken_in(record, &step);
        now = clock(now, &step, rng);
        record.settle(policy, now);
    }
    (record, now)
}

/// What time it is when something arrives: it goes on, and is seldom earlier than what it happens to.
pub(crate) fn clock(now: Timestamp, step: &Step, rng: &mut Rng) -> Timestamp {
    let late = [0, 0, 1000, DAY][rng.usize(..4)];
    now.max(step.at().time().plus(late))
}

/// What arrives about the first fleet, and under which policy it does. News of connections arrives as if it was always known
/// that they serve it; `connections` shows that this is so in the end.
pub(crate) fn arriving<'a>(history: &'a History, rng: &mut Rng) -> Vec<(Step, &'a Policy)> {
    let steps = arrivals(rng, &concerning(history), Step::at);
    let (last, count) = (history.policies.len(), steps.len());
    let nth = steps.into_iter().enumerate();
    // The last policy rules from the last arrival on at least.
    nth.map(|(nth, step)| (step, &history.policies[(nth + 1) * (last - 1) / count]))
        .collect()
}

/// All that concerns the first fleet, decisions included.
pub(crate) fn concerning(history: &History) -> Vec<Step> {
    let said = history.observations(0).into_iter();
    let said = said.map(|said| match said.fact {
        Fact::Connection { .. } => Step::Connection(said),
        _ => Step::Fleet(0, said),
    });
    let decided = history.steps.iter();
    let decided = decided.filter(|step| matches!(step, Step::Decided(..)));
    said.chain(decided.cloned()).collect()
}

/// A record and one more thing that became known.
pub(crate) fn taken_in(mut record: Record, step: &Step) -> Record {
    match step {
        Step::Fleet(_, said) | Step::Connection(said) => record.fold(said),
        Step::Decided(at, kind, decided) => {
            record.decide(*at, *kind, decided.clone());
            record
        }
    }
}

/// A record in the form that it is kept in.
pub(crate) fn bytes(record: &Record) -> String {
    serde_json::to_string(record).expect("records are JSON")
}

/// A record of observations alone.
pub(crate) fn told(said: &[Observation]) -> Record {
    said.iter().fold(Record::default(), Record::fold)
}

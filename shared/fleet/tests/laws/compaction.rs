//! What compaction drops counts for nothing: neither now nor with what is heard later.

use fastrand::Rng;
use fleet::{Observation, Policy, Record, Timestamp};

use crate::{
    history::{History, arrivals},
    runner::{Verdict, holds},
    shell::{lived, told},
};

#[test]
fn compaction_changes_nothing_that_follows_from_a_record() {
    holds("compaction", |history, rng| {
        let (record, horizon) = (lived(history, rng), any_moment(history, rng));
        let rest = compacted(record.clone(), horizon);
        for now in history.moments(rng, 3) {
            same(&record, &rest, last_policy(history), now)?;
        }
        Ok(())
    });
}

#[test]
fn compaction_changes_nothing_that_is_decided() {
    holds("compaction and decisions", |history, rng| {
        let mut whole = told(&history.observations(0));
        let (horizon, now) = (any_moment(history, rng), any_moment(history, rng));
        let mut rest = compacted(whole.clone(), horizon);
        whole.settle(last_policy(history), now);
        rest.settle(last_policy(history), now);
        if whole.decisions == rest.decisions {
            return Ok(());
        }
        let (is, was) = (rest.decisions, whole.decisions);
        Err(format!("{is:?}\nrather than\n{was:?}"))
    });
}

#[test]
fn compacting_twice_is_compacting_once() {
    holds("compacting twice", |history, rng| {
        let horizon = any_moment(history, rng);
        let once = compacted(lived(history, rng), horizon);
        if compacted(once.clone(), horizon) == once {
            return Ok(());
        }
        Err(format!("{once:?}"))
    });
}

#[test]
fn compaction_drops_only_what_was_heard_of_before_the_horizon() {
    holds("compaction's horizon", |history, rng| {
        let horizon = any_moment(history, rng);
        let rest = compacted(lived(history, rng), horizon);
        for said in history.observations(0) {
            let news = rest.clone().fold(&said) != rest;
            if news && said.at.time() >= horizon {
                return Err(format!("{said:?} is news again after {horizon:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_heard_after_compaction_means_what_it_would_have_meant() {
    holds("news after compaction", |history, rng| {
        let (said, horizon) = (history.observations(0), any_moment(history, rng));
        let (later, earlier): (Vec<Observation>, Vec<_>) = {
            let said = said.iter().cloned();
            said.partition(|said| said.at.time() >= horizon)
        };
        let mut record = compacted(told(&earlier), horizon);
        for said in arrivals(rng, &later, |it| it.at) {
            record = record.fold(&said);
        }
        let whole = told(&said);
        for now in history.moments(rng, 3) {
            same(&whole, &record, last_policy(history), now)?;
        }
        Ok(())
    });
}

fn compacted(mut record: Record, horizon: Timestamp) -> Record {
    record.facts = record.facts.compacted(horizon);
    record
}

fn same(whole: &Record, rest: &Record, policy: &Policy, now: Timestamp) -> Verdict {
    let (was, is) = (whole.standing(policy, now), rest.standing(policy, now));
    if was == is {
        return Ok(());
    }
    Err(format!("at {now:?}\n  {is:?}\nrather than\n  {was:?}"))
}

fn any_moment(history: &History, rng: &mut Rng) -> Timestamp {
    history.moments(rng, 1)[0]
}

fn last_policy(history: &History) -> &Policy {
    history.policies.last().expect("there is a policy")
}

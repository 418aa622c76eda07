//! What is dropped as over and old changes nothing, neither now nor with what is heard later.

use fastrand::Rng;
use fleet::{ConnectionFact, Fact, LinkFacts, Observation, Record, Standing, Timestamp};

use crate::{
    history::{History, arrivals},
    oracle,
    runner::{Verdict, holds},
    shell::{lived, told},
    standing,
};

#[test]
fn compaction_changes_neither_stage_nor_admission_nor_data_scopes() {
    holds("compaction", |history, rng| {
        compared(history, rng, standing::same)
    });
}

#[test]
fn compaction_changes_nothing_that_is_due() {
    holds("compaction and due", |history, rng| {
        compared(history, rng, |one, other| one.due == other.due)
    });
}

#[test]
fn compacting_twice_is_compacting_once() {
    holds("compacting twice", |history, rng| {
        let horizon = history.moments(rng, 1)[0];
        let facts = lived(history, rng).facts.compacted(horizon);
        if facts.clone().compacted(horizon) == facts {
            return Ok(());
        }
        Err(format!("{facts:?}"))
    });
}

#[test]
fn compaction_drops_what_was_heard_of_before_the_horizon_only() {
    holds("compaction's horizon", |history, rng| {
        let record = lived(history, rng);
        let horizon = history.moments(rng, 1)[0];
        let facts = record.facts.compacted(horizon);
        for said in history.observations(0) {
            let repeated = facts.clone().fold(&said);
            if said.at.time() >= horizon && repeated != facts {
                return Err(format!("{said:?} is news again after {horizon:?}"));
            }
        }
        Ok(())
    });
}

/// Grants are made of facts, so that what can be granted must not be dropped either.
#[test]
fn compaction_changes_nothing_that_can_be_granted() {
    holds("compaction and grants", |history, rng| {
        let record = told(&history.observations(0));
        let (mut rest, horizon) = compacted(&record, history, rng);
        let mut whole = record;
        let policy = history.policies.last().expect("there is a policy");
        whole.settle(policy, horizon);
        rest.settle(policy, horizon);
        if whole.decisions == rest.decisions {
            return Ok(());
        }
        Err(format!(
            "{:?}\nrather than\n{:?}",
            rest.decisions, whole.decisions
        ))
    });
}

#[test]
fn what_is_heard_after_compaction_gives_the_standing_that_it_gave_before() {
    holds("news after compaction", |history, rng| {
        let (said, horizon) = (history.observations(0), history.moments(rng, 1)[0]);
        let (mut later, earlier) = split(&said, horizon);
        let mut record = told(&earlier);
        later.retain(|said| !returns(said, &record));
        let said = [&*earlier, &*later].concat();
        record.facts = record.facts.compacted(horizon);
        let after = arrivals(rng, &later, |it| it.at)
            .iter()
            .fold(record, Record::fold);
        let mut before = told(&said);
        before.facts = before.facts.compacted(horizon);
        let policy = history.policies.last().expect("there is a policy");
        for now in history.moments(rng, 3) {
            let now = now.max(horizon);
            differ(&before, &after, policy, now, standing::same)?;
        }
        Ok(())
    });
}

/// The part of the law above that must hold whatever else is given up.
#[test]
fn data_scopes_are_never_wider_than_the_newest_agreement_after_compaction() {
    holds("scopes after compaction", |history, rng| {
        let (said, horizon) = (history.observations(0), history.moments(rng, 1)[0]);
        let (later, earlier) = split(&said, horizon);
        let mut record = told(&earlier);
        record.facts = record.facts.compacted(horizon);
        let after = later.iter().fold(record, Record::fold);
        let policy = history.policies.last().expect("there is a policy");
        for now in history.moments(rng, 3) {
            let now = now.max(horizon);
            let scopes = after.standing(policy, now).data_scopes;
            let whole = told(&said).standing(policy, now).data_scopes;
            if !oracle::within(&scopes, &whole) {
                return Err(format!("at {now:?} {scopes:?} rather than {whole:?}"));
            }
        }
        Ok(())
    });
}

fn compared(
    history: &History,
    rng: &mut Rng,
    same: impl Fn(&Standing, &Standing) -> bool,
) -> Verdict {
    let record = lived(history, rng);
    let (rest, horizon) = compacted(&record, history, rng);
    let policy = history.policies.last().expect("there is a policy");
    for now in history.moments(rng, 3) {
        differ(&record, &rest, policy, now.max(horizon), &same)?;
    }
    Ok(())
}

fn compacted(record: &Record, history: &History, rng: &mut Rng) -> (Record, Timestamp) {
    let horizon = history.moments(rng, 1)[0];
    let facts = record.facts.clone().compacted(horizon);
    let decisions = record.decisions.clone();
    (Record { facts, decisions }, horizon)
}

fn differ(
    one: &Record,
    other: &Record,
    policy: &fleet::Policy,
    now: Timestamp,
    same: impl Fn(&Standing, &Standing) -> bool,
) -> Verdict {
    let (was, is) = (one.standing(policy, now), other.standing(policy, now));
    if same(&was, &is) {
        return Ok(());
    }
    Err(format!("at {now:?}\n  {is:?}\nrather than\n  {was:?}"))
}

/// Whether a connection that is over comes back by a state alone. Catena has no way for that: it links anew.
fn returns(said: &Observation, record: &Record) -> bool {
    let Fact::Connection {
        connection,
        was: ConnectionFact::State(_),
    } = &said.fact
    else {
        return false;
    };
    let known = record.facts.connections.get(connection);
    known.is_some_and(LinkFacts::is_over)
}

/// What is of the horizon or later, and the rest.
fn split(said: &[Observation], horizon: Timestamp) -> (Vec<Observation>, Vec<Observation>) {
    let said = said.iter().cloned();
    said.partition(|said| said.at.time() >= horizon)
}

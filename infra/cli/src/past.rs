//! A record as it was at an earlier time, by what is known of that time today.

use std::cmp::Reverse;

use api::short_hash;
use fleet::{Confirmation, ConnectionFacts, Decisions, Facts, Policy, Record, Register, Timestamp};
use store::HistoryEntry;

use crate::readable::short_id;

/// How well an earlier time is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// Whether the history holds all that led to today's record.
    pub(crate) complete: bool,
    /// What may have been different then and isn't known any more.
    pub(crate) gaps: Vec<String>,
    /// Whether that is so of an agreement: that none is known then doesn't mean that none was heard of.
    pub(crate) lacks_agreement: bool,
}

/// The record as it was at `at`: what it holds of that time and of times before, and what its history adds. Where the
/// history has lost what a newer fact replaced, that is named.
pub(crate) fn record_at(
    record: &Record,
    history: &[HistoryEntry],
    at: Timestamp,
) -> (Record, Known) {
    let observations = || history.iter().flat_map(|entry| &entry.news);
    let fold = |facts: Facts, observation| facts.fold(observation);
    let complete = observations().fold(Facts::default(), fold) == record.facts;

    let kept = of_before(&record.facts, at);
    let mut facts = observations()
        .filter(|observation| observation.at.time() <= at)
        .fold(kept, fold);
    for (id, now) in &record.facts.agreements {
        if let Some(then) = facts.agreements.get_mut(id) {
            then.first = then.first.min(now.first);
        }
    }
    let mut known = Known {
        complete,
        gaps: Vec::new(),
        lacks_agreement: false,
    };
    if !complete {
        known.gaps = lost_agreements(&record.facts, &facts, at);
        known.lacks_agreement = !known.gaps.is_empty();
        known.gaps.extend(lost(&record.facts, &facts, at));
    }
    let (decisions, replaced) = decisions_of_before(&record.decisions, at);
    known.gaps.extend(replaced);
    let mut then = Record { facts, decisions };
    // Since when all was broken follows from the facts again, unless it is frozen since an earlier moment; nothing that
    // wasn't granted is.
    let policy = Policy {
        confirmation: Confirmation::Off,
        ..Policy::default()
    };
    then.settle(&policy, at);
    (then, known)
}

/// What the facts of today say of `at` and of times before.
fn of_before(facts: &Facts, at: Timestamp) -> Facts {
    let mut facts = facts.clone();
    forget(&mut facts.name, at);
    forget(&mut facts.catena_fleet, at);
    forget(&mut facts.requests_refused, at);
    facts
        .invitations
        .retain(|_, known| known.first.is_some_and(|first| first.time() <= at));
    for known in facts.invitations.values_mut() {
        forget(&mut known.decision, at);
        forget(&mut known.ends, at);
        forget(&mut known.claim, at);
        for moment in [
            &mut known.viewed,
            &mut known.sent,
            &mut known.claimed_request,
        ] {
            *moment = moment.filter(|moment| moment.time() <= at);
        }
    }
    facts
        .agreements
        .retain(|_, known| known.current.at().time() <= at);
    facts
        .requests
        .retain(|_, known| known.current.at().time() <= at);
    for known in facts.connections.values_mut() {
        known.linked = known.linked.filter(|linked| linked.time() <= at);
        forget(&mut known.connection.state, at);
        forget(&mut known.connection.source, at);
        let schedules = &mut known.connection.schedules;
        schedules.retain(|_, schedule| schedule.at().time() <= at);
    }
    facts.connections.retain(|_, known| {
        known.linked.is_some() || known.connection != ConnectionFacts::default()
    });
    facts
}

fn forget<T: Ord>(slot: &mut Option<Register<T>>, at: Timestamp) {
    if slot
        .as_ref()
        .is_some_and(|register| register.at().time() > at)
    {
        *slot = None;
    }
}

/// Agreements that were there, and of which a newer version is all that is known.
fn lost_agreements(today: &Facts, then: &Facts, at: Timestamp) -> Vec<String> {
    let agreements = today.agreements.iter();
    let lost =
        agreements.filter(|(id, known)| known.first <= at && !then.agreements.contains_key(*id));
    lost.map(|(id, _)| format!("how share agreement {} stood", short_id(id)))
        .collect()
}

/// What else may have been different then: newer facts replaced it, and no history tells.
fn lost(today: &Facts, then: &Facts, at: Timestamp) -> Vec<String> {
    let mut lost = Vec::new();
    for (hash, known) in &today.invitations {
        let was = then.invitations.get(hash);
        let decision = was.is_some_and(|was| was.decision.is_some());
        let existed = known.first.is_some_and(|first| first.time() <= at);
        if existed && !decision && known.decision.is_some() {
            lost.push(format!("how invitation {} stood", short_hash(hash)));
        }
    }
    for (id, known) in &today.connections {
        let was = then.connections.get(id);
        let linked = was.is_some_and(|was| was.linked.is_some());
        let state = was.is_some_and(|was| was.connection.state.is_some());
        if known.linked.is_some() && !linked {
            lost.push(format!(
                "whether data flowed through connection {}",
                short_id(id)
            ));
        } else if linked && known.connection.state.is_some() && !state {
            lost.push(format!("how connection {} stood", short_id(id)));
        }
    }
    for (id, known) in &today.requests {
        let existed = known.current.value().created <= at;
        if existed && !then.requests.contains_key(id) {
            lost.push(format!("how request {} stood", short_id(id)));
        }
    }
    lost
}

/// What was decided by then. Of an operator's decisions only the newest is kept; what it replaced isn't known.
fn decisions_of_before(decisions: &Decisions, at: Timestamp) -> (Decisions, Vec<String>) {
    let mut decisions = decisions.clone();
    decisions.grants.retain(|_, grant| grant.starts <= at);
    decisions.broken_since = decisions.broken_since.filter(|since| *since <= at);
    let mut unknown = Vec::new();
    let later = |decided: Option<Timestamp>| decided.is_some_and(|decided| decided > at);
    if later(decisions.block.as_ref().map(|it| it.at().time())) {
        decisions.block = None;
        unknown.push(
            "whether an operator blocked the fleet before the newest such decision".to_owned(),
        );
    }
    let pass: Option<&Register<Reverse<_>>> = decisions.pass.as_ref();
    if later(pass.map(|it| it.at().time())) {
        decisions.pass = None;
        unknown.push(
            "whether an operator let the fleet in before the newest such decision".to_owned(),
        );
    }
    (decisions, unknown)
}

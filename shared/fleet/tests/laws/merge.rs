//! Facts are a join of observations: commutative, associative, idempotent, and the newest wins. Each law is checked against
//! any merge, so that `broken` can show that it notices a wrong one.

use std::{cmp::Reverse, collections::BTreeMap};

use fastrand::Rng;
use fleet::{
    At, ConnectionFacts, Fact, Facts, InvitationFact, InvitationFacts, Level, Observation, Policy,
    Record, Timestamp,
};

use crate::{
    history::{History, Step, arrivals, connection_of},
    oracle,
    runner::{Verdict, holds},
};

/// A way to merge observations: the crate's, or one of the tests' own.
pub(crate) trait Merge: Clone + Default + PartialEq {
    /// Takes an observation in.
    fn fold(self, said: &Observation) -> Self;
    /// All of it, in the one form that it is kept in.
    fn bytes(&self) -> String;
    /// What is known, each as the observation that it came by.
    fn kept(&self) -> Vec<Observation>;
    /// The partner's right to data.
    fn data_scopes(&self, now: Timestamp) -> BTreeMap<String, Level>;
}

/// Any order and any repeats of the same news give the same bytes.
pub(crate) fn order_does_not_matter<M: Merge>(history: &History, rng: &mut Rng) -> Verdict {
    for said in both(history) {
        let once = folded(M::default(), &said);
        let mut arrived = arrivals(rng, &said, |it| it.at);
        for _ in 0..2 {
            same("another order", &once, &folded(M::default(), &arrived))?;
            rng.shuffle(&mut arrived);
        }
    }
    Ok(())
}

/// Whatever batches news comes in, and in whichever order the batches come.
pub(crate) fn batches_do_not_matter<M: Merge>(history: &History, rng: &mut Rng) -> Verdict {
    for said in both(history) {
        let arrived = arrivals(rng, &said, |it| it.at);
        let (from, to) = (rng.usize(..=arrived.len()), rng.usize(..=arrived.len()));
        let (a, rest) = arrived.split_at(from.min(to));
        let (b, c) = rest.split_at(from.max(to) - a.len());
        let in_order = |batches: [&[Observation]; 3]| {
            let none = M::default();
            batches.into_iter().fold(none, folded)
        };
        let once = in_order([a, b, c]);
        for others in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            same("another order of batches", &once, &in_order(others))?;
        }
    }
    Ok(())
}

/// Taking in again what was taken in already changes nothing: one observation, a part of the history or all of it.
pub(crate) fn replays_change_nothing<M: Merge>(history: &History, rng: &mut Rng) -> Verdict {
    for said in both(history) {
        let mut once = M::default();
        for said in &arrivals(rng, &said, |it| it.at) {
            once = once.fold(said);
            if once.clone().fold(said) != once {
                return Err(format!("a repeat of {said:?} changes {}", once.bytes()));
            }
        }
        let part = &said[..rng.usize(..=said.len())];
        same("a partial replay", &once, &folded(once.clone(), part))?;
        let again = arrivals(rng, &said, |it| it.at);
        same("a replay", &once, &folded(once.clone(), &again))?;
    }
    Ok(())
}

/// Of each subject the newest observation is kept, and nothing that wasn't said.
pub(crate) fn the_newest_is_kept<M: Merge>(history: &History, rng: &mut Rng) -> Verdict {
    for said in both(history) {
        let merged = folded(M::default(), &arrivals(rng, &said, |it| it.at));
        let (kept, newest) = (merged.kept(), oracle::newest(&said));
        for kept in &kept {
            let newest = newest.get(&oracle::subject(kept)).copied();
            if Some(kept.at) != newest || !said.iter().any(|said| is(said, kept)) {
                return Err(format!("{kept:?} is kept, the newest is of {newest:?}"));
            }
        }
        if kept.len() != newest.len() {
            return Err(format!("{kept:?} is kept of {newest:?}"));
        }
    }
    Ok(())
}

/// The right to data is what the newest agreement allows.
pub(crate) fn data_scopes_are_the_newest_agreements<M: Merge>(
    history: &History,
    rng: &mut Rng,
) -> Verdict {
    for said in both(history) {
        let mut known = Vec::new();
        let mut merged = M::default();
        // While news arrives the newest *known* agreement counts.
        for said in arrivals(rng, &said, |it| it.at) {
            let told = matches!(said.fact, Fact::Agreement { .. });
            merged = merged.fold(&said);
            known.push(said);
            if told {
                let now = history.moments(rng, 1)[0];
                oracle::data_scopes_are_right(&known, now, &merged.data_scopes(now))?;
            }
        }
        for now in history.moments(rng, 3) {
            oracle::data_scopes_are_right(&known, now, &merged.data_scopes(now))?;
        }
    }
    Ok(())
}

impl Merge for Facts {
    fn fold(self, said: &Observation) -> Self {
        self.fold(said)
    }

    fn bytes(&self) -> String {
        serde_json::to_string(self).expect("facts are JSON")
    }

    fn kept(&self) -> Vec<Observation> {
        let mut kept = Vec::new();
        let mut keep = |at, fact| kept.push(Observation { at, fact });
        if let Some(name) = &self.name {
            keep(name.at(), Fact::Name(name.value().clone()));
        }
        if let Some(id) = &self.catena_fleet {
            keep(id.at(), Fact::CatenaFleet(id.value().clone()));
        }
        if let Some(refused) = &self.requests_refused {
            let Reverse(is_refused) = *refused.value();
            keep(refused.at(), Fact::RequestsRefused(is_refused));
        }
        if let Some(number) = &self.regulatory {
            keep(number.at(), Fact::Regulatory(number.value().clone()));
        }
        for (id, known) in &self.invitations {
            for (at, was) in kept_of_invitation(known) {
                let invitation = id.clone();
                keep(at, Fact::Invitation { invitation, was });
            }
        }
        for (id, known) in &self.agreements {
            let (id, agreement) = (id.clone(), known.current.value().clone());
            let made = None;
            let fact = Fact::Agreement {
                id,
                made,
                agreement,
            };
            keep(known.current.at(), fact);
        }
        for (id, known) in &self.requests {
            let (id, request) = (id.clone(), known.current.value().clone());
            keep(known.current.at(), Fact::Request { id, request });
        }
        for (id, known) in &self.connections {
            let connection = id.clone();
            if let Some(at) = known.linked {
                keep(at, Fact::Linked { connection });
            }
            for said in known.connection.observations(id) {
                keep(said.at, said.fact);
            }
        }
        kept
    }

    fn data_scopes(&self, now: Timestamp) -> BTreeMap<String, Level> {
        let record = Record {
            facts: self.clone(),
            ..Record::default()
        };
        record.standing(&Policy::default(), now).data_scopes
    }
}

fn kept_of_invitation(known: &InvitationFacts) -> Vec<(At, InvitationFact)> {
    let mut kept = Vec::new();
    if let Some(decision) = &known.decision {
        let decided = decision.value().clone();
        kept.push((decision.at(), InvitationFact::Decision(decided)));
    }
    kept.extend(known.viewed.map(|at| (at, InvitationFact::Viewed)));
    kept.extend(known.sent.map(|at| (at, InvitationFact::Sent)));
    if let Some(ends) = &known.ends {
        let Reverse(end) = *ends.value();
        kept.push((ends.at(), InvitationFact::Ends(end)));
    }
    if let Some(number) = &known.invited_as {
        let was = InvitationFact::InvitedAs(number.value().clone());
        kept.push((number.at(), was));
    }
    if let Some(claim) = &known.claim {
        kept.push((claim.at(), InvitationFact::Claim(claim.value().clone())));
    }
    kept
}

/// Whether one is kept as the other: when an agreement was made is kept apart.
fn is(said: &Observation, kept: &Observation) -> bool {
    let mut said = said.clone();
    if let (Fact::Agreement { made, .. }, Fact::Agreement { made: kept, .. }) =
        (&mut said.fact, &kept.fact)
    {
        *made = *kept;
    }
    said == *kept
}

fn both(history: &History) -> [Vec<Observation>; 2] {
    [0, 1].map(|fleet| history.observations(fleet))
}

fn folded<M: Merge>(merged: M, said: &[Observation]) -> M {
    said.iter().fold(merged, M::fold)
}

fn same<M: Merge>(what: &str, one: &M, other: &M) -> Verdict {
    let (one, other) = (one.bytes(), other.bytes());
    if one == other {
        return Ok(());
    }
    Err(format!("{what} gives\n  {other}\nrather than\n  {one}"))
}

#[test]
fn any_order_and_any_repeats_give_the_same_bytes() {
    holds("order", order_does_not_matter::<Facts>);
}

#[test]
fn any_batches_in_any_order_give_the_same_bytes() {
    holds("batches", batches_do_not_matter::<Facts>);
}

#[test]
fn repeats_and_replays_change_nothing() {
    holds("replays", replays_change_nothing::<Facts>);
}

#[test]
fn the_newest_of_each_fact_is_kept_and_nothing_else() {
    holds("newest", the_newest_is_kept::<Facts>);
}

#[test]
fn data_scopes_are_never_wider_than_the_newest_known_agreement() {
    holds("scopes", data_scopes_are_the_newest_agreements::<Facts>);
}

#[test]
fn first_moments_are_those_of_the_first_that_was_said() {
    holds("firsts", |history, rng| {
        for said in both(history) {
            let facts = folded(Facts::default(), &arrivals(rng, &said, |it| it.at));
            let mut kept = BTreeMap::new();
            for (id, known) in &facts.agreements {
                kept.insert(("agreement", id.as_str()), At(known.first, 0));
            }
            for (id, known) in &facts.invitations {
                kept.extend(known.first.map(|at| (("invitation", id.as_str()), at)));
                let claimed = known.claimed_request;
                kept.extend(claimed.map(|at| (("claimed request", id.as_str()), at)));
            }
            for (id, known) in &facts.requests {
                kept.extend(known.live.map(|at| (("live request", id.as_str()), at)));
            }
            let said = oracle::firsts(&said);
            if kept != said {
                return Err(format!("{kept:?} is kept of {said:?}"));
            }
        }
        Ok(())
    });
}

/// What is known of a connection travels as observations; merged that way it is a join as well.
#[test]
fn what_is_known_of_a_connection_can_be_merged_in_any_grouping() {
    let merged = |one: &ConnectionFacts, other: &ConnectionFacts| {
        let mut merged = one.clone();
        for said in other.observations("connection-1") {
            let Fact::Connection { was, .. } = said.fact else {
                unreachable!("a connection tells of itself only")
            };
            merged.observe(said.at, &was);
        }
        merged
    };
    holds("grouping", |history, rng| {
        let mut parts: [ConnectionFacts; 3] = Default::default();
        for step in &history.steps {
            let Step::Connection(said) = step else {
                continue;
            };
            let Fact::Connection { was, .. } = &said.fact else {
                unreachable!("news of a connection")
            };
            if connection_of(said) == "connection-1" {
                parts[rng.usize(..3)].observe(said.at, was);
            }
        }
        let [a, b, c] = parts;
        let left = merged(&merged(&a, &b), &c);
        let right = merged(&c, &merged(&b, &a));
        let middle = merged(&merged(&b, &merged(&a, &c)), &left);
        if left == right && right == middle {
            return Ok(());
        }
        Err(format!("{left:?}, {right:?}, {middle:?}"))
    });
}

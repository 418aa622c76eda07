//! Tests of the tests: merges that are wrong on purpose, and the laws that notice.

use std::{cmp::Ordering, collections::BTreeMap, marker::PhantomData};

use fleet::{
    AgreementStatus, ConnectionState, Decision, Fact, InvitationFact, Level, Observation, Timestamp,
};

use crate::{
    merge::{
        Merge, batches_do_not_matter, data_scopes_are_the_newest_agreements, order_does_not_matter,
        replays_change_nothing, the_newest_is_kept,
    },
    oracle,
    runner::{caught_after, holds},
};

/// The first moment and the newest observation of each subject, by a rule of choice.
struct Registers<Rule>(
    BTreeMap<String, (Timestamp, Observation)>,
    PhantomData<Rule>,
);

/// Says which of two observations of one subject stays.
trait Rule {
    /// Whether what arrives replaces what is known.
    fn replaces(known: &Observation, arrived: &Observation) -> bool;
}

/// By moment, then by value.
struct Right;

/// Whatever arrives last.
struct LastArrivalWins;

/// Whatever is further on the way from an invitation to flowing data.
struct RankOverTime;

/// By moment alone.
struct NoTieBreak;

/// By value alone.
struct WithoutTime;

impl Rule for Right {
    fn replaces(known: &Observation, arrived: &Observation) -> bool {
        (arrived.at, &arrived.fact) > (known.at, &known.fact)
    }
}

impl Rule for LastArrivalWins {
    fn replaces(_: &Observation, _: &Observation) -> bool {
        true
    }
}

impl Rule for RankOverTime {
    fn replaces(known: &Observation, arrived: &Observation) -> bool {
        let further = rank(&arrived.fact).cmp(&rank(&known.fact));
        let newer = (arrived.at, &arrived.fact).cmp(&(known.at, &known.fact));
        further.then(newer) == Ordering::Greater
    }
}

impl Rule for NoTieBreak {
    fn replaces(known: &Observation, arrived: &Observation) -> bool {
        arrived.at >= known.at
    }
}

impl Rule for WithoutTime {
    fn replaces(known: &Observation, arrived: &Observation) -> bool {
        (&arrived.fact, arrived.at) > (&known.fact, known.at)
    }
}

/// How far something is on the way.
fn rank(fact: &Fact) -> u8 {
    match fact {
        Fact::Invitation { was, .. } => match was {
            InvitationFact::Decision(Decision::Open) => 0,
            InvitationFact::Decision(Decision::Accepted) => 2,
            InvitationFact::Decision(_) => 1,
            _ => 0,
        },
        Fact::Agreement { agreement, .. } => match agreement.status {
            AgreementStatus::Active => 0,
            AgreementStatus::Paused => 1,
            _ => 2,
        },
        Fact::Connection { was, .. } => match was {
            fleet::ConnectionFact::State(ConnectionState::Active) => 0,
            fleet::ConnectionFact::State(_) => 1,
            _ => 0,
        },
        _ => 0,
    }
}

impl<R> Clone for Registers<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<R> PartialEq for Registers<R> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<R> Default for Registers<R> {
    fn default() -> Self {
        Self(BTreeMap::new(), PhantomData)
    }
}

impl<R: Rule> Merge for Registers<R> {
    fn fold(mut self, said: &Observation) -> Self {
        if oracle::is_first_moment(said) {
            return self;
        }
        let (what, id, part) = oracle::subject(said);
        let first = match &said.fact {
            Fact::Agreement { made, .. } => made.unwrap_or(said.at.time()),
            _ => said.at.time(),
        };
        let known = self.0.entry([what, id, part].join(" "));
        let (earliest, newest) = known.or_insert_with(|| (first, said.clone()));
        *earliest = first.min(*earliest);
        if R::replaces(newest, said) {
            *newest = said.clone();
        }
        self
    }

    fn bytes(&self) -> String {
        serde_json::to_string(&self.0).expect("registers are JSON")
    }

    fn kept(&self) -> Vec<Observation> {
        self.0.values().map(|(_, newest)| newest.clone()).collect()
    }

    fn data_scopes(&self, now: Timestamp) -> BTreeMap<String, Level> {
        let mut kept = Vec::new();
        for (first, newest) in self.0.values() {
            let mut newest = newest.clone();
            if let Fact::Agreement { made, .. } = &mut newest.fact {
                *made = Some(*first);
            }
            kept.push(newest);
        }
        let allowed = oracle::agreed(&kept, now);
        allowed.into_iter().next().flatten().unwrap_or_default()
    }
}

/// The laws that notice that a merge is wrong, and how soon.
fn noticed_by<M: Merge>(name: &str) -> Vec<&'static str> {
    let laws = [
        ("order", caught_after(order_does_not_matter::<M>)),
        ("batches", caught_after(batches_do_not_matter::<M>)),
        ("replays", caught_after(replays_change_nothing::<M>)),
        ("newest", caught_after(the_newest_is_kept::<M>)),
        (
            "scopes",
            caught_after(data_scopes_are_the_newest_agreements::<M>),
        ),
    ];
    let mut noticed = Vec::new();
    for (law, after) in laws {
        if let Some(after) = after {
            println!("{name}: broke the law of {law} after {after} histories");
            noticed.push(law);
        }
    }
    noticed
}

#[test]
fn a_right_merge_of_the_tests_own_passes() {
    type Merge = Registers<Right>;
    holds("a right merge", |history, rng| {
        order_does_not_matter::<Merge>(history, rng)?;
        batches_do_not_matter::<Merge>(history, rng)?;
        replays_change_nothing::<Merge>(history, rng)?;
        the_newest_is_kept::<Merge>(history, rng)?;
        data_scopes_are_the_newest_agreements::<Merge>(history, rng)
    });
}

#[test]
fn last_arrival_wins_is_noticed() {
    let noticed = noticed_by::<Registers<LastArrivalWins>>("last arrival wins");
    assert_eq!(noticed, ["order", "batches", "replays", "newest", "scopes"]);
}

/// It is a join, only of the wrong thing: its order and repeats don't matter.
#[test]
fn rank_over_time_is_noticed() {
    let noticed = noticed_by::<Registers<RankOverTime>>("rank over time");
    assert_eq!(noticed, ["newest", "scopes"]);
}

#[test]
fn a_missing_tie_break_is_noticed() {
    let noticed = noticed_by::<Registers<NoTieBreak>>("missing tie-break");
    assert_eq!(noticed, ["order", "batches", "replays", "scopes"]);
}

/// It is a join as well.
#[test]
fn comparing_without_time_is_noticed() {
    let noticed = noticed_by::<Registers<WithoutTime>>("comparing without time");
    assert_eq!(noticed, ["newest", "scopes"]);
}

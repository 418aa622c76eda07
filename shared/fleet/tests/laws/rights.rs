//! What a fleet may do: provisional access never beyond its frozen end, an operator's decisions as they were meant, and a
//! whole record that replays leave alone.

use std::collections::BTreeMap;

use fastrand::Rng;
use fleet::{
    Admission, At, Claim, Confirmation, Days, Decision, Fact, Grant, InvitationFact, Observation,
    Override, OverrideKind, Policy, Record, Timestamp,
};

use crate::{
    history::{History, Step},
    oracle,
    runner::{Verdict, holds},
    shell::{self, arriving, bytes, concerning, lived, lived_until, taken_in},
};

#[test]
fn provisional_admission_never_reaches_beyond_its_frozen_end() {
    holds("provisional", |history, rng| {
        let mut record = Record::default();
        let mut frozen: BTreeMap<String, Grant> = BTreeMap::new();
        let mut clock = Timestamp(i64::MIN);
        for (step, policy) in arriving(history, rng) {
            record = taken_in(record, &step);
            clock = shell::clock(clock, &step, rng);
            let before = record.decisions.clone();
            let any = record.settle(policy, clock);
            let grants = &record.decisions.grants;
            if any != (record.decisions != before) {
                return Err(format!("settling says {any}, and there are {grants:?}"));
            }
            let new = grants
                .iter()
                .find(|(id, grant)| !frozen.contains_key(*id) && grant.ends <= clock);
            if let Some(over) = new {
                return Err(format!("{over:?} is over when it is granted, at {clock:?}"));
            }
            for (id, grant) in grants {
                frozen.entry(id.clone()).or_insert(*grant);
            }
            if *grants != frozen {
                return Err(format!("{grants:?} moved from {frozen:?}"));
            }
            let now = history.moments(rng, 1)[0];
            within_frozen(&record, &any_policy(history, rng), now, &frozen)?;
        }
        for now in history.moments(rng, 4) {
            within_frozen(&record, &any_policy(history, rng), now, &frozen)?;
        }
        Ok(())
    });
}

fn within_frozen(
    record: &Record,
    policy: &Policy,
    now: Timestamp,
    frozen: &BTreeMap<String, Grant>,
) -> Verdict {
    let Admission::Provisional { until } = record.standing(policy, now).admission else {
        return Ok(());
    };
    let ends = frozen.values().map(|grant| grant.ends).max();
    if now < until && Some(until) <= ends {
        return Ok(());
    }
    Err(format!("at {now:?} until {until:?}, frozen {frozen:?}"))
}

#[test]
fn grants_are_founded_on_what_was_said_and_stay_within_the_policy() {
    holds("grants", |history, rng| {
        let record = lived(history, rng);
        let said = history.observations(0);
        let longest = |days: fn(&Policy) -> Days| {
            let days = history.policies.iter().map(days);
            days.max().map_or(0, Days::millis)
        };
        let mut total = 0;
        for (id, grant) in &record.decisions.grants {
            let lasts = grant.ends.0 - grant.starts.0;
            total += lasts;
            if lasts <= 0 || lasts > longest(|policy| policy.provisional_days) {
                return Err(format!("{id} was granted {grant:?}"));
            }
            if !founded(id, grant, &said, &history.policies) {
                return Err(format!("{id} was granted {grant:?} on nothing"));
            }
        }
        if total > longest(|policy| policy.provisional_days_in_all) {
            return Err(format!("{total} ms in all"));
        }
        // What the browser told and what Catena confirmed of one invitation is one request.
        let grants = &record.decisions.grants;
        for said in &said {
            if let Fact::Request { id, request } = &said.fact
                && let Some(hash) = &request.invitation
                && grants.contains_key(id)
                && grants.contains_key(&format!("claim:{hash}"))
            {
                return Err(format!("{id} was granted twice: {grants:?}"));
            }
        }
        Ok(())
    });
}

/// Whether an invitation was accepted at all, and what is granted for was said to begin when the grant does.
fn founded(id: &str, grant: &Grant, said: &[Observation], policies: &[Policy]) -> bool {
    let any = |test: &dyn Fn(&Observation) -> bool| said.iter().any(test);
    let opens = |confirmation| policies.iter().any(|it| it.confirmation == confirmation);
    let accepted = |by: Option<&str>| {
        any(&|said| {
            let Fact::Invitation { invitation, was } = &said.fact else {
                return false;
            };
            by.is_none_or(|by| by == invitation)
                && *was == InvitationFact::Decision(Decision::Accepted)
        })
    };
    if let Some(hash) = id.strip_prefix("claim:") {
        let claimed = any(&|said| {
            let Fact::Invitation { invitation, was } = &said.fact else {
                return false;
            };
            let requested = matches!(was, InvitationFact::Claim(Claim::Requested(_)));
            requested && invitation == hash && said.at.time() == grant.starts
        });
        let refused = any(&|said| said.fact == Fact::RequestsRefused(true));
        return claimed && refused && accepted(Some(hash)) && opens(Confirmation::Link);
    }
    let requested = any(&|said| match &said.fact {
        Fact::Request { id: said, request } => {
            let by = request.invitation.as_deref();
            said == id && request.created == grant.starts && accepted(by)
        }
        _ => false,
    });
    requested && (opens(Confirmation::Confirmed) || opens(Confirmation::Link))
}

#[test]
fn an_operators_block_always_wins_and_a_grant_always_ends() {
    holds("overrides", |history, rng| {
        let record = lived(history, rng);
        let said = history.observations(0);
        let policy = any_policy(history, rng);
        for now in history.moments(rng, 6) {
            let admission = record.standing(&policy, now).admission;
            let blocks = holding(history, OverrideKind::Block, now);
            let passes = holding(history, OverrideKind::Grant, now);
            let connected = oracle::may_be_in_force(&said, now) && oracle::may_be_live(&said);
            let right = match admission {
                Admission::Blocked => blocks.any,
                Admission::Full => !blocks.all && (connected || passes.any),
                Admission::None | Admission::Provisional { .. } | Admission::Grace { .. } => {
                    !blocks.all && !passes.all
                }
            };
            if !right {
                return Err(format!("at {now:?} admission is {admission:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn what_the_fleet_took_back_opens_nothing_for_a_while() {
    holds("withdrawn", |history, rng| {
        let record = lived(history, rng);
        let said = history.observations(0);
        for now in history.moments(rng, 6) {
            let admission = record.standing(&any_policy(history, rng), now).admission;
            let withdrawn = match admission {
                Admission::Provisional { .. } => {
                    oracle::is_withdrawn(&said, now) || oracle::is_refused(&said)
                }
                Admission::Grace { .. } => oracle::is_withdrawn(&said, now),
                Admission::None | Admission::Full | Admission::Blocked => false,
            };
            if withdrawn {
                return Err(format!("at {now:?} admission is {admission:?}"));
            }
        }
        Ok(())
    });
}

/// The time to mend ends when it was to end, however often the trouble is announced; a new connection begins it anew.
#[test]
fn a_second_announcement_of_trouble_gives_no_more_time_to_mend() {
    holds("mending", |history, rng| {
        let policy = any_policy(history, rng);
        let mut record = Record::default();
        let mut clock = Timestamp(i64::MIN);
        for (step, _) in arriving(history, rng) {
            let before = record.decisions.broken_since;
            record = taken_in(record, &step);
            clock = shell::clock(clock, &step, rng);
            record.settle(&policy, clock);
            let after = record.decisions.broken_since;
            let links = record.facts.connections.values();
            let linked = links.filter_map(|link| link.linked).max();
            let anew = linked.map(|at| at.time()) > before;
            if !anew && before.is_some() && after > before {
                return Err(format!("{step:?} moves {before:?} to {after:?}"));
            }
        }
        Ok(())
    });
}

/// Whether any, or each, of the decisions of the newest moment holds.
struct Holding {
    any: bool,
    all: bool,
}

fn holding(history: &History, kind: OverrideKind, now: Timestamp) -> Holding {
    let decided = history.steps.iter().filter_map(|step| match step {
        Step::Decided(at, of, decided) if *of == kind => Some((at, decided.as_ref())),
        _ => None,
    });
    let newest = decided.clone().map(|(at, _)| at).max();
    let newest = decided.filter(|(at, _)| Some(*at) == newest);
    let holds: Vec<_> = newest
        .map(|(_, decided)| {
            decided.is_some_and(|it: &Override| it.ends().is_none_or(|ends| now < ends))
        })
        .collect();
    Holding {
        any: holds.contains(&true),
        all: !holds.is_empty() && !holds.contains(&false),
    }
}

#[test]
fn replaying_a_whole_history_changes_nothing_in_a_record() {
    holds("records", |history, rng| {
        let (record, mut now) = lived_until(history, rng);
        let mut replayed = record.clone();
        let last = history.policies.last().expect("there is a policy");
        for (step, _) in arriving(history, rng) {
            replayed = taken_in(replayed, &step);
            now = shell::clock(now, &step, rng);
            if replayed.settle(last, now) {
                return Err("a replay grants something".to_owned());
            }
        }
        if bytes(&replayed) == bytes(&record) {
            return Ok(());
        }
        Err(format!("{replayed:?}\nrather than\n{record:?}"))
    });
}

#[test]
fn decisions_in_any_order_give_the_same_record() {
    holds("decisions", |history, rng| {
        let decided = |steps: &[Step]| steps.iter().fold(Record::default(), taken_in);
        let mut steps = concerning(history);
        let once = decided(&steps);
        rng.shuffle(&mut steps);
        if decided(&steps) == once {
            return Ok(());
        }
        Err(format!("{:?}\nrather than\n{once:?}", decided(&steps)))
    });
}

/// Ties go to the more restrictive value, here too.
#[test]
fn of_two_decisions_of_one_moment_the_more_restrictive_one_counts() {
    holds("decisions of one moment", |history, rng| {
        let at = At(Timestamp(0), 0);
        let decision = |rng: &mut Rng, kind| {
            let block = kind == OverrideKind::Block;
            let ends = (!block || rng.bool()).then(|| Timestamp(rng.i64(0..4)));
            let author = ["ann", "bob"][rng.usize(..2)];
            let decided = Override::new(kind, author, "because", ends).expect("well-formed");
            (rng.u8(..4) > 0).then_some(decided)
        };
        for kind in [OverrideKind::Block, OverrideKind::Grant] {
            let decided = [decision(rng, kind), decision(rng, kind)];
            let mut record = Record::default();
            let (mut any, mut all) = (false, true);
            let now = Timestamp(rng.i64(0..4));
            for decided in &decided {
                record.decide(at, kind, decided.clone());
                let holds = |it: &Override| it.ends().is_none_or(|ends| now < ends);
                let holds = decided.as_ref().is_some_and(holds);
                (any, all) = (any || holds, all && holds);
            }
            let admission = record.standing(&any_policy(history, rng), now).admission;
            let right = match kind {
                OverrideKind::Block if any => Admission::Blocked,
                OverrideKind::Grant if all => Admission::Full,
                OverrideKind::Block | OverrideKind::Grant => Admission::None,
            };
            if admission != right {
                return Err(format!("{decided:?} at {now:?}: {admission:?}"));
            }
        }
        Ok(())
    });
}

/// What was made to keep a fleet out needs no end; nothing turns it into a way in that has none.
#[test]
fn a_block_without_end_never_lets_a_fleet_in() {
    let endless = Override::new(OverrideKind::Block, "ann", "because", None).unwrap();
    let mut record = Record::default();
    record.decide(At(Timestamp(0), 0), OverrideKind::Grant, Some(endless));
    let standing = record.standing(&Policy::default(), Timestamp(i64::MAX));
    assert_ne!(standing.admission, Admission::Full);
}

fn any_policy(history: &History, rng: &mut Rng) -> Policy {
    let policies = &history.policies;
    policies[rng.usize(..policies.len())].clone()
}

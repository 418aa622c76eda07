//! What follows from plain lists of what was said, worked out naively and without the crate's help.

use std::{cmp::Reverse, collections::BTreeMap};

use fleet::{
    Agreement, AgreementStatus, At, Claim, ConnectionFact, ConnectionState, Decision, Fact,
    InvitationFact, Level, Observation, Timestamp,
};

use crate::runner::Verdict;

/// What an observation is about: two observations of one subject are about the same fact.
pub(crate) type Subject<'a> = (&'static str, &'a str, &'a str);

/// What an observation is about.
pub(crate) fn subject(said: &Observation) -> Subject<'_> {
    match &said.fact {
        Fact::Name(_) => ("name", "", ""),
        Fact::CatenaFleet(_) => ("catena fleet", "", ""),
        Fact::Invitation { invitation, was } => {
            let what = match was {
                InvitationFact::Created => "invitation",
                InvitationFact::Decision(_) => "invitation's decision",
                InvitationFact::Viewed => "invitation viewed",
                InvitationFact::Sent => "invitation sent",
                InvitationFact::Ends(_) => "invitation's end",
                InvitationFact::InvitedAs(_) => "invited as",
                InvitationFact::Claim(_) => "invitation's claim",
            };
            (what, invitation, "")
        }
        Fact::Agreement { id, .. } => ("agreement", id, ""),
        Fact::Connection { connection, was } => match was {
            ConnectionFact::State(_) => ("connection's state", connection, ""),
            ConnectionFact::Source(_) => ("connection's source", connection, ""),
            ConnectionFact::Schedule { id, .. } => ("connection's schedule", connection, id),
        },
        Fact::Linked { connection } => ("linked", connection, ""),
        Fact::Request { id, .. } => ("request", id, ""),
        Fact::RequestsRefused(_) => ("requests refused", "", ""),
        Fact::Regulatory(_) => ("regulatory id", "", ""),
    }
}

/// The newest moment at which something was said of each subject.
pub(crate) fn newest(said: &[Observation]) -> BTreeMap<Subject<'_>, At> {
    let mut newest = BTreeMap::new();
    for said in said.iter().filter(|said| !is_first_moment(said)) {
        let known = newest.entry(subject(said)).or_insert(said.at);
        *known = said.at.max(*known);
    }
    newest
}

/// Whether it tells of a first moment and of nothing else.
pub(crate) fn is_first_moment(said: &Observation) -> bool {
    let Fact::Invitation { was, .. } = &said.fact else {
        return false;
    };
    *was == InvitationFact::Created
}

/// The first moments that facts keep, by what they are the first moment of.
pub(crate) fn firsts(said: &[Observation]) -> BTreeMap<(&'static str, &str), At> {
    let mut firsts = BTreeMap::new();
    for said in said {
        let mut note = |of, id, at: At| {
            let known = firsts.entry((of, id)).or_insert(at);
            *known = at.min(*known);
        };
        match &said.fact {
            Fact::Agreement { id, made, .. } => {
                let made = made.unwrap_or(said.at.time());
                note("agreement", id.as_str(), At(made, 0));
            }
            Fact::Invitation { invitation, was } => {
                note("invitation", invitation, said.at);
                if let InvitationFact::Claim(Claim::Requested(_)) = was {
                    note("claimed request", invitation, said.at);
                }
            }
            Fact::Request { id, request } if !request.live_as.is_empty() => {
                note("live request", id, said.at);
            }
            _ => {}
        }
    }
    firsts
}

/// Checks that data scopes are what the newest agreement allows, neither more nor less. Until it begins they are what it and
/// the one in force before it both allow. Where several things were said of one moment any of them may count.
pub(crate) fn data_scopes_are_right(
    said: &[Observation],
    now: Timestamp,
    scopes: &BTreeMap<String, Level>,
) -> Verdict {
    let possible = agreed(said, now);
    let mut allowed = possible.iter().map(|it| it.clone().unwrap_or_default());
    let agreements = agreements(said);
    let newest = agreements.first().map(Vec::as_slice).unwrap_or(&[]);
    let mut newest = newest.iter().map(|it| known_levels(it));
    let within = scopes.is_empty() || newest.any(|newest| within(scopes, &newest));
    if within && allowed.any(|allowed| allowed == *scopes) {
        return Ok(());
    }
    Err(format!(
        "at {now:?} data scopes are {scopes:?}, where agreements allow {possible:?}"
    ))
}

/// Whether an agreement may be in force that counts.
pub(crate) fn may_be_in_force(said: &[Observation], now: Timestamp) -> bool {
    agreed(said, now).iter().any(Option::is_some)
}

/// What can be allowed at a moment by the agreement that counts; `None` where none is in force.
pub(crate) fn agreed(said: &[Observation], now: Timestamp) -> Vec<Option<BTreeMap<String, Level>>> {
    let agreements = agreements(said);
    let Some((newest, older)) = agreements.split_first() else {
        return vec![None];
    };
    let mut possible = Vec::new();
    for version in newest {
        if !begins_later(version, now) {
            possible.push(in_force(version, now).then(|| known_levels(version)));
            continue;
        }
        // Of those that have begun the newest counts; several if they are equally new.
        let mut before = |versions: &[&Agreement]| {
            let begun = versions.iter().filter(|it| !begins_later(it, now));
            possible.extend(begun.map(|it| {
                in_force(it, now).then(|| common(&known_levels(it), &known_levels(version)))
            }));
            versions.iter().all(|it| !begins_later(it, now))
        };
        before(newest);
        if !older.iter().any(|versions| before(versions)) {
            possible.push(None);
        }
    }
    // Of one moment, the hardest status counts.
    if newest.iter().any(|it| it.status != AgreementStatus::Active) {
        return vec![None];
    }
    possible
}

/// All that was last said of each agreement, the newest first; those that are equally new together.
fn agreements(said: &[Observation]) -> Vec<Vec<&Agreement>> {
    let mut agreements: BTreeMap<&str, Vec<(At, &Agreement)>> = BTreeMap::new();
    for said in said {
        if let Fact::Agreement { id, agreement, .. } = &said.fact {
            let versions = agreements.entry(id).or_default();
            versions.push((said.at, agreement));
        }
    }
    let firsts = firsts(said);
    let mut by_age: BTreeMap<Reverse<At>, Vec<&Agreement>> = BTreeMap::new();
    for (id, versions) in agreements {
        let last = versions.iter().map(|(at, _)| *at).max();
        let current = versions.iter().filter(|(at, _)| last == Some(*at));
        let equally_new = by_age.entry(Reverse(firsts[&("agreement", id)]));
        equally_new
            .or_default()
            .extend(current.map(|(_, agreement)| *agreement));
    }
    by_age.into_values().collect()
}

/// Whether the fleet's data may flow through a connection, as far as what was said of one moment can be told apart.
pub(crate) fn may_be_live(said: &[Observation]) -> bool {
    let mut linked = BTreeMap::new();
    let mut states = BTreeMap::new();
    for said in said {
        match &said.fact {
            Fact::Linked { connection } => {
                let known = linked.entry(connection).or_insert(said.at);
                *known = said.at.max(*known);
            }
            Fact::Connection {
                connection,
                was: ConnectionFact::State(state),
            } => {
                let known: &mut Vec<_> = states.entry(connection).or_default();
                known.push((said.at, state == &ConnectionState::Active));
            }
            _ => {}
        }
    }
    linked.into_iter().any(|(connection, linked)| {
        let states = states.get(connection).map(Vec::as_slice).unwrap_or(&[]);
        let Some(last) = states.iter().map(|(at, _)| *at).max() else {
            return true;
        };
        last < linked || states.contains(&(last, true))
    })
}

/// Whether the newest agreement is certainly paused or over. A fleet that was invited since may be on its way once more.
pub(crate) fn is_withdrawn(said: &[Observation], now: Timestamp) -> bool {
    let agreements = agreements(said);
    let versions = agreements.first().map(Vec::as_slice).unwrap_or(&[]);
    let withdrawn = |it: &&Agreement| {
        it.status != AgreementStatus::Active || it.ends.is_some_and(|ends| ends <= now)
    };
    let ended = !versions.is_empty() && versions.iter().all(withdrawn);
    let halts = |it: &&Agreement| {
        matches!(
            it.status,
            AgreementStatus::Paused | AgreementStatus::Unknown(_)
        ) && it.ends.is_none_or(|ends| now < ends)
    };
    let halted = !versions.is_empty() && versions.iter().all(halts);
    let invited = said
        .iter()
        .any(|said| matches!(said.fact, Fact::Invitation { .. }));
    halted || ended && !invited
}

/// Whether the newest invitation was certainly declined or taken back.
pub(crate) fn is_refused(said: &[Observation]) -> bool {
    let decisions = newest_decisions(said);
    let refuses = |it: &&Decision| matches!(it, Decision::Declined(_) | Decision::Deleted);
    !decisions.is_empty() && decisions.iter().all(refuses)
}

/// All that was last decided about the newest invitation; nothing if several are equally new.
fn newest_decisions(said: &[Observation]) -> Vec<&Decision> {
    let of_invitations = said.iter().filter_map(|said| match &said.fact {
        Fact::Invitation { invitation, was } => Some((said.at, invitation, was)),
        _ => None,
    });
    let mut first: BTreeMap<&String, At> = BTreeMap::new();
    for (at, invitation, _) in of_invitations.clone() {
        let known = first.entry(invitation).or_insert(at);
        *known = at.min(*known);
    }
    let last = first.values().max();
    let mut newest = first.iter().filter(|(_, at)| Some(*at) == last);
    let (Some((newest, _)), None) = (newest.next(), newest.next()) else {
        return Vec::new();
    };
    let decided = of_invitations.filter_map(|(at, invitation, was)| match was {
        InvitationFact::Decision(decision) => (invitation == *newest).then_some((at, decision)),
        _ => None,
    });
    let last = decided.clone().map(|(at, _)| at).max();
    let decided = decided.filter(|(at, _)| Some(*at) == last);
    decided.map(|(_, decision)| decision).collect()
}

/// Whether the one map of scopes allows nothing that the other doesn't.
fn within(scopes: &BTreeMap<String, Level>, limit: &BTreeMap<String, Level>) -> bool {
    scopes.iter().all(|(resource, level)| {
        let allowed = limit.get(resource);
        match level {
            Level::ReadWrite => allowed == Some(&Level::ReadWrite),
            Level::Read => matches!(allowed, Some(Level::Read | Level::ReadWrite)),
            Level::Unknown(_) => false,
        }
    })
}

/// What two of them allow both.
fn common(
    one: &BTreeMap<String, Level>,
    other: &BTreeMap<String, Level>,
) -> BTreeMap<String, Level> {
    let mut common = BTreeMap::new();
    for (resource, level) in one {
        let both = match (level, other.get(resource)) {
            (Level::ReadWrite, Some(Level::ReadWrite)) => Level::ReadWrite,
            (_, Some(_)) => Level::Read,
            (_, None) => continue,
        };
        common.insert(resource.clone(), both);
    }
    common
}

fn known_levels(agreement: &Agreement) -> BTreeMap<String, Level> {
    let mut levels = agreement.scopes.clone().unwrap_or_default();
    levels.retain(|_, level| matches!(level, Level::Read | Level::ReadWrite));
    levels
}

fn in_force(agreement: &Agreement, now: Timestamp) -> bool {
    let active = agreement.status == AgreementStatus::Active;
    let begun = agreement.effective.is_none_or(|from| from <= now);
    active && begun && agreement.ends.is_none_or(|ends| now < ends)
}

fn begins_later(agreement: &Agreement, now: Timestamp) -> bool {
    let active = agreement.status == AgreementStatus::Active;
    let later = agreement.effective.is_some_and(|from| now < from);
    active && later && agreement.ends.is_none_or(|ends| now < ends)
}

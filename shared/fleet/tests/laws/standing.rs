//! What follows by time alone, follows at a moment that is due.

use fastrand::Rng;
use fleet::{Record, Standing, Timestamp};

use crate::{
    history::{DAY, History},
    runner::{Verdict, holds},
    shell::lived,
};

#[test]
fn nothing_changes_by_time_alone_before_the_next_due_moment() {
    holds("due", |history, rng| {
        let record = lived(history, rng);
        for now in history.moments(rng, 4) {
            unchanged_until_due(history, &record, now, rng)?;
        }
        Ok(())
    });
}

fn unchanged_until_due(
    history: &History,
    record: &Record,
    now: Timestamp,
    rng: &mut Rng,
) -> Verdict {
    let policy = history.policies.last().expect("there is a policy");
    let standing = record.standing(policy, now);
    let due = standing.due.iter().map(|due| due.at);
    let next = due.filter(|at| *at > now).min();
    let end = next.unwrap_or(now.plus(10_000 * DAY));
    let mut then = history.moments(rng, 8);
    then.push(Timestamp(end.0 - 1));
    then.push(Timestamp(now.0 + (end.0 - now.0) / 2));
    for then in then.into_iter().filter(|then| now < *then && *then < end) {
        let later = record.standing(policy, then);
        if !same(&standing, &later) {
            return Err(format!(
                "at {now:?} {standing:?}\nat {then:?} {later:?}\nnext due {next:?}"
            ));
        }
    }
    Ok(())
}

#[test]
fn a_temporary_admission_and_its_end_agree() {
    holds("temporary", |history, rng| {
        let record = lived(history, rng);
        let policy = history.policies.last().expect("there is a policy");
        for now in history.moments(rng, 4) {
            let standing = record.standing(policy, now);
            let Some(until) = standing.admission.until() else {
                continue;
            };
            let at_end = record.standing(policy, until).admission;
            if until <= now || at_end == standing.admission {
                return Err(format!("at {now:?} {standing:?}, at its end {at_end:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn due_moments_are_sorted_and_said_once() {
    holds("sorted", |history, rng| {
        let record = lived(history, rng);
        let policy = history.policies.last().expect("there is a policy");
        for now in history.moments(rng, 2) {
            let due = record.standing(policy, now).due;
            if !due.is_sorted_by(|one, next| one < next) {
                return Err(format!("{due:?}"));
            }
        }
        Ok(())
    });
}

/// Whether two standings are the same but for reasons and due moments.
pub(crate) fn same(one: &Standing, other: &Standing) -> bool {
    one.stage == other.stage
        && one.admission == other.admission
        && one.data_scopes == other.data_scopes
}

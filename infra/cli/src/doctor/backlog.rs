//! What waits, what is due, what was set aside, and how the comparison with Catena's lists goes.

use anyhow::Error;
use fleet::{Policy, Timestamp};
use store::Shared;
use time::OffsetDateTime;

use super::{Check, bounded, or_error};
use crate::{
    comparison::Seen,
    quarantined,
    source::Source,
    status::{DAYS, Waiting},
    waiting,
    when::{DAY, Span, clock_and_distance, span, timestamp},
};

/// All that the table tells of it.
pub(crate) async fn checks(source: Result<&Source, &Error>, now: OffsetDateTime) -> Vec<Check> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return vec![Check::error("table", error)],
    };
    let at = timestamp(now);
    let (waits, quarantine, shared) = tokio::join!(
        bounded("parked", async {
            match waiting(source, now).await {
                Ok((parked, due)) => vec![is_parked(parked, at), is_due(due, at)],
                Err(error) => vec![
                    Check::error("parked", &error),
                    Check::skipped("due", "see above"),
                ],
            }
        }),
        bounded("quarantine", async {
            let days = quarantined(source, now).await;
            vec![or_error("quarantine", days.map(|days| quarantine(&days)))]
        }),
        bounded("comparison", async {
            match source.table.shared().await {
                Ok(shared) => vec![comparison(&shared, &source.policy, at), pause(&shared, at)],
                Err(error) => {
                    let error = source.table_failed("read how lists compare in", error);
                    vec![
                        Check::error("comparison", &error),
                        Check::skipped("pause", "see above"),
                    ]
                }
            }
        }),
    );
    waits.into_iter().chain(quarantine).chain(shared).collect()
}

fn age(waiting: Waiting, now: Timestamp) -> i64 {
    waiting
        .oldest
        .map_or(0, |oldest| now.0.saturating_sub(oldest.0))
}

fn is_parked(parked: Waiting, now: Timestamp) -> Check {
    let count = parked.count;
    let age = age(parked, now);
    match count {
        0 => Check::ok("parked", "no event waits for its fleet"),
        _ if age <= DAY => Check::ok(
            "parked",
            format!(
                "{count} wait for their fleet, the first for {}",
                span(Span(age))
            ),
        ),
        _ => Check::warn(
            "parked",
            format!(
                "{count} wait for their fleet, the first for {}",
                span(Span(age))
            ),
            "Neither Catena nor we know whose the first is. Ask Catena about the keys in reconciler's log (outcome “parked-unresolved”).",
        ),
    }
}

fn is_due(due: Waiting, now: Timestamp) -> Check {
    let count = due.count;
    let age = age(due, now);
    match count {
        0 => Check::ok("due", "no fleet is due to be looked at"),
        _ if age <= SWEPT => Check::ok(
            "due",
            format!("{count} fleets, the first for {}", span(Span(age))),
        ),
        _ => Check::warn(
            "due",
            format!("{count} fleets, the first for {}", span(Span(age))),
            "Sweeps don't keep up. Is template parameter Sweep ENABLED? If so, look for “look-failed”, “rate-limited” and \
             “refused-by-catena” in reconciler's log. Rights end on time all the same.",
        ),
    }
}

fn quarantine(days: &[u64]) -> Check {
    let (today, all) = (
        days.first().copied().unwrap_or_default(),
        days.iter().sum::<u64>(),
    );
    let found = format!("{today} today, {all} in {DAYS} days");
    match (today, all) {
        (0, 0) => Check::ok("quarantine", "nothing in it"),
        (0, _) => Check::ok("quarantine", found),
        _ => Check::warn(
            "quarantine",
            found,
            "Read the reasons: event-processor's log (outcome “quarantined”). Usually Catena sends something new: \
             `kingpin contract check` tells what.",
        ),
    }
}

fn comparison(shared: &Shared, policy: &Policy, now: Timestamp) -> Check {
    let name = "comparison";
    let Some(seen) = shared.comparison.as_deref().map(Seen::read) else {
        return Check::warn(
            name,
            "none yet: no sweep has run",
            "Is template parameter Sweep ENABLED? A new stack's first sweep comes within a minute or two.",
        );
    };
    let words = seen.words(now);
    if let Seen::Unreadable = seen {
        return Check::warn(
            name,
            words,
            "Use the `kingpin` that belongs to the stack's template.",
        );
    }
    match seen.next(policy) {
        Some(next) if next.plus(DAY) < now => Check::warn(
            name,
            words,
            "The next one should have begun more than a day ago. Is template parameter Sweep ENABLED? Look at reconciler's log.",
        ),
        _ => Check::ok(name, words),
    }
}

fn pause(shared: &Shared, now: Timestamp) -> Check {
    match shared.not_before.filter(|at| *at > now) {
        None => Check::ok("pause", "Catena may be asked"),
        Some(at) => Check::warn(
            "pause",
            format!(
                "Catena asks to be left alone until {}, and is",
                clock_and_distance(at, now)
            ),
            "It ends by itself. If it comes often, lower ReconcilerConcurrency or raise WaitPercent.",
        ),
    }
}

/// In milliseconds. Sweeps come each minute, and the alarm rings without one for as long.
const SWEPT: i64 = 15 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    fn waiting(millis: i64) -> Waiting {
        Waiting::of([Some(NOW.plus(-millis)), None])
    }

    #[test]
    fn what_waits_is_judged_by_its_age() {
        assert_eq!(is_parked(Waiting::default(), NOW).verdict, Verdict::Ok);
        assert_eq!(is_parked(waiting(DAY), NOW).verdict, Verdict::Ok);
        assert_eq!(is_parked(waiting(DAY + 1), NOW).verdict, Verdict::Warn);
        assert_eq!(is_due(waiting(SWEPT), NOW).verdict, Verdict::Ok);
        assert_eq!(is_due(waiting(SWEPT + 1), NOW).verdict, Verdict::Warn);
        assert_eq!(quarantine(&[0, 3]).verdict, Verdict::Ok);
        assert_eq!(quarantine(&[1, 3]).found, "1 today, 4 in 30 days");
        assert_eq!(quarantine(&[1, 3]).verdict, Verdict::Warn);
    }

    #[test]
    fn a_comparison_that_is_overdue_or_missing_is_told() {
        let of = |text: Option<&str>, now| {
            let shared = Shared {
                comparison: text.map(str::to_owned),
                ..Shared::default()
            };
            comparison(&shared, &Policy::default(), now).verdict
        };
        let over = r#"{"started":1777881600000,"finished":1777881660000,"step":"invitations"}"#;
        assert_eq!(of(None, NOW), Verdict::Warn);
        assert_eq!(of(Some("newer"), NOW), Verdict::Warn);
        assert_eq!(of(Some(over), NOW.plus(DAY)), Verdict::Ok);
        assert_eq!(of(Some(over), NOW.plus(3 * DAY)), Verdict::Warn);
    }

    #[test]
    fn a_pause_that_is_over_is_none() {
        let until = |at| Shared {
            not_before: Some(at),
            ..Shared::default()
        };
        assert_eq!(pause(&until(NOW), NOW).verdict, Verdict::Ok);
        assert_eq!(pause(&until(NOW.plus(1_000)), NOW).verdict, Verdict::Warn);
    }
}

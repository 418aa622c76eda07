//! Whether clocks agree: deliveries and calls are signed with a time, and judged by another clock.

use catena_client::Observed;
use time::OffsetDateTime;

use super::Check;
use crate::{
    probe::Answered,
    when::{Span, span},
};

/// This machine's clock against Catena's.
pub(crate) fn of_catena(observed: &Observed) -> Check {
    let Some(date) = observed.date else {
        return Check::skipped("clock", "Catena's answer has no Date");
    };
    let ahead = ahead(
        date.millis(),
        observed.asked.millis(),
        observed.answered.millis(),
    );
    judged("clock", "Catena's", ahead)
}

/// This machine's clock against that of the stack's API Gateway.
pub(crate) fn of_aws(answered: &Answered) -> Check {
    let Some(date) = answered.date else {
        return Check::skipped("clock_aws", "the webhook's answer has no Date");
    };
    let ahead = ahead(millis(date), millis(answered.asked), millis(answered.at));
    judged("clock_aws", "AWS's", ahead)
}

fn millis(time: OffsetDateTime) -> i64 {
    // Years end at 9999, so milliseconds fit.
    (time.unix_timestamp_nanos() / 1_000_000) as i64
}

/// By how many milliseconds at least our clock is ahead of one that said `date`, cut to a second, between two moments of ours.
fn ahead(date: i64, asked: i64, answered: i64) -> i64 {
    let least = asked.saturating_sub(date).saturating_sub(999);
    let most = answered.saturating_sub(date);
    match (least > 0, most < 0) {
        (true, _) => least,
        (false, true) => most,
        (false, false) => 0,
    }
}

fn judged(name: &'static str, whose: &str, ahead: i64) -> Check {
    let distance = span(Span(ahead.abs()));
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    let found = format!("this machine's clock is {distance} {direction} {whose}");
    match ahead.abs() {
        0..1_000 => Check::ok(name, format!("this machine's clock agrees with {whose}")),
        1_000..=WARN => Check::ok(name, found),
        ..=FAIL => Check::warn(name, found, REMEDY),
        _ => Check::fail(name, found, REMEDY),
    }
}

/// In milliseconds.
const WARN: i64 = 30_000;
/// In milliseconds. At five minutes a signature's time is too far off (contract 6.3), and AWS refuses calls.
const FAIL: i64 = 240_000;
const REMEDY: &str = "Have this machine's clock set by NTP. If it is right, tell the owner of the other one: a delivery whose time is \
                      more than five minutes off counts as late or as from the future, and what is from the future is quarantined.";

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_a_cut_second_and_the_way_there_explain_is_no_difference() {
        assert_eq!(ahead(5_000, 5_999, 6_500), 0);
        assert_eq!(ahead(5_000, 4_000, 5_000), 0);
        assert_eq!(ahead(5_000, 6_000, 6_500), 1);
        assert_eq!(ahead(5_000, 4_000, 4_900), -100);
    }

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart() {
        let verdict = |ahead| judged("clock", "Catena's", ahead).verdict;
        for sign in [1, -1] {
            assert_eq!(verdict(0), Verdict::Ok);
            assert_eq!(verdict(30_000 * sign), Verdict::Ok);
            assert_eq!(verdict(30_001 * sign), Verdict::Warn);
            assert_eq!(verdict(240_000 * sign), Verdict::Warn);
            assert_eq!(verdict(240_001 * sign), Verdict::Fail);
        }
        assert_eq!(
            judged("clock", "Catena's", -45_000).found,
            "this machine's clock is 45 seconds behind Catena's"
        );
    }
}

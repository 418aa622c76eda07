//! When an answer held, by Catena's clock.

use std::time::Duration;

use catena::Instant;
use fetch::http::{HeaderMap, header::DATE};
use time::OffsetDateTime;

/// What Catena answered, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// What.
    pub value: T,
    /// When.
    pub observed: Observed,
}

/// The times of one exchange, the one that brought the answer; those before it don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The answer's `Date` header: Catena's clock, cut to a second.
    pub date: Option<Instant>,
    /// When we asked, by our clock.
    pub asked: Instant,
    /// When the answer was whole, by our clock.
    pub answered: Instant,
    /// The longer of what both clocks say went by in between.
    pub elapsed: Duration,
    latest: Instant,
}

impl Observed {
    pub(crate) fn new(
        headers: &HeaderMap,
        asked: OffsetDateTime,
        answered: OffsetDateTime,
        elapsed: Duration,
    ) -> Self {
        let date = http_date(headers, DATE.as_str()).map(Instant::from);
        let by_wall_clock = Duration::try_from(answered - asked).unwrap_or_default();
        let (asked, answered) = (asked.into(), answered.into());
        Self {
            date,
            asked,
            answered,
            elapsed: elapsed.max(by_wall_clock),
            latest: shifted(date.unwrap_or(answered), JUST_BELOW_A_SECOND),
        }
    }

    /// A moment at which what the answer says already held or came after: nothing in it was read earlier. `Date`, minus the
    /// time that the exchange took, minus a second (design, "The fleet record"); without a `Date` our own clock when we asked,
    /// minus a second.
    pub fn at(&self) -> Instant {
        let elapsed = i64::try_from(self.elapsed.as_millis()).unwrap_or(i64::MAX);
        match self.date {
            Some(date) => shifted(date, elapsed.saturating_neg().saturating_sub(SECOND)),
            None => shifted(self.asked, -SECOND),
        }
    }

    /// The latest moment at which Catena can have answered by its own clock: `Date`, plus what it lost when it was cut to a
    /// second. Without a `Date` our own clock when the answer was whole, with the same allowance.
    pub fn latest(&self) -> Instant {
        self.latest
    }

    /// From the first of several answers to the last.
    pub(crate) fn until(self, last: Self) -> Self {
        Self {
            answered: last.answered,
            latest: self.latest.max(last.latest),
            ..self
        }
    }
}

/// A header that is an HTTP date.
pub(crate) fn http_date(headers: &HeaderMap, name: &str) -> Option<OffsetDateTime> {
    let text = headers.get(name)?.to_str().ok()?;
    httpdate::parse_http_date(text).ok().map(Into::into)
}

fn shifted(instant: Instant, millis: i64) -> Instant {
    Instant::from_millis(instant.millis().saturating_add(millis))
}

const SECOND: i64 = 1_000;
const JUST_BELOW_A_SECOND: i64 = 999;

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const ASKED: OffsetDateTime = datetime!(2026-05-04 08:00:00.250 UTC);
    const ANSWERED: OffsetDateTime = datetime!(2026-05-04 08:00:02.750 UTC);

    fn observed(date: Option<&'static str>, elapsed: u64) -> Observed {
        let mut headers = HeaderMap::new();
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        Observed::new(&headers, ASKED, ANSWERED, Duration::from_millis(elapsed))
    }

    fn instant(text: &str) -> Instant {
        Instant::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn catenas_clock_times_an_answer() {
        let observed = observed(Some("Mon, 04 May 2026 09:00:00 GMT"), 2_500);
        assert_eq!(observed.at(), instant("2026-05-04T08:59:56.500Z"));
        assert_eq!(observed.latest(), instant("2026-05-04T09:00:00.999Z"));
    }

    #[test]
    fn our_clock_stands_in_for_it() {
        for date in [None, Some("yesterday")] {
            let observed = observed(date, 2_500);
            assert_eq!(observed.date, None);
            assert_eq!(observed.at(), instant("2026-05-04T07:59:59.250Z"));
            assert_eq!(observed.latest(), instant("2026-05-04T08:00:03.749Z"));
        }
    }

    #[test]
    fn a_monotonic_clock_that_stood_still_is_not_believed() {
        assert_eq!(observed(None, 1).elapsed, Duration::from_millis(2_500));
        assert_eq!(observed(None, 9_000).elapsed, Duration::from_secs(9));
    }

    #[test]
    fn several_answers_span_from_the_first_to_the_last() {
        let first = observed(Some("Mon, 04 May 2026 09:00:00 GMT"), 2_500);
        let last = observed(Some("Mon, 04 May 2026 09:00:10 GMT"), 2_500);
        let both = first.until(last);
        assert_eq!(both.at(), first.at());
        assert_eq!(both.latest(), last.latest());
    }
}

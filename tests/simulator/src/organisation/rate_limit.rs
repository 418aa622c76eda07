//! How many calls are served (contract 2: 429 exists everywhere, its numbers are unknown), and whether callers wait as told.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::truth::as_text;
use crate::faults::seconds;

/// At most so many calls of the API are served within any window of this length; those beyond get 429. The token endpoint
/// is another server's, and isn't limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many calls.
    pub calls: usize,
    /// How long the window is. Seconds in JSON.
    #[serde(with = "seconds")]
    pub window: Duration,
}

/// What came of a rate limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RateReport {
    /// How many calls the limit refused.
    pub refused: usize,
    /// The greatest number of calls that arrived within one window, served or refused.
    pub most_in_window: usize,
    /// Calls that came too early, in the order in which they arrived; the first 10,000.
    pub early: Vec<EarlyCall>,
}

/// A call that arrived before a `retry_after_seconds` that was given out had passed, by this limit or by an
/// [`ApiFault`](crate::ApiFault), to whatever call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EarlyCall {
    /// The HTTP method.
    pub method: String,
    /// The path's template.
    pub path: String,
    /// When it arrived.
    #[serde(serialize_with = "as_text")]
    pub at: OffsetDateTime,
    /// When the caller was told to wait: what arrives right after it may have been on its way already.
    #[serde(serialize_with = "as_text")]
    pub told_at: OffsetDateTime,
    /// How long it should have waited.
    #[serde(serialize_with = "as_text")]
    pub until: OffsetDateTime,
}

/// Counts calls.
#[derive(Default)]
pub(super) struct RateLimiter(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    limit: Option<RateLimit>,
    /// Calls of the last window.
    arrived: VecDeque<OffsetDateTime>,
    /// Those among them that were served.
    served: VecDeque<OffsetDateTime>,
    told: Option<Told>,
    report: RateReport,
}

/// The latest end of a wait, and when it was given out.
#[derive(Clone, Copy)]
struct Told {
    at: OffsetDateTime,
    until: OffsetDateTime,
}

impl RateLimiter {
    /// Another limit, or none. Counting begins anew.
    pub(super) fn set(&self, limit: Option<RateLimit>) {
        *self.counts() = Counts {
            limit,
            ..Counts::default()
        };
    }

    pub(super) fn report(&self) -> RateReport {
        self.counts().report.clone()
    }

    /// A call arrives. If it is beyond the limit: after how many seconds it should be tried again, at least one.
    pub(super) fn arrive(&self, method: &str, path: &str, now: OffsetDateTime) -> Option<u64> {
        let mut counts = self.counts();
        counts.note_early(method, path, now);
        let RateLimit { calls, window } = counts.limit?;
        counts.arrived.retain(|&at| now - at < window);
        counts.served.retain(|&at| now - at < window);
        counts.arrived.push_back(now);
        counts.report.most_in_window = counts.report.most_in_window.max(counts.arrived.len());
        if counts.served.len() < calls {
            counts.served.push_back(now);
            return None;
        }
        counts.report.refused += 1;
        let oldest = counts.served.front().copied().unwrap_or(now);
        let wait = window.as_secs_f64() - (now - oldest).as_seconds_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole seconds of a window"
        )]
        let seconds = (wait.ceil() as u64).max(1);
        counts.tell(seconds, now);
        Some(seconds)
    }

    /// A caller is told to wait for another reason.
    pub(super) fn tell(&self, seconds: u64, now: OffsetDateTime) {
        self.counts().tell(seconds, now);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn note_early(&mut self, method: &str, path: &str, now: OffsetDateTime) {
        if let Some(Told { at, until }) = self.told
            && now < until
            && self.report.early.len() < MOST_EARLY
        {
            self.report.early.push(EarlyCall {
                method: method.to_owned(),
                path: path.to_owned(),
                at: now,
                told_at: at,
                until,
            });
        }
    }

    fn tell(&mut self, seconds: u64, now: OffsetDateTime) {
        let until = now + Duration::from_secs(seconds.min(LONGEST_WAIT));
        if self.told.is_none_or(|told| told.until < until) {
            self.told = Some(Told { at: now, until });
        }
    }
}

const MOST_EARLY: usize = 10_000;
/// A year: beyond any test, and within what a time can hold.
const LONGEST_WAIT: u64 = 365 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_beyond_the_limit_wait_until_the_oldest_is_out_of_the_window() {
        let limiter = RateLimiter::default();
        let start = OffsetDateTime::now_utc();
        let arrive = |milliseconds: u64| {
            limiter.arrive("GET", "/v2", start + Duration::from_millis(milliseconds))
        };
        assert_eq!(arrive(0), None, "no limit yet");
        limiter.set(Some(RateLimit {
            calls: 2,
            window: Duration::from_secs(5),
        }));
        assert_eq!(
            [0, 1500, 2000, 4999, 5000, 5001].map(arrive),
            [None, None, Some(3), Some(1), None, Some(2)]
        );
        let RateReport {
            refused,
            most_in_window,
            early,
        } = limiter.report();
        assert_eq!((refused, most_in_window), (3, 5));
        let early: Vec<_> = early
            .iter()
            .map(|call| (call.at - start).whole_milliseconds())
            .collect();
        assert_eq!(early, [4999, 5000, 5001]);
        limiter.set(None);
        assert_eq!(
            (arrive(5002), limiter.report()),
            (None, RateReport::default())
        );
    }

    #[test]
    fn a_wait_is_at_least_a_second_and_the_longest_one_counts() {
        let limiter = RateLimiter::default();
        limiter.set(Some(RateLimit {
            calls: 0,
            window: Duration::from_millis(10),
        }));
        let start = OffsetDateTime::now_utc();
        limiter.tell(7, start);
        assert_eq!(limiter.arrive("GET", "/v2", start), Some(1));
        let later = start + Duration::from_secs(6);
        limiter.arrive("POST", "/v2", later);
        let early = limiter.report().early;
        assert_eq!((early[1].method.as_str(), early[1].at), ("POST", later));
        assert_eq!(early[1].until, start + Duration::from_secs(7));
        limiter.tell(u64::MAX, later);
        limiter.arrive("GET", "/v2", later + Duration::from_hours(8000));
        assert_eq!(limiter.report().early.len(), 3);
    }
}

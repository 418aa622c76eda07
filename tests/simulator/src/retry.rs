//! How long Catena waits, how often it tries, when it gives up.

use std::time::Duration;

/// What the contract says in words, in numbers. Tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// An answer later than this is none (contract 6.4).
    pub timeout: Duration,
    /// Retries after the first attempt: up to 3 (contract 6.5).
    pub retries: u32,
    /// The wait before the first retry; it doubles with each (contract 6.5: "exponential").
    pub backoff: Duration,
    /// No retry starts later than this after the first attempt (contract 6.5: "within about 5 s"),
    /// so an endpoint that answers slowly is tried less often than one that refuses at once.
    pub window: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            retries: 3,
            backoff: Duration::from_millis(500),
            window: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt, or `None` for the dead letter queue.
    pub(crate) fn wait(&self, attempts: u32, elapsed: Duration) -> Option<Duration> {
        let wait = self.backoff * 2u32.saturating_pow(attempts.saturating_sub(1));
        (attempts <= self.retries && elapsed + wait <= self.window).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each attempt starts, if every one takes this long to fail.
    fn starts(answer_after: Duration) -> Vec<u128> {
        let policy = RetryPolicy::default();
        let mut starts = vec![Duration::ZERO];
        let mut elapsed = answer_after.min(policy.timeout);
        while let Some(wait) = policy.wait(u32::try_from(starts.len()).unwrap(), elapsed) {
            starts.push(elapsed + wait);
            elapsed += wait + answer_after.min(policy.timeout);
        }
        starts.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn refused_delivery_is_tried_four_times_within_five_seconds() {
        assert_eq!(starts(Duration::ZERO), [0, 500, 1500, 3500]);
    }

    #[test]
    fn silent_endpoint_is_tried_again_within_five_seconds() {
        assert_eq!(starts(Duration::from_mins(1)), [0, 3500]);
    }
}

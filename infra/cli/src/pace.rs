//! How fast much is done, and how far it is.

use std::{
    io::{IsTerminal, Write},
    num::NonZeroU32,
    time::Duration,
};

use tokio::time::Instant;

/// So many per second, and no more. What was slow isn't made up for.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: NonZeroU32,
    /// When the next may go.
    next: Instant,
}

impl Pace {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let next = Instant::now();
        Self { per_second, next }
    }

    /// How many go at once: as many as SQS takes, but no more than in half a second.
    pub(crate) fn batch(&self) -> usize {
        (self.per_second.get() as usize / 2).clamp(1, MOST_AT_ONCE)
    }

    /// Waits until so many may go.
    pub(crate) async fn wait(&mut self, count: usize) {
        self.next = self.next.max(Instant::now());
        tokio::time::sleep_until(self.next).await;
        let takes = count as f64 / f64::from(self.per_second.get());
        self.next += Duration::from_secs_f64(takes);
    }
}

/// A line that tells how far it is, if somebody looks: on the terminal's standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    doing: &'static str,
    all: usize,
    is_seen: bool,
}

impl Progress {
    /// `doing` is a verb such as `releasing`; `all` may be a guess.
    pub(crate) fn new(doing: &'static str, all: usize) -> Self {
        let is_seen = std::io::stderr().is_terminal();
        Self {
            doing,
            all,
            is_seen,
        }
    }

    pub(crate) fn tell(&self, done: usize) {
        if self.is_seen {
            let Self { doing, all, .. } = self;
            write_to_terminal(&format!("{CLEAR}{doing}: {done} of {all}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_seen {
            write_to_terminal(CLEAR);
        }
    }
}

/// It is a comfort only: that it fails harms nothing.
fn write_to_terminal(text: &str) {
    let mut terminal = std::io::stderr();
    let _ = terminal.write_all(text.as_bytes());
    let _ = terminal.flush();
}

/// Back to the line's beginning, which is emptied.
const CLEAR: &str = "\r\u{1b}[K";
/// AWS.
const MOST_AT_ONCE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u32) -> Pace {
        Pace::new(NonZeroU32::new(per_second).unwrap())
    }

    #[test]
    fn a_batch_is_what_goes_in_half_a_second_and_fits_a_request() {
        for (per_second, batch) in [(1, 1), (2, 1), (4, 2), (20, 10), (1000, 10)] {
            assert_eq!(pace(per_second).batch(), batch, "{per_second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_at_twenty_per_second_take_four_and_a_half_seconds_and_the_rest() {
        let mut pace = pace(20);
        let start = Instant::now();
        for _ in 0..10 {
            pace.wait(10).await;
        }
        // The last ten go at once.
        let took = start.elapsed();
        assert!((4400..4600).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_slow_is_not_made_up_for() {
        let mut pace = pace(10);
        pace.wait(10).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        pace.wait(10).await;
        pace.wait(10).await;
        assert!(start.elapsed() >= Duration::from_millis(990));
    }
}

//! The circuit breaker (contract 6.6).

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::faults::seconds;

/// When a subscription goes stale. In JSON all fields are optional.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerRules {
    /// Which of the two published rules holds.
    pub variant: Breaker,
    /// How long a subscription is left alone after it was created, updated or activated: 15 minutes unless told. What
    /// happens meanwhile counts afterwards. Seconds in JSON.
    #[serde(with = "seconds")]
    pub grace: Duration,
    /// What counts as one delivery: unknown of Catena.
    pub counted: Counted,
    /// How much one delivery weighs in the moving average, from 0 to 1: unknown of Catena, 0.02 unless told. Until there
    /// were `1 / weight` deliveries it is their plain mean.
    pub weight: f64,
    /// With fewer deliveries in six hours, [`Breaker::SixHours`] trips at nothing: unknown of Catena, 20 unless told.
    pub least: usize,
}

/// The rule that trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// The newer page: with 50 deliveries or more, a moving average of successes below 95 %; with 20 to 49, less than
    /// 80 % successes; with fewer, 10 failures in a row. Deliveries since the creation or the last activation.
    #[default]
    Tiers,
    /// The older rule: less than 90 % successes in six hours.
    SixHours,
}

/// What counts as one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Each attempt, so a retry that fails counts as well.
    #[default]
    Attempts,
    /// Each message, when it was answered or given up.
    Messages,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            variant: Breaker::default(),
            grace: Duration::from_mins(15),
            counted: Counted::default(),
            weight: 0.02,
            least: 20,
        }
    }
}

/// What the breaker knows of one subscription. Only a 2xx is a success: other answers that count as delivered may hurt the
/// rate (contract 6.4).
pub(super) struct Health {
    /// The creation, the last update or the last activation.
    grace_from: OffsetDateTime,
    deliveries: usize,
    successes: usize,
    failures_in_a_row: usize,
    average: Option<f64>,
    /// The last six hours.
    recent: VecDeque<(OffsetDateTime, bool)>,
}

impl Health {
    /// Nothing happened yet, or counting begins anew.
    pub(super) fn new(now: OffsetDateTime) -> Self {
        Self {
            grace_from: now,
            deliveries: 0,
            successes: 0,
            failures_in_a_row: 0,
            average: None,
            recent: VecDeque::new(),
        }
    }

    /// The grace period begins, counts stay.
    pub(super) fn grant_grace(&mut self, now: OffsetDateTime) {
        self.grace_from = now;
    }

    /// `ewma_success_rate`: from 0 to 1.
    pub(super) fn average(&self) -> Option<f64> {
        self.average
    }

    /// Counts one delivery, and tells whether the breaker trips.
    pub(super) fn count(
        &mut self,
        rules: &BreakerRules,
        success: bool,
        now: OffsetDateTime,
    ) -> bool {
        self.deliveries += 1;
        self.successes += usize::from(success);
        self.failures_in_a_row = if success {
            0
        } else {
            self.failures_in_a_row + 1
        };
        let value = f64::from(u8::from(success));
        let weight = rules.weight.max(1.0 / count(self.deliveries));
        let average = self.average.unwrap_or(value);
        self.average = Some(average + weight * (value - average));
        self.recent.push_back((now, success));
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| *at < now - SIX_HOURS)
        {
            self.recent.pop_front();
        }
        now >= self.grace_from + rules.grace && self.is_beyond(rules)
    }

    fn is_beyond(&self, rules: &BreakerRules) -> bool {
        match rules.variant {
            Breaker::Tiers => match self.deliveries {
                0..20 => self.failures_in_a_row >= 10,
                20..50 => share(self.successes, self.deliveries) < 0.80,
                50.. => self.average.is_some_and(|average| average < 0.95),
            },
            Breaker::SixHours => {
                let successes = self.recent.iter().filter(|(_, success)| *success).count();
                let all = self.recent.len();
                all >= rules.least.max(1) && share(successes, all) < 0.90
            }
        }
    }
}

fn share(of: usize, all: usize) -> f64 {
    count(of) / count(all)
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn count(number: usize) -> f64 {
    number as f64
}

const SIX_HOURS: time::Duration = time::Duration::hours(6);

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const EAGER: BreakerRules = BreakerRules {
        variant: Breaker::Tiers,
        grace: Duration::ZERO,
        counted: Counted::Attempts,
        weight: 0.02,
        least: 20,
    };

    /// After how many of these deliveries the breaker trips first.
    fn trips(rules: &BreakerRules, deliveries: impl IntoIterator<Item = bool>) -> Option<usize> {
        let mut health = Health::new(START);
        let mut tripped = deliveries
            .into_iter()
            .map(|success| health.count(rules, success, START));
        tripped.position(|tripped| tripped).map(|place| place + 1)
    }

    fn deliveries(successes: usize, failures: usize) -> impl Iterator<Item = bool> {
        std::iter::repeat_n(true, successes).chain(std::iter::repeat_n(false, failures))
    }

    #[test]
    fn ten_failures_in_a_row_trip_while_there_are_few() {
        assert_eq!(trips(&EAGER, deliveries(0, 9)), None);
        assert_eq!(trips(&EAGER, deliveries(9, 30)), Some(19));
        let interrupted = deliveries(0, 9).chain(deliveries(1, 9));
        assert_eq!(trips(&EAGER, interrupted), None);
    }

    #[test]
    fn a_fifth_of_failures_trips_from_twenty_on() {
        assert_eq!(trips(&EAGER, deliveries(16, 4)), None);
        assert_eq!(trips(&EAGER, deliveries(16, 30)), Some(21));
        assert_eq!(trips(&EAGER, deliveries(15, 30)), Some(20));
    }

    #[test]
    fn the_average_trips_from_fifty_on() {
        assert_eq!(trips(&EAGER, deliveries(47, 3)), Some(50));
        assert_eq!(trips(&EAGER, deliveries(500, 2)), None);
        assert_eq!(trips(&EAGER, deliveries(500, 10)), Some(503));
        let healed = deliveries(40, 9).chain(deliveries(500, 0));
        assert_eq!(trips(&EAGER, healed), Some(50), "too late");
    }

    #[test]
    fn less_than_nine_tenths_in_six_hours_trip_by_the_older_rule() {
        let rules = BreakerRules {
            variant: Breaker::SixHours,
            ..EAGER
        };
        assert_eq!(trips(&rules, deliveries(0, 19)), None);
        assert_eq!(trips(&rules, deliveries(18, 3)), Some(21));
        let mut health = Health::new(START);
        for _ in 0..19 {
            assert!(!health.count(&rules, false, START));
        }
        let later = START + SIX_HOURS + time::Duration::SECOND;
        assert!(!health.count(&rules, false, later), "the others are over");
    }

    #[test]
    fn grace_puts_off_what_counts() {
        let rules = BreakerRules {
            grace: Duration::from_mins(15),
            ..EAGER
        };
        let mut health = Health::new(START);
        let minutes = |minutes| START + time::Duration::minutes(minutes);
        for _ in 0..12 {
            assert!(!health.count(&rules, false, minutes(14)));
        }
        health.grant_grace(minutes(14));
        assert!(!health.count(&rules, false, minutes(28)));
        assert!(health.count(&rules, false, minutes(29)));
    }
}

//! What becomes of writes, on demand: how often and how long Catena tries them is unknown (contract 5.3).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::faults::seconds;

/// What becomes of some writes. Rules wait in a list; a write gets the first one that fits it. A write that none fits
/// succeeds after 200 ms.
///
/// ```
/// use std::time::Duration;
/// use simulator::{Announce, OperationRule, OperationStep};
/// let slow = Duration::from_secs(2);
/// let rule = OperationRule::new([OperationStep::failed(slow, "network").announced(Announce::Lost)])
///     .on("message")
///     .of("FLEET-42")
///     .times(3);
/// ```
///
/// In JSON, where everything can be left out: `{"fleet_ref": "FLEET-42", "resource": "message", "containing": "Yard",
/// "times": 3, "announce_created": "lost", "steps": [{"after": 2, "outcome": "failed", "error_type": "network"}]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationRule {
    /// Only writes to a connection of this fleet; all if `None`.
    pub fleet_ref: Option<String>,
    /// Only writes of this resource, as operations name it (`message`, `group_message`, `vehicle`, `trailer`, `user`,
    /// `fuel_transaction`, `dvir_log`); all if `None`.
    pub resource: Option<String>,
    /// Only writes whose body, as it was sent, contains this text; all if `None`.
    pub containing: Option<String>,
    /// How many writes it is for; `None` (in JSON: null or left out): all, until cleared.
    pub times: Option<u32>,
    /// Whether the partner hears of the operation's creation.
    pub announce_created: Announce,
    /// What happens, in order of [`OperationStep::after`]. Nothing at all: pending for ever, without a word; a sync write
    /// is never answered then.
    ///
    /// A sync write is answered at the first step, by its outcome: it has no retries (contract 5.3), so the others don't
    /// happen.
    pub steps: Vec<OperationStep>,
}

/// One change of an operation. Steps may contradict each other: each event tells its own step's state, and the stored
/// operation takes the state of the step with the newest `updated_at` (of equal ones, the later step's), but never goes back to
/// `pending`.
///
/// In JSON, where all but `outcome` can be left out: `{"after": 0.5, "outcome": "success", "announce": "twice",
/// "updated_at_shift_ms": -3000}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct OperationStep {
    /// How long after the call. Seconds in JSON; at once if left out.
    #[serde(default, with = "seconds")]
    pub after: Duration,
    /// What it comes to.
    #[serde(flatten)]
    pub outcome: StepOutcome,
    /// Whether the partner hears of it.
    #[serde(default)]
    pub announce: Announce,
    /// How far the `updated_at` that is stored and announced is off, in milliseconds; negative: too early.
    #[serde(default)]
    pub updated_at_shift_ms: i64,
}

/// What a step of an operation comes to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum StepOutcome {
    /// The provider has it: `resource_operation.succeeded`.
    Success,
    /// It didn't work, which adds an entry to the operation's logs: `resource_operation.failed`.
    Failed {
        /// `auth`, `validation`, `network`, `tsp` (contract 5.4), or anything.
        #[serde(default)]
        error_type: Option<String>,
        /// In words.
        #[serde(default)]
        error_details: Option<String>,
        /// The provider's status.
        #[serde(default)]
        response_status_code: Option<u16>,
        /// The provider's headers, those that Catena tells.
        #[serde(default)]
        response_headers: Option<BTreeMap<String, String>>,
    },
}

/// Whether the partner hears of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Announce {
    /// By its event.
    #[default]
    Told,
    /// Never: the event isn't sent, nor is it counted by [`Simulator::lost_webhooks`](crate::Simulator::lost_webhooks).
    Lost,
    /// By the same event twice, one after the other (contract 6.5: at least once).
    Twice,
}

impl OperationRule {
    /// For every write, until cleared.
    pub fn new(steps: impl IntoIterator<Item = OperationStep>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Only writes to connections of this fleet.
    #[must_use]
    pub fn of(self, fleet_ref: &str) -> Self {
        Self {
            fleet_ref: Some(fleet_ref.to_owned()),
            ..self
        }
    }

    /// Only writes of this resource, as in `group_message`.
    #[must_use]
    pub fn on(self, resource: &str) -> Self {
        Self {
            resource: Some(resource.to_owned()),
            ..self
        }
    }

    /// Only writes whose body contains this text.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        Self {
            containing: Some(text.to_owned()),
            ..self
        }
    }

    /// So many writes.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    /// Whether the partner hears of the creation.
    #[must_use]
    pub fn created(self, announce_created: Announce) -> Self {
        Self {
            announce_created,
            ..self
        }
    }

    fn fits(&self, fleet_ref: &str, resource: &str, body: &str) -> bool {
        let fits = |wanted: &Option<String>, has: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == has)
        };
        let containing = self.containing.as_deref();
        fits(&self.fleet_ref, fleet_ref)
            && fits(&self.resource, resource)
            && containing.is_none_or(|wanted| body.contains(wanted))
            && self.times != Some(0)
    }
}

impl OperationStep {
    /// It succeeds.
    pub fn success(after: Duration) -> Self {
        Self::new(after, StepOutcome::Success)
    }

    /// It fails for this reason, of which nothing more is told.
    pub fn failed(after: Duration, error_type: &str) -> Self {
        let outcome = StepOutcome::Failed {
            error_type: Some(error_type.to_owned()),
            error_details: None,
            response_status_code: None,
            response_headers: None,
        };
        Self::new(after, outcome)
    }

    /// A step that is announced once, with the right time.
    pub fn new(after: Duration, outcome: StepOutcome) -> Self {
        Self {
            after,
            outcome,
            announce: Announce::Told,
            updated_at_shift_ms: 0,
        }
    }

    /// Whether the partner hears of it.
    #[must_use]
    pub fn announced(self, announce: Announce) -> Self {
        Self { announce, ..self }
    }

    /// With an `updated_at` that is so many milliseconds off.
    #[must_use]
    pub fn shifted(self, updated_at_shift_ms: i64) -> Self {
        Self {
            updated_at_shift_ms,
            ..self
        }
    }
}

/// Rules that wait for writes.
#[derive(Default)]
pub(super) struct OperationRules(Vec<OperationRule>);

impl OperationRules {
    pub(super) fn add(&mut self, rule: OperationRule) {
        self.0.push(rule);
    }

    pub(super) fn list(&self) -> Vec<OperationRule> {
        self.0.clone()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The creation's announcement and the steps of this write.
    pub(super) fn take(
        &mut self,
        fleet_ref: &str,
        resource: &str,
        body: &str,
    ) -> (Announce, Vec<OperationStep>) {
        let mut rules = self.0.iter();
        let Some(place) = rules.position(|rule| rule.fits(fleet_ref, resource, body)) else {
            return (Announce::Told, vec![OperationStep::success(DEFAULT_AFTER)]);
        };
        let rule = &mut self.0[place];
        let taken = (rule.announce_created, rule.steps.clone());
        rule.times = rule.times.map(|times| times - 1);
        if rule.times == Some(0) {
            self.0.remove(place);
        }
        taken
    }
}

/// When a write succeeds that no rule fits.
pub(super) const DEFAULT_AFTER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_rule_that_fits_is_for_as_many_writes_as_told() {
        let mut rules = OperationRules::default();
        let step = |seconds| OperationStep::success(Duration::from_secs(seconds));
        rules.add(OperationRule::new([step(1)]).of("A"));
        rules.add(OperationRule::new([step(2)]).on("user").times(2));
        rules.add(OperationRule::new([step(3)]).containing("Yard"));
        rules.add(OperationRule::new([]).created(Announce::Twice).times(1));
        let mut take = |fleet_ref: &str, resource: &str, body: &str| {
            let (announce, steps) = rules.take(fleet_ref, resource, body);
            (announce, steps.first().map(|step| step.after.as_millis()))
        };
        let told = Announce::Told;
        assert_eq!(take("A", "user", "Yard"), (told, Some(1000)));
        assert_eq!(take("B", "user", "Yard"), (told, Some(2000)));
        assert_eq!(take("B", "user", "Yard"), (told, Some(2000)));
        assert_eq!(take("B", "user", "Yard"), (told, Some(3000)));
        assert_eq!(take("B", "message", "yard"), (Announce::Twice, None));
        assert_eq!(take("B", "message", "yard"), (told, Some(200)));
        assert_eq!(rules.list().len(), 2);
        rules.clear();
        assert_eq!(rules.list(), []);
    }

    #[test]
    fn json_can_leave_out_what_is_as_usual() {
        let read = |text| serde_json::from_str::<OperationRule>(text).unwrap();
        assert_eq!(read("{}"), OperationRule::new([]));
        let text = r#"{"resource": "message", "times": 2, "announce_created": "lost", "steps": [
            {"outcome": "success"},
            {"after": 0.5, "outcome": "failed", "error_type": "tsp", "announce": "twice", "updated_at_shift_ms": -7}]}"#;
        let late = OperationStep::failed(Duration::from_millis(500), "tsp");
        let steps = [
            OperationStep::success(Duration::ZERO),
            late.announced(Announce::Twice).shifted(-7),
        ];
        let rule = OperationRule::new(steps).on("message").times(2);
        let rule = rule.created(Announce::Lost);
        assert_eq!(read(text), rule);
        assert_eq!(read(&serde_json::to_string(&rule).unwrap()), rule);
        for wrong in [
            r#"{"resorce": "message"}"#,
            r#"{"steps": [{"after": 1}]}"#,
            r#"{"steps": [{"after": -1, "outcome": "success"}]}"#,
        ] {
            assert!(serde_json::from_str::<OperationRule>(wrong).is_err());
        }
    }
}

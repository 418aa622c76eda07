//! Subscriptions of some fleets only (contract 6.1: "by fleet only").

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::envelope::Envelope;

/// Which fleets' events a subscription gets. Nothing in a list: no limit by it. If both lists hold something, an event must
/// pass both: how they combine at Catena is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filters {
    /// Catena's names of the fleets.
    pub fleet_ids: Vec<Uuid>,
    /// The partner's names of the fleets.
    pub fleet_refs: Vec<String>,
}

impl Filters {
    /// The events of one fleet, by the partner's name.
    pub fn of_fleet(fleet_ref: &str) -> Self {
        Self {
            fleet_refs: vec![fleet_ref.to_owned()],
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.fleet_ids.is_empty() && self.fleet_refs.is_empty()
    }

    /// Each fleet once, sorted, so that equal filters are equal.
    pub(crate) fn normal(mut self) -> Self {
        self.fleet_ids.sort_unstable();
        self.fleet_ids.dedup();
        self.fleet_refs.sort_unstable();
        self.fleet_refs.dedup();
        self
    }

    /// Whether the subscription gets this event. Many records name no `fleet_ref` (contract 6.10): then it is that of the
    /// fleet that the event is about. What comes of filters and events about no fleet is unknown (contract 7, row 30): here
    /// they don't pass.
    pub(super) fn admit(&self, event: &Envelope) -> bool {
        if self.is_empty() {
            return true;
        }
        let fleetless = |family: &&str| event.event_name.starts_with(*family);
        if FLEETLESS.iter().any(fleetless) {
            return false;
        }
        let texts = |name: &'static str| {
            let records = event.data.iter();
            records.filter_map(move |record| record.get(name)?.as_str())
        };
        let by_id = texts("fleet_id")
            .filter_map(|text| Uuid::try_parse(text).ok())
            .any(|id| self.fleet_ids.contains(&id));
        let by_ref = texts("fleet_ref")
            .chain(event.fleet_ref.as_deref())
            .any(|fleet_ref| self.fleet_refs.iter().any(|wanted| wanted == fleet_ref));
        (self.fleet_ids.is_empty() || by_id) && (self.fleet_refs.is_empty() || by_ref)
    }

    /// `WebhookFilters`, or null without any.
    pub(super) fn read(&self) -> Value {
        if self.is_empty() {
            return Value::Null;
        }
        let fleet_ids = Some(&self.fleet_ids).filter(|ids| !ids.is_empty());
        let fleet_refs = Some(&self.fleet_refs).filter(|refs| !refs.is_empty());
        json!({"fleet_ids": fleet_ids, "fleet_refs": fleet_refs})
    }
}

const FLEETLESS: [&str; 2] = ["tsp.", "webhook."];

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{events, fleet::Fleet};

    #[test]
    fn events_pass_by_the_fleet_that_they_are_about() {
        let now = OffsetDateTime::now_utc();
        let fleet = Fleet::new("FLEET-42", now);
        let by_ref = Filters::of_fleet("FLEET-42");
        let by_id = Filters {
            fleet_ids: vec![fleet.fleet_id],
            ..Filters::default()
        };
        let both = Filters {
            fleet_ids: by_id.fleet_ids.clone(),
            ..by_ref.clone()
        };
        let passes = |event: &Envelope| [&by_ref, &by_id, &both].map(|it| it.admit(event));
        let accepted = events::invitation_accepted(&fleet, now);
        assert_eq!(passes(&accepted), [true; 3]);
        assert_eq!(
            passes(&events::invitation_created(&fleet, now)),
            [true, false, false]
        );
        assert_eq!(passes(&events::connection_created(&fleet, now)), [true; 3]);
        assert_eq!(
            passes(&events::schedule_deactivated(&fleet, now)),
            [true, false, false]
        );
        assert_eq!(passes(&events::tsp_created(&fleet, now)), [false; 3]);
        let other = Fleet::new("FLEET-43", now);
        assert_eq!(
            passes(&events::invitation_accepted(&other, now)),
            [false; 3]
        );
        let none = Filters::default();
        assert!(none.admit(&events::tsp_created(&other, now)));
    }
}

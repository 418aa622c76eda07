//! Which events can be subscribed (contract 6.1, 6.10).

/// Whether an event of this name can be subscribed by itself.
pub(crate) fn is_known(event_name: &str) -> bool {
    let in_family = |(family, actions): &(&str, &[&str])| {
        let action = event_name.strip_prefix(family);
        let action = action.and_then(|rest| rest.strip_prefix('.'));
        action.is_some_and(|action| actions.contains(&action))
    };
    let mut families = CATCH_ALLS.iter().chain(SINGLE);
    families.any(in_family)
}

/// The events of a catch-all, `x.*`: one per action that exists today. `None` of what isn't a catch-all.
pub(crate) fn expand(event_name: &str) -> Option<Vec<String>> {
    let wanted = event_name.strip_suffix(".*")?;
    let mut families = CATCH_ALLS.iter();
    let (family, actions) = families.find(|(family, _)| *family == wanted)?;
    let names = actions.iter().map(|action| format!("{family}.{action}"));
    Some(names.collect())
}

type Family = (&'static str, &'static [&'static str]);

const ALL: &[&str] = &["added", "modified", "removed"];
const ADDED_MODIFIED: &[&str] = &["added", "modified"];

/// The catch-alls of contract 6.1 with their actions, in the samples' order where there is one.
const CATCH_ALLS: &[Family] = &[
    (
        "invitation",
        &[
            "created", "viewed", "sent", "accepted", "declined", "expired", "deleted",
        ],
    ),
    ("share_agreement", &["created", "updated", "deleted"]),
    ("connection", &["created", "staled"]),
    ("fleet_connection", &["created"]),
    ("resource_operation", &["created", "succeeded", "failed"]),
    (
        "webhook",
        &[
            "created",
            "updated",
            "deleted",
            "staled",
            "activated",
            "paused",
        ],
    ),
    ("message", ADDED_MODIFIED),
    ("group_message", ADDED_MODIFIED),
    ("driver_vehicle_association", ADDED_MODIFIED),
    ("trailer_vehicle_association", ADDED_MODIFIED),
    ("trailer_location", ADDED_MODIFIED),
    ("trailer_status", ADDED_MODIFIED),
    ("engine_status", ADDED_MODIFIED),
    ("fuel_transaction", ADDED_MODIFIED),
    ("vehicle_location", &["added"]),
    ("dvir_log", ALL),
    ("hos_availability", ALL),
    ("hos_daily_snapshot", ALL),
    ("hos_event", ALL),
    ("hos_violation", ALL),
    ("engine_log", ALL),
    ("ifta_summary", ALL),
    ("vehicle", ALL),
    ("trailer", ALL),
    ("user", ALL),
    ("workflow", ALL),
];

/// What no catch-all covers.
const SINGLE: &[Family] = &[
    // Deprecated, so the sample of `invitation.*` goes without.
    ("invitation", &["rejected"]),
    ("execution", &["created", "failed", "staled"]),
    ("schedule", &["deactivated"]),
    ("tsp", &["created", "requested"]),
    ("fleet_info", &["modified"]),
];

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{events, fleet::Fleet};

    #[test]
    fn every_event_with_a_constructor_can_be_subscribed() {
        let now = OffsetDateTime::now_utc();
        for event in events::all(&Fleet::new("FLEET-42", now), now) {
            assert!(is_known(&event.event_name), "{}", event.event_name);
        }
        for name in [
            "invitation",
            "invitation.",
            "invitation.*",
            "invitation.opened",
            "",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn only_catch_alls_expand() {
        for name in [
            "execution.*",
            "schedule.*",
            "tsp.*",
            "fleet_info.*",
            "*",
            "invitation",
        ] {
            assert_eq!(expand(name), None, "{name}");
        }
        assert_eq!(CATCH_ALLS.len(), 26, "contract 6.1");
        for (family, _) in CATCH_ALLS {
            let names = expand(&format!("{family}.*")).unwrap();
            assert!(names.iter().all(|name| is_known(name)), "{family}");
        }
    }
}

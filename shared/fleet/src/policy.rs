//! What the partner decides once for all fleets.

use serde::{Deserialize, Serialize};

/// The partner's rules. As JSON all of it is optional: `{"provisional_days":14}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What it takes for a requested integration to open the partner's platform for a while.
    pub confirmation: Confirmation,
    /// How long it does, counted from the fleet's request.
    pub provisional_days: u16,
    /// All of a fleet's provisional access together, over its lifetime.
    pub provisional_days_in_all: u16,
    /// How long a fleet stays welcome after its requested provider went live, so that it can connect it.
    pub reconnect_days: u16,
    /// How long a fleet stays welcome after its last connection broke, so that it can mend it. 0 for not at all.
    pub broken_days: u16,
}

/// What it takes for a requested integration to open the partner's platform for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// Catena lists the request.
    #[default]
    Confirmed,
    /// The same; and while Catena refuses to list requests, the fleet's browser came back with one after accepting.
    Link,
    /// Nothing opens it.
    Off,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            confirmation: Confirmation::Confirmed,
            provisional_days: 14,
            provisional_days_in_all: 60,
            reconnect_days: 7,
            broken_days: 3,
        }
    }
}

/// Days in milliseconds.
pub(crate) const fn days(days: u16) -> i64 {
    days as i64 * 24 * 60 * 60 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_default_and_what_is_misspelt_an_error() {
        let policy: Policy =
            serde_json::from_str(r#"{"provisional_days":30,"confirmation":"off"}"#).unwrap();
        assert_eq!(policy.provisional_days, 30);
        assert_eq!(policy.confirmation, Confirmation::Off);
        assert_eq!(policy.broken_days, Policy::default().broken_days);
        let misspelt = serde_json::from_str::<Policy>(r#"{"provisonal_days":30}"#);
        assert!(
            misspelt
                .unwrap_err()
                .to_string()
                .contains("provisonal_days")
        );
    }
}

//! `policy show`: by which rules the stack's functions compute.

use fleet::Policy;
use serde_json::{Value, json};

use crate::readable::{Page, columns, plain, row, wrapped};

pub(crate) fn page(policy: &Policy, place: &str) -> Page {
    let (json, usual) = (json!(policy), json!(Policy::default()));
    let mut rows = vec![row(["PARAMETER", "KEY", "VALUE", "USUAL", "MEANING"])];
    for (parameter, key, meaning) in SETTINGS {
        let (value, usual) = (word(&json[key]), word(&usual[key]));
        rows.push(row([parameter, key, &value, &usual, meaning]));
    }
    let after = wrapped(
        "",
        0,
        "Each is a parameter of the template: to change one, deploy the stack with another value. What was granted keeps \
         its end.",
    );
    let text = format!(
        "The policy of {}\n\n{}\n{after}",
        plain(place),
        columns(&rows)
    );
    Page::new(text, json)
}

fn word(value: &Value) -> String {
    value.as_str().map_or(value.to_string(), plain)
}

/// The template's parameter, the policy's field as JSON has it, and what it means.
const SETTINGS: [(&str, &str, &str); 8] = [
    (
        "RequestConfirmation",
        "confirmation",
        "what a requested integration takes to open the platform for a while",
    ),
    (
        "ProvisionalDays",
        "provisional_days",
        "days that it does, from the fleet's request on",
    ),
    (
        "ProvisionalDaysInAll",
        "provisional_days_in_all",
        "days of all of a fleet's provisional access together",
    ),
    (
        "ReconnectDays",
        "reconnect_days",
        "days of grace after its requested provider went live",
    ),
    (
        "BrokenDays",
        "broken_days",
        "days of grace after its last connection broke",
    ),
    (
        "RegulatoryMismatch",
        "regulatory_mismatch",
        "what becomes of a fleet with another regulatory id than it was invited under",
    ),
    (
        "OperationDays",
        "operation_days",
        "days that the end of a write operation is waited for; then it is unknown",
    ),
    (
        "WaitPercent",
        "wait_percent",
        "how long looks at Catena wait for each other, in percent",
    ),
];

#[cfg(test)]
mod tests {
    use fleet::{Confirmation, Days};

    use super::*;

    #[test]
    fn every_setting_of_the_policy_is_shown() {
        let policy = json!(Policy::default());
        let fields: Vec<_> = policy.as_object().unwrap().keys().collect();
        let mut shown = SETTINGS.map(|(_, key, _)| key);
        shown.sort_unstable();
        assert_eq!(fields, shown);
    }

    /// Those that the template has by now are under its names.
    #[test]
    fn parameters_are_called_as_in_the_template() {
        let template = include_str!("../../../template.yaml");
        let mut found = 0;
        for (parameter, key, _) in SETTINGS {
            for (start, _) in template.match_indices(&format!("\"{key}\":")) {
                let value = &template[start + key.len() + 3..];
                let value = value.trim_start_matches('"');
                assert!(value.starts_with(&format!("${{{parameter}}}")), "{key}");
                found += 1;
            }
        }
        assert!(found >= 5);
    }

    #[test]
    fn a_policy() {
        let policy = Policy {
            confirmation: Confirmation::Link,
            provisional_days: Days::new(30),
            ..serde_json::from_str(r#"{"broken_days":0.5}"#).unwrap()
        };
        let page = page(&policy, "stack kingpin in eu-central-1");
        insta::assert_snapshot!("policy", page.text);
        insta::assert_json_snapshot!("policy-json", page.json);
    }
}

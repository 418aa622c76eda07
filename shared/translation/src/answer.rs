//! What an answer of Catena's API says.

use catena::{EventName, Instant, Invitation};

use crate::{Translation, observer::Observer, resource::of_invitation};

/// Translates what Catena's API answered about an invitation. What has no business time of its own was so at `observed`, and
/// nothing in the answer happened after `latest`.
pub fn translate_answer(
    invitation: &Invitation,
    observed: Instant,
    latest: Instant,
) -> Translation {
    let mut observer = Observer::of_answer(observed, latest);
    let mut translation = of_invitation(&no_event(), invitation, &mut observer);
    translation.observations = observer.observations;
    translation
}

fn no_event() -> EventName {
    EventName::from(String::new())
}

#[cfg(test)]
mod tests {
    use fleet::{Decision, FleetRef};
    use serde_json::json;

    use super::*;
    use crate::samples::{decision, invitation, millis};

    #[test]
    fn an_answer_is_timed_by_the_record_and_else_by_when_it_was_given() {
        let observed = Instant::parse_rfc3339("2026-05-05T00:00:00Z").unwrap();
        let latest = Instant::parse_rfc3339("2026-05-05T00:00:02Z").unwrap();
        for (extra, at, expected) in [
            (json!({}), "2026-05-04T08:00:00Z", Decision::Open),
            (
                json!({ "status": "accepted", "accepted_at": "2026-05-04T08:06:11Z" }),
                "2026-05-04T08:06:11Z",
                Decision::Accepted,
            ),
            (
                json!({ "status": "accepted" }),
                "2026-05-05T00:00:00Z",
                Decision::Accepted,
            ),
            (
                json!({ "status": "deleted" }),
                "2026-05-05T00:00:00Z",
                Decision::Deleted,
            ),
            // Refreshed: the end is the hours from the refresh, which can't be later than the answer.
            (
                json!({ "expires_at": "2026-05-12T00:00:01Z" }),
                "2026-05-05T00:00:01Z",
                Decision::Open,
            ),
            (
                json!({ "expires_at": "2026-05-13T00:00:01Z" }),
                "2026-05-05T00:00:02Z",
                Decision::Open,
            ),
        ] {
            let read: Invitation = serde_json::from_value(invitation(extra.clone())).unwrap();
            let translation = translate_answer(&read, observed, latest);
            assert_eq!(
                decision(&translation),
                Some((millis(at), expected)),
                "{extra}"
            );
            assert_eq!(translation.fleet, FleetRef::parse("FLEET-42"));
        }
    }
}

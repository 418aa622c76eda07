//! What tests of several modules are about.

use catena::Instant;
use fleet::{Decision, Fact, InvitationFact};
use serde_json::{Value, json};

use crate::Translation;

pub(crate) fn invitation(extra: Value) -> Value {
    let mut record = json!({
        "invitation_hash": "hash", "fleet_ref": "FLEET-42", "status": "active",
        "created_at": "2026-05-04T08:00:00Z", "expires_at": "2026-05-11T08:00:00Z",
        "expires_in_hours": 168,
    });
    let fields = record.as_object_mut().unwrap();
    fields.extend(extra.as_object().unwrap().clone());
    record
}

pub(crate) fn decision(translation: &Translation) -> Option<(i64, Decision)> {
    translation.observations.iter().find_map(|observation| {
        let Fact::Invitation {
            was: InvitationFact::Decision(decision),
            ..
        } = &observation.fact
        else {
            return None;
        };
        Some((observation.at.0.0, decision.clone()))
    })
}

pub(crate) fn millis(text: &str) -> i64 {
    Instant::parse_rfc3339(text).unwrap().millis()
}

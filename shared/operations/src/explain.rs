//! What it means, and what to do: for people.

use crate::{Course, Operation, Outcome, Status};

/// What a kind of error means (contract 5.4: `auth`, `validation`, `network`, `tsp`; open).
pub fn meaning(error_type: &str) -> &'static str {
    match error_type {
        "auth" => "the provider no longer accepts the connection's credentials",
        "validation" => "the provider doesn't take what was to be written",
        "network" => "Catena couldn't reach the provider",
        "tsp" => "the provider failed",
        _ => "a kind of error that this version doesn't know",
    }
}

/// What to do about an operation that stands so, if anything.
pub fn advice(operation: &Operation, status: Status) -> Option<&'static str> {
    match status {
        Status::Submitting | Status::Pending | Status::Success => None,
        Status::Unclear => Some("wait: Kingpin searches for it; an equal payload waits, too"),
        Status::Refused => Some(match &operation.course {
            Course::Refused(refused) if !refused.by_catena => "send the same key again",
            _ => {
                "mend what was refused and send it under a new key; the same body may be sent again under the same key"
            }
        }),
        Status::Unknown => Some(LOOK),
        Status::Failed if operation.heard.is_contradictory() => Some(LOOK),
        Status::Failed => Some(match operation.heard.error_type() {
            Some("auth") => "the fleet has to connect again: send it its link; then send a new key",
            Some("validation") => "mend the payload and send it under a new key",
            _ => "send it under a new key",
        }),
    }
}

impl Operation {
    /// One sentence on how it stands.
    pub fn sentence(&self, status: Status) -> String {
        let contradictory = match (self.heard.is_contradictory(), self.heard.outcome()) {
            (true, Some(Outcome::Success)) => ", after Catena had said that it failed",
            (true, Some(Outcome::Failed)) => ", though Catena had also said that it succeeded",
            _ => "",
        };
        match status {
            Status::Submitting => "the call to Catena is under way".to_owned(),
            Status::Unclear => format!(
                "nobody knows yet whether Catena has it: {}",
                self.why().unwrap_or("the call was cut off")
            ),
            Status::Pending => "Catena has it and hasn't told its end".to_owned(),
            Status::Success => format!("done{contradictory}"),
            Status::Failed => {
                let why = self.heard.error_type().map_or_else(
                    || "Catena doesn't say why".to_owned(),
                    |it| format!("{it}: {}", meaning(it)),
                );
                format!("not done{contradictory}: {why}")
            }
            Status::Refused => format!("nothing was written: {}", self.why().unwrap_or_default()),
            Status::Unknown => format!(
                "nobody can tell whether it was done: {}",
                self.why().unwrap_or_default()
            ),
        }
    }
}

const LOOK: &str =
    "look at the provider whether it was done; if it wasn't, send it under a new key";

#[cfg(test)]
mod tests {
    use fleet::{FleetRef, Timestamp};
    use serde_json::Map;

    use super::*;
    use crate::{Asked, Attempt, Heard, Kind, Refused, Said, Word};

    const NOW: Timestamp = Timestamp(1_763_700_000_000);

    fn operation() -> Operation {
        let asked = Asked {
            fleet: FleetRef::parse("FLEET-42").unwrap(),
            key: "order-7".to_owned(),
            by: "arn:aws:iam::123456789012:user/ada".to_owned(),
            resource: "message".to_owned(),
            kind: Kind::Create,
            target: None,
            connection: "A".to_owned(),
            digest: String::new(),
        };
        Operation::new("op-1".to_owned(), asked, Map::new(), NOW)
    }

    fn said(word: Word, error_type: Option<&str>) -> Said {
        let attempt = Attempt {
            error_type: error_type.map(str::to_owned),
            ..Attempt::default()
        };
        Said {
            at: NOW,
            word,
            resource_id: None,
            source_id: None,
            attempts: vec![attempt],
        }
    }

    #[test]
    fn nobody_is_advised_to_write_again_what_may_be_done() {
        let advice_on = |all: &[Said]| {
            let heard = all.iter().cloned().fold(Heard::default(), Heard::fold);
            let mut operation = operation();
            operation.accept("catena-1", None, heard, NOW);
            advice(&operation, operation.status(NOW)).unwrap()
        };
        let failed = said(Word::Failed, Some("auth"));
        assert!(advice_on(std::slice::from_ref(&failed)).contains("connect again"));
        let contradictory = advice_on(&[said(Word::Success, None), failed]);
        assert!(contradictory.starts_with("look at the provider"));
    }

    #[test]
    fn a_mended_write_needs_a_new_key_and_one_that_never_left_the_same() {
        let advice_on = |by_catena: bool| {
            let mut operation = operation();
            operation.refuse(Refused {
                at: NOW,
                why: "422".to_owned(),
                by_catena,
            });
            advice(&operation, operation.status(NOW)).unwrap()
        };
        assert!(advice_on(true).contains("under a new key"));
        assert_eq!(advice_on(false), "send the same key again");
    }
}

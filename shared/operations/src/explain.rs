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
            _ => "mend what was refused, then send the same key again",
        }),
        Status::Unknown => {
            Some("look at the provider whether it was done; if it wasn't, send it under a new key")
        }
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

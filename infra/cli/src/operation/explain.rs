//! `operation explain`: what became of a write, for people who never read the code.

use std::collections::BTreeSet;

use fleet::{Policy, Timestamp};
use operations::{Attempt, Course, Kind, Operation, Said, Status, Word, advice, meaning};
use serde_json::{Value, json};
use store::StoredOperation;

use super::list::writes;
use crate::{
    readable::{Page, plain, quoted, short_id, wrapped},
    when::{clock, clock_and_distance, rfc3339},
};

pub(super) fn page(stored: &StoredOperation, policy: &Policy, now: Timestamp) -> Page {
    let story = Story {
        operation: &stored.operation,
        status: stored.operation.status(now),
        policy,
        now,
    };
    let mut json = json!(api::Operation::new(&stored.operation, stored.version, now));
    story.add_to(&mut json);
    Page::new(story.text(), json)
}

struct Story<'a> {
    operation: &'a Operation,
    status: Status,
    policy: &'a Policy,
    now: Timestamp,
}

/// Something that happened, and when, as far as that is known.
struct Told {
    at: Option<Timestamp>,
    says: String,
}

impl Story<'_> {
    fn text(&self) -> String {
        let asked = &self.operation.asked;
        let subject = format!(
            "The write ({}) for {}",
            writes(self.operation),
            plain(asked.fleet.as_str())
        );
        let mut text = wrapped("", 0, &format!("{subject} {}.", self.stands()));
        text += &format!("As of {}; all times are UTC.\n\n", clock(self.now));
        let sentence = plain(&self.operation.sentence(self.status));
        text += &wrapped("Operation  ", 11, &self.operation.id);
        text += &wrapped("Key        ", 11, &plain(&asked.key));
        let status = format!("{}: {sentence}", self.status.as_str());
        text += &wrapped("Status     ", 11, &status);
        text += &wrapped("To do      ", 11, self.to_do());

        text += "\nWhat happened, oldest first\n";
        for told in self.happened() {
            let at = told.at.map_or("(no time told)     ".to_owned(), clock);
            text += &wrapped(&format!("  {at}  "), 23, &told.says);
        }
        text += "\nWhat comes next\n";
        for sentence in self.next() {
            text += &wrapped("  - ", 4, &sentence);
        }
        text
    }

    fn add_to(&self, json: &mut Value) {
        let happened = self.happened().into_iter();
        let happened =
            happened.map(|told| json!({ "at": told.at.map(rfc3339), "says": told.says }));
        json["happened"] = happened.collect();
        json["next"] = json!(self.next());
        json["next_look"] = json!(self.operation.due(self.policy).map(rfc3339));
        let deadline = self.operation.deadline(self.policy);
        json["deadline"] = json!(self.status.is_open().then(|| rfc3339(deadline)));
    }

    const fn stands(&self) -> &'static str {
        match self.status {
            Status::Submitting => "is being sent",
            Status::Unclear => "may have reached Catena or not",
            Status::Pending => "is pending",
            Status::Success => "succeeded",
            Status::Failed => "failed",
            Status::Refused => "was refused",
            Status::Unknown => "has an unknown end",
        }
    }

    fn to_do(&self) -> &'static str {
        advice(self.operation, self.status).unwrap_or("nothing")
    }

    /// By time; what has none last.
    fn happened(&self) -> Vec<Told> {
        let mut told = self.calls();
        told.extend(self.course());
        let heard = &self.operation.heard;
        let said = [&heard.pending, &heard.failed, &heard.success];
        let said: Vec<&Said> = said.into_iter().flatten().collect();
        let attempts: BTreeSet<(Option<Timestamp>, &Attempt)> = said
            .iter()
            .flat_map(|said| {
                said.attempts
                    .iter()
                    .map(|it| (it.at.or(known(said.at)), it))
            })
            .collect();
        told.extend(attempts.into_iter().map(|(at, it)| Told {
            at,
            says: attempt(it),
        }));
        told.extend(said.into_iter().map(|said| Told {
            at: known(said.at),
            says: says(said),
        }));
        told.sort_by_key(|told| (told.at.is_none(), told.at));
        told
    }

    fn calls(&self) -> Vec<Told> {
        let Operation {
            asked,
            submitted_at,
            called_at,
            calls,
            ..
        } = self.operation;
        let what = format!(
            "{} {} {}",
            match asked.kind {
                Kind::Create => "to create a",
                Kind::Update => "to update the",
            },
            plain(&asked.resource).replace('_', " "),
            match &asked.target {
                Some(target) => format!("{} by connection", short_id(target)),
                None => "by connection".to_owned(),
            }
        );
        let by = plain(&asked.by);
        let connection = short_id(&asked.connection);
        if *calls <= 1 {
            let says = format!("{by} asked {what} {connection}, and the call to Catena began");
            return vec![Told::at(*submitted_at, says)];
        }
        let first = "it was asked for first; Catena took nothing of any call before the last";
        let again =
            format!("{by} asked again {what} {connection}, and call {calls} to Catena began");
        vec![
            Told::at(*submitted_at, first.to_owned()),
            Told::at(*called_at, again),
        ]
    }

    fn course(&self) -> Vec<Told> {
        let mut told = Vec::new();
        let mut tell = |at: Timestamp, says: String| told.push(Told::at(at, says));
        match &self.operation.course {
            Course::Calling { until, .. } if *until <= self.now => {
                tell(*until, "nobody told how the call ended: the program that made it must have ended before".to_owned());
            }
            Course::Calling { .. } => {}
            Course::Unclear {
                until,
                searched_at,
                why,
                ..
            } => {
                tell(
                    *until,
                    format!("the call's answer was lost: {}", plain(why)),
                );
                if let Some(at) = searched_at {
                    tell(
                        *at,
                        "it was last searched for at Catena, and not found".to_owned(),
                    );
                }
            }
            Course::Accepted { at, looked_at } => {
                tell(*at, self.taken(*at));
                if let Some(at) = looked_at {
                    tell(
                        *at,
                        "Catena was last asked about it, and told no end".to_owned(),
                    );
                }
            }
            Course::Refused(refused) if refused.by_catena => {
                tell(
                    refused.at,
                    format!("Catena refused it: {}", plain(&refused.why)),
                );
            }
            Course::Refused(refused) => {
                tell(
                    refused.at,
                    format!("nothing was written: {}", plain(&refused.why)),
                );
            }
            Course::Lost { at, why } => tell(*at, format!("it was given up: {}", plain(why))),
        }
        if let Some(at) = self.operation.created_at {
            tell(
                at,
                "Catena made its operation, by Catena's clock".to_owned(),
            );
        }
        told
    }

    /// How it became known that Catena has it.
    fn taken(&self, at: Timestamp) -> String {
        let id = plain(self.operation.catena_id.as_deref().unwrap_or("?"));
        match at > self.operation.called_at.plus(CALL) {
            true => format!(
                "it was found at Catena as operation {id}, after the call's answer had been lost"
            ),
            false => format!("Catena has it as operation {id}"),
        }
    }

    fn next(&self) -> Vec<String> {
        let Some(due) = self.operation.due(self.policy) else {
            return vec![self.rest().to_owned()];
        };
        let when = match due <= self.now {
            true => format!("since {}", clock_and_distance(due, self.now)),
            false => format!("at {}", clock_and_distance(due, self.now)),
        };
        let deadline = clock_and_distance(self.operation.deadline(self.policy), self.now);
        match self.status {
            Status::Submitting => vec![format!(
                "{when}: should nobody have told how the call ended, it is searched for at Catena."
            )],
            Status::Pending => vec![
                format!("{when}: Catena is asked about it, should no webhook tell its end before."),
                format!("What Catena hasn't told by {deadline} counts as unknown."),
            ],
            _ => vec![
                format!("{when}: it is searched for among the operations that Catena lists."),
                format!(
                    "It becomes unknown once Catena's list was searched long enough without it, or by {deadline}."
                ),
            ],
        }
    }

    /// What becomes of one of which nothing is expected.
    const fn rest(&self) -> &'static str {
        match self.status {
            Status::Refused => "Nothing, unless the same key is sent again.",
            Status::Unknown if self.operation.catena_id.is_some() => {
                "Nothing is asked any more. Should Catena still tell its end, that counts."
            }
            Status::Unknown => {
                "Nothing is asked any more, and it stays unknown: without Catena's id of it, nobody knows what Catena tells of it."
            }
            _ => "Nothing: it is over.",
        }
    }
}

impl Told {
    fn at(at: Timestamp, says: String) -> Self {
        Self { at: Some(at), says }
    }
}

/// Catena's word, and what it tells with it.
fn says(said: &Said) -> String {
    match &said.word {
        Word::Pending => "Catena: pending".to_owned(),
        Word::Other(word) => format!(
            "Catena: {}, which this version doesn't know; it proves no end",
            quoted(word)
        ),
        Word::Failed => "Catena: failed".to_owned(),
        Word::Success => {
            let ids = [
                ("resource", &said.resource_id),
                ("at the provider", &said.source_id),
            ];
            let ids = ids
                .into_iter()
                .filter_map(|(words, id)| Some(format!(", {words} {}", plain(id.as_ref()?))));
            format!("Catena: success{}", ids.collect::<String>())
        }
    }
}

/// An attempt of Catena's at the provider: `failed: auth (…), HTTP 401, “…”, x-request-id: r-1`.
fn attempt(attempt: &Attempt) -> String {
    let status = attempt.status.as_deref().map_or("made".to_owned(), plain);
    let error = attempt.error_type.as_deref();
    let parts = [
        error.map(|it| format!("{} ({})", plain(it), meaning(it))),
        attempt.http_status.map(|it| format!("HTTP {it}")),
        attempt.details.as_deref().map(quoted),
    ];
    let headers = attempt.headers.iter();
    let headers = headers.map(|(name, value)| format!("{}: {}", plain(name), plain(value)));
    let parts: Vec<String> = parts.into_iter().flatten().chain(headers).collect();
    match parts.is_empty() {
        true => format!("an attempt at the provider: {status}"),
        false => format!("an attempt at the provider: {status}: {}", parts.join(", ")),
    }
}

fn known(at: Timestamp) -> Option<Timestamp> {
    (at.0 > 0).then_some(at)
}

/// What is accepted later than this after its call wasn't by the call's own answer: the functions that call end before (template).
const CALL: i64 = 40 * 1000;

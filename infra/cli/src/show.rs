//! `fleet show`: a fleet as it stands, in codes.

use api::{Fleet, Moment, Reason};
use fleet::{Policy, Standing, Timestamp};
use serde_json::{Value, json};
use store::StoredRecord;

use crate::{
    readable::{Page, columns, indented, plain, row},
    when::{clock, clock_and_distance},
    words::Words,
};

pub(crate) fn page(stored: &StoredRecord, policy: &Policy, now: Timestamp) -> Page {
    let standing = stored.record.standing(policy, now);
    let text = text(stored, &standing, now);
    let json = json(stored, &standing, now);
    Page::new(text, json)
}

/// What every command says of a fleet in JSON. `now` is the moment that it is about.
pub(crate) fn json(stored: &StoredRecord, standing: &Standing, now: Timestamp) -> Value {
    let due = stored.all_due(standing);
    json!(Fleet::new(
        &stored.fleet,
        &stored.record,
        stored.version,
        standing,
        &due,
        now
    ))
}

fn text(stored: &StoredRecord, standing: &Standing, now: Timestamp) -> String {
    let facts = &stored.record.facts;
    let words = Words {
        facts,
        names: facts,
        now,
    };
    let until = standing.admission.until();
    let until = until.map(|until| format!(" until {}", clock_and_distance(until, now)));
    let admission = standing.admission.as_str();
    let mut rows = vec![
        row(["fleet", &plain(stored.fleet.as_str())]),
        row(["stage", standing.stage.as_str()]),
        row([
            "admission",
            &format!("{admission}{}", until.unwrap_or_default()),
        ]),
        row(["data scopes", &words.scopes(standing.data_scopes.iter())]),
        row(["version", &stored.version.to_string()]),
        row(["as of", &format!("{} UTC", clock(now))]),
    ];
    if let Some(id) = &facts.catena_fleet {
        rows.insert(1, row(["Catena's id", &plain(id.value())]));
    }
    if let Some(name) = &facts.name {
        rows.insert(1, row(["name", &plain(name.value())]));
    }
    let why: Vec<Reason> = standing.reasons.iter().map(Reason::from).collect();
    let due = stored.all_due(standing);
    let due = due
        .iter()
        .map(|due| row([due.why.as_str(), &clock_and_distance(due.at, now)]));
    format!(
        "{}\nreasons\n{}\ndue\n{}",
        columns(&rows),
        reasons(&why, now),
        indented(due)
    )
}

/// Reasons in codes, one a line.
pub(crate) fn reasons(reasons: &[Reason], now: Timestamp) -> String {
    indented(reasons.iter().map(|reason| reason_row(reason, now)))
}

fn reason_row(reason: &Reason, now: Timestamp) -> Vec<String> {
    let time = |word: &str, at: Option<Moment>| {
        at.map(|at| format!("{word} {}", clock_and_distance(at.0, now)))
    };
    let parts = [
        reason.about.as_deref().map(plain),
        reason.detail.as_deref().map(plain),
        time("since", reason.since),
        time("until", reason.until),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    row([&plain(&reason.code), &parts.join(", ")])
}

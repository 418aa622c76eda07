//! `fleet show`: a fleet as it stands, in codes.

use fleet::{Due, Policy, Reason, SCHEMA, Standing, Timestamp};
use serde_json::{Value, json};
use store::StoredRecord;

use crate::{
    json,
    readable::{Page, columns, plain},
    when::{clock, clock_and_distance, rfc3339},
    words::Words,
};

pub(crate) fn page(stored: &StoredRecord, policy: &Policy, now: Timestamp) -> Page {
    let standing = stored.record.standing(policy, now);
    let text = text(stored, &standing, now);
    let json = json(stored, &standing, now);
    Page { text, json }
}

/// What every command says of a fleet in JSON. `now` is the moment that it is about.
pub(crate) fn json(stored: &StoredRecord, standing: &Standing, now: Timestamp) -> Value {
    let facts = &stored.record.facts;
    json!({
        "fleet_ref": stored.fleet.as_str(),
        "name": facts.name.as_ref().map(|name| name.value()),
        "catena_fleet": facts.catena_fleet.as_ref().map(|id| id.value()),
        "stage": standing.stage.as_str(),
        "admission": json::admission(standing.admission),
        "data_scopes": json::scopes(&standing.data_scopes),
        "reasons": standing.reasons.iter().map(json::reason).collect::<Value>(),
        "due": due(stored, standing).iter().map(json::due).collect::<Value>(),
        "version": stored.version,
        "schema": SCHEMA,
        "as_of": rfc3339(now),
    })
}

/// When to look at a fleet again, by what follows from its record or by what came besides.
pub(crate) fn due(stored: &StoredRecord, standing: &Standing) -> Vec<Due> {
    let mut due = standing.due.clone();
    due.extend(stored.look);
    due.sort();
    due.dedup();
    due
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
    let reasons = standing
        .reasons
        .iter()
        .map(|reason| reason_row(reason, now));
    let due = due(stored, standing);
    let due = due
        .iter()
        .map(|due| row([due.why.as_str(), &clock_and_distance(due.at, now)]));
    format!(
        "{}\nreasons\n{}\ndue\n{}",
        columns(&rows),
        table(reasons),
        table(due)
    )
}

fn reason_row(reason: &Reason, now: Timestamp) -> Vec<String> {
    let time = |word: &str, at: Option<Timestamp>| {
        at.map(|at| format!("{word} {}", clock_and_distance(at, now)))
    };
    let parts = [
        reason.about.as_deref().map(plain),
        reason.detail.as_deref().map(plain),
        time("since", reason.since),
        time("until", reason.until),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    row([reason.code.as_str(), &parts.join(", ")])
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn table(rows: impl Iterator<Item = Vec<String>>) -> String {
    let indent = |mut row: Vec<String>| {
        row[0].insert_str(0, "  ");
        row
    };
    let rows: Vec<_> = rows.map(indent).collect();
    if rows.is_empty() {
        return "  none\n".to_owned();
    }
    columns(&rows)
}

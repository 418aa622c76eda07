//! `fleet list`: which fleets are where, what they wait for, what ends soon.

use fleet::{Admission, Due, FleetRef, Policy, Stage, Timestamp, Why};
use serde_json::{Value, json};
use store::StoredRecord;

use crate::{
    readable::{Page, columns, plain},
    when::{Span, distance, rfc3339},
    words,
};

/// A fleet as it is listed.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    fleet: FleetRef,
    name: Option<String>,
    pub(crate) stage: Stage,
    admission: Admission,
    due: Vec<Due>,
}

/// All fleets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) rows: Vec<Row>,
    /// Fleets whose record can't be read, and why.
    pub(crate) unreadable: Vec<(FleetRef, String)>,
}

/// Which fleets, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) stage: Option<Stage>,
    /// Something is due for longer.
    pub(crate) stuck: Option<Span>,
    /// An admission, agreement, override or invitation ends within.
    pub(crate) ending_within: Option<Span>,
    pub(crate) limit: usize,
}

impl Row {
    pub(crate) fn new(stored: &StoredRecord, policy: &Policy, now: Timestamp) -> Self {
        let standing = stored.record.standing(policy, now);
        let name = stored.record.facts.name.as_ref();
        Self {
            fleet: stored.fleet.clone(),
            name: name.map(|name| name.value().clone()),
            stage: standing.stage,
            admission: standing.admission,
            due: stored.all_due(&standing),
        }
    }

    fn json(&self) -> Value {
        json!({
            "fleet_ref": self.fleet.as_str(),
            "name": self.name,
            "stage": self.stage.as_str(),
            "admission": api::Admission::from(self.admission),
            "due": self.due.iter().map(api::Due::from).collect::<Vec<_>>(),
        })
    }
}

impl Filter {
    /// Whether a fleet is wanted, and what of its dues is worth a column: inside `None` if it has none.
    fn of(&self, row: &Row, now: Timestamp) -> Option<Option<Due>> {
        if self.stage.is_some_and(|stage| stage != row.stage) {
            return None;
        }
        let mut matter = row.due.first().copied();
        if let Some(Span(longer)) = self.stuck {
            let waits = |due: &&Due| due.at.plus(longer) < now;
            matter = Some(*row.due.iter().find(waits)?);
        }
        if let Some(Span(within)) = self.ending_within {
            // Of all dates only this is no end.
            let is_end = |why: Why| why.is_date() && why != Why::AgreementStarts;
            let ends = |due: &&Due| is_end(due.why) && due.at > now && due.at <= now.plus(within);
            matter = Some(*row.due.iter().find(ends)?);
        }
        Some(matter)
    }

    fn heading(&self) -> &'static str {
        match (self.stuck, self.ending_within) {
            (_, Some(_)) => "ENDS",
            (Some(_), None) => "WAITING SINCE",
            (None, None) => "DUE",
        }
    }
}

pub(crate) fn page(listing: &Listing, filter: &Filter, now: Timestamp) -> Page {
    let found = listing.rows.iter();
    let found = found.filter_map(|row| Some((filter.of(row, now)?, row)));
    let mut found: Vec<_> = found.collect();
    if filter.stuck.is_some() || filter.ending_within.is_some() {
        found.sort_by_key(|(matter, row)| (*matter, &row.fleet));
    } else {
        found.sort_by_key(|(_, row)| &row.fleet);
    }
    let total = found.len();
    found.truncate(filter.limit);

    let heading = ["FLEET", "NAME", "STAGE", "ADMISSION", filter.heading()];
    let mut table = vec![heading.map(str::to_owned).to_vec()];
    for (matter, row) in &found {
        let matter =
            matter.map(|due| format!("{}: {}", distance(due.at, now), words::brief(due.why)));
        table.push(vec![
            plain(row.fleet.as_str()),
            row.name.as_deref().map_or("-".to_owned(), name),
            row.stage.to_string(),
            admission(row.admission, now),
            matter.unwrap_or("-".to_owned()),
        ]);
    }
    let mut text = if found.is_empty() {
        "No fleet is like that.\n".to_owned()
    } else {
        columns(&table)
    };
    if found.is_empty() && listing.rows.is_empty() {
        text = "There are no fleets yet.\n".to_owned();
    }
    if found.len() < total {
        text += &format!(
            "\n{} of {total}; `--limit {total}` shows all.\n",
            found.len()
        );
    }
    for (fleet, problem) in &listing.unreadable {
        text += &format!(
            "\n{} can't be read: {}.\n",
            plain(fleet.as_str()),
            plain(problem)
        );
    }
    let fleets: Vec<Value> = found.iter().map(|(_, row)| row.json()).collect();
    let unreadable = listing.unreadable.iter();
    let unreadable = unreadable
        .map(|(fleet, problem)| json!({ "fleet_ref": fleet.as_str(), "problem": problem }));
    let json = json!({
        "as_of": rfc3339(now),
        "total": total,
        "fleets": fleets,
        "unreadable": unreadable.collect::<Vec<_>>(),
    });
    Page::new(text, json)
}

fn admission(admission: Admission, now: Timestamp) -> String {
    match admission.until() {
        Some(until) => format!("{}, ends {}", admission.as_str(), distance(until, now)),
        None => admission.as_str().to_owned(),
    }
}

/// A name of a bearable length.
fn name(name: &str) -> String {
    let name = plain(name);
    if name.chars().count() <= LONGEST_NAME {
        return name;
    }
    let beginning: String = name.chars().take(LONGEST_NAME - 1).collect();
    format!("{}…", beginning.trim_end())
}

const LONGEST_NAME: usize = 30;

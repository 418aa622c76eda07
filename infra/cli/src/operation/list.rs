//! `operation list`: which writes stand how.

use fleet::Timestamp;
use operations::{Operation, Status};
use serde_json::{Value, json};

use super::Listing;
use crate::{
    readable::{Page, columns, plain, row},
    when::{distance, rfc3339},
};

pub(super) fn page(listing: &Listing, now: Timestamp) -> Page {
    let heading = ["OPERATION", "FLEET", "WRITES", "STATUS", "ASKED FOR", "WHY"];
    let mut table = vec![row(heading)];
    for stored in &listing.found {
        let operation = &stored.operation;
        let status = operation.status(now);
        table.push(row([
            &operation.id,
            &plain(operation.asked.fleet.as_str()),
            &writes(operation),
            status.as_str(),
            &distance(operation.submitted_at, now),
            &why(operation, status),
        ]));
    }
    let mut text = match listing.found.is_empty() {
        true => "No operation is like that.\n".to_owned(),
        false => columns(&table),
    };
    if listing.more {
        let shown = listing.found.len();
        text += &format!("\nThe latest {shown}; there are more: `--limit N` shows as many.\n");
    }
    for (id, problem) in &listing.unreadable {
        text += &format!("\n{id} can't be read: {}.\n", plain(problem));
    }
    let operations = listing.found.iter();
    let operations =
        operations.map(|it| json!(api::Operation::new(&it.operation, it.version, now)));
    let unreadable = listing.unreadable.iter();
    let unreadable = unreadable.map(|(id, problem)| json!({ "id": id, "problem": problem }));
    let json = json!({
        "as_of": rfc3339(now),
        "operations": operations.collect::<Vec<Value>>(),
        "more": listing.more,
        "unreadable": unreadable.collect::<Vec<Value>>(),
    });
    Page::new(text, json)
}

/// `message create`.
pub(super) fn writes(operation: &Operation) -> String {
    let asked = &operation.asked;
    format!("{} {}", plain(&asked.resource), asked.kind.as_str())
}

/// In a few words.
fn why(operation: &Operation, status: Status) -> String {
    let contradictory = operation.heard.is_contradictory();
    let why = match status {
        Status::Failed => operation
            .heard
            .error_type()
            .map_or("not told".to_owned(), plain),
        Status::Success if contradictory => "Catena had said that it failed".to_owned(),
        Status::Submitting | Status::Pending | Status::Success => "-".to_owned(),
        Status::Unclear | Status::Refused | Status::Unknown => {
            cut(&plain(operation.why().unwrap_or("the call was cut off")))
        }
    };
    match contradictory && status == Status::Failed {
        true => format!("{why}; Catena also said that it succeeded"),
        false => why,
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(LONGEST - 1).collect();
    format!("{}…", beginning.trim_end())
}

const LONGEST: usize = 60;

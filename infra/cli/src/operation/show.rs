//! `operation show`: an operation as it stands, in codes.

use api::{Operation, OperationAttempt};
use fleet::{Policy, Timestamp};
use serde_json::json;
use store::StoredOperation;

use crate::{
    readable::{Page, columns, indented, plain, row},
    when::{clock, clock_and_distance},
};

pub(super) fn page(stored: &StoredOperation, policy: &Policy, now: Timestamp) -> Page {
    let operation = Operation::new(&stored.operation, stored.version, now);
    let due = stored.operation.due(policy);
    let at = |at: Timestamp| clock_and_distance(at, now);
    let mut rows = vec![
        row(["operation", &operation.id]),
        row(["fleet", &plain(&operation.fleet_ref)]),
        row(["key", &plain(&operation.idempotency_key)]),
        row(["resource", &plain(&operation.resource)]),
        row(["kind", &operation.operation]),
        row(["connection", &plain(&operation.connection_id)]),
        row(["status", &operation.status]),
    ];
    let mut optional = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| row([name, &value])));
    };
    let texts = [
        ("Catena's id", &operation.catena_operation_id),
        ("resource id", &operation.resource_id),
        ("provider's id", &operation.source_id),
    ];
    for (name, value) in texts {
        optional(name, value.as_deref().map(plain));
    }
    let error = operation.error.as_ref();
    optional("error", error.map(|it| plain(&it.error_type)));
    let contradicted = operation.contradicted;
    optional("contradicted", contradicted.then(|| "yes".to_owned()));
    optional("asked for", Some(at(operation.submitted_at.0)));
    optional("by", Some(plain(&operation.submitted_by)));
    optional("calls", Some(operation.calls.to_string()));
    let catena_made = stored.operation.created_at;
    optional("made at Catena", catena_made.map(at));
    optional("settled", operation.settled_at.map(|it| at(it.0)));
    optional("due", due.map(at));
    optional("version", Some(operation.version.to_string()));
    optional("as of", Some(format!("{} UTC", clock(now))));
    let attempts = operation.attempts.iter();
    let attempts = attempts.map(|it| attempt(it, now));
    let text = format!("{}\nattempts\n{}", columns(&rows), indented(attempts));
    Page::new(text, json!(operation))
}

fn attempt(attempt: &OperationAttempt, now: Timestamp) -> Vec<String> {
    let when = attempt
        .at
        .map_or("-".to_owned(), |at| clock_and_distance(at.0, now));
    let status = attempt.status.as_deref().map_or("-".to_owned(), plain);
    let http = attempt.http_status.map(|it| format!("HTTP {it}"));
    let headers = attempt.headers.iter();
    let headers = headers.map(|(name, value)| format!("{}: {}", plain(name), plain(value)));
    let parts = [
        attempt.error_type.as_deref().map(plain),
        http,
        attempt.details.as_deref().map(plain),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().chain(headers).collect();
    row([&when, &status, &parts.join(", ")])
}

//! `fleet recheck`: a look at all that Catena holds of a fleet.

use fleet::{Due, Looks, Policy, Timestamp, Why};
use reconciliation::Questions;
use serde_json::json;
use store::StoredRecord;

use crate::{
    readable::{Page, enumerated, plain, wrapped},
    when::{clock_and_distance, rfc3339},
};

/// How soon it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Soon {
    /// A task for it is on the queue.
    Queued,
    /// The stack doesn't say where its tasks queue is.
    Unqueued,
    /// The queue didn't take the task, and why.
    Failed(String),
}

/// That a fleet, which stood so, was made due now. Catena isn't asked before `not_before`.
pub(crate) fn page(
    stored: &StoredRecord,
    policy: &Policy,
    soon: &Soon,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Page {
    let asks = asks(stored, policy, now);
    let what = enumerated(&asks);
    let fleet = plain(stored.fleet.as_str());
    let not_before = not_before.filter(|at| *at > now);
    let mut text = match (not_before, soon) {
        (Some(at), _) => {
            let at = clock_and_distance(at, now);
            let first = format!(
                "{fleet} is due. Catena asks to be left alone until {at}, UTC; after that it is asked for {what}."
            );
            wrapped("", 0, &first)
        }
        (None, Soon::Queued) => wrapped(
            "",
            0,
            &format!("{fleet} is looked at now: Catena is asked for {what}."),
        ),
        (None, Soon::Unqueued | Soon::Failed(_)) => wrapped(
            "",
            0,
            &format!("{fleet} is due: the reconciler's next sweep asks Catena for {what}."),
        ),
    };
    if let Soon::Failed(problem) = soon {
        text += &format!(
            "It waits for that sweep because the tasks queue could not be told:\n{problem}\n"
        );
    }
    text.push('\n');
    text += &wrapped(
        "",
        0,
        &format!(
            "What Catena says and the record doesn't is then in `kingpin fleet history {fleet}`, as `catena.answer`; what \
             follows from it is in `kingpin fleet explain {fleet}`, and whether the look failed. An answer that agrees with \
             the record leaves no trace but in the reconciler's log: fleet.ref = {fleet}, outcome = looked."
        ),
    );
    let json = json!({
        "fleet_ref": stored.fleet.as_str(),
        "as_of": rfc3339(now),
        "asks": asks,
        "queued": *soon == Soon::Queued,
        "left_alone_until": not_before.map(rfc3339),
    });
    Page::new(text, json)
}

/// What Catena is asked for once the fleet is due for all: what else it waits for is asked in the same go.
fn asks(stored: &StoredRecord, policy: &Policy, now: Timestamp) -> Vec<String> {
    let mut due = stored.all_due(&stored.record.standing(policy, now));
    due.push(Due {
        at: now,
        why: Why::ReadBack,
    });
    let why = Looks::default().agenda(&due, policy, now).now;
    Questions::of(&stored.record, &why).words()
}

//! What `subscription` prints.

use std::collections::BTreeMap;

use catena::Status as State;
use catena_client::SubscriptionMetrics;
use fleet::Timestamp;
use serde_json::{Value, json};
use subscriptions::{KeyName, Ledger, Note, Plan, Step};

use super::{
    apply::Applied,
    rotate::{Proof, Rotated},
};
use crate::{
    readable::{Page, columns, plain, row, wrapped},
    when::{clock_and_distance, rfc3339},
};

/// How each subscription does.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) place: String,
    pub(crate) url: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) plan: Plan,
    /// Those valid for all, the current one last.
    pub(crate) keys: Vec<KeyName>,
    /// When the reconciler looked last.
    pub(crate) seen_at: Option<Timestamp>,
}

/// How one does.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) event_name: String,
    pub(crate) status: Option<State>,
    pub(crate) is_there: bool,
    pub(crate) has_current_key: bool,
    pub(crate) metrics: Option<SubscriptionMetrics>,
    /// How often the reconciler brought it back, and when last.
    pub(crate) cures: Option<(u32, Timestamp)>,
}

pub(crate) fn plan(plan: &Plan, place: &str) -> Page {
    let mut text = match plan.steps.len() {
        0 => format!(
            "Nothing is to do: Catena delivers what {} needs.\n",
            plain(place)
        ),
        _ => format!(
            "To do for {} (`kingpin subscription apply`):\n",
            plain(place)
        ),
    };
    for step in &plan.steps {
        text += &wrapped("  - ", 4, &step_words(step));
    }
    text += &notes_text(&plan.notes);
    let json = json!({
        "stack": place,
        "steps": plan.steps.iter().map(step_json).collect::<Vec<_>>(),
        "notes": plan.notes.iter().map(note_json).collect::<Vec<_>>(),
    });
    Page::new(text, json)
}

pub(crate) fn applied(applied: &Applied, place: &str) -> Page {
    let mut text = match (applied.done.len(), applied.is_complete()) {
        (0, true) => format!(
            "Nothing was to do: Catena delivers what {} needs.\n",
            plain(place)
        ),
        (_, true) => format!("Done: Catena delivers what {} needs.\n", plain(place)),
        (_, false) => format!(
            "Catena doesn't deliver all that {} needs yet.\n",
            plain(place)
        ),
    };
    for step in &applied.done {
        text += &wrapped("  - ", 4, &step_words(step));
    }
    text += &open_text(applied);
    text += &notes_text(&applied.notes);
    text += &format!("\n{} subscriptions are ours.\n", applied.ours);
    let json = json!({
        "stack": place,
        "complete": applied.is_complete(),
        "done": applied.done.iter().map(step_json).collect::<Vec<_>>(),
        "refused": refused_json(applied),
        "left": applied.left.iter().map(step_json).collect::<Vec<_>>(),
        "notes": applied.notes.iter().map(note_json).collect::<Vec<_>>(),
        "subscriptions": applied.ours,
    });
    Page::new(text, json).failed_unless(applied.is_complete())
}

/// What Catena refuses, and what is left to do.
fn open_text(applied: &Applied) -> String {
    let mut text = String::new();
    for (step, why) in &applied.refused {
        let words = format!(
            "Catena refuses to {}: {}. Ask Catena's support, or whether another program does the same.",
            step_words(step),
            plain(why)
        );
        text += &wrapped("  ! ", 4, &words);
    }
    for step in &applied.left {
        text += &wrapped("  left: ", 8, &step_words(step));
    }
    text
}

fn refused_json(applied: &Applied) -> Vec<Value> {
    let refused = applied.refused.iter();
    refused
        .map(|(step, why)| json!({ "step": step_json(step), "why": why }))
        .collect()
}

pub(crate) fn status(status: &Status, now: Timestamp) -> Page {
    let mut text = format!(
        "{} is delivered to at {}\n\n",
        plain(&status.place),
        plain(&status.url)
    );
    let day = |row: &Row, of: fn(&SubscriptionMetrics) -> &BTreeMap<String, Option<f64>>| {
        let count = row
            .metrics
            .as_ref()
            .and_then(|it| of(it).get("24h").copied());
        count.flatten()
    };
    let number = |count: Option<f64>| count.map_or("?".to_owned(), |it| format!("{it:.0}"));
    if status.rows.is_empty() {
        text += "No subscription is ours yet: `kingpin subscription apply` makes them.\n";
    } else {
        let mut rows = vec![row([
            "EVENT",
            "STATE",
            "DEAD",
            "SENT 24H",
            "FAILED",
            "KEY",
            "BROUGHT BACK",
            "ID",
        ])];
        for it in &status.rows {
            let dead = it.metrics.as_ref().and_then(|metrics| metrics.dlq_count);
            let cures = it
                .cures
                .map(|(count, at)| format!("{count} times, last {}", clock_and_distance(at, now)));
            rows.push(row([
                &plain(&it.event_name),
                &state(it),
                &dead.map_or("?".to_owned(), |it| it.to_string()),
                &number(day(it, |metrics| &metrics.message_count)),
                &number(day(it, |metrics| &metrics.http_failure_attempts)),
                if it.has_current_key {
                    "current"
                } else {
                    "other"
                },
                &cures.unwrap_or("-".to_owned()),
                &plain(&it.id),
            ]));
        }
        text += &columns(&rows);
    }
    text.push('\n');
    let keys: Vec<String> = status.keys.iter().map(ToString::to_string).collect();
    text += &match &keys[..] {
        [] => "The keyring has no key yet.\n".to_owned(),
        [one] => format!("Signing key {one}.\n"),
        [_, current] => format!(
            "Signing key {current}; the one before is still taken: `kingpin subscription rotate` goes on.\n"
        ),
        [.., current] => format!(
            "Signing key {current}; {} older ones are still taken: `kingpin subscription rotate` goes on.\n",
            keys.len() - 1
        ),
    };
    text += &match status.seen_at {
        Some(at) => format!(
            "The reconciler looked last at {}.\n",
            clock_and_distance(at, now)
        ),
        None => {
            "The reconciler hasn't looked yet; it does every five minutes, if sweeps are enabled.\n"
                .to_owned()
        }
    };
    if !status.plan.steps.is_empty() {
        text += "\nTo do (`kingpin subscription apply`):\n";
        for step in &status.plan.steps {
            text += &wrapped("  - ", 4, &step_words(step));
        }
    }
    text += &notes_text(&status.plan.notes);
    let rows = status.rows.iter().map(|it| {
        json!({
            "id": it.id,
            "event_name": it.event_name,
            "state": state(it),
            "dead_letters": it.metrics.as_ref().and_then(|metrics| metrics.dlq_count),
            "sent_24h": day(it, |metrics| &metrics.message_count),
            "failed_attempts_24h": day(it, |metrics| &metrics.http_failure_attempts),
            "has_current_key": it.has_current_key,
            "brought_back": it.cures.map(|(count, at)| json!({ "times": count, "last": rfc3339(at) })),
        })
    });
    let json = json!({
        "stack": status.place,
        "as_of": rfc3339(now),
        "url": status.url,
        "subscriptions": rows.collect::<Vec<_>>(),
        "keys": keys,
        "looked_at": status.seen_at.map(rfc3339),
        "steps": status.plan.steps.iter().map(step_json).collect::<Vec<_>>(),
        "notes": status.plan.notes.iter().map(note_json).collect::<Vec<_>>(),
    });
    Page::new(text, json)
}

pub(crate) fn rotated(rotated: &Rotated, ledger: &Ledger, place: &str) -> Page {
    let place = plain(place);
    let count =
        |wanted: fn(&Proof) -> bool| rotated.proofs.values().filter(|it| wanted(it)).count();
    let delivered = count(|it| *it == Proof::Delivered);
    let key = rotated.key.as_ref().map(ToString::to_string);
    let key = key.unwrap_or("(none)".to_owned());
    let mut text = match rotated.begun {
        true => format!("{place} has a new signing key, {key}.\n"),
        false => format!("{place} goes on to its signing key {key}.\n"),
    };
    text += &format!(
        "{delivered} of {} subscriptions have delivered with it.\n",
        ledger.ours.len()
    );
    for (id, proof) in &rotated.proofs {
        let words = match proof {
            Proof::Delivered => continue,
            Proof::Silent => "has had nothing to deliver with it yet".to_owned(),
            Proof::Fails => "fails to deliver: see webhook-ingest's log".to_owned(),
            Proof::DeadLetters(count) => format!("has {count} dead letters, now replayed"),
        };
        let name = ledger.ours.get(id).map(|it| it.event_name.as_str());
        let name = plain(name.unwrap_or_default());
        text += &wrapped("  - ", 4, &format!("{name} {words}"));
    }
    text += &open_text(&rotated.applied);
    let strangers: Vec<&Note> = rotated.strangers().collect();
    for note in &strangers {
        text += &wrapped("  - ", 4, &note_words(note));
    }
    let complete = rotated.applied.is_complete();
    let what = match (rotated.retired, strangers.is_empty(), complete) {
        (true, _, _) => "The old key is retired.",
        (false, false, _) => {
            "The old key is still taken, because others may sign with it: adopt or delete them, and run this again."
        }
        (false, true, true) => {
            "The old key is still taken, so nothing is lost. Run this again later to go on; --even-if-silent retires it although some \
             had nothing to deliver."
        }
        (false, true, false) => {
            "The old key is still taken, so nothing is lost. `kingpin subscription plan` tells more; run this again to go on."
        }
    };
    text += &wrapped("", 0, what);
    let proofs = rotated.proofs.iter().map(|(id, proof)| {
        let (proof, dead_letters) = match proof {
            Proof::Delivered => ("delivered", 0),
            Proof::Silent => ("silent", 0),
            Proof::Fails => ("fails", 0),
            Proof::DeadLetters(count) => ("dead_letters", *count),
        };
        json!({
            "id": id,
            "event_name": ledger.ours.get(id).map(|it| &it.event_name),
            "proof": proof,
            "dead_letters": dead_letters,
        })
    });
    let json = json!({
        "stack": place,
        "begun": rotated.begun,
        "key": rotated.key,
        "retired": rotated.retired,
        "subscriptions": proofs.collect::<Vec<_>>(),
        "refused": refused_json(&rotated.applied),
        "left": rotated.applied.left.iter().map(step_json).collect::<Vec<_>>(),
        "strangers": strangers.into_iter().map(note_json).collect::<Vec<_>>(),
    });
    Page::new(text, json).failed_unless(rotated.retired)
}

pub(crate) fn replayed(
    replayed: &BTreeMap<String, Option<u64>>,
    ledger: &Ledger,
    dry_run: bool,
) -> Page {
    let name = |id: &String| ledger.ours.get(id).map(|it| plain(&it.event_name));
    let mut text = match (replayed.len(), dry_run) {
        (0, _) => "There are no dead letters.\n".to_owned(),
        (_, true) => "Nothing is replayed. There are dead letters of\n".to_owned(),
        (_, false) => "Catena delivers again the dead letters of\n".to_owned(),
    };
    for (id, count) in replayed {
        let count = count.map_or("?".to_owned(), |count| count.to_string());
        text += &match name(id) {
            Some(name) => format!("  {name} ({}): {count}\n", plain(id)),
            None => format!("  {}: {count}\n", plain(id)),
        };
    }
    let some = replayed
        .iter()
        .map(|(id, count)| json!({ "id": id, "event_name": name(id), "dead_letters": count }));
    let json = json!({ "dry_run": dry_run, "subscriptions": some.collect::<Vec<_>>() });
    Page::new(text, json)
}

pub(crate) fn deleted(deleted: &[(String, String)], place: &str) -> Page {
    let mut text = match deleted.len() {
        0 => format!("No subscription at Catena is {}'s.\n", plain(place)),
        _ => "Catena delivers no more by\n".to_owned(),
    };
    for (id, name) in deleted {
        text += &format!("  {} ({})\n", plain(name), plain(id));
    }
    let some = deleted
        .iter()
        .map(|(id, name)| json!({ "id": id, "event_name": name }));
    let json = json!({ "stack": place, "deleted": some.collect::<Vec<_>>() });
    Page::new(text, json)
}

fn state(row: &Row) -> String {
    match (&row.status, row.is_there) {
        (_, false) => "gone".to_owned(),
        (Some(status), true) => plain(status.as_str()),
        (None, true) => "?".to_owned(),
    }
}

/// What a step does.
pub(crate) fn step_words(step: &Step) -> String {
    match step {
        Step::AddKey => "make a signing key and put it into the keyring".to_owned(),
        Step::Adopt { id, event_name } => format!(
            "write down {} ({}): Catena made it, and its answer was lost",
            plain(event_name),
            plain(id)
        ),
        Step::Update {
            event_name,
            key,
            url,
            ..
        } => {
            let what = match (key, url) {
                (true, true) => "the current key and this stack's URL",
                (true, false) => "the current key",
                (false, _) => "this stack's URL",
            };
            format!("give {} {what}", plain(event_name))
        }
        Step::Activate {
            event_name, status, ..
        } => format!(
            "activate {}, which is {}, and replay its dead letters",
            plain(event_name),
            plain(status.as_str())
        ),
        Step::Create {
            event_name,
            again: true,
            ..
        } => format!(
            "subscribe {} again, which was deleted at Catena",
            plain(event_name)
        ),
        Step::Create { event_name, .. } => format!("subscribe {}", plain(event_name)),
        Step::Name { ids } => format!(
            "name {} in the keyring, so that alarms know {}",
            count(ids.len(), "subscription", "subscriptions"),
            if ids.len() == 1 { "it" } else { "them" }
        ),
        Step::Forget { event_name, id } => format!(
            "forget {} ({}), which was deleted at Catena",
            plain(event_name),
            plain(id)
        ),
    }
}

fn step_json(step: &Step) -> Value {
    match step {
        Step::AddKey => json!({ "step": "add_key" }),
        Step::Adopt { id, event_name } => {
            json!({ "step": "adopt", "id": id, "event_name": event_name })
        }
        Step::Update {
            id,
            event_name,
            key,
            url,
        } => {
            json!({ "step": "update", "id": id, "event_name": event_name, "key": key, "url": url })
        }
        Step::Activate {
            id,
            event_name,
            status,
        } => json!({ "step": "activate", "id": id, "event_name": event_name, "state": status }),
        Step::Create {
            event_name, again, ..
        } => json!({ "step": "create", "event_name": event_name, "again": again }),
        Step::Name { ids } => json!({ "step": "name", "ids": ids }),
        Step::Forget { id, event_name } => {
            json!({ "step": "forget", "id": id, "event_name": event_name })
        }
    }
}

fn notes_text(notes: &[Note]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let mut text = "\nWhat else Catena lists\n".to_owned();
    for note in notes {
        text += &wrapped("  - ", 4, &note_words(note));
    }
    text
}

/// What a person should know.
pub(crate) fn note_words(note: &Note) -> String {
    match note {
        Note::Duplicate { id, event_name } => format!(
            "{} ({}) may deliver here, too, beside ours. That does no harm, if it is signed with a key of the keyring; `kingpin \
             subscription delete` ends it.",
            plain(event_name),
            plain(id)
        ),
        Note::Ambiguous { event_name, ids } => format!(
            "Catena says that a subscription of {} to this URL exists, and any of {} may be it, because URLs are masked. Adopt the right \
             one by `kingpin subscription adopt`, or delete those that nobody needs.",
            plain(event_name),
            plain(&ids.join(", "))
        ),
        Note::Unlisted { event_name } => format!(
            "Catena says that a subscription of {} to this URL exists, and lists none. Try again in a while.",
            plain(event_name)
        ),
        Note::Unknown { id, event_name } => format!(
            "{} ({}) may deliver here and isn't ours: what it delivers can't be proved and is refused. `kingpin subscription adopt` makes \
             it ours, `kingpin subscription delete` ends it.",
            plain(event_name),
            plain(id)
        ),
        Note::Scoped {
            id,
            event_name,
            fleets,
        } => format!(
            "{} ({}) is for {} alone, as Catena makes them for an invitation's callback_url. Nobody is told their key. Ask Catena whether a \
             callback URL is set for you (default_callback_url); `kingpin subscription delete` ends it.",
            plain(event_name),
            plain(id),
            plain(&fleets.join(", "))
        ),
        Note::Foreign {
            id,
            event_name,
            url,
        } => format!(
            "{} ({}) delivers to {}: another stack's, or another program's. It is left alone.",
            plain(event_name),
            plain(id),
            url.as_deref().map_or("somewhere else".to_owned(), plain)
        ),
        Note::Refused {
            event_name,
            telling: true,
            ..
        } => format!(
            "Catena refused to subscribe {}: what it would tell is found out late, by looks at Catena. Ask Catena's support; `kingpin \
             subscription apply --retry-refused` asks again.",
            plain(event_name)
        ),
        Note::Refused { event_name, .. } => format!(
            "Catena refused to subscribe {}, which isn't needed: the daily comparison finds out what it would tell. `kingpin subscription \
             apply --retry-refused` asks again.",
            plain(event_name)
        ),
    }
}

fn note_json(note: &Note) -> Value {
    match note {
        Note::Duplicate { id, event_name } => {
            json!({ "note": "duplicate", "id": id, "event_name": event_name })
        }
        Note::Ambiguous { event_name, ids } => {
            json!({ "note": "ambiguous", "ids": ids, "event_name": event_name })
        }
        Note::Unlisted { event_name } => json!({ "note": "unlisted", "event_name": event_name }),
        Note::Unknown { id, event_name } => {
            json!({ "note": "unknown", "id": id, "event_name": event_name })
        }
        Note::Scoped {
            id,
            event_name,
            fleets,
        } => json!({ "note": "scoped", "id": id, "event_name": event_name, "fleets": fleets }),
        Note::Foreign {
            id,
            event_name,
            url,
        } => json!({ "note": "foreign", "id": id, "event_name": event_name, "url": url }),
        Note::Refused { event_name, at, .. } => {
            json!({ "note": "refused", "event_name": event_name, "at": rfc3339(*at) })
        }
    }
}

fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

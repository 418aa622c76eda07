//! `fleet history`: everything that was news about a fleet, what operators decided about it, and dates that passed.

use std::collections::BTreeMap;

use api::{Moment, Passed, fact};
use fleet::{
    Agreement, Due, Fact, FleetRef, Observation, Override, OverrideKind, Record, Timestamp,
};
use serde_json::{Value, json};
use store::{Decided, HistoryEntry};

use crate::{
    readable::{Page, plain, quoted, short_id, wrapped},
    when::{clock, rfc3339},
    words::Words,
};

pub(crate) fn page(
    fleet: &FleetRef,
    record: &Record,
    history: &[HistoryEntry],
    now: Timestamp,
) -> Page {
    let facts = &record.facts;
    let words = Words {
        facts,
        names: facts,
        now,
    };
    let entries = history.iter().map(|entry| {
        json_of(
            words,
            entry,
            &entry.news.iter().collect::<Vec<_>>(),
            &entry.passed,
        )
    });
    let json = json!({ "fleet_ref": fleet.as_str(), "entries": entries.collect::<Vec<_>>() });
    let mut text = format!(
        "What was news about {}, oldest first; all times are UTC.\n",
        plain(fleet.as_str())
    );
    let mut teller = Teller::new(words);
    for entry in history {
        let id = entry.id.as_deref().map(|id| format!(", id {}", plain(id)));
        text += &format!(
            "\n{}  {}  (received {}{})\n",
            clock(entry.at().time()),
            event(entry),
            clock(entry.received),
            id.unwrap_or_default()
        );
        for line in teller.lines(&entry.news.iter().collect::<Vec<_>>()) {
            text += &wrapped("  - ", 4, &line);
        }
        for date in &entry.passed {
            let mut line = words.passed(*date, &record.decisions);
            if date.at != entry.at().time() {
                line += &format!(" (at {})", clock(date.at));
            }
            text += &wrapped("  - ", 4, &line);
        }
        if let Some(decided) = &entry.decided {
            text += &wrapped("  - ", 4, &says(decided));
        }
    }
    if history.is_empty() {
        text += "\nNothing is kept: a history ends after a while, the record stays.\n";
    }
    Page::new(text, json)
}

/// What an operator decided, as a sentence.
fn says(decided: &Decided) -> String {
    let by = plain(&decided.by);
    let Some(over) = &decided.decided else {
        let what = match decided.kind {
            OverrideKind::Block => "the block",
            OverrideKind::Grant => "the grant",
        };
        return format!("operator {by} lifted {what}");
    };
    let did = match decided.kind {
        OverrideKind::Block => "blocked the fleet",
        OverrideKind::Grant => "let the fleet in",
    };
    let until = over.ends().map(|ends| format!(" (until {})", clock(ends)));
    let until = until.unwrap_or_default();
    format!("operator {by} {did}: {}{until}", quoted(over.reason()))
}

/// The same as the partner API has it.
fn decided(decided: &Decided) -> api::Decided {
    let over = decided.decided.as_ref();
    api::Decided {
        kind: decided.kind.into(),
        by: decided.by.clone(),
        lifted: over.is_none(),
        reason: over.map(|over| over.reason().to_owned()),
        ends: over.and_then(Override::ends).map(Moment),
    }
}

/// An entry in JSON, with some of its news and of the dates that passed.
pub(crate) fn json_of(
    words: Words<'_>,
    entry: &HistoryEntry,
    news: &[&Observation],
    passed: &[Due],
) -> Value {
    let news_json = news.iter().map(|news| {
        json!({
            "at": rfc3339(news.at.time()),
            "says": words.fact(&news.fact, None),
            "fact": fact(&news.fact),
        })
    });
    let at = match (news, passed) {
        ([], []) => entry.at().time(),
        _ => time(news.iter().copied(), passed),
    };
    let mut json = json!({
        "at": rfc3339(at),
        "event": entry.event,
        "id": entry.id,
        "received": rfc3339(entry.received),
        "news": news_json.collect::<Vec<_>>(),
    });
    if let Some(it) = &entry.decided {
        json["decided"] = json!(decided(it));
    }
    if !passed.is_empty() {
        json["passed"] = passed
            .iter()
            .map(|date| json!(Passed::from(date)))
            .collect();
    }
    json
}

/// When the newest of some news happened or the last of some dates passed, by which entries are in order.
pub(crate) fn time<'a>(
    news: impl IntoIterator<Item = &'a Observation>,
    passed: &[Due],
) -> Timestamp {
    let news = news.into_iter().map(|news| news.at.time());
    let newest = news.chain(passed.iter().map(|date| date.at)).max();
    newest.unwrap_or(Timestamp(0))
}

/// What told it, by the event's name.
pub(crate) fn event(entry: &HistoryEntry) -> String {
    match known_of_connection(&entry.event) {
        Some(connection) => format!("known of connection {}", short_id(connection)),
        None => plain(&entry.event),
    }
}

/// Puts the news of a history into words, event by event, and says of an agreement only what changes.
#[derive(Debug)]
pub(crate) struct Teller<'a> {
    words: Words<'a>,
    agreements: BTreeMap<&'a str, &'a Agreement>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(words: Words<'a>) -> Self {
        let agreements = BTreeMap::new();
        Self { words, agreements }
    }

    /// An event's news. What only describes a fleet is often older than the event that tells it; a right that is gets its
    /// own time.
    pub(crate) fn lines(&mut self, news: &[&'a Observation]) -> Vec<String> {
        let newest = time(news.iter().copied(), &[]);
        let mut lines = Vec::new();
        for news in news {
            let before = match &news.fact {
                Fact::Agreement { id, agreement, .. } => self.agreements.insert(id, agreement),
                _ => None,
            };
            let mut line = self.words.fact(&news.fact, before);
            if news.fact.touches_rights() && news.at.time() != newest {
                line += &format!(" (at {})", clock(news.at.time()));
            }
            lines.push(line);
        }
        lines
    }
}

/// How the event processor calls what was known of a connection before the fleet was linked to it.
fn known_of_connection(event: &str) -> Option<&str> {
    event
        .strip_prefix("(known of connection ")?
        .strip_suffix(')')
}

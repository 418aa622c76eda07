//! `fleet history`: everything that was news about a fleet.

use std::collections::BTreeMap;

use fleet::{Agreement, Fact, Facts, FleetRef, Observation, Timestamp};
use serde_json::{Value, json};
use store::HistoryEntry;

use crate::{
    json,
    readable::{Page, plain, short_id, wrapped},
    when::{clock, rfc3339},
    words::Words,
};

pub(crate) fn page(
    fleet: &FleetRef,
    facts: &Facts,
    history: &[HistoryEntry],
    now: Timestamp,
) -> Page {
    let words = Words {
        facts,
        names: facts,
        now,
    };
    let entries = history
        .iter()
        .map(|entry| json_of(words, entry, &entry.news.iter().collect::<Vec<_>>()));
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
            clock(time(&entry.news)),
            event(entry),
            clock(entry.received),
            id.unwrap_or_default()
        );
        for line in teller.lines(&entry.news.iter().collect::<Vec<_>>()) {
            text += &wrapped("  - ", 4, &line);
        }
    }
    if history.is_empty() {
        text += "\nNothing is kept: a history ends after a while, the record stays.\n";
    }
    Page { text, json }
}

/// An entry in JSON, with some of its news.
pub(crate) fn json_of(words: Words<'_>, entry: &HistoryEntry, news: &[&Observation]) -> Value {
    let news_json = news.iter().map(|news| {
        json!({
            "at": rfc3339(news.at.time()),
            "says": words.fact(&news.fact, None),
            "fact": json::fact(&news.fact),
        })
    });
    json!({
        "at": rfc3339(time(news.iter().copied())),
        "event": entry.event,
        "id": entry.id,
        "received": rfc3339(entry.received),
        "news": news_json.collect::<Vec<_>>(),
    })
}

/// When the newest of some news happened, by which entries are in order.
pub(crate) fn time<'a>(news: impl IntoIterator<Item = &'a Observation>) -> Timestamp {
    let newest = news.into_iter().map(|news| news.at.time()).max();
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
        let newest = time(news.iter().copied());
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

//! Asking about many operations by few calls.

use std::collections::BTreeSet;

use fleet::Timestamp;

/// What is asked of Catena about operations whose ids are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// One, by its id.
    One {
        /// Its connection.
        connection: &'a str,
        /// Catena's id.
        id: &'a str,
    },
    /// All that were made in a time, of some fleets: the list, page by page.
    Many {
        /// Our references, at most 100 (contract 2).
        fleets: Vec<&'a str>,
        /// From when on.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
        /// The ids that are asked about.
        ids: Vec<&'a str>,
    },
}

/// One operation to ask about: fleet, connection, Catena's id, and when Catena made it.
type Due<'a> = (&'a str, &'a str, &'a str, Timestamp);

/// Those that may be asked for together.
#[derive(Default)]
struct Group<'a> {
    due: Vec<Due<'a>>,
    fleets: BTreeSet<&'a str>,
    /// What their references have in a URL, at most.
    bytes: usize,
}

impl<'a> Group<'a> {
    fn takes(&self, it: &Due<'a>) -> bool {
        let (Some(first), Some(last)) = (self.due.first(), self.due.last()) else {
            return true;
        };
        let another = !self.fleets.contains(it.0);
        let fits = !another
            || self.fleets.len() < MOST_FLEETS && self.bytes + bytes(it.0) <= LONGEST_QUERY;
        fits && it.3.0 - last.3.0 <= GAP_MS && it.3.0 - first.3.0 <= SPAN_MS
    }

    fn add(&mut self, it: Due<'a>) {
        if self.fleets.insert(it.0) {
            self.bytes += bytes(it.0);
        }
        self.due.push(it);
    }
}

/// What a reference has in a URL, at most: all of it percent-encoded, and the parameter's name.
fn bytes(fleet: &str) -> usize {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let encoded = fleet.as_bytes().iter();
    let encoded: usize = encoded.map(|it| if plain(it) { 1 } else { 3 }).sum();
    encoded + "&fleet_refs=".len()
}

/// Questions about all of these. Those of about one time are asked for together where they are enough; a list that turns out to be
/// long is given up by the asker.
pub fn questions(mut due: Vec<Due<'_>>) -> Vec<Question<'_>> {
    due.sort_by_key(|(.., at)| *at);
    let mut groups: Vec<Group<'_>> = Vec::new();
    for it in due {
        match groups.last_mut() {
            Some(group) if group.takes(&it) => group.add(it),
            _ => {
                let mut group = Group::default();
                group.add(it);
                groups.push(group);
            }
        }
    }
    let mut questions = Vec::new();
    for Group { due, fleets, .. } in groups {
        match (due.first(), due.last()) {
            (Some(first), Some(last)) if due.len() >= FEW => questions.push(Question::Many {
                from: first.3,
                to: last.3,
                ids: due.iter().map(|it| it.2).collect(),
                fleets: fleets.into_iter().collect(),
            }),
            _ => questions.extend(
                due.into_iter()
                    .map(|(_, connection, id, _)| Question::One { connection, id }),
            ),
        }
    }
    questions
}

/// Values of one parameter (contract 2).
const MOST_FLEETS: usize = 100;
/// Of references, in bytes. Servers commonly take 8 KiB for a request's first line.
const LONGEST_QUERY: usize = 5_000;
/// From so many on a list is worth its page.
const FEW: usize = 3;
/// What lies further apart isn't asked for together: in between there may be thousands of others.
const GAP_MS: i64 = 10 * 60 * 1000;
/// Less than the day that Catena's list covers without dates, and the 45 that it does with them (contract 5.4).
const SPAN_MS: i64 = 12 * 60 * 60 * 1000;

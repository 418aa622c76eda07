//! Asking about many operations by few calls.

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

/// Questions about all of these. Those of about one time are asked for together where they are enough; a list that turns out to be
/// long is given up by the asker after as many pages as there are ids.
pub fn questions<'a>(mut due: Vec<Due<'a>>) -> Vec<Question<'a>> {
    due.sort_by_key(|(.., at)| *at);
    let mut groups: Vec<Vec<Due<'a>>> = Vec::new();
    for it in due {
        let fits = |group: &Vec<Due<'a>>| {
            let (first, last) = (group[0].3, group[group.len() - 1].3);
            let fleets: std::collections::BTreeSet<&str> =
                group.iter().map(|it| it.0).chain([it.0]).collect();
            fleets.len() <= MOST_FLEETS && it.3.0 - last.0 <= GAP_MS && it.3.0 - first.0 <= SPAN_MS
        };
        match groups.last_mut() {
            Some(group) if fits(group) => group.push(it),
            _ => groups.push(vec![it]),
        }
    }
    let mut questions = Vec::new();
    for group in groups {
        if group.len() < FEW {
            questions.extend(
                group
                    .into_iter()
                    .map(|(_, connection, id, _)| Question::One { connection, id }),
            );
            continue;
        }
        let mut fleets: Vec<&str> = group.iter().map(|it| it.0).collect();
        fleets.sort_unstable();
        fleets.dedup();
        questions.push(Question::Many {
            from: group[0].3,
            to: group[group.len() - 1].3,
            ids: group.iter().map(|it| it.2).collect(),
            fleets,
        });
    }
    questions
}

/// Values of one parameter (contract 2).
const MOST_FLEETS: usize = 100;
/// From so many on a list is worth its page.
const FEW: usize = 3;
/// What lies further apart isn't asked for together: in between there may be thousands of others.
const GAP_MS: i64 = 10 * 60 * 1000;
/// Less than the day that Catena's list covers without dates, and the 45 that it does with them (contract 5.4).
const SPAN_MS: i64 = 12 * 60 * 60 * 1000;

//! What is known of a connection lives on the connection, and reaches every fleet that it serves: whoever hears of what
//! first, whatever happens at the same time, and whoever breaks off half-way.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use fleet::{ConnectionFacts, Fact, Facts, Observation};

use crate::{
    history::{History, Step, arrivals, connection_of},
    runner::{Verdict, holds},
};

/// What is kept: fleets' facts, connections' facts, and which fleets a connection serves.
#[derive(Default)]
struct Kept {
    fleets: [Facts; 2],
    connections: BTreeMap<String, ConnectionFacts>,
    serves: BTreeMap<String, BTreeSet<usize>>,
}

/// A piece of news on its way into what is kept. Between two of its moves anything else may move.
struct Work {
    step: Step,
    moves: u8,
    fleets: Vec<usize>,
    known: Vec<Observation>,
}

impl Work {
    fn new(step: Step) -> Self {
        Self {
            step,
            moves: 0,
            fleets: Vec::new(),
            known: Vec::new(),
        }
    }

    /// One move; tells whether it was the last.
    ///
    /// What matters is that each writes its own before it reads the other's: the link before the connection's facts, the
    /// connection's facts before the links.
    fn go_on(&mut self, kept: &mut Kept) -> bool {
        self.moves += 1;
        match (&self.step, self.moves) {
            (Step::Fleet(fleet, said), nth) => match (&said.fact, nth) {
                (Fact::Linked { connection }, 1) => {
                    let serves = kept.serves.entry(connection.clone()).or_default();
                    serves.insert(*fleet);
                }
                (Fact::Linked { connection }, 2) => {
                    let known = kept.connections.get(connection);
                    self.known
                        .extend(known.into_iter().flat_map(|it| it.observations(connection)));
                }
                _ => {
                    let facts = std::mem::take(&mut kept.fleets[*fleet]).fold(said);
                    kept.fleets[*fleet] = self.known.iter().fold(facts, Facts::fold);
                    return true;
                }
            },
            (Step::Connection(said), 1) => {
                let Fact::Connection { connection, was } = &said.fact else {
                    unreachable!("news of a connection")
                };
                let known = kept.connections.entry(connection.clone()).or_default();
                known.observe(said.at, was);
            }
            (Step::Connection(said), 2) => {
                let serves = kept.serves.get(connection_of(said));
                self.fleets.extend(serves.into_iter().flatten());
            }
            (Step::Connection(said), _) => {
                let Some(fleet) = self.fleets.pop() else {
                    return true;
                };
                kept.fleets[fleet] = std::mem::take(&mut kept.fleets[fleet]).fold(said);
            }
            (Step::Decided(..), _) => return true,
        }
        false
    }
}

fn every_fleet_learns_all_of_its_connections(history: &History, rng: &mut Rng) -> Verdict {
    let mut kept = Kept::default();
    let mut queue = arrivals(rng, &history.steps, Step::at);
    queue.reverse();
    let mut working: Vec<Work> = Vec::new();
    while !(queue.is_empty() && working.is_empty()) {
        if working.is_empty() || working.len() < 4 && rng.bool() {
            working.extend(queue.pop().map(Work::new));
        }
        if working.is_empty() {
            continue;
        }
        let nth = rng.usize(..working.len());
        if working[nth].go_on(&mut kept) {
            working.swap_remove(nth);
        } else if rng.u8(..32) == 0 {
            // It broke off: the queue delivers it again.
            let again = working.swap_remove(nth).step;
            let at = rng.usize(..=queue.len());
            queue.insert(at, again);
        }
    }
    for (fleet, facts) in kept.fleets.iter().enumerate() {
        let said = history.observations(fleet);
        let direct = said.iter().fold(Facts::default(), Facts::fold);
        if *facts != direct {
            return Err(format!(
                "fleet {fleet} knows\n  {facts:?}\nrather than\n  {direct:?}"
            ));
        }
    }
    Ok(())
}

#[test]
fn news_of_a_connection_reaches_every_fleet_that_it_serves_now_or_later() {
    holds("connections", every_fleet_learns_all_of_its_connections);
}

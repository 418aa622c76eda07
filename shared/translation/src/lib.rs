//! Catena's words into the fleet record's facts: the only place where the two meet.
//!
//! Catena tells things by events ([`translate`]) and by answers of its API ([`translate_answer`], [`answer`]).

pub mod answer;
mod event;
mod observer;
mod operation;
mod resource;
#[cfg(test)]
mod samples;
mod words;

use std::collections::BTreeMap;

use fleet::{Fact, FleetRef, Observation};

pub use answer::translate_answer;
pub use event::translate;
pub use operation::{OperationTold, candidate, operation, operation_of_event};

/// What one record of an event says, about whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The fleet, if the event names it.
    pub fleet: Option<FleetRef>,
    /// Catena's id of the fleet.
    pub catena_fleet: Option<String>,
    /// The connection.
    pub connection: Option<String>,
    /// The invitation's hash.
    pub invitation: Option<String>,
    /// It can't concern several fleets: an agreement, an invitation or a link to a connection is never broadcast.
    pub one_fleet_only: bool,
    /// What was observed.
    pub observations: Vec<Observation>,
    /// Something was observed that has no time of its own, so that it can't be ordered: its fleets are to be looked at.
    pub hint: bool,
    /// Why nothing can be made of it, ever.
    pub unusable: Option<&'static str>,
}

impl Translation {
    /// Whether all that it says is about a connection, wherever that leads.
    pub fn is_about_a_connection_alone(&self) -> bool {
        let about = |it: &Observation| matches!(it.fact, Fact::Connection { .. });
        let names_a_fleet = self.fleet.is_some() || self.catena_fleet.is_some();
        !names_a_fleet && !self.hint && self.observations.iter().all(about)
    }
}

/// The same in parts that each tell of one of Catena's ids at most, so that they lead where they belong. One part at least.
pub fn by_key(whole: Translation) -> Vec<Translation> {
    let part = || Translation {
        fleet: whole.fleet.clone(),
        hint: whole.hint,
        ..Translation::default()
    };
    let mut parts: BTreeMap<(Option<String>, Option<String>), Translation> = BTreeMap::new();
    let mut rest = part();
    for observation in whole.observations {
        let (connection, invitation) = match &observation.fact {
            Fact::Connection { connection, .. } | Fact::Linked { connection } => {
                (Some(connection.clone()), None)
            }
            Fact::Invitation { invitation, .. } => (None, Some(invitation.clone())),
            Fact::CatenaFleet(id) => {
                rest.catena_fleet = Some(id.clone());
                (None, None)
            }
            _ => (None, None),
        };
        let part = match (&connection, &invitation) {
            (None, None) => &mut rest,
            key => parts
                .entry((key.0.clone(), key.1.clone()))
                .or_insert_with(|| Translation {
                    connection: connection.clone(),
                    invitation: invitation.clone(),
                    ..part()
                }),
        };
        part.observations.push(observation);
    }
    let mut parts: Vec<Translation> = parts.into_values().collect();
    if parts.is_empty() || !rest.observations.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use fleet::{At, ConnectionFact, ConnectionState, InvitationFact, Timestamp};

    use super::*;

    #[test]
    fn parts_tell_of_one_id_each() {
        let observation = |fact| Observation {
            at: At(Timestamp(1), 0),
            fact,
        };
        let linked = |connection: &str| {
            observation(Fact::Linked {
                connection: connection.to_owned(),
            })
        };
        let state = observation(Fact::Connection {
            connection: "B".to_owned(),
            was: ConnectionFact::State(ConnectionState::Stale),
        });
        let invitation = observation(Fact::Invitation {
            invitation: "I".to_owned(),
            was: InvitationFact::Viewed,
        });
        let (fleet, name) = (
            Fact::CatenaFleet("F".to_owned()),
            Fact::Name("N".to_owned()),
        );
        let (fleet, name) = (observation(fleet), observation(name));
        let whole = Translation {
            fleet: FleetRef::parse("FLEET-1"),
            observations: vec![
                linked("A"),
                fleet.clone(),
                linked("B"),
                invitation.clone(),
                state.clone(),
                name.clone(),
            ],
            ..Translation::default()
        };
        let parts = by_key(whole.clone());
        assert!(parts.iter().all(|it| it.fleet == whole.fleet));
        let told: Vec<_> = parts
            .iter()
            .map(|it| {
                let ids = [&it.connection, &it.invitation, &it.catena_fleet];
                (
                    ids.map(|id| id.as_deref().unwrap_or_default()),
                    it.observations.clone(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (["", "I", ""], vec![invitation]),
                (["A", "", ""], vec![linked("A")]),
                (["B", "", ""], vec![linked("B"), state]),
                (["", "", "F"], vec![fleet, name]),
            ]
        );
        let none = Translation {
            fleet: FleetRef::parse("FLEET-1"),
            ..Translation::default()
        };
        assert_eq!(by_key(none.clone()), [none]);
    }
}

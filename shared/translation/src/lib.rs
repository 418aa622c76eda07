//! Catena's words into the fleet record's facts: the only place where the two meet.
//!
//! Catena tells things by events ([`translate`]) and by answers of its API ([`translate_answer`], [`answer`]).

pub mod answer;
mod event;
mod observer;
mod resource;
#[cfg(test)]
mod samples;
mod words;

use fleet::{Fact, FleetRef, Observation};

pub use answer::translate_answer;
pub use event::translate;

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

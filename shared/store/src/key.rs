//! Catena's ids that an event can be routed by.

use std::fmt;

/// One of Catena's ids that belongs to a fleet, or to several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Catena's id of a fleet.
    CatenaFleet(String),
    /// A connection. It may serve several fleets.
    Connection(String),
    /// SHA-256 of an invitation's id.
    Invitation(String),
}

impl fmt::Display for Key {
    /// As it stands in the table's partition key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::CatenaFleet(id) => ("catena-fleet", id),
            Self::Connection(id) => ("connection", id),
            Self::Invitation(hash) => ("invitation", hash),
        };
        write!(f, "KEY#{kind}#{id}")
    }
}

//! What can be observed about a fleet.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{At, Timestamp};

/// The partner's own reference of a fleet, as it was sent to Catena.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FleetRef(String);

impl FleetRef {
    /// The longest reference that a record can be kept for, in bytes.
    pub const LONGEST: usize = 256;

    /// Accepts any text that isn't empty, over-long or full of control characters. Which references may be *invited* is
    /// narrower; what Catena names must be kept.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::LONGEST).contains(&text.len());
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }

    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FleetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One fact and its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it was so.
    pub at: At,
    /// What was so.
    pub fact: Fact,
}

/// What was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// How an invitation stands.
    Decision {
        /// The invitation's hash.
        invitation: String,
        /// How it stands.
        decision: Decision,
    },
    /// The fleet opened an invitation.
    Viewed {
        /// The invitation's hash.
        invitation: String,
    },
    /// An invitation was sent by e-mail.
    Sent {
        /// The invitation's hash.
        invitation: String,
    },
    /// When an invitation's link stops working.
    InvitationEnds {
        /// The invitation's hash.
        invitation: String,
        /// That moment.
        ends: Timestamp,
    },
    /// The fleet's name.
    Name(String),
    /// The fleet's id at Catena.
    CatenaFleet(String),
    /// What the fleet lets us see.
    Agreement {
        /// The agreement.
        id: String,
        /// Its status, scopes and dates, which are one fact.
        agreement: Agreement,
    },
    /// How a connection stands.
    ConnectionState {
        /// The connection.
        connection: String,
        /// How it stands.
        state: ConnectionState,
    },
    /// The provider's source of a connection.
    ConnectionSource {
        /// The connection.
        connection: String,
        /// The provider's source.
        source: String,
    },
    /// The fleet's data flows through a connection.
    ConnectionLinked {
        /// The connection.
        connection: String,
    },
    /// A schedule of a connection stopped fetching, or fetches.
    Schedule {
        /// The connection.
        connection: String,
        /// The schedule.
        schedule: String,
        /// Whether it stopped.
        stopped: bool,
    },
}

/// How an invitation stands, the more restrictive the later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The fleet may decide.
    Open,
    /// The fleet accepted.
    Accepted,
    /// Its time ran out.
    Expired,
    /// The fleet declined, perhaps with a reason.
    Declined(Option<String>),
    /// We took it back.
    Deleted,
}

/// What a fleet lets us see, and whether it does now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Agreement {
    /// Whether it holds.
    pub status: AgreementStatus,
    /// Resource to level. Absent is not the same as empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<BTreeMap<String, Level>>,
    /// From when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Timestamp>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

/// Whether an agreement holds, the more restrictive the later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementStatus {
    /// It holds.
    Active,
    /// It may hold again.
    Paused,
    /// It ended by itself.
    Expired,
    /// It was ended.
    Cancelled,
    /// It was removed.
    Deleted,
    /// A status that this version doesn't know: nothing is read under it.
    Unknown(String),
}

/// How far an agreement opens a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Reading and writing.
    ReadWrite,
    /// Reading.
    Read,
    /// A level that this version doesn't know.
    Unknown(String),
}

/// How a connection stands, the more restrictive the later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Data can flow.
    Active,
    /// Halted.
    Paused,
    /// The provider refuses the credentials.
    Stale,
    /// Broken.
    Failed,
    /// Ended.
    Cancelled,
    /// Removed.
    Deleted,
    /// A state that this version doesn't know.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_ref_is_whatever_catena_may_send_back() {
        for good in ["FLEET-42", "FLÖTTE-7", "a b/c", &"x".repeat(256)] {
            assert!(FleetRef::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a\nb", "\u{0}", &"x".repeat(257)] {
            assert!(FleetRef::parse(bad).is_none(), "{bad:?}");
        }
    }
}

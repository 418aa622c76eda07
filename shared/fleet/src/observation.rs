//! What can be observed about a fleet.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
    fmt,
};

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

/// One fact and its moment. Written as `[at, fact]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(At, Fact)", into = "(At, Fact)")]
pub struct Observation {
    /// When it was so.
    pub at: At,
    /// What was so.
    pub fact: Fact,
}

impl From<(At, Fact)> for Observation {
    fn from((at, fact): (At, Fact)) -> Self {
        Self { at, fact }
    }
}

impl From<Observation> for (At, Fact) {
    fn from(observation: Observation) -> Self {
        (observation.at, observation.fact)
    }
}

/// What was so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The fleet's name.
    Name(String),
    /// The fleet's id at Catena.
    CatenaFleet(String),
    /// Something about an invitation.
    Invitation {
        /// The invitation's hash.
        #[serde(rename = "id")]
        invitation: String,
        /// What was so.
        was: InvitationFact,
    },
    /// What the fleet lets us see.
    Agreement {
        /// The agreement.
        id: String,
        /// When it was made, if its id tells: of several the one that was made last counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<Timestamp>,
        /// Its status, scopes and dates, which are one fact.
        agreement: Agreement,
    },
    /// Something about a connection, whichever fleets it serves.
    Connection {
        /// The connection.
        #[serde(rename = "id")]
        connection: String,
        /// What was so.
        was: ConnectionFact,
    },
    /// The fleet's data flows through a connection.
    Linked {
        /// The connection.
        connection: String,
    },
    /// The fleet asked for a provider that Catena doesn't support yet, and Catena confirms it.
    Request {
        /// The integration request.
        id: String,
        /// What is known of it, which is one fact.
        request: IntegrationRequest,
    },
    /// Whether Catena refuses to list integration requests to us (contract 3.6: hidden endpoints).
    RequestsRefused(bool),
    /// The number that authorities know the fleet by, as Catena has it.
    Regulatory(RegulatoryId),
}

/// What was so about an invitation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationFact {
    /// How it stood.
    Decision(Decision),
    /// It was made: of several the one that was made last counts.
    Created,
    /// The fleet opened it.
    Viewed,
    /// It was sent by e-mail.
    Sent,
    /// When its link stops working.
    Ends(Timestamp),
    /// The number that authorities know the fleet by, as it was invited.
    InvitedAs(RegulatoryId),
    /// How the fleet's browser came back from Connect. Nobody signed it: it opens nothing by itself.
    Claim(Claim),
}

/// What was so about a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionFact {
    /// How it stood.
    State(ConnectionState),
    /// The provider's source.
    Source(String),
    /// How one of its schedules stood.
    Schedule {
        /// The schedule.
        id: String,
        /// How it stood.
        schedule: Schedule,
    },
}

impl Fact {
    /// Whether it can change what the fleet may do, or what may be read of it.
    pub fn touches_rights(&self) -> bool {
        match self {
            Self::Agreement { .. }
            | Self::Linked { .. }
            | Self::Request { .. }
            | Self::Regulatory(_) => true,
            Self::Invitation { was, .. } => {
                matches!(
                    was,
                    InvitationFact::Decision(_) | InvitationFact::InvitedAs(_)
                )
            }
            Self::Connection { was, .. } => matches!(was, ConnectionFact::State(_)),
            Self::Name(_) | Self::CatenaFleet(_) | Self::RequestsRefused(_) => false,
        }
    }
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

/// How a fleet's browser came back from Connect, the less telling the later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Its provider is connected.
    Connected,
    /// It asked for a provider that isn't supported yet; with the request's id if that was given.
    Requested(Option<String>),
    /// It didn't work.
    Failed,
    /// It said nothing that can be understood.
    Unclear,
}

/// What a fleet lets us see, and whether it does now. Ordered by how little it allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Whether it holds.
    pub status: AgreementStatus,
    /// Resource to level. Absent is not the same as empty, and allows no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<BTreeMap<String, Level>>,
    /// From when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Timestamp>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl Ord for Agreement {
    /// Two versions of one moment: the one that allows less stays. First by status, then by fewer resources to write, fewer
    /// to read, a sooner end, a later beginning; what is left decides nothing but must be an order.
    fn cmp(&self, other: &Self) -> Ordering {
        let allows = |agreement: &Self| {
            let levels = || agreement.scopes.iter().flat_map(BTreeMap::values);
            let writes = levels().filter(|level| **level == Level::ReadWrite).count();
            let reads = levels().filter(|level| **level == Level::Read).count();
            let ends = agreement.ends.map_or(i64::MAX, |ends| ends.0);
            (Reverse(writes), Reverse(writes + reads), Reverse(ends))
        };
        self.status
            .cmp(&other.status)
            .then_with(|| allows(self).cmp(&allows(other)))
            .then_with(|| self.effective.cmp(&other.effective))
            .then_with(|| self.scopes.cmp(&other.scopes))
            .then_with(|| self.ends.cmp(&other.ends))
    }
}

impl PartialOrd for Agreement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
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

impl AgreementStatus {
    /// Whether the agreement holds or may hold again, its dates permitting.
    pub fn may_hold(&self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }

    /// The status as Catena writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
            Self::Unknown(other) => other,
        }
    }
}

/// How far an agreement opens a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Reading and writing.
    ReadWrite,
    /// Reading.
    Read,
    /// A level that this version doesn't know: it allows nothing.
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

impl ConnectionState {
    /// The state as Catena writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
            Self::Unknown(other) => other,
        }
    }

    /// Whether it is over: it won't come back by itself, nor by new credentials.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Deleted)
    }
}

/// How a schedule stands, the more restrictive the later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Schedule {
    /// Whether it stopped fetching.
    pub stopped: bool,
    /// What it fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// What Catena says of an integration request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntegrationRequest {
    /// When the fleet made it. Provisional access counts from here.
    pub created: Timestamp,
    /// The provider's name.
    pub provider: String,
    /// The provider's id in Catena's registry of providers that it doesn't support.
    pub provider_id: String,
    /// The hash of the invitation that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
    /// The providers that Catena now supports because of it: not empty means live (contract 3.6).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub live_as: BTreeSet<String>,
}

/// The number that authorities know a fleet by. Ordered as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RegulatoryId {
    /// Whose number it is: DOT, MC, EASA … (contract 3.1), if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The number.
    pub id: String,
}

impl RegulatoryId {
    /// Whether it may be the same fleet's number as another: only letters and digits count, without leading zeros, and the kinds if
    /// both are known.
    pub fn may_be(&self, other: &Self) -> bool {
        fn plain(text: &str) -> String {
            let text = text.chars().filter(|it| it.is_alphanumeric());
            let text: String = text.flat_map(char::to_uppercase).collect();
            text.trim_start_matches('0').to_owned()
        }
        let kinds = self.kind.as_deref().zip(other.kind.as_deref());
        plain(&self.id) == plain(&other.id)
            && kinds.is_none_or(|(one, other)| plain(one) == plain(other))
    }
}

impl fmt::Display for RegulatoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind} {}", self.id),
            None => f.write_str(&self.id),
        }
    }
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

    #[test]
    fn agreements_are_ordered_by_how_little_they_allow() {
        let agreement = |scopes: Option<&[(&str, Level)]>, ends: Option<i64>| {
            let owned = |(name, level): &(&str, Level)| ((*name).to_owned(), level.clone());
            Agreement {
                status: AgreementStatus::Active,
                scopes: scopes.map(|scopes| scopes.iter().map(owned).collect()),
                effective: None,
                ends: ends.map(Timestamp),
            }
        };
        let (read, write) = (Level::Read, Level::ReadWrite);
        let ordered = [
            agreement(Some(&[("a", write.clone()), ("b", write.clone())]), None),
            agreement(Some(&[("a", write), ("b", read.clone())]), None),
            agreement(Some(&[("a", read.clone()), ("b", read.clone())]), None),
            agreement(Some(&[("z", read)]), None),
            agreement(None, None),
            agreement(None, Some(5)),
            agreement(None, Some(4)),
        ];
        assert!(ordered.is_sorted_by(|a, b| a < b), "{ordered:#?}");
    }
    #[test]
    fn numbers_are_compared_by_what_they_say() {
        let number = |kind: Option<&str>, id: &str| RegulatoryId {
            kind: kind.map(str::to_owned),
            id: id.to_owned(),
        };
        let invited = number(Some("DOT"), "1234567");
        for same in [
            number(Some("dot"), "01234567"),
            number(None, "1234567"),
            number(Some("DOT"), " 123-4567 "),
        ] {
            assert!(invited.may_be(&same) && same.may_be(&invited), "{same}");
        }
        for other in [
            number(Some("MC"), "1234567"),
            number(Some("DOT"), "1234568"),
        ] {
            assert!(
                !invited.may_be(&other) && !other.may_be(&invited),
                "{other}"
            );
        }
    }
}

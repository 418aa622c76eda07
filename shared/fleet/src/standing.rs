//! What follows from a record at a moment: where the fleet stands, what it may do and why, and when to look again.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Level, Timestamp};

/// What follows from a record at a moment. Never stored as a verdict, because some of it ends by time alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Where the fleet stands.
    pub stage: Stage,
    /// Its right to use the partner's platform.
    pub admission: Admission,
    /// The partner's right to its data, by resource: never more than the newest agreement allows.
    pub data_scopes: BTreeMap<String, Level>,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
    /// When to look again and why, the soonest first. Stage, admission and data scopes don't change by time alone before the
    /// first of these that lies in the future.
    pub due: Vec<Due>,
}

/// Where a fleet stands on its way from an invitation to flowing data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Invited, nothing more known.
    Invited,
    /// Opened the invitation.
    Viewed,
    /// Accepted, no data yet.
    Accepted,
    /// Accepted, and asked for a provider that Catena doesn't support yet.
    Requested,
    /// The requested provider is live: to be invited again.
    ReconnectReady,
    /// Data flows.
    Connected,
    /// Data should flow, but every connection is broken or the agreement doesn't hold now.
    Degraded,
    /// What the fleet agreed to or connected is over.
    Disconnected,
    /// Declined.
    Declined,
    /// The invitation ended undecided, or was taken back.
    Expired,
}

impl Stage {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 10] = [
        Self::Invited,
        Self::Viewed,
        Self::Accepted,
        Self::Requested,
        Self::ReconnectReady,
        Self::Connected,
        Self::Degraded,
        Self::Disconnected,
        Self::Declined,
        Self::Expired,
    ];

    /// The stage as text, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Viewed => "viewed",
            Self::Accepted => "accepted",
            Self::Requested => "requested",
            Self::ReconnectReady => "reconnect_ready",
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::Disconnected => "disconnected",
            Self::Declined => "declined",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A fleet's right to use the partner's platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Admission {
    /// None.
    None,
    /// For a while, because it asked for a provider that isn't supported yet.
    Provisional {
        /// The first moment without.
        until: Timestamp,
    },
    /// All of it.
    Full,
    /// For a while, so that it can mend what broke or connect what went live.
    Grace {
        /// The first moment without.
        until: Timestamp,
    },
    /// None, and an operator said so.
    Blocked,
}

impl Admission {
    /// Its kind as text, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Provisional { .. } => "provisional",
            Self::Full => "full",
            Self::Grace { .. } => "grace",
            Self::Blocked => "blocked",
        }
    }

    /// The first moment without, if it ends by time alone.
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Provisional { until } | Self::Grace { until } => Some(until),
            Self::None | Self::Full | Self::Blocked => None,
        }
    }
}

/// One of the reasons for a standing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of reason.
    pub code: Code,
    /// The id of what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// In what words: a provider's name, a status, an operator's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when by time alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// An operator keeps the fleet out.
    BlockedByOperator,
    /// An operator lets the fleet in.
    GrantedByOperator,
    /// The newest agreement holds.
    AgreementInForce,
    /// The newest agreement begins later.
    AgreementNotYetEffective,
    /// The newest agreement is paused.
    AgreementPaused,
    /// The newest agreement is over.
    AgreementEnded,
    /// The newest agreement has a status that this version doesn't know.
    AgreementNotUnderstood,
    /// A connection is there, but no agreement was ever heard of.
    AgreementUnknown,
    /// Catena knows the fleet under another regulatory id than it was invited under.
    RegulatoryIdDiffers,
    /// Data flows through a connection.
    ConnectionLive,
    /// A connection is broken, and can be mended.
    ConnectionBroken,
    /// A connection is over.
    ConnectionOver,
    /// A schedule of a connection stopped fetching.
    ScheduleStopped,
    /// The fleet accepted and hasn't connected a provider.
    ConnectionMissing,
    /// The fleet's browser says that an integration was requested; Catena hasn't confirmed it.
    RequestUnconfirmed,
    /// The requested provider isn't supported yet.
    RequestPending,
    /// The requested provider is live.
    ProviderLive,
    /// Provisional access was granted.
    ProvisionalGranted,
    /// Provisional access is over.
    ProvisionalEnded,
    /// The time to mend or to connect runs.
    GraceRunning,
    /// The time to mend or to connect is over.
    GraceEnded,
    /// The fleet can accept its invitation.
    InvitationOpen,
    /// The fleet accepted.
    InvitationAccepted,
    /// The fleet declined.
    InvitationDeclined,
    /// The invitation ended undecided.
    InvitationExpired,
    /// The invitation was taken back.
    InvitationDeleted,
    /// No invitation was heard of.
    InvitationUnknown,
}

impl Code {
    /// The code as text, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlockedByOperator => "blocked_by_operator",
            Self::GrantedByOperator => "granted_by_operator",
            Self::AgreementInForce => "agreement_in_force",
            Self::AgreementNotYetEffective => "agreement_not_yet_effective",
            Self::AgreementPaused => "agreement_paused",
            Self::AgreementEnded => "agreement_ended",
            Self::AgreementNotUnderstood => "agreement_not_understood",
            Self::AgreementUnknown => "agreement_unknown",
            Self::RegulatoryIdDiffers => "regulatory_id_differs",
            Self::ConnectionLive => "connection_live",
            Self::ConnectionBroken => "connection_broken",
            Self::ConnectionOver => "connection_over",
            Self::ScheduleStopped => "schedule_stopped",
            Self::ConnectionMissing => "connection_missing",
            Self::RequestUnconfirmed => "request_unconfirmed",
            Self::RequestPending => "request_pending",
            Self::ProviderLive => "provider_live",
            Self::ProvisionalGranted => "provisional_granted",
            Self::ProvisionalEnded => "provisional_ended",
            Self::GraceRunning => "grace_running",
            Self::GraceEnded => "grace_ended",
            Self::InvitationOpen => "invitation_open",
            Self::InvitationAccepted => "invitation_accepted",
            Self::InvitationDeclined => "invitation_declined",
            Self::InvitationExpired => "invitation_expired",
            Self::InvitationDeleted => "invitation_deleted",
            Self::InvitationUnknown => "invitation_unknown",
        }
    }
}

/// When to look at a fleet again, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Due {
    /// When. In the past: something is waited for since then.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
}

/// Why to look at a fleet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The newest invitation ends.
    InvitationEnds,
    /// The newest agreement begins.
    AgreementStarts,
    /// The newest agreement ends.
    AgreementEnds,
    /// Provisional access or grace ends.
    AdmissionEnds,
    /// An operator's decision ends.
    OverrideEnds,
    /// A connection is there and no agreement is known.
    AgreementUnknown,
    /// The agreement is paused, or in a status that this version doesn't know: that it holds again may get lost.
    AgreementHalted,
    /// The fleet accepted, and no connection is known or all are over.
    ConnectionMissing,
    /// A connection is broken; nobody announces that it recovered.
    ConnectionBroken,
    /// A schedule stopped; nobody announces that it started again.
    ScheduleStopped,
    /// Catena hasn't confirmed a requested integration.
    RequestUnconfirmed,
    /// A requested provider may have gone live; nobody announces it.
    RequestPending,
    /// A requested provider is live, and the fleet isn't connected.
    ProviderLive,
    /// An event came that can't be ordered: it says no more than that something changed.
    Hint,
    /// Something about rights changed: what was heard is to be compared with what Catena holds.
    ReadBack,
}

impl Why {
    /// The reason as text, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvitationEnds => "invitation_ends",
            Self::AgreementStarts => "agreement_starts",
            Self::AgreementEnds => "agreement_ends",
            Self::AdmissionEnds => "admission_ends",
            Self::OverrideEnds => "override_ends",
            Self::AgreementUnknown => "agreement_unknown",
            Self::AgreementHalted => "agreement_halted",
            Self::ConnectionMissing => "connection_missing",
            Self::ConnectionBroken => "connection_broken",
            Self::ScheduleStopped => "schedule_stopped",
            Self::RequestUnconfirmed => "request_unconfirmed",
            Self::RequestPending => "request_pending",
            Self::ProviderLive => "provider_live",
            Self::Hint => "hint",
            Self::ReadBack => "read_back",
        }
    }
}

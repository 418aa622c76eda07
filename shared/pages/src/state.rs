//! Where a fleet stands, in the words of its pages.

use fleet::Timestamp;

/// Where a fleet stands, as its pages tell it: what is known, and until something is, what its browser claims, as a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It may connect.
    Invited,
    /// It accepted, and has connected nothing yet.
    Started,
    /// It came back from Connect, and the news of what it did there is on its way.
    Connecting,
    /// Its data flows.
    Connected {
        /// The provider that it asked for besides, which Catena doesn't support yet.
        requested: Option<String>,
    },
    /// It asked for a provider that Catena doesn't support yet.
    Requested {
        /// The provider, once Catena confirmed the request.
        provider: Option<String>,
        /// Until when it may use the partner's platform meanwhile, if that was granted.
        admitted_until: Option<Timestamp>,
    },
    /// The provider that it asked for is supported now: it can connect.
    ProviderLive {
        /// The provider.
        provider: Option<String>,
        /// Until when it may use the partner's platform meanwhile, if that was granted.
        admitted_until: Option<Timestamp>,
    },
    /// A connection broke: it has to connect again.
    Broken,
    /// Its connection works, but the share agreement is paused or doesn't hold yet: no data flows.
    Paused,
    /// What it agreed to or connected is over: it may connect again.
    Ended,
    /// It declined; it may change its mind.
    Declined,
    /// Its invitation ran out; it may have a new one.
    Expired,
    /// Its invitation was taken back: only the partner can give it another.
    Withdrawn,
    /// It came back from Connect, which said that nothing was connected.
    Failed,
}

impl State {
    /// The state as `/status` tells it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Started => "started",
            Self::Connecting => "connecting",
            Self::Connected { .. } => "connected",
            Self::Requested { .. } => "requested",
            Self::ProviderLive { .. } => "provider_live",
            Self::Broken => "broken",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
        }
    }

    /// Whether news is expected within minutes, so that a page should ask again by itself.
    pub const fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::Connecting | Self::Failed | Self::Requested { provider: None, .. }
        )
    }
}

//! What can go wrong with one exchange, by what the caller may do next.

use std::error::Error;

use hyper::StatusCode;

type Source = Box<dyn Error + Send + Sync>;

/// Why there is no whole answer. No variant holds the request, its URI, headers or body.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A mistake of the caller's: nothing was tried.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str),
    /// No byte of the request left: its name wasn't found, or there was no connection or no TLS.
    #[error("no connection")]
    NotSent(#[source] Source),
    /// The connection broke after sending began: the request may have been received, and may have had its effect.
    #[error("the connection broke")]
    Broken {
        /// The answer's status, if that still came.
        status: Option<StatusCode>,
        /// What broke.
        source: Source,
    },
    /// The time is over.
    #[error("timed out {}", if *.sent { "waiting for the answer" } else { "connecting" })]
    TimedOut {
        /// Whether the request may have left.
        sent: bool,
    },
    /// The answer's headers or body are over the limit. The request was received.
    #[error("the answer is too large")]
    TooLarge {
        /// The answer's status, unless its headers are what is too large.
        status: Option<StatusCode>,
    },
}

impl FetchError {
    /// Whether the request may have been received. If not, anything may be sent again.
    pub fn sent(&self) -> bool {
        match self {
            Self::NotAllowed(_) | Self::NotSent(_) => false,
            Self::TimedOut { sent } => *sent,
            Self::Broken { .. } | Self::TooLarge { .. } => true,
        }
    }

    /// The answer's status, if that much came.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Broken { status, .. } | Self::TooLarge { status } => *status,
            Self::NotAllowed(_) | Self::NotSent(_) | Self::TimedOut { .. } => None,
        }
    }

    /// Sorts what the client says before there is an answer. A cancelled request is one that a connection took back
    /// unwritten; whatever isn't known to be unsent counts as sent.
    pub(crate) fn from_client(error: hyper_util::client::legacy::Error) -> Self {
        let cause = error
            .source()
            .and_then(|cause| cause.downcast_ref::<hyper::Error>());
        if error.is_connect() || cause.is_some_and(hyper::Error::is_canceled) {
            return Self::NotSent(error.into());
        }
        if cause.is_some_and(hyper::Error::is_parse_too_large) {
            return Self::TooLarge { status: None };
        }
        Self::Broken {
            status: None,
            source: error.into(),
        }
    }
}

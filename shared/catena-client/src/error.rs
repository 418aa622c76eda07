//! What can go wrong with a call, by who acts next.

use std::{error::Error, sync::Arc, time::Duration};

use fetch::FetchError;

/// Why a call has no answer. No variant shows a token, a secret, a link or an id.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatenaError {
    /// Catena refuses the request itself; later is no better.
    #[error("refused by Catena: {0}")]
    Refused(Refusal),
    /// There is no such thing, or none that we may know of.
    #[error("not found by Catena")]
    NotFound,
    /// Our credentials are refused: by the token endpoint, or by the API with a new token as well. A person looks after them.
    #[error("unauthorised: {why}")]
    Unauthorised {
        /// By whom, and the protocol's code.
        why: String,
    },
    /// Our credentials are good, but not for this.
    #[error("forbidden by Catena: {0}")]
    Forbidden(Refusal),
    /// Too many requests, and the wait doesn't fit into the caller's time. Nothing was done.
    #[error("rate limited by Catena")]
    RateLimited {
        /// From now until it makes sense to ask again, if Catena said.
        retry_after: Option<Duration>,
    },
    /// Unreachable, too slow or broken; later may be better.
    #[error("Catena is unavailable")]
    Unavailable {
        /// Whether Catena may have received a request of this call.
        sent: bool,
        /// What happened to the last one.
        source: Outage,
    },
    /// An answer that isn't what the contract promises. Whatever was asked for may have been done.
    #[error("unreadable answer with status {status}: {why}")]
    Unreadable {
        /// Its status.
        status: u16,
        /// What is wrong with it, without its values.
        why: String,
    },
    /// The caller's source of credentials failed.
    #[error("no credentials for Catena")]
    Credentials(#[source] Arc<dyn Error + Send + Sync>),
    /// A write that may have got through, when at first there was no answer, and then this.
    #[error("perhaps done at an earlier attempt, but the last one failed")]
    Unclear(#[source] Box<CatenaError>),
}

impl CatenaError {
    /// Whether a write may have happened all the same. Look it up before anything depends on it.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unavailable { sent, .. } => *sent,
            Self::Unreadable { .. } | Self::Unclear(_) => true,
            Self::Refused(_)
            | Self::NotFound
            | Self::Unauthorised { .. }
            | Self::Forbidden(_)
            | Self::RateLimited { .. }
            | Self::Credentials(_) => false,
        }
    }

    pub(crate) fn unreadable(status: u16, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Unreadable { status, why }
    }
}

/// What Catena says about a request that it refuses: its words, cut to a bearable length, without control characters and
/// without whatever could be an id, a token or a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{status} {message}{}", fields.iter().map(|field| format!("; {}: {}", field.path, field.message)).collect::<String>())]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code in the body, usually the same.
    pub code: Option<i64>,
    /// The body's message and detail.
    pub message: String,
    /// Which fields are wrong, of a 422. At most ten.
    pub fields: Vec<FieldProblem>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Such as `body.expires_in_hours`.
    pub path: String,
    /// Catena's words.
    pub message: String,
}

/// How a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Outage {
    /// An answer that says so: a 5xx or a 408.
    #[error("answered {0}")]
    Status(u16),
    /// No whole answer.
    #[error(transparent)]
    Fetch(Arc<FetchError>),
    /// The token endpoint doesn't do what the contract says: this call's own request never left.
    #[error("the token endpoint answered {status}: {why}")]
    Token {
        /// Its status.
        status: u16,
        /// What is wrong.
        why: &'static str,
    },
    /// The caller's time was over first.
    #[error("no time left")]
    OutOfTime,
}

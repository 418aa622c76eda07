//! What isn't done and why, as a problem document (RFC 9457).

use api::{FieldProblem, Problem};
use catena_client::CatenaError;
use invitations::InviteError;
use lambda_http::http::StatusCode;
use startup::describe;
use store::StoreError;

/// What isn't done and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Box<Problem>,
    /// What only the log tells.
    pub(crate) cause: Option<String>,
}

/// Kinds of problems. Their names are public and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NoCaller,
    NoRoute,
    UnreadableBody,
    InvalidFields,
    UnknownFleet,
    UnknownOperation,
    NeverInvited,
    NoLink,
    FleetDeclined,
    FleetAccepted,
    ScopeMissing,
    NoLiveConnection,
    KeyReused,
    EqualWriteUnclear,
    Busy,
    CatenaRefused,
    CatenaRefusesUs,
    CatenaUnreadable,
    CatenaUnavailable,
    TableUnavailable,
    OutOfTime,
    Broken,
}

impl Kind {
    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NoCaller => (403, "no-caller", "Nobody is known to call"),
            Self::NoRoute => (404, "no-route", "There is no such route"),
            Self::UnreadableBody => (400, "unreadable-body", "The body can't be read"),
            Self::InvalidFields => (
                422,
                "invalid-fields",
                "Some fields are not as they should be",
            ),
            Self::UnknownFleet => (404, "unknown-fleet", "The fleet was never heard of"),
            Self::UnknownOperation => (404, "unknown-operation", "There is no such operation"),
            Self::NeverInvited => (404, "never-invited", "The fleet was never invited"),
            Self::NoLink => (404, "no-link", "The fleet has no link"),
            Self::FleetDeclined => (409, "fleet-declined", "The fleet declined"),
            Self::FleetAccepted => (409, "fleet-accepted", "The fleet accepted"),
            Self::ScopeMissing => (
                403,
                "scope-missing",
                "The fleet doesn't share this for writing",
            ),
            Self::NoLiveConnection => (
                409,
                "no-live-connection",
                "The fleet has no live connection",
            ),
            Self::KeyReused => (409, "key-reused", "The key stands for something else"),
            Self::EqualWriteUnclear => (
                409,
                "equal-write-unclear",
                "An equal write is under way or unclear",
            ),
            Self::Busy => (503, "busy", "Another call for the fleet is under way"),
            Self::CatenaRefused => (422, "catena-refused", "Catena refuses this"),
            Self::CatenaRefusesUs => (502, "catena-refuses-us", "Catena refuses our credentials"),
            Self::CatenaUnreadable => (502, "catena-unreadable", "Catena's answer makes no sense"),
            Self::CatenaUnavailable => (503, "catena-unavailable", "Catena doesn't answer now"),
            Self::TableUnavailable => (503, "table-unavailable", "The table doesn't answer now"),
            Self::OutOfTime => (503, "out-of-time", "It took too long"),
            Self::Broken => (500, "broken", "Something is broken"),
        }
    }
}

impl Refusal {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, name, title) = kind.parts();
        let retry = (status == 503).then_some(RETRY_AFTER);
        Self {
            problem: Box::new(Problem {
                kind: format!("urn:kingpin:problem:{name}"),
                title: title.to_owned(),
                status,
                detail: detail.into(),
                errors: Vec::new(),
                retry_after_seconds: retry,
            }),
            cause: None,
        }
    }

    pub(crate) fn fields(errors: Vec<FieldProblem>) -> Self {
        let named = errors
            .iter()
            .map(|it| format!("{}: {}", it.field, it.detail));
        let detail = named.collect::<Vec<_>>().join("; ");
        let mut refusal = Self::new(Kind::InvalidFields, detail);
        refusal.problem.errors = errors;
        refusal
    }

    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldProblem::new(field, detail)])
    }

    pub(crate) fn unknown(fleet: &str) -> Self {
        Self::new(
            Kind::UnknownFleet,
            format!(
                "Nothing is known of fleet {fleet}. Check its reference, capitals included, or invite it."
            ),
        )
    }

    pub(crate) fn no_link(fleet: &str) -> Self {
        Self::new(
            Kind::NoLink,
            format!(
                "Fleet {fleet} has no link: it was never invited here, or its invitation was taken back. Check its reference, \
                 capitals included, or invite it, which gives it a link."
            ),
        )
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::new(
            Kind::UnknownOperation,
            "There is no operation with this id: none was sent, or so long ago that it isn't kept any more.",
        )
    }

    /// What the table didn't do, with what is true of a write all the same.
    pub(crate) fn of_table(error: StoreError, truth: &str) -> Self {
        let unavailable = matches!(error, StoreError::Unavailable { .. });
        let mut refusal = Self::from(error);
        let detail = &mut refusal.problem.detail;
        *detail = match unavailable {
            true => format!("The table could not be read or written. {truth}"),
            false => format!("{detail} {truth}"),
        };
        refusal
    }

    /// What Catena didn't do.
    pub(crate) fn from_catena(
        kind: Kind,
        detail: String,
        errors: Vec<FieldProblem>,
        error: &CatenaError,
    ) -> Self {
        let mut refusal = Self::new(kind, detail).because(error);
        refusal.problem.errors = errors;
        refusal
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn because(self, error: &dyn std::error::Error) -> Self {
        Self {
            cause: Some(describe(error)),
            ..self
        }
    }

    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.problem.retry_after_seconds = Some(seconds.max(1));
        self
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let refusal = match &error {
            StoreError::Unavailable { .. } => Self::new(
                Kind::TableUnavailable,
                "The table could not be read or written. The same call again finds out what was done and does the rest.",
            ),
            StoreError::NewerSchema { .. } => Self::new(
                Kind::TableUnavailable,
                "The record was written by a newer version of Kingpin than the one that answers. Try again when the \
                 deployment is over.",
            ),
            _ => Self::new(
                Kind::Broken,
                "The record can't be read or written as it is. The log of partner-api tells why.",
            ),
        };
        refusal.because(&error)
    }
}

impl From<InviteError> for Refusal {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::NeverInvited => Self::new(
                Kind::NeverInvited,
                "There is no invitation to take back: the fleet was never invited.",
            ),
            InviteError::Declined(reason) => {
                let reason = reason.map(|reason| format!(" Its reason: {reason}"));
                Self::new(
                    Kind::FleetDeclined,
                    format!(
                        "The fleet declined, and isn't asked again unless you say so with ?reopen=true.{}",
                        reason.unwrap_or_default()
                    ),
                )
            }
            InviteError::Accepted => Self::new(
                Kind::FleetAccepted,
                "The fleet accepted, so its invitation can't be taken back. What it shares is governed by its share \
                 agreement; to keep the fleet out, write an override.",
            ),
            InviteError::Busy => Self::new(
                Kind::Busy,
                "Another call for this fleet waits for Catena. Try again in a moment.",
            ),
            InviteError::OtherFleet => Self::new(
                Kind::CatenaUnreadable,
                "Catena answered about another fleet than the one that was asked for. Nothing of it was kept.",
            ),
            InviteError::Catena(error) => error.into(),
            InviteError::Store(error) => error.into(),
            InviteError::NoReturnKeys => Self::new(
                Kind::Broken,
                "The keys of the URLs that the fleet comes back to can't be read, so it isn't invited. The log of partner-api \
                 tells why.",
            ),
            InviteError::Random(_) => Self::new(
                Kind::Broken,
                "The system has no random numbers to make a link of. Try again.",
            )
            .because(&error),
        }
    }
}

/// Seconds after which what passes may have passed.
const RETRY_AFTER: u64 = 5;

impl From<CatenaError> for Refusal {
    fn from(error: CatenaError) -> Self {
        let again = "The same call again finds out what was done and does the rest";
        let refusal = match &error {
            CatenaError::Refused(refused) if refused.status == 422 || refused.status == 400 => {
                let fields = refused.fields.iter();
                let errors: Vec<_> = fields
                    .map(|it| FieldProblem::new(it.path.trim_start_matches("body."), &it.message))
                    .collect();
                let detail = format!("Catena refuses what is asked for: {refused}.");
                let mut refusal = Self::new(Kind::CatenaRefused, detail);
                refusal.problem.errors = errors;
                refusal
            }
            CatenaError::Refused(refused) => Self::new(
                Kind::CatenaUnreadable,
                format!("Catena refused the call in a way that isn't documented: {refused}."),
            ),
            CatenaError::NotFound => Self::new(
                Kind::CatenaUnreadable,
                "Catena knows nothing of what it was asked about, or doesn't offer the call to us.",
            ),
            CatenaError::Unauthorised { .. } | CatenaError::Forbidden(_) => Self::new(
                Kind::CatenaRefusesUs,
                "Catena doesn't accept the stack's credentials for this call. Check the secret of Catena's credentials, and \
                 ask Catena for the permissions that the README lists.",
            ),
            CatenaError::Credentials(_) => Self::new(
                Kind::CatenaRefusesUs,
                "The secret of Catena's credentials can't be read or holds none: put \
                 {\"client_id\":\"…\",\"client_secret\":\"…\"} into it (README, \"Catena's credentials\").",
            ),
            CatenaError::RateLimited { retry_after } => {
                let seconds = retry_after.map_or(RETRY_AFTER, |it| it.as_secs() + 1);
                let detail =
                    format!("Catena limits our calls. Nothing was done; try again in {seconds} s.");
                Self::new(Kind::CatenaUnavailable, detail).after(seconds)
            }
            CatenaError::Unavailable { .. } | CatenaError::Unclear(_) => Self::new(
                Kind::CatenaUnavailable,
                format!("Catena can't be reached, is too slow or broken. {again}."),
            ),
            CatenaError::Unreadable { .. } => Self::new(
                Kind::CatenaUnreadable,
                format!("What Catena answered is not what it documents. {again}."),
            ),
        };
        refusal.because(&error)
    }
}

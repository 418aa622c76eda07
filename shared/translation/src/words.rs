//! Statuses, levels, times and texts of Catena's as those of the fleet record.

use catena::{EventName, Instant, Status};
use fleet::{AgreementStatus, ConnectionState, Level, Timestamp};

/// At most 500 characters of a text that somebody else chose, so that none outgrows a record.
pub(crate) fn bounded(text: impl AsRef<str>) -> String {
    text.as_ref().chars().take(500).collect()
}

pub(crate) fn timestamp(instant: Instant) -> Timestamp {
    Timestamp(instant.millis())
}

pub(crate) fn agreement_status(name: &EventName, status: Option<&Status>) -> AgreementStatus {
    match (status, name) {
        (_, EventName::ShareAgreementDeleted) | (Some(Status::Deleted), _) => {
            AgreementStatus::Deleted
        }
        (Some(Status::Active), _) => AgreementStatus::Active,
        (Some(Status::Paused), _) => AgreementStatus::Paused,
        (Some(Status::Expired), _) => AgreementStatus::Expired,
        (Some(Status::Cancelled), _) => AgreementStatus::Cancelled,
        (Some(other), _) => AgreementStatus::Unknown(bounded(other.as_str())),
        (None, _) => AgreementStatus::Unknown(String::new()),
    }
}

pub(crate) fn connection_state(name: &EventName, status: Option<&Status>) -> ConnectionState {
    match (status, name) {
        (Some(Status::Active), EventName::ConnectionStaled) => ConnectionState::Stale,
        (Some(Status::Active), _) => ConnectionState::Active,
        (Some(Status::Paused), _) => ConnectionState::Paused,
        (Some(Status::Stale), _) | (None, EventName::ConnectionStaled) => ConnectionState::Stale,
        (Some(Status::Failed), _) => ConnectionState::Failed,
        (Some(Status::Cancelled), _) => ConnectionState::Cancelled,
        (Some(Status::Deleted), _) => ConnectionState::Deleted,
        (Some(other), _) => ConnectionState::Unknown(bounded(other.as_str())),
        (None, _) => ConnectionState::Unknown(String::new()),
    }
}

pub(crate) fn level(level: &catena::Level) -> Level {
    match level {
        catena::Level::ReadWrite => Level::ReadWrite,
        catena::Level::Read => Level::Read,
        catena::Level::Unknown(other) => Level::Unknown(bounded(other)),
    }
}

/// Whether a schedule doesn't fetch (contract 5.2). Only `active` says that it does: of `inactive`, `paused`, `stale`,
/// `deleted`, `cancelled` and `cancelled_insufficient_scope` it is known that it doesn't, and nothing proves it of a status that
/// this version doesn't know.
pub(crate) fn is_stopped(schedule: &Status) -> bool {
    *schedule != Status::Active
}

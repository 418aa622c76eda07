//! Share agreements (contract 3.3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::errors::Refusal;
use crate::{
    envelope::{Envelope, microsecond_text as text},
    events,
    fleet::Fleet,
};

/// A share agreement's status (contract 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The fleet shares its data.
    Active,
    /// It doesn't for now.
    Paused,
    /// It doesn't any more.
    Cancelled,
    /// The agreement was deleted, and is still listed.
    Deleted,
    /// Its time is over.
    Expired,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
        }
    }

    /// A filter's value.
    pub(super) fn is_known(name: &str) -> bool {
        ["active", "paused", "cancelled", "deleted", "expired"].contains(&name)
    }
}

pub(super) struct Agreement {
    pub(super) fleet: Fleet,
    pub(super) status: Status,
    pub(super) effective_date: OffsetDateTime,
    /// When it has passed, nothing expires by itself here.
    pub(super) expiration_date: Option<OffsetDateTime>,
    pub(super) scopes: BTreeMap<String, String>,
}

impl Agreement {
    pub(super) fn new(fleet: Fleet, scopes: BTreeMap<String, String>, at: OffsetDateTime) -> Self {
        Self {
            fleet,
            status: Status::Active,
            effective_date: at,
            expiration_date: None,
            scopes,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.fleet.share_agreement_id
    }

    /// `ShareAgreementRead`: what events say, too.
    pub(super) fn read(&self) -> Value {
        json!({
            "id": self.id(),
            "fleet_id": self.fleet.fleet_id,
            "partner_id": self.fleet.partner_id,
            "fleet_ref": self.fleet.fleet_ref,
            "status": self.status.name(),
            "effective_date": text(self.effective_date),
            "expiration_date": self.expiration_date.map(text),
            "scopes": self.scopes,
        })
    }

    pub(super) fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    pub(super) fn is(&self, status: &str) -> bool {
        self.status.name() == status
    }

    /// Changes the dates that are given; a null removes the end.
    pub(super) fn set_dates(&mut self, fields: &Map<String, Value>) -> Result<(), Refusal> {
        let effective_date = date(fields, "effective_date")?;
        let expiration_date = date(fields, "expiration_date")?;
        if let Some(Some(date)) = effective_date {
            self.effective_date = date;
        }
        if let Some(date) = expiration_date {
            self.expiration_date = date;
        }
        Ok(())
    }

    /// Pause, activate, cancel. Whether a cancelled agreement can go on is unknown; here it can't.
    pub(super) fn become_status(&mut self, status: Status) -> Result<(), Refusal> {
        match self.status {
            Status::Active | Status::Paused => self.status = status,
            Status::Cancelled | Status::Deleted | Status::Expired => {
                let detail = format!("The share agreement is {}", self.status.name());
                return Err(Refusal::Conflict(detail));
            }
        }
        Ok(())
    }

    pub(super) fn created(&self, at: OffsetDateTime) -> Envelope {
        self.event(events::share_agreement_created, at)
    }

    pub(super) fn updated(&self, at: OffsetDateTime) -> Envelope {
        self.event(events::share_agreement_updated, at)
    }

    pub(super) fn deleted(&self, at: OffsetDateTime) -> Envelope {
        self.event(events::share_agreement_deleted, at)
    }

    fn event(
        &self,
        construct: fn(&Fleet, OffsetDateTime) -> Envelope,
        at: OffsetDateTime,
    ) -> Envelope {
        construct(&self.fleet, at)
            .dispatched(at)
            .saying(&self.read())
    }
}

/// `None`: not given; `Some(None)`: null.
#[expect(clippy::option_option, reason = "omitted and null differ in a PATCH")]
fn date(
    fields: &Map<String, Value>,
    name: &str,
) -> Result<Option<Option<OffsetDateTime>>, Refusal> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    if value.is_null() {
        return Ok(Some(None));
    }
    let parsed = value
        .as_str()
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let refusal = || {
        let message = "Input should be a valid datetime";
        let path = format!("body.{name}");
        Refusal::Invalid(vec![super::errors::Complaint::new(
            &path,
            value,
            message,
            "datetime_parsing",
        )])
    };
    parsed.map(|date| Some(Some(date))).ok_or_else(refusal)
}

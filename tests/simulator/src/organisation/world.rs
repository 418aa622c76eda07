//! What happens at Catena by itself: the partner hears of it by a webhook, or not at all.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    agreements::{Agreement, Status as AgreementStatus},
    connections::{Connection, ConnectionStatus, ScheduleStatus},
    state::State,
};
use crate::envelope::{Envelope, envelope};

/// Whether the partner hears of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// No webhook, ever.
    Silent,
    /// By the event that the contract has for it (contract 6.10); where there is none, silently.
    Announced,
}

/// What changes about a share agreement; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgreementChange {
    /// The new status, whatever the old one was.
    pub status: Option<AgreementStatus>,
    /// All that is shared from now on: `read` or `read_write` by resource.
    pub scopes: Option<BTreeMap<String, String>>,
    /// When sharing begins.
    pub effective_date: Option<OffsetDateTime>,
    /// When sharing ends; `Some(None)`: never.
    pub expiration_date: Option<Option<OffsetDateTime>>,
}

impl AgreementChange {
    /// Nothing but this status.
    pub fn to(status: AgreementStatus) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }
}

/// Why nothing changes at Catena: it doesn't have what should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// It was neither invited through the API nor made up by a scenario.
    #[error("fleet `{0}`: unknown")]
    Fleet(String),
    /// It has not accepted.
    #[error("fleet `{0}`: no share agreement")]
    Agreement(String),
    /// Never made, or vanished.
    #[error("connection {0}: unknown")]
    Connection(Uuid),
    /// Connections here read other resources.
    #[error("connection {connection_id}: no schedule of `{resource}`")]
    Schedule {
        /// The connection.
        connection_id: Uuid,
        /// What should be read.
        resource: String,
    },
    /// Not in the external registry.
    #[error("provider `{0}`: give the id, the name or the slug of one of `/v2/orgs/external-tsps`")]
    Provider(String),
}

impl State {
    pub(super) fn connection_becomes(
        &mut self,
        id: Uuid,
        status: ConnectionStatus,
        telling: Telling,
        now: OffsetDateTime,
    ) -> Result<(), WorldError> {
        let at = self.moment_of(id, now)?;
        let connection = self.known(id)?;
        connection.become_status(status, at);
        let event = match status {
            ConnectionStatus::Stale => Some(connection.staled(at)),
            ConnectionStatus::Active
            | ConnectionStatus::Failed
            | ConnectionStatus::Cancelled
            | ConnectionStatus::Paused
            | ConnectionStatus::Deleted => None,
        };
        self.tell(event, telling);
        Ok(())
    }

    pub(super) fn connection_vanishes(&mut self, id: Uuid) -> Result<(), WorldError> {
        self.known(id)?.vanish();
        Ok(())
    }

    /// Of this resource, or of all.
    pub(super) fn schedules_become(
        &mut self,
        connection_id: Uuid,
        resource: Option<&str>,
        status: ScheduleStatus,
        telling: Telling,
        now: OffsetDateTime,
    ) -> Result<(), WorldError> {
        let mut at = self.moment_of(connection_id, now)?;
        let connection = self.known(connection_id)?;
        let is_meant = |name: &str| resource.is_none_or(|wanted| wanted == name);
        let mut events = Vec::new();
        let mut found = false;
        for place in 0..connection.schedules.len() {
            if !is_meant(connection.schedules[place].resource) {
                continue;
            }
            found = true;
            connection.schedule_becomes(place, status, at);
            if status == ScheduleStatus::Inactive {
                let schedule = &connection.schedules[place];
                events.push(connection.schedule_deactivated(schedule, at));
                at += EVENTS_APART;
            }
        }
        if !found {
            return Err(WorldError::Schedule {
                connection_id,
                resource: resource.unwrap_or_default().to_owned(),
            });
        }
        self.tell(events, telling);
        Ok(())
    }

    pub(super) fn agreement_changes(
        &mut self,
        fleet_ref: &str,
        change: AgreementChange,
        telling: Telling,
        now: OffsetDateTime,
    ) -> Result<(), WorldError> {
        let place = self.place_of(fleet_ref);
        let place = place.ok_or_else(|| WorldError::Fleet(fleet_ref.to_owned()))?;
        let at = self.at_mut(place).tick(now);
        let fleet_id = self.at(place).fleet.fleet_id;
        let mut newest_first = self.agreements.iter_mut().rev();
        let agreement = newest_first.find(|agreement| agreement.fleet.fleet_id == fleet_id);
        let agreement = agreement.ok_or_else(|| WorldError::Agreement(fleet_ref.to_owned()))?;
        let event = agreement.undergo(change, at);
        self.tell(Some(event), telling);
        Ok(())
    }

    /// The provider's id, now that it is supported. Nothing happens if it was before, but for what was requested since.
    pub(super) fn provider_goes_live(
        &mut self,
        provider: &str,
        telling: Telling,
        now: OffsetDateTime,
    ) -> Result<Uuid, WorldError> {
        let external = super::tsps::external(provider);
        let external = external.ok_or_else(|| WorldError::Provider(provider.to_owned()))?;
        let known = self.tsps.of_external(external.id).map(|tsp| tsp.id);
        let tsp_id = known.unwrap_or_else(|| self.tsps.add(&external, now));
        for request in &mut self.integration_requests {
            if request.record["ext_tsp_id"] == external.id && !request.is_live() {
                request.goes_live(tsp_id, now);
            }
        }
        let created = known.is_none().then(|| {
            let record = serde_json::json!({"id": tsp_id, "name": external.name});
            envelope("tsp.created", vec![record], now).dispatched(now)
        });
        self.tell(created, telling);
        Ok(tsp_id)
    }

    fn known(&mut self, connection: Uuid) -> Result<&mut Connection, WorldError> {
        let unknown = WorldError::Connection(connection);
        self.connections.get_mut(connection).ok_or(unknown)
    }

    /// The time of a change to a connection: after all that happened to its fleet.
    fn moment_of(
        &mut self,
        connection: Uuid,
        now: OffsetDateTime,
    ) -> Result<OffsetDateTime, WorldError> {
        let fleet_ref = self.known(connection)?.fleet.fleet_ref.clone();
        let place = self.place_of(&fleet_ref);
        Ok(place.map_or(now, |place| self.at_mut(place).tick(now)))
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Envelope>, telling: Telling) {
        match telling {
            Telling::Silent => {}
            Telling::Announced => self.outbox.extend(events),
        }
    }
}

impl Agreement {
    fn undergo(&mut self, change: AgreementChange, at: OffsetDateTime) -> Envelope {
        let AgreementChange {
            status,
            scopes,
            effective_date,
            expiration_date,
        } = change;
        self.status = status.unwrap_or(self.status);
        if let Some(scopes) = scopes {
            self.scopes = scopes;
        }
        self.effective_date = effective_date.unwrap_or(self.effective_date);
        self.expiration_date = expiration_date.unwrap_or(self.expiration_date);
        match status {
            Some(AgreementStatus::Deleted) => self.deleted(at),
            _ => self.updated(at),
        }
    }
}

/// Ids of events that happen at once keep their order.
const EVENTS_APART: time::Duration = time::Duration::milliseconds(2);

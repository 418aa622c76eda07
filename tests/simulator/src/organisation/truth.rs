//! What holds at Catena, for tests that compare a partner's records with it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    agreements::{Agreement, Status as AgreementStatus},
    connections::{Connection, ConnectionStatus, ScheduleStatus},
    integration_requests::IntegrationRequest,
    invitations::Status as InvitationStatus,
    state::State,
};
use crate::envelope::microsecond_text;

/// What holds now at Catena for one fleet, whatever the partner was told. In JSON, times are texts as the API has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// The partner's name for the fleet.
    pub fleet_ref: String,
    /// Catena's name for the fleet; none before acceptance (contract 6.10).
    pub fleet_id: Option<Uuid>,
    /// The newest invitation.
    pub invitation_id: Uuid,
    /// Its status.
    pub invitation_status: InvitationStatus,
    /// The newest share agreement.
    pub agreement: Option<AgreementTruth>,
    /// The connections that exist, deleted ones included (their status says so), in the order of their creation.
    pub connections: Vec<ConnectionTruth>,
    /// All integration requests, those included that aren't listed yet, in the order in which they were made.
    pub integration_requests: Vec<IntegrationRequestTruth>,
}

/// A share agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgreementTruth {
    /// The agreement.
    pub id: Uuid,
    /// Its status.
    pub status: AgreementStatus,
    /// `read` or `read_write` by resource.
    pub scopes: BTreeMap<String, String>,
    /// When sharing begins.
    #[serde(serialize_with = "as_text")]
    pub effective_date: OffsetDateTime,
    /// When sharing ends, if ever.
    #[serde(serialize_with = "as_text_or_null")]
    pub expiration_date: Option<OffsetDateTime>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionTruth {
    /// The connection.
    pub id: Uuid,
    /// Its status.
    pub status: ConnectionStatus,
    /// The provider.
    pub tsp_id: Uuid,
    /// The provider's source name.
    pub source_name: String,
    /// The status of each schedule, by resource.
    pub schedules: BTreeMap<String, ScheduleStatus>,
}

/// An integration request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IntegrationRequestTruth {
    /// The request; a UUID unless a test chose another.
    pub id: String,
    /// The provider in the external registry.
    pub ext_tsp_id: String,
    /// Whether the provider is supported by now: `integrated_tsp_ids` isn't empty (contract 3.6).
    pub live: bool,
}

impl State {
    pub(super) fn truth(&self, fleet_ref: &str) -> Option<Truth> {
        let invitation = self.of(fleet_ref)?;
        let fleet = &invitation.fleet;
        let connections = self.connections.list().map(|(_, connection)| connection);
        let its = connections.filter(|connection| connection.fleet.fleet_ref == fleet_ref);
        Some(Truth {
            fleet_ref: fleet_ref.to_owned(),
            fleet_id: invitation.accepted_at.map(|_| fleet.fleet_id),
            invitation_id: fleet.invitation_id,
            invitation_status: invitation.status,
            agreement: self.agreement_of(fleet.fleet_id).map(AgreementTruth::of),
            connections: its.map(ConnectionTruth::of).collect(),
            integration_requests: self
                .requests_of(fleet_ref)
                .map(IntegrationRequestTruth::of)
                .collect(),
        })
    }
}

impl AgreementTruth {
    fn of(agreement: &Agreement) -> Self {
        Self {
            id: agreement.id(),
            status: agreement.status,
            scopes: agreement.scopes.clone(),
            effective_date: agreement.effective_date,
            expiration_date: agreement.expiration_date,
        }
    }
}

impl ConnectionTruth {
    fn of(connection: &Connection) -> Self {
        let schedules = connection.schedules.iter();
        let schedules = schedules.map(|it| (it.resource.to_owned(), it.status));
        Self {
            id: connection.id(),
            status: connection.status,
            tsp_id: connection.fleet.tsp_id,
            source_name: connection.fleet.source_name.clone(),
            schedules: schedules.collect(),
        }
    }
}

impl IntegrationRequestTruth {
    fn of(request: &IntegrationRequest) -> Self {
        let text = |name: &str| request.record[name].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("id"),
            ext_tsp_id: text("ext_tsp_id"),
            live: request.is_live(),
        }
    }
}

pub(super) fn as_text<S: Serializer>(
    at: &OffsetDateTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&microsecond_text(*at))
}

#[expect(clippy::ref_option, reason = "what serde calls it with")]
fn as_text_or_null<S: Serializer>(
    at: &Option<OffsetDateTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(microsecond_text).serialize(serializer)
}

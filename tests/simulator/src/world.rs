//! What tests let happen at Catena, and what they look up there.

use uuid::Uuid;

use crate::{
    AgreementChange, ConnectionStatus, ScheduleStatus, Simulator, Telling, Truth, WorldError,
};

impl Simulator {
    /// A connection gets this status, and `updated_at` moves. There is an event for [`ConnectionStatus::Stale`] only,
    /// `connection.staled`: none for recovery (contract 6.10).
    ///
    /// # Errors
    ///
    /// If there is no such connection.
    pub fn connection_becomes(
        &self,
        connection_id: Uuid,
        status: ConnectionStatus,
        telling: Telling,
    ) -> Result<(), WorldError> {
        self.organisation
            .connection_becomes(connection_id, status, telling)
    }

    /// A connection is neither listed nor found any more. No event tells it. If the fleet connects the same provider again,
    /// it is another connection, as after [`ConnectionStatus::Deleted`].
    ///
    /// # Errors
    ///
    /// If there is no such connection.
    pub fn connection_vanishes(&self, connection_id: Uuid) -> Result<(), WorldError> {
        self.organisation.connection_vanishes(connection_id)
    }

    /// A connection's schedules get this status: the one of this resource, or all. Every connection has `vehicle_location`,
    /// `vehicle` and `user`. There is an event for [`ScheduleStatus::Inactive`] only, one `schedule.deactivated` each.
    ///
    /// # Errors
    ///
    /// If there is no such connection, or it has no schedule of this resource.
    pub fn schedules_become(
        &self,
        connection_id: Uuid,
        resource: Option<&str>,
        status: ScheduleStatus,
        telling: Telling,
    ) -> Result<(), WorldError> {
        self.organisation
            .schedules_become(connection_id, resource, status, telling)
    }

    /// A fleet's newest share agreement changes. Its event is `share_agreement.updated`, or `share_agreement.deleted`.
    ///
    /// # Errors
    ///
    /// If the fleet is unknown, or has no agreement.
    pub fn agreement_changes(
        &self,
        fleet_ref: &str,
        change: AgreementChange,
        telling: Telling,
    ) -> Result<(), WorldError> {
        self.organisation
            .agreement_changes(fleet_ref, change, telling)
    }

    /// A provider of the external registry, by its id, its name or its slug in Connect, is supported from now on: it is
    /// among `/v2/orgs/tsps`, all requests for it that weren't live have its id in `integrated_tsp_ids`, and fleets can
    /// connect it. Its event is `tsp.created`, unless it was supported before. Answers its id.
    ///
    /// # Errors
    ///
    /// If the registry has no such provider.
    pub fn provider_goes_live(&self, provider: &str, telling: Telling) -> Result<Uuid, WorldError> {
        self.organisation.provider_goes_live(provider, telling)
    }

    /// The fleet's `regulatory_id` and its type from now on, whatever the invitations say; its `updated_at` moves. No event
    /// tells it.
    ///
    /// # Errors
    ///
    /// If the fleet is unknown.
    pub fn set_regulatory_id(
        &self,
        fleet_ref: &str,
        id: Option<&str>,
        id_type: Option<&str>,
    ) -> Result<(), WorldError> {
        let (id, id_type) = (id.map(str::to_owned), id_type.map(str::to_owned));
        self.organisation.set_regulatory_id(fleet_ref, id, id_type)
    }

    /// What holds now at Catena for a fleet that was invited or made up by a scenario.
    pub fn truth(&self, fleet_ref: &str) -> Option<Truth> {
        self.organisation.truth(fleet_ref)
    }

    /// All fleets that were invited or made up by a scenario, in the order of their newest invitations.
    pub fn fleet_refs(&self) -> Vec<String> {
        self.organisation.fleet_refs()
    }
}

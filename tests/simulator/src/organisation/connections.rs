//! Connections to providers and their schedules (contract 5.1, 5.2).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    envelope::{Envelope, microsecond_text as text, uuid_v7},
    events,
    fleet::Fleet,
};

/// A connection's status (contract 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// Data flows.
    Active,
    /// It doesn't work.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It was paused.
    Paused,
    /// The credentials died: the fleet must connect again.
    Stale,
    /// It was deleted, and is still listed.
    Deleted,
}

/// A schedule's status (contract 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    /// Too many executions failed: reading stopped.
    Inactive,
    /// The resource is read regularly.
    Active,
    /// It was paused.
    Paused,
    /// It went stale.
    Stale,
    /// It was deleted.
    Deleted,
    /// It was cancelled.
    Cancelled,
    /// It was cancelled because the provider's credentials don't allow the resource.
    CancelledInsufficientScope,
}

/// One resource that a connection reads regularly.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) id: Uuid,
    pub(super) resource: &'static str,
    pub(super) status: ScheduleStatus,
    interval: Duration,
    last_data_at: OffsetDateTime,
}

impl Schedule {
    /// As the API answers it. The contract has no times of its creation or change.
    pub(super) fn read(&self, connection_id: Uuid) -> Value {
        let errors = match self.status {
            ScheduleStatus::Inactive => ERROR_THRESHOLD,
            _ => 0,
        };
        json!({
            "id": self.id,
            "connection_id": connection_id,
            "resource": self.resource,
            "execution_interval_seconds": self.interval.whole_seconds(),
            "status": self.status,
            "consecutive_error_count": errors,
            "consecutive_error_threshold": ERROR_THRESHOLD,
            "max_concurrent_executions": 1,
            "cursor": "cursor-1",
            "last_data_at": text(self.last_data_at),
        })
    }

    fn next_execution_at(&self) -> Option<OffsetDateTime> {
        let is_active = self.status == ScheduleStatus::Active;
        is_active.then(|| self.last_data_at + self.interval)
    }
}

/// One fleet's way to one provider.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The fleet, with this connection's identifiers.
    pub(super) fleet: Fleet,
    pub(super) status: ConnectionStatus,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    pub(super) schedules: Vec<Schedule>,
    /// Neither listed nor found any more.
    vanished: bool,
}

impl Connection {
    fn new(fleet: Fleet, at: OffsetDateTime) -> Self {
        let schedule = |(number, &(resource, seconds)): (usize, &(&'static str, i64))| Schedule {
            // The first is the one that the fleet's events are about.
            id: match number {
                0 => fleet.schedule_id,
                _ => uuid_v7(at),
            },
            resource,
            status: ScheduleStatus::Active,
            interval: Duration::seconds(seconds),
            last_data_at: at,
        };
        Self {
            schedules: SCHEDULED.iter().enumerate().map(schedule).collect(),
            fleet,
            status: ConnectionStatus::Active,
            created_at: at,
            updated_at: at,
            vanished: false,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.fleet.connection_id
    }

    /// Whether the fleet can only make another one.
    fn is_over(&self) -> bool {
        self.vanished || self.status == ConnectionStatus::Deleted
    }

    /// New credentials: everything works again.
    fn renew(&mut self, fleet_connection_id: Uuid, at: OffsetDateTime) {
        self.fleet.fleet_connection_id = fleet_connection_id;
        self.become_status(ConnectionStatus::Active, at);
        for schedule in &mut self.schedules {
            schedule.status = ScheduleStatus::Active;
            schedule.last_data_at = at;
        }
    }

    pub(super) fn become_status(&mut self, status: ConnectionStatus, at: OffsetDateTime) {
        self.status = status;
        self.updated_at = at;
    }

    pub(super) fn vanish(&mut self) {
        self.vanished = true;
    }

    /// `ConnectionRead`.
    pub(super) fn read(&self) -> Value {
        json!({
            "id": self.id(),
            "created_at": text(self.created_at),
            "updated_at": text(self.updated_at),
            "fleet_id": self.fleet.fleet_id,
            "fleet_ref": self.fleet.fleet_ref,
            "tsp_id": self.fleet.tsp_id,
            "source_name": self.fleet.source_name,
            "credentials": {"api_key": "*****", "url": null, "user_id": null},
            "status": self.status,
            "description": null,
        })
    }

    /// How fresh each resource is. `share_level` is the agreement's for it, null if it isn't shared.
    pub(super) fn freshness(
        &self,
        tsp_slug: Option<&str>,
        share_level: impl Fn(&str) -> Option<String>,
    ) -> Vec<Value> {
        let resource = |schedule: &Schedule| {
            json!({
                "resource": schedule.resource,
                "share_level": share_level(schedule.resource),
                "fleet_id": self.fleet.fleet_id,
                "fleet_ref": self.fleet.fleet_ref,
                "connection_id": self.id(),
                "connection_description": null,
                "schedule_id": schedule.id,
                "source_name": self.fleet.source_name,
                "tsp_id": self.fleet.tsp_id,
                "tsp_slug": tsp_slug,
                "last_successful_execution_at": text(schedule.last_data_at),
                "next_execution_at": schedule.next_execution_at().map(text),
                "schedule_status": schedule.status,
            })
        };
        self.schedules.iter().map(resource).collect()
    }

    pub(super) fn staled(&self, at: OffsetDateTime) -> Envelope {
        let event = events::connection_staled(&self.fleet, at).dispatched(at);
        event.about(&self.fleet.fleet_ref).saying(&self.read())
    }

    pub(super) fn schedule_deactivated(&self, schedule: &Schedule, at: OffsetDateTime) -> Envelope {
        let event = events::schedule_deactivated(&self.fleet, at).dispatched(at);
        event
            .about(&self.fleet.fleet_ref)
            .saying(&schedule.read(self.id()))
    }
}

/// All connections, in the order of their creation: their places make the pages.
#[derive(Default)]
pub(super) struct Connections {
    all: Vec<Connection>,
    by_id: HashMap<Uuid, usize>,
}

impl Connections {
    /// A new connection, or new credentials for one that exists.
    pub(super) fn establish(&mut self, fleet: Fleet, at: OffsetDateTime) {
        match self.get_mut(fleet.connection_id) {
            Some(connection) => connection.renew(fleet.fleet_connection_id, at),
            None => {
                self.by_id.insert(fleet.connection_id, self.all.len());
                self.all.push(Connection::new(fleet, at));
            }
        }
    }

    /// Whether there was such a connection, and a fleet can't use it any more.
    pub(super) fn is_over(&self, id: Uuid) -> bool {
        let connection = self.by_id.get(&id).map(|&place| &self.all[place]);
        connection.is_some_and(Connection::is_over)
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Connection> {
        let connection = &self.all[*self.by_id.get(&id)?];
        (!connection.vanished).then_some(connection)
    }

    pub(super) fn get_mut(&mut self, id: Uuid) -> Option<&mut Connection> {
        let connection = &mut self.all[*self.by_id.get(&id)?];
        (!connection.vanished).then_some(connection)
    }

    /// Those that exist, each with its place.
    pub(super) fn list(&self) -> impl Iterator<Item = (usize, &Connection)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, connection)| !connection.vanished)
    }
}

/// What every connection reads, and how many seconds lie between two executions: of the first as in the event's sample, of
/// the others the default (contract 5.2).
const SCHEDULED: [(&str, i64); 3] = [("vehicle_location", 60), ("vehicle", 600), ("user", 600)];
/// Failures in a row, then the schedule is inactive (contract 5.2).
const ERROR_THRESHOLD: u32 = 15;

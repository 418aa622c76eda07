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
    /// Its first execution since it and its connection are active.
    started: OffsetDateTime,
    /// Since when it isn't executed, because of its own status or its connection's.
    stopped: Option<OffsetDateTime>,
}

impl Schedule {
    /// As the API answers it. The contract has no times of its creation or change.
    pub(super) fn read(&self, connection_id: Uuid, now: OffsetDateTime) -> Value {
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
            "last_data_at": text(self.last_execution_at(now)),
        })
    }

    /// Every execution succeeds and brings data.
    fn last_execution_at(&self, now: OffsetDateTime) -> OffsetDateTime {
        let passed = self.stopped.unwrap_or(now) - self.started;
        // A fleet's times run ahead of the clock when much happens to it at once.
        let passed = passed.whole_seconds().max(0);
        let since_last = passed % self.interval.whole_seconds();
        self.started + Duration::seconds(passed - since_last)
    }

    fn next_execution_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let is_executed = self.stopped.is_none();
        is_executed.then(|| self.last_execution_at(now) + self.interval)
    }

    /// Is executed or isn't, from a moment on; nothing happens if it is so already.
    fn be_executed(&mut self, is_executed: bool, at: OffsetDateTime) {
        match (is_executed, self.stopped) {
            (true, Some(_)) => self.start(at),
            (false, None) => self.stopped = Some(at),
            (true, None) | (false, Some(_)) => {}
        }
    }

    /// The first execution is at once.
    fn start(&mut self, at: OffsetDateTime) {
        self.started = at;
        self.stopped = None;
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
            started: at,
            stopped: None,
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
            schedule.start(at);
        }
    }

    pub(super) fn become_status(&mut self, status: ConnectionStatus, at: OffsetDateTime) {
        self.status = status;
        self.updated_at = at;
        self.execute_what_is_active(at);
    }

    /// The schedule at this place gets this status.
    pub(super) fn schedule_becomes(
        &mut self,
        place: usize,
        status: ScheduleStatus,
        at: OffsetDateTime,
    ) {
        self.schedules[place].status = status;
        self.execute_what_is_active(at);
    }

    /// Schedules are executed while they and their connection are active.
    fn execute_what_is_active(&mut self, at: OffsetDateTime) {
        let is_active = self.status == ConnectionStatus::Active;
        for schedule in &mut self.schedules {
            schedule.be_executed(is_active && schedule.status == ScheduleStatus::Active, at);
        }
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
        now: OffsetDateTime,
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
                "last_successful_execution_at": text(schedule.last_execution_at(now)),
                "next_execution_at": schedule.next_execution_at(now).map(text),
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
            .saying(&schedule.read(self.id(), at))
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::MINUTE;

    /// A connection, when it was made, and its `vehicle` schedule's place: one execution every ten minutes.
    fn connected() -> (Connection, OffsetDateTime, usize) {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        (Connection::new(Fleet::new("FLEET-42", at), at), at, 1)
    }

    /// The last and the next execution, as both endpoints tell them.
    fn executions(connection: &Connection, place: usize, now: OffsetDateTime) -> [Value; 2] {
        let schedule = connection.schedules[place].read(connection.id(), now);
        let fresh = &connection.freshness(now, None, |_| None)[place];
        assert_eq!(
            fresh["last_successful_execution_at"],
            schedule["last_data_at"]
        );
        [
            &fresh["last_successful_execution_at"],
            &fresh["next_execution_at"],
        ]
        .map(Value::clone)
    }

    #[test]
    fn data_is_read_at_every_interval() {
        let (connection, at, place) = connected();
        for (minutes, last, next) in [
            (0, 0, 10),
            (9, 0, 10),
            (10, 10, 20),
            (25, 20, 30),
            (-1, 0, 10),
        ] {
            let told = executions(&connection, place, at + minutes * MINUTE);
            let expected = [last, next].map(|minutes| json!(text(at + minutes * MINUTE)));
            assert_eq!(told, expected, "after {minutes} minutes");
        }
    }

    #[test]
    fn no_data_is_read_while_the_connection_or_the_schedule_is_not_active() {
        let (connection, at, place) = connected();
        let time = |minutes: i32| at + minutes * MINUTE;
        let frozen = [json!(text(time(20))), Value::Null];
        let stops: [fn(&mut Connection, OffsetDateTime); 2] = [
            |it, at| it.become_status(ConnectionStatus::Stale, at),
            |it, at| it.schedule_becomes(1, ScheduleStatus::Inactive, at),
        ];
        let others: [fn(&mut Connection, OffsetDateTime); 2] = [
            |it, at| it.become_status(ConnectionStatus::Failed, at),
            |it, at| it.schedule_becomes(1, ScheduleStatus::Paused, at),
        ];
        let resumptions: [fn(&mut Connection, OffsetDateTime); 2] = [
            |it, at| it.become_status(ConnectionStatus::Active, at),
            |it, at| it.schedule_becomes(1, ScheduleStatus::Active, at),
        ];
        for way in 0..stops.len() {
            let mut connection = connection.clone();
            stops[way](&mut connection, time(25));
            assert_eq!(executions(&connection, place, time(25)), frozen, "{way}");
            others[way](&mut connection, time(55));
            assert_eq!(executions(&connection, place, time(90)), frozen, "{way}");
            resumptions[way](&mut connection, time(100));
            let resumed = [110, 120].map(|minutes| json!(text(time(minutes))));
            assert_eq!(executions(&connection, place, time(115)), resumed, "{way}");
        }
    }

    #[test]
    fn one_schedule_that_stops_leaves_the_others_going() {
        let (mut connection, at, place) = connected();
        connection.schedule_becomes(place, ScheduleStatus::Inactive, at + 15 * MINUTE);
        let [last, _] = executions(&connection, 2, at + 65 * MINUTE);
        assert_eq!(last, text(at + 60 * MINUTE));
    }

    #[test]
    fn new_credentials_start_the_reading_anew() {
        let (mut connection, at, place) = connected();
        connection.become_status(ConnectionStatus::Stale, at + 5 * MINUTE);
        connection.renew(Uuid::nil(), at + 33 * MINUTE);
        let told = executions(&connection, place, at + 44 * MINUTE);
        let expected = [43, 53].map(|minutes| json!(text(at + minutes * MINUTE)));
        assert_eq!(told, expected);
    }
}

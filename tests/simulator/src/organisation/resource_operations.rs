//! Resource operations: what Catena made of the partner's writes (contract 5.4).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    operation_rules::{Announce, OperationRules, OperationStep, StepOutcome},
    truth::as_text,
};
use crate::{
    announcer::Underway,
    envelope::{Envelope, envelope, microsecond_text as text, uuid_v4, uuid_v7},
    fleet::Fleet,
};

/// An operation's status (contract 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// Nothing is decided.
    Pending,
    /// The provider has it.
    Success,
    /// The provider doesn't have it.
    Failed,
}

/// A write that Catena processed, whatever the answer said. In JSON, times are texts as the API has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriteTruth {
    /// The operation that Catena made of it.
    pub operation_id: Uuid,
    /// As operations name it, as in `group_message`.
    pub resource: &'static str,
    /// `create` or `update`.
    pub operation_type: &'static str,
    /// The connection written to.
    pub connection_id: Uuid,
    /// Its fleet.
    pub fleet_ref: String,
    /// The body as it was received.
    pub sent: Value,
    /// What holds now.
    pub status: OperationStatus,
    /// `error_type` of the newest log entry.
    pub error_type: Option<String>,
    /// When the call came.
    #[serde(serialize_with = "as_text")]
    pub created_at: OffsetDateTime,
    /// When the status came to be.
    #[serde(serialize_with = "as_text")]
    pub updated_at: OffsetDateTime,
    /// Whether the caller was answered with the operation by a 200 or 202; not if a fault took or replaced the answer, or
    /// while there is none.
    pub accepted: bool,
}

/// What to make an operation of.
pub(super) struct NewOperation<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) resource: &'static str,
    /// What is updated; `None`: something is created.
    pub(super) updates: Option<Uuid>,
    pub(super) sent: Value,
    pub(super) payload: Map<String, Value>,
    /// Answered when it is decided (contract 5.3).
    pub(super) is_sync: bool,
}

/// One operation.
pub(super) struct ResourceOperation {
    id: Uuid,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    partner_id: Uuid,
    pub(super) connection_id: Uuid,
    fleet_ref: String,
    source_name: String,
    resource: &'static str,
    operation_type: &'static str,
    /// Told after success only.
    resource_id: Uuid,
    sent: Value,
    payload: Map<String, Value>,
    is_sync: bool,
    /// Of the first step, if there is one.
    pub(super) decided_at: Option<OffsetDateTime>,
    status: OperationStatus,
    logs: Vec<Value>,
    newest_error: Option<String>,
    accepted: bool,
}

impl ResourceOperation {
    fn new(new: NewOperation<'_>, now: OffsetDateTime) -> Self {
        let NewOperation {
            fleet,
            resource,
            updates,
            sent,
            payload,
            is_sync,
        } = new;
        let operation_type = match updates {
            Some(_) => "update",
            None => "create",
        };
        Self {
            id: uuid_v7(now),
            created_at: now,
            updated_at: now,
            partner_id: fleet.partner_id,
            connection_id: fleet.connection_id,
            fleet_ref: fleet.fleet_ref.clone(),
            source_name: fleet.source_name.clone(),
            resource,
            operation_type,
            resource_id: updates.unwrap_or_else(uuid_v4),
            sent,
            payload,
            is_sync,
            decided_at: None,
            status: OperationStatus::Pending,
            logs: Vec::new(),
            newest_error: None,
            accepted: false,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// As endpoints and events have it.
    pub(super) fn read(&self) -> Value {
        self.read_as(self.status, self.updated_at)
    }

    /// As writes are answered: with a `deleted_at` besides (contract 5.4).
    pub(super) fn answer(&self) -> Value {
        let mut read = self.read();
        read["deleted_at"] = Value::Null;
        read
    }

    /// What a sync write is answered, once it can be (contract 5.3).
    pub(super) fn decision(&self) -> Option<(StatusCode, Value)> {
        let status = match self.status {
            OperationStatus::Pending => return None,
            OperationStatus::Success => StatusCode::OK,
            OperationStatus::Failed => StatusCode::BAD_GATEWAY,
        };
        Some((status, self.answer()))
    }

    fn read_as(&self, status: OperationStatus, updated_at: OffsetDateTime) -> Value {
        let succeeded = status == OperationStatus::Success;
        json!({
            "id": self.id,
            "created_at": text(self.created_at),
            "updated_at": text(updated_at),
            "partner_id": self.partner_id,
            "connection_id": self.connection_id,
            "fleet_ref": self.fleet_ref,
            "source_name": self.source_name,
            "resource": self.resource,
            "resource_id": succeeded.then_some(self.resource_id),
            "source_id": succeeded.then(|| source_id(self.resource_id)),
            "operation_type": self.operation_type,
            "status": status,
            "payload": self.payload,
            "logs": self.logs,
        })
    }

    fn created(&self) -> Envelope {
        let read = self.read();
        self.event("resource_operation.created", read, self.created_at)
    }

    /// What this step does to the operation, and its event.
    fn undergo(&mut self, outcome: &StepOutcome, shift_ms: i64, at: OffsetDateTime) -> Envelope {
        let shift = time::Duration::milliseconds(shift_ms);
        let updated_at = at.checked_add(shift).unwrap_or(at);
        let (name, status) = match outcome {
            StepOutcome::Success => ("resource_operation.succeeded", OperationStatus::Success),
            StepOutcome::Failed { .. } => ("resource_operation.failed", OperationStatus::Failed),
        };
        if let Some(log) = self.log(outcome, updated_at) {
            self.logs.push(log);
        }
        // A terminal status never goes back, however the clocks are (contract 5.4).
        if self.status == OperationStatus::Pending || self.updated_at <= updated_at {
            self.status = status;
            self.updated_at = updated_at;
        }
        self.event(name, self.read_as(status, updated_at), at)
    }

    /// Failures are logged; success only if the call waited for it, as the samples have it.
    fn log(&mut self, outcome: &StepOutcome, at: OffsetDateTime) -> Option<Value> {
        let mut entry = json!({
            "id": uuid_v7(at),
            "created_at": text(at),
            "updated_at": text(at),
            "resource_operation_id": self.id,
        });
        match outcome {
            StepOutcome::Success if !self.is_sync => return None,
            StepOutcome::Success => {
                self.newest_error = None;
                entry["status"] = json!(OperationStatus::Success);
                entry["error_type"] = Value::Null;
                entry["error_details"] = Value::Null;
                entry["response_status_code"] = json!(200);
                entry["response_headers"] = json!({});
            }
            StepOutcome::Failed {
                error_type,
                error_details,
                response_status_code,
                response_headers,
            } => {
                self.newest_error.clone_from(error_type);
                entry["status"] = json!(OperationStatus::Failed);
                entry["error_type"] = json!(error_type);
                entry["error_details"] = json!(error_details);
                entry["response_status_code"] = json!(response_status_code);
                entry["response_headers"] = json!(response_headers);
            }
        }
        Some(entry)
    }

    /// Dispatched when it happened, whatever the record says about that.
    fn event(&self, name: &str, read: Value, at: OffsetDateTime) -> Envelope {
        envelope(name, vec![read], at)
            .dispatched(at)
            .about(&self.fleet_ref)
    }

    fn truth(&self) -> WriteTruth {
        WriteTruth {
            operation_id: self.id,
            resource: self.resource,
            operation_type: self.operation_type,
            connection_id: self.connection_id,
            fleet_ref: self.fleet_ref.clone(),
            sent: self.sent.clone(),
            status: self.status,
            error_type: self.newest_error.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            accepted: self.accepted,
        }
    }
}

/// The provider's number for something that Catena knows by this id.
pub(super) fn source_id(id: Uuid) -> String {
    (10_000_000 + id.as_u128() % 90_000_000).to_string()
}

/// Which operations are listed; everything must fit.
#[derive(Debug)]
pub(super) struct OperationFilter<'a> {
    pub(super) resource: Option<&'a str>,
    pub(super) connection_id: Option<Uuid>,
    pub(super) source_name: Option<&'a str>,
    /// Empty: all.
    pub(super) fleet_refs: Vec<&'a str>,
    pub(super) operation: Option<&'a str>,
    pub(super) source_id: Option<&'a str>,
    /// Both inclusive, on `created_at`.
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
}

impl OperationFilter<'_> {
    fn fits(&self, operation: &ResourceOperation) -> bool {
        let has_source_id = |wanted: &str| {
            operation.status == OperationStatus::Success
                && source_id(operation.resource_id) == wanted
        };
        (self.from..=self.to).contains(&operation.created_at)
            && self.resource.is_none_or(|it| it == operation.resource)
            && self
                .connection_id
                .is_none_or(|it| it == operation.connection_id)
            && self
                .source_name
                .is_none_or(|it| it == operation.source_name)
            && (self.fleet_refs.is_empty()
                || self.fleet_refs.contains(&operation.fleet_ref.as_str()))
            && self
                .operation
                .is_none_or(|it| it == operation.operation_type)
            && self.source_id.is_none_or(has_source_id)
    }
}

/// All operations, in the order of their creation: their places make the pages. And what is still to happen to them.
#[derive(Default)]
pub(super) struct ResourceOperations {
    all: Vec<ResourceOperation>,
    by_id: HashMap<Uuid, usize>,
    pub(super) rules: OperationRules,
    /// From an operation's creation to its being listed.
    pub(super) list_lag: Duration,
    /// From an operation's creation to its being found by its id.
    pub(super) read_lag: Duration,
    /// By their times; of equal times, in the order in which they were scheduled.
    scheduled: BTreeMap<(OffsetDateTime, u64), Scheduled>,
    next_number: u64,
    /// Wakes whoever lets time pass, when something is to happen sooner than expected.
    pub(super) sooner: Arc<Notify>,
    /// Steps that have happened, whose events are still to be announced.
    happened: Vec<Underway>,
}

/// A step that is to happen.
struct Scheduled {
    place: usize,
    step: OperationStep,
    underway: Underway,
}

impl ResourceOperations {
    /// A new operation. Its steps are scheduled; `underway` makes what waits for them wait.
    pub(super) fn add(
        &mut self,
        new: NewOperation<'_>,
        body: &str,
        now: OffsetDateTime,
        underway: impl Fn() -> Underway,
    ) -> (&ResourceOperation, Vec<Envelope>) {
        // What texts of times can't tell apart, filters can't either.
        let now = now.truncate_to_microsecond();
        let fleet_ref = &new.fleet.fleet_ref;
        let (mut announce, mut steps) = self.rules.take(fleet_ref, new.resource, body);
        if new.is_sync {
            steps.sort_by_key(|step| step.after);
            steps.truncate(1);
            // No webhook about a sync failure (contract 5.3), and so none about its beginning.
            for step in &mut steps {
                if step.outcome != StepOutcome::Success {
                    (announce, step.announce) = (Announce::Lost, Announce::Lost);
                }
            }
        }
        let place = self.all.len();
        let mut operation = ResourceOperation::new(new, now);
        self.by_id.insert(operation.id, place);
        for step in steps {
            let at = self.schedule(place, step, now, underway());
            operation.decided_at = operation.decided_at.or(at);
        }
        let events = announced(operation.created(), announce);
        (self.all.push_mut(operation), events)
    }

    /// When it happens: a step beyond the end of time never does.
    fn schedule(
        &mut self,
        place: usize,
        step: OperationStep,
        now: OffsetDateTime,
        underway: Underway,
    ) -> Option<OffsetDateTime> {
        let after = time::Duration::try_from(step.after).ok();
        let at = now.checked_add(after?)?.truncate_to_microsecond();
        let is_first = self.next_at().is_none_or(|next| at < next);
        let scheduled = Scheduled {
            place,
            step,
            underway,
        };
        self.scheduled.insert((at, self.next_number), scheduled);
        self.next_number += 1;
        if is_first {
            self.sooner.notify_one();
        }
        Some(at)
    }

    /// When the next step happens.
    pub(super) fn next_at(&self) -> Option<OffsetDateTime> {
        let (&(at, _), _) = self.scheduled.first_key_value()?;
        Some(at)
    }

    /// Lets happen what is due, and tells the events.
    pub(super) fn pass_time(&mut self, now: OffsetDateTime) -> Vec<Envelope> {
        let mut events = Vec::new();
        while let Some(entry) = self.scheduled.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), scheduled) = entry.remove_entry();
            let Scheduled {
                place,
                step,
                underway,
            } = scheduled;
            let OperationStep {
                after: _,
                outcome,
                announce,
                updated_at_shift_ms,
            } = step;
            let event = self.all[place].undergo(&outcome, updated_at_shift_ms, at);
            events.extend(announced(event, announce));
            self.happened.push(underway);
        }
        events
    }

    /// The events of what happened are announced: only now is it over.
    pub(super) fn settle(&mut self) {
        self.happened.clear();
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&ResourceOperation> {
        Some(&self.all[*self.by_id.get(&id)?])
    }

    /// The same, unless it isn't readable yet.
    pub(super) fn find(&self, id: Uuid, now: OffsetDateTime) -> Option<&ResourceOperation> {
        let found = self.get(id)?;
        has_passed(self.read_lag, found.created_at, now).then_some(found)
    }

    /// Those that are listed by now and pass the filter, each with its place.
    pub(super) fn list(
        &self,
        filter: &OperationFilter<'_>,
        now: OffsetDateTime,
    ) -> Vec<(usize, &ResourceOperation)> {
        let all = self.all.iter().enumerate();
        let fits = |operation: &ResourceOperation| {
            filter.fits(operation) && has_passed(self.list_lag, operation.created_at, now)
        };
        all.filter(|(_, operation)| fits(operation)).collect()
    }

    /// The caller was answered with the operation.
    pub(super) fn note_answer(&mut self, id: Uuid) {
        if let Some(&place) = self.by_id.get(&id) {
            self.all[place].accepted = true;
        }
    }

    pub(super) fn truths(&self) -> Vec<WriteTruth> {
        self.all.iter().map(ResourceOperation::truth).collect()
    }

    /// Forgets all operations; what was to happen to them doesn't.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.by_id.clear();
        self.scheduled.clear();
    }
}

fn announced(event: Envelope, announce: Announce) -> Vec<Envelope> {
    match announce {
        Announce::Told => vec![event],
        Announce::Lost => Vec::new(),
        Announce::Twice => vec![event.clone(), event],
    }
}

fn has_passed(lag: Duration, since: OffsetDateTime, now: OffsetDateTime) -> bool {
    lag.is_zero() || now - since >= lag
}

//! What a write asks for, and whether the fleet lets it: from values alone.

use std::collections::BTreeMap;

use api::{Connection, FieldProblem, OperationRequest};
use fleet::{FleetRef, Level, Policy, Record, Timestamp};
use operations::{Kind as WriteKind, NotWritable, Operation, Status, Write};
use serde_json::{Map, Value};
use store::Guard;

use crate::refusal::{Kind, Refusal};

/// A write that Catena has an endpoint for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) write: Write,
    /// Catena's id of what is updated.
    pub(crate) target: Option<String>,
    connection: Option<String>,
    pub(crate) payload: Map<String, Value>,
}

impl Wanted {
    /// What a request asks for.
    pub(crate) fn of(request: OperationRequest) -> Result<Self, Refusal> {
        let kind = WriteKind::from(request.operation);
        let mut problems = Vec::new();
        let write = Write::of(&request.resource, kind).map_err(|not| match not {
            NotWritable::Resource => {
                FieldProblem::new("resource", format!("write one of {}", Write::resources()))
            }
            NotWritable::Update => FieldProblem::new(
                "operation",
                format!("a {} can only be created: write create", request.resource),
            ),
        });
        match (kind, &request.resource_id) {
            (WriteKind::Update, None) => problems.push(FieldProblem::new(
                RESOURCE_ID,
                "write Catena's id of what is to be updated",
            )),
            (WriteKind::Create, Some(_)) => problems.push(FieldProblem::new(
                RESOURCE_ID,
                "what is created has no id yet: leave it out",
            )),
            (WriteKind::Update, Some(_)) | (WriteKind::Create, None) => {}
        }
        for (field, id) in [
            (RESOURCE_ID, &request.resource_id),
            (CONNECTION_ID, &request.connection_id),
        ] {
            if id.as_deref().is_some_and(|id| !is_id(id)) {
                problems.push(FieldProblem::new(field, ID));
            }
        }
        match write {
            Ok(write) if problems.is_empty() => Ok(Self {
                write,
                target: request.resource_id,
                connection: request.connection_id,
                payload: request.payload,
            }),
            Ok(_) => Err(Refusal::fields(problems)),
            Err(problem) => {
                problems.insert(0, problem);
                Err(Refusal::fields(problems))
            }
        }
    }

    /// What a repeated key must come with.
    pub(crate) fn digest(&self) -> String {
        operations::request_digest(
            self.write.resource,
            self.write.kind,
            self.target.as_deref(),
            self.connection.as_deref(),
            &self.payload,
        )
    }

    /// What two writes share that couldn't be told apart at Catena.
    pub(crate) fn guard_digest(&self, connection: &str) -> String {
        let (resource, kind) = (self.write.resource, self.write.kind);
        operations::guard_digest(connection, resource, kind, &self.payload)
    }

    /// What Catena is sent: every write names its connection (contract 5.3).
    pub(crate) fn body(&self, connection: &str) -> Map<String, Value> {
        let mut body = self.payload.clone();
        body.insert(CONNECTION_ID.to_owned(), connection.into());
        body
    }

    /// The connection to write by: one of the fleet's live ones.
    pub(crate) fn connection(&self, fleet: &FleetRef, record: &Record) -> Result<String, Refusal> {
        let connections = Connection::all(record);
        let live: Vec<&str> = connections
            .iter()
            .filter(|it| it.live)
            .map(|it| it.id.as_str())
            .collect();
        let given = self.connection.as_deref().map(|id| {
            let mut known = connections.iter();
            (id, known.find(|it| it.id.eq_ignore_ascii_case(id)))
        });
        let chosen = match (given, &live[..]) {
            (Some((_, Some(known))), _) if known.live => known.id.clone(),
            (Some((_, Some(known))), _) => {
                let state = known.state.as_deref().unwrap_or("not linked to the fleet");
                return Err(Refusal::field(
                    CONNECTION_ID,
                    format!(
                        "this connection is {state}, so nothing can be written by it; {}",
                        instead(&live)
                    ),
                ));
            }
            (_, []) => return Err(no_live_connection(fleet, &connections)),
            (Some((_, None)), _) => {
                return Err(Refusal::field(
                    CONNECTION_ID,
                    format!("no connection of the fleet; {}", instead(&live)),
                ));
            }
            (None, [only]) => (*only).to_owned(),
            (None, _) => {
                return Err(Refusal::field(
                    CONNECTION_ID,
                    format!("the fleet has several live connections; {}", instead(&live)),
                ));
            }
        };
        match self.payload.get(CONNECTION_ID) {
            Some(Value::String(id)) if id.eq_ignore_ascii_case(&chosen) => Ok(chosen),
            Some(Value::Null) | None => Ok(chosen),
            Some(_) => Err(Refusal::field(
                "payload.connection_id",
                format!("leave it out, or write the connection that it is written by: {chosen}"),
            )),
        }
    }

    /// Refuses what the fleet doesn't share for writing. Keys of scopes may be plurals (contract 7, 5).
    pub(crate) fn allowed_by(
        &self,
        fleet: &FleetRef,
        scopes: &BTreeMap<String, Level>,
    ) -> Result<(), Refusal> {
        let resource = self.write.resource;
        let plural = format!("{resource}s");
        let shared = [resource, &plural].map(|key| scopes.get(key));
        if shared.contains(&Some(&Level::ReadWrite)) {
            return Ok(());
        }
        let shares = match shared.into_iter().flatten().next() {
            Some(Level::Read) => "read",
            Some(Level::Unknown(other)) => other,
            Some(Level::ReadWrite) | None => "nothing of it",
        };
        Err(Refusal::new(
            Kind::ScopeMissing,
            format!(
                "This needs read_write on {resource}; fleet {fleet} shares {shares}. Nothing was sent. Ask the fleet for it: invite \
                 it with permissions that hold \"{resource}\": \"read_write\", and let it accept."
            ),
        ))
    }
}

/// Seconds until it makes sense to ask whether an equal write may go; `None` if it may now. `guard` says who took the last turn, `holder` is that
/// operation as it is.
pub(crate) fn wait_for(
    guard: &Guard,
    holder: Option<&Operation>,
    policy: &Policy,
    now: Timestamp,
) -> Option<u64> {
    let seconds = |until: Timestamp, least: i64| {
        let left = until.0.saturating_sub(now.0) / 1000 + 1;
        left.clamp(least, LONGEST_WAIT) as u64
    };
    // Who takes a turn writes its operation at once, or never: its function ends before.
    let turn_ends = guard.since.plus(TURN_MS);
    let taken = (now < turn_ends).then(|| seconds(turn_ends, 1));
    let Some(holder) = holder else {
        return taken;
    };
    match (holder.status(now), holder.settled_at()) {
        (status, _) if status.is_ambiguous() => {
            let due = holder.due(policy).unwrap_or(now);
            Some(seconds(due, SHORTEST_WAIT))
        }
        // It took the turn after it was refused: it is about to be sent again.
        (Status::Refused, Some(refused_at)) if refused_at < guard.since => taken,
        _ => None,
    }
}

fn no_live_connection(fleet: &FleetRef, connections: &[Connection]) -> Refusal {
    let states = connections.iter().map(|it| {
        let state = it.state.as_deref().unwrap_or("not linked");
        format!("{} is {state}", it.id)
    });
    let states = match connections {
        [] => "it has none".to_owned(),
        _ => states.collect::<Vec<_>>().join(", "),
    };
    Refusal::new(
        Kind::NoLiveConnection,
        format!(
            "Fleet {fleet} has no live connection to write by: {states}. Nothing was sent. Send the fleet its link, so that it connects, and \
             try again once its stage is connected."
        ),
    )
}

fn instead(live: &[&str]) -> String {
    match live {
        [] => "the fleet has no live one".to_owned(),
        live => format!("write one of its live ones: {}", live.join(", ")),
    }
}

/// Whether a text may be one of Catena's ids: UUIDs (contract 2), and what else a path can hold.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

const RESOURCE_ID: &str = "resource_id";
const CONNECTION_ID: &str = "connection_id";
const ID: &str = "write 1 to 100 letters (A-Z, a-z), digits, - and _";
/// Longer than a call of this function lasts.
const TURN_MS: i64 = 60 * 1000;
/// In seconds. A search needs its time.
const SHORTEST_WAIT: i64 = 5;
/// In seconds.
const LONGEST_WAIT: i64 = 600;

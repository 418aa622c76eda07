//! What the difference of two versions of a record means to the partner. Pure: the same two versions give the same events,
//! ids included, whenever it is asked.

use std::collections::{BTreeMap, BTreeSet};

use api::{Admission, Connection, Moment, Operation, Reason, Scopes, scopes};
use fleet::{Code, FleetRef, LinkFacts, Policy, RequestFacts, Stage, Standing, Timestamp};
use operations::Status;
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::{StoredOperation, StoredRecord};

/// The form of the events. Fields and events may be added to it; nothing in it changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// Something happened to a fleet, or to a write by its provider. As JSON it is an event's `detail`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainEvent {
    schema: u32,
    /// The same whenever the event is told again: 128 bits in hexadecimal digits.
    pub(crate) id: String,
    fleet_ref: String,
    /// Of the record, after the event: orders a fleet's events. Of a write operation its own, which orders that operation's.
    version: u64,
    occurred_at: Moment,
    #[serde(flatten)]
    told: Told,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Told {
    StageChanged {
        /// `None` for a fleet that wasn't known.
        from: Option<String>,
        to: String,
        reasons: Vec<Reason>,
    },
    AdmissionChanged {
        from: Admission,
        to: Admission,
        reasons: Vec<Reason>,
    },
    DataScopesChanged {
        from: Scopes,
        to: Scopes,
    },
    ReconnectReady {
        requests: Vec<Request>,
    },
    RequestConfirmed {
        request: Request,
    },
    ConnectionDegraded {
        connection: Connection,
    },
    ConnectionRecovered {
        connection: Connection,
    },
    OperationEnded {
        operation: Box<Operation>,
        #[serde(skip)]
        name: &'static str,
    },
}

/// A provider that the fleet asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Request {
    id: String,
    provider: String,
    created: Moment,
    /// The providers at Catena that it became.
    live_as: Vec<String>,
}

impl DomainEvent {
    fn new(fleet: &FleetRef, version: u64, at: Timestamp, told: Told) -> Self {
        let id = id(&[
            fleet.as_str(),
            &version.to_string(),
            // A table that is restored or begun anew counts its versions once more.
            &at.0.to_string(),
            told.name(),
            told.about(),
        ]);
        Self {
            schema: SCHEMA,
            id,
            fleet_ref: fleet.as_str().to_owned(),
            version,
            occurred_at: Moment(at),
            told,
        }
    }

    /// What kind of event it is: its `detail-type`.
    pub fn name(&self) -> &'static str {
        self.told.name()
    }

    /// When the version was written that shows it.
    pub fn at(&self) -> Timestamp {
        self.occurred_at.0
    }
}

impl Told {
    fn name(&self) -> &'static str {
        match self {
            Self::StageChanged { .. } => "fleet.stage_changed",
            Self::AdmissionChanged { .. } => "fleet.admission_changed",
            Self::DataScopesChanged { .. } => "fleet.data_scopes_changed",
            Self::ReconnectReady { .. } => "fleet.reconnect_ready",
            Self::RequestConfirmed { .. } => "integration_request.confirmed",
            Self::ConnectionDegraded { .. } => "connection.degraded",
            Self::ConnectionRecovered { .. } => "connection.recovered",
            Self::OperationEnded { name, .. } => name,
        }
    }

    /// The id of what it is about, if one version can tell several of its kind.
    fn about(&self) -> &str {
        match self {
            Self::RequestConfirmed { request } => &request.id,
            Self::ConnectionDegraded { connection } | Self::ConnectionRecovered { connection } => {
                &connection.id
            }
            Self::OperationEnded { operation, .. } => &operation.id,
            Self::StageChanged { .. }
            | Self::AdmissionChanged { .. }
            | Self::DataScopesChanged { .. }
            | Self::ReconnectReady { .. } => "",
        }
    }
}

/// The events between two versions of a record, of which the later one was written `at`.
///
/// Each version is judged at the moment that it was written, so the events of all versions add up: where one ends, the next
/// begins. What ends by time alone shows in the version that is written then. A version of which nobody knows when it was
/// written is judged a day before the later one, as the date that made it be written was.
pub fn difference(
    old: Option<&StoredRecord>,
    new: &StoredRecord,
    at: Timestamp,
    policy: &Policy,
) -> Vec<DomainEvent> {
    let before = old.map(|old| {
        let written_at = old.written_at.unwrap_or(at.plus(-DAY_MS));
        old.record.standing(policy, written_at)
    });
    let after = new.record.standing(policy, at);
    let mut told = standing_changes(before.as_ref(), &after, new);
    told.extend(request_changes(old, new));
    told.extend(connection_changes(old, new));
    let event = |told| DomainEvent::new(&new.fleet, new.version, at, told);
    told.into_iter().map(event).collect()
}

/// The event between two versions of a write operation, of which the later one was written `at`: none unless it came to an end, or to
/// another end than before.
pub(crate) fn end_of_operation(
    old: Option<&StoredOperation>,
    new: &StoredOperation,
    at: Timestamp,
) -> Option<DomainEvent> {
    let status = new.operation.status(at);
    let name = match status {
        Status::Success => "operation.succeeded",
        Status::Failed => "operation.failed",
        Status::Unknown => "operation.unknown",
        Status::Submitting | Status::Unclear | Status::Pending | Status::Refused => return None,
    };
    let before = old.map(|old| old.operation.status(old.written_at));
    (before != Some(status)).then(|| {
        let operation = Box::new(Operation::new(&new.operation, new.version, at));
        let told = Told::OperationEnded { operation, name };
        DomainEvent::new(&new.operation.asked.fleet, new.version, at, told)
    })
}

fn standing_changes(before: Option<&Standing>, after: &Standing, new: &StoredRecord) -> Vec<Told> {
    let mut told = Vec::new();
    let reasons = || {
        let weightiest = after.reasons.iter().take(MOST_REASONS);
        weightiest.map(Reason::from).collect()
    };
    let stage = before.map(|before| before.stage);
    if stage != Some(after.stage) {
        told.push(Told::StageChanged {
            from: stage.map(|stage| stage.as_str().to_owned()),
            to: after.stage.as_str().to_owned(),
            reasons: reasons(),
        });
    }
    let admission = before.map_or(fleet::Admission::None, |before| before.admission);
    if admission != after.admission {
        told.push(Told::AdmissionChanged {
            from: admission.into(),
            to: after.admission.into(),
            reasons: reasons(),
        });
    }
    let none = BTreeMap::new();
    let data_scopes = before.map_or(&none, |before| &before.data_scopes);
    if *data_scopes != after.data_scopes {
        told.push(Told::DataScopesChanged {
            from: scopes(data_scopes),
            to: scopes(&after.data_scopes),
        });
    }
    let live_before = before.map(live).unwrap_or_default();
    let live = live(after);
    let another = !live.is_subset(&live_before);
    if after.stage == Stage::ReconnectReady && (another || stage != Some(after.stage)) {
        let requests = live.into_iter().filter_map(|id| {
            let known = new.record.facts.requests.get(id)?;
            Some(Request::new(id, known))
        });
        told.push(Told::ReconnectReady {
            requests: requests.collect(),
        });
    }
    told
}

/// The requests whose provider is live.
fn live(standing: &Standing) -> BTreeSet<&String> {
    let live = standing.reasons.iter();
    let live = live.filter(|reason| reason.code == Code::ProviderLive);
    live.filter_map(|reason| reason.about.as_ref()).collect()
}

fn request_changes(old: Option<&StoredRecord>, new: &StoredRecord) -> Vec<Told> {
    let known_before = |id: &str| old.is_some_and(|old| old.record.facts.requests.contains_key(id));
    let requests = new.record.facts.requests.iter();
    let requests = requests.filter(|(id, _)| !known_before(id));
    let confirmed = requests.map(|(id, known)| Told::RequestConfirmed {
        request: Request::new(id, known),
    });
    confirmed.collect()
}

fn connection_changes(old: Option<&StoredRecord>, new: &StoredRecord) -> Vec<Told> {
    let linked = |link: &&LinkFacts| link.linked.is_some();
    let links = &new.record.facts.connections;
    let changed = Connection::all(&new.record).into_iter();
    let changed = changed.filter_map(|connection| {
        let before = old?.record.facts.connections.get(&connection.id);
        // What wasn't linked before didn't recover: it is new.
        let before = before.filter(linked)?;
        let after = links.get(&connection.id).filter(linked)?;
        match (before.is_live(), after.is_live()) {
            (true, false) => Some(Told::ConnectionDegraded { connection }),
            (false, true) => Some(Told::ConnectionRecovered { connection }),
            (true, true) | (false, false) => None,
        }
    });
    changed.collect()
}

impl Request {
    /// Without the invitation that led to it: its hash is nobody's business.
    fn new(id: &str, known: &RequestFacts) -> Self {
        let request = known.current.value();
        Self {
            id: id.to_owned(),
            provider: request.provider.clone(),
            created: Moment(request.created),
            live_as: request.live_as.iter().cloned().collect(),
        }
    }
}

/// 128 bits of SHA-256 over what tells an event from all others.
fn id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let bytes = hash.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Each connection may give a reason, and the bus limits what an event holds.
const MOST_REASONS: usize = 20;

#[cfg(test)]
mod tests;

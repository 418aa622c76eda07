//! Where fleets stand.

use std::collections::BTreeMap;

use fleet::{FleetRef, Level, Policy, Record, SCHEMA, Standing, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InvitationSummary, Moment};

/// Resource to `read` or `read_write`.
pub type Scopes = BTreeMap<String, String>;

/// Scopes as they are shown.
pub fn scopes(scopes: &BTreeMap<String, Level>) -> Scopes {
    let scope = |(resource, level): (&String, &Level)| (resource.clone(), name(level).to_owned());
    scopes.iter().map(scope).collect()
}

fn name(level: &Level) -> &str {
    match level {
        Level::ReadWrite => "read_write",
        Level::Read => "read",
        Level::Unknown(other) => other,
    }
}

/// A fleet's right to use the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Admission {
    /// `none`, `provisional`, `full`, `grace` or `blocked`.
    pub kind: String,
    /// The first moment without it, if it ends by time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

impl From<fleet::Admission> for Admission {
    fn from(admission: fleet::Admission) -> Self {
        Self {
            kind: admission.as_str().to_owned(),
            until: admission.until().map(Moment),
        }
    }
}

/// One of the reasons for where a fleet stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// A code that stays, such as `connection_live`.
    pub code: String,
    /// The id of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// In what words: a provider's name, a status, an operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// Until when by time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

impl From<&fleet::Reason> for Reason {
    fn from(reason: &fleet::Reason) -> Self {
        Self {
            code: reason.code.as_str().to_owned(),
            about: reason.about.clone(),
            detail: reason.detail.clone(),
            since: reason.since.map(Moment),
            until: reason.until.map(Moment),
        }
    }
}

/// When Kingpin looks at a fleet again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Due {
    /// When. In the past: something is waited for since then.
    pub at: Moment,
    /// Why: a code that stays, such as `invitation_ends`.
    pub why: String,
}

impl From<&fleet::Due> for Due {
    fn from(due: &fleet::Due) -> Self {
        Self {
            at: Moment(due.at),
            why: due.why.as_str().to_owned(),
        }
    }
}

/// May this fleet in, and what may be read of it?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// The fleet.
    pub fleet_ref: String,
    /// Where it stands: `invited`, `viewed`, `accepted`, `requested`, `reconnect_ready`, `connected`, `degraded`,
    /// `disconnected`, `declined` or `expired`.
    pub stage: String,
    /// Its right to use the platform.
    pub admission: Admission,
    /// The right to its data: resource to `read` or `read_write`. What isn't here may not be read.
    pub data_scopes: Scopes,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
    /// The moment that this is about.
    pub as_of: Moment,
    /// The first moment at which time alone may change it; null if time alone changes nothing. News may change it sooner.
    pub valid_until: Option<Moment>,
}

impl Access {
    /// What a record says at a moment.
    pub fn new(fleet: &FleetRef, record: &Record, policy: &Policy, now: Timestamp) -> Self {
        let standing = record.standing(policy, now);
        Self {
            fleet_ref: fleet.as_str().to_owned(),
            stage: standing.stage.as_str().to_owned(),
            admission: standing.admission.into(),
            data_scopes: scopes(&standing.data_scopes),
            reasons: standing.reasons.iter().map(Reason::from).collect(),
            as_of: Moment(now),
            valid_until: valid_until(&standing, now),
        }
    }
}

/// The first of the due times that lies ahead: nothing changes by time alone before it.
fn valid_until(standing: &Standing, now: Timestamp) -> Option<Moment> {
    let ahead = standing.due.iter().map(|due| due.at).filter(|at| *at > now);
    ahead.min().map(Moment)
}

/// The fleets whose access is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessBatchRequest {
    /// Their references, each once.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 256)), extend("uniqueItems" = true))]
    pub fleet_refs: Vec<String>,
}

/// The access of several fleets at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessBatch {
    /// The moment that this is about.
    pub as_of: Moment,
    /// The fleets that are known, in the order of their references.
    pub fleets: Vec<Access>,
    /// References that were never heard of.
    pub unknown: Vec<String>,
    /// Fleets whose record can't be read now: none may in until it can.
    pub unreadable: Vec<String>,
}

/// A fleet as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    /// The partner's own reference.
    pub fleet_ref: String,
    /// Its name, as it was given or as the fleet changed it.
    pub name: Option<String>,
    /// Catena's id of it, once it accepted.
    pub catena_fleet: Option<String>,
    /// Where it stands: see `Access`.
    pub stage: String,
    /// Its right to use the platform.
    pub admission: Admission,
    /// The right to its data: resource to `read` or `read_write`.
    pub data_scopes: Scopes,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
    /// When Kingpin looks at it again, the soonest first.
    pub due: Vec<Due>,
    /// Raised by one with each change of its record.
    pub version: u64,
    /// The form of its record.
    pub schema: u32,
    /// The moment that this is about.
    pub as_of: Moment,
}

impl Fleet {
    /// What a record in this version says at a moment; `due` is all that it is due for.
    pub fn new(
        fleet: &FleetRef,
        record: &Record,
        version: u64,
        standing: &Standing,
        due: &[fleet::Due],
        now: Timestamp,
    ) -> Self {
        let facts = &record.facts;
        Self {
            fleet_ref: fleet.as_str().to_owned(),
            name: facts.name.as_ref().map(|name| name.value().clone()),
            catena_fleet: facts.catena_fleet.as_ref().map(|id| id.value().clone()),
            stage: standing.stage.as_str().to_owned(),
            admission: standing.admission.into(),
            data_scopes: scopes(&standing.data_scopes),
            reasons: standing.reasons.iter().map(Reason::from).collect(),
            due: due.iter().map(Due::from).collect(),
            version,
            schema: SCHEMA,
            as_of: Moment(now),
        }
    }
}

/// A fleet with its invitation and its connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetDetail {
    /// The fleet.
    #[serde(flatten)]
    pub fleet: Fleet,
    /// Its newest invitation, if it has one.
    pub invitation: Option<InvitationSummary>,
    /// Its connections to providers, in the order of their ids.
    pub connections: Vec<Connection>,
}

/// A connection to a telematics provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Catena's id of it.
    pub id: String,
    /// The provider's source at Catena, such as `samsara`, if known.
    pub source: Option<String>,
    /// As Catena last told it: `active`, `paused`, `stale`, `failed`, `cancelled`, `deleted`; null if it never did.
    pub state: Option<String>,
    /// Whether the fleet's data can flow through it.
    pub live: bool,
    /// When the fleet was last said to be linked to it; null if it never was.
    pub linked_at: Option<Moment>,
}

impl Connection {
    /// What is known of a fleet's connections.
    pub fn all(record: &Record) -> Vec<Self> {
        let connections = record.facts.connections.iter();
        let connections = connections.map(|(id, link)| Self {
            id: id.clone(),
            source: link.connection.source.as_ref().map(|it| it.value().clone()),
            state: link.state().map(|it| it.value().as_str().to_owned()),
            live: link.is_live(),
            linked_at: link.linked.map(|at| Moment(at.time())),
        });
        connections.collect()
    }
}

/// A fleet as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetSummary {
    /// The partner's own reference.
    pub fleet_ref: String,
    /// Its name.
    pub name: Option<String>,
    /// Where it stands: see `Access`.
    pub stage: String,
    /// Its right to use the platform.
    pub admission: Admission,
}

impl FleetSummary {
    /// What a record says at a moment.
    pub fn new(fleet: &FleetRef, record: &Record, standing: &Standing) -> Self {
        let name = record.facts.name.as_ref();
        Self {
            fleet_ref: fleet.as_str().to_owned(),
            name: name.map(|name| name.value().clone()),
            stage: standing.stage.as_str().to_owned(),
            admission: standing.admission.into(),
        }
    }
}

/// Some of the fleets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetPage {
    /// The moment that this is about.
    pub as_of: Moment,
    /// The fleets, by the stage that they were last written in and then by reference; `stage` is the one of this moment, which time alone
    /// may have changed since. A page may be empty though another follows.
    pub fleets: Vec<FleetSummary>,
    /// To be given as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

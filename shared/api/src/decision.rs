//! Operators' decisions, and what led to a record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Moment;

/// An operator's decision about a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// Which way.
    pub kind: OverrideKind,
    /// Why, for whoever asks later.
    #[schemars(length(min = 1, max = 500), regex(pattern = r"\S"))]
    pub reason: String,
    /// The first moment without it. What lets a fleet in must end; what keeps it out may stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Moment>,
}

/// Which way an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OverrideKind {
    /// The fleet is kept out. Wins over everything.
    Block,
    /// The fleet is let in.
    Grant,
}

impl From<OverrideKind> for fleet::OverrideKind {
    fn from(kind: OverrideKind) -> Self {
        match kind {
            OverrideKind::Block => Self::Block,
            OverrideKind::Grant => Self::Grant,
        }
    }
}

impl From<fleet::OverrideKind> for OverrideKind {
    fn from(kind: fleet::OverrideKind) -> Self {
        match kind {
            fleet::OverrideKind::Block => Self::Block,
            fleet::OverrideKind::Grant => Self::Grant,
        }
    }
}

/// Some of what led to a fleet's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPage {
    /// The latest written first.
    pub entries: Vec<HistoryEntry>,
    /// To be given as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// News that one event or one answer of Catena's brought, an operator's decision, or dates that passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// When the newest of it happened.
    pub at: Moment,
    /// The event's name at Catena, or what else told it.
    pub event: String,
    /// The event's id at Catena.
    pub id: Option<String>,
    /// When it came.
    pub received: Moment,
    /// What it said that wasn't known.
    pub news: Vec<News>,
    /// What an operator decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// Dates that passed, so that something began or ended by time alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<Passed>,
}

/// A date that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passed {
    /// What began or ended: `invitation_ends`, `agreement_starts`, `agreement_ends`, `admission_ends` or `override_ends`.
    pub why: String,
    /// When.
    pub at: Moment,
}

impl From<&fleet::Due> for Passed {
    fn from(date: &fleet::Due) -> Self {
        Self {
            why: date.why.as_str().to_owned(),
            at: Moment(date.at),
        }
    }
}

/// What an operator decided about a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// Which way.
    pub kind: OverrideKind,
    /// The ARN of the operator's identity.
    pub by: String,
    /// Whether this lifts an earlier decision of that kind.
    pub lifted: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The first moment without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Moment>,
}

/// One thing that wasn't known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct News {
    /// When it was so.
    pub at: Moment,
    /// What was so: `kind`, and fields by kind. Of an invitation's hash there is no more than tells it from others.
    pub fact: Map<String, Value>,
}

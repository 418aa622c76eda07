//! Finding an operation again whose answer was lost.

use std::collections::BTreeMap;

use fleet::Timestamp;
use serde_json::{Map, Value};

use crate::{
    Kind, Operation,
    digest::{CONNECTION, is_added},
    operation::{Course, SEARCHED_MS},
};

/// One of the operations that Catena lists, as far as a search needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Catena's id.
    pub id: String,
    /// The connection.
    pub connection: Option<String>,
    /// What is written.
    pub resource: Option<String>,
    /// `create` or `update`.
    pub operation_type: Option<String>,
    /// When Catena made it.
    pub created_at: Option<Timestamp>,
    /// Catena's id of what is written.
    pub resource_id: Option<String>,
    /// What was asked for, with what Catena added.
    pub payload: Option<Map<String, Value>>,
}

/// What Catena's list is to be searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    connection: String,
    resource: String,
    kind: Kind,
    target: Option<String>,
    payload: Map<String, Value>,
    /// The list is asked for from here.
    pub from: Timestamp,
    /// And up to here.
    pub to: Timestamp,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that could be it.
    None,
    /// This one, and no other.
    One(String),
    /// Several that could be it, so none is.
    Several(usize),
}

impl Search {
    /// What to search for, if the operation is one that may have got through. `margin_ms` is how far Catena's clock may be from ours.
    pub fn of(operation: &Operation, margin_ms: i64) -> Option<Self> {
        let (since, until) = match operation.course {
            Course::Calling { since, until } | Course::Unclear { since, until, .. } => {
                (since, until)
            }
            Course::Accepted { .. } | Course::Refused(_) | Course::Lost { .. } => return None,
        };
        Some(Self {
            connection: operation.asked.connection.clone(),
            resource: operation.asked.resource.clone(),
            kind: operation.asked.kind,
            target: operation.asked.target.clone(),
            payload: operation.payload.clone()?,
            from: since.plus(-margin_ms),
            // A request may have been held up on its way.
            to: until.plus(SEARCHED_MS + margin_ms),
        })
    }

    /// The connection to list operations of.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// The resource to list operations of.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Which of those that Catena lists is the one, given whose each of them is already. Others of ours that could be taken for it
    /// don't exist: an equal payload waits while this one is unclear ([`crate::guard_digest`]), and those before it are claimed.
    pub fn find<'c>(
        &self,
        listed: impl IntoIterator<Item = &'c Candidate>,
        claimed: &BTreeMap<String, String>,
        operation_id: &str,
    ) -> Found {
        let free = |id: &String| claimed.get(id).is_none_or(|owner| owner == operation_id);
        let fitting = listed.into_iter().filter(|it| self.fits(it));
        let mut fitting: Vec<&String> = fitting.map(|it| &it.id).collect();
        fitting.sort();
        fitting.dedup();
        // Claimed by this very operation, before its program ended.
        if let Some(own) = fitting
            .iter()
            .find(|id| claimed.get(**id).is_some_and(|it| it == operation_id))
        {
            return Found::One((*own).clone());
        }
        fitting.retain(|id| free(id));
        match fitting[..] {
            [] => Found::None,
            [one] => Found::One(one.clone()),
            _ => Found::Several(fitting.len()),
        }
    }

    /// The ids of those that could be it, whoever they belong to.
    pub fn possible<'c>(&self, listed: impl IntoIterator<Item = &'c Candidate>) -> Vec<String> {
        let fitting = listed.into_iter().filter(|it| self.fits(it));
        fitting.map(|it| it.id.clone()).collect()
    }

    fn fits(&self, candidate: &Candidate) -> bool {
        let in_time = candidate
            .created_at
            .is_some_and(|at| self.from <= at && at <= self.to);
        let same = |value: &Option<String>, wanted: &str| {
            value
                .as_deref()
                .is_some_and(|it| it.eq_ignore_ascii_case(wanted))
        };
        let target = match (&self.target, &candidate.resource_id) {
            (Some(wanted), Some(it)) => it.eq_ignore_ascii_case(wanted),
            (_, None) | (None, _) => true,
        };
        in_time
            && target
            && same(&candidate.connection, &self.connection)
            && candidate.resource.as_deref() == Some(&self.resource)
            && candidate.operation_type.as_deref() == Some(self.kind.as_str())
            && candidate
                .payload
                .as_ref()
                .is_some_and(|it| self.is_payload(it))
    }

    /// Whether a payload at Catena is this one: all that was sent is there, and nothing else but what Catena resolves.
    fn is_payload(&self, payload: &Map<String, Value>) -> bool {
        let is_left_to_catena =
            |name: &str, value: &Value| name == CONNECTION || (is_added(name) && value.is_null());
        let sent = self.payload.iter();
        let mut sent = sent.filter(|(name, value)| !is_left_to_catena(name, value));
        let all_there = sent.all(|(name, value)| {
            let there = payload.get(name).unwrap_or(&Value::Null);
            equal(value, there)
        });
        let nothing_else = payload.iter().all(|(name, value)| {
            value.is_null()
                || is_added(name)
                || name == CONNECTION
                || self.payload.contains_key(name)
        });
        all_there && nothing_else
    }
}

/// Whether two values mean the same: ids in capitals and numbers with a point do.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => {
            one == other || (is_uuid(one) && one.eq_ignore_ascii_case(other))
        }
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys());
            let part =
                |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
            names
                .into_iter()
                .all(|name| equal(&part(one, name), &part(other, name)))
        }
        (one, other) => one == other,
    }
}

fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    let right = |(place, byte): (usize, u8)| match hyphens.contains(&place) {
        true => byte == b'-',
        false => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(right)
}

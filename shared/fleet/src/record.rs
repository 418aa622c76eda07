//! A fleet's record: what was observed, and what was decided.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{At, Confirmation, Facts, Observation, Policy, Register, Timestamp, policy::days};

/// The form of the record that this version writes. A record of a later form is never rewritten by this one.
pub const SCHEMA: u32 = 1;

/// All that is kept about a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was observed.
    pub facts: Facts,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Decisions::is_empty")]
    pub decisions: Decisions,
}

/// What was decided about a fleet, by policy or by hand. Observations don't change it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// Provisional access, by the integration request that it was granted for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<String, Grant>,
    /// An operator's block; `None` inside if it was lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Register<Option<Override>>>,
    /// An operator's grant; `None` inside if it was lifted, which wins over one of the same moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Register<Reverse<Option<Override>>>>,
}

/// Provisional access, frozen when it was granted: no later news and no other policy moves its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When the fleet asked.
    pub starts: Timestamp,
    /// The first moment without it.
    pub ends: Timestamp,
}

/// What an operator decided about one fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Override {
    author: String,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
}

/// Which way an operator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// The fleet is kept out. Wins over everything.
    Block,
    /// The fleet is let in.
    Grant,
}

/// Why an override isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidOverride {
    /// It has no author.
    NoAuthor,
    /// It has no reason, or one of more than [`Override::LONGEST_REASON`] bytes.
    NoReason,
    /// It lets a fleet in for ever.
    NoEnd,
}

impl std::fmt::Display for InvalidOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoAuthor => "an override needs an author",
            Self::NoReason => "an override needs a reason of at most 500 bytes",
            Self::NoEnd => "an override that lets a fleet in needs an end",
        })
    }
}

impl std::error::Error for InvalidOverride {}

impl Override {
    /// The longest reason, in bytes.
    pub const LONGEST_REASON: usize = 500;

    /// An override by `author`. What lets a fleet in must end; what keeps it out may stay.
    pub fn new(
        kind: OverrideKind,
        author: &str,
        reason: &str,
        ends: Option<Timestamp>,
    ) -> Result<Self, InvalidOverride> {
        let (author, reason) = (author.trim(), reason.trim());
        if author.is_empty() {
            return Err(InvalidOverride::NoAuthor);
        }
        if reason.is_empty() || reason.len() > Self::LONGEST_REASON {
            return Err(InvalidOverride::NoReason);
        }
        if kind == OverrideKind::Grant && ends.is_none() {
            return Err(InvalidOverride::NoEnd);
        }
        let (author, reason) = (author.to_owned(), reason.to_owned());
        Ok(Self {
            author,
            reason,
            ends,
        })
    }

    /// Who decided.
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The first moment without it.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

impl Record {
    /// Takes an observation in. A join over the facts: order and repeats don't matter.
    #[must_use]
    pub fn fold(self, observation: &Observation) -> Self {
        let facts = self.facts.fold(observation);
        Self { facts, ..self }
    }

    /// Takes an operator's decision in; `None` lifts what was decided before. A join, too.
    pub fn decide(&mut self, at: At, kind: OverrideKind, decided: Option<Override>) {
        let decisions = &mut self.decisions;
        match kind {
            OverrideKind::Block => Register::observe(&mut decisions.block, at, decided),
            OverrideKind::Grant => Register::observe(&mut decisions.pass, at, Reverse(decided)),
        }
    }

    /// Grants what the policy says and the facts support, once per request, and tells whether anything was. What is granted
    /// stays as it is: its end counts from the request and is frozen now.
    pub fn settle(&mut self, policy: &Policy) -> bool {
        let mut wanted = self.grantable(policy);
        wanted.retain(|(_, id)| !self.decisions.grants.contains_key(id));
        wanted.sort();
        let mut any = false;
        for (starts, id) in wanted {
            let grants = self.decisions.grants.values();
            let used: i64 = grants.map(|it| it.ends.0.saturating_sub(it.starts.0)).sum();
            let left = days(policy.provisional_days_in_all).saturating_sub(used);
            let lasts = days(policy.provisional_days).min(left);
            if lasts > 0 {
                let ends = starts.plus(lasts);
                self.decisions.grants.insert(id, Grant { starts, ends });
                any = true;
            }
        }
        any
    }

    /// What provisional access could be granted for: since when, and under which id.
    fn grantable(&self, policy: &Policy) -> Vec<(Timestamp, String)> {
        if policy.confirmation == Confirmation::Off {
            return Vec::new();
        }
        let invitations = &self.facts.invitations;
        let requests = self.facts.requests.iter().filter(|(_, known)| {
            match &known.current.value().invitation {
                Some(hash) => invitations.get(hash).is_some_and(|it| it.accepted()),
                None => invitations.values().any(|it| it.accepted()),
            }
        });
        let requests = requests.map(|(id, known)| (known.current.value().created, id.clone()));
        let refused = self.facts.requests_refused.as_ref().map(Register::value);
        let by_link = policy.confirmation == Confirmation::Link && refused == Some(&true);
        let claims = invitations
            .iter()
            .filter(|(_, known)| by_link && known.accepted());
        let claims = claims.filter_map(|(hash, known)| {
            Some((known.claimed_request?.time(), format!("claim:{hash}")))
        });
        requests.chain(claims).collect()
    }
}

impl Decisions {
    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The block that holds.
    pub(crate) fn block(&self, now: Timestamp) -> Option<&Override> {
        let block = self.block.as_ref()?.value().as_ref();
        block.filter(|block| block.holds(now))
    }

    /// The operator's grant that holds.
    pub(crate) fn pass(&self, now: Timestamp) -> Option<&Override> {
        let pass = self.pass.as_ref()?.value().0.as_ref();
        pass.filter(|pass| pass.holds(now))
    }
}

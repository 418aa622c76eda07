//! A fleet's record: what was observed, and what was decided.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

use serde::{Deserialize, Serialize};

use crate::{At, Confirmation, Due, Facts, Observation, Policy, Register, Timestamp};

/// The form of the record that this version writes. A record of a later form is never rewritten by this one.
pub const SCHEMA: u32 = 2;

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
    /// Since when no connection works that could be mended. Frozen while that lasts, so that no second announcement of the
    /// same trouble makes the time to mend it longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_since: Option<Timestamp>,
}

/// Provisional access, frozen when it was granted: no later news and no other policy moves its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When the fleet asked.
    pub starts: Timestamp,
    /// The first moment without it.
    pub ends: Timestamp,
}

/// What an operator decided about one fleet. Ordered by how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Ord for Override {
    /// So that of two blocks of one moment the longer one stays, and of two grants the shorter one.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |it: &Self| it.ends.map_or(i64::MAX, |ends| ends.0);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.author.cmp(&other.author))
            .then_with(|| self.reason.cmp(&other.reason))
            .then_with(|| self.ends.cmp(&other.ends))
    }
}

impl PartialOrd for Override {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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

    /// Decides what the policy says and the facts support, and tells whether anything was. A grant is made once per request,
    /// and stays as it is: its end counts from the request and is frozen now. What would be over by now isn't granted.
    pub fn settle(&mut self, policy: &Policy, now: Timestamp) -> bool {
        let broken_since = self.broken_since();
        let mut any = broken_since != self.decisions.broken_since;
        self.decisions.broken_since = broken_since;
        let mut wanted = self.grantable(policy);
        wanted.sort();
        for (starts, id) in wanted {
            let grants = &self.decisions.grants;
            let used: i64 = grants
                .values()
                .map(|it| it.ends.0.saturating_sub(it.starts.0))
                .sum();
            let left = policy.provisional_days_in_all.millis().saturating_sub(used);
            let ends = starts.plus(policy.provisional_days.millis().min(left));
            if starts < ends && now < ends && !grants.contains_key(&id) {
                self.decisions.grants.insert(id, Grant { starts, ends });
                any = true;
            }
        }
        any
    }

    /// The dates that passed after `since`, until `now`: what changed by time alone, the soonest first.
    pub fn passed(&self, policy: &Policy, since: Timestamp, now: Timestamp) -> Vec<Due> {
        let mut passed: Vec<Due> = Vec::new();
        let mut from = since;
        while from < now && passed.len() < MOST_DATES {
            let due = self.standing(policy, from).due.into_iter();
            let dates = due.filter(|due| due.why.is_date() && from < due.at);
            let dates: Vec<Due> = dates.collect();
            let Some(next) = dates.iter().map(|due| due.at).min().filter(|at| *at <= now) else {
                break;
            };
            passed.extend(dates.into_iter().filter(|due| due.at == next));
            from = next;
        }
        passed
    }

    /// What provisional access could be granted for: since when, and under which id.
    fn grantable(&self, policy: &Policy) -> Vec<(Timestamp, String)> {
        if policy.confirmation == Confirmation::Off {
            return Vec::new();
        }
        let invitations = &self.facts.invitations;
        let requests = self.facts.requests.iter().filter(|(_, known)| {
            match &known.current.value().invitation {
                // What the browser's return opened already is the same request.
                Some(hash) if self.decisions.grants.contains_key(&claim(hash)) => false,
                Some(hash) => invitations.get(hash).is_some_and(|it| it.accepted()),
                None => invitations.values().any(|it| it.accepted()),
            }
        });
        let requests = requests.map(|(id, known)| (known.current.value().created, id.clone()));
        let refused = self.facts.requests_refused.as_ref().map(Register::value);
        let by_link = policy.confirmation == Confirmation::Link && refused == Some(&Reverse(true));
        let claims = invitations.iter().filter(|(hash, known)| {
            let mut requests = self.facts.requests.values();
            let confirmed =
                requests.any(|request| request.current.value().invitation.as_ref() == Some(hash));
            by_link && known.accepted() && !confirmed
        });
        let claims =
            claims.filter_map(|(hash, known)| Some((known.claimed_request?.time(), claim(hash))));
        requests.chain(claims).collect()
    }

    /// Since when all linked connections are broken, and one of them at least can be mended.
    fn broken_since(&self) -> Option<Timestamp> {
        let links = self.facts.connections.values();
        let linked: Vec<_> = links.filter(|link| link.linked.is_some()).collect();
        let broken = linked.iter().filter(|link| !link.is_over());
        let broken = broken.filter_map(|link| link.state());
        let newest = broken.map(|state| state.at().time()).max()?;
        if linked.iter().any(|link| link.is_live()) {
            return None;
        }
        // It lasts unless something was linked in between.
        let last_linked = linked.iter().filter_map(|link| link.linked).max();
        let lasts = |since: &Timestamp| last_linked.is_none_or(|at| at.time() <= *since);
        let since = self.decisions.broken_since.filter(lasts);
        Some(since.map_or(newest, |since| since.min(newest)))
    }
}

/// More dates than any record has: a bound for one that is damaged.
const MOST_DATES: usize = 1000;

/// The id of a grant that rests on how the fleet's browser came back.
pub(crate) fn claim(invitation: &str) -> String {
    format!("claim:{invitation}")
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
        // One without an end was made to keep a fleet out.
        pass.filter(|pass| pass.ends.is_some() && pass.holds(now))
    }
}

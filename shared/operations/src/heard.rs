//! What Catena said of an operation, by webhooks and by answers.

use std::collections::BTreeMap;

use fleet::Timestamp;
use serde::{Deserialize, Serialize};

/// What Catena said of an operation once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// The operation's `updated_at`, or else when that was so; 0 if nothing tells. It only orders what contradicts.
    pub at: Timestamp,
    /// How it stood.
    pub word: Word,
    /// Catena's id of what was written; only after success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The provider's id of it; only after success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// What the provider was asked, and answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

/// Catena's word for how an operation stands (contract 5.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Not over.
    Pending,
    /// Over, and done.
    Success,
    /// Over, and not done.
    Failed,
    /// One that this version doesn't know: it proves no end.
    Other(String),
}

/// One attempt of Catena's at the provider: an entry of the operation's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// `success` or `failed`; another word if Catena says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `auth`, `validation`, `network`, `tsp`; another word if Catena says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// The provider's words, cut, without what could be an id, a token or a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i64>,
    /// What the provider calls the request, for its support: rate limits and request ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Success,
    /// Not done.
    Failed,
}

/// All that Catena said: the newest of each kind. A join: commutative, associative, idempotent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Not over, or in a word that isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Said>,
    /// Done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Said>,
    /// Not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Said>,
}

impl Heard {
    /// The same with something more.
    #[must_use]
    pub fn fold(mut self, said: Said) -> Self {
        let register = match said.word {
            Word::Pending | Word::Other(_) => &mut self.pending,
            Word::Success => &mut self.success,
            Word::Failed => &mut self.failed,
        };
        // By time, and among those of one time by what they say.
        let newest = register.take().max(Some(said));
        *register = newest;
        self
    }

    /// What both say.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let said = [other.pending, other.success, other.failed];
        said.into_iter().flatten().fold(self, Self::fold)
    }

    /// What counts: an end rather than none, and of two ends the newer one; of one time the failure.
    pub fn newest(&self) -> Option<&Said> {
        match (&self.success, &self.failed) {
            (Some(success), Some(failed)) if success.at > failed.at => Some(success),
            (_, Some(failed)) => Some(failed),
            (Some(success), None) => Some(success),
            (None, None) => self.pending.as_ref(),
        }
    }

    /// How it ended, as far as that was said.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.newest()?.word {
            Word::Success => Some(Outcome::Success),
            Word::Failed => Some(Outcome::Failed),
            Word::Pending | Word::Other(_) => None,
        }
    }

    /// Whether Catena told two different ends.
    pub fn is_contradictory(&self) -> bool {
        self.success.is_some() && self.failed.is_some()
    }

    /// The kind of error that it failed for (`auth`, `validation`, `network`, `tsp`; open): that of the last attempt that names
    /// one.
    pub fn error_type(&self) -> Option<&str> {
        let said = self.newest().filter(|said| said.word == Word::Failed)?;
        said.error()
            .and_then(|attempt| attempt.error_type.as_deref())
    }
}

impl Said {
    /// The last attempt that failed.
    pub fn error(&self) -> Option<&Attempt> {
        let failed = self.attempts.iter().filter(|it| it.error_type.is_some());
        failed.max_by_key(|it| it.at)
    }
}

//! Registers: the newest value of one fact.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This much later; the end of time if that is beyond it.
    #[must_use]
    pub const fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// When a fact was observed: a time, and the index within one delivery for what happened in the same millisecond.
/// Taken from the observed thing itself, never from when it arrived. Written as the time alone, or `[time, index]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct At(pub Timestamp, pub u32);

/// An [`At`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    First(Timestamp),
    Later(Timestamp, u32),
}

impl From<Written> for At {
    fn from(written: Written) -> Self {
        match written {
            Written::First(time) => Self(time, 0),
            Written::Later(time, index) => Self(time, index),
        }
    }
}

impl From<At> for Written {
    fn from(At(time, index): At) -> Self {
        match index {
            0 => Self::First(time),
            index => Self::Later(time, index),
        }
    }
}

impl At {
    /// The time.
    pub const fn time(self) -> Timestamp {
        self.0
    }
}

/// The newest value of one fact. Of two values at the same moment the greater one stays, so a type's order must put the
/// more restrictive value last. Written as `[at, value]`: a record is mostly registers, and each of its bytes is paid for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Register<T>(At, T);

impl<T: Ord> Register<T> {
    /// A value and its moment.
    pub fn new(at: At, value: T) -> Self {
        Self(at, value)
    }

    /// The newest value.
    pub fn value(&self) -> &T {
        &self.1
    }

    /// The newest value's moment.
    pub fn at(&self) -> At {
        self.0
    }

    /// Takes the value in if it is newer.
    pub(crate) fn observe(slot: &mut Option<Self>, at: At, value: T) {
        let observed = Some(Self::new(at, value));
        if observed > *slot {
            *slot = observed;
        }
    }
}

/// The latest of some moments.
pub(crate) fn latest(slot: &mut Option<At>, at: At) {
    *slot = (*slot).max(Some(at));
}

/// The earliest of some moments.
pub(crate) fn earliest(slot: &mut Option<At>, at: At) {
    *slot = Some(slot.map_or(at, |before| before.min(at)));
}

//! What can go wrong with one delivery, on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Faults of one delivery; none by default. In JSON, durations are seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Sent a second time, with the same envelope id and data (contract 6.5).
    pub repeat: bool,
    /// Held back this long before the first attempt.
    #[serde(with = "seconds")]
    pub delay: Duration,
    /// One bit of the body flips after signing, on the first attempt only: what a line damages
    /// once, a retry heals.
    pub corrupt: bool,
    /// The signed header timestamp of every attempt lies this far in the past: correctly signed,
    /// but old. Whether Catena does so when it replays is unknown (contract 6.3).
    #[serde(with = "seconds")]
    pub late: Duration,
    /// The signed header timestamp of every attempt lies this far ahead: correctly signed, by a
    /// clock that is fast.
    #[serde(with = "seconds")]
    pub early: Duration,
    /// Signed with a foreign key: not Catena's work, so sent once, never retried, and no dead
    /// letter.
    pub forged: bool,
}

/// A `Duration` as a number of seconds.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|error| D::Error::custom(format!("{seconds} seconds: {error}")))
    }
}

//! Times as Catena writes them.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::{
    Date, OffsetDateTime, PrimitiveDateTime,
    format_description::well_known::{Iso8601, Rfc3339},
};
use uuid::Uuid;

/// An instant, to the millisecond (the resolution that anything here is ordered by).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instant(i64);

impl Instant {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The time inside an id, if that is a plausible UUIDv7: one of this century's first half.
    pub fn of_id(id: &str) -> Option<Self> {
        const YEAR_2020: u64 = 1_577_836_800_000;
        const YEAR_2050: u64 = 2_524_608_000_000;
        let id: Uuid = id.parse().ok()?;
        let (seconds, nanos) = (id.get_version_num() == 7)
            .then(|| id.get_timestamp())??
            .to_unix();
        let millis = seconds * 1000 + u64::from(nanos / 1_000_000);
        let plausible = (YEAR_2020..YEAR_2050).contains(&millis);
        plausible.then_some(Self(millis as i64))
    }

    /// Reads RFC 3339 with any fraction and offset (contract 2).
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(Self::from)
    }

    /// Reads what bodies may hold: RFC 3339, and leniently a time without offset or a date alone, both as UTC.
    pub fn parse_lenient(text: &str) -> Option<Self> {
        Self::parse_rfc3339(text)
            .or_else(|| {
                let naive = PrimitiveDateTime::parse(text, &Iso8601::PARSING).ok()?;
                Some(naive.assume_utc().into())
            })
            .or_else(|| {
                let date = Date::parse(text, &Iso8601::DATE).ok()?;
                Some(date.midnight().assume_utc().into())
            })
    }
}

/// As it is written; a date alone is read as well.
#[cfg(feature = "schema")]
impl schemars::JsonSchema for Instant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl From<OffsetDateTime> for Instant {
    fn from(time: OffsetDateTime) -> Self {
        // Years end at 9999, so milliseconds fit.
        Self((time.unix_timestamp_nanos() / 1_000_000) as i64)
    }
}

impl TryFrom<String> for Instant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse_lenient(&text).ok_or_else(|| "not an RFC 3339 time".to_owned())
    }
}

impl From<Instant> for String {
    fn from(instant: Instant) -> Self {
        instant.to_string()
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<i64> {
        Instant::parse_lenient(text).map(Instant::millis)
    }

    #[test]
    fn every_spelling_of_an_instant_reads_alike() {
        let expected = millis("2026-05-04T08:06:12Z");
        assert!(expected.is_some());
        for spelling in [
            "2026-05-04T08:06:12+00:00",
            "2026-05-04T10:06:12+02:00",
            "2026-05-04T08:06:12.000000Z",
            "2026-05-04T08:06:12.000000000Z",
            "2026-05-04T08:06:12",
            "2026-05-04T08:06:12.000000",
        ] {
            assert_eq!(millis(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn a_date_alone_is_its_midnight() {
        assert_eq!(millis("2026-05-04"), millis("2026-05-04T00:00:00Z"));
    }

    #[test]
    fn epoch_seconds_are_no_time() {
        assert_eq!(millis("1777881972"), None);
        assert_eq!(Instant::parse_rfc3339("2026-05-04T08:06:12"), None);
    }

    #[test]
    fn text_and_back() {
        let instant = Instant::parse_rfc3339("2026-05-04T08:06:12.123456Z").unwrap();
        assert_eq!(instant.to_string(), "2026-05-04T08:06:12.123Z");
        assert_eq!(Instant::parse_rfc3339(&instant.to_string()), Some(instant));
    }
}

//! Times in JSON.

use std::borrow::Cow;

use fleet::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment, to the millisecond. Written as RFC 3339 in UTC, or as milliseconds since 1970 if the calendar ends before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(time: OffsetDateTime) -> Self {
        // Years end at 9999, so milliseconds fit.
        Self(Timestamp((time.unix_timestamp_nanos() / 1_000_000) as i64))
    }
}

impl Moment {
    /// Reads RFC 3339 with any fraction and offset.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(Self::from)
    }

    fn text(self) -> Option<String> {
        let nanos = i128::from(self.0.0) * 1_000_000;
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        time.format(&Rfc3339).ok()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text() {
            Some(text) => serializer.serialize_str(&text),
            None => serializer.serialize_i64(self.0.0),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let unreadable =
            || D::Error::custom("not a time: write one like 2026-05-04T08:00:00Z (RFC 3339)");
        Self::parse(&text).ok_or_else(unreadable)
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_any_offset_and_written_in_utc() {
        let moment = Moment::parse("2026-05-04T10:00:00.2501+02:00").unwrap();
        assert_eq!(
            serde_json::to_value(moment).unwrap(),
            "2026-05-04T08:00:00.25Z"
        );
        assert_eq!(Moment::parse("2026-05-04"), None);
        let far = Moment(Timestamp(i64::MAX));
        assert_eq!(serde_json::to_value(far).unwrap(), i64::MAX);
    }
}

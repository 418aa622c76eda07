//! Times as an operator writes and reads them. All of them are UTC.

use fleet::Timestamp;
use serde_json::{Value, json};
use time::{
    Date, OffsetDateTime, Time, format_description::well_known::Rfc3339, macros::format_description,
};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) i64);

/// A time as given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A time.
    At(Timestamp),
    /// So much later than now; earlier if it is negative.
    Later(Span),
}

impl Moment {
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Later(Span(millis)) => now.plus(millis),
        }
    }
}

/// Reads `90m`, `24h`, `7d` or `2w`.
pub(crate) fn parse_span(text: &str) -> Result<Span, String> {
    let unreadable = || format!("`{text}` is no length of time: write 90m, 24h, 7d or 2w");
    let split = text.len().saturating_sub(1);
    let (count, unit) = text.split_at_checked(split).ok_or_else(unreadable)?;
    let unit = match unit {
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(unreadable()),
    };
    let count: u32 = count.parse().map_err(|_| unreadable())?;
    Ok(Span(i64::from(count).saturating_mul(unit)))
}

/// Reads `2026-05-04T08:00:00Z`, `2026-05-04` (its first moment), `-3d` or `+7d`.
pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Some(span) = text.strip_prefix('+') {
        return parse_span(span).map(Moment::Later);
    }
    if let Some(span) = text.strip_prefix('-') {
        return parse_span(span).map(|Span(millis)| Moment::Later(Span(-millis)));
    }
    if let Ok(date) = parse_day(text) {
        let midnight = date.with_time(Time::MIDNIGHT).assume_utc();
        return Ok(Moment::At(timestamp(midnight)));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339);
    time.map(|time| Moment::At(timestamp(time))).map_err(|_| {
        format!("`{text}` is no time: write 2026-05-04T08:00:00Z, 2026-05-04, -3d or +7d")
    })
}

/// Reads `2026-05-04`.
pub(crate) fn parse_day(text: &str) -> Result<Date, String> {
    Date::parse(text, format_description!("[year]-[month]-[day]"))
        .map_err(|_| format!("`{text}` is no day: write 2026-05-04"))
}

pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    api::Moment::from(time).0
}

/// `2026-05-04 08:00:00`.
pub(crate) fn clock(at: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let text = calendar(at).and_then(|time| time.format(format).ok());
    text.unwrap_or_else(|| format!("{} ms after 1970", at.0))
}

/// `2026-05-04 08:00:00 (2 days ago)`.
pub(crate) fn clock_and_distance(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", clock(at), distance(at, now))
}

/// As JSON has it.
pub(crate) fn rfc3339(at: Timestamp) -> Value {
    json!(api::Moment(at))
}

/// `2 days ago`, `in 3 hours`, `now`.
pub(crate) fn distance(at: Timestamp, now: Timestamp) -> String {
    let millis = at.0.saturating_sub(now.0);
    if millis.abs() < SECOND {
        "now".to_owned()
    } else if millis < 0 {
        format!("{} ago", span(Span(-millis)))
    } else {
        format!("in {}", span(Span(millis)))
    }
}

/// In the largest unit that there are two of.
pub(crate) fn span(Span(millis): Span) -> String {
    let (count, unit) = if millis >= 2 * DAY {
        (millis / DAY, "day")
    } else if millis >= 2 * HOUR {
        (millis / HOUR, "hour")
    } else if millis >= 2 * MINUTE {
        (millis / MINUTE, "minute")
    } else {
        (millis / SECOND, "second")
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn calendar(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-04T08:00:00Z.
    const AT: Timestamp = Timestamp(1_777_881_600_000);

    #[test]
    fn times_are_read_in_each_form() {
        for (text, expected) in [
            ("2026-05-04T08:00:00Z", AT.0),
            ("2026-05-04T10:00:00.250+02:00", AT.0 + 250),
            ("2026-05-04", AT.0 - 8 * HOUR),
            ("-3d", AT.0 - 3 * DAY),
            ("+2w", AT.0 + 14 * DAY),
        ] {
            let moment = parse_moment(text).map(|moment| moment.from(AT));
            assert_eq!(moment, Ok(Timestamp(expected)), "{text}");
        }
        for bad in [
            "",
            "-",
            "+d",
            "3d",
            "-3",
            "-3é",
            "--3d",
            "2026-05-34",
            "yesterday",
        ] {
            assert!(parse_moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_written_for_people_and_for_programs() {
        assert_eq!(clock(AT), "2026-05-04 08:00:00");
        assert_eq!(rfc3339(AT), json!("2026-05-04T08:00:00Z"));
        assert_eq!(
            clock(Timestamp(i64::MAX)),
            "9223372036854775807 ms after 1970"
        );
        assert_eq!(rfc3339(Timestamp(i64::MAX)), json!(i64::MAX));
    }

    #[test]
    fn distances_are_in_the_largest_unit_that_there_are_two_of() {
        for (millis, expected) in [
            (0, "now"),
            (1_000, "in 1 second"),
            (-119_000, "119 seconds ago"),
            (120_000, "in 2 minutes"),
            (-47 * HOUR, "47 hours ago"),
            (48 * HOUR, "in 2 days"),
        ] {
            assert_eq!(distance(AT.plus(millis), AT), expected);
        }
    }
}

//! Times as people read them: to the minute, in UTC, with the zone named.

use fleet::Timestamp;
use time::{OffsetDateTime, UtcDateTime, macros::format_description};

use crate::Lang;

/// A moment to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minute(UtcDateTime);

impl Minute {
    /// The minute that a moment is in: what ends then has ended by no later.
    pub(crate) fn of(at: Timestamp) -> Self {
        let minutes = at.0.div_euclid(MINUTE).clamp(0, LAST);
        let time = OffsetDateTime::from_unix_timestamp(minutes * 60);
        Self(time.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_utc())
    }

    /// The first full minute that isn't before a moment: what begins then has begun.
    pub(crate) fn from(at: Timestamp) -> Self {
        Self::of(at.plus(MINUTE - 1))
    }

    /// For `<time datetime="…">`.
    pub(crate) fn machine(self) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]Z");
        self.0.format(form).unwrap_or_default()
    }

    /// As it is written in a language.
    pub(crate) fn written(self, lang: Lang) -> String {
        let (day, year) = (self.0.day(), self.0.year());
        let month = months(lang)[usize::from(u8::from(self.0.month())) - 1];
        let clock = format!("{:02}:{:02}\u{a0}UTC", self.0.hour(), self.0.minute());
        match lang {
            Lang::En => format!("{day} {month} {year}, {clock}"),
            Lang::Es => format!("{day} de {month} de {year}, {clock}"),
            Lang::Fr if day == 1 => format!("1er {month} {year} à {clock}"),
            Lang::Fr => format!("{day} {month} {year} à {clock}"),
        }
    }
}

const fn months(lang: Lang) -> [&'static str; 12] {
    match lang {
        Lang::En => [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ],
        Lang::Es => [
            "enero",
            "febrero",
            "marzo",
            "abril",
            "mayo",
            "junio",
            "julio",
            "agosto",
            "septiembre",
            "octubre",
            "noviembre",
            "diciembre",
        ],
        Lang::Fr => [
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
    }
}

/// In milliseconds.
const MINUTE: i64 = 60_000;

/// The last minute of the year 9999, from 1970.
const LAST: i64 = 253_402_300_799 / 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_per_language_with_their_zone() {
        let at = Minute::of(Timestamp(1_795_284_059_999));
        assert_eq!(at.machine(), "2026-11-21T18:00Z");
        let all = Lang::ALL.map(|lang| at.written(lang));
        assert_eq!(
            all,
            [
                "21 November 2026, 18:00\u{a0}UTC",
                "21 de noviembre de 2026, 18:00\u{a0}UTC",
                "21 novembre 2026 à 18:00\u{a0}UTC",
            ]
        );
        let first = Minute::of(Timestamp(1_767_225_600_000)).written(Lang::Fr);
        assert_eq!(first, "1er janvier 2026 à 00:00\u{a0}UTC");
    }

    #[test]
    fn an_end_is_rounded_down_and_a_beginning_up() {
        for (at, end, begin) in [
            (1_795_284_000_000, "18:00", "18:00"),
            (1_795_284_000_001, "18:00", "18:01"),
            (1_795_284_059_999, "18:00", "18:01"),
        ] {
            let of = Minute::of(Timestamp(at)).machine();
            assert!(of.contains(end), "{of}");
            let from = Minute::from(Timestamp(at)).machine();
            assert!(from.contains(begin), "{from}");
        }
    }

    #[test]
    fn impossible_moments_harm_nothing() {
        assert_eq!(
            Minute::of(Timestamp(i64::MIN)).machine(),
            "1970-01-01T00:00Z"
        );
        assert_eq!(
            Minute::from(Timestamp(i64::MAX)).machine(),
            "9999-12-31T23:59Z"
        );
    }
}

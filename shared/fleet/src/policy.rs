//! What the partner decides once for all fleets.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The partner's rules. As JSON all of it is optional: `{"provisional_days":14}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What it takes for a requested integration to open the partner's platform for a while.
    pub confirmation: Confirmation,
    /// How long it does, counted from the fleet's request.
    pub provisional_days: Days,
    /// All of a fleet's provisional access together, over its lifetime.
    pub provisional_days_in_all: Days,
    /// How long a fleet stays welcome after its requested provider went live, so that it can connect it.
    pub reconnect_days: Days,
    /// How long a fleet stays welcome after its last connection broke, so that it can mend it. 0 for not at all.
    pub broken_days: Days,
    /// What becomes of a fleet whose regulatory id at Catena isn't the one that it was invited under.
    pub regulatory_mismatch: RegulatoryMismatch,
    /// How long the end of a write operation is waited for; after that it counts as unknown.
    pub operation_days: Days,
    /// How long looks at Catena wait for each other, in percent of what is usual: 200 asks half as often. From 1 to 10,000.
    #[serde(deserialize_with = "percent")]
    pub wait_percent: u32,
}

/// What it takes for a requested integration to open the partner's platform for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// Catena lists the request.
    #[default]
    Confirmed,
    /// The same; and while Catena refuses to list requests, the fleet's browser came back with one after accepting.
    Link,
    /// Nothing opens it.
    Off,
}

/// What becomes of a fleet whose regulatory id at Catena isn't the one that it was invited under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegulatoryMismatch {
    /// It isn't fully admitted, unless an operator lets it in.
    #[default]
    Hold,
    /// Nothing; it is told as a reason.
    Admit,
}

/// A number of days, kept to the millisecond. As JSON a number such as `14` or `0.5`, or a text of one: CloudFormation's numbers
/// needn't be JSON's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days(i64);

impl Days {
    /// Whole days.
    pub const fn new(days: u16) -> Self {
        Self(days as i64 * DAY_MS)
    }

    /// In milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// In days.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / DAY_MS as f64
    }
}

/// A number, or a text of one.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }
    match Written::deserialize(from)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => text
            .parse()
            .map_err(|_| D::Error::custom("a number is expected")),
    }
}

fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let percent = number(from)?.round();
    if !(1.0..=10_000.0).contains(&percent) {
        return Err(D::Error::custom("percent from 1 to 10000 are expected"));
    }
    Ok(percent as u32)
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 % DAY_MS {
            0 => to.serialize_i64(self.0 / DAY_MS),
            _ => to.serialize_f64(self.as_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let days = number(from)?;
        if !(0.0..=f64::from(u16::MAX)).contains(&days) {
            return Err(D::Error::custom("days from 0 to 65535 are expected"));
        }
        Ok(Self((days * DAY_MS as f64).round() as i64))
    }
}

impl Policy {
    /// What a wait of so many milliseconds is under this policy.
    pub const fn wait(&self, millis: i64) -> i64 {
        millis.saturating_mul(self.wait_percent as i64) / 100
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            confirmation: Confirmation::Confirmed,
            provisional_days: Days::new(14),
            provisional_days_in_all: Days::new(60),
            reconnect_days: Days::new(7),
            broken_days: Days::new(3),
            regulatory_mismatch: RegulatoryMismatch::Hold,
            operation_days: Days::new(1),
            wait_percent: 100,
        }
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_default_and_what_is_misspelt_an_error() {
        let policy: Policy =
            serde_json::from_str(r#"{"provisional_days":30,"confirmation":"off"}"#).unwrap();
        assert_eq!(policy.provisional_days, Days::new(30));
        assert_eq!(policy.confirmation, Confirmation::Off);
        assert_eq!(policy.broken_days, Policy::default().broken_days);
        let misspelt = serde_json::from_str::<Policy>(r#"{"provisonal_days":30}"#);
        assert!(
            misspelt
                .unwrap_err()
                .to_string()
                .contains("provisonal_days")
        );
    }
    #[test]
    fn days_may_be_parts_of_days() {
        let days = |text: &str| serde_json::from_str::<Days>(text);
        for (text, millis) in [
            ("0", 0),
            ("14", 14 * DAY_MS),
            ("0.5", DAY_MS / 2),
            ("0.0001", 8_640),
        ] {
            let read = days(text).unwrap();
            assert_eq!(read.millis(), millis, "{text}");
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        for (text, millis) in [
            (r#"".5""#, DAY_MS / 2),
            (r#""014""#, 14 * DAY_MS),
            (r#""3""#, 3 * DAY_MS),
        ] {
            assert_eq!(days(text).unwrap().millis(), millis, "{text}");
        }
        for wrong in ["-1", "65536", "1e99", r#""3 days""#, r#""""#, "null"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
        let percent = |text: &str| {
            let policy: Result<Policy, _> = serde_json::from_str(text);
            policy.map(|policy| policy.wait_percent)
        };
        assert_eq!(percent(r#"{"wait_percent":"150.5"}"#).unwrap(), 151);
        assert_eq!(percent(r#"{"wait_percent":1}"#).unwrap(), 1);
        for wrong in ["0", "10001", "\"much\""] {
            assert!(
                percent(&format!(r#"{{"wait_percent":{wrong}}}"#)).is_err(),
                "{wrong}"
            );
        }
    }
}

//! What a message on the events queue says.

use catena::{Age, Content, Envelope, Instant, Scrubbed};
use fleet::{FleetRef, Observation};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

/// The longest body of a message that holds something [`Told`], in bytes: twice as much as an ordinary record ever has.
pub const LONGEST_TOLD: usize = 64 * 1024;

/// A message on the events queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// When it arrived: the start of the time that it takes until its record is written.
    pub received_at: Instant,
    /// What it holds.
    pub holds: Holds,
}

/// What a message holds. Each kind has a version of the format of its own, so that a program that doesn't know it says so, and
/// gets the message again, instead of taking it for damaged.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// A delivery of Catena's, or a part of it. Version 1.
    Delivery(Scrubbed),
    /// What was observed otherwise, and nobody vouches for. Version 2.
    Told(Told),
    /// What Catena answered when it was asked; without an observation it says that a date passed. Version 3.
    Answered(Told),
    /// A delivery that was set aside because of its age, and that an operator sent again, vouching for it. Version 4.
    Released(Scrubbed),
}

impl Holds {
    /// The delivery that it is, or was, or is a part of.
    pub fn delivery(&self) -> Option<&Scrubbed> {
        match self {
            Self::Delivery(delivery) | Self::Released(delivery) => Some(delivery),
            Self::Told(_) | Self::Answered(_) => None,
        }
    }
}

/// What was observed about a fleet, by others than Catena's webhooks. A new kind of fact in it needs a new version of the format:
/// a program that doesn't know the fact takes the message for damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The fleet that it is about.
    #[serde(deserialize_with = "fleet_ref")]
    pub fleet: FleetRef,
    /// What the fleet's history calls it, such as `browser.return`.
    pub event: String,
    /// What was observed.
    pub observations: Vec<Observation>,
}

/// What a message is about, for those who look at a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The event's name; `None` if the delivery can't be read.
    pub event: Option<String>,
    /// The fleet that it names first, by the partner's reference, if it does. Nothing has checked the reference.
    pub fleet: Option<String>,
}

/// A message that this version can't read, now or later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableMessage {
    /// Not JSON, or not of the documented form.
    #[error("not a message of this program: line {line}, column {column}")]
    Form {
        /// Line where reading stopped, from 1.
        line: usize,
        /// Column of that line.
        column: usize,
    },
    /// Written by a later version of this program.
    #[error("message version {0} is not known to this version of the program")]
    Version(u32),
}

/// One record alone is over the queue's limit, so no part of the delivery can hold it. What isn't a delivery counts as one
/// record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the message alone is over the queue's limit of {limit} bytes")]
pub struct RecordOverLimit {
    /// Its index in the delivery.
    pub index: usize,
    /// The limit in bytes.
    pub limit: usize,
}

/// Version 1.
#[derive(Serialize, Deserialize)]
struct DeliveryBody<T> {
    v: u32,
    received_at: Instant,
    delivery: T,
}

/// Version 2.
#[derive(Serialize, Deserialize)]
struct ToldBody<T> {
    v: u32,
    received_at: Instant,
    told: T,
}

/// Version 3.
#[derive(Serialize, Deserialize)]
struct AnsweredBody<T> {
    v: u32,
    received_at: Instant,
    answered: T,
}

/// Version 4.
#[derive(Serialize, Deserialize)]
struct ReleasedBody<T> {
    v: u32,
    received_at: Instant,
    released: T,
}

/// What every version of the format has.
#[derive(Deserialize)]
struct AnyBody {
    v: u32,
}

impl Message {
    /// A delivery that arrived then.
    pub fn delivered(received_at: Instant, delivery: Scrubbed) -> Self {
        let holds = Holds::Delivery(delivery);
        Self { received_at, holds }
    }

    /// What was told then.
    pub fn told(received_at: Instant, told: Told) -> Self {
        let holds = Holds::Told(told);
        Self { received_at, holds }
    }

    /// What Catena answered then.
    pub fn answered(received_at: Instant, answered: Told) -> Self {
        let holds = Holds::Answered(answered);
        Self { received_at, holds }
    }

    /// The same as an operator sends it who has looked at it: nobody will object to a delivery's age. What wouldn't be
    /// objected to stays as it is, so that programs can read it that don't know version 4.
    #[must_use]
    pub fn released(self) -> Self {
        let received_at = self.received_at;
        let holds = match self.holds {
            Holds::Delivery(delivery) if matches!(delivery.age, Age::Future | Age::TooOld) => {
                Holds::Released(delivery)
            }
            other => other,
        };
        Self { received_at, holds }
    }

    /// Reads a message's body.
    pub fn read(body: &str) -> Result<Self, UnreadableMessage> {
        let AnyBody { v } = serde_json::from_str(body)?;
        match v {
            ..=DELIVERY => {
                let read: DeliveryBody<Scrubbed> = serde_json::from_str(body)?;
                Ok(Self::delivered(read.received_at, read.delivery))
            }
            TOLD => {
                let read: ToldBody<Told> = serde_json::from_str(body)?;
                Ok(Self::told(read.received_at, read.told))
            }
            ANSWERED => {
                let read: AnsweredBody<Told> = serde_json::from_str(body)?;
                Ok(Self::answered(read.received_at, read.answered))
            }
            RELEASED => {
                let read: ReleasedBody<Scrubbed> = serde_json::from_str(body)?;
                let holds = Holds::Released(read.released);
                Ok(Self {
                    received_at: read.received_at,
                    holds,
                })
            }
            later => Err(UnreadableMessage::Version(later)),
        }
    }

    /// What it is about, as far as it says so itself.
    pub fn about(&self) -> About {
        match &self.holds {
            Holds::Told(told) | Holds::Answered(told) => About {
                event: Some(told.event.clone()),
                fleet: Some(told.fleet.as_str().to_owned()),
            },
            Holds::Delivery(delivery) | Holds::Released(delivery) => match &delivery.content {
                Content::Envelope(envelope) => {
                    let named = envelope.data.iter();
                    let mut named = named.filter_map(|record| record["fleet_ref"].as_str());
                    About {
                        event: Some(envelope.event_name.clone()),
                        fleet: named.next().map(str::to_owned),
                    }
                }
                Content::Unreadable(_) => About {
                    event: None,
                    fleet: None,
                },
            },
        }
    }

    /// The body as a whole, however long.
    pub fn into_body(self) -> String {
        self.write()
    }

    /// The bodies to send: one if it fits `limit` bytes, else `data` in parts whose records keep their indices. With them,
    /// a record that is left out because it fits nowhere. What is told otherwise has no parts, and must fit [`LONGEST_TOLD`].
    pub fn into_bodies(mut self, limit: usize) -> (Vec<String>, Option<RecordOverLimit>) {
        let limit = match self.holds {
            Holds::Delivery(_) | Holds::Released(_) => limit,
            Holds::Told(_) | Holds::Answered(_) => limit.min(LONGEST_TOLD),
        };
        let whole = self.write();
        if whole.len() <= limit {
            return (vec![whole], None);
        }
        let Some(envelope) = self.envelope() else {
            return (Vec::new(), Some(RecordOverLimit { index: 0, limit }));
        };
        let records = std::mem::take(&mut envelope.data);
        let frame = self.write().len() + FIRST_INDEX_ROOM;
        let mut bodies = Vec::new();
        let mut left_out = None;
        for (first_index, part) in split(records, limit.saturating_sub(frame)) {
            if let Some(envelope) = self.envelope() {
                envelope.first_index = first_index;
                envelope.data = part;
            }
            let body = self.write();
            if body.len() <= limit {
                bodies.push(body);
            } else {
                left_out = Some(RecordOverLimit {
                    index: first_index,
                    limit,
                });
            }
        }
        (bodies, left_out)
    }

    /// What has records that parts can share.
    fn envelope(&mut self) -> Option<&mut Envelope> {
        match &mut self.holds {
            Holds::Delivery(Scrubbed {
                content: Content::Envelope(envelope),
                ..
            })
            | Holds::Released(Scrubbed {
                content: Content::Envelope(envelope),
                ..
            }) => Some(envelope),
            _ => None,
        }
    }

    fn write(&self) -> String {
        let received_at = self.received_at;
        let body = match &self.holds {
            Holds::Delivery(delivery) => serde_json::to_string(&DeliveryBody {
                v: DELIVERY,
                received_at,
                delivery,
            }),
            Holds::Told(told) => serde_json::to_string(&ToldBody {
                v: TOLD,
                received_at,
                told,
            }),
            Holds::Answered(answered) => serde_json::to_string(&AnsweredBody {
                v: ANSWERED,
                received_at,
                answered,
            }),
            Holds::Released(released) => serde_json::to_string(&ReleasedBody {
                v: RELEASED,
                received_at,
                released,
            }),
        };
        escape(body.expect("maps with text keys are JSON"))
    }
}

impl From<serde_json::Error> for UnreadableMessage {
    fn from(error: serde_json::Error) -> Self {
        Self::Form {
            line: error.line(),
            column: error.column(),
        }
    }
}

/// Reads a reference that a record can be kept for.
fn fleet_ref<'de, D: Deserializer<'de>>(from: D) -> Result<FleetRef, D::Error> {
    let text = String::deserialize(from)?;
    FleetRef::parse(&text).ok_or_else(|| Error::custom("no reference of a fleet"))
}

/// Consecutive records in as few parts as fit `room` bytes each, with the index of each part's first. A record that
/// doesn't fit alone makes a part of its own.
fn split(records: Vec<Value>, room: usize) -> Vec<(usize, Vec<Value>)> {
    let mut parts: Vec<(usize, Vec<Value>)> = Vec::new();
    let mut used = 0;
    for (index, record) in records.into_iter().enumerate() {
        let size = escape(record.to_string()).len() + 1;
        match parts.last_mut() {
            Some((_, part)) if used + size <= room => {
                part.push(record);
                used += size;
            }
            _ => {
                parts.push((index, vec![record]));
                used = size;
            }
        }
    }
    parts
}

/// SQS refuses two characters that JSON allows. They can only stand inside a JSON text, so they can be escaped there.
fn escape(json: String) -> String {
    if json.contains(REFUSED_BY_SQS) {
        json.replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff")
    } else {
        json
    }
}

/// The version of the format that deliveries have.
const DELIVERY: u32 = 1;
/// The version of the format that what is told otherwise has.
const TOLD: u32 = 2;
/// The version of the format that Catena's answers have.
const ANSWERED: u32 = 3;
/// The version of the format that deliveries have which an operator vouches for.
const RELEASED: u32 = 4;
const REFUSED_BY_SQS: [char; 2] = ['\u{fffe}', '\u{ffff}'];
/// What `"first_index":<number>,` adds to a part, at most.
const FIRST_INDEX_ROOM: usize = 40;

#[cfg(test)]
mod tests {
    use fleet::{At, Claim, Fact, InvitationFact, Timestamp};
    use serde_json::json;

    use super::*;

    fn message(records: Vec<Value>) -> Message {
        let envelope = json!({
            "event_name": "execution.failed",
            "webhook_id": "247b2dea-a030-48b7-9a05-ee33c1b6000f",
            "id": "019df321-1021-7a21-8021-abcdef000021",
            "data": records,
        });
        let delivery = Scrubbed {
            signed_at: Instant::from_millis(1_777_881_972_000),
            age: Age::Fresh,
            content: Content::Envelope(serde_json::from_value(envelope).unwrap()),
        };
        Message::delivered(Instant::from_millis(1_777_881_972_345), delivery)
    }

    fn of_age(age: Age) -> Message {
        let mut message = message(vec![json!({ "id": 1 })]);
        if let Holds::Delivery(delivery) = &mut message.holds {
            delivery.age = age;
        }
        message
    }

    fn claimed(claim: Claim) -> Message {
        let claim = Observation {
            at: At(Timestamp(1_777_881_972_345), 0),
            fact: Fact::Invitation {
                invitation: "hash".to_owned(),
                was: InvitationFact::Claim(claim),
            },
        };
        let told = Told {
            fleet: FleetRef::parse("FLEET-1").unwrap(),
            event: "browser.return".to_owned(),
            observations: vec![claim],
        };
        Message::told(Instant::from_millis(1_777_881_972_345), told)
    }

    fn envelope(body: &str) -> Envelope {
        let mut message = Message::read(body).unwrap();
        message.envelope().expect("an envelope").clone()
    }

    #[test]
    fn the_format_stays() {
        let body = r#"{"v":1,"received_at":"2026-05-04T08:06:12.345Z","delivery":{"signed_at":"2026-05-04T08:06:12Z","age":"fresh","content":{"envelope":{"event_name":"execution.failed","data":[{"id":1}],"webhook_id":"247b2dea-a030-48b7-9a05-ee33c1b6000f","id":"019df321-1021-7a21-8021-abcdef000021"}}}}"#;
        let message = message(vec![json!({ "id": 1 })]);
        assert_eq!(Message::read(body).as_ref(), Ok(&message));
        assert_eq!(message.into_bodies(1000).0, [body]);
    }

    #[test]
    fn the_format_of_what_is_told_otherwise_stays() {
        let body = r#"{"v":2,"received_at":"2026-05-04T08:06:12.345Z","told":{"fleet":"FLEET-1","event":"browser.return","observations":[[1777881972345,{"invitation":{"id":"hash","was":{"claim":{"requested":"4c0f5d4e-7a80-4d0d-9a53-0f9d3b1b5c11"}}}}]]}}"#;
        let request = "4c0f5d4e-7a80-4d0d-9a53-0f9d3b1b5c11".to_owned();
        let message = claimed(Claim::Requested(Some(request)));
        assert_eq!(Message::read(body).as_ref(), Ok(&message));
        assert_eq!(message.into_bodies(1000), (vec![body.to_owned()], None));
    }

    #[test]
    fn the_format_of_answers_stays() {
        let body = r#"{"v":3,"received_at":"2026-05-04T08:06:12.345Z","answered":{"fleet":"FLEET-1","event":"catena.answer","observations":[[1777881972345,{"linked":{"connection":"C"}}]]}}"#;
        let connection = "C".to_owned();
        let linked = Observation {
            at: At(Timestamp(1_777_881_972_345), 0),
            fact: Fact::Linked { connection },
        };
        let answered = Told {
            fleet: FleetRef::parse("FLEET-1").unwrap(),
            event: "catena.answer".to_owned(),
            observations: vec![linked],
        };
        let message = Message::answered(Instant::from_millis(1_777_881_972_345), answered);
        assert_eq!(Message::read(body).as_ref(), Ok(&message));
        assert_eq!(message.into_bodies(1000), (vec![body.to_owned()], None));
    }

    #[test]
    fn the_format_of_what_is_released_stays() {
        let body = r#"{"v":4,"received_at":"2026-05-04T08:06:12.345Z","released":{"signed_at":"2026-05-04T08:06:12Z","age":"future","content":{"envelope":{"event_name":"execution.failed","data":[{"id":1}],"webhook_id":"247b2dea-a030-48b7-9a05-ee33c1b6000f","id":"019df321-1021-7a21-8021-abcdef000021"}}}}"#;
        let message = of_age(Age::Future).released();
        assert_eq!(Message::read(body).as_ref(), Ok(&message));
        assert_eq!(message.into_bodies(1000).0, [body]);
    }

    #[test]
    fn what_nobody_objects_to_is_released_as_it_was() {
        for age in [Age::Fresh, Age::Late] {
            assert_eq!(of_age(age).released(), of_age(age));
        }
        let told = claimed(Claim::Connected);
        assert_eq!(told.clone().released(), told);
        for age in [Age::TooOld, Age::Future] {
            let released = of_age(age).released();
            assert_ne!(released, of_age(age));
            assert_eq!(released.holds.delivery(), of_age(age).holds.delivery());
            // Twice is the same as once.
            assert_eq!(released.clone().released(), released);
        }
    }

    #[test]
    fn a_message_says_what_it_is_about() {
        let about = |event: &str, fleet: Option<&str>| About {
            event: Some(event.to_owned()),
            fleet: fleet.map(str::to_owned),
        };
        let records = [json!({ "fleet_ref": null }), json!({ "fleet_ref": "F" })];
        for (records, fleet) in [(&records[..], Some("F")), (&records[..1], None)] {
            let said = message(records.to_vec()).about();
            assert_eq!(said, about("execution.failed", fleet));
        }
        let told = claimed(Claim::Connected).about();
        assert_eq!(told, about("browser.return", Some("FLEET-1")));
    }

    #[test]
    fn what_is_told_otherwise_is_small_or_not_sent() {
        let longer = |n: usize| claimed(Claim::Requested(Some("x".repeat(n))));
        let frame = longer(0).into_body().len();
        let (bodies, left_out) = longer(LONGEST_TOLD - frame).into_bodies(usize::MAX);
        assert_eq!((bodies.len(), left_out), (1, None));
        for (message, limit) in [
            (longer(LONGEST_TOLD - frame + 1), LONGEST_TOLD),
            (longer(1), frame),
        ] {
            let given = if limit == LONGEST_TOLD {
                usize::MAX
            } else {
                limit
            };
            let left_out = RecordOverLimit { index: 0, limit };
            assert_eq!(message.into_bodies(given), (Vec::new(), Some(left_out)));
        }
    }

    #[test]
    fn what_is_told_otherwise_is_read_whole_or_not_at_all() {
        let body = claimed(Claim::Connected).into_body();
        for (part, damaged) in [
            (r#""FLEET-1""#, r#""""#.to_owned()),
            (
                r#""FLEET-1""#,
                format!("{:?}", "x".repeat(FleetRef::LONGEST + 1)),
            ),
            (r#""FLEET-1""#, r#""a\nb""#.to_owned()),
            (r#""FLEET-1""#, "null".to_owned()),
            (r#""connected""#, r#""overwhelmed""#.to_owned()),
            (r#""claim""#, r#""boast""#.to_owned()),
            ("1777881972345,", String::new()),
            (r#""told""#, r#""delivery""#.to_owned()),
            ("}", String::new()),
        ] {
            assert!(body.contains(part), "{part}");
            let damaged = body.replacen(part, &damaged, 1);
            assert!(
                matches!(Message::read(&damaged), Err(UnreadableMessage::Form { .. })),
                "{damaged}"
            );
        }
    }

    #[test]
    fn what_fits_is_one_message_to_the_byte() {
        let record = json!({ "id": "a".repeat(FIRST_INDEX_ROOM) });
        let message = message(vec![record.clone(), record]);
        let whole = message.clone().into_bodies(usize::MAX).0;
        assert_eq!(whole.len(), 1);
        let limit = whole[0].len();
        assert_eq!(message.clone().into_bodies(limit).0.len(), 1);
        assert_eq!(message.into_bodies(limit - 1).0.len(), 2);
    }

    #[test]
    fn parts_fit_and_records_keep_their_indices() {
        let records: Vec<Value> = (0..1000)
            .map(|n| json!({ "id": n, "text": "x".repeat(n % 97) }))
            .collect();
        let limit = 4096;
        let bodies = message(records.clone()).into_bodies(limit).0;
        let mut found = Vec::new();
        for body in &bodies {
            assert!(body.len() <= limit, "{}", body.len());
            let part = envelope(body);
            assert_eq!(part.first_index, found.len());
            assert_eq!(
                part.id.as_deref(),
                Some("019df321-1021-7a21-8021-abcdef000021")
            );
            found.extend(part.data);
        }
        assert_eq!(found, records);
        let least = bodies.iter().map(String::len).sum::<usize>() / limit;
        assert!(
            bodies.len() <= least + least / 10 + 1,
            "{} parts",
            bodies.len()
        );
    }

    #[test]
    fn a_record_over_the_limit_is_named_and_the_others_are_kept() {
        let records = vec![json!("small"), json!("x".repeat(5000)), json!("small")];
        let (bodies, left_out) = message(records).into_bodies(4096);
        assert_eq!(
            left_out,
            Some(RecordOverLimit {
                index: 1,
                limit: 4096
            })
        );
        let kept: Vec<usize> = bodies
            .iter()
            .map(|body| envelope(body).first_index)
            .collect();
        assert_eq!(kept, [0, 2]);
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        let record = json!({ "name": "a\u{fffe}b\u{ffff}c\u{1}" });
        let bodies = message(vec![record.clone()]).into_bodies(usize::MAX).0;
        let refused = |c: char| matches!(c, '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
        assert!(!bodies[0].contains(refused));
        assert_eq!(envelope(&bodies[0]).data, [record]);
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let later = r#"{"v":5,"delivery":{"new":true}}"#;
        assert_eq!(Message::read(later), Err(UnreadableMessage::Version(5)));
        for damaged in [
            "",
            "{}",
            r#"{"v":1}"#,
            r#"{"v":1,"delivery":{}}"#,
            r#"{"v":2}"#,
            r#"{"v":2,"told":{}}"#,
            r#"{"v":3,"answered":{}}"#,
            r#"{"v":4,"delivery":{}}"#,
            r#"{"v":4,"released":{}}"#,
            r#"{"v":5,"delivery":{"#,
        ] {
            assert!(matches!(
                Message::read(damaged),
                Err(UnreadableMessage::Form { .. })
            ));
        }
    }
}

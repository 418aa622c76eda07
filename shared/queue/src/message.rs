//! What a message on the events queue says.

use catena::{Content, Instant, Scrubbed};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format that this version writes. It reads this one and all before.
const VERSION: u32 = 1;

/// A message on the events queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// When the delivery arrived: the start of the time that it takes until its record is written.
    pub received_at: Instant,
    /// The delivery, or a part of it.
    pub delivery: Scrubbed,
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

/// One record alone is over the queue's limit, so no part of the delivery can hold it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the delivery alone is over the queue's limit of {limit} bytes")]
pub struct RecordOverLimit {
    /// Its index in the delivery.
    pub index: usize,
    /// The limit in bytes.
    pub limit: usize,
}

#[derive(Serialize, Deserialize)]
struct Body<T> {
    v: u32,
    received_at: Instant,
    delivery: T,
}

/// What every version of the format begins with.
#[derive(Deserialize)]
struct AnyBody {
    v: u32,
}

impl Message {
    /// Reads a message's body.
    pub fn read(body: &str) -> Result<Self, UnreadableMessage> {
        match serde_json::from_str::<Body<Scrubbed>>(body) {
            Ok(body) if body.v <= VERSION => Ok(Self {
                received_at: body.received_at,
                delivery: body.delivery,
            }),
            Ok(Body { v, .. }) => Err(UnreadableMessage::Version(v)),
            Err(error) => Err(match serde_json::from_str(body) {
                Ok(AnyBody { v }) if v > VERSION => UnreadableMessage::Version(v),
                _ => UnreadableMessage::Form {
                    line: error.line(),
                    column: error.column(),
                },
            }),
        }
    }

    /// The body as a whole, however long.
    pub fn into_body(self) -> String {
        self.write()
    }

    /// The bodies to send: one if it fits `limit` bytes, else `data` in parts whose records keep their indices. With them,
    /// a record that is left out because it fits nowhere.
    pub fn into_bodies(mut self, limit: usize) -> (Vec<String>, Option<RecordOverLimit>) {
        let whole = self.write();
        if whole.len() <= limit {
            return (vec![whole], None);
        }
        let Content::Envelope(envelope) = &mut self.delivery.content else {
            return (Vec::new(), Some(RecordOverLimit { index: 0, limit }));
        };
        let records = std::mem::take(&mut envelope.data);
        let frame = self.write().len() + FIRST_INDEX_ROOM;
        let mut bodies = Vec::new();
        let mut left_out = None;
        for (first_index, part) in split(records, limit.saturating_sub(frame)) {
            if let Content::Envelope(envelope) = &mut self.delivery.content {
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

    fn write(&self) -> String {
        let body = serde_json::to_string(&Body {
            v: VERSION,
            received_at: self.received_at,
            delivery: &self.delivery,
        });
        escape(body.expect("maps with text keys are JSON"))
    }
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

const REFUSED_BY_SQS: [char; 2] = ['\u{fffe}', '\u{ffff}'];
/// What `"first_index":<number>,` adds to a part, at most.
const FIRST_INDEX_ROOM: usize = 40;

#[cfg(test)]
mod tests {
    use catena::{Age, Envelope};
    use serde_json::json;

    use super::*;

    fn message(records: Vec<Value>) -> Message {
        let envelope = json!({
            "event_name": "execution.failed",
            "webhook_id": "247b2dea-a030-48b7-9a05-ee33c1b6000f",
            "id": "019df321-1021-7a21-8021-abcdef000021",
            "data": records,
        });
        Message {
            received_at: Instant::from_millis(1_777_881_972_345),
            delivery: Scrubbed {
                signed_at: Instant::from_millis(1_777_881_972_000),
                age: Age::Fresh,
                content: Content::Envelope(serde_json::from_value(envelope).unwrap()),
            },
        }
    }

    fn envelope(body: &str) -> Envelope {
        match Message::read(body).unwrap().delivery.content {
            Content::Envelope(envelope) => envelope,
            Content::Unreadable(_) => panic!("not an envelope"),
        }
    }

    #[test]
    fn the_format_stays() {
        let body = r#"{"v":1,"received_at":"2026-05-04T08:06:12.345Z","delivery":{"signed_at":"2026-05-04T08:06:12Z","age":"fresh","content":{"envelope":{"event_name":"execution.failed","data":[{"id":1}],"webhook_id":"247b2dea-a030-48b7-9a05-ee33c1b6000f","id":"019df321-1021-7a21-8021-abcdef000021"}}}}"#;
        let message = message(vec![json!({ "id": 1 })]);
        assert_eq!(Message::read(body).as_ref(), Ok(&message));
        assert_eq!(message.into_bodies(1000).0, [body]);
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
        let later = r#"{"v":2,"delivery":{"new":true}}"#;
        assert_eq!(Message::read(later), Err(UnreadableMessage::Version(2)));
        for damaged in ["", "{}", r#"{"v":1}"#, r#"{"v":1,"delivery":{}}"#] {
            assert!(matches!(
                Message::read(damaged),
                Err(UnreadableMessage::Form { .. })
            ));
        }
    }
}

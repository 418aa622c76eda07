//! Records as the table's stream tells them.

use aws_sdk_dynamodb::types::AttributeValue;
use fleet::{FleetRef, Timestamp};
use serde_json::Value;

use crate::{
    StoreError, StoredRecord,
    batch::{damaged, key},
    record::{self, RECORD, WRITTEN_AT},
};

/// A write of a fleet's record, out of one of the stream's records (AWS: `{"eventName": …, "dynamodb": {"Keys": …, …}}`).
#[derive(Clone)]
pub struct RecordChange<'a> {
    fleet: FleetRef,
    change: &'a Value,
}

impl<'a> RecordChange<'a> {
    /// `None` for what changes no fleet's record: other items, of which one holds a secret, records that were removed, and notes of
    /// when a fleet was looked at. Of other items nothing but the keys is looked at.
    pub fn of(stream_record: &'a Value) -> Option<Self> {
        let change = &stream_record["dynamodb"];
        let part = |name: &str| change["Keys"][name]["S"].as_str();
        let fleet = record::fleet_of(part("pk")?)?;
        let written = stream_record["eventName"] != "REMOVE" && part("sk") == Some(RECORD);
        let told = |image: &str| WHAT_IS_TOLD.map(|name| &change[image][name]);
        let noted = !change["OldImage"].is_null() && told("OldImage") == told("NewImage");
        (written && !noted).then_some(Self { fleet, change })
    }

    /// Whose record it is.
    pub fn fleet(&self) -> &FleetRef {
        &self.fleet
    }

    /// The record's partition key and sort key.
    pub fn keys(&self) -> (String, &'static str) {
        (record::pk(&self.fleet), RECORD)
    }

    /// The version that was written, whether or not the rest can be read.
    pub fn version(&self) -> Option<u64> {
        let version = self.change["NewImage"]["version"]["N"].as_str();
        version.and_then(|version| version.parse().ok())
    }

    /// The record before the write; `None` if there was none.
    pub fn before(&self) -> Result<Option<StoredRecord>, StoreError> {
        let image = &self.change["OldImage"];
        let old = (!image.is_null()).then(|| self.read(image));
        old.transpose()
    }

    /// The record that was written, and when. Older programs didn't write down when: then it is the stream's time, to the second.
    pub fn after(&self) -> Result<(StoredRecord, Timestamp), StoreError> {
        let new = self.read(&self.change["NewImage"])?;
        let told = self.change["ApproximateCreationDateTime"].as_f64();
        let told = told.map(|seconds| Timestamp((seconds * 1000.0) as i64));
        let at = new.written_at.or(told);
        let at = at.ok_or_else(|| self.damaged("nothing tells when it was written"))?;
        Ok((new, at))
    }

    fn read(&self, image: &Value) -> Result<StoredRecord, StoreError> {
        let Value::Object(attributes) = image else {
            return Err(self.damaged("no image"));
        };
        let (pk, sk) = self.keys();
        let mut item = key(pk, sk);
        for (name, value) in attributes {
            item.extend(attribute(value).map(|value| (name.clone(), value)));
        }
        record::read(self.fleet.clone(), &item)
    }

    fn damaged(&self, problem: &str) -> StoreError {
        let (pk, sk) = self.keys();
        damaged(&key(pk, sk), problem.to_owned())
    }
}

/// The attributes of a record that a change of is one of the record: the others are when to look at it.
const WHAT_IS_TOLD: [&str; 4] = ["schema", "facts", "decisions", WRITTEN_AT];

/// An attribute of one of the types that records have.
pub(crate) fn attribute(value: &Value) -> Option<AttributeValue> {
    let of = |kind: &str| value.get(kind).and_then(Value::as_str).map(str::to_owned);
    let text = of("S").map(AttributeValue::S);
    text.or_else(|| of("N").map(AttributeValue::N))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(version: u64, facts: &str) -> Value {
        json!({
            "pk": { "S": "FLEET#A" },
            "sk": { "S": "RECORD" },
            "fleet_ref": { "S": "A" },
            "schema": { "N": "1" },
            "version": { "N": version.to_string() },
            "stage": { "S": "invited" },
            "facts": { "S": facts },
            "written_at": { "N": "1760000000123" },
        })
    }

    fn change(name: &str, sk: &str, old: Value, new: Value) -> Value {
        json!({
            "eventName": name,
            "dynamodb": {
                "ApproximateCreationDateTime": 1_760_000_001.0,
                "Keys": { "pk": { "S": "FLEET#A" }, "sk": { "S": sk } },
                "OldImage": old,
                "NewImage": new,
                "SequenceNumber": "1",
            },
        })
    }

    #[test]
    fn a_written_record_is_read_from_both_images() {
        let named = r#"{"name":[[1,0],"Alpha"]}"#;
        let told = change("MODIFY", "RECORD", image(3, "{}"), image(4, named));
        let change = RecordChange::of(&told).unwrap();
        let (new, at) = change.after().unwrap();
        assert_eq!((new.version, at), (4, Timestamp(1_760_000_000_123)));
        assert_eq!(new.written_at, Some(at));
        assert_eq!(new.record.facts.name.unwrap().value(), "Alpha");
        assert_eq!(change.before().unwrap().unwrap().version, 3);
        assert_eq!(change.version(), Some(4));
        assert_eq!(change.keys(), ("FLEET#A".to_owned(), "RECORD"));
    }

    #[test]
    fn the_first_version_has_no_old_image() {
        let told = change("INSERT", "RECORD", Value::Null, image(1, "{}"));
        assert_eq!(RecordChange::of(&told).unwrap().before().unwrap(), None);
    }

    #[test]
    fn a_record_of_an_older_program_is_of_the_streams_time() {
        let mut new = image(1, "{}");
        new.as_object_mut().unwrap().remove("written_at");
        let told = change("INSERT", "RECORD", Value::Null, new);
        let (new, at) = RecordChange::of(&told).unwrap().after().unwrap();
        assert_eq!((new.written_at, at), (None, Timestamp(1_760_000_001_000)));
    }

    #[test]
    fn what_is_no_write_of_a_record_is_none() {
        for (name, sk) in [
            ("MODIFY", "INVITATION"),
            ("INSERT", "HISTORY#1#2"),
            ("REMOVE", "RECORD"),
        ] {
            let told = change(name, sk, image(1, "{}"), image(2, "{}"));
            assert!(RecordChange::of(&told).is_none(), "{name} {sk}");
        }
        let mut key = change("MODIFY", "RECORD", Value::Null, image(2, "{}"));
        key["dynamodb"]["Keys"]["pk"]["S"] = json!("KEY#fleet#A");
        assert!(RecordChange::of(&key).is_none());
    }

    #[test]
    fn a_damaged_image_is_told_from_one_of_a_newer_program() {
        for damaged in [image(1, "{"), json!({}), json!(null)] {
            let told = change("MODIFY", "RECORD", Value::Null, damaged);
            let error = RecordChange::of(&told).unwrap().after().unwrap_err();
            assert!(error.is_lasting(), "{error}");
        }
        let mut newer = image(1, "{}");
        newer["schema"]["N"] = json!("99");
        let told = change("MODIFY", "RECORD", Value::Null, newer);
        let error = RecordChange::of(&told).unwrap().after().unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { .. }), "{error}");
    }
}

//! Records survive being written and read, and nothing that can be said makes the crate panic.

use fleet::{Record, Timestamp};

use crate::{
    history::History,
    runner::{holds, holds_for},
    shell::{bytes, lived},
};

#[test]
fn a_record_that_is_written_and_read_is_the_same() {
    holds("round trip", |history, rng| {
        let record = lived(history, rng);
        let written = bytes(&record);
        let read: Record = serde_json::from_str(&written).map_err(|err| err.to_string())?;
        if read == record && bytes(&read) == written {
            return Ok(());
        }
        Err(format!("{read:?}\nrather than\n{record:?}"))
    });
}

#[test]
fn nothing_that_can_be_said_makes_it_panic() {
    holds_for("wild", History::wild, |history, rng| {
        let mut record = lived(history, rng);
        let written = bytes(&record);
        let read: Record = serde_json::from_str(&written).map_err(|err| err.to_string())?;
        if read != record {
            return Err(format!("{read:?}\nrather than\n{record:?}"));
        }
        let mut moments = history.moments(rng, 2);
        moments.extend([i64::MIN, 0, i64::MAX].map(Timestamp));
        for now in moments {
            for policy in &history.policies {
                record.settle(policy, now);
                let standing = record.standing(policy, now);
                if !standing.due.is_sorted() {
                    return Err(format!("{:?}", standing.due));
                }
            }
            record.facts = record.facts.compacted(now);
        }
        Ok(())
    });
}

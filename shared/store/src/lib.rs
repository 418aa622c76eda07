//! The one DynamoDB table, by typed keys.
//!
//! | `pk` | `sk` | what |
//! | --- | --- | --- |
//! | `FLEET#<fleet_ref>` | `RECORD` | a fleet's facts, with a version that each write raises by one |
//! | `KEY#<kind>#<id>` | `LINKS` | the fleets that one of Catena's ids belongs to, a set that is only added to |
//! | `KEY#<kind>#<id>` | `PARKED#<digest>` | an event that waits until its key has a link |
//! | `QUARANTINE#<date>` | `<digest>` | a message that can't be processed, for 30 days |
//!
//! Every read is strongly consistent and goes to the table, never to an index.

mod batch;
mod key;
mod link;
mod quarantine;
mod record;

pub use key::Key;
pub use link::Parked;
pub use quarantine::Quarantined;
pub use record::{Commit, StoredRecord};

use aws_sdk_dynamodb::{Client, error::SdkError};

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
}

/// Why the table didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Throttled, out of reach or broken: later is better.
    #[error("the table could not {operation}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The record's form is newer than this program: after a roll-back, the newer program must be brought back.
    #[error(
        "record of {fleet} has schema {schema}, newer than this program's {}",
        fleet::SCHEMA
    )]
    NewerSchema {
        /// The fleet.
        fleet: String,
        /// The record's schema.
        schema: u32,
    },
    /// An item isn't what this program wrote.
    #[error("item {pk} {sk} is damaged: {problem}")]
    Damaged {
        /// The item's partition key.
        pk: String,
        /// The item's sort key.
        sk: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    fn unavailable<E, R>(operation: &'static str) -> impl Fn(SdkError<E, R>) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |source| Self::Unavailable {
            operation,
            source: Box::new(source),
        }
    }
}

impl Table {
    /// The table called `name`.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { client, name }
    }
}

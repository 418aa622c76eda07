//! The one DynamoDB table, by typed keys.
//!
//! | `pk` | `sk` | what |
//! | --- | --- | --- |
//! | `FLEET#<fleet_ref>` | `RECORD` | a fleet's record, with a version that each write raises by one |
//! | `FLEET#<fleet_ref>` | `HISTORY#<time>#<random>` | observations that were news to it, operators' decisions and dates that passed, for 90 days |
//! | `FLEET#<fleet_ref>` | `INVITATION` | what was asked of Catena for it, and the invitation's id and magic link |
//! | `LINK#<id>` | `LINK` | the fleet that a durable link leads to |
//! | `KEY#<kind>#<id>` | `LINKS` | the fleets that one of Catena's ids belongs to, a set that is only added to; under a connection's id also what is known about the connection |
//! | `KEY#<kind>#<id>` | `PARKED#<digest>` | an event that waits until its key has a link |
//! | `RECONCILER` | `STATE` | what all who look at fleets share: when Catena may be asked again, how far the comparison is, when subscriptions are looked at |
//! | `OPERATION#<our id>` | `OPERATION` | a write operation: what was asked, and what became of it |
//! | `REMOTE#<Catena's id>` | `REMOTE` | whose operation that is, or what was heard of it before that was known |
//! | `PAYLOAD#<digest>` | `GUARD` | the operation that last wrote such a payload |
//! | `SUBSCRIPTIONS` | `LEDGER`, `WATCH` | which webhook subscriptions are ours; which of them aren't well |
//! | `QUARANTINE#<date>` | `<digest>` | a message that can't be processed, for 30 days |
//!
//! Reads that writes depend on are strongly consistent and go to the table, never to an index. The index `due` (records and
//! parked events by when to look at them again) and the index `stage` (records by the stage that they were written in) only
//! find items; so does the index `operation` (operations by fleet, and by when they were asked for).

mod batch;
mod due;
mod history;
mod image;
mod invitation;
mod key;
mod operation;
mod operations;
mod parked;
mod quarantine;
mod record;
mod records;
mod schedule;
mod subscriptions;

pub use batch::Found;
pub use due::{DueItem, SHARDS, timestamp};
pub use history::{Decided, HistoryCursor, HistoryDays, HistoryEntry, HistoryPage};
pub use image::RecordChange;
pub use invitation::{LINKED, Lease, Link, OpenPart, Returning, SHOWN, Sealed, StoredInvitation};
pub use key::{Key, KeyChange, KeyRecord};
pub use operation::{
    Guard, OperationChange, OperationCursor, OperationFilter, Remote, StoredOperation,
};
pub use operations::{OperationChanged, Operations, TakenIn};
pub use parked::Parked;
pub use quarantine::{Quarantined, SetAside};
pub use record::{Commit, StoredRecord};
pub use records::{COMMIT_ATTEMPTS, Done, Folded, NUDGED_WITHIN_MS, Records, Share, Taken, pause};
pub use schedule::Shared;
pub use subscriptions::SubscriptionsText;

use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
};
use guard::Panicked;

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
    #[error("the table could not {operation} now")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// DynamoDB will never take it as it is: later is no better.
    #[error("DynamoDB refuses to {operation}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The record would not fit into an item of 400 KB (AWS).
    #[error("record of {fleet} would have {bytes} bytes, more than an item holds")]
    TooLarge {
        /// The fleet.
        fleet: String,
        /// The record's size.
        bytes: usize,
    },
    /// The record's form is newer than this program: after a roll-back, the newer program must be brought back.
    #[error("{item} has schema {schema}, newer than this program's {known}")]
    NewerSchema {
        /// The item.
        item: String,
        /// Its schema.
        schema: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The program panicked on what was to be written.
    #[error(transparent)]
    Panicked(#[from] Panicked),
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
    fn of<E, R>(operation: &'static str) -> impl Fn(SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| {
            let code = error.as_service_error().and_then(|error| error.code());
            let refused = code == Some("ValidationException");
            let source = Box::new(error);
            if refused {
                Self::Refused { operation, source }
            } else {
                Self::Unavailable { operation, source }
            }
        }
    }

    /// A request that lacks something, before it is sent.
    fn unbuilt(operation: &'static str) -> impl Fn(BuildError) -> Self {
        move |error| Self::Unavailable {
            operation,
            source: Box::new(error),
        }
    }

    /// Whether it will be the same the next time: nothing that passes is to blame.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::TooLarge { .. } | Self::Panicked(_) | Self::Damaged { .. }
        )
    }
}

impl Table {
    /// The table called `name`.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { client, name }
    }
}

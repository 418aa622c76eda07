//! Lists write operations.

use std::collections::BTreeSet;

use fleet::{FleetRef, Timestamp};
use operations::Status;
use startup::describe;
use store::{OperationCursor, OperationFilter, StoredOperation};
use tracing::error;

use crate::{refusal::Refusal, submission::Writes};

/// Which operations to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) fleet: Option<FleetRef>,
    /// Where they stand now.
    pub(crate) status: Option<Status>,
    pub(crate) resource: Option<String>,
    /// First asked for then or later.
    pub(crate) from: Option<Timestamp>,
    /// First asked for before then.
    pub(crate) to: Option<Timestamp>,
}

impl Listed {
    /// Refuses what the index would: a span that ends before it begins, and a place outside of what is listed.
    fn check(&self, cursor: Option<&OperationCursor>) -> Result<(), Refusal> {
        let from = self.from.unwrap_or(Timestamp(0));
        if self.to.is_some_and(|to| to <= from) {
            return Err(Refusal::field(
                "to",
                "write a time after `from`, and after 1970",
            ));
        }
        let Some(cursor) = cursor else {
            return Ok(());
        };
        // All fleets' operations are filtered as they are read, so a page may end at one that isn't asked for.
        let Some(fleet) = &self.fleet else {
            return Ok(());
        };
        let at = cursor.submitted_at();
        let in_time = from <= at && self.to.is_none_or(|to| at < to);
        match fleet.as_str() == cursor.fleet() && in_time {
            true => Ok(()),
            false => Err(Refusal::field(
                "cursor",
                "it belongs to a list of another fleet, or of another time",
            )),
        }
    }

    fn lets_through(&self, stored: &StoredOperation, now: Timestamp) -> bool {
        let operation = &stored.operation;
        let resource = self.resource.as_ref();
        resource.is_none_or(|it| *it == operation.asked.resource)
            && self.status.is_none_or(|it| it == operation.status(now))
    }
}

impl Writes {
    /// An operation as it is told.
    pub(crate) fn told(&self, stored: &StoredOperation) -> api::Operation {
        api::Operation::new(&stored.operation, stored.version, self.now())
    }

    /// At most `size` operations, and where the next page begins: of some pages of the index, each with one strongly consistent read.
    pub(crate) async fn list(
        &self,
        listed: &Listed,
        cursor: Option<OperationCursor>,
        size: usize,
    ) -> Result<(Vec<api::Operation>, Option<OperationCursor>), Refusal> {
        listed.check(cursor.as_ref())?;
        let filter = OperationFilter {
            fleet: listed.fleet.clone(),
            from: listed.from,
            to: listed.to,
        };
        let now = self.now();
        let mut found = Vec::new();
        let mut after = cursor;
        for _ in 0..MOST_PAGES {
            let left = size - found.len();
            let (some, next) = self
                .table
                .list_operations(&filter, after.as_ref(), left)
                .await?;
            let ids: BTreeSet<String> = some.iter().map(|it| it.id().to_owned()).collect();
            let mut stored = self.table.operations(&ids).await?;
            for it in &some {
                match stored.remove(it.id()) {
                    Some(Ok(stored)) if listed.lets_through(&stored, now) => {
                        found.push(self.told(&stored));
                    }
                    // One that isn't asked for, or whose time was over since.
                    Some(Ok(_)) | None => {}
                    Some(Err(error)) => {
                        let (id, cause) = (it.id(), describe(&error));
                        error!(operation.id = id, cause, "operation {id}: it can't be read");
                    }
                }
            }
            after = next;
            if after.is_none() || found.len() == size {
                break;
            }
        }
        Ok((found, after))
    }
}

/// Of the index, for one page of the answer: a filter may let few through.
const MOST_PAGES: usize = 5;

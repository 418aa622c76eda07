//! What is written down about webhook subscriptions, and when they are looked at next.

use aws_sdk_dynamodb::types::AttributeValue;
use fleet::Timestamp;

use crate::{
    Commit, Shared, StoreError, Table,
    batch::{key, text},
    record::on_condition,
    schedule::{RECONCILER, STATE, milliseconds},
};

/// One of the texts about subscriptions. Their owners read and write them; here they are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionsText {
    /// Which are ours. `kingpin` writes it.
    Ledger,
    /// Which aren't well. The reconciler writes it.
    Watch,
}

impl SubscriptionsText {
    const fn sk(self) -> &'static str {
        match self {
            Self::Ledger => "LEDGER",
            Self::Watch => "WATCH",
        }
    }
}

impl Table {
    /// A text about subscriptions, strongly consistent.
    pub async fn subscriptions_text(
        &self,
        which: SubscriptionsText,
    ) -> Result<Option<String>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key(SUBSCRIPTIONS, which.sk())))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::of("read what is known of subscriptions"))?;
        let found = found.item.as_ref();
        found
            .map(|item| text(item, TEXT).map(str::to_owned))
            .transpose()
    }

    /// Replaces a text about subscriptions, if it is still the one that was read.
    pub async fn replace_subscriptions_text(
        &self,
        which: SubscriptionsText,
        before: Option<&str>,
        after: &str,
    ) -> Result<bool, StoreError> {
        let string = |text: &str| AttributeValue::S(text.to_owned());
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(SUBSCRIPTIONS, which.sk())))
            .update_expression("SET document = :after")
            .expression_attribute_values(":after", string(after));
        let update = match before {
            Some(before) => update
                .condition_expression("document = :before")
                .expression_attribute_values(":before", string(before)),
            None => update.condition_expression("attribute_not_exists(document)"),
        };
        let written = on_condition("write what is known of subscriptions", update.send().await)?;
        Ok(matches!(written, Commit::Written(_)))
    }

    /// Takes the next look at subscriptions, and puts the one after it at `next`, if nobody did since `seen` was read.
    pub async fn take_subscriptions_look(
        &self,
        seen: &Shared,
        next: Timestamp,
    ) -> Result<bool, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(RECONCILER, STATE)))
            .update_expression("SET subscriptions_at = :next")
            .expression_attribute_values(":next", milliseconds(next));
        let update = match seen.subscriptions_at {
            Some(at) => update
                .condition_expression("subscriptions_at = :seen")
                .expression_attribute_values(":seen", milliseconds(at)),
            None => update.condition_expression("attribute_not_exists(subscriptions_at)"),
        };
        let taken = on_condition("take a look at subscriptions", update.send().await)?;
        Ok(matches!(taken, Commit::Written(_)))
    }
}

const SUBSCRIPTIONS: &str = "SUBSCRIPTIONS";
const TEXT: &str = "document";

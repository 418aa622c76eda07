//! Messages that can't be processed.

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use time::{Duration, OffsetDateTime, macros::format_description};

use crate::{StoreError, Table, batch::key};

/// A message that can't be processed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Tells it from others; the same message has the same digest.
    pub digest: String,
    /// Why it can't be processed, in a few words and without its content.
    pub reason: String,
    /// The event's name if it is known.
    pub event_name: Option<String>,
    /// The message, if it is known to be scrubbed: up to [`Quarantined::LONGEST_BODY`].
    pub body: Option<String>,
}

impl Quarantined {
    /// The longest body that can be kept, in bytes: an item holds 400 KB (AWS).
    pub const LONGEST_BODY: usize = 350 * 1024;
}

impl Table {
    /// How many messages were quarantined on the day of `day`.
    pub async fn quarantined_on(&self, day: OffsetDateTime) -> Result<u64, StoreError> {
        let mut count = 0;
        let mut from = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.name)
                .select(Select::Count)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(pk(day)))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(StoreError::of("count quarantined messages"))?;
            count += u64::from(page.count.unsigned_abs());
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(count);
            }
        }
    }

    /// Keeps a message for `days`. Again on the same day is the same as once.
    pub async fn quarantine(
        &self,
        quarantined: &Quarantined,
        now: OffsetDateTime,
        days: u32,
    ) -> Result<(), StoreError> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let expires_at = now + Duration::days(i64::from(days));
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(key(pk(now), &quarantined.digest)))
            .item("reason", text(&quarantined.reason))
            .item(
                "quarantined_at",
                AttributeValue::N(crate::timestamp(now).0.to_string()),
            )
            .item(
                "expires_at",
                AttributeValue::N(expires_at.unix_timestamp().to_string()),
            );
        if let Some(name) = &quarantined.event_name {
            put = put.item("event_name", text(name));
        }
        if let Some(body) = &quarantined.body {
            put = put.item("body", text(body));
        }
        put.send()
            .await
            .map_err(StoreError::of("quarantine a message"))?;
        Ok(())
    }
}

fn pk(day: OffsetDateTime) -> String {
    let date = day.format(format_description!("[year]-[month]-[day]"));
    format!("QUARANTINE#{}", date.unwrap_or_default())
}

//! Messages that can't be processed.

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use fleet::Timestamp;
use time::{Date, Duration, OffsetDateTime, macros::format_description};

use crate::{
    Commit, StoreError, Table,
    batch::{Item, damaged, key, number, text},
    record::on_condition,
};

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

/// A message that was set aside, as it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The day on which it was set aside.
    pub day: Date,
    /// When. Tells it from the same message that is set aside once more on that day.
    pub at: Timestamp,
    /// When it is deleted, or soon after that.
    pub until: Timestamp,
    /// How long its body is, in bytes; `None` if it has none, because it isn't known to be scrubbed.
    pub bytes: Option<usize>,
    /// The message; its body is there only if it was asked for.
    pub message: Quarantined,
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
                .expression_attribute_values(":pk", AttributeValue::S(pk(day.date())))
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

    /// The messages that were quarantined on a day, in the order of their digests and without their bodies; those whose digest
    /// begins with `digest`. Strongly consistent. One that can't be read is an error of its own.
    pub async fn set_aside_on(
        &self,
        day: Date,
        digest: &str,
    ) -> Result<Vec<Result<SetAside, StoreError>>, StoreError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk(day)));
        // DynamoDB refuses an empty text in a key, also in the beginning of one.
        if !digest.is_empty() {
            query = query
                .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                .expression_attribute_values(":sk", AttributeValue::S(digest.to_owned()));
        }
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = query
                .clone()
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(StoreError::of("read quarantined messages"))?;
            // Page by page, because bodies are large and there may be many.
            for item in page.items.iter().flatten() {
                found.push(read(day, item).map(|mut it| {
                    it.message.body = None;
                    it
                }));
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// Those of some messages that are still there as they were found, with their bodies; at most a hundred. Strongly consistent.
    pub async fn set_aside_still(&self, found: &[SetAside]) -> Result<Vec<SetAside>, StoreError> {
        let keys = found.iter().map(|it| key(pk(it.day), &it.message.digest));
        let items = self
            .get_chunk("read quarantined messages", keys.collect())
            .await?;
        let mut still = Vec::with_capacity(found.len());
        for item in &items {
            let (pk, sk) = (text(item, "pk")?, text(item, "sk")?);
            let was = found
                .iter()
                .find(|it| self::pk(it.day) == pk && it.message.digest == sk);
            if let Some(was) = was {
                still.extend(Some(read(was.day, item)?).filter(|it| it.at == was.at));
            }
        }
        // As they were asked for.
        still.sort_by_key(|it| {
            let same =
                |was: &SetAside| was.day == it.day && was.message.digest == it.message.digest;
            found.iter().position(same)
        });
        Ok(still)
    }

    /// Removes a message that was set aside. One that was set aside again since it was found, or removed by somebody else, is a
    /// conflict, and stays as it is.
    pub async fn remove_set_aside(&self, found: &SetAside) -> Result<Commit<()>, StoreError> {
        let at = AttributeValue::N(found.at.0.to_string());
        let removed = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(pk(found.day), &found.message.digest)))
            .condition_expression("quarantined_at = :at")
            .expression_attribute_values(":at", at)
            .send()
            .await;
        let removed = on_condition("remove a quarantined message", removed)?;
        Ok(removed.map(drop))
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
            .set_item(Some(key(pk(now.date()), &quarantined.digest)))
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

fn read(day: Date, item: &Item) -> Result<SetAside, StoreError> {
    let optional = |name: &str| {
        let value = item.get(name);
        let value = value.map(|value| value.as_s().cloned());
        let value = value.transpose();
        value.map_err(|_| damaged(item, format!("no text {name}")))
    };
    let body = optional("body")?;
    Ok(SetAside {
        day,
        at: Timestamp(number(item, "quarantined_at")?),
        until: Timestamp(number::<i64>(item, "expires_at")?.saturating_mul(1000)),
        bytes: body.as_ref().map(String::len),
        message: Quarantined {
            digest: text(item, "sk")?.to_owned(),
            reason: text(item, "reason")?.to_owned(),
            event_name: optional("event_name")?,
            body,
        },
    })
}

fn pk(day: Date) -> String {
    let date = day.format(format_description!("[year]-[month]-[day]"));
    format!("QUARANTINE#{}", date.unwrap_or_default())
}

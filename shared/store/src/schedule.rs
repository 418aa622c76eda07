//! When what is looked at: leases of due items, what came of looks, and the one item that all who look share.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use fleet::{FleetRef, Timestamp};

use crate::{
    Commit, DueItem, StoreError, StoredRecord, Table,
    batch::{Item, damaged, key, number, text},
    due,
    parked::PARKED,
    record::{self, LOOKS, RECORD, on_condition},
};

/// What all who look at fleets share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Catena wants nothing from us before: it answered 429 (contract 2).
    pub not_before: Option<Timestamp>,
    /// How far the comparison with Catena's lists is, as its owner wrote it.
    pub comparison: Option<String>,
    /// Somebody compares, and has until then.
    pub comparison_leased_until: Option<Timestamp>,
    /// Somebody looks at write operations, and has until then.
    pub operations_leased_until: Option<Timestamp>,
    /// When webhook subscriptions are looked at next.
    pub subscriptions_at: Option<Timestamp>,
}

impl Table {
    /// Takes a due item out of the index until `until`, if nobody did since it was seen there at `seen` milliseconds. The lease is
    /// nothing but a later time in the index: whoever writes the item meanwhile puts its own there, and at worst it is looked at
    /// twice.
    pub async fn lease(
        &self,
        item: &DueItem,
        seen: i64,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let (pk, sk) = match item {
            DueItem::Fleet(fleet) => (record::pk(fleet), RECORD.to_owned()),
            DueItem::Parked { key, digest } => (key.to_string(), format!("{PARKED}{digest}")),
        };
        self.defer("lease a due item", key(pk, sk), seen, until)
            .await
    }

    /// Moves when an item is due from `seen` milliseconds to `until`, if it is still due then.
    pub(crate) async fn defer(
        &self,
        operation: &'static str,
        at: Item,
        seen: i64,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(at))
            .update_expression("SET due_at = :until")
            .condition_expression("due_at = :seen")
            .expression_attribute_values(":until", milliseconds(until))
            .expression_attribute_values(":seen", AttributeValue::N(seen.to_string()))
            .send()
            .await;
        let deferred = on_condition(operation, answer)?;
        Ok(matches!(deferred, Commit::Written(_)))
    }

    /// Writes down what came of a look, on the condition that the record's version is still `stored.version`: the notes in
    /// `stored.looks`, `stored.look`, and when the next look is due. The version is raised, so that nobody who read the record
    /// before writes older notes.
    pub async fn note(
        &self,
        stored: &StoredRecord,
        next: Option<Timestamp>,
    ) -> Result<Commit<()>, StoreError> {
        let pk = record::pk(&stored.fleet);
        let unwritable = |error: serde_json::Error| damaged(&key(&pk, RECORD), error.to_string());
        let mut set = vec!["version = :next_version"];
        let mut remove = Vec::new();
        let mut values = HashMap::from([
            (
                ":version".to_owned(),
                AttributeValue::N(stored.version.to_string()),
            ),
            (
                ":next_version".to_owned(),
                AttributeValue::N((stored.version + 1).to_string()),
            ),
        ]);
        let looks = (stored.looks != fleet::Looks::default()).then_some(&stored.looks);
        match looks
            .map(serde_json::to_string)
            .transpose()
            .map_err(unwritable)?
        {
            Some(looks) => {
                set.push("looks = :looks");
                values.insert(":looks".to_owned(), AttributeValue::S(looks));
            }
            None => remove.push(LOOKS),
        }
        match stored
            .look
            .as_ref()
            .map(serde_json::to_string)
            .transpose()
            .map_err(unwritable)?
        {
            Some(look) => {
                set.push("look = :look");
                values.insert(":look".to_owned(), AttributeValue::S(look));
            }
            None => remove.push("look"),
        }
        match next {
            Some(at) => {
                set.extend(["due_shard = :shard", "due_at = :at"]);
                values.insert(":shard".to_owned(), due::shard(&pk));
                values.insert(":at".to_owned(), milliseconds(at));
            }
            None => remove.extend([due::SHARD, due::AT]),
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression += &format!(" REMOVE {}", remove.join(", "));
        }
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, RECORD)))
            .update_expression(expression)
            .condition_expression("version = :version")
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        Ok(on_condition("note a look", answer)?.map(|_| ()))
    }

    /// Puts a parked event off, unless it found its fleet meanwhile.
    pub async fn put_off(&self, item: &crate::Parked, until: Timestamp) -> Result<(), StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(
                item.key.to_string(),
                format!("{PARKED}{}", item.digest),
            )))
            .update_expression("SET due_at = :until")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":until", milliseconds(until))
            .send()
            .await;
        on_condition("put a parked event off", answer).map(|_| ())
    }

    /// What all who look share, strongly consistent.
    pub async fn shared(&self) -> Result<Shared, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key(RECONCILER, STATE)))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::of("read what all who look share"))?;
        found.item.as_ref().map_or(Ok(Shared::default()), read)
    }

    /// Makes everybody leave Catena alone until a moment, unless they do so for longer already.
    pub async fn pause_until(&self, until: Timestamp) -> Result<(), StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(RECONCILER, STATE)))
            .update_expression("SET not_before = :until")
            .condition_expression("attribute_not_exists(not_before) OR not_before < :until")
            .expression_attribute_values(":until", milliseconds(until))
            .send()
            .await;
        on_condition("write when Catena may be asked again", answer).map(|_| ())
    }

    /// Writes how far the comparison is and who has it, if it is still as `before` says.
    pub async fn compare(
        &self,
        before: &Shared,
        comparison: &str,
        leased_until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(RECONCILER, STATE)))
            .expression_attribute_values(":comparison", AttributeValue::S(comparison.to_owned()));
        update = match leased_until {
            Some(until) => update
                .update_expression("SET comparison = :comparison, leased_until = :leased")
                .expression_attribute_values(":leased", milliseconds(until)),
            None => update.update_expression("SET comparison = :comparison REMOVE leased_until"),
        };
        let mut conditions = Vec::new();
        match &before.comparison {
            Some(before) => {
                conditions.push("comparison = :before");
                update = update
                    .expression_attribute_values(":before", AttributeValue::S(before.clone()));
            }
            None => conditions.push("attribute_not_exists(comparison)"),
        }
        match before.comparison_leased_until {
            Some(leased) => {
                conditions.push("leased_until = :leased_before");
                update = update.expression_attribute_values(":leased_before", milliseconds(leased));
            }
            None => conditions.push("attribute_not_exists(leased_until)"),
        }
        let answer = update
            .condition_expression(conditions.join(" AND "))
            .send()
            .await;
        let written = on_condition("write how far the comparison is", answer)?;
        Ok(matches!(written, Commit::Written(_)))
    }

    /// Takes the looks at write operations until a moment, if nobody has them.
    pub async fn lease_operations(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(RECONCILER, STATE)))
            .update_expression("SET operations_until = :until")
            .condition_expression(
                "attribute_not_exists(operations_until) OR operations_until <= :now",
            )
            .expression_attribute_values(":until", milliseconds(until))
            .expression_attribute_values(":now", milliseconds(now))
            .send()
            .await;
        let leased = on_condition("take the looks at operations", answer)?;
        Ok(matches!(leased, Commit::Written(_)))
    }

    /// Gives the looks at write operations back that were taken until that moment.
    pub async fn end_operations(&self, until: Timestamp) -> Result<(), StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(RECONCILER, STATE)))
            .update_expression("REMOVE operations_until")
            .condition_expression("operations_until = :until")
            .expression_attribute_values(":until", milliseconds(until))
            .send()
            .await;
        on_condition("give the looks at operations back", answer).map(|_| ())
    }

    /// Makes a fleet due now, for a look at all that Catena holds of it. `false` if there is no such fleet.
    pub async fn recheck(&self, fleet: &FleetRef, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..crate::COMMIT_ATTEMPTS {
            let mut stored = self.record(fleet).await?;
            if stored.version == 0 {
                return Ok(false);
            }
            let why = fleet::Why::ReadBack;
            stored.look = stored
                .look
                .into_iter()
                .chain([fleet::Due { at: now, why }])
                .min();
            stored.looks = fleet::Looks::default();
            if let Commit::Written(()) = self.note(&stored, Some(now)).await? {
                return Ok(true);
            }
        }
        Err(StoreError::Unavailable {
            operation: "make a fleet due",
            source: "conflicts in a row".into(),
        })
    }
}

fn read(item: &Item) -> Result<Shared, StoreError> {
    let time = |name: &str| match item.get(name) {
        Some(_) => number(item, name).map(Timestamp).map(Some),
        None => Ok(None),
    };
    Ok(Shared {
        not_before: time("not_before")?,
        comparison: match item.get("comparison") {
            Some(_) => Some(text(item, "comparison")?.to_owned()),
            None => None,
        },
        comparison_leased_until: time("leased_until")?,
        operations_leased_until: time("operations_until")?,
        subscriptions_at: time("subscriptions_at")?,
    })
}

pub(crate) fn milliseconds(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.0.to_string())
}

pub(crate) const RECONCILER: &str = "RECONCILER";
pub(crate) const STATE: &str = "STATE";

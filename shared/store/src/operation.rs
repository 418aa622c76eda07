//! Write operations: each is one item; under Catena's id of it, and under a digest of what it writes, there is another.
//!
//! What Catena says of an operation arrives under Catena's id, often before anybody knows whose that is: webhooks overtake answers. The
//! item under that id is where both meet, as under other ids of Catena's ([`crate::Key`]): each change answers with the item as it is
//! afterwards, so whoever comes second sees the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::operations::{Heard, Operation, Status};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use fleet::{FleetRef, Timestamp};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::{
    Commit, HistoryDays, StoreError, StoredRecord, Table,
    batch::{CONCURRENCY, Item, damaged, key, number, text},
    due,
    image::attribute,
    record::{self, RECORD, on_condition},
    schedule::milliseconds,
};

/// An operation as it stands in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredOperation {
    /// The operation.
    pub operation: Operation,
    /// Raised by one with each write; 0 if it isn't written yet.
    pub version: u64,
    /// When this version was written, by its writer's clock; the beginning of time if it isn't yet.
    pub written_at: Timestamp,
}

impl StoredOperation {
    /// One that isn't written yet.
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            version: 0,
            written_at: Timestamp(0),
        }
    }
}

/// What is kept under Catena's id of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// Our operation, once that is known. Never changes.
    pub operation: Option<String>,
    /// What was heard before that.
    pub heard: Heard,
    /// Raised with each change of `heard`; 0 if nothing was heard.
    pub(crate) version: u64,
}

/// Who last wrote such a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The operation.
    pub operation: String,
    /// When it took its turn.
    pub since: Timestamp,
}

/// Which operations to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationFilter {
    /// Of one fleet, the latest first; without one all, in no order of time.
    pub fleet: Option<FleetRef>,
    /// First asked for then or later.
    pub from: Option<Timestamp>,
    /// First asked for before then.
    pub to: Option<Timestamp>,
}

/// Where a list of operations goes on: the key of the last one, as the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationCursor {
    fleet: String,
    submitted_at: i64,
    id: String,
}

impl OperationCursor {
    /// As a text.
    pub fn text(&self) -> String {
        format!("{} {} {}", self.submitted_at, self.id, self.fleet)
    }

    /// Reads one of its texts.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            submitted_at: parts.next()?.parse().ok()?,
            id: parts.next().filter(|id| is_id(id))?.to_owned(),
            fleet: FleetRef::parse(parts.next()?)?.as_str().to_owned(),
        })
    }

    /// Our id of the last one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the last one was first asked for.
    pub fn submitted_at(&self) -> Timestamp {
        Timestamp(self.submitted_at)
    }

    /// The fleet of the last one.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }
}

/// Whether a text may be one of our operations' ids.
fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|it| it.is_ascii_hexdigit() && !it.is_ascii_uppercase())
}

impl Table {
    /// A fleet's record, with version 0 if it has none, and one of our operations: strongly consistent, one request.
    pub async fn asked(
        &self,
        fleet: &FleetRef,
        id: &str,
    ) -> Result<(StoredRecord, Option<StoredOperation>), StoreError> {
        let keys = vec![key(record::pk(fleet), RECORD), key(pk(id), OPERATION)];
        let found = self
            .get_chunk("read a fleet and an operation", keys)
            .await?;
        let mut stored = StoredRecord::new(fleet.clone());
        let mut operation = None;
        for item in &found {
            match text(item, "sk")? {
                RECORD => stored = record::read(fleet.clone(), item)?,
                _ => operation = Some(read(item)?),
            }
        }
        Ok((stored, operation))
    }

    /// One of our operations, strongly consistent.
    pub async fn operation(&self, id: &str) -> Result<Option<StoredOperation>, StoreError> {
        let ids = BTreeSet::from([id.to_owned()]);
        self.operations(&ids)
            .await?
            .into_values()
            .next()
            .transpose()
    }

    /// Some of our operations by their ids, strongly consistent: one request for up to a hundred. One that can't be read harms no other.
    pub async fn operations(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Result<StoredOperation, StoreError>>, StoreError> {
        let keys = ids
            .iter()
            .filter(|id| is_id(id))
            .map(|id| key(pk(id), OPERATION));
        let items = self.get_all("read operations", keys.collect()).await?;
        let mut found = BTreeMap::new();
        for item in &items {
            if let Some(id) = text(item, "pk")?.strip_prefix(PREFIX) {
                found.insert(id.to_owned(), read(item));
            }
        }
        Ok(found)
    }

    async fn get_all(
        &self,
        operation: &'static str,
        keys: Vec<Item>,
    ) -> Result<Vec<Item>, StoreError> {
        let chunks: Vec<_> = keys.chunks(MOST).map(<[Item]>::to_vec).collect();
        let items: Vec<Vec<Item>> = stream::iter(chunks)
            .map(|chunk| self.get_chunk(operation, chunk))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(items.into_iter().flatten().collect())
    }

    pub(crate) async fn keep_operation(
        &self,
        stored: &StoredOperation,
        status: Status,
        due: Option<Timestamp>,
        days: HistoryDays,
        now: Timestamp,
    ) -> Result<Commit<StoredOperation>, StoreError> {
        let operation = &stored.operation;
        let at = pk(&operation.id);
        let written = serde_json::to_string(operation)
            .map_err(|error| damaged(&key(&at, OPERATION), error.to_string()))?;
        let string = |text: &str| AttributeValue::S(text.to_owned());
        let count = |number: u64| AttributeValue::N(number.to_string());
        // From its last call, so that none ends while something is expected of it.
        let expires_at = days.end(operation.called_at);
        let mut set = vec![
            "#schema = :schema",
            "#version = :next",
            "#operation = :operation",
            "#status = :status",
            "fleet_ref = :fleet",
            "submitted_at = :submitted",
            "written_at = :now",
            "expires_at = :expires",
        ];
        let mut values = HashMap::from([
            (":schema".to_owned(), count(u64::from(SCHEMA))),
            (":next".to_owned(), count(stored.version + 1)),
            (":operation".to_owned(), AttributeValue::S(written)),
            (":status".to_owned(), string(status.as_str())),
            (":fleet".to_owned(), string(operation.asked.fleet.as_str())),
            (
                ":submitted".to_owned(),
                milliseconds(operation.submitted_at),
            ),
            (":now".to_owned(), milliseconds(now)),
            (
                ":expires".to_owned(),
                AttributeValue::N(expires_at.to_string()),
            ),
        ]);
        let remove = match due {
            Some(due) => {
                set.extend(["due_shard = :shard", "due_at = :due"]);
                values.insert(":shard".to_owned(), string(SHARD));
                values.insert(":due".to_owned(), milliseconds(due));
                ""
            }
            None => " REMOVE due_shard, due_at",
        };
        let condition = match stored.version {
            0 => "attribute_not_exists(pk)",
            version => {
                values.insert(":version".to_owned(), count(version));
                "#version = :version"
            }
        };
        let names = ["schema", "version", "operation", "status"];
        let names = names.map(|name| (format!("#{name}"), name.to_owned()));
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&at, OPERATION)))
            .update_expression(format!("SET {}{remove}", set.join(", ")))
            .condition_expression(condition)
            .set_expression_attribute_names(Some(HashMap::from(names)))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        let written = on_condition("write an operation", answer)?;
        Ok(written.map(|_| StoredOperation {
            operation: operation.clone(),
            version: stored.version + 1,
            written_at: now,
        }))
    }

    /// Who last wrote such a payload, strongly consistent.
    pub async fn guard(&self, digest: &str) -> Result<Option<Guard>, StoreError> {
        let keys = vec![key(format!("PAYLOAD#{digest}"), GUARD)];
        let found = self.get_chunk("read whose turn it is", keys).await?;
        let read = |item: &Item| {
            Ok(Guard {
                operation: text(item, "operation")?.to_owned(),
                since: Timestamp(number(item, "since")?),
            })
        };
        found.first().map(read).transpose()
    }

    /// Takes the turn to write such a payload, if `before` still has it.
    pub async fn take_guard(
        &self,
        digest: &str,
        guard: &Guard,
        before: Option<&Guard>,
    ) -> Result<bool, StoreError> {
        let string = |text: &str| AttributeValue::S(text.to_owned());
        let expires_at = guard.since.plus(GUARDED_MS).0 / 1000;
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(format!("PAYLOAD#{digest}"), GUARD)))
            .update_expression("SET #operation = :operation, since = :since, expires_at = :expires")
            .expression_attribute_names("#operation", "operation")
            .expression_attribute_values(":operation", string(&guard.operation))
            .expression_attribute_values(":since", milliseconds(guard.since))
            .expression_attribute_values(":expires", AttributeValue::N(expires_at.to_string()));
        let update = match before {
            // Its own turn is no hindrance: it is repeated.
            None => {
                update.condition_expression("attribute_not_exists(pk) OR #operation = :operation")
            }
            Some(before) => update
                .condition_expression("#operation = :before AND since = :since_before")
                .expression_attribute_values(":before", string(&before.operation))
                .expression_attribute_values(":since_before", milliseconds(before.since)),
        };
        let taken = on_condition("take a turn to write", update.send().await)?;
        Ok(matches!(taken, Commit::Written(_)))
    }

    /// What is kept under Catena's ids of operations, strongly consistent.
    pub async fn remotes(
        &self,
        catena_ids: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<BTreeMap<String, Remote>, StoreError> {
        let keys = catena_ids
            .into_iter()
            .map(|id| key(remote(id.as_ref()), REMOTE));
        let items = self
            .get_all("read what was heard of operations", keys.collect())
            .await?;
        let mut found = BTreeMap::new();
        for item in &items {
            if let Some(id) = text(item, "pk")?.strip_prefix(REMOTE_PREFIX) {
                found.insert(id.to_owned(), read_remote(item)?);
            }
        }
        Ok(found)
    }

    /// Makes one of Catena's ids that of an operation of ours, and tells what was heard under it; or whose it is, if it is another's.
    pub(crate) async fn claim(
        &self,
        catena_id: &str,
        operation: &str,
        expires_at: i64,
    ) -> Result<Result<Heard, String>, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(remote(catena_id), REMOTE)))
            .update_expression("SET #operation = :operation, expires_at = :expires")
            .condition_expression("attribute_not_exists(#operation) OR #operation = :operation")
            .expression_attribute_names("#operation", "operation")
            .expression_attribute_values(":operation", AttributeValue::S(operation.to_owned()))
            .expression_attribute_values(":expires", AttributeValue::N(expires_at.to_string()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match on_condition("claim one of Catena's operations", answer)? {
            Commit::Written(answer) => {
                let item = answer.attributes.unwrap_or_default();
                Ok(Ok(read_remote(&item)?.heard))
            }
            Commit::Conflict => {
                let found = self.remotes([catena_id]).await?;
                let owner = found.into_values().next().and_then(|it| it.operation);
                Ok(Err(owner.unwrap_or_default()))
            }
        }
    }

    /// Keeps what was heard of an operation that nobody claimed yet, if `version` is still the one that it was folded from.
    pub(crate) async fn hear(
        &self,
        catena_id: &str,
        heard: &Heard,
        version: u64,
        now: Timestamp,
    ) -> Result<Commit<Remote>, StoreError> {
        let at = || key(remote(catena_id), REMOTE);
        let heard =
            serde_json::to_string(heard).map_err(|error| damaged(&at(), error.to_string()))?;
        let expires_at = now.plus(FOREIGN_MS).0 / 1000;
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(at()))
            // Not over a claim's own time.
            .update_expression(
                "SET heard = :heard, #schema = :schema, expires_at = if_not_exists(expires_at, :expires) ADD #version :one",
            )
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":schema", AttributeValue::N(SCHEMA.to_string()))
            .expression_attribute_values(":heard", AttributeValue::S(heard))
            .expression_attribute_values(":expires", AttributeValue::N(expires_at.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::AllNew);
        let update = match version {
            0 => update.condition_expression("attribute_not_exists(#version)"),
            version => update
                .condition_expression("#version = :version")
                .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
        };
        match on_condition("keep what was heard of an operation", update.send().await)? {
            Commit::Written(answer) => {
                let item = answer.attributes.unwrap_or_default();
                Ok(Commit::Written(read_remote(&item)?))
            }
            Commit::Conflict => Ok(Commit::Conflict),
        }
    }

    /// Operations that are due until `until`, the soonest first, at most `limit`.
    pub async fn due_operations(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let condition = "due_shard = :key AND due_at <= :until";
        let values = BTreeMap::from([
            (":key", AttributeValue::S(SHARD.to_owned())),
            (":until", milliseconds(until)),
        ]);
        let found = self.index("due", condition, values, limit).await?;
        let mut due = Vec::new();
        for item in &found {
            if let Some(id) = text(item, "pk")?.strip_prefix(PREFIX) {
                due.push((number(item, due::AT)?, id.to_owned()));
            }
        }
        Ok(due)
    }

    /// Puts off when an operation is due that was seen due at `seen` milliseconds, and leaves the rest of it alone.
    pub async fn put_off_operation(
        &self,
        id: &str,
        seen: i64,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let at = key(pk(id), OPERATION);
        self.defer("put an operation off", at, seen, until)
            .await
            .map(drop)
    }

    /// Operations, at most `limit`, and where the next page begins. From the index, which is a moment behind.
    pub async fn list_operations(
        &self,
        filter: &OperationFilter,
        after: Option<&OperationCursor>,
        limit: usize,
    ) -> Result<(Vec<OperationCursor>, Option<OperationCursor>), StoreError> {
        let limit = i32::try_from(limit.max(1)).unwrap_or(i32::MAX);
        let from = filter.from.unwrap_or(Timestamp(0));
        let to = filter.to.map_or(i64::MAX / 2, |to| to.0 - 1);
        let (from, to) = (milliseconds(from), AttributeValue::N(to.to_string()));
        let start = after.map(|after| {
            let mut start = key(pk(&after.id), OPERATION);
            start.insert(
                "fleet_ref".to_owned(),
                AttributeValue::S(after.fleet.clone()),
            );
            start.insert(
                "submitted_at".to_owned(),
                AttributeValue::N(after.submitted_at.to_string()),
            );
            start
        });
        let what = "list operations";
        let (items, last) = match &filter.fleet {
            Some(fleet) => {
                let page = self
                    .client
                    .query()
                    .table_name(&self.name)
                    .index_name(INDEX)
                    .key_condition_expression(
                        "fleet_ref = :fleet AND submitted_at BETWEEN :from AND :to",
                    )
                    .expression_attribute_values(
                        ":fleet",
                        AttributeValue::S(fleet.as_str().to_owned()),
                    )
                    .expression_attribute_values(":from", from)
                    .expression_attribute_values(":to", to)
                    .scan_index_forward(false)
                    .limit(limit)
                    .set_exclusive_start_key(start)
                    .send()
                    .await
                    .map_err(StoreError::of(what))?;
                (page.items.unwrap_or_default(), page.last_evaluated_key)
            }
            None => {
                let page = self
                    .client
                    .scan()
                    .table_name(&self.name)
                    .index_name(INDEX)
                    .filter_expression("submitted_at BETWEEN :from AND :to")
                    .expression_attribute_values(":from", from)
                    .expression_attribute_values(":to", to)
                    .limit(limit)
                    .set_exclusive_start_key(start)
                    .send()
                    .await
                    .map_err(StoreError::of(what))?;
                (page.items.unwrap_or_default(), page.last_evaluated_key)
            }
        };
        let found = items.iter().map(cursor).collect::<Result<_, _>>()?;
        Ok((found, last.as_ref().map(cursor).transpose()?))
    }
}

fn cursor(item: &Item) -> Result<OperationCursor, StoreError> {
    let id = text(item, "pk")?.strip_prefix(PREFIX);
    Ok(OperationCursor {
        fleet: text(item, "fleet_ref")?.to_owned(),
        submitted_at: number(item, "submitted_at")?,
        id: id.unwrap_or_default().to_owned(),
    })
}

/// A write of an operation, out of one of the stream's records (see [`crate::RecordChange`]).
#[derive(Clone)]
pub struct OperationChange<'a> {
    id: String,
    change: &'a Value,
}

impl<'a> OperationChange<'a> {
    /// `None` for what writes no operation, and for a write that leaves it where it stood.
    pub fn of(stream_record: &'a Value) -> Option<Self> {
        let change = &stream_record["dynamodb"];
        let part = |name: &str| change["Keys"][name]["S"].as_str();
        let id = part("pk")?.strip_prefix(PREFIX)?.to_owned();
        let written = stream_record["eventName"] != "REMOVE" && part("sk") == Some(OPERATION);
        let status = |image: &str| change[image]["status"]["S"].as_str();
        let moved = status("OldImage") != status("NewImage") || status("NewImage").is_none();
        (written && moved).then_some(Self { id, change })
    }

    /// The operation's partition key and sort key.
    pub fn keys(&self) -> (String, &'static str) {
        (pk(&self.id), OPERATION)
    }

    /// The version that was written, whether or not the rest can be read.
    pub fn version(&self) -> Option<u64> {
        let version = self.change["NewImage"]["version"]["N"].as_str();
        version.and_then(|version| version.parse().ok())
    }

    /// The operation before the write; `None` if there was none.
    pub fn before(&self) -> Result<Option<StoredOperation>, StoreError> {
        let image = &self.change["OldImage"];
        (!image.is_null()).then(|| self.read(image)).transpose()
    }

    /// The operation that was written.
    pub fn after(&self) -> Result<StoredOperation, StoreError> {
        self.read(&self.change["NewImage"])
    }

    fn read(&self, image: &Value) -> Result<StoredOperation, StoreError> {
        let (pk, sk) = self.keys();
        let mut item = key(pk, sk);
        let attributes = image.as_object().into_iter().flatten();
        for (name, value) in attributes {
            item.extend(attribute(value).map(|value| (name.clone(), value)));
        }
        read(&item)
    }
}

fn pk(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn remote(catena_id: &str) -> String {
    format!("{REMOTE_PREFIX}{catena_id}")
}

fn read(item: &Item) -> Result<StoredOperation, StoreError> {
    known_schema(item)?;
    let operation = serde_json::from_str(text(item, "operation")?)
        .map_err(|error| damaged(item, format!("operation: {error}")))?;
    Ok(StoredOperation {
        operation,
        version: number(item, "version")?,
        written_at: Timestamp(number(item, "written_at")?),
    })
}

fn known_schema(item: &Item) -> Result<(), StoreError> {
    let schema: u32 = number(item, "schema")?;
    match schema > SCHEMA {
        false => Ok(()),
        true => Err(StoreError::NewerSchema {
            item: text(item, "pk")?.to_owned(),
            schema,
            known: SCHEMA,
        }),
    }
}

fn read_remote(item: &Item) -> Result<Remote, StoreError> {
    // What was only claimed has none.
    if item.contains_key("schema") {
        known_schema(item)?;
    }
    let part = |name: &'static str| item.get(name).map(|_| text(item, name)).transpose();
    let heard = part("heard")?.map(serde_json::from_str).transpose();
    let heard: Option<Heard> = heard.map_err(|error| damaged(item, format!("heard: {error}")))?;
    Ok(Remote {
        operation: part("operation")?.map(str::to_owned),
        heard: heard.unwrap_or_default(),
        version: match item.get("version") {
            Some(_) => number(item, "version")?,
            None => 0,
        },
    })
}

/// The form of the item that this version writes.
const SCHEMA: u32 = 1;
const PREFIX: &str = "OPERATION#";
const OPERATION: &str = "OPERATION";
const REMOTE_PREFIX: &str = "REMOTE#";
const REMOTE: &str = "REMOTE";
const GUARD: &str = "GUARD";
/// Operations by fleet and by when they were first asked for.
const INDEX: &str = "operation";
/// Their partition of the due index, apart from the fleets': they come in thousands, and must not crowd fleets out of a sweep.
const SHARD: &str = "operations";
/// The most items that one BatchGetItem reads (AWS).
const MOST: usize = 100;
/// Longer than any operation is open: see the parameter `OperationDays`.
const GUARDED_MS: i64 = 60 * 24 * 60 * 60 * 1000;
/// Longer than an operation is searched for, and than what waits at Catena can be replayed (contract 6.5).
const FOREIGN_MS: i64 = 16 * 24 * 60 * 60 * 1000;

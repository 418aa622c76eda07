//! Fleet records.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};
use fleet::{
    Agenda, Decisions, Due, Facts, FleetRef, Looks, Policy, Record, SCHEMA, Standing, Timestamp,
};

use crate::{
    StoreError, Table,
    batch::{Item, damaged, key, number, text},
    due,
};

/// A fleet's record as it stands in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// The fleet.
    pub fleet: FleetRef,
    /// What is kept about it.
    pub record: Record,
    /// Raised by one with each write; 0 if there is no record yet.
    pub version: u64,
    /// To be looked at for a reason that doesn't follow from the record.
    pub look: Option<Due>,
    /// How often it was looked at, and for what.
    pub looks: Looks,
    /// Where it stands in the due index.
    pub due_at: Option<Timestamp>,
    /// When this version was written, by its writer's clock; `None` in those that older programs wrote.
    pub written_at: Option<Timestamp>,
}

/// What became of a write on a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit<T> {
    /// It is written.
    Written(T),
    /// Somebody else wrote first: read, fold and try again.
    Conflict,
}

impl<T> Commit<T> {
    /// The same with another value.
    pub(crate) fn map<U>(self, value: impl FnOnce(T) -> U) -> Commit<U> {
        match self {
            Self::Written(it) => Commit::Written(value(it)),
            Self::Conflict => Commit::Conflict,
        }
    }
}

/// A record as text: what an item of the table can hold, and what it costs.
const LONGEST: usize = 380 * 1024;

impl StoredRecord {
    /// The record of a fleet that has none.
    pub fn new(fleet: FleetRef) -> Self {
        Self {
            fleet,
            record: Record::default(),
            version: 0,
            look: None,
            looks: Looks::default(),
            due_at: None,
            written_at: None,
        }
    }

    /// All that it is due for, by what follows from it and by `look`; the soonest first.
    pub fn all_due(&self, standing: &Standing) -> Vec<Due> {
        let mut due = standing.due.clone();
        due.extend(self.look);
        due.sort();
        due.dedup();
        due
    }

    /// What it is to be looked at for, and when.
    pub fn agenda(&self, standing: &Standing, policy: &Policy, now: Timestamp) -> Agenda {
        self.looks.agenda(&self.all_due(standing), policy, now)
    }

    /// The dates that passed since it was written.
    pub fn passed(&self, policy: &Policy, now: Timestamp) -> Vec<Due> {
        // Nobody knows when older programs wrote: a day ago is late enough that no date is told of that passed long ago, and early
        // enough that none is missed.
        let since = self.written_at.unwrap_or(now.plus(-DAY_MS));
        self.record.passed(policy, since, now)
    }
}

impl Table {
    /// Writes a record at `now`, to be found in the due index at `due_at`, if its version is still `stored.version`; the written one has the next. Returns its size in bytes.
    pub async fn commit(
        &self,
        stored: &StoredRecord,
        standing: &Standing,
        due_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Commit<usize>, StoreError> {
        let pk = pk(&stored.fleet);
        let unwritable = |error: serde_json::Error| damaged(&key(&pk, RECORD), error.to_string());
        let facts = serde_json::to_string(&stored.record.facts).map_err(unwritable)?;
        let decisions = serde_json::to_string(&stored.record.decisions).map_err(unwritable)?;
        let bytes = facts.len() + decisions.len();
        if bytes > LONGEST {
            let fleet = stored.fleet.as_str().to_owned();
            return Err(StoreError::TooLarge { fleet, bytes });
        }
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let number = |number: u64| AttributeValue::N(number.to_string());
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(key(&pk, RECORD)))
            .item("fleet_ref", text(stored.fleet.as_str()))
            .item("schema", number(u64::from(SCHEMA)))
            .item("version", number(stored.version + 1))
            .item("stage", text(standing.stage.as_str()))
            .item(WRITTEN_AT, AttributeValue::N(now.0.to_string()))
            .item("facts", AttributeValue::S(facts));
        if !stored.record.decisions.is_empty() {
            put = put.item("decisions", AttributeValue::S(decisions));
        }
        if let Some(look) = &stored.look {
            let look = serde_json::to_string(look).map_err(unwritable)?;
            put = put.item("look", AttributeValue::S(look));
        }
        if stored.looks != Looks::default() {
            let looks = serde_json::to_string(&stored.looks).map_err(unwritable)?;
            put = put.item(LOOKS, AttributeValue::S(looks));
        }
        if let Some(at) = due_at {
            put = put
                .item(due::SHARD, due::shard(&pk))
                .item(due::AT, AttributeValue::N(at.0.to_string()));
        }
        let put = if stored.version == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("version = :version")
                .expression_attribute_values(":version", number(stored.version))
        };
        let written = on_condition("write a record", put.send().await)?;
        Ok(written.map(|_| bytes))
    }
}

/// What became of a write on a condition.
pub(crate) fn on_condition<T, E, R>(
    operation: &'static str,
    answer: Result<T, SdkError<E, R>>,
) -> Result<Commit<T>, StoreError>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match answer {
        Ok(answer) => Ok(Commit::Written(answer)),
        Err(error) => {
            let code = error.as_service_error().and_then(|error| error.code());
            match code {
                Some("ConditionalCheckFailedException") => Ok(Commit::Conflict),
                _ => Err(StoreError::of(operation)(error)),
            }
        }
    }
}

pub(crate) fn read(fleet: FleetRef, item: &Item) -> Result<StoredRecord, StoreError> {
    let schema: u32 = number(item, "schema")?;
    if schema > SCHEMA {
        let item = format!("record of {fleet}");
        return Err(StoreError::NewerSchema {
            item,
            schema,
            known: SCHEMA,
        });
    }
    let part = |name: &'static str| match item.get(name) {
        Some(_) => text(item, name).map(Some),
        None => Ok(None),
    };
    let unreadable = |name: &'static str| {
        move |error: serde_json::Error| damaged(item, format!("{name}: {error}"))
    };
    let facts: Facts = serde_json::from_str(text(item, "facts")?).map_err(unreadable("facts"))?;
    let decisions: Option<Decisions> = part("decisions")?
        .map(serde_json::from_str)
        .transpose()
        .map_err(unreadable("decisions"))?;
    let look = part("look")?.map(serde_json::from_str).transpose();
    let time = |name: &str| match item.get(name) {
        Some(_) => number(item, name).map(Timestamp).map(Some),
        None => Ok(None),
    };
    let looks = part(LOOKS)?.map(serde_json::from_str).transpose();
    let looks: Option<Looks> = looks.map_err(unreadable(LOOKS))?;
    Ok(StoredRecord {
        fleet,
        record: Record {
            facts,
            decisions: decisions.unwrap_or_default(),
        },
        version: number(item, "version")?,
        look: look.map_err(unreadable("look"))?,
        looks: looks.unwrap_or_default(),
        due_at: time(due::AT)?,
        written_at: time(WRITTEN_AT)?,
    })
}

pub(crate) fn pk(fleet: &FleetRef) -> String {
    format!("FLEET#{fleet}")
}

/// The fleet whose partition this is.
pub(crate) fn fleet_of(pk: &str) -> Option<FleetRef> {
    FleetRef::parse(pk.strip_prefix("FLEET#")?)
}

pub(crate) const LOOKS: &str = "looks";
pub(crate) const RECORD: &str = "RECORD";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// In milliseconds since 1970.
pub(crate) const WRITTEN_AT: &str = "written_at";

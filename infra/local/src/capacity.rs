//! The capacity units that calls to DynamoDB consume, by AWS's documented rules ("Read and write operations", "Item sizes
//! and formats", "Write capacity units" of global secondary indexes, "Conditional writes").
//!
//! MiniStack's own count isn't asked. It is right about writes, but it takes every item and every query for one read unit,
//! whatever its size, and tells nothing of conditions that failed; real AWS tells nothing of those either. So the wire
//! ([`Wire::meter`](crate::wire::Wire::meter)) looks at each item before and after a write, and at what reads answer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::aws::Aws;

/// An item as it goes over the wire: attributes with their types.
pub type Item = Map<String, Value>;

/// What calls consumed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Units {
    /// Read units.
    pub read: f64,
    /// Each written item.
    pub writes: Vec<Write>,
    /// Calls whose units nobody here can tell, by action: the other figures are too low by them.
    pub untold: Vec<String>,
}

/// One item that a call wrote, or failed to write because of its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The item's key.
    pub key: Item,
    /// The item's size afterwards, in bytes; 0 if it is gone.
    pub bytes: usize,
    /// Write units of the table.
    pub table: u64,
    /// Write units of the indexes that had to follow, by name.
    pub indexes: BTreeMap<String, u64>,
}

impl Units {
    /// Write units, those of indexes included.
    pub fn written(&self) -> u64 {
        self.writes.iter().map(Write::units).sum()
    }

    /// Adds what other calls consumed.
    pub fn add(&mut self, other: Self) {
        self.read += other.read;
        self.writes.extend(other.writes);
        self.untold.extend(other.untold);
    }
}

impl Write {
    /// Write units, those of indexes included.
    pub fn units(&self) -> u64 {
        self.table + self.indexes.values().sum::<u64>()
    }
}

/// Finds out what calls consume, by looking at the table before and after them. These looks go past the wire.
#[derive(Debug)]
pub(crate) struct Meter {
    aws: Aws,
    /// Held while a call writes, so that what is seen before and after it is its own doing.
    tables: Mutex<BTreeMap<String, Table>>,
}

/// A call that is on its way.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    meter: &'a Meter,
    action: String,
    input: Value,
    /// If it writes: the items that it names, as they were.
    before: Option<Result<Before<'a>>>,
}

#[derive(Debug)]
struct Before<'a> {
    tables: MutexGuard<'a, BTreeMap<String, Table>>,
    keys: BTreeMap<String, Vec<Item>>,
    items: Vec<Option<Item>>,
}

impl Meter {
    pub(crate) fn new(aws: Aws) -> Self {
        Self {
            aws,
            tables: Mutex::default(),
        }
    }

    /// Looks at what a call is about to write. To be followed by [`Watched::ended`], whatever becomes of the call.
    pub(crate) async fn watch(&self, action: &str, body: &[u8]) -> Watched<'_> {
        let input: Value = serde_json::from_slice(body).unwrap_or_default();
        let written = written(action, &input);
        Watched {
            meter: self,
            action: action.to_owned(),
            before: match written {
                Some(written) => Some(self.look(written).await),
                None => None,
            },
            input,
        }
    }

    async fn look(&self, written: Vec<(String, Item)>) -> Result<Before<'_>> {
        let mut tables = self.tables.lock().await;
        let mut keys: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for (name, item) in written {
            if !tables.contains_key(&name) {
                let answer = self
                    .aws
                    .dynamodb("DescribeTable", json!({"TableName": name}));
                tables.insert(name.clone(), Table::of(&answer.await?["Table"])?);
            }
            let key = tables[&name].key(&item);
            keys.entry(name).or_default().push(key);
        }
        let items = self.items(&keys).await?;
        Ok(Before {
            tables,
            keys,
            items,
        })
    }

    async fn items(&self, keys: &BTreeMap<String, Vec<Item>>) -> Result<Vec<Option<Item>>> {
        let mut items = Vec::new();
        for (table, keys) in keys {
            for key in keys {
                let get = json!({"TableName": table, "Key": key, "ConsistentRead": true});
                let answer = self.aws.dynamodb("GetItem", get).await?;
                items.push(answer["Item"].as_object().cloned());
            }
        }
        Ok(items)
    }
}

impl Watched<'_> {
    /// Tells what the call consumed, by its answer.
    pub(crate) async fn ended(self, succeeded: bool, answer: &[u8]) -> Units {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let told = match self.before {
            None if succeeded => read(&self.action, &self.input, &answer).map(|read| Units {
                read,
                ..Units::default()
            }),
            // Nothing was read.
            None => Some(Units::default()),
            Some(Err(_)) => None,
            Some(Ok(before)) => before.compared(self.meter, succeeded, &answer).await,
        };
        told.unwrap_or_else(|| Units {
            untold: vec![self.action],
            ..Units::default()
        })
    }
}

impl Before<'_> {
    async fn compared(self, meter: &Meter, succeeded: bool, answer: &Value) -> Option<Units> {
        let kind = answer["__type"].as_str().unwrap_or_default();
        let refused = kind.ends_with("ConditionalCheckFailedException");
        let left_over = answer["UnprocessedItems"].as_object();
        if left_over.is_some_and(|left_over| !left_over.is_empty()) {
            return None;
        }
        if !succeeded && !refused {
            return Some(Units::default());
        }
        let after = meter.items(&self.keys).await.ok()?;
        let keys = self.keys.iter();
        let keys = keys.flat_map(|(table, keys)| keys.iter().map(move |key| (table, key)));
        let images = self.items.iter().zip(&after);
        let writes = keys.zip(images).map(|((table, key), (before, after))| {
            let (table, indexes) = if refused {
                (refused_units(before.as_ref()), BTreeMap::new())
            } else {
                self.tables[table].units(before.as_ref(), after.as_ref())
            };
            Write {
                key: key.clone(),
                bytes: after.as_ref().map_or(0, size),
                table,
                indexes,
            }
        });
        Some(Units {
            writes: writes.collect(),
            ..Units::default()
        })
    }
}

/// The items that a call writes, with their table: whole, or by their keys. `None` if it writes none.
fn written(action: &str, input: &Value) -> Option<Vec<(String, Item)>> {
    let item = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let table = || input["TableName"].as_str().unwrap_or_default().to_owned();
    match action {
        "PutItem" => Some(vec![(table(), item(&input["Item"]))]),
        "UpdateItem" | "DeleteItem" => Some(vec![(table(), item(&input["Key"]))]),
        "BatchWriteItem" => {
            let tables = input["RequestItems"].as_object()?.iter();
            let requests = tables.flat_map(|(table, requests)| {
                let requests = requests.as_array().into_iter().flatten();
                requests.map(move |request| (table, request))
            });
            let items = requests.map(|(table, request)| {
                let put = &request["PutRequest"]["Item"];
                let deleted = &request["DeleteRequest"]["Key"];
                (
                    table.clone(),
                    item(if put.is_null() { deleted } else { put }),
                )
            });
            Some(items.collect())
        }
        _ => None,
    }
}

/// The read units of a call that succeeded. `None` if its answer doesn't tell.
fn read(action: &str, input: &Value, answer: &Value) -> Option<f64> {
    let items = |value: &Value| -> Vec<usize> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_object).map(size).collect()
    };
    let narrowed = |input: &Value| NARROWING.iter().any(|name| !input[*name].is_null());
    let consistent = |input: &Value| input["ConsistentRead"] == true;
    match action {
        "GetItem" if !narrowed(input) => {
            let found = answer["Item"].as_object().map(size);
            Some(read_units(found.unwrap_or_default(), consistent(input)))
        }
        "BatchGetItem" => {
            let mut units = 0.0;
            for (table, asked) in input["RequestItems"].as_object()? {
                if narrowed(asked) {
                    return None;
                }
                let count = |value: &Value| value["Keys"].as_array().map_or(0, Vec::len);
                let left_over = count(&answer["UnprocessedKeys"][table]);
                let found = items(&answer["Responses"][table]);
                // Looking for what isn't there costs as much as finding something small.
                let missing = (count(asked) - left_over).saturating_sub(found.len());
                let sizes = found.into_iter().chain(std::iter::repeat_n(0, missing));
                let each = sizes.map(|size| read_units(size, consistent(asked)));
                units += each.sum::<f64>();
            }
            Some(units)
        }
        "Query" if !narrowed(input) => {
            let found: usize = items(&answer["Items"]).iter().sum();
            Some(read_units(found, consistent(input)))
        }
        _ => None,
    }
}

/// What a table's writes depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    key: Vec<String>,
    indexes: Vec<Index>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Index {
    name: String,
    key: Vec<String>,
    /// The attributes that it holds besides keys; `None` is all.
    projected: Option<Vec<String>>,
}

impl Table {
    /// From a table's description.
    fn of(description: &Value) -> Result<Self> {
        let indexes = description["GlobalSecondaryIndexes"].as_array();
        let indexes = indexes.into_iter().flatten().map(|index| {
            let projection = &index["Projection"];
            let others = projection["NonKeyAttributes"].as_array();
            let others = others.into_iter().flatten().filter_map(Value::as_str);
            Ok(Index {
                name: index["IndexName"].as_str().unwrap_or_default().to_owned(),
                key: key_names(index)?,
                projected: (projection["ProjectionType"] != "ALL")
                    .then(|| others.map(str::to_owned).collect()),
            })
        });
        let local = description["LocalSecondaryIndexes"].as_array();
        ensure!(
            local.is_none_or(Vec::is_empty),
            "local indexes are not counted"
        );
        Ok(Self {
            key: key_names(description)?,
            indexes: indexes.collect::<Result<_>>()?,
        })
    }

    fn key(&self, item: &Item) -> Item {
        some_of(item, &self.key)
    }

    /// The write units of a write that made `after` of `before`: of the table, and of each index that had to follow.
    fn units(&self, before: Option<&Item>, after: Option<&Item>) -> (u64, BTreeMap<String, u64>) {
        let larger = before.map(size).max(after.map(size));
        let indexes = self.indexes.iter().map(|index| {
            let [before, after] = [before, after].map(|item| index.entry(self, item?));
            let units = match (before, after) {
                (None, None) => 0,
                (Some(entry), None) | (None, Some(entry)) => write_units(size(&entry)),
                (Some(before), Some(after)) if before == after => 0,
                (Some(before), Some(after)) if index.key_of(&before) == index.key_of(&after) => {
                    write_units(size(&before).max(size(&after)))
                }
                // It moves: taken out here, put in there.
                (Some(before), Some(after)) => {
                    write_units(size(&before)) + write_units(size(&after))
                }
            };
            (index.name.clone(), units)
        });
        let indexes = indexes.filter(|(_, units)| *units > 0).collect();
        (write_units(larger.unwrap_or_default()), indexes)
    }
}

impl Index {
    /// What it holds of an item: nothing, unless the item has all of its key.
    fn entry(&self, table: &Table, item: &Item) -> Option<Item> {
        let there = self.key.iter().all(|name| item.contains_key(name));
        there.then(|| match &self.projected {
            None => item.clone(),
            Some(others) => {
                let names = table.key.iter().chain(&self.key).chain(others);
                some_of(item, names)
            }
        })
    }

    fn key_of(&self, entry: &Item) -> Item {
        some_of(entry, &self.key)
    }
}

fn key_names(description: &Value) -> Result<Vec<String>> {
    let schema = description["KeySchema"]
        .as_array()
        .context("no KeySchema")?;
    let names = schema.iter().filter_map(|it| it["AttributeName"].as_str());
    Ok(names.map(str::to_owned).collect())
}

fn some_of<'a>(item: &Item, names: impl IntoIterator<Item = &'a String>) -> Item {
    let some = names.into_iter().filter_map(|name| {
        let value = item.get(name)?;
        Some((name.clone(), value.clone()))
    });
    some.collect()
}

/// One unit for each KB that has begun.
fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(1024).max(1) as u64
}

/// A condition that fails costs as much as the item that is there would cost to write.
fn refused_units(before: Option<&Item>) -> u64 {
    write_units(before.map_or(0, size))
}

/// One unit for each 4 KB that have begun, or half of one.
fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

/// An item's size: the bytes of its attributes' names and values.
pub fn size(item: &Item) -> usize {
    let sizes = item
        .iter()
        .map(|(name, value)| name.len() + value_size(value));
    sizes.sum()
}

fn value_size(value: &Value) -> usize {
    let typed = value.as_object().and_then(|value| value.iter().next());
    let Some((kind, value)) = typed else { return 0 };
    let text = value.as_str().unwrap_or_default();
    let members = || value.as_array().into_iter().flatten();
    let texts = || members().filter_map(Value::as_str);
    match kind.as_str() {
        "S" => text.len(),
        "N" => number_size(text),
        "B" => bytes_size(text),
        "SS" => texts().map(str::len).sum(),
        "NS" => texts().map(number_size).sum(),
        "BS" => texts().map(bytes_size).sum(),
        "L" => 3 + members().map(|value| 1 + value_size(value)).sum::<usize>(),
        "M" => {
            let members = value.as_object().into_iter().flatten();
            let sizes = members.map(|(name, value)| 1 + name.len() + value_size(value));
            3 + sizes.sum::<usize>()
        }
        // BOOL and NULL.
        _ => 1,
    }
}

/// One byte for two significant digits and one more, as far as AWS tells ("approximately").
fn number_size(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len().div_ceil(2) + 1
}

fn bytes_size(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// With these, an answer doesn't tell how much was read for it.
const NARROWING: [&str; 5] = [
    "AttributesToGet",
    "FilterExpression",
    "ProjectionExpression",
    "QueryFilter",
    "Select",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: Value) -> Item {
        value.as_object().unwrap().clone()
    }

    /// An item of so many bytes.
    fn of_size(bytes: usize) -> Item {
        let item =
            |filling: usize| item(json!({"pk": {"S": "x"}, "b": {"S": "x".repeat(filling)}}));
        item(bytes - size(&item(0)))
    }

    fn table() -> Table {
        let schema = |names: &[&str]| -> Value {
            let attribute = |name: &&str| json!({"AttributeName": name});
            names.iter().map(attribute).collect()
        };
        Table::of(&json!({
            "KeySchema": schema(&["pk"]),
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": "due", "KeySchema": schema(&["shard", "at"]),
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                },
                {
                    "IndexName": "named", "KeySchema": schema(&["stage"]),
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["name"]},
                },
            ],
        }))
        .unwrap()
    }

    fn units(before: Option<Value>, after: Option<Value>) -> (u64, BTreeMap<String, u64>) {
        let [before, after] = [before, after].map(|it| it.map(item));
        table().units(before.as_ref(), after.as_ref())
    }

    fn indexes(units: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let owned = |(name, units): &(&str, u64)| ((*name).to_owned(), *units);
        units.iter().map(owned).collect()
    }

    #[test]
    fn an_item_is_as_large_as_its_names_and_values() {
        for (value, bytes) in [
            (json!({"S": ""}), 0),
            (json!({"S": "Flötte"}), 7),
            (json!({"N": "0"}), 1),
            (json!({"N": "7"}), 2),
            (json!({"N": "-12.50"}), 3),
            (json!({"N": "1777881600000"}), 5),
            (json!({"B": "aGVsbG8="}), 5),
            (json!({"BOOL": true}), 1),
            (json!({"NULL": true}), 1),
            (json!({"SS": ["a", "bc"]}), 3),
            (json!({"L": []}), 3),
            (json!({"L": [{"S": "a"}, {"N": "7"}]}), 8),
            (json!({"M": {"ab": {"S": "c"}}}), 7),
        ] {
            let item = item(json!({"name": value}));
            assert_eq!(size(&item), 4 + bytes, "{item:?}");
        }
    }

    #[test]
    fn a_write_costs_the_larger_image_by_the_kilobyte() {
        let table = table();
        let units = |before: Option<usize>, after: Option<usize>| {
            let [before, after] = [before, after].map(|bytes| bytes.map(of_size));
            table.units(before.as_ref(), after.as_ref()).0
        };
        assert_eq!(units(None, Some(100)), 1);
        assert_eq!(units(None, Some(1024)), 1);
        assert_eq!(units(None, Some(1025)), 2);
        assert_eq!(units(Some(3000), Some(100)), 3);
        assert_eq!(units(Some(100), Some(3000)), 3);
        assert_eq!(units(Some(3000), None), 3);
        assert_eq!(units(None, None), 1);
    }

    #[test]
    fn a_failed_condition_costs_what_is_there() {
        assert_eq!(refused_units(None), 1);
        assert_eq!(refused_units(Some(&of_size(1025))), 2);
    }

    #[test]
    fn an_index_costs_only_what_it_has_to_follow() {
        let text = |text: &str| json!({"S": text});
        let bare = json!({"pk": text("p"), "shard": text("1")});
        let due =
            |at: u32| json!({"pk": text("p"), "shard": text("1"), "at": {"N": at.to_string()}});
        let named = |stage: &str, name: &str| json!({"pk": text("p"), "stage": text(stage), "name": text(name), "body": text(name)});
        for (before, after, expected) in [
            (None, Some(bare.clone()), indexes(&[])),
            (None, Some(due(1)), indexes(&[("due", 1)])),
            (Some(bare.clone()), Some(due(1)), indexes(&[("due", 1)])),
            (Some(due(1)), Some(due(1)), indexes(&[])),
            (Some(due(1)), Some(due(2)), indexes(&[("due", 2)])),
            (Some(due(1)), Some(bare), indexes(&[("due", 1)])),
            (Some(due(1)), None, indexes(&[("due", 1)])),
            (
                Some(due(1)),
                Some(named("a", "x")),
                indexes(&[("due", 1), ("named", 1)]),
            ),
            (
                Some(named("a", "x")),
                Some(named("a", "y")),
                indexes(&[("named", 1)]),
            ),
            (
                Some(named("a", "x")),
                Some(named("b", "x")),
                indexes(&[("named", 2)]),
            ),
            (
                Some(named("a", "x")),
                Some(named("b", &"x".repeat(2000))),
                indexes(&[("named", 3)]),
            ),
        ] {
            assert_eq!(
                units(before.clone(), after.clone()).1,
                expected,
                "{before:?} {after:?}"
            );
        }
    }

    #[test]
    fn items_are_read_each_for_itself_and_missing_ones_too() {
        let keys: Vec<Item> = (0..4).map(|_| of_size(50)).collect();
        let found: Vec<Item> = [100, 4096, 4097].map(of_size).into();
        let answer = json!({"Responses": {"t": found}, "UnprocessedKeys": {}});
        let asked = |consistent: bool| json!({"RequestItems": {"t": {"Keys": keys, "ConsistentRead": consistent}}});
        assert_eq!(read("BatchGetItem", &asked(true), &answer), Some(5.0));
        assert_eq!(read("BatchGetItem", &asked(false), &answer), Some(2.5));
        let left_over =
            json!({"Responses": {"t": found}, "UnprocessedKeys": {"t": {"Keys": [keys[0]]}}});
        assert_eq!(read("BatchGetItem", &asked(true), &left_over), Some(4.0));
        let one = json!({"Key": keys[0], "ConsistentRead": true});
        assert_eq!(read("GetItem", &one, &json!({})), Some(1.0));
        let large = json!({"Item": of_size(9000)});
        assert_eq!(read("GetItem", &one, &large), Some(3.0));
    }

    #[test]
    fn a_query_is_read_as_one() {
        let consistent = json!({"ConsistentRead": true});
        let found: Vec<Item> = [3000, 3000, 3000].map(of_size).into();
        let found = json!({"Items": found});
        assert_eq!(read("Query", &consistent, &found), Some(3.0));
        assert_eq!(read("Query", &json!({}), &found), Some(1.5));
        assert_eq!(read("Query", &consistent, &json!({"Items": []})), Some(1.0));
        let count = json!({"ConsistentRead": true, "Select": "COUNT"});
        assert_eq!(read("Query", &count, &found), None);
        assert_eq!(read("Scan", &consistent, &found), None);
    }
}

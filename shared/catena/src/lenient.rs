//! Reading what isn't needed: a value of another form than documented counts as absent, because nothing that isn't needed may cost an
//! event, an answer or a whole list.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

/// One value.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).unwrap_or_default())
}

/// A list: what isn't an object is left out, and so is an object that can't be read.
pub(crate) fn lenient_objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items: Vec<Value> = lenient(deserializer)?;
    // An array could pass for an object: serde takes one as its fields in their order.
    let objects = items.into_iter().filter(Value::is_object);
    Ok(objects.filter_map(|it| T::deserialize(it).ok()).collect())
}

/// Texts by name: a number counts as its text, what is neither is left out.
pub(crate) fn lenient_texts<'de, D>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error>
where
    D: Deserializer<'de>,
{
    let fields: Option<Map<String, Value>> = lenient(deserializer)?;
    Ok(fields.map(|fields| {
        let texts = fields.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Number(number) => Some((name, number.to_string())),
            _ => None,
        });
        texts.collect()
    }))
}

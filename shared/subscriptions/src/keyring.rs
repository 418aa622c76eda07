//! The keyring document as it is changed: keys come in before Catena is given them, and go when nothing is signed with them any more.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Who changes the keyring has as long for it, so that no two changes cross. In milliseconds.
pub const KEYRING_LEASE_MS: i64 = 8_000;

/// What a key is called: eight hexadecimal digits of its hash. They tell keys apart, and are too few to find one by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyName(String);

impl KeyName {
    /// A key's name.
    pub fn of(key: &str) -> Self {
        let hash = Sha256::digest(["kingpin key name:", key].concat());
        let digits = hash.iter().take(4).map(|byte| format!("{byte:02x}"));
        Self(digits.collect())
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The document in the keyring's secret, as [`catena::Keyring`] reads it. What this version doesn't know of it stays.
#[derive(Clone, PartialEq)]
pub struct KeyringDocument(Map<String, Value>);

/// Why a text can't be changed as a keyring. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKeyring {
    /// It isn't what [`catena::Keyring`] reads.
    #[error("it isn't a keyring document of this version")]
    Shape,
}

/// Shows the names of the keys, and no key.
impl fmt::Debug for KeyringDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.names().iter().map(ToString::to_string).collect();
        f.debug_tuple("KeyringDocument").field(&names).finish()
    }
}

impl KeyringDocument {
    /// One without any key.
    pub fn new() -> Self {
        let Value::Object(document) = json!({ "version": 1, "shared": [] }) else {
            unreachable!("it is an object")
        };
        Self(document)
    }

    /// Reads what is in the secret. Nothing, or nothing but white space, is a keyring without keys.
    pub fn read(text: &str) -> Result<Self, UnusableKeyring> {
        if text.trim().is_empty() {
            return Ok(Self::new());
        }
        let document: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| UnusableKeyring::Shape)?;
        let is_keys = |value: &Value| match value {
            Value::String(_) => true,
            Value::Array(keys) => keys.iter().all(Value::is_string),
            _ => false,
        };
        let shared = document.get("shared").is_none_or(is_keys);
        let own = document.get("by_webhook_id").is_none_or(|ids| {
            let ids = ids.as_object();
            ids.is_some_and(|ids| ids.values().all(is_keys))
        });
        let usable = document.get("version") == Some(&json!(1)) && shared && own;
        usable
            .then_some(Self(document))
            .ok_or(UnusableKeyring::Shape)
    }

    /// As it is in the secret.
    pub fn text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The key that subscriptions are given: the newest of those that are valid for all.
    pub fn current(&self) -> Option<&str> {
        self.shared().last().copied()
    }

    /// What the current key is called.
    pub fn current_name(&self) -> Option<KeyName> {
        self.current().map(KeyName::of)
    }

    /// The names of the keys that are valid for all, the oldest first.
    pub fn names(&self) -> Vec<KeyName> {
        self.shared().into_iter().map(KeyName::of).collect()
    }

    /// Whether a subscription is named, so that a delivery of it that can't be proved raises an alarm.
    pub fn names_subscription(&self, id: &str) -> bool {
        self.own().is_some_and(|own| own.contains_key(id))
    }

    /// The subscriptions that have keys of their own.
    pub fn with_own_keys(&self) -> BTreeSet<&str> {
        let own = self.own().into_iter().flatten();
        let with_keys = own.filter(|(_, keys)| !texts(keys).is_empty());
        with_keys.map(|(id, _)| id.as_str()).collect()
    }

    /// Adds a key that is valid for all, and is current from then on. One that is there is made the current one.
    pub fn add(&mut self, key: &str) {
        let others = self.shared().into_iter().filter(|it| *it != key);
        let keys: Vec<&str> = others.chain([key]).collect();
        self.0.insert("shared".to_owned(), json!(keys));
    }

    /// Names subscriptions that sign with a shared key.
    pub fn name<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        let own = self.0.entry("by_webhook_id").or_insert_with(|| json!({}));
        if let Some(own) = own.as_object_mut() {
            for id in ids {
                own.entry(id).or_insert_with(|| json!([]));
            }
        }
    }

    /// Names subscriptions no more: they ended.
    pub fn forget<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        if let Some(own) = self
            .0
            .get_mut("by_webhook_id")
            .and_then(Value::as_object_mut)
        {
            for id in ids {
                own.remove(id);
            }
        }
    }

    /// Leaves the current key alone, of those valid for all, and none of their own to subscriptions that have the current one.
    pub fn retire<'a>(&mut self, ours: impl IntoIterator<Item = &'a str>) {
        let current: Vec<String> = self.current().map(str::to_owned).into_iter().collect();
        self.0.insert("shared".to_owned(), json!(current));
        if let Some(own) = self
            .0
            .get_mut("by_webhook_id")
            .and_then(Value::as_object_mut)
        {
            for id in ours {
                if let Some(keys) = own.get_mut(id) {
                    *keys = json!([]);
                }
            }
        }
    }

    /// How many keys there are: those valid for all, and those of single subscriptions.
    pub fn counts(&self) -> (usize, usize) {
        (self.shared().len(), self.own_keys().count())
    }

    /// How many keys have fewer bytes than this.
    pub fn shorter_than(&self, bytes: usize) -> usize {
        let keys = self.shared().into_iter().chain(self.own_keys());
        keys.filter(|key| key.len() < bytes).count()
    }

    /// How many subscriptions are named.
    pub fn named(&self) -> usize {
        self.own().map_or(0, Map::len)
    }

    fn own_keys(&self) -> impl Iterator<Item = &str> {
        let own = self.own().into_iter().flatten();
        own.flat_map(|(_, keys)| texts(keys))
    }

    fn shared(&self) -> Vec<&str> {
        self.0.get("shared").map(texts).unwrap_or_default()
    }

    fn own(&self) -> Option<&Map<String, Value>> {
        self.0.get("by_webhook_id")?.as_object()
    }
}

impl Default for KeyringDocument {
    fn default() -> Self {
        Self::new()
    }
}

fn texts(keys: &Value) -> Vec<&str> {
    match keys {
        Value::String(key) => vec![key],
        Value::Array(keys) => keys.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use catena::Keyring;

    use super::*;

    const FIRST: &str = "first-key-of-32-characters-or-more";
    const SECOND: &str = "second-key-of-32-characters-or-more";
    const ID: &str = "247b2dea-a030-48b7-9a05-ee33c1b6ab0a";

    fn generated() -> KeyringDocument {
        KeyringDocument::read(&format!(r#"{{"version":1,"shared":"{FIRST}"}}"#)).unwrap()
    }

    #[test]
    fn a_key_comes_beside_the_old_one_and_the_old_one_goes_last() {
        let mut keyring = generated();
        keyring.name([ID]);
        keyring.add(SECOND);
        assert_eq!(keyring.current(), Some(SECOND));
        assert_eq!(keyring.names(), [KeyName::of(FIRST), KeyName::of(SECOND)]);
        assert!(
            Keyring::parse(&keyring.text())
                .unwrap()
                .knows(ID.parse().unwrap())
        );
        keyring.retire([ID]);
        assert_eq!(keyring.names(), [KeyName::of(SECOND)]);
        assert!(keyring.names_subscription(ID));
        // What was written is read alike.
        assert_eq!(KeyringDocument::read(&keyring.text()), Ok(keyring));
    }

    #[test]
    fn what_is_there_twice_is_added_once_and_nothing_unknown_is_lost() {
        let text = format!(
            r#"{{"version":1,"note":"mine","shared":["{FIRST}"],"by_webhook_id":{{"{ID}":"{SECOND}"}}}}"#
        );
        let mut keyring = KeyringDocument::read(&text).unwrap();
        keyring.add(FIRST);
        keyring.name([ID]);
        assert_eq!(keyring.names().len(), 1);
        assert_eq!(keyring.with_own_keys(), BTreeSet::from([ID]));
        assert!(keyring.text().contains(r#""note":"mine""#));
        assert!(keyring.text().contains(SECOND));
        keyring.retire([ID]);
        assert!(keyring.with_own_keys().is_empty());
        keyring.forget([ID]);
        assert!(!keyring.names_subscription(ID));
    }

    #[test]
    fn an_empty_secret_is_a_keyring_to_come() {
        let mut keyring = KeyringDocument::read(" \n").unwrap();
        assert_eq!(keyring.current_name(), None);
        keyring.add(FIRST);
        assert!(Keyring::parse(&keyring.text()).is_ok());
    }

    #[test]
    fn what_is_no_keyring_is_refused_and_shown_nowhere() {
        for text in [
            "hunter2",
            r#"{"version":2,"shared":"hunter2-hunter2"}"#,
            r#"{"version":1,"shared":{"hunter2":1}}"#,
            r#"{"version":1,"shared":[7]}"#,
            r#"{"version":1,"by_webhook_id":["hunter2-hunter2"]}"#,
        ] {
            let refused = KeyringDocument::read(text).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("hunter2"));
        }
        let shown = format!("{:?}", generated());
        assert!(!shown.contains("first-key"), "{shown}");
        assert!(shown.contains(&KeyName::of(FIRST).to_string()), "{shown}");
    }

    #[test]
    fn keys_and_subscriptions_are_counted() {
        let text = format!(
            r#"{{"version":1,"shared":"{FIRST}","by_webhook_id":{{"{ID}":["short","{SECOND}"],"other":[]}}}}"#
        );
        let keyring = KeyringDocument::read(&text).unwrap();
        assert_eq!(keyring.counts(), (1, 2));
        assert_eq!(keyring.named(), 2);
        assert_eq!(keyring.shorter_than(5), 0);
        assert_eq!(keyring.shorter_than(6), 1);
        assert_eq!(KeyringDocument::new().counts(), (0, 0));
    }
}

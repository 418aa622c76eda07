//! The signing keys of webhook subscriptions.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use uuid::Uuid;

/// The shortest key that a keyring accepts, in bytes: Catena's own minimum for a subscription's secret (contract 6.1).
/// It also keeps an empty key, with which anybody could sign, out of every keyring.
pub const SHORTEST_KEY: usize = 12;

/// One signing key: the UTF-8 bytes of a subscription's secret as they are (contract 6.3).
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Takes the secret as it was given to Catena. `None` if it is shorter than [`SHORTEST_KEY`].
    pub fn new(secret: &str) -> Option<Self> {
        if secret.len() < SHORTEST_KEY {
            return None;
        }
        Hmac::new_from_slice(secret.as_bytes()).ok().map(Self)
    }

    /// Compares in constant time.
    pub(crate) fn signed(&self, timestamp: &str, body: &[u8], signature: &[u8; 32]) -> bool {
        let mut mac = self.0.clone();
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// All keys that a delivery may be signed with: some valid for every subscription, some for one.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    shared: Vec<SigningKey>,
    by_webhook_id: BTreeMap<Uuid, Vec<SigningKey>>,
}

/// Why a keyring document can't be used. Never holds any of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Not JSON, or not of the documented shape.
    #[error("not a keyring document: line {line}, column {column}")]
    Shape {
        /// Line of the document where reading stopped, from 1.
        line: usize,
        /// Column of that line.
        column: usize,
    },
    /// Written by a later version of this program.
    #[error("keyring version {0} is not known to this version of the program")]
    Version(u64),
    /// A key shorter than [`SHORTEST_KEY`].
    #[error("{0}: shorter than {SHORTEST_KEY} characters")]
    ShortKey(String),
    /// No key at all.
    #[error("no key in it")]
    Empty,
}

impl Keyring {
    /// Reads the keyring document:
    /// `{"version": 1, "shared": "KEY" | ["KEY", …], "by_webhook_id": {"<uuid>": "KEY" | ["KEY", …]}}`.
    pub fn parse(document: &str) -> Result<Self, KeyringError> {
        let document: Document =
            serde_json::from_str(document).map_err(|error| KeyringError::Shape {
                line: error.line(),
                column: error.column(),
            })?;
        if document.version != 1 {
            return Err(KeyringError::Version(document.version));
        }
        let shared = document.shared.keys("shared")?;
        let mut by_webhook_id = BTreeMap::new();
        for (id, keys) in document.by_webhook_id {
            by_webhook_id.insert(id, keys.keys(&format!("by_webhook_id.{id}"))?);
        }
        if shared.is_empty() && by_webhook_id.values().all(Vec::is_empty) {
            return Err(KeyringError::Empty);
        }
        Ok(Self {
            shared,
            by_webhook_id,
        })
    }

    /// A keyring of keys that are valid for every subscription.
    pub fn shared(keys: impl IntoIterator<Item = SigningKey>) -> Self {
        Self {
            shared: keys.into_iter().collect(),
            by_webhook_id: BTreeMap::new(),
        }
    }

    /// Whether the subscription is named here, with keys of its own or with an empty list because it uses the shared ones.
    pub fn knows(&self, webhook_id: Uuid) -> bool {
        self.by_webhook_id.contains_key(&webhook_id)
    }

    pub(crate) fn of(&self, webhook_id: Uuid) -> impl Iterator<Item = &SigningKey> {
        self.by_webhook_id.get(&webhook_id).into_iter().flatten()
    }

    pub(crate) fn of_all(&self) -> impl Iterator<Item = &SigningKey> {
        self.shared.iter()
    }
}

#[derive(Deserialize)]
struct Document {
    version: u64,
    #[serde(default)]
    shared: OneOrMany,
    #[serde(default)]
    by_webhook_id: BTreeMap<Uuid, OneOrMany>,
}

/// One key may stand without brackets, since Secrets Manager generates a document with a single text.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn keys(self, place: &str) -> Result<Vec<SigningKey>, KeyringError> {
        let secrets = match self {
            Self::One(secret) => vec![secret],
            Self::Many(secrets) => secrets,
        };
        secrets
            .iter()
            .enumerate()
            .map(|(index, secret)| {
                SigningKey::new(secret)
                    .ok_or_else(|| KeyringError::ShortKey(format!("{place}[{index}]")))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOK: &str = "247b2dea-a030-48b7-9a05-ee33c1b6ab0a";

    #[test]
    fn one_key_may_stand_without_brackets() {
        let keyring = Keyring::parse(r#"{"version":1,"shared":"sample-secret-1"}"#).unwrap();
        assert_eq!(keyring.of_all().count(), 1);
    }

    #[test]
    fn any_number_of_keys_for_all_and_for_one() {
        let document = format!(
            r#"{{"version":1,"shared":["sample-secret-1","sample-secret-2"],
                "by_webhook_id":{{"{WEBHOOK}":["sample-secret-3"]}},"note":"later fields are fine"}}"#
        );
        let keyring = Keyring::parse(&document).unwrap();
        assert_eq!(keyring.of_all().count(), 2);
        assert!(keyring.knows(WEBHOOK.parse().unwrap()));
        assert!(!keyring.knows(Uuid::nil()));
    }

    #[test]
    fn a_key_that_anybody_could_guess_is_refused() {
        let refused = Keyring::parse(r#"{"version":1,"shared":["sample-secret-1",""]}"#);
        assert_eq!(
            refused.unwrap_err(),
            KeyringError::ShortKey("shared[1]".to_owned())
        );
    }

    #[test]
    fn a_keyring_without_keys_is_an_error() {
        for document in [
            r#"{"version":1}"#,
            r#"{"version":1,"shared":[]}"#,
            &format!(r#"{{"version":1,"by_webhook_id":{{"{WEBHOOK}":[]}}}}"#),
        ] {
            assert_eq!(Keyring::parse(document).unwrap_err(), KeyringError::Empty);
        }
    }

    #[test]
    fn errors_hold_no_text_of_the_document() {
        let error = Keyring::parse(r#"{"version":1,"shared":hunter2-hunter2}"#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let newer = Keyring::parse(r#"{"version":2,"shared":"hunter2-hunter2"}"#).unwrap_err();
        assert_eq!(newer, KeyringError::Version(2));
        let wrong = Keyring::parse(r#"{"version":1,"shared":{"hunter2":1}}"#).unwrap_err();
        assert!(!format!("{wrong} {wrong:?}").contains("hunter2"));
        let keyring = Keyring::parse(r#"{"version":1,"shared":"hunter2-hunter2"}"#).unwrap();
        assert!(!format!("{keyring:?}").contains("hunter2"));
    }
}

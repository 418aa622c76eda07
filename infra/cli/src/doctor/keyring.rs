//! The signing keys.

use std::{collections::BTreeMap, fmt};

use catena::Keyring;
use secrets::SecretError;
use serde::Deserialize;
use uuid::Uuid;

use super::{Check, bounded};
use crate::{catena::keyring_secret, probe::Signer, source::Found, trouble::causes};

/// What is found of them, and what a delivery of our own can be signed with.
pub(crate) async fn checks(found: &Found) -> (Vec<Check>, Option<Signer>) {
    let mut signer = None;
    let checks = bounded("keyring", async {
        let secret = match keyring_secret(found) {
            Ok(secret) => secret,
            Err(error) => return vec![Check::error("keyring", &error)],
        };
        match secret.read().await {
            Ok(text) => {
                let (checks, found) = judged(&text, secret.id());
                signer = found;
                checks
            }
            Err(error @ (SecretError::Missing(_) | SecretError::NoText(_))) => {
                vec![Check::fail("keyring", error.to_string(), PUT)]
            }
            Err(error) => {
                let remedy =
                    "See that the credentials of AWS may secretsmanager:GetSecretValue on it.";
                vec![Check::fail("keyring", causes(&error), remedy)]
            }
        }
    })
    .await;
    (checks, signer)
}

fn judged(text: &str, id: &str) -> (Vec<Check>, Option<Signer>) {
    // As the function reads it, which tells no text of it.
    if let Err(error) = Keyring::parse(text) {
        let found = format!("secret {id}: {error}");
        return (vec![Check::fail("keyring", found, PUT)], None);
    }
    let Ok(document) = serde_json::from_str::<Document>(text) else {
        let found = format!("secret {id} can't be read");
        return (vec![Check::fail("keyring", found, PUT)], None);
    };
    (
        vec![document.keys(), document.rotation()],
        document.signer(),
    )
}

/// The keyring document: README, "Signing keys".
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    shared: OneOrMany,
    #[serde(default)]
    by_webhook_id: BTreeMap<Uuid, OneOrMany>,
}

/// Without keys.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document(..)")
    }
}

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
    fn keys(&self) -> &[String] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

impl Document {
    fn keys(&self) -> Check {
        let own = self.by_webhook_id.values().flat_map(OneOrMany::keys);
        let all: Vec<&String> = self.shared.keys().iter().chain(own).collect();
        let short = all.iter().filter(|key| key.len() < LONG).count();
        let found = format!(
            "{} shared, {} of single subscriptions; {} subscriptions are named",
            self.shared.keys().len(),
            all.len() - self.shared.keys().len(),
            self.by_webhook_id.len(),
        );
        match short {
            0 => Check::ok("keyring", found),
            short => Check::warn(
                "keyring",
                format!("{found}; {short} of the keys have fewer than {LONG} characters"),
                "Rotate to a longer key, made at random: README, “Signing keys”.",
            ),
        }
    }

    /// Two shared keys are valid while the subscriptions change over, and not for good.
    fn rotation(&self) -> Check {
        match self.shared.keys().len() {
            0 | 1 => Check::ok("rotation", "none is under way"),
            count => Check::warn(
                "rotation",
                format!("{count} shared keys are valid: a rotation isn't finished"),
                "When every subscription signs with the new key, take the old one out: README, “Signing keys”.",
            ),
        }
    }

    fn signer(&self) -> Option<Signer> {
        let shared = self.shared.keys().first();
        // The webhook doesn't know of this subscription, so that not even a refusal looks like one of ours.
        let shared = shared.map(|key| Signer::new(Uuid::nil(), key));
        let own = self.by_webhook_id.iter();
        shared.or_else(|| {
            own.filter_map(|(id, keys)| Some(Signer::new(*id, keys.keys().first()?)))
                .next()
        })
    }
}

/// Of characters.
const LONG: usize = 32;
const PUT: &str = "Put a keyring into it: README, “Signing keys”. Until then no delivery can be proved, and each is answered 503.";

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const CANARY: &str = "canary-canary-canary-canary-canary";

    fn verdicts(text: &str) -> Vec<Verdict> {
        let (checks, _) = judged(text, "keys");
        let told = format!("{checks:?}");
        assert!(!told.contains("canary"), "{told}");
        checks.into_iter().map(|it| it.verdict).collect()
    }

    #[test]
    fn keyrings_are_judged_and_their_keys_not_told() {
        let good = format!(r#"{{"version":1,"shared":"{CANARY}"}}"#);
        assert_eq!(verdicts(&good), [Verdict::Ok, Verdict::Ok]);
        let short = r#"{"version":1,"shared":["canary-canary"]}"#;
        assert_eq!(verdicts(short), [Verdict::Warn, Verdict::Ok]);
        let two = format!(r#"{{"version":1,"shared":["{CANARY}","{CANARY}2"]}}"#);
        assert_eq!(verdicts(&two), [Verdict::Ok, Verdict::Warn]);
        for bad in [
            "canary",
            r#"{"version":1,"shared":"canary"}"#,
            r#"{"version":1}"#,
            r#"{"version":9,"shared":"canary-canary"}"#,
        ] {
            assert_eq!(verdicts(bad), [Verdict::Fail], "{bad}");
        }
    }

    #[test]
    fn a_delivery_is_signed_with_a_shared_key_before_any_other() {
        let id = "247b2dea-a030-48b7-9a05-ee33c1b6ab0a";
        let signer = |shared: &str| {
            let text =
                format!(r#"{{"version":1,{shared}"by_webhook_id":{{"{id}":["{CANARY}"]}}}}"#);
            judged(&text, "keys").1.unwrap()
        };
        assert_eq!(
            signer(r#""shared":"other-other-other","#).webhook_id,
            Uuid::nil()
        );
        assert_eq!(signer("").webhook_id.to_string(), id);
        assert!(!format!("{:?}", signer("")).contains("canary"));
    }
}

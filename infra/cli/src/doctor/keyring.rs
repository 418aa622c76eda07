//! The signing keys.

use catena::Keyring;
use secrets::SecretError;
use subscriptions::KeyringDocument;

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
    let keyring = match KeyringDocument::read(text) {
        Ok(keyring) => keyring,
        Err(error) => {
            let found = format!("secret {id} can't be used: {error}");
            return (vec![Check::fail("keyring", found, PUT)], None);
        }
    };
    (vec![keys(&keyring), rotation(&keyring)], signer(&keyring))
}

fn keys(keyring: &KeyringDocument) -> Check {
    let (shared, own) = keyring.counts();
    let found = format!(
        "{shared} shared, {own} of single subscriptions; {} subscriptions are named",
        keyring.named()
    );
    match keyring.shorter_than(LONG) {
        0 => Check::ok("keyring", found),
        short => Check::warn(
            "keyring",
            format!("{found}; {short} of the keys have fewer than {LONG} characters"),
            "`kingpin subscription rotate` changes to a long one, made at random.",
        ),
    }
}

/// Two shared keys are valid while the subscriptions change over, and not for good.
fn rotation(keyring: &KeyringDocument) -> Check {
    match keyring.counts() {
        (0 | 1, _) => Check::ok("rotation", "none is under way"),
        (count, _) => Check::warn(
            "rotation",
            format!("{count} shared keys are valid: a rotation isn't finished"),
            "`kingpin subscription rotate` goes on with it, and retires the old key.",
        ),
    }
}

/// Signs with the key that subscriptions are given.
fn signer(keyring: &KeyringDocument) -> Option<Signer> {
    keyring.current().map(Signer::new)
}

/// Of characters.
const LONG: usize = 32;
const PUT: &str = "Until it holds a key no delivery can be proved, and each is answered 503. If it is empty, `kingpin subscription apply` makes a \
                   key; else the README says under “Signing keys” what it must hold.";

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
    fn a_delivery_is_signed_with_the_key_that_subscriptions_are_given() {
        let id = "247b2dea-a030-48b7-9a05-ee33c1b6ab0a";
        let signer = |shared: &str| {
            let text =
                format!(r#"{{"version":1,{shared}"by_webhook_id":{{"{id}":["{CANARY}"]}}}}"#);
            judged(&text, "keys").1
        };
        let old_and_new =
            signer(&format!(r#""shared":["other-other-other","{CANARY}"],"#)).unwrap();
        assert!(!format!("{old_and_new:?}").contains("canary"));
        assert_eq!(old_and_new, Signer::new(CANARY));
        // One of a single subscription says nothing about the others.
        assert_eq!(signer(""), None);
    }
}

//! The token in the URLs that Catena sends a fleet's browser back to. It says which fleet and which of its invitations a
//! browser comes back from. Whoever has it can claim an outcome and see a status; it opens nothing, and nothing else is
//! accepted in its place: its MAC covers a purpose of its own.
//!
//! It can't hold the invitation's hash: the URLs are part of the request that makes the invitation, so they are fixed before
//! Catena gives it an id. It holds a random name instead, which is kept with the fleet's invitation.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fleet::{FleetRef, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use secrets::{Cached, Secret};
use serde::Deserialize;
use sha2::Sha256;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The fleet.
    pub fleet: FleetRef,
    /// The random name of the invitation that its browser comes back from, without dots.
    pub name: String,
    /// The first moment without it; to the second.
    pub ends: Timestamp,
}

/// The keys of return tokens: one to make them, all to check them.
#[derive(Clone)]
pub struct ReturnKeys {
    current: Key,
    previous: Vec<Key>,
}

type Key = Hmac<Sha256>;

/// Why a document of keys can't be used. Never holds any of its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReturnKeysError {
    /// Not JSON, or not of the documented shape.
    #[error("not a document of return keys: line {line}, column {column}")]
    Shape {
        /// Line of the document where reading stopped, from 1.
        line: usize,
        /// Column of that line.
        column: usize,
    },
    /// Written by a later version of this program.
    #[error("version {0} of return keys is not known to this version of the program")]
    Version(u64),
    /// A key shorter than [`SHORTEST_KEY`].
    #[error("{0}: shorter than {SHORTEST_KEY} characters")]
    ShortKey(&'static str),
}

impl ReturnKeys {
    /// Reads `{"version": 1, "current": "KEY", "previous": ["KEY", …]}`; the last may be left out.
    pub fn parse(document: &str) -> Result<Self, ReturnKeysError> {
        let document: Document =
            serde_json::from_str(document).map_err(|error| ReturnKeysError::Shape {
                line: error.line(),
                column: error.column(),
            })?;
        if document.version != 1 {
            return Err(ReturnKeysError::Version(document.version));
        }
        let previous = document.previous.iter();
        Ok(Self {
            current: key(&document.current).ok_or(ReturnKeysError::ShortKey("current"))?,
            previous: previous
                .map(|text| key(text).ok_or(ReturnKeysError::ShortKey("previous")))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The keys in a secret, kept at hand.
    pub fn cached(secret: Secret) -> Cached<Self> {
        let parse = |text: &str| Self::parse(text).map_err(|error| error.to_string());
        Cached::start(secret, "return keys", ADVICE, parse, GOOD_FOR, PACE)
    }

    /// Makes a token: some 100 characters that need no escape in a path.
    pub fn token(&self, says: &Return) -> String {
        let Return { fleet, name, ends } = says;
        let mut bytes = format!("{}.{name}.{fleet}", ends.0.div_euclid(1000)).into_bytes();
        let mac = mac(&self.current, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token says. `None` if it isn't one of ours, or ended.
    pub fn check(&self, token: &str, now: Timestamp) -> Option<Return> {
        if token.len() > LONGEST {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, proof) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        if !keys.any(|key| mac(key, said).verify_slice(proof).is_ok()) {
            return None;
        }
        let (ends, rest) = str::from_utf8(said).ok()?.split_once('.')?;
        let (name, fleet) = rest.split_once('.')?;
        let ends: i64 = ends.parse().ok()?;
        let ends = Timestamp(ends.saturating_mul(1000));
        (now < ends).then_some(Return {
            fleet: FleetRef::parse(fleet)?,
            name: name.to_owned(),
            ends,
        })
    }
}

impl fmt::Debug for ReturnKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnKeys(..)")
    }
}

#[derive(Deserialize)]
struct Document {
    version: u64,
    current: String,
    #[serde(default)]
    previous: Vec<String>,
}

fn key(text: &str) -> Option<Key> {
    let long = text.len() >= SHORTEST_KEY;
    long.then(|| Key::new_from_slice(text.as_bytes()).ok())?
}

fn mac(key: &Key, said: &[u8]) -> Key {
    let mut mac = key.clone();
    mac.update(PURPOSE);
    mac.update(said);
    mac
}

/// The shortest key, in bytes.
pub const SHORTEST_KEY: usize = 32;
const ADVICE: &str = "put a document of return keys into it (README, \"Return tokens\")";
/// How long keys are good without asking. A new key is a current one only then, so the old one must stay among the previous ones.
const GOOD_FOR: Duration = Duration::from_mins(5);
/// Between two readings because of a token that no key made: made-up ones mustn't run up Secrets Manager's bill.
const PACE: Duration = Duration::from_secs(10);
/// No other MAC of ours, with the same key by mistake, is a token's.
const PURPOSE: &[u8] = b"kingpin/return-token/1\0";
/// The bytes of HMAC-SHA256.
const MAC: usize = 32;
/// Longer than the token of the longest reference (256 bytes).
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a-key-of-the-tests-with-32-chars";
    const OTHER: &str = "another-key-that-has-32-chars-in";

    fn keys(document: &str) -> ReturnKeys {
        ReturnKeys::parse(document).unwrap()
    }

    fn one(key: &str) -> ReturnKeys {
        keys(&format!(r#"{{"version":1,"current":"{key}"}}"#))
    }

    fn says() -> Return {
        Return {
            fleet: FleetRef::parse("FLÖTTE 7.A/b").unwrap(),
            name: "x_-9".to_owned(),
            ends: Timestamp(1_800_000_000_000),
        }
    }

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_token_says_what_it_was_made_of() {
        let token = one(KEY).token(&says());
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
        assert!(token.bytes().all(plain), "{token}");
        assert_eq!(one(KEY).check(&token, NOW), Some(says()));
        assert_eq!(one(KEY).check(&token, says().ends.plus(-1)), Some(says()));
        assert_eq!(one(KEY).check(&token, says().ends), None);
        assert_eq!(one(OTHER).check(&token, NOW), None);
    }

    #[test]
    fn the_longest_reference_fits() {
        let says = Return {
            fleet: FleetRef::parse(&"ä".repeat(FleetRef::LONGEST / 2)).unwrap(),
            name: "n".repeat(22),
            ..says()
        };
        let token = one(KEY).token(&says);
        assert_eq!(one(KEY).check(&token, NOW), Some(says), "{}", token.len());
    }

    #[test]
    fn nothing_that_was_changed_is_a_token() {
        let keys = one(KEY);
        let token = keys.token(&says());
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).unwrap();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                let changed = BASE64_URL_SAFE_NO_PAD.encode(changed);
                assert_eq!(keys.check(&changed, NOW), None);
            }
        }
        for length in 0..token.len() {
            assert_eq!(keys.check(&token[..length], NOW), None);
        }
        for bad in [
            "",
            "=",
            "a b",
            &"A".repeat(LONGEST + 4),
            &format!("{token}="),
        ] {
            assert_eq!(keys.check(bad, NOW), None, "{bad}");
        }
    }

    /// Its last character has bits that mean nothing: another one in its place would be another name of the same token.
    #[test]
    fn a_token_has_one_spelling() {
        let keys = one(KEY);
        let token = keys.token(&says());
        let others = (b'-'..=b'z').filter(|it| *it != token.as_bytes()[token.len() - 1]);
        for other in others {
            let spelt = format!("{}{}", &token[..token.len() - 1], other as char);
            assert_eq!(keys.check(&spelt, NOW), None, "{spelt}");
        }
    }

    #[test]
    fn a_mac_for_another_purpose_is_no_token() {
        let bytes = format!("1800000000.x.{}", says().fleet).into_bytes();
        let plain = key(KEY).unwrap().chain_update(&bytes).finalize();
        let forged = [bytes, plain.into_bytes().to_vec()].concat();
        let forged = BASE64_URL_SAFE_NO_PAD.encode(forged);
        assert_eq!(one(KEY).check(&forged, NOW), None);
    }

    #[test]
    fn keys_rotate() {
        let old = one(KEY).token(&says());
        let both = keys(&format!(
            r#"{{"version":1,"current":"{OTHER}","previous":["{KEY}"]}}"#
        ));
        assert_eq!(both.check(&old, NOW), Some(says()));
        let new = both.token(&says());
        assert_eq!(both.check(&new, NOW), Some(says()));
        assert_eq!(one(OTHER).check(&new, NOW), Some(says()));
        assert_eq!(one(OTHER).check(&old, NOW), None);
    }

    #[test]
    fn bad_documents_say_what_is_wrong_and_nothing_of_what_they_hold() {
        let short = format!(r#"{{"version":1,"current":"{KEY}","previous":["secret"]}}"#);
        for (document, expected) in [
            ("", "not a document of return keys: line 1, column 0"),
            (
                r#"{"version":2,"current":""}"#,
                "version 2 of return keys is not known to this version of the program",
            ),
            (
                r#"{"version":1,"current":"secret"}"#,
                "current: shorter than 32 characters",
            ),
            (&short, "previous: shorter than 32 characters"),
        ] {
            let error = ReturnKeys::parse(document).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(format!("{:?}", one(KEY)), "ReturnKeys(..)");
    }
}

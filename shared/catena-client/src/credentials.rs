//! What we are known to Catena by (contract 1).

use std::{error::Error, fmt};

use serde::Deserialize;

/// What a source of credentials may fail with. Its text must not hold them.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// The client credentials that Catena's support issued.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// A secret that isn't what it should be. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(r#"not JSON of the form {{"client_id":"…","client_secret":"…"}}"#)]
pub struct InvalidCredentials;

impl Credentials {
    /// Reads `{"client_id":"…","client_secret":"…"}`. Other keys are ignored.
    pub fn parse(json: &str) -> Result<Self, InvalidCredentials> {
        let read: Self = serde_json::from_str(json).map_err(|_| InvalidCredentials)?;
        let whole = !read.client_id.is_empty() && !read.client_secret.is_empty();
        whole.then_some(read).ok_or(InvalidCredentials)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_not_shown() {
        let read =
            Credentials::parse(r#"{"client_id":"us","client_secret":"hush","x":1}"#).unwrap();
        assert_eq!((&*read.client_id, &*read.client_secret), ("us", "hush"));
        assert_eq!(format!("{read:?}"), "Credentials(..)");
    }

    #[test]
    fn half_a_pair_is_none() {
        for bad in [
            "",
            "hush",
            r#"{"client_id":"us"}"#,
            r#"{"client_id":"us","client_secret":""}"#,
            r#"{"client_id":"","client_secret":"hush"}"#,
            r#"["us","hush",1]"#,
        ] {
            assert_eq!(Credentials::parse(bad), Err(InvalidCredentials), "{bad}");
        }
        assert!(!InvalidCredentials.to_string().contains("hush"));
    }
}

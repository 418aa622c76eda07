//! Settings come from the environment, once, with errors that name the key.

use std::{collections::BTreeMap, str::FromStr};

use serde::de::DeserializeOwned;

/// The environment variables that a function was started with.
#[derive(Clone, Debug)]
pub struct Env(BTreeMap<String, String>);

/// A setting that the function can't start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A required setting is absent or empty.
    #[error("{0}: not set")]
    NotSet(&'static str),
    /// A setting has a value that can't be read.
    #[error("{key}: {value:?} is not {expected}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// Its value. No setting is a secret.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Env {
    /// Those of this process. Variables that aren't UTF-8 are none of ours.
    pub fn process() -> Self {
        Self::from_vars(
            std::env::vars_os().filter_map(|(key, value)| {
                Some((key.into_string().ok()?, value.into_string().ok()?))
            }),
        )
    }

    /// Those given, for tests.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(vars.into_iter().collect())
    }

    /// A setting that has no default.
    pub fn required(&self, key: &'static str) -> Result<String, SettingError> {
        self.get(key)
            .map(str::to_owned)
            .ok_or(SettingError::NotSet(key))
    }

    /// A setting with a default. `expected` completes the sentence "… is not …".
    pub fn or<T: FromStr>(
        &self,
        key: &'static str,
        default: T,
        expected: &'static str,
    ) -> Result<T, SettingError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.parse().map_err(|_| SettingError::Invalid {
            key,
            value: value.to_owned(),
            expected,
        })
    }

    /// A setting that has no default and is read from its text. `expected` completes the sentence "… is not …".
    pub fn parsed<T: FromStr>(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<T, SettingError> {
        let value = self.required(key)?;
        let parsed = value.parse();
        parsed.map_err(|_| SettingError::Invalid {
            key,
            value,
            expected,
        })
    }

    /// A setting that is a JSON document, with a default.
    pub fn json<T: DeserializeOwned + Default>(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<T, SettingError> {
        let Some(value) = self.get(key) else {
            return Ok(T::default());
        };
        serde_json::from_str(value).map_err(|error| SettingError::Invalid {
            key,
            value: format!("{value} ({error})"),
            expected,
        })
    }

    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Env {
        let vars = [("QUEUE_URL", ""), ("TTL", "5m"), ("PACE", " 10 ")];
        Env::from_vars(vars.map(|(key, value)| (key.to_owned(), value.to_owned())))
    }

    #[test]
    fn errors_name_the_key() {
        for key in ["QUEUE_URL", "TABLE_NAME"] {
            let error = env().required(key).unwrap_err();
            assert_eq!(error.to_string(), format!("{key}: not set"));
        }
        let error = env().or("TTL", 1_u64, "a number of seconds").unwrap_err();
        assert_eq!(error.to_string(), r#"TTL: "5m" is not a number of seconds"#);
    }

    #[test]
    fn a_setting_beats_its_default() {
        assert_eq!(env().or("PACE", 1_u64, "a number"), Ok(10));
        assert_eq!(env().or("OTHER", 1_u64, "a number"), Ok(1));
    }
}

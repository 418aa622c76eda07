//! One call: what to send, and how its answer is read.

use std::time::Duration;

use catena::scrub_record;
use fetch::http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Answer, CatenaError, Observed};

/// What to send.
#[derive(Clone)]
pub(crate) struct Call {
    /// What it is called in logs. Paths may hold an invitation's id, so they are never shown.
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    /// Path and query below the API's base.
    pub(crate) target: String,
    pub(crate) body: Option<Vec<u8>>,
    /// With our token.
    pub(crate) authorised: bool,
    /// May be sent again when an earlier attempt may have got through. Most are: creating an invitation is idempotent by
    /// `fleet_ref` (contract 2), and the others say what shall be.
    pub(crate) idempotent: bool,
    /// How long one attempt may take, if not as long as the client's usually do.
    pub(crate) attempt: Option<Duration>,
    /// What is the largest answer, in bytes.
    pub(crate) largest: usize,
}

/// A whole answer with a status of success.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    pub(crate) observed: Observed,
}

impl Call {
    pub(crate) fn get(operation: &'static str, target: String) -> Self {
        Self::new(operation, Method::GET, target)
    }

    pub(crate) fn new(operation: &'static str, method: Method, target: String) -> Self {
        Self {
            operation,
            method,
            target,
            body: None,
            authorised: true,
            idempotent: true,
            attempt: None,
            largest: LARGEST_RESOURCE,
        }
    }

    pub(crate) fn with_body(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("maps with text keys are JSON");
        Self {
            body: Some(body),
            ..self
        }
    }

    /// Sent without a token, because none is needed (contract 3.1).
    pub(crate) fn unauthenticated(self) -> Self {
        Self {
            authorised: false,
            ..self
        }
    }

    /// Never sent again when an earlier attempt may have got through.
    pub(crate) fn once(self) -> Self {
        Self {
            idempotent: false,
            ..self
        }
    }

    /// One attempt may take so long.
    pub(crate) fn lasting(self, attempt: Duration) -> Self {
        Self {
            attempt: Some(attempt),
            ..self
        }
    }

    pub(crate) fn of_many(self) -> Self {
        Self {
            largest: LARGEST_PAGE,
            ..self
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    pub(crate) fn is_deletion(&self) -> bool {
        self.method == Method::DELETE
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Result<Value, CatenaError> {
        serde_json::from_slice(&self.body).map_err(|_| self.unreadable("not JSON"))
    }

    /// One resource, read by `reader`.
    pub(crate) fn one<T>(&self, reader: Reader<T>) -> Result<Answer<T>, CatenaError> {
        let value = reader(self.json()?).map_err(|why| self.unreadable(why))?;
        Ok(self.answer(value))
    }

    /// A plain array of resources.
    pub(crate) fn array<T>(&self, reader: Reader<T>) -> Result<Answer<Vec<T>>, CatenaError> {
        let value = self.list(self.json()?, reader)?;
        Ok(self.answer(value))
    }

    pub(crate) fn list<T>(&self, list: Value, reader: Reader<T>) -> Result<Vec<T>, CatenaError> {
        let Value::Array(items) = list else {
            return Err(self.unreadable("not a list"));
        };
        let read = items.into_iter().enumerate().map(|(index, item)| {
            reader(item).map_err(|why| self.unreadable(format!("item {index}: {why}")))
        });
        read.collect()
    }

    pub(crate) fn answer<T>(&self, value: T) -> Answer<T> {
        let observed = self.observed;
        Answer { value, observed }
    }

    pub(crate) fn unreadable(&self, why: impl Into<String>) -> CatenaError {
        CatenaError::unreadable(self.status.as_u16(), why)
    }
}

/// Makes a resource of a record, or says what is wrong with it without its values.
pub(crate) type Reader<T> = fn(Value) -> Result<T, String>;

/// Reads a resource that is no invitation, scrubbed.
pub(crate) fn scrubbed<T: DeserializeOwned>(mut record: Value) -> Result<T, String> {
    scrub_record(&mut record, false);
    typed(record)
}

/// Names the field at fault, without serde_json's words: those may quote its value.
pub(crate) fn typed<T: DeserializeOwned>(record: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(record).map_err(|error| {
        let inner = error.inner().to_string();
        match inner.split_once('`') {
            Some(("missing field ", field)) => {
                format!("field {} is missing", field.trim_end_matches('`'))
            }
            _ if error.path().iter().next().is_none() => "not an object".to_owned(),
            _ => format!("field {} has another form than documented", error.path()),
        }
    })
}

/// `path/id`. Ids are UUIDs (contract 2); what can't be one names nothing, and must not become another path.
pub(crate) fn below(path: &str, id: &str) -> Result<String, CatenaError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let possible = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(plain);
    possible
        .then(|| format!("{path}/{id}"))
        .ok_or(CatenaError::NotFound)
}

/// `path?key=value&…`, percent-encoded.
pub(crate) fn target(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut target = path.to_owned();
    for (key, value) in parameters {
        target.push(if target.len() == path.len() { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        target.extend(encoded(value));
    }
    target
}

/// A path with those parameters that have a value.
pub(crate) fn given(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let given: Vec<_> = parameters
        .iter()
        .filter_map(|(key, value)| Some((*key, (*value)?)))
        .collect();
    target(path, &given)
}

/// `path?key=a&key=b&…`, split so that each is within Catena's limit on values and what any server takes for a URL. No values
/// make no query.
pub(crate) fn portions<'r>(
    path: &str,
    key: &str,
    values: impl IntoIterator<Item = &'r str>,
) -> Vec<String> {
    let mut portions: Vec<(String, usize)> = Vec::new();
    for value in values {
        let parameter = target("", &[(key, value)]);
        let parameter = parameter.trim_start_matches('?');
        match portions.last_mut() {
            Some((text, count))
                if *count < MOST_VALUES && text.len() + parameter.len() < LONGEST_QUERY =>
            {
                text.push('&');
                text.push_str(parameter);
                *count += 1;
            }
            _ => portions.push((parameter.to_owned(), 1)),
        }
    }
    let queries = portions.into_iter();
    queries.map(|(text, _)| format!("{path}?{text}")).collect()
}

pub(crate) fn encoded(text: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(text, UNRESERVED)
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const LONGEST_ID: usize = 100;
/// Contract 2.
const MOST_VALUES: usize = 100;
/// In bytes. Servers commonly take 8 KiB for a request's first line.
const LONGEST_QUERY: usize = 6_000;
/// An answer with one resource.
const LARGEST_RESOURCE: usize = 1024 * 1024;
/// An answer with many.
const LARGEST_PAGE: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stay_in_their_place() {
        assert_eq!(target("/a", &[]), "/a");
        assert_eq!(
            target("/a", &[("b", "1&c=2 #/?%"), ("d", "Zürich~")]),
            "/a?b=1%26c%3D2%20%23%2F%3F%25&d=Z%C3%BCrich~"
        );
    }

    #[test]
    fn an_id_stays_in_its_segment() {
        assert_eq!(below("/a", "0-F_").unwrap(), "/a/0-F_");
        let long = "a".repeat(101);
        for bad in ["", ".", "..", "a/b", "a?b", "a%2Fb", "ä", "a b", &long] {
            assert!(
                matches!(below("/a", bad), Err(CatenaError::NotFound)),
                "{bad}"
            );
        }
    }

    #[test]
    fn many_values_are_split_by_number_and_by_length() {
        let short: Vec<String> = (0..250).map(|n| n.to_string()).collect();
        let split = portions("/a", "r", short.iter().map(String::as_str));
        let counts = |split: &[String]| -> Vec<usize> {
            split.iter().map(|text| text.split('&').count()).collect()
        };
        assert_eq!(counts(&split), [100, 100, 50]);
        assert_eq!(split.join("&").split('&').count(), 250);

        let long = "ä".repeat(300);
        let split = portions("/a", "r", [&*long; 10]);
        assert_eq!(counts(&split), [3, 3, 3, 1]);
        assert!(split.iter().all(|text| text.starts_with("/a?r=%C3%A4")));
        assert!(
            split
                .iter()
                .all(|text| text.len() < "/a?".len() + LONGEST_QUERY)
        );
        assert!(portions("/a", "r", []).is_empty());
    }
}

//! Reading error bodies (contract 2). No key is required, and a body may be anything.

use std::time::Duration;

use catena::bearable;
use fetch::http::{HeaderMap, header::RETRY_AFTER};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    answer::http_date,
    error::{FieldProblem, Refusal},
};

impl Refusal {
    /// What a body says, in any of the shapes of contract 2.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = &body["detail"];
        let detail_words = match detail {
            Value::Object(detail) => detail.get("message").and_then(Value::as_str),
            other => other.as_str(),
        };
        let words = [body["message"].as_str(), detail_words];
        let fields = detail.as_array().into_iter().flatten();
        Self {
            status,
            code: body["code"].as_i64(),
            message: words
                .into_iter()
                .flatten()
                .map(bearable)
                .collect::<Vec<_>>()
                .join(": "),
            fields: fields.take(MOST_FIELDS).map(field_problem).collect(),
        }
    }
}

/// How long to wait after a 429: `detail.retry_after_seconds`, else `Retry-After` in seconds or as a date (contract 2).
pub(crate) fn retry_after(
    headers: &HeaderMap,
    body: &[u8],
    now: OffsetDateTime,
) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let seconds = match &body["detail"]["retry_after_seconds"] {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let header = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    seconds
        .and_then(duration)
        .or_else(|| duration(header?.trim().parse().ok()?))
        .or_else(|| {
            let until = http_date(headers, RETRY_AFTER.as_str())?;
            // Both by Catena's clock, if possible.
            let from = http_date(headers, "date").unwrap_or(now);
            Some(Duration::try_from(until - from).unwrap_or_default())
        })
}

/// The protocol's error code of a refused token request, such as `invalid_client`.
pub(crate) fn oauth_error(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body["error"].as_str()?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (code.len() <= LONGEST_CODE && code.bytes().all(plain)).then(|| code.to_owned())
}

fn field_problem(detail: &Value) -> FieldProblem {
    let path = detail["path"].as_str().unwrap_or_default();
    FieldProblem {
        // Segments are names of fields, or keys that we sent.
        path: path.split('.').map(bearable).collect::<Vec<_>>().join("."),
        message: bearable(detail["message"].as_str().unwrap_or_default()),
    }
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// A code is a word.
const LONGEST_CODE: usize = 26;
const MOST_FIELDS: usize = 10;

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-05-04 08:00 UTC);

    macro_rules! sample {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/fixtures/samples/api/", $name))
        };
    }

    #[test]
    fn every_documented_shape_is_read() {
        let said = |status, body| Refusal::read(status, body).to_string();
        assert_eq!(said(400, sample!("error.400.json")), "400 Bad Request");
        assert_eq!(said(401, sample!("error.401.json")), "401 Unauthorized");
        assert_eq!(said(403, sample!("error.403.json")), "403 Forbidden");
        assert_eq!(said(404, sample!("error.404.json")), "404 Not Found");
        assert_eq!(
            said(405, sample!("error.405.json")),
            "405 Method Not Allowed"
        );
        assert_eq!(
            said(409, sample!("error.409.json")),
            "409 Conflict: A webhook with this event, url and filters already exists"
        );
        assert_eq!(
            said(422, sample!("error.422.json")),
            "422 Invalid Request Body; body.expires_in_hours: Input should be less than or equal to 672"
        );
        assert_eq!(
            said(429, sample!("error.429.json")),
            "429 Too Many Requests: Rate limit exceeded"
        );
        assert_eq!(
            said(500, sample!("error.500.json")),
            "500 Internal Server Error"
        );
        assert_eq!(said(504, sample!("error.504.json")), "504 Gateway Timeout");
        assert_eq!(
            Refusal::read(409, sample!("error.409.json")).code,
            Some(409)
        );
    }

    #[test]
    fn any_body_is_read() {
        for body in [
            "",
            "<html>",
            "null",
            "[]",
            "7",
            r#"{"code":"x","message":[],"detail":7}"#,
        ] {
            let expected = Refusal {
                status: 400,
                ..Refusal::default()
            };
            assert_eq!(Refusal::read(400, body.as_bytes()), expected, "{body}");
        }
        let odd = Refusal::read(422, br#"{"detail":[{}, 7, {"path":"a.b"}]}"#);
        assert_eq!(odd.fields[2].path, "a.b");
    }

    #[test]
    fn what_is_shown_holds_no_id_token_or_link() {
        let body = br#"{"message":"invitation\n019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3 gone,\u001b[31m see http://a.b/?t=x",
            "detail":[{"path":"path.019df1a03c5e7b218f442a6c9e10d7b3","input":"secret","message":"eyJhbGciOiJIUzI1NiIsInR5c"}]}"#;
        assert_eq!(
            Refusal::read(422, body).to_string(),
            "422 invitation (…) gone, [31m see (…); path.(…): (…)"
        );
    }

    #[test]
    fn a_wait_is_read_from_wherever_it_is() {
        let wait = |header: Option<&'static str>, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(RETRY_AFTER, header.parse().unwrap());
            }
            retry_after(&headers, body.as_bytes(), NOW).map(|wait| wait.as_secs_f64())
        };
        let sample = str::from_utf8(sample!("error.429.json")).unwrap();
        assert_eq!(wait(None, sample), Some(7.0));
        assert_eq!(wait(Some("60"), sample), Some(7.0));
        assert_eq!(wait(Some("60"), ""), Some(60.0));
        assert_eq!(wait(Some("Mon, 04 May 2026 08:00:09 GMT"), ""), Some(9.0));
        assert_eq!(wait(Some("Mon, 04 May 2026 07:00:00 GMT"), ""), Some(0.0));
        assert_eq!(wait(Some("soon"), ""), None);
        assert_eq!(wait(None, r#"{"detail":{"retry_after_seconds":-1}}"#), None);
        assert_eq!(
            wait(None, r#"{"detail":{"retry_after_seconds":" 3"}}"#),
            Some(3.0)
        );
        assert_eq!(wait(None, r#"{"detail":null}"#), None);
    }

    #[test]
    fn a_date_to_wait_for_is_one_of_catenas_clock() {
        let mut headers = HeaderMap::new();
        headers.insert(
            RETRY_AFTER,
            "Mon, 04 May 2026 09:00:09 GMT".parse().unwrap(),
        );
        headers.insert("date", "Mon, 04 May 2026 09:00:00 GMT".parse().unwrap());
        assert_eq!(
            retry_after(&headers, b"", NOW),
            Some(Duration::from_secs(9))
        );
    }

    #[test]
    fn only_a_code_is_taken_from_a_refused_token_request() {
        let code = oauth_error(br#"{"error":"invalid_client","error_description":"x"}"#);
        assert_eq!(code.as_deref(), Some("invalid_client"));
        assert_eq!(oauth_error(br#"{"error":"Secret hush"}"#), None);
        assert_eq!(oauth_error(b"<html>"), None);
    }
}

//! HTTP as API Gateway's HTTP APIs see it: a request becomes an event (payload format 2.0), a
//! function's answer becomes a response. Pure, so that tests build the very events that the
//! gateway sends.

use axum::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE, USER_AGENT,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;

/// An HTTP request as it came in.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without query string.
    pub path: &'a str,
    /// The query string, without `?`; empty if there is none.
    pub query: &'a str,
    /// The headers, duplicates included.
    pub headers: &'a HeaderMap,
    /// The body as it came over the wire.
    pub body: &'a [u8],
    /// The address of the client.
    pub source_ip: &'a str,
}

/// The parameters of a path, by name.
pub type Parameters = Vec<(String, String)>;

/// The answer to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// The event that a function gets for a request on a route, as of `now`. The path in it is
/// [`decoded`]; the query string is not.
pub fn event(
    request: &Request<'_>,
    route_key: &str,
    path_parameters: &[(String, String)],
    request_id: &str,
    now: OffsetDateTime,
) -> Value {
    let header = |name: HeaderName| {
        let value = request.headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let host = header(HOST);
    let path = decoded(request.path);
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": headers(request.headers),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.split(['.', ':']).next().unwrap_or_default(),
            "http": {
                "method": request.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.source_ip,
                "userAgent": header(USER_AGENT),
            },
            "requestId": request_id,
            "routeKey": route_key,
            "stage": "$default",
            "time": common_log_time(now),
            "timeEpoch": i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
        },
        "isBase64Encoded": false,
    });
    let cookies = cookies(request.headers);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !request.query.is_empty() {
        event["queryStringParameters"] = Value::Object(query_parameters(request.query));
    }
    if !path_parameters.is_empty() {
        event["pathParameters"] = path_parameters
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect::<Map<_, _>>()
            .into();
    }
    if !request.body.is_empty() {
        match text(request.headers, request.body) {
            Some(text) => event["body"] = json!(text),
            None => {
                event["body"] = json!(STANDARD.encode(request.body));
                event["isBase64Encoded"] = json!(true);
            }
        }
    }
    event
}

/// A path as HTTP APIs see it: percent-decoded once and before they look for a route, so that an
/// escaped slash parts segments like any other. Escapes that are none stay as they are, and bytes
/// that aren't UTF-8 become U+FFFD.
///
/// AWS documents neither; this is what those found who tried it: `rawPath`, `http.path` and
/// `pathParameters` come decoded (middleapi/standard-server#93, aws/aws-lambda-dotnet#1901), and
/// `a%2Fb` never fits a `{parameter}` (the latter). The first adds that a decoded `?` cuts the
/// path off; that isn't imitated.
pub fn decoded(path: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(path.as_bytes())).into_owned()
}

/// The response that a function's answer stands for. `None` if it stands for none, which API
/// Gateway answers with 500.
pub fn response(answer: &Value) -> Option<Response> {
    // Without a status the whole answer is the body.
    let Some(status) = answer.get("statusCode") else {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Some(Response {
            status: StatusCode::OK,
            headers,
            body: answer.to_string().into_bytes(),
        });
    };
    let status = match status {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return None,
        };
        headers.append(
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        );
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        headers.append(SET_COOKIE, HeaderValue::try_from(cookie.as_str()?).ok()?);
    }
    let body = match &answer["body"] {
        Value::Null => Vec::new(),
        Value::String(text) if answer["isBase64Encoded"] == true => STANDARD.decode(text).ok()?,
        Value::String(text) => text.clone().into_bytes(),
        _ => return None,
    };
    if !headers.contains_key(CONTENT_TYPE) {
        let value = HeaderValue::from_static("text/plain;charset=UTF-8");
        headers.insert(CONTENT_TYPE, value);
    }
    Some(Response {
        status: StatusCode::from_u16(status).ok()?,
        headers,
        body,
    })
}

impl Response {
    /// The answer to the same request by `HEAD`: its headers, with the length that the body would have.
    pub fn without_body(mut self) -> Self {
        let length = HeaderValue::from(self.body.len());
        self.headers.insert(CONTENT_LENGTH, length);
        self.body.clear();
        self
    }
}

/// An answer of the gateway's own.
pub fn message(status: StatusCode, message: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response {
        status,
        headers,
        body: json!({ "message": message }).to_string().into_bytes(),
    }
}

/// The route for a request, by its [`decoded`] path, with the values of the path's parameters.
/// The most specific one wins: literal segments before `{name}` before `{name+}` before
/// `$default`, and a method before `ANY`.
pub fn route<'a>(
    keys: impl IntoIterator<Item = &'a str>,
    method: &Method,
    path: &str,
) -> Option<(&'a str, Parameters)> {
    keys.into_iter()
        .filter_map(|key| {
            let (rank, parameters) = matched(key, method, path)?;
            Some((rank, key, parameters))
        })
        .min_by(|left, right| left.0.cmp(&right.0))
        .map(|(_, key, parameters)| (key, parameters))
}

/// How well a route key fits, the lower the better, segment by segment.
fn matched(key: &str, method: &Method, path: &str) -> Option<(Vec<u8>, Parameters)> {
    let Some((wanted, pattern)) = key.split_once(' ') else {
        return (key == "$default").then(|| (vec![u8::MAX], Vec::new()));
    };
    let any = wanted == "ANY";
    if !any && wanted != method.as_str() {
        return None;
    }
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (mut rank, mut parameters) = (Vec::new(), Vec::new());
    let mut patterns = pattern.trim_start_matches('/').split('/');
    let mut index = 0;
    for pattern in &mut patterns {
        let name = pattern
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match (
            name.map(|name| name.strip_suffix('+').ok_or(name)),
            segments.get(index),
        ) {
            (_, None) => return None,
            (None, Some(segment)) if *segment != pattern => return None,
            (None, Some(_)) => rank.push(0),
            (Some(Err(name)), Some(segment)) => {
                parameters.push((name.to_owned(), (*segment).to_owned()));
                rank.push(1);
            }
            (Some(Ok(name)), Some(_)) => {
                parameters.push((name.to_owned(), segments[index..].join("/")));
                rank.push(2);
                index = segments.len() - 1;
            }
        }
        index += 1;
    }
    rank.push(u8::from(any));
    (index == segments.len()).then_some((rank, parameters))
}

/// `04/Mar/2026:05:06:07 +0000`
fn common_log_time(now: OffsetDateTime) -> String {
    let format = "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] \
                  [offset_hour sign:mandatory][offset_minute]";
    time::format_description::parse_borrowed::<2>(format)
        .ok()
        .and_then(|format: Vec<BorrowedFormatItem<'_>>| now.format(&format).ok())
        .unwrap_or_default()
}

/// Names in lower case, duplicates joined. Cookies have a place of their own.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    headers
        .keys()
        .filter(|name| **name != COOKIE)
        .map(|name| {
            let values: Vec<_> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.as_str().to_owned(), json!(values.join(",")))
        })
        .collect()
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(|cookie| cookie.trim().to_owned())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

fn query_parameters(query: &str) -> Map<String, Value> {
    let mut parameters = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (query_decoded(name), query_decoded(value));
        let joined = match parameters.get(&name).and_then(Value::as_str) {
            Some(former) => format!("{former},{value}"),
            None => value,
        };
        parameters.insert(name, json!(joined));
    }
    parameters
}

/// A name or value of a query string, where `+` stands for a space.
fn query_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    String::from_utf8_lossy(&percent_decoded(spaced.as_bytes())).into_owned()
}

/// The bytes that a text stands for; escapes that are none stand for themselves.
pub(crate) fn percent_decoded(mut rest: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let byte = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    decoded
}

/// The body as text, if API Gateway would pass it on as such: a text type and not compressed.
fn text<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<&'a str> {
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next()?.trim().to_ascii_lowercase();
    let textual = essence.starts_with("text/")
        || matches!(
            essence.as_str(),
            "application/json" | "application/xml" | "application/javascript"
        );
    if textual {
        std::str::from_utf8(body).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(headers: &[(&str, &str)], body: &[u8]) -> Value {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        let request = Request {
            method: &Method::POST,
            path: "/webhooks/catena",
            query: "a=1&b=%C3%BC+x&a=2",
            headers: &map,
            body,
            source_ip: "192.0.2.1",
        };
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_772_600_767_089_000_000).unwrap();
        event(&request, "POST /webhooks/catena", &[], "id", now)
    }

    #[test]
    fn an_event_has_the_shape_of_format_2_0() {
        let event = seen(&[("Host", "api.example:80"), ("User-Agent", "curl")], b"");
        assert_eq!(
            event,
            json!({
                "version": "2.0",
                "routeKey": "POST /webhooks/catena",
                "rawPath": "/webhooks/catena",
                "rawQueryString": "a=1&b=%C3%BC+x&a=2",
                "queryStringParameters": {"a": "1,2", "b": "ü x"},
                "headers": {"host": "api.example:80", "user-agent": "curl"},
                "requestContext": {
                    "accountId": "000000000000",
                    "apiId": "local",
                    "domainName": "api.example:80",
                    "domainPrefix": "api",
                    "http": {
                        "method": "POST",
                        "path": "/webhooks/catena",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "192.0.2.1",
                        "userAgent": "curl",
                    },
                    "requestId": "id",
                    "routeKey": "POST /webhooks/catena",
                    "stage": "$default",
                    "time": "04/Mar/2026:05:06:07 +0000",
                    "timeEpoch": 1_772_600_767_089_i64,
                },
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn a_path_comes_decoded_and_its_query_string_does_not() {
        let request = Request {
            method: &Method::PUT,
            path: "/fleets/a%20%C3%BC+/invitation",
            query: "a=%20",
            headers: &HeaderMap::new(),
            body: b"",
            source_ip: "192.0.2.1",
        };
        let key = "PUT /fleets/{fleet_ref}/invitation";
        let path = decoded(request.path);
        let (_, parameters) = route([key], request.method, &path).unwrap();
        let event = event(&request, key, &parameters, "id", OffsetDateTime::UNIX_EPOCH);
        assert_eq!(event["rawPath"], "/fleets/a ü+/invitation");
        assert_eq!(event["requestContext"]["http"]["path"], event["rawPath"]);
        assert_eq!(event["pathParameters"], json!({"fleet_ref": "a ü+"}));
        assert_eq!(event["rawQueryString"], "a=%20");
        assert_eq!(event.get("body"), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for (raw, expected) in [
            ("%", "%"),
            ("%4", "%4"),
            ("%+4", "%+4"),
            ("%zz%41", "%zzA"),
            ("%ü", "%ü"),
            ("%2541", "%41"),
            ("a%FFb", "a\u{fffd}b"),
            ("%c3%bc", "ü"),
        ] {
            assert_eq!(decoded(raw), expected, "{raw}");
        }
    }

    #[test]
    fn duplicate_headers_are_joined_and_lower_case() {
        let event = seen(&[("X-Signature", "a"), ("x-signature", "b")], b"");
        assert_eq!(event["headers"], json!({"x-signature": "a,b"}));
    }

    #[test]
    fn cookies_are_a_list_of_their_own() {
        let event = seen(&[("Cookie", "a=1; b=2"), ("cookie", "c=3")], b"");
        assert_eq!(event["cookies"], json!(["a=1", "b=2", "c=3"]));
        assert_eq!(event["headers"], json!({}));
    }

    #[test]
    fn only_plain_text_stays_text() {
        let json = ("Content-Type", "application/json; charset=utf-8");
        let plain = seen(&[json], b"{}");
        assert_eq!(
            (&plain["body"], &plain["isBase64Encoded"]),
            (&json!("{}"), &json!(false))
        );
        let base64 = json!("e30=");
        for headers in [
            &[json, ("Content-Encoding", "gzip")][..],
            &[("Content-Type", "application/octet-stream")],
            &[],
        ] {
            let event = seen(headers, b"{}");
            assert_eq!(
                (&event["body"], &event["isBase64Encoded"]),
                (&base64, &json!(true))
            );
        }
        assert_eq!(
            seen(&[json], b"\x1f\x8b\xff")["isBase64Encoded"],
            json!(true)
        );
    }

    #[test]
    fn answers_become_responses() {
        let answer = json!({
            "statusCode": 202,
            "headers": {"x-a": "1"},
            "cookies": ["a=1", "b=2"],
            "body": "aGk=",
            "isBase64Encoded": true,
        });
        let response = response(&answer).unwrap();
        assert_eq!(response.status, StatusCode::ACCEPTED);
        assert_eq!(response.body, b"hi");
        assert_eq!(response.headers["x-a"], "1");
        assert_eq!(response.headers["content-type"], "text/plain;charset=UTF-8");
        let cookies: Vec<_> = response.headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn head_keeps_the_headers_and_the_length() {
        let answer = json!({"statusCode": 404, "headers": {"etag": "x"}, "body": "hello"});
        let response = response(&answer).unwrap().without_body();
        assert_eq!(response.status, StatusCode::NOT_FOUND);
        assert_eq!(response.headers["etag"], "x");
        assert_eq!(response.headers["content-length"], "5");
        assert_eq!(response.body, b"");
    }

    #[test]
    fn an_answer_without_status_is_the_body() {
        let response = response(&json!({"a": 1})).unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.headers["content-type"], "application/json");
        assert_eq!(response.body, br#"{"a":1}"#);
    }

    #[test]
    fn answers_that_are_no_response_are_refused() {
        for answer in [
            json!({"statusCode": "many"}),
            json!({"statusCode": 42}),
            json!({"statusCode": 200, "body": {"a": 1}}),
            json!({"statusCode": 200, "headers": {"bad name": "x"}}),
            json!({"statusCode": 200, "body": "*", "isBase64Encoded": true}),
        ] {
            assert_eq!(response(&answer), None, "{answer}");
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let keys = [
            "$default",
            "ANY /connect/{link}",
            "GET /connect/{link}",
            "GET /connect/help",
            "POST /connect/{link}/open",
            "GET /{rest+}",
        ];
        let found = |method: Method, path: &str| {
            let (key, parameters) = route(keys, &method, path).unwrap();
            let parameters: Vec<_> = parameters
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            (key, parameters.join(" "))
        };
        let same = |key, parameters: &str| (key, parameters.to_owned());
        assert_eq!(
            found(Method::GET, "/connect/help"),
            same("GET /connect/help", "")
        );
        assert_eq!(
            found(Method::GET, "/connect/x"),
            same("GET /connect/{link}", "link=x")
        );
        assert_eq!(
            found(Method::PUT, "/connect/x"),
            same("ANY /connect/{link}", "link=x")
        );
        assert_eq!(
            found(Method::POST, "/connect/x/open"),
            same("POST /connect/{link}/open", "link=x")
        );
        assert_eq!(
            found(Method::GET, "/a/b/c"),
            same("GET /{rest+}", "rest=a/b/c")
        );
        assert_eq!(found(Method::POST, "/a"), same("$default", ""));
        assert_eq!(route(["GET /a"], &Method::GET, "/a/b"), None);
        // Nobody answers HEAD for GET's sake.
        assert_eq!(route(["GET /a"], &Method::HEAD, "/a"), None);
        let head = route(["GET /a", "HEAD /a"], &Method::HEAD, "/a");
        assert_eq!(head, Some(("HEAD /a", vec![])));
        assert_eq!(route(["GET /a"], &Method::POST, "/a"), None);
    }
}

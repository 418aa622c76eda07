//! Routes with `AWS_IAM` over a listening gateway, called by this crate's client and by botocore,
//! with a function that records what it gets.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests do"
)]

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use local::Options;
use local::authorization::USERS;
use local::gateway::{Gateway, Target};
use local::signed::{Answer, Request, Signed};
use local::template::Authorization;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[tokio::test]
async fn a_get_with_a_query_gets_through() {
    let api = Api::start().await;
    let path = "/fleets?stage=invited&cursor=a%3D%3D&empty=&flag&b=%C3%BC%20x";
    let answer = api.test.send(Method::GET, path, None).await.unwrap();
    assert_eq!(answer.status, 200);
    let event = api.single_event();
    assert_eq!(event["routeKey"], "GET /fleets");
    assert_eq!(event["rawQueryString"], &path["/fleets?".len()..]);
    assert_eq!(
        event["queryStringParameters"],
        json!({"stage": "invited", "cursor": "a==", "empty": "", "flag": "", "b": "ü x"})
    );
    assert_eq!(event.get("body"), None);
    assert_eq!(event["isBase64Encoded"], false);
}

#[tokio::test]
async fn a_put_with_a_body_gets_through() {
    let api = Api::start().await;
    let body = json!({"name": "Müller & Söhne"});
    let answer = api
        .operator
        .send(Method::PUT, INVITATION, Some(body.clone()));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().unwrap(), json!({"ok": true}));
    let event = api.single_event();
    assert_eq!(event["routeKey"], INVITATION_KEY);
    assert_eq!(event["pathParameters"], json!({"fleet_ref": "f-1"}));
    assert_eq!(event["body"], body.to_string());
}

#[tokio::test]
async fn paths_come_decoded_however_they_were_encoded() {
    for (raw, decoded) in [
        ("a%20b", "a b"),
        ("%C3%BC", "ü"),
        ("a:b@c", "a:b@c"),
        ("a%3Ab", "a:b"),
        ("~%7E%25%2B+", "~~%++"),
        ("%2520", "%20"),
        ("%FF", "\u{fffd}"),
        ("%", "%"),
    ] {
        let api = Api::start().await;
        let path = format!("/fleets/{raw}/invitation");
        let answer = api.test.send(Method::PUT, &path, None).await.unwrap();
        assert_eq!(answer.status, 200, "{raw}");
        let event = api.single_event();
        assert_eq!(event["pathParameters"]["fleet_ref"], decoded);
        assert_eq!(event["rawPath"], format!("/fleets/{decoded}/invitation"));
    }
    let api = Api::start().await;
    let path = "/fleets/a%2Fb/invitation";
    let answer = api.test.send(Method::PUT, path, None).await.unwrap();
    assert_eq!(said(&answer), (404, json!({"message": "Not Found"})));
    assert_eq!(api.events(), [] as [Value; 0]);
}

#[tokio::test]
async fn the_event_says_who_called() {
    let api = Api::start().await;
    for (client, name, id) in [
        (&api.test, "test", "AIDATEST"),
        (&api.operator, "operator", "AIDAOPERATOR"),
    ] {
        client.send(Method::GET, "/fleets", None).await.unwrap();
        let context = api.single_event()["requestContext"].take();
        assert_eq!(context["accountId"], "000000000000");
        assert_eq!(context["apiId"], "local");
        assert_eq!(
            context["authorizer"],
            json!({"iam": {
                "accessKey": name,
                "accountId": "000000000000",
                "callerId": id,
                "cognitoIdentity": null,
                "principalOrgId": null,
                "userArn": format!("arn:aws:iam::000000000000:user/{name}"),
                "userId": id,
            }})
        );
    }
}

#[tokio::test]
async fn on_open_routes_nobody_is_anybody() {
    let api = Api::start().await;
    let forged = json!({"requestContext": {"authorizer": {"iam": {"accessKey": "test"}}}});
    let mut unsigned = api
        .test
        .unsigned(Method::POST, "/open?authorizer=test", Some(forged.clone()))
        .unwrap();
    for name in ["authorizer", "x-amzn-authorizer", "requestcontext"] {
        let value = HeaderValue::from_static("{\"iam\":{\"accessKey\":\"test\"}}");
        unsigned.headers.insert(name, value);
    }
    let signed = api.test.sign(unsigned.clone()).unwrap();
    let wrong = api.stranger.sign(unsigned.clone()).unwrap();
    for request in [unsigned, signed, wrong] {
        assert_eq!(api.test.deliver(request).await.unwrap().status, 200);
        let event = api.single_event();
        assert_eq!(event["requestContext"].get("authorizer"), None);
        assert_eq!(event["body"], forged.to_string());
    }
}

#[tokio::test]
async fn who_forges_a_caller_stays_who_signed() {
    let api = Api::start().await;
    let forged = json!({"requestContext": {"authorizer": {"iam": {"accessKey": "operator"}}}});
    let sent = api.test.send(Method::PUT, INVITATION, Some(forged));
    assert_eq!(sent.await.unwrap().status, 200);
    let event = api.single_event();
    assert_eq!(
        event["requestContext"]["authorizer"]["iam"]["accessKey"],
        "test"
    );
}

#[tokio::test]
async fn what_was_changed_after_signing_is_refused() {
    let api = Api::start().await;
    let changes: &[(&str, Change)] = &[
        ("method", |request| request.method = Method::POST),
        ("path", |request| {
            request.url.set_path("/fleets/f-2/invitation")
        }),
        ("query", |request| request.url.set_query(Some("a=2&b=1"))),
        ("more query", |request| {
            request.url.set_query(Some("a=1&b=1&c"))
        }),
        ("no query", |request| request.url.set_query(None)),
        ("presigned", |request| {
            let value = request.headers.remove("authorization");
            let value = value.unwrap().to_str().unwrap().to_owned();
            request
                .url
                .query_pairs_mut()
                .append_pair("X-Amz-Signature", &value);
        }),
        ("body", |request| request.body.push(b' ')),
        ("no body", |request| request.body.clear()),
        ("signed header", |request| {
            set(request, "content-type", "application/json;a")
        }),
        ("host", |request| set(request, "host", "example.com")),
        ("no header", |request| {
            drop(request.headers.remove("content-type"))
        }),
        ("one header more", |request| {
            let value = HeaderValue::from_static("text/plain");
            request.headers.append("content-type", value);
        }),
        ("no date", |request| {
            drop(request.headers.remove("x-amz-date"))
        }),
        ("date", |request| {
            let date = request.headers["x-amz-date"].to_str().unwrap();
            let (day, time) = date.split_once('T').unwrap();
            let second = (time[4..6].parse::<u8>().unwrap() + 1) % 60;
            let date = format!("{day}T{}{second:02}Z", &time[..4]);
            set(request, "x-amz-date", &date);
        }),
        ("no signature", |request| {
            drop(request.headers.remove("authorization"))
        }),
        ("two signatures", |request| {
            let value = request.headers["authorization"].clone();
            request.headers.append("authorization", value);
        }),
        ("signature", |request| {
            edit(request, |text| match text.strip_suffix('0') {
                Some(start) => format!("{start}1"),
                None => format!("{}0", &text[..text.len() - 1]),
            });
        }),
        ("longer signature", |request| {
            edit(request, |text| format!("{text}0"))
        }),
        ("shorter signature", |request| {
            edit(request, |text| text[..text.len() - 1].to_owned())
        }),
        ("key", |request| {
            edit(request, |text| text.replace("=test/", "=operator/"))
        }),
        ("session", |request| {
            set(request, "x-amz-security-token", "x")
        }),
        ("hash", |request| {
            set(request, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        }),
    ];
    let path = format!("{INVITATION}?a=1&b=1");
    let body = json!({"a": 1});
    let signed = || {
        let request = api.test.unsigned(Method::PUT, &path, Some(body.clone()));
        api.test.sign(request.unwrap()).unwrap()
    };
    for (name, change) in changes {
        let mut request = signed();
        change(&mut request);
        let answer = api.test.deliver(request).await.unwrap();
        api.assert_refused(&answer, name);
    }
    // Nor is it the signing itself that is refused; and what isn't signed may change.
    let mut request = signed();
    set(&mut request, "x-other", "1");
    request.url.set_query(Some("b=1&a=1"));
    assert_eq!(api.test.deliver(request).await.unwrap().status, 200);
    assert_eq!(api.events().len(), 1);
}

#[tokio::test]
async fn who_signs_wrongly_is_refused() {
    let api = Api::start().await;
    let url = api.gateway.url("");
    let key = |id, secret, region| Signed::new(&url, id, secret, region).unwrap();
    let right = || key("test", "test", "us-east-1");
    let minutes = |count: u64| Duration::from_secs(60 * count);
    for (name, client) in [
        ("secret", key("test", "operator-secret", "us-east-1")),
        ("secret of the key", key("operator", "test", "us-east-1")),
        ("key", key("nobody", "test", "us-east-1")),
        ("no key", key("", "", "us-east-1")),
        ("region", key("test", "test", "eu-central-1")),
        ("service", right().service("lambda")),
        ("old", right().age(minutes(5) + Duration::from_secs(5))),
        ("days old", right().age(minutes(24 * 60))),
        ("host", right().without_host()),
    ] {
        let answer = client.send(Method::GET, "/fleets?a=1", None).await.unwrap();
        api.assert_refused(&answer, name);
    }
    for (name, client) in [
        ("right", right()),
        ("a little old", right().age(minutes(4))),
        ("with hash", right().with_body_hash()),
    ] {
        let answer = client.send(Method::GET, "/fleets?a=1", None).await.unwrap();
        assert_eq!(answer.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_signed_hash_is_that_of_the_body() {
    let api = Api::start().await;
    let client = api.test.clone().with_body_hash();
    let sent = client.send(Method::PUT, INVITATION, Some(json!({"a": 1})));
    assert_eq!(sent.await.unwrap().status, 200);
    let mut request = client
        .unsigned(Method::PUT, INVITATION, Some(json!({"a": 1})))
        .unwrap();
    // Signed, but the hash of something else.
    set(&mut request, "x-amz-content-sha256", &"0".repeat(64));
    let request = api.test.sign(request).unwrap();
    api.single_event();
    let answer = client.deliver(request).await.unwrap();
    api.assert_refused(&answer, "hash");
}

#[tokio::test]
async fn headers_that_are_no_signature_are_refused() {
    let api = Api::start().await;
    let scope = "test/20261121/us-east-1/execute-api/aws4_request";
    for header in [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e/f, SignedHeaders=host, Signature=c",
        &format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=, Signature="),
        &format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date"),
        &format!("AWS4-ECDSA-P256-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        "AWS4-HMAC-SHA256 \u{fc}",
    ] {
        let mut request = api.test.unsigned(Method::GET, "/fleets", None).unwrap();
        let mut value = HeaderValue::from_bytes(header.as_bytes()).unwrap();
        value.set_sensitive(true);
        request.headers.insert("authorization", value);
        for date in ["20261121T000000Z", "", "2026-11-21", "+0261121T000000Z"] {
            let mut request = request.clone();
            set(&mut request, "x-amz-date", date);
            let answer = api.test.deliver(request).await.unwrap();
            api.assert_refused(&answer, header);
        }
    }
}

#[tokio::test]
async fn a_route_that_is_none_is_not_found_before_anybody_asks_who_calls() {
    let api = Api::start().await;
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/fleets"),
        ("OPTIONS", "/fleets"),
        ("POST", "/fleets"),
        ("FROBNICATE", "/fleets"),
        ("GET", "/fleets/"),
        ("get", "/fleets"),
        ("PUT", "/fleets//invitation/"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for client in [&api.test, &api.stranger] {
            let answer = client.send(method.clone(), path, None).await.unwrap();
            assert_eq!(answer.status, 404, "{method} {path}");
            if method != Method::HEAD {
                assert_eq!(answer.json().unwrap(), json!({"message": "Not Found"}));
            }
        }
    }
    assert_eq!(api.events(), [] as [Value; 0]);
}

/// An independent signer: AWS's own for Python, which the local AWS brings along.
#[tokio::test]
async fn botocore_signs_what_the_gateway_lets_in() {
    let python = Options::default().tools.join("local/bin/python");
    let available = Command::new(&python)
        .args(["-c", "import botocore"])
        .output();
    if !available.is_ok_and(|output| output.status.success()) {
        let message = "SKIPPED botocore_signs_what_the_gateway_lets_in: no botocore; \
                       `cargo xtask up` installs it\n";
        // Unlike `eprintln!`, seen also when the test passes.
        std::io::stderr().write_all(message.as_bytes()).unwrap();
        return;
    }
    let api = Api::start().await;
    let body = json!({"name": "Müller", "note": "a\nb"}).to_string();
    let requests: Vec<Value> = [
        ("GET", "/fleets", ""),
        ("GET", "/fleets?stage=invited&cursor=a%3D%3D", ""),
        ("GET", "/fleets?b=%C3%BC%20x&a=2&a=1&empty=&z=~-_.%2F", ""),
        ("PUT", INVITATION, &body),
        ("PUT", "/fleets/a%20%C3%BC:%40b~%2525/invitation", &body),
        ("POST", "/access/batch", "{}"),
    ]
    .into_iter()
    .flat_map(|(method, path, body)| {
        USERS.map(|user| {
            json!({
                "method": method,
                "url": api.gateway.url(path),
                "body": body,
                "key": user.access_key_id,
                "secret": user.secret,
            })
        })
    })
    .collect();
    let headers = signed_by_botocore(&python, &json!(requests));
    assert_eq!(headers.len(), requests.len());
    for (request, headers) in requests.iter().zip(&headers) {
        let text = |name: &str| request[name].as_str().unwrap();
        let mut prepared = Request {
            method: text("method").parse().unwrap(),
            url: text("url").parse().unwrap(),
            headers: Default::default(),
            body: text("body").as_bytes().to_vec(),
        };
        for (name, value) in headers.as_object().unwrap() {
            let value = value.as_str().unwrap().parse().unwrap();
            let name = reqwest::header::HeaderName::try_from(name).unwrap();
            prepared.headers.insert(name, value);
        }
        let mut altered = prepared.clone();
        altered.body.push(b'x');
        let answer = api.test.deliver(altered).await.unwrap();
        api.assert_refused(&answer, text("url"));
        let answer = api.test.deliver(prepared).await.unwrap();
        assert_eq!(answer.status, 200, "{} {}", text("method"), text("url"));
        let caller = api.single_event()["requestContext"]["authorizer"]["iam"].take();
        assert_eq!(caller["accessKey"], request["key"]);
    }
}

fn signed_by_botocore(python: &std::path::Path, requests: &Value) -> Vec<Value> {
    const SIGNER: &str = r#"
import json, sys
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

signed = []
for request in json.load(sys.stdin):
    made = AWSRequest(request["method"], request["url"], {"Content-Type": "application/json"}, request["body"].encode())
    credentials = Credentials(request["key"], request["secret"])
    SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(made)
    signed.append(dict(made.headers))
json.dump(signed, sys.stdout)
"#;
    let mut child = Command::new(python)
        .args(["-c", SIGNER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = requests.to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "botocore could not sign");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A gateway, its function, and three callers.
struct Api {
    gateway: Gateway,
    events: Arc<Mutex<Vec<Value>>>,
    function: JoinHandle<()>,
    test: Signed,
    operator: Signed,
    /// Whom nobody knows.
    stranger: Signed,
}

impl Api {
    async fn start() -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&events);
        let invoke = async move |body: String| {
            recorded
                .lock()
                .unwrap()
                .push(serde_json::from_str(&body).unwrap());
            json!({"statusCode": 200, "body": "{\"ok\":true}"}).to_string()
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let invoke_url = format!("http://{}/invoke", listener.local_addr().unwrap());
        let function = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(invoke))
                .await
                .unwrap();
        });
        let target = |key: &str, authorization| Target {
            key: key.to_owned(),
            invoke_url: invoke_url.clone(),
            authorization,
        };
        let routes = vec![
            target("GET /fleets", Authorization::AwsIam),
            target(INVITATION_KEY, Authorization::AwsIam),
            target("POST /fleets/{fleet_ref}/invitation", Authorization::AwsIam),
            target("POST /access/batch", Authorization::AwsIam),
            target("POST /open", Authorization::None),
        ];
        let gateway = Gateway::start(None, routes).await.unwrap();
        let url = gateway.url("");
        let user = |index: usize| Signed::user(&url, &USERS[index]).unwrap();
        Self {
            events,
            function,
            test: user(0),
            operator: user(1),
            stranger: Signed::new(&url, "nobody", "nothing", "us-east-1").unwrap(),
            gateway,
        }
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// The one event since the last time.
    fn single_event(&self) -> Value {
        let mut events = self.events.lock().unwrap();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    fn assert_refused(&self, answer: &Answer, name: &str) {
        assert_eq!(
            said(answer),
            (403, json!({"message": "Forbidden"})),
            "{name}"
        );
        assert_eq!(self.events().len(), 0, "{name}");
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.function.abort();
    }
}

fn said(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json().unwrap())
}

fn set(request: &mut Request, name: &'static str, value: &str) {
    request
        .headers
        .insert(name, HeaderValue::from_str(value).unwrap());
}

/// Rewrites what the signature says.
fn edit(request: &mut Request, change: fn(&str) -> String) {
    let changed = change(request.headers["authorization"].to_str().unwrap());
    set(request, "authorization", &changed);
}

type Change = fn(&mut Request);

const INVITATION_KEY: &str = "PUT /fleets/{fleet_ref}/invitation";
const INVITATION: &str = "/fleets/f-1/invitation";

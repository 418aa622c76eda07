//! Calls of the partner API: signed with the operator's own identity, sent, and their problems put into words.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use api::{InvitationRequest, OverrideRequest};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use fetch::{
    Bytes, Fetch, FetchError, Fetched, Limits,
    http::{
        Method, Request,
        header::{CONTENT_TYPE, HeaderValue},
    },
};
use fleet::FleetRef;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    args::Kind,
    problem::refused,
    signature::signed,
    source::{Found, failed},
};

/// The partner API of a stack.
#[derive(Debug)]
pub(crate) struct Partner {
    /// Without a slash at the end.
    base_url: String,
    region: String,
    credentials: SharedCredentialsProvider,
    /// What the stack is called and where it is.
    place: String,
    is_local: bool,
}

/// A call of it, which may be made again without harm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    method: Method,
    /// Percent-encoded, with the query.
    path: String,
    body: Option<Value>,
}

impl Call {
    /// Sees to it that a fleet is invited; again though it declined, if `reopen`.
    pub(crate) fn invite(fleet: &FleetRef, request: &InvitationRequest, reopen: bool) -> Self {
        let query = if reopen { "?reopen=true" } else { "" };
        let body = Some(json!(request));
        Self::new(Method::PUT, fleet, &format!("invitation{query}"), body)
    }

    /// Takes a fleet's invitation back.
    pub(crate) fn uninvite(fleet: &FleetRef) -> Self {
        Self::new(Method::DELETE, fleet, "invitation", None)
    }

    /// Gives a fleet another link. Again it gives yet another, and the last one works.
    pub(crate) fn rotate(fleet: &FleetRef) -> Self {
        Self::new(Method::POST, fleet, "link", None)
    }

    /// Asks whether a fleet may in.
    pub(crate) fn access(fleet: &FleetRef) -> Self {
        Self::new(Method::GET, fleet, "access", None)
    }

    /// Writes a decision down.
    pub(crate) fn decide(fleet: &FleetRef, request: &OverrideRequest) -> Self {
        Self::new(Method::PUT, fleet, "override", Some(json!(request)))
    }

    /// Lifts decisions: those of one kind, or all.
    pub(crate) fn lift(fleet: &FleetRef, kind: Option<Kind>) -> Self {
        let query = match kind {
            None => "",
            Some(Kind::Block) => "?kind=block",
            Some(Kind::Grant) => "?kind=grant",
        };
        Self::new(Method::DELETE, fleet, &format!("override{query}"), None)
    }

    fn new(method: Method, fleet: &FleetRef, rest: &str, body: Option<Value>) -> Self {
        Self {
            method,
            path: format!("/fleets/{}/{rest}", segment(fleet.as_str())),
            body,
        }
    }
}

impl Partner {
    /// The API of a stack. The error says what to do about a stack without.
    pub(crate) fn of(found: &Found) -> Result<Self> {
        let base_url = found.output("PartnerApiUrl")?;
        let region = found.config.region().context("no AWS region is known")?;
        let credentials = found.config.credentials_provider();
        Ok(Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            region: region.to_string(),
            credentials: credentials.context("no AWS credentials are known")?,
            place: found.place.clone(),
            is_local: found.is_local,
        })
    }

    /// What the API answers, null if that is nothing. The error is for the one who typed the command.
    pub(crate) async fn call(&self, call: &Call, now: SystemTime) -> Result<Value> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| {
            let tried = "find credentials for the partner API of";
            failed(tried, &self.place, &error, self.is_local)
        })?;
        let request = self.signed(call, credentials, now)?;
        let answer = Fetch::new().send(request, LIMITS).await;
        let answer = answer.map_err(|error| self.unanswered(call, &error))?;
        self.read(&answer)
    }

    /// The request with its signature, over the host, the date, the session and the body.
    fn signed(
        &self,
        call: &Call,
        credentials: Credentials,
        now: SystemTime,
    ) -> Result<Request<Bytes>> {
        let url = format!("{}{}", self.base_url, call.path);
        let body = call.body.as_ref().map(Value::to_string);
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&url)
            .body(Bytes::from(body.unwrap_or_default()))
            .with_context(|| format!("the partner API's URL is none: {}", self.base_url))?;
        if call.body.is_some() {
            let value = HeaderValue::from_static(JSON);
            request.headers_mut().insert(CONTENT_TYPE, value);
        }
        signed(request, SERVICE, &self.region, credentials, now)
    }

    fn unanswered(&self, call: &Call, error: &FetchError) -> anyhow::Error {
        let place = format!("{}, at {}", self.place, self.base_url);
        let failed = failed("call the partner API of", &place, error, self.is_local);
        if error.sent() && call.method != Method::GET {
            return anyhow!(
                "{failed}\nIt may have been done all the same; the same command again does no harm."
            );
        }
        failed
    }

    fn read(&self, answer: &Fetched) -> Result<Value> {
        if !answer.status.is_success() {
            return Err(refused(answer.status, &answer.body, &self.place));
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).with_context(|| {
            format!(
                "what the partner API of {} answered is no JSON, though it did what was asked ({}): is {} its URL?",
                self.place, answer.status, self.base_url
            )
        })
    }
}

/// A part of a path. What would lead out of its folder is written so that it doesn't.
fn segment(text: &str) -> String {
    match text {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        text => utf8_percent_encode(text, RESERVED).to_string(),
    }
}

/// All but the unreserved characters (RFC 3986), which is what signatures are computed over.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The service by which API Gateway's signatures are made.
const SERVICE: &str = "execute-api";
const JSON: &str = "application/json";
/// API Gateway gives up after 30 s.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    total: Duration::from_secs(35),
    largest: 8 * 1024 * 1024,
};

#[cfg(test)]
mod tests {
    use api::{Moment, OverrideKind};
    use fleet::Timestamp;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn fleet(text: &str) -> FleetRef {
        FleetRef::parse(text).unwrap()
    }

    fn partner(base_url: &str, session: Option<&str>) -> Partner {
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("AKID", "s3cr3t", session, None, "test");
        Partner {
            base_url: base_url.to_owned(),
            region: "us-east-1".to_owned(),
            credentials: SharedCredentialsProvider::new(credentials),
            place: "stack kingpin in us-east-1".to_owned(),
            is_local: false,
        }
    }

    /// 2026-05-04T08:00:00Z.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_881_600)
    }

    /// What a server is sent, and what is made of its answer.
    async fn exchange(
        call: Call,
        session: Option<&str>,
        answer: (u16, &str),
    ) -> (String, Result<Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let expected = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            while !(request.contains("\r\n\r\n") && request.ends_with(&expected)) {
                let mut some = [0; 1024];
                let length = stream.read(&mut some).await.unwrap();
                request += std::str::from_utf8(&some[..length]).unwrap();
                assert!(length > 0, "{request}");
            }
            let length = answer.1.len();
            let head = format!("HTTP/1.1 {} Said\r\ncontent-length: {length}", answer.0);
            let answer = format!("{head}\r\n\r\n{}", answer.1);
            stream.write_all(answer.as_bytes()).await.unwrap();
            request
        };
        let partner = partner(&url, session);
        let (request, answer) =
            futures_util::future::join(server, partner.call(&call, now())).await;
        (request, answer)
    }

    fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
        let mut lines = request.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    #[tokio::test]
    async fn a_call_is_signed_and_sent_as_it_is_meant() {
        let request = InvitationRequest {
            fleet_name: Some("Acme".to_owned()),
            ..InvitationRequest::default()
        };
        let call = Call::invite(&fleet("FLEET-42"), &request, true);
        let (sent, answer) = exchange(call, Some("t0ken"), (201, r#"{"outcome":"created"}"#)).await;
        assert_eq!(answer.unwrap(), json!({ "outcome": "created" }));
        assert!(
            sent.starts_with("PUT /fleets/FLEET-42/invitation?reopen=true HTTP/1.1\r\n"),
            "{sent}"
        );
        assert!(
            sent.ends_with("\r\n\r\n{\"fleet_name\":\"Acme\"}"),
            "{sent}"
        );
        assert_eq!(header(&sent, "content-type"), Some("application/json"));
        assert_eq!(header(&sent, "x-amz-date"), Some("20260504T080000Z"));
        assert_eq!(header(&sent, "x-amz-security-token"), Some("t0ken"));
        assert!(header(&sent, "host").unwrap().starts_with("127.0.0.1:"));
        let authorization = header(&sent, "authorization").unwrap();
        let expected = "AWS4-HMAC-SHA256 Credential=AKID/20260504/us-east-1/execute-api/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
        let signature = authorization.strip_prefix(expected).unwrap();
        assert_eq!(signature.len(), 64, "{authorization}");
        assert!(!sent.contains("s3cr3t"));
    }

    #[tokio::test]
    async fn an_answer_without_a_body_is_nothing() {
        let (sent, answer) = exchange(Call::uninvite(&fleet("FLEET-42")), None, (204, "")).await;
        assert_eq!(answer.unwrap(), Value::Null);
        assert!(
            sent.starts_with("DELETE /fleets/FLEET-42/invitation HTTP/1.1\r\n"),
            "{sent}"
        );
        assert_eq!(header(&sent, "content-type"), None);
        assert_eq!(header(&sent, "x-amz-security-token"), None);
        let authorization = header(&sent, "authorization").unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-date,"),
            "{authorization}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_no_json_names_the_url() {
        let call = Call::access(&fleet("FLEET-42"));
        let (_, answer) = exchange(call, None, (200, "<html>")).await;
        let told = format!("{:#}", answer.unwrap_err());
        assert!(told.contains("is http://127.0.0.1:"), "{told}");
    }

    #[tokio::test]
    async fn a_refusal_is_no_answer() {
        let call = Call::access(&fleet("FLEET-42"));
        let (_, answer) = exchange(call, None, (403, r#"{"message":"Forbidden"}"#)).await;
        let told = format!("{:#}", answer.unwrap_err());
        assert!(told.contains("answered 403 (Forbidden)"), "{told}");
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_a_remedy() {
        // Taken and given back, so that nobody listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let call = Call::uninvite(&fleet("FLEET-42"));
        let told = partner(&url, None).call(&call, now()).await.unwrap_err();
        let told = format!("{told:#}");
        assert!(told.contains("Check the network"), "{told}");
        assert!(!told.contains("may have been done"), "{told}");
    }

    #[tokio::test]
    async fn a_broken_connection_leaves_a_write_unsure_and_not_a_question() {
        for (call, unsure) in [
            (Call::uninvite(&fleet("FLEET-42")), true),
            (Call::rotate(&fleet("FLEET-42")), true),
            (Call::access(&fleet("FLEET-42")), false),
        ] {
            let error = FetchError::TimedOut { sent: true };
            let told = partner("http://127.0.0.1:1", None).unanswered(&call, &error);
            let told = told.to_string();
            assert!(told.contains("timed out") && told.contains("network"));
            assert_eq!(told.contains("may have been done"), unsure, "{told}");
        }
    }

    #[test]
    fn each_verb_is_its_call() {
        let ends = Some(Moment(Timestamp(1_777_881_600_000)));
        let request = OverrideRequest {
            kind: OverrideKind::Block,
            reason: "unpaid".to_owned(),
            ends,
        };
        let at = &fleet("a/b ü");
        let body = json!({ "kind": "block", "reason": "unpaid", "ends": "2026-05-04T08:00:00Z" });
        for (call, method, path, body) in [
            (Call::access(at), Method::GET, "access", None),
            (Call::uninvite(at), Method::DELETE, "invitation", None),
            (Call::rotate(at), Method::POST, "link", None),
            (
                Call::invite(at, &InvitationRequest::default(), false),
                Method::PUT,
                "invitation",
                Some(json!({})),
            ),
            (
                Call::decide(at, &request),
                Method::PUT,
                "override",
                Some(body),
            ),
            (Call::lift(at, None), Method::DELETE, "override", None),
            (
                Call::lift(at, Some(Kind::Block)),
                Method::DELETE,
                "override?kind=block",
                None,
            ),
            (
                Call::lift(at, Some(Kind::Grant)),
                Method::DELETE,
                "override?kind=grant",
                None,
            ),
        ] {
            let path = format!("/fleets/a%2Fb%20%C3%BC/{path}");
            let expected = Call { method, path, body };
            assert_eq!(call, expected);
        }
    }

    #[test]
    fn no_reference_leads_out_of_its_folder() {
        for (text, expected) in [
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a.b_c-d~", "a.b_c-d~"),
            ("../x?y#z%", "..%2Fx%3Fy%23z%25"),
        ] {
            assert_eq!(segment(text), expected);
        }
    }
}

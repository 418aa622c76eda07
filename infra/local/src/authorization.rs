//! Who called: the check that API Gateway makes on routes with `AWS_IAM`, signature version 4 in
//! the `Authorization` header. Each signature is computed anew by AWS's own signer, over what the
//! caller says is signed, and compared. Pure: `now` is an argument.
//!
//! Differences from AWS: [`USERS`] are all that there are, and may call everything; the query
//! parameters of a presigned URL are no signature; a date in `Date` is none; and a session token
//! belongs to nobody.

use std::str::from_utf8;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use crate::aws;
use crate::event::{self, Request};

/// A user of the local account, with an access key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: &'static str,
    /// The access key's id.
    pub access_key_id: &'static str,
    /// The secret that belongs to it. A dummy, known to everybody.
    pub secret: &'static str,
}

/// Everybody who may call. The first has [`aws::CREDENTIALS`], as the functions do.
pub const USERS: [User; 2] = [
    User {
        name: "test",
        access_key_id: aws::CREDENTIALS[0].1,
        secret: aws::CREDENTIALS[1].1,
    },
    User {
        name: "operator",
        access_key_id: "operator",
        secret: "operator-secret",
    },
];

/// The name by which signatures for API Gateway call the service.
pub const SERVICE: &str = "execute-api";

/// A caller whose signature was right. There is no other way to get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(User);

/// Why a request isn't let in. The client hears none of it, only 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no signature, or it has another form than AWS's signers write.
    #[error("no signature of version 4")]
    Missing,
    /// It is for another region, service or day.
    #[error("the signature's scope is another")]
    Scope,
    /// It is older than five minutes, or from the future.
    #[error("the signature's date isn't now")]
    Date,
    /// The access key isn't known.
    #[error("nobody has that access key")]
    UnknownKey,
    /// A header that has to be signed isn't, or one that is said to be signed isn't there.
    #[error("the signed headers aren't those that have to be")]
    Headers,
    /// The body has another hash than the headers say.
    #[error("the body isn't the one that was hashed")]
    Body,
    /// The signature is not the one of this request.
    #[error("the signature is wrong")]
    Signature,
}

/// The caller of a request, as of `now`.
pub fn caller(request: &Request<'_>, now: OffsetDateTime) -> Result<Caller, Refusal> {
    let claim = Claim::parse(single(request.headers, AUTHORIZATION.as_str())?)?;
    let date = single(request.headers, DATE)?;
    let signed_at = PrimitiveDateTime::parse(date, DATE_FORMAT)
        .map_err(|_| Refusal::Date)?
        .assume_utc();
    if (now - signed_at).abs() > TOLERANCE {
        return Err(Refusal::Date);
    }
    if claim.scope != [&date[..8], aws::REGION, SERVICE, "aws4_request"] {
        return Err(Refusal::Scope);
    }
    let user = USERS
        .into_iter()
        .find(|user| user.access_key_id == claim.access_key_id)
        .filter(|_| !request.headers.contains_key(SESSION_TOKEN))
        .ok_or(Refusal::UnknownKey)?;
    check_body_hash(request)?;
    let expected = signature(request, &claim.signed_headers, &user, signed_at)?;
    if same(&expected, claim.signature) {
        Ok(Caller(user))
    } else {
        Err(Refusal::Signature)
    }
}

impl Caller {
    /// The user's name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What the event says of the caller, in `requestContext.authorizer`. AWS gives users of IAM
    /// one unique id in both places; here it is made of the name.
    pub fn authorizer(&self) -> Value {
        let User { name, .. } = self.0;
        let id = format!("AIDA{}", name.to_ascii_uppercase());
        json!({"iam": {
            "accessKey": self.0.access_key_id,
            "accountId": ACCOUNT,
            "callerId": id,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
            "userId": id,
        }})
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "User({})", self.name)
    }
}

/// What an `Authorization` header claims; nothing in it is checked.
struct Claim<'a> {
    access_key_id: &'a str,
    /// Day, region, service, `aws4_request`.
    scope: [&'a str; 4],
    /// In lower case.
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    /// Parses `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, in any order.
    fn parse(header: &'a str) -> Result<Self, Refusal> {
        let (algorithm, parts) = header.split_once(' ').ok_or(Refusal::Missing)?;
        if algorithm != "AWS4-HMAC-SHA256" {
            return Err(Refusal::Missing);
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in parts.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(Refusal::Missing)?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(Refusal::Missing),
            };
            if place.replace(value).is_some() {
                return Err(Refusal::Missing);
            }
        }
        let credential: Vec<&str> = credential.ok_or(Refusal::Missing)?.split('/').collect();
        let [access_key_id, day, region, service, end] = credential[..] else {
            return Err(Refusal::Missing);
        };
        Ok(Self {
            access_key_id,
            scope: [day, region, service, end],
            signed_headers: signed_headers.ok_or(Refusal::Missing)?.split(';').collect(),
            signature: signature.ok_or(Refusal::Missing)?,
        })
    }
}

/// The hash in the headers is optional, but not for show. `UNSIGNED-PAYLOAD` is S3's.
fn check_body_hash(request: &Request<'_>) -> Result<(), Refusal> {
    if !request.headers.contains_key(CONTENT_SHA256) {
        return Ok(());
    }
    let said = single(request.headers, CONTENT_SHA256)?;
    let hash = Sha256::digest(request.body);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if hash == said {
        Ok(())
    } else {
        Err(Refusal::Body)
    }
}

/// The signature that this request has to carry.
fn signature(
    request: &Request<'_>,
    signed_headers: &[&str],
    user: &User,
    signed_at: OffsetDateTime,
) -> Result<String, Refusal> {
    let mut headers = Vec::new();
    for name in signed_headers {
        let found = headers.len();
        for value in request.headers.get_all(*name) {
            headers.push((*name, value.to_str().map_err(|_| Refusal::Headers)?));
        }
        if headers.len() == found {
            return Err(Refusal::Headers);
        }
    }
    // The signer would add these two of its own accord.
    single(request.headers, HOST.as_str())?;
    if ![HOST.as_str(), DATE]
        .iter()
        .all(|name| signed_headers.contains(name))
    {
        return Err(Refusal::Headers);
    }
    let mut settings = SigningSettings::default();
    settings.excluded_headers = None; // the caller has chosen
    let identity = Credentials::new(user.access_key_id, user.secret, None, None, "local").into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(aws::REGION)
        .name(SERVICE)
        .time(SystemTime::from(signed_at))
        .settings(settings)
        .build()
        .map_err(|_| Refusal::Signature)?
        .into();
    let target = match request.query {
        "" => request.path.to_owned(),
        query => format!("{}?{}", request.path, unambiguous(query)?),
    };
    let body = SignableBody::Bytes(request.body);
    SignableRequest::new(request.method.as_str(), target, headers.into_iter(), body)
        .and_then(|request| sign(request, &parameters))
        .map(|output| output.signature().to_owned())
        .map_err(|_| Refusal::Signature)
}

/// The signer takes all bytes of a query string that aren't UTF-8 for the same.
fn unambiguous(query: &str) -> Result<&str, Refusal> {
    let bytes = event::percent_decoded(query.as_bytes());
    from_utf8(&bytes).map_err(|_| Refusal::Signature)?;
    Ok(query)
}

/// The value of a header that is there once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Refusal::Headers),
        _ => Err(Refusal::Missing),
    }
}

/// Compares in constant time, as the results of two MACs.
fn same(left: &str, right: &str) -> bool {
    let mac = |text: &str| {
        let mac = Hmac::<Sha256>::new_from_slice(b"compare").ok()?;
        Some(mac.chain_update(text).finalize())
    };
    mac(left).is_some_and(|left| mac(right).is_some_and(|right| left == right))
}

const DATE_FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const TOLERANCE: Duration = Duration::minutes(5);
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const DATE: &str = "x-amz-date";
const SESSION_TOKEN: &str = "x-amz-security-token";
const ACCOUNT: &str = "000000000000";

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Method};

    use super::*;
    use crate::signed::{self, Signed};

    /// A request that was signed by the second user, as of [`signed_at`].
    fn signed(path_and_query: &str) -> signed::Request {
        let client = Signed::user("http://127.0.0.1:8080", &USERS[1]).unwrap();
        let age = OffsetDateTime::now_utc() - signed_at();
        let client = client.age(age.try_into().unwrap());
        let mut request = client.unsigned(Method::GET, path_and_query, None).unwrap();
        let host = HeaderValue::from_static("127.0.0.1:8080");
        request.headers.insert(HOST, host);
        client.sign(request).unwrap()
    }

    fn signed_at() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_772_600_767).unwrap()
    }

    fn check(request: &signed::Request, now: OffsetDateTime) -> Result<&'static str, Refusal> {
        let request = Request {
            method: &request.method,
            path: request.url.path(),
            query: request.url.query().unwrap_or_default(),
            headers: &request.headers,
            body: &request.body,
            source_ip: "192.0.2.1",
        };
        caller(&request, now).map(|caller| caller.name())
    }

    fn checked(change: impl FnOnce(&mut signed::Request)) -> Result<&'static str, Refusal> {
        let mut request = signed("/fleets?a=1");
        change(&mut request);
        check(&request, signed_at())
    }

    fn replaced(part: &str, with: &str) -> Result<&'static str, Refusal> {
        checked(|request| {
            let header = request.headers[AUTHORIZATION].to_str().unwrap();
            let changed = header.replace(part, with);
            assert_ne!(changed, header);
            let value = HeaderValue::from_str(&changed).unwrap();
            request.headers.insert(AUTHORIZATION, value);
        })
    }

    fn with(name: &'static str, value: &'static str) -> Result<&'static str, Refusal> {
        checked(|request| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers.append(name, value);
        })
    }

    #[test]
    fn the_caller_is_whose_key_signed() {
        assert_eq!(checked(|_| {}), Ok("operator"));
    }

    #[test]
    fn a_signature_holds_five_minutes_in_both_directions() {
        let request = signed("/fleets");
        for (seconds, expected) in [
            (300, Ok("operator")),
            (-300, Ok("operator")),
            (301, Err(Refusal::Date)),
            (-301, Err(Refusal::Date)),
        ] {
            let now = signed_at() + Duration::seconds(seconds);
            assert_eq!(check(&request, now), expected, "{seconds}");
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        for (found, expected) in [
            (replaced("AWS4-HMAC-SHA256", "AWS4"), Refusal::Missing),
            (replaced("/aws4_request", ""), Refusal::Missing),
            (replaced("Signature=", "Signature"), Refusal::Missing),
            (
                replaced("Signature=", "Signature=a, Signature="),
                Refusal::Missing,
            ),
            (replaced("Signature=", "Signed="), Refusal::Missing),
            (with("authorization", "AWS4-HMAC-SHA256"), Refusal::Missing),
            (with("x-amz-date", "20260304T050607Z"), Refusal::Missing),
            (replaced("/20260304/", "/20260305/"), Refusal::Scope),
            (replaced("/us-east-1/", "/us-east-2/"), Refusal::Scope),
            (replaced("/execute-api/", "/sqs/"), Refusal::Scope),
            (replaced("/aws4_request", "/aws5_request"), Refusal::Scope),
            (replaced("=operator/", "=Operator/"), Refusal::UnknownKey),
            (with("x-amz-security-token", ""), Refusal::UnknownKey),
            (replaced("=host;", "="), Refusal::Headers),
            (replaced(";x-amz-date", ""), Refusal::Headers),
            (replaced("=host;", "=host;range;"), Refusal::Headers),
            (replaced("=host;", "=host;b\u{e4}d;"), Refusal::Headers),
            (with("host", "localhost"), Refusal::Missing),
            (with(CONTENT_SHA256, "x"), Refusal::Body),
            (replaced("=operator/", "=test/"), Refusal::Signature),
            (replaced("=host;", "=Host;"), Refusal::Headers),
        ] {
            assert_eq!(found, Err(expected));
        }
    }

    #[test]
    fn a_header_that_is_no_text_is_not_signed() {
        let found = checked(|request| {
            let value = HeaderValue::from_bytes(b"\xff").unwrap();
            request.headers.insert("x-other", value);
            let header = request.headers[AUTHORIZATION].to_str().unwrap();
            let value =
                HeaderValue::from_str(&header.replace(";x-amz-date", ";x-amz-date;x-other"));
            request.headers.insert(AUTHORIZATION, value.unwrap());
        });
        assert_eq!(found, Err(Refusal::Headers));
    }

    #[test]
    fn queries_that_the_signer_could_not_tell_apart_are_refused() {
        let mut request = signed("/fleets?a=%FE");
        assert_eq!(check(&request, signed_at()), Err(Refusal::Signature));
        request.url.set_query(Some("a=%FF"));
        assert_eq!(check(&request, signed_at()), Err(Refusal::Signature));
    }

    #[test]
    fn equal_is_only_what_is_equal() {
        assert!(same("ab", "ab"));
        assert!(!same("ab", "aB") && !same("ab", "abc") && !same("ab", ""));
    }
}

//! A client of routes with `AWS_IAM`: signs as AWS's SDKs do. Tests make requests of their own
//! that are signed wrongly, by changing the signer ([`Signed::age`], [`Signed::service`], …) or
//! the [`Request`] after it was signed.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use local::signed::Signed;
//! use reqwest::Method;
//!
//! let operator = Signed::new("http://127.0.0.1:8080", "operator", "operator-secret", "us-east-1")?;
//! let answer = operator.send(Method::GET, "/fleets?stage=invited", None).await?;
//! assert_eq!(answer.status, 200);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HOST};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::authorization::{SERVICE, User};
use crate::aws;

/// A client that signs with one access key. Answers within 30 seconds, or else fails.
#[derive(Clone)]
pub struct Signed {
    http: reqwest::Client,
    base_url: String,
    access_key_id: String,
    secret: String,
    region: String,
    service: String,
    age: Duration,
    settings: SigningSettings,
}

/// A request that is ready to be sent, signed or not.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// The headers; `host` is added on the way.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// What was answered, whatever the status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Signed {
    /// A client of the API at this URL (without a slash at the end).
    pub fn new(
        base_url: impl Into<String>,
        access_key_id: &str,
        secret: &str,
        region: &str,
    ) -> Result<Self> {
        Ok(Self {
            http: aws::client()?,
            base_url: base_url.into(),
            access_key_id: access_key_id.to_owned(),
            secret: secret.to_owned(),
            region: region.to_owned(),
            service: SERVICE.to_owned(),
            age: Duration::ZERO,
            settings: SigningSettings::default(),
        })
    }

    /// The same for one of the local users.
    pub fn user(base_url: impl Into<String>, user: &User) -> Result<Self> {
        Self::new(base_url, user.access_key_id, user.secret, aws::REGION)
    }

    /// Signs as if this long ago.
    pub fn age(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// Signs for another service than API Gateway.
    pub fn service(self, service: &str) -> Self {
        let service = service.to_owned();
        Self { service, ..self }
    }

    /// Sends the body's hash along, as `x-amz-content-sha256`.
    pub fn with_body_hash(mut self) -> Self {
        self.settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        self
    }

    /// Leaves `host` out of what is signed, which no service accepts.
    pub fn without_host(mut self) -> Self {
        let excluded = self.settings.excluded_headers.get_or_insert_default();
        excluded.push(HOST.as_str().to_owned().into());
        self
    }

    /// Signs and sends a request. The path and query are percent-encoded already. An error is a
    /// URL that is none, or a server that doesn't answer.
    pub async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Value>,
    ) -> Result<Answer> {
        let request = self.sign(self.unsigned(method, path_and_query, body)?)?;
        self.deliver(request).await
    }

    /// The same with more headers, which are signed, too.
    pub async fn send_with(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&'static str, &str)],
        body: Option<Value>,
    ) -> Result<Answer> {
        let mut request = self.unsigned(method, path_and_query, body)?;
        for (name, value) in headers {
            request.headers.insert(*name, value.parse()?);
        }
        self.deliver(self.sign(request)?).await
    }

    /// A request without a signature.
    pub fn unsigned(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Value>,
    ) -> Result<Request> {
        let url = format!("{}{path_and_query}", self.base_url);
        let url = Url::parse(&url).with_context(|| format!("{url} is no URL"))?;
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, "application/json".parse()?);
        }
        Ok(Request {
            method,
            url,
            headers,
            body: body.map_or_else(Vec::new, |body| body.to_string().into_bytes()),
        })
    }

    /// Signs a request as it is: all of its headers, `host`, and the date.
    pub fn sign(&self, mut request: Request) -> Result<Request> {
        let credentials = Credentials::new(&self.access_key_id, &self.secret, None, None, "local");
        let identity = credentials.into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(SystemTime::now() - self.age)
            .settings(self.settings.clone())
            .build()?
            .into();
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| Ok((name.as_str(), value.to_str()?)))
            .collect::<Result<Vec<_>>>()?;
        let signable = SignableRequest::new(
            request.method.as_str(),
            request.url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&request.body),
        )?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        for header in instructions.into_parts().0 {
            let value = header.value().parse()?;
            request.headers.insert(header.name(), value);
        }
        Ok(request)
    }

    /// Sends a request as it is. The error is a server that doesn't answer.
    pub async fn deliver(&self, request: Request) -> Result<Answer> {
        let answer = self
            .http
            .request(request.method, request.url)
            .headers(request.headers)
            .timeout(TIMEOUT)
            .body(request.body)
            .send()
            .await?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await?.into(),
        })
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Signed")
            .field("base_url", &self.base_url)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The body as JSON; the error quotes what isn't.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            let text = String::from_utf8_lossy(&self.body);
            format!("{} with a body that is no JSON: {text}", self.status)
        })
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client() -> Signed {
        Signed::new("http://127.0.0.1:80", "key", "s3cr3t", "us-east-1").unwrap()
    }

    fn authorization(client: &Signed) -> String {
        let request = client.unsigned(Method::PUT, "/a", Some(json!({"b": 1})));
        let signed = client.sign(request.unwrap()).unwrap();
        signed.headers["authorization"].to_str().unwrap().to_owned()
    }

    #[test]
    fn headers_host_and_date_are_signed() {
        let signed = "SignedHeaders=content-type;host;x-amz-date,";
        assert!(authorization(&client()).contains(signed));
        let hashed = "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date,";
        assert!(authorization(&client().with_body_hash()).contains(hashed));
        let hostless = "SignedHeaders=content-type;x-amz-date,";
        assert!(authorization(&client().without_host()).contains(hostless));
    }

    #[test]
    fn the_scope_names_region_and_service() {
        assert!(authorization(&client()).contains("/us-east-1/execute-api/aws4_request,"));
        let other = client().service("s3");
        assert!(authorization(&other).contains("/us-east-1/s3/aws4_request,"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let printed = format!("{:?}", client());
        assert!(printed.contains("key") && !printed.contains("s3cr3t"));
    }

    #[test]
    fn without_a_body_there_is_no_content_type() {
        let request = client().unsigned(Method::GET, "/a?b=c", None).unwrap();
        assert!(request.headers.is_empty() && request.body.is_empty());
        assert_eq!(request.url.as_str(), "http://127.0.0.1/a?b=c");
    }
}

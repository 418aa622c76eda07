//! Just enough of AWS's protocols to ask a local AWS, without the SDK: it checks no signatures,
//! so a request is a line of JSON, and this crate builds in seconds.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;

/// The region of everything local.
pub const REGION: &str = "us-east-1";

/// The dummy credentials of everything local.
pub const CREDENTIALS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
];

/// A client of the local AWS.
#[derive(Clone, Debug)]
pub struct Aws {
    http: reqwest::Client,
    endpoint: String,
}

impl Aws {
    /// A client of the local AWS at this URL.
    pub fn new(endpoint: impl Into<String>) -> Result<Self> {
        Ok(Self {
            http: client()?,
            endpoint: endpoint.into(),
        })
    }

    /// The URL that SDKs want as `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Calls DynamoDB, e.g. `dynamodb("GetItem", json!({"TableName": …}))`.
    pub async fn dynamodb(&self, action: &str, input: Value) -> Result<Value> {
        let target = format!("DynamoDB_20120810.{action}");
        self.json("dynamodb", &target, input).await
    }

    /// Calls DynamoDB Streams, e.g. `dynamodb_streams("DescribeStream", json!({"StreamArn": …}))`.
    pub async fn dynamodb_streams(&self, action: &str, input: Value) -> Result<Value> {
        let target = format!("DynamoDBStreams_20120810.{action}");
        self.json("dynamodb", &target, input).await
    }

    /// Calls SQS, e.g. `sqs("ReceiveMessage", json!({"QueueUrl": …}))`.
    pub async fn sqs(&self, action: &str, input: Value) -> Result<Value> {
        self.json("sqs", &format!("AmazonSQS.{action}"), input)
            .await
    }

    /// Calls EventBridge, e.g. `event_bridge("PutRule", json!({"Name": …}))`.
    pub async fn event_bridge(&self, action: &str, input: Value) -> Result<Value> {
        self.json("events", &format!("AWSEvents.{action}"), input)
            .await
    }

    /// Calls Secrets Manager, e.g. `secrets_manager("PutSecretValue", json!({"SecretId": …}))`.
    pub async fn secrets_manager(&self, action: &str, input: Value) -> Result<Value> {
        let target = format!("secretsmanager.{action}");
        self.json("secretsmanager", &target, input).await
    }

    /// Calls CloudFormation; answers with the XML document.
    pub async fn cloudformation(&self, action: &str, input: &[(&str, &str)]) -> Result<String> {
        let mut form = format!("Action={action}&Version=2010-05-15");
        for (name, value) in input {
            form.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
        let request = self
            .request("cloudformation", Method::POST, "/")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        send(request).await.with_context(|| action.to_owned())
    }

    /// Calls a service that speaks REST (Lambda, API Gateway, S3) and answers in JSON.
    pub async fn rest(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self.request(service, method.clone(), path);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let text = send(request)
            .await
            .with_context(|| format!("{service} {method} {path}"))?;
        serde_json::from_str(&text).with_context(|| format!("{service} {path} answered no JSON"))
    }

    /// Puts an object (or, with an empty body and a path of one segment, a bucket) into S3.
    pub async fn s3_put(&self, path: &str, body: Vec<u8>) -> Result<()> {
        let request = self.request("s3", Method::PUT, path).body(body);
        send(request)
            .await
            .map(drop)
            .with_context(|| format!("s3 PUT {path}"))
    }

    async fn json(&self, service: &str, target: &str, input: Value) -> Result<Value> {
        let request = self
            .request(service, Method::POST, "/")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .body(input.to_string());
        let text = send(request).await.with_context(|| target.to_owned())?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{target} answered no JSON"))
    }

    fn request(&self, service: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.endpoint))
            .header("authorization", authorization(service))
            .timeout(Duration::from_secs(60))
    }
}

/// An HTTP client for this machine: no proxy, and no idle connection that the other side may be
/// about to close.
pub(crate) fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(10))
        .build()
        .context("the HTTP client could not be made")
}

/// The local AWS finds the service by the scope of the credential, and looks no further.
pub(crate) fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=00"
    )
}

async fn send(request: reqwest::RequestBuilder) -> Result<String> {
    let answer = request
        .send()
        .await
        .context("the local AWS didn't answer")?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("the local AWS answered {status}: {text}");
    }
    Ok(text)
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_percent_encoded() {
        assert_eq!(percent_encoded("a b&c=ü~"), "a%20b%26c%3D%C3%BC~");
    }
}

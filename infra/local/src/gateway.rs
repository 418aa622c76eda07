//! Stands in for API Gateway: HTTP in, a function's invocation, HTTP out. Needed because the
//! local AWS and `cargo lambda watch` both corrupt gzip bodies.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::authorization;
use crate::aws;
use crate::event::{self, Request, Response};
use crate::template::Authorization;

/// A route and where its function is invoked: the URL of Lambda's `Invoke`.
#[derive(Clone, Debug)]
pub struct Target {
    /// The route key, e.g. `POST /webhooks/catena`.
    pub key: String,
    /// The URL, e.g. `http://127.0.0.1:4566/2015-03-31/functions/name/invocations`.
    pub invoke_url: String,
    /// Whom it lets in. Others get 403, and the function isn't invoked.
    pub authorization: Authorization,
}

/// A running gateway. Ends when dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gateway {
    /// Serves these routes, on `port` or else a free one.
    pub async fn start(port: Option<u16>, routes: Vec<Target>) -> Result<Self> {
        let port = port.unwrap_or(0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("port {port} can't be used for the gateway"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            routes,
            http: aws::client()?,
        });
        let service = Router::new()
            .fallback(serve)
            .with_state(shared)
            .into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            // It only ends with the process or the task.
            let _ = axum::serve(listener, service).await;
        });
        Ok(Self { address, task })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    routes: Vec<Target>,
    http: reqwest::Client,
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: HttpRequest,
) -> axum::response::Response {
    let request_id = Uuid::new_v4().to_string();
    let is_head = request.method() == Method::HEAD;
    let answer = answer(&shared, client, request, &request_id).await;
    let answer = match is_head {
        true => answer.without_body(),
        false => answer,
    };
    let mut response = axum::response::Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if let Ok(id) = HeaderValue::try_from(request_id) {
        response
            .headers_mut()
            .insert(HeaderName::from_static("apigw-requestid"), id);
    }
    response
}

async fn answer(
    shared: &Shared,
    client: SocketAddr,
    request: HttpRequest,
    request_id: &str,
) -> Response {
    let (head, body) = request.into_parts();
    let keys = shared.routes.iter().map(|target| target.key.as_str());
    let path = event::decoded(head.uri.path());
    let Some((key, parameters)) = event::route(keys, &head.method, &path) else {
        return event::message(StatusCode::NOT_FOUND, "Not Found");
    };
    let Some(target) = shared.routes.iter().find(|target| target.key == key) else {
        return event::message(StatusCode::NOT_FOUND, "Not Found");
    };
    let too_large = || event::message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    let body = match read(body).await {
        Ok(Some(body)) => body,
        Ok(None) => return too_large(),
        Err(_) => return event::message(StatusCode::BAD_REQUEST, "Bad Request"),
    };
    let request = Request {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
        source_ip: &client.ip().to_string(),
    };
    let now = OffsetDateTime::now_utc();
    let mut event = event::event(&request, key, &parameters, request_id, now);
    match target.authorization {
        Authorization::None => {}
        Authorization::AwsIam => match authorization::caller(&request, now) {
            Ok(caller) => event["requestContext"]["authorizer"] = caller.authorizer(),
            Err(_) => return event::message(StatusCode::FORBIDDEN, "Forbidden"),
        },
    }
    let event = event.to_string();
    if event.len() > LAMBDA_LIMIT {
        return too_large();
    }
    invoke(&shared.http, &target.invoke_url, event)
        .await
        .unwrap_or_else(|status| match status {
            StatusCode::SERVICE_UNAVAILABLE => event::message(status, "Service Unavailable"),
            _ => event::message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        })
}

/// Invokes a function; the error is the status that API Gateway answers with.
async fn invoke(http: &reqwest::Client, url: &str, event: String) -> Result<Response, StatusCode> {
    let answer = http
        .post(url)
        .header("authorization", aws::authorization("lambda"))
        .header("content-type", "application/json")
        .timeout(INTEGRATION_TIMEOUT)
        .body(event)
        .send()
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if answer.status() == StatusCode::TOO_MANY_REQUESTS {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    // The function's own error, or its time-out.
    if !answer.status().is_success() || answer.headers().contains_key("x-amz-function-error") {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let bytes = answer
        .bytes()
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| event::response(&value))
        .ok_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The body, or `None` if it is too large. What is too large is read too, up to a point: a
/// client that still writes would miss the answer.
async fn read(body: Body) -> Result<Option<Vec<u8>>> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut size) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        size += chunk.len();
        if size <= GATEWAY_LIMIT {
            bytes.extend_from_slice(&chunk);
        } else if size > 4 * GATEWAY_LIMIT {
            break;
        }
    }
    Ok((size <= GATEWAY_LIMIT).then_some(bytes))
}

const GATEWAY_LIMIT: usize = 10 * 1024 * 1024;
const LAMBDA_LIMIT: usize = 6 * 1024 * 1024;
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use axum::body::Bytes;
    use serde_json::json;

    use super::*;

    /// A function that answers with the event's method, route and cookies.
    async fn function() -> (String, JoinHandle<()>) {
        let echo = async |event: Bytes| {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let method = &event["requestContext"]["http"]["method"];
            let answer = json!({
                "statusCode": 200,
                "headers": {"x-method": method, "x-route": event["routeKey"]},
                "cookies": event["cookies"],
                "body": "hello",
            });
            answer.to_string()
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let service = Router::new().fallback(echo);
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        (url, task)
    }

    fn target(key: &str, invoke_url: &str) -> Target {
        Target {
            key: key.to_owned(),
            invoke_url: invoke_url.to_owned(),
            authorization: Authorization::None,
        }
    }

    /// What comes over the wire until the gateway hangs up.
    async fn exchanged(gateway: &Gateway, request: &str) -> String {
        let address = gateway.address;
        let request = format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
        let exchange = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    #[tokio::test]
    async fn head_is_a_route_of_its_own_and_is_answered_without_a_body() {
        let (url, _function) = function().await;
        let keys = [
            "GET /connect/{link}",
            "HEAD /connect/{link}",
            "GET /assets/{file}",
        ];
        let targets = keys.map(|key| target(key, &url)).to_vec();
        let gateway = Gateway::start(None, targets).await.unwrap();
        let got = exchanged(&gateway, "GET /connect/x HTTP/1.1").await;
        assert!(got.contains("x-route: GET /connect/{link}\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\nhello"), "{got}");
        let head = exchanged(&gateway, "HEAD /connect/x HTTP/1.1").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        for line in [
            "x-route: HEAD /connect/{link}",
            "x-method: HEAD",
            "content-length: 5",
        ] {
            assert!(head.contains(&format!("{line}\r\n")), "{line}: {head}");
        }
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let none = exchanged(&gateway, "HEAD /assets/x HTTP/1.1").await;
        assert!(
            none.starts_with("HTTP/1.1 404 ") && none.ends_with("\r\n\r\n"),
            "{none}"
        );
    }

    #[tokio::test]
    async fn cookies_go_in_and_come_out_one_by_one() {
        let (url, _function) = function().await;
        let gateway = Gateway::start(None, vec![target("GET /", &url)])
            .await
            .unwrap();
        let answer = exchanged(&gateway, "GET / HTTP/1.1\r\nCookie: a=1; b=2").await;
        for line in ["set-cookie: a=1", "set-cookie: b=2"] {
            assert!(answer.contains(&format!("{line}\r\n")), "{line}: {answer}");
        }
    }

    #[tokio::test]
    async fn what_no_function_answers_the_gateway_answers_as_aws_does() {
        // Nobody listens there.
        let target = target("POST /webhooks/catena", "http://127.0.0.1:9/");
        let gateway = Gateway::start(None, vec![target]).await.unwrap();
        let http = aws::client().unwrap();
        let post = async |path: &str, body: Vec<u8>| {
            let answer = http
                .post(gateway.url(path))
                .body(body)
                .send()
                .await
                .unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let said = |status: u16, message: &str| (status, format!("{{\"message\":\"{message}\"}}"));
        assert_eq!(post("/", vec![]).await, said(404, "Not Found"));
        assert_eq!(
            post("/webhooks/catena", vec![]).await,
            said(503, "Service Unavailable")
        );
        for size in [5 * 1024 * 1024, 10 * 1024 * 1024 + 1] {
            assert_eq!(
                post("/webhooks/catena", vec![0; size]).await,
                said(413, "Request Entity Too Large")
            );
        }
    }
}

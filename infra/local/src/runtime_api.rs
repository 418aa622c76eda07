//! A Lambda Runtime API of our own: runs a function's real binary by hand, without a stack.

use std::collections::HashMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::aws;

/// A running function. Killed when dropped.
#[derive(Debug)]
pub struct Function {
    child: Mutex<Child>,
    output: File,
    events: mpsc::UnboundedSender<Event>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    /// A function takes one event at a time, as on AWS.
    turn: tokio::sync::Mutex<()>,
}

/// Why an invocation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The function reported an error; on AWS, the invocation fails.
    #[error("the function reported {kind}: {message}")]
    Function {
        /// The error's type.
        kind: String,
        /// The error's message.
        message: String,
    },
    /// There was no answer within the time; on AWS, the function would be killed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The process ended.
    #[error("the function's process ended; it printed:\n{0}")]
    Exited(String),
}

#[derive(Debug)]
struct Event {
    id: String,
    payload: String,
    deadline_ms: u128,
}

#[derive(Debug)]
struct Shared {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Result<Value, InvocationError>>>>,
}

impl Function {
    /// Starts a binary with nothing in its environment but these settings and what Lambda sets.
    pub async fn spawn<K: AsRef<str>, V: AsRef<str>>(
        binary: &Path,
        environment: &[(K, V)],
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let (events, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: tokio::sync::Mutex::new(receiver),
            waiting: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        let name = binary.file_name().unwrap_or_default();
        // A file, not a pipe: what was printed before an answer is there with the answer.
        let output = tempfile::tempfile().context("no temporary file for the output")?;
        let child = Command::new(binary)
            .env_clear()
            .envs(aws::CREDENTIALS)
            .env("AWS_REGION", aws::REGION)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .envs(
                environment
                    .iter()
                    .map(|(name, value)| (name.as_ref(), value.as_ref())),
            )
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()
            .with_context(|| {
                format!(
                    "{} could not be started: build it with `cargo build --workspace`",
                    binary.display()
                )
            })?;
        Ok(Self {
            child: Mutex::new(child),
            output,
            events,
            shared,
            server,
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Sends an event and waits for the answer, up to 30 s.
    pub async fn invoke(&self, event: &Value) -> Result<Value, InvocationError> {
        self.invoke_for(event, Duration::from_secs(30)).await
    }

    /// Sends an event whose deadline is `limit` away, and waits as long for the answer. A function
    /// that is late is not killed.
    pub async fn invoke_for(
        &self,
        event: &Value,
        limit: Duration,
    ) -> Result<Value, InvocationError> {
        let _turn = self.turn.lock().await;
        let (sender, answer) = oneshot::channel();
        let id = Uuid::new_v4().to_string();
        lock(&self.shared.waiting).insert(id.clone(), sender);
        let deadline = SystemTime::now() + limit;
        // The receiver lives as long as `shared`.
        let _ = self.events.send(Event {
            id: id.clone(),
            payload: event.to_string(),
            deadline_ms: deadline
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis(),
        });
        tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| Err(InvocationError::Exited(self.output()))),
            () = self.exited() => Err(InvocationError::Exited(self.output())),
            () = tokio::time::sleep(limit) => {
                lock(&self.shared.waiting).remove(&id);
                Err(InvocationError::TimedOut(limit))
            }
        }
    }

    /// All that it printed so far.
    pub fn output(&self) -> String {
        let size = self.output.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let read = self.output.read_at(&mut bytes, 0).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// The most memory that it ever used, in bytes; `None` after its end.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    async fn exited(&self) {
        // A moment's grace: a function may answer and end.
        while !lock(&self.child)
            .try_wait()
            .is_ok_and(|status| status.is_some())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route(
            "/2018-06-01/runtime/invocation/{id}/response",
            post(answered),
        )
        .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
        .route("/2018-06-01/runtime/init/error", post(failed_at_start))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared);
    // It only ends with the task.
    let _ = axum::serve(listener, router).await;
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let event = shared.events.lock().await.recv().await;
    let mut response = Response::builder();
    if let Some(event) = &event {
        response = response
            .header("lambda-runtime-aws-request-id", &event.id)
            .header("lambda-runtime-deadline-ms", event.deadline_ms.to_string())
            .header(
                "lambda-runtime-trace-id",
                "Root=1-00000000-000000000000000000000000",
            )
            .header(
                "lambda-runtime-invoked-function-arn",
                format!("arn:aws:lambda:{}:000000000000:function:local", aws::REGION),
            );
    }
    let payload = event.map(|event| event.payload).unwrap_or_default();
    response.body(Body::from(payload)).unwrap_or_default()
}

async fn answered(
    State(shared): State<Arc<Shared>>,
    UrlPath(id): UrlPath<String>,
    body: Bytes,
) -> StatusCode {
    let answer = serde_json::from_slice(&body).map_err(|error| InvocationError::Function {
        kind: "Runtime.InvalidResponse".to_owned(),
        message: error.to_string(),
    });
    settle(&shared, &id, answer)
}

async fn failed(
    State(shared): State<Arc<Shared>>,
    UrlPath(id): UrlPath<String>,
    body: Bytes,
) -> StatusCode {
    settle(&shared, &id, Err(reported(&body)))
}

/// Reported before any event was taken, so it concerns whichever waits.
async fn failed_at_start(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let waiting: Vec<String> = lock(&shared.waiting).keys().cloned().collect();
    for id in waiting {
        settle(&shared, &id, Err(reported(&body)));
    }
    StatusCode::ACCEPTED
}

fn settle(shared: &Shared, id: &str, answer: Result<Value, InvocationError>) -> StatusCode {
    match lock(&shared.waiting).remove(id) {
        Some(waiting) => {
            let _ = waiting.send(answer);
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}

fn reported(body: &[u8]) -> InvocationError {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| error[name].as_str().unwrap_or("?").to_owned();
    InvocationError::Function {
        kind: field("errorType"),
        message: field("errorMessage"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    /// A function in Python, which is needed for the local stack anyway.
    const FUNCTION: &str = r#"#!/usr/bin/env python3
import json, os, sys, urllib.request
base = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime"
while True:
    with urllib.request.urlopen(base + "/invocation/next") as answer:
        id, event = answer.headers["lambda-runtime-aws-request-id"], json.load(answer)
    print(os.environ["GREETING"], event["do"], flush=True)
    if event["do"] == "exit": sys.exit(3)
    if event["do"] == "hang": continue
    kind = "error" if event["do"] == "fail" else "response"
    body = {"errorType": "Sad", "errorMessage": "no"} if kind == "error" else event
    urllib.request.urlopen(f"{base}/invocation/{id}/{kind}", json.dumps(body).encode())
"#;

    #[tokio::test]
    async fn events_are_answered_failed_late_or_lost_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("function");
        std::fs::write(&script, FUNCTION).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let settings = [("GREETING", "hello"), ("PATH", &path)];
        let function = Function::spawn(&script, &settings).await.unwrap();

        let event = json!({"do": "echo"});
        assert_eq!(function.invoke(&event).await.unwrap(), event);
        assert_eq!(function.output(), "hello echo\n");
        assert!(function.peak_memory().unwrap() > 1024 * 1024);

        let error = function.invoke(&json!({"do": "fail"})).await.unwrap_err();
        assert_eq!(error.to_string(), "the function reported Sad: no");

        let short = Duration::from_millis(300);
        let error = function
            .invoke_for(&json!({"do": "hang"}), short)
            .await
            .unwrap_err();
        assert!(matches!(error, InvocationError::TimedOut(_)));
        assert_eq!(function.invoke(&event).await.unwrap(), event);

        let error = function.invoke(&json!({"do": "exit"})).await.unwrap_err();
        assert!(matches!(error, InvocationError::Exited(output) if output.ends_with("exit\n")));
    }
}

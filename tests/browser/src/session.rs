//! The protocol: WebDriver's commands, and Chromium's own by way of chromedriver.

use std::path::Path;

use serde_json::{Value, json};

use crate::Error;

/// A Chromium with one window.
#[derive(Debug)]
pub(crate) struct Session {
    http: reqwest::Client,
    url: String,
    /// As in `156`.
    pub(crate) version: String,
    /// The identifier of its main frame.
    pub(crate) frame: String,
}

impl Session {
    pub(crate) async fn start(
        http: reqwest::Client,
        port: u16,
        chrome: &Path,
    ) -> Result<Self, Error> {
        let mut this = Self {
            http,
            url: format!("http://127.0.0.1:{port}/session"),
            version: String::new(),
            frame: String::new(),
        };
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": chrome, "args": ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"pageLoad": TIMEOUT_MS, "script": TIMEOUT_MS},
        }}});
        let session = this.post("", capabilities).await?;
        let version = session["capabilities"]["browserVersion"].as_str();
        let version = version.unwrap_or_default().split('.').next();
        this.version = version.unwrap_or_default().to_owned();
        this.url += "/";
        this.url += session["sessionId"].as_str().unwrap_or_default();
        // A window's handle is the identifier of its main frame.
        this.frame = this
            .get("/window")
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(this)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.send(path, self.http.get(format!("{}{path}", self.url)))
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, Error> {
        let request = self.http.post(format!("{}{path}", self.url));
        self.send(path, request.body(body.to_string())).await
    }

    /// A command of the Chrome DevTools protocol.
    pub(crate) async fn chrome(&self, command: &str, params: Value) -> Result<Value, Error> {
        let body = json!({"cmd": command, "params": params});
        let request = self.http.post(format!("{}/goog/cdp/execute", self.url));
        self.send(command, request.body(body.to_string())).await
    }

    /// The value of an expression, awaited if it is a promise. Neither the page's content security policy nor disabled scripts
    /// stand in the way.
    pub(crate) async fn evaluate(&self, expression: &str) -> Result<Value, Error> {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.chrome("Runtime.evaluate", params).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            let details = &thrown["exception"]["description"];
            return Err(Error::Refused {
                command: "Runtime.evaluate".to_owned(),
                error: thrown["text"].as_str().unwrap_or_default().to_owned(),
                message: details.as_str().unwrap_or_default().to_owned(),
            });
        }
        Ok(answer["result"]["value"].take())
    }

    /// What was logged since it was last asked. `kind` is `browser` (the console) or `performance` (network and navigation).
    pub(crate) async fn log(&self, kind: &str) -> Result<Vec<Value>, Error> {
        let entries = self.post("/se/log", json!({"type": kind})).await?;
        Ok(serde_json::from_value(entries)?)
    }

    async fn send(&self, command: &str, request: reqwest::RequestBuilder) -> Result<Value, Error> {
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await?;
        let succeeded = answer.status().is_success();
        let mut answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let value = answer["value"].take();
        if succeeded {
            return Ok(value);
        }
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Err(Error::Refused {
            command: command.to_owned(),
            error: text("error"),
            message: text("message"),
        })
    }
}

/// No sandbox, because containers run as root, in which it doesn't start; nor have they much shared memory. Nothing reaches out:
/// no name but this machine's can be looked up. The pipe ends Chromium with chromedriver.
const ARGUMENTS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
    "--remote-debugging-pipe",
];

/// For a page to load, and for a script to end.
const TIMEOUT_MS: u64 = 30_000;

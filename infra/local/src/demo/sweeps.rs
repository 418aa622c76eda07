//! Sweeps, asked for as the schedule asks for them, but every second, and not while somebody wants quiet.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, ensure};
use local::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// The schedule of a stack whose own is disabled.
#[derive(Debug)]
pub(crate) struct Sweeps<'a> {
    stack: &'a Stack,
    /// Held while somebody sweeps, or wants that nobody does.
    turn: Mutex<()>,
}

impl<'a> Sweeps<'a> {
    pub(crate) fn new(stack: &'a Stack) -> Self {
        let turn = Mutex::default();
        Self { stack, turn }
    }

    /// Sweeps every second. Returns when a sweep fails, and why.
    pub(crate) async fn run(&self) -> anyhow::Error {
        loop {
            let turn = self.turn.lock().await;
            if let Err(error) = self.sweep().await {
                return error;
            }
            drop(turn);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The reconciler does nothing during this: nobody sweeps, and it takes no tasks, which also come by themselves shortly before
    /// something is due.
    pub(super) async fn quiet<T>(&self, during: impl Future<Output = Result<T>>) -> Result<T> {
        let _turn = self.turn.lock().await;
        self.take_tasks(false).await?;
        let result = during.await;
        self.take_tasks(true).await?;
        result
    }

    async fn take_tasks(&self, enabled: bool) -> Result<()> {
        let mapping = &self.stack.deployment.resources["ReconcilerMapping"];
        let path = format!("/2015-03-31/event-source-mappings/{mapping}");
        let input = Some(json!({ "Enabled": enabled }));
        let aws = &self.stack.aws;
        aws.rest("lambda", Method::PUT, &path, input)
            .await
            .map(drop)
    }

    /// Invokes the reconciler with what the template's schedule says.
    async fn sweep(&self) -> Result<()> {
        let name = &self.stack.deployment.functions["reconciler"].name;
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let input: Value = json!({ "sweep": true });
        let aws = &self.stack.aws;
        let swept = aws.rest("lambda", Method::POST, &path, Some(input)).await?;
        ensure!(swept["due"].is_u64(), "a sweep answered {swept}");
        Ok(())
    }
}

const EVERY: Duration = Duration::from_secs(1);

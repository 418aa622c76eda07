//! The first run: the real `kingpin` sets a fresh deployment up, as whoever deploys has it done.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use local::{CREDENTIALS_JSON, Options, Stack};
use serde_json::Value;
use simulator::SubscriptionStatus;

use crate::shown;

/// What came of it.
#[derive(Debug)]
pub(super) struct FirstRun {
    /// From the deployed stack to the first invited fleet.
    elapsed: Duration,
    /// What deliver to the stack now, by the simulator.
    subscriptions: usize,
    /// What `kingpin` did and found: names and words.
    checks: Vec<(String, String)>,
}

/// Sets the stack up and invites a fleet by this reference and name. Nothing but `kingpin` has a hand in it.
pub(super) async fn set_up(stack: &Stack, fleet: &str, name: &str) -> Result<FirstRun> {
    let stack_json = stack.stack_json();
    let credentials = stack_json.with_file_name(CREDENTIALS_JSON);
    let mut command = Command::new(Options::default().binaries.join("kingpin"));
    command
        .args([Path::new("--local"), stack_json])
        .args(["--json", "setup", "--invite", fleet, "--name", name])
        .args([Path::new("--credentials"), &credentials]);
    let start = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    let output = output.context("kingpin can't be started")?;
    let elapsed = start.elapsed();
    let checks = read(&output)?;
    let all = stack.simulator.subscriptions();
    let delivers = all
        .iter()
        .filter(|it| it.url == stack.webhook_url() && it.status == SubscriptionStatus::Active);
    Ok(FirstRun {
        elapsed,
        subscriptions: delivers.count(),
        checks,
    })
}

fn read(output: &Output) -> Result<Vec<(String, String)>> {
    let said = || {
        let both = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        format!("`kingpin setup` said {}", both.join("").trim())
    };
    let printed: Value = serde_json::from_slice(&output.stdout).with_context(said)?;
    ensure!(
        output.status.success() && printed["complete"] == true,
        said()
    );
    let checks = printed["checks"].as_array().with_context(said)?.iter();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let checks = checks.map(|it| (text(&it["check"]).replace('_', " "), text(&it["found"])));
    Ok(checks.collect())
}

impl FirstRun {
    /// What was set up, and how long that took.
    pub(super) fn told(&self) -> String {
        let told = |name: &&(String, String)| TOLD.contains(&&*name.0);
        let lines = self.checks.iter().filter(told);
        let lines: String = lines
            .map(|(name, found)| format!("{name:<18} {found}\n"))
            .collect();
        format!(
            "{lines}\nset up in {}: {} subscriptions, and the first fleet is invited\n",
            shown(self.elapsed),
            self.subscriptions
        )
    }
}

/// What does something, or proves it.
const TOLD: [&str; 5] = [
    "given credentials",
    "token",
    "subscriptions",
    "webhook",
    "invitation",
];

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    use serde_json::json;

    use super::*;

    fn output(code: i32, printed: &Value) -> Output {
        Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: printed.to_string().into_bytes(),
            stderr: Vec::new(),
        }
    }

    #[test]
    fn a_first_run_tells_what_was_done_and_how_long_that_took() {
        let check = |name: &str, found: &str| json!({ "check": name, "found": found });
        let printed = json!({ "complete": true, "checks": [
            check("given_credentials", "put into secret x"),
            check("clock", "agrees"),
            check("subscriptions", "29 are ours"),
        ] });
        let run = FirstRun {
            elapsed: Duration::from_millis(1_310),
            subscriptions: 29,
            checks: read(&output(0, &printed)).unwrap(),
        };
        let lines = [
            "given credentials  put into secret x",
            "subscriptions      29 are ours",
            "",
            "set up in 1.3 s: 29 subscriptions, and the first fleet is invited",
            "",
        ];
        assert_eq!(run.told(), lines.join("\n"));
    }

    #[test]
    fn one_that_stopped_is_an_error_with_all_that_was_said() {
        let printed =
            json!({ "complete": false, "checks": [{ "check": "token", "found": "refused" }] });
        let error = read(&output(1, &printed)).unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");
        assert!(read(&output(0, &json!("?"))).is_err());
    }
}

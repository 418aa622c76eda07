//! Runs the functions from their sources: `cargo lambda watch`, which builds a function on its
//! first event and again whenever its sources change.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;

use crate::aws;
use crate::ministack::free_port;
use crate::process::Group;

/// A running `cargo lambda watch`. Ends when dropped, and also when this process is killed.
#[derive(Debug)]
pub struct Watch {
    process: Group,
    port: u16,
    log: PathBuf,
}

impl Watch {
    /// Starts it with these settings for all functions, from the virtual environment in `tools`.
    pub async fn start(
        tools: &Path,
        root: &Path,
        folder: &Path,
        aws_url: &str,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let bin = tools.join("package/bin");
        let program = bin.join("cargo-lambda");
        if !program.exists() {
            bail!(
                "cargo-lambda is not installed in {}: run `cargo xtask dev`, which installs it",
                tools.display()
            );
        }
        let mut environment = settings.clone();
        environment.insert("AWS_ENDPOINT_URL".to_owned(), aws_url.to_owned());
        environment.insert("AWS_REGION".to_owned(), aws::REGION.to_owned());
        environment.extend(aws::CREDENTIALS.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let lines: Vec<String> = environment.iter().map(|(n, v)| line(n, v)).collect();
        let env_file = folder.join("watch.env");
        fs::write(&env_file, lines.concat())
            .with_context(|| format!("{} can't be written", env_file.display()))?;

        let port = free_port()?;
        let port_text = port.to_string();
        let log = folder.join("logs/watch.log");
        let output = File::create(&log)?;
        let errors = output.try_clone()?;
        let arguments = [
            "lambda",
            "watch",
            "--invoke-address",
            "127.0.0.1",
            "--invoke-port",
        ];
        let process = Group::spawn(
            [program.as_os_str()]
                .into_iter()
                .chain(arguments.map(str::as_ref))
                .chain([
                    port_text.as_ref(),
                    "--env-file".as_ref(),
                    env_file.as_os_str(),
                ])
                .chain(["--color", "never"].map(str::as_ref)),
            |command| {
                command.current_dir(root).stdout(output).stderr(errors);
                // ring's build script watches what `cargo run` tells us about the package that it runs: with it, ring and
                // all above it would be built again.
                for (name, _) in std::env::vars_os() {
                    let shown = name.to_string_lossy();
                    if shown.starts_with("CARGO_PKG_") || shown.starts_with("CARGO_MANIFEST_") {
                        command.env_remove(name);
                    }
                }
            },
        )
        .with_context(|| format!("{} could not be started", program.display()))?;
        let mut this = Self { process, port, log };
        this.wait_until_it_listens().await?;
        Ok(this)
    }

    /// The URL of Lambda's `Invoke` for a package's function.
    pub fn invoke_url(&self, package: &str) -> String {
        let port = self.port;
        format!("http://127.0.0.1:{port}/2015-03-31/functions/{package}/invocations")
    }

    /// All that it and the functions printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if let Some(status) = self.process.ended()? {
                bail!(
                    "cargo lambda watch ended at once ({status}):\n{}",
                    self.output()
                );
            }
            if start.elapsed() > Duration::from_secs(30) {
                bail!(
                    "cargo lambda watch doesn't listen after 30 s:\n{}",
                    self.output()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The functions are in groups of their own. Without it, they end when they miss it; but
        // what cargo just builds would be built to the end.
        self.process.end_within(Duration::from_secs(3));
    }
}

/// A line of the file, whose reader takes an unquoted value without `=` and quotes only, and knows no escape for a quote.
fn line(name: &str, value: &str) -> String {
    let quote = if value.contains('\'') { '`' } else { '\'' };
    format!("{name}={quote}{value}{quote}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_by_what_they_do_not_hold() {
        assert_eq!(line("A", r#"{"b":1}"#), "A='{\"b\":1}'\n");
        assert_eq!(line("A", "vehicle=read"), "A='vehicle=read'\n");
        assert_eq!(line("A", "it's"), "A=`it's`\n");
    }
}

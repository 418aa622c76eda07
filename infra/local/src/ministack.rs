//! Starts MiniStack, the local AWS, and sees to it that no process of it is left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::aws::{self, Aws};
use crate::process::Group;

/// A running MiniStack. Ends when dropped, and also when this process is killed.
#[derive(Debug)]
pub struct MiniStack {
    process: Group,
    url: String,
    folder: PathBuf,
}

impl MiniStack {
    /// Starts MiniStack from the virtual environment in `tools`, on `port` or else a free one,
    /// and waits until it is ready. All that it writes goes below `folder`.
    pub async fn start(tools: &Path, folder: &Path, port: Option<u16>) -> Result<Self> {
        let python = tools.join("local/bin/python");
        if !python.exists() {
            bail!(
                "MiniStack is not installed in {}: run `cargo xtask test` or `cargo xtask up`, \
                 which install it, or set KINGPIN_TOOLS to the folder that has it",
                tools.display()
            );
        }
        // Between finding a free port and MiniStack's use of it somebody else may take it.
        let mut attempt = 1;
        loop {
            let chosen = port.map_or_else(free_port, Ok)?;
            match Self::start_on(&python, folder, chosen).await {
                Err(_) if port.is_none() && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// The URL that SDKs want as `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of it.
    pub fn aws(&self) -> Result<Aws> {
        Aws::new(&self.url)
    }

    /// Makes a function's output known as `<name>.log`, for those who look into the folder.
    pub fn name_output(&self, function: &str, name: &str) -> Result<()> {
        let link = logs(&self.folder).join(format!("{name}.log"));
        symlink(format!("{function}.log"), &link)
            .with_context(|| format!("{} can't be made", link.display()))
    }

    /// All that a function printed so far, by the function's name (not its package).
    pub fn function_output(&self, function: &str) -> String {
        let path = logs(&self.folder).join(format!("{function}.log"));
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn start_on(python: &Path, folder: &Path, port: u16) -> Result<Self> {
        let url = format!("http://127.0.0.1:{port}");
        let temporary = folder.join("tmp");
        for folder in [&logs(folder), &temporary] {
            fs::create_dir_all(folder)
                .with_context(|| format!("{} can't be made", folder.display()))?;
        }
        let log = File::create(log_file(folder))?;
        let script = OsStr::new(include_str!("ministack.py"));
        let logs = logs(folder);
        let program = [python.as_os_str(), "-Ic".as_ref(), script, logs.as_os_str()];
        let stderr = log.try_clone()?;
        // It hands its environment to the functions, so it gets as little as can be.
        let process = Group::spawn(program, |command| {
            command
                .env_clear()
                .envs(aws::CREDENTIALS)
                .env("AWS_DEFAULT_REGION", aws::REGION)
                .env("AWS_ENDPOINT_URL", &url)
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("LOG_LEVEL", "WARNING")
                .env("MINISTACK_HOST", "127.0.0.1")
                .env("MINISTACK_REGION", aws::REGION)
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("TMPDIR", &temporary)
                .stdout(log)
                .stderr(stderr);
        })
        .with_context(|| format!("{} could not be started", python.display()))?;
        let mut this = Self {
            process,
            url,
            folder: folder.to_owned(),
        };
        this.wait_until_ready().await?;
        Ok(this)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let http = aws::client()?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.ended()? {
                bail!("MiniStack ended at once ({status}):\n{}", self.last_lines());
            }
            let answer = http
                .get(format!("{}/_ministack/ready", self.url))
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if start.elapsed() > READY_WITHIN {
                bail!(
                    "MiniStack isn't ready after {} s:\n{}",
                    READY_WITHIN.as_secs(),
                    self.last_lines()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(log_file(&self.folder)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// Fails if somebody listens on a port that was asked for.
pub(crate) fn require_free(port: Option<u16>, what: &str) -> Result<()> {
    if let Some(port) = port
        && let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
    {
        bail!("port {port} can't be used for {what} ({error}): give another one");
    }
    Ok(())
}

/// A port that nobody listens on, and that nobody else here is given: never the same twice, and none of those that the
/// kernel hands out to whoever asks for any. A port is taken only some time after it is found; a stack whose port
/// another listener took meanwhile would talk to that one, and take it for its own.
pub(crate) fn free_port() -> Result<u16> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(std::process::id().wrapping_mul(101) as u16));
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let handed_out = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok());
    let ports = FIRST_PORT..handed_out.unwrap_or(32_768).max(FIRST_PORT + 1);
    for _ in ports.clone() {
        let port = FIRST_PORT + next.fetch_add(1, Ordering::Relaxed) % (ports.end - FIRST_PORT);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", ports.start, ports.end - 1)
}

fn log_file(folder: &Path) -> PathBuf {
    logs(folder).join("ministack.log")
}

fn logs(folder: &Path) -> PathBuf {
    folder.join("logs")
}

const ATTEMPTS: usize = 3;
const FIRST_PORT: u16 = 10_240;
const READY_WITHIN: Duration = Duration::from_secs(30);

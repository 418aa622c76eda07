//! One JSON object per line on standard output, fields flat, so that CloudWatch can query and count by them.

use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{Env, SettingError};

/// Starts the process's logs. `LOG_LEVEL` (default `info`) is for this project's own `crates`; libraries only warn, since
/// at finer levels the SDK writes requests and answers, secrets included.
pub fn start_logs(env: &Env, crates: &[&str]) -> Result<(), SettingError> {
    let level: Level = env.or("LOG_LEVEL", Level::INFO, "a log level")?;
    let ours = crates.iter().map(|name| (*name, level));
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(ours);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false);
    // Started twice only by tests that share a process, where the first will do.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    Ok(())
}

/// An error and its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

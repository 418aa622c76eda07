//! What every function does before it serves: read its settings, start its logs, build its AWS clients.

mod aws;
mod env;
mod logs;

pub use aws::{Patience, aws_config, https};
pub use env::{Env, SettingError};
pub use logs::{describe, start_logs};

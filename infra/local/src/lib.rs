//! The local stack: the real `template.yaml` on a local AWS ([MiniStack](ministack)), a
//! [`gateway`] that stands in for API Gateway, and a [`wire`] that records what the functions
//! call and breaks it on demand. [`stack`] puts them together.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use local::wire::Fault;
//! use local::{Options, Stack};
//! use simulator::Scenario;
//!
//! let folder = "target/local/example".into(); // not that of somebody's `cargo xtask up`
//! let stack = Stack::start(Options { folder, ..Options::default() }).await?;
//! stack.wire.fault("webhook-ingest", "sqs:*", Fault::error(503, "ServiceUnavailable"));
//! let report = stack.simulator.run(&Scenario::onboarding(1)).await;
//! assert_eq!(report.accepted, 0);
//! stack.wire.heal();
//! # Ok(())
//! # }
//! ```
//!
//! `cargo xtask up`, `dev` and `demo` run it as the binary `local`; `tests/end-to-end` uses it as
//! a library.

pub mod authorization;
pub mod aws;
pub mod capacity;
pub mod deploy;
pub mod event;
pub mod gateway;
pub mod ministack;
mod process;
pub mod runtime_api;
pub mod signed;
pub mod stack;
pub mod template;
pub mod watch;
pub mod wire;

pub use crate::stack::{CREDENTIALS_JSON, Options, Stack};

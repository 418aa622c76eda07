//! Folds queued events into fleet records.
//!
//! [`Processor`] is where a batch of messages becomes writes. A library, so that tests can run a processor with a translation that fails on purpose.

mod batch;
mod processor;
mod routing;

pub use processor::{Processor, Settings, Translate};

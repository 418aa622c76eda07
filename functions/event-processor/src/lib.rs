//! Folds queued events into fleet records: the place where records change.
//!
//! [`Translation`] is where Catena's words become the fleet record's facts, [`Processor`] is where a batch of messages
//! becomes writes. A library, so that tests can run a processor with a translation that fails on purpose.

mod batch;
mod commit;
mod guard;
mod processor;
mod routing;
mod translation;

pub use processor::{Processor, Settings, Translate};
pub use translation::{Translation, translate};

//! Asks Catena what a webhook should have said, and queues the answers as observations.
//!
//! Two events invoke it: the schedule, every minute, for a [sweep](Reconciler::sweep) that leases what is due and queues one task
//! each; and the tasks queue, for the [tasks](Reconciler::work). A task says where to look, no more: what is to be asked is computed
//! from a strong read, so a task that is late, lost or there twice does no harm. It writes no facts of fleets: what Catena
//! answers goes through the events queue into the record, as webhooks do. Of write operations it writes what Catena says by itself.

mod ask;
mod comparison;
mod look;
mod operations;
mod parked;
mod reconciler;
mod subscriptions;
mod sweep;

pub use reconciler::{Reconciler, Settings};

//! Tells the partner what changed: takes the table's stream, and puts the differences of old and new records on the stack's event
//! bus as domain events.

mod bus;
mod dead_letters;
mod difference;
mod handler;

pub use bus::Bus;
pub use dead_letters::DeadLetters;
pub use difference::{DomainEvent, difference};
pub use handler::{Publisher, StreamAnswer, StreamBatch};

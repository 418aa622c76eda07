//! The events queue: the versioned format of its messages, sending them, and putting them off.
//!
//! A message holds one [`Scrubbed`](catena::Scrubbed) delivery, or a part of one that is over the queue's limit; or what was
//! observed about one fleet otherwise ([`Told`]), which has no place for a token. Nothing else can be put into a message, so
//! what rests in the queue never holds one.

mod events_queue;
mod message;

pub use events_queue::{Delay, EventsQueue, LIMIT, NotDelayed, NotQueued};
pub use message::{Holds, LONGEST_TOLD, Message, RecordOverLimit, Told, UnreadableMessage};

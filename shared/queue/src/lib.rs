//! The events queue: the versioned format of its messages, sending them, and putting them off.
//!
//! A message holds one [`Scrubbed`](catena::Scrubbed) delivery, or a part of one that is over the queue's limit. Nothing
//! else can be put into a message, so what rests in the queue never holds a token.

mod events_queue;
mod message;

pub use events_queue::{Delay, EventsQueue, LIMIT, NotDelayed, NotQueued};
pub use message::{Message, RecordOverLimit, UnreadableMessage};

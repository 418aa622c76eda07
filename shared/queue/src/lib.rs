//! The two queues. The events queue: the versioned format of its messages, sending them, and putting them off.
//!
//! A message holds one [`Scrubbed`](catena::Scrubbed) delivery, or a part of one that is over the queue's limit; or what was
//! observed about one fleet otherwise ([`Told`]), which has no place for a token. Nothing else can be put into a message, so
//! what rests in the queue never holds one. What was taken off the queue and rests elsewhere ([`AsItWas`]) is sent again as it was.
//!
//! The tasks queue: what is to be looked at ([`Task`]). A task says where to look and nothing else, so one that is lost, old or there twice does no harm.

mod again;
mod events_queue;
mod message;
mod tasks_queue;

pub use again::{AsItWas, DeadLetter, DeadLetters, NotReceived, NotRemoved, NotSentAgain};
pub use events_queue::{Delay, EventsQueue, LIMIT, NotDelayed, NotQueued};
pub use message::{About, Holds, LONGEST_TOLD, Message, RecordOverLimit, Told, UnreadableMessage};
pub use tasks_queue::{NotTold, Task, TaskMessage, TasksQueue, UnreadableTask};

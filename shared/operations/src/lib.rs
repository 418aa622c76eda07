//! Asynchronous write operations: what is asked of Catena once, what it said since, and when to look. No IO, no clock.
//!
//! Catena knows no idempotency keys (contract 2), so what can be promised is this: a second call only after none was sent or Catena
//! refused; an outcome that Catena told, or `unknown`, and never a guess.
//!
//! ```text
//! submitting ─┬─ answered ──────────────> pending ─┬─ succeeded ─> success
//!             ├─ refused, or never left ─> refused  ├─ failed ────> failed
//!             └─ no answer, or a crash ─> unclear ─┬┴─ silence ───> unknown
//!                                                  └─ not found, or not by itself ─> unknown
//! ```
//!
//! - [`Operation`] is one of them, with all that happened to it; its [`Status`] follows from that and from the time.
//! - [`Heard`] is what Catena said: a join, so that order and repetition don't matter.
//! - [`Search`] finds an operation again whose answer was lost, among those that Catena lists.
//! - [`questions`] asks about many at once.

mod digest;
mod explain;
mod heard;
mod operation;
mod question;
mod search;
mod write;

pub use digest::{guard_digest, operation_id, request_digest};
pub use explain::{advice, meaning};
pub use heard::{Attempt, Heard, Outcome, Said, Word};
pub use operation::{Asked, Course, Looked, Operation, Refused, Status};
pub use question::{Question, questions};
pub use search::{Candidate, Found, Search};
pub use write::{Kind, NotWritable, Write};

#[cfg(test)]
mod tests;

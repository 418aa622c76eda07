//! What answers of Catena's say that records don't: by example, and by laws over made-up records and truths.

mod examples;
mod laws;
mod questions;
mod world;
mod written;

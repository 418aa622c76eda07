//! The pages that a fleet's browser is shown, and where a fleet stands in their words ([`State::of`]). They are made here alone, of
//! what callers know: there is no IO, clock or network.
//!
//! A page says what is known; until something is, what a browser claims, as a claim; and always what comes next. It is one document without anything from
//! third parties: its style and its little script are inline and allowed by their hashes, and its logo is compiled in.

mod asset;
mod brand;
mod document;
mod journey;
mod moment;
mod page;
mod state;
#[cfg(test)]
mod tests;
mod visitor;
mod words;

pub use brand::{Brand, BrandError};
pub use document::Document;
pub use journey::Place;
pub use page::{Page, Pages, Share};
pub use state::State;
pub use visitor::{Lang, Visitor};

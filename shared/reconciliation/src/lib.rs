//! What a webhook should have said, a look at Catena finds out: what to ask about a fleet ([`Questions`]), and what the answers
//! say that its record doesn't ([`Answers::differences`]). Without IO and clock.
//!
//! Answers become observations like any other, so that the record can take them in whatever came meanwhile. An answer that agrees
//! with the record says nothing. And how far the comparison of all of Catena's lists with all records is ([`Comparison`]).

mod answers;
mod comparison;
mod questions;

pub use answers::{Answers, Listed};
pub use comparison::{Comparison, Step};
pub use questions::Questions;

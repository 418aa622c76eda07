//! The fleet record, without IO, clock or knowledge of Catena's words: facts as registers, folded by a join, and what
//! follows from them.
//!
//! Deliveries repeat, overtake each other and get lost, so a record keeps the newest observation of each fact, by when it
//! happened rather than when it came. [`Facts::fold`] is commutative, associative and idempotent: any order and any number
//! of repeats of the same observations give the same facts, byte for byte. Everything else is computed on reading.

mod facts;
mod observation;
mod register;
mod stage;

pub use facts::{ConnectionFacts, Facts, InvitationFacts, SCHEMA};
pub use observation::{
    Agreement, AgreementStatus, ConnectionState, Decision, Fact, FleetRef, Level, Observation,
};
pub use register::{At, Register, Timestamp};
pub use stage::Stage;

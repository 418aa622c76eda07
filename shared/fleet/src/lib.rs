//! The fleet record, without IO, clock or knowledge of Catena's words: facts as registers, folded by a join, decisions apart
//! from them, and what follows from both.
//!
//! Deliveries repeat, overtake each other and get lost, so a record keeps the newest observation of each fact, by when it
//! happened rather than when it came. [`Facts::fold`] is commutative, associative and idempotent: any order and any number
//! of repeats of the same observations give the same facts, byte for byte. Everything else is computed on reading, by
//! [`Record::standing`].

mod agenda;
mod facts;
mod observation;
mod policy;
mod record;
mod register;
mod standing;
mod view;

pub use agenda::{Agenda, Looks};
pub use facts::{AgreementFacts, ConnectionFacts, Facts, InvitationFacts, LinkFacts, RequestFacts};
pub use observation::{
    Agreement, AgreementStatus, Claim, ConnectionFact, ConnectionState, Decision, Fact, FleetRef,
    IntegrationRequest, InvitationFact, Level, Observation, RegulatoryId, Schedule,
};
pub use policy::{Confirmation, Days, Policy, RegulatoryMismatch};
pub use record::{Decisions, Grant, InvalidOverride, Override, OverrideKind, Record, SCHEMA};
pub use register::{At, Register, Timestamp};
pub use standing::{Admission, Code, Due, Reason, Stage, Standing, Why};

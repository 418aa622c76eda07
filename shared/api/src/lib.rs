//! What the partner API asks and answers, in types that its OpenAPI document is made of. `kingpin --json` uses the same words.
//!
//! Names are public and stay, whatever form the table keeps things in. Times are RFC 3339 in UTC. Enumerations of answers are
//! open: a client takes a value that it doesn't know as it comes.

mod decision;
mod fact;
mod invitation;
mod moment;
mod operation;
mod problem;
mod standing;

pub use decision::{
    Decided, HistoryEntry, HistoryPage, News, OverrideKind, OverrideRequest, Passed,
};
pub use fact::{fact, short_hash};
pub use invitation::{
    FleetLink, Invitation, InvitationRequest, InvitationSummary, Level, Link, Outcome,
};
pub use moment::Moment;
pub use operation::{
    Operation, OperationAttempt, OperationError, OperationPage, OperationRequest, WriteKind,
};
pub use problem::{FieldProblem, Problem};
pub use standing::{
    Access, AccessBatch, AccessBatchRequest, Admission, Connection, Due, Fleet, FleetDetail,
    FleetPage, FleetSummary, Reason, Scopes, scopes,
};

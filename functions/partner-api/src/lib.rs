//! The partner's API: invitations, fleets, access, history, overrides, write operations.
//!
//! A library with a small binary, so that its OpenAPI document is made of the very types that it reads and writes
//! (`cargo run -p partner-api --example openapi`).

mod call;
mod handler;
mod listing;
mod openapi;
mod operation;
mod refusal;
mod submission;
mod wanted;

pub use handler::{PartnerApi, Permissions, Settings};
pub use openapi::document;
pub use operation::Operation;

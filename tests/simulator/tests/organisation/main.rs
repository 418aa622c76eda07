//! The token endpoint and the organisation API, as a partner meets them over HTTP.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

mod partner;

mod connect;
mod control;
mod events;
mod faults;
mod invitations;
mod resources;
mod scenarios;
mod tokens;

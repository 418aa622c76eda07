//! The token endpoint and the organisation API, as a partner meets them over HTTP.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

mod partner;

mod connect;
mod connections;
mod control;
mod events;
mod faults;
mod invitations;
mod limits;
mod losses;
mod notifications;
mod operations;
mod providers;
mod resources;
mod scenarios;
mod tokens;
mod truth;
mod world;

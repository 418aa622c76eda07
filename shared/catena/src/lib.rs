//! Catena's wire contract, without IO: a delivery and its proof, its scrubbed content, its typed events.
//!
//! The way through the types is the way of trust:
//!
//! ```text
//! bytes --Delivery::parse--> Delivery --verify--> Verified --scrub--> Scrubbed --events--> Event
//!        limits, headers              MAC, age           no tokens           typed, open
//! ```
//!
//! A [`Delivery`] proves nothing, a [`Verified`] may hold tokens, and only a [`Scrubbed`] can be written anywhere.

mod bearable;
mod delivery;
mod event;
mod gzip;
mod keyring;
mod lenient;
mod open_enum;
mod resource;
#[cfg(feature = "schema")]
pub mod schema;
mod scrub;
mod time;

pub use bearable::bearable;
pub use delivery::{
    Age, Delivery, Malformed, MalformedHeader, NoKeyMatches, Refused, Verified, WIRE_LIMIT,
};
pub use event::{Event, EventName, InvalidRecord, Resource};
pub use gzip::{INFLATED_LIMIT, InflateError};
pub use keyring::{Keyring, KeyringError, SHORTEST_KEY, SigningKey};
pub use resource::{
    Connection, Execution, Fleet, FleetConnection, IntegrationRequest, Invitation, Level, Message,
    OperationLog, Provider, ResourceOperation, Schedule, ShareAgreement, Status, Subscription,
    SubscriptionFilters, Tsp,
};
pub use scrub::{Content, Envelope, InvitationHash, Label, Scrubbed, Unreadable, scrub_record};
pub use time::Instant;

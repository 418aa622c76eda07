//! Catena's HTTP API as typed calls: the organisation endpoints of contract 3 that are not about partners, the connections and
//! schedules of contract 5.1 and 5.2, the writes of contract 5.3 and 5.4, and the webhook subscriptions of contract 6.1.
//!
//! ```text
//! Client::new(endpoints, patience, credentials, clock) --within(time)--> Calls --> Answer<T> or CatenaError
//! ```
//!
//! A [`Client`] holds one token for all its callers, and one pause after a 429. Each call is repeated as far as the time that
//! its caller gives allows, and its answer says when it held by Catena's clock. Tokens of fleets are dropped while an answer
//! is read; an invitation's id and link come back in an [`InvitationSecret`] alone, everything else is scrubbed as in events.
//!
//! What the contract tells of Catena is all that is known: every enumeration is open, every field that isn't needed is
//! optional. The fleet's side of an invitation (accept, decline) and of an integration request (making one) is not here.

mod answer;
mod call;
mod client;
mod credentials;
mod endpoints;
mod error;
mod integrations;
mod invitation;
mod operations;
mod organisation;
mod pages;
mod refusal;
mod token;
mod webhooks;

pub use answer::{Answer, Observed};
pub use client::{Calls, Client, Patience};
pub use credentials::{Credentials, InvalidCredentials, SourceError};
pub use endpoints::{BaseUrl, Endpoints, InvalidUrl};
pub use error::{CatenaError, FieldProblem, Outage, Refusal};
pub use invitation::{Created, InvitationRead, InvitationSecret, NewInvitation};
pub use operations::OperationFilter;
pub use organisation::{AgreementDates, AgreementFilter};
pub use pages::{Collected, Pages};
pub use webhooks::{
    EventSchema, NewSubscription, SubscriptionChange, SubscriptionLog, SubscriptionMetrics,
};

#[cfg(test)]
mod tests;

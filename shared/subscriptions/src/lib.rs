//! Webhook subscriptions at Catena (contract 6): which ones there should be, what to do about those that there are, how the
//! keys change that they sign with, and how those that stopped are brought back. Pure: no IO, no clock.
//!
//! ```text
//! kingpin subscription apply:  (wanted, Ledger, KeyringDocument, what Catena lists) --plan--> steps --one call each--> Ledger
//! reconciler, every 5 minutes: (Ledger, what Catena lists, dead letters) --Watch::examine--> activate, replay, tell a person
//! ```
//!
//! Catena masks the URL and the secret of a subscription, so ours are recognised by their ids, which the [`Ledger`] holds. It also
//! holds what was asked for without learning the answer, so that whoever comes next looks before it asks again.

mod keyring;
mod ledger;
mod plan;
mod wanted;
mod watch;

pub use keyring::{KEYRING_LEASE_MS, KeyName, KeyringDocument, UnusableKeyring};
pub use ledger::{Asked, Form, Ledger, Ours, UnreadableLedger};
pub use plan::{Note, Plan, Step, World, plan};
pub use wanted::{ACTIONS, WANTED, Wanted, covers, is_wanted, shows, shows_host};
pub use watch::{Finding, Watch};

//! Inviting fleets: one call to Catena per fleet at a time, none where none is needed.
//!
//! Catena's call is idempotent by `fleet_ref` but not harmless: it opens declined invitations again and changes tokens
//! (contract 3.1). So a right to ask is taken first, in the fleet's INVITATION item, together with what is asked; who comes
//! meanwhile waits for the answer. A call that was cut off leaves both behind: the next one looks at what Catena has before
//! it asks again, and takes it over if it is what was asked for.
//!
//! An answer is written down in an order that survives a crash anywhere: history, record, key, link, and last of all the right to ask is
//! given back, with the secret.

mod inviter;
mod open;
mod step;
mod wiring;

pub use inviter::{InviteError, Inviter};
pub use open::{OpenError, Opened};
pub use step::Stands;

//! Documents in Secrets Manager: read when asked ([`Secret`]), or kept at hand ([`Cached`]).

mod cached;
mod secret;

pub use cached::Cached;
pub use secret::{Secret, SecretError};

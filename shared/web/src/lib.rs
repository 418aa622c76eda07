//! What the functions that talk to fleets' browsers have in common: the settings that their pages are made of, who looks, how a
//! page becomes an answer, and the one cookie.

mod cookie;
mod request;
mod serve;
mod site;

pub use cookie::LinkCookie;
pub use request::{Asked, response};
pub use serve::serve;
pub use site::{Origin, Site, SiteError};

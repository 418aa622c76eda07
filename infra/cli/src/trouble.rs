//! What goes wrong with Catena's API, for the one who can mend it.

use catena_client::{CatenaError, Outage};

use crate::readable::plain;

/// What happened, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

impl Trouble {
    /// Of a call of Catena's API. No error there shows a token or a secret.
    pub(crate) fn of(error: &CatenaError) -> Self {
        Self {
            what: causes(error),
            remedy: remedy(error),
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        cause = error.source();
    }
    plain(&causes.join(": "))
}

fn remedy(error: &CatenaError) -> &'static str {
    match error {
        CatenaError::Credentials(_) => {
            "`kingpin setup --credentials FILE` puts the client id and secret that Catena's support issued into the secret of output \
             CatenaSecretId (README, “Catena's credentials”). See that you may read it."
        }
        CatenaError::Unauthorised { .. } => {
            "Catena refuses the client id or its secret: compare them with what its support issued, or ask for new ones."
        }
        CatenaError::Forbidden(_) => {
            "Ask Catena's support to allow it to your client (README, “Catena's credentials”)."
        }
        CatenaError::NotFound => "Ask Catena's support whether it serves this to your client.",
        CatenaError::RateLimited { .. } => "Catena wants fewer calls: try again later.",
        CatenaError::Unavailable {
            source: Outage::Token { .. },
            ..
        } => "Is output CatenaTokenUrl Catena's token endpoint? If so, ask Catena.",
        CatenaError::Unavailable { .. } => {
            "Check the network and outputs CatenaApiUrl and CatenaTokenUrl; try again, and ask Catena if it lasts."
        }
        CatenaError::Refused(_) | CatenaError::Unreadable { .. } => {
            "Is output CatenaApiUrl Catena's API? If so, it has changed: look for a newer version of Kingpin."
        }
        CatenaError::Unclear(cause) => remedy(cause),
    }
}

//! Catena's credentials, in a secret of their own.

use catena_client::{Credentials, SourceError};
use secrets::{Secret, SecretError};

/// The secret that holds `{"client_id":"…","client_secret":"…"}`. A client of Catena reads it whenever it needs a new token.
#[derive(Clone, Debug)]
pub(crate) struct CatenaSecret(Secret);

impl CatenaSecret {
    /// The credentials in this secret.
    pub(crate) fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Reads them. Errors tell what to do and nothing of what the secret holds.
    pub(crate) async fn read(self) -> Result<Credentials, SourceError> {
        let text = self.0.read().await.map_err(|error| match error {
            SecretError::Missing(_) | SecretError::NoText(_) => {
                format!("{error}: put Catena's credentials into it").into()
            }
            SecretError::Silent(_) | SecretError::Unreadable { .. } => SourceError::from(error),
        })?;
        let credentials = Credentials::parse(&text);
        Ok(credentials.map_err(|error| format!("secret {} is {error}", self.0.id()))?)
    }
}

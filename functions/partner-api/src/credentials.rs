//! Catena's credentials, in a secret of their own.

use aws_sdk_secretsmanager::{Client, operation::get_secret_value::GetSecretValueError};
use catena_client::{Credentials, SourceError};

/// The secret that holds `{"client_id":"…","client_secret":"…"}`.
#[derive(Clone, Debug)]
pub struct CatenaSecret {
    client: Client,
    secret_id: String,
}

impl CatenaSecret {
    /// The secret with this id.
    pub fn new(client: Client, secret_id: impl Into<String>) -> Self {
        let secret_id = secret_id.into();
        Self { client, secret_id }
    }

    /// Reads it. Errors tell what to do and nothing of what it holds.
    pub async fn read(self) -> Result<Credentials, SourceError> {
        let Self { client, secret_id } = self;
        let read = client.get_secret_value().secret_id(&secret_id).send().await;
        let read = read.map_err(|error| match error.as_service_error() {
            Some(GetSecretValueError::ResourceNotFoundException(_)) => {
                format!("secret {secret_id} holds nothing yet: put Catena's credentials into it")
            }
            Some(error) => format!("secret {secret_id} can't be read: {error}"),
            None => format!("secret {secret_id}: no answer"),
        })?;
        let text = read.secret_string.unwrap_or_default();
        let credentials = Credentials::parse(&text);
        Ok(credentials.map_err(|error| format!("secret {secret_id} is {error}"))?)
    }
}

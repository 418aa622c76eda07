//! One secret, read and written when asked.

use aws_sdk_secretsmanager::{
    Client,
    operation::{get_secret_value::GetSecretValueError, put_secret_value::PutSecretValueError},
};

/// A secret of Secrets Manager.
#[derive(Clone, Debug)]
pub struct Secret {
    client: Client,
    id: String,
}

/// Why a secret's text isn't there. Names the secret, and nothing of what it holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret, or nothing was put into it yet: AWS answers the same to both.
    #[error("secret {0} does not exist or holds nothing yet")]
    Missing(String),
    /// It holds bytes instead of text.
    #[error("secret {0} holds no text")]
    NoText(String),
    /// There was no answer in time.
    #[error("secret {0}: no answer")]
    Silent(String),
    /// AWS refuses, or fails.
    #[error("secret {id} can't be read: {cause}")]
    Unreadable {
        /// The secret's id.
        id: String,
        /// AWS's own words.
        cause: String,
    },
    /// AWS doesn't take a new text.
    #[error("secret {id} can't be written: {cause}")]
    Unwritable {
        /// The secret's id.
        id: String,
        /// AWS's own words.
        cause: String,
    },
}

impl Secret {
    /// The secret with this name or ARN.
    pub fn new(client: Client, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { client, id }
    }

    /// Its name or ARN, as it was given.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Reads its text, which may be empty. Takes as long as the client's patience.
    pub async fn read(&self) -> Result<String, SecretError> {
        let id = || self.id.clone();
        let read = self.client.get_secret_value().secret_id(&self.id).send();
        let read = read.await.map_err(|error| match error.as_service_error() {
            Some(GetSecretValueError::ResourceNotFoundException(_)) => SecretError::Missing(id()),
            Some(service) => SecretError::Unreadable {
                id: id(),
                cause: service.to_string(),
            },
            None => SecretError::Silent(id()),
        })?;
        read.secret_string.ok_or_else(|| SecretError::NoText(id()))
    }

    /// Replaces its text. The one before stays readable at AWS as version `AWSPREVIOUS`.
    pub async fn write(&self, text: &str) -> Result<(), SecretError> {
        let id = || self.id.clone();
        let write = self.client.put_secret_value().secret_id(&self.id);
        let written = write.secret_string(text).send().await;
        written.map_err(|error| match error.as_service_error() {
            Some(PutSecretValueError::ResourceNotFoundException(_)) => SecretError::Missing(id()),
            Some(service) => SecretError::Unwritable {
                id: id(),
                cause: service.to_string(),
            },
            None => SecretError::Silent(id()),
        })?;
        Ok(())
    }
}

//! Catena's API as a function's settings, or a stack's outputs, have it: where it is, and the secret that holds the credentials
//! for it.

use aws_sdk_secretsmanager::Client as SecretsManager;
use catena_client::{BaseUrl, Client, Credentials, Endpoints, Patience, SourceError};
use secrets::{Secret, SecretError};
use startup::{Env, SettingError};
use time::OffsetDateTime;

/// A client that reads `CATENA_SECRET_ID`, `CATENA_API_URL` and `CATENA_TOKEN_URL`. The secret holds
/// `{"client_id":"…","client_secret":"…"}`, and is read whenever a new token is needed.
pub fn catena(
    env: &Env,
    secrets: SecretsManager,
    patience: Patience,
) -> Result<Client, SettingError> {
    let secret = Secret::new(secrets, env.required("CATENA_SECRET_ID")?);
    let url = |key| env.parsed::<BaseUrl>(key, BaseUrl::EXPECTED);
    let endpoints = Endpoints {
        api: url("CATENA_API_URL")?,
        token: url("CATENA_TOKEN_URL")?,
    };
    Ok(catena_at(endpoints, secret, patience))
}

/// A client for these endpoints, with the credentials in this secret.
pub fn catena_at(endpoints: Endpoints, secret: Secret, patience: Patience) -> Client {
    let credentials = move || read(secret.clone());
    Client::new(endpoints, patience, credentials, OffsetDateTime::now_utc)
}

/// Reads credentials. Errors tell what to do and nothing of what the secret holds.
async fn read(secret: Secret) -> Result<Credentials, SourceError> {
    let text = secret.read().await.map_err(|error| match error {
        SecretError::Missing(_) | SecretError::NoText(_) => {
            format!("{error}: put Catena's credentials into it").into()
        }
        SecretError::Silent(_)
        | SecretError::Unreadable { .. }
        | SecretError::Unwritable { .. } => SourceError::from(error),
    })?;
    let credentials = Credentials::parse(&text);
    Ok(credentials.map_err(|error| format!("secret {} is {error}", secret.id()))?)
}

//! Catena's API and the secrets about it, as a stack's outputs name them.

use std::time::Duration;

use anyhow::{Context, Result};
use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use catena_client::{BaseUrl, Client, Endpoints, Patience};
use secrets::Secret;

use crate::source::Found;

/// Catena's API, called as the stack's functions call it: with the credentials in the stack's secret.
pub(crate) fn catena(found: &Found) -> Result<Client> {
    let url = |output| -> Result<BaseUrl> {
        let url = found.output(output)?;
        let parsed = url.parse();
        parsed.with_context(|| format!("{} says {output} {url}, which can't be used", found.place))
    };
    let endpoints = Endpoints {
        api: url("CatenaApiUrl")?,
        token: url("CatenaTokenUrl")?,
    };
    let secret = catena_secret(found)?;
    Ok(credentials::catena_at(
        endpoints,
        secret,
        Patience::default(),
    ))
}

/// The secret with the credentials for Catena's API.
pub(crate) fn catena_secret(found: &Found) -> Result<Secret> {
    secret(found, "CatenaSecretId")
}

/// The secret with the signing keys. What is asked of it is over before anybody else may change it
/// ([`subscriptions::KEYRING_LEASE_MS`]).
pub(crate) fn keyring_secret(found: &Found) -> Result<Secret> {
    secret(found, "KeyringSecretId")
}

fn secret(found: &Found, output: &str) -> Result<Secret> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(3))
        .build();
    let config = aws_sdk_secretsmanager::config::Builder::from(&found.config)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .build();
    let client = aws_sdk_secretsmanager::Client::from_conf(config);
    Ok(Secret::new(client, found.output(output)?))
}

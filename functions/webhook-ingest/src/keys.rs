//! The signing keys, as fresh as needed and never lost while their store is down.

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::{Client, operation::get_secret_value::GetSecretValueError};
use catena::{Keyring, KeyringError};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tracing::{error, info};

/// Reads the keyring secret and keeps the last good keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    secret_id: String,
    /// How long keys are good without asking.
    ttl: Duration,
    /// How long after one reading the next may start.
    pace: Duration,
    state: Mutex<State>,
}

/// Times are of the wall clock: Lambda stops the monotonic one between invocations.
#[derive(Debug, Default)]
struct State {
    keyring: Option<Arc<Keyring>>,
    read_at: Option<OffsetDateTime>,
    tried_at: Option<OffsetDateTime>,
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
enum NoKeyring {
    #[error("secret {0} does not exist: deploy the template, which makes it")]
    NoSecret(String),
    #[error("secret {0} has no text: put a keyring document into it (README, \"Signing keys\")")]
    NoText(String),
    #[error(
        "secret {0} holds no keyring: {1}; put a keyring document into it (README, \"Signing keys\")"
    )]
    NotAKeyring(String, KeyringError),
    #[error("secret {0}: no answer")]
    Silent(String),
    #[error("secret {0} can't be read: {1}")]
    Unreadable(String, String),
}

impl Keys {
    /// Starts reading at once, beside whatever else starts, and fails nothing if that doesn't work.
    pub(crate) fn start(client: Client, secret_id: String, ttl: Duration, pace: Duration) -> Self {
        let keys = Self(Arc::new(Shared {
            client,
            secret_id,
            ttl,
            pace,
            state: Mutex::default(),
        }));
        let early = keys.clone();
        tokio::spawn(async move { early.current(OffsetDateTime::now_utc()).await });
        keys
    }

    /// The keys, read again once they are older than their time to live. The last good ones while that fails.
    pub(crate) async fn current(&self, now: OffsetDateTime) -> Option<Arc<Keyring>> {
        let mut state = self.0.state.lock().await;
        let fresh = state.read_at.is_some_and(|read| now - read < self.0.ttl);
        if !fresh {
            self.read(&mut state, now).await;
        }
        state.keyring.clone()
    }

    /// Keys read just now, since none of the known ones match. `None` if it is too early for that, or fails.
    pub(crate) async fn newer(&self, now: OffsetDateTime) -> Option<Arc<Keyring>> {
        let mut state = self.0.state.lock().await;
        let read = self.read(&mut state, now).await;
        read.then(|| state.keyring.clone()).flatten()
    }

    /// Whether the keyring was read.
    async fn read(&self, state: &mut State, now: OffsetDateTime) -> bool {
        // Without any keys every delivery is refused, so a missing keyring is looked for more often.
        let pace = match state.keyring {
            Some(_) => self.0.pace,
            None => self.0.pace.min(Duration::from_secs(1)),
        };
        if state.tried_at.is_some_and(|tried| now - tried < pace) {
            return false;
        }
        state.tried_at = Some(now);
        let fetched = match state.keyring {
            None => self.0.fetch().await,
            // Good keys are at hand, so a silent store may not use up the time that queueing needs.
            Some(_) => tokio::time::timeout(BRIEFLY, self.0.fetch())
                .await
                .unwrap_or_else(|_| Err(NoKeyring::Silent(self.0.secret_id.clone()))),
        };
        match fetched {
            Ok(keyring) => {
                info!("keyring read");
                state.keyring = Some(Arc::new(keyring));
                state.read_at = Some(now);
                true
            }
            Err(cause) => {
                let kept = state.keyring.is_some();
                error!(keyring.kept = kept, "no keyring: {cause}");
                false
            }
        }
    }
}

impl Shared {
    async fn fetch(&self) -> Result<Keyring, NoKeyring> {
        let id = || self.secret_id.clone();
        let secret = self.client.get_secret_value().secret_id(&self.secret_id);
        let secret = secret
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => {
                    NoKeyring::NoSecret(id())
                }
                Some(service) => NoKeyring::Unreadable(id(), service.to_string()),
                None => NoKeyring::Unreadable(id(), error.to_string()),
            })?;
        let text = secret
            .secret_string()
            .ok_or_else(|| NoKeyring::NoText(id()))?;
        Keyring::parse(text).map_err(|error| NoKeyring::NotAKeyring(id(), error))
    }
}

const BRIEFLY: Duration = Duration::from_millis(500);

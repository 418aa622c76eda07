//! A document in a secret, as fresh as needed and never lost while its store is down.

use std::{fmt, sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::sync::Mutex;
use tracing::{error, info};

use crate::{Secret, SecretError};

/// Reads the document in a secret, and keeps the last good one.
pub struct Cached<T>(Arc<Shared<T>>);

struct Shared<T> {
    secret: Secret,
    name: &'static str,
    advice: &'static str,
    parse: fn(&str) -> Result<T, String>,
    /// How long a document is good without asking.
    ttl: Duration,
    /// How long after one reading the next may start.
    pace: Duration,
    state: Mutex<State<T>>,
}

/// Times are of the wall clock: Lambda stops the monotonic one between invocations.
struct State<T> {
    document: Option<Arc<T>>,
    read_at: Option<OffsetDateTime>,
    tried_at: Option<OffsetDateTime>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
enum NoDocument {
    #[error("{0}: deploy the template, which makes it, and {1}")]
    NoSecret(SecretError, &'static str),
    #[error("{0}: {1}")]
    NoText(SecretError, &'static str),
    #[error(transparent)]
    NotRead(SecretError),
    #[error("secret {id} holds no {name}: {cause}; {advice}")]
    NotADocument {
        id: String,
        name: &'static str,
        cause: String,
        advice: &'static str,
    },
}

impl<T: Send + Sync + 'static> Cached<T> {
    /// Starts reading at once, beside whatever else starts, and fails nothing if that doesn't work.
    ///
    /// Log lines call the document `name` ("keyring"); `advice` completes them where a person has to act ("put a keyring
    /// document into it (README, "Signing keys")"). What `parse` says of a document that isn't one is logged, so it must not
    /// tell what the secret holds. A document is read again once it is older than `ttl`, or by [`newer`](Self::newer), but
    /// not sooner after the last reading than `pace`.
    pub fn start(
        secret: Secret,
        name: &'static str,
        advice: &'static str,
        parse: fn(&str) -> Result<T, String>,
        ttl: Duration,
        pace: Duration,
    ) -> Self {
        let cached = Self(Arc::new(Shared {
            secret,
            name,
            advice,
            parse,
            ttl,
            pace,
            state: Mutex::new(State {
                document: None,
                read_at: None,
                tried_at: None,
            }),
        }));
        let early = cached.clone();
        tokio::spawn(async move { early.current(OffsetDateTime::now_utc()).await });
        cached
    }

    /// The document, read again once it is older than its time to live. The last good one while that fails.
    pub async fn current(&self, now: OffsetDateTime) -> Option<Arc<T>> {
        let mut state = self.0.state.lock().await;
        let fresh = state.read_at.is_some_and(|read| now - read < self.0.ttl);
        if !fresh {
            self.0.read(&mut state, now).await;
        }
        state.document.clone()
    }

    /// The document read just now, since the known one doesn't serve. `None` if it is too early for that, or fails.
    pub async fn newer(&self, now: OffsetDateTime) -> Option<Arc<T>> {
        let mut state = self.0.state.lock().await;
        let read = self.0.read(&mut state, now).await;
        read.then(|| state.document.clone()).flatten()
    }
}

impl<T> Shared<T> {
    /// Whether the document was read.
    async fn read(&self, state: &mut State<T>, now: OffsetDateTime) -> bool {
        // Without any document all is refused that needs it, so a missing one is looked for more often.
        let pace = match state.document {
            Some(_) => self.pace,
            None => self.pace.min(Duration::from_secs(1)),
        };
        if state.tried_at.is_some_and(|tried| now - tried < pace) {
            return false;
        }
        state.tried_at = Some(now);
        let text = match state.document {
            None => self.secret.read().await,
            // A good document is at hand, so a silent store may not use up the time that the work itself needs.
            Some(_) => tokio::time::timeout(BRIEFLY, self.secret.read())
                .await
                .unwrap_or_else(|_| Err(SecretError::Silent(self.secret.id().to_owned()))),
        };
        let name = self.name;
        match self.document(text) {
            Ok(document) => {
                info!("{name} read");
                state.document = Some(Arc::new(document));
                state.read_at = Some(now);
                true
            }
            Err(cause) => {
                let kept = state.document.is_some();
                error!(document.kept = kept, "no {name}: {cause}");
                false
            }
        }
    }

    fn document(&self, text: Result<String, SecretError>) -> Result<T, NoDocument> {
        let text = text.map_err(|error| match error {
            SecretError::Missing(_) => NoDocument::NoSecret(error, self.advice),
            SecretError::NoText(_) => NoDocument::NoText(error, self.advice),
            SecretError::Silent(_)
            | SecretError::Unreadable { .. }
            | SecretError::Unwritable { .. } => NoDocument::NotRead(error),
        })?;
        (self.parse)(&text).map_err(|cause| NoDocument::NotADocument {
            id: self.secret.id().to_owned(),
            name: self.name,
            cause,
            advice: self.advice,
        })
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Shows which secret it is and nothing of the document.
impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.secret.id();
        f.debug_tuple("Cached").field(&id).finish()
    }
}

const BRIEFLY: Duration = Duration::from_millis(500);

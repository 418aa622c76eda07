//! A simulator of Catena, written from the contract without the project's own code, so that both
//! sides of the wire are independent. Comments cite the contract's sections, as in "contract 6.5".
//!
//! So far it delivers webhooks: whole scenarios ([`Simulator::run`]), single events with faults
//! ([`Simulator::deliver`]), or hand-made requests ([`Simulator::send`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), simulator::Error> {
//! use simulator::{Config, Scenario, Simulator};
//!
//! let config = Config {
//!     listen: None,
//!     webhook_url: "http://127.0.0.1:9000/webhooks/catena".to_owned(),
//!     signing_key: "a-key-of-at-least-32-characters-or-so".to_owned(),
//! };
//! let catena = Simulator::start(config).await?;
//! let report = catena.run(&Scenario::onboarding(20).repeat(0.10).overtake(0.10).seed(7)).await;
//! assert_eq!(report.accepted, report.deliveries);
//! # Ok(())
//! # }
//! ```

pub mod events;

mod control;
mod delivery;
mod envelope;
mod faults;
mod fleet;
mod retry;
mod scenario;
mod webhooks;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use crate::webhooks::Webhooks;
pub use crate::{
    delivery::{Delivery, gzip, headers, sign},
    envelope::{Envelope, envelope, timestamp_text, webhook_id},
    faults::Faults,
    fleet::{Fleet, TOKEN_PREFIX},
    retry::RetryPolicy,
    scenario::{FleetSummary, Report, ResponseTimes, Scenario},
    webhooks::{Answer, Attempt, Outcome, Replay, Sent, Timestamps},
};

/// Where the simulator listens and what it sends to.
#[derive(Clone)]
pub struct Config {
    /// The control API's address; without one, a free port on this machine.
    pub listen: Option<SocketAddr>,
    /// The endpoint of every subscription. Plain HTTP: the simulator speaks no TLS.
    pub webhook_url: String,
    /// The signing key of every subscription, until [`Simulator::set_key`].
    pub signing_key: String,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listen,
            webhook_url,
            signing_key: _,
        } = self;
        f.debug_struct("Config")
            .field("listen", listen)
            .field("webhook_url", webhook_url)
            .finish_non_exhaustive()
    }
}

/// A running simulator. It stops listening when dropped.
pub struct Simulator {
    webhooks: Arc<Webhooks>,
    url: String,
    server: JoinHandle<io::Result<()>>,
}

impl Simulator {
    /// Starts the control API. Needs a Tokio runtime with IO and time.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let Config {
            listen,
            webhook_url,
            signing_key,
        } = config;
        let target = reqwest::Url::parse(&webhook_url)
            .ok()
            .filter(|url| url.scheme() == "http");
        let target = target.ok_or(Error::WebhookUrl(webhook_url))?;
        // Catena's answers to redirects are unknown (contract 6.4): a 3xx is taken as it is.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_title_case_headers()
            .build()?;
        let address = listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let in_use = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(in_use)?;
        let url = format!("http://{}", listener.local_addr().map_err(in_use)?);
        let webhooks = Arc::new(Webhooks::new(target, client, signing_key));
        let router = control::router(Arc::clone(&webhooks), &url);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            webhooks,
            url,
            server,
        })
    }

    /// The control API's base URL; `GET` on it explains the rest.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a whole scenario and waits for its end.
    pub async fn run(&self, scenario: &Scenario) -> Report {
        scenario::run(&self.webhooks, scenario).await
    }

    /// Delivers one event with all that Catena does about it: attempts, retries, dead letter. Two
    /// deliveries come back if the faults say `repeat`, else one.
    pub async fn deliver(&self, envelope: &Envelope, faults: Faults) -> Vec<Sent> {
        self.webhooks.deliver(envelope, faults).await
    }

    /// Sends one hand-made request: no retries, no dead letter, no entry in the log.
    pub async fn send(&self, delivery: Delivery) -> Attempt {
        self.webhooks.send(delivery).await
    }

    /// Changes the signing key from the next attempt on (contract 6.1: at once): of one
    /// subscription (see [`webhook_id`]), or of all, those with a key of their own included.
    pub fn set_key(&self, webhook_id: Option<Uuid>, key: &str) {
        self.webhooks.set_key(webhook_id, key.to_owned());
    }

    /// Changes time-out and retries from the next attempt on.
    pub fn set_retry(&self, retry: RetryPolicy) {
        self.webhooks.set_retry(retry);
    }

    /// The newest 100,000 deliveries, in the order in which they ended.
    pub fn deliveries(&self) -> Vec<Sent> {
        self.webhooks.log()
    }

    /// What waits for a replay, by subscription.
    pub fn dead_letters(&self) -> BTreeMap<Uuid, Vec<Envelope>> {
        self.webhooks.dead_letters()
    }

    /// Sends the dead letters again, their attempts counted from 1. What fails again is a dead
    /// letter again.
    pub async fn replay(&self, replay: Replay) -> Vec<Sent> {
        self.webhooks.replay(replay).await
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Why a simulator can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint can't be used.
    #[error("webhook URL `{0}`: give one that starts with http://")]
    WebhookUrl(String),
    /// The control API's address can't be used.
    #[error("listening on {address}: {source}; give another address or none")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The HTTP client can't be built.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

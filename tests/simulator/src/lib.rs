//! A simulator of Catena, written from the contract without the project's own code, so that both
//! sides of the wire are independent. Comments cite the contract's sections, as in "contract 6.5".
//!
//! It delivers webhooks: whole scenarios ([`Simulator::run`]), single events with faults
//! ([`Simulator::deliver`]), or hand-made requests ([`Simulator::send`]).
//!
//! At [`Simulator::url`] it is also Catena's token endpoint ([`TOKEN_PATH`]) and organisation API
//! (`/v2/orgs/...`): invitations, fleets, share agreements, TSPs and integration requests (contract 1 to 3), with faults
//! on demand ([`ApiFault`]). What happens there emits its events in the background ([`Simulator::idle`]). Fleets act by
//! methods such as [`Simulator::accept_invitation`], or go through all of onboarding by [`Scenario::invited`].
//! The same server answers for connections and their schedules (`/v2/integrations/connections...`, contract 5.1, 5.2).
//!
//! Writes (`/v2/telematics/...`, contract 5.3) become resource operations (contract 5.4), which can be read, and succeed soon
//! unless an [`OperationRule`] has other things happen to them. [`Simulator::writes`] tells what was written.
//!
//! So it does for webhook subscriptions (`/v2/notifications/...`, contract 6.1), with the circuit breaker of contract 6.6
//! ([`Simulator::set_breaker`]), metrics and logs. Until [`Simulator::clear_subscriptions`] there are standing subscriptions
//! besides, one per event name, to [`Config::webhook_url`].
//!
//! What happens at Catena by itself, with a webhook or without, happens by methods such as
//! [`Simulator::connection_becomes`]; [`Simulator::truth`] tells what holds there.
//!
//! Magic links lead to its Connect, plain HTML pages at `/connect`, for people, for a WebDriver, or for a [`Browser`]. What
//! the redirects at their end say ([`Simulator::set_redirects`]), and whether webhooks come before or after
//! ([`Simulator::hold_events`]), can be chosen.
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

mod announcer;
mod browser;
mod control;
mod delivery;
mod envelope;
mod faults;
mod fleet;
mod loss;
mod organisation;
mod retry;
mod scenario;
mod subscriptions;
mod webhooks;
mod wire;
mod world;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

pub use crate::{
    browser::{Browser, BrowserError},
    delivery::{Delivery, gzip, headers, sign},
    envelope::{Envelope, envelope, timestamp_text, webhook_id},
    faults::Faults,
    fleet::{Fleet, TOKEN_PREFIX},
    loss::Loss,
    organisation::{
        AgreementChange, AgreementStatus, AgreementTruth, Announce, ApiCall, ApiFault,
        ApiFaultKind, CLIENT_ID, CLIENT_SECRET, ConnectionStatus, ConnectionTruth, EarlyCall,
        FleetError, HiddenEndpoints, IntegrationRequestTruth, InvitationStatus, Level, Mixed,
        OperationRule, OperationStatus, OperationStep, RateLimit, RateReport, RedirectParameters,
        Refresh, ScheduleStatus, StepOutcome, StoredInvitation, TOKEN_PATH, Telling, Truth,
        WorldError, WriteTruth,
    },
    retry::RetryPolicy,
    scenario::{FleetSummary, Report, ResponseTimes, Scenario},
    subscriptions::{
        Breaker, BreakerRules, Counted, Filters, SubscriptionError, SubscriptionRules,
        SubscriptionStatus, SubscriptionTruth, WildcardDuplicate,
    },
    webhooks::{Answer, Attempt, Outcome, Replay, Sent, Timestamps},
};
use crate::{
    organisation::{Act, Organisation},
    webhooks::Webhooks,
    wire::{Lines, Wire},
};

/// Where the simulator listens and what it sends to.
#[derive(Clone)]
pub struct Config {
    /// The address of the control API and of Catena's own; without one, a free port on this machine.
    pub listen: Option<SocketAddr>,
    /// The endpoint of every standing subscription. Plain HTTP: the simulator speaks no TLS.
    pub webhook_url: String,
    /// The signing key of every standing subscription, until [`Simulator::set_key`].
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
    organisation: Arc<Organisation>,
    url: String,
    server: JoinHandle<io::Result<()>>,
    clock: JoinHandle<()>,
}

impl Simulator {
    /// Starts to listen. Needs a Tokio runtime with IO and time.
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
        let organisation = Arc::new(Organisation::new(Arc::clone(&webhooks), &url));
        let router = control::router(Arc::clone(&webhooks), Arc::clone(&organisation), &url)
            .merge(organisation::router(Arc::clone(&organisation)))
            .into_make_service_with_connect_info::<Wire>();
        let server = tokio::spawn(async move { axum::serve(Lines(listener), router).await });
        let clock = tokio::spawn(Arc::clone(&organisation).keep_time());
        Ok(Self {
            webhooks,
            organisation,
            url,
            server,
            clock,
        })
    }

    /// The base URL of the token endpoint, the organisation API and the control API; `GET` on it explains the rest.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a whole scenario and waits for its end.
    ///
    /// # Panics
    ///
    /// If a fleet of [`Scenario::invited`] has no active invitation; [`Simulator::try_run`] tells instead.
    pub async fn run(&self, scenario: &Scenario) -> Report {
        match self.try_run(scenario).await {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends a whole scenario and waits for its end.
    ///
    /// # Errors
    ///
    /// If a fleet of [`Scenario::invited`] has no active invitation, or is named twice; then nothing was changed or sent.
    pub async fn try_run(&self, scenario: &Scenario) -> Result<Report, FleetError> {
        scenario::run(&self.webhooks, &self.organisation, scenario).await
    }

    /// Delivers one event with all that Catena does about it: attempts, retries, dead letter. One
    /// delivery comes back per subscription that gets it, the standing one first, none if nobody
    /// does; two each if the faults say `repeat`.
    pub async fn deliver(&self, envelope: &Envelope, faults: Faults) -> Vec<Sent> {
        self.webhooks.deliver(envelope, faults).await
    }

    /// Sends one hand-made request: no retries, no dead letter, no entry in the log.
    pub async fn send(&self, delivery: Delivery) -> Attempt {
        self.webhooks.send(delivery).await
    }

    /// Changes the signing key from the next attempt on (contract 6.1: at once): of one
    /// subscription (see [`webhook_id`]), or of all, those with a key of their own and those that
    /// were made included.
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

    /// Which webhooks get lost, from now on; none unless told. Held events count when they are released.
    pub fn set_webhook_loss(&self, loss: Loss) {
        self.webhooks.set_loss(loss);
    }

    /// How many events were lost, by name.
    pub fn lost_webhooks(&self) -> BTreeMap<String, usize> {
        self.webhooks.lost()
    }

    /// The standing subscriptions are no more: from now on an event goes to those that were made through the API or by
    /// [`Simulator::create_subscription_elsewhere`], and to nobody if there are none. [`Simulator::deliver`] and
    /// [`Simulator::run`] put each matching subscription's id into the envelope; [`Simulator::send`] sends as ever.
    pub fn clear_subscriptions(&self) {
        self.webhooks.clear_standing();
    }

    /// All subscriptions that were made, deleted ones included, in the order of their creation. Standing ones aren't among
    /// them.
    pub fn subscriptions(&self) -> Vec<SubscriptionTruth> {
        self.webhooks.truths()
    }

    /// Those that were made are exactly these from now on, as [`Simulator::subscriptions`] told them once: without dead letters, logs
    /// and counts, and without an event. None of them: as if nothing had ever been made.
    ///
    /// # Errors
    ///
    /// If the URL of one isn't one.
    pub fn restore_subscriptions(
        &self,
        truths: &[SubscriptionTruth],
    ) -> Result<(), SubscriptionError> {
        self.webhooks.restore(truths)
    }

    /// A subscription that somebody else made, past the API: any event name, any URL, no check for duplicates, no event. Its
    /// secret is told nowhere but in [`Simulator::subscriptions`], as with those of a `callback_url` (contract 6.9).
    ///
    /// # Errors
    ///
    /// If the URL isn't one.
    pub fn create_subscription_elsewhere(
        &self,
        event_name: &str,
        url: &str,
        filters: Filters,
    ) -> Result<Uuid, SubscriptionError> {
        self.webhooks.create_elsewhere(event_name, url, filters)
    }

    /// As if the breaker had tripped; `webhook.staled` follows in the background.
    ///
    /// # Errors
    ///
    /// If there is no such subscription any more.
    pub fn make_subscription_stale(&self, id: Uuid) -> Result<(), SubscriptionError> {
        let stale = SubscriptionStatus::Stale;
        self.webhooks.become_status(id, stale)
    }

    /// Somebody else pauses it; `webhook.paused` follows in the background.
    ///
    /// # Errors
    ///
    /// If there is no such subscription any more.
    pub fn pause_subscription(&self, id: Uuid) -> Result<(), SubscriptionError> {
        let paused = SubscriptionStatus::Paused;
        self.webhooks.become_status(id, paused)
    }

    /// When subscriptions go stale, from the next delivery on.
    pub fn set_breaker(&self, rules: BreakerRules) {
        self.webhooks.subscriptions(|all| all.breaker = rules);
    }

    /// What the API does about subscriptions, from now on.
    pub fn set_subscription_rules(&self, rules: SubscriptionRules) {
        self.webhooks.subscriptions(|all| all.rules = rules);
    }

    /// Which times replays by the API are signed with, from now on.
    pub fn set_replay_timestamps(&self, timestamps: Timestamps) {
        self.webhooks.set_replay_timestamps(timestamps);
    }

    /// What subscriptions send to URLs that begin with `from` goes to the same with `to` in its place, so that a
    /// subscription can have an HTTPS URL, which the simulator can't speak:
    /// `set_route("https://hooks.example.com", "http://127.0.0.1:9000")`. Of several that fit, the last in alphabetical
    /// order counts.
    pub fn set_route(&self, from: &str, to: &str) {
        self.webhooks.set_route(from, to);
    }

    /// The event has another schema from now on, in a new version: an OpenAPI document. Also of events that don't exist.
    pub fn set_event_schema(&self, event_name: &str, schema: Value) {
        let now = OffsetDateTime::now_utc();
        self.webhooks
            .subscriptions(|all| all.schemas.set(event_name, schema, now));
    }

    /// What waits for a replay, by subscription.
    pub fn dead_letters(&self) -> BTreeMap<Uuid, Vec<Envelope>> {
        self.webhooks.dead_letters()
    }

    /// Sends the dead letters again, their attempts counted from 1. What fails again is a dead
    /// letter again. Those of subscriptions that aren't active stay.
    pub async fn replay(&self, replay: Replay) -> Vec<Sent> {
        self.webhooks.replay(replay).await
    }

    /// Waits until everything has happened that is to happen to resource operations, however late, and until
    /// every event that the organisation and its subscriptions emitted, and every replay by the API, is
    /// delivered or given up. Events of [`Simulator::run`] and
    /// [`Simulator::deliver`] have ended when these return. Events that are held ([`Simulator::hold_events`]) aren't waited
    /// for.
    pub async fn idle(&self) {
        self.webhooks.announcer.idle().await;
    }

    /// The newest invitation of a fleet that was invited through the API, or made up by a scenario.
    pub fn invitation(&self, fleet_ref: &str) -> Option<StoredInvitation> {
        self.organisation.invitation(fleet_ref)
    }

    /// The fleet opens the magic link.
    ///
    /// # Errors
    ///
    /// If the fleet has no active invitation.
    pub fn view_invitation(&self, fleet_ref: &str) -> Result<(), FleetError> {
        self.organisation.fleet_acts(fleet_ref, &Act::View)
    }

    /// The fleet accepts, and so there is a share agreement.
    ///
    /// # Errors
    ///
    /// If the fleet has no active invitation.
    pub fn accept_invitation(&self, fleet_ref: &str) -> Result<(), FleetError> {
        self.organisation.fleet_acts(fleet_ref, &Act::Accept)
    }

    /// The fleet declines.
    ///
    /// # Errors
    ///
    /// If the fleet has no active invitation.
    pub fn decline_invitation(
        &self,
        fleet_ref: &str,
        reason: Option<&str>,
    ) -> Result<(), FleetError> {
        let decline_reason = reason.map(str::to_owned);
        self.organisation
            .fleet_acts(fleet_ref, &Act::Decline { decline_reason })
    }

    /// The invitation's time is over now.
    ///
    /// # Errors
    ///
    /// If the fleet has no active invitation.
    pub fn expire_invitation(&self, fleet_ref: &str) -> Result<(), FleetError> {
        self.organisation.fleet_acts(fleet_ref, &Act::Expire)
    }

    /// Adds an integration request, or changes the one with the same `id`, by these fields of it (contract 3.6). What is
    /// left out of a new one comes from the invited fleet that `fleet_ref` names, one request per fleet if `id` is left
    /// out. Answers the whole record. Emits nothing.
    ///
    /// # Errors
    ///
    /// If there is neither an `id` nor the `fleet_ref` of an invited fleet.
    pub fn put_integration_request(
        &self,
        fields: serde_json::Map<String, Value>,
    ) -> Result<Value, FleetError> {
        self.organisation.put_integration_request(fields)
    }

    /// The newest 100,000 calls of the token endpoint and the API, in the order in which they arrived.
    pub fn api_calls(&self) -> Vec<ApiCall> {
        self.organisation.calls()
    }

    /// Forgets the calls, and how many there were at the same time.
    pub fn clear_api_calls(&self) {
        self.organisation.clear_calls();
    }

    /// How many calls were unanswered at the same time, at most.
    pub fn most_api_calls_in_flight(&self) -> usize {
        self.organisation.most_calls_in_flight()
    }

    /// Puts a fault at the end of the queue.
    pub fn add_api_fault(&self, fault: ApiFault) {
        self.organisation.add_fault(fault);
    }

    /// The faults that wait for calls.
    pub fn api_faults(&self) -> Vec<ApiFault> {
        self.organisation.faults()
    }

    /// Removes all faults.
    pub fn clear_api_faults(&self) {
        self.organisation.clear_faults();
    }

    /// How many calls are served, from now on; all unless told. Counting begins anew.
    pub fn set_rate_limit(&self, limit: Option<RateLimit>) {
        self.organisation.set_rate_limit(limit);
    }

    /// What came of the rate limit since it was set, and which calls didn't wait as they were told.
    pub fn rate_report(&self) -> RateReport {
        self.organisation.rate_report()
    }

    /// What comes of calls of hidden endpoints, from now on.
    pub fn set_hidden_endpoints(&self, hidden_endpoints: HiddenEndpoints) {
        self.organisation
            .change_settings(|settings| settings.hidden_endpoints = hidden_endpoints);
    }

    /// How long it takes until an integration request is listed after it was made; no time unless told.
    pub fn set_integration_request_lag(&self, lag: Duration) {
        self.organisation
            .change_settings(|settings| settings.request_lag = lag);
    }

    /// What becomes of writes that this rule fits, and no earlier one.
    pub fn add_operation_rule(&self, rule: OperationRule) {
        self.organisation.add_operation_rule(rule);
    }

    /// The rules that wait for writes.
    pub fn operation_rules(&self) -> Vec<OperationRule> {
        self.organisation.operation_rules()
    }

    /// Removes all rules: writes succeed. What is on its way stays so.
    pub fn clear_operation_rules(&self) {
        self.organisation.clear_operation_rules();
    }

    /// How long it takes until a resource operation is listed after it was created, from now on and for all; no time unless
    /// told.
    pub fn set_operation_list_lag(&self, lag: Duration) {
        self.organisation.set_operation_list_lag(lag);
    }

    /// The same until it is found by its id.
    pub fn set_operation_read_lag(&self, lag: Duration) {
        self.organisation.set_operation_read_lag(lag);
    }

    /// Every write that Catena processed, in order, and what holds of it now.
    pub fn writes(&self) -> Vec<WriteTruth> {
        self.organisation.writes()
    }

    /// Forgets all resource operations; what was to happen to them doesn't.
    pub fn clear_writes(&self) {
        self.organisation.clear_writes();
    }

    /// No token that was given out is valid any more.
    pub fn revoke_tokens(&self) {
        self.organisation.revoke_tokens();
    }

    /// Of tokens given out from now on; an hour unless told. `expires_in` has the whole seconds of it.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.organisation.set_token_lifetime(lifetime);
    }

    /// What tokens of the token endpoint allow from now on, as in `invitation:create`; everything unless told.
    pub fn set_token_permissions(&self, permissions: &[&str]) {
        let permissions = permissions.iter().map(|&name| name.to_owned()).collect();
        self.organisation.set_token_permissions(permissions);
    }

    /// A token with these permissions, past the token endpoint.
    pub fn issue_token(&self, permissions: &[&str]) -> String {
        let permissions = permissions.iter().map(|&name| name.to_owned()).collect();
        self.organisation.issue_token(permissions)
    }

    /// Whether changes at the organisation emit their events: yes, unless told.
    pub fn set_events(&self, emit: bool) {
        self.webhooks.announcer.set_emits(emit);
    }

    /// What a repeated request for an invitation does, from now on.
    pub fn set_refresh(&self, refresh: Refresh) {
        self.organisation
            .change_settings(|settings| settings.refresh = refresh);
    }

    /// What every magic link begins with from now on, up to the `?`: those of the API and those of the events, of old
    /// invitations, too. The simulator's own Connect, at `/connect` of [`Simulator::url`], unless told. Nothing checks it.
    pub fn set_connect_url(&self, connect_url: Option<&str>) {
        self.organisation.set_connect_url(connect_url);
    }

    /// What Connect's redirects say, from now on.
    pub fn set_redirects(&self, redirects: RedirectParameters) {
        self.organisation
            .change_settings(|settings| settings.redirects = redirects);
    }

    /// Which status wins if a fleet connects one provider and requests another, from now on.
    pub fn set_mixed(&self, mixed: Mixed) {
        self.organisation
            .change_settings(|settings| settings.mixed = mixed);
    }

    /// Keeps the events of the organisation's changes back from now on, so that a redirect comes before its webhooks.
    /// Events of [`Simulator::run`] and [`Simulator::deliver`] aren't held.
    pub fn hold_events(&self) {
        self.webhooks.announcer.hold();
    }

    /// Sends what was held, in the order in which it happened, and holds no more. [`Simulator::idle`] waits for it from
    /// then on.
    pub fn release_events(&self) {
        self.webhooks.release();
    }

    /// What a new invitation asks for that omits its permissions, from now on: on every resource.
    pub fn set_default_permissions(&self, level: Level) {
        self.organisation
            .change_settings(|settings| settings.default_permissions = level);
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
        self.clock.abort();
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

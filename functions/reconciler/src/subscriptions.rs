//! Webhook subscriptions: those that stopped are brought back, and what only a person can judge is told.

use std::collections::BTreeMap;

use catena::Subscription;
use catena_client::CatenaError;
use fleet::Timestamp;
use reconciliation::Comparison;
use startup::describe;
use store::{COMMIT_ATTEMPTS, Shared, StoreError, SubscriptionsText, timestamp};
use subscriptions::{Finding, Ledger, Watch};
use tracing::{error, info, warn};

use crate::{
    Reconciler,
    ask::{TIME_FOR_ALL, is_lasting},
    reconciler::{Clock, Undone},
};

impl Reconciler {
    /// Whether subscriptions are to be looked at now; then it is this caller's to ask for.
    pub(crate) async fn subscriptions_are_due(
        &self,
        shared: &Shared,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let paused = shared.not_before.is_some_and(|at| now < at);
        if paused || shared.subscriptions_at.is_some_and(|at| now < at) {
            return Ok(false);
        }
        let next = now.plus(self.settings.policy.wait(LOOK_EVERY_MS));
        self.table.take_subscriptions_look(shared, next).await
    }

    /// Looks at the subscriptions that `kingpin` wrote down: activates those that Catena's circuit breaker stopped, and has what they
    /// missed replayed. What there is no time for is looked at again soon.
    pub(crate) async fn look_at_subscriptions(
        &self,
        now: Clock,
        deadline: tokio::time::Instant,
    ) -> Result<(), Undone> {
        let read = |which| self.table.subscriptions_text(which);
        let before = read(SubscriptionsText::Watch).await?;
        let mut watch = Watch::read(before.as_deref());
        if read(SubscriptionsText::Ledger).await?.is_none() {
            // Nobody set it up yet.
            return Ok(());
        }
        let listed = self.catena.within(TIME_FOR_ALL).subscriptions(None);
        let listed = match listed.collect(MOST).await {
            Ok(listed) => listed.value.items,
            Err(failure) => {
                self.subscriptions_failed(&failure, &watch, now).await;
                return Ok(());
            }
        };
        // After the list, or one that is being made would pass for a stranger's.
        let ledger = match Ledger::read(read(SubscriptionsText::Ledger).await?.as_deref()) {
            Ok(ledger) => ledger,
            Err(unreadable) => {
                error!(outcome = "subscriptions-unreadable", cause = %unreadable, "subscriptions aren't looked at");
                return Ok(());
            }
        };
        let has_time =
            || deadline.saturating_duration_since(tokio::time::Instant::now()) > TIME_FOR_ALL;
        let dead_letters = self
            .dead_letters(&watch, &ledger, &listed, has_time, now)
            .await;
        let policy = &self.settings.policy;
        let at = timestamp(now());
        let found = watch.examine(&ledger, &listed, &dead_letters, policy, at);
        let recovered = |finding: &Finding| matches!(finding, Finding::Recovered { .. });
        if found.iter().any(recovered) && watch.is_well() {
            // Before that is remembered: to compare once too often does no harm.
            self.compare_anew(now).await?;
        }
        // Before cures, so that what is cut off isn't tried without end.
        let mut text = watch.text();
        let which = SubscriptionsText::Watch;
        if !self
            .table
            .replace_subscriptions_text(which, before.as_deref(), &text)
            .await?
        {
            // Somebody else looks.
            return Ok(());
        }
        let (cures, others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|it| matches!(it, Finding::Cure { .. }));
        for finding in &others {
            log(finding, None);
        }
        if cures.is_empty() {
            return Ok(());
        }
        let mut left_alone = false;
        for finding in &cures {
            let Finding::Cure { id, stale, .. } = finding else {
                continue;
            };
            if left_alone || !has_time() {
                watch.give_back(id);
                continue;
            }
            let failure = self.cure(id, *stale).await.err();
            log(finding, failure.as_ref());
            if let Some(CatenaError::RateLimited { retry_after }) = failure {
                left_alone = true;
                watch.give_back(id);
                self.pause(retry_after, timestamp(now())).await;
            }
        }
        if watch.text() != text {
            let before = std::mem::replace(&mut text, watch.text());
            self.table
                .replace_subscriptions_text(which, Some(&before), &text)
                .await?;
        }
        let soon = timestamp(now()).plus(policy.wait(LOOK_AFTER_CURE_MS));
        let shared = self.table.shared().await?;
        self.table.take_subscriptions_look(&shared, soon).await?;
        Ok(())
    }

    /// How many dead letters there are of each subscription whose are to be counted. Those that can't be counted now are left out, and
    /// are to be counted at the next look.
    async fn dead_letters(
        &self,
        watch: &Watch,
        ledger: &Ledger,
        listed: &[Subscription],
        has_time: impl Fn() -> bool,
        now: Clock,
    ) -> BTreeMap<String, u64> {
        let policy = &self.settings.policy;
        let mut counts = BTreeMap::new();
        for id in watch.to_count(ledger, listed, policy, timestamp(now())) {
            if !has_time() {
                break;
            }
            let calls = self.catena.within(TIME_FOR_ALL);
            match calls.subscription_metrics(id).await {
                Ok(metrics) => {
                    let count = metrics.value.dlq_count;
                    counts.extend(count.map(|count| (id.to_owned(), count)));
                }
                Err(failure) => {
                    self.subscriptions_failed(&failure, watch, now).await;
                    let of_this_one =
                        is_lasting(&failure) || matches!(failure, CatenaError::Unavailable { .. });
                    if !of_this_one {
                        break;
                    }
                }
            }
        }
        counts
    }

    /// Activates a subscription if it stopped, and has its dead letters replayed. What happened while it stood still may be among them or
    /// not (contract 7, 13): the comparison after its recovery finds out.
    async fn cure(&self, id: &str, stale: bool) -> Result<(), CatenaError> {
        let calls = self.catena.within(TIME_FOR_ALL);
        if stale {
            calls.activate_subscription(id).await?;
        }
        calls.replay_subscription(id).await?;
        Ok(())
    }

    /// Has all lists compared from the next sweep on, from the first one: what was lost meanwhile is healed.
    async fn compare_anew(&self, now: Clock) -> Result<(), StoreError> {
        for _ in 0..COMMIT_ATTEMPTS {
            let shared = self.table.shared().await?;
            let anew = Comparison::new(timestamp(now())).text();
            // Whoever is at it writes after each page, and ends once this one has begun.
            if self.table.compare(&shared, &anew, None).await? {
                break;
            }
        }
        Ok(())
    }

    async fn subscriptions_failed(&self, failure: &CatenaError, watch: &Watch, now: Clock) {
        let blind = self.settings.policy.wait(BLIND_AFTER_MS);
        let blind = watch
            .seen_at
            .is_some_and(|at| at.plus(blind) < timestamp(now()));
        match failure {
            CatenaError::RateLimited { retry_after } => {
                self.pause(*retry_after, timestamp(now())).await;
            }
            CatenaError::Unauthorised { .. }
            | CatenaError::Credentials(_)
            | CatenaError::Forbidden(_) => {
                error!(
                    outcome = "refused-by-catena",
                    cause = describe(failure),
                    "webhook subscriptions can't be looked at"
                );
            }
            failure if blind => error!(
                outcome = "subscriptions-failed",
                cause = describe(failure),
                "webhook subscriptions couldn't be looked at for hours"
            ),
            failure => warn!(
                outcome = "subscriptions-failed",
                cause = describe(failure),
                "webhook subscriptions can't be looked at now"
            ),
        }
    }

    /// Tells a person that webhooks don't arrive, if a comparison found what they should have told and no subscription explains that.
    pub(crate) async fn tell_silence(&self, unheard: u64, now: Timestamp) {
        if unheard < SILENCE {
            return;
        }
        let watch = self
            .table
            .subscriptions_text(SubscriptionsText::Watch)
            .await;
        let watch = Watch::read(watch.ok().flatten().as_deref());
        if watch.ailing_since().is_some_and(|since| since <= now) {
            return;
        }
        error!(
            outcome = "webhooks-silent",
            fleets = unheard,
            "of {unheard} fleets an invitation or a share agreement had changed at Catena and no webhook told: see `kingpin subscription status`"
        );
    }
}

fn log(finding: &Finding, failure: Option<&CatenaError>) {
    let cause = failure.map(|it| describe(it));
    match finding {
        Finding::Cure {
            id,
            event_name,
            stale,
            before,
        } => {
            let (outcome, what) = match (failure, stale) {
                (Some(_), _) => ("subscription-cure-failed", "couldn't be brought back"),
                (None, true) => (
                    "subscription-activated",
                    "had stopped: activated and replayed",
                ),
                (None, false) => ("subscription-replayed", "held dead letters: replayed"),
            };
            if *before < OFTEN {
                warn!(
                    outcome,
                    webhook.id = id,
                    event.name = event_name,
                    before,
                    cause,
                    "subscription of {event_name} {what}"
                );
            } else {
                error!(
                    outcome,
                    webhook.id = id,
                    event.name = event_name,
                    before,
                    cause,
                    "subscription of {event_name} {what}, for the {}th time",
                    before + 1
                );
            }
        }
        Finding::GivenUp {
            id,
            event_name,
            since,
        } => error!(
            outcome = "subscription-given-up",
            webhook.id = id,
            event.name = event_name,
            since = since.0,
            "subscription of {event_name} stops again and again: see to why its deliveries fail, then `kingpin subscription apply` and `kingpin subscription replay`"
        ),
        Finding::Paused {
            id,
            event_name,
            status,
        } => error!(
            outcome = "subscription-paused",
            webhook.id = id,
            event.name = event_name,
            "the subscription of {event_name} is {status}, and not by Catena's circuit breaker: `kingpin subscription apply` activates it"
        ),
        Finding::Gone { id, event_name } => error!(
            outcome = "subscription-gone",
            webhook.id = id,
            event.name = event_name,
            "the subscription of {event_name} is gone at Catena: `kingpin subscription apply` makes it again"
        ),
        Finding::Unknown {
            id,
            event_name,
            beside_ours: true,
        } => warn!(
            outcome = "subscription-beside-ours",
            webhook.id = id,
            event.name = event_name,
            "another subscription of {event_name} delivers here, too: `kingpin subscription plan` tells what to do"
        ),
        Finding::Unknown { id, event_name, .. } => error!(
            outcome = "subscription-unknown",
            webhook.id = id,
            event.name = event_name,
            "a subscription of {event_name} delivers here and isn't ours: `kingpin subscription plan` tells what to do"
        ),
        Finding::Recovered {
            id,
            event_name,
            since,
        } => info!(
            outcome = "subscription-recovered",
            webhook.id = id,
            event.name = event_name,
            since = since.0,
            "subscription of {event_name} delivers again"
        ),
    }
}

/// At the usual pace; a hint (`webhook.*`) makes it sooner.
const LOOK_EVERY_MS: i64 = 5 * 60 * 1000;
/// Whether a cure helped.
const LOOK_AFTER_CURE_MS: i64 = 60 * 1000;
/// For so long a failure to look is Catena's trouble alone.
const BLIND_AFTER_MS: i64 = 6 * 60 * 60 * 1000;
/// Subscriptions; there are some thirty.
const MOST: usize = 10_000;
/// Cures before a person should know.
const OFTEN: u32 = 2;
/// Fleets of which a comparison, and no webhook, told what Catena always announces: so many are no coincidence.
const SILENCE: u64 = 3;

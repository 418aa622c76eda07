//! How the simulator behaves.

use std::{collections::BTreeSet, time::Duration};

use axum::{body::Bytes, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{Shared, Unusable, given, read};
use crate::{
    loss::Loss,
    organisation::{HiddenEndpoints, Level, Mixed, RateLimit, RedirectParameters, Refresh},
    subscriptions::{BreakerRules, SubscriptionRules},
    webhooks::Timestamps,
};

pub(super) async fn change(State(control): Shared, body: Bytes) -> Result<StatusCode, Unusable> {
    let NewSettings {
        events,
        refresh,
        default_permissions,
        token_lifetime,
        token_permissions,
        connect_url,
        redirects,
        mixed,
        integration_request_lag,
        operation_list_lag,
        operation_read_lag,
        hidden_endpoints,
        rate_limit,
        webhook_loss,
        replay_timestamps,
        breaker,
        subscriptions,
    } = read(&body)?;
    let lifetime = duration("token_lifetime", token_lifetime)?;
    let lag = duration("integration_request_lag", integration_request_lag)?;
    let list_lag = duration("operation_list_lag", operation_list_lag)?;
    let read_lag = duration("operation_read_lag", operation_read_lag)?;
    let organisation = &control.organisation;
    organisation.change_settings(|settings| {
        settings.refresh = refresh.unwrap_or(settings.refresh);
        settings.default_permissions = default_permissions.unwrap_or(settings.default_permissions);
        settings.redirects = redirects.unwrap_or(settings.redirects);
        settings.mixed = mixed.unwrap_or(settings.mixed);
        settings.request_lag = lag.unwrap_or(settings.request_lag);
        settings.hidden_endpoints = hidden_endpoints.unwrap_or(settings.hidden_endpoints);
    });
    let webhooks = &control.webhooks;
    if let Some(emits) = events {
        webhooks.announcer.set_emits(emits);
    }
    if let Some(lifetime) = lifetime {
        organisation.set_token_lifetime(lifetime);
    }
    if let Some(lag) = list_lag {
        organisation.set_operation_list_lag(lag);
    }
    if let Some(lag) = read_lag {
        organisation.set_operation_read_lag(lag);
    }
    if let Some(permissions) = token_permissions {
        organisation.set_token_permissions(permissions);
    }
    if let Some(connect_url) = connect_url {
        organisation.set_connect_url(connect_url.as_deref());
    }
    if let Some(limit) = rate_limit {
        organisation.set_rate_limit(limit);
    }
    if let Some(loss) = webhook_loss {
        webhooks.set_loss(loss);
    }
    if let Some(timestamps) = replay_timestamps {
        webhooks.set_replay_timestamps(timestamps);
    }
    webhooks.subscriptions(|all| {
        all.breaker = breaker.unwrap_or(all.breaker);
        if let Some(rules) = subscriptions {
            all.rules = rules;
        }
    });
    Ok(StatusCode::NO_CONTENT)
}

fn duration(name: &str, seconds: Option<f64>) -> Result<Option<Duration>, Unusable> {
    let duration = seconds.map(Duration::try_from_secs_f64).transpose();
    duration.map_err(|error| Unusable(format!("{name}: {error}")))
}

/// What is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSettings {
    events: Option<bool>,
    refresh: Option<Refresh>,
    default_permissions: Option<Level>,
    /// Seconds.
    token_lifetime: Option<f64>,
    token_permissions: Option<BTreeSet<String>>,
    /// Null: the simulator's own again.
    #[serde(default, deserialize_with = "given")]
    connect_url: Option<Option<String>>,
    redirects: Option<RedirectParameters>,
    mixed: Option<Mixed>,
    /// Seconds.
    integration_request_lag: Option<f64>,
    /// Seconds.
    operation_list_lag: Option<f64>,
    /// Seconds.
    operation_read_lag: Option<f64>,
    hidden_endpoints: Option<HiddenEndpoints>,
    /// Null: none any more.
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Option<RateLimit>>,
    webhook_loss: Option<Loss>,
    replay_timestamps: Option<Timestamps>,
    /// As a whole: what it leaves out is as at the start.
    breaker: Option<BreakerRules>,
    /// As a whole: what it leaves out is as at the start.
    subscriptions: Option<SubscriptionRules>,
}

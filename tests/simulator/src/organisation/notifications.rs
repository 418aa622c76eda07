//! The notification API (contract 6.1): what each endpoint does about subscriptions.
//!
//! A deleted subscription is unknown to every endpoint, and no list has it.

use axum::http::StatusCode;
use reqwest::Url;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    errors::{Refusal, Reply},
    operations::Call,
    request::{self, Reader},
    state::State,
};
use crate::{
    envelope::Envelope,
    fleet::PARTNER,
    subscriptions::{
        Duplicate, Filters, NewSubscription, SubscriptionChange, SubscriptionRules,
        SubscriptionStatus, Wanted, WildcardDuplicate, expand, is_known,
    },
    webhooks::Webhooks,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notification {
    Create,
    List,
    Get,
    Update,
    Delete,
    Activate,
    Pause,
    Replay,
    Metrics,
    Logs,
    Schema,
    SchemaVersion,
}

/// What an invitation's `callback_url` asks for: subscriptions for its lifecycle, of its fleet alone, with secrets that
/// nobody is told (contract 6.9).
pub(super) struct Callback {
    pub(super) url: String,
    pub(super) fleet_ref: String,
}

impl Callback {
    /// Which events belong to the lifecycle isn't documented: here those of the nominal sequence (contract 6.10). Whether
    /// `webhook.created` tells of these subscriptions is unknown: here it doesn't.
    pub(super) fn subscribe(&self, webhooks: &Webhooks) {
        let lifecycle = [
            "invitation.*",
            "share_agreement.*",
            "connection.*",
            "fleet_connection.*",
        ];
        for event_name in lifecycle.into_iter().filter_map(expand).flatten() {
            let filters = Filters::of_fleet(&self.fleet_ref);
            // The URL was checked with the invitation.
            let _ = webhooks.create_elsewhere(&event_name, &self.url, filters);
        }
    }
}

impl Call<'_> {
    pub(super) fn notify(
        &self,
        notification: Notification,
        state: &mut State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        match notification {
            Notification::Create => self.create_subscriptions(state, now),
            Notification::List => self.subscriptions(),
            Notification::Get => {
                let id = self.subscription()?;
                self.webhooks.subscriptions(|all| {
                    let found = all.get(id).ok_or(Refusal::NotFound)?;
                    Ok(Reply::ok(&found.read()))
                })
            }
            Notification::Update => self.update_subscription(state, now),
            Notification::Delete => {
                let id = self.subscription()?;
                self.become_subscription_status(SubscriptionStatus::Deleted, state, now)?;
                self.webhooks.drop_dead_letters(id);
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            Notification::Activate => {
                self.become_subscription_status(SubscriptionStatus::Active, state, now)
            }
            Notification::Pause => {
                self.become_subscription_status(SubscriptionStatus::Paused, state, now)
            }
            Notification::Replay => self.replay(),
            Notification::Metrics => {
                let id = self.subscription()?;
                let dead_letters = self.webhooks.waiting(id);
                self.webhooks.subscriptions(|all| {
                    let found = all.get(id).ok_or(Refusal::NotFound)?;
                    Ok(Reply::ok(&found.metrics(dead_letters, now)))
                })
            }
            Notification::Logs => self.logs(now),
            Notification::Schema => self.schema(None),
            Notification::SchemaVersion => self.schema(self.ids.get(1).copied()),
        }
    }

    /// One subscription, or an array of them for a catch-all. Without a secret each gets its own: whether those of a
    /// catch-all share one at Catena is unknown.
    fn create_subscriptions(
        &self,
        state: &mut State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let rules = self.webhooks.subscriptions(|all| all.rules.clone());
        let Asked {
            event_names,
            url,
            filters,
            secret,
        } = Asked::read(self, &rules)?;
        let (is_catch_all, event_names) = match event_names {
            EventNames::One(name) => (false, vec![name]),
            EventNames::CatchAll(names) => (true, names),
        };
        let created = self.webhooks.subscriptions(|all| {
            let count = event_names.len();
            let missing = event_names.into_iter();
            let missing: Vec<_> = missing.filter(|it| !all.has(it, &url, &filters)).collect();
            let some_are_enough = rules.wildcard_duplicate == WildcardDuplicate::CreateMissing;
            if missing.is_empty() || (missing.len() < count && !some_are_enough) {
                return Err(exists());
            }
            let create = |event_name| {
                let new = NewSubscription {
                    event_name,
                    url: url.clone(),
                    filters: filters.clone(),
                    secret: secret.clone(),
                };
                let created = all.add(new, now);
                let event = created.event("webhook.created", now);
                (created.read_with_secret(PARTNER), event)
            };
            Ok(missing.into_iter().map(create).collect::<Vec<_>>())
        })?;
        let (reads, events): (Vec<_>, Vec<_>) = created.into_iter().unzip();
        state.outbox.extend(events);
        match &reads[..] {
            [read] if !is_catch_all => Ok(Reply::ok(read)),
            reads => Ok(Reply::ok(&reads)),
        }
    }

    fn subscriptions(&self) -> Result<Reply, Refusal> {
        let event_name = self.query.one("event_name");
        let status = self.query.one("status");
        let known = ["active", "paused", "stale", "deleted"];
        if let Some(status) = status.filter(|status| !known.contains(status)) {
            let message = "Input should be 'active', 'paused', 'stale' or 'deleted'";
            return Err(Refusal::invalid("query.status", status, message, "enum"));
        }
        self.bare_page(|| {
            self.webhooks.subscriptions(|all| {
                all.undeleted()
                    .filter(|(_, it)| event_name.is_none_or(|wanted| it.event_name == wanted))
                    .filter(|(_, it)| status.is_none_or(|wanted| it.status.name() == wanted))
                    .map(|(place, it)| (place, it.read()))
                    .collect()
            })
        })
    }

    /// Null URLs and secrets change nothing, null filters take filters away: the contract says of all only that they may be
    /// null.
    fn update_subscription(
        &self,
        state: &mut State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let id = self.subscription()?;
        let rules = self.webhooks.subscriptions(|all| {
            let known = all.get(id).map(|_| all.rules.clone());
            known.ok_or(Refusal::NotFound)
        })?;
        let fields = request::object(self.content_type, self.body)?;
        let mut reader = Reader::new(&fields);
        let change = SubscriptionChange {
            url: url(&mut reader, &rules),
            filters: fields.get("filters").map(|_| filters(&mut reader)),
            secret: reader.text("secret", long_enough),
        };
        let change = reader.finish(change)?;
        self.webhooks.subscriptions(|all| {
            let changed = all.change(id, change, now).map_err(|Duplicate| exists())?;
            let changed = changed.ok_or(Refusal::NotFound)?;
            state.outbox.push(changed.event("webhook.updated", now));
            Ok(Reply::ok(&changed.read()))
        })
    }

    /// To a status that it has already, nothing changes and nothing is emitted.
    fn become_subscription_status(
        &self,
        status: SubscriptionStatus,
        state: &mut State,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let id = self.subscription()?;
        self.webhooks.subscriptions(|all| {
            let changed = all.become_status(id, status, now);
            let (found, event): (_, Option<Envelope>) = changed.ok_or(Refusal::NotFound)?;
            state.outbox.extend(event);
            Ok(Reply::ok(&found.read()))
        })
    }

    /// While the subscription isn't active nothing is sent, and everything stays among the dead letters.
    fn replay(&self) -> Result<Reply, Refusal> {
        let id = self.subscription()?;
        self.webhooks
            .subscriptions(|all| all.get(id).map(|_| ()).ok_or(Refusal::NotFound))?;
        self.webhooks.replay_in_background(id);
        Ok(Reply::empty(StatusCode::ACCEPTED))
    }

    fn logs(&self, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let id = self.subscription()?;
        let success = match self.query.one("status") {
            None => None,
            Some("success") => Some(true),
            Some("failed") => Some(false),
            Some(other) => {
                let message = "Input should be 'success' or 'failed'";
                return Err(Refusal::invalid("query.status", other, message, "enum"));
            }
        };
        let wanted = Wanted {
            from: self.query_time("start_date")?,
            to: self.query_time("end_date")?,
            success,
        };
        let log = self.webhooks.subscriptions(|all| {
            let found = all.get(id).ok_or(Refusal::NotFound)?;
            Ok(found.log(wanted, now))
        })?;
        self.bare_page(|| log)
    }

    fn schema(&self, version: Option<&str>) -> Result<Reply, Refusal> {
        let event_name = self.ids.first().copied().unwrap_or_default();
        let found = self.webhooks.subscriptions(|all| match version {
            None => all.schemas.newest(event_name),
            Some(version) => all.schemas.version(event_name, version),
        });
        Ok(Reply::ok(&found.ok_or(Refusal::NotFound)?))
    }

    fn subscription(&self) -> Result<Uuid, Refusal> {
        self.uuid("webhook_id")
    }

    pub(super) fn query_time(&self, name: &str) -> Result<Option<OffsetDateTime>, Refusal> {
        let Some(text) = self.query.one(name) else {
            return Ok(None);
        };
        let refuse = |_| {
            let path = format!("query.{name}");
            Refusal::invalid(
                &path,
                text,
                "Input should be a valid datetime",
                "datetime_parsing",
            )
        };
        OffsetDateTime::parse(text, &Rfc3339)
            .map(Some)
            .map_err(refuse)
    }
}

/// `WebhookCreate`, with every rule kept.
struct Asked {
    event_names: EventNames,
    url: Url,
    filters: Filters,
    secret: Option<String>,
}

enum EventNames {
    One(String),
    CatchAll(Vec<String>),
}

impl Asked {
    fn read(call: &Call<'_>, rules: &SubscriptionRules) -> Result<Self, Refusal> {
        let fields = request::object(call.content_type, call.body)?;
        let mut reader = Reader::new(&fields);
        let event_name = reader.required("event_name");
        if fields.get("url").is_none_or(Value::is_null) {
            reader.required("url");
        }
        let url = url(&mut reader, rules);
        let event_names = event_names(event_name, rules);
        if event_names.is_none() {
            let input = fields.get("event_name").unwrap_or(&Value::Null);
            if input.is_string() {
                let message = "Input should be an event name or a catch-all";
                reader.complain("event_name", input, message, "enum");
            }
        }
        let filters = filters(&mut reader);
        let secret = reader.text("secret", long_enough);
        match (event_names, url) {
            (Some(event_names), Some(url)) => reader.finish(Self {
                event_names,
                url,
                filters,
                secret,
            }),
            _ => Err(reader.refusal()),
        }
    }
}

fn event_names(event_name: String, rules: &SubscriptionRules) -> Option<EventNames> {
    let allowed = |name: &String| !rules.refused_events.contains(name);
    if is_known(&event_name) {
        return Some(event_name).filter(allowed).map(EventNames::One);
    }
    let names: Vec<_> = expand(&event_name)?.into_iter().filter(allowed).collect();
    (!names.is_empty()).then_some(EventNames::CatchAll(names))
}

fn url(reader: &mut Reader<'_>, rules: &SubscriptionRules) -> Option<Url> {
    let rule = match rules.https_only {
        true => request::https,
        false => request::uri,
    };
    Url::parse(&reader.text("url", rule)?).ok()
}

fn filters(reader: &mut Reader<'_>) -> Filters {
    let fields = match reader.given("filters") {
        None => return Filters::default(),
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            let message = "Input should be a valid dictionary or object to extract fields from";
            reader.complain("filters", &other, message, "model_attributes_type");
            return Filters::default();
        }
    };
    let mut texts = |name: &str| {
        let list = fields.get(name).filter(|list| !list.is_null());
        let texts = list.map(|list| serde_json::from_value::<Vec<String>>(list.clone()));
        match (texts, list) {
            (Some(Err(_)), Some(list)) => {
                let message = "Input should be a valid list of strings";
                reader.complain(&format!("filters.{name}"), list, message, "list_type");
                Vec::new()
            }
            (texts, _) => texts.and_then(Result::ok).unwrap_or_default(),
        }
    };
    let (fleet_ids, fleet_refs) = (texts("fleet_ids"), texts("fleet_refs"));
    let mut id = |(place, text): (usize, String)| {
        let id = Uuid::try_parse(&text).ok();
        if id.is_none() {
            let path = format!("filters.fleet_ids.{place}");
            let message = "Input should be a valid UUID";
            reader.complain(&path, &text.into(), message, "uuid_parsing");
        }
        id
    };
    let fleet_ids = fleet_ids.into_iter().enumerate();
    Filters {
        fleet_ids: fleet_ids.filter_map(&mut id).collect(),
        fleet_refs,
    }
}

/// For an update as the specification has it, for a creation as the guide has it (contract 7, row 14).
fn long_enough(secret: &str) -> Result<(), (&'static str, &'static str)> {
    let fits = secret.chars().count() >= SHORTEST_SECRET;
    let message = "String should have at least 12 characters";
    fits.then_some(()).ok_or((message, "string_too_short"))
}

fn exists() -> Refusal {
    Refusal::Conflict("A webhook with this event, url and filters already exists".to_owned())
}

const SHORTEST_SECRET: usize = 12;

//! Invitations (contract 3.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Settings,
    notifications::Callback,
    request::{Request, TEXTS},
};
use crate::{
    envelope::{Envelope, microsecond_text as text, uuid_v4, uuid_v7},
    events,
    fleet::{Fleet, TOKEN_PREFIX},
};

/// What a repeated request for an active, accepted or declined invitation does besides extending it: unknown of Catena
/// (contract 7, row 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refresh {
    /// What the request gives replaces what the invitation has, permissions and URLs included; what it omits stays.
    pub applies_changes: bool,
    /// `invitation.created` is emitted again.
    pub emits_created: bool,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            applies_changes: true,
            emits_created: true,
        }
    }
}

/// How much of a resource is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As the specification has it (contract 3.1).
    #[default]
    Read,
    /// As was once observed (contract 7, row 4).
    ReadWrite,
}

impl Level {
    /// This level on every resource: what an invitation gets that omits its permissions.
    fn on_everything(self) -> BTreeMap<String, String> {
        let level = match self {
            Self::Read => "read",
            Self::ReadWrite => "read_write",
        };
        RESOURCES
            .iter()
            .map(|&resource| (resource.to_owned(), level.to_owned()))
            .collect()
    }
}

/// An invitation's status (contract 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The fleet can answer it.
    Active,
    /// The fleet accepted.
    Accepted,
    /// The fleet declined.
    Declined,
    /// Nobody accepted in time.
    Expired,
    /// The partner deleted it.
    Deleted,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }

    /// Whether a request for the same fleet refreshes it instead of making a new one.
    pub(super) fn can_be_refreshed(self) -> bool {
        matches!(self, Self::Active | Self::Accepted | Self::Declined)
    }
}

pub(super) struct Invitation {
    pub(super) fleet: Fleet,
    pub(super) status: Status,
    pub(super) permissions: BTreeMap<String, String>,
    pub(super) accepted_at: Option<OffsetDateTime>,
    request: Request,
    expires_in_hours: u16,
    pub(super) expires_at: OffsetDateTime,
    tokens: Option<(String, String)>,
    declined: Option<(OffsetDateTime, Option<String>)>,
    /// The fleet, once for each connection that it ever made, with that connection's identifiers.
    pub(super) connections: Vec<Fleet>,
    pub(super) session: Session,
    /// What the fleet has become known by since, and when.
    regulatory: Option<(Regulatory, OffsetDateTime)>,
    latest: OffsetDateTime,
}

/// By what number an authority knows the fleet.
#[derive(Clone, Debug, Default)]
pub(super) struct Regulatory {
    pub(super) id: Option<String>,
    pub(super) kind: Option<String>,
}

/// What the fleet has done in Connect since it opened the link: where it is sent in the end follows from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) connected: bool,
    /// The latest integration request.
    pub(super) requested: Option<String>,
}

impl Session {
    pub(super) fn is_empty(&self) -> bool {
        !self.connected && self.requested.is_none()
    }
}

impl Invitation {
    pub(super) fn new(request: Request, settings: &Settings, now: OffsetDateTime) -> Self {
        let mut fleet = Fleet::new(&request.fleet_ref, now);
        fleet.connect_url.clone_from(&settings.connect_url);
        // Fleets without a name get this one (contract 3.2).
        fleet.name = match request.text("fleet_name") {
            Some(name) => name.to_owned(),
            None => format!("Fleet {}", fleet.invitation_id),
        };
        let expires_in_hours = request.expires_in_hours.unwrap_or(DEFAULT_HOURS);
        Self {
            fleet,
            status: Status::Active,
            permissions: request
                .permissions
                .clone()
                .unwrap_or_else(|| settings.default_permissions.on_everything()),
            accepted_at: None,
            request,
            expires_in_hours,
            expires_at: now + Duration::hours(expires_in_hours.into()),
            tokens: None,
            declined: None,
            connections: Vec::new(),
            session: Session::default(),
            regulatory: None,
            latest: now,
        }
    }

    /// The accepted invitation of a made-up fleet, as [`events::onboarding`] tells it.
    pub(super) fn onboarded(fleet: &Fleet) -> Self {
        let texts = [
            ("fleet_name", fleet.name.as_str()),
            ("success_redirect_url", events::SUCCESS_REDIRECT_URL),
            ("failure_redirect_url", events::FAILURE_REDIRECT_URL),
        ];
        let request = Request {
            fleet_ref: fleet.fleet_ref.clone(),
            texts: texts.map(|(name, text)| (name, text.to_owned())).into(),
            permissions: Some(events::scopes()),
            expires_in_hours: Some(events::EXPIRES_IN_HOURS),
            ..Request::default()
        };
        let mut invitation = Self::new(request, &Settings::default(), fleet.invited_at);
        invitation.fleet = fleet.clone();
        invitation.status = Status::Accepted;
        invitation.accepted_at = Some(fleet.invited_at + events::ACCEPTED_AFTER);
        invitation.tokens = Some((fleet.access_token(), fleet.refresh_token()));
        invitation.connections = vec![fleet.clone()];
        invitation.latest = fleet.invited_at + events::ONBOARDING;
        invitation
    }

    /// The refresh rule. Answers when it happened.
    pub(super) fn refresh(
        &mut self,
        request: Request,
        rules: Refresh,
        now: OffsetDateTime,
    ) -> OffsetDateTime {
        let at = self.tick(now);
        if rules.applies_changes {
            self.apply(request);
        }
        self.expires_at = at + Duration::hours(self.expires_in_hours.into());
        match self.status {
            Status::Accepted => self.tokens = Some(tokens()),
            Status::Declined => {
                self.status = Status::Active;
                self.declined = None;
            }
            Status::Active | Status::Expired | Status::Deleted => {}
        }
        at
    }

    fn apply(&mut self, request: Request) {
        let Request {
            fleet_ref: _,
            texts,
            limit_tsps,
            permissions,
            expires_in_hours,
        } = request;
        if let Some(name) = texts.get("fleet_name") {
            self.fleet.name.clone_from(name);
        }
        self.request.texts.extend(texts);
        self.request.limit_tsps = limit_tsps.or(self.request.limit_tsps.take());
        if let Some(permissions) = permissions {
            self.permissions = permissions;
        }
        if let Some(hours) = expires_in_hours {
            self.expires_in_hours = hours;
        }
    }

    pub(super) fn accept(&mut self, now: OffsetDateTime) -> Envelope {
        let at = self.tick(now);
        self.status = Status::Accepted;
        self.accepted_at = Some(at);
        self.tokens = Some(tokens());
        self.event(events::invitation_accepted, at)
    }

    pub(super) fn decline(&mut self, reason: Option<&str>, now: OffsetDateTime) -> Envelope {
        let at = self.tick(now);
        self.status = Status::Declined;
        self.declined = Some((at, reason.map(str::to_owned)));
        self.event(events::invitation_declined, at)
    }

    pub(super) fn view(&mut self, now: OffsetDateTime) -> Envelope {
        let at = self.tick(now);
        self.event(events::invitation_viewed, at)
    }

    pub(super) fn expire(&mut self, now: OffsetDateTime) -> Envelope {
        let at = self.tick(now);
        self.status = Status::Expired;
        self.expires_at = self.expires_at.min(at);
        self.event(events::invitation_expired, at)
    }

    pub(super) fn delete(&mut self, now: OffsetDateTime) -> Envelope {
        let at = self.tick(now);
        self.status = Status::Deleted;
        self.event(events::invitation_deleted, at)
    }

    pub(super) fn created(&self, at: OffsetDateTime) -> Envelope {
        self.event(events::invitation_created, at)
    }

    /// A connection to the provider, and what links it to the fleet: the fleet with that connection's identifiers, and the
    /// events.
    ///
    /// To the same provider again, it is the same connection with new credentials, unless that one is over. No event tells
    /// that (contract 6.10); of what is inferred there, the simplest was chosen: another `fleet_connection.created`, a new
    /// link to the connection.
    pub(super) fn connect(
        &mut self,
        tsp_id: Uuid,
        source_name: &str,
        is_over: impl Fn(Uuid) -> bool,
        now: OffsetDateTime,
    ) -> (Fleet, Vec<Envelope>) {
        let mut connections = self.connections.iter_mut();
        let known = connections
            .find(|connection| connection.tsp_id == tsp_id && !is_over(connection.connection_id));
        let constructors: &[fn(&Fleet, OffsetDateTime) -> Envelope] = match &known {
            Some(_) => &[events::fleet_connection_created],
            None => &[events::connection_created, events::fleet_connection_created],
        };
        let connection = match known {
            Some(connection) => {
                connection.fleet_connection_id = uuid_v7(now);
                connection.clone()
            }
            None => self.another_connection(tsp_id, source_name, now),
        };
        let event = |construct: &fn(&Fleet, OffsetDateTime) -> Envelope| {
            let at = self.tick(now);
            construct(&connection, at).dispatched(at)
        };
        let events = constructors.iter().map(event).collect();
        (connection, events)
    }

    /// The first one has the identifiers that the fleet was made up with.
    fn another_connection(
        &mut self,
        tsp_id: Uuid,
        source_name: &str,
        now: OffsetDateTime,
    ) -> Fleet {
        let mut connection = Fleet {
            tsp_id,
            source_name: source_name.to_owned(),
            ..self.fleet.clone()
        };
        if self.connections.is_empty() {
            self.fleet = connection.clone();
        } else {
            connection.connection_id = uuid_v7(now);
            connection.fleet_connection_id = uuid_v7(now);
            connection.schedule_id = uuid_v7(now);
            connection.execution_id = uuid_v7(now);
        }
        self.connections.push(connection.clone());
        connection
    }

    /// Whether the fleet may choose a provider of this source name. Whether `limit_tsps` holds names or slugs is unknown
    /// (contract 7, row 31).
    pub(super) fn offers(&self, source_name: &str) -> bool {
        let limit = self.request.limit_tsps.as_ref();
        limit.is_none_or(|names| names.iter().any(|name| name == source_name))
    }

    /// Whether the fleet may choose any provider.
    pub(super) fn offers_all(&self) -> bool {
        self.request.limit_tsps.is_none()
    }

    /// The subscriptions that the invitation asks for (contract 6.9).
    pub(super) fn callback(&self) -> Option<Callback> {
        let url = self.request.text("callback_url")?;
        Some(Callback {
            url: url.to_owned(),
            fleet_ref: self.fleet.fleet_ref.clone(),
        })
    }

    pub(super) fn redirect_url(&self, name: &str) -> Option<&str> {
        self.request.text(name)
    }

    /// The fleet is known by another number than the partner gave.
    pub(super) fn set_regulatory(&mut self, regulatory: Regulatory, now: OffsetDateTime) {
        let at = self.tick(now);
        self.regulatory = Some((regulatory, at));
    }

    /// What happens to one fleet has distinct times, some milliseconds apart at least: ids of events keep their order.
    pub(super) fn tick(&mut self, now: OffsetDateTime) -> OffsetDateTime {
        self.latest = now.max(self.latest + Duration::milliseconds(2));
        self.latest
    }

    fn event(
        &self,
        construct: fn(&Fleet, OffsetDateTime) -> Envelope,
        at: OffsetDateTime,
    ) -> Envelope {
        construct(&self.fleet, at)
            .dispatched(at)
            .saying(&self.read())
    }

    /// `InvitationRead`, the deprecated twins included.
    pub(super) fn read(&self) -> Value {
        let fleet_id = self.accepted_at.map(|_| self.fleet.fleet_id);
        let (declined_at, decline_reason) = match &self.declined {
            Some((at, reason)) => (Some(text(*at)), reason.clone()),
            None => (None, None),
        };
        let mut read = json!({
            "id": self.fleet.invitation_id,
            "created_at": text(self.fleet.invited_at),
            "magic_link": self.fleet.magic_link(),
            "expires_at": text(self.expires_at),
            "expires_in_hours": self.expires_in_hours,
            "status": self.status.name(),
            "accepted_at": self.accepted_at.map(text),
            "pre_registration_access_token": self.tokens.as_ref().map(|(access, _)| access),
            "pre_registration_refresh_token": self.tokens.as_ref().map(|(_, refresh)| refresh),
            "limit_tsps": self.request.limit_tsps,
            "fleet_id": fleet_id,
            "partner_slug": PARTNER_SLUG,
            "partner_id": self.fleet.partner_id,
            "decline_reason": decline_reason,
            "declined_at": declined_at,
            "fleet_ref": self.fleet.fleet_ref,
            "permissions": self.permissions,
        });
        for (name, _) in TEXTS {
            let value = self.request.text(name);
            read[name] = value.into();
            if name.starts_with("fleet_") {
                read[format!("partner_provided_{name}")] = value.into();
            }
        }
        read
    }

    /// `FleetRead` (contract 3.2).
    pub(super) fn read_fleet(&self) -> Value {
        let since = self.accepted_at.unwrap_or(self.fleet.invited_at);
        let given = |name| self.request.text(name).map(str::to_owned);
        let invited_with = || Regulatory {
            id: given("fleet_regulatory_id"),
            kind: given("fleet_regulatory_id_type"),
        };
        let (regulatory, updated_at) = match &self.regulatory {
            Some((regulatory, at)) => (regulatory.clone(), *at),
            None => (invited_with(), since),
        };
        let mut read = json!({
            "id": self.fleet.fleet_id,
            "name": self.fleet.name,
            "fleet_ref": self.fleet.fleet_ref,
            "invitation_id": self.fleet.invitation_id,
            "regulatory_id": regulatory.id,
            "regulatory_id_type": regulatory.kind,
            "websites": self.request.text("fleet_website").map(|website| [website]),
            "country_code": self.request.text("fleet_country_code"),
            "created_at": text(since),
            "updated_at": text(updated_at),
        });
        for name in UNKNOWN_OF_FLEETS {
            read[name] = Value::Null;
        }
        read
    }
}

fn tokens() -> (String, String) {
    let token = |kind| format!("{TOKEN_PREFIX}{kind}-TOKEN-{}", uuid_v4());
    (token("ACCESS"), token("REFRESH"))
}

pub(super) const PARTNER_SLUG: &str = "example-partner";
const DEFAULT_HOURS: u16 = 24;
const UNKNOWN_OF_FLEETS: [&str; 13] = [
    "description",
    "display_name",
    "legal_name",
    "dba_name",
    "regulatory_id_date",
    "regulatory_id_status",
    "registered_email",
    "registered_phone",
    "registered_fax",
    "address",
    "city",
    "province",
    "postal_code",
];
/// The resources of contract 6.1 and 6.10 that hold a fleet's data.
const RESOURCES: [&str; 20] = [
    "driver_vehicle_association",
    "dvir_log",
    "engine_log",
    "engine_status",
    "fuel_transaction",
    "group_message",
    "hos_availability",
    "hos_daily_snapshot",
    "hos_event",
    "hos_violation",
    "ifta_summary",
    "message",
    "trailer",
    "trailer_location",
    "trailer_status",
    "trailer_vehicle_association",
    "user",
    "vehicle",
    "vehicle_location",
    "workflow",
];

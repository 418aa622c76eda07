//! What each endpoint does.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    agreements::Status,
    connections::Connection,
    errors::{Refusal, Reply},
    pages::Part,
    query::Query,
    request::{self, Request},
    routes::{self, Operation},
    state::State,
    tsps,
};
use crate::{fleet::Fleet, webhooks::Webhooks};

/// A call that may be served.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    /// The identifiers in the path.
    pub(super) ids: &'a [&'a str],
    pub(super) query: Query,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    pub(super) webhooks: &'a Arc<Webhooks>,
}

impl Call<'_> {
    pub(super) fn serve(&self, state: &mut State, now: OffsetDateTime) -> Result<Reply, Refusal> {
        match self.operation {
            Operation::Token => Ok(state.tokens.answer(self.content_type, self.body)),
            Operation::CreateInvitation => Ok(state.invite(self.request()?, now)),
            Operation::ListInvitations => {
                self.page(|| state.invitations(self.query.one("fleet_ref")))
            }
            Operation::GetInvitation => {
                Ok(Reply::ok(&state.invitation(self.uuid("invitation_id")?)?))
            }
            Operation::DeleteInvitation => {
                state.delete_invitation(self.uuid("invitation_id")?, now)?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            Operation::AcceptInvitation => {
                let place = state.open(self.uuid("invitation_id")?)?;
                let events = state.accept(place, now);
                state.outbox.extend(events);
                Ok(Reply::ok(&state.at(place).read()))
            }
            Operation::DeclineInvitation => self.decline(state, now),
            Operation::ListFleets => self.fleets(state),
            Operation::GetFleet => Ok(Reply::ok(&state.fleet(self.uuid("fleet_id")?)?)),
            Operation::ListAgreements => self.agreements(state),
            Operation::GetAgreement => Ok(Reply::ok(&state.agreement(self.agreement()?)?)),
            Operation::UpdateAgreement => {
                let id = self.agreement()?;
                let fields = request::object(self.content_type, self.body)?;
                let read =
                    state.change_agreement(id, now, |agreement| agreement.set_dates(&fields))?;
                Ok(Reply::ok(&read))
            }
            Operation::PauseAgreement => self.become_status(state, Status::Paused, now),
            Operation::ActivateAgreement => self.become_status(state, Status::Active, now),
            Operation::CancelAgreement => self.become_status(state, Status::Cancelled, now),
            Operation::DeleteAgreement => {
                state.delete_agreement(self.agreement()?, now)?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            Operation::ListTsps => Ok(Reply::ok(&state.tsps.list(&self.query))),
            Operation::GetTsp => {
                let tsp = state.tsps.get(self.uuid("tsp_id")?);
                Ok(Reply::ok(&tsp.ok_or(Refusal::NotFound)?.read()))
            }
            Operation::ListExternalTsps => Ok(Reply::ok(&tsps::list_external(&self.query))),
            Operation::ListIntegrationRequests => {
                let fleet_id = self.query_uuid("fleet_id")?;
                let fleet_ref = self.query.one("fleet_ref");
                let requests = state.listed_requests(fleet_id, fleet_ref, now);
                Ok(Reply::ok(&requests))
            }
            Operation::ListConnections => self.connections(state),
            Operation::GetConnection => {
                Ok(Reply::ok(&state.connection(self.connection()?)?.read()))
            }
            Operation::ReadFreshness => self.freshness(state, now),
            Operation::ListSchedules => self.schedules(state, now),
            Operation::GetSchedule => self.schedule(state, now),
            Operation::ListWrites => self.resource_operations(state, now),
            Operation::GetWrite => self.resource_operation(state, now),
            Operation::Write(write) => self.write(write, state, now),
            Operation::Notification(notification) => self.notify(notification, state, now),
        }
    }

    fn request(&self) -> Result<Request, Refusal> {
        Request::read(&request::object(self.content_type, self.body)?)
    }

    fn decline(&self, state: &mut State, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let place = state.open(self.uuid("invitation_id")?)?;
        let reason = match self.body {
            [] => None,
            body => {
                let fields = request::object(self.content_type, body)?;
                fields.get("decline_reason").cloned()
            }
        };
        let reason = match &reason {
            None | Some(Value::Null) => None,
            Some(Value::String(reason)) => Some(reason.as_str()),
            Some(other) => {
                let (message, input) = ("Input should be a valid string", other.to_string());
                let path = "body.decline_reason";
                return Err(Refusal::invalid(path, &input, message, "string_type"));
            }
        };
        let event = state.decline(place, reason, now);
        state.outbox.push(event);
        Ok(Reply::ok(&state.at(place).read()))
    }

    fn fleets(&self, state: &State) -> Result<Reply, Refusal> {
        let wanted = self.several("fleet_refs")?;
        self.page(|| state.fleets(&wanted))
    }

    fn agreements(&self, state: &State) -> Result<Reply, Refusal> {
        let fleet_id = self.query_uuid("fleet_id")?;
        let fleet_ref = self.query.one("fleet_ref");
        let status = self.query.one("share_agreement_status");
        if let Some(status) = status.filter(|status| !Status::is_known(status)) {
            let message = "Input should be 'active', 'paused', 'cancelled', 'deleted' or 'expired'";
            let path = "query.share_agreement_status";
            return Err(Refusal::invalid(path, status, message, "enum"));
        }
        self.page(|| {
            state.agreements(|agreement| {
                fleet_id.is_none_or(|wanted| agreement.fleet.fleet_id == wanted)
                    && fleet_ref.is_none_or(|wanted| agreement.fleet.fleet_ref == wanted)
                    && status.is_none_or(|wanted| agreement.is(wanted))
            })
        })
    }

    fn become_status(
        &self,
        state: &mut State,
        status: Status,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        let change = |agreement: &mut super::agreements::Agreement| agreement.become_status(status);
        let read = state.change_agreement(self.agreement()?, now, change)?;
        Ok(Reply::ok(&read))
    }

    /// Whether filters narrow each other down isn't documented: here they do.
    fn connections(&self, state: &State) -> Result<Reply, Refusal> {
        let tsp_id = self.query_uuid("tsp_id")?;
        let of_fleets = self.of_fleets()?;
        let fits = |connection: &Connection| {
            tsp_id.is_none_or(|wanted| connection.fleet.tsp_id == wanted)
                && of_fleets(&connection.fleet)
        };
        self.bare_page(|| {
            let found = state.connections.list();
            let found = found.filter(|(_, connection)| fits(connection));
            found.map(|(place, it)| (place, it.read())).collect()
        })
    }

    /// The contract has the entries, not what is around them: a page, as lists are unless it says otherwise (contract 2).
    fn freshness(&self, state: &State, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let of_fleets = self.of_fleets()?;
        self.bare_page(|| {
            let found = state.connections.list();
            let found = found.filter(|(_, connection)| of_fleets(&connection.fleet));
            let entries = found.flat_map(|(_, connection)| state.freshness(connection, now));
            entries.enumerate().collect()
        })
    }

    fn schedules(&self, state: &State, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let connection = state.connection(self.connection()?)?;
        let resource = self.query.one("resource");
        let schedules = connection.schedules.iter().enumerate();
        self.bare_page(|| {
            schedules
                .filter(|(_, it)| resource.is_none_or(|wanted| it.resource == wanted))
                .map(|(place, it)| (place, it.read(connection.id(), now)))
                .collect()
        })
    }

    fn schedule(&self, state: &State, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let connection = state.connection(self.connection()?)?;
        let text = self.ids.get(1).copied().unwrap_or_default();
        let id = routes::uuid("path.schedule_id", text)?;
        let schedule = connection.schedules.iter().find(|it| it.id == id);
        let schedule = schedule.ok_or(Refusal::NotFound)?;
        Ok(Reply::ok(&schedule.read(connection.id(), now)))
    }

    /// The filter by `fleet_ids` and `fleet_refs`.
    fn of_fleets(&self) -> Result<impl Fn(&Fleet) -> bool, Refusal> {
        let refs = self.several("fleet_refs")?;
        let ids = self.several("fleet_ids")?;
        let ids = ids.iter().map(|id| routes::uuid("query.fleet_ids", id));
        let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
        Ok(move |fleet: &Fleet| {
            (refs.is_empty() || refs.contains(&fleet.fleet_ref.as_str()))
                && (ids.is_empty() || ids.contains(&fleet.fleet_id))
        })
    }

    /// The values of a repeated key.
    pub(super) fn several(&self, name: &str) -> Result<Vec<&str>, Refusal> {
        let wanted: Vec<_> = self.query.all(name).collect();
        if wanted.len() > MOST_VALUES {
            let message = "List should have at most 100 items after validation";
            let (path, input) = (format!("query.{name}"), wanted.join(","));
            return Err(Refusal::invalid(&path, &input, message, "too_long"));
        }
        Ok(wanted)
    }

    fn page(&self, items: impl FnOnce() -> Vec<(usize, Value)>) -> Result<Reply, Refusal> {
        let part = Part::of(&self.query)?;
        Ok(Reply::ok(&part.page(&items(), Value::clone)))
    }

    /// A page outside the organisation API.
    pub(super) fn bare_page(
        &self,
        items: impl FnOnce() -> Vec<(usize, Value)>,
    ) -> Result<Reply, Refusal> {
        self.bare_page_of(items, Value::clone)
    }

    /// The same, if there may be so many items that only those of the page are worth reading.
    pub(super) fn bare_page_of<T>(
        &self,
        items: impl FnOnce() -> Vec<(usize, T)>,
        read: impl Fn(&T) -> Value,
    ) -> Result<Reply, Refusal> {
        let part = Part::of(&self.query)?;
        Ok(Reply::ok(&part.page_without_total(&items(), read)))
    }

    fn connection(&self) -> Result<Uuid, Refusal> {
        self.uuid("connection_id")
    }

    fn agreement(&self) -> Result<Uuid, Refusal> {
        self.uuid("share_agreement_id")
    }

    pub(super) fn uuid(&self, name: &str) -> Result<Uuid, Refusal> {
        let text = self.ids.first().copied().unwrap_or_default();
        routes::uuid(&format!("path.{name}"), text)
    }

    pub(super) fn query_uuid(&self, name: &str) -> Result<Option<Uuid>, Refusal> {
        let text = self.query.one(name);
        text.map(|text| routes::uuid(&format!("query.{name}"), text))
            .transpose()
    }
}

/// Contract 2: "at most 100 values".
const MOST_VALUES: usize = 100;

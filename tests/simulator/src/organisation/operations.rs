//! What each endpoint does.

use axum::http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    agreements::Status,
    errors::{Refusal, Reply},
    pages::Part,
    query::Query,
    request::{self, Request},
    routes::{self, Operation},
    state::State,
    tsps,
};

/// A call that may be served.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    /// The path's `{id}`.
    pub(super) id: &'a str,
    pub(super) query: Query,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
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
            Operation::ListTsps => Ok(Reply::ok(&tsps::list(&self.query))),
            Operation::GetTsp => {
                let id = self.uuid("tsp_id")?.to_string();
                Ok(Reply::ok(&tsps::get(&id).ok_or(Refusal::NotFound)?))
            }
            Operation::ListExternalTsps => Ok(Reply::ok(&tsps::list_external(&self.query))),
            Operation::ListIntegrationRequests => {
                let fleet_id = self.query_uuid("fleet_id")?;
                let fleet_ref = self.query.one("fleet_ref");
                Ok(Reply::ok(&state.integration_requests(fleet_id, fleet_ref)))
            }
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
        let wanted: Vec<_> = self.query.all("fleet_refs").collect();
        if wanted.len() > MOST_REFS {
            let message = "List should have at most 100 items after validation";
            let input = wanted.join(",");
            let path = "query.fleet_refs";
            return Err(Refusal::invalid(path, &input, message, "too_long"));
        }
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

    fn page(&self, items: impl FnOnce() -> Vec<(usize, Value)>) -> Result<Reply, Refusal> {
        let part = Part::of(&self.query)?;
        Ok(Reply::ok(&part.page(&items())))
    }

    fn agreement(&self) -> Result<Uuid, Refusal> {
        self.uuid("share_agreement_id")
    }

    fn uuid(&self, name: &str) -> Result<Uuid, Refusal> {
        routes::uuid(&format!("path.{name}"), self.id)
    }

    fn query_uuid(&self, name: &str) -> Result<Option<Uuid>, Refusal> {
        let text = self.query.one(name);
        text.map(|text| routes::uuid(&format!("query.{name}"), text))
            .transpose()
    }
}

/// Contract 2: "at most 100 values".
const MOST_REFS: usize = 100;

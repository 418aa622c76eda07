//! What the organisation holds, and what changes it. Events of a change wait in `outbox` until the change is over.

use std::collections::HashMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    FleetError, Settings,
    agreements::{self, Agreement},
    errors::{Refusal, Reply},
    invitations::{Invitation, Status},
    request::Request,
    token::Tokens,
    tsps::{self, Unsupported},
};
use crate::envelope::{Envelope, microsecond_text, uuid_v4};

#[derive(Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) tokens: Tokens,
    /// In the order of their creation: their places make the pages.
    invitations: Vec<Invitation>,
    by_id: HashMap<Uuid, usize>,
    /// The newest of each fleet.
    by_ref: HashMap<String, usize>,
    agreements: Vec<Agreement>,
    integration_requests: Vec<Value>,
    pub(super) outbox: Vec<Envelope>,
    /// What waits for [`super::Organisation::release_events`], while events are held.
    pub(super) held: Option<Vec<Envelope>>,
}

impl State {
    /// Lets what is overdue expire.
    pub(super) fn pass_time(&mut self, now: OffsetDateTime) {
        let overdue = |invitation: &&mut Invitation| {
            invitation.status == Status::Active && invitation.expires_at <= now
        };
        for invitation in self.invitations.iter_mut().filter(overdue) {
            self.outbox.push(invitation.expire(now));
        }
    }

    /// `POST /v2/orgs/invitations`: the refresh rule of contract 3.1.
    pub(super) fn invite(&mut self, request: Request, now: OffsetDateTime) -> Reply {
        let rules = self.settings.refresh;
        let existing = self.by_ref.get(&request.fleet_ref).copied();
        if let Some(place) = existing
            && self.invitations[place].status.can_be_refreshed()
        {
            let invitation = &mut self.invitations[place];
            let at = invitation.refresh(request, rules, now);
            if rules.emits_created {
                self.outbox.push(invitation.created(at));
            }
            return Reply::ok(&invitation.read());
        }
        let invitation = Invitation::new(request, &self.settings, now);
        let place = self.invitations.len();
        self.by_id.insert(invitation.fleet.invitation_id, place);
        self.by_ref
            .insert(invitation.fleet.fleet_ref.clone(), place);
        self.outbox.push(invitation.created(now));
        let reply = Reply::json(StatusCode::CREATED, &invitation.read());
        self.invitations.push(invitation);
        reply
    }

    /// All invitations or those of one fleet, expired and deleted ones included, each with its place.
    pub(super) fn invitations(&self, fleet_ref: Option<&str>) -> Vec<(usize, Value)> {
        let fits = |invitation: &Invitation| {
            fleet_ref.is_none_or(|wanted| invitation.fleet.fleet_ref == wanted)
        };
        let all = self.invitations.iter().enumerate();
        all.filter(|(_, invitation)| fits(invitation))
            .map(|(place, invitation)| (place, invitation.read()))
            .collect()
    }

    pub(super) fn invitation(&self, id: Uuid) -> Result<Value, Refusal> {
        let &place = self.by_id.get(&id).ok_or(Refusal::NotFound)?;
        Ok(self.invitations[place].read())
    }

    /// Only before acceptance. A deleted one stays readable, with the status that the contract has for it.
    pub(super) fn delete_invitation(
        &mut self,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let &place = self.by_id.get(&id).ok_or(Refusal::NotFound)?;
        let invitation = &mut self.invitations[place];
        match invitation.status {
            Status::Deleted => return Err(Refusal::NotFound),
            Status::Accepted => {
                let detail = "The invitation is accepted: manage the share agreement instead";
                return Err(Refusal::Conflict(detail.to_owned()));
            }
            Status::Active | Status::Declined | Status::Expired => {}
        }
        self.outbox.push(invitation.delete(now));
        Ok(())
    }

    /// The place of an invitation that the fleet can still answer.
    pub(super) fn open(&self, id: Uuid) -> Result<usize, Refusal> {
        let &place = self.by_id.get(&id).ok_or(Refusal::NotFound)?;
        match self.invitations[place].status {
            Status::Active => Ok(place),
            status => {
                let detail = format!("The invitation is {}", status.name());
                Err(Refusal::Conflict(detail))
            }
        }
    }

    /// The same by the fleet's reference.
    pub(super) fn open_of(&self, fleet_ref: &str) -> Result<usize, FleetError> {
        let unknown = || FleetError::Unknown(fleet_ref.to_owned());
        let &place = self.by_ref.get(fleet_ref).ok_or_else(unknown)?;
        match self.invitations[place].status {
            Status::Active => Ok(place),
            status => Err(FleetError::NotActive {
                fleet_ref: fleet_ref.to_owned(),
                status: status.name(),
            }),
        }
    }

    pub(super) fn at(&self, place: usize) -> &Invitation {
        &self.invitations[place]
    }

    pub(super) fn at_mut(&mut self, place: usize) -> &mut Invitation {
        &mut self.invitations[place]
    }

    pub(super) fn place(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Every magic link begins with this from now on.
    pub(super) fn set_connect_url(&mut self, connect_url: &str) {
        connect_url.clone_into(&mut self.settings.connect_url);
        for invitation in &mut self.invitations {
            connect_url.clone_into(&mut invitation.fleet.connect_url);
        }
    }

    pub(super) fn of(&self, fleet_ref: &str) -> Option<&Invitation> {
        let &place = self.by_ref.get(fleet_ref)?;
        Some(&self.invitations[place])
    }

    pub(super) fn view(&mut self, place: usize, now: OffsetDateTime) -> Envelope {
        self.invitations[place].view(now)
    }

    /// The invitation is accepted, then there is a share agreement.
    pub(super) fn accept(&mut self, place: usize, now: OffsetDateTime) -> [Envelope; 2] {
        let invitation = &mut self.invitations[place];
        let accepted = invitation.accept(now);
        let at = invitation.tick(now);
        let agreement =
            Agreement::new(invitation.fleet.clone(), invitation.permissions.clone(), at);
        let created = agreement.created(at);
        self.agreements.push(agreement);
        [accepted, created]
    }

    pub(super) fn decline(
        &mut self,
        place: usize,
        reason: Option<&str>,
        now: OffsetDateTime,
    ) -> Envelope {
        self.invitations[place].decline(reason, now)
    }

    pub(super) fn expire(&mut self, place: usize, now: OffsetDateTime) -> Envelope {
        self.invitations[place].expire(now)
    }

    /// Everything that follows an invitation, in order (contract 6.10).
    pub(super) fn carry_on(&mut self, place: usize, now: OffsetDateTime) -> Vec<Envelope> {
        let mut events = vec![self.view(place, now)];
        events.extend(self.accept(place, now));
        let invitation = &mut self.invitations[place];
        let (tsp_id, source_name) = (
            invitation.fleet.tsp_id,
            invitation.fleet.source_name.clone(),
        );
        events.extend(invitation.connect(tsp_id, &source_name, now));
        events
    }

    /// Fleets with an active share agreement, each with its place.
    pub(super) fn fleets(&self, fleet_refs: &[&str]) -> Vec<(usize, Value)> {
        let fits = |invitation: &Invitation| {
            let fleet = &invitation.fleet;
            (fleet_refs.is_empty() || fleet_refs.contains(&fleet.fleet_ref.as_str()))
                && self.shares(fleet.fleet_id)
        };
        let all = self.invitations.iter().enumerate();
        all.filter(|(_, invitation)| fits(invitation))
            .map(|(place, invitation)| (place, invitation.read_fleet()))
            .collect()
    }

    pub(super) fn fleet(&self, id: Uuid) -> Result<Value, Refusal> {
        self.invitations
            .iter()
            .find(|invitation| invitation.fleet.fleet_id == id && self.shares(id))
            .map(Invitation::read_fleet)
            .ok_or(Refusal::NotFound)
    }

    fn shares(&self, fleet_id: Uuid) -> bool {
        self.agreements.iter().any(|agreement| {
            agreement.fleet.fleet_id == fleet_id && agreement.status == agreements::Status::Active
        })
    }

    /// Agreements that pass the filter, each with its place.
    pub(super) fn agreements(&self, fits: impl Fn(&Agreement) -> bool) -> Vec<(usize, Value)> {
        let all = self.agreements.iter().enumerate();
        all.filter(|(_, agreement)| fits(agreement))
            .map(|(place, agreement)| (place, agreement.read()))
            .collect()
    }

    pub(super) fn agreement(&self, id: Uuid) -> Result<Value, Refusal> {
        let found = self
            .agreements
            .iter()
            .find(|agreement| agreement.id() == id);
        found.map(Agreement::read).ok_or(Refusal::NotFound)
    }

    /// Dates or status: whatever the change does, it is an update.
    pub(super) fn change_agreement(
        &mut self,
        id: Uuid,
        now: OffsetDateTime,
        change: impl FnOnce(&mut Agreement) -> Result<(), Refusal>,
    ) -> Result<Value, Refusal> {
        let at = self.tick(id, now);
        let agreement = self.undeleted(id)?;
        change(agreement)?;
        let (event, read) = (agreement.updated(at), agreement.read());
        self.outbox.push(event);
        Ok(read)
    }

    pub(super) fn delete_agreement(
        &mut self,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let at = self.tick(id, now);
        let agreement = self.undeleted(id)?;
        agreement.status = agreements::Status::Deleted;
        let event = agreement.deleted(at);
        self.outbox.push(event);
        Ok(())
    }

    fn undeleted(&mut self, id: Uuid) -> Result<&mut Agreement, Refusal> {
        self.agreements
            .iter_mut()
            .find(|agreement| {
                agreement.id() == id && agreement.status != agreements::Status::Deleted
            })
            .ok_or(Refusal::NotFound)
    }

    /// The time of a change to an agreement: after all that happened to the fleet.
    fn tick(&mut self, agreement: Uuid, now: OffsetDateTime) -> OffsetDateTime {
        let is_its =
            |invitation: &&mut Invitation| invitation.fleet.share_agreement_id == agreement;
        let found = self.invitations.iter_mut().find(is_its);
        found.map_or(now, |invitation| invitation.tick(now))
    }

    pub(super) fn integration_requests(
        &self,
        fleet_id: Option<Uuid>,
        fleet_ref: Option<&str>,
    ) -> Vec<Value> {
        let fits = |request: &&Value| {
            fleet_id.is_none_or(|id| request["fleet_id"] == id.to_string())
                && fleet_ref.is_none_or(|wanted| request["fleet_ref"] == wanted)
        };
        self.integration_requests
            .iter()
            .filter(fits)
            .cloned()
            .collect()
    }

    /// The fleet's request for this provider, one per provider. Answers its id.
    pub(super) fn request_integration(
        &mut self,
        place: usize,
        provider: &Unsupported,
        contact: Contact<'_>,
        now: OffsetDateTime,
    ) -> String {
        let fleet = &self.invitations[place].fleet;
        let of_fleet = self.integration_requests(None, Some(&fleet.fleet_ref));
        let same = of_fleet
            .iter()
            .find(|request| request["ext_tsp_id"] == provider.id);
        let id = match same {
            Some(request) => request["id"].clone(),
            None if of_fleet.is_empty() => json!(fleet.integration_request_id),
            None => json!(uuid_v4()),
        };
        let fields = [
            ("id", id),
            ("fleet_ref", json!(fleet.fleet_ref)),
            ("ext_tsp_id", json!(provider.id)),
            ("ext_tsp_name", json!(provider.name)),
            (
                "ext_tsp_compliance_status",
                json!(provider.compliance_status),
            ),
            ("fleet_contact_name", json!(contact.name)),
            ("fleet_contact_notes", json!(contact.notes)),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        let request = self.put_integration_request(fields.into_iter().collect(), now);
        let request = request.expect("it has an id");
        request["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds a request or changes the one with the same id. What a new one leaves out comes from the fleet that it names.
    pub(super) fn put_integration_request(
        &mut self,
        fields: Map<String, Value>,
        now: OffsetDateTime,
    ) -> Result<Value, FleetError> {
        let fleet_ref = fields.get("fleet_ref").and_then(Value::as_str);
        let id = match (fields.get("id"), fleet_ref.and_then(|name| self.of(name))) {
            (Some(id), _) => id.clone(),
            (None, Some(invitation)) => json!(invitation.fleet.integration_request_id),
            (None, None) => return Err(FleetError::Unknown(fleet_ref.unwrap_or("").to_owned())),
        };
        let known = self.integration_requests.iter();
        let place = known.clone().position(|request| request["id"] == id);
        let mut request = match (place, fleet_ref.and_then(|name| self.of(name))) {
            (Some(place), _) => self.integration_requests[place].clone(),
            (None, Some(invitation)) => new_integration_request(invitation, now),
            (None, None) => json!({}),
        };
        request["id"] = id;
        request["updated_at"] = microsecond_text(now).into();
        for (name, value) in fields {
            request[name] = value;
        }
        match place {
            Some(place) => self.integration_requests[place] = request.clone(),
            None => self.integration_requests.push(request.clone()),
        }
        Ok(request)
    }
}

/// What the fleet writes about its request for a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contact<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) notes: Option<&'a str>,
}

fn new_integration_request(invitation: &Invitation, now: OffsetDateTime) -> Value {
    let fleet = &invitation.fleet;
    let (ext_tsp_id, ext_tsp_name, compliance_status) = tsps::REQUESTED;
    json!({
        "ext_tsp_id": ext_tsp_id,
        "ext_tsp_name": ext_tsp_name,
        "ext_tsp_compliance_status": compliance_status,
        "fleet_id": fleet.fleet_id,
        "fleet_ref": fleet.fleet_ref,
        "partner_id": fleet.partner_id,
        "invitation_id": fleet.invitation_id,
        "fleet_contact_name": null,
        "fleet_contact_notes": null,
        "created_at": microsecond_text(now),
        "integrated_tsp_ids": [],
    })
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn invitations_expire_with_time() {
        let mut state = State::default();
        let invited_at = OffsetDateTime::now_utc();
        let request = |fleet_ref: &str, hours| Request {
            fleet_ref: fleet_ref.to_owned(),
            expires_in_hours: Some(hours),
            ..Request::default()
        };
        for (fleet_ref, hours) in [("A", 1), ("B", 2), ("C", 1)] {
            state.invite(request(fleet_ref, hours), invited_at);
        }
        let place = state.open_of("C").unwrap();
        state.accept(place, invited_at);
        state.outbox.clear();
        state.pass_time(invited_at + Duration::hours(1));

        let status = |fleet_ref: &str| state.of(fleet_ref).unwrap().status;
        assert_eq!(
            ["A", "B", "C"].map(status),
            [Status::Expired, Status::Active, Status::Accepted]
        );
        let [event] = &state.outbox[..] else {
            panic!("one event")
        };
        assert_eq!(event.event_name, "invitation.expired");
        assert_eq!(event.data[0]["status"], "expired");
    }

    #[test]
    fn what_happens_to_a_fleet_at_once_has_distinct_times_in_order() {
        let mut state = State::default();
        let now = OffsetDateTime::now_utc();
        let request = Request {
            fleet_ref: "A".to_owned(),
            ..Request::default()
        };
        state.invite(request.clone(), now);
        state.invite(request, now);
        let place = state.open_of("A").unwrap();
        let mut events = std::mem::take(&mut state.outbox);
        events.extend(state.carry_on(place, now));
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), 7);
        assert!(ids.is_sorted_by(|earlier, later| earlier < later));
    }
}

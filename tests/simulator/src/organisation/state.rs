//! What the organisation holds, and what changes it. Events of a change wait in `outbox` until the change is over.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    FleetError, Settings,
    agreements::{self, Agreement},
    connections::{Connection, Connections},
    errors::{Refusal, Reply},
    integration_requests::IntegrationRequest,
    invitations::{Invitation, Status},
    notifications::Callback,
    request::Request,
    resource_operations::ResourceOperations,
    token::Tokens,
    tsps::Tsps,
};
use crate::{envelope::Envelope, events, fleet::Fleet};

#[derive(Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) tokens: Tokens,
    /// In the order of their creation: their places make the pages.
    invitations: Vec<Invitation>,
    by_id: HashMap<Uuid, usize>,
    /// The newest of each fleet.
    by_ref: HashMap<String, usize>,
    pub(super) agreements: Vec<Agreement>,
    pub(super) connections: Connections,
    pub(super) tsps: Tsps,
    pub(super) integration_requests: Vec<IntegrationRequest>,
    pub(super) resource_operations: ResourceOperations,
    pub(super) outbox: Vec<Envelope>,
    /// Subscriptions that invitations ask for, until the change is over.
    pub(super) callbacks: Vec<Callback>,
}

impl State {
    /// Lets what is overdue expire, and what is due happen.
    pub(super) fn pass_time(&mut self, now: OffsetDateTime) {
        let overdue = |invitation: &&mut Invitation| {
            invitation.status == Status::Active && invitation.expires_at <= now
        };
        for invitation in self.invitations.iter_mut().filter(overdue) {
            self.outbox.push(invitation.expire(now));
        }
        let happened = self.resource_operations.pass_time(now);
        self.outbox.extend(happened);
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
        self.callbacks.extend(invitation.callback());
        self.outbox.push(invitation.created(now));
        let reply = Reply::json(StatusCode::CREATED, &invitation.read());
        self.add(invitation);
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

    /// The place of a fleet's newest invitation.
    pub(super) fn place_of(&self, fleet_ref: &str) -> Option<usize> {
        self.by_ref.get(fleet_ref).copied()
    }

    /// All fleets that were ever invited, in the order of their newest invitations.
    pub(super) fn fleet_refs(&self) -> Vec<String> {
        let mut places: Vec<_> = self.by_ref.values().copied().collect();
        places.sort_unstable();
        let fleet_ref = |place: usize| self.invitations[place].fleet.fleet_ref.clone();
        places.into_iter().map(fleet_ref).collect()
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
        let fleet = &self.invitations[place].fleet;
        let (tsp_id, source_name) = (fleet.tsp_id, fleet.source_name.clone());
        events.extend(self.connect(place, tsp_id, &source_name, now));
        events
    }

    /// The fleet connects a provider.
    pub(super) fn connect(
        &mut self,
        place: usize,
        tsp_id: Uuid,
        source_name: &str,
        now: OffsetDateTime,
    ) -> Vec<Envelope> {
        let invitation = &mut self.invitations[place];
        let at = invitation.tick(now);
        let is_over = |id| self.connections.is_over(id);
        let (connection, events) = invitation.connect(tsp_id, source_name, is_over, now);
        self.connections.establish(connection, at);
        events
    }

    /// A made-up fleet that has been through onboarding, as [`crate::events::onboarding`] tells it.
    pub(super) fn adopt(&mut self, fleet: &Fleet) {
        let agreed_at = fleet.invited_at + events::AGREED_AFTER;
        let connected_at = fleet.invited_at + events::CONNECTED_AFTER;
        let agreement = Agreement::new(fleet.clone(), events::scopes(), agreed_at);
        self.add(Invitation::onboarded(fleet));
        self.agreements.push(agreement);
        self.connections.establish(fleet.clone(), connected_at);
    }

    fn add(&mut self, invitation: Invitation) {
        let place = self.invitations.len();
        self.by_id.insert(invitation.fleet.invitation_id, place);
        self.by_ref
            .insert(invitation.fleet.fleet_ref.clone(), place);
        self.invitations.push(invitation);
    }

    pub(super) fn connection(&self, id: Uuid) -> Result<&Connection, Refusal> {
        self.connections.get(id).ok_or(Refusal::NotFound)
    }

    /// How fresh a connection's resources are, and how much of each is shared.
    pub(super) fn freshness(&self, connection: &Connection, now: OffsetDateTime) -> Vec<Value> {
        let fleet = &connection.fleet;
        let agreement = self.agreement_of(fleet.fleet_id);
        let share_level = |resource: &str| agreement?.scopes.get(resource).cloned();
        let tsp = self.tsps.get(fleet.tsp_id);
        connection.freshness(now, tsp.map(|tsp| tsp.slug.as_str()), share_level)
    }

    /// The newest agreement of a fleet.
    pub(super) fn agreement_of(&self, fleet_id: Uuid) -> Option<&Agreement> {
        let mut newest_first = self.agreements.iter().rev();
        newest_first.find(|agreement| agreement.fleet.fleet_id == fleet_id)
    }

    /// Fleets with an active share agreement, each with its place.
    pub(super) fn fleets(&self, fleet_refs: &[&str]) -> Vec<(usize, Value)> {
        let active = self.agreements.iter().filter(|it| it.is_active());
        let sharing: HashSet<_> = active.map(|agreement| agreement.fleet.fleet_id).collect();
        let fits = |invitation: &Invitation| {
            let fleet = &invitation.fleet;
            (fleet_refs.is_empty() || fleet_refs.contains(&fleet.fleet_ref.as_str()))
                && sharing.contains(&fleet.fleet_id)
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
        let mut active = self.agreements.iter().filter(|it| it.is_active());
        active.any(|agreement| agreement.fleet.fleet_id == fleet_id)
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

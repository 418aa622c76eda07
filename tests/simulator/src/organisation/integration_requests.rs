//! Requests for providers that Catena doesn't support yet (contract 3.6).

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    FleetError,
    invitations::Invitation,
    state::State,
    tsps::{self, Unsupported},
};
use crate::envelope::{microsecond_text, uuid_v4};

/// A request as it is stored.
pub(super) struct IntegrationRequest {
    /// When it was made: it is listed some time after that ([`super::Settings::request_lag`]).
    made_at: OffsetDateTime,
    /// `IntegrationRequest` as the API answers it.
    pub(super) record: Value,
}

/// What the fleet writes about its request for a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contact<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) notes: Option<&'a str>,
}

impl IntegrationRequest {
    pub(super) fn is_live(&self) -> bool {
        let integrated = self.record["integrated_tsp_ids"].as_array();
        integrated.is_some_and(|ids| !ids.is_empty())
    }

    /// Its provider is supported now.
    pub(super) fn goes_live(&mut self, tsp_id: Uuid, now: OffsetDateTime) {
        self.record["integrated_tsp_ids"] = json!([tsp_id]);
        self.record["updated_at"] = microsecond_text(now).into();
    }
}

impl State {
    /// Those that the list shows by now.
    pub(super) fn listed_requests(
        &self,
        fleet_id: Option<Uuid>,
        fleet_ref: Option<&str>,
        now: OffsetDateTime,
    ) -> Vec<&Value> {
        let lag = self.settings.request_lag;
        let fits = |request: &&IntegrationRequest| {
            let record = &request.record;
            now - request.made_at >= lag
                && fleet_id.is_none_or(|id| record["fleet_id"] == id.to_string())
                && fleet_ref.is_none_or(|wanted| record["fleet_ref"] == wanted)
        };
        let listed = self.integration_requests.iter().filter(fits);
        listed.map(|request| &request.record).collect()
    }

    pub(super) fn requests_of(&self, fleet_ref: &str) -> impl Iterator<Item = &IntegrationRequest> {
        self.integration_requests
            .iter()
            .filter(move |request| request.record["fleet_ref"] == fleet_ref)
    }

    /// The fleet's request for this provider, one per provider. Answers its id.
    pub(super) fn request_integration(
        &mut self,
        place: usize,
        provider: &Unsupported,
        contact: Contact<'_>,
        now: OffsetDateTime,
    ) -> String {
        let fleet = &self.at(place).fleet;
        let is_same = |it: &IntegrationRequest| it.record["ext_tsp_id"] == provider.id;
        let same = self.requests_of(&fleet.fleet_ref).find(|it| is_same(it));
        let id = match same {
            Some(request) => request.record["id"].clone(),
            None if self.requests_of(&fleet.fleet_ref).next().is_none() => {
                json!(fleet.integration_request_id)
            }
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
        let place = known.clone().position(|request| request.record["id"] == id);
        let mut record = match (place, fleet_ref.and_then(|name| self.of(name))) {
            (Some(place), _) => self.integration_requests[place].record.clone(),
            (None, Some(invitation)) => new_record(invitation, now),
            (None, None) => json!({}),
        };
        record["id"] = id;
        record["updated_at"] = microsecond_text(now).into();
        for (name, value) in fields {
            record[name] = value;
        }
        match place {
            Some(place) => self.integration_requests[place].record = record.clone(),
            None => self.integration_requests.push(IntegrationRequest {
                made_at: now,
                record: record.clone(),
            }),
        }
        Ok(record)
    }
}

fn new_record(invitation: &Invitation, now: OffsetDateTime) -> Value {
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

//! The organisation endpoints of contract 3, one function each.

use catena::{Fleet, Instant, IntegrationRequest, Provider, ShareAgreement, Status, scrub_record};
use fetch::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Answer, Calls, CatenaError, Created, InvitationRead, NewInvitation, Pages,
    call::{Call, below, given, portions, scrubbed, target},
};

/// Which share agreements to list; without anything, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgreementFilter {
    /// Of Catena's fleet.
    pub fleet_id: Option<String>,
    /// Of our own reference.
    pub fleet_ref: Option<String>,
    /// `active`, `paused`, `cancelled`, `deleted`, `expired`.
    pub status: Option<Status>,
}

/// When a share agreement shall hold; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgreementDates {
    /// From when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_date: Option<Instant>,
    /// Until when; `Some(None)` for no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Option<Instant>>,
}

/// Invitations (contract 3.1).
impl<'a> Calls<'a> {
    /// Makes an invitation, or refreshes the active, accepted or declined one of the same `fleet_ref`.
    pub async fn create_invitation(
        self,
        new: &NewInvitation,
    ) -> Result<Answer<Created>, CatenaError> {
        let call = Call::new("create invitation", Method::POST, INVITATIONS.to_owned());
        let reply = self.send(&call.with_body(new)).await?;
        let Answer { value, observed } = reply.one(InvitationRead::read)?;
        let value = Created {
            new: reply.status == StatusCode::CREATED,
            invitation: value,
        };
        Ok(Answer { value, observed })
    }

    /// All our invitations, or those of one fleet. There is no other filter.
    pub fn invitations(self, fleet_ref: Option<&str>) -> Pages<'a, InvitationRead> {
        let query = given(INVITATIONS, &[("fleet_ref", fleet_ref)]);
        Pages::new(self, "list invitations", [query], InvitationRead::read)
    }

    /// One invitation. No token is sent: its id is all that is needed.
    pub async fn invitation(self, id: &str) -> Result<Answer<InvitationRead>, CatenaError> {
        let call = Call::get("get invitation", below(INVITATIONS, id)?).unauthenticated();
        self.send(&call).await?.one(InvitationRead::read)
    }

    /// Takes an invitation back; only possible before it is accepted.
    pub async fn delete_invitation(self, id: &str) -> Result<Answer<()>, CatenaError> {
        self.delete("delete invitation", below(INVITATIONS, id)?)
            .await
    }

    async fn delete(
        self,
        operation: &'static str,
        path: String,
    ) -> Result<Answer<()>, CatenaError> {
        let call = Call::new(operation, Method::DELETE, path);
        Ok(self.send(&call).await?.answer(()))
    }
}

/// Fleets (contract 3.2): those with an active share agreement with us.
impl<'a> Calls<'a> {
    /// All of them.
    pub fn fleets(self) -> Pages<'a, Fleet> {
        Pages::new(self, "list fleets", [FLEETS.to_owned()], scrubbed)
    }

    /// Those of some references of ours. However many they are, they are asked for in bearable portions; of none, none are.
    pub fn fleets_of<'r>(self, fleet_refs: impl IntoIterator<Item = &'r str>) -> Pages<'a, Fleet> {
        let queries = portions(FLEETS, "fleet_refs", fleet_refs);
        Pages::new(self, "list fleets", queries, scrubbed)
    }

    /// One, by Catena's id.
    pub async fn fleet(self, id: &str) -> Result<Answer<Fleet>, CatenaError> {
        let call = Call::get("get fleet", below(FLEETS, id)?);
        self.send(&call).await?.one(scrubbed)
    }
}

/// Share agreements (contract 3.3). Fleets own them, so a change may be forbidden.
impl<'a> Calls<'a> {
    /// Those that a filter lets through.
    pub fn share_agreements(self, filter: &AgreementFilter) -> Pages<'a, ShareAgreement> {
        let parameters = [
            ("fleet_id", filter.fleet_id.as_deref()),
            ("fleet_ref", filter.fleet_ref.as_deref()),
            (
                "share_agreement_status",
                filter.status.as_ref().map(Status::as_str),
            ),
        ];
        let query = given(AGREEMENTS, &parameters);
        Pages::new(self, "list share agreements", [query], scrubbed)
    }

    /// One of them.
    pub async fn share_agreement(self, id: &str) -> Result<Answer<ShareAgreement>, CatenaError> {
        let call = Call::get("get share agreement", below(AGREEMENTS, id)?);
        self.send(&call).await?.one(scrubbed)
    }

    /// Changes when it holds.
    pub async fn update_share_agreement(
        self,
        id: &str,
        dates: &AgreementDates,
    ) -> Result<Answer<ShareAgreement>, CatenaError> {
        let path = below(AGREEMENTS, id)?;
        let call = Call::new("update share agreement", Method::PATCH, path).with_body(dates);
        self.send(&call).await?.one(scrubbed)
    }

    /// Makes it `paused`.
    pub async fn pause_share_agreement(
        self,
        id: &str,
    ) -> Result<Answer<ShareAgreement>, CatenaError> {
        self.act("pause share agreement", id, "pause").await
    }

    /// Makes it `active` again.
    pub async fn activate_share_agreement(
        self,
        id: &str,
    ) -> Result<Answer<ShareAgreement>, CatenaError> {
        self.act("activate share agreement", id, "activate").await
    }

    /// Makes it `cancelled`.
    pub async fn cancel_share_agreement(
        self,
        id: &str,
    ) -> Result<Answer<ShareAgreement>, CatenaError> {
        self.act("cancel share agreement", id, "cancel").await
    }

    /// Deletes it.
    pub async fn delete_share_agreement(self, id: &str) -> Result<Answer<()>, CatenaError> {
        self.delete("delete share agreement", below(AGREEMENTS, id)?)
            .await
    }

    async fn act(
        self,
        operation: &'static str,
        id: &str,
        action: &str,
    ) -> Result<Answer<ShareAgreement>, CatenaError> {
        let path = format!("{}/{action}", below(AGREEMENTS, id)?);
        let call = Call::new(operation, Method::POST, path);
        self.send(&call).await?.one(scrubbed)
    }
}

/// Providers (contract 3.5), and requests for others (contract 3.6: hidden endpoints, which may answer 403 or 404).
impl Calls<'_> {
    /// The providers that Catena supports, or those with a slug or of a source. About two hundred in all.
    pub async fn providers(
        self,
        slug: Option<&str>,
        source_name: Option<&str>,
    ) -> Result<Answer<Vec<Provider>>, CatenaError> {
        let query = given(TSPS, &[("slug", slug), ("source_name", source_name)]);
        let call = Call::get("list providers", query).of_many();
        self.send(&call).await?.array(scrubbed)
    }

    /// One provider.
    pub async fn provider(self, id: &str) -> Result<Answer<Provider>, CatenaError> {
        let call = Call::get("get provider", below(TSPS, id)?);
        self.send(&call).await?.one(scrubbed)
    }

    /// Requests for providers that our fleets made, all or those of a fleet.
    pub async fn integration_requests(
        self,
        fleet_id: Option<&str>,
        fleet_ref: Option<&str>,
    ) -> Result<Answer<Vec<IntegrationRequest>>, CatenaError> {
        let parameters = [("fleet_id", fleet_id), ("fleet_ref", fleet_ref)];
        let call = Call::get("list integration requests", given(REQUESTS, &parameters)).of_many();
        self.send(&call).await?.array(scrubbed)
    }

    /// Looks in the registry of providers that aren't supported. Its records aren't documented, so they come as they are,
    /// scrubbed.
    pub async fn external_providers(self, q: &str) -> Result<Answer<Vec<Value>>, CatenaError> {
        let call = Call::get("search external providers", target(EXTERNAL, &[("q", q)])).of_many();
        self.send(&call).await?.array(|mut record| {
            scrub_record(&mut record, false);
            Ok(record)
        })
    }
}

const INVITATIONS: &str = "/v2/orgs/invitations";
const FLEETS: &str = "/v2/orgs/fleets";
const AGREEMENTS: &str = "/v2/orgs/share-agreements";
const TSPS: &str = "/v2/orgs/tsps";
const EXTERNAL: &str = "/v2/orgs/external-tsps";
const REQUESTS: &str = "/v2/orgs/external-tsps/integration-requests";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_kept_changed_or_taken_away() {
        let json = |dates| serde_json::to_string(&dates).unwrap();
        assert_eq!(json(AgreementDates::default()), "{}");
        assert_eq!(
            json(AgreementDates {
                effective_date: Instant::parse_rfc3339("2026-05-04T08:00:00Z"),
                expiration_date: Some(None),
            }),
            r#"{"effective_date":"2026-05-04T08:00:00Z","expiration_date":null}"#
        );
    }
}

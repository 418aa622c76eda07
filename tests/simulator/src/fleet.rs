//! A made-up fleet on its way through onboarding.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::envelope::{uuid_v4, uuid_v7};

/// A fleet with all identifiers that Catena gives out on the way. Events about one fleet share
/// them.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The partner's name for the fleet.
    pub fleet_ref: String,
    /// What the partner calls the fleet.
    pub name: String,
    /// The partner that invites.
    pub partner_id: Uuid,
    /// When the invitation was created.
    pub invited_at: OffsetDateTime,
    /// The invitation: a secret, because it opens the fleet's tokens without authentication
    /// (contract 3.1).
    pub invitation_id: Uuid,
    /// Catena's name for the fleet; events carry it from acceptance on (contract 6.10).
    pub fleet_id: Uuid,
    /// The share agreement.
    pub share_agreement_id: Uuid,
    /// The connection to the provider.
    pub connection_id: Uuid,
    /// The link between fleet and connection.
    pub fleet_connection_id: Uuid,
    /// One schedule of the connection.
    pub schedule_id: Uuid,
    /// One execution of the schedule.
    pub execution_id: Uuid,
    /// One write operation on the connection.
    pub operation_id: Uuid,
    /// The message that the operation creates.
    pub message_id: Uuid,
    /// One integration request, for a provider that Catena doesn't support yet.
    pub integration_request_id: Uuid,
    /// The requested provider in Catena's external registry.
    pub ext_tsp_id: Uuid,
    /// The connected provider.
    pub tsp_id: Uuid,
    /// The connected provider's name and slug.
    pub source_name: String,
    /// What the magic link begins with, up to the `?`.
    pub connect_url: String,
}

impl Fleet {
    /// A fleet with fresh identifiers, invited at the given time.
    pub fn new(fleet_ref: &str, invited_at: OffsetDateTime) -> Self {
        Self {
            fleet_ref: fleet_ref.to_owned(),
            name: "Acme Trucking".to_owned(),
            partner_id: PARTNER,
            invited_at,
            invitation_id: uuid_v7(invited_at),
            fleet_id: uuid_v4(),
            share_agreement_id: uuid_v7(invited_at),
            connection_id: uuid_v7(invited_at),
            fleet_connection_id: uuid_v7(invited_at),
            schedule_id: uuid_v7(invited_at),
            execution_id: uuid_v7(invited_at),
            operation_id: uuid_v7(invited_at),
            message_id: uuid_v4(),
            integration_request_id: uuid_v4(),
            ext_tsp_id: uuid_v7(invited_at),
            tsp_id: SAMSARA,
            source_name: "samsara".to_owned(),
            connect_url: "https://connect.catenatelematics.com/".to_owned(),
        }
    }

    /// The link that the fleet opens (contract 3.1).
    pub fn magic_link(&self) -> String {
        format!("{}?invite={}", self.connect_url, self.invitation_id)
    }

    /// The first of two tokens that `invitation.accepted` carries. Made up, and easy to look for in
    /// leak tests.
    pub fn access_token(&self) -> String {
        format!("{TOKEN_PREFIX}ACCESS-TOKEN-{}", self.fleet_id)
    }

    /// The second of two tokens that `invitation.accepted` carries. Made up, and easy to look for
    /// in leak tests.
    pub fn refresh_token(&self) -> String {
        format!("{TOKEN_PREFIX}REFRESH-TOKEN-{}", self.fleet_id)
    }
}

/// What every made-up token begins with.
pub const TOKEN_PREFIX: &str = "SIMULATED-NOT-A-REAL-";

/// The partner of all of them.
pub(crate) const PARTNER: Uuid = Uuid::from_u128(0x9df9_2c50_d8a7_460e_aab2_a93f_1de9_280a);
const SAMSARA: Uuid = Uuid::from_u128(0x0d5d_f06e_3f7e_4f36_89b3_5e53_7c3d_514a);

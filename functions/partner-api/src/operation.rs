//! What can be asked: one operation per route.

/// An operation of the partner API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sees to it that a fleet is invited.
    PutInvitation,
    /// Takes a fleet's invitation back.
    DeleteInvitation,
    /// Gives a fleet another link.
    RotateLink,
    /// A fleet as it stands.
    GetFleet,
    /// Whether a fleet may in, and what may be read of it.
    GetAccess,
    /// The same for several fleets.
    GetAccessBatch,
    /// What led to a fleet's record.
    GetHistory,
    /// The fleets.
    ListFleets,
    /// Writes an operator's decision about a fleet down.
    PutOverride,
    /// Lifts operators' decisions about a fleet.
    DeleteOverride,
    /// Sends a write.
    SubmitOperation,
    /// Writes and what became of them.
    ListOperations,
    /// A write and what became of it.
    GetOperation,
}

impl Operation {
    /// All of them, in the order of the document.
    pub const ALL: [Self; 13] = [
        Self::PutInvitation,
        Self::DeleteInvitation,
        Self::RotateLink,
        Self::ListFleets,
        Self::GetFleet,
        Self::GetAccess,
        Self::GetAccessBatch,
        Self::GetHistory,
        Self::PutOverride,
        Self::DeleteOverride,
        Self::SubmitOperation,
        Self::ListOperations,
        Self::GetOperation,
    ];

    /// Method and path, as API Gateway calls the route.
    pub const fn route_key(self) -> &'static str {
        match self {
            Self::PutInvitation => "PUT /fleets/{fleet_ref}/invitation",
            Self::DeleteInvitation => "DELETE /fleets/{fleet_ref}/invitation",
            Self::RotateLink => "POST /fleets/{fleet_ref}/link",
            Self::ListFleets => "GET /fleets",
            Self::GetFleet => "GET /fleets/{fleet_ref}",
            Self::GetAccess => "GET /fleets/{fleet_ref}/access",
            Self::GetAccessBatch => "POST /access/batch",
            Self::GetHistory => "GET /fleets/{fleet_ref}/history",
            Self::PutOverride => "PUT /fleets/{fleet_ref}/override",
            Self::DeleteOverride => "DELETE /fleets/{fleet_ref}/override",
            Self::SubmitOperation => "POST /fleets/{fleet_ref}/operations",
            Self::ListOperations => "GET /operations",
            Self::GetOperation => "GET /operations/{operation_id}",
        }
    }

    /// The operation of a route.
    pub fn of(route_key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.route_key() == route_key)
    }

    /// Its name in the OpenAPI document and in the log.
    pub const fn id(self) -> &'static str {
        match self {
            Self::PutInvitation => "putInvitation",
            Self::DeleteInvitation => "deleteInvitation",
            Self::RotateLink => "rotateLink",
            Self::ListFleets => "listFleets",
            Self::GetFleet => "getFleet",
            Self::GetAccess => "getAccess",
            Self::GetAccessBatch => "getAccessBatch",
            Self::GetHistory => "getHistory",
            Self::PutOverride => "putOverride",
            Self::DeleteOverride => "deleteOverride",
            Self::SubmitOperation => "submitOperation",
            Self::ListOperations => "listOperations",
            Self::GetOperation => "getOperation",
        }
    }
}

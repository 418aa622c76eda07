//! What can be written (contract 5.3).

use serde::{Deserialize, Serialize};

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something new.
    Create,
    /// Something that there is.
    Update,
}

impl Kind {
    /// As Catena calls it (contract 5.4, `operation_type`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// One of Catena's write endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// What is written, as in permissions and in `resource` of operations.
    pub resource: &'static str,
    /// Whether it is new.
    pub kind: Kind,
    /// Where: the path below the API's base, to which an update adds the id of what it changes.
    pub path: &'static str,
}

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritable {
    /// Catena documents no writes of this resource.
    Resource,
    /// It can be created only.
    Update,
}

impl Write {
    /// All that Catena documents (contract 5.3).
    pub const ALL: [Self; 10] = [
        Self::new("message", Kind::Create, "/v2/telematics/messages"),
        Self::new(
            "group_message",
            Kind::Create,
            "/v2/telematics/group-messages",
        ),
        Self::new("vehicle", Kind::Create, "/v2/telematics/vehicles"),
        Self::new("vehicle", Kind::Update, "/v2/telematics/vehicles"),
        Self::new("trailer", Kind::Create, "/v2/telematics/trailers"),
        Self::new("trailer", Kind::Update, "/v2/telematics/trailers"),
        Self::new("user", Kind::Create, "/v2/telematics/users"),
        Self::new("user", Kind::Update, "/v2/telematics/users"),
        Self::new(
            "fuel_transaction",
            Kind::Create,
            "/v2/telematics/fuel-transactions",
        ),
        Self::new("dvir_log", Kind::Create, "/v2/telematics/dvir-logs"),
    ];

    const fn new(resource: &'static str, kind: Kind, path: &'static str) -> Self {
        Self {
            resource,
            kind,
            path,
        }
    }

    /// The endpoint for a resource.
    pub fn of(resource: &str, kind: Kind) -> Result<Self, NotWritable> {
        let mut of_resource = Self::ALL
            .iter()
            .filter(|it| it.resource == resource)
            .peekable();
        if of_resource.peek().is_none() {
            return Err(NotWritable::Resource);
        }
        of_resource
            .find(|it| it.kind == kind)
            .copied()
            .ok_or(NotWritable::Update)
    }

    /// The resources that can be written, for a message to people.
    pub fn resources() -> String {
        let mut names: Vec<&str> = Self::ALL.iter().map(|it| it.resource).collect();
        names.dedup();
        names.join(", ")
    }
}

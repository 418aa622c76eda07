//! Writes (contract 5.3) and what became of them (contract 5.4). Provisional at Catena: field names may change.

use std::time::Duration;

use catena::{Instant, ResourceOperation};
use fetch::http::Method;
use serde_json::{Map, Value};

use crate::{
    Answer, Calls, CatenaError, Pages,
    call::{Call, below, given, scrubbed, target},
};

/// Which operations to list; without dates, those of the last day only (contract 5.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationFilter {
    /// What was written.
    pub resource: Option<String>,
    /// By which connection.
    pub connection_id: Option<String>,
    /// Of which fleets, by our references: at most 100 (contract 2).
    pub fleet_refs: Vec<String>,
    /// Made from then on.
    pub from: Option<Instant>,
    /// Made until then; at most 45 days after `from` (contract 5.4).
    pub to: Option<Instant>,
}

impl<'a> Calls<'a> {
    /// Writes something by a provider, asynchronously. `path` is one of contract 5.3, `target` the id of what an update changes. Sent once, because
    /// Catena knows no idempotency keys (contract 2): after an error for which [`CatenaError::is_ambiguous`] holds, the write may have happened.
    pub async fn write(
        self,
        path: &str,
        target: Option<&str>,
        body: &Map<String, Value>,
    ) -> Result<Answer<ResourceOperation>, CatenaError> {
        let call = match target {
            Some(id) => Call::new("update by a provider", Method::PATCH, below(path, id)?),
            None => Call::new("write by a provider", Method::POST, path.to_owned()),
        };
        let call = call.with_body(body).once().lasting(LONGEST_WRITE);
        let reply = self.send(&call).await?;
        reply.one(scrubbed)
    }

    /// One operation.
    pub async fn operation(
        self,
        connection_id: &str,
        id: &str,
    ) -> Result<Answer<ResourceOperation>, CatenaError> {
        let path = format!("{}/resource-operations", below(CONNECTIONS, connection_id)?);
        let call = Call::get("get operation", below(&path, id)?);
        self.send(&call).await?.one(scrubbed)
    }

    /// The operations that a filter lets through. There is no filter by status.
    pub fn operations(self, filter: &OperationFilter) -> Pages<'a, ResourceOperation> {
        let (from, to) = (
            filter.from.map(|at| at.to_string()),
            filter.to.map(|at| at.to_string()),
        );
        let parameters = [
            ("resource", filter.resource.as_deref()),
            ("connection_id", filter.connection_id.as_deref()),
            ("from_datetime", from.as_deref()),
            ("to_datetime", to.as_deref()),
        ];
        let mut query = given(OPERATIONS, &parameters);
        for fleet in &filter.fleet_refs {
            let parameter = target("", &[("fleet_refs", fleet)]);
            query.push(if query.contains('?') { '&' } else { '?' });
            query.push_str(parameter.trim_start_matches('?'));
        }
        Pages::new(self, "list operations", [query], scrubbed)
    }
}

/// One that is cut off isn't repeated but searched for, and may end unknown: so it has more time than other calls.
const LONGEST_WRITE: Duration = Duration::from_secs(10);
const CONNECTIONS: &str = "/v2/integrations/connections";
const OPERATIONS: &str = "/v2/integrations/connections/resource-operations";

//! The integration endpoints of contract 5.1 and 5.2 that read connections and their schedules, one function each.

use catena::{Connection, Schedule};

use crate::{
    Answer, Calls, CatenaError, Pages,
    call::{Call, below, portions, scrubbed},
};

/// Connections (contract 5.1). Fleets make and change them.
impl<'a> Calls<'a> {
    /// All that we may see.
    pub fn connections(self) -> Pages<'a, Connection> {
        let queries = [CONNECTIONS.to_owned()];
        Pages::new(self, "list connections", queries, scrubbed)
    }

    /// Those of some references of ours. However many they are, they are asked for in bearable portions; of none, none are.
    /// One that serves fleets of several portions comes with each.
    pub fn connections_of<'r>(
        self,
        fleet_refs: impl IntoIterator<Item = &'r str>,
    ) -> Pages<'a, Connection> {
        let queries = portions(CONNECTIONS, "fleet_refs", fleet_refs);
        Pages::new(self, "list connections", queries, scrubbed)
    }

    /// One of them.
    pub async fn connection(self, id: &str) -> Result<Answer<Connection>, CatenaError> {
        let call = Call::get("get connection", below(CONNECTIONS, id)?);
        self.send(&call).await?.one(scrubbed)
    }
}

/// Schedules (contract 5.2).
impl<'a> Calls<'a> {
    /// Those of a connection. Fails at once if `connection_id` can't be one.
    pub fn schedules(self, connection_id: &str) -> Result<Pages<'a, Schedule>, CatenaError> {
        let query = format!("{}/schedules", below(CONNECTIONS, connection_id)?);
        Ok(Pages::new(self, "list schedules", [query], scrubbed))
    }
}

const CONNECTIONS: &str = "/v2/integrations/connections";

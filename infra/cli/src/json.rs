//! What `--json` says of decisions; what it says of fleets and facts are the words of the partner API (crate `api`).

use fleet::{Decisions, Override, Timestamp};
use serde_json::{Value, json};

use crate::{readable::granted_id, when::rfc3339};

/// `{grants: [{request, starts, ends}], block, grant}`; the latter two `{at, decided}`, or null if there is none; inside,
/// null if it was lifted.
pub(crate) fn decisions(decisions: &Decisions) -> Value {
    let grants = decisions.grants.iter().map(|(id, grant)| {
        json!({
            "request": granted_id(id),
            "starts": rfc3339(grant.starts),
            "ends": rfc3339(grant.ends),
        })
    });
    let decided = |at: Timestamp, decided: Option<&Override>| {
        let decided = decided.map(|it| {
            let mut said = json!({ "author": it.author(), "reason": it.reason() });
            if let Some(ends) = it.ends() {
                said["ends"] = rfc3339(ends);
            }
            said
        });
        json!({ "at": rfc3339(at), "decided": decided })
    };
    let block = decisions.block.as_ref();
    let pass = decisions.pass.as_ref();
    json!({
        "grants": grants.collect::<Vec<_>>(),
        "block": block.map(|it| decided(it.at().time(), it.value().as_ref())),
        "grant": pass.map(|it| decided(it.at().time(), it.value().0.as_ref())),
    })
}

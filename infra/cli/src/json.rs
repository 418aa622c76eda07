//! What `--json` says of things. The names are public and stay, whatever form the table keeps them in; times are RFC 3339,
//! and of an invitation's hash there is no more than tells it from others.

use std::collections::BTreeMap;

use fleet::{
    Admission, Claim, ConnectionFact, Decision, Decisions, Due, Fact, InvitationFact, Level,
    Override, Reason, Timestamp,
};
use serde_json::{Map, Value, json};

use crate::{
    readable::{granted_id, short_hash},
    when::rfc3339,
};

/// `{kind, until?}`.
pub(crate) fn admission(admission: Admission) -> Value {
    let kind = json!({ "kind": admission.as_str() });
    with(kind, [("until", admission.until().map(rfc3339))])
}

/// Resource to `read` or `read_write`.
pub(crate) fn scopes(scopes: &BTreeMap<String, Level>) -> Value {
    let scope = |(resource, level): (&String, &Level)| (resource.clone(), json!(name(level)));
    Value::Object(scopes.iter().map(scope).collect())
}

/// `{code, about?, detail?, since?, until?}`.
pub(crate) fn reason(reason: &Reason) -> Value {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let more = [
        ("about", text(&reason.about)),
        ("detail", text(&reason.detail)),
        ("since", reason.since.map(rfc3339)),
        ("until", reason.until.map(rfc3339)),
    ];
    with(json!({ "code": reason.code.as_str() }), more)
}

/// `{at, why}`.
pub(crate) fn due(due: &Due) -> Value {
    json!({ "at": rfc3339(due.at), "why": due.why.as_str() })
}

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
            let said = json!({ "author": it.author(), "reason": it.reason() });
            with(said, [("ends", it.ends().map(rfc3339))])
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

/// `{kind, …}`: what was so, by what it is about.
pub(crate) fn fact(fact: &Fact) -> Value {
    match fact {
        Fact::Name(name) => json!({ "kind": "name", "name": name }),
        Fact::CatenaFleet(id) => json!({ "kind": "catena_fleet", "catena_fleet": id }),
        Fact::Invitation { invitation, was } => {
            let hash = short_hash(invitation);
            with(
                json!({ "kind": "invitation", "invitation": hash }),
                invitation_was(was),
            )
        }
        Fact::Agreement {
            id,
            made,
            agreement,
        } => {
            let status = agreement.status.as_str();
            let more = [
                ("made", made.map(rfc3339)),
                ("scopes", agreement.scopes.as_ref().map(scopes)),
                ("effective", agreement.effective.map(rfc3339)),
                ("ends", agreement.ends.map(rfc3339)),
            ];
            with(
                json!({ "kind": "agreement", "agreement": id, "status": status }),
                more,
            )
        }
        Fact::Connection { connection, was } => with(
            json!({ "kind": "connection", "connection": connection }),
            connection_was(was),
        ),
        Fact::Linked { connection } => json!({ "kind": "linked", "connection": connection }),
        Fact::Request { id, request } => {
            let made = json!({
                "kind": "request",
                "request": id,
                "created": rfc3339(request.created),
                "provider": request.provider,
                "provider_id": request.provider_id,
                "live_as": request.live_as,
            });
            let hash = request.invitation.as_deref().map(short_hash);
            with(made, [("invitation", hash.map(Value::String))])
        }
        Fact::RequestsRefused(refused) => json!({ "kind": "requests_refused", "refused": refused }),
    }
}

fn invitation_was(was: &InvitationFact) -> Vec<(&'static str, Option<Value>)> {
    match was {
        InvitationFact::Decision(decision) => {
            let (decision, why) = match decision {
                Decision::Open => ("open", None),
                Decision::Accepted => ("accepted", None),
                Decision::Expired => ("expired", None),
                Decision::Declined(why) => ("declined", why.as_ref()),
                Decision::Deleted => ("deleted", None),
            };
            vec![
                ("was", Some(json!(decision))),
                ("reason", why.map(|why| json!(why))),
            ]
        }
        InvitationFact::Created => vec![("was", Some(json!("created")))],
        InvitationFact::Viewed => vec![("was", Some(json!("viewed")))],
        InvitationFact::Sent => vec![("was", Some(json!("sent")))],
        InvitationFact::Ends(ends) => vec![("ends", Some(rfc3339(*ends)))],
        InvitationFact::Claim(claim) => {
            let (claim, request) = match claim {
                Claim::Connected => ("connected", None),
                Claim::Requested(request) => ("requested", request.as_ref()),
                Claim::Failed => ("failed", None),
                Claim::Unclear => ("unclear", None),
            };
            vec![
                ("claim", Some(json!(claim))),
                ("request", request.map(|id| json!(id))),
            ]
        }
    }
}

fn connection_was(was: &ConnectionFact) -> Vec<(&'static str, Option<Value>)> {
    match was {
        ConnectionFact::State(state) => vec![("state", Some(json!(state.as_str())))],
        ConnectionFact::Source(source) => vec![("source", Some(json!(source)))],
        ConnectionFact::Schedule { id, schedule } => vec![
            ("schedule", Some(json!(id))),
            ("stopped", Some(json!(schedule.stopped))),
            (
                "resource",
                schedule.resource.as_ref().map(|resource| json!(resource)),
            ),
        ],
    }
}

fn name(level: &Level) -> &str {
    match level {
        Level::ReadWrite => "read_write",
        Level::Read => "read",
        Level::Unknown(other) => other,
    }
}

/// An object with more fields, those that there are.
fn with(object: Value, more: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let mut fields = match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let more = more
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    fields.extend(more);
    Value::Object(fields)
}

//! What was observed. Of an invitation's hash there is no more than tells it from others.

use fleet::{Claim, ConnectionFact, Decision, Fact, InvitationFact, RegulatoryId};
use serde_json::{Map, Value, json};

use crate::{Moment, standing::scopes};

/// The beginning of an invitation's hash: enough to tell it from others.
pub fn short_hash(hash: &str) -> String {
    hash.chars().take(8).collect()
}

/// `{kind, …}`: what was so, by what it is about.
pub fn fact(fact: &Fact) -> Map<String, Value> {
    let described = match fact {
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
                ("made", made.map(moment)),
                (
                    "scopes",
                    agreement.scopes.as_ref().map(|it| json!(scopes(it))),
                ),
                ("effective", agreement.effective.map(moment)),
                ("ends", agreement.ends.map(moment)),
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
                "created": moment(request.created),
                "provider": request.provider,
                "provider_id": request.provider_id,
                "live_as": request.live_as,
            });
            let hash = request.invitation.as_deref().map(short_hash);
            with(made, [("invitation", hash.map(Value::String))])
        }
        Fact::RequestsRefused(refused) => json!({ "kind": "requests_refused", "refused": refused }),
        Fact::Regulatory(number) => with(json!({ "kind": "regulatory_id" }), regulatory(number)),
    };
    match described {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn regulatory(number: &RegulatoryId) -> Vec<(&'static str, Option<Value>)> {
    let kind = number.kind.as_ref();
    vec![
        ("regulatory_id", Some(json!(number.id))),
        ("regulatory_id_type", kind.map(|kind| json!(kind))),
    ]
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
        InvitationFact::Ends(ends) => vec![("ends", Some(moment(*ends)))],
        InvitationFact::InvitedAs(number) => {
            let mut was = regulatory(number);
            was.push(("was", Some(json!("invited_as"))));
            was
        }
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

fn moment(at: fleet::Timestamp) -> Value {
    json!(Moment(at))
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

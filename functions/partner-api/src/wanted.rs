//! What a write asks for, and whether the fleet lets it: from values alone.

use std::collections::BTreeMap;

use api::{Connection, FieldProblem, OperationRequest};
use fleet::{FleetRef, Level, Policy, Record, Timestamp};
use operations::{Kind as WriteKind, NotWritable, Operation, Status, Write};
use serde_json::{Map, Value};
use store::Guard;

use crate::refusal::{Kind, Refusal};

/// A write that Catena has an endpoint for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) write: Write,
    /// Catena's id of what is updated.
    pub(crate) target: Option<String>,
    connection: Option<String>,
    payload: Map<String, Value>,
}

impl Wanted {
    /// What a request asks for.
    pub(crate) fn of(request: OperationRequest) -> Result<Self, Refusal> {
        let kind = WriteKind::from(request.operation);
        let mut problems = Vec::new();
        let write = Write::of(&request.resource, kind).map_err(|not| match not {
            NotWritable::Resource => {
                FieldProblem::new("resource", format!("write one of {}", Write::resources()))
            }
            NotWritable::Update => FieldProblem::new(
                "operation",
                format!("a {} can only be created: write create", request.resource),
            ),
        });
        match (kind, &request.resource_id) {
            (WriteKind::Update, None) => problems.push(FieldProblem::new(
                RESOURCE_ID,
                "write Catena's id of what is to be updated",
            )),
            (WriteKind::Create, Some(_)) => problems.push(FieldProblem::new(
                RESOURCE_ID,
                "what is created has no id yet: leave it out",
            )),
            (WriteKind::Update, Some(_)) | (WriteKind::Create, None) => {}
        }
        for (field, id) in [
            (RESOURCE_ID, &request.resource_id),
            (CONNECTION_ID, &request.connection_id),
        ] {
            if id.as_deref().is_some_and(|id| !is_id(id)) {
                problems.push(FieldProblem::new(field, ID));
            }
        }
        match write {
            Ok(write) if problems.is_empty() => Ok(Self {
                write,
                target: request.resource_id,
                connection: request.connection_id,
                payload: request.payload,
            }),
            Ok(_) => Err(Refusal::fields(problems)),
            Err(problem) => {
                problems.insert(0, problem);
                Err(Refusal::fields(problems))
            }
        }
    }

    /// What a repeated key must come with.
    pub(crate) fn digest(&self) -> String {
        operations::request_digest(
            self.write.resource,
            self.write.kind,
            self.target.as_deref(),
            self.connection.as_deref(),
            &self.payload,
        )
    }

    /// What two writes share that couldn't be told apart at Catena.
    pub(crate) fn guard_digest(&self, connection: &str) -> String {
        let (resource, kind) = (self.write.resource, self.write.kind);
        operations::guard_digest(connection, resource, kind, &self.kept_payload())
    }

    /// The payload as it is kept: without passwords, tokens and whatever else must not rest. What Catena lists is read without them, too,
    /// so only this form can be found there again, and writes that differ in a password alone can't be told apart.
    pub(crate) fn kept_payload(&self) -> Map<String, Value> {
        let mut payload = Value::Object(self.payload.clone());
        catena::scrub_record(&mut payload, false);
        match payload {
            Value::Object(payload) => payload,
            _ => Map::new(),
        }
    }

    /// What Catena is sent, with all that was given: every write names its connection (contract 5.3).
    pub(crate) fn body(&self, connection: &str) -> Map<String, Value> {
        let mut body = self.payload.clone();
        body.insert(CONNECTION_ID.to_owned(), connection.into());
        body
    }

    /// The connection to write by: one of the fleet's live ones.
    pub(crate) fn connection(&self, fleet: &FleetRef, record: &Record) -> Result<String, Refusal> {
        let connections = Connection::all(record);
        let live: Vec<&str> = connections
            .iter()
            .filter(|it| it.live)
            .map(|it| it.id.as_str())
            .collect();
        let given = self.connection.as_deref().map(|id| {
            let mut known = connections.iter();
            (id, known.find(|it| it.id.eq_ignore_ascii_case(id)))
        });
        let chosen = match (given, &live[..]) {
            (Some((_, Some(known))), _) if known.live => known.id.clone(),
            (Some((_, Some(known))), _) => {
                let state = known.state.as_deref().unwrap_or("not linked to the fleet");
                return Err(Refusal::field(
                    CONNECTION_ID,
                    format!(
                        "this connection is {state}, so nothing can be written by it; {}",
                        instead(&live)
                    ),
                ));
            }
            (_, []) => return Err(no_live_connection(fleet, &connections)),
            (Some((_, None)), _) => {
                return Err(Refusal::field(
                    CONNECTION_ID,
                    format!("no connection of the fleet; {}", instead(&live)),
                ));
            }
            (None, [only]) => (*only).to_owned(),
            (None, _) => {
                return Err(Refusal::field(
                    CONNECTION_ID,
                    format!("the fleet has several live connections; {}", instead(&live)),
                ));
            }
        };
        match self.payload.get(CONNECTION_ID) {
            Some(Value::String(id)) if id.eq_ignore_ascii_case(&chosen) => Ok(chosen),
            Some(Value::Null) | None => Ok(chosen),
            Some(_) => Err(Refusal::field(
                "payload.connection_id",
                format!("leave it out, or write the connection that it is written by: {chosen}"),
            )),
        }
    }

    /// Refuses what the fleet doesn't share for writing. Keys of scopes may be plurals (contract 7, 5).
    pub(crate) fn allowed_by(
        &self,
        fleet: &FleetRef,
        scopes: &BTreeMap<String, Level>,
    ) -> Result<(), Refusal> {
        let resource = self.write.resource;
        let plural = format!("{resource}s");
        let shared = [resource, &plural].map(|key| scopes.get(key));
        if shared.contains(&Some(&Level::ReadWrite)) {
            return Ok(());
        }
        let shares = match shared.into_iter().flatten().next() {
            Some(Level::Read) => "read",
            Some(Level::Unknown(other)) => other,
            Some(Level::ReadWrite) | None => "nothing of it",
        };
        Err(Refusal::new(
            Kind::ScopeMissing,
            format!(
                "This needs read_write on {resource}; fleet {fleet} shares {shares}. Nothing was sent. Ask the fleet for it: invite \
                 it with permissions that hold \"{resource}\": \"read_write\", and let it accept."
            ),
        ))
    }
}

/// Seconds until it makes sense to ask whether an equal write may go; `None` if it may now. `guard` says who took the last turn, `holder` is that
/// operation as it is.
pub(crate) fn wait_for(
    guard: &Guard,
    holder: Option<&Operation>,
    policy: &Policy,
    now: Timestamp,
) -> Option<u64> {
    let seconds = |until: Timestamp, least: i64| {
        let left = until.0.saturating_sub(now.0) / 1000 + 1;
        left.clamp(least, LONGEST_WAIT) as u64
    };
    // Who takes a turn writes its operation at once, or never: its function ends before.
    let turn_ends = guard.since.plus(TURN_MS);
    let taken = (now < turn_ends).then(|| seconds(turn_ends, 1));
    let Some(holder) = holder else {
        return taken;
    };
    match (holder.status(now), holder.settled_at()) {
        (status, _) if status.is_ambiguous() => {
            let due = holder.due(policy).unwrap_or(now);
            Some(seconds(due, SHORTEST_WAIT))
        }
        // It took the turn after it was refused: it is about to be sent again.
        (Status::Refused, Some(refused_at)) if refused_at < guard.since => taken,
        _ => None,
    }
}

fn no_live_connection(fleet: &FleetRef, connections: &[Connection]) -> Refusal {
    let states = connections.iter().map(|it| {
        let state = it.state.as_deref().unwrap_or("not linked");
        format!("{} is {state}", it.id)
    });
    let states = match connections {
        [] => "it has none".to_owned(),
        _ => states.collect::<Vec<_>>().join(", "),
    };
    Refusal::new(
        Kind::NoLiveConnection,
        format!(
            "Fleet {fleet} has no live connection to write by: {states}. Nothing was sent. Send the fleet its link, so that it connects, and \
             try again once its stage is connected."
        ),
    )
}

fn instead(live: &[&str]) -> String {
    match live {
        [] => "the fleet has no live one".to_owned(),
        live => format!("write one of its live ones: {}", live.join(", ")),
    }
}

/// Whether a text may be one of Catena's ids: UUIDs (contract 2), and what else a path can hold.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

const RESOURCE_ID: &str = "resource_id";
const CONNECTION_ID: &str = "connection_id";
const ID: &str = "write 1 to 100 letters (A-Z, a-z), digits, - and _";
/// Longer than a call of this function lasts.
const TURN_MS: i64 = 60 * 1000;
/// In seconds. A search needs its time.
const SHORTEST_WAIT: i64 = 5;
/// In seconds.
const LONGEST_WAIT: i64 = 600;

#[cfg(test)]
mod tests {
    use fleet::{At, ConnectionFact, ConnectionState, Fact, Observation};
    use operations::{Asked, Refused};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    fn request(body: Value) -> OperationRequest {
        serde_json::from_value(body).unwrap()
    }

    fn wanted(body: Value) -> Wanted {
        Wanted::of(request(body)).unwrap()
    }

    fn message() -> Wanted {
        wanted(json!({ "resource": "message", "operation": "create", "payload": {} }))
    }

    fn fleet() -> FleetRef {
        FleetRef::parse("FLEET-42").unwrap()
    }

    fn record(connections: &[(&str, ConnectionState)]) -> Record {
        let mut record = Record::default();
        for (id, state) in connections {
            let connection = (*id).to_owned();
            let was = ConnectionFact::State(state.clone());
            for (at, fact) in [
                (
                    1,
                    Fact::Linked {
                        connection: connection.clone(),
                    },
                ),
                (2, Fact::Connection { connection, was }),
            ] {
                let at = At(Timestamp(at), 0);
                record = record.fold(&Observation { at, fact });
            }
        }
        record
    }

    fn fields(refusal: &Refusal) -> Vec<&str> {
        let errors = refusal.problem.errors.iter();
        errors.map(|it| it.field.as_str()).collect()
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        for (body, expected) in [
            (
                json!({ "resource": "dock", "operation": "create" }),
                "resource",
            ),
            (
                json!({ "resource": "message", "operation": "update", "resource_id": "1" }),
                "operation",
            ),
            (
                json!({ "resource": "vehicle", "operation": "update" }),
                "resource_id",
            ),
            (
                json!({ "resource": "vehicle", "operation": "create", "resource_id": "1" }),
                "resource_id",
            ),
            (
                json!({ "resource": "vehicle", "operation": "update", "resource_id": "a/b" }),
                "resource_id",
            ),
            (
                json!({ "resource": "vehicle", "operation": "create", "connection_id": "" }),
                "connection_id",
            ),
        ] {
            let mut body = body;
            body["payload"] = json!({});
            let refusal = Wanted::of(request(body.clone())).unwrap_err();
            assert_eq!(fields(&refusal), [expected], "{body}");
        }
        let dock = request(json!({ "resource": "dock", "operation": "create", "payload": {} }));
        let refusal = Wanted::of(dock).unwrap_err();
        assert!(
            refusal
                .problem
                .detail
                .contains("message, group_message, vehicle")
        );
    }

    #[test]
    fn the_only_live_connection_can_be_left_out() {
        use ConnectionState::{Active, Failed};
        let one = record(&[("A", Failed), ("B", Active)]);
        let named = |id: &str| {
            let mut body = json!({ "resource": "message", "operation": "create", "payload": {} });
            body["connection_id"] = json!(id);
            wanted(body)
        };
        let detail = |wanted: Wanted, record: &Record| {
            let refusal = wanted.connection(&fleet(), record).unwrap_err();
            (refusal.problem.status, refusal.problem.detail)
        };
        assert_eq!(message().connection(&fleet(), &one).unwrap(), "B");
        assert_eq!(named("b").connection(&fleet(), &one).unwrap(), "B");
        let (status, why) = detail(named("A"), &one);
        assert!(
            status == 422 && why.contains("failed") && why.contains("live ones: B"),
            "{why}"
        );
        let (status, why) = detail(named("C"), &one);
        assert!(status == 422 && why.contains("live ones: B"), "{why}");

        let two = record(&[("A", Active), ("B", Active)]);
        let (status, why) = detail(message(), &two);
        assert!(status == 422 && why.contains("live ones: A, B"), "{why}");
        let none = record(&[("A", Failed)]);
        let (status, why) = detail(message(), &none);
        assert!(status == 409 && why.contains("A is failed"), "{why}");
        assert_eq!(detail(message(), &Record::default()).0, 409);
        assert_eq!(detail(named("A"), &none).0, 422);
    }

    #[test]
    fn a_payload_names_no_other_connection_and_is_sent_with_its_own() {
        let active = record(&[("A", ConnectionState::Active)]);
        let with = |connection: Value| {
            let payload = json!({ "connection_id": connection, "message_text": "Hello" });
            wanted(json!({ "resource": "message", "operation": "create", "payload": payload }))
        };
        for good in [json!("A"), json!("a"), Value::Null] {
            let wanted = with(good);
            assert_eq!(wanted.connection(&fleet(), &active).unwrap(), "A");
            let sent = json!({ "connection_id": "A", "message_text": "Hello" });
            assert_eq!(Value::from(wanted.body("A")), sent);
        }
        for bad in [json!("B"), json!(7)] {
            let refusal = with(bad).connection(&fleet(), &active).unwrap_err();
            assert_eq!(fields(&refusal), ["payload.connection_id"]);
        }
    }

    #[test]
    fn what_must_not_rest_is_sent_and_not_kept() {
        let user = |password: &str, name: &str| {
            let payload = json!({
                "name": name, "password": password, "login": { "api_token": password, "tokens": [password] },
            });
            wanted(json!({ "resource": "user", "operation": "create", "payload": payload }))
        };
        let one = user("hush", "Ada");
        assert_eq!(
            Value::from(one.kept_payload()),
            json!({ "name": "Ada", "login": {} })
        );
        assert_eq!(one.body("A")["password"], "hush");
        assert_eq!(one.body("A")["login"]["api_token"], "hush");
        // Nobody could tell the two apart at Catena; a repeated key has to come with the same password all the same.
        let other = user("secret", "Ada");
        assert_eq!(one.guard_digest("A"), other.guard_digest("A"));
        assert_ne!(one.digest(), other.digest());
        assert_ne!(one.guard_digest("A"), user("hush", "Eve").guard_digest("A"));
    }

    #[test]
    fn a_scope_for_writing_is_needed_under_either_name() {
        let allowed = |scopes: &[(&str, Level)]| {
            let scopes = scopes.iter();
            let scopes = scopes.map(|(name, level)| ((*name).to_owned(), level.clone()));
            message().allowed_by(&fleet(), &scopes.collect())
        };
        let future = || Level::Unknown("write_only".to_owned());
        assert!(allowed(&[("message", Level::ReadWrite)]).is_ok());
        assert!(allowed(&[("messages", Level::ReadWrite)]).is_ok());
        assert!(allowed(&[("message", Level::Read), ("messages", Level::ReadWrite)]).is_ok());
        for (scopes, shares) in [
            (vec![], "shares nothing of it"),
            (vec![("vehicle", Level::ReadWrite)], "shares nothing of it"),
            (vec![("message", Level::Read)], "shares read."),
            (vec![("messages", Level::Read)], "shares read."),
            (vec![("message", future())], "shares write_only."),
        ] {
            let refusal = allowed(&scopes).unwrap_err();
            let detail = &refusal.problem.detail;
            assert_eq!(refusal.problem.status, 403);
            assert!(detail.contains("needs read_write on message"), "{detail}");
            assert!(detail.contains(shares), "{scopes:?}: {detail}");
        }
    }

    #[test]
    fn an_equal_write_waits_for_what_nobody_knows_the_fate_of() {
        let policy = Policy::default();
        let turn = |ago: i64| Guard {
            operation: "other".to_owned(),
            since: NOW.plus(-ago),
        };
        let calling = |ago: i64| {
            let asked = Asked {
                fleet: fleet(),
                key: "key".to_owned(),
                by: "arn:aws:iam::1:user/x".to_owned(),
                resource: "message".to_owned(),
                kind: WriteKind::Create,
                target: None,
                connection: "A".to_owned(),
                digest: String::new(),
            };
            Operation::new("other".to_owned(), asked, Map::new(), NOW.plus(-ago))
        };
        let waits =
            |ago: i64, holder: Option<&Operation>| wait_for(&turn(ago), holder, &policy, NOW);
        // Taken a moment ago by one that isn't written yet, or never was.
        assert_eq!(waits(1_000, None), Some(60));
        assert_eq!(waits(60_000, None), None);
        // Under way; cut off; searched for.
        assert_eq!(waits(1_000, Some(&calling(1_000))), Some(40));
        assert_eq!(waits(90_000, Some(&calling(90_000))), Some(5));
        let mut unclear = calling(5_000);
        unclear.lose_answer("cut off", NOW);
        assert_eq!(waits(5_000, Some(&unclear)), Some(11));

        // Its fate is known.
        let mut accepted = calling(5_000);
        accepted.accept("C-1", None, operations::Heard::default(), NOW);
        assert_eq!(waits(5_000, Some(&accepted)), None);
        let refused = |ago: i64| {
            let mut refused = calling(5_000);
            refused.refuse(Refused {
                at: NOW.plus(-ago),
                why: "no".to_owned(),
                by_catena: true,
            });
            refused
        };
        assert_eq!(waits(5_000, Some(&refused(4_000))), None);
        // It took another turn after it was refused: it is about to be sent again, or its program ended.
        assert_eq!(waits(1_000, Some(&refused(4_000))), Some(60));
        assert_eq!(waits(70_000, Some(&refused(80_000))), None);
    }
}

//! The OpenAPI document: made of the operations and of the types that they read and write.

use operations::{Status, Write};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    handler::{MOST, USUAL_SIZE},
    operation::Operation,
};

/// The partner API as an OpenAPI 3.1 document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in Operation::ALL {
        let Some((method, path)) = operation.route_key().split_once(' ') else {
            continue;
        };
        let described = described(operation, path, &mut schemas);
        paths.entry(path).or_insert(json!({}))[method.to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kingpin partner API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "https://{api}.execute-api.{region}.amazonaws.com",
            "description": "The stack's output PartnerApiUrl",
            "variables": { "api": { "default": "api" }, "region": { "default": "us-east-1" } },
        }],
        "security": [{ "sigv4": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "sigv4": {
                "type": "apiKey",
                "name": "Authorization",
                "in": "header",
                "description": "AWS Signature Version 4 for the service `execute-api`, by an IAM principal that may \
                                `execute-api:Invoke` the route.",
                "x-amazon-apigateway-authtype": "awsSigv4",
            } },
        },
    })
}

/// What one operation takes and answers.
struct Told {
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    example: Option<Value>,
    answers: Vec<(u16, &'static str, Option<Value>)>,
    /// Statuses of problems, besides those that every operation may answer.
    problems: &'static [u16],
}

fn described(operation: Operation, path: &str, schemas: &mut SchemaGenerator) -> Value {
    let told = told(operation, schemas);
    let problem = reference::<api::Problem>(schemas);
    let mut responses: Map<String, Value> = Map::new();
    for (status, description, schema) in told.answers {
        let mut answer = json!({ "description": description });
        if let Some(schema) = schema {
            answer["content"] = json!({ "application/json": { "schema": schema } });
        }
        responses.insert(status.to_string(), answer);
    }
    for (status, description) in [
        (413, "The body is larger than API Gateway takes"),
        (429, "More calls than the account's API Gateway takes"),
    ] {
        let content = json!({ "application/json": { "schema": gateways_own() } });
        responses.insert(
            status.to_string(),
            json!({ "description": description, "content": content }),
        );
    }
    for status in told.problems.iter().chain(&[403, 404, 422, 500, 503]) {
        let mut content = json!({ "application/problem+json": { "schema": problem } });
        if [403, 404, 500, 503].contains(status) {
            // API Gateway's own.
            content["application/json"] = json!({ "schema": gateways_own() });
        }
        let mut answer = json!({ "description": meaning(operation, *status), "content": content });
        let waits = *status == 409 && operation == Operation::SubmitOperation;
        if *status == 503 || waits {
            answer["headers"] = json!({ "Retry-After": {
                "description": "Seconds after which trying again makes sense",
                "schema": { "type": "integer", "minimum": 1 },
            } });
        }
        responses.insert(status.to_string(), answer);
    }
    let mut parameters = told.parameters;
    if path.contains("{fleet_ref}") {
        let fleet = match operation {
            Operation::SubmitOperation => CONNECTED_FLEET,
            _ => EXAMPLE_FLEET,
        };
        parameters.insert(
            0,
            json!({
                "name": "fleet_ref", "in": "path", "required": true,
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
                "description": "The partner's own reference of the fleet. One that was invited without Kingpin may have another form; it is read all the same.", "example": fleet,
            }),
        );
    }
    if path.contains("{operation_id}") {
        parameters.insert(
            0,
            json!({
                "name": "operation_id", "in": "path", "required": true,
                "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
                "description": "The operation's `id`",
                "example": operations::operation_id(CONNECTED_FLEET, EXAMPLE_KEY),
            }),
        );
    }
    let mut described = json!({
        "operationId": operation.id(),
        "summary": told.summary,
        "description": told.description,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = told.body {
        let mut content = json!({ "schema": body });
        if let Some(example) = told.example {
            content["example"] = example;
        }
        described["requestBody"] = json!({
            "required": true, "content": { "application/json": content },
        });
    }
    described
}

fn told(operation: Operation, schemas: &mut SchemaGenerator) -> Told {
    let cursor = || {
        query(
            "cursor",
            "What an answer gave as `next_cursor`",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }),
        )
    };
    let size = || {
        query(
            "size",
            "The most entries on the page; of a history, the most writes, each of which may be several entries",
            json!({ "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL_SIZE }),
        )
    };
    match operation {
        Operation::PutInvitation => Told {
            summary: "Invite a fleet",
            description: "Sees to it that the fleet is invited with what the body asks for, and answers with the fleet's own \
                          link. The same body again, while the invitation can lead the fleet in, is answered without a call \
                          to Catena. Another body refreshes the invitation, unless Catena's has all that is asked for \
                          already.",
            parameters: vec![query(
                "reopen",
                "Also ask a fleet again that declined, or whose agreement or connections are over",
                json!({ "type": "boolean", "default": false }),
            )],
            body: Some(reference::<api::InvitationRequest>(schemas)),
            example: None,
            answers: vec![
                (
                    201,
                    "Catena made an invitation",
                    Some(reference::<api::Invitation>(schemas)),
                ),
                (
                    200,
                    "The fleet is invited",
                    Some(reference::<api::Invitation>(schemas)),
                ),
            ],
            problems: &[400, 409, 502],
        },
        Operation::DeleteInvitation => Told {
            summary: "Take an invitation back",
            description: "Takes the fleet's invitation back at Catena, and ends its link. Not possible once the fleet accepted; one that it \
                          declined stays declined.",
            parameters: vec![],
            body: None,
            example: None,
            answers: vec![(204, "There is no invitation any more", None)],
            problems: &[409, 502],
        },
        Operation::RotateLink => Told {
            summary: "Replace a fleet's link",
            description: "Gives the fleet another link; the old one leads nowhere from then on, and its page says \
                          whom to ask. The fleet's invitation stays as it is, and Catena isn't asked. Each call replaces the link \
                          again: of several answers the newest link works.",
            parameters: vec![],
            body: None,
            example: None,
            answers: vec![(
                201,
                "The fleet's new link",
                Some(reference::<api::FleetLink>(schemas)),
            )],
            problems: &[400],
        },
        Operation::GetFleet => Told {
            summary: "A fleet as it stands",
            description: "All that is known about the fleet, by one strongly consistent read.",
            parameters: vec![],
            body: None,
            example: None,
            answers: vec![(
                200,
                "The fleet",
                Some(reference::<api::FleetDetail>(schemas)),
            )],
            problems: &[],
        },
        Operation::GetAccess => Told {
            summary: "May this fleet in, and what may be read of it?",
            description: "Computed for this moment by one strongly consistent read; Catena isn't asked.",
            parameters: vec![],
            body: None,
            example: None,
            answers: vec![(
                200,
                "The fleet's access",
                Some(reference::<api::Access>(schemas)),
            )],
            problems: &[],
        },
        Operation::GetAccessBatch => Told {
            summary: "The access of several fleets",
            description: "As for one fleet, by one strongly consistent read for all.",
            parameters: vec![],
            body: Some(reference::<api::AccessBatchRequest>(schemas)),
            example: None,
            answers: vec![(
                200,
                "Their access",
                Some(reference::<api::AccessBatch>(schemas)),
            )],
            problems: &[400],
        },
        Operation::GetHistory => Told {
            summary: "What led to a fleet's record",
            description: "What was news about the fleet, and operators' decisions, the latest written first. Kept for the \
                          stack's HistoryDays.",
            parameters: vec![cursor(), size()],
            body: None,
            example: None,
            answers: vec![(200, "A page", Some(reference::<api::HistoryPage>(schemas)))],
            problems: &[],
        },
        Operation::ListFleets => Told {
            summary: "The fleets",
            description: "By the stage that they were last written in, and by reference. A fleet whose stage ended by time alone is \
                          listed under the one before, with its stage of this moment, until its record is written again.",
            parameters: vec![
                query(
                    "stage",
                    "Only fleets in this stage",
                    json!({ "type": "string", "enum": fleet::Stage::ALL.map(fleet::Stage::as_str) }),
                ),
                cursor(),
                size(),
            ],
            body: None,
            example: None,
            answers: vec![(200, "A page", Some(reference::<api::FleetPage>(schemas)))],
            problems: &[],
        },
        Operation::PutOverride => Told {
            summary: "Keep a fleet out, or let it in",
            description: "Writes an operator's decision down, with the caller's identity as its author. A block wins over a \
                          grant and over everything else; a grant needs an end.",
            parameters: vec![],
            body: Some(reference::<api::OverrideRequest>(schemas)),
            example: None,
            answers: vec![(
                200,
                "The fleet's access now",
                Some(reference::<api::Access>(schemas)),
            )],
            problems: &[400],
        },
        Operation::DeleteOverride => Told {
            summary: "Lift operators' decisions",
            description: "Lifts the block, the grant, or both unless `kind` says which.",
            parameters: vec![query(
                "kind",
                "Only this one",
                json!({ "type": "string", "enum": ["block", "grant"] }),
            )],
            body: None,
            example: None,
            answers: vec![(
                200,
                "The fleet's access now",
                Some(reference::<api::Access>(schemas)),
            )],
            problems: &[],
        },
        Operation::SubmitOperation => Told {
            summary: "Write by a fleet's provider",
            description: "Sends a message, updates a vehicle and so on, asynchronously: Catena's answer comes first, the provider's \
                          minutes later or never, as a domain event and by asking for the operation. A key is sent once: the same \
                          key with the same body is answered with the operation as it stands, without a call, unless it was \
                          `refused`, when Catena has nothing of it and it is sent again. While nobody knows whether Catena has an \
                          operation (`submitting`, `unclear`), an equal write under another key waits.",
            parameters: vec![json!({
                "name": "Idempotency-Key", "in": "header", "required": true,
                "description": "New for each write, and the same when it is repeated: a UUID, or the name of what it is for. It is a key \
                                of the fleet's, and stands for its operation as long as that is kept: the stack's HistoryDays from its last call.",
                "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
                "example": EXAMPLE_KEY,
            })],
            body: Some(reference::<api::OperationRequest>(schemas)),
            example: Some(json!({
                "resource": "message",
                "operation": "create",
                "payload": {
                    "sender_id": "6f1c1a52-8a4c-4a3c-9f52-3f0d7c1b2a10",
                    "recipient_id": "0b7d3c1e-52f1-4c0a-8a55-9d8f6e2b7c41",
                    "message_text": "Dock 7 is free",
                },
            })),
            answers: vec![
                (
                    202,
                    "Sent, or sent again after it was refused: the operation, whose `status` tells whether Catena has it (`pending`) or \
                     its answer was lost (`unclear`)",
                    Some(reference::<api::Operation>(schemas)),
                ),
                (
                    200,
                    "The key was sent before: the operation as it stands",
                    Some(reference::<api::Operation>(schemas)),
                ),
            ],
            problems: &[400, 409, 502],
        },
        Operation::ListOperations => Told {
            summary: "Writes, and what became of them",
            description: "Of one fleet, those that were asked for last come first; of all, in no order. Found by an index that is a \
                          moment behind, and read as they are now. A filter may leave a page empty though another follows.",
            parameters: vec![
                query(
                    "fleet_ref",
                    "Only of this fleet",
                    json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
                ),
                query(
                    "status",
                    "Only those that stand so",
                    json!({ "type": "string", "enum": Status::ALL.map(Status::as_str) }),
                ),
                query(
                    "resource",
                    "Only writes of this",
                    json!({ "type": "string", "enum": resources() }),
                ),
                query(
                    "from",
                    "Only what was first asked for then or later",
                    json!({ "type": "string", "format": "date-time" }),
                ),
                query(
                    "to",
                    "Only what was first asked for before then",
                    json!({ "type": "string", "format": "date-time" }),
                ),
                cursor(),
                size(),
            ],
            body: None,
            example: None,
            answers: vec![(
                200,
                "A page",
                Some(reference::<api::OperationPage>(schemas)),
            )],
            problems: &[],
        },
        Operation::GetOperation => Told {
            summary: "A write, and what became of it",
            description: "By one strongly consistent read; Catena isn't asked.",
            parameters: vec![],
            body: None,
            example: None,
            answers: vec![(
                200,
                "The operation",
                Some(reference::<api::Operation>(schemas)),
            )],
            problems: &[],
        },
    }
}

fn resources() -> Vec<&'static str> {
    let mut names: Vec<&str> = Write::ALL.iter().map(|it| it.resource).collect();
    names.dedup();
    names
}

/// What API Gateway answers by itself.
fn gateways_own() -> Value {
    json!({
        "type": "object",
        "properties": { "message": { "type": "string" } },
        "required": ["message"],
    })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn reference<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn meaning(operation: Operation, status: u16) -> &'static str {
    match (operation, status) {
        (Operation::SubmitOperation, status) => meaning_for_a_write(status),
        (Operation::GetOperation, 404) => "There is no such operation, or no such route",
        (_, status) => usual_meaning(status),
    }
}

fn meaning_for_a_write(status: u16) -> &'static str {
    match status {
        403 => {
            "The request isn't signed, its signer may not do this, or the fleet doesn't share the resource for writing \
             (`scope-missing`)"
        }
        409 => {
            "Nothing was sent: the key was sent with another body (`key-reused`), an equal write isn't clear yet \
             (`equal-write-unclear`), or the fleet has no live connection (`no-live-connection`)"
        }
        422 => {
            "Nothing was written: a field, a parameter or the header isn't as it should be, or Catena refuses the write \
             (`catena-refused`: a mended body needs a new key, the same one may be sent again under the same key)"
        }
        500 => "Something is broken: `detail` says whether the write may have been sent",
        502 => {
            "Catena refused the write in a way that isn't the caller's fault: nothing was written, and the same key may be sent again"
        }
        503 => {
            "Not now. `detail` says whether the write may have been sent; the same key, after `Retry-After`, is sent again only if \
             Catena has nothing of it"
        }
        status => usual_meaning(status),
    }
}

fn usual_meaning(status: u16) -> &'static str {
    match status {
        400 => "The body is no JSON, or too large",
        403 => "The request isn't signed, or its signer may not do this",
        404 => "There is no such fleet, link or route",
        409 => "The fleet's own decision is in the way",
        422 => "A field or parameter isn't as it should be: `errors` names it",
        500 => "Something is broken",
        502 => "Catena answered what can't be used",
        _ => "Not now: try again after `Retry-After`",
    }
}

const ABOUT: &str = "Invites fleets through Catena and answers whether they may in and what may be read of them. Every call is \
                     signed with AWS Signature Version 4. Problems are RFC 9457 documents; their `type` stays. Enumerations \
                     of answers are open.";
const EXAMPLE_FLEET: &str = "FLEET-42";
/// One whose invitation can't be taken back any more.
const CONNECTED_FLEET: &str = "FLEET-43";
const EXAMPLE_KEY: &str = "9a0e7f64-order-4711";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_document_is_the_one_that_the_code_makes() {
        let written: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let again = "write it again: cargo run -p partner-api --example openapi > functions/partner-api/openapi.json";
        assert_eq!(written, document(), "{again}");
    }
}

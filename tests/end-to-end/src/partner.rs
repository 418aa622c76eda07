//! The partner API on the deployed template: what a partner's platform is answered, and what Catena is asked for it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, Method};
use futures_util::{StreamExt, stream};
use local::{
    Options,
    authorization::USERS,
    event,
    runtime_api::Function,
    signed::{Answer, Signed},
    template::{Authorization, Template},
    wire::Fault,
};
use partner_api::Operation;
use serde_json::{Value, json};
use simulator::{ApiFault, ApiFaultKind, Simulator};
use time::OffsetDateTime;

use crate::{
    backend::{Backend, status},
    catena::{invitations_at, silent},
    partner_writes::{connected, cut_off_writes, message, submit},
    stack::{Running, assert_roles_allow_what_is_called_and_no_more},
};

const INVITATIONS: &str = "/v2/orgs/invitations";

/// A stack whose partner is about to call.
pub(crate) struct Partner {
    pub(crate) running: Running,
    pub(crate) api: Signed,
}

impl Partner {
    pub(crate) async fn start() -> Self {
        Self::of(Running::start(&[]).await)
    }

    pub(crate) fn of(running: Running) -> Self {
        let api = running.partner();
        Self { running, api }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.api.send(method, path, body).await.unwrap();
        told(&answer)
    }

    pub(crate) async fn put(&self, fleet: &str, query: &str, body: Value) -> (u16, Value) {
        let path = format!("/fleets/{fleet}/invitation{query}");
        self.call(Method::PUT, &path, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    fn break_next(&self, kind: ApiFaultKind, method: &str) {
        let fault = ApiFault::new(kind).on(method, INVITATIONS);
        self.running.stack.simulator.add_api_fault(fault);
    }

    pub(crate) fn simulator(&self) -> &Simulator {
        &self.running.stack.simulator
    }

    /// What Catena was asked since the last time, tokens aside.
    pub(crate) fn asked(&self) -> Vec<String> {
        let simulator = &self.running.stack.simulator;
        let calls = simulator.api_calls();
        simulator.clear_api_calls();
        let calls = calls
            .iter()
            .filter(|call| call.path != simulator::TOKEN_PATH);
        let calls = calls.map(|call| format!("{} {}", call.method, call.path));
        calls.collect()
    }

    /// Waits until all that Catena announced is in the records.
    async fn settled(&self) {
        self.running.stack.simulator.idle().await;
        self.running.settled(Duration::from_secs(30)).await;
    }

    /// Everything that the table keeps of a fleet and of links.
    async fn kept(&self, fleet: &str) -> Vec<String> {
        let items = self.running.items().await;
        let key = |item: &Value| {
            let part = |name: &str| item[name]["S"].as_str().unwrap().to_owned();
            (part("pk"), part("sk"))
        };
        let of_fleet = format!("FLEET#{fleet}");
        let kept = items.iter().filter_map(|item| match key(item) {
            (pk, sk) if pk == of_fleet => Some(sk.split('#').next().unwrap().to_owned()),
            (pk, _) if pk.starts_with("LINK#") && item["fleet_ref"]["S"] == fleet => {
                Some("LINK".to_owned())
            }
            _ => None,
        });
        kept.collect()
    }
}

pub(crate) fn told(answer: &Answer) -> (u16, Value) {
    let body = match answer.body.is_empty() {
        true => Value::Null,
        false => answer.json().unwrap(),
    };
    if answer.status >= 400 {
        let kind = answer.headers["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/problem+json", "{body}");
        assert_eq!(body["status"], answer.status);
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{body}");
    }
    (answer.status, body)
}

/// API Gateway's event for a call about a fleet, without a caller.
fn event_of(route_key: &str, fleet: &str) -> Value {
    let (method, path) = route_key.split_once(' ').unwrap();
    let request = event::Request {
        method: &Method::from_bytes(method.as_bytes()).unwrap(),
        path: &path.replace("{fleet_ref}", fleet),
        query: "",
        headers: &HeaderMap::new(),
        body: b"{}",
        source_ip: "127.0.0.1",
    };
    let parameters = [("fleet_ref".to_owned(), fleet.to_owned())];
    event::event(
        &request,
        route_key,
        &parameters,
        "id",
        OffsetDateTime::now_utc(),
    )
}

/// The same of an invitation that somebody asks for.
pub(crate) fn invitation_of(fleet: &str) -> Value {
    called(Operation::PutInvitation, fleet)
}

/// The same of an operation that somebody calls.
fn called(operation: Operation, fleet: &str) -> Value {
    let mut event = event_of(operation.route_key(), fleet);
    let caller = json!({ "userArn": "arn:aws:iam::000000000000:user/test" });
    event["requestContext"]["authorizer"] = json!({ "iam": caller });
    event
}

/// What a function answers to an event, and the body of it.
async fn answered(function: &Function, event: &Value) -> (u64, Value) {
    let answer = function.invoke(event).await.unwrap();
    let body = answer["body"].as_str().filter(|it| !it.is_empty());
    let body = serde_json::from_str(body.unwrap_or("null"));
    (status(&answer), body.unwrap())
}

/// The id that a link's URL ends with.
fn id_of(link: &Value) -> String {
    let url = link["url"].as_str().unwrap();
    let (before, id) = url.rsplit_once('/').unwrap();
    assert_eq!(before, "https://fleets.example.com/connect");
    id.to_owned()
}

/// The ids of all links that were ever made for a fleet.
fn links_of(fleet: &str, items: &[Value]) -> BTreeSet<String> {
    let of_fleet = items.iter().filter(|item| item["fleet_ref"]["S"] == fleet);
    let ids = of_fleet.filter_map(|item| item["pk"]["S"].as_str()?.strip_prefix("LINK#"));
    ids.map(str::to_owned).collect()
}

/// What is kept of a fleet's invitation, besides its version and what opens it.
fn invitation_kept(fleet: &str, items: &[Value]) -> Value {
    let pk = format!("FLEET#{fleet}");
    let mut items = items.iter();
    let item = items.find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == "INVITATION");
    serde_json::from_str(item.unwrap()["invitation"]["S"].as_str().unwrap()).unwrap()
}

pub(crate) fn kind(problem: &Value) -> &str {
    let kind = problem["type"].as_str().unwrap_or_default();
    kind.strip_prefix("urn:kingpin:problem:").unwrap_or(kind)
}

const CREATE: &str = "POST /v2/orgs/invitations";
const LIST: &str = "GET /v2/orgs/invitations";
const READ: &str = "GET /v2/orgs/invitations/{id}";
const DELETE: &str = "DELETE /v2/orgs/invitations/{id}";
const WRITE: &str = "dynamodb:PutItem";

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_invited_asked_again_and_let_go() {
    let partner = Partner::start().await;
    let body = json!({ "fleet_name": "Acme & Sons", "permissions": { "vehicle": "read", "message": "read_write" } });
    let (status, invited) = partner.put("FLEET-1", "", body.clone()).await;
    assert_eq!(
        (status, &invited["outcome"]),
        (201, &json!("created")),
        "{invited}"
    );
    assert_eq!(partner.asked(), [CREATE]);
    assert_eq!(invited["status"], "open");
    assert_eq!(invited["asked"], body);
    assert_eq!(invited["granted"], body["permissions"]);
    let link = invited["link"]["url"].as_str().unwrap().to_owned();
    assert!(
        link.starts_with(&partner.running.stack.url("/connect/")),
        "{link}"
    );
    let days = |until: &Value| {
        let until = OffsetDateTime::parse(
            until.as_str().unwrap(),
            &time::format_description::well_known::Rfc3339,
        );
        (until.unwrap() - OffsetDateTime::now_utc()).as_seconds_f64() / 86_400.0
    };
    assert!((27.9..28.1).contains(&days(&invited["ends"])), "{invited}");
    assert!(
        (179.9..180.1).contains(&days(&invited["link"]["ends"])),
        "{invited}"
    );

    // The same again costs no call; what the webhook tells is no news then.
    let (status, again) = partner.put("FLEET-1", "", body.clone()).await;
    assert_eq!((status, &again["outcome"]), (200, &json!("unchanged")));
    assert_eq!(again["link"]["url"], link);
    partner.settled().await;
    let (_, fleet) = partner.get("/fleets/FLEET-1").await;
    assert_eq!(fleet["version"], 1, "{fleet}");
    assert_eq!(fleet["stage"], "invited");
    assert_eq!(fleet["name"], "Acme Sons");
    assert_eq!(fleet["invitation"]["link"]["url"], link);
    assert_eq!(partner.asked(), [] as [&str; 0]);

    // Another body refreshes it, after a look.
    let body = json!({ "fleet_name": "Acme", "permissions": { "vehicle": "read" } });
    let (status, other) = partner.put("FLEET-1", "", body.clone()).await;
    assert_eq!(
        (status, &other["outcome"]),
        (200, &json!("refreshed")),
        "{other}"
    );
    assert_eq!(other["granted"], body["permissions"]);
    assert_eq!(other["link"]["url"], link);
    assert_eq!(partner.asked(), [LIST, CREATE, READ]);

    // A fleet that declined is asked again on purpose only, also if nobody told us that it did.
    let simulator = &partner.running.stack.simulator;
    simulator.set_events(false);
    simulator
        .decline_invitation("FLEET-1", Some("not now"))
        .unwrap();
    let (status, problem) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!(
        (status, kind(&problem)),
        (409, "fleet-declined"),
        "{problem}"
    );
    assert!(problem["detail"].as_str().unwrap().contains("not now"));
    assert_eq!(partner.asked(), [LIST]);
    let (status, problem) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!((status, kind(&problem)), (409, "fleet-declined"));
    assert_eq!(partner.asked(), [] as [&str; 0]);
    let (_, access) = partner.get("/fleets/FLEET-1/access").await;
    assert_eq!(access["stage"], "declined");
    // A refresh is as new as Catena's clock tells, to the second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, reopened) = partner.put("FLEET-1", "?reopen=true", json!({})).await;
    assert_eq!(
        (status, &reopened["status"]),
        (200, &json!("open")),
        "{reopened}"
    );
    assert_eq!(partner.asked(), [LIST, CREATE, READ]);
    assert_eq!(
        reopened["asked"]["permissions"],
        json!({ "user": "read", "vehicle": "read", "vehicle_location": "read" })
    );

    // Expired, also unheard: a new one.
    simulator.expire_invitation("FLEET-1").unwrap();
    let (status, renewed) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "New" }))
        .await;
    assert_eq!(
        (status, &renewed["outcome"]),
        (201, &json!("created")),
        "{renewed}"
    );
    assert_eq!(renewed["link"]["url"], link);
    partner.asked();

    // Taken back, with its link.
    let (status, _) = partner.delete("/fleets/FLEET-1/invitation").await;
    assert_eq!(status, 204);
    assert_eq!(partner.asked(), [DELETE]);
    let (_, fleet) = partner.get("/fleets/FLEET-1").await;
    assert_eq!(
        (&fleet["stage"], &fleet["invitation"]["status"]),
        (&json!("expired"), &json!("deleted"))
    );
    assert_eq!(fleet["invitation"]["link"], Value::Null);
    let (status, _) = partner.delete("/fleets/FLEET-1/invitation").await;
    assert_eq!(status, 204);
    assert_eq!(partner.asked(), [] as [&str; 0]);
    let (status, anew) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!(status, 201, "{anew}");
    assert_ne!(anew["link"]["url"], link);

    // Accepted: it stays, and can't be taken back.
    simulator.accept_invitation("FLEET-1").unwrap();
    partner.asked();
    let (status, problem) = partner.delete("/fleets/FLEET-1/invitation").await;
    assert_eq!(
        (status, kind(&problem)),
        (409, "fleet-accepted"),
        "{problem}"
    );
    let (status, kept) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!(
        (status, &kept["status"]),
        (200, &json!("accepted")),
        "{kept}"
    );
    assert!(!partner.asked().contains(&CREATE.to_owned()));
    let (status, problem) = partner.delete("/fleets/NOBODY/invitation").await;
    assert_eq!((status, kind(&problem)), (404, "never-invited"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_calls_ten_at_once_ask_catena_once() {
    let partner = Partner::start().await;
    let slow = ApiFaultKind::Slow {
        by: Duration::from_millis(300),
    };
    partner.break_next(slow, "POST");
    let body = json!({ "permissions": { "vehicle": "read" } });
    let calls = (0..50).map(|_| partner.put("FLEET-1", "", body.clone()));
    let answers: Vec<_> = stream::iter(calls).buffer_unordered(10).collect().await;
    let created = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(created, 1);
    assert!(
        answers
            .iter()
            .all(|(status, _)| [200, 201].contains(status)),
        "{answers:?}"
    );
    let links: BTreeSet<_> = answers
        .iter()
        .map(|(_, it)| it["link"]["url"].to_string())
        .collect();
    assert_eq!(links.len(), 1, "{links:?}");
    assert_eq!(partner.asked(), [CREATE]);

    // Different wishes at once: one after the other, and the last one's holds.
    let bodies = ["a", "b", "c", "d"].map(|name| json!({ "fleet_name": name }));
    let calls = bodies
        .iter()
        .map(|body| partner.put("FLEET-2", "", body.clone()));
    let answers = futures_util::future::join_all(calls).await;
    assert!(
        answers
            .iter()
            .all(|(status, _)| [200, 201].contains(status)),
        "{answers:?}"
    );
    let created = partner
        .asked()
        .into_iter()
        .filter(|call| call == CREATE)
        .count();
    assert_eq!(created, 4);
    let simulator = &partner.running.stack.simulator;
    assert_eq!(invitations_at(simulator, "FLEET-2").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_half_done_while_catena_is_down() {
    let partner = Partner::start().await;
    let simulator = &partner.running.stack.simulator;
    // What was done all the same would be told by webhooks; here nobody tells.
    simulator.set_events(false);
    let slow = || ApiFaultKind::Slow {
        by: Duration::from_secs(60),
    };
    let down = [
        (
            ApiFaultKind::Status { status: 500 },
            503,
            "catena-unavailable",
        ),
        (
            ApiFaultKind::Status { status: 503 },
            503,
            "catena-unavailable",
        ),
        (ApiFaultKind::CutBefore, 503, "catena-unavailable"),
        (slow(), 503, "catena-unavailable"),
        (ApiFaultKind::Truncated, 502, "catena-unreadable"),
        (ApiFaultKind::Html, 502, "catena-unreadable"),
        (
            ApiFaultKind::Oversized { mebibytes: 12 },
            502,
            "catena-unreadable",
        ),
        (
            ApiFaultKind::Status { status: 403 },
            502,
            "catena-refuses-us",
        ),
        (
            ApiFaultKind::Status { status: 401 },
            502,
            "catena-refuses-us",
        ),
        (
            ApiFaultKind::TooManyRequests {
                retry_after_seconds: Some(12),
                retry_after: None,
            },
            503,
            "catena-unavailable",
        ),
    ];
    for (number, (fault, status, expected)) in down.into_iter().enumerate() {
        let fleet = format!("FLEET-{number}");
        let fault = ApiFault::new(fault).on("POST", INVITATIONS).until_cleared();
        simulator.add_api_fault(fault.clone());
        let start = Instant::now();
        let answer = partner.put(&fleet, "", json!({})).await;
        simulator.clear_api_faults();
        assert_eq!(
            (answer.0, kind(&answer.1)),
            (status, expected),
            "{fault:?}: {answer:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{fault:?}: {:?}",
            start.elapsed()
        );
        // What may have reached Catena leaves a note to look first, and nothing else.
        let kept = partner.kept(&fleet).await;
        assert!(
            kept.iter().all(|it| it == "INVITATION"),
            "{fault:?}: {kept:?}"
        );
        let (unknown, _) = partner.get(&format!("/fleets/{fleet}")).await;
        assert_eq!(unknown, 404, "{fault:?}");
        if let ApiFaultKind::TooManyRequests { .. } = fault.kind {
            assert_eq!(kept, [] as [&str; 0]);
            assert!(
                answer.1["retry_after_seconds"].as_u64() >= Some(10),
                "{answer:?}"
            );
            // Nobody else asks meanwhile.
            partner.asked();
            let (status, problem) = partner.put("FLEET-NEXT", "", json!({})).await;
            assert_eq!((status, kind(&problem)), (503, "catena-unavailable"));
            assert_eq!(partner.asked(), [] as [&str; 0]);
            tokio::time::sleep(Duration::from_secs(13)).await;
        }
        let (status, healed) = partner.put(&fleet, "", json!({})).await;
        assert!([200, 201].contains(&status), "{fault:?}: {healed}");
        assert_eq!(
            invitations_at(simulator, &fleet).await.len(),
            1,
            "{fault:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_neither_forgotten_nor_taken_for_done() {
    let partner = Partner::start().await;
    let simulator = &partner.running.stack.simulator;
    simulator.set_events(false);
    let until_cleared = |kind, method: &str| {
        let fault = ApiFault::new(kind).on(method, INVITATIONS);
        simulator.add_api_fault(fault.until_cleared());
    };
    let at_catena = |fleet: &str| simulator.invitation(fleet).unwrap().read;

    // A change that Catena never heard of: the old invitation isn't taken for it, however alike.
    partner.put("FLEET-1", "", json!({})).await;
    let limited = json!({ "limit_tsps": ["samsara"] });
    until_cleared(ApiFaultKind::Status { status: 500 }, "POST");
    let (status, _) = partner.put("FLEET-1", "", limited.clone()).await;
    assert_eq!(status, 503);
    simulator.clear_api_faults();
    let (_, again) = partner.put("FLEET-1", "", limited).await;
    assert_eq!(again["outcome"], "refreshed", "{again}");
    assert_eq!(at_catena("FLEET-1")["limit_tsps"], json!(["samsara"]));

    // A change that was done, though its answer was lost: the wish before it isn't taken for it either.
    until_cleared(ApiFaultKind::CutAfter, "POST");
    let (status, _) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "Other" }))
        .await;
    assert_eq!(status, 503);
    simulator.clear_api_faults();
    let (_, before) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "Acme" }))
        .await;
    assert_eq!(before["outcome"], "refreshed", "{before}");
    assert_eq!(at_catena("FLEET-1")["fleet_name"], "Acme");

    // Taken back, though the answer was lost: nobody is told that the invitation stands.
    until_cleared(ApiFaultKind::CutAfter, "DELETE");
    let (status, _) = partner.delete("/fleets/FLEET-1/invitation").await;
    assert_eq!(status, 503);
    simulator.clear_api_faults();
    let (status, anew) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "Acme" }))
        .await;
    assert_eq!(
        (status, &anew["outcome"]),
        (201, &json!("created")),
        "{anew}"
    );

    // Asked again, though the answer was lost: that it declined before isn't held against it any more.
    simulator.decline_invitation("FLEET-1", None).unwrap();
    let (status, _) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "Two" }))
        .await;
    assert_eq!(status, 409);
    tokio::time::sleep(Duration::from_secs(2)).await;
    until_cleared(ApiFaultKind::CutAfter, "POST");
    let (status, _) = partner
        .put("FLEET-1", "?reopen=true", json!({ "fleet_name": "Two" }))
        .await;
    assert_eq!(status, 503);
    simulator.clear_api_faults();
    partner.asked();
    let (_, found) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "Two" }))
        .await;
    assert_eq!(found["outcome"], "adopted", "{found}");
    assert_eq!(partner.asked(), [LIST]);

    // Taking back what a fleet declined ends its link, and leaves the decline known.
    simulator.decline_invitation("FLEET-1", None).unwrap();
    let (status, _) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!(status, 409);
    let (status, _) = partner.delete("/fleets/FLEET-1/invitation").await;
    assert_eq!(status, 204);
    let (_, fleet) = partner.get("/fleets/FLEET-1").await;
    assert_eq!(fleet["invitation"]["link"], Value::Null, "{fleet}");
    let (status, _) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!(status, 409);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, _) = partner.put("FLEET-1", "?reopen=true", json!({})).await;
    assert_eq!(status, 200);

    // The new one that nobody heard of is taken back, and not the old one.
    simulator.expire_invitation("FLEET-1").unwrap();
    until_cleared(ApiFaultKind::Truncated, "POST");
    let (status, _) = partner
        .put("FLEET-1", "", json!({ "fleet_name": "New" }))
        .await;
    assert_eq!(status, 502);
    simulator.clear_api_faults();
    assert_eq!(at_catena("FLEET-1")["status"], "active");
    let (status, _) = partner.delete("/fleets/FLEET-1/invitation").await;
    assert_eq!(status, 204);
    assert_eq!(at_catena("FLEET-1")["status"], "deleted");
    let (_, fleet) = partner.get("/fleets/FLEET-1").await;
    assert_eq!(fleet["invitation"]["status"], "deleted", "{fleet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_replaced_and_nothing_else() {
    let backend = Backend::start().await;
    let catena = silent().await;
    let function = backend.partner_api(catena.url(), &[]).await;
    let (_, invited) = answered(&function, &invitation_of("FLEET-1")).await;
    let old = id_of(&invited["link"]);
    let before = backend.items().await;
    let at_catena = catena.invitation("FLEET-1").unwrap().read;
    catena.clear_api_calls();

    // Nobody's word is taken, nor what would be ignored.
    let rotate = called(Operation::RotateLink, "FLEET-1");
    let mut asked_for_more = rotate.clone();
    asked_for_more["queryStringParameters"] = json!({ "ends": "2030-01-01" });
    asked_for_more["rawQueryString"] = json!("ends=2030-01-01");
    let with_body = |body: &str| {
        let mut event = rotate.clone();
        event["body"] = json!(body);
        event["isBase64Encoded"] = json!(false);
        event
    };
    let unsigned = event_of(Operation::RotateLink.route_key(), "FLEET-1");
    for (event, expected, name) in [
        (&unsigned, 403, "no-caller"),
        (&asked_for_more, 422, "invalid-fields"),
        (&with_body(r#"{"url":"https://x"}"#), 422, "invalid-fields"),
        (&with_body("[]"), 422, "invalid-fields"),
        (&with_body("null"), 422, "invalid-fields"),
        (&with_body("{"), 400, "unreadable-body"),
        (&with_body(" "), 400, "unreadable-body"),
        (&called(Operation::RotateLink, "NOBODY"), 404, "no-link"),
        (&called(Operation::RotateLink, "fleet-1"), 404, "no-link"),
        (&called(Operation::RotateLink, ""), 422, "invalid-fields"),
    ] {
        let (status, problem) = answered(&function, event).await;
        assert_eq!((status, kind(&problem)), (expected, name), "{problem}");
    }
    assert_eq!(backend.items().await, before);

    let mut links = BTreeSet::from([old.clone()]);
    for event in [&with_body(""), &with_body("{}")] {
        let (status, rotated) = answered(&function, event).await;
        assert_eq!((status, &rotated["fleet_ref"]), (201, &json!("FLEET-1")));
        let id = id_of(&rotated["link"]);
        let items = backend.items().await;
        let mut kept = invitation_kept("FLEET-1", &items);
        assert_eq!(kept["link"]["id"], id);
        // So that a page can tell whoever opens an old one whom to ask.
        assert!(links.insert(id), "an old link");
        assert_eq!(links_of("FLEET-1", &items), links);
        // The fleet and its invitation are as they were.
        let mut was = invitation_kept("FLEET-1", &before);
        assert_eq!(was["link"]["id"], old);
        (was["link"], kept["link"]) = (Value::Null, Value::Null);
        assert_eq!(kept, was);
        let others = |items: &[Value]| {
            let others = items.iter().filter(|item| {
                let is_link = item["pk"]["S"].as_str().unwrap().starts_with("LINK#");
                !is_link && item["sk"]["S"] != "INVITATION"
            });
            others.map(Value::to_string).collect::<BTreeSet<_>>()
        };
        assert_eq!(others(&items), others(&before));
        let secret = |items: &[Value]| {
            let mut items = items.iter();
            items.find_map(|item| item.get("secret").cloned()).unwrap()
        };
        assert_eq!(secret(&items), secret(&before));
    }
    assert_eq!(catena.api_calls().len(), 0, "Catena was asked");
    assert_eq!(catena.invitation("FLEET-1").unwrap().read, at_catena);

    // From now on the fleet is told the new one; after its invitation is taken back there is none to replace.
    let (_, again) = answered(&function, &invitation_of("FLEET-1")).await;
    assert_eq!(again["outcome"], "unchanged");
    let items = backend.items().await;
    let newest = &invitation_kept("FLEET-1", &items)["link"]["id"];
    assert_eq!(json!(id_of(&again["link"])), *newest);
    let taken_back = called(Operation::DeleteInvitation, "FLEET-1");
    assert_eq!(answered(&function, &taken_back).await.0, 204);
    let (status, problem) = answered(&function, &rotate).await;
    assert_eq!((status, kind(&problem)), (404, "no-link"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_links_that_are_replaced_at_once_the_last_ones_caller_has_the_one_that_works() {
    let backend = Backend::start().await;
    let catena = silent().await;
    let lanes = ["one", "two"];
    let one = backend.partner_api(catena.url(), &[("LANE", "one")]).await;
    let two = backend.partner_api(catena.url(), &[("LANE", "two")]).await;
    let (status, _) = answered(&one, &invitation_of("FLEET-1")).await;
    assert_eq!(status, 201);
    // Warm, so that both have read before either writes which link is the fleet's.
    let nobody = called(Operation::RotateLink, "NOBODY");
    assert_eq!(answered(&two, &nobody).await.0, 404);
    let writes = || {
        let writes = lanes.map(|lane| backend.wire.count(lane, WRITE));
        writes.iter().sum::<u64>()
    };
    let before = writes();
    let late = Fault::Delay(Duration::from_millis(500));
    for lane in lanes {
        let fault = late.clone();
        backend.wire.fault_after(1, lane, WRITE, fault);
    }
    let rotate = called(Operation::RotateLink, "FLEET-1");
    let answers = tokio::join!(answered(&one, &rotate), answered(&two, &rotate));
    assert_eq!((answers.0.0, answers.1.0), (201, 201), "{answers:?}");
    assert!(writes() - before > 4, "they didn't meet");

    let told = [answers.0.1, answers.1.1].map(|body| id_of(&body["link"]));
    assert_ne!(told[0], told[1]);
    let items = backend.items().await;
    let kept = invitation_kept("FLEET-1", &items);
    let live = kept["link"]["id"].as_str().unwrap();
    assert!(told.iter().any(|id| id == live), "{told:?} {kept}");
    assert!(links_of("FLEET-1", &items).is_superset(&told.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_replaced_after_the_invitation_that_is_being_asked_for() {
    let backend = Backend::start().await;
    let catena = silent().await;
    let one = backend.partner_api(catena.url(), &[("LANE", "one")]).await;
    let two = backend.partner_api(catena.url(), &[("LANE", "two")]).await;
    answered(&one, &invitation_of("FLEET-1")).await;
    let slow = ApiFaultKind::Slow {
        by: Duration::from_secs(1),
    };
    catena.add_api_fault(ApiFault::new(slow).on("POST", INVITATIONS));
    let mut invite = invitation_of("FLEET-1");
    invite["body"] = json!(r#"{"fleet_name":"Other"}"#);
    invite["isBase64Encoded"] = json!(false);
    let invite = answered(&one, &invite);
    let rotate = async {
        while invitation_kept("FLEET-1", &backend.items().await)["lease"].is_null() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rotate = called(Operation::RotateLink, "FLEET-1");
        answered(&two, &rotate).await
    };
    let ((status, invited), (rotated_status, rotated)) = tokio::join!(invite, rotate);
    assert_eq!((status, rotated_status), (200, 201), "{invited} {rotated}");
    assert_eq!(invited["outcome"], "refreshed");
    let kept = invitation_kept("FLEET-1", &backend.items().await);
    assert_eq!(kept["link"]["id"], json!(id_of(&rotated["link"])));
    assert_eq!(kept["asked"]["fleet_name"], "Other", "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_declined_before_is_not_asked_again_if_the_stack_knows_that_it_may_have() {
    let backend = Backend::start().await;
    let catena = silent().await;
    let before = backend.partner_api(catena.url(), &[]).await;
    for fleet in ["FLEET-1", "FLEET-2"] {
        before.invoke(&invitation_of(fleet)).await.unwrap();
        catena.decline_invitation(fleet, None).unwrap();
    }
    // The table is lost.
    let after = Backend::start().await;
    let cautious = after
        .partner_api(catena.url(), &[("INVITED_BEFORE", "true")])
        .await;
    let answer = cautious.invoke(&invitation_of("FLEET-1")).await.unwrap();
    assert_eq!(answer["statusCode"], 409, "{answer}");
    assert_eq!(catena.invitation("FLEET-1").unwrap().status, "declined");
    let usual = after.partner_api(catena.url(), &[]).await;
    let answer = usual.invoke(&invitation_of("FLEET-2")).await.unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_invitation_ran_out_unheard_is_listed_as_it_stands() {
    let partner = Partner::start().await;
    let soon = OffsetDateTime::now_utc() + Duration::from_secs(2);
    let text = soon
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let fleet = simulator::Fleet::new("FLEET-1", OffsetDateTime::now_utc());
    let mut created = simulator::events::invitation_created(&fleet, fleet.invited_at);
    created.data[0]["expires_at"] = json!(text);
    created.data[0]["expires_in_hours"] = json!(1);
    partner.running.deliver(&[created], false).await;
    partner.running.settled(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    // Among those of either stage: the reconciler may have told already that the date passed.
    let (_, page) = partner.get("/fleets").await;
    assert_eq!(page["fleets"][0]["stage"], "expired", "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_loses_nothing() {
    let partner = Partner::start().await;
    let (status, _) = partner.put("FLEET-1", "", json!({})).await;
    assert_eq!(status, 201);
    let before = partner.running.items().await;
    partner.asked();
    let field = |problem: &Value| {
        problem["errors"][0]["field"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for (path, body, expected) in [
        (
            "/fleets/FLEET-1/invitation",
            json!({ "fleet_country_code": "us" }),
            "fleet_country_code",
        ),
        (
            "/fleets/FLEET-1/invitation",
            json!({ "permissions": { "vehicle": "all" } }),
            "permissions.vehicle",
        ),
        (
            "/fleets/FLEET-1/invitation",
            json!({ "fleet_nmae": "Acme" }),
            "fleet_nmae",
        ),
        ("/fleets/FLEET-1/invitation", json!([]), "(body)"),
        (
            "/fleets/FLEET-1/invitation?reopne=true",
            json!({}),
            "reopne",
        ),
        (
            "/fleets/FLEET-1/invitation?reopen=perhaps",
            json!({}),
            "reopen",
        ),
        ("/fleets/FL%C3%96TTE/invitation", json!({}), "fleet_ref"),
        (
            "/fleets/FLEET-1/override",
            json!({ "kind": "grant", "reason": "because" }),
            "ends",
        ),
        (
            "/fleets/FLEET-1/override",
            json!({ "kind": "block", "reason": " " }),
            "reason",
        ),
        (
            "/fleets/FLEET-1/override",
            json!({ "kind": "block", "reason": "x", "ends": "2020-01-01T00:00:00Z" }),
            "ends",
        ),
        (
            "/fleets/FLEET-1/override",
            json!({ "kind": "block", "reason": "x", "ends": "soon" }),
            "ends",
        ),
        (
            "/fleets/FLEET-1/override",
            json!({ "kind": "ban", "reason": "x" }),
            "kind",
        ),
    ] {
        let (status, problem) = partner.call(Method::PUT, path, Some(body.clone())).await;
        assert_eq!(
            (status, field(&problem)),
            (422, expected.to_owned()),
            "{path} {body}: {problem}"
        );
    }
    for (path, expected) in [
        ("/fleets?stage=lost", "stage"),
        ("/fleets?size=0", "size"),
        ("/fleets?size=101", "size"),
        ("/fleets?cursor=x", "cursor"),
        ("/fleets/FLEET-1/history?cursor=AAAA", "cursor"),
        ("/fleets/FLEET-1/access?at=now", "at"),
    ] {
        let (status, problem) = partner.get(path).await;
        assert_eq!(
            (status, field(&problem)),
            (422, expected.to_owned()),
            "{path}: {problem}"
        );
    }
    let batch = async |refs: Value| {
        let body = Some(json!({ "fleet_refs": refs }));
        partner.call(Method::POST, "/access/batch", body).await
    };
    let many: Vec<String> = (0..101).map(|n| format!("FLEET-{n}")).collect();
    for (refs, expected) in [
        (json!([]), "fleet_refs"),
        (json!(many), "fleet_refs"),
        (json!(["FLEET-1", "FLEET-1"]), "fleet_refs[1]"),
        (json!([""]), "fleet_refs[0]"),
        (json!([7]), "fleet_refs[0]"),
    ] {
        let (status, problem) = batch(refs.clone()).await;
        assert_eq!(
            (status, field(&problem)),
            (422, expected.to_owned()),
            "{refs}: {problem}"
        );
    }
    let mut request = partner
        .api
        .unsigned(Method::PUT, "/fleets/FLEET-1/invitation", None)
        .unwrap();
    for body in [&b"{"[..], b"", &[b' '; 65 * 1024], b"\xff"] {
        request.body = body.to_vec();
        let signed = partner.api.sign(request.clone()).unwrap();
        let (status, problem) = told(&partner.api.deliver(signed).await.unwrap());
        assert_eq!(
            (status, kind(&problem)),
            (400, "unreadable-body"),
            "{problem}"
        );
    }
    for path in [
        "/fleets/NOBODY",
        "/fleets/NOBODY/access",
        "/fleets/NOBODY/history",
    ] {
        let (status, problem) = partner.get(path).await;
        assert_eq!((status, kind(&problem)), (404, "unknown-fleet"), "{path}");
    }
    let nobody = json!({ "kind": "block", "reason": "x" });
    let (status, _) = partner
        .call(Method::PUT, "/fleets/NOBODY/override", Some(nobody))
        .await;
    assert_eq!(status, 404);
    // What Catena alone refuses comes back with the field that it names.
    assert_eq!(partner.running.items().await, before);
    assert_eq!(partner.asked(), [] as [&str; 0]);
    let known = json!({ "permissions": { "no_such_resource": "read" } });
    let (status, problem) = partner.put("FLEET-2", "", known).await;
    assert!(status == 422 || status == 201, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_hold_until_they_end_and_are_remembered() {
    let partner = Partner::start().await;
    partner.put("FLEET-1", "", json!({})).await;
    let operator = Signed::user(partner.running.stack.url(""), &USERS[1]).unwrap();
    let path = "/fleets/FLEET-1/override";
    let soon = OffsetDateTime::now_utc() + Duration::from_secs(4);
    let ends = soon
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let grant = json!({ "kind": "grant", "reason": "known for years", "ends": ends });
    let (status, access) = told(&operator.send(Method::PUT, path, Some(grant)).await.unwrap());
    assert_eq!(
        (status, &access["admission"]["kind"]),
        (200, &json!("full")),
        "{access}"
    );
    let reason = &access["reasons"][0];
    assert_eq!(reason["code"], "granted_by_operator");
    assert_eq!(reason["about"], "arn:aws:iam::000000000000:user/operator");
    assert_eq!(access["valid_until"], reason["until"], "{access}");

    let block = json!({ "kind": "block", "reason": "fraud suspected" });
    let (_, access) = partner.call(Method::PUT, path, Some(block)).await;
    assert_eq!(access["admission"]["kind"], "blocked");
    let (_, access) = partner.delete("/fleets/FLEET-1/override?kind=block").await;
    assert_eq!(access["admission"]["kind"], "full", "{access}");
    let left = soon - OffsetDateTime::now_utc();
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default() + Duration::from_millis(20))
        .await;
    let (_, access) = partner.get("/fleets/FLEET-1/access").await;
    assert_eq!(access["admission"]["kind"], "none", "to the second");

    let (_, page) = partner.get("/fleets/FLEET-1/history?size=2").await;
    let mut entries = page["entries"].as_array().unwrap().clone();
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, page) = partner
        .get(&format!("/fleets/FLEET-1/history?cursor={cursor}"))
        .await;
    assert_eq!(page["next_cursor"], Value::Null);
    entries.extend(page["entries"].as_array().unwrap().clone());
    let decided: Vec<_> = entries
        .iter()
        .filter(|it| !it["decided"].is_null())
        .collect();
    let told: Vec<_> = decided
        .iter()
        .map(|it| {
            (
                it["decided"]["kind"].as_str().unwrap(),
                it["decided"]["lifted"] == true,
            )
        })
        .collect();
    assert_eq!(told, [("block", true), ("block", false), ("grant", false)]);
    assert_eq!(decided[1]["decided"]["reason"], "fraud suspected");
    assert_eq!(
        decided[1]["decided"]["by"],
        "arn:aws:iam::000000000000:user/test"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fleets_are_listed_page_by_page_and_asked_about_in_batches() {
    let partner = Partner::start().await;
    let fleets: Vec<String> = (0..7).map(|n| format!("FLEET-{n}")).collect();
    for fleet in &fleets {
        partner.put(fleet, "", json!({})).await;
    }
    partner.delete("/fleets/FLEET-3/invitation").await;
    partner.settled().await;
    let pages = async |query: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = partner.get(&format!("/fleets?size=2{query}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            let fleets = page["fleets"].as_array().unwrap();
            assert!(fleets.len() <= 2);
            found.extend(
                fleets
                    .iter()
                    .map(|it| it["fleet_ref"].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let mut all = pages("").await;
    all.sort();
    assert_eq!(all, fleets);
    assert_eq!(pages("&stage=expired").await, ["FLEET-3"]);
    assert_eq!(pages("&stage=invited").await.len(), 6);
    assert_eq!(pages("&stage=connected").await, [] as [&str; 0]);

    let body = json!({ "fleet_refs": ["FLEET-3", "NOBODY", "FLEET-0"] });
    let before = partner.running.stack.wire.count_all("partner-api");
    let (status, batch) = partner
        .call(Method::POST, "/access/batch", Some(body))
        .await;
    assert_eq!(status, 200, "{batch}");
    assert_eq!(
        partner.running.stack.wire.count_all("partner-api"),
        before + 1
    );
    let stages: Vec<_> = batch["fleets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["invited", "expired"]);
    assert_eq!(batch["unknown"], json!(["NOBODY"]));
    let (_, alone) = partner.get("/fleets/FLEET-0/access").await;
    assert_eq!(alone["reasons"], batch["fleets"][0]["reasons"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_signed_calls_get_in_and_the_binary_takes_nobodys_word() {
    let partner = Partner::start().await;
    let (path, put) = ("/fleets/FLEET-1/invitation", Method::PUT);
    let body = || Some(json!({}));
    let unsigned = partner.api.unsigned(put.clone(), path, body()).unwrap();
    let mut changed = partner.api.sign(unsigned.clone()).unwrap();
    changed.body = br#"{"fleet_name":"Mallory"}"#.to_vec();
    let url = partner.running.stack.url("");
    let stranger = Signed::new(&url, "test", "guessed", local::aws::REGION).unwrap();
    let strangers = stranger.sign(unsigned.clone()).unwrap();
    for request in [unsigned, changed, strangers] {
        let answer = partner.api.deliver(request).await.unwrap();
        assert_eq!(
            (answer.status, answer.json().unwrap()),
            (403, json!({ "message": "Forbidden" }))
        );
    }
    assert_eq!(
        partner.running.stack.log_records("partner-api"),
        [] as [Value; 0]
    );
    assert_eq!(partner.asked(), [] as [&str; 0]);

    // The routes of the template are the operations of the code, each with IAM.
    let template = Template::read(&Options::default().template).unwrap();
    let routes = template.routes().unwrap();
    let routes = routes.iter().filter(|route| route.package == "partner-api");
    let keys: BTreeSet<&str> = routes.clone().map(|route| route.key.as_str()).collect();
    assert_eq!(keys, Operation::ALL.map(Operation::route_key).into());
    assert!(
        routes
            .clone()
            .all(|route| route.authorization == Authorization::AwsIam)
    );

    // An event without a caller, whatever route it says it came by.
    let backend = Backend::start().await;
    let function = backend.partner_api("http://127.0.0.1:9", &[]).await;
    for key in keys {
        let event = event_of(key, "FLEET-1");
        let mut lambda = event.clone();
        lambda["requestContext"]["authorizer"] =
            json!({ "lambda": { "userArn": "arn:aws:iam::1:user/x" } });
        let mut nameless = event.clone();
        nameless["requestContext"]["authorizer"] = json!({ "iam": { "accountId": "1" } });
        for event in [event, lambda, nameless] {
            let answer = function.invoke(&event).await.unwrap();
            assert_eq!(answer["statusCode"], 403, "{key}: {answer}");
            let problem: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            assert_eq!(kind(&problem), "no-caller");
        }
    }
    assert_eq!(backend.items().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_a_fleet_rests_in_one_attribute_alone() {
    let partner = Partner::start().await;
    let simulator = &partner.running.stack.simulator;
    let mut secrets = vec![
        simulator::CLIENT_SECRET.to_owned(),
        simulator::TOKEN_PREFIX.to_owned(),
        "?invite=".to_owned(),
    ];
    let mut shown = String::new();
    for number in 0..5 {
        let fleet = format!("FLEET-{number}");
        let (_, invited) = partner
            .put(&fleet, "", json!({ "fleet_name": "Acme" }))
            .await;
        simulator.accept_invitation(&fleet).unwrap();
        partner.settled().await;
        let (_, refreshed) = partner
            .put(&fleet, "", json!({ "fleet_name": "Other" }))
            .await;
        shown += &format!("{invited} {refreshed}");
        for path in ["", "/access", "/history"] {
            shown += &partner
                .get(&format!("/fleets/{fleet}{path}"))
                .await
                .1
                .to_string();
        }
        secrets.extend(invitations_at(simulator, &fleet).await);
    }
    // A refusal and an outage, which are logged, too.
    partner.break_next(ApiFaultKind::Status { status: 403 }, "POST");
    let (status, refused) = partner.put("FLEET-REFUSED", "", json!({})).await;
    assert_eq!(status, 502, "{refused}");
    assert_eq!(partner.kept("FLEET-REFUSED").await, [] as [&str; 0]);
    simulator.add_api_fault(
        ApiFault::new(ApiFaultKind::Html)
            .on("POST", INVITATIONS)
            .until_cleared(),
    );
    shown += &partner.put("FLEET-0", "", json!({})).await.1.to_string();
    simulator.clear_api_faults();
    shown += &partner.get("/fleets").await.1.to_string();
    assert_eq!(secrets.len(), 8);

    let mut items = partner.running.items().await;
    let mut kept = 0;
    for item in &mut items {
        let is_invitation = item["sk"]["S"] == "INVITATION";
        if let Some(secret) = item.as_object_mut().unwrap().remove("secret") {
            assert!(is_invitation, "{item}");
            let secret = secret.to_string();
            assert!(
                secrets[3..].iter().any(|id| secret.contains(id)),
                "not what it is for"
            );
            assert!(!secret.contains(simulator::TOKEN_PREFIX), "a token rests");
            kept += 1;
        }
    }
    assert_eq!(kept, 5);
    let logs = |package: &str| partner.running.stack.logs(package).join("\n");
    let places = [
        ("the rest of the table", json!(items).to_string()),
        ("partner-api's output", logs("partner-api")),
        ("webhook-ingest's output", logs("webhook-ingest")),
        ("event-processor's output", logs("event-processor")),
        ("the API's answers", shown),
    ];
    for (place, text) in places {
        assert!(text.len() > 1000, "{place} holds nothing to look at");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} rests in {place}");
        }
    }
    let settings = std::fs::read_to_string(partner.running.stack.stack_json()).unwrap();
    assert!(
        !settings.contains(simulator::CLIENT_SECRET),
        "in the functions' settings"
    );

    // What is left of its work: lists of writes, and one whose answer is lost.
    connected(&partner, "FLEET-WRITTEN").await;
    cut_off_writes(&partner);
    let (status, _) = submit(&partner, "FLEET-WRITTEN", "key", message("Hello")).await;
    assert_eq!(status, 202);
    for query in ["", "?fleet_ref=FLEET-WRITTEN"] {
        let (status, page) = partner.get(&format!("/operations{query}")).await;
        assert_eq!(
            (status, &page["operations"][0]["status"]),
            (200, &json!("unclear")),
            "{page}"
        );
    }

    // All that the function does for its partner was done by now, so its role can be compared.
    let role = [("partner-api", "PartnerApiRole")];
    assert_roles_allow_what_is_called_and_no_more(&partner.running.stack, &role);
}

//! The fleet's way back from Catena Connect: what its browser is answered, and what of its claims is queued.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use catena::InvitationHash;
use fleet::{
    Admission, Agreement, AgreementStatus, At, Claim, Decision, Fact, FleetRef, IntegrationRequest,
    InvitationFact, Level, Observation, Policy,
};
use local::{
    event::{self, Request},
    runtime_api::Function,
    template::Template,
    wire::Fault,
};
use return_token::{Return, ReturnKeys};
use serde_json::{Value, json};
use store::{Link, OpenPart, Returning, StoredInvitation, Table};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::backend::{Backend, RETURN_KEY, now, status, tell};

/// The invitation of the contract's examples, and a request.
const INVITATION: &str = "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3";
const REQUEST: &str = "5c06372b-5b5a-4477-88ee-6cd8d3b55efb";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";

struct Way {
    backend: Backend,
    redirect: Function,
    table: Table,
    keys: ReturnKeys,
    routes: Vec<String>,
}

/// What a browser gets.
struct Answered {
    status: u64,
    location: Option<String>,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Way {
    async fn start() -> Self {
        let backend = Backend::start().await;
        let connect = "https://connect.catenatelematics.com";
        let redirect = backend.redirect(connect, &[]).await;
        let table = backend.table().await;
        let keys = json!({ "version": 1, "current": RETURN_KEY }).to_string();
        let template = Template::read(&local::Options::default().template).unwrap();
        let routes = template.routes().unwrap().into_iter();
        Self {
            backend,
            redirect,
            table,
            keys: ReturnKeys::parse(&keys).unwrap(),
            routes: routes.map(|route| route.key).collect(),
        }
    }

    /// A fleet with an open invitation, and perhaps with a claim recorded a minute ago. Returns its return token.
    async fn invited(&self, fleet: &str, invitation: &str, claimed: Option<Claim>) -> String {
        let fleet = FleetRef::parse(fleet).unwrap();
        let hash = InvitationHash::of(invitation).as_str().to_owned();
        let told = |ago: i64, was| Observation {
            at: At(now().plus(-ago * 1000), 0),
            fact: Fact::Invitation {
                invitation: hash.clone(),
                was,
            },
        };
        let open = told(90, InvitationFact::Decision(Decision::Open));
        let claimed = claimed.map(|claim| told(60, InvitationFact::Claim(claim)));
        self.take_in(&fleet, [open].into_iter().chain(claimed).collect())
            .await;
        let returning = Returning {
            name: format!("name-of-{fleet}"),
            ends: now().plus(86_400_000),
        };
        let kept = StoredInvitation {
            open: OpenPart {
                hash: Some(hash),
                returning: Some(returning),
                link: Some(Link {
                    id: "x".repeat(22),
                    ends: now().plus(86_400_000),
                }),
                ..OpenPart::default()
            },
            ..StoredInvitation::default()
        };
        self.table.keep_invitation(&fleet, &kept).await.unwrap();
        self.token(&fleet, 86_400)
    }

    async fn take_in(&self, fleet: &FleetRef, observations: Vec<Observation>) {
        tell(&self.table, fleet, observations).await;
    }

    fn token(&self, fleet: &FleetRef, seconds: i64) -> String {
        self.keys.token(&Return {
            fleet: fleet.clone(),
            name: format!("name-of-{fleet}"),
            ends: now().plus(seconds * 1000),
        })
    }

    async fn get(&self, path: &str, query: &str) -> Answered {
        self.ask("GET", path, query, &[("user-agent", PHONE)]).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Answered {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            all.append(name, HeaderValue::from_str(value).unwrap());
        }
        let routes = self.routes.iter().map(String::as_str);
        let (route, parameters) = event::route(routes, &method, path).unwrap();
        let request = Request {
            method: &method,
            path,
            query,
            headers: &all,
            body: b"",
            source_ip: "192.0.2.1",
        };
        let now = OffsetDateTime::now_utc();
        let event = event::event(&request, route, &parameters, "request", now);
        let answer = self.redirect.invoke(&event).await.unwrap();
        let headers: BTreeMap<String, String> =
            serde_json::from_value(answer["headers"].clone()).unwrap();
        Answered {
            status: status(&answer),
            location: headers.get("location").cloned(),
            body: answer["body"].as_str().unwrap_or_default().to_owned(),
            headers,
        }
    }

    /// What was queued since the last time: the claims, and for whom.
    async fn queued(&self) -> Vec<String> {
        let bodies = self.backend.drain().await;
        let claim = |body: &Value| {
            let told = &body["told"];
            let observations = told["observations"].as_array().unwrap();
            assert_eq!(observations.len(), 1, "{body}");
            let observation: Observation = serde_json::from_value(observations[0].clone()).unwrap();
            let Fact::Invitation {
                invitation,
                was: InvitationFact::Claim(claim),
            } = observation.fact
            else {
                panic!("{body}")
            };
            assert_eq!(
                invitation,
                InvitationHash::of(&invitation_of(told)).as_str()
            );
            let claim = match claim {
                Claim::Requested(Some(id)) => format!("requested {id}"),
                Claim::Requested(None) => "requested".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            format!("{} {claim}", told["fleet"].as_str().unwrap())
        };
        bodies.iter().map(claim).collect()
    }
}

/// Fleets of these tests have the example's invitation, but for one.
fn invitation_of(told: &Value) -> String {
    match told["fleet"].as_str().unwrap() {
        "OTHER" => REQUEST.to_owned(),
        _ => INVITATION.to_owned(),
    }
}

/// An answer in a row of the table, with names for tokens.
fn told(answered: &Answered, tokens: &[(&str, &str)]) -> String {
    let location = answered.location.clone().unwrap_or_default();
    let named = tokens
        .iter()
        .fold(location, |text, (token, name)| text.replace(token, name));
    format!("{} {named}", answered.status).trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_back_is_answered_and_claimed_by_the_table() {
    let way = Way::start().await;
    let first = way.invited("FIRST", INVITATION, None).await;
    let other = way.invited("OTHER", REQUEST, None).await;
    // Of each claim a fleet that it is recorded of already.
    let mut repeated = BTreeMap::new();
    for (name, claim) in [
        ("connected", Claim::Connected),
        ("requested", Claim::Requested(None)),
        ("requested-id", Claim::Requested(Some(REQUEST.to_owned()))),
        ("failed", Claim::Failed),
        ("unclear", Claim::Unclear),
    ] {
        let fleet = format!("REPEATED-{name}");
        let token = way.invited(&fleet, INVITATION, Some(claim)).await;
        repeated.insert(name, token);
    }
    let ended = way.token(&FleetRef::parse("FIRST").unwrap(), -1);
    let mut table = String::new();
    let mut rows = 0;
    for path in ["success", "failure"] {
        for status in [
            "status=success",
            "status=integration-requested",
            "status=failure",
            "status=partially-connected",
            "",
            "status=success&status=success",
        ] {
            for (id, parameter) in [
                ("id", format!("integration_request_id={REQUEST}")),
                ("no id", String::new()),
                (
                    "malformed id",
                    "integration_request_id=not-a-uuid".to_owned(),
                ),
            ] {
                let query = [status, &parameter];
                let query = query.iter().filter(|it| !it.is_empty()).copied();
                let query = query.collect::<Vec<_>>().join("&");
                // What the first one claims says of which fleet it would be a repetition.
                let mut claimed = "none".to_owned();
                for who in ["first", "repeated", "other fleet's", "no token", "ended"] {
                    let (token, query) = match who {
                        "first" => (first.as_str(), query.clone()),
                        "repeated" => (repeated[claimed.as_str()].as_str(), query.clone()),
                        // The other fleet's token, and a query that names the first.
                        "other fleet's" => (
                            other.as_str(),
                            format!("{query}&fleet_ref=FIRST&invitation_id={INVITATION}"),
                        ),
                        "ended" => (ended.as_str(), query.clone()),
                        _ => ("", query.clone()),
                    };
                    let url = match token {
                        "" => format!("/return/{path}"),
                        token => format!("/return/{token}/{path}"),
                    };
                    let answered = way.get(&url, query.trim_start_matches('&')).await;
                    let queued = way.queued().await;
                    if who == "first" {
                        claimed = match queued[0].strip_prefix("FIRST ").unwrap() {
                            it if it.contains(REQUEST) => "requested-id".to_owned(),
                            it => it.to_owned(),
                        };
                    }
                    let row = told(&answered, &[(token, "{token}")]);
                    let queued = queued.join(", ");
                    let queued = if queued.is_empty() { "-" } else { &queued };
                    let status = if status.is_empty() {
                        "(absent)"
                    } else {
                        status
                    };
                    let _ = writeln!(
                        table,
                        "{path:<8} {status:<29} {id:<13} {who:<14} {row:<24} {queued}"
                    );
                    rows += 1;
                    if !["no token", "ended"].contains(&who) {
                        assert!(answered.body.is_empty());
                    }
                }
            }
        }
    }
    assert_eq!(rows, 2 * 6 * 3 * 5);
    insta::assert_snapshot!(table);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_redirect_of_the_contract_is_read_as_it_says() {
    let way = Way::start().await;
    let token = way.invited("FLEET-42", INVITATION, None).await;
    let umlaut = way.invited("FLÖTTE 7/A", INVITATION, None).await;
    let samples = include_str!("../../fixtures/samples/redirects.json");
    let samples: Value = serde_json::from_str(samples).unwrap();
    let mut table = String::new();
    for case in samples["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let query = text("url").split_once('?').map_or("", |(_, query)| query);
        let token = match text("name") {
            "encoded-fleet-ref" => &umlaut,
            _ => &token,
        };
        let path = format!("/return/{token}/{}", text("landed_on"));
        let answered = way.get(&path, query).await;
        let queued = way.queued().await.join(", ");
        let row = told(&answered, &[(token, "{token}")]);
        let _ = writeln!(
            table,
            "{:<34} {:<40} {row} {queued}",
            text("name"),
            text("expected_outcome")
        );
        assert!(!answered.location.unwrap().contains('?'));
    }
    insta::assert_snapshot!(table);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_a_parameter_harms_nothing() {
    let way = Way::start().await;
    let token = way.invited("FIRST", INVITATION, None).await;
    let long = "x".repeat(8 * 1024);
    let bad = [
        "%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0a<p>",
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "%00",
        "%ff%fe",
        "%",
        "%zz",
        "%F0%9F%9A%9A",
        &long,
    ];
    let path = format!("/return/{token}/success");
    for parameter in [
        "status",
        "integration_request_id",
        "invitation_id",
        "fleet_ref",
        "lang",
        "unknown",
        "",
    ] {
        for value in bad {
            let query = format!("status=integration-requested&{parameter}={value}");
            let answered = way.get(&path, &query).await;
            assert_eq!(answered.status, 303, "{query}");
            let clean = format!("/return/{token}");
            assert_eq!(answered.location.as_ref(), Some(&clean), "{query}");
            assert!(!answered.headers.contains_key("set-cookie"));
            assert_eq!(answered.body, "");
            let queued = way.queued().await;
            assert_eq!(queued.len(), 1, "{query}");
            assert!(queued[0].len() < 100, "{queued:?}");
            assert!(
                !queued[0].contains("script") && !queued[0].contains("xxx"),
                "{queued:?}"
            );
            // Nor in a path or on a page.
            let shown = way.get(&clean, &query).await;
            assert_eq!(shown.status, 200);
            for part in ["alert(1)", "Set-Cookie", "xxxxxxxx"] {
                assert!(!shown.body.contains(part), "{query}");
            }
        }
    }
    // A slash parts the path, and no route fits.
    let parts = bad.iter().filter(|it| !it.contains('/'));
    for value in parts {
        for path in [
            "/connect/{}",
            "/return/{}",
            "/return/{}/success",
            "/return/{}/status",
            "/assets/{}",
        ] {
            let path = path.replace("{}", value);
            let answered = way.get(&path, "").await;
            assert_eq!(answered.status, 404, "{path}");
            assert!(!answered.body.contains("alert(1)"), "{path}");
        }
    }
    let output = way.redirect.output();
    for part in ["alert(1)", "Set-Cookie", "xxxxxxxx", &token, REQUEST] {
        assert!(!output.contains(part), "{part} is in the output");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_token_sees_one_and_the_same_page() {
    let way = Way::start().await;
    let good = way.invited("FIRST", INVITATION, None).await;
    let fleet = FleetRef::parse("FIRST").unwrap();
    let stranger = json!({ "version": 1, "current": "another-stack's-key-of-return-tokens" });
    let stranger = ReturnKeys::parse(&stranger.to_string()).unwrap();
    let foreign = stranger.token(&Return {
        fleet: fleet.clone(),
        name: "name-of-FIRST".to_owned(),
        ends: now().plus(1_000_000),
    });
    let nobody = way.token(&FleetRef::parse("NOBODY").unwrap(), 1000);
    let mut changed = good.clone();
    let last = changed.pop().unwrap();
    changed.push(if last == 'A' { 'B' } else { 'A' });
    let link = "x".repeat(22);
    let bad = [
        way.token(&fleet, -1),
        foreign,
        nobody,
        changed,
        link,
        "short".to_owned(),
        INVITATION.to_owned(),
    ];
    let mut pages = Vec::new();
    for token in &bad {
        for path in ["", "/success", "/failure", "/status"] {
            let path = format!("/return/{token}{path}");
            let answered = way.get(&path, "status=success").await;
            assert_eq!(answered.status, 404, "{path}");
            assert!(!answered.body.contains(token.as_str()));
            pages.push((answered.headers, answered.body));
        }
    }
    pages.push({
        let link = way.get(&format!("/connect/{good}"), "").await;
        assert_eq!(link.status, 404, "a token is no link");
        (link.headers, link.body)
    });
    assert!(pages.iter().all(|page| *page == pages[0]));
    assert_eq!(way.queued().await, [] as [&str; 0]);
    assert_eq!(way.get(&format!("/return/{good}"), "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_ahead_claims_nothing() {
    let way = Way::start().await;
    let token = way.invited("FIRST", INVITATION, None).await;
    let before = way.backend.items().await;
    let robots = [
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "WhatsApp/2.24.1 A",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Twitterbot/1.0",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        "curl/8.5.0",
        "",
    ];
    let prefetches = [
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
        ("sec-fetch-mode", "no-cors"),
    ];
    let mut looked = 0;
    for path in ["", "/status", "/success", "/failure"] {
        let path = format!("/return/{token}{path}");
        let query = "status=integration-requested";
        let mut heads = vec![];
        heads.extend(robots.map(|agent| vec![("user-agent", agent)]));
        heads.extend(prefetches.map(|it| vec![("user-agent", PHONE), it]));
        for headers in &heads {
            let answered = way.ask("GET", &path, query, headers).await;
            assert!([200, 303].contains(&answered.status), "{path} {headers:?}");
            looked += 1;
        }
    }
    let head = format!("/return/{token}");
    for _ in 0..10 {
        let answered = way.ask("HEAD", &head, "", &[("user-agent", PHONE)]).await;
        assert_eq!((answered.status, answered.body.as_str()), (200, ""));
        looked += 1;
    }
    assert!(looked >= 50, "{looked}");
    assert_eq!(way.queued().await, [] as [&str; 0]);
    assert_eq!(way.backend.items().await, before);
    let calls = way.backend.wire.calls().into_keys();
    let calls = calls.filter(|(lane, _)| lane == "redirect");
    let calls: Vec<_> = calls.map(|(_, action)| action).collect();
    assert_eq!(
        calls,
        ["dynamodb:BatchGetItem", "secretsmanager:GetSecretValue"]
    );
    // The same by a person's browser is a claim.
    way.get(
        &format!("/return/{token}/success"),
        "status=integration-requested",
    )
    .await;
    assert_eq!(way.queued().await, ["FIRST requested"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_made_up_returns_leave_one_claim_and_open_nothing() {
    let way = Way::start().await;
    let token = way.invited("FIRST", INVITATION, None).await;
    let fleet = FleetRef::parse("FIRST").unwrap();
    // It may use the platform provisionally, and some of its data may be read: there is something to lose, and something to gain.
    let hash = InvitationHash::of(INVITATION).as_str().to_owned();
    let facts = [
        Fact::Invitation {
            invitation: hash.clone(),
            was: InvitationFact::Decision(Decision::Accepted),
        },
        Fact::Agreement {
            id: "agreement".to_owned(),
            made: None,
            agreement: Agreement {
                status: AgreementStatus::Active,
                scopes: Some(BTreeMap::from([("vehicle".to_owned(), Level::Read)])),
                effective: None,
                ends: None,
            },
        },
        Fact::Request {
            id: REQUEST.to_owned(),
            request: IntegrationRequest {
                created: now().plus(-30_000),
                provider: "Prairie Logs".to_owned(),
                provider_id: "prairie-logs".to_owned(),
                invitation: Some(hash),
                live_as: BTreeSet::new(),
            },
        },
    ];
    let at = At(now().plus(-30_000), 0);
    let told = facts.into_iter().map(|fact| Observation { at, fact });
    way.take_in(&fleet, told.collect()).await;
    let policy = Policy::default();
    let before = way.table.record(&fleet).await.unwrap().record;
    let decided = before.decisions.clone();
    let before = before.standing(&policy, now());
    assert!(matches!(before.admission, Admission::Provisional { .. }));
    assert_eq!(before.data_scopes.len(), 1);
    let processor = way.backend.function("event-processor", &[]).await;
    // A burst before anything is processed, then a stream that is processed on the way.
    let (mut queued, mut made_up) = (0, 0);
    for burst in [200, 100, 100, 100, 100, 100, 100, 100, 100] {
        for _ in 0..burst {
            let id = Uuid::new_v4();
            let path = ["success", "failure"][made_up % 2];
            let query = [
                format!("status=integration-requested&integration_request_id={id}"),
                "status=success".to_owned(),
                "status=failure".to_owned(),
                format!("status={id}"),
                format!("fleet_ref={id}"),
            ][made_up % 5]
                .clone();
            let path = format!("/return/{token}/{path}");
            assert_eq!(way.get(&path, &query).await.status, 303);
            made_up += 1;
        }
        loop {
            let records = way.backend.receive().await;
            if records.is_empty() {
                break;
            }
            queued += records.len();
            let batch = json!({ "Records": records });
            let answer = processor.invoke(&batch).await.unwrap();
            assert_eq!(answer["batchItemFailures"], json!([]));
            way.backend.delete(records.iter()).await;
        }
    }
    let stored = way.table.record(&fleet).await.unwrap();
    let facts = &stored.record.facts;
    assert_eq!(made_up, 1000);
    assert_eq!(facts.invitations.len(), 1);
    let claims = facts.invitations.values().filter(|it| it.claim.is_some());
    assert_eq!(claims.count(), 1);
    assert_eq!(facts.requests.len(), 1);
    assert_eq!(stored.record.decisions, decided);
    let after = stored.record.standing(&policy, now());
    assert_eq!(
        (after.admission, &after.data_scopes),
        (before.admission, &before.data_scopes)
    );
    // What comes while one is recorded is worth no message.
    assert!(queued < 400, "{queued} of {made_up} were queued");
    let history = way.backend.items().await;
    let is_history = |it: &&Value| it["sk"]["S"].as_str().unwrap().starts_with("HISTORY#");
    let history = history.iter().filter(is_history).count();
    println!("{made_up} made-up returns: {queued} queued, {history} in the history, 1 claim");
    assert!(history < 60, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_again_after_something_happened_claims_something_new_by_the_same_words() {
    let way = Way::start().await;
    let token = way.invited("FIRST", INVITATION, Some(Claim::Failed)).await;
    let path = format!("/return/{token}/failure");
    way.get(&path, "").await;
    assert_eq!(way.queued().await, [] as [&str; 0], "a reload");
    let fleet = FleetRef::parse("FIRST").unwrap();
    let fact = Fact::Invitation {
        invitation: InvitationHash::of(INVITATION).as_str().to_owned(),
        was: InvitationFact::Decision(Decision::Declined(None)),
    };
    let at = At(now().plus(-30_000), 0);
    way.take_in(&fleet, vec![Observation { at, fact }]).await;
    way.get(&path, "").await;
    assert_eq!(way.queued().await, ["FIRST failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_invitations_way_back_shows_how_the_fleet_stands_and_claims_nothing() {
    let way = Way::start().await;
    way.invited("FIRST", INVITATION, None).await;
    let older = way.keys.token(&Return {
        fleet: FleetRef::parse("FIRST").unwrap(),
        name: "an-older-name".to_owned(),
        ends: now().plus(86_400_000),
    });
    let answered = way.get(&format!("/return/{older}/success"), "").await;
    assert_eq!(
        told(&answered, &[(&older, "{token}")]),
        "303 /return/{token}"
    );
    assert_eq!(way.queued().await, [] as [&str; 0]);
    assert_eq!(way.get(&format!("/return/{older}"), "").await.status, 200);
}

/// While Catena is asked, only the name of the invitation is known that is being made.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_while_catena_is_asked_claims_of_the_invitation_that_is_known() {
    let way = Way::start().await;
    let token = way.invited("FIRST", INVITATION, None).await;
    let fleet = FleetRef::parse("FIRST").unwrap();
    let (_, mut kept) = way.table.invited(&fleet).await.unwrap();
    kept.open.asking = Some(json!({}));
    way.table.keep_invitation(&fleet, &kept).await.unwrap();
    // It is refreshed: the same.
    let path = format!("/return/{token}/success");
    way.get(&path, "").await;
    assert_eq!(way.queued().await, ["FIRST connected"]);
    // It is over, so another one is being made, of which nothing is heard yet.
    let of = |invitation: &str, was| Fact::Invitation {
        invitation: InvitationHash::of(invitation).as_str().to_owned(),
        was,
    };
    let observed = |ago: i64, fact| Observation {
        at: At(now().plus(-ago), 0),
        fact,
    };
    let expired = of(INVITATION, InvitationFact::Decision(Decision::Expired));
    way.take_in(&fleet, vec![observed(20_000, expired)]).await;
    way.get(&path, "").await;
    assert_eq!(way.queued().await, [] as [&str; 0]);
    // Catena's event of it is here before its answer.
    let made = of(REQUEST, InvitationFact::Decision(Decision::Open));
    way.take_in(&fleet, vec![observed(10_000, made)]).await;
    way.get(&path, &format!("invitation_id={REQUEST}")).await;
    let bodies = way.backend.drain().await;
    let [body] = &bodies[..] else {
        panic!("{bodies:?}")
    };
    let body = body.to_string();
    assert!(
        body.contains(InvitationHash::of(REQUEST).as_str()),
        "{body}"
    );
    assert!(body.contains("connected"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_pressed_button_leads_back_to_the_link() {
    let way = Way::start().await;
    let link = "abcdefghijklmnopqrstuv";
    let lang = [("user-agent", PHONE), ("accept-language", "es")];
    let path = format!("/connect/{link}/open");
    let answered = way.ask("GET", &path, "lang=fr", &lang).await;
    assert_eq!(told(&answered, &[]), format!("303 /connect/{link}?lang=fr"));
    let evil = way.get("/connect/%0d%0aa:%20b/open", "").await;
    assert_eq!(told(&evil, &[]), "303 /connect/-?lang=en");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_goes_on_while_something_is_down() {
    let way = Way::start().await;
    let token = way.invited("FIRST", INVITATION, None).await;
    let path = format!("/return/{token}/success");
    let clean = format!("303 /return/{token}");
    let wire = &way.backend.wire;
    for action in ["sqs:SendMessage", "dynamodb:BatchGetItem"] {
        wire.fault_times(20, "redirect", action, Fault::error(503, "Unavailable"));
        let answered = way.get(&path, "status=success").await;
        assert_eq!(told(&answered, &[]), clean, "{action}");
        wire.heal();
        assert_eq!(way.queued().await, [] as [&str; 0], "{action}");
    }
    wire.fault_times(
        20,
        "redirect",
        "dynamodb:BatchGetItem",
        Fault::error(503, "Unavailable"),
    );
    for path in [
        format!("/return/{token}"),
        format!("/connect/{}", "x".repeat(22)),
    ] {
        let shown = way.get(&path, "").await;
        assert_eq!(shown.status, 503, "{path}");
        assert_eq!(shown.headers["retry-after"], "10");
        assert!(shown.headers["content-type"].starts_with("text/html"));
    }
    wire.heal();
    assert_eq!(told(&way.get(&path, "status=success").await, &[]), clean);
    assert_eq!(way.queued().await, ["FIRST connected"]);
}

/// The local AWS enforces no policy, so what the template lets `redirect` read is compared with what it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn redirect_may_read_what_it_asks_for_and_never_what_opens_an_invitation() {
    let template = Template::read(&local::Options::default().template).unwrap();
    let role = &template.json()["Resources"]["RedirectRole"]["Properties"]["Policies"][0];
    let statements = role["PolicyDocument"]["Statement"].as_array().unwrap();
    let reads: Vec<_> = statements
        .iter()
        .filter(|it| it["Action"].to_string().contains("dynamodb"))
        .collect();
    let [read] = reads[..] else {
        panic!("{reads:?}")
    };
    let condition = &read["Condition"];
    let allowed: BTreeSet<String> = serde_json::from_value(
        condition["ForAllValues:StringEquals"]["dynamodb:Attributes"].clone(),
    )
    .unwrap();
    let asked = store::SHOWN.iter().chain(&store::LINKED);
    let asked: BTreeSet<String> = asked.map(|it| (*it).to_owned()).collect();
    assert_eq!(allowed, asked);
    assert!(!allowed.contains("secret"));
    assert_eq!(
        condition["StringEquals"]["dynamodb:Select"],
        "SPECIFIC_ATTRIBUTES"
    );
}

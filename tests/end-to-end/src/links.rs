//! A fleet's link: what looking at it shows, where its button leads, and what Catena is asked for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use catena::{InvitationHash, Level};
use catena_client::NewInvitation;
use fleet::{
    Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Decision, Fact, FleetRef,
    InvitationFact, Observation, Timestamp,
};
use futures_util::future::join_all;
use local::{
    event::{self, Request},
    runtime_api::Function,
    template::Template,
};
use serde_json::{Value, json};
use simulator::{ApiFault, ApiFaultKind, Simulator};
use store::{OpenPart, Sealed, Table, timestamp};
use time::OffsetDateTime;

use crate::{
    backend::{self, Backend, RETURN_KEY, now, status, tell},
    catena::{client, invitations_at, silent},
};

const LIST: &str = "GET /v2/orgs/invitations";
const CREATE: &str = "POST /v2/orgs/invitations";
const READ: &str = "GET /v2/orgs/invitations/{id}";
const INVITATIONS: &str = "/v2/orgs/invitations";
const CONTACT: &str = "onboarding@example.com";
const BASE: &str = "https://fleets.example.com";
const TEN_MINUTES: i64 = 10 * 60 * 1000;

/// The functions that fleets meet, the partner's, and Catena.
struct Way<'a> {
    backend: &'a Backend,
    simulator: Simulator,
    partner: Function,
    opener: Function,
    redirect: Function,
    table: Table,
    /// Each route and the package that it leads to.
    routes: Vec<(String, String)>,
    answers: Mutex<Vec<Answered>>,
}

/// What a browser gets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
    status: u64,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    body: String,
}

impl Answered {
    fn location(&self) -> Option<&str> {
        self.headers.get("location").map(String::as_str)
    }

    /// Where the page's button leads.
    fn button(&self) -> Option<&str> {
        let (_, form) = self.body.split_once("<form method=\"post\" action=\"")?;
        form.split_once('"').map(|(action, _)| action)
    }
}

impl<'a> Way<'a> {
    async fn start(backend: &'a Backend) -> Self {
        let simulator = silent().await;
        let url = simulator.url();
        let template = Template::read(&local::Options::default().template).unwrap();
        let routes = template.routes().unwrap().into_iter();
        Self {
            partner: backend.partner_api(url, &[]).await,
            opener: backend.link_opener(url, &[]).await,
            redirect: backend.redirect(url, &[]).await,
            table: backend.table().await,
            routes: routes.map(|it| (it.key, it.package)).collect(),
            answers: Mutex::default(),
            backend,
            simulator,
        }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answered {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let keys = self.routes.iter().map(|(key, _)| key.as_str());
        let (route, _) = event::route(keys, &method, path).unwrap();
        let (_, package) = self.routes.iter().find(|(key, _)| key == route).unwrap();
        let function = match package.as_str() {
            "link-opener" => &self.opener,
            "redirect" => &self.redirect,
            _ => &self.partner,
        };
        self.ask_of(function, &method, path, headers).await
    }

    async fn ask_of(
        &self,
        function: &Function,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answered {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            all.append(name, HeaderValue::from_str(value).unwrap());
        }
        let keys = self.routes.iter().map(|(key, _)| key.as_str());
        let (route, parameters) = event::route(keys, method, path).unwrap();
        let request = Request {
            method,
            path,
            query: "",
            headers: &all,
            body: if *method == Method::PUT { b"{}" } else { b"" },
            source_ip: "192.0.2.1",
        };
        let now = OffsetDateTime::now_utc();
        let mut event = event::event(&request, route, &parameters, "request", now);
        // The partner's routes have a caller; the others don't look.
        let caller = json!({ "userArn": "arn:aws:iam::000000000000:user/test" });
        event["requestContext"]["authorizer"] = json!({ "iam": caller });
        let answer = function.invoke(&event).await.unwrap();
        let cookies = answer["cookies"].as_array().cloned().unwrap_or_default();
        let answered = Answered {
            status: status(&answer),
            headers: serde_json::from_value(answer["headers"].clone()).unwrap(),
            cookies: cookies.iter().map(|it| text(it).to_owned()).collect(),
            body: answer["body"].as_str().unwrap_or_default().to_owned(),
        };
        self.answers.lock().unwrap().push(answered.clone());
        answered
    }

    /// Invites a fleet by the partner's API. Returns its link's id.
    async fn invited(&self, fleet: &str) -> String {
        let path = format!("/fleets/{fleet}/invitation");
        let answered = self.ask("PUT", &path, &[]).await;
        assert!([200, 201].contains(&answered.status), "{answered:?}");
        let invited: Value = serde_json::from_str(&answered.body).unwrap();
        self.asked();
        link_of(&invited["link"])
    }

    /// Gives the invitation of a fleet less than an hour, at Catena and in its record.
    async fn shortened(&self, fleet: &str) {
        let permissions = BTreeMap::from([("vehicle".to_owned(), Level::Read)]);
        let client = client(&self.simulator);
        let calls = client.within(Duration::from_secs(10));
        let wish = NewInvitation::new(fleet, permissions, 1);
        calls.create_invitation(&wish).await.unwrap();
        let ends = self.simulator.invitation(fleet).unwrap().expires_at;
        let ends = InvitationFact::Ends(timestamp(ends));
        self.tell(fleet, vec![self.about(fleet, ends)]).await;
        self.asked();
    }

    /// A fleet with an invitation that must be renewed. Returns its link's id.
    async fn nearly_over(&self, fleet: &str) -> String {
        let link = self.invited(fleet).await;
        self.shortened(fleet).await;
        link
    }

    async fn declined(&self, fleet: &str) {
        self.simulator.decline_invitation(fleet, None).unwrap();
        self.decided(fleet, Decision::Declined(None)).await;
    }

    async fn decided(&self, fleet: &str, decision: Decision) {
        let decision = InvitationFact::Decision(decision);
        self.tell(fleet, vec![self.about(fleet, decision)]).await;
    }

    /// A fact about the invitation that a fleet has at Catena.
    fn about(&self, fleet: &str, was: InvitationFact) -> Fact {
        let id = self.simulator.invitation(fleet).unwrap().id.to_string();
        Fact::Invitation {
            invitation: InvitationHash::of(&id).as_str().to_owned(),
            was,
        }
    }

    /// Folds facts of this moment into a fleet's record, as webhooks would.
    async fn tell(&self, fleet: &str, facts: Vec<Fact>) {
        let at = At(now(), 0);
        let told = facts.into_iter().map(|fact| Observation { at, fact });
        let fleet = FleetRef::parse(fleet).unwrap();
        tell(&self.table, &fleet, told.collect()).await;
    }

    async fn press(&self, link: &str) -> Answered {
        self.ask("POST", &format!("/connect/{link}/open"), &[])
            .await
    }

    async fn look(&self, link: &str) -> Answered {
        self.ask("GET", &format!("/connect/{link}"), &[]).await
    }

    /// Where the fleet's newest invitation leads.
    fn magic_link(&self, fleet: &str) -> String {
        let invitation = self.simulator.invitation(fleet).unwrap();
        text(&invitation.read["magic_link"]).to_owned()
    }

    /// The token in the URLs that Catena has for a fleet.
    fn token(&self, fleet: &str) -> String {
        let read = self.simulator.invitation(fleet).unwrap().read;
        let url = text(&read["success_redirect_url"]).to_owned();
        let (_, token) = url.split_once("/return/").unwrap();
        token.strip_suffix("/success").unwrap().to_owned()
    }

    /// What Catena was asked since the last time, tokens aside.
    fn asked(&self) -> Vec<String> {
        let calls = self.simulator.api_calls();
        self.simulator.clear_api_calls();
        let calls = calls
            .iter()
            .filter(|call| call.path != simulator::TOKEN_PATH);
        let calls = calls.map(|call| format!("{} {}", call.method, call.path));
        calls.collect()
    }

    async fn kept(&self, fleet: &str) -> OpenPart {
        let fleet = FleetRef::parse(fleet).unwrap();
        self.table.invited(&fleet).await.unwrap().1.open
    }

    /// Changes what is kept of a fleet's invitation.
    async fn change(&self, fleet: &str, change: impl FnOnce(&mut store::StoredInvitation)) {
        let fleet = FleetRef::parse(fleet).unwrap();
        let mut kept = self.table.invited(&fleet).await.unwrap().1;
        change(&mut kept);
        self.table.keep_invitation(&fleet, &kept).await.unwrap();
    }

    /// Neither answers nor lines hold what opens an invitation; nor do lines hold what opens a link or claims a return.
    async fn hid_all_secrets(&self, others: &[Function]) {
        self.simulator.clear_api_faults();
        let mut fleets = BTreeSet::new();
        let mut lines_only = BTreeSet::new();
        for item in self.backend.items().await {
            let pk = text(&item["pk"]["S"]);
            let fleet = item["fleet_ref"]["S"].as_str();
            let link = pk.strip_prefix("LINK#");
            fleets.extend(fleet.map(str::to_owned));
            lines_only.extend(link.map(str::to_owned));
        }
        // Of everybody who shares the table, those that this Catena knows.
        fleets.retain(|fleet| self.simulator.invitation(fleet).is_some());
        assert!(!fleets.is_empty());
        let mut secrets = BTreeSet::from(["?invite=", "%3Finvite"].map(str::to_owned));
        secrets.insert(simulator::TOKEN_PREFIX.to_owned());
        secrets.insert(simulator::CLIENT_SECRET.to_owned());
        secrets.insert(RETURN_KEY.to_owned());
        for fleet in &fleets {
            secrets.extend(invitations_at(&self.simulator, fleet).await);
            lines_only.insert(self.token(fleet));
        }
        for answered in self.answers.lock().unwrap().iter() {
            let mut answered = answered.clone();
            if answered.status == 303 {
                answered.headers.remove("location");
            }
            let shown = format!("{answered:?}");
            for secret in &secrets {
                assert!(!shown.contains(secret), "{secret} is in {shown}");
            }
        }
        let own = [&self.partner, &self.opener, &self.redirect];
        let mut outcomes = BTreeSet::new();
        for function in own.into_iter().chain(others) {
            let output = function.output();
            for secret in secrets.iter().chain(&lines_only) {
                assert!(!output.contains(secret), "{secret} is in {output}");
            }
            outcomes.extend(backend::outcomes(function));
        }
        assert!(outcomes.len() > 1, "nothing to look at");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The id that a link's URL ends with.
fn link_of(link: &Value) -> String {
    let id = text(&link["url"]).strip_prefix(&format!("{BASE}/connect/"));
    id.unwrap().to_owned()
}

/// The id of the link that took another one's place.
fn replaced(answered: &Answered) -> String {
    assert_eq!(answered.status, 201, "{answered:?}");
    let replaced: Value = serde_json::from_str(&answered.body).unwrap();
    link_of(&replaced["link"])
}

/// The lines that a function printed.
fn lines(function: &Function) -> Vec<Value> {
    let output = function.output();
    let lines = output.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn none() -> [&'static str; 0] {
    []
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_presses_at_once_ask_catena_once_and_all_lead_to_the_same_place() {
    let backend = Backend::start().await;
    let way = Way::start(&backend).await;
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        instances.push(backend.link_opener(way.simulator.url(), &[]).await);
    }
    let link = way.nearly_over("FLEET-1").await;
    // Long enough that all are there before the first one has its answer.
    let slow = ApiFaultKind::Slow {
        by: Duration::from_millis(500),
    };
    let slow = ApiFault::new(slow).on("POST", INVITATIONS);
    way.simulator.add_api_fault(slow.until_cleared());
    let path = format!("/connect/{link}/open");
    let presses = (0..20).map(|number| {
        let instance = &instances[number % INSTANCES];
        way.ask_of(instance, &Method::POST, &path, &[])
    });
    let answers = join_all(presses).await;
    assert_eq!(way.asked(), [LIST, CREATE, READ]);
    let magic_link = way.magic_link("FLEET-1");
    for answered in &answers {
        assert_eq!(answered.status, 303, "{answered:?}");
        assert_eq!(answered.location(), Some(magic_link.as_str()));
    }
    assert_eq!(answers.len(), 20);
    way.hid_all_secrets(&instances).await;
}

/// Of the binary, each with a press at a time as on AWS.
const INSTANCES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_press_uses_the_invitation_that_lasts_and_has_any_other_renewed() {
    let backend = Backend::start().await;
    let way = Way::start(&backend).await;
    let leads = async |fleet: &str, link: &str| {
        let answered = way.press(link).await;
        assert_eq!(answered.status, 303, "{fleet}: {answered:?}");
        let magic_link = way.magic_link(fleet);
        assert_eq!(answered.location(), Some(magic_link.as_str()), "{fleet}");
        way.asked()
    };

    // One that lasts.
    let lasts = way.invited("LASTS").await;
    let before = way.kept("LASTS").await;
    for _ in 0..3 {
        assert_eq!(leads("LASTS", &lasts).await, none());
    }
    assert_eq!(way.kept("LASTS").await, before, "nothing was written");

    // One with less than an hour left.
    let short = way.nearly_over("SHORT").await;
    assert_eq!(leads("SHORT", &short).await, [LIST, CREATE, READ]);
    let ends = way.simulator.invitation("SHORT").unwrap().expires_at;
    let left = ends - OffsetDateTime::now_utc();
    assert!(left > time::Duration::days(27), "{left}");
    assert_eq!(leads("SHORT", &short).await, none());

    // One that is over: another invitation, the same link.
    let expired = way.invited("EXPIRED").await;
    let old = way.magic_link("EXPIRED");
    way.simulator.expire_invitation("EXPIRED").unwrap();
    way.decided("EXPIRED", Decision::Expired).await;
    assert_eq!(leads("EXPIRED", &expired).await, [LIST, CREATE]);
    assert_ne!(way.magic_link("EXPIRED"), old);
    assert_eq!(leads("EXPIRED", &expired).await, none());

    // One that was declined: the fleet pressed the button. It may decline again, and then has to wait.
    let declined = way.invited("DECLINED").await;
    way.declined("DECLINED").await;
    assert_eq!(leads("DECLINED", &declined).await, [LIST, CREATE, READ]);
    assert_eq!(
        way.simulator.invitation("DECLINED").unwrap().status,
        "active"
    );
    assert_eq!(leads("DECLINED", &declined).await, none());
    way.declined("DECLINED").await;
    let opened_at = way.kept("DECLINED").await.opened_at.unwrap();
    let answered = way.press(&declined).await;
    assert_eq!(answered.status, 429, "{answered:?}");
    assert_eq!((answered.location(), answered.cookies.len()), (None, 0));
    let wait: i64 = answered.headers["retry-after"].parse().unwrap();
    let left = opened_at.plus(TEN_MINUTES).0 - now().0;
    assert!((0..=2).contains(&(wait - left / 1000)), "{wait} {left}");
    let says_when = format!("datetime=\"{}\"", minute(opened_at.plus(TEN_MINUTES)));
    assert!(answered.body.contains(&says_when), "{}", answered.body);
    let back = format!("href=\"/connect/{declined}?lang=en\"");
    assert!(answered.body.contains(&back), "a dead end");
    assert_eq!(way.asked(), none());
    // Ten minutes later.
    way.change("DECLINED", |kept| {
        kept.open.opened_at = Some(opened_at.plus(-TEN_MINUTES));
    })
    .await;
    assert_eq!(leads("DECLINED", &declined).await, [LIST, CREATE, READ]);

    // One that was accepted, by a fleet that has to connect again: renewed, but not at each press.
    let accepted = way.invited("ACCEPTED").await;
    way.simulator.accept_invitation("ACCEPTED").unwrap();
    way.decided("ACCEPTED", Decision::Accepted).await;
    assert_eq!(leads("ACCEPTED", &accepted).await, [LIST, CREATE, READ]);
    for _ in 0..3 {
        assert_eq!(leads("ACCEPTED", &accepted).await, none());
    }
    let opened_at = way.kept("ACCEPTED").await.opened_at.unwrap();
    let ago = async |millis: i64| {
        way.change("ACCEPTED", |kept| {
            kept.open.opened_at = Some(opened_at.plus(-millis));
        })
        .await;
    };
    ago(TEN_MINUTES - 60_000).await;
    assert_eq!(leads("ACCEPTED", &accepted).await, none());
    ago(TEN_MINUTES).await;
    assert_eq!(leads("ACCEPTED", &accepted).await, [LIST, CREATE, READ]);

    // A fleet whose data flows: back to its page, which has nothing to press.
    let connected = way.invited("CONNECTED").await;
    way.simulator.accept_invitation("CONNECTED").unwrap();
    way.decided("CONNECTED", Decision::Accepted).await;
    way.tell("CONNECTED", flowing()).await;
    let answered = way.press(&connected).await;
    let page = format!("/connect/{connected}?lang=en");
    assert_eq!(
        (answered.status, answered.location()),
        (303, Some(page.as_str()))
    );
    let page = way.look(&connected).await;
    assert_eq!((page.status, page.button()), (200, None), "{page:?}");
    assert_eq!(way.asked(), none());
    assert!(way.look(&accepted).await.button().is_some());
    way.hid_all_secrets(&[]).await;
}

/// The full minute by which a moment has come, as `datetime` attributes have it.
fn minute(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at.plus(59_999).0 / 1000).unwrap();
    let (date, hour, minute) = (at.date(), at.hour(), at.minute());
    format!("{date}T{hour:02}:{minute:02}Z")
}

/// What makes a fleet that accepted a connected one.
fn flowing() -> Vec<Fact> {
    let connection = "connection".to_owned();
    vec![
        Fact::Agreement {
            id: "agreement".to_owned(),
            made: None,
            agreement: Agreement {
                status: AgreementStatus::Active,
                scopes: Some(BTreeMap::new()),
                effective: None,
                ends: None,
            },
        },
        Fact::Connection {
            connection: connection.clone(),
            was: ConnectionFact::State(ConnectionState::Active),
        },
        Fact::Linked { connection },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn while_catena_is_down_a_page_says_so_and_its_button_works_as_soon_as_it_is_back() {
    let backend = &Backend::start().await;
    let down = async |fleet: &str, kind: ApiFaultKind| {
        let way = Way::start(backend).await;
        let link = way.nearly_over(fleet).await;
        let before = way.kept(fleet).await;
        let fault = ApiFault::new(kind.clone()).until_cleared();
        way.simulator.add_api_fault(fault);
        let started = Instant::now();
        let answered = way.press(&link).await;
        let took = started.elapsed();
        assert_eq!(answered.status, 503, "{kind:?}: {answered:?}");
        assert!(took < Duration::from_secs(15), "{kind:?}: {took:?}");
        assert_eq!((answered.location(), answered.cookies.len()), (None, 0));
        assert_eq!(answered.headers["retry-after"], "10");
        let button = format!("/connect/{link}/open?lang=en");
        assert_eq!(answered.button(), Some(button.as_str()), "{kind:?}");
        let posted = way.asked().iter().filter(|it| *it == CREATE).count();
        let kept = way.kept(fleet).await;
        assert_eq!((kept.opened_at, kept.lease), (None, None), "{kind:?}");
        if kind != ApiFaultKind::CutAfter {
            assert_eq!(kept, before, "{kind:?}: as if nobody had pressed");
        }

        way.simulator.clear_api_faults();
        let answered = way.press(&link).await;
        assert_eq!(answered.status, 303, "{kind:?}: {answered:?}");
        let magic_link = way.magic_link(fleet);
        assert_eq!(answered.location(), Some(magic_link.as_str()));
        assert_eq!(way.asked(), [LIST, CREATE, READ], "{kind:?}");
        assert!(way.kept(fleet).await.opened_at.is_some());
        way.hid_all_secrets(&[]).await;
        posted
    };
    let too_many = ApiFaultKind::TooManyRequests {
        retry_after_seconds: None,
        retry_after: None,
    };
    let (cut, broken, stalled, limited, lost) = tokio::join!(
        down("CUT", ApiFaultKind::CutBefore),
        down("BROKEN", ApiFaultKind::Status { status: 503 }),
        down("STALLED", ApiFaultKind::Stall),
        down("LIMITED", too_many),
        an_answer_is_lost(backend),
    );
    assert_eq!(
        cut + broken + stalled + limited,
        0,
        "nobody got past a look"
    );
    assert!(lost > 0);
}

/// Catena did it, and nobody learned of it: the next press finds it. Returns how often Catena was asked to.
async fn an_answer_is_lost(backend: &Backend) -> usize {
    let way = Way::start(backend).await;
    let link = way.nearly_over("LOST").await;
    let fault = ApiFault::new(ApiFaultKind::CutAfter).on("POST", INVITATIONS);
    way.simulator.add_api_fault(fault.until_cleared());
    let answered = way.press(&link).await;
    assert_eq!(answered.status, 503, "{answered:?}");
    assert!(answered.button().is_some());
    let posted = way.asked().iter().filter(|it| *it == CREATE).count();
    let kept = way.kept("LOST").await;
    assert_eq!((kept.opened_at, kept.lease), (None, None));
    assert!(kept.asking.is_some(), "it isn't known whether Catena did");

    way.simulator.clear_api_faults();
    let answered = way.press(&link).await;
    assert_eq!(answered.status, 303, "{answered:?}");
    let magic_link = way.magic_link("LOST");
    assert_eq!(answered.location(), Some(magic_link.as_str()));
    assert_eq!(way.asked(), [LIST]);
    assert_eq!(way.kept("LOST").await.asking, None);
    way.press(&link).await;
    assert_eq!(way.asked(), none());
    way.hid_all_secrets(&[]).await;
    posted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_magic_link_that_leads_elsewhere_is_refused_and_reported() {
    let backend = Backend::start().await;
    let way = Way::start(&backend).await;
    let own = way.simulator.url().to_owned();
    let unreadable = "(unreadable)";
    let mut expected = Vec::new();
    for (number, (connect, origin)) in [
        ("https://evil.example", "https://evil.example"),
        ("https://EVIL.example:443/connect", "https://evil.example"),
        ("https://connect.example@evil.example", unreadable),
        (&format!("{own}@evil.example/connect"), unreadable),
        (&format!("{own}.evil.example/connect"), unreadable),
        ("http://evil.example/connect", unreadable),
        ("http://127.0.0.1:1/connect", "http://127.0.0.1:1"),
        ("javascript:alert(1)//", unreadable),
        ("//evil.example/connect", unreadable),
        ("/connect", unreadable),
    ]
    .into_iter()
    .enumerate()
    {
        let fleet = format!("FLEET-{number}");
        way.simulator.set_connect_url(Some(connect));
        // Every other one is led there by a renewal.
        let link = match number % 2 {
            0 => way.invited(&fleet).await,
            _ => way.nearly_over(&fleet).await,
        };
        let answered = way.press(&link).await;
        assert_eq!(answered.status, 502, "{connect}: {answered:?}");
        assert_eq!((answered.location(), answered.cookies.len()), (None, 0));
        assert!(answered.body.contains(CONTACT), "{connect}: a dead end");
        assert_eq!(answered.button(), None);
        assert!(!format!("{answered:?}").contains("evil.example"));
        expected.push((fleet, origin.to_owned()));
    }
    let errors: Vec<_> = lines(&way.opener)
        .into_iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let told: Vec<_> = errors
        .iter()
        .map(|line| {
            assert_eq!(line["outcome"], "foreign-origin", "{line}");
            let field = |name: &str| text(&line[name]).to_owned();
            (field("fleet.ref"), field("origin"))
        })
        .collect();
    assert_eq!(told, expected, "one line each");
    way.hid_all_secrets(&[]).await;

    // The same fleets, and a link that leads where it may.
    way.simulator.set_connect_url(None);
    let link = way.nearly_over("FLEET-0").await;
    let answered = way.press(&link).await;
    let magic_link = way.magic_link("FLEET-0");
    assert_eq!(answered.location(), Some(magic_link.as_str()));
    assert!(magic_link.starts_with(&own));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_link_says_whom_to_ask_and_one_that_never_was_says_nothing() {
    let backend = Backend::start().await;
    let way = Way::start(&backend).await;
    let rotated = way.invited("ROTATED").await;
    let answered = way.ask("POST", "/fleets/ROTATED/link", &[]).await;
    let successor = replaced(&answered);
    assert_ne!(successor, rotated);
    let withdrawn = way.invited("WITHDRAWN").await;
    let answered = way.ask("DELETE", "/fleets/WITHDRAWN/invitation", &[]).await;
    assert_eq!(answered.status, 204, "{answered:?}");
    let old = way.invited("OLD").await;
    way.change("OLD", |kept| {
        kept.open.link.as_mut().unwrap().ends = now();
    })
    .await;
    way.asked();

    let all = async |link: &str| {
        let get = way.look(link).await;
        let head = way.ask("HEAD", &format!("/connect/{link}"), &[]).await;
        assert_eq!(head.body, "", "{link}");
        assert_eq!((head.status, &head.headers), (get.status, &get.headers));
        [get, way.press(link).await]
    };
    for link in [&rotated, &withdrawn, &old] {
        for answered in all(link).await {
            assert_eq!(answered.status, 410, "{answered:?}");
            assert!(answered.body.contains(CONTACT), "a dead end");
            assert_eq!((answered.location(), answered.button()), (None, None));
            assert_eq!(answered.cookies, none());
        }
    }
    let token = way.token("OLD");
    let raw = way.simulator.invitation("OLD").unwrap().id.to_string();
    let mut nothing = Vec::new();
    for link in [
        "never-made-0123456789_",
        "short",
        "twenty-three-characters",
        "%3Cscript%3Ealert(1)%3C",
        "..............~~~~~~~~",
        "FLEET%23ROTATED%2FRECO",
        &rotated.to_uppercase(),
        &token,
        &raw,
    ] {
        nothing.extend(all(link).await);
    }
    for answered in &nothing {
        assert_eq!(answered, &nothing[0], "the same, whatever was wrong");
    }
    assert_eq!(nothing[0].status, 404);
    assert!(!nothing[0].body.contains("alert(1)"));
    assert_eq!(way.asked(), none());

    // What took its place works.
    assert!(way.look(&successor).await.button().is_some());
    assert_eq!(way.press(&successor).await.status, 303);
    assert_eq!(way.asked(), none());
    way.hid_all_secrets(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_link_changes_nothing_and_reads_no_secret() {
    let backend = Backend::start().await;
    let way = Way::start(&backend).await;
    let mut links = vec![
        way.invited("OPEN").await,
        way.nearly_over("SHORT").await,
        way.invited("DECLINED").await,
        way.invited("EXPIRED").await,
        way.invited("ACCEPTED").await,
    ];
    way.declined("DECLINED").await;
    way.simulator.expire_invitation("EXPIRED").unwrap();
    way.decided("EXPIRED", Decision::Expired).await;
    way.simulator.accept_invitation("ACCEPTED").unwrap();
    way.decided("ACCEPTED", Decision::Accepted).await;
    // So large that it would be noticed on the wire.
    for fleet in ["OPEN", "SHORT", "DECLINED", "EXPIRED", "ACCEPTED"] {
        way.change(fleet, |kept| {
            kept.secret = Some(Sealed::new("x".repeat(LARGE)));
        })
        .await;
    }
    let ended = way.invited("ROTATED").await;
    way.ask("POST", "/fleets/ROTATED/link", &[]).await;
    links.push(ended);
    links.push("never-made-0123456789_".to_owned());
    way.asked();

    let before = json!(backend.items().await).to_string();
    backend.wire.reset();
    let mut looked = 0;
    for link in &links {
        for headers in LOOKERS {
            for method in ["GET", "HEAD"] {
                let path = format!("/connect/{link}");
                let answered = way.ask(method, &path, headers).await;
                assert!([200, 404, 410].contains(&answered.status), "{answered:?}");
                assert_eq!(answered.cookies, none());
                assert_eq!(answered.body.is_empty(), method == "HEAD");
                looked += 1;
            }
            // Where a button leads, as somebody's address bar has it.
            let path = format!("/connect/{link}/open");
            let answered = way.ask("GET", &path, headers).await;
            let page = format!("/connect/{link}?lang=en");
            assert_eq!(
                (answered.status, answered.location()),
                (303, Some(page.as_str()))
            );
            assert_eq!(answered.cookies, none());
            looked += 1;
        }
    }
    assert!(looked >= 50, "{looked}");
    let read = backend.wire.traffic().received;
    let calls = backend.wire.calls().into_keys();
    let actions: BTreeSet<_> = calls
        .map(|(lane, action)| {
            assert_eq!(lane, "redirect", "somebody else did {action}");
            action
        })
        .collect();
    assert_eq!(actions, ["dynamodb:BatchGetItem".to_owned()].into());
    assert_eq!(way.asked(), none());
    let after = json!(backend.items().await).to_string();
    assert!(before == after, "the table is another");
    assert!(read < looked * LARGE as u64 / 10, "{read} bytes were read");

    // A press does read it, so that this test would have seen it.
    backend.wire.reset();
    way.press(&links[0]).await;
    let read = backend.wire.traffic().received;
    assert!(read > LARGE as u64, "{read}");
    way.hid_all_secrets(&[]).await;
}

/// Bytes.
const LARGE: usize = 100_000;
/// Who looks at links without anybody having decided to.
const LOOKERS: [&[(&str, &str)]; 13] = [
    &[(
        "user-agent",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    )],
    &[("user-agent", "WhatsApp/2.24.1 A")],
    &[("user-agent", "facebookexternalhit/1.1")],
    &[("user-agent", "Twitterbot/1.0")],
    &[(
        "user-agent",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    )],
    &[(
        "user-agent",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    )],
    // What scans links in mail passes for a browser.
    &[(
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    )],
    &[("user-agent", "Mozilla/5.0 SafeLinks")],
    &[("user-agent", "curl/8.5.0")],
    &[],
    &[
        ("user-agent", "Mozilla/5.0"),
        ("sec-purpose", "prefetch;prerender"),
    ],
    &[("user-agent", "Mozilla/5.0"), ("purpose", "prefetch")],
    &[("user-agent", "Mozilla/5.0"), ("x-moz", "prefetch")],
];

#[tokio::test(flavor = "multi_thread")]
async fn only_a_browser_that_pressed_the_button_is_offered_it_again_on_its_way_back() {
    let backend = Backend::start().await;
    let way = Way::start(&backend).await;
    let (link, other) = (way.invited("FLEET-1").await, way.invited("FLEET-2").await);
    let cookie_of = async |link: &str| {
        let answered = way.press(link).await;
        assert_eq!(answered.status, 303, "{answered:?}");
        assert_eq!(answered.cookies.len(), 1);
        assert!(!answered.headers.contains_key("set-cookie"));
        let cookie = answered.cookies[0].clone();
        let mut parts = cookie.split("; ");
        let pair = parts.next().unwrap().to_owned();
        let attributes: BTreeSet<_> = parts.map(str::to_owned).collect();
        assert_eq!(
            attributes.iter().map(String::as_str).collect::<Vec<_>>(),
            [
                "HttpOnly",
                "Max-Age=2419200",
                "Path=/return",
                "SameSite=Lax",
                "Secure"
            ]
        );
        assert_eq!(pair, format!("kingpin_link={link}.en"));
        pair
    };
    let (own, others) = (cookie_of(&link).await, cookie_of(&other).await);
    way.declined("FLEET-1").await;
    way.declined("FLEET-2").await;
    let token = way.token("FLEET-1");
    let page = format!("/return/{token}");
    let come_back = async |cookie: Option<&str>| {
        let headers: Vec<_> = cookie.map(|it| ("cookie", it)).into_iter().collect();
        let mut shown = Vec::new();
        for path in ["", "/status", "/success", "/failure"] {
            shown.push(way.ask("GET", &format!("{page}{path}"), &headers).await);
        }
        assert_eq!(shown[0].status, 200, "{shown:?}");
        let button = shown[0].button().map(str::to_owned);
        shown[0].body = match &button {
            // Once, and nowhere else.
            Some(button) => shown[0].body.replacen(button.as_str(), "", 1),
            None => shown[0].body.clone(),
        };
        let rest = format!("{shown:?}");
        assert!(!rest.contains("/connect/"), "{rest}");
        assert!(!rest.contains(&link) && !rest.contains(&other), "{rest}");
        button
    };
    let button = Some(format!("/connect/{link}/open?lang=en"));
    assert_eq!(come_back(None).await, None);
    assert_eq!(come_back(Some(&own)).await, button);
    assert_eq!(come_back(Some(&format!("a=b; {own}"))).await, button);
    assert_eq!(come_back(Some(&others)).await, None);
    for cookie in ["kingpin_link=", "kingpin_link=x.en", "another=cookie"] {
        assert_eq!(come_back(Some(cookie)).await, None, "{cookie}");
    }

    // Not on HTTPS, as on a developer's machine.
    let third = way.invited("FLEET-3").await;
    let plain = [("PUBLIC_BASE_URL", "http://127.0.0.1:9/kingpin")];
    let plain = backend.link_opener(way.simulator.url(), &plain).await;
    // And since its pages are elsewhere, Catena is told so first.
    let path = format!("/connect/{third}/open");
    let answered = way.ask_of(&plain, &Method::POST, &path, &[]).await;
    assert_eq!(answered.status, 303, "{answered:?}");
    let cookie = &answered.cookies[0];
    assert!(cookie.contains("; Path=/kingpin/return;"), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");

    // A link that was replaced is nobody's.
    let answered = way.ask("POST", "/fleets/FLEET-1/link", &[]).await;
    let successor = replaced(&answered);
    assert_eq!(come_back(Some(&own)).await, None);
    assert_eq!(come_back(None).await, None);
    let own = format!("kingpin_link={successor}.es");
    let headers = [("cookie", own.as_str())];
    let shown = way.ask("GET", &page, &headers).await;
    let button = format!("/connect/{successor}/open?lang=es");
    assert_eq!(shown.button(), Some(button.as_str()));
    way.hid_all_secrets(&[plain]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_survives_a_rotation_of_its_keys() {
    let backend = Backend::start().await;
    let mut way = Way::start(&backend).await;
    let link = way.invited("OLD").await;
    let old = way.token("OLD");
    let shown = async |way: &Way<'_>, token: &str| {
        let path = format!("/return/{token}");
        way.ask("GET", &path, &[]).await.status
    };
    assert_eq!(shown(&way, &old).await, 200);

    let new = "another-local-key-of-return-tokens-of-the-tests";
    let rotated = json!({ "version": 1, "current": new, "previous": [RETURN_KEY] });
    put_return_keys(&backend, &rotated).await;
    let url = way.simulator.url().to_owned();
    // Instances of before keep what they read for some minutes.
    way.partner = backend.partner_api(&url, &[]).await;
    way.opener = backend.link_opener(&url, &[]).await;
    way.redirect = backend.redirect(&url, &[]).await;
    assert_eq!(shown(&way, &old).await, 200);
    let answered = way.ask("PUT", "/fleets/OLD/invitation", &[]).await;
    let invited: Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(invited["outcome"], "unchanged", "{invited}");
    assert_eq!(link_of(&invited["link"]), link);
    assert_eq!(way.press(&link).await.status, 303);
    assert_eq!(way.asked(), none());
    assert_eq!(way.token("OLD"), old);

    // By the new key.
    way.invited("NEW").await;
    let made = way.token("NEW");
    assert_eq!(shown(&way, &made).await, 200);
    // A renewal gives Catena a token of the new key. The one that the fleet may have in its browser still works.
    way.shortened("OLD").await;
    assert_eq!(way.press(&link).await.status, 303);
    assert_eq!(way.asked(), [LIST, CREATE, READ]);
    let renewed = way.token("OLD");
    assert_ne!(renewed, old);
    for token in [&old, &renewed] {
        assert_eq!(shown(&way, token).await, 200);
    }
    way.hid_all_secrets(&[]).await;

    // Without the old key, only what the new one made.
    put_return_keys(&backend, &json!({ "version": 1, "current": new })).await;
    way.redirect = backend.redirect(&url, &[]).await;
    assert_eq!(shown(&way, &old).await, 404);
    assert_eq!(shown(&way, &made).await, 200);
    assert_eq!(shown(&way, &renewed).await, 200);
}

async fn put_return_keys(backend: &Backend, document: &Value) {
    let settings = backend.settings();
    let id = settings.iter().find(|(name, _)| name == "RETURN_SECRET_ID");
    let secret = json!({ "SecretId": id.unwrap().1, "SecretString": document.to_string() });
    let put = backend.aws.secrets_manager("PutSecretValue", secret).await;
    put.unwrap();
}

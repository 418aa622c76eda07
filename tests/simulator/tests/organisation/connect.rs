//! Connect in the browser, and where it sends a fleet.

use std::collections::BTreeSet;

use reqwest::{Method, Url, redirect::Policy};
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};
use simulator::{Browser, BrowserError, Mixed, RedirectParameters, StoredInvitation};

use crate::partner::{
    AGREEMENTS, Answer, FLEETS, INVITATIONS, Partner, REQUESTS, event_sample, start,
};

#[tokio::test]
async fn a_fleet_connects_a_provider() {
    let partner = start().await;
    partner.catena.hold_events();
    let mut browser = partner.opens("FLEET-42").await;
    assert_eq!(browser.title(), "Connect your fleet");
    assert!(browser.page().contains("<li>message: read and write</li>"));
    browser.accept().await.unwrap();
    assert_eq!(browser.title(), "Choose your provider");
    browser.connect("geotab").await.unwrap();
    assert_eq!(browser.title(), "Geotab is connected");
    let redirect = browser.finish().await.unwrap();

    let StoredInvitation {
        id,
        fleet,
        status,
        connections,
        ..
    } = partner.stored("FLEET-42");
    let expected = format!("{SUCCESS}?status=success&invitation_id={id}&fleet_ref=FLEET-42");
    assert_eq!((redirect.as_str(), status), (expected.as_str(), "accepted"));
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].connection_id, fleet.connection_id);
    assert_eq!(partner.get(FLEETS).await.json()["total"], 1);
    assert_eq!(partner.get(AGREEMENTS).await.json()["total"], 1);

    partner.catena.release_events();
    let events = partner.received().await;
    assert_eq!(
        names(&events),
        [
            "invitation.created",
            "invitation.viewed",
            "invitation.accepted",
            "share_agreement.created",
            "connection.created",
            "fleet_connection.created",
        ]
    );
    let ids: Vec<_> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert!(ids.is_sorted_by(|earlier, later| earlier < later));
    let connection = &events[4]["data"][0];
    let documented = &event_sample("connection.created")["data"][0];
    assert_eq!(keys(connection), keys(documented));
    assert_eq!(connection["source_name"], "geotab");
    assert_eq!(connection["tsp_id"], "3b1d4c52-7a0e-4f63-8a51-2f9c6d7e8b10");
    assert_eq!(
        events[5]["data"][0],
        json!({
            "id": fleet.fleet_connection_id,
            "fleet_id": fleet.fleet_id,
            "connection_id": connection["id"],
        })
    );
}

#[tokio::test]
async fn a_fleet_connects_several_providers_each_by_its_own_connection() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    for slug in ["nomad-eld", "samsara", "hos247"] {
        browser.connect(slug).await.unwrap();
    }
    assert!(
        browser
            .finish()
            .await
            .unwrap()
            .as_str()
            .contains("status=success")
    );

    let connections = partner.stored("FLEET-42").connections;
    let names: Vec<_> = connections
        .iter()
        .map(|one| one.source_name.as_str())
        .collect();
    assert_eq!(names, ["hos247", "samsara", "hos247"]);
    let distinct: BTreeSet<_> = connections
        .iter()
        .flat_map(|one| {
            [
                one.tsp_id,
                one.connection_id,
                one.fleet_connection_id,
                one.schedule_id,
            ]
        })
        .collect();
    assert_eq!(distinct.len(), 12);
    let events = partner.received().await;
    for connection in &connections {
        let link = json!({
            "id": connection.fleet_connection_id,
            "fleet_id": connection.fleet_id,
            "connection_id": connection.connection_id,
        });
        let told = events.iter().filter(|event| event["data"][0] == link);
        assert_eq!(told.count(), 1);
        let id = json!(connection.connection_id);
        let created = |event: &&Value| {
            event["event_name"] == "connection.created" && event["data"][0]["id"] == id
        };
        let mut created = events.iter().filter(created);
        let record = &created.next().unwrap()["data"][0];
        assert_eq!(record["source_name"], connection.source_name);
        assert_eq!(record["tsp_id"], json!(connection.tsp_id));
        assert!(created.next().is_none());
    }
}

#[tokio::test]
async fn a_fleet_that_was_connected_connects_again() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    browser.connect("samsara").await.unwrap();
    browser.finish().await.unwrap();
    let before = partner.stored("FLEET-42").connections;
    let known = partner.received().await.len();

    let mut browser = partner.opens_again("FLEET-42").await;
    assert_eq!(browser.title(), "Choose your provider");
    browser.connect("samsara").await.unwrap();
    let redirect = browser.finish().await.unwrap();

    assert!(
        redirect
            .as_str()
            .starts_with(&format!("{SUCCESS}?status=success"))
    );
    let after = partner.stored("FLEET-42").connections;
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].connection_id, before[0].connection_id);
    assert_ne!(after[0].fleet_connection_id, before[0].fleet_connection_id);
    let events = partner.received().await;
    assert_eq!(names(&events[known..]), ["fleet_connection.created"]);
    assert_eq!(
        events[known]["data"][0]["id"],
        json!(after[0].fleet_connection_id)
    );
}

#[tokio::test]
async fn a_fleet_requests_providers_that_are_not_supported() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    browser.request("Prairie Logs").await.unwrap();
    assert_eq!(browser.title(), "Prairie Logs is requested");
    let redirect = browser.finish().await.unwrap();

    let requests = partner
        .get(&format!("{REQUESTS}?fleet_ref=FLEET-42"))
        .await
        .json();
    let request = &requests[0];
    let StoredInvitation { id, fleet, .. } = partner.stored("FLEET-42");
    let request_id = request["id"].as_str().unwrap();
    let expected = format!(
        "{SUCCESS}?status=integration-requested&integration_request_id={request_id}&invitation_id={id}&fleet_ref=FLEET-42"
    );
    assert_eq!(redirect.as_str(), expected);
    assert_eq!(
        request["ext_tsp_id"],
        "019d6a63-e072-7bcf-a03b-e51a72a4c856"
    );
    assert_eq!(request["ext_tsp_name"], "Prairie Logs");
    assert_eq!(request["ext_tsp_compliance_status"], "compliant");
    assert_eq!(request["fleet_contact_name"], "Dana Ruiz");
    assert_eq!(request["fleet_contact_notes"], Value::Null);
    assert_eq!(request["fleet_id"], json!(fleet.fleet_id));
    assert_eq!(request["invitation_id"], json!(id));
    assert_eq!(request["integrated_tsp_ids"], json!([]));

    let mut browser = partner.opens_again("FLEET-42").await;
    browser.request("prairie-logs").await.unwrap();
    browser.request("old-road-eld").await.unwrap();
    let requests = partner
        .get(&format!("{REQUESTS}?fleet_ref=FLEET-42"))
        .await
        .json();
    let names: Vec<_> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["ext_tsp_name"])
        .collect();
    assert_eq!(
        names,
        ["Prairie Logs", "Old Road ELD"],
        "one request for each"
    );
    assert_eq!(requests[0]["id"], request_id);
    assert_ne!(requests[1]["id"], request_id);
    let events = partner.events().await;
    assert!(
        !events
            .iter()
            .any(|name| name.contains("connection") || name.contains("tsp"))
    );
}

#[tokio::test]
async fn a_fleet_that_connects_and_requests_comes_back_as_told() {
    for (mixed, expected) in [
        (Mixed::Success, "status=success&invitation_id"),
        (
            Mixed::IntegrationRequested,
            "status=integration-requested&integration_request_id",
        ),
    ] {
        for connects_first in [true, false] {
            let partner = start().await;
            partner.catena.set_mixed(mixed);
            let mut browser = partner.opens("FLEET-42").await;
            browser.accept().await.unwrap();
            if connects_first {
                browser.connect("samsara").await.unwrap();
                browser.request("prairie-logs").await.unwrap();
            } else {
                browser.request("prairie-logs").await.unwrap();
                browser.connect("samsara").await.unwrap();
            }
            let redirect = browser.finish().await.unwrap();
            assert!(
                redirect
                    .as_str()
                    .starts_with(&format!("{SUCCESS}?{expected}=")),
                "{redirect}"
            );
        }
    }
}

#[tokio::test]
async fn a_fleet_declines() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    let redirect = browser.decline(Some("Not now")).await.unwrap();
    let failure = partner.failure("FLEET-42");
    assert_eq!(redirect.as_str(), failure);
    assert_eq!(
        browser.decline(None).await.unwrap().as_str(),
        failure,
        "pressed twice"
    );

    let mut browser = partner.opens_again("FLEET-42").await;
    assert_eq!(browser.title(), "This invitation was declined");
    assert_eq!(browser.finish().await.unwrap().as_str(), failure);
    let events = partner.received().await;
    let declined: Vec<_> = events
        .iter()
        .filter(|event| event["event_name"] == "invitation.declined")
        .collect();
    assert_eq!(declined.len(), 1);
    assert_eq!(declined[0]["data"][0]["decline_reason"], "Not now");

    partner.invite_with_urls("FLEET-42").await;
    let mut browser = partner.opens_again("FLEET-42").await;
    browser.accept().await.unwrap();
    browser.connect("samsara").await.unwrap();
    assert!(
        browser
            .finish()
            .await
            .unwrap()
            .as_str()
            .starts_with(SUCCESS)
    );
}

#[tokio::test]
async fn an_invitation_that_is_over_leads_back_only() {
    for act in ["expire", "delete"] {
        let partner = start().await;
        let id = partner.invite_with_urls("FLEET-42").await;
        match act {
            "expire" => partner.catena.expire_invitation("FLEET-42").unwrap(),
            _ => {
                let path = format!("{INVITATIONS}/{id}");
                partner.call(Method::DELETE, &path, None).await;
            }
        }
        let known = partner.received().await.len();
        let mut browser = partner.opens_again("FLEET-42").await;
        assert_eq!(browser.title(), "This invitation has expired");
        let failure = partner.failure("FLEET-42");
        assert_eq!(browser.finish().await.unwrap().as_str(), failure);
        for step in ["accept", "decline"] {
            let answer = partner.submit(step, &format!("invite={id}")).await;
            assert!(answer.text().contains("This invitation has expired"));
        }
        assert_eq!(
            partner.received().await.len(),
            known,
            "an invitation that is over tells nothing"
        );
    }
}

#[tokio::test]
async fn a_fleet_that_leaves_without_a_provider_has_failed() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    let failure = partner.failure("FLEET-42");
    assert_eq!(browser.finish().await.unwrap().as_str(), failure);

    browser.connect("samsara").await.unwrap();
    assert!(
        browser
            .finish()
            .await
            .unwrap()
            .as_str()
            .starts_with(SUCCESS)
    );
    let mut browser = partner.opens_again("FLEET-42").await;
    assert_eq!(
        browser.finish().await.unwrap().as_str(),
        failure,
        "the link was opened anew"
    );
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    let known = partner.received().await.len();
    for (user, password) in [("dana", "wrong"), ("dana", ""), (" ", "correct")] {
        let refused = browser.connect_with("samsara", user, password).await;
        assert!(matches!(refused, Err(BrowserError::Missing { .. })));
        assert!(browser.page().contains("role=\"alert\""));
        assert!(!browser.page().contains("dana"));
    }
    let id = partner.stored("FLEET-42").id;
    let form = format!("invite={id}&user=dana&password=wrong");
    let answer = partner.submit("providers/samsara/connect", &form).await;
    assert_eq!(answer.status, 422);
    assert_eq!(partner.received().await.len(), known);
    assert!(partner.stored("FLEET-42").connections.is_empty());
    browser
        .connect_with("samsara", "dana", "right")
        .await
        .unwrap();
}

#[tokio::test]
async fn providers_are_found_and_limited() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    let all = [
        "samsara",
        "geotab",
        "nomad-eld",
        "hos247",
        "catena-simulator",
        "prairie-logs",
        "old-road-eld",
        "blue-mesa-telematics",
    ];
    assert_eq!(browser.search("").await.unwrap(), all);
    assert_eq!(
        browser.search(" eld").await.unwrap(),
        ["nomad-eld", "old-road-eld"]
    );
    assert_eq!(listed(browser.page(), "supported"), ["Nomad ELD"]);
    assert_eq!(listed(browser.page(), "unsupported"), ["Old Road ELD"]);
    assert_eq!(browser.search("nobody").await.unwrap(), [] as [&str; 0]);

    let limited = json!({"fleet_ref": "FLEET-43", "limit_tsps": ["hos247"]});
    let id = partner.post(limited).await.json()["id"].clone();
    let mut browser = partner.opens_again("FLEET-43").await;
    browser.accept().await.unwrap();
    assert_eq!(browser.search("").await.unwrap(), ["nomad-eld", "hos247"]);
    let form = format!("invite={}&user=dana&password=correct", id.as_str().unwrap());
    for step in [
        "samsara/connect",
        "prairie-logs/request",
        "prairie-logs/confirm-request",
    ] {
        let answer = partner.submit(&format!("providers/{step}"), &form).await;
        assert_eq!(answer.status, 404, "{step}");
    }
    assert!(partner.stored("FLEET-43").connections.is_empty());
    assert_eq!(partner.get(REQUESTS).await.json(), json!([]));
}

/// Every case of the recorded redirects can be had.
#[tokio::test]
async fn redirects_say_what_they_are_told_to_say() {
    let cases = event_sample("redirects");
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (redirects, journey) = producing(name);
        let fleet_ref = match name {
            "encoded-fleet-ref" => "FLÖTTE 7/A",
            _ => "FLEET-42",
        };
        let partner = start().await;
        partner.catena.set_redirects(redirects);
        let mut browser = partner.opens(fleet_ref).await;
        let redirect = match journey {
            Journey::Connects => {
                browser.accept().await.unwrap();
                browser.connect("samsara").await.unwrap();
                browser.finish().await.unwrap()
            }
            Journey::Requests => {
                browser.accept().await.unwrap();
                browser.request("prairie-logs").await.unwrap();
                browser.finish().await.unwrap()
            }
            Journey::Declines => browser.decline(None).await.unwrap(),
        };
        let request = partner.get(REQUESTS).await.json()[0]["id"].clone();
        let expected = case["url"]
            .as_str()
            .unwrap()
            .replace(
                "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3",
                &partner.stored(fleet_ref).id.to_string(),
            )
            .replace(
                "5c06372b-5b5a-4477-88ee-6cd8d3b55efb",
                request.as_str().unwrap_or("no request"),
            );
        assert_eq!(parts(redirect.as_str()), parts(&expected), "{name}");
    }
}

#[derive(Clone, Copy)]
enum Journey {
    Connects,
    Requests,
    Declines,
}

fn producing(case: &str) -> (RedirectParameters, Journey) {
    match case {
        "success-status-only" => (RedirectParameters::Status, Journey::Connects),
        "success-ids-only" => (RedirectParameters::Ids, Journey::Connects),
        "success-union" => (RedirectParameters::Union, Journey::Connects),
        "integration-requested-status-only" => (RedirectParameters::Status, Journey::Requests),
        "integration-requested-union" => (RedirectParameters::Union, Journey::Requests),
        "integration-requested-no-id" => (RedirectParameters::RequestWithoutId, Journey::Requests),
        "failure-status-only" => (RedirectParameters::Status, Journey::Declines),
        "failure-ids-only" => (RedirectParameters::Ids, Journey::Declines),
        "failure-status-on-success-url" => (
            RedirectParameters::FailureStatusOnSuccess,
            Journey::Connects,
        ),
        "success-status-on-failure-url" => (
            RedirectParameters::SuccessStatusOnFailure,
            Journey::Declines,
        ),
        "unknown-status" => (RedirectParameters::UnknownStatus, Journey::Connects),
        "no-parameters" => (RedirectParameters::None, Journey::Connects),
        "encoded-fleet-ref" => (RedirectParameters::StatusAndFleetRef, Journey::Connects),
        "duplicate-status" => (RedirectParameters::DuplicateStatus, Journey::Connects),
        "malformed-integration-request-id" => {
            (RedirectParameters::MalformedRequestId, Journey::Requests)
        }
        other => panic!("{other}: a case that nothing here produces"),
    }
}

#[tokio::test]
async fn held_events_wait_for_their_release() {
    let partner = start().await;
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    assert_eq!(partner.received().await.len(), 4);

    partner.catena.hold_events();
    partner.catena.hold_events();
    browser.connect("samsara").await.unwrap();
    browser.connect("geotab").await.unwrap();
    assert!(
        browser
            .finish()
            .await
            .unwrap()
            .as_str()
            .starts_with(SUCCESS)
    );
    assert_eq!(partner.received().await.len(), 4, "the redirect came first");
    partner.catena.release_events();
    partner.catena.release_events();
    let events = partner.received().await;
    assert_eq!(
        names(&events[4..]),
        ["connection.created", "fleet_connection.created"].repeat(2)
    );
    browser.connect("hos247").await.unwrap();
    assert_eq!(
        partner.received().await.len(),
        10,
        "the webhooks came first, or the tab was closed"
    );
}

#[tokio::test]
async fn what_others_wrote_is_text() {
    let partner = start().await;
    let resource = "<b title='x'>\"&amp;";
    let invitation = json!({"fleet_ref": "FLEET-42", "permissions": {resource: "read"}});
    partner.post(invitation).await;
    let mut browser = partner.opens_again("FLEET-42").await;
    assert_eq!(
        listed(browser.page(), "permissions"),
        [format!("{resource}: read")]
    );
    browser.accept().await.unwrap();
    let wanted = "\"><script>alert('x')</script>\u{1}\r\n&amp;";
    browser.search(wanted).await.unwrap();
    assert!(!browser.page().contains("<script"));
    let document = parsed(browser.page());
    let field = by_id(&document, "q").attribute("value").unwrap();
    assert_eq!(field, wanted.replace('\u{1}', "\u{fffd}"));

    let id = partner.stored("FLEET-42").id;
    let contact = "name=%3Ci%3EDana%22&notes=1%0D%0A%3C2";
    let step = "providers/prairie-logs/request";
    let page = partner
        .submit(step, &format!("invite={id}&{contact}"))
        .await
        .text();
    assert!(!page.contains("<i>"));
    let document = parsed(&page);
    let value = |name| {
        let mut fields = document.descendants();
        let field = fields
            .find(|node| node.attribute("name") == Some(name))
            .unwrap();
        field.attribute("value").unwrap()
    };
    assert_eq!((value("name"), value("notes")), ("<i>Dana\"", "1\r\n<2"));
    assert_eq!(
        partner.get(REQUESTS).await.json(),
        json!([]),
        "not confirmed yet"
    );
}

#[tokio::test]
async fn pages_are_accessible_and_need_nothing_else() {
    let partner = start().await;
    let id = partner.invite_with_urls("FLEET-42").await;
    let mut pages = vec![
        partner.show("", &id).await,
        partner.show("", "unknown").await,
    ];
    partner.submit("accept", &format!("invite={id}")).await;
    for step in [
        "/providers",
        "/providers/samsara",
        "/providers/prairie-logs",
        "/nonsense",
    ] {
        pages.push(partner.show(step, &id).await);
    }
    let form = format!("invite={id}&user=dana&password=wrong&name=Dana");
    for step in [
        "providers/samsara/connect",
        "providers/prairie-logs/request",
    ] {
        pages.push(partner.submit(step, &form).await);
    }
    let form = form.replace("wrong", "correct");
    for (step, then) in [
        ("samsara/connect", "samsara/connected"),
        ("prairie-logs/confirm-request", "prairie-logs/requested"),
    ] {
        let location = partner
            .submit(&format!("providers/{step}"), &form)
            .await
            .location();
        assert_eq!(location, format!("/connect/providers/{then}?invite={id}"));
        pages.push(partner.show(&format!("/providers/{then}"), &id).await);
    }
    let without_urls = partner.invite("FLEET-43").await;
    pages.push(
        partner
            .submit("decline", &format!("invite={without_urls}"))
            .await,
    );
    pages.push(partner.show("", &without_urls).await);
    let over = partner.invite("FLEET-44").await;
    partner.catena.expire_invitation("FLEET-44").unwrap();
    pages.push(partner.show("", &over).await);

    let mut titles = BTreeSet::new();
    for page in &pages {
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        let text = page.text();
        let document = parsed(&text);
        assert_eq!(document.root_element().attribute("lang"), Some("en"));
        let headings: Vec<_> = with_tag(&document, "h1").collect();
        assert_eq!(headings.len(), 1);
        titles.insert(headings[0].text().unwrap().to_owned());
        let labels: Vec<_> = with_tag(&document, "label")
            .filter_map(|label| label.attribute("for"))
            .collect();
        for field in with_tag(&document, "input").chain(with_tag(&document, "textarea")) {
            let hidden = field.attribute("type") == Some("hidden");
            assert!(
                hidden || labels.contains(&field.attribute("id").unwrap()),
                "{text}"
            );
        }
        let ids: Vec<_> = document
            .descendants()
            .filter_map(|node| node.attribute("id"))
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        for name in ["href", "action", "src"] {
            let mut targets = document
                .descendants()
                .filter_map(|node| node.attribute(name));
            assert!(
                targets.all(|target| target.starts_with("/connect")),
                "{text}"
            );
        }
        assert!(!text.contains("<script") && !text.contains("url("));
    }
    assert_eq!(
        titles.len(),
        pages.len() - 1,
        "only a refused password has the heading of another page"
    );
}

#[tokio::test]
async fn steps_out_of_order_change_nothing() {
    let partner = start().await;
    let id = partner.invite_with_urls("FLEET-42").await;
    let form = format!("invite={id}&user=dana&password=correct");
    for step in [
        "providers/samsara/connect",
        "providers/prairie-logs/request",
        "providers/prairie-logs/confirm-request",
    ] {
        let location = partner.submit(step, &form).await.location();
        assert_eq!(location, format!("/connect?invite={id}"), "{step}");
    }
    assert_eq!(
        partner.show("/providers", &id).await.location(),
        format!("/connect?invite={id}")
    );
    partner.submit("accept", &form).await;
    for (step, then) in [
        ("accept", "providers"),
        ("decline", "providers"),
        ("providers/prairie-logs/connect", "providers/prairie-logs"),
        ("providers/samsara/request", "providers/samsara"),
        ("providers/samsara/confirm-request", "providers/samsara"),
    ] {
        let location = partner.submit(step, &form).await.location();
        assert_eq!(location, format!("/connect/{then}?invite={id}"), "{step}");
    }
    for step in ["samsara/connected", "prairie-logs/requested"] {
        let answer = partner.show(&format!("/providers/{step}"), &id).await;
        assert_eq!(answer.location(), format!("/connect/providers?invite={id}"));
    }
    assert_eq!(partner.stored("FLEET-42").status, "accepted");
    assert_eq!(partner.get(REQUESTS).await.json(), json!([]));
    assert_eq!(
        partner.events().await,
        [
            "invitation.accepted",
            "invitation.created",
            "share_agreement.created"
        ]
    );
    let unknown = "invite=019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3";
    assert_eq!(partner.submit("accept", unknown).await.status, 404);
    assert_eq!(partner.submit("accept", "").await.status, 404);
}

#[tokio::test]
async fn a_partner_without_redirect_urls_gets_nobody_back() {
    let partner = start().await;
    partner.invite("FLEET-42").await;
    let mut browser = partner.opens_again("FLEET-42").await;
    browser.accept().await.unwrap();
    browser.connect("samsara").await.unwrap();
    let stayed = browser.finish().await;
    assert!(matches!(stayed, Err(BrowserError::Stayed(title)) if title == "That's all"));
}

#[tokio::test]
async fn a_browser_that_is_elsewhere_says_so() {
    let partner = start().await;
    let nowhere = Browser::open("no link").await;
    assert!(matches!(nowhere, Err(BrowserError::Link(link)) if link == "no link"));
    let help = Browser::open(&partner.url("/")).await;
    assert!(matches!(help, Err(BrowserError::Page(_))));
    let unknown = format!(
        "{}?invite={}",
        partner.url("/connect"),
        "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3"
    );
    let mut browser = Browser::open(&unknown).await.unwrap();
    assert_eq!(browser.title(), "This invitation doesn't exist");
    let missing = browser.accept().await.unwrap_err().to_string();
    assert_eq!(
        missing,
        "the page `This invitation doesn't exist` has no `accept`"
    );
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    for slug in ["nobody", "prairie-logs"] {
        assert!(matches!(
            browser.connect(slug).await,
            Err(BrowserError::Missing { .. })
        ));
    }
    browser.connect("samsara").await.unwrap();
}

#[tokio::test]
async fn magic_links_lead_where_they_are_told() {
    let partner = start().await;
    partner.catena.set_connect_url(Some("https://evil.example"));
    let id = partner.invite_with_urls("FLEET-42").await;
    let link = |base: &str| format!("{base}?invite={id}");
    assert_eq!(partner.link("FLEET-42"), link("https://evil.example"));
    let own = partner.url("/connect");
    for (setting, base) in [
        (
            r#"{"connect_url": "https://connect.example.com/"}"#,
            "https://connect.example.com/",
        ),
        (r#"{"mixed": "success"}"#, "https://connect.example.com/"),
        (r#"{"connect_url": null}"#, &own),
    ] {
        assert_eq!(
            partner.control(Method::PUT, "/settings", setting).await,
            204
        );
        let known = partner.received().await.len();
        partner.invite_with_urls("FLEET-42").await;
        assert_eq!(partner.link("FLEET-42"), link(base));
        let events = partner.received().await;
        assert_eq!(names(&events[known..]), ["invitation.created"]);
        assert_eq!(events[known]["data"][0]["magic_link"], link(base));
    }
}

#[tokio::test]
async fn connect_can_be_told_from_other_processes() {
    let partner = start().await;
    let settings = r#"{"redirects": "status", "mixed": "integration-requested"}"#;
    assert_eq!(
        partner.control(Method::PUT, "/settings", settings).await,
        204
    );
    assert_eq!(partner.control(Method::POST, "/events/hold", "").await, 204);
    let mut browser = partner.opens("FLEET-42").await;
    browser.accept().await.unwrap();
    browser.connect("samsara").await.unwrap();
    browser.request("old-road-eld").await.unwrap();
    let redirect = browser.finish().await.unwrap();
    let request = partner.get(REQUESTS).await.json()[0]["id"].clone();
    let request = request.as_str().unwrap();
    assert_eq!(
        redirect.query().unwrap(),
        format!("status=integration-requested&integration_request_id={request}")
    );
    assert!(partner.received().await.is_empty());
    assert_eq!(
        partner.control(Method::POST, "/events/release", "").await,
        204
    );
    assert_eq!(partner.received().await.len(), 6);
    for settings in [r#"{"redirects": "both"}"#, r#"{"mixed": "failure"}"#] {
        assert_eq!(
            partner.control(Method::PUT, "/settings", settings).await,
            400
        );
    }
}

impl Partner {
    async fn invite_with_urls(&self, fleet_ref: &str) -> String {
        let invitation = json!({
            "fleet_ref": fleet_ref,
            "permissions": {"message": "read_write", "vehicle": "read"},
            "success_redirect_url": SUCCESS,
            "failure_redirect_url": FAILURE,
        });
        let read = self.post(invitation).await.json();
        read["id"].as_str().unwrap().to_owned()
    }

    async fn opens(&self, fleet_ref: &str) -> Browser {
        self.invite_with_urls(fleet_ref).await;
        self.opens_again(fleet_ref).await
    }

    async fn opens_again(&self, fleet_ref: &str) -> Browser {
        Browser::open(&self.link(fleet_ref)).await.unwrap()
    }

    fn stored(&self, fleet_ref: &str) -> StoredInvitation {
        self.catena.invitation(fleet_ref).unwrap()
    }

    /// Where a failure leads.
    fn failure(&self, fleet_ref: &str) -> String {
        let id = self.stored(fleet_ref).id;
        format!("{FAILURE}?status=failure&invitation_id={id}&fleet_ref={fleet_ref}")
    }

    /// A form by plain HTTP; redirects are answers.
    async fn submit(&self, step: &str, form: &str) -> Answer {
        let request = plain().post(self.url(&format!("/connect/{step}")));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        Answer::of(request.body(form.to_owned())).await.unwrap()
    }

    async fn show(&self, step: &str, id: &str) -> Answer {
        let url = self.url(&format!("/connect{step}?invite={id}"));
        Answer::of(plain().get(url)).await.unwrap()
    }

    async fn control(&self, method: Method, path: &str, body: &str) -> u16 {
        let request = self.http.request(method, self.url(path));
        Answer::of(request.body(body.to_owned()))
            .await
            .unwrap()
            .status
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn location(&self) -> String {
        assert_eq!(self.status, 303, "{}", self.text());
        self.headers["location"].to_str().unwrap().to_owned()
    }
}

fn plain() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    client.redirect(Policy::none()).build().unwrap()
}

fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event_name"].as_str().unwrap())
        .collect()
}

fn keys(record: &Value) -> BTreeSet<&String> {
    record.as_object().unwrap().keys().collect()
}

/// Without the order of the parameters, which is free; values as they are encoded.
fn parts(url: &str) -> (String, Vec<String>) {
    let url = Url::parse(url).unwrap();
    let mut pairs: Vec<_> = url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(str::to_owned)
        .collect();
    // Twice the same name: which comes first matters.
    pairs.sort_by_key(|pair| pair.split('=').next().map(str::to_owned));
    let mut base = url;
    base.set_query(None);
    (base.into(), pairs)
}

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap()
}

fn by_id<'a, 'input>(document: &'a Document<'input>, id: &str) -> Node<'a, 'input> {
    let mut nodes = document.descendants();
    nodes.find(|node| node.attribute("id") == Some(id)).unwrap()
}

fn with_tag<'a, 'input>(
    document: &'a Document<'input>,
    tag: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    document
        .descendants()
        .filter(move |node| node.has_tag_name(tag))
}

/// The text of each entry.
fn listed(page: &str, id: &str) -> Vec<String> {
    let document = parsed(page);
    let entries = by_id(&document, id)
        .children()
        .filter(|node| node.has_tag_name("li"));
    let text = |entry: Node<'_, '_>| {
        entry
            .descendants()
            .filter_map(|node| node.text().filter(|_| node.is_text()))
            .collect()
    };
    entries.map(text).collect()
}

const SUCCESS: &str = "https://app.example.com/onboarding/return";
const FAILURE: &str = "https://app.example.com/onboarding/failed";

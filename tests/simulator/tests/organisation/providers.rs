//! Integration requests, and providers that go live.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Browser, HiddenEndpoints, Telling, WorldError};

use crate::partner::{CONNECTIONS, Partner, REQUESTS, at, event_sample, sample, shape, start};

#[tokio::test]
async fn a_requested_provider_goes_live_and_can_be_connected() {
    let partner = start().await;
    let mut browser = requesting(&partner, "FLEET-42").await;
    requesting(&partner, "FLEET-43").await;
    browser.request("old-road-eld").await.unwrap();
    let known = partner.received().await.len();
    let before = partner.get(REQUESTS).await.json();
    assert_eq!(before[0]["fleet_ref"], "FLEET-42");
    let stored = partner.catena.invitation("FLEET-42").unwrap();
    for (name, value) in [
        ("fleet_id", json!(stored.fleet.fleet_id)),
        ("partner_id", json!(stored.fleet.partner_id)),
        ("invitation_id", json!(stored.id)),
        ("integrated_tsp_ids", json!([])),
    ] {
        assert_eq!(before[0][name], value, "{name}");
    }

    let live = |provider| {
        partner
            .catena
            .provider_goes_live(provider, Telling::Announced)
    };
    let id = live("Prairie Logs").unwrap();
    let requests = partner.get(REQUESTS).await.json();
    let integrated: Vec<_> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (&request["ext_tsp_name"], &request["integrated_tsp_ids"]))
        .collect();
    let (prairie, old_road) = (json!("Prairie Logs"), json!("Old Road ELD"));
    let (ours, none) = (json!([id]), json!([]));
    assert_eq!(
        integrated,
        [(&prairie, &ours), (&prairie, &ours), (&old_road, &none)]
    );
    assert!(at(&requests[0]["updated_at"]) > at(&before[0]["updated_at"]));
    assert_eq!(requests[0]["created_at"], before[0]["created_at"]);
    assert_eq!(requests[2], before[2]);

    let tsps = partner.get("/v2/orgs/tsps?slug=prairie-logs").await.json();
    let documented = sample("tsp.get.response.integration-live");
    assert_eq!(shape(&tsps[0]), shape(&documented));
    assert_eq!(tsps[0]["id"], json!(id));
    assert_eq!(tsps[0]["ext_tsp_id"], requests[0]["ext_tsp_id"]);
    let one = partner.get(&format!("/v2/orgs/tsps/{id}")).await.json();
    assert_eq!(one, tsps[0]);
    let events = partner.received().await;
    let [created] = &events[known..] else {
        panic!("one event")
    };
    assert_eq!(shape(created), shape(&event_sample("tsp.created")));
    assert_eq!(created["event_name"], "tsp.created");
    assert_eq!(created["data"], json!([{"id": id, "name": "Prairie Logs"}]));

    assert!(browser.request("prairie-logs").await.is_err());
    let mut browser = Browser::open(&partner.link("FLEET-42")).await.unwrap();
    browser.connect("prairie-logs").await.unwrap();
    let path = format!("{CONNECTIONS}?tsp_id={id}");
    let connections = partner.get(&path).await.json();
    assert_eq!(connections["items"][0]["fleet_ref"], "FLEET-42");
    assert_eq!(connections["items"][0]["source_name"], "prairie_logs");
}

#[tokio::test]
async fn a_provider_goes_live_once_and_silently_if_told() {
    let partner = start().await;
    let requests = requesting(&partner, "FLEET-42").await;
    drop(requests);
    let known = partner.received().await.len();
    let live = |provider, telling| partner.catena.provider_goes_live(provider, telling);
    let id = live("prairie-logs", Telling::Silent).unwrap();
    let ext_tsp_id = "019d6a63-e072-7bcf-a03b-e51a72a4c856";
    let requests = partner.get(REQUESTS).await.json();
    assert_eq!(live(ext_tsp_id, Telling::Announced), Ok(id));
    assert_eq!(partner.get(REQUESTS).await.json(), requests);
    let tsps = partner.get("/v2/orgs/tsps").await.json();
    assert_eq!(tsps.as_array().unwrap().len(), 6);
    assert_eq!(partner.received().await.len(), known);
    let unknown = Err(WorldError::Provider("samsara".to_owned()));
    assert_eq!(live("samsara", Telling::Announced), unknown);
}

#[tokio::test]
async fn a_provider_is_left_to_request_once_the_demos_are_live() {
    let partner = start().await;
    // Those that fleets of the demo request.
    for provider in ["prairie-logs", "old-road-eld"] {
        let live = partner.catena.provider_goes_live(provider, Telling::Silent);
        live.unwrap();
    }
    partner.invite("FLEET-42").await;
    let mut browser = Browser::open(&partner.link("FLEET-42")).await.unwrap();
    browser.accept().await.unwrap();
    browser.request("blue-mesa-telematics").await.unwrap();
    let requests = partner.get(REQUESTS).await.json();
    assert_eq!(requests[0]["ext_tsp_name"], "Blue Mesa Telematics");
    assert_eq!(requests[0]["integrated_tsp_ids"], json!([]));
}

#[tokio::test]
async fn requests_are_listed_late() {
    let partner = start().await;
    requesting(&partner, "FLEET-42").await;
    let path = format!("{REQUESTS}?fleet_ref=FLEET-42");
    let listed = async || partner.get(&path).await.json().as_array().unwrap().len();
    assert_eq!(listed().await, 1);
    let catena = &partner.catena;
    catena.set_integration_request_lag(Duration::from_hours(1));
    assert_eq!(listed().await, 0);
    let truth = catena.truth("FLEET-42").unwrap();
    assert_eq!(truth.integration_requests.len(), 1, "it was made");
    let made = requesting(&partner, "FLEET-42").await;
    assert_eq!(made.title(), "Prairie Logs is requested");
    let truth = catena.truth("FLEET-42").unwrap();
    assert_eq!(truth.integration_requests.len(), 1, "one per provider");
    catena.set_integration_request_lag(Duration::ZERO);
    assert_eq!(listed().await, 1);
}

#[tokio::test]
async fn hidden_endpoints_are_refused_if_told() {
    let mut partner = start().await;
    let registry = "/v2/orgs/external-tsps";
    for (hidden, expected) in [
        (HiddenEndpoints::Forbidden, "error.403"),
        (HiddenEndpoints::Missing, "error.404"),
    ] {
        partner.catena.set_hidden_endpoints(hidden);
        for path in [registry, REQUESTS] {
            partner.refused(reqwest::Method::GET, path, expected).await;
        }
        assert_eq!(partner.get("/v2/orgs/tsps").await.status, 200);
        let token = std::mem::take(&mut partner.token);
        assert_eq!(partner.get(REQUESTS).await.status, 401);
        partner.token = token;
    }
    partner.catena.set_hidden_endpoints(HiddenEndpoints::Served);
    assert_eq!(partner.get(REQUESTS).await.json(), Value::Array(Vec::new()));
}

/// A fleet that has just requested a provider.
async fn requesting(partner: &Partner, fleet_ref: &str) -> Browser {
    partner.invite(fleet_ref).await;
    let mut browser = Browser::open(&partner.link(fleet_ref)).await.unwrap();
    if browser.title() == "Connect your fleet" {
        browser.accept().await.unwrap();
    }
    browser.request("prairie-logs").await.unwrap();
    browser
}

//! Connections and their schedules.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Browser, ConnectionStatus, Scenario, Telling};
use uuid::Uuid;

use crate::partner::{AGREEMENTS, CONNECTIONS, FLEETS, encoded, sample, shape, start};

#[tokio::test]
async fn connections_of_invited_fleets_are_listed() {
    let partner = start().await;
    let refs = ["FLEET-42", "FLEET-43"];
    for fleet_ref in refs {
        partner.invite(fleet_ref).await;
    }
    assert_eq!(partner.get(CONNECTIONS).await.json()["items"], json!([]));
    partner.catena.run(&Scenario::invited(refs)).await;

    let path = format!("{CONNECTIONS}?fleet_refs=FLEET-42");
    let list = partner.get(&path).await.json();
    assert_eq!(
        shape(&list),
        shape(&sample("connections.list.response.200"))
    );
    let fleet = partner.catena.invitation("FLEET-42").unwrap().fleet;
    let connection = &list["items"][0];
    assert_eq!(connection["id"], json!(fleet.connection_id));
    assert_eq!(connection["fleet_id"], json!(fleet.fleet_id));
    assert_eq!(connection["tsp_id"], json!(fleet.tsp_id));
    assert_eq!(
        (&connection["status"], &connection["source_name"]),
        (&json!("active"), &json!("samsara"))
    );
    let one = format!("{CONNECTIONS}/{}", fleet.connection_id);
    assert_eq!(&partner.get(&one).await.json(), connection);
    let nobody = format!("{CONNECTIONS}/{}", Uuid::nil());
    partner.refused(Method::GET, &nobody, "error.404").await;
    partner.refused(Method::POST, &one, "error.405").await;
}

#[tokio::test]
async fn connections_of_made_up_fleets_are_listed() {
    let partner = start().await;
    let report = partner.catena.run(&Scenario::onboarding(3)).await;
    let list = partner.get(CONNECTIONS).await.json();
    let listed: HashSet<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| (connection["id"].clone(), connection["fleet_ref"].clone()))
        .collect();
    let expected: HashSet<_> = report
        .fleets
        .iter()
        .map(|fleet| (json!(fleet.connection_id), json!(fleet.fleet_ref)))
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(partner.get(FLEETS).await.json()["total"], 3);
    let fleet = &report.fleets[1];
    let events = partner.received().await;
    let told = |name: &str| {
        let of_fleet = |event: &&Value| {
            event["event_name"] == name && event["data"][0]["fleet_ref"] == fleet.fleet_ref
        };
        events.iter().find(of_fleet).unwrap()["data"][0].clone()
    };
    let agreement = partner.agreement(&fleet.fleet_ref).await;
    assert_eq!(agreement, told("share_agreement.created"));
    let invitation = partner.catena.invitation(&fleet.fleet_ref).unwrap().read;
    for (name, value) in told("invitation.accepted").as_object().unwrap() {
        if name != "partner_provided_fleet_name" {
            assert_eq!(&invitation[name], value, "{name}");
        }
    }
    assert_eq!(invitation["fleet_name"], "Acme Trucking");
}

#[tokio::test]
async fn connections_are_filtered_page_by_page() {
    let partner = start().await;
    partner.catena.set_events(false);
    let refs: Vec<_> = (0..5).map(|number| format!("FLEET-{number}")).collect();
    for fleet_ref in &refs {
        partner.invite(fleet_ref).await;
    }
    partner.catena.run(&Scenario::invited(&refs)).await;
    let mut browser = Browser::open(&partner.link("FLEET-3")).await.unwrap();
    browser.connect("geotab").await.unwrap();
    let refs_of = |page: &Value| -> Vec<_> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["fleet_ref"].clone()).collect()
    };
    let first = partner.get(&format!("{CONNECTIONS}?size=4")).await.json();
    assert_eq!(refs_of(&first), refs[..4]);
    let next = encoded(first["next_page"].as_str().unwrap());
    let path = format!("{CONNECTIONS}?size=4&cursor={next}");
    let last = partner.get(&path).await.json();
    assert_eq!(refs_of(&last), ["FLEET-4", "FLEET-3"]);
    assert_eq!(last["next_page"], Value::Null);

    let id = partner.catena.truth("FLEET-3").unwrap().fleet_id.unwrap();
    let geotab = "3b1d4c52-7a0e-4f63-8a51-2f9c6d7e8b10";
    for (filter, found) in [
        ("fleet_refs=FLEET-4&fleet_refs=FLEET-1".to_owned(), 2),
        (format!("fleet_ids={id}"), 2),
        (format!("fleet_ids={id}&fleet_refs=FLEET-1"), 0),
        (format!("tsp_id={geotab}"), 1),
        (format!("tsp_id={}", Uuid::nil()), 0),
    ] {
        let page = partner.get(&format!("{CONNECTIONS}?{filter}")).await.json();
        assert_eq!(refs_of(&page).len(), found, "{filter}");
    }
    let many = "fleet_refs=X&".repeat(101);
    for wrong in [many.as_str(), "fleet_ids=1", "tsp_id=1", "size=0"] {
        let answer = partner.get(&format!("{CONNECTIONS}?{wrong}")).await;
        assert_eq!(answer.status, 422, "{wrong}");
    }
}

#[tokio::test]
async fn connections_have_active_schedules() {
    let partner = start().await;
    partner.invite("FLEET-42").await;
    partner.catena.run(&Scenario::invited(["FLEET-42"])).await;
    let fleet = partner.catena.invitation("FLEET-42").unwrap().fleet;
    let path = format!("{CONNECTIONS}/{}/schedules", fleet.connection_id);
    let all = partner.get(&path).await.json();
    let all = all["items"].as_array().unwrap();
    let resources: Vec<_> = all.iter().map(|schedule| &schedule["resource"]).collect();
    assert_eq!(resources, ["vehicle_location", "vehicle", "user"]);
    assert!(all.iter().all(|schedule| schedule["status"] == "active"));

    let located = partner
        .get(&format!("{path}?resource=vehicle_location"))
        .await
        .json();
    assert_eq!(
        shape(&located),
        shape(&sample("schedules.list.response.200"))
    );
    let id = fleet.schedule_id;
    assert_eq!(located["items"][0]["id"], json!(id));
    let one = partner.get(&format!("{path}/{id}")).await.json();
    assert_eq!(one, located["items"][0]);
    let nothing = format!("{path}/{}", Uuid::nil());
    partner.refused(Method::GET, &nothing, "error.404").await;
    let nobody = format!("{CONNECTIONS}/{}/schedules", Uuid::nil());
    partner.refused(Method::GET, &nobody, "error.404").await;
    let answer = partner.get(&format!("{path}/1")).await;
    assert_eq!(answer.json()["detail"][0]["path"], "path.schedule_id");
}

#[tokio::test]
async fn freshness_is_told_by_resource() {
    let partner = start().await;
    for fleet_ref in ["FLEET-42", "FLEET-43"] {
        let permissions = json!({"vehicle": "read", "user": "read_write"});
        let invitation = json!({"fleet_ref": fleet_ref, "permissions": permissions});
        partner.post(invitation).await;
    }
    let refs = ["FLEET-42", "FLEET-43"];
    partner.catena.run(&Scenario::invited(refs)).await;
    let path = format!("{CONNECTIONS}/data-freshness");
    let all = partner.get(&path).await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 6);
    let path = format!("{path}?fleet_refs=FLEET-42");
    let of_fleet = partner.get(&path).await.json();
    let items = of_fleet["items"].as_array().unwrap();
    let vehicle = items.iter().find(|item| item["resource"] == "vehicle");
    assert_eq!(
        shape(vehicle.unwrap()),
        shape(&sample("data-freshness.response.item"))
    );
    let levels: Vec<_> = items.iter().map(|item| &item["share_level"]).collect();
    assert_eq!(levels, [&Value::Null, &json!("read"), &json!("read_write")]);
}

#[tokio::test]
async fn a_fleet_that_connects_again_heals_its_connection_or_makes_another() {
    let partner = start().await;
    partner.invite("FLEET-42").await;
    let mut browser = Browser::open(&partner.link("FLEET-42")).await.unwrap();
    browser.accept().await.unwrap();
    let mut seen = HashSet::new();
    for (status, is_another) in [
        (None, true),
        (Some(ConnectionStatus::Stale), false),
        (Some(ConnectionStatus::Deleted), true),
        (Some(ConnectionStatus::Failed), false),
    ] {
        if let Some(status) = status {
            let truth = partner.catena.truth("FLEET-42").unwrap();
            let id = truth.connections.last().unwrap().id;
            let silently = Telling::Silent;
            partner
                .catena
                .connection_becomes(id, status, silently)
                .unwrap();
        }
        browser.connect("samsara").await.unwrap();
        let truth = partner.catena.truth("FLEET-42").unwrap();
        let newest = truth.connections.last().unwrap();
        assert_eq!(newest.status, ConnectionStatus::Active);
        assert_eq!(seen.insert(newest.id), is_another, "after {status:?}");
    }
    let list = partner.get(CONNECTIONS).await.json();
    let statuses = list["items"].as_array().unwrap().iter();
    let statuses: Vec<_> = statuses.map(|item| &item["status"]).collect();
    assert_eq!(statuses, ["deleted", "active"]);
    let agreements = partner.get(AGREEMENTS).await.json();
    assert_eq!(agreements["total"], 1);
}

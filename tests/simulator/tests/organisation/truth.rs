//! What holds at Catena, whatever the partner was told.

use serde_json::json;
use simulator::{
    AgreementStatus, Browser, ConnectionStatus, InvitationStatus, Scenario, Telling, Truth,
};

use crate::partner::start;

#[tokio::test]
async fn truth_follows_a_fleet() {
    let partner = start().await;
    partner.catena.set_events(false);
    assert_eq!(partner.catena.truth("FLEET-42"), None);
    partner.invite("FLEET-42").await;
    let truth = || partner.catena.truth("FLEET-42").unwrap();
    let stored = partner.catena.invitation("FLEET-42").unwrap();
    assert_eq!(
        truth(),
        Truth {
            fleet_ref: "FLEET-42".to_owned(),
            fleet_id: None,
            invitation_id: stored.id,
            invitation_status: InvitationStatus::Active,
            agreement: None,
            connections: Vec::new(),
            integration_requests: Vec::new(),
        }
    );
    let mut browser = Browser::open(&partner.link("FLEET-42")).await.unwrap();
    browser.accept().await.unwrap();
    let accepted = truth();
    assert_eq!(accepted.invitation_status, InvitationStatus::Accepted);
    assert_eq!(accepted.fleet_id, Some(stored.fleet.fleet_id));
    let agreement = accepted.agreement.unwrap();
    assert_eq!(agreement.id, stored.fleet.share_agreement_id);
    assert_eq!(agreement.status, AgreementStatus::Active);
    assert_eq!(agreement.scopes["vehicle"], "read");
    assert_eq!(accepted.connections, []);

    browser.connect("geotab").await.unwrap();
    browser.request("prairie-logs").await.unwrap();
    let [connection] = &truth().connections[..] else {
        panic!("one connection")
    };
    assert_eq!(connection.status, ConnectionStatus::Active);
    assert_eq!(connection.source_name, "geotab");
    let (id, stale) = (connection.id, ConnectionStatus::Stale);
    let catena = &partner.catena;
    catena
        .connection_becomes(id, stale, Telling::Silent)
        .unwrap();
    assert_eq!(truth().connections[0].status, stale);
    assert!(!truth().integration_requests[0].live);
    catena
        .provider_goes_live("prairie-logs", Telling::Silent)
        .unwrap();
    assert!(truth().integration_requests[0].live);
}

#[tokio::test]
async fn all_fleets_are_known_in_the_order_of_their_invitations() {
    let partner = start().await;
    let report = partner.catena.run(&Scenario::onboarding(2)).await;
    partner.invite("FLEET-2").await;
    partner.invite("FLEET-1").await;
    partner.invite("FLEET-2").await;
    let mut expected: Vec<_> = report
        .fleets
        .iter()
        .map(|fleet| fleet.fleet_ref.clone())
        .collect();
    expected.extend(["FLEET-2", "FLEET-1"].map(str::to_owned));
    assert_eq!(partner.catena.fleet_refs(), expected);
    let truth = partner.catena.truth(&expected[0]).unwrap();
    assert_eq!(truth.fleet_id, Some(report.fleets[0].fleet_id));
    assert_eq!(truth.connections[0].id, report.fleets[0].connection_id);
    let json = serde_json::to_value(&truth).unwrap();
    let agreement = partner.agreement(&expected[0]).await;
    assert_eq!(
        (
            &json["invitation_status"],
            &json["connections"][0]["status"]
        ),
        (&json!("accepted"), &json!("active"))
    );
    for name in [
        "id",
        "status",
        "scopes",
        "effective_date",
        "expiration_date",
    ] {
        assert_eq!(json["agreement"][name], agreement[name], "{name}");
    }
}

//! Scenarios of fleets that were invited through the API.

use serde_json::{Value, json};
use simulator::Scenario;
use time::OffsetDateTime;

use crate::partner::{Answer, FLEETS, at, start};

#[tokio::test]
async fn invited_fleets_go_the_rest_of_the_way() {
    let partner = start().await;
    let refs = ["FLEET-1", "FLEET-2", "FLEET-3"];
    for fleet_ref in refs {
        partner.invite(fleet_ref).await;
    }
    partner.catena.idle().await;
    let report = partner.catena.run(&Scenario::invited(refs)).await;

    assert_eq!(
        (report.events, report.deliveries, report.accepted),
        (15, 15, 15)
    );
    assert_eq!(report.fleets.len(), 3);
    let received = partner.received().await;
    assert_eq!(received.len(), 18);
    let now = OffsetDateTime::now_utc();
    for summary in &report.fleets {
        let stored = partner.catena.invitation(&summary.fleet_ref).unwrap();
        assert_eq!(
            (stored.id, stored.status),
            (summary.invitation_id, "accepted")
        );
        assert_eq!(stored.fleet.fleet_id, summary.fleet_id);
        let mine = |event: &&Value| {
            let record = &event["data"][0];
            record["fleet_ref"] == summary.fleet_ref
                || record["fleet_id"] == summary.fleet_id.to_string()
        };
        let mine: Vec<_> = received.iter().filter(mine).collect();
        let names: Vec<_> = mine
            .iter()
            .map(|event| event["event_name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "invitation.created",
                "invitation.viewed",
                "invitation.accepted",
                "share_agreement.created",
                "connection.created",
                "fleet_connection.created"
            ]
        );
        let times: Vec<_> = mine.iter().map(|event| at(&event["timestamp"])).collect();
        assert!(
            times.is_sorted_by(|earlier, later| earlier < later),
            "{times:?}"
        );
        assert!(times.iter().all(|time| *time <= now));
        let ids: Vec<_> = mine
            .iter()
            .map(|event| event["id"].as_str().unwrap())
            .collect();
        assert!(
            ids.is_sorted_by(|earlier, later| earlier < later),
            "{ids:?}"
        );
        assert_eq!(mine[1]["data"][0]["status"], "active");
        assert_eq!(
            mine[2]["data"][0]["pre_registration_access_token"],
            stored.read["pre_registration_access_token"]
        );
        assert_eq!(
            mine[3]["data"][0],
            partner.agreement(&summary.fleet_ref).await
        );
        assert_eq!(
            mine[5]["data"][0]["connection_id"],
            summary.connection_id.to_string()
        );
    }
    assert_eq!(partner.get(FLEETS).await.json()["total"], 3);
}

#[tokio::test]
async fn invited_fleets_meet_the_same_faults() {
    let partner = start().await;
    let refs: Vec<_> = (0..10).map(|number| format!("FLEET-{number}")).collect();
    partner.catena.set_events(false);
    for fleet_ref in &refs {
        partner.invite(fleet_ref).await;
    }
    let scenario = Scenario::invited(refs)
        .repeat(0.1)
        .overtake(0.1)
        .forged(0.1)
        .seed(7);
    let report = partner.catena.run(&scenario).await;
    assert_eq!((report.events, report.deliveries), (50, 55));
    assert_eq!((report.repeated, report.forged), (5, 5));
    assert!(report.overtaken >= 5, "{}", report.overtaken);
}

#[tokio::test]
async fn scenario_names_the_fleet_that_it_cannot_carry_on() {
    let partner = start().await;
    partner.invite("FLEET-1").await;
    partner.invite("FLEET-2").await;
    partner.catena.decline_invitation("FLEET-2", None).unwrap();
    for (refs, complaint) in [
        (["FLEET-1", "FLEET-9"], "fleet `FLEET-9`: not invited"),
        (
            ["FLEET-1", "FLEET-2"],
            "fleet `FLEET-2`: its invitation is declined, not active",
        ),
        (["FLEET-1", "FLEET-1"], "fleet `FLEET-1`: named twice"),
    ] {
        let error = partner
            .catena
            .try_run(&Scenario::invited(refs))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), complaint);
        assert_eq!(
            partner.catena.invitation("FLEET-1").unwrap().status,
            "active",
            "untouched"
        );
        let body = json!({"fleet_refs": refs}).to_string();
        let answer = Answer::of(partner.http.post(partner.url("/scenarios")).body(body))
            .await
            .unwrap();
        assert_eq!(
            (answer.status, String::from_utf8(answer.body).unwrap()),
            (400, format!("{complaint}\n"))
        );
    }
}

//! What happens at Catena by itself.

use serde_json::json;
use simulator::{
    AgreementChange, AgreementStatus, ConnectionStatus, Fleet, Scenario, ScheduleStatus, Telling,
    WorldError,
};
use time::{Duration, OffsetDateTime};

use crate::partner::{
    AGREEMENTS, CONNECTIONS, FLEETS, Partner, at, event_sample, sample, shape, start,
};

#[tokio::test]
async fn connections_change_with_and_without_a_webhook() {
    let (partner, fleet) = onboarded().await;
    let id = fleet.connection_id;
    let path = format!("{CONNECTIONS}/{id}");
    let known = partner.received().await.len();
    let mut updated_at = partner.get(&path).await.json()["updated_at"].clone();
    for (status, name, telling) in [
        (ConnectionStatus::Stale, "stale", Telling::Silent),
        (ConnectionStatus::Active, "active", Telling::Announced),
        (ConnectionStatus::Failed, "failed", Telling::Announced),
        (ConnectionStatus::Paused, "paused", Telling::Announced),
        (ConnectionStatus::Stale, "stale", Telling::Announced),
        (ConnectionStatus::Deleted, "deleted", Telling::Announced),
    ] {
        partner
            .catena
            .connection_becomes(id, status, telling)
            .unwrap();
        let read = partner.get(&path).await.json();
        assert_eq!(read["status"], name);
        assert!(at(&read["updated_at"]) > at(&updated_at), "{name}");
        assert!(at(&read["updated_at"]) > at(&read["created_at"]));
        updated_at = read["updated_at"].clone();
    }
    let events = partner.received().await;
    let [staled] = &events[known..] else {
        panic!("one event: {:?}", &events[known..])
    };
    assert_eq!(shape(staled), shape(&event_sample("connection.staled")));
    assert_eq!(
        (&staled["event_name"], &staled["data"][0]["id"]),
        (&json!("connection.staled"), &json!(id))
    );
    assert_eq!(staled["data"][0]["status"], "stale");
}

#[tokio::test]
async fn connections_vanish() {
    let (partner, fleet) = onboarded().await;
    let id = fleet.connection_id;
    let known = partner.received().await.len();
    partner.catena.connection_vanishes(id).unwrap();
    for path in [id.to_string(), format!("{id}/schedules")] {
        let path = format!("{CONNECTIONS}/{path}");
        partner
            .refused(reqwest::Method::GET, &path, "error.404")
            .await;
    }
    assert_eq!(partner.get(CONNECTIONS).await.json()["items"], json!([]));
    assert_eq!(partner.received().await.len(), known);
    assert_eq!(partner.catena.truth("FLEET-42").unwrap().connections, []);
    let gone = Err(WorldError::Connection(id));
    assert_eq!(partner.catena.connection_vanishes(id), gone);
    let stale = ConnectionStatus::Stale;
    let again = partner
        .catena
        .connection_becomes(id, stale, Telling::Announced);
    assert_eq!(again, gone);
}

#[tokio::test]
async fn schedules_change_with_and_without_a_webhook() {
    let (partner, fleet) = onboarded().await;
    let id = fleet.connection_id;
    let path = format!("{CONNECTIONS}/{id}/schedules");
    let known = partner.received().await.len();
    let change = |resource, status, telling| {
        let catena = &partner.catena;
        catena.schedules_become(id, resource, status, telling)
    };
    let statuses = async || {
        let page = partner.get(&path).await.json();
        let items = page["items"].as_array().unwrap().clone();
        let text = |item: serde_json::Value| item["status"].as_str().unwrap().to_owned();
        items.into_iter().map(text).collect::<Vec<_>>().join(" ")
    };
    let (inactive, active) = (ScheduleStatus::Inactive, ScheduleStatus::Active);
    change(Some("vehicle"), inactive, Telling::Silent).unwrap();
    assert_eq!(statuses().await, "active inactive active");
    let truth = partner.catena.truth("FLEET-42").unwrap();
    let known_status = |resource: &str| truth.connections[0].schedules[resource];
    assert_eq!(["user", "vehicle"].map(known_status), [active, inactive]);
    change(None, active, Telling::Announced).unwrap();
    assert_eq!(statuses().await, "active active active");
    assert_eq!(partner.received().await.len(), known);
    change(None, inactive, Telling::Announced).unwrap();
    assert_eq!(statuses().await, "inactive inactive inactive");

    let events = partner.received().await;
    assert_eq!(events.len(), known + 3);
    let listed = partner.get(&path).await.json()["items"].clone();
    for (event, schedule) in events[known..].iter().zip(listed.as_array().unwrap()) {
        assert_eq!(shape(event), shape(&event_sample("schedule.deactivated")));
        for (name, value) in event["data"][0].as_object().unwrap() {
            assert_eq!(&schedule[name], value, "{name}");
        }
        assert_eq!(schedule["consecutive_error_count"], 15);
    }
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_str()).collect();
    assert!(ids.is_sorted_by(|earlier, later| earlier < later));
    let unknown = change(Some("trailer"), inactive, Telling::Announced);
    let message = format!("connection {id}: no schedule of `trailer`");
    assert_eq!(unknown.unwrap_err().to_string(), message);
}

#[tokio::test]
async fn agreements_change_with_and_without_a_webhook() {
    let (partner, fleet) = onboarded().await;
    let known = partner.received().await.len();
    let change = |change, telling| {
        let catena = &partner.catena;
        catena.agreement_changes("FLEET-42", change, telling)
    };
    let paused = AgreementChange::to(AgreementStatus::Paused);
    change(paused, Telling::Silent).unwrap();
    assert_eq!(partner.agreement("FLEET-42").await["status"], "paused");
    assert_eq!(partner.get(FLEETS).await.json()["total"], 0);
    let ends = OffsetDateTime::now_utc() + Duration::days(7);
    let dates = AgreementChange {
        scopes: Some([("vehicle".to_owned(), "read_write".to_owned())].into()),
        effective_date: Some(fleet.invited_at - Duration::days(1)),
        expiration_date: Some(Some(ends)),
        ..AgreementChange::default()
    };
    change(dates, Telling::Silent).unwrap();
    assert_eq!(partner.received().await.len(), known);
    let read = partner.agreement("FLEET-42").await;
    assert_eq!(read["scopes"], json!({"vehicle": "read_write"}));
    assert!(at(&read["effective_date"]) < fleet.invited_at);
    let agreement = partner.catena.truth("FLEET-42").unwrap().agreement.unwrap();
    assert_eq!(agreement.expiration_date, Some(ends));

    for (status, name) in [
        (AgreementStatus::Cancelled, "cancelled"),
        (AgreementStatus::Active, "active"),
        (AgreementStatus::Expired, "expired"),
        (AgreementStatus::Deleted, "deleted"),
    ] {
        change(AgreementChange::to(status), Telling::Announced).unwrap();
        let filter = format!("{AGREEMENTS}?share_agreement_status={name}");
        assert_eq!(partner.get(&filter).await.json()["total"], 1);
        let events = partner.received().await;
        let event = events.last().unwrap();
        assert_eq!(event["data"][0], partner.agreement("FLEET-42").await);
    }
    let events = partner.received().await;
    let names: Vec<_> = events[known..].iter().map(|it| &it["event_name"]).collect();
    let [updated, deleted] = ["share_agreement.updated", "share_agreement.deleted"];
    assert_eq!(names, [updated, updated, updated, deleted]);

    partner.invite("FLEET-43").await;
    let nothing = |fleet_ref| {
        let change = AgreementChange::to(AgreementStatus::Active);
        let catena = &partner.catena;
        catena.agreement_changes(fleet_ref, change, Telling::Silent)
    };
    let unknown = |error: fn(String) -> WorldError, name: &str| Err(error(name.to_owned()));
    assert_eq!(
        nothing("FLEET-43"),
        unknown(WorldError::Agreement, "FLEET-43")
    );
    assert_eq!(nothing("FLEET-44"), unknown(WorldError::Fleet, "FLEET-44"));
}

#[tokio::test]
async fn fleets_are_known_by_another_number() {
    let partner = start().await;
    partner.post(sample("invitation.create.request")).await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    let fleet = async || partner.get(FLEETS).await.json()["items"][0].clone();
    let before = fleet().await;
    assert_eq!(before["regulatory_id"], "1234567");
    let set = |id, id_type| partner.catena.set_regulatory_id("FLEET-42", id, id_type);
    set(Some("7654321"), Some("MC")).unwrap();
    let after = fleet().await;
    assert_eq!(
        (&after["regulatory_id"], &after["regulatory_id_type"]),
        (&json!("7654321"), &json!("MC"))
    );
    assert!(at(&after["updated_at"]) > at(&before["updated_at"]));
    assert_eq!(after["created_at"], before["created_at"]);
    partner.post(sample("invitation.create.request")).await;
    assert_eq!(fleet().await, after, "another invitation changes nothing");
    set(None, None).unwrap();
    assert_eq!(fleet().await["regulatory_id"], json!(null));
    let unknown = partner.catena.set_regulatory_id("FLEET-43", None, None);
    assert_eq!(unknown, Err(WorldError::Fleet("FLEET-43".to_owned())));
}

/// A fleet that has connected its provider.
async fn onboarded() -> (Partner, Fleet) {
    let partner = start().await;
    partner.invite("FLEET-42").await;
    partner.catena.run(&Scenario::invited(["FLEET-42"])).await;
    let fleet = partner.catena.invitation("FLEET-42").unwrap().fleet;
    (partner, fleet)
}

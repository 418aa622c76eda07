//! Events that follow from calls.

use std::sync::Arc;

use serde_json::json;

use crate::partner::{AGREEMENTS, FLEETS, Partner, at, event_sample, sample, shape, start};

#[tokio::test]
async fn events_tell_what_the_api_tells() {
    let partner = start().await;
    partner.post(sample("invitation.create.request")).await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    let read = partner.catena.invitation("FLEET-42").unwrap().read;
    let agreement = partner.get(AGREEMENTS).await.json()["items"][0].clone();
    let events = partner.received().await;
    let of = |name: &str| {
        events
            .iter()
            .find(|event| event["event_name"] == name)
            .unwrap()
    };

    for name in ["invitation.created", "invitation.accepted"] {
        assert_eq!(shape(of(name)), shape(&event_sample(name)));
    }
    let accepted = &of("invitation.accepted")["data"][0];
    for (name, value) in accepted.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}");
    }
    assert_eq!(
        of("invitation.created")["data"][0]["expires_at"],
        read["expires_at"]
    );
    assert_eq!(of("share_agreement.created")["data"], json!([agreement]));
    assert!(at(&agreement["effective_date"]) > at(&accepted["accepted_at"]));
    assert!(at(&accepted["accepted_at"]) > at(&read["created_at"]));
    let dispatched_at = at(&of("invitation.created")["timestamp"]);
    assert!((at(&read["created_at"]) - dispatched_at).whole_milliseconds() == 0);
    let sent = partner.catena.deliveries();
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter()
            .all(|sent| sent.fleet_ref.as_deref() == Some("FLEET-42"))
    );
}

#[tokio::test]
async fn events_can_be_switched_off_and_nobody_needs_to_listen() {
    let partner = start().await;
    partner.catena.set_events(false);
    partner.invite("FLEET-42").await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    assert_eq!(partner.events().await, [] as [&str; 0]);

    let partner = Partner::of("http://127.0.0.1:1/", Arc::default()).await;
    partner.invite("FLEET-42").await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    assert_eq!(partner.get(FLEETS).await.json()["total"], 1);
    partner.catena.idle().await;
    assert_eq!(partner.catena.dead_letters().len(), 3);
}

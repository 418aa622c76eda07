//! Which subscriptions get an event, where, and signed with what.

use serde_json::json;
use simulator::{Faults, Filters, Fleet, Loss, Outcome, RetryPolicy, Scenario, events};
use time::{Duration, OffsetDateTime};

use super::{SECRET, URL, bare, endpoint::Endpoint, id};
use crate::partner::{event_sample, shape, start};

#[tokio::test]
async fn each_subscription_gets_its_event_at_its_url_with_its_secret() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let first = partner
        .subscribed("invitation.created", &endpoint.at("/a"))
        .await;
    let other = json!({"event_name": "invitation.created", "url": endpoint.at("/b")});
    let other = partner.subscribe(other).await.json();
    let accepted = partner
        .subscribed("invitation.accepted", &endpoint.at("/c"))
        .await;
    partner.invite("FLEET-42").await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    partner.catena.idle().await;
    for (path, webhook_id, secret, name) in [
        ("/a", first, SECRET, "invitation.created"),
        (
            "/b",
            id(&other),
            other["secret"].as_str().unwrap(),
            "invitation.created",
        ),
        ("/c", accepted, SECRET, "invitation.accepted"),
    ] {
        let [received] = &endpoint.received(path)[..] else {
            panic!("one at {path}")
        };
        assert_eq!(received.header("x-event-type"), name);
        assert_eq!(received.header("x-webhook-id"), webhook_id.to_string());
        assert_eq!(received.json()["webhook_id"], webhook_id.to_string());
        assert!(received.is_signed_with(secret), "{path}");
    }
    assert_eq!(partner.received().await.len(), 0, "nothing stands any more");
    let sent = partner.catena.deliveries().len();
    assert_eq!(sent, 3, "share_agreement.created is for nobody");
}

#[tokio::test]
async fn standing_subscriptions_go_on_until_they_are_cleared() {
    let partner = start().await;
    let endpoint = Endpoint::start().await;
    let made = partner
        .subscribed("invitation.created", &endpoint.at("/"))
        .await;
    partner.invite("FLEET-42").await;
    assert_eq!(
        partner.events().await,
        ["invitation.created", "webhook.created"]
    );
    assert_eq!(endpoint.names("/"), ["invitation.created"]);
    let fleet = Fleet::new("FLEET-43", OffsetDateTime::now_utc() - Duration::minutes(1));
    let event = events::invitation_created(&fleet, fleet.invited_at);
    let repeat = Faults {
        repeat: true,
        ..Faults::default()
    };
    let ids = |sent: Vec<simulator::Sent>| sent.iter().map(|it| it.webhook_id).collect::<Vec<_>>();
    let standing = simulator::webhook_id("invitation.created");
    let sent = partner.catena.deliver(&event, repeat).await;
    assert_eq!(ids(sent), [standing, made, standing, made]);
    partner.catena.clear_subscriptions();
    let sent = partner.catena.deliver(&event, repeat).await;
    assert_eq!(ids(sent), [made; 2]);
    let nobody = events::invitation_viewed(&fleet, fleet.invited_at);
    assert_eq!(partner.catena.deliver(&nobody, repeat).await, []);
    let report = partner.catena.run(&Scenario::onboarding(2)).await;
    assert_eq!(
        (report.events, report.deliveries, report.accepted),
        (12, 2, 2)
    );
    partner.catena.set_webhook_loss(Loss {
        share: 1.0,
        seed: 7,
    });
    let report = partner.catena.run(&Scenario::onboarding(2)).await;
    assert_eq!((report.deliveries, report.lost), (2, 2));
    assert_eq!(partner.catena.lost_webhooks().values().sum::<usize>(), 2);
}

#[tokio::test]
async fn filters_choose_by_fleet() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    for (path, filters) in [
        ("/ref", json!({"fleet_refs": ["FLEET-42", "FLEET-44"]})),
        ("/nobody", json!({"fleet_refs": ["FLEET-99"]})),
        ("/all", json!(null)),
    ] {
        let asked = json!({"event_name": "invitation.created", "url": endpoint.at(path), "filters": filters});
        assert_eq!(partner.subscribe(asked).await.status, 200);
    }
    partner.invite("FLEET-42").await;
    let fleet_id = partner
        .catena
        .invitation("FLEET-42")
        .unwrap()
        .fleet
        .fleet_id;
    let asked = json!({"event_name": "connection.*", "url": endpoint.at("/id"), "filters": {"fleet_ids": [fleet_id]}});
    partner.subscribe(asked).await;
    partner.invite("FLEET-43").await;
    partner
        .catena
        .run(&Scenario::invited(["FLEET-42", "FLEET-43"]))
        .await;
    partner.catena.idle().await;
    let count = |path| endpoint.received(path).len();
    assert_eq!([count("/ref"), count("/nobody"), count("/all")], [1, 0, 2]);
    assert_eq!(endpoint.names("/id"), ["connection.created"]);
}

#[tokio::test]
async fn paused_loses_and_stale_keeps() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let paused = partner
        .subscribed("invitation.created", &endpoint.at("/paused"))
        .await;
    let stale = partner
        .subscribed("invitation.created", &endpoint.at("/stale"))
        .await;
    assert_eq!(
        partner.act(paused, "pause").await.json()["status"],
        "paused"
    );
    partner.catena.make_subscription_stale(stale).unwrap();
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    let [sent] = &partner.catena.deliveries()[..] else {
        panic!("one delivery")
    };
    assert_eq!(
        (sent.webhook_id, sent.outcome, sent.attempts.len()),
        (stale, Outcome::DeadLetter, 0)
    );
    assert_eq!(
        partner
            .catena
            .dead_letters()
            .into_keys()
            .collect::<Vec<_>>(),
        [stale]
    );
    let waiting = partner.catena.subscriptions();
    assert_eq!(
        waiting.iter().map(|it| it.dead_letters).collect::<Vec<_>>(),
        [0, 1]
    );

    assert_eq!(partner.act(stale, "replay").await.status, 202);
    partner.catena.idle().await;
    assert_eq!(
        partner.about(stale, "/metrics").await["dlq_count"],
        1,
        "delivery is stopped"
    );
    assert_eq!(
        partner.catena.replay(simulator::Replay::default()).await,
        []
    );
    for id in [paused, stale] {
        assert_eq!(partner.act(id, "activate").await.json()["status"], "active");
        let replay = partner.act(id, "replay").await;
        assert_eq!((replay.status, replay.body.len()), (202, 0));
    }
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/stale"), ["invitation.created"]);
    assert_eq!(endpoint.names("/paused"), [""; 0]);
    assert_eq!(partner.about(stale, "/metrics").await["dlq_count"], 0);
    partner.invite("FLEET-43").await;
    partner.catena.idle().await;
    assert_eq!(
        (
            endpoint.names("/stale").len(),
            endpoint.names("/paused").len()
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn dead_letters_belong_to_one_subscription() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let broken = partner
        .subscribed("invitation.created", &endpoint.at("/broken"))
        .await;
    let fine = partner
        .subscribed("invitation.created", &endpoint.at("/fine"))
        .await;
    let deleted = partner
        .subscribed("invitation.created", &endpoint.at("/deleted"))
        .await;
    endpoint.answers("/broken", 503);
    endpoint.answers("/deleted", 503);
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/broken").len(), 4);
    let letters = partner.catena.dead_letters();
    assert_eq!(letters[&broken].len(), 1);
    assert_eq!(letters[&broken][0].webhook_id, broken);
    assert!(!letters.contains_key(&fine));
    partner
        .call(
            reqwest::Method::DELETE,
            &format!("{}/{deleted}", crate::partner::WEBHOOKS),
            None,
        )
        .await;
    assert_eq!(
        partner.catena.dead_letters().len(),
        1,
        "a deleted one keeps nothing"
    );
    endpoint.answers("/broken", 202);
    partner.act(broken, "replay").await;
    partner.catena.idle().await;
    let received = endpoint.received("/broken");
    assert_eq!(received[4].json()["id"], received[0].json()["id"]);
    assert_eq!(received[4].header("x-delivery-attempt"), "1");
    assert!(partner.catena.dead_letters().is_empty());
}

#[tokio::test]
async fn replays_by_the_api_have_fresh_or_original_times() {
    let partner = bare().await;
    partner.catena.set_retry(RetryPolicy {
        retries: 0,
        ..RetryPolicy::default()
    });
    let endpoint = Endpoint::start().await;
    let id = partner
        .subscribed("invitation.viewed", &endpoint.at("/"))
        .await;
    let fleet = Fleet::new("FLEET-42", OffsetDateTime::now_utc() - Duration::minutes(1));
    let event = events::invitation_viewed(&fleet, fleet.invited_at);
    for (timestamps, is_old) in [
        (simulator::Timestamps::Fresh, false),
        (simulator::Timestamps::Original, true),
    ] {
        partner.catena.set_replay_timestamps(timestamps);
        endpoint.answers("/", 500);
        let late = Faults {
            late: std::time::Duration::from_secs(3600),
            ..Faults::default()
        };
        partner.catena.deliver(&event, late).await;
        endpoint.answers("/", 202);
        partner.act(id, "replay").await;
        partner.catena.idle().await;
        let replayed = endpoint.received("/").pop().unwrap();
        let age = OffsetDateTime::now_utc() - replayed.sent_at();
        assert_eq!(age > Duration::minutes(50), is_old, "{timestamps:?}: {age}");
    }
}

#[tokio::test]
async fn what_happens_to_subscriptions_is_told_to_subscriptions() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let asked = json!({"event_name": "webhook.*", "url": endpoint.at("/news"), "secret": SECRET});
    partner.subscribe(asked).await;
    partner.catena.idle().await;
    assert_eq!(
        endpoint.names("/news"),
        ["webhook.created"; 6],
        "its own creation, too"
    );
    let id = partner.subscribed("invitation.accepted", URL).await;
    let path = format!("{}/{id}", crate::partner::WEBHOOKS);
    partner.catena.idle().await;
    for (method, what, body) in [
        (
            reqwest::Method::PATCH,
            "",
            Some(json!({"secret": "another-secret-of-30-letters"})),
        ),
        (reqwest::Method::POST, "/pause", None),
        (reqwest::Method::POST, "/pause", None),
        (reqwest::Method::POST, "/activate", None),
    ] {
        partner.call(method, &format!("{path}{what}"), body).await;
        partner.catena.idle().await;
    }
    partner.catena.make_subscription_stale(id).unwrap();
    partner.catena.idle().await;
    partner.call(reqwest::Method::DELETE, &path, None).await;
    partner.catena.idle().await;
    let news = &endpoint.received("/news")[6..];
    let expected = [
        "webhook.created",
        "webhook.updated",
        "webhook.paused",
        "webhook.activated",
        "webhook.staled",
        "webhook.deleted",
    ];
    assert_eq!(news.len(), expected.len());
    for (received, name) in news.iter().zip(expected) {
        let (event, sample) = (received.json(), event_sample(name));
        assert_eq!(event["event_name"], name);
        assert_eq!(shape(&event), shape(&sample));
        for field in ["url", "event_name", "filters", "status"] {
            assert_eq!(
                event["data"][0][field], sample["data"][0][field],
                "{name}: {field}"
            );
        }
        assert_eq!(event["data"][0]["id"], id.to_string());
    }
}

#[tokio::test]
async fn https_urls_can_be_led_elsewhere() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let id = partner.subscribed("invitation.created", URL).await;
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    assert_eq!(partner.catena.dead_letters()[&id].len(), 1, "no TLS");
    partner
        .catena
        .set_route("https://hooks.example.com", &endpoint.url);
    partner.act(id, "replay").await;
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/webhooks/catena"), ["invitation.created"]);
}

#[tokio::test]
async fn foreign_subscriptions_are_there_with_a_secret_that_nobody_has() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let catena = &partner.catena;
    let filters = Filters::of_fleet("FLEET-42");
    let url = endpoint.at("/foreign");
    let id = catena
        .create_subscription_elsewhere("invitation.created", &url, filters.clone())
        .unwrap();
    let again = catena.create_subscription_elsewhere("invitation.created", &url, filters);
    assert_ne!(again.unwrap(), id, "nothing is checked");
    assert!(
        catena
            .create_subscription_elsewhere("x", "nowhere", Filters::default())
            .is_err()
    );
    assert_eq!(partner.about(id, "").await["secret"], "*****");
    partner.invite("FLEET-42").await;
    partner.catena.idle().await;
    let truth = &partner.catena.subscriptions()[0];
    let received = endpoint.received("/foreign");
    assert_eq!(received.len(), 2);
    assert_eq!(
        received
            .iter()
            .filter(|it| it.is_signed_with(&truth.secret))
            .count(),
        1
    );
    assert!(
        partner
            .catena
            .make_subscription_stale(uuid::Uuid::nil())
            .is_err()
    );
}

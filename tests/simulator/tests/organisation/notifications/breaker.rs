//! When subscriptions go stale (contract 6.6); the thresholds themselves are tested beside them.

use std::time::Duration;

use simulator::{Breaker, BreakerRules, Counted, Outcome};
use uuid::Uuid;

use super::{bare, endpoint::Endpoint};
use crate::partner::{Partner, event_sample};

const EAGER: BreakerRules = BreakerRules {
    variant: Breaker::Tiers,
    grace: Duration::ZERO,
    counted: Counted::Attempts,
    weight: 0.02,
    least: 20,
};

/// A subscription that fails, one that hears of subscriptions, and the endpoint of both.
async fn failing(rules: BreakerRules) -> (Partner, Endpoint, Uuid) {
    let partner = bare().await;
    partner.catena.set_breaker(rules);
    let endpoint = Endpoint::start().await;
    endpoint.answers("/", 503);
    let id = partner
        .subscribed("invitation.created", &endpoint.at("/"))
        .await;
    partner
        .subscribed("webhook.staled", &endpoint.at("/news"))
        .await;
    (partner, endpoint, id)
}

impl Partner {
    async fn invite_many(&self, count: usize) {
        for number in 0..count {
            self.invite(&format!("FLEET-{number}-{}", Uuid::nil()))
                .await;
            self.catena.idle().await;
        }
    }

    async fn status(&self, id: Uuid) -> String {
        let read = self.about(id, "").await;
        read["status"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn three_bad_events_trip_it_and_only_activation_brings_it_back() {
    let (partner, endpoint, id) = failing(EAGER).await;
    partner.invite_many(2).await;
    assert_eq!(partner.status(id).await, "active");
    partner.invite_many(1).await;
    assert_eq!(partner.status(id).await, "stale");
    assert_eq!(endpoint.names("/").len(), 10, "delivery stops at once");
    assert_eq!(endpoint.names("/news"), ["webhook.staled"]);
    let news = endpoint.received("/news").remove(0).json();
    assert_eq!(news["data"][0]["id"], id.to_string());
    assert_eq!(
        news["data"][0]["status"],
        event_sample("webhook.staled")["data"][0]["status"]
    );

    endpoint.answers("/", 202);
    partner.invite_many(2).await;
    assert_eq!(endpoint.names("/").len(), 10, "queued, not delivered");
    let queued = partner.catena.deliveries().pop().unwrap();
    assert_eq!(
        (queued.outcome, queued.attempts.len()),
        (Outcome::DeadLetter, 0)
    );
    assert_eq!(partner.about(id, "/metrics").await["dlq_count"], 5);
    assert_eq!(partner.act(id, "activate").await.json()["status"], "active");
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/").len(), 10, "activation replays nothing");
    partner.act(id, "replay").await;
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/").len(), 15);
    assert_eq!(partner.status(id).await, "active");
}

#[tokio::test]
async fn activation_begins_counting_anew() {
    let (partner, _endpoint, id) = failing(EAGER).await;
    partner.invite_many(3).await;
    for _ in 0..2 {
        assert_eq!(partner.status(id).await, "stale");
        partner.act(id, "activate").await;
        partner.invite_many(2).await;
        assert_eq!(partner.status(id).await, "active");
        partner.invite_many(1).await;
    }
}

#[tokio::test]
async fn grace_begins_with_creation_and_with_activation() {
    let grace = Duration::from_mins(15);
    let (partner, _endpoint, id) = failing(BreakerRules { grace, ..EAGER }).await;
    partner.invite_many(4).await;
    assert_eq!(partner.status(id).await, "active");
    partner.catena.set_breaker(EAGER);
    partner.invite_many(1).await;
    assert_eq!(
        partner.status(id).await,
        "stale",
        "what happened meanwhile counts"
    );
    partner.catena.set_breaker(BreakerRules { grace, ..EAGER });
    partner.act(id, "activate").await;
    partner.act(id, "replay").await;
    partner.catena.idle().await;
    assert_eq!(partner.status(id).await, "active");
}

#[tokio::test]
async fn messages_can_count_instead_of_attempts() {
    let counted = Counted::Messages;
    let (partner, endpoint, id) = failing(BreakerRules { counted, ..EAGER }).await;
    partner.invite_many(9).await;
    assert_eq!(partner.status(id).await, "active");
    partner.invite_many(1).await;
    assert_eq!(partner.status(id).await, "stale");
    assert_eq!(endpoint.names("/").len(), 40);
    assert_eq!(endpoint.names("/news").len(), 1);
}

#[tokio::test]
async fn the_older_rule_can_hold_instead() {
    let rules = BreakerRules {
        variant: Breaker::SixHours,
        least: 12,
        ..EAGER
    };
    let (partner, endpoint, id) = failing(rules).await;
    partner.invite_many(2).await;
    assert_eq!(partner.status(id).await, "active");
    endpoint.answers("/", 404);
    partner.invite_many(4).await;
    assert_eq!(partner.status(id).await, "stale", "a 404 is no success");
    assert_eq!(endpoint.names("/").len(), 12);
    assert_eq!(
        partner.catena.dead_letters()[&id].len(),
        2,
        "a 404 is delivered"
    );
}

#[tokio::test]
async fn replay_that_trips_it_keeps_what_is_left() {
    let (partner, endpoint, id) = failing(EAGER).await;
    partner.catena.make_subscription_stale(id).unwrap();
    partner.invite_many(30).await;
    partner.act(id, "activate").await;
    partner.act(id, "replay").await;
    partner.catena.idle().await;
    assert_eq!(partner.status(id).await, "stale");
    assert_eq!(partner.about(id, "/metrics").await["dlq_count"], 30);
    let attempts = endpoint.names("/").len();
    assert!(
        (10..=17).contains(&attempts),
        "eight at the same time: {attempts}"
    );
}

#[tokio::test]
async fn what_carries_the_news_of_itself_keeps_it() {
    let partner = bare().await;
    let endpoint = Endpoint::start().await;
    let id = partner
        .subscribed("webhook.staled", &endpoint.at("/"))
        .await;
    partner.catena.make_subscription_stale(id).unwrap();
    partner.catena.idle().await;
    assert_eq!(endpoint.names("/"), [""; 0]);
    assert_eq!(
        partner.catena.dead_letters()[&id][0].event_name,
        "webhook.staled"
    );
}

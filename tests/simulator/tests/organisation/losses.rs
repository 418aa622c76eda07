//! Webhooks that get lost for good.

use std::collections::{BTreeMap, HashSet};

use simulator::{Faults, Fleet, Loss, Outcome, Replay, Scenario, events};
use time::{Duration, OffsetDateTime};

use crate::partner::start;

#[tokio::test]
async fn everything_can_be_lost() {
    let partner = start().await;
    let seed = 7;
    partner.catena.set_webhook_loss(Loss { share: 1.0, seed });
    partner.invite("FLEET-42").await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    partner.catena.idle().await;
    let report = partner.catena.run(&Scenario::onboarding(2)).await;
    assert_eq!(
        (report.deliveries, report.lost, report.attempts),
        (12, 12, 0)
    );
    let faults = Faults {
        repeat: true,
        ..Faults::default()
    };
    let invited_at = OffsetDateTime::now_utc() - Duration::minutes(1);
    let fleet = Fleet::new("FLEET-43", invited_at);
    let viewed = events::invitation_viewed(&fleet, fleet.invited_at);
    let sent = partner.catena.deliver(&viewed, faults).await;
    assert!(sent.iter().all(|sent| sent.outcome == Outcome::Lost));
    let forged = Faults {
        forged: true,
        ..Faults::default()
    };
    let forged = partner.catena.deliver(&viewed, forged).await;
    assert_eq!(forged[0].outcome, Outcome::Accepted, "not Catena's to lose");

    assert_eq!(partner.received().await.len(), 1);
    assert!(partner.catena.dead_letters().is_empty());
    assert_eq!(partner.catena.replay(Replay::default()).await, []);
    let expected = [
        ("connection.created", 2),
        ("fleet_connection.created", 2),
        ("invitation.accepted", 3),
        ("invitation.created", 3),
        ("invitation.viewed", 3),
        ("share_agreement.created", 3),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(partner.catena.lost_webhooks(), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_share_is_lost_and_what_is_lost_stays_lost() {
    let partner = start().await;
    let seed = 7;
    partner.catena.set_webhook_loss(Loss { share: 0.3, seed });
    let report = partner
        .catena
        .run(&Scenario::onboarding(50).repeat(0.2))
        .await;
    let lost: HashSet<_> = report
        .sent
        .iter()
        .filter(|sent| sent.outcome == Outcome::Lost)
        .map(|sent| sent.event_id)
        .collect();
    assert!((50..130).contains(&lost.len()), "of 300: {}", lost.len());
    let counted: usize = partner.catena.lost_webhooks().values().sum();
    assert_eq!(counted, lost.len(), "repeats count once");
    let delivered = report
        .sent
        .iter()
        .filter(|sent| sent.outcome == Outcome::Accepted);
    assert!(
        delivered
            .into_iter()
            .all(|sent| !lost.contains(&sent.event_id))
    );
    assert_eq!(partner.received().await.len(), report.accepted);
    assert_eq!(report.accepted + report.lost, report.deliveries);
    partner.catena.set_webhook_loss(Loss::default());
    assert_eq!(partner.catena.run(&Scenario::onboarding(5)).await.lost, 0);
}

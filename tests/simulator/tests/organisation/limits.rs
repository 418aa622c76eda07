//! Rate limits.

use std::time::Duration;

use simulator::{ApiFault, ApiFaultKind, RateLimit, TOKEN_PATH};

use crate::partner::{FLEETS, INVITATIONS, start};

#[tokio::test]
async fn calls_beyond_the_limit_are_told_to_wait() {
    let partner = start().await;
    let window = Duration::from_mins(1);
    partner
        .catena
        .set_rate_limit(Some(RateLimit { calls: 3, window }));
    for _ in 0..3 {
        assert_eq!(partner.get(FLEETS).await.status, 200);
    }
    assert_eq!(partner.catena.rate_report().early, []);
    let mut refused = Vec::new();
    for path in [INVITATIONS, FLEETS] {
        let answer = partner.get(path).await;
        assert_eq!(answer.status, 429);
        let detail = answer.json()["detail"].clone();
        refused.push(detail["retry_after_seconds"].as_u64().unwrap());
        assert_eq!(detail["message"], "Rate limit exceeded");
    }
    assert!(refused.iter().all(|seconds| (50..=60).contains(seconds)));
    assert_eq!(partner.token_request(&[]).await.status, 200);

    let report = partner.catena.rate_report();
    assert_eq!((report.refused, report.most_in_window), (2, 5));
    let [early] = &report.early[..] else {
        panic!("one call: {:?}", report.early)
    };
    assert_eq!(
        (early.method.as_str(), early.path.as_str()),
        ("GET", FLEETS)
    );
    assert!(early.told_at <= early.at && early.at < early.until);
    let statuses = partner.catena.api_calls();
    let statuses: Vec<_> = statuses.iter().filter_map(|call| call.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 200]);

    partner.catena.set_rate_limit(None);
    assert_eq!(partner.get(FLEETS).await.status, 200);
    assert_eq!(partner.catena.rate_report().refused, 0);
}

#[tokio::test]
async fn a_refused_call_leaves_faults_to_those_that_are_served() {
    let partner = start().await;
    let limit = RateLimit {
        calls: 0,
        window: Duration::from_millis(1),
    };
    let fault = ApiFault::new(ApiFaultKind::TooManyRequests {
        retry_after_seconds: Some(30),
        retry_after: None,
    });
    partner.catena.add_api_fault(fault);
    partner.catena.set_rate_limit(Some(limit));
    let seconds = async || {
        let answer = partner.get(FLEETS).await.json();
        answer["detail"]["retry_after_seconds"].as_u64().unwrap()
    };
    assert_eq!(seconds().await, 1, "at least one");
    assert_eq!(partner.catena.api_faults().len(), 1);
    partner.catena.set_rate_limit(None);
    assert_eq!(seconds().await, 30);
    assert_eq!(partner.get(FLEETS).await.status, 200);
    let early = partner.catena.rate_report().early;
    assert_eq!(early.len(), 1, "a fault's wait counts, too");
    partner.fresh_token().await;
    let calls = partner.catena.api_calls();
    assert_eq!(calls.last().unwrap().path, TOKEN_PATH);
    assert_eq!(partner.catena.rate_report().early.len(), 1);
}

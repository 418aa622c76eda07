//! Errors, faults and the log of calls.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{ApiFault, ApiFaultKind, TOKEN_PATH};
use uuid::Uuid;

use crate::partner::{AGREEMENTS, Answer, FLEETS, INVITATIONS, sample, shape, start};

#[tokio::test]
async fn errors_have_the_documented_shapes() {
    let partner = start().await;
    let nobody = format!("{INVITATIONS}/{}", Uuid::nil());
    partner.refused(Method::GET, &nobody, "error.404").await;
    partner
        .refused(Method::GET, "/v2/orgs/nothing", "error.404")
        .await;
    partner.refused(Method::PUT, INVITATIONS, "error.405").await;
    let accept = format!("{nobody}/accept");
    partner.refused(Method::GET, &accept, "error.405").await;
    for status in [400, 401, 403, 404, 405, 500, 504] {
        let fault = ApiFault::new(ApiFaultKind::Status { status });
        partner.catena.add_api_fault(fault);
        partner
            .refused(Method::GET, INVITATIONS, &format!("error.{status}"))
            .await;
    }
    let fault = ApiFaultKind::TooManyRequests {
        retry_after_seconds: Some(7),
        retry_after: None,
    };
    partner.catena.add_api_fault(ApiFault::new(fault));
    partner.refused(Method::GET, INVITATIONS, "error.429").await;

    let hours = json!({"fleet_ref": "FLEET-42", "expires_in_hours": 9999});
    let answer = partner.call(Method::POST, INVITATIONS, Some(hours)).await;
    assert_eq!((answer.status, answer.json()), (422, sample("error.422")));
    let broken = partner.http.post(partner.url(INVITATIONS)).body("{");
    let broken = broken.header("content-type", "application/json");
    let answer = Answer::of(broken.bearer_auth(&partner.token))
        .await
        .unwrap();
    assert_eq!(
        (answer.status, shape(&answer.json())["message"].clone()),
        (400, json!("string"))
    );
    let id = partner.invite("FLEET-42").await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    let answer = partner
        .call(Method::DELETE, &format!("{INVITATIONS}/{id}"), None)
        .await;
    assert_eq!(
        (answer.status, shape(&answer.json())),
        (409, shape(&sample("error.409")))
    );
    let answer = partner.get(&format!("{INVITATIONS}/not-a-uuid")).await;
    assert_eq!(answer.json()["detail"][0]["path"], "path.invitation_id");
}

#[tokio::test]
async fn faults_that_answer() {
    let partner = start().await;
    let fault = |kind| partner.catena.add_api_fault(ApiFault::new(kind));
    fault(ApiFaultKind::TooManyRequests {
        retry_after_seconds: None,
        retry_after: Some("3".to_owned()),
    });
    let answer = partner.get(INVITATIONS).await;
    assert_eq!(
        (answer.status, &answer.json()["detail"]),
        (429, &Value::Null)
    );
    assert_eq!(answer.headers["retry-after"], "3");
    for status in [502, 503] {
        fault(ApiFaultKind::Status { status });
        let answer = partner.get(INVITATIONS).await;
        assert_eq!(answer.status, status);
        assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
    }
    fault(ApiFaultKind::Unauthorized);
    partner.refused(Method::GET, INVITATIONS, "error.401").await;
    fault(ApiFaultKind::Html);
    let answer = partner.get(INVITATIONS).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (200, &"text/html".parse().unwrap())
    );
    assert!(answer.body.starts_with(b"<html>"));
    fault(ApiFaultKind::Oversized { mebibytes: 3 });
    let answer = partner.get(INVITATIONS).await;
    assert!(answer.status == 200 && answer.body.len() > 3 << 20);
    assert!(answer.json().is_object() && !answer.headers.contains_key("content-length"));
    fault(ApiFaultKind::Empty);
    let answer = partner.post(json!({"fleet_ref": "FLEET-42"})).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(partner.catena.invitation("FLEET-42").is_some(), "processed");
    fault(ApiFaultKind::WrongContentType);
    let answer = partner.get(INVITATIONS).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (200, &"text/plain".parse().unwrap())
    );
    assert_eq!(answer.json()["total"], 1);
    assert!(partner.catena.api_faults().is_empty());
    assert!(partner.get(INVITATIONS).await.headers.contains_key("date"));
}

#[tokio::test]
async fn faults_that_take_time() {
    let partner = start().await;
    let by = Duration::from_millis(150);
    partner
        .catena
        .add_api_fault(ApiFault::new(ApiFaultKind::Slow { by }));
    let started = std::time::Instant::now();
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
    assert!(started.elapsed() >= by);

    partner.catena.clear_api_calls();
    partner
        .catena
        .add_api_fault(ApiFault::new(ApiFaultKind::Stall));
    let request = partner
        .http
        .get(partner.url(INVITATIONS))
        .bearer_auth(&partner.token);
    let stalled = request.timeout(Duration::from_millis(100)).send().await;
    assert!(stalled.unwrap_err().is_timeout());
    let [call] = &partner.catena.api_calls()[..] else {
        panic!("one call")
    };
    assert_eq!(
        (call.method.as_str(), call.path.as_str(), call.status),
        ("GET", INVITATIONS, None)
    );
}

#[tokio::test]
async fn faults_that_lose_the_answer() {
    let partner = start().await;
    let try_to_invite = async |fleet_ref: &str| {
        let request = partner.request(
            Method::POST,
            INVITATIONS,
            Some(json!({"fleet_ref": fleet_ref})),
        );
        Answer::of(request).await
    };
    for (kind, fleet_ref, processed) in [
        (ApiFaultKind::CutBefore, "FLEET-1", false),
        (ApiFaultKind::CutAfter, "FLEET-2", true),
        (ApiFaultKind::Truncated, "FLEET-3", true),
    ] {
        let fault = ApiFault::new(kind.clone()).on("POST", INVITATIONS);
        partner.catena.add_api_fault(fault);
        let error = try_to_invite(fleet_ref).await.unwrap_err();
        assert!(
            !error.is_timeout() && !error.is_connect(),
            "{kind:?}: {error:?}"
        );
        assert_eq!(
            partner.catena.invitation(fleet_ref).is_some(),
            processed,
            "{kind:?}"
        );
        assert!(partner.catena.api_faults().is_empty(), "tried once");
        let again = try_to_invite(fleet_ref).await.unwrap();
        assert_eq!(again.status, if processed { 200 } else { 201 });
    }
    partner
        .catena
        .add_api_fault(ApiFault::new(ApiFaultKind::Truncated));
    let request = partner.request(Method::GET, INVITATIONS, None);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.content_length().unwrap() > 1000);
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn faults_hit_the_calls_they_are_for() {
    let partner = start().await;
    let fault = ApiFault::new(ApiFaultKind::Status { status: 503 });
    partner
        .catena
        .add_api_fault(fault.clone().on("POST", TOKEN_PATH).times(2));
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
    for status in [503, 503, 200] {
        assert_eq!(partner.token_request(&[]).await.status, status);
    }
    partner
        .catena
        .add_api_fault(fault.on("GET", "/v2/orgs/tsps/{id}").until_cleared());
    let path = format!("/v2/orgs/tsps/{}", Uuid::nil());
    for _ in 0..3 {
        assert_eq!(partner.get(&path).await.status, 503);
    }
    assert_eq!(partner.get("/v2/orgs/tsps").await.status, 200);
    partner.catena.clear_api_faults();
    assert_eq!(partner.get(&path).await.status, 404);
}

#[tokio::test]
async fn calls_are_logged_and_counted() {
    let partner = start().await;
    partner.catena.clear_api_calls();
    let id = partner.invite("FLEET-42").await;
    partner.get(&format!("{INVITATIONS}/{id}")).await;
    partner.get("/v2/orgs/nothing").await;
    partner.call(Method::PUT, INVITATIONS, None).await;
    partner.fresh_token().await;
    let calls = partner.catena.api_calls();
    let calls: Vec<_> = calls
        .iter()
        .map(|call| (call.method.as_str(), call.path.as_str(), call.status))
        .collect();
    assert_eq!(
        calls,
        [
            ("POST", INVITATIONS, Some(201)),
            ("GET", "/v2/orgs/invitations/{id}", Some(200)),
            ("GET", "/v2/orgs/nothing", Some(404)),
            ("PUT", INVITATIONS, Some(405)),
            ("POST", TOKEN_PATH, Some(200)),
        ]
    );
    assert_eq!(partner.catena.most_api_calls_in_flight(), 1);
    partner.catena.clear_api_calls();
    let by = Duration::from_millis(200);
    let slow = ApiFault::new(ApiFaultKind::Slow { by }).until_cleared();
    partner.catena.add_api_fault(slow);
    tokio::join!(
        partner.get(INVITATIONS),
        partner.get(FLEETS),
        partner.get(AGREEMENTS)
    );
    assert_eq!(partner.catena.most_api_calls_in_flight(), 3);
    assert_eq!(partner.catena.api_calls().len(), 3);
    partner.catena.clear_api_calls();
    assert_eq!(partner.catena.most_api_calls_in_flight(), 0);
}

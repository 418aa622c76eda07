//! The same from other processes.

use reqwest::Method;
use serde_json::json;
use simulator::{CLIENT_ID, Scenario};

use crate::partner::{Answer, INVITATIONS, start};

#[tokio::test]
async fn everything_is_there_for_other_processes() {
    let mut partner = start().await;
    let (http, url) = (partner.http.clone(), partner.url(""));
    let call = async |method: Method, path: &str, body: &str| {
        let request = http.request(method, format!("{url}{path}"));
        let request = request.body(body.to_owned());
        Answer::of(request).await.unwrap()
    };
    partner.invite("FLEET/42").await;
    let path = "/invitations/FLEET%2F42";
    assert_eq!(call(Method::GET, path, "").await.json()["status"], "active");
    assert_eq!(
        call(Method::POST, &format!("{path}/view"), "").await.status,
        200
    );
    let reason = r#"{"decline_reason": "Later"}"#;
    let declined = call(Method::POST, &format!("{path}/decline"), reason)
        .await
        .json();
    assert_eq!(declined["decline_reason"], "Later");
    assert_eq!(
        call(Method::POST, &format!("{path}/accept"), "")
            .await
            .status,
        400
    );
    partner.invite("FLEET/42").await;
    assert_eq!(
        call(Method::POST, &format!("{path}/accept"), "")
            .await
            .json()["status"],
        "accepted"
    );
    assert_eq!(
        call(Method::POST, &format!("{path}/dance"), "")
            .await
            .status,
        400
    );
    partner.invite("FLEET-43").await;
    assert_eq!(
        call(Method::POST, "/invitations/FLEET-43/expire", "")
            .await
            .json()["status"],
        "expired"
    );
    assert_eq!(
        call(Method::GET, "/invitations/FLEET-44", "").await.status,
        400
    );
    assert_eq!(call(Method::GET, "/idle", "").await.status, 204);
    assert_eq!(partner.catena.deliveries().len(), 8);

    let request = call(
        Method::PUT,
        "/integration-requests",
        r#"{"fleet_ref": "FLEET/42"}"#,
    )
    .await;
    assert_eq!(request.json()["ext_tsp_name"], "Prairie Logs");
    let calls = call(Method::GET, "/api-calls", "").await.json();
    assert_eq!(
        (
            calls["calls"].as_array().unwrap().len(),
            &calls["most_in_flight"]
        ),
        (3, &json!(1))
    );
    assert_eq!(call(Method::DELETE, "/api-calls", "").await.status, 204);
    assert!(partner.catena.api_calls().is_empty());
    let fault =
        r#"{"kind": "too_many_requests", "retry_after_seconds": 7, "path": "/v2", "times": null}"#;
    assert_eq!(call(Method::POST, "/api-faults", fault).await.status, 204);
    assert_eq!(partner.get(INVITATIONS).await.status, 429);
    assert_eq!(
        call(Method::GET, "/api-faults", "").await.json()[0]["kind"],
        "too_many_requests"
    );
    assert_eq!(call(Method::DELETE, "/api-faults", "").await.status, 204);
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
    let settings = r#"{"events": false, "token_lifetime": 60, "token_permissions": ["invitation:create", "invitation:read"], "default_permissions": "read_write", "refresh": {"applies_changes": false}}"#;
    assert_eq!(call(Method::PUT, "/settings", settings).await.status, 204);
    let token = partner.token_request(&[]).await.json();
    assert_eq!(
        (&token["expires_in"], &token["scope"]),
        (&json!(60), &json!("invitation:create invitation:read"))
    );
    partner.token = token["access_token"].as_str().unwrap().to_owned();
    let deliveries = partner.catena.deliveries().len();
    let invited = partner.post(json!({"fleet_ref": "FLEET-50"})).await.json();
    assert_eq!(invited["permissions"]["vehicle"], "read_write");
    let again = json!({"fleet_ref": "FLEET-50", "permissions": {}});
    let refreshed = partner.post(again).await.json();
    assert_eq!(refreshed["permissions"], invited["permissions"]);
    partner.catena.idle().await;
    assert_eq!(partner.catena.deliveries().len(), deliveries);
    assert_eq!(
        call(Method::PUT, "/settings", r#"{"evnts": false}"#)
            .await
            .status,
        400
    );
    assert_eq!(call(Method::DELETE, "/tokens", "").await.status, 204);
    assert_eq!(partner.get(INVITATIONS).await.status, 401);
    let limit = r#"{"rate_limit": {"calls": 0, "window": 0.5}, "hidden_endpoints": "missing", "webhook_loss": {"share": 1}}"#;
    assert_eq!(call(Method::PUT, "/settings", limit).await.status, 204);
    assert_eq!(partner.get(INVITATIONS).await.status, 429);
    let report = call(Method::GET, "/rate-limit", "").await.json();
    assert_eq!(report["refused"], 1);
    let limit =
        r#"{"rate_limit": null, "integration_request_lag": 1.5, "hidden_endpoints": "served"}"#;
    assert_eq!(call(Method::PUT, "/settings", limit).await.status, 204);
    assert_eq!(partner.get(INVITATIONS).await.status, 401);
    let lost = call(Method::GET, "/lost-webhooks", "").await.json();
    assert_eq!(lost, json!({}));
    let help = call(Method::GET, "/", "").await.body;
    let help = String::from_utf8(help).unwrap();
    assert!(help.contains(&format!("client_id={CLIENT_ID}")) && !help.contains("{client"));
}

#[tokio::test]
async fn the_world_changes_for_other_processes() {
    let partner = start().await;
    let (http, url) = (partner.http.clone(), partner.url(""));
    let call = async |method: Method, path: &str, body: &str| {
        let request = http.request(method, format!("{url}{path}"));
        let request = request.body(body.to_owned());
        Answer::of(request).await.unwrap()
    };
    partner.invite("FLEET/42").await;
    partner.catena.run(&Scenario::invited(["FLEET/42"])).await;
    let fleets = call(Method::GET, "/fleets", "").await.json();
    assert_eq!(fleets, json!(["FLEET/42"]));
    let truth = async || call(Method::GET, "/truth/FLEET%2F42", "").await.json();
    let connection = truth().await["connections"][0]["id"].clone();
    let connection = format!("/connections/{}", connection.as_str().unwrap());
    let schedules = format!("{connection}/schedules");
    let known = partner.events().await.len();
    let agreement = r#"{"status": "paused", "scopes": {"user": "read"}, "effective_date": "2026-01-02T03:04:05Z", "expiration_date": "2031-01-02T03:04:05Z", "silent": true}"#;
    for (method, path, body, status) in [
        (
            Method::PUT,
            connection.as_str(),
            r#"{"status": "stale"}"#,
            204,
        ),
        (Method::PUT, &connection, r#"{"status": "odd"}"#, 400),
        (
            Method::PUT,
            &schedules,
            r#"{"status": "inactive", "resource": "user"}"#,
            204,
        ),
        (
            Method::PUT,
            &schedules,
            r#"{"status": "active", "resource": "odd"}"#,
            400,
        ),
        (Method::PUT, "/fleets/FLEET%2F42/agreement", agreement, 204),
        (
            Method::PUT,
            "/fleets/FLEET%2F42/agreement",
            r#"{"effective_date": "soon"}"#,
            400,
        ),
        (
            Method::PUT,
            "/fleets/FLEET%2F42/regulatory-id",
            r#"{"id": "1", "type": "MC"}"#,
            204,
        ),
        (
            Method::PUT,
            "/fleets/FLEET-43/regulatory-id",
            r#"{"id": "1"}"#,
            400,
        ),
        (Method::POST, "/providers/prairie-logs/live", "", 200),
        (Method::POST, "/providers/nobody/live", "", 400),
        (Method::GET, "/truth/FLEET-43", "", 400),
    ] {
        let answer = call(method, path, body).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, status, "{path} {body}: {text}");
    }
    let told = truth().await;
    assert_eq!(told["connections"][0]["status"], "stale");
    assert_eq!(told["agreement"]["status"], "paused");
    assert_eq!(told["agreement"]["scopes"], json!({"user": "read"}));
    assert_eq!(
        told["agreement"]["expiration_date"],
        "2031-01-02T03:04:05.000000Z"
    );
    let endless = r#"{"status": "active", "expiration_date": null}"#;
    let path = "/fleets/FLEET%2F42/agreement";
    assert_eq!(call(Method::PUT, path, endless).await.status, 204);
    assert_eq!(truth().await["agreement"]["expiration_date"], json!(null));
    let fleets = partner.get("/v2/orgs/fleets").await.json();
    assert_eq!(fleets["items"][0]["regulatory_id"], "1");
    let events = partner.received().await;
    let mut names: Vec<_> = events[known..]
        .iter()
        .map(|event| event["event_name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "connection.staled",
            "schedule.deactivated",
            "share_agreement.updated",
            "tsp.created"
        ]
    );
    assert_eq!(call(Method::DELETE, &connection, "").await.status, 204);
    assert_eq!(call(Method::DELETE, &connection, "").await.status, 400);
    assert_eq!(truth().await["connections"], json!([]));
}

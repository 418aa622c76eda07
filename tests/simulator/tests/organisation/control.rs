//! The same from other processes.

use reqwest::Method;
use serde_json::json;
use simulator::CLIENT_ID;

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
    assert_eq!(request.json()["ext_tsp_name"], "Nomad ELD");
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
    let help = call(Method::GET, "/", "").await.body;
    let help = String::from_utf8(help).unwrap();
    assert!(help.contains(&format!("client_id={CLIENT_ID}")) && !help.contains("{client"));
}

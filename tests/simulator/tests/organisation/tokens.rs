//! Tokens: who gets them, what they allow, when they end.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use simulator::{CLIENT_ID, CLIENT_SECRET, TOKEN_PATH, TOKEN_PREFIX};
use uuid::Uuid;

use crate::partner::{
    AGREEMENTS, CONNECTIONS, FLEETS, INVITATIONS, PERMISSIONS, REQUESTS, WEBHOOKS, start,
};

#[tokio::test]
async fn client_credentials_are_exchanged_for_a_token() {
    let partner = start().await;
    let answer = partner.token_request(&[]).await;

    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    assert!(
        body["access_token"]
            .as_str()
            .unwrap()
            .starts_with(TOKEN_PREFIX)
    );
    let scope: Vec<_> = body["scope"].as_str().unwrap().split(' ').collect();
    assert_eq!(scope, PERMISSIONS);
    assert!(answer.headers.contains_key("date"));
    assert!(CLIENT_SECRET.starts_with(TOKEN_PREFIX));
}

#[tokio::test]
async fn every_field_of_a_token_request_is_checked() {
    let partner = start().await;
    for (field, value, status, error) in [
        ("client_id", "someone-else", 401, "invalid_client"),
        ("client_secret", "a-guess", 401, "invalid_client"),
        ("grant_type", "password", 400, "unsupported_grant_type"),
        ("scope", "everything", 400, "invalid_scope"),
    ] {
        let answer = partner.token_request(&[(field, Some(value))]).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (status, &json!(error))
        );
        let answer = partner.token_request(&[(field, None)]).await;
        let error = json!("invalid_request");
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &error),
            "no {field}"
        );
    }
    let form = format!(
        "grant_type=client_credentials&scope=organization&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}"
    );
    let as_json = partner.http.post(partner.url(TOKEN_PATH)).body(form);
    let as_json = as_json.header("content-type", "application/json");
    assert_eq!(as_json.send().await.unwrap().status(), 400);
    assert_eq!(partner.get(TOKEN_PATH).await.status, 405);
}

#[tokio::test]
async fn tokens_end() {
    let mut partner = start().await;
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
    partner.catena.revoke_tokens();
    partner.refused(Method::GET, INVITATIONS, "error.401").await;

    partner.token = partner.fresh_token().await;
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
    partner.catena.set_token_lifetime(Duration::ZERO);
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
    partner.token = partner.fresh_token().await;
    partner.refused(Method::GET, INVITATIONS, "error.401").await;

    partner.token = format!("{TOKEN_PREFIX}API-TOKEN-{}", Uuid::nil());
    partner.refused(Method::GET, INVITATIONS, "error.401").await;
    let elsewhere = start().await;
    partner.token = elsewhere.token.clone();
    partner.refused(Method::GET, INVITATIONS, "error.401").await;
    let bare = partner.http.get(partner.url(INVITATIONS)).send().await;
    assert_eq!(bare.unwrap().status(), 401);
}

#[tokio::test]
async fn each_endpoint_asks_for_its_permission() {
    let mut partner = start().await;
    let id = Uuid::nil();
    let invitation = format!("{INVITATIONS}/{id}");
    let agreement = format!("{AGREEMENTS}/{id}");
    let connection = format!("{CONNECTIONS}/{id}");
    let webhook = format!("{WEBHOOKS}/{id}");
    let schema = "/v2/notifications/schemas/tsp.created";
    for (method, path, permission) in [
        (
            Method::POST,
            INVITATIONS.to_owned(),
            Some("invitation:create"),
        ),
        (Method::GET, INVITATIONS.to_owned(), Some("invitation:read")),
        (
            Method::DELETE,
            invitation.clone(),
            Some("invitation:delete"),
        ),
        (Method::GET, FLEETS.to_owned(), Some("fleet:read")),
        (Method::GET, format!("{FLEETS}/{id}"), Some("fleet:read")),
        (
            Method::GET,
            AGREEMENTS.to_owned(),
            Some("share-agreement:read"),
        ),
        (Method::GET, agreement.clone(), Some("share-agreement:read")),
        (
            Method::PATCH,
            agreement.clone(),
            Some("share-agreement:update"),
        ),
        (
            Method::POST,
            format!("{agreement}/pause"),
            Some("share-agreement:update"),
        ),
        (
            Method::POST,
            format!("{agreement}/activate"),
            Some("share-agreement:update"),
        ),
        (
            Method::POST,
            format!("{agreement}/cancel"),
            Some("share-agreement:update"),
        ),
        (Method::DELETE, agreement, Some("share-agreement:delete")),
        (Method::POST, format!("{invitation}/accept"), None),
        (Method::POST, format!("{invitation}/decline"), None),
        (Method::GET, "/v2/orgs/tsps".to_owned(), None),
        (Method::GET, format!("/v2/orgs/tsps/{id}"), None),
        (Method::GET, "/v2/orgs/external-tsps".to_owned(), None),
        (Method::GET, REQUESTS.to_owned(), None),
        (Method::GET, CONNECTIONS.to_owned(), Some("connection:read")),
        (Method::GET, connection.clone(), Some("connection:read")),
        (
            Method::GET,
            format!("{CONNECTIONS}/data-freshness"),
            Some("connection:read"),
        ),
        (
            Method::GET,
            format!("{connection}/schedules"),
            Some("schedule:read"),
        ),
        (
            Method::GET,
            format!("{connection}/schedules/{id}"),
            Some("schedule:read"),
        ),
        (Method::GET, WEBHOOKS.to_owned(), Some("webhook:read")),
        (Method::POST, WEBHOOKS.to_owned(), Some("webhook:create")),
        (Method::GET, webhook.clone(), Some("webhook:read")),
        (Method::PATCH, webhook.clone(), Some("webhook:update")),
        (
            Method::POST,
            format!("{webhook}/pause"),
            Some("webhook:update"),
        ),
        (
            Method::POST,
            format!("{webhook}/activate"),
            Some("webhook:update"),
        ),
        (
            Method::POST,
            format!("{webhook}/replay"),
            Some("webhook:create"),
        ),
        (
            Method::GET,
            format!("{webhook}/metrics"),
            Some("webhook:read"),
        ),
        (Method::GET, format!("{webhook}/logs"), Some("webhook:read")),
        (Method::DELETE, webhook, Some("webhook:delete")),
        (Method::GET, schema.to_owned(), None),
        (Method::GET, format!("{schema}/versions/1.0"), None),
    ] {
        let others: Vec<_> = PERMISSIONS
            .into_iter()
            .filter(|&name| Some(name) != permission)
            .collect();
        partner.token = partner.catena.issue_token(&others);
        let answer = partner.call(method.clone(), &path, None).await;
        assert_eq!(
            answer.status == 403,
            permission.is_some(),
            "{method} {path}"
        );
        partner.token = partner.catena.issue_token(permission.as_slice());
        let answer = partner.call(method.clone(), &path, None).await;
        assert!(![401, 403, 405].contains(&answer.status), "{method} {path}");
        partner.token = "none".to_owned();
        partner.refused(method, &path, "error.401").await;
    }
    partner.catena.set_token_permissions(&["invitation:read"]);
    partner.token = partner.fresh_token().await;
    partner.refused(Method::GET, FLEETS, "error.403").await;
    assert_eq!(partner.get(INVITATIONS).await.status, 200);
}

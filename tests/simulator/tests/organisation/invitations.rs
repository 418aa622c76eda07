//! Invitations: created, refreshed, replaced, refused.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{FleetError, Level, Refresh, TOKEN_PREFIX};
use time::OffsetDateTime;

use crate::partner::{Answer, INVITATIONS, at, sample, shape, start};

#[tokio::test]
async fn invitation_is_created_as_documented() {
    let partner = start().await;
    let request = sample("invitation.create.request");
    let before = OffsetDateTime::now_utc();
    let answer = partner
        .call(Method::POST, INVITATIONS, Some(request.clone()))
        .await;

    let read = answer.json();
    assert_eq!(answer.status, 201);
    assert_eq!(
        shape(&read),
        shape(&sample("invitation.create.response.201"))
    );
    for (name, value) in request.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}");
    }
    assert_eq!(read["partner_provided_fleet_name"], "Acme Trucking");
    let id = read["id"].as_str().unwrap();
    let link = partner.url(&format!("/connect?invite={id}"));
    assert_eq!(read["magic_link"], link);
    let hours = (at(&read["expires_at"]) - at(&read["created_at"])).whole_hours();
    assert_eq!(hours, 168);
    assert!(at(&read["created_at"]) >= before - Duration::from_millis(1));

    let bare = partner
        .http
        .get(partner.url(&format!("{INVITATIONS}/{id}")));
    let bare = Answer::of(bare).await.unwrap();
    assert_eq!(
        (bare.status, bare.json()),
        (200, read.clone()),
        "without a token"
    );
    let list = partner
        .get(&format!("{INVITATIONS}?fleet_ref=FLEET-42"))
        .await;
    assert_eq!(
        shape(&list.json()),
        shape(&sample("invitations.list.response.200"))
    );
    assert_eq!(list.json()["items"][0], read);
    let other = partner
        .get(&format!("{INVITATIONS}?fleet_ref=FLEET-4"))
        .await;
    assert_eq!(other.json()["items"], json!([]));
}

#[tokio::test]
async fn minimal_invitation_gets_the_defaults() {
    let partner = start().await;
    let minimal = sample("invitation.create.request.minimal");
    let read = partner.post(minimal).await.json();
    assert_eq!(read["expires_in_hours"], 24);
    let levels = |read: &Value| {
        let permissions = read["permissions"].as_object().unwrap().clone();
        assert!(permissions.len() > 10);
        permissions.values().cloned().collect::<HashSet<_>>()
    };
    assert_eq!(levels(&read), HashSet::from([json!("read")]));
    partner.catena.set_default_permissions(Level::ReadWrite);
    let read = partner.post(json!({"fleet_ref": "FLEET-43"})).await.json();
    assert_eq!(levels(&read), HashSet::from([json!("read_write")]));
}

#[tokio::test]
async fn refused_invitation_names_every_broken_rule_and_is_not_created() {
    let partner = start().await;
    let answer = partner.post(json!({"fleet_name": "A & B", "callback_url": "http://a.example"}));
    let answer = answer.await;
    assert_eq!(answer.status, 422);
    let body = answer.json();
    let detail = body["detail"].as_array().unwrap();
    let paths: HashSet<_> = detail
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        HashSet::from(["body.fleet_ref", "body.fleet_name", "body.callback_url"])
    );
    let answer = partner.post(json!({"fleet_ref": "FLEET-42", "permissions": {"user": "all"}}));
    assert_eq!(
        answer.await.json()["detail"][0]["path"],
        "body.permissions.user"
    );
    assert_eq!(partner.post(json!([])).await.status, 422);
    assert_eq!(partner.get(INVITATIONS).await.json()["total"], 0);
    assert_eq!(partner.events().await, [] as [&str; 0]);
}

#[tokio::test]
async fn active_invitation_is_refreshed() {
    let partner = start().await;
    let first = partner
        .post(sample("invitation.create.request"))
        .await
        .json();
    let again = json!({
        "fleet_ref": "FLEET-42",
        "permissions": {"vehicle": "read_write"},
        "success_redirect_url": "https://app.example.com/elsewhere",
    });
    let answer = partner.post(again.clone()).await;
    let second = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(
        shape(&second["status"]),
        shape(&sample("invitation.create.response.200-refreshed")["status"])
    );
    assert_eq!(
        (&second["id"], &second["created_at"]),
        (&first["id"], &first["created_at"])
    );
    assert!(
        at(&second["expires_at"]) > at(&first["expires_at"]),
        "extended"
    );
    assert_eq!(second["permissions"], again["permissions"]);
    assert_eq!(
        second["success_redirect_url"],
        again["success_redirect_url"]
    );
    assert_eq!(
        second["failure_redirect_url"],
        first["failure_redirect_url"]
    );
    assert_eq!(
        partner.events().await,
        ["invitation.created", "invitation.created"]
    );

    partner.catena.set_refresh(Refresh {
        applies_changes: false,
        emits_created: false,
    });
    let unlike = json!({"fleet_ref": "FLEET-42", "permissions": {}, "expires_in_hours": 1});
    let third = partner.post(unlike).await.json();
    assert_eq!(third["permissions"], second["permissions"]);
    assert_eq!(third["expires_in_hours"], 168);
    assert!(
        at(&third["expires_at"]) > at(&second["expires_at"]),
        "extended"
    );
    assert_eq!(partner.events().await.len(), 2);
    assert_eq!(partner.get(INVITATIONS).await.json()["total"], 1);
}

#[tokio::test]
async fn accepted_invitation_gets_other_tokens() {
    let partner = start().await;
    let id = partner.invite("FLEET-42").await;
    partner.catena.view_invitation("FLEET-42").unwrap();
    partner.catena.accept_invitation("FLEET-42").unwrap();
    let path = format!("{INVITATIONS}/{id}");
    let accepted = partner.get(&path).await.json();
    assert_eq!(accepted["status"], "accepted");
    for name in [
        "pre_registration_access_token",
        "pre_registration_refresh_token",
    ] {
        assert!(accepted[name].as_str().unwrap().starts_with(TOKEN_PREFIX));
    }
    for name in ["accepted_at", "fleet_id"] {
        assert!(accepted[name].is_string(), "{name}");
    }
    let answer = partner.post(json!({"fleet_ref": "FLEET-42"})).await;
    let refreshed = answer.json();
    assert_eq!(
        (answer.status, &refreshed["status"]),
        (200, &json!("accepted"))
    );
    assert_eq!(
        (
            &refreshed["id"],
            &refreshed["fleet_id"],
            &refreshed["accepted_at"]
        ),
        (
            &accepted["id"],
            &accepted["fleet_id"],
            &accepted["accepted_at"]
        )
    );
    for name in [
        "pre_registration_access_token",
        "pre_registration_refresh_token",
    ] {
        assert_ne!(refreshed[name], accepted[name]);
    }
    assert_eq!(partner.get(&path).await.json(), refreshed);
    assert_eq!(
        partner.catena.accept_invitation("FLEET-42"),
        Err(FleetError::NotActive {
            fleet_ref: "FLEET-42".to_owned(),
            status: "accepted"
        })
    );
    assert_eq!(
        partner.events().await,
        [
            "invitation.accepted",
            "invitation.created",
            "invitation.created",
            "invitation.viewed",
            "share_agreement.created"
        ]
    );
}

#[tokio::test]
async fn declined_invitation_is_reactivated() {
    let partner = start().await;
    let id = partner.invite("FLEET-42").await;
    partner
        .catena
        .decline_invitation("FLEET-42", Some("Too dear"))
        .unwrap();
    let declined = partner.get(&format!("{INVITATIONS}/{id}")).await.json();
    assert_eq!(
        (&declined["status"], &declined["decline_reason"]),
        (&json!("declined"), &json!("Too dear"))
    );
    assert!(declined["declined_at"].is_string());
    assert_eq!(
        shape(&declined)["declined_at"],
        shape(&sample("invitation.get.response.declined"))["declined_at"]
    );
    let answer = partner.post(json!({"fleet_ref": "FLEET-42"})).await;
    let refreshed = answer.json();
    assert_eq!((answer.status, &refreshed["id"]), (200, &json!(id)));
    assert_eq!(
        (
            &refreshed["status"],
            &refreshed["declined_at"],
            &refreshed["decline_reason"]
        ),
        (&json!("active"), &Value::Null, &Value::Null)
    );
    let events = partner.received().await;
    let declined = events
        .iter()
        .find(|event| event["event_name"] == "invitation.declined")
        .unwrap();
    assert_eq!(declined["data"][0]["decline_reason"], "Too dear");
}

#[tokio::test]
async fn expired_or_deleted_invitation_is_replaced() {
    let partner = start().await;
    let first = partner.invite("FLEET-42").await;
    partner.catena.expire_invitation("FLEET-42").unwrap();
    let expired = partner.get(&format!("{INVITATIONS}/{first}")).await.json();
    assert_eq!(expired["status"], "expired");
    assert!(at(&expired["expires_at"]) <= OffsetDateTime::now_utc() + Duration::from_millis(10));
    let answer = partner.post(json!({"fleet_ref": "FLEET-42"})).await;
    assert_eq!(answer.status, 201);
    let second = answer.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(second, first);

    let path = format!("{INVITATIONS}/{second}");
    let answer = partner.call(Method::DELETE, &path, None).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(partner.get(&path).await.json()["status"], "deleted");
    partner.refused(Method::DELETE, &path, "error.404").await;
    let answer = partner.post(json!({"fleet_ref": "FLEET-42"})).await;
    assert_eq!(answer.status, 201);
    let list = partner
        .get(&format!("{INVITATIONS}?fleet_ref=FLEET-42"))
        .await
        .json();
    let statuses: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["status"])
        .collect();
    assert_eq!(statuses, ["expired", "deleted", "active"]);
    assert_eq!(
        partner.events().await,
        [
            "invitation.created",
            "invitation.created",
            "invitation.created",
            "invitation.deleted",
            "invitation.expired"
        ]
    );
}

#[tokio::test]
async fn fleets_answer_over_the_hidden_endpoints_too() {
    let partner = start().await;
    let id = partner.invite("FLEET-42").await;
    let decline = json!({"decline_reason": "Later"});
    let path = format!("{INVITATIONS}/{id}/decline");
    let answer = partner.call(Method::POST, &path, Some(decline)).await;
    assert_eq!(
        (answer.status, &answer.json()["decline_reason"]),
        (200, &json!("Later"))
    );
    assert_eq!(partner.call(Method::POST, &path, None).await.status, 409);
    partner.invite("FLEET-42").await;
    let path = format!("{INVITATIONS}/{id}/accept");
    let answer = partner.call(Method::POST, &path, None).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("accepted"))
    );
    assert_eq!(partner.call(Method::POST, &path, None).await.status, 409);
}

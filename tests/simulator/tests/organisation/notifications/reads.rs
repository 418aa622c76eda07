//! Lists and single subscriptions.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{ApiFault, ApiFaultKind, RateLimit};
use uuid::Uuid;

use super::{URL, bare, each, id};
use crate::partner::{WEBHOOKS, encoded, sample, shape};

#[tokio::test]
async fn reads_are_masked_as_in_the_samples() {
    let partner = bare().await;
    let id = partner.subscribed("invitation.accepted", URL).await;
    let read = partner.about(id, "").await;
    let expected = sample("webhook.get.response.200");
    assert_eq!(shape(&read), shape(&expected));
    for name in ["url", "filters", "secret", "status", "event_name"] {
        assert_eq!(read[name], expected[name], "{name}");
    }
    let list = partner.get(WEBHOOKS).await.json();
    assert_eq!(shape(&list), shape(&sample("webhooks.list.response.200")));
    assert_eq!(list["items"], json!([read]));
    let local = partner
        .subscribed("invitation.accepted", "http://127.0.0.1:9000/a/b?c=d")
        .await;
    assert_eq!(
        partner.about(local, "").await["url"],
        "http://127.0.0.1:9000/*****"
    );
}

#[tokio::test]
async fn what_was_made_can_be_made_what_it_was() {
    let partner = bare().await;
    let id = partner.subscribed("invitation.accepted", URL).await;
    partner.act(id, "pause").await;
    let before = partner.catena.subscriptions();
    let read = partner.about(id, "").await;
    partner.act(id, "activate").await;
    partner.subscribed("invitation.declined", URL).await;
    partner.catena.restore_subscriptions(&before).unwrap();
    assert_eq!(partner.catena.subscriptions(), before);
    let restored = partner.about(id, "").await;
    assert_eq!(restored["status"], "paused");
    assert_eq!(restored["created_at"], read["created_at"]);
    partner.catena.restore_subscriptions(&[]).unwrap();
    let list = partner.get(WEBHOOKS).await.json();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn lists_have_filters_and_pages() {
    let partner = bare().await;
    let created = partner
        .subscribe(json!({"event_name": "webhook.*", "url": URL}))
        .await;
    let ids: Vec<_> = created.json().as_array().unwrap().iter().map(id).collect();
    partner.act(ids[1], "pause").await;
    partner.catena.make_subscription_stale(ids[2]).unwrap();
    partner
        .call(Method::DELETE, &format!("{WEBHOOKS}/{}", ids[3]), None)
        .await;
    let names = async |query: &str| {
        let page = partner.get(&format!("{WEBHOOKS}{query}")).await.json();
        each(&page, "event_name")
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("?event_name=webhook.updated").await,
        ["webhook.updated"]
    );
    assert_eq!(
        names("?event_name=webhook.updated&status=active").await,
        [""; 0]
    );
    assert_eq!(names("?event_name=webhook.*").await, [""; 0]);
    assert_eq!(names("?status=paused").await, ["webhook.updated"]);
    assert_eq!(names("?status=stale").await, ["webhook.deleted"]);
    assert_eq!(names("?status=deleted").await, [""; 0]);
    let all = [
        "webhook.created",
        "webhook.updated",
        "webhook.deleted",
        "webhook.activated",
        "webhook.paused",
    ];
    assert_eq!(names("").await, all);
    let refused = partner.get(&format!("{WEBHOOKS}?status=inactive")).await;
    assert_eq!(refused.json()["detail"][0]["path"], "query.status");

    let (mut cursor, mut found) = (String::new(), Vec::new());
    loop {
        let path = format!("{WEBHOOKS}?size=2&cursor={}", encoded(&cursor));
        let page = partner.get(&path).await.json();
        assert_eq!(page.get("total"), None);
        found.extend(each(&page, "event_name").into_iter().map(str::to_owned));
        match page["next_page"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(found, all);
    assert_eq!(
        partner.get(&format!("{WEBHOOKS}?size=1001")).await.status,
        422
    );
}

#[tokio::test]
async fn unknown_and_deleted_subscriptions_are_not_found() {
    let partner = bare().await;
    let deleted = partner.subscribed("tsp.created", URL).await;
    let path = format!("{WEBHOOKS}/{deleted}");
    let answer = partner.call(Method::DELETE, &path, None).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for id in [deleted, Uuid::nil()] {
        for (method, what) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::GET, "/metrics"),
            (Method::GET, "/logs"),
            (Method::POST, "/activate"),
            (Method::POST, "/pause"),
            (Method::POST, "/replay"),
        ] {
            partner
                .refused(method, &format!("{WEBHOOKS}/{id}{what}"), "error.404")
                .await;
        }
        let update = partner
            .call(Method::PATCH, &format!("{WEBHOOKS}/{id}"), Some(json!({})))
            .await;
        assert_eq!(update.status, 404);
    }
    partner.refused(Method::PUT, &path, "error.405").await;
    assert_eq!(partner.get(&format!("{WEBHOOKS}/me")).await.status, 422);
    assert_eq!(
        partner.catena.subscriptions().len(),
        1,
        "the truth still has it"
    );
    let again = partner
        .subscribe(json!({"event_name": "tsp.created", "url": URL}))
        .await;
    assert_eq!(again.status, 200, "a deleted one is no duplicate");
}

#[tokio::test]
async fn faults_limits_and_the_log_of_calls_hold_here_too() {
    let partner = bare().await;
    let id = partner.subscribed("tsp.created", URL).await;
    partner.catena.clear_api_calls();
    let fault = ApiFault::new(ApiFaultKind::Status { status: 503 });
    partner
        .catena
        .add_api_fault(fault.on("POST", "/v2/notifications/webhooks/{id}/replay"));
    assert_eq!(partner.about(id, "").await["status"], "active");
    assert_eq!(partner.act(id, "replay").await.status, 503);
    let calls = partner.catena.api_calls();
    let paths: Vec<_> = calls
        .iter()
        .map(|call| (call.path.as_str(), call.status))
        .collect();
    let template = "/v2/notifications/webhooks/{id}";
    assert_eq!(
        paths,
        [
            (template, Some(200)),
            (&format!("{template}/replay"), Some(503))
        ]
    );
    let window = std::time::Duration::from_secs(60);
    partner
        .catena
        .set_rate_limit(Some(RateLimit { calls: 0, window }));
    let answer = partner.get(WEBHOOKS).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (429, &Value::from(429))
    );
}

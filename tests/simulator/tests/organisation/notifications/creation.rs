//! `POST /v2/notifications/webhooks`.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};
use simulator::{Filters, SubscriptionRules, WildcardDuplicate};

use super::{SECRET, URL, bare, each};
use crate::partner::{at, sample, shape, start};

#[tokio::test]
async fn created_subscription_has_the_form_of_the_sample() {
    let partner = bare().await;
    let answer = partner
        .subscribe(sample("webhook.create.request"))
        .await
        .json();
    let expected = sample("webhook.create.response.200");
    assert_eq!(shape(&answer), shape(&expected));
    for name in [
        "url",
        "filters",
        "secret",
        "deleted_at",
        "partner_id",
        "status",
        "event_name",
    ] {
        assert_eq!(answer[name], expected[name], "{name}");
    }
    assert_eq!(answer["created_at"], answer["updated_at"]);
    at(&answer["created_at"]);
    let [truth] = &partner.catena.subscriptions()[..] else {
        panic!("one subscription")
    };
    assert_eq!((truth.url.as_str(), truth.secret.as_str()), (URL, SECRET));
}

#[tokio::test]
async fn catch_all_becomes_one_subscription_per_action() {
    let partner = bare().await;
    let answer = partner
        .subscribe(sample("webhook.create.request.wildcard"))
        .await
        .json();
    let expected = sample("webhook.create.response.200-wildcard");
    assert_eq!(shape(&answer), shape(&expected));
    assert_eq!(each(&answer, "event_name"), each(&expected, "event_name"));
    let ids: HashSet<_> = each(&answer, "id").into_iter().collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(partner.catena.subscriptions().len(), 7);

    let one_action = json!({"event_name": "fleet_connection.*", "url": URL});
    let answer = partner.subscribe(one_action).await.json();
    assert_eq!(each(&answer, "event_name"), ["fleet_connection.created"]);

    let filtered = partner
        .subscribe(sample("webhook.create.request.filtered"))
        .await
        .json();
    let filters = json!({"fleet_ids": null, "fleet_refs": ["FLEET-42"]});
    for created in filtered.as_array().unwrap() {
        assert_eq!(created["filters"], filters);
    }
    assert_eq!(filtered.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn secret_is_generated_if_none_is_given() {
    let partner = bare().await;
    for secret in [json!({}), json!({"secret": null})] {
        let mut asked = json!({"event_name": "connection.*", "url": URL});
        asked["url"] = format!("{URL}/{}", secret.get("secret").is_some()).into();
        if let Some(secret) = secret.get("secret") {
            asked["secret"] = secret.clone();
        }
        let answer = partner.subscribe(asked).await.json();
        let secrets: HashSet<_> = each(&answer, "secret").into_iter().collect();
        assert_eq!(secrets.len(), 2, "each its own");
        assert!(secrets.iter().all(|secret| secret.len() == 16));
    }
}

#[tokio::test]
async fn every_broken_rule_is_named() {
    let partner = bare().await;
    let good = json!({"event_name": "invitation.created", "url": URL});
    for (name, value, path, error_type) in [
        (
            "event_name",
            json!("invitation.opened"),
            "body.event_name",
            "enum",
        ),
        (
            "event_name",
            json!("execution.*"),
            "body.event_name",
            "enum",
        ),
        ("event_name", json!("schedule.*"), "body.event_name", "enum"),
        ("event_name", json!("tsp.*"), "body.event_name", "enum"),
        ("event_name", json!("*"), "body.event_name", "enum"),
        ("event_name", json!(""), "body.event_name", "enum"),
        ("event_name", json!(7), "body.event_name", "string_type"),
        ("event_name", Value::Null, "body.event_name", "string_type"),
        ("url", Value::Null, "body.url", "string_type"),
        ("url", json!("hooks.example.com"), "body.url", "url_parsing"),
        (
            "url",
            json!("ftp://hooks.example.com"),
            "body.url",
            "url_parsing",
        ),
        (
            "secret",
            json!("11 letters."),
            "body.secret",
            "string_too_short",
        ),
        ("secret", json!(12), "body.secret", "string_type"),
        (
            "filters",
            json!([]),
            "body.filters",
            "model_attributes_type",
        ),
        (
            "filters",
            json!({"fleet_refs": "A"}),
            "body.filters.fleet_refs",
            "list_type",
        ),
        (
            "filters",
            json!({"fleet_ids": ["A"]}),
            "body.filters.fleet_ids.0",
            "uuid_parsing",
        ),
    ] {
        let mut asked = good.clone();
        asked[name] = value.clone();
        let answer = partner.subscribe(asked).await;
        let detail = &answer.json()["detail"];
        assert_eq!(answer.status, 422, "{name}: {value}");
        assert_eq!(detail.as_array().unwrap().len(), 1, "{detail}");
        assert_eq!(detail[0]["path"], path);
        assert_eq!(detail[0]["error_type"], error_type, "{name}: {value}");
    }
    let nothing = partner.subscribe(json!({})).await.json();
    assert_eq!(each(&nothing["detail"], "error_type"), ["missing"; 2]);
    assert!(partner.catena.subscriptions().is_empty());
    let exactly = json!({"event_name": "tsp.requested", "url": URL, "secret": "twelve chars"});
    assert_eq!(partner.subscribe(exactly).await.status, 200);
}

#[tokio::test]
async fn event_url_and_filters_are_taken_once() {
    let partner = bare().await;
    let asked =
        |filters: Value| json!({"event_name": "connection.staled", "url": URL, "filters": filters});
    let both = json!({"fleet_refs": ["B", "A"]});
    assert_eq!(partner.subscribe(asked(both)).await.status, 200);
    let turned = json!({"fleet_refs": ["A", "B", "A"], "fleet_ids": null});
    let refused = partner.subscribe(asked(turned)).await;
    assert_eq!((refused.status, refused.json()), (409, sample("error.409")));
    for (filters, status) in [
        (json!({"fleet_refs": ["A"]}), 200),
        (json!(null), 200),
        (json!({}), 409),
        (json!({"fleet_refs": [], "fleet_ids": []}), 409),
    ] {
        let answer = partner.subscribe(asked(filters.clone())).await;
        assert_eq!(answer.status, status, "{filters}");
    }
    let mut elsewhere = asked(json!(null));
    elsewhere["url"] = "https://hooks.example.com/other".into();
    assert_eq!(partner.subscribe(elsewhere).await.status, 200);
}

#[tokio::test]
async fn catch_all_is_refused_or_completed_if_some_exist() {
    let partner = bare().await;
    partner.subscribed("connection.staled", URL).await;
    let all = json!({"event_name": "connection.*", "url": URL});
    assert_eq!(partner.subscribe(all.clone()).await.status, 409);
    assert_eq!(
        partner.catena.subscriptions().len(),
        1,
        "nothing is created"
    );
    partner.catena.set_subscription_rules(SubscriptionRules {
        wildcard_duplicate: WildcardDuplicate::CreateMissing,
        ..SubscriptionRules::default()
    });
    let answer = partner.subscribe(all.clone()).await.json();
    assert_eq!(each(&answer, "event_name"), ["connection.created"]);
    assert_eq!(partner.subscribe(all).await.status, 409, "none is missing");
    let one = json!({"event_name": "connection.created", "url": URL});
    assert_eq!(partner.subscribe(one).await.status, 409);
}

#[tokio::test]
async fn events_and_plain_http_can_be_refused() {
    let partner = bare().await;
    let refused = [
        "tsp.requested",
        "connection.staled",
        "fleet_connection.created",
    ];
    partner.catena.set_subscription_rules(SubscriptionRules {
        refused_events: refused
            .map(str::to_owned)
            .into_iter()
            .collect::<BTreeSet<_>>(),
        https_only: true,
        ..SubscriptionRules::default()
    });
    for name in ["tsp.requested", "connection.staled", "fleet_connection.*"] {
        let answer = partner
            .subscribe(json!({"event_name": name, "url": URL}))
            .await;
        assert_eq!(answer.status, 422, "{name}");
    }
    let answer = partner
        .subscribe(json!({"event_name": "connection.*", "url": URL}))
        .await;
    assert_eq!(each(&answer.json(), "event_name"), ["connection.created"]);
    let plain = json!({"event_name": "tsp.created", "url": "http://hooks.example.com/"});
    let answer = partner.subscribe(plain).await;
    assert_eq!(answer.json()["detail"][0]["error_type"], "url_scheme");
}

#[tokio::test]
async fn callback_url_makes_subscriptions_that_nobody_has_the_secret_of() {
    let partner = start().await;
    let callback = "https://hooks.example.com/callback";
    let invitation = json!({"fleet_ref": "FLEET-42", "callback_url": callback});
    assert_eq!(partner.post(invitation.clone()).await.status, 201);
    assert_eq!(partner.post(invitation).await.status, 200);
    partner.invite("FLEET-43").await;
    let truths = partner.catena.subscriptions();
    let names: Vec<_> = truths.iter().map(|it| it.event_name.as_str()).collect();
    assert_eq!(names.len(), 13, "{names:?}");
    for expected in [
        "invitation.accepted",
        "share_agreement.created",
        "connection.staled",
        "fleet_connection.created",
    ] {
        assert!(names.contains(&expected), "{expected}");
    }
    for truth in truths {
        assert_eq!(truth.url, callback);
        assert_eq!(truth.filters, Filters::of_fleet("FLEET-42"));
        assert!(truth.secret.len() >= 12);
    }
    assert_eq!(
        partner.events().await,
        ["invitation.created"; 3],
        "no webhook.created"
    );
}

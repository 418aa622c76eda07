//! Reading resource operations.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{ApiFault, ApiFaultKind, OperationRule};
use uuid::Uuid;

use super::{MESSAGES, OPERATIONS, connected, message};
use crate::partner::{CONNECTIONS, Partner, at, encoded, sample, shape};

impl Partner {
    /// The message texts of a list.
    async fn texts(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("{OPERATIONS}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {:?}", answer.json());
        texts(&answer.json())
    }
}

fn texts(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    let text = |item: &Value| item["payload"]["message_text"].as_str().unwrap().to_owned();
    items.map(text).collect()
}

#[tokio::test]
async fn operations_are_found_at_their_connection() {
    let (mut partner, connection_id) = connected().await;
    let other = partner.connect("FLEET-43").await;
    let id = partner.message(connection_id, "Hello").await["id"].clone();
    assert_eq!(partner.operation(connection_id, &id).await.status, 200);
    let nobody = json!(Uuid::nil());
    for (connection_id, id) in [(other, &id), (connection_id, &nobody), (Uuid::nil(), &id)] {
        let answer = partner.operation(connection_id, id).await;
        assert_eq!((answer.status, answer.json()), (404, sample("error.404")));
    }
    for (path, complaint) in [
        (
            format!("{connection_id}/resource-operations/1"),
            "path.resource_operation_id",
        ),
        (
            format!("1/resource-operations/{}", Uuid::nil()),
            "path.connection_id",
        ),
    ] {
        let answer = partner.get(&format!("{CONNECTIONS}/{path}")).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["detail"][0]["path"], complaint);
    }
    let path = format!(
        "{CONNECTIONS}/{connection_id}/resource-operations/{}",
        id.as_str().unwrap()
    );
    partner.refused(Method::POST, &path, "error.405").await;
    partner
        .refused(Method::DELETE, OPERATIONS, "error.405")
        .await;
    let connection = partner.get(&format!("{CONNECTIONS}/{connection_id}")).await;
    assert_eq!(connection.json()["fleet_ref"], "FLEET-42", "its own path");
    for (permission, status) in [("connection:read", 403), ("resource_operation:read", 200)] {
        partner.token = partner.catena.issue_token(&[permission]);
        assert_eq!(partner.get(&path).await.status, status);
        assert_eq!(partner.get(OPERATIONS).await.status, status);
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let (partner, first) = connected().await;
    let second = partner.connect("FLEET-43").await;
    let third = partner.connect("FLEET-44").await;
    for (connection_id, text) in [(first, "1"), (second, "2"), (third, "3")] {
        partner.message(connection_id, text).await;
    }
    let mut vehicle = message(first, "4");
    vehicle["vin"] = json!("1FUJGLDR9CSBM1234");
    let path = format!("/v2/telematics/vehicles/{}", Uuid::from_u128(7));
    let answer = partner.call(Method::PATCH, &path, Some(vehicle)).await;
    assert_eq!(answer.status, 202);
    partner.catena.idle().await;
    let done = partner.get(OPERATIONS).await.json();
    assert_eq!(texts(&done), ["1", "2", "3", "4"], "oldest first");
    let field = |place: usize, name: &str| {
        let value = done["items"][place][name].as_str().unwrap();
        value.to_owned()
    };
    let time = |place: usize| field(place, "created_at");
    let source_id = field(1, "source_id");
    for (query, expected) in [
        ("resource=message".to_owned(), &["1", "2", "3"][..]),
        ("resource=vehicle".to_owned(), &["4"]),
        ("resource=unheard_of".to_owned(), &[]),
        (format!("connection_id={second}"), &["2"]),
        (format!("connection_id={first}&resource=vehicle"), &["4"]),
        (format!("connection_id={}", Uuid::nil()), &[]),
        ("source_name=samsara".to_owned(), &["1", "2", "3", "4"]),
        ("source_name=geotab".to_owned(), &[]),
        ("fleet_refs=FLEET-42".to_owned(), &["1", "4"]),
        (
            "fleet_refs=FLEET-44&fleet_refs=FLEET-43".to_owned(),
            &["2", "3"],
        ),
        ("fleet_refs=nobody".to_owned(), &[]),
        ("operation=create".to_owned(), &["1", "2", "3"]),
        ("operation=update".to_owned(), &["4"]),
        (format!("resource=message&source_id={source_id}"), &["2"]),
        (format!("resource=vehicle&source_id={source_id}"), &[]),
        (format!("from_datetime={}", time(1)), &["2", "3", "4"]),
        (format!("to_datetime={}", time(1)), &["1", "2"]),
        (
            format!("from_datetime={0}&to_datetime={0}", time(2)),
            &["3"],
        ),
        (
            format!("from_datetime={}&to_datetime={}", time(2), time(1)),
            &[],
        ),
        ("to_datetime=2026-01-02T03:04:05Z".to_owned(), &[]),
        ("size=2".to_owned(), &["1", "2"]),
    ] {
        assert_eq!(partner.texts(&query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn filters_that_break_rules_are_named() {
    let (partner, _) = connected().await;
    let many = "fleet_refs=X&".repeat(101);
    for (query, complaint) in [
        ("connection_id=1", "query.connection_id"),
        ("operation=delete", "query.operation"),
        ("source_id=1", "query.source_id"),
        ("from_datetime=yesterday", "query.from_datetime"),
        ("to_datetime=1", "query.to_datetime"),
        (
            "from_datetime=2026-01-01T00:00:00Z&to_datetime=2026-02-15T00:00:01Z",
            "query.from_datetime",
        ),
        ("from_datetime=2020-01-01T00:00:00Z", "query.from_datetime"),
        (many.as_str(), "query.fleet_refs"),
        ("size=1001", "query.size"),
        ("cursor=x", "query.cursor"),
    ] {
        let answer = partner.get(&format!("{OPERATIONS}?{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
        let refusal = answer.json();
        assert_eq!(shape(&refusal), shape(&sample("error.422")));
        assert_eq!(refusal["detail"][0]["path"], complaint);
    }
    for fine in [
        "fleet_refs=X&".repeat(100),
        "source_id=1&resource=user".to_owned(),
        "from_datetime=2026-01-01T00:00:00Z&to_datetime=2026-02-15T00:00:00Z".to_owned(),
    ] {
        assert!(partner.texts(&fine).await.is_empty());
    }
}

#[tokio::test]
async fn operations_can_be_late_in_lists_and_by_their_ids() {
    let (partner, connection_id) = connected().await;
    let hour = Duration::from_hours(1);
    partner.catena.set_operation_list_lag(hour);
    let accepted = partner.message(connection_id, "Late").await;
    let found = async || partner.operation(connection_id, &accepted["id"]).await;
    assert!(partner.texts("").await.is_empty());
    assert_eq!(found().await.status, 200);
    partner.catena.set_operation_read_lag(hour);
    let answer = found().await;
    assert_eq!((answer.status, answer.json()), (404, sample("error.404")));
    assert_eq!(partner.catena.writes().len(), 1);

    let lag = Duration::from_millis(300);
    partner.catena.set_operation_list_lag(lag);
    while partner.texts("").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let now = time::OffsetDateTime::now_utc();
    assert!(now - at(&accepted["created_at"]) >= lag);
    assert_eq!(found().await.status, 404, "each lag by itself");
    partner.catena.set_operation_read_lag(lag);
    assert_eq!(found().await.status, 200);
}

#[tokio::test]
async fn pages_keep_their_place_while_operations_are_added() {
    let (partner, connection_id) = connected().await;
    for text in ["1", "2", "3"] {
        partner.message(connection_id, text).await;
    }
    let first = partner.get(&format!("{OPERATIONS}?size=2")).await.json();
    assert_eq!(texts(&first), ["1", "2"]);
    assert_eq!(first.get("total"), None);
    partner.message(connection_id, "4").await;
    let next = encoded(first["next_page"].as_str().unwrap());
    let path = format!("{OPERATIONS}?size=2&cursor={next}");
    let last = partner.get(&path).await.json();
    assert_eq!(texts(&last), ["3", "4"]);
    assert_eq!(last["next_page"], Value::Null);
}

#[tokio::test]
async fn ten_thousand_operations_are_written_and_listed() {
    let (partner, connection_id) = connected().await;
    partner.catena.idle().await;
    partner.catena.set_events(false);
    // Two thirds of them never end.
    let silent = OperationRule::new([]).containing("silent");
    partner.catena.add_operation_rule(silent);
    let never = ApiFault::new(ApiFaultKind::Stall).containing("nobody says this");
    partner.catena.add_api_fault(never);
    let started = Instant::now();
    let write = |number: usize| {
        let silent = if number.is_multiple_of(3) {
            ""
        } else {
            "silent"
        };
        let body = message(connection_id, &format!("{number} {silent}"));
        let partner = &partner;
        async move { partner.write(MESSAGES, body).await.status }
    };
    let statuses = stream::iter(0..10_000).map(write).buffer_unordered(16);
    let accepted = statuses.filter(|&status| async move { status == 202 });
    assert_eq!(accepted.count().await, 10_000);
    partner.catena.idle().await;

    let (mut ids, mut done, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("{OPERATIONS}?size=300{cursor}");
        let page = partner.get(&path).await.json();
        for item in page["items"].as_array().unwrap() {
            ids.push(item["id"].as_str().unwrap().to_owned());
            done += usize::from(item["status"] == "success");
        }
        match page["next_page"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encoded(next)),
            None => break,
        }
    }
    assert_eq!((ids.len(), done), (10_000, 3334));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10_000);
    let took = started.elapsed();
    assert!(took < Duration::from_mins(1), "{took:?}");
}

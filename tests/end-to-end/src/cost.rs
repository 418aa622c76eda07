//! What `cargo xtask cost` counts by, against what the local DynamoDB counts where it does so by AWS's rules: writes.

use local::aws::Aws;
use serde_json::{Value, json};

use crate::backend::{Backend, TABLE};

fn key(n: u32) -> Value {
    json!({ "pk": { "S": format!("FLEET#{n}") }, "sk": { "S": "RECORD" } })
}

fn item(n: u32, stage: &str, due: Option<u32>, bytes: usize) -> Value {
    let mut item = key(n);
    item["fleet_ref"] = json!({ "S": n.to_string() });
    item["stage"] = json!({ "S": stage });
    item["facts"] = json!({ "S": "x".repeat(bytes) });
    if let Some(due) = due {
        item["due_shard"] = json!({ "S": "1" });
        item["due_at"] = json!({ "N": due.to_string() });
    }
    item
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_cost_what_the_local_dynamodb_says() {
    let backend = Backend::start().await;
    backend.wire.meter().unwrap();
    let through = Aws::new(backend.wire.lane("counted").await.unwrap()).unwrap();
    let put = |item: Value| ("PutItem", json!({ "TableName": TABLE, "Item": item }));
    let update = |n: u32, expression: &str, value: Value| {
        let values = json!({ ":value": value });
        let update = json!({
            "TableName": TABLE, "Key": key(n), "UpdateExpression": expression,
            "ExpressionAttributeValues": values,
        });
        ("UpdateItem", update)
    };
    let delete = |n: u32| ("DeleteItem", json!({ "TableName": TABLE, "Key": key(n) }));
    let batch = json!({ "RequestItems": { TABLE: [
        { "PutRequest": { "Item": item(1, "viewed", Some(7), 3000) } },
        { "PutRequest": { "Item": item(3, "invited", None, 10) } },
        { "DeleteRequest": { "Key": key(2) } },
    ] } });
    let calls = [
        put(item(1, "invited", Some(5), 500)),
        put(item(1, "invited", Some(5), 5000)),
        put(item(1, "invited", Some(6), 500)),
        put(item(1, "viewed", None, 1500)),
        put(item(2, "invited", None, 1500)),
        update(2, "SET stage = :value", json!({ "S": "viewed" })),
        update(2, "ADD version :value", json!({ "N": "1" })),
        update(9, "ADD fleet_refs :value", json!({ "SS": ["a", "b"] })),
        ("BatchWriteItem", batch),
        delete(1),
        delete(1),
    ];
    for (action, mut input) in calls {
        backend.wire.reset();
        input["ReturnConsumedCapacity"] = json!("INDEXES");
        let answer = through.dynamodb(action, input.clone()).await.unwrap();
        let told = match &answer["ConsumedCapacity"] {
            Value::Array(tables) => tables[0]["CapacityUnits"].as_f64(),
            one => one["CapacityUnits"].as_f64(),
        };
        let units = backend.wire.units("counted");
        assert_eq!(Some(units.written() as f64), told, "{action} {input}");
        assert_eq!((units.read, units.untold.len()), (0.0, 0));
    }
}

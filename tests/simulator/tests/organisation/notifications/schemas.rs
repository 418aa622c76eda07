//! `GET /v2/notifications/schemas/{event_name}`; the documents themselves are tested beside them.

use reqwest::Method;
use serde_json::{Value, json};

use super::bare;
use crate::partner::{at, sample, shape};

const SCHEMAS: &str = "/v2/notifications/schemas";

#[tokio::test]
async fn schema_is_an_openapi_document_in_text() {
    let partner = bare().await;
    let schema = partner.get(&format!("{SCHEMAS}/tsp.created")).await.json();
    let expected = sample("event-schema.response.200");
    assert_eq!(shape(&schema), shape(&expected));
    for name in ["event_name", "version", "changelog"] {
        assert_eq!(schema[name], expected[name], "{name}");
    }
    let document: Value = serde_json::from_str(schema["openapi_schema"].as_str().unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.0.0");
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["Envelope"]["properties"]["data"]["items"]["$ref"],
        "#/components/schemas/TspRecord"
    );
    assert_eq!(
        schemas["Envelope"]["required"],
        json!(["version", "webhook_id", "data"])
    );
    assert_eq!(schemas["TspRecord"]["required"], json!(["id", "name"]));
    let first = partner
        .get(&format!("{SCHEMAS}/tsp.created/versions/1.0"))
        .await
        .json();
    assert_eq!(first, schema);
    for path in [
        "tsp.requested",
        "integration_request.created",
        "tsp.*",
        "tsp.created/versions/1.1",
    ] {
        partner
            .refused(Method::GET, &format!("{SCHEMAS}/{path}"), "error.404")
            .await;
    }
}

#[tokio::test]
async fn schema_can_become_another_one() {
    let partner = bare().await;
    let document = json!({"openapi": "3.0.0", "paths": {}});
    for (name, versions) in [
        ("tsp.created", 2),
        ("tsp.requested", 1),
        ("integration_request.created", 1),
    ] {
        partner.catena.set_event_schema(name, document.clone());
        let path = format!("{SCHEMAS}/{name}");
        let newest = partner.get(&path).await.json();
        assert_eq!(newest["version"], format!("1.{}", versions - 1));
        assert_eq!(newest["openapi_schema"], document.to_string());
        at(&newest["created_at"]);
        for version in 0..versions {
            let answer = partner.get(&format!("{path}/versions/1.{version}")).await;
            assert_eq!(answer.status, 200, "{name} 1.{version}");
        }
    }
}

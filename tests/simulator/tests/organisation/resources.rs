//! What can be read besides invitations: fleets, agreements, providers, page by page.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::FleetError;
use uuid::Uuid;

use crate::partner::{
    AGREEMENTS, FLEETS, INVITATIONS, REQUESTS, encoded, object, sample, shape, start,
};

#[tokio::test]
async fn fleets_are_those_with_an_active_agreement() {
    let partner = start().await;
    partner.post(sample("invitation.create.request")).await;
    partner.invite("FLEET-43").await;
    assert_eq!(partner.get(FLEETS).await.json()["total"], 0);
    partner.catena.accept_invitation("FLEET-42").unwrap();
    partner.catena.accept_invitation("FLEET-43").unwrap();
    let list = partner
        .get(&format!("{FLEETS}?fleet_refs=FLEET-42"))
        .await
        .json();
    assert_eq!(shape(&list), shape(&sample("fleets.list.response.200")));
    let fleet = &list["items"][0];
    assert_eq!(
        (&fleet["name"], &fleet["regulatory_id"]),
        (&json!("Acme Trucking"), &json!("1234567"))
    );
    let one = format!("{FLEETS}/{}", fleet["id"].as_str().unwrap());
    assert_eq!(&partner.get(&one).await.json(), fleet);
    let both = partner
        .get(&format!("{FLEETS}?fleet_refs=FLEET-42&fleet_refs=FLEET-43"))
        .await;
    let both = both.json();
    assert_eq!(both["total"], 2);
    let nameless = both["items"][1]["name"].as_str().unwrap();
    assert!(nameless.starts_with("Fleet "), "{nameless}");
    let many = "fleet_refs=X&".repeat(101);
    assert_eq!(partner.get(&format!("{FLEETS}?{many}")).await.status, 422);

    let agreement = partner.agreement("FLEET-42").await;
    let pause = format!("{AGREEMENTS}/{}/pause", agreement["id"].as_str().unwrap());
    partner.call(Method::POST, &pause, None).await;
    partner.refused(Method::GET, &one, "error.404").await;
    assert_eq!(partner.get(FLEETS).await.json()["total"], 1);
}

#[tokio::test]
async fn agreements_are_listed_changed_and_deleted() {
    let partner = start().await;
    partner.post(sample("invitation.create.request")).await;
    partner.invite("FLEET-43").await;
    partner.catena.accept_invitation("FLEET-42").unwrap();
    partner.catena.accept_invitation("FLEET-43").unwrap();
    let list = partner
        .get(&format!("{AGREEMENTS}?fleet_ref=FLEET-42"))
        .await
        .json();
    assert_eq!(
        shape(&list),
        shape(&sample("share-agreements.list.response.200"))
    );
    let agreement = list["items"][0].clone();
    let id = agreement["id"].as_str().unwrap();
    let path = format!("{AGREEMENTS}/{id}");
    assert_eq!(partner.get(&path).await.json(), agreement);
    let fleet = agreement["fleet_id"].as_str().unwrap();
    let of_fleet = partner
        .get(&format!("{AGREEMENTS}?fleet_id={fleet}"))
        .await
        .json();
    assert_eq!(of_fleet["items"], json!([agreement]));

    let dates = json!({"expiration_date": "2031-01-02T03:04:05Z"});
    let changed = partner.call(Method::PATCH, &path, Some(dates)).await;
    assert_eq!(
        (changed.status, &changed.json()["expiration_date"]),
        (200, &json!("2031-01-02T03:04:05.000000Z"))
    );
    let wrong = partner
        .call(
            Method::PATCH,
            &path,
            Some(json!({"effective_date": "soon"})),
        )
        .await;
    assert_eq!(
        (wrong.status, &wrong.json()["detail"][0]["path"]),
        (422, &json!("body.effective_date"))
    );

    for (action, status) in [
        ("pause", "paused"),
        ("activate", "active"),
        ("cancel", "cancelled"),
    ] {
        let answer = partner
            .call(Method::POST, &format!("{path}/{action}"), None)
            .await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!(status))
        );
    }
    assert_eq!(
        partner
            .call(Method::POST, &format!("{path}/activate"), None)
            .await
            .status,
        409
    );
    let cancelled = partner
        .get(&format!("{AGREEMENTS}?share_agreement_status=cancelled"))
        .await;
    assert_eq!(cancelled.json()["total"], 1);
    let unheard = partner
        .get(&format!("{AGREEMENTS}?share_agreement_status=odd"))
        .await;
    assert_eq!(unheard.status, 422);
    assert_eq!(partner.call(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(partner.call(Method::DELETE, &path, None).await.status, 404);
    assert_eq!(partner.get(&path).await.json()["status"], "deleted");
    let events = partner.events().await;
    let count = |name: &str| events.iter().filter(|&event| event == name).count();
    assert_eq!(
        (
            count("share_agreement.updated"),
            count("share_agreement.deleted")
        ),
        (4, 1)
    );
}

#[tokio::test]
async fn providers_and_integration_requests_are_plain_arrays() {
    let partner = start().await;
    let tsps = partner.get("/v2/orgs/tsps").await.json();
    let tsps = tsps.as_array().unwrap();
    assert!(tsps.len() >= 3);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<HashSet<_>>()
    };
    assert!(
        tsps.iter()
            .all(|tsp| keys(tsp) == keys(&sample("tsp.get.response.integration-live")))
    );
    let nomad = partner.get("/v2/orgs/tsps?slug=nomad-eld").await.json();
    assert_eq!(nomad.as_array().unwrap().len(), 1);
    assert_eq!(
        partner
            .get("/v2/orgs/tsps?source_name=hos247")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let one = format!("/v2/orgs/tsps/{}", nomad[0]["id"].as_str().unwrap());
    assert_eq!(partner.get(&one).await.json(), nomad[0]);
    partner
        .refused(
            Method::GET,
            &format!("/v2/orgs/tsps/{}", Uuid::nil()),
            "error.404",
        )
        .await;
    let external = partner.get("/v2/orgs/external-tsps?q=NOMAD").await.json();
    assert_eq!(external.as_array().unwrap().len(), 1);
    assert_eq!(nomad[0]["ext_tsp_id"], external[0]["id"]);

    assert_eq!(partner.get(REQUESTS).await.json(), json!([]));
    let put = |fields: Value| partner.catena.put_integration_request(object(fields));
    assert_eq!(
        put(json!({"fleet_ref": "FLEET-42"})),
        Err(FleetError::Unknown("FLEET-42".to_owned()))
    );
    partner.invite("FLEET-42").await;
    put(json!({"fleet_ref": "FLEET-42", "fleet_contact_name": "Dana Ruiz"})).unwrap();
    put(json!({"id": "another", "fleet_ref": "FLEET-43"})).unwrap();
    let path = format!("{REQUESTS}?fleet_ref=FLEET-42");
    let pending = partner.get(&path).await.json();
    assert_eq!(
        shape(&pending),
        shape(&sample("integration-requests.list.response.pending"))
    );
    let prairie = partner.get("/v2/orgs/external-tsps?q=prairie").await.json();
    assert_eq!(pending[0]["ext_tsp_id"], prairie[0]["id"]);
    assert_eq!(pending[0]["integrated_tsp_ids"], json!([]));
    assert!(tsps.iter().all(|it| it["ext_tsp_id"] != prairie[0]["id"]));
    put(json!({"fleet_ref": "FLEET-42", "integrated_tsp_ids": [nomad[0]["id"]]})).unwrap();
    let live = partner.get(&path).await.json();
    assert_eq!(
        shape(&live),
        shape(&sample("integration-requests.list.response.live"))
    );
    assert_eq!(
        (&live[0]["id"], live.as_array().unwrap().len()),
        (&pending[0]["id"], 1)
    );
    assert_eq!(
        partner.get(REQUESTS).await.json().as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn pages_lead_to_the_end() {
    let partner = start().await;
    partner.catena.set_events(false);
    for number in 0..25 {
        partner.invite(&format!("FLEET-{number}")).await;
    }
    for size in [1, 7, 25, 1000] {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let cursor_part = match &cursor {
                Some(cursor) => format!("&cursor={}", encoded(cursor)),
                None => String::new(),
            };
            let page = partner
                .get(&format!("{INVITATIONS}?size={size}{cursor_part}"))
                .await
                .json();
            let items = page["items"].as_array().unwrap();
            assert!(!items.is_empty() && items.len() <= size);
            assert_eq!(page["total"], 25);
            found.extend(
                items
                    .iter()
                    .map(|item| item["fleet_ref"].as_str().unwrap().to_owned()),
            );
            match page["next_page"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        let all: Vec<_> = (0..25).map(|number| format!("FLEET-{number}")).collect();
        assert_eq!(found, all, "size {size}");
    }
    for wrong in ["size=0", "size=1001", "size=many", "cursor=nonsense"] {
        let answer = partner.get(&format!("{INVITATIONS}?{wrong}")).await;
        assert_eq!(answer.status, 422);
        let path = format!("query.{}", wrong.split('=').next().unwrap());
        assert_eq!(answer.json()["detail"][0]["path"], path);
    }
}

//! Writes, and the resource operations that come of them.

mod control;
mod faults;
mod reads;
mod steps;
mod writes;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Level, OperationStatus, Scenario};
use uuid::Uuid;

use crate::partner::{Answer, CONNECTIONS, Partner, event_sample, object, sample, shape, start};

const MESSAGES: &str = "/v2/telematics/messages";
const OPERATIONS: &str = "/v2/integrations/connections/resource-operations";

/// A partner that may write everything of one fleet, and the fleet's connection.
async fn connected() -> (Partner, Uuid) {
    let partner = start().await;
    partner.catena.set_default_permissions(Level::ReadWrite);
    let connection_id = partner.connect("FLEET-42").await;
    (partner, connection_id)
}

impl Partner {
    /// A fleet that went all the way; its connection.
    async fn connect(&self, fleet_ref: &str) -> Uuid {
        self.invite(fleet_ref).await;
        self.onboard(fleet_ref).await
    }

    /// The same of one that is invited.
    async fn onboard(&self, fleet_ref: &str) -> Uuid {
        self.catena.run(&Scenario::invited([fleet_ref])).await;
        let fleet = self.catena.invitation(fleet_ref).unwrap().fleet;
        fleet.connection_id
    }

    async fn write(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The operation that a message comes to be.
    async fn message(&self, connection_id: Uuid, text: &str) -> Value {
        let answer = self.write(MESSAGES, message(connection_id, text)).await;
        assert_eq!(answer.status, 202);
        answer.json()
    }

    async fn operation(&self, connection_id: Uuid, id: &Value) -> Answer {
        let id = id.as_str().unwrap();
        let path = format!("{CONNECTIONS}/{connection_id}/resource-operations/{id}");
        self.get(&path).await
    }

    /// The records of an operation's events, in the order in which they were dispatched, with their names' last parts.
    async fn told(&self, id: &Value) -> Vec<(String, Value)> {
        let mut events = self.received().await;
        // Stable: an event that came twice has one id.
        events.sort_by_key(|event| event["id"].to_string());
        let its = events
            .into_iter()
            .filter(|event| event["data"][0]["id"] == *id);
        let told = its.map(|event| {
            let name = event["event_name"].as_str().unwrap();
            let name = name.strip_prefix("resource_operation.").unwrap().to_owned();
            (name, event["data"][0].clone())
        });
        told.collect()
    }
}

/// The names' last parts.
fn names(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.as_str()).collect()
}

fn message(connection_id: Uuid, text: &str) -> Value {
    let mut message = sample("message.create.request");
    message["connection_id"] = json!(connection_id);
    message["message_text"] = json!(text);
    message
}

#[tokio::test]
async fn a_message_is_accepted_at_once_and_succeeds_later() {
    let (partner, connection_id) = connected().await;
    let accepted = partner.message(connection_id, "Hello").await;
    assert_eq!(
        shape(&accepted),
        shape(&sample("message.create.response.202-newer"))
    );
    let id = &accepted["id"];
    let pending = partner.operation(connection_id, id).await.json();
    assert_eq!(
        shape(&pending),
        shape(&sample("resource-operation.get.response.pending"))
    );
    let mut without = object(accepted.clone());
    without.remove("deleted_at");
    assert_eq!(pending, Value::from(without));

    let told = partner.told(id).await;
    assert_eq!(names(&told), ["created", "succeeded"]);
    assert_eq!(told[0].1, pending);
    let done = partner.operation(connection_id, id).await.json();
    assert_eq!(told[1].1, done);
    assert_eq!(
        shape(&done),
        shape(&sample("resource-operation.get.response.success"))
    );
    let event = event_sample("resource_operation.succeeded");
    assert_eq!(shape(&done), shape(&event["data"][0]));
    assert_eq!(
        (&done["status"], &done["logs"]),
        (&json!("success"), &json!([]))
    );
    let list = partner.get(OPERATIONS).await.json();
    assert_eq!(list["items"], json!([done]));
    assert_eq!(
        shape(&list),
        shape(&sample("resource-operations.list.response.200"))
    );

    let [write] = &partner.catena.writes()[..] else {
        panic!("one write")
    };
    assert_eq!(json!(write.operation_id), *id);
    assert_eq!(write.sent, message(connection_id, "Hello"));
    assert_eq!(write.status, OperationStatus::Success);
    assert!(write.accepted);
}

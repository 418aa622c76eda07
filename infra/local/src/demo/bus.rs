//! What the stack's event bus tells a partner's platform: a rule of the demo's sends it to a queue.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use local::Stack;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A queue that gets what the bus tells of some fleets.
#[derive(Debug)]
pub(super) struct Subscriber<'a> {
    stack: &'a Stack,
    queue_url: String,
    seen: BTreeSet<String>,
    events: Vec<DomainEvent>,
}

/// Something that the bus told.
#[derive(Clone, Debug)]
pub(super) struct DomainEvent {
    /// Its `detail-type`.
    pub(super) name: String,
    /// When the record was written that shows it.
    pub(super) occurred_at: OffsetDateTime,
    /// What it says.
    pub(super) detail: Value,
}

impl<'a> Subscriber<'a> {
    /// Makes a queue of this name, and a rule of the same as a partner would write it.
    pub(super) async fn start(stack: &'a Stack, name: &str, fleets: &[&str]) -> Result<Self> {
        let aws = &stack.aws;
        let bus = stack.deployment.output("EventBusName")?;
        let made = aws.sqs("CreateQueue", json!({ "QueueName": name }));
        let made = made.await?;
        let queue_url = made["QueueUrl"].as_str();
        let queue_url = queue_url.with_context(|| format!("no queue: {made}"))?;
        let ask = json!({ "QueueUrl": queue_url, "AttributeNames": ["QueueArn"] });
        let found = aws.sqs("GetQueueAttributes", ask).await?;
        let pattern = json!({ "source": ["kingpin"], "detail": { "fleet_ref": fleets } });
        let rule =
            json!({ "Name": name, "EventBusName": bus, "EventPattern": pattern.to_string() });
        aws.event_bridge("PutRule", rule).await?;
        let target = json!({ "Id": "queue", "Arn": found["Attributes"]["QueueArn"] });
        let targets = json!({ "Rule": name, "EventBusName": bus, "Targets": [target] });
        aws.event_bridge("PutTargets", targets).await?;
        Ok(Self {
            stack,
            queue_url: queue_url.to_owned(),
            seen: BTreeSet::new(),
            events: Vec::new(),
        })
    }

    /// Takes what came since the last time. Events come at least once: what came before is left out.
    pub(super) async fn receive(&mut self) -> Result<()> {
        let aws = &self.stack.aws;
        loop {
            let receive = json!({ "QueueUrl": self.queue_url, "MaxNumberOfMessages": 10 });
            let received = aws.sqs("ReceiveMessage", receive).await?;
            let messages = received["Messages"].as_array();
            let Some(messages) = messages.filter(|messages| !messages.is_empty()) else {
                return Ok(());
            };
            for message in messages {
                let event = DomainEvent::read(message["Body"].as_str().unwrap_or_default())?;
                let id = event.detail["id"].as_str().unwrap_or_default();
                if self.seen.insert(id.to_owned()) {
                    self.events.push(event);
                }
                let handle = &message["ReceiptHandle"];
                let delete = json!({ "QueueUrl": self.queue_url, "ReceiptHandle": handle });
                aws.sqs("DeleteMessage", delete).await?;
            }
        }
    }

    /// What came about a fleet, in the order of its record's versions.
    pub(super) fn told(&self, fleet: &str) -> Vec<DomainEvent> {
        let events = self.events.iter();
        let events = events.filter(|event| event.detail["fleet_ref"] == fleet);
        let mut events: Vec<DomainEvent> = events.cloned().collect();
        events.sort_by_key(|event| event.detail["version"].as_u64());
        events
    }
}

impl DomainEvent {
    /// Reads a message's body.
    pub(super) fn read(text: &str) -> Result<Self> {
        let event: Value = serde_json::from_str(text).context("an event is no JSON")?;
        let name = event["detail-type"].as_str().unwrap_or("?").to_owned();
        let detail = event["detail"].clone();
        Ok(Self {
            occurred_at: moment(&detail["occurred_at"])?,
            name,
            detail,
        })
    }

    /// Where it leads: a stage, a kind of admission, or nothing.
    pub(super) fn leads_to(&self) -> &str {
        let to = &self.detail["to"];
        to.as_str().or(to["kind"].as_str()).unwrap_or_default()
    }

    /// What changed, in a few words.
    pub(super) fn says(&self) -> String {
        let Self { name, detail, .. } = self;
        let stands = |value: &Value| {
            let kind = value.as_str().or(value["kind"].as_str());
            kind.unwrap_or("nothing").to_owned()
        };
        let scopes = |value: &Value| {
            let names = value.as_object().into_iter().flat_map(|it| it.keys());
            let names: Vec<&str> = names.map(String::as_str).collect();
            match names.is_empty() {
                true => "nothing".to_owned(),
                false => names.join(", "),
            }
        };
        let (from, to) = (&detail["from"], &detail["to"]);
        let provider = |request: &Value| request["provider"].as_str().unwrap_or("?").to_owned();
        match name.as_str() {
            "fleet.stage_changed" | "fleet.admission_changed" => {
                format!("{} > {}", stands(from), stands(to))
            }
            "fleet.data_scopes_changed" => format!("{} > {}", scopes(from), scopes(to)),
            "fleet.reconnect_ready" => {
                let requests = detail["requests"].as_array().into_iter().flatten();
                requests.map(provider).collect::<Vec<_>>().join(", ")
            }
            "integration_request.confirmed" => provider(&detail["request"]),
            _ => String::new(),
        }
    }
}

/// A time in JSON.
pub(super) fn moment(value: &Value) -> Result<OffsetDateTime> {
    let text = value.as_str().unwrap_or_default();
    OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("{value} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, detail: &Value) -> DomainEvent {
        let mut detail = detail.clone();
        detail["occurred_at"] = json!("2026-05-04T08:07:31.25Z");
        let event = json!({ "detail-type": name, "detail": detail });
        DomainEvent::read(&event.to_string()).unwrap()
    }

    #[test]
    fn an_event_says_what_changed_in_a_few_words() {
        let request = json!({ "provider": "Prairie Logs" });
        for (name, detail, says) in [
            (
                "fleet.stage_changed",
                json!({ "from": null, "to": "invited" }),
                "nothing > invited",
            ),
            (
                "fleet.admission_changed",
                json!({ "from": { "kind": "provisional" }, "to": { "kind": "full" } }),
                "provisional > full",
            ),
            (
                "fleet.data_scopes_changed",
                json!({ "from": {}, "to": { "user": "read", "vehicle": "read" } }),
                "nothing > user, vehicle",
            ),
            (
                "fleet.reconnect_ready",
                json!({ "requests": [request] }),
                "Prairie Logs",
            ),
            (
                "integration_request.confirmed",
                json!({ "request": request }),
                "Prairie Logs",
            ),
            ("fleet.renamed", json!({}), ""),
        ] {
            assert_eq!(event(name, &detail).says(), says);
        }
    }
}

//! A local AWS with what the functions need, for running their binaries by hand.

use std::{collections::BTreeSet, time::Duration};

use axum::http::{HeaderMap, Method};
use local::{
    Options,
    aws::{self, Aws},
    event::{self, Request},
    ministack::MiniStack,
    runtime_api::Function,
    template::Template,
    wire::Wire,
};
use serde_json::{Value, json};
use simulator::Envelope;
use tempfile::TempDir;
use time::OffsetDateTime;

/// The key in the keyring that a backend starts with.
pub(crate) const KEY: &str = "local-signing-key-of-the-tests";
pub(crate) const SECRET: &str = "keyring";
pub(crate) const TABLE: &str = "table";

pub(crate) struct Backend {
    pub(crate) aws: Aws,
    pub(crate) wire: Wire,
    pub(crate) queue_url: String,
    lane: String,
    _ministack: MiniStack,
    _folder: TempDir,
}

impl Backend {
    /// An empty queue, an empty table with the template's keys and indexes, a keyring with [`KEY`].
    pub(crate) async fn start() -> Self {
        let options = Options::default();
        let folder = tempfile::tempdir().unwrap();
        let ministack = MiniStack::start(&options.tools, folder.path(), None)
            .await
            .unwrap();
        let aws = ministack.aws().unwrap();
        let wire = Wire::new(ministack.url()).unwrap();
        let lane = wire.lane("function").await.unwrap();
        let made = aws
            .sqs("CreateQueue", json!({ "QueueName": "events" }))
            .await
            .unwrap();
        let backend = Self {
            queue_url: made["QueueUrl"].as_str().unwrap().to_owned(),
            aws,
            wire,
            lane,
            _ministack: ministack,
            _folder: folder,
        };
        let template = Template::read(&options.template).unwrap();
        let mut table = json!({ "TableName": TABLE });
        let properties = &template.json()["Resources"]["Table"]["Properties"];
        for name in [
            "AttributeDefinitions",
            "KeySchema",
            "GlobalSecondaryIndexes",
            "BillingMode",
        ] {
            table[name] = properties[name].clone();
        }
        backend.aws.dynamodb("CreateTable", table).await.unwrap();
        let keyring = json!({ "version": 1, "shared": KEY }).to_string();
        let secret = json!({ "Name": SECRET, "SecretString": keyring });
        backend
            .aws
            .secrets_manager("CreateSecret", secret)
            .await
            .unwrap();
        backend
    }

    /// The settings of both functions, as the template would give them.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings: Vec<_> = Wire::environment(&self.lane).into_iter().collect();
        for (name, value) in [
            ("EVENTS_QUEUE_URL", self.queue_url.as_str()),
            ("KEYRING_SECRET_ID", SECRET),
            ("TABLE_NAME", TABLE),
        ] {
            settings.push((name.to_owned(), value.to_owned()));
        }
        settings
    }

    /// Starts a function's real binary.
    pub(crate) async fn function(&self, package: &str, settings: &[(&str, &str)]) -> Function {
        let mut all = self.settings();
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let binary = Options::default().binaries.join(package);
        Function::spawn(&binary, &all).await.unwrap()
    }

    /// Replaces the keyring document.
    pub(crate) async fn put_keyring(&self, document: &Value) {
        let secret = json!({ "SecretId": SECRET, "SecretString": document.to_string() });
        self.aws
            .secrets_manager("PutSecretValue", secret)
            .await
            .unwrap();
    }

    /// Takes all messages off the queue, as they are.
    pub(crate) async fn drain(&self) -> Vec<Value> {
        let mut bodies = Vec::new();
        loop {
            let receive = json!({ "QueueUrl": self.queue_url, "MaxNumberOfMessages": 10 });
            let received = self.aws.sqs("ReceiveMessage", receive).await.unwrap();
            let Some(messages) = received["Messages"].as_array().filter(|it| !it.is_empty()) else {
                return bodies;
            };
            for message in messages {
                let delete = json!({ "QueueUrl": self.queue_url, "ReceiptHandle": message["ReceiptHandle"] });
                self.aws.sqs("DeleteMessage", delete).await.unwrap();
                bodies.push(serde_json::from_str(message["Body"].as_str().unwrap()).unwrap());
            }
        }
    }

    /// All items of the table.
    pub(crate) async fn items(&self) -> Vec<Value> {
        items(&self.aws, TABLE).await
    }

    /// The region, for the start-up of code that runs within a test.
    pub(crate) fn env() -> startup::Env {
        startup::Env::from_vars([("AWS_REGION".to_owned(), aws::REGION.to_owned())])
    }
}

pub(crate) async fn items(aws: &Aws, table: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut from = Value::Null;
    loop {
        let mut scan = json!({ "TableName": table, "ConsistentRead": true });
        if !from.is_null() {
            scan["ExclusiveStartKey"] = from;
        }
        let page = aws.dynamodb("Scan", scan).await.unwrap();
        items.extend(page["Items"].as_array().unwrap().iter().cloned());
        from = page["LastEvaluatedKey"].clone();
        if from.is_null() {
            return items;
        }
    }
}

/// A request as the gateway hands it over.
pub(crate) fn request(headers: &HeaderMap, body: &[u8]) -> Value {
    let request = Request {
        method: &Method::POST,
        path: "/webhooks/catena",
        query: "",
        headers,
        body,
        source_ip: "192.0.2.1",
    };
    event::event(
        &request,
        "POST /webhooks/catena",
        &[],
        "request",
        OffsetDateTime::now_utc(),
    )
}

/// The delivery of an envelope, signed now with a key.
pub(crate) fn delivery(envelope: &Envelope, key: &str) -> Value {
    delivery_of(envelope, key, Duration::ZERO)
}

/// The same, signed a while ago.
pub(crate) fn delivery_of(envelope: &Envelope, key: &str, ago: Duration) -> Value {
    let signed_at = simulator::timestamp_text(OffsetDateTime::now_utc() - ago);
    let delivery = simulator::Delivery::new(envelope, key, &signed_at);
    request(&delivery.headers, &delivery.body)
}

/// The status of a function's answer.
pub(crate) fn status(answer: &Value) -> u64 {
    answer["statusCode"].as_u64().unwrap()
}

/// The `outcome` of each line that a function printed.
pub(crate) fn outcomes(function: &Function) -> Vec<String> {
    let output = function.output();
    let lines = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let outcomes = lines.filter_map(|line| Some(line["outcome"].as_str()?.to_owned()));
    outcomes.collect()
}

/// Partition keys of items, by their first part.
pub(crate) fn kinds(items: &[Value]) -> BTreeSet<String> {
    let kind = |item: &Value| {
        let (pk, sk) = (
            item["pk"]["S"].as_str().unwrap(),
            item["sk"]["S"].as_str().unwrap(),
        );
        let first = |text: &str| text.split('#').next().unwrap().to_owned();
        match first(pk).as_str() {
            "QUARANTINE" => "QUARANTINE".to_owned(),
            _ => first(sk),
        }
    };
    items.iter().map(kind).collect()
}

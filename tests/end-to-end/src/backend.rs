//! A local AWS with what the functions need, for running their binaries by hand.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use axum::http::{HeaderMap, Method};
use fleet::{FleetRef, Observation, Policy, Timestamp};
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
use startup::Patience;
use store::{HistoryDays, Records, Share, Table, timestamp};
use tempfile::TempDir;
use time::OffsetDateTime;

/// The key in the keyring that a backend starts with.
pub(crate) const KEY: &str = "local-signing-key-of-the-tests";
pub(crate) const SECRET: &str = "keyring";
pub(crate) const TABLE: &str = "table";
const CATENA_SECRET: &str = "catena";
const RETURN_SECRET: &str = "return-keys";
/// The key of return tokens that a backend starts with.
pub(crate) const RETURN_KEY: &str = "local-key-of-return-tokens-of-the-tests";

pub(crate) struct Backend {
    pub(crate) aws: Aws,
    pub(crate) wire: Wire,
    pub(crate) queue_url: String,
    pub(crate) tasks_url: String,
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
        let queue = async |name: &str| {
            let made = aws.sqs("CreateQueue", json!({ "QueueName": name })).await;
            made.unwrap()["QueueUrl"].as_str().unwrap().to_owned()
        };
        let (queue_url, tasks_url) = (queue("events").await, queue("tasks").await);
        let backend = Self {
            queue_url,
            tasks_url,
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
        let credentials = json!({
            "client_id": simulator::CLIENT_ID,
            "client_secret": simulator::CLIENT_SECRET,
        });
        let catena = json!({ "Name": CATENA_SECRET, "SecretString": credentials.to_string() });
        let keys = json!({ "version": 1, "current": RETURN_KEY }).to_string();
        let returning = json!({ "Name": RETURN_SECRET, "SecretString": keys });
        for secret in [secret, catena, returning] {
            let made = backend.aws.secrets_manager("CreateSecret", secret).await;
            made.unwrap();
        }
        backend
    }

    /// The settings that functions share, as the template would give them.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings: Vec<_> = Wire::environment(&self.lane).into_iter().collect();
        for (name, value) in [
            ("EVENTS_QUEUE_URL", self.queue_url.as_str()),
            ("TASKS_QUEUE_URL", self.tasks_url.as_str()),
            ("KEYRING_SECRET_ID", SECRET),
            ("RETURN_SECRET_ID", RETURN_SECRET),
            ("TABLE_NAME", TABLE),
        ] {
            settings.push((name.to_owned(), value.to_owned()));
        }
        settings
    }

    /// Starts a function's real binary on a lane of its own.
    pub(crate) async fn function_on(
        &self,
        lane: &str,
        package: &str,
        settings: &[(&str, &str)],
    ) -> Function {
        let lane = self.wire.lane(lane).await.unwrap();
        let lane = Wire::environment(&lane);
        let lane = lane
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        self.function(
            package,
            &settings.iter().copied().chain(lane).collect::<Vec<_>>(),
        )
        .await
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

    /// Starts the partner API's real binary on a lane of its own, against a simulator of Catena. The lane is `partner-api`, or
    /// what the settings say in `LANE`.
    pub(crate) async fn partner_api(&self, catena: &str, settings: &[(&str, &str)]) -> Function {
        let token_url = format!("{catena}{}", simulator::TOKEN_PATH);
        let mut all = vec![
            ("CATENA_API_URL", catena),
            ("CATENA_TOKEN_URL", &token_url),
            ("CATENA_SECRET_ID", CATENA_SECRET),
            ("INVITATION_PERMISSIONS", "vehicle=read"),
            ("PUBLIC_BASE_URL", "https://fleets.example.com"),
        ];
        all.extend(settings);
        let lane = settings.iter().find(|(name, _)| *name == "LANE");
        let lane = lane.map_or("partner-api", |(_, lane)| lane);
        self.function_on(lane, "partner-api", &all).await
    }

    /// Starts the binary that shows the fleets' pages, on a lane of its own called `redirect`.
    pub(crate) async fn redirect(&self, connect: &str, settings: &[(&str, &str)]) -> Function {
        let mut all = Self::of_pages(connect);
        all.extend(settings);
        self.function_on("redirect", "redirect", &all).await
    }

    /// Starts the binary that opens links, on a lane of its own called `link-opener`, against a simulator of Catena.
    pub(crate) async fn link_opener(&self, catena: &str, settings: &[(&str, &str)]) -> Function {
        let token_url = format!("{catena}{}", simulator::TOKEN_PATH);
        let mut all = Self::of_pages(catena);
        all.extend([
            ("CATENA_API_URL", catena),
            ("CATENA_TOKEN_URL", &token_url),
            ("CATENA_SECRET_ID", CATENA_SECRET),
        ]);
        all.extend(settings);
        self.function_on("link-opener", "link-opener", &all).await
    }

    /// Starts the reconciler's real binary, on a lane of its own called `reconciler`, against a simulator of Catena.
    pub(crate) async fn reconciler(&self, catena: &str, settings: &[(&str, &str)]) -> Function {
        let token_url = format!("{catena}{}", simulator::TOKEN_PATH);
        let mut all = vec![
            ("CATENA_API_URL", catena),
            ("CATENA_TOKEN_URL", &token_url),
            ("CATENA_SECRET_ID", CATENA_SECRET),
        ];
        all.extend(settings);
        self.function_on("reconciler", "reconciler", &all).await
    }

    /// What both functions that fleets meet are told; the template's empty settings are empty here, too.
    fn of_pages(connect: &str) -> Vec<(&str, &str)> {
        vec![
            ("PUBLIC_BASE_URL", "https://fleets.example.com"),
            ("CONNECT_ORIGINS", connect),
            ("PARTNER_NAME", "Example Freight"),
            ("PARTNER_CONTACT", "onboarding@example.com"),
            ("PARTNER_COLOUR", "#0b4f9e"),
            ("PARTNER_TEXT_COLOUR", "#ffffff"),
            ("PARTNER_RETURN_URL", ""),
        ]
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

    /// Gives the queue a dead-letter queue, as the template does, and a visibility time-out; returns the former's URL.
    pub(crate) async fn dead_letter_queue(&self, receptions: u32, visibility: Duration) -> String {
        self.dead_letters_of(&self.queue_url, "dead-letters", receptions, visibility)
            .await
    }

    /// The same for any queue.
    pub(crate) async fn dead_letters_of(
        &self,
        queue_url: &str,
        name: &str,
        receptions: u32,
        visibility: Duration,
    ) -> String {
        let made = json!({ "QueueName": name });
        let made = self.aws.sqs("CreateQueue", made).await.unwrap();
        let url = made["QueueUrl"].as_str().unwrap().to_owned();
        let ask = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let found = self.aws.sqs("GetQueueAttributes", ask).await.unwrap();
        let redrive = json!({
            "deadLetterTargetArn": found["Attributes"]["QueueArn"],
            "maxReceiveCount": receptions,
        });
        let attributes = json!({
            "RedrivePolicy": redrive.to_string(),
            "VisibilityTimeout": visibility.as_secs().to_string(),
        });
        let set = json!({ "QueueUrl": queue_url, "Attributes": attributes });
        self.aws.sqs("SetQueueAttributes", set).await.unwrap();
        url
    }

    /// Puts messages on the queue.
    pub(crate) async fn send(&self, bodies: Vec<String>) {
        for bodies in bodies.chunks(10) {
            let entry = |(index, body): (usize, &String)| json!({ "Id": index.to_string(), "MessageBody": body });
            let entries: Vec<Value> = bodies.iter().enumerate().map(entry).collect();
            let send = json!({ "QueueUrl": self.queue_url, "Entries": entries });
            let sent = self.aws.sqs("SendMessageBatch", send).await.unwrap();
            assert_eq!(sent["Successful"].as_array().unwrap().len(), bodies.len());
        }
    }

    /// Receives up to ten messages, as records of Lambda's event.
    pub(crate) async fn receive(&self) -> Vec<Value> {
        self.receive_from(&self.queue_url).await
    }

    /// The same from any queue.
    pub(crate) async fn receive_from(&self, queue_url: &str) -> Vec<Value> {
        let receive = json!({
            "QueueUrl": queue_url,
            "MaxNumberOfMessages": 10,
            "AttributeNames": ["ApproximateReceiveCount"],
        });
        let received = self.aws.sqs("ReceiveMessage", receive).await.unwrap();
        let record = |message: &Value| {
            json!({
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
            })
        };
        let messages = received["Messages"].as_array();
        messages.into_iter().flatten().map(record).collect()
    }

    /// Deletes messages that were received.
    pub(crate) async fn delete(&self, records: impl Iterator<Item = &Value>) {
        self.delete_from(&self.queue_url, records).await;
    }

    /// The same from any queue.
    pub(crate) async fn delete_from(&self, queue_url: &str, records: impl Iterator<Item = &Value>) {
        for record in records {
            let delete = json!({ "QueueUrl": queue_url, "ReceiptHandle": record["receiptHandle"] });
            self.aws.sqs("DeleteMessage", delete).await.unwrap();
        }
    }

    /// Messages on a queue, those in flight included.
    pub(crate) async fn depth(&self, url: &str) -> usize {
        depth(&self.aws, url).await
    }

    /// All items of the table.
    pub(crate) async fn items(&self) -> Vec<Value> {
        items(&self.aws, TABLE).await
    }

    /// The clients of code that runs within a test.
    pub(crate) async fn clients(&self) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
        clients(&self.aws).await
    }

    /// The table, for code that runs within a test.
    pub(crate) async fn table(&self) -> Table {
        Table::new(self.clients().await.0, TABLE)
    }

    /// The region, for the start-up of code that runs within a test.
    pub(crate) fn env() -> startup::Env {
        startup::Env::from_vars([("AWS_REGION".to_owned(), aws::REGION.to_owned())])
    }
}

/// The clients of a local AWS for code that runs within a test.
pub(crate) async fn clients(local: &Aws) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    let patience = Patience {
        connect: Duration::from_secs(1),
        attempt: Duration::from_secs(3),
        attempts: 3,
        pause: Duration::from_millis(50),
    };
    let aws = startup::aws_config(&Backend::env(), patience)
        .await
        .unwrap();
    // In a function's process these come from the environment.
    let [(_, id), (_, secret)] = aws::CREDENTIALS;
    let credentials = Credentials::new(id, secret, None, None, "the local AWS");
    let aws = aws
        .into_builder()
        .endpoint_url(local.endpoint())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let dynamodb = aws_sdk_dynamodb::Client::new(&aws);
    (dynamodb, aws_sdk_sqs::Client::new(&aws))
}

/// Folds observations into a fleet's record, as an answer of Catena's would.
pub(crate) async fn tell(table: &Table, fleet: &FleetRef, observations: Vec<Observation>) {
    let records = Records {
        table,
        policy: &Policy::default(),
        history_days: HistoryDays::default(),
        now: OffsetDateTime::now_utc(),
    };
    let share = Share {
        event: "test".to_owned(),
        id: None,
        received: now(),
        observations,
        hint: false,
        answered: true,
    };
    records.take_in_one(fleet, share).await.unwrap();
}

/// This moment, as records have it.
pub(crate) fn now() -> Timestamp {
    timestamp(OffsetDateTime::now_utc())
}

/// Messages on a queue, those in flight or put off included.
pub(crate) async fn depth(aws: &Aws, url: &str) -> usize {
    let names = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ];
    let ask = json!({ "QueueUrl": url, "AttributeNames": names });
    let found = aws.sqs("GetQueueAttributes", ask).await.unwrap();
    let count = |name: &str| found["Attributes"][name].as_str().unwrap().parse::<usize>();
    names.into_iter().map(|name| count(name).unwrap()).sum()
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

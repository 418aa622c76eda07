//! Where the asked stack is: a deployed one by its name, or the local one by its description.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_sqs::types::QueueAttributeName;
use fleet::{FleetRef, Policy};
use queue::{DeadLetters, EventsQueue, Task, TaskMessage, TasksQueue};
use serde::Deserialize;
use serde_json::Value;
use startup::https;
use store::{HistoryEntry, StoreError, Table};

use crate::{
    args::Place,
    dlq::Queue,
    recheck::Soon,
    status::{Depth, Queues},
};

/// A stack that was found: what it says of itself, and how AWS is called there.
pub(crate) struct Found {
    pub(crate) config: SdkConfig,
    /// What it is called and where it is.
    pub(crate) place: String,
    /// Who mends it if it doesn't answer: the one who started it, or the one who has the credentials.
    pub(crate) is_local: bool,
    outputs: Vec<(String, String)>,
}

impl Found {
    /// The stack that the arguments name, else `KINGPIN_STACK`, else the local one of this folder or of one above it.
    pub(crate) async fn find(place: &Place) -> Result<Self> {
        let named = std::env::var("KINGPIN_STACK").ok();
        let named = named.filter(|name| !name.is_empty());
        match (&place.local, place.stack.as_ref().or(named.as_ref())) {
            (Some(file), _) => Self::local(file).await,
            (None, Some(stack)) => Self::deployed(stack, place).await,
            (None, None) => {
                let here = std::env::current_dir().unwrap_or_default();
                Self::local(&described_above(&here)?).await
            }
        }
    }

    async fn local(file: &Path) -> Result<Self> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the local stack's description {shown} can't be read"))?;
        let described: Described = serde_json::from_str(&text).with_context(|| {
            format!("{shown} doesn't describe a local stack of this version; start it again with `cargo xtask up`")
        })?;
        let credentials = Credentials::new("test", "test", None, None, "local");
        let config = loader()
            .region(Region::new(described.region.clone()))
            .endpoint_url(&described.aws_endpoint_url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .load()
            .await;
        Ok(Self {
            config,
            place: format!("local stack {} of {shown}", described.stack_name),
            is_local: true,
            outputs: described.outputs(),
        })
    }

    async fn deployed(name: &str, place: &Place) -> Result<Self> {
        let mut loader = loader();
        if let Some(profile) = &place.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &place.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let config = loader.load().await;
        let region = config.region().map(ToString::to_string);
        let region = region.ok_or_else(|| {
            anyhow!("no AWS region is known: give --region, set AWS_REGION, or put a region into the profile")
        })?;
        let place = format!("stack {name} in {region}");
        let answer = aws_sdk_cloudformation::Client::new(&config)
            .describe_stacks()
            .stack_name(name)
            .send()
            .await
            .map_err(|error| failed("look up", &place, &error, false))?;
        let outputs = answer.stacks().iter().flat_map(|stack| stack.outputs());
        let outputs = outputs.filter_map(|output| output.output_key().zip(output.output_value()));
        let outputs = outputs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            config,
            place,
            is_local: false,
            outputs,
        })
    }

    /// What the stack says of itself under a name. The error says what to do about a stack that doesn't.
    pub(crate) fn output(&self, wanted: &str) -> Result<String> {
        let found = self.optional(wanted);
        found.ok_or_else(|| missing(&self.place, wanted, self.is_local))
    }

    /// What the stack says of itself under a name that not every stack has.
    fn optional(&self, wanted: &str) -> Option<String> {
        let found = self.outputs.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    }

    /// The rules that the stack's functions compute by.
    pub(crate) fn policy(&self) -> Result<Policy> {
        serde_json::from_str(&self.output("Policy")?).with_context(|| {
            format!(
                "the policy of {} isn't one of this version; use the `kingpin` that belongs to its template",
                self.place
            )
        })
    }
}

fn missing(place: &str, output: &str, is_local: bool) -> anyhow::Error {
    if is_local {
        return anyhow!(
            "the description of {place} lacks {output}: an older version started it; start it again with `cargo xtask up`"
        );
    }
    anyhow!(
        "{place} has no output {output}: it is none of Kingpin's, or was deployed from an older template\n\
         Check the stack's name; if it is the right one, deploy the template that belongs to this `kingpin`."
    )
}

/// A stack whose table and queues can be asked.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: Table,
    pub(crate) policy: Policy,
    /// What it is called and where it is.
    pub(crate) place: String,
    table_name: String,
    sqs: aws_sdk_sqs::Client,
    events_url: String,
    dead_letters_url: String,
    /// Stacks of older templates don't say these.
    tasks_url: Option<String>,
    tasks_dead_letters_url: Option<String>,
    publisher_dead_letters_url: Option<String>,
    is_local: bool,
}

impl Source {
    /// The table and the queues of a stack.
    pub(crate) fn of(found: &Found) -> Result<Self> {
        let client = aws_sdk_dynamodb::Client::new(&found.config);
        let table_name = found.output("TableName")?;
        Ok(Self {
            table: Table::new(client, &table_name),
            policy: found.policy()?,
            place: found.place.clone(),
            table_name,
            sqs: aws_sdk_sqs::Client::new(&found.config),
            events_url: found.output("EventsQueueUrl")?,
            dead_letters_url: found.output("EventsDeadLetterQueueUrl")?,
            tasks_url: found.optional("TasksQueueUrl"),
            tasks_dead_letters_url: found.optional("TasksDeadLetterQueueUrl"),
            publisher_dead_letters_url: found.optional("PublisherDeadLetterQueueUrl"),
            is_local: found.is_local,
        })
    }

    /// Has a fleet that is due looked at at once.
    pub(crate) async fn look_soon(&self, fleet: &FleetRef) -> Soon {
        let Some(url) = &self.tasks_url else {
            return Soon::Unqueued;
        };
        let task = TaskMessage {
            task: Task::fleet(fleet),
            delay: Duration::ZERO,
        };
        match TasksQueue::new(self.sqs.clone(), url).send(&[task]).await {
            Ok(()) => Soon::Queued,
            Err(error) => {
                let place = format!("tasks queue {url} of {}", self.place);
                let told = failed("put a task on", &place, &error, self.is_local);
                Soon::Failed(told.to_string())
            }
        }
    }

    /// The events queue, to send to.
    pub(crate) fn events_queue(&self) -> EventsQueue {
        EventsQueue::new(self.sqs.clone(), &self.events_url)
    }

    /// What the events queue said to `tried`, for the one who can mend it.
    pub(crate) fn events_queue_failed(&self, tried: &str, error: &dyn Error) -> anyhow::Error {
        let place = format!("events queue {} of {}", self.events_url, self.place);
        failed(tried, &place, error, self.is_local)
    }

    /// Where dead letters of a kind are.
    pub(crate) fn dead_letters(&self, of: Queue) -> Result<DeadLetterQueue> {
        let (url, output) = match of {
            Queue::Events => (Some(&self.dead_letters_url), "EventsDeadLetterQueueUrl"),
            Queue::Tasks => (
                self.tasks_dead_letters_url.as_ref(),
                "TasksDeadLetterQueueUrl",
            ),
            Queue::Publisher => (
                self.publisher_dead_letters_url.as_ref(),
                "PublisherDeadLetterQueueUrl",
            ),
        };
        let url = url.ok_or_else(|| missing(&self.place, output, self.is_local))?;
        Ok(DeadLetterQueue {
            letters: DeadLetters::new(self.sqs.clone(), url),
            url: url.clone(),
        })
    }

    /// What a queue of dead letters said to `tried`, for the one who can mend it.
    pub(crate) fn dead_letters_failed(
        &self,
        tried: &str,
        queue: &DeadLetterQueue,
        error: &dyn Error,
    ) -> anyhow::Error {
        let place = format!("dead-letter queue {} of {}", queue.url, self.place);
        failed(tried, &place, error, self.is_local)
    }

    /// What led to a fleet's record.
    pub(crate) async fn history(&self, fleet: &FleetRef) -> Result<Vec<HistoryEntry>> {
        let read = self.table.history(fleet).await;
        read.map_err(|error| self.table_failed("read the fleet's history from", error))
    }

    /// What the table said to `tried`, for the one who can mend it.
    pub(crate) fn table_failed(&self, tried: &str, error: StoreError) -> anyhow::Error {
        match error {
            StoreError::NewerSchema { .. } => {
                anyhow!("{error}; use the `kingpin` of the version that wrote it")
            }
            StoreError::TooLarge { .. } | StoreError::Damaged { .. } | StoreError::Panicked(_) => {
                error.into()
            }
            StoreError::Unavailable { .. } | StoreError::Refused { .. } => {
                let place = format!("table {} of {}", self.table_name, self.place);
                failed(tried, &place, &error, self.is_local)
            }
        }
    }

    /// How many messages the queues hold, as far as the stack says where they are.
    pub(crate) async fn queues(&self) -> Result<Queues> {
        let (events, dead_letters, tasks, tasks_dead_letters, publisher_dead_letters) = tokio::try_join!(
            self.depth(&self.events_url),
            self.depth(&self.dead_letters_url),
            self.depth_if_known(self.tasks_url.as_deref()),
            self.depth_if_known(self.tasks_dead_letters_url.as_deref()),
            self.depth_if_known(self.publisher_dead_letters_url.as_deref()),
        )?;
        Ok(Queues {
            events,
            dead_letters,
            tasks,
            tasks_dead_letters,
            publisher_dead_letters,
        })
    }

    async fn depth_if_known(&self, url: Option<&str>) -> Result<Option<Depth>> {
        match url {
            Some(url) => self.depth(url).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) async fn depth(&self, url: &str) -> Result<Depth> {
        let answer = self
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
            .send()
            .await
            .map_err(|error| {
                let place = format!("queue {url} of {}", self.place);
                failed("count the messages of", &place, &error, self.is_local)
            })?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| {
            let count = attributes.get(&name).and_then(|count| count.parse().ok());
            count.with_context(|| format!("queue {url} doesn't say its {name}"))
        };
        Ok(Depth {
            waiting: count(QueueAttributeName::ApproximateNumberOfMessages)?,
            in_work: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
            delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed)?,
        })
    }
}

/// A queue of dead letters.
#[derive(Debug)]
pub(crate) struct DeadLetterQueue {
    pub(crate) letters: DeadLetters,
    pub(crate) url: String,
}

/// What is needed of `stack.json`.
#[derive(Deserialize)]
struct Described {
    aws_endpoint_url: String,
    region: String,
    stack_name: String,
    table_name: String,
    events_queue_url: String,
    events_dlq_url: String,
    policy: Value,
    /// Descriptions of older versions are without these.
    partner_api_url: Option<String>,
    tasks_queue_url: Option<String>,
    tasks_dlq_url: Option<String>,
    publisher_dlq_url: Option<String>,
    webhook_url: Option<String>,
    keyring_secret_id: Option<String>,
    catena_secret_id: Option<String>,
    catena_api_url: Option<String>,
    catena_token_url: Option<String>,
}

impl Described {
    /// The same by the names that a deployed stack has for it.
    fn outputs(self) -> Vec<(String, String)> {
        let outputs = [
            ("TableName", Some(self.table_name)),
            ("Policy", Some(self.policy.to_string())),
            ("EventsQueueUrl", Some(self.events_queue_url)),
            ("EventsDeadLetterQueueUrl", Some(self.events_dlq_url)),
            ("PartnerApiUrl", self.partner_api_url),
            ("TasksQueueUrl", self.tasks_queue_url),
            ("TasksDeadLetterQueueUrl", self.tasks_dlq_url),
            ("PublisherDeadLetterQueueUrl", self.publisher_dlq_url),
            ("WebhookUrl", self.webhook_url),
            ("KeyringSecretId", self.keyring_secret_id),
            ("CatenaSecretId", self.catena_secret_id),
            ("CatenaApiUrl", self.catena_api_url),
            ("CatenaTokenUrl", self.catena_token_url),
        ];
        let outputs = outputs.into_iter();
        outputs
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// A person waits: long enough for a slow network, and not for ever.
fn loader() -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(15))
        .build();
    https(aws_config::defaults(BehaviorVersion::latest()))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard())
}

/// The description of the local stack, in a folder or above it.
fn described_above(folder: &Path) -> Result<PathBuf> {
    let found = folder.ancestors().map(|folder| folder.join(STACK_JSON));
    match found.into_iter().find(|file| file.exists()) {
        Some(file) => Ok(file),
        None => bail!(
            "no stack to ask: name a deployed one with --stack NAME (or KINGPIN_STACK), or start a local one with \
             `cargo xtask up` and run this in its folder (or give its description with --local FILE)"
        ),
    }
}

/// What AWS said, in whose words it is, and who can mend it.
pub(crate) fn failed(tried: &str, place: &str, error: &dyn Error, is_local: bool) -> anyhow::Error {
    let mut causes = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        cause = error.source();
    }
    let causes = causes.join(": ");
    let remedy = remedy(&causes, is_local);
    anyhow!("could not {tried} {place}: {causes}\n{remedy}")
}

fn remedy(causes: &str, is_local: bool) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| causes.contains(word));
    if is_local {
        return "Is the local stack still running? `cargo xtask up` starts one.";
    }
    if says(&["AccessDenied", "not authorized"]) {
        return "The credentials are valid and may not do this: see the permissions in `kingpin --help`.";
    }
    if says(&["cargo feature"]) {
        return "That profile gets its credentials by a way that isn't built in. Log in if need be, and export them:\n\
                eval \"$(aws configure export-credentials --profile NAME --format env)\"";
    }
    if says(&[
        "credential",
        "Credential",
        "ExpiredToken",
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "security token",
        "SignatureDoesNotMatch",
    ]) {
        return "Check the credentials: AWS_PROFILE or --profile, or export them with `aws configure export-credentials`.";
    }
    if says(&[
        "does not exist",
        "ResourceNotFound",
        "NonExistentQueue",
        "not found",
    ]) {
        return "Check the stack's name, the region and the account: there is nothing like that.";
    }
    if says(&["dispatch failure", "no connection", "timeout", "timed out"]) {
        return "Check the network and the region's name: AWS could not be reached there.";
    }
    "Check the stack's name, the region and the credentials."
}

const STACK_JSON: &str = "target/local/stack.json";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_description_is_found_in_a_folder_above() {
        let root = std::env::temp_dir().join(format!("kingpin-source-{}", std::process::id()));
        let below = root.join("functions/event-processor");
        let file = root.join(STACK_JSON);
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let nothing = described_above(&below).map_err(|error| error.to_string());
        std::fs::write(&file, "{}").unwrap();
        let found = described_above(&below).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, file);
        let told = nothing.unwrap_err();
        assert!(
            told.contains("--stack") && told.contains("--local"),
            "{told}"
        );
    }

    #[test]
    fn a_stack_without_an_output_is_told_from_one_that_is_not_ours() {
        let described = json!({
            "aws_endpoint_url": "http://127.0.0.1:1", "region": "us-east-1", "stack_name": "local", "table_name": "t",
            "events_queue_url": "e", "events_dlq_url": "d", "policy": {}, "webhook_url": "w",
        });
        let older: Described = serde_json::from_value(described.clone()).unwrap();
        let optional = [
            ("PartnerApiUrl", "partner_api_url", "http://127.0.0.1:2"),
            ("TasksQueueUrl", "tasks_queue_url", "t"),
            ("TasksDeadLetterQueueUrl", "tasks_dlq_url", "td"),
            ("PublisherDeadLetterQueueUrl", "publisher_dlq_url", "pd"),
            ("KeyringSecretId", "keyring_secret_id", "k"),
            ("CatenaSecretId", "catena_secret_id", "c"),
            ("CatenaApiUrl", "catena_api_url", "http://127.0.0.1:3"),
            (
                "CatenaTokenUrl",
                "catena_token_url",
                "http://127.0.0.1:3/token",
            ),
        ];
        let outputs = older.outputs();
        for (output, _, _) in optional {
            assert!(outputs.iter().all(|(name, _)| name != output), "{output}");
        }
        let mut newer = described;
        for (_, key, value) in optional {
            newer[key] = json!(value);
        }
        let newer: Described = serde_json::from_value(newer).unwrap();
        let outputs = newer.outputs();
        for (output, _, value) in optional {
            let expected = (output.to_owned(), value.to_owned());
            assert!(outputs.contains(&expected), "{output}");
        }
        let local = missing("local stack a", "PartnerApiUrl", true).to_string();
        assert!(local.contains("cargo xtask up"), "{local}");
        let deployed = missing("stack a in b", "PartnerApiUrl", false).to_string();
        assert!(deployed.contains("deploy the template"), "{deployed}");
    }

    #[test]
    fn each_failure_has_its_remedy() {
        for (causes, word) in [
            (
                "dispatch failure: other: no providers in chain provided credentials",
                "credentials",
            ),
            (
                "dispatch failure: other: This behavior requires following cargo feature(s) enabled: sso",
                "export-credentials",
            ),
            (
                "service error: ExpiredTokenException: The security token included in the request is expired",
                "credentials",
            ),
            (
                "service error: AccessDeniedException: User is not authorized to perform",
                "permissions",
            ),
            (
                "service error: ValidationError: Stack with id kingpin does not exist",
                "stack's name",
            ),
            (
                "service error: ResourceNotFoundException: Requested resource not found",
                "stack's name",
            ),
            (
                "dispatch failure: io error: client error (Connect): dns error",
                "network",
            ),
            (
                "no connection: client error (Connect): dns error",
                "network",
            ),
            ("timed out connecting", "network"),
        ] {
            assert!(remedy(causes, false).contains(word), "{causes}");
            assert!(remedy(causes, true).contains("local stack"));
        }
    }
}

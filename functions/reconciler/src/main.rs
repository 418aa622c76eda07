//! The reconciler as a Lambda function.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use queue::{EventsQueue, TasksQueue};
use reconciler::{Reconciler, Settings};
use serde_json::Value;
use startup::{Env, Patience};
use store::Table;
use time::OffsetDateTime;

/// Several calls in a row fit into a task's time.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(3),
    attempts: 3,
    pause: Duration::from_millis(100),
};

/// What fails is looked at again later: Catena is left alone rather than asked again at once.
const PATIENCE_WITH_CATENA: catena_client::Patience = catena_client::Patience {
    connect: Duration::from_secs(2),
    attempt: Duration::from_secs(6),
    attempts: 2,
    pause: Duration::from_millis(200),
    // Others were perhaps told to wait for longer.
    longest_wait: Duration::ZERO,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(&env, &["reconciler", "store", "catena_client"])?;
    let aws = startup::aws_config(&env, PATIENCE).await?;
    let table = Table::new(
        aws_sdk_dynamodb::Client::new(&aws),
        env.required("TABLE_NAME")?,
    );
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let events = EventsQueue::new(sqs.clone(), env.required("EVENTS_QUEUE_URL")?);
    let tasks = TasksQueue::new(sqs, env.required("TASKS_QUEUE_URL")?);
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let catena = credentials::catena(&env, secrets, PATIENCE_WITH_CATENA)?;
    let settings = Settings::read(&env)?;
    let reconciler = &Reconciler::new(table, catena, events, tasks, settings);
    run(service_fn(async move |event: LambdaEvent<Value>| {
        reconciler
            .handle(event.payload, OffsetDateTime::now_utc)
            .await
    }))
    .await
}

//! The event processor as a Lambda function.

use std::time::Duration;

use event_processor::{Processor, Settings};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use queue::{EventsQueue, TasksQueue};
use startup::{Env, Patience};
use store::Table;
use time::OffsetDateTime;

/// Within the function's own deadline of [`Settings::deadline`], and several calls in a row.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(3),
    attempts: 3,
    pause: Duration::from_millis(100),
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(&env, &["event_processor", "store"])?;
    let aws = startup::aws_config(&env, PATIENCE).await?;
    let table = Table::new(
        aws_sdk_dynamodb::Client::new(&aws),
        env.required("TABLE_NAME")?,
    );
    let queue = EventsQueue::new(
        aws_sdk_sqs::Client::new(&aws),
        env.required("EVENTS_QUEUE_URL")?,
    );
    let tasks = TasksQueue::new(
        aws_sdk_sqs::Client::new(&aws),
        env.required("TASKS_QUEUE_URL")?,
    );
    let processor = &Processor::new(table, queue, tasks, Settings::read(&env)?);
    run(service_fn(async move |event: LambdaEvent<_>| {
        Ok::<_, Error>(
            processor
                .handle(event.payload, OffsetDateTime::now_utc)
                .await,
        )
    }))
    .await
}

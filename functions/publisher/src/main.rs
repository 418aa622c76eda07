//! The publisher as a Lambda function.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use publisher::{Bus, DeadLetters, Publisher};
use startup::{Env, Patience};
use time::OffsetDateTime;

/// Several calls fit the handler's own deadline; what fails is tried again within it.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(3),
    attempts: 2,
    pause: Duration::from_millis(100),
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(&env, &["publisher", "store"])?;
    let aws = startup::aws_config(&env, PATIENCE).await?;
    let publisher = &Publisher {
        bus: Bus::new(
            aws_sdk_eventbridge::Client::new(&aws),
            env.required("EVENT_BUS_NAME")?,
        ),
        dead_letters: DeadLetters::new(
            aws_sdk_sqs::Client::new(&aws),
            env.required("PUBLISHER_DEAD_LETTER_QUEUE_URL")?,
        ),
        policy: env.json("POLICY", "a policy in JSON")?,
        deadline: Duration::from_secs(env.or("DEADLINE_SECONDS", 25, "a number of seconds")?),
        now: OffsetDateTime::now_utc,
    };
    run(service_fn(async move |event: LambdaEvent<_>| {
        publisher.handle(event.payload).await
    }))
    .await
}

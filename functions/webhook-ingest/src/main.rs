//! Verifies Catena's webhook deliveries, scrubs them and puts them on the events queue.

mod handler;

use std::time::Duration;

use catena::Keyring;
use lambda_http::{Error, run, service_fn};
use queue::EventsQueue;
use secrets::{Cached, Secret};
use startup::{Env, Patience};
use time::OffsetDateTime;

use crate::handler::Ingest;

/// Two attempts fit the handler's own deadline of two seconds.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(300),
    attempt: Duration::from_millis(700),
    attempts: 2,
    pause: Duration::from_millis(50),
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(&env, &["secrets", "webhook_ingest"])?;
    let aws = startup::aws_config(&env, PATIENCE).await?;
    let seconds = |key, default| {
        let seconds = env.or(key, default, "a number of seconds")?;
        Ok::<_, Error>(Duration::from_secs(seconds))
    };
    let keys = Cached::start(
        Secret::new(
            aws_sdk_secretsmanager::Client::new(&aws),
            env.required("KEYRING_SECRET_ID")?,
        ),
        "keyring",
        "put a keyring document into it (README, \"Signing keys\")",
        |text| Keyring::parse(text).map_err(|error| error.to_string()),
        seconds("KEYRING_TTL_SECONDS", 300)?,
        seconds("KEYRING_REREAD_SECONDS", 2)?,
    );
    let queue = EventsQueue::new(
        aws_sdk_sqs::Client::new(&aws),
        env.required("EVENTS_QUEUE_URL")?,
    );
    let ingest = &Ingest::new(keys, queue);
    run(service_fn(async move |request| {
        Ok::<_, Error>(ingest.handle(request, OffsetDateTime::now_utc).await)
    }))
    .await
}

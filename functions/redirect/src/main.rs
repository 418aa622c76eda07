//! Shows a fleet's pages, and queues what its browser claims when it comes back from Catena Connect. It can read, but change
//! nothing: neither the table nor anything at Catena.

mod claim;
mod handler;

use std::time::Duration;

use lambda_http::{Error, service_fn};
use queue::EventsQueue;
use return_token::ReturnKeys;
use secrets::Secret;
use startup::{Env, Patience};
use store::Table;
use time::OffsetDateTime;
use web::Site;

use crate::handler::Redirect;

/// A person waits: two attempts fit the handler's own deadline.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    attempt: Duration::from_millis(1500),
    attempts: 2,
    pause: Duration::from_millis(50),
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(&env, &["redirect", "secrets", "store"])?;
    let site = Site::read(&env)?;
    let aws = startup::aws_config(&env, PATIENCE).await?;
    let secret = Secret::new(
        aws_sdk_secretsmanager::Client::new(&aws),
        env.required("RETURN_SECRET_ID")?,
    );
    let redirect = &Redirect {
        table: Table::new(
            aws_sdk_dynamodb::Client::new(&aws),
            env.required("TABLE_NAME")?,
        ),
        queue: EventsQueue::new(
            aws_sdk_sqs::Client::new(&aws),
            env.required("EVENTS_QUEUE_URL")?,
        ),
        keys: ReturnKeys::cached(secret),
        site,
        policy: env.json("POLICY", "a policy")?,
        now: OffsetDateTime::now_utc,
    };
    web::serve(service_fn(async move |request| {
        Ok::<_, Error>(redirect.handle(&request).await)
    }))
    .await
}

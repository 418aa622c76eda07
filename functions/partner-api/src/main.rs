//! The partner API as a Lambda function.

use invitations::Inviter;
use lambda_http::{Error, run, service_fn};
use partner_api::{PartnerApi, Permissions, Settings};
use queue::TasksQueue;
use startup::{Env, Patience};
use store::{HistoryDays, Table};
use time::OffsetDateTime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(
        &env,
        &[
            "catena_client",
            "invitations",
            "partner_api",
            "queue",
            "secrets",
            "store",
        ],
    )?;
    let aws = startup::aws_config(&env, Patience::OF_A_CALLER).await?;
    let table = Table::new(
        aws_sdk_dynamodb::Client::new(&aws),
        env.required("TABLE_NAME")?,
    );
    let settings = Settings {
        policy: env.json("POLICY", "a policy")?,
        history_days: env.or(
            "HISTORY_DAYS",
            HistoryDays::default(),
            HistoryDays::EXPECTED,
        )?,
        permissions: env.parsed::<Permissions>("INVITATION_PERMISSIONS", Permissions::EXPECTED)?,
        now: OffsetDateTime::now_utc,
    };
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let inviter = Inviter::start(&env, table.clone(), secrets)?;
    let tasks = TasksQueue::new(
        aws_sdk_sqs::Client::new(&aws),
        env.required("TASKS_QUEUE_URL")?,
    );
    let api = &PartnerApi::new(table, inviter, tasks, settings);
    run(service_fn(async move |request| {
        Ok::<_, Error>(api.handle(request).await)
    }))
    .await
}

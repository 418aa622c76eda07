//! The partner API as a Lambda function.

use std::time::Duration;

use catena_client::{BaseUrl, Client, Endpoints};
use invitations::Inviter;
use lambda_http::{Error, run, service_fn};
use partner_api::{CatenaSecret, PartnerApi, Permissions, Settings};
use startup::{Env, Patience};
use store::{HistoryDays, Table};
use time::OffsetDateTime;

/// A caller waits: several attempts at the table fit the handler's own deadline.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(2),
    attempts: 3,
    pause: Duration::from_millis(50),
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(
        &env,
        &["catena_client", "invitations", "partner_api", "store"],
    )?;
    let aws = startup::aws_config(&env, PATIENCE).await?;
    let table = Table::new(
        aws_sdk_dynamodb::Client::new(&aws),
        env.required("TABLE_NAME")?,
    );
    let secret = CatenaSecret::new(
        aws_sdk_secretsmanager::Client::new(&aws),
        env.required("CATENA_SECRET_ID")?,
    );
    let url = |key| env.parsed::<BaseUrl>(key, BaseUrl::EXPECTED);
    let endpoints = Endpoints {
        api: url("CATENA_API_URL")?,
        token: url("CATENA_TOKEN_URL")?,
    };
    let now = OffsetDateTime::now_utc;
    let catena = Client::new(
        endpoints,
        catena_client::Patience::default(),
        move || secret.clone().read(),
        now,
    );
    let policy = env.json("POLICY", "a policy")?;
    let history_days = env.or(
        "HISTORY_DAYS",
        HistoryDays::default(),
        HistoryDays::EXPECTED,
    )?;
    let settings = Settings {
        policy,
        history_days,
        permissions: env.parsed::<Permissions>("INVITATION_PERMISSIONS", Permissions::EXPECTED)?,
        now,
    };
    let inviter = Inviter::new(
        table.clone(),
        catena,
        invitations::Settings {
            policy: settings.policy.clone(),
            history_days,
            public_base_url: env.required("PUBLIC_BASE_URL")?,
            look_always: env.or("INVITED_BEFORE", false, "true or false")?,
            now,
        },
    );
    let api = &PartnerApi::new(table, inviter, settings);
    run(service_fn(async move |request| {
        Ok::<_, Error>(api.handle(request).await)
    }))
    .await
}

//! Leads a fleet from its link's button to Catena Connect. Nothing but a pressed button gets here: looking at a link is redirect's.

mod handler;

use invitations::Inviter;
use lambda_http::{Error, service_fn};
use startup::{Env, Patience};
use store::Table;
use web::Site;

use crate::handler::LinkOpener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    startup::start_logs(
        &env,
        &[
            "catena_client",
            "invitations",
            "link_opener",
            "secrets",
            "store",
        ],
    )?;
    let site = Site::read(&env)?;
    let aws = startup::aws_config(&env, Patience::OF_A_CALLER).await?;
    let table = Table::new(
        aws_sdk_dynamodb::Client::new(&aws),
        env.required("TABLE_NAME")?,
    );
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let opener = &LinkOpener {
        inviter: Inviter::start(&env, table.clone(), secrets)?,
        table,
        site,
        now: time::OffsetDateTime::now_utc,
    };
    web::serve(service_fn(async move |request| {
        Ok::<_, Error>(opener.handle(&request).await)
    }))
    .await
}

//! An inviter, as the settings have it.

use aws_sdk_secretsmanager::Client as SecretsManager;
use catena_client::Patience;
use return_token::ReturnKeys;
use secrets::Secret;
use startup::{Env, SettingError};
use store::{HistoryDays, Table};
use time::OffsetDateTime;

use crate::{Inviter, inviter::Settings};

impl Inviter {
    /// Reads `CATENA_SECRET_ID`, `CATENA_API_URL`, `CATENA_TOKEN_URL`, `RETURN_SECRET_ID`, `PUBLIC_BASE_URL`, `HISTORY_DAYS`, `POLICY` and
    /// `INVITED_BEFORE`.
    pub fn start(env: &Env, table: Table, secrets: SecretsManager) -> Result<Self, SettingError> {
        let now = OffsetDateTime::now_utc;
        let catena = credentials::catena(env, secrets.clone(), Patience::default())?;
        let history_days = env.or(
            "HISTORY_DAYS",
            HistoryDays::default(),
            HistoryDays::EXPECTED,
        )?;
        let settings = Settings {
            policy: env.json("POLICY", "a policy")?,
            history_days,
            public_base_url: env.required("PUBLIC_BASE_URL")?,
            look_always: env.or("INVITED_BEFORE", false, "true or false")?,
            now,
        };
        let return_keys =
            ReturnKeys::cached(Secret::new(secrets, env.required("RETURN_SECRET_ID")?));
        Ok(Self::new(table, catena, return_keys, settings))
    }
}

//! An inviter, as the settings have it.

use aws_sdk_secretsmanager::Client as SecretsManager;
use catena_client::{BaseUrl, Client, Endpoints};
use return_token::ReturnKeys;
use secrets::Secret;
use startup::{Env, SettingError};
use store::{HistoryDays, Table};
use time::OffsetDateTime;

use crate::{Inviter, credentials::CatenaSecret, inviter::Settings};

impl Inviter {
    /// Reads `CATENA_SECRET_ID`, `CATENA_API_URL`, `CATENA_TOKEN_URL`, `RETURN_SECRET_ID`, `PUBLIC_BASE_URL`, `HISTORY_DAYS`, `POLICY` and
    /// `INVITED_BEFORE`.
    pub fn start(env: &Env, table: Table, secrets: SecretsManager) -> Result<Self, SettingError> {
        let now = OffsetDateTime::now_utc;
        let secret = |key| Ok::<_, SettingError>(Secret::new(secrets.clone(), env.required(key)?));
        let credentials = CatenaSecret::new(secret("CATENA_SECRET_ID")?);
        let url = |key| env.parsed::<BaseUrl>(key, BaseUrl::EXPECTED);
        let endpoints = Endpoints {
            api: url("CATENA_API_URL")?,
            token: url("CATENA_TOKEN_URL")?,
        };
        let catena = Client::new(
            endpoints,
            catena_client::Patience::default(),
            move || credentials.clone().read(),
            now,
        );
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
        let return_keys = ReturnKeys::cached(secret("RETURN_SECRET_ID")?);
        Ok(Self::new(table, catena, return_keys, settings))
    }
}

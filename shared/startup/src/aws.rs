//! AWS clients that start fast and give up in time.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig,
    environment::EnvironmentVariableCredentialsProvider, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};

use crate::{Env, SettingError};

/// How long to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one attempt, its connection included.
    pub attempt: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// The longest pause after the first attempt; it doubles from there.
    pub pause: Duration,
}

impl Patience {
    /// While a caller waits up to API Gateway's 30 s: several attempts fit a deadline of 28 s.
    pub const OF_A_CALLER: Self = Self {
        connect: Duration::from_millis(500),
        attempt: Duration::from_secs(2),
        attempts: 3,
        pause: Duration::from_millis(50),
    };
}

/// The configuration that all of a function's clients share.
///
/// Region and credentials come from the variables that Lambda sets, so no other place is asked. HTTPS is that of [`https`].
pub async fn aws_config(env: &Env, patience: Patience) -> Result<SdkConfig, SettingError> {
    let region = env.required("AWS_REGION")?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(patience.connect)
        .operation_attempt_timeout(patience.attempt)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(patience.attempts)
        .with_initial_backoff(patience.pause);
    Ok(https(aws_config::defaults(BehaviorVersion::latest()))
        .region(Region::new(region))
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .timeout_config(timeouts)
        .retry_config(retries)
        .load()
        .await)
}

/// Gives clients the HTTPS that everything here uses. TLS is rustls on `ring`: aws-lc gathers 20 ms of CPU jitter at its
/// first random number. Only Amazon Trust Services' roots are trusted, compiled in, because reading the system's
/// certificates costs milliseconds of every cold start and every AWS endpoint of the `aws` and `aws-us-gov` partitions has
/// a certificate below them.
pub fn https(loader: ConfigLoader) -> ConfigLoader {
    let roots = TrustStore::empty().with_pem_certificate(AMAZON_TRUST_SERVICES);
    let context = TlsContext::builder().with_trust_store(roots).build();
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(context.expect("a trust store alone is a valid TLS context"))
        .build_https();
    loader.http_client(http)
}

const AMAZON_TRUST_SERVICES: &[u8] = include_bytes!("amazon-trust-services.pem");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_five_roots_are_compiled_in() {
        let text = str::from_utf8(AMAZON_TRUST_SERVICES).unwrap();
        assert_eq!(text.matches("-----BEGIN CERTIFICATE-----").count(), 5);
    }

    /// The provider parses the certificates when it is built, and panics on a bad one.
    #[test]
    fn the_trust_store_is_usable() {
        let env = Env::from_vars([("AWS_REGION".to_owned(), "eu-central-1".to_owned())]);
        let patience = Patience {
            connect: Duration::from_millis(1),
            attempt: Duration::from_millis(1),
            attempts: 1,
            pause: Duration::ZERO,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let config = runtime.unwrap().block_on(aws_config(&env, patience));
        assert_eq!(
            config.unwrap().region().map(AsRef::as_ref),
            Some("eu-central-1")
        );
    }
}

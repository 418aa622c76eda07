//! Where Catena is. What holds a credential is sent nowhere else.

use std::{fmt, str::FromStr};

use fetch::{http::Uri, is_loopback};

/// The base of a URL that may be told a credential: below `catenatelematics.com` over HTTPS, or on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

/// A URL that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {}", BaseUrl::EXPECTED)]
pub struct InvalidUrl;

/// The two URLs that Catena is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The API's, before `/v2`.
    pub api: BaseUrl,
    /// The token endpoint's, whole (contract 1).
    pub token: BaseUrl,
}

impl BaseUrl {
    /// What is allowed, to complete the sentence "… is not …".
    pub const EXPECTED: &str = "https://catenatelematics.com or a host below it, or http(s) to a loopback address, \
                                without user, query and fragment";

    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        // The parser drops fragments, and takes anything before an @ for a user.
        if text.contains(['#', '@', '?', '\\']) {
            return Err(InvalidUrl);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let host = uri.host().ok_or(InvalidUrl)?;
        let allowed = match uri.scheme_str() {
            Some("https") => is_catena(host) || is_loopback(host),
            Some("http") => is_loopback(host),
            _ => false,
        };
        let base = text.trim_end_matches('/').to_owned();
        allowed.then_some(Self(base)).ok_or(InvalidUrl)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Catena's own (contract 1, 2). There is no other host for sandboxes.
impl Default for Endpoints {
    fn default() -> Self {
        Self {
            api: BaseUrl("https://api.catenatelematics.com".to_owned()),
            token: BaseUrl(
                "https://auth.catenatelematics.com/realms/catena/protocol/openid-connect/token"
                    .to_owned(),
            ),
        }
    }
}

fn is_catena(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == DOMAIN
        || host
            .strip_suffix(DOMAIN)
            .is_some_and(|below| below.len() > 1 && below.ends_with('.'))
}

const DOMAIN: &str = "catenatelematics.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_catena_and_this_machine_are_told_anything() {
        for good in [
            "https://api.catenatelematics.com",
            "https://catenatelematics.com/x",
            "https://API.CatenaTelematics.com:443/",
            "http://127.0.0.1:4000",
            "https://localhost:4000/auth/token",
            "http://[::1]:4000",
        ] {
            assert!(good.parse::<BaseUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "api.catenatelematics.com",
            "/v2",
            "http://api.catenatelematics.com",
            "https://catenatelematics.com.example.com",
            "https://evilcatenatelematics.com",
            "https://.catenatelematics.com",
            "https://catenatelematics.com.",
            "https://user@api.catenatelematics.com",
            "https://api.catenatelematics.com@example.com",
            "https://example.com#.catenatelematics.com",
            "https://example.com\\.catenatelematics.com",
            "https://api.catenatelematics.com?x=1",
            "https://api.catenatelematics.com/#x",
            "http://localhost.example.com",
            "http://169.254.169.254",
            "ftp://localhost",
        ] {
            assert_eq!(bad.parse::<BaseUrl>(), Err(InvalidUrl), "{bad}");
        }
    }

    #[test]
    fn the_error_names_what_is_allowed() {
        let error = InvalidUrl.to_string();
        assert!(error.contains("https://catenatelematics.com") && error.contains("loopback"));
    }

    #[test]
    fn the_defaults_pass_their_own_check() {
        let Endpoints { api, token } = Endpoints::default();
        assert_eq!(api.as_str().parse(), Ok(api));
        assert_eq!(token.as_str().parse(), Ok(token));
        assert_eq!(
            "http://[::1]:1/".parse::<BaseUrl>().unwrap().as_str(),
            "http://[::1]:1"
        );
    }
}

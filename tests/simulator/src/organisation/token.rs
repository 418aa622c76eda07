//! The token endpoint (contract 1), and what tokens allow.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::json;

use super::{
    errors::{Refusal, Reply},
    query::Query,
    routes::{self, Access},
};
use crate::{envelope::uuid_v4, fleet::TOKEN_PREFIX};

/// The partner's client.
pub const CLIENT_ID: &str = "simulated-partner";

/// The client's secret. It begins with [`TOKEN_PREFIX`], so that leak tests find it.
pub const CLIENT_SECRET: &str = "SIMULATED-NOT-A-REAL-CLIENT-SECRET";

/// The token endpoint's path below [`Simulator::url`](crate::Simulator::url).
pub const TOKEN_PATH: &str = "/realms/catena/protocol/openid-connect/token";

pub(super) use TOKEN_PATH as PATH;

/// Tokens given out.
pub(super) struct Tokens {
    /// Of tokens given out from now on.
    pub(super) lifetime: Duration,
    /// Of tokens given out from now on.
    pub(super) permissions: BTreeSet<String>,
    given: HashMap<String, Token>,
}

struct Token {
    expires_at: Instant,
    permissions: BTreeSet<String>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3600),
            permissions: routes::permissions().map(str::to_owned).collect(),
            given: HashMap::new(),
        }
    }
}

impl Tokens {
    /// Answers a request for a token. What Keycloak says about each mistake isn't part of the contract: the codes are
    /// those of OAuth 2 (RFC 6749, 5.2).
    pub(super) fn answer(&mut self, content_type: &str, body: &[u8]) -> Reply {
        match self.check(content_type, body) {
            Ok(()) => self.grant(),
            Err((status, error, description)) => {
                let body = json!({"error": error, "error_description": description});
                Reply::json(status, &body)
            }
        }
    }

    fn check(
        &self,
        content_type: &str,
        body: &[u8],
    ) -> Result<(), (StatusCode, &'static str, String)> {
        let bad = |error, description: &str| {
            Err((StatusCode::BAD_REQUEST, error, description.to_owned()))
        };
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            return bad("invalid_request", "the body isn't a form");
        }
        let Ok(body) = std::str::from_utf8(body) else {
            return bad("invalid_request", "the form isn't text");
        };
        let form = Query::parse(body);
        let field = |name| form.one(name);
        for name in ["grant_type", "client_id", "client_secret", "scope"] {
            if field(name).is_none() {
                return bad(
                    "invalid_request",
                    &format!("Missing form parameter: {name}"),
                );
            }
        }
        if field("grant_type") != Some("client_credentials") {
            return bad("unsupported_grant_type", "Unsupported grant_type");
        }
        if (field("client_id"), field("client_secret")) != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
            let description = "Invalid client or Invalid client credentials".to_owned();
            return Err((StatusCode::UNAUTHORIZED, "invalid_client", description));
        }
        if field("scope") != Some("organization") {
            return bad("invalid_scope", "Invalid scopes");
        }
        Ok(())
    }

    fn grant(&mut self) -> Reply {
        let permissions = self.permissions.clone();
        let scope = permissions.iter().map(String::as_str).collect::<Vec<_>>();
        let scope = scope.join(" ");
        Reply::ok(&json!({
            "access_token": self.give(permissions),
            "expires_in": self.lifetime.as_secs(),
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": scope,
        }))
    }

    /// A new token. Opaque, although Catena's are JWTs: nothing of them is promised but the claims' names.
    pub(super) fn give(&mut self, permissions: BTreeSet<String>) -> String {
        let now = Instant::now();
        self.given.retain(|_, token| token.expires_at > now);
        let token = format!("{TOKEN_PREFIX}API-TOKEN-{}", uuid_v4());
        let expires_at = now + self.lifetime;
        self.given.insert(
            token.clone(),
            Token {
                expires_at,
                permissions,
            },
        );
        token
    }

    pub(super) fn revoke(&mut self) {
        self.given.clear();
    }

    /// Whether a request with this `Authorization` header may pass.
    pub(super) fn admit(&self, access: Access, authorization: Option<&str>) -> Result<(), Refusal> {
        let needed = match access {
            Access::Open => return Ok(()),
            Access::Token => None,
            Access::Permission(name) => Some(name),
        };
        let (scheme, token) = authorization
            .and_then(|text| text.split_once(' '))
            .ok_or(Refusal::Unauthorized)?;
        let token = self
            .given
            .get(token)
            .filter(|token| {
                scheme.eq_ignore_ascii_case("bearer") && token.expires_at > Instant::now()
            })
            .ok_or(Refusal::Unauthorized)?;
        match needed {
            Some(name) if !token.permissions.contains(name) => Err(Refusal::Forbidden),
            Some(_) | None => Ok(()),
        }
    }
}

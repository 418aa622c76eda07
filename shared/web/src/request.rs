//! Who asks for what, and an answer.

use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{HeaderValue, header, response::Builder},
    request::RequestContext,
};
use pages::{Document, Visitor};

use crate::LinkCookie;

/// What a browser, or who passes for one, asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a>(&'a Request);

impl<'a> Asked<'a> {
    /// A request of API Gateway's.
    pub fn new(request: &'a Request) -> Self {
        Self(request)
    }

    /// The route that led here, such as `GET /connect/{link}`; empty if none did.
    pub fn route(self) -> String {
        match self.0.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => {
                context.route_key.clone().unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    /// A part of the path; empty if the route has none of that name.
    pub fn part(self, name: &str) -> &'a str {
        let parts = self.0.path_parameters_ref();
        parts.and_then(|it| it.first(name)).unwrap_or_default()
    }

    /// All values of a parameter of the query.
    pub fn parameters(self, name: &str) -> Vec<&'a str> {
        let parameters = self.0.query_string_parameters_ref();
        parameters.and_then(|it| it.all(name)).unwrap_or_default()
    }

    /// A header's text; the first, if there are several.
    pub fn header(self, name: &str) -> Option<&'a str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The browser's own link.
    pub fn cookie(self) -> Option<LinkCookie> {
        let cookies = self.0.headers().get_all(header::COOKIE).iter();
        cookies
            .filter_map(|it| LinkCookie::read(it.to_str().ok()?))
            .next()
    }

    /// Who looks.
    pub fn visitor(self) -> Visitor {
        let cookie = self.cookie();
        Visitor::new(
            self.parameters("lang").first().copied(),
            cookie.as_ref().map(|it| it.lang.as_str()),
            self.header("accept-language"),
            self.header("accept-encoding"),
        )
    }

    /// Whether the body isn't wanted.
    pub fn is_head(self) -> bool {
        self.0.method() == lambda_http::http::Method::HEAD
    }

    /// Whether a person's browser goes there now. Whoever only looks ahead (a browser's prefetch, a mail scanner, a chat's
    /// preview) mustn't claim anything. Not a proof of anything: it keeps noise out, and a wrong guess does no harm, because webhooks
    /// decide.
    pub fn is_visit(self) -> bool {
        let is = |name, value: &str| self.header(name).is_some_and(|it| it.contains(value));
        let ahead = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
        let ahead = ahead
            .iter()
            .any(|name| is(name, "prefetch") || is(name, "preview"));
        // Every browser says so since 2023 (Fetch Metadata); where it is absent, the other signs count.
        let elsewhere = self
            .header("sec-fetch-mode")
            .is_some_and(|it| it != "navigate");
        let agent = self
            .header("user-agent")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let browser = agent.starts_with("mozilla/") && !ROBOTS.iter().any(|it| agent.contains(it));
        !self.is_head() && !ahead && !elsewhere && browser
    }
}

/// A document as an answer.
pub fn response(document: Document, cookie: Option<String>) -> Response<Body> {
    let Document {
        status,
        headers,
        body,
    } = document;
    let mut builder: Builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    if let Some(cookie) = cookie.and_then(|it| HeaderValue::try_from(it).ok()) {
        builder = builder.header(header::SET_COOKIE, cookie);
    }
    let body = match String::from_utf8(body) {
        Ok(text) if text.is_empty() => Body::Empty,
        Ok(text) => Body::Text(text),
        // Compressed.
        Err(bytes) => Body::Binary(bytes.into_bytes()),
    };
    let broken = |_| {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = lambda_http::http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    };
    builder.body(body).unwrap_or_else(broken)
}

/// What user agents of robots have in them that pass for browsers otherwise: crawlers, scanners and previews of links.
const ROBOTS: [&str; 10] = [
    "bot",
    "compatible;",
    "crawl",
    "spider",
    "preview",
    "scan",
    "facebookexternalhit",
    "safelinks",
    "slurp",
    "monitor",
];

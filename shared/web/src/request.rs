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
        // What browsers say of themselves since 2023 (Fetch Metadata); of others the user agent has to tell.
        let browser = match self.header("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            None => {
                let agent = self.header("user-agent").unwrap_or_default();
                let agent = agent.to_ascii_lowercase();
                let browser = ["mozilla/", "opera/"]
                    .iter()
                    .any(|it| agent.starts_with(it));
                browser && !ROBOTS.iter().any(|it| agent.contains(it))
            }
        };
        !self.is_head() && !ahead && browser
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

/// What user agents of robots that pass for browsers have in them, and no model of a phone has.
const ROBOTS: [&str; 8] = [
    "bot/",
    "bot;",
    "compatible;",
    "crawler",
    "facebookexternalhit",
    "safelinks",
    "spider",
    "uripreview",
];

#[cfg(test)]
mod tests {
    use lambda_http::http;

    use super::*;

    fn is_visit(headers: &[(&str, &str)]) -> bool {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Asked::new(&request.body(Body::Empty).unwrap()).is_visit()
    }

    #[test]
    fn people_visit_and_robots_dont() {
        let chrome = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36";
        for agent in [
            chrome,
            "Mozilla/5.0 (Linux; Android 9; CUBOT X30 Build/P) AppleWebKit/537.36",
            "Mozilla/5.0 (Linux; Android 8; ScanPal EDA51) AppleWebKit/537.36",
            "Opera/9.80 (J2ME/MIDP; Opera Mini/9/174.101; U; en) Presto/2.12",
        ] {
            assert!(is_visit(&[("user-agent", agent)]), "{agent}");
        }
        for agent in [
            "",
            "curl/8.5.0",
            "Slackbot-LinkExpanding 1.0",
            "WhatsApp/2.24",
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "Mozilla/5.0 (Windows NT 6.1) SkypeUriPreview Preview/0.5",
            "Mozilla/5.0 (X11; Linux x86_64) Googlebot/2.1",
        ] {
            assert!(!is_visit(&[("user-agent", agent)]), "{agent}");
        }
        let navigates = ("sec-fetch-mode", "navigate");
        assert!(is_visit(&[("user-agent", "something new"), navigates]));
        assert!(!is_visit(&[
            ("user-agent", chrome),
            ("sec-fetch-mode", "cors")
        ]));
        assert!(!is_visit(&[
            navigates,
            ("sec-purpose", "prefetch;prerender")
        ]));
    }
}

//! A fleet's telephone on the fleet's pages: it opens them, presses their button, and keeps their cookie.

use anyhow::{Context, Result, bail};
use reqwest::{Method, Response, StatusCode, Url, header};
use serde_json::Value;

/// What a fleet has in its hand.
#[derive(Debug)]
pub(super) struct Phone {
    http: reqwest::Client,
    /// As it is sent back.
    cookie: Option<String>,
}

/// A page as a fleet reads it.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it is.
    pub(super) url: Url,
    /// What it says, in the word that `/status` has for it.
    pub(super) state: String,
    /// Where its button leads, if it has one.
    button: Option<Url>,
}

impl Phone {
    pub(super) fn new() -> Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, cookie: None })
    }

    /// Opens a page.
    pub(super) async fn open(&self, url: &Url) -> Result<Page> {
        let answer = self.ask(Method::GET, url, StatusCode::OK).await?;
        let html = answer.text().await?;
        let state = between(&html, "<title>", " · ").and_then(state);
        let state = state.with_context(|| {
            let title = between(&html, "<title>", "</title>").unwrap_or_default();
            format!("{}: a page `{title}` came", shortened(url))
        })?;
        let button = between(&html, "<form method=\"post\" action=\"", "\"");
        Ok(Page {
            state: state.to_owned(),
            button: button.map(|action| url.join(action)).transpose()?,
            url: url.clone(),
        })
    }

    /// Presses a page's button. Answers where that leads.
    pub(super) async fn press(&mut self, page: &Page) -> Result<Url> {
        let Page { url, state, button } = page;
        let button = button.as_ref();
        let button = button
            .with_context(|| format!("{}: the page `{state}` has no button", shortened(url)))?;
        let answer = self
            .ask(Method::POST, button, StatusCode::SEE_OTHER)
            .await?;
        if let Some(cookie) = answer.headers().get(header::SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next();
            self.cookie = pair.map(str::to_owned);
        }
        leads(&answer)
    }

    /// Follows a redirect of the fleet's pages.
    pub(super) async fn follow(&self, url: &Url) -> Result<Url> {
        leads(&self.ask(Method::GET, url, StatusCode::SEE_OTHER).await?)
    }

    /// Asks what the page after Connect would say by now, as its script does.
    pub(super) async fn status(&self, page: &Page) -> Result<String> {
        let mut url = page.url.clone();
        url.set_path(&format!("{}/status", page.url.path()));
        let answer = self.ask(Method::GET, &url, StatusCode::OK).await?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        let status = answer["status"].as_str();
        Ok(status.context("no status in the answer")?.to_owned())
    }

    async fn ask(&self, method: Method, url: &Url, expected: StatusCode) -> Result<Response> {
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT_LANGUAGE, "en");
        // The cookie is for the pages after Connect alone.
        let cookie = self.cookie.as_ref();
        if let Some(cookie) = cookie.filter(|_| url.path().starts_with("/return/")) {
            request = request.header(header::COOKIE, cookie);
        }
        let answer = request.send().await?;
        let status = answer.status();
        if status != expected {
            let url = shortened(url);
            bail!("{method} {url} answered {status} instead of {expected}");
        }
        Ok(answer)
    }
}

fn leads(answer: &Response) -> Result<Url> {
    let location = answer.headers().get(header::LOCATION);
    let location = location.context("a redirect to nowhere")?.to_str()?;
    Ok(answer.url().join(location)?)
}

/// A path without the middle of what opens it, for errors.
fn shortened(url: &Url) -> String {
    let short = |part: &str| match part.char_indices().nth(12) {
        Some((end, _)) => format!("{}…", &part[..end]),
        None => part.to_owned(),
    };
    let parts: Vec<String> = url.path().split('/').map(short).collect();
    parts.join("/")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// The word for what a page's title says.
fn state(title: &str) -> Option<&'static str> {
    let found = TITLES.iter().find(|(known, _)| *known == title);
    found.map(|(_, state)| *state)
}

const TITLES: [(&str, &str); 10] = [
    ("Invitation", "invited"),
    ("Not connected yet", "started"),
    ("Waiting for confirmation", "connecting"),
    ("Connected", "connected"),
    ("Request not confirmed yet", "requested"),
    ("Provider requested", "requested"),
    ("Ready to connect", "provider_live"),
    ("Invitation declined", "declined"),
    ("Invitation expired", "expired"),
    ("Nothing connected", "failed"),
];
/// Of a browser: whoever else comes back claims nothing.
const USER_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                          Version/18.0 Mobile/15E148 Safari/604.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_whole_token() {
        let url = "http://127.0.0.1:1/return/abcdefghijklmnopqrstuvwxyz/success?status=x";
        let url = Url::parse(url).unwrap();
        assert_eq!(shortened(&url), "/return/abcdefghijkl…/success");
    }

    #[test]
    fn a_page_is_read_by_its_title() {
        let html = "<head><title>Connected · Example Freight</title></head>";
        assert_eq!(
            between(html, "<title>", " · ").and_then(state),
            Some("connected")
        );
        let html = "<head><title>Page not found · Example Freight</title></head>";
        assert_eq!(between(html, "<title>", " · ").and_then(state), None);
    }
}

//! Walks Connect over HTTP: what a fleet does in its browser, without one.

use reqwest::{StatusCode, Url, header};
use roxmltree::{Document, Node, ParsingOptions};

/// A fleet on the pages of Connect. It presses the buttons that it finds there, and keeps no cookies.
///
/// It doesn't follow the redirect to the partner: [`Browser::finish`] and [`Browser::decline`] answer where it leads.
///
/// ```no_run
/// # async fn example(magic_link: &str) -> Result<(), simulator::BrowserError> {
/// let mut browser = simulator::Browser::open(magic_link).await?;
/// browser.accept().await?;
/// browser.connect("samsara").await?;
/// let redirect = browser.finish().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    /// Connect's first page, without the query.
    connect: Url,
    url: Url,
    page: String,
}

impl Browser {
    /// Opens a magic link.
    ///
    /// # Errors
    ///
    /// If it isn't a link to a simulator's Connect. That the invitation is expired isn't an error: see [`Browser::title`].
    pub async fn open(magic_link: &str) -> Result<Self, BrowserError> {
        let link = Url::parse(magic_link);
        let link = link.map_err(|_| BrowserError::Link(magic_link.to_owned()))?;
        let mut connect = link.clone();
        connect.set_query(None);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let mut browser = Self {
            connect,
            url: link.clone(),
            page: String::new(),
            http,
        };
        let request = browser.http.get(link);
        browser.stay(request).await?;
        Ok(browser)
    }

    /// Accepts the invitation.
    ///
    /// # Errors
    ///
    /// If this isn't the page of an active invitation.
    pub async fn accept(&mut self) -> Result<(), BrowserError> {
        self.submit("accept", &[]).await
    }

    /// Declines the invitation. Answers where the partner gets the fleet back.
    ///
    /// # Errors
    ///
    /// If this isn't the page of an active invitation, or the partner gave no URL.
    pub async fn decline(&mut self, reason: Option<&str>) -> Result<Url, BrowserError> {
        let reason = reason.unwrap_or_default();
        self.leave("decline", &[("reason", reason)]).await
    }

    /// Looks for providers. Answers the slugs of those found, supported ones first.
    ///
    /// # Errors
    ///
    /// If the invitation isn't accepted.
    pub async fn search(&mut self, name: &str) -> Result<Vec<String>, BrowserError> {
        self.open_providers().await?;
        self.submit("search", &[("q", name)]).await?;
        let document = self.document()?;
        let ids = document
            .descendants()
            .filter_map(|node| node.attribute("id"));
        let slugs = ids.filter_map(|id| id.strip_prefix("provider-"));
        Ok(slugs.map(str::to_owned).collect())
    }

    /// Connects a provider with credentials that it takes.
    ///
    /// # Errors
    ///
    /// If the invitation isn't accepted, or this provider can't be connected.
    pub async fn connect(&mut self, slug: &str) -> Result<(), BrowserError> {
        self.connect_with(slug, "dana", "correct").await
    }

    /// The same with these credentials; the password `wrong` is refused.
    ///
    /// # Errors
    ///
    /// As [`Browser::connect`], and if the credentials are refused.
    pub async fn connect_with(
        &mut self,
        slug: &str,
        user: &str,
        password: &str,
    ) -> Result<(), BrowserError> {
        self.open_providers().await?;
        self.follow(&format!("provider-{slug}")).await?;
        let credentials = [("user", user), ("password", password)];
        self.submit("connect", &credentials).await?;
        self.has("finish")
    }

    /// Requests the integration of a provider that isn't supported, by its slug or its name.
    ///
    /// # Errors
    ///
    /// If the invitation isn't accepted, or this provider can't be requested.
    pub async fn request(&mut self, provider: &str) -> Result<(), BrowserError> {
        let slug = provider.to_lowercase().replace(' ', "-");
        self.open_providers().await?;
        self.follow(&format!("provider-{slug}")).await?;
        let contact = [("name", "Dana Ruiz"), ("notes", "")];
        self.submit("request-integration", &contact).await?;
        self.submit("confirm-request", &[]).await?;
        self.has("return")
    }

    /// Goes back to the partner. Answers where the partner gets the fleet.
    ///
    /// # Errors
    ///
    /// If there is no button for it here, or the partner gave no URL.
    pub async fn finish(&mut self) -> Result<Url, BrowserError> {
        let button = match self.has("return") {
            Ok(()) => "return",
            Err(_) => "finish",
        };
        self.leave(button, &[]).await
    }

    /// The page's heading.
    pub fn title(&self) -> String {
        let document = self.document().ok();
        let heading = document
            .as_ref()
            .and_then(|document| document.descendants().find(|node| node.has_tag_name("h1")));
        heading
            .and_then(|heading| heading.text())
            .unwrap_or_default()
            .to_owned()
    }

    /// The page's HTML.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The page's URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    async fn open_providers(&mut self) -> Result<(), BrowserError> {
        match self.has("search") {
            Ok(()) => Ok(()),
            Err(_) => self.follow("add-another").await,
        }
    }

    async fn follow(&mut self, link: &str) -> Result<(), BrowserError> {
        let target = {
            let document = self.document()?;
            let link = self.find(&document, link)?;
            self.target(link.attribute("href"))?
        };
        let request = self.http.get(target);
        self.stay(request).await
    }

    async fn submit(&mut self, button: &str, filled: &[(&str, &str)]) -> Result<(), BrowserError> {
        let request = self.form(button, filled)?;
        self.stay(request).await
    }

    async fn leave(&mut self, button: &str, filled: &[(&str, &str)]) -> Result<Url, BrowserError> {
        let request = self.form(button, filled)?;
        match self.send(request).await? {
            Some(partner) => Ok(partner),
            None => Err(BrowserError::Stayed(self.title())),
        }
    }

    /// The form that the button is in, with its fields as they are, but for those filled.
    fn form(
        &self,
        button: &str,
        filled: &[(&str, &str)],
    ) -> Result<reqwest::RequestBuilder, BrowserError> {
        let document = self.document()?;
        let button = self.find(&document, button)?;
        let form = button.ancestors().find(|node| node.has_tag_name("form"));
        let form = form.unwrap_or(button);
        let mut target = self.target(form.attribute("action"))?;
        // The encoder of forms is inside `Url`.
        target.set_query(None);
        for field in form.descendants() {
            let Some(name) = field.attribute("name") else {
                continue;
            };
            let filled = filled.iter().find(|(filled, _)| *filled == name);
            let value = field.attribute("value").or(field.text());
            let value = filled.map_or(value.unwrap_or_default(), |(_, value)| value);
            target.query_pairs_mut().append_pair(name, value);
        }
        if form.attribute("method") == Some("get") {
            return Ok(self.http.get(target));
        }
        let body = target.query().unwrap_or_default().to_owned();
        target.set_query(None);
        let content_type = "application/x-www-form-urlencoded";
        Ok(self
            .http
            .post(target)
            .header(header::CONTENT_TYPE, content_type)
            .body(body))
    }

    async fn stay(&mut self, request: reqwest::RequestBuilder) -> Result<(), BrowserError> {
        match self.send(request).await? {
            Some(partner) => Err(BrowserError::Left(partner)),
            None => Ok(()),
        }
    }

    /// Shows the page that comes in the end, or answers where a redirect out of Connect leads.
    async fn send(
        &mut self,
        request: reqwest::RequestBuilder,
    ) -> Result<Option<Url>, BrowserError> {
        let mut response = request.send().await?;
        while response.status() == StatusCode::SEE_OTHER {
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let location = self.target(location)?;
            if !self.is_here(&location) {
                return Ok(Some(location));
            }
            response = self.http.get(location).send().await?;
        }
        self.url = response.url().clone();
        self.page = response.text().await?;
        self.document()?;
        Ok(None)
    }

    fn is_here(&self, url: &Url) -> bool {
        let below = url.path().strip_prefix(self.connect.path());
        url.origin() == self.connect.origin()
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn target(&self, reference: Option<&str>) -> Result<Url, BrowserError> {
        let reference = reference.unwrap_or_default();
        let target = self.url.join(reference);
        target.map_err(|_| BrowserError::Link(reference.to_owned()))
    }

    fn has(&self, id: &str) -> Result<(), BrowserError> {
        self.find(&self.document()?, id).map(drop)
    }

    fn find<'a, 'input>(
        &self,
        document: &'a Document<'input>,
        id: &str,
    ) -> Result<Node<'a, 'input>, BrowserError> {
        let mut nodes = document.descendants();
        let found = nodes.find(|node| node.attribute("id") == Some(id));
        found.ok_or_else(|| BrowserError::Missing {
            id: id.to_owned(),
            title: self.title(),
        })
    }

    fn document(&self) -> Result<Document<'_>, BrowserError> {
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        Ok(Document::parse_with_options(&self.page, options)?)
    }
}

/// Why a walk through Connect doesn't go on.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// It isn't a link.
    #[error("`{0}` leads nowhere")]
    Link(String),
    /// The page has no such button, link or field: it is another page than expected.
    #[error("the page `{title}` has no `{id}`")]
    Missing {
        /// The page's heading.
        title: String,
        /// The element's id.
        id: String,
    },
    /// Connect shows this page instead of sending the fleet back to the partner.
    #[error("the page `{0}` comes instead of a redirect to the partner")]
    Stayed(String),
    /// Connect sends the fleet back to the partner before its time.
    #[error("a redirect to {0} comes instead of a page")]
    Left(Url),
    /// Nobody answers.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// What answers isn't a simulator's Connect.
    #[error("not a page of the simulator's Connect: {0}")]
    Page(#[from] roxmltree::Error),
}

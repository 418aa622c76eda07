//! A tab, and what can be done and seen in it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{Error, Running, events::Events, session::Session};

/// What a tab pretends to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A phone of 390 x 844 points, with two pixels to the point and a finger; else a screen of 1280 x 800 with a mouse.
    pub phone: bool,
    /// Whether pages run scripts.
    pub javascript: bool,
    /// The languages of who looks, best first, as in `es-MX,es`. `Accept-Language` adds the weights.
    pub language: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            phone: false,
            javascript: true,
            language: "en-US,en",
        }
    }
}

/// A tab that nobody else uses.
#[derive(Debug)]
pub struct Tab {
    /// Gone while it is being dropped.
    session: Option<Session>,
    browser: Arc<Running>,
    options: Options,
    events: Mutex<Events>,
}

/// Doing.
impl Tab {
    /// Opens an address, and waits until the page and what belongs to it is loaded.
    pub async fn open(&self, url: &str) -> Result<(), Error> {
        self.session().post("/url", json!({"url": url})).await?;
        Ok(())
    }

    /// Clicks on the first element of a selector. What comes of it may come later, see [`wait_for`](Self::wait_for).
    pub async fn click(&self, css: &str) -> Result<(), Error> {
        let element = self.element("css selector", css).await?;
        self.act(&element, "click", json!({})).await
    }

    /// Clicks on the link, button, summary or label that says just this. What comes of it may come later.
    pub async fn press(&self, words: &str) -> Result<(), Error> {
        let path = format!(
            r#"//*[self::a or self::button or self::summary or self::label][normalize-space()="{words}"]"#
        );
        let element = self.element("xpath", &path).await?;
        self.act(&element, "click", json!({})).await
    }

    /// Presses what leads to another page, and waits until that one is loaded.
    pub async fn follow(&self, words: &str) -> Result<(), Error> {
        // The navigation begins when it likes, but this page's element is gone only with this page.
        let page = self.element("css selector", "html").await?;
        self.press(words).await?;
        let start = Instant::now();
        while self.session().get(&format!("{page}/name")).await.is_ok() {
            self.look_again("another page", start, FOLLOWED_WITHIN)
                .await?;
        }
        Ok(())
    }

    /// Replaces the content of a field by typing.
    pub async fn fill(&self, css: &str, text: &str) -> Result<(), Error> {
        let element = self.element("css selector", css).await?;
        self.act(&element, "clear", json!({})).await?;
        self.act(&element, "value", json!({"text": text})).await
    }

    /// Presses a key where the focus is, as WebDriver names it: a letter, or for example `\u{E004}`, Tab, or `\u{E007}`, Enter.
    pub async fn key(&self, key: &str) -> Result<(), Error> {
        let act = |what: &str| json!({"type": what, "value": key});
        let actions =
            json!([{"type": "key", "id": "keyboard", "actions": [act("keyDown"), act("keyUp")]}]);
        self.session()
            .post("/actions", json!({"actions": actions}))
            .await?;
        Ok(())
    }

    /// Waits until a selector finds an element.
    pub async fn wait_for(&self, css: &str, limit: Duration) -> Result<(), Error> {
        let start = Instant::now();
        while self.element("css selector", css).await.is_err() {
            self.look_again(css, start, limit).await?;
        }
        Ok(())
    }

    /// Waits until the visible text contains these words.
    pub async fn wait_for_text(&self, words: &str, limit: Duration) -> Result<(), Error> {
        let start = Instant::now();
        while !self.text().await.is_ok_and(|text| text.contains(words)) {
            self.look_again(words, start, limit).await?;
        }
        Ok(())
    }

    /// The value of a JavaScript expression, awaited if it is a promise; also where the page itself may run no scripts.
    pub async fn evaluate(&self, expression: &str) -> Result<Value, Error> {
        self.session().evaluate(expression).await
    }
}

/// Seeing.
impl Tab {
    /// The address of the page that is shown.
    pub async fn url(&self) -> Result<String, Error> {
        Ok(text(&self.session().get("/url").await?))
    }

    /// The page's title.
    pub async fn title(&self) -> Result<String, Error> {
        Ok(text(&self.session().get("/title").await?))
    }

    /// The visible text.
    pub async fn text(&self) -> Result<String, Error> {
        let body = self.element("css selector", "body").await?;
        Ok(text(&self.session().get(&(body + "/text")).await?))
    }

    /// The document as it is now, in HTML.
    pub async fn source(&self) -> Result<String, Error> {
        Ok(text(&self.session().get("/source").await?))
    }

    /// A PNG of what is on the screen.
    pub async fn screenshot(&self) -> Result<Vec<u8>, Error> {
        self.capture(json!({"format": "png"})).await
    }

    /// A PNG of the whole page, however long it is.
    pub async fn full_screenshot(&self) -> Result<Vec<u8>, Error> {
        let metrics = self
            .session()
            .chrome("Page.getLayoutMetrics", json!({}))
            .await?;
        let size = &metrics["cssContentSize"];
        let clip =
            json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let whole = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        self.capture(whole).await
    }
}

/// Judging.
impl Tab {
    /// Everything that is wrong with the page: [`problems`](Self::problems), [`axe`](Self::axe), and sideways scrolling.
    pub async fn faults(&self) -> Result<Vec<String>, Error> {
        let mut faults = self.problems().await?;
        faults.extend(self.axe().await?);
        if self.scrolls_sideways().await? {
            faults.push("scrolls sideways".to_owned());
        }
        Ok(faults)
    }

    /// Errors and warnings of the console since it was last asked: what scripts threw or wrote there, violations of the content
    /// security policy, requests that failed. Not the status of a page itself, which is [`status`](Self::status).
    pub async fn problems(&self) -> Result<Vec<String>, Error> {
        self.observe(|events| std::mem::take(&mut events.problems))
            .await
    }

    /// The HTTP status of the last page, after redirects. `None` if there was no answer.
    pub async fn status(&self) -> Result<Option<u16>, Error> {
        self.observe(|events| events.status).await
    }

    /// Bytes over the wire, heads and redirects included, for the last page and what it has loaded so far. Not its icon, which
    /// is loaded at any time, or from an earlier page's cache.
    pub async fn bytes(&self) -> Result<u64, Error> {
        self.observe(|events| events.bytes).await
    }

    /// Whether the page is wider than the screen. A page that isn't made for phones is, on a phone.
    pub async fn scrolls_sideways(&self) -> Result<bool, Error> {
        let (width, _) = self.options.size();
        let page = "document.scrollingElement";
        let script = format!("{page}.scrollWidth > Math.min({page}.clientWidth, {width})");
        Ok(self.evaluate(&script).await? == true)
    }

    /// What axe-core finds against WCAG 2.0, 2.1 and 2.2, A and AA, and good practice: rule, impact, element and why. What it
    /// can't decide isn't said. Works without the page's scripts, too.
    pub async fn axe(&self) -> Result<Vec<String>, Error> {
        let found = self.evaluate("typeof axe").await?;
        if found != "object" {
            // `null`, because what the script leaves behind is none of our concern.
            self.evaluate(&format!("{};null", self.browser.axe)).await?;
        }
        // It waits by timers, which count as scripts. Those of the page are long past.
        let scripts = async |disabled: bool| {
            let params = json!({"value": disabled});
            self.session()
                .chrome("Emulation.setScriptExecutionDisabled", params)
                .await
        };
        if !self.options.javascript {
            scripts(false).await?;
        }
        let findings = self.evaluate(AXE).await;
        if !self.options.javascript {
            scripts(true).await?;
        }
        Ok(serde_json::from_value(findings?)?)
    }

    /// How many rules the page passed when [`axe`](Self::axe) last looked at it. Those that didn't apply aren't counted.
    pub async fn axe_passed(&self) -> Result<u64, Error> {
        let passed = self.evaluate("axe.passed").await?;
        Ok(passed.as_u64().unwrap_or_default())
    }
}

impl Tab {
    pub(crate) async fn new(
        session: Session,
        browser: Arc<Running>,
        options: Options,
    ) -> Result<Self, Error> {
        let this = Self {
            session: Some(session),
            browser,
            options,
            events: Mutex::default(),
        };
        this.empty().await?;
        this.pretend().await?;
        // What was logged until now isn't about this tab.
        this.observe(std::mem::take).await?;
        Ok(this)
    }

    async fn empty(&self) -> Result<(), Error> {
        self.open("about:blank").await?;
        let all = json!({"origin": "*", "storageTypes": "all"});
        for (command, params) in [
            ("Network.clearBrowserCookies", json!({})),
            ("Network.clearBrowserCache", json!({})),
            ("Storage.clearDataForOrigin", all),
            ("Page.resetNavigationHistory", json!({})),
        ] {
            self.session().chrome(command, params).await?;
        }
        Ok(())
    }

    async fn pretend(&self) -> Result<(), Error> {
        let Options {
            phone,
            javascript,
            language,
        } = self.options;
        let (width, height) = self.options.size();
        let (system, mobile) = if phone {
            ("Linux; Android 10; K", " Mobile")
        } else {
            ("X11; Linux x86_64", "")
        };
        let version = &self.session().version;
        let agent = format!(
            "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0{mobile} Safari/537.36"
        );
        let screen = json!({
            "width": width, "height": height, "screenWidth": width, "screenHeight": height,
            "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone,
        });
        let locale = language.split(',').next();
        for (command, params) in [
            ("Emulation.setDeviceMetricsOverride", screen),
            (
                "Emulation.setTouchEmulationEnabled",
                json!({"enabled": phone}),
            ),
            (
                "Emulation.setUserAgentOverride",
                json!({"userAgent": agent, "acceptLanguage": language}),
            ),
            // They would take room before a screenshot of the whole page, and none after it.
            ("Emulation.setScrollbarsHidden", json!({"hidden": true})),
            ("Emulation.setLocaleOverride", json!({"locale": locale})),
            (
                "Emulation.setScriptExecutionDisabled",
                json!({"value": !javascript}),
            ),
        ] {
            self.session().chrome(command, params).await?;
        }
        Ok(())
    }

    fn session(&self) -> &Session {
        self.session
            .as_ref()
            .expect("it is taken out on drop alone")
    }

    /// The path of an element.
    async fn element(&self, using: &str, value: &str) -> Result<String, Error> {
        let found = self
            .session()
            .post("/element", json!({"using": using, "value": value}))
            .await?;
        // The key is a constant of the protocol.
        let id = found.as_object().and_then(|found| found.values().next());
        Ok(format!("/element/{}", text(id.unwrap_or(&Value::Null))))
    }

    async fn act(&self, element: &str, what: &str, params: Value) -> Result<(), Error> {
        let path = format!("{element}/{what}");
        self.session().post(&path, params).await?;
        Ok(())
    }

    /// Waits by the clock, because an observer in the page would be gone with the page.
    async fn look_again(&self, what: &str, start: Instant, limit: Duration) -> Result<(), Error> {
        if start.elapsed() > limit {
            return Err(Error::NotSeen {
                what: what.to_owned(),
                limit,
                url: self.url().await?,
                text: self.text().await?,
            });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        Ok(())
    }

    async fn capture(&self, params: Value) -> Result<Vec<u8>, Error> {
        let image = self
            .session()
            .chrome("Page.captureScreenshot", params)
            .await?;
        Ok(BASE64_STANDARD.decode(text(&image["data"]))?)
    }

    /// Reads the logs. The console first, so that the other knows of each page that it speaks of.
    async fn observe<T>(&self, look: impl FnOnce(&mut Events) -> T) -> Result<T, Error> {
        let console = self.session().log("browser").await?;
        let network = self.session().log("performance").await?;
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in &network {
            events.network(entry, &self.session().frame);
        }
        events.console(&console);
        Ok(look(&mut events))
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.browser.give_back(session);
        }
    }
}

impl Options {
    /// In points.
    fn size(self) -> (u32, u32) {
        if self.phone { (390, 844) } else { (1280, 800) }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Half the time in which nobody notices.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

const FOLLOWED_WITHIN: Duration = Duration::from_secs(30);

/// `target-size` is of WCAG 2.2, and off unless asked for. Nothing is loaded once more for it (`preload`).
const AXE: &str = r#"
axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    rules: {"target-size": {enabled: true}},
    resultTypes: ["violations"],
    preload: false,
}).then(({violations, passes}) => {
    axe.passed = passes.length;
    return violations.flatMap(({id, impact, nodes}) => nodes.map(node =>
        `axe: ${id} (${impact}) at ${node.target.join(" ")}: ${node.failureSummary.replace(/\s+/g, " ")}`));
})"#;

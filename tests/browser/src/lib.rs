//! Headless Chromium, for tests of pages: what they show, what they cost, and what is wrong with them.
//!
//! ```no_run
//! # async fn example() -> Result<(), browser::Error> {
//! use browser::{Browser, Options};
//!
//! let Some(browser) = Browser::shared().await else {
//!     return Ok(()); // said loudly, and a panic where `CI` is set
//! };
//! let tab = browser.tab(Options { phone: true, language: "es-MX,es", ..Options::default() }).await?;
//! tab.open("http://127.0.0.1:8080/").await?;
//! assert_eq!(tab.faults().await?, Vec::<String>::new());
//! # Ok(())
//! # }
//! ```
//!
//! One chromedriver serves all of a test program. A Chromium takes a second to start, so tabs that were dropped are used again,
//! emptied of cookies, cache, storage and history: there are never more of them than were held at the same time.
//!
//! The WebDriver protocol is spoken here rather than by `fantoccini`, because that brings `webdriver`, and with it a licence
//! we don't take (MPL 2.0), `http` 0.2 and a dozen crates a second time.

mod events;
mod process;
mod programs;
mod session;
mod tab;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{process::Driver, session::Session};
pub use crate::{
    programs::Programs,
    tab::{Options, Tab},
};

/// A running chromedriver and its Chromiums. They end when the last of it and of its tabs is dropped, and also when this
/// process ends, however it does.
#[derive(Debug, Clone)]
pub struct Browser {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    driver: Driver,
    http: reqwest::Client,
    programs: Programs,
    /// The source of axe-core.
    axe: String,
    idle: Mutex<Vec<Session>>,
}

impl Browser {
    /// This process's browser. `None` if there are no programs for it, see [`Programs::find`].
    ///
    /// # Panics
    ///
    /// If the browser is there but doesn't start, or isn't there though `CI` is set.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Browser> = OnceCell::const_new();
        let programs = Programs::find()?;
        let start = async || match Self::start(programs).await {
            Ok(browser) => browser,
            Err(error) => panic!("the browser doesn't start: {error}"),
        };
        Some(SHARED.get_or_init(start).await)
    }

    /// Starts chromedriver on a free port. Chromium comes with the first tab.
    pub async fn start(programs: Programs) -> Result<Self, Error> {
        let axe = std::fs::read_to_string(&programs.axe).map_err(Error::Start)?;
        // Tests have a runtime each, which a kept connection wouldn't outlive.
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(COMMAND_WITHIN)
            .build()?;
        let driver = Driver::start(&programs.chromedriver).await?;
        let idle = Mutex::default();
        let running = Running {
            driver,
            http,
            programs,
            axe,
            idle,
        };
        Ok(Self {
            running: Arc::new(running),
        })
    }

    /// An empty tab: no cookies, no cache, no history.
    pub async fn tab(&self, options: Options) -> Result<Tab, Error> {
        let idle = self.running.take();
        if let Some(session) = idle
            && let Ok(tab) = Tab::new(session, Arc::clone(&self.running), options).await
        {
            return Ok(tab);
        }
        let Running {
            driver,
            http,
            programs,
            ..
        } = &*self.running;
        let session = Session::start(http.clone(), driver.port, &programs.chrome).await?;
        Tab::new(session, Arc::clone(&self.running), options).await
    }
}

impl Running {
    fn take(&self) -> Option<Session> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn give_back(&self, session: Session) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session);
    }
}

/// Why the browser didn't do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// chromedriver or axe-core can't be used.
    #[error("the browser's programs can't be used")]
    Start(#[source] io::Error),
    /// chromedriver ended, or is silent.
    #[error("no port from chromedriver")]
    NotReady,
    /// chromedriver doesn't answer.
    #[error("chromedriver doesn't answer")]
    Wire(#[from] reqwest::Error),
    /// It does, with what isn't WebDriver.
    #[error("chromedriver's answer can't be read")]
    Answer(#[from] serde_json::Error),
    /// A screenshot that is none.
    #[error("the screenshot can't be read")]
    Image(#[from] base64::DecodeError),
    /// It refuses: no such element, a script that throws, a server that can't be reached.
    #[error("{command}: {error}: {message}")]
    Refused {
        /// What was asked.
        command: String,
        /// WebDriver's word for it, as in `no such element`.
        error: String,
        /// The details.
        message: String,
    },
    /// What was waited for didn't appear.
    #[error("{what} didn't appear within {limit:?} on {url}, which says:\n{text}")]
    NotSeen {
        /// A selector, or words.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// The page's address.
        url: String,
        /// The page's visible text.
        text: String,
    },
}

/// More than Chromium's own limits for a page and a script, which give a better message.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

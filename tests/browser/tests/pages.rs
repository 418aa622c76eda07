//! Pages with a fault each: what the harness finds, and that it finds nothing else.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use browser::{Browser, Options, Programs, Tab};

/// The test is skipped without a browser.
macro_rules! browser {
    () => {
        match Browser::shared().await {
            Some(browser) => browser,
            None => return,
        }
    };
}

#[tokio::test]
async fn a_clean_page_has_no_faults() {
    let browser = browser!();
    let site = Site::start().await;
    for (phone, javascript) in [(false, true), (false, false), (true, true), (true, false)] {
        let options = Options {
            phone,
            javascript,
            ..Options::default()
        };
        let tab = browser.tab(options).await.unwrap();
        tab.open(&site.url("/clean")).await.unwrap();
        assert_eq!(tab.status().await.unwrap(), Some(200));
        assert_eq!(tab.faults().await.unwrap(), NONE, "{options:?}");
    }
}

#[tokio::test]
async fn what_the_console_says_is_found() {
    let browser = browser!();
    let site = Site::start().await;
    let tab = browser.tab(Options::default()).await.unwrap();
    for (page, problem) in [
        ("/inline-script", "security: "),
        ("/inline-style", "security: "),
        ("/foreign-image", "security: "),
        ("/console-error", "console-api: "),
        ("/console-warning", "console-api: "),
        ("/exception", "javascript: "),
        ("/rejection", "javascript: "),
        ("/missing-image", "network: "),
        ("/unreachable", "network: "),
    ] {
        tab.open(&site.url(page)).await.unwrap();
        let problems = tab.problems().await.unwrap();
        assert!(
            problems.iter().any(|found| found.starts_with(problem)),
            "{page}: {problems:?}"
        );
        assert_eq!(tab.problems().await.unwrap(), NONE, "{page}: told once");
    }
}

#[tokio::test]
async fn a_form_that_the_policy_holds_back_is_found() {
    let browser = browser!();
    let site = Site::start().await;
    for javascript in [true, false] {
        let options = Options {
            javascript,
            ..Options::default()
        };
        let tab = browser.tab(options).await.unwrap();
        tab.open(&site.url("/form-to-elsewhere")).await.unwrap();
        tab.press("Go").await.unwrap();
        let start = Instant::now();
        let mut problems = tab.problems().await.unwrap();
        while problems.is_empty() && start.elapsed() < SOON {
            problems = tab.problems().await.unwrap();
        }
        assert!(
            problems.iter().any(|found| found.contains("form-action")),
            "{problems:?}"
        );
        assert_eq!(site.asked("/elsewhere"), 0);
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_loaded_is_found() {
    let browser = browser!();
    let site = Site::start().await;
    let tab = browser.tab(Options::default()).await.unwrap();
    // Chromium never connects to port 9.
    tab.open(&site.url("/link-to-nowhere")).await.unwrap();
    tab.follow("Go").await.unwrap();
    let problems = tab.problems().await.unwrap();
    assert!(
        problems
            .iter()
            .any(|found| found.starts_with("page not loaded: ")),
        "{problems:?}"
    );
    assert_eq!(tab.status().await.unwrap(), None);
}

#[tokio::test]
async fn no_name_is_looked_up() {
    let browser = browser!();
    let tab = browser.tab(Options::default()).await.unwrap();
    let error = tab.open("http://example.com/").await.unwrap_err();
    assert!(
        error.to_string().contains("ERR_NAME_NOT_RESOLVED"),
        "{error}"
    );
}

#[tokio::test]
async fn the_status_of_a_page_is_no_problem_but_that_of_its_parts_is() {
    let browser = browser!();
    let site = Site::start().await;
    let tab = browser.tab(Options::default()).await.unwrap();
    tab.open(&site.url("/nothing-here")).await.unwrap();
    assert_eq!(tab.status().await.unwrap(), Some(404));
    assert_eq!(tab.problems().await.unwrap(), NONE);
    tab.open(&site.url("/missing-image")).await.unwrap();
    assert_eq!(tab.status().await.unwrap(), Some(200));
    assert_eq!(tab.problems().await.unwrap().len(), 1);
}

#[tokio::test]
async fn sideways_scrolling_is_found() {
    let browser = browser!();
    let site = Site::start().await;
    for javascript in [true, false] {
        for (page, on_phone, on_screen) in [
            ("/clean", false, false),
            ("/wide", true, false),
            ("/very-wide", true, true),
            ("/not-for-phones", true, false),
        ] {
            for (phone, expected) in [(true, on_phone), (false, on_screen)] {
                let options = Options {
                    phone,
                    javascript,
                    ..Options::default()
                };
                let tab = browser.tab(options).await.unwrap();
                tab.open(&site.url(page)).await.unwrap();
                let scrolls = tab.scrolls_sideways().await.unwrap();
                assert_eq!(scrolls, expected, "{page}, {options:?}");
            }
        }
    }
}

/// All pages have the same policy, which forbids scripts: axe isn't held back by it.
#[tokio::test]
async fn what_keeps_people_out_is_found() {
    let browser = browser!();
    let site = Site::start().await;
    for javascript in [true, false] {
        let options = Options {
            javascript,
            ..Options::default()
        };
        let tab = browser.tab(options).await.unwrap();
        for (page, rule) in [
            ("/no-label", "axe: label (critical) at #name: "),
            ("/low-contrast", "axe: color-contrast (serious) at #pale: "),
            ("/no-language", "axe: html-has-lang (serious) at html: "),
            (
                "/no-heading",
                "axe: page-has-heading-one (moderate) at html: ",
            ),
            ("/small-targets", "axe: target-size (serious) at #first: "),
        ] {
            tab.open(&site.url(page)).await.unwrap();
            let found = tab.axe().await.unwrap();
            assert!(
                found.iter().any(|found| found.starts_with(rule)),
                "{page}, {options:?}: {found:?}"
            );
            assert_eq!(tab.problems().await.unwrap(), NONE, "{page}");
            assert_eq!(found, tab.axe().await.unwrap(), "{page}: a second time");
        }
    }
}

#[tokio::test]
async fn language_and_agent_arrive() {
    let browser = browser!();
    let site = Site::start().await;
    for (language, sent) in [
        ("en-US,en", "en-US,en;q=0.9"),
        ("es-MX,es", "es-MX,es;q=0.9"),
        ("fr-FR,fr", "fr-FR,fr;q=0.9"),
    ] {
        for phone in [true, false] {
            let options = Options {
                phone,
                language,
                ..Options::default()
            };
            let tab = browser.tab(options).await.unwrap();
            tab.open(&site.url("/clean")).await.unwrap();
            let headers = site.last("/clean");
            assert_eq!(headers[header::ACCEPT_LANGUAGE], sent);
            let agent = headers[header::USER_AGENT].to_str().unwrap().to_owned();
            assert_eq!(agent.contains("Android"), phone, "{agent}");
            assert!(!agent.contains("Headless"), "{agent}");
            let first = &language[..5];
            assert_eq!(tab.evaluate("navigator.language").await.unwrap(), first);
            let locale = "Intl.DateTimeFormat().resolvedOptions().locale";
            assert_eq!(tab.evaluate(locale).await.unwrap(), first);
        }
    }
}

#[tokio::test]
async fn scripts_run_if_they_may() {
    let browser = browser!();
    let site = Site::start().await;
    for (javascript, title, text) in [
        (true, "set by the script", "Hello"),
        (false, "Scripted", "Hello\nWithout scripts"),
    ] {
        let options = Options {
            javascript,
            ..Options::default()
        };
        let tab = browser.tab(options).await.unwrap();
        // After axe, for which scripts are let run, nothing is left of that.
        tab.open(&site.url("/clean")).await.unwrap();
        tab.axe().await.unwrap();
        tab.open(&site.url("/scripted")).await.unwrap();
        assert_eq!(tab.title().await.unwrap(), title);
        assert_eq!(tab.text().await.unwrap(), text);
        assert_eq!(tab.evaluate("1 + 1").await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_phone_is_one() {
    let browser = browser!();
    let site = Site::start().await;
    for (phone, width, height, pixels) in [(true, 390, 844, 2), (false, 1280, 800, 1)] {
        let options = Options {
            phone,
            ..Options::default()
        };
        let tab = browser.tab(options).await.unwrap();
        tab.open(&site.url("/long")).await.unwrap();
        assert_eq!(tab.evaluate("innerWidth").await.unwrap(), width);
        assert_eq!(tab.evaluate("innerHeight").await.unwrap(), height);
        let finger = "matchMedia('(pointer: coarse)').matches";
        assert_eq!(tab.evaluate(finger).await.unwrap(), phone);
        let screen = size(&tab.screenshot().await.unwrap());
        assert_eq!(screen, (width * pixels, height * pixels));
        let page = size(&tab.full_screenshot().await.unwrap());
        assert_eq!(page, (width * pixels, 3000 * pixels));
    }
}

#[tokio::test]
async fn forms_are_filled_and_sent() {
    let browser = browser!();
    let site = Site::start().await;
    for phone in [true, false] {
        for javascript in [true, false] {
            let options = Options {
                phone,
                javascript,
                ..Options::default()
            };
            let tab = browser.tab(options).await.unwrap();
            tab.open(&site.url("/form")).await.unwrap();
            tab.fill("#name", "Flota Ñandú").await.unwrap();
            tab.follow("Send it").await.unwrap();
            // A redirect to what is another site to Chromium.
            assert_eq!(tab.url().await.unwrap(), site.elsewhere("/thanks?x=1"));
            assert_eq!(tab.status().await.unwrap(), Some(200));
            assert_eq!(tab.text().await.unwrap(), "Thanks");
            let sent = site.last_body("/send");
            assert_eq!(sent, "name=Flota+%C3%91and%C3%BA");
            assert_eq!(tab.faults().await.unwrap(), NONE);
        }
    }
}

#[tokio::test]
async fn what_comes_later_is_waited_for() {
    let browser = browser!();
    let site = Site::start().await;
    let tab = browser.tab(Options::default()).await.unwrap();
    tab.open(&site.url("/later")).await.unwrap();
    // In a task, as tests with many tabs do it.
    let waiting = tokio::spawn(async move {
        tab.wait_for("#later", SOON).await.unwrap();
        tab.wait_for_text("Here it is", SOON).await.unwrap();
        tab
    });
    let tab = waiting.await.unwrap();
    let error = tab.wait_for("#never", Duration::ZERO).await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("#never") && said.contains("Here it is"),
        "{said}"
    );
}

#[tokio::test]
async fn bytes_are_those_of_the_wire() {
    let browser = browser!();
    let site = Site::start().await;
    let tab = browser.tab(Options::default()).await.unwrap();
    tab.open(&site.url("/large")).await.unwrap();
    let large = tab.bytes().await.unwrap();
    assert!((100_000..101_000).contains(&large), "{large}");
    tab.open(&site.url("/clean")).await.unwrap();
    let small = tab.bytes().await.unwrap();
    assert!((500..2_000).contains(&small), "{small}");
    let with_style = async |tab: &Tab| {
        tab.open(&site.url("/styled")).await.unwrap();
        tab.bytes().await.unwrap()
    };
    let first = with_style(&tab).await;
    assert!((50_000..52_000).contains(&first), "{first}");
    assert!(with_style(&tab).await < 2_000, "from the cache");
    drop(tab);
    let fresh = browser.tab(Options::default()).await.unwrap();
    assert_eq!(with_style(&fresh).await, first);
}

#[tokio::test]
async fn a_tab_used_again_is_empty() {
    let programs = match Programs::find() {
        Some(programs) => programs,
        None => return,
    };
    // Its own, so that the same Chromium comes back.
    let browser = Browser::start(programs).await.unwrap();
    let site = Site::start().await;
    let start = Instant::now();
    let tab = browser.tab(Options::default()).await.unwrap();
    let first = start.elapsed();
    tab.open(&site.url("/console-error")).await.unwrap();
    tab.evaluate("document.cookie = 'a=b'; localStorage.setItem('c', 'd')")
        .await
        .unwrap();
    tab.open(&site.url("/clean")).await.unwrap();
    assert_eq!(site.last("/clean")[header::COOKIE], "a=b");
    drop(tab);

    let start = Instant::now();
    let tab = browser.tab(Options::default()).await.unwrap();
    let again = start.elapsed();
    assert_eq!(tab.evaluate("history.length").await.unwrap(), 1);
    assert_eq!(tab.url().await.unwrap(), "about:blank");
    let start = Instant::now();
    tab.open(&site.url("/clean")).await.unwrap();
    let visit = start.elapsed();
    assert!(!site.last("/clean").contains_key(header::COOKIE));
    assert_eq!(tab.evaluate("localStorage.length").await.unwrap(), 0);
    let start = Instant::now();
    assert_eq!(tab.faults().await.unwrap(), NONE);
    let faults = start.elapsed();
    eprintln!(
        "a Chromium {first:?}, a tab again {again:?}, a page {visit:?}, its faults {faults:?}"
    );
    assert!(again < first, "{again:?} after {first:?}");
}

/// What the pages are served by, and who asked for them.
struct Site {
    port: u16,
    requests: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
}

impl Site {
    async fn start() -> Self {
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::clone(&requests);
        let any = async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 10_000).await.unwrap();
            let path = head.uri.path().to_owned();
            let answer = answer(&path, port);
            heard.lock().unwrap().push((path, head.headers, body));
            answer
        };
        let router = Router::new().fallback(get(any.clone()).post(any));
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The same server as another site.
    fn elsewhere(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    fn asked(&self, path: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|(of, ..)| of == path).count()
    }

    fn last(&self, path: &str) -> HeaderMap {
        self.last_request(path).0
    }

    fn last_body(&self, path: &str) -> String {
        String::from_utf8(self.last_request(path).1.to_vec()).unwrap()
    }

    fn last_request(&self, path: &str) -> (HeaderMap, Bytes) {
        let requests = self.requests.lock().unwrap();
        let last = requests.iter().rev().find(|(of, ..)| of == path);
        let (_, headers, body) = last.unwrap();
        (headers.clone(), body.clone())
    }
}

fn answer(path: &str, port: u16) -> Response {
    let policy = |page: Response, policy: &str| {
        ([(header::CONTENT_SECURITY_POLICY, policy.to_owned())], page).into_response()
    };
    let strict = |page: String| policy(Html(page).into_response(), STRICT);
    let loose = |page: String| policy(Html(page).into_response(), LOOSE);
    let body = |body: &str| page("Clean", body);
    match path {
        "/clean" => strict(body("<label>Name <input></label>")),
        "/inline-script" => strict(body("<script>1</script>")),
        "/inline-style" => strict(body("<p style='color: red'>Red</p>")),
        "/foreign-image" => strict(body("<img src=//localhost/x.png alt=''>")),
        "/console-error" => loose(body("<script>console.error('oh')</script>")),
        "/console-warning" => loose(body("<script>console.warn('oh')</script>")),
        "/exception" => loose(body("<script>throw new Error('oh')</script>")),
        "/rejection" => loose(body("<script>Promise.reject(new Error('oh'))</script>")),
        "/missing-image" => loose(body("<img src=/nothing-here alt=''>")),
        "/unreachable" => loose(body("<img src=http://127.0.0.1:9/ alt=''>")),
        "/form-to-elsewhere" => strict(body(&format!(
            "<form action=http://localhost:{port}/elsewhere><button>Go</button></form>"
        ))),
        "/link-to-nowhere" => strict(body("<a href=http://127.0.0.1:9/>Go</a>")),
        "/wide" => loose(body("<p style='width: 600px'>Wide</p>")),
        "/very-wide" => loose(body("<p style='width: 1600px'>Very wide</p>")),
        "/not-for-phones" => strict(body("Clean").replace(VIEWPORT, "")),
        "/no-label" => strict(body("<input id=name>")),
        "/low-contrast" => loose(body("<p id=pale style='color: #bbb'>Pale</p>")),
        "/no-language" => strict(body("").replace(" lang=en", "")),
        "/no-heading" => strict(body("").replace("h1", "h2")),
        "/small-targets" => loose(body(SMALL_TARGETS)),
        "/scripted" => loose(page("Scripted", SCRIPTED).replace("<h1>Scripted</h1>", "<p>Hello")),
        "/long" => loose(body("").replace(
            "<body",
            "<body style='display: flow-root; margin: 0; height: 3000px'",
        )),
        "/form" => policy(
            Html(body(FORM)).into_response(),
            &STRICT.replace(
                "form-action 'self'",
                &format!("form-action 'self' http://localhost:{port}"),
            ),
        ),
        "/send" => {
            let to = format!("http://localhost:{port}/thanks?x=1");
            (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
        }
        "/thanks" => strict(page("Thanks", "")),
        "/later" => loose(body(LATER)),
        "/large" => strict(body(&" ".repeat(100_000))),
        "/styled" => loose(body("<link rel=stylesheet href=/style>")),
        "/style" => {
            let cached = [
                (header::CONTENT_TYPE, "text/css"),
                (header::CACHE_CONTROL, "max-age=1000"),
            ];
            (cached, " ".repeat(50_000)).into_response()
        }
        "/favicon.ico" => StatusCode::NO_CONTENT.into_response(),
        _ => (StatusCode::NOT_FOUND, "nothing").into_response(),
    }
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><head><title>{title}</title>{VIEWPORT}</head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    )
}

const NONE: [String; 0] = [];

const SOON: Duration = Duration::from_secs(10);

const VIEWPORT: &str = "<meta name=viewport content='width=device-width, initial-scale=1'>";

const STRICT: &str = "default-src 'none'; img-src 'self'; script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Lets pages have the faults that it isn't about.
const LOOSE: &str = "default-src 'self' 'unsafe-inline' http://127.0.0.1:9";

const SCRIPTED: &str =
    "<script>document.title = 'set by the script'</script><noscript><p>Without scripts</noscript>";

const SMALL_TARGETS: &str = "<style>button { width: 9px; height: 9px; padding: 0; border: 0; margin: 0; float: left }</style>\
                             <button id=first aria-label=1></button><button aria-label=2></button>";

const FORM: &str = "<form method=post action=/send><label for=name>Name</label> \
                    <input id=name name=name value=old><button>Send it</button></form>";

const LATER: &str = "<script>setTimeout(() => {\
                     document.querySelector('main').insertAdjacentHTML('beforeend', '<p id=later>Here it is')\
                     }, 200)</script>";

/// The picture's, in pixels, from its head.
fn size(png: &[u8]) -> (i32, i32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| i32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

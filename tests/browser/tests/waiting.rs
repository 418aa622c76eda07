//! The page that waits for news: its script in a real page for what needs one, and in a world of its own, in which three
//! minutes are over at once, for the rest.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use browser::{Browser, Options};
use pages::{Brand, Document, Lang, Page, Pages, State, Visitor};
use serde_json::json;

/// The test is skipped without a browser.
macro_rules! browser {
    () => {
        match Browser::shared().await {
            Some(browser) => browser,
            None => return,
        }
    };
}

/// The value of some steps in a world of their own, see [`WORLD`]. The test is skipped without a browser.
macro_rules! play {
    ($steps:expr) => {{
        let tab = browser!().tab(Options::default()).await.unwrap();
        let html = json!(html());
        let script = format!(
            "(async () => {{ const html = {html};\n{WORLD}\n{}\n}})()",
            $steps
        );
        tab.evaluate(&script).await.unwrap()
    }};
}

#[tokio::test]
async fn news_are_shown_under_the_real_policy() {
    let browser = browser!();
    let site = Site::start(|nth, known| {
        let state = if nth == 1 {
            State::Connecting
        } else {
            CONNECTED
        };
        Some(respond(pages().status(&state, known)))
    })
    .await;
    let tab = browser.tab(Options::default()).await.unwrap();
    tab.open(&site.url()).await.unwrap();
    tab.wait_for("main.asking", SOON).await.unwrap();
    tab.wait_for("main:not([data-etag])", SOON).await.unwrap();
    assert_eq!(tab.problems().await.unwrap(), [""; 0]);
    let asked = site.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, [PATH, STATUS, STATUS, PATH]);
    let etag = etag();
    for asked in &asked[1..3] {
        assert_eq!(asked.headers[header::IF_NONE_MATCH], etag);
    }
    for (before, seconds) in [(0, 2), (1, 3)] {
        let waited = asked[before + 1].at - asked[before].at;
        // The page needn't have been shown when it was asked for; timers are a little early, never late by themselves.
        assert!(
            waited >= Duration::from_millis(seconds * 1000 - 50),
            "{waited:?}"
        );
    }
}

#[tokio::test]
async fn a_silent_network_is_given_up_and_a_lost_page_says_so() {
    let browser = browser!();
    let site = Site::start(|nth, _| (nth > 1).then(|| StatusCode::NOT_FOUND.into_response())).await;
    let tab = browser.tab(Options::default()).await.unwrap();
    tab.open(&site.url()).await.unwrap();
    assert!(!tab.text().await.unwrap().contains(LATE));
    tab.wait_for_text(LATE, 3 * SOON).await.unwrap();
    tab.wait_for("main:not(.asking)", Duration::ZERO)
        .await
        .unwrap();
    let asked = site.asked();
    assert_eq!(asked.len(), 3, "the page, silence, the end");
    let waited = asked[2].at - asked[1].at;
    assert!(
        waited >= Duration::from_millis(12_900),
        "{waited:?}: 10 s of silence, then 3 s"
    );
}

#[tokio::test]
async fn it_asks_ever_more_seldom_for_three_minutes() {
    let told = play!(
        "await run(179.9); const before = late(); await run(0.2); const after = late();
         await run(1000); return [asked.map(({at}) => at), before, after, busy(), reloads]"
    );
    let delays = [2.0, 3.0, 4.5, 6.75, 10.125].into_iter().chain([15.0; 20]);
    let times = delays.scan(0.0, |at, delay| {
        *at += delay;
        Some(*at)
    });
    let times: Vec<f64> = times.take_while(|at| *at < 180.0).collect();
    let asked: Vec<f64> = serde_json::from_value(told[0].clone()).unwrap();
    assert_eq!(asked, times);
    assert_eq!(
        told.as_array().unwrap()[1..],
        [json!(false), json!(true), json!(false), json!(0)]
    );
}

#[tokio::test]
async fn it_asks_its_status_with_its_etag() {
    let told =
        play!("await run(6); return asked.map(({url, init}) => [url, init.headers, init.cache])");
    let one = json!([STATUS, {"If-None-Match": etag()}, "no-store"]);
    assert_eq!(told, json!([one, one]));
}

#[tokio::test]
async fn what_is_no_news_lets_it_go_on() {
    for answer in [
        "{status: 304}",
        "{status: 304, etag}",
        "{status: 200, etag}",
        "{status: 200, etag: 'W/' + etag}",
        "{status: 200}",
        "{status: 429, etag: '\"other\"'}",
        "{status: 500}",
        "{status: 503, etag: '\"other\"'}",
        "'unreachable'",
    ] {
        let told = play!(format!(
            "answer = () => ({answer}); await run(27); return [asked.map(({{at}}) => at), busy(), late(), reloads]"
        ));
        let expected = json!([[2, 5, 9.5, 16.25, 26.375], true, false, 0]);
        assert_eq!(told, expected, "{answer}");
    }
}

#[tokio::test]
async fn silence_counts_as_failure_after_ten_seconds() {
    let told = play!("answer = () => 'silence'; await run(55); return asked.map(({at}) => at)");
    assert_eq!(told, json!([2, 15, 29.5, 46.25]));
    // The clock goes on meanwhile, and what was asked in time is waited for.
    let told = play!(
        "answer = () => 'silence'; await run(1000); return [asked.length, asked.every(({at}) => at < 180), late()]"
    );
    assert_eq!(told, json!([9, true, true]));
    // Safari 15.
    let told = play!("delete AbortSignal.timeout; await run(6); return asked.map(({at}) => at)");
    assert_eq!(told, json!([2, 5]));
}

#[tokio::test]
async fn news_load_the_page_once() {
    for tag in ["'\"other\"'", "'W/\"other\"'"] {
        let told = play!(format!(
            "answer = nth => nth < 2 ? {{status: 304}} : {{status: 200, etag: {tag}}};
             await run(300); await hide(true); await hide(false); await run(300);
             return [asked.length, reloads, busy(), late()]"
        ));
        assert_eq!(told, json!([2, 1, false, false]), "{tag}");
    }
}

#[tokio::test]
async fn a_page_that_is_gone_says_so_and_stops() {
    let told = play!(
        "answer = nth => ({status: nth < 2 ? 304 : 404}); await run(4.9); const before = late();
         await run(0.2); const after = late(); await run(300); await hide(true); await hide(false);
         await run(300); return [before, after, asked.length, busy(), reloads]"
    );
    assert_eq!(told, json!([false, true, 2, false, 0]));
}

#[tokio::test]
async fn nobody_looking_nothing_is_asked() {
    let told = play!(
        "await run(6); await hide(true); await run(1000); const unseen = [asked.length, late()];
         await hide(false); await run(0); const back = asked.length; await run(5);
         return {unseen, back, asked: asked.map(({at}) => at)}"
    );
    let expected = json!({"unseen": [2, false], "back": 3, "asked": [2, 5, 1006]});
    assert_eq!(told, expected);
    // Opened behind another tab.
    let told = play!(
        "document.hidden = true; await run(1000); const unseen = asked.length; await hide(false);
                      await run(0); return [unseen, asked.length]"
    );
    assert_eq!(told, json!([0, 1]));
    // Asked before, answered after.
    let told = play!("answer = nth => nth > 1 ? {status: 304} : 'silence'; await run(3); await hide(true); await run(100);
                      const unseen = asked.length; await hide(false); await run(0); return [unseen, asked.length]");
    assert_eq!(told, json!([1, 2]));
    // Gone and back before the answer.
    let told = play!(
        "answer = () => 'silence'; await run(3); await hide(true); await hide(false); await run(5); return asked.length"
    );
    assert_eq!(told, 1);
}

/// A hundred looks of a tenth of a second are ten seconds, however many requests they make.
#[tokio::test]
async fn only_what_was_waited_counts() {
    let told = play!(
        "for (let n = 0; n < 100; n++) { await run(0.1); await hide(true); await run(60); await hide(false); }
         await run(169); const before = late(); await run(1.5); const looks = asked.length; const after = late();
         await run(300); return [before, after, asked.length - looks]"
    );
    assert_eq!(told, json!([false, true, 0]));
}

/// Serves the page while it waits, then the one that doesn't, and tells what was asked.
struct Site {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Clone)]
struct Asked {
    at: Instant,
    path: String,
    headers: HeaderMap,
}

impl Site {
    /// `status`: what is answered to whom asks for the status, the first time with 1, and with the ETag that it has. `None` is
    /// silence.
    async fn start(status: fn(usize, Option<&str>) -> Option<Response>) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::clone(&asked);
        let router = Router::new().fallback(async move |request: Request| {
            let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
            if ![PATH, STATUS].contains(&path.as_str()) {
                return StatusCode::NO_CONTENT.into_response();
            }
            let known = headers
                .get(header::IF_NONE_MATCH)
                .map(|tag| tag.to_str().unwrap().to_owned());
            let nth = {
                let mut heard = heard.lock().unwrap();
                heard.push(Asked {
                    at: Instant::now(),
                    path: path.clone(),
                    headers,
                });
                heard.iter().filter(|asked| asked.path == path).count()
            };
            if path == PATH {
                return respond(document(if nth == 1 {
                    &State::Connecting
                } else {
                    &CONNECTED
                }));
            }
            match status(nth, known.as_deref()) {
                Some(response) => response,
                None => std::future::pending().await,
            }
        });
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { port, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn pages() -> Pages {
    let brand = Brand::new("Acme", None, "#1d4ed8", "#ffffff", None).unwrap();
    Pages::new(brand, "http://127.0.0.1", &[])
}

fn document(state: &State) -> Document {
    let page = Page::Return {
        token: "abc",
        fleet: None,
        state,
        link: None,
    };
    let visitor = Visitor {
        lang: Lang::En,
        gzip: false,
    };
    pages().render(&page, &visitor)
}

fn respond(document: Document) -> Response {
    let mut response = Response::builder().status(document.status);
    for (name, value) in document.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(document.body)).unwrap()
}

/// Of the page that waits.
fn html() -> String {
    String::from_utf8(document(&State::Connecting).body).unwrap()
}

/// Of the page that waits.
fn etag() -> String {
    let status = pages().status(&State::Connecting, None);
    let etag = status.headers.into_iter().find(|(name, _)| *name == "etag");
    etag.unwrap().1
}

const CONNECTED: State = State::Connected { requested: None };

const PATH: &str = "/return/abc";
const STATUS: &str = "/return/abc/status";
const LATE: &str = "This takes longer than usual.";

const SOON: Duration = Duration::from_secs(10);

/// The page's script with all that it touches played: time goes by in `run` alone, in seconds from 0, where it begins; `answer` says what the
/// n-th request gets, a status with an ETag or not, `'unreachable'`, or `'silence'`, which only its own limit ends.
const WORLD: &str = r#"
const page = new DOMParser().parseFromString(html, "text/html");
const etag = page.querySelector("main").dataset.etag;
const asked = [], timers = new Map(), listeners = [];
let answer = () => ({status: 304}), reloads = 0, clock = 0, ids = 0, begun = false;
const setTimeout = (act, ms, ...with_) => {
    timers.set(++ids, {at: clock + Math.max(ms, 0) / 1000, act: () => act(...with_)});
    return ids;
};
const clearTimeout = id => timers.delete(id);
const performance = {now: () => 5000 + clock * 1000};
const location = {reload: () => reloads++};
const AbortSignal = {timeout: ms => ({ms})};
const document = {
    hidden: false,
    querySelector: css => page.querySelector(css),
    getElementById: id => page.getElementById(id),
    addEventListener: (name, act) => name === "visibilitychange" && listeners.push(act),
};
const fetch = (url, init) => new Promise((answered, failed) => {
    asked.push({at: clock, url, init});
    const got = answer(asked.length);
    if (got === "unreachable") return failed(new TypeError("Failed to fetch"));
    if (got === "silence") return init.signal && setTimeout(failed, init.signal.ms, new Error("TimeoutError"));
    answered({...got, ok: got.status === 200, headers: {get: name => name === "ETag" ? got.etag ?? null : null}});
});
const settled = () => new Promise(done => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = () => { port1.close(); done(); };
    port2.postMessage(0);
});
const run = async seconds => {
    if (!begun) eval(page.querySelector("script").text);
    begun = true;
    const until = clock + seconds;
    for (;;) {
        await settled();
        const due = [...timers].filter(([, {at}]) => at <= until).sort(([, a], [, b]) => a.at - b.at)[0];
        if (!due) break;
        timers.delete(due[0]);
        clock = due[1].at;
        due[1].act();
    }
    clock = until;
};
const hide = async hidden => {
    document.hidden = hidden;
    listeners.forEach(act => act());
    await settled();
};
const late = () => !page.getElementById("late").hidden;
const busy = () => page.querySelector("main").classList.contains("asking");
"#;

//! What holds for every page.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;
use fleet::Timestamp;
use sha2::{Digest, Sha256};

use crate::{Brand, Document, Lang, Page, Pages, Share, State, Visitor};

const LINK: &str = "L1nk_-";
const TOKEN: &str = "T0ken_-";
const FLEET: &str = "North Star Haulage";
const BACK: &str = "https://app.acme.example/fleets?from=connect";
const CONNECT: &str = "https://connect.catenatelematics.com";
const EVIL: &str = "<script>alert(1)</script>\"'&";
const SIX: Timestamp = Timestamp(1_795_284_000_000);

#[test]
fn every_page_is_whole_in_every_language() {
    let pages = pages();
    let shares = every_share();
    let states = states();
    for (name, page) in all(&states, Some(FLEET), &shares) {
        for lang in Lang::ALL {
            let name = format!("{name} in {}", lang.as_str());
            let document = pages.render(&page, &visitor(lang));
            let html = html(&document);
            assert!(html.starts_with("<!DOCTYPE html>"), "{name}");
            assert!(
                html.contains(&format!("<html lang=\"{}\">", lang.as_str())),
                "{name}"
            );
            assert_eq!(
                header(&document, "content-language"),
                Some(lang.as_str()),
                "{name}"
            );
            for once in ["<h1>", "<header>", "<main", "<footer>", "<title>"] {
                assert_eq!(html.matches(once).count(), 1, "{name}: {once}");
            }
            let moves = !matches!(page, Page::Refused | Page::Unavailable { link: None });
            for once in [
                "<nav ",
                "aria-current=\"true\"",
                "lang=\"es\" hreflang=\"es\"",
            ] {
                assert_eq!(
                    html.matches(once).count(),
                    usize::from(moves),
                    "{name}: {once}"
                );
            }
            assert!(html.contains(" · Acme</title>"), "{name}");
            // README says so.
            assert!(html.len() <= 8 * 1024, "{name}: {} bytes", html.len());
            let small = Visitor { lang, gzip: true };
            let small = pages.render(&page, &small).body.len();
            assert!(small <= 3584, "{name}: {small} bytes compressed");

            let words = without_inline(&html);
            assert!(
                !words.contains(['{', '}']),
                "{name}: a placeholder in {words}"
            );
            assert!(!words.replace(BACK, "").contains("http"), "{name}: {words}");
            for never in [
                " style=",
                " onclick",
                " onload",
                "javascript:",
                "http-equiv",
            ] {
                assert!(!words.contains(never), "{name}: {never}");
            }
            for path in attributes(&html, &["href", "src", "action", "data-status"]) {
                let ours = path.starts_with("/kingpin/")
                    || path.starts_with("?lang=")
                    || (path.is_empty() && !moves);
                assert!(
                    ours || path == BACK || path == "mailto:help@acme.example",
                    "{name}: {path}"
                );
            }
            for action in attributes(&html, &["action"]) {
                let expected = format!("/kingpin/connect/{LINK}/open?lang={}", lang.as_str());
                assert_eq!(action, expected, "{name}");
            }
        }
    }
}

#[test]
fn each_state_says_something_of_its_own_in_each_language() {
    let pages = pages();
    let states = states();
    let mut titles = BTreeMap::new();
    let mut headings = BTreeMap::new();
    for (name, page) in all(&states, None, &[]) {
        let told = Lang::ALL.map(|lang| {
            let html = html(&pages.render(&page, &visitor(lang)));
            let title = between(&html, "<title>", " · ").to_owned();
            let heading = between(&html, "<h1>", "</h1>").to_owned();
            let first = between(&html, "</h1><p>", "</p>").to_owned();
            assert!(
                !title.is_empty() && !heading.is_empty() && first.len() > 30,
                "{name}"
            );
            [title, heading, first]
        });
        for part in 0..3 {
            let different: BTreeSet<_> = told.iter().map(|told| &told[part]).collect();
            assert_eq!(different.len(), 3, "{name}: {different:?}");
        }
        for [title, heading, _] in told {
            let kind = name
                .split_once(' ')
                .map_or(name.as_str(), |(_, state)| state)
                .to_owned();
            let kind = kind.trim_end_matches(" with fields").to_owned();
            assert_eq!(titles.entry(title).or_insert(kind.clone()), &kind);
            assert_eq!(headings.entry(heading).or_insert(kind.clone()), &kind);
        }
    }
}

#[test]
fn content_security_policies_allow_just_what_a_page_has() {
    let pages = pages();
    let states = states();
    for (name, page) in all(&states, Some(FLEET), &every_share()) {
        let document = pages.render(&page, &visitor(Lang::Fr));
        let html = html(&document);
        let hash = |tag: &str| {
            let inline = between(&html, &format!("<{tag}>"), &format!("</{tag}>"));
            format!(
                "'sha256-{}'",
                BASE64_STANDARD.encode(Sha256::digest(inline))
            )
        };
        let script = if html.contains("<script>") {
            format!("; script-src {}; connect-src 'self'", hash("script"))
        } else {
            String::new()
        };
        let form = if html.contains("<form") {
            format!("'self' {CONNECT}")
        } else {
            "'none'".to_owned()
        };
        let expected = format!(
            "default-src 'none'; style-src {}; img-src 'self'{script}; form-action {form}; base-uri 'none'; frame-ancestors 'none'",
            hash("style")
        );
        assert_eq!(
            header(&document, "content-security-policy"),
            Some(expected.as_str()),
            "{name}"
        );
        assert_eq!(html.matches("<style").count(), 1, "{name}");
        assert!(html.matches("<script").count() <= 1, "{name}");
    }
}

#[test]
fn every_answer_has_its_headers_once() {
    let pages = pages();
    let states = states();
    let mut documents: Vec<Document> = all(&states, Some(EVIL), &[])
        .iter()
        .map(|(_, page)| {
            pages.render(
                page,
                &Visitor {
                    lang: Lang::Es,
                    gzip: true,
                },
            )
        })
        .collect();
    let logo = logo(&pages);
    documents.extend([
        pages.status(&State::Invited, None),
        pages.status(&State::Invited, Some("*")),
        pages.see_other("/return/x"),
        pages.asset(&logo).unwrap(),
    ]);
    for document in &documents {
        let names: BTreeSet<&str> = document.headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names.len(),
            document.headers.len(),
            "{:?}",
            document.headers
        );
        for (name, value) in &document.headers {
            assert_eq!(*name, name.to_lowercase());
            assert!(
                value.bytes().all(|c| (b' '..=b'~').contains(&c)),
                "{name}: {value}"
            );
        }
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-robots-tag", "noindex"),
            ("cross-origin-opener-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(header(document, name), Some(value));
        }
        let policy = header(document, "content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ")
                && policy.ends_with("frame-ancestors 'none'")
        );
        let kept = header(document, "cache-control").unwrap();
        let expected = if document.body.starts_with(b"<svg") {
            "public, max-age=31536000, immutable"
        } else {
            "no-store"
        };
        assert_eq!(kept, expected);
        assert_eq!(
            header(document, "content-type").is_some(),
            !document.body.is_empty()
        );
        assert_eq!(header(document, "set-cookie"), None);
    }
    let page = pages.render(&Page::NotFound, &visitor(Lang::En));
    assert_eq!(
        header(&page, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(
        header(&page, "vary"),
        Some("accept-language, accept-encoding, cookie")
    );
    let local = Pages::new(brand("Acme"), "http://127.0.0.1:9000", &[]);
    assert_eq!(
        header(&local.see_other("/"), "strict-transport-security"),
        None
    );
}

#[test]
fn names_are_text() {
    let pages = Pages::new(brand(EVIL), "https://x.example", &[CONNECT.to_owned()]);
    let long = "<b>".repeat(8192 / 3);
    for name in [EVIL, &long] {
        let states = states_of(Some(name), None);
        let shares = [share(name, "read"), share("vehicle", name)];
        for (page_name, page) in all(&states, Some(name), &shares) {
            let html = html(&pages.render(&page, &visitor(Lang::En)));
            assert!(
                !html.contains("<script>alert") && !html.contains("<b>"),
                "{page_name}"
            );
            assert!(!html.contains("\"'&"), "{page_name}");
        }
    }
    let state = State::Invited;
    let evil = Page::Link {
        link: "../\"><b>?#",
        fleet: None,
        shares: &[],
        state: &state,
    };
    let html = html(&pages.render(&evil, &visitor(Lang::En)));
    assert!(
        html.contains("action=\"/connect/..%2F%22%3E%3Cb%3E%3F%23/open?lang=en\""),
        "{html}"
    );
}

#[test]
fn a_return_page_knows_no_link_that_it_isnt_given() {
    let pages = pages();
    for (name, state) in &states() {
        for lang in Lang::ALL {
            let page = |link| Page::Return {
                token: TOKEN,
                fleet: Some(FLEET),
                state,
                link,
            };
            let without = html(&pages.render(&page(None), &visitor(lang)));
            assert!(
                !without.contains("/connect/") && !without.contains("<form"),
                "{name}"
            );
            let with = html(&pages.render(&page(Some(LINK)), &visitor(lang)));
            let words = |html: &str| html.matches("<p class=\"say\">").count();
            let button = usize::from(with.contains("<form"));
            assert_eq!(
                words(&without),
                words(&with) + button,
                "{name}: a button or words"
            );
        }
    }
}

#[test]
fn buttons_are_where_there_is_a_next_step() {
    let pages = pages();
    for (name, state) in &states() {
        let button = |page: &Page<'_>| {
            let html = html(&pages.render(page, &visitor(Lang::En)));
            assert!(html.matches("<button").count() <= 1, "{name}");
            html.contains("<button").then(|| {
                let (class, words) = between(&html, "<button", "</button>")
                    .split_once('>')
                    .unwrap();
                let quiet = matches!(state, State::Connecting | State::Requested { .. });
                assert_eq!(class == " class=\"quiet\"", quiet, "{name}");
                words.to_owned()
            })
        };
        let link = button(&Page::Link {
            link: LINK,
            fleet: None,
            shares: &[],
            state,
        });
        let back = button(&Page::Return {
            token: TOKEN,
            fleet: None,
            state,
            link: Some(LINK),
        });
        let expected = match state {
            State::Invited | State::ProviderLive { .. } => Some("Connect"),
            State::Started | State::Connecting => Some("Continue"),
            State::Requested { .. } => Some("Connect another provider"),
            State::Connected { .. } | State::Withdrawn => None,
            State::Broken | State::Ended => Some("Connect again"),
            State::Paused => Some("Open Catena Connect"),
            State::Declined => Some("Start again"),
            State::Expired => Some("Get a new invitation"),
            State::Failed => Some("Try again"),
        };
        assert_eq!(link.as_deref(), expected, "{name}");
        assert_eq!(back.as_deref(), expected, "{name}");
    }
}

#[test]
fn pages_wait_only_for_news_that_is_on_its_way() {
    let pages = pages();
    for (name, state) in &states() {
        let page = Page::Return {
            token: TOKEN,
            fleet: None,
            state,
            link: None,
        };
        let html = html(&pages.render(&page, &visitor(Lang::En)));
        let etag = format!(
            "\"{}\"",
            header(&pages.status(state, None), "etag")
                .unwrap()
                .trim_matches('"')
        );
        let marked = format!("data-etag=\"{}\"", etag.replace('"', "&quot;"));
        let asked = format!("data-status=\"/kingpin/return/{TOKEN}/status\"");
        let again = format!("href=\"/kingpin/return/{TOKEN}?lang=en\"");
        for part in [
            marked.as_str(),
            &asked,
            &again,
            "<script>",
            "role=\"status\"",
            "id=\"late\" hidden",
        ] {
            assert_eq!(html.contains(part), state.is_waiting(), "{name}: {part}");
        }
        let page = Page::Link {
            link: LINK,
            fleet: None,
            shares: &[],
            state,
        };
        let html = self::html(&pages.render(&page, &visitor(Lang::En)));
        assert!(!html.contains("<script"), "{name}");
        let again = format!("href=\"/kingpin/connect/{LINK}?lang=en\"");
        assert_eq!(html.contains(&again), state.is_waiting(), "{name}");
    }
}

#[test]
fn etags_change_exactly_with_the_page() {
    let pages = pages();
    let mut states = states();
    for (provider, until) in [
        ("Other", None),
        ("Other", Some(SIX.plus(1))),
        ("Other", Some(SIX.plus(60_000))),
    ] {
        states.extend(states_of(Some(provider), until));
    }
    states.extend(states_of(Some(" "), Some(SIX.plus(59_999))));
    let seen: Vec<(String, String)> = states
        .iter()
        .map(|(_, state)| {
            let page = Page::Return {
                token: TOKEN,
                fleet: Some(FLEET),
                state,
                link: Some(LINK),
            };
            let html = html(&pages.render(&page, &visitor(Lang::En)));
            let etag = header(&pages.status(state, None), "etag")
                .unwrap()
                .to_owned();
            let page = html.replace(&etag.replace('"', "&quot;"), "");
            assert!(etag.len() == 14 && etag.starts_with('"'), "{etag}");
            (etag, page)
        })
        .collect();
    let mut different = 0;
    for (etag, page) in &seen {
        for (other_etag, other_page) in &seen {
            assert_eq!(
                etag == other_etag,
                page == other_page,
                "{page}\n{other_page}"
            );
            different += usize::from(etag != other_etag);
        }
    }
    assert!(different > 500, "{different}");
}

#[test]
fn a_status_is_told_once() {
    let pages = pages();
    let told = pages.status(&State::Connecting, None);
    assert_eq!(told.status, 200);
    assert_eq!(told.body, br#"{"status":"connecting"}"#);
    assert_eq!(
        header(&told, "content-type"),
        Some("application/json; charset=utf-8")
    );
    let etag = header(&told, "etag").unwrap();
    for (condition, known) in [
        (etag.to_owned(), true),
        (format!("W/{etag}"), true),
        (format!("\"other\", {etag}"), true),
        ("*".to_owned(), true),
        ("\"other\"".to_owned(), false),
        (etag.trim_matches('"').to_owned(), false),
        (String::new(), false),
    ] {
        let document = pages.status(&State::Connecting, Some(&condition));
        assert_eq!(
            document.status,
            if known { 304 } else { 200 },
            "{condition}"
        );
        assert_eq!(document.body.is_empty(), known, "{condition}");
        assert_eq!(header(&document, "etag"), Some(etag));
    }
}

#[test]
fn an_admission_is_told_only_if_it_was_granted() {
    let pages = pages();
    for lang in Lang::ALL {
        for until in [None, Some(SIX)] {
            let state = State::Requested {
                provider: Some("TruckTrack".to_owned()),
                admitted_until: until,
            };
            let page = Page::Return {
                token: TOKEN,
                fleet: None,
                state: &state,
                link: None,
            };
            let html = html(&pages.render(&page, &visitor(lang)));
            let told = html.contains("<time datetime=\"2026-11-21T18:00Z\">21 ")
                && html.contains("UTC</time>");
            assert_eq!(told, until.is_some());
            assert_eq!(html.contains("<time"), until.is_some());
            assert!(html.contains("TruckTrack"));
        }
    }
}

#[test]
fn what_is_shared_is_told_by_level_in_words() {
    let pages = pages();
    let shares = [
        share("vehicle_location", "read"),
        share("message", "read_write"),
        share("tyre_pressure", "write_only"),
    ];
    let state = State::Invited;
    let page = Page::Link {
        link: LINK,
        fleet: Some(FLEET),
        shares: &shares,
        state: &state,
    };
    let html = html(&pages.render(&page, &visitor(Lang::En)));
    assert!(html.contains("<h1>Acme invites North Star Haulage to share data</h1>"));
    let lists = between(&html, "<div class=\"shares\">", "</div>");
    assert_eq!(
        lists,
        "<h2>Acme may see</h2><ul role=\"list\"><li>Vehicle locations</li><li>tyre pressure</li></ul>\
         <h2>Acme may see and change</h2><ul role=\"list\"><li>Individual messages</li></ul>"
    );
    for state in [
        State::Connected { requested: None },
        State::Paused,
        State::Withdrawn,
    ] {
        let page = Page::Link {
            link: LINK,
            fleet: Some(FLEET),
            shares: &shares,
            state: &state,
        };
        let html = self::html(&pages.render(&page, &visitor(Lang::En)));
        assert!(
            !html.contains("Vehicle locations"),
            "what was asked needn't be what is shared"
        );
    }
}

#[test]
fn every_known_resource_has_words_in_every_language() {
    for share in every_share() {
        let words = Lang::ALL.map(|lang| crate::words::resource(lang, &share.resource));
        let different: BTreeSet<&String> = words.iter().collect();
        assert_eq!(different.len(), 3, "{words:?}");
        assert!(
            !words.contains(&share.resource.replace('_', " ")),
            "{words:?}"
        );
    }
    for lang in Lang::ALL {
        assert_eq!(
            crate::words::resource(lang, "tyre_pressure"),
            "tyre pressure"
        );
    }
}

#[test]
fn troubles_have_their_status() {
    let pages = pages();
    for (page, status, retry) in [
        (Page::LinkEnded, 410, None),
        (Page::NotFound, 404, None),
        (Page::Unavailable { link: None }, 503, Some("10")),
        (Page::Unavailable { link: Some(LINK) }, 503, Some("10")),
        (too_soon(420_000), 429, Some("420")),
        (too_soon(419_001), 429, Some("420")),
        (too_soon(-1), 429, Some("1")),
        (Page::Refused, 502, None),
    ] {
        let document = pages.render(&page, &visitor(Lang::En));
        assert_eq!(document.status, status, "{page:?}");
        assert_eq!(header(&document, "retry-after"), retry, "{page:?}");
    }
    for page in [Page::LinkEnded, Page::Refused] {
        let html = html(&pages.render(&page, &visitor(Lang::En)));
        let whom = between(&html, "<main>", "</main>");
        assert!(
            whom.contains("ask Acme") && whom.contains("mailto:help@acme.example"),
            "{page:?}"
        );
    }
    for (wait, minutes, from) in [
        (420_000, "7 minutes", "18:07"),
        (360_001, "7 minutes", "18:07"),
        (60_000, "a minute", "18:01"),
        (1, "a minute", "18:01"),
    ] {
        let html = html(&pages.render(&too_soon(wait), &visitor(Lang::En)));
        let heading = between(&html, "<h1>", "</h1>");
        assert!(
            heading.ends_with(&format!("in {minutes}")),
            "{wait}: {heading}"
        );
        assert!(
            html.contains(&format!("datetime=\"2026-11-21T{from}Z\"")),
            "{wait}"
        );
    }
}

#[test]
fn what_isnt_found_looks_the_same() {
    for lang in Lang::ALL {
        let one = pages().render(&Page::NotFound, &visitor(lang));
        assert_eq!(one, pages().render(&Page::NotFound, &visitor(lang)));
        let html = html(&one);
        assert!(!html.contains("/connect/") && !html.contains("/return/"));
    }
}

#[test]
fn the_way_back_is_offered_when_a_fleet_is_done() {
    let states = states();
    let without = Brand::new("Acme", None, "#1d4ed8", "#ffffff", None).unwrap();
    let without = Pages::new(without, "https://x.example", &[]);
    for (name, page) in all(&states, Some(FLEET), &[]) {
        let html = html(&pages().render(&page, &visitor(Lang::En)));
        let done = match page {
            Page::Link { state, .. } | Page::Return { state, .. } => matches!(
                state,
                State::Connected { .. }
                    | State::Requested { .. }
                    | State::Paused
                    | State::Ended
                    | State::Declined
                    | State::Withdrawn
            ),
            Page::LinkEnded | Page::NotFound | Page::Refused => true,
            Page::Unavailable { .. } | Page::TooSoon { .. } => false,
        };
        assert_eq!(
            html.contains(&format!("href=\"{BACK}\">Back to Acme</a>")),
            done,
            "{name}"
        );
        let html = self::html(&without.render(&page, &visitor(Lang::En)));
        assert!(
            !html.contains("Back to Acme") && !html.contains("Questions"),
            "{name}"
        );
    }
}

#[test]
fn gzip_is_for_those_who_take_it() {
    let pages = pages();
    let plain = pages.render(&Page::LinkEnded, &visitor(Lang::Fr));
    let packed = pages.render(
        &Page::LinkEnded,
        &Visitor {
            lang: Lang::Fr,
            gzip: true,
        },
    );
    assert_eq!(header(&plain, "content-encoding"), None);
    assert_eq!(header(&packed, "content-encoding"), Some("gzip"));
    assert!(packed.body.len() < plain.body.len());
    let mut unpacked = Vec::new();
    GzDecoder::new(packed.body.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);

    let tiny = Document::new(200, true)
        .body("text/plain", b"ok".to_vec())
        .gzip();
    assert_eq!(
        (tiny.body.as_slice(), header(&tiny, "content-encoding")),
        (&b"ok"[..], None)
    );
}

#[test]
fn redirects_stay_here_or_go_where_they_are_told() {
    for (location, expected) in [
        ("/kingpin/return/abc", "/kingpin/return/abc"),
        ("/connect/abc?lang=es", "/connect/abc?lang=es"),
        ("//evil.example/", "/evil.example/"),
        ("/\\evil.example", "/evil.example"),
        (
            "https://connect.example/?invite=1&x=%20",
            "https://connect.example/?invite=1&x=%20",
        ),
        (
            "/return/a\r\nset-cookie: é",
            "/return/a%0D%0Aset-cookie:%20%C3%A9",
        ),
    ] {
        let document = pages().see_other(location);
        assert_eq!(document.status, 303);
        assert_eq!(header(&document, "location"), Some(expected));
        assert!(document.body.is_empty());
    }
}

#[test]
fn the_logo_is_found_by_its_name_alone() {
    let pages = pages();
    let logo = logo(&pages);
    assert!(
        logo.len() == "logo-.svg".len() + 12 && logo.starts_with("logo-"),
        "{logo}"
    );
    let document = pages.asset(&logo).unwrap();
    assert_eq!(document.status, 200);
    assert_eq!(
        header(&document, "content-type"),
        Some("image/svg+xml; charset=utf-8")
    );
    for name in [
        "logo.svg",
        "logo-000000000000.svg",
        "",
        "../logo.svg",
        "page.css",
    ] {
        assert_eq!(pages.asset(name), None, "{name}");
    }
}

/// Of the style's own inks; the partner's colours are checked when a brand is made.
#[test]
fn inks_can_be_read_where_they_stand() {
    let style = include_str!("../assets/page.css");
    let ink = |name: &str| {
        let value = style.split(&format!("{name}:#")).nth(1).unwrap();
        crate::brand::Colour::parse("PARTNER_COLOUR", &format!("#{}", &value[..6])).unwrap()
    };
    let white = crate::brand::Colour::WHITE;
    for (name, on, least) in [
        ("--ink", white, 7.0),
        ("--ink", ink("--tint"), 7.0),
        ("--soft", white, 4.5),
        ("--soft", ink("--tint"), 4.5),
        ("border:1px solid ", white, 3.0),
    ] {
        let contrast = match name {
            "border:1px solid " => {
                let value = style.split("border:1px solid #").nth(1).unwrap();
                let colour = format!("#{}", &value[..6]);
                crate::brand::Colour::parse("PARTNER_COLOUR", &colour)
                    .unwrap()
                    .contrast(on)
            }
            name => ink(name).contrast(on),
        };
        assert!(contrast >= least, "{name}: {contrast}");
    }
    for tone in [".good", ".busy", ".care", ".calm"] {
        let rule = style.split(&format!("{tone}{{")).nth(1).unwrap();
        let colour = |key: &str| {
            let value = rule.split(&format!("{key}:")).nth(1).unwrap();
            crate::brand::Colour::parse("PARTNER_COLOUR", &value[..7]).unwrap()
        };
        assert!(colour("--fg").contrast(colour("--bg")) >= 3.0, "{tone}");
    }
}

fn brand(name: &str) -> Brand {
    Brand::new(
        name,
        Some("help@acme.example"),
        "#1d4ed8",
        "#ffffff",
        Some(BACK),
    )
    .unwrap()
}

fn pages() -> Pages {
    Pages::new(
        brand("Acme"),
        "https://x.example/kingpin",
        &[CONNECT.to_owned()],
    )
}

fn visitor(lang: Lang) -> Visitor {
    Visitor { lang, gzip: false }
}

fn states() -> Vec<(String, State)> {
    let with_fields = states_of(Some("TruckTrack"), Some(SIX));
    let mut all: Vec<_> = states_of(None, None);
    let more = with_fields.into_iter().filter(|(_, state)| {
        matches!(
            state,
            State::Connected { .. } | State::Requested { .. } | State::ProviderLive { .. }
        )
    });
    all.extend(more.map(|(name, state)| match state {
        // Told apart, because it says another thing.
        State::Requested { .. } => ("confirmed".to_owned(), state),
        state => (format!("{name} with fields"), state),
    }));
    all
}

fn states_of(provider: Option<&str>, admitted_until: Option<Timestamp>) -> Vec<(String, State)> {
    let provider = || provider.map(str::to_owned);
    [
        State::Invited,
        State::Started,
        State::Connecting,
        State::Connected {
            requested: provider(),
        },
        State::Requested {
            provider: provider(),
            admitted_until,
        },
        State::ProviderLive {
            provider: provider(),
            admitted_until,
        },
        State::Broken,
        State::Paused,
        State::Ended,
        State::Declined,
        State::Expired,
        State::Withdrawn,
        State::Failed,
    ]
    .map(|state| (state.as_str().to_owned(), state))
    .into()
}

fn all<'a>(
    states: &'a [(String, State)],
    fleet: Option<&'a str>,
    shares: &'a [Share],
) -> Vec<(String, Page<'a>)> {
    let mut all = Vec::new();
    for (name, state) in states {
        let page = Page::Link {
            link: LINK,
            fleet,
            shares,
            state,
        };
        all.push((format!("link {name}"), page));
        for link in [None, Some(LINK)] {
            let page = Page::Return {
                token: TOKEN,
                fleet,
                state,
                link,
            };
            all.push((format!("return {name}"), page));
        }
    }
    for page in [
        Page::LinkEnded,
        Page::NotFound,
        Page::Unavailable { link: None },
        Page::Unavailable { link: Some(LINK) },
        Page::Refused,
        too_soon(420_000),
    ] {
        let name = format!("{page:?}");
        let name = name.split(['{', ' ']).next().unwrap_or_default();
        all.push((format!("error {name}"), page));
    }
    all
}

fn too_soon(wait: i64) -> Page<'static> {
    Page::TooSoon {
        link: LINK,
        until: SIX.plus(wait),
        now: SIX,
    }
}

fn share(resource: &str, level: &str) -> Share {
    Share {
        resource: resource.to_owned(),
        level: level.to_owned(),
    }
}

/// Those that Catena is known to have.
fn every_share() -> Vec<Share> {
    let names = "driver_vehicle_association dvir_log engine_log engine_status fleet_info fuel_transaction group_message \
                 hos_availability hos_daily_snapshot hos_event hos_violation ifta_summary message trailer trailer_location \
                 trailer_status trailer_vehicle_association user vehicle vehicle_location workflow";
    let level = |name: &str| {
        if name.contains("message") {
            "read_write"
        } else {
            "read"
        }
    };
    names
        .split_whitespace()
        .map(|name| share(name, level(name)))
        .collect()
}

fn html(document: &Document) -> String {
    String::from_utf8(document.body.clone()).unwrap()
}

fn header<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    let found = document.headers.iter().find(|(header, _)| *header == name);
    found.map(|(_, value)| value.as_str())
}

fn logo(pages: &Pages) -> String {
    let html = html(&pages.render(&Page::NotFound, &visitor(Lang::En)));
    between(&html, "/kingpin/assets/", "\"").to_owned()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end)
        .unwrap_or_else(|| panic!("no {end} in {rest}"))
        .0
}

fn without_inline(html: &str) -> String {
    let mut html = html.replace(between(html, "<style>", "</style>"), "");
    if html.contains("<script>") {
        html = html.replace(between(&html.clone(), "<script>", "</script>"), "");
    }
    html
}

fn attributes<'a>(html: &'a str, names: &[&str]) -> Vec<&'a str> {
    let values = names.iter().flat_map(|name| {
        let parts = html
            .split(&format!(" {name}=\""))
            .skip(1)
            .collect::<Vec<_>>();
        parts
            .into_iter()
            .map(|part| part.split('"').next().unwrap())
    });
    values.collect()
}

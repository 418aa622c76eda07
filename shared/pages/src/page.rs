//! The pages, and all else that their address answers.

use fleet::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    Brand, Document, Lang, State, Visitor,
    asset::{Inline, LOGO, logo_name, short_hash},
    brand::Contact,
    moment::Minute,
    words::{Fixed, Step, Telling, Words, named, resource},
};

/// One resource that the fleet is asked to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name as Catena gives it, for example `vehicle_location`. One that isn't known is shown without its underscores.
    pub resource: String,
    /// `read` or `read_write`. Others are shown as `read`.
    pub level: String,
}

/// What to show.
#[derive(Clone, Copy, Debug)]
pub enum Page<'a> {
    /// `GET /connect/{link}`, 200: who invites which fleet, what will be shared and where it stands, with at most one button.
    Link {
        /// The link's id.
        link: &'a str,
        /// The fleet's name.
        fleet: Option<&'a str>,
        /// What the fleet is asked to share.
        shares: &'a [Share],
        /// Where the fleet stands.
        state: &'a State,
    },
    /// `GET /return/{token}`, 200: what is known after coming back from Connect.
    Return {
        /// The return token.
        token: &'a str,
        /// The fleet's name.
        fleet: Option<&'a str>,
        /// Where the fleet stands.
        state: &'a State,
        /// The link's id, only if this browser is known to have it: without, the page has words instead of a button.
        link: Option<&'a str>,
    },
    /// 410: the link was replaced, taken back, or is too old. Says whom to ask.
    LinkEnded,
    /// 404: the same bytes whatever was wrong.
    NotFound,
    /// 503, to be tried again after 10 seconds: we, or Catena, can't answer now.
    Unavailable {
        /// The link's id, for a button that tries again.
        link: Option<&'a str>,
    },
    /// 429: Catena was asked for this fleet a moment ago.
    TooSoon {
        /// The link's id.
        link: &'a str,
        /// When it can be asked again.
        until: Timestamp,
        /// The time now.
        now: Timestamp,
    },
    /// 502: Catena gave an address that isn't allowed. Says whom to ask.
    Refused,
}

/// Makes pages and all that belongs to them, for one partner at one address.
#[derive(Clone, Debug)]
pub struct Pages {
    brand: Brand,
    /// The path of the base URL, without a slash at its end: where all paths begin.
    base: String,
    secure: bool,
    connect_origins: String,
    style: Inline,
    script: Inline,
    logo: String,
}

impl Pages {
    /// `base_url`: where pages are, for example `https://fleets.example.com` or `https://x.example/kingpin`. `connect_origins`: where a
    /// button may lead, for example `https://connect.catenatelematics.com`; they get into a header as they are.
    pub fn new(brand: Brand, base_url: &str, connect_origins: &[String]) -> Self {
        let (scheme, rest) = base_url.split_once("://").unwrap_or(("", base_url));
        let path = rest.find('/').map_or("", |slash| &rest[slash..]);
        Self {
            base: path.trim_end_matches('/').to_owned(),
            secure: scheme == "https",
            connect_origins: connect_origins.join(" "),
            style: Inline::style(&brand),
            script: Inline::script(),
            logo: logo_name(),
            brand,
        }
    }

    /// A page for a visitor.
    pub fn render(&self, page: &Page<'_>, visitor: &Visitor) -> Document {
        let view = self.view(page, visitor.lang);
        let csp = self.policy(view.polls.is_some(), view.button.is_some());
        let body = self.html(&view, visitor.lang).into_string().into_bytes();
        let mut document = Document::new(view.status, self.secure)
            .body("text/html; charset=utf-8", body)
            .with("cache-control", "no-store")
            .with("content-security-policy", csp)
            .with("content-language", visitor.lang.as_str())
            .with("vary", "accept-language, accept-encoding, cookie");
        if let Some(seconds) = view.retry_after {
            document = document.with("retry-after", seconds.to_string());
        }
        if visitor.gzip {
            document.gzip()
        } else {
            document
        }
    }

    /// `GET {base}/assets/{file}`: the logo, whose name changes with its content, so that it can be kept for ever. `None` for any other
    /// name.
    pub fn asset(&self, file: &str) -> Option<Document> {
        let document = (file == self.logo).then(|| Document::new(200, self.secure))?;
        Some(
            document
                .body("image/svg+xml; charset=utf-8", LOGO.to_vec())
                .with("cache-control", "public, max-age=31536000, immutable")
                // A logo may bring its own styles, and nothing else: opened by itself, an SVG file is a document.
                .with("content-security-policy", LOGO_POLICY),
        )
    }

    /// `GET {base}/return/{token}/status`: `{"status":"connecting"}`, with a strong `ETag` that changes when the page would. 304 if
    /// `if_none_match` has it.
    pub fn status(&self, state: &State, if_none_match: Option<&str>) -> Document {
        let etag = etag(state);
        let known = if_none_match.is_some_and(|header| {
            let mut tags = header.split(',').map(str::trim);
            tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
        });
        let document = Document::new(if known { 304 } else { 200 }, self.secure)
            .with("cache-control", "no-store")
            .with("content-security-policy", NOTHING)
            .with("etag", etag);
        if known {
            return document;
        }
        let body = format!(r#"{{"status":"{}"}}"#, state.as_str());
        document.body("application/json; charset=utf-8", body.into_bytes())
    }

    /// 303 to an absolute URL, or to a path, which includes that of the base. A path never leads to another host.
    pub fn see_other(&self, location: &str) -> Document {
        let location = match location.strip_prefix(SLASHES) {
            Some(path) => format!("/{}", path.trim_start_matches(SLASHES)),
            None => location.to_owned(),
        };
        Document::new(303, self.secure)
            .with(
                "location",
                utf8_percent_encode(&location, UNPRINTABLE).to_string(),
            )
            .with("cache-control", "no-store")
            .with("content-security-policy", NOTHING)
    }

    /// What a page says and does, before it becomes HTML.
    fn view<'a>(&self, page: &Page<'a>, lang: Lang) -> View<'a> {
        let words = Words {
            lang,
            partner: &self.brand.name,
        };
        match *page {
            Page::Link {
                link,
                fleet,
                shares,
                state,
            } => {
                let fleet = shown(fleet);
                let mut view = View::new(200, mark(state), words.state(state, fleet));
                view.fleet = fleet.filter(|_| !heads(state));
                if is_asked(state) {
                    view.shares = shares;
                    view.folded = *state != State::Invited;
                }
                view.of_state(state);
                view.button = step(state).map(|step| (step, link));
                if *state == State::Invited {
                    view.about_button = Some(Fixed::NothingYet);
                }
                view.wait_first(state);
                view.check = state.is_waiting().then(|| self.link_path(link));
                view
            }
            Page::Return {
                token,
                fleet,
                state,
                link,
            } => {
                let fleet = shown(fleet);
                let path = self.return_path(token);
                let mut view = View::new(200, mark(state), words.state(state, fleet));
                view.fleet = fleet.filter(|_| !heads(state));
                view.of_state(state);
                match (step(state), link) {
                    (Some(step), Some(link)) => view.button = Some((step, link)),
                    (Some(step), None) => view.by_link = Some(step),
                    (None, _) => {}
                }
                view.wait_first(state);
                if state.is_waiting() {
                    view.polls = Some((format!("{path}/status"), etag(state)));
                    if *state == State::Failed {
                        view.late = Fixed::NoNews;
                    }
                    view.check = Some(path);
                }
                view
            }
            Page::LinkEnded => {
                let mut view = View::new(410, Mark::Over, words.link_ended());
                view.refers = true;
                view.done = true;
                view
            }
            Page::NotFound => {
                let mut view = View::new(404, Mark::Unknown, words.not_found());
                view.done = true;
                view
            }
            Page::Unavailable { link } => {
                let mut view = View::new(503, Mark::Later, words.unavailable());
                view.retry_after = Some(10);
                view.button = link.map(|link| (Step::TryAgain, link));
                view.here = link.map(|link| self.link_path(link));
                view.reload = link.is_none();
                view
            }
            Page::TooSoon { link, until, now } => {
                let wait = until.0.saturating_sub(now.0).max(1);
                let minutes = wait.saturating_add(59_999) / 60_000;
                let mut view = View::new(429, Mark::Later, words.too_soon(minutes));
                view.retry_after = Some(wait.saturating_add(999) / 1000);
                view.again_from = Some(Minute::from(until));
                view.here = Some(self.link_path(link));
                view.back = Some(self.link_path(link));
                view
            }
            Page::Refused => {
                let mut view = View::new(502, Mark::Care, words.refused());
                view.here = None;
                view.refers = true;
                view.done = true;
                view
            }
        }
    }

    fn html(&self, view: &View<'_>, lang: Lang) -> Markup {
        let partner = self.brand.name.as_str();
        let words = Words { lang, partner };
        let logo = format!("{}/assets/{}", self.base, self.logo);
        let Telling {
            title,
            heading,
            sentences,
        } = &view.telling;
        let polls = view.polls.as_ref();
        html! {
            (DOCTYPE)
            html lang=(lang.as_str()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="theme-color" content=(self.brand.colour);
                    title { (title) " · " (partner) }
                    link rel="icon" type="image/svg+xml" href=(logo);
                    style { (PreEscaped(&self.style.text)) }
                }
                body {
                    header {
                        img src=(logo) alt="" width="40" height="40";
                        p { (partner) }
                    }
                    main data-status=[polls.map(|(path, _)| path)] data-etag=[polls.map(|(_, etag)| etag)] {
                        (view.mark.icon())
                        @if let Some(fleet) = view.fleet { p.fleet { (fleet) } }
                        h1 { (heading) }
                        @for sentence in sentences { p { (sentence) } }
                        @if let Some(until) = view.admitted_until { (admitted(words, until)) }
                        @if let Some(from) = view.again_from { p { (words.again_from()) (time(from, lang)) "." } }
                        @if !view.shares.is_empty() { (shares(words, view.shares, view.folded)) }
                        @if polls.is_some() {
                            div role="status" { p.say #late hidden { (words.fixed(view.late)) } }
                        }
                        @if view.refers { (self.contact()) }
                        (self.steps(view, words))
                    }
                    footer {
                        @if !view.refers && self.brand.contact.is_some() {
                            p { (words.fixed(Fixed::Questions)) " " (self.contact_words()) }
                        }
                        @if let Some(here) = &view.here { (languages(words, here)) }
                    }
                    @if polls.is_some() { script { (PreEscaped(&self.script.text)) } }
                }
            }
        }
    }

    /// All that one can do on a page.
    fn steps(&self, view: &View<'_>, words: Words<'_>) -> Markup {
        let lang = words.lang;
        let back = view.back.as_ref();
        let away = self.brand.return_url.as_ref().filter(|_| view.done);
        let step = view.button.is_some() || view.by_link.is_some();
        if !(step || view.reload || view.check.is_some() || back.is_some() || away.is_some()) {
            return html! {};
        }
        html! {
            div.steps {
                @if let Some((step, link)) = view.button {
                    form method="post" action={ (self.link_path(link)) "/open?lang=" (lang.as_str()) } {
                        button.quiet[view.quiet] { (words.button(step)) }
                        @if let Some(text) = view.about_button { p { (words.fixed(text)) } }
                    }
                }
                @if let Some(step) = view.by_link { p.say { (words.by_link(step)) } }
                @if let Some(path) = &view.check {
                    a.button href={ (path) "?lang=" (lang.as_str()) } { (words.fixed(Fixed::CheckAgain)) }
                }
                @if view.reload { a.button href="" { (words.button(Step::TryAgain)) } }
                @if let Some(path) = back {
                    a.button href={ (path) "?lang=" (lang.as_str()) } { (words.fixed(Fixed::BackToInvitation)) }
                }
                @if let Some(url) = away { a.button href=(url) { (words.back_to_partner()) } }
            }
        }
    }

    fn contact(&self) -> Markup {
        html! {
            @if self.brand.contact.is_some() { p.say { (self.contact_words()) } }
        }
    }

    fn contact_words(&self) -> Markup {
        html! {
            @match &self.brand.contact {
                Some(Contact::Email(address)) => a href={ "mailto:" (address) } { (address) },
                Some(Contact::Phone(number)) => a href={ "tel:" (number.replace(|c: char| !c.is_ascii_digit() && c != '+', "")) } { (number) },
                Some(Contact::Url(url)) => a href=(url) { (url.trim_start_matches("https://")) },
                Some(Contact::Text(text)) => (text),
                None => {}
            }
        }
    }

    fn policy(&self, polls: bool, button: bool) -> String {
        let style = &self.style.source;
        let mut policy = format!("default-src 'none'; style-src {style}; img-src 'self'");
        if polls {
            let script = &self.script.source;
            policy += &format!("; script-src {script}; connect-src 'self'");
        }
        policy += "; form-action ";
        policy += if button { "'self'" } else { "'none'" };
        if button && !self.connect_origins.is_empty() {
            // Browsers hold a form's redirects to this, too.
            policy += " ";
            policy += &self.connect_origins;
        }
        policy + "; base-uri 'none'; frame-ancestors 'none'"
    }

    fn link_path(&self, link: &str) -> String {
        format!("{}/connect/{}", self.base, segment(link))
    }

    fn return_path(&self, token: &str) -> String {
        format!("{}/return/{}", self.base, segment(token))
    }
}

/// A page, before it becomes HTML.
struct View<'a> {
    status: u16,
    mark: Mark,
    telling: Telling,
    /// What stands above the heading.
    fleet: Option<&'a str>,
    shares: &'a [Share],
    /// Whether the shares are a matter of detail.
    folded: bool,
    /// Whether the button isn't what comes next.
    quiet: bool,
    admitted_until: Option<Minute>,
    again_from: Option<Minute>,
    /// What the button does, and the link that it opens.
    button: Option<(Step, &'a str)>,
    /// What stands below the button.
    about_button: Option<Fixed>,
    /// What needs the link that this browser doesn't have.
    by_link: Option<Step>,
    /// Where "Check again" leads.
    check: Option<String>,
    /// Where "Back to the invitation" leads.
    back: Option<String>,
    /// Whether the fleet has to ask the partner.
    refers: bool,
    /// Whether the fleet may well leave from here.
    done: bool,
    /// The path to ask for news, and the `ETag` of what is shown.
    polls: Option<(String, String)>,
    /// What it says when it stopped asking.
    late: Fixed,
    /// Whether it can be had again from its own address, with all of its query: what Connect said may be in there.
    reload: bool,
    /// Where it can be had in another language; empty for its own address. `None` if it can't: it answers a button, or its query counts.
    here: Option<String>,
    /// In seconds.
    retry_after: Option<i64>,
}

impl View<'_> {
    fn new(status: u16, mark: Mark, telling: Telling) -> Self {
        Self {
            status,
            mark,
            telling,
            fleet: None,
            shares: &[],
            folded: false,
            quiet: false,
            admitted_until: None,
            again_from: None,
            button: None,
            about_button: None,
            by_link: None,
            check: None,
            back: None,
            refers: false,
            done: false,
            polls: None,
            late: Fixed::Late,
            reload: false,
            here: Some(String::new()),
            retry_after: None,
        }
    }

    /// While news may be on its way, waiting comes first. It may also never come, so there is a way on.
    fn wait_first(&mut self, state: &State) {
        self.quiet = matches!(state, State::Connecting | State::Requested { .. });
        if *state == State::Connecting && self.button.is_some() {
            self.about_button = Some(Fixed::Unfinished);
        }
    }

    /// What follows from the state on either page.
    fn of_state(&mut self, state: &State) {
        self.admitted_until = details(state).1;
        self.refers = matches!(state, State::Paused | State::Withdrawn);
        self.done = match state {
            State::Connected { .. }
            | State::Requested { .. }
            | State::Paused
            | State::Ended
            | State::Declined
            | State::Withdrawn => true,
            State::Invited
            | State::Started
            | State::Connecting
            | State::ProviderLive { .. }
            | State::Broken
            | State::Expired
            | State::Failed => false,
        };
    }
}

/// The mark of a state: a shape, and how grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Invite,
    Ready,
    Wait,
    Later,
    Good,
    Care,
    Paused,
    Over,
    Unknown,
}

impl Mark {
    /// Decoration: the heading says the same.
    fn icon(self) -> Markup {
        let (tone, shape) = match self {
            Self::Invite => ("busy", SHARE),
            Self::Ready => ("good", PLUG),
            Self::Wait => ("busy", DOTS),
            Self::Later => ("busy", CLOCK),
            Self::Good => ("good", TICK),
            Self::Care => ("care", EXCLAMATION),
            Self::Paused => ("calm", BARS),
            Self::Over => ("calm", MINUS),
            Self::Unknown => ("calm", QUESTION),
        };
        html! {
            div.mark.(tone) {
                svg viewBox="0 0 24 24" aria-hidden="true" { (PreEscaped(shape)) }
            }
        }
    }
}

const fn mark(state: &State) -> Mark {
    match state {
        State::Invited => Mark::Invite,
        State::Started | State::ProviderLive { .. } => Mark::Ready,
        State::Connecting | State::Requested { provider: None, .. } => Mark::Wait,
        State::Requested { .. } => Mark::Later,
        State::Connected { .. } => Mark::Good,
        State::Broken | State::Expired | State::Failed => Mark::Care,
        State::Paused => Mark::Paused,
        State::Ended | State::Declined | State::Withdrawn => Mark::Over,
    }
}

/// The step that a state allows.
const fn step(state: &State) -> Option<Step> {
    match state {
        State::Invited | State::ProviderLive { .. } => Some(Step::Connect),
        State::Started | State::Connecting => Some(Step::Continue),
        // What it asked for may never come: that must not be a dead end.
        State::Requested { .. } => Some(Step::Another),
        State::Connected { .. } | State::Withdrawn => None,
        State::Broken | State::Ended => Some(Step::ConnectAgain),
        State::Paused => Some(Step::OpenConnect),
        State::Declined => Some(Step::StartAgain),
        State::Expired => Some(Step::Renew),
        State::Failed => Some(Step::TryAgain),
    }
}

/// Whether the fleet's name is in the heading already.
const fn heads(state: &State) -> bool {
    matches!(state, State::Invited | State::Connected { .. })
}

/// Whether the fleet is still asked to share something.
const fn is_asked(state: &State) -> bool {
    match state {
        State::Invited
        | State::Started
        | State::ProviderLive { .. }
        | State::Ended
        | State::Declined
        | State::Expired
        | State::Failed => true,
        State::Connecting
        | State::Connected { .. }
        | State::Requested { .. }
        | State::Broken
        | State::Paused
        | State::Withdrawn => false,
    }
}

/// What a page shows of a state's fields.
fn details(state: &State) -> (Option<&str>, Option<Minute>) {
    match state {
        State::Connected { requested } => (named(requested), None),
        State::Requested {
            provider,
            admitted_until,
        }
        | State::ProviderLive {
            provider,
            admitted_until,
        } => (named(provider), admitted_until.map(Minute::of)),
        State::Invited
        | State::Started
        | State::Connecting
        | State::Broken
        | State::Paused
        | State::Ended
        | State::Declined
        | State::Expired
        | State::Withdrawn
        | State::Failed => (None, None),
    }
}

/// A strong `ETag` over what pages show of a state.
fn etag(state: &State) -> String {
    let confirmed = !state.is_waiting();
    let shown = format!("{} {confirmed} {:?}", state.as_str(), details(state));
    format!("\"{}\"", short_hash(shown.as_bytes()))
}

fn shown(name: Option<&str>) -> Option<&str> {
    name.map(str::trim).filter(|name| !name.is_empty())
}

fn admitted(words: Words<'_>, until: Minute) -> Markup {
    let (before, after) = words.admitted();
    html! { p { (before) (time(until, words.lang)) (after) } }
}

fn time(at: Minute, lang: Lang) -> Markup {
    html! { time datetime=(at.machine()) { (at.written(lang)) } }
}

fn shares(words: Words<'_>, shares: &[Share], folded: bool) -> Markup {
    let lists = html! {
        @for change in [false, true] {
            @let names: Vec<String> = shares
                .iter()
                .filter(|share| (share.level == "read_write") == change)
                .map(|share| resource(words.lang, &share.resource))
                .collect();
            @if !names.is_empty() {
                h2 { (words.may(change)) }
                ul role="list" { @for name in &names { li { (name) } } }
            }
        }
    };
    html! {
        @if folded {
            details.shares { summary { (words.fixed(Fixed::WhatIsShared)) } (lists) }
        } @else {
            div.shares { (lists) }
        }
    }
}

fn languages(words: Words<'_>, here: &str) -> Markup {
    html! {
        nav aria-label=(words.fixed(Fixed::Language)) {
            @for lang in Lang::ALL {
                @let tag = lang.as_str();
                a href={ (here) "?lang=" (tag) } lang=(tag) hreflang=(tag) aria-current=[(lang == words.lang).then_some("true")] {
                    (lang.name())
                }
            }
        }
    }
}

/// A text as one segment of a path.
fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

const SLASHES: [char; 2] = ['/', '\\'];

/// All but what RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What no header has.
const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b' ');

const NOTHING: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const LOGO_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SHARE: &str = r#"<path d="M4 8h15m-4-4 4 4-4 4M20 16H5m4-4-4 4 4 4"/>"#;
const PLUG: &str = r#"<path d="M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-12 0zm6 9v4"/>"#;
const TICK: &str = r#"<path d="m5 12.5 4.5 4.5L19 7.5"/>"#;
const EXCLAMATION: &str = r#"<path d="M12 5v8.5m0 5v.01"/>"#;
const BARS: &str = r#"<path d="M9 6v12m6-12v12"/>"#;
const CLOCK: &str = r#"<path d="M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zm0 4v4l2.5 2"/>"#;
const QUESTION: &str = r#"<path d="M8.5 9a3.5 3.5 0 1 1 5.3 3c-1.1.7-1.8 1.3-1.8 2.5m0 4v.01"/>"#;
const MINUS: &str = r#"<path d="M6 12h12"/>"#;
const DOTS: &str = r#"<g fill="currentColor" stroke="none"><circle cx="5" cy="12" r="2.25"/><circle cx="12" cy="12" r="2.25"/><circle cx="19" cy="12" r="2.25"/></g>"#;

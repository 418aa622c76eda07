//! Fleets in a browser: from their link through Connect and back, on the deployed stack.
//!
//! Connect is on another site than our pages, as it is in the world: at `localhost`, where these are at `127.0.0.1`. Its pages aren't
//! ours and aren't judged; each of ours is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::http::Method;
use browser::{Browser, Error, Options, Tab};
use fleet::{
    At, Claim, Fact, FleetRef, IntegrationRequest, Observation, Policy, Register, Timestamp,
};
use futures_util::future::join_all;
use local::{signed::Signed, wire::Fault};
use serde_json::json;
use simulator::{ApiFault, ApiFaultKind, Faults, Outcome, events};
use store::{HistoryDays, Records, Share, Table};
use time::OffsetDateTime;
use tokio::sync::Barrier;

use crate::stack::Running;

/// A fleet's way to an end that its manager can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Journey {
    /// It connects its provider.
    Connected,
    /// Its provider isn't supported: it asks for it, and Catena confirms that later.
    Requested,
    /// It connects one provider and asks for another.
    Mixed,
    /// It declines, and changes its mind.
    Declined,
    /// Its invitation ends while it reads it, and it gets another.
    Expired,
    /// It connects, and closes the tab.
    ClosedTab,
    /// It is back before we know anything.
    RedirectFirst,
    /// We know everything before it is back.
    WebhooksFirst,
}

impl Journey {
    const ALL: [Self; 8] = [
        Self::Connected,
        Self::Requested,
        Self::Mixed,
        Self::Declined,
        Self::Expired,
        Self::ClosedTab,
        Self::RedirectFirst,
        Self::WebhooksFirst,
    ];

    /// Whether webhooks are kept back, until all journeys at the same time have seen what a page says meanwhile.
    const fn is_held(self) -> bool {
        matches!(self, Self::Declined | Self::RedirectFirst)
    }
}

/// Who travels, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Traveller {
    phone: bool,
    javascript: bool,
    lang: Lang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lang {
    En,
    Es,
    Fr,
}

impl Lang {
    const fn tag(self) -> &'static str {
        ["en", "es", "fr"][self as usize]
    }

    /// What a browser of somebody who speaks it asks for.
    const fn accepted(self) -> &'static str {
        ["en-US,en", "es-MX,es", "fr-CA,fr"][self as usize]
    }
}

impl Traveller {
    /// All that there are, in an order in which the first three of any multiple of three have both screens, are with and without
    /// scripts, and speak every language.
    fn all() -> Vec<Self> {
        let ways = [(true, true), (false, false), (true, false), (false, true)];
        let mut all = Vec::new();
        for turn in 0..4 {
            for (place, lang) in [Lang::En, Lang::Es, Lang::Fr].into_iter().enumerate() {
                let (phone, javascript) = ways[(turn + place) % 4];
                all.push(Self {
                    phone,
                    javascript,
                    lang,
                });
            }
        }
        all
    }

    const fn options(self) -> Options {
        Options {
            phone: self.phone,
            javascript: self.javascript,
            language: self.lang.accepted(),
        }
    }
}

impl fmt::Display for Traveller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let screen = if self.phone { "phone" } else { "desktop" };
        let scripts = if self.javascript {
            ""
        } else {
            " without JavaScript"
        };
        write!(f, "{screen}{scripts}, {}", self.lang.tag())
    }
}

/// A page of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Invited,
    Connecting,
    Connected,
    Unconfirmed,
    Requested,
    Failed,
    Declined,
    Expired,
    Broken,
    Ended,
    NotFound,
    Unavailable,
    TooSoon,
    Refused,
}

impl Shown {
    const fn status(self) -> u16 {
        match self {
            Self::Ended => 410,
            Self::NotFound => 404,
            Self::Unavailable => 503,
            Self::TooSoon => 429,
            Self::Refused => 502,
            _ => 200,
        }
    }

    /// In English, Spanish and French.
    fn heading(self, lang: Lang) -> String {
        let all = match self {
            Self::Invited => [
                "Example Freight invites FLEET to share data",
                "Example Freight invita a FLEET a compartir datos",
                "Example Freight invite FLEET à partager des données",
            ],
            Self::Connecting => [
                "We’re waiting for confirmation",
                "Estamos esperando la confirmación",
                "Nous attendons la confirmation",
            ],
            Self::Connected => [
                "FLEET is connected",
                "La flota FLEET está conectada",
                "La flotte FLEET est connectée",
            ],
            Self::Unconfirmed => [
                "Catena hasn’t confirmed your request yet",
                "Catena todavía no ha confirmado su solicitud",
                "Catena n’a pas encore confirmé votre demande",
            ],
            Self::Requested => [
                "You asked for Prairie Logs",
                "Usted solicitó Prairie Logs",
                "Vous avez demandé Prairie Logs",
            ],
            Self::Failed => [
                "It seems that nothing was connected",
                "Parece que no se conectó nada",
                "Il semble que rien n’ait été connecté",
            ],
            Self::Declined => [
                "You declined the invitation",
                "Usted rechazó la invitación",
                "Vous avez refusé l’invitation",
            ],
            Self::Expired => [
                "Your invitation has expired",
                "Su invitación ha caducado",
                "Votre invitation a expiré",
            ],
            Self::Broken => ["Your connection stopped working", "", ""],
            Self::Ended => ["This link no longer works", "", ""],
            Self::NotFound => ["There is nothing here", "", ""],
            Self::Unavailable => ["This isn’t possible right now", "", ""],
            Self::TooSoon => ["Please try again in 10 minutes", "", ""],
            Self::Refused => ["We can’t take you to Catena", "", ""],
        };
        all[lang as usize].replace("FLEET", NAME)
    }
}

const CONNECT: [&str; 3] = ["Connect", "Conectar", "Connecter"];
const CHECK_AGAIN: [&str; 3] = ["Check again", "Comprobar de nuevo", "Vérifier de nouveau"];
const START_AGAIN: [&str; 3] = ["Start again", "Empezar de nuevo", "Recommencer"];
const TRY_AGAIN: [&str; 3] = ["Try again", "Intentar de nuevo", "Réessayer"];
const CONNECT_AGAIN: [&str; 3] = [
    "Connect again",
    "Conectar de nuevo",
    "Rétablir la connexion",
];
const BACK_TO_INVITATION: [&str; 3] = [
    "Back to the invitation",
    "Volver a la invitación",
    "Retour à l’invitation",
];
const RENEW: [&str; 3] = [
    "Get a new invitation",
    "Obtener una nueva invitación",
    "Obtenir une nouvelle invitation",
];
/// How all fleets here call themselves.
const NAME: &str = "Red River Haulage";

/// The stack, and what was seen on it.
struct Way {
    running: Running,
    browser: &'static Browser,
    partner: Signed,
    table: Table,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    journeys: usize,
    pages: usize,
    rules: u64,
    /// The fewest and the most bytes of each page over the wire.
    bytes: BTreeMap<Shown, (u64, u64)>,
    /// How often a page said that it isn't possible now.
    unavailable: usize,
    /// From the moment when webhooks set off until the page says so by itself.
    changes: Vec<Duration>,
    /// All that is wrong, so that one run tells it all.
    faults: BTreeSet<String>,
}

impl Way {
    /// `None` without a browser.
    async fn start() -> Option<Self> {
        let browser = Browser::shared().await?;
        let mut running = Running::start(&[]).await;
        // Else the reconciler, which is nudged by each claim, would confirm requests before the page is looked at.
        let lag = Duration::from_secs(24 * 60 * 60);
        running.stack.simulator.set_integration_request_lag(lag);
        let here = running.stack.simulator.url();
        let elsewhere = here.replace("127.0.0.1", "localhost");
        let connect = format!("{elsewhere}/connect");
        running.stack.simulator.set_connect_url(Some(&connect));
        let settings = [("CONNECT_ORIGINS".to_owned(), elsewhere)].into();
        for package in ["redirect", "link-opener"] {
            let functions = &mut running.stack.deployment.functions;
            let function = functions.get_mut(package).unwrap();
            let configured = local::deploy::configure(&running.stack.aws, function, &settings);
            configured.await.unwrap();
        }
        Some(Self {
            partner: running.partner(),
            table: running.table().await,
            running,
            browser,
            seen: Mutex::default(),
        })
    }

    /// Invites a fleet, and hands its link to somebody.
    async fn invited(&self, fleet: &str, traveller: Traveller) -> Result<Visit<'_>, Error> {
        let path = format!("/fleets/{fleet}/invitation");
        let body = json!({ "fleet_name": NAME });
        let answer = self.partner.send(Method::PUT, &path, Some(body)).await;
        let invited = answer.unwrap().json().unwrap();
        let link = invited["link"]["url"].as_str().unwrap().to_owned();
        Ok(Visit {
            tab: self.browser.tab(traveller.options()).await?,
            way: self,
            traveller,
            fleet: fleet.to_owned(),
            link,
            patient: true,
        })
    }

    /// Walks journeys at the same time. Webhooks are held or none of them is.
    async fn walk(&self, journeys: &[(Journey, Traveller)]) {
        let gate = Barrier::new(journeys.len());
        if journeys.iter().any(|(journey, _)| journey.is_held()) {
            self.running.stack.simulator.hold_events();
        }
        let walked = journeys.iter().map(async |&(journey, traveller)| {
            let name = format!("{journey:?} on {traveller}");
            let number = {
                let mut seen = self.seen.lock().unwrap();
                seen.journeys += 1;
                seen.journeys
            };
            let fleet = format!("FLEET-{number:03}");
            let walked = self.walk_one(journey, &fleet, traveller, &gate).await;
            if let Err(error) = walked {
                panic!("{name}: {error}");
            }
        });
        join_all(walked).await;
    }

    async fn walk_one(
        &self,
        journey: Journey,
        fleet: &str,
        traveller: Traveller,
        gate: &Barrier,
    ) -> Result<(), Error> {
        let mut visit = self.invited(fleet, traveller).await?;
        visit.open().await?;
        visit.shows(Shown::Invited).await?;
        visit.press(CONNECT).await?;
        match journey {
            Journey::Connected => {
                visit.accept().await?;
                visit.connect().await?;
                visit.come_back("#finish").await?;
                visit.until(Shown::Connected).await?;
            }
            Journey::Requested => {
                visit.accept().await?;
                visit.request().await?;
                visit.come_back("#return").await?;
                visit.until(Shown::Unconfirmed).await?;
                let until = self.confirm_request(fleet).await;
                visit.until(Shown::Requested).await?;
                let shown = visit.tab.evaluate(ENDS).await?;
                assert_eq!(shown, until, "{fleet}");
            }
            Journey::Mixed => {
                visit.accept().await?;
                visit.connect().await?;
                visit.go("#add-another", "#search").await?;
                visit.request().await?;
                self.known(fleet, "connected").await;
                self.confirm_request(fleet).await;
                visit.come_back("#return").await?;
                visit.until(Shown::Connected).await?;
                let text = visit.tab.text().await?;
                assert!(text.contains("Prairie Logs"), "{text}");
            }
            Journey::Declined => {
                visit.come_back("#decline").await?;
                visit.until(Shown::Failed).await?;
                self.released(gate).await;
                visit.until(Shown::Declined).await?;
                visit.press(START_AGAIN).await?;
                visit.accept().await?;
                visit.connect().await?;
                visit.come_back("#finish").await?;
                visit.until(Shown::Connected).await?;
            }
            Journey::Expired => {
                visit.tab.wait_for("#accept", WITHIN).await?;
                let simulator = &self.running.stack.simulator;
                simulator.expire_invitation(fleet).unwrap();
                visit.go("#accept", "#return").await?;
                visit.come_back("#return").await?;
                visit.until(Shown::Expired).await?;
                visit.press(RENEW).await?;
                visit.accept().await?;
                visit.connect().await?;
                visit.come_back("#finish").await?;
                visit.until(Shown::Connected).await?;
            }
            Journey::ClosedTab => {
                visit.accept().await?;
                visit.connect().await?;
                // Later it opens its link again, in another browser.
                visit.tab.open("about:blank").await?;
                visit.tab = self.browser.tab(traveller.options()).await?;
                self.known(fleet, "connected").await;
                visit.open().await?;
                visit.shows(Shown::Connected).await?;
            }
            Journey::RedirectFirst => {
                visit.accept().await?;
                visit.connect().await?;
                visit.come_back("#finish").await?;
                visit.shows(Shown::Connecting).await?;
                let released = self.released(gate).await;
                if traveller.javascript {
                    let heading = Shown::Connected.heading(traveller.lang);
                    visit.tab.wait_for_text(&heading, WITHIN).await?;
                    self.seen.lock().unwrap().changes.push(released.elapsed());
                    visit.loaded().await?;
                } else {
                    self.known(fleet, "connected").await;
                    let heading = Shown::Connecting.heading(traveller.lang);
                    assert_eq!(visit.headings().await?, [heading], "no timed refresh");
                    visit.press(CHECK_AGAIN).await?;
                }
                visit.shows(Shown::Connected).await?;
            }
            Journey::WebhooksFirst => {
                visit.accept().await?;
                visit.connect().await?;
                self.known(fleet, "connected").await;
                visit.come_back("#finish").await?;
                visit.shows(Shown::Connected).await?;
            }
        }
        Ok(())
    }

    /// Why pages said that something isn't possible, as the functions' lines tell.
    fn causes(&self) -> String {
        let packages = ["redirect", "link-opener"].into_iter();
        let lines = packages.flat_map(|it| self.running.stack.log_records(it));
        let causes = lines.filter_map(|line| Some(line["cause"].as_str()?.to_owned()));
        causes.collect::<Vec<_>>().join("\n")
    }

    /// Lets the webhooks go once everybody is here.
    async fn released(&self, gate: &Barrier) -> Instant {
        if gate.wait().await.is_leader() {
            self.running.stack.simulator.release_events();
        }
        Instant::now()
    }

    /// Waits until the partner is told that a fleet is at a stage.
    async fn known(&self, fleet: &str, stage: &str) {
        let path = format!("/fleets/{fleet}/access");
        let start = Instant::now();
        loop {
            let answer = self.partner.send(Method::GET, &path, None).await.unwrap();
            let access = answer.json().unwrap();
            if access["stage"] == stage {
                return;
            }
            assert!(start.elapsed() < WITHIN, "{fleet} isn't {stage}: {access}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Catena confirms what a fleet asked for, as if it had been asked. Returns the end of the admission as the page has it.
    async fn confirm_request(&self, fleet: &str) -> String {
        let invitation = self.running.stack.simulator.invitation(fleet).unwrap();
        let fleet = FleetRef::parse(fleet).unwrap();
        let record = self.table.record(&fleet).await.unwrap().record;
        let hash = catena::InvitationHash::of(&invitation.id.to_string());
        let known = &record.facts.invitations[hash.as_str()];
        let claimed = known.claim.as_ref().map(Register::value);
        let id = match claimed {
            Some(Claim::Requested(Some(id))) => id.clone(),
            _ => "5c06372b-5b5a-4477-88ee-6cd8d3b55efb".to_owned(),
        };
        let now = OffsetDateTime::now_utc();
        let created = Timestamp(now.unix_timestamp() * 1000);
        let request = IntegrationRequest {
            created,
            provider: "Prairie Logs".to_owned(),
            provider_id: "019d6a63-e072-7bcf-a03b-e51a72a4c856".to_owned(),
            invitation: Some(hash.as_str().to_owned()),
            live_as: BTreeSet::new(),
        };
        let policy = Policy::default();
        let records = Records {
            table: &self.table,
            policy: &policy,
            history_days: HistoryDays::default(),
            now,
        };
        let fact = Fact::Request { id, request };
        let share = Share {
            event: "test".to_owned(),
            id: None,
            received: created,
            observations: vec![Observation {
                at: At(created, 0),
                fact,
            }],
            hint: false,
            answered: true,
        };
        records.take_in_one(&fleet, share).await.unwrap();
        let ends = now + Duration::from_millis(policy.provisional_days.millis() as u64);
        let (date, hour, minute) = (ends.date(), ends.hour(), ends.minute());
        format!("{date}T{hour:02}:{minute:02}Z")
    }
}

/// A fleet's manager with its link.
struct Visit<'a> {
    way: &'a Way,
    tab: Tab,
    traveller: Traveller,
    fleet: String,
    link: String,
    /// Whether it tries again when it is asked to.
    patient: bool,
}

impl Visit<'_> {
    /// The page of ours that is shown must be this one, and without a fault.
    async fn shows(&self, page: Shown) -> Result<(), Error> {
        let Self { tab, traveller, .. } = self;
        let heading = page.heading(traveller.lang);
        let mut faults = Vec::new();
        let (headings, fleet) = (self.headings().await?, &self.fleet);
        if headings != [heading.as_str()] {
            let (url, text) = (tab.url().await?, tab.text().await?);
            let causes = self.way.causes();
            panic!("{fleet} on {traveller}: no {page:?} at {url}, which says:\n{text}\n{causes}");
        }
        let lang = tab.evaluate("document.documentElement.lang").await?;
        if lang != traveller.lang.tag() {
            faults.push(format!("its language is {lang}"));
        }
        let status = tab.status().await?;
        if status != Some(page.status()) {
            faults.push(format!("its status is {status:?}"));
        }
        let bytes = tab.bytes().await?;
        let found = tab.faults().await?;
        // Connect has no icon, which its own pages are to blame for.
        let connects = |it: &String| it.starts_with("network: http://localhost:");
        let busy = |it: &String| it.contains("/status - ") && it.contains("a status of 503");
        faults.extend(found.into_iter().filter(|it| !connects(it) && !busy(it)));
        let rules = tab.axe_passed().await?;
        let told = faults
            .into_iter()
            .map(|fault| format!("{page:?} of {fleet} on {traveller}: {fault}"));
        let mut seen = self.way.seen.lock().unwrap();
        seen.pages += 1;
        seen.rules += rules;
        let (fewest, most) = seen.bytes.entry(page).or_insert((bytes, bytes));
        (*fewest, *most) = ((*fewest).min(bytes), (*most).max(bytes));
        seen.faults.extend(told);
        Ok(())
    }

    /// Waits for a page: with scripts it comes by itself, without by "Check again".
    async fn until(&self, page: Shown) -> Result<(), Error> {
        let lang = self.traveller.lang;
        let heading = page.heading(lang);
        let start = Instant::now();
        loop {
            // While the page changes, there may be none.
            let headings = self.headings().await.unwrap_or_default();
            if headings == [heading.as_str()] || start.elapsed() > WITHIN {
                break;
            }
            if self.traveller.javascript {
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.loaded().await?;
            } else if self.press(CHECK_AGAIN).await.is_err() {
                // The next line tells what there is instead.
                break;
            }
        }
        self.loaded().await?;
        self.shows(page).await
    }

    /// Presses what says so in the traveller's language, and waits for the next page.
    async fn press(&self, words: [&str; 3]) -> Result<(), Error> {
        self.tab.follow(words[self.traveller.lang as usize]).await?;
        self.loaded().await
    }

    /// Waits for the rest of a page of which something is there. On a journey, a page that asks to try again is obeyed: a machine that
    /// has too much to do isn't what is tested here.
    async fn loaded(&self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            self.tab.wait_for("main", WITHIN).await?;
            while self.tab.evaluate("document.readyState").await? != "complete" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let patient = self.patient && start.elapsed() < WITHIN;
            if !patient || self.tab.status().await? != Some(503) {
                return Ok(());
            }
            self.way.seen.lock().unwrap().unavailable += 1;
            let words = TRY_AGAIN[self.traveller.lang as usize];
            self.tab.follow(words).await?;
        }
    }

    /// Opens the link.
    async fn open(&self) -> Result<(), Error> {
        self.tab.open(&self.link).await?;
        self.loaded().await
    }

    async fn headings(&self) -> Result<Vec<String>, Error> {
        let all = "[...document.querySelectorAll('h1')].map(it => it.textContent)";
        Ok(serde_json::from_value(self.tab.evaluate(all).await?)?)
    }

    /// On Connect: from one element to a page that has another.
    async fn go(&self, css: &str, next: &str) -> Result<(), Error> {
        self.tab.wait_for(css, WITHIN).await?;
        self.tab.click(css).await?;
        self.tab.wait_for(next, WITHIN).await?;
        self.loaded().await
    }

    async fn accept(&self) -> Result<(), Error> {
        self.go("#accept", "#search").await
    }

    async fn connect(&self) -> Result<(), Error> {
        self.go("#provider-samsara", "#user").await?;
        self.tab.fill("#user", "dana").await?;
        self.tab.fill("#password", "correct").await?;
        self.go("#connect", "#finish").await
    }

    async fn request(&self) -> Result<(), Error> {
        self.go("#provider-prairie-logs", "#request-integration")
            .await?;
        self.go("#request-integration", "#confirm-request").await?;
        self.go("#confirm-request", "#return").await
    }

    /// Keeps a picture of the screen, if somebody wants it.
    async fn picture(&self, name: &str) -> Result<(), Error> {
        if let Some(folder) = std::env::var_os("KINGPIN_SCREENSHOTS") {
            let path = PathBuf::from(folder).join(format!("{name}.png"));
            std::fs::write(path, self.tab.screenshot().await?).unwrap();
        }
        Ok(())
    }

    /// From Connect to our pages.
    async fn come_back(&self, css: &str) -> Result<(), Error> {
        self.go(css, OURS).await
    }
}

/// Walks all journeys, each by as many travellers. Returns the figures, or `None` without a browser.
pub(crate) async fn walk(travellers: usize) -> Option<String> {
    let way = Way::start().await?;
    let start = Instant::now();
    let all = Traveller::all();
    let mut journeys = Vec::new();
    for (place, journey) in Journey::ALL.into_iter().enumerate() {
        // Each journey begins with others, so that all travellers travel.
        let chosen = all.iter().cycle().skip(3 * place).take(travellers);
        journeys.extend(chosen.map(|it| (journey, *it)));
    }
    let (held, free): (Vec<_>, Vec<_>) = journeys.into_iter().partition(|(it, _)| it.is_held());
    for journeys in [free, held].iter().flat_map(|it| it.chunks(AT_ONCE)) {
        way.walk(journeys).await;
    }
    Some(way.figures(start))
}

impl Way {
    /// What was seen, if nothing was wrong.
    fn figures(self, start: Instant) -> String {
        let seen = self.seen.into_inner().unwrap();
        let faults: Vec<_> = seen.faults.into_iter().collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        let mut changes = seen.changes;
        changes.sort_unstable();
        let median = changes.get(changes.len() / 2).copied().unwrap_or_default();
        let slowest = changes.last().copied().unwrap_or_default();
        let bytes = seen.bytes.iter();
        let bytes = bytes.map(|(page, (fewest, most))| format!("{page:?} {fewest} to {most}"));
        let bytes = bytes.collect::<Vec<_>>().join(", ");
        format!(
            "{} journeys, {} pages looked at, {} axe rules passed and none failed; from webhooks to the page's change p50 {:.1} s, \
             max {:.1} s of {}; {} times unavailable; bytes over the wire: {bytes}; {:.0} s",
            seen.journeys,
            seen.pages,
            seen.rules,
            median.as_secs_f64(),
            slowest.as_secs_f64(),
            changes.len(),
            seen.unavailable,
            start.elapsed().as_secs_f64()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_off_the_way_are_no_dead_ends() {
    let Some(way) = Way::start().await else {
        return;
    };
    if let Err(error) = off_the_way(&way).await {
        panic!("{error}");
    }
    let seen = way.seen.into_inner().unwrap();
    assert_eq!(seen.faults, BTreeSet::new());
}

async fn off_the_way(way: &Way) -> Result<(), Error> {
    let simulator = &way.running.stack.simulator;
    let phone = Traveller {
        phone: true,
        javascript: true,
        lang: Lang::En,
    };

    // Ended, and never made.
    let visit = way.invited("ENDED", phone).await?;
    let path = "/fleets/ENDED/link";
    let answer = way.partner.send(Method::POST, path, None).await.unwrap();
    assert_eq!(answer.status, 201);
    visit.open().await?;
    visit.shows(Shown::Ended).await?;
    for path in ["/connect/never-made-0123456789_", "/return/never-made"] {
        visit.tab.open(&way.running.stack.url(path)).await?;
        visit.shows(Shown::NotFound).await?;
    }

    // We are down, and then we aren't.
    let mut visit = way.invited("DECLINED", phone).await?;
    visit.patient = false;
    let down = Fault::error(500, "InternalServerError");
    way.running.stack.wire.fault("redirect", "dynamodb:*", down);
    visit.open().await?;
    visit.shows(Shown::Unavailable).await?;
    way.running.stack.wire.heal();
    visit.press(TRY_AGAIN).await?;
    visit.shows(Shown::Invited).await?;

    // Catena is down when it should make a new invitation, and then it isn't.
    let declined = async || {
        simulator.decline_invitation("DECLINED", None).unwrap();
        way.known("DECLINED", "declined").await;
        visit.open().await?;
        visit.shows(Shown::Declined).await?;
        visit.press(START_AGAIN).await
    };
    let down = ApiFault::new(ApiFaultKind::Status { status: 503 });
    simulator.add_api_fault(down.until_cleared());
    declined().await?;
    visit.shows(Shown::Unavailable).await?;
    simulator.clear_api_faults();
    visit.press(TRY_AGAIN).await?;
    visit.tab.wait_for("#accept", WITHIN).await?;
    declined().await?;
    visit.shows(Shown::TooSoon).await?;
    visit.press(BACK_TO_INVITATION).await?;
    visit.shows(Shown::Declined).await?;

    // Catena leads to somebody else.
    let connect = format!("{}/connect", simulator.url());
    simulator.set_connect_url(Some("https://connect.example/connect"));
    let visit = way.invited("REFUSED", phone).await?;
    visit.open().await?;
    visit.press(CONNECT).await?;
    visit.shows(Shown::Refused).await?;
    let connect = connect.replace("127.0.0.1", "localhost");
    simulator.set_connect_url(Some(&connect));

    // Its provider refuses access some time later.
    let visit = way.invited("BROKEN", phone).await?;
    visit.open().await?;
    visit.press(CONNECT).await?;
    visit.accept().await?;
    visit.connect().await?;
    way.known("BROKEN", "connected").await;
    let connected = &simulator.invitation("BROKEN").unwrap().connections[0];
    let stale = events::connection_staled(connected, OffsetDateTime::now_utc());
    let sent = simulator.deliver(&stale, Faults::default()).await;
    assert_eq!(sent[0].outcome, Outcome::Accepted);
    way.known("BROKEN", "degraded").await;
    visit.open().await?;
    visit.shows(Shown::Broken).await?;
    visit.press(CONNECT_AGAIN).await?;
    // It accepted already.
    visit.tab.wait_for("#search", WITHIN).await?;
    visit.connect().await?;
    visit.come_back("#finish").await?;
    visit.until(Shown::Connected).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_the_choice_of_a_language_are_enough() {
    let Some(way) = Way::start().await else {
        return;
    };
    if let Err(error) = by_keys_in_another_language(&way).await {
        panic!("{error}");
    }
    let seen = way.seen.into_inner().unwrap();
    assert_eq!(seen.faults, BTreeSet::new());
}

/// Pictures of the pages that are seen on the way are left in the folder that `KINGPIN_SCREENSHOTS` names.
async fn by_keys_in_another_language(way: &Way) -> Result<(), Error> {
    let phone = Traveller {
        phone: true,
        javascript: true,
        lang: Lang::En,
    };
    let mut visit = way.invited("KEYS", phone).await?;
    visit.open().await?;
    visit.shows(Shown::Invited).await?;
    visit.tab.follow("Español").await?;
    visit.traveller.lang = Lang::Es;
    visit.shows(Shown::Invited).await?;
    let mut steps = 0;
    while visit.tab.evaluate(AT_BUTTON).await? != true {
        steps += 1;
        assert!(steps < 10, "the button can't be reached by Tab");
        visit.tab.key(TAB).await?;
    }
    assert_eq!(visit.tab.evaluate(OUTLINED).await?, true);
    visit.tab.key(ENTER).await?;
    visit.accept().await?;
    visit.connect().await?;
    visit.come_back("#finish").await?;
    visit.until(Shown::Connected).await?;
    visit.tab.follow("Français").await?;
    visit.traveller.lang = Lang::Fr;
    visit.shows(Shown::Connected).await?;
    visit.tab.follow("English").await?;
    visit.traveller.lang = Lang::En;
    visit.shows(Shown::Connected).await?;
    visit.picture("connected").await?;

    let visit = way.invited("PICTURES", phone).await?;
    visit.open().await?;
    visit.shows(Shown::Invited).await?;
    visit.picture("invited").await?;
    visit.press(CONNECT).await?;
    visit.accept().await?;
    visit.request().await?;
    visit.come_back("#return").await?;
    visit.until(Shown::Unconfirmed).await?;
    way.confirm_request("PICTURES").await;
    visit.until(Shown::Requested).await?;
    visit.picture("requested").await?;
    Ok(())
}

/// For anything to happen that should happen, however much the machine has to do.
const WITHIN: Duration = Duration::from_secs(100);
/// Each in a browser of its own.
const AT_ONCE: usize = 3;
/// What every page of ours has, and none of Connect's.
const OURS: &str = ".mark";
/// The end of an admission.
const ENDS: &str = "document.querySelector('main time').getAttribute('datetime')";
const AT_BUTTON: &str = "document.activeElement.matches('form button')";
const OUTLINED: &str = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
/// Keys, as WebDriver names them.
const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";

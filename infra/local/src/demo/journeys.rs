//! Fleets in browsers: from their link through Connect and back, each in its own way.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use local::Stack;
use local::signed::Signed;
use reqwest::Url;
use serde_json::Value;
use simulator::Browser;

use super::access;
use super::phone::{Page, Phone};
use crate::shown;

/// What a fleet does, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// It connects a provider.
    Connected,
    /// It requests the integration of a provider that isn't supported.
    Requested,
    /// It connects one and requests another in one session.
    Mixed,
    /// It declines, then presses the button that its page has for that.
    ChangedMind,
    /// Its invitation runs out before it goes to Connect.
    Expired,
    /// It connects a provider and never comes back.
    ClosedTab,
    /// It comes back before any webhook.
    RedirectFirst,
    /// It comes back after all webhooks.
    WebhooksFirst,
}

impl Story {
    pub(super) const ALL: [Self; 8] = [
        Self::Connected,
        Self::Requested,
        Self::Mixed,
        Self::ChangedMind,
        Self::Expired,
        Self::ClosedTab,
        Self::RedirectFirst,
        Self::WebhooksFirst,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Requested => "integration requested",
            Self::Mixed => "mixed",
            Self::ChangedMind => "declined, then changed its mind",
            Self::Expired => "expired, then retried",
            Self::ClosedTab => "closed tab",
            Self::RedirectFirst => "redirect before webhooks",
            Self::WebhooksFirst => "webhooks before redirect",
        }
    }

    /// The last page, the stage, the admission, and a reason that is among those for them.
    const fn end(self) -> [&'static str; 4] {
        match self {
            Self::Requested => ["requested", "requested", "provisional", "request_pending"],
            Self::Connected
            | Self::Mixed
            | Self::ChangedMind
            | Self::Expired
            | Self::ClosedTab
            | Self::RedirectFirst
            | Self::WebhooksFirst => ["connected", "connected", "full", "connection_live"],
        }
    }
}

/// How it went with a fleet.
#[derive(Debug)]
pub(super) struct Journey {
    story: Story,
    /// What its pages said, one after the other.
    said: Vec<String>,
    /// From the last thing that it, or Catena, did until its page said how it ended.
    took: Option<Duration>,
    stage: String,
    admission: String,
    problem: Option<String>,
}

/// Walks all stories, each with the fleet and the link in its place.
pub(super) async fn walk(
    stack: &Stack,
    partner: &Signed,
    invited: &[(String, Url)],
) -> Result<Vec<Journey>> {
    let walks = Story::ALL.iter().zip(invited);
    let walks = walks.map(|(story, (fleet, link))| Walk::new(stack, partner, *story, fleet, link));
    let mut walks = walks.collect::<Result<Vec<_>>>()?;
    // Whose webhooks are held back holds back those of all.
    let (alone, together): (Vec<_>, Vec<_>) = walks
        .iter_mut()
        .partition(|walk| walk.story == Story::RedirectFirst);
    join_all(together.into_iter().map(Walk::walk)).await;
    stack.simulator.idle().await;
    for walk in alone {
        walk.walk().await;
        // Whatever stopped it.
        stack.simulator.release_events();
    }
    stack.simulator.idle().await;
    let fleets: Vec<String> = invited.iter().map(|(fleet, _)| fleet.clone()).collect();
    let standings = access(partner, &fleets).await?;
    let ended = walks.into_iter().map(|walk| {
        let mut standings = standings.iter();
        let standing = standings.find(|it| it["fleet_ref"] == walk.fleet);
        walk.ended(standing.unwrap_or(&Value::Null))
    });
    Ok(ended.collect())
}

/// A row for each.
pub(super) fn table(journeys: &[Journey]) -> String {
    let said: Vec<String> = journeys.iter().map(|it| it.said.join(" > ")).collect();
    let width = said.iter().map(String::len).max().unwrap_or_default();
    let mut table = format!(
        "{:<33}{:<width$}  {:<11}{:<13}{:>7}\n",
        "story", "its pages said", "stage", "admission", "after"
    );
    for (journey, said) in journeys.iter().zip(said) {
        let Journey {
            story,
            took,
            stage,
            admission,
            ..
        } = journey;
        let _ = writeln!(
            table,
            "{:<33}{said:<width$}  {stage:<11}{admission:<13}{:>7}",
            story.name(),
            took.map_or("?".to_owned(), shown),
        );
    }
    table + NOTES
}

/// What went otherwise than it should, in sentences.
pub(super) fn problems(journeys: &[Journey]) -> impl Iterator<Item = String> {
    let problem = |it: &Journey| {
        let problem = it.problem.as_ref()?;
        Some(format!("the story `{}`: {problem}", it.story.name()))
    };
    journeys.iter().filter_map(problem)
}

/// A fleet on its way.
struct Walk<'a> {
    stack: &'a Stack,
    partner: &'a Signed,
    story: Story,
    fleet: &'a str,
    link: &'a Url,
    phone: Phone,
    said: Vec<String>,
    took: Option<Duration>,
    stopped: Option<anyhow::Error>,
}

impl<'a> Walk<'a> {
    fn new(
        stack: &'a Stack,
        partner: &'a Signed,
        story: Story,
        fleet: &'a str,
        link: &'a Url,
    ) -> Result<Self> {
        Ok(Self {
            stack,
            partner,
            story,
            fleet,
            link,
            phone: Phone::new()?,
            said: Vec::new(),
            took: None,
            stopped: None,
        })
    }

    async fn walk(&mut self) {
        let walked = match self.story {
            Story::Connected => self.connected().await,
            Story::Requested => self.requested().await,
            Story::Mixed => self.mixed().await,
            Story::ChangedMind => self.changed_mind().await,
            Story::Expired => self.expired().await,
            Story::ClosedTab => self.closed_tab().await,
            Story::RedirectFirst => self.redirect_first().await,
            Story::WebhooksFirst => self.webhooks_first().await,
        };
        self.stopped = walked.err();
    }

    async fn connected(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        let end = self.connect(&page).await?;
        self.back(&end, "connected").await.map(drop)
    }

    async fn requested(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        let mut connect = self.press(&page).await?;
        connect.accept().await?;
        connect.request("prairie-logs").await?;
        let end = connect.finish().await?;
        self.back(&end, "requested").await?;
        // Catena is asked at once whether it is so.
        self.settles("provisional").await
    }

    async fn mixed(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        let mut connect = self.press(&page).await?;
        connect.accept().await?;
        connect.connect("samsara").await?;
        connect.request("prairie-logs").await?;
        let end = connect.finish().await?;
        self.back(&end, "connected").await.map(drop)
    }

    async fn changed_mind(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        let mut connect = self.press(&page).await?;
        let end = connect.decline(Some("Not now")).await?;
        let page = self.back(&end, "declined").await?;
        let end = self.connect(&page).await?;
        self.back(&end, "connected").await.map(drop)
    }

    async fn expired(&mut self) -> Result<()> {
        self.look("invited").await?;
        self.stack.simulator.expire_invitation(self.fleet)?;
        let page = self.look("expired").await?;
        let end = self.connect(&page).await?;
        self.back(&end, "connected").await.map(drop)
    }

    async fn closed_tab(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        self.connect(&page).await?;
        let start = Instant::now();
        self.look("connected").await?;
        self.took = Some(start.elapsed());
        Ok(())
    }

    async fn redirect_first(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        self.stack.simulator.hold_events();
        let end = self.connect(&page).await?;
        let page = self.back(&end, "connecting").await?;
        // There is nothing but what the browser claims; that reached the record when the link's page says it, too.
        self.look("connecting").await?;
        self.stack.simulator.release_events();
        self.becomes(page, "connected").await.map(drop)
    }

    async fn webhooks_first(&mut self) -> Result<()> {
        let page = self.look("invited").await?;
        let end = self.connect(&page).await?;
        self.settles("full").await?;
        let start = Instant::now();
        let page = self.phone.open(&self.phone.follow(&end).await?).await?;
        self.took = Some(start.elapsed());
        self.said(&page);
        let state = page.state;
        ensure!(state == "connected", "its page says `{state}` at first");
        Ok(())
    }

    /// Presses the page's button, and connects a provider. Answers where Connect sends the fleet then.
    async fn connect(&mut self, page: &Page) -> Result<Url> {
        let mut connect = self.press(page).await?;
        connect.accept().await?;
        connect.connect("samsara").await?;
        Ok(connect.finish().await?)
    }

    async fn press(&mut self, page: &Page) -> Result<Browser> {
        let magic_link = self.phone.press(page).await?;
        Ok(Browser::open(magic_link.as_str()).await?)
    }

    /// Opens the link's page until it says so.
    async fn look(&mut self, state: &str) -> Result<Page> {
        let start = Instant::now();
        loop {
            let page = self.phone.open(self.link).await?;
            self.said(&page);
            if page.state == state {
                return Ok(page);
            }
            waited(start, &page.state, state).await?;
        }
    }

    /// Comes back from Connect, and stays until the page says so.
    async fn back(&mut self, end: &Url, state: &str) -> Result<Page> {
        let start = Instant::now();
        let page = self.phone.follow(end).await?;
        ensure!(page.query().is_none(), "the page has a query");
        let page = self.phone.open(&page).await?;
        self.said(&page);
        let page = self.becomes(page, state).await?;
        self.took = Some(start.elapsed());
        Ok(page)
    }

    /// Stays on a page until it says so: loads it again when its status changes.
    async fn becomes(&mut self, mut page: Page, state: &str) -> Result<Page> {
        let start = Instant::now();
        while page.state != state {
            waited(start, &page.state, state).await?;
            if self.phone.status(&page).await? != page.state {
                page = self.phone.open(&page.url).await?;
                self.said(&page);
            }
        }
        self.took = Some(start.elapsed());
        Ok(page)
    }

    /// Waits until the partner is told that the fleet may in so.
    async fn settles(&self, admission: &str) -> Result<()> {
        let start = Instant::now();
        let fleet = [self.fleet.to_owned()];
        loop {
            let standings = access(self.partner, &fleet).await?;
            let standing = standings.first().context("no answer about the fleet")?;
            let kind = standing["admission"]["kind"].as_str().unwrap_or("?");
            if kind == admission {
                return Ok(());
            }
            waited(start, kind, admission).await?;
        }
    }

    fn said(&mut self, page: &Page) {
        if self.said.last() != Some(&page.state) {
            self.said.push(page.state.clone());
        }
    }

    fn ended(self, standing: &Value) -> Journey {
        let page = self.said.last().map_or("nothing", String::as_str);
        let problem = match &self.stopped {
            Some(error) => Some(format!("{error:#}")),
            None => otherwise(self.story, page, standing),
        };
        Journey {
            story: self.story,
            said: self.said,
            took: self.took,
            stage: text(&standing["stage"]),
            admission: text(&standing["admission"]["kind"]),
            problem,
        }
    }
}

/// How a story ended, unless it ended as it should.
fn otherwise(story: Story, page: &str, standing: &Value) -> Option<String> {
    let (stage, admission) = (
        text(&standing["stage"]),
        text(&standing["admission"]["kind"]),
    );
    let reasons = standing["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<String> = reasons.map(|it| text(&it["code"])).collect();
    let [end_page, end_stage, end_admission, end_reason] = story.end();
    let as_it_should = page == end_page
        && stage == end_stage
        && admission == end_admission
        && reasons.iter().any(|it| it == end_reason);
    let ended = || {
        format!(
            "ended with page `{page}`, stage `{stage}`, admission `{admission}` because of `{}`, instead of \
             `{end_page}`, `{end_stage}`, `{end_admission}` because of `{end_reason}`",
            reasons.join("`, `"),
        )
    };
    (!as_it_should).then(ended)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

/// Waits a moment, unless it waited long enough.
async fn waited(since: Instant, said: &str, expected: &str) -> Result<()> {
    let limit = WITHIN.as_secs();
    ensure!(
        since.elapsed() < WITHIN,
        "after {limit} s it is `{said}` instead of `{expected}`"
    );
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

const NOTES: &str = "
after: from the redirect to the page that says how it ended; `closed tab` from the end of Connect,
`redirect before webhooks` from the first webhook.
";
const WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_story_that_ends_otherwise_is_told() {
        let standing = |stage: &str, admission: &str, code: &str| {
            let reasons = json!([{"code": "agreement_in_force"}, { "code": code }]);
            json!({"stage": stage, "admission": {"kind": admission}, "reasons": reasons})
        };
        for story in Story::ALL {
            let [page, stage, admission, code] = story.end();
            let good = standing(stage, admission, code);
            assert_eq!(otherwise(story, page, &good), None);
            for (page, standing) in [
                ("failed", &good),
                (page, &standing("degraded", admission, code)),
                (page, &standing(stage, "grace", code)),
                (page, &standing(stage, admission, "else")),
                (page, &Value::Null),
            ] {
                assert!(otherwise(story, page, standing).is_some(), "{standing}");
            }
        }
    }
}

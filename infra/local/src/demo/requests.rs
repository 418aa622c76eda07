//! Fleets that request a provider which Catena doesn't support yet: from the request to provisional access, and from there to
//! flowing data once the provider is live, or to the end of what was granted.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use local::Stack;
use local::signed::Signed;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use simulator::{Browser, Telling};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::bus::{DomainEvent, Subscriber, moment};
use super::invite_one;
use super::phone::Phone;
use super::sweeps::Sweeps;

/// What a fleet does, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// It comes back from Connect; its provider goes live, and a webhook tells it.
    Announced,
    /// It comes back, and its provider doesn't go live in time.
    DatePasses,
    /// It never comes back from Connect; its provider goes live, and nobody tells it.
    ClosedTab,
}

impl Story {
    pub(super) const ALL: [Self; 3] = [Self::Announced, Self::DatePasses, Self::ClosedTab];

    const fn name(self) -> &'static str {
        match self {
            Self::Announced => "requested, and its provider goes live",
            Self::DatePasses => "requested, and its date passes",
            Self::ClosedTab => "requested, and the tab closed",
        }
    }

    /// Providers go live for everybody, so the fleet whose date passes asks for one that is live for nobody until then.
    const fn provider(self) -> &'static str {
        match self {
            Self::Announced => "prairie-logs",
            Self::DatePasses | Self::ClosedTab => "old-road-eld",
        }
    }

    /// What the bus is to tell of it, among others: names, and where they lead.
    const fn told(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Announced | Self::ClosedTab => &[
                ("integration_request.confirmed", ""),
                ("fleet.admission_changed", "provisional"),
                ("fleet.reconnect_ready", ""),
                ("fleet.stage_changed", "connected"),
                ("fleet.admission_changed", "full"),
            ],
            Self::DatePasses => &[
                ("integration_request.confirmed", ""),
                ("fleet.admission_changed", "provisional"),
                ("fleet.admission_changed", "none"),
            ],
        }
    }
}

/// How it went with a fleet.
#[derive(Debug)]
pub(super) struct Timeline {
    story: Story,
    fleet: String,
    start: OffsetDateTime,
    /// When what was reached.
    steps: Vec<(OffsetDateTime, String)>,
    told: Vec<DomainEvent>,
    problem: Option<String>,
}

/// Walks all stories, with a sweep every second but for the moment at which a date passes.
pub(super) async fn walk(
    stack: &Stack,
    partner: &Signed,
    sweeps: &Sweeps<'_>,
    run: &str,
) -> Result<Vec<Timeline>> {
    let fleets = Story::ALL.map(|story| format!("{run}-request-{}", story as usize + 1));
    let fleet_refs: Vec<&str> = fleets.iter().map(String::as_str).collect();
    let subscriber = Subscriber::start(stack, "demo-requests", &fleet_refs).await?;
    let subscriber = &Mutex::new(subscriber);
    let [announced, date_passes, closed_tab] = fleets.each_ref();
    let walk = |story, fleet| Walk::through(stack, partner, sweeps, subscriber, story, fleet);
    let one_after_the_other = async {
        let first = walk(Story::DatePasses, date_passes).await?;
        // Its provider may go live now.
        let second = walk(Story::ClosedTab, closed_tab).await?;
        anyhow::Ok((first, second))
    };
    let walks = async { tokio::try_join!(walk(Story::Announced, announced), one_after_the_other) };
    let (announced, (date_passes, closed_tab)) = tokio::select! {
        walks = walks => walks?,
        error = sweeps.run() => return Err(error),
    };
    Ok(vec![announced, closed_tab, date_passes])
}

/// A timeline for each, and what the bus told.
pub(super) fn timelines(timelines: &[Timeline]) -> String {
    let mut text = String::new();
    for timeline in timelines {
        let Timeline {
            story,
            fleet,
            start,
            steps,
            told,
            ..
        } = timeline;
        // Writing to a string succeeds.
        let _ = writeln!(text, "{} ({fleet})\n", story.name());
        for (at, step) in steps {
            let _ = writeln!(text, "{:>10}  {step}", after(*start, *at));
        }
        let _ = writeln!(text, "\n            on the bus");
        for event in told {
            let at = after(*start, event.occurred_at);
            let (name, says) = (&event.name, event.says());
            let _ = writeln!(text, "{at:>10}  {name:<30}  {says}");
        }
        text.push('\n');
    }
    text
}

/// What went otherwise than it should, in sentences.
pub(super) fn problems(timelines: &[Timeline]) -> impl Iterator<Item = String> {
    let problem = |it: &Timeline| {
        let problem = it.problem.as_ref()?;
        Some(format!("the story `{}`: {problem}", it.story.name()))
    };
    timelines.iter().filter_map(problem)
}

/// A fleet on its way.
struct Walk<'a> {
    stack: &'a Stack,
    partner: &'a Signed,
    sweeps: &'a Sweeps<'a>,
    subscriber: &'a Mutex<Subscriber<'a>>,
    story: Story,
    fleet: &'a str,
    link: Url,
    phone: Phone,
    start: OffsetDateTime,
    steps: Vec<(OffsetDateTime, String)>,
}

impl<'a> Walk<'a> {
    /// Invites a fleet and walks with it, as far as it comes.
    async fn through(
        stack: &'a Stack,
        partner: &'a Signed,
        sweeps: &'a Sweeps<'a>,
        subscriber: &'a Mutex<Subscriber<'a>>,
        story: Story,
        fleet: &'a str,
    ) -> Result<Timeline> {
        let start = OffsetDateTime::now_utc();
        let (_, link) = invite_one(partner, fleet, story.name()).await?;
        let mut walk = Self {
            stack,
            partner,
            sweeps,
            subscriber,
            story,
            fleet,
            link,
            phone: Phone::new()?,
            start,
            steps: Vec::new(),
        };
        walk.step("invited");
        let mut walked = walk.walk().await;
        if walked.is_ok() {
            walked = walk.told().await;
        }
        let mut subscriber = subscriber.lock().await;
        subscriber.receive().await?;
        Ok(Timeline {
            story,
            fleet: fleet.to_owned(),
            start,
            steps: walk.steps,
            told: subscriber.told(fleet),
            problem: walked.err().map(|error| format!("{error:#}")),
        })
    }

    async fn walk(&mut self) -> Result<()> {
        self.request().await?;
        let standing = self.confirmed().await?;
        match self.story {
            Story::Announced => {
                self.goes_live(Telling::Announced).await?;
                self.reconnect().await
            }
            Story::ClosedTab => {
                self.goes_live(Telling::Silent).await?;
                self.reconnect().await
            }
            Story::DatePasses => {
                let ends = moment(&standing["admission"]["until"])?;
                self.date_passes(ends).await?;
                self.notice(ends).await
            }
        }
    }

    /// Presses its link's button, requests its provider in Connect, and comes back unless it closes the tab.
    async fn request(&mut self) -> Result<()> {
        let page = self.phone.open(&self.link).await?;
        let magic_link = self.phone.press(&page).await?;
        let mut connect = Browser::open(magic_link.as_str()).await?;
        connect.accept().await?;
        connect.request(self.story.provider()).await?;
        if self.story == Story::ClosedTab {
            self.step("requested its provider, and closed the tab");
            return Ok(());
        }
        let end = connect.finish().await?;
        let page = self.phone.follow(&end).await?;
        self.phone.open(&page).await?;
        self.step("requested its provider, and came back");
        Ok(())
    }

    /// Until Catena confirmed the request, and it gave provisional access. Answers the standing.
    async fn confirmed(&mut self) -> Result<Value> {
        let confirmed = self.stands("request confirmed", |it| has(it, "request_pending"));
        confirmed.await?;
        self.step("request confirmed");
        let provisional = |it: &Value| it["admission"]["kind"] == "provisional";
        let standing = self.stands("provisional access", provisional).await?;
        let ends = moment(&standing["admission"]["until"])?;
        self.step(format!("provisional, until {}", after(self.start, ends)));
        Ok(standing)
    }

    async fn goes_live(&mut self, telling: Telling) -> Result<()> {
        let simulator = &self.stack.simulator;
        simulator.provider_goes_live(self.story.provider(), telling)?;
        self.step(match telling {
            Telling::Announced => "provider live, announced by tsp.created",
            Telling::Silent => "provider live, and nobody told",
        });
        self.stands("reconnect_ready", |it| it["stage"] == "reconnect_ready")
            .await?;
        self.step("reconnect ready");
        Ok(())
    }

    /// Opens its link again, and connects what it asked for.
    async fn reconnect(&mut self) -> Result<()> {
        let page = self.phone.open(&self.link).await?;
        let state = &page.state;
        ensure!(
            state == "provider_live",
            "its link's page says `{state}` instead of `provider_live`"
        );
        let magic_link = self.phone.press(&page).await?;
        let mut connect = Browser::open(magic_link.as_str()).await?;
        connect.connect(self.story.provider()).await?;
        let end = connect.finish().await?;
        self.phone.follow(&end).await?;
        self.step("opened its link again, and connected its provider");
        let full = |it: &Value| it["stage"] == "connected" && it["admission"]["kind"] == "full";
        self.stands("full access", full).await?;
        self.step("full");
        Ok(())
    }

    /// Until provisional access ended, while the reconciler does nothing.
    async fn date_passes(&mut self, ends: OffsetDateTime) -> Result<()> {
        // What is under way is over when it ends.
        sleep_until(ends - QUIET_BEFORE).await;
        let sweeps = self.sweeps;
        sweeps.quiet(self.watch(ends)).await
    }

    /// Asks as the partner's platform does, before and after provisional access ends.
    async fn watch(&mut self, ends: OffsetDateTime) -> Result<()> {
        self.step("the reconciler stands still: no sweeps, no tasks");
        sleep_until(ends - WATCHED_BEFORE).await;
        let version = self.version().await?;
        let mut last = None;
        let first = loop {
            let standing = self.standing().await?;
            let at = moment(&standing["as_of"])?;
            match standing["admission"]["kind"].as_str() {
                Some("provisional") if at < ends => last = Some(at),
                Some("none") if at >= ends => break at,
                _ => bail!(
                    "{} provisional access ended it was {}",
                    beside(ends, at),
                    seen(&standing)
                ),
            }
            tokio::time::sleep(WATCHED_EVERY).await;
        };
        let last = last.context("it was asked too late to see the end of provisional access")?;
        self.step_at(
            last,
            format!("still provisional {} the end", beside(ends, last)),
        );
        self.step_at(first, format!("none {} the end", beside(ends, first)));
        ensure!(
            first - last < SECOND,
            "whether provisional access ended to the second wasn't seen: it was asked {} and {} the end",
            beside(ends, last),
            beside(ends, first)
        );
        let written = self.version().await?;
        ensure!(
            written == version,
            "its record was written while its date passed: version {version} became {written}"
        );
        self.step(format!(
            "its record is still version {version}: nobody wrote it"
        ));
        Ok(())
    }

    /// Until a sweep noticed that the date passed.
    async fn notice(&mut self, ends: OffsetDateTime) -> Result<()> {
        self.step("the reconciler runs again");
        let start = Instant::now();
        loop {
            let path = format!("/fleets/{}/history", self.fleet);
            let answer = self.partner.send(Method::GET, &path, None).await?.json()?;
            let entries = answer["entries"].as_array();
            let entries = entries.with_context(|| format!("no history: {answer}"))?;
            let noticed = entries.iter().find(|entry| {
                entry["event"] == DATE_PASSED && moment(&entry["at"]).is_ok_and(|at| at == ends)
            });
            if noticed.is_some() {
                self.step("date.passed is in its history");
                return Ok(());
            }
            let limit = WITHIN.as_secs();
            ensure!(
                start.elapsed() < WITHIN,
                "after {limit} s its history doesn't say that its date passed: {}",
                names(entries.iter().filter_map(|entry| entry["event"].as_str()))
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks until the fleet stands so.
    async fn stands(&self, expected: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        loop {
            let standing = self.standing().await?;
            if so(&standing) {
                return Ok(standing);
            }
            let limit = WITHIN.as_secs();
            ensure!(
                start.elapsed() < WITHIN,
                "after {limit} s it is {} instead of {expected}",
                seen(&standing)
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the partner's platform is told.
    async fn standing(&self) -> Result<Value> {
        let path = format!("/fleets/{}/access", self.fleet);
        self.partner.send(Method::GET, &path, None).await?.json()
    }

    /// The version of the fleet's record.
    async fn version(&self) -> Result<u64> {
        let pk = format!("FLEET#{}", self.fleet);
        let input = json!({
            "TableName": self.stack.table()?,
            "Key": { "pk": { "S": pk }, "sk": { "S": "RECORD" } },
            "ConsistentRead": true,
        });
        let found = self.stack.aws.dynamodb("GetItem", input).await?;
        let version = found["Item"]["version"]["N"].as_str();
        Ok(version.context("it has no record")?.parse()?)
    }

    /// Until the bus told all that it should.
    async fn told(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let mut subscriber = self.subscriber.lock().await;
            subscriber.receive().await?;
            let told = subscriber.told(self.fleet);
            drop(subscriber);
            let is_told = |(name, to): &(&str, &str)| {
                let named = told.iter().filter(|event| event.name == *name);
                named.into_iter().any(|event| event.leads_to() == *to)
            };
            let mut expected = self.story.told().iter();
            let Some((name, to)) = expected.find(|it| !is_told(it)) else {
                return Ok(());
            };
            let limit = TOLD_WITHIN.as_secs();
            ensure!(
                start.elapsed() < TOLD_WITHIN,
                "after {limit} s the bus hasn't told `{name}` {to}: {}",
                names(told.iter().map(|event| event.name.as_str()))
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn step(&mut self, step: impl Into<String>) {
        self.step_at(OffsetDateTime::now_utc(), step);
    }

    fn step_at(&mut self, at: OffsetDateTime, step: impl Into<String>) {
        self.steps.push((at, step.into()));
    }
}

fn has(standing: &Value, code: &str) -> bool {
    codes(standing).any(|it| it == code)
}

fn codes(standing: &Value) -> impl Iterator<Item = &str> {
    let reasons = standing["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(|reason| reason["code"].as_str())
}

/// A standing in an error.
fn seen(standing: &Value) -> String {
    let (stage, admission) = (&standing["stage"], &standing["admission"]["kind"]);
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "at stage `{}` with admission `{}` because of {}",
        word(stage),
        word(admission),
        names(codes(standing))
    )
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    }
}

/// A moment as a time after the start.
fn after(start: OffsetDateTime, at: OffsetDateTime) -> String {
    format!("{:.3} s", (at - start).as_seconds_f64())
}

/// Where a moment lies from another.
fn beside(moment: OffsetDateTime, at: OffsetDateTime) -> String {
    let milliseconds = (at - moment).whole_milliseconds();
    match milliseconds {
        ..0 => format!("{} ms before", -milliseconds),
        _ => format!("{milliseconds} ms after"),
    }
}

async fn sleep_until(moment: OffsetDateTime) {
    let ahead = Duration::try_from(moment - OffsetDateTime::now_utc());
    tokio::time::sleep(ahead.unwrap_or_default()).await;
}

const DATE_PASSED: &str = "date.passed";
/// For each step: the slowest, a silent provider, is found some ten seconds after the request.
const WITHIN: Duration = Duration::from_secs(60);
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// Time enough for what is under way.
const QUIET_BEFORE: Duration = Duration::from_secs(3);
const WATCHED_BEFORE: Duration = Duration::from_secs(1);
const WATCHED_EVERY: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-05-04 08:00 UTC);

    #[test]
    fn a_timeline_counts_from_its_start_what_was_reached_and_what_the_bus_told() {
        let event = json!({
            "detail-type": "fleet.admission_changed",
            "detail": {
                "occurred_at": "2026-05-04T08:00:00.5Z",
                "from": { "kind": "none" },
                "to": { "kind": "provisional" },
            },
        });
        let timeline = Timeline {
            story: Story::DatePasses,
            fleet: "FLEET-42".to_owned(),
            start: START,
            steps: vec![(START + Duration::from_millis(1250), "invited".to_owned())],
            told: vec![DomainEvent::read(&event.to_string()).unwrap()],
            problem: Some("it rains".to_owned()),
        };
        let timeline = [timeline];
        let lines = [
            "requested, and its date passes (FLEET-42)",
            "",
            "   1.250 s  invited",
            "",
            "            on the bus",
            "   0.500 s  fleet.admission_changed         none > provisional",
            "",
            "",
        ];
        assert_eq!(timelines(&timeline), lines.join("\n"));
        let problems: Vec<String> = problems(&timeline).collect();
        assert_eq!(
            problems,
            ["the story `requested, and its date passes`: it rains"]
        );
    }

    #[test]
    fn a_moment_lies_before_or_after_another() {
        let later = START + Duration::from_millis(30);
        assert_eq!(beside(later, START), "30 ms before");
        assert_eq!(beside(START, START), "0 ms after");
        assert_eq!(beside(START, later), "30 ms after");
    }

    #[test]
    fn a_standing_in_an_error_says_why() {
        let standing = json!({
            "stage": "requested",
            "admission": { "kind": "none" },
            "reasons": [{ "code": "request_pending" }, { "code": "provisional_ended" }],
        });
        assert!(has(&standing, "request_pending") && !has(&standing, "provider_live"));
        assert_eq!(
            seen(&standing),
            "at stage `requested` with admission `none` because of `request_pending`, `provisional_ended`"
        );
    }
}

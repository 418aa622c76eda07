//! What a fleet's browser is shown.

use std::time::Duration;

use catena::Instant;
use fleet::{
    At, Claim, Decision, Fact, Facts, FleetRef, InvitationFact, InvitationFacts, Observation,
    Policy, Register, Timestamp,
};
use lambda_http::{Body, Request, Response};
use pages::{Document, Page, Place, Share, State, Visitor};
use queue::{EventsQueue, Message, Told};
use return_token::{Return, ReturnKeys};
use secrets::Cached;
use startup::describe;
use store::{Link, OpenPart, StoreError, StoredRecord, Table, timestamp};
use time::OffsetDateTime;
use tracing::{info, warn};
use web::{Asked, LinkCookie, Site, response};

use crate::claim::{Landing, Query, claim};

/// Shows pages, and queues claims.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) table: Table,
    pub(crate) queue: EventsQueue,
    pub(crate) keys: Cached<ReturnKeys>,
    pub(crate) site: Site,
    pub(crate) policy: Policy,
    pub(crate) now: fn() -> OffsetDateTime,
}

/// Why something else than what was asked for is shown.
#[derive(Debug)]
enum NotShown {
    /// Nothing is there, for whatever reason.
    Nothing,
    /// There was a link.
    Ended,
    /// Try again.
    Unavailable(String),
}

impl From<StoreError> for NotShown {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(describe(&error))
    }
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    /// It is queued.
    Queued,
    /// It is recorded already, or another one was a moment ago.
    Known,
    /// There is nothing that it could belong to.
    Nowhere,
    /// Nobody's browser asked.
    NoVisit,
    /// The queue or the table didn't take it: what becomes of the fleet is told by webhooks.
    Lost,
}

impl Claimed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "claimed",
            Self::Known => "claim-known",
            Self::Nowhere => "claim-of-nothing",
            Self::NoVisit => "no-visit",
            Self::Lost => "claim-lost",
        }
    }
}

impl Redirect {
    /// Answers within 9 s.
    pub(crate) async fn handle(&self, request: &Request) -> Response<Body> {
        let asked = Asked::new(request);
        let visitor = asked.visitor();
        let route = asked.route();
        let shown = tokio::time::timeout(DEADLINE, self.show(&route, asked, &visitor)).await;
        let elapsed = |_| Err(NotShown::Unavailable("out of time".to_owned()));
        let pages = &self.site.pages;
        let mut document = match shown.unwrap_or_else(elapsed) {
            Ok(document) => document,
            Err(NotShown::Nothing) => {
                info!(
                    route,
                    outcome = "nothing-there",
                    "{route}: nothing is there"
                );
                pages.render(&Page::NotFound, &visitor)
            }
            Err(NotShown::Ended) => {
                info!(route, outcome = "link-ended", "{route}: the link ended");
                pages.render(&Page::LinkEnded, &visitor)
            }
            Err(NotShown::Unavailable(cause)) => {
                warn!(
                    route,
                    outcome = "unavailable",
                    cause,
                    "{route}: unavailable"
                );
                pages.render(&Page::Unavailable { link: None }, &visitor)
            }
        };
        if asked.is_head() {
            document.body.clear();
        }
        response(document, None)
    }

    async fn show(
        &self,
        route: &str,
        asked: Asked<'_>,
        visitor: &Visitor,
    ) -> Result<Document, NotShown> {
        // HEAD shows what GET would.
        match route.split_once(' ').map_or("", |(_, path)| path) {
            "/connect/{link}" => self.link(asked, visitor).await,
            "/connect/{link}/open" => Ok(self.back_to_link(asked, visitor)),
            "/return/{token}/success" => self.returned(Landing::Success, asked).await,
            "/return/{token}/failure" => self.returned(Landing::Failure, asked).await,
            "/return/{token}" => self.stands(asked, visitor).await,
            "/return/{token}/status" => self.status(asked).await,
            "/assets/{file}" => {
                let asset = self.site.pages.asset(asked.part("file"));
                asset.ok_or(NotShown::Nothing)
            }
            _ => Err(NotShown::Nothing),
        }
    }

    /// The page of a fleet's link: shows, and asks nobody for anything, since mail scanners look at it, too.
    async fn link(&self, asked: Asked<'_>, visitor: &Visitor) -> Result<Document, NotShown> {
        let link = asked.part("link");
        let fleet = self.table.linked(link).await?.ok_or(NotShown::Nothing)?;
        let (stored, open) = self.table.shown(&fleet).await?;
        let now = self.now();
        if open.live_link(now).is_none_or(|it| it.id != link) {
            return Err(NotShown::Ended);
        }
        let state = State::of(&stored.record, &self.policy, now, Place::Link);
        info!(fleet.ref = %fleet, outcome = "shown", state = state.as_str(), "fleet {fleet}: its link shows {}", state.as_str());
        let page = Page::Link {
            link,
            fleet: name(&stored, &open),
            shares: &shares(&open),
            state: &state,
        };
        Ok(self.site.pages.render(&page, visitor))
    }

    /// After a pressed button that led to a page of ours, the address is that of the button: who loads it again, or changes the
    /// language there, sees the link's page.
    fn back_to_link(&self, asked: Asked<'_>, visitor: &Visitor) -> Document {
        let link = asked.part("link");
        let link = if Link::is_id(link) { link } else { "-" };
        let (path, lang) = (self.site.path(), visitor.lang.as_str());
        let location = format!("{path}/connect/{link}?lang={lang}");
        self.site.pages.see_other(&location)
    }

    /// The fleet comes back from Connect: the claim is queued, and the browser goes on to a page without a query, whatever becomes of
    /// the claim.
    async fn returned(&self, landing: Landing, asked: Asked<'_>) -> Result<Document, NotShown> {
        let token = asked.part("token");
        let back = self.checked(token).await?;
        let claimed = match asked.is_visit() {
            true => self.claim(&back, landing, asked).await?,
            false => Claimed::NoVisit,
        };
        let (fleet, outcome) = (&back.fleet, claimed.as_str());
        info!(fleet.ref = %fleet, outcome, "fleet {fleet}: came back, {outcome}");
        let location = format!("{}/return/{token}", self.site.path());
        Ok(self.site.pages.see_other(&location))
    }

    async fn claim(
        &self,
        back: &Return,
        landing: Landing,
        asked: Asked<'_>,
    ) -> Result<Claimed, NotShown> {
        let fleet = &back.fleet;
        let lost = |cause: String| {
            warn!(fleet.ref = %fleet, cause, "fleet {fleet}: what its browser claims is lost, webhooks will tell");
            Ok(Claimed::Lost)
        };
        let (stored, open) = match self.table.shown(fleet).await {
            Ok(found) => found,
            Err(error) => return lost(describe(&error)),
        };
        if is_unknown(&stored, &open) {
            return Err(NotShown::Nothing);
        }
        let named = open.returning.as_ref().map(|it| &it.name);
        let facts = &stored.record.facts;
        let newest = facts.newest_invitation_by_hash();
        // An older invitation's URLs say nothing about the one that counts. Nor do those of one that is being made instead of one that
        // is over, as long as nothing is heard of it.
        let now = self.now();
        let unheard = |known: &InvitationFacts| open.asking.is_some() && is_over(known, now);
        let named = named == Some(&back.name);
        let Some((hash, known)) = newest.filter(|(_, known)| named && !unheard(known)) else {
            return Ok(Claimed::Nowhere);
        };
        let query = Query {
            status: asked.parameters("status"),
            integration_request_id: asked.parameters("integration_request_id"),
            invitation_id: asked.parameters("invitation_id"),
            fleet_ref: asked.parameters("fleet_ref"),
        };
        let claim = claim(landing, &query, fleet.as_str(), hash);
        if let Some(recorded) = &known.claim {
            let at = recorded.at().time();
            let repeated = *recorded.value() == claim && Some(at) > last_news(facts, known);
            if repeated || now < at.plus(PACE) {
                return Ok(Claimed::Known);
            }
        }
        match self.queue.send(message(fleet, hash, claim, now)).await {
            Ok(_) => Ok(Claimed::Queued),
            Err(error) => lost(describe(&error)),
        }
    }

    /// Where the fleet stands, for a browser that came back.
    async fn stands(&self, asked: Asked<'_>, visitor: &Visitor) -> Result<Document, NotShown> {
        let token = asked.part("token");
        let (stored, open, state) = self.standing(token).await?;
        let fleet = &stored.fleet;
        info!(fleet.ref = %fleet, outcome = "shown", state = state.as_str(), "fleet {fleet}: its return shows {}", state.as_str());
        // The token opens nothing. Only a browser that has the link already is offered it.
        let live = open.live_link(self.now()).map(|link| link.id.as_str());
        let own = asked.cookie().map(|LinkCookie { link, .. }| link);
        let page = Page::Return {
            token,
            fleet: name(&stored, &open),
            state: &state,
            link: live.filter(|link| Some(*link) == own.as_deref()),
        };
        Ok(self.site.pages.render(&page, visitor))
    }

    /// The same in a word, for the page's script.
    async fn status(&self, asked: Asked<'_>) -> Result<Document, NotShown> {
        let (_, _, state) = self.standing(asked.part("token")).await?;
        let known = asked.header("if-none-match");
        Ok(self.site.pages.status(&state, known))
    }

    async fn standing(&self, token: &str) -> Result<(StoredRecord, OpenPart, State), NotShown> {
        let Return { fleet, .. } = self.checked(token).await?;
        let (stored, open) = self.table.shown(&fleet).await?;
        if is_unknown(&stored, &open) {
            return Err(NotShown::Nothing);
        }
        let state = State::of(&stored.record, &self.policy, self.now(), Place::Return);
        Ok((stored, open, state))
    }

    /// What a token stands for, by the keys that are at hand, or else by newer ones.
    async fn checked(&self, token: &str) -> Result<Return, NotShown> {
        let now = (self.now)();
        let keys = self.keys.current(now).await;
        let keys = keys.ok_or_else(|| NotShown::Unavailable("no return keys".to_owned()))?;
        if let Some(back) = keys.check(token, self.now()) {
            return Ok(back);
        }
        let newer = self.keys.newer(now).await;
        let back = newer.and_then(|keys| keys.check(token, self.now()));
        back.ok_or(NotShown::Nothing)
    }

    fn now(&self) -> Timestamp {
        timestamp((self.now)())
    }
}

/// Whether Catena makes a new invitation instead of refreshing it (contract 3.1).
fn is_over(known: &InvitationFacts, now: Timestamp) -> bool {
    matches!(known.stands(now), Decision::Expired | Decision::Deleted)
}

/// When Catena last said something that a claim from before says nothing about: a fleet that comes back again after its connection
/// broke, or after it changed its mind, claims something new by the same words.
fn last_news(facts: &Facts, invitation: &InvitationFacts) -> Option<Timestamp> {
    let decision = invitation.decision.iter().map(Register::at);
    let agreements = facts.agreements.values().map(|it| it.current.at());
    let links = facts.connections.values();
    let links = links.flat_map(|link| {
        let state = link.connection.state.as_ref().map(Register::at);
        [state, link.linked].into_iter().flatten()
    });
    let last = decision.chain(agreements).chain(links).max();
    last.map(At::time)
}

/// Whether nothing at all is kept of a fleet: the token is another stack's, or the table was lost.
fn is_unknown(stored: &StoredRecord, open: &OpenPart) -> bool {
    stored.version == 0 && *open == OpenPart::default()
}

/// What the fleet calls itself, or else what it was invited as.
fn name<'a>(stored: &'a StoredRecord, open: &'a OpenPart) -> Option<&'a str> {
    let own = stored.record.facts.name.as_ref();
    let asked = open.asked.as_ref().and_then(|it| it["fleet_name"].as_str());
    own.map(|it| it.value().as_str()).or(asked)
}

/// What the fleet is asked to share: as Catena granted it, else as it was asked for.
fn shares(open: &OpenPart) -> Vec<Share> {
    let granted = open.granted.as_ref().and_then(|it| it.as_object());
    // An answer without permissions says nothing.
    let granted = granted.filter(|it| !it.is_empty());
    let asked = open
        .asked
        .as_ref()
        .and_then(|it| it["permissions"].as_object());
    let all = granted.or(asked).into_iter().flatten();
    all.map(|(resource, level)| Share {
        resource: resource.clone(),
        level: level.as_str().unwrap_or_default().to_owned(),
    })
    .collect()
}

fn message(fleet: &FleetRef, hash: &str, claim: Claim, now: Timestamp) -> Message {
    let fact = Fact::Invitation {
        invitation: hash.to_owned(),
        was: InvitationFact::Claim(claim),
    };
    let at = At(now, 0);
    let told = Told {
        fleet: fleet.clone(),
        event: "browser.return".to_owned(),
        observations: vec![Observation { at, fact }],
    };
    Message::told(Instant::from_millis(now.0), told)
}

/// Less than Lambda's time-out of 10 s.
const DEADLINE: Duration = Duration::from_secs(9);
/// Milliseconds between two claims of one fleet: nobody goes through Connect faster, and who makes returns up can't fill its history.
const PACE: i64 = 5_000;

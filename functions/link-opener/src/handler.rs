//! What a pressed button leads to.

use std::time::Duration;

use catena_client::CatenaError;
use fleet::{FleetRef, Timestamp};
use invitations::{InviteError, Inviter, OpenError, Opened};
use lambda_http::{Body, Request, Response};
use pages::{Page, Visitor};
use startup::describe;
use store::{StoreError, Table, timestamp};
use time::OffsetDateTime;
use tracing::{error, info, warn};
use web::{Asked, LinkCookie, Origin, Site, response};

/// Opens links.
#[derive(Debug)]
pub(crate) struct LinkOpener {
    pub(crate) inviter: Inviter,
    pub(crate) table: Table,
    pub(crate) site: Site,
    pub(crate) now: fn() -> OffsetDateTime,
}

/// Where a pressed button leads.
enum Leads {
    /// To Connect, by this magic link.
    Connect(String),
    /// To the link's own page, which says that there is nothing to do.
    Back,
    /// Nowhere, and it never led anywhere.
    Nothing,
    /// Nowhere any more.
    Ended,
    /// Nowhere before then.
    TooSoon(Timestamp),
    /// Nowhere now.
    Unavailable,
    /// To where no fleet is sent.
    Refused,
}

impl LinkOpener {
    /// Answers within 28 s.
    pub(crate) async fn handle(&self, request: &Request) -> Response<Body> {
        let asked = Asked::new(request);
        let link = asked.part("link");
        let leads = tokio::time::timeout(DEADLINE, self.open(link)).await;
        let leads = leads.unwrap_or_else(|_elapsed| {
            warn!(
                outcome = "unavailable",
                cause = "out of time",
                "a link: out of time"
            );
            Leads::Unavailable
        });
        self.answer(leads, link, &asked.visitor())
    }

    async fn open(&self, link: &str) -> Leads {
        let fleet = match self.table.linked(link).await {
            Ok(Some(fleet)) => fleet,
            Ok(None) => {
                info!(
                    outcome = "nothing-there",
                    "a link: there is none of this name"
                );
                return Leads::Nothing;
            }
            Err(error) => return unavailable("a link", &error),
        };
        let about = format!("fleet {fleet}");
        match self.inviter.open(&fleet, link).await {
            Ok(Opened::Connect(magic_link)) => self.leads_to(&fleet, magic_link),
            Ok(Opened::Connected) => {
                info!(fleet.ref = %fleet, outcome = "connected", "{about}: its data flows, there is nothing to open");
                Leads::Back
            }
            Err(OpenError::LinkEnded | OpenError::Invite(InviteError::NeverInvited)) => {
                info!(fleet.ref = %fleet, outcome = "link-ended", "{about}: the link ended");
                Leads::Ended
            }
            Err(OpenError::TooSoon(again)) => {
                info!(fleet.ref = %fleet, outcome = "too-soon", "{about}: Catena was asked for it a moment ago");
                Leads::TooSoon(again)
            }
            Err(OpenError::NoMagicLink) => {
                error!(fleet.ref = %fleet, outcome = "no-magic-link", "{about}: Catena gave no magic link: ask Catena why");
                Leads::Refused
            }
            Err(OpenError::Invite(error)) => failed(&fleet, &error),
        }
    }

    /// A magic link is used as Catena gave it, if it leads to one of the places that it may lead to.
    fn leads_to(&self, fleet: &FleetRef, magic_link: String) -> Leads {
        let origin = Origin::of(&magic_link);
        let allowed = &self.site.connect_origins;
        match &origin {
            Some(origin) if allowed.contains(origin) => {
                info!(fleet.ref = %fleet, outcome = "opened", "fleet {fleet}: led to Connect");
                Leads::Connect(magic_link)
            }
            _ => {
                // Never more of it than its origin: the rest opens the invitation.
                let origin = origin.as_ref().map_or("(unreadable)", Origin::as_str);
                error!(
                    fleet.ref = %fleet, outcome = "foreign-origin", origin,
                    "fleet {fleet}: its magic link leads to {origin}, which ConnectOrigins doesn't list: ask Catena whether that is theirs"
                );
                Leads::Refused
            }
        }
    }

    fn answer(&self, leads: Leads, link: &str, visitor: &Visitor) -> Response<Body> {
        let pages = &self.site.pages;
        let page = match leads {
            Leads::Connect(magic_link) => {
                let cookie = LinkCookie {
                    link: link.to_owned(),
                    lang: visitor.lang.as_str().to_owned(),
                };
                let cookie = cookie.write(&self.site);
                return response(pages.see_other(&magic_link), Some(cookie));
            }
            Leads::Back => {
                let (path, lang) = (self.site.path(), visitor.lang.as_str());
                let path = format!("{path}/connect/{link}?lang={lang}");
                return response(pages.see_other(&path), None);
            }
            Leads::Nothing => Page::NotFound,
            Leads::Ended => Page::LinkEnded,
            Leads::TooSoon(until) => Page::TooSoon {
                link,
                until,
                now: self.now(),
            },
            Leads::Unavailable => Page::Unavailable { link: Some(link) },
            Leads::Refused => Page::Refused,
        };
        response(pages.render(&page, visitor), None)
    }

    fn now(&self) -> Timestamp {
        timestamp((self.now)())
    }
}

/// Why a fleet couldn't be invited: all of it may be better in a moment, but some of it only once a person did something.
fn failed(fleet: &FleetRef, error: &InviteError) -> Leads {
    let lasting = match error {
        InviteError::Catena(error) => matches!(
            error,
            CatenaError::Unauthorised { .. }
                | CatenaError::Forbidden(_)
                | CatenaError::Credentials(_)
                | CatenaError::Refused(_)
        ),
        InviteError::Store(error) => {
            error.is_lasting() || matches!(error, StoreError::NewerSchema { .. })
        }
        InviteError::OtherFleet | InviteError::NoReturnKeys => true,
        _ => false,
    };
    if lasting {
        let cause = describe(error);
        error!(fleet.ref = %fleet, outcome = "unavailable", cause, "fleet {fleet}: its link leads nowhere until somebody mends that");
        return Leads::Unavailable;
    }
    unavailable(&format!("fleet {fleet}"), error)
}

fn unavailable(about: &str, error: &dyn std::error::Error) -> Leads {
    let cause = describe(error);
    warn!(
        outcome = "unavailable",
        cause, "{about}: its link leads nowhere now"
    );
    Leads::Unavailable
}

/// Less than API Gateway waits (30 s) and Lambda's time-out of 29 s.
const DEADLINE: Duration = Duration::from_secs(28);

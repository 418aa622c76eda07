//! Catena Connect in the browser (contract 4): the fleet opens the magic link, accepts, connects its providers or requests
//! them, and is sent back to the partner.
//!
//! The contract knows the steps and the redirects, not the pages. These are plain HTML forms. Nothing is kept in the browser:
//! every step names the invitation, and what the fleet has done since it opened the link is kept with the invitation.

mod page;
mod redirect;

use axum::http::{HeaderValue, Method, StatusCode, header, request::Parts};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::redirect::{Mixed, RedirectParameters};
use self::{
    page::Credentials,
    redirect::{Ending, location},
};
use super::{
    errors::Reply,
    integration_requests::Contact,
    invitations::{Invitation, Session, Status},
    query::Query,
    state::State,
    tsps::{Supported, Unsupported},
};

/// Where the pages are.
pub(super) const PATH: &str = "/connect";

/// Answers one step.
pub(super) fn serve(state: &mut State, parts: &Parts, body: &[u8], now: OffsetDateTime) -> Reply {
    let fields = match parts.method {
        Method::GET => parts.uri.query().unwrap_or_default(),
        _ => str::from_utf8(body).unwrap_or_default(),
    };
    let fields = &Query::parse(fields);
    let id = fields.one("invite").and_then(|id| Uuid::try_parse(id).ok());
    let Some(place) = id.and_then(|id| state.place(id)) else {
        return Answer::Page(StatusCode::NOT_FOUND, page::unknown()).reply();
    };
    let mut visit = Visit {
        state,
        place,
        fields,
        now,
    };
    let path = parts.uri.path();
    let path = path.strip_prefix(PATH).unwrap_or(path);
    let path: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let answer = match (parts.method.as_str(), &path[..]) {
        ("GET", []) => visit.open(),
        ("POST", ["accept"]) => visit.accept(),
        ("POST", ["decline"]) => visit.decline(),
        ("GET", ["providers"]) => visit.providers(),
        ("GET", ["providers", slug]) => visit.provider(slug),
        ("POST", ["providers", slug, "connect"]) => visit.connect(slug),
        ("GET", ["providers", slug, "connected"]) => visit.connected(slug),
        ("POST", ["providers", slug, "request"]) => visit.request(slug),
        ("POST", ["providers", slug, "confirm-request"]) => visit.confirm_request(slug),
        ("GET", ["providers", slug, "requested"]) => visit.requested(slug),
        ("POST", ["finish"]) => visit.finish(),
        _ => Answer::Page(StatusCode::NOT_FOUND, page::no_such_step()),
    };
    answer.reply()
}

/// One step of the fleet that holds the link.
struct Visit<'a, 'b> {
    state: &'a mut State,
    place: usize,
    fields: &'b Query,
    now: OffsetDateTime,
}

impl<'b> Visit<'_, 'b> {
    /// The magic link itself. Whether Catena tells a view of an accepted invitation is unknown: this doesn't.
    fn open(&mut self) -> Answer {
        self.state.at_mut(self.place).session = Session::default();
        match self.invitation().status {
            Status::Active => {
                let event = self.state.view(self.place, self.now);
                self.state.outbox.push(event);
                Answer::Page(StatusCode::OK, page::invitation(self.invitation()))
            }
            Status::Accepted => self.to_providers(),
            Status::Declined | Status::Expired | Status::Deleted => self.over(),
        }
    }

    fn accept(&mut self) -> Answer {
        match self.invitation().status {
            Status::Active => {
                let events = self.state.accept(self.place, self.now);
                self.state.outbox.extend(events);
                self.to_providers()
            }
            Status::Accepted => self.to_providers(),
            Status::Declined | Status::Expired | Status::Deleted => self.over(),
        }
    }

    fn decline(&mut self) -> Answer {
        match self.invitation().status {
            Status::Active => {
                let reason = self.given("reason");
                let event = self.state.decline(self.place, reason, self.now);
                self.state.outbox.push(event);
                self.redirect(&Ending::Failure)
            }
            // The form was sent twice.
            Status::Declined => self.redirect(&Ending::Failure),
            Status::Accepted => self.to_providers(),
            Status::Expired | Status::Deleted => self.over(),
        }
    }

    fn providers(&self) -> Answer {
        if let Err(reply) = self.accepted() {
            return reply;
        }
        let wanted = self.fields.one("q").unwrap_or_default();
        let fits = |name: &str| name.to_lowercase().contains(&wanted.trim().to_lowercase());
        let supported: Vec<_> = self.supported().filter(|tsp| fits(tsp.name)).collect();
        let unsupported: Vec<_> = self.unsupported().filter(|tsp| fits(tsp.name)).collect();
        let invitation = self.invitation();
        Answer::Page(
            StatusCode::OK,
            page::providers(invitation, wanted, &supported, &unsupported),
        )
    }

    fn provider(&self, slug: &str) -> Answer {
        let page = match self.find(slug) {
            Ok(Provider::Supported(tsp)) => {
                page::credentials(self.invitation(), &tsp, Credentials::Asked)
            }
            Ok(Provider::Unsupported(tsp)) => page::request(self.invitation(), &tsp),
            Err(reply) => return reply,
        };
        Answer::Page(StatusCode::OK, page)
    }

    fn connect(&mut self, slug: &str) -> Answer {
        let tsp = match self.find(slug) {
            Ok(Provider::Supported(tsp)) => tsp,
            Ok(Provider::Unsupported(_)) => return self.to(&["providers", slug]),
            Err(reply) => return reply,
        };
        let password = self.given("password");
        if self.given("user").is_none() || password.is_none_or(|word| word == WRONG_PASSWORD) {
            let page = page::credentials(self.invitation(), &tsp, Credentials::Refused);
            return Answer::Page(StatusCode::UNPROCESSABLE_ENTITY, page);
        }
        let events = self
            .state
            .connect(self.place, tsp.id, &tsp.source_name, self.now);
        self.state.at_mut(self.place).session.connected = true;
        self.state.outbox.extend(events);
        self.to(&["providers", slug, "connected"])
    }

    fn connected(&self, slug: &str) -> Answer {
        let invitation = self.invitation();
        match self.find(slug) {
            Ok(Provider::Supported(tsp)) if invitation.session.connected => {
                Answer::Page(StatusCode::OK, page::connected(invitation, &tsp))
            }
            Ok(_) => self.to_providers(),
            Err(reply) => reply,
        }
    }

    /// The confirmation screen: nothing is stored yet.
    fn request(&self, slug: &str) -> Answer {
        match self.find(slug) {
            Ok(Provider::Unsupported(tsp)) => {
                let page = page::confirmation(self.invitation(), &tsp, self.contact());
                Answer::Page(StatusCode::OK, page)
            }
            Ok(Provider::Supported(_)) => self.to(&["providers", slug]),
            Err(reply) => reply,
        }
    }

    /// Emits nothing: the events of integration requests are unknown (contract 6.11).
    fn confirm_request(&mut self, slug: &str) -> Answer {
        let tsp = match self.find(slug) {
            Ok(Provider::Unsupported(tsp)) => tsp,
            Ok(Provider::Supported(_)) => return self.to(&["providers", slug]),
            Err(reply) => return reply,
        };
        let (place, now, contact) = (self.place, self.now, self.contact());
        let id = self.state.request_integration(place, &tsp, contact, now);
        self.state.at_mut(place).session.requested = Some(id);
        self.to(&["providers", slug, "requested"])
    }

    fn requested(&self, slug: &str) -> Answer {
        let invitation = self.invitation();
        match self.find(slug) {
            Ok(Provider::Unsupported(tsp)) if invitation.session.requested.is_some() => {
                Answer::Page(StatusCode::OK, page::requested(invitation, &tsp))
            }
            Ok(_) => self.to_providers(),
            Err(reply) => reply,
        }
    }

    /// Back to the partner, and to the same place if it's pressed twice. Who has done nothing has abandoned: a failure
    /// (contract 4.2).
    fn finish(&self) -> Answer {
        let Session {
            connected,
            requested,
        } = &self.invitation().session;
        let ending = match (connected, requested, self.state.settings.mixed) {
            (false, None, _) => Ending::Failure,
            (true, None, _) | (true, Some(_), Mixed::Success) => Ending::Success,
            (false, Some(id), _) | (true, Some(id), Mixed::IntegrationRequested) => {
                Ending::Requested(id)
            }
        };
        self.redirect(&ending)
    }

    fn invitation(&self) -> &Invitation {
        self.state.at(self.place)
    }

    /// What the fleet wrote in a field, if anything.
    fn given(&self, name: &str) -> Option<&'b str> {
        let text = self.fields.one(name)?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn contact(&self) -> Contact<'b> {
        Contact {
            name: self.given("name"),
            notes: self.given("notes"),
        }
    }

    /// Providers are for those who accepted.
    fn accepted(&self) -> Result<(), Answer> {
        match self.invitation().status {
            Status::Accepted => Ok(()),
            Status::Active => Err(self.to(&[])),
            Status::Declined | Status::Expired | Status::Deleted => Err(self.over()),
        }
    }

    fn supported(&self) -> impl Iterator<Item = &Supported> {
        let supported = self.state.tsps.supported();
        supported.filter(|tsp| self.invitation().offers(&tsp.source_name))
    }

    /// None if providers are limited: a limit names source names, and these have none.
    fn unsupported(&self) -> impl Iterator<Item = Unsupported> {
        let unsupported = self.state.tsps.unsupported();
        unsupported.filter(|_| self.invitation().offers_all())
    }

    fn find(&self, slug: &str) -> Result<Provider, Answer> {
        self.accepted()?;
        let supported = self.supported().find(|tsp| tsp.slug == slug);
        let unsupported = || self.unsupported().find(|tsp| tsp.slug == slug);
        supported
            .map(|tsp| Provider::Supported(tsp.clone()))
            .or_else(|| unsupported().map(Provider::Unsupported))
            .ok_or_else(|| Answer::Page(StatusCode::NOT_FOUND, page::no_such_step()))
    }

    /// The page of an invitation that can't be accepted any more.
    fn over(&self) -> Answer {
        let invitation = self.invitation();
        let page = match invitation.status {
            Status::Declined => page::declined(invitation),
            _ => page::expired(invitation),
        };
        Answer::Page(StatusCode::OK, page)
    }

    fn to_providers(&self) -> Answer {
        self.to(&["providers"])
    }

    /// On to another step.
    fn to(&self, steps: &[&str]) -> Answer {
        let location = page::step(self.invitation(), steps);
        see_other(&location).expect("paths of steps are ASCII")
    }

    fn redirect(&self, ending: &Ending<'_>) -> Answer {
        let invitation = self.invitation();
        let location = location(invitation, self.state.settings.redirects, ending);
        let reply = location.and_then(|location| see_other(&location));
        reply.unwrap_or_else(|| Answer::Page(StatusCode::OK, page::nowhere()))
    }
}

enum Provider {
    Supported(Supported),
    Unsupported(Unsupported),
}

/// What a step shows, or where it leads.
enum Answer {
    Page(StatusCode, String),
    To(HeaderValue),
}

impl Answer {
    fn reply(self) -> Reply {
        match self {
            Self::Page(status, page) => Reply {
                content_type: Some("text/html; charset=utf-8"),
                body: page.into_bytes(),
                ..Reply::empty(status)
            },
            Self::To(location) => {
                Reply::empty(StatusCode::SEE_OTHER).with(header::LOCATION, location)
            }
        }
    }
}

/// None if no header can carry the location.
fn see_other(location: &str) -> Option<Answer> {
    HeaderValue::from_bytes(location.as_bytes())
        .ok()
        .map(Answer::To)
}

/// What no provider accepts.
const WRONG_PASSWORD: &str = "wrong";

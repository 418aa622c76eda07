//! Asking Catena.

use std::time::Duration;

use catena::{Instant, Invitation};
use catena_client::{
    AgreementFilter, Answer, Calls, CatenaError, Collected, InvitationRead, Observed,
};
use fleet::{FleetRef, Record};
use reconciliation::{Answers, Listed, Questions};
use tracing::{error, warn};

use crate::{Reconciler, reconciler::Clock};

/// What came of asking: what was answered, and what kept the rest from being.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) answers: Answers,
    pub(crate) failure: Option<CatenaError>,
}

impl Asked {
    /// An answer, or else nothing and the reason. Of several reasons the first stays that may pass, unless Catena wants to be left
    /// alone.
    pub(crate) fn got<T>(&mut self, answer: Result<T, CatenaError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(failure) => {
                let limited = matches!(failure, CatenaError::RateLimited { .. });
                if limited || self.failure.as_ref().is_none_or(is_lasting) {
                    self.failure = Some(failure);
                }
                None
            }
        }
    }

    /// What was asked for by its id; one that isn't there was gone before it was asked for.
    fn got_by_id<T>(
        &mut self,
        id: String,
        answer: Result<Answer<T>, CatenaError>,
        before: Instant,
    ) -> Option<T> {
        match answer {
            Err(CatenaError::NotFound) => {
                self.answers.gone.insert(id, before);
                None
            }
            answer => Some(self.got(answer)?.value),
        }
    }

    /// Asks for a fleet's share agreements.
    async fn agreements(&mut self, fleet_ref: &str, calls: Calls<'_>) {
        let filter = AgreementFilter {
            fleet_ref: Some(fleet_ref.to_owned()),
            ..AgreementFilter::default()
        };
        let listed = calls.share_agreements(&filter).collect(MOST).await;
        self.answers.agreements = self.got(listed).map(listed_of);
    }

    /// Asks for a fleet's invitations.
    async fn invitations(&mut self, fleet_ref: &str, calls: Calls<'_>) {
        let listed = calls.invitations(Some(fleet_ref)).collect(MOST).await;
        let listed = self.got(listed);
        self.answers.all_invitations = listed.as_ref().is_some_and(|it| !it.value.more);
        self.answers.invitations = listed.map(invitations);
    }

    /// Whether the next question would be refused like the last.
    fn is_hopeless(&self) -> bool {
        matches!(
            self.failure,
            Some(
                CatenaError::RateLimited { .. }
                    | CatenaError::Unauthorised { .. }
                    | CatenaError::Unavailable { .. }
                    | CatenaError::Credentials(_)
            )
        )
    }
}

impl Reconciler {
    /// Asks about one fleet. Each question is asked once; what isn't answered is left out.
    pub(crate) async fn ask(
        &self,
        fleet: &FleetRef,
        record: &Record,
        questions: &Questions,
        now: Clock,
    ) -> Asked {
        let calls = self.catena.within(TIME_FOR_ALL);
        let mut asked = Asked::default();
        let fleet_ref = fleet.as_str();
        if questions.invitations {
            asked.invitations(fleet_ref, calls).await;
        }
        if questions.agreements && !asked.is_hopeless() {
            asked.agreements(fleet_ref, calls).await;
        }
        if questions.fleet && !asked.is_hopeless() {
            let listed = calls.fleets_of([fleet_ref]).collect(MOST).await;
            asked.answers.fleet = asked.got(listed).map(listed_of);
        }
        if questions.connections && !asked.is_hopeless() {
            let listed = calls.connections_of([fleet_ref]).collect(MOST).await;
            asked.answers.connections = asked.got(listed).map(listed_of);
        }
        // What isn't shown without an agreement isn't gone (contract 3.3).
        if asked.answers.leaves_agreements_open(record) && !asked.is_hopeless() {
            asked.agreements(fleet_ref, calls).await;
        }
        for connection in &questions.schedules {
            if asked.is_hopeless() {
                break;
            }
            let listed = match calls.schedules(connection) {
                Ok(pages) => pages.collect(MOST).await,
                Err(error) => Err(error),
            };
            // A connection that is gone has none: looking at connections finds that out.
            let listed = match listed {
                Err(CatenaError::NotFound) => None,
                listed => asked.got(listed).map(listed_of),
            };
            let found = listed.map(|listed| (connection.clone(), listed));
            asked.answers.schedules.extend(found);
        }
        // A fleet that turns out to be connected isn't asked about for what it wanted before.
        let requests = questions.requests && !asked.answers.shows_a_connection(fleet);
        if requests && !asked.is_hopeless() {
            match calls.integration_requests(None, Some(fleet_ref)).await {
                // A hidden endpoint (contract 3.6).
                Err(refused @ (CatenaError::Forbidden(_) | CatenaError::NotFound)) => {
                    warn!(outcome = "requests-refused", cause = %refused, "Catena refuses to list integration requests");
                    asked.answers.requests_refused = Some(Instant::from(now() - LEEWAY));
                }
                answer => asked.answers.requests = asked.got(answer).map(array),
            }
        }
        // A request is ours only if its invitation is, which may be one that nobody told of (contract 4.3).
        if asked.answers.names_unknown_invitation(record) && !asked.is_hopeless() {
            asked.invitations(fleet_ref, calls).await;
        }
        self.ask_for_missing(record, &mut asked, calls, now).await;
        if let Some(failure @ (CatenaError::Unauthorised { .. } | CatenaError::Forbidden(_))) =
            &asked.failure
        {
            error!(outcome = "refused-by-catena", cause = %failure, "Catena refuses our credentials, or what they are to be good for: see the permissions in README");
        }
        asked
    }

    /// Asks by id for what a record has and Catena's lists haven't.
    pub(crate) async fn ask_for_missing(
        &self,
        record: &Record,
        asked: &mut Asked,
        calls: Calls<'_>,
        now: Clock,
    ) {
        for id in asked.answers.missing_agreements(record) {
            if asked.is_hopeless() {
                return;
            }
            let before = Instant::from(now() - LEEWAY);
            let answer = calls.share_agreement(&id).await;
            let found = asked.got_by_id(id, answer, before);
            if let Some((listed, found)) = asked.answers.agreements.as_mut().zip(found) {
                listed.items.push(found);
            }
        }
        for id in asked.answers.missing_connections(record) {
            if asked.is_hopeless() {
                return;
            }
            let before = Instant::from(now() - LEEWAY);
            let answer = calls.connection(&id).await;
            let found = asked.got_by_id(id, answer, before);
            if let Some((listed, found)) = asked.answers.connections.as_mut().zip(found) {
                listed.items.push(found);
            }
        }
    }
}

/// Whether Catena will answer the same question in the same way.
pub(crate) fn is_lasting(failure: &CatenaError) -> bool {
    match failure {
        CatenaError::Refused(_)
        | CatenaError::NotFound
        | CatenaError::Forbidden(_)
        | CatenaError::Unreadable { .. } => true,
        CatenaError::Unauthorised { .. }
        | CatenaError::RateLimited { .. }
        | CatenaError::Unavailable { .. }
        | CatenaError::Credentials(_)
        | CatenaError::Unclear(_) => false,
    }
}

/// All of a list.
pub(crate) fn listed_of<T>(answer: Answer<Collected<T>>) -> Listed<T> {
    listed(answer.value.items, answer.observed)
}

/// A plain array.
pub(crate) fn array<T>(answer: Answer<Vec<T>>) -> Listed<T> {
    listed(answer.value, answer.observed)
}

/// Invitations without what opens them.
pub(crate) fn invitations(answer: Answer<Collected<InvitationRead>>) -> Listed<Invitation> {
    let items = answer.value.items.into_iter().map(|it| it.invitation);
    listed(items.collect(), answer.observed)
}

pub(crate) fn listed<T>(items: Vec<T>, observed: Observed) -> Listed<T> {
    Listed {
        items,
        observed: observed.at(),
        latest: observed.latest(),
    }
}

/// For all questions about one fleet.
pub(crate) const TIME_FOR_ALL: Duration = Duration::from_secs(20);
/// Items of one fleet: far more than it has.
const MOST: usize = 300;
/// What our clock may be ahead of Catena's, where an answer doesn't tell.
pub(crate) const LEEWAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_outweighs_what_lasts_and_a_limit_both() {
        let forbidden = || Err::<(), _>(CatenaError::Forbidden(Default::default()));
        let unavailable = || {
            Err::<(), _>(CatenaError::Unavailable {
                sent: true,
                source: catena_client::Outage::Status(500),
            })
        };
        let limited = || Err::<(), _>(CatenaError::RateLimited { retry_after: None });
        let weightiest = |answers: &[&dyn Fn() -> Result<(), CatenaError>]| {
            let mut asked = Asked::default();
            for answer in answers {
                asked.got(answer());
            }
            let hopeless = asked.is_hopeless();
            (asked.failure.map(|it| is_lasting(&it)), hopeless)
        };
        assert_eq!(weightiest(&[&|| Ok(())]), (None, false));
        assert_eq!(weightiest(&[&forbidden]), (Some(true), false));
        assert_eq!(weightiest(&[&forbidden, &unavailable]), (Some(false), true));
        assert_eq!(weightiest(&[&unavailable, &forbidden]), (Some(false), true));
        assert_eq!(weightiest(&[&unavailable, &limited]), (Some(false), true));
        assert_eq!(weightiest(&[&limited, &forbidden]), (Some(false), true));
    }
}

//! Where a fleet stands, from its record.

use fleet::{Admission, Claim, Code, Decision, Policy, Reason, Record, Register, Stage, Timestamp};

use crate::State;

/// From where a fleet looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From its link: it may be about to go to Connect.
    Link,
    /// From the page that it comes back to: it was there.
    Return,
}

impl State {
    /// Where a fleet stands at a moment. What its browser claims only chooses what it is told to wait for, and only as long as
    /// nothing newer is known.
    pub fn of(record: &Record, policy: &Policy, now: Timestamp, place: Place) -> Self {
        let standing = record.standing(policy, now);
        let reasons = &standing.reasons;
        let has = |code| reasons.iter().any(|reason| reason.code == code);
        let since = |code| {
            let found = reasons.iter().filter(|reason| reason.code == code);
            found.filter_map(|reason| reason.since).max()
        };
        let claim = Claimed::of(record);
        let admitted_until = match standing.admission {
            Admission::Provisional { until } | Admission::Grace { until } => Some(until),
            Admission::None | Admission::Full | Admission::Blocked => None,
        };
        match standing.stage {
            Stage::Connected => Self::Connected {
                requested: detail(reasons, Code::RequestPending),
            },
            // Only claimed, and something else was claimed since.
            Stage::Requested if has(Code::RequestUnconfirmed) && !claim.is_request() => {
                claim.waiting(place).unwrap_or(Self::Started)
            }
            Stage::Requested | Stage::ReconnectReady
                if claim
                    .after(since(Code::ProviderLive).max(since(Code::RequestPending)))
                    .is_connected() =>
            {
                Self::Connecting
            }
            Stage::Requested => Self::Requested {
                provider: detail(reasons, Code::RequestPending),
                admitted_until,
            },
            Stage::ReconnectReady => Self::ProviderLive {
                provider: detail(reasons, Code::ProviderLive),
                admitted_until,
            },
            Stage::Degraded if has(Code::AgreementUnknown) => Self::Connecting,
            Stage::Degraded if !has(Code::AgreementInForce) => Self::Paused,
            Stage::Degraded => claim
                .after(since(Code::ConnectionBroken))
                .waiting(place)
                .unwrap_or(Self::Broken),
            Stage::Disconnected => claim
                .after(since(Code::AgreementEnded).max(since(Code::ConnectionOver)))
                .waiting(place)
                .unwrap_or(Self::Ended),
            Stage::Declined => claim
                .after(since(Code::InvitationDeclined))
                .good()
                .waiting(place)
                .unwrap_or(Self::Declined),
            Stage::Expired if has(Code::InvitationDeleted) => Self::Withdrawn,
            Stage::Expired => claim
                .after(since(Code::InvitationExpired))
                .good()
                .waiting(place)
                .unwrap_or(Self::Expired),
            Stage::Invited | Stage::Viewed | Stage::Accepted => {
                let opened = decided(record, &Decision::Open);
                // What it came back with when it declined is over once it accepted.
                let accepted = decided(record, &Decision::Accepted);
                let claim = claim.after(opened).without_failure_before(accepted);
                match (claim.waiting(place), place, standing.stage) {
                    (Some(state), ..) => state,
                    (None, Place::Return, _) => Self::Connecting,
                    (None, Place::Link, Stage::Accepted) => Self::Started,
                    (None, Place::Link, _) => Self::Invited,
                }
            }
        }
    }
}

/// What the fleet's browser last claimed of the invitation that counts.
#[derive(Clone, Copy)]
struct Claimed<'a>(Option<(Timestamp, &'a Claim)>);

impl<'a> Claimed<'a> {
    fn of(record: &'a Record) -> Self {
        let newest = record.facts.newest_invitation();
        let claim = newest.and_then(|newest| newest.claim.as_ref());
        Self(claim.map(|claim| (claim.at().time(), claim.value())))
    }

    /// Nothing, unless it was claimed after that.
    fn after(self, moment: Option<Timestamp>) -> Self {
        Self(self.0.filter(|(at, _)| Some(*at) > moment))
    }

    /// Nothing, if it failed before that.
    fn without_failure_before(self, moment: Option<Timestamp>) -> Self {
        let stands =
            |(at, claim): &(Timestamp, &Claim)| **claim != Claim::Failed || Some(*at) > moment;
        Self(self.0.filter(stands))
    }

    /// Nothing, unless it is something that a fleet can't claim without having changed its mind.
    fn good(self) -> Self {
        let good = |claim: &Claim| matches!(claim, Claim::Connected | Claim::Requested(_));
        Self(self.0.filter(|(_, claim)| good(claim)))
    }

    fn is_connected(self) -> bool {
        matches!(self.0, Some((_, Claim::Connected)))
    }

    fn is_request(self) -> bool {
        matches!(self.0, Some((_, Claim::Requested(_))))
    }

    /// What it is worth while nothing more is known.
    fn waiting(self, place: Place) -> Option<State> {
        match (self.0?.1, place) {
            (Claim::Connected, _) => Some(State::Connecting),
            (Claim::Requested(_), _) => Some(State::Requested {
                provider: None,
                admitted_until: None,
            }),
            (Claim::Failed, Place::Return) => Some(State::Failed),
            (Claim::Unclear, Place::Return) => Some(State::Connecting),
            // Its link shows what it can do.
            (Claim::Failed | Claim::Unclear, Place::Link) => None,
        }
    }
}

/// When the invitation that counts was decided so.
fn decided(record: &Record, decision: &Decision) -> Option<Timestamp> {
    let newest = record.facts.newest_invitation()?;
    let decided = newest.decision.as_ref();
    let decided = decided.filter(|it| it.value() == decision);
    decided.map(Register::at).map(|at| at.time())
}

fn detail(reasons: &[Reason], code: Code) -> Option<String> {
    let reason = reasons.iter().find(|reason| reason.code == code)?;
    reason.detail.clone()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use fleet::{
        Agreement, AgreementStatus, At, ConnectionFact, ConnectionState, Fact, IntegrationRequest,
        InvitationFact, Level, Observation,
    };

    use super::*;

    const NOW: Timestamp = Timestamp(100_000);

    fn told(at: i64, fact: Fact) -> Observation {
        let at = At(Timestamp(at), 0);
        Observation { at, fact }
    }

    fn invitation(at: i64, was: InvitationFact) -> Observation {
        let invitation = "hash".to_owned();
        told(at, Fact::Invitation { invitation, was })
    }

    fn decision(at: i64, decision: Decision) -> Observation {
        invitation(at, InvitationFact::Decision(decision))
    }

    fn claim(at: i64, claim: Claim) -> Observation {
        invitation(at, InvitationFact::Claim(claim))
    }

    fn agreement(at: i64, status: AgreementStatus) -> Observation {
        let agreement = Agreement {
            status,
            scopes: Some(BTreeMap::from([("vehicle".to_owned(), Level::Read)])),
            effective: None,
            ends: None,
        };
        let (id, made) = ("agreement".to_owned(), Some(Timestamp(20)));
        told(
            at,
            Fact::Agreement {
                id,
                made,
                agreement,
            },
        )
    }

    fn linked(at: i64) -> Observation {
        let connection = "connection".to_owned();
        told(at, Fact::Linked { connection })
    }

    fn connection(at: i64, state: ConnectionState) -> Observation {
        let connection = "connection".to_owned();
        let was = ConnectionFact::State(state);
        told(at, Fact::Connection { connection, was })
    }

    fn request(at: i64, live: &[&str]) -> Observation {
        let request = IntegrationRequest {
            created: Timestamp(40),
            provider: "TrackEasy".to_owned(),
            provider_id: "provider".to_owned(),
            invitation: Some("hash".to_owned()),
            live_as: live
                .iter()
                .map(|it| (*it).to_owned())
                .collect::<BTreeSet<_>>(),
        };
        let id = "request".to_owned();
        told(at, Fact::Request { id, request })
    }

    fn states(observations: &[Observation]) -> (State, State) {
        let fold = |record: Record, it: &Observation| record.fold(it);
        let mut record = observations.iter().fold(Record::default(), fold);
        let policy = Policy::default();
        record.settle(&policy, NOW);
        let state = |place| State::of(&record, &policy, NOW, place);
        (state(Place::Link), state(Place::Return))
    }

    fn both(state: State) -> (State, State) {
        (state.clone(), state)
    }

    const UNCONFIRMED: State = State::Requested {
        provider: None,
        admitted_until: None,
    };
    const CONNECTED: State = State::Connected { requested: None };

    #[test]
    fn before_anything_is_known_a_claim_chooses_what_to_wait_for() {
        let open = decision(10, Decision::Open);
        let accepted = decision(15, Decision::Accepted);
        let returned = |claimed| states(&[open.clone(), claim(30, claimed)]);
        assert_eq!(
            states(std::slice::from_ref(&open)),
            (State::Invited, State::Connecting)
        );
        assert_eq!(
            states(&[open.clone(), accepted.clone()]),
            (State::Started, State::Connecting)
        );
        assert_eq!(returned(Claim::Connected), both(State::Connecting));
        assert_eq!(returned(Claim::Failed), (State::Invited, State::Failed));
        assert_eq!(
            returned(Claim::Unclear),
            (State::Invited, State::Connecting)
        );
        assert_eq!(returned(Claim::Requested(None)), both(UNCONFIRMED));
        let all = [open, accepted, claim(30, Claim::Requested(None))];
        assert_eq!(states(&all), both(UNCONFIRMED));
    }

    #[test]
    fn who_accepts_after_all_has_not_failed() {
        let with = |at, claimed| {
            let accepted = decision(15, Decision::Accepted);
            let reopened = decision(14, Decision::Open);
            states(&[claim(at, claimed), reopened, accepted])
        };
        let waits = (State::Started, State::Connecting);
        assert_eq!(with(12, Claim::Failed), waits);
        // It gave up in the middle of Connect.
        assert_eq!(with(16, Claim::Failed), (State::Started, State::Failed));
        // Clocks differ: what it claims to have done counts.
        assert_eq!(with(12, Claim::Connected), both(State::Connecting));
    }

    #[test]
    fn what_is_known_beats_what_was_claimed() {
        let known = [
            decision(15, Decision::Accepted),
            agreement(20, AgreementStatus::Active),
            linked(25),
        ];
        for claimed in [Claim::Failed, Claim::Requested(None), Claim::Unclear] {
            let all = [&known[..], &[claim(30, claimed)]].concat();
            assert_eq!(states(&all), both(CONNECTED));
        }
        let alone = [
            decision(15, Decision::Accepted),
            claim(30, Claim::Connected),
        ];
        assert_eq!(states(&alone), both(State::Connecting));
    }

    #[test]
    fn a_request_names_its_provider_and_its_end_once_both_are_known() {
        let known = [decision(15, Decision::Accepted), request(40, &[])];
        let days = 14 * 24 * 60 * 60 * 1000;
        let requested = State::Requested {
            provider: Some("TrackEasy".to_owned()),
            admitted_until: Some(Timestamp(40 + days)),
        };
        assert_eq!(states(&known), both(requested));
        let undecided = [decision(15, Decision::Open), request(40, &[])];
        let (link, _) = states(&undecided);
        assert_eq!(link, State::Invited, "not accepted, not admitted");
        let live = [&known[..], &[request(50, &["tsp"])]].concat();
        let (link, returned) = states(&live);
        assert!(
            matches!(&link, State::ProviderLive { provider: Some(it), admitted_until: Some(_) } if it == "TrackEasy"),
            "{link:?}"
        );
        assert_eq!(link, returned);
        let connected = [
            &known[..],
            &[agreement(20, AgreementStatus::Active), linked(60)],
        ];
        let mixed = State::Connected {
            requested: Some("TrackEasy".to_owned()),
        };
        assert_eq!(states(&connected.concat()), both(mixed));
    }

    #[test]
    fn who_connected_something_since_it_asked_waits_for_that() {
        let known = [decision(15, Decision::Accepted), request(40, &[])];
        let with = |more: &[Observation]| states(&[&known[..], more].concat());
        let connected = |at| claim(at, Claim::Connected);
        assert_eq!(with(&[connected(45)]), both(State::Connecting));
        let (link, _) = with(&[connected(30)]);
        assert_eq!(link.as_str(), "requested");
        let (link, _) = with(&[claim(45, Claim::Requested(None))]);
        assert!(matches!(
            link,
            State::Requested {
                provider: Some(_),
                ..
            }
        ));
        let live = request(50, &["tsp"]);
        let (link, _) = with(&[live.clone(), connected(45)]);
        assert_eq!(link.as_str(), "provider_live");
        assert_eq!(with(&[live, connected(60)]), both(State::Connecting));
    }

    #[test]
    fn who_claims_to_be_connected_after_claiming_a_request_waits_for_the_connection() {
        let all = [
            decision(15, Decision::Accepted),
            claim(30, Claim::Requested(None)),
            claim(40, Claim::Connected),
        ];
        assert_eq!(states(&all), both(State::Connecting));
    }

    #[test]
    fn trouble_is_told_until_the_fleet_comes_back() {
        let known = [
            decision(15, Decision::Accepted),
            agreement(20, AgreementStatus::Active),
            linked(25),
            claim(26, Claim::Connected),
        ];
        let with = |more: &[Observation]| states(&[&known[..], more].concat());
        let stale = connection(50, ConnectionState::Stale);
        assert_eq!(with(std::slice::from_ref(&stale)), both(State::Broken));
        assert_eq!(
            with(&[stale.clone(), claim(60, Claim::Unclear)]),
            (State::Broken, State::Connecting)
        );
        assert_eq!(
            with(&[stale, claim(60, Claim::Failed)]),
            (State::Broken, State::Failed)
        );
        let deleted = connection(50, ConnectionState::Deleted);
        assert_eq!(with(std::slice::from_ref(&deleted)), both(State::Ended));
        assert_eq!(
            with(&[agreement(50, AgreementStatus::Paused)]),
            both(State::Paused)
        );
        assert_eq!(
            with(&[agreement(50, AgreementStatus::Cancelled)]),
            both(State::Ended)
        );
        assert_eq!(
            states(&[decision(15, Decision::Accepted), linked(25)]),
            both(State::Connecting),
            "the agreement isn't known yet"
        );
    }

    #[test]
    fn a_decline_stands_until_the_fleet_comes_back_with_something_else() {
        let declined = decision(30, Decision::Declined(None));
        assert_eq!(
            states(&[declined.clone(), claim(31, Claim::Failed)]),
            both(State::Declined)
        );
        assert_eq!(
            states(&[declined.clone(), claim(20, Claim::Connected)]),
            both(State::Declined)
        );
        assert_eq!(
            states(&[declined.clone(), claim(40, Claim::Connected)]),
            both(State::Connecting)
        );
        let reopened = [
            declined,
            claim(31, Claim::Failed),
            decision(40, Decision::Open),
        ];
        assert_eq!(states(&reopened), (State::Invited, State::Connecting));
        let expired = decision(30, Decision::Expired);
        assert_eq!(
            states(&[expired, claim(31, Claim::Failed)]),
            both(State::Expired)
        );
        let deleted = decision(30, Decision::Deleted);
        assert_eq!(
            states(&[deleted, claim(31, Claim::Connected)]),
            both(State::Withdrawn)
        );
    }
}

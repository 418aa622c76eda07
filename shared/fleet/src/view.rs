//! How a standing follows from a record: one view of the record at one moment, asked for each part.

use std::collections::BTreeMap;

use crate::{
    Admission, AgreementFacts, AgreementStatus, At, Code, Decision, Due, Facts, Grant,
    InvitationFacts, Level, LinkFacts, Policy, Reason, Record, Register, RegulatoryId,
    RegulatoryMismatch, RequestFacts, Stage, Standing, Timestamp, Why, record::claim,
};

impl Record {
    /// What follows from the record at `now`.
    pub fn standing(&self, policy: &Policy, now: Timestamp) -> Standing {
        let view = View::new(self, policy, now);
        let stage = view.stage();
        let admission = view.admission();
        let reasons = view.reasons(admission);
        let due = view.due(stage, admission);
        Standing {
            stage,
            admission,
            data_scopes: view.data_scopes(),
            reasons,
            due,
        }
    }
}

/// The newest agreement at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreed {
    Unknown,
    InForce,
    NotYet,
    Paused,
    Ended,
    NotUnderstood,
}

/// A record at a moment.
struct View<'a> {
    record: &'a Record,
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
    invitation: Option<&'a InvitationFacts>,
    /// The agreement that counts: the newest, or the one in force until the newest begins.
    agreement: Option<(&'a str, &'a AgreementFacts)>,
    agreed: Agreed,
    /// A newer agreement that begins later: no more than it allows may be read.
    successor: Option<&'a AgreementFacts>,
    /// Connections that the fleet's data was said to flow through.
    linked: Vec<(&'a str, &'a LinkFacts)>,
    /// Since when the agreement or all connections are over.
    over_since: Option<Timestamp>,
}

impl<'a> View<'a> {
    fn new(record: &'a Record, policy: &'a Policy, now: Timestamp) -> Self {
        let facts = &record.facts;
        let linked = facts.connections.iter();
        let linked = linked.filter(|(_, link)| link.linked.is_some());
        let mut view = Self {
            record,
            facts,
            policy,
            now,
            invitation: facts.newest_invitation(),
            agreement: None,
            agreed: Agreed::Unknown,
            successor: None,
            linked: linked.map(|(id, link)| (id.as_str(), link)).collect(),
            over_since: None,
        };
        let by_age = facts.agreements_by_age();
        if let Some(newest) = by_age.first() {
            view.agreement = Some(*newest);
            view.agreed = agreed(newest.1, now);
        }
        if view.agreed == Agreed::NotYet {
            // Until it begins, the one before it counts, if that is in force.
            let mut before = by_age.iter().map(|it| (*it, agreed(it.1, now)));
            let before = before.find(|(_, agreed)| *agreed != Agreed::NotYet);
            if let Some((predecessor, Agreed::InForce)) = before {
                view.successor = view.agreement.map(|(_, known)| known);
                view.agreement = Some(predecessor);
                view.agreed = Agreed::InForce;
            }
        }
        view.over_since = view.over();
        if view.invited_again() {
            // What is over doesn't count any more: the fleet is on its way once more.
            view.linked.clear();
            if view.agreed == Agreed::Ended {
                view.agreement = None;
                view.agreed = Agreed::Unknown;
            }
        }
        view
    }

    /// Since when the agreement or all connections are over.
    fn over(&self) -> Option<Timestamp> {
        if let Some((_, known)) = self.agreement.filter(|_| self.agreed == Agreed::Ended) {
            return Some(ended_at(known));
        }
        let mut last = None;
        for (_, link) in &self.linked {
            last = last.max(Some(link.state().filter(|_| link.is_over())?.at().time()));
        }
        last
    }

    /// Whether the fleet was invited, or accepted, after what it had was over.
    fn invited_again(&self) -> bool {
        let Some((over, invitation)) = self.over_since.zip(self.invitation) else {
            return false;
        };
        let decision = invitation.decision.as_ref();
        let stands =
            decision.filter(|it| matches!(it.value(), Decision::Open | Decision::Accepted));
        let stands = stands.map(Register::at);
        invitation
            .first
            .max(stands)
            .is_some_and(|at| at.time() > over)
    }

    fn stage(&self) -> Stage {
        if self.linked.is_empty() {
            return match self.stage_of_invitation() {
                Stage::Accepted if self.agreed == Agreed::Ended => Stage::Disconnected,
                Stage::Accepted if self.live_request() => Stage::ReconnectReady,
                Stage::Accepted if self.requested() => Stage::Requested,
                stage => stage,
            };
        }
        match self.agreed {
            _ if self.over_since.is_some() => Stage::Disconnected,
            Agreed::InForce if self.live() => Stage::Connected,
            _ => Stage::Degraded,
        }
    }

    fn stage_of_invitation(&self) -> Stage {
        let Some(invitation) = self.invitation else {
            let known = self.facts.catena_fleet.is_some() || self.agreement.is_some();
            return if known {
                Stage::Accepted
            } else {
                Stage::Invited
            };
        };
        match invitation.decision.as_ref().map(Register::value) {
            Some(Decision::Accepted) => Stage::Accepted,
            Some(Decision::Declined(_)) => Stage::Declined,
            Some(Decision::Expired | Decision::Deleted) => Stage::Expired,
            Some(Decision::Open) | None => {
                let opened = invitation.decision.as_ref().map(Register::at);
                if self.agreed_since(opened).is_some() {
                    Stage::Accepted
                } else if invitation.ends().is_some_and(|ends| ends <= self.now) {
                    Stage::Expired
                } else if invitation.viewed > opened {
                    Stage::Viewed
                } else {
                    Stage::Invited
                }
            }
        }
    }

    /// An agreement that was made after an invitation was opened proves that it was accepted.
    fn agreed_since(&self, opened: Option<At>) -> Option<Timestamp> {
        let made = self.agreement.map(|(_, known)| known.first);
        made.filter(|made| opened.is_none_or(|opened| *made > opened.time()))
    }

    fn live(&self) -> bool {
        self.linked.iter().any(|(_, link)| link.is_live())
    }

    /// Linked connections that are broken and can be mended.
    fn broken(&self) -> impl Iterator<Item = (&'a str, &'a LinkFacts)> {
        let linked = self.linked.iter().copied();
        linked.filter(|(_, link)| !link.is_live() && !link.is_over())
    }

    /// What the fleet asked for since what it had was over.
    fn requests(&self) -> impl Iterator<Item = (&'a String, &'a RequestFacts)> {
        let over = self.over_since;
        let requests = self.facts.requests.iter();
        requests.filter(move |(_, known)| over < Some(known.current.value().created))
    }

    fn live_request(&self) -> bool {
        self.requests().any(|(_, request)| request.live.is_some())
    }

    fn requested(&self) -> bool {
        self.requests().next().is_some() || self.claimed().is_some()
    }

    /// When the fleet accepted: an agreement tells it as well, and so does its id at Catena.
    fn accepted(&self) -> Option<Timestamp> {
        let decision = self.invitation.and_then(|it| it.decision.as_ref());
        let decision = decision.map(Register::at);
        let agreement = self.agreement.map(|(_, known)| known.first);
        let catena_fleet = self.facts.catena_fleet.as_ref();
        let catena_fleet = catena_fleet.map(|it| it.at().time());
        let decision = decision.map(|at| at.time());
        decision.or(agreement).or(catena_fleet)
    }

    /// When the fleet's browser first came back from its newest invitation with a requested integration.
    fn claimed(&self) -> Option<Timestamp> {
        Some(self.invitation?.claimed_request?.time())
    }

    fn admission(&self) -> Admission {
        let decisions = &self.record.decisions;
        if decisions.block(self.now).is_some() {
            return Admission::Blocked;
        }
        let connected = self.agreed == Agreed::InForce && self.live();
        let held = self.policy.regulatory_mismatch == RegulatoryMismatch::Hold
            && self.differing_numbers().is_some();
        if connected && !held || decisions.pass(self.now).is_some() {
            return Admission::Full;
        }
        match (self.provisional_until(), self.grace_until()) {
            (Some(until), _) if self.now < until => Admission::Provisional { until },
            (_, Some(until)) if self.now < until => Admission::Grace { until },
            _ => Admission::None,
        }
    }

    /// The regulatory id that Catena has of the fleet, and the one that it was invited under, if they can't be one.
    fn differing_numbers(&self) -> Option<(&'a Register<RegulatoryId>, &'a RegulatoryId)> {
        // A newer invitation without a number takes back none.
        let invitations = self.facts.invitations.values();
        let numbered = invitations.filter(|it| it.invited_as.is_some());
        let newest = numbered.max_by_key(|it| it.first)?;
        let invited = newest.invited_as.as_ref()?.value();
        let known = self.facts.regulatory.as_ref()?;
        (!known.value().may_be(invited)).then_some((known, invited))
    }

    /// Whether the fleet took back what provisional access or time to connect rests on.
    fn withdrawn(&self) -> bool {
        let decision = self.invitation.and_then(|it| it.decision.as_ref());
        let decision = decision.map(Register::value);
        matches!(decision, Some(Decision::Declined(_) | Decision::Deleted))
            || matches!(
                self.agreed,
                Agreed::Paused | Agreed::Ended | Agreed::NotUnderstood
            )
    }

    /// Provisional grants that are neither replaced by a full connection, for good (contract 4.3), nor from before what the
    /// fleet had was over.
    fn grants(&self) -> impl Iterator<Item = (&'a String, &'a Grant)> {
        let links = self.facts.connections.values();
        let connected = links.filter(|link| !link.was_broken_when_linked());
        let linked = connected.filter_map(|link| link.linked).max();
        let since = linked.map(|at| at.time()).max(self.over_since);
        let grants = self.record.decisions.grants.iter();
        grants.filter(move |(_, grant)| since < Some(grant.starts))
    }

    fn provisional_until(&self) -> Option<Timestamp> {
        let ends = self.grants().map(|(_, grant)| grant.ends);
        ends.max().filter(|_| !self.withdrawn())
    }

    /// The end of the time to mend, or to connect what went live and was granted for.
    fn grace_until(&self) -> Option<Timestamp> {
        if self.linked.is_empty() {
            let granted = |id: &String, known: &RequestFacts| {
                let invitation = known.current.value().invitation.as_ref();
                let claim = invitation.map(|hash| claim(hash));
                self.grants()
                    .any(|(it, _)| it == id || Some(it) == claim.as_ref())
            };
            let live = self.requests().filter(|(id, known)| granted(id, known));
            let live = live.filter_map(|(_, request)| request.live);
            let until = live.map(|at| at.time().plus(self.policy.reconnect_days.millis()));
            return until.max().filter(|_| !self.withdrawn());
        }
        if self.agreed != Agreed::InForce || self.live() {
            return None;
        }
        let broken = self.broken().filter_map(|(_, link)| link.state());
        let broken = broken.map(|state| state.at().time()).max()?;
        let since = self.record.decisions.broken_since.unwrap_or(broken);
        Some(since.plus(self.policy.broken_days.millis()))
    }

    fn data_scopes(&self) -> BTreeMap<String, Level> {
        let of = |known: &'a AgreementFacts| known.current.value().scopes.iter().flatten();
        let agreement = self.agreement.filter(|_| self.agreed == Agreed::InForce);
        let scopes = agreement.into_iter().flat_map(|(_, known)| of(known));
        let allowed = |(resource, level): (&'a String, &'a Level)| {
            let limit = match self.successor {
                Some(known) => known.current.value().scopes.as_ref()?.get(resource)?,
                None => level,
            };
            // The more restrictive of the two.
            let level = level.max(limit);
            let known = !matches!(level, Level::Unknown(_));
            known.then(|| (resource.clone(), level.clone()))
        };
        scopes.filter_map(allowed).collect()
    }

    fn reasons(&self, admission: Admission) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let decisions = &self.record.decisions;
        for (code, decided) in [
            (Code::BlockedByOperator, decisions.block(self.now)),
            (Code::GrantedByOperator, decisions.pass(self.now)),
        ] {
            reasons.extend(decided.map(|decided| Reason {
                about: Some(decided.author().to_owned()),
                detail: Some(decided.reason().to_owned()),
                until: decided.ends(),
                ..Reason::new(code)
            }));
        }
        reasons.extend(self.reason_of_agreement());
        reasons.extend(self.differing_numbers().map(|(known, invited)| Reason {
            detail: Some(format!("{}, invited as {invited}", known.value())),
            since: Some(known.at().time()),
            ..Reason::new(Code::RegulatoryIdDiffers)
        }));
        for (id, link) in &self.linked {
            reasons.extend(reasons_of_link(id, link));
        }
        reasons.extend(self.reasons_of_requests(admission));
        if self.linked.is_empty() {
            reasons.push(self.reason_of_invitation());
        }
        reasons
    }

    fn reason_of_agreement(&self) -> Option<Reason> {
        let Some((id, known)) = self.agreement else {
            let linked = self.linked.iter().filter_map(|(_, link)| link.linked);
            let since = linked.map(|at| at.time()).min()?;
            let since = Some(since);
            return Some(Reason {
                since,
                ..Reason::new(Code::AgreementUnknown)
            });
        };
        let agreement = known.current.value();
        let status = |code| Reason {
            about: Some(id.to_owned()),
            since: Some(known.current.at().time()),
            ..Reason::new(code)
        };
        Some(match self.agreed {
            Agreed::Unknown | Agreed::InForce => Reason {
                since: Some(agreement.effective.unwrap_or(known.current.at().time())),
                until: agreement.ends,
                ..status(Code::AgreementInForce)
            },
            Agreed::NotYet => Reason {
                until: agreement.effective,
                ..status(Code::AgreementNotYetEffective)
            },
            Agreed::Paused => Reason {
                until: agreement.ends,
                ..status(Code::AgreementPaused)
            },
            Agreed::Ended => {
                let status_now = match agreement.status.may_hold() {
                    true => &AgreementStatus::Expired,
                    false => &agreement.status,
                };
                Reason {
                    detail: Some(status_now.as_str().to_owned()),
                    since: Some(ended_at(known)),
                    ..status(Code::AgreementEnded)
                }
            }
            Agreed::NotUnderstood => Reason {
                detail: Some(agreement.status.as_str().to_owned()),
                ..status(Code::AgreementNotUnderstood)
            },
        })
    }

    fn reasons_of_requests(&self, admission: Admission) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let connected = !self.linked.is_empty();
        for (id, known) in self.requests() {
            let request = known.current.value();
            let (code, since) = match known.live {
                Some(_) if connected => continue,
                Some(at) => (Code::ProviderLive, at.time()),
                None => (Code::RequestPending, request.created),
            };
            reasons.push(Reason {
                about: Some(id.clone()),
                detail: Some(request.provider.clone()),
                since: Some(since),
                ..Reason::new(code)
            });
        }
        let unconfirmed = !connected && self.requests().next().is_none();
        let claimed = self.claimed().filter(|_| unconfirmed);
        reasons.extend(claimed.map(|since| Reason {
            since: Some(since),
            ..Reason::new(Code::RequestUnconfirmed)
        }));
        if admission != Admission::Full {
            let ends = |until: Option<Timestamp>, running, over| {
                let until = until?;
                let code = if self.now < until { running } else { over };
                Some(Reason {
                    until: Some(until),
                    ..Reason::new(code)
                })
            };
            let provisional = self.provisional_until();
            let (running, over) = (Code::ProvisionalGranted, Code::ProvisionalEnded);
            reasons.extend(ends(provisional, running, over));
            let (running, over) = (Code::GraceRunning, Code::GraceEnded);
            reasons.extend(ends(self.grace_until(), running, over));
        }
        reasons
    }

    fn reason_of_invitation(&self) -> Reason {
        let Some(invitation) = self.invitation else {
            return Reason::new(Code::InvitationUnknown);
        };
        let decision = invitation.decision.as_ref();
        let since = decision.map(|decision| decision.at().time());
        let reason = |code| Reason {
            since,
            ..Reason::new(code)
        };
        match decision.map(Register::value) {
            Some(Decision::Accepted) if self.linked.is_empty() && !self.requested() => {
                reason(Code::ConnectionMissing)
            }
            Some(Decision::Accepted) => reason(Code::InvitationAccepted),
            Some(Decision::Declined(why)) => Reason {
                detail: why.clone(),
                ..reason(Code::InvitationDeclined)
            },
            Some(Decision::Expired) => reason(Code::InvitationExpired),
            Some(Decision::Deleted) => reason(Code::InvitationDeleted),
            Some(Decision::Open) | None => match invitation.ends() {
                Some(ends) if ends <= self.now => Reason {
                    since: Some(ends),
                    ..Reason::new(Code::InvitationExpired)
                },
                until => Reason {
                    until,
                    ..reason(Code::InvitationOpen)
                },
            },
        }
    }

    fn due(&self, stage: Stage, admission: Admission) -> Vec<Due> {
        let mut due = Vec::new();
        let mut add = |why, at: Option<Timestamp>| due.extend(at.map(|at| Due { at, why }));
        let ahead = |at: &Timestamp| *at > self.now;

        let open = matches!(
            self.invitation
                .and_then(|it| it.decision.as_ref())
                .map(Register::value),
            None | Some(Decision::Open)
        );
        let ends = self.invitation.and_then(InvitationFacts::ends);
        add(Why::InvitationEnds, ends.filter(ahead).filter(|_| open));
        // As long as the newest hasn't begun, any other may come to count.
        let any = self.successor.is_some() || self.agreed == Agreed::NotYet;
        let others = self.facts.agreements.values().filter(|_| any);
        let counts = self.agreement.map(|(_, known)| known);
        for agreement in counts.into_iter().chain(others) {
            let agreement = agreement.current.value();
            if agreement.status.may_hold() {
                add(Why::AgreementStarts, agreement.effective.filter(ahead));
                add(Why::AgreementEnds, agreement.ends.filter(ahead));
            }
        }
        add(Why::AdmissionEnds, admission.until());
        let decisions = &self.record.decisions;
        for decided in [decisions.block(self.now), decisions.pass(self.now)] {
            add(
                Why::OverrideEnds,
                decided.and_then(|decided| decided.ends()),
            );
        }

        for (_, link) in self.linked.iter().filter(|(_, link)| !link.is_over()) {
            let unknown = self.agreed == Agreed::Unknown;
            add(
                Why::AgreementUnknown,
                link.linked.map(|at| at.time()).filter(|_| unknown),
            );
        }
        let since = counts.map(|known| known.current.at().time());
        let halted = matches!(self.agreed, Agreed::Paused | Agreed::NotUnderstood);
        add(Why::AgreementHalted, since.filter(|_| halted));
        let over = self.agreed == Agreed::Ended;
        for (_, link) in self.broken().filter(|_| !over) {
            add(
                Why::ConnectionBroken,
                link.state().map(|state| state.at().time()),
            );
        }
        for (_, link) in self
            .linked
            .iter()
            .filter(|(_, link)| !over && !link.is_over())
        {
            for stopped in stopped_schedules(link).map(|(_, at, _)| at) {
                add(Why::ScheduleStopped, Some(stopped));
            }
        }
        // What is agreed, and flows nowhere.
        let missing = match self.linked.is_empty() {
            true => self.accepted().filter(|_| stage == Stage::Accepted),
            false => self.over_since.filter(|_| !over),
        };
        add(Why::ConnectionMissing, missing);
        let unconfirmed = stage == Stage::Requested && self.requests().next().is_none();
        add(
            Why::RequestUnconfirmed,
            self.claimed().filter(|_| unconfirmed),
        );
        // Also of a fleet that connected another provider meanwhile.
        for (_, request) in self.requests().filter(|_| !self.withdrawn()) {
            let pending = request.live.is_none();
            let seen = Some(request.current.at().time());
            add(Why::RequestPending, seen.filter(|_| pending));
            let ready = stage == Stage::ReconnectReady;
            let live = request.live.map(|at| at.time());
            add(Why::ProviderLive, live.filter(|_| ready));
        }
        due.sort();
        due.dedup();
        due
    }
}

impl Reason {
    const fn new(code: Code) -> Self {
        Self {
            code,
            about: None,
            detail: None,
            since: None,
            until: None,
        }
    }
}

/// Since when an agreement that is over is.
fn ended_at(known: &AgreementFacts) -> Timestamp {
    let agreement = known.current.value();
    let by_time = agreement.ends.filter(|_| agreement.status.may_hold());
    by_time.unwrap_or(known.current.at().time())
}

fn agreed(known: &AgreementFacts, now: Timestamp) -> Agreed {
    let agreement = known.current.value();
    let ended = agreement.ends.is_some_and(|ends| ends <= now);
    match &agreement.status {
        AgreementStatus::Expired | AgreementStatus::Cancelled | AgreementStatus::Deleted => {
            Agreed::Ended
        }
        AgreementStatus::Unknown(_) => Agreed::NotUnderstood,
        AgreementStatus::Active | AgreementStatus::Paused if ended => Agreed::Ended,
        AgreementStatus::Paused => Agreed::Paused,
        AgreementStatus::Active if agreement.effective.is_some_and(|from| from > now) => {
            Agreed::NotYet
        }
        AgreementStatus::Active => Agreed::InForce,
    }
}

fn reasons_of_link(id: &str, link: &LinkFacts) -> Vec<Reason> {
    let state = link.state();
    let source = link
        .connection
        .source
        .as_ref()
        .map(|source| source.value().clone());
    let about = Reason {
        about: Some(id.to_owned()),
        detail: source.clone(),
        since: state.map(|state| state.at().time()),
        ..Reason::new(Code::ConnectionLive)
    };
    let named = |status: &str| match &source {
        Some(source) => format!("{source}, {status}"),
        None => status.to_owned(),
    };
    let mut reasons = vec![match state.map(Register::value) {
        _ if link.is_live() => Reason {
            since: link.linked.map(|at| at.time()),
            ..about
        },
        Some(state) if state.is_over() => Reason {
            code: Code::ConnectionOver,
            detail: Some(named(state.as_str())),
            ..about
        },
        state => Reason {
            code: Code::ConnectionBroken,
            detail: state.map(|state| named(state.as_str())),
            ..about
        },
    }];
    reasons.extend(stopped_schedules(link).map(|(id, since, resource)| Reason {
        about: Some(id.to_owned()),
        detail: resource.map(str::to_owned),
        since: Some(since),
        ..Reason::new(Code::ScheduleStopped)
    }));
    reasons
}

/// Schedules that stopped since the connection was last linked: id, when, what they fetch.
fn stopped_schedules(link: &LinkFacts) -> impl Iterator<Item = (&str, Timestamp, Option<&str>)> {
    let schedules = link.connection.schedules.iter();
    let stopped = schedules.filter(|(_, it)| it.value().stopped && Some(it.at()) >= link.linked);
    stopped.map(|(id, it)| (id.as_str(), it.at().time(), it.value().resource.as_deref()))
}

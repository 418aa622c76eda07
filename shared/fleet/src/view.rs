//! How a standing follows from a record: one view of the record at one moment, asked for each part.

use std::collections::BTreeMap;

use crate::{
    Admission, AgreementStatus, Code, Decision, Due, Facts, InvitationFacts, Level, LinkFacts,
    Policy, Reason, Record, Register, Stage, Standing, Timestamp, Why, policy::days,
};

impl Record {
    /// What follows from the record at `now`.
    pub fn standing(&self, policy: &Policy, now: Timestamp) -> Standing {
        let view = View::new(self, policy, now);
        let stage = view.stage();
        let admission = view.admission();
        let reasons = view.reasons(stage, admission);
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
    agreed: Agreed,
    /// Connections that the fleet's data was said to flow through.
    linked: Vec<(&'a str, &'a LinkFacts)>,
}

impl<'a> View<'a> {
    fn new(record: &'a Record, policy: &'a Policy, now: Timestamp) -> Self {
        let facts = &record.facts;
        let linked = facts.connections.iter();
        let linked = linked.filter(|(_, link)| link.linked.is_some());
        Self {
            record,
            facts,
            policy,
            now,
            invitation: facts.newest_invitation(),
            agreed: agreed(facts, now),
            linked: linked.map(|(id, link)| (id.as_str(), link)).collect(),
        }
    }

    fn stage(&self) -> Stage {
        if self.linked.is_empty() {
            let stage = self.stage_of_invitation();
            let over = matches!(self.agreed, Agreed::Ended | Agreed::NotUnderstood);
            return match stage {
                Stage::Accepted if over => Stage::Disconnected,
                Stage::Accepted if self.live_request() => Stage::ReconnectReady,
                Stage::Accepted if self.requested() => Stage::Requested,
                stage => stage,
            };
        }
        let stage = match self.agreed {
            Agreed::InForce if self.live() => Stage::Connected,
            Agreed::InForce if self.broken().next().is_none() => Stage::Disconnected,
            Agreed::Ended | Agreed::NotUnderstood => Stage::Disconnected,
            Agreed::InForce | Agreed::Unknown | Agreed::NotYet | Agreed::Paused => Stage::Degraded,
        };
        if stage == Stage::Disconnected && self.invited_again() {
            return self.stage_of_invitation();
        }
        stage
    }

    fn stage_of_invitation(&self) -> Stage {
        let Some(invitation) = self.invitation else {
            let known = self.facts.catena_fleet.is_some() || self.agreed != Agreed::Unknown;
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
                if invitation.ends().is_some_and(|ends| ends <= self.now) {
                    Stage::Expired
                } else if invitation.viewed > opened {
                    Stage::Viewed
                } else {
                    Stage::Invited
                }
            }
        }
    }

    /// Whether the newest invitation came after all that is over.
    fn invited_again(&self) -> bool {
        let states = self.linked.iter().filter_map(|(_, link)| link.state());
        let states = states.map(|state| state.at().time());
        let links = self.linked.iter().filter_map(|(_, link)| link.linked);
        let links = links.map(|at| at.time());
        let agreement = self.facts.newest_agreement();
        let agreement = agreement.map(|(_, known)| known.current.at().time());
        let last = states.chain(links).chain(agreement).max();
        let first = self.invitation.and_then(|invitation| invitation.first);
        first.map(|at| at.time()) > last
    }

    fn live(&self) -> bool {
        self.linked.iter().any(|(_, link)| link.is_live())
    }

    /// Linked connections that are broken and can be mended.
    fn broken(&self) -> impl Iterator<Item = (&'a str, &'a LinkFacts)> {
        let linked = self.linked.iter().copied();
        linked.filter(|(_, link)| {
            let state = link.state().map(Register::value);
            !link.is_live() && state.is_some_and(|state| !state.is_over())
        })
    }

    fn live_request(&self) -> bool {
        self.facts
            .requests
            .values()
            .any(|request| request.live.is_some())
    }

    fn requested(&self) -> bool {
        !self.facts.requests.is_empty() || self.claimed().is_some()
    }

    /// When the fleet accepted: what is known of it otherwise tells it as well.
    fn accepted(&self) -> Option<Timestamp> {
        let decision = self.invitation.and_then(|it| it.decision.as_ref());
        let decision = decision.map(Register::at);
        let agreement = self.facts.newest_agreement().map(|(_, known)| known.first);
        let catena_fleet = self.facts.catena_fleet.as_ref().map(Register::at);
        let at = decision.or(agreement).or(catena_fleet);
        at.map(|at| at.time())
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
        if connected || decisions.pass(self.now).is_some() {
            return Admission::Full;
        }
        match (self.provisional_until(), self.grace_until()) {
            (Some(until), _) if self.now < until => Admission::Provisional { until },
            (_, Some(until)) if self.now < until => Admission::Grace { until },
            _ => Admission::None,
        }
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

    fn provisional_until(&self) -> Option<Timestamp> {
        let grants = self.record.decisions.grants.values();
        grants
            .map(|grant| grant.ends)
            .max()
            .filter(|_| !self.withdrawn())
    }

    /// The end of the time to mend, or to connect what went live and was granted for.
    fn grace_until(&self) -> Option<Timestamp> {
        if self.linked.is_empty() {
            let granted = |id: &&String| self.record.decisions.grants.contains_key(*id);
            let requests = self.facts.requests.iter().filter(|(id, _)| granted(id));
            let live = requests.filter_map(|(_, request)| request.live);
            let until = live
                .map(|at| at.time().plus(days(self.policy.reconnect_days)))
                .max();
            return until.filter(|_| !self.withdrawn());
        }
        if self.agreed != Agreed::InForce || self.live() {
            return None;
        }
        let broken = self.broken().filter_map(|(_, link)| link.state());
        let broken = broken.map(|state| state.at().time()).max();
        broken.map(|at| at.plus(days(self.policy.broken_days)))
    }

    fn data_scopes(&self) -> BTreeMap<String, Level> {
        let agreement = self.facts.newest_agreement();
        let agreement = agreement.filter(|_| self.agreed == Agreed::InForce);
        let scopes = agreement.and_then(|(_, known)| known.current.value().scopes.as_ref());
        let known = |(_, level): &(&String, &Level)| !matches!(level, Level::Unknown(_));
        let scopes = scopes.into_iter().flatten().filter(known);
        scopes
            .map(|(resource, level)| (resource.clone(), level.clone()))
            .collect()
    }

    fn reasons(&self, stage: Stage, admission: Admission) -> Vec<Reason> {
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
        for (id, link) in &self.linked {
            reasons.extend(reasons_of_link(id, link));
        }
        reasons.extend(self.reasons_of_requests(admission));
        if self.linked.is_empty()
            || !matches!(
                stage,
                Stage::Connected | Stage::Degraded | Stage::Disconnected
            )
        {
            reasons.push(self.reason_of_invitation());
        }
        reasons
    }

    fn reason_of_agreement(&self) -> Option<Reason> {
        let Some((id, known)) = self.facts.newest_agreement() else {
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
                let by_time = matches!(
                    agreement.status,
                    AgreementStatus::Active | AgreementStatus::Paused
                );
                let since = agreement.ends.filter(|_| by_time);
                let detail = if by_time {
                    &AgreementStatus::Expired
                } else {
                    &agreement.status
                };
                Reason {
                    detail: Some(detail.as_str().to_owned()),
                    since: since.or(Some(known.current.at().time())),
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
        if self.linked.is_empty() {
            for (id, known) in &self.facts.requests {
                let request = known.current.value();
                let (code, since) = match known.live {
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
            let claimed = self.claimed().filter(|_| self.facts.requests.is_empty());
            reasons.extend(claimed.map(|since| Reason {
                since: Some(since),
                ..Reason::new(Code::RequestUnconfirmed)
            }));
        }
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
        if let Some((_, known)) = self.facts.newest_agreement() {
            let agreement = known.current.value();
            let holds = matches!(
                agreement.status,
                AgreementStatus::Active | AgreementStatus::Paused
            );
            add(
                Why::AgreementStarts,
                agreement.effective.filter(ahead).filter(|_| holds),
            );
            add(
                Why::AgreementEnds,
                agreement.ends.filter(ahead).filter(|_| holds),
            );
        }
        add(Why::AdmissionEnds, admission.until());
        let decisions = &self.record.decisions;
        for decided in [decisions.block(self.now), decisions.pass(self.now)] {
            add(
                Why::OverrideEnds,
                decided.and_then(|decided| decided.ends()),
            );
        }

        for (_, link) in &self.linked {
            let unknown = self.agreed == Agreed::Unknown;
            add(
                Why::AgreementUnknown,
                link.linked.map(|at| at.time()).filter(|_| unknown),
            );
        }
        let ended = matches!(self.agreed, Agreed::Ended | Agreed::NotUnderstood);
        let over = ended || stage == Stage::Disconnected;
        for (_, link) in self.broken().filter(|_| !over) {
            add(
                Why::ConnectionBroken,
                link.state().map(|state| state.at().time()),
            );
        }
        for (_, link) in self.linked.iter().filter(|_| !over) {
            for stopped in stopped_schedules(link).map(|(_, at, _)| at) {
                add(Why::ScheduleStopped, Some(stopped));
            }
        }
        if self.linked.is_empty() {
            let missing = stage == Stage::Accepted;
            add(Why::ConnectionMissing, self.accepted().filter(|_| missing));
            let unconfirmed = stage == Stage::Requested && self.facts.requests.is_empty();
            add(
                Why::RequestUnconfirmed,
                self.claimed().filter(|_| unconfirmed),
            );
            let waits = matches!(stage, Stage::Requested | Stage::ReconnectReady);
            for request in self.facts.requests.values().filter(|_| waits) {
                let pending = request
                    .live
                    .is_none()
                    .then_some(request.current.at().time());
                add(Why::RequestPending, pending);
                add(Why::ProviderLive, request.live.map(|at| at.time()));
            }
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

fn agreed(facts: &Facts, now: Timestamp) -> Agreed {
    let Some((_, known)) = facts.newest_agreement() else {
        return Agreed::Unknown;
    };
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

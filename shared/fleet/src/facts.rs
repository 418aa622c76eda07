//! What is known about a fleet.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{
    Agreement, At, Claim, ConnectionFact, ConnectionState, Decision, Fact, IntegrationRequest,
    InvitationFact, Observation, Register, RegulatoryId, Schedule, Timestamp,
    register::{earliest, latest},
};

/// All that was observed about a fleet: per fact the newest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The fleet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Register<String>>,
    /// The fleet's id at Catena.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catena_fleet: Option<Register<String>>,
    /// Its invitations, by hash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub invitations: BTreeMap<String, InvitationFacts>,
    /// Its share agreements, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agreements: BTreeMap<String, AgreementFacts>,
    /// The connections that were said to be its own or to serve it, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, LinkFacts>,
    /// Its integration requests, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, RequestFacts>,
    /// Whether Catena refuses to list integration requests to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_refused: Option<Register<Reverse<bool>>>,
    /// The number that authorities know the fleet by, as Catena has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regulatory: Option<Register<RegulatoryId>>,
}

/// What is known about an invitation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationFacts {
    /// When it was made, or else the earliest moment that anything is known from. It tells which of several invitations is
    /// the newest: a decision's moment can't, because an old one may expire while a new one is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<At>,
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Register<Decision>>,
    /// When the fleet last opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewed: Option<At>,
    /// When it was last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<At>,
    /// When its link stops working; of two ends at one moment the sooner one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Register<Reverse<Timestamp>>>,
    /// The number that authorities know the fleet by, as it was invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_as: Option<Register<RegulatoryId>>,
    /// How the fleet's browser last came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Register<Claim>>,
    /// When it first came back with a requested integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_request: Option<At>,
}

/// What is known about a share agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgreementFacts {
    /// When it was made, or else the earliest moment that anything is known from: tells which of several agreements is the
    /// newest.
    pub first: Timestamp,
    /// Status, scopes and dates.
    pub current: Register<Agreement>,
}

/// What is known about a connection and about its relation to the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    /// When the fleet's data was last said to flow through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked: Option<At>,
    /// About the connection itself: the same for every fleet that it serves.
    #[serde(flatten)]
    pub connection: ConnectionFacts,
}

/// What is known about a connection, whichever fleets it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFacts {
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Register<ConnectionState>>,
    /// The provider's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Register<String>>,
    /// Its schedules, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, Register<Schedule>>,
}

/// What is known about an integration request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFacts {
    /// What Catena last said of it.
    pub current: Register<IntegrationRequest>,
    /// The earliest moment at which its provider was live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<At>,
}

impl Facts {
    /// Takes an observation in. A join: order and repeats don't matter.
    #[must_use]
    pub fn fold(mut self, observation: &Observation) -> Self {
        let at = observation.at;
        match &observation.fact {
            Fact::Name(name) => Register::observe(&mut self.name, at, name.clone()),
            Fact::CatenaFleet(id) => Register::observe(&mut self.catena_fleet, at, id.clone()),
            Fact::Invitation { invitation, was } => {
                entry(&mut self.invitations, invitation).observe(at, was);
            }
            Fact::Agreement {
                id,
                made,
                agreement,
            } => {
                let known = self.agreements.remove(id);
                let made = made.unwrap_or(at.time());
                let folded = AgreementFacts::observe(known, made, at, agreement);
                self.agreements.insert(id.clone(), folded);
            }
            Fact::Connection { connection, was } => {
                let facts = &mut entry(&mut self.connections, connection).connection;
                facts.observe(at, was);
            }
            Fact::Linked { connection } => {
                latest(&mut entry(&mut self.connections, connection).linked, at);
            }
            Fact::Request { id, request } => {
                let known = self.requests.remove(id);
                let folded = RequestFacts::observe(known, at, request);
                self.requests.insert(id.clone(), folded);
            }
            Fact::RequestsRefused(refused) => {
                Register::observe(&mut self.requests_refused, at, Reverse(*refused));
            }
            Fact::Regulatory(number) => {
                Register::observe(&mut self.regulatory, at, number.clone());
            }
        }
        self
    }

    /// Whether the newest that is known is just this. What only ever happens, such as an opened invitation, is said if it
    /// ever did.
    pub fn say(&self, fact: &Fact) -> bool {
        fn is<T: Ord>(known: Option<&Register<T>>, value: &T) -> bool {
            known.map(Register::value) == Some(value)
        }
        match fact {
            Fact::Name(name) => is(self.name.as_ref(), name),
            Fact::CatenaFleet(id) => is(self.catena_fleet.as_ref(), id),
            Fact::Invitation { invitation, was } => {
                let known = self.invitations.get(invitation);
                known.is_some_and(|known| known.say(was))
            }
            Fact::Agreement { id, agreement, .. } => is(
                self.agreements.get(id).map(|known| &known.current),
                agreement,
            ),
            Fact::Connection { connection, was } => {
                let known = self.connections.get(connection);
                known.is_some_and(|known| known.says(was))
            }
            Fact::Linked { connection } => {
                let known = self.connections.get(connection);
                known.is_some_and(|known| known.linked.is_some())
            }
            Fact::Request { id, request } => {
                is(self.requests.get(id).map(|known| &known.current), request)
            }
            Fact::RequestsRefused(refused) => {
                is(self.requests_refused.as_ref(), &Reverse(*refused))
            }
            Fact::Regulatory(number) => is(self.regulatory.as_ref(), number),
        }
    }

    /// The invitation that counts, with its hash: the newest.
    pub fn newest_invitation_by_hash(&self) -> Option<(&str, &InvitationFacts)> {
        let invitations = self.invitations.iter();
        let newest = invitations.max_by_key(|(_, known)| known.first);
        newest.map(|(hash, known)| (hash.as_str(), known))
    }

    /// The invitation that counts: the newest.
    pub fn newest_invitation(&self) -> Option<&InvitationFacts> {
        self.newest_invitation_by_hash().map(|(_, known)| known)
    }

    /// The newest agreement.
    pub fn newest_agreement(&self) -> Option<(&str, &AgreementFacts)> {
        self.agreements_by_age().into_iter().next()
    }

    /// The agreements, the newest first; of two that were made at one moment the more restrictive one first.
    pub fn agreements_by_age(&self) -> Vec<(&str, &AgreementFacts)> {
        let agreements = self.agreements.iter();
        let mut agreements: Vec<_> = agreements.map(|(id, it)| (id.as_str(), it)).collect();
        agreements.sort_by_key(|(id, known)| Reverse((known.first, known.current.value(), *id)));
        agreements
    }

    /// Invitations, agreements, requests, connections and their schedules together: what a record grows by.
    #[expect(
        clippy::len_without_is_empty,
        reason = "it counts what can be dropped; nobody asks whether a record is empty"
    )]
    pub fn len(&self) -> usize {
        let schedules = self
            .connections
            .values()
            .map(|link| link.connection.schedules.len());
        let connections = self.connections.len() + schedules.sum::<usize>();
        self.invitations.len() + self.agreements.len() + self.requests.len() + connections
    }

    /// Drops schedules that don't count any more, because the fleet was linked to their connection since, if they were last
    /// heard of before `horizon`. Nothing that follows from the facts changes, now or later. The horizon must be longer ago
    /// than anything that can still be repeated, or a repeat brings them back as news. All else stays: an old invitation,
    /// agreement or connection that is heard of again must not pass for a new one, and schedules are what there are many of.
    #[must_use]
    pub fn compacted(mut self, horizon: Timestamp) -> Self {
        for link in self.connections.values_mut() {
            let linked = link.linked;
            link.connection.schedules.retain(|_, schedule| {
                Some(schedule.at()) >= linked || schedule.at().time() >= horizon
            });
        }
        self
    }
}

impl InvitationFacts {
    fn observe(&mut self, at: At, was: &InvitationFact) {
        earliest(&mut self.first, at);
        match was {
            InvitationFact::Decision(decision) => {
                Register::observe(&mut self.decision, at, decision.clone());
            }
            InvitationFact::Created => {}
            InvitationFact::Viewed => latest(&mut self.viewed, at),
            InvitationFact::Sent => latest(&mut self.sent, at),
            InvitationFact::Ends(ends) => Register::observe(&mut self.ends, at, Reverse(*ends)),
            InvitationFact::InvitedAs(number) => {
                Register::observe(&mut self.invited_as, at, number.clone());
            }
            InvitationFact::Claim(claim) => {
                if matches!(claim, Claim::Requested(_)) {
                    earliest(&mut self.claimed_request, at);
                }
                Register::observe(&mut self.claim, at, claim.clone());
            }
        }
    }

    fn say(&self, was: &InvitationFact) -> bool {
        match was {
            InvitationFact::Decision(decision) => {
                self.decision.as_ref().map(Register::value) == Some(decision)
            }
            InvitationFact::Created => true,
            InvitationFact::Viewed => self.viewed.is_some(),
            InvitationFact::Sent => self.sent.is_some(),
            InvitationFact::Ends(ends) => self.ends() == Some(*ends),
            InvitationFact::InvitedAs(number) => {
                self.invited_as.as_ref().map(Register::value) == Some(number)
            }
            InvitationFact::Claim(claim) => self.claim.as_ref().map(Register::value) == Some(claim),
        }
    }

    /// When its link stops working.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends.as_ref().map(|ends| ends.value().0)
    }

    /// How it stands at a moment: one that the fleet may decide about is over with its time.
    pub fn stands(&self, now: Timestamp) -> &Decision {
        match self.decision.as_ref().map(Register::value) {
            Some(Decision::Open) | None if self.ends().is_some_and(|ends| ends <= now) => {
                &Decision::Expired
            }
            Some(decision) => decision,
            None => &Decision::Open,
        }
    }

    /// Whether the fleet accepted it.
    pub fn accepted(&self) -> bool {
        let decision = self.decision.as_ref().map(Register::value);
        decision == Some(&Decision::Accepted)
    }
}

impl AgreementFacts {
    fn observe(known: Option<Self>, made: Timestamp, at: At, agreement: &Agreement) -> Self {
        let (first, mut current) = match known {
            Some(known) => (known.first.min(made), Some(known.current)),
            None => (made, None),
        };
        Register::observe(&mut current, at, agreement.clone());
        let current = current.unwrap_or_else(|| Register::new(at, agreement.clone()));
        Self { first, current }
    }
}

impl LinkFacts {
    /// The connection's state, unless the fleet was linked to it since: Catena announces no recovery but by linking again
    /// (contract 6.10). `None` means that nothing speaks against it.
    pub fn state(&self) -> Option<&Register<ConnectionState>> {
        let state = self.connection.state.as_ref();
        state.filter(|state| Some(state.at()) >= self.linked)
    }

    /// A state counts as said only if it isn't older than the last link.
    fn says(&self, was: &ConnectionFact) -> bool {
        match was {
            ConnectionFact::State(state) => match self.state() {
                Some(known) => known.value() == state,
                None => self.is_live() && *state == ConnectionState::Active,
            },
            ConnectionFact::Source(source) => {
                self.connection.source.as_ref().map(Register::value) == Some(source)
            }
            ConnectionFact::Schedule { id, schedule } => {
                match self.connection.schedules.get(id) {
                    Some(known) => {
                        let stopped = known.value().stopped && Some(known.at()) >= self.linked;
                        stopped == schedule.stopped
                    }
                    // One that never stopped is none to remember.
                    None => !schedule.stopped,
                }
            }
        }
    }

    /// Whether the fleet's data can flow through it.
    pub fn is_live(&self) -> bool {
        let state = self.state().map(Register::value);
        self.linked.is_some() && state.is_none_or(|state| *state == ConnectionState::Active)
    }

    /// Whether the fleet was linked to it as it was broken already, and nothing is known of it since: for all that is known it never
    /// worked. So it stands if it was found, instead of announced.
    pub fn was_broken_when_linked(&self) -> bool {
        let state = self.state();
        let broken = state.filter(|state| *state.value() != ConnectionState::Active);
        self.linked.is_some() && broken.is_some_and(|state| Some(state.at()) == self.linked)
    }

    /// Whether it is over, and the fleet wasn't linked to it since.
    pub fn is_over(&self) -> bool {
        let state = self.state().map(Register::value);
        state.is_some_and(ConnectionState::is_over)
    }
}

impl ConnectionFacts {
    /// Takes an observation in. A join, as [`Facts::fold`].
    pub fn observe(&mut self, at: At, was: &ConnectionFact) {
        match was {
            ConnectionFact::State(state) => Register::observe(&mut self.state, at, state.clone()),
            ConnectionFact::Source(source) => {
                Register::observe(&mut self.source, at, source.clone());
            }
            ConnectionFact::Schedule { id, schedule } => {
                let mut slot = self.schedules.remove(id);
                Register::observe(&mut slot, at, schedule.clone());
                self.schedules.extend(slot.map(|slot| (id.clone(), slot)));
            }
        }
    }

    /// What is known, as observations that a fleet can take in.
    pub fn observations(&self, connection: &str) -> Vec<Observation> {
        let state = self.state.iter();
        let state = state.map(|it| (it.at(), ConnectionFact::State(it.value().clone())));
        let source = self.source.iter();
        let source = source.map(|it| (it.at(), ConnectionFact::Source(it.value().clone())));
        let schedules = self.schedules.iter().map(|(id, it)| {
            let (id, schedule) = (id.clone(), it.value().clone());
            (it.at(), ConnectionFact::Schedule { id, schedule })
        });
        let observation = |(at, was)| Observation {
            at,
            fact: Fact::Connection {
                connection: connection.to_owned(),
                was,
            },
        };
        state
            .chain(source)
            .chain(schedules)
            .map(observation)
            .collect()
    }
}

impl RequestFacts {
    fn observe(known: Option<Self>, at: At, request: &IntegrationRequest) -> Self {
        let (mut live, mut current) = match known {
            Some(known) => (known.live, Some(known.current)),
            None => (None, None),
        };
        if !request.live_as.is_empty() {
            earliest(&mut live, at);
        }
        Register::observe(&mut current, at, request.clone());
        let current = current.unwrap_or_else(|| Register::new(at, request.clone()));
        Self { current, live }
    }
}

fn entry<'a, T: Default>(known: &'a mut BTreeMap<String, T>, id: &str) -> &'a mut T {
    known.entry(id.to_owned()).or_default()
}

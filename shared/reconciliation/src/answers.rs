//! What answers say.

use std::collections::{BTreeMap, BTreeSet};

use catena::{
    Connection, Fleet, Instant, IntegrationRequest, Invitation, Schedule, ShareAgreement,
};
use fleet::{
    AgreementStatus, At, ConnectionFact, ConnectionState, Decision, Fact, Facts, FleetRef,
    InvitationFact, Observation, Record, Timestamp,
};
use translation::{answer, translate_answer};

use crate::questions::is_shown;

/// What one question was answered by.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// What there is; all of it.
    pub items: Vec<T>,
    /// It was so then, or later.
    pub observed: Instant,
    /// Nothing in it happened later.
    pub latest: Instant,
}

/// What Catena answered about one fleet. What wasn't asked, or not answered, is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Its invitations.
    pub invitations: Option<Listed<Invitation>>,
    /// Whether those are all that it has.
    pub all_invitations: bool,
    /// Its share agreements.
    pub agreements: Option<Listed<ShareAgreement>>,
    /// Itself, if it has an active agreement with us.
    pub fleet: Option<Listed<Fleet>>,
    /// Its connections.
    pub connections: Option<Listed<Connection>>,
    /// Its integration requests.
    pub requests: Option<Listed<IntegrationRequest>>,
    /// When Catena refused to list integration requests (contract 3.6: hidden endpoint).
    pub requests_refused: Option<Instant>,
    /// The schedules of connections.
    pub schedules: BTreeMap<String, Listed<Schedule>>,
    /// Connections and agreements that there aren't any more, each asked for by its id, and when.
    pub gone: BTreeMap<String, Instant>,
}

impl Answers {
    /// Connections that a record has and that aren't listed: only asking for them by their ids tells whether they are gone, and only
    /// under an agreement by which Catena shows what there is.
    pub fn missing_connections(&self, record: &Record) -> Vec<String> {
        let Some(listed) = &self.connections else {
            return Vec::new();
        };
        let shown = match &self.agreements {
            Some(listed) => {
                let active = |it: &ShareAgreement| it.status == Some(catena::Status::Active);
                listed.items.iter().any(active)
            }
            None => is_shown(record),
        };
        let listed: BTreeSet<_> = listed.items.iter().map(|it| it.id.as_str()).collect();
        let links = record.facts.connections.iter().filter(|_| shown);
        let missing = links.filter(|(id, link)| {
            link.linked.is_some() && !link.is_over() && !listed.contains(id.as_str())
        });
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// Agreements that may hold by a record and aren't listed.
    pub fn missing_agreements(&self, record: &Record) -> Vec<String> {
        let Some(listed) = &self.agreements else {
            return Vec::new();
        };
        let listed: BTreeSet<_> = listed.items.iter().map(|it| it.id.as_str()).collect();
        let known = record.facts.agreements.iter();
        let missing = known.filter(|(id, known)| {
            known.current.value().status.may_hold() && !listed.contains(id.as_str())
        });
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// What the answers say that a record doesn't, as observations: nothing if they agree. Each is timed by the record's own
    /// business time where that makes it count, else by when it was so: what Catena answers now overrules what was heard before.
    pub fn differences(&self, fleet: &FleetRef, record: &Record) -> Vec<Observation> {
        let mut said = Said {
            facts: record.facts.clone(),
            news: Vec::new(),
        };
        for (listed, it) in each(self.invitations.as_ref()) {
            if is_of(fleet, it.fleet_ref.as_deref()) {
                let told = translate_answer(it, listed.observed, listed.latest).observations;
                said.all(told, listed);
            }
        }
        self.invitations_taken_back(&mut said);
        for (listed, it) in each(self.agreements.as_ref()) {
            if is_of(fleet, it.fleet_ref.as_deref()) {
                said.all(answer::share_agreement(it, listed.observed), listed);
            }
        }
        for (listed, it) in each(self.fleet.as_ref()) {
            if it.fleet_ref.as_deref() == Some(fleet.as_str()) {
                said.all(answer::fleet(it, listed.observed), listed);
            }
        }
        for (listed, it) in each(self.connections.as_ref()) {
            if is_of(fleet, it.fleet_ref.as_deref()) {
                said.connection(it, listed);
            }
        }
        for (connection, listed) in &self.schedules {
            for it in &listed.items {
                said.all(answer::schedule(connection, it, listed.observed), listed);
            }
        }
        for (id, at) in &self.gone {
            said.gone(id, *at);
        }
        if let Some(at) = self.requests_refused {
            said.observe(at, Fact::RequestsRefused(true));
        }
        if let Some(listed) = &self.requests {
            if said.facts.requests_refused.is_some() {
                said.observe(listed.observed, Fact::RequestsRefused(false));
            }
            let ours = listed.items.iter();
            let ours = ours.filter(|it| self.is_ours(fleet, &said.facts, it));
            for it in ours.collect::<Vec<_>>() {
                said.all(answer::integration_request(it, listed.observed), listed);
            }
        }
        said.news
    }

    /// What the fleet may still decide about and isn't listed any more was taken back, unless it is so new that a list may lag.
    fn invitations_taken_back(&self, said: &mut Said) {
        let Some(listed) = self.invitations.as_ref().filter(|_| self.all_invitations) else {
            return;
        };
        let there = listed.items.iter();
        let there: BTreeSet<_> = there.map(|it| it.invitation_hash.as_str()).collect();
        let observed = Timestamp(listed.observed.millis());
        let open = said.facts.invitations.iter().filter(|(hash, known)| {
            let since = known
                .decision
                .as_ref()
                .map(|it| (it.value(), it.at().time()));
            let waits =
                matches!(since, Some((Decision::Open, at)) if at.plus(LIST_LAGS_MS) < observed);
            let lasts = known.ends().is_none_or(|ends| observed < ends);
            waits && lasts && !there.contains(hash.as_str())
        });
        let open: Vec<String> = open.map(|(hash, _)| hash.clone()).collect();
        for invitation in open {
            let was = InvitationFact::Decision(Decision::Deleted);
            said.observe(listed.observed, Fact::Invitation { invitation, was });
        }
    }

    /// Whether a request came from an invitation of ours to this fleet (contract 4.3).
    fn is_ours(&self, fleet: &FleetRef, facts: &Facts, request: &IntegrationRequest) -> bool {
        let us = each(self.invitations.as_ref()).filter_map(|(_, it)| it.partner_id.as_deref());
        let agreed = each(self.agreements.as_ref()).filter_map(|(_, it)| it.partner_id.as_deref());
        let mut us = us.chain(agreed);
        let another = |partner: &str| us.any(|us| us != partner);
        let hash = request.invitation_hash.as_ref();
        request.fleet_ref.as_deref() == Some(fleet.as_str())
            && hash.is_some_and(|hash| facts.invitations.contains_key(hash.as_str()))
            && !request.partner_id.as_deref().is_some_and(another)
    }
}

/// What is known, and what is said besides.
struct Said {
    facts: Facts,
    news: Vec<Observation>,
}

impl Said {
    fn all<T>(&mut self, told: Vec<Observation>, listed: &Listed<T>) {
        let observed = Timestamp(listed.observed.millis());
        for told in told {
            self.say(told, observed);
        }
    }

    fn observe(&mut self, at: Instant, fact: Fact) {
        let at = Timestamp(at.millis());
        let at_once = At(at, 0);
        self.say(Observation { at: at_once, fact }, at);
    }

    /// Takes in what is said at its own time if it counts then, or else at `observed`.
    fn say(&mut self, told: Observation, observed: Timestamp) {
        if self.facts.say(&told.fact) {
            return;
        }
        // No clock of Catena's makes what is said now last beyond what will be said next.
        let own = Observation {
            at: told.at.min(At(observed, u32::MAX)),
            fact: told.fact.clone(),
        };
        let now = Observation {
            at: At(observed, 0),
            fact: told.fact,
        };
        for said in [own, now] {
            let facts = self.facts.clone().fold(&said);
            if facts.say(&said.fact) {
                self.facts = facts;
                self.news.push(said);
                return;
            }
        }
    }

    /// A connection that the record isn't linked to is linked, unless it is over, and stands as it does: both were so when it was
    /// listed. When it changed last says nothing of when it came to serve the fleet (contract 5.1).
    fn connection(&mut self, it: &Connection, listed: &Listed<Connection>) {
        let told = answer::connection(it, listed.observed);
        let known = self.facts.connections.get(&it.id);
        let state = told.iter().find_map(|told| match &told.fact {
            Fact::Connection {
                was: ConnectionFact::State(state),
                ..
            } => Some(state.clone()),
            _ => None,
        });
        if known.is_some_and(|link| link.linked.is_some()) {
            return self.all(told, listed);
        }
        if told.is_empty() || state.as_ref().is_some_and(ConnectionState::is_over) {
            return;
        }
        let connection = it.id.clone();
        self.observe(listed.observed, Fact::Linked { connection });
        for told in told {
            self.observe(listed.observed, told.fact);
        }
    }

    fn gone(&mut self, id: &str, at: Instant) {
        if self.facts.connections.contains_key(id) {
            let was = ConnectionFact::State(ConnectionState::Deleted);
            let connection = id.to_owned();
            self.observe(at, Fact::Connection { connection, was });
        }
        if let Some(known) = self.facts.agreements.get(id) {
            let mut agreement = known.current.value().clone();
            agreement.status = AgreementStatus::Deleted;
            let id = id.to_owned();
            let made = Some(known.first);
            self.observe(
                at,
                Fact::Agreement {
                    id,
                    made,
                    agreement,
                },
            );
        }
    }
}

fn each<T>(listed: Option<&Listed<T>>) -> impl Iterator<Item = (&Listed<T>, &T)> {
    listed
        .into_iter()
        .flat_map(|listed| listed.items.iter().map(move |it| (listed, it)))
}

/// Whether something that was asked for by our reference is about it: answers may leave it out.
fn is_of(fleet: &FleetRef, named: Option<&str>) -> bool {
    named.is_none_or(|named| named == fleet.as_str())
}

/// So long a list may lack what was made.
const LIST_LAGS_MS: i64 = 60 * 60 * 1000;

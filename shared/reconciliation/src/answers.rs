//! What answers say.

use std::collections::{BTreeMap, BTreeSet};

use catena::{
    Connection, Fleet, Instant, IntegrationRequest, Invitation, Schedule, ShareAgreement,
};
use fleet::{
    AgreementStatus, At, ConnectionFact, ConnectionState, Decision, Fact, Facts, FleetRef,
    InvitationFact, InvitationFacts, Observation, Record, Timestamp,
};
use translation::{answer, translate_answer};

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
    /// Whether connections seem to be missing and nobody asked yet whether Catena shows what the fleet has.
    pub fn leaves_agreements_open(&self, record: &Record) -> bool {
        let unasked = self.agreements.is_none() && self.fleet.is_none();
        unasked && !self.unlisted_connections(record).is_empty()
    }

    /// Connections that a record has and that aren't listed, while Catena shows what the fleet has: only asking for them by their ids
    /// tells whether they are gone.
    pub fn missing_connections(&self, record: &Record) -> Vec<String> {
        match self.is_shown() {
            true => self.unlisted_connections(record),
            false => Vec::new(),
        }
    }

    fn unlisted_connections(&self, record: &Record) -> Vec<String> {
        let Some(listed) = &self.connections else {
            return Vec::new();
        };
        let listed: BTreeSet<_> = listed.items.iter().map(|it| it.id.as_str()).collect();
        let missing = record.facts.connections.iter().filter(|(id, link)| {
            link.linked.is_some() && !link.is_over() && !listed.contains(id.as_str())
        });
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// Agreements that aren't over by a record and aren't listed.
    pub fn missing_agreements(&self, record: &Record) -> Vec<String> {
        let Some(listed) = &self.agreements else {
            return Vec::new();
        };
        let listed: BTreeSet<_> = listed.items.iter().map(|it| it.id.as_str()).collect();
        let missing = record.facts.agreements.iter().filter(|(id, known)| {
            let over = matches!(
                known.current.value().status,
                AgreementStatus::Expired | AgreementStatus::Cancelled | AgreementStatus::Deleted
            );
            !over && !listed.contains(id.as_str())
        });
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// Whether Catena shows us what the fleet has: an agreement holds, by what it answered just now (contract 3.2, 3.3). What the
    /// record says won't do: without the agreement's end everything would seem to be gone.
    fn is_shown(&self) -> bool {
        let mut agreements = each(self.agreements.as_ref());
        let holds = agreements.any(|(listed, it)| {
            let begun = it.effective_date.is_none_or(|at| at <= listed.observed);
            let lasts = it.expiration_date.is_none_or(|at| listed.latest < at);
            it.status == Some(catena::Status::Active) && begun && lasts
        });
        let is_listed = self.fleet.as_ref().is_some_and(|it| !it.items.is_empty());
        match self.agreements {
            Some(_) => holds,
            None => is_listed,
        }
    }

    /// Whether a connection of the fleet's was listed that works.
    pub fn shows_a_connection(&self, fleet: &FleetRef) -> bool {
        let mut own =
            each(self.connections.as_ref()).filter(|(_, it)| is_of(fleet, it.fleet_ref.as_deref()));
        own.any(|(_, it)| it.status == Some(catena::Status::Active))
    }

    /// Whether a request came from an invitation that neither the record nor an answer knows.
    pub fn names_unknown_invitation(&self, record: &Record) -> bool {
        let requests = each(self.requests.as_ref());
        let mut hashes = requests.filter_map(|(_, it)| it.invitation_hash.as_ref());
        let known = |hash: &str| record.facts.invitations.contains_key(hash);
        self.invitations.is_none() && hashes.any(|hash| !known(hash.as_str()))
    }

    /// What the answers say that a record doesn't, as observations: nothing if they agree. Each is timed by the record's own
    /// business time where that makes it count, else by when it was so: what Catena answers now overrules what was heard before.
    pub fn differences(&self, fleet: &FleetRef, record: &Record) -> Vec<Observation> {
        let mut said = Said {
            facts: record.facts.clone(),
            news: Vec::new(),
        };
        self.about_invitations(fleet, &mut said);
        self.invitations_taken_back(&mut said);
        for (id, at) in &self.gone {
            said.gone(id, *at);
        }
        self.about_agreements(fleet, &mut said);
        self.about_itself(fleet, &mut said);
        for (listed, it) in each(self.connections.as_ref()) {
            said.connection(it, listed, is_of(fleet, it.fleet_ref.as_deref()));
        }
        for (connection, listed) in &self.schedules {
            for it in &listed.items {
                said.all(answer::schedule(connection, it, listed.observed), listed);
            }
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
                said.request(it, listed);
            }
        }
        said.news
    }

    /// The invitations. Of the names and Catena's ids of the fleet in them the last counts, unless something answers that knows better
    /// how they are now.
    fn about_invitations(&self, fleet: &FleetRef, said: &mut Said) {
        let (mut name, mut catena_fleet) = (None, None);
        for (listed, it) in each(self.invitations.as_ref()) {
            if !is_of(fleet, it.fleet_ref.as_deref()) {
                continue;
            }
            let observed = Timestamp(listed.observed.millis());
            for told in translate_answer(it, listed.observed, listed.latest).observations {
                match &told.fact {
                    Fact::Name(_) => name = name.max(Some((told, observed))),
                    Fact::CatenaFleet(_) => {
                        catena_fleet = catena_fleet.max(Some((told, observed)));
                    }
                    _ => said.invitation(&told, observed),
                }
            }
        }
        let mut items = each(self.fleet.as_ref());
        let named = items.any(|(_, it)| it.shown_name().is_some());
        let known = each(self.fleet.as_ref()).next().is_some();
        let known = known || each(self.agreements.as_ref()).next().is_some();
        let name = name.filter(|_| !named);
        let catena_fleet = catena_fleet.filter(|_| !known);
        for (told, observed) in name.into_iter().chain(catena_fleet) {
            said.said_then(&told, observed);
        }
    }

    /// The agreements. Unless the fleet itself tells Catena's id of it, the newest of them does that is active, or else the newest: a
    /// fleet that came to us again may have another id than before.
    fn about_agreements(&self, fleet: &FleetRef, said: &mut Said) {
        let ours = each(self.agreements.as_ref());
        let ours = ours.filter(|(_, it)| is_of(fleet, it.fleet_ref.as_deref()));
        let mut ids = BTreeMap::new();
        for (listed, it) in ours {
            for told in answer::share_agreement(it, listed.observed) {
                match told.fact {
                    Fact::CatenaFleet(_) => _ = ids.insert(it.id.as_str(), (listed, told)),
                    _ => said.all(vec![told], listed),
                }
            }
        }
        if each(self.fleet.as_ref()).next().is_some() {
            return;
        }
        let by_age = said.facts.agreements_by_age();
        let active = by_age
            .iter()
            .find(|(_, it)| it.current.value().status == AgreementStatus::Active);
        let counts = active.or(by_age.first()).map(|(id, _)| *id);
        if let Some((listed, told)) = counts.and_then(|id| ids.remove(id)) {
            said.all(vec![told], listed);
        }
    }

    /// The fleet itself; of several under one reference the one that is known, or else the one that was made last.
    fn about_itself(&self, fleet: &FleetRef, said: &mut Said) {
        let named = each(self.fleet.as_ref());
        let named = named.filter(|(_, it)| it.fleet_ref.as_deref() == Some(fleet.as_str()));
        let known = said.facts.catena_fleet.as_ref();
        let known = known.map(|it| it.value().clone());
        let itself = named.max_by_key(|(_, it)| {
            let is_known = known.as_ref() == Some(&it.id);
            (is_known, it.created_at, &it.id)
        });
        if let Some((listed, it)) = itself {
            said.all(answer::fleet(it, listed.observed), listed);
        }
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
        is_of(fleet, request.fleet_ref.as_deref())
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
        for told in &told {
            self.say(told, observed);
        }
    }

    fn observe(&mut self, at: Instant, fact: Fact) {
        let at = Timestamp(at.millis());
        let told = Observation {
            at: At(at, 0),
            fact,
        };
        self.say(&told, at);
    }

    /// Takes in what is said at its own time if it counts then, or else at `observed`.
    fn say(&mut self, told: &Observation, observed: Timestamp) {
        if !self.said_then(told, observed) {
            self.said_now(told, observed);
        }
    }

    /// Takes in what an invitation says.
    fn invitation(&mut self, told: &Observation, observed: Timestamp) {
        // Accepting is never undone (contract 4.1): a list that doesn't know it yet lags.
        let lags = match &told.fact {
            Fact::Invitation {
                invitation,
                was: InvitationFact::Decision(Decision::Open),
            } => {
                let known = self.facts.invitations.get(invitation);
                known.is_some_and(InvitationFacts::accepted)
            }
            _ => false,
        };
        if !self.said_then(told, observed) && !lags {
            self.said_now(told, observed);
        }
    }

    /// Takes in what is said at its own time, and tells whether it is known then.
    fn said_then(&mut self, told: &Observation, observed: Timestamp) -> bool {
        let observed = not_before_it_was_made(told, observed);
        // No clock of Catena's makes what is said now last beyond what will be said next.
        let at = told.at.min(At(observed, u32::MAX));
        let fact = told.fact.clone();
        self.says(told) || self.takes_in(Observation { at, fact })
    }

    fn said_now(&mut self, told: &Observation, observed: Timestamp) {
        let observed = not_before_it_was_made(told, observed);
        let (at, fact) = (At(observed, 0), told.fact.clone());
        self.takes_in(Observation { at, fact });
    }

    /// Takes something in if it counts, and tells whether it does.
    fn takes_in(&mut self, said: Observation) -> bool {
        let facts = self.facts.clone().fold(&said);
        let before = std::mem::replace(&mut self.facts, facts);
        if self.says(&said) {
            self.news.push(said);
            return true;
        }
        self.facts = before;
        false
    }

    /// Whether it is known. When an invitation was made tells which is the newest, so it isn't known before the moment is.
    fn says(&self, told: &Observation) -> bool {
        match &told.fact {
            Fact::Invitation {
                invitation,
                was: InvitationFact::Created,
            } => {
                let known = self.facts.invitations.get(invitation);
                let first = known.and_then(|it| it.first);
                first.is_some_and(|first| first <= told.at)
            }
            fact => self.facts.say(fact),
        }
    }

    /// A request. That its provider is live was so when it was listed, if nobody knew: the fleet's time to connect counts from then, and
    /// whether `updated_at` tells of it is unknown (contract 3.6).
    fn request(&mut self, it: &IntegrationRequest, listed: &Listed<IntegrationRequest>) {
        let observed = Timestamp(listed.observed.millis());
        let known = self.facts.requests.get(&it.id);
        let goes_live = known.is_some_and(|known| known.live.is_none());
        for told in answer::integration_request(it, listed.observed) {
            let live =
                matches!(&told.fact, Fact::Request { request, .. } if !request.live_as.is_empty());
            match goes_live && live {
                true => self.said_now(&told, observed),
                false => self.say(&told, observed),
            }
        }
    }

    /// A connection that the record isn't linked to is linked if it is `own`, unless it is over, and stands as it does: both were so
    /// when it was listed. When it changed last says nothing of when it came to serve the fleet (contract 5.1). How one stands that
    /// the record is linked to is told whichever of its fleets Catena names.
    fn connection(&mut self, it: &Connection, listed: &Listed<Connection>, own: bool) {
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
        let over = state.as_ref().is_some_and(ConnectionState::is_over);
        if !own || told.is_empty() || over {
            return;
        }
        let connection = it.id.clone();
        let linked = Fact::Linked { connection };
        let told = told.into_iter().map(|told| told.fact);
        // A broken one is told of before it is linked, also if that is known: linked alone, or since, it would pass for live.
        let all: Vec<Fact> = match state {
            Some(ConnectionState::Active) => [linked].into_iter().chain(told).collect(),
            _ => told.chain([linked]).collect(),
        };
        let observed = Timestamp(listed.observed.millis());
        for fact in all {
            let at = At(observed, 0);
            let is_broken = matches!(
                &fact,
                Fact::Connection { was: ConnectionFact::State(state), .. } if *state != ConnectionState::Active
            );
            let told = Observation { at, fact };
            match is_broken {
                true => self.said_now(&told, observed),
                false => self.say(&told, observed),
            }
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

/// Answers are timed back a second or two, since clocks differ; but nothing was so before it was made.
fn not_before_it_was_made(told: &Observation, observed: Timestamp) -> Timestamp {
    match &told.fact {
        Fact::Agreement {
            made: Some(made), ..
        } => observed.max(*made),
        _ => observed,
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

//! Histories: what happens to a fleet or two at Catena and at an operator's desk, and how news of it arrives.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use fleet::{
    Agreement, AgreementStatus, At, Claim, Confirmation, ConnectionFact, ConnectionState, Days,
    Decision, Fact, IntegrationRequest, InvitationFact, Level, Observation, Override, OverrideKind,
    Policy, RegulatoryId, RegulatoryMismatch, Schedule, Timestamp,
};

pub(crate) const DAY: i64 = 24 * 60 * 60 * 1000;

/// What happened, in no order that matters.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// Rules that the partner had, one after the other.
    pub(crate) policies: Vec<Policy>,
    pub(crate) steps: Vec<Step>,
}

/// One thing that becomes known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Catena says something of one fleet: the first or the second.
    Fleet(usize, Observation),
    /// Catena says something of a connection, whichever fleets it serves.
    Connection(Observation),
    /// An operator decides about the first fleet.
    Decided(At, OverrideKind, Option<Override>),
}

impl History {
    /// A history of up to two fleets and three connections, the first of which may serve both.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let policies = (0..rng.usize(1..=3)).map(|_| policy(rng)).collect();
        let mut world = World::new(rng);
        world.live();
        world.answer();
        let mut steps = world.steps;
        if rng.bool() {
            steps.retain(|_| rng.u8(..) >= 32);
        }
        Self { policies, steps }
    }

    /// The same at the limits of what can be said: no sensible time, policy or text.
    pub(crate) fn wild(rng: &mut Rng) -> Self {
        let mut history = Self::of(rng);
        for policy in &mut history.policies {
            let mut days = || Days::new([0, 1, u16::MAX - 1, u16::MAX][rng.usize(..4)]);
            policy.provisional_days = days();
            policy.provisional_days_in_all = days();
            policy.reconnect_days = days();
            policy.broken_days = days();
        }
        for step in &mut history.steps {
            match step {
                Step::Fleet(_, said) | Step::Connection(said) => wild(rng, said),
                Step::Decided(at, _, _) => *at = wild_at(rng),
            }
        }
        history
    }

    /// All that concerns a fleet: its own news, and that of each connection that its data was ever said to flow through.
    pub(crate) fn observations(&self, fleet: usize) -> Vec<Observation> {
        let linked: BTreeSet<_> = self.steps.iter().filter_map(|it| it.link(fleet)).collect();
        let concerns = |step: &&Step| match step {
            Step::Fleet(of, _) => *of == fleet,
            Step::Connection(said) => linked.contains(connection_of(said)),
            Step::Decided(..) => false,
        };
        let concerning = self.steps.iter().filter(concerns);
        concerning.filter_map(Step::said).cloned().collect()
    }

    /// Moments at which something might change, at random: those that were spoken of, those that policy makes of them, and
    /// the milliseconds around.
    pub(crate) fn moments(&self, rng: &mut Rng, count: usize) -> Vec<Timestamp> {
        let mut spoken: Vec<i64> = self.steps.iter().flat_map(Step::moments).collect();
        spoken.push(START);
        let mut days = vec![0, 0];
        for policy in &self.policies {
            let lasts = [
                policy.provisional_days,
                policy.reconnect_days,
                policy.broken_days,
            ];
            days.extend(lasts.map(|days| days.millis() / DAY));
        }
        let mut moment = || {
            let from = spoken[rng.usize(..spoken.len())];
            let moment = from.saturating_add(days[rng.usize(..days.len())] * DAY);
            Timestamp(moment.saturating_add(rng.i64(-1..=1)))
        };
        (0..count).map(|_| moment()).collect()
    }
}

impl Step {
    pub(crate) fn at(&self) -> At {
        match self {
            Self::Fleet(_, said) | Self::Connection(said) => said.at,
            Self::Decided(at, _, _) => *at,
        }
    }

    /// The connection that the fleet's data is said to flow through.
    pub(crate) fn link(&self, fleet: usize) -> Option<&str> {
        match self {
            Self::Fleet(of, said) if *of == fleet => match &said.fact {
                Fact::Linked { connection } => Some(connection),
                _ => None,
            },
            _ => None,
        }
    }

    fn said(&self) -> Option<&Observation> {
        match self {
            Self::Fleet(_, said) | Self::Connection(said) => Some(said),
            Self::Decided(..) => None,
        }
    }

    fn moments(&self) -> Vec<i64> {
        let mut moments = vec![Some(self.at().time())];
        match self {
            Self::Decided(_, _, decided) => {
                moments.push(decided.as_ref().and_then(Override::ends));
            }
            Self::Fleet(_, said) | Self::Connection(said) => match &said.fact {
                Fact::Agreement {
                    made, agreement, ..
                } => moments.extend([*made, agreement.effective, agreement.ends]),
                Fact::Request { request, .. } => moments.push(Some(request.created)),
                Fact::Invitation {
                    was: InvitationFact::Ends(ends),
                    ..
                } => moments.push(Some(*ends)),
                _ => {}
            },
        }
        moments.into_iter().flatten().map(|it| it.0).collect()
    }
}

/// The connection that something is said of.
pub(crate) fn connection_of(said: &Observation) -> &str {
    match &said.fact {
        Fact::Connection { connection, .. } => connection,
        other => panic!("not about a connection: {other:?}"),
    }
}

/// How news arrives: each piece up to three times, in the order of envelopes that were written late or anew, or in any order.
pub(crate) fn arrivals<T: Clone>(rng: &mut Rng, news: &[T], at: impl Fn(&T) -> At) -> Vec<T> {
    let any_order = rng.bool();
    let mut delivered = Vec::with_capacity(2 * news.len());
    for piece in news {
        let times = [1, 1, 1, 2, 3][rng.usize(..5)];
        for _ in 0..times {
            let delay = [0, 1, 60_000, DAY, 15 * DAY][rng.usize(..5)];
            let envelope = at(piece).time().plus(rng.i64(0..=delay));
            delivered.push((envelope, piece.clone()));
        }
    }
    rng.shuffle(&mut delivered);
    if !any_order {
        delivered.sort_by_key(|(envelope, _)| *envelope);
    }
    delivered.into_iter().map(|(_, piece)| piece).collect()
}

/// What Catena and the operator do.
struct World<'a> {
    rng: &'a mut Rng,
    at: At,
    fleets: Vec<Fleet>,
    connections: usize,
    ids: usize,
    steps: Vec<Step>,
}

/// What Catena knows of a fleet.
#[derive(Default)]
struct Fleet {
    invitations: Vec<String>,
    /// With the moments at which they were made, if their ids tell.
    agreements: BTreeMap<String, (Option<Timestamp>, Agreement)>,
    requests: BTreeMap<String, IntegrationRequest>,
}

impl<'a> World<'a> {
    fn new(rng: &'a mut Rng) -> Self {
        let fleets = if rng.u8(..3) == 0 { 2 } else { 1 };
        Self {
            at: At(Timestamp(START), 0),
            fleets: (0..fleets).map(|_| Fleet::default()).collect(),
            connections: rng.usize(1..=3),
            ids: 0,
            steps: Vec::with_capacity(40),
            rng,
        }
    }

    fn live(&mut self) {
        for fleet in 0..self.fleets.len() {
            if self.rng.u8(..4) > 0 {
                self.onboard(fleet);
            }
        }
        for _ in 0..self.rng.usize(1..=16) {
            let fleet = self.rng.usize(..self.fleets.len());
            match self.rng.u8(..24) {
                0 => self.invite(fleet),
                1..=5 => self.move_invitation(fleet),
                6 => self.agree(fleet),
                7..=10 => self.move_agreement(fleet),
                11..=12 => self.link(fleet),
                13..=16 => self.move_connection(),
                17..=18 => self.request(fleet),
                19 => self.describe(fleet),
                20 => self.end(fleet),
                _ => self.decide(),
            }
        }
    }

    /// Answers of the API: what was so already, as of a later moment; now and then something else as of the same moment.
    fn answer(&mut self) {
        for _ in 0..self.rng.usize(..=3) {
            let Some(step) = self.any_step() else { return };
            let mut said = step.clone();
            let (Step::Fleet(_, answer) | Step::Connection(answer)) = &mut said else {
                continue;
            };
            let since = answer.at.time().0;
            let until = self.at.time().0.max(since);
            answer.at = At(Timestamp(self.rng.i64(since..=until)), 0);
            self.steps.push(said);
        }
    }

    fn onboard(&mut self, fleet: usize) {
        let likely = |world: &mut Self| world.rng.u8(..5) > 0;
        self.invite(fleet);
        if likely(self) {
            self.tell_invitation(fleet, InvitationFact::Viewed);
        }
        if likely(self) {
            self.tell_invitation(fleet, InvitationFact::Decision(Decision::Accepted));
        }
        match self.rng.u8(..6) {
            0 => {}
            1 => self.request(fleet),
            2 => {
                let claim = self.claim(fleet);
                self.tell_invitation(fleet, InvitationFact::Claim(claim));
            }
            _ => {
                if likely(self) {
                    self.agree(fleet);
                }
                for _ in 0..self.rng.usize(1..=2) {
                    self.link(fleet);
                }
            }
        }
    }

    /// Ends what the fleet has, and mostly begins anew.
    fn end(&mut self, fleet: usize) {
        for (id, (made, mut agreement)) in self.fleets[fleet].agreements.clone() {
            if self.rng.bool() {
                continue;
            }
            agreement.status = AgreementStatus::Cancelled;
            self.tell_agreement(fleet, id, made, agreement);
        }
        for _ in 0..self.rng.usize(..=3) {
            let connection = self.connection(fleet);
            let was = ConnectionFact::State(ConnectionState::Deleted);
            self.tell_connection(connection, was);
        }
        match self.rng.u8(..4) {
            0 => {}
            1..=2 => self.invite(fleet),
            _ => self.onboard(fleet),
        }
    }

    fn invite(&mut self, fleet: usize) {
        let id = self.id("invitation");
        self.fleets[fleet].invitations.push(id);
        if self.rng.bool() {
            self.tell_invitation(fleet, InvitationFact::Created);
        }
        if self.rng.u8(..4) == 0 {
            let invited_as = number(self.rng);
            self.tell_invitation(fleet, InvitationFact::InvitedAs(invited_as));
        }
        self.tell_invitation(fleet, InvitationFact::Decision(Decision::Open));
        let ends = self.at.time().plus(self.rng.i64(1..=30) * DAY);
        self.tell_invitation(fleet, InvitationFact::Ends(ends));
    }

    fn move_invitation(&mut self, fleet: usize) {
        let was = match self.rng.u8(..15) {
            0..=1 => InvitationFact::Viewed,
            2 => InvitationFact::Sent,
            3..=4 => InvitationFact::Ends(self.around(20)),
            5..=6 => InvitationFact::Claim(self.claim(fleet)),
            7 => InvitationFact::Decision(Decision::Open),
            8..=9 => InvitationFact::Decision(Decision::Accepted),
            10 => InvitationFact::Decision(Decision::Expired),
            11 => InvitationFact::Decision(Decision::Declined(None)),
            12 => InvitationFact::Decision(Decision::Declined(Some("too dear".to_owned()))),
            13 => InvitationFact::InvitedAs(number(self.rng)),
            _ => InvitationFact::Decision(Decision::Deleted),
        };
        self.tell_invitation(fleet, was);
    }

    fn claim(&mut self, fleet: usize) -> Claim {
        match self.rng.u8(..6) {
            0 => Claim::Connected,
            1..=3 => {
                let requests = self.fleets[fleet].requests.keys();
                Claim::Requested(self.rng.choice(requests).cloned())
            }
            4 => Claim::Failed,
            _ => Claim::Unclear,
        }
    }

    /// Mostly of the newest invitation.
    fn tell_invitation(&mut self, fleet: usize, was: InvitationFact) {
        let known = &self.fleets[fleet].invitations;
        let newest = self.rng.u8(..4) > 0;
        let chosen = match known.last() {
            Some(last) if newest => Some(last),
            _ => self.rng.choice(known),
        };
        if let Some(invitation) = chosen.cloned() {
            self.tell(fleet, Fact::Invitation { invitation, was });
        }
    }

    fn agree(&mut self, fleet: usize) {
        let id = self.id("agreement");
        let agreement = Agreement {
            status: AgreementStatus::Active,
            scopes: self.scopes(),
            effective: (self.rng.u8(..4) == 0).then(|| self.around(10)),
            ends: (self.rng.u8(..8) == 0).then(|| self.around(60)),
        };
        let made = self.rng.bool().then(|| self.around(2));
        self.tell_agreement(fleet, id, made, agreement);
    }

    fn move_agreement(&mut self, fleet: usize) {
        let known = self.rng.choice(&self.fleets[fleet].agreements);
        let Some((id, known)) = known else { return };
        let (id, (made, mut agreement)) = (id.clone(), known.clone());
        match self.rng.u8(..16) {
            0..=3 => agreement.status = AgreementStatus::Active,
            4..=5 => agreement.status = AgreementStatus::Paused,
            6 => agreement.status = AgreementStatus::Expired,
            7 => agreement.status = AgreementStatus::Cancelled,
            8 => agreement.status = AgreementStatus::Deleted,
            9 => agreement.status = AgreementStatus::Unknown("suspended".to_owned()),
            10..=12 => agreement.scopes = self.scopes(),
            13 => agreement.effective = self.rng.bool().then(|| self.around(10)),
            _ => agreement.ends = self.rng.bool().then(|| self.around(20)),
        }
        self.tell_agreement(fleet, id, made, agreement);
    }

    fn tell_agreement(
        &mut self,
        fleet: usize,
        id: String,
        made: Option<Timestamp>,
        agreement: Agreement,
    ) {
        let known = &mut self.fleets[fleet].agreements;
        known.insert(id.clone(), (made, agreement.clone()));
        let fact = Fact::Agreement {
            id,
            made,
            agreement,
        };
        self.tell(fleet, fact);
    }

    fn scopes(&mut self) -> Option<BTreeMap<String, Level>> {
        let level = |rng: &mut Rng| match rng.u8(..8) {
            0 => Level::Unknown("write".to_owned()),
            1..=3 => Level::ReadWrite,
            _ => Level::Read,
        };
        let some = self.rng.u8(..8) > 0;
        some.then(|| {
            let resources = ["vehicle", "driver", "hos_event"];
            let chosen = resources.into_iter().filter(|_| self.rng.bool());
            let chosen: Vec<_> = chosen.map(str::to_owned).collect();
            let levels = chosen.into_iter().map(|it| (it, level(self.rng)));
            levels.collect()
        })
    }

    fn link(&mut self, fleet: usize) {
        let connection = self.connection(fleet);
        if self.rng.bool() {
            let was = ConnectionFact::State(ConnectionState::Active);
            self.tell_connection(connection.clone(), was);
        }
        self.tell(fleet, Fact::Linked { connection });
    }

    fn move_connection(&mut self) {
        let was = match self.rng.u8(..16) {
            0..=2 => ConnectionFact::State(ConnectionState::Active),
            3 => ConnectionFact::State(ConnectionState::Paused),
            4..=5 => ConnectionFact::State(ConnectionState::Stale),
            6 => ConnectionFact::State(ConnectionState::Failed),
            7..=8 => ConnectionFact::State(ConnectionState::Cancelled),
            9 => ConnectionFact::State(ConnectionState::Deleted),
            10 => ConnectionFact::State(ConnectionState::Unknown("limbo".to_owned())),
            11 => ConnectionFact::Source(["samsara", "motive"][self.rng.usize(..2)].to_owned()),
            _ => ConnectionFact::Schedule {
                id: ["schedule-1", "schedule-2"][self.rng.usize(..2)].to_owned(),
                schedule: Schedule {
                    stopped: self.rng.bool(),
                    resource: self.rng.bool().then(|| "vehicle".to_owned()),
                },
            },
        };
        let fleet = self.rng.usize(..self.fleets.len());
        let connection = self.connection(fleet);
        self.tell_connection(connection, was);
    }

    /// One of a fleet's connections; the first serves every fleet.
    fn connection(&mut self, fleet: usize) -> String {
        match self.rng.usize(..self.connections) {
            0 => "connection-1".to_owned(),
            nth => format!("connection-{}-{fleet}", nth + 1),
        }
    }

    fn tell_connection(&mut self, connection: String, was: ConnectionFact) {
        let at = self.next();
        let fact = Fact::Connection { connection, was };
        self.steps.push(Step::Connection(Observation { at, fact }));
    }

    /// A new request, or what became of one.
    fn request(&mut self, fleet: usize) {
        let known = self.rng.choice(&self.fleets[fleet].requests);
        let known = known.map(|(id, request)| (id.clone(), request.clone()));
        let (id, mut request) = match known {
            Some(known) if self.rng.u8(..3) > 0 => known,
            _ => {
                let invitations = &self.fleets[fleet].invitations;
                let invitation = match self.rng.u8(..6) {
                    0..=1 => None,
                    2 => Some("invitation of another".to_owned()),
                    _ => self.rng.choice(invitations).cloned(),
                };
                let created = self.around(2);
                let request = IntegrationRequest {
                    created,
                    provider: "Rare Telematics".to_owned(),
                    provider_id: "unsupported-7".to_owned(),
                    invitation,
                    live_as: BTreeSet::new(),
                };
                let id = self.id("request");
                self.tell_request(fleet, id.clone(), request.clone());
                (id, request)
            }
        };
        match self.rng.u8(..4) {
            0..=1 => {
                request.live_as.insert("rare".to_owned());
            }
            2 => request.live_as.clear(),
            _ => request.created = self.around(2),
        }
        if self.rng.bool() {
            self.tell_request(fleet, id, request);
        }
    }

    fn tell_request(&mut self, fleet: usize, id: String, request: IntegrationRequest) {
        let known = &mut self.fleets[fleet].requests;
        known.insert(id.clone(), request.clone());
        self.tell(fleet, Fact::Request { id, request });
    }

    fn describe(&mut self, fleet: usize) {
        let fact = match self.rng.u8(..8) {
            0 => Fact::Name(["Ünal Trucking", "Unal \"Trucking\"\n"][self.rng.usize(..2)].into()),
            1 => Fact::CatenaFleet(["fleet-1", "fleet-2"][self.rng.usize(..2)].to_owned()),
            2..=3 => Fact::Regulatory(number(self.rng)),
            _ => Fact::RequestsRefused(self.rng.bool()),
        };
        self.tell(fleet, fact);
    }

    fn decide(&mut self) {
        let at = self.next();
        let kind = match self.rng.bool() {
            true => OverrideKind::Block,
            false => OverrideKind::Grant,
        };
        let mut ends = Some(self.around(10));
        if kind == OverrideKind::Block && self.rng.bool() {
            ends = None;
        }
        let author = ["ann", "bob"][self.rng.usize(..2)];
        let lifted = self.rng.u8(..4) == 0;
        let decided = Override::new(kind, author, "because", ends).expect("well-formed");
        let decided = (!lifted).then_some(decided);
        self.steps.push(Step::Decided(at, kind, decided));
    }

    fn tell(&mut self, fleet: usize, fact: Fact) {
        let at = self.next();
        self.steps
            .push(Step::Fleet(fleet, Observation { at, fact }));
    }

    /// The next moment: often the same one, or the next index of it.
    fn next(&mut self) -> At {
        let At(time, index) = self.at;
        let later = |millis: i64| At(time.plus(millis), 0);
        self.at = match self.rng.u8(..16) {
            0..=1 => self.at,
            2..=3 => At(time, index + 1),
            4 => later(1),
            5..=8 => later(self.rng.i64(2..60 * 60 * 1000)),
            9..=13 => later(self.rng.i64(DAY / 24..3 * DAY)),
            _ => later(self.rng.i64(DAY..=20 * DAY)),
        };
        // Some things are told as of long ago.
        match self.rng.u8(..16) {
            0 => At(self.around(10), 0),
            _ => self.at,
        }
    }

    fn around(&mut self, days: i64) -> Timestamp {
        let whole = self.rng.bool();
        let millis = self.rng.i64(-days * DAY..=days * DAY);
        let millis = if whole { millis / DAY * DAY } else { millis };
        self.at.time().plus(millis)
    }

    fn id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}-{}", self.ids)
    }

    fn any_step(&mut self) -> Option<&Step> {
        self.rng.choice(&self.steps)
    }
}

fn policy(rng: &mut Rng) -> Policy {
    Policy {
        confirmation: match rng.u8(..5) {
            0..=1 => Confirmation::Confirmed,
            2..=3 => Confirmation::Link,
            _ => Confirmation::Off,
        },
        provisional_days: Days::new(rng.u16(..=20)),
        provisional_days_in_all: Days::new(rng.u16(..=40)),
        reconnect_days: Days::new(rng.u16(..=30)),
        broken_days: Days::new(rng.u16(..=5)),
        regulatory_mismatch: match rng.bool() {
            true => RegulatoryMismatch::Hold,
            false => RegulatoryMismatch::Admit,
        },
        wait_percent: 100,
        ..Policy::default()
    }
}

/// One of a few, some of which may be one.
fn number(rng: &mut Rng) -> RegulatoryId {
    let kind = [None, Some("DOT"), Some("MC")][rng.usize(..3)];
    RegulatoryId {
        kind: kind.map(str::to_owned),
        id: ["12", "0012", "13"][rng.usize(..3)].to_owned(),
    }
}

fn wild(rng: &mut Rng, said: &mut Observation) {
    said.at = wild_at(rng);
    match &mut said.fact {
        Fact::Name(name) => *name = wild_text(rng),
        Fact::Invitation { was, .. } => match was {
            InvitationFact::Ends(ends) => *ends = wild_at(rng).time(),
            InvitationFact::InvitedAs(number) => number.id = wild_text(rng),
            InvitationFact::Decision(Decision::Declined(why)) => *why = Some(wild_text(rng)),
            _ => {}
        },
        Fact::Agreement {
            made, agreement, ..
        } => {
            *made = rng.bool().then(|| wild_at(rng).time());
            agreement.effective = rng.bool().then(|| wild_at(rng).time());
            agreement.ends = rng.bool().then(|| wild_at(rng).time());
        }
        Fact::Request { request, .. } => {
            request.created = wild_at(rng).time();
            request.provider = wild_text(rng);
        }
        Fact::Connection { was, .. } => match was {
            ConnectionFact::Source(source) => *source = wild_text(rng),
            ConnectionFact::State(ConnectionState::Unknown(state)) => *state = wild_text(rng),
            _ => {}
        },
        Fact::Regulatory(number) => number.id = wild_text(rng),
        Fact::CatenaFleet(_) | Fact::Linked { .. } | Fact::RequestsRefused(_) => {}
    }
}

fn wild_at(rng: &mut Rng) -> At {
    let near = START + rng.i64(-3..=3);
    let times = [i64::MIN, i64::MIN + 1, -1, 0, near, i64::MAX - 1, i64::MAX];
    let time = times[rng.usize(..times.len())];
    At(Timestamp(time), [0, 1, u32::MAX][rng.usize(..3)])
}

fn wild_text(rng: &mut Rng) -> String {
    let texts = [
        "",
        "\"",
        "\\u0000\u{0}\u{7f}",
        "🚚\u{202e}",
        "null",
        "a.b/c",
    ];
    texts[rng.usize(..texts.len())].to_owned()
}

/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600_000;

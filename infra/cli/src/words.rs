//! What follows from a record, and what led to it, in the words of people who never read its code.

use fleet::{
    Admission, Agreement, Claim, Code, ConnectionFact, ConnectionState, Decision, Decisions, Due,
    Fact, Facts, IntegrationRequest, InvitationFact, Level, Override, Reason, Register, Stage,
    Timestamp, Why,
};

use api::short_hash;

use crate::{
    readable::{CLAIM, plain, quoted, short_id},
    when::{clock, clock_and_distance},
};

/// The words for what concerns one fleet, at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// What was known at that moment.
    pub(crate) facts: &'a Facts,
    /// What is known today, which gives names to ids.
    pub(crate) names: &'a Facts,
    pub(crate) now: Timestamp,
}

/// What a stage means.
pub(crate) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Invited => "it was invited, and nothing more is known",
        Stage::Viewed => "it looked at its invitation and hasn't decided",
        Stage::Accepted => "it accepted, and no data flows yet",
        Stage::Requested => "it accepted, and asked for a provider that Catena doesn't support yet",
        Stage::ReconnectReady => "the provider that it asked for is supported now: invite it again",
        Stage::Connected => "its data flows",
        Stage::Degraded => {
            "its data should flow, but no connection works or the share agreement isn't in force"
        }
        Stage::Disconnected => "what it agreed to or connected is over",
        Stage::Declined => "it declined its invitation",
        Stage::Expired => "its invitation ended undecided, or was taken back",
    }
}

/// An admission as part of a sentence about a fleet.
pub(crate) fn admitted(admission: Admission) -> &'static str {
    match admission {
        Admission::None => "not admitted",
        Admission::Provisional { .. } => "provisionally admitted",
        Admission::Full => "admitted",
        Admission::Grace { .. } => "admitted for a while",
        Admission::Blocked => "blocked",
    }
}

/// What is due, in two or three words.
pub(crate) fn brief(why: Why) -> &'static str {
    match why {
        Why::InvitationEnds => "invitation ends",
        Why::AgreementStarts => "agreement begins",
        Why::AgreementEnds => "agreement ends",
        Why::AdmissionEnds => "admission ends",
        Why::OverrideEnds => "override ends",
        Why::AgreementUnknown => "agreement unknown",
        Why::AgreementHalted => "agreement halted",
        Why::ConnectionMissing => "no connection",
        Why::ConnectionBroken => "connection broken",
        Why::ScheduleStopped => "schedule stopped",
        Why::RequestUnconfirmed => "request unconfirmed",
        Why::RequestPending => "provider requested",
        Why::ProviderLive => "provider supported",
        Why::Hint => "something changed",
        Why::ReadBack => "to be compared",
    }
}

impl Words<'_> {
    /// What an admission means, and until when.
    pub(crate) fn admission(self, admission: Admission) -> String {
        match admission {
            Admission::None => "none: it may not use the platform".to_owned(),
            Admission::Full => "full: it may use the platform".to_owned(),
            Admission::Blocked => {
                "blocked: an operator decided that it may not use the platform".to_owned()
            }
            Admission::Provisional { until } => format!(
                "provisional: it may use the platform until {}, because it asked for a provider \
                 that Catena doesn't support yet",
                self.at(until)
            ),
            Admission::Grace { until } => {
                format!(
                    "grace: it may use the platform until {}, {}",
                    self.at(until),
                    self.grace()
                )
            }
        }
    }

    /// What may be read and written, by resource.
    pub(crate) fn scopes<'s>(
        self,
        scopes: impl Iterator<Item = (&'s String, &'s Level)>,
    ) -> String {
        let scope = |(resource, level): (&String, &Level)| {
            let may = match level {
                Level::ReadWrite => "read and write",
                Level::Read => "read",
                Level::Unknown(other) => &format!("{}, which allows nothing", quoted(other)),
            };
            format!("{} ({may})", plain(resource))
        };
        let scopes: Vec<String> = scopes.map(scope).collect();
        match &scopes[..] {
            [] => "none".to_owned(),
            scopes => scopes.join(", "),
        }
    }

    /// A reason as a sentence.
    pub(crate) fn reason(self, reason: &Reason) -> String {
        let about = reason.about.as_deref().unwrap_or_default();
        let detail = reason.detail.as_deref();
        let agreement = || format!("The share agreement {}", short_id(about));
        let provider = || quoted(detail.unwrap_or("a provider"));
        let since = self.since(reason);
        let until = self.until(reason);
        let lasts = reason
            .until
            .map(|at| format!(", and lasts until {}", self.at(at)));
        let lasts = lasts.unwrap_or_default();
        match reason.code {
            Code::BlockedByOperator => format!(
                "{} blocked the fleet{until}: {}. That wins over everything else.",
                plain(about),
                quoted(detail.unwrap_or_default()),
            ),
            Code::GrantedByOperator => format!(
                "{} let the fleet in{until}: {}.",
                plain(about),
                quoted(detail.unwrap_or_default()),
            ),
            Code::AgreementInForce => format!("{} has been in force{since}{lasts}.", agreement()),
            Code::AgreementNotYetEffective => {
                let from = reason.until.map(|from| format!(" at {}", self.at(from)));
                let from = from.unwrap_or_default();
                format!(
                    "{} takes effect{from}; nothing may be read before.",
                    agreement()
                )
            }
            Code::AgreementPaused => format!(
                "{} has been paused{since}{lasts}. While it is paused, none of the fleet's data may be read.",
                agreement()
            ),
            Code::AgreementEnded => {
                let ended = match detail {
                    Some("expired") => "ran out",
                    Some("cancelled") => "was cancelled",
                    Some("deleted") => "was deleted",
                    _ => "ended",
                };
                let at = self.moment(reason);
                format!("{} {ended}{at}; nothing may be read any more.", agreement())
            }
            Code::AgreementNotUnderstood => format!(
                "{} has had the status {}{since}, which this version doesn't know; so nothing may be \
                 read under it.",
                agreement(),
                quoted(detail.unwrap_or_default()),
            ),
            Code::AgreementUnknown => format!(
                "The fleet has been connected{since}, but no share agreement was heard of; so nothing \
                 may be read, and being connected gives no admission."
            ),
            Code::RegulatoryIdDiffers => format!(
                "Catena has had another regulatory id of the fleet than it was invited under{since}: {}.",
                plain(detail.unwrap_or_default()),
            ),
            Code::ConnectionLive => {
                let connection = capitalised(&self.connection(about));
                format!("{connection} has been working{since}.")
            }
            Code::ConnectionBroken | Code::ConnectionOver => self.down(about, &since),
            Code::ScheduleStopped => self.stopped(about, detail, &self.moment(reason)),
            Code::ConnectionMissing => format!(
                "The fleet accepted its invitation{} and hasn't connected a provider.",
                self.moment(reason)
            ),
            Code::RequestUnconfirmed => format!(
                "The fleet's browser said{} that it asked for a provider which Catena doesn't \
                 support yet; Catena hasn't confirmed that.",
                self.moment(reason)
            ),
            Code::RequestPending => format!(
                "The fleet asked for {}{}; Catena doesn't support it yet (request {}).",
                provider(),
                self.moment(reason),
                short_id(about),
            ),
            Code::ProviderLive => format!(
                "Catena has supported {}{since}. The fleet asked for it (request {}) and hasn't \
                 connected it yet.",
                provider(),
                short_id(about),
            ),
            Code::ProvisionalGranted => format!(
                "Provisional access was granted{until}, because the fleet asked for a provider \
                 that Catena doesn't support yet."
            ),
            Code::ProvisionalEnded => {
                format!("Its provisional access ended at {}.", self.end(reason))
            }
            Code::GraceRunning => format!("It stays admitted{until}, {}.", self.grace()),
            Code::GraceEnded => {
                format!(
                    "The time to {} ended at {}.",
                    self.grace_for(),
                    self.end(reason)
                )
            }
            Code::InvitationOpen => {
                format!("Its invitation has been open{since}{lasts}: the fleet can accept it.")
            }
            Code::InvitationAccepted => {
                format!("The fleet accepted its invitation{}.", self.moment(reason))
            }
            Code::InvitationDeclined => {
                let why = match detail {
                    Some(why) => format!(": {}", quoted(why)),
                    None => ", without a reason".to_owned(),
                };
                format!(
                    "The fleet declined its invitation{}{why}.",
                    self.moment(reason)
                )
            }
            Code::InvitationExpired => {
                format!("Its invitation ended undecided{}.", self.moment(reason))
            }
            Code::InvitationDeleted => {
                format!("Its invitation was taken back{}.", self.moment(reason))
            }
            Code::InvitationUnknown => "No invitation was heard of.".to_owned(),
        }
    }

    /// What is to be done or will be, and why.
    pub(crate) fn due(self, due: Due) -> String {
        match due.why {
            Why::InvitationEnds => "the invitation ends".to_owned(),
            Why::AgreementStarts => "the share agreement takes effect".to_owned(),
            Why::AgreementEnds => "the share agreement ends".to_owned(),
            Why::AdmissionEnds => "the admission ends".to_owned(),
            Why::OverrideEnds => "the operator's decision ends".to_owned(),
            Why::AgreementUnknown => {
                "ask Catena for the share agreement, which wasn't heard of".to_owned()
            }
            Why::AgreementHalted => {
                "ask Catena whether the share agreement holds again, because that news may get lost"
                    .to_owned()
            }
            Why::ConnectionMissing => {
                "ask Catena whether the fleet connected a provider after it accepted".to_owned()
            }
            Why::ConnectionBroken => format!(
                "ask Catena whether {} works again, because nobody announces that",
                self.broken_at(due.at)
                    .map_or("the broken connection".to_owned(), |id| self.connection(id)),
            ),
            Why::ScheduleStopped => {
                "ask Catena whether what stopped is fetched again, because nobody announces that"
                    .to_owned()
            }
            Why::RequestUnconfirmed => {
                "ask Catena whether it lists the request that the fleet's browser spoke of"
                    .to_owned()
            }
            Why::RequestPending => {
                "ask Catena whether it supports the requested provider by now, because nobody \
                 announces that"
                    .to_owned()
            }
            Why::ProviderLive => {
                "invite the fleet again, so that it can connect the provider that it asked for"
                    .to_owned()
            }
            Why::Hint => {
                "ask Catena how the fleet stands: an event said no more than that something changed"
                    .to_owned()
            }
            Why::ReadBack => {
                "compare what was heard of its rights lately with what Catena holds".to_owned()
            }
        }
    }

    /// What a date that passed changed. `decisions` tell what the admission was for.
    pub(crate) fn passed(self, date: Due, decisions: &Decisions) -> String {
        let granted = || decisions.grants.values().any(|it| it.ends == date.at);
        match date.why {
            Why::InvitationEnds => "the invitation ended undecided".to_owned(),
            Why::AgreementStarts => "the share agreement took effect".to_owned(),
            Why::AgreementEnds => "the share agreement ended".to_owned(),
            Why::AdmissionEnds if granted() => "provisional access ended".to_owned(),
            Why::AdmissionEnds => "grace ended".to_owned(),
            Why::OverrideEnds => "the operator's decision ended".to_owned(),
            // No date, but what a newer version takes for one.
            other => format!("{} was due", other.as_str()),
        }
    }

    /// What was observed. Of an agreement that was told of `before`, what is new.
    pub(crate) fn fact(self, fact: &Fact, before: Option<&Agreement>) -> String {
        match fact {
            Fact::Name(name) => format!("the fleet is called {}", quoted(name)),
            Fact::CatenaFleet(id) => format!("Catena knows it as fleet {}", short_id(id)),
            Fact::Invitation { invitation, was } => self.invitation(invitation, was),
            Fact::Agreement { id, agreement, .. } => self.agreement(id, agreement, before),
            Fact::Connection { connection, was } => self.told_of_connection(connection, was),
            Fact::Linked { connection } => {
                format!(
                    "the fleet's data flows through {}",
                    self.connection(connection)
                )
            }
            Fact::Request { id, request } => self.request(id, request),
            Fact::RequestsRefused(true) => {
                "Catena refuses to list integration requests to us".to_owned()
            }
            Fact::RequestsRefused(false) => "Catena lists integration requests to us".to_owned(),
            Fact::Regulatory(number) => {
                format!(
                    "Catena has its regulatory id: {}",
                    plain(&number.to_string())
                )
            }
        }
    }

    /// What an operator decided; `did` is what that did to the fleet.
    pub(crate) fn decided(self, at: Timestamp, did: &str, decided: Option<&Override>) -> String {
        let at = self.at(at);
        let Some(decided) = decided else {
            return format!("{at}: an operator's decision that {did} was lifted.");
        };
        let until = match decided.ends() {
            Some(ends) if ends <= self.now => format!(" until {}, which is over", self.at(ends)),
            Some(ends) => format!(" until {}", self.at(ends)),
            None => String::new(),
        };
        let (author, reason) = (plain(decided.author()), quoted(decided.reason()));
        format!("{at}: {author} {did}{until}: {reason}.")
    }

    /// What provisional access was granted for: a request, or the claim of an invitation.
    pub(crate) fn granted_for(self, id: &str) -> String {
        if let Some(hash) = id.strip_prefix(CLAIM) {
            let hash = short_hash(hash);
            return format!("the request that its browser spoke of (invitation {hash})");
        }
        match self.names.requests.get(id) {
            Some(known) => {
                let provider = quoted(&known.current.value().provider);
                format!("its request for {provider} ({})", short_id(id))
            }
            None => format!("its request {}", short_id(id)),
        }
    }

    /// A time and how far it is.
    pub(crate) fn at(self, at: Timestamp) -> String {
        clock_and_distance(at, self.now)
    }

    fn invitation(self, hash: &str, was: &InvitationFact) -> String {
        let hash = short_hash(hash);
        match was {
            InvitationFact::Decision(Decision::Open) => {
                format!("invitation {hash} awaits the fleet's decision")
            }
            InvitationFact::Decision(Decision::Accepted) => {
                format!("the fleet accepted invitation {hash}")
            }
            InvitationFact::Decision(Decision::Expired) => {
                format!("invitation {hash} ended undecided")
            }
            InvitationFact::Decision(Decision::Declined(Some(why))) => {
                format!("the fleet declined invitation {hash}: {}", quoted(why))
            }
            InvitationFact::Decision(Decision::Declined(None)) => {
                format!("the fleet declined invitation {hash}, without a reason")
            }
            InvitationFact::Decision(Decision::Deleted) => {
                format!("invitation {hash} was taken back")
            }
            InvitationFact::Created => format!("invitation {hash} was made"),
            InvitationFact::Viewed => format!("the fleet looked at invitation {hash}"),
            InvitationFact::Sent => format!("invitation {hash} was sent by e-mail"),
            InvitationFact::Ends(ends) => {
                format!("the link of invitation {hash} works until {}", clock(*ends))
            }
            InvitationFact::InvitedAs(number) => {
                let number = plain(&number.to_string());
                format!("invitation {hash} is for the regulatory id {number}")
            }
            InvitationFact::Claim(claim) => {
                let claim = match claim {
                    Claim::Connected => "its provider is connected",
                    Claim::Requested(_) => "it asked for a provider that isn't supported yet",
                    Claim::Failed => "it didn't work",
                    Claim::Unclear => "nothing that can be understood",
                };
                format!("the fleet's browser came back from invitation {hash} and said: {claim}")
            }
        }
    }

    fn agreement(self, id: &str, agreement: &Agreement, before: Option<&Agreement>) -> String {
        let status = match agreement.status.as_str() {
            "" => "without a status".to_owned(),
            status => plain(status),
        };
        let mut text = format!("share agreement {} is {status}", short_id(id));
        let bounds = [
            (
                "from",
                "from the beginning",
                agreement.effective,
                before.map(|it| it.effective),
            ),
            (
                "until",
                "without an end",
                agreement.ends,
                before.map(|it| it.ends),
            ),
        ];
        for (bound, none, at, before) in bounds {
            if before.unwrap_or_default() != at {
                let at = at.map_or(none.to_owned(), |at| format!("{bound} {}", clock(at)));
                text += &format!(", {at}");
            }
        }
        if before.is_none_or(|before| before.scopes != agreement.scopes) {
            let scopes = match &agreement.scopes {
                Some(scopes) => self.scopes(scopes.iter()),
                None => "not told".to_owned(),
            };
            text += &format!("; scopes: {scopes}");
        }
        text
    }

    fn told_of_connection(self, id: &str, was: &ConnectionFact) -> String {
        match was {
            ConnectionFact::State(state) => {
                format!("{} is {}", self.connection(id), plain(state.as_str()))
            }
            ConnectionFact::Source(source) => {
                format!(
                    "the provider of connection {} is {}",
                    short_id(id),
                    plain(source)
                )
            }
            ConnectionFact::Schedule { schedule, .. } => {
                let resource = schedule
                    .resource
                    .as_deref()
                    .map_or("something".to_owned(), plain);
                let verb = if schedule.stopped {
                    "stopped"
                } else {
                    "started"
                };
                format!("fetching {resource} through {} {verb}", self.connection(id))
            }
        }
    }

    fn request(self, id: &str, request: &IntegrationRequest) -> String {
        let supported = if request.live_as.is_empty() {
            "not supported yet"
        } else {
            "supported now"
        };
        format!(
            "Catena lists the fleet's request {} of {} for {}, {supported}",
            short_id(id),
            clock(request.created),
            quoted(&request.provider),
        )
    }

    /// A connection by its provider and the end of its id.
    fn connection(self, id: &str) -> String {
        let link = self.names.connections.get(id);
        let source = link.and_then(|link| link.connection.source.as_ref());
        match source.map(Register::value) {
            Some(source) => format!("the {} connection {}", plain(source), short_id(id)),
            None => format!("connection {}", short_id(id)),
        }
    }

    /// A connection that is broken or over.
    fn down(self, id: &str, since: &str) -> String {
        let link = self.facts.connections.get(id);
        let state = link.and_then(|link| link.state()).map(Register::value);
        let connection = capitalised(&self.connection(id));
        match state {
            Some(ConnectionState::Paused) => {
                format!(
                    "{connection} has been paused{since}: no data is fetched until it is resumed."
                )
            }
            Some(ConnectionState::Stale) => format!(
                "{connection} has been stale{since}: the provider refuses the credentials, so the fleet \
                 has to connect it again."
            ),
            Some(ConnectionState::Failed) => {
                format!("{connection} has failed{since}: no data comes through it.")
            }
            Some(state @ (ConnectionState::Cancelled | ConnectionState::Deleted)) => {
                format!(
                    "{connection} is {}{since}: it won't come back.",
                    state.as_str()
                )
            }
            Some(ConnectionState::Unknown(other)) => format!(
                "{connection} has the state {}{since}, which this version doesn't know.",
                quoted(other)
            ),
            Some(ConnectionState::Active) | None => format!("{connection} hasn't worked{since}."),
        }
    }

    fn stopped(self, schedule: &str, resource: Option<&str>, at: &str) -> String {
        let resource = resource.map_or("something".to_owned(), plain);
        let mut connections = self.names.connections.iter();
        let through = connections
            .find(|(_, link)| link.connection.schedules.contains_key(schedule))
            .map(|(id, _)| format!(" through {}", self.connection(id)));
        let through = through.unwrap_or_default();
        format!("Fetching {resource}{through} stopped{at}.")
    }

    /// The connection that is broken since a moment.
    fn broken_at(&self, at: Timestamp) -> Option<&str> {
        let mut connections = self.facts.connections.iter();
        let since = |link: &fleet::LinkFacts| link.state().map(|state| state.at().time());
        let found = connections.find(|(_, link)| !link.is_live() && since(link) == Some(at));
        found.map(|(id, _)| id.as_str())
    }

    fn grace(self) -> String {
        format!("so that it can {}", self.grace_for())
    }

    /// What a grace is for: to mend what broke, unless nothing was ever connected.
    fn grace_for(self) -> &'static str {
        let linked = self
            .facts
            .connections
            .values()
            .any(|link| link.linked.is_some());
        if linked {
            "mend its connection"
        } else {
            "connect the provider that is supported now"
        }
    }

    fn since(self, reason: &Reason) -> String {
        let since = reason.since.map(|at| format!(" since {}", self.at(at)));
        since.unwrap_or_default()
    }

    fn until(self, reason: &Reason) -> String {
        let until = reason.until.map(|at| format!(" until {}", self.at(at)));
        until.unwrap_or_default()
    }

    fn moment(self, reason: &Reason) -> String {
        let at = reason.since.map(|at| format!(" at {}", self.at(at)));
        at.unwrap_or_default()
    }

    fn end(self, reason: &Reason) -> String {
        reason.until.map(|at| self.at(at)).unwrap_or_default()
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

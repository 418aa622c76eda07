//! What to ask.

use std::collections::BTreeSet;

use fleet::{Record, Why};

/// What to ask Catena about one fleet: one call each, but for schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Its invitations.
    pub invitations: bool,
    /// Its share agreements.
    pub agreements: bool,
    /// Itself: its name and its regulatory id.
    pub fleet: bool,
    /// Its connections.
    pub connections: bool,
    /// Its integration requests (hidden endpoint, contract 3.6).
    pub requests: bool,
    /// The schedules of these connections: one call for each.
    pub schedules: BTreeSet<String>,
}

impl Questions {
    /// What to ask because a fleet is due for `why`.
    pub fn of(record: &Record, why: &[Why]) -> Self {
        let mut questions = Self::default();
        for why in why {
            questions.ask(record, *why);
        }
        // A request is ours only if its invitation is (contract 4.3).
        questions.invitations |= questions.requests && record.facts.invitations.is_empty();
        questions
    }

    /// In words, in the order in which they are asked.
    pub fn words(&self) -> Vec<String> {
        let named = [
            (self.invitations, "invitations"),
            (self.agreements, "share agreements"),
            (self.fleet, "the fleet"),
            (self.connections, "connections"),
            (self.requests, "integration requests"),
        ];
        let named = named.iter().filter(|(asked, _)| *asked);
        let named = named.map(|(_, what)| (*what).to_owned());
        let schedules = self.schedules.iter();
        let schedules = schedules.map(|id| format!("schedules of connection {id}"));
        named.chain(schedules).collect()
    }

    fn ask(&mut self, record: &Record, why: Why) {
        match why {
            Why::Hint | Why::ReadBack => {
                let newest = record.facts.newest_invitation();
                self.invitations |= !newest.is_some_and(|it| it.accepted());
                self.agreements = true;
                // Only the number that authorities know a fleet by is asked for there: what else it says, the daily comparison finds.
                self.fleet |= is_numbered(record);
                self.connections = true;
                self.requests |= !is_connected(record);
                self.schedules.extend(stopped(record));
            }
            Why::AgreementUnknown | Why::AgreementHalted => self.agreements = true,
            Why::ConnectionMissing => {
                self.agreements |= record.facts.agreements.is_empty();
                self.connections = true;
                self.requests = true;
            }
            Why::ConnectionBroken | Why::ProviderLive => self.connections = true,
            Why::ScheduleStopped => self.schedules.extend(stopped(record)),
            Why::RequestUnconfirmed | Why::RequestPending => self.requests = true,
            Why::InvitationEnds
            | Why::AgreementStarts
            | Why::AgreementEnds
            | Why::AdmissionEnds
            | Why::OverrideEnds => {}
        }
    }
}

/// Whether a fleet was invited under a number of its own.
fn is_numbered(record: &Record) -> bool {
    let mut invitations = record.facts.invitations.values();
    invitations.any(|it| it.invited_as.is_some())
}

fn is_connected(record: &Record) -> bool {
    record.facts.connections.values().any(|link| link.is_live())
}

/// Connections of which a schedule stopped.
fn stopped(record: &Record) -> BTreeSet<String> {
    let connections = record.facts.connections.iter();
    let stopped = connections.filter(|(_, link)| {
        let mut schedules = link.connection.schedules.values();
        let counts = |at| Some(at) >= link.linked;
        link.linked.is_some()
            && !link.is_over()
            && schedules.any(|it| it.value().stopped && counts(it.at()))
    });
    stopped.map(|(id, _)| id.clone()).collect()
}

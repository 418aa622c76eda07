//! Collecting what is observed, each fact with its time.

use catena::{Envelope, Instant};
use fleet::{At, ConnectionFact, Fact, Observation};

use crate::words::timestamp;

/// Collects what is observed, and gives each fact its time.
pub(crate) struct Observer {
    index: u32,
    /// When that was so which has no business time of its own.
    observed: Option<Instant>,
    /// When that was so which only the invitation's status says: an event says it better.
    pub(crate) stands: Option<Instant>,
    /// Nothing that is told happened later.
    pub(crate) latest: Option<Instant>,
    pub(crate) observations: Vec<Observation>,
    /// Something has no time at all.
    pub(crate) hint: bool,
}

impl Observer {
    /// Of one record of a delivery, and its place there.
    pub(crate) fn of_event(envelope: &Envelope, index: usize) -> Self {
        Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            observed: envelope.id_time(),
            stands: None,
            latest: envelope.id_time(),
            observations: Vec::new(),
            hint: false,
        }
    }

    /// Of an answer that held at `observed`, and tells of nothing after `latest`.
    pub(crate) fn of_answer(observed: Instant, latest: Instant) -> Self {
        Self {
            index: 0,
            observed: Some(observed),
            stands: Some(observed),
            latest: Some(latest),
            observations: Vec::new(),
            hint: false,
        }
    }

    /// What was observed, without what has ids that no key can be made of.
    pub(crate) fn bearable(mut self) -> Vec<Observation> {
        self.observations.retain(has_bearable_id);
        self.observations
    }

    /// A fact at its business time, or else at the time of the event or the answer.
    pub(crate) fn observe(&mut self, business_time: Option<Instant>, fact: Fact) {
        let at = business_time.or(self.observed);
        self.hint |= at.is_none();
        self.observe_if(at, Some(fact));
    }

    /// A fact at exactly this time, if both are there.
    pub(crate) fn observe_if(&mut self, at: Option<Instant>, fact: Option<Fact>) {
        let Some((at, fact)) = at.zip(fact) else {
            return;
        };
        let at = At(timestamp(at), self.index);
        let observation = Observation { at, fact };
        if !self.observations.contains(&observation) {
            self.observations.push(observation);
        }
    }
}

/// Whether the ids of an observation fit the table's keys.
pub(crate) fn has_bearable_id(observation: &Observation) -> bool {
    match &observation.fact {
        Fact::CatenaFleet(id) | Fact::Agreement { id, .. } => is_bearable(id),
        Fact::Request { id, request } => {
            // Empty if Catena doesn't name it.
            let provider = request.provider_id.len() <= LONGEST_ID;
            let live_as = request.live_as.iter().all(|id| is_bearable(id));
            is_bearable(id) && provider && live_as
        }
        Fact::Invitation { invitation, .. } => is_bearable(invitation),
        Fact::Connection { connection, was } => {
            let schedule = match was {
                ConnectionFact::Schedule { id, .. } => Some(id),
                ConnectionFact::State(_) | ConnectionFact::Source(_) => None,
            };
            is_bearable(connection) && schedule.is_none_or(|id| is_bearable(id))
        }
        Fact::Linked { connection } => is_bearable(connection),
        Fact::Name(_) | Fact::RequestsRefused(_) | Fact::Regulatory(_) => true,
    }
}

/// Whether an id can be a key. Catena's are UUIDs of 36 characters.
pub(crate) fn is_bearable(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
}

/// Bytes of one of Catena's ids. DynamoDB's partition keys end at 2,048.
const LONGEST_ID: usize = 256;

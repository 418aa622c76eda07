//! What the notification service holds: who gets an event, where, signed with what, and what waits.

use std::collections::{BTreeMap, HashMap, VecDeque};

use reqwest::Url;
use uuid::Uuid;

use super::outcome::{Sent, Timestamps};
use crate::{
    envelope::Envelope,
    loss::Losses,
    retry::RetryPolicy,
    subscriptions::{SubscriptionStatus, Subscriptions},
};

pub(super) struct State {
    pub(super) retry: RetryPolicy,
    pub(super) shared_key: String,
    pub(super) keys: HashMap<Uuid, String>,
    /// Whether the standing subscriptions are there.
    pub(super) standing: bool,
    pub(super) subscriptions: Subscriptions,
    /// What is sent to URLs that begin like this goes elsewhere.
    pub(super) routes: BTreeMap<String, String>,
    /// Of replays by the API.
    pub(super) replay_timestamps: Timestamps,
    pub(super) dead_letters: BTreeMap<Uuid, Vec<DeadLetter>>,
    pub(super) log: VecDeque<Sent>,
    pub(super) losses: Losses,
}

pub(super) struct DeadLetter {
    pub(super) envelope: Envelope,
    pub(super) timestamp: String,
}

/// Who gets an event.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The standing subscription of this id.
    Standing(Uuid),
    /// One that was made.
    Made(Uuid),
}

impl Target {
    pub(super) fn id(self) -> Uuid {
        match self {
            Self::Standing(id) | Self::Made(id) => id,
        }
    }
}

impl State {
    pub(super) fn new(shared_key: String) -> Self {
        Self {
            retry: RetryPolicy::default(),
            shared_key,
            keys: HashMap::new(),
            standing: true,
            subscriptions: Subscriptions::default(),
            routes: BTreeMap::new(),
            replay_timestamps: Timestamps::default(),
            dead_letters: BTreeMap::new(),
            log: VecDeque::new(),
            losses: Losses::default(),
        }
    }

    /// Who gets this event now: the standing subscription first, then those that were made.
    pub(super) fn targets(&self, envelope: &Envelope) -> Vec<Target> {
        let standing = self
            .standing
            .then_some(Target::Standing(envelope.webhook_id));
        let made = self.subscriptions.of(envelope).map(Target::Made);
        standing.into_iter().chain(made).collect()
    }

    pub(super) fn target(&self, webhook_id: Uuid) -> Target {
        match self.subscriptions.ever(webhook_id).is_some() {
            true => Target::Made(webhook_id),
            false => Target::Standing(webhook_id),
        }
    }

    /// Where it goes, and what it is signed with, at this moment.
    pub(super) fn endpoint(&self, target: Target, standing_url: &Url) -> (Url, String) {
        let made = match target {
            Target::Standing(_) => None,
            Target::Made(id) => self.subscriptions.ever(id),
        };
        match made {
            Some(made) => (self.routed(&made.url), made.secret.clone()),
            None => {
                let key = self.keys.get(&target.id()).unwrap_or(&self.shared_key);
                (standing_url.clone(), key.clone())
            }
        }
    }

    fn routed(&self, url: &Url) -> Url {
        let elsewhere = |(from, to): (&String, &String)| {
            let rest = url.as_str().strip_prefix(from)?;
            Url::parse(&format!("{to}{rest}")).ok()
        };
        let mut routes = self.routes.iter().rev();
        routes.find_map(elsewhere).unwrap_or_else(|| url.clone())
    }

    pub(super) fn waiting(&self, webhook_id: Uuid) -> usize {
        self.dead_letters.get(&webhook_id).map_or(0, Vec::len)
    }

    /// The dead letters of one subscription, or of all; those of stale and of paused ones stay where they are.
    pub(super) fn take_letters(&mut self, webhook_id: Option<Uuid>) -> Vec<DeadLetter> {
        let Self {
            subscriptions,
            dead_letters,
            ..
        } = self;
        let is_meant = |id: Uuid| {
            webhook_id.is_none_or(|wanted| wanted == id)
                && subscriptions
                    .get(id)
                    .is_none_or(|it| it.status == SubscriptionStatus::Active)
        };
        let taken = dead_letters.extract_if(.., |&id, _| is_meant(id));
        taken.flat_map(|(_, letters)| letters).collect()
    }
}

//! Webhooks that get lost for good.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::envelope::Envelope;

/// Which share of all webhooks is lost: never delivered, not retried, no dead letter, repeats of the same event included.
/// Forged deliveries and replays of dead letters aren't.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// From 0 to 1: how likely each event is lost.
    pub share: f64,
    /// The same seed loses the same events, by their ids.
    #[serde(default)]
    pub seed: u64,
}

impl Loss {
    /// Events without an id are never lost.
    fn hits(&self, event: Option<Uuid>) -> bool {
        let Some(id) = event else {
            return false;
        };
        let digest = Sha256::new()
            .chain_update(self.seed.to_be_bytes())
            .chain_update(id.as_bytes())
            .finalize();
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        f64::from(number) / 2f64.powi(32) < self.share
    }
}

/// The loss, and what was lost by it.
#[derive(Default)]
pub(crate) struct Losses {
    pub(crate) loss: Loss,
    events: HashSet<Uuid>,
    by_name: BTreeMap<String, usize>,
}

impl Losses {
    /// Whether this event is lost; each is counted once.
    pub(crate) fn take(&mut self, envelope: &Envelope) -> bool {
        let is_lost = self.loss.hits(envelope.id);
        if is_lost
            && let Some(id) = envelope.id
            && self.events.insert(id)
        {
            *self.by_name.entry(envelope.event_name.clone()).or_default() += 1;
        }
        is_lost
    }

    pub(crate) fn by_name(&self) -> BTreeMap<String, usize> {
        self.by_name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_is_lost_by_id_and_seed() {
        let ids: Vec<_> = (0..1000).map(Uuid::from_u128).map(Some).collect();
        let lost = |share, seed| -> Vec<_> {
            let loss = Loss { share, seed };
            ids.iter().filter(|&&id| loss.hits(id)).collect()
        };
        assert_eq!((lost(0.0, 1).len(), lost(1.0, 1).len()), (0, 1000));
        assert!((150..250).contains(&lost(0.2, 1).len()));
        assert_eq!(lost(0.2, 1), lost(0.2, 1));
        assert_ne!(lost(0.2, 1), lost(0.2, 2));
        assert!(
            !Loss {
                share: 1.0,
                seed: 1
            }
            .hits(None)
        );
    }
}

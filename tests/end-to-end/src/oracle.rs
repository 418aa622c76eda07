//! What the table must hold after some events, found by pure functions alone: no order, no repeats, no queue, no table, and no
//! routing either, since each simulated event carries the fleet that it is about.

use std::collections::{BTreeMap, BTreeSet};

use catena::{Content, Delivery, Instant, Keyring, Scrubbed, SigningKey};
use fleet::{Fact, Facts, Policy, Record, Standing, Timestamp};
use simulator::Envelope;
use time::OffsetDateTime;
use translation::{Translation, translate};

/// The facts of each fleet.
pub(crate) fn oracle(envelopes: &[Envelope]) -> BTreeMap<String, Facts> {
    let mut facts: BTreeMap<String, Facts> = BTreeMap::new();
    let mut serves: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut told = Vec::new();
    for envelope in envelopes {
        let Some(fleet) = &envelope.fleet_ref else {
            continue;
        };
        for translation in translations(envelope) {
            let names_fleet = translation.fleet.is_some() || translation.catena_fleet.is_some();
            if let Some(connection) = translation.connection.filter(|_| names_fleet) {
                serves.entry(connection).or_default().insert(fleet.clone());
            }
            for observation in translation.observations {
                if matches!(observation.fact, Fact::Connection { .. }) {
                    told.push(observation);
                } else {
                    let known = facts.remove(fleet).unwrap_or_default();
                    facts.insert(fleet.clone(), known.fold(&observation));
                }
            }
        }
    }
    for observation in told {
        let Fact::Connection { connection, .. } = &observation.fact else {
            continue;
        };
        for fleet in serves.get(connection).into_iter().flatten() {
            let known = facts.remove(fleet).unwrap_or_default();
            facts.insert(fleet.clone(), known.fold(&observation));
        }
    }
    facts
}

/// What an envelope says, by the way of a delivery.
pub(crate) fn translations(envelope: &Envelope) -> Vec<Translation> {
    let Content::Envelope(envelope) = scrubbed(envelope).content else {
        panic!("not an envelope");
    };
    let events = envelope.events();
    events
        .map(|(index, event)| translate(&event.unwrap(), &envelope, index))
        .collect()
}

/// What is left of an envelope that was signed, sent, verified and scrubbed.
pub(crate) fn scrubbed(envelope: &Envelope) -> Scrubbed {
    let key = "a-key-of-the-oracle-alone";
    let keyring = Keyring::shared(SigningKey::new(key));
    let now = OffsetDateTime::now_utc();
    let timestamp = simulator::timestamp_text(now);
    let delivery = simulator::Delivery::new(envelope, key, &timestamp);
    let headers = delivery
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let delivery = Delivery::parse(headers, &delivery.body).unwrap();
    let verified = delivery.verify(&keyring, Instant::from(now)).unwrap();
    verified.scrub()
}

/// What follows from facts now, by the default policy.
pub(crate) fn standing(facts: &Facts) -> Standing {
    let now = OffsetDateTime::now_utc().unix_timestamp() * 1000;
    let record = Record {
        facts: facts.clone(),
        ..Record::default()
    };
    record.standing(&Policy::default(), Timestamp(now))
}

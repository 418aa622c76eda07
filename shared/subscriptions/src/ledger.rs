//! What is written down about subscriptions: those that are ours, and what was asked for without learning the answer.

use std::collections::{BTreeMap, BTreeSet};

use catena::Subscription;
use fleet::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{KeyName, WANTED, covers};

/// What is written down about subscriptions. Its JSON is one item in the table; `kingpin` writes it, the reconciler reads it. No
/// secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Its version.
    pub form: Form,
    /// Ours, by Catena's ids.
    #[serde(default)]
    pub ours: BTreeMap<String, Ours>,
    /// What Catena was asked to make, until its answer is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Names that Catena refused to subscribe, and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Timestamp>,
    /// Catch-alls that are subscribed name by name, because Catena refused them: some of each existed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub by_name: BTreeSet<String>,
    /// Somebody changes the keyring, and has until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring_leased_until: Option<Timestamp>,
}

/// A subscription of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    /// What it is for.
    pub event_name: String,
    /// The key that it signs with; absent if that isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// Since when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_since: Option<Timestamp>,
    /// Where it delivers to; absent if that isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A subscription, or a whole catch-all, that Catena was asked to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// As it was sent.
    pub event_name: String,
    /// With which key.
    pub key: KeyName,
    /// To deliver to.
    pub url: String,
    /// Not before this, by Catena's clock.
    pub at: Timestamp,
}

impl Asked {
    /// Whether a subscription may have come of it, by what it is for and when it was made.
    pub fn explains(&self, event_name: &str, made_at: Option<Timestamp>) -> bool {
        covers(&self.event_name, event_name) && made_at.is_none_or(|at| self.at <= at)
    }
}

/// The version of the form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct Form;

impl From<Form> for u32 {
    fn from(_: Form) -> Self {
        1
    }
}

impl TryFrom<u32> for Form {
    type Error = String;

    fn try_from(form: u32) -> Result<Self, String> {
        match form {
            1 => Ok(Self),
            other => Err(format!("form {other}")),
        }
    }
}

/// What is written down is of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is written down about subscriptions is of another version of this program")]
pub struct UnreadableLedger;

impl Ledger {
    /// Reads what is in the table; nothing there is an empty one.
    pub fn read(text: Option<&str>) -> Result<Self, UnreadableLedger> {
        let read = text.map_or(Ok(Self::default()), serde_json::from_str);
        read.map_err(|_| UnreadableLedger)
    }

    /// As it is in the table.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Catena answered what it was asked to make: these. One that was made before it was asked for exists for longer, perhaps with another
    /// key.
    pub fn made(&mut self, made: &[Subscription], at: Timestamp) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        self.refused.remove(&asked.event_name);
        for it in made {
            let event_name = it.event_name.as_ref().unwrap_or(&asked.event_name);
            let made_at = it.created_at.map(|at| Timestamp(at.millis()));
            let new = asked.explains(event_name, made_at);
            let ours = Ours {
                event_name: event_name.clone(),
                key: new.then(|| asked.key.clone()),
                key_since: new.then_some(at),
                url: new.then(|| asked.url.clone()),
            };
            self.ours.insert(it.id.clone(), ours);
        }
    }

    /// Catena refused what it was asked to make, and will again.
    pub fn refused(&mut self, at: Timestamp) {
        if let Some(asked) = self.asked.take() {
            self.refused.insert(asked.event_name, at);
        }
    }

    /// Catena says that what it was asked to make exists already, or some of it.
    pub fn exists(&mut self) {
        let asked = self.asked.take().map(|it| it.event_name);
        self.by_name
            .extend(asked.filter(|name| name.ends_with('*')));
    }

    /// A subscription is ours from now on. Which key and URL it has isn't known, so it is given both.
    pub fn adopt(&mut self, id: &str, event_name: &str) {
        // The answer that was lost may have told of others, which existed for longer.
        let catch_all = self.asked.as_ref().map(|it| it.event_name.clone());
        let catch_all = catch_all.filter(|name| name.ends_with('*') && covers(name, event_name));
        self.by_name.extend(catch_all);
        let ours = Ours {
            event_name: event_name.to_owned(),
            key: None,
            key_since: None,
            url: None,
        };
        self.ours.insert(id.to_owned(), ours);
    }

    /// A subscription was deleted on purpose. What it was for is wanted all the same, unless nothing is left.
    pub fn deleted(&mut self, id: &str) {
        let Some(ours) = self.ours.remove(id) else {
            return;
        };
        if self.ours.is_empty() {
            self.asked = None;
            self.refused.clear();
            self.by_name.clear();
            return;
        }
        let catch_all = WANTED.iter().map(|it| it.event_name);
        let mut catch_all = catch_all.filter(|name| name.ends_with('*'));
        let catch_all = catch_all.find(|name| covers(name, &ours.event_name));
        self.by_name.extend(catch_all.map(str::to_owned));
    }

    /// A subscription was given a key and a URL.
    pub fn updated(&mut self, id: &str, key: KeyName, url: &str, at: Timestamp) {
        if let Some(ours) = self.ours.get_mut(id) {
            if ours.key.as_ref() != Some(&key) {
                ours.key_since = Some(at);
            }
            ours.key = Some(key);
            ours.url = Some(url.to_owned());
        }
    }

    /// When the last of them was given its key; `None` if one has another key than this, or there is none.
    pub fn all_sign_with(&self, key: &KeyName) -> Option<Timestamp> {
        let since = self.ours.values().map(|ours| {
            let signs = ours.key.as_ref() == Some(key);
            signs.then(|| ours.key_since.unwrap_or(Timestamp(0)))
        });
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

#[cfg(test)]
mod tests {
    use catena::Instant;

    use super::*;

    #[test]
    fn the_form_in_the_table_stays() {
        let key = KeyName::of("a-key-of-32-characters-or-even-more");
        let url = "https://hooks.example.com/webhooks/catena".to_owned();
        let ours = Ours {
            event_name: "tsp.created".to_owned(),
            key: Some(key.clone()),
            key_since: Some(Timestamp(5)),
            url: Some(url.clone()),
        };
        let ledger = Ledger {
            ours: BTreeMap::from([("W".to_owned(), ours)]),
            asked: Some(Asked {
                event_name: "invitation.*".to_owned(),
                key: key.clone(),
                url,
                at: Timestamp(7),
            }),
            refused: BTreeMap::from([("tsp.requested".to_owned(), Timestamp(6))]),
            by_name: BTreeSet::from(["webhook.*".to_owned()]),
            keyring_leased_until: Some(Timestamp(8)),
            ..Ledger::default()
        };
        let text = format!(
            r#"{{"form":1,"ours":{{"W":{{"event_name":"tsp.created","key":"{key}","key_since":5,"url":"https://hooks.example.com/webhooks/catena"}}}},"asked":{{"event_name":"invitation.*","key":"{key}","url":"https://hooks.example.com/webhooks/catena","at":7}},"refused":{{"tsp.requested":6}},"by_name":["webhook.*"],"keyring_leased_until":8}}"#
        );
        assert_eq!(ledger.text(), text);
        assert_eq!(Ledger::read(Some(&text)), Ok(ledger));
        assert_eq!(Ledger::read(None), Ok(Ledger::default()));
        assert_eq!(Ledger::default().text(), r#"{"form":1,"ours":{}}"#);
        assert_eq!(Ledger::read(Some(r#"{"form":2}"#)), Err(UnreadableLedger));
        assert_eq!(Ledger::read(Some("{}")), Err(UnreadableLedger));
    }

    #[test]
    fn what_catena_answers_is_ours_and_its_key_known_if_it_is_new() {
        let made = |id: &str, at: i64| Subscription {
            id: id.to_owned(),
            event_name: Some("tsp.created".to_owned()),
            status: None,
            url: None,
            filters: None,
            created_at: Some(Instant::from_millis(at)),
            updated_at: None,
        };
        let mut ledger = Ledger {
            asked: Some(Asked {
                event_name: "tsp.created".to_owned(),
                key: KeyName::of("k"),
                url: "u".to_owned(),
                at: Timestamp(100),
            }),
            ..Ledger::default()
        };
        ledger.made(&[made("NEW", 100), made("OLD", 99)], Timestamp(101));
        assert_eq!(ledger.asked, None);
        assert_eq!(ledger.ours["NEW"].key, Some(KeyName::of("k")));
        assert_eq!(ledger.ours["OLD"].key, None);
    }

    #[test]
    fn what_was_made_before_it_was_asked_for_is_no_answer() {
        let asked = Asked {
            event_name: "connection.*".to_owned(),
            key: KeyName::of("k"),
            url: String::new(),
            at: Timestamp(100),
        };
        assert!(asked.explains("connection.staled", Some(Timestamp(100))));
        assert!(asked.explains("connection.staled", None));
        assert!(!asked.explains("connection.staled", Some(Timestamp(99))));
        assert!(!asked.explains("fleet_connection.created", Some(Timestamp(101))));
    }
}

//! `contract check`: what Catena says that it sends, held against what this version reads of it. Ours are the schemas of the types
//! themselves ([`catena::schema`]); theirs may have any layout, so they are read leniently, and one that can't be read is told.

mod difference;
mod found;
mod shape;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use catena::EventName;
use catena_client::{Calls, CatenaError, EventSchema};
use fleet::Timestamp;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use subscriptions::{ACTIONS, WANTED};

use crate::{
    args::ContractCheck,
    catena::catena,
    readable::{Page, columns, enumerated, plain, wrapped},
    source::Found,
    trouble::Trouble,
    when::{clock, rfc3339},
};

use difference::{Difference, NOT_READ, Weight};
use shape::Shape;

/// What came of one event.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    event: String,
    outcome: Outcome,
    /// What an earlier check saw, if that was another version.
    before: Option<String>,
}

#[derive(Clone, Debug)]
enum Outcome {
    /// Its schema was found.
    Compared {
        about: About,
        differences: Vec<Difference>,
        /// What the record holds, of an event whose payload nobody knew.
        news: Option<Shape>,
    },
    /// It has a schema, in which nothing was found.
    Unreadable { about: About, why: &'static str },
    /// Catena doesn't show its schema to us.
    NotShown(Trouble),
    /// There was no answer.
    Unanswered(Trouble),
}

/// What Catena says about a schema.
#[derive(Clone, Debug)]
struct About {
    version: String,
    changelog: Option<String>,
    document: String,
}

/// Asks Catena for its schemas and compares them.
pub(crate) async fn check(found: &Found, wanted: &ContractCheck, now: Timestamp) -> Result<Page> {
    let known = match &wanted.since {
        Some(file) => known(file)?,
        None => BTreeMap::new(),
    };
    let client = catena(found)?;
    // Whatever is wrong with the credentials would be wrong for each event.
    let token = client.within(PATIENCE).permissions().await;
    token.map_err(|error| {
        let Trouble { what, remedy } = Trouble::of(&error);
        anyhow!("could not ask Catena for its schemas: {what}\n{remedy}")
    })?;
    let events: Vec<String> = match &wanted.events[..] {
        [] => subscribed().into_iter().map(str::to_owned).collect(),
        events => events.to_vec(),
    };
    let checked = events.into_iter().map(|event| {
        let calls = client.within(PATIENCE);
        let known = known.get(&event).cloned();
        async move { one(calls, event, known).await }
    });
    let checked: Vec<Checked> = stream::iter(checked).buffered(AT_ONCE).collect().await;
    Ok(page(&found.place, &checked, now))
}

async fn one(calls: Calls<'_>, event: String, known: Option<String>) -> Checked {
    match calls.event_schema(&event).await {
        Ok(answer) => judged(event, answer.value, known),
        Err(error) => {
            let trouble = Trouble::of(&error);
            let outcome = match error {
                CatenaError::NotFound | CatenaError::Forbidden(_) => Outcome::NotShown(trouble),
                _ => Outcome::Unanswered(trouble),
            };
            Checked {
                event,
                outcome,
                before: None,
            }
        }
    }
}

/// What one schema comes to. `known` is its version at an earlier check.
pub(crate) fn judged(event: String, schema: EventSchema, known: Option<String>) -> Checked {
    let ours = catena::schema::record(&EventName::from(event.clone()));
    let expected = ours.as_ref().map(|ours| difference::expected(&event, ours));
    let expected = expected.unwrap_or_default();
    let is_news = UNDOCUMENTED.contains(&event.as_str()) || ours.is_none();
    let about = About {
        version: schema.version,
        changelog: schema.changelog,
        document: schema.openapi_schema,
    };
    let mut found = found::find(&about.document, &event, &expected);
    if found.is_err() && is_news {
        // Whatever is there is news.
        found = found::find(&about.document, &event, &[]);
    }
    let before = known.filter(|known| *known != about.version);
    let outcome = match found {
        Ok(found) => Outcome::Compared {
            differences: match is_news {
                // Nobody promised the fields that are looked for in it.
                true => without_losses(difference::differences(&event, ours.as_ref(), &found)),
                false => difference::differences(&event, ours.as_ref(), &found),
            },
            news: is_news.then_some(found.record),
            about,
        },
        Err(why) => Outcome::Unreadable { about, why },
    };
    Checked {
        event,
        outcome,
        before,
    }
}

fn without_losses(mut differences: Vec<Difference>) -> Vec<Difference> {
    differences.retain(|it| it.weight != Weight::Degrading);
    differences
}

/// What is printed.
pub(crate) fn page(place: &str, checked: &[Checked], now: Timestamp) -> Page {
    let mut rows = Vec::new();
    let mut details = String::new();
    for it in checked {
        let version = it.about().map_or("-", |about| &about.version);
        rows.push(vec![plain(&it.event), plain(version), it.result()]);
        let detail = it.detail();
        if !detail.is_empty() {
            details += &format!("\n{}\n{detail}", plain(&it.event));
        }
    }
    let broken = checked.iter().filter(|it| it.is_bad()).count();
    let compared = checked.iter().filter(|it| it.is_compared()).count();
    // Of nothing it can't be said that nothing breaks.
    let failed = broken > 0 || compared == 0;
    let sum = format!(
        "{compared} of {} compared; {}",
        checked.len(),
        match (broken, compared) {
            (0, 0) => "Catena shows none of these schemas".to_owned(),
            (0, _) => "nothing breaks".to_owned(),
            (1, _) => "1 breaks, or can't be read".to_owned(),
            (broken, _) => format!("{broken} break, or can't be read"),
        }
    );
    let text = format!(
        "Catena's schemas by {}, at {} UTC\n\n{}{details}\n{sum}\n",
        plain(place),
        clock(now),
        columns(&rows)
    );
    let json = json!({
        "stack": place,
        "as_of": rfc3339(now),
        "failed": failed,
        "events": checked.iter().map(Checked::json).collect::<Vec<_>>(),
    });
    Page {
        failed,
        ..Page::new(text, json)
    }
}

impl Checked {
    fn about(&self) -> Option<&About> {
        match &self.outcome {
            Outcome::Compared { about, .. } | Outcome::Unreadable { about, .. } => Some(about),
            Outcome::NotShown(_) | Outcome::Unanswered(_) => None,
        }
    }

    fn differences(&self) -> &[Difference] {
        match &self.outcome {
            Outcome::Compared { differences, .. } => differences,
            _ => &[],
        }
    }

    fn count(&self, weight: Weight) -> usize {
        let differences = self.differences().iter();
        differences.filter(|it| it.weight == weight).count()
    }

    fn is_compared(&self) -> bool {
        matches!(self.outcome, Outcome::Compared { .. })
    }

    fn is_bad(&self) -> bool {
        match self.outcome {
            Outcome::Compared { .. } => self.count(Weight::Breaking) > 0,
            Outcome::Unreadable { .. } | Outcome::Unanswered(_) => true,
            Outcome::NotShown(_) => false,
        }
    }

    /// Stays as it is: programs rely on it.
    fn code(&self) -> &'static str {
        match self.outcome {
            Outcome::Compared { .. } => match self.differences().first() {
                Some(worst) => worst.weight.as_str(),
                None => "same",
            },
            Outcome::Unreadable { .. } => "unreadable",
            Outcome::NotShown(_) => "not_shown",
            Outcome::Unanswered(_) => "unanswered",
        }
    }

    fn result(&self) -> String {
        let counts = [Weight::Breaking, Weight::Degrading, Weight::Information].map(|weight| {
            let count = self.count(weight);
            (count > 0).then(|| format!("{count} {}", weight.as_str()))
        });
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        match counts.is_empty() {
            true => self.code().replace('_', " "),
            false => counts.join(", "),
        }
    }

    fn detail(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| text += &wrapped("  ", 4, line);
        if let (Some(before), Some(about)) = (&self.before, self.about()) {
            let changes = about
                .changelog
                .as_deref()
                .unwrap_or("no word about what changed");
            line(&plain(&format!(
                "new version: {before} before, {} now: {changes}",
                about.version
            )));
        }
        match &self.outcome {
            Outcome::Compared {
                differences, news, ..
            } => {
                let (unread, others): (Vec<_>, Vec<_>) =
                    differences.iter().partition(|it| it.what == NOT_READ);
                for it in others {
                    line(&plain(&format!(
                        "{}: {} {}",
                        it.weight.as_str(),
                        it.field,
                        it.what
                    )));
                }
                let unread: Vec<String> = unread.into_iter().map(|it| it.field.clone()).collect();
                if !unread.is_empty() {
                    line(&format!("not read: {}", enumerated(&unread)));
                }
                if let Some(news) = news {
                    line("NEWS: nobody knew what this event holds. Tell Kingpin's authors:");
                    for (name, field) in &news.fields {
                        line(&plain(&format!(
                            "  {name}: {}",
                            words(&field.shape, field.required)
                        )));
                    }
                }
            }
            Outcome::Unreadable { why, .. } => {
                line(&format!(
                    "unreadable: {why}. Its document is in the output of --json."
                ));
            }
            Outcome::NotShown(trouble) | Outcome::Unanswered(trouble) => {
                line(&format!("{}. {}", trouble.what, trouble.remedy));
            }
        }
        text
    }

    fn json(&self) -> Value {
        let about = self.about();
        let differences = self
            .differences()
            .iter()
            .map(|it| json!({ "weight": it.weight.as_str(), "field": it.field, "what": it.what }));
        let problem = match &self.outcome {
            Outcome::Compared { .. } => None,
            Outcome::Unreadable { why, .. } => Some((*why).to_owned()),
            Outcome::NotShown(trouble) | Outcome::Unanswered(trouble) => Some(trouble.what.clone()),
        };
        let is_news = matches!(&self.outcome, Outcome::Compared { news: Some(_), .. });
        let is_shown = is_news || matches!(self.outcome, Outcome::Unreadable { .. });
        let document = about.filter(|_| is_shown).map(|about| {
            let read = serde_json::from_str(&about.document);
            read.unwrap_or_else(|_| json!(about.document))
        });
        json!({
            "event": self.event,
            "result": self.code(),
            "version": about.map(|about| &about.version),
            "changelog": about.and_then(|about| about.changelog.as_ref()),
            "version_before": self.before,
            "differences": differences.collect::<Vec<_>>(),
            "problem": problem,
            "document": document,
        })
    }
}

fn words(shape: &Shape, required: bool) -> String {
    let kinds: Vec<&str> = shape.kinds.iter().map(|kind| kind.words()).collect();
    let mut text = match kinds.is_empty() {
        true => "anything".to_owned(),
        false => kinds.join(" or "),
    };
    if let Some(format) = &shape.format {
        text += &format!(" ({format})");
    }
    if shape.nullable {
        text += " or null";
    }
    if !required {
        text += ", may be left out";
    }
    text
}

/// The versions that an earlier check printed.
fn known(file: &Path) -> Result<BTreeMap<String, String>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown} can't be read"))?;
    let printed: Value = serde_json::from_str(&text).unwrap_or_default();
    let events = printed["events"].as_array();
    let events = events
        .with_context(|| format!("{shown} isn't what `kingpin contract check --json` prints"))?;
    let known = events.iter().filter_map(|it| {
        let pair = it["event"].as_str().zip(it["version"].as_str());
        pair.map(|(event, version)| (event.to_owned(), version.to_owned()))
    });
    Ok(known.collect())
}

/// The events that Kingpin subscribes to (contract 8), catch-alls as the actions that are known of them.
fn subscribed() -> Vec<&'static str> {
    let singles = WANTED.iter().map(|it| it.event_name);
    let singles = singles.filter(|name| !name.ends_with('*'));
    // The catch-all brings these, if Catena has them (contract 6.10).
    ACTIONS.into_iter().chain(UNSURE).chain(singles).collect()
}

/// Of `webhook.*`, named by Catena without a payload.
const UNSURE: [&str; 2] = ["webhook.activated", "webhook.paused"];
/// Named by Catena, but nobody knows what they hold (contract 6.11).
const UNDOCUMENTED: [&str; 1] = ["tsp.requested"];
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Catena's rate limits are unknown.
const AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(event: &str, version: &str, document: &Value) -> EventSchema {
        EventSchema {
            event_name: event.to_owned(),
            version: version.to_owned(),
            openapi_schema: document.to_string(),
            changelog: Some("Adds region".to_owned()),
        }
    }

    fn text() -> Value {
        json!({ "type": "string" })
    }

    fn connection(source: Value) -> Value {
        let properties = json!({
            "id": text(), "fleet_id": text(), "tsp_id": text(), "source_name": source, "region": text(),
            "status": { "type": "string", "enum": ["active", "dormant"] },
        });
        json!({ "components": { "schemas": { "ConnectionCreated": {
            "type": "object", "properties": properties, "required": ["id", "source_name", "fleet_id", "tsp_id", "status"],
        } } } })
    }

    fn refused(error: &CatenaError) -> Outcome {
        Outcome::NotShown(Trouble::of(error))
    }

    #[test]
    fn a_check_reads_well() {
        let judged = |event: &str, document: &Value, known: Option<&str>| {
            judged(
                event.to_owned(),
                schema(event, "1.3", document),
                known.map(str::to_owned),
            )
        };
        let asked = json!({ "components": { "schemas": { "TspRequested": { "type": "object", "properties": {
            "request": { "type": "string", "format": "uuid" }, "note": { "type": "string", "nullable": true },
        }, "required": ["request"] } } } });
        let same = json!({ "properties": { "id": text(), "fleet_id": text(), "connection_id": text() },
            "required": ["id", "fleet_id", "connection_id"] });
        let checked = [
            judged("connection.created", &connection(text()), Some("1.2")),
            judged(
                "connection.staled",
                &connection(json!({ "type": "object" })),
                Some("1.3"),
            ),
            judged("fleet_connection.created", &same, None),
            judged("tsp.created", &json!({ "openapi": "3.0.0" }), None),
            judged("tsp.requested", &asked, None),
            Checked {
                event: "webhook.paused".to_owned(),
                outcome: refused(&CatenaError::NotFound),
                before: None,
            },
        ];
        let now = Timestamp(1_778_576_400_000);
        let page = page("stack kingpin in eu-central-1", &checked, now);
        assert!(page.failed);
        insta::assert_snapshot!("contract", page.text);
        insta::assert_json_snapshot!("contract-json", page.json);
    }

    #[test]
    fn only_what_breaks_or_cannot_be_read_fails() {
        let of = |document: &Value| {
            let event = "connection.created".to_owned();
            judged(event.clone(), schema(&event, "1.0", document), None)
        };
        let good = of(&connection(text()));
        let refused = Checked {
            outcome: refused(&CatenaError::NotFound),
            ..good.clone()
        };
        let failed = |checked: &[Checked]| page("x", checked, Timestamp(0)).failed;
        assert!(!failed(&[good.clone(), refused.clone()]));
        assert!(failed(&[refused]), "nothing was compared");
        assert!(failed(&[good, of(&json!({}))]));
        assert!(failed(&[of(&connection(json!({ "type": "integer" })))]));
    }

    #[test]
    fn the_sample_of_the_contract_is_unreadable_and_no_more() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/samples/api/"
        );
        let text = std::fs::read(format!("{folder}event-schema.response.200.json")).unwrap();
        let sample: EventSchema = serde_json::from_slice(&text).unwrap();
        let checked = judged(sample.event_name.clone(), sample, None);
        assert_eq!(checked.code(), "unreadable");
    }

    #[test]
    fn every_event_of_ours_has_a_type() {
        for event in subscribed() {
            let name = EventName::from(event.to_owned());
            assert!(catena::schema::record(&name).is_some(), "{event}");
        }
    }
}

//! A batch of messages on its way: what each holds, and what became of it.

use std::{collections::BTreeSet, sync::Arc};

use aws_lambda_events::sqs::SqsMessage;
use catena::{Age, Content, Envelope, EventName, Resource, Scrubbed};
use fleet::FleetRef;
use guard::guarded;
use queue::{Holds, LONGEST_TOLD, Message, Task, Told, UnreadableMessage};
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::{Parked, Quarantined};
use tracing::warn;
use translation::{OperationTold, Translation};

use crate::Translate;

/// A message as SQS hands it over.
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) receipt_handle: String,
    pub(crate) body: String,
    /// How often it was received, this time included. Approximate (AWS).
    pub(crate) times: u32,
}

impl Received {
    /// `None` without an id: such a message can't be reported, so SQS never sends one.
    pub(crate) fn new(message: SqsMessage) -> Option<Self> {
        let times = message.attributes.get("ApproximateReceiveCount");
        Some(Self {
            id: message.message_id?,
            receipt_handle: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            times: times.and_then(|times| times.parse().ok()).unwrap_or(1),
        })
    }
}

/// One record of an event, or what is told otherwise, that says something about a fleet.
#[derive(Clone)]
pub(crate) struct Work {
    /// The message that brought it, by its place in the batch: for what was parked, the one whose link set it free.
    pub(crate) owner: usize,
    pub(crate) translation: Translation,
    pub(crate) source: Source,
    /// Tells the record from others, the same in each delivery.
    pub(crate) digest: String,
    /// Set if it comes from where it was parked, or may have been left there.
    pub(crate) parked: Option<Parked>,
}

/// One record of an event that says something of a write operation.
pub(crate) struct Heard {
    /// The message that brought it, by its place in the batch.
    pub(crate) owner: usize,
    pub(crate) told: OperationTold,
    pub(crate) source: Source,
    /// Tells the record from others, the same in each delivery.
    pub(crate) digest: String,
}

/// Where a work comes from: a record of a message, or the message as a whole if it isn't a delivery.
#[derive(Clone)]
pub(crate) struct Source {
    message: Arc<Message>,
    /// The record's place in the message.
    place: usize,
}

impl Source {
    pub(crate) fn event_name(&self) -> &str {
        match &self.message.holds {
            Holds::Told(told) | Holds::Answered(told) => &told.event,
            Holds::Delivery(_) | Holds::Released(_) => {
                self.envelope().map_or("", |envelope| &envelope.event_name)
            }
        }
    }

    /// Whether it isn't Catena's.
    pub(crate) fn is_told_otherwise(&self) -> bool {
        matches!(self.message.holds, Holds::Told(_))
    }

    /// Whether Catena was asked for it.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.message.holds, Holds::Answered(_))
    }

    pub(crate) fn event_id(&self) -> Option<&str> {
        self.envelope()?.id.as_deref()
    }

    pub(crate) fn received_at_millis(&self) -> i64 {
        self.message.received_at.millis()
    }

    /// It alone, as a message's body, so that it can be kept.
    pub(crate) fn body(&self) -> String {
        let Some(delivery) = self.message.holds.delivery() else {
            return Message::clone(&self.message).into_body();
        };
        let content = match &delivery.content {
            Content::Envelope(envelope) => Content::Envelope(Envelope {
                data: envelope.data.get(self.place).cloned().into_iter().collect(),
                first_index: envelope.first_index + self.place,
                version: envelope.version.clone(),
                event_name: envelope.event_name.clone(),
                webhook_id: envelope.webhook_id.clone(),
                timestamp: envelope.timestamp.clone(),
                id: envelope.id.clone(),
                delivery_attempt: envelope.delivery_attempt,
            }),
            other => other.clone(),
        };
        let alone = Scrubbed {
            signed_at: delivery.signed_at,
            age: delivery.age,
            content,
        };
        let holds = match &self.message.holds {
            Holds::Released(_) => Holds::Released(alone),
            _ => Holds::Delivery(alone),
        };
        let received_at = self.message.received_at;
        Message { received_at, holds }.into_body()
    }

    fn envelope(&self) -> Option<&Envelope> {
        envelope(&self.message)
    }
}

/// What a message turned out to hold.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) works: Vec<Work>,
    /// What is said of write operations.
    pub(crate) heard: Vec<Heard>,
    pub(crate) quarantined: Vec<Quarantined>,
    /// Some of it is about things that this version keeps no facts of.
    pub(crate) ignored: bool,
    /// What is to be looked at because of it: integration requests, since a provider may have gone live, or subscriptions.
    pub(crate) looks: BTreeSet<Task>,
}

/// What became of a message, the worse the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Outcome {
    /// It said nothing new.
    #[default]
    NoNews,
    /// It is about something that no facts are kept of: by this version, or because nobody vouches for it.
    Ignored,
    /// It changed a record.
    Applied,
    /// A part of it waits until its fleet is known.
    Parked,
    /// A part of it can't be processed and is kept aside.
    Quarantined,
    /// It has to come again.
    Retried,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoNews => "no-news",
            Self::Ignored => "ignored",
            Self::Applied => "applied",
            Self::Parked => "parked",
            Self::Quarantined => "quarantined",
            Self::Retried => "retried",
        }
    }
}

/// How a message fares.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) outcome: Outcome,
    /// Everything about it is settled; the opposite means that it has to come again.
    pub(crate) settled: bool,
    pub(crate) event_name: String,
    pub(crate) delivery_id: Option<String>,
    pub(crate) received_at_millis: Option<i64>,
    pub(crate) late: bool,
    pub(crate) fleet: Option<FleetRef>,
    pub(crate) reason: Option<String>,
}

impl Progress {
    pub(crate) fn worsen(&mut self, outcome: Outcome) {
        self.outcome = self.outcome.max(outcome);
    }

    pub(crate) fn retry(&mut self, reason: impl Into<String>) {
        self.worsen(Outcome::Retried);
        self.reason = Some(reason.into());
    }
}

/// Reads a message. An error says that a later version of this program may read it.
pub(crate) fn read(
    owner: usize,
    body: &str,
    translate: Translate,
    progress: &mut Progress,
) -> Result<Contents, UnreadableMessage> {
    let message = match Message::read(body) {
        Ok(message) => Arc::new(message),
        Err(later @ UnreadableMessage::Version(_)) => return Err(later),
        Err(damaged @ UnreadableMessage::Form { .. }) => {
            // Nobody knows what it holds, so none of it is kept.
            let reason = format!("{damaged}; {} bytes", body.len());
            return Ok(aside(digest(&[body]), reason, None, None));
        }
    };
    progress.received_at_millis = Some(message.received_at.millis());
    let delivery = match &message.holds {
        Holds::Delivery(delivery) | Holds::Released(delivery) => delivery,
        Holds::Told(told) | Holds::Answered(told) => {
            return Ok(told_otherwise(owner, body, told, &message, progress));
        }
    };
    progress.late = delivery.age == Age::Late;
    let Content::Envelope(envelope) = &delivery.content else {
        progress.event_name = "(unreadable)".to_owned();
        let reason = "the body is no envelope".to_owned();
        let digest = digest(&[body]);
        return Ok(aside(digest, reason, None, Some(body.to_owned())));
    };
    progress.event_name.clone_from(&envelope.event_name);
    progress.delivery_id.clone_from(&envelope.id);
    let is_vouched_for = matches!(message.holds, Holds::Released(_));
    let refused = match delivery.age {
        _ if is_vouched_for => None,
        Age::Future => Some("signed in the future"),
        Age::TooOld => Some("signed longer ago than any replay"),
        Age::Fresh | Age::Late => None,
    };
    let contents = contents(owner, &message, refused, translate);
    if contents.ignored {
        progress.worsen(Outcome::Ignored);
    }
    Ok(contents)
}

/// What is told otherwise than by a delivery names its fleet. What Catena answered teaches whose its ids are, as deliveries do; what
/// nobody vouches for leads nowhere else.
fn told_otherwise(
    owner: usize,
    body: &str,
    told: &Told,
    message: &Arc<Message>,
    progress: &mut Progress,
) -> Contents {
    if body.len() > LONGEST_TOLD {
        progress.event_name = "(over-long)".to_owned();
        let reason = format!("over {LONGEST_TOLD} bytes, more than is ever told");
        let kept = Some(body.to_owned()).filter(|it| it.len() <= Quarantined::LONGEST_BODY);
        return aside(digest(&[body]), reason, None, kept);
    }
    progress.event_name.clone_from(&told.event);
    let whole = Translation {
        fleet: Some(told.fleet.clone()),
        observations: told.observations.clone(),
        ..Translation::default()
    };
    let translations = match &message.holds {
        Holds::Answered(_) => translation::by_key(whole),
        _ => vec![whole],
    };
    let work = |translation| Work {
        owner,
        translation,
        source: Source {
            message: Arc::clone(message),
            place: 0,
        },
        digest: digest(&[body]),
        parked: None,
    };
    Contents {
        works: translations.into_iter().map(work).collect(),
        ..Contents::default()
    }
}

fn contents(
    owner: usize,
    message: &Arc<Message>,
    refused: Option<&'static str>,
    translate: Translate,
) -> Contents {
    let mut contents = Contents::default();
    let Some(envelope) = envelope(message) else {
        return contents;
    };
    for (place, ((index, event), record)) in envelope.events().zip(&envelope.data).enumerate() {
        let digest = digest_of(envelope, record, index);
        let source = Source {
            message: Arc::clone(message),
            place,
        };
        let mut put_aside = |reason: String| {
            contents.quarantined.push(Quarantined {
                digest: digest.clone(),
                reason,
                event_name: Some(envelope.event_name.clone()),
                body: Some(source.body()),
            });
        };
        if let Some(reason) = refused {
            put_aside(reason.to_owned());
            continue;
        }
        let event = match event {
            Ok(event) => event,
            Err(invalid) => {
                put_aside(invalid.to_string());
                continue;
            }
        };
        match &event.resource {
            Resource::Tsp(_) => drop(contents.looks.insert(Task::Requests)),
            Resource::ResourceOperation(operation) => {
                match translation::operation_of_event(&event.name, operation, envelope.id_time()) {
                    Some(told) => contents.heard.push(Heard {
                        owner,
                        told,
                        source,
                        digest,
                    }),
                    None => put_aside("an id is empty or longer than any of Catena's".to_owned()),
                }
                continue;
            }
            // Announced by the guide, but nobody knows its name (contract 6.11): so it is a hint whatever it says.
            Resource::Unknown(_) if envelope.event_name.starts_with("integration_request") => {
                contents.looks.insert(Task::Requests);
                contents.ignored = true;
                continue;
            }
            Resource::Unknown(_) => {
                put_aside("an event that this version doesn't know".to_owned());
                continue;
            }
            Resource::Subscription(subscription)
                if matches!(
                    event.name,
                    EventName::WebhookStaled | EventName::WebhookPaused | EventName::WebhookDeleted
                ) =>
            {
                contents.looks.insert(Task::Subscriptions);
                warn!(
                    webhook.id = subscription.id,
                    event.name = envelope.event_name,
                    "a webhook subscription stopped: the reconciler looks at it"
                );
            }
            _ => {}
        }
        let translation = translate(&event, envelope, index);
        if translation == Translation::default() {
            contents.ignored = true;
            continue;
        }
        if let Some(reason) = translation.unusable {
            put_aside(reason.to_owned());
            continue;
        }
        contents.works.push(Work {
            owner,
            translation,
            source,
            digest,
            parked: None,
        });
    }
    contents
}

/// What was parked, read again. `None` if this version can't read it; without a work if it says nothing any more.
pub(crate) fn read_parked(
    owner: usize,
    parked: Parked,
    translate: Translate,
) -> Option<(Parked, Option<Work>)> {
    let message = Arc::new(Message::read(&parked.body).ok()?);
    let envelope = envelope(&message)?;
    let (index, event) = envelope.events().next()?;
    let event = event.ok()?;
    let translation = guarded(|| translate(&event, envelope, index)).ok()?;
    if translation == Translation::default() {
        return Some((parked, None));
    }
    let work = Work {
        owner,
        translation,
        source: Source {
            message: Arc::clone(&message),
            place: 0,
        },
        digest: parked.digest.clone(),
        parked: Some(parked.clone()),
    };
    Some((parked, Some(work)))
}

fn envelope(message: &Message) -> Option<&Envelope> {
    match &message.holds.delivery()?.content {
        Content::Envelope(envelope) => Some(envelope),
        Content::Unreadable(_) => None,
    }
}

fn aside(
    digest: String,
    reason: String,
    event_name: Option<String>,
    body: Option<String>,
) -> Contents {
    let quarantined = Quarantined {
        digest,
        reason,
        event_name,
        body,
    };
    Contents {
        quarantined: vec![quarantined],
        ..Contents::default()
    }
}

/// Attempts and replays of one event differ in times and counters, so those are left out (contract 6.5).
fn digest_of(envelope: &Envelope, record: &Value, index: usize) -> String {
    digest(&[
        &envelope.event_name,
        envelope.id.as_deref().unwrap_or_default(),
        &index.to_string(),
        &record.to_string(),
    ])
}

/// 128 bits of SHA-256, in hexadecimal digits.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

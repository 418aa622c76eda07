//! One operation, and all that happened to it.

use fleet::{FleetRef, Policy, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Heard, Kind, Outcome, Said};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The fleet.
    pub fleet: FleetRef,
    /// The caller's key, which stands for this operation.
    pub key: String,
    /// Who asked: an IAM principal.
    pub by: String,
    /// What is written, such as `message`.
    pub resource: String,
    /// Whether it is new.
    pub kind: Kind,
    /// Catena's id of what is updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The connection that it is written by.
    pub connection: String,
    /// What a repeated key must come with: [`crate::request_digest`].
    pub digest: String,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Ours: [`crate::operation_id`].
    pub id: String,
    /// What was asked for.
    pub asked: Asked,
    /// When it was first asked for.
    pub submitted_at: Timestamp,
    /// When it was sent last.
    pub called_at: Timestamp,
    /// Calls that may have left.
    pub calls: u32,
    /// What tells who is about to make the last call from others with the same key, should it not learn whether its write got through:
    /// random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_mark: Option<String>,
    /// How far it is.
    pub course: Course,
    /// What is written: kept only while nobody knows whether Catena has it, because it may be what a person wrote to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
    /// Catena's id of it. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catena_id: Option<String>,
    /// Catena's moment of its creation, where it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// What Catena said of it.
    #[serde(default)]
    pub heard: Heard,
}

/// How far an operation is, apart from what Catena said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// A call is under way, or its program ended before it could say how the call did.
    Calling {
        /// Since when.
        since: Timestamp,
        /// By then it is over, one way or another.
        until: Timestamp,
    },
    /// The call may have got through or not.
    Unclear {
        /// When it began.
        since: Timestamp,
        /// When it was over: the search counts from here.
        until: Timestamp,
        /// The last search that Catena answered or refused to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        searched_at: Option<Timestamp>,
        /// What became of the call.
        why: String,
    },
    /// Catena has it.
    Accepted {
        /// Since when that is known.
        at: Timestamp,
        /// The last look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        looked_at: Option<Timestamp>,
    },
    /// Catena has nothing of it, and the same key may be sent again.
    Refused(Refused),
    /// Nothing more will be found out by asking.
    Lost {
        /// Since when.
        at: Timestamp,
        /// Why.
        why: String,
    },
}

/// Why Catena has nothing of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Catena's words, or why nothing left.
    pub why: String,
    /// Whether Catena refused the write itself; else it was put off, our credentials were refused, or nothing left.
    pub by_catena: bool,
}

/// Where an operation stands. The names are public and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The call to Catena is under way.
    Submitting,
    /// The call may have got through or not; it is being searched for.
    Unclear,
    /// Catena has it, and hasn't told its end.
    Pending,
    /// Done.
    Success,
    /// Not done.
    Failed,
    /// Catena has nothing of it: it refused, or nothing left.
    Refused,
    /// Nobody can tell.
    Unknown,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Submitting,
        Self::Unclear,
        Self::Pending,
        Self::Success,
        Self::Failed,
        Self::Refused,
        Self::Unknown,
    ];

    /// Its public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitting => "submitting",
            Self::Unclear => "unclear",
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Whether something is still expected.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitting | Self::Unclear | Self::Pending)
    }

    /// Whether nobody knows if Catena has it: an equal payload has to wait.
    pub const fn is_ambiguous(self) -> bool {
        matches!(self, Self::Submitting | Self::Unclear)
    }
}

/// What a look brought that brought no news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Catena answered, and tells nothing new; of a search: it lists none that can only be this one.
    Answered,
    /// Catena refuses to tell, and will again.
    Refused(String),
    /// Catena didn't answer.
    Failed(String),
}

impl Looked {
    fn words(&self, answered: &str) -> String {
        match self {
            Self::Answered => answered.to_owned(),
            Self::Refused(why) => format!("Catena refuses to tell: {why}"),
            Self::Failed(why) => format!("Catena couldn't be asked: {why}"),
        }
    }
}

impl Operation {
    /// One that is about to be sent for the first time.
    pub fn new(id: String, asked: Asked, payload: Map<String, Value>, now: Timestamp) -> Self {
        Self {
            id,
            asked,
            submitted_at: now,
            called_at: now,
            calls: 1,
            caller_mark: None,
            course: Course::calling(now),
            payload: Some(payload),
            catena_id: None,
            created_at: None,
            heard: Heard::default(),
        }
    }

    /// Sends one again that Catena has nothing of. `false`, and unchanged, for any other: that would be a second write.
    #[must_use]
    pub fn call_again(
        &mut self,
        payload: Map<String, Value>,
        by: &str,
        connection: &str,
        now: Timestamp,
    ) -> bool {
        if !matches!(self.course, Course::Refused(_)) || self.catena_id.is_some() {
            return false;
        }
        self.called_at = now;
        self.calls += 1;
        self.course = Course::calling(now);
        self.payload = Some(payload);
        self.asked.by = by.to_owned();
        self.asked.connection = connection.to_owned();
        true
    }

    /// Catena has it under this id, by its answer or because it was found: the id must be claimed before. Another id than the one that
    /// it has is not taken.
    pub fn accept(
        &mut self,
        catena_id: &str,
        created_at: Option<Timestamp>,
        heard: Heard,
        now: Timestamp,
    ) {
        match &self.catena_id {
            Some(known) if known != catena_id => return,
            Some(_) => {}
            None => {
                self.catena_id = Some(catena_id.to_owned());
                self.course = Course::Accepted {
                    at: now,
                    looked_at: None,
                };
            }
        }
        self.created_at = self.created_at.or(created_at);
        self.payload = None;
        self.heard = std::mem::take(&mut self.heard).join(heard);
    }

    /// Catena has nothing of this call.
    pub fn refuse(&mut self, refused: Refused) {
        if self.catena_id.is_none() && self.is_calling() {
            self.course = Course::Refused(refused);
            self.payload = None;
        }
    }

    /// The call is over, and nobody knows whether Catena has it.
    pub fn lose_answer(&mut self, why: impl Into<String>, now: Timestamp) {
        if let (None, Course::Calling { since, .. }) = (&self.catena_id, &self.course) {
            self.course = Course::Unclear {
                since: *since,
                until: now,
                searched_at: None,
                why: why.into(),
            };
        }
    }

    /// Whether a call is under way, or was when its program ended.
    pub const fn is_calling(&self) -> bool {
        matches!(self.course, Course::Calling { .. })
    }

    /// Notes a look that brought no news. What will never be found out is unknown from then on.
    pub fn note(&mut self, looked: &Looked, policy: &Policy, now: Timestamp) {
        self.settle(now);
        if self.heard.outcome().is_some() {
            return;
        }
        let over = now >= self.deadline(policy);
        match &mut self.course {
            Course::Unclear {
                until,
                searched_at,
                why,
                ..
            } => {
                let answered = !matches!(looked, Looked::Failed(_));
                let searched_enough = now >= until.plus(policy.wait(SEARCHED_MS));
                if (answered && searched_enough) || over {
                    let why = format!(
                        "{why}; {}",
                        looked.words("Catena lists none that can only be this one")
                    );
                    self.lose(why, now);
                } else {
                    *searched_at = Some(now);
                }
            }
            Course::Accepted { .. } if over => {
                let why = looked.words("Catena still tells no end of it");
                self.lose(format!("no end of it was told in time; {why}"), now);
            }
            Course::Accepted { looked_at, .. } => *looked_at = Some(now),
            Course::Calling { .. } | Course::Refused(_) | Course::Lost { .. } => {}
        }
    }

    /// A call whose time is over is unclear.
    fn settle(&mut self, now: Timestamp) {
        if let Course::Calling { since, until } = self.course
            && now >= until
        {
            self.course = Course::Unclear {
                since,
                until,
                searched_at: None,
                why: DIED.to_owned(),
            };
        }
    }

    fn lose(&mut self, why: String, now: Timestamp) {
        self.course = Course::Lost { at: now, why };
        self.payload = None;
    }

    /// Folds what Catena said of its id.
    pub fn hear(&mut self, said: Said) {
        self.heard = std::mem::take(&mut self.heard).fold(said);
    }

    /// Where it stands.
    pub fn status(&self, now: Timestamp) -> Status {
        match (self.heard.outcome(), &self.course) {
            (Some(Outcome::Success), _) => Status::Success,
            (Some(Outcome::Failed), _) => Status::Failed,
            (None, Course::Calling { until, .. }) if now < *until => Status::Submitting,
            (None, Course::Calling { .. } | Course::Unclear { .. }) => Status::Unclear,
            (None, Course::Accepted { .. }) => Status::Pending,
            (None, Course::Refused(_)) => Status::Refused,
            (None, Course::Lost { .. }) => Status::Unknown,
        }
    }

    /// Why it stands so, where that isn't Catena's to say.
    pub fn why(&self) -> Option<&str> {
        match &self.course {
            Course::Calling { .. } | Course::Accepted { .. } => None,
            Course::Unclear { why, .. } | Course::Lost { why, .. } => Some(why),
            Course::Refused(refused) => Some(&refused.why),
        }
    }

    /// When it came to stand so, as far as that is known.
    pub fn settled_at(&self) -> Option<Timestamp> {
        match (self.heard.outcome(), &self.course) {
            (Some(_), _) => self
                .heard
                .newest()
                .map(|said| said.at)
                .filter(|at| at.0 > 0),
            (None, Course::Refused(refused)) => Some(refused.at),
            (None, Course::Lost { at, .. }) => Some(*at),
            (None, _) => None,
        }
    }

    /// From then on an end that Catena didn't tell counts as unknown.
    pub fn deadline(&self, policy: &Policy) -> Timestamp {
        self.called_at.plus(policy.operation_days.millis())
    }

    /// When to look at it; `None` if nothing is expected.
    pub fn due(&self, policy: &Policy) -> Option<Timestamp> {
        if self.heard.outcome().is_some() {
            return None;
        }
        let (from, last, ages) = match &self.course {
            Course::Calling { until, .. } => return Some(*until),
            Course::Unclear {
                until, searched_at, ..
            } => (*until, *searched_at, &SEARCHES_MS[..]),
            Course::Accepted { at, looked_at } => (*at, *looked_at, &POLLS_MS[..]),
            Course::Refused(_) | Course::Lost { .. } => return None,
        };
        let deadline = self.deadline(policy).max(from.plus(policy.wait(ages[0])));
        let next = next_look(from, last, ages, policy);
        Some(match last {
            // The deadline itself is looked at once more; what comes after a look then is over.
            Some(last) if last >= deadline => last.plus(policy.wait(HOUR_MS)),
            _ => next.min(deadline),
        })
    }
}

impl Course {
    fn calling(now: Timestamp) -> Self {
        Self::Calling {
            since: now,
            until: now.plus(CALL_MS),
        }
    }
}

/// The first of the times to look, counted from `from`, that comes after the last look; hourly after the last age.
fn next_look(from: Timestamp, last: Option<Timestamp>, ages: &[i64], policy: &Policy) -> Timestamp {
    let looked = last.map_or(-1, |last| last.0.saturating_sub(from.0));
    let mut usual = ages.iter().map(|age| policy.wait(*age));
    if let Some(age) = usual.clone().find(|age| *age > looked) {
        return from.plus(age);
    }
    let hour = policy.wait(HOUR_MS).max(1);
    let first = usual.next_back().unwrap_or_default();
    let hours = (looked - first) / hour + 1;
    from.plus(first.saturating_add(hours.saturating_mul(hour)))
}

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// After its start no call is still under way: the functions that make calls end before 30 s (template).
pub(crate) const CALL_MS: i64 = 40 * 1000;
/// Ages at which an operation that Catena has is looked at; hourly from then on.
const POLLS_MS: [i64; 4] = [30 * 1000, 2 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS];
/// Ages at which one is searched for; hourly from then on, should Catena not answer.
const SEARCHES_MS: [i64; 5] = [
    10 * 1000,
    30 * 1000,
    2 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
];
/// A search that is answered at this age and finds nothing is the last. How far Catena's lists lag is unknown.
pub(crate) const SEARCHED_MS: i64 = 10 * MINUTE_MS;
const DIED: &str = "the program that called ended before it knew the answer";

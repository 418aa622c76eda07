//! A webhook delivery as it arrives, and what proves it (contract 6.2, 6.3).

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use uuid::Uuid;

use crate::{
    Instant, Keyring, SigningKey,
    gzip::{self, InflateError},
    scrub::{self, Label, RawContent, Scrubbed},
};

/// The largest body as sent, in bytes: what still fits a Lambda event of 6 MB once it is base64.
pub const WIRE_LIMIT: usize = 4 * 1024 * 1024;

/// Untrusted: well-formed headers and an inflated body, nothing proved.
#[derive(Debug)]
pub struct Delivery<'a> {
    signature: [u8; 32],
    timestamp: String,
    signed_at: Instant,
    label: Label,
    body: Cow<'a, [u8]>,
}

/// Why a request can't be a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No genuine delivery looks like this.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The body is over [`WIRE_LIMIT`] as sent.
    #[error("the body is over {WIRE_LIMIT} bytes as sent")]
    Oversize,
    /// The body can't be inflated, or is over its limit then.
    #[error(transparent)]
    Inflate(#[from] InflateError),
}

/// A signature header that no genuine delivery carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("header {header}: {problem}")]
pub struct Malformed {
    /// The header's name, in lower case.
    pub header: &'static str,
    /// What is wrong with it.
    pub problem: MalformedHeader,
}

/// What is wrong with a signature header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHeader {
    /// Not there.
    #[error("absent")]
    Absent,
    /// There without a value.
    #[error("empty")]
    Empty,
    /// There more than once.
    #[error("repeated")]
    Repeated,
    /// Not the padded standard base64 of 32 bytes.
    #[error("not the base64 of 32 bytes")]
    NotASignature,
    /// Not an RFC 3339 time.
    #[error("not an RFC 3339 time")]
    NotATime,
}

/// No key of the keyring made this signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no signing key matches")]
pub struct NoKeyMatches {
    /// The subscription that the delivery names, in its body or else in its header. Unproved.
    pub webhook_id: Option<Uuid>,
    /// Whether the keyring names that subscription: it is ours.
    pub known: bool,
}

/// How old a proved delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Age {
    /// At most [`Age::WINDOW`] from now, on either side.
    Fresh,
    /// Up to [`Age::REPLAY_HORIZON`] old: a replay of dead letters, which Catena keeps for 14 days (contract 6.5).
    Late,
    /// Older than any replay.
    TooOld,
    /// From further ahead than clocks may differ.
    Future,
}

impl Age {
    /// How far a fresh delivery's time may be from now: five minutes (contract 6.3), by our choice on both sides.
    pub const WINDOW: Duration = Duration::from_secs(300);
    /// How old a replay can be: 14 days in Catena's dead letter queue and a day to spare.
    pub const REPLAY_HORIZON: Duration = Duration::from_secs(15 * 24 * 60 * 60);

    /// Judges a signed time.
    pub fn of(signed_at: Instant, now: Instant) -> Self {
        let age = now.millis() - signed_at.millis();
        let window = Self::WINDOW.as_millis() as i64;
        if age < -window {
            Self::Future
        } else if age <= window {
            Self::Fresh
        } else if age <= Self::REPLAY_HORIZON.as_millis() as i64 {
            Self::Late
        } else {
            Self::TooOld
        }
    }
}

/// Proved to be Catena's. May hold tokens, so all it can do is [`scrub`](Verified::scrub).
#[derive(Debug)]
pub struct Verified {
    signed_at: Instant,
    age: Age,
    label: Label,
    content: RawContent,
}

impl Verified {
    /// How old the delivery was when it was verified.
    pub fn age(&self) -> Age {
        self.age
    }

    /// Removes all that must not rest anywhere.
    pub fn scrub(self) -> Scrubbed {
        Scrubbed {
            signed_at: self.signed_at,
            age: self.age,
            content: self.content.scrub(self.label),
        }
    }
}

impl<'a> Delivery<'a> {
    /// Checks the form: headers first, then size, then inflation within [`INFLATED_LIMIT`](crate::INFLATED_LIMIT).
    ///
    /// Header names are compared without case. A header value that joins two (`a,b`, as API Gateway does with repeated
    /// ones) is malformed too.
    pub fn parse<'h>(
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        body: &'a [u8],
    ) -> Result<Self, Refused> {
        let mut signature = Header::new("x-catena-signature");
        let mut timestamp = Header::new("x-catena-timestamp");
        let mut label = Label::default();
        for (name, value) in headers {
            if !(signature.offer(name, value) || timestamp.offer(name, value)) {
                label.offer(name, value);
            }
        }
        let signature = signature.decode(MalformedHeader::NotASignature, |value| {
            STANDARD.decode(value).ok()?.try_into().ok()
        })?;
        let (timestamp, signed_at) = timestamp.decode(MalformedHeader::NotATime, |value| {
            let text = str::from_utf8(value).ok()?;
            Some((text.to_owned(), Instant::parse_rfc3339(text)?))
        })?;
        if body.len() > WIRE_LIMIT {
            return Err(Refused::Oversize);
        }
        Ok(Self {
            signature,
            timestamp,
            signed_at,
            label,
            body: gzip::inflate(body)?,
        })
    }

    /// What the headers outside the MAC say. Good for a log line, proof of nothing.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The only way to a [`Verified`].
    ///
    /// The header's subscription chooses which keys to try besides the shared ones, but it is unsigned: if the body names
    /// another one, only that one's keys and the shared ones count.
    pub fn verify(&self, keyring: &Keyring, now: Instant) -> Result<Verified, NoKeyMatches> {
        let said = self.label.webhook_id();
        if self.matches(keyring.of_all()) {
            return Ok(self.verified(RawContent::parse(&self.body), now));
        }
        if let Some(said) = said
            && self.matches(keyring.of(said))
        {
            let content = RawContent::parse(&self.body);
            match content.webhook_id() {
                Some(named) if named != said && !self.matches(keyring.of(named)) => {}
                _ => return Ok(self.verified(content, now)),
            }
        }
        let named = scrub::peek_webhook_id(&self.body);
        if let Some(named) = named
            && Some(named) != said
            && self.matches(keyring.of(named))
        {
            return Ok(self.verified(RawContent::parse(&self.body), now));
        }
        let webhook_id = named.or(said);
        Err(NoKeyMatches {
            webhook_id,
            known: webhook_id.is_some_and(|id| keyring.knows(id)),
        })
    }

    fn matches<'k>(&self, mut keys: impl Iterator<Item = &'k SigningKey>) -> bool {
        keys.any(|key| key.signed(&self.timestamp, &self.body, &self.signature))
    }

    fn verified(&self, content: RawContent, now: Instant) -> Verified {
        Verified {
            signed_at: self.signed_at,
            age: Age::of(self.signed_at, now),
            label: self.label.clone(),
            content,
        }
    }
}

/// One header that must be there exactly once.
struct Header<'h> {
    name: &'static str,
    value: Result<&'h [u8], MalformedHeader>,
}

impl<'h> Header<'h> {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            value: Err(MalformedHeader::Absent),
        }
    }

    /// Takes the value if the name is this header's.
    fn offer(&mut self, name: &str, value: &'h [u8]) -> bool {
        let mine = name.eq_ignore_ascii_case(self.name);
        if mine {
            self.value = match self.value {
                Err(MalformedHeader::Absent) => Ok(value),
                _ => Err(MalformedHeader::Repeated),
            };
        }
        mine
    }

    fn decode<T>(
        self,
        problem: MalformedHeader,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, Malformed> {
        let decoded = match self.value {
            Ok(b"") => Err(MalformedHeader::Empty),
            Ok(value) => decode(value).ok_or(problem),
            Err(problem) => Err(problem),
        };
        decoded.map_err(|problem| Malformed {
            header: self.name,
            problem,
        })
    }
}

//! What can go wrong with API calls, on demand.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::faults::seconds;

/// A fault of the token endpoint or the API. It waits in a queue; a call gets the first one that fits it.
///
/// ```
/// use simulator::{ApiFault, ApiFaultKind};
/// let fault = ApiFault::new(ApiFaultKind::CutAfter).on("POST", "/v2/orgs/invitations").times(2);
/// ```
///
/// In JSON: `{"kind": "cut_after", "method": "POST", "path": "/v2/orgs/invitations", "times": 2}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApiFault {
    /// Only calls with this method; all if `None`.
    #[serde(default)]
    pub method: Option<String>,
    /// Only calls whose template begins with this, as in `/v2/orgs/invitations/{id}`; all if `None`, the token endpoint
    /// included.
    #[serde(default)]
    pub path: Option<String>,
    /// How many calls it hits (once unless told); `None` (in JSON: null): all, until cleared.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Only calls whose body, as it was sent, contains this text; all if `None`.
    #[serde(default)]
    pub containing: Option<String>,
    /// What happens.
    #[serde(flatten)]
    pub kind: ApiFaultKind,
}

/// What happens to a call. "Processed" means that the call has its effects, whatever the answer says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ApiFaultKind {
    /// 429, not processed.
    TooManyRequests {
        /// `detail.retry_after_seconds`; without it, `detail` is null.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
        /// The header `Retry-After`: seconds or an HTTP date. Catena documents none (contract 2).
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// This error status, not processed: 500 and 504 in their shapes (contract 2), 502 and 503 as a proxy's HTML, others
    /// in the common shape.
    Status {
        /// From 400 on.
        status: u16,
    },
    /// 401, not processed, whatever the token.
    Unauthorized,
    /// Processed and answered as usual, but this much later. Seconds in JSON.
    Slow {
        /// The wait before processing.
        #[serde(with = "seconds")]
        by: Duration,
    },
    /// Processed at once, with its effects and events, and answered as usual, but this much later. Seconds in JSON.
    AnswerLate {
        /// The wait after processing.
        #[serde(with = "seconds")]
        by: Duration,
    },
    /// This error status, as `Status` has it, although the call was processed: of a gateway that gave up waiting.
    StatusAfter {
        /// From 400 on.
        status: u16,
    },
    /// No answer, ever; not processed.
    Stall,
    /// The connection ends without an answer; not processed.
    CutBefore,
    /// The connection ends without an answer; processed.
    CutAfter,
    /// The connection ends in the middle of the body; processed. `Content-Length` tells the whole.
    Truncated,
    /// 200 with HTML instead of JSON, as of a proxy; not processed.
    Html,
    /// 200 with that much JSON in chunks, without a `Content-Length`; not processed.
    Oversized {
        /// The size of the body in MiB.
        mebibytes: usize,
    },
    /// 200 with nothing; processed.
    Empty,
    /// As usual, but as `text/plain`; processed.
    WrongContentType,
}

impl ApiFault {
    /// A fault of the next call, whatever it is.
    pub fn new(kind: ApiFaultKind) -> Self {
        Self {
            method: None,
            path: None,
            times: once(),
            containing: None,
            kind,
        }
    }

    /// Only calls with this method, and with a template that begins with this path.
    #[must_use]
    pub fn on(self, method: &str, path: &str) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            ..self
        }
    }

    /// Only calls whose body contains this text.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        Self {
            containing: Some(text.to_owned()),
            ..self
        }
    }

    /// So many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    /// All calls, until the faults are cleared.
    #[must_use]
    pub fn until_cleared(self) -> Self {
        Self {
            times: None,
            ..self
        }
    }

    fn fits(&self, method: &str, path: &str, body: &[u8]) -> bool {
        self.method
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self
                .path
                .as_deref()
                .is_none_or(|wanted| path.starts_with(wanted))
            && self
                .containing
                .as_deref()
                .is_none_or(|wanted| String::from_utf8_lossy(body).contains(wanted))
            && self.times != Some(0)
    }
}

/// Faults that wait for a call.
#[derive(Default)]
pub(super) struct FaultQueue(Mutex<Vec<ApiFault>>);

impl FaultQueue {
    pub(super) fn add(&self, fault: ApiFault) {
        self.queue().push(fault);
    }

    pub(super) fn list(&self) -> Vec<ApiFault> {
        self.queue().clone()
    }

    pub(super) fn clear(&self) {
        self.queue().clear();
    }

    /// The fault of this call.
    pub(super) fn take(&self, method: &str, path: &str, body: &[u8]) -> Option<ApiFaultKind> {
        let mut queue = self.queue();
        let place = queue
            .iter()
            .position(|fault| fault.fits(method, path, body))?;
        let fault = &mut queue[place];
        let kind = fault.kind.clone();
        fault.times = fault.times.map(|times| times - 1);
        if fault.times == Some(0) {
            queue.remove(place);
        }
        Some(kind)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<ApiFault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a field's default")]
fn once() -> Option<u32> {
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_fault_that_fits_hits_as_often_as_told() {
        let queue = FaultQueue::default();
        queue.add(ApiFault::new(ApiFaultKind::Stall).on("DELETE", "/v2"));
        queue.add(
            ApiFault::new(ApiFaultKind::Html)
                .on("GET", "/v2/orgs/t")
                .times(2),
        );
        queue.add(ApiFault::new(ApiFaultKind::Empty).until_cleared());
        let take = |path| queue.take("GET", path, b"").unwrap();
        assert_eq!(take("/v2/orgs/fleets"), ApiFaultKind::Empty);
        assert_eq!(take("/v2/orgs/tsps"), ApiFaultKind::Html);
        assert_eq!(take("/v2/orgs/tsps/{id}"), ApiFaultKind::Html);
        assert_eq!(take("/v2/orgs/tsps"), ApiFaultKind::Empty);
        assert_eq!(queue.list().len(), 2);
        queue.clear();
        assert_eq!(queue.take("DELETE", "/v2", b""), None);
    }

    #[test]
    fn json_names_the_kind() {
        let read = |text| serde_json::from_str::<ApiFault>(text).unwrap();
        assert_eq!(
            read(r#"{"kind": "slow", "by": 0.5, "method": "GET"}"#),
            ApiFault {
                method: Some("GET".to_owned()),
                ..ApiFault::new(ApiFaultKind::Slow {
                    by: Duration::from_millis(500)
                })
            }
        );
        assert_eq!(
            read(r#"{"kind": "stall", "times": null}"#),
            ApiFault::new(ApiFaultKind::Stall).until_cleared()
        );
    }
}

//! The log of API calls.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use time::OffsetDateTime;

use super::truth::as_text;

/// One call of the token endpoint or the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiCall {
    /// The HTTP method.
    pub method: String,
    /// The path's template, as in `/v2/orgs/invitations/{id}`; of an unknown path, the path itself.
    pub path: String,
    /// The answer's status. `None` while there is no answer, and when none got out: stalled, cut off, or given up by
    /// the caller.
    pub status: Option<u16>,
    /// When the call arrived.
    #[serde(serialize_with = "as_text")]
    pub at: OffsetDateTime,
}

/// Calls, in the order in which they arrived.
#[derive(Default)]
pub(super) struct Calls(Mutex<Log>);

#[derive(Default)]
struct Log {
    calls: VecDeque<(u64, ApiCall)>,
    next: u64,
    in_flight: usize,
    most_in_flight: usize,
}

impl Calls {
    pub(super) fn begin(&self, method: &str, path: &str) -> InFlight<'_> {
        let mut log = self.log();
        let number = log.next;
        log.next += 1;
        log.in_flight += 1;
        log.most_in_flight = log.most_in_flight.max(log.in_flight);
        if log.calls.len() == LOG_LENGTH {
            log.calls.pop_front();
        }
        let call = ApiCall {
            method: method.to_owned(),
            path: path.to_owned(),
            status: None,
            at: OffsetDateTime::now_utc(),
        };
        log.calls.push_back((number, call));
        InFlight {
            calls: self,
            number,
        }
    }

    pub(super) fn list(&self) -> Vec<ApiCall> {
        let calls = &self.log().calls;
        calls.iter().map(|(_, call)| call.clone()).collect()
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.log().most_in_flight
    }

    /// Forgets the calls, and how many there were at the same time.
    pub(super) fn clear(&self) {
        let mut log = self.log();
        log.calls.clear();
        log.most_in_flight = log.in_flight;
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that isn't answered yet. Dropped early when the caller hangs up.
pub(super) struct InFlight<'a> {
    calls: &'a Calls,
    number: u64,
}

impl InFlight<'_> {
    pub(super) fn answered(&self, status: u16) {
        let mut log = self.calls.log();
        let place = log
            .calls
            .binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(place) = place {
            log.calls[place].1.status = Some(status);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.calls.log().in_flight -= 1;
    }
}

/// The newest calls are kept, so that a long-running simulator stays small.
const LOG_LENGTH: usize = 100_000;

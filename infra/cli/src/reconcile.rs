//! `reconcile`: a comparison of all of Catena's lists with our records; and with `--dry-run` what would be asked of Catena now.

use anyhow::{Result, anyhow, bail};
use api::{Passed, short_hash};
use fleet::{Due, FleetRef, Policy, Timestamp, Why};
use reconciliation::{Comparison, Questions};
use serde_json::{Value, json};
use store::{COMMIT_ATTEMPTS, Key, Parked, StoredRecord};

use crate::{
    comparison::Seen,
    readable::{Page, columns, enumerated, plain, row, short_id, wrapped},
    source::Source,
    when::{clock, clock_and_distance, distance, rfc3339},
    words,
};

/// What came of asking for a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// The one that goes on instead: it runs already.
    pub(crate) running: Option<Seen>,
    /// Catena isn't asked before.
    pub(crate) not_before: Option<Timestamp>,
}

/// Writes down that a comparison begins, which the next sweep finds; unless one is running that isn't to begin `anew`. Fails also
/// if it can't be read whether one is.
pub(crate) async fn begin(source: &Source, anew: bool, now: Timestamp) -> Result<Begun> {
    let failed = |error| source.table_failed("begin a comparison in", error);
    for _ in 0..COMMIT_ATTEMPTS {
        let shared = source.table.shared().await.map_err(failed)?;
        let not_before = shared.not_before.filter(|at| *at > now);
        let found = shared.comparison.as_deref().map(Seen::read);
        if let Some(running) = goes_on(found, anew, &source.place, now)? {
            return Ok(Begun {
                running: Some(running),
                not_before,
            });
        }
        let text = Comparison::new(now).text();
        // Whoever goes on with one that is running finds another one there, and stops.
        let written = source.table.compare(&shared, &text, None).await;
        if written.map_err(failed)? {
            return Ok(Begun {
                running: None,
                not_before,
            });
        }
    }
    Err(anyhow!(
        "the comparison of {} goes on so fast that it could not be changed: try again",
        source.place
    ))
}

/// The comparison that goes on instead of another one. Fails if it can't be read whether there is one.
fn goes_on(found: Option<Seen>, anew: bool, place: &str, now: Timestamp) -> Result<Option<Seen>> {
    match found {
        Some(unreadable @ Seen::Unreadable) if !anew => bail!(
            "the comparison of {place} {}\n\
             `kingpin reconcile --anew` replaces it, and begins with the first list.",
            unreadable.words(now)
        ),
        found => Ok(found.filter(|it| it.is_running() && !anew)),
    }
}

pub(crate) fn page(begun: &Begun, place: &str, now: Timestamp) -> Page {
    let place = plain(place);
    let first = match &begun.running {
        Some(running) => format!(
            "{place} compares already, and goes on: it is {}. `kingpin reconcile --anew` begins again with the first list.",
            running.words(now)
        ),
        None => format!(
            "If sweeps are enabled (template parameter Sweep), the reconciler's next one begins to compare Catena's lists with the \
             records of {place}: invitations, share agreements, fleets, connections and integration requests, page by page."
        ),
    };
    let mut text = wrapped("", 0, &first);
    if let Some(at) = begun.not_before {
        let at = clock_and_distance(at, now);
        text += &wrapped("", 0, &left_alone(&at));
    }
    text += "\n";
    text += &wrapped(
        "",
        0,
        "Watch it by `kingpin status`: how far it is, and what it found. What a fleet's record lacked is in its history as \
         `catena.comparison`; the reconciler's log has outcome = compared when it is over.",
    );
    let json = json!({
        "stack": place,
        "as_of": rfc3339(now),
        "begun": begun.running.is_none(),
        "running": begun.running.as_ref().map(Seen::json),
        "left_alone_until": begun.not_before.map(rfc3339),
    });
    Page::new(text, json)
}

/// What is due now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// What the stack is called and where it is.
    pub(crate) place: String,
    /// The first of the fleets that are due, the longest due first.
    pub(crate) fleets: Vec<DueFleet>,
    /// How many are due.
    pub(crate) all_fleets: usize,
    /// The first of the keys under which events wait that are due.
    pub(crate) keys: Vec<DueKey>,
    /// How many there are.
    pub(crate) all_keys: usize,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) comparison: Option<Seen>,
    /// When the next one begins.
    pub(crate) next_comparison: Option<Timestamp>,
}

/// A fleet that is due.
#[derive(Clone, Debug)]
pub(crate) struct DueFleet {
    fleet: FleetRef,
    /// Since when it is due.
    since: Timestamp,
    /// What Catena is to be asked about.
    why: Vec<Why>,
    /// Dates that passed and aren't told yet.
    passed: Vec<Due>,
    asks: Vec<String>,
    /// When Catena is asked, if that isn't now.
    later: Option<Timestamp>,
    /// Why its record can't be read.
    problem: Option<String>,
}

/// A key under which events wait for their fleet.
#[derive(Clone, Debug)]
pub(crate) struct DueKey {
    key: Key,
    events: usize,
    /// Since when the first of them waits.
    oldest: Option<Timestamp>,
}

impl DueFleet {
    /// What a sweep would do about a fleet that is due since a moment.
    pub(crate) fn new(
        since: Timestamp,
        stored: &StoredRecord,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
        let standing = stored.record.standing(policy, now);
        let agenda = stored.agenda(&standing, policy, now);
        let asks = stored.looks.asks(&stored.all_due(&standing), policy);
        let later = asks.first().map(|due| due.at).filter(|at| *at > now);
        Self {
            fleet: stored.fleet.clone(),
            since,
            asks: Questions::of(&stored.record, &agenda.now).words(),
            why: agenda.now,
            passed: stored.passed(policy, now),
            later,
            problem: None,
        }
    }

    /// One whose record can't be read.
    pub(crate) fn unreadable(since: Timestamp, fleet: FleetRef, problem: String) -> Self {
        Self {
            fleet,
            since,
            why: Vec::new(),
            passed: Vec::new(),
            asks: Vec::new(),
            later: None,
            problem: Some(problem),
        }
    }

    fn row(&self, now: Timestamp) -> Vec<String> {
        let passed = self
            .passed
            .iter()
            .map(|date| format!("passed: {}", words::brief(date.why)));
        let why = self.why.iter().map(|why| words::brief(*why).to_owned());
        let why: Vec<String> = passed.chain(why).collect();
        let why = match why.is_empty() {
            true => "-".to_owned(),
            false => why.join(", "),
        };
        let asks = match (&self.problem, self.later) {
            (Some(problem), _) => format!("its record can't be read: {}", plain(problem)),
            (None, Some(later)) if self.asks.is_empty() => {
                format!("nothing before {}", clock_and_distance(later, now))
            }
            (None, _) => enumerated(&self.asks),
        };
        row([
            &plain(self.fleet.as_str()),
            &distance(self.since, now),
            &format!("{:>5}", self.asks.len()),
            &why,
            &asks,
        ])
    }

    fn json(&self) -> Value {
        let why: Vec<_> = self.why.iter().map(|why| why.as_str()).collect();
        let passed: Vec<_> = self.passed.iter().map(Passed::from).collect();
        json!({
            "fleet_ref": self.fleet.as_str(),
            "due_since": rfc3339(self.since),
            "why": why,
            "passed": passed,
            "asks": self.asks,
            "calls": self.asks.len(),
            "not_before": self.later.map(rfc3339),
            "problem": self.problem,
        })
    }
}

impl DueKey {
    /// A key and what waits under it.
    pub(crate) fn new(key: Key, waiting: &[Parked]) -> Self {
        Self {
            key,
            events: waiting.len(),
            oldest: waiting.iter().filter_map(|it| it.since).min(),
        }
    }

    /// Its kind, and as much of its id as tells it from others.
    fn words(&self) -> String {
        match &self.key {
            Key::CatenaFleet(id) => format!("fleet {} at Catena", short_id(id)),
            Key::Connection(id) => format!("connection {}", short_id(id)),
            Key::Invitation(hash) => format!("invitation {}", short_hash(hash)),
        }
    }

    fn row(&self, now: Timestamp) -> Vec<String> {
        let oldest = self.oldest.map(|at| distance(at, now));
        row([
            &self.words(),
            &format!("{:>6}", self.events),
            &oldest.unwrap_or("not known".to_owned()),
        ])
    }

    fn json(&self) -> Value {
        let (kind, id) = match &self.key {
            Key::CatenaFleet(id) => ("catena_fleet", id.clone()),
            Key::Connection(id) => ("connection", id.clone()),
            Key::Invitation(hash) => ("invitation", short_hash(hash)),
        };
        json!({
            "kind": kind,
            "id": id,
            "events": self.events,
            "oldest": self.oldest.map(rfc3339),
        })
    }
}

/// What would be asked of Catena now.
pub(crate) fn dry_run(plan: &Plan, now: Timestamp) -> Page {
    let calls: usize = plan.fleets.iter().map(|it| it.asks.len()).sum();
    let mut text = format!(
        "{}, at {} UTC. Nothing is changed, and Catena isn't asked.\n",
        plain(&plan.place),
        clock(now)
    );
    let not_before = plan.not_before.filter(|at| *at > now);
    if let Some(at) = not_before {
        text += &wrapped("", 0, &left_alone(&clock_and_distance(at, now)));
    }
    text.push('\n');
    if plan.fleets.is_empty() {
        text += "No fleet is due.\n";
    } else {
        let mut rows = vec![row(["FLEET", "DUE", "CALLS", "WHY", "ASKS CATENA FOR"])];
        rows.extend(plan.fleets.iter().map(|it| it.row(now)));
        text += &columns(&rows);
        text += &format!(
            "\n{}: {} to Catena at least; a long list takes several.\n",
            count(plan.fleets.len(), "fleet", "fleets"),
            count(calls, "call", "calls")
        );
        text += &more(plan.fleets.len(), plan.all_fleets, "fleets");
    }
    text.push('\n');
    if plan.keys.is_empty() {
        text += "No event that waits for its fleet is due.\n";
    } else {
        let mut rows = vec![row(["EVENTS WAIT UNDER", "EVENTS", "THE FIRST"])];
        rows.extend(plan.keys.iter().map(|it| it.row(now)));
        text += &columns(&rows);
        let keys = count(plan.keys.len(), "key", "keys");
        text += &format!(
            "\n{keys}: Catena is asked whose each is, in up to two calls; of an invitation it isn't.\n"
        );
        text += &more(plan.keys.len(), plan.all_keys, "keys");
    }
    let comparison = match &plan.comparison {
        Some(seen) => seen.words(now),
        None => "none yet".to_owned(),
    };
    let next = match plan.next_comparison {
        Some(at) if at <= now => "; the next one begins with the next sweep".to_owned(),
        Some(at) => format!("; the next one begins at {}", clock_and_distance(at, now)),
        None => String::new(),
    };
    text.push('\n');
    text += &wrapped(
        "",
        0,
        &format!("Comparison of all of Catena's lists: {comparison}{next}."),
    );
    let json = json!({
        "stack": plan.place,
        "as_of": rfc3339(now),
        "left_alone_until": not_before.map(rfc3339),
        "fleets": plan.fleets.iter().map(DueFleet::json).collect::<Vec<_>>(),
        "parked": plan.keys.iter().map(DueKey::json).collect::<Vec<_>>(),
        "comparison": plan.comparison.as_ref().map(Seen::json),
        "next_comparison": plan.next_comparison.map(rfc3339),
        "totals": { "fleets": plan.all_fleets, "parked_keys": plan.all_keys, "calls_of_shown_fleets": calls },
    });
    Page::new(text, json)
}

fn left_alone(until: &str) -> String {
    format!("Catena asks to be left alone until {until}, UTC: nothing is asked before.")
}

fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn more(shown: usize, all: usize, what: &str) -> String {
    match shown < all {
        true => format!("{shown} of {all} {what}; `--limit {all}` shows all.\n"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    fn over() -> String {
        let finished = Some(NOW);
        let over = Comparison {
            finished,
            ..Comparison::new(NOW)
        };
        over.text()
    }

    #[test]
    fn what_cannot_be_read_is_replaced_only_if_told() {
        let found = || Some(Seen::read(r#"{"form":2}"#));
        let told = goes_on(found(), false, "stack a in b", NOW).unwrap_err();
        let told = told.to_string();
        for part in ["stack a in b", "can't be read", "--anew"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(
            goes_on(found(), true, "stack a in b", NOW)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn one_that_runs_goes_on_unless_told() {
        let running = Comparison::new(NOW).text();
        for (found, anew, expected) in [
            (None, false, false),
            (Some(over()), false, false),
            (Some(running.clone()), false, true),
            (Some(running), true, false),
        ] {
            let seen = found.as_deref().map(Seen::read);
            let goes_on = goes_on(seen, anew, "stack a in b", NOW).unwrap();
            assert_eq!(goes_on.is_some(), expected, "{found:?}, anew: {anew}");
        }
    }
}

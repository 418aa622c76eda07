//! `status`: the whole at a glance.

use std::collections::BTreeMap;

use fleet::{Stage, Timestamp};
use serde_json::{Value, json};

use crate::{
    comparison::Seen,
    readable::{Page, columns},
    when::{Span, clock, clock_and_distance, rfc3339, span},
};

/// What there is to say about a stack.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// What the stack is called and where it is.
    pub(crate) place: String,
    pub(crate) stages: BTreeMap<Stage, usize>,
    /// Fleets whose record can't be read.
    pub(crate) unreadable: usize,
    pub(crate) parked: Waiting,
    pub(crate) due: Waiting,
    pub(crate) operations: OpenOperations,
    pub(crate) quarantined_today: u64,
    pub(crate) quarantined: u64,
    pub(crate) queues: Queues,
    /// Catena isn't asked before.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) comparison: Option<Seen>,
}

/// How many of something wait, and since when the first of them of which that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) count: usize,
    pub(crate) oldest: Option<Timestamp>,
}

/// Write operations whose end is expected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenOperations {
    pub(crate) open: usize,
    /// Those of them that are to be looked at by now.
    pub(crate) due: Waiting,
}

/// How many messages the stack's queues hold. Stacks of older templates don't say all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queues {
    /// Events on their way to the table.
    pub(crate) events: Depth,
    /// Those of them that failed too often.
    pub(crate) dead_letters: Depth,
    /// What is to be looked at.
    pub(crate) tasks: Option<Depth>,
    /// Those of it that failed too often.
    pub(crate) tasks_dead_letters: Option<Depth>,
    /// Changes that couldn't be told.
    pub(crate) publisher_dead_letters: Option<Depth>,
}

/// How many messages a queue holds, about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    pub(crate) waiting: u64,
    /// Received and neither deleted nor given back.
    pub(crate) in_work: u64,
    pub(crate) delayed: u64,
}

impl Waiting {
    pub(crate) fn of(times: impl IntoIterator<Item = Option<Timestamp>>) -> Self {
        let times: Vec<_> = times.into_iter().collect();
        Self {
            count: times.len(),
            oldest: times.into_iter().flatten().min(),
        }
    }

    fn json(self) -> Value {
        json!({ "count": self.count, "oldest": self.oldest.map(rfc3339) })
    }
}

impl Queues {
    /// Those that there are: what each is called in JSON and in text.
    fn named(self) -> impl Iterator<Item = (&'static str, &'static str, Depth)> {
        let named = [
            ("events", "events queue", Some(self.events)),
            ("dead_letters", "  dead letters", Some(self.dead_letters)),
            ("tasks", "tasks queue", self.tasks),
            (
                "tasks_dead_letters",
                "  dead letters",
                self.tasks_dead_letters,
            ),
            (
                "publisher_dead_letters",
                "publisher's dead letters",
                self.publisher_dead_letters,
            ),
        ];
        let named = named.into_iter();
        named.filter_map(|(key, name, depth)| Some((key, name, depth?)))
    }

    fn json(self) -> Value {
        let named = self.named();
        named
            .map(|(key, _, depth)| (key.to_owned(), depth.json()))
            .collect()
    }
}

impl Depth {
    fn text(self) -> String {
        let Self {
            in_work, delayed, ..
        } = self;
        let more = [(in_work, "in work"), (delayed, "delayed")];
        let more = more.into_iter().filter(|(count, _)| *count > 0);
        let more: Vec<_> = more
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match &more[..] {
            [] => String::new(),
            more => format!("and {}", more.join(", ")),
        }
    }

    fn json(self) -> Value {
        json!({ "waiting": self.waiting, "in_work": self.in_work, "delayed": self.delayed })
    }
}

/// Days of quarantine that are counted: as long as it is kept by default.
pub(crate) const DAYS: i64 = 30;

pub(crate) fn page(status: &Status, now: Timestamp) -> Page {
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let number = |name: &str, count: u64, more: &str| {
        vec![name.to_owned(), format!("{count:>6}"), more.to_owned()]
    };
    let since = |words: &str, waiting: Waiting| {
        let age = |oldest: Timestamp| span(Span(now.0.saturating_sub(oldest.0)));
        let oldest = waiting
            .oldest
            .map(|oldest| format!("{words} for {}", age(oldest)));
        oldest.unwrap_or_default()
    };
    let total: usize = status.stages.values().sum();
    let mut rows = vec![number("fleets", total as u64, "")];
    for stage in Stage::ALL {
        let count = status.stages.get(&stage).copied().unwrap_or_default();
        if count > 0 {
            rows.push(number(&format!("  {stage}"), count as u64, ""));
        }
    }
    if status.unreadable > 0 {
        let hint = "their records can't be read: `kingpin fleet list` says why";
        rows.push(number("  unreadable", status.unreadable as u64, hint));
    }
    rows.push(row(["", "", ""]));
    let parked = since("wait for their fleet, the first", status.parked);
    rows.push(number("parked events", status.parked.count as u64, &parked));
    let due = since("fleets to look at, the first", status.due);
    rows.push(number("due now", status.due.count as u64, &due));
    let operations = status.operations;
    rows.push(number("open operations", operations.open as u64, ""));
    let overdue = since("to look at, the first", operations.due);
    rows.push(number("  due now", operations.due.count as u64, &overdue));
    rows.push(number("quarantined today", status.quarantined_today, ""));
    let days = format!("in {DAYS} days");
    rows.push(number(&format!("  {days}"), status.quarantined, ""));
    let queues = status.queues.named();
    rows.extend(queues.map(|(_, name, depth)| number(name, depth.waiting, &depth.text())));
    rows.push(row(["", "", ""]));
    let not_before = status.not_before.filter(|at| *at > now);
    if let Some(at) = not_before {
        let at = clock_and_distance(at, now);
        let asks = format!("asks to be left alone until {at}, and is");
        rows.push(row(["Catena", "", &asks]));
    }
    let comparison = status.comparison.as_ref();
    let comparison = comparison.map_or("none yet".to_owned(), |it| it.words(now));
    rows.push(row(["comparison", "", &comparison]));
    let text = format!(
        "{}, at {} UTC\n\n{}",
        status.place,
        clock(now),
        columns(&rows)
    );

    let by_stage: BTreeMap<&str, usize> = status
        .stages
        .iter()
        .map(|(stage, count)| (stage.as_str(), *count))
        .collect();
    let json = json!({
        "stack": status.place,
        "as_of": rfc3339(now),
        "fleets": { "total": total, "by_stage": by_stage, "unreadable": status.unreadable },
        "parked": status.parked.json(),
        "due": status.due.json(),
        "operations": { "open": status.operations.open, "due": status.operations.due.json() },
        "quarantined": { "today": status.quarantined_today, "last_30_days": status.quarantined },
        "queues": status.queues.json(),
        "catena": { "left_alone_until": not_before.map(rfc3339) },
        "comparison": status.comparison.as_ref().map(Seen::json),
    });
    Page::new(text, json)
}

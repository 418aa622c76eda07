//! `fleet explain`: why a fleet is in its state, for people who never read the code.

use fleet::{
    Code, Decisions, Due, Observation, Override, Policy, Reason, Record, Standing, Timestamp, Why,
};
use reconciliation::Questions;
use serde_json::{Value, json};
use store::{HistoryEntry, StoredRecord};

use crate::{
    history::{self, Teller},
    past,
    readable::{Page, enumerated, granted_id, plain, wrapped},
    show,
    when::{DAY, Span, clock, rfc3339, span},
    words::{self, Words},
};

/// What is asked: a fleet, what led to its record, and the moment that the answer is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) stored: &'a StoredRecord,
    pub(crate) history: &'a [HistoryEntry],
    pub(crate) policy: &'a Policy,
    pub(crate) now: Timestamp,
    /// If it isn't about now.
    pub(crate) at: Option<Timestamp>,
}

pub(crate) fn page(question: Question<'_>) -> Page {
    let Question {
        stored,
        history,
        policy,
        now,
        at,
    } = question;
    let at = at.unwrap_or(now);
    let mut then = stored.clone();
    let tense = if at < now {
        let (record, known) = past::record_at(&stored.record, history, at);
        then.record = record;
        then.look = None;
        Tense::Past(known)
    } else if at > now {
        Tense::Future
    } else {
        Tense::Present
    };
    let answer = Answer {
        standing: then.record.standing(policy, at),
        words: Words {
            facts: &then.record.facts,
            names: &stored.record.facts,
            now: at,
        },
        led: match tense {
            Tense::Past(_) => led(history, at),
            // Also what another clock is ahead with: it is in the record.
            Tense::Present | Tense::Future => led(history, Timestamp(i64::MAX)),
        },
        stored: &then,
        policy,
        tense,
        at,
    };
    let text = answer.text();
    let json = answer.json();
    Page::new(text, json)
}

/// When an answer is about, seen from now.
enum Tense {
    Past(past::Known),
    Present,
    Future,
}

impl Tense {
    fn verb(&self) -> &'static str {
        match self {
            Self::Past(_) => "was",
            Self::Present => "is",
            Self::Future => "will be",
        }
    }

    /// Whether something that counts isn't known any more.
    fn is_uncertain(&self) -> bool {
        matches!(self, Self::Past(known) if !known.gaps.is_empty())
    }

    /// Whether it isn't known any more what the fleet had agreed to.
    fn lacks_agreement(&self) -> bool {
        matches!(self, Self::Past(known) if known.lacks_agreement)
    }

    /// How to take the answer.
    fn notes(&self) -> Vec<String> {
        let known = match self {
            Self::Past(known) => known,
            Self::Present => return Vec::new(),
            Self::Future => {
                return vec!["This is what will be if nothing happens until then.".to_owned()];
            }
        };
        let mut notes = vec![
            "This is what held then, by what is known of that time today and by today's policy."
                .to_owned(),
        ];
        if !known.complete {
            notes.push(
                "The history doesn't reach back to the fleet's beginning: it is kept for a limited time, and folding all \
                 of it doesn't give today's record. What is missing is taken from the record as far as that holds it."
                    .to_owned(),
            );
        }
        if self.is_uncertain() {
            notes.push(format!("Not known any more: {}.", known.gaps.join("; ")));
        }
        notes
    }
}

/// An event, and what it said that had happened by a moment; or dates that had passed by then.
struct Told<'a> {
    entry: &'a HistoryEntry,
    news: Vec<&'a Observation>,
    passed: Vec<Due>,
}

impl Told<'_> {
    fn time(&self) -> Timestamp {
        history::time(self.news.iter().copied(), &self.passed)
    }
}

/// What had happened by a moment, oldest first.
fn led(history: &[HistoryEntry], at: Timestamp) -> Vec<Told<'_>> {
    let told = history.iter().map(|entry| Told {
        entry,
        news: entry
            .news
            .iter()
            .filter(|news| news.at.time() <= at)
            .collect(),
        passed: entry
            .passed
            .iter()
            .copied()
            .filter(|date| date.at <= at)
            .collect(),
    });
    let told = told.filter(|told| !told.news.is_empty() || !told.passed.is_empty());
    let mut led: Vec<_> = told.collect();
    led.sort_by_key(Told::time);
    led
}

struct Answer<'a> {
    stored: &'a StoredRecord,
    standing: Standing,
    words: Words<'a>,
    led: Vec<Told<'a>>,
    policy: &'a Policy,
    tense: Tense,
    at: Timestamp,
}

impl Answer<'_> {
    fn text(&self) -> String {
        let standing = &self.standing;
        let admitted = words::admitted(standing.admission);
        let stage = standing.stage.as_str().replace('_', " ");
        let fleet = plain(self.stored.fleet.as_str());
        let name = self.stored.record.facts.name.as_ref();
        let name = name
            .map(|name| format!(" ({})", plain(name.value())))
            .unwrap_or_default();
        let (certain, verb) = match self.tense.is_uncertain() {
            true => ("As far as is known, ", self.tense.verb()),
            false => ("", self.tense.verb()),
        };
        let mut text = format!("{certain}{fleet}{name} {verb} {stage} and {admitted}.\n");
        if self.is_before_all() {
            text = format!("{certain}{fleet} wasn't heard of then.\n");
        }
        text += &format!("As of {}; all times are UTC.\n", clock(self.at));
        for note in self.notes() {
            text += &wrapped("", 0, &note);
        }
        if self.is_before_all() {
            return text;
        }
        text.push('\n');
        let meaning = format!("{}: {}", standing.stage, words::stage(standing.stage));
        text += &wrapped("Stage      ", 11, &meaning);
        text += &wrapped("Admission  ", 11, &self.words.admission(standing.admission));
        let scopes = match self.words.scopes(standing.data_scopes.iter()) {
            none if standing.data_scopes.is_empty() => {
                format!("{none}: none of its data may be read")
            }
            scopes => scopes,
        };
        text += &wrapped("Data       ", 11, &scopes);

        text += "\nWhy\n";
        for sentence in self.why() {
            text += &wrapped("  - ", 4, &sentence);
        }
        text += "\nWhat was observed, oldest first\n";
        text += &self.observations();
        text += "\nWhat was decided\n";
        for decision in self.decisions() {
            text += &wrapped("  - ", 4, &decision);
        }
        text += match self.tense {
            Tense::Past(_) => "\nWhat was due\n",
            Tense::Present | Tense::Future => "\nWhat is due\n",
        };
        text += &self.due();
        text
    }

    fn json(&self) -> Value {
        let mut json = show::json(self.stored, &self.standing, self.at);
        json["why"] = json!(self.why());
        json["notes"] = json!(self.notes());
        let observations = self.led.iter();
        let observations = observations
            .map(|told| history::json_of(self.words, told.entry, &told.news, &told.passed));
        json["observations"] = observations.collect();
        json["next_look"] = json!(self.next_look().map(|it| it.json()));
        json["failed_looks"] = json!(self.stored.looks.failures());
        json["decisions"] = in_json(&self.stored.record.decisions);
        json
    }

    /// Whether nothing is known of the time that the answer is about: what follows from an empty record is none.
    fn is_before_all(&self) -> bool {
        matches!(self.tense, Tense::Past(_)) && self.stored.record == Record::default()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.tense.notes();
        if self.is_before_all() {
            notes.push("Nothing of the fleet is known of that time or of any before.".to_owned());
        }
        notes
    }

    fn why(&self) -> Vec<String> {
        let sentence = |reason: &Reason| {
            match reason.code {
            Code::AgreementUnknown if self.tense.lacks_agreement() => {
                "What the share agreement said then isn't known any more; so nothing can be said of what it allowed."
                    .to_owned()
            }
            _ => self.words.reason(reason),
        }
        };
        self.standing.reasons.iter().map(sentence).collect()
    }

    fn observations(&self) -> String {
        let left_out = self.led.len().saturating_sub(MOST);
        let mut text = String::new();
        if left_out > 0 {
            let fleet = plain(self.stored.fleet.as_str());
            text += &format!("  … and {left_out} before: `kingpin fleet history {fleet}`\n");
        }
        let shown = || self.led.iter().skip(left_out);
        let widest = shown()
            .map(|told| history::event(told.entry).chars().count())
            .max();
        let widest = widest.unwrap_or_default();
        let mut teller = Teller::new(self.words);
        for told in self.led.iter().take(left_out) {
            // Not shown, but what follows only says what changes.
            teller.lines(&told.news);
        }
        for told in shown() {
            let mut first = format!(
                "  {}  {:widest$}  ",
                clock(told.time()),
                history::event(told.entry)
            );
            let indent = first.chars().count();
            let decisions = &self.stored.record.decisions;
            let passed = told.passed.iter();
            let passed = passed.map(|date| self.words.passed(*date, decisions));
            for line in teller.lines(&told.news).into_iter().chain(passed) {
                text += &wrapped(&first, indent, &line);
                first = " ".repeat(indent);
            }
            let late = told.entry.received.0.saturating_sub(told.time().0);
            if late > LATE {
                text += &wrapped(
                    &first,
                    indent,
                    &format!("(heard of at {})", clock(told.entry.received)),
                );
            }
        }
        if text.is_empty() {
            text += "  Nothing that is kept.\n";
        }
        text
    }

    fn decisions(&self) -> Vec<String> {
        let Decisions {
            grants,
            block,
            pass,
            // Reasons tell what follows from it.
            broken_since: _,
        } = &self.stored.record.decisions;
        let mut decisions = Vec::new();
        for (id, grant) in grants {
            let length = span(Span(grant.ends.0.saturating_sub(grant.starts.0)));
            let over = if grant.ends <= self.at {
                ", which is over"
            } else {
                ""
            };
            decisions.push(format!(
                "Provisional access from {} until {}{over}: {length}, for {}.",
                clock(grant.starts),
                self.words.at(grant.ends),
                self.words.granted_for(id),
            ));
        }
        if let Some(block) = block {
            let at = block.at().time();
            decisions.push(
                self.words
                    .decided(at, "blocked the fleet", block.value().as_ref()),
            );
        }
        if let Some(pass) = pass {
            let at = pass.at().time();
            decisions.push(
                self.words
                    .decided(at, "let the fleet in", pass.value().0.as_ref()),
            );
        }
        if decisions.is_empty() {
            decisions.push(
                "Nothing: no provisional access was granted, and no operator stepped in."
                    .to_owned(),
            );
        }
        decisions
    }

    fn due(&self) -> String {
        let mut due = self.stored.all_due(&self.standing);
        due.retain(|due| due.why != Why::AgreementUnknown || !self.tense.lacks_agreement());
        let mut text = String::new();
        let mut before = self.standing.clone();
        for due in due {
            let mut words = self.words.due(due);
            let first = if due.at <= self.at {
                format!("  - since {}: ", self.words.at(due.at))
            } else {
                let then = self.stored.record.standing(self.policy, due.at);
                if let Some(change) = change(&before, &then) {
                    words = format!("{words}; then {change}");
                }
                before = then;
                format!("  - at {}: ", self.words.at(due.at))
            };
            text += &wrapped("", 4, &format!("{first}{words}."));
        }
        if text.is_empty() {
            text += "  Nothing: it stays like this until something happens.\n";
        }
        for sentence in self.looks() {
            text += &wrapped("  - ", 4, &sentence);
        }
        text
    }

    /// When Catena is asked next; nothing is known of that but for now.
    fn next_look(&self) -> Option<NextLook> {
        if !matches!(self.tense, Tense::Present) {
            return None;
        }
        let due = self.stored.all_due(&self.standing);
        let asks = self.stored.looks.asks(&due, self.policy);
        let at = asks.first()?.at;
        let together = asks.iter().filter(|it| it.at <= at.max(self.at));
        let why: Vec<Why> = together.map(|it| it.why).collect();
        Some(NextLook {
            at,
            asks: Questions::of(&self.stored.record, &why).words(),
            why,
        })
    }

    /// When Catena is asked next, and how that went before.
    fn looks(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let Some(next) = self.next_look() else {
            return sentences;
        };
        let at = self.words.at(next.at);
        let asks = enumerated(&next.asks);
        sentences.push(if !self.stored.looks.are_free(self.at) {
            "Catena is being asked now.".to_owned()
        } else if next.at <= self.at {
            format!("Catena is to be asked since {at}: for {asks}.")
        } else {
            format!("Catena is asked next at {at}: for {asks}.")
        });
        match self.stored.looks.failures() {
            0 => {}
            1 => sentences.push("The last look failed: the reconciler's log says why.".to_owned()),
            some => sentences.push(format!(
                "The last {some} looks failed: the reconciler's log says why."
            )),
        }
        sentences
    }
}

/// When Catena is asked next, because of what, and for what.
struct NextLook {
    at: Timestamp,
    why: Vec<Why>,
    asks: Vec<String>,
}

impl NextLook {
    fn json(&self) -> Value {
        let why: Vec<_> = self.why.iter().map(|why| why.as_str()).collect();
        json!({ "at": rfc3339(self.at), "why": why, "asks": self.asks })
    }
}

/// What was decided, for `--json`: `{grants: [{request, starts, ends}], block, grant}`; the latter two `{at, decided}`, or null if there is none; inside,
/// null if it was lifted.
fn in_json(decisions: &Decisions) -> Value {
    let grants = decisions.grants.iter().map(|(id, grant)| {
        json!({
            "request": granted_id(id),
            "starts": rfc3339(grant.starts),
            "ends": rfc3339(grant.ends),
        })
    });
    let decided = |at: Timestamp, decided: Option<&Override>| {
        let decided = decided.map(|it| {
            let mut said = json!({ "author": it.author(), "reason": it.reason() });
            if let Some(ends) = it.ends() {
                said["ends"] = rfc3339(ends);
            }
            said
        });
        json!({ "at": rfc3339(at), "decided": decided })
    };
    let block = decisions.block.as_ref();
    let pass = decisions.pass.as_ref();
    json!({
        "grants": grants.collect::<Vec<_>>(),
        "block": block.map(|it| decided(it.at().time(), it.value().as_ref())),
        "grant": pass.map(|it| decided(it.at().time(), it.value().0.as_ref())),
    })
}

/// What differs between two moments of a fleet.
fn change(before: &Standing, then: &Standing) -> Option<String> {
    let mut is = Vec::new();
    if before.stage != then.stage {
        is.push(then.stage.as_str().replace('_', " "));
    }
    if before.admission.as_str() != then.admission.as_str() {
        is.push(words::admitted(then.admission).to_owned());
    }
    let mut changes = Vec::new();
    if !is.is_empty() {
        changes.push(format!("it is {}", is.join(" and ")));
    }
    match (before.data_scopes.is_empty(), then.data_scopes.is_empty()) {
        (false, true) => changes.push("its data may not be read any more".to_owned()),
        (true, false) => changes.push("its data may be read".to_owned()),
        _ => {}
    }
    (!changes.is_empty()).then(|| changes.join(", and "))
}

/// Events that are shown; the history has all.
const MOST: usize = 60;
/// What is heard of so much later than it happened came late.
const LATE: i64 = DAY / 24;

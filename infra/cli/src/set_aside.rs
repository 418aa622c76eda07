//! What `quarantine` prints: what was set aside, and what came of releasing or dropping it.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    str::FromStr,
};

use fleet::Timestamp;
use serde_json::{Value, json};
use store::{SetAside, StoreError};
use time::{Date, macros::format_description};

use crate::{
    readable::{Page, columns, indented, plain, row, wrapped},
    when::{clock, clock_and_distance, parse_day, rfc3339},
};

/// How something that was set aside is called: its day, and the digits that its digest begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) day: Date,
    pub(crate) digest: String,
}

/// Something that was found in quarantine.
#[derive(Debug)]
pub(crate) enum Kept {
    Readable(SetAside),
    /// Why it can't be read.
    Unreadable(String),
}

/// What was found in quarantine.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Oldest first.
    shown: Vec<SetAside>,
    /// How many of what was looked for there are.
    total: usize,
    /// How many of them have each reason.
    reasons: BTreeMap<String, usize>,
    pub(crate) unreadable: Vec<String>,
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Release,
    Drop,
}

/// What stays in quarantine, and why.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    id: Id,
    why: String,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) selected: usize,
    pub(crate) done: usize,
    /// Somebody else was faster, or it was set aside again meanwhile.
    pub(crate) gone: usize,
    pub(crate) left: Vec<Left>,
    /// Why others can't be read.
    pub(crate) unreadable: Vec<String>,
    /// Why the rest wasn't tried.
    pub(crate) stopped: Option<String>,
}

impl Id {
    fn of(found: &SetAside) -> Self {
        let digest = found.message.digest.clone();
        Self {
            day: found.day,
            digest,
        }
    }

    /// As much of it as tells it from others, but for a chance of one in billions, which is noticed.
    fn short(&self) -> String {
        let digest: String = self.digest.chars().take(SHORT).collect();
        let day = self.day;
        Self { day, digest }.to_string()
    }
}

impl Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.day.format(format_description!("[year]-[month]-[day]"));
        write!(f, "{}/{}", day.unwrap_or_default(), plain(&self.digest))
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (day, digest) = text.split_once('/').ok_or(NO_ID)?;
        let day = parse_day(day).map_err(|_| NO_ID)?;
        let is_digest = !digest.is_empty() && digest.chars().all(|c| c.is_ascii_hexdigit());
        is_digest.then_some(()).ok_or(NO_ID)?;
        let digest = digest.to_ascii_lowercase();
        Ok(Self { day, digest })
    }
}

impl From<Result<SetAside, StoreError>> for Kept {
    fn from(found: Result<SetAside, StoreError>) -> Self {
        match found {
            Ok(found) => Self::Readable(found),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

impl Listing {
    pub(crate) fn of(found: impl IntoIterator<Item = Kept>) -> Self {
        let mut listing = Self::default();
        for kept in found {
            match kept {
                Kept::Readable(found) => {
                    let reason = found.message.reason.clone();
                    *listing.reasons.entry(reason).or_default() += 1;
                    listing.shown.push(found);
                }
                Kept::Unreadable(problem) => listing.unreadable.push(problem),
            }
        }
        listing.shown.sort_by(|one, other| {
            (one.at, &one.message.digest).cmp(&(other.at, &other.message.digest))
        });
        listing.total = listing.shown.len();
        listing
    }

    /// Leaves the oldest.
    pub(crate) fn cut(&mut self, limit: usize) {
        self.shown.truncate(limit);
    }

    /// What it is done with, and what stays.
    pub(crate) fn split(&self, change: Change) -> (Vec<SetAside>, Vec<Left>) {
        let can = |it: &&SetAside| change == Change::Drop || it.bytes.is_some();
        let (wanted, left): (Vec<_>, Vec<_>) = self.shown.iter().partition(can);
        let wanted = wanted.into_iter().cloned().collect();
        let left = left.into_iter().map(|it| Left::new(it, NO_BODY.to_owned()));
        (wanted, left.collect())
    }
}

impl Change {
    pub(crate) fn doing(self) -> &'static str {
        match self {
            Self::Release => "releasing",
            Self::Drop => "dropping",
        }
    }

    fn infinitive(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Drop => "drop",
        }
    }

    fn participle(self) -> &'static str {
        match self {
            Self::Release => "released",
            Self::Drop => "dropped",
        }
    }

    pub(crate) fn question(self, count: usize, place: &str) -> String {
        let (what, place) = (events(count), plain(place));
        match self {
            Self::Release => format!("Send {what} of {place} to its events queue again?"),
            Self::Drop => format!("Remove {what} of {place} for good, unprocessed?"),
        }
    }
}

impl Left {
    pub(crate) fn new(found: &SetAside, why: String) -> Self {
        let id = Id::of(found);
        Self { id, why }
    }
}

impl Outcome {
    pub(crate) fn is_complete(&self) -> bool {
        self.left.is_empty() && self.unreadable.is_empty() && self.stopped.is_none()
    }
}

pub(crate) fn list(listing: &Listing, now: Timestamp) -> Page {
    let mut text = match listing.shown.is_empty() {
        true => "Nothing like that is in quarantine.\n".to_owned(),
        false => table(&listing.shown),
    };
    if listing.shown.len() < listing.total {
        let (shown, total) = (listing.shown.len(), listing.total);
        text += &format!("\n{shown} of {total}, the oldest; `--limit {total}` shows all.\n");
    }
    if !listing.reasons.is_empty() {
        text += "\nBy reason\n";
        let mut reasons: Vec<_> = listing.reasons.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
        text += &indented(
            reasons
                .into_iter()
                .map(|(reason, count)| row([&format!("{count:>5}"), &plain(reason)])),
        );
    }
    if listing.shown.iter().any(|it| it.bytes.is_none()) {
        text += "\nWhat has no content can't be released: nobody knows whether there was a token in it.\n";
    }
    text += &problems(&listing.unreadable);
    let json = json!({
        "as_of": rfc3339(now),
        "total": listing.total,
        "events": listing.shown.iter().map(json_of).collect::<Vec<_>>(),
        "reasons": listing.reasons,
        "unreadable": listing.unreadable,
    });
    Page::new(text, json)
}

/// Something that was set aside, with its body.
pub(crate) fn show(found: &SetAside, now: Timestamp) -> Page {
    let message = &found.message;
    let rows = [
        row(["set aside", &clock_and_distance(found.at, now)]),
        row(["kept until", &clock_and_distance(found.until, now)]),
        row(["event", &event_of(found)]),
        row(["reason", &plain(&message.reason)]),
        row(["content", &size(found.bytes)]),
    ];
    let mut text = format!(
        "{}; all times are UTC.\n\n{}\n",
        Id::of(found),
        columns(&rows)
    );
    let body = message.body.as_deref();
    let body: Option<Value> = body.map(|it| serde_json::from_str(it).unwrap_or_else(|_| json!(it)));
    match &body {
        Some(body) => {
            for line in format!("{body:#}").lines() {
                text += &plain(line);
                text.push('\n');
            }
        }
        None => {
            text += &wrapped(
                "",
                0,
                &format!("It {NO_BODY}. `kingpin quarantine drop` removes it."),
            )
        }
    }
    let mut json = json_of(found);
    json["as_of"] = rfc3339(now);
    json["body"] = json!(body);
    Page::new(text, json)
}

/// What would be done.
pub(crate) fn dry_run(listing: &Listing, change: Change, place: &str, now: Timestamp) -> Page {
    let shown = &listing.shown;
    let can = |it: &&SetAside| change == Change::Drop || it.bytes.is_some();
    let wanted = shown.iter().filter(can).count();
    let mut text = format!(
        "Would {} {} of {}. Nothing was changed.\n",
        change.infinitive(),
        events(wanted),
        plain(place)
    );
    if wanted < shown.len() {
        let left = shown.len() - wanted;
        text += &format!("{left} would stay: without content nothing can be released.\n");
    }
    if !shown.is_empty() {
        let first = &shown[..shown.len().min(FIRST)];
        text += &format!("\n{}", table(first));
        if first.len() < shown.len() {
            text += &format!("and {} more\n", shown.len() - first.len());
        }
    }
    text += &problems(&listing.unreadable);
    let json = json!({
        "stack": place,
        "as_of": rfc3339(now),
        "dry_run": true,
        "selected": shown.len(),
        change.participle(): 0,
        "would_be": wanted,
        "events": shown.iter().map(json_of).collect::<Vec<_>>(),
        "unreadable": listing.unreadable,
    });
    Page::new(text, json)
}

/// What was done.
pub(crate) fn changed(outcome: &Outcome, change: Change, place: &str, now: Timestamp) -> Page {
    let Outcome {
        selected,
        done: count,
        gone,
        left,
        unreadable,
        stopped,
    } = outcome;
    let place = plain(place);
    let of = match count == selected {
        true => events(*count),
        false => format!("{count} of {}", events(*selected)),
    };
    let first = match change {
        _ if *selected == 0 => format!("Nothing like that is in quarantine in {place}."),
        Change::Release => format!(
            "Released {of} of {place}: sent to the events queue, and removed from quarantine."
        ),
        Change::Drop => format!("Dropped {of} of {place}."),
    };
    let mut text = wrapped("", 0, &first);
    if *gone > 0 {
        let gone = match gone {
            1 => "One was".to_owned(),
            more => format!("{more} were"),
        };
        text += &wrapped(
            "",
            0,
            &format!(
                "{gone} gone, because somebody else was faster, or set aside again meanwhile."
            ),
        );
    }
    if change == Change::Release && *count > 0 {
        text += &wrapped(
            "",
            0,
            "The event processor takes them in within seconds. What it still can't process it sets aside again: `kingpin quarantine \
             list --since 1h` shows that.",
        );
    }
    if !left.is_empty() {
        text += "\nLeft in quarantine\n";
        let rows = left.iter().map(|it| row([&it.id.short(), &plain(&it.why)]));
        text += &indented(rows);
    }
    text += &problems(unreadable);
    if let Some(stopped) = stopped {
        let rest = selected.saturating_sub(count + gone + left.len());
        text += &format!(
            "\nStopped with {rest} untried or uncertain: the same command again goes on.\n{stopped}\n"
        );
    }
    let left = left
        .iter()
        .map(|it| json!({ "id": it.id.to_string(), "why": it.why }));
    let json = json!({
        "stack": place,
        "as_of": rfc3339(now),
        "dry_run": false,
        "selected": selected,
        change.participle(): count,
        "gone": gone,
        "left": left.collect::<Vec<_>>(),
        "unreadable": unreadable,
        "stopped": stopped,
    });
    Page::new(text, json)
}

fn table(shown: &[SetAside]) -> String {
    let mut rows = vec![row(["ID", "SET ASIDE", "EVENT", "CONTENT", "REASON"])];
    rows.extend(shown.iter().map(|it| {
        row([
            &Id::of(it).short(),
            &clock(it.at),
            &event_of(it),
            &size(it.bytes),
            &plain(&it.message.reason),
        ])
    }));
    columns(&rows)
}

fn json_of(found: &SetAside) -> Value {
    json!({
        "id": Id::of(found).to_string(),
        "at": rfc3339(found.at),
        "kept_until": rfc3339(found.until),
        "event": found.message.event_name,
        "reason": found.message.reason,
        "bytes": found.bytes,
        "releasable": found.bytes.is_some(),
    })
}

fn problems(unreadable: &[String]) -> String {
    let problems = unreadable.iter();
    problems
        .map(|problem| format!("\nOne can't be read: {}.\n", plain(problem)))
        .collect()
}

fn events(count: usize) -> String {
    match count {
        1 => "1 quarantined event".to_owned(),
        _ => format!("{count} quarantined events"),
    }
}

/// A name, or a dash if it isn't known.
fn event_of(found: &SetAside) -> String {
    let name = found.message.event_name.as_deref();
    name.filter(|name| !name.is_empty())
        .map_or("-".to_owned(), plain)
}

fn size(bytes: Option<usize>) -> String {
    match bytes {
        None => "none".to_owned(),
        Some(bytes) if bytes < 1024 => format!("{bytes} B"),
        Some(bytes) => format!("{} KiB", bytes.div_ceil(1024)),
    }
}

const NO_BODY: &str = "has no content, because it isn't known to be free of tokens";
const NO_ID: &str =
    "write a day and at least one digit, as `quarantine list` shows them: 2026-11-21/3f9a";
/// Digits of a digest.
const SHORT: usize = 12;
/// How many a dry run shows.
const FIRST: usize = 20;

#[cfg(test)]
mod tests {
    use store::Quarantined;
    use time::macros::date;

    use super::*;
    use crate::when::{DAY, timestamp};

    const PLACE: &str = "stack kingpin in eu-central-1";

    fn now() -> Timestamp {
        timestamp(time::macros::datetime!(2026-11-21 12:00 UTC))
    }

    fn found(n: i64, event: Option<&str>, reason: &str, body: Option<&str>) -> SetAside {
        let at = now().plus(-n * 1_000_000);
        SetAside {
            day: date!(2026 - 11 - 21),
            at,
            until: at.plus(30 * DAY),
            bytes: body.map(str::len),
            message: Quarantined {
                digest: format!("{n:02x}").repeat(16),
                reason: reason.to_owned(),
                event_name: event.map(str::to_owned),
                body: body.map(str::to_owned),
            },
        }
    }

    fn some() -> Vec<SetAside> {
        let body = r#"{"v":1,"received_at":"2026-11-21T08:00:00Z","delivery":{"signed_at":"2026-11-21T09:00:00Z","age":"future","content":{"envelope":{"event_name":"invitation.accepted","data":[{"fleet_ref":"FLEET-42","note":"a\u001bb\u202e"}]}}}}"#;
        let long = "x".repeat(5000);
        vec![
            found(
                7,
                Some("invitation.accepted"),
                "signed in the future",
                Some(body),
            ),
            found(
                9,
                Some("fleet_info.modified"),
                "an event that this version doesn't know",
                Some(&long),
            ),
            found(
                8,
                Some("invitation.viewed"),
                "signed in the future",
                Some(body),
            ),
            found(
                3,
                None,
                "not a message of this program: line 1, column 8; 7 bytes",
                None,
            ),
        ]
    }

    fn listing(found: Vec<SetAside>) -> Listing {
        Listing::of(found.into_iter().map(Kept::Readable))
    }

    #[test]
    fn what_was_set_aside_is_listed_and_shown() {
        let mut cut = listing(some());
        cut.cut(2);
        let mut damaged = listing(Vec::new());
        damaged
            .unreadable
            .push("item QUARANTINE#2026-11-21 ab is damaged: no text reason".to_owned());
        let pages = [
            list(&listing(some()), now()),
            list(&cut, now()),
            list(&damaged, now()),
            show(&some()[0], now()),
            show(&some()[3], now()),
        ];
        let texts = pages.each_ref().map(|page| page.text.as_str());
        insta::assert_snapshot!("quarantine", texts.join("---\n"));
        let json = json!({ "list": pages[0].json, "show": pages[3].json });
        insta::assert_json_snapshot!("quarantine-json", json);
    }

    #[test]
    fn what_would_be_done_is_told() {
        let many = (0..25).map(|n| found(n, Some("a.b"), "signed in the future", Some("{}")));
        let pages = [
            dry_run(&listing(some()), Change::Release, PLACE, now()),
            dry_run(&listing(some()), Change::Drop, PLACE, now()),
            dry_run(&listing(many.collect()), Change::Release, PLACE, now()),
            dry_run(&listing(Vec::new()), Change::Release, PLACE, now()),
        ];
        let texts = pages.each_ref().map(|page| page.text.as_str());
        let questions = [
            Change::Release.question(1000, PLACE),
            Change::Drop.question(1, PLACE),
        ];
        let text = format!("{}---\n{}\n", texts.join("---\n"), questions.join("\n"));
        insta::assert_snapshot!("quarantine-dry-run", text);
        insta::assert_json_snapshot!("quarantine-dry-run-json", pages[0].json);
    }

    #[test]
    fn what_was_done_is_told_and_whether_it_was_all() {
        let all = Outcome {
            selected: 1000,
            done: 1000,
            ..Outcome::default()
        };
        let partly = Outcome {
            selected: 4,
            done: 1,
            gone: 1,
            left: listing(some()).split(Change::Release).1,
            ..Outcome::default()
        };
        let stopped = Outcome {
            selected: 1000,
            done: 40,
            stopped: Some("could not send quarantined events again to events queue https://q of stack kingpin: timeout".to_owned()),
            ..Outcome::default()
        };
        let nothing = Outcome::default();
        let complete = [&all, &partly, &stopped, &nothing].map(Outcome::is_complete);
        assert_eq!(complete, [true, false, false, true]);
        let pages = [
            changed(&all, Change::Release, PLACE, now()),
            changed(&partly, Change::Release, PLACE, now()),
            changed(&stopped, Change::Release, PLACE, now()),
            changed(&nothing, Change::Release, PLACE, now()),
            changed(&all, Change::Drop, PLACE, now()),
        ];
        let texts = pages.each_ref().map(|page| page.text.as_str());
        insta::assert_snapshot!("quarantine-changed", texts.join("---\n"));
        insta::assert_json_snapshot!("quarantine-changed-json", pages[1].json);
    }

    #[test]
    fn what_has_no_content_can_be_dropped_but_not_released() {
        let (wanted, left) = listing(some()).split(Change::Release);
        assert_eq!((wanted.len(), left.len()), (3, 1));
        let (wanted, left) = listing(some()).split(Change::Drop);
        assert_eq!((wanted.len(), left.len()), (4, 0));
    }

    #[test]
    fn an_id_is_a_day_and_the_beginning_of_a_digest() {
        let id: Id = "2026-11-21/3F9a".parse().unwrap();
        assert_eq!(id.to_string(), "2026-11-21/3f9a");
        let whole = Id::of(&some()[0]);
        assert_eq!(whole.to_string().parse(), Ok(whole.clone()));
        assert!(whole.to_string().starts_with(&whole.short()));
        for none in [
            "",
            "3f9a",
            "2026-11-21",
            "2026-11-21/",
            "2026-11/3f",
            "2026-11-21/xyz",
        ] {
            assert!(none.parse::<Id>().is_err(), "{none}");
        }
    }
}

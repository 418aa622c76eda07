//! `dlq`: messages that failed too often are listed, or moved back to their queue.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use fleet::Timestamp;
use queue::{DeadLetter, Message, NotSentAgain, Task};
use serde_json::{Value, json};

use crate::{
    confirm::{can_be_asked, confirmed},
    pace::{Pace, Progress},
    readable::{Page, columns, indented, plain, row, wrapped},
    source::{DeadLetterQueue, Source},
    status::Depth,
    when::{distance, rfc3339},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How many there are, and the first of them
    #[command(after_help = LIST)]
    List {
        /// Whose dead letters
        #[arg(long, value_enum, default_value = "events")]
        queue: Queue,
        /// This many at most
        #[arg(long, value_name = "N", default_value = "10")]
        limit: NonZeroUsize,
    },
    /// Move them back to the events queue, as they are
    #[command(after_help = REDRIVE)]
    Redrive {
        /// Whose dead letters; those of events alone can be moved back
        #[arg(long, value_enum, default_value = "events")]
        queue: Queue,
        /// This many at most
        #[arg(long, value_name = "N")]
        limit: Option<NonZeroUsize>,
        /// This many per second at most
        #[arg(long, value_name = "N", default_value = "20")]
        per_second: NonZeroU32,
        /// Move nothing: say what would be moved
        #[arg(long)]
        dry_run: bool,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

/// Whose dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Queue {
    /// Events on their way to the table.
    Events,
    /// What the reconciler was to look at.
    Tasks,
    /// Changes that couldn't be told on the event bus.
    Publisher,
}

/// A dead letter as it is listed: names, and nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    id: String,
    sent: Option<Timestamp>,
    received: Option<u32>,
    what: Option<String>,
    fleet: Option<String>,
}

/// Dead letters that were looked at.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) queue: Queue,
    pub(crate) place: String,
    pub(crate) depth: Depth,
    pub(crate) letters: Vec<Letter>,
    /// They couldn't be given back, and are hidden until the look's time is over.
    pub(crate) hidden: bool,
}

/// What came of moving dead letters back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) count: usize,
    /// Those that were sent and are there still, to be seen again.
    pub(crate) twice: usize,
    /// Those that stay, by their id, and why.
    pub(crate) left: BTreeMap<String, String>,
    /// Why the rest wasn't tried.
    pub(crate) stopped: Option<String>,
}

impl Verb {
    /// What is wrong with it that each option alone doesn't tell.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
        match self {
            Self::Redrive { queue, .. } => queue.stays(),
            Self::List { .. } => None,
        }
    }
}

impl Queue {
    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Tasks => "tasks",
            Self::Publisher => "publisher",
        }
    }

    /// Why its dead letters aren't moved back, and what to do instead.
    fn stays(self) -> Option<&'static str> {
        match self {
            Self::Events => None,
            Self::Tasks => Some(TASKS_STAY),
            Self::Publisher => Some(PUBLISHERS_STAY),
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::Events => {
                "Find the cause in event-processor's log (outcome = retried) and mend it; then `kingpin dlq redrive` moves them back."
            }
            Self::Tasks => TASKS_STAY,
            Self::Publisher => PUBLISHERS_STAY,
        }
    }
}

impl Letter {
    pub(crate) fn of(queue: Queue, letter: &DeadLetter) -> Self {
        let (what, fleet) = about(queue, &letter.message.body);
        Self {
            id: letter.id.clone(),
            sent: letter.sent_at.map(Timestamp),
            received: letter.received,
            what,
            fleet,
        }
    }

    fn json(&self) -> Value {
        json!({
            "message_id": self.id,
            "sent": self.sent.map(rfc3339),
            "received": self.received,
            "what": self.what,
            "fleet_ref": self.fleet,
        })
    }
}

/// What a message is about and which fleet it names, as far as it can be read.
fn about(queue: Queue, body: &str) -> (Option<String>, Option<String>) {
    match queue {
        Queue::Events => match Message::read(body) {
            Ok(message) => {
                let about = message.about();
                (about.event, about.fleet)
            }
            Err(_) => (None, None),
        },
        Queue::Tasks => match Task::read(body) {
            Ok(Task::Operations) => (Some("operations".to_owned()), None),
            Ok(Task::Compare) => (Some("compare".to_owned()), None),
            Ok(Task::Requests) => (Some("requests".to_owned()), None),
            Ok(Task::Subscriptions) => (Some("subscriptions".to_owned()), None),
            Ok(Task::Parked(_)) => (Some("parked".to_owned()), None),
            Ok(Task::Fleet(fleet)) => (Some("fleet".to_owned()), Some(fleet)),
            Err(_) => (None, None),
        },
        Queue::Publisher => {
            let letter: Value = serde_json::from_str(body).unwrap_or_default();
            let fleet = letter["pk"]
                .as_str()
                .and_then(|pk| pk.strip_prefix("FLEET#"));
            let reason = letter["reason"].as_str().map(str::to_owned);
            // Lambda's own, of a batch of the stream.
            let cut_off = letter["requestContext"].is_object();
            let what = reason.or(cut_off.then(|| "not told for 23 hours".to_owned()));
            (what, fleet.map(str::to_owned))
        }
    }
}

pub(crate) async fn page(verb: &Verb, source: &Source, now: Timestamp) -> Result<Page> {
    match verb {
        Verb::List { queue, limit } => {
            let looked = look(source, *queue, limit.get()).await?;
            Ok(list(&looked, now))
        }
        Verb::Redrive {
            limit,
            dry_run: true,
            ..
        } => {
            let looked = look(source, Queue::Events, LOOKED_AT).await?;
            let limit = limit.map(NonZeroUsize::get);
            Ok(dry_run(&looked, limit, now))
        }
        Verb::Redrive {
            limit,
            per_second,
            yes,
            ..
        } => {
            let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
            redrive(source, limit, Pace::new(*per_second), *yes, now).await
        }
    }
}

async fn look(source: &Source, queue: Queue, limit: usize) -> Result<Looked> {
    let from = source.dead_letters(queue)?;
    let depth = source.depth(&from.url).await?;
    let mut received = Vec::new();
    while received.len() < limit {
        let some = receive(source, &from, limit - received.len(), LOOKING).await?;
        if some.is_empty() {
            break;
        }
        received.extend(some);
    }
    let given_back = from.letters.give_back(&received).await;
    let letters = received.iter().map(|letter| Letter::of(queue, letter));
    let mut letters: Vec<_> = letters.collect();
    letters.sort_by(|one, other| (one.sent, &one.id).cmp(&(other.sent, &other.id)));
    Ok(Looked {
        queue,
        place: source.place.clone(),
        depth,
        letters,
        hidden: given_back.is_err(),
    })
}

async fn receive(
    source: &Source,
    from: &DeadLetterQueue,
    most: usize,
    hidden: Duration,
) -> Result<Vec<DeadLetter>> {
    let received = from.letters.receive(most, hidden).await;
    received.map_err(|error| source.dead_letters_failed("look into", from, &error))
}

async fn redrive(
    source: &Source,
    limit: usize,
    mut pace: Pace,
    yes: bool,
    now: Timestamp,
) -> Result<Page> {
    can_be_asked(yes)?;
    let from = source.dead_letters(Queue::Events)?;
    let depth = source.depth(&from.url).await?;
    let about = limit.min(depth.waiting as usize);
    if about > 0 {
        let place = plain(&source.place);
        let question =
            format!("Move about {about} dead letters back to the events queue of {place}?");
        confirmed(yes, &question)?;
    }
    let mut moved = Moved::default();
    let progress = Progress::new("moving back", about);
    while moved.seen() < limit {
        let most = pace.batch().min(limit - moved.seen());
        let worked = move_some(source, &from, most, &mut pace, &mut moved).await;
        match worked {
            Ok(true) => progress.tell(moved.count),
            Ok(false) => break,
            Err(error) => {
                moved.stopped = Some(format!("{error:#}"));
                break;
            }
        }
    }
    drop(progress);
    Ok(redriven(&moved, &depth, &source.place, now)
        .failed_unless(moved.left.is_empty() && moved.stopped.is_none()))
}

/// Sends some, and then removes them: a crash in between leaves them in both places, which does no harm. Says whether there may be
/// more.
async fn move_some(
    source: &Source,
    from: &DeadLetterQueue,
    most: usize,
    pace: &mut Pace,
    moved: &mut Moved,
) -> Result<bool> {
    let letters = receive(source, from, most, MOVING).await?;
    // Those that the events queue refuses come again, and again.
    let letters: Vec<_> = letters
        .into_iter()
        .filter(|letter| !moved.left.contains_key(&letter.id))
        .collect();
    if letters.is_empty() {
        return Ok(false);
    }
    pace.wait(letters.len()).await;
    let messages: Vec<_> = letters
        .iter()
        .map(|letter| letter.message.clone())
        .collect();
    let answers = source.events_queue().send_again(&messages).await;
    let (mut taken, mut unavailable) = (Vec::new(), None);
    for (letter, answer) in letters.iter().zip(answers) {
        match answer {
            Ok(()) => taken.push(letter),
            Err(NotSentAgain::Refused(why)) => {
                moved.left.insert(letter.id.clone(), why);
            }
            Err(error @ NotSentAgain::Unavailable(_)) => unavailable = Some(error),
        }
    }
    moved.count += taken.len();
    let removed = from.letters.remove(&taken).await;
    moved.twice += removed.map_err(|error| {
        moved.twice += taken.len();
        source.dead_letters_failed("remove what was sent again from", from, &error)
    })?;
    match unavailable {
        Some(error) => Err(source.events_queue_failed("send dead letters to", &error)),
        None => Ok(true),
    }
}

impl Moved {
    fn seen(&self) -> usize {
        self.count + self.left.len()
    }
}

pub(crate) fn list(looked: &Looked, now: Timestamp) -> Page {
    let Looked {
        queue,
        place,
        depth,
        letters,
        hidden,
    } = looked;
    let mut text = counted(*queue, depth, place);
    if !letters.is_empty() {
        text += &format!("\n{}\n", table(letters, now));
        text += &wrapped("", 0, queue.next_step());
    }
    if *hidden {
        text += &wrapped("", 0, HIDDEN);
    }
    Page::new(text, json_of(looked, now))
}

/// What would be moved back.
pub(crate) fn dry_run(looked: &Looked, limit: Option<usize>, now: Timestamp) -> Page {
    let Looked {
        queue,
        place,
        depth,
        letters,
        hidden,
    } = looked;
    let about = depth
        .waiting
        .min(limit.map_or(u64::MAX, |limit| limit as u64));
    let mut text = counted(*queue, depth, place);
    text += &format!("Would move about {about} back to the events queue. Nothing was moved.\n");
    if !letters.is_empty() {
        text += &format!("\n{}", table(letters, now));
    }
    if *hidden {
        text += &wrapped("", 0, HIDDEN);
    }
    let mut json = json_of(looked, now);
    json["dry_run"] = json!(true);
    json["would_be"] = json!(about);
    json["moved"] = json!(0);
    Page::new(text, json)
}

/// What was moved back.
pub(crate) fn redriven(moved: &Moved, before: &Depth, place: &str, now: Timestamp) -> Page {
    let Moved {
        count,
        twice,
        left,
        stopped,
    } = moved;
    let place = plain(place);
    let mut text = match count {
        0 => format!("Nothing was moved back to the events queue of {place}.\n"),
        1 => format!("Moved 1 dead letter back to the events queue of {place}.\n"),
        _ => format!("Moved {count} dead letters back to the events queue of {place}.\n"),
    };
    if before.in_work > 0 {
        let hidden = before.in_work;
        let others = format!(
            "{hidden} were hidden when this began, because somebody looked at them or moved them: try again in a minute."
        );
        text += &wrapped("", 0, &others);
    }
    if *twice > 0 {
        text += &wrapped(
            "",
            0,
            &format!(
                "{twice} of them may be dead letters still: that they are moved twice does no harm."
            ),
        );
    }
    if !left.is_empty() {
        text += "\nLeft, because the events queue refuses them\n";
        text += &indented(left.iter().map(|(id, why)| row([&plain(id), &plain(why)])));
    }
    if let Some(stopped) = stopped {
        text += &format!("\nStopped: the same command again goes on.\n{stopped}\n");
    }
    let json = json!({
        "stack": place,
        "as_of": rfc3339(now),
        "dry_run": false,
        "moved": count,
        "perhaps_twice": twice,
        "left": left,
        "stopped": stopped,
    });
    Page::new(text, json)
}

fn counted(queue: Queue, depth: &Depth, place: &str) -> String {
    let count = match depth.waiting {
        1 => "1 dead letter".to_owned(),
        waiting => format!("{waiting} dead letters"),
    };
    let hidden = match depth.in_work {
        0 => String::new(),
        hidden => format!(", and {hidden} that are hidden now"),
    };
    let name = queue.as_str();
    format!("About {count} of {name} in {}{hidden}.\n", plain(place))
}

fn table(letters: &[Letter], now: Timestamp) -> String {
    let mut rows = vec![row(["MESSAGE", "SENT", "RECEIVED", "WHAT", "FLEET"])];
    rows.extend(letters.iter().map(|letter| {
        let or_dash = |text: Option<&str>| text.map_or("-".to_owned(), plain);
        let sent = letter.sent.map(|sent| distance(sent, now));
        let received = letter.received.map(|received| format!("{received:>8}"));
        row([
            &plain(&letter.id),
            &or_dash(sent.as_deref()),
            &or_dash(received.as_deref()),
            &or_dash(letter.what.as_deref()),
            &or_dash(letter.fleet.as_deref()),
        ])
    }));
    columns(&rows)
}

fn json_of(looked: &Looked, now: Timestamp) -> Value {
    json!({
        "stack": looked.place,
        "as_of": rfc3339(now),
        "queue": looked.queue.as_str(),
        "waiting": looked.depth.waiting,
        "hidden": looked.depth.in_work,
        "messages": looked.letters.iter().map(Letter::json).collect::<Vec<_>>(),
    })
}

/// How long those are hidden that are looked at: longer than a look takes.
const LOOKING: Duration = Duration::from_secs(30);
/// The same of those that are being moved.
const MOVING: Duration = Duration::from_secs(60);
/// How many a dry run looks at.
const LOOKED_AT: usize = 10;

const HIDDEN: &str = "They could not be given back, so looking hides them from others for half a minute: is \
    sqs:ChangeMessageVisibility allowed?";

const TASKS_STAY: &str = "Tasks' dead letters need no redrive: what they were for is due again, and the next sweep finds it. Find the \
    cause in reconciler's log (outcome = task-retried), and purge them: `aws sqs purge-queue --queue-url` with the stack's output \
    TasksDeadLetterQueueUrl.";

const PUBLISHERS_STAY: &str = "The publisher's dead letters hold no events but places in the stream, so there is nothing to move back: \
    records are right all the same. Ask the partner API for those fleets, or `kingpin fleet show`; find the cause in publisher's log \
    (outcome = retried or dead-lettered), and purge them: `aws sqs purge-queue --queue-url` with the stack's output \
    PublisherDeadLetterQueueUrl.";

const LIST: &str = "\
Example: `kingpin dlq list --queue tasks` tells how many there are, and of the first ten when they were first sent, how often they
were received, and what they are about. While it looks it hides them from others, for half a minute if it is interrupted.";

const REDRIVE: &str = "\
Example: `kingpin dlq redrive --limit 100 --dry-run` says what would be moved; without --dry-run it asks, and does.

Each is sent to the events queue as it is and then removed, so a crash leaves it in both places, which does no harm. Order and
repeats do no harm either. SQS has a redrive of its own (StartMessageMoveTask), which can neither be tried out nor limited.

Exit code 1 says that something is left.";

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "stack kingpin in eu-central-1";
    const NOW: Timestamp = Timestamp(1_795_262_400_000);

    fn looked(queue: Queue, waiting: u64, in_work: u64, letters: Vec<Letter>) -> Looked {
        Looked {
            queue,
            place: PLACE.to_owned(),
            depth: Depth {
                waiting,
                in_work,
                ..Depth::default()
            },
            letters,
            hidden: false,
        }
    }

    fn letter(n: u32, what: Option<&str>, fleet: Option<&str>) -> Letter {
        Letter {
            id: format!("5d1c1f6e-0000-4000-8000-00000000000{n}"),
            sent: Some(NOW.plus(-i64::from(n) * 3_600_000)),
            received: Some(20 + n),
            what: what.map(str::to_owned),
            fleet: fleet.map(str::to_owned),
        }
    }

    #[test]
    fn dead_letters_are_listed_by_name() {
        let events = vec![
            letter(5, Some("invitation.accepted"), Some("FLEET-42")),
            letter(2, None, None),
        ];
        let tasks = vec![letter(1, Some("fleet"), Some("FLEET-42"))];
        let untold = vec![letter(1, Some("damaged"), Some("FLEET-42"))];
        let hidden = Looked {
            hidden: true,
            ..looked(Queue::Events, 12, 0, events.clone())
        };
        let pages = [
            list(&hidden, NOW),
            list(&looked(Queue::Events, 12, 0, events.clone()), NOW),
            list(&looked(Queue::Events, 0, 3, Vec::new()), NOW),
            list(&looked(Queue::Tasks, 1, 0, tasks), NOW),
            list(&looked(Queue::Publisher, 1, 0, untold), NOW),
            dry_run(&looked(Queue::Events, 12, 0, events), Some(5), NOW),
        ];
        let texts = pages.each_ref().map(|page| page.text.as_str());
        insta::assert_snapshot!("dlq", texts.join("---\n"));
        let json = json!({ "list": pages[1].json, "dry_run": pages[5].json });
        insta::assert_json_snapshot!("dlq-json", json);
    }

    #[test]
    fn what_was_moved_is_told() {
        let before = Depth {
            waiting: 12,
            in_work: 3,
            ..Depth::default()
        };
        let all = Moved {
            count: 12,
            ..Moved::default()
        };
        let partly = Moved {
            count: 11,
            twice: 1,
            left: [("5d1c1f6e".to_owned(), "too long".to_owned())].into(),
            stopped: Some("could not look into dead-letter queue https://q: timeout".to_owned()),
        };
        let pages = [
            redriven(&all, &before, PLACE, NOW),
            redriven(&partly, &before, PLACE, NOW),
            redriven(&Moved::default(), &before, PLACE, NOW),
        ];
        let texts = pages.each_ref().map(|page| page.text.as_str());
        insta::assert_snapshot!("redriven", texts.join("---\n"));
        insta::assert_json_snapshot!("redriven-json", pages[1].json);
    }

    #[test]
    fn letters_are_read_as_far_as_they_can_be() {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        for (queue, body, what, fleet) in [
            (Queue::Events, "hunter2", None, None),
            (
                Queue::Tasks,
                r#"{"v":1,"task":{"fleet":"F"}}"#,
                Some("fleet"),
                Some("F"),
            ),
            (
                Queue::Tasks,
                r#"{"v":1,"task":"compare"}"#,
                Some("compare"),
                None,
            ),
            (Queue::Tasks, r#"{"v":2}"#, None, None),
            (
                Queue::Publisher,
                r#"{"reason":"damaged","pk":"FLEET#F","sk":"RECORD","version":3,"sequence_number":"1"}"#,
                Some("damaged"),
                Some("F"),
            ),
            (
                Queue::Publisher,
                r#"{"requestContext":{},"DDBStreamBatchInfo":{}}"#,
                Some("not told for 23 hours"),
                None,
            ),
            (Queue::Publisher, "", None, None),
        ] {
            assert_eq!(about(queue, body), (owned(what), owned(fleet)), "{body}");
        }
    }

    #[test]
    fn what_needs_no_redrive_is_refused_with_what_to_do() {
        for (queue, refused) in [
            (Queue::Events, false),
            (Queue::Tasks, true),
            (Queue::Publisher, true),
        ] {
            let told = queue.stays();
            assert_eq!(told.is_some(), refused, "{queue:?}");
            assert!(told.is_none_or(|told| told.contains("purge-queue")));
        }
    }
}

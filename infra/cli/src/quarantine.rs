//! `quarantine`: what the event processor set aside is listed, shown, sent again, or dropped.

use std::num::{NonZeroU32, NonZeroUsize};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use fleet::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use queue::{AsItWas, NotSentAgain};
use store::{Commit, SetAside, StoreError};
use time::{Date, Duration, OffsetDateTime};

use crate::{
    confirm::{can_be_asked, confirmed},
    pace::{Pace, Progress},
    readable::Page,
    set_aside::{self, Change, Id, Kept, Left, Listing, Outcome},
    source::Source,
    when::{Span, parse_day, parse_span, timestamp},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What was set aside and why, oldest first
    #[command(after_help = LIST)]
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// All that is known of something that was set aside, with its content
    #[command(after_help = SHOW)]
    Show {
        /// Its id as `quarantine list` shows it; the beginning will do
        #[arg(value_name = "ID")]
        id: Id,
    },
    /// Send it to the events queue again, and remove it from here
    #[command(after_help = RELEASE)]
    Release {
        #[command(flatten)]
        selection: Selection,
        /// This many per second at most
        #[arg(long, value_name = "N", default_value = "20")]
        per_second: NonZeroU32,
    },
    /// Remove it for good, unprocessed
    #[command(after_help = DROP)]
    Drop {
        #[command(flatten)]
        selection: Selection,
    },
}

/// Which of what was set aside.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Filter {
    /// What was set aside within this, 24h or 7d for example
    #[arg(long, value_name = "DURATION", value_parser = parse_span, conflicts_with = "day")]
    since: Option<Span>,
    /// What was set aside on this day (UTC), 2026-11-21 for example
    #[arg(long, value_name = "DATE", value_parser = parse_day)]
    day: Option<Date>,
    /// Events of this name, invitation.accepted for example
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// What has this in its reason; capitals don't matter
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// This many at most, the oldest (`list`: 100)
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
}

/// What is changed, and how.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Ids as `quarantine list` shows them; beginnings will do
    #[arg(value_name = "ID", conflicts_with = "all")]
    ids: Vec<Id>,
    /// All, or all of which the filters are true
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Change nothing: say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Verb {
    /// What is wrong with it that each option alone doesn't tell.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
        match self {
            Self::List { .. } | Self::Show { .. } => None,
            Self::Release { selection, .. } | Self::Drop { selection } => {
                let Selection {
                    ids, all, filter, ..
                } = selection;
                let wrong = !all && (ids.is_empty() || filter.is_used());
                wrong.then_some(
                    "say which: IDs, or --all; filters choose among all, so give --all with them",
                )
            }
        }
    }
}

impl Filter {
    fn is_used(&self) -> bool {
        self.since.is_some()
            || self.day.is_some()
            || self.event.is_some()
            || self.reason.is_some()
            || self.limit.is_some()
    }

    /// The first moment that is looked at, and the days.
    fn days(&self, clock: OffsetDateTime) -> (Timestamp, Vec<Date>) {
        if let Some(day) = self.day {
            return (Timestamp(i64::MIN), vec![day]);
        }
        let kept = Duration::days(LONGEST_KEPT);
        let wanted = self
            .since
            .map_or(kept, |Span(millis)| Duration::milliseconds(millis));
        let from = clock - wanted.min(kept);
        // The functions' clocks may be ahead.
        let last = (clock + Duration::days(1)).date();
        let days = std::iter::successors(Some(from.date()), |day| day.next_day());
        (
            timestamp(from),
            days.take_while(|day| *day <= last).collect(),
        )
    }

    fn wants(&self, found: &SetAside) -> bool {
        let event = self.event.as_ref();
        let reason = self.reason.as_ref().map(|reason| reason.to_lowercase());
        event.is_none_or(|event| found.message.event_name.as_ref() == Some(event))
            && reason.is_none_or(|reason| found.message.reason.to_lowercase().contains(&reason))
    }
}

pub(crate) async fn page(verb: &Verb, source: &Source, clock: OffsetDateTime) -> Result<Page> {
    let now = timestamp(clock);
    Ok(match verb {
        Verb::List { filter } => {
            let mut listing = find(source, filter, clock).await?;
            let limit = filter.limit.map_or(LISTED, NonZeroUsize::get);
            listing.cut(limit);
            set_aside::list(&listing, now)
        }
        Verb::Show { id } => {
            let found = [one(source, id).await?];
            let still = source.table.set_aside_still(&found).await;
            let still = still.map_err(|error| failed(source, error))?;
            let shown = still.first().ok_or_else(|| gone(id, &source.place))?;
            set_aside::show(shown, now)
        }
        Verb::Release {
            selection,
            per_second,
        } => {
            change(
                source,
                selection,
                Change::Release,
                Pace::new(*per_second),
                clock,
            )
            .await?
        }
        Verb::Drop { selection } => {
            change(source, selection, Change::Drop, Pace::new(DROPS), clock).await?
        }
    })
}

async fn change(
    source: &Source,
    selection: &Selection,
    change: Change,
    mut pace: Pace,
    clock: OffsetDateTime,
) -> Result<Page> {
    let now = timestamp(clock);
    if !selection.dry_run {
        can_be_asked(selection.yes)?;
    }
    let listing = selected(source, selection, clock).await?;
    if selection.dry_run {
        return Ok(set_aside::dry_run(&listing, change, &source.place, now));
    }
    let (wanted, left) = listing.split(change);
    if !wanted.is_empty() {
        let question = change.question(wanted.len(), &source.place);
        confirmed(selection.yes, &question)?;
    }
    let mut outcome = Outcome {
        selected: wanted.len() + left.len(),
        left,
        unreadable: listing.unreadable,
        ..Outcome::default()
    };
    let progress = Progress::new(change.doing(), wanted.len());
    for some in wanted.chunks(pace.batch()) {
        pace.wait(some.len()).await;
        let worked = match change {
            Change::Release => release(source, some, &mut outcome).await,
            Change::Drop => remove(source, some, &mut outcome).await,
        };
        if let Err(error) = worked {
            outcome.stopped = Some(format!("{error:#}"));
            break;
        }
        progress.tell(outcome.done + outcome.gone + outcome.left.len());
    }
    drop(progress);
    Ok(set_aside::changed(&outcome, change, &source.place, now)
        .failed_unless(outcome.is_complete()))
}

/// Sends some again, and then removes what was sent. A crash in between leaves it in both places, which does no harm: it is the same
/// event twice.
async fn release(source: &Source, some: &[SetAside], outcome: &mut Outcome) -> Result<()> {
    let still = source.table.set_aside_still(some).await;
    let still = still.map_err(|error| failed(source, error))?;
    outcome.gone += some.len() - still.len();
    let (mut sent, mut messages) = (Vec::new(), Vec::new());
    for it in &still {
        match AsItWas::released(it.message.body.as_deref().unwrap_or_default()) {
            Ok(message) => {
                sent.push(it);
                messages.push(message);
            }
            Err(unreadable) => outcome.left.push(Left::new(it, unreadable.to_string())),
        }
    }
    let answers = source.events_queue().send_again(&messages).await;
    let (mut taken, mut unavailable) = (Vec::new(), None);
    for (it, answer) in sent.into_iter().zip(answers) {
        match answer {
            Ok(()) => taken.push(it),
            Err(NotSentAgain::Refused(why)) => {
                let why = format!("the events queue refuses it: {why}");
                outcome.left.push(Left::new(it, why));
            }
            Err(error @ NotSentAgain::Unavailable(_)) => unavailable = Some(error),
        }
    }
    outcome.done += taken.len();
    // What was set aside once more meanwhile, or removed by somebody else, stays as it is.
    let removed = take_out(source, &taken).await;
    removed.map_err(|error| {
        let error = source.table_failed("remove what was sent again from", error);
        anyhow!("{error:#}\nWhat was sent last is in quarantine still: that it is released twice does no harm.")
    })?;
    match unavailable {
        Some(error) => Err(source.events_queue_failed("send quarantined events again to", &error)),
        None => Ok(()),
    }
}

async fn remove(source: &Source, some: &[SetAside], outcome: &mut Outcome) -> Result<()> {
    let some: Vec<&SetAside> = some.iter().collect();
    let removed = take_out(source, &some).await;
    let removed =
        removed.map_err(|error| source.table_failed("drop quarantined events from", error))?;
    outcome.done += removed;
    outcome.gone += some.len() - removed;
    Ok(())
}

/// Removes those that are still as they were found, and says how many were.
async fn take_out(source: &Source, some: &[&SetAside]) -> Result<usize, StoreError> {
    let removed = some.iter().map(|it| source.table.remove_set_aside(it));
    let removed: Vec<_> = removed.collect();
    let removed: Vec<Commit<()>> = stream::iter(removed)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let removed = removed.iter().filter(|it| **it == Commit::Written(()));
    Ok(removed.count())
}

async fn selected(
    source: &Source,
    selection: &Selection,
    clock: OffsetDateTime,
) -> Result<Listing> {
    if selection.all {
        let mut listing = find(source, &selection.filter, clock).await?;
        if let Some(limit) = selection.filter.limit {
            listing.cut(limit.get());
        }
        return Ok(listing);
    }
    let mut found: Vec<SetAside> = Vec::new();
    for id in &selection.ids {
        let one = one(source, id).await?;
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(Listing::of(found.into_iter().map(Kept::Readable)))
}

/// All that the filter wants, oldest first, without its limit.
async fn find(source: &Source, filter: &Filter, clock: OffsetDateTime) -> Result<Listing> {
    let (from, days) = filter.days(clock);
    let days = days.into_iter().map(|day| async move {
        let found = source.table.set_aside_on(day, "").await?;
        Ok(found.into_iter().map(Kept::from).collect())
    });
    let days: Vec<_> = days.collect();
    let found: Vec<Vec<Kept>> = stream::iter(days)
        .buffered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(|error| failed(source, error))?;
    let wanted = |kept: &Kept| match kept {
        Kept::Readable(found) => found.at >= from && filter.wants(found),
        Kept::Unreadable(_) => true,
    };
    Ok(Listing::of(found.into_iter().flatten().filter(wanted)))
}

async fn one(source: &Source, id: &Id) -> Result<SetAside> {
    let found = source.table.set_aside_on(id.day, &id.digest).await;
    let mut found = found.map_err(|error| failed(source, error))?;
    match (found.pop(), found.len()) {
        (None, _) => Err(gone(id, &source.place)),
        (Some(found), 0) => found.map_err(|error| failed(source, error)),
        (Some(_), others) => bail!(
            "{} things that were set aside in {} begin with {id}: write more of it",
            others + 1,
            source.place
        ),
    }
}

fn gone(id: &Id, place: &str) -> anyhow::Error {
    anyhow!(
        "nothing like {id} is set aside in {place}\n\
         Perhaps it was released or dropped, or its time was over; `kingpin quarantine list` shows what is there."
    )
}

fn failed(source: &Source, error: StoreError) -> anyhow::Error {
    source.table_failed("read what was set aside from", error)
}

/// Days: the longest that the template lets it be kept, and some that DynamoDB may take to delete it.
const LONGEST_KEPT: i64 = 370;
/// How many are listed unless it is said.
const LISTED: usize = 100;
/// Per second.
const DROPS: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// Requests at a time.
const CONCURRENCY: usize = 8;

const LIST: &str = "\
Example: `kingpin quarantine list --since 7d --reason future` lists what was set aside in the last seven days for a reason with that
word. Nothing is changed.";

const SHOW: &str = "\
Example: `kingpin quarantine show 2026-11-21/3f9a` shows the one whose id begins like that. Its content was freed of tokens, magic
links and invitation ids before it was queued.";

const RELEASE: &str = "\
Example: `kingpin quarantine release --all --since 24h --dry-run` says what would be released; without --dry-run it asks, and does.

Each is sent to the events queue first and then removed, so a crash leaves it in both places, which does no harm. Order and repeats
do no harm either. Who releases a delivery vouches for its age: it is taken though it was signed in the future or too long ago.
What still can't be processed is set aside again, as a new item. What has no content is named and left: `drop` removes it.

Exit code 1 says that something is left.";

const DROP: &str = "\
Example: `kingpin quarantine drop 2026-11-21/3f9a` asks, and removes that one. What it said is lost unless the reconciler finds it out;
`kingpin fleet recheck` makes it look.";

#[cfg(test)]
mod tests {
    use fleet::Timestamp;
    use store::Quarantined;
    use time::macros::{date, datetime};

    use super::*;
    use crate::when::DAY;

    fn found(event_name: Option<&str>, reason: &str) -> SetAside {
        SetAside {
            day: date!(2026 - 11 - 21),
            at: Timestamp(0),
            until: Timestamp(0),
            bytes: None,
            message: Quarantined {
                digest: "0".repeat(32),
                reason: reason.to_owned(),
                event_name: event_name.map(str::to_owned),
                body: None,
            },
        }
    }

    #[test]
    fn filters_hold_together() {
        let filter = Filter {
            event: Some("a.b".to_owned()),
            reason: Some("Future".to_owned()),
            ..Filter::default()
        };
        assert!(filter.wants(&found(Some("a.b"), "signed in the future")));
        assert!(!filter.wants(&found(Some("a.c"), "signed in the future")));
        assert!(!filter.wants(&found(None, "signed in the future")));
        assert!(!filter.wants(&found(Some("a.b"), "signed long ago")));
        assert!(Filter::default().wants(&found(None, "whatever")));
    }

    #[test]
    fn days_are_those_that_the_time_touches_and_the_next() {
        let clock = datetime!(2026-11-21 06:00 UTC);
        let days = |since, day| {
            let filter = Filter {
                since,
                day,
                ..Filter::default()
            };
            filter.days(clock).1
        };
        let (today, tomorrow) = (date!(2026 - 11 - 21), date!(2026 - 11 - 22));
        let hours = |hours| Some(Span(hours * DAY / 24));
        assert_eq!(days(hours(5), None), [today, tomorrow]);
        let yesterday = date!(2026 - 11 - 20);
        assert_eq!(days(hours(7), None), [yesterday, today, tomorrow]);
        assert_eq!(days(None, Some(yesterday)), [yesterday]);
        let all = days(None, None);
        assert_eq!(all.len(), LONGEST_KEPT as usize + 2);
        assert_eq!(days(Some(Span(i64::MAX)), None), all);
    }
}

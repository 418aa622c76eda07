//! The operator's command line: asks a stack why its fleets are in their states. What it changes, it changes through the
//! partner API: invitations and operators' decisions.

mod access;
mod args;
mod explain;
#[cfg(test)]
mod goldens;
mod history;
mod invite;
mod link;
mod list;
mod partner;
mod past;
mod problem;
mod readable;
mod show;
mod source;
mod status;
mod when;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::ExitCode,
};

use anyhow::{Result, anyhow};
use fleet::{FleetRef, Stage, Timestamp};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use store::{DueItem, Key, StoredRecord};
use time::{Duration, OffsetDateTime};

use crate::{
    args::{Arguments, Command, Fleet, Link},
    explain::Question,
    list::{Filter, Listing, Row},
    partner::{Call, Partner},
    readable::Page,
    source::{Found, Source},
    status::{Status, Waiting},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let page = match page(&arguments).await {
        Ok(page) => page,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "it talks to a terminal")]
            {
                eprintln!("error: {error:#}");
            }
            return ExitCode::FAILURE;
        }
    };
    let text = if arguments.json {
        format!("{:#}\n", page.json)
    } else {
        page.text
    };
    // Whoever reads it may have seen enough (`| head`).
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

async fn page(arguments: &Arguments) -> Result<Page> {
    let found = &Found::find(&arguments.place).await?;
    let clock = OffsetDateTime::now_utc();
    let now = when::timestamp(clock);
    Ok(match &arguments.command {
        Command::Invite(invite) => {
            let request = invite::request(invite);
            let call = Call::invite(&invite.fleet, &request, invite.reopen);
            invite::page(answer(found, &call, clock).await?, now)
        }
        Command::Uninvite { fleet } => {
            invite::withdrawn(fleet, answer(found, &Call::uninvite(fleet), clock).await?)
        }
        Command::Link(Link::Rotate { fleet }) => {
            link::rotated(answer(found, &Call::rotate(fleet), clock).await?, now)
        }
        Command::Fleet(Fleet::Access { fleet }) => {
            access::page(answer(found, &Call::access(fleet), clock).await?)
        }
        Command::Fleet(Fleet::Override(over)) => {
            access::page(answer(found, &access::decision(over, now), clock).await?)
        }
        Command::Status => status::page(&look_around(&Source::of(found)?, clock).await?, now),
        Command::Fleet(Fleet::List(wanted)) => {
            let filter = Filter {
                stage: wanted.stage,
                stuck: wanted.stuck,
                ending_within: wanted.ending_within,
                limit: wanted.limit.get(),
            };
            list::page(&all(&Source::of(found)?, now).await?, &filter, now)
        }
        Command::Fleet(Fleet::Show { fleet }) => {
            let source = &Source::of(found)?;
            show::page(&record(source, fleet).await?, &source.policy, now)
        }
        Command::Fleet(Fleet::Explain { fleet, at }) => {
            let source = &Source::of(found)?;
            let stored = &record(source, fleet).await?;
            let history = &source.history(fleet).await?;
            explain::page(Question {
                stored,
                history,
                policy: &source.policy,
                now,
                at: at.map(|at| at.from(now)),
            })
        }
        Command::Fleet(Fleet::History { fleet }) => {
            let source = &Source::of(found)?;
            let facts = &record(source, fleet).await?.record.facts;
            history::page(fleet, facts, &source.history(fleet).await?, now)
        }
    })
}

/// What the partner API answers; the table isn't touched.
async fn answer(found: &Found, call: &Call, clock: OffsetDateTime) -> Result<Value> {
    Partner::of(found)?.call(call, clock.into()).await
}

async fn record(source: &Source, fleet: &FleetRef) -> Result<StoredRecord> {
    let read = source.table.record(fleet).await;
    let stored =
        read.map_err(|error| source.table_failed("read the fleet's record from", error))?;
    if stored.version == 0 {
        return Err(unknown(fleet, &source.place));
    }
    Ok(stored)
}

fn unknown(fleet: &FleetRef, place: &str) -> anyhow::Error {
    anyhow!(
        "fleet {fleet} was never heard of in {place}\n\
         Check its reference, capitals included; `kingpin fleet list` shows those that are there.\n\
         Events that wait for their fleet to become known are counted by `kingpin status`."
    )
}

/// All fleets, each as its record says now: an index only knows where it was when it was last written.
async fn all(source: &Source, now: Timestamp) -> Result<Listing> {
    let failed = |error| source.table_failed("list the fleets of", error);
    let stages = Stage::ALL.map(|stage| source.table.fleets_in(stage, None, usize::MAX));
    let fleets: Vec<Vec<FleetRef>> = stream::iter(stages)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(failed)?;
    let mut fleets: Vec<FleetRef> = fleets.into_iter().flatten().collect();
    fleets.sort();
    fleets.dedup();
    let mut listing = Listing::default();
    for some in fleets.chunks(AT_A_TIME) {
        let some: BTreeSet<FleetRef> = some.iter().cloned().collect();
        let found = source.table.look_up(&BTreeSet::new(), &some).await;
        for (fleet, stored) in found.map_err(failed)?.records {
            match stored {
                Ok(stored) if stored.version == 0 => {}
                Ok(stored) => listing.rows.push(Row::new(&stored, &source.policy, now)),
                Err(error) => listing.unreadable.push((fleet, error.to_string())),
            }
        }
    }
    Ok(listing)
}

async fn look_around(source: &Source, clock: OffsetDateTime) -> Result<Status> {
    let now = when::timestamp(clock);
    let listing = all(source, now).await?;
    let mut stages = BTreeMap::new();
    for row in &listing.rows {
        *stages.entry(row.stage).or_default() += 1;
    }

    let due = source.table.due(clock + PARKED_WITHIN, usize::MAX).await;
    let due = due.map_err(|error| source.table_failed("look for what is due in", error))?;
    let (mut keys, mut fleets) = (BTreeSet::new(), Vec::new());
    for (at, item) in due {
        match item {
            DueItem::Parked { key, .. } => {
                keys.insert(key);
            }
            DueItem::Fleet(_) if at <= now.0 => fleets.push(Some(Timestamp(at))),
            DueItem::Fleet(_) => {}
        }
    }
    let parked = parked_since(source, keys).await?;

    let days =
        (0..status::DAYS).map(|ago| source.table.quarantined_on(clock - Duration::days(ago)));
    let days: Vec<u64> = stream::iter(days)
        .buffered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(|error| source.table_failed("count what is quarantined in", error))?;
    let (events, dead_letters) = source.depths().await?;
    Ok(Status {
        place: source.place.clone(),
        stages,
        unreadable: listing.unreadable.len(),
        parked: Waiting::of(parked),
        due: Waiting::of(fleets),
        quarantined_today: days.first().copied().unwrap_or_default(),
        quarantined: days.iter().sum(),
        events,
        dead_letters,
    })
}

/// Since when each event waits that is parked under one of some keys. Its due time tells no more than when it is looked at.
async fn parked_since(source: &Source, keys: BTreeSet<Key>) -> Result<Vec<Option<Timestamp>>> {
    let parked = keys.into_iter().map(|key| async move {
        let parked = source.table.parked(&key).await?;
        Ok(parked.into_iter().map(|it| it.since).collect())
    });
    let parked: Vec<_> = parked.collect();
    let parked: Vec<Vec<_>> = stream::iter(parked)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(|error| source.table_failed("look for parked events in", error))?;
    Ok(parked.into_iter().flatten().collect())
}

/// What waits for its fleet is looked at once a day at least, and its lease may be long.
const PARKED_WITHIN: Duration = Duration::days(2);
/// Requests at a time.
const CONCURRENCY: usize = 8;
/// Records held at a time.
const AT_A_TIME: usize = 800;

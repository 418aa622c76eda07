//! The operator's command line: asks a stack why its fleets are in their states. What it changes of them, it changes through the
//! partner API: invitations and operators' decisions. Otherwise it only makes things due to be looked at, and sends again or drops what
//! was set aside.

mod access;
mod args;
mod catena;
mod cloudwatch;
mod comparison;
mod confirm;
mod contract;
mod dlq;
mod doctor;
mod explain;
#[cfg(test)]
mod goldens;
mod history;
mod invite;
mod link;
mod list;
mod operation;
mod pace;
mod partner;
mod past;
mod policy;
mod probe;
mod problem;
mod quarantine;
mod readable;
mod recheck;
mod reconcile;
mod set_aside;
mod setup;
mod show;
mod signature;
mod source;
mod status;
mod subscription;
mod trouble;
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
    args::{Arguments, Command, Contract, Fleet, Link, Policy},
    comparison::Seen,
    explain::Question,
    list::{Filter, Listing, Row},
    partner::{Call, Partner},
    readable::Page,
    reconcile::{DueFleet, DueKey, Plan},
    source::{Found, Source},
    status::{OpenOperations, Status, Waiting},
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
            return confirm::exit_code(&error);
        }
    };
    let text = if arguments.json {
        format!("{:#}\n", page.json)
    } else {
        page.text
    };
    // Whoever reads it may have seen enough (`| head`).
    let _ = std::io::stdout().write_all(text.as_bytes());
    match page.failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

async fn page(arguments: &Arguments) -> Result<Page> {
    let clock = OffsetDateTime::now_utc();
    // A stack that isn't found is what it tells, too.
    if let Command::Doctor(wanted) = &arguments.command {
        return Ok(doctor::examine(&arguments.place, wanted, clock).await);
    }
    let found = &Found::find(&arguments.place).await?;
    let now = when::timestamp(clock);
    Ok(match &arguments.command {
        Command::Quarantine(verb) => quarantine::page(verb, &Source::of(found)?, clock).await?,
        Command::Setup(wanted) => setup::page(wanted, found, clock).await?,
        Command::Subscription(verb) => subscription::page(verb, found, now).await?,
        Command::Dlq(verb) => dlq::page(verb, &Source::of(found)?, now).await?,
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
        Command::Contract(Contract::Check(wanted)) => contract::check(found, wanted, now).await?,
        Command::Doctor(wanted) => doctor::examine(&arguments.place, wanted, clock).await,
        Command::Operation(verb) => operation::page(verb, &Source::of(found)?, now).await?,
        Command::Policy(Policy::Show) => policy::page(&found.policy()?, &found.place),
        Command::Reconcile(wanted) if wanted.dry_run => {
            let plan = plan(&Source::of(found)?, wanted.limit.get(), clock).await?;
            reconcile::dry_run(&plan, now)
        }
        Command::Reconcile(wanted) => {
            let source = &Source::of(found)?;
            let begun = reconcile::begin(source, wanted.anew, now).await?;
            reconcile::page(&begun, &source.place, now)
        }
        Command::Fleet(Fleet::Recheck { fleet }) => {
            recheck(&Source::of(found)?, fleet, now).await?
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
            let record = &record(source, fleet).await?.record;
            history::page(fleet, record, &source.history(fleet).await?, now)
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

/// Makes a fleet due now, and has it looked at at once if that can be asked for.
async fn recheck(source: &Source, fleet: &FleetRef, now: Timestamp) -> Result<Page> {
    let stored = &record(source, fleet).await?;
    let failed = |error| source.table_failed("make the fleet due in", error);
    let shared = source.table.shared().await.map_err(failed)?;
    if !source.table.recheck(fleet, now).await.map_err(failed)? {
        return Err(unknown(fleet, &source.place));
    }
    let soon = &source.look_soon(fleet).await;
    let not_before = shared.not_before;
    Ok(recheck::page(stored, &source.policy, soon, not_before, now))
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

    let (parked, due) = waiting(source, clock).await?;
    let operations = open_operations(source, now).await?;
    let days = quarantined(source, clock).await?;
    let queues = source.queues().await?;
    let shared = source.table.shared().await;
    let shared = shared.map_err(|error| source.table_failed("read how lists compare in", error))?;
    Ok(Status {
        place: source.place.clone(),
        stages,
        unreadable: listing.unreadable.len(),
        parked,
        due,
        operations,
        quarantined_today: days.first().copied().unwrap_or_default(),
        quarantined: days.iter().sum(),
        queues,
        not_before: shared.not_before,
        comparison: shared.comparison.as_deref().map(Seen::read),
    })
}

/// What is parked, and the fleets that are due.
async fn waiting(source: &Source, clock: OffsetDateTime) -> Result<(Waiting, Waiting)> {
    let now = when::timestamp(clock);
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
    Ok((Waiting::of(parked), Waiting::of(fleets)))
}

/// Write operations whose end is expected: those that are due to be looked at, and all of them.
async fn open_operations(source: &Source, now: Timestamp) -> Result<OpenOperations> {
    let ever = Timestamp(i64::MAX);
    let open = source.table.due_operations(ever, usize::MAX).await;
    let open = open.map_err(|error| source.table_failed("look for open operations in", error))?;
    let due = open.iter().map(|(at, _)| Timestamp(*at));
    let due = due.filter(|at| *at <= now).map(Some);
    Ok(OpenOperations {
        due: Waiting::of(due),
        open: open.len(),
    })
}

/// How much was quarantined on each of the last days, today first.
async fn quarantined(source: &Source, clock: OffsetDateTime) -> Result<Vec<u64>> {
    let days =
        (0..status::DAYS).map(|ago| source.table.quarantined_on(clock - Duration::days(ago)));
    stream::iter(days)
        .buffered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(|error| source.table_failed("count what is quarantined in", error))
}

/// What the next sweep finds, the first of it as it would be worked off.
async fn plan(source: &Source, limit: usize, clock: OffsetDateTime) -> Result<Plan> {
    let now = when::timestamp(clock);
    let failed = |error| source.table_failed("look for what is due in", error);
    let shared = source.table.shared().await.map_err(failed)?;
    let (mut fleets, mut keys) = (Vec::new(), Vec::new());
    for (at, item) in source.table.due(clock, usize::MAX).await.map_err(failed)? {
        match item {
            DueItem::Fleet(fleet) => fleets.push((Timestamp(at), fleet)),
            DueItem::Parked { key, .. } if !keys.contains(&key) => keys.push(key),
            DueItem::Parked { .. } => {}
        }
    }
    let comparison = shared.comparison.as_deref().map(Seen::read);
    let mut plan = Plan {
        place: source.place.clone(),
        all_fleets: fleets.len(),
        all_keys: keys.len(),
        not_before: shared.not_before,
        next_comparison: comparison.as_ref().and_then(|it| it.next(&source.policy)),
        comparison,
        ..Plan::default()
    };
    fleets.truncate(limit);
    keys.truncate(limit);
    for some in fleets.chunks(AT_A_TIME) {
        let wanted = some.iter().map(|(_, fleet)| fleet.clone()).collect();
        let found = source.table.look_up(&BTreeSet::new(), &wanted).await;
        let mut records = found.map_err(failed)?.records;
        for (since, fleet) in some {
            plan.fleets.extend(match records.remove(fleet) {
                Some(Ok(stored)) => Some(DueFleet::new(*since, &stored, &source.policy, now)),
                Some(Err(error)) => {
                    let problem = error.to_string();
                    Some(DueFleet::unreadable(*since, fleet.clone(), problem))
                }
                None => None,
            });
        }
    }
    let keys = keys.into_iter().map(|key| async move {
        let waiting = source.table.parked(&key).await?;
        Ok(DueKey::new(key, &waiting))
    });
    let keys: Vec<_> = keys.collect();
    plan.keys = stream::iter(keys)
        .buffered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(failed)?;
    Ok(plan)
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

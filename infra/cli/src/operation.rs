//! `operation`: what was asked of fleets' providers by writes, and what became of it.

use std::{cmp::Reverse, collections::BTreeSet, num::NonZeroUsize};

use anyhow::{Result, anyhow};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fleet::{FleetRef, Timestamp};
use operations::{Status, Write, operation_id};
use store::{OperationCursor, OperationFilter, StoredOperation};

use crate::{
    args::parse_fleet,
    readable::Page,
    source::Source,
    when::{Moment, Span, parse_moment, parse_span},
};

mod explain;
#[cfg(test)]
mod goldens;
mod list;
mod show;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Which were asked for, the latest first, and where they stand
    #[command(after_help = LIST)]
    List(List),
    /// An operation as it stands, in codes, with whole ids
    #[command(after_help = SHOW)]
    Show(Which),
    /// What became of an operation, what happened to it, what comes next and what to do, in words
    #[command(after_help = EXPLAIN)]
    Explain(Which),
}

/// Which operations.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those of this fleet
    #[arg(long, value_name = "REF", value_parser = parse_fleet)]
    fleet: Option<FleetRef>,
    /// Those that stand so
    #[arg(long, value_parser = statuses())]
    status: Option<Status>,
    /// Those that write this
    #[arg(long, value_parser = resources())]
    resource: Option<String>,
    /// First asked for within this (2h, 7d) or since then: 2026-05-04T08:00:00Z, 2026-05-04 (its first moment, UTC)
    #[arg(long, value_name = "TIME", value_parser = parse_since, allow_hyphen_values = true)]
    since: Option<Moment>,
    /// First asked for before then: 2026-05-04T08:00:00Z, 2026-05-04, -2h
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    until: Option<Moment>,
    /// This many at most, the latest
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
}

/// Which operation.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its id, as the partner API and `operation list` tell it
    #[arg(value_name = "ID", value_parser = parse_id, required_unless_present = "key")]
    id: Option<String>,
    /// Instead of the id: the fleet's reference
    #[arg(long, value_name = "REF", value_parser = parse_fleet, requires = "key", conflicts_with = "id")]
    fleet: Option<FleetRef>,
    /// With --fleet: the Idempotency-Key that it was sent under
    #[arg(long, requires = "fleet", conflicts_with = "id")]
    key: Option<String>,
}

impl Which {
    fn id(&self) -> String {
        let by_key = || {
            let fleet = self.fleet.as_ref().map_or("", FleetRef::as_str);
            operation_id(fleet, self.key.as_deref().unwrap_or_default())
        };
        self.id.clone().unwrap_or_else(by_key)
    }
}

/// Those that are listed.
#[derive(Debug, Default)]
struct Listing {
    found: Vec<StoredOperation>,
    /// There are more than were wanted.
    more: bool,
    /// Ids of those that can't be read, and why.
    unreadable: Vec<(String, String)>,
}

pub(crate) async fn page(verb: &Verb, source: &Source, now: Timestamp) -> Result<Page> {
    Ok(match verb {
        Verb::List(wanted) => list::page(&find(source, wanted, now).await?, now),
        Verb::Show(which) => show::page(&one(source, which).await?, &source.policy, now),
        Verb::Explain(which) => explain::page(&one(source, which).await?, &source.policy, now),
    })
}

async fn one(source: &Source, which: &Which) -> Result<StoredOperation> {
    let id = which.id();
    let read = source.table.operation(&id).await;
    let read = read.map_err(|error| source.table_failed("read the operation from", error))?;
    read.ok_or_else(|| unknown(which, &source.place))
}

fn unknown(which: &Which, place: &str) -> anyhow::Error {
    let kept = "They are kept for `HistoryDays` from their last call.";
    if let Some((fleet, key)) = which.fleet.as_ref().zip(which.key.as_ref()) {
        return anyhow!(
            "no operation of fleet {fleet} under the key {key} is known in {place}\n\
             Check both, capitals included; `kingpin operation list --fleet {fleet}` shows those that are there.\n{kept}"
        );
    }
    anyhow!(
        "no operation {} is known in {place}\n\
         It must be Kingpin's id, not Catena's: `kingpin operation list` shows those that are there, and `--fleet REF --key KEY` in\n\
         place of the id finds one by what it was sent under. {kept}",
        which.id()
    )
}

/// Those that are wanted, the latest first.
async fn find(source: &Source, wanted: &List, now: Timestamp) -> Result<Listing> {
    let filter = OperationFilter {
        fleet: wanted.fleet.clone(),
        from: wanted.since.map(|it| it.from(now)),
        to: wanted.until.map(|it| it.from(now)),
    };
    let mut listing = Listing::default();
    let (mut waiting, mut after): (Vec<OperationCursor>, _) = (Vec::new(), None);
    loop {
        let listed = source.table.list_operations(&filter, after.as_ref(), PAGE);
        let listed = listed.await;
        let (some, next) =
            listed.map_err(|error| source.table_failed("list the operations of", error))?;
        waiting.extend(some);
        after = next;
        // Those of all fleets come in no order of time: which are the latest is known when all are.
        if filter.fleet.is_none() && after.is_some() {
            continue;
        }
        waiting.sort_by_key(|it| Reverse(it.submitted_at()));
        for some in waiting.chunks(AT_A_TIME) {
            listing.read(source, some, wanted, now).await?;
            if listing.more {
                return Ok(listing);
            }
        }
        waiting.clear();
        if after.is_none() {
            return Ok(listing);
        }
    }
}

impl Listing {
    /// Reads some of those that there are, in their order, and keeps those that are wanted.
    async fn read(
        &mut self,
        source: &Source,
        some: &[OperationCursor],
        wanted: &List,
        now: Timestamp,
    ) -> Result<()> {
        let ids: BTreeSet<String> = some.iter().map(|it| it.id().to_owned()).collect();
        let read = source.table.operations(&ids).await;
        let mut read = read.map_err(|error| source.table_failed("read operations from", error))?;
        for it in some {
            match read.remove(it.id()) {
                Some(Ok(stored)) if wanted.wants(&stored, now) => self.found.push(stored),
                // Gone meanwhile, like one that isn't wanted.
                Some(Ok(_)) | None => {}
                Some(Err(error)) => self
                    .unreadable
                    .push((it.id().to_owned(), error.to_string())),
            }
        }
        let limit = wanted.limit.get();
        self.more = self.found.len() > limit;
        self.found.truncate(limit);
        Ok(())
    }
}

impl List {
    fn wants(&self, stored: &StoredOperation, now: Timestamp) -> bool {
        let operation = &stored.operation;
        self.status.is_none_or(|it| it == operation.status(now))
            && self
                .resource
                .as_ref()
                .is_none_or(|it| *it == operation.asked.resource)
    }
}

fn parse_since(text: &str) -> Result<Moment, String> {
    match parse_span(text) {
        Ok(Span(millis)) => Ok(Moment::Later(Span(-millis))),
        Err(_) => parse_moment(text).map_err(|error| format!("{error}, 2h or 7d")),
    }
}

fn parse_id(text: &str) -> Result<String, String> {
    let id = text.to_ascii_lowercase();
    let right = id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit());
    right.then_some(id).ok_or_else(|| {
        "an operation's id has 32 hexadecimal digits and no hyphens: `kingpin operation list` shows them whole".to_owned()
    })
}

fn statuses() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(Status::ALL.map(Status::as_str))
        .try_map(|name| Status::of(&name).ok_or("no status"))
}

fn resources() -> PossibleValuesParser {
    let names: BTreeSet<&str> = Write::ALL.iter().map(|it| it.resource).collect();
    PossibleValuesParser::new(names)
}

const LIST: &str = "\
Example: `kingpin operation list --fleet FLEET-42 --status failed --since 7d` lists FLEET-42's writes of the last week that failed. Without
--fleet those of all fleets are gone through.";
const SHOW: &str = "\
Example: `kingpin operation show 5f0c2a9be1d34c7788a1b2c3d4e5f607` prints all that is known of that one. `--fleet FLEET-42 --key order-7`
in place of the id finds it by what it was sent under. What was to be written isn't shown: it is kept no longer than it is searched for.";
const EXPLAIN: &str = "\
Example: `kingpin operation explain --fleet FLEET-42 --key order-7` tells who asked for it, what became of the call, what Catena said and
when, each of its attempts at the provider, when Catena is asked next, and what to do.";
/// Keys at a time.
const PAGE: usize = 1000;
/// Operations held at a time, besides those that are listed.
const AT_A_TIME: usize = 200;

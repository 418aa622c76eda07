//! `subscription`: which webhook subscriptions there are at Catena, which there should be, and their keys.

mod apply;
mod desk;
#[cfg(test)]
mod goldens;
mod page;
mod rotate;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Write},
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use catena_client::CatenaError;
use clap::Subcommand;
use fleet::Timestamp;
use subscriptions::Step;

pub(crate) use self::{
    apply::Which,
    desk::Desk,
    page::{note_words, step_words},
};
use self::{
    desk::failed,
    page::{Row, Status},
    rotate::{Proof, Wanted},
};
use crate::{
    confirm::{can_be_asked, confirmed},
    readable::Page,
    source::{Found, Source},
    when::{Span, parse_span},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What there is to do so that Catena delivers all that Kingpin needs; changes nothing
    #[command(after_help = PLAN)]
    Plan,
    /// Do it: subscribe what is missing, activate what stopped, give each the current key and URL
    #[command(after_help = APPLY)]
    Apply {
        /// Ask again for names that Catena refused and that aren't needed
        #[arg(long)]
        retry_refused: bool,
    },
    /// How each subscription does: its state, dead letters, deliveries and key
    #[command(after_help = STATUS)]
    Status,
    /// Change the signing key: a new one beside the old one, which goes once deliveries prove the new one
    #[command(after_help = ROTATE)]
    Rotate {
        /// How long to wait for deliveries that prove the new key
        #[arg(long, value_name = "DURATION", value_parser = parse_span, default_value = "10m")]
        wait: Span,
        /// Retire the old key although some subscriptions delivered nothing meanwhile
        #[arg(long)]
        even_if_silent: bool,
    },
    /// Have Catena deliver dead letters again
    #[command(after_help = REPLAY)]
    Replay {
        /// Those of these subscriptions; without any, all dead letters of ours
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Replay nothing: say what would be
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a subscription at Catena ours: it gets our URL and key
    #[command(after_help = ADOPT)]
    Adopt {
        /// Catena's id of it
        #[arg(value_name = "ID")]
        id: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// End subscriptions at Catena; do that before `sam delete`
    #[command(after_help = DELETE, arg_required_else_help = true)]
    Delete {
        /// These, whoever made them
        #[arg(
            value_name = "ID",
            required_unless_present = "all",
            conflicts_with = "all"
        )]
        ids: Vec<String>,
        /// All of this stack
        #[arg(long)]
        all: bool,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn page(verb: &Verb, found: &Found, now: Timestamp) -> Result<Page> {
    let source = &Source::of(found)?;
    let mut desk = Desk::open(found, source).await?;
    match verb {
        Verb::Plan => {
            let (seen, keyring) = (desk.list().await?, desk.keyring().await?);
            let plan = desk.plan(&seen, &keyring, &BTreeSet::new());
            Ok(page::plan(&plan, &source.place))
        }
        Verb::Apply { retry_refused } => {
            if *retry_refused {
                desk.ledger.refused.clear();
            }
            let applied = desk.apply(Which::All, progress).await?;
            Ok(page::applied(&applied, &source.place))
        }
        Verb::Status => Ok(page::status(&status(&desk).await?, now)),
        Verb::Rotate {
            wait: Span(millis),
            even_if_silent,
        } => {
            let wanted = Wanted {
                wait: Duration::from_millis(millis.unsigned_abs()),
                even_if_silent: *even_if_silent,
            };
            let rotated = desk.rotate(wanted, progress, waiting).await?;
            Ok(page::rotated(&rotated, &desk.ledger, &source.place))
        }
        Verb::Replay { ids, dry_run } => replay(&desk, ids, *dry_run).await,
        Verb::Adopt { id, yes } => adopt(&mut desk, id, *yes).await,
        Verb::Delete { ids, all, yes } => {
            let ids: BTreeSet<String> = match all {
                true => all_of(&mut desk).await?,
                false => ids.iter().cloned().collect(),
            };
            delete(&mut desk, &ids, *yes).await
        }
    }
}

/// How each subscription does.
async fn status(desk: &Desk<'_>) -> Result<Status> {
    let (seen, keyring, watch) = tokio::try_join!(desk.list(), desk.keyring(), desk.watch())?;
    let mut rows = Vec::new();
    for (id, ours) in &desk.ledger.ours {
        let listed = seen.all.iter().find(|it| it.id == *id);
        let metrics = match listed {
            Some(_) => match desk.calls().subscription_metrics(id).await {
                Ok(metrics) => Some(metrics.value),
                // It was deleted meanwhile, or Catena doesn't count.
                Err(CatenaError::NotFound) => None,
                Err(error) => return Err(failed("read how subscriptions do", &error)),
            },
            None => None,
        };
        rows.push(Row {
            id: id.clone(),
            event_name: ours.event_name.clone(),
            status: listed.and_then(|it| it.status.clone()),
            is_there: listed.is_some(),
            has_current_key: ours.key.is_some() && ours.key == keyring.current_name(),
            metrics,
            cures: watch.cures(id),
        });
    }
    rows.sort_by(|one, other| one.event_name.cmp(&other.event_name));
    Ok(Status {
        place: desk.source.place.clone(),
        url: desk.url.clone(),
        plan: desk.plan(&seen, &keyring, &BTreeSet::new()),
        keys: keyring.names(),
        seen_at: watch.seen_at,
        rows,
    })
}

async fn replay(desk: &Desk<'_>, ids: &[String], dry_run: bool) -> Result<Page> {
    let wanted: Vec<String> = match ids {
        [] => desk.ledger.ours.keys().cloned().collect(),
        some => some.to_vec(),
    };
    let mut replayed = BTreeMap::new();
    for id in wanted {
        let tried = format!("replay the dead letters of subscription {id}");
        let metrics = desk.calls().subscription_metrics(&id).await;
        let metrics = match metrics {
            // Gone meanwhile: `plan` tells that.
            Err(CatenaError::NotFound) if ids.is_empty() => continue,
            metrics => metrics.map_err(|error| failed(&tried, &error))?,
        };
        // Where Catena doesn't count, there may be some.
        let waiting = metrics.value.dlq_count;
        if waiting != Some(0) {
            if !dry_run {
                let replayed = desk.calls().replay_subscription(&id).await;
                replayed.map_err(|error| failed(&tried, &error))?;
            }
            replayed.insert(id, waiting);
        }
    }
    Ok(page::replayed(&replayed, &desk.ledger, dry_run))
}

async fn adopt(desk: &mut Desk<'_>, id: &str, yes: bool) -> Result<Page> {
    let seen = desk.list().await?;
    let Some(found) = seen.all.iter().find(|it| it.id == id) else {
        bail!(
            "Catena lists no subscription {id}: `kingpin subscription plan` names those that aren't ours"
        );
    };
    if desk.ledger.ours.contains_key(id) {
        bail!(
            "subscription {id} is ours already: `kingpin subscription apply` gives it the current key"
        );
    }
    let event_name = found.event_name.clone().unwrap_or_default();
    can_be_asked(yes)?;
    confirmed(
        yes,
        &format!(
            "Whoever gets the deliveries of {event_name} by {id} now gets them no more: they go to {}. Adopt it?",
            desk.url
        ),
    )?;
    desk.ledger.adopt(id, &event_name);
    desk.write().await?;
    let applied = desk.apply(Which::Keys, progress).await?;
    Ok(page::applied(&applied, &desk.source.place))
}

/// All of ours, with those of a call whose answer was lost.
async fn all_of(desk: &mut Desk<'_>) -> Result<BTreeSet<String>> {
    let (seen, keyring) = (desk.list().await?, desk.keyring().await?);
    for step in desk.plan(&seen, &keyring, &BTreeSet::new()).steps {
        if let Step::Adopt { id, event_name } = step {
            desk.ledger.adopt(&id, &event_name);
        }
    }
    Ok(desk.ledger.ours.keys().cloned().collect())
}

async fn delete(desk: &mut Desk<'_>, ids: &BTreeSet<String>, yes: bool) -> Result<Page> {
    let seen = desk.list().await?;
    let unknown = ids.iter().find(|id| {
        let listed = seen.all.iter().any(|it| it.id == **id);
        !listed && !desk.ledger.ours.contains_key(*id)
    });
    if let Some(unknown) = unknown {
        return Err(anyhow!(
            "there is no subscription {unknown}: nothing was changed"
        ));
    }
    if !ids.is_empty() {
        let count = ids.len();
        confirmed(
            yes,
            &format!("Catena will deliver nothing by {count} subscriptions any more. Delete them?"),
        )?;
    }
    let mut deleted = Vec::new();
    for id in ids {
        match desk.calls().delete_subscription(id).await {
            Ok(_) | Err(CatenaError::NotFound) => {}
            Err(error) => return Err(failed(&format!("delete subscription {id}"), &error)),
        }
        let listed = seen.all.iter().find(|it| it.id == *id);
        let name = listed.and_then(|it| it.event_name.clone());
        let ours = desk.ledger.ours.get(id).map(|it| it.event_name.clone());
        deleted.push((id.clone(), name.or(ours).unwrap_or_default()));
    }
    if !deleted.is_empty() {
        // As long as they are written down the next run finds them, if this one is cut off.
        desk.change_keyring(|keyring| keyring.forget(ids.iter().map(String::as_str)))
            .await?;
        for id in ids {
            desk.ledger.deleted(id);
        }
        desk.write().await?;
    }
    Ok(page::deleted(&deleted, &desk.source.place))
}

/// A key that nobody can guess: 48 letters and digits, some 285 bits.
pub(crate) fn new_key() -> Result<String> {
    let mut key = String::with_capacity(KEY_LENGTH);
    while key.len() < KEY_LENGTH {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)
            .map_err(|error| anyhow!("this machine gives no random numbers for a key: {error}"))?;
        // Whatever is beyond a multiple of their number would make some likelier than others.
        let letters = bytes
            .into_iter()
            .filter(|byte| *byte < 4 * LETTERS.len() as u8);
        let letters = letters.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        key.extend(letters.take(KEY_LENGTH - key.len()));
    }
    Ok(key)
}

/// A line for each step, where somebody watches.
pub(crate) fn progress(step: &Step) {
    tell(&step_words(step));
}

fn waiting(proofs: &BTreeMap<String, Proof>) {
    let proved = proofs.values().filter(|it| **it == Proof::Delivered);
    tell(&format!(
        "{} of {} have delivered with the new key",
        proved.count(),
        proofs.len()
    ));
}

fn tell(line: &str) {
    let mut terminal = std::io::stderr().lock();
    if terminal.is_terminal() {
        let _ = writeln!(terminal, "… {line}");
    }
}

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const KEY_LENGTH: usize = 48;

const PLAN: &str = "\
Example: `kingpin subscription plan` compares what Kingpin needs with what Catena lists, and names what is missing, deleted, paused,
stopped, on an old key, twice there, or not ours. Subscriptions are recognised by their ids, because Catena masks URLs and keys.";

const APPLY: &str = "\
Example: `kingpin subscription apply` does what `plan` says, writing each step down before the next. It may be run again at any time,
and be killed at any moment: the next run finishes it. Exit code 1 if Catena refuses something that is needed, or if it can't be told which
subscription is ours.";

const STATUS: &str = "\
Example: `kingpin subscription status --json` tells of each subscription its state, dead letters, deliveries of the last day, whether it
signs with the current key, and how often the reconciler brought it back.";

const ROTATE: &str = "\
Example: `kingpin subscription rotate --wait 30m` puts a new key beside the old one, gives it to each subscription, waits until each has
delivered with it, and retires the old one. If that takes longer both keys stay, and the next run goes on. Exit code 1 until then. The newest
of the keyring's shared keys, the last one, is the one that stays.";

const REPLAY: &str = "\
Example: `kingpin subscription replay --dry-run` says how many dead letters each subscription has; without --dry-run Catena delivers them
again. The reconciler does that by itself every five minutes.";

const ADOPT: &str = "\
Example: `kingpin subscription adopt 247b2dea-a030-48b7-9a05-ee33c1b6ab0a` takes over a subscription that was made by hand, or that Catena
made for an invitation's callback_url: from then on it delivers here, signed with a key that is known.";

const DELETE: &str = "\
Example: `kingpin subscription delete --all` ends all of this stack's subscriptions: before `sam delete`, or Catena goes on delivering to
nobody. Signing keys stay in their secret.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_long_plain_and_each_its_own() {
        let keys: BTreeSet<String> = (0..100).map(|_| new_key().unwrap()).collect();
        assert_eq!(keys.len(), 100);
        let letters: BTreeSet<char> = keys.iter().flat_map(|key| key.chars()).collect();
        assert_eq!(letters.len(), 62);
        assert!(keys.iter().all(|key| key.len() == 48));
    }
}

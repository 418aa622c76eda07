//! `setup`: from a fresh deployment to the first invited fleet. Each step finds out whether it is done, so that it may be run again at
//! any time, and be killed at any moment.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use catena_client::Credentials;
use clap::Args;
use fleet::{FleetRef, Timestamp};
use secrets::SecretError;
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    args::{self, parse_fleet},
    catena::catena_secret,
    doctor::{self, Check, Verdict},
    invite,
    partner::{Call, Partner},
    readable::Page,
    source::{Found, Source},
    subscription::{Desk, Which, note_words, progress, step_words},
    when::timestamp,
};

/// What is given to begin with.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// A file with Catena's credentials, {"client_id":"…","client_secret":"…"}, or - for standard input; without it, those that are
    /// in the stack's secret already
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Invite this fleet at the end: your reference for it
    #[arg(long, value_name = "REF", value_parser = parse_fleet)]
    invite: Option<FleetRef>,
    /// That fleet's name
    #[arg(long, value_name = "NAME", requires = "invite")]
    name: Option<String>,
}

/// Goes as far as it gets. What stops it is the last check.
pub(crate) async fn page(wanted: &Setup, found: &Found, clock: OffsetDateTime) -> Result<Page> {
    let mut checks = Vec::new();
    if let Some(file) = &wanted.credentials {
        checks.push(put(found, &given(file)?).await?);
    }
    checks.extend(doctor::access(found).await);
    let mut invited = None;
    if can_go_on(&checks) {
        checks.push(subscribed(found).await);
    }
    if can_go_on(&checks) {
        checks.extend(doctor::signed(found, clock).await);
    }
    if let Some(fleet) = &wanted.invite
        && can_go_on(&checks)
    {
        match invite_first(found, fleet, wanted.name.as_deref(), clock).await {
            Ok(page) => {
                let found = format!("fleet {} is invited", fleet.as_str());
                checks.push(Check::ok("invitation", found));
                invited = Some(page);
            }
            Err(error) => checks.push(Check::error("invitation", &error)),
        }
    }
    Ok(told(&found.place, &checks, invited, timestamp(clock)))
}

/// How far it came, and what came of the invitation if it came so far.
fn told(place: &str, checks: &[Check], invited: Option<Page>, now: Timestamp) -> Page {
    let complete = can_go_on(checks);
    let mut page = doctor::page(Some(place), checks, false, now);
    page.text += match complete {
        true => {
            "\nAll is set up. `kingpin doctor` looks at the rest; `kingpin status` shows what arrives.\n"
        }
        false => {
            "\nIt stopped at what failed. Mend that, and run this again: what is done stays done.\n"
        }
    };
    if let Some(invited) = invited {
        page.text += &format!("\n{}", invited.text);
        page.json["invitation"] = invited.json;
    }
    page.json["complete"] = Value::Bool(complete);
    page.failed_unless(complete)
}

/// A missing permission or a refused hidden endpoint costs something, and stops nothing.
fn can_go_on(checks: &[Check]) -> bool {
    let stops = |it: &Check| it.verdict == Verdict::Fail && it.name != "permissions";
    !checks.iter().any(stops)
}

/// Credentials as they are given.
fn given(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input can't be read")?;
    } else {
        text = std::fs::read_to_string(file)
            .with_context(|| format!("{} can't be read", file.display()))?;
    }
    // Its error tells nothing of what was read.
    if let Err(error) = Credentials::parse(&text) {
        bail!("{} is {error}: nothing was changed", file.display());
    }
    Ok(text.trim().to_owned())
}

/// Puts credentials into the stack's secret, unless they are there.
async fn put(found: &Found, text: &str) -> Result<Check> {
    let secret = catena_secret(found)?;
    let known = match secret.read().await {
        Ok(known) => Some(known),
        Err(SecretError::Missing(_) | SecretError::NoText(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if known.as_deref().map(str::trim) == Some(text) {
        let found = format!("secret {} holds those given already", secret.id());
        return Ok(Check::ok("given_credentials", found));
    }
    secret.write(text).await?;
    let found = format!("put into secret {}", secret.id());
    Ok(Check::ok("given_credentials", found))
}

/// Makes the subscriptions, and a signing key if there is none.
async fn subscribed(found: &Found) -> Check {
    let name = "subscriptions";
    let applied = async {
        let source = &Source::of(found)?;
        Desk::open(found, source)
            .await?
            .apply(Which::All, progress)
            .await
    };
    match applied.await {
        Ok(applied) if applied.is_complete() => {
            let done = applied.done.len();
            let found = format!("{} are ours; {done} steps were to do", applied.ours);
            Check::ok(name, found)
        }
        Ok(applied) => {
            let refused = applied.refused.iter();
            let refused =
                refused.map(|(step, why)| format!("refused: {}: {why}", step_words(step)));
            let left = applied.left.iter().map(step_words);
            let notes = applied.notes.iter().map(note_words);
            let found = refused.chain(left).chain(notes).collect::<Vec<_>>();
            let found = found.join("; ");
            Check::fail(name, found, "`kingpin subscription plan` tells more.")
        }
        Err(error) => Check::error(name, &error),
    }
}

async fn invite_first(
    found: &Found,
    fleet: &FleetRef,
    name: Option<&str>,
    clock: OffsetDateTime,
) -> Result<Page> {
    let wanted = args::Invite::of(fleet.clone(), name.map(str::to_owned));
    let call = Call::invite(fleet, &invite::request(&wanted), false);
    let answer = Partner::of(found)?.call(&call, clock.into()).await?;
    Ok(invite::page(answer, timestamp(clock)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_at_the_end_and_where_it_stopped() {
        let now = Timestamp(1_779_278_400_000);
        let begun = || {
            vec![
                Check::ok("given_credentials", "put into secret kingpin-CatenaSecret"),
                Check::ok("token", "Catena gives one"),
                Check::ok("permissions", "the token allows all 12 that are needed"),
            ]
        };
        let mut checks = begun();
        checks.push(Check::ok(
            "subscriptions",
            "27 are ours; 12 steps were to do",
        ));
        checks.push(Check::ok("invitation", "fleet FLEET-42 is invited"));
        let invited = Page::new(
            "FLEET-42 is invited.\n".to_owned(),
            json!({ "outcome": "created" }),
        );
        let place = "stack kingpin in us-east-1";
        let complete = told(place, &checks, Some(invited), now);
        let mut checks = begun();
        checks.push(Check::fail(
            "subscriptions",
            "tsp.created is refused: refused by Catena: 422",
            "`kingpin subscription plan` tells more.",
        ));
        let stopped = told(place, &checks, None, now);
        assert!(!complete.failed && stopped.failed);
        insta::assert_snapshot!("setup", [&*complete.text, &stopped.text].join("---\n"));
        insta::assert_json_snapshot!("setup-json", [complete.json, stopped.json]);
    }

    #[test]
    fn a_missing_permission_stops_nothing_and_a_missing_token_all() {
        let permissions = Check::fail("permissions", "the token doesn't allow fleet:read", "Ask.");
        assert!(can_go_on(&[permissions]));
        let token = Check::fail("token", "Catena gives none", "Ask.");
        assert!(!can_go_on(&[token]));
    }
}

//! `fleet access` and `fleet override`: whether a fleet may in, and what of its data may be read.

use std::collections::BTreeMap;

use api::{Access, OverrideKind, OverrideRequest};
use fleet::{Admission, Facts, Level, Stage, Timestamp};
use serde_json::Value;

use crate::{
    args::Override,
    partner::Call,
    readable::{Page, columns, plain, quoted, read_or_shown, row},
    show::reasons,
    when::{clock, clock_and_distance},
    words::{self, Words},
};

/// The call that an operator's decision is.
pub(crate) fn decision(over: &Override, now: Timestamp) -> Call {
    if let Some(kind) = over.lift {
        return Call::lift(&over.fleet, kind);
    }
    let kind = match over.block {
        true => OverrideKind::Block,
        false => OverrideKind::Grant,
    };
    let request = OverrideRequest {
        kind,
        reason: over.reason.clone().unwrap_or_default(),
        ends: over.until.map(|until| api::Moment(until.from(now))),
    };
    Call::decide(&over.fleet, &request)
}

/// A fleet's access, as it was answered.
pub(crate) fn page(answer: Value) -> Page {
    read_or_shown(answer, text)
}

fn text(access: &Access) -> String {
    let now = access.as_of.0;
    let until = |at: api::Moment| clock_and_distance(at.0, now);
    let kind = plain(&access.admission.kind);
    let admission = match access.admission.until {
        Some(at) => format!("{kind} until {}", until(at)),
        None => kind,
    };
    let valid = match access.valid_until {
        Some(at) => format!("{}, unless there is news sooner", until(at)),
        None => "there is news; time alone changes nothing".to_owned(),
    };
    let rows = [
        row(["stage", &meaning(&access.stage)]),
        row(["admission", &admission]),
        row(["data scopes", &scopes(access, now)]),
        row(["as of", &format!("{} UTC", clock(now))]),
        row(["valid until", &valid]),
    ];
    format!(
        "{}\n\n{}\nreasons\n{}",
        verdict(access),
        columns(&rows),
        reasons(&access.reasons, now)
    )
}

/// The answer in one sentence.
fn verdict(access: &Access) -> String {
    let stage = plain(&access.stage.replace('_', " "));
    let admitted = match admission(&access.admission) {
        Some(admission) => words::admitted(admission).to_owned(),
        None => {
            let kind = quoted(&access.admission.kind);
            format!("has the admission {kind}, which this version doesn't know")
        }
    };
    let data = match access.data_scopes.is_empty() {
        true => "none of its data may be read",
        false => "its data may be read",
    };
    let fleet = plain(&access.fleet_ref);
    format!("{fleet} is {stage} and {admitted}; {data}.")
}

fn admission(said: &api::Admission) -> Option<Admission> {
    let until = said.until.map(|until| until.0);
    match (said.kind.as_str(), until) {
        ("none", _) => Some(Admission::None),
        ("provisional", Some(until)) => Some(Admission::Provisional { until }),
        ("full", _) => Some(Admission::Full),
        ("grace", Some(until)) => Some(Admission::Grace { until }),
        ("blocked", _) => Some(Admission::Blocked),
        _ => None,
    }
}

/// A stage and what it means, if this version knows it.
fn meaning(stage: &str) -> String {
    let known = Stage::ALL.into_iter().find(|it| it.as_str() == stage);
    let meaning = known.map(|stage| format!(": {}", words::stage(stage)));
    format!("{}{}", plain(stage), meaning.unwrap_or_default())
}

fn scopes(access: &Access, now: Timestamp) -> String {
    let level = |text: &str| match text {
        "read" => Level::Read,
        "read_write" => Level::ReadWrite,
        other => Level::Unknown(other.to_owned()),
    };
    let scopes = access.data_scopes.iter();
    let scopes: BTreeMap<String, Level> = scopes
        .map(|(resource, text)| (resource.clone(), level(text)))
        .collect();
    let facts = &Facts::default();
    let words = Words {
        facts,
        names: facts,
        now,
    };
    words.scopes(scopes.iter())
}

#[cfg(test)]
mod tests {
    use fleet::FleetRef;

    use super::*;
    use crate::{
        args::{Arguments, Command, Fleet, Kind},
        when::DAY,
    };

    const NOW: Timestamp = Timestamp(1_777_881_600_000);

    fn decided(options: &[&str]) -> Call {
        let line = ["kingpin", "fleet", "override", "FLEET-42"];
        match Arguments::read(line.iter().chain(options)).unwrap().command {
            Command::Fleet(Fleet::Override(over)) => decision(&over, NOW),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_decision_is_its_call() {
        let fleet = &FleetRef::parse("FLEET-42").unwrap();
        let request = |kind, reason: &str, ends: Option<i64>| OverrideRequest {
            kind,
            reason: reason.to_owned(),
            ends: ends.map(|ends| api::Moment(Timestamp(ends))),
        };
        for (options, call) in [
            (
                &["--block", "--reason", "unpaid"][..],
                Call::decide(fleet, &request(OverrideKind::Block, "unpaid", None)),
            ),
            (
                &["--grant", "--reason", "a trial", "--until", "+7d"],
                Call::decide(
                    fleet,
                    &request(OverrideKind::Grant, "a trial", Some(NOW.0 + 7 * DAY)),
                ),
            ),
            (
                &["--block", "--reason", "x", "--until", "2026-05-05"],
                Call::decide(
                    fleet,
                    &request(OverrideKind::Block, "x", Some(NOW.0 + 16 * DAY / 24)),
                ),
            ),
            (&["--lift"], Call::lift(fleet, None)),
            (&["--lift", "block"], Call::lift(fleet, Some(Kind::Block))),
            (&["--lift", "grant"], Call::lift(fleet, Some(Kind::Grant))),
        ] {
            assert_eq!(decided(options), call, "{options:?}");
        }
    }
}

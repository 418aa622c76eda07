//! Webhook subscriptions at Catena: what `kingpin subscription plan` would find.

use std::collections::BTreeSet;

use anyhow::Result;
use subscriptions::{Note, Plan, Step};

use super::{Check, or_error};
use crate::{
    source::{Found, Source},
    subscription::{Desk, note_words, step_words},
};

/// How those that there are stand.
pub(crate) async fn checks(found: &Found, source: Result<&Source, &anyhow::Error>) -> Vec<Check> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return vec![Check::error(NAME, error)],
    };
    let planned = async {
        let desk = Desk::open(found, source).await?;
        let (seen, keyring) = tokio::try_join!(desk.list(), desk.keyring())?;
        Ok(standing(
            &desk.plan(&seen, &keyring, &BTreeSet::new()),
            desk.ledger.ours.len(),
        ))
    };
    vec![or_error(NAME, planned.await)]
}

fn standing(plan: &Plan, ours: usize) -> Check {
    let steps: Vec<String> = plan.steps.iter().map(step_words).collect();
    // What is named late, or forgotten late, costs no event.
    let harmless = |step: &Step| matches!(step, Step::Name { .. } | Step::Forget { .. });
    if !plan.steps.is_empty() {
        let found = format!("{ours} are ours; to do: {}", steps.join("; "));
        let apply = "`kingpin subscription apply` does it.";
        return match plan.steps.iter().all(harmless) {
            true => Check::warn(NAME, found, apply),
            false => Check::fail(NAME, found, apply),
        };
    }
    let needs_a_person = |note: &&Note| {
        !matches!(
            note,
            Note::Foreign { .. } | Note::Refused { telling: false, .. }
        )
    };
    let notes: Vec<String> = plan
        .notes
        .iter()
        .filter(needs_a_person)
        .map(note_words)
        .collect();
    match &notes[..] {
        [] => Check::ok(NAME, format!("{ours} are ours, and all are active")),
        [first, ..] => Check::warn(
            NAME,
            format!("{ours} are ours, and all are active; {} notes", notes.len()),
            first,
        ),
    }
}

const NAME: &str = "subscriptions";

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_is_to_do_is_a_failure_if_events_get_lost_by_it() {
        let plan = |steps, notes| Plan { steps, notes };
        let good = standing(&plan(vec![], vec![]), 24);
        assert_eq!(
            (good.verdict, good.found.as_str()),
            (Verdict::Ok, "24 are ours, and all are active")
        );
        let create = Step::Create {
            event_name: "tsp.created".to_owned(),
            may_be_refused: false,
            again: false,
        };
        let missing = standing(&plan(vec![create], vec![]), 23);
        assert_eq!(missing.verdict, Verdict::Fail);
        assert!(
            missing.found.contains("subscribe tsp.created"),
            "{missing:?}"
        );
        let name = Step::Name {
            ids: vec!["W".to_owned()],
        };
        assert_eq!(
            standing(&plan(vec![name], vec![]), 24).verdict,
            Verdict::Warn
        );
        let other = |id: &str| Note::Unknown {
            id: id.to_owned(),
            event_name: "tsp.created".to_owned(),
        };
        let unknown = standing(&plan(vec![], vec![other("X"), other("Y")]), 24);
        assert_eq!(unknown.verdict, Verdict::Warn);
        assert!(unknown.found.contains("2 notes"), "{unknown:?}");
        let foreign = Note::Foreign {
            id: "F".to_owned(),
            event_name: "tsp.created".to_owned(),
            url: None,
        };
        assert_eq!(
            standing(&plan(vec![], vec![foreign]), 24).verdict,
            Verdict::Ok
        );
    }
}

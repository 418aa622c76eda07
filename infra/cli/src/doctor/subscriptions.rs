//! Webhook subscriptions at Catena.

use std::collections::BTreeMap;

use catena::Status;
use catena_client::{Calls, CatenaError, SubscriptionRead};

use super::Check;
use crate::{
    readable::short_id,
    trouble::{Trouble, causes},
};

/// How those that there are stand.
pub(crate) async fn checks(calls: Calls<'_>) -> Vec<Check> {
    match calls.subscriptions(None).collect(MOST).await {
        Ok(answer) => vec![standing(&answer.value.items)],
        Err(error @ (CatenaError::NotFound | CatenaError::Forbidden(_))) => vec![Check::warn(
            NAME,
            causes(&error),
            "They can't be looked at from here. Ask Catena's support for webhook:read; and look whether webhooks come: `kingpin status`.",
        )],
        Err(error) => vec![Check::trouble(NAME, &Trouble::of(&error))],
    }
}

fn standing(subscriptions: &[SubscriptionRead]) -> Check {
    let there: Vec<_> = subscriptions
        .iter()
        .filter(|it| it.status != Some(Status::Deleted))
        .collect();
    if there.is_empty() {
        return Check::fail(
            NAME,
            "none: Catena delivers nothing",
            "Subscribe at Catena: README, “Deploy it”.",
        );
    }
    let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
    for it in &there {
        let status = it
            .status
            .as_ref()
            .map_or("of unknown status", Status::as_str);
        *by_status.entry(status.to_owned()).or_default() += 1;
    }
    let counts: Vec<_> = by_status
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    let counts = format!("{}: {}", there.len(), counts.join(", "));
    let named = |status: Status| -> Vec<String> {
        let named = there
            .iter()
            .filter(|it| it.status.as_ref() == Some(&status));
        named
            .map(|it| format!("{} ({})", it.event_name, short_id(&it.id)))
            .collect()
    };
    let (stale, paused) = (named(Status::Stale), named(Status::Paused));
    let list = |what: &str, named: &[String]| match named {
        [] => String::new(),
        named => format!("; {what}: {}", named.join(", ")),
    };
    let found = format!(
        "{counts}{}{}",
        list("stale", &stale),
        list("paused", &paused)
    );
    match (&stale[..], &paused[..]) {
        ([], []) => Check::ok(NAME, found),
        ([], _) => Check::warn(
            NAME,
            found,
            "Nothing of these is delivered. Unless somebody means it so: activate them at Catena, and replay their dead letters.",
        ),
        _ => Check::fail(
            NAME,
            found,
            "Catena stopped them after failures, and never starts them again by itself: mend the webhook, then activate them at Catena \
             and replay their dead letters, within 14 days.",
        ),
    }
}

const NAME: &str = "subscriptions";
/// More than any partner needs.
const MOST: usize = 5_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    fn of(statuses: &[&str]) -> Check {
        let one = |(number, status): (usize, &&str)| {
            let id = format!("0196a1b2-0000-7000-8000-00000000000{number}");
            serde_json::from_value(json!({ "id": id, "event_name": "tsp.created", "status": status, "secret": "canary-canary" })).unwrap()
        };
        standing(&statuses.iter().enumerate().map(one).collect::<Vec<_>>())
    }

    #[test]
    fn what_stopped_is_named() {
        assert_eq!(of(&[]).verdict, Verdict::Fail);
        assert_eq!(of(&["deleted"]).verdict, Verdict::Fail);
        let good = of(&["active", "active", "deleted"]);
        assert_eq!(
            (good.verdict, good.found.as_str()),
            (Verdict::Ok, "2: 2 active")
        );
        assert_eq!(of(&["active", "paused"]).verdict, Verdict::Warn);
        let stale = of(&["active", "stale", "paused"]);
        assert_eq!(stale.verdict, Verdict::Fail);
        assert_eq!(
            stale.found,
            "3: 1 active, 1 paused, 1 stale; stale: tsp.created (…00000001); paused: tsp.created (…00000002)"
        );
    }
}

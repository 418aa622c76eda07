//! `doctor`: a stack and its way to Catena and back, check by check, each with what to do if it isn't as it should be. One that
//! fails never hides another, and each is over in time.

mod access;
mod backlog;
mod check;
mod clock;
mod keyring;
mod queues;
mod subscriptions;

use anyhow::{Result, anyhow};
use fleet::Timestamp;
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    args::{Doctor, Place},
    probe::{self, Signer},
    readable::{Page, columns, plain, wrapped},
    source::{Found, Source},
    when::{clock as shown, rfc3339, timestamp},
};

pub(crate) use check::{Check, Verdict, bounded};

/// Examines the stack that the arguments name. What can't be found is a check that failed, no error.
pub(crate) async fn examine(place: &Place, wanted: &Doctor, now: OffsetDateTime) -> Page {
    let found = tokio::time::timeout(check::LIMIT, Found::find(place)).await;
    let found = found.unwrap_or_else(|_| {
        let limit = check::LIMIT.as_secs();
        Err(anyhow!("no answer within {limit} s\nCheck the network and the region's name: AWS could not be reached there."))
    });
    let (place, checks) = match &found {
        Ok(found) => (Some(found.place.as_str()), checks(found, wanted, now).await),
        Err(error) => (None, vec![Check::error("stack", error)]),
    };
    page(place, &checks, wanted.strict, timestamp(now))
}

async fn checks(found: &Found, wanted: &Doctor, now: OffsetDateTime) -> Vec<Check> {
    let mut checks = vec![
        Check::ok("stack", format!("found: {}", found.place)),
        outputs(found),
    ];
    let source = Source::of(found);
    let (catena, mut subscriptions, webhook, queues, backlog) = tokio::join!(
        access::checks(found),
        bounded(
            "subscriptions",
            subscriptions::checks(found, source.as_ref())
        ),
        webhook(found, wanted, now),
        queues::checks(found, source.as_ref()),
        backlog::checks(source.as_ref(), now),
    );
    let has_token = |it: &Check| it.name == "token" && it.verdict == Verdict::Ok;
    if !catena.iter().any(has_token) {
        subscriptions = skipped(&["subscriptions"], "there is no token");
    }
    for some in [catena, subscriptions, webhook, queues, backlog] {
        checks.extend(some);
    }
    checks
}

/// Catena's credentials and what they allow.
pub(crate) async fn access(found: &Found) -> Vec<Check> {
    access::checks(found).await
}

/// The signing keys, and whether the webhook takes what they sign.
pub(crate) async fn signed(found: &Found, now: OffsetDateTime) -> Vec<Check> {
    let wanted = Doctor {
        no_probe: false,
        strict: false,
    };
    webhook(found, &wanted, now).await
}

async fn webhook(found: &Found, wanted: &Doctor, now: OffsetDateTime) -> Vec<Check> {
    let (mut checks, signer) = keyring::checks(found).await;
    if wanted.no_probe {
        checks.push(Check::skipped("webhook", "--no-probe"));
        return checks;
    }
    let Some(signer) = signer else {
        checks.push(Check::skipped(
            "webhook",
            "there is no key to sign a delivery with",
        ));
        return checks;
    };
    match found.output("WebhookUrl") {
        Ok(url) => checks.extend(probed(&url, &signer, now).await),
        Err(_) => checks.push(Check::skipped("webhook", "output WebhookUrl is missing")),
    }
    checks
}

/// One delivery of our own. What a stranger's gets isn't tried: a refusal writes a line of level ERROR, or counts as a 4xx, and either
/// rings an alarm.
async fn probed(url: &str, signer: &Signer, now: OffsetDateTime) -> Vec<Check> {
    let probed = probe::send(url, signer, now).await;
    let mut checks = vec![probed.check()];
    if let Some(answered) = probed.answered() {
        checks.push(clock::of_aws(answered));
    }
    checks
}

/// Whether the stack says of itself all that is asked for.
fn outputs(found: &Found) -> Check {
    let missing: Vec<&str> = OUTPUTS
        .into_iter()
        .filter(|name| found.output(name).is_err())
        .collect();
    let remedy = match found.is_local {
        true => "An older version started it: start it again with `cargo xtask up`.",
        false => "Deploy the template that belongs to this `kingpin`, if it is the right stack.",
    };
    if !missing.is_empty() {
        return Check::fail(
            "outputs",
            format!("missing: {}", missing.join(", ")),
            remedy,
        );
    }
    match found.policy() {
        Ok(_) => Check::ok("outputs", format!("all {} are there", OUTPUTS.len())),
        Err(error) => Check::error("outputs", &error),
    }
}

/// What is printed. `place` is the stack, if it was found.
pub(crate) fn page(place: Option<&str>, checks: &[Check], strict: bool, now: Timestamp) -> Page {
    let rows: Vec<_> = checks
        .iter()
        .map(|it| {
            vec![
                it.verdict.as_str().to_owned(),
                it.name.replace('_', " "),
                String::new(),
            ]
        })
        .collect();
    let columns = columns(&rows);
    let width = columns
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or_default()
        + 2;
    let mut text = format!(
        "{}, at {} UTC\n\n",
        plain(place.unwrap_or("No stack")),
        shown(now)
    );
    for (check, line) in checks.iter().zip(columns.lines()) {
        text += &wrapped(&format!("{line:width$}"), width, &check.found);
        if let Some(remedy) = &check.remedy {
            text += &wrapped(&format!("{:width$}> ", ""), width + 2, remedy);
        }
    }
    let count = |verdict| checks.iter().filter(|it| it.verdict == verdict).count();
    let counts = Verdict::ALL.map(|verdict| (verdict.as_str(), count(verdict)));
    let sum = counts.map(|(verdict, count)| format!("{count} {verdict}"));
    text += &format!("\n{}\n", sum.join(", "));
    let failed = count(Verdict::Fail) > 0 || strict && count(Verdict::Warn) > 0;
    let counts: serde_json::Map<_, _> = counts
        .into_iter()
        .map(|(verdict, count)| (verdict.to_owned(), json!(count)))
        .collect();
    let json = json!({
        "stack": place,
        "as_of": rfc3339(now),
        "failed": failed,
        "counts": counts,
        "checks": checks.iter().map(Check::json).collect::<Vec<_>>(),
    });
    Page {
        failed,
        ..Page::new(text, json)
    }
}

/// What is broken where a check can't even begin, for each of its names.
fn skipped(names: &[&'static str], why: &str) -> Vec<Check> {
    names.iter().map(|name| Check::skipped(name, why)).collect()
}

/// What a check's own reading found, as a check.
fn or_error(name: &'static str, check: Result<Check>) -> Check {
    check.unwrap_or_else(|error| Check::error(name, &error))
}

/// What this command asks a stack for.
const OUTPUTS: [&str; 13] = [
    "WebhookUrl",
    "PartnerApiUrl",
    "CatenaSecretId",
    "CatenaApiUrl",
    "CatenaTokenUrl",
    "KeyringSecretId",
    "TableName",
    "Policy",
    "EventsQueueUrl",
    "EventsDeadLetterQueueUrl",
    "TasksQueueUrl",
    "TasksDeadLetterQueueUrl",
    "PublisherDeadLetterQueueUrl",
];

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_778_576_400_000);

    fn checks() -> Vec<Check> {
        vec![
            Check::ok("stack", "found: stack kingpin in eu-central-1"),
            Check::warn(
                "integration_requests",
                "not found by\u{1b}[2J Catena",
                "Without them no requested integration is ever confirmed. Ask Catena's support whether your client may call this.",
            ),
            Check::fail(
                "webhook",
                "a signed delivery was answered 404 after 31 ms (Not Found)",
                "Nothing is there: is the stack whole, and output WebhookUrl its webhook's URL?",
            ),
            Check::skipped("clock_aws", "the webhook's answer has no Date"),
        ]
    }

    #[test]
    fn an_examination_reads_well() {
        let place = Some("stack kingpin in eu-central-1");
        let page = page(place, &checks(), false, NOW);
        insta::assert_snapshot!("doctor", page.text);
        insta::assert_json_snapshot!("doctor-json", page.json);
    }

    #[test]
    fn what_fails_decides_the_exit_code_and_with_strict_what_is_warned_of() {
        let failed = |count, strict| page(None, &checks()[..count], strict, NOW).failed;
        assert!(!failed(1, true) && !failed(2, false));
        assert!(failed(2, true) && failed(3, false));
        let skipped = &checks()[3..];
        assert!(!page(None, skipped, true, NOW).failed);
    }

    #[tokio::test]
    async fn a_stack_that_is_not_there_is_a_check_that_failed() {
        let place = Place {
            stack: None,
            local: Some("/nowhere/stack.json".into()),
            profile: None,
            region: None,
        };
        let wanted = Doctor {
            no_probe: false,
            strict: false,
        };
        let page = examine(&place, &wanted, OffsetDateTime::UNIX_EPOCH).await;
        assert!(page.failed);
        assert_eq!(page.json["checks"][0]["check"], "stack");
        assert_eq!(page.json["stack"], serde_json::Value::Null);
    }
}

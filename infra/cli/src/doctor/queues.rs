//! The queues, and what failed too often.

use std::time::Duration;

use anyhow::{Context, Error};
use aws_sdk_sqs::{Client, types::MessageSystemAttributeName};
use fleet::Timestamp;

use super::{Check, bounded, skipped};
use crate::{
    cloudwatch::oldest_message_age,
    source::{Found, Source},
    status::{Depth, Queues},
    trouble::causes,
    when::{Span, span, timestamp},
};

/// A queue of dead letters.
struct DeadLetters {
    name: &'static str,
    output: &'static str,
    depth: fn(&Queues) -> Option<Depth>,
    check: fn(&'static str, String) -> Check,
}

/// How many messages wait in each, and since when the dead ones do.
pub(crate) async fn checks(found: &Found, source: Result<&Source, &Error>) -> Vec<Check> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return vec![Check::error("queues", error)],
    };
    let mut queues = None;
    let mut checks = bounded("queues", async {
        match source.queues().await {
            Ok(read) => {
                queues = Some(read);
                Vec::new()
            }
            Err(error) => vec![Check::error("queues", &error)],
        }
    })
    .await;
    let Some(queues) = queues else {
        checks.extend(skipped(
            &ALL.map(|it| it.name),
            "the queues can't be counted",
        ));
        return checks;
    };
    let (events, tasks) = tokio::join!(
        waiting(found, EVENTS, Some(queues.events)),
        waiting(found, TASKS, queues.tasks),
    );
    checks.extend(events.into_iter().chain(tasks));
    let client = &Client::new(&found.config);
    let [events, tasks, publisher] = ALL.map(|it| dead(found, client, it, &queues));
    let (events, tasks, publisher) = tokio::join!(events, tasks, publisher);
    checks.extend(events.into_iter().chain(tasks).chain(publisher));
    checks
}

/// A queue that is worked off.
#[derive(Clone, Copy)]
struct Working {
    name: &'static str,
    output: &'static str,
    /// In seconds: what its alarm rings at.
    late: f64,
    remedy: &'static str,
}

/// How many messages wait, and for how long the oldest has.
async fn waiting(found: &Found, of: Working, depth: Option<Depth>) -> Option<Check> {
    let depth = depth?;
    let counts = format!(
        "{} waiting, {} in work, {} delayed",
        depth.waiting, depth.in_work, depth.delayed
    );
    let age = match found.output(of.output) {
        Ok(url) => tokio::time::timeout(PATIENCE, oldest_message_age(found, &url)).await,
        Err(error) => Ok(Err(error)),
    };
    let shown = |seconds: f64| span(Span((seconds * 1000.0) as i64));
    Some(match age {
        Ok(Ok(Some(seconds))) if seconds >= of.late => {
            let found = format!("{counts}; the oldest for {}", shown(seconds));
            Check::warn(of.name, found, of.remedy)
        }
        Ok(Ok(Some(seconds))) => Check::ok(
            of.name,
            format!("{counts}; the oldest for {}", shown(seconds)),
        ),
        Ok(Ok(None)) => Check::ok(of.name, format!("{counts}; CloudWatch tells no age")),
        Ok(Err(error)) => {
            let found = format!("{counts}; CloudWatch tells no age: {}", causes(&*error));
            Check::ok(of.name, found)
        }
        Err(_) => Check::ok(
            of.name,
            format!("{counts}; CloudWatch took too long to tell the age"),
        ),
    })
}

async fn dead(found: &Found, client: &Client, of: DeadLetters, queues: &Queues) -> Vec<Check> {
    let Some(depth) = (of.depth)(queues) else {
        return vec![Check::skipped(
            of.name,
            format!("output {} is missing", of.output),
        )];
    };
    let count = depth.waiting + depth.in_work + depth.delayed;
    if count == 0 {
        return vec![Check::ok(of.name, "none")];
    }
    let oldest = match found.output(of.output) {
        Ok(url) => tokio::time::timeout(PATIENCE, oldest(client, &url)).await,
        Err(error) => Ok(Err(error)),
    };
    let found = match oldest {
        Ok(Ok(Some(at))) => {
            let now = timestamp(time::OffsetDateTime::now_utc());
            let age = span(Span(now.0.saturating_sub(at.0)));
            format!("{count}, the oldest of those looked at first sent {age} ago")
        }
        Ok(Ok(None)) => format!("{count}; none could be looked at now"),
        Ok(Err(error)) => format!("{count}; they can't be looked at: {}", causes(&*error)),
        Err(_) => format!("{count}; looking at them took too long"),
    };
    vec![(of.check)(of.name, found)]
}

/// When the oldest of some messages was sent first. They stay, and are seen again a moment later.
async fn oldest(client: &Client, url: &str) -> Result<Option<Timestamp>, Error> {
    let received = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .visibility_timeout(HIDDEN_SECONDS)
        .wait_time_seconds(1)
        .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
        .send()
        .await
        .context("sqs:ReceiveMessage")?;
    let sent = received.messages.unwrap_or_default();
    let sent = sent.iter().filter_map(|message| {
        let sent = message.attributes.as_ref()?;
        let sent = sent.get(&MessageSystemAttributeName::SentTimestamp)?;
        sent.parse().ok().map(Timestamp)
    });
    Ok(sent.min())
}

const EVENTS: Working = Working {
    name: "events_queue",
    output: "EventsQueueUrl",
    late: 300.0,
    remedy: "Records lag behind Catena: look for outcome “retried” and for throttles in event-processor's log and metrics.",
};
const TASKS: Working = Working {
    name: "tasks_queue",
    output: "TasksQueueUrl",
    late: 1800.0,
    remedy: "Looks at Catena are late: see reconciler's log, and raise ReconcilerConcurrency if Catena's rate limits allow it.",
};
/// For each of the three.
const ALL: [DeadLetters; 3] = [
    DeadLetters {
        name: "dead_letters",
        output: "EventsDeadLetterQueueUrl",
        depth: |queues| Some(queues.dead_letters),
        check: |name, found| {
            let remedy = "These events are lost 14 days after they were first sent. Find the cause in event-processor's log (outcome \
                          “retried”), mend it, and move them back by `kingpin dlq redrive`: order and repeats do no harm.";
            Check::fail(name, found, remedy)
        },
    },
    DeadLetters {
        name: "tasks_dead_letters",
        output: "TasksDeadLetterQueueUrl",
        depth: |queues| queues.tasks_dead_letters,
        check: |name, found| {
            let remedy = "What they were for is due again, so nothing is lost. Find the cause in reconciler's log (outcome “task-retried”), \
                          and purge the queue.";
            Check::warn(name, found, remedy)
        },
    },
    DeadLetters {
        name: "publisher_dead_letters",
        output: "PublisherDeadLetterQueueUrl",
        depth: |queues| queues.publisher_dead_letters,
        check: |name, found| {
            let remedy = "Your platform wasn't told these changes of fleets. Find the cause in publisher's log, have your platform ask for \
                          the fleets' access, and purge the queue.";
            Check::warn(name, found, remedy)
        },
    },
];
/// Short, so that a redrive that begins now finds them.
const HIDDEN_SECONDS: i32 = 1;
/// For one look.
const PATIENCE: Duration = Duration::from_secs(8);

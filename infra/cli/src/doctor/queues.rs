//! The queues, and what failed too often.

use std::time::Duration;

use anyhow::{Context, Error};
use aws_sdk_sqs::{Client, types::MessageSystemAttributeName};
use fleet::Timestamp;

use super::{Check, bounded, skipped};
use crate::{
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
    checks.push(Check::ok(
        "events_queue",
        waiting(queues.events, "OldestEventAlarm"),
    ));
    if let Some(tasks) = queues.tasks {
        checks.push(Check::ok("tasks_queue", waiting(tasks, "OldestTaskAlarm")));
    }
    let client = &Client::new(&found.config);
    let [events, tasks, publisher] = ALL.map(|it| dead(found, client, it, &queues));
    let (events, tasks, publisher) = tokio::join!(events, tasks, publisher);
    checks.extend(events.into_iter().chain(tasks).chain(publisher));
    checks
}

/// How old the oldest is isn't known here, but to the alarm.
fn waiting(depth: Depth, alarm: &str) -> String {
    format!(
        "{} waiting, {} in work, {} delayed; alarm {alarm} watches their age",
        depth.waiting, depth.in_work, depth.delayed
    )
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

/// For each of the three.
const ALL: [DeadLetters; 3] = [
    DeadLetters {
        name: "dead_letters",
        output: "EventsDeadLetterQueueUrl",
        depth: |queues| Some(queues.dead_letters),
        check: |name, found| {
            let remedy = "These events are lost 14 days after they were first sent. Find the cause in event-processor's log (outcome \
                          “retried”), mend it, and start a redrive of the queue: order and repeats do no harm.";
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

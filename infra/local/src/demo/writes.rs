//! Writes by a fleet's provider: what is sent, what becomes of it, and why.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use local::Stack;
use local::signed::Signed;
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{
    Announce, ApiFault, ApiFaultKind, OperationRule, OperationStep, Scenario, StepOutcome,
};
use uuid::Uuid;

use super::bus::Subscriber;
use super::sweeps::Sweeps;
use super::{numbered, step};

/// What is sent, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// The driver gets it, and a webhook tells.
    Told,
    /// The same key again, as a caller does that lost the answer.
    SentAgain,
    /// The fleet shares nothing to write.
    NoScope,
    /// The provider refuses the connection's credentials.
    Unauthorised,
    /// The driver gets it, and no webhook tells.
    Silent,
    /// The answer gets lost after Catena took it.
    AnswerLost,
    /// The connection breaks before Catena took it, which nobody can see.
    NeverArrived,
}

impl Story {
    pub(super) const ALL: [Self; 7] = [
        Self::Told,
        Self::SentAgain,
        Self::NoScope,
        Self::Unauthorised,
        Self::Silent,
        Self::AnswerLost,
        Self::NeverArrived,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Told => "told by a webhook",
            Self::SentAgain => "the same key again",
            Self::NoScope => "to a fleet that shares no writing",
            Self::Unauthorised => "the provider refuses",
            Self::Silent => "no webhook comes",
            Self::AnswerLost => "the answer gets lost",
            Self::NeverArrived => "it never arrives",
        }
    }

    /// How it is to end: a status, or a kind of problem.
    const fn ends(self) -> &'static str {
        match self {
            Self::Told | Self::SentAgain | Self::Silent | Self::AnswerLost => "success",
            Self::NoScope => "scope-missing",
            Self::Unauthorised => "failed",
            Self::NeverArrived => "unknown",
        }
    }

    /// What the bus is to tell of it.
    fn event(self) -> Option<&'static str> {
        match self.ends() {
            "success" => Some("operation.succeeded"),
            "failed" => Some("operation.failed"),
            "unknown" => Some("operation.unknown"),
            _ => None,
        }
    }
}

/// How it went.
#[derive(Debug)]
pub(super) struct Written {
    story: Story,
    ended: String,
    reason: String,
    /// The operation, unless nothing was sent.
    id: Option<String>,
    elapsed: Duration,
    /// Writes that Catena took of it.
    writes: usize,
    told: bool,
}

/// Walks all stories at the same time, with a sweep every second.
pub(super) async fn walk(
    stack: &Stack,
    partner: &Signed,
    sweeps: &Sweeps<'_>,
    run: &str,
) -> Result<Vec<Written>> {
    let [writable, readable] = [1, 2].map(|number| numbered(&format!("{run}-writes"), number));
    let start = Instant::now();
    connect(
        stack,
        partner,
        &writable,
        json!({ "message": "read_write", "vehicle": "read" }),
    )
    .await?;
    connect(stack, partner, &readable, json!({ "message": "read" })).await?;
    step("connect two fleets", start.elapsed());
    let mut subscriber = Subscriber::start(stack, "demo-writes", &[&writable]).await?;
    let walks = async {
        let walk = |story| {
            let fleet = match story {
                Story::NoScope => &readable,
                _ => &writable,
            };
            through(stack, partner, story, fleet, run)
        };
        let walks = Story::ALL.map(walk);
        futures_util::future::try_join_all(walks).await
    };
    let mut written = tokio::select! {
        written = walks => written?,
        error = sweeps.run() => return Err(error),
    };
    stack.simulator.idle().await;
    for it in written.iter_mut().filter(|it| it.ended != "unknown") {
        let how = it.id.as_deref().and_then(|id| learnt(stack, id));
        it.reason.extend(how.map(|how| format!("; {how}")));
    }
    let start = Instant::now();
    while written
        .iter()
        .any(|it| it.story.event().is_some() && !it.told)
    {
        ensure!(
            start.elapsed() < PATIENCE,
            "the bus doesn't tell how writes ended"
        );
        subscriber.receive().await?;
        for event in subscriber.told(&writable) {
            let key = event.detail["operation"]["idempotency_key"].as_str();
            for it in &mut written {
                it.told |=
                    key == Some(&key_of(run, it.story)) && Some(&*event.name) == it.story.event();
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(written)
}

/// What is sent, how it ended and why, as a table.
pub(super) fn table(written: &[Written]) -> String {
    let mut text = format!(
        "{:<35}{:<15}{:>7}{:>9}  why\n",
        "message", "ended", "writes", "after"
    );
    for it in written {
        let after = format!("{:.1} s", it.elapsed.as_secs_f64());
        // Writing to a string succeeds.
        let _ = writeln!(
            text,
            "{:<35}{:<15}{:>7}{after:>9}  {}",
            it.story.name(),
            it.ended,
            it.writes,
            it.reason
        );
    }
    text
}

/// What went otherwise than it should, in sentences.
pub(super) fn problems(written: &[Written]) -> impl Iterator<Item = String> {
    written.iter().filter_map(|it| {
        let name = it.story.name();
        let most = usize::from(!matches!(it.story, Story::NoScope | Story::NeverArrived));
        if it.ended != it.story.ends() {
            return Some(format!(
                "the write `{name}` ended as {}: {}",
                it.ended, it.reason
            ));
        }
        (it.writes != most).then(|| format!("the write `{name}` was written {} times", it.writes))
    })
}

/// Invites a fleet with permissions, and has it connect.
async fn connect(stack: &Stack, partner: &Signed, fleet: &str, permissions: Value) -> Result<()> {
    let body = json!({ "fleet_name": "Writing fleet", "permissions": permissions });
    let path = format!("/fleets/{fleet}/invitation");
    partner.send(Method::PUT, &path, Some(body)).await?.json()?;
    stack.simulator.idle().await;
    let scenario = Scenario::invited([fleet]);
    stack.simulator.try_run(&scenario).await?;
    let start = Instant::now();
    loop {
        let access = format!("/fleets/{fleet}/access");
        let access = partner.send(Method::GET, &access, None).await?.json()?;
        if access["stage"] == "connected" && !access["data_scopes"]["message"].is_null() {
            return Ok(());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "fleet {fleet} should be connected: {access}"
        );
        tokio::time::sleep(EVERY).await;
    }
}

async fn through(
    stack: &Stack,
    partner: &Signed,
    story: Story,
    fleet: &str,
    run: &str,
) -> Result<Written> {
    let key = key_of(run, story);
    let text = format!("Gate 4 is closed, use gate 5 ({key})");
    prepare(stack, story, &text);
    let body = json!({
        "resource": "message",
        "operation": "create",
        "payload": {
            "sender_id": Uuid::new_v4(),
            "recipient_id": Uuid::new_v4(),
            "message_text": text,
        },
    });
    let start = Instant::now();
    let path = format!("/fleets/{fleet}/operations");
    let headers = [("idempotency-key", key.as_str())];
    let send = async || {
        let sent = partner.send_with(Method::POST, &path, &headers, Some(body.clone()));
        sent.await?.json()
    };
    let mut answer = send().await?;
    if story == Story::SentAgain {
        for _ in 0..3 {
            answer = send().await?;
        }
    }
    let id = answer["id"].as_str().map(str::to_owned);
    let (ended, reason) = match &id {
        Some(id) => ended(partner, id).await?,
        None => {
            let kind = answer["type"].as_str().unwrap_or("?");
            let kind = kind.trim_start_matches("urn:kingpin:problem:");
            let detail = answer["detail"].as_str().unwrap_or("?");
            let reason = detail.split(". ").next().unwrap_or(detail);
            (kind.to_owned(), reason.to_owned())
        }
    };
    let writes = stack.simulator.writes();
    let writes = writes.iter().filter(|it| it.sent["message_text"] == *text);
    Ok(Written {
        story,
        ended,
        reason,
        id,
        elapsed: start.elapsed(),
        writes: writes.count(),
        told: false,
    })
}

/// What Catena, the provider and the network do about it.
fn prepare(stack: &Stack, story: Story, text: &str) {
    let catena = &stack.simulator;
    let soon = Duration::from_millis(400);
    let rule = |step: OperationStep| OperationRule::new([step]).containing(text);
    let fault = |kind| {
        ApiFault::new(kind)
            .on("POST", "/v2/telematics/messages")
            .containing(text)
    };
    match story {
        Story::Told | Story::SentAgain | Story::NoScope => {}
        Story::Unauthorised => {
            let outcome = StepOutcome::Failed {
                error_type: Some("auth".to_owned()),
                error_details: Some("Client error '401 Unauthorized'".to_owned()),
                response_status_code: Some(401),
                response_headers: None,
            };
            catena.add_operation_rule(rule(OperationStep::new(soon, outcome)));
        }
        Story::Silent => {
            let step = OperationStep::success(soon).announced(Announce::Lost);
            catena.add_operation_rule(rule(step).created(Announce::Lost));
        }
        Story::AnswerLost => catena.add_api_fault(fault(ApiFaultKind::CutAfter)),
        Story::NeverArrived => catena.add_api_fault(fault(ApiFaultKind::CutBefore)),
    }
}

/// How an operation's end became known, by the functions' logs.
fn learnt(stack: &Stack, id: &str) -> Option<&'static str> {
    let says = |function: &str, outcome: &str| {
        let mut lines = stack.log_records(function).into_iter();
        lines.any(|line| line["operation.id"] == id && line["outcome"] == outcome)
    };
    match () {
        () if says("reconciler", "operation-found") => Some("found in Catena's list"),
        () if says("reconciler", "operation-changed") => Some("found out by asking Catena"),
        () if says("event-processor", "operation-changed") => Some("a webhook told"),
        () => None,
    }
}

/// Waits until an operation came to its end, and tells which and why.
async fn ended(partner: &Signed, id: &str) -> Result<(String, String)> {
    let start = Instant::now();
    loop {
        let path = format!("/operations/{id}");
        let operation = partner.send(Method::GET, &path, None).await?.json()?;
        let status = operation["status"]
            .as_str()
            .context("an operation without a status")?;
        if !["submitting", "unclear", "pending"].contains(&status) {
            let reason = operation["explanation"].as_str().unwrap_or("?");
            return Ok((status.to_owned(), reason.to_owned()));
        }
        if start.elapsed() > PATIENCE {
            bail!("operation {id} doesn't end: {operation}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn key_of(run: &str, story: Story) -> String {
    format!("{run}-message-{}", story as usize + 1)
}

const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(story: Story, ended: &str, writes: usize) -> Written {
        Written {
            story,
            ended: ended.to_owned(),
            reason: "because".to_owned(),
            id: None,
            elapsed: Duration::from_millis(1_240),
            writes,
            told: true,
        }
    }

    #[test]
    fn a_table_gives_each_its_reason() {
        let table = table(&[written(Story::Silent, "success", 1)]);
        assert_eq!(
            table.lines().nth(1),
            Some("no webhook comes                   success              1    1.2 s  because")
        );
    }

    #[test]
    fn another_end_and_a_second_write_are_problems() {
        let told = |it| problems(&[it]).collect::<Vec<_>>().join("");
        assert_eq!(told(written(Story::NeverArrived, "unknown", 0)), "");
        assert_eq!(
            told(written(Story::SentAgain, "success", 2)),
            "the write `the same key again` was written 2 times"
        );
        assert_eq!(
            told(written(Story::Told, "failed", 1)),
            "the write `told by a webhook` ended as failed: because"
        );
    }
}

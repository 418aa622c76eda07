//! Stacks whose webhooks come by subscriptions that `kingpin subscription apply` made, as a partner's do.

use std::process::{Command, Output};

use local::Stack;
use serde_json::{Value, json};
use simulator::{SubscriptionStatus, SubscriptionTruth};
use store::{SubscriptionsText, Table};
use uuid::Uuid;

use crate::cli::{self, read};

/// Runs `kingpin` against a stack.
pub(crate) fn ask(stack: &Stack, arguments: &[&str]) -> Output {
    let mut command = command(stack, arguments);
    // It blocks a thread of the test while the local AWS, another process, answers.
    tokio::task::block_in_place(|| command.output()).unwrap()
}

/// `kingpin`, ready to run against a stack.
pub(crate) fn command(stack: &Stack, arguments: &[&str]) -> Command {
    let described = stack.stack_json();
    let local = ["--json", "--local", described.to_str().unwrap()];
    let folder = described.parent().unwrap();
    cli::command(folder, &[], &[&local, arguments].concat())
}

/// Has nothing delivered any more but by subscriptions, and makes those that Kingpin needs. Returns what `kingpin` says.
pub(crate) fn subscribe(stack: &Stack) -> Value {
    stack.simulator.clear_subscriptions();
    let applied = read(&ask(stack, &["subscription", "apply"]));
    assert_eq!(applied["complete"], true, "{applied:#}");
    let ours = stack.simulator.subscriptions();
    assert!(ours.len() > 20, "{ours:#?}");
    assert_eq!(applied["subscriptions"], ours.len());
    applied
}

/// The subscription of an event, the first one if there are several.
pub(crate) fn subscription(stack: &Stack, event_name: &str) -> SubscriptionTruth {
    let all = stack.simulator.subscriptions();
    let found = all.into_iter().find(|it| it.event_name == event_name);
    found.unwrap_or_else(|| panic!("nothing subscribes {event_name}"))
}

/// Whether a subscription delivers.
pub(crate) fn status(stack: &Stack, id: Uuid) -> SubscriptionStatus {
    let all = stack.simulator.subscriptions();
    all.iter().find(|it| it.id == id).unwrap().status
}

/// How many calls of a template of Catena's API there were, such as `/v2/notifications/webhooks/{webhook_id}/activate`.
pub(crate) fn calls(stack: &Stack, method: &str, path: &str) -> usize {
    let calls = stack.simulator.api_calls();
    let calls = calls.iter();
    calls
        .filter(|call| call.method == method && call.path.ends_with(path))
        .count()
}

/// What the reconciler remembers of subscriptions.
pub(crate) async fn watch(table: &Table) -> Value {
    let text = table.subscriptions_text(SubscriptionsText::Watch).await;
    serde_json::from_str(text.unwrap().as_deref().unwrap_or("{}")).unwrap()
}

/// Moves all that the reconciler remembers of subscriptions into the past, as if so many milliseconds had gone by.
pub(crate) async fn age(table: &Table, by: i64) {
    let which = SubscriptionsText::Watch;
    loop {
        let before = table.subscriptions_text(which).await.unwrap().unwrap();
        let mut aged = serde_json::from_str(&before).unwrap();
        put_back(&mut aged, by);
        let aged = aged.to_string();
        // Somebody may look at this moment.
        let written = table.replace_subscriptions_text(which, Some(&before), &aged);
        if written.await.unwrap() {
            return;
        }
    }
}

fn put_back(value: &mut Value, by: i64) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|field| put_back(field, by)),
        Value::Number(number) => {
            // Moments, and no counts.
            if let Some(at) = number.as_i64().filter(|at| *at > 1_000_000_000_000) {
                *value = json!(at - by);
            }
        }
        _ => {}
    }
}

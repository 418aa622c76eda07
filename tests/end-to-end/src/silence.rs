//! The drill of writes of which no webhook ever comes: the reconciler asks for their ends, many by one call, and no oftener than Catena
//! lets it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use ::operations::{Asked, Heard, Kind, Operation, Status, operation_id, request_digest};
use fleet::FleetRef;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};
use simulator::{
    Announce, ApiCall, OperationRule, OperationStatus, OperationStep, RateLimit, Scenario,
    StepOutcome,
};
use store::{Commit, HistoryDays, Operations, StoredOperation};
use time::OffsetDateTime;

use crate::{
    backend::now,
    catena::{TIME, client},
    drills::scale,
    reconciling::Watched,
};

/// What came of so many operations.
pub(crate) async fn run(count: usize) -> String {
    let watched = &Watched::start(&[]).await;
    let simulator = watched.simulator();
    let report = simulator.run(&Scenario::onboarding(FLEETS)).await;
    watched.settled().await;
    // Later than the first looks, and than the last is written.
    let late = Duration::from_secs(5) + Duration::from_millis(10) * u32::try_from(count).unwrap();
    for (word, is_late, outcome) in ends() {
        let after = if is_late { late } else { Duration::ZERO };
        let step = OperationStep::new(after, outcome).announced(Announce::Lost);
        let rule = OperationRule::new([step]).containing(&format!("[{word}]"));
        simulator.add_operation_rule(rule.created(Announce::Lost));
    }

    // As the partner API writes them, without it: it would take minutes, and what it does is another drill's.
    let start = Instant::now();
    let table = &watched.running.table().await;
    let to = Operations {
        table,
        policy: &watched.policy,
        history_days: HistoryDays::default(),
        now: OffsetDateTime::now_utc,
    };
    let catena = &client(simulator);
    let words = ends().map(|(word, ..)| word);
    let write = async |number: usize| {
        let fleet = &report.fleets[number % FLEETS];
        let text = format!("Silent message {number} [{}]", words[number % words.len()]);
        let asked = asked(&fleet.fleet_ref, &fleet.connection_id.to_string(), &text);
        let id = operation_id(&fleet.fleet_ref, &asked.key);
        let mut body = message(&text);
        let operation = Operation::new(id.clone(), asked, body.clone(), now());
        let kept = to.keep(&StoredOperation::new(operation)).await.unwrap();
        let Commit::Written(stored) = kept else {
            panic!("{id} is there already");
        };
        body.insert("connection_id".to_owned(), json!(fleet.connection_id));
        let calls = catena.within(TIME);
        let answer = calls.write(MESSAGES, None, &body).await.unwrap();
        let told = translation::operation(&answer.value, Some(answer.observed.at())).unwrap();
        let heard = Heard::default().fold(told.said);
        let accepted = to.accept(stored, &told.id, told.created_at, heard).await;
        accepted.unwrap().unwrap();
        id
    };
    let ids: BTreeSet<String> = stream::iter((0..count).map(write))
        .buffer_unordered(16)
        .collect()
        .await;
    assert_eq!(ids.len(), count);
    assert_eq!(simulator.writes().len(), count);
    let written = start.elapsed();

    simulator.clear_api_calls();
    // Less than it takes to read of all of them: whoever begins anew after each pause never comes to the end.
    let limit = RateLimit {
        calls: scale(3, 10),
        window: WINDOW,
    };
    simulator.set_rate_limit(Some(limit));
    let start = Instant::now();
    let mut sweeps = 0;
    let give_up = start + Duration::from_secs(600);
    loop {
        let far = now().plus(FAR_MS);
        if table.due_operations(far, 1).await.unwrap().is_empty() {
            break;
        }
        assert!(Instant::now() < give_up, "{:?}", watched.outcomes());
        watched.sweep().await;
        sweeps += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let lasted = start.elapsed();
    let rates = simulator.rate_report();
    let calls = simulator.api_calls();
    simulator.set_rate_limit(None);

    // All by polling: nothing was ever told.
    let told = simulator.deliveries();
    let told = told
        .iter()
        .filter(|it| it.event_name.starts_with("resource_operation"));
    assert_eq!(told.count(), 0);
    let ends = table.operations(&ids).await.unwrap();
    let ends: BTreeMap<String, Operation> = ends
        .into_values()
        .map(|it| it.unwrap().operation)
        .map(|it| (it.catena_id.clone().unwrap(), it))
        .collect();
    assert_eq!(ends.len(), count);
    let mut counts: BTreeMap<(Status, Option<String>), usize> = BTreeMap::new();
    for truth in simulator.writes() {
        let end = &ends[&truth.operation_id.to_string()];
        let held = match truth.status {
            OperationStatus::Success => Status::Success,
            OperationStatus::Failed => Status::Failed,
            OperationStatus::Pending => panic!("{truth:?}"),
        };
        let status = end.status(now());
        assert_eq!(status, held, "{end:#?} {truth:#?}");
        assert_eq!(end.heard.error_type(), truth.error_type.as_deref());
        *counts.entry((status, truth.error_type)).or_default() += 1;
    }

    // What was on its way when another call was told to wait may still arrive.
    let on_its_way = time::Duration::SECOND;
    let early = rates.early.iter();
    let early = early.filter(|it| it.at - it.told_at > on_its_way);
    let early: Vec<_> = early.collect();
    assert!(early.is_empty(), "{early:#?}");
    assert!(rates.refused > 0, "the limit was never met");
    let of = |wanted: &str| {
        let fits = |it: &&ApiCall| it.method == "GET" && it.path == wanted;
        calls.iter().filter(fits).count()
    };
    let (lists, by_id) = (of(LIST), of(ONE));
    let polls = lists + by_id;
    let most = count / 10;
    assert!(polls < most, "{lists} pages of lists, {by_id} by id");
    let of_operations = |it: &&ApiCall| [LIST, ONE].contains(&it.path.as_str());
    let others = calls.len() - calls.iter().filter(of_operations).count();
    assert!(polls + others < most + FLEETS * 10, "{others} other calls");
    assert_eq!(watched.dead_tasks().await, 0);
    let counts = counts.iter().map(|((status, error_type), count)| {
        let why = error_type.as_deref().map(|it| format!(" ({it})"));
        format!("{count} {}{}", status.as_str(), why.unwrap_or_default())
    });
    format!(
        "{count} operations of {FLEETS} fleets, no webhook of any (written in {:.0} s): {}, all as Catena has it; asked by {polls} calls \
         ({lists} pages of lists, {by_id} by id), {:.3} per operation, and {others} about connections of those that failed by auth; limit \
         {} calls in {} s: {} refused, none came early, {} at most in a window; {sweeps} sweeps; {:.0} s",
        written.as_secs_f64(),
        counts.collect::<Vec<_>>().join(", "),
        polls as f64 / count as f64,
        limit.calls,
        limit.window.as_secs(),
        rates.refused,
        rates.most_in_window,
        lasted.as_secs_f64()
    )
}

/// How operations end, by a word in what they write: at once or later than their first looks.
fn ends() -> [(&'static str, bool, StepOutcome); 8] {
    let (soon, late) = (false, true);
    let failed = |error_type: &str| StepOutcome::Failed {
        error_type: Some(error_type.to_owned()),
        error_details: Some("the provider's words".to_owned()),
        response_status_code: Some(400),
        response_headers: None,
    };
    [
        ("succeeds", soon, StepOutcome::Success),
        ("succeeds soon", soon, StepOutcome::Success),
        ("succeeds in the end", late, StepOutcome::Success),
        ("auth", soon, failed("auth")),
        ("validation", soon, failed("validation")),
        ("network", soon, failed("network")),
        ("tsp", soon, failed("tsp")),
        ("tsp in the end", late, failed("tsp")),
    ]
}

pub(crate) fn asked(fleet: &str, connection: &str, text: &str) -> Asked {
    Asked {
        fleet: FleetRef::parse(fleet).unwrap(),
        key: text.to_owned(),
        by: "arn:aws:iam::000000000000:user/test".to_owned(),
        resource: "message".to_owned(),
        kind: Kind::Create,
        target: None,
        connection: connection.to_owned(),
        digest: request_digest("message", Kind::Create, None, None, &message(text)),
    }
}

pub(crate) fn message(text: &str) -> Map<String, Value> {
    let message = json!({
        "sender_id": "3e7c9a0e-6d5b-4c58-9d59-2f0d8a3b1c01",
        "recipient_id": "3e7c9a0e-6d5b-4c58-9d59-2f0d8a3b1c02",
        "message_text": text,
    });
    message.as_object().unwrap().clone()
}

pub(crate) const MESSAGES: &str = "/v2/telematics/messages";
const LIST: &str = "/v2/integrations/connections/resource-operations";
pub(crate) const ONE: &str =
    "/v2/integrations/connections/{connection_id}/resource-operations/{id}";
const FLEETS: usize = 40;
/// How long a limit counts.
const WINDOW: Duration = Duration::from_secs(3);
/// Later than any look is due.
const FAR_MS: i64 = 1_000_000_000;

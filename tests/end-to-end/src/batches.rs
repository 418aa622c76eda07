//! Batches against the event processor's real binary and the table: poisoned, panicking, out of order, out of luck.

use std::{collections::BTreeSet, time::Duration};

use catena::Instant;
use event_processor::{Processor, Settings};
use fleet::{
    At, Claim, ConnectionFact, ConnectionState, Fact, Facts, FleetRef, InvitationFact, Observation,
    Stage, Timestamp,
};
use local::{runtime_api::Function, wire::Fault};
use queue::{EventsQueue, LONGEST_TOLD, Message, TasksQueue, Told};
use serde_json::{Value, json};
use simulator::{Envelope, Fleet, events};
use store::{NUDGED_WITHIN_MS, Table};
use time::OffsetDateTime;
use translation::{Translation, translate};

use crate::{
    backend::{Backend, KEY, TABLE, delivery_of, items, kinds, outcomes, status},
    oracle,
};

fn fleet(n: usize) -> Fleet {
    let invited_at = OffsetDateTime::now_utc() - Duration::from_secs(600);
    Fleet::new(&format!("FLEET-{n}"), invited_at)
}

/// The message bodies that ingest makes of envelopes.
pub(crate) async fn bodies(
    backend: &Backend,
    envelopes: &[Envelope],
    ago: Duration,
) -> Vec<String> {
    let ingest = backend.function("webhook-ingest", &[]).await;
    for envelope in envelopes {
        let answer = ingest
            .invoke(&delivery_of(envelope, KEY, ago))
            .await
            .unwrap();
        assert_eq!(status(&answer), 202);
    }
    let queued = backend.drain().await;
    assert_eq!(queued.len(), envelopes.len());
    queued.iter().map(Value::to_string).collect()
}

pub(crate) fn batch<'a>(bodies: impl IntoIterator<Item = &'a str>) -> Value {
    batch_received(bodies, 1)
}

/// A batch as Lambda's poller hands it over.
fn batch_received<'a>(bodies: impl IntoIterator<Item = &'a str>, times: u32) -> Value {
    let record = |(index, body): (usize, &str)| {
        json!({
            "messageId": format!("message-{index}"),
            "receiptHandle": format!("receipt-{index}"),
            "body": body,
            "attributes": { "ApproximateReceiveCount": times.to_string() },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        })
    };
    let records: Vec<Value> = bodies.into_iter().enumerate().map(record).collect();
    json!({ "Records": records })
}

pub(crate) async fn failed(function: &Function, batch: &Value) -> Vec<String> {
    failures(&function.invoke(batch).await.unwrap())
}

fn failures(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    failures
        .map(|it| it["itemIdentifier"].as_str().unwrap().to_owned())
        .collect()
}

fn record<'a>(items: &'a [Value], fleet_ref: &str) -> &'a Value {
    let pk = format!("FLEET#{fleet_ref}");
    let record = |item: &&Value| item["pk"]["S"] == *pk && item["sk"]["S"] == "RECORD";
    items.iter().find(record).unwrap()
}

fn stage_of(items: &[Value], fleet_ref: &str) -> Stage {
    let facts = record(items, fleet_ref)["facts"]["S"].as_str().unwrap();
    let facts: Facts = serde_json::from_str(facts).unwrap();
    oracle::standing(&facts).stage
}

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_messages_are_quarantined_and_harm_no_other() {
    let backend = Backend::start().await;
    let created: Vec<Envelope> = (0..10)
        .map(|n| events::invitation_created(&fleet(n), OffsetDateTime::now_utc()))
        .collect();
    let good = bodies(&backend, &created, Duration::ZERO).await;
    let mut invalid = created[0].clone();
    invalid.data[0]["accepted_at"] = json!("hunter2");
    let mut unknown = created[0].clone();
    unknown.event_name = "fleet_info.modified".to_owned();
    let mut poisons = bodies(&backend, &[invalid, unknown], Duration::ZERO).await;
    let old = Duration::from_secs(20 * 24 * 60 * 60);
    poisons.extend(bodies(&backend, &created[..1], old).await);
    poisons.push("hunter2".to_owned());
    poisons.push(r#"{"v":1,"delivery":"hunter2"}"#.to_owned());
    for poisoned in [0, 1, 10] {
        let processor = backend.function("event-processor", &[]).await;
        let poison = poisons.iter().cycle().take(poisoned);
        let all = poison.chain(&good[poisoned..]).map(String::as_str);
        assert_eq!(failed(&processor, &batch(all)).await, [] as [String; 0]);
        let quarantined = outcomes(&processor)
            .iter()
            .filter(|it| *it == "quarantined")
            .count();
        assert_eq!(quarantined, poisoned, "{}", processor.output());
        assert!(!processor.output().contains("hunter2"));
    }
    let items = backend.items().await;
    for n in 0..10 {
        assert_eq!(stage_of(&items, &format!("FLEET-{n}")), Stage::Invited);
    }
    let quarantined: Vec<_> = items
        .iter()
        .filter(|item| item["pk"]["S"].as_str().unwrap().starts_with("QUARANTINE#"))
        .collect();
    assert_eq!(quarantined.len(), poisons.len());
    for item in &quarantined {
        let expires: i64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        let days = (expires - OffsetDateTime::now_utc().unix_timestamp()) / (24 * 60 * 60);
        assert!((29..=30).contains(&days), "{days} days");
        assert!(!item["reason"]["S"].as_str().unwrap().is_empty());
    }
    // What isn't known to be scrubbed is not kept.
    let kept = quarantined
        .iter()
        .filter(|item| !item["body"].is_null())
        .count();
    assert_eq!(kept, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_of_a_delivery_leaves_the_others_good() {
    let backend = Backend::start().await;
    let now = OffsetDateTime::now_utc();
    let mut delivery = events::invitation_created(&fleet(1), now);
    delivery.data.push(json!({ "status": "active" }));
    delivery
        .data
        .extend(events::invitation_created(&fleet(2), now).data);
    let bodies = bodies(&backend, &[delivery], Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let batch = batch(bodies.iter().map(String::as_str));
    assert_eq!(failed(&processor, &batch).await, [] as [String; 0]);
    assert_eq!(outcomes(&processor), ["quarantined"]);
    let items = backend.items().await;
    assert_eq!(stage_of(&items, "FLEET-1"), Stage::Invited);
    assert_eq!(stage_of(&items, "FLEET-2"), Stage::Invited);
    let kept = items
        .iter()
        .find_map(|item| item["body"]["S"].as_str())
        .unwrap();
    let kept: Value = serde_json::from_str(kept).unwrap();
    let envelope = &kept["delivery"]["content"]["envelope"];
    assert_eq!(envelope["first_index"], 1);
    assert_eq!(envelope["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_record_harms_no_other() {
    fn panics_on_fleet_3(
        event: &catena::Event,
        envelope: &catena::Envelope,
        index: usize,
    ) -> Translation {
        let translation = translate(event, envelope, index);
        assert_ne!(translation.fleet, FleetRef::parse("FLEET-3"), "a bug");
        translation
    }
    let backend = Backend::start().await;
    let created: Vec<Envelope> = (0..10)
        .map(|n| events::invitation_created(&fleet(n), OffsetDateTime::now_utc()))
        .collect();
    let bodies = bodies(&backend, &created, Duration::ZERO).await;
    let processor = processor(&backend)
        .await
        .with_translation(panics_on_fleet_3);
    let batch = serde_json::from_value(batch(bodies.iter().map(String::as_str))).unwrap();
    let answer = processor.handle(batch, OffsetDateTime::now_utc).await;
    assert_eq!(answer.batch_item_failures.len(), 0);
    let items = backend.items().await;
    for n in (0..10).filter(|n| *n != 3) {
        assert_eq!(stage_of(&items, &format!("FLEET-{n}")), Stage::Invited);
    }
    assert!(!items.iter().any(|item| item["pk"]["S"] == "FLEET#FLEET-3"));
    let reason = items.iter().find_map(|item| item["reason"]["S"].as_str());
    assert_eq!(reason, Some("the program panicked on it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn children_before_their_parents_wait_and_are_set_free() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let mut onboarding = events::onboarding(&fleet);
    onboarding.push(events::schedule_deactivated(
        &fleet,
        OffsetDateTime::now_utc(),
    ));
    let bodies = bodies(&backend, &onboarding, Duration::ZERO).await;
    // schedule, fleet connection, connection: each names only what a later one brings.
    let processor = backend.function("event-processor", &[]).await;
    for index in [6, 5, 4] {
        let none = failed(&processor, &batch([bodies[index].as_str()])).await;
        assert_eq!(none, [] as [String; 0]);
    }
    // The schedule's state rests with its connection, which is all that it names.
    assert_eq!(outcomes(&processor), ["applied", "parked", "parked"]);
    assert_eq!(
        kinds(&backend.items().await),
        BTreeSet::from(["LINKS", "PARKED"].map(str::to_owned))
    );
    // The agreement knows the fleet, and frees all three in a chain.
    assert_eq!(
        failed(&processor, &batch([bodies[3].as_str()])).await,
        [] as [String; 0]
    );
    let items = backend.items().await;
    let expected = ["HISTORY", "LINKS", "RECORD"].map(str::to_owned);
    assert_eq!(kinds(&items), BTreeSet::from(expected));
    assert!(!items.iter().any(|item| !item["waiting"].is_null()));
    assert_eq!(stage_of(&items, "FLEET-1"), Stage::Connected);
    let facts = record(&items, "FLEET-1")["facts"]["S"].as_str().unwrap();
    assert!(facts.contains("schedules"), "{facts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_parked_is_found_when_the_message_comes_again() {
    let backend = Backend::start().await;
    let bodies = bodies(&backend, &events::onboarding(&fleet(1)), Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let one = |index: usize, times: u32| batch_received([bodies[index].as_str()], times);
    assert_eq!(failed(&processor, &one(5, 1)).await, [] as [String; 0]);
    // The link is added, then reading what is parked fails: as if the process had ended there.
    backend.wire.fault(
        "*",
        "dynamodb:Query",
        Fault::error(500, "InternalServerError"),
    );
    assert_eq!(failed(&processor, &one(3, 1)).await.len(), 1);
    backend.wire.heal();
    let parked = BTreeSet::from(["LINKS", "PARKED"].map(str::to_owned));
    assert_eq!(kinds(&backend.items().await), parked);
    // Now the record is written, but what was parked can't be removed: again is the same as once.
    // The history comes first.
    backend.wire.fault_after(
        1,
        "*",
        "dynamodb:BatchWriteItem",
        Fault::error(500, "InternalServerError"),
    );
    assert_eq!(failed(&processor, &one(3, 2)).await.len(), 1);
    backend.wire.heal();
    assert_eq!(
        stage_of(&backend.items().await, "FLEET-1"),
        Stage::Connected
    );
    assert_eq!(failed(&processor, &one(3, 3)).await, [] as [String; 0]);
    let items = backend.items().await;
    assert!(!kinds(&items).contains("PARKED"));
    assert_eq!(record(&items, "FLEET-1")["version"]["N"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_to_the_fleet_that_it_names_and_not_to_others_of_its_connection() {
    let (x, mut y) = (fleet(1), fleet(2));
    y.connection_id = x.connection_id;
    let now = OffsetDateTime::now_utc();
    let events = [
        events::share_agreement_created(&x, now),
        events::connection_created(&x, now),
        events::fleet_connection_created(&y, now),
        events::share_agreement_created(&y, now),
    ];
    for order in [[0, 1, 2, 3], [2, 0, 1, 3], [0, 1, 3, 2], [3, 2, 1, 0]] {
        let backend = Backend::start().await;
        let bodies = bodies(&backend, &events, Duration::ZERO).await;
        let processor = backend.function("event-processor", &[]).await;
        for index in order {
            let one = batch([bodies[index].as_str()]);
            assert_eq!(failed(&processor, &one).await, [] as [String; 0]);
        }
        let items = backend.items().await;
        assert_eq!(stage_of(&items, "FLEET-1"), Stage::Accepted, "{order:?}");
        assert_eq!(stage_of(&items, "FLEET-2"), Stage::Connected, "{order:?}");
        assert!(!kinds(&items).contains("PARKED"), "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_without_a_reference_waits_for_one_that_has_it() {
    let fleet = fleet(1);
    let now = OffsetDateTime::now_utc();
    let mut accepted = events::invitation_accepted(&fleet, now);
    accepted.data[0]["fleet_ref"] = Value::Null;
    let created = events::invitation_created(&fleet, fleet.invited_at);
    for order in [[0, 1], [1, 0]] {
        let backend = Backend::start().await;
        let bodies = bodies(
            &backend,
            &[created.clone(), accepted.clone()],
            Duration::ZERO,
        )
        .await;
        let processor = backend.function("event-processor", &[]).await;
        for index in order {
            let one = batch([bodies[index].as_str()]);
            assert_eq!(failed(&processor, &one).await, [] as [String; 0]);
        }
        let items = backend.items().await;
        assert_eq!(stage_of(&items, "FLEET-1"), Stage::Accepted, "{order:?}");
        assert!(!kinds(&items).contains("PARKED"), "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_nothing_is_told_from_what_cannot_be_ordered() {
    let backend = Backend::start().await;
    let (fleet, now) = (fleet(1), OffsetDateTime::now_utc());
    let mut timeless = events::share_agreement_created(&fleet, now);
    timeless.id = None;
    let mut endless = events::fleet_connection_created(&fleet, now);
    endless.data[0]["connection_id"] = json!("x".repeat(3000));
    let mut huge = events::connection_created(&fleet, now);
    huge.data[0]["padding"] = json!("x".repeat(400_000));
    huge.data[0]["fleet_id"] = json!("unknown");
    let events = [
        timeless,
        endless,
        huge,
        events::execution_failed(&fleet, now),
        events::webhook_staled(&fleet, now),
        events::invitation_created(&fleet, now),
    ];
    let bodies = bodies(&backend, &events, Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let whole = batch(bodies.iter().map(String::as_str));
    // What is too large to be parked or quarantined ends in the dead-letter queue, which keeps it.
    assert_eq!(failed(&processor, &whole).await, ["message-2"]);
    let expected = [
        "applied",
        "quarantined",
        "retried",
        "ignored",
        "ignored",
        "applied",
    ];
    assert_eq!(outcomes(&processor), expected);
    assert!(processor.output().contains("the reconciler looks at it"));
    let items = backend.items().await;
    assert_eq!(stage_of(&items, "FLEET-1"), Stage::Invited);
    let reasons = items.iter().filter_map(|item| item["reason"]["S"].as_str());
    let reasons: Vec<&str> = reasons.collect();
    assert_eq!(reasons, ["an id is empty or longer than any of Catena's"]);
    // What has no time changes no fact; it says that somebody should look.
    let record = record(&items, "FLEET-1");
    assert!(
        !record["facts"]["S"]
            .as_str()
            .unwrap()
            .contains("agreements")
    );
    let look: Value = serde_json::from_str(record["look"]["S"].as_str().unwrap()).unwrap();
    assert_eq!(look["why"], "hint");
    // The reconciler was told at once, also of the subscription; the sweep finds it if that got lost.
    let due_at: i64 = record["due_at"]["N"].as_str().unwrap().parse().unwrap();
    assert_eq!(look["at"].as_i64(), Some(due_at - NUDGED_WITHIN_MS));
    assert_eq!(backend.depth(&backend.tasks_url).await, 2);
    // Again is the same as once, until somebody has looked.
    let version = record["version"].clone();
    assert_eq!(
        failed(&processor, &batch([bodies[0].as_str()])).await,
        [] as [String; 0]
    );
    assert_eq!(
        self::record(&backend.items().await, "FLEET-1")["version"],
        version
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_outgrows_the_record_harms_no_other_of_its_fleet() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let now = OffsetDateTime::now_utc();
    let large = |id: &str| {
        let mut agreement = events::share_agreement_created(&fleet, now);
        let scopes = (0..6000).map(|n| (format!("a-resource-called-{n:06}"), json!("read")));
        agreement.data[0]["scopes"] = Value::Object(scopes.collect());
        agreement.data[0]["id"] = json!(id);
        agreement
    };
    let events = [
        large("one"),
        large("two"),
        events::invitation_viewed(&fleet, now),
    ];
    let bodies = bodies(&backend, &events, Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    assert_eq!(
        failed(&processor, &batch([bodies[0].as_str()])).await,
        [] as [String; 0]
    );
    let two = batch([bodies[1].as_str(), bodies[2].as_str()]);
    assert_eq!(failed(&processor, &two).await, [] as [String; 0]);
    assert_eq!(
        outcomes(&processor),
        [
            "large-record",
            "applied",
            "large-record",
            "quarantined",
            "applied"
        ]
    );
    let items = backend.items().await;
    let facts = record(&items, "FLEET-1")["facts"]["S"].as_str().unwrap();
    assert!(facts.contains("viewed") && !facts.contains(r#""two""#));
    let reason = items.iter().find_map(|item| item["reason"]["S"].as_str());
    assert!(
        reason.unwrap().contains("more than an item holds"),
        "{reason:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_the_table_harms_only_what_needs_it() {
    let backend = Backend::start().await;
    let (broken, sound) = (fleet(1), fleet(2));
    let now = OffsetDateTime::now_utc();
    let put = async |item: Value| {
        let put = json!({ "TableName": TABLE, "Item": item });
        backend.aws.dynamodb("PutItem", put).await.unwrap();
    };
    put(json!({
        "pk": { "S": format!("KEY#connection#{}", broken.connection_id) },
        "sk": { "S": "LINKS" },
        "connection_facts": { "S": "not JSON" },
        "facts_schema": { "N": "1" },
        "version": { "N": "1" },
    }))
    .await;
    // Something that a later version parked.
    let pk = format!("KEY#catena-fleet#{}", sound.fleet_id);
    let parked = r#"{"v":99,"received_at":"2026-05-04T08:00:00Z","delivery":{}}"#;
    put(json!({ "pk": { "S": pk }, "sk": { "S": "LINKS" }, "waiting": { "BOOL": true } })).await;
    put(json!({ "pk": { "S": pk }, "sk": { "S": "PARKED#x" }, "body": { "S": parked } })).await;

    let events = [
        events::schedule_deactivated(&broken, now),
        events::share_agreement_created(&sound, now),
        events::fleet_connection_created(&sound, now),
    ];
    let bodies = bodies(&backend, &events, Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let all = batch(bodies.iter().map(String::as_str));
    assert_eq!(failed(&processor, &all).await, [] as [String; 0]);
    let outcomes: BTreeSet<String> = outcomes(&processor).into_iter().collect();
    let expected = ["applied", "quarantined", "unreadable-parked"].map(str::to_owned);
    assert_eq!(outcomes, BTreeSet::from(expected));
    let items = backend.items().await;
    assert_eq!(stage_of(&items, "FLEET-2"), Stage::Connected);
    // It waits for that version.
    assert!(kinds(&items).contains("PARKED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_time_is_looked_at_even_if_other_parts_of_it_have_one() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let created = events::invitation_created(&fleet, fleet.invited_at);
    let mut deleted = events::invitation_deleted(&fleet, OffsetDateTime::now_utc());
    deleted.id = None;
    let bodies = bodies(&backend, &[created, deleted], Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    for body in &bodies {
        assert_eq!(
            failed(&processor, &batch([body.as_str()])).await,
            [] as [String; 0]
        );
    }
    assert_eq!(outcomes(&processor), ["applied", "applied"]);
    let items = backend.items().await;
    assert_eq!(stage_of(&items, "FLEET-1"), Stage::Invited);
    let look = record(&items, "FLEET-1")["look"]["S"].as_str().unwrap();
    assert!(look.contains("hint"), "{look}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_at_catena_that_belongs_to_two_references_raises_an_alarm() {
    let backend = Backend::start().await;
    let (x, mut y) = (fleet(1), fleet(2));
    y.fleet_id = x.fleet_id;
    let now = OffsetDateTime::now_utc();
    let events = [
        events::share_agreement_created(&x, now),
        events::share_agreement_created(&y, now),
        events::fleet_connection_created(&y, now),
    ];
    let bodies = bodies(&backend, &events, Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    for body in &bodies {
        assert_eq!(
            failed(&processor, &batch([body.as_str()])).await,
            [] as [String; 0]
        );
    }
    // What names only Catena's fleet could be either's.
    assert_eq!(
        outcomes(&processor),
        ["applied", "ambiguous-fleet", "applied", "quarantined"]
    );
    assert!(processor.output().contains(r#""level":"ERROR""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_write_nothing() {
    let backend = Backend::start().await;
    let bodies = bodies(&backend, &events::onboarding(&fleet(1)), Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let whole = batch(bodies.iter().map(String::as_str));
    assert_eq!(failed(&processor, &whole).await, [] as [String; 0]);
    let before = backend.items().await;
    assert_eq!(record(&before, "FLEET-1")["version"]["N"], "1");
    backend.wire.reset();
    assert_eq!(failed(&processor, &whole).await, [] as [String; 0]);
    for body in bodies.iter().rev() {
        assert_eq!(
            failed(&processor, &batch([body.as_str()])).await,
            [] as [String; 0]
        );
    }
    assert_eq!(backend.items().await, before);
    let calls: BTreeSet<String> = backend
        .wire
        .calls()
        .into_keys()
        .map(|(_, action)| action)
        .collect();
    assert_eq!(calls, BTreeSet::from(["dynamodb:BatchGetItem".to_owned()]));
    let no_news = outcomes(&processor)
        .iter()
        .filter(|it| *it == "no-news")
        .count();
    assert_eq!(no_news, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_costs_one_read_a_write_of_histories_and_one_per_fleet() {
    let backend = Backend::start().await;
    let fleets: Vec<Fleet> = (0..5).map(fleet).collect();
    let viewed: Vec<Envelope> = (0..10)
        .map(|n| events::invitation_viewed(&fleets[n % 5], OffsetDateTime::now_utc()))
        .collect();
    let bodies = bodies(&backend, &viewed, Duration::ZERO).await;
    backend.wire.reset();
    let processor = backend.function("event-processor", &[]).await;
    let whole = batch(bodies.iter().map(String::as_str));
    assert_eq!(failed(&processor, &whole).await, [] as [String; 0]);
    // And once per fleet that its invitation belongs to it.
    let count = |action: &str| {
        backend
            .wire
            .count("function", &format!("dynamodb:{action}"))
    };
    let actions = ["BatchGetItem", "UpdateItem", "BatchWriteItem", "PutItem"];
    assert_eq!(actions.map(count), [1, 5, 1, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_refuses_comes_again() {
    let backend = Backend::start().await;
    let bodies = bodies(&backend, &events::onboarding(&fleet(1)), Duration::ZERO).await;
    let whole = batch(bodies.iter().map(String::as_str));
    let every: Vec<String> = (0..6).map(|n| format!("message-{n}")).collect();
    for action in ["BatchGetItem", "UpdateItem", "BatchWriteItem", "PutItem"] {
        let processor = backend.function("event-processor", &[]).await;
        let fault = Fault::error(500, "InternalServerError");
        backend
            .wire
            .fault("*", &format!("dynamodb:{action}"), fault);
        assert_eq!(failed(&processor, &whole).await, every, "{action}");
        assert_eq!(outcomes(&processor), vec!["retried"; 6], "{action}");
        assert!(
            backend
                .wire
                .count("function", "sqs:ChangeMessageVisibilityBatch")
                > 0
        );
        backend.wire.heal();
    }
    let processor = backend.function("event-processor", &[]).await;
    let again = batch_received(bodies.iter().map(String::as_str), 4);
    assert_eq!(failed(&processor, &again).await, [] as [String; 0]);
    assert_eq!(
        stage_of(&backend.items().await, "FLEET-1"),
        Stage::Connected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_gives_everything_back_before_lambda_ends_the_function() {
    let backend = Backend::start().await;
    let bodies = bodies(&backend, &events::onboarding(&fleet(1)), Duration::ZERO).await;
    let whole = batch(bodies.iter().map(String::as_str));
    // The table's alone, and the queue's as well, so that nothing can be put off either.
    for silent in ["dynamodb:*", "*"] {
        let processor = backend
            .function("event-processor", &[("DEADLINE_SECONDS", "1")])
            .await;
        backend.wire.fault("*", silent, Fault::Hang);
        let answer = processor
            .invoke_for(&whole, Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(failures(&answer).len(), 6, "{silent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_record_is_never_rewritten() {
    let backend = Backend::start().await;
    let bodies = bodies(&backend, &events::onboarding(&fleet(1)), Duration::ZERO).await;
    let newer = json!({
        "pk": { "S": "FLEET#FLEET-1" }, "sk": { "S": "RECORD" }, "fleet_ref": { "S": "FLEET-1" },
        "schema": { "N": "99" }, "version": { "N": "7" }, "stage": { "S": "new" }, "facts": { "S": "new" },
    });
    let put = json!({ "TableName": TABLE, "Item": newer });
    backend.aws.dynamodb("PutItem", put).await.unwrap();
    let processor = backend.function("event-processor", &[]).await;
    let whole = batch(bodies.iter().map(String::as_str));
    assert_eq!(failed(&processor, &whole).await.len(), 6);
    assert!(processor.output().contains("newer than this program's"));
    let items = items(&backend.aws, TABLE).await;
    assert_eq!(record(&items, "FLEET-1"), &newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_in_conflict_all_get_through() {
    let backend = Backend::start().await;
    let mut envelopes = Vec::new();
    let now = OffsetDateTime::now_utc();
    let mut fleet = fleet(1);
    for n in 0..8 {
        fleet.connection_id = uuid::Uuid::from_u128(n);
        let mut connected = events::connection_created(&fleet, now);
        connected.data[0]["fleet_ref"] = json!("FLEET-1");
        envelopes.push(connected);
    }
    let bodies = bodies(&backend, &envelopes, Duration::ZERO).await;
    let processor = &processor(&backend).await;
    let handle = |body: &String| {
        let batch = serde_json::from_value(batch([body.as_str()])).unwrap();
        processor.handle(batch, OffsetDateTime::now_utc)
    };
    let answers = futures_util::future::join_all(bodies.iter().map(handle)).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.batch_item_failures.is_empty())
    );
    let items = backend.items().await;
    assert_eq!(record(&items, "FLEET-1")["version"]["N"], "8");
}

/// What a fleet's browser says `n` ms from now, as a message's body.
fn claimed(fleet: &Fleet, n: i64, claim: Claim) -> String {
    told(fleet, vec![claimed_of(&invitation_of(fleet), n, claim)])
}

fn claimed_of(invitation: &str, n: i64, claim: Claim) -> Observation {
    Observation {
        at: At(Timestamp(now_millis() + n), 0),
        fact: Fact::Invitation {
            invitation: invitation.to_owned(),
            was: InvitationFact::Claim(claim),
        },
    }
}

fn told(fleet: &Fleet, observations: Vec<Observation>) -> String {
    let told = Told {
        fleet: FleetRef::parse(&fleet.fleet_ref).unwrap(),
        event: "browser.return".to_owned(),
        observations,
    };
    Message::told(Instant::from(OffsetDateTime::now_utc()), told).into_body()
}

/// The hash of a fleet's invitation, as its events have it.
fn invitation_of(fleet: &Fleet) -> String {
    let created = events::invitation_created(fleet, fleet.invited_at);
    let translations = oracle::translations(&created);
    translations[0].invitation.clone().unwrap()
}

fn now_millis() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() * 1000
}

fn facts_of(items: &[Value], fleet_ref: &str) -> Facts {
    let facts = record(items, fleet_ref)["facts"]["S"].as_str().unwrap();
    serde_json::from_str(facts).unwrap()
}

/// The names of the events in a fleet's history.
fn history_of(items: &[Value], fleet_ref: &str) -> Vec<String> {
    let pk = format!("FLEET#{fleet_ref}");
    let own = items.iter().filter(|item| item["pk"]["S"] == *pk);
    let entries = own.filter_map(|item| item["entries"]["S"].as_str());
    let entries = entries.flat_map(|it| serde_json::from_str::<Vec<Value>>(it).unwrap());
    entries
        .map(|entry| entry[0].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_claims_is_written_down_once() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let created = events::invitation_created(&fleet, fleet.invited_at);
    let bodies = bodies(&backend, &[created], Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let one = async |body: &str| {
        assert_eq!(failed(&processor, &batch([body])).await, [] as [String; 0]);
    };
    one(&bodies[0]).await;
    one(&claimed(&fleet, 1, Claim::Connected)).await;
    let before = backend.items().await;
    let known = &facts_of(&before, "FLEET-1").invitations[&invitation_of(&fleet)];
    let claim = known.claim.as_ref().unwrap();
    assert_eq!(claim.value(), &Claim::Connected);
    let mut events = history_of(&before, "FLEET-1");
    events.sort();
    assert_eq!(events, ["browser.return", "invitation.created"]);
    // It leads to no other key than that of the delivery.
    let links = |items: &[Value]| items.iter().filter(|it| it["sk"]["S"] == "LINKS").count();
    assert_eq!(links(&before), 1);

    // A message that comes again says nothing new.
    backend.wire.reset();
    for _ in 0..3 {
        one(&claimed(&fleet, 1, Claim::Connected)).await;
    }
    assert_eq!(backend.items().await, before);
    let calls: BTreeSet<_> = backend.wire.calls().into_keys().collect();
    let read = ("function".to_owned(), "dynamodb:BatchGetItem".to_owned());
    assert_eq!(calls, BTreeSet::from([read]));
    // Something else is news, and so is the first again after it.
    one(&claimed(&fleet, 5, Claim::Failed)).await;
    one(&claimed(&fleet, 6, Claim::Connected)).await;
    let expected = [
        "applied", "applied", "no-news", "no-news", "no-news", "applied", "applied",
    ];
    assert_eq!(outcomes(&processor), expected);
    assert_eq!(
        record(&backend.items().await, "FLEET-1")["version"]["N"],
        "4"
    );
    let output = processor.output();
    let line = output.lines().find(|line| line.contains("browser.return"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    assert_eq!(line["event.name"], "browser.return");
    assert_eq!(line["fleet.ref"], "FLEET-1");
    assert!(line["latency_ms"].as_i64().is_some(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_makes_neither_a_fleet_nor_an_invitation() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let processor = backend.function("event-processor", &[]).await;
    let unknown = claimed(&fleet, 0, Claim::Connected);
    let none = failed(&processor, &batch([unknown.as_str()])).await;
    assert_eq!(none, [] as [String; 0]);
    assert_eq!(backend.items().await, [] as [Value; 0]);

    let created = events::invitation_created(&fleet, fleet.invited_at);
    let bodies = bodies(&backend, &[created], Duration::ZERO).await;
    let first = failed(&processor, &batch([bodies[0].as_str()])).await;
    assert_eq!(first, [] as [String; 0]);
    let before = backend.items().await;
    let other = told(&fleet, vec![claimed_of("another", 0, Claim::Connected)]);
    let foreign = failed(&processor, &batch([other.as_str()])).await;
    assert_eq!(foreign, [] as [String; 0]);
    assert_eq!(backend.items().await, before);
    assert_eq!(outcomes(&processor), ["ignored", "applied", "ignored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_claims_leave_one_and_open_nothing() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let now = OffsetDateTime::now_utc();
    let invited = [events::invitation_created(&fleet, fleet.invited_at)];
    let mut accepted = vec![events::invitation_accepted(&fleet, now)];
    accepted.push(events::share_agreement_created(&fleet, now));
    let connected = [
        events::connection_created(&fleet, now),
        events::fleet_connection_created(&fleet, now),
    ];
    let processor = processor(&backend).await;
    let handle = async |bodies: &[String]| {
        for bodies in bodies.chunks(10) {
            let batch = batch(bodies.iter().map(String::as_str));
            let batch = serde_json::from_value(batch).unwrap();
            let answer = processor.handle(batch, OffsetDateTime::now_utc).await;
            assert!(answer.batch_item_failures.is_empty());
        }
    };
    let mut n = 0;
    // Without what was claimed.
    let sober = |mut facts: Facts| {
        for known in facts.invitations.values_mut() {
            known.claim = None;
            known.claimed_request = None;
        }
        facts
    };
    // A stage may say what was claimed, and that it is unconfirmed.
    for (stage, deliveries) in [
        (Stage::Invited, &invited[..]),
        (Stage::Requested, &accepted),
        (Stage::Connected, &connected),
    ] {
        handle(&bodies(&backend, deliveries, Duration::ZERO).await).await;
        let items = backend.items().await;
        assert_eq!(stage_of(&items, "FLEET-1"), stage);
        let facts = sober(facts_of(&items, "FLEET-1"));
        let before = oracle::standing(&facts);
        let made_up: Vec<String> = (0..334)
            .map(|_| {
                n += 1;
                let claim = match n % 4 {
                    0 => Claim::Connected,
                    1 => Claim::Requested(Some(uuid::Uuid::from_u128(n).to_string())),
                    2 => Claim::Failed,
                    _ => Claim::Unclear,
                };
                claimed(&fleet, i64::try_from(n).unwrap(), claim)
            })
            .collect();
        handle(&made_up).await;
        let items = backend.items().await;
        let claimed = facts_of(&items, "FLEET-1");
        let known = &claimed.invitations[&invitation_of(&fleet)];
        assert!(known.claim.is_some() && known.claimed_request.is_some());
        let after = oracle::standing(&claimed);
        assert_eq!(after.admission, before.admission);
        assert_eq!(after.data_scopes, before.data_scopes);
        assert!(record(&items, "FLEET-1")["decisions"].is_null());
        assert_eq!(sober(claimed), facts);
    }
    assert!(n > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_deliveries_share_a_batch_in_any_order() {
    let (x, y) = (fleet(1), fleet(2));
    let claims = [
        claimed(&x, 0, Claim::Failed),
        claimed(&fleet(3), 0, Claim::Connected),
        claimed(&y, 0, Claim::Unclear),
    ];
    let created = [
        events::invitation_created(&x, x.invited_at),
        events::invitation_created(&y, y.invited_at),
    ];
    for claims_first in [true, false] {
        let backend = Backend::start().await;
        let mut all = bodies(&backend, &created, Duration::ZERO).await;
        let place = if claims_first { 0 } else { all.len() };
        all.splice(place..place, claims.clone());
        let processor = backend.function("event-processor", &[]).await;
        let whole = batch(all.iter().map(String::as_str));
        assert_eq!(failed(&processor, &whole).await, [] as [String; 0]);
        let items = backend.items().await;
        for fleet in [&x, &y] {
            let facts = facts_of(&items, &fleet.fleet_ref);
            let known = &facts.invitations[&invitation_of(fleet)];
            assert!(
                known.claim.is_some() && known.decision.is_some(),
                "{known:?}"
            );
            assert_eq!(record(&items, &fleet.fleet_ref)["version"]["N"], "1");
        }
        assert!(!items.iter().any(|item| item["pk"]["S"] == "FLEET#FLEET-3"));
        let mut outcomes = outcomes(&processor);
        outcomes.sort();
        let expected = ["applied", "applied", "applied", "applied", "ignored"];
        assert_eq!(outcomes, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_otherwise_goes_to_its_fleet_alone() {
    let backend = Backend::start().await;
    let (x, mut y) = (fleet(1), fleet(2));
    y.connection_id = x.connection_id;
    let connected: Vec<_> = [&x, &y].into_iter().flat_map(events::onboarding).collect();
    let bodies = bodies(&backend, &connected, Duration::ZERO).await;
    let processor = backend.function("event-processor", &[]).await;
    let whole = batch(bodies.iter().map(String::as_str));
    assert_eq!(failed(&processor, &whole).await, [] as [String; 0]);
    let before = backend.items().await;
    let stale = Observation {
        at: At(Timestamp(now_millis() + 1000), 0),
        fact: Fact::Connection {
            connection: x.connection_id.to_string(),
            was: ConnectionFact::State(ConnectionState::Stale),
        },
    };
    let stale = told(&x, vec![stale]);
    let none = failed(&processor, &batch([stale.as_str()])).await;
    assert_eq!(none, [] as [String; 0]);
    let items = backend.items().await;
    assert_eq!(stage_of(&items, "FLEET-1"), Stage::Degraded);
    assert_eq!(record(&items, "FLEET-2"), record(&before, "FLEET-2"));
    let links = |items: &[Value]| -> Vec<Value> {
        let links = items.iter().filter(|it| it["sk"]["S"] == "LINKS");
        links.cloned().collect()
    };
    assert_eq!(links(&items), links(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_otherwise_and_is_damaged_or_over_long_is_quarantined() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let good = claimed(&fleet, 0, Claim::Connected);
    let requested = |bytes: usize| {
        let id = "x".repeat(bytes);
        claimed(&fleet, 0, Claim::Requested(Some(id)))
    };
    let created = events::invitation_created(&fleet, fleet.invited_at);
    let mut all = bodies(&backend, &[created], Duration::ZERO).await;
    all.extend([
        good.replace("connected", "hunter2"),
        good.replace("FLEET-1", &"hunter2".repeat(40)),
        good[..good.len() - 2].to_owned(),
        requested(LONGEST_TOLD),
        requested(400_000),
        good.replacen(r#""v":2"#, r#""v":5"#, 1),
        good,
    ]);
    let processor = backend.function("event-processor", &[]).await;
    let whole = batch(all.iter().map(String::as_str));
    assert_eq!(failed(&processor, &whole).await, ["message-6"]);
    let mut expected = vec!["applied"];
    expected.extend(["quarantined"; 5]);
    expected.extend(["retried", "applied"]);
    assert_eq!(outcomes(&processor), expected);
    assert!(!processor.output().contains("hunter2"));
    let items = backend.items().await;
    let facts = facts_of(&items, "FLEET-1");
    let known = &facts.invitations[&invitation_of(&fleet)];
    assert_eq!(known.claim.as_ref().unwrap().value(), &Claim::Connected);
    // What could be read and fits an item is kept, for somebody to look at.
    let quarantined = |item: &&Value| item["pk"]["S"].as_str().unwrap().starts_with("QUARANTINE#");
    let quarantined: Vec<_> = items.iter().filter(quarantined).collect();
    assert_eq!(quarantined.len(), 5);
    let kept = quarantined.iter().filter(|item| !item["body"].is_null());
    assert_eq!(kept.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_race_are_written_once_each() {
    let backend = Backend::start().await;
    let fleet = fleet(1);
    let created = events::invitation_created(&fleet, fleet.invited_at);
    let bodies = bodies(&backend, &[created], Duration::ZERO).await;
    let processor = &processor(&backend).await;
    let handle = |body: &String| {
        let batch = serde_json::from_value(batch([body.as_str()])).unwrap();
        processor.handle(batch, OffsetDateTime::now_utc)
    };
    handle(&bodies[0]).await;
    // They meet at the same version; who comes second finds the claim there already.
    let same: Vec<String> = (0..8)
        .map(|_| claimed(&fleet, 1, Claim::Connected))
        .collect();
    let answers = futures_util::future::join_all(same.iter().map(handle)).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.batch_item_failures.is_empty())
    );
    let items = backend.items().await;
    assert_eq!(record(&items, "FLEET-1")["version"]["N"], "2");
}

async fn processor(backend: &Backend) -> Processor {
    let (dynamodb, sqs) = backend.clients().await;
    Processor::new(
        Table::new(dynamodb, TABLE),
        EventsQueue::new(sqs.clone(), &backend.queue_url),
        TasksQueue::new(sqs, &backend.tasks_url),
        Settings::read(&Backend::env()).unwrap(),
    )
}

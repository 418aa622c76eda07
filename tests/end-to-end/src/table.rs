//! The table's promises, which everything else rests on.

use std::{collections::BTreeSet, time::Duration};

use fleet::{
    At, ConnectionFact, ConnectionFacts, ConnectionState, Decision, Due, Fact, FleetRef,
    InvitationFact, Observation, Policy, Stage, Timestamp, Why,
};
use store::{
    Commit, DueItem, HistoryEntry, Key, KeyChange, KeyRecord, Parked, Quarantined, SetAside,
    StoredRecord, Table,
};
use time::{OffsetDateTime, Time};

use crate::backend::Backend;

fn fleet(n: usize) -> FleetRef {
    FleetRef::parse(&format!("FLEET-{n}")).unwrap()
}

fn at(millis: i64) -> At {
    At(Timestamp(millis), 0)
}

fn accepted(millis: i64) -> Observation {
    Observation {
        at: at(millis),
        fact: Fact::Invitation {
            invitation: "hash".to_owned(),
            was: InvitationFact::Decision(Decision::Accepted),
        },
    }
}

fn written<T: std::fmt::Debug>(commit: Commit<T>) -> T {
    match commit {
        Commit::Written(value) => value,
        Commit::Conflict => panic!("in conflict"),
    }
}

async fn change(table: &Table, key: &Key, change: &KeyChange) -> KeyRecord {
    written(table.change(key, change).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_of_a_key_that_race_the_later_one_sees_the_earlier() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let link = KeyChange {
        link: BTreeSet::from([fleet(1)]),
        ..KeyChange::default()
    };
    let mark = KeyChange {
        waiting: Some(true),
        ..KeyChange::default()
    };
    let mut facts = ConnectionFacts::default();
    facts.observe(at(1), &ConnectionFact::State(ConnectionState::Stale));
    let tell = KeyChange {
        connection: Some((facts.clone(), 0)),
        ..KeyChange::default()
    };
    for n in 0..50 {
        let key = Key::Connection(format!("connection-{n}"));
        let (linked, marked, told) = tokio::join!(
            change(&table, &key, &link),
            change(&table, &key, &mark),
            change(&table, &key, &tell),
        );
        assert!(linked.waiting || !marked.fleets.is_empty(), "{n}");
        assert!(linked.connection == facts || !told.fleets.is_empty(), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_changed_from_what_was_read_or_not_at_all() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let key = Key::Connection("connection".to_owned());
    let tell = |state, version| {
        let mut facts = ConnectionFacts::default();
        facts.observe(at(1), &ConnectionFact::State(state));
        KeyChange {
            connection: Some((facts, version)),
            ..KeyChange::default()
        }
    };
    let first = change(&table, &key, &tell(ConnectionState::Active, 0)).await;
    assert_eq!(first.version, 1);
    for version in [0, 2] {
        let stale = tell(ConnectionState::Stale, version);
        assert_eq!(table.change(&key, &stale).await.unwrap(), Commit::Conflict);
    }
    let second = change(&table, &key, &tell(ConnectionState::Stale, 1)).await;
    assert_eq!(second.version, 2);
    let found = table
        .look_up(&BTreeSet::from([key.clone()]), &BTreeSet::new())
        .await;
    assert_eq!(found.unwrap().keys[&key], second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_written_twice_is_read_once_in_the_order_of_events() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let entry = |millis| HistoryEntry {
        event: "invitation.accepted".to_owned(),
        id: None,
        received: Timestamp(millis),
        news: vec![accepted(millis)],
        decided: None,
        passed: Vec::new(),
    };
    let now = OffsetDateTime::now_utc();
    let fleet = fleet(1);
    for entries in [
        vec![entry(3), entry(1)],
        vec![entry(2), entry(3)],
        vec![entry(1)],
    ] {
        table
            .remember(&[(&fleet, &entries)], now, 90)
            .await
            .unwrap();
    }
    let history = table.history(&fleet).await.unwrap();
    assert_eq!(history, [entry(1), entry(2), entry(3)]);
    let expires: BTreeSet<i64> = backend
        .items()
        .await
        .iter()
        .map(|item| item["expires_at"]["N"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(
        expires,
        BTreeSet::from([now.unix_timestamp() + 90 * 24 * 60 * 60])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_found_by_time_and_what_is_not_is_in_no_index() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let now = OffsetDateTime::now_utc();
    let timestamp = Timestamp(now.unix_timestamp() * 1000);
    for n in 0..20 {
        let mut stored = StoredRecord::new(fleet(n));
        stored.record = stored.record.fold(&accepted(timestamp.0));
        // Half of them wait for nothing.
        if n % 2 == 0 {
            let declined = InvitationFact::Decision(Decision::Declined(None));
            let fact = Fact::Invitation {
                invitation: "hash".to_owned(),
                was: declined,
            };
            stored.record = stored.record.fold(&Observation {
                at: at(timestamp.0 + 1),
                fact,
            });
        }
        let standing = stored.record.standing(&Policy::default(), timestamp);
        written(
            table
                .commit(&stored, &standing, next(&stored, timestamp), timestamp)
                .await
                .unwrap(),
        );
    }
    let mut later = StoredRecord::new(fleet(99));
    let at = timestamp.plus(3_600_000);
    later.look = Some(Due { at, why: Why::Hint });
    let standing = later.record.standing(&Policy::default(), timestamp);
    written(
        table
            .commit(&later, &standing, next(&later, timestamp), timestamp)
            .await
            .unwrap(),
    );
    let key = Key::CatenaFleet("catena-fleet".to_owned());
    let parked = Parked {
        key: key.clone(),
        digest: "digest".to_owned(),
        body: "{}".to_owned(),
        since: None,
    };
    table.park(&parked, now).await.unwrap();

    let due = async |until| {
        let due = table.due(until, 100).await.unwrap();
        due.into_iter()
            .map(|(_, item)| item)
            .collect::<BTreeSet<_>>()
    };
    let odd: BTreeSet<DueItem> = (0..20)
        .filter(|n| n % 2 == 1)
        .map(|n| DueItem::Fleet(fleet(n)))
        .collect();
    // Who accepts is given a minute to connect.
    assert_eq!(due(now).await, BTreeSet::new());
    assert_eq!(due(now + Duration::from_secs(61)).await, odd);
    let with_parked = due(now + Duration::from_secs(16 * 60)).await;
    assert_eq!(
        with_parked.difference(&odd).collect::<Vec<_>>(),
        [&DueItem::Parked {
            key,
            digest: "digest".to_owned()
        }]
    );
    assert!(
        due(now + Duration::from_secs(3601))
            .await
            .contains(&DueItem::Fleet(fleet(99)))
    );
    assert_eq!(
        table
            .fleets_in(Stage::Accepted, None, 100)
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(
        table
            .fleets_in(Stage::Declined, None, 3)
            .await
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        table.fleets_in(Stage::Connected, None, 3).await.unwrap(),
        []
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_fits_no_item_is_told_from_a_table_that_is_out_of_reach() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let mut stored = StoredRecord::new(fleet(1));
    let name = Fact::Name("x".repeat(400 * 1024));
    stored.record = stored.record.fold(&Observation {
        at: at(1),
        fact: name,
    });
    let standing = stored.record.standing(&Policy::default(), Timestamp(2));
    let error = table
        .commit(&stored, &standing, None, Timestamp(2))
        .await
        .unwrap_err();
    assert!(error.is_lasting(), "{error}");
    let stored = StoredRecord::new(fleet(1));
    drop(backend);
    let error = table
        .commit(&stored, &standing, None, Timestamp(2))
        .await
        .unwrap_err();
    assert!(!error.is_lasting(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_removed_as_it_was_found_or_not_at_all() {
    let backend = Backend::start().await;
    let table = backend.table().await;
    let quarantined = |digest: &str, body: Option<&str>| Quarantined {
        digest: digest.to_owned(),
        reason: "a reason".to_owned(),
        event_name: Some("a.b".to_owned()),
        body: body.map(str::to_owned),
    };
    let now = OffsetDateTime::now_utc().replace_time(Time::from_hms(12, 0, 0).unwrap());
    let put = async |it: &Quarantined, now| table.quarantine(it, now, 30).await.unwrap();
    put(&quarantined("ab12", Some("{}")), now).await;
    put(&quarantined("ab34", None), now).await;
    put(
        &quarantined("cd56", Some("{}")),
        now + Duration::from_secs(24 * 60 * 60),
    )
    .await;
    let on = async |digest: &str| {
        let found = table.set_aside_on(now.date(), digest).await.unwrap();
        let found: Vec<SetAside> = found.into_iter().map(Result::unwrap).collect();
        found
    };
    let all = on("").await;
    let digests: Vec<_> = all.iter().map(|it| it.message.digest.as_str()).collect();
    assert_eq!(digests, ["ab12", "ab34"]);
    let sizes: Vec<_> = all.iter().map(|it| it.bytes).collect();
    assert_eq!(sizes, [Some(2), None]);
    assert!(all.iter().all(|it| it.message.body.is_none()));
    assert_eq!(on("ab3").await, all[1..]);
    assert_eq!(on("cd").await, []);
    let still = table.set_aside_still(&all).await.unwrap();
    assert_eq!(still.len(), 2);
    assert_eq!(still[0].message, quarantined("ab12", Some("{}")));

    // The first is set aside again, and so is another one than was found.
    put(
        &quarantined("ab12", Some("{}")),
        now + Duration::from_millis(1),
    )
    .await;
    let still = table.set_aside_still(&all).await.unwrap();
    assert_eq!(still, all[1..]);
    let remove = async |found: &SetAside| table.remove_set_aside(found).await.unwrap();
    assert_eq!(remove(&all[0]).await, Commit::Conflict);
    assert_eq!(remove(&all[1]).await, Commit::Written(()));
    assert_eq!(remove(&all[1]).await, Commit::Conflict);
    let left = on("").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].at, all[0].at.plus(1));
    assert_eq!(remove(&left[0]).await, Commit::Written(()));
}

/// When a record is looked at next.
fn next(stored: &StoredRecord, now: Timestamp) -> Option<Timestamp> {
    let policy = Policy::default();
    let standing = stored.record.standing(&policy, now);
    stored.agenda(&standing, &policy, now).next
}

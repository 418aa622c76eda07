//! The drill of an operator's program that is killed: before and after each of its calls of AWS, of Catena and of the partner API, until
//! a run gets through. After each kill every key that Catena signs with is in the keyring, and nothing is subscribed twice; and the next
//! run ends as if nobody had been killed.

use std::{
    collections::BTreeSet,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use local::wire::{Fault, Wire};
use serde_json::{Value, json};
use simulator::{Filters, SubscriptionStatus, SubscriptionTruth};
use subscriptions::Ledger;
use uuid::Uuid;

use crate::subscribing::{LANE, Operator, World, keys};

/// What is killed, and how it ends if it isn't.
struct Story {
    name: &'static str,
    /// `REF` stands for a fleet that nobody invited yet.
    arguments: String,
    /// How all is before.
    begin: World,
    /// Somebody else's subscriptions, which stay as they are.
    others: Vec<Uuid>,
    /// Catena's credentials are in a file only.
    is_fresh: bool,
    /// The exit code of a run that gets through.
    code: i32,
    /// How many keys are valid for all afterwards.
    keys: usize,
    /// Nothing is subscribed afterwards.
    deletes: bool,
    /// Of how many points of this story one is taken.
    every: u64,
}

/// What came of it if one of so many points is taken. `tell` hears of each story when it is over.
pub(crate) async fn run(every: u64, tell: impl Fn(&str)) -> String {
    let operator = &Operator::fresh().await;
    // Nobody has to be told, and nothing to be delivered.
    operator.running.stack.simulator.set_events(false);
    let start = Instant::now();
    let mut told = Vec::new();
    let (mut points, mut runs) = (0, 0);
    for story in stories(operator, every).await {
        let started = Instant::now();
        let (killed, all) = told_to_its_end(operator, &story).await;
        let seconds = started.elapsed().as_secs_f64();
        let over = format!("{} at {killed} points ({seconds:.0} s)", story.name);
        tell(&over);
        told.push(over);
        points += killed;
        runs += all;
    }
    format!(
        "killed at {points} points, one of {every}: {}; {runs} runs; each next run ended as it should, with one subscription per \
         event, and every key that Catena signed with was in the keyring at all times; {:.0} s",
        told.join(", "),
        start.elapsed().as_secs_f64()
    )
}

async fn stories(operator: &Operator, every: u64) -> Vec<Story> {
    let simulator = &operator.running.stack.simulator;
    let fresh = operator.world().await;
    let setup = format!("setup --credentials {}", operator.credentials());
    operator.json(&setup).await;
    let settled = operator.world().await;
    operator.assert_settled(&settled, &BTreeSet::new());

    let url = operator.running.stack.webhook_url();
    let other = "https://other.example.com/hook";
    let elsewhere = [("connection.staled", other), ("invitation.sent", url)];
    let others = elsewhere.map(|(name, url)| {
        let made = simulator.create_subscription_elsewhere(name, url, Filters::default());
        made.unwrap()
    });
    let mut disturbed = operator.world().await;
    let gone = ["schedule.deactivated", "connection.staled"];
    let is_others = |it: &SubscriptionTruth| others.contains(&it.id);
    disturbed
        .at_catena
        .retain(|it| is_others(it) || !gone.contains(&it.event_name.as_str()));
    for it in &mut disturbed.at_catena {
        match it.event_name.as_str() {
            "execution.failed" => it.status = SubscriptionStatus::Paused,
            "tsp.created" => it.status = SubscriptionStatus::Stale,
            _ => {}
        }
    }
    let mut ledger = Ledger::read(settled.ledger.as_deref()).unwrap();
    let forgotten = ledger.ours.values_mut();
    let mut forgotten = forgotten.filter(|it| it.event_name == "execution.staled");
    forgotten.next().unwrap().key = None;
    disturbed.ledger = Some(ledger.text());

    // As the first half of a rotation leaves it, a while later.
    operator.restore(&settled).await;
    let begun = operator.ask(ROTATE).await;
    assert_eq!(begun.status.code(), Some(1), "{begun:?}");
    let mut rotated = operator.world().await;
    let mut ledger = Ledger::read(rotated.ledger.as_deref()).unwrap();
    for ours in ledger.ours.values_mut() {
        ours.key_since = ours.key_since.map(|at| at.plus(-60_000));
    }
    rotated.ledger = Some(ledger.text());

    let story = |name, arguments: &str, begin| Story {
        name,
        arguments: arguments.to_owned(),
        begin,
        others: Vec::new(),
        is_fresh: false,
        code: 0,
        keys: 1,
        deletes: false,
        every,
    };
    let unwritten = World {
        ledger: None,
        ..settled.clone()
    };
    vec![
        Story {
            is_fresh: true,
            ..story("setup", &format!("{setup} --invite REF"), fresh)
        },
        Story {
            others: others.to_vec(),
            ..story("apply", "subscription apply", disturbed)
        },
        Story {
            // Some hundred calls, most of them alike: the short form needn't take as many.
            every: if every > 1 { 4 * every } else { 1 },
            ..story("apply without a ledger", "subscription apply", unwritten)
        },
        Story {
            code: 1,
            keys: 2,
            ..story("rotate", ROTATE, settled.clone())
        },
        story("rotate, retiring", RETIRE, rotated),
        Story {
            deletes: true,
            ..story("delete", "subscription delete --all --yes", settled)
        },
    ]
}

/// How often it was killed, and how often it ran.
async fn told_to_its_end(operator: &Operator, story: &Story) -> (usize, usize) {
    let (mut killed, mut runs) = (0, 0);
    for (place, wire) in operator.wires.iter().enumerate() {
        for after in [false, true] {
            // Where one begins the other doesn't.
            let mut call = (2 * place as u64 + u64::from(after)) % story.every;
            loop {
                let fleet = format!("{}-{runs}", story.name.replace([' ', ','], "-"));
                let arguments = story.arguments.replace("REF", &fleet);
                operator.restore(&story.begin).await;
                if story.is_fresh {
                    operator.forget_credentials().await;
                }
                let cut = cut(operator, &arguments, wire, call, after).await;
                runs += 1;
                let point = format!("{} {place} {after} {call}", story.name);
                if let Some(through) = cut {
                    assert_ended(operator, story, &through, &fleet, &point).await;
                    break;
                }
                assert_nothing_is_lost(&operator.world().await, story, &point);
                killed += 1;
                let next = operator.ask(&arguments).await;
                runs += 1;
                assert_ended(operator, story, &next, &fleet, &point).await;
                call += story.every;
            }
        }
    }
    (killed, runs)
}

/// Runs the program until its call of this number, counted from 0, on this wire, and kills it: before that call arrives, or once it is
/// answered and the answer isn't heard. What came of it, if it makes no such call.
async fn cut(
    operator: &Operator,
    arguments: &str,
    wire: &Wire,
    call: u64,
    after: bool,
) -> Option<Output> {
    let fault = if after { Fault::HangAfter } else { Fault::Hang };
    let hung = wire.hung(LANE);
    wire.fault_after(call, LANE, "*", fault);
    let mut command = operator.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let ended = loop {
        if wire.hung(LANE) > hung {
            child.kill().unwrap();
            break false;
        }
        if child.try_wait().unwrap().is_some() {
            break true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let output = child.wait_with_output().unwrap();
    wire.heal_lane(LANE);
    operator.assert_tells_no_secret(&output).await;
    ended.then_some(output)
}

/// Every key that Catena signs with is known, and no event is subscribed twice.
fn assert_nothing_is_lost(world: &World, story: &Story, point: &str) {
    let keys = keys(&world.keyring);
    let mut names = BTreeSet::new();
    for it in &world.at_catena {
        if story.others.contains(&it.id) {
            continue;
        }
        assert!(keys.contains(&it.secret), "{point}: lost the key of {it:?}");
        assert!(names.insert(&it.event_name), "{point}: {it:?} twice");
    }
}

async fn assert_ended(
    operator: &Operator,
    story: &Story,
    output: &Output,
    fleet: &str,
    point: &str,
) {
    assert_eq!(
        output.status.code(),
        Some(story.code),
        "{point}: {output:?}"
    );
    let world = operator.world().await;
    if story.deletes {
        assert_eq!(world.at_catena, [], "{point}");
        let ledger = Ledger::read(world.ledger.as_deref()).unwrap();
        assert_eq!(ledger.ours, Ledger::default().ours, "{point}");
        let named = keyring(&world)["by_webhook_id"].clone();
        assert_eq!(named, json!({}), "{point}");
        return;
    }
    assert_nothing_is_lost(&world, story, point);
    operator.assert_settled(&world, &story.others.iter().copied().collect());
    assert_eq!(keys(&world.keyring).len(), story.keys, "{point}");
    let others = |world: &World| -> Vec<SubscriptionTruth> {
        let all = world.at_catena.iter();
        let all = all.filter(|it| story.others.contains(&it.id));
        all.cloned().collect()
    };
    assert_eq!(others(&world), others(&story.begin), "{point}");
    if story.arguments.contains("REF") {
        let invitation = operator.running.stack.simulator.invitation(fleet);
        assert!(invitation.is_some(), "{point}: nobody is invited");
    }
    let plan = operator.json("subscription plan").await;
    assert_eq!(plan["steps"], json!([]), "{point}: {plan}");
}

fn keyring(world: &World) -> Value {
    serde_json::from_str(&world.keyring).unwrap()
}

const ROTATE: &str = "subscription rotate --wait 0s";
const RETIRE: &str = "subscription rotate --wait 0s --even-if-silent";

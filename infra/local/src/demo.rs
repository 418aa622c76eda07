//! The demonstration: `kingpin setup` sets the stack up, fleets are invited by the partner API and walk from there to flowing data,
//! many with repeats and disorder, then one for each story in a browser, then one for each story of
//! a requested integration, and at last messages are sent to drivers. What became of everything is told.

mod bus;
mod counts;
mod first_run;
mod journeys;
mod phone;
mod requests;
mod sweeps;
mod writes;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use local::Stack;
use local::authorization::USERS;
use local::signed::Signed;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use simulator::{Outcome, Scenario};
use uuid::Uuid;

use self::counts::{Counts, settle};
use self::journeys::Story;
pub(crate) use self::sweeps::Sweeps;
use crate::shown;

/// What the demo's stack is deployed with, so that what takes days takes seconds: waits between looks
/// at Catena are a hundredth, provisional access lasts 35 s, and the demo itself asks for sweeps.
pub(crate) const PARAMETERS: [(&str, &str); 3] = [
    ("WaitPercent", "1"),
    ("ProvisionalDays", "0.0004"),
    ("Sweep", "DISABLED"),
];

/// Walks the fleets and tells the story. Fails with a sentence unless every fleet ends as it should
/// and nothing is left behind. `keep`: invites one more for whoever watches.
pub(crate) async fn run(stack: &Stack, fleets: usize, keep: bool) -> Result<()> {
    let run = Uuid::new_v4().simple().to_string();
    let run = format!("FLEET-{}", &run[..8]);
    println!("\nThe first run: nothing is set up but by `kingpin setup`\n");
    let first = &numbered(&run, 1);
    let first_run = first_run::set_up(stack, first, &name(1)).await?;
    print!("{}", first_run.told());
    println!(
        "\n{fleets} fleets: invited, viewed, accepted, share agreement, connection, fleet connection;"
    );
    println!("10 % of the deliveries repeated, 10 % of the events overtaken\n");
    // Signed by AWS's own signer, as a partner's platform signs its calls.
    let partner = Signed::user(stack.url(""), &USERS[0])?;
    let start = Instant::now();
    let invited = invite(&partner, &run, fleets).await?;
    stack.simulator.idle().await;
    let told = stack.simulator.deliveries();
    let told = told
        .iter()
        .filter(|it| it.event_name == "invitation.created" && it.outcome == Outcome::Accepted)
        .count();
    ensure!(
        told == fleets,
        "{told} of {fleets} invitations were told by webhook"
    );
    step("invite by the partner API", start.elapsed());
    let start = Instant::now();
    let scenario = Scenario::invited(invited.clone())
        .repeat(0.10)
        .overtake(0.10);
    let report = stack.simulator.try_run(&scenario).await?;
    step("deliver", start.elapsed());
    let start = Instant::now();
    let settled = settle(stack).await?;
    step("process the rest", start.elapsed());
    print!(
        "\n{}",
        table(&access(&partner, &invited).await?, &items(stack).await?)
    );

    println!(
        "\n{} fleets in browsers: each opens its link, walks through Connect, and comes back\n",
        Story::ALL.len()
    );
    let start = Instant::now();
    let links = invite_journeys(&partner, &run).await?;
    step("invite by the partner API", start.elapsed());
    let start = Instant::now();
    let journeys = journeys::walk(stack, &partner, &links).await?;
    step("walk", start.elapsed());
    print!("\n{}", journeys::table(&journeys));

    println!(
        "\n{} fleets request a provider that isn't supported yet: days are seconds, and sweeps come every second\n",
        requests::Story::ALL.len()
    );
    let start = Instant::now();
    let requests = requests::walk(stack, &partner, &Sweeps::new(stack), &run).await?;
    step("walk", start.elapsed());
    print!("\n{}", requests::timelines(&requests));

    println!(
        "\n{} messages to drivers, by a fleet that shares writing and one that doesn't: minutes are seconds\n",
        writes::Story::ALL.len()
    );
    let start = Instant::now();
    let written = writes::walk(stack, &partner, &Sweeps::new(stack), &run).await?;
    step("send, and learn what became of them", start.elapsed());
    print!("\n{}\n", writes::table(&written));
    let yours = match keep {
        true => Some(invite_one(&partner, &format!("{run}-yours"), "Your fleet").await?),
        false => None,
    };
    stack.simulator.idle().await;

    let all_settled = settle(stack).await?;
    let items = items(stack).await?;
    let counts = Counts::read(stack, report.overtaken, &items).await?;
    print!("All of it:\n\n{}", counts.told());
    if let Some((_, link)) = yours {
        println!("\nOne more fleet waits for you: open {link} in a browser");
    }
    settled.and(all_settled)?;
    let not_connected = invited
        .iter()
        .filter(|fleet| record(&items, fleet).is_none_or(|item| item.text("stage") != "connected"));
    let mut wrong = match not_connected.count() {
        0 => Vec::new(),
        count => vec![format!("{count} fleets are not connected")],
    };
    wrong.extend(journeys::problems(&journeys));
    wrong.extend(requests::problems(&requests));
    wrong.extend(writes::problems(&written));
    wrong.extend(counts.problems());
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "{}: see the functions' logs in {}, or run it again with --keep and look around",
        wrong.join("; "),
        stack.last_logs_folder().display()
    )
}

fn step(name: &str, elapsed: Duration) {
    println!("{name:.<44} {:>8}", shown(elapsed));
}

fn numbered(run: &str, number: usize) -> String {
    format!("{run}-{number:03}")
}

fn name(number: usize) -> String {
    format!("Demo fleet {number}")
}

/// Invites fleets, each once more than needed: that costs no call to Catena. The first is invited already.
async fn invite(partner: &Signed, run: &str, fleets: usize) -> Result<Vec<String>> {
    let mut invited = Vec::new();
    for number in 1..=fleets {
        let fleet = numbered(run, number);
        let expected: &[&str] = match number {
            1 => &["unchanged"],
            _ => &["created", "unchanged"],
        };
        for expected in expected {
            let (outcome, _) = invite_one(partner, &fleet, &name(number)).await?;
            ensure!(
                outcome == *expected,
                "fleet {fleet} should be {expected}, but the partner API answered {outcome}"
            );
        }
        invited.push(fleet);
    }
    Ok(invited)
}

/// Invites a fleet for each story. Answers them with their links.
async fn invite_journeys(partner: &Signed, run: &str) -> Result<Vec<(String, Url)>> {
    let mut invited = Vec::new();
    for number in 1..=Story::ALL.len() {
        let fleet = format!("{run}-story-{number}");
        let (_, link) = invite_one(partner, &fleet, &format!("Story fleet {number}")).await?;
        invited.push((fleet, link));
    }
    Ok(invited)
}

/// Answers the outcome and the fleet's link.
async fn invite_one(partner: &Signed, fleet: &str, name: &str) -> Result<(String, Url)> {
    let path = format!("/fleets/{fleet}/invitation");
    let body = json!({ "fleet_name": name });
    let answer = partner.send(Method::PUT, &path, Some(body)).await?;
    let answer = answer.json()?;
    let outcome = answer["outcome"].as_str();
    let link = answer["link"]["url"].as_str();
    let (Some(outcome), Some(link)) = (outcome, link) else {
        bail!("fleet {fleet} has no link: the partner API answered {answer}");
    };
    Ok((outcome.to_owned(), Url::parse(link)?))
}

/// What the partner API says of some fleets.
async fn access(partner: &Signed, fleets: &[String]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for some in fleets.chunks(100) {
        let body = json!({ "fleet_refs": some });
        let answer = partner
            .send(Method::POST, "/access/batch", Some(body))
            .await?;
        let answer = answer.json()?;
        let found = answer["fleets"].as_array();
        all.extend(
            found
                .with_context(|| format!("no fleets in {answer}"))?
                .clone(),
        );
    }
    Ok(all)
}

/// An item of the table.
struct Item {
    pk: String,
    sk: String,
    attributes: Value,
}

impl Item {
    fn text(&self, name: &str) -> &str {
        let attribute = &self.attributes[name];
        attribute["S"]
            .as_str()
            .or(attribute["N"].as_str())
            .unwrap_or("?")
    }

    fn facts(&self) -> Value {
        serde_json::from_str(self.text("facts")).unwrap_or_default()
    }
}

async fn items(stack: &Stack) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut input = json!({"TableName": stack.table()?, "ConsistentRead": true});
    loop {
        let answer = stack.aws.dynamodb("Scan", input.clone()).await?;
        for item in answer["Items"].as_array().into_iter().flatten() {
            let key = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
            items.push(Item {
                pk: key("pk"),
                sk: key("sk"),
                attributes: item.clone(),
            });
        }
        match answer.get("LastEvaluatedKey") {
            Some(key) if !key.is_null() => input["ExclusiveStartKey"] = key.clone(),
            _ => return Ok(items),
        }
    }
}

fn record<'a>(items: &'a [Item], fleet_ref: &str) -> Option<&'a Item> {
    items
        .iter()
        .find(|item| item.sk == "RECORD" && item.pk.strip_prefix("FLEET#") == Some(fleet_ref))
}

fn table(fleets: &[Value], items: &[Item]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let width = fleets.iter().map(|fleet| text(&fleet["fleet_ref"]).len());
    let width = width.max().unwrap_or(5);
    let mut table = format!(
        "{:<width$}  {:<13}{:<11}{:>7}  {:>11}\n",
        "fleet", "stage", "admission", "version", "connections"
    );
    for fleet in fleets {
        let name = text(&fleet["fleet_ref"]);
        let item = record(items, &name);
        let connections = item.map(Item::facts);
        let connections =
            connections.and_then(|facts| Some(facts["connections"].as_object()?.len()));
        let _ = writeln!(
            table,
            "{name:<width$}  {:<13}{:<11}{:>7}  {:>11}",
            text(&fleet["stage"]),
            text(&fleet["admission"]["kind"]),
            item.map_or("?", |item| item.text("version")),
            connections.unwrap_or_default(),
        );
    }
    table
}

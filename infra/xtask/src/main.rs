//! The project's own commands; `cargo xtask --help` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to a terminal"
)]
#![expect(
    unreachable_pub,
    reason = "its modules are read as if they were a library's"
)]

mod check;
mod package;
mod step;
mod tools;

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::step::Error;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Error> {
    let Some((verb, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    let asks = |argument: &String| ["--help", "-h"].contains(&argument.as_str());
    let asks_for_help = verb == "help" || asks(verb) || (verb != "test" && rest.iter().any(asks));
    if asks_for_help {
        print!("{HELP}");
        return Ok(());
    }
    match verb.as_str() {
        "up" | "demo" => local(arguments),
        "cost" => {
            if rest.iter().any(|argument| argument == "--json") {
                step::tell_aside();
            }
            local(arguments)
        }
        "dev" => {
            tools::venv("package")?;
            local(arguments)
        }
        "test" => test(rest),
        "drill" => drill(rest),
        "check" => check::run(rest),
        "package" => package::run(rest),
        other => Err(Error::new(format!(
            "there is no command `{other}`.\n\n{HELP}"
        ))),
    }
}

/// Builds everything and hands over to the program of `infra/local`.
fn local(arguments: &[String]) -> Result<(), Error> {
    // It reads them itself, but only after minutes of installing and building on a fresh clone.
    let unknown = arguments
        .iter()
        .find(|argument| argument.starts_with("--") && !HELP.contains(&format!(" {argument} ")));
    if let Some(unknown) = unknown {
        return Err(Error::new(format!(
            "there is no option `{unknown}`.\n\n{HELP}"
        )));
    }
    tools::venv("local")?;
    tools::venv("api")?;
    step::run(
        "build",
        // Always the whole workspace: another selection means other features, and so another build.
        step::cargo().args(["build", "--workspace"]),
        "mend what the compiler says above",
    )?;
    let program = step::target().join("debug/local");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("KINGPIN_TOOLS", tools::folder());
    Err(step::replaced_by(&mut command))
}

fn test(arguments: &[String]) -> Result<(), Error> {
    if arguments.iter().any(|argument| argument == EXHAUSTIVE) {
        return exhaustive(arguments);
    }
    let Tests {
        command: mut tests,
        skipped,
    } = built_tests(&["--no-fail-fast"])?;
    tests.args(arguments);
    let start = Instant::now();
    let mut sum = Sum::default();
    let passed = step::followed(
        &mut tests,
        |line| sum.add(line),
        "see the failed tests above",
    );
    if let Some(skipped) = skipped {
        println!("\n{skipped}");
    }
    println!("\nin {} s", start.elapsed().as_secs());
    println!("{} passed, {} failed", sum.passed, sum.failed);
    passed
}

/// All orders, where the other tests take a part of them.
fn exhaustive(arguments: &[String]) -> Result<(), Error> {
    if arguments.len() > 1 {
        return Err(Error::new(format!(
            "`test {EXHAUSTIVE}` takes no other argument."
        )));
    }
    let mut tests = built_tests(&["--test", "end-to-end"])?.command;
    tests
        .args(["--", "orders::", "--nocapture"])
        .env("KINGPIN_EXHAUSTIVE", "1");
    step::followed(&mut tests, |_| {}, "see the failed test above")
}

/// The long form of one of the end-to-end tests' drills.
fn drill(arguments: &[String]) -> Result<(), Error> {
    let name = match arguments {
        [name] if DRILLS.contains(&name.as_str()) => name,
        _ => {
            let names = DRILLS.join(", ");
            return Err(Error::new(format!("`drill` takes one name: {names}.")));
        }
    };
    let mut tests = built_tests(&["--test", "end-to-end"])?.command;
    tests
        .args(["--", "--exact", &format!("drills::{name}"), "--nocapture"])
        .env("KINGPIN_DRILL", "long");
    step::followed(&mut tests, |_| {}, "see what the drill says above")
}

/// Tests that are ready to run.
struct Tests {
    command: Command,
    /// What this machine can't test, and how it could.
    skipped: Option<String>,
}

/// `cargo test` of the workspace, with everything built that its tests run.
fn built_tests(options: &[&str]) -> Result<Tests, Error> {
    tools::venv("local")?;
    tools::venv("api")?;
    let browser = tools::browser()?;
    let skipped = browser.is_none().then(|| {
        let advice = tools::GET_BROWSER;
        format!("!!! NO BROWSER HERE: the tests of pages in a browser are SKIPPED.\n!!! To run them, {advice}.")
    });
    if let Some(skipped) = &skipped {
        println!("\n{skipped}\n");
    }
    step::run(
        "build",
        // With the functions' binaries, which `cargo test` alone would leave as they are.
        step::cargo().args(["build", "--workspace", "--all-targets"]),
        "mend what the compiler says above",
    )?;
    let mut tests = step::cargo();
    tests
        .args(["test", "--workspace"])
        .args(options)
        .env("KINGPIN_TOOLS", tools::folder());
    let variables = ["KINGPIN_CHROME", "KINGPIN_CHROMEDRIVER", "KINGPIN_AXE"];
    match browser {
        Some(it) => tests.envs(
            variables
                .into_iter()
                .zip([it.chrome, it.chromedriver, it.axe]),
        ),
        // Whoever set them by hand has been told that nothing is tested.
        None => variables
            .into_iter()
            .fold(&mut tests, |tests, name| tests.env_remove(name)),
    };
    Ok(Tests {
        command: tests,
        skipped,
    })
}

/// The functions in `tests/end-to-end/src/drills.rs`.
const DRILLS: [&str; 15] = [
    "shuffle",
    "conflicts",
    "crashes",
    "kills",
    "subscriptions",
    "losses",
    "breaker",
    "rotation",
    "idle",
    "writes",
    "polls",
    "invitations",
    "access",
    "openapi",
    "journeys",
];
const EXHAUSTIVE: &str = "--exhaustive";

/// `cargo test` says how each of its programs went; this is all of them.
#[derive(Default)]
struct Sum {
    passed: u32,
    failed: u32,
}

impl Sum {
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |what: &str| {
            let words = counts.split([' ', ';']).collect::<Vec<_>>();
            let place = words.iter().position(|word| *word == what)?;
            words.get(place.checked_sub(1)?)?.parse().ok()
        };
        self.passed += count("passed").unwrap_or(0);
        self.failed += count("failed").unwrap_or(0);
    }
}

const HELP: &str = "\
cargo xtask <command>

  demo     deploy template.yaml to a local AWS, walk fleets through it with repeats and disorder, then
           eight in browsers from their links through Connect and back, then three that request a
           provider which isn't supported yet, and tell what became of all
             --fleets N           how many fleets before the eight (20)
             --keep               leave it running afterwards, with a link to open in a browser
  up       deploy template.yaml to a local AWS and leave it running until Ctrl-C
  dev      the same, but run the functions under `cargo lambda watch`: a change to their sources
           is live without a restart
             --fresh              (up and dev) leave it without credentials and subscriptions, for `kingpin setup`
           demo, up and dev also take
             --port N             port of the webhook's URL (a free one)
             --aws-port N         port of the local AWS (a free one)
             --simulator-port N   port of the simulator of Catena (a free one)
             --stack-name NAME    name of the stack (kingpin)
             --folder FOLDER      where stack.json and logs go (target/local); stacks that share a
                                  folder share stack.json, which is the newest one's
  cost     measure what processing costs in requests and capacity units, and compare it with the aims;
           fails if a repeat writes
             --json               the same as JSON
             --aws-port N         port of the local AWS (a free one)
  test     run all tests; what follows goes to `cargo test --workspace`
             --exhaustive         all orders of an onboarding's nine events instead
  drill    one of the drills that the tests run in a short form, in its long form:
             shuffle              300 fleets' events out of order and repeated; one event 1,000
                                  times at once
             conflicts            1,000 events of one fleet while 200 others are onboarded
             crashes              500 fleets while the processor is killed at random moments
             kills                processor, reconciler and publisher are killed before and after their
                                  calls, and the partner is still told of everything once
             subscriptions        `kingpin setup` and `subscription` are killed before and after each of their
                                  calls, and the next run ends as it should
             losses               of 200 fleets' webhooks three of ten get lost for good
             breaker              ingestion fails, Catena stops its subscriptions, and without a human they
                                  are active again, replayed, and every record is right
             rotation             the signing key changes under 5,000 deliveries, once undisturbed, and
                                  once with forged deliveries and a rotation that is killed
             idle                 10,000 fleets of which nothing is missing, and what a sweep asks for
             writes               12 things that go wrong with a write, each with the same key again, an equal
                                  payload and another one besides, 100 times: never two writes of a key
             polls                10,000 writes of which no webhook comes, settled within a call limit
             invitations          the partner API is killed before and after each of its calls
             access               2,000 answers about access next to as many bare GetItems
             openapi              schemathesis calls the partner API by its OpenAPI document
             journeys             fleets in a browser: 8 ways from the link through Connect and back, on
                                  phones and desktops, with and without JavaScript, in 3 languages
  check    formatting, lints, documentation, dependencies, template
             --list               what it consists of
             --only NAME,NAME     some of it
             --self-test          prove that it finds mistakes in the template
  package  build and package the functions for AWS
             --arch ARCH          arm64 (the default) or x86_64

Tools other than cargo's are installed below target/tools. Only the browser that `test` looks at pages
with is the machine's: CHROME and CHROMEDRIVER say where, if the search path doesn't.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut sum = Sum::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s",
        ] {
            sum.add(line);
        }
        assert_eq!((sum.passed, sum.failed), (9, 1));
    }
}

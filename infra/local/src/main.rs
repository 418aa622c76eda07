//! The local stack as a program; `cargo xtask up | dev | demo | cost` builds everything and runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to a terminal"
)]

mod cost;
mod demo;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local::{CREDENTIALS_JSON, Options, Stack};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<()> {
    let Some((verb, rest)) = arguments.split_first() else {
        bail!("give a verb: up, dev, demo or cost (`cargo xtask --help` explains them)");
    };
    let asked = Asked::parse(rest)?;
    let mut options = asked.options;
    options.report = |name, elapsed| println!("{name:.<44} {:>6.1} s", elapsed.as_secs_f64());
    match verb.as_str() {
        "up" => up(options).await,
        "dev" => {
            options.watch = true;
            up(options).await
        }
        "demo" => {
            let parameters =
                demo::PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
            options.parameters.extend(parameters);
            options.fresh = true;
            let stack = start(options).await?;
            let verdict = tokio::select! {
                verdict = demo::run(&stack, asked.fleets, asked.keep) => verdict,
                () = interrupted() => bail!("interrupted"),
            };
            if asked.keep {
                if let Err(error) = &verdict {
                    eprintln!("\nerror: {error:#}");
                }
                let sweeps = demo::Sweeps::new(&stack);
                let sweep = async {
                    let error = sweeps.run().await;
                    eprintln!("\nno more sweeps: {error:#}");
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = wait(&stack) => {}
                    () = sweep => {}
                }
            }
            stop(stack);
            verdict
        }
        "cost" => tokio::select! {
            verdict = cost::run(&options, asked.json) => verdict,
            () = interrupted() => bail!("interrupted"),
        },
        other => bail!("there is no verb `{other}`: give up, dev, demo or cost"),
    }
}

async fn up(options: Options) -> Result<()> {
    let watch = options.watch;
    let fresh = options.fresh.then(|| options.folder.join(CREDENTIALS_JSON));
    let stack = start(options).await?;
    if let Some(credentials) = fresh {
        println!(
            "\nNothing is set up yet. From here to the first invited fleet:\n  \
             {} --local {} setup --credentials {} --invite FLEET-42",
            Options::default().binaries.join("kingpin").display(),
            stack.stack_json().display(),
            credentials.display()
        );
    }
    if watch {
        println!(
            "\nA function is built on its first event and whenever its sources change; that takes a while.\n\
             Watch it: tail -f {}",
            stack.logs_folder().join("watch.log").display()
        );
    }
    wait(&stack).await;
    stop(stack);
    Ok(())
}

async fn start(options: Options) -> Result<Stack> {
    tokio::select! {
        stack = Stack::start(options) => stack,
        () = interrupted() => bail!("interrupted"),
    }
}

fn stop(stack: Stack) {
    let start = Instant::now();
    stack.stop();
    println!("{:.<44} {:>6.1} s", "stop", start.elapsed().as_secs_f64());
}

async fn wait(stack: &Stack) {
    let stack_json = stack.stack_json().display();
    println!(
        r#"
webhook    {webhook}
pages      {pages}  (where fleets' links lead)
API        {api}  (sign with `curl --aws-sigv4 aws:amz:us-east-1:execute-api --user test:test`)
simulator  {simulator}  (GET it for what it can do)
local AWS  {aws}
described  {stack_json}
logs       {logs}

A webhook by hand (in another terminal, in this folder):
  key=$(python3 -c 'import json; print(json.load(open("{stack_json}"))["signing_key"])')
  body=tests/fixtures/samples/invitation.created.json
  at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  signature=$( (printf '%s.' "$at"; cat "$body") | openssl dgst -sha256 -hmac "$key" -binary | base64)
  gzip -c "$body" | curl -is {webhook} --data-binary @- -H 'Content-Type: application/json' \
    -H 'Content-Encoding: gzip' -H "X-Catena-Timestamp: $at" -H "X-Catena-Signature: $signature"

A fleet's pages: PUT an invitation, open its link (`link.url` in the answer):
  curl -s --aws-sigv4 aws:amz:us-east-1:execute-api --user test:test -X PUT {api}/fleets/FLEET-42/invitation \
    -H 'Content-Type: application/json' --data '{{"fleet_name":"Acme Trucking"}}'

What became of it:
  {kingpin} --local {stack_json} fleet explain FLEET-42

Ctrl-C ends it."#,
        kingpin = Options::default().binaries.join("kingpin").display(),
        webhook = stack.webhook_url(),
        pages = stack.url(""),
        api = stack.url(""),
        simulator = stack.simulator.url(),
        aws = stack.aws.endpoint(),
        logs = stack.logs_folder().display(),
    );
    interrupted().await;
    println!();
}

async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

struct Asked {
    options: Options,
    fleets: usize,
    keep: bool,
    json: bool,
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut asked = Self {
            options: Options::default(),
            fleets: 20,
            keep: false,
            json: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument}: give a value"))
            };
            match argument.as_str() {
                "--port" => asked.options.port = Some(number(argument, value()?)?),
                "--aws-port" => asked.options.aws_port = Some(number(argument, value()?)?),
                "--simulator-port" => {
                    asked.options.simulator_port = Some(number(argument, value()?)?);
                }
                "--stack-name" => asked.options.stack_name = value()?.clone(),
                "--folder" => asked.options.folder = value()?.into(),
                "--fleets" => {
                    asked.fleets = number(argument, value()?)?;
                    anyhow::ensure!(asked.fleets > 0, "--fleets: give at least 1");
                }
                "--keep" => asked.keep = true,
                "--fresh" => asked.options.fresh = true,
                "--json" => asked.json = true,
                other => bail!("there is no option `{other}` (`cargo xtask --help` lists them)"),
            }
        }
        Ok(asked)
    }
}

fn number<T: std::str::FromStr>(argument: &str, value: &str) -> Result<T> {
    value
        .parse()
        .ok()
        .with_context(|| format!("{argument}: `{value}` is no such number"))
}

/// Milliseconds or seconds, whichever reads better.
fn shown(duration: Duration) -> String {
    match duration.as_millis() {
        milliseconds @ 0..1000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

//! Steps: what every verb consists of. A step prints its name and how long it took; what its
//! commands print stays hidden unless they fail.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What went wrong, as a sentence that says what to do.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

impl From<&str> for Error {
    fn from(sentence: &str) -> Self {
        Self(sentence.to_owned())
    }
}

/// Does `work` as a step called `name`: prints the name at once, the elapsed time when it is over.
/// Steps don't nest.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    tell(format_args!("{name:.<44} "));
    let start = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "" } else { "  FAILED" };
    tell(format_args!("{:>8}{verdict}\n", seconds(start.elapsed())));
    result
}

/// From now on steps are told on standard error, because standard output is for a program to read.
pub fn tell_aside() {
    ASIDE.store(true, Ordering::Relaxed);
}

/// A step that is one command, e.g. `step::run("formatting", cargo().args(["fmt", "--check"]), "run `cargo fmt`")`.
/// `advice` is what to do if the command fails, in the imperative, without a full stop.
pub fn run(name: &str, command: &mut Command, advice: &str) -> Result<(), Error> {
    step(name, || output(command, advice).map(drop))
}

/// Runs a command inside a step and returns its standard output. If it fails, the last lines of
/// all that it printed are shown and the error ends with `advice`.
pub fn output(command: &mut Command, advice: &str) -> Result<String, Error> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Error::new(format!(
            "`{shown}` could not be started ({error}): {advice}."
        ))
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
    tell(format_args!("\n"));
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        tell(format_args!("    {line}\n"));
    }
    Err(Error::new(format!(
        "`{shown}` failed ({}): {advice}.",
        output.status
    )))
}

/// Runs a command in the foreground: its output goes straight to the terminal, and each line of its standard output to
/// `follow` as well.
pub fn followed(
    command: &mut Command,
    mut follow: impl FnMut(&str),
    advice: &str,
) -> Result<(), Error> {
    let shown = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|it| BufReader::new(it).lines())
    {
        let Ok(line) = line else { break };
        println!("{line}");
        follow(&line);
    }
    let status = child
        .wait()
        .map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!(
        "`{shown}` failed ({status}): {advice}."
    )))
}

/// Becomes the command, so that signals reach it and its exit code is ours. Returns only if that
/// fails.
pub fn replaced_by(command: &mut Command) -> Error {
    let error = command.exec();
    cannot_start(command, &error)
}

/// The cargo that runs us, in the root of the repository.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    program(cargo)
}

/// A program, to be run in the root of the repository.
///
/// It isn't told what `cargo run` tells us about this package. ring's build script watches those variables, so that it and
/// all above it would be built again whenever a build by hand follows one from here.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("CARGO_PKG_") || shown.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The root of the repository.
pub fn root() -> PathBuf {
    // cargo sets it for `cargo run`, so a moved or copied clone finds itself.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.ancestors().nth(2).unwrap_or(&manifest).to_owned()
}

/// Where cargo puts what it builds, and we what we install: `target`, or `CARGO_TARGET_DIR`.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) if !path.is_empty() => {
            std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(path))
        }
        _ => root().join("target"),
    }
}

fn tell(text: fmt::Arguments<'_>) {
    if ASIDE.load(Ordering::Relaxed) {
        eprint!("{text}");
    } else {
        print!("{text}");
        let _ = io::stdout().flush();
    }
}

fn cannot_start(command: &Command, error: &io::Error) -> Error {
    Error::new(format!(
        "`{}` could not be started ({error}): is it installed?",
        shown(command)
    ))
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let mut shown = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

fn seconds(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..60 => format!("{:.1} s", elapsed.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

static ASIDE: AtomicBool = AtomicBool::new(false);
const SHOWN_LINES: usize = 60;

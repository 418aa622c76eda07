//! `cargo xtask package`: the functions as Lambda wants them, and proof of what is in them.
//!
//! `cargo lambda build` puts every architecture into the same `target/lambda/<function>/bootstrap`.
//! So each architecture gets a target folder of its own; `sam build` finds the artifacts there and
//! has nothing left to compile.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, Error};
use crate::tools;

/// Builds the functions for `--arch arm64` (the default) or `--arch x86_64`, prints their sizes,
/// and prepares what `sam deploy` uploads.
pub fn run(arguments: &[String]) -> Result<(), Error> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let architecture = match arguments[..] {
        [] | ["--arch", "arm64"] => ARM64,
        ["--arch", "x86_64"] => X86_64,
        _ => return Err(Error::new("`package` takes --arch arm64 or --arch x86_64.")),
    };
    let functions = functions()?;
    let bin = tools::venv("package")?;
    let target = step::target().join("lambda-build").join(architecture.name);

    let stacks = step::step("one TLS and crypto stack", || {
        one_crypto_stack(&functions, &architecture)
    })?;
    add_target(&architecture)?;
    build(&functions, &architecture, &bin, &target)?;
    let sizes = step::step("zip", || zip(&functions, &bin, &target))?;
    let built = sam_build(&architecture, &bin, &target)?;

    println!("\n{stacks}\n\n{sizes}");
    println!(
        "Deploy it with:\n  {} deploy --guided --stack-name kingpin --capabilities CAPABILITY_IAM \\\n    --template-file {} --parameter-overrides Architecture={}",
        shown(&bin.join("sam")),
        shown(&built.join("template.yaml")),
        architecture.name
    );
    Ok(())
}

struct Architecture {
    /// As in Lambda and in the template's parameter.
    name: &'static str,
    triple: &'static str,
    /// How `cargo lambda build` calls it.
    flag: &'static str,
}

const ARM64: Architecture = Architecture {
    name: "arm64",
    triple: "aarch64-unknown-linux-gnu",
    flag: "--arm64",
};

const X86_64: Architecture = Architecture {
    name: "x86_64",
    triple: "x86_64-unknown-linux-gnu",
    flag: "--x86-64",
};

/// The packages in `functions/`; their binaries have the same names.
fn functions() -> Result<Vec<String>, Error> {
    let folder = step::root().join("functions");
    let unreadable = |error| Error::new(format!("{} can't be read: {error}.", folder.display()));
    let mut functions = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().join("Cargo.toml").exists() {
            functions.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    functions.sort();
    Ok(functions)
}

/// Looks at what the functions link, and fails if it is more than rustls on ring over hyper 1.
fn one_crypto_stack(functions: &[String], architecture: &Architecture) -> Result<String, Error> {
    let mut tree = step::cargo();
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--target", architecture.triple]);
    for function in functions {
        tree.args(["--package", function]);
    }
    let tree = step::output(&mut tree, "run `cargo build` if Cargo.lock is out of date")?;
    let linked: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.trim_start_matches('v')))
        })
        .collect();

    let forbidden: Vec<String> = linked
        .iter()
        .filter(|(name, version)| {
            FORBIDDEN.contains(name)
                || (*name == "hyper" && version.starts_with("0."))
                || (ONCE.contains(name)
                    && linked.iter().filter(|(other, _)| other == name).count() > 1)
        })
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    if !forbidden.is_empty() {
        return Err(Error::new(format!(
            "the functions link {}: find who needs it with `cargo tree --invert NAME@VERSION --edges normal`, \
             and turn off the features that bring it.",
            forbidden.join(", ")
        )));
    }
    let found: Vec<String> = linked
        .iter()
        .filter(|(name, _)| ONCE.contains(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    Ok(format!(
        "Linked into the functions for TLS and cryptography ({} crates in all): {}.\n\
         Not linked: aws-lc, OpenSSL, native-tls, hyper 0.14, or a second version of any of the above.",
        linked.len(),
        found.join(", ")
    ))
}

/// Standard libraries for other architectures come with rustup.
fn add_target(architecture: &Architecture) -> Result<(), Error> {
    let advice = format!("run `rustup target add {}`", architecture.triple);
    let sysroot = step::output(
        Command::new("rustc")
            .current_dir(step::root())
            .args(["--print", "sysroot"]),
        "install Rust with rustup",
    )?;
    let library = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(architecture.triple);
    if library.exists() {
        return Ok(());
    }
    step::run(
        &format!("install Rust for {}", architecture.name),
        Command::new("rustup").current_dir(step::root()).args([
            "target",
            "add",
            architecture.triple,
        ]),
        &advice,
    )
}

/// All functions in one cargo call. They are named, because `--workspace` would also link this
/// program and the simulator, with the whole program optimised.
fn build(
    functions: &[String],
    architecture: &Architecture,
    bin: &Path,
    target: &Path,
) -> Result<(), Error> {
    let mut command = tool(bin, "cargo-lambda")?;
    command
        .args([
            "lambda",
            "build",
            "--release",
            "--locked",
            architecture.flag,
        ])
        .env("CARGO_TARGET_DIR", target);
    for function in functions {
        command.args(["--bin", function]);
    }
    step::run(
        &format!("cargo lambda build ({})", architecture.name),
        &mut command,
        "see the compiler's message above",
    )
}

/// Zips each bootstrap as it would be uploaded, and says how large it is.
fn zip(functions: &[String], bin: &Path, target: &Path) -> Result<String, Error> {
    let mut table = format!("{:<20} {:>12} {:>12}\n", "", "bootstrap", "zipped");
    for function in functions {
        let folder = target.join("lambda").join(function);
        step::output(
            Command::new(bin.join("python")).current_dir(&folder).args([
                "-m",
                "zipfile",
                "--create",
                "bootstrap.zip",
                "bootstrap",
            ]),
            "run `cargo xtask package` again",
        )?;
        let bootstrap = mebibytes(&folder.join("bootstrap"))?;
        let zipped = mebibytes(&folder.join("bootstrap.zip"))?;
        table += &format!("{function:<20} {bootstrap:>8.2} MiB {zipped:>8.2} MiB\n");
    }
    Ok(table)
}

/// Runs `sam build`, which finds everything compiled; returns the folder that it filled.
fn sam_build(architecture: &Architecture, bin: &Path, target: &Path) -> Result<PathBuf, Error> {
    let built = step::target().join("sam").join(architecture.name);
    step::run(
        "sam build",
        tool(bin, "sam")?
            .args(["build", "--build-dir"])
            .arg(&built)
            .args([
                "--parameter-overrides",
                &format!("Architecture={}", architecture.name),
            ])
            .env("CARGO_TARGET_DIR", target)
            .env("SAM_CLI_TELEMETRY", "0"),
        "mend template.yaml; `cargo xtask check --only template` says more",
    )?;
    Ok(built)
}

/// A program of our tools, to be run in the root of the repository.
fn tool(bin: &Path, program: &str) -> Result<Command, Error> {
    // Our tools come first in the search path: sam looks there for cargo-lambda, which looks for zig.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders)
        .map_err(|error| Error::new(format!("PATH can't hold {}: {error}.", bin.display())))?;

    let mut command = step::program(bin.join(program));
    command.env("PATH", path);
    Ok(command)
}

fn mebibytes(file: &Path) -> Result<f64, Error> {
    let metadata = fs::metadata(file)
        .map_err(|error| Error::new(format!("{} can't be read: {error}.", file.display())))?;
    Ok(metadata.len() as f64 / 1024.0 / 1024.0)
}

/// A path as one would type it in the root of the repository.
fn shown(path: &Path) -> std::path::Display<'_> {
    // The root is a prefix unless CARGO_TARGET_DIR points elsewhere.
    path.strip_prefix(step::root()).unwrap_or(path).display()
}

/// Other TLS and crypto stacks. (`openssl-probe` isn't one: it looks for certificates.)
const FORBIDDEN: &[&str] = &[
    "aws-lc-fips-sys",
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "native-tls",
    "openssl",
    "openssl-sys",
];

/// What there may be one version of.
const ONCE: &[&str] = &[
    "hmac",
    "hyper",
    "hyper-rustls",
    "ring",
    "rustls",
    "rustls-webpki",
    "sha2",
];

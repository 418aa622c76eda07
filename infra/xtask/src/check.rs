//! `cargo xtask check`: everything that can be judged without running the functions.
//!
//! Each check runs even if one before it failed, so that one run shows all there is to mend.

use std::path::PathBuf;
use std::process::Command;

use crate::step::{self, Error};
use crate::tools;

/// Runs the checks that `arguments` select; all of them by default.
///
/// `--only NAME[,NAME…]` runs some, `--list` names them, `--self-test` proves that the template's
/// checks find mistakes.
pub fn run(arguments: &[String]) -> Result<(), Error> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let selected = match arguments[..] {
        [] => CHECKS.iter().collect(),
        ["--only", names] => select(names)?,
        ["--list"] => {
            for check in CHECKS {
                println!("{:<14} {}", check.name, check.about);
            }
            return Ok(());
        }
        ["--self-test"] => return self_test(),
        _ => {
            return Err(Error::new(
                "`check` takes --only NAME[,NAME…], --list or --self-test.",
            ));
        }
    };

    let mut failed = Vec::new();
    for check in &selected {
        if let Err(error) = (check.run)() {
            println!("    {error}");
            failed.push(check.name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let again = failed.join(",");
    Err(Error::new(format!(
        "{} of {} checks failed; mend what is said above, then run `cargo xtask check --only {again}`.",
        failed.len(),
        selected.len()
    )))
}

struct Check {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<(), Error>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "formatting",
        about: "cargo fmt",
        run: formatting,
    },
    Check {
        name: "clippy",
        about: "cargo clippy, warnings are errors",
        run: clippy,
    },
    Check {
        name: "rustdoc",
        about: "the documentation's links and markup, private items included",
        run: rustdoc,
    },
    Check {
        name: "dependencies",
        about: "licences, sources, duplicates and the direction of dependencies (deny.toml)",
        run: dependencies,
    },
    Check {
        name: "unused",
        about: "dependencies that nothing uses",
        run: unused,
    },
    Check {
        name: "template",
        about: "template.yaml: SAM, CloudFormation, our own rules, security",
        run: template,
    },
];

fn select(names: &str) -> Result<Vec<&'static Check>, Error> {
    let find = |name| CHECKS.iter().find(|check| check.name == name);
    let unknown = |name| format!("no check is called `{name}`: see `cargo xtask check --list`.");
    names
        .split(',')
        .map(|name| find(name).ok_or_else(|| Error::new(unknown(name))))
        .collect()
}

fn formatting() -> Result<(), Error> {
    step::run(
        "formatting",
        step::cargo().args(["fmt", "--all", "--check", "--", "--color", "never"]),
        "run `cargo fmt`",
    )
}

fn clippy() -> Result<(), Error> {
    step::run(
        "clippy",
        step::cargo()
            .args(["clippy", "--locked", "--workspace", "--all-targets"])
            .args(["--quiet", "--", "-D", "warnings"]),
        "mend what it says, or give a reason with #[expect(…)]",
    )
}

fn rustdoc() -> Result<(), Error> {
    step::run(
        "rustdoc",
        step::cargo()
            .args(["doc", "--locked", "--workspace", "--no-deps", "--quiet"])
            .arg("--document-private-items")
            .env("RUSTDOCFLAGS", "-D warnings"),
        "mend the comments that it names",
    )
}

fn dependencies() -> Result<(), Error> {
    let deny = cargo_tool("cargo-deny", "0.20.2")?;
    step::step("dependencies", || {
        // cargo-deny looks at every platform's crates, of which a build downloads only some.
        step::output(
            step::cargo().args(["fetch", "--locked", "--quiet"]),
            "connect to the crate registry once, or run `cargo build` if Cargo.lock is out of date",
        )?;
        step::output(
            Command::new(deny)
                .current_dir(step::root())
                .args(["--offline", "check", "--hide-inclusion-graph"])
                // deny.toml also names who may use a crate, but doesn't yet.
                .args(["--allow", "unused-wrapper"])
                .args(["--deny", "unnecessary-skip", "--deny", "unmatched-skip"])
                .args(["--deny", "license-not-encountered"])
                .args(["licenses", "bans", "sources"]),
            "see the comments in deny.toml",
        )?;
        Ok(())
    })
}

fn unused() -> Result<(), Error> {
    let machete = cargo_tool("cargo-machete", "0.9.2")?;
    step::run(
        "unused dependencies",
        Command::new(machete)
            .current_dir(step::root())
            .args(["--skip-target-dir", "."]),
        "remove them from the Cargo.toml that it names",
    )
}

fn template() -> Result<(), Error> {
    let bin = tools::venv("lint")?;
    let translated = translated();
    let python = |script: &str| {
        let mut command = lint_script(&bin, script);
        command.arg("template.yaml").arg(&translated);
        command
    };
    // cfn-lint and checkov don't see into serverless resources, so the template is first
    // translated as AWS does.
    step::run(
        "template: translate SAM",
        &mut python("translate.py"),
        "mend template.yaml",
    )?;
    let cloudformation = step::run(
        "template: cfn-lint",
        &mut python("cloudformation.py"),
        "mend template.yaml",
    );
    let rules = step::run(
        "template: our rules",
        &mut python("rules.py"),
        "mend template.yaml; infra/xtask/lint/rules.py has the rules",
    );
    let security = step::run(
        "template: checkov",
        Command::new(bin.join("python"))
            .current_dir(step::root())
            .arg(bin.join("checkov"))
            .args(["--config-file", "infra/checkov.yaml", "--file"])
            .arg(&translated),
        "mend template.yaml, or skip the rule with a reason in infra/checkov.yaml",
    );
    cloudformation.and(rules).and(security)
}

/// Puts mistakes into copies of the template and expects the steps above to name each.
fn self_test() -> Result<(), Error> {
    let bin = tools::venv("lint")?;
    let summary = step::step("template: self-test", || {
        step::output(
            lint_script(&bin, "self_test.py")
                .arg("template.yaml")
                .arg(translated().with_file_name("self-test")),
            "make the check find the mistake again, or adapt infra/xtask/lint/self_test.py to the template",
        )
    })?;
    print!("{summary}");
    Ok(())
}

fn translated() -> PathBuf {
    step::target().join("lint/template.json")
}

/// A script of infra/xtask/lint. `-B`: no `__pycache__` among the sources.
fn lint_script(bin: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new(bin.join("python"));
    command
        .current_dir(step::root())
        .arg("-B")
        .arg(format!("infra/xtask/lint/{script}"));
    command
}

/// A cargo subcommand of the given version, installed below `target/tools` when it isn't there yet.
fn cargo_tool(name: &str, version: &str) -> Result<PathBuf, Error> {
    let folder = tools::folder().join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.exists() {
        step::run(
            &format!("install {name} (a minute or two)"),
            step::cargo()
                .args(["install", "--locked", "--quiet", "--root"])
                .arg(&folder)
                .arg(format!("{name}@{version}"))
                // It would build into our target folder, where nothing needs its dependencies.
                .env_remove("CARGO_TARGET_DIR"),
            "it needs the crate registry and a C compiler",
        )?;
    }
    Ok(program)
}

//! The tools that don't come from cargo: Python wheels, each set in a virtual environment of its
//! own below `target/tools`, so that nothing is installed on the machine and a set is small.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, Error};

/// The virtual environment with what `requirements/<name>.txt` pins; returns its folder of
/// programs. Made at the first call, and again whenever the file (or the place) changes.
pub fn venv(name: &str) -> Result<PathBuf, Error> {
    let requirements = step::root().join(format!("infra/xtask/requirements/{name}.txt"));
    let content = fs::read_to_string(&requirements).map_err(|error| {
        Error::new(format!(
            "{} can't be read ({error}): restore it with git.",
            requirements.display()
        ))
    })?;
    let folder = folder().join(name);
    let bin = folder.join("bin");
    // Scripts in a virtual environment hold its absolute path, so a copied one is of no use.
    let wanted = format!("{}\n{content}", folder.display());
    let stamp = folder.join("installed");

    let _lock = lock(name)?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(bin);
    }
    step::step(&format!("install {name} tools"), || {
        install(&folder, &requirements)?;
        fs::write(&stamp, &wanted).map_err(|error| cannot_write(&stamp, &error))
    })?;
    Ok(bin)
}

/// The folder that holds the virtual environments.
pub fn folder() -> PathBuf {
    step::target().join("tools")
}

fn install(folder: &Path, requirements: &Path) -> Result<(), Error> {
    let version = "import sys; sys.exit(sys.version_info < (3, 11))";
    step::output(
        Command::new("python3").args(["-c", version]),
        "install Python 3.11 or newer as `python3`",
    )?;
    step::output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder),
        "install Python's venv module (Debian and Ubuntu call it `python3-venv`)",
    )?;
    step::output(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--no-input"])
            .args(["--disable-pip-version-check", "--prefer-binary", "-r"])
            .arg(requirements),
        "see pip's message above; it needs the Python package index or a mirror that pip knows of",
    )?;
    Ok(())
}

/// Two commands may run side by side; the second waits until the first has installed.
fn lock(name: &str) -> Result<File, Error> {
    let path = folder().join(format!("{name}.lock"));
    fs::create_dir_all(folder()).map_err(|error| cannot_write(&folder(), &error))?;
    let file = File::create(&path).map_err(|error| cannot_write(&path, &error))?;
    file.lock().map_err(|error| cannot_write(&path, &error))?;
    Ok(file)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!(
        "{} can't be written ({error}): make the folder writable, or set CARGO_TARGET_DIR.",
        path.display()
    ))
}

//! The tools that don't come from cargo: Python wheels, each set in a virtual environment of its
//! own below `target/tools`, so that nothing is installed on the machine and a set is small. Only the
//! browser is the machine's own, unless CI runs on a Debian without one.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
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
        install(&folder, &requirements, name == BROWSER)?;
        fs::write(&stamp, &wanted).map_err(|error| cannot_write(&stamp, &error))
    })?;
    Ok(bin)
}

/// What the tests of pages need.
pub struct Browser {
    /// Chromium, or a Chrome.
    pub chrome: PathBuf,
    /// What drives it, of the same version.
    pub chromedriver: PathBuf,
    /// What finds pages that not everybody can use: `axe.min.js`.
    pub axe: PathBuf,
}

/// The browser that is on this machine: where `CHROME` and `CHROMEDRIVER` say, else on the search path. With `CI=true` it
/// is installed when it isn't there, which takes root and Debian or Ubuntu; `None` without one elsewhere.
pub fn browser() -> Result<Option<Browser>, Error> {
    let ci = env::var_os("CI").is_some_and(|it| it == "true");
    let mut found = installed_browser()?;
    if found.is_none() && ci && is_root() && find(["apt-get"]).is_some() {
        install_browser()?;
        found = installed_browser()?;
    }
    match found {
        Some((chrome, chromedriver)) => Ok(Some(Browser {
            chrome,
            chromedriver,
            axe: axe()?,
        })),
        None if ci => Err(Error::new(format!(
            "there is no browser here: {GET_BROWSER}."
        ))),
        None => Ok(None),
    }
}

/// How to get the browser.
pub const GET_BROWSER: &str = "install chromium and chromedriver \
(Debian and Ubuntu: `apt-get install chromium chromium-driver`; macOS: `brew install --cask chromium chromedriver`), \
or say in CHROME and CHROMEDRIVER where they are";

/// The folder that holds the virtual environments.
pub fn folder() -> PathBuf {
    step::target().join("tools")
}

/// `alone`: what the file pins, without what that says it needs.
fn install(folder: &Path, requirements: &Path, alone: bool) -> Result<(), Error> {
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
            .args(["--disable-pip-version-check", "--prefer-binary"])
            .args(alone.then_some("--no-deps"))
            .arg("-r")
            .arg(requirements),
        "see pip's message above; it needs the Python package index or a mirror that pip knows of",
    )?;
    Ok(())
}

fn installed_browser() -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let chrome = program("CHROME", &CHROMES)?;
    let chromedriver = program("CHROMEDRIVER", &["chromedriver"])?;
    Ok(chrome.zip(chromedriver))
}

/// A program: where the variable says, else the first of these names that the search path has.
fn program(variable: &str, names: &[&str]) -> Result<Option<PathBuf>, Error> {
    let Some(wanted) = env::var_os(variable).filter(|it| !it.is_empty()) else {
        return Ok(find(names));
    };
    let found = find([&wanted]);
    match found {
        Some(found) => Ok(Some(found)),
        None => Err(Error::new(format!(
            "{variable} says {}, which is no program: mend it, or leave it out.",
            wanted.display()
        ))),
    }
}

/// The first program of these names; one with a slash in it is a path.
fn find(names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let here = env::current_dir().unwrap_or_default();
    names.into_iter().find_map(|name| {
        let name = Path::new(name.as_ref());
        let among = match name.components().count() {
            1 => folders.as_slice(),
            _ => std::slice::from_ref(&here),
        };
        let mut paths = among.iter().map(|folder| folder.join(name));
        paths.find(|path| is_program(path))
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|it| it.stdout.trim_ascii() == b"0")
}

fn install_browser() -> Result<(), Error> {
    let _lock = lock("chromium")?;
    if installed_browser()?.is_some() {
        return Ok(());
    }
    step::step("install chromium", || {
        for arguments in [
            &["update"][..],
            &[
                "install",
                "--yes",
                "--no-install-recommends",
                "chromium",
                "chromium-driver",
            ],
        ] {
            step::output(
                Command::new("apt-get")
                    // Somebody else may be installing something.
                    .args(["--option", "DPkg::Lock::Timeout=600"])
                    .args(arguments)
                    .env("DEBIAN_FRONTEND", "noninteractive"),
                GET_BROWSER,
            )?;
        }
        Ok(())
    })
}

fn axe() -> Result<PathBuf, Error> {
    let bin = venv(BROWSER)?;
    let again = format!("remove {} and try again", folder().join(BROWSER).display());
    let packages = step::output(
        Command::new(bin.join("python")).args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ]),
        &again,
    )?;
    let axe = Path::new(packages.trim()).join("axe_playwright_python/axe.min.js");
    match axe.is_file() {
        true => Ok(axe),
        false => Err(Error::new(format!(
            "{} is missing: {again}.",
            axe.display()
        ))),
    }
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

const BROWSER: &str = "browser";
const CHROMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_program_that_is_there_is_found() {
        let shell = find(["no-such-program", "sh"]).unwrap();
        assert!(shell.is_absolute() && shell.ends_with("sh"));
        assert_eq!(find([&shell]), Some(shell));
        // Neither a folder nor what can't be executed is one.
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(find([manifest, "/", "./", ""]), None);
    }
}

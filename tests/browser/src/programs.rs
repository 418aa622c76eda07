//! Where Chromium is.

use std::{env, path::PathBuf};

/// What a browser is made of.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Chromium.
    pub chrome: PathBuf,
    /// chromedriver, of the same version.
    pub chromedriver: PathBuf,
    /// `axe.min.js` of axe-core.
    pub axe: PathBuf,
}

impl Programs {
    /// The files that `KINGPIN_CHROME`, `KINGPIN_CHROMEDRIVER` and `KINGPIN_AXE` name. If one isn't set or isn't there, says so
    /// on standard error and returns `None`: the test is to be skipped.
    ///
    /// # Panics
    ///
    /// Instead of that, where `CI` is set.
    #[expect(clippy::print_stderr, reason = "nobody else tells who runs the tests")]
    pub fn find() -> Option<Self> {
        match Self::named() {
            Ok(programs) => Some(programs),
            Err(missing) if env::var_os("CI").is_some() => panic!("{missing}: {REMEDY}"),
            Err(missing) => {
                eprintln!("SKIPPED: {missing}: {REMEDY}");
                None
            }
        }
    }

    fn named() -> Result<Self, String> {
        Ok(Self {
            chrome: named("KINGPIN_CHROME")?,
            chromedriver: named("KINGPIN_CHROMEDRIVER")?,
            axe: named("KINGPIN_AXE")?,
        })
    }
}

fn named(variable: &str) -> Result<PathBuf, String> {
    let path = env::var_os(variable).map(PathBuf::from);
    let path = path.ok_or_else(|| format!("{variable} isn't set"))?;
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{variable} names {}, which isn't there",
        path.display()
    ))
}

const REMEDY: &str = "`cargo xtask test` installs Chromium and axe-core and says where they are; by hand, that is Debian's \
                      chromium and chromium-driver, and axe.min.js of the npm package axe-core";

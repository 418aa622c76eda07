//! One check: how it went, what was found, what to do.

use std::{future::Future, time::Duration};

use serde_json::{Value, json};

use crate::{readable::plain, trouble::Trouble};

/// How a check went. Names stay as they are: programs rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    /// It works, and will be trouble or costs something.
    Warn,
    /// It doesn't work.
    Fail,
    /// It couldn't be judged.
    Skipped,
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Warn, Self::Fail, Self::Skipped];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// In lower case, with `_` between words. Stays as it is.
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    /// What was found, on one line.
    pub(crate) found: String,
    /// What to do, unless all is well or nothing can be done here.
    pub(crate) remedy: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, found: impl AsRef<str>) -> Self {
        Self::new(name, Verdict::Ok, found.as_ref(), None)
    }

    pub(crate) fn warn(name: &'static str, found: impl AsRef<str>, remedy: &str) -> Self {
        Self::new(name, Verdict::Warn, found.as_ref(), Some(remedy))
    }

    pub(crate) fn fail(name: &'static str, found: impl AsRef<str>, remedy: &str) -> Self {
        Self::new(name, Verdict::Fail, found.as_ref(), Some(remedy))
    }

    pub(crate) fn skipped(name: &'static str, why: impl AsRef<str>) -> Self {
        Self::new(name, Verdict::Skipped, why.as_ref(), None)
    }

    /// One that failed with an error: its first line is what happened, the others what to do.
    pub(crate) fn error(name: &'static str, error: &anyhow::Error) -> Self {
        let told = format!("{error:#}");
        let (found, remedy) = told.split_once('\n').unwrap_or((&told, ""));
        let remedy = Some(remedy).filter(|remedy| !remedy.is_empty());
        Self::new(name, Verdict::Fail, found, remedy)
    }

    /// One that failed with what Catena said.
    pub(crate) fn trouble(name: &'static str, trouble: &Trouble) -> Self {
        Self::fail(name, &trouble.what, trouble.remedy)
    }

    fn new(name: &'static str, verdict: Verdict, found: &str, remedy: Option<&str>) -> Self {
        Self {
            name,
            verdict,
            found: plain(found),
            remedy: remedy.map(plain),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "check": self.name,
            "result": self.verdict.as_str(),
            "found": self.found,
            "remedy": self.remedy,
        })
    }
}

/// Checks that are over within [`LIMIT`]; later they count as one that failed, by this name.
pub(crate) async fn bounded(
    name: &'static str,
    checks: impl Future<Output = Vec<Check>>,
) -> Vec<Check> {
    let checks = tokio::time::timeout(LIMIT, checks).await;
    checks.unwrap_or_else(|_| {
        let found = format!("no answer within {} s", LIMIT.as_secs());
        let remedy = "Check the network, and try again.";
        vec![Check::fail(name, found, remedy)]
    })
}

/// For one check.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

//! Asking before something is changed that can't be taken back.

use std::{
    io::{BufRead, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Result, bail};

/// Nobody is there to be asked: wrong usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NobodyToAsk;

impl std::fmt::Display for NobodyToAsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "nothing was changed: there is no terminal to ask at\n\
             Give --yes to do it without being asked.",
        )
    }
}

impl std::error::Error for NobodyToAsk {}

/// Fails unless it is confirmed already or somebody can be asked: before work that would be in vain.
pub(crate) fn can_be_asked(yes: bool) -> Result<()> {
    let asks = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !yes && !asks {
        bail!(NobodyToAsk);
    }
    Ok(())
}

/// Asks on the terminal, unless it is confirmed already. Fails if the answer isn't yes.
pub(crate) fn confirmed(yes: bool, question: &str) -> Result<()> {
    can_be_asked(yes)?;
    if yes {
        return Ok(());
    }
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !is_yes(&answer) {
        bail!("nothing was changed: the answer wasn't yes");
    }
    Ok(())
}

/// How a program ends that failed so.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<NobodyToAsk>() {
        Some(NobodyToAsk) => ExitCode::from(WRONG_USAGE),
        None => ExitCode::FAILURE,
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// As clap has it.
const WRONG_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y\n", "Y", " yes \r\n", "YES"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "no", "ye", "yes please"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn who_is_confirmed_is_not_asked() {
        assert!(confirmed(true, "Really?").is_ok());
    }

    #[test]
    fn that_nobody_can_be_asked_is_wrong_usage() {
        let wrong = anyhow::Error::from(NobodyToAsk);
        assert_eq!(exit_code(&wrong), ExitCode::from(2));
        let failed = anyhow::anyhow!("no network");
        assert_eq!(exit_code(&failed), ExitCode::FAILURE);
    }
}

//! What must hold for every history of a fleet, however its news arrives; and that the laws notice a merge that is wrong.
//!
//! `LAWS_SEED=7 cargo test -p fleet --test laws` runs them over other histories.

#![expect(
    clippy::print_stdout,
    reason = "laws say how many histories they were checked over"
)]

mod broken;
mod compaction;
mod connections;
mod form;
mod history;
mod merge;
mod oracle;
mod reach;
mod rights;
mod runner;
mod say;
mod shell;
mod standing;

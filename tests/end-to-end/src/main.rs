//! Tests of the whole: the functions' real binaries, DynamoDB, SQS and Secrets Manager over their real protocols, the real
//! `template.yaml`. Only Catena is simulated.
//!
//! `answers` and `batches` run one binary by hand; `stack` deploys everything.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod answers;
mod backend;
mod batches;
mod keys;
mod oracle;
mod stack;

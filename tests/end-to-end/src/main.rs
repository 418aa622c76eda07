//! Tests of the whole: the functions' real binaries, DynamoDB, SQS and Secrets Manager over their real protocols, the real
//! `template.yaml`. Only Catena is simulated.
//!
//! `answers`, `keys`, `batches`, `heard` and `returns` run one binary by hand, `links` three, `table` none, `cli` and `doctor` the operator's; `stack` and
//! `partner` deploy everything, `bus` does both, and so does `journeys`, which looks at it in a browser. `catena` calls the simulator by the client of
//! Catena's API, `openapi` the partner API by its document; `orders` and `translations` need nothing, `cost` the local DynamoDB.
//! `set_aside` releases what was quarantined and moves dead letters back. `subscribing` sets a fresh stack up and sees to its subscriptions,
//! `cut_off` kills the program in the middle of that. `drills` are short here and long by `cargo xtask drill`; `losses` and `kills` are two of them, which let `fates` befall fleets and
//! hold their records to the simulator's `truth`; `breaker` and `rotation` are others, whose webhooks come by `subscribed`'s subscriptions;
//! `writes` and `silence` are about writes by a fleet's provider, of which `partner_writes` shows what the partner is answered, and `looking` what the
//! reconciler finds out.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod answers;
mod backend;
mod batches;
mod breaker;
mod bus;
mod catena;
mod cli;
mod cost;
mod cut_off;
mod doctor;
mod drills;
mod fates;
mod heard;
mod journeys;
mod keys;
mod kills;
mod links;
mod looking;
mod losses;
mod openapi;
mod oracle;
mod orders;
mod partner;
mod partner_writes;
mod reconciling;
mod returns;
mod rotation;
mod set_aside;
mod silence;
mod stack;
mod subscribed;
mod subscribing;
mod table;
mod translations;
mod truth;
mod writes;

//! The real binary, killed at random moments under load, at each step of a migration, while it copies and while it
//! publishes; the order of its writes and syncs; and damaged WALs.
//!
//! The load runs ten rounds by default. To run more of them, or a failed one again (docs/RELIABILITY.md):
//! `CRASH_ROUNDS=200 cargo test --test crash -- --nocapture rounds`, `CRASH_SEED=… cargo test --test crash rounds`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
mod client;
mod damage;
mod hooked;
mod judge;
mod ledger;
#[path = "../support/left_out.rs"]
mod left_out;
mod load;
mod migration;
mod process;
#[path = "../support/receiver.rs"]
mod receiver;
mod rounds;
mod server;
mod syncs;
mod upkeep;
mod uploads;
mod watching;
mod webhooks;

use process::{DEADLINE, KEY, at_home, registry, wait_until};

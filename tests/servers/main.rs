//! Several servers, each the real binary, over one PostgreSQL.
//!
//! The load runs three rounds by default. To run more of them, or a failed one again:
//! `CRASH_ROUNDS=25 cargo test --test servers -- --nocapture rounds`, `CRASH_SEED=… cargo test --test servers rounds`.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "../crash/client.rs"]
mod client;
mod database;
mod deployment;
mod following;
mod group;
#[path = "../crash/hooked.rs"]
mod hooked;
#[path = "../crash/judge.rs"]
mod judge;
#[path = "../crash/ledger.rs"]
mod ledger;
#[path = "../support/left_out.rs"]
mod left_out;
#[path = "../crash/load.rs"]
mod load;
mod one_view;
mod outage;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../crash/process.rs"]
mod process;
mod promotions;
#[path = "../support/receiver.rs"]
mod receiver;
mod rounds;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../crash/server.rs"]
mod server;
#[path = "../support/set_on_drop.rs"]
mod set_on_drop;
mod webhooks;

use process::{DEADLINE, KEY, registry, wait_until};

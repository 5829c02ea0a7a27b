//! The stores, without actors or HTTP: one suite that every store must pass, and tests of SQLite alone.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "../support/left_out.rs"]
mod left_out;
mod lists;
mod maintenance;
mod postgres;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod postgres_network;
mod sqlite;
mod suite;

use std::{path::PathBuf, time::Duration};

use model_registry::{
    domain::Timestamp,
    store::sqlite::{Options, Synchronous},
};

fn options(path: impl Into<PathBuf>) -> Options {
    Options { path: path.into(), busy_timeout: Duration::from_secs(30), synchronous: Synchronous::Normal }
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-31 13:05:09.250").unwrap()
}

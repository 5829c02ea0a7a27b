//! The stores, without actors or HTTP: one suite that every store must pass, and tests of SQLite alone.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod lists;
mod maintenance;
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

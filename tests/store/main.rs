//! The stores, without actors or HTTP: one suite that every store must pass, and tests of SQLite alone.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod lists;
mod maintenance;
mod sqlite;
mod suite;

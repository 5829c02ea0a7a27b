//! The stores, without actors or HTTP: one suite that every store has to pass, and what is SQLite's own.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod lists;
mod maintenance;
mod sqlite;
mod suite;

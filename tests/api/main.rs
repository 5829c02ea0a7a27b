//! The API through a real server: each test starts its own, on a port and a database of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod concurrency;
mod faults;
mod support;

//! The recorded wire contracts over PostgreSQL: the cases of `main.rs`, except the upgrade of an old file.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod case;
mod compare;
#[path = "../support/left_out.rs"]
mod left_out;
mod mlflow;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod recorded;
mod server;

const OVER_POSTGRES: bool = true;

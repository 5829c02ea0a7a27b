//! The API over PostgreSQL: the tests of `main.rs`, except those of SQLite's file (`migration`, and what returns if `over_postgres` is true).
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod auth;
mod blobs;
mod clock;
mod concurrency;
mod conditional;
mod cors;
mod faults;
mod hostile_bytes;
mod hostile_json;
mod hostile_texts;
mod hub;
mod invalid_values;
mod keys;
mod large_answers;
#[path = "../support/left_out.rs"]
mod left_out;
mod limits;
mod lists;
mod local_paths;
mod lost_database;
mod metrics;
mod mlflow;
mod openapi;
mod overview;
mod paging;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod promotion;
#[path = "../support/receiver.rs"]
mod receiver;
mod register;
mod schema;
#[path = "../support/set_on_drop.rs"]
mod set_on_drop;
mod slow_clients;
mod support;
mod telemetry;
mod update;
mod v1;
mod without_key;

const OVER_POSTGRES: bool = true;

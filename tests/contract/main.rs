//! The recorded wire contracts of 0.2.0 (`cases/`) and of MLflow (`mlflow/`), replayed against the real binary: one test for each file.
//!
//! A case starts a server on a port and a database of its own, sends its steps in order and compares each answer
//! with the recorded one. A step with `fixed` departs from 0.2.0 on purpose and says why.
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

const OVER_POSTGRES: bool = false;

//! The stores, without actors or HTTP: one suite that every store must pass, and tests of each store alone.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod aliases;
mod keys;
#[path = "../support/left_out.rs"]
mod left_out;
mod lists;
mod maintenance;
mod manifests;
mod models;
mod policies;
mod postgres;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod postgres_models;
mod postgres_network;
mod search;
mod sqlite;
mod suite;
mod tags;
mod trash;
mod upgrades;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use model_registry::{
    domain::{Draft, Model, Numbering, Timestamp, Version},
    store::{
        StoreError, WriteStore,
        sqlite::{Options, Synchronous},
    },
};

fn options(path: impl Into<PathBuf>) -> Options {
    Options { path: path.into(), busy_timeout: Duration::from_secs(30), synchronous: Synchronous::Normal }
}

/// Inserts a version, and its model if there is none.
fn add(store: &mut dyn WriteStore, draft: Draft) -> Result<Version, StoreError> {
    let key = match store.find_model(&draft.name)? {
        Some(model) => model.key,
        None => {
            let created_at = now().to_string();
            let model = Model {
                key: 0,
                name: draft.name.clone(),
                description: None,
                tags: BTreeMap::new(),
                deleted_at: None,
                updated_at: created_at.clone(),
                created_at,
                changed_at: None,
                next_number: 1,
            };
            store.insert_model(model, Numbering::Continued)?.key
        }
    };
    store.insert(draft, key, now())
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-31 13:05:09.250").unwrap()
}

//! The database that the servers share, as SQL shows it.

use std::collections::BTreeMap;

use model_registry::domain::chain::Link;
use serde_json::Value;

use crate::{
    judge::{Event, Row, Rows},
    left_out::left_out,
    postgres::Cluster,
};

const NAME: &str = "registry";
/// Events by model, in the order of their commits: a model is locked while its event gets an id.
const EVENTS: &str = "SELECT json_build_array(model_key, id, previous_of_model, model_id, event_type, payload_json, \
    details, actor, created_at, encode(hash, 'hex')) FROM model_events ORDER BY model_key, id";
const ROWS: &str = "SELECT json_build_array(id, status, metrics::json -> 'suites' -> 's' -> 'n') FROM models";
const HEADS: &str = "SELECT json_build_array(model_key, last_event_id, encode(hash, 'hex')) FROM model_heads";
const SEVERAL_PRODUCTIONS: &str = "SELECT count(*) FROM (SELECT FROM models WHERE status = 'production' \
    GROUP BY model_key HAVING count(*) > 1) AS several";

/// A database in a cluster of its own, which the test may crash.
pub(crate) struct Database {
    pub(crate) cluster: Cluster,
}

impl Database {
    /// `None`, and says so, if PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(cluster) = Cluster::start(&["-clisten_addresses=", "-cmax_connections=60"]) else {
            left_out("PostgreSQL is not installed, so several servers over it are not tested");
            return None;
        };
        let database = Self { cluster };
        database.empty();
        Some(database)
    }

    /// Replaces it by an empty one.
    pub(crate) fn empty(&self) {
        self.cluster.sql("postgres", &format!("DROP DATABASE IF EXISTS {NAME} WITH (FORCE)"));
        self.cluster.sql("postgres", &format!("CREATE DATABASE {NAME}"));
    }

    pub(crate) fn url(&self) -> String {
        self.cluster.url(NAME)
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster.sql(NAME, sql)
    }

    fn arrays(&self, sql: &str) -> Vec<Value> {
        self.sql(sql).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn rows(&self) -> Rows {
        let row = |row: &Value| Row { status: row[1].as_str().unwrap().to_owned(), number: row[2].as_u64() };
        self.arrays(ROWS).iter().map(|found| (found[0].as_i64().unwrap(), row(found))).collect()
    }

    /// Returns the events of each model, oldest first, after a check of their chains.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Vec<Event>> {
        let mut models = BTreeMap::<i64, Vec<Value>>::new();
        for event in self.arrays(EVENTS) {
            models.entry(event[0].as_i64().unwrap()).or_default().push(event);
        }
        let heads = self.arrays(HEADS);
        assert_eq!(heads.len(), models.len(), "each model with events has the end of its chain");
        for head in &heads {
            let last = models[&head[0].as_i64().unwrap()].last().unwrap();
            assert_eq!((&head[1], &head[2]), (&last[1], &last[9]), "the end of the chain: {last}");
        }
        models.values().for_each(|events| chain_is_unbroken(events));
        let event = |event: &Value| Event {
            model: event[3].as_i64().unwrap(),
            kind: event[4].as_str().unwrap().to_owned(),
            payload: serde_json::from_str(event[5].as_str().unwrap()).unwrap(),
        };
        models.values().map(|events| events.iter().map(event).collect()).collect()
    }

    /// Checks what holds at every moment.
    #[track_caller]
    pub(crate) fn is_sound(&self) {
        assert_eq!(self.sql(SEVERAL_PRODUCTIONS), "0", "production versions of a model");
        let miscounted = "SELECT count(*) FROM (SELECT status, count(*) FROM models GROUP BY status) AS s (status, n) \
            WHERE n <> (SELECT sum(count) FROM model_counts WHERE kind = 'status' AND value = status)";
        assert_eq!(self.sql(miscounted), "0", "counters");
    }
}

#[track_caller]
fn chain_is_unbroken(events: &[Value]) {
    let mut last: Option<(i64, Vec<u8>)> = None;
    for event in events {
        let link = Link {
            model: event[0].as_i64().unwrap(),
            previous: event[2].as_i64(),
            version_id: event[3].as_i64().unwrap(),
            event_type: event[4].as_str().unwrap(),
            payload: event[5].as_str(),
            details: event[6].as_str(),
            actor: event[7].as_str(),
            created_at: event[8].as_str().unwrap(),
        };
        assert_eq!(link.previous, last.as_ref().map(|(id, _)| *id), "the chain is broken at {event}");
        let hash = link.hash(last.as_ref().map(|(_, hash)| hash.as_slice()));
        assert_eq!(hex::encode(hash), event[9].as_str().unwrap(), "the hash of {event}");
        last = Some((event[1].as_i64().unwrap(), hash.to_vec()));
    }
}

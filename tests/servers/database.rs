//! The database that the servers share, as SQL shows it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    judge::{Event, Row, Rows},
    left_out::left_out,
    postgres::Cluster,
    registry,
};

const NAME: &str = "registry";
/// Events by model, in the order of their commits: a model is locked while its event gets an id.
const EVENTS: &str = "SELECT json_build_array(model_key, model_id, event_type, payload_json) \
    FROM model_events ORDER BY model_key, id";
const ROWS: &str = "SELECT json_build_array(id, status, metrics::json -> 'suites' -> 's' -> 'n') FROM models";
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

    /// Returns the events of each model, oldest first.
    pub(crate) fn events(&self) -> Vec<Vec<Event>> {
        let mut models = BTreeMap::<i64, Vec<Event>>::new();
        for event in self.arrays(EVENTS) {
            models.entry(event[0].as_i64().unwrap()).or_default().push(Event {
                model: event[1].as_i64().unwrap(),
                kind: event[2].as_str().unwrap().to_owned(),
                payload: serde_json::from_str(event[3].as_str().unwrap()).unwrap(),
            });
        }
        models.into_values().collect()
    }

    /// Checks the database by the registry's own rules, among them the chains of events.
    #[track_caller]
    pub(crate) fn is_sound(&self) {
        assert_eq!(self.sql(SEVERAL_PRODUCTIONS), "0", "production versions of a model");
        let mut check = registry(["maintenance", "--check", "--json"]);
        let checked = check.env("CAIA_REGISTRY_DATABASE_URL", self.url()).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
        let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(report["check"]["error_count"], 0, "{report}");
        assert!(report["database_url"].is_string(), "{report}");
    }
}

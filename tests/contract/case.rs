//! A recorded case: what it prepares, what it sends, and what it expects.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    compare::{Expectation, differences},
    left_out::left_out,
    postgres_cluster::TestDatabase,
    server::Server,
};

/// The only case about SQLite's file.
const UPGRADE: &str = "migrate-v1";

/// An unknown field fails the case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "why")]
    _why: String,
    /// Variables of the server; `null` unsets one.
    #[serde(default)]
    env: Value,
    /// Files to create, by name.
    #[serde(default)]
    files: HashMap<String, String>,
    /// SQL scripts that create the database before the server starts.
    #[serde(default)]
    database: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The request to send.
    #[serde(rename = "do")]
    request: Option<Value>,
    expect: Option<Value>,
    /// Values of the answer to keep, by the name that later steps use as `${name}`.
    #[serde(default)]
    save: Map<String, Value>,
    /// A statement to run on the database in place of a request, and the rows it yields.
    sql: Option<String>,
    rows: Option<Value>,
    #[serde(rename = "fixed")]
    _fixed: Option<String>,
}

/// The database of a case, and the folder of its server.
pub(crate) struct Store {
    pub(crate) folder: tempfile::TempDir,
    postgres: Option<TestDatabase>,
}

impl Store {
    /// Creates an empty database; `None` if there is no PostgreSQL.
    pub(crate) fn create() -> Option<Self> {
        let postgres = match crate::OVER_POSTGRES {
            true => match TestDatabase::create() {
                None => {
                    left_out("PostgreSQL is not installed, so the contract is not tested over it");
                    return None;
                }
                created => created,
            },
            false => None,
        };
        Some(Self { folder: tempfile::tempdir().unwrap(), postgres })
    }

    /// Returns the variable of the server that names the database.
    pub(crate) fn setting(&self) -> (&'static str, String) {
        match &self.postgres {
            Some(postgres) => ("CAIA_REGISTRY_DATABASE_URL", postgres.url()),
            None => ("CAIA_REGISTRY_DB_PATH", self.file().display().to_string()),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("registry.db")
    }
}

/// Replays the case `name` of the folder `cases`.
pub(crate) fn replay(cases: &Path, name: &str) {
    let text = fs::read_to_string(cases.join(name).with_extension("json")).unwrap();
    let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("case {name}: {error}"));
    if crate::OVER_POSTGRES && name == UPGRADE {
        return;
    }
    let Some(store) = Store::create() else { return };
    let (folder, database) = (&store.folder, store.file());
    for (file, content) in &case.files {
        fs::write(folder.path().join(file), content).unwrap();
    }
    for script in &case.database {
        rusqlite::Connection::open(&database).unwrap().execute_batch(script).unwrap();
    }
    let mut saved = Map::new();
    saved.insert("dir".to_owned(), json!(folder.path()));
    let server = Server::start(folder.path(), store.setting(), &filled(&case.env, &saved));

    let mut problems = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        if let Some(sql) = &step.sql {
            let sql = filled(&json!(sql), &saved);
            let sql = sql.as_str().unwrap();
            let rows = match &store.postgres {
                Some(postgres) => {
                    assert_eq!(postgres.sql(sql), "", "only statements without rows run on both stores");
                    json!([])
                }
                None => query(&database, sql),
            };
            let recorded = step.rows.as_ref().unwrap_or(&rows);
            problems.extend(
                differences(recorded, &rows).into_iter().map(|it| format!("step {number}, {sql}: {it}")),
            );
            continue;
        }
        let request = filled(step.request.as_ref().expect("a step has `do` or `sql`"), &saved);
        let answer = server.send(&serde_json::from_value(request.clone()).unwrap());
        let expected = filled(step.expect.as_ref().expect("a request has an expectation"), &saved);
        let expected: Expectation = serde_json::from_value(expected).unwrap();
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let found = expected.problems(&answer);
        problems.extend(found.into_iter().map(|it| format!("step {number}, {method} {path}: {it}")));
        for (name, place) in &step.save {
            match answer.body.pointer(&format!("/{}", place.as_str().unwrap().replace('.', "/"))) {
                Some(value) => saved.insert(name.clone(), value.clone()),
                None => {
                    panic!("step {number}: the answer has no {place}, which later steps need\n{problems:#?}")
                }
            };
        }
    }
    assert!(problems.is_empty(), "case {name} differs:\n  {}\n{}", problems.join("\n  "), server.log());
}

/// `value` with each `${name}` replaced by what was saved; a text that is nothing else takes the type of the value.
pub(crate) fn filled(value: &Value, saved: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => {
            if let Some(value) = text.strip_prefix("${").and_then(|rest| saved.get(rest.strip_suffix('}')?)) {
                return value.clone();
            }
            let mut text = text.clone();
            for (name, value) in saved {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text = text.replace(&format!("${{{name}}}"), &shown);
            }
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(|item| filled(item, saved)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), filled(value, saved)))
            .collect::<Map<_, _>>()
            .into(),
        _ => value.clone(),
    }
}

/// Returns the rows of a statement, each a list of its columns.
fn query(database: &Path, sql: &str) -> Value {
    use rusqlite::types::ValueRef;
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let value = |column| match row.get_ref(column).unwrap() {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => json!(number),
            ValueRef::Real(number) => json!(number),
            ValueRef::Text(text) | ValueRef::Blob(text) => json!(String::from_utf8_lossy(text)),
        };
        found.push((0..columns).map(value).collect::<Value>());
    }
    Value::Array(found)
}

//! `registry maintenance`: on files at rest, under a server at rest, and under load.

mod audit;
mod backup;
mod check;
mod copying;
mod garbage;
mod interrupted_copy;
mod postgres;
mod purge;
mod restore;
mod upgrade;

use std::{
    fs::{self, File},
    os::unix::{
        fs::{FileExt as _, PermissionsExt as _, symlink},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{KEY, Ran, registry, server::Server};

const DEADLINE: Duration = Duration::from_secs(60);
/// The table of 0.2.0's predecessor, in a file without a write-ahead log.
const OLD: &str = "CREATE TABLE models (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, \
    version TEXT NOT NULL, status TEXT DEFAULT 'experimental', checkpoint_path TEXT NOT NULL, config_path TEXT, \
    d_model INTEGER, n_layers INTEGER, n_heads INTEGER, vocab_size INTEGER, params INTEGER, \
    training_step INTEGER, training_loss REAL, dataset TEXT, description TEXT, tags TEXT, metrics TEXT, \
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP, UNIQUE(name, version)); \
    INSERT INTO models (name, version, checkpoint_path) VALUES ('m', '1', '/data/1.pt'); PRAGMA user_version = 2";

/// The events of 0.2.0, and faults that it could leave: an event of a deleted version, two production versions.
const OLD_EVENTS: &str = "CREATE TABLE model_events (id INTEGER PRIMARY KEY AUTOINCREMENT, \
    model_id INTEGER NOT NULL, event_type TEXT NOT NULL, payload_json TEXT, actor TEXT, \
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, FOREIGN KEY(model_id) REFERENCES models(id)); \
    PRAGMA foreign_keys = OFF; INSERT INTO model_events (model_id, event_type) VALUES (2, 'delete'); \
    UPDATE sqlite_sequence SET seq = 2 WHERE name = 'models'; UPDATE models SET status = 'production'; \
    INSERT INTO models (name, version, checkpoint_path, status) VALUES ('m', '3', '/data/3.pt', 'production')";

/// `registry maintenance --db-path <database>` and the like, which does not wait long for locks.
fn maintenance<'a>(database: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = registry(["maintenance", "--db-path"]);
    command.arg(database).args(arguments).env("CAIA_REGISTRY_SQLITE_BUSY_TIMEOUT_MS", "100");
    command
}

fn serve_postgres(url: &str) -> Server {
    Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_DATABASE_URL", url);
    })
}

/// Asserts that a check reports a fault at `place` (severity, table, perhaps an id). `sql` planted it. Returns true if the
/// fault is an error.
#[track_caller]
fn finds(ran: &Ran, sql: &str, place: &str, problem: &str) -> bool {
    let mut words = place.split(' ');
    let (severity, table) = (words.next().unwrap(), words.next().unwrap());
    let id: Option<i64> = words.next().map(|id| id.parse().unwrap());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let is_sound = report["check"]["errors"] == json!([]);
    assert_eq!((ran.code, ran.stderr.is_empty()), (i32::from(!is_sound), is_sound), "{sql}: {ran:?}");
    let found = report["check"][format!("{severity}s")].as_array().unwrap();
    let is_meant = |finding: &&Value| {
        finding["problem"].as_str().unwrap().contains(problem)
            && (&finding["table"], &finding["id"]) == (&json!(table), &json!(id))
    };
    let finding = found.iter().find(is_meant).unwrap_or_else(|| panic!("{sql}: {}", ran.stdout));
    assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{sql}");
    assert_eq!(report["check"]["ok"], is_sound, "{sql}");
    !is_sound
}

fn with(mut command: Command, flag: &str, path: &Path) -> Command {
    command.arg(flag).arg(path);
    command
}

fn back_up(database: &Path, to: &Path) -> Command {
    with(maintenance(database, []), "--backup", to)
}

fn restore(database: &Path, from: &Path) -> Command {
    with(maintenance(database, []), "--restore", from)
}

/// Returns the JSON that it printed; it must have succeeded.
#[track_caller]
fn done(mut command: Command) -> Value {
    let ran = Ran::of(command.arg("--json"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Returns a registry's database at rest: `m:1` in production with scores, `m:2`, and `n:1`.
fn database() -> TempDir {
    let server = Server::start();
    for (name, version) in [("m", "1"), ("m", "2"), ("n", "1")] {
        let digest = "ab".repeat(32);
        let body = json!({"name": name, "version": version, "checkpoint_sha256": digest, "tags": ["t"]});
        server.post("/models", &body);
    }
    server.post("/models/1/metrics", &json!({"suite": "s", "metrics": {"score": 1.0}}));
    server.post("/models/1/promote", &json!({}));
    server.signal("TERM");
    server.ended().folder
}

fn at(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file of a folder with a digest of its bytes, except the WAL index, in which readers mark their position.
fn snapshot(folder: &Path) -> Vec<(String, String)> {
    let digest = |name: &str| Sha256::digest(fs::read(folder.join(name)).unwrap());
    let hex = |name: &str| digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    let names = names(folder).into_iter().filter(|name| !name.ends_with("-shm"));
    names.map(|name| (name.clone(), hex(&name))).collect()
}

fn count(database: &Path, sql: &str) -> i64 {
    Connection::open(database).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn flip(path: &Path, at: u64, bytes: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xa5; bytes], at).unwrap();
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

//! `registry maintenance`: on files at rest, under a server at rest, and under load.

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

/// `registry maintenance --db-path <database>` and the like, which does not wait long for locks.
fn maintenance<'a>(database: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = registry(["maintenance", "--db-path"]);
    command.arg(database).args(arguments).env("CAIA_REGISTRY_SQLITE_BUSY_TIMEOUT_MS", "100");
    command
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

/// What it printed as JSON, where it did what it was asked to.
#[track_caller]
fn done(mut command: Command) -> Value {
    let ran = Ran::of(command.arg("--json"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A registry's database at rest: `m:1` in production with scores, `m:2`, and `n:1`.
fn database() -> TempDir {
    let server = Server::start();
    for (name, version) in [("m", "1"), ("m", "2"), ("n", "1")] {
        let digest = "ab".repeat(32);
        let body = json!({"name": name, "version": version, "checkpoint_sha256": digest, "tags": ["t"]});
        server.post("/models", &body);
    }
    server.post("/models/1/metrics", &json!({"suite": "s", "metrics": {"score": 1.0}}));
    server.post("/models/1/promote", &json!(null));
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

/// Every file of a folder with a digest of its bytes. The index of a log is left out: whoever reads marks
/// his place there, and it is no data.
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

#[test]
fn each_backup_under_load_is_sound_and_holds_what_was_acknowledged_before_it() {
    const WRITERS: usize = 4;
    const BACKUPS: usize = 6;
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Mutex::new(Vec::<String>::new());
    let ending = AtomicBool::new(false);
    let mut held = Vec::new();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, acknowledged, ending) = (&server, &acknowledged, &ending);
            scope.spawn(move || {
                let mut number = 0;
                while !ending.load(Ordering::SeqCst) {
                    let version = format!("{writer}.{number}");
                    let body = json!({"name": "m", "version": version, "artifact_uri": "s3://b/m"});
                    let id = server.post("/models", &body)["id"].clone();
                    acknowledged.lock().unwrap().push(version.clone());
                    let scores = json!({"suite": "s", "metrics": {"score": number}});
                    server.post(&format!("/models/{id}/metrics"), &scores);
                    acknowledged.lock().unwrap().push(format!("{version} scored"));
                    number += 1;
                }
            });
        }
        let mut before = 0;
        for number in 0..BACKUPS {
            wait_until("writes go on", || acknowledged.lock().unwrap().len() >= before + 20);
            before = acknowledged.lock().unwrap().len();
            let path = at(&folder, &format!("{number}.db"));
            let told = done(back_up(&server.db_path(), &path));
            assert_eq!(told["backup"]["size_bytes"], fs::metadata(&path).unwrap().len());
            held.push((path, before));
        }
        ending.store(true, Ordering::SeqCst);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(names(folder.path()).len(), BACKUPS, "one file each: {:?}", names(folder.path()));

    for (backup, before) in held {
        let fresh = tempfile::tempdir().unwrap();
        let told = done(with(maintenance(&at(&fresh, "registry.db"), ["--check"]), "--restore", &backup));
        assert_eq!((&told["check"]["ok"], &told["check"]["warning_count"]), (&json!(true), &json!(0)));
        let restored = Connection::open(at(&fresh, "registry.db")).unwrap();
        let mut find = restored
            .prepare("SELECT metrics ->> '$.suites.s.score' FROM models WHERE name = 'm' AND version = ?1")
            .unwrap();
        for write in &acknowledged[..before] {
            let version = write.trim_end_matches(" scored");
            let score: Option<i64> = find.query_row([version], |row| row.get(0)).unwrap();
            assert!(score.is_some() || version == write, "{write} is not in {backup:?}");
        }
    }
}

#[test]
fn a_restore_is_refused_under_a_server_and_works_once_it_has_ended() {
    let server = Server::start();
    let register = |version: &str| {
        server.post("/models", &json!({"name": "m", "version": version, "artifact_uri": "s3://b"}));
    };
    register("1");
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = at(&elsewhere, "b.db");
    done(back_up(&server.db_path(), &backup));
    register("2");
    let folder = server.db_path().parent().unwrap().to_owned();
    let before = snapshot(&folder);
    let refused = Ran::of(&mut restore(&server.db_path(), &backup)).failed(5);
    assert!(refused.contains("is held by another process") && refused.contains("stop that one"), "{refused}");
    assert_eq!(snapshot(&folder), before);
    assert_eq!(server.get("/stats")["total_models"], 2, "the server is served on");

    server.signal("TERM");
    let folder = server.ended().folder;
    let database = at(&folder, "registry.db");
    let told = done(restore(&database, &backup));
    assert_eq!(count(&database, "SELECT count(*) FROM models"), 1);
    let kept = PathBuf::from(told["restore"]["kept_as"].as_str().unwrap());
    assert!(kept.to_str().unwrap().contains("registry.db.before-restore-"), "{kept:?}");
    assert_eq!(count(&kept, "SELECT count(*) FROM models"), 2, "nothing is lost");
    assert_eq!(names(folder.path()).len(), 2);
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY);
    });
    assert_eq!(server.get("/stats")["total_models"], 1);
    assert_eq!(
        server.post("/models", &json!({"name": "m", "version": "2", "artifact_uri": "s3://b"}))["id"],
        2
    );
}

#[test]
fn a_log_that_a_crash_left_belongs_to_the_old_database_and_never_to_the_restored_one() {
    let folder = database();
    let backup = at(&folder, "backup.db");
    done(back_up(&at(&folder, "registry.db"), &backup));
    for is_there in [true, false] {
        let crashed = tempfile::tempdir().unwrap();
        let database = at(&crashed, "registry.db");
        fs::copy(at(&folder, "registry.db"), &database).unwrap();
        let writer = Connection::open(&database).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; \
            DELETE FROM models WHERE name = 'm'",
            )
            .unwrap();
        // As a crash leaves it: copied while the log is in use.
        let left = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            fs::copy(
                at(&crashed, &format!("registry.db{suffix}")),
                at(&left, &format!("registry.db{suffix}")),
            )
            .unwrap();
        }
        drop(writer);
        let database = at(&left, "registry.db");
        if !is_there {
            fs::remove_file(&database).unwrap();
        }
        let told = done(with(maintenance(&database, ["--check"]), "--restore", &backup));
        assert_eq!(told["check"]["models"], 3);
        assert!(!at(&left, "registry.db-wal").exists());
        assert_eq!(count(&database, "SELECT count(*) FROM models"), 3);
        let kept = PathBuf::from(told["restore"]["kept_as"].as_str().unwrap());
        if is_there {
            assert_eq!(
                count(&kept, "SELECT count(*) FROM models"),
                1,
                "the log was merged into what is kept"
            );
        } else {
            let log = PathBuf::from(format!("{}-wal", kept.display()));
            assert!(fs::metadata(log).unwrap().len() > 0, "what was left of it is kept");
        }
    }
}

#[test]
fn what_can_t_be_served_is_not_restored_and_changes_nothing() {
    let folder = database();
    let elsewhere = tempfile::tempdir().unwrap();
    let good = at(&elsewhere, "good.db");
    done(back_up(&at(&folder, "registry.db"), &good));
    let bad = |name: &str, spoil: &dyn Fn(&Path)| {
        let path = at(&elsewhere, name);
        fs::copy(&good, &path).unwrap();
        spoil(&path);
        path
    };
    let size = fs::metadata(&good).unwrap().len();
    let cases = [
        (bad("flipped.db", &|path| flip(path, size / 2, 2048)), "is damaged"),
        (
            bad("cut.db", &|path| File::options().write(true).open(path).unwrap().set_len(size / 2).unwrap()),
            "is damaged",
        ),
        (bad("text.db", &|path| fs::write(path, "no database at all").unwrap()), "is no SQLite file"),
        (bad("empty.db", &|path| fs::write(path, "").unwrap()), "not a registry's"),
        (
            bad("newer.db", &|path| {
                Connection::open(path).unwrap().pragma_update(None, "user_version", 301).unwrap()
            }),
            "use the newer one",
        ),
        (
            bad("other.db", &|path| {
                Connection::open(path).unwrap().execute_batch("DROP TABLE models").unwrap()
            }),
            "not a registry's",
        ),
        (at(&elsewhere, "none.db"), "does not exist"),
        (elsewhere.path().to_owned(), "no regular file"),
    ];
    let before = snapshot(folder.path());
    for (path, expected) in cases {
        let refused = Ran::of(&mut restore(&at(&folder, "registry.db"), &path)).failed(1);
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(snapshot(folder.path()), before, "{path:?}");
    }
    symlink(at(&folder, "registry.db"), at(&elsewhere, "link.db")).unwrap();
    let refused = Ran::of(&mut restore(&at(&folder, "registry.db"), &at(&elsewhere, "link.db"))).failed(2);
    assert!(refused.contains("is the database itself"), "{refused}");
}

#[test]
fn a_damaged_database_is_not_backed_up_over_a_good_backup_but_can_be_restored_over() {
    let folder = database();
    let (database, backup) = (at(&folder, "registry.db"), at(&folder, "b.db"));
    done(back_up(&database, &backup));
    let good = fs::read(&backup).unwrap();
    flip(&database, fs::metadata(&database).unwrap().len() / 2, 2048);
    let refused = Ran::of(&mut back_up(&database, &backup)).failed(1);
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(fs::read(&backup).unwrap(), good);
    assert_eq!(names(folder.path()), ["b.db", "registry.db"]);
    let checked = Ran::of(&mut maintenance(&database, ["--check"]));
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(
        checked.stdout.contains("is NOT sound") && checked.stderr.contains("see the report"),
        "{checked:?}"
    );
    done(with(maintenance(&database, ["--check"]), "--restore", &backup));

    // What can't even be opened can't be kept as a database either.
    fs::write(&database, "overwritten with what is no database at all").unwrap();
    let refused = Ran::of(&mut restore(&database, &backup)).failed(1);
    assert!(refused.contains("move it away yourself"), "{refused}");
}

#[test]
fn a_backup_onto_the_database_or_what_is_no_backup_is_refused() {
    let folder = database();
    let path = at(&folder, "registry.db");
    symlink(&path, at(&folder, "link")).unwrap();
    fs::hard_link(&path, at(&folder, "twin")).unwrap();
    fs::write(at(&folder, "model.pt"), "weights").unwrap();
    fs::create_dir(at(&folder, "sub")).unwrap();
    fs::copy(&path, at(&folder, "used.db")).unwrap();
    fs::write(at(&folder, "used.db-wal"), "log").unwrap();
    assert!(Command::new("mkfifo").arg(at(&folder, "fifo")).status().unwrap().success());
    let before = names(folder.path());
    for (name, code, expected) in [
        ("registry.db", 2, "belongs to the database itself"),
        ("link", 2, "belongs to the database itself"),
        ("twin", 2, "belongs to the database itself"),
        ("registry.db-wal", 2, "belongs to the database itself"),
        ("sub/../registry.db-shm", 2, "belongs to the database itself"),
        ("registry.db-journal", 2, "belongs to the database itself"),
        ("model.pt", 1, "no database, so it is not replaced"),
        ("used.db", 1, "used.db-wal lies beside it"),
        ("sub", 1, "is a directory"),
        ("fifo", 1, "is a FIFO"),
        ("none/b.db", 1, "there is no folder"),
        ("", 1, "is a directory"),
    ] {
        let refused = Ran::of(&mut back_up(&path, &at(&folder, name))).failed(code);
        assert!(refused.contains(expected), "{name}: {refused}");
    }
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::read(at(&folder, "model.pt")).unwrap(), b"weights");
}

#[test]
fn a_backup_replaces_an_older_one_and_shows_nobody_more_than_the_database_does() {
    let folder = database();
    let (database, backup) = (at(&folder, "registry.db"), at(&folder, "b.db"));
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    done(back_up(&database, &backup));
    Connection::open(&database).unwrap().execute("DELETE FROM models WHERE id = 3", []).unwrap();
    let ran = Ran::of(&mut back_up(&database, &backup));
    assert!(ran.code == 0 && ran.stdout.contains("verified"), "{ran:?}");
    assert_eq!(count(&backup, "SELECT count(*) FROM models"), 2);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    // Where nothing can be written beside it, it can be read all the same: it needs no log.
    let header = fs::read(&backup).unwrap();
    assert_eq!(&header[18..20], [1, 1]);
}

#[test]
fn an_old_file_is_backed_up_and_checked_and_stays_as_it_was() {
    for log in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (at(&folder, "registry.db"), tempfile::tempdir().unwrap());
        let old = Connection::open(&path).unwrap();
        old.execute_batch(OLD).unwrap();
        old.pragma_update(None, "journal_mode", if log { "WAL" } else { "DELETE" }).unwrap();
        drop(old);
        let (before, touched) = (snapshot(folder.path()), fs::metadata(&path).unwrap().modified().unwrap());
        let told = done(with(maintenance(&path, ["--check"]), "--backup", &at(&elsewhere, "b.db")));
        assert_eq!((&told["check"]["schema_version"], &told["check"]["models"]), (&json!(2), &json!(1)));
        let warnings = told["check"]["warnings"].to_string();
        assert!(
            warnings.contains("that of an older server (2, not 300)") && warnings.contains("registry serve")
        );
        assert_eq!(snapshot(folder.path()), before);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), touched);
        let fresh = tempfile::tempdir().unwrap();
        done(restore(&at(&fresh, "registry.db"), &at(&elsewhere, "b.db")));
        let server = Server::with(fresh, 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY);
        });
        assert_eq!(server.get("/models/1")["artifact_uri"], "legacy:1");
    }
}

#[test]
fn the_check_finds_each_fault_and_says_what_to_do() {
    let folder = database();
    let good = at(&folder, "registry.db");
    let told = done(maintenance(&good, ["--check"]));
    assert_eq!(told["check"]["errors"], json!([]));
    assert_eq!(told["check"]["warnings"], json!([]));
    assert_eq!((&told["check"]["models"], &told["check"]["events"]), (&json!(3), &json!(5)));

    let upper = format!("UPDATE models SET checkpoint_sha256 = '{}' WHERE id = 2", "AB".repeat(32));
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) \
        INSERT INTO model_events (model_id, event_type, payload_json) SELECT 1, 'eval', 'no json' FROM n";
    for (sql, severity, table, id, problem) in [
        ("UPDATE models SET status = 'live' WHERE id = 2", "error", "models", Some(2), "status is \"live\""),
        (
            "DROP INDEX idx_models_one_production; UPDATE models SET status = 'production' WHERE id = 2",
            "error",
            "models",
            Some(1),
            "\"m\" has 2 production versions",
        ),
        (
            "DROP INDEX idx_models_one_production",
            "error",
            "schema",
            None,
            "idx_models_one_production is missing",
        ),
        (
            "DROP TRIGGER trg_models_set_updated_at",
            "error",
            "schema",
            None,
            "trg_models_set_updated_at is missing",
        ),
        (
            "DROP INDEX idx_models_created; CREATE INDEX idx_models_created ON models (name)",
            "warning",
            "schema",
            None,
            "idx_models_created is not the registry's",
        ),
        (
            "CREATE TRIGGER mine AFTER INSERT ON models BEGIN SELECT 1; END",
            "warning",
            "schema",
            None,
            "the trigger mine",
        ),
        ("DROP TABLE model_events", "error", "schema", None, "no table model_events"),
        ("ALTER TABLE models DROP COLUMN dataset", "error", "schema", None, "no column dataset"),
        (upper.as_str(), "error", "models", Some(2), "not 64 lower-case hex digits"),
        (
            "UPDATE models SET config_sha256 = 'abc' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "config_sha256 is \"abc\"",
        ),
        (
            "UPDATE models SET config_size_bytes = -1 WHERE id = 2",
            "error",
            "models",
            Some(2),
            "config_size_bytes is -1",
        ),
        (
            "UPDATE models SET tags = '[1]' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "not a JSON list of texts",
        ),
        ("UPDATE models SET metrics = '[1]' WHERE id = 2", "error", "models", Some(2), "not a JSON object"),
        (
            "UPDATE models SET metrics = '{\"suites\":{\"s\":1}}' WHERE id = 2",
            "warning",
            "models",
            Some(2),
            "suites are no objects",
        ),
        ("UPDATE models SET metrics = '{\"a\": NaN}' WHERE id = 2", "warning", "models", Some(2), "NaN"),
        (
            "UPDATE models SET artifact_uri = ' ' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "artifact_uri is \" \"",
        ),
        ("UPDATE models SET name = ' ' WHERE id = 2", "error", "models", Some(2), "name is \" \""),
        ("UPDATE models SET version = '' WHERE id = 2", "error", "models", Some(2), "version is \"\""),
        (
            "UPDATE models SET created_at = 'yesterday' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "created_at is \"yesterday\"",
        ),
        (
            "UPDATE models SET updated_at = '2026-01-31T13:05:09Z' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "updated_at is",
        ),
        ("UPDATE models SET frozen = 7 WHERE id = 2", "error", "models", Some(2), "frozen is 7"),
        (
            "UPDATE models SET training_step = 'late' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "training_step is \"late\"",
        ),
        (
            "UPDATE models SET training_loss = 9e999 WHERE id = 2",
            "warning",
            "models",
            Some(2),
            "training_loss is inf",
        ),
        (
            "UPDATE models SET run_id = x'ff' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "run_id is no text but bytes",
        ),
        ("UPDATE models SET id = -5 WHERE id = 2", "error", "models", Some(-5), "id is -5"),
        (
            "DELETE FROM model_events WHERE model_id = 2",
            "warning",
            "models",
            Some(2),
            "the first of 1, has no event",
        ),
        (
            "UPDATE model_events SET payload_json = '{' WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "payload_json is \"{\"",
        ),
        (
            "UPDATE model_events SET created_at = 'soon' WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "created_at is \"soon\"",
        ),
        (
            "UPDATE model_events SET event_type = 'scan'",
            "warning",
            "model_events",
            Some(1),
            "which this registry does not write: 5 times",
        ),
        (
            "UPDATE model_events SET event_type = '' WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "nothing says what happened",
        ),
        (
            "UPDATE model_events SET model_id = 99 WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "the highest id that was ever given is 3",
        ),
        (
            "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'models'",
            "error",
            "sqlite_sequence",
            None,
            "1 is kept as the highest id of models",
        ),
        (
            "DELETE FROM sqlite_sequence",
            "error",
            "sqlite_sequence",
            None,
            "nothing is kept as the highest id of model_events",
        ),
        (
            "CREATE TABLE notes (model_id REFERENCES models (id)); PRAGMA foreign_keys = OFF; INSERT INTO notes VALUES (77)",
            "error",
            "schema",
            Some(1),
            "rows of notes refer to rows of models that are gone",
        ),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'created_at', 'name') \
                WHERE name = 'idx_models_created'",
            "error",
            "file",
            None,
            "SQLite finds: ",
        ),
        (many, "error", "model_events", Some(6), "payload_json is \"no json\""),
    ] {
        let case = tempfile::tempdir().unwrap();
        let path = at(&case, "registry.db");
        fs::copy(&good, &path).unwrap();
        let planted = Connection::open(&path).unwrap();
        planted.pragma_update(None, "recursive_triggers", false).unwrap();
        planted.execute_batch(sql).unwrap();
        drop(planted);
        let before = snapshot(case.path());
        let ran = Ran::of(&mut maintenance(&path, ["--check", "--json"]));
        assert_eq!(ran.code, i32::from(severity == "error"), "{sql}: {ran:?}");
        assert_eq!(ran.stderr.is_empty(), severity == "warning", "{sql}: {ran:?}");
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        let found = told["check"][format!("{severity}s")].as_array().unwrap();
        let finding = found.iter().find(|finding| finding["problem"].as_str().unwrap().contains(problem));
        let finding = finding.unwrap_or_else(|| panic!("{sql}: {}", ran.stdout));
        assert_eq!((&finding["table"], &finding["id"]), (&json!(table), &json!(id)), "{sql}");
        assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{sql}");
        assert_eq!(told["check"]["ok"], severity == "warning", "{sql}");
        assert_eq!(snapshot(case.path()), before, "{sql}: a check changes nothing");
        if sql == many {
            assert_eq!((found.len(), &told["check"]["error_count"]), (100, &json!(250)));
            let text = Ran::of(&mut maintenance(&path, ["--check"]));
            assert!(text.stdout.ends_with("and 150 more errors\n"), "{text:?}");
        }
    }
}

#[test]
fn what_a_check_advises_for_a_schema_that_lost_its_guards_mends_it() {
    let folder = database();
    let path = at(&folder, "registry.db");
    let spoiled = Connection::open(&path).unwrap();
    spoiled
        .execute_batch("DROP INDEX idx_models_one_production; DROP TRIGGER trg_models_set_updated_at; DROP TABLE model_events; \
            UPDATE models SET status = 'production' WHERE name = 'm'")
        .unwrap();
    let ran = Ran::of(&mut maintenance(&path, ["--check"]));
    assert!(ran.code == 1 && ran.stdout.matches("run `PRAGMA user_version = 0`").count() >= 3, "{ran:?}");
    spoiled.pragma_update(None, "user_version", 0).unwrap();
    drop(spoiled);
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY);
    });
    let told = done(maintenance(&server.db_path(), ["--check"]));
    assert_eq!((&told["check"]["ok"], &told["check"]["errors"]), (&json!(true), &json!([])));
}

#[test]
fn a_database_that_a_crash_left_half_changed_is_not_judged_but_the_way_back_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, left) = (at(&folder, "registry.db"), tempfile::tempdir().unwrap());
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch(OLD).unwrap();
    // So small a cache that pages are written before the end of the transaction.
    writer
        .execute_batch(
            "CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(500000)); PRAGMA cache_size = 1; \
            BEGIN; DELETE FROM models; UPDATE filler SET x = randomblob(600000)",
        )
        .unwrap();
    for name in ["registry.db", "registry.db-journal"] {
        fs::copy(at(&folder, name), at(&left, name)).unwrap();
    }
    let (path, before) = (at(&left, "registry.db"), snapshot(left.path()));
    let refused = Ran::of(&mut maintenance(&path, ["--check"])).failed(1);
    assert!(
        refused.contains("left in the middle of a change") && refused.contains("--optimize"),
        "{refused}"
    );
    assert_eq!(snapshot(left.path()), before);
    done(maintenance(&path, ["--optimize", "--check"]));
    assert_eq!(count(&path, "SELECT count(*) FROM models"), 1);
}

#[test]
fn what_it_can_t_do_it_says_and_a_missing_database_is_never_made() {
    let folder = tempfile::tempdir().unwrap();
    let database = at(&folder, "registry.db");
    for arguments in [&["--check"][..], &["--vacuum"], &["--optimize"]] {
        let refused = Ran::of(&mut maintenance(&database, arguments.iter().copied())).failed(1);
        assert!(refused.contains("does not exist"), "{refused}");
    }
    Ran::of(&mut back_up(&database, &at(&folder, "b.db"))).failed(1);
    assert!(names(folder.path()).is_empty());
    let refused = Ran::of(&mut maintenance(&database, [])).failed(2);
    assert!(refused.contains("give --backup FILE"), "{refused}");
    let both = with(restore(&database, &at(&folder, "b.db")), "--backup", &at(&folder, "c.db"));
    assert_eq!(Ran::of(&mut { both }).code, 2);
    // The variable names the database as it does for the server.
    let ran = Ran::of(registry(["maintenance", "--check"]).env("CAIA_REGISTRY_DB_PATH", &database));
    assert!(ran.failed(1).contains("registry.db does not exist"));
}

#[test]
fn a_vacuum_and_an_optimize_work_beside_a_server() {
    let server = Server::start();
    let text = "x".repeat(100_000);
    for version in 0..20 {
        let body = json!({"name": "m", "version": version.to_string(), "artifact_uri": "s3://b", "description": text});
        server.post("/models", &body);
    }
    for id in 2..=20 {
        server.send("DELETE", &format!("/models/{id}"), KEY, None);
    }
    let told = done(maintenance(&server.db_path(), ["--vacuum", "--optimize", "--check"]));
    let size = |when: &str| told["vacuum"][format!("size_bytes_{when}")].as_u64().unwrap();
    assert!(size("before") > 1_900_000 && size("after") < 300_000, "{told}");
    assert!(told["optimize"]["ran"].is_array() && told["check"]["ok"] == true, "{told}");
    assert_eq!(server.get("/stats")["total_models"], 1);
    server.post("/models/1/promote", &json!(null));

    let other = Connection::open(server.db_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let ran = Ran::of(&mut with(
        maintenance(&server.db_path(), ["--vacuum", "--json"]),
        "--backup",
        &at(&elsewhere, "b.db"),
    ));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(told["backup"]["pages"].as_u64().unwrap() > 0, "what was done before is told: {told}");
    assert!(told["vacuum"].is_null() && told["error"].as_str().unwrap().contains("is held"), "{told}");
}

/// A database that somebody holds, and a backup of it that waits, with its temporary file made already.
fn waiting(folder: &TempDir) -> (Connection, Child, PathBuf) {
    let path = at(folder, "registry.db");
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch(OLD).unwrap();
    let to = at(folder, "to");
    fs::create_dir(&to).unwrap();
    let backup = to.join("b.db");
    done(back_up(&path, &backup));
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut command = back_up(&path, &backup);
    command
        .env("CAIA_REGISTRY_SQLITE_BUSY_TIMEOUT_MS", "600000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("it has begun", || names(&to).len() == 2);
    (holder, child, to)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_signal_ends_a_backup_and_leaves_the_old_one_and_nothing_else() {
    for name in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let (_holder, child, to) = waiting(&folder);
        let old = fs::read(to.join("b.db")).unwrap();
        signal(&child, name);
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(130), 0), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("what was begun was undone"), "{ended:?}");
        assert_eq!(names(&to), ["b.db"]);
        assert_eq!(fs::read(to.join("b.db")).unwrap(), old);
    }
}

#[test]
fn a_backup_that_is_killed_leaves_the_old_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (_holder, mut child, to) = waiting(&folder);
    let old = fs::read(to.join("b.db")).unwrap();
    signal(&child, "KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(fs::read(to.join("b.db")).unwrap(), old);
}

#[test]
fn a_backup_that_can_t_be_written_to_its_end_leaves_the_old_one_and_nothing_else() {
    let folder = database();
    let (path, backup) = (at(&folder, "registry.db"), at(&folder, "b.db"));
    done(back_up(&path, &backup));
    let old = fs::read(&backup).unwrap();
    let grown = Connection::open(&path).unwrap();
    grown.execute_batch("CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(4 << 20))").unwrap();
    drop(grown);
    let mut command = Command::new("sh");
    // Past this many blocks a write fails, as on a full disk.
    command.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_registry")).args(["maintenance", "--db-path"]).arg(&path);
    command.arg("--backup").arg(&backup);
    let refused = Ran::of(&mut command).failed(1);
    assert!(refused.contains("disk"), "{refused}");
    assert_eq!(fs::read(&backup).unwrap(), old);
    assert_eq!(names(folder.path()), ["b.db", "registry.db"]);
}

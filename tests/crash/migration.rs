//! Files of older servers, and a server that is killed while it upgrades them.

use std::{fs, path::Path, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    checker::is_sound,
    server::{Server, linger, serve},
    wait_until,
};

const FIRST: &str = include_str!("../old_files/before_0_2_0.sql");
const SECOND: &str = include_str!("../old_files/0_2_0.sql");
/// Enough to make each step take a while.
const VERSIONS: usize = 1_500;
const STEPS: [&str; 5] = ["tables", "values", "indexes", "counts and search", "commit"];

/// Returns a file as an older server leaves it: of 0.2.0, or of the one before that.
fn old_file(is_0_2_0: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = Connection::open(folder.path().join("registry.db")).unwrap();
    file.pragma_update(None, "foreign_keys", false).unwrap();
    file.execute_batch(FIRST).unwrap();
    if is_0_2_0 {
        file.execute_batch(SECOND).unwrap();
    }
    file.execute_batch("BEGIN").unwrap();
    let mut insert = file
        .prepare(
            "INSERT INTO models (name, version, checkpoint_path, status, tags, metrics, created_at, updated_at) VALUES
             ('name-' || ?1 % 50, ?1, '/data/' || ?1, CASE WHEN ?1 % 9 = 0 THEN 'production' WHEN ?1 % 7 = 0 THEN NULL
              ELSE 'staging' END, '[\"a\", \"b\\u0442\"]', '{\"loss\": 1.0, \"up\": NaN, \"suites\": {\"s\": {\"score\": 0.' || ?1 || ', \"up\": NaN}}}', '2025-01-02 03:04:05', '2025-01-02 03:04:06')",
        )
        .unwrap();
    for version in 1..=VERSIONS {
        insert.execute([version]).unwrap();
    }
    if is_0_2_0 {
        file.execute_batch(
            "INSERT INTO model_events (model_id, event_type, payload_json, actor) SELECT id, 'create', '{\"name\": \"m\"}', 'ann' FROM models",
        )
        .unwrap();
    }
    file.execute_batch("COMMIT").unwrap();
    folder
}

fn copy(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("registry.db"), copy.path().join("registry.db")).unwrap();
    copy
}

/// Everything that an upgrade writes, except its time.
fn contents(path: &Path) -> Vec<String> {
    let file = Connection::open(path).unwrap();
    let mut rows = Vec::new();
    for sql in [
        "SELECT id, name, version, status, artifact_uri, frozen, checkpoint_path, tags, metrics, created_at FROM models ORDER BY id",
        "SELECT id, model_id, event_type, payload_json, actor, '', '', '', '', '' FROM model_events ORDER BY id",
        "SELECT kind, value, count, '', '', '', '', '', '', '' FROM model_counts ORDER BY 1, 2",
        "SELECT key, value, version_id, '', '', '', '', '', '', '' FROM model_tags ORDER BY 1, 2, 3",
        "SELECT suite, metric, value, version_id, '', '', '', '', '', '' FROM scores JOIN score_keys ON id = key_id ORDER BY 1, 2, 3, 4",
        "SELECT version_id, path, size_bytes, sha256, role, '', '', '', '', '' FROM version_files ORDER BY 1, 2",
        "SELECT type, name, sql, '', '', '', '', '', '', '' FROM sqlite_schema ORDER BY 1, 2",
        "PRAGMA user_version",
    ] {
        let mut statement = file.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let row: Vec<_> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
            rows.push(row.join(" "));
        }
    }
    rows
}

/// Every row of the versions, as an older server wrote them.
fn rows(path: &Path) -> Vec<String> {
    let file = Connection::open(path).unwrap();
    let mut statement = file.prepare("SELECT * FROM models ORDER BY id").unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns).map(|at| Ok(format!("{:?}", row.get_ref(at)?))).collect::<Result<Vec<_>, _>>()
    });
    rows.unwrap().map(|row| row.unwrap().join(" ")).collect()
}

/// Returns the contents of the file after an upgrade that is not interrupted.
fn migrated(old: &TempDir) -> Vec<String> {
    let folder = copy(old);
    let path = folder.path().join("registry.db");
    Server::start(&path).stop();
    contents(&path)
}

fn last_step(log: &[String]) -> Option<&'static str> {
    let was_logged =
        |step: &&&str| log.iter().any(|line| line.contains(&format!("upgrading the database: {step}")));
    STEPS.iter().rev().find(was_logged).copied()
}

#[test]
fn a_migration_killed_at_any_step_is_completed_by_the_next_start() {
    let mut random = fastrand::Rng::new();
    for is_0_2_0 in [true, false] {
        let old = old_file(is_0_2_0);
        let expected = migrated(&old);
        for step in STEPS {
            let folder = copy(&old);
            let path = folder.path().join("registry.db");
            for attempt in 0..2 {
                let mut server = Server::run(&mut serve(&path));
                wait_until(step, || {
                    let log = server.log();
                    log.iter().any(|line| line.contains(&format!("upgrading the database: {step}")))
                        // The last attempt was completed.
                        || attempt > 0 && server.address().is_some()
                        || server.has_ended()
                });
                if step == "commit" {
                    linger(&mut random, Duration::from_millis(20));
                }
                let log = server.kill();
                assert!(attempt > 0 || last_step(&log).is_some(), "{log:?}");
                println!(
                    "0.2.0: {is_0_2_0}, kill {attempt} at {step}, the last logged step was {:?}",
                    last_step(&log)
                );
            }
            Server::start(&path).stop();
            assert!(contents(&path) == expected, "0.2.0: {is_0_2_0}, {step}");
            is_sound(&path);
            // All starts together left one backup, of the original file.
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let backups: Vec<_> =
                names.filter(|path| path.to_string_lossy().contains("before-upgrade")).collect();
            assert_eq!(backups.len(), 1, "{backups:?}");
            assert!(rows(&backups[0]) == rows(&old.path().join("registry.db")), "0.2.0: {is_0_2_0}, {step}");
        }
    }
}

#[test]
fn one_of_two_servers_that_start_at_once_on_an_old_file_upgrades_it_and_the_other_is_refused() {
    for is_0_2_0 in [true, false] {
        let old = old_file(is_0_2_0);
        let expected = migrated(&old);
        let folder = copy(&old);
        let path = folder.path().join("registry.db");
        let mut servers = [(); 2].map(|()| Server::run(&mut serve(&path)));
        wait_until("one is refused", || servers.iter_mut().any(Server::has_ended));
        let (mut refused, mut serving): (Vec<_>, Vec<_>) =
            servers.into_iter().map(|mut server| (server.has_ended(), server)).partition(|(ended, _)| *ended);
        let (status, log) = refused.pop().unwrap().1.ended();
        assert!(!status.success() && log.join("\n").contains("is in use by process "), "{log:?}");
        let (_, mut server) = serving.pop().unwrap();
        server.wait_for_address();
        server.log_with("upgrading the database: commit");
        server.stop();
        assert!(contents(&path) == expected);
        is_sound(&path);
    }
}

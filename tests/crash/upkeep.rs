//! `registry maintenance`, killed during a backup and during a restore.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    checker::is_sound,
    registry,
    server::{Server, linger},
};

/// Enough for a copy to take a while.
const VERSIONS: u32 = 2_500;
const KILLS: u32 = 4;

/// Returns a registry's database at rest with this many versions.
fn database(versions: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    Server::start(&path).stop();
    add(&path, "m", versions);
    folder
}

/// Inserts many versions by SQL, and lets a server adopt them as it does after an upgrade, without its backup.
fn add(path: &Path, name: &str, versions: u32) {
    let file = Connection::open(path).unwrap();
    file.execute_batch("BEGIN").unwrap();
    let mut insert = file
        .prepare(
            "INSERT INTO models (name, version, checkpoint_path, artifact_uri, description) VALUES (?1, ?2, '/x', 's3://b', ?3)",
        )
        .unwrap();
    for version in 0..versions {
        insert.execute((name, version, "words ".repeat(400))).unwrap();
    }
    let events = "INSERT INTO model_events (model_id, event_type, payload_json, actor) SELECT id, 'create', '{}', 'ann' \
                  FROM models WHERE id NOT IN (SELECT model_id FROM model_events)";
    file.execute_batch(events).unwrap();
    file.execute_batch("COMMIT").unwrap();
    drop(insert);
    file.pragma_update(None, "user_version", 0).unwrap();
    drop(file);
    Server::start(path).stop();
    for entry in path.parent().unwrap().read_dir().unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().contains("before-upgrade") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn count(path: &Path) -> u32 {
    Connection::open(path).unwrap().query_row("SELECT count(*) FROM models", [], |row| row.get(0)).unwrap()
}

fn maintenance(database: &Path, flag: &str, file: &Path) -> Command {
    let mut command = registry(["maintenance", "--db-path"]);
    command.arg(database).arg(flag).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Returns how long it takes if it is not killed.
fn time(mut command: Command) -> Duration {
    let began = Instant::now();
    assert!(command.status().unwrap().success());
    began.elapsed()
}

/// Runs it for a part of that time. Returns true if it completed before the kill.
fn killed(mut command: Command, most: Duration, random: &mut fastrand::Rng) -> bool {
    let mut child = command.spawn().unwrap();
    linger(random, most);
    child.kill().unwrap();
    child.wait().unwrap().success()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An incomplete file with the name of a backup could be restored one day.
#[test]
fn a_killed_backup_leaves_a_whole_old_or_new_one_and_the_database_untouched() {
    let mut random = fastrand::Rng::new();
    let (folder, elsewhere) = (database(VERSIONS), tempfile::tempdir().unwrap());
    let (path, backup) = (folder.path().join("registry.db"), elsewhere.path().join("b.db"));
    let whole = time(maintenance(&path, "--backup", &backup));
    let mut held = VERSIONS;
    let mut through = 0;
    for kill in 0..KILLS {
        let now = VERSIONS + (kill + 1) * 10;
        add(&path, &format!("more-{kill}"), 10);
        let before = fs::read(&path).unwrap();
        through += u32::from(killed(maintenance(&path, "--backup", &backup), whole, &mut random));
        assert!(fs::read(&path).unwrap() == before, "the database is as it was");
        for name in names(folder.path()) {
            let is_empty_log =
                name == "registry.db-wal" && fs::read(folder.path().join(&name)).unwrap().is_empty();
            assert!(is_empty_log || name == "registry.db" || name == "registry.db-shm", "{name}");
        }
        let found = count(&backup);
        assert!(found == held || found == now, "{found}, neither {held} nor {now}");
        held = found;
        is_sound(&backup);
        for name in names(elsewhere.path()) {
            assert!(name == "b.db" || name.starts_with(".registry-"), "{name}");
        }
    }
    println!("{KILLS} backups killed within {whole:?}, {through} were through");
    assert!(through < KILLS, "some were killed in the middle");
    time(maintenance(&path, "--backup", &backup));
    assert_eq!(count(&backup), VERSIONS + KILLS * 10);
}

#[test]
fn a_killed_restore_leaves_the_old_or_the_restored_database() {
    let mut random = fastrand::Rng::new();
    let (old, backup) = (database(VERSIONS / 2), database(VERSIONS));
    let (path, backup) = (old.path().join("registry.db"), backup.path().join("registry.db"));
    let copy = |to: &TempDir| -> PathBuf {
        let to = to.path().join("registry.db");
        fs::copy(&path, &to).unwrap();
        to
    };
    let unharmed = tempfile::tempdir().unwrap();
    let whole = time(maintenance(&copy(&unharmed), "--restore", &backup));
    let mut restored = 0;
    for _ in 0..KILLS {
        let folder = tempfile::tempdir().unwrap();
        let path = copy(&folder);
        killed(maintenance(&path, "--restore", &backup), whole, &mut random);
        Server::start(&path).stop();
        let found = count(&path);
        assert!(found == VERSIONS || found == VERSIONS / 2, "{found}");
        restored += u32::from(found == VERSIONS);
        is_sound(&path);
        for name in names(folder.path()) {
            let kept = name.starts_with("registry.db.before-restore-");
            // SQLite takes a journal that begins with a zero, or is empty, for none, and leaves it; so it does with an empty
            // WAL. It makes the index of a WAL again whenever the file is opened.
            let begin = fs::read(folder.path().join(&name)).unwrap().first().copied();
            let unused = match name.strip_prefix("registry.db-") {
                Some("journal") => begin.is_none_or(|byte| byte == 0),
                Some("wal") => begin.is_none(),
                Some("shm") => true,
                _ => false,
            };
            assert!(name == "registry.db" || kept || unused || name.starts_with(".registry-"), "{name}");
            if kept {
                assert_eq!(count(&folder.path().join(&name)), VERSIONS / 2, "the copy that is kept is whole");
            }
        }
        // It can be repeated.
        time(maintenance(&path, "--restore", &backup));
        assert_eq!(count(&path), VERSIONS);
    }
    println!("{KILLS} restores killed within {whole:?}: {restored} were restored");
}

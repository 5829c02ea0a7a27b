//! Copies: under load, of old files, onto other files, interrupted, and on a full disk; and making files smaller.

use super::*;
use crate::server::signal;

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
            wait_until("writes continue", || acknowledged.lock().unwrap().len() >= before + 20);
            before = acknowledged.lock().unwrap().len();
            let path = at(&folder, &format!("{number}.db"));
            let report = done(back_up(&server.db_path(), &path));
            assert_eq!(report["backup"]["size_bytes"], fs::metadata(&path).unwrap().len());
            held.push((path, before));
        }
        ending.store(true, Ordering::SeqCst);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(names(folder.path()).len(), BACKUPS, "one file each: {:?}", names(folder.path()));

    for (backup, before) in held {
        let fresh = tempfile::tempdir().unwrap();
        let report = done(with(maintenance(&at(&fresh, "registry.db"), ["--check"]), "--restore", &backup));
        assert_eq!((&report["check"]["ok"], &report["check"]["warning_count"]), (&json!(true), &json!(0)));
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
fn a_backup_over_the_database_or_over_another_file_is_refused() {
    let folder = database();
    let path = at(&folder, "registry.db");
    symlink(&path, at(&folder, "link")).unwrap();
    symlink("registry.db-journal", at(&folder, "to journal")).unwrap();
    fs::hard_link(&path, at(&folder, "twin")).unwrap();
    fs::write(at(&folder, "model.pt"), "weights").unwrap();
    fs::create_dir(at(&folder, "sub")).unwrap();
    fs::write(at(&folder, "sub-journal"), "a folder is refused as a folder, whatever files have its name")
        .unwrap();
    Connection::open(at(&folder, "other.db")).unwrap().execute_batch("CREATE TABLE precious (x)").unwrap();
    fs::copy(&path, at(&folder, "cut.db")).unwrap();
    File::options().write(true).open(at(&folder, "cut.db")).unwrap().set_len(5000).unwrap();
    fs::copy(&path, at(&folder, "used.db")).unwrap();
    fs::write(at(&folder, "used.db-wal"), "log").unwrap();
    assert!(Command::new("mkfifo").arg(at(&folder, "fifo")).status().unwrap().success());
    let before = names(folder.path());
    let other = fs::read(at(&folder, "other.db")).unwrap();
    for (name, code, expected) in [
        ("registry.db", 2, "belongs to the database itself"),
        ("link", 2, "belongs to the database itself"),
        ("twin", 2, "belongs to the database itself"),
        ("registry.db-wal", 2, "belongs to the database itself"),
        ("sub/../registry.db-shm", 2, "belongs to the database itself"),
        ("registry.db-journal", 2, "belongs to the database itself"),
        ("to journal", 2, "belongs to the database itself"),
        ("model.pt", 1, "not a registry database, so it is not replaced"),
        ("other.db", 1, "not a registry database, so it is not replaced"),
        ("cut.db", 1, "not a registry database, so it is not replaced"),
        ("used.db", 1, "there is a "),
        ("sub", 1, "is a directory"),
        ("/dev/null", 1, "is a device"),
        ("fifo", 1, "is a FIFO"),
        ("none/b.db", 1, "there is no folder"),
        ("", 1, "is a directory"),
    ] {
        let refused = Ran::of(&mut back_up(&path, &at(&folder, name))).failed(code);
        assert!(refused.contains(expected), "{name}: {refused}");
    }
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::read(at(&folder, "model.pt")).unwrap(), b"weights");
    assert_eq!(fs::read(at(&folder, "other.db")).unwrap(), other);
}

#[test]
fn a_backup_replaces_an_older_one_and_is_no_more_readable_than_the_database() {
    let folder = database();
    let (database, backup) = (at(&folder, "registry.db"), at(&folder, "b.db"));
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    done(back_up(&database, &backup));
    Connection::open(&database).unwrap().execute("DELETE FROM models WHERE id = 3", []).unwrap();
    let ran = Ran::of(&mut back_up(&database, &backup));
    assert!(ran.code == 0 && ran.stdout.contains("verified"), "{ran:?}");
    assert_eq!(count(&backup, "SELECT count(*) FROM models"), 2);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    // In a folder that is not writable it can still be read, because it has no WAL.
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
        old.execute_batch(OLD_EVENTS).unwrap();
        old.pragma_update(None, "journal_mode", if log { "WAL" } else { "DELETE" }).unwrap();
        drop(old);
        let (before, touched) = (snapshot(folder.path()), fs::metadata(&path).unwrap().modified().unwrap());
        let report = done(with(maintenance(&path, ["--check"]), "--backup", &at(&elsewhere, "b.db")));
        assert_eq!((&report["check"]["schema_version"], &report["check"]["models"]), (&json!(2), &json!(2)));
        let warnings = report["check"]["warnings"].to_string();
        for expected in [
            "its schema is older (2, not 502)",
            "1 row of model_events refers to no row of models",
            "\\\"m\\\" has 2 production versions",
            "start `registry serve` on it once, which corrects this",
        ] {
            assert!(warnings.contains(expected), "{expected}: {warnings}");
        }
        assert_eq!(snapshot(folder.path()), before);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), touched);
        let fresh = tempfile::tempdir().unwrap();
        done(restore(&at(&fresh, "registry.db"), &at(&elsewhere, "b.db")));
        let server = Server::start_in(fresh);
        assert_eq!(server.get("/models/1")["artifact_uri"], "legacy:1");
        let report = done(maintenance(&server.db_path(), ["--check"]));
        assert_eq!(report["check"]["errors"], json!([]), "the faults that an upgrade repairs are repaired");
    }
}

#[test]
fn impossible_requests_are_errors_and_a_missing_database_is_never_created() {
    let folder = tempfile::tempdir().unwrap();
    let database = at(&folder, "registry.db");
    for arguments in [&["--check"][..], &["--vacuum"], &["--optimize"]] {
        let refused = Ran::of(&mut maintenance(&database, arguments.iter().copied())).failed(1);
        assert!(refused.contains("does not exist"), "{refused}");
        let ran = Ran::of(&mut maintenance(&database, arguments.iter().copied().chain(["--json"])));
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["db_path"], database.to_str().unwrap());
        assert!(
            report["error"].as_str().unwrap().contains("does not exist"),
            "the JSON contains the error: {report}"
        );
    }
    Ran::of(&mut back_up(&database, &at(&folder, "b.db"))).failed(1);
    assert!(names(folder.path()).is_empty());
    let refused = Ran::of(&mut maintenance(&database, [])).failed(2);
    assert!(refused.contains("give --backup FILE"), "{refused}");
    let both = with(restore(&database, &at(&folder, "b.db")), "--backup", &at(&folder, "c.db"));
    assert_eq!(Ran::of(&mut { both }).code, 2);
    // The variable names the database, as for the server.
    let ran = Ran::of(registry(["maintenance", "--check"]).env("CAIA_REGISTRY_DB_PATH", &database));
    assert!(ran.failed(1).contains("registry.db does not exist"));
}

#[test]
fn a_vacuum_and_an_optimize_are_refused_beside_a_server_and_work_once_it_has_ended() {
    let server = Server::start();
    let text = "x".repeat(100_000);
    for version in 0..20 {
        let body = json!({"name": "m", "version": version.to_string(), "artifact_uri": "s3://b", "description": text});
        server.post("/models", &body);
    }
    for id in 2..=20 {
        server.send("PATCH", &format!("/models/{id}"), KEY, Some(&json!({"description": "short"})));
    }
    let elsewhere = tempfile::tempdir().unwrap();
    for action in ["--vacuum", "--optimize"] {
        let backup = at(&elsewhere, &format!("{action}.db"));
        let ran = Ran::of(&mut with(maintenance(&server.db_path(), [action, "--json"]), "--backup", &backup));
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(
            report["backup"]["pages"].as_u64().unwrap() > 0,
            "the action before it is reported: {report}"
        );
        let error = report["error"].as_str().unwrap();
        assert!(error.contains("is in use by process ") && error.contains("registry serve"), "{error}");
    }
    server.post("/models/1/promote", &json!(null));
    server.signal("TERM");
    let folder = server.ended().folder;
    let path = at(&folder, "registry.db");
    let report = done(maintenance(&path, ["--vacuum", "--optimize", "--check"]));
    let size = |when: &str| report["vacuum"][format!("size_bytes_{when}")].as_u64().unwrap();
    assert!(size("before") > 1_900_000 && size("after") < 400_000, "{report}");
    assert!(report["optimize"]["ran"].is_array() && report["check"]["ok"] == true, "{report}");
    assert_eq!(names(folder.path()), ["registry.db"]);
}

/// Returns a locked database, and a backup of it that waits and has already created its temporary file.
fn waiting(folder: &TempDir) -> (Connection, Child, PathBuf) {
    waiting_as(folder, |command| command)
}

/// Returns the same with a command that `change` has wrapped.
fn waiting_as(folder: &TempDir, change: impl FnOnce(Command) -> Command) -> (Connection, Child, PathBuf) {
    let path = at(folder, "registry.db");
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch(OLD).unwrap();
    let to = at(folder, "to");
    fs::create_dir(&to).unwrap();
    let backup = to.join("b.db");
    done(back_up(&path, &backup));
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut command = change(back_up(&path, &backup));
    command
        .env("CAIA_REGISTRY_SQLITE_BUSY_TIMEOUT_MS", "600000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("it has begun", || names(&to).len() == 2);
    (holder, child, to)
}

#[test]
fn a_signal_ends_a_backup_and_leaves_only_the_old_one() {
    for name in ["INT", "TERM", "HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let (_holder, child, to) = waiting(&folder);
        let old = fs::read(to.join("b.db")).unwrap();
        signal(child.id(), name);
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(130), 0), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("its changes were undone"), "{ended:?}");
        assert_eq!(names(&to), ["b.db"]);
        assert_eq!(fs::read(to.join("b.db")).unwrap(), old);
    }
}

#[test]
fn a_closed_terminal_ends_a_backup_in_order_but_not_under_nohup() {
    let folder = tempfile::tempdir().unwrap();
    let (_holder, mut child, to) = waiting(&folder);
    while child.try_wait().unwrap().is_none() {
        signal(child.id(), "HUP");
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(&to), ["b.db"]);

    let folder = tempfile::tempdir().unwrap();
    let (holder, child, _) = waiting_as(&folder, |command| {
        let mut ignoring = Command::new("sh");
        ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(command.get_program());
        ignoring.args(command.get_args());
        ignoring
    });
    signal(child.id(), "HUP");
    holder.execute_batch("COMMIT").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "{ended:?}");
}

#[test]
fn a_signal_between_two_actions_names_the_cancelled_one_and_keeps_the_other() {
    let (folder, to) = (database(), tempfile::tempdir().unwrap());
    let path = at(&folder, "registry.db");
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE").unwrap();
    let mut command = with(maintenance(&path, ["--vacuum"]), "--backup", &at(&to, "b.db"));
    command
        .env("CAIA_REGISTRY_SQLITE_BUSY_TIMEOUT_MS", "600000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("the backup is made", || names(to.path()) == ["b.db"]);
    signal(child.id(), "INT");
    let ended = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.code() == Some(130) && stdout.starts_with("backed up"), "{ended:?}");
    assert!(
        stderr.contains("the vacuum was cancelled") && stderr.contains("the actions before it are done"),
        "{stderr}"
    );
    assert_eq!(count(&at(&to, "b.db"), "SELECT count(*) FROM models"), 3);
}

#[test]
fn a_killed_backup_leaves_the_old_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (_holder, mut child, to) = waiting(&folder);
    let old = fs::read(to.join("b.db")).unwrap();
    signal(child.id(), "KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(fs::read(to.join("b.db")).unwrap(), old);
}

#[test]
fn a_backup_that_fails_halfway_leaves_only_the_old_one() {
    let folder = database();
    let (path, backup) = (at(&folder, "registry.db"), at(&folder, "b.db"));
    done(back_up(&path, &backup));
    let old = fs::read(&backup).unwrap();
    let grown = Connection::open(&path).unwrap();
    grown.execute_batch("CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(4 << 20))").unwrap();
    drop(grown);
    let mut command = Command::new("sh");
    // A write beyond this many blocks fails, as on a full disk.
    command.args(["-c", "ulimit -f 1024; exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_registry")).args(["maintenance", "--db-path"]).arg(&path);
    command.arg("--backup").arg(&backup);
    let refused = Ran::of(&mut command).failed(1);
    assert!(refused.contains("disk"), "{refused}");
    assert_eq!(fs::read(&backup).unwrap(), old);
    assert_eq!(names(folder.path()), ["b.db", "registry.db"]);
}

//! Restoring: never under a server, never from a damaged backup, never with the WAL of another database.

use model_registry::store::sqlite::SCHEMA_VERSION;

use super::*;

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
    assert!(refused.contains("is in use by process ") && refused.contains("stop that one"), "{refused}");
    assert_eq!(snapshot(&folder), before);
    assert_eq!(server.get("/stats")["total_models"], 2, "the server is served on");

    server.signal("TERM");
    let folder = server.ended().folder;
    let database = at(&folder, "registry.db");
    let report = done(restore(&database, &backup));
    assert_eq!(count(&database, "SELECT count(*) FROM models"), 1);
    let kept = PathBuf::from(report["restore"]["kept_as"][0].as_str().unwrap());
    assert!(kept.to_str().unwrap().contains("registry.db.before-restore-"), "{kept:?}");
    assert_eq!(count(&kept, "SELECT count(*) FROM models"), 2, "nothing is lost");
    assert_eq!(names(folder.path()).len(), 2);
    let server = Server::start_in(folder);
    assert_eq!(server.get("/stats")["total_models"], 1);
    assert_eq!(
        server.post("/models", &json!({"name": "m", "version": "2", "artifact_uri": "s3://b"}))["id"],
        2
    );
}

#[test]
fn a_restore_is_refused_while_a_server_serves_a_file_that_was_moved_away() {
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
    let away = folder.join("away.db");
    fs::rename(server.db_path(), &away).unwrap();
    let before = names(&folder);
    let refused = Ran::of(&mut restore(&server.db_path(), &backup)).failed(5);
    assert!(refused.contains("is in use by process "), "{refused}");
    assert_eq!(names(&folder), before, "its WAL stays under its old name");

    // So nothing that it acknowledged since the backup is lost; it accepts no more writes.
    server.signal("TERM");
    let folder = server.ended().folder;
    let report = done(with(maintenance(&at(&folder, "registry.db"), ["--check"]), "--restore", &backup));
    assert_eq!(report["check"]["models"], 1);
    let log = names(folder.path()).into_iter().find(|name| name.ends_with("Z-wal")).unwrap();
    fs::rename(at(&folder, &log), at(&folder, "away.db-wal")).unwrap();
    assert_eq!(count(&at(&folder, "away.db"), "SELECT count(*) FROM models"), 2);
}

#[test]
fn the_wal_of_a_crash_is_never_applied_to_the_restored_database() {
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
        let report = done(with(maintenance(&database, ["--check"]), "--restore", &backup));
        assert_eq!(report["check"]["models"], 3);
        assert!(!at(&left, "registry.db-wal").exists());
        assert_eq!(count(&database, "SELECT count(*) FROM models"), 3);
        let kept = PathBuf::from(report["restore"]["kept_as"][0].as_str().unwrap());
        if is_there {
            assert_eq!(
                count(&kept, "SELECT count(*) FROM models"),
                1,
                "the WAL was merged into the kept file"
            );
        } else {
            assert!(kept.to_str().unwrap().ends_with("-wal"), "{kept:?}");
            assert!(fs::metadata(kept).unwrap().len() > 0, "the rest of it is kept");
        }
    }
}

#[test]
fn each_kept_file_has_the_name_of_the_database() {
    let folder = database();
    let run = |arguments: &[&str]| {
        let mut command = registry(["maintenance"]);
        Ran::of(command.args(arguments).current_dir(folder.path()))
    };
    assert_eq!(run(&["--db-path", "registry.db", "--backup", "b.db"]).code, 0);
    for left in [&["registry.db"][..], &["other.db-wal", "other.db-journal"]] {
        for name in left.iter().filter(|name| **name != "registry.db") {
            fs::write(at(&folder, name), "left behind").unwrap();
        }
        let name = left[0].trim_end_matches("-wal");
        let ran = run(&["--db-path", name, "--restore", "b.db"]);
        let (_, kept) = ran.stdout.split_once("the old database is kept as ").unwrap();
        let kept: Vec<_> = kept.trim_end().split(" and ").collect();
        assert_eq!(kept.len(), left.len(), "{ran:?}");
        for kept in kept {
            assert!(kept.starts_with(&format!("{name}.before-restore-")), "{kept}");
            assert!(at(&folder, kept).exists(), "{kept}");
        }
    }
    let report = done(restore(&at(&folder, "fresh.db"), &at(&folder, "b.db")));
    assert_eq!(report["restore"]["kept_as"], json!([]));
}

#[test]
fn an_unusable_backup_is_not_restored_and_changes_nothing() {
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
        (bad("text.db", &|path| fs::write(path, "no database at all").unwrap()), "is not a SQLite file"),
        (bad("empty.db", &|path| fs::write(path, "").unwrap()), "not a registry's"),
        (
            bad("newer.db", &|path| {
                let newer = SCHEMA_VERSION + 1;
                Connection::open(path).unwrap().pragma_update(None, "user_version", newer).unwrap()
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
        (elsewhere.path().to_owned(), "not a regular file"),
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
    // Not a page of the schema, without which nothing can be checked; a page begins with its header.
    let events = count(&database, "SELECT rootpage FROM sqlite_schema WHERE name = 'model_events'");
    flip(&database, (events as u64 - 1) * 4096, 2048);
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

    // A file that can't be opened can't be kept as a database either.
    fs::write(&database, "overwritten with something that is not a database").unwrap();
    let refused = Ran::of(&mut restore(&database, &backup)).failed(1);
    assert!(refused.contains("move it away yourself"), "{refused}");
}

#[test]
fn dangling_links_are_followed_in_backup_and_restore() {
    let (folder, links) = (database(), tempfile::tempdir().unwrap());
    for (link, target) in [("backup", "b.db"), ("database", "other.db")] {
        symlink(at(&folder, target), at(&links, link)).unwrap();
    }
    fs::write(at(&folder, "other.db-wal"), "left behind").unwrap();
    done(back_up(&at(&folder, "registry.db"), &at(&links, "backup")));
    done(with(maintenance(&at(&links, "database"), ["--check"]), "--restore", &at(&folder, "b.db")));
    assert_eq!(count(&at(&folder, "other.db"), "SELECT count(*) FROM models"), 3);
    assert_eq!(names(links.path()), ["backup", "database"]);
    for link in names(links.path()) {
        assert!(fs::symlink_metadata(at(&links, &link)).unwrap().is_symlink(), "{link}");
    }
}

#[test]
fn a_restore_that_fails_halfway_leaves_only_the_unchanged_database() {
    let folder = database();
    let (database, backup) = (at(&folder, "registry.db"), at(&folder, "b.db"));
    done(back_up(&database, &backup));
    let grown = Connection::open(&backup).unwrap();
    grown.execute_batch("CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(4 << 20))").unwrap();
    grown.execute("DELETE FROM models WHERE id = 3", []).unwrap();
    drop(grown);
    let restoring = restore(&database, &backup);
    let mut limited = Command::new("sh");
    // A write beyond this many blocks fails, as on a full disk.
    limited.args(["-c", "ulimit -f 1024; exec \"$@\"", "sh"]);
    let refused = Ran::of(limited.arg(restoring.get_program()).args(restoring.get_args())).failed(1);
    assert!(refused.contains("disk"), "{refused}");
    assert_eq!(count(&database, "SELECT count(*) FROM models"), 3);
    assert_eq!(names(folder.path()), ["b.db", "registry.db"]);
}

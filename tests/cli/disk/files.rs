//! The database's files: served twice, under two names, moved away, replaced or deleted.

use super::*;

#[test]
fn a_second_server_on_a_database_is_refused_under_any_name_and_the_error_names_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let db_path = folder.path().join("registry.db");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink("registry.db", &link).unwrap();
    let server = start(&link);
    for name in [&db_path, &link] {
        let line = refused_start(name);
        assert!(
            line.contains("is in use by process ") && line.contains("(registry serve --port 0"),
            "{line}"
        );
        assert!(
            line.contains("one process owns a SQLite file at a time") && line.contains("PostgreSQL"),
            "{line}"
        );
    }
    assert_eq!(register(&server, "served on").status, 200);
    end(server, "KILL");
    let server = start(&db_path);
    assert_eq!(total(&server), 1, "a killed owner leaves no lock");
    end(server, "TERM");
    assert!(!folder.path().join("registry.db.lock").exists());
}

#[test]
fn a_database_with_two_names_is_refused_since_each_would_have_its_own_wal() {
    let folder = tempfile::tempdir().unwrap();
    let (db_path, twin) = (folder.path().join("registry.db"), folder.path().join("twin.db"));
    let server = start(&db_path);
    assert_eq!(register(&server, "first").status, 200);
    end(server, "TERM");
    fs::hard_link(&db_path, &twin).unwrap();
    for name in [&db_path, &twin] {
        let line = refused_start(name);
        assert!(line.contains("has 2 names (hard links)"), "{line}");
        let check = ["maintenance", "--check", "--db-path", name.to_str().unwrap()];
        assert!(Ran::of(&mut registry(check)).failed(1).contains("has 2 names"));
    }
    fs::remove_file(&twin).unwrap();
    assert_eq!(total(&start(&db_path)), 1);
}

#[test]
fn a_database_that_is_moved_away_or_replaced_accepts_no_writes_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let [db_path, log] = ["registry.db", "registry.db-wal"].map(|name| home.join(name));
    let server = start(&db_path);
    assert_eq!(register(&server, "first").status, 200);
    let away = folder.path().join("away");
    let mut kept = vec!["first".to_owned()];
    for (place, moved) in [&db_path, &home, &log].into_iter().enumerate() {
        for replaced in [false, true] {
            fs::rename(moved, &away).unwrap();
            if replaced && moved != &home {
                fs::copy(&away, moved).unwrap();
            }
            let refused = register(&server, "lost");
            assert!(refused.status == 503 && refused.retry_after, "{refused:?}");
            let detail = refused.detail();
            assert!(detail.contains("moved, deleted or replaced") && !detail.contains("home"), "{detail}");
            assert_eq!(total(&server), kept.len() as u64, "reads continue");
            // The server caches the answer for a second, so not in each round.
            if !replaced {
                assert!(ready(&server, 503).detail().contains("moved, deleted or replaced"));
            }
            fs::rename(&away, moved).unwrap();
            let name = format!("back-{place}-{replaced}");
            assert_eq!(register(&server, &name).status, 200, "without a restart");
            kept.push(name);
        }
    }
    ready(&server, 200);
    end(server, "KILL");
    assert_eq!(names(&db_path), kept);
}

#[test]
fn acknowledged_writes_survive_a_deleted_wal() {
    let folder = tempfile::tempdir().unwrap();
    let db_path = folder.path().join("registry.db");
    let server = start(&db_path);
    for place in 0..20 {
        assert_eq!(register(&server, &format!("m{place}")).status, 200);
    }
    fs::remove_file(folder.path().join("registry.db-wal")).unwrap();
    let refused = register(&server, "refused");
    assert!(refused.status == 503 && refused.detail().contains("write-ahead log"), "{refused:?}");
    end(server, "KILL");
    // Now only the database file is left.
    fs::remove_file(folder.path().join("registry.db-shm")).unwrap();
    assert_eq!(names(&db_path).len(), 20);
}

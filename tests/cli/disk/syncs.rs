//! Syncs that fail, at commits and at checkpoints.

use super::*;

/// Returns the library that makes syncs fail; `None` if it can't be built.
fn faulty_disk(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("faulty_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/faulty_disk.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    if !built.is_ok_and(|built| built.success()) {
        left_out("there is no C compiler for the library that makes syncs fail");
        return None;
    }
    Some(library)
}

#[test]
fn a_write_whose_sync_failed_is_refused_and_no_crash_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let (db_path, control) = (folder.path().join("registry.db"), folder.path().join("fault"));
    let start = || {
        start_with(&db_path, |command| {
            command.env("LD_PRELOAD", &library).env("FAULTY_DISK", &control);
        })
    };
    let mut kept = Vec::new();
    for round in 0..3 {
        let server = start();
        let name = format!("kept-{round}");
        assert_eq!(register(&server, &name).status, 200);
        kept.push(name);
        fs::write(control.with_extension("once"), "").unwrap();
        let refused = register(&server, &format!("refused-{round}"));
        assert!(refused.status == 503 && refused.retry_after, "{refused:?}");
        let detail = refused.detail();
        assert!(detail.contains("syncing failed") && detail.contains("nothing was changed"), "{detail}");
        assert_eq!(total(&server), kept.len() as u64);
        if round == 1 {
            let name = format!("next-{round}");
            assert_eq!(register(&server, &name).status, 200, "without a restart");
            kept.push(name);
        }
        end(server, "KILL");
        assert_eq!(names(&db_path), kept, "round {round}");
    }
}

#[test]
fn a_write_in_doubt_is_answered_as_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let (db_path, control) = (folder.path().join("registry.db"), folder.path().join("fault"));
    let server = start_with(&db_path, |command| {
        command.env("LD_PRELOAD", &library).env("FAULTY_DISK", &control);
    });
    assert_eq!(register(&server, "kept").status, 200);
    fs::write(control.with_extension("always"), "").unwrap();
    for _ in 0..3 {
        let doubtful = register(&server, "doubtful");
        assert!(doubtful.status == 503 && !doubtful.retry_after, "{doubtful:?}");
        assert!(doubtful.detail().contains("it is not known if this write was kept"), "{doubtful:?}");
        assert_eq!(total(&server), 1, "it is not visible now");
    }
    assert!(ready(&server, 503).detail().contains("syncing failed"));
    fs::remove_file(control.with_extension("always")).unwrap();
    assert_eq!(register(&server, "next").status, 200, "without a restart");
    ready(&server, 200);
    end(server, "KILL");
    assert_eq!(names(&db_path), ["kept", "next"], "the next write has replaced it");
}

#[test]
fn after_a_checkpoint_that_could_not_be_synced_the_wal_is_kept_whole_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let (db_path, control) = (folder.path().join("registry.db"), folder.path().join("fault"));
    let wal = folder.path().join("registry.db-wal");
    let start = || {
        start_with(&db_path, |command| {
            command.env("LD_PRELOAD", &library).env("FAULTY_DISK", &control);
        })
    };
    let failed = |server: &Server| {
        let request = ureq::get(format!("{}/metrics", server.url)).header("X-API-Key", KEY).call();
        let page = request.unwrap().body_mut().read_to_string().unwrap();
        !page.contains("registry_checkpoints_failed_total 0")
    };
    let server = start();
    fs::write(control.with_extension("database"), "").unwrap();
    let mut kept = 0;
    while !failed(&server) {
        assert!(kept < 3000, "no checkpoint is tried");
        for _ in 0..50 {
            assert_eq!(register(&server, &format!("m{kept}")).status, 200, "commits continue");
            kept += 1;
        }
    }
    fs::remove_file(control.with_extension("database")).unwrap();
    for _ in 0..300 {
        assert_eq!(register(&server, &format!("m{kept}")).status, 200);
        kept += 1;
    }
    let before = fs::metadata(&wal).unwrap().len();
    let log = end(server, "TERM");
    assert!(log.contains("the write-ahead log is kept whole and grows from now on"), "{log}");
    assert!(fs::metadata(&wal).unwrap().len() >= before, "no part of it was dropped");

    let server = start();
    assert_eq!(total(&server), kept);
    end(server, "TERM");
    assert!(!wal.exists(), "the whole WAL was checkpointed");
    assert_eq!(names(&db_path).len() as u64, kept);
}

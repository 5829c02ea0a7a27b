//! Maintenance below the commands: writes between two steps of a copy, and refused owners.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use model_registry::{
    domain::Draft,
    store::{
        ReadStore,
        sqlite::{
            DatabaseLock, LockError, OpenError, Options, SqliteReader, SqliteWriter,
            maintenance::{MaintenanceError, Progress, Source, Stage, Watch, merge_wal, optimize, vacuum},
        },
    },
};
use tempfile::TempDir;

use crate::{add, now, options};

fn register(writer: &mut SqliteWriter, version: &str) {
    let mut draft = Draft::named("m", version).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    add(writer, draft).unwrap();
}

fn total(path: &Path) -> u64 {
    SqliteReader::open(&options(path)).unwrap().stats().unwrap().total_models
}

/// Returns a database with one version and more pages than one step copies.
fn large(folder: &TempDir) -> (Options, SqliteWriter) {
    let options = options(folder.path().join("registry.db"));
    let mut writer = SqliteWriter::open(&options, now()).unwrap();
    register(&mut writer, "1");
    let filler = rusqlite::Connection::open(&options.path).unwrap();
    filler.execute_batch("CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(50000000))").unwrap();
    (options, writer)
}

fn empty(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("copy.db");
    std::fs::write(&path, "").unwrap();
    path
}

#[test]
fn a_copy_is_a_snapshot_and_does_not_restart_during_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (options, writer) = large(&folder);
    let writer = Mutex::new((writer, 0));
    let reports: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let watch = Watch::new(|| false, {
        let reports = Arc::clone(&reports);
        move |progress| {
            if progress.stage == Stage::Copying {
                reports.lock().unwrap().push(progress);
                let (writer, number) = &mut *writer.lock().unwrap();
                *number += 1;
                register(writer, &format!("during {number}"));
            }
        }
    });
    let source = Source::open(&options, &watch).unwrap();
    let copied = source.copy_to(&empty(&folder), &watch).unwrap();
    let reports = reports.lock().unwrap();
    assert!(reports.len() >= 3, "several steps: {reports:?}");
    assert!(reports.windows(2).all(|pair| pair[0].done < pair[1].done), "it never begins again: {reports:?}");
    assert_eq!(
        (reports.last().unwrap().done, reports.last().unwrap().total),
        (copied.size_bytes, copied.size_bytes)
    );
    assert_eq!(total(&folder.path().join("copy.db")), 1);
    assert_eq!(total(&options.path), 1 + reports.len() as u64);
}

#[test]
fn a_server_and_maintenance_refuse_to_start_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path().join("registry.db"));
    let watch = Watch::new(|| false, |_| {});
    let mut writer = SqliteWriter::open(&options, now()).unwrap();
    register(&mut writer, "1");
    let is_owned = |error: &LockError| matches!(error, LockError::Owned { .. });
    assert!(is_owned(&DatabaseLock::acquire(&options).unwrap_err()));
    for refused in [vacuum(&options, &watch).map(drop), optimize(&options, &watch).map(drop)] {
        assert!(matches!(&refused, Err(MaintenanceError::Lock(error)) if is_owned(error)), "{refused:?}");
    }
    assert_eq!(Source::open(&options, &watch).unwrap().check(&watch).unwrap().models, 1, "reading continues");
    drop(writer);

    let lock = DatabaseLock::acquire(&options).unwrap();
    let refused = SqliteWriter::open(&options, now()).map(drop).unwrap_err();
    assert!(matches!(&refused, OpenError::Lock(error) if is_owned(error)), "{refused}");
    // A program that knows nothing of the lock is noticed by SQLite's own.
    let other = rusqlite::Connection::open(&options.path).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM models").unwrap();
    let short = Options { busy_timeout: Duration::from_millis(50), ..options.clone() };
    let refused = merge_wal(&short, &watch, &lock);
    assert!(matches!(refused, Err(MaintenanceError::Busy { .. })), "{refused:?}");
    drop(other);
    merge_wal(&short, &watch, &lock).unwrap();
    drop(lock);
    SqliteWriter::open(&options, now()).unwrap();
    assert_eq!(total(&options.path), 1);
}

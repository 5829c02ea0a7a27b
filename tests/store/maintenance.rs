//! What the commands can't show: what happens between two steps of a copy, and who may come in meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use model_registry::{
    domain::{Draft, Timestamp},
    store::{
        ReadStore, WriteStore,
        sqlite::{
            OpenError, Options, SqliteReader, SqliteWriter, Synchronous,
            maintenance::{Exclusive, MaintenanceError, Progress, Source, Stage, Watch},
        },
    },
};
use tempfile::TempDir;

fn options(path: impl Into<PathBuf>) -> Options {
    Options { path: path.into(), busy_timeout: Duration::from_secs(30), synchronous: Synchronous::Normal }
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-31 13:05:09.250").unwrap()
}

fn register(writer: &mut SqliteWriter, version: &str) {
    let mut draft = Draft::named("m", version).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    writer.insert(draft, now()).unwrap();
}

fn total(path: &Path) -> u64 {
    SqliteReader::open(&options(path)).unwrap().stats().unwrap().total_models
}

/// A database with one version and more pages than one step copies.
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
fn a_copy_is_of_one_moment_and_is_not_begun_again_however_much_is_written_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (options, writer) = large(&folder);
    let writer = Mutex::new((writer, 0));
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let watch = Watch::new(|| false, {
        let told = Arc::clone(&told);
        move |progress| {
            if progress.stage == Stage::Copying {
                told.lock().unwrap().push(progress);
                let (writer, number) = &mut *writer.lock().unwrap();
                *number += 1;
                register(writer, &format!("meanwhile {number}"));
            }
        }
    });
    let source = Source::open(&options, &watch).unwrap();
    let copied = source.copy_to(&empty(&folder), &watch).unwrap();
    let told = told.lock().unwrap();
    assert!(told.len() >= 3, "several steps: {told:?}");
    assert!(told.windows(2).all(|pair| pair[0].done < pair[1].done), "it never begins again: {told:?}");
    assert_eq!(
        (told.last().unwrap().done, told.last().unwrap().total),
        (copied.size_bytes, copied.size_bytes)
    );
    assert_eq!(total(&folder.path().join("copy.db")), 1);
    assert_eq!(total(&options.path), 1 + told.len() as u64);
}

#[test]
fn a_server_that_starts_while_a_copy_is_put_back_waits_and_finds_the_restored_database() {
    let folder = tempfile::tempdir().unwrap();
    let (large, writer) = large(&folder);
    drop(writer);
    let target = options(folder.path().join("target.db"));
    let mut writer = SqliteWriter::open(&target, now()).unwrap();
    for version in ["1", "2", "3"] {
        register(&mut writer, version);
    }
    let watch = Watch::new(|| false, |_| {});
    let short = Options { busy_timeout: Duration::from_millis(50), ..target.clone() };
    let held = Exclusive::open(&short, &watch);
    assert!(matches!(held, Err(MaintenanceError::Held { .. })), "an idle writer is noticed: {held:?}");
    drop(writer);

    let source = Source::open(&large, &watch).unwrap();
    let exclusive = Exclusive::open(&target, &watch).unwrap();
    assert!(matches!(SqliteWriter::open(&short, now()), Err(OpenError::Locked { .. })));
    thread::scope(|scope| {
        let (started, seen) = std::sync::mpsc::channel();
        let opener = scope.spawn({
            let target = target.clone();
            move || {
                started.send(()).unwrap();
                SqliteWriter::open(&target, now()).map(drop).unwrap();
                total(&target.path)
            }
        });
        seen.recv().unwrap();
        exclusive.replace_with(&source, &watch).unwrap();
        assert_eq!(opener.join().unwrap(), 1);
    });
    assert_eq!(total(&target.path), 1);
}

#[test]
fn what_is_given_up_in_the_middle_leaves_the_database_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (large, writer) = large(&folder);
    drop(writer);
    let target = options(folder.path().join("target.db"));
    let mut writer = SqliteWriter::open(&target, now()).unwrap();
    register(&mut writer, "1");
    register(&mut writer, "2");
    drop(writer);
    let cancelled = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(
        {
            let cancelled = Arc::clone(&cancelled);
            move || cancelled.load(Ordering::SeqCst)
        },
        move |progress| {
            if progress.stage == Stage::Copying && progress.done > 0 {
                cancelled.store(true, Ordering::SeqCst);
            }
        },
    );
    let source = Source::open(&large, &watch).unwrap();
    let exclusive = Exclusive::open(&target, &watch).unwrap();
    let given_up = exclusive.replace_with(&source, &watch);
    assert!(matches!(given_up, Err(MaintenanceError::Interrupted)), "{given_up:?}");
    drop(source);
    assert_eq!(total(&target.path), 2);
    assert!(!folder.path().join("target.db-journal").exists());
}

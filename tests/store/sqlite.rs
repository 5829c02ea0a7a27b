//! Only for SQLite: opening, upgrading, the WAL.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use model_registry::{
    domain::{
        Draft, Force, LabelReuse, ListQuery, Precondition, Timestamp, TrailEvent, Version, VersionRow,
        query::TrailQuery,
    },
    store::{
        Backend as _, Maintenance as _, ReadStore, StoreError, Transaction as _, WriteStore, operations,
        sqlite::{
            LockError, OpenError, Options, SCHEMA_VERSION, Sqlite, SqliteReader, SqliteWriter,
            maintenance::{Source, Watch, purge},
        },
    },
};
use tempfile::TempDir;

use crate::{
    add,
    models::at,
    now, options,
    suite::{self, Fixture},
};

/// The schema of 0.2.0's predecessor.
pub const FIRST_SCHEMA: &str = "CREATE TABLE models (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, \
    version TEXT NOT NULL, status TEXT DEFAULT 'experimental', checkpoint_path TEXT NOT NULL, config_path TEXT, \
    d_model INTEGER, n_layers INTEGER, n_heads INTEGER, vocab_size INTEGER, params INTEGER, \
    training_step INTEGER, training_loss REAL, dataset TEXT, description TEXT, tags TEXT, metrics TEXT, \
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP, UNIQUE(name, version))";

pub struct SqliteFixture {
    pub writer: SqliteWriter,
    pub reader: SqliteReader,
    pub folder: TempDir,
}

impl SqliteFixture {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("registry.db")
    }
}

impl Fixture for SqliteFixture {
    const RANDOM_SEARCHES: u32 = 500;

    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut dyn WriteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.writer.begin(Duration::from_secs(10))?;
        let result = write(&mut self.writer);
        if result.is_ok() {
            self.writer.commit()?;
        } else {
            self.writer.rollback()?;
        }
        result
    }

    fn reader(&mut self) -> &mut dyn ReadStore {
        &mut self.reader
    }
}

pub fn fixture() -> SqliteFixture {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path().join("registry.db"));
    let writer = SqliteWriter::open(&options, now()).unwrap();
    SqliteFixture { writer, reader: SqliteReader::open(&options).unwrap(), folder }
}

/// Returns this second of the day of [`at`].
pub fn at_second(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_769_817_600_000 + second * 1_000)
}

pub fn register_at(
    store: &mut SqliteFixture,
    name: &str,
    label: &str,
    second: i64,
) -> Result<Version, StoreError> {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    at(store, second, |store, context| operations::register(store, draft, LabelReuse::Allowed, context))
}

#[test]
fn sqlite_passes_the_store_suite() {
    suite::run(fixture);
}

/// Every file of a folder with its bytes.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn other_files_are_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text.db"), "this is no database, but a text of more than sixty-four bytes in one line")
        .unwrap();
    fs::write(at("short.db"), "short").unwrap();
    fs::write(at("header.db"), [b"SQLite format 3\0".as_slice(), &[7; 200]].concat()).unwrap();
    let foreign = rusqlite::Connection::open(at("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE songs (title TEXT); CREATE TABLE models (weights BLOB)").unwrap();
    drop(foreign);
    let newer = rusqlite::Connection::open(at("newer.db")).unwrap();
    newer.execute_batch(FIRST_SCHEMA).unwrap();
    newer.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(newer);

    // A foreign database whose last writes are still in its WAL, as a crash leaves it.
    let hot = rusqlite::Connection::open(at("writing.db")).unwrap();
    hot.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE songs (title TEXT)").unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::copy(at(&format!("writing.db{suffix}")), at(&format!("hot.db{suffix}"))).unwrap();
    }
    drop(hot);
    fs::remove_file(at("writing.db")).unwrap();
    let clean = rusqlite::Connection::open(at("clean.db")).unwrap();
    clean.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE songs (title TEXT)").unwrap();
    drop(clean);
    assert!(std::process::Command::new("mkfifo").arg(at("fifo.db")).status().unwrap().success());

    // SQLite rebuilds the -shm file when it opens the WAL; it holds no data.
    let snapshot = |folder: &Path| {
        let mut files = snapshot(folder);
        files.retain(|(path, _)| !path.ends_with("hot.db-shm"));
        files
    };
    let before = snapshot(folder.path());
    for (path, expected) in [
        (at("hot.db"), "but not a registry's"),
        (at("clean.db"), "but not a registry's"),
        (at("fifo.db"), "is not a regular file"),
        (at("text.db"), "is not a SQLite file"),
        (at("short.db"), "is not a SQLite file"),
        (at("header.db"), "newer registry"),
        (at("foreign.db"), "but not a registry's"),
        (at("newer.db"), "use the newer one"),
        (at("none/registry.db"), "does not exist; create it"),
        (folder.path().to_owned(), "is not a regular file"),
        (PathBuf::from("/proc/self/registry.db"), "can't be written"),
    ] {
        let Err(error) = SqliteWriter::open(&options(&path), now()) else { panic!("{path:?} was opened") };
        assert!(error.to_string().contains(expected), "{path:?}: {error}");
    }
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn a_file_locked_by_another_process_is_reported_as_locked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch(FIRST_SCHEMA).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let short = Options { busy_timeout: Duration::from_millis(50), ..options(&path) };
    let error = SqliteWriter::open(&short, now()).err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    other.execute_batch("COMMIT").unwrap();
    SqliteWriter::open(&short, now()).unwrap();
}

#[test]
fn an_old_file_opened_many_times_at_once_is_upgraded_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(FIRST_SCHEMA).unwrap();
        for version in ["1", "2", "3"] {
            old.execute(
                "INSERT INTO models (name, version, checkpoint_path, status) VALUES ('m', ?1, '/data', 'production')",
                [version],
            )
            .unwrap();
        }
        drop(old);
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| SqliteWriter::open(&options(&path), now()).map(drop)))
                .collect();
            let opened: Vec<_> = openers.into_iter().map(|opener| opener.join().unwrap()).collect();
            assert!(opened.iter().any(Result::is_ok), "{opened:?}");
            let mut refused = opened.into_iter().filter_map(Result::err);
            assert!(refused.all(|error| matches!(error, OpenError::Lock(LockError::Owned { .. }))));
        });
        let file = rusqlite::Connection::open(&path).unwrap();
        let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM models WHERE status = 'production'"), 1);
        assert_eq!(count("SELECT count(*) FROM model_events WHERE event_type = 'auto_demote'"), 2);
        assert_eq!(count("PRAGMA user_version"), SCHEMA_VERSION);
    }
}

#[test]
fn an_empty_file_and_an_open_registry_are_opened_and_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    fs::write(&path, "").unwrap();
    drop(SqliteWriter::open(&options(&path), now()).unwrap());
    let before = schema(&path);
    drop(SqliteWriter::open(&options(&path), now()).unwrap());
    // Another tool may set the number; the upgrade then creates the same tables again.
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 0).unwrap();
    drop(SqliteWriter::open(&options(&path), now()).unwrap());
    assert_eq!(schema(&path), before);
}

/// Returns the tables and the indexes of a file.
pub fn schema(path: &Path) -> Vec<(String, Option<String>)> {
    let file = rusqlite::Connection::open(path).unwrap();
    let mut statement = file.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

pub fn expect_sound(options: &Options) {
    let watch = Watch::new(|| false, |_| {});
    let report = Source::open(options, &watch).unwrap().check(&watch).unwrap();
    assert_eq!(report.errors.total, 0, "{report:?}");
}

#[test]
fn a_restored_version_keeps_lists_in_the_order_of_creation() {
    let mut store = fixture();
    // Ids 1 to 6, and the seconds of their creation.
    for (label, second) in [("1", 10), ("2", 50), ("3", 30), ("4", 60), ("5", 20), ("6", 70)] {
        register_at(&mut store, "m", label, second).unwrap();
    }
    let path = options(store.path());
    for deleted in [&[2][..], &[4], &[2, 4], &[2, 3, 4], &[1, 2, 3, 4, 5, 6], &[3, 5]] {
        for backwards in [false, true] {
            for id in deleted {
                at(&mut store, 100, |store, context| {
                    operations::delete(store, *id, Force::All, &Precondition::default(), context)
                })
                .unwrap();
            }
            let mut ids = deleted.to_vec();
            if backwards {
                ids.reverse();
            }
            for id in ids {
                at(&mut store, 100, |store, context| operations::restore(store, id, context)).unwrap();
                expect_sound(&path);
            }
        }
    }
    // A version that was not backdated when it was registered is, once the one before it is restored.
    at(&mut store, 100, |store, context| {
        operations::delete(store, 6, Force::All, &Precondition::default(), context)
    })
    .unwrap();
    register_at(&mut store, "m", "7", 65).unwrap();
    at(&mut store, 100, |store, context| operations::restore(store, 6, context)).unwrap();
    expect_sound(&path);
    let query = ListQuery { name: Some("m".to_owned()), q: Some("m".to_owned()), ..ListQuery::default() };
    let mut ids = Vec::new();
    let visit = &mut |row: VersionRow<'_>| {
        ids.push(row.id);
        ControlFlow::Continue(())
    };
    store.reader.versions(&query, visit).unwrap();
    assert_eq!(ids, [6, 7, 4, 2, 3, 5, 1]);
}

#[test]
fn the_trigger_moves_updated_at_forward_for_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let mut writer = SqliteWriter::open(&options(&path), now()).unwrap();
    let mut draft = Draft::named("m", "1").unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    add(&mut writer, draft).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let updated_at =
        || other.query_row("SELECT updated_at FROM models", [], |row| row.get::<_, String>(0)).unwrap();
    for (was, expected) in [
        ("2999-12-31 23:59:59.999", Some("3000-01-01 00:00:00.000")),
        ("2999-01-01 00:00:00", Some("2999-01-01 00:00:00.001")),
        ("2001-01-01 00:00:00.000", None),
    ] {
        other.execute("UPDATE models SET updated_at = ?1", [was]).unwrap();
        assert_eq!(updated_at(), was, "what is set on purpose stays");
        other.execute("UPDATE models SET description = 'x'", []).unwrap();
        let moved = updated_at();
        assert!(moved.as_str() > was, "{moved} after {was}");
        if let Some(expected) = expected {
            assert_eq!(moved, expected);
        }
    }
}

#[test]
fn a_checkpoint_moves_the_wal_into_the_database_during_other_work() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path().join("registry.db"));
    let (database, mut writer) = Sqlite::open(&options, now()).unwrap();
    let mut maintenance = database.maintenance().unwrap();
    for version in 0..50 {
        let mut draft = Draft::named("m", version.to_string()).unwrap();
        draft.artifact_uri = Some("s3://b".to_owned());
        add(&mut writer, draft).unwrap();
    }
    assert!(writer.wal_pages() > 50);
    assert!(maintenance.run().unwrap());
    // An immutable file is read without its WAL.
    let moved = rusqlite::Connection::open(format!("file:{}?immutable=1", options.path.display())).unwrap();
    let count: u64 = moved.query_row("SELECT count(*) FROM models", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 50);
    writer.truncate_wal().unwrap();
    assert_eq!(writer.wal_pages(), 0);
    let wal = options.files()[1].metadata().unwrap().len();
    assert_eq!(wal, 0, "the WAL is empty");
}

#[test]
fn a_purged_model_leaves_an_event() {
    let mut store = fixture();
    register_at(&mut store, "m", "1", 0).unwrap();
    at(&mut store, 1, |store, context| {
        operations::delete_model(store, "m", Force::None, &Precondition::default(), context)
    })
    .unwrap();
    let SqliteFixture { writer, reader, folder } = store;
    drop((writer, reader));
    let options = options(folder.path().join("registry.db"));
    purge(&options, at_second(2), at_second(3), &Watch::new(|| false, |_| {})).unwrap();
    expect_sound(&options);
    let mut types = Vec::new();
    let visit = &mut |event: TrailEvent<'_>| {
        types.push((event.event.event_type.into_owned(), event.event.payload.into_owned()));
        ControlFlow::Continue(())
    };
    let query = TrailQuery { model: Some("m".to_owned()), limit: 2, ..TrailQuery::default() };
    SqliteReader::open(&options).unwrap().trail(&query, visit).unwrap();
    let event = |kind: &str, payload: &str| (kind.to_owned(), payload.to_owned());
    assert_eq!(
        types,
        [event("purge_model", r#"{"name":"m"}"#), event("purge", r#"{"name":"m","version":"1"}"#)]
    );
}

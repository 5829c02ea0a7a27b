//! Only for SQLite: opening, upgrading, the WAL.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use model_registry::{
    domain::{
        Draft, Gate, LabelReuse, ListQuery, Precondition, Timestamp, TrailEvent, Version, VersionRef,
        VersionRow,
        query::{HistoryQuery, TrailQuery},
    },
    store::{
        Backend as _, Maintenance as _, ReadStore, StoreError, Transaction as _, WriteStore,
        operations::{self, Context},
        sqlite::{
            LockError, OpenError, Options, SCHEMA_VERSION, Sqlite, SqliteReader, SqliteWriter,
            maintenance::{Source, Watch, purge},
        },
    },
};
use tempfile::TempDir;

use crate::{
    add, now, options,
    suite::{self, Fixture},
};

/// The schema of 0.2.0's predecessor.
const FIRST_SCHEMA: &str = "CREATE TABLE models (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, \
    version TEXT NOT NULL, status TEXT DEFAULT 'experimental', checkpoint_path TEXT NOT NULL, config_path TEXT, \
    d_model INTEGER, n_layers INTEGER, n_heads INTEGER, vocab_size INTEGER, params INTEGER, \
    training_step INTEGER, training_loss REAL, dataset TEXT, description TEXT, tags TEXT, metrics TEXT, \
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP, UNIQUE(name, version))";

pub struct SqliteFixture {
    writer: SqliteWriter,
    pub reader: SqliteReader,
    folder: TempDir,
}

impl SqliteFixture {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("registry.db")
    }
}

impl Fixture for SqliteFixture {
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

/// Runs an operation at this second of a day.
fn operate_at<T>(
    store: &mut SqliteFixture,
    second: i64,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let context = Context {
        actor: "ann",
        now: at_second(second),
        gate: &Gate::default(),
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
    };
    store.write(|store| operation(store, &context))
}

fn at_second(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_769_817_600_000 + second * 1_000)
}

fn register_at(
    store: &mut SqliteFixture,
    name: &str,
    label: &str,
    second: i64,
) -> Result<Version, StoreError> {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    operate_at(store, second, |store, context| {
        operations::register(store, draft, LabelReuse::Allowed, context)
    })
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
fn schema(path: &Path) -> Vec<(String, Option<String>)> {
    let file = rusqlite::Connection::open(path).unwrap();
    let mut statement = file.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn expect_sound(options: &Options) {
    let watch = Watch::new(|| false, |_| {});
    let report = Source::open(options, &watch).unwrap().check(&watch).unwrap();
    assert_eq!(report.errors.total, 0, "{report:?}");
}

#[test]
fn a_file_of_an_earlier_build_gets_the_indexes_and_columns_that_it_lacks() {
    let mut store = fixture();
    for (name, label) in [("m", "1"), ("m", "2"), ("n", "1"), ("m", "3"), ("m", "4")] {
        register_at(&mut store, name, label, 0).unwrap();
    }
    register_at(&mut store, "o", "1", 0).unwrap();
    let complete = schema(&store.path());
    for (second, id) in [(1, 4), (2, 5)] {
        operate_at(&mut store, second, |store, context| {
            operations::delete(store, id, true, &Precondition::default(), context)
        })
        .unwrap();
    }
    operate_at(&mut store, 3, |store, context| {
        operations::delete_model(store, "o", false, &Precondition::default(), context)
    })
    .unwrap();
    let SqliteFixture { writer, reader, folder } = store;
    drop((writer, reader));
    let options = options(folder.path().join("registry.db"));
    let file = rusqlite::Connection::open(&options.path).unwrap();
    file.execute_batch(
        "DROP INDEX idx_models_number; CREATE INDEX idx_models_number ON models (model_key, number);
         DROP INDEX idx_holdings_open; DROP INDEX idx_aliases_alias; DROP INDEX idx_registered_models_page;
         ALTER TABLE deleted_models DROP COLUMN with_model;
         UPDATE models SET number = 1, updated_at = '2999' WHERE id = 2;
         INSERT INTO holdings (model_key, alias, version_id, number, label, since) VALUES
             (1, 'champion', 1, 1, '1', '2026-01-01'), (1, 'champion', 2, 2, '2', '2026-01-02');
         INSERT INTO aliases VALUES (1, 'champion', 2);",
    )
    .unwrap();
    drop(file);
    drop(SqliteWriter::open(&options, now()).unwrap());
    let repaired = schema(&options.path);
    for (row, expected) in repaired.iter().zip(&complete) {
        // SQLite writes the text of the table anew when a column is dropped and added.
        assert!(row == expected || row.0 == "deleted_models" && expected.0 == row.0, "{row:?}");
    }
    assert_eq!(repaired.len(), complete.len());
    let file = rusqlite::Connection::open(&options.path).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut rows = file.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let numbers = texts("SELECT id || '#' || number FROM models ORDER BY id");
    assert_eq!(numbers, ["1#1", "2#5", "3#1"], "the trash keeps its numbers");
    let holdings = texts("SELECT version_id || ' ' || ifnull(until, 'now') FROM holdings ORDER BY id");
    assert_eq!(holdings, ["1 2026-01-02", "2 now"]);
    let with_model = texts("SELECT id || ' ' || with_model FROM deleted_models ORDER BY id");
    assert_eq!(with_model, ["4 0", "5 0", "6 1"]);
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
                operate_at(&mut store, 100, |store, context| {
                    operations::delete(store, *id, true, &Precondition::default(), context)
                })
                .unwrap();
            }
            let mut ids = deleted.to_vec();
            if backwards {
                ids.reverse();
            }
            for id in ids {
                operate_at(&mut store, 100, |store, context| operations::restore(store, id, context))
                    .unwrap();
                expect_sound(&path);
            }
        }
    }
    // A version that was not backdated when it was registered is, once the one before it is restored.
    operate_at(&mut store, 100, |store, context| {
        operations::delete(store, 6, true, &Precondition::default(), context)
    })
    .unwrap();
    register_at(&mut store, "m", "7", 65).unwrap();
    operate_at(&mut store, 100, |store, context| operations::restore(store, 6, context)).unwrap();
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
fn an_upgrade_gives_versions_their_models_and_numbers_and_derives_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path().join("registry.db"));
    let old = rusqlite::Connection::open(&options.path).unwrap();
    old.execute_batch(FIRST_SCHEMA).unwrap();
    old.execute_batch(
        r#"CREATE TABLE model_events (id INTEGER PRIMARY KEY AUTOINCREMENT, model_id INTEGER NOT NULL,
            event_type TEXT NOT NULL, payload_json TEXT, actor TEXT, created_at TEXT);
        INSERT INTO models (id, name, version, checkpoint_path, status, created_at, updated_at) VALUES
            (1, 'm', 'a', '/a', 'staging', '2026-01-01 00:00:00', '2026-01-05 00:00:00'),
            (2, 'n', 'a', '/b', 'production', '2026-01-02 00:00:00', '2026-01-06 00:00:00'),
            (4, 'm', 'b', '/c', 'production', '2026-01-03 00:00:00', '2026-01-07 00:00:00'),
            (5, 'o', 'a', '/d', 'production', '2026-01-03 00:00:00', '2026-01-09 00:00:00');
        INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at) VALUES
            (1, 'promote', '{"from":"experimental","to":"production"}', 'ann', '2026-01-04 00:00:00'),
            (3, 'create', '{"name":"m","version":"gone","status":"production"}', 'bob', '2026-01-05 00:00:00'),
            (1, 'auto_demote', '{"from":"production","to":"staging"}', 'bob', '2026-01-05 00:00:00'),
            (3, 'delete', '{"name":"m","version":"gone","status":"production"}', 'bob', '2026-01-06 00:00:00'),
            (3, 'eval', '{}', NULL, '2026-01-06 00:00:00'),
            (5, 'update', '{"updated_fields":["status"]}', 'eve', '2026-01-07 00:00:00'),
            (5, 'update', '{"updated_fields":["status","tags"]}', 'bob', '2026-01-08 00:00:00'),
            (5, 'update', '{"updated_fields":["metrics"]}', 'ann', '2026-01-09 00:00:00');
        PRAGMA user_version = 2"#,
    )
    .unwrap();
    drop(old);
    for _ in 0..2 {
        let writer = SqliteWriter::open(&options, now()).unwrap();
        let mut reader = SqliteReader::open(&options).unwrap();
        for (name, number, id) in [("m", 1, 1), ("m", 2, 4), ("n", 1, 2)] {
            let mut found = None;
            let reference = VersionRef::Number(name.to_owned(), number);
            reader.version(&reference, &mut |row| found = Some(row.id)).unwrap();
            assert_eq!(found, Some(id), "{name}#{number}");
        }
        let model = reader.model("m").unwrap().unwrap();
        assert_eq!((model.versions, model.model.created_at.as_str()), (2, "2026-01-01 00:00:00"));
        let history = |reader: &mut SqliteReader, model: &str| {
            let query = HistoryQuery { model: model.to_owned(), limit: 10, ..HistoryQuery::default() };
            let held = reader.history(&query).unwrap().into_iter();
            held.map(|held| (held.label, held.since, held.until, held.actor)).collect::<Vec<_>>()
        };
        let time = |day: u8| format!("2026-01-0{day} 00:00:00");
        let who = |name: &str| Some(name.to_owned());
        let expected = [
            ("b".to_owned(), time(7), None, None),
            ("gone".to_owned(), time(5), Some(time(6)), who("bob")),
            ("a".to_owned(), time(4), Some(time(5)), who("ann")),
        ];
        assert_eq!(history(&mut reader, "m"), expected);
        assert_eq!(history(&mut reader, "n"), [("a".to_owned(), time(6), None, None)]);
        let patched = [("a".to_owned(), time(8), None, who("bob"))];
        assert_eq!(history(&mut reader, "o"), patched, "metrics have moved updated_at since");
        drop((reader, writer));
        let watch = Watch::new(|| false, |_| {});
        let report = Source::open(&options, &watch).unwrap().check(&watch).unwrap();
        assert_eq!((report.errors.total, report.events), (0, 8), "{report:?}");
        // The same file upgraded again, as the advice of a check has it, stays as it is.
        let file = rusqlite::Connection::open(&options.path).unwrap();
        file.pragma_update(None, "user_version", 0).unwrap();
    }
}

#[test]
fn an_upgrade_ends_the_holdings_of_aliases_that_are_gone() {
    let mut store = fixture();
    for label in ["1", "2", "3"] {
        register_at(&mut store, "m", label, 0).unwrap();
    }
    for (alias, number) in [("gone", 1), ("moved", 1), ("kept", 2), ("deleted", 3)] {
        operate_at(&mut store, 1, |store, context| {
            operations::set_alias(store, "m", alias, number, None, None, context)
        })
        .unwrap();
    }
    let other = rusqlite::Connection::open(store.path()).unwrap();
    other
        .execute_batch(
            "DELETE FROM aliases WHERE alias = 'gone'; UPDATE aliases SET version_id = 2 WHERE alias = 'moved';
             DELETE FROM models WHERE id = 3; PRAGMA user_version = 0",
        )
        .unwrap();
    drop(other);
    let SqliteFixture { writer, reader, folder } = store;
    drop((writer, reader));
    let options = options(folder.path().join("registry.db"));
    let writer = SqliteWriter::open(&options, at_second(9)).unwrap();
    let mut reader = SqliteReader::open(&options).unwrap();
    let query = HistoryQuery { model: "m".to_owned(), limit: 10, ..HistoryQuery::default() };
    let held = reader
        .history(&query)
        .unwrap()
        .into_iter()
        .map(|held| (held.alias, held.number, held.since, held.until));
    let row = |alias: &str, number, since, until: Option<i64>| {
        let time = |second| at_second(second).to_string();
        (alias.to_owned(), number, time(since), until.map(time))
    };
    assert_eq!(
        held.collect::<Vec<_>>(),
        [
            row("moved", 2, 9, None),
            row("deleted", 3, 1, Some(9)),
            row("kept", 2, 1, None),
            row("moved", 1, 1, Some(9)),
            row("gone", 1, 1, Some(9)),
        ]
    );
    drop(writer);
}

#[test]
fn a_purged_model_leaves_an_event() {
    let mut store = fixture();
    register_at(&mut store, "m", "1", 0).unwrap();
    operate_at(&mut store, 1, |store, context| {
        operations::delete_model(store, "m", false, &Precondition::default(), context)
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

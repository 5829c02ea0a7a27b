//! Files of earlier versions, and files that another tool has changed, as SQLite opens them.

use model_registry::{
    domain::{Force, Precondition, VersionRef, query::HistoryQuery},
    store::{
        ReadStore as _, operations,
        sqlite::{
            SqliteReader, SqliteWriter,
            maintenance::{Source, Watch},
        },
    },
};

use crate::{
    models::at,
    now, options,
    sqlite::{FIRST_SCHEMA, SqliteFixture, at_second, expect_sound, fixture, register_at, schema},
};

#[test]
fn an_upgrade_gives_no_number_twice_and_ends_all_but_the_last_holding_of_an_alias() {
    let mut store = fixture();
    for label in ["1", "2", "3", "4"] {
        register_at(&mut store, "m", label, 0).unwrap();
    }
    at(&mut store, 1, |store, context| {
        operations::delete(store, 4, Force::All, &Precondition::default(), context)
    })
    .unwrap();
    let complete = schema(&store.path());
    let SqliteFixture { writer, reader, folder } = store;
    drop((writer, reader));
    let options = options(folder.path().join("registry.db"));
    let file = rusqlite::Connection::open(&options.path).unwrap();
    file.execute_batch(
        "DROP INDEX idx_models_number; DROP INDEX idx_holdings_open; DROP INDEX idx_aliases_alias;
         UPDATE models SET number = 1 WHERE id = 2; UPDATE registered_models SET next_number = 1;
         INSERT INTO holdings (model_key, alias, version_id, number, label, since) VALUES
             (1, 'champion', 1, 1, '1', '2026-01-01 00:00:00'), (1, 'champion', 2, 2, '2', '2026-01-02 00:00:00');
         INSERT INTO aliases VALUES (1, 'champion', 2); PRAGMA user_version = 0",
    )
    .unwrap();
    drop(file);
    drop(SqliteWriter::open(&options, now()).unwrap());
    assert_eq!(schema(&options.path), complete);
    expect_sound(&options);
    let file = rusqlite::Connection::open(&options.path).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut rows = file.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let numbers = texts("SELECT id || '#' || number FROM models ORDER BY id");
    assert_eq!(numbers, ["1#1", "2#5", "3#3"], "the version in the trash keeps #4");
    assert_eq!(texts("SELECT name || ' ' || next_number FROM registered_models"), ["m 6"]);
    let holdings = texts("SELECT version_id || ' ' || ifnull(until, 'now') FROM holdings ORDER BY id");
    assert_eq!(holdings, ["1 2026-01-02 00:00:00", "2 now"]);
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
        at(&mut store, 1, |store, context| {
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

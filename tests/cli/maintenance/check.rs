//! What a check finds, and whether its advice helps.

use super::*;

/// Statements that recreate a table with one word changed, as a tool does that moves rows from file to file.
fn remade(good: &Path, table: &str, word: &str, other: &str) -> String {
    let good = Connection::open(good).unwrap();
    let mut find = good
        .prepare("SELECT sql FROM sqlite_schema WHERE tbl_name = ?1 AND sql NOT NULL ORDER BY rowid")
        .unwrap();
    let made: Vec<String> = find.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(made[0].contains(word), "{made:?}");
    let made = made.join(";").replace(word, other);
    format!(
        "CREATE TEMP TABLE rows AS SELECT * FROM {table}; DROP TABLE {table}; {made}; \
        INSERT INTO {table} SELECT * FROM temp.rows"
    )
}

#[test]
fn the_check_finds_each_fault_and_says_what_to_do() {
    let folder = database();
    let good = at(&folder, "registry.db");
    let report = done(maintenance(&good, ["--check"]));
    assert_eq!(report["check"]["errors"], json!([]));
    assert_eq!(report["check"]["warnings"], json!([]));
    assert_eq!((&report["check"]["models"], &report["check"]["events"]), (&json!(3), &json!(5)));

    for (table, severity, change, problem) in [
        ("models", "error", "status = 'live'", "status is \"live\""),
        ("models", "error", "checkpoint_sha256 = upper(checkpoint_sha256)", "not 64 lower-case hex digits"),
        ("models", "error", "config_sha256 = 'abc'", "config_sha256 is \"abc\""),
        ("models", "error", "config_size_bytes = -1", "config_size_bytes is -1"),
        ("models", "error", "tags = '[1]'", "not a JSON list of strings"),
        ("models", "error", "metrics = '[1]'", "not a JSON object"),
        ("models", "warning", "metrics = '{\"suites\":{\"s\":1}}'", "suites are not objects"),
        ("models", "warning", "metrics = '{\"a\": NaN}'", "NaN"),
        ("models", "error", "artifact_uri = ' '", "artifact_uri is \" \""),
        ("models", "error", "name = ' '", "name is \" \""),
        ("models", "error", "version = ''", "version is \"\""),
        ("models", "error", "created_at = 'yesterday'", "created_at is \"yesterday\""),
        ("models", "error", "updated_at = '2026-01-31T13:05:09Z'", "updated_at is"),
        ("models", "error", "frozen = 7", "frozen is 7"),
        ("models", "error", "training_step = 'late'", "training_step is \"late\""),
        ("models", "warning", "training_loss = 9e999", "training_loss is inf"),
        ("models", "error", "run_id = x'ff'", "run_id is bytes, not text"),
        ("model_events", "error", "payload_json = '{'", "payload_json is \"{\""),
        ("model_events", "error", "created_at = 'soon'", "created_at is \"soon\""),
        ("model_events", "error", "event_type = ''", "not an event type"),
        ("model_events", "error", "model_id = 99", "the highest id ever used is 3"),
    ] {
        let sql = format!("UPDATE {table} SET {change} WHERE id = 2");
        check_finds(&good, &sql, &format!("{severity} {table} 2"), problem);
    }
    for (sql, place, problem) in [
        (
            "DROP INDEX idx_models_one_production; UPDATE models SET status = 'production' WHERE id = 2",
            "error models 1",
            "\"m\" has 2 production versions",
        ),
        (
            "INSERT INTO api_keys (id, name, digest, scopes, models, created_by, created_at) \
                VALUES (7, 'ci', zeroblob(32), '[\"rule\"]', '[]', 'ann', '2026-01-31 13:05:09.250')",
            "error api_keys 7",
            "it grants nothing: \"rule\" is not a scope",
        ),
        (
            "INSERT INTO api_keys (name, digest, scopes, models, created_by, created_at) \
                VALUES ('ci', 'abc', '[\"read\"]', '[]', 'ann', '2026-01-31 13:05:09.250')",
            "error api_keys 1",
            "its digest has",
        ),
        ("DROP INDEX idx_api_keys_name", "error schema", "idx_api_keys_name is missing"),
        ("DROP INDEX idx_models_one_production", "error schema", "idx_models_one_production is missing"),
        ("DROP TRIGGER trg_models_set_updated_at", "error schema", "trg_models_set_updated_at is missing"),
        (
            "DROP INDEX idx_models_created; CREATE INDEX idx_models_created ON models (name)",
            "warning schema",
            "idx_models_created is not the registry's",
        ),
        (
            "CREATE TRIGGER mine AFTER INSERT ON models BEGIN SELECT 1; END",
            "warning schema",
            "the trigger mine",
        ),
        ("DROP TABLE model_events", "error schema", "no table model_events"),
        ("ALTER TABLE models DROP COLUMN dataset", "error schema", "no column dataset"),
        (
            "UPDATE model_counts SET count = count + 1 WHERE kind = 'name'",
            "error model_counts",
            "of its counts of each name are wrong",
        ),
        (
            "INSERT INTO model_counts VALUES ('status', 'live', 3)",
            "error model_counts",
            "of its counts of each status are wrong",
        ),
        ("DELETE FROM model_texts WHERE rowid = 2", "error model_texts 2", "is not indexed"),
        (
            "INSERT INTO model_texts (rowid, folded_name) VALUES (77, 'abc')",
            "error model_texts 77",
            "is deleted and still indexed",
        ),
        (
            "INSERT INTO model_tags VALUES ('x', '', 77); INSERT INTO model_counts VALUES ('tag', 'x', 1)",
            "error model_tags 77",
            "this version is deleted and still has tags",
        ),
        (
            "INSERT INTO model_tags VALUES ('x', '', 2); INSERT INTO model_counts VALUES ('tag', 'x', 1)",
            "error model_tags 2",
            "its tags in the index are not its own",
        ),
        (
            "UPDATE models SET properties = '{\"x\":\"y\"}' WHERE id = 2",
            "error model_tags 2",
            "its tags in the index are not its own",
        ),
        ("UPDATE models SET properties = '{\"x\":1}' WHERE id = 2", "error models 2", "properties is"),
        (
            "INSERT INTO score_keys VALUES (9, 's', 'm'); INSERT INTO scores VALUES (9, 0.5, 77)",
            "error scores 77",
            "this version is deleted and still has scores",
        ),
        (
            "UPDATE models SET metrics = '{\"suites\":{\"s\":{\"m\":1}}}' WHERE id = 2",
            "error scores 2",
            "its scores in the index are not its own",
        ),
        (
            "INSERT INTO scores VALUES (99, 0.5, 2)",
            "error scores 2",
            "its scores in the index are not its own",
        ),
        (
            "UPDATE models SET config_size_bytes = 99 WHERE id = 2",
            "error version_files 2",
            "its files in the index are not its own",
        ),
        (
            "INSERT INTO manifest_files VALUES (2, 'a', 1, 'x', 'weights')",
            "error manifest_files 2",
            "has another number or size of files than its version says",
        ),
        (
            "INSERT INTO manifest_files VALUES (99, 'a', 1, 'x', 'weights')",
            "error manifest_files 99",
            "\"a\", the first of 1, is a file of a version that does not exist",
        ),
        (
            "INSERT INTO approvals (version_id, target, kind, actor, created_at, artifact, scores) \
             VALUES (99, 'production', 'approval', 'bob', '', '', '')",
            "error approvals 1",
            "\"bob\", the first of 1, is an approval of a version that does not exist",
        ),
        (
            "UPDATE models SET digest = NULL WHERE id = 2",
            "error models 2",
            "its digest is not the one of its files",
        ),
        (
            "UPDATE models SET file_count = 1, total_bytes = 1 WHERE id = 2; \
             INSERT INTO manifest_files VALUES (2, 'a', 1, \
                '0000000000000000000000000000000000000000000000000000000000000000', 'weights')",
            "error manifest_files 2",
            "its digest is not the one of its files",
        ),
        (
            "UPDATE models SET file_count = 1, total_bytes = 1 WHERE id = 2; \
             INSERT INTO manifest_files VALUES (2, '../a', 1, 'x', 'weights')",
            "error manifest_files 2",
            "a file of its manifest has an invalid path, size, digest or role",
        ),
        ("DROP TABLE scores", "error scores", "there is no table scores"),
        (
            "UPDATE models SET created_at = '2001-01-01 00:00:00' WHERE id = 2",
            "error backdated_models 2",
            "it was created before a version with a lower id",
        ),
        ("DROP TABLE model_counts", "error model_counts", "there is no table model_counts"),
        ("UPDATE models SET id = -5 WHERE id = 2", "error models -5", "id is -5"),
        ("DELETE FROM model_events WHERE model_id = 2", "warning models 2", "the first of 1, has no event"),
        ("DELETE FROM model_events WHERE id = 2", "error event_chain 2", "the event is gone"),
        ("UPDATE model_events SET actor = 'eve' WHERE id = 2", "error event_chain 2", "has changed"),
        ("UPDATE model_events SET details = '{}' WHERE id = 1", "error event_chain 1", "has changed"),
        (
            "UPDATE model_events SET details = x'ff' WHERE id = 1",
            "error event_chain",
            "can't be read to its end",
        ),
        ("UPDATE event_chain SET hash = x'00' WHERE event_id = 3", "error event_chain 3", "has changed"),
        (
            "INSERT INTO model_events (model_id, event_type, payload_json) VALUES (1, 'eval', '{}')",
            "error event_chain 6",
            "another tool has added this event",
        ),
        (
            "DELETE FROM event_chain WHERE event_id = 5; DELETE FROM model_events WHERE id = 5",
            "error model_heads 1",
            "does not end where it should",
        ),
        ("DELETE FROM model_heads", "error event_chain", "ends of audit trails are missing"),
        ("UPDATE version_heads SET events = 9", "error version_heads 1", "do not end where they should"),
        ("UPDATE models SET model_key = 77 WHERE id = 2", "error models 2", "the model of its name"),
        (
            "UPDATE registered_models SET next_number = 1",
            "error registered_models 1",
            "would give out a number",
        ),
        ("INSERT INTO aliases VALUES (1, 'x', 77)", "error aliases 77", "points to no version of its model"),
        ("UPDATE holdings SET until = since", "error holdings 1", "the history does not say so"),
        (
            "INSERT INTO aliases VALUES (1, 'x', 1)",
            "error holdings 1",
            "is an alias, and the history does not",
        ),
        (
            "INSERT INTO holdings (model_key, alias, version_id, number, label, since) \
                VALUES (1, 'x', 1, 1, '1', '2026-01-31 00:00:00.000')",
            "error holdings 1",
            "is an alias by the history, and there is none",
        ),
        ("DROP TABLE aliases", "error schema", "there is no table aliases"),
        (
            "UPDATE model_events SET event_type = 'scan'",
            "warning model_events 1",
            "which this registry does not write: 5 times",
        ),
        (
            "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'models'",
            "error sqlite_sequence",
            "sqlite_sequence has 1 for models",
        ),
        (
            "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'registered_models'",
            "error sqlite_sequence",
            "sqlite_sequence has 0 for registered_models",
        ),
        (
            "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'holdings'",
            "error sqlite_sequence",
            "sqlite_sequence has 0 for holdings",
        ),
        (
            "DELETE FROM sqlite_sequence",
            "error sqlite_sequence",
            "sqlite_sequence has nothing for model_events",
        ),
        (
            "CREATE TABLE notes (model_id REFERENCES models (id)); PRAGMA foreign_keys = OFF; INSERT INTO notes VALUES (77)",
            "error schema 1",
            "1 row of notes refers to no row of models",
        ),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'created_at', 'name') \
                WHERE name = 'idx_models_created'",
            "error file",
            "SQLite reports: ",
        ),
        (
            &remade(&good, "models", "UNIQUE (name, version)", "CHECK (1)"),
            "error schema",
            "be registered twice",
        ),
        (
            &remade(&good, "models", "AUTOINCREMENT", ""),
            "error schema",
            "models reuses the id of a deleted row",
        ),
        (
            &remade(&good, "model_events", "AUTOINCREMENT", ""),
            "error schema",
            "model_events reuses the id of a deleted row",
        ),
    ] {
        check_finds(&good, sql, place, problem);
    }
}

#[test]
fn the_check_looks_at_ids_and_numbers_of_deleted_versions_too() {
    let server = Server::start_in(database());
    for id in [2, 3] {
        server.send("DELETE", &format!("/models/{id}"), KEY, None);
    }
    server.signal("TERM");
    let folder = server.ended().folder;
    let good = at(&folder, "registry.db");
    assert_eq!(done(maintenance(&good, ["--check"]))["check"]["ok"], json!(true));
    for (sql, place, problem) in [
        (
            "UPDATE registered_models SET next_number = 2",
            "error registered_models 1",
            "would give out a number that a version has or had",
        ),
        (
            "UPDATE models SET number = 2 WHERE id = 1",
            "error models 1",
            "has a number that a deleted version of its model has too",
        ),
        (
            "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'models'",
            "error sqlite_sequence",
            "sqlite_sequence has 2 for models, whose highest id is 3",
        ),
    ] {
        check_finds(&good, sql, place, problem);
    }
}

/// Plants a fault in a copy of `good`, and asserts that the check reports it at `place` (severity, table, perhaps an id)
/// and changes nothing. Returns the copy.
#[track_caller]
fn check_finds(good: &Path, sql: &str, place: &str, problem: &str) -> TempDir {
    let case = tempfile::tempdir().unwrap();
    let path = at(&case, "registry.db");
    fs::copy(good, &path).unwrap();
    let planted = Connection::open(&path).unwrap();
    planted.pragma_update(None, "recursive_triggers", false).unwrap();
    planted.execute_batch(sql).unwrap();
    drop(planted);
    let before = snapshot(case.path());
    let ran = Ran::of(&mut maintenance(&path, ["--check", "--json"]));
    let is_error = finds(&ran, sql, place, problem);
    // A change to an event also breaks the chain of its model, which is an error.
    assert!(is_error == place.starts_with("error ") || sql.contains("model_events"), "{sql}: {ran:?}");
    assert_eq!(snapshot(case.path()), before, "{sql}: a check changes nothing");
    case
}

#[test]
fn the_check_counts_all_errors_and_lists_the_first_hundred() {
    let folder = database();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) \
        INSERT INTO model_events (model_id, event_type, payload_json) SELECT 1, 'eval', 'no json' FROM n";
    let good = at(&folder, "registry.db");
    let case = check_finds(&good, many, "error model_events 6", "payload_json is \"no json\"");
    let path = at(&case, "registry.db");
    let ran = Ran::of(&mut maintenance(&path, ["--check", "--json"]));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["check"]["errors"].as_array().unwrap().len(), 100);
    assert_eq!(report["check"]["error_count"], json!(251), "and one for the trail");
    let text = Ran::of(&mut maintenance(&path, ["--check"]));
    assert!(text.stdout.ends_with("and 151 more errors\n"), "{text:?}");
}

#[test]
fn the_advice_for_a_schema_without_its_guards_restores_them() {
    let folder = database();
    let path = at(&folder, "registry.db");
    let spoiled = Connection::open(&path).unwrap();
    spoiled
        .execute_batch("DROP INDEX idx_models_one_production; DROP TRIGGER trg_models_set_updated_at; DROP TABLE model_events; \
            UPDATE models SET status = 'production' WHERE name = 'm'")
        .unwrap();
    let ran = Ran::of(&mut maintenance(&path, ["--check"]));
    assert!(ran.code == 1 && ran.stdout.matches("run `PRAGMA user_version = 0`").count() >= 3, "{ran:?}");
    spoiled.pragma_update(None, "user_version", 0).unwrap();
    drop(spoiled);
    let server = Server::start_in(folder);
    let report = done(maintenance(&server.db_path(), ["--check"]));
    assert_eq!((&report["check"]["ok"], &report["check"]["errors"]), (&json!(true), &json!([])));
}

#[test]
fn the_advice_for_counters_and_the_index_rebuilds_them() {
    let folder = database();
    let path = at(&folder, "registry.db");
    done(maintenance(&path, ["--optimize"]));
    let spoil = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    for sql in [
        "UPDATE model_counts SET count = count + 1; DELETE FROM model_texts WHERE rowid = 1",
        "INSERT INTO model_tags VALUES ('x', '', 2); UPDATE models SET description = 'other', tags = '[\"y\"]'",
        "DROP TABLE model_counts",
        "DELETE FROM version_files; INSERT INTO scores VALUES (99, 0.5, 2)",
        "DROP TABLE model_texts_docsize",
    ] {
        spoil(sql);
        let ran = Ran::of(&mut maintenance(&path, ["--check"]));
        assert!(ran.code == 1 && ran.stdout.contains("run `registry maintenance --optimize`"), "{ran:?}");
        let report = done(maintenance(&path, ["--optimize", "--check"]));
        assert!(!report["optimize"]["rebuilt"].as_array().unwrap().is_empty(), "{sql}: {report}");
        assert_eq!(report["check"]["ok"], json!(true), "{sql}");
        let again = done(maintenance(&path, ["--optimize"]));
        assert_eq!(again["optimize"]["rebuilt"], json!([]));
    }
}

#[test]
fn a_half_changed_database_is_not_checked_and_the_error_says_how_to_recover_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, left) = (at(&folder, "registry.db"), tempfile::tempdir().unwrap());
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch(OLD).unwrap();
    // With so small a cache, pages are written before the transaction ends.
    writer
        .execute_batch(
            "CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(500000)); PRAGMA cache_size = 1; \
            BEGIN; DELETE FROM models; UPDATE filler SET x = randomblob(600000)",
        )
        .unwrap();
    for name in ["registry.db", "registry.db-journal"] {
        fs::copy(at(&folder, name), at(&left, name)).unwrap();
    }
    let (path, before) = (at(&left, "registry.db"), snapshot(left.path()));
    let refused = Ran::of(&mut maintenance(&path, ["--check"])).failed(1);
    assert!(
        refused.contains("left in the middle of a change") && refused.contains("--optimize"),
        "{refused}"
    );
    assert_eq!(snapshot(left.path()), before);
    done(maintenance(&path, ["--optimize", "--check"]));
    assert_eq!(count(&path, "SELECT count(*) FROM models"), 1);
}

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
    let told = done(maintenance(&good, ["--check"]));
    assert_eq!(told["check"]["errors"], json!([]));
    assert_eq!(told["check"]["warnings"], json!([]));
    assert_eq!((&told["check"]["models"], &told["check"]["events"]), (&json!(3), &json!(5)));

    let upper = format!("UPDATE models SET checkpoint_sha256 = '{}' WHERE id = 2", "AB".repeat(32));
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) \
        INSERT INTO model_events (model_id, event_type, payload_json) SELECT 1, 'eval', 'no json' FROM n";
    for (sql, severity, table, id, problem) in [
        ("UPDATE models SET status = 'live' WHERE id = 2", "error", "models", Some(2), "status is \"live\""),
        (
            "DROP INDEX idx_models_one_production; UPDATE models SET status = 'production' WHERE id = 2",
            "error",
            "models",
            Some(1),
            "\"m\" has 2 production versions",
        ),
        (
            "DROP INDEX idx_models_one_production",
            "error",
            "schema",
            None,
            "idx_models_one_production is missing",
        ),
        (
            "DROP TRIGGER trg_models_set_updated_at",
            "error",
            "schema",
            None,
            "trg_models_set_updated_at is missing",
        ),
        (
            "DROP INDEX idx_models_created; CREATE INDEX idx_models_created ON models (name)",
            "warning",
            "schema",
            None,
            "idx_models_created is not the registry's",
        ),
        (
            "CREATE TRIGGER mine AFTER INSERT ON models BEGIN SELECT 1; END",
            "warning",
            "schema",
            None,
            "the trigger mine",
        ),
        ("DROP TABLE model_events", "error", "schema", None, "no table model_events"),
        ("ALTER TABLE models DROP COLUMN dataset", "error", "schema", None, "no column dataset"),
        (upper.as_str(), "error", "models", Some(2), "not 64 lower-case hex digits"),
        (
            "UPDATE models SET config_sha256 = 'abc' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "config_sha256 is \"abc\"",
        ),
        (
            "UPDATE models SET config_size_bytes = -1 WHERE id = 2",
            "error",
            "models",
            Some(2),
            "config_size_bytes is -1",
        ),
        (
            "UPDATE models SET tags = '[1]' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "not a JSON list of strings",
        ),
        ("UPDATE models SET metrics = '[1]' WHERE id = 2", "error", "models", Some(2), "not a JSON object"),
        (
            "UPDATE models SET metrics = '{\"suites\":{\"s\":1}}' WHERE id = 2",
            "warning",
            "models",
            Some(2),
            "suites are not objects",
        ),
        ("UPDATE models SET metrics = '{\"a\": NaN}' WHERE id = 2", "warning", "models", Some(2), "NaN"),
        (
            "UPDATE models SET artifact_uri = ' ' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "artifact_uri is \" \"",
        ),
        ("UPDATE models SET name = ' ' WHERE id = 2", "error", "models", Some(2), "name is \" \""),
        ("UPDATE models SET version = '' WHERE id = 2", "error", "models", Some(2), "version is \"\""),
        (
            "UPDATE models SET created_at = 'yesterday' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "created_at is \"yesterday\"",
        ),
        (
            "UPDATE models SET updated_at = '2026-01-31T13:05:09Z' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "updated_at is",
        ),
        ("UPDATE models SET frozen = 7 WHERE id = 2", "error", "models", Some(2), "frozen is 7"),
        (
            "UPDATE models SET training_step = 'late' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "training_step is \"late\"",
        ),
        (
            "UPDATE models SET training_loss = 9e999 WHERE id = 2",
            "warning",
            "models",
            Some(2),
            "training_loss is inf",
        ),
        (
            "UPDATE models SET run_id = x'ff' WHERE id = 2",
            "error",
            "models",
            Some(2),
            "run_id is bytes, not text",
        ),
        (
            "UPDATE model_counts SET count = count + 1 WHERE kind = 'name'",
            "error",
            "model_counts",
            None,
            "of its counts of each name are wrong",
        ),
        (
            "INSERT INTO model_counts VALUES ('status', 'live', 3)",
            "error",
            "model_counts",
            None,
            "of its counts of each status are wrong",
        ),
        ("DELETE FROM model_texts WHERE rowid = 2", "error", "model_texts", Some(2), "is not indexed"),
        (
            "INSERT INTO model_texts (rowid, folded_name) VALUES (77, 'abc')",
            "error",
            "model_texts",
            Some(77),
            "is gone and still indexed",
        ),
        (
            "INSERT INTO model_tags VALUES ('x', 77); INSERT INTO model_counts VALUES ('tag', 'x', 1)",
            "error",
            "model_tags",
            Some(77),
            "is gone and still has tags",
        ),
        (
            "INSERT INTO model_tags VALUES ('x', 2); INSERT INTO model_counts VALUES ('tag', 'x', 1)",
            "error",
            "model_tags",
            Some(2),
            "it is found by other tags than it has",
        ),
        (
            "UPDATE models SET created_at = '2001-01-01 00:00:00' WHERE id = 2",
            "error",
            "backdated_models",
            Some(2),
            "it was created before a version with a lower id",
        ),
        ("DROP TABLE model_counts", "error", "model_counts", None, "there is no table model_counts"),
        ("UPDATE models SET id = -5 WHERE id = 2", "error", "models", Some(-5), "id is -5"),
        (
            "DELETE FROM model_events WHERE model_id = 2",
            "warning",
            "models",
            Some(2),
            "the first of 1, has no event",
        ),
        (
            "UPDATE model_events SET payload_json = '{' WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "payload_json is \"{\"",
        ),
        (
            "UPDATE model_events SET created_at = 'soon' WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "created_at is \"soon\"",
        ),
        (
            "UPDATE model_events SET event_type = 'scan'",
            "warning",
            "model_events",
            Some(1),
            "which this registry does not write: 5 times",
        ),
        (
            "UPDATE model_events SET event_type = '' WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "not an event type",
        ),
        (
            "UPDATE model_events SET model_id = 99 WHERE id = 2",
            "error",
            "model_events",
            Some(2),
            "the highest id ever used is 3",
        ),
        (
            "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'models'",
            "error",
            "sqlite_sequence",
            None,
            "sqlite_sequence has 1 for models",
        ),
        (
            "DELETE FROM sqlite_sequence",
            "error",
            "sqlite_sequence",
            None,
            "sqlite_sequence has nothing for model_events",
        ),
        (
            "CREATE TABLE notes (model_id REFERENCES models (id)); PRAGMA foreign_keys = OFF; INSERT INTO notes VALUES (77)",
            "error",
            "schema",
            Some(1),
            "1 row of notes refers to no row of models",
        ),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'created_at', 'name') \
                WHERE name = 'idx_models_created'",
            "error",
            "file",
            None,
            "SQLite finds: ",
        ),
        (
            &remade(&good, "models", "UNIQUE (name, version)", "CHECK (1)"),
            "error",
            "schema",
            None,
            "be registered twice",
        ),
        (
            &remade(&good, "models", "AUTOINCREMENT", ""),
            "error",
            "schema",
            None,
            "models reuses the id of a deleted row",
        ),
        (
            &remade(&good, "model_events", "AUTOINCREMENT", ""),
            "error",
            "schema",
            None,
            "model_events reuses the id of a deleted row",
        ),
        (many, "error", "model_events", Some(6), "payload_json is \"no json\""),
    ] {
        let case = tempfile::tempdir().unwrap();
        let path = at(&case, "registry.db");
        fs::copy(&good, &path).unwrap();
        let planted = Connection::open(&path).unwrap();
        planted.pragma_update(None, "recursive_triggers", false).unwrap();
        planted.execute_batch(sql).unwrap();
        drop(planted);
        let before = snapshot(case.path());
        let ran = Ran::of(&mut maintenance(&path, ["--check", "--json"]));
        assert_eq!(ran.code, i32::from(severity == "error"), "{sql}: {ran:?}");
        assert_eq!(ran.stderr.is_empty(), severity == "warning", "{sql}: {ran:?}");
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        let found = told["check"][format!("{severity}s")].as_array().unwrap();
        let finding = found.iter().find(|finding| finding["problem"].as_str().unwrap().contains(problem));
        let finding = finding.unwrap_or_else(|| panic!("{sql}: {}", ran.stdout));
        assert_eq!((&finding["table"], &finding["id"]), (&json!(table), &json!(id)), "{sql}");
        assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{sql}");
        assert_eq!(told["check"]["ok"], severity == "warning", "{sql}");
        assert_eq!(snapshot(case.path()), before, "{sql}: a check changes nothing");
        if sql == many {
            assert_eq!((found.len(), &told["check"]["error_count"]), (100, &json!(250)));
            let text = Ran::of(&mut maintenance(&path, ["--check"]));
            assert!(text.stdout.ends_with("and 150 more errors\n"), "{text:?}");
        }
    }
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
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY);
    });
    let told = done(maintenance(&server.db_path(), ["--check"]));
    assert_eq!((&told["check"]["ok"], &told["check"]["errors"]), (&json!(true), &json!([])));
}

#[test]
fn the_advice_for_counters_and_the_index_rebuilds_them() {
    let folder = database();
    let path = at(&folder, "registry.db");
    done(maintenance(&path, ["--optimize"]));
    let spoil = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    for sql in [
        "UPDATE model_counts SET count = count + 1; DELETE FROM model_texts WHERE rowid = 1",
        "INSERT INTO model_tags VALUES ('x', 2); UPDATE models SET description = 'other', tags = '[\"y\"]'",
        "DROP TABLE model_counts",
        "DROP TABLE model_texts_docsize",
    ] {
        spoil(sql);
        let ran = Ran::of(&mut maintenance(&path, ["--check"]));
        assert!(ran.code == 1 && ran.stdout.contains("run `registry maintenance --optimize`"), "{ran:?}");
        let told = done(maintenance(&path, ["--optimize", "--check"]));
        assert!(!told["optimize"]["rebuilt"].as_array().unwrap().is_empty(), "{sql}: {told}");
        assert_eq!(told["check"]["ok"], json!(true), "{sql}");
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

//! `registry maintenance --check` for a registry in PostgreSQL.

use super::*;
use crate::server::signal;

/// Plants a fault in a copy of `good`, and asserts that the check reports it at `place` (severity, table, perhaps an id).
#[track_caller]
fn check_finds(good: &TestDatabase, sql: &str, place: &str, problem: &str) {
    let case = good.copy();
    case.sql(sql);
    finds(&Ran::of(&mut maintain(&case, ["--check", "--json"])), sql, place, problem);
}

#[test]
fn a_sound_registry_is_said_to_be_sound() {
    let Some(database) = database() else { return };
    let report = done(maintain(&database, ["--check"]));
    let check = &report["check"];
    assert_eq!((&check["errors"], &check["warnings"]), (&json!([]), &json!([])));
    assert_eq!((&check["models"], &check["events"]), (&json!(3), &json!(5)));
    assert_eq!((&check["ok"], &check["schema_version"]), (&json!(true), &json!(1)));
    // The flag, and a password that is not shown.
    let mut command = registry(["maintenance", "--check", "--database-url"]);
    command.arg(database.url().replace("registry@", "registry:s3cret@"));
    let text = Ran::of(&mut command);
    assert!(text.stdout.starts_with("postgres://registry@/") && !text.stdout.contains("s3cret"), "{text:?}");
    assert!(text.stdout.contains(" is sound: 3 versions, 5 events, schema 1, 0 errors"), "{text:?}");
}

#[test]
fn a_changed_removed_added_or_cut_off_event_is_found_at_its_place() {
    let Some(good) = database() else { return };
    let added = "INSERT INTO model_events (model_id, event_type, created_at, model_key, previous_of_model, \
        previous_of_version, ordinal, hash) VALUES";
    for (sql, place, problem) in [
        // Changed.
        ("UPDATE model_events SET actor = 'eve' WHERE id = 2", "error event_chain 2", "has changed"),
        ("UPDATE model_events SET details = '{}' WHERE id = 1", "error event_chain 1", "has changed"),
        ("UPDATE model_events SET hash = '\\x00' WHERE id = 3", "error event_chain 3", "has changed"),
        (
            "UPDATE model_events SET model_key = 2 WHERE id = 4",
            "error event_chain 4",
            "another tool has added",
        ),
        ("UPDATE model_events SET ordinal = 9 WHERE id = 4", "error event_chain 4", "has another place"),
        // Removed, from the middle and from the beginning.
        ("DELETE FROM model_events WHERE id = 2", "error event_chain 4", "the event before it is gone"),
        ("DELETE FROM model_events WHERE id = 1", "error event_chain 2", "the event before it is gone"),
        // Added, at the end, and as if it were the end.
        (
            &format!("{added} (1, 'eval', '2026-01-31 13:05:09.250', 1, 5, 5, 4, '\\x00')"),
            "error model_heads 1",
            "another tool has added events after 5",
        ),
        (
            &format!(
                "{added} (1, 'eval', '2026-01-31 13:05:09.250', 1, NULL, NULL, 1, '\\x00'); \
                UPDATE model_heads SET last_event_id = 6, hash = '\\x00' WHERE model_key = 1"
            ),
            "error event_chain 6",
            "another tool has added this event, or the one before it",
        ),
        // Cut off: the last event of a model, and all of them.
        ("DELETE FROM model_events WHERE id = 5", "error model_heads 1", "does not end where it should"),
        (
            "DELETE FROM model_events WHERE id IN (4, 5)",
            "error model_heads 1",
            "does not end where it should",
        ),
        ("DELETE FROM model_events WHERE id = 3", "error model_heads 2", "does not end where it should"),
        ("DELETE FROM model_heads WHERE model_key = 1", "error model_heads 1", "audit trail is missing"),
    ] {
        check_finds(&good, sql, place, problem);
    }
}

#[test]
fn the_check_of_postgres_finds_each_fault() {
    let Some(good) = database() else { return };
    for (table, severity, change, problem) in [
        ("models", "error", "status = 'live'", "status is \"live\""),
        ("models", "error", "checkpoint_sha256 = upper(checkpoint_sha256)", "not 64 lower-case hex digits"),
        ("models", "error", "tags = '[1]'", "not a JSON list of strings"),
        ("models", "error", "name = ' '", "name is \" \""),
        ("models", "error", "created_at = 'yesterday'", "created_at is \"yesterday\""),
        ("models", "warning", "training_loss = 'Infinity'", "training_loss is inf"),
        ("models", "error", "properties = '{\"x\":1}'", "properties is"),
        ("model_events", "error", "payload_json = '{'", "payload_json is \"{\""),
        ("model_events", "warning", "event_type = 'scan'", "which this registry does not write: 1 times"),
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
        ("DROP INDEX idx_models_one_production", "error schema", "idx_models_one_production is missing"),
        ("DROP INDEX idx_models_created", "warning schema", "which speeds up lists"),
        (
            "ALTER TABLE models DROP CONSTRAINT models_name_version_key; UPDATE models SET version = '1' WHERE id = 2",
            "error models 1",
            "\"m:1\" is registered 2 times",
        ),
        ("DROP TABLE holdings", "error schema", "no table holdings"),
        ("ALTER TABLE models DROP COLUMN dataset", "error models", "can't be read to its end"),
        (
            "ALTER TABLE model_events ALTER COLUMN hash TYPE text USING ''",
            "error model_events",
            "can't be read to its end",
        ),
        (
            "UPDATE model_counts SET count = count + 1 WHERE kind = 'name' AND value = 'm'",
            "error model_counts",
            "2 of its counts of each name are wrong",
        ),
        (
            "INSERT INTO model_counts VALUES ('status', 'live', 0, 3)",
            "error model_counts",
            "1 of its counts of each status are wrong",
        ),
        ("DELETE FROM model_counts WHERE kind = 'tag'", "error model_counts", "of its counts of each tag"),
        ("DELETE FROM model_texts WHERE version_id = 2", "error model_texts 2", "is not indexed"),
        ("UPDATE models SET description = 'x' WHERE id = 2", "error model_texts 2", "not its own"),
        (
            "INSERT INTO model_texts VALUES (77, 'x')",
            "error model_texts 77",
            "is deleted and still has texts",
        ),
        (
            "INSERT INTO model_tags VALUES (77, 'x', '')",
            "error model_tags 77",
            "is deleted and still has tags",
        ),
        ("INSERT INTO model_tags VALUES (2, 'x', 'y')", "error model_tags 2", "its tags in the index"),
        (
            "UPDATE models SET properties = '{\"x\":\"y\"}' WHERE id = 2",
            "error model_tags 2",
            "its tags in the index",
        ),
        (
            "INSERT INTO score_keys VALUES (9, 's', 'm'); INSERT INTO scores VALUES (77, 9, 0.5)",
            "error scores 77",
            "is deleted and still has scores",
        ),
        ("UPDATE scores SET value = 0.5", "error scores 1", "its scores in the index are not its own"),
        (
            "INSERT INTO scores VALUES (2, 99, 0.5)",
            "error scores 2",
            "its scores in the index are not its own",
        ),
        (
            "UPDATE version_files SET size_bytes = 7 WHERE version_id = 2",
            "error version_files 2",
            "its files in the index",
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
        (
            "UPDATE models SET status = 'staging' WHERE id = 1",
            "error holdings 1",
            "by the history, and not by its",
        ),
        ("SELECT setval('models_id_seq', 1)", "error models", "is at 1, and the highest id is 3"),
        ("ALTER SEQUENCE score_keys_id_seq RESTART", "error score_keys", "is at 0, and the highest id is 1"),
        (
            "INSERT INTO models SELECT (jsonb_populate_record(models, '{\"id\": 3000000000, \"version\": \"9\", \
                \"number\": 9}')).* FROM models WHERE id = 2",
            "warning models 3000000000",
            "the first of 1, has no event",
        ),
    ] {
        check_finds(&good, sql, place, problem);
    }
}

#[test]
fn the_check_of_postgres_looks_at_ids_and_numbers_of_deleted_versions_too() {
    let Some(good) = database() else { return };
    let server = serve_postgres(&good.url());
    for id in [2, 3] {
        server.send("DELETE", &format!("/models/{id}"), KEY, None);
    }
    server.signal("TERM");
    assert!(server.ended().status.success());
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
        ("SELECT setval('models_id_seq', 2)", "error models", "is at 2, and the highest id is 3"),
    ] {
        check_finds(&good, sql, place, problem);
    }
}

#[test]
fn a_check_beside_a_server_that_writes_finds_nothing() {
    let Some(database) = database() else { return };
    let server = serve_postgres(&database.url());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for id in [1, 2] {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                for score in 0.. {
                    server.score(id, "s", &json!({"score": score, (format!("m{}", score % 7)): 1}));
                    server.post(&format!("/models/{id}/promote"), &json!({}));
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for _ in 0..8 {
            let ran = Ran::of(&mut maintain(&database, ["--check"]));
            is_over.store(ran.code != 0, Ordering::Relaxed);
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for command in [
        &["tag", "set", "m:2", "team", "nlp"][..],
        &["tag", "delete", "m:1", "t"],
        &["tag", "set", "m", "team", "nlp", "--model"],
        &["alias", "set", "m", "champion", "m:1"],
        &["delete", "m:2", "n:1", "--yes", "--force"],
        &["restore", "n:1"],
        &["model", "rename", "m", "Éclair"],
    ] {
        let ran = server.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
        let checked = done(maintain(&database, ["--check"]));
        assert_eq!(checked["check"]["warnings"], json!([]), "{command:?}");
    }
}

#[test]
fn a_check_that_waits_in_postgres_is_cancelled_at_once() {
    let Some(database) = database() else { return };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event";
    thread::scope(|scope| {
        let locked =
            scope.spawn(|| database.sql("BEGIN; LOCK TABLE models; SELECT 1 FROM pg_sleep(60); ROLLBACK"));
        wait_until("the table is locked", || database.sql(&format!("{waiting} = 'PgSleep'")) == "1");
        let mut command = maintain(&database, ["--check"]);
        let check = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("the check waits", || database.sql(&format!("{waiting}_type = 'Lock'")) == "1");
        signal(check.id(), "INT");
        let ran = Ran::from(check.wait_with_output().unwrap());
        assert!(ran.code == 130 && ran.stderr.contains("error: the check was cancelled"), "{ran:?}");
        assert_eq!(database.sql(&format!("{waiting} = 'PgSleep'")), "1", "the lock is still held");
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
             WHERE datname = current_database() AND mode = 'AccessExclusiveLock' AND granted",
        );
        locked.join().unwrap_err();
    });
}

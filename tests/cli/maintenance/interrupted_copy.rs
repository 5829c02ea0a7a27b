//! `registry maintenance --copy-to`, interrupted, beside servers, and without room.

use super::{
    copying::{copy_back, copy_to, postgres},
    *,
};
use crate::{left_out::left_out, postgres_cluster::TestDatabase};

/// Makes a registry with 50 versions and 210 events, each of which are more than one page of a copy.
fn large() -> TempDir {
    let server = Server::start();
    for number in 1..=50 {
        server.add("m", &number.to_string(), &json!({"description": "d".repeat(200_000)}));
    }
    let long = json!({"text": "t".repeat(60_000)});
    for _ in 0..160 {
        server.score(1, "s", &long);
    }
    server.signal("TERM");
    server.ended().folder
}

#[test]
fn a_copy_to_postgresql_that_fails_or_is_killed_in_any_table_resumes_and_no_server_writes_before() {
    // Of its own, so that the sessions in it are of this test.
    let Some(database) = TestDatabase::create_own() else {
        return left_out("PostgreSQL is not installed, so no copy into it is interrupted");
    };
    let folder = large();
    let path = at(&folder, "registry.db");
    let url = database.url();
    // Creates the tables, so that triggers can interrupt the copy.
    let server = serve_postgres(&url);
    database.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''a fault''; END'; \
         CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); END'",
    );
    for (table, condition) in [
        ("models", ""),
        ("models", "WHEN (NEW.id = 50)"),
        ("model_events", ""),
        ("model_events", "WHEN (NEW.id = 210)"),
        ("model_heads", ""),
        ("model_texts", "WHEN (NEW.version_id = 50)"),
        ("model_counts", ""),
    ] {
        for action in ["fail", "hang"] {
            database.sql(&format!(
                "CREATE TRIGGER fault BEFORE INSERT ON {table} FOR EACH ROW {condition} EXECUTE FUNCTION {action}()"
            ));
            let mut command = copy_to(&path, &url);
            if action == "fail" {
                let error = Ran::of(&mut command).failed(1);
                assert!(error.contains("a fault") && error.contains("run the same command again"), "{error}");
            } else {
                let mut child = command.stderr(Stdio::null()).spawn().unwrap();
                let sleeping =
                    "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
                wait_until("the copy hangs", || database.sql(&format!("SELECT count(*) {sleeping}")) != "0");
                child.kill().unwrap();
                child.wait().unwrap();
                database.sql(&format!("SELECT pg_terminate_backend(pid, 5000) {sleeping}"));
            }
            database.sql(&format!("DROP TRIGGER fault ON {table}"));
            let rows = database.sql(&format!("SELECT count(*) FROM {table}"));
            assert_eq!(
                rows != "0",
                !condition.is_empty(),
                "it stopped in the middle: {table} has {rows} rows"
            );
            for arguments in [&["model", "create", "x"][..], &["health", "--ready"]] {
                let refused = server.run(arguments);
                assert!(refused.stderr.contains("is an unfinished copy of a registry"), "{refused:?}");
            }
            let mut serve = registry(["serve", "--port", "0"]);
            serve.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_DATABASE_URL", &url);
            let error = Ran::of(&mut serve).failed(1);
            assert!(error.contains("is an unfinished copy of a registry; run the same"), "{error}");
            let back = at(&folder, "back.db");
            let error = Ran::of(&mut copy_back(&url, &back)).failed(1);
            assert!(error.contains("is an unfinished copy") && !back.exists(), "{error}");
        }
    }
    assert_eq!(done(copy_to(&path, &url))["copy"]["resumed"], true);
    let back = at(&folder, "back.db");
    done(copy_back(&url, &back));
    assert_eq!(sums_of(&path), sums_of(&back));
    drop(server);
    assert_eq!(serve_postgres(&url).add("m", "next", &json!({})), 51);
}

fn sums_of(path: &Path) -> (i64, i64, i64) {
    let of = |sql: &str| count(path, sql);
    (
        of("SELECT sum(id * length(description) * number) FROM models"),
        of("SELECT sum(id * length(hash)) FROM event_chain JOIN model_events ON id = event_id"),
        of("SELECT sum(last_event_id * events) FROM version_heads"),
    )
}

#[test]
fn a_copy_into_a_file_that_has_no_room_is_unfinished_and_resumes() {
    let Some(database) = postgres() else { return };
    let folder = large();
    let path = at(&folder, "registry.db");
    done(copy_to(&path, &database.url()));
    let back = at(&folder, "back.db");
    for blocks in ["200", "18500", "19500", "30000"] {
        // The process ends, or is refused, when a file grows beyond this many blocks of 512 bytes.
        let mut limited = Command::new("sh");
        let command = copy_back(&database.url(), &back);
        limited.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"]);
        limited.arg(command.get_program()).args(command.get_args()).env_remove("CAIA_REGISTRY_DATABASE_URL");
        let output = limited.output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        let mut serve = registry(["serve", "--port", "0", "--db-path"]);
        let error = Ran::of(serve.arg(&back).env("CAIA_REGISTRY_API_KEY", KEY)).failed(1);
        assert!(error.contains("is an unfinished copy of a registry") || blocks == "200", "{error}");
    }
    let error = Ran::of(&mut maintenance(&back, ["--check"])).failed(1);
    assert!(error.contains("is an unfinished copy of a registry"), "{error}");
    let events = count(&back, "SELECT count(*) FROM model_events");
    assert!((1..210).contains(&events), "it stopped in the middle of the events, after {events}");
    assert_eq!(done(copy_back(&database.url(), &back))["copy"]["resumed"], true);
    assert_eq!(sums_of(&path), sums_of(&back));
    assert_eq!(done(maintenance(&back, ["--check"]))["check"]["ok"], true);
}

#[test]
fn a_copy_waits_for_the_write_of_a_server_and_then_finds_its_rows() {
    let Some(database) = TestDatabase::create_own() else {
        return left_out("PostgreSQL is not installed, so no copy into it waits for a write");
    };
    let folder = self::database();
    let (path, url) = (at(&folder, "registry.db"), database.url());
    drop(serve_postgres(&url));
    // It ends once the copy waits for it.
    let write = "BEGIN; SELECT check_schema(1); \
        DO 'BEGIN FOR turn IN 1..3000 LOOP PERFORM pg_sleep(0.01); EXIT WHEN EXISTS (SELECT FROM pg_locks \
            WHERE relation = ''schema_version''::regclass AND NOT granted); END LOOP; END'; \
        INSERT INTO registered_models (name, created_at, updated_at) VALUES ('m', '', ''); COMMIT";
    thread::scope(|scope| {
        let write = scope.spawn(|| database.sql(write));
        let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'schema_version'::regclass";
        wait_until("the write has begun", || database.sql(locks) != "0");
        let error = Ran::of(&mut copy_to(&path, &url)).failed(1);
        assert!(error.contains("is not empty; give a database without tables"), "{error}");
        write.join().unwrap();
    });
    assert_eq!(database.sql("SELECT to_regclass('unfinished_copy') IS NULL"), "t");
}

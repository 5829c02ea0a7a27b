//! `registry maintenance` for a registry in PostgreSQL.

mod check;

use super::*;
use crate::{
    left_out::left_out,
    postgres_cluster::{Cluster, TestDatabase},
};

/// Returns the database of a registry whose server has stopped: `m:1` in production with scores, `m:2` with a file, tags
/// and a description, and `n:1`. `None` if PostgreSQL is not installed.
pub(super) fn database() -> Option<TestDatabase> {
    let Some(database) = TestDatabase::create_own() else {
        left_out("PostgreSQL is not installed, so its maintenance is not tested");
        return None;
    };
    let server = serve_postgres(&database.url());
    let digest = "ab".repeat(32);
    for (name, version) in [("m", "1"), ("m", "2"), ("n", "1")] {
        let body = json!({"name": name, "version": version, "checkpoint_sha256": digest, "tags": ["t", "long ".repeat(200)],
            "description": "Nul\u{0} byte"});
        server.post("/models", &body);
    }
    server.post("/models/1/metrics", &json!({"suite": "s", "metrics": {"score": 1.0}}));
    server.post("/models/1/promote", &json!({}));
    server.signal("TERM");
    assert!(server.ended().status.success());
    Some(database)
}

pub(super) fn maintain<'a>(database: &TestDatabase, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = registry(["maintenance"]);
    command.args(arguments).env("CAIA_REGISTRY_DATABASE_URL", database.url());
    command
}

#[test]
fn a_purge_beside_a_server_removes_what_it_shows_and_only_with_yes() {
    let Some(database) = database() else { return };
    let server = serve_postgres(&database.url());
    for id in [2, 3] {
        server.send("DELETE", &format!("/models/{id}"), KEY, None);
    }
    server.send("DELETE", "/v1/models/n", KEY, None);
    let purge = |extra: &[&str]| {
        let arguments = ["--purge-deleted", "--older-than"].iter().chain(extra);
        maintain(&database, arguments.copied())
    };
    assert_eq!(done(purge(&["1h"]))["purge"]["versions"], json!([]), "nothing was deleted an hour ago");
    let dry_run = Ran::of(&mut purge(&["0d"]));
    assert!(
        dry_run.stdout.starts_with("2 deleted versions and 1 deleted model of postgres://"),
        "{dry_run:?}"
    );
    assert!(
        dry_run.stdout.contains("repeat with --yes") && dry_run.stdout.contains("\n  m:2\n"),
        "{dry_run:?}"
    );
    assert_eq!(database.sql("SELECT count(*) FROM deleted_models"), "2", "nothing is removed without --yes");

    let purged = done(purge(&["0d", "--yes", "--check"]));
    assert_eq!(purged["purge"]["versions"], json!(["m:2", "n:1"]));
    assert_eq!((&purged["purge"]["models"], &purged["purge"]["done"]), (&json!(1), &json!(true)), "{purged}");
    assert_eq!(purged["check"]["ok"], true, "{purged}");
    assert_eq!(done(purge(&["0d", "--yes"]))["purge"]["versions"], json!([]));
    assert_eq!(database.sql("SELECT label, model_key FROM spent_labels ORDER BY model_key"), "2|1\n1|2");
    assert_eq!(database.sql("SELECT name FROM registered_models WHERE purged"), "n");

    let events = server.send("GET", "/models/2/events", KEY, None);
    let types: Vec<_> = events.as_array().unwrap().iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(types, ["purge", "delete", "create"], "events outlive what they happened to");
    let body = json!({"name": "m", "version": "3", "artifact_uri": "s3://b"});
    assert_eq!(server.post("/models", &body)["id"], 4, "ids are never reused");
}

#[test]
fn a_large_trash_is_purged_in_many_transactions() {
    let Some(database) = database() else { return };
    let server = serve_postgres(&database.url());
    server.send("DELETE", "/models/2", KEY, None);
    server.signal("TERM");
    server.ended();
    database.sql(
        "INSERT INTO deleted_models SELECT (jsonb_populate_record(deleted, jsonb_build_object( \
            'id', 100 + n, 'number', 100 + n, 'version', 'x' || n))).* \
        FROM deleted_models AS deleted, generate_series(1, 249) AS n; \
        UPDATE registered_models SET next_number = 1000; SELECT setval('models_id_seq', 1000)",
    );
    let purged = done(maintain(&database, ["--purge-deleted", "--older-than", "0d", "--yes", "--check"]));
    assert_eq!(purged["purge"]["versions"].as_array().unwrap().len(), 250);
    assert_eq!(purged["check"]["ok"], true, "{purged}");
    assert_eq!(database.sql("SELECT count(*) FROM deleted_models"), "0");
    let transactions = "SELECT count(DISTINCT xmin::text) FROM model_events WHERE event_type = 'purge'";
    assert_eq!(database.sql(transactions), "3");
}

#[test]
fn an_action_for_files_is_refused_with_what_to_use_instead() {
    for (arguments, said) in [
        (&["--backup", "b.db"][..], "--backup is for a database file; for PostgreSQL, use pg_dump"),
        (&["--restore", "b.db", "--check"], "use pg_restore"),
        (&["--vacuum"], "autovacuum does this"),
        (&["--check", "--optimize"], "run VACUUM (ANALYZE)"),
        (&["--salvage-wal"], "recovers its own WAL"),
        (&["--check", "--db-path", "r.db", "--database-url", "postgres://a@h/x"], "cannot be used with"),
        (&[], "nothing to do"),
    ] {
        let mut command = registry(["maintenance"]);
        let ran =
            Ran::of(command.args(arguments).env("CAIA_REGISTRY_DATABASE_URL", "postgres://a:s3cret@h/x"));
        assert!(ran.code == 2 && ran.stderr.contains(said), "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }
}

#[test]
fn a_password_in_a_flag_is_warned_of() {
    let folder = super::database();
    let url = "postgres://a:s3cret@127.0.0.1:1/x";
    let copy = maintenance(&at(&folder, "registry.db"), ["--copy-to", url]);
    for (mut command, flag) in
        [(copy, "--copy-to"), (registry(["maintenance", "--check", "--database-url", url]), "--database-url")]
    {
        let ran = Ran::of(&mut command);
        let warning = format!(
            "warning: other users of this machine can see the password in {flag}; put it into PGPASSWORD or the file of \
             PGPASSFILE\nerror: can't connect"
        );
        assert!(ran.code == 1 && ran.stderr.starts_with(&warning), "{ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }
}

#[test]
fn a_database_that_can_not_be_maintained_is_refused_in_one_line() {
    let hba = "local postgres all trust\nlocal open all trust\nlocal all all scram-sha-256\n";
    let cluster = Cluster::with(&[("hba.conf", hba)], 5432, |folder| {
        let hba = format!("-chba_file={}", folder.join("hba.conf").display());
        ["-clisten_addresses=", "-cfsync=off", &hba].map(str::to_owned).into()
    });
    let Some(cluster) = cluster else {
        return left_out("PostgreSQL is not installed, so no login is tested");
    };
    cluster.sql("postgres", "ALTER ROLE registry PASSWORD 's3cret'");
    for name in ["open", "shut"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    }
    let refused = |url: &str, arguments: &[&str], password: &str| {
        let mut command = registry(["maintenance"]);
        command.args(arguments).env("CAIA_REGISTRY_DATABASE_URL", url).env("PGPASSWORD", password);
        let error = Ran::of(&mut command).failed(1);
        assert!(!error.contains("s3cret") && !error.contains("wrong-word"), "{error}");
        error
    };
    let folder = super::database();
    let copy = at(&folder, "copy.db");
    let copy = ["--copy-to", copy.to_str().unwrap()];
    let all = [&["--check"][..], &["--purge-deleted"], &["--purge-deleted", "--yes"], &copy];
    let url = cluster.url("shut");
    for password in ["wrong-word", ""] {
        let mut command = maintenance(&at(&folder, "registry.db"), ["--copy-to", &url]);
        let error = Ran::of(command.env("PGPASSWORD", password)).failed(1);
        assert!(error.contains("does not let user \"registry\" in"), "{error}");
        assert!(!error.contains("wrong-word"), "{error}");
    }
    let at = |name: &str| cluster.url(name);
    for arguments in all {
        let check = |url: &str, password: &str, said: &str| {
            let error = refused(url, arguments, password);
            assert!(error.contains(said), "{arguments:?} {url}: {error}");
        };
        check(&at("shut"), "wrong-word", "does not let user \"registry\" in");
        check(&at("shut"), "", "does not let user \"registry\" in");
        check(&at("shut"), "s3cret", "database \"shut\" holds no registry");
        check(&at("none"), "s3cret", "there is no database \"none\"");
        check(&at("open"), "", "database \"open\" holds no registry");
        check("postgres://a:s3cret@127.0.0.1:1/x", "", "can't connect to PostgreSQL at 127.0.0.1:1");
        check("registry.db", "", "--database-url: it must look like postgres://");
    }
    let both = refused(&at("open"), &["--check", "--db-path", "registry.db"], "");
    assert!(both.contains("not clear which database is meant"), "{both}");

    // A program of its own, then schemas that are newer and older.
    cluster.sql("open", "CREATE TABLE models (weights bytea)");
    for (sql, said) in [
        ("SELECT 1", "holds no registry"),
        ("CREATE TABLE schema_version AS SELECT 99 AS version", "has schema 99, made by a newer registry"),
        ("UPDATE schema_version SET version = 0", "start `registry serve` with it once"),
    ] {
        cluster.sql("open", sql);
        for arguments in all {
            let error = refused(&at("open"), arguments, "");
            assert!(error.contains(said), "{sql} {arguments:?}: {error}");
        }
    }
    assert_eq!(cluster.sql("open", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "2");
}

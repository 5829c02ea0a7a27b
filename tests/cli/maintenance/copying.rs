//! `registry maintenance --copy-to`: from SQLite to PostgreSQL and back, and refused.

use std::collections::BTreeSet;

use super::*;
use crate::{left_out::left_out, postgres_cluster::TestDatabase};

/// What servers on both sides must answer alike.
const ANSWERS: [&str; 15] = [
    "/models?limit=200",
    "/models?tag=plain",
    "/models/1/events",
    "/models/2/events",
    "/stats",
    "/v1/models?limit=100",
    "/v1/models/m",
    "/v1/models/m/history",
    "/v1/models/m/aliases",
    "/v1/events?limit=200",
    "/v1/versions?filter=scores.s.loss%20%3E%200.1",
    "/v1/versions?filter=tags.team%20%3D%20%27nlp%27",
    "/v1/policies",
    "/v1/policies/p?version=1",
    "/v1/approvals?state=all",
];
/// Tables whose rows differ although they mean the same: ids of keys, and the segments of the search index.
const INTERNAL: &str =
    "name NOT LIKE 'sqlite_stat%' AND name NOT LIKE 'model_texts%' AND name NOT IN ('scores', 'score_keys')";
const SCORES: &str = "SELECT suite || char(31) || metric || char(31) || hex(value) || char(31) || version_id \
    FROM scores JOIN score_keys ON id = key_id";

/// Returns a registry's database at rest that has rows in every table, with odd values.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = at(&folder, "c.json");
    fs::write(&config, json!({"d_model": 8, "n_layers": 2, "n_heads": 4, "vocab_size": 100}).to_string())
        .unwrap();
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).arg("--allow-local-paths");
    });
    let text = "a\u{0}b\u{1}c\u{fffe}\u{ffff} é 🦀";
    // No receiver is there, so that its deliveries stay.
    server.post(
        "/v1/webhooks",
        &json!({"name": text, "url": "https://ci.example.invalid/", "events": ["create"]}),
    );
    let add = |name: &str, version: &str, fields: Value| server.add(name, version, &fields);
    add(
        "m",
        "1",
        json!({
            "description": text, "dataset": text, "training_loss": -0.0, "training_step": i64::MAX, "params": i64::MAX,
            "tags": ["plain", text], "config_path": config, "checkpoint_sha256": "ab".repeat(32),
            "checkpoint_size_bytes": 9_007_199_254_740_993_i64,
        }),
    );
    add("m", "2", json!({"training_loss": 1e308, "tags": ["plain", "x".repeat(200)], "n_layers": 0}));
    add("m", "3", json!({"training_loss": 5e-324, "description": "", "dataset": "NaN"}));
    add(
        "n",
        "1",
        json!({"checkpoint_sha256": "cd".repeat(32), "run_id": "r", "git_commit": "abc", "source_host": "h"}),
    );
    add("n", "2", json!({}));
    add("gone", "1", json!({}));
    let many: serde_json::Map<_, _> =
        (0..500).map(|number| (format!("metric {number} {text}"), json!(f64::from(number) / 3.0))).collect();
    server.post(
        "/models/1/metrics",
        &json!({"suite": "s", "metrics": {"loss": 0.25, "huge": 1e308, "tiny": -5e-324}}),
    );
    server.post("/models/2/metrics", &json!({"suite": "s", "metrics": many}));
    server.post(
        "/models/3/metrics",
        &json!({"suite": text, "metrics": {"big": i64::MAX, "inf": "Infinity", "z": -0.0}}),
    );
    for expression in ["true", "candidate.number > 0"] {
        let conditions = json!([{"expression": expression, "message": text}]);
        let policy = json!({"target": "staging", "description": text, "conditions": conditions});
        server.send("PUT", "/v1/policies/p", KEY, Some(&policy));
    }
    server.post(
        "/v1/models/m/versions/1/approvals",
        &json!({"target": "production", "request": true, "comment": text}),
    );
    for arguments in [
        &["tag", "set", "m:1", "team", "nlp"][..],
        &["tag", "set", "m:2", &"k".repeat(200), "v"],
        &["tag", "set", "m", "size", "big", "--model"],
        &["alias", "set", "m", "champion", "m:1"],
        &["alias", "set", "m", "champion", "m:2"],
        &["promote", "m:1"],
        &["promote", "m:3"],
        &["rollback", "m", "--reason", "worse"],
        &["key", "create", "--name", "ci", "--scope", "read,alias:é *", "--models", "m*", "--expires", "30d"],
        &["key", "create", "--name", "gone", "--scope", "admin"],
        &["key", "revoke", "gone"],
        &["model", "create", "empty", "--description", "no versions"],
        &["delete", "n:1", "n:2", "gone:1", "--yes", "--force"],
        &["model", "delete", "gone", "--yes"],
    ] {
        let ran = server.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    }
    server.signal("TERM");
    let folder = server.ended().folder;
    done(maintenance(&at(&folder, "registry.db"), ["--purge-deleted", "--older-than", "0d", "--yes"]));
    let server = Server::start_in(folder);
    server.add("n", "3", &json!({"description": text}));
    server.send("DELETE", "/models/7", KEY, None);
    let file = |path: &str| json!({"path": path, "size_bytes": 5, "sha256": "ef".repeat(32)});
    let files = json!([file("model.bin"), file("é/config.json")]);
    let of_files = json!({"label": "4", "tags": {"plain": ""}, "frozen": true, "files": files});
    server.post("/v1/models/n/versions", &of_files);
    server.post("/v1/models/old/versions", &json!({"label": "1", "files": files}));
    assert_eq!(server.run(["model", "delete", "old", "--yes"]).code, 0);
    server.signal("TERM");
    server.ended().folder
}

/// Every row of every table, in order.
fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let select = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            Ok((0..columns)
                .map(|column| format!("{:?}", row.get_ref(column).unwrap()))
                .collect::<Vec<_>>()
                .join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    let names = format!("SELECT name FROM sqlite_schema WHERE type = 'table' AND {INTERNAL} ORDER BY name");
    let mut statement = connection.prepare(&names).unwrap();
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(names.len() >= 15, "{names:?}");
    let mut rows = select(&format!("{SCORES} ORDER BY 1"));
    for name in names {
        let mut of_table = select(&format!("SELECT * FROM {name}"));
        // Two tables have no order of their own.
        of_table.sort();
        assert!(!of_table.is_empty() || name == "backdated_models", "{name} has no rows");
        rows.extend(of_table.into_iter().map(|row| format!("{name}: {row}")));
    }
    rows
}

#[track_caller]
fn assert_same_dump(one: &Path, other: &Path) {
    let (one, other) = (dump(one), dump(other));
    let first = one.iter().zip(&other).find(|(one, other)| one != other);
    assert!(first.is_none() && one.len() == other.len(), "{} and {} rows; {first:?}", one.len(), other.len());
}

/// Tables that are derived from others.
const DERIVED: [&str; 8] = [
    "backdated_models",
    "model_counts",
    "model_tags",
    "model_texts",
    "score_keys",
    "scores",
    "version_files",
    "version_heads",
];

/// Fails if PostgreSQL has a table or a column that SQLite does not have, or the other way round, besides derived ones.
#[track_caller]
fn assert_same_columns(path: &Path, database: &TestDatabase) {
    let is_copied = |column: &String| !DERIVED.contains(&column.split('.').next().unwrap());
    let in_postgres = database.sql(
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name <> 'schema_version' AND column_name <> 'ordinal'",
    );
    // PostgreSQL has the links of an event in its row.
    let in_sqlite = "SELECT replace(tables.name, 'event_chain', 'model_events') || '.' || columns.name \
        FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
        WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' AND tables.name NOT LIKE 'model_texts_%' \
        AND NOT (tables.name = 'event_chain' AND columns.name IN ('event_id', 'version_id'))";
    let connection = Connection::open(path).unwrap();
    let mut in_sqlite = connection.prepare(in_sqlite).unwrap();
    let in_sqlite = in_sqlite.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap);
    let in_postgres = in_postgres.lines().map(str::to_owned);
    assert_eq!(
        in_sqlite.filter(is_copied).collect::<BTreeSet<String>>(),
        in_postgres.filter(is_copied).collect()
    );
}

pub(super) fn copy_to(database: &Path, url: &str) -> Command {
    maintenance(database, ["--copy-to", url])
}

pub(super) fn copy_back(url: &str, to: &Path) -> Command {
    let mut command = registry(["maintenance", "--database-url", url, "--copy-to"]);
    command.arg(to);
    command
}

/// Returns the answer, which may be an error.
fn post_version(server: &Server, model: &str, version: &Value) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let post = agent.post(format!("{}/v1/models/{model}/versions", server.url));
    let answer = post.header("X-API-Key", KEY).send(version.to_string());
    answer.unwrap().body_mut().read_to_string().unwrap()
}

fn answers(server: &Server) -> Vec<Value> {
    ANSWERS.iter().map(|path| server.get(path)).collect()
}

pub(super) fn postgres() -> Option<TestDatabase> {
    let database = TestDatabase::create();
    if database.is_none() {
        left_out("PostgreSQL is not installed, so nothing is copied into it");
    }
    database
}

#[test]
fn a_registry_goes_to_postgresql_and_back_with_every_row_and_both_go_on_with_the_next_ids() {
    let Some(database) = postgres() else { return };
    let folder = filled();
    let path = at(&folder, "registry.db");
    let copied = done(copy_to(&path, &database.url()));
    let copied = &copied["copy"];
    assert_eq!((&copied["versions"], &copied["resumed"]), (&json!(4), &json!(false)), "{copied}");
    let back = at(&folder, "back.db");
    assert_eq!(done(copy_back(&database.url(), &back))["copy"]["rows"], copied["rows"]);
    assert_same_dump(&path, &back);
    let mut check_postgres = registry(["maintenance", "--check"]);
    check_postgres.env("CAIA_REGISTRY_DATABASE_URL", database.url());
    for check in [maintenance(&back, ["--check"]), check_postgres] {
        assert_eq!(done(check)["check"]["warnings"], json!([]));
    }
    assert_same_columns(&path, &database);

    let other = tempfile::tempdir().unwrap();
    fs::copy(&back, at(&other, "registry.db")).unwrap();
    let servers = [Server::start_in(folder), serve_postgres(&database.url()), Server::start_in(other)];
    let [expected, over_postgres, over_copy] = servers.each_ref().map(answers);
    for ((path, expected), found) in ANSWERS.iter().zip(&expected).zip(&over_postgres) {
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(over_copy, expected);
    for server in &servers {
        assert_eq!(server.add("n", "5", &json!({})), 10, "ids of deleted versions are not given out again");
        assert_eq!(server.get("/v1/versions/10")["number"], 5);
        assert_eq!(
            server.get("/models/10/events")[0]["id"],
            expected[9]["events"][0]["id"].as_i64().unwrap() + 1
        );
        let spent = post_version(server, "n", &json!({"label": "1", "artifact_uri": "s3://b/x"}));
        assert!(spent.contains("was used before and deleted"), "{spent}");
        assert_eq!(server.run(["restore", "7"]).code, 0);
        assert_eq!(server.run(["model", "restore", "old"]).code, 0);
        assert_eq!(server.get("/models/9")["name"], "old", "it was deleted together with its model");
    }
}

#[test]
fn what_can_not_be_copied_is_refused_with_what_to_do() {
    let Some(database) = postgres() else { return };
    let url = database.url();
    let server = Server::start_in(self::database());
    let path = server.db_path();
    let refused = Ran::of(&mut copy_to(&path, &url)).failed(5);
    assert!(refused.contains("stop that one first"), "{refused}");
    server.signal("TERM");
    let folder = server.ended().folder;
    let other = at(&folder, "other.db");
    let secret = url.replace("registry@", "registry:s3cret@");
    for (mut command, code, said) in [
        (
            copy_to(&path, "postgres://a:s3cret@127.0.0.1:1/x"),
            1,
            "can't connect to PostgreSQL at 127.0.0.1:1",
        ),
        (copy_to(&path, "postgres://a:s3cret@h:x/x"), 2, "--copy-to: "),
        (copy_to(&path, "mysql://a:s3cret@h/x"), 2, "--copy-to: it must look like postgres://"),
        (copy_to(&path, &format!("{secret}&pgbouncer=true")), 1, "not of PgBouncer"),
        (copy_to(&path, &secret.replace("/shared?", "/none?")), 1, "there is no database \"none\""),
        (copy_to(&path, "other.db"), 2, "use --backup"),
        (copy_back(&url, Path::new(&url)), 2, "use pg_dump"),
        (copy_back(&url, &other), 1, "holds no registry"),
        (copy_to(&other, &url), 1, "does not exist"),
    ] {
        let error = Ran::of(&mut command);
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.stderr.contains(said) && !error.stderr.contains("s3cret"), "{said}: {error:?}");
    }
    assert!(!other.exists());
    let ran = Ran::of(&mut maintenance(&path, ["--copy-to", &url, "--check"]));
    assert!(ran.code == 2 && ran.stderr.contains("--check"), "{ran:?}");

    // Another tool may add versions without a number. The empty copy resumes once they have one.
    let set = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    set("UPDATE models SET number = 0 WHERE name = 'm'");
    let error = Ran::of(&mut copy_to(&path, &url)).failed(1);
    assert!(
        error.contains("refuses a row of the source") && error.contains("models_model_key_number_key"),
        "{error}"
    );
    set("UPDATE models SET number = id WHERE name = 'm'");
    done(copy_to(&path, &url));
    let error = Ran::of(&mut copy_to(&path, &url)).failed(1);
    assert!(error.contains("is not empty; give a database without tables"), "{error}");
    let error = Ran::of(&mut copy_back(&url, &path)).failed(1);
    assert!(error.contains("is not empty; give the name of a file that does not exist"), "{error}");
    database.sql("CREATE TABLE unfinished_copy AS SELECT '1 events 00' AS state");
    let error = Ran::of(&mut copy_to(&path, &url)).failed(1);
    assert!(
        error.contains("the source has changed since")
            && error.contains("drop the database and create it again"),
        "{error}"
    );
}

#[test]
fn a_copy_whose_rows_differ_is_not_complete_and_the_error_names_the_first_one() {
    let Some(database) = postgres() else { return };
    let folder = self::database();
    let path = at(&folder, "registry.db");
    drop(serve_postgres(&database.url()));
    database.sql(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN NEW.description = ''spoilt''; RETURN NEW; END'; \
         CREATE TRIGGER spoil BEFORE INSERT ON models FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION spoil()",
    );
    let error = Ran::of(&mut copy_to(&path, &database.url())).failed(1);
    assert!(error.contains("differs from the source in models, first in the row 2"), "{error}");
    assert_eq!(database.sql("SELECT count(*) FROM unfinished_copy"), "1");
}

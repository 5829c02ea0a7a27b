//! `registry serve`: start, refused start and shutdown.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use serde_json::json;

use crate::{KEY, Ran, left_out::left_out, postgres_cluster::TestDatabase, registry, server::Server};

/// Every file of a folder with its bytes.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn dev_shows_a_key_and_a_command_that_works() {
    let server = Server::with(tempfile::tempdir().unwrap(), 2, |command| {
        command.arg("--dev");
    });
    let [key, line] = server.greeting.as_slice() else { panic!("{:?}", server.greeting) };
    let key = key.strip_prefix("key for this run: ").unwrap();
    let tried = line.strip_prefix("try: ").unwrap();
    let output = std::process::Command::new("sh").args(["-c", &format!("{tried} --silent --fail")]).output();
    match output.unwrap() {
        tried if tried.status.success() => assert!(tried.stdout.starts_with(b"{\"total_models\":0")),
        tried => {
            assert_eq!(tried.status.code(), Some(127), "{tried:?}");
            left_out("curl is not installed to try the line that --dev shows");
        }
    }
    assert_eq!(server.send("GET", "/stats", key, None)["total_models"], 0);
}

#[test]
fn without_a_key_it_serves_health_and_says_what_to_do() {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |_| {});
    assert_eq!(server.send("GET", "/health", "", None), json!({"status": "healthy"}));
    server.signal("TERM");
    let ended = server.ended();
    assert!(ended.log.contains("set CAIA_REGISTRY_API_KEY"), "{}", ended.log);
}

#[test]
fn a_signal_shuts_the_server_down_and_leaves_one_file() {
    for signal in ["TERM", "INT"] {
        let server = Server::start();
        server.post("/models", &json!({"name": "m", "version": "1", "artifact_uri": "s3://b"}));
        assert!(server.db_path().exists());
        server.signal(signal);
        let ended = server.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        let files = snapshot(ended.folder.path());
        assert_eq!(files.len(), 1, "the WAL was moved into the database: {files:?}");
        let server = Server::start_in(ended.folder);
        assert_eq!(server.get("/stats")["total_models"], 1);
    }
}

#[test]
fn requests_in_flight_are_finished_before_the_server_ends() {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--write-queue", "1"]);
    });
    server.post("/models", &json!({"name": "m", "version": "1", "artifact_uri": "s3://b"}));
    let other = rusqlite::Connection::open(server.db_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (answered, answers) = mpsc::channel();
    let mut sent = 0;
    std::thread::scope(|scope| {
        // A refusal shows that the queue is full, so that others wait for the lock.
        loop {
            assert!(sent < 100, "no write was refused");
            let (url, answered) = (format!("{}/models/1/metrics", server.url), answered.clone());
            scope.spawn(move || {
                let agent: ureq::Agent =
                    ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let body = json!({"suite": format!("s{sent}"), "metrics": {}}).to_string();
                let answer = agent.post(url).header("X-API-Key", KEY).send(body);
                answered.send(answer.map_or(0, |answer| answer.status().as_u16())).unwrap();
            });
            sent += 1;
            if let Ok(status) = answers.recv_timeout(Duration::from_millis(50)) {
                assert_eq!(status, 503);
                break;
            }
        }
        server.signal("TERM");
        other.execute_batch("COMMIT").unwrap();
    });
    drop(answered);
    let done = answers.iter().filter(|status| *status == 200).count();
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(done >= 1, "admitted requests are answered");
    let file = rusqlite::Connection::open(ended.folder.path().join("registry.db")).unwrap();
    let evals = "SELECT count(*) FROM model_events WHERE event_type = 'eval'";
    assert_eq!(file.query_row(evals, [], |row| row.get::<_, i64>(0)).unwrap(), done as i64);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let server = Server::start();
    let id =
        server.post("/models", &json!({"name": "m", "version": "1", "artifact_uri": "s3://b"}))["id"].clone();
    let other = rusqlite::Connection::open(server.db_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let url = format!("{}/models/{id}/promote", server.url);
    std::thread::scope(|scope| {
        // The write waits for the lock, and the server waits for the write: only a second signal ends it.
        let write = || scope.spawn(|| ureq::post(&url).header("X-API-Key", KEY).send_empty().is_err());
        // A write in the queue shows that the writer has begun another one.
        let mut writes = vec![write()];
        while server.get("/queues")["write"]["depth"] == 0 {
            assert!(writes.len() < 1000, "no write ever waits");
            writes.push(write());
        }
        while !writes.iter().all(|write| write.is_finished()) {
            server.signal("INT");
            std::thread::yield_now();
        }
        for write in writes {
            assert!(write.join().unwrap(), "its connection was closed");
        }
    });
    drop(other);
    let ended = server.ended();
    assert_eq!((ended.status.code(), ended.status.signal()), (Some(130), None), "{}", ended.log);
}

#[test]
fn a_refused_start_is_one_line_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("text.db"), "this is a text and no database").unwrap();
    let newer = rusqlite::Connection::open(at("newer.db")).unwrap();
    newer.execute_batch("CREATE TABLE models (id, name, version); PRAGMA user_version = 9999").unwrap();
    drop(newer);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let before = snapshot(folder.path());
    let fresh = at("registry.db");
    for (arguments, expected) in [
        (["--port", &port, "--db-path", &fresh], "is in use; stop the server that listens there"),
        (["--host", "203.0.113.7", "--db-path", &fresh], "can't listen on 203.0.113.7:8001"),
        (["--port", "0", "--db-path", &at("text.db")], "is not a SQLite file"),
        (["--port", "0", "--db-path", &at("newer.db")], "made by a newer registry"),
        (["--port", "0", "--db-path", &at("none/registry.db")], "does not exist; create it"),
        (["--port", "0", "--db-path", folder.path().to_str().unwrap()], "is not a regular file"),
        (["--port", "0", "--db-path", "/proc/self/registry.db"], "can't be written"),
        (["--cors-origins", "not an origin", "--db-path", &fresh], "\"not an origin\" is not an origin"),
        (["--log-level", "a=b=c", "--db-path", &fresh], "--log-level \"a=b=c\" is not a level"),
        (["--local-path-root", &at("none"), "--db-path", &fresh], "none does not exist; create the folder"),
        (["--local-path-root", &at("text.db"), "--db-path", &fresh], "text.db is not a folder"),
    ] {
        let line = Ran::of(registry(["serve"]).args(arguments)).failed(1);
        assert!(line.contains(expected), "{arguments:?}: {line}");
        assert_eq!(snapshot(folder.path()), before, "{arguments:?}");
    }
}

#[test]
fn a_server_over_postgres_shows_which_one_and_no_password() {
    let Some(database) = TestDatabase::create() else {
        return left_out("PostgreSQL is not installed, so no server is started over it");
    };
    let with_password = database.url().replace("registry@", "registry:s3cret@");
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_DATABASE_URL", &with_password);
    });
    server.add("m", "1", &json!({}));
    assert_eq!(database.sql("SELECT name FROM models"), "m");
    assert!(!server.db_path().exists());
    server.signal("TERM");
    let ended = server.ended();
    assert!(ended.status.success(), "{}", ended.log);
    assert!(!ended.log.contains("s3cret"), "{}", ended.log);

    for (url, said) in [
        ("postgres://a:s3cret@127.0.0.1:1/x", "can't connect to PostgreSQL at 127.0.0.1:1"),
        ("postgres://a:s3cret@h/x?sslmode=maybe", "--database-url: sslmode=\"maybe\" is unknown"),
        ("postgres://a:s3cret@h:x/x", "--database-url: "),
    ] {
        let mut command = registry(["serve", "--port", "0"]);
        let error = Ran::of(command.env("CAIA_REGISTRY_DATABASE_URL", url)).failed(1);
        assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn more_connections_than_open_files_allow_are_an_error_if_they_were_configured() {
    let folder = tempfile::tempdir().unwrap();
    let with_few_files = |variable: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -n 512 && exec \"$0\" serve --port 0", env!("CARGO_BIN_EXE_registry")]);
        command.current_dir(folder.path()).env("CAIA_REGISTRY_MAX_CONNECTIONS", variable);
        command
    };
    let line = Ran::of(&mut with_few_files("1000")).failed(1);
    assert!(line.contains("--max-connections 1000 needs a limit of 1"), "{line}");
    assert!(line.contains("this process may have 512") && line.contains("LimitNOFILE="), "{line}");
    assert!(!folder.path().join("registry.db").exists());
    // The default is lowered to the limit.
    let mut child = with_few_files("").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut first)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.contains("listens on"), "{first}");
}

#[test]
fn invalid_and_unsafe_variables_cause_warnings() {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", "short-key").env("CAIA_REGISTRY_READERS", "many");
    });
    server.send("GET", "/stats", "short-key", None);
    server.signal("TERM");
    let log = server.ended().log;
    assert!(log.contains("fewer than 16 characters") && !log.contains("short-key"), "{log}");
    assert!(log.contains("CAIA_REGISTRY_READERS is \"many\""), "{log}");
}

#[test]
fn keys_that_the_audit_trail_can_not_tell_apart_cause_a_warning() {
    for (keys, key, warned) in [
        ("teamkey-alice-0001,teamkey-bob-00002", "teamkey-alice-0001", true),
        ("alice=teamkey-alice-0001,bob=teamkey-bob-00002", "teamkey-bob-00002", false),
    ] {
        let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
            command.env_remove("CAIA_REGISTRY_API_KEY").env("CAIA_REGISTRY_API_KEYS", keys);
        });
        server.send("GET", "/stats", key, None);
        server.signal("TERM");
        let log = server.ended().log;
        let says = "several API keys are key:team… in the audit trail; give them names";
        assert_eq!(log.contains(says), warned, "{log}");
    }
}

#[test]
fn unrestricted_local_paths_cause_a_warning() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    for (arguments, warned) in
        [(&["--allow-local-paths"][..], true), (&["--allow-local-paths", "--local-path-root", root], false)]
    {
        let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).args(arguments);
        });
        server.signal("TERM");
        let log = server.ended().log;
        assert_eq!(log.contains("restrict them to a folder with --local-path-root"), warned, "{log}");
    }
}

#[test]
fn wrong_flags_are_a_usage_error() {
    for arguments in [
        &["--port", "99999"][..],
        &["--readers", "0"],
        &["--sqlite-busy-timeout-ms", "99999999999999"],
        &["--max-hash-bytes", "x"],
        &["--log-format", "xml"],
        &["--allow-local-paths=perhaps"],
        &["--nonsense"],
    ] {
        let ran = Ran::of(registry(["serve"]).args(arguments));
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
    }
}

#[test]
fn the_log_has_one_line_a_request_as_text_or_json_and_no_key() {
    for format in ["text", "json"] {
        let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--log-format", format]);
        });
        server.get("/models");
        server.get("/stats");
        server.signal("TERM");
        let log = server.ended().log;
        let lines: Vec<_> = log.lines().filter(|line| line.contains("/stats")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(!log.contains(KEY), "{log}");
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
            assert_eq!(
                (&line["method"], &line["path"], &line["status"]),
                (&json!("GET"), &json!("/stats"), &json!(200))
            );
            assert_eq!(line["id"].as_str().unwrap().len(), 32);
        }
    }
}

//! How `registry loadtest` starts and ends: what it refuses, which registry it loads and what it leaves there, and what cuts it short.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    KEY, Ran,
    fake_registry::{FakeRegistry, answer, json as json_answer, serving},
    gateway::Gateway,
    loadtest_runs::{expect_no_files_left, loadtest, loadtest_of, report},
    object_server::until,
    server::{Server, signal},
};

#[test]
fn invalid_flags_are_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["--rate", "0"][..], "must be more than 0"),
        (&["--rate", "-5"], "must be more than 0"),
        (&["--duration", "0s"], "longer than 0"),
        (&["--duration", "soon"], "such as 10s"),
        (&["--timeout", "0s"], "longer than 0"),
        (&["--threads", "0"], "0 is not in 1..=10000"),
        (&["--threads", "3", "--connections", "4"], "cannot be used multiple times"),
        (&["--requests", "0"], "0 is not in 1.."),
        (&["--requests", "5", "--duration", "1s"], "cannot be used with"),
        (&["--requests", "5", "--requests-per-thread", "1"], "cannot be used with"),
        (&["--workers", "11"], "--workers 11"),
        (&["--scenario", "mixed", "--weights", "read=0"], "more than 0"),
        (&["--scenario", "mixed", "--weights", "delete=1"], "known are read"),
        (&["--weights", "read=1"], "goes with --scenario mixed"),
        (&["--scenario", "promote", "--models", "2"], "less than --connections"),
        (&["--scenario", "nonsense"], "invalid value"),
        (&["--suite", " "], "--suite is blank"),
        (&["--api-key", "x"], "--api-key goes with --url"),
        (&["--keep"], "--keep goes with --url"),
        (&["--out", "a.json", "--chart", "./a.json"], "name the same file"),
        (&["--url", "localhost:8001", "--api-key", "x"], "set one like"),
    ] {
        let ran = Ran::of(&mut loadtest(folder.path(), arguments.iter().copied()));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(words), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn neither_a_variable_nor_a_file_names_the_registry_to_load() {
    let server = Server::start();
    let gateway = Gateway::to(&server.url);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("registry.toml");
    fs::write(&config, format!("url = {:?}\napi_key = 'k'", gateway.url)).unwrap();
    let ran = Ran::of(
        loadtest(folder.path(), ["--requests", "10"])
            .env("CAIA_REGISTRY_URL", &gateway.url)
            .env("CAIA_REGISTRY_API_KEY", KEY)
            .env("CAIA_REGISTRY_CONFIG", &config),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(gateway.requests("").is_empty());
}

#[test]
fn without_a_registry_it_ends_before_the_run() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The system accepts its connections, and it never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    for (url, key, code, words) in [
        (format!("http://{free}"), KEY, 3, "Connection refused"),
        ("http://nowhere.invalid".to_owned(), KEY, 3, "no registry at http://nowhere.invalid"),
        (server.url.clone(), "wrong", 4, "refused the API key"),
        (silent_url, KEY, 3, "no complete answer in time"),
        (FakeRegistry::answering([answer(200, "", "<html>")]).url, KEY, 1, "does not answer like a registry"),
        (FakeRegistry::answering([json_answer(200, "{}")]).url, KEY, 1, "does not answer like a registry"),
        (FakeRegistry::answering([answer(302, "Location: /login\r\n", "")]).url, KEY, 1, "it answers 302"),
        (FakeRegistry::answering(["SSH-2.0-x\r\n\r\n".to_owned()]).url, KEY, 1, "not HTTP"),
    ] {
        let arguments = ["--url", &url, "--api-key", key, "--timeout", "1s"];
        let line = Ran::of(&mut loadtest(folder.path(), arguments)).failed(code);
        assert!(line.contains(words), "{url}: {line}");
    }
    assert!(!folder.path().join("qa_artifacts/concurrency.json").exists());
}

#[test]
fn files_that_cannot_be_written_are_found_before_the_load() {
    let server = Server::start();
    let gateway = Gateway::to(&server.url);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for (arguments, words) in [
        (["--out", "file/a.json"], "file"),
        (["--out", "/proc/self/a.json"], "/proc/self/a.json"),
        (["--hdr-out", "none/a.hgrm"], "there is no folder"),
        (["--chart", "/dev/null"], "a device"),
    ] {
        let line = Ran::of(&mut loadtest_of(folder.path(), &gateway.url, arguments)).failed(1);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
    assert!(gateway.requests("").is_empty());
}

#[test]
fn on_another_server_versions_have_their_own_name_and_stay_only_with_keep() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for (arguments, left) in [(&["--requests", "5"][..], 0), (&["--requests", "5", "--keep"], 1)] {
        let ran = Ran::of(&mut loadtest_of(folder.path(), &server.url, arguments.iter().copied()));
        let report = report(&ran, folder.path());
        assert_eq!((ran.code, &server.get("/stats")["total_models"]), (0, &json!(left)), "{ran:?}");
        assert!(report["versions"]["name"].as_str().unwrap().starts_with("loadtest-"), "{report}");
        let events = server.get(&format!("/models/{}/events", report["model_id"]));
        let evals = events.as_array().unwrap().iter().filter(|event| event["event_type"] == "eval").count();
        assert_eq!(evals, 5, "its events stay");
    }
}

#[test]
fn a_list_with_other_names_deletes_nothing_and_a_stale_list_ends_the_deleting() {
    for (foreign, deletions, words) in [(true, 0, "has versions of other names"), (false, 1, "still has")] {
        let (name, deleted) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (known, counted) = (Arc::clone(&name), Arc::clone(&deleted));
        let url = serving(move |line| {
            if line.starts_with("DELETE") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            let path = line.split(' ').nth(1).unwrap();
            if let Some(query) = path.strip_prefix("/models?name=") {
                *known.lock().unwrap() = query.split('&').next().unwrap().to_owned();
                let own = json!({"id": 1, "name": *known.lock().unwrap()});
                return match foreign {
                    true => json!([own, {"id": 7, "name": "people-need-it"}]).to_string(),
                    false => json!([own]).to_string(),
                };
            }
            if path == "/stats" { r#"{"total_models":0}"#.to_owned() } else { r#"{"id":1}"#.to_owned() }
        });
        let folder = tempfile::tempdir().unwrap();
        let ran = Ran::of(&mut loadtest_of(folder.path(), &url, ["--scenario", "read", "--models", "1"]));
        assert_eq!((ran.code, deleted.load(Ordering::SeqCst)), (1, deletions), "{ran:?}");
        assert_eq!(report(&ran, folder.path())["ok"], false);
        let name = name.lock().unwrap().clone();
        assert!(ran.stderr.contains(words) && ran.stderr.contains(&name), "{ran:?}");
    }
}

/// Starts a run of one minute against the server, which has written something when this returns.
fn running_load(folder: &TempDir, server: &Server) -> Child {
    let mut command = loadtest_of(folder.path(), &server.url, ["--duration", "60s"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("nothing was written", || {
        let events = server.get("/models/1/events?limit=2");
        events.as_array().is_some_and(|events| events.iter().any(|event| event["event_type"] == "eval"))
    });
    child
}

#[test]
fn a_server_that_dies_ends_the_run_soon_with_a_report() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let child = running_load(&folder, &server);
    let died = Instant::now();
    server.signal("KILL");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(died.elapsed() < Duration::from_secs(20), "{:?}", died.elapsed());
    let report = report(&ran, folder.path());
    assert_eq!((&report["ok"], &report["ended_by"]), (&json!(false), &json!("server_gone")));
    assert!(report["requests_success"].as_u64().unwrap() > 0);
    assert!(report["exception_type_counts"]["ConnectionRefused"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["readback"]["complete"], false);
    assert!(ran.stderr.contains("the server went away"), "{ran:?}");
}

#[test]
fn ctrl_c_ends_the_run_with_a_report() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let child = running_load(&folder, &server);
    signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    let report = report(&ran, folder.path());
    assert_eq!((&report["ok"], &report["ended_by"]), (&json!(false), &json!("interrupt")));
    let readback = &report["readback"];
    assert_eq!((&readback["complete"], &readback["missing"]), (&json!(true), &json!(0)), "{readback}");
    assert_eq!(server.get("/stats")["total_models"], 0, "its versions are deleted all the same");
}

#[test]
fn its_own_server_ends_with_it_even_after_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = loadtest(folder.path(), ["--duration", "60s"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("its server has no database", || {
        let folders = fs::read_dir(folder.path().join("tmp")).unwrap();
        folders.flatten().any(|folder| folder.path().join("registry.db").exists())
    });
    signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    expect_no_files_left(folder.path());
}

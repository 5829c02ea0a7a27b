//! `registry loadtest` on its own server, on another server, and on servers that misbehave.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    KEY, Ran,
    fake_registry::{FakeRegistry, answer, json as json_answer},
    gateway::{Fate, Gateway},
    object_server::until,
    registry,
    server::{Server, signal},
};

/// `registry loadtest` in `folder`, which also holds its temporary files.
fn loadtest<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = registry(["loadtest"]);
    command.args(arguments).current_dir(folder).env("TMPDIR", temporary);
    command
}

/// Returns the same against the registry at `url`.
fn loadtest_of<'a>(folder: &Path, url: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = loadtest(folder, ["--url", url]);
    command.args(arguments).env("CAIA_REGISTRY_API_KEY", KEY);
    command
}

/// Returns the printed report, which equals the written one.
#[track_caller]
fn report(ran: &Ran, folder: &Path) -> Value {
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let written = fs::read_to_string(folder.join("qa_artifacts/concurrency.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), report);
    report
}

fn expect_no_files_left(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn without_arguments_it_is_the_check_of_0_2_0_with_its_keys_first() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Ran::of(&mut loadtest(folder.path(), []));
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = report(&ran, folder.path());
    let keys: Vec<_> = report.as_object().unwrap().keys().take(13).map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "ok",
            "requests_total",
            "requests_success",
            "requests_failed",
            "locked_errors",
            "status_code_counts",
            "exception_type_counts",
            "latency_ms",
            "errors_sample",
            "model_id",
            "started_at_epoch",
            "ended_at_epoch",
            "runtime_seconds"
        ]
    );
    let keys: Vec<_> = report["latency_ms"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["count", "min", "max", "mean", "p50", "p95", "p99", "p999"]);
    assert_eq!((&report["ok"], &report["requests_total"]), (&json!(true), &json!(200)));
    assert_eq!(report["status_code_counts"], json!({"200": 200}));
    let readback = &report["readback"];
    assert_eq!((&readback["writes_acknowledged"], &readback["events_found"]), (&json!(200), &json!(200)));
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.starts_with("ok: 200 of 200 requests"), "{ran:?}");
    expect_no_files_left(folder.path());
}

#[test]
fn every_scenario_runs_and_its_writes_are_read_back() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for (scenario, writes) in
        [("metrics", 60), ("read", 0), ("list", 0), ("register", 60), ("promote", 60), ("health", 0)]
    {
        let arguments = ["--scenario", scenario, "--requests", "60", "--threads", "3"];
        let ran = Ran::of(&mut loadtest_of(folder.path(), &server.url, arguments));
        assert_eq!(ran.code, 0, "{scenario}: {ran:?}");
        let report = report(&ran, folder.path());
        assert_eq!(report["requests_success"], 60, "{scenario}");
        assert_eq!(report["readback"]["events_found"], writes, "{scenario}");
        assert_eq!(report["operations"][scenario]["success"], 60, "{scenario}");
    }
    assert_eq!(server.get("/stats")["total_models"], 0, "all of it was deleted");
}

#[test]
fn a_mix_reports_each_operation_and_leaves_one_production_version() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Ran::of(&mut loadtest(
        folder.path(),
        [
            "--scenario",
            "mixed",
            "--weights",
            "read=2,list=1,metrics=2,register=1,promote=2",
            "--requests",
            "400",
            "--models",
            "20",
            "--hdr-out",
            "load.hgrm",
            "--chart",
            "load.html",
        ],
    ));
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = report(&ran, folder.path());
    let operations = report["operations"].as_object().unwrap();
    assert_eq!(operations.len(), 5, "{operations:?}");
    assert_eq!(operations.values().map(|one| one["success"].as_u64().unwrap()).sum::<u64>(), 400);
    let production = &report["production"];
    assert_eq!((&production["ok"], &production["versions"]), (&json!(true), &json!(1)), "{production}");
    let distribution = fs::read_to_string(folder.path().join("load.hgrm")).unwrap();
    assert!(distribution.contains("Total count    =          400"), "{distribution}");
    let page = fs::read_to_string(folder.path().join("load.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("promote"), "{page:.200}");
}

#[test]
fn a_rate_is_kept_after_a_warm_up_that_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["--scenario", "read", "--models", "3", "--rate", "500", "--requests", "100", "--warmup", "100ms"];
    let ran = Ran::of(&mut loadtest(folder.path(), arguments));
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = report(&ran, folder.path());
    assert_eq!((&report["requests_total"], &report["warmup"]["requests"]), (&json!(100), &json!(50)));
    let rate = &report["rate"];
    assert_eq!(
        (&rate["due"], &rate["unsent"], &rate["lateness_ms"]["count"]),
        (&json!(100), &json!(0), &json!(100))
    );
    // The last one is due 198 ms after the first.
    assert!(report["runtime_seconds"].as_f64().unwrap() >= 0.198, "{report}");
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
fn an_acknowledged_write_without_an_event_is_found() {
    let server = Server::start();
    let gateway = Gateway::to(&server.url);
    gateway.fate("/metrics", 1, Fate::Answered(json_answer(200, r#"{"id":1}"#)));
    let folder = tempfile::tempdir().unwrap();
    let ran = Ran::of(&mut loadtest_of(folder.path(), &gateway.url, ["--threads", "2", "--requests", "10"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = report(&ran, folder.path());
    assert_eq!((&report["ok"], &report["requests_failed"]), (&json!(false), &json!(0)));
    let readback = &report["readback"];
    assert_eq!(
        (&readback["writes_acknowledged"], &readback["missing"]),
        (&json!(10), &json!(1)),
        "{readback}"
    );
    assert!(
        readback["missing_sample"][0].as_str().unwrap().starts_with("metrics write 0 of caller"),
        "{readback}"
    );
    assert!(ran.stderr.contains("of 10 acknowledged writes 1 are missing"), "{ran:?}");
}

#[test]
fn connection_errors_are_counted_by_name_and_never_as_lost_writes() {
    let server = Server::start();
    let gateway = Gateway::to(&server.url);
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    for fate in [
        Fate::Dropped,
        Fate::AnswerLost,
        Fate::Unanswered,
        Fate::Answered("SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned()),
        Fate::Answered("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_owned()),
        Fate::Answered(head),
        Fate::Answered(answer(503, "Retry-After: 1\r\n", r#"{"detail":"database is locked"}"#)),
        Fate::Answered(answer(503, "Retry-After: 1\r\n", r#"{"detail":"too busy"}"#)),
    ] {
        gateway.fate("/metrics", 1, fate);
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--threads", "1", "--requests", "20", "--timeout", "500ms"];
    let ran = Ran::of(&mut loadtest_of(folder.path(), &gateway.url, arguments));
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = report(&ran, folder.path());
    assert_eq!((&report["requests_success"], &report["requests_failed"]), (&json!(12), &json!(8)));
    assert_eq!(report["status_code_counts"], json!({"200": 12, "503": 2}));
    assert_eq!(report["locked_errors"], 1);
    assert_eq!(
        report["exception_type_counts"],
        json!({"AnswerTooLarge": 1, "AnswerTruncated": 1, "ConnectionClosed": 2, "MalformedAnswer": 1, "Timeout": 1})
    );
    let readback = &report["readback"];
    for (key, count) in [
        ("writes_acknowledged", 12),
        ("events_found", 12),
        ("missing", 0),
        ("unacknowledged", 8),
        ("unacknowledged_found", 1),
        ("unexpected", 0),
    ] {
        assert_eq!(readback[key], count, "{key}: {readback}");
    }
}

/// Starts a server that keeps connections; `answer` returns the body for a request line.
fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    let converse = move |mut stream: TcpStream, answer: &dyn Fn(&str) -> String| -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body)?;
            let body = answer(head.lines().next().unwrap());
            // In chunks, for a change.
            let chunks =
                format!("{:x}\r\n{}\r\n{:x};x\r\n{}\r\n0\r\n\r\n", 1, &body[..1], body.len() - 1, &body[1..]);
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes(),
            )?;
        }
    };
    // They end with the test process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || converse(stream?, &*answer));
        }
    });
    url
}

/// Starts a server that answers as a registry with one version, and stalls at the first request for it.
fn stalling(stall: Duration) -> String {
    let reads = AtomicUsize::new(0);
    answering(move |line| {
        let body = match line.split(' ').nth(1).unwrap() {
            "/stats" => r#"{"total_models":0}"#,
            path if path.starts_with("/models?") => "[]",
            "/models/1" => {
                if line.starts_with("GET") && reads.fetch_add(1, Ordering::SeqCst) == 0 {
                    thread::sleep(stall);
                }
                r#"{"id":1}"#
            }
            _ => r#"{"id":1}"#,
        };
        body.to_owned()
    })
}

#[test]
fn a_list_with_other_names_deletes_nothing_and_a_stale_list_ends_the_deleting() {
    for (foreign, deletions, words) in [(true, 0, "has versions of other names"), (false, 1, "still has")] {
        let (name, deleted) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (known, counted) = (Arc::clone(&name), Arc::clone(&deleted));
        let url = answering(move |line| {
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

#[test]
fn a_stall_is_in_the_latency_of_all_requests_due_in_it() {
    let url = stalling(Duration::from_millis(500));
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["--scenario", "read", "--models", "1", "--threads", "1", "--requests", "100", "--rate", "200"];
    let ran = Ran::of(&mut loadtest_of(folder.path(), &url, arguments));
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = report(&ran, folder.path());
    // The n-th is due after n × 5 ms and can't be sent before 500 ms have passed, on any machine.
    let of = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap();
    assert!(of("/latency_ms/p50") >= 240.0 && of("/rate/lateness_ms/p50") >= 240.0, "{report}");
    // From the sending times, one request in a hundred is slow.
    assert!(of("/rate/service_ms/p50") < of("/latency_ms/p50"), "{report}");
}

#[test]
fn a_rate_that_cannot_be_kept_is_reported_with_unsent_requests() {
    let url = stalling(Duration::from_millis(600));
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["--scenario", "read", "--models", "1", "--threads", "1", "--duration", "300ms", "--rate", "1000"];
    let ran = Ran::of(&mut loadtest_of(folder.path(), &url, arguments));
    let report = report(&ran, folder.path());
    assert_eq!((ran.code, &report["ok"]), (1, &json!(false)), "{ran:?}");
    assert_eq!((&report["requests_total"], &report["rate"]["unsent"]), (&json!(1), &json!(299)), "{ran:?}");
    // They waited for 1 to 299 ms, and the one that was sent for 600 ms.
    assert_eq!(report["latency_ms"]["count"], 300, "{report}");
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() >= 145.0, "{report}");
    assert!(report["rate"]["oldest_unsent_ms"].as_f64().unwrap() >= 298.0, "{report}");
    assert!(ran.stderr.contains("299 were due and could not be sent in time"), "{ran:?}");
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

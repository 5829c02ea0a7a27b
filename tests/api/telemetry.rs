//! `/metrics` and `/ready`.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    time::Duration,
};

use serde_json::json;

use crate::support::{KEY, TestApp, at_once, encoded, over_postgres};

/// Returns the value of a series, by its full name with labels.
#[track_caller]
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{series} is missing in {page}"));
    line.parse().unwrap()
}

#[test]
fn metrics_need_the_key_unless_they_are_public() {
    let app = TestApp::spawn();
    for key in ["", "wrong"] {
        app.request("GET", "/metrics", &[("X-API-Key", key)], None).refused(401);
    }
    let answer = app.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for reason in ["missing", "wrong"] {
        let series = format!("registry_authentication_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(value(&answer.text, &series), 1.0);
    }
    assert!(!answer.text.contains(KEY), "{}", answer.text);
    let public = TestApp::with(|settings| settings.http.public_metrics = true);
    assert_eq!(public.request("GET", "/metrics", &[("X-API-Key", "")], None).status, 200);
    public.request("GET", "/stats", &[("X-API-Key", "")], None).refused(401);
}

#[test]
fn a_scraper_that_asks_for_openmetrics_gets_it() {
    let app = TestApp::spawn();
    let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
    let answer = app.request("GET", "/metrics", &[("Accept", accept)], None);
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
}

#[test]
fn requests_are_counted_by_route_method_and_status_and_never_by_path() {
    let app = TestApp::spawn();
    let id = app.register("na/me", "1");
    for _ in 0..3 {
        app.model(id);
    }
    for path in ["/models/7", "/models/8", "/models/x", "/models/%20"] {
        app.get(path);
    }
    app.get(&format!("/models/by-name/{}/1", encoded("na/me"))).ok();
    app.request("PUT", &format!("/models/{id}"), &[], None).refused(405);
    app.exchange(b"BREW /stats HTTP/1.1\r\nHost: x\r\n\r\n").refused(405);
    for path in ["/secret/path", "/models/1/2/3/4", "/metrics/"] {
        app.get(path).refused(404);
    }
    app.request("GET", "/stats", &[("X-API-Key", "wrong")], None).refused(401);
    let page = app.get("/metrics").text;
    let counted = |route: &str, method: &str, status: u16| {
        let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
        value(&page, &format!("registry_http_requests_total{{{labels}}}"))
    };
    assert_eq!(counted("/models", "POST", 200), 1.0);
    assert_eq!(counted("/models/{id}", "GET", 200), 3.0);
    assert_eq!(counted("/models/{id}", "GET", 404), 2.0);
    assert_eq!(counted("/models/{id}", "GET", 422), 2.0);
    assert_eq!(counted("/models/by-name/{name}/{version}", "GET", 200), 1.0);
    assert_eq!(counted("/models/{id}", "other", 405), 1.0);
    assert_eq!(counted("/stats", "other", 405), 1.0);
    assert_eq!(counted("/stats", "GET", 401), 1.0);
    assert_eq!(counted("unmatched", "GET", 404), 3.0);
    let labels = "{route=\"/models/{id}\",method=\"GET\"}";
    assert_eq!(value(&page, &format!("registry_http_request_duration_seconds_count{labels}")), 7.0);
    assert!(value(&page, &format!("registry_http_request_duration_seconds_sum{labels}")) > 0.0);
    let routes: BTreeSet<_> =
        page.split("route=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(
        routes.into_iter().collect::<Vec<_>>(),
        ["/models", "/models/by-name/{name}/{version}", "/models/{id}", "/stats", "unmatched"]
    );
}

#[test]
fn commits_queues_digests_and_the_build_are_shown() {
    if over_postgres() {
        return;
    }
    let app = TestApp::with(|settings| {
        settings.rules.allow_local_paths = true;
        settings.database.write_queue = 1;
    });
    let file = app.folder.path().join("model.pt");
    std::fs::write(&file, vec![7; 3 << 20]).unwrap();
    app.register_with("m", "1", &json!({"checkpoint_path": file}));
    app.get("/models/1").ok();
    let held = app.other_process();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answers = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|index| {
                let app = &app;
                scope.spawn(move || app.record(1, &format!("s{index}"), json!({"score": 1})).status)
            })
            .collect();
        let series = "registry_queue_refused_total{queue=\"write\"}";
        while value(&app.get("/metrics").text, series) == 0.0 {}
        held.execute_batch("COMMIT").unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let page = app.get("/metrics").text;
    let refused = answers.iter().filter(|status| **status == 503).count();
    assert_eq!(value(&page, "registry_queue_refused_total{queue=\"write\"}"), refused as f64);
    assert_eq!(value(&page, "registry_queue_refused_total{queue=\"read\"}"), 0.0);
    assert_eq!(value(&page, "registry_queue_capacity{queue=\"write\"}"), 1.0);
    for queue in ["read", "write", "hash", "checkpoint"] {
        assert_eq!(value(&page, &format!("registry_queue_depth{{queue=\"{queue}\"}}")), 0.0);
    }
    let done = 1 + answers.len() - refused;
    assert_eq!(value(&page, "registry_commit_operations_sum"), done as f64);
    let commits = value(&page, "registry_commit_duration_seconds_count");
    assert!((2.0..=done as f64).contains(&commits), "{commits}");
    assert_eq!(value(&page, "registry_commits_failed_total"), 0.0);
    assert_eq!(value(&page, "registry_writable"), 1.0);
    assert!(value(&page, "registry_wal_pages") > 0.0);
    let log = std::fs::metadata(app.folder.path().join("registry.db-wal")).unwrap().len();
    assert_eq!(value(&page, "registry_wal_bytes"), log as f64);
    assert!(value(&page, "registry_database_bytes") > 0.0);
    assert_eq!(value(&page, "registry_hash_bytes_total"), f64::from(3 << 20));
    assert_eq!(value(&page, "registry_hash_files_total"), 1.0);
    assert!(value(&page, "registry_hash_seconds_total") > 0.0);
    assert_eq!(value(&page, "registry_build_info{version=\"test\"}"), 1.0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - value(&page, "process_start_time_seconds")).abs() < 600.0);
}

#[test]
fn a_server_that_can_write_is_ready_and_no_key_is_needed_to_ask() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let before =
        app.other_process().query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let answer = app.request("GET", "/ready", &[("X-API-Key", "")], None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.ok(), json!({"status": "ready"}));
    assert_eq!(app.request("HEAD", "/ready", &[], None).status, 200);
    let after = app.other_process().query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(after, before);
    assert_eq!(app.get("/stats").ok()["total_models"], 0);
}

#[test]
fn many_readiness_checks_cost_the_writer_one_commit() {
    let app = TestApp::spawn();
    let begun = std::time::Instant::now();
    let answers = at_once(64, |_| app.request("GET", "/ready", &[("X-API-Key", "")], None).status);
    assert_eq!(answers, [200; 64]);
    let seconds = begun.elapsed().as_secs_f64();
    let commits = value(&app.get("/metrics").text, "registry_commit_duration_seconds_count");
    assert!((1.0..=2.0 + seconds).contains(&commits), "{commits} in {seconds} s");
}

#[test]
fn a_stuck_writer_is_not_ready_and_gets_one_probe_for_all_waiting_checks() {
    if over_postgres() {
        return;
    }
    let app = TestApp::with(|settings| settings.database.store.busy_timeout = Duration::from_secs(60));
    let held = app.other_process();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        let answers = at_once(16, |_| app.get("/ready"));
        for answer in answers {
            assert!(answer.refused(503).contains("has not answered for 2 seconds"));
        }
    }
    // The writer works on the only probe; no other one is queued.
    assert_eq!(app.get("/queues").ok()["write"]["depth"], 0);
    drop(held);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while app.get("/ready").status != 200 {
        assert!(std::time::Instant::now() < deadline, "it does not become ready again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_write_queue_is_not_ready() {
    if over_postgres() {
        return;
    }
    let app = TestApp::with(|settings| settings.database.write_queue = 1);
    let id = app.register("m", "1");
    let held = app.other_process();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let (answered, answers) = std::sync::mpsc::channel();
        // When one is refused, the writer is busy with another, and a third fills its queue.
        for number in 0.. {
            assert!(number < 1000, "the queue is never full");
            let (app, answered) = (&app, answered.clone());
            scope.spawn(move || answered.send(app.record(id, &format!("s{number}"), json!({})).status));
            if let Ok(status) = answers.recv_timeout(Duration::from_millis(50)) {
                assert_eq!(status, 503);
                break;
            }
        }
        let detail = app.get("/ready").refused(503);
        assert!(detail.contains("the queue of writes is full"), "{detail}");
        drop(held);
    });
}

#[test]
fn open_and_refused_connections_are_counted() {
    let app = TestApp::with(|settings| settings.http.max_connections = 2);
    app.get("/health").ok();
    // The answer shows that the server has accepted the connection.
    let mut held = std::net::TcpStream::connect(app.address).unwrap();
    held.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    held.read_exact(&mut [0; 12]).unwrap();
    let refused = app.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(refused.status, 503);
    let page = app.get("/metrics").text;
    assert_eq!(value(&page, "registry_http_connections_open"), 2.0);
    assert_eq!(value(&page, "registry_http_connections_refused_total{reason=\"limit\"}"), 1.0);
    drop(held);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while value(&app.get("/metrics").text, "registry_http_connections_open") != 1.0 {
        assert!(std::time::Instant::now() < deadline, "a closed connection still counts");
        std::thread::sleep(Duration::from_millis(20));
    }
}

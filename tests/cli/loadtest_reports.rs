//! What `registry loadtest` measures and reports: scenarios, rates, errors, and writes that it reads back.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Ran,
    fake_registry::{answer, json as json_answer, serving},
    gateway::{Fate, Gateway},
    loadtest_runs::{expect_no_files_left, loadtest, loadtest_of, report},
    server::Server,
};

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

/// Starts a server that answers as a registry with one version, and stalls at the first request for it.
fn stalling(stall: Duration) -> String {
    let reads = AtomicUsize::new(0);
    serving(move |line| {
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

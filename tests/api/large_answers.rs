//! Large answers: clients that ask for megabytes and do not read them cost the server little memory, and no other
//! client notices them. The server runs as a process of its own, so that its memory can be measured.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{KEY, TestApp, at_once, ids};

const VERSIONS: usize = 100;
/// Metrics of one version, in bytes; a list of all versions holds 20 MB.
const METRICS_BYTES: usize = 200_000;
const STALLED_CLIENTS: usize = 60;
/// The server's own budget for large answers, and 100 KB for each connection, in KiB.
const MEMORY_LIMIT_KIB: u64 = 16 * 1024 + STALLED_CLIENTS as u64 * 100 + 12 * 1024;

/// Far less than the 30 s for which a server waits for a stalled client, and enough for a machine that is busy.
const OTHERS_MAY_WAIT: Duration = Duration::from_secs(10);

struct Process {
    address: String,
    child: Child,
    _folder: TempDir,
}

impl Process {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_registry"))
            .args(["serve", "--port", "0"])
            .current_dir(folder.path())
            .env("CAIA_REGISTRY_API_KEY", KEY)
            .env("CAIA_REGISTRY_MAX_WRITE_BODY_BYTES", "4000000")
            .env("CAIA_REGISTRY_MAX_METRICS_BODY_BYTES", "4000000")
            .env("CAIA_REGISTRY_MAX_EVENT_PAYLOAD_BYTES", "4000000")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.contains("://"));
        let address = url.unwrap_or_else(|| panic!("no address in {line:?}")).replace("http://", "");
        Self { address, child, _folder: folder }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("X-API-Key", KEY)
            .body(body.to_owned())
            .unwrap();
        let mut answer = ureq::Agent::new_with_defaults().run(request).unwrap();
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Returns a connection that has sent a request and reads nothing of the answer.
    fn stalled(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {KEY}\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// Returns a line of `/proc/…/status`, in KiB.
    fn memory_kib(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
fn clients_that_do_not_read_large_answers_cost_little_memory() {
    let server = Process::start();
    let metrics = json!({ "suites": { "s": { "score": 1, "notes": "x".repeat(METRICS_BYTES) } } });
    for version in 0..VERSIONS {
        let body = json!({"name": "m", "version": version.to_string(), "artifact_uri": "s3://x", "metrics": metrics});
        server.send("POST", "/models", &body.to_string());
    }
    let scores = json!({ "suite": "s", "metrics": { "notes": "y".repeat(METRICS_BYTES) } }).to_string();
    for _ in 0..VERSIONS {
        server.send("POST", "/models/1/metrics", &scores);
    }
    let small = json!({"name": "small", "version": "1", "artifact_uri": "s3://x", "status": "staging"});
    let small = server.send("POST", "/models", &small.to_string())["id"].clone();
    let all: Vec<_> = (1..=VERSIONS).map(|id| id.to_string()).collect();
    let before = server.memory_kib("VmRSS");
    let paths = [
        "/models?limit=200",
        "/models/status/experimental",
        &format!("/compare?ids={}", all.join(",")),
        "/models/1/events?limit=500",
        "/models/2",
        "/v1/models/m/versions?limit=200",
        "/v1/versions?limit=200&sort=number",
        "/v1/models/m/versions/2",
        "/v1/events?limit=500",
    ];
    let stalled: Vec<_> =
        (0..STALLED_CLIENTS).map(|client| server.stalled(paths[client % paths.len()])).collect();
    // The first byte shows that the answer has begun.
    for stream in &stalled {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    }
    let begun = Instant::now();
    assert_eq!(server.send("GET", "/health", ""), json!({"status": "healthy"}));
    assert_eq!(server.send("GET", &format!("/models/{small}"), "")["id"], small);
    assert_eq!(ids(&server.send("GET", "/models/status/staging", "")), [small.as_i64().unwrap()]);
    let waited = begun.elapsed();
    let list = server.send("GET", "/models?limit=200&name=m", "");
    assert_eq!(ids(&list).len(), VERSIONS);
    assert!(
        list.as_array().unwrap().iter().skip(1).all(|model| {
            model["metrics"]["suites"]["s"]["notes"].as_str().unwrap().len() == METRICS_BYTES
        })
    );
    let peak = server.memory_kib("VmHWM");
    let grown = peak.saturating_sub(before);
    assert!(grown < MEMORY_LIMIT_KIB, "{before} KiB before, {peak} KiB at most: {grown} KiB more");
    assert!(waited < OTHERS_MAY_WAIT, "others waited {waited:?}");
    drop(stalled);
}

/// One event is more than a socket takes, and the events of all clients are more than the budget. So the server has dropped
/// the rest of what it read for most clients, and reads it again after an event was added.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
fn a_large_audit_trail_that_is_read_slowly_survives_a_new_event() {
    const EVENT_BYTES: usize = 900_000;
    let server = Process::start();
    let model = json!({"name": "m", "version": "1", "artifact_uri": "s3://x"});
    server.send("POST", "/models", &model.to_string());
    let scores = json!({ "suite": "s", "metrics": { "notes": "y".repeat(EVENT_BYTES) } }).to_string();
    for _ in 0..2 {
        server.send("POST", "/models/1/metrics", &scores);
    }
    let mut stalled: Vec<_> = (0..20)
        .map(|client| server.stalled(["/models/1/events", "/v1/events?model=m&limit=2"][client % 2]))
        .collect();
    for stream in &stalled {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    }
    server.send("PATCH", "/models/1", r#"{"description": "one more event"}"#);
    for stream in &mut stalled {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let mut bytes = vec![0; 1 << 16];
            let count = stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the answer was cut off after {} bytes", answer.len());
            answer.extend_from_slice(&bytes[..count]);
        }
        assert!(answer.len() > 2 * EVENT_BYTES);
    }
}

/// Returns a registry whose lists are larger than any buffer of the server.
fn with_large_rows(versions: usize) -> TestApp {
    let app = TestApp::with(|settings| settings.http.max_write_body_bytes = 4_000_000);
    for version in 0..versions {
        let notes = "x".repeat(version * 7_919 % 180_000);
        app.register_with(
            "m",
            &version.to_string(),
            &json!({"metrics": {"notes": notes}, "params": version}),
        );
    }
    app
}

#[test]
fn a_large_list_holds_the_same_versions_in_the_same_order_as_small_pages() {
    let app = with_large_rows(40);
    for path in [
        "/models?limit=200&order=asc",
        "/models?limit=40&sort=updated_at",
        "/models?limit=200&name=m&sort=training_step",
    ] {
        let answer = app.get(path);
        assert_eq!(answer.header("x-total-count"), Some("40"), "{path}");
        assert_eq!(answer.header("link"), None, "{path}");
        let whole = answer.ok();
        let mut pages = Vec::new();
        let mut next = Some(path.replace("limit=200", "limit=3").replace("limit=40", "limit=3"));
        while let Some(page) = next {
            let answer = app.get(&page);
            next = answer.next_page();
            pages.extend(answer.ok().as_array().unwrap().clone());
        }
        assert_eq!(whole, Value::Array(pages), "{path}");
    }
    let offset = app.get("/models?limit=30&offset=5&order=asc");
    assert_eq!(ids(&offset.json()), (6..=35).collect::<Vec<_>>());
    let next = offset.next_page().expect("five are left");
    assert_eq!(app.ids(&next), (36..=40).collect::<Vec<_>>());
}

#[test]
fn a_large_list_of_a_status_a_comparison_and_a_version_are_whole() {
    let app = with_large_rows(40);
    let status = app.get("/models/status/experimental");
    assert_eq!(status.header("link"), None);
    assert_eq!(ids(&status.ok()), (1..=40).rev().collect::<Vec<_>>());
    let compared = app.get("/compare?ids=3,2,40,39,2,77,20").ok();
    assert_eq!(ids(&compared["models"]), [2, 3, 20, 39, 40]);
    assert_eq!(ids(&compared["comparison"]["by_params"]), [40, 39, 20, 3, 2]);
    assert_eq!(ids(&compared["comparison"]["by_loss"]), [2, 3, 20, 39, 40]);
    for id in [1, 20, 22, 23] {
        let answer = app.get(&format!("/models/{id}"));
        assert_eq!(answer.header("content-length"), Some(&*answer.text.len().to_string()));
        assert_eq!(
            answer.json()["metrics"]["notes"].as_str().unwrap().len() as i64,
            (id - 1) * 7_919 % 180_000
        );
    }
}

#[test]
fn a_status_with_thousands_of_versions_is_listed_whole() {
    const VERSIONS: usize = 2_100;
    let app = TestApp::spawn();
    at_once(20, |thread| {
        for number in (thread..VERSIONS).step_by(20) {
            app.register("m", &number.to_string());
        }
    });
    let answer = app.get("/models/status/experimental");
    assert_eq!((answer.header("x-total-count"), answer.header("link")), (Some("2100"), None));
    let mut listed = ids(&answer.json());
    listed.sort_unstable();
    assert_eq!(listed, (1..=VERSIONS as i64).collect::<Vec<_>>());
}

#[test]
fn a_large_audit_trail_is_whole_and_pages_on() {
    let app = TestApp::with(|settings| {
        settings.http.max_metrics_body_bytes = 4_000_000;
        settings.rules.max_event_payload_bytes = 4_000_000;
    });
    let id = app.register("m", "1");
    for number in 0..30 {
        app.record(id, "s", json!({"n": number, "notes": "x".repeat(50_000)})).ok();
    }
    let path = format!("/models/{id}/events");
    let answer = app.get(&format!("{path}?limit=20"));
    assert_eq!(answer.header("x-total-count"), Some("31"));
    let next = answer.next_page().expect("eleven are left");
    let (first, rest) = (answer.ok(), app.get(&next));
    assert_eq!(rest.next_page(), None);
    let all: Vec<_> = ids(&first).into_iter().chain(ids(&rest.json())).collect();
    assert_eq!(all, (1..=31).rev().collect::<Vec<_>>());
    assert_eq!(ids(&app.get(&format!("{path}?limit=500&offset=4")).ok()).len(), 27);
}

#[test]
fn a_list_in_progress_survives_changes_and_deletions() {
    let app = with_large_rows(60);
    let lists = at_once(3, |index| match index {
        0 => {
            for id in (1..=60).filter(|id| id % 3 != 1) {
                app.patch(id, &json!({"description": "changed"})).ok();
            }
            Vec::new()
        }
        1 => {
            for id in (1..=60).step_by(3) {
                app.delete(id).ok();
            }
            Vec::new()
        }
        _ => (0..20).map(|_| ids(&app.get("/models?limit=200&order=asc").ok())).collect(),
    });
    for list in lists.concat() {
        assert!(list.is_sorted() && list.iter().filter(|id| *id % 3 != 1).count() == 40, "{list:?}");
    }
}

#[test]
fn head_of_a_large_list_describes_its_body() {
    let app = with_large_rows(40);
    let head = app.request("HEAD", "/models?limit=20", &[], None);
    assert_eq!((head.status, head.header("x-total-count")), (200, Some("40")));
    assert!(head.header("link").is_some() && head.text.is_empty());
    assert_eq!(app.get("/models/1").status, 200);
}

#[test]
fn more_than_200_versions_are_not_compared() {
    let app = TestApp::spawn();
    let path = |count: usize| {
        let ids: Vec<_> = (1..=count).map(|id| id.to_string()).collect();
        format!("/compare?ids={}", ids.join(","))
    };
    assert_eq!(app.get(&path(200)).status, 200);
    app.get(&path(201)).faults(&[("less_than_equal", r#"["query","ids"]"#)]);
}

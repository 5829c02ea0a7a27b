//! A disk that is full, read-only, failing or gone: the answers, the data that is kept, and recovery without a restart.
//!
//! The faults are real: a tmpfs in a namespace of its own is filled and remounted, files are moved, and a preloaded library
//! makes syncs fail. If the system does not allow it, the test is left out.

mod files;
mod full;
mod syncs;

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{KEY, Ran, left_out::left_out, registry, server::Server};

/// An answer: its status, its body, and whether it has `Retry-After`.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
    retry_after: bool,
}

impl Answer {
    #[track_caller]
    fn detail(&self) -> &str {
        let v2 = &self.body["errors"][0]["message"];
        let detail = if v2.is_string() { v2 } else { &self.body["detail"] };
        detail.as_str().unwrap_or_else(|| panic!("no detail: {self:?}"))
    }
}

fn ask(url: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{url}{path}"))
        .header("X-API-Key", KEY)
        .body(body.map(Value::to_string).unwrap_or_default())
        .unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let text = answer.body_mut().read_to_string().unwrap();
    Answer {
        status: answer.status().as_u16(),
        body: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        retry_after: answer.headers().contains_key("retry-after"),
    }
}

fn draft(name: &str) -> Value {
    json!({"name": name, "version": "1", "artifact_uri": format!("s3://b/{name}"), "description": "x".repeat(2000)})
}

fn register(server: &Server, name: &str) -> Answer {
    ask(&server.url, "POST", "/models", Some(&draft(name)))
}

/// Waits until `/ready` has this status, and returns the answer, which the server caches for a second.
#[track_caller]
fn ready(server: &Server, status: u16) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(&server.url, "GET", "/ready", None);
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn total(server: &Server) -> u64 {
    server.get("/stats")["total_models"].as_u64().unwrap()
}

fn start(db_path: &Path) -> Server {
    start_with(db_path, |_| {})
}

fn start_with(db_path: &Path, change: impl FnOnce(&mut Command)) -> Server {
    Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).arg("--db-path").arg(db_path);
        change(command);
    })
}

fn end(server: Server, signal: &str) -> String {
    server.signal(signal);
    server.ended().log
}

fn names(db_path: &Path) -> Vec<String> {
    let file = rusqlite::Connection::open(db_path).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let mut names = file.prepare("SELECT name FROM models ORDER BY id").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Returns the line of a server that does not start.
#[track_caller]
fn refused_start(db_path: &Path) -> String {
    let run = ["serve", "--port", "0", "--db-path", db_path.to_str().unwrap()];
    Ran::of(registry(run).env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_LOG", "off")).failed(1)
}

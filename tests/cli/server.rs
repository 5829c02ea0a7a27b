//! `registry serve` as a process of its own, with a free port and its own database.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{KEY, Ran, at, registry};

/// A running server.
pub(crate) struct Server {
    pub(crate) url: String,
    /// The lines that it printed at start, without the first.
    pub(crate) greeting: Vec<String>,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
    folder: Option<TempDir>,
}

/// A server after its exit.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
    pub(crate) folder: TempDir,
}

impl Server {
    /// Starts a server with one key and a new database.
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// Starts a server with one key, and its database in `folder`.
    pub(crate) fn start_in(folder: TempDir) -> Self {
        Self::with(folder, 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY);
        })
    }

    /// Starts a server in `folder`, with its command completed by `change`; it prints `greeting` lines after its address.
    pub(crate) fn with(folder: TempDir, greeting: usize, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = registry(["serve", "--port", "0"]);
        command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = line();
        let url = first.split_whitespace().find(|word| word.contains("://"));
        let url = url.unwrap_or_else(|| panic!("no address in {first:?}")).to_owned();
        let greeting = (0..greeting).map(|_| line()).collect();
        Self { url, greeting, child, stdout, log: Some(log), folder: Some(folder) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its exit.
    pub(crate) fn ended(mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let log = self.log.take().unwrap().join().unwrap();
        Ended { status, log, folder: self.folder.take().unwrap() }
    }

    pub(crate) fn db_path(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("registry.db")
    }

    /// Runs a command for this server.
    pub(crate) fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Ran {
        Ran::of(&mut at(&self.url, arguments))
    }

    /// Registers a version with further fields, and returns its id.
    pub(crate) fn add(&self, name: &str, version: &str, fields: &Value) -> i64 {
        let mut body =
            json!({"name": name, "version": version, "artifact_uri": format!("s3://b/{name}/{version}")});
        for (field, value) in fields.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.post("/models", &body)["id"].as_i64().unwrap()
    }

    /// Records scores.
    pub(crate) fn score(&self, id: i64, suite: &str, metrics: &Value) {
        self.post(&format!("/models/{id}/metrics"), &json!({"suite": suite, "metrics": metrics}));
    }

    /// Returns the body of a GET that must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.send("GET", path, KEY, None)
    }

    /// Returns the body of a POST that must succeed; `null` sends an empty body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.send("POST", path, KEY, Some(body).filter(|body| !body.is_null()))
    }

    pub(crate) fn send(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("X-API-Key", key)
            .body(body.map(Value::to_string).unwrap_or_default())
            .unwrap();
        let agent = ureq::Agent::new_with_defaults();
        let text = agent.run(request).unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// Sends a signal, by name, to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

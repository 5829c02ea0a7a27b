//! The unmodified MLflow client against a real server, over each store: `journey.py`, in every version that `install.sh`
//! installs.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "../support/left_out.rs"]
mod left_out;
#[path = "../support/postgres.rs"]
mod postgres_cluster;

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use left_out::left_out;
use postgres_cluster::TestDatabase;

const KEY: &str = "a-key-of-the-tests";

/// A running server, with its database in a folder of its own.
struct Server {
    url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

/// A server that refuses nothing.
const LENIENT: &[&str] = &["--protect-production=false", "--artifact-store=./artifacts"];
/// One with a gate, which protects what is in production.
const STRICT: &[&str] = &["--promotion-required-suite=smoke"];

impl Server {
    /// Starts a server with these flags over this PostgreSQL, or over SQLite.
    fn start(flags: &[&str], database_url: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
        command.args(["serve", "--port", "0"]).args(flags).current_dir(folder.path());
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CAIA_REGISTRY_")) {
            command.env_remove(name);
        }
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_LOG", "error").stdout(Stdio::piped());
        command.envs(database_url.map(|url| ("CAIA_REGISTRY_DATABASE_URL", url)));
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Self { url, child, _folder: folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the Python of a virtual environment of `install.sh`; `None` if it is not there, which is said.
fn python(environment: &str) -> Option<PathBuf> {
    let folder = env::var_os("REGISTRY_TEST_MLFLOW").map_or_else(|| "target/mlflow".into(), PathBuf::from);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(environment).join("bin/python");
    if !python.exists() {
        left_out("MLflow's client is not installed; tests/mlflow/install.sh installs it");
        return None;
    }
    Some(python)
}

/// Runs the journey with the client of a virtual environment, over these databases or over SQLite.
fn journey(environment: &str, databases: [Option<String>; 2]) {
    let Some(python) = python(environment) else { return };
    let [lenient, strict] = databases;
    let (server, strict) = (Server::start(LENIENT, lenient), Server::start(STRICT, strict));
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("MLFLOW_")) {
        command.env_remove(name);
    }
    command
        .args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mlflow/journey.py")])
        .args([&server.url, &strict.url])
        .env("MLFLOW_TRACKING_TOKEN", KEY)
        .env("REGISTRY_TEST_KEY", KEY)
        .env("REGISTRY_TEST_BINARY", env!("CARGO_BIN_EXE_registry"))
        .env("TMPDIR", temporary.path())
        // No credentials of this machine count.
        .env("HOME", temporary.path());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{environment}:\n{stdout}\n{stderr}");
    assert!(stdout.contains("the journey is complete"), "{stdout}");
}

fn over_postgres(environment: &str) {
    let [Some(lenient), Some(strict)] = [(); 2].map(|()| TestDatabase::create_own()) else {
        return left_out("PostgreSQL is not installed, so the client is not tested over it");
    };
    journey(environment, [Some(lenient.url()), Some(strict.url())]);
}

#[test]
fn the_client_works_over_sqlite() {
    journey("client", [None, None]);
}

#[test]
fn the_client_works_over_postgresql() {
    over_postgres("client");
}

#[test]
fn the_older_client_works_over_sqlite() {
    journey("older", [None, None]);
}

#[test]
fn the_older_client_works_over_postgresql() {
    over_postgres("older");
}

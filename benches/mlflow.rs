//! Compares MLflow's API here with MLflow's own server, over HTTP: on the same machine, in the same run, one after the other.
//!
//! `cargo bench --bench mlflow -- --mlflow target/mlflow/server/bin/mlflow` (`tests/mlflow/install.sh` installs it). It starts
//! `mlflow server` over SQLite with 2 workers, and `registry serve` with default settings, both on new databases under
//! `target/bench` with one model of 10,000 versions (`--versions`). 1 and 10 clients make the same requests for three seconds
//! each (`--seconds`), each client on one connection that it keeps. It prints a table in Markdown. `--binary FILE` measures
//! another registry. Criterion measures functions, not servers, so this benchmark has its own `main`.
#![allow(missing_docs, reason = "no crate depends on a benchmark")]

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use registry_loadtest::chart::{number, three_digits};

use support::{
    Result,
    http::Connection,
    process::{KEY, Server},
    scratch,
    table::{markdown, quantile},
};

const API: &str = "/api/2.0/mlflow";
const MODEL: &str = "bench";
/// Values of the tag that is searched; each has the same number of versions.
const TEAMS: u64 = 100;
/// How often the rate of the original has to be reached.
const GOAL: f64 = 50.0;
const CLIENTS: [usize; 2] = [1, 10];
/// Connections that create the versions here.
const SEEDERS: u64 = 8;

#[derive(Parser)]
struct Arguments {
    /// The program `mlflow`
    #[arg(long, default_value = "target/mlflow/server/bin/mlflow")]
    mlflow: PathBuf,
    /// The program `registry`
    #[arg(long, default_value = env!("CARGO_BIN_EXE_registry"))]
    binary: PathBuf,
    /// Versions that are searched
    #[arg(long, default_value_t = 10_000)]
    versions: u64,
    /// Seconds for each row and server
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Cargo passes it
    #[arg(long, hide = true)]
    bench: bool,
}

/// What clients do again and again.
#[derive(Clone, Copy)]
enum Task {
    CreateVersion,
    SetTag,
    GetByAlias,
    SearchByTag,
}

impl Task {
    const ALL: [Self; 4] = [Self::CreateVersion, Self::SetTag, Self::GetByAlias, Self::SearchByTag];

    fn name(self, versions: u64) -> String {
        match self {
            Self::CreateVersion => "create a version".to_owned(),
            Self::SetTag => "set a tag".to_owned(),
            Self::GetByAlias => "get by alias".to_owned(),
            Self::SearchByTag => format!("search {} versions by tag", number(versions as f64)),
        }
    }

    /// Does it once; `turn` differs each time.
    fn run(self, connection: &mut Connection, turn: u64, versions: u64) -> Result<()> {
        match self {
            Self::CreateVersion => {
                let body = format!(r#"{{"name":"{MODEL}","source":"s3://bench/new/{turn}"}}"#);
                connection.call("POST", &format!("{API}/model-versions/create"), &body)?;
            }
            Self::SetTag => {
                let version = turn % versions + 1;
                let body =
                    format!(r#"{{"name":"{MODEL}","version":"{version}","key":"eval","value":"{turn}"}}"#);
                connection.call("POST", &format!("{API}/model-versions/set-tag"), &body)?;
            }
            Self::GetByAlias => {
                let path = format!("{API}/registered-models/alias?name={MODEL}&alias=champion");
                connection.call("GET", &path, "")?;
            }
            Self::SearchByTag => {
                let filter = format!("tags.team%20%3D%20'team-{}'", turn % TEAMS);
                let path = format!("{API}/model-versions/search?filter={filter}&max_results=100");
                connection.call("GET", &path, "")?;
            }
        }
        Ok(())
    }
}

/// The rate of a task, and its latencies.
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Lets clients do a task for this long.
fn measure(task: Task, url: &str, clients: usize, arguments: &Arguments) -> Result<Measured> {
    let turn = AtomicU64::new(0);
    let limit = Duration::from_secs_f64(arguments.seconds);
    let client = || -> Result<Vec<f64>> {
        let mut connection = Connection::to(url, KEY)?;
        task.run(&mut connection, turn.fetch_add(1, Ordering::Relaxed), arguments.versions)?;
        let mut latencies = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < limit {
            let sent = Instant::now();
            task.run(&mut connection, turn.fetch_add(1, Ordering::Relaxed), arguments.versions)?;
            latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(latencies)
    };
    let begun = Instant::now();
    let all: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let mut latencies = all.into_iter().collect::<Result<Vec<_>>>()?.concat();
    Ok(Measured {
        per_second: latencies.len() as f64 / elapsed,
        p50_ms: quantile(&mut latencies, 0.5),
        p99_ms: quantile(&mut latencies, 0.99),
    })
}

/// MLflow's own server. It consists of several processes, which end together.
struct Mlflow {
    url: String,
    child: Child,
}

impl Mlflow {
    fn start(program: &Path, folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command
            .args(["server", "--host", "127.0.0.1", "--workers", "2", "--port", &port.to_string()])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", folder.join("mlflow.db").display()))
            .arg("--default-artifact-root")
            .arg(folder.join("artifacts"))
            .envs([("MLFLOW_DISABLE_TELEMETRY", "true"), ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")])
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.join("mlflow.log"))?)
            .stderr(fs::File::create(folder.join("mlflow.err"))?)
            .process_group(0);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let server = Self { url: format!("http://127.0.0.1:{port}"), child };
        let begun = Instant::now();
        while Connection::to(&server.url, KEY).and_then(|mut c| c.call("GET", "/version", "")).is_err() {
            if begun.elapsed() > Duration::from_secs(300) {
                let log = fs::read_to_string(folder.join("mlflow.err")).unwrap_or_default();
                return Err(format!("mlflow server did not start: {log}").into());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(server)
    }
}

impl Drop for Mlflow {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

fn source(number: u64) -> String {
    format!("s3://bench/{MODEL}/{number}")
}

fn team(number: u64) -> String {
    format!("team-{}", number % TEAMS)
}

/// Fills MLflow's database by SQL, since its server would take minutes. It has created the model.
fn seed_mlflow(database: &Path, versions: u64) -> Result<()> {
    let mut connection = rusqlite::Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    let transaction = connection.transaction()?;
    {
        let mut version = transaction.prepare(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, \
             storage_location, status) VALUES (?1, ?2, ?3, ?3, 'None', ?4, ?4, 'READY')",
        )?;
        let mut tag = transaction.prepare(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?1, ?2, 'team', ?3)",
        )?;
        for number in 1..=versions {
            let created = 1_769_864_709_250_i64 + i64::try_from(number)?;
            version.execute((MODEL, number, created, source(number)))?;
            tag.execute((MODEL, number, team(number)))?;
        }
    }
    Ok(transaction.commit()?)
}

/// Registers the same versions here.
fn seed_registry(url: &str, versions: u64) -> Result<()> {
    let next = AtomicU64::new(1);
    let seeder = || -> Result<()> {
        let mut connection = Connection::to(url, KEY)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > versions {
                return Ok(());
            }
            let body = format!(
                r#"{{"name":"{MODEL}","source":"{}","tags":[{{"key":"team","value":"{}"}}]}}"#,
                source(number),
                team(number)
            );
            connection.call("POST", &format!("{API}/model-versions/create"), &body)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..SEEDERS).map(|_| scope.spawn(seeder)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a seeder panicked".into())))
    })
}

fn post(url: &str, call: &str, body: &str) -> Result<()> {
    Connection::to(url, KEY)?.call("POST", &format!("{API}/{call}"), body).map(drop)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = scratch();
    let mlflow = Mlflow::start(&arguments.mlflow, folder.path())?;
    let database = folder.path().join("registry.db");
    let registry = Server::registry(&arguments.binary, &database, &folder.path().join("registry.log"))?;
    for url in [&mlflow.url, &registry.url] {
        post(url, "registered-models/create", &format!(r#"{{"name":"{MODEL}"}}"#))?;
    }
    seed_mlflow(&folder.path().join("mlflow.db"), arguments.versions)?;
    seed_registry(&registry.url, arguments.versions)?;
    for url in [&mlflow.url, &registry.url] {
        let body =
            format!(r#"{{"name":"{MODEL}","alias":"champion","version":"{}"}}"#, arguments.versions / 2);
        post(url, "registered-models/alias", &body)?;
    }
    let mut rows = Vec::new();
    // Searches come before new versions, so that both servers search the same number.
    for task in Task::ALL.into_iter().rev() {
        for clients in CLIENTS {
            let theirs = measure(task, &mlflow.url, clients, &arguments)?;
            let ours = measure(task, &registry.url, clients, &arguments)?;
            let ratio = ours.per_second / theirs.per_second;
            let verdict = if ratio >= GOAL { "" } else { " (below the goal)" };
            let latency =
                |found: &Measured| format!("{} / {}", three_digits(found.p50_ms), three_digits(found.p99_ms));
            rows.push(vec![
                task.name(arguments.versions),
                clients.to_string(),
                three_digits(theirs.per_second),
                three_digits(ours.per_second),
                format!("{}{verdict}", three_digits(ratio)),
                latency(&theirs),
                latency(&ours),
            ]);
        }
    }
    let head = [
        "request",
        "clients",
        "mlflow server, per second",
        "registry, per second",
        "ratio",
        "mlflow p50 / p99, ms",
        "registry p50 / p99, ms",
    ];
    print!("{}", markdown(&head, &rows));
    println!("\nThe goal is a ratio of {GOAL}.");
    Ok(())
}

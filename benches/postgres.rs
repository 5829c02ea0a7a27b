//! Compares the server's rates over PostgreSQL with `pgbench`, which runs the same statements without a server.
//!
//! `cargo bench --bench postgres` needs `wrk` and PostgreSQL with `pgbench` (`apt-get install wrk postgresql`). It starts a
//! PostgreSQL cluster with default settings in a temporary folder (`TMPDIR`, which must be on a disk), `registry serve` with
//! default settings on a new database, and registers 1,000 versions. It then has PostgreSQL log the statements of some
//! requests, and loads the server with `wrk -t1` and PostgreSQL with `pgbench` and those statements, one after the other, in
//! three rounds of five seconds (`--rounds`, `--seconds`). `pgbench` has as many connections as the server: 4 that write,
//! and one a core that reads. `--binary FILE` measures another server.
#![allow(missing_docs, reason = "no crate depends on a benchmark")]
#![allow(unreachable_pub, reason = "only the benchmarks use it")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't continue may panic")]

#[path = "../tests/support/postgres.rs"]
mod cluster;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use clap::Parser;
use registry_loadtest::chart::{number, three_digits};
use serde_json::json;

use cluster::Cluster;
use support::{
    Result,
    http::Connection,
    process::{KEY, Server, output},
    scratch,
    statements::{Statement, logged, pgbench_script},
    table::{markdown, median},
    words,
    wrk::{self, Script},
};

const VERSIONS: u64 = 1_000;
/// Requests whose statements `pgbench` runs, in random order. It takes at most 128 scripts.
const LOGGED: u64 = 100;
const CONNECTIONS: u32 = 64;
/// The server's writers, and its readers at most; see `--database-writers` and `--readers`.
const WRITERS: usize = 4;
const MAX_READERS: usize = 16;
const GOAL: f64 = 0.50;
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Flags {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    #[arg(long, default_value = env!("CARGO_BIN_EXE_registry"))]
    binary: PathBuf,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of request, and what is compared with it.
struct Row {
    what: &'static str,
    script: Script,
    /// Connections of `pgbench`.
    clients: usize,
    /// The transactions of `pgbench`: the statements of some requests.
    transactions: Vec<Vec<Statement>>,
}

fn main() -> Result<()> {
    let Flags { rounds, seconds, binary, .. } = Flags::parse();
    wrk::check_installed()?;
    let cluster = Cluster::start(&["-clisten_addresses="])
        .ok_or("PostgreSQL is missing: apt-get install postgresql")?;
    cluster.sql("postgres", "CREATE DATABASE registry");
    let scratch = scratch();
    let folder = scratch.path();
    let server = Server::over_postgres(&binary, &cluster.url("registry"), &folder.join("registry.log"))?;
    let mut connection = Connection::to(&server.url, KEY)?;
    fill(&mut connection)?;
    cluster.sql("registry", "VACUUM ANALYZE");

    Script::write_all(folder, VERSIONS)?;
    let ids = || (0..LOGGED).map(|turn| words::hash(turn, 50) % VERSIONS + 1);
    let rows = [
        Row {
            what: "`GET /models/{id}`",
            script: Script::Read,
            clients: available_parallelism()?.get().min(MAX_READERS),
            transactions: transactions(&cluster, ids(), &mut |id| {
                connection.call("GET", &format!("/models/{id}"), "")
            })?,
        },
        Row {
            what: "`POST /models/{id}/metrics`, 1,000 versions",
            script: Script::WriteMany,
            clients: WRITERS,
            transactions: transactions(&cluster, ids(), &mut |id| {
                connection.call("POST", &format!("/models/{id}/metrics"), &wrk::metrics_body())
            })?,
        },
    ];

    let mut table = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let scripts = folder.join(format!("scripts-{place}"));
        fs::create_dir(&scripts)?;
        for (at, transaction) in row.transactions.iter().enumerate() {
            fs::write(scripts.join(format!("{at}.sql")), pgbench_script(transaction))?;
        }
        let (mut rates, mut bare, mut ratios, mut p50s, mut p99s) =
            <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        let mut failed = 0;
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}: {}", row.what);
            let load = wrk::run(&server.url, Some(row.script), CONNECTIONS, seconds, folder)?;
            let baseline = pgbench(&cluster, &scripts, row.clients, seconds)?;
            rates.push(load.rate);
            bare.push(baseline);
            ratios.push(load.rate / baseline);
            p50s.push(load.p50_ms);
            p99s.push(load.p99_ms);
            failed += load.failed;
        }
        let ratio = median(ratios);
        let met = ratio >= GOAL && failed == 0;
        table.push(vec![
            row.what.to_owned(),
            number(median(rates).round()),
            number(median(bare).round()),
            row.clients.to_string(),
            format!("{ratio:.2}"),
            format!("{GOAL:.2}"),
            three_digits(median(p50s)),
            three_digits(median(p99s)),
            failed.to_string(),
            if met { "yes" } else { "**no**" }.to_owned(),
        ]);
    }
    let head = [
        "work, 64 connections",
        "per second",
        "pgbench",
        "its connections",
        "ratio",
        "goal",
        "p50, ms",
        "p99, ms",
        "failed",
        "met",
    ];
    println!("{}", markdown(&head, &table));
    Ok(())
}

/// Registers all versions, and records the scores that the load records again.
fn fill(connection: &mut Connection) -> Result<()> {
    for at in 0..VERSIONS {
        let name = words::name(words::hash(at, 30) % words::names(VERSIONS));
        let body = json!({
            "name": name,
            "version": format!("step-{at}"),
            "artifact_uri": format!("s3://models/{name}/checkpoint_step_{at}.pt"),
            "tags": [words::BROAD_TAG],
            "description": format!("{} from step {at}", words::BROAD_TEXT),
        });
        connection.call("POST", "/models", &body.to_string())?;
        connection.call("POST", &format!("/models/{}/metrics", at + 1), &wrk::metrics_body())?;
    }
    Ok(())
}

/// Returns the statements that each request sends to PostgreSQL.
fn transactions(
    cluster: &Cluster,
    ids: impl Iterator<Item = u64>,
    request: &mut dyn FnMut(u64) -> Result<Option<String>>,
) -> Result<Vec<Vec<Statement>>> {
    let log = || -> Result<String> { Ok(fs::read_to_string(cluster.folder().join("log"))?) };
    let marked = |mark: &str| -> Result<usize> {
        // The sessions of the server read the setting before their next statement, so their statements follow this mark in
        // the log.
        cluster.sql("postgres", &format!("SELECT '{mark}'"));
        let begun = Instant::now();
        loop {
            if let Some(at) = log()?.rfind(mark) {
                return Ok(at);
            }
            if begun.elapsed() > LOG_TIMEOUT {
                return Err("PostgreSQL does not log statements".into());
            }
            std::thread::sleep(Duration::from_millis(10));
            cluster.sql("postgres", &format!("SELECT '{mark}'"));
        }
    };
    cluster.sql("postgres", "ALTER SYSTEM SET log_statement = 'all'");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let begin = marked("statements begin")?;
    for id in ids {
        request(id)?;
    }
    let end = marked("statements end")?;
    cluster.sql("postgres", "ALTER SYSTEM RESET log_statement");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    Ok(logged(&log()?[begin..end]))
}

/// Runs the scripts of a folder in random order, and returns the transactions per second.
fn pgbench(cluster: &Cluster, scripts: &Path, clients: usize, seconds: u32) -> Result<f64> {
    let mut command = cluster.command("pgbench");
    command.args(["--no-vacuum", "--protocol=prepared"]);
    command.args([format!("--client={clients}"), format!("--time={seconds}")]);
    for script in fs::read_dir(scripts)? {
        command.arg("--file").arg(script?.path());
    }
    let printed = output(command.arg("registry"))?;
    let rate = printed.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate.and_then(|rest| rest.split(' ').next()).ok_or("pgbench printed no rate")?;
    Ok(rate.parse()?)
}

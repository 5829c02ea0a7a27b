//! Compares the server's rates over HTTP with what the machine can do: a bare actix-web route and bare SQLite.
//!
//! `cargo bench --bench ratios` needs `wrk` (`apt-get install wrk`). It starts two processes: a bare actix-web route that
//! answers a constant, with a worker for each core, and `registry serve` with default settings on a new database of 1,000
//! versions under `target/bench`. It loads one after the other with `wrk -t1`, in three rounds of five seconds
//! (`--rounds`, `--seconds`), and prints tables in Markdown. A ratio is taken within a round, and the table shows the
//! median of the rounds, because other load on the machine comes and goes. `--binary FILE` measures another server.
//! Criterion measures functions, not servers, so this benchmark has its own `main`.
#![allow(missing_docs, reason = "no crate depends on a benchmark")]

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
    time::Instant,
};

use clap::Parser;
use registry_loadtest::chart::{number, three_digits};

use support::{
    Result,
    bare::{BareSqlite, SERVE_CONSTANT, serve_constant},
    http::Connection,
    process::{KEY, Server, output},
    scratch, seed,
    table::{markdown, median},
    wrk::{self, Load, Script},
};

/// Versions in the registry that is loaded, and in the one whose start is timed.
const MODELS: u64 = 1_000;
const MODELS_AT_START: u64 = 100_000;
const STARTS: usize = 5;
/// Lists per second; 0.2.0 answered 208.
const GOAL_LISTS: f64 = 6_000.0;
const GOAL_MEMORY_MIB: f64 = 48.0;
const GOAL_START_MS: f64 = 150.0;
const GOAL_BINARY_MB: f64 = 16.0;
/// The rate of the load test's client as a share of wrk's.
const GOAL_CLIENT: f64 = 0.70;

/// The baseline of a rate.
#[derive(Clone, Copy, PartialEq)]
enum Baseline {
    Actix,
    Sqlite,
    /// None: the goal is a rate.
    Rate,
    /// None: the row is a baseline.
    Own,
}

/// A row of the table.
struct Row {
    what: &'static str,
    connections: u32,
    /// The requests; `None` for a GET of `/`.
    script: Option<Script>,
    baseline: Baseline,
    goal: f64,
    goal_p99_ms: f64,
}

const ROWS: [Row; 9] = [
    row("bare actix-web", 64, None, Baseline::Own, 0.0, f64::INFINITY),
    row("`GET /models/{id}`", 64, Some(Script::Read), Baseline::Actix, 0.70, 5.0),
    row("`POST /models/{id}/metrics`, one version", 64, Some(Script::WriteOne), Baseline::Actix, 0.25, 15.0),
    row(
        "`POST /models/{id}/metrics`, 1,000 versions",
        64,
        Some(Script::WriteMany),
        Baseline::Actix,
        0.25,
        15.0,
    ),
    row("bare actix-web", 10, None, Baseline::Own, 0.0, f64::INFINITY),
    row("`GET /models?limit=50`", 10, Some(Script::List), Baseline::Rate, GOAL_LISTS, 10.0),
    row("`POST /models/{id}/metrics`, one version", 10, Some(Script::WriteOne), Baseline::Actix, 0.15, 5.0),
    row(
        "`POST /models/{id}/metrics`, 1,000 versions",
        10,
        Some(Script::WriteMany),
        Baseline::Actix,
        0.15,
        5.0,
    ),
    row("`POST /models/{id}/metrics`, one version", 1, Some(Script::WriteOne), Baseline::Sqlite, 0.6, 2.0),
];

const fn row(
    what: &'static str,
    connections: u32,
    script: Option<Script>,
    baseline: Baseline,
    goal: f64,
    goal_p99_ms: f64,
) -> Row {
    Row { what, connections, script, baseline, goal, goal_p99_ms }
}

/// The results of all rounds for one row.
#[derive(Default)]
struct Results {
    rates: Vec<f64>,
    ratios: Vec<f64>,
    p50s: Vec<f64>,
    p99s: Vec<f64>,
    failed: u64,
}

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

fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some(SERVE_CONSTANT) {
        return serve_constant(available_parallelism().map_or(1, usize::from));
    }
    let Flags { rounds, seconds, binary, .. } = Flags::parse();
    wrk::check_installed()?;

    let scratch = scratch();
    let folder = scratch.path();
    Script::write_all(folder, MODELS)?;
    let mut constant = Command::new(env::current_exe()?);
    constant.arg(SERVE_CONSTANT).stdin(std::process::Stdio::piped());
    let actix = Server::start(constant, &folder.join("actix.log"))?;
    let server = Server::registry(&binary, &seed::copy(MODELS, folder), &folder.join("registry.log"))?;
    let bare_folder = folder.join("bare");
    fs::create_dir(&bare_folder)?;
    let mut sqlite = BareSqlite::open(&seed::copy(MODELS, &bare_folder))?;

    let mut results: Vec<Results> = ROWS.iter().map(|_| Results::default()).collect();
    let mut commits = Vec::new();
    for round in 1..=rounds {
        let mut actix_rate = f64::NAN;
        for (row, results) in ROWS.iter().zip(&mut results) {
            eprintln!("round {round} of {rounds}: {}, {} connections", row.what, row.connections);
            let url = if row.baseline == Baseline::Own { &actix.url } else { &server.url };
            let (load, baseline) = if row.baseline == Baseline::Sqlite {
                let (load, bare) =
                    in_turns(&mut sqlite, seconds, || wrk::run(url, row.script, row.connections, 1, folder))?;
                commits.push(bare);
                (load, bare)
            } else {
                let load = wrk::run(url, row.script, row.connections, seconds, folder)?;
                if row.baseline == Baseline::Own {
                    actix_rate = load.rate;
                }
                (load, if row.baseline == Baseline::Actix { actix_rate } else { 1.0 })
            };
            results.ratios.push(load.rate / baseline);
            results.rates.push(load.rate);
            results.p50s.push(load.p50_ms);
            results.p99s.push(load.p99_ms);
            results.failed += load.failed;
        }
    }
    let (resident, peak) = server.memory_mib()?;
    let clients = clients(&binary, &server.url, folder, rounds, seconds)?;
    drop((actix, server));

    let head = [
        "work",
        "connections",
        "per second",
        "of its baseline",
        "goal",
        "p50, ms",
        "p99, ms",
        "p99 at most",
        "failed",
        "met",
    ];
    let mut rows: Vec<Vec<String>> =
        ROWS.iter().zip(results).map(|(row, results)| cells(row, results)).collect();
    let bare = vec!["bare rusqlite, one commit each".to_owned(), "1".to_owned(), rounded(median(commits))];
    rows.insert(ROWS.len() - 1, bare.into_iter().chain((0..7).map(|_| "–".to_owned())).collect());
    println!("{}", markdown(&head, &rows));

    let mut rest = vec![fact("resident memory at the end, MiB", resident, GOAL_MEMORY_MIB)];
    rest.push(fact("peak resident memory, MiB", peak, GOAL_MEMORY_MIB));
    rest.push(fact(
        "start with 100,000 versions to the first answer, ms",
        start_ms(&binary, folder)?,
        GOAL_START_MS,
    ));
    rest.push(match stripped_mb(&binary, folder) {
        Ok(size) => fact("stripped binary, MB", size, GOAL_BINARY_MB),
        Err(error) => {
            vec![format!("stripped binary: {error}"), "–".to_owned(), "–".to_owned(), "–".to_owned()]
        }
    });
    println!("{}", markdown(&["", "measured", "at most", "met"], &rest));
    println!("{clients}");
    println!("{}", default_load_test(&binary, folder)?);
    Ok(())
}

/// Compares the rates of the load test's client and of `wrk -t1`, in alternation.
fn clients(binary: &Path, url: &str, folder: &Path, rounds: u32, seconds: u32) -> Result<String> {
    let mut rows = Vec::new();
    for (what, path, scenario, script) in
        [("`GET /health`", "/health", "health", None), ("`GET /models/{id}`", "", "read", Some(Script::Read))]
    {
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}: {what}, registry loadtest and wrk, 64 connections");
            let wrk = wrk::run(&format!("{url}{path}"), script, 64, seconds, folder)?.rate;
            let report = folder.join("client.json");
            let mut command = Command::new(binary);
            command.args(["loadtest", "--scenario", scenario, "--connections", "64", "--workers", "1"]);
            command.args(["--duration", &format!("{seconds}s"), "--url", url]).arg("--out").arg(&report);
            output(command.env("CAIA_REGISTRY_API_KEY", KEY))?;
            let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
            let rate = report["requests_per_second"].as_f64().ok_or("the report has no rate")?;
            rates.push(rate);
            ratios.push(rate / wrk);
        }
        let ratio = median(ratios);
        rows.push(vec![
            what.to_owned(),
            rounded(median(rates)),
            format!("{ratio:.2}"),
            format!("{GOAL_CLIENT:.2}"),
            yes(ratio >= GOAL_CLIENT).to_owned(),
        ]);
    }
    Ok(markdown(&["`registry loadtest`, 64 connections", "per second", "of `wrk -t1`", "goal", "met"], &rows))
}

/// Loads the server and commits to the bare file in alternation, a second each, because the speed of a shared disk changes
/// within seconds. Returns the server's load and SQLite's commits per second.
fn in_turns(sqlite: &mut BareSqlite, turns: u32, load: impl Fn() -> Result<Load>) -> Result<(Load, f64)> {
    let (mut loads, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        bare.push(sqlite.rate(1.0)?);
        loads.push(load()?);
    }
    // All turns take the same time, so the mean of their rates is the overall rate.
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / f64::from(turns);
    let of_all = |of: fn(&Load) -> f64| median(loads.iter().map(of).collect());
    let load = Load {
        rate: mean(&mut loads.iter().map(|load| load.rate)),
        p50_ms: of_all(|load| load.p50_ms),
        p99_ms: of_all(|load| load.p99_ms),
        failed: loads.iter().map(|load| load.failed).sum(),
    };
    Ok((load, mean(&mut bare.into_iter())))
}

fn cells(row: &Row, results: Results) -> Vec<String> {
    let (ratio, p99) = (median(results.ratios), median(results.p99s));
    let met = ratio >= row.goal && p99 <= row.goal_p99_ms && results.failed == 0;
    let (of_baseline, goal) = match row.baseline {
        Baseline::Own => ("–".to_owned(), "–".to_owned()),
        Baseline::Rate => ("–".to_owned(), format!("{} per second", rounded(row.goal))),
        Baseline::Actix | Baseline::Sqlite => (format!("{ratio:.2}"), format!("{:.2}", row.goal)),
    };
    let own = row.baseline == Baseline::Own;
    vec![
        row.what.to_owned(),
        row.connections.to_string(),
        rounded(median(results.rates)),
        of_baseline,
        goal,
        three_digits(median(results.p50s)),
        three_digits(p99),
        if own { "–".to_owned() } else { format!("{} ms", row.goal_p99_ms) },
        results.failed.to_string(),
        if own { "–" } else { yes(met) }.to_owned(),
    ]
}

fn rounded(value: f64) -> String {
    number(value.round())
}

fn yes(met: bool) -> &'static str {
    if met { "yes" } else { "**no**" }
}

fn fact(name: &str, measured: f64, at_most: f64) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("{measured:.1}"),
        format!("{at_most:.0}"),
        yes(measured <= at_most).to_owned(),
    ]
}

/// Returns the median time from the start of the process to its first answer, with 100,000 versions.
fn start_ms(binary: &Path, folder: &Path) -> Result<f64> {
    let folder = folder.join("start");
    fs::create_dir(&folder)?;
    let database = seed::copy(MODELS_AT_START, &folder);
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = Server::registry(binary, &database, &folder.join("log"))?;
        Connection::to(&server.url, KEY)?.call("GET", "/models/1", "")?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took))
}

fn stripped_mb(binary: &Path, folder: &Path) -> Result<f64> {
    let copy = folder.join("stripped");
    fs::copy(binary, &copy)?;
    output(Command::new("strip").arg(&copy))?;
    Ok(fs::metadata(&copy)?.len() as f64 / 1e6)
}

/// Runs `registry loadtest` without arguments, and returns its result in one line.
fn default_load_test(binary: &Path, folder: &Path) -> Result<String> {
    let mut command = Command::new(binary);
    command.arg("loadtest").arg("--out").arg(folder.join("loadtest.json"));
    // The system's temporary folder may be in memory, where a sync costs nothing.
    let ran = command.env("TMPDIR", folder).output()?;
    let result = String::from_utf8_lossy(&ran.stderr).into_owned();
    Ok(format!("default `registry loadtest` (goals: p50 1 ms, p95 3 ms): {result}"))
}

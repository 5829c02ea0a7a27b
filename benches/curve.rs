//! Measures latencies as the registry grows: the real server over HTTP, one connection, one request at a time.
//!
//! `cargo bench --bench curve` uses registries of 1,000 to 1,000,000 versions, which it creates once and keeps under
//! `target/bench`; `-- --models 1000,10000` selects others. It starts `registry serve` on a copy of each, sends each
//! kind of request up to 200 times or for 3 seconds, prints p50 and p95 as a table in Markdown, and draws p95 into
//! `docs/cost-curve.svg` (`--picture FILE` for another file). With `--postgres` the server keeps its data in PostgreSQL
//! (`apt-get install postgresql`): a cluster in a temporary folder (`TMPDIR`, which must be on a disk), into which
//! `registry maintenance --copy-to` copies the same registries. `--binary FILE` measures another server. Criterion
//! measures functions, not servers, so this benchmark has its own `main`.
#![allow(missing_docs, reason = "no crate depends on a benchmark")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "for the cluster, which tests share")]

#[path = "../tests/support/postgres.rs"]
mod cluster;
mod support;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Parser;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use cluster::Cluster;
use registry_loadtest::chart::{Axis, Mark, Panel, Plot, Scale, Series, number, svg, three_digits};
use support::{
    Result,
    http::Connection,
    process::{KEY, Server, output, registry_command},
    scratch, seed,
    table::{markdown, quantile},
    words,
};

/// Limits of the requests of a kind.
const MAX_REQUESTS: usize = 200;
const MIN_REQUESTS: usize = 5;
const MAX_SECONDS: f64 = 3.0;
/// Requests that are not measured.
const WARM_UP: usize = 3;
/// For lists and searches at 1,000,000 versions.
const GOAL_MS: f64 = 10.0;
/// The database in PostgreSQL.
const DATABASE: &str = "registry";

/// The panels of the picture.
const PANELS: [&str; 5] = ["By key, and counts", "Lists", "Search", "Filters and models", "Changes"];

/// Path and body of a request, by its number.
type Request = Box<dyn Fn(u64) -> (String, String)>;

/// A kind of request.
struct RequestKind {
    name: &'static str,
    panel: usize,
    method: &'static str,
    request: Request,
}

/// The latency of a kind of request, in milliseconds.
#[derive(Clone, Copy)]
struct Latency {
    p50: f64,
    p95: f64,
}

#[derive(Parser)]
struct Flags {
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000",
          value_parser = clap::value_parser!(u64).range(1..))]
    models: Vec<u64>,
    #[arg(long, default_value = env!("CARGO_BIN_EXE_registry"))]
    binary: PathBuf,
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cost-curve.svg"))]
    picture: PathBuf,
    #[arg(long)]
    postgres: bool,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let Flags { models: mut sizes, binary, picture, postgres, .. } = Flags::parse();
    sizes.sort_unstable();
    sizes.dedup();

    let mut names: Vec<(&str, usize)> = Vec::new();
    let mut latencies: Vec<Vec<Latency>> = Vec::new();
    for models in &sizes {
        let measured = measure(&binary, *models, postgres)?;
        names = measured.iter().map(|(name, panel, _)| (*name, *panel)).collect();
        latencies.push(measured.into_iter().map(|(.., latency)| latency).collect());
    }
    println!("{}", table(&sizes, &names, &latencies));
    if postgres {
        // The picture is of SQLite.
        return Ok(());
    }
    std::fs::write(&picture, draw(&sizes, &names, &latencies))
        .map_err(|error| format!("can't write {}: {error}", picture.display()))?;
    eprintln!("drawn: {}", picture.display());
    Ok(())
}

/// Measures all kinds of requests on a registry of `models` versions.
fn measure(binary: &Path, models: u64, postgres: bool) -> Result<Vec<(&'static str, usize, Latency)>> {
    let scratch = scratch();
    let log = scratch.path().join("log");
    // Ends with the measurement.
    let cluster = if postgres { Some(postgres_with(binary, models)?) } else { None };
    let server = match &cluster {
        Some(cluster) => Server::over_postgres(binary, &cluster.url(DATABASE), &log)?,
        None => Server::registry(binary, &seed::copy(models, scratch.path()), &log)?,
    };
    let mut connection = Connection::to(&server.url, KEY)?;
    let deep = format!("/models?offset={}", models * 9 / 10);
    let link = connection.call("GET", &deep, "")?.ok_or("a page in the middle has no next one")?;
    let deep_cursor = link.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
    let deep_cursor = deep_cursor.strip_prefix(&server.url).unwrap_or(&deep_cursor).to_owned();

    let mut latencies = Vec::new();
    let mut turn = 0;
    for kind in kinds(models, &deep_cursor) {
        let latency = measure_kind(&mut connection, &kind, &mut turn)?;
        eprintln!(
            "{models:>9} {:24} p50 {:>8} ms  p95 {:>8} ms",
            kind.name,
            three_digits(latency.p50),
            three_digits(latency.p95)
        );
        latencies.push((kind.name, kind.panel, latency));
    }
    Ok(latencies)
}

/// Starts a cluster with a copy of the registry of `models` versions.
fn postgres_with(binary: &Path, models: u64) -> Result<Cluster> {
    let options = ["-clisten_addresses=", "-cshared_buffers=1GB", "-cmax_wal_size=8GB"];
    let cluster = Cluster::start(&options).ok_or("PostgreSQL is missing: apt-get install postgresql")?;
    cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
    eprintln!("copying {models} versions to PostgreSQL");
    let mut copy = registry_command(binary);
    copy.args(["maintenance", "--db-path"]).arg(seed::registry(models));
    output(copy.args(["--copy-to", &cluster.url(DATABASE)]))?;
    cluster.sql(DATABASE, "VACUUM ANALYZE");
    Ok(cluster)
}

fn measure_kind(connection: &mut Connection, kind: &RequestKind, turn: &mut u64) -> Result<Latency> {
    let mut took = Vec::new();
    let mut warm = 0;
    let mut begun = Instant::now();
    while took.len() < MAX_REQUESTS
        && (took.len() < MIN_REQUESTS || begun.elapsed().as_secs_f64() < MAX_SECONDS)
    {
        *turn += 1;
        let (path, body) = (kind.request)(*turn);
        let sent = Instant::now();
        connection.call(kind.method, &path, &body)?;
        if warm == WARM_UP {
            took.push(sent.elapsed().as_secs_f64() * 1e3);
        } else {
            warm += 1;
            begun = Instant::now();
        }
    }
    Ok(Latency { p50: quantile(&mut took, 0.5), p95: quantile(&mut took, 0.95) })
}

/// Returns all kinds of requests, with another version each time. Changes come last.
fn kinds(models: u64, deep_cursor: &str) -> Vec<RequestKind> {
    let id = move |turn: u64| words::hash(turn, 40) % models + 1;
    let mut kinds = Vec::new();
    let mut add =
        |panel, name, method, request: Request| kinds.push(RequestKind { name, panel, method, request });
    let get = |path: String| -> Request { Box::new(move |_| (path.clone(), String::new())) };
    let of_id = |rest: &'static str| -> Request {
        Box::new(move |turn| (format!("/models/{}{rest}", id(turn)), String::new()))
    };

    add(0, "GET by id", "GET", of_id(""));
    add(0, "events of one", "GET", of_id("/events"));
    add(
        0,
        "compare 10 ids",
        "GET",
        Box::new(move |turn| {
            let ids: Vec<_> = (0..10).map(|at| id(turn * 10 + at).to_string()).collect();
            (format!("/compare?ids={}", ids.join(",")), String::new())
        }),
    );
    add(0, "stats", "GET", get("/stats".to_owned()));
    add(1, "first page", "GET", get("/models".to_owned()));
    add(1, "status=staging", "GET", get("/models?status=staging".to_owned()));
    add(1, "name=", "GET", get(format!("/models?name={}", words::name(0))));
    add(1, "sort=updated_at", "GET", get("/models?sort=updated_at".to_owned()));
    add(1, "sort=training_step", "GET", get("/models?sort=training_step".to_owned()));
    add(1, "cursor, at 90 %", "GET", get(deep_cursor.to_owned()));
    add(1, "offset, middle", "GET", get(format!("/models?offset={}", models / 2)));
    add(1, "offset, end", "GET", get(format!("/models?offset={}", models.saturating_sub(50))));
    let search = |name: &str, text: &str| get(format!("/models?{name}={}", text.replace(' ', "%20")));
    add(2, "tag, on half", "GET", search("tag", words::BROAD_TAG));
    add(2, "tag, rare", "GET", search("tag", words::RARE_TAG));
    add(2, "q, in two of five", "GET", search("q", words::BROAD_TEXT));
    add(2, "q, rare", "GET", search("q", words::RARE_TEXT));
    add(2, "q, two letters, rare", "GET", search("q", words::TWO_LETTERS));
    add(2, "q, no match", "GET", search("q", words::NO_TEXT));
    let by_score = "scores.smoke-v1.score:desc";
    let filtered = |filter: &str, sort: &str| {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        get(format!("/v1/versions?filter={}&sort={}", encoded(filter), encoded(sort)))
    };
    let team = format!("tags.{} = 'team-07'", words::TEAM_TAG);
    let text = format!("description ILIKE '%{}%'", words::RARE_TEXT);
    add(3, "score, by score", "GET", filtered("scores.smoke-v1.score >= 0.8", by_score));
    add(
        3,
        "score and tag, by score",
        "GET",
        filtered(&format!("scores.smoke-v1.score >= 0.8 and {team}"), by_score),
    );
    add(3, "score, newest", "GET", filtered("scores.smoke-v1.score >= 0.99", "created_at:desc"));
    add(3, "tag value", "GET", filtered(&team, "created_at:desc"));
    add(3, "text", "GET", filtered(&text, "created_at:desc"));
    add(3, "models", "GET", get("/v1/models".to_owned()));
    add(
        3,
        "history at a time",
        "GET",
        Box::new(move |turn| {
            let name = words::name(turn % words::names(models));
            (format!("/v1/models/{name}/history?at=2026-03-01T00:00:00Z"), String::new())
        }),
    );
    add(
        4,
        "POST metrics",
        "POST",
        Box::new(move |turn| {
            let body = format!(r#"{{"suite":"core-v1","metrics":{}}}"#, words::scores(turn));
            (format!("/models/{}/metrics", id(turn)), body)
        }),
    );
    add(4, "promote", "POST", of_id("/promote"));
    add(
        4,
        "register",
        "POST",
        Box::new(move |turn| {
            let name = words::name(turn % words::names(models));
            let uri = format!("s3://models/{name}/measured-{turn}.pt");
            let tags = format!(r#"["{}","measured"]"#, words::BROAD_TAG);
            let body = format!(
                r#"{{"name":"{name}","version":"measured-{turn}","artifact_uri":"{uri}","tags":{tags},"description":"measured"}}"#
            );
            ("/models".to_owned(), body)
        }),
    );
    kinds
}

fn table(sizes: &[u64], names: &[(&str, usize)], latencies: &[Vec<Latency>]) -> String {
    let heads: Vec<String> = sizes.iter().map(|size| format!("{} versions", number(*size as f64))).collect();
    let head: Vec<&str> = ["p50 / p95, ms"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = names
        .iter()
        .enumerate()
        .map(|(at, (name, _))| {
            let figures = latencies.iter().map(|latencies| {
                format!("{} / {}", three_digits(latencies[at].p50), three_digits(latencies[at].p95))
            });
            [(*name).to_owned()].into_iter().chain(figures).collect()
        })
        .collect();
    markdown(&head, &rows)
}

fn draw(sizes: &[u64], names: &[(&str, usize)], latencies: &[Vec<Latency>]) -> String {
    let all = || latencies.iter().flatten().map(|latency| latency.p95);
    // One scale for all panels, in whole decades, so that heights can be compared.
    let decade = |value: f64, round: fn(f64) -> f64| 10_f64.powf(round(value.log10()));
    let low = decade(all().fold(GOAL_MS, f64::min), f64::floor);
    let high = decade(all().fold(GOAL_MS, f64::max), f64::ceil);
    let axis = |title: &str, range| Axis { title: title.to_owned(), scale: Scale::Log, range };
    let panels = PANELS.iter().enumerate().map(|(panel, title)| Panel {
        title: (*title).to_owned(),
        x: axis("versions", None),
        y: axis("p95, ms", Some((low, high))),
        series: names
            .iter()
            .enumerate()
            .filter(|(_, (_, of))| *of == panel)
            .map(|(at, (name, _))| Series {
                label: (*name).to_owned(),
                points: sizes
                    .iter()
                    .zip(latencies)
                    .map(|(size, latencies)| (*size as f64, latencies[at].p95))
                    .collect(),
                mark: Mark::Line,
            })
            .collect(),
        limit: (1..=3).contains(&panel).then(|| (GOAL_MS, "goal: 10 ms".to_owned())),
    });
    svg(&Plot {
        title: "What a request costs as the registry grows".to_owned(),
        note: "p95 of one client on one connection, through HTTP, synchronous=FULL".to_owned(),
        panels: panels.collect(),
        columns: 2,
        width: 960,
        panel_height: 260,
    })
}

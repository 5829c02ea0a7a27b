//! Measures what 1,000 followers of the event stream cost 64 writers.
//!
//! `cargo bench --bench followers` needs `wrk` (`apt-get install wrk`). It starts `registry serve` with default settings on a
//! new database of 1,000 versions under `target/bench`, and loads it with `wrk` (64 connections, `POST /models/{id}/metrics`),
//! alternately without followers and with them: each of one model, and each of all events. The followers are a process of
//! their own on the same machine, which reads every stream, checks that ids ascend, and counts events; one more follower
//! reads nothing. It prints the rates, the ratios within a round (the median of `--rounds`), and the server's memory. The
//! goals are 0.9 of the writes and 100 MB.
#![allow(missing_docs, reason = "no crate depends on a benchmark")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't continue may panic")]

mod support;

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::Parser;
use registry_loadtest::chart::{number, three_digits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use support::{
    Result,
    process::{KEY, Server},
    scratch, seed,
    table::{markdown, median},
    words,
    wrk::{self, Script},
};

const MODELS: u64 = 1_000;
const CONNECTIONS: u32 = 64;
const GOAL: f64 = 0.90;
const GOAL_MEMORY_MB: f64 = 100.0;
/// The first argument of the process that follows.
const FOLLOW: &str = "follow";

#[derive(Parser)]
struct Flags {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    #[arg(long, default_value_t = 1_000)]
    followers: usize,
    #[arg(long, default_value = env!("CARGO_BIN_EXE_registry"))]
    binary: PathBuf,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The followers of a round.
#[derive(Clone, Copy, PartialEq)]
enum Follow {
    None,
    OneModel,
    Everything,
}

impl Follow {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OneModel => "each of one model",
            Self::Everything => "each of all events",
        }
    }
}

#[derive(Default)]
struct Results {
    rates: Vec<f64>,
    ratios: Vec<f64>,
    p99s: Vec<f64>,
    /// Events per second, all followers together.
    delivered: Vec<f64>,
    memory_mib: Vec<f64>,
    dropped: u64,
    failed: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    if arguments.get(1).is_some_and(|first| first == FOLLOW) {
        return follow_all(&arguments[2], arguments[3].parse()?, arguments[4] == "all");
    }
    let Flags { rounds, seconds, followers, binary, .. } = Flags::parse();
    wrk::check_installed()?;
    let scratch = scratch();
    let folder = scratch.path();
    Script::write_all(folder, MODELS)?;
    let server = Server::registry(&binary, &seed::copy(MODELS, folder), &folder.join("registry.log"))?;
    let load = || wrk::run(&server.url, Some(Script::WriteMany), CONNECTIONS, seconds, folder);
    load()?;
    let (before_mib, _) = server.memory_mib()?;
    let kinds = [Follow::None, Follow::OneModel, Follow::Everything];
    let mut results = [(); 3].map(|()| Results::default());
    for round in 1..=rounds {
        let mut alone = f64::NAN;
        for (kind, results) in kinds.iter().zip(&mut results) {
            eprintln!("round {round} of {rounds}: followers: {}", kind.name());
            let crowd = match kind {
                Follow::None => None,
                kind => Some(Crowd::start(&server.url, followers, *kind == Follow::Everything)?),
            };
            let stalled = crowd.as_ref().map(|_| stall(&server.url)).transpose()?;
            let load = load()?;
            if *kind == Follow::None {
                alone = load.rate;
            }
            results.rates.push(load.rate);
            results.ratios.push(load.rate / alone);
            results.p99s.push(load.p99_ms);
            results.failed += load.failed;
            results.memory_mib.push(server.memory_mib()?.0 - before_mib);
            let (events, dropped) = crowd.map(Crowd::end).transpose()?.unwrap_or_default();
            results.dropped += dropped;
            results.delivered.push(events as f64 / f64::from(seconds));
            drop(stalled);
        }
    }
    let rows: Vec<Vec<String>> = kinds
        .iter()
        .zip(&results)
        .map(|(kind, results)| {
            vec![
                kind.name().to_owned(),
                number(median(results.rates.clone())),
                three_digits(median(results.ratios.clone())),
                three_digits(median(results.p99s.clone())),
                number(median(results.delivered.clone())),
                results.dropped.to_string(),
                three_digits(results.memory_mib.iter().copied().fold(0.0, f64::max)),
            ]
        })
        .collect();
    let titles = [
        "followers",
        "writes/s",
        "ratio",
        "p99 (ms)",
        "events delivered/s",
        "dropped",
        "memory (MiB more, at most)",
    ];
    println!("{followers} followers and one that reads nothing, {CONNECTIONS} connections that write\n");
    println!("{}", markdown(&titles, &rows));
    let (_, peak_mib) = server.memory_mib()?;
    println!("peak of the server: {} MiB more than before", three_digits(peak_mib - before_mib));
    let failed: u64 = results.iter().map(|results| results.failed).sum();
    let is_fast = results.iter().all(|results| median(results.ratios.clone()) >= GOAL);
    let is_small = (peak_mib - before_mib) * 1.048_576 <= GOAL_MEMORY_MB;
    println!(
        "goals: writes {GOAL} ({}), memory {GOAL_MEMORY_MB} MB ({}), no failed write ({failed})",
        if is_fast { "met" } else { "missed" },
        if is_small { "met" } else { "missed" },
    );
    Ok(())
}

/// Opens a stream and reads nothing of it.
fn stall(url: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.write_all(request("", "").as_bytes())?;
    Ok(stream)
}

fn request(query: &str, header: &str) -> String {
    format!(
        "GET /v1/events{query} HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nAccept: text/event-stream\r\n{header}\r\n"
    )
}

/// The process that follows.
struct Crowd {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Crowd {
    /// Starts it, and waits until every stream has begun.
    fn start(url: &str, followers: usize, all: bool) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args([FOLLOW, url, &followers.to_string(), if all { "all" } else { "one" }]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no stdout")?).read_line(&mut line)?;
        if line.trim() != "begun" {
            return Err(format!("the followers did not begin: {line}").into());
        }
        Ok(Self { child, stdin })
    }

    /// Ends it, and returns how many events all followers have got, and how often one was dropped and came back.
    fn end(mut self) -> Result<(u64, u64)> {
        drop(self.stdin.take());
        let mut text = String::new();
        self.child.stdout.take().ok_or("no stdout")?.read_to_string(&mut text)?;
        if !self.child.wait()?.success() {
            return Err("the followers failed".into());
        }
        let (events, dropped) = text.trim().split_once(' ').ok_or("the followers counted nothing")?;
        Ok((events.parse()?, dropped.parse()?))
    }
}

/// Follows with many streams on one thread, until stdin ends. Prints how many events they got.
fn follow_all(url: &str, followers: usize, all: bool) -> Result<()> {
    let address = url.trim_start_matches("http://").to_owned();
    let [events, begun, dropped] = [(); 3].map(|()| Rc::new(AtomicU64::new(0)));
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = done.send(());
    });
    actix_web::rt::System::new().block_on(async {
        for number in 0..followers {
            let (address, events) = (address.clone(), Rc::clone(&events));
            let (begun, dropped) = (Rc::clone(&begun), Rc::clone(&dropped));
            let query = if all {
                String::new()
            } else {
                format!("?model={}", words::name(number as u64 % words::names(MODELS)))
            };
            actix_web::rt::spawn(async move {
                follow(&address, &query, &events, &begun, &dropped).await.unwrap();
            });
        }
        let started = Instant::now();
        while begun.load(Ordering::Relaxed) < followers as u64 {
            assert!(started.elapsed() < Duration::from_secs(60), "not all streams have begun");
            actix_web::rt::time::sleep(Duration::from_millis(10)).await;
        }
        println!("begun");
        while is_done.try_recv().is_err() {
            actix_web::rt::time::sleep(Duration::from_millis(10)).await;
        }
        println!("{} {}", events.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed));
    });
    Ok(())
}

/// Follows (over HTTP/1.0, whose bodies have no chunks), and comes back with the last id if the server ends the stream. Each event is one line that begins with `id: `.
async fn follow(
    address: &str,
    query: &str,
    events: &AtomicU64,
    begun: &AtomicU64,
    dropped: &AtomicU64,
) -> Result<()> {
    let (mut last, mut last_text) = (-1, String::new());
    loop {
        let mut stream = actix_web::rt::net::TcpStream::connect(address).await?;
        let header = if last < 0 { String::new() } else { format!("Last-Event-ID: {last_text}\r\n") };
        stream.write_all(request(query, &header).as_bytes()).await?;
        let mut buffer = Vec::with_capacity(64 << 10);
        while stream.read_buf(&mut buffer).await? > 0 {
            let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
            for line in buffer[..=end].split(|byte| *byte == b'\n') {
                let Some(text) = line.strip_prefix(b"id: ") else { continue };
                let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
                let id = digits.fold(0_i64, |id, digit| id * 10 + i64::from(digit - b'0'));
                assert!(id >= last, "event {id} came after {last}");
                if last < 0 {
                    begun.fetch_add(1, Ordering::Relaxed);
                } else if id > last {
                    events.fetch_add(1, Ordering::Relaxed);
                }
                last = id;
                last_text = String::from_utf8_lossy(text).into_owned();
            }
            buffer.drain(..=end);
        }
        dropped.fetch_add(1, Ordering::Relaxed);
    }
}

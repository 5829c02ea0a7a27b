//! Measures files beside the tools that people know: digests, downloads, pulls and publishes.
//!
//! `cargo bench --bench files` needs `curl`, `openssl`, `sha256sum` and `nginx` (`apt-get install curl openssl nginx-light`); rows
//! whose tool is missing say so. It writes random files (8 of 512 MiB, one of 2 GiB, 10,000 of 10 kB: `--shards`, `--shard-mib`,
//! `--file-mib`, `--files`), so 10 GB of disk and 8 GB of free memory, since all is read from the page cache. Each pair of commands
//! runs in turn, in three rounds (`--rounds`): the table has the medians of the times and of the ratios. `--binary FILE` measures
//! another registry. For a quick look: `--shard-mib 16 --file-mib 64 --files 500 --rounds 1`.
#![allow(missing_docs, reason = "no crate depends on a benchmark")]

mod support;

use std::{
    fs::{self, File},
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use registry_loadtest::chart::three_digits;

use support::{
    Result,
    process::{KEY, Server, output, registry_command},
    scratch,
    table::{markdown, median, quantile},
};

const LISTS: usize = 40;
const SMALL_FILE_BYTES: usize = 10_000;
const FILES_IN_A_FOLDER: u32 = 100;
const PARALLEL: usize = 8;
const START_LIMIT: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Arguments {
    /// Large files that are digested
    #[arg(long, default_value_t = 8)]
    shards: u32,
    /// Their size in MiB
    #[arg(long, default_value_t = 512)]
    shard_mib: u32,
    /// The size of the file that is published, downloaded and pulled, in MiB
    #[arg(long, default_value_t = 2048)]
    file_mib: u32,
    /// Small files
    #[arg(long, default_value_t = 10_000)]
    files: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The program `registry`
    #[arg(long, default_value = env!("CARGO_BIN_EXE_registry"))]
    binary: PathBuf,
    /// Cargo passes it
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
enum Goal {
    /// At least this many times as fast.
    Speed(f64),
    /// At most this share of the time.
    Time(f64),
}

/// Seconds of two commands, round by round.
#[derive(Default)]
struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pairs {
    fn row(&self, what: &str, beside: &str, goal: Goal) -> Vec<String> {
        let pairs = self.ours.iter().zip(&self.theirs);
        let (ratio, is_met, text) = match goal {
            Goal::Speed(goal) => {
                let ratio = median(pairs.map(|(ours, theirs)| theirs / ours).collect());
                (format!("{} times as fast", three_digits(ratio)), ratio >= goal, format!("at least {goal}"))
            }
            Goal::Time(goal) => {
                let ratio = median(pairs.map(|(ours, theirs)| ours / theirs).collect());
                (format!("{} of the time", three_digits(ratio)), ratio <= goal, format!("at most {goal}"))
            }
        };
        let seconds = |of: &[f64]| format!("{} s", three_digits(median(of.to_vec())));
        let beside = format!("{beside}: {}", seconds(&self.theirs));
        vec![what.to_owned(), seconds(&self.ours), beside, ratio, text, met(is_met)]
    }
}

fn met(is_met: bool) -> String {
    if is_met { "yes" } else { "no" }.to_owned()
}

/// The folder of a run, its servers and their table.
struct Bench {
    arguments: Arguments,
    folder: PathBuf,
    /// Has an artifact store.
    server: Server,
    rows: Vec<Vec<String>>,
}

impl Bench {
    fn registry(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = registry_command(&self.arguments.binary);
        command.args(arguments).current_dir(&self.folder);
        command.env("CAIA_REGISTRY_URL", url).env("CAIA_REGISTRY_API_KEY", KEY);
        command.env("XDG_CACHE_HOME", self.folder.join("cache")).env("XDG_CONFIG_HOME", &self.folder);
        command
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&self.folder);
        command
    }

    /// Runs two commands in turn.
    fn pairs(
        &self,
        mut theirs: impl FnMut(u32) -> Result<f64>,
        mut ours: impl FnMut(u32) -> Result<f64>,
    ) -> Result<Pairs> {
        let mut pairs = Pairs::default();
        for round in 0..self.arguments.rounds {
            pairs.theirs.push(theirs(round)?);
            pairs.ours.push(ours(round)?);
        }
        Ok(pairs)
    }

    fn skip(&mut self, what: &str, tool: &str) {
        self.rows.push(vec![what.to_owned(), format!("skipped: {tool} is not installed")]);
    }

    /// Digests several files, beside one `openssl`.
    fn digest(&mut self) -> Result<()> {
        let Arguments { shards, shard_mib, .. } = self.arguments;
        let what =
            format!("digest {shards} files of {shard_mib} MiB: `registry publish m DIR` without a store");
        if !is_there("openssl", "version") {
            self.skip(&what, "openssl");
            return Ok(());
        }
        let shard = |number: u32| format!("shards/model-{number:05}.bin");
        let paths: Vec<_> = (1..=shards).map(shard).collect();
        for path in &paths {
            write_random(&self.folder.join(path), u64::from(shard_mib) << 20)?;
        }
        let database = self.folder.join("reference.db");
        let reference =
            Server::registry(&self.arguments.binary, &database, &self.folder.join("reference.log"))?;
        let pairs = self.pairs(
            |_| {
                timed(
                    Command::new("openssl").args(["dgst", "-sha256"]).args(&paths).current_dir(&self.folder),
                )
            },
            |round| {
                let label = round.to_string();
                timed(&mut self.registry(&reference.url, &["publish", "m", "shards", "--version", &label]))
            },
        )?;
        self.rows.push(pairs.row(&what, "`openssl dgst -sha256` of the same", Goal::Speed(1.7)));
        fs::remove_dir_all(self.folder.join("shards"))?;
        Ok(())
    }

    /// Publishes a file into the store, downloads it and pulls it.
    fn one_file(&mut self) -> Result<()> {
        let size = format!("{} MiB", self.arguments.file_mib);
        let path = self.folder.join("one/model.bin");
        write_random(&path, u64::from(self.arguments.file_mib) << 20)?;
        let pairs = self.pairs(
            |_| timed(&mut self.shell("rm -f copy && cp one/model.bin copy && sha256sum copy")),
            |round| {
                // Other bytes each time, since the same ones would not be uploaded again.
                File::options().write(true).open(&path)?.write_all(format!("round {round}").as_bytes())?;
                let _ = fs::remove_dir_all(self.folder.join("store/blobs/sha256"));
                let label = round.to_string();
                timed(&mut self.registry(&self.server.url, &["publish", "one", "one", "--version", &label]))
            },
        )?;
        self.rows.push(pairs.row(
            &format!("`registry publish m FILE` of {size} into the store"),
            "`cp` and `sha256sum`",
            Goal::Time(1.3),
        ));
        fs::remove_file(self.folder.join("copy"))?;
        if is_there("curl", "--version") {
            let digest = output(Command::new("sha256sum").arg(&path))?;
            let digest = digest.split(' ').next().unwrap_or_default();
            let url = format!("{}/v2/one/blobs/sha256:{digest}", self.server.url);
            self.downloads(&url, &size)?;
            self.pulls(&url, &size)?;
        } else {
            self.skip("downloads and pulls", "curl");
        }
        Ok(())
    }

    fn downloads(&mut self, url: &str, size: &str) -> Result<()> {
        for clients in [1, PARALLEL] {
            let what =
                format!("download {size}, {clients} at once: `curl -o /dev/null …/v2/m/blobs/sha256:…`");
            if !is_there("nginx", "-v") {
                self.skip(&what, "nginx");
                continue;
            }
            let nginx = Nginx::start(&self.folder)?;
            let theirs = format!("{}/one/model.bin", nginx.url);
            // Not measured: the first download after a start verifies the file.
            download(url, 1)?;
            let pairs = self.pairs(|_| download(&theirs, clients), |_| download(url, clients))?;
            self.rows.push(pairs.row(&what, "nginx, 2 workers, `sendfile`", Goal::Speed(0.8)));
        }
        Ok(())
    }

    fn pulls(&mut self, url: &str, size: &str) -> Result<()> {
        let digesting = format!("curl -sf -H 'X-API-Key: {KEY}' '{url}' | sha256sum");
        let version = format!("one:{}", self.arguments.rounds - 1);
        let pairs = self.pairs(
            |_| timed(&mut self.shell(&digesting)),
            |_| {
                let pull = ["pull", &version, "--to", "pulled", "--no-cache"];
                let seconds = timed(&mut self.registry(&self.server.url, &pull))?;
                fs::remove_dir_all(self.folder.join("pulled"))?;
                Ok(seconds)
            },
        )?;
        self.rows.push(pairs.row(
            &format!("`registry pull m:v --no-cache` of {size}, verified"),
            "`curl … \\| sha256sum`",
            Goal::Time(1.2),
        ));
        Ok(())
    }

    /// Publishes many small files, and lists them.
    fn small_files(&mut self) -> Result<()> {
        let files = self.arguments.files;
        for number in 0..files {
            let path = format!("small/{:02}/{number}.txt", number % FILES_IN_A_FOLDER);
            write_random(&self.folder.join(path), SMALL_FILE_BYTES as u64)?;
        }
        let publish = ["publish", "small", "small", "--version", "v"];
        let seconds = timed(&mut self.registry(&self.server.url, &publish))?;
        let shown = |number: f64, unit: &str| format!("{} {unit}", three_digits(number));
        let row = |what: String, value: String, goal: &str, is_met| {
            vec![what, value, String::new(), String::new(), goal.to_owned(), met(is_met)]
        };
        self.rows.push(row(
            format!("publish {files} files of 10 kB"),
            shown(seconds, "s"),
            "at most 20 s",
            seconds <= 20.0,
        ));
        let lists =
            ["api/models/small/tree/v?recursive=true", "v1/models/small/versions/1/files?recursive=true"];
        for path in lists {
            let what = format!("list them: `GET /{path}`, p95 of {LISTS}");
            if !is_there("curl", "--version") {
                self.skip(&what, "curl");
                continue;
            }
            let url = format!("{}/{path}&limit=10000", self.server.url);
            let times =
                (0..LISTS).map(|_| curl(&url, "%{time_total}").and_then(|text| Ok(text.parse::<f64>()?)));
            let p95_ms = quantile(&mut times.collect::<Result<Vec<_>>>()?, 0.95) * 1000.0;
            self.rows.push(row(what, shown(p95_ms, "ms"), "at most 100 ms", p95_ms <= 100.0));
        }
        Ok(())
    }
}

/// nginx, which serves a folder.
struct Nginx {
    url: String,
    child: Child,
}

impl Nginx {
    fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
        // By default, its workers would be another user, who may not read the folder.
        let user = if is_root { "user root;" } else { "" };
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = kinds.iter().map(|kind| format!("{kind}_temp_path temp-{kind};\n")).collect();
        let root = folder.display();
        fs::write(
            folder.join("nginx.conf"),
            format!(
                "{user} daemon off; worker_processes 2; pid nginx.pid; error_log nginx.err;\n\
                 events {{ worker_connections 100; }}\n\
                 http {{ access_log off; sendfile on; {temporary} server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
            ),
        )?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).args(["-e", "nginx.err", "-c", "nginx.conf"]).stdin(Stdio::null());
        let nginx = Self { url: format!("http://127.0.0.1:{port}"), child: command.spawn()? };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START_LIMIT {
                let log = fs::read_to_string(folder.join("nginx.err")).unwrap_or_default();
                return Err(format!("nginx did not start: {log}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master process ends its workers, which a KILL would leave.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn curl(url: &str, shown: &str) -> Result<String> {
    let key = format!("X-API-Key: {KEY}");
    output(Command::new("curl").args(["-sf", "-o", "/dev/null", "-w", shown, "-H", &key, url]))
}

/// Downloads with several clients at once, and returns the seconds until the last is done.
fn download(url: &str, clients: usize) -> Result<f64> {
    let begun = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(|| curl(url, ""))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a client panicked".into())).map(drop)
        })
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

fn timed(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    output(command)?;
    Ok(begun.elapsed().as_secs_f64())
}

fn is_there(tool: &str, argument: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn write_random(path: &Path, length: u64) -> Result<()> {
    fs::create_dir_all(path.parent().ok_or("a file in no folder")?)?;
    let (mut file, mut random, mut left) = (File::create(path)?, fastrand::Rng::new(), length);
    let mut chunk = vec![0; 1 << 20];
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        random.fill(&mut chunk[..part]);
        file.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = scratch();
    let folder = scratch.path().to_owned();
    let server = Server::with_store(
        &arguments.binary,
        &folder.join("registry.db"),
        &folder.join("store"),
        &folder.join("registry.log"),
    )?;
    let (started_mib, _) = server.memory_mib()?;
    let mut bench = Bench { arguments, folder, server, rows: Vec::new() };
    bench.digest()?;
    bench.one_file()?;
    bench.small_files()?;
    let head = ["what", "registry", "beside it", "ratio", "goal", "met"];
    for row in &mut bench.rows {
        row.resize(head.len(), String::new());
    }
    print!("{}", markdown(&head, &bench.rows));
    let (_, peak_mib) = bench.server.memory_mib()?;
    println!(
        "\nThe memory of the server with the store: {} MiB after its start, {} MiB at most.",
        three_digits(started_mib),
        three_digits(peak_mib)
    );
    Ok(())
}

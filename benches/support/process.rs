//! Other processes and folders, and that nothing of them stays behind: not when all goes well, not when it does
//! not, and not on Ctrl-C.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard},
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

use super::Result;

/// The key of every server that is measured.
pub const KEY: &str = "measured-by-bench";

/// What is there now and must go.
#[derive(Default)]
struct Leftovers {
    children: BTreeSet<u32>,
    folders: BTreeSet<PathBuf>,
}

static LEFTOVERS: Mutex<Leftovers> =
    Mutex::new(Leftovers { children: BTreeSet::new(), folders: BTreeSet::new() });

fn leftovers() -> MutexGuard<'static, Leftovers> {
    LEFTOVERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// From now on SIGINT and SIGTERM take the children and the folders along.
pub fn end_cleanly() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            let left = leftovers();
            for child in &left.children {
                let _ = Command::new("kill").args(["-s", "KILL", &child.to_string()]).status();
            }
            for folder in &left.folders {
                let _ = fs::remove_dir_all(folder);
            }
            process::exit(code);
        });
    });
    Ok(())
}

/// A folder on the real disk for this run.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let folder = super::scratch().keep();
        leftovers().folders.insert(folder.clone());
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        leftovers().folders.remove(&self.0);
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    pub url: String,
    child: Child,
    /// One of the benchmark's own ends when this is closed.
    _stdin: Option<ChildStdin>,
}

impl Server {
    /// `registry serve` on this database, as it is shipped, but that it logs no request.
    pub fn registry(binary: &Path, database: &Path, log: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIA_REGISTRY_") {
                command.env_remove(&name);
            }
        }
        command.args(["serve", "--port", "0", "--log-level", "warn", "--db-path"]).arg(database);
        command.env("CAIA_REGISTRY_API_KEY", KEY).stdin(Stdio::null());
        Self::start(command, log)
    }

    /// Starts a server that tells its address in its first line.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(log)?).spawn()?;
        leftovers().children.insert(child.id());
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut server = Self { url: String::new(), _stdin: child.stdin.take(), child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let Some(url) = url else {
            let said = fs::read_to_string(log).unwrap_or_default();
            let why = format!("{line}{said}");
            let why = if why.trim().is_empty() { "it said nothing" } else { why.trim() };
            return Err(format!("a server did not start: {why}").into());
        };
        url.clone_into(&mut server.url);
        Ok(server)
    }

    /// What the system says of its memory, in MiB: now, and at most.
    pub fn memory_mib(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
            let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>()?;
            Ok(kib / 1024.0)
        };
        Ok((field("VmRSS")?, field("VmHWM")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        leftovers().children.remove(&self.child.id());
    }
}

/// Runs a command to its end and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = child.id();
    leftovers().children.insert(id);
    let output = child.wait_with_output();
    leftovers().children.remove(&id);
    let output = output?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}{}", text(&output.stdout), text(&output.stderr)).into());
    }
    Ok(text(&output.stdout))
}

/// Says what went wrong in one line and which code to exit with.
pub fn report(result: Result<()>) -> process::ExitCode {
    match result {
        Ok(()) => process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            process::ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// Something is to be done differently by who typed the command.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

//! The servers that are measured, as processes that end with the benchmark.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use super::Result;

/// The key of every server that is measured.
pub const KEY: &str = "measured-by-bench";

/// A server that runs until it is dropped.
pub struct Server {
    pub url: String,
    child: Child,
    /// The bare actix-web server ends when this is closed.
    _stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts `registry serve` on this database file with default settings, except that it does not log requests.
    pub fn registry(binary: &Path, database: &Path, log: &Path) -> Result<Self> {
        let mut command = Self::command(binary);
        command.arg("--db-path").arg(database);
        Self::start(command, log)
    }

    /// Starts it with an artifact store in this folder.
    pub fn with_store(binary: &Path, database: &Path, store: &Path, log: &Path) -> Result<Self> {
        let mut command = Self::command(binary);
        command.arg("--db-path").arg(database).arg("--artifact-store").arg(store);
        Self::start(command, log)
    }

    /// Starts `registry serve` on this PostgreSQL database, otherwise in the same way.
    pub fn over_postgres(binary: &Path, url: &str, log: &Path) -> Result<Self> {
        let mut command = Self::command(binary);
        command.args(["--database-url", url]);
        Self::start(command, log)
    }

    fn command(binary: &Path) -> Command {
        let mut command = registry_command(binary);
        command.args(["serve", "--port", "0", "--log-level", "warn"]);
        command.env("CAIA_REGISTRY_API_KEY", KEY).stdin(Stdio::null());
        command
    }

    /// Starts a server that prints its address in its first line.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(log)?).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut server = Self { url: String::new(), _stdin: child.stdin.take(), child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) else {
            let log = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("a server did not start: {line}{log}").into());
        };
        url.clone_into(&mut server.url);
        Ok(server)
    }

    /// Returns its resident memory in MiB: now, and the peak.
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
    }
}

/// Returns a command of `registry` without this shell's settings.
pub fn registry_command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIA_REGISTRY_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}{}", text(&output.stdout), text(&output.stderr)).into());
    }
    Ok(text(&output.stdout))
}

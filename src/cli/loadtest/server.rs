//! The load test's own server: this program's `serve` as a child process, with a temporary database and a free port. It
//! ends with the run, unless this process is killed.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use registry_loadtest::Target;
use tempfile::TempDir;

use super::messages::failure;
use crate::{cli::exit::Failure, client::parse_base_url};

/// The server and its folder.
pub(super) struct OwnServer {
    url: String,
    key: String,
    child: Child,
    /// `None` once it was removed.
    folder: Option<TempDir>,
}

impl OwnServer {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::failed(format!("the load test's server can't be started: {error}"));
        let folder = tempfile::Builder::new().prefix("registry-loadtest-").tempdir().map_err(failed)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::failed(format!("the system gives no random numbers: {error}")))?;
        let key = hex::encode(random);
        let log = folder.path().join("log");
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command.args(["serve", "--host", "127.0.0.1", "--port", "0", "--log-level", "warn", "--db-path"]);
        command.arg(folder.path().join("registry.db"));
        // With default settings: variables here may be meant for another server.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CAIA_REGISTRY_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .env("CAIA_REGISTRY_API_KEY", &key)
            .current_dir(folder.path())
            // Ctrl-C in the terminal ends the load, and the server is still needed for reading back.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take();
        let mut server = Self { url: String::new(), key, child, folder: Some(folder) };
        // It prints its address as soon as it listens, or ends.
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        match url {
            Some(url) => url.clone_into(&mut server.url),
            None => {
                let log = fs::read_to_string(log).unwrap_or_default();
                let reason = log.lines().last().unwrap_or("its log is empty").to_owned();
                return Err(Failure::failed(format!("the load test's server does not start: {reason}")));
            }
        }
        Ok(server)
    }

    /// Returns the server as a target.
    ///
    /// # Errors
    /// If the address it printed is not a URL.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let url = parse_base_url(&self.url)?;
        Target::resolve(&url, &self.key).map_err(|error| failure(error, &self.url))
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.folder = None;
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns true if its process has ended.
pub(super) fn has_ended(server: &Arc<Mutex<OwnServer>>) -> bool {
    server.lock().is_ok_and(|mut server| matches!(server.child.try_wait(), Ok(Some(_))))
}

/// Kills the server and removes its folder. Its data is of no use afterwards.
pub(super) fn kill(server: &Arc<Mutex<OwnServer>>) {
    // A lock that is held means that it is being killed already.
    if let Ok(mut server) = server.try_lock() {
        server.kill();
    }
}

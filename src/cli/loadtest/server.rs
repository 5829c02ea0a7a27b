//! A server of the load test's own: this program's `serve`, in its own process, on a temporary database and a free
//! port. It goes when the run is over, unless this process is killed by what it can't heed.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, bounded, select};
use registry_loadtest::Target;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    cli::{exit::Failure, interrupt::Interrupt},
    client::read_base_url,
};

/// Opening an empty database takes milliseconds, also on a machine that is busy with other things.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The server waits no longer itself for what runs.
const END_TIMEOUT: Duration = Duration::from_secs(12);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The server and all that it holds.
pub(super) struct OwnServer {
    url: String,
    key: String,
    child: Child,
    /// Absent once it was removed.
    folder: Option<TempDir>,
}

impl OwnServer {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// Where it does not start.
    pub(super) fn start(interrupt: &Interrupt) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::failed(format!("the server to be loaded can't be started: {error}"));
        let folder = tempfile::Builder::new().prefix("registry-loadtest-").tempdir().map_err(failed)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::failed(format!("the system gives no random numbers: {error}")))?;
        let key = hex::encode(random);
        let log = folder.path().join("log");
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command.args(["serve", "--host", "127.0.0.1", "--port", "0", "--log-level", "warn", "--db-path"]);
        command.arg(folder.path().join("registry.db"));
        // As it comes, whatever the variables here are meant for.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CAIA_REGISTRY_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .env("CAIA_REGISTRY_API_KEY", &key)
            .current_dir(folder.path())
            // A Ctrl-C in the terminal is for the load; the server is still to be read.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take();
        let mut server = Self { url: String::new(), key, child, folder: Some(folder) };
        let (tell, told) = bounded(1);
        thread::spawn(move || {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                let _ = BufReader::new(stdout).read_line(&mut line);
            }
            let _ = tell.send(line);
        });
        let interrupted = interrupt.channel();
        let line = select! {
            recv(told) -> line => line.map_err(|_| RecvTimeoutError::Disconnected),
            recv(interrupted) -> _ => return Err(Failure::interrupted("ended before the load began; there is no report")),
            default(START_TIMEOUT) => Err(RecvTimeoutError::Timeout),
        };
        let url = line.ok().and_then(|line| {
            line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
        });
        match url {
            Some(url) => server.url = url,
            None => {
                let said = fs::read_to_string(log).unwrap_or_default();
                let said = said.lines().last().unwrap_or("it says nothing").to_owned();
                return Err(Failure::failed(format!("the server to be loaded does not start: {said}")));
            }
        }
        Ok(server)
    }

    /// Where it is to be reached.
    ///
    /// # Errors
    /// Where it said what is no URL.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let url = read_base_url(&self.url)?;
        Target::resolve(&url, &self.key).map_err(|error| super::failure(error, &self.url))
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The folder goes with it.
        self.folder = None;
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether its process has ended, which it was not asked to.
pub(super) fn has_ended(server: &Arc<Mutex<OwnServer>>) -> bool {
    server.lock().is_ok_and(|mut server| matches!(server.child.try_wait(), Ok(Some(_))))
}

/// Ends it in order, and removes its folder.
pub(super) fn end(server: &Arc<Mutex<OwnServer>>) {
    let Ok(mut server) = server.lock() else { return };
    if matches!(server.child.try_wait(), Ok(None)) {
        let _ = kill_process(Pid::from_child(&server.child), Signal::TERM);
        let deadline = Instant::now() + END_TIMEOUT;
        while matches!(server.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
        }
    }
    server.kill();
}

/// Ends it at once.
pub(super) fn kill(server: &Arc<Mutex<OwnServer>>) {
    // Whoever holds it is ending it already, and may wait for long; this process waits no more.
    if let Ok(mut server) = server.try_lock() {
        server.kill();
    }
}

//! The real server on a given file; it can be killed at any moment, even before it listens.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{registry, wait_until};

pub(crate) struct Server {
    child: Child,
    address: Arc<Mutex<Option<SocketAddr>>>,
    log: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts it, and does not wait for it.
    pub(crate) fn spawn(database: &Path) -> Self {
        let mut command = serve(database);
        command.args(["--log-level", "warn,model_registry::store=info"]);
        Self::run(&mut command)
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let address = Arc::<Mutex<Option<SocketAddr>>>::default();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let shared_address = Arc::clone(&address);
        let said = Arc::clone(&log);
        let threads = vec![
            thread::spawn(move || {
                for line in stdout.lines().map_while(Result::ok) {
                    let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
                    if let Some(url) = url {
                        *shared_address.lock().unwrap() = url.parse().ok();
                    }
                }
            }),
            thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    said.lock().unwrap().push(line);
                }
            }),
        ];
        Self { child, address, log, threads }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(database: &Path) -> Self {
        let mut server = Self::spawn(database);
        server.wait_for_address();
        server
    }

    #[track_caller]
    pub(crate) fn wait_for_address(&mut self) -> SocketAddr {
        let mut ended = false;
        wait_until("the server listens", || {
            ended = self.child.try_wait().unwrap().is_some();
            ended || self.address().is_some()
        });
        self.address().unwrap_or_else(|| panic!("the server did not start: {:?}", self.log()))
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap()
    }

    /// Returns its stderr so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until its stderr contains `text`, which may arrive after the address, and returns all lines.
    #[track_caller]
    pub(crate) fn log_with(&self, text: &str) -> String {
        let mut log = String::new();
        wait_until(text, || {
            log = self.log().join("\n");
            log.contains(text)
        });
        log
    }

    /// Kills it with SIGKILL, waits for its end, and returns its log.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.ended().1
    }

    /// Kills it with SIGKILL while others use it, and waits for its end.
    pub(crate) fn kill_now(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        (status, self.log())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Shuts it down, and asserts that it succeeded.
    pub(crate) fn stop(mut self) {
        self.terminate();
        let (status, log) = self.ended();
        assert!(status.success(), "{status}: {log:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `registry serve` on this file and on a free port.
pub(crate) fn serve(database: &Path) -> Command {
    let mut command = registry(["serve", "--port", "0", "--db-path"]);
    command.arg(database);
    command
}

/// Waits a random time up to this.
pub(crate) fn linger(random: &mut fastrand::Rng, most: Duration) {
    thread::sleep(Duration::from_micros(random.u64(0..=most.as_micros() as u64)));
}

//! Running commands so that none outlives us.
//!
//! Each runs in a process group of its own, with nothing to read. Ctrl-C reaches us alone, and we end the group: a
//! command's children, such as tests with servers, end with it.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::error::Error;

/// How long a command that was asked to end may take. The test runner gives its tests ten seconds.
const GRACE: Duration = Duration::from_secs(12);
/// How often we look whether a command has ended, which is nothing beside what it takes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether someone wants us to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes Ctrl-C, SIGTERM and the closing of the terminal over.
    pub(crate) fn listen() -> Result<Self, Error> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&wanted))
                .map_err(|error| Error::Failed(format!("signals can't be handled: {error}")))?;
        }
        Ok(Self(wanted))
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A command that has ended, with what it wrote.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command that runs. Dropped, it is ended with its whole group.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Error> {
        let started = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = started.map_err(|source| Error::NotStarted { program: name(command), source })?;
        Ok(Self { child, ended: false })
    }

    /// Its output, where it was piped. It can be taken once.
    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end, or ends it where that is wanted.
    pub(crate) fn wait(&mut self, interrupt: &Interrupt) -> Result<ExitStatus, Error> {
        loop {
            if interrupt.is_wanted() {
                self.end();
                return Err(Error::Interrupted("what ran was ended".to_owned()));
            }
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn poll(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = self.child.try_wait();
        let status =
            status.map_err(|error| Error::Failed(format!("a command can't be waited for: {error}")))?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Asks the group to end, and then makes it.
    pub(crate) fn end(&mut self) {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE && !self.ended && self.poll().is_ok_and(|status| status.is_none()) {
            thread::sleep(LOOK_EVERY);
        }
        if !self.ended {
            self.signal(Signal::KILL);
            self.ended = self.child.wait().is_ok();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended by itself is as good.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

/// Runs it with both of its outputs going to files.
pub(crate) fn run(
    command: &mut Command,
    stdout: File,
    stderr: File,
    interrupt: &Interrupt,
) -> Result<ExitStatus, Error> {
    Running::start(command.stdout(stdout).stderr(stderr))?.wait(interrupt)
}

/// Runs it and takes what it writes. It goes through files, so that none of the two can fill up and hold it.
pub(crate) fn capture(command: &mut Command, interrupt: &Interrupt) -> Result<Captured, Error> {
    let scratch =
        || tempfile::tempfile().map_err(|error| Error::Failed(format!("no temporary file: {error}")));
    let (mut stdout, mut stderr) = (scratch()?, scratch()?);
    let copy = |file: &File| {
        file.try_clone().map_err(|error| Error::Failed(format!("a file can't be shared: {error}")))
    };
    let status = run(command, copy(&stdout)?, copy(&stderr)?, interrupt)?;
    Ok(Captured { success: status.success(), stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

fn text(file: &mut File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.map_err(|error| Error::Failed(format!("a command's output can't be read: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_command_says_and_how_it_ended_is_told() {
        let ended = capture(&mut shell("echo out; echo err >&2; exit 3"), &Interrupt::default()).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str(), ended.success), ("out\n", "err\n", false));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = capture(&mut Command::new("no-such-program"), &Interrupt::default()).unwrap_err();
        assert!(
            matches!(&error, Error::NotStarted { program, .. } if program == "no-such-program"),
            "{error}"
        );
    }

    #[test]
    fn the_children_of_a_command_end_with_it() {
        let mut running = Running::start(shell("sleep 600 & echo $!; wait").stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        let output = running.stdout().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let child = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        let interrupt = Interrupt::default();
        interrupt.ask();
        assert!(matches!(running.wait(&interrupt), Err(Error::Interrupted(_))));
        // It is an orphan now; the system takes it away in its own time.
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
            rustix::process::test_kill_process(child).is_err()
                || state.is_ok_and(|state| state.contains(") Z "))
        };
        let asked = Instant::now();
        while !gone() {
            assert!(asked.elapsed() < GRACE, "the child still runs");
            thread::yield_now();
        }
    }
}

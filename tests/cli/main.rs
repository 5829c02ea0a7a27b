//! The real binary as a shell runs it: output, files and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod aliases;
mod artifacts;
mod bench;
mod changing;
mod comparing;
mod completions;
mod configuring;
mod disk;
mod escaping;
mod every_command;
mod fake_registry;
mod gateway;
mod health;
mod import_failures;
mod import_mlflow;
mod ingest;
mod journey;
mod keys;
#[path = "../support/left_out.rs"]
mod left_out;
mod listing;
mod loadtest_reports;
mod loadtest_runs;
mod loadtest_start_and_end;
mod maintenance;
mod mlflow_server;
mod models;
mod object_server;
mod older_servers;
mod policies;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod publish_folders;
mod publish_registrations;
mod publish_uploads;
mod pull;
mod scene;
mod searching;
mod secrets;
mod serve;
mod server;
mod settings;
mod showing;
mod tags_and_trash;
mod verify;
mod watch_checkpoints;
mod watch_failures;
mod watch_folders;
mod watch_runs;

use std::{
    env,
    ffi::OsStr,
    process::{Command, Output},
};

/// The key of the tests; no output may contain it.
const KEY: &str = "hush-4711-hush";

/// `registry` with these arguments and without variables that could lead it to another server.
fn registry<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    command.args(arguments);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("CAIA_REGISTRY_") || text.starts_with("AWS_") || text.ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    // The user's own configuration file must not count either.
    command.env("USER", "ann").env("XDG_CONFIG_HOME", "/nonexistent");
    // Nor their cache.
    command.env("CAIA_REGISTRY_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// `registry` for the registry at `url`, in a UTF-8 locale.
fn at<I: AsRef<OsStr>>(url: &str, arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = registry(arguments);
    command.env("CAIA_REGISTRY_URL", url).env("CAIA_REGISTRY_API_KEY", KEY);
    command.env("LC_ALL", "C.UTF-8").env_remove("TERM").env_remove("CLICOLOR_FORCE");
    command
}

/// The result of a run.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Self { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) };
        for output in [&ran.stdout, &ran.stderr] {
            assert!(!output.contains(KEY), "the key is shown: {ran:?}");
            assert!(!output.contains("panicked") && !output.contains("Err("), "{ran:?}");
        }
        ran
    }

    /// Asserts that it failed with this code and one line on stderr, and returns that line.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.stderr
    }

    /// Asserts success, and returns stdout and stderr with fixed times.
    #[track_caller]
    fn done(self) -> (String, String) {
        assert_eq!(self.code, 0, "{self:?}");
        assert!(!self.stdout.contains('\u{1b}') && !self.stderr.contains('\u{1b}'), "{self:?}");
        (timeless(&self.stdout), timeless(&self.stderr))
    }

    /// Asserts success without output on stderr, and returns stdout.
    #[track_caller]
    fn shown(self) -> String {
        let (stdout, stderr) = self.done();
        assert_eq!(stderr, "");
        stdout
    }
}

/// Returns the text with a fixed time in place of each time.
fn timeless(text: &str) -> String {
    const PATTERN: &[u8] = b"dddd-dd-dd dd:dd";
    let mut bytes = text.as_bytes().to_vec();
    for start in 0..bytes.len().saturating_sub(PATTERN.len()) {
        let is_like =
            |(byte, like): (&u8, &u8)| if *like == b'd' { byte.is_ascii_digit() } else { byte == like };
        if bytes[start..].iter().zip(PATTERN).all(is_like) {
            bytes[start..start + PATTERN.len()].copy_from_slice(b"2026-01-31 13:05");
            let seconds = start + PATTERN.len();
            if bytes.get(seconds) == Some(&b':') {
                bytes[seconds + 1..seconds + 3].copy_from_slice(b"09");
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

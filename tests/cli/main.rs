//! The real binary as a shell runs it: output, files and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
mod by_hand;
mod changing;
mod comparing;
mod completions;
mod configuring;
mod disk;
mod escaping;
mod fake_registry;
mod gateway;
mod health;
mod ingest;
mod journey;
#[path = "../support/left_out.rs"]
mod left_out;
mod listing;
mod loadtest;
mod maintenance;
mod object_server;
mod publish;
mod scene;
mod secrets;
mod serve;
mod server;
mod settings;
mod showing;
mod verify;
mod watch;

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
}

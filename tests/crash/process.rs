//! The binary as the tests start it, and the deadline of everything that they wait for.

use std::{
    env,
    ffi::OsStr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

pub(crate) const KEY: &str = "a-key-of-the-crash-tests";
/// A step that takes longer than this hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// `registry` with these arguments, without variables that could lead it to another server.
pub(crate) fn registry<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    at_home(&mut command).args(arguments);
    command
}

pub(crate) fn at_home(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("CAIA_REGISTRY_") || text.starts_with("AWS_") || text.ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    command.env("CAIA_REGISTRY_API_KEY", KEY).env("XDG_CONFIG_HOME", "/nonexistent")
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_micros(200));
    }
}

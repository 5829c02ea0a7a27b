//! The real binary, killed: at random moments under load, at each step of a migration, while it copies and while it publishes;
//! and what it writes and syncs in which order, and what it makes of a log that is damaged.
//!
//! Ten rounds of the load by default. More of them by hand, and one again that failed (docs/RELIABILITY.md):
//! `CRASH_ROUNDS=200 cargo test --test crash -- --nocapture rounds`, `CRASH_SEED=… cargo test --test crash rounds`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod damage;
mod judge;
mod ledger;
mod load;
mod migration;
mod rounds;
mod server;
mod syncs;
mod upkeep;
mod watching;

use std::{
    env,
    ffi::OsStr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const KEY: &str = "a-key-of-the-crash-tests";
/// What takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// `registry` with these arguments, and with nothing in its environment that could lead it elsewhere.
fn registry<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    at_home(&mut command).args(arguments);
    command
}

fn at_home(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("CAIA_REGISTRY_") || text.starts_with("AWS_") || text.ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    command.env("CAIA_REGISTRY_API_KEY", KEY).env("XDG_CONFIG_HOME", "/nonexistent")
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_micros(200));
    }
}

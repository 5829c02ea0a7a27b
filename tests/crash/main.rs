//! The real binary, killed at random moments under load, at each step of a migration, while it copies and while it
//! publishes; the order of its writes and syncs; and damaged WALs.
//!
//! The load runs ten rounds by default. To run more of them, or a failed one again (docs/RELIABILITY.md):
//! `CRASH_ROUNDS=200 cargo test --test crash -- --nocapture rounds`, `CRASH_SEED=… cargo test --test crash rounds`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
mod client;
mod damage;
mod ledger;
#[path = "../support/left_out.rs"]
mod left_out;
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
/// A step that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// `registry` with these arguments, without variables that could lead it to another server.
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

//! Reports a test that this machine can't run, so that a green run does not hide it.

use std::{env, io::Write as _, thread};

/// Set to `1`, it makes a test that can't run here fail.
const REQUIRE_ALL: &str = "REGISTRY_REQUIRE_ALL_TESTS";

/// Says on stderr which test does not run here and why. The caller returns after it.
///
/// # Panics
/// If `REGISTRY_REQUIRE_ALL_TESTS` is `1`, as in the gate.
#[track_caller]
pub(crate) fn left_out(why: &str) {
    assert!(env::var_os(REQUIRE_ALL).is_none_or(|value| value != "1"), "left out: {why}");
    // The harness names the thread after the test. It hides what the macros print in a test that passes.
    let thread = thread::current();
    let line = format!("left out: {}: {why}\n", thread.name().unwrap_or("a test"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

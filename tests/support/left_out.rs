//! Reports a test that this machine can't run, so that a green run does not hide it.

/// Set to `1`, it makes a test that can't run here fail.
const REQUIRE_ALL: &str = "REGISTRY_REQUIRE_ALL_TESTS";

/// Says on stderr what is not tested here and what is missing. The caller returns after it.
///
/// # Panics
/// If `REGISTRY_REQUIRE_ALL_TESTS` is `1`, as in the gate.
#[track_caller]
pub(crate) fn left_out(why: &str) {
    assert!(std::env::var_os(REQUIRE_ALL).is_none_or(|value| value != "1"), "left out: {why}");
    eprintln!("left out: {why}");
}

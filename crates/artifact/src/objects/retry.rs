//! Decides when a request is retried, and for how long.

use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};

/// No retry starts later than this after the first try.
const RETRY_PERIOD: Duration = Duration::from_secs(120);
/// Retries of a request, with about 6 s of waiting in all.
const RETRIES: usize = 7;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Returns the retries of any request: long enough for a busy store, and short enough to report a missing one soon.
pub(super) fn for_requests() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 3.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_PERIOD }
}

/// Returns the retries of an upload in parts. The failure of one would waste all parts before it.
pub(super) fn for_parts() -> RetryConfig {
    RetryConfig { max_retries: usize::MAX, ..for_requests() }
}

/// Returns the waits between retries that this crate makes itself. Each is about twice the one before, with jitter, so
/// that many clients do not return to a store at the same moment.
pub(super) fn waits() -> impl Iterator<Item = Duration> {
    let longest = std::iter::successors(Some(FIRST_WAIT), |wait| Some((*wait * 2).min(LONGEST_WAIT)));
    longest.take(RETRIES).map(|wait| wait.mul_f64(0.5 + fastrand::f64()).min(LONGEST_WAIT))
}

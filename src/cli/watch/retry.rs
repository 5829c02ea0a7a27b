//! Retries with growing waits, reported once.

use std::time::Duration;

use crate::cli::print;

/// The wait before the first retry; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Long enough to be no load, short enough to continue soon after an outage.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The next try of something that failed.
#[derive(Debug, Default)]
pub(super) struct Retry {
    tries: u32,
    pub(super) at: Duration,
    /// The last reported message, which is reported again only if it changes.
    message: String,
}

impl Retry {
    /// Schedules another try after a failure, and prints `message` unless it is the same as before.
    pub(super) fn schedule(&mut self, now: Duration, message: String) {
        self.at = now + wait_before_try(self.tries, fastrand::f64());
        self.tries += 1;
        if self.message != message {
            print::line(&message);
            self.message = message;
        }
    }
}

/// Returns the wait after this many tries. `jitter` of 0 to 1 keeps many watches from returning to a registry at the same
/// moment.
fn wait_before_try(tries: u32, jitter: f64) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_WAIT);
    wait.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let seconds = |tries, jitter| wait_before_try(tries, jitter).as_secs_f64();
        for (tries, longest) in [(0, 1.0), (1, 2.0), (5, 32.0), (6, 60.0), (7, 60.0), (u32::MAX, 60.0)] {
            assert_eq!((seconds(tries, 0.0), seconds(tries, 1.0)), (longest / 2.0, longest), "{tries}");
        }
    }
}

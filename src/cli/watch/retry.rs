//! Trying again, less and less often, and telling of it once.

use std::time::Duration;

use crate::cli::print;

/// Before the first further try of what failed; about doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Long enough to be no burden, short enough to be back soon after whatever was away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When something is to be tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    tries: u32,
    pub(super) at: Duration,
    /// What went wrong the last time, to be told when it changes.
    said: String,
}

impl Retry {
    /// It failed again, and is tried again later. What went wrong is told where it is something else than before.
    pub(super) fn again(&mut self, now: Duration, said: String) {
        self.at = now + wait_before_try(self.tries, fastrand::f64());
        self.tries += 1;
        if self.said != said {
            print::line(&said);
            self.said = said;
        }
    }
}

/// How long to wait before a further try, after so many. `chance` of 0 to 1 keeps many watches from all
/// coming back to a registry at the same moment.
fn wait_before_try(tries: u32, chance: f64) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_WAIT);
    wait.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_a_minute() {
        let seconds = |tries, chance| wait_before_try(tries, chance).as_secs_f64();
        for (tries, longest) in [(0, 1.0), (1, 2.0), (5, 32.0), (6, 60.0), (7, 60.0), (u32::MAX, 60.0)] {
            assert_eq!((seconds(tries, 0.0), seconds(tries, 1.0)), (longest / 2.0, longest), "{tries}");
        }
    }
}

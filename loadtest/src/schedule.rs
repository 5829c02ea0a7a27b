//! When requests of the open loop are due. Pure: it reads no clock.
//!
//! Due times depend on no answer. While a server stalls, requests wait, and their latency counts from their due times.
//! Requests that could not be sent before the end of the run count with the time that they had waited.

use std::time::Duration;

use crate::plan::Limit;

/// Due times, evenly spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    per_second: f64,
    /// The number of requests; `u64::MAX` if only time ends the run.
    pub(crate) total: u64,
    /// The end, from the start.
    pub(crate) end: Option<Duration>,
}

impl Schedule {
    pub(crate) fn new(per_second: f64, warmup: Duration, limit: Limit, callers: usize) -> Self {
        let unending = Self { per_second, total: u64::MAX, end: None };
        let count = match limit {
            Limit::Duration(duration) => return Self { end: Some(warmup + duration), ..unending },
            Limit::Requests(count) => count,
            Limit::RequestsPerCaller(count) => count.saturating_mul(callers as u64),
        };
        Self { total: unending.due_by(warmup).saturating_add(count), ..unending }
    }

    /// Returns the due time of a request, from the start.
    pub(crate) fn time_of(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    /// Returns the number of requests that are due before this time.
    pub(crate) fn due_by(&self, elapsed: Duration) -> u64 {
        let elapsed = self.end.map_or(elapsed, |end| elapsed.min(end));
        let mut due = (elapsed.as_secs_f64() * self.per_second).ceil() as u64;
        // The product is rounded, so the due times decide.
        while due > 0 && self.time_of(due - 1) >= elapsed {
            due -= 1;
        }
        while self.time_of(due) < elapsed {
            due += 1;
        }
        due.min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(per_second: f64, limit: Limit) -> Schedule {
        Schedule::new(per_second, Duration::ZERO, limit, 4)
    }

    const UNENDING: Limit = Limit::Requests(u64::MAX);

    #[test]
    fn requests_are_due_at_even_times() {
        let schedule = schedule(100.0, UNENDING);
        assert_eq!(schedule.time_of(0), Duration::ZERO);
        assert_eq!(schedule.time_of(250), Duration::from_millis(2500));
        for (millis, due) in [(0, 0), (1, 1), (10, 1), (11, 2), (1000, 100)] {
            assert_eq!(schedule.due_by(Duration::from_millis(millis)), due, "{millis}");
        }
    }

    #[test]
    fn a_schedule_ends_by_time_or_by_number() {
        let second = Duration::from_secs(1);
        for (limit, due) in
            [(Limit::Duration(second), 100), (Limit::Requests(30), 30), (Limit::RequestsPerCaller(5), 20)]
        {
            assert_eq!(schedule(100.0, limit).due_by(60 * second), due, "{limit:?}");
        }
        // Requests of the warm-up come first, in addition.
        let warmed = Schedule::new(100.0, second, Limit::Requests(30), 4);
        assert_eq!((warmed.total, warmed.due_by(60 * second)), (130, 130));
    }

    proptest! {
        #[test]
        fn requests_are_due_whose_time_is_before(rate in 0.01_f64..1e6, micros in 0_u64..10_000_000) {
            let schedule = schedule(rate, UNENDING);
            let elapsed = Duration::from_micros(micros);
            let due = schedule.due_by(elapsed);
            prop_assert!(schedule.time_of(due) >= elapsed);
            prop_assert!(due == 0 || schedule.time_of(due - 1) < elapsed);
        }
    }
}

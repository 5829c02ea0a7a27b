//! What a search may cost, so that one that finds little does not occupy its connection for long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};

/// How many instructions of SQLite's virtual machine run between two looks at the budget; about 50 µs.
const INSTRUCTIONS: i32 = 1_000;

/// A budget that is spent while statements run on its connection. It is unlimited unless [`Budget::limited`] says otherwise.
#[derive(Debug)]
pub(in crate::sqlite) struct Budget {
    /// In steps of [`INSTRUCTIONS`].
    steps: AtomicU64,
    /// In microseconds after `opened`.
    deadline: AtomicU64,
    opened: Instant,
}

impl Budget {
    /// Lets the statements of this connection spend a budget.
    pub(super) fn attach(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let budget = Arc::new(Self {
            steps: AtomicU64::new(u64::MAX),
            deadline: AtomicU64::new(u64::MAX),
            opened: Instant::now(),
        });
        let spent = Arc::clone(&budget);
        connection.progress_handler(INSTRUCTIONS, Some(move || spent.step()))?;
        Ok(budget)
    }

    /// Runs statements that may take this many steps and this long, within the budget that surrounds them; `None` if that
    /// was not enough.
    pub(super) fn limited<T>(
        &self,
        steps: u64,
        time: Duration,
        run: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let (outer_steps, outer_deadline) =
            (self.steps.load(Ordering::Relaxed), self.deadline.load(Ordering::Relaxed));
        self.steps.store(steps.min(outer_steps), Ordering::Relaxed);
        let deadline = micros(self.opened.elapsed() + time).min(outer_deadline);
        self.deadline.store(deadline, Ordering::Relaxed);
        let done = run();
        self.steps.store(outer_steps, Ordering::Relaxed);
        self.deadline.store(outer_deadline, Ordering::Relaxed);
        match done {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(None),
            done => done.map(Some),
        }
    }

    /// Returns true if the statement must end.
    fn step(&self) -> bool {
        let (steps, deadline) = (self.steps.load(Ordering::Relaxed), self.deadline.load(Ordering::Relaxed));
        if steps != u64::MAX {
            self.steps.store(steps.saturating_sub(1), Ordering::Relaxed);
        }
        steps == 0 || deadline != u64::MAX && micros(self.opened.elapsed()) > deadline
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_when_its_steps_or_its_time_are_spent_and_later_ones_are_unlimited() {
        let mut connection = Connection::open_in_memory().unwrap();
        let budget = Budget::attach(&mut connection).unwrap();
        let count = |rows: u32| -> rusqlite::Result<u32> {
            let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) \
                       SELECT count(*) FROM n";
            connection.query_row(sql, [rows], |row| row.get(0))
        };
        let (endless, hour) = (u32::MAX, Duration::from_secs(3_600));
        assert_eq!(budget.limited(20, hour, || count(endless)), Ok(None));
        assert_eq!(budget.limited(u64::MAX, Duration::from_millis(5), || count(endless)), Ok(None));
        assert_eq!(budget.limited(20, hour, || count(10)), Ok(Some(10)));
        assert_eq!(count(100_000), Ok(100_000));

        // What an inner budget spends does not extend the outer one.
        let inner = budget.limited(u64::MAX, Duration::from_millis(5), || {
            let first = budget.limited(20, hour, || count(endless))?;
            assert_eq!(first, None);
            count(endless)
        });
        assert_eq!(inner, Ok(None));
    }
}

//! The id up to which the audit trail is complete.
//!
//! A sequence gives out ids before the transactions that use them commit, in any order. So an event may appear below one
//! that can be seen already, and a follower that passed its id would miss it. A transaction that has an id holds a lock on
//! the table of events until it ends. So if all transactions have ended that hold this lock after an id was given out, every
//! event up to this id is there or will never be. This costs the writers nothing.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use super::{
    connection::{Connection, Connector, Request},
    error::Failure,
    rows::owned_text,
};

/// The last id that was given out.
const GIVEN: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM model_events_id_seq";
/// The transactions that may have an id that is not committed.
const WRITERS: &str = "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND relation = 'model_events'::regclass AND mode = 'RowExclusiveLock' AND granted";
/// How long a call waits for writers, most of which end within milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the first call waits, which knows no id yet.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// What a server knows of it.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// `None` if nothing is known yet.
    complete: Option<i64>,
    /// A later id, and the transactions that must end before the trail is complete up to it.
    next: Option<(i64, HashSet<String>)>,
    /// When the last answer came. Answers to earlier questions are out of date.
    learned: Option<Instant>,
}

impl Horizon {
    /// Learns the last id that was given out, and the transactions that held the lock after that.
    fn learn(&mut self, given: i64, writers: HashSet<String>) {
        if self.complete.is_some_and(|complete| complete > given) {
            // The database was restored, or failed over to a server that lacks the newest events.
            *self = Self::default();
        }
        if writers.is_empty() {
            (self.complete, self.next) = (Some(given), None);
            return;
        }
        self.next = match self.next.take() {
            Some((id, mut before)) if id <= given => {
                before.retain(|writer| writers.contains(writer));
                if before.is_empty() {
                    self.complete = Some(id);
                    Some((given, writers))
                } else {
                    Some((id, before))
                }
            }
            _ => Some((given, writers)),
        };
    }
}

/// Returns the id up to which the trail is complete, after waiting a moment for it to pass `after`.
///
/// # Errors
/// If the database can't be asked, or writers don't end before anything is known.
pub(super) fn complete(
    connection: &mut Connection,
    connector: &Connector,
    after: i64,
) -> Result<i64, Failure> {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        let answers =
            connection.all(None, &[Request::prepared(GIVEN, &[]), Request::prepared(WRITERS, &[])])?;
        let given = answers.first().and_then(|rows| rows.first()).map(|row| row.try_get(0)).transpose()?;
        let given: i64 = given.unwrap_or_default();
        let writers = answers.get(1).into_iter().flatten().map(|row| owned_text(row, 0));
        let complete = {
            let (mut horizon, writers) = (connector.horizon(), writers.collect::<Result<_, _>>()?);
            if horizon.learned.is_none_or(|learned| learned < asked) {
                horizon.learn(given, writers);
                horizon.learned = Some(Instant::now());
            }
            horizon.complete
        };
        let patience = if complete.is_none() { FIRST_PATIENCE } else { PATIENCE };
        match complete {
            Some(complete) if complete > after || given <= after => return Ok(complete),
            Some(complete) if begun.elapsed() >= patience => return Ok(complete),
            None if begun.elapsed() >= patience => {
                return Err(Failure::Unreachable(
                    "changes that began before this server have not ended yet".to_owned(),
                ));
            }
            _ => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(writers: &[&str]) -> HashSet<String> {
        writers.iter().map(|writer| (*writer).to_owned()).collect()
    }

    #[test]
    fn the_trail_is_complete_up_to_an_id_once_all_have_ended_that_wrote_when_it_was_given_out() {
        let mut horizon = Horizon::default();
        for (given, writers, complete) in [
            (5, set(&["a"]), None),
            (7, set(&["a", "b"]), None),
            // What had id 5 or less has ended; b may have 6 or 7.
            (8, set(&["b"]), Some(5)),
            (8, set(&["b", "c"]), Some(5)),
            (9, set(&["c"]), Some(8)),
            (9, set(&["c"]), Some(8)),
            (9, set(&[]), Some(9)),
            (12, set(&["d"]), Some(9)),
            (12, set(&[]), Some(12)),
            // Restored from a backup.
            (4, set(&["e"]), None),
            (4, set(&["f"]), Some(4)),
        ] {
            horizon.learn(given, writers);
            assert_eq!(horizon.complete, complete, "{given}");
        }
    }
}

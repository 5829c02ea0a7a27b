//! A mark in the database's head that ties a log to the state it was begun on.
//!
//! A copy of the database that somebody put in its place while a log lay beside it looks sound, and so may what SQLite makes of
//! the two; what was written between the copy and the log is missing. So the first transaction of each log takes a mark with it
//! that is one more than the database's, and before a log is moved into the database for good, a last one
//! raises it again. Then a log with the odd mark `m` was begun on the one state with `m - 1`. The mark is
//! the `application_id`, which nothing else reads, and which stands in the first page, so that it can be
//! seen in both files as they lie.

use rusqlite::Connection;

use super::{PageOne, Scan};

/// How a log stands to the database beside it, by their marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinship {
    /// It was begun on this state, or a part of it was moved here already.
    Own,
    /// Another process began the log, or the state it was begun on; marks say nothing.
    Unknown,
    Foreign,
}

/// Compares marks, which are numbers in a circle.
pub(super) fn kinship(database: PageOne, log: &Scan) -> Kinship {
    let (Some(first), Some(last)) = (log.first_page_one, log.page_one) else { return Kinship::Unknown };
    if first.mark.is_multiple_of(2) {
        return Kinship::Unknown;
    }
    let begun_on = first.mark.wrapping_sub(1);
    if database.mark.wrapping_sub(begun_on) <= last.mark.wrapping_sub(begun_on) {
        return Kinship::Own;
    }
    // Of a state with an odd mark there are many: a log was emptied by somebody who sets none, or a backup was restored.
    if database.mark == begun_on.wrapping_sub(1) { Kinship::Unknown } else { Kinship::Foreign }
}

/// Which mark comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mark {
    /// Of the first transaction of a log.
    First,
    /// Of the last one.
    Last,
}

impl Mark {
    fn after(self, mark: u32) -> u32 {
        let is_odd = !mark.is_multiple_of(2);
        mark.wrapping_add(if is_odd == (self == Self::First) { 2 } else { 1 })
    }

    /// Raises the mark, inside a transaction.
    pub(in super::super) fn set(self, connection: &Connection) -> rusqlite::Result<()> {
        write(connection, self.after(read(connection)?))
    }
}

/// Gives a database that has no mark yet one that no other is likely to have. Inside a transaction or none.
pub(in super::super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    if read(connection)? != 0 {
        return Ok(());
    }
    write(connection, fastrand::u32(1..u32::MAX / 2) * 2)
}

/// Whether the state is one that a log was begun behind, of which there are many with its mark.
pub(in super::super) fn is_of_many(connection: &Connection) -> rusqlite::Result<bool> {
    read(connection).map(|mark| !mark.is_multiple_of(2))
}

fn read(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map(i32::cast_unsigned)
}

fn write(connection: &Connection, mark: u32) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", mark.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::log::scan::Tail;

    fn page(mark: u32) -> PageOne {
        PageOne { changes: 1, schema_cookie: 1, mark }
    }

    fn log(first: Option<u32>, last: u32) -> Scan {
        Scan {
            header: None,
            frames: 9,
            transactions: 3,
            pages: 5,
            first_page_one: first.map(page),
            page_one: Some(page(last)),
            tail: Tail::Unfinished,
        }
    }

    #[test]
    fn a_log_belongs_to_the_one_state_it_was_begun_on() {
        for (database, first, last, expected) in [
            (6, Some(7), 7, Kinship::Own),
            // Moved in part, or copied while the log was this one.
            (7, Some(7), 7, Kinship::Own),
            (8, Some(7), 10, Kinship::Own),
            (11, Some(7), 10, Kinship::Foreign),
            (4, Some(7), 7, Kinship::Foreign),
            (5, Some(7), 7, Kinship::Unknown),
            (0, Some(7), 7, Kinship::Foreign),
            (6, Some(6), 7, Kinship::Unknown),
            (6, None, 7, Kinship::Unknown),
            (u32::MAX - 1, Some(u32::MAX), 2, Kinship::Own),
            (1, Some(u32::MAX), 2, Kinship::Own),
            (3, Some(u32::MAX), 2, Kinship::Foreign),
        ] {
            assert_eq!(kinship(page(database), &log(first, last)), expected, "{database} {first:?} {last}");
        }
    }

    #[test]
    fn marks_rise_to_odd_ones_at_the_beginning_of_a_log_and_to_even_ones_at_its_end() {
        let connection = Connection::open_in_memory().unwrap();
        begin(&connection).unwrap();
        let given = read(&connection).unwrap();
        assert!(given != 0 && given.is_multiple_of(2));
        begin(&connection).unwrap();
        assert_eq!(read(&connection).unwrap(), given, "once");
        for (mark, more) in
            [(Mark::First, 1), (Mark::Last, 2), (Mark::Last, 4), (Mark::First, 5), (Mark::First, 7)]
        {
            mark.set(&connection).unwrap();
            assert_eq!(read(&connection).unwrap(), given.wrapping_add(more));
        }
        write(&connection, u32::MAX).unwrap();
        Mark::Last.set(&connection).unwrap();
        assert_eq!(read(&connection).unwrap(), 0);
    }
}

//! The statements of a list, recorded for tests.

use std::cell::RefCell;

use rusqlite::{CachedStatement, Connection};

/// A statement that a list used, and SQLite's plan for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStatement {
    /// The statement.
    pub sql: String,
    /// The lines of `EXPLAIN QUERY PLAN`.
    pub plan: Vec<String>,
}

/// Prepares statements, and records them for `SqliteReader::planned`.
pub(super) struct Statements<'c> {
    pub(super) connection: &'c Connection,
    pub(super) recorded: Option<RefCell<Vec<String>>>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        if let Some(recorded) = &self.recorded {
            recorded.borrow_mut().push(sql.to_owned());
        }
        self.connection.prepare_cached(sql)
    }
}

//! The statements of a list or a search, recorded for tests.

use std::cell::RefCell;

use rusqlite::{CachedStatement, Connection, Statement};

/// A statement that a list or a search used, and SQLite's plan for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStatement {
    /// The statement.
    pub sql: String,
    /// The lines of `EXPLAIN QUERY PLAN`.
    pub plan: Vec<String>,
}

/// Prepares statements, and records them for `SqliteReader::planned`.
pub(in crate::sqlite) struct Statements<'c> {
    pub(in crate::sqlite) connection: &'c Connection,
    pub(in crate::sqlite) recorded: Option<RefCell<Vec<String>>>,
}

impl<'c> Statements<'c> {
    pub(in crate::sqlite) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        self.record(sql);
        self.connection.prepare_cached(sql)
    }

    /// Prepares a statement that hardly any other request needs, so that it displaces none from the cache.
    pub(in crate::sqlite) fn prepare_once(&self, sql: &str) -> rusqlite::Result<Statement<'c>> {
        self.record(sql);
        self.connection.prepare(sql)
    }

    fn record(&self, sql: &str) {
        if let Some(recorded) = &self.recorded {
            recorded.borrow_mut().push(sql.to_owned());
        }
    }

    /// Returns each recorded statement with its plan, in the order of first use.
    pub(in crate::sqlite) fn planned(self) -> rusqlite::Result<Vec<PlannedStatement>> {
        let mut planned: Vec<PlannedStatement> = Vec::new();
        for sql in self.recorded.map(RefCell::into_inner).unwrap_or_default() {
            if planned.iter().any(|known| known.sql == sql) {
                continue;
            }
            let mut explain = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let plan = explain.raw_query().mapped(|row| row.get(3)).collect::<rusqlite::Result<_>>()?;
            planned.push(PlannedStatement { sql, plan });
        }
        Ok(planned)
    }
}

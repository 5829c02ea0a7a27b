//! Copies a registry from one store into the other: every row with its id, times and hashes.
//!
//! The target is marked as unfinished until its rows were compared with the source. Rows are copied in the order of their
//! keys, so the target itself says where an interrupted copy resumes. Lookup tables are derived from the versions.

pub(crate) mod side;
pub(crate) mod tables;

use std::vec::IntoIter;

pub use side::CopyError;

use self::{
    side::{Side, shown},
    tables::{EVENTS, NUMBERED, Row, TABLES, Table, Value},
};
use crate::{
    maintenance::{Stage, Watch},
    postgres::{self, copy::PostgresSide},
    sqlite::{self, maintenance::copy::SqliteSide},
};

/// Where a registry is stored.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file.
    Sqlite(sqlite::Options),
    /// A database of a PostgreSQL server.
    Postgres(Box<postgres::Options>),
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopiedRows {
    /// Versions, without deleted ones.
    pub versions: u64,
    /// Events.
    pub events: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// True if an interrupted copy was continued.
    pub is_resumed: bool,
}

/// Copies a registry into an empty database of the other store, or resumes an interrupted copy. It reads one snapshot of the
/// source: a SQLite file must not be in use by a server, and later writes to PostgreSQL are not copied.
///
/// # Errors
/// [`CopyError`]. The target is then marked as unfinished, or as it was.
pub fn copy(from: &Location, to: &Location, watch: &Watch) -> Result<CopiedRows, CopyError> {
    match (from, to) {
        (Location::Sqlite(from), Location::Postgres(to)) => {
            let source = SqliteSide::source(from, watch)?;
            run(source, PostgresSide::target(to, watch)?, watch)
        }
        (Location::Postgres(from), Location::Sqlite(to)) => {
            let source = PostgresSide::source(from, watch)?;
            run(source, SqliteSide::target(to, watch)?, watch)
        }
        (Location::Sqlite(_), Location::Sqlite(_)) => Err(CopyError::TwoFiles),
        (Location::Postgres(_), Location::Postgres(_)) => Err(CopyError::TwoDatabases),
    }
}

fn run<S: Side, T: Side>(mut source: S, mut target: T, watch: &Watch) -> Result<CopiedRows, CopyError> {
    let now = state(&mut source)?;
    let then = target.begin(&now)?;
    let is_resumed = then.is_some();
    if let Some(then) = then.filter(|then| *then != now) {
        return Err(CopyError::Changed { target: target.name(), then, now, remove: T::REMOVE });
    }
    let mut copied = CopiedRows { is_resumed, ..CopiedRows::default() };
    for table in &TABLES {
        let rows = source.count(table)?;
        copied.rows += rows;
        match table.name {
            "models" => copied.versions = rows,
            EVENTS => copied.events = rows,
            _ => {}
        }
    }
    let mut progress = Counter { stage: Stage::CopyingRows, done: 0, total: copied.rows, watch };
    for table in &TABLES {
        let last = target.last(table)?;
        if last.is_some() {
            progress.add(target.count(table)?)?;
        }
        let mut after = last.map(|row| table.key_of(&row).to_vec());
        loop {
            let rows = source.page(table, after.as_deref())?;
            let Some(end) = rows.last() else { break };
            after = Some(table.key_of(end).to_vec());
            let count = rows.len() as u64;
            target.write(table, rows)?;
            progress.add(count)?;
        }
    }
    // Servers may give out more ids after the source was read, which skips some in the copy.
    let last_ids = source.last_ids()?;
    target.derive(&last_ids)?;
    let mut progress = Counter { stage: Stage::ComparingRows, done: 0, total: copied.rows, watch };
    for table in &TABLES {
        compare(&mut source, &mut target, table, &mut progress)?;
    }
    let pairs = NUMBERED.into_iter().zip(last_ids.into_iter().zip(target.last_ids()?));
    for (table, (ours, theirs)) in pairs {
        if ours != theirs {
            return Err(CopyError::Differs { table, key: format!("after {ours}"), remove: T::REMOVE });
        }
    }
    target.finish()?;
    Ok(copied)
}

/// Returns what tells this state of a registry from others: every change appends an event, whose hash covers its model's
/// history.
fn state(source: &mut impl Side) -> Result<String, CopyError> {
    let Some(events) = TABLES.iter().find(|table| table.name == EVENTS) else { return Ok(String::new()) };
    let last = source.last(events)?;
    let hash = last.as_deref().and_then(<[Value]>::last);
    let hash = if let Some(Value::Bytes(hash)) = hash { hex::encode(hash) } else { String::new() };
    Ok(format!("{} events {hash}", source.count(events)?).trim_end().to_owned())
}

/// Reports progress, and ends the work when it is cancelled.
struct Counter<'w> {
    stage: Stage,
    done: u64,
    total: u64,
    watch: &'w Watch,
}

impl Counter<'_> {
    fn add(&mut self, rows: u64) -> Result<(), CopyError> {
        self.done += rows;
        self.watch.report(self.stage, self.done, self.total);
        if self.watch.cancelled() { Err(CopyError::Interrupted) } else { Ok(()) }
    }
}

/// The rows of a table, one by one.
struct Rows<'s, S> {
    side: &'s mut S,
    table: &'static Table,
    after: Option<Row>,
    page: IntoIter<Row>,
}

impl<'s, S: Side> Rows<'s, S> {
    fn new(side: &'s mut S, table: &'static Table) -> Self {
        Self { side, table, after: None, page: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<Row>, CopyError> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        let page = self.side.page(self.table, self.after.as_deref())?;
        self.after = page.last().map(|row| self.table.key_of(row).to_vec()).or(self.after.take());
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

fn compare<S: Side, T: Side>(
    source: &mut S,
    target: &mut T,
    table: &'static Table,
    progress: &mut Counter<'_>,
) -> Result<(), CopyError> {
    let (mut source, mut target) = (Rows::new(source, table), Rows::new(target, table));
    let mut uncounted = 0;
    loop {
        let (ours, theirs) = (source.next()?, target.next()?);
        if ours != theirs {
            let row = ours.or(theirs).unwrap_or_default();
            return Err(CopyError::Differs {
                table: table.name,
                key: shown(table.key_of(&row)),
                remove: T::REMOVE,
            });
        }
        uncounted += u64::from(ours.is_some());
        if ours.is_none() || source.page.len() == 0 {
            progress.add(std::mem::take(&mut uncounted))?;
        }
        if ours.is_none() {
            return Ok(());
        }
    }
}

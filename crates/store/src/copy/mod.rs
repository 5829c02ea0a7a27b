//! Copies a registry from one store into the other: every row with its id, times and hashes.
//!
//! The target is marked as unfinished until its rows were compared with the source. Rows are copied in the order of their
//! keys, so the target itself says where an interrupted copy goes on. Lookup tables are derived from the versions.

mod tables;

use std::vec::IntoIter;

pub(crate) use tables::{
    EVENTS, Kind, MARK, NUMBERED, PAGE_BYTES, PAGE_ROWS, Row, TABLES, Table, VERSION_HEADS, Value,
};

use crate::{
    maintenance::{Stage, Watch},
    postgres::{self, copy::PostgresSide},
    sqlite::{
        self,
        maintenance::{MaintenanceError, SqliteSide},
    },
};

/// Why a registry was not copied. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum CopyError {
    #[error(transparent)]
    Sqlite(#[from] MaintenanceError),
    #[error(transparent)]
    Source(#[from] postgres::maintenance::MaintenanceError),
    #[error(transparent)]
    Open(#[from] postgres::OpenError),
    #[error("PostgreSQL: {0}; the same command goes on where the copy stopped")]
    Postgres(String),
    #[error(
        "PostgreSQL refuses a row of the source: {0}; see `registry maintenance --check` of the source, and correct the row"
    )]
    Refused(String),
    #[error("source and target are both SQLite files; to copy one, use --backup")]
    TwoFiles,
    #[error(
        "source and target are both PostgreSQL databases; to copy one, use pg_dump and pg_restore; to copy a file, unset \
         CAIA_REGISTRY_DATABASE_URL"
    )]
    TwoDatabases,
    #[error("{target} is not empty; give {instead}")]
    NotEmpty { target: String, instead: &'static str },
    #[error(
        "the source has changed since the unfinished copy in {target} began (then: {then}; now: {now}); to copy it as it is now, \
         {remove} first, and let no server write the source meanwhile"
    )]
    Changed { target: String, then: String, now: String, remove: &'static str },
    #[error("another process copies into {target}; stop it, or wait until it is done")]
    Busy { target: String },
    #[error("a copy needs a session of its own; give the address of PostgreSQL, not of PgBouncer")]
    Pooled,
    #[error(
        "{table} of the source has a value that its column {column} can't hold, in the row {key}; see `registry maintenance --check`"
    )]
    Value { table: &'static str, column: &'static str, key: String },
    #[error(
        "the copy differs from the source in {table}, first in the row {key}, so it is not marked as complete; {remove}, then copy again"
    )]
    Differs { table: &'static str, key: String, remove: &'static str },
    #[error("it was cancelled; the same command goes on where it stopped")]
    Interrupted,
}

/// A registry's database.
#[derive(Debug, Clone)]
pub enum Place {
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

/// A database that is copied or copied into.
pub(crate) trait Side {
    /// What to do with a target that can't be continued.
    const REMOVE: &'static str;

    /// Returns the first rows after a key, in order; none if there are no more.
    fn page(&mut self, table: &'static Table, after: Option<&[Value]>) -> Result<Vec<Row>, CopyError>;
    /// Returns the row with the highest key.
    fn last(&mut self, table: &'static Table) -> Result<Option<Row>, CopyError>;
    fn count(&mut self, table: &'static Table) -> Result<u64, CopyError>;
    /// Returns the last id that each of [`NUMBERED`] has given out, or 0.
    fn last_ids(&mut self) -> Result<[i64; NUMBERED.len()], CopyError>;

    /// Marks the target as the unfinished copy of a source in this state, or returns the state that the mark has.
    fn begin(&mut self, state: &str) -> Result<Option<String>, CopyError>;
    /// Adds rows to the target, all or none.
    fn write(&mut self, table: &'static Table, rows: Vec<Row>) -> Result<(), CopyError>;
    /// Sets the last ids, and fills the tables that are derived from others.
    fn derive(&mut self, last_ids: &[i64; NUMBERED.len()]) -> Result<(), CopyError>;
    /// Removes the mark.
    fn finish(self) -> Result<(), CopyError>;
    /// Returns the name for messages, without a password.
    fn name(&self) -> String;
}

/// Copies a registry into an empty database of the other store, or goes on with a copy that was interrupted. The source is
/// read as of one moment. No server may own a SQLite file meanwhile; what servers write into PostgreSQL is not copied.
///
/// # Errors
/// [`CopyError`]. The target is then marked as unfinished, or as it was.
pub fn copy(from: &Place, to: &Place, watch: &Watch) -> Result<CopiedRows, CopyError> {
    match (from, to) {
        (Place::Sqlite(from), Place::Postgres(to)) => {
            let source = SqliteSide::source(from, watch)?;
            run(source, PostgresSide::target(to, watch)?, watch)
        }
        (Place::Postgres(from), Place::Sqlite(to)) => {
            let source = PostgresSide::source(from, watch)?;
            run(source, SqliteSide::target(to, watch)?, watch)
        }
        (Place::Sqlite(_), Place::Sqlite(_)) => Err(CopyError::TwoFiles),
        (Place::Postgres(_), Place::Postgres(_)) => Err(CopyError::TwoDatabases),
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

/// Shows a key.
pub(crate) fn shown(key: &[Value]) -> String {
    let one = |value: &Value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        value => format!("{value:?}"),
    };
    key.iter().map(one).collect::<Vec<_>>().join(", ")
}

//! Lists, filters and counts.
//!
//! If a single index has the rows of a list in its order, the list is read from that index ([`scan`]) and counted by a
//! counter. Any other list is searched for ([`search`]).

mod counts;
mod filter;
mod scan;
mod search;
mod statements;

use std::{cell::RefCell, ops::ControlFlow};

use rusqlite::Connection;

use registry_domain::{Cursor, ListQuery, Page, Sort, Stats, VersionId, VersionRow, query::CursorKey};

use crate::{StoreError, VisitVersions};

use super::{
    connection::SqliteReader,
    lookup::CountOf,
    rows::{BY_ID, columns, read},
};
pub use statements::PlannedStatement;
pub(super) use statements::Statements;

use filter::{RowFilter, SortPosition};
use scan::{Rows, Scan};

/// Visits a page, and returns it with the ids of its versions that were not visited.
pub(super) fn page(
    connection: &Connection,
    query: &ListQuery,
    visit: VisitVersions<'_>,
) -> rusqlite::Result<(Page, Vec<VersionId>)> {
    list(&Statements { connection, recorded: None }, query, visit)
}

pub(super) fn stats(connection: &Connection) -> rusqlite::Result<Stats> {
    counts::stats(&Statements { connection, recorded: None })
}

impl SqliteReader {
    /// Runs a list query and returns each statement that it used, in the order of first use. For tests and benchmarks:
    /// the statements depend on the data.
    ///
    /// # Errors
    /// As a list query.
    pub fn planned(&mut self, query: &ListQuery) -> Result<Vec<PlannedStatement>, StoreError> {
        self.snapshot(|connection| {
            let statements = Statements { connection, recorded: Some(RefCell::default()) };
            list(&statements, query, &mut |_| ControlFlow::Continue(()))?;
            Ok(statements.planned()?)
        })
    }
}

fn list(
    statements: &Statements<'_>,
    query: &ListQuery,
    visit: VisitVersions<'_>,
) -> rusqlite::Result<(Page, Vec<VersionId>)> {
    let mut rows =
        PageRows { query, visit, seen: 0, last: None, more: false, stopped: false, rest: Vec::new() };
    let filter = RowFilter::of(query);
    let total = match in_one_index(query, &filter) {
        Some(indexed) => {
            let total = match indexed {
                Rows::All => counts::all(statements)?,
                Rows::Status(status) => counts::of(statements, CountOf::Status, status.as_str())?,
                Rows::Name(name) => counts::of(statements, CountOf::Name, name)?,
            };
            scan(statements, indexed, total, &mut rows)?;
            Some(total)
        }
        None => {
            let found = search::find(statements, query, &filter)?;
            rows.fetch(statements, &found.ids)?;
            found.total
        }
    };
    Ok((Page { total, next: rows.last.filter(|_| rows.more) }, rows.rest))
}

/// Returns the rows of an index that are exactly the list, in its order.
fn in_one_index<'q>(query: &ListQuery, filter: &RowFilter<'q>) -> Option<Rows<'q>> {
    if filter.tag.is_some() || filter.text.is_some() {
        return None;
    }
    match (filter.status, filter.name, query.sort) {
        (None, None, _) => Some(Rows::All),
        (Some(status), None, Sort::CreatedAt | Sort::UpdatedAt) => Some(Rows::Status(status)),
        (None, Some(name), Sort::CreatedAt) => Some(Rows::Name(name)),
        _ => None,
    }
}

fn scan(
    statements: &Statements<'_>,
    indexed: Rows<'_>,
    total: u64,
    rows: &mut PageRows<'_, '_>,
) -> rusqlite::Result<()> {
    let &ListQuery { sort, order, offset, limit, ref after, .. } = rows.query;
    let scan = Scan { rows: indexed, sort, order };
    let after = after.as_ref().map(SortPosition::of_cursor);
    let most = limit.map(|limit| u64::from(limit) + 1);
    if offset == 0 {
        scan.each(statements, columns!(), after.as_ref(), most, 0, &mut |row| Ok(rows.add(read(row)?)))?;
        if !rows.stopped {
            return Ok(());
        }
    }
    // Skipped rows, and rows of a page whose visitor has stopped, are read from the index alone. An offset in the
    // second half of the list is reached from the other end.
    let left = total.saturating_sub(offset);
    let take = most.unwrap_or(left).min(left);
    let is_nearer_from_end = after.is_none() && offset > left;
    let (scan, skip, take) =
        if is_nearer_from_end { (scan.reversed(), left - take, Some(take)) } else { (scan, offset, most) };
    let mut ids = Vec::new();
    scan.each(statements, scan.id_columns(), after.as_ref(), take, skip, &mut |row| {
        ids.push(row.get(0)?);
        let is_full = take.is_some_and(|take| ids.len() as u64 >= take);
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if is_nearer_from_end {
        ids.reverse();
    }
    rows.fetch(statements, &ids)
}

/// The rows of a page, visited as they come.
struct PageRows<'q, 'v> {
    query: &'q ListQuery,
    visit: VisitVersions<'v>,
    seen: u32,
    last: Option<Cursor>,
    /// True if a row is left that belongs to the next page.
    more: bool,
    /// True if the visitor has stopped.
    stopped: bool,
    /// Versions on the page that come after that.
    rest: Vec<VersionId>,
}

impl PageRows<'_, '_> {
    fn add(&mut self, model: VersionRow<'_>) -> ControlFlow<()> {
        if Some(self.seen) == self.query.limit {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.seen += 1;
        if Some(self.seen) == self.query.limit {
            self.last = Some(cursor(self.query, &model));
        }
        let flow = (self.visit)(model);
        self.stopped = flow.is_break();
        flow
    }

    /// Visits the versions of a page that were not visited yet. `ids` are the ids of the whole page and of the version
    /// after it. Once the visitor has stopped, only ids are collected.
    fn fetch(&mut self, statements: &Statements<'_>, ids: &[i64]) -> rusqlite::Result<()> {
        let mut statement = statements.prepare(BY_ID)?;
        let mut left = ids[(self.seen as usize).min(ids.len())..].iter();
        while !self.stopped {
            let Some(id) = left.next() else { return Ok(()) };
            let mut rows = statement.query([id])?;
            if let Some(row) = rows.next()?
                && self.add(read(row)?).is_break()
                && !self.stopped
            {
                return Ok(());
            }
        }
        self.rest = left.copied().collect();
        if let Some(limit) = self.query.limit {
            let left = (limit - self.seen) as usize;
            self.more = self.rest.len() > left;
            self.rest.truncate(left);
        }
        if let Some(last) = self.rest.last().filter(|_| self.more)
            && let Some(row) = statement.query([last])?.next()?
        {
            self.last = Some(cursor(self.query, &read(row)?));
        }
        Ok(())
    }
}

fn cursor(query: &ListQuery, model: &VersionRow<'_>) -> Cursor {
    let key = match query.sort {
        Sort::CreatedAt => CursorKey::Text(model.created_at.to_string()),
        Sort::UpdatedAt => CursorKey::Text(model.updated_at.to_string()),
        Sort::TrainingStep => CursorKey::Integer(model.training_step),
    };
    Cursor { list: query.list_name(), key, id: model.id }
}

//! Lists, filters and counts, at a cost that does not grow with the number of versions.
//!
//! A list whose filters and sort one index has ([`ordered`]) is read from it. Any other is found: where a filter
//! leaves few versions, all of them are judged and sorted, and so counted too; otherwise the page is looked for the
//! way that is likely to read the fewest rows ([`cost`]), and where its total is not counted already, it has none.
//! Versions with a tag or a text are [`candidates`], and each is judged by its row ([`wanted`]).

mod candidates;
mod cost;
mod counts;
mod found;
mod ordered;
mod runs;
mod wanted;

use std::{cell::RefCell, ops::ControlFlow};

use rusqlite::{CachedStatement, Connection, Row};

use registry_domain::{Cursor, ListQuery, ModelId, ModelRow, Order, Page, Sort, Stats, query::CursorKey};

use crate::{StoreError, VisitModelUntil};

use super::{
    SqliteReader,
    derived::tables,
    models::{BY_ID, columns, read},
};
use ordered::{Along, Walk, each_by_id};
use wanted::Wanted;

/// Inside this room errors are SQLite's.
type Found<T> = rusqlite::Result<T>;

/// A statement that a list became, and how SQLite goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStatement {
    /// The statement.
    pub sql: String,
    /// The lines of `EXPLAIN QUERY PLAN`.
    pub plan: Vec<String>,
}

/// Where statements come from.
struct Asked<'c> {
    connection: &'c Connection,
    /// Those that were asked for, where somebody wants to know.
    noted: Option<RefCell<Vec<String>>>,
}

impl<'c> Asked<'c> {
    fn prepare(&self, sql: &str) -> Found<CachedStatement<'c>> {
        if let Some(noted) = &self.noted {
            noted.borrow_mut().push(sql.to_owned());
        }
        self.connection.prepare_cached(sql)
    }
}

pub(super) fn models(
    connection: &Connection,
    query: &ListQuery,
    visit: VisitModelUntil<'_>,
) -> Result<(Page, Vec<ModelId>), StoreError> {
    Ok(page(&Asked { connection, noted: None }, query, visit)?)
}

pub(super) fn stats(connection: &Connection) -> Result<Stats, StoreError> {
    Ok(counts::stats(&Asked { connection, noted: None })?)
}

impl SqliteReader {
    /// Lists, and tells each statement that this took, in the order of first use, with SQLite's plan for it. For
    /// tests and benches: which statements those are depends on what the database holds.
    ///
    /// # Errors
    /// As for a list.
    pub fn planned(&mut self, query: &ListQuery) -> Result<Vec<PlannedStatement>, StoreError> {
        self.snapshot(|connection| {
            let asked = Asked { connection, noted: Some(RefCell::default()) };
            page(&asked, query, &mut |_| ControlFlow::Continue(()))?;
            let mut planned: Vec<PlannedStatement> = Vec::new();
            for sql in asked.noted.map(RefCell::into_inner).unwrap_or_default() {
                if planned.iter().any(|known| known.sql == sql) {
                    continue;
                }
                let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let plan = explain.raw_query().mapped(|row| row.get(3)).collect::<Found<_>>()?;
                planned.push(PlannedStatement { sql, plan });
            }
            Ok(planned)
        })
    }
}

fn page(asked: &Asked<'_>, query: &ListQuery, visit: VisitModelUntil<'_>) -> Found<(Page, Vec<ModelId>)> {
    let mut rows = Rows { query, visit, seen: 0, last: None, more: false, stopped: false, rest: Vec::new() };
    let wanted = Wanted::of(query);
    let total = match in_one_index(query, &wanted) {
        Some(along) => {
            in_order(asked, along, &mut rows)?;
            Some(match along {
                Along::All => counts::all(asked)?,
                Along::Status(status) => counts::of_status(asked, status)?,
                Along::Name(name) => counts::of_name(asked, name)?,
            })
        }
        None => {
            let found = found::find(asked, query, &wanted)?;
            rows.fetch(asked, &found.ids)?;
            found.total
        }
    };
    Ok((Page { total, next: rows.last.filter(|_| rows.more) }, rows.rest))
}

/// The index that has the rows of a list, no others, in its order.
fn in_one_index<'q>(query: &ListQuery, wanted: &Wanted<'q>) -> Option<Along<'q>> {
    if wanted.tag.is_some() || wanted.part.is_some() {
        return None;
    }
    match (wanted.status, wanted.name, query.sort) {
        (None, None, _) => Some(Along::All),
        (Some(status), None, Sort::CreatedAt | Sort::UpdatedAt) => Some(Along::Status(status)),
        (None, Some(name), Sort::CreatedAt) => Some(Along::Name(name)),
        _ => None,
    }
}

fn in_order(asked: &Asked<'_>, along: Along<'_>, rows: &mut Rows<'_, '_>) -> Found<()> {
    let &ListQuery { sort, order, offset, ref after, .. } = rows.query;
    let steps = match along {
        Along::All if sort == Sort::CreatedAt && after.is_none() => tables::steps(asked.connection)?,
        _ => None,
    };
    let in_order_of_id = steps.is_some_and(|steps| steps.is_empty());
    let (walk, most) = (Walk { along, sort, order }, rows.wanted());
    let each = |columns: &str, visit: &mut dyn FnMut(&Row<'_>) -> Found<ControlFlow<()>>| {
        if in_order_of_id {
            by_id(asked, columns, order, offset, visit)
        } else {
            walk.each(asked, columns, after.as_ref(), most, offset, visit)
        }
    };
    if in_order_of_id || offset == 0 {
        each(columns!(), &mut |row| Ok(rows.add(read(row)?)))?;
        if !rows.stopped {
            return Ok(());
        }
    }
    // The rest of a page after the visitor has stopped, and what is passed over, are read in the index alone.
    let mut ids = Vec::new();
    each(walk.id_column(), &mut |row| {
        ids.push(row.get(0)?);
        let enough = most.is_some_and(|most| ids.len() as u64 >= most);
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    rows.fetch(asked, &ids)
}

/// All versions where order by id is the order of the list. What is passed over is counted by the block.
fn by_id(
    asked: &Asked<'_>,
    columns: &str,
    order: Order,
    offset: u64,
    visit: &mut dyn FnMut(&Row<'_>) -> Found<ControlFlow<()>>,
) -> Found<()> {
    let (start, direction) = match order {
        Order::Descending => (i64::MAX, "DESC"),
        Order::Ascending => (i64::MIN, "ASC"),
    };
    let (from, offset) = match offset {
        0 => (start, 0),
        offset => match counts::block_at(asked, offset, direction)? {
            None => return Ok(()),
            Some((block, rest)) => {
                let (lowest, highest) = block.ids();
                (if order == Order::Ascending { lowest } else { highest }, rest)
            }
        },
    };
    each_by_id(asked, columns, order, from, offset, visit)
}

/// The rows of a page, visited as they come.
struct Rows<'q, 'v> {
    query: &'q ListQuery,
    visit: VisitModelUntil<'v>,
    seen: u32,
    last: Option<Cursor>,
    /// Whether a row was left that belongs to the next page.
    more: bool,
    /// Whether the visitor has stopped.
    stopped: bool,
    /// Versions of the page after that.
    rest: Vec<ModelId>,
}

impl Rows<'_, '_> {
    /// Rows to come up with: one more than asked for tells whether there is a next page.
    fn wanted(&self) -> Option<u64> {
        self.query.limit.map(|limit| u64::from(limit) + 1)
    }

    fn add(&mut self, model: ModelRow<'_>) -> ControlFlow<()> {
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

    /// Visits the versions of a page, whose ids are given and the one behind it, save those it has seen. Once the
    /// visitor has stopped, the ids are all that is read of them.
    fn fetch(&mut self, asked: &Asked<'_>, ids: &[i64]) -> Found<()> {
        let mut statement = asked.prepare(BY_ID)?;
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

fn cursor(query: &ListQuery, model: &ModelRow<'_>) -> Cursor {
    let key = match query.sort {
        Sort::CreatedAt => CursorKey::Text(model.created_at.to_string()),
        Sort::UpdatedAt => CursorKey::Text(model.updated_at.to_string()),
        Sort::TrainingStep => CursorKey::Integer(model.training_step),
    };
    Cursor { list: query.list_name(), key, id: model.id }
}

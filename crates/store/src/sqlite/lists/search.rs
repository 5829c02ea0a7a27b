//! Finds a page of a list whose filters no single index has in order.
//!
//! The rarest filter provides candidates, and each candidate's row is checked against all filters:
//!
//! | candidates | then |
//! |---|---|
//! | up to [`FEW_CANDIDATES`] | all are checked and sorted, which also counts them |
//! | up to [`MAX_COLLECTED`], not in the order of the list | their ids are looked up along the index with that order |
//! | more, or in that order | rows are checked in that order until the page is full |
//!
//! Texts shorter than an n-gram have no candidates: every row is searched.

use std::ops::ControlFlow;

use rusqlite::{CachedStatement, Rows as SqlRows};

use registry_domain::{ListQuery, Order, Sort, Status};

use super::{
    counts,
    filter::{RowFilter, SortPosition, filtered_columns},
    scan::{Rows, Scan},
    statements::Statements,
};
use crate::sqlite::{lookup::CountOf, ngrams};

/// The maximum number of candidates that are all checked; this takes about 5 ms.
const FEW_CANDIDATES: u64 = 1_000;
/// The maximum number of candidates whose ids are collected; this takes about 5 ms. If there are more, a scan soon
/// fills the page.
const MAX_COLLECTED: u64 = 20_000;

/// The versions of a page.
pub(super) struct PageIds {
    /// Their ids, and the id after them.
    pub(super) ids: Vec<i64>,
    /// How many versions pass the filters, if that is known.
    pub(super) total: Option<u64>,
}

/// A filter as a source of candidates.
#[derive(Debug, Clone)]
enum Source<'q> {
    Name(&'q str),
    Status(Status),
    Tag(&'q str),
    /// Versions that match this FTS5 query.
    Text(String),
}

impl Source<'_> {
    /// Returns true if the candidates can be read in this order. Tags and texts have them by id, which is order by
    /// `created_at` apart from backdated versions.
    fn is_ordered_by(&self, sort: Sort) -> bool {
        match self {
            Self::Status(_) => sort != Sort::TrainingStep,
            Self::Name(_) | Self::Tag(_) | Self::Text(_) => sort == Sort::CreatedAt,
        }
    }

    /// Returns the table of the candidates, the column with their id, and the condition that selects them.
    fn select(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Name(_) => ("models", "id", "name = ?1"),
            Self::Status(_) => ("models", "id", "status = ?1"),
            Self::Tag(_) => ("model_tags", "version_id", "key = ?1 AND value = ''"),
            Self::Text(_) => ("model_texts", "rowid", "model_texts MATCH ?1"),
        }
    }

    /// Returns the parameter of that condition.
    fn value(&self) -> &str {
        match self {
            Self::Name(text) | Self::Tag(text) => text,
            Self::Status(status) => status.as_str(),
            Self::Text(query) => query,
        }
    }
}

/// Finds the page of `query`.
pub(super) fn find(
    statements: &Statements<'_>,
    query: &ListQuery,
    filter: &RowFilter<'_>,
) -> rusqlite::Result<PageIds> {
    let rows = query.limit.map(|limit| query.offset.saturating_add(u64::from(limit) + 1));
    let after = query.after.as_ref().map(SortPosition::of_cursor);
    Search { statements, query, filter, after, rows }.find()
}

struct Search<'s> {
    statements: &'s Statements<'s>,
    query: &'s ListQuery,
    filter: &'s RowFilter<'s>,
    /// The last row of the previous page.
    after: Option<SortPosition>,
    /// Rows to find after that: the offset, the page, and one more, which shows if there is a next page.
    rows: Option<u64>,
}

impl Search<'_> {
    fn find(&self) -> rusqlite::Result<PageIds> {
        let all = counts::all(self.statements)?;
        let mut sources = self.counted_sources()?;
        // A single filter has a counter.
        let total = match sources.as_slice() {
            [(_, count)] if self.filter.text.is_none() => Some(*count),
            _ => None,
        };
        let limit = |source: &Source<'_>| {
            if source.is_ordered_by(self.query.sort) { FEW_CANDIDATES } else { MAX_COLLECTED }
        };
        if let Some((source, count)) = sources.iter().min_by_key(|(_, count)| *count)
            && *count <= limit(source)
        {
            let ids = self.collect(source, limit(source))?;
            return self.of_candidates(ids, total);
        }
        if let Some(text) = self.filter.text.as_deref().and_then(ngrams::query) {
            let source = Source::Text(text);
            let ids = self.collect(&source, limit(&source) + 1)?;
            if ids.len() as u64 <= limit(&source) {
                return self.of_candidates(ids, None);
            }
            let estimate = if sources.is_empty() { 0 } else { self.estimate(&ids, all)? };
            sources.push((source, estimate));
        }
        let ordered = sources.into_iter().filter(|(source, _)| source.is_ordered_by(self.query.sort));
        let rarest = ordered.min_by_key(|(_, count)| *count);
        let ids = match rarest.map(|(source, _)| source) {
            None => self.scan(Rows::All)?,
            Some(Source::Name(name)) => self.scan(Rows::Name(name))?,
            Some(Source::Status(status)) => self.scan(Rows::Status(status))?,
            Some(source) => self.by_id(&source)?,
        };
        Ok(self.cut(ids, total))
    }

    /// Returns the filters that have a counter, with their counts.
    fn counted_sources(&self) -> rusqlite::Result<Vec<(Source<'_>, u64)>> {
        let RowFilter { status, name, tag, .. } = self.filter;
        let count = |of, value: &str| counts::of(self.statements, of, value);
        let mut sources = Vec::new();
        if let Some(name) = name {
            sources.push((Source::Name(name), count(CountOf::Name, name)?));
        }
        if let Some(status) = status {
            sources.push((Source::Status(*status), count(CountOf::Status, status.as_str())?));
        }
        if let Some(tag) = tag {
            sources.push((Source::Tag(tag), count(CountOf::Tag, tag)?));
        }
        Ok(sources)
    }

    /// Returns the ids of the first candidates, in the order of the list.
    fn collect(&self, source: &Source<'_>, limit: u64) -> rusqlite::Result<Vec<i64>> {
        let (table, id, condition) = source.select();
        // Only texts can be more than the limit. Ids of a name or a status would have to be sorted.
        let order = match source {
            Source::Text(_) => format!(" ORDER BY {id} {}", self.query.order.as_str()),
            _ => String::new(),
        };
        let sql = format!("SELECT {id} FROM {table} WHERE {condition}{order} LIMIT ?2");
        let mut ids = self.statements.prepare(&sql)?;
        ids.query_map((source.value(), i64::try_from(limit).unwrap_or(i64::MAX)), |row| row.get(0))?.collect()
    }

    /// Returns the page from all candidates.
    fn of_candidates(&self, ids: Vec<i64>, total: Option<u64>) -> rusqlite::Result<PageIds> {
        if ids.len() as u64 <= FEW_CANDIDATES {
            self.sort_all(&ids)
        } else {
            Ok(self.cut(self.along_index(ids)?, total))
        }
    }

    /// Estimates the number of candidates from the range of ids that the first ones cover.
    fn estimate(&self, first: &[i64], all: u64) -> rusqlite::Result<u64> {
        let (lowest, highest): (i64, i64) = self
            .statements
            .prepare("SELECT (SELECT min(id) FROM models), (SELECT max(id) FROM models)")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let start = if self.query.order == Order::Descending { highest } else { lowest };
        let seen = first.last().map_or(0, |last| start.abs_diff(*last)).saturating_add(1);
        let share = first.len() as f64 / seen as f64;
        Ok((share * highest.abs_diff(lowest) as f64).min(all as f64) as u64)
    }

    /// Checks all candidates, and sorts those that pass.
    fn sort_all(&self, ids: &[i64]) -> rusqlite::Result<PageIds> {
        let mut read = self.read()?;
        let mut positions = Vec::new();
        for id in ids {
            positions.extend(self.accepted(&mut read, *id)?);
        }
        let (total, order) = (positions.len() as u64, self.query.order);
        positions.retain(|position| self.is_after_cursor(position));
        positions.sort_unstable_by(|one, other| one.compare(other, order));
        let rows = self.rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(usize::MAX);
        let ids = positions.into_iter().take(rows).map(|position| position.id).collect();
        Ok(self.cut(ids, Some(total)))
    }

    /// Looks up the candidates along the index with the order of the list, and checks them, until the page is full.
    fn along_index(&self, mut candidates: Vec<i64>) -> rusqlite::Result<Vec<i64>> {
        candidates.sort_unstable();
        let (mut read, mut left) = (self.read()?, candidates.len());
        let ListQuery { sort, order, .. } = *self.query;
        let scan = Scan { rows: Rows::All, sort, order };
        let mut ids = Vec::new();
        scan.each(self.statements, scan.id_columns(), self.after.as_ref(), None, 0, &mut |row| {
            let id = row.get(0)?;
            if candidates.binary_search(&id).is_ok() {
                left -= 1;
                ids.extend(self.accepted(&mut read, id)?.map(|position| position.id));
            }
            Ok(if left == 0 { ControlFlow::Break(()) } else { self.flow(&ids) })
        })?;
        Ok(ids)
    }

    /// Checks rows along an index until the page is full.
    fn scan(&self, rows: Rows<'_>) -> rusqlite::Result<Vec<i64>> {
        let ListQuery { sort, order, .. } = *self.query;
        let scan = Scan { rows, sort, order };
        let mut ids = Vec::new();
        scan.each(self.statements, filtered_columns(sort), self.after.as_ref(), None, 0, &mut |row| {
            if self.filter.accepts(row)? {
                ids.push(row.get(0)?);
            }
            Ok(self.flow(&ids))
        })?;
        Ok(ids)
    }

    /// Checks candidates by id until the page is full. Order by id is order by `created_at` apart from the backdated
    /// versions, which are merged in.
    fn by_id(&self, source: &Source<'_>) -> rusqlite::Result<Vec<i64>> {
        let order = self.query.order;
        let (direction, from) = match order {
            Order::Descending => ("DESC", "<="),
            Order::Ascending => ("ASC", ">="),
        };
        let (table, id, condition) = source.select();
        let mut in_order = self.statements.prepare(&format!(
            "SELECT {id} FROM {table} WHERE {condition} AND {id} {from} ?2 \
             AND {id} NOT IN (SELECT model_id FROM backdated_models) ORDER BY {id} {direction}"
        ))?;
        let mut backdated = self.statements.prepare(&format!(
            "SELECT model_id FROM backdated_models ORDER BY backdated_to {direction}, model_id {direction}"
        ))?;
        let mut in_order = in_order.query((source.value(), self.first_in_order()?))?;
        let mut backdated = backdated.query([])?;
        let mut read = self.read()?;
        let mut next = |rows: &mut SqlRows<'_>| -> rusqlite::Result<Option<SortPosition>> {
            while let Some(row) = rows.next()? {
                let position = self.accepted(&mut read, row.get(0)?)?;
                if position.as_ref().is_some_and(|position| self.is_after_cursor(position)) {
                    return Ok(position);
                }
            }
            Ok(None)
        };
        let (mut one, mut other) = (next(&mut in_order)?, next(&mut backdated)?);
        let mut ids = Vec::new();
        while self.flow(&ids).is_continue() {
            let comes_first = match (&one, &other) {
                (None, None) => break,
                (Some(one), Some(other)) => one.compare(other, order).is_lt(),
                (one, _) => one.is_some(),
            };
            let (first, rows) =
                if comes_first { (&mut one, &mut in_order) } else { (&mut other, &mut backdated) };
            ids.extend(first.take().map(|position| position.id));
            *first = next(rows)?;
        }
        Ok(ids)
    }

    /// Returns the first id after the cursor that is not of a backdated version.
    fn first_in_order(&self) -> rusqlite::Result<i64> {
        let (start, end) = match self.query.order {
            Order::Descending => (i64::MAX, i64::MIN),
            Order::Ascending => (i64::MIN, i64::MAX),
        };
        if self.after.is_none() {
            return Ok(start);
        }
        let mut first = end;
        let scan = Scan { rows: Rows::All, sort: Sort::CreatedAt, order: self.query.order };
        let columns = "id, id IN (SELECT model_id FROM backdated_models)";
        scan.each(self.statements, columns, self.after.as_ref(), None, 0, &mut |row| {
            if row.get(1)? {
                return Ok(ControlFlow::Continue(()));
            }
            first = row.get(0)?;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// Prepares the statement by which [`Search::accepted`] reads a version.
    fn read(&self) -> rusqlite::Result<CachedStatement<'_>> {
        let columns = filtered_columns(self.query.sort);
        self.statements.prepare(&format!("SELECT {columns} FROM models WHERE id = ?1"))
    }

    /// Returns the position of a version; `None` if it does not pass the filters.
    fn accepted(&self, read: &mut CachedStatement<'_>, id: i64) -> rusqlite::Result<Option<SortPosition>> {
        let mut rows = read.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(if self.filter.accepts(row)? { Some(SortPosition::of(row)?) } else { None })
    }

    fn is_after_cursor(&self, position: &SortPosition) -> bool {
        self.after.as_ref().is_none_or(|after| position.compare(after, self.query.order).is_gt())
    }

    /// Breaks once there are enough rows.
    fn flow(&self, ids: &[i64]) -> ControlFlow<()> {
        let is_full = self.rows.is_some_and(|rows| ids.len() as u64 >= rows);
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Cuts the page out of the first rows after the cursor. If those are all rows of the list, their number is its total.
    fn cut(&self, mut ids: Vec<i64>, total: Option<u64>) -> PageIds {
        let is_whole = self.after.is_none() && self.flow(&ids).is_continue();
        let total = total.or_else(|| is_whole.then_some(ids.len() as u64));
        let skipped = usize::try_from(self.query.offset).unwrap_or(usize::MAX).min(ids.len());
        ids.drain(..skipped);
        PageIds { ids, total }
    }
}

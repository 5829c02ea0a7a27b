//! Finds a page of a list whose filters no single index has in order.
//!
//! One filter provides the candidates, and each candidate is judged by its row. If the rarest filter leaves few
//! versions, all of them are judged and sorted, which also counts them. Otherwise the candidates are read in the order
//! of the list until the page is full:
//!
//! | sort | the candidates come from |
//! |---|---|
//! | `created_at` | the rarest of name, status, tag and text |
//! | `updated_at` | the status, else all versions |
//! | `training_step` | all versions |
//!
//! Texts shorter than an n-gram have no candidates: they are looked for in every row.

use std::ops::ControlFlow;

use registry_domain::{ListQuery, Order, Sort, Status};

use super::{
    Statements, counts,
    filter::{RowFilter, SortPosition, judged_columns},
    scan::{Rows, Scan},
};
use crate::sqlite::{lookup::CountOf, ngrams};

/// Candidates up to this number are judged and sorted.
const FEW_CANDIDATES: u64 = 1_000;
/// The same if they can't be read in the order of the list and reading all versions would take longer.
const MAX_SORTED_CANDIDATES: u64 = 10_000;

/// The versions of a page.
pub(super) struct PageIds {
    /// Their ids, and the one behind them.
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

    /// The tables and the condition that select the candidates.
    fn select(&self) -> (&'static str, &'static str) {
        match self {
            Self::Name(_) => ("models", "name = ?1"),
            Self::Status(_) => ("models", "status = ?1"),
            Self::Tag(_) => ("model_tags CROSS JOIN models ON models.id = model_id", "tag = ?1"),
            Self::Text(_) => {
                ("model_texts CROSS JOIN models ON models.id = model_texts.rowid", "model_texts MATCH ?1")
            }
        }
    }

    /// The parameter of that condition.
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
    /// Rows to find behind that: the offset, the page, and one more, which shows if there is a next page.
    rows: Option<u64>,
}

impl Search<'_> {
    fn find(&self) -> rusqlite::Result<PageIds> {
        let all = counts::all(self.statements)?;
        let mut sources = self.counted_sources()?;
        // A single filter is counted already.
        let total = match sources.as_slice() {
            [(_, count)] if self.filter.text.is_none() => Some(*count),
            _ => None,
        };
        if let Some((source, count)) = sources.iter().min_by_key(|(_, count)| *count)
            && *count <= self.few(source, all)
        {
            return self.sort_all(source);
        }
        if let Some(text) = self.filter.text.as_deref().and_then(ngrams::query) {
            let source = Source::Text(text.clone());
            let few = self.few(&source, all);
            let first = self.first(&text, few + 1)?;
            if first.len() as u64 <= few {
                return self.sort_all(&source);
            }
            let estimate = if sources.is_empty() { 0 } else { self.estimate(&first, all)? };
            sources.push((source, estimate));
        }
        let ordered = sources.into_iter().filter(|(source, _)| source.is_ordered_by(self.query.sort));
        let rarest = ordered.min_by_key(|(_, count)| *count);
        let ids = match rarest.map(|(source, _)| source) {
            None => self.scan(Rows::All)?,
            Some(Source::Name(name)) => self.scan(Rows::Name(name))?,
            Some(Source::Status(status)) => self.scan(Rows::Status(status))?,
            Some(Source::Tag(tag)) => self.by_id("model_tags", "model_id", "tag = ?1", tag)?,
            Some(Source::Text(text)) => self.by_id("model_texts", "rowid", "model_texts MATCH ?1", &text)?,
        };
        Ok(self.cut(ids, total))
    }

    /// The filters whose versions are counted.
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

    /// How many candidates are few. If they are not in the order of the list, the alternative is to read all versions
    /// until the page is full; with `n` candidates that takes `rows * all / n` rows, if they are spread evenly.
    fn few(&self, source: &Source<'_>, all: u64) -> u64 {
        if source.is_ordered_by(self.query.sort) {
            return FEW_CANDIDATES;
        }
        let rows = self.rows.unwrap_or(u64::MAX);
        rows.saturating_mul(all).isqrt().clamp(FEW_CANDIDATES, MAX_SORTED_CANDIDATES)
    }

    /// The ids of the first candidates with a text, from the list's end of the ids.
    fn first(&self, text: &str, most: u64) -> rusqlite::Result<Vec<i64>> {
        let order = self.query.order.as_str();
        let mut ids = self.statements.prepare(&format!(
            "SELECT rowid FROM model_texts WHERE model_texts MATCH ?1 ORDER BY rowid {order} LIMIT ?2"
        ))?;
        ids.query_map((text, i64::try_from(most).unwrap_or(i64::MAX)), |row| row.get(0))?.collect()
    }

    /// Estimates how many candidates there are by how far the first ones are from that end.
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

    /// Judges all candidates, and sorts those that pass.
    fn sort_all(&self, source: &Source<'_>) -> rusqlite::Result<PageIds> {
        let (tables, condition) = source.select();
        let columns = judged_columns(self.query.sort);
        let mut rows =
            self.statements.prepare(&format!("SELECT {columns} FROM {tables} WHERE {condition}"))?;
        let mut rows = rows.query([source.value()])?;
        let mut positions = Vec::new();
        while let Some(row) = rows.next()? {
            if self.filter.accepts(row)? {
                positions.push(SortPosition::of(row)?);
            }
        }
        let (total, order) = (positions.len() as u64, self.query.order);
        if let Some(after) = &self.after {
            positions.retain(|position| position.compare(after, order).is_gt());
        }
        positions.sort_unstable_by(|one, other| one.compare(other, order));
        let wanted = self.rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(usize::MAX);
        let ids = positions.into_iter().take(wanted).map(|position| position.id).collect();
        Ok(self.cut(ids, Some(total)))
    }

    /// Judges rows along an index until the page is full.
    fn scan(&self, rows: Rows<'_>) -> rusqlite::Result<Vec<i64>> {
        let ListQuery { sort, order, .. } = *self.query;
        let mut ids = Vec::new();
        let judged = judged_columns(sort);
        Scan { rows, sort, order }.each(
            self.statements,
            judged,
            self.after.as_ref(),
            None,
            0,
            &mut |row| {
                if self.filter.accepts(row)? {
                    ids.push(row.get(0)?);
                }
                Ok(if self.is_full(&ids) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )?;
        Ok(ids)
    }

    /// Judges the versions that a table lists by id, until the page is full. Order by id is order by `created_at`
    /// apart from the backdated versions, which are merged in.
    fn by_id(&self, table: &str, id: &str, condition: &str, value: &str) -> rusqlite::Result<Vec<i64>> {
        let order = self.query.order;
        let (direction, from) = match order {
            Order::Descending => ("DESC", "<="),
            Order::Ascending => ("ASC", ">="),
        };
        let mut in_order = self.statements.prepare(&format!(
            "SELECT {id} FROM {table} WHERE {condition} AND {id} {from} ?2 \
             AND {id} NOT IN (SELECT model_id FROM backdated_models) ORDER BY {id} {direction}"
        ))?;
        let columns = judged_columns(Sort::CreatedAt);
        let mut backdated = self.statements.prepare(&format!(
            "SELECT {columns} FROM backdated_models CROSS JOIN models ON id = model_id \
             ORDER BY backdated_to {direction}, model_id {direction}"
        ))?;
        let mut judge = self.statements.prepare(&format!("SELECT {columns} FROM models WHERE id = ?1"))?;
        let (mut in_order, mut backdated) =
            (in_order.query((value, self.first_in_order()?))?, backdated.query([])?);
        let mut next_in_order = || -> rusqlite::Result<Option<SortPosition>> {
            while let Some(row) = in_order.next()? {
                let mut rows = judge.query([row.get::<_, i64>(0)?])?;
                if let Some(row) = rows.next()?
                    && self.filter.accepts(row)?
                {
                    return SortPosition::of(row).map(Some);
                }
            }
            Ok(None)
        };
        let mut next_backdated = || -> rusqlite::Result<Option<SortPosition>> {
            while let Some(row) = backdated.next()? {
                let position = SortPosition::of(row)?;
                let is_behind =
                    self.after.as_ref().is_none_or(|after| position.compare(after, order).is_gt());
                if is_behind && self.filter.accepts(row)? {
                    return Ok(Some(position));
                }
            }
            Ok(None)
        };
        let (mut one, mut other) = (next_in_order()?, next_backdated()?);
        let mut ids = Vec::new();
        while !self.is_full(&ids) {
            let comes_first = match (&one, &other) {
                (None, None) => break,
                (Some(one), Some(other)) => one.compare(other, order).is_lt(),
                (one, _) => one.is_some(),
            };
            let next = if comes_first { &mut one } else { &mut other };
            ids.extend(next.take().map(|position| position.id));
            if comes_first {
                one = next_in_order()?;
            } else {
                other = next_backdated()?;
            }
        }
        Ok(ids)
    }

    /// The first id behind the cursor that is not of a backdated version.
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

    fn is_full(&self, ids: &[i64]) -> bool {
        self.rows.is_some_and(|rows| ids.len() as u64 >= rows)
    }

    /// Cuts the page out of the first rows behind the cursor. If those are all rows of the list, they are its total.
    fn cut(&self, mut ids: Vec<i64>, total: Option<u64>) -> PageIds {
        let is_whole = self.after.is_none() && !self.is_full(&ids);
        let total = total.or_else(|| is_whole.then_some(ids.len() as u64));
        let skipped = usize::try_from(self.query.offset).unwrap_or(usize::MAX).min(ids.len());
        ids.drain(..skipped);
        PageIds { ids, total }
    }
}

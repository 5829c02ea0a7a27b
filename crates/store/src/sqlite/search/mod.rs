//! Searches: a filter and a sort key, over the versions of all models.
//!
//! [`translate`] turns the filter into a condition on a row. How rows are found depends on the rarest condition that an
//! index answers ([`source`]):
//!
//! 1. If it has up to [`FEW`](candidates::FEW) versions, all of them are checked and sorted.
//! 2. Otherwise rows are checked along the index with the order of the list ([`order`]) until the page is full. If a condition
//!    has up to [`MANY`] versions, others are skipped without being read.
//! 3. If that takes more than [`LOOK_UP_STEPS`], or no index has the order, up to [`MANY_TO_SORT`] candidates are sorted.
//! 4. If there are more, the walk along the index begins again without that limit; without an index, all versions are sorted.
//!
//! The fourth is the worst case: it reads all versions if none passes. It happens if no index answers a condition
//! (`dataset = 'x'`, OR and NOT at the top), or if each condition is common and their combination is rare. A search ends after
//! [`MAX_TIME`].

mod budget;
mod candidates;
mod functions;
pub(super) mod models;
mod order;
mod ordered;
mod source;
mod translate;
mod values;

use std::{cell::RefCell, ops::ControlFlow, sync::Arc, time::Duration};

use rusqlite::{Connection, params_from_iter, types::ValueRef};

use registry_domain::{
    Cursor, Page, Refusal, SearchQuery, VersionId,
    filter::{Field, Test},
    query::CursorKey,
};

pub(super) use budget::Budget;
use candidates::{few, rarest};
use order::{Candidates, Part, Prepared};
pub(super) use ordered::ordered;
use source::Source;

use super::{
    connection::SqliteReader,
    lists::{PlannedStatement, Statements},
    rows::{BY_ID, read},
};
use crate::{StoreError, VisitVersions};

/// The maximum number of candidates whose ids are collected; this takes about 5 ms.
const MANY: i64 = 20_000;
/// The maximum number of candidates that are all read in the end; this takes about a second, less than to read a million
/// versions.
const MANY_TO_SORT: i64 = 200_000;
/// How long rows are looked up along an index at first, in steps of the budget; about 20 ms.
const LOOK_UP_STEPS: u64 = 500;
/// The longest that a search may take. A million rows are checked in less.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Adds what searches need to a connection.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<Arc<Budget>> {
    functions::add(connection)?;
    Budget::attach(connection)
}

/// Visits a page, and returns it with the ids of its versions that were not visited.
pub(super) fn page(
    connection: &Connection,
    budget: &Budget,
    query: &SearchQuery,
    visit: VisitVersions<'_>,
) -> Result<(Page, Vec<VersionId>), StoreError> {
    search(&Statements { connection, recorded: None }, budget, query, visit)
}

impl SqliteReader {
    /// Runs a search and returns each statement that it used, in the order of first use. For tests.
    ///
    /// # Errors
    /// As a search.
    pub fn planned_search(&mut self, query: &SearchQuery) -> Result<Vec<PlannedStatement>, StoreError> {
        let budget = Arc::clone(&self.budget);
        self.snapshot(|connection| {
            let statements = Statements { connection, recorded: Some(RefCell::default()) };
            search(&statements, &budget, query, &mut |_| ControlFlow::Continue(()))?;
            Ok(statements.planned()?)
        })
    }
}

fn search(
    statements: &Statements<'_>,
    budget: &Budget,
    query: &SearchQuery,
    visit: VisitVersions<'_>,
) -> Result<(Page, Vec<VersionId>), StoreError> {
    let search = Search { statements, budget, query };
    let limit = query.limit as usize;
    // One more than the limit shows if there is a next page.
    let found = budget.limited(u64::MAX, MAX_TIME, || search.find(limit + 1))?;
    let Some(mut found) = found else { return Err(too_long().into()) };
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().filter(|_| !is_last).map(|(id, key)| Cursor {
        list: query.sort.to_string(),
        key: key.clone(),
        id: *id,
    });
    let mut statement = statements.prepare(BY_ID)?;
    let mut ids = found.iter().map(|(id, _)| *id);
    for id in ids.by_ref() {
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()?
            && visit(read(row)?).is_break()
        {
            break;
        }
    }
    Ok((Page { total: None, next }, ids.collect()))
}

fn too_long() -> Refusal {
    Refusal::Invalid(format!(
        "the search was ended after {} seconds; add a condition on name, status, run_id, artifact_uri, sha256, a tag's \
         value or a score that few versions meet, or sort by created_at, updated_at, name, a tag or a score",
        MAX_TIME.as_secs()
    ))
}

struct Search<'s> {
    statements: &'s Statements<'s>,
    budget: &'s Budget,
    query: &'s SearchQuery,
}

/// Ids and sort keys, in order.
type Found = Vec<(VersionId, CursorKey)>;

impl Search<'_> {
    /// Returns the first versions after the cursor.
    fn find(&self, limit: usize) -> rusqlite::Result<Found> {
        let sources = Source::all(self.query.filter.as_ref());
        if let Some(ids) = few(self.statements, &sources)? {
            return self.run(self.sorted(Some(Candidates::Ids(&ids)), limit));
        }
        if self.is_indexed() {
            let others = sources.iter().filter(|source| !self.is_driven_by(source.condition()));
            let only = rarest(self.statements, others, MANY)?;
            let found = self.budget.limited(LOOK_UP_STEPS, MAX_TIME, || self.along_index(only, limit))?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        match rarest(self.statements, sources.iter(), MANY_TO_SORT)? {
            None if self.is_indexed() => self.along_index(None, limit),
            candidates => self.run(self.sorted(candidates.map(Candidates::Source), limit)),
        }
    }

    /// Reads versions in order: first those with a value of the sort key, then those without.
    fn along_index(&self, only: Option<&Source<'_>>, limit: usize) -> rusqlite::Result<Found> {
        let is_past_keys =
            self.query.after.as_ref().is_some_and(|after| matches!(after.key, CursorKey::Integer(None)));
        let mut found = Vec::new();
        if !is_past_keys {
            found = self.run(self.in_order(Part::WithKey, only, limit))?;
        }
        if found.len() < limit && self.may_lack_key() {
            found.extend(self.run(self.in_order(Part::WithoutKey, only, limit - found.len()))?);
        }
        Ok(found)
    }

    /// Returns true if a version without a value of the sort key may pass the filter.
    fn may_lack_key(&self) -> bool {
        use registry_domain::filter::Attribute::{CreatedAt, Name, UpdatedAt};
        let field = &self.query.sort.field;
        let is_required = source::conjuncts(self.query.filter.as_ref())
            .iter()
            .any(|condition| condition.field == *field && condition.test != Test::Null { negated: false });
        !is_required && !matches!(field, Field::Attribute(CreatedAt | Name | UpdatedAt))
    }

    fn run(&self, (sql, values): Prepared) -> rusqlite::Result<Found> {
        let mut statement = self.statements.prepare_once(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| {
            let key = match row.get_ref(1)? {
                ValueRef::Null => CursorKey::Integer(None),
                ValueRef::Integer(number) => CursorKey::Integer(Some(number)),
                ValueRef::Real(number) => CursorKey::Number(number),
                text => CursorKey::Text(text.as_str()?.to_owned()),
            };
            Ok((row.get(0)?, key))
        })?;
        rows.collect()
    }
}

//! Searches in an order of several keys: the same filters and candidates, but other rows in order.
//!
//! | order | rows in order |
//! |---|---|
//! | name and number only | the models by name, then the versions of each by number |
//! | a time first | its index; what has the same time is sorted |
//! | any other | none: all candidates are sorted |

use registry_domain::{
    Order, OrderKey, OrderedQuery, PageStart, Place, VersionId,
    filter::{Attribute, Comparator, Field, Test, Value},
    query::CursorKey,
    search::OrderBy,
};
use rusqlite::{Connection, Row, params_from_iter};

use super::{
    Budget, LOOK_UP_STEPS, MANY_TO_SORT, MAX_TIME, few,
    models::{IS_PROMPT_MODEL, place_of},
    rarest,
    source::{Source, conjuncts},
    too_long,
    translate::{Known, condition},
    values::Values,
};
use crate::{
    StoreError, VisitVersions,
    sqlite::{
        connection::SqliteReader,
        lists::{PlannedStatement, Statements},
        rows::{BY_ID, read},
    },
};

/// A version that says itself that it is one of a prompt, or whose model does.
const IS_OF_PROMPT: &str = "(EXISTS (SELECT 1 FROM model_tags AS p WHERE p.key = 'mlflow.prompt.is_prompt' \
    AND p.value = 'true' AND p.version_id = v.id) OR ";

/// Visits a page, and returns the place of the last version that was visited, if others follow.
pub(in crate::sqlite) fn ordered(
    connection: &Connection,
    budget: &Budget,
    query: &OrderedQuery,
    visit: VisitVersions<'_>,
) -> Result<Option<Place>, StoreError> {
    page(&Statements { connection, recorded: None }, budget, query, visit)
}

impl SqliteReader {
    /// Runs a search and returns each statement that it used, in the order of first use. For tests.
    ///
    /// # Errors
    /// As a search.
    pub fn planned_order(&mut self, query: &OrderedQuery) -> Result<Vec<PlannedStatement>, StoreError> {
        let budget = std::sync::Arc::clone(&self.budget);
        self.snapshot(|connection| {
            let statements = Statements { connection, recorded: Some(std::cell::RefCell::default()) };
            page(&statements, &budget, query, &mut |_| std::ops::ControlFlow::Continue(()))?;
            Ok(statements.planned()?)
        })
    }
}

fn page(
    statements: &Statements<'_>,
    budget: &Budget,
    query: &OrderedQuery,
    visit: VisitVersions<'_>,
) -> Result<Option<Place>, StoreError> {
    let search = Search { statements, budget, query };
    let limit = query.limit as usize;
    // One more than the limit shows if there is a next page.
    let found = budget.limited(u64::MAX, MAX_TIME, || search.find(limit.saturating_add(1)))?;
    let Some(mut found) = found else { return Err(too_long().into()) };
    let mut statement = statements.prepare(BY_ID)?;
    let mut visited = 0;
    for (id, _) in found.iter().take(limit) {
        visited += 1;
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()?
            && visit(read(row)?).is_break()
        {
            break;
        }
    }
    let has_more = visited < found.len();
    found.truncate(visited);
    Ok(found.pop().filter(|_| has_more).map(|(_, place)| place))
}

struct Search<'s> {
    statements: &'s Statements<'s>,
    budget: &'s Budget,
    query: &'s OrderedQuery,
}

/// Ids and places, in order.
type Found = Vec<(VersionId, Place)>;

/// Where the rows come from.
enum Rows<'c> {
    /// The versions, in the order of an index.
    Index,
    /// The models, then their versions.
    Models,
    /// These versions, or all.
    Sorted(Option<&'c str>, Option<&'c Source<'c>>),
}

impl Search<'_> {
    fn find(&self, limit: usize) -> rusqlite::Result<Found> {
        let sources = Source::all(self.query.filter.as_ref());
        if let Some(ids) = few(self.statements, &sources)? {
            return self.run(&Rows::Sorted(Some(&ids), None), limit);
        }
        let in_order = self.in_order();
        if let Some(from) = &in_order
            && let Some(found) = self.budget.limited(LOOK_UP_STEPS, MAX_TIME, || self.run(from, limit))?
        {
            return Ok(found);
        }
        match (rarest(self.statements, sources.iter(), MANY_TO_SORT)?, &in_order) {
            (None, Some(from)) => self.run(from, limit),
            (source, _) => self.run(&Rows::Sorted(None, source), limit),
        }
    }

    fn in_order(&self) -> Option<Rows<'static>> {
        let keys: Vec<_> = self.query.order.iter().map(|key| key.by).collect();
        match keys.as_slice() {
            [OrderBy::ChangedAt | OrderBy::CreatedAt, ..] => Some(Rows::Index),
            [OrderBy::Name] | [OrderBy::Name, OrderBy::Number] => Some(Rows::Models),
            // All versions of one model.
            [OrderBy::Number, OrderBy::Name] if self.name().is_some() => Some(Rows::Models),
            _ => None,
        }
    }

    /// Returns the name, if the filter selects the versions of one model.
    fn name(&self) -> Option<&str> {
        let mut conditions = conjuncts(self.query.filter.as_ref()).into_iter();
        conditions.find_map(|condition| match (&condition.field, &condition.test) {
            (Field::Attribute(Attribute::Name), Test::Compare(Comparator::Equal, Value::Text(name))) => {
                Some(name.as_str())
            }
            _ => None,
        })
    }

    fn run(&self, from: &Rows<'_>, limit: usize) -> rusqlite::Result<Found> {
        let mut values = Values::default();
        let mut conditions = Vec::new();
        let (table, name) = match from {
            Rows::Models => {
                conditions.push("m.deleted_at IS NULL".to_owned());
                if let Some(name) = self.name() {
                    conditions.push(format!("m.name = {}", values.bind(name.to_owned())));
                }
                ("registered_models AS m CROSS JOIN models AS v ON v.model_key = m.id", "m.name")
            }
            Rows::Index => ("models AS v", "v.name"),
            Rows::Sorted(ids, source) => {
                if let Some(ids) = ids {
                    let ids = values.bind((*ids).to_owned());
                    conditions.push(format!("v.id IN (SELECT value FROM json_each({ids}))"));
                }
                conditions.extend(source.map(|source| format!("v.id IN ({})", source.sql(&mut values))));
                ("models AS v", "v.name")
            }
        };
        // A row that another tool has added has no number until the next upgrade.
        conditions.push("v.number > 0".to_owned());
        let column = |key: &OrderKey| match key.by {
            OrderBy::Name => name,
            OrderBy::Number => "v.number",
            OrderBy::CreatedAt => "v.created_at",
            OrderBy::ChangedAt => "v.changed_at",
        };
        let keys: Vec<_> = self.query.order.iter().map(|key| (column(key), key.order)).collect();
        let offset = start(&self.query.start, &keys, &mut conditions, &mut values);
        if let (Rows::Index, Some((time, _))) = (from, keys.first()) {
            // SQLite would rather read all rows than an index without a bound, as some terms remain to be sorted.
            conditions.push(format!("{time} >= ''"));
        }
        if let Some(filter) = &self.query.filter {
            conditions.push(condition(filter, Known { id: "v.id", key: None, from: None }, &mut values));
        }
        if !self.query.with_prompts {
            let model = IS_PROMPT_MODEL.replace("m.id", "v.model_key");
            conditions.push(format!("NOT {IS_OF_PROMPT}{model})"));
        }
        let selected: Vec<_> = keys.iter().map(|(column, _)| *column).collect();
        let limit = values.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT v.id, {} FROM {table} WHERE {} ORDER BY {} LIMIT {limit}{offset}",
            selected.join(", "),
            conditions.join(" AND "),
            directions(&keys)
        );
        let mut statement = self.statements.prepare_once(&sql)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, place_of(row, 1, keys.len())?));
        statement.query_map(params_from_iter(values.into_inner()), read)?.collect()
    }
}

/// Returns the terms of `ORDER BY`.
pub(super) fn directions(keys: &[(&str, Order)]) -> String {
    let term = |(column, order): &(&str, Order)| match order {
        Order::Ascending => format!("{column} ASC"),
        Order::Descending => format!("{column} DESC"),
    };
    keys.iter().map(term).collect::<Vec<_>>().join(", ")
}

/// Adds the condition for rows on the page and after it, and returns the `OFFSET`, if there is one.
pub(super) fn start(
    start: &PageStart,
    keys: &[(&str, Order)],
    conditions: &mut Vec<String>,
    values: &mut Values,
) -> String {
    let place = match start {
        PageStart::Offset(0) => return String::new(),
        PageStart::Offset(offset) => {
            return format!(" OFFSET {}", values.bind(i64::try_from(*offset).unwrap_or(i64::MAX)));
        }
        PageStart::After(place) => place,
    };
    let place: Vec<_> = place
        .iter()
        .map(|key| match key {
            CursorKey::Text(text) => values.bind(text.clone()),
            CursorKey::Integer(number) => values.bind(*number),
            CursorKey::Number(number) => values.bind(*number),
        })
        .collect();
    let mut after = "0".to_owned();
    for ((column, order), last) in keys.iter().zip(&place).rev() {
        let beyond = if *order == Order::Descending { "<" } else { ">" };
        after = format!("({column} {beyond} {last} OR {column} = {last} AND {after})");
    }
    if let (Some((column, order)), Some(last)) = (keys.first(), place.first()) {
        // By this alone SQLite seeks in an index.
        let beyond = if *order == Order::Descending { "<=" } else { ">=" };
        conditions.push(format!("{column} {beyond} {last}"));
    }
    conditions.push(after);
    String::new()
}

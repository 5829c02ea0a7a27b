//! Lists, filters and counts. The planner chooses the indexes, so one statement finds a page, and another its total.

use std::ops::ControlFlow;

use tokio_postgres::{Row, types::Type};

use registry_domain::{Cursor, ListQuery, Order, Page, Sort, Stats, VersionId, query::CursorKey, text::fold};

use crate::VisitVersions;

use super::{
    connection::{Connection, Parameter, Request},
    error::Failure,
    lookup::{pattern, tag_key},
    rows::{Value, Values, columns, text, version},
};

/// Begins a transaction whose statements see one state.
pub(super) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The maximum number of versions that are counted for a list with several filters or a text. Longer lists have no total.
const MAX_COUNTED: u64 = 1_000;
/// Letters of a text that the index of trigrams can find. Shorter texts scan, so their lists are not counted.
pub(super) const NGRAM_CHARS: usize = 3;
/// Versions that are read at a time.
const ROWS: usize = 64;

const STEP_KEY: &str = "coalesce(training_step, -9223372036854775808)";
const COUNT_OF: &str =
    "SELECT coalesce(sum(count), 0)::bigint FROM model_counts WHERE kind = $1 AND value = $2";
const COUNT_OF_ALL: &str = "SELECT coalesce(sum(count), 0)::bigint FROM model_counts WHERE kind = 'status'";
const STATS: &str = "SELECT kind, value, sum(count)::bigint FROM model_counts WHERE kind IN ('name', 'status') \
    GROUP BY kind, value HAVING sum(count) > 0 ORDER BY kind, value";
const BY_IDS: &str = concat!(
    "SELECT ",
    columns!("models."),
    " FROM unnest($1::bigint[]) WITH ORDINALITY AS listed (id, place) JOIN models USING (id) ORDER BY place"
);

/// A statement that grows, with the values of its placeholders.
#[derive(Default)]
struct Builder<'q> {
    conditions: Vec<String>,
    values: Values<'q>,
}

impl<'q> Builder<'q> {
    fn filtered_by(query: &'q ListQuery, folded: &str) -> Self {
        let mut builder = Self::default();
        if let Some(status) = query.status {
            let value = builder.values.bind(Value::text(status.as_str()));
            builder.conditions.push(format!("status = {value}"));
        }
        if let Some(name) = &query.name {
            let value = builder.values.bind(Value::text(name));
            builder.conditions.push(format!("name = {value}"));
        }
        if let Some(tag) = &query.tag {
            let value = builder.values.bind(Value::Text(Some(tag_key(tag).into())));
            builder.conditions.push(format!(
                "id IN (SELECT version_id FROM model_tags WHERE key = {value} AND left(value, 200) = '')"
            ));
        }
        if !folded.is_empty() {
            let value = builder.values.bind(Value::Text(Some(pattern(folded).into())));
            builder
                .conditions
                .push(format!("id IN (SELECT version_id FROM model_texts WHERE folded LIKE {value})"));
        }
        builder
    }

    fn filtered_rows(&self) -> String {
        let filter = if self.conditions.is_empty() { "" } else { " WHERE " };
        format!("FROM models{filter}{}", self.conditions.join(" AND "))
    }
}

fn integer(number: u64) -> Value<'static> {
    Value::Integer(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// Visits a page, and returns it with the ids of its versions that were not visited.
pub(super) fn page(
    connection: &mut Connection,
    query: &ListQuery,
    visit: VisitVersions<'_>,
) -> Result<(Page, Vec<VersionId>), Failure> {
    connection.batch(BEGIN_SNAPSHOT)?;
    let folded = query.q.as_deref().map(fold).unwrap_or_default();
    let total = total(connection, query, &folded)?;
    let (mut ids, last) = ids(connection, query, &folded)?;
    let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
    let is_last = ids.len() <= limit;
    ids.truncate(limit);
    // A list that ends on this page is counted by it.
    let is_counted = is_last && query.after.is_none() && (query.offset == 0 || !ids.is_empty());
    let total = total.or_else(|| is_counted.then(|| query.offset + ids.len() as u64));
    let visited = rows(connection, &ids, visit)?;
    connection.batch("COMMIT")?;
    let next = last.filter(|_| !is_last);
    Ok((Page { total, next }, ids.split_off(visited)))
}

/// Returns the ids of a page and of the version after it, and the cursor of its last version.
fn ids(
    connection: &mut Connection,
    query: &ListQuery,
    folded: &str,
) -> Result<(Vec<VersionId>, Option<Cursor>), Failure> {
    let mut builder = Builder::filtered_by(query, folded);
    let key = match query.sort {
        Sort::CreatedAt => "created_at",
        Sort::UpdatedAt => "updated_at",
        Sort::TrainingStep => STEP_KEY,
    };
    let (direction, beyond) = match query.order {
        Order::Descending => ("DESC", "<"),
        Order::Ascending => ("ASC", ">"),
    };
    if let Some(Cursor { key: after, id, .. }) = &query.after {
        let after = builder.values.bind(match after {
            CursorKey::Text(time) => Value::text(time),
            CursorKey::Integer(step) => Value::Integer(Some(step.unwrap_or(i64::MIN))),
            // No list is sorted by such a number.
            CursorKey::Number(number) => Value::Real(Some(*number)),
        });
        let id = builder.values.bind(Value::Integer(Some(*id)));
        builder.conditions.push(format!("({key}, id) {beyond} ({after}, {id})"));
    }
    let mut sql =
        format!("SELECT id, {key} {} ORDER BY {key} {direction}, id {direction}", builder.filtered_rows());
    if let Some(limit) = query.limit {
        let limit = builder.values.bind(integer(u64::from(limit) + 1));
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    if query.offset > 0 {
        let offset = builder.values.bind(integer(query.offset));
        sql.push_str(&format!(" OFFSET {offset}"));
    }
    let (mut ids, mut last) = (Vec::new(), None);
    connection.each(&Request::unprepared(&sql, &builder.values.parameters()), &mut |row| {
        ids.push(row.try_get(0)?);
        if query.limit.is_some_and(|limit| ids.len() == limit as usize) {
            last = Some(cursor(query, row)?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((ids, last))
}

fn cursor(query: &ListQuery, row: &Row) -> Result<Cursor, Failure> {
    let key = match query.sort {
        Sort::CreatedAt | Sort::UpdatedAt => CursorKey::Text(text(row, 1)?.unwrap_or_default().into_owned()),
        Sort::TrainingStep => {
            CursorKey::Integer(row.try_get::<_, Option<i64>>(1)?.filter(|step| *step != i64::MIN))
        }
    };
    Ok(Cursor { list: query.list_name(), key, id: row.try_get(0)? })
}

/// Counts the versions that pass the filters: by a counter if there is one, and up to [`MAX_COUNTED`] otherwise.
fn total(connection: &mut Connection, query: &ListQuery, folded: &str) -> Result<Option<u64>, Failure> {
    let mut filters = Vec::new();
    filters.extend(query.status.map(|status| ("status", status.as_str().to_owned())));
    filters.extend(query.name.as_deref().map(|name| ("name", super::text::encoded(name).into_owned())));
    filters.extend(query.tag.as_deref().map(|tag| ("tag", tag_key(tag))));
    match filters.as_slice() {
        [] if folded.is_empty() => return Ok(Some(number(connection, COUNT_OF_ALL, &[])?)),
        [(kind, value)] if folded.is_empty() => {
            let parameters: [Parameter<'_>; 2] = [(kind, Type::TEXT), (value, Type::TEXT)];
            return Ok(Some(number(connection, COUNT_OF, &parameters)?));
        }
        // This would read every version once more.
        [] if folded.chars().count() < NGRAM_CHARS => return Ok(None),
        _ => {}
    }
    let mut builder = Builder::filtered_by(query, folded);
    let limit = builder.values.bind(integer(MAX_COUNTED + 1));
    let sql = format!("SELECT count(*) FROM (SELECT 1 {} LIMIT {limit}) AS counted", builder.filtered_rows());
    let mut counted = 0;
    connection.each(&Request::unprepared(&sql, &builder.values.parameters()), &mut |row| {
        counted = unsigned(row.try_get(0)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((counted <= MAX_COUNTED).then_some(counted))
}

pub(super) fn number(
    connection: &mut Connection,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<u64, Failure> {
    let rows = connection.one(sql, parameters)?;
    Ok(unsigned(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default()))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Visits the versions of `ids` that exist, in the order given, until `visit` breaks. Returns how many of `ids` are done.
pub(super) fn rows(
    connection: &mut Connection,
    ids: &[VersionId],
    visit: VisitVersions<'_>,
) -> Result<usize, Failure> {
    let mut done = 0;
    for some in ids.chunks(ROWS) {
        let mut flow = ControlFlow::Continue(());
        let mut visited = 0;
        let parameters: [Parameter<'_>; 1] = [(&some, Type::INT8_ARRAY)];
        connection.each(&Request::prepared(BY_IDS, &parameters), &mut |row| {
            visited += 1;
            flow = visit(version(row)?);
            Ok(flow)
        })?;
        if flow.is_break() {
            return Ok(done + visited);
        }
        done += some.len();
    }
    Ok(done)
}

/// Counts the versions.
pub(super) fn stats(connection: &mut Connection) -> Result<Stats, Failure> {
    let mut stats = Stats::default();
    for row in connection.one(STATS, &[])? {
        let (value, count) = (text(&row, 1)?.unwrap_or_default().into_owned(), unsigned(row.try_get(2)?));
        if row.try_get::<_, &str>(0)? == "name" {
            stats.by_name.push((value, count));
        } else {
            stats.total_models += count;
            stats.by_status.push((value, count));
        }
    }
    Ok(stats)
}

//! Lists, filters and counts.

use rusqlite::{Connection, ToSql, functions::Context, types::Value};

use crate::{
    domain::{Cursor, ListQuery, ModelRow, Order, Page, Sort, Stats, query::CursorKey},
    store::{StoreError, VisitModel},
};

use super::{
    models::{columns, read, text},
    schema::step_key,
};

/// `registry_contains(text, part)`: whether `part`, [`folded`] already, stands in `text` whatever the
/// case of its letters. LIKE folds ASCII only and gives `%` and `_` a meaning.
pub(super) const CONTAINS_FUNCTION: &str = "registry_contains";

pub(super) fn contains_function(context: &Context<'_>) -> rusqlite::Result<bool> {
    let (Ok(text), Ok(part)) = (context.get_raw(0).as_str(), context.get_raw(1).as_str()) else {
        return Ok(false);
    };
    Ok(contains(text, part))
}

fn contains(text: &str, part: &str) -> bool {
    if text.is_ascii() && part.is_ascii() {
        return part.is_empty()
            || text
                .as_bytes()
                .windows(part.len())
                .any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
    }
    folded(text).contains(part)
}

/// The text with the case of its letters taken away, each for itself: lower-casing a whole text writes a
/// sigma at the end of a word otherwise than the same sigma inside one.
fn folded(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

/// The filters of a query as SQL, with what is bound to them.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    fn of(query: &ListQuery) -> Self {
        let mut filter = Self { sql: String::new(), values: Vec::new() };
        if let Some(status) = query.status {
            let status = filter.bind(status.as_str().to_owned());
            filter.and(&format!("status = {status}"));
        }
        if let Some(name) = &query.name {
            let name = filter.bind(name.clone());
            filter.and(&format!("name = {name}"));
        }
        if let Some(tag) = &query.tag {
            let tag = filter.bind(tag.clone());
            filter.and(&format!(
                "EXISTS (SELECT 1 FROM json_each(iif(json_valid(tags), tags, '[]')) \
                 WHERE type = 'text' AND value = {tag})"
            ));
        }
        if let Some(q) = &query.q {
            let q = filter.bind(folded(q));
            let places = ["name", "version", "description"].map(|at| format!("registry_contains({at}, {q})"));
            filter.and(&format!("({})", places.join(" OR ")));
        }
        filter
    }

    /// Binds a value and returns the text that stands for it.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn and(&mut self, condition: &str) {
        self.sql.push_str(if self.sql.is_empty() { " WHERE " } else { " AND " });
        self.sql.push_str(condition);
    }

    fn bound(&self) -> Vec<&dyn ToSql> {
        self.values.iter().map(|value| value as &dyn ToSql).collect()
    }
}

/// As it stands in the index.
fn sort_key(sort: Sort) -> &'static str {
    match sort {
        Sort::CreatedAt => "created_at",
        Sort::UpdatedAt => "updated_at",
        Sort::TrainingStep => step_key!(),
    }
}

pub(super) fn models(
    connection: &Connection,
    query: &ListQuery,
    visit: VisitModel<'_>,
) -> Result<Page, StoreError> {
    let mut filter = Filter::of(query);
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM models{}", filter.sql))?
        .query_row(filter.bound().as_slice(), |row| row.get(0))?;

    let key = sort_key(query.sort);
    let (direction, beyond) = match query.order {
        Order::Descending => ("DESC", "<"),
        Order::Ascending => ("ASC", ">"),
    };
    if let Some(cursor) = &query.after {
        let from = match &cursor.key {
            CursorKey::Text(text) => Value::from(text.clone()),
            CursorKey::Integer(step) => Value::from(step.unwrap_or(i64::MIN)),
        };
        let (from, id) = (filter.bind(from), filter.bind(cursor.id));
        if query.sort == Sort::TrainingStep {
            // SQLite does not seek by a row value that begins with an expression, but by the expression alone.
            filter.and(&format!("{key} {beyond}= {from}"));
        }
        filter.and(&format!("({key}, id) {beyond} ({from}, {id})"));
    }
    // One more than asked for tells whether there is a next page; -1 is SQLite's "all".
    let limit = filter.bind(query.limit.map_or(-1, |limit| i64::from(limit) + 1));
    let offset = filter.bind(i64::try_from(query.offset).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {} FROM models{} ORDER BY {key} {direction}, id {direction} LIMIT {limit} OFFSET {offset}",
        columns!(),
        filter.sql,
    );

    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(filter.bound().as_slice())?;
    let (mut seen, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if Some(seen) == query.limit {
            return Ok(Page { total, next: last });
        }
        let model = read(row)?;
        seen += 1;
        if Some(seen) == query.limit {
            last = Some(cursor(query, &model));
        }
        visit(model);
    }
    Ok(Page { total, next: None })
}

fn cursor(query: &ListQuery, model: &ModelRow<'_>) -> Cursor {
    let key = match query.sort {
        Sort::CreatedAt => CursorKey::Text(model.created_at.to_string()),
        Sort::UpdatedAt => CursorKey::Text(model.updated_at.to_string()),
        Sort::TrainingStep => CursorKey::Integer(model.training_step),
    };
    Cursor { list: query.list_name(), key, id: model.id }
}

pub(super) fn stats(connection: &Connection) -> Result<Stats, StoreError> {
    let counts = |sql: &str| -> Result<Vec<(String, u64)>, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement
            .query_map([], |row| Ok((text(row.get_ref(0)?).unwrap_or_default().into_owned(), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let by_status = counts("SELECT status, count(*) FROM models GROUP BY status ORDER BY status")?;
    let by_name = counts("SELECT name, count(*) FROM models GROUP BY name ORDER BY name")?;
    Ok(Stats { total_models: by_status.iter().map(|(_, count)| count).sum(), by_status, by_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_whatever_the_case_and_wildcards_are_letters() {
        for (text, part, found) in [
            ("Hello world", "hello", true),
            ("Hello world", "o w", true),
            ("hello", "", true),
            ("", "a", false),
            ("100 percent", "100%", false),
            ("100%", "0%", true),
            ("axb", "a_b", false),
            ("ТЕГ", "тег", true),
            ("ΟΔΟΣΑ", "ΟΔΟΣ", true),
            ("ΟΔΟΣΑ", "οδος", true),
            ("οδος", "ΟΔΟΣ", true),
            ("modèle", "modele", false),
            ("short", "longer than it", false),
        ] {
            assert_eq!(contains(text, &folded(part)), found, "{part:?} in {text:?}");
        }
    }
}

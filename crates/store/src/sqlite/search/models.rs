//! Searches over registered models, in an order of several keys.
//!
//! Models are read by name, or all are sorted. If a tag has few of them, only those are.

use registry_domain::{
    ModelSummary, OrderedQuery, Place,
    filter::{Attribute, Comparator, Condition, Field, Filter, Test},
    query::CursorKey,
    search::OrderBy,
};
use rusqlite::{Connection, Row, params_from_iter, types::ValueRef};

use super::{
    candidates::FEW,
    ordered::{directions, start},
    source::conjuncts,
    translate::tested,
    values::Values,
};
use crate::sqlite::registered::{self, MAX_PAGE_BYTES, bytes_of, model_columns};

/// A model, `m`, that is a prompt.
pub(in crate::sqlite) const IS_PROMPT_MODEL: &str = "EXISTS (SELECT 1 FROM registered_model_tags AS p \
    WHERE p.model_key = m.id AND p.key = 'mlflow.prompt.is_prompt' AND p.value = 'true')";

/// Returns a page of models, and the place of its last one, if others follow.
pub(in crate::sqlite) fn page(
    connection: &Connection,
    query: &OrderedQuery,
) -> rusqlite::Result<(Vec<ModelSummary>, Option<Place>)> {
    let mut values = Values::default();
    let mut conditions = vec!["m.deleted_at IS NULL".to_owned()];
    if let Some(ids) = few(connection, query.filter.as_ref())? {
        conditions.push(format!("m.id IN (SELECT value FROM json_each({}))", values.bind(ids)));
    }
    let keys: Vec<_> = query.order.iter().map(|key| (column(key.by), key.order)).collect();
    let offset = start(&query.start, &keys, &mut conditions, &mut values);
    conditions.extend(query.filter.as_ref().map(|filter| condition(filter, &mut values)));
    if !query.with_prompts {
        conditions.push(format!("NOT {IS_PROMPT_MODEL}"));
    }
    let places: Vec<_> = keys.iter().map(|(column, _)| *column).collect();
    let sql = format!(
        "SELECT {}, {} FROM registered_models AS m WHERE {} ORDER BY {} LIMIT {}{offset}",
        model_columns!(),
        places.join(", "),
        conditions.join(" AND "),
        directions(&keys),
        values.bind(i64::from(query.limit) + 1)
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values.into_inner()))?;
    let (mut found, mut last, mut bytes) = (Vec::new(), None, 0);
    while let Some(row) = rows.next()? {
        if found.len() == query.limit as usize || bytes > MAX_PAGE_BYTES {
            return Ok((found, last));
        }
        let summary = registered::summarize_row(connection, row)?;
        bytes += bytes_of(&summary);
        last = Some(place_of(row, registered::COLUMNS, keys.len())?);
        found.push(summary);
    }
    Ok((found, None))
}

/// Reads the values of the keys of an order, which are in columns from `first` on.
pub(super) fn place_of(row: &Row<'_>, first: usize, keys: usize) -> rusqlite::Result<Place> {
    let key = |column: usize| {
        Ok(match row.get_ref(column)? {
            ValueRef::Integer(number) => CursorKey::Integer(Some(number)),
            ValueRef::Null => CursorKey::Integer(None),
            text => CursorKey::Text(text.as_str()?.to_owned()),
        })
    };
    (first..first + keys).map(key).collect()
}

fn column(by: OrderBy) -> &'static str {
    match by {
        // Only versions have one.
        OrderBy::Name | OrderBy::Number => "m.name",
        OrderBy::CreatedAt => "m.created_at",
        OrderBy::ChangedAt => "ifnull(m.changed_at, m.updated_at)",
    }
}

/// Returns the models with a tag that the filter requires, as a list in JSON, if these are at most [`FEW`].
fn few(connection: &Connection, filter: Option<&Filter>) -> rusqlite::Result<Option<String>> {
    let (mut few, mut most) = (None, FEW);
    for Condition { field, test } in conjuncts(filter) {
        let (Field::Tag(key), Test::Compare(Comparator::Equal, _)) = (field, test) else { continue };
        let mut values = Values::default();
        let (key, value) = (values.bind(key.clone()), tested("value", test, &mut values));
        let limit = values.bind(most + 1);
        let sql = format!(
            "WITH few (id) AS (SELECT model_key FROM registered_model_tags WHERE key = {key} AND {value} \
             LIMIT {limit}) SELECT count(*), json_group_array(id) FROM few"
        );
        let (count, ids): (i64, String) = connection
            .prepare(&sql)?
            .query_row(params_from_iter(values.into_inner()), |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count <= most {
            (few, most) = (Some(ids), count);
        }
    }
    Ok(few)
}

/// Returns the condition on a model `m`.
fn condition(filter: &Filter, values: &mut Values) -> String {
    let mut joined = |parts: &[Filter], operator: &str| {
        let parts: Vec<_> = parts.iter().map(|part| condition(part, values)).collect();
        format!("({})", parts.join(operator))
    };
    match filter {
        Filter::And(parts) => joined(parts, " AND "),
        Filter::Or(parts) => joined(parts, " OR "),
        // NOT null would be null, and IS binds tighter than NOT.
        Filter::Not(part) => format!("NOT (({}) IS TRUE)", condition(part, values)),
        Filter::Condition(Condition { field: Field::Tag(key), test }) => {
            let key = values.bind(key.clone());
            let (not, test) = match test {
                Test::Null { negated: false } => ("NOT ", &Test::Null { negated: true }),
                test => ("", test),
            };
            let value = tested("t.value", test, values);
            format!(
                "{not}EXISTS (SELECT 1 FROM registered_model_tags AS t WHERE t.model_key = m.id AND t.key = {key} \
                 AND {value})"
            )
        }
        Filter::Condition(Condition { field: Field::Attribute(attribute), test }) => match attribute {
            Attribute::Name => tested("m.name", test, values),
            Attribute::Description => tested("m.description", test, values),
            Attribute::CreatedAt => tested("millis(m.created_at)", test, values),
            Attribute::UpdatedAt => tested("millis(m.updated_at)", test, values),
            // Models have no other field.
            _ => "0".to_owned(),
        },
        Filter::Condition(Condition { field: Field::Score { .. }, .. }) => "0".to_owned(),
    }
}

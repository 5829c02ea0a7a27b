//! Searches in an order of several keys, over versions and over registered models. The planner chooses how rows are found.

use std::ops::ControlFlow;

use tokio_postgres::Row;

use registry_domain::{
    ModelSummary, Order, OrderedQuery, PageStart, Place, VersionId,
    filter::{Attribute, Comparator, Condition, Field, Filter, Test, Value as FilterValue},
    query::CursorKey,
    search::OrderBy,
};

use super::{
    begin,
    translate::{Known, tag_rows, tested, texts},
};
use crate::{
    VisitVersions,
    postgres::{
        connection::{Connection, Request},
        error::Failure,
        lists::rows,
        registered::{self, MAX_PAGE_BYTES, model_columns},
        rows::{Value, Values, owned_text},
    },
};

/// A model, `m`, that is a prompt.
pub(in crate::postgres) const IS_PROMPT_MODEL: &str = "EXISTS (SELECT 1 FROM registered_model_tags AS p \
    WHERE p.model_key = m.id AND p.key = 'mlflow.prompt.is_prompt' AND p.value = 'true')";
/// A version that says itself that it is one of a prompt, or whose model does.
const IS_OF_PROMPT: &str = "(EXISTS (SELECT 1 FROM model_tags AS p WHERE p.version_id = v.id \
    AND p.key = 'mlflow.prompt.is_prompt' AND p.value = 'true') OR ";

const MODEL_KEY: &str = "SELECT id FROM registered_models WHERE name = $1 AND deleted_at IS NULL";

/// Visits a page of versions, and returns the place of the last one that was visited, if others follow.
pub(in crate::postgres) fn versions(
    connection: &mut Connection,
    query: &OrderedQuery,
    visit: VisitVersions<'_>,
) -> Result<Option<Place>, Failure> {
    let score_keys = begin(connection, query.filter.as_ref(), None)?;
    let mut values = Values::default();
    let mut conditions = Vec::new();
    let mut filter = query.filter.clone();
    let mut is_one_model = false;
    let by_number = query.order.iter().find(|key| key.by != OrderBy::Name).map(|key| key.by);
    if by_number == Some(OrderBy::Number)
        && let Some(name) = filter.as_mut().and_then(take_name)
    {
        // The index of numbers has the key of the model. As a parameter, it lets the planner estimate.
        let name = Value::owned(&name);
        let found = connection.one(MODEL_KEY, &[name.parameter()])?;
        let key: Option<i64> = found.first().map(|row| row.try_get(0)).transpose()?;
        conditions.push(format!("v.model_key = {}", values.bind(Value::integer(key.unwrap_or(0)))));
        is_one_model = true;
    }
    if let Some(filter) = &filter {
        conditions.push(Known { score_keys: &score_keys, sort: None }.condition(filter, &mut values));
        conditions.extend(texts(Some(filter), &mut values));
    }
    if !query.with_prompts {
        conditions.push(format!("NOT {IS_OF_PROMPT}{})", IS_PROMPT_MODEL.replace("m.id", "v.model_key")));
    }
    let column = |by: OrderBy| match by {
        OrderBy::Name => "v.name",
        OrderBy::Number => "v.number",
        OrderBy::CreatedAt => "v.created_at",
        OrderBy::ChangedAt => "v.changed_at",
    };
    let keys: Vec<_> = query.order.iter().map(|key| (column(key.by), key.order)).collect();
    // The name of one model orders nothing.
    let sorted: Vec<_> =
        keys.iter().filter(|(key, _)| !(is_one_model && *key == "v.name")).copied().collect();
    let rest = ordered(query, &keys, &sorted, conditions, &mut values);
    let selected: Vec<_> = keys.iter().map(|(column, _)| *column).collect();
    let sql = format!("SELECT v.id, {} FROM models AS v{rest}", selected.join(", "));
    let mut found: Vec<(VersionId, Place)> = Vec::new();
    connection.each(&Request::unprepared(&sql, &values.parameters()), &mut |row| {
        found.push((row.try_get(0)?, place_of(row, 1, &query.order)?));
        Ok(ControlFlow::Continue(()))
    })?;
    let ids: Vec<_> = found.iter().take(query.limit as usize).map(|(id, _)| *id).collect();
    let visited = rows(connection, &ids, visit)?;
    connection.batch("COMMIT")?;
    let has_more = visited < found.len();
    found.truncate(visited);
    Ok(found.pop().filter(|_| has_more).map(|(_, place)| place))
}

/// Returns a page of models, and the place of the last one, if others follow.
pub(in crate::postgres) fn models(
    connection: &mut Connection,
    query: &OrderedQuery,
) -> Result<(Vec<ModelSummary>, Option<Place>), Failure> {
    begin(connection, None, None)?;
    let mut values = Values::default();
    let mut conditions = vec!["m.deleted_at IS NULL".to_owned()];
    conditions.extend(query.filter.as_ref().map(|filter| condition(filter, &mut values)));
    if !query.with_prompts {
        conditions.push(format!("NOT {IS_PROMPT_MODEL}"));
    }
    let column = |by: OrderBy| match by {
        // Only versions have a number.
        OrderBy::Name | OrderBy::Number => "m.name",
        OrderBy::CreatedAt => "m.created_at",
        OrderBy::ChangedAt => "coalesce(m.changed_at, m.updated_at)",
    };
    let keys: Vec<_> = query.order.iter().map(|key| (column(key.by), key.order)).collect();
    let rest = ordered(query, &keys, &keys, conditions, &mut values);
    let sql = format!(
        "SELECT {}, {}{} FROM registered_models AS m{rest}",
        model_columns!(),
        registered::BYTES,
        keys.iter().map(|(column, _)| format!(", {column}")).collect::<String>()
    );
    let (mut models, mut bytes, mut last, mut has_more) = (Vec::new(), 0, None, false);
    connection.each(&Request::unprepared(&sql, &values.parameters()), &mut |row| {
        if models.len() == query.limit as usize || bytes > MAX_PAGE_BYTES {
            has_more = true;
            return Ok(ControlFlow::Break(()));
        }
        bytes += registered::bytes(row)?;
        last = Some(place_of(row, registered::COLUMNS + 1, &query.order)?);
        models.push(registered::model(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    let summaries = registered::summaries(models, &mut |requests| connection.all(None, requests))?;
    connection.batch("COMMIT")?;
    Ok((summaries, last.filter(|_| has_more)))
}

/// Takes the condition out of the filter that selects the versions of one model, and returns the model's name.
fn take_name(filter: &mut Filter) -> Option<String> {
    let Filter::And(parts) = filter else { return None };
    let name = |part: &Filter| match part {
        Filter::Condition(Condition {
            field: Field::Attribute(Attribute::Name),
            test: Test::Compare(Comparator::Equal, FilterValue::Text(name)),
        }) => Some(name.clone()),
        _ => None,
    };
    let (at, name) = parts.iter().enumerate().find_map(|(at, part)| Some((at, name(part)?)))?;
    parts.remove(at);
    Some(name)
}

/// Returns the statement from `WHERE` on: the page of a list by `keys`, of which `sorted` decide the order.
fn ordered(
    query: &OrderedQuery,
    keys: &[(&str, Order)],
    sorted: &[(&str, Order)],
    mut conditions: Vec<String>,
    values: &mut Values<'_>,
) -> String {
    let mut offset = String::new();
    match &query.start {
        PageStart::Offset(0) => {}
        PageStart::Offset(rows) => {
            let rows = Value::integer(i64::try_from(*rows).unwrap_or(i64::MAX));
            offset = format!(" OFFSET {}", values.bind(rows));
        }
        PageStart::After(place) => conditions.extend(after(place, keys, values)),
    }
    let filter = if conditions.is_empty() { "" } else { " WHERE " };
    let term = |(column, order): &(&str, Order)| match order {
        Order::Ascending => format!("{column} ASC"),
        Order::Descending => format!("{column} DESC"),
    };
    let order: Vec<_> = sorted.iter().map(term).collect();
    let limit = values.bind(Value::integer(i64::from(query.limit) + 1));
    format!("{filter}{} ORDER BY {} LIMIT {limit}{offset}", conditions.join(" AND "), order.join(", "))
}

/// Returns the conditions for what comes after a place.
fn after(place: &Place, keys: &[(&str, Order)], values: &mut Values<'_>) -> Vec<String> {
    let place: Vec<_> = place
        .iter()
        .map(|key| match key {
            CursorKey::Text(text) => values.bind(Value::owned(text)),
            CursorKey::Integer(number) => values.bind(Value::Integer(*number)),
            CursorKey::Number(number) => values.bind(Value::Real(Some(*number))),
        })
        .collect();
    let mut after = "false".to_owned();
    for ((column, order), last) in keys.iter().zip(&place).rev() {
        let beyond = if *order == Order::Descending { "<" } else { ">" };
        after = format!("({column} {beyond} {last} OR {column} = {last} AND {after})");
    }
    let first = keys.first().zip(place.first()).map(|((column, order), last)| {
        // By this an index can begin there.
        let beyond = if *order == Order::Descending { "<=" } else { ">=" };
        format!("{column} {beyond} {last}")
    });
    first.into_iter().chain([after]).collect()
}

/// Reads the values of the keys of an order, which are in columns from `first` on.
fn place_of(row: &Row, first: usize, order: &[registry_domain::OrderKey]) -> Result<Place, Failure> {
    let key = |(at, key): (usize, &registry_domain::OrderKey)| {
        Ok(match key.by {
            OrderBy::Number => CursorKey::Integer(row.try_get(first + at)?),
            _ => CursorKey::Text(owned_text(row, first + at)?),
        })
    };
    order.iter().enumerate().map(key).collect()
}

/// Returns the condition on a model `m`.
fn condition(filter: &Filter, values: &mut Values<'_>) -> String {
    let mut joined = |parts: &[Filter], operator: &str| {
        let parts: Vec<_> = parts.iter().map(|part| condition(part, values)).collect();
        format!("({})", parts.join(operator))
    };
    match filter {
        Filter::And(parts) => joined(parts, " AND "),
        Filter::Or(parts) => joined(parts, " OR "),
        // NOT null would be null.
        Filter::Not(part) => format!("NOT (({}) IS TRUE)", condition(part, values)),
        Filter::Condition(Condition { field: Field::Tag(key), test }) => {
            let key = values.bind(Value::owned(key));
            let from = format!("registered_model_tags AS r WHERE r.model_key = m.id AND r.key = {key}");
            tag_rows(&from, test, values)
        }
        Filter::Condition(Condition { field: Field::Attribute(attribute), test }) => match attribute {
            Attribute::Name => tested("m.name", test, values),
            Attribute::Description => tested("m.description", test, values),
            Attribute::CreatedAt => tested("m.created_at", test, values),
            Attribute::UpdatedAt => tested("m.updated_at", test, values),
            // Models have no other field.
            _ => "false".to_owned(),
        },
        Filter::Condition(Condition { field: Field::Score { .. }, .. }) => "false".to_owned(),
    }
}

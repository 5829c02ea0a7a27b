//! Searches: a filter and a sort key, over the versions of all models.
//!
//! PostgreSQL's planner chooses how rows are found. A page has two parts, each in the order of an index if there is one: the
//! versions with a value of the sort key, then those without. A statement of a search ends after [`MAX_TIME`].

pub(super) mod case;
pub(super) mod ordered;
mod translate;

use std::{collections::HashMap, ops::ControlFlow, time::Duration};

use tokio_postgres::{Row, types::Type};

use registry_domain::{
    Cursor, Order, Page, Refusal, SearchQuery, VersionId,
    filter::{Attribute, Field, FieldType, Filter, Test},
    query::CursorKey,
};

use crate::VisitVersions;

use super::{
    connection::{Connection, Parameter, Request},
    error::Failure,
    lists::{BEGIN_SNAPSHOT, rows},
    lookup::tag_key,
    rows::{Value, Values, owned_text},
    text::encoded,
};
use translate::{Known, column, conjuncts, first_letters, is_long, scores_of, texts};

/// The longest that a statement of a search may take.
const MAX_TIME: Duration = Duration::from_secs(5);
const SCORE_KEYS: &str = "SELECT suite, metric, id FROM score_keys \
    JOIN unnest($1::text[], $2::text[]) AS given (suite, metric) USING (suite, metric)";

/// Visits a page, and returns it with the ids of its versions that were not visited.
pub(super) fn page(
    connection: &mut Connection,
    query: &SearchQuery,
    visit: VisitVersions<'_>,
) -> Result<(Page, Vec<VersionId>), Failure> {
    let score_keys = begin(connection, query.filter.as_ref(), Some(&query.sort.field))?;
    let limit = query.limit as usize;
    // One more than the limit shows if there is a next page.
    let mut found = Search { connection, query, score_keys: &score_keys }.find(limit + 1)?;
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().filter(|_| !is_last).map(|(id, key)| Cursor {
        list: query.sort.to_string(),
        key: key.clone(),
        id: *id,
    });
    let mut ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
    let visited = rows(connection, &ids, visit)?;
    connection.batch("COMMIT")?;
    Ok((Page { total: None, next }, ids.split_off(visited)))
}

pub(super) fn too_long() -> Refusal {
    Refusal::Invalid(format!(
        "the search was ended after {} seconds; add a condition on name, status, run_id, artifact_uri, sha256, a tag's \
         value or a score that few versions meet, or sort by created_at, updated_at, name, a tag or a score",
        MAX_TIME.as_secs()
    ))
}

/// Ids of the keys of scores.
type ScoreKeys = HashMap<(String, String), i64>;

/// Begins a snapshot, and returns the keys of the scores that a query names. As parameters, they let the planner estimate.
fn begin(
    connection: &mut Connection,
    filter: Option<&Filter>,
    sort: Option<&Field>,
) -> Result<ScoreKeys, Failure> {
    // Compiling a statement, or starting processes for it, takes longer than most searches.
    let begin = format!(
        "{BEGIN_SNAPSHOT}; SET LOCAL statement_timeout = {}; SET LOCAL jit = off; \
         SET LOCAL max_parallel_workers_per_gather = 0",
        MAX_TIME.as_millis()
    );
    let mut named = filter.map(scores_of).unwrap_or_default();
    if let Some(Field::Score { suite, metric }) = sort {
        named.push((suite, metric));
    }
    if named.is_empty() {
        connection.batch(&begin)?;
        return Ok(HashMap::new());
    }
    named.sort_unstable();
    named.dedup();
    let (suites, metrics): (Vec<_>, Vec<_>) =
        named.into_iter().map(|(suite, metric)| (encoded(suite), encoded(metric))).unzip();
    let names: [Parameter<'_>; 2] = [(&suites, Type::TEXT_ARRAY), (&metrics, Type::TEXT_ARRAY)];
    let answers = connection.all(Some(&begin), &[Request::prepared(SCORE_KEYS, &names)])?;
    let key = |row: &Row| Ok(((owned_text(row, 0)?, owned_text(row, 1)?), row.try_get(2)?));
    answers.iter().flatten().map(key).collect()
}

struct Search<'s> {
    connection: &'s mut Connection,
    query: &'s SearchQuery,
    score_keys: &'s ScoreKeys,
}

/// Ids and sort keys, in order.
type Found = Vec<(VersionId, CursorKey)>;

/// The rows of one part of a list.
struct Source {
    from: &'static str,
    id: &'static str,
    /// What the rows are sorted by, besides the id.
    keys: Vec<String>,
    /// The sort key as it is returned.
    selected: &'static str,
    conditions: Vec<String>,
}

impl Search<'_> {
    /// Returns the first versions after the cursor.
    fn find(&mut self, limit: usize) -> Result<Found, Failure> {
        let is_past_keys =
            self.query.after.as_ref().is_some_and(|after| matches!(after.key, CursorKey::Integer(None)));
        let mut found = Vec::new();
        if !is_past_keys {
            let mut values = Values::default();
            let source = self.with_key(&mut values);
            found = self.run(source, values, limit)?;
        }
        if found.len() < limit && self.may_lack_key() {
            let mut values = Values::default();
            let source = self.without_key(&mut values);
            found.extend(self.run(source, values, limit - found.len())?);
        }
        Ok(found)
    }

    /// Returns the versions with a value of the sort key.
    fn with_key(&self, values: &mut Values<'_>) -> Source {
        let models = |keys: &[&str], selected, conditions: Vec<String>| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            Source { from: "models AS v", id: "v.id", keys, selected, conditions }
        };
        match &self.query.sort.field {
            Field::Score { .. } => {
                let condition = self.is_key("d", values);
                Source {
                    from: "scores AS d JOIN models AS v ON v.id = d.version_id",
                    id: "d.version_id",
                    ..models(&["d.value"], "d.value", vec![condition])
                }
            }
            Field::Tag(_) => {
                let condition = self.is_key("d", values);
                Source {
                    from: "model_tags AS d JOIN models AS v ON v.id = d.version_id",
                    id: "d.version_id",
                    ..models(&[&first_letters("d.value"), "d.value"], "d.value", vec![condition])
                }
            }
            // As the index has it.
            Field::Attribute(Attribute::TrainingStep) => models(
                &["coalesce(v.training_step, -9223372036854775808)"],
                "v.training_step",
                vec!["v.training_step IS NOT NULL".to_owned()],
            ),
            Field::Attribute(Attribute::Frozen) => {
                models(&["v.frozen"], "v.frozen::integer::bigint", Vec::new())
            }
            Field::Attribute(attribute) => {
                let column = column(*attribute);
                let conditions =
                    if self.has_null() { vec![format!("{column} IS NOT NULL")] } else { Vec::new() };
                if is_long(column) {
                    models(&[&first_letters(column), column], column, conditions)
                } else {
                    models(&[column], column, conditions)
                }
            }
        }
    }

    /// Returns the versions without a value of the sort key.
    fn without_key(&self, values: &mut Values<'_>) -> Source {
        let condition = match &self.query.sort.field {
            Field::Score { .. } => {
                format!("NOT EXISTS (SELECT 1 FROM scores AS d WHERE d.version_id = v.id AND {})", self.is_key("d", values))
            }
            Field::Tag(_) => {
                format!("NOT EXISTS (SELECT 1 FROM model_tags AS d WHERE d.version_id = v.id AND {})", self.is_key("d", values))
            }
            // The index has absent steps by id.
            Field::Attribute(Attribute::TrainingStep) => {
                "v.training_step IS NULL AND coalesce(v.training_step, -9223372036854775808) = -9223372036854775808"
                    .to_owned()
            }
            Field::Attribute(attribute) => format!("{} IS NULL", column(*attribute)),
        };
        let conditions = vec![condition];
        Source { from: "models AS v", id: "v.id", keys: Vec::new(), selected: "NULL::bigint", conditions }
    }

    /// Returns the condition that a row of scores or tags is one of the sort key.
    fn is_key(&self, row: &str, values: &mut Values<'_>) -> String {
        match &self.query.sort.field {
            Field::Score { suite, metric } => {
                let key = self.known(None).score_key(suite, metric);
                format!("{row}.key_id = {}", values.bind(Value::integer(key)))
            }
            Field::Tag(key) => {
                let key = Value::Text(Some(tag_key(key).into()));
                format!("{row}.key = {}", values.bind(key))
            }
            Field::Attribute(_) => "true".to_owned(),
        }
    }

    fn known<'k>(&'k self, sort: Option<(&'k Field, &'static str)>) -> Known<'k> {
        Known { score_keys: self.score_keys, sort }
    }

    /// Returns true if the sort key is a column that may be null.
    fn has_null(&self) -> bool {
        use Attribute::{CreatedAt, Frozen, Label, Name, Number, Status, UpdatedAt};
        !matches!(
            self.query.sort.field,
            Field::Attribute(CreatedAt | Frozen | Label | Name | Number | Status | UpdatedAt)
        )
    }

    /// Returns true if a version without a value of the sort key may pass the filter.
    fn may_lack_key(&self) -> bool {
        let field = &self.query.sort.field;
        let is_required = conjuncts(self.query.filter.as_ref())
            .iter()
            .any(|condition| condition.field == *field && condition.test != Test::Null { negated: false });
        !is_required && self.has_null()
    }

    fn run(&mut self, source: Source, mut values: Values<'_>, limit: usize) -> Result<Found, Failure> {
        let Source { from, id, keys, selected, mut conditions } = source;
        let (direction, beyond) = match self.query.sort.order {
            Order::Descending => ("DESC", "<"),
            Order::Ascending => ("ASC", ">"),
        };
        // A cursor among the versions with a key is before all those without one.
        if let Some(after) = &self.query.after
            && keys.is_empty() == matches!(after.key, CursorKey::Integer(None))
        {
            let mut last = cursor_values(&after.key, &self.query.sort.field, keys.len(), &mut values);
            last.push(values.bind(Value::integer(after.id)));
            let keys = [&keys[..], &[id.to_owned()]].concat();
            conditions.push(format!("({}) {beyond} ({})", keys.join(", "), last.join(", ")));
        }
        if let Some(filter) = &self.query.filter {
            let field = &self.query.sort.field;
            let sort = (selected == "d.value").then_some((field, selected));
            conditions.push(self.known(sort).condition(filter, &mut values));
            conditions.extend(texts(Some(filter), &mut values));
        }
        let order: Vec<_> =
            keys.iter().map(String::as_str).chain([id]).map(|key| format!("{key} {direction}")).collect();
        let filter = if conditions.is_empty() { "" } else { " WHERE " };
        let limit = values.bind(Value::integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let sql = format!(
            "SELECT {id}, {selected} FROM {from}{filter}{} ORDER BY {} LIMIT {limit}",
            conditions.join(" AND "),
            order.join(", ")
        );
        let (field_type, has_key) = (self.query.sort.field.field_type(), !keys.is_empty());
        let mut found = Vec::new();
        self.connection.each(&Request::unprepared(&sql, &values.parameters()), &mut |row| {
            let key = if has_key { cursor_key(row, field_type)? } else { CursorKey::Integer(None) };
            found.push((row.try_get(0)?, key));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}

/// Returns placeholders for the sort key of a cursor, one for each key that the rows are sorted by.
fn cursor_values(key: &CursorKey, field: &Field, keys: usize, values: &mut Values<'_>) -> Vec<String> {
    let key = match key {
        CursorKey::Text(text) => Value::owned(text),
        CursorKey::Number(number) => Value::Real(Some(*number)),
        CursorKey::Integer(Some(flag)) if field.field_type() == FieldType::Flag => Value::Boolean(*flag != 0),
        CursorKey::Integer(number) => Value::Integer(*number),
    };
    match keys {
        0 => Vec::new(),
        1 => vec![values.bind(key)],
        _ => {
            let key = values.bind(key);
            vec![first_letters(&key), key]
        }
    }
}

fn cursor_key(row: &Row, field_type: FieldType) -> Result<CursorKey, Failure> {
    Ok(match field_type {
        FieldType::Text | FieldType::Status | FieldType::Digest | FieldType::Time => {
            CursorKey::Text(owned_text(row, 1)?)
        }
        FieldType::Integer | FieldType::Flag => CursorKey::Integer(row.try_get(1)?),
        FieldType::Number => CursorKey::Number(row.try_get(1)?),
    })
}

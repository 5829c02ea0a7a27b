//! Statements that read versions in the order of a search.
//!
//! | sort | rows in order |
//! |---|---|
//! | a score, a tag | the table `scores` or `model_tags`; then the versions without one, by id |
//! | `created_at`, `name`, `training_step`, `artifact_uri`, `run_id` | an index |
//! | `updated_at` | an index of each status, merged |
//! | any other | none: all candidates are sorted |

use registry_domain::{
    Cursor, Order, Status, Timestamp,
    filter::{Attribute, Comparator, Condition, Field, Test, Value},
    query::CursorKey,
};
use rusqlite::types::Value as SqlValue;

use super::{
    Search,
    source::{Source, conjuncts, score_key},
    translate::{Known, column, condition, tested, value},
    values::Values,
};
use crate::sqlite::schema::step_key;

/// The sort key in the table that has it.
const TABLE_KEY: &str = "d.value";

/// A statement with its parameters. Its rows are ids and sort keys.
pub(super) type Prepared = (String, Vec<SqlValue>);

/// Which part of a list to read: versions without a value of the sort key come after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    WithKey,
    WithoutKey,
}

/// The versions that may pass the filter.
pub(super) enum Candidates<'c> {
    /// Those of a condition.
    Source(&'c Source<'c>),
    /// A list of ids, in JSON.
    Ids(&'c str),
}

impl Search<'_> {
    /// Returns true if an index or a table has the versions in the order of the list.
    pub(super) fn is_indexed(&self) -> bool {
        match self.query.sort.field {
            Field::Tag(_) | Field::Score { .. } => true,
            Field::Attribute(attribute) => matches!(
                attribute,
                Attribute::CreatedAt
                    | Attribute::UpdatedAt
                    | Attribute::Name
                    | Attribute::TrainingStep
                    | Attribute::ArtifactUri
                    | Attribute::RunId
            ),
        }
    }

    /// Returns the statement that reads a part of the list along an index. With `only`, it reads only these versions.
    pub(super) fn in_order(&self, part: Part, only: Option<&Source<'_>>, limit: usize) -> Prepared {
        let mut values = Values::default();
        let field = &self.query.sort.field;
        let table = match field {
            Field::Score { suite, metric } => {
                Some(("scores", "key_id", score_key(suite, metric, &mut values)))
            }
            Field::Tag(key) => Some(("model_tags", "key", values.bind(key.clone()))),
            Field::Attribute(_) => None,
        };
        let (from, id, key, mut conditions) = match (part, table) {
            (Part::WithKey, Some((table, column, is))) => (
                format!("{table} AS d CROSS JOIN models AS v ON v.id = d.version_id"),
                "d.version_id",
                TABLE_KEY,
                vec![format!("d.{column} = {is}")],
            ),
            (Part::WithoutKey, Some((table, column, is))) => (
                "models AS v".to_owned(),
                "v.id",
                "NULL",
                vec![format!("v.id NOT IN (SELECT version_id FROM {table} WHERE {column} = {is})")],
            ),
            (part, None) => {
                let (key, conditions) = self.indexed_key(part, &mut values);
                ("models AS v".to_owned(), "v.id", key, conditions)
            }
        };
        if let Some(after) = &self.query.after
            && let Some(after) = self.after(part, after, key, id, &mut values)
        {
            conditions.push(after);
        }
        if let Some(only) = only {
            conditions.push(format!("+{id} IN ({})", only.sql(&mut values)));
        }
        if let Some(filter) = &self.query.filter {
            // The index of a column has it in the same form, but not what a filter needs of times and steps.
            let is_known = !matches!(field, Field::Attribute(_));
            let known = is_known.then_some((field, if part == Part::WithKey { key } else { "NULL" }));
            let from = self.query.after.as_ref().map(|_| self.query.sort.order);
            conditions.push(condition(filter, Known { id, key: known, from }, &mut values));
        }
        let direction = self.direction();
        let order = match part {
            Part::WithKey => format!("{key} {direction}, {id} {direction}"),
            Part::WithoutKey => format!("{id} {direction}"),
        };
        let selected = match (part, field) {
            (Part::WithoutKey, _) => "NULL",
            (_, Field::Attribute(attribute)) => column(*attribute),
            _ => key,
        };
        let select = |status: Option<Status>| {
            let status = status.map(|status| format!("v.status = '{status}'"));
            let conditions: Vec<_> = status.into_iter().chain(conditions.iter().cloned()).collect();
            let filter = if conditions.is_empty() { "" } else { " WHERE " };
            format!("SELECT {id} AS id, {selected} AS key FROM {from}{filter}{}", conditions.join(" AND "))
        };
        let limit = values.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let is_merged = *field == Field::Attribute(Attribute::UpdatedAt) && !self.has_status();
        let sql = if is_merged {
            let selects: Vec<_> = Status::ALL.into_iter().map(|status| select(Some(status))).collect();
            format!("{} ORDER BY key {direction}, id {direction} LIMIT {limit}", selects.join(" UNION ALL "))
        } else {
            format!("{} ORDER BY {order} LIMIT {limit}", select(None))
        };
        (sql, values.into_inner())
    }

    /// Returns the statement that sorts all `candidates`, or all versions.
    pub(super) fn sorted(&self, candidates: Option<Candidates<'_>>, limit: usize) -> Prepared {
        let mut values = Values::default();
        let field = &self.query.sort.field;
        let key = match field {
            Field::Attribute(attribute) => column(*attribute).to_owned(),
            field => value(field, &mut values),
        };
        let mut conditions = Vec::new();
        conditions.extend(candidates.map(|candidates| match candidates {
            Candidates::Source(source) => format!("v.id IN ({})", source.sql(&mut values)),
            Candidates::Ids(ids) => {
                format!("v.id IN (SELECT value FROM json_each({}))", values.bind(ids.to_owned()))
            }
        }));
        if let Some(filter) = &self.query.filter {
            conditions.push(condition(filter, Known { id: "v.id", key: None, from: None }, &mut values));
        }
        let filter = if conditions.is_empty() { "" } else { " WHERE " };
        // Materialized, so that the key is computed once.
        let mut sql = format!(
            "WITH found AS MATERIALIZED (SELECT v.id AS id, {key} AS key FROM models AS v{filter}{}) \
             SELECT id, key FROM found",
            conditions.join(" AND ")
        );
        if let Some(cursor) = &self.query.after {
            let with_key = self.after(Part::WithKey, cursor, "key", "id", &mut values);
            let without = self.after(Part::WithoutKey, cursor, "key", "id", &mut values);
            let without = without.map_or(String::new(), |after| format!(" AND {after}"));
            sql.push_str(&match with_key {
                Some(after) => format!(" WHERE key IS NULL{without} OR {after}"),
                None => format!(" WHERE key IS NULL{without}"),
            });
        }
        let direction = self.direction();
        let limit = values.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        sql.push_str(&format!(" ORDER BY key IS NULL, key {direction}, id {direction} LIMIT {limit}"));
        (sql, values.into_inner())
    }

    /// Returns the condition for rows of a part that come after a cursor; `None` if all of them do, or if none does
    /// because the cursor is past this part.
    fn after(&self, part: Part, cursor: &Cursor, key: &str, id: &str, values: &mut Values) -> Option<String> {
        let beyond = if self.query.sort.order == Order::Descending { "<" } else { ">" };
        let value: SqlValue = match &cursor.key {
            CursorKey::Integer(None) if part == Part::WithoutKey => {
                return Some(format!("{id} {beyond} {}", values.bind(cursor.id)));
            }
            CursorKey::Integer(None) => return None,
            _ if part == Part::WithoutKey => return None,
            CursorKey::Integer(Some(number)) => (*number).into(),
            CursorKey::Number(number) => (*number).into(),
            CursorKey::Text(text) => text.clone().into(),
        };
        let (value, last) = (values.bind(value), values.bind(cursor.id));
        let after = format!("({key}, {id}) {beyond} ({value}, {last})");
        // SQLite seeks to key and id in a table that is sorted by both. In an index it can only seek to the key, for which it
        // needs a condition of its own; that would keep it from seeking to both.
        Some(if key == TABLE_KEY { after } else { format!("{key} {beyond}= {value} AND {after}") })
    }

    /// Returns the key of an index, and the conditions by which SQLite reads a part of it.
    fn indexed_key(&self, part: Part, values: &mut Values) -> (&'static str, Vec<String>) {
        let Field::Attribute(attribute) = self.query.sort.field else { return ("NULL", Vec::new()) };
        if attribute == Attribute::TrainingStep {
            let key = concat!("ifnull(v.training_step, ", "-9223372036854775808)");
            debug_assert_eq!(key.replace("v.", ""), step_key!());
            return match part {
                Part::WithKey => (key, vec!["v.training_step IS NOT NULL".to_owned()]),
                Part::WithoutKey => (
                    key,
                    vec![format!("{key} = {}", values.bind(i64::MIN)), "v.training_step IS NULL".to_owned()],
                ),
            };
        }
        let key = column(attribute);
        let mut conditions = match (attribute, part) {
            (Attribute::RunId | Attribute::ArtifactUri, Part::WithKey) => vec![format!("{key} IS NOT NULL")],
            (_, Part::WithoutKey) => vec![format!("{key} IS NULL")],
            _ => Vec::new(),
        };
        if matches!(attribute, Attribute::CreatedAt | Attribute::UpdatedAt) {
            for condition in conjuncts(self.query.filter.as_ref()) {
                let Condition { field: Field::Attribute(of), test } = condition else { continue };
                match test {
                    Test::Compare(comparator, Value::Time(time)) if *of == attribute => {
                        conditions.extend(bounds(key, *comparator, *time, values));
                    }
                    _ if *of != attribute && self.is_driven_by(condition) => {
                        conditions.push(tested(column(*of), test, values))
                    }
                    _ => {}
                }
            }
        }
        (key, conditions)
    }

    /// Returns true if the index or the table that is read in order has only versions that meet a condition: it is on the sort
    /// key, or selects a status or a name, whose versions an index has by time.
    pub(super) fn is_driven_by(&self, condition: &Condition) -> bool {
        let is_equality = matches!(condition.test, Test::Compare(Comparator::Equal, _));
        match (&self.query.sort.field, &condition.field) {
            (sort, field) if sort == field => true,
            (
                Field::Attribute(Attribute::CreatedAt),
                Field::Attribute(Attribute::Name | Attribute::Status),
            )
            | (Field::Attribute(Attribute::UpdatedAt), Field::Attribute(Attribute::Status)) => is_equality,
            _ => false,
        }
    }

    /// Returns true if the filter selects versions of one status.
    fn has_status(&self) -> bool {
        conjuncts(self.query.filter.as_ref()).into_iter().any(|condition| {
            condition.field == Field::Attribute(Attribute::Status) && self.is_driven_by(condition)
        })
    }

    fn direction(&self) -> &'static str {
        if self.query.sort.order == Order::Descending { "DESC" } else { "ASC" }
    }
}

/// Returns bounds on the text of a time that hold for every time that compares so. A stored time may lack the fraction, or
/// have a longer one.
fn bounds(key: &str, comparator: Comparator, time: Timestamp, values: &mut Values) -> Vec<String> {
    let text = time.to_string();
    let second = text.split('.').next().unwrap_or_default().to_owned();
    // The next millisecond.
    let end = Timestamp::from_unix_millis(time.unix_millis().saturating_add(1)).to_string();
    let is_last = end == text;
    let mut bounds = Vec::new();
    if matches!(comparator, Comparator::Equal | Comparator::Greater | Comparator::GreaterOrEqual) {
        bounds.push(format!("{key} >= {}", values.bind(second)));
    }
    if !is_last && matches!(comparator, Comparator::Equal | Comparator::Less | Comparator::LessOrEqual) {
        bounds.push(format!("{key} < {}", values.bind(end)));
    }
    bounds
}

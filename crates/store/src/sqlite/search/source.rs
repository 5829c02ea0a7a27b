//! Conditions that an index can answer: each yields the ids of all versions that may pass the filter.

use registry_domain::{
    filter::{Attribute, Comparator, Condition, Field, Filter, Pattern, Piece, Test},
    text::fold,
};

use super::{
    translate::{FILES, holds_for_production, tested},
    values::Values,
};
use crate::sqlite::ngrams;

/// A condition that every version in the result must meet, and that an index, a lookup table or the text index answers.
#[derive(Debug, Clone)]
pub(super) struct Source<'q> {
    condition: &'q Condition,
    /// The FTS5 query of a pattern.
    text: Option<String>,
}

impl<'q> Source<'q> {
    /// Returns the sources of a filter: conditions that are joined by AND at its top.
    pub(super) fn all(filter: Option<&'q Filter>) -> Vec<Self> {
        conjuncts(filter).into_iter().filter_map(Self::of).collect()
    }

    fn of(condition: &'q Condition) -> Option<Self> {
        let is_equality =
            matches!(condition.test, Test::Compare(Comparator::Equal, _) | Test::In { negated: false, .. });
        let text = match (&condition.field, &condition.test) {
            (Field::Tag(_) | Field::Score { .. }, test) if *test != (Test::Null { negated: false }) => None,
            (Field::Attribute(attribute), _) if is_equality && is_indexed(*attribute) => None,
            (
                Field::Attribute(Attribute::Name | Attribute::Label | Attribute::Description),
                Test::Like { pattern, negated: false },
            ) => Some(ngrams::query(&longest_run(pattern))?),
            _ => return None,
        };
        Some(Self { condition, text })
    }

    pub(super) fn condition(&self) -> &'q Condition {
        self.condition
    }

    /// Returns the statement that selects the ids. Some may not pass the condition: the filter is checked on each row.
    pub(super) fn sql(&self, values: &mut Values) -> String {
        let Condition { field, test } = self.condition;
        if let Some(text) = &self.text {
            return format!(
                "SELECT rowid FROM model_texts WHERE model_texts MATCH {}",
                values.bind(text.clone())
            );
        }
        match field {
            Field::Attribute(Attribute::Alias) => {
                let held = format!("SELECT version_id FROM aliases WHERE {}", tested("alias", test, values));
                if holds_for_production(test) {
                    format!("{held} UNION ALL SELECT id FROM models WHERE status = 'production'")
                } else {
                    held
                }
            }
            Field::Attribute(Attribute::Sha256) => {
                format!("SELECT version_id FROM {FILES} WHERE {}", tested("sha256", test, values))
            }
            Field::Attribute(attribute) => {
                let column = attribute.as_str();
                format!("SELECT id FROM models WHERE {}", tested(column, test, values))
            }
            Field::Tag(key) => {
                let key = values.bind(key.clone());
                let value = in_range(test, values);
                format!("SELECT version_id FROM model_tags WHERE key = {key}{value}")
            }
            Field::Score { suite, metric } => {
                let key = score_key(suite, metric, values);
                let value = in_range(test, values);
                format!("SELECT version_id FROM scores WHERE key_id = {key}{value}")
            }
        }
    }
}

/// Returns SQL for the id of a score's key.
pub(super) fn score_key(suite: &str, metric: &str, values: &mut Values) -> String {
    let (suite, metric) = (values.bind(suite.to_owned()), values.bind(metric.to_owned()));
    format!("(SELECT id FROM score_keys WHERE suite = {suite} AND metric = {metric})")
}

/// Returns the conditions that are joined by AND at the top of a filter.
pub(super) fn conjuncts(filter: Option<&Filter>) -> Vec<&Condition> {
    match filter {
        None | Some(Filter::Or(_) | Filter::Not(_)) => Vec::new(),
        Some(Filter::Condition(condition)) => vec![condition],
        Some(Filter::And(parts)) => parts.iter().flat_map(|part| conjuncts(Some(part))).collect(),
    }
}

fn is_indexed(attribute: Attribute) -> bool {
    matches!(
        attribute,
        Attribute::Name
            | Attribute::Status
            | Attribute::Alias
            | Attribute::ArtifactUri
            | Attribute::RunId
            | Attribute::Sha256
    )
}

/// Returns the condition on the column `value` if it selects a range of the index; else all values are candidates.
fn in_range(test: &Test, values: &mut Values) -> String {
    match test {
        Test::Compare(Comparator::NotEqual, _) | Test::In { negated: true, .. } => String::new(),
        Test::Compare(..) | Test::In { .. } => format!(" AND {}", tested("value", test, values)),
        Test::Like { .. } | Test::Null { .. } => String::new(),
    }
}

/// Returns the longest text that whatever matches the pattern contains, folded.
fn longest_run(pattern: &Pattern) -> String {
    let mut runs = vec![String::new()];
    for piece in pattern.pieces() {
        match (piece, runs.last_mut()) {
            (Piece::Char(c), Some(run)) => run.push(*c),
            _ => runs.push(String::new()),
        }
    }
    fold(&runs.into_iter().max_by_key(|run| run.chars().count()).unwrap_or_default())
}

//! Translates a filter into a SQL condition on the row `v` of `models`.
//!
//! Columns have a `+` before them, so that SQLite uses no index for the condition: [`plan`](super::plan) chooses how rows
//! are found, and the condition only decides which of them pass.

use registry_domain::filter::{Attribute, Condition, Field, Filter, Test, Value};

use super::values::Values;

/// The column of the driving table that already has the value of the sort key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownKey<'q> {
    pub(super) field: &'q Field,
    /// SQL for its value.
    pub(super) sql: &'static str,
}

/// Returns the condition, which is true for exactly the versions that pass. It may be null instead of false.
pub(super) fn condition(filter: &Filter, key: Option<KnownKey<'_>>, values: &mut Values) -> String {
    let mut joined = |parts: &[Filter], operator: &str| {
        let parts: Vec<_> = parts.iter().map(|part| condition(part, key, values)).collect();
        format!("({})", parts.join(operator))
    };
    match filter {
        Filter::And(parts) => joined(parts, " AND "),
        Filter::Or(parts) => joined(parts, " OR "),
        // NOT null would be null.
        Filter::Not(part) => format!("NOT ({} IS TRUE)", condition(part, key, values)),
        Filter::Condition(Condition { field, test }) => {
            if let Some(key) = key.filter(|key| key.field == field) {
                return tested(key.sql, test, values);
            }
            match (field, test) {
                (Field::Attribute(Attribute::Alias), _) => alias(test, values),
                (Field::Attribute(Attribute::Sha256), _) => any_file(test, values),
                (
                    Field::Tag(key),
                    Test::Compare(registry_domain::filter::Comparator::Equal, _)
                    | Test::In { negated: false, .. },
                ) => {
                    let key = values.bind(key.clone());
                    let value = tested("t.value", test, values);
                    format!(
                        "EXISTS (SELECT 1 FROM model_tags AS t WHERE t.key = {key} AND {value} AND t.version_id = v.id)"
                    )
                }
                _ => {
                    let value = value(field, values);
                    tested(&value, test, values)
                }
            }
        }
    }
}

/// Returns SQL for the value of a field that has at most one; null if it has none.
pub(super) fn value(field: &Field, values: &mut Values) -> String {
    match field {
        Field::Tag(key) => format!("tag_of(v.tags, v.properties, {})", values.bind(key.clone())),
        Field::Score { suite, metric } => {
            let (suite, metric) = (values.bind(suite.clone()), values.bind(metric.clone()));
            format!("score_of(v.metrics, {suite}, {metric})")
        }
        Field::Attribute(attribute @ (Attribute::CreatedAt | Attribute::UpdatedAt)) => {
            format!("millis({})", column(*attribute))
        }
        Field::Attribute(attribute) => format!("+{}", column(*attribute)),
    }
}

/// Returns the column of a field that has one.
pub(super) fn column(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Name => "v.name",
        Attribute::Label => "v.version",
        Attribute::Number => "v.number",
        Attribute::Status => "v.status",
        Attribute::ArtifactUri => "v.artifact_uri",
        Attribute::SizeBytes => "v.checkpoint_size_bytes",
        Attribute::RunId => "v.run_id",
        Attribute::GitCommit => "v.git_commit",
        Attribute::CreatedBy => "v.created_by",
        Attribute::SourceHost => "v.source_host",
        Attribute::Frozen => "v.frozen",
        Attribute::DModel => "v.d_model",
        Attribute::NLayers => "v.n_layers",
        Attribute::NHeads => "v.n_heads",
        Attribute::VocabSize => "v.vocab_size",
        Attribute::Params => "v.params",
        Attribute::TrainingStep => "v.training_step",
        Attribute::TrainingLoss => "v.training_loss",
        Attribute::Dataset => "v.dataset",
        Attribute::Description => "v.description",
        Attribute::CreatedAt => "v.created_at",
        Attribute::UpdatedAt => "v.updated_at",
        // They have several values, so they are neither compared nor sorted by.
        Attribute::Alias | Attribute::Sha256 => "null",
    }
}

/// Returns the condition that a value passes a test.
pub(super) fn tested(value: &str, test: &Test, values: &mut Values) -> String {
    let not = |negated: &bool| if *negated { "NOT " } else { "" };
    match test {
        Test::Compare(comparator, operand) => {
            format!("{value} {} {}", comparator.as_str(), values.bind_value(operand))
        }
        Test::In { values: list, negated } => {
            format!("{value} {}IN ({})", not(negated), values.bind_all(list))
        }
        Test::Like { pattern, negated } => {
            let text = values.bind(pattern.escaped());
            let ignores_case = values.bind(pattern.ignores_case());
            format!("{}fits({value}, {text}, {ignores_case})", not(negated))
        }
        Test::Null { negated } => format!("{value} IS {}NULL", not(negated)),
    }
}

/// Tests the aliases of a version, one of which is `production`.
fn alias(test: &Test, values: &mut Values) -> String {
    const NONE: &str = "v.status != 'production' AND NOT EXISTS (SELECT 1 FROM aliases AS a \
        WHERE a.model_key = v.model_key AND a.version_id = v.id)";
    if let Test::Null { negated } = test {
        return format!("{}({NONE})", if *negated { "NOT " } else { "" });
    }
    let production = test.holds(&[Value::Text("production".to_owned())]);
    let one = tested("a.alias", test, values);
    let held = format!(
        "EXISTS (SELECT 1 FROM aliases AS a WHERE a.model_key = v.model_key AND a.version_id = v.id AND {one})"
    );
    if production { format!("(v.status = 'production' OR {held})") } else { held }
}

/// Tests the digests of a version's files.
fn any_file(test: &Test, values: &mut Values) -> String {
    let (not, test) = match test {
        Test::Null { negated: false } => ("NOT ", &Test::Null { negated: true }),
        test => ("", test),
    };
    let one = tested("f.sha256", test, values);
    format!("{not}EXISTS (SELECT 1 FROM version_files AS f WHERE f.version_id = v.id AND {one})")
}

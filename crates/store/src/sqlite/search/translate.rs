//! Translates a filter into a SQL condition on the row `v` of `models`.
//!
//! Columns have a `+` before them, so that SQLite uses no index for the condition: [`order`](super::order) chooses how
//! rows are found, and the condition only decides which of them pass.

use registry_domain::{
    Order, PRODUCTION_ALIAS,
    filter::{Attribute, Comparator, Condition, Field, Filter, Test, Value},
};

use super::values::Values;

/// What a condition can read without the row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'q> {
    /// SQL for the id. Conditions that need no more are checked before SQLite reads the row.
    pub(super) id: &'static str,
    /// The field of the sort key with SQL for its value, if a column of another table has it.
    pub(super) key: Option<(&'q Field, &'static str)>,
    /// The direction of a scan that begins after a cursor. The filter's bound on that side is then always met, and SQLite
    /// must begin at the cursor instead.
    pub(super) from: Option<Order>,
}

/// Returns the condition, which is true for exactly the versions that pass. It may be null instead of false.
pub(super) fn condition(filter: &Filter, known: Known<'_>, values: &mut Values) -> String {
    let mut joined = |parts: &[Filter], operator: &str| {
        let mut parts: Vec<_> = parts.iter().collect();
        parts.sort_by_key(|part| cost(part));
        let parts: Vec<_> = parts.into_iter().map(|part| condition(part, known, values)).collect();
        format!("({})", parts.join(operator))
    };
    match filter {
        Filter::And(parts) => joined(parts, " AND "),
        Filter::Or(parts) => joined(parts, " OR "),
        // NOT null would be null, and IS binds tighter than NOT.
        Filter::Not(part) => format!("NOT (({}) IS TRUE)", condition(part, known, values)),
        Filter::Condition(Condition { field, test }) => match (field, test) {
            (field, test) if known.key.is_some_and(|(key, _)| key == field) => {
                let is_start = matches!(
                    (known.from, test),
                    (Some(Order::Descending), Test::Compare(Comparator::Less | Comparator::LessOrEqual, _))
                        | (
                            Some(Order::Ascending),
                            Test::Compare(Comparator::Greater | Comparator::GreaterOrEqual, _)
                        )
                );
                let sql = known.key.map_or("NULL", |(_, sql)| sql);
                tested(&format!("{}{sql}", if is_start { "+" } else { "" }), test, values)
            }
            (Field::Attribute(Attribute::Alias), _) => alias(test, values),
            (Field::Attribute(Attribute::Sha256), _) => any_file(test, known.id, values),
            (Field::Tag(key), Test::Compare(Comparator::Equal, _) | Test::In { negated: false, .. }) => {
                let key = values.bind(key.clone());
                let value = tested("t.value", test, values);
                format!(
                    "EXISTS (SELECT 1 FROM model_tags AS t WHERE t.key = {key} AND {value} \
                     AND t.version_id = {})",
                    known.id
                )
            }
            _ => {
                let value = value(field, values);
                tested(&value, test, values)
            }
        },
    }
}

/// Orders conditions by what they cost: SQLite checks them from left to right, and the JSON of a row is slow to parse.
fn cost(filter: &Filter) -> u8 {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(cost).max().unwrap_or(0),
        Filter::Not(part) => cost(part),
        Filter::Condition(Condition { field, test }) => match (field, test) {
            (Field::Score { .. }, _) => 3,
            (Field::Tag(_), _) => 2,
            (_, Test::Like { .. }) => 1,
            _ => 0,
        },
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
    let one = tested("a.alias", test, values);
    let held = format!(
        "EXISTS (SELECT 1 FROM aliases AS a WHERE a.model_key = v.model_key AND a.version_id = v.id AND {one})"
    );
    if holds_for_production(test) { format!("(v.status = 'production' OR {held})") } else { held }
}

/// Returns true if the alias of the production version, which no table has, passes the test.
pub(super) fn holds_for_production(test: &Test) -> bool {
    test.holds(&[Value::Text(PRODUCTION_ALIAS.to_owned())])
}

/// The files of all versions: those in rows of versions, and those of manifests.
pub(super) const FILES: &str = "(SELECT version_id, sha256 FROM version_files WHERE sha256 IS NOT NULL \
    UNION ALL SELECT version_id, sha256 FROM manifest_files)";

/// Tests the digests of a version's files.
fn any_file(test: &Test, id: &str, values: &mut Values) -> String {
    let (not, test) = match test {
        Test::Null { negated: false } => ("NOT ", &Test::Null { negated: true }),
        test => ("", test),
    };
    let one = tested("f.sha256", test, values);
    format!("{not}EXISTS (SELECT 1 FROM {FILES} AS f WHERE f.version_id = {id} AND {one})")
}

//! Translates a filter into a SQL condition on the row `v` of `models`. Values reach it as parameters only.

use std::collections::HashMap;

use registry_domain::{
    PRODUCTION_ALIAS, Timestamp,
    filter::{Attribute, Comparator, Condition, Field, Filter, Pattern, Piece, Test, Value},
    text::fold,
};

use super::{
    super::{
        lists::NGRAM_CHARS,
        lookup::{self, tag_key},
        rows::{self, Values},
        text::{by_letter, encoded, pattern_by_letter},
    },
    case,
};

/// What a condition needs to know besides the filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    /// The ids of the scores' keys that exist.
    pub(super) score_keys: &'k HashMap<(String, String), i64>,
    /// The field of the sort key with SQL for its value, if the statement reads it from another table.
    pub(super) sort: Option<(&'k Field, &'static str)>,
}

/// The files of a version: those in its row, and those of its manifest.
const FILES: &str = "(SELECT version_id, sha256 FROM version_files \
    UNION ALL SELECT version_id, sha256 FROM manifest_files) AS r WHERE r.version_id = v.id";

impl Known<'_> {
    /// Returns the id of a score's key; 0, which no key has, if no version ever had this score.
    pub(super) fn score_key(&self, suite: &str, metric: &str) -> i64 {
        self.score_keys.get(&(suite.to_owned(), metric.to_owned())).copied().unwrap_or(0)
    }

    /// Returns the condition, which is true for exactly the versions that pass. It may be null instead of false.
    pub(super) fn condition(&self, filter: &Filter, values: &mut Values<'_>) -> String {
        let mut joined = |parts: &[Filter], operator: &str| {
            let parts: Vec<_> = parts.iter().map(|part| self.condition(part, values)).collect();
            format!("({})", parts.join(operator))
        };
        match filter {
            Filter::And(parts) => joined(parts, " AND "),
            Filter::Or(parts) => joined(parts, " OR "),
            // NOT null would be null.
            Filter::Not(part) => format!("NOT (({}) IS TRUE)", self.condition(part, values)),
            Filter::Condition(Condition { field, test }) => match (field, self.sort) {
                (field, Some((sort, sql))) if field == sort => tested(sql, test, values),
                (Field::Attribute(Attribute::Alias), _) => alias(test, values),
                (Field::Attribute(Attribute::Sha256), _) => in_rows(FILES, "r.sha256", test, values),
                (Field::Attribute(attribute), _) => of_column(*attribute, test, values),
                (Field::Tag(key), _) => {
                    let key = values.bind(rows::Value::Text(Some(tag_key(key).into())));
                    let from = format!("model_tags AS r WHERE r.version_id = v.id AND r.key = {key}");
                    in_rows(&from, "r.value", test, values)
                }
                (Field::Score { suite, metric }, _) => {
                    let key = values.bind(rows::Value::integer(self.score_key(suite, metric)));
                    let from = format!("scores AS r WHERE r.version_id = v.id AND r.key_id = {key}");
                    in_rows(&from, "r.value", test, values)
                }
            },
        }
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
        Attribute::Alias | Attribute::Sha256 => "null::text",
    }
}

/// Returns true if an index has only the first letters of the text.
pub(super) fn is_long(value: &str) -> bool {
    ["v.artifact_uri", "v.run_id", "r.value", "d.value"].contains(&value)
}

/// Letters of a long text that its index has.
const INDEXED_LETTERS: usize = 200;

/// Returns what the index on a long text has.
pub(super) fn first_letters(value: &str) -> String {
    format!("left({value}, {INDEXED_LETTERS})")
}

/// Returns true if only the text itself begins with these first letters. Comparing the whole text too would make the planner
/// expect fewer rows: it takes the two for independent.
fn is_indexed_whole(text: &str) -> bool {
    encoded(text).chars().count() < INDEXED_LETTERS
}

fn of_column(attribute: Attribute, test: &Test, values: &mut Values<'_>) -> String {
    let column = column(attribute);
    if !matches!(attribute, Attribute::CreatedAt | Attribute::UpdatedAt) {
        return tested(column, test, values);
    }
    // Old rows may lack the fraction, or have a longer one; it counts to the millisecond.
    let millis = format!(
        "rpad(left(CASE WHEN length({column}) = 19 THEN {column} || '.' ELSE {column} END, 23), 23, '0')"
    );
    let mut conditions = vec![tested(&millis, test, values)];
    if let Test::Compare(comparator, Value::Time(time)) = test {
        conditions.extend(bounds(column, *comparator, *time, values));
    }
    format!("({})", conditions.join(" AND "))
}

/// Returns bounds on the text of a time, which an index can answer, that hold for every time that compares so.
fn bounds(column: &str, comparator: Comparator, time: Timestamp, values: &mut Values<'_>) -> Vec<String> {
    let text = time.to_string();
    let second = text.split('.').next().unwrap_or_default();
    // The next millisecond.
    let end = Timestamp::from_unix_millis(time.unix_millis().saturating_add(1)).to_string();
    let mut bounds = Vec::new();
    if matches!(comparator, Comparator::Equal | Comparator::Greater | Comparator::GreaterOrEqual) {
        bounds.push(format!("{column} >= {}", values.bind(rows::Value::owned(second))));
    }
    if end != text && matches!(comparator, Comparator::Equal | Comparator::Less | Comparator::LessOrEqual) {
        bounds.push(format!("{column} < {}", values.bind(rows::Value::owned(&end))));
    }
    bounds
}

/// Returns the condition that a value passes a test.
pub(super) fn tested(value: &str, test: &Test, values: &mut Values<'_>) -> String {
    let not = |negated: &bool| if *negated { "NOT " } else { "" };
    match test {
        Test::Compare(Comparator::Equal, Value::Text(text)) if is_long(value) => {
            let is_whole = is_indexed_whole(text);
            let text = values.bind(rows::Value::owned(text));
            if is_whole {
                return format!("{} = {text}", first_letters(value));
            }
            format!("({} = {} AND {value} = {text})", first_letters(value), first_letters(&text))
        }
        Test::Compare(comparator, operand) => {
            format!("{value} {} {}", comparator.as_str(), values.bind(bound(operand)))
        }
        Test::In { values: list, negated } => {
            let list: Vec<_> = list.iter().map(|operand| values.bind(bound(operand))).collect();
            let is_in = format!("{value} {}IN ({})", not(negated), list.join(", "));
            let is_text =
                matches!(test, Test::In { values, .. } if matches!(values.first(), Some(Value::Text(_))));
            if *negated || !is_text || !is_long(value) {
                return is_in;
            }
            let first: Vec<_> = list.iter().map(|text| first_letters(text)).collect();
            format!("({} IN ({}) AND {is_in})", first_letters(value), first.join(", "))
        }
        Test::Like { pattern, negated } => {
            let counts_letters = pattern.pieces().contains(&Piece::AnyChar);
            let (mut value, mut text) = (value.to_owned(), encoded(&pattern.escaped()).into_owned());
            if counts_letters {
                (value, text) = (by_letter(&value), pattern_by_letter(&pattern.escaped()));
            }
            if pattern.ignores_case() {
                value = case::folded(&value, &literals(pattern), counts_letters, values);
            }
            format!("{value} {}LIKE {}", not(negated), values.bind(rows::Value::Text(Some(text.into()))))
        }
        Test::Null { negated } => format!("{value} IS {}NULL", not(negated)),
    }
}

fn bound(value: &Value) -> rows::Value<'static> {
    match value {
        Value::Text(text) => rows::Value::owned(text),
        Value::Integer(number) => rows::Value::integer(*number),
        Value::Number(number) => rows::Value::Real(Some(*number)),
        Value::Flag(flag) => rows::Value::Boolean(*flag),
        Value::Time(time) => rows::Value::owned(&time.to_string()),
    }
}

/// Tests the value in rows of another table, of which a version has none, one, or, of files, several.
fn in_rows(from: &str, value: &str, test: &Test, values: &mut Values<'_>) -> String {
    let (not, test) = match test {
        Test::Null { negated: false } => ("NOT ", &Test::Null { negated: true }),
        test => ("", test),
    };
    format!("{not}EXISTS (SELECT 1 FROM {from} AND {})", tested(value, test, values))
}

/// Tests the value in rows of tags.
pub(super) fn tag_rows(from: &str, test: &Test, values: &mut Values<'_>) -> String {
    in_rows(from, "r.value", test, values)
}

/// Tests the aliases of a version, one of which is `production`.
fn alias(test: &Test, values: &mut Values<'_>) -> String {
    const HELD: &str = "aliases AS r WHERE r.version_id = v.id";
    if let Test::Null { negated } = test {
        let not = if *negated { "NOT " } else { "" };
        return format!("{not}(v.status <> 'production' AND NOT EXISTS (SELECT 1 FROM {HELD}))");
    }
    let held = in_rows(HELD, "r.alias", test, values);
    // No table has the alias of the production version.
    if test.holds(&[Value::Text(PRODUCTION_ALIAS.to_owned())]) {
        format!("(v.status = 'production' OR {held})")
    } else {
        held
    }
}

/// Returns a condition that the index of texts can answer, and that every version meets which passes the filter.
pub(super) fn texts(filter: Option<&Filter>, values: &mut Values<'_>) -> Vec<String> {
    use Attribute::{Description, Label, Name};
    let run = |condition: &Condition| match condition {
        Condition {
            field: Field::Attribute(Name | Label | Description),
            test: Test::Like { pattern, negated: false },
        } => Some(longest_run(pattern)).filter(|run| run.chars().count() >= NGRAM_CHARS),
        _ => None,
    };
    let runs = conjuncts(filter).into_iter().filter_map(run);
    let condition = |run: String| {
        let pattern = values.bind(rows::Value::Text(Some(lookup::pattern(&run).into())));
        format!("v.id IN (SELECT version_id FROM model_texts WHERE folded LIKE {pattern})")
    };
    runs.map(condition).collect()
}

/// Returns the conditions that are joined by AND at the top of a filter.
pub(super) fn conjuncts(filter: Option<&Filter>) -> Vec<&Condition> {
    match filter {
        None | Some(Filter::Or(_) | Filter::Not(_)) => Vec::new(),
        Some(Filter::Condition(condition)) => vec![condition],
        Some(Filter::And(parts)) => parts.iter().flat_map(|part| conjuncts(Some(part))).collect(),
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

fn literals(pattern: &Pattern) -> String {
    let literal = |piece: &Piece| match piece {
        Piece::Char(c) => Some(*c),
        Piece::AnyChar | Piece::AnyText => None,
    };
    pattern.pieces().iter().filter_map(literal).collect()
}

/// Returns the scores that a filter names.
pub(super) fn scores_of(filter: &Filter) -> Vec<(&str, &str)> {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(scores_of).collect(),
        Filter::Not(part) => scores_of(part),
        Filter::Condition(Condition { field: Field::Score { suite, metric }, .. }) => vec![(suite, metric)],
        Filter::Condition(_) => Vec::new(),
    }
}

//! MLflow's `filter_string` and `order_by`, mapped onto our filters and sort keys.
//!
//! A `filter_string` is a conjunction of comparisons: no `OR`, `NOT` or parentheses, which MLflow's server refuses and its clients
//! rely on. What differs from our grammar is decided here, so that stores know one kind of filter:
//!
//! - Quotes and backslashes in texts are kept, and patterns have no escape.
//! - An absent `run_id` is an empty one.
//! - [Prompts](PROMPT_TAG) are hidden unless a condition asks for them.
//! - Models whose names MLflow can't address (`a/b`, `a:b`) are not found.
//! - `scores.SUITE.METRIC`, which MLflow's server does not have, is compared as in our grammar.
//!
//! Refusals have MLflow's wording, which its clients' users know. This module must not know how a search runs.

mod lexer;
mod order;

use lexer::{Kind, Token, tokens};
pub use order::parse_order;

use super::{
    field::{Attribute, Field, Scope},
    parser::{MAX_CONDITIONS, MAX_FILTER_BYTES, MAX_LIST_VALUES, MAX_PATTERN_CHARS},
    pattern::Pattern,
    tree::{Comparator, Condition, Filter, Test},
    value::Value,
};
use crate::{mlflow::PROMPT_TAG, refusal::Refusal};

/// What a search of MLflow's selects.
#[derive(Debug, Clone, PartialEq)]
pub struct MlflowFilter {
    /// The conditions; `None` selects everything.
    pub filter: Option<Filter>,
    /// True if prompts, and versions of prompts, are found too.
    pub with_prompts: bool,
}

/// Parses a `filter_string`. An empty one selects everything; blank text is an error.
///
/// # Errors
/// [`Refusal::Invalid`] if MLflow's server refuses it, or if it is over a bound of our grammar.
pub fn parse_filter(text: &str, scope: Scope) -> Result<MlflowFilter, Refusal> {
    if text.len() > MAX_FILTER_BYTES {
        let bytes = text.len();
        return Err(invalid(format!(
            "the filter has {bytes} bytes, and at most {MAX_FILTER_BYTES} are allowed"
        )));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() && !text.is_empty() {
        return Err(invalid(format!("Invalid filter '{text}'. Could not be parsed.")));
    }
    let mut conditions = Vec::new();
    for clause in clauses(text, &tokens)? {
        if conditions.len() == MAX_CONDITIONS {
            return Err(invalid(format!("a filter has at most {MAX_CONDITIONS} conditions")));
        }
        conditions.push(clause.condition(text, scope)?);
    }
    let is_of_prompts = |filter: &Filter| matches!(filter, Filter::Condition(Condition { field: Field::Tag(key), .. }) if key == PROMPT_TAG);
    let with_prompts = conditions.iter().find(|filter| is_of_prompts(filter)).is_some_and(asks_for_prompts);
    if !with_prompts {
        conditions.retain(|filter| !is_of_prompts(filter));
    }
    conditions.extend(["%/%", "%:%"].map(|pattern| {
        let test = Test::Like { pattern: Pattern::new(pattern, false), negated: true };
        Filter::Condition(Condition { field: Field::Attribute(Attribute::Name), test })
    }));
    Ok(MlflowFilter { filter: Some(Filter::And(conditions)), with_prompts })
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::Invalid(message.into())
}

/// Returns true if the condition, which is on [`PROMPT_TAG`], is `= 'true'` or `!= 'false'`.
fn asks_for_prompts(filter: &Filter) -> bool {
    let Filter::Condition(Condition { test: Test::Compare(comparator, Value::Text(value)), .. }) = filter
    else {
        return false;
    };
    match comparator {
        Comparator::Equal => value.eq_ignore_ascii_case("true"),
        Comparator::NotEqual => value.eq_ignore_ascii_case("false"),
        _ => false,
    }
}

/// A comparison of three tokens.
struct Clause<'t> {
    left: Token<'t>,
    comparator: Token<'t>,
    right: Token<'t>,
}

/// Finds the comparisons, between which there is `AND`.
fn clauses<'t>(text: &str, tokens: &[Token<'t>]) -> Result<Vec<Clause<'t>>, Refusal> {
    let (mut clauses, mut others) = (Vec::new(), Vec::new());
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        if let [left, comparator, right, behind @ ..] = rest
            && comparator.kind == Kind::Comparator
            && is_operand(left)
            && is_operand(right)
            && (!is_list(comparator) || right.kind == Kind::Parenthesis)
        {
            // SQL would take a name behind a comparison for its alias.
            if let Some(alias) = behind.first().filter(|token| token.kind == Kind::Name) {
                others.push(text.get(left.start..alias.end()).unwrap_or(left.text));
                rest = behind.get(1..).unwrap_or_default();
                continue;
            }
            clauses.push(Clause { left: *left, comparator: *comparator, right: *right });
            rest = behind;
            continue;
        }
        if first.text == ";" && !after.is_empty() {
            return Err(invalid(format!(
                "Search filter contained multiple expression \"{text}\". Provide AND-ed expression list."
            )));
        }
        if !first.is_keyword("AND") {
            others.push(first.text);
        }
        rest = after;
    }
    if others.is_empty() {
        return Ok(clauses);
    }
    Err(invalid(format!("Invalid clause(s) in filter string: {}", others.join(", "))))
}

fn is_operand(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Name | Kind::Text | Kind::Integer | Kind::Decimal | Kind::Parenthesis)
        || token.is_keyword("NULL")
}

fn is_list(comparator: &Token<'_>) -> bool {
    comparator.text.split_whitespace().next_back().is_some_and(|word| word.eq_ignore_ascii_case("IN"))
}

impl Clause<'_> {
    fn condition(&self, text: &str, scope: Scope) -> Result<Filter, Refusal> {
        if self.left.kind != Kind::Name {
            let found = self.left.text;
            return Err(invalid(format!("Invalid comparison clause. Expected 'Identifier' found '{found}'")));
        }
        match self.left.text.split_once('.') {
            None => self.on_attribute(self.left.text, scope),
            Some(("attribute", key)) => self.on_attribute(key, scope),
            Some(("tag" | "tags", key)) => self.on_tag(key),
            Some(("scores", _)) if scope == Scope::Versions => {
                let clause = text.get(self.left.start..self.right.end()).unwrap_or_default();
                Filter::parse(clause, scope).map_err(|error| invalid(error.to_string()))
            }
            Some((entity, _)) => Err(invalid(format!(
                "Invalid entity type '{entity}'. Valid entity types are ('attribute', 'tag', 'tags')"
            ))),
        }
    }

    fn on_tag(&self, key: &str) -> Result<Filter, Refusal> {
        let value = match self.right.kind {
            Kind::Text | Kind::Name => self.text()?,
            _ => {
                let found = self.right.text;
                return Err(invalid(format!(
                    "Expected a quoted string value for tag (e.g. 'my-value'). Got value {found}"
                )));
            }
        };
        let key = unquoted(key).unwrap_or(key);
        let key = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')).unwrap_or(key);
        let test = self.text_test(value)?.ok_or_else(|| self.refused("tag"))?;
        Ok(Filter::Condition(Condition { field: Field::Tag(key.to_owned()), test }))
    }

    fn on_attribute(&self, key: &str, scope: Scope) -> Result<Filter, Refusal> {
        let attribute = match (key, scope) {
            ("name", _) => Attribute::Name,
            ("run_id", Scope::Versions) => Attribute::RunId,
            ("source_path", Scope::Versions) => Attribute::ArtifactUri,
            ("version_number", Scope::Versions) => Attribute::Number,
            _ => {
                let keys = match scope {
                    Scope::Models => "name",
                    Scope::Versions => "name, run_id, source_path, version_number",
                };
                return Err(invalid(format!(
                    "Invalid attribute key '{key}' specified. Valid keys are {keys}"
                )));
            }
        };
        let has_list = self.right.kind == Kind::Parenthesis;
        if has_list && !matches!(attribute, Attribute::Name | Attribute::RunId) {
            return Err(invalid(
                "Only ['name', 'run_id'] attributes support comparison with a list of quoted string values.",
            ));
        }
        let field = Field::Attribute(attribute);
        if attribute == Attribute::Number {
            return Ok(Filter::Condition(Condition { field, test: self.number_test(key)? }));
        }
        let test = match self.right.kind {
            Kind::Text | Kind::Name => self.text_test(self.text()?)?,
            Kind::Parenthesis => self.list_test()?,
            Kind::Integer | Kind::Decimal if scope == Scope::Versions => {
                return Err(invalid(
                    "Only the 'version_number' attribute supports comparison with numeric values.",
                ));
            }
            _ => {
                let found = self.right.text;
                return Err(invalid(format!(
                    "Expected a quoted string value or a list of quoted string values for attributes. Got value {found}"
                )));
            }
        };
        let test = test.ok_or_else(|| self.refused("attribute"))?;
        // What has no run has an empty one.
        let or_absent = attribute == Attribute::RunId && test.holds(&[Value::Text(String::new())]);
        let present = Filter::Condition(Condition { field: field.clone(), test });
        if !or_absent {
            return Ok(present);
        }
        let absent = Filter::Condition(Condition { field, test: Test::Null { negated: false } });
        Ok(Filter::Or(vec![absent, present]))
    }

    fn refused(&self, of: &str) -> Refusal {
        invalid(format!("Invalid comparator for {of}: {}", self.operator()))
    }

    fn operator(&self) -> String {
        self.comparator.text.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase()
    }

    /// Returns the text on the right, between quotes of either kind.
    fn text(&self) -> Result<&str, Refusal> {
        unquoted(self.right.text).ok_or_else(|| {
            invalid(format!(
                "Parameter value is either not quoted or unidentified quote types used for string value {}. Use either \
                 single or double quotes.",
                self.right.text
            ))
        })
    }

    /// Returns the test for a text; `None` if the comparator is not one for texts.
    fn text_test(&self, value: &str) -> Result<Option<Test>, Refusal> {
        let operator = self.operator();
        if !matches!(operator.as_str(), "LIKE" | "ILIKE") {
            let comparator = Comparator::parse(&operator)
                .filter(|comparator| matches!(comparator, Comparator::Equal | Comparator::NotEqual));
            return Ok(comparator.map(|comparator| Test::Compare(comparator, Value::Text(value.to_owned()))));
        }
        if value.chars().count() > MAX_PATTERN_CHARS {
            return Err(invalid(format!("a pattern has at most {MAX_PATTERN_CHARS} characters")));
        }
        let pattern = Pattern::without_escapes(value, operator == "ILIKE");
        Ok(Some(Test::Like { pattern, negated: false }))
    }

    /// Returns the test for a list of texts; `None` if the comparator is not one for lists.
    fn list_test(&self) -> Result<Option<Test>, Refusal> {
        const LIST: &str = "While parsing a list in the query, expected ";
        let list = self.right.text;
        let inner = list.strip_prefix('(').and_then(|list| list.strip_suffix(')')).unwrap_or_default();
        let items = tokens(inner)?;
        if items.is_empty() {
            return Err(invalid(format!("{LIST}a non-empty list of string values, but got empty list")));
        }
        let mut values = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let is_comma = at % 2 == 1;
            match (is_comma, item.kind) {
                (true, _) if item.text == "," => {}
                (false, Kind::Integer | Kind::Decimal) => {
                    return Err(invalid(format!(
                        "{LIST}string value, punctuation, or whitespace, but got different type in list: {list}"
                    )));
                }
                (false, Kind::Text | Kind::Name) if let Some(text) = unquoted(item.text) => {
                    values.push(Value::Text(text.to_owned()));
                }
                _ => {
                    return Err(invalid(format!(
                        "{LIST}a non-empty list of string values, but got ill-formed list."
                    )));
                }
            }
        }
        if values.len() > MAX_LIST_VALUES {
            return Err(invalid(format!("a list has at most {MAX_LIST_VALUES} values")));
        }
        Ok(is_list(&self.comparator)
            .then(|| Test::In { values, negated: self.operator().starts_with("NOT") }))
    }

    fn number_test(&self, key: &str) -> Result<Test, Refusal> {
        let shown = match self.right.kind {
            Kind::Text | Kind::Name => format!("'{}'", self.text()?),
            _ => self.right.text.to_owned(),
        };
        let comparator = Comparator::parse(&self.operator())
            .ok_or_else(|| invalid(format!("Invalid comparator for attribute {key}: {}", self.operator())))?;
        let text = unquoted(self.right.text).unwrap_or(self.right.text);
        let number = text.trim().parse().ok().filter(|_| self.right.kind != Kind::Decimal);
        let number =
            number.ok_or_else(|| invalid(format!("Invalid value for numeric attribute '{key}': {shown}")))?;
        Ok(Test::Compare(comparator, Value::Integer(number)))
    }
}

/// Returns what is between single or double quotes.
fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

#[cfg(test)]
mod tests;

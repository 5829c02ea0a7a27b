//! The syntax tree of a filter, and what it means.

use std::cmp::Ordering;

use super::{field::Field, pattern::Pattern, value::Value};
use crate::text_enum::text_enum;

/// A filter, parsed by [`Filter::parse`]. Its `Display` form parses to the same filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All of them hold; at least two.
    And(Vec<Filter>),
    /// One of them holds; at least two.
    Or(Vec<Filter>),
    /// It does not hold. An absent field makes a condition false, so SQL's NULL must not pass through.
    Not(Box<Filter>),
    /// One condition.
    Condition(Condition),
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: Field,
    /// The test of its values, which have the type of the field.
    pub test: Test,
}

/// A test of the values of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// A value compares so.
    Compare(Comparator, Value),
    /// A value is in the list, which is not empty; or is not in it.
    In {
        /// The list.
        values: Vec<Value>,
        /// True for `NOT IN`.
        negated: bool,
    },
    /// A value matches the pattern, or does not match it.
    Like {
        /// The pattern.
        pattern: Pattern,
        /// True for `NOT LIKE` and `NOT ILIKE`.
        negated: bool,
    },
    /// There is no value, or there is one.
    Null {
        /// True for `IS NOT NULL`.
        negated: bool,
    },
}

text_enum! {
    /// A comparison of two values. Texts compare by code point, false is less than true.
    #[allow(missing_docs, reason = "the names are self-explanatory")]
    Comparator {
        Equal = "=",
        NotEqual = "!=",
        Less = "<",
        LessOrEqual = "<=",
        Greater = ">",
        GreaterOrEqual = ">=",
    }
}

impl Filter {
    /// Returns true if the filter holds for an item, whose values `read` returns: none if the field is absent, and
    /// several only if it [is multiple](Field::is_multiple).
    ///
    /// This defines the filter; a store's SQL must select the same items.
    pub fn matches(&self, read: &impl Fn(&Field) -> Vec<Value>) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(read)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(read)),
            Self::Not(part) => !part.matches(read),
            Self::Condition(condition) => condition.test.holds(&read(&condition.field)),
        }
    }
}

impl Test {
    /// Returns true if the test holds for a field with these values. Without any, only `IS NULL` holds.
    #[must_use]
    pub fn holds(&self, values: &[Value]) -> bool {
        match self {
            Self::Null { negated } => values.is_empty() != *negated,
            Self::Compare(comparator, operand) => values
                .iter()
                .any(|value| value.compare(operand).is_some_and(|order| comparator.accepts(order))),
            Self::In { values: list, negated } => {
                let listed =
                    |value: &Value| list.iter().any(|item| value.compare(item) == Some(Ordering::Equal));
                values.iter().any(|value| listed(value) != *negated)
            }
            Self::Like { pattern, negated } => values
                .iter()
                .any(|value| matches!(value, Value::Text(text) if pattern.matches(text) != *negated)),
        }
    }
}

impl Comparator {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}
